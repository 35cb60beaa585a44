--- What may be done to a run while it goes: its journal, taking a change back, a checkpoint at a
-- step boundary, a branch. perilune.run adds these to its runs; perilune.run.control asks for them.
--
-- journal.jsonl has a row for each change of a key, {step, key, old, new, by, time}, and for each
-- eval of somebody attached, {step, eval, changed, time}. `by` says who made the change: "attach",
-- "watch", "edit" (of the recipe's file), "undo", "set", "resume" (another value was given then);
-- the recipe's own changes have none. A run that goes on from a checkpoint makes the live changes
-- of later steps again when it comes to them; the recipe makes its own.

local config = require("perilune.config")
local core = require("perilune.core")
local files = require("perilune.base.files")
local format = require("perilune.base.format")
local log = require("perilune.run.log")
local lfs = require("lfs")
local stopping = require("perilune.run.stopping")

local live = {}

-- Entries in the order of their steps; those of one step stay as they are.
local function in_order(entries)
  local place = {}
  for i, entry in ipairs(entries) do
    place[entry] = i
  end
  table.sort(entries, function(a, b)
    if a.step ~= b.step then return a.step < b.step end
    return place[a] < place[b]
  end)
  return entries
end

--- Which rows of a journal a run keeps that goes on behind a step.
-- @tparam integer done the last step that is done
-- @tparam ?boolean replay whether the changes of later steps come from another run's journal
-- @treturn function of a row
function live.kept(done, replay)
  return function(row)
    if row.by == "resume" then return row.step < done end -- it is given anew, or not
    return row.step <= done or not replay and (row.by ~= nil or row.eval ~= nil)
  end
end

--- The changes of a journal that somebody made from outside, and so make again.
-- @tparam {table,...} entries
-- @treturn {table,...}
function live.changes(entries)
  local list = {}
  for _, entry in ipairs(entries) do
    if entry.key and entry.by then list[#list + 1] = entry end
  end
  return in_order(list)
end

-- The journal of a run that is to be replayed; an error when it holds what cannot be.
local function journal_of(folder)
  local entries, message = log.read(folder .. "/journal.jsonl", { numbers = true })
  if not entries then error(("replay_of: %s"):format(message), 0) end
  for _, entry in ipairs(entries) do
    local what
    if entry.changed then
      what = ("somebody attached changed %s by hand (%s)"):format(
        table.concat(entry.changed, ", "),
        tostring(entry.eval)
      )
    elseif entry.content then
      what = ("it was resumed with another %s"):format(entry.key)
    end
    if what then
      local text = "%s cannot be replayed: at step %d %s, which a journal does not repeat"
      error(text:format(folder, entry.step, what), 0)
    end
  end
  return entries
end

--- Reads a run's journal and has the changes that lie ahead made again.
-- @tparam Run run
-- @tparam integer done the last step that is done
-- @tparam ?string replay_of the folder of the run whose changes are made, in place of the run's own
function live.take_up(run, done, replay_of)
  local kept = live.kept(done, replay_of ~= nil)
  run.entries = in_order(assert(log.kept(run.dir .. "/journal.jsonl", kept)))
  if replay_of then
    local ahead = {}
    for _, entry in ipairs(live.changes(journal_of(replay_of))) do
      if entry.step > done then ahead[#ahead + 1] = entry end
    end
    run.cfg:replay(ahead)
    return
  end
  local ahead, evals = {}, 0
  for _, entry in ipairs(run.entries) do
    if entry.step > done and entry.changed then evals = evals + 1 end
  end
  for _, entry in ipairs(live.changes(run.entries)) do
    if entry.step > done then
      local again = { again = true }
      for name, value in pairs(entry) do
        again[name] = value
      end
      ahead[#ahead + 1] = again
    end
  end
  if #ahead > 0 then
    io.stderr:write(
      ("changes of the journal that are made again: %d, the first at step %d\n"):format(
        #ahead,
        ahead[1].step
      )
    )
    run.cfg:replay(ahead)
  end
  if evals > 0 then
    local text = "%d evals of attached sessions changed the run after this checkpoint; they are "
      .. "lost (journal.jsonl has their text)\n"
    io.stderr:write(text:format(evals))
  end
end

--- Notes something in the journal.
-- @tparam Run run
-- @tparam table entry
function live.note(run, entry)
  local row = {}
  for name, value in pairs(entry) do
    row[name] = value
  end
  if row.by or row.eval then row.time = row.time or core.system.realtime() end
  run.entries[#run.entries + 1] = row
  if run.changes then
    run.changes:append(row)
  else
    run.unwritten[#run.unwritten + 1] = row
  end
end

--- Notes a change of a key, unless the journal has it already, and lets the metrics show it.
-- @tparam Run run
-- @tparam table entry as of a config's journal
function live.on_change(run, entry)
  entry.by = entry.by or run.speaker
  run.markers[#run.markers + 1] = live.marker(entry)
  if entry.key == "threads" and entry.new > 0 then
    core.threads(entry.new)
  elseif entry.key == "nan_check" then
    core.nan_check(entry.new)
  end
  if not entry.again then live.note(run, entry) end
end

--- The change that an undo would take back: the last of those that none has taken back.
-- @tparam {table,...} entries of a journal
-- @tparam integer step now: what lies ahead is not made yet
-- @treturn ?table
-- @treturn ?string why there is none
function live.last_undone(entries, step)
  local open = {}
  for _, entry in ipairs(live.changes(entries)) do
    if entry.undo and entry.step <= step then
      open[#open] = nil
    elseif entry.by ~= "resume" and entry.step <= step then
      open[#open + 1] = entry
    end
  end
  local last = open[#open]
  if not last then return nil, "there is no change to take back" end
  return last
end

local function shown(value)
  if type(value) == "number" then return format.exact(value) end
  return type(value) == "table" and table.concat(value, ",") or tostring(value)
end

--- A text for the metrics row of a step: what was changed before it.
-- @tparam table entry
-- @treturn string
function live.marker(entry)
  return ("%s: %s -> %s"):format(entry.key, shown(entry.old), shown(entry.new))
end

--- A change as a sentence.
-- @tparam table entry
-- @treturn string
function live.change_text(entry)
  return ("%s from step %d on"):format(live.marker(entry), entry.step)
end

local copied = { "config.json", "recipe.lua", "journal.jsonl", "best.json" }

-- What a run that goes on from a checkpoint finds in its folder besides that.
local function copy_run(from, to)
  assert(files.folder_make(to))
  for _, name in ipairs(copied) do
    if lfs.attributes(from .. "/" .. name, "mode") == "file" then
      assert(files.copy(from .. "/" .. name, to .. "/" .. name))
    end
  end
  for _, name in ipairs { "metrics.jsonl", "samples.jsonl" } do
    assert(files.copy(from .. "/" .. name, to .. "/" .. name))
  end
end

--- Begins a new run beside this one: a folder with a checkpoint of now, which --resume goes on
-- with.
-- @tparam Run run
-- @tparam string name of the folder
-- @tparam function write_checkpoint of the new folder
-- @treturn string the folder
-- @treturn string the command that goes on with it
function live.branch(run, name, write_checkpoint)
  if type(name) ~= "string" or not name:find("^%w[%w._-]*$") then
    error("a branch wants a name of letters, digits, '.', '_' and '-'", 0)
  end
  local parent = run.dir:match("^(.*)/[^/]+$") or "."
  local folder = parent .. "/" .. name
  if lfs.attributes(folder, "mode") then
    error(folder .. " is there already; give another name", 0)
  end
  local ok, message = pcall(function()
    copy_run(run.dir, folder)
    write_checkpoint(folder)
  end)
  if not ok then
    files.folder_remove(folder)
    error(message, 0)
  end
  return folder, stopping.command(run.cfg, folder)
end

--- Writes status.json: what a run does, for those who look from outside.
-- @tparam Run run
-- @tparam string state "running", "paused", "ending", "stopped", "done" or "failed"
-- @tparam ?{name=string,number=integer,of=integer} stage of a run of stages: the one that goes on
function live.write_status(run, state, stage)
  local about = config.describe(run.cfg)
  run.state = state
  local ok, message = files.write_json(run.dir .. "/status.json", {
    state = state,
    name = about.name,
    total = about.steps,
    stage = stage,
    pid = core.system.pid(),
    host = core.system.hostname(),
    time = core.system.realtime(),
  }, { finite = true })
  if not ok then io.stderr:write("status.json: ", message, "\n") end -- no reason to end a run
end

return live
