--- The task that `perilune compare` puts methods to: the stories' model, prompts and judge, and the
-- settings that each recipe learns with there.

local methods = {}

-- The settings of `of` that belong to one of these keys.
local function only(of, keys)
  local chosen = {}
  for _, key in ipairs(keys) do
    chosen[key] = of[key]
  end
  return chosen
end

--- The task.
-- @tparam {[string]=string} paths files of the run: `rankings`, `judged`, `held_out`, `judge`,
--   `test`
-- @tparam string model the SFT model
-- @tparam string reward_model
-- @tparam {[string]=any} of_policies settings of all that learn from their own answers
-- @tparam {[string]=any} of_ppo settings of PPO alone
-- @treturn table for task.json: see `perilune compare --help`
function methods.task(paths, model, reward_model, of_policies, of_ppo)
  local offline = {
    dataset = paths.rankings,
    eval_dataset = paths.judged,
    batch_size = 8,
    num_train_epochs = 1,
    learning_rate = "warmup(10, cosine(0.0002, 0.00001))",
    beta = 2, -- 0.1 goes 40 nats away
  }
  local sampled = only(of_policies, {
    "dataset",
    "total_episodes",
    "batch_size",
    "slots",
    "micro_batch_tokens",
    "missing_eos_rule",
    "learning_rate",
    "ptx_dataset",
    "ptx_coef",
    "ptx_batch_ratio",
    "ema_decay",
    "ema_final",
  })
  local function with(...)
    local all = {}
    for _, part in ipairs { sampled, ... } do
      for key, value in pairs(part) do
        all[key] = value
      end
    end
    return all
  end
  -- Credit of tokens wants what PPO wants; its critic needs no iterations of its own.
  local warm_up = (of_ppo.value_warmup or 0) * sampled.batch_size
  local by_token = {
    credit = "token",
    num_mini_batches = of_ppo.num_mini_batches,
    lam = of_ppo.lam,
    kl_coef = 0.25,
    kl_placement = "reward",
    kl_estimator = "k1",
    total_episodes = math.max(sampled.batch_size, sampled.total_episodes - warm_up),
  }
  -- Without a critic a step wants more answers, and a lower rate.
  local no_critic = {
    batch_size = 256,
    num_mini_batches = 4,
    learning_rate = "warmup(8, linear(0.0001, 0.00001), 0.1)",
    ema_decay = 0.95,
  }
  return {
    model = model,
    proxy = reward_model,
    judge = paths.judge,
    held_out = paths.held_out,
    text = paths.test,
    settings = only(of_policies, { "response_length", "ptx_length" }),
    methods = {
      ppo = with(of_ppo),
      rloo = with(by_token, { num_generations = 2 }),
      grpo = with(by_token, { num_generations = 4 }),
      reinforce = with(no_critic, { kl_coef = 0.25 }),
      dpo = offline,
      kto = offline,
    },
  }
end

return methods
