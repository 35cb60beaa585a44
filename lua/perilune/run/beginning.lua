--- The beginning of a run: what its folder holds of one before, what it tells of itself, its logs.

local arithmetic = require("perilune.run.arithmetic")
local checkpoints = require("perilune.run.checkpoints")
local config = require("perilune.config")
local detached = require("perilune.run.detached")
local files = require("perilune.base.files")
local format = require("perilune.base.format")
local lfs = require("lfs")
local live = require("perilune.run.live")
local log = require("perilune.run.log")
local system = require("perilune.core").system
local tensorboard = require("perilune.run.tensorboard")

local beginning = {}

local ADVICE <const> = "warning: %s. The run goes on, but not to the bit as it would have there: "
  .. "PERILUNE_ISA, PERILUNE_GEMM and PERILUNE_BF16 choose the rules"

--- The files that a run writes.
-- @type {string,...}
beginning.written = {
  "metrics.jsonl",
  "samples.jsonl",
  "answers.jsonl",
  "journal.jsonl",
  "alarms.jsonl",
  "config.json",
  "env.json",
  "summary.json",
  "status.json",
  "best.json",
  "recipe.lua",
  "report.html",
  "profile.txt",
  detached.LOG,
}

local function exists(path) return lfs.attributes(path, "mode") ~= nil end

local function write_json(path, value)
  local ok, message = files.write_json(path, value, { finite = true })
  if not ok then error(message, 3) end
end

-- Whether there is anything in a folder that starting afresh would lose.
local function holds_run(folder)
  return (lfs.attributes(folder .. "/metrics.jsonl", "size") or 0) > 0
    or checkpoints.latest(folder) ~= nil
    or exists(folder .. "/summary.json")
end

local function remove_run(folder)
  for _, name in ipairs(beginning.written) do
    assert(files.remove(folder .. "/" .. name))
  end
  for _, checkpoint in ipairs(checkpoints.list(folder)) do
    assert(files.folder_remove(checkpoint.path))
  end
  assert(files.folder_remove(folder .. "/runs"))
end

--- Raises when a folder holds an earlier run that is neither to be resumed nor overwritten; removes
-- one that is to be overwritten.
-- @tparam string folder of the run
-- @tparam Config cfg with `resume` and `overwrite_output_dir`
function beginning.make_room(folder, cfg)
  if cfg.resume or not holds_run(folder) then return end
  if not cfg.overwrite_output_dir then
    error(
      (
        "%s already holds a run; --resume goes on with it, --overwrite_output_dir deletes "
        .. "it, another --output_dir leaves it alone"
      ):format(folder),
      0
    )
  end
  remove_run(folder)
end

local function git_revision(path)
  local folder = path and path:match("^(.*)/[^/]*$") or "."
  local command = "git -C '%s' describe --always --dirty --abbrev=40 2> /dev/null"
  local pipe = io.popen(command:format((folder:gsub("'", "'\\''"))))
  local text = pipe and pipe:read("l")
  if pipe then pipe:close() end
  return text
end

local function write_environment(self, environment, recipe)
  local env = {}
  for key, value in pairs(environment or {}) do
    env[key] = value
  end
  local now = system.realtime()
  env.started, env.started_at = os.date("!%Y-%m-%dT%H:%M:%SZ", math.floor(now)), now
  env.host = env.host or system.hostname()
  env.pid = system.pid()
  env.folder = lfs.currentdir()
  env.lua = _VERSION
  env.arithmetic = arithmetic.now()
  env.cpus = env.cpus or system.affinity()
  env.git = env.git or git_revision(recipe)
  env.command = type(arg) == "table" and table.move(arg, 0, #arg, 1, {}) or nil
  env.resumed_from = self.resumed and self.resumed.step or nil
  write_json(self.dir .. "/env.json", env)
end

local function copy_recipe(self, recipe)
  if self.recipe_hash then assert(files.copy(recipe, self.dir .. "/recipe.lua")) end
end

local function open_logs(self)
  local keep = self.resumed and { keep_to = self.resumed.step } or { keep_to = -1 }
  self.metrics = assert(log.open(self.dir .. "/metrics.jsonl", keep))
  self.samples = assert(log.open(self.dir .. "/samples.jsonl", keep))
  local kept = { keep_to = live.kept(keep.keep_to, self.cfg.replay_of ~= "") }
  self.changes = assert(log.open(self.dir .. "/journal.jsonl", kept))
  self.alarms = assert(log.open(self.dir .. "/alarms.jsonl", keep))
  local folder = ("%s/runs/%s_%s"):format(self.dir, os.date("%b%d_%H-%M-%S"), system.hostname())
  assert(files.folder_make(folder))
  self.events = assert(tensorboard.open(folder, {
    start_step = self.resumed and self.resumed.step + 1,
  }))
  local settings = {}
  for name, value in pairs(self.cfg:to_table()) do
    if name:sub(1, 1) ~= "_" then settings[name] = value end
  end
  self.events:hparams(settings)
end

--- Says by which rules the checkpoint was made, where they are not those of this process.
-- @tparam Run run
-- @tparam ?table before as of arithmetic.now, of the checkpoint; nil: it is of an older version
function beginning.compare_arithmetic(run, before)
  local precision = run.cfg:to_table().precision -- not every recipe has the key
  local text = arithmetic.difference(before, arithmetic.now(), precision)
  if not text then return end
  io.stderr:write(format.safe(ADVICE:format(text)), "\n")
  live.note(run, { step = run.resumed.step, by = "resume", text = text })
end

--- From here on the run goes on: its logs are cut back to the checkpoint and taken up.
-- @tparam Run run
function beginning.begin(run)
  if run.metrics or not run.lock then return end
  local about = config.describe(run.cfg)
  copy_recipe(run, about.recipe)
  write_environment(run, run.environment, about.recipe)
  open_logs(run)
  for _, entry in ipairs(run.unwritten) do -- what differs from the checkpoint
    run.changes:append(entry)
  end
  if not (run.resumed and exists(run.dir .. "/config.json")) then
    write_json(run.dir .. "/config.json", run.cfg:to_table())
  end
end

return beginning
