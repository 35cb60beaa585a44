--- Where an error happened: the calls that were under way, with the values of their variables.
--
-- While the host handles an error the stack still stands; what is worth a look is copied then, so
-- that the prompt can go up and down in it afterwards. The copies keep their values alive until the
-- next error. Variables can be read, not set: the calls are over. Tensors of a scope that the error
-- closed are gone, and say so.

local host = require("perilune.host")
local pretty = require("perilune.repl.pretty")

local frames = {}

local MOST_FRAMES <const>, MOST_VARIABLES <const> = 100, 200
local LIBRARY <const> = debug.getinfo(1, "S").source:match("^@(.*/)repl/frames%.lua$")

-- Variables by name, the innermost of a name, and the names in the order of the source.
local function variables_at(level, func)
  local names, values = {}, {}
  local function add(name, value)
    if name:sub(1, 1) == "(" then return end -- Lua's own
    if not values[name] then names[#names + 1] = name end
    values[name] = { value = value }
  end
  for i = 1, MOST_VARIABLES do
    local name, value = debug.getupvalue(func, i)
    if not name then break end
    if name ~= "_ENV" then add(name, value) end
  end
  local first_local = #names + 1
  for i = 1, MOST_VARIABLES do
    local name, value = debug.getlocal(level + 1, i)
    if not name then break end
    add(name, value)
  end
  return { names = names, values = values, first_local = first_local }
end

local function title_of(info)
  if info.what == "main" then return "main chunk" end
  local name = info.name or ("function of line %d"):format(info.linedefined)
  if info.namewhat == "method" then name = ":" .. name end
  return name
end

--- Copies the calls of the stack, the innermost first, up to the call by the host.
-- @tparam integer level where to begin, as of debug.getinfo, seen from the caller
-- @treturn {table,...} Lua functions alone, each with `title`, `place`, `source`, `line`, `env`,
--   `names`, `values` {name = {value}}, `first_local` (the names before it are of functions
--   around), and `ours`, whether it is of the library
function frames.capture(level)
  local list = {}
  level = level + 1
  while #list < MOST_FRAMES do
    local info = debug.getinfo(level, "Slnf")
    if not info or info.func == host.call then break end
    if info.what ~= "C" then
      local frame = variables_at(level, info.func)
      frame.title = title_of(info)
      frame.place = ("%s:%d"):format(info.short_src, info.currentline)
      frame.source, frame.line = info.source, info.currentline
      frame.ours = info.source:sub(2, #LIBRARY + 1) == LIBRARY
      list[#list + 1] = frame
    end
    level = level + 1
  end
  return list
end

local last

--- Keeps what the host's handler sees of errors: to be registered with host.watch.
-- @tparam any message the error value
function frames.watch(message)
  last = { message = message, frames = frames.capture(3) } -- below the handler and this function
end

--- What the latest error left, once.
-- @treturn ?table `message` (the error value) and `frames`
function frames.take()
  local taken = last
  last = nil
  return taken
end

--- The calls in which an error that is a sentence is worth a look: those of the user's functions.
-- @tparam {table,...} list of `capture`
-- @treturn boolean
function frames.are_telling(list)
  local n = 0
  for _, frame in ipairs(list) do
    if not frame.ours then n = n + 1 end
  end
  return n > 1
end

--- The calls as lines, numbered from the innermost.
-- @tparam {table,...} list of `capture`
-- @tparam ?integer here the one to mark
-- @treturn string
function frames.text(list, here)
  local lines = {}
  for i, frame in ipairs(list) do
    local mark = i == here and ">" or " "
    lines[i] = ("%s %2d  %s  %s"):format(mark, i, frame.place, frame.title)
  end
  return table.concat(lines, "\n")
end

--- The variables of a call as lines.
-- @tparam table frame of `capture`
-- @tparam integer width
-- @treturn string
function frames.variables_text(frame, width)
  local lines = {}
  for i, name in ipairs(frame.names) do
    local text = pretty.part(frame.values[name].value, width - #name - 3)
    local mark = i < frame.first_local and "  (of a function around it)" or ""
    lines[#lines + 1] = ("%s = %s%s"):format(name, text, mark)
  end
  return #lines > 0 and table.concat(lines, "\n") or "no variables"
end

return frames
