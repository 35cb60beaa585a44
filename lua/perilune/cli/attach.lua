--- `perilune attach RUN`: the prompt inside a run that goes on, between two of its steps.
--
--   policy:hash()                  Lua among the recipe's own variables
--   cfg.kl_coef = 0.05             changes a key: checked, journalled, from the next step on
--   :pause  :continue  :step 3     the run itself; :help lists all
--
-- The run goes on while one types. It answers when its step ends.

local core = require("perilune.core")
local format = require("perilune.base.format")
local host = require("perilune.host")
local layout = require("perilune.cli.support.layout")
local lineedit = require("perilune.lineedit")
local survey = require("perilune.run.survey")
local talk = require("perilune.run.talk")
local terminal = require("perilune.base.terminal")

local USAGE <const> = "perilune attach RUN"
local LOOK <const> = 0.1 -- seconds between looks for a run that begins

local HELP <const> = [[
Lua is run in the run, between two of its steps: its own variables (policy, tok, prompts, cfg, ...),
metrics, samples, journal, generate("text"). ?name helps, TAB completes, Ctrl-C stops what runs.

  cfg.KEY = VALUE    change a hyper-parameter: a number, or pl.schedule.cosine(0.1, 0.01, 500)
  :set KEY VALUE     the same, written as on the command line
  :undo              take the last change back
  :keys [WORD]       the hyper-parameters, their values and ranges
  :journal           the changes so far
  :status            step, state, last figures
  :pause, :continue  hold the run before its next step; let it go on
  :step [N]          N steps, then a pause
  :checkpoint        write one of now
  :branch NAME       a new run from here, in a folder beside this one
  :reload            take the saved values of the recipe's config block
  :stop              write a checkpoint and end the run
  :detach, Ctrl-D    leave; the run goes on
]]

local function fail(text, ...)
  io.stderr:write("perilune attach: ", text:format(...), "\n")
  return 1
end

-- What is shown -----------------------------------------------------------------------------

local function status_text(value)
  local lines = {
    ("%s, %s, step %d%s, %s, %s"):format(
      value.name,
      value.folder,
      value.step,
      value.total and " of " .. value.total or "",
      value.state,
      format.duration(value.seconds)
    ),
  }
  local names = {}
  for name, figure in pairs(value.metrics or {}) do
    if type(figure) == "number" and name ~= "step" and name ~= "time" then
      names[#names + 1] = name
    end
  end
  table.sort(names)
  local rows = {}
  for i, name in ipairs(names) do
    rows[i] = { "  " .. name, format.number(value.metrics[name]) }
  end
  lines[2] = #rows > 0 and format.columns(rows) or nil
  return table.concat(lines, "\n")
end

local function keys_text(rows, word)
  local list = {}
  for _, row in ipairs(rows) do
    if row.key:find(word, 1, true) then
      list[#list + 1] = { row.key, row.value, row.range, row.settled and "settled" or "" }
    end
  end
  return #list > 0 and format.columns(list) or ("no key has '%s' in its name"):format(word)
end

local function journal_text(entries)
  local lines = {}
  for i, entry in ipairs(entries) do
    local what = entry.eval and "> " .. entry.eval:gsub("\n", " ")
      or entry.text
      or ("%s: %s -> %s"):format(entry.key, tostring(entry.old), tostring(entry.new))
    if entry.changed then what = what .. "   changed " .. table.concat(entry.changed, ", ") end
    lines[i] = ("step %-6d %s%s"):format(
      entry.step,
      what,
      entry.by and "   (" .. entry.by .. ")" or ""
    )
  end
  return #lines > 0 and table.concat(lines, "\n") or "nothing was changed"
end

-- Commands ----------------------------------------------------------------------------------

local commands = {}

-- Commands that are requests: what the words after the command become.
for _, name in ipairs { "pause", "continue", "checkpoint", "undo", "stop", "reload" } do
  commands[name] = function() return { ["do"] = name } end
end

commands["step"] = function(words) return { ["do"] = "step", count = words[1] or 1 } end

commands["branch"] = function(words) return { ["do"] = "branch", name = words[1] } end

commands["set"] = function(words, rest)
  return { ["do"] = "set", by = "attach", key = words[1], value = rest:match("^%S+%s+(.*)$") }
end

commands["status"] = function() return { ["do"] = "status" }, status_text end

commands["keys"] = function(words)
  return { ["do"] = "keys" }, function(rows) return keys_text(rows, words[1] or "") end
end

commands["journal"] = function() return { ["do"] = "journal" }, journal_text end

-- Session -----------------------------------------------------------------------------------

-- Waits for an answer; Ctrl-C is told to the run, which stops what we asked for.
local function wait_for(line, number)
  while true do
    local ok, reply, message = host.call(line.answer, line, number)
    if ok then return reply, message end
    if message ~= true then error(reply, 0) end -- no Ctrl-C
    line:send { ["do"] = "interrupt" }
  end
end

local function show(text)
  if text and text ~= "" then io.stdout:write((text:gsub("\n$", "")), "\n") end
  io.stdout:flush()
end

-- Puts a request: false when the run has gone; true and whether lines are missing.
local function put(line, request, shape)
  local reply, message = wait_for(line, line:send(request))
  if not reply then
    show(message)
    return false
  end
  if reply.more then return true, true, reply.text end
  if not reply.ok then
    io.stdout:flush()
    io.stderr:write(format.safe(tostring(reply.text)), "\n")
  else
    show(format.safe(shape and shape(reply.value) or reply.text or ""))
  end
  return true
end

-- What happened since the last prompt: the last step's figures are not shown, only that it ended.
local function told(line, at)
  local events, alive = line:events()
  for _, event in ipairs(events) do
    if event.event == "step" then at.step = event.step + 1 end
    if event.event == "note" then show(format.safe(event.text)) end
    if event.event == "state" then at.state = event.state end
    if event.event == "end" then show(("the run has ended: %s"):format(event.state)) end
  end
  return alive
end

local function prompt_of(at)
  if not lineedit.edits() then return "" end
  local of = at.total and "/" .. at.total or ""
  return ("%s %s%s%s> "):format(at.name, at.step, of, at.state == "paused" and " paused" or "")
end

local function command_of(text)
  local name, rest = text:match("^%s*:(%a+)%s*(.-)%s*$")
  if not name then return nil end
  local words = {}
  for word in rest:gmatch("%S+") do
    words[#words + 1] = word
  end
  return name, words, rest
end

-- One entry: nil when the session ends.
local function enter(line, at)
  local text = lineedit.read(prompt_of(at))
  if text == nil then return nil end
  if not text or text:find("^%s*$") then return true end
  local name, words, rest = command_of(text)
  if name == "detach" then return nil end
  if name == "help" then
    show(layout.filled(HELP, terminal.width()))
    return true
  end
  if name and commands[name] then
    lineedit.add(text)
    local request, shape = commands[name](words, rest)
    return put(line, request, shape) or nil
  end
  while true do
    local request = { ["do"] = "eval", text = text, width = terminal.width() }
    local alive, more, why = put(line, request)
    if not alive then return nil end
    if not more then break end
    local next_line = lineedit.read(lineedit.edits() and ">> " or "")
    if next_line == false then return true end
    if next_line == nil then
      io.stderr:write(tostring(why), "\n")
      return nil
    end
    text = text .. "\n" .. next_line
  end
  lineedit.add(text)
  return true
end

local function complete(line, before)
  local known = before:match("^%s*:(%a*)$")
  if known then
    local names = {}
    for name in pairs(commands) do
      if name:sub(1, #known) == known then names[#names + 1] = name end
    end
    table.sort(names)
    if #names == 1 then return names[1]:sub(#known + 1) .. " " end
    return "", names
  end
  local reply = line:ask({ ["do"] = "complete", text = before }, 2) -- a long step: no completion
  if not reply or not reply.ok then return "" end
  return reply.value.insert or "", reply.value.list
end

local function session(line, reply)
  local at = reply.value
  show(status_text {
    name = at.name,
    folder = at.folder,
    step = at.step,
    total = at.total,
    state = at.state,
    seconds = at.seconds,
  })
  if lineedit.edits() then
    show("Lua runs in the run, between two steps. :help lists commands, Ctrl-D detaches.")
    lineedit.completer(function(before) return complete(line, before) end)
  end
  while enter(line, at) and told(line, at) do
  end
end

-- Connects; a run that has not begun its first step is waited for, as long as it lives.
local function connect(folder)
  local said = false
  while true do
    local line, message = talk.open(folder)
    if line or not survey.process(folder) then return line, message end
    if not said then
      local stage = survey.look(folder).stage
      local what = stage and "a stage" or "the run"
      io.stderr:write(("waiting for %s to begin its first step ...\n"):format(what))
    end
    said = true
    if not core.system.sleep(LOOK) then return nil, "interrupted" end
  end
end

return function(args)
  local name = args[1]
  if name == "--help" then
    print(layout.filled(("usage: %s\n\n%s"):format(USAGE, HELP), terminal.width()))
    return 0
  end
  if not name then return fail("which run? usage: %s", USAGE) end
  if args[2] then return fail("'%s' is one word too many; usage: %s", args[2], USAGE) end
  local folder, message = talk.folder(name)
  if not folder then return fail("%s", message) end
  local line
  line, message = connect(folder)
  if not line then return fail("%s", message) end
  local number = line:send { ["do"] = "status" }
  local reply = line:answer(number, 1)
  if not reply then
    if lineedit.edits() then io.stderr:write("waiting for the step to end ...\n") end
    reply, message = line:answer(number)
  end
  if not reply then return fail("%s", message) end
  if not reply.ok then return fail("%s", reply.text) end
  local ok, wrong = host.call(session, line, reply)
  line:close()
  if not ok then error(wrong, 0) end
  return 0
end
