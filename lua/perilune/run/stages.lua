--- Recipes that run one after another inside a run: stages of one experiment.
--
--     local stages = pl.stages.new(run)
--     local sft = stages:stage("sft", "sft", "SFT on the demonstrations", {
--       model = "base",
--       dataset = stages:write("demonstrations.jsonl", rows),
--     })
--     stages.seconds.sft                  -- what it took
--
-- Each stage has its own folder in the run's folder, and takes seed, threads and quiet from the
-- run, and precision when the run's config has it. When the run is resumed, a stage goes on from
-- its newest checkpoint, and one that is done ends at once; a stage that keeps no checkpoints, such
-- as an evaluation, is done again. So is one that a run before this one left in the folder, which
-- stages.json tells: it has when this run was begun.

local config = require("perilune.config")
local core = require("perilune.core")
local files = require("perilune.base.files")
local format = require("perilune.base.format")
local json = require("perilune.base.json")
local origin = require("perilune.model.origin")
local run = require("perilune.run")
local system = core.system

local stages = {}

--- The stages of a run.
-- @class Stages
-- @field {[string]=number} seconds what each stage took, by the name of its folder
local Stages = {}
Stages.__index = Stages
Stages.__name = "stages"

-- When the run was begun, in seconds since 1970, whatever resumed it since; nil: nobody noted it.
local function begun_at(of)
  local path = of.dir .. "/stages.json"
  if of.cfg.resume then
    local kept = files.read_json(path)
    return type(kept) == "table" and math.type(kept.begun) and kept.begun or nil
  end
  local now = system.realtime()
  assert(files.write_json(path, { begun = now }))
  return now
end

-- Whether the checkpoints in a stage's folder are of this run.
local function is_own(self, folder)
  local env = files.read_json(folder .. "/env.json")
  local started = type(env) == "table" and math.type(env.started_at) and env.started_at
  return not self.since or not started or started >= self.since
end

--- The stages of a run. Raises in `perilune plan`, which plans single recipes.
-- @tparam Run of the run, opened
-- @tparam ?integer count how many folders of stages there will be, for those who look at the run
-- @treturn Stages with `seconds`: what each stage took, by the name of its folder
function stages.new(of, count)
  if origin.trial then
    error("a recipe of several stages has no plan of its own: plan sft, reward and ppo", 0)
  end
  of:enter_stage { name = "", number = 0, of = count }
  return setmetatable({
    run = of,
    dir = of.dir,
    cfg = of.cfg,
    seconds = {},
    since = begun_at(of),
    count = count,
    numbers = {}, -- of the folders, in the order in which they began
    begun = 0,
  }, Stages)
end

--- A heading on the terminal, unless the run is quiet.
-- @tparam string text a pattern of string.format
-- @tparam any ... what goes into it
function Stages:say(text, ...)
  if not self.cfg.quiet then io.stderr:write("\n== ", format.safe(text:format(...)), "\n") end
end

--- Writes a file of the run's folder data/, whole. Raises when it cannot be written.
-- @tparam string name of the file
-- @tparam string|{{[string]=any},...} content rows for JSON Lines, or the text itself
-- @treturn string its path
function Stages:write(name, content)
  local text = content
  if type(content) == "table" then
    local lines = {}
    for i, row in ipairs(content) do
      lines[i] = json.encode(row) .. "\n"
    end
    text = table.concat(lines)
  end
  local folder = self.dir .. "/data"
  assert(files.folder_make(folder))
  local path = folder .. "/" .. name
  assert(files.write_atomic(path, text))
  return path
end

-- Notes that the stage of a folder begins.
local function enter(self, folder)
  if not self.numbers[folder] then
    self.begun = self.begun + 1
    self.numbers[folder] = self.begun
  end
  self.run:enter_stage { name = folder, number = self.numbers[folder], of = self.count }
end

--- Runs a recipe in a folder of the run.
-- @tparam string recipe its name or path, as for config.run_recipe
-- @tparam string folder its name
-- @tparam string title says on the terminal what begins
-- @tparam {[string]=any} settings of the recipe; the common ones are laid over a copy
-- @treturn any what the recipe returns
function Stages:stage(recipe, folder, title, settings)
  self:say("%s  (%s)", title, format.duration(self.run:seconds()))
  local all = {}
  for key, value in pairs(settings) do
    all[key] = value
  end
  all.output_dir = self.dir .. "/" .. folder
  all.seed = self.cfg.seed
  all.threads = self.cfg.threads
  all.quiet = self.cfg.quiet
  all.precision = self.cfg:to_table().precision
  if self.cfg.resume and run.latest(all.output_dir) and is_own(self, all.output_dir) then
    all.resume = "latest"
    all.resume_changed = self.cfg.resume_changed
  else
    all.overwrite_output_dir = true
  end
  enter(self, folder)
  local began = system.monotonic()
  local result = config.run_recipe(recipe, all)
  collectgarbage() -- the models of a stage go with it, before the next loads its own
  collectgarbage() -- and what finalizers left
  core.mem_trim()
  self.seconds[folder] = (self.seconds[folder] or 0) + system.monotonic() - began
  return result
end

return stages
