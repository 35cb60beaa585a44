--- REINFORCE (Williams 1992) with a running mean as its baseline, and REINFORCE++ (Hu 2025,
-- arXiv:2501.03262): one answer a prompt, no value model, no groups.
--
--   ema:           A_i = r_i - b for all tokens of answer i, then b ← δ b + (1-δ) mean(r)
--                  L = 1/B Σ_i Σ_t -A_i ln π(y_t)
--   reinforce++:   A_t = Σ_{s ≥ t} r_s, normalised over all tokens of the batch;
--                  L = PPO's clipped surrogate, a mean over tokens
--
-- r_s is -β times the KL of token s, and at the last token also the score; r_i is their sum. To
-- both comes γ times the loss on pretraining text (PPO-ptx). Deviation: b starts as the mean of the
-- first batch, not as 0.

local pl = require("perilune")
local advantage, rollout = pl.advantage, pl.rollout

local cfg = pl.config {
  name = "reinforce",
  about = "REINFORCE with a running baseline, and REINFORCE++",
  "Models and data",
  pl.config.online(),
  "Rollouts",
  { total_episodes = 8192, "answers in the whole run", min = 1 },
  { batch_size = 128, "answers in one iteration", min = 1 },
  pl.config.sampling(),
  "Rewards",
  pl.config.kl(),
  pl.config.likelihood(),
  pl.config.scores(),
  {
    baseline = "ema",
    "the running mean of rewards, or the mean of the batch's tokens (reinforce++)",
    choices = { "ema", "reinforce++" },
  },
  { baseline_decay = 0.9, "δ of the running mean", min = 0, under = 1 },
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

local online = pl.online.open(cfg, "reinforce")
local iterations = cfg:set_horizon(math.ceil(cfg.total_episodes / cfg.batch_size))
local parts = online:parts()
local state = online:restore(run, parts) -- gets `baseline`, the running mean
local check = online:preflight(pl.preflight.new(cfg, online:checked()), iterations)
local book = run:book(parts, state, {
  total = iterations,
  done = state.iterations,
  unit = "iteration",
})
local plus = cfg.baseline == "reinforce++"

for iteration = state.iterations + 1, iterations do
  local scope <close> = pl.scope("reinforce.iteration")
  run:at(iteration)
  local began = pl.seconds()
  local roll, asked = online:sample(online:keys(iteration))
  online:evaluate(roll, asked)
  if iteration == 1 then online:first_batch(check, roll, iterations, pl.seconds() - began) end

  local rewards, per_token = online:rewards(roll, cfg.kl_coef(iteration), iteration)
  local advantages
  if plus then
    local to_go = pl.reverse_scan(per_token, roll.answers.offsets)
    advantages, roll.deviation = rollout.whiten(to_go, true)
  else
    local list
    list, state.baseline = advantage.running(rewards, state.baseline, cfg.baseline_decay)
    advantages = pl.segment_repeat(pl.tensor(list), roll.answers.offsets)
  end

  local seen = pl.meter.new()
  for epoch = 1, cfg.num_iterations do
    for _, chosen in ipairs(online:minibatches(iteration, epoch)) do
      local kind = plus and "dapo" or "reinforce" -- of pl.policy_loss
      online:learn(kind, roll, chosen, advantages, iteration, state, seen)
    end
  end

  online:close(book, iteration, roll, {
    rewards = per_token,
    seen = seen,
    metrics = { ["objective/baseline"] = state.baseline },
    shown = { kl = roll.old - roll.reference, advantage = advantages },
  })
end

return (online:finish(book))
