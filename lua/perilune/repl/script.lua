--- Scripts whose variables outlive them: for `:run FILE` and `perilune -i script`.
--
-- The locals of a chunk are gone when it returns. Here calls are put into its text, at its end and
-- before each `return` of its own, that look at the locals while they live; lines stay where they
-- were. When the text cannot be changed so, it is run as it is, and its globals are all that stays.

local files = require("perilune.base.files")
local lexer = require("perilune.repl.lexer")

local script = {}

local KEEP <const> = "__perilune_keep"

local kept = {} -- {name = {value}} of the latest script

local function keep()
  for i = 1, math.huge do
    local name, value = debug.getlocal(2, i)
    if not name then return end
    if name:sub(1, 1) ~= "(" then kept[name] = { value = value } end
  end
end

-- The text with the calls in it.
local function rewrite(source)
  local parts, at, returns = {}, 1, false
  for _, token in ipairs(lexer.tokens(source)) do
    if token.kind == "name" and token.text == "return" and token.functions == 0 then
      parts[#parts + 1] = source:sub(at, token.first - 1) .. KEEP .. "() "
      at = token.first
      returns = returns or token.depth == 0
    end
  end
  parts[#parts + 1] = source:sub(at)
  if not returns then parts[#parts + 1] = "\n" .. KEEP .. "()" end
  return table.concat(parts)
end

--- Loads a script.
-- @tparam string path
-- @treturn ?function to be called with its arguments
-- @treturn ?string message
function script.load(path)
  local source, message = files.read(path)
  if not source then return nil, message end
  source = source:gsub("^#[^\n]*", "")
  kept = {}
  _G[KEEP] = keep
  local chunk = load(rewrite(source), "@" .. path, "t")
  if chunk then return chunk end
  return load(source, "@" .. path, "t")
end

--- The locals of the latest script, once: those at the place where it ended.
-- @treturn {[string]=table} {name = {value = v}}
function script.take()
  local taken = kept
  kept, _G[KEEP] = {}, nil
  return taken
end

return script
