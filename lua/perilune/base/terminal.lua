--- What is known of the terminal: whether it is one, how wide, whether colours are wanted.
--
-- Colours follow https://no-color.org: any non-empty NO_COLOR switches them off.

local system = require("perilune.core").system

local terminal = {}

--- Whether a file descriptor (1 output, 2 errors) is a terminal.
-- @tparam integer fd
-- @treturn boolean
function terminal.is_tty(fd) return system.isatty(fd) end

--- Columns of the terminal: $COLUMNS, else what the terminal says, else 100.
-- @treturn integer between 40 and 200
function terminal.width()
  local columns = math.tointeger(tonumber(os.getenv("COLUMNS") or ""))
  columns = columns or system.terminal_size(1) or system.terminal_size(2)
  if not columns or columns <= 0 then columns = 100 end
  return math.max(40, math.min(200, columns))
end

--- Whether to colour what goes to a file descriptor.
-- @tparam integer fd
-- @treturn boolean
function terminal.has_color(fd)
  local refused = os.getenv("NO_COLOR")
  return terminal.is_tty(fd) and not (refused and refused ~= "") and os.getenv("TERM") ~= "dumb"
end

local codes = {
  bold = "1",
  dim = "2",
  red = "31",
  green = "32",
  yellow = "33",
  blue = "34",
  cyan = "36",
}

--- A function that wraps texts in a style, or leaves them alone when colours are off.
-- @tparam boolean on
-- @treturn function (style, text) -> text
function terminal.painter(on)
  return function(style, text)
    if not on then return text end
    return ("\27[%sm%s\27[0m"):format(codes[style], text)
  end
end

return terminal
