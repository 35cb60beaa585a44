--- The KL over the whole vocabulary as a reward: that its gradient through sampled answers is that
-- of the KL of answers, which a toy's two-token answers give by enumeration.

local message_of = dofile("tests/lua/support/message_of.lua")
local pl = require("perilune")
local world = dofile("tests/lua/support/world.lua")

local w

-- The recipe shifts the policy away from the reference, takes one step of rate 0 on answers whose
-- scores are all 0, and compares its gradient with the one by enumeration of all answers.
local RECIPE <const> = [[
local pl = require("perilune")
local cfg = pl.config {
  name = "kl_gradient", about = "a gradient of the KL",
  "Models and data", pl.config.online(),
  { batch_size = 4096, "answers", min = 1 },
  { whiten = false, "advantages by their deviation" },
  pl.config.sampling(), pl.config.kl(), pl.config.scores(),
  pl.config.policy_steps { num_mini_batches = 1 },
  pl.config.forwards(), pl.config.ptx(), pl.config.adam(), pl.config.peft(), pl.config.held_out(),
}
local online = pl.online.open(cfg, "kl_gradient")
local policy, reference = online.policy, online.reference
local factors = { ["model.layers.0.mlp.down_proj.weight"] = 2.5, ["model.norm.weight"] = 1.3 }
for name, factor in pairs(factors) do
  local weight, guard <close> = policy.weights[name], pl.no_grad()
  weight:copy_(weight * factor)
end
local loss, vocabulary = pl.loss, #online.tokenizer
local question = online.prompts[1].tokens

-- By enumeration: Σ_t KL_t of all answers of two tokens, each by the probability of its first.
local sequences, masks = {}, {}
for a = 0, vocabulary - 1 do
  sequences[a + 1], masks[a + 1] = pl.data.join(question, { a, 0 })
end
local packed = pl.batch.pack(sequences)
local at = pl.batch.targets(sequences, masks)
local logprob, _, kl = loss.logprobs_and_kl(policy, reference, packed, at, {})
local first, second = {}, {}
for a = 0, vocabulary - 1 do
  first[a + 1], second[a + 1] = 2 * a, 2 * a + 1
end
local ids = function(list) return pl.tensor(list, "int32") end
local p = pl.gather(logprob, ids(first)):exp()
local total = (p * (pl.gather(kl, ids(first)) + pl.gather(kl, ids(second)))):sum()
policy.block:zero_grad()
total:backward()
local exact = policy.block:grads():totable()

local keys, chosen = {}, {}
for i = 1, cfg.batch_size do
  keys[i], chosen[i] = 1, i
end
online.prompt_at = function() return 1 end
local roll, asked = online:sample({ 1 }, cfg.batch_size)
online:evaluate(roll, asked)
local _, per_token = online:rewards(roll, 1)
local advantages = pl.reverse_scan(per_token, roll.answers.offsets)
if cfg.whiten then advantages, roll.deviation = pl.rollout.whiten(advantages, true) end
online:learn("reinforce", roll, chosen, advantages, 1, { step = 0, skipped = 0 }, pl.meter.new())
local sampled = policy.block:grads():totable()
local apart, length, unit = 0, 0, roll.deviation or 1
for i, want in ipairs(exact) do
  apart = apart + (sampled[i] * unit - want) ^ 2
  length = length + want * want
end
return { apart = math.sqrt(apart / length), kl = total:item() }
]]

setup(function()
  w = world.new("llama")
  world.write(w.dir .. "/kl_gradient.lua", RECIPE)
  world.write(
    w.dir .. "/nothing.lua",
    "return function(_, answers)\n  local list = {}\n"
      .. "  for i = 1, #answers do list[i] = 0 end\n  return list\nend\n"
  )
end)

teardown(function() world.clean() end)

local function apart(more)
  local settings = {
    model = w.model,
    reward_function = w.dir .. "/nothing.lua",
    dataset = w.prompts,
    response_length = 2,
    missing_eos_rule = "none",
    kl_coef = 1,
    learning_rate = 0.0,
    max_grad_norm = 0,
    slots = 256,
    seed = 3,
    output_dir = w.dir .. "/out",
    quiet = true,
  }
  for key, value in pairs(more) do
    settings[key] = value
  end
  return pl.config.run_recipe(w.dir .. "/kl_gradient.lua", settings)
end

describe("the gradient of a KL in the reward", function()
  it("over the whole vocabulary is that of the KL of answers", function()
    for _, whiten in ipairs { false, true } do
      local found = apart { kl_estimator = "full", whiten = whiten }
      assert.is_true(found.kl > 0.05, found.kl)
      assert.is_true(found.apart < 0.06, found.apart)
    end
  end)

  it("of k1 is the same, with more noise", function()
    local found = apart { kl_estimator = "k1" }
    assert.is_true(found.apart < 0.2, found.apart)
  end)

  it("is refused where each group has a deviation of its own", function()
    local settings = world.settings(w, "grpo")
    settings.output_dir = w.dir .. "/grpo"
    settings.kl_estimator, settings.kl_placement = "full", "reward"
    local message = message_of(pl.config.run_recipe, "recipes/grpo.lua", settings)
    assert.is_truthy(message:find("give kl_placement loss, or scale_rewards none", 1, true))
  end)
end)
