--- Perilune: teaching language models from human feedback.
--
--     local pl = require "perilune"
--     local model = assert(pl.load("path/to/model"))
--     print(pl.generate(model, { { 1 } }, { max_tokens = 40 })[1].tokens)
--
-- The table holds every op of engine/ops/ops.def, tensors, scopes and memory (from the engine), and
-- the modules below, loaded at first use.
--
-- Counting: axes and indices count from 1; token ids and the int32 tensors that hold offsets, rows
-- and positions are data and count from 0.

local core = require("perilune.core")
local lazy = require("perilune.base.lazy")
require("perilune.config.neighbours") -- from here on recipes find what lies beside them

-- The public modules, by name, and where each lives: a room, or a module of one.
local modules = {
  agreement = "perilune.human.agreement",
  batch = "perilune.data.batch",
  chat = "perilune.data.chat",
  companions = "perilune.learn.companions",
  config = "perilune.config",
  data = "perilune.data",
  files = "perilune.base.files",
  format = "perilune.base.format",
  health = "perilune.run.health",
  ingest = "perilune.ingest",
  json = "perilune.base.json",
  labeler_prompts = "perilune.human.labeler_prompts",
  loss = "perilune.learn.loss",
  meter = "perilune.run.meter",
  model = "perilune.model",
  plot = "perilune.show.plot",
  preflight = "perilune.run.preflight",
  progress = "perilune.run.progress",
  report = "perilune.show.report",
  random = "perilune.base.random",
  ranking = "perilune.learn.ranking",
  rollout = "perilune.learn.rollout",
  rules = "perilune.rules",
  run = "perilune.run",
  schedule = "perilune.config.schedule",
  score = "perilune.learn.score",
  stages = "perilune.run.stages",
  stats = "perilune.base.stats",
  store = "perilune.store",
  tokenizer = "perilune.model.tokenizer",
  twins = "perilune.learn.twins",
}

local pl = {}
for name, value in pairs(core) do
  -- The engine's tables are for the library; what is public of them is in a module.
  if type(value) ~= "table" then pl[name] = value end
end

--- The machine and this process, for tests and tools: clocks, memory, environment, child processes;
-- each function is described above its C source, lua/bind/lb_system.c.
-- @type table
pl.system = core.system

--- Seconds on a clock that is never set back, to tell how long something took.
-- @treturn number
function pl.seconds()
  local seconds = core.system.monotonic()
  return seconds
end

--- Loads a model folder (Hugging Face) or a llama2.c file.
-- @tparam string path
-- @tparam ?table opts see perilune.model.load
-- @treturn ?Model
-- @treturn ?string message
function pl.load(path, opts)
  local model, message = require("perilune.model").load(path, opts)
  return model, message
end

--- An AdamW optimizer over a block of parameters: see perilune.learn.adamw.
-- @tparam ParameterBlock block the parameters, model.block
-- @treturn AdamW
function pl.adamw(block) return (require("perilune.learn.adamw").new(block)) end

--- Answers of a model to prompts: see perilune.model.generate.
-- @tparam Model model
-- @tparam {table,...} prompts lists of token ids
-- @tparam ?table opts see there
-- @treturn Answers in tensors of the caller's scope
function pl.generate(model, prompts, opts)
  return (require("perilune.model.generate").generate(model, prompts, opts))
end

return lazy(pl, modules)
