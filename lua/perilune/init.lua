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
local members = require("perilune.base.members")
require("perilune.config.neighbours") -- from here on recipes find what lies beside them

-- The public modules, by name, and where each lives: a room, or a module of one.
local modules = {
  advantage = "perilune.learn.advantage",
  agreement = "perilune.human.agreement",
  batch = "perilune.data.batch",
  chat = "perilune.data.chat",
  companions = "perilune.learn.companions",
  config = "perilune.config",
  data = "perilune.data",
  evaluation = "perilune.learn.evaluation",
  files = "perilune.base.files",
  format = "perilune.base.format",
  health = "perilune.run.health",
  ingest = "perilune.ingest",
  json = "perilune.base.json",
  labeler_prompts = "perilune.human.labeler_prompts",
  linear_critic = "perilune.learn.linear_critic",
  loss = "perilune.learn.loss",
  meter = "perilune.run.meter",
  model = "perilune.model",
  plot = "perilune.show.plot",
  policy_loss = "perilune.learn.policy_loss",
  preference = "perilune.learn.preference",
  online = "perilune.learn.online",
  preflight = "perilune.run.preflight",
  profile = "perilune.base.profile",
  progress = "perilune.run.progress",
  report = "perilune.show.report",
  random = "perilune.base.random",
  ranking = "perilune.learn.ranking",
  reward_loss = "perilune.learn.reward_loss",
  rollout = "perilune.learn.rollout",
  rules = "perilune.rules",
  run = "perilune.run",
  schedule = "perilune.config.schedule",
  score = "perilune.learn.score",
  stages = "perilune.run.stages",
  stats = "perilune.base.stats",
  store = "perilune.store",
  tasks = "perilune.learn.tasks",
  tokenizer = "perilune.model.tokenizer",
  twins = "perilune.learn.twins",
}

local pl = {}
for name, value in pairs(core) do
  -- The engine's tables are for the library; what is public of them is in a module.
  if type(value) ~= "table" then pl[name] = value end
end

--- The machine and this process, for tests and tools: clocks, memory, environment, child processes.
-- What fails outside gives nil, a message and the system's number of the error.
--
--     monotonic(), realtime() -> seconds, since some fixed moment; since 1970
--     sleep(seconds) -> true; false when a signal cut it short
--     pid(), hostname() -> of this process, of the machine
--     kill(pid, signal = 15) -> true; signal 0 only asks whether the process is there
--     wait(pid, block = true) -> "exit", code or "signal", number; nothing while the process runs
--         and `block` is false
--     spawn({"program", "arg", ...}, {stdin =, stdout =, stderr = paths, wait = true,
--         session = false}) -> as wait; with wait = false the pid. With `session` no Ctrl-C of this
--         terminal reaches it, nor the terminal's end
--     redirect(path) -> true: standard output and error go to the end of a file from now on
--     lock_holder(path) -> the pid of another process that holds a lock on the file; else nothing
--     setenv(name, value) -> true: for this process and its children; nil takes the name away
--     meminfo() -> {total =, available =, rss =, peak_rss =}, bytes, as far as known
--     disk_free(path) -> bytes that an ordinary user can still write there
--     affinity() -> how many CPUs this process may run on
--     openblas() -> {config =, core =, parallel = "serial", "threads" or "openmp"}
--     isatty(fd = 1) -> boolean
--     terminal_size(fd = 1) -> columns, rows; nothing when it is no terminal
--     columns(text, limit) -> columns that a terminal shows it in, and how many of its first bytes
--         fit within `limit` columns (nil: all); nil when it is not UTF-8
-- @type table
pl.system = core.system

--- Seconds on a clock that is never set back, to tell how long something took.
-- @treturn number seconds, from a start that means nothing by itself
function pl.seconds()
  local seconds = core.system.monotonic()
  return seconds
end

--- Loads a model: a Hugging Face folder, a GGUF file, a llama2.c file or a folder of adapters. The
-- same as `pl.model.load`.
-- @tparam string path of the folder or file
-- @tparam ?LoadOptions opts its options
-- @treturn ?Model nil when it cannot be loaded
-- @treturn ?string message
function pl.load(path, opts)
  local model, message = require("perilune.model").load(path, opts)
  return model, message
end

--- An AdamW optimizer (Loshchilov and Hutter, arXiv:1711.05101) over a block of parameters or over
-- tensors. Raises when a tensor wants no gradient, stands there twice or has another dtype.
-- @tparam ParameterBlock|{Tensor,...}|{[string]=Tensor} parameters model.block, or tensors that
--   want gradients, of any shape [...] and one float dtype: `pl.adamw{w, b}`
-- @tparam ?table opts `moments` ("float32") or "8bit": both moments in 8 bits an element
--   and a scale for each 256 (arXiv:2110.02861), a quarter of the memory; only float32 parameters
-- @treturn Optimizer
function pl.adamw(parameters, opts)
  local adamw = require("perilune.learn.optimizer").adamw(parameters, opts)
  return adamw
end

--- Muon (Jordan et al. 2024) for matrices, AdamW for all other parameters, at one rate and decay: a
-- step of Muon is as long as one of AdamW (its elements have a root mean square of 0.2 of the rate,
-- arXiv:2502.16982), and equally long in all directions of the matrix. One momentum in place of two
-- moments. Raises as `pl.adamw` does, when there is no such matrix, and when there are adapters.
-- @tparam ParameterBlock|{Tensor,...}|{[string]=Tensor} parameters model.block, of which Muon steps
--   what has two axes and a number as one part of its name, as in a decoder's numbered blocks;
--   embeddings and heads are AdamW's. In a list of tensors [...] all those with two axes
-- @tparam ?table opts `precision` ("float32") of its products, or "bf16"
-- @treturn Optimizer
function pl.muon(parameters, opts)
  local muon = require("perilune.learn.optimizer").muon(parameters, opts)
  return muon
end

--- The optimizer that a config asks for. Raises when it does not fit the block.
-- @tparam ParameterBlock block a model's
-- @tparam Config cfg with the rows of `pl.config.adam` and `pl.config.precision`: `optimizer`,
--   `adam_moments` and `precision` are read
-- @treturn Optimizer
function pl.optimizer(block, cfg)
  local optimizer = require("perilune.learn.optimizer").of(block, cfg)
  return optimizer
end

--- Answers of a model to prompts. Raises when a prompt is empty, holds an id that the vocabulary
-- does not have, or leaves no room for an answer in the model's context.
-- @tparam Model model
-- @tparam {{integer,...},...} prompts token ids of each
-- @tparam ?GenerateOptions opts what answers are drawn by
-- @treturn Answers in tensors of the caller's scope
function pl.generate(model, prompts, opts)
  return (require("perilune.model.generate").generate(model, prompts, opts))
end

-- A module of the face: it shows itself, and a name it has not is an error. One that already has a
-- metatable (it can be called, or loads its parts at first use) keeps what is in there.
local function dress(name, module)
  local meta = getmetatable(module)
  if meta == nil then
    meta = {}
    setmetatable(module, meta)
  end
  if type(meta) ~= "table" then return module end
  local own, unknown = meta.__index, members.unknown("pl." .. name, module, meta.__names or {})
  meta.__tostring = meta.__tostring
    or function() return require("perilune.reference.face").module(name) end
  if own == nil then
    meta.__index = unknown
  elseif meta.__names and type(own) == "function" then
    meta.__index = function(self, key)
      local value = own(self, key)
      if value == nil then return unknown(self, key) end
      return value
    end
  end
  return module
end

local unknown = members.unknown("pl", pl, modules)

return setmetatable(pl, {
  __names = modules, -- for completion, before they are loaded
  __index = function(self, name)
    local path = modules[name]
    if path == nil then return unknown(self, name) end
    local module = dress(name, require(path))
    rawset(self, name, module)
    return module
  end,
  __tostring = function(self) return require("perilune.reference.face").library(self, modules) end,
})
