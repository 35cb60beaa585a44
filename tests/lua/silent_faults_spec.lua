--- Faults of learning from feedback that no error shows, by runs of the recipes themselves: how a
-- batch is cut, what a term adds, when steps stop, which model is the result.

local pl = require("perilune")
local world = dofile("tests/lua/support/world.lua")

local w

setup(function() w = world.new("llama") end)

teardown(world.clean)

local runs = 0
local function run(recipe, more)
  local settings = world.settings(w, recipe)
  settings.save_steps = 0
  for key, value in pairs(more) do
    settings[key] = value
  end
  runs = runs + 1
  local folder = ("%s/silent%d"):format(w.dir, runs)
  local summary = world.run(recipe, settings, folder)
  return assert(pl.run.read_rows(folder .. "/metrics.jsonl")), summary, folder
end

local function near(a, b, bound, what)
  local apart = math.abs(a - b)
  local text = ("%s: %.9g and %.9g"):format(what, a, b)
  assert.is_true(apart <= bound * math.max(1, math.abs(b)), text)
end

-- A reward function that gives every answer the same score.
local function constant(score)
  local body = "return function(_, a) local s = {} for i = 1, #a do s[i] = %g end return s end"
  return world.write(("%s/constant%g.lua"):format(w.dir, score), body:format(score))
end

describe("a step of PPO", function()
  it("is the same in micro-batches as in one", function()
    local rows = {}
    for i, tokens in ipairs { 16384, 30 } do
      rows[i] = run("ppo", {
        micro_batch_tokens = tokens,
        num_mini_batches = 1,
        max_steps = 1,
        kl_estimator = "full",
      })[1]
    end
    for _, name in ipairs {
      "grad_norm",
      "loss/policy_avg",
      "loss/value_avg",
      "loss/ptx_avg",
      "policy/entropy_avg",
      "val/ratio",
    } do
      near(rows[2][name], rows[1][name], 1e-4, name)
    end
  end)

  it("adds γ times the gradient of the pretraining text and no more", function()
    local norms = {}
    for i, gamma in ipairs { 0.25, 0.5 } do
      norms[i] = run("ppo", {
        reward_function = constant(0),
        missing_eos_rule = "none",
        kl_coef = 0,
        entropy_coef = 0,
        ptx_coef = gamma,
        num_mini_batches = 1,
        max_steps = 1,
      })[1].grad_norm
    end
    assert.is_true(norms[1] > 0)
    assert.are.equal(2 * norms[1], norms[2]) -- the policy's own gradient is 0
  end)

  it("is none of the policy where every answer scores the same", function()
    for _, recipe in ipairs { "ppo", "grpo", "rloo", "reinforce" } do
      local of_ppo = recipe == "ppo"
      local row = run(recipe, {
        reward_function = constant(4),
        missing_eos_rule = "none",
        whiten_rewards = of_ppo and "false" or nil, -- by token: lengths would have a say
        kl_coef = 0,
        entropy_coef = 0,
        ptx_coef = 0,
        num_mini_batches = 1,
        max_steps = 1,
        lam = of_ppo and 1 or nil,
      })[1]
      -- PPO's values start at 0 and γ λ is 1: all advantages are 4, and whitened 0
      assert.is_true(row.grad_norm < 1e-6, ("%s: %.3g"):format(recipe, row.grad_norm))
    end
  end)
end)

it("target_kl ends the passes over a batch, not one of them alone", function()
  for _, epochs in ipairs { 1, 3 } do
    local _, _, folder = run("ppo", {
      target_kl = 1e-12,
      num_ppo_epochs = epochs,
      total_episodes = 32,
      save_steps = 2,
    })
    local text = world.read(folder .. "/checkpoint-2/trainer_state.json")
    assert.are.equal(4, pl.json.decode(text).perilune.state.step) -- two an iteration
  end
end)

it("the best checkpoint of an averaged policy is the average that was measured", function()
  local rows, summary, folder = run("ppo", {
    eval_dataset = w.prompts,
    eval_steps = 1,
    eval_count = 8,
    checkpoint_choice = "eval_score",
    save_total_limit = 0,
    ema_decay = 0.5,
    ema_final = true,
    seed = 9,
  })
  local best
  for _, row in ipairs(rows) do
    if not best or row.eval_score > best.eval_score then best = row end
  end
  local checkpoint = ("%s/checkpoint-%d"):format(folder, best.step)
  assert.are.equal("checkpoint-" .. best.step, summary.best_checkpoint)
  local average = assert(pl.load(checkpoint .. "/ema")):hash()
  assert.are.equal(average, assert(pl.load(folder .. "/model")):hash())
  assert.are_not.equal(average, assert(pl.load(checkpoint)):hash())
end)

it("an averaged policy that is gone on with is the one of a run that was not stopped", function()
  local more = { ema_decay = 0.5, ema_final = true, save_steps = 1, save_total_limit = 0 }
  local _, whole, folder = run("ppo", more)
  for step = 3, 5 do
    assert(pl.files.folder_remove(("%s/checkpoint-%d"):format(folder, step)))
  end
  local settings = world.settings(w, "ppo")
  for key, value in pairs(more) do
    settings[key] = value
  end
  settings.resume = "latest"
  local resumed = world.run("ppo", settings, folder)
  local rows = assert(pl.run.read_rows(folder .. "/metrics.jsonl"))
  assert.are.equal(5, #rows)
  assert.are.equal(whole.weights_hash, resumed.weights_hash)
  assert.are_not.equal(whole.weights_hash, assert(pl.load(folder .. "/checkpoint-5")):hash())
end)

it("a reward of negative weight turns the order of answers round, one of 0 has no say", function()
  local plain = run("grpo", { max_steps = 1, missing_eos_rule = "none" })[1]
  local two = w.reward .. "," .. constant(5)
  local turned = run("grpo", {
    reward_function = two,
    reward_weights = "-2,0",
    max_steps = 1,
    missing_eos_rule = "none",
  })[1]
  near(turned["objective/scores"], -2 * plain["objective/scores"], 1e-12, "scores")
  near(turned["objective/scores_std"], 2 * plain["objective/scores_std"], 1e-12, "deviation")
end)

describe("a step of the reward model", function()
  it("pulls the mean score of each set to 0 as it is asked to, however it is cut", function()
    local norms = {}
    for i, tokens in ipairs { 16384, 60 } do
      local rows = run("reward", {
        center_rewards_coefficient = 0.5,
        micro_batch_tokens = tokens,
        max_steps = 1,
      })
      norms[i] = rows[1].grad_norm
    end
    near(norms[2], norms[1], 1e-4, "grad_norm")
    local without = run("reward", { max_steps = 1 })[1].grad_norm
    assert.is_true(math.abs(without - norms[1]) > 1e-6)
  end)
end)
