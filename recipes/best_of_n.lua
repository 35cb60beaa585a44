--- Best-of-n put into the policy: the best of K answers to each prompt are its demonstrations.
--
--   y* = argmax_{i = 1..K} R(x, y_i) - β ln( π(y_i|x) / π_ref(y_i|x) )                (1)
--   L = -1/T Σ_x Σ_t ln π(y*_t | x, y*_<t),  T the tokens of a step's answers         (2)
--
-- `answers_of reference`: the start answers, and the policy learns what its best-of-n would say
-- (rejection sampling: Touvron et al. 2023, arXiv:2307.09288, section 3.2.3). `answers_of policy`:
-- the policy answers, round after round, each better than the last: RAFT (Dong et al. 2023,
-- arXiv:2304.06767), and, with a reward that is checked, expert iteration. Groups whose answers all
-- score the same have no best: they are left out, or drawn anew. So are, with `min_score`, groups
-- whose best is not good enough.
--
-- There is no KL in (2): what holds the policy is that it learns from answers of its own.

local pl = require("perilune")
local batch = pl.batch

local cfg = pl.config {
  name = "best_of_n",
  about = "rejection sampling and expert iteration: SFT on the best of K answers",
  "Models and data",
  pl.config.online { ptx = false },
  "Rollouts",
  { total_episodes = 8192, "answers in the whole run", min = 1 },
  { batch_size = 256, "answers in one round", min = 2 },
  pl.config.groups { num_generations = 8 },
  {
    answers_of = "policy",
    "who answers: policy or reference",
    choices = { "policy", "reference" },
  },
  pl.config.sampling(),
  "Rewards",
  pl.config.kl { kl_coef = 0.0 },
  pl.config.scores(),
  {
    min_score = false,
    "the best of a group is trained when it scores this at least; false: always",
    type = "number",
  },
  "Optimisation",
  { num_iterations = 1, "passes over the best of a round", min = 1, live = true },
  { num_mini_batches = 4, "steps in a pass", min = 1 },
  pl.config.forwards(),
  pl.config.average(),
  pl.config.adam(),
  "Adapters on a frozen model",
  pl.config.peft { dropout = false },
  "Evaluation",
  pl.config.held_out(),
}
local run = pl.run.open(cfg)

local online = pl.online.open(cfg, "best_of_n")
if cfg.answers_of == "reference" then online.sampler = online.reference end
local k, groups = cfg.num_generations, cfg.batch_size // cfg.num_generations
local iterations = cfg:set_horizon(math.ceil(cfg.total_episodes / cfg.batch_size))
local parts = online:parts()
local state = online:restore(run, parts, { asked = 0 }) -- prompts that were asked
local check = online:preflight(pl.preflight.new(cfg, online:checked()), iterations)

-- (1) Sequences and masks of the best answers, and what their scores are on average.
local function best_of(roll, rewards)
  local best, seen = { sequences = {}, masks = {} }, pl.meter.new()
  for g = 1, groups do
    local first = (g - 1) * k + 1
    local at, least = first, rewards[first]
    for i = first, g * k do
      if rewards[i] > rewards[at] then at = i end
      least = math.min(least, rewards[i])
    end
    if rewards[at] > least and roll.scores[at] >= (cfg.min_score or -math.huge) then
      local sequence, mask = pl.data.join(roll.questions[g], roll.answers[at].tokens)
      best.sequences[#best.sequences + 1], best.masks[#best.masks + 1] = sequence, mask
      seen:add("best/score", roll.scores[at])
      seen:add("best/length", roll.lengths[at])
    end
  end
  return best, seen
end

-- (2) One optimizer step on some of them.
local function learn(best, places, iteration, seen)
  online.policy.block:zero_grad()
  local sequences, masks = batch.take(best.sequences, places), batch.take(best.masks, places)
  local mean, tokens = pl.loss.accumulate(online.policy, sequences, masks, {
    max_tokens = cfg.micro_batch_tokens,
    checkpoint = cfg.gradient_checkpointing,
  })
  state.step = state.step + 1
  local result = online.optimizer:step(cfg, iteration)
  if result.skipped then state.skipped = state.skipped + 1 end
  seen:add("loss/policy_avg", mean, tokens)
  seen:add("grad_norm", result.grad_norm)
end

-- The loop ----------------------------------------------------------------------------------------
local book = run:book(parts, state, {
  total = iterations,
  done = state.iterations,
  unit = "round",
})
for iteration = state.iterations + 1, iterations do
  local scope <close> = pl.scope("best_of_n.round")
  run:at(iteration)
  local began = pl.seconds()
  local roll, asked, found = online:groups(state.asked + 1, groups, k, cfg.dynamic_sampling)
  state.asked = state.asked + found.drawn
  online:evaluate(roll, asked)
  if iteration == 1 then online:first_batch(check, roll, iterations, pl.seconds() - began) end

  local rewards, per_token = online:rewards(roll, cfg.kl_coef(iteration), iteration)
  local best, seen = best_of(roll, rewards)
  for epoch = 1, cfg.num_iterations do
    for _, places in ipairs(online:minibatches(iteration, epoch, #best.sequences)) do
      learn(best, places, iteration, seen)
    end
  end

  online:close(book, iteration, roll, {
    rewards = per_token,
    seen = seen,
    metrics = {
      frac_reward_zero_std = found.equal / groups,
      ["groups/drawn"] = found.drawn,
      ["best/trained"] = #best.sequences,
    },
    shown = { kl = roll.old - roll.reference },
  })
end

return (online:finish(book, { prompts_asked = state.asked }))
