--- The REPL: reads a line or a block, runs it, shows what it gives. docs/repl.md is its guide.
--
--   x = 3; x + 1     shows the last expression; a `;` at the end mutes; `_`, `_1` ... are results
--   local x = 3      lasts for the session (stock Lua forgets a local at the end of its line)
--   for i = 1, 3 do  goes on until the block is complete; an empty Ctrl-C drops it
--   ?matmul  ??x  ?*rank*  help, source, search
--   :time f()  :help  $ ls  the prompt's own commands, the shell
--   TAB              completes names, fields, methods, options, keys, files
--
-- Ctrl-C stops what runs and keeps the session; Ctrl-D leaves it. The history is shared by all
-- sessions, in $XDG_STATE_HOME/perilune/history.
--
-- Here is what needs a terminal; the session itself is session.lua.
--
-- May use: base, reference, perilune.

local files = require("perilune.base.files")
local frames = require("perilune.repl.frames")
local history = require("perilune.repl.history")
local host = require("perilune.host")
local lineedit = require("perilune.lineedit")
local script = require("perilune.repl.script")
local session = require("perilune.repl.session")
local terminal = require("perilune.base.terminal")

local repl = {}

local function prompt(name, fallback, talk)
  local value = _G[name]
  if value ~= nil then return tostring(value) end
  return talk.frame and ("frame %d%s"):format(talk.frame, fallback) or fallback
end

--- Reads lines until they make an entry.
-- @treturn string the text; nil at the end of input; false when Ctrl-C dropped it
-- @treturn table or nil the entry
-- @treturn string or nil what is wrong with it
local function read_entry(talk)
  local line = lineedit.read(prompt("_PROMPT", "> ", talk))
  if not line then return line end
  local text = line
  while true do
    local entry, message, at_end = talk:compile(text)
    if entry or message ~= "more" then return text, entry, message end
    line = lineedit.read(prompt("_PROMPT2", ">> ", talk))
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
    ("Perilune %s, %s. `pl` is the library; ? and :help help, Ctrl-D leaves.\n"):format(
      host.version,
      _VERSION
    )
  )
  lineedit.completer(function(before) return talk:complete(before) end)
  talk.entries = history.load()
  for _, entry in ipairs(talk.entries) do
    lineedit.add(entry)
  end
end

--- Runs the user's rc file among the session's variables; an error in it is shown, no more.
local function run_rc(talk)
  local config = os.getenv("XDG_CONFIG_HOME")
  if not config or config:sub(1, 1) ~= "/" then config = (os.getenv("HOME") or "") .. "/.config" end
  local path = config .. "/perilune/rc.lua"
  if not files.read(path) then return end
  tell(talk:eval(":run " .. path))
end

local function remember(talk, text, edits)
  if text == talk.entries[#talk.entries] then return end
  talk.entries[#talk.entries + 1] = text
  if edits then
    lineedit.add(text)
    history.append(text)
  end
end

--- A script that is to be followed by the prompt: its locals are kept. Registered by the program.
-- @tparam string path
-- @treturn ?function
-- @treturn ?string message
function repl.load(path)
  host.watch(frames.watch)
  return script.load(path)
end

--- Starts the session; returns when it ends.
function repl.start()
  local talk = session.new { colors = terminal.has_color(1) }
  local edits = lineedit.edits()
  local ok, pl = host.call(require, "perilune")
  if ok then
    rawset(talk.env, "pl", pl)
  else
    io.stderr:write("perilune: the library did not load: ", tostring(pl), "\n")
  end
  if arg and arg[0] == arg[-1] or arg and not arg[-1] then _G.arg = { [0] = arg[0] } end
  talk:adopt(script.take())
  talk:recall()
  if edits then greet(talk) end
  run_rc(talk)
  while true do
    local text, entry, message = read_entry(talk)
    if text == nil then
      break
    elseif text and not text:find("^%s*$") then
      remember(talk, text, edits)
      tell(entry and talk:run(entry) or { error = message })
    end
  end
  if edits then io.stdout:write("\n") end
end

return repl
