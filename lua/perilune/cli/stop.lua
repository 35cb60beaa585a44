--- `perilune stop RUN [--now]`: ends a run behind its step, with a checkpoint.
--
-- It waits until the run has ended. RUN is a folder, or the name of one in runs/. With --now the
-- run is killed where it stands, and --resume goes on from the checkpoint it had.

local core = require("perilune.core")
local format = require("perilune.base.format")
local run = require("perilune.run")
local survey = require("perilune.run.survey")
local talk = require("perilune.run.talk")

local USAGE <const> = "perilune stop RUN [--now]"
local LOOK <const> = 0.1 -- seconds between looks at whether it has ended

local function fail(text, ...)
  io.stderr:write("perilune stop: ", text:format(...), "\n")
  return 1
end

-- What there is to go on from: the newest checkpoint of the run, or of the stage that went on last.
local function newest(folder)
  local at = survey.look(folder).stage
  local latest = run.latest(folder)
  if at and at.name ~= "" then return run.latest(folder .. "/" .. at.name) or latest end
  for _, stage in ipairs(survey.beneath(folder)) do
    latest = run.latest(stage) or latest
  end
  return latest
end

-- What is known of a run that does not go on, as a sentence.
local function tell_ended(folder)
  local it = survey.look(folder)
  local ends = {
    done = "has finished",
    stopped = "was stopped",
    failed = "has failed",
    died = "has crashed: its process was killed, or the machine went down",
  }
  local parts = { ends[it.state] or "is no run that could be stopped" }
  if it.time then parts[1] = parts[1] .. os.date(", %Y-%m-%d %H:%M", it.time) end
  local stage = it.stage
  if stage and it.state ~= "done" then
    parts[#parts + 1] = stage.number == 0 and "before its first stage"
      or ("in stage %s (%d%s)"):format(
        stage.name,
        stage.number,
        stage.of and " of " .. stage.of or ""
      )
  elseif it.step then
    parts[#parts + 1] = ("step %d%s"):format(it.step, it.total and " of " .. it.total or "")
  end
  for _, name in ipairs { "score", "kl", "loss" } do
    if it[name] then parts[#parts + 1] = ("%s %s"):format(name, format.number(it[name])) end
  end
  local goes_on = it.state ~= "done" and newest(folder)
  return ("%s %s%s"):format(
    folder,
    table.concat(parts, ", "),
    goes_on and "; --resume goes on from " .. goes_on.path or ""
  )
end

return function(args)
  local name, now
  for _, word in ipairs(args) do
    if word == "--now" then
      now = true
    elseif name or word:sub(1, 1) == "-" then
      return fail("'%s' is one word too many; usage: %s", format.safe(word), USAGE)
    else
      name = word
    end
  end
  if not name then return fail("which run? usage: %s", USAGE) end
  local folder, message = talk.folder(name)
  if not folder then return fail("%s", message) end
  local pid = survey.process(folder)
  if not pid then return fail("%s", format.safe(tell_ended(folder))) end
  local ok
  ok, message = core.system.kill(pid, now and 9 or 15)
  if not ok then return fail("%s", message) end
  while survey.process(folder) do
    core.system.sleep(LOOK)
  end
  for _, path in ipairs(survey.runs(folder)) do
    survey.note_stop(path)
  end
  local latest = newest(folder)
  io.stdout:write(
    folder,
    now and " is killed" or " is stopped",
    latest and ("; --resume goes on from %s\n"):format(latest.path) or "; it has no checkpoint\n"
  )
  return 0
end
