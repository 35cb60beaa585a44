--- PPO's first ratio is 1: answers that training reads with the bits they were sampled with.

local assert = require("luassert")
local frozen_base = require("perilune.model.frozen_base")
local kept = dofile("tests/lua/support/kept.lua")
local pl = require("perilune")

local batch, loss = pl.batch, pl.loss

local first_ratio = {}

local prompts = { { 1, 2, 3 }, { 4 }, { 5, 6, 7, 8, 9, 10 }, { 12, 13 } }

--- Samples, then reads the answers as PPO's first minibatch does: the ratio and its variance.
-- @tparam Model policy
function first_ratio.holds(policy)
  local answers = pl.generate(policy, prompts, {
    max_tokens = 24,
    temperature = 0.8,
    samples = 3,
    slots = 5,
    stop = { 0 },
    seed = 6,
  })
  local list, masks = {}, {}
  for i, answer in ipairs(answers) do
    list[i], masks[i] = pl.data.join(prompts[answer.prompt], answer.tokens)
  end
  local packed, at = batch.pack(list), batch.targets(list, masks)
  local logprob = loss.logprobs(policy, packed, at, { temperature = 0.8, checkpoint = true })
  assert.is_true(logprob:requires_grad())
  local old = answers.logprobs
  local _, stats = pl.ppo_loss(logprob, old, pl.full(old:shape(), 1.0))
  assert.are.equal(1, stats:get(3))
  assert.are.same({ 1, 1 }, { stats:get(5), stats:get(6) }) -- the least and the largest
  local again = loss.sequence_logprobs(policy, batch.parts(list, masks, 40), { temperature = 0.8 })
  assert.are.equal(old:bytes(), again:bytes())
end

--- Lays random blocks of a dtype where a base held its projections.
-- @tparam string path of a model folder
-- @tparam string dtype
-- @treturn Base
function first_ratio.in_blocks(path, dtype)
  local base = assert(frozen_base.load(path, "kept"))
  for name, weight in pairs(base.weights) do
    if name:find("proj") then
      base.weights[name] = kept.weight(dtype, table.unpack(weight:shape())):keep(true)
    end
  end
  return base
end

return first_ratio
