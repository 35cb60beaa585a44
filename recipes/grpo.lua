--- Group relative policy optimisation (Shao et al. 2024, arXiv:2402.03300, section 4.1) and what
-- came of it: PPO without a value model. K answers to each prompt; an answer's advantage is its
-- reward against those of its group.
--
--   A_i = (r_i - mean(r_1..K)) / std(r_1..K)                                            (1)
--   L = 1/B Σ_i 1/|y_i| Σ_t -min(ρ_t A_i, clip(ρ_t, 1-ε, 1+ε_high) A_i)                 (2)
--     + β KL(π, π_ref) + γ E_{x~pretrain} [ -ln π(x) ]
--
-- One iteration: (a) the policy answers prompts, K times each; (b) they are scored; groups whose
-- scores are all equal teach nothing, and may be drawn anew; (c) advantages by (1); (d) steps on
-- (2) over minibatches. `loss_type` is (2) as its successors have it (equations: pl.policy_loss):
-- dr_grpo (arXiv:2503.20783), which divides neither by length nor by deviation; dapo
-- (arXiv:2503.14476), a mean over tokens, with cliprange_high, dynamic_sampling and
-- overlong_buffer; gspo (arXiv:2507.18071), one ratio an answer; cispo (arXiv:2506.13585), a
-- clipped weight.
--
-- Deviations: std is over K - 1 and has 1e-4 added, as in TRL; the pretraining term is PPO-ptx's.
-- `credit token`: in (1) stands GAE's advantage of each token, by values that a line through the
-- reward model's hidden states tells (pl.linear_critic), divided as (1) is.

local pl = require("perilune")
local advantage = pl.advantage

local cfg = pl.config {
  name = "grpo",
  about = "group relative policy optimisation: K answers a prompt and no value model",
  "Models and data",
  pl.config.online(),
  "Rollouts",
  { total_episodes = 8192, "answers in the whole run", min = 1 },
  { batch_size = 128, "answers in one iteration", min = 2 },
  pl.config.groups { num_generations = 8 },
  pl.config.credit(),
  pl.config.sampling(),
  "Rewards",
  pl.config.kl { kl_coef = 0.04, kl_estimator = "k3", kl_placement = "loss" },
  pl.config.likelihood(),
  pl.config.scores(),
  {
    scale_rewards = "auto",
    "advantages by the deviation of the group, of the batch, or none; auto: none in dr_grpo",
    choices = { "auto", "group", "batch", "none" },
  },
  "Optimisation",
  {
    loss_type = "grpo",
    "of pl.policy_loss",
    choices = { "grpo", "dr_grpo", "dapo", "gspo", "cispo" },
  },
  pl.config.policy_steps(),
  pl.config.forwards(),
  pl.config.ptx(),
  pl.config.average(),
  pl.config.adam(),
  "Adapters on a frozen model",
  pl.config.peft { dropout = false }, -- what is scored is what was sampled
  "Evaluation",
  pl.config.held_out(),
  check = function(c)
    local grouped = c.scale_rewards == "group"
      or c.scale_rewards == "auto" and c.loss_type ~= "dr_grpo"
    if c.credit == "token" and c.loss_type == "gspo" then
      return "loss_type gspo has one ratio and one advantage an answer: give credit answer, or "
        .. "another loss_type"
    elseif c.kl_placement == "reward" and c.kl_estimator == "full" and grouped then
      return "kl_estimator full in the reward is for advantages that are not divided by the "
        .. "deviation of each group: give kl_placement loss, or scale_rewards none"
    end
  end,
}
local run = pl.run.open(cfg)

local online = pl.online.open(cfg, "grpo")
local k, groups = cfg.num_generations, cfg.batch_size // cfg.num_generations
local iterations = cfg:set_horizon(math.ceil(cfg.total_episodes / cfg.batch_size))
local critic = cfg.credit == "token" and pl.linear_critic.new(online.judge, cfg.response_length)
local parts = online:parts { critic = critic or nil }
local state = online:restore(run, parts, { asked = 0 }) -- prompts that were asked
local check = online:preflight(pl.preflight.new(cfg, online:checked()), iterations)
local scale = cfg.scale_rewards
if scale == "auto" then scale = cfg.loss_type == "dr_grpo" and "none" or "group" end

-- (c) Each token has the advantage of its answer, or its own.
local function credit(roll, rewards, per_token)
  local list, deviation, divisors = advantage.group(rewards, k, scale)
  roll.deviation = deviation
  local function each_token(x) return pl.segment_repeat(pl.tensor(x), roll.answers.offsets) end
  if not critic then return each_token(list) end
  local expected = advantage.of_others(rewards, k)
  local advantages, explained = critic:advantages(roll, expected, per_token, cfg.lam)
  return advantages / each_token(divisors), explained
end

-- The loop ----------------------------------------------------------------------------------------
local book = run:book(parts, state, {
  total = iterations,
  done = state.iterations,
  unit = "iteration",
})
for iteration = state.iterations + 1, iterations do
  local scope <close> = pl.scope("grpo.iteration")
  run:at(iteration)

  -- (a), (b) Groups of answers, and what judge and reference say of them.
  local began = pl.seconds()
  local roll, asked, found = online:groups(state.asked + 1, groups, k, cfg.dynamic_sampling)
  state.asked = state.asked + found.drawn
  online:evaluate(roll, asked)
  if iteration == 1 then online:first_batch(check, roll, iterations, pl.seconds() - began) end

  local rewards, per_token = online:rewards(roll, cfg.kl_coef(iteration), iteration)
  local advantages, explained = credit(roll, rewards, per_token)

  -- (d) Steps over minibatches of answers.
  local seen = pl.meter.new()
  for epoch = 1, cfg.num_iterations do
    for _, chosen in ipairs(online:minibatches(iteration, epoch)) do
      online:learn(cfg.loss_type, roll, chosen, advantages, iteration, state, seen)
    end
  end

  online:close(book, iteration, roll, {
    rewards = per_token,
    seen = seen,
    metrics = {
      frac_reward_zero_std = found.equal / groups,
      ["groups/drawn"] = found.drawn,
      ["val/var_explained"] = explained,
    },
    shown = { kl = roll.old - roll.reference, advantage = advantages },
  })
end

return (online:finish(book, { prompts_asked = state.asked }))
