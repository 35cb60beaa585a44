--- What runs there are and how far they are, from their folders alone: nobody is asked, so that a
-- run in the middle of a long step is seen as well.

local files = require("perilune.base.files")
local json = require("perilune.base.json")
local lfs = require("lfs")
local lock = require("perilune.run.lock")

local survey = {}

local DEEPEST <const> = 4 -- folders below the one that is named
local TAIL <const> = 64 << 10 -- bytes at the end of metrics.jsonl: enough for its pace

--- The process that has a run open.
-- @tparam string folder
-- @treturn ?integer
function survey.process(folder) return lock.holder(folder) end

local function is_run(folder) return lfs.attributes(folder .. "/run.lock", "mode") == "file" end

local function folders_in(folder)
  local list = {}
  for name in lfs.dir(folder) do
    local path = folder .. "/" .. name
    local is_folder = name:sub(1, 1) ~= "." and lfs.symlinkattributes(path, "mode") == "directory"
    if is_folder and not name:find("^checkpoint%-") then list[#list + 1] = path end
  end
  table.sort(list)
  return list
end

--- The runs in the folders of a folder: those of stages follow their run.
-- @tparam string folder
-- @treturn {string,...} paths
function survey.beneath(folder)
  local list = {}
  local function look(at, depth)
    for _, path in ipairs(folders_in(at)) do
      if is_run(path) then list[#list + 1] = path end
      if depth < DEEPEST then look(path, depth + 1) end
    end
  end
  if lfs.attributes(folder, "mode") == "directory" then look(folder, 1) end
  return list
end

--- The runs that stand right in a folder.
-- @tparam string folder
-- @treturn {string,...} paths
function survey.near(folder)
  local list = {}
  for _, path in ipairs(folders_in(folder)) do
    if is_run(path) then list[#list + 1] = path end
  end
  return list
end

--- A folder, when it is a run, and the runs beneath it.
-- @tparam string folder
-- @treturn {string,...}
function survey.runs(folder)
  local list = survey.beneath(folder)
  if is_run(folder) then table.insert(list, 1, folder) end
  return list
end

-- When a run last wrote of itself: the newest of its files and of those of its stages.
local function last_word(folder)
  local newest
  local function look(path)
    for _, name in ipairs { "status.json", "metrics.jsonl", "summary.json" } do
      local at = lfs.attributes(path .. "/" .. name, "modification")
      if at and (not newest or at > newest) then newest = at end
    end
  end
  look(folder)
  for _, path in ipairs(folders_in(folder)) do
    if is_run(path) then look(path) end
  end
  return newest
end

-- The last rows of a run's metrics.
local function last_rows(folder)
  local file = io.open(folder .. "/metrics.jsonl", "rb")
  if not file then return {} end
  local size = file:seek("end")
  file:seek("set", math.max(0, size - TAIL))
  local text, rows = file:read("a"), {}
  file:close()
  for line in text:gmatch("([^\n]*)\n") do
    local row = json.decode(line) -- the first may lack its beginning
    if type(row) == "table" and type(row.step) == "number" then rows[#rows + 1] = row end
  end
  return rows
end

local function last_of(rows, name)
  for i = #rows, 1, -1 do
    if type(rows[i][name]) == "number" then return rows[i][name] end
  end
end

local function pace(rows)
  local first, last = rows[1], rows[#rows]
  if not first or last.step <= first.step or not last.time or not first.time then return nil end
  return (last.time - first.time) / (last.step - first.step)
end

local alive = { running = true, paused = true, ending = true }
local over = { done = true, stopped = true, failed = true }

--- What a run does, or how it ended.
-- @tparam string folder
-- @tparam table status its status.json, {} without one
-- @tparam ?integer pid the process that has it
-- @treturn string "running", "paused", "ending"; "done", "stopped" (by a signal or `perilune
--   stop`, or without a word of how), "failed", "died" (it was killed); "unknown" of metrics that
--   no run holds
function survey.state(folder, status, pid)
  if pid then return alive[status.state] and status.state or "running" end
  if over[status.state] then return status.state end
  if lfs.attributes(folder .. "/summary.json", "mode") then return "done" end
  if alive[status.state] then return "died" end
  return is_run(folder) and "stopped" or "unknown"
end

--- Notes in a run's folder that it was stopped, when its process could not.
-- @tparam string folder of a run whose process has ended
function survey.note_stop(folder)
  local status = files.read_json(folder .. "/status.json")
  if type(status) ~= "table" then status = {} end
  if survey.state(folder, status, nil) ~= "died" then return end
  status.state = "stopped"
  files.write_json(folder .. "/status.json", status)
end

-- The stage of a run of stages: nil for a run of steps.
local function stage_of(status)
  local stage = status.stage
  if type(stage) ~= "table" or type(stage.name) ~= "string" then return nil end
  local number = math.tointeger(stage.number)
  return number and { name = stage.name, number = number, of = math.tointeger(stage.of) }
end

-- A run of stages is paused when its stage is.
local function state_with_stage(folder, state, stage)
  if state ~= "running" or not stage or stage.name == "" then return state end
  local status = files.read_json(folder .. "/" .. stage.name .. "/status.json")
  local paused = type(status) == "table" and status.state == "paused"
  return paused and "paused" or state
end

--- How a run is.
-- @tparam string folder
-- @treturn table `folder`, `name` of its recipe, `state` as survey.state has it, `pid`, `step`,
--   `total`, `stage` of a run of stages ({name, number, of}), `score`, `kl`, `loss`, `seconds` it
--   took, `left`: seconds to its end at the present pace, `time` of the last word of it, in seconds
--   since 1970; what is not known is nil
function survey.look(folder)
  local status = files.read_json(folder .. "/status.json")
  if type(status) ~= "table" then status = {} end
  local pid, rows = survey.process(folder), last_rows(folder)
  local last = rows[#rows] or {}
  local stage = stage_of(status)
  local it = {
    folder = folder,
    name = status.name,
    state = state_with_stage(folder, survey.state(folder, status, pid), stage),
    pid = pid,
    stage = stage,
    time = last_word(folder),
    step = math.tointeger(last.step),
    total = math.tointeger(status.total),
    score = last_of(rows, "objective/scores") or last_of(rows, "eval_score"),
    kl = last_of(rows, "objective/kl"),
    loss = last_of(rows, "loss"),
    seconds = type(last.time) == "number" and last.time or nil,
  }
  local each = pace(rows)
  if it.state == "running" and it.total and it.step and each then
    it.left = math.max(0, it.total - it.step) * each
  end
  return it
end

return survey
