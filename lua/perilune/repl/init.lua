--- The REPL: reads a line or a block, runs it, shows what it gives.
--
--   1 + 1            shows the value; a `;` at the end mutes it; `_` is the last value shown
--   local x = 3      lasts for the session (stock Lua forgets a local at the end of its line)
--   for i = 1, 3 do  goes on until the block is complete; an empty Ctrl-C drops it
--   ?matmul  x?      help on an op or a value
--   TAB              completes names, fields and methods
--
-- Ctrl-C stops what runs and keeps the session; Ctrl-D leaves it. The history is shared by all
-- sessions, in $XDG_STATE_HOME/perilune/history.
--
-- Here is what needs a terminal; the session itself is session.lua.
--
-- May use: base, reference, perilune.

local history = require("perilune.repl.history")
local host = require("perilune.host")
local lineedit = require("perilune.lineedit")
local session = require("perilune.repl.session")

local repl = {}

local function prompt(name, fallback)
  local value = _G[name]
  return value ~= nil and tostring(value) or fallback
end

--- Reads lines until they make an entry.
-- @treturn string the text; nil at the end of input; false when Ctrl-C dropped it
-- @treturn table or nil the entry
-- @treturn string or nil what is wrong with it
local function read_entry(talk)
  local line = lineedit.read(prompt("_PROMPT", "> "))
  if not line then return line end
  local text = line
  while true do
    local entry, message, at_end = talk:compile(text)
    if entry or message ~= "more" then return text, entry, message end
    line = lineedit.read(prompt("_PROMPT2", ">> "))
    if line == false then
      return false
    elseif line == nil then
      return text, nil, at_end
    end
    text = text .. "\n" .. line
  end
end

--- Shows what came of an entry.
local function tell(outcome)
  io.stdout:flush()
  if outcome.error then
    io.stderr:write(outcome.error, "\n")
  elseif outcome.text ~= "" then
    io.stdout:write(outcome.text, "\n")
  end
end

local function greet(talk)
  io.stdout:write(
    ("Perilune %s, %s. `pl` is the library; ?name helps, TAB completes, Ctrl-D leaves.\n"):format(
      host.version,
      _VERSION
    )
  )
  lineedit.completer(function(before) return talk:complete(before) end)
  for _, entry in ipairs(history.load()) do
    lineedit.add(entry)
  end
end

--- Starts the session; returns when it ends.
function repl.start()
  local talk = session.new()
  local edits, last_text = lineedit.edits(), nil
  local ok, pl = host.call(require, "perilune")
  if ok then
    rawset(talk.env, "pl", pl)
  else
    io.stderr:write("perilune: the library did not load: ", tostring(pl), "\n")
  end
  if edits then greet(talk) end
  while true do
    local text, entry, message = read_entry(talk)
    if text == nil then
      break
    elseif text and not text:find("^%s*$") then
      if edits and text ~= last_text then
        lineedit.add(text)
        history.append(text)
        last_text = text
      end
      tell(entry and talk:run(entry) or { error = message })
    end
  end
  if edits then io.stdout:write("\n") end
end

return repl
