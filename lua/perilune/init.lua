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
-- @module perilune

local core = require("perilune.core")
require("perilune.config.neighbours") -- from here on recipes find what lies beside them

local modules = {
  agreement = true, batch = true, chat = true, config = true, data = true, files = true,
  format = true, health = true, ingest = true, json = true, labeler_prompts = true, loss = true,
  meter = true, model = true, plot = true, preflight = true, progress = true, report = true,
  rollout = true, rules = true, run = true, schedule = true, stats = true, store = true,
  tokenizer = true, twins = true,
}

local pl = {}
for name, value in pairs(core) do
  if not modules[name] then
    pl[name] = value
  end
end

--- A tensor of the elements 0 .. n-1, int32.
function pl.arange(n)
  local list = {}
  for i = 1, n do
    list[i] = i - 1
  end
  return pl.tensor(list, "int32")
end

--- Loads a model folder (Hugging Face) or a llama2.c file.
-- @string path
-- @tparam[opt] table opts see perilune.model.load
-- @return model, or nil and a message
function pl.load(path, opts)
  return require("perilune.model").load(path, opts)
end

--- Answers of a model to prompts: see perilune.generate.
function pl.generate(model, prompts, opts)
  return require("perilune.generate").generate(model, prompts, opts)
end

return setmetatable(pl, {
  __names = modules, -- for completion, before they are loaded
  __index = function(t, name)
    if not modules[name] then
      return nil
    end
    local module = require("perilune." .. name)
    rawset(t, name, module)
    return module
  end,
})
