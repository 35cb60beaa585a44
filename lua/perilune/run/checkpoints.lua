--- The checkpoints of a run's folder: which there are, which to go on from, writing one, deleting
-- old ones. What is inside one beside trainer_state.json is perilune.run.state's.

local arithmetic = require("perilune.run.arithmetic")
local files = require("perilune.base.files")
local json = require("perilune.base.json")
local lfs = require("lfs")
local stopping = require("perilune.run.stopping")

local checkpoints = {}

local function exists(path) return lfs.attributes(path, "mode") ~= nil end

--- The checkpoints in a run folder, oldest first.
-- @tparam string folder
-- @treturn {{step=integer,path=string},...}
function checkpoints.list(folder)
  local list = {}
  if lfs.attributes(folder, "mode") == "directory" then
    for name in lfs.dir(folder) do
      local step = name:match("^checkpoint%-(%d+)$")
      if step and exists(folder .. "/" .. name .. "/trainer_state.json") then
        list[#list + 1] = { step = math.tointeger(step), path = folder .. "/" .. name }
      end
    end
  end
  table.sort(list, function(a, b) return a.step < b.step end)
  return list
end

--- The newest checkpoint in a run folder.
-- @tparam string folder
-- @treturn ?{step=integer,path=string}
function checkpoints.latest(folder)
  local list = checkpoints.list(folder)
  return list[#list]
end

--- What is left of checkpoints and other files that were being written when the process died.
-- @tparam string folder of a run, locked: no checkpoint in it is being written
function checkpoints.clean_up(folder)
  files.folder_sweep(folder)
  for name in lfs.dir(folder) do
    if name:match("^checkpoint%-%d+%.tmp") then
      assert(files.folder_remove(folder .. "/" .. name))
    end
  end
end

--- The checkpoint to go on from: nil to start afresh, false and a sentence when it is not there.
-- @tparam Config cfg
-- @tparam string folder
-- @treturn any {step =, path =}, nil or false
-- @treturn ?string
function checkpoints.find(cfg, folder)
  if not cfg.resume then
    return nil
  elseif cfg.resume == "latest" then
    local list = checkpoints.list(folder)
    for i = #list, 1, -1 do -- a damaged one is named, and the one before it is taken
      local sound, damage = files.folder_verify(list[i].path)
      if sound then return list[i] end
      io.stderr:write(
        ("%s is damaged (%s); looking at the checkpoint before it\n"):format(list[i].path, damage)
      )
    end
    if #list > 0 then -- starting afresh would rotate away what may still be saved by hand
      local text = "no checkpoint of %s is sound; bring one back from a copy, or begin again with "
        .. "--overwrite_output_dir and without --resume"
      return false, text:format(folder)
    elseif not stopping.holds_stages(folder) then
      local text = "nothing to resume: %s holds no checkpoint; the run starts at the beginning\n"
      io.stderr:write(text:format(folder))
    end
    return nil
  end
  local path = cfg.resume:gsub("/+$", "")
  local step = math.tointeger(tonumber(path:match("checkpoint%-(%d+)$") or ""))
  if not step or not exists(path .. "/trainer_state.json") then
    return false,
      (
        "%s is not a checkpoint; give the path of a checkpoint-N folder, or --resume "
        .. "alone for the newest of %s"
      ):format(path, folder)
  end
  local sound, damage = files.folder_verify(path)
  if not sound then return false, ("%s is damaged: %s"):format(path, damage) end
  return { step = step, path = path }
end

--- Delete the oldest checkpoints until `limit` are left; the best is neither counted nor deleted.
-- @tparam Run run
-- @tparam integer limit 0: all stay
function checkpoints.rotate(run, limit)
  local others = {}
  for _, checkpoint in ipairs(run:checkpoints()) do
    if not (run.best and checkpoint.step == run.best.step) then others[#others + 1] = checkpoint end
  end
  for i = 1, limit > 0 and #others - limit or 0 do
    local ok, message = files.folder_remove(others[i].path)
    if not ok then -- the new one is safe: no reason to end the run
      io.stderr:write(message, "\n")
    end
  end
end

--- Writes checkpoint-N into a folder, whole or not at all.
-- @tparam Run run
-- @tparam string folder of the run, or of a branch of it
-- @tparam integer step
-- @tparam function write fills the folder it is given
-- @tparam table options of run:checkpoint
-- @treturn string its path
-- @treturn ?table the best checkpoint then
function checkpoints.write(run, folder, step, write, options)
  local name = ("checkpoint-%d"):format(step)
  local path = folder .. "/" .. name
  local best = run.best
  local written, message = files.folder_write(path, function(temporary)
    write(temporary)
    if options.best then best = { step = step, metric = options.metric, path = name } end
    local settings = run.cfg:state()
    settings.step = step -- between two steps the config is at the next one already
    local trainer_state = {
      global_step = step,
      max_steps = run.cfg.max_steps,
      best_metric = best and best.metric,
      best_model_checkpoint = best and best.path,
      perilune = {
        config = settings,
        arithmetic = arithmetic.now(),
        state = options.state or {},
        journal = json.array(run:journal()),
      },
    }
    local ok, wrong =
      files.write_json(temporary .. "/trainer_state.json", trainer_state, { finite = true })
    if not ok then return nil, wrong end
    for _, log in ipairs { run.metrics, run.samples, run.changes, run.alarms } do
      log:sync()
    end
    return true
  end)
  if not written then error(message, 0) end
  return path, best
end

return checkpoints
