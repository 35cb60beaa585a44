--- REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024, arXiv:2402.14740, section 2.3):
-- K answers to each prompt, each held against the mean of the others; a whole answer is one action.
--
--   r_i = R(x, y_i) - β ln( π(y_i|x) / π_ref(y_i|x) )            (1)
--   A_i = r_i - 1/(K-1) Σ_{j ≠ i} r_j                            (2)
--   L = 1/B Σ_i -min(ρ_i A_i, clip(ρ_i, 1-ε, 1+ε_high) A_i)      (3)
--     + γ E_{x~pretrain} [ -ln π(x) ],   ρ_i = π(y_i|x) / π_old(y_i|x)
--
-- With one pass of one minibatch ρ is 1 and the gradient of (3) is that of REINFORCE; the clip, as
-- TRL has it, holds further steps on the same answers. Deviation: the term of γ is PPO-ptx's.
--
-- `credit token`: what parts RLOO from PPO is the noise of one number for a whole answer. The
-- reward model's hidden states tell how an answer stands at each token, so a line through them,
-- fitted by least squares (pl.linear_critic), does what a value model would: advantages by GAE, to
-- deviation 1, and in place of (3) PPO's mean over tokens, each with a ratio of its own.

local pl = require("perilune")
local advantage = pl.advantage

local cfg = pl.config {
  name = "rloo",
  about = "REINFORCE with a leave-one-out baseline over K answers a prompt",
  "Models and data",
  pl.config.online(),
  "Rollouts",
  { total_episodes = 8192, "answers in the whole run", min = 1 },
  { batch_size = 128, "answers in one iteration", min = 2 },
  pl.config.groups { num_generations = 4 },
  pl.config.credit(),
  pl.config.sampling(),
  "Rewards",
  pl.config.kl(),
  pl.config.likelihood(),
  pl.config.scores(),
  { normalize_advantages = false, "advantages of answers to deviation 1 over the batch" },
  "Optimisation",
  pl.config.policy_steps { num_mini_batches = 1 },
  pl.config.forwards(),
  pl.config.ptx(),
  pl.config.average(),
  pl.config.adam(),
  "Adapters on a frozen model",
  pl.config.peft { dropout = false }, -- what is scored is what was sampled
  "Evaluation",
  pl.config.held_out(),
}
local run = pl.run.open(cfg)

local online = pl.online.open(cfg, "rloo")
local k, groups = cfg.num_generations, cfg.batch_size // cfg.num_generations
local iterations = cfg:set_horizon(math.ceil(cfg.total_episodes / cfg.batch_size))
local critic = cfg.credit == "token" and pl.linear_critic.new(online.judge, cfg.response_length)
local parts = online:parts { critic = critic or nil }
local state = online:restore(run, parts, { asked = 0 }) -- prompts that were asked
local check = online:preflight(pl.preflight.new(cfg, online:checked()), iterations)

-- (2) of each token. With `credit token` the loss that goes with them is PPO's, which
-- pl.policy_loss has as dapo.
local function credit(roll, rewards, per_token)
  if critic then
    local expected = advantage.of_others(rewards, k)
    local list, explained = critic:advantages(roll, expected, per_token, cfg.lam)
    list, roll.deviation = pl.rollout.whiten(list, true)
    return "dapo", list, explained
  end
  local list = advantage.leave_one_out(rewards, k)
  local advantages = pl.segment_repeat(pl.tensor(list), roll.answers.offsets)
  if cfg.normalize_advantages then
    roll.deviation = math.max(pl.stats.std(list), 1e-8)
    advantages = advantages / roll.deviation
  end
  return "rloo", advantages
end

local book = run:book(parts, state, {
  total = iterations,
  done = state.iterations,
  unit = "iteration",
})

for iteration = state.iterations + 1, iterations do
  local scope <close> = pl.scope("rloo.iteration")
  run:at(iteration)
  local began = pl.seconds()
  local roll, asked, found = online:groups(state.asked + 1, groups, k, cfg.dynamic_sampling)
  state.asked = state.asked + found.drawn
  online:evaluate(roll, asked)
  if iteration == 1 then online:first_batch(check, roll, iterations, pl.seconds() - began) end

  local rewards, per_token = online:rewards(roll, cfg.kl_coef(iteration), iteration) -- (1)
  local kind, advantages, explained = credit(roll, rewards, per_token)

  local seen = pl.meter.new()
  for epoch = 1, cfg.num_iterations do
    for _, chosen in ipairs(online:minibatches(iteration, epoch)) do
      online:learn(kind, roll, chosen, advantages, iteration, state, seen) -- (3)
    end
  end

  local equal = found.equal / groups
  online:close(book, iteration, roll, {
    rewards = per_token,
    seen = seen,
    metrics = {
      frac_reward_zero_std = equal,
      ["groups/drawn"] = found.drawn,
      ["val/var_explained"] = explained,
    },
    shown = { kl = roll.old - roll.reference, advantage = advantages },
  })
end

return (online:finish(book, { prompts_asked = state.asked }))
