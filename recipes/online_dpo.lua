--- Online DPO (Guo et al. 2024, arXiv:2402.04792): direct preference optimisation on answers of the
-- policy itself, compared by a judge as it goes.
--
--   L = -E_x [ ln σ( β ( ln π(y_w|x)/π_ref(y_w|x) - ln π(y_l|x)/π_ref(y_l|x) ) ) ]
--
-- One iteration: (a) the policy answers prompts, K times each; (b) the judge scores them, and the
-- best and the worst of a group are its pair; a group whose scores are all equal has none, and may
-- be drawn anew; (c) steps on L over minibatches of pairs. With K = 2 all answers are used, as in
-- the paper; with more the pairs lie further apart.

local pl = require("perilune")
local batch, loss, rollout = pl.batch, pl.loss, pl.rollout

local cfg = pl.config {
  name = "online_dpo",
  about = "DPO on the policy's own answers, compared by a judge",
  "Models and data",
  pl.config.online { ptx = false },
  "Rollouts",
  { total_episodes = 8192, "answers in the whole run", min = 1 },
  { batch_size = 128, "answers in one iteration", min = 2 },
  pl.config.groups { num_generations = 2 },
  pl.config.sampling(),
  "Rewards",
  pl.config.scores(),
  "Loss",
  {
    kl_coef = 0.1,
    "β: weight of the KL to the reference that the loss stands for",
    over = 0,
    schedule = true,
    alias = "beta",
  },
  {
    loss_type = "sigmoid",
    "of a pair, as of recipes/dpo.lua",
    choices = { "sigmoid", "robust", "hinge", "ipo" },
  },
  { label_smoothing = 0.0, "part of the pairs that are the wrong way round", min = 0, under = 0.5 },
  "Optimisation",
  { num_iterations = 1, "passes over each batch", min = 1, live = true },
  { num_mini_batches = 4, "steps in a pass", min = 1 },
  pl.config.forwards(),
  pl.config.average(),
  pl.config.adam(),
  "Adapters on a frozen model",
  pl.config.peft { dropout = false }, -- what is compared is what was sampled
  "Evaluation",
  pl.config.held_out(),
}
local run = pl.run.open(cfg)

local online = pl.online.open(cfg, "online_dpo")
local k, groups = cfg.num_generations, cfg.batch_size // cfg.num_generations
local iterations = cfg:set_horizon(math.ceil(cfg.total_episodes / cfg.batch_size))
local parts = online:parts()
local state = online:restore(run, parts, { asked = 0 }) -- prompts that were asked
local check = online:preflight(pl.preflight.new(cfg, online:checked()), iterations)

-- (b) {better, worse} of each group that has one, places of answers.
local function pairs_of(roll)
  local list = {}
  for g = 1, groups do
    local best, worst = (g - 1) * k + 1, (g - 1) * k + 1
    for i = best, g * k do
      if roll.scores[i] > roll.scores[best] then best = i end
      if roll.scores[i] < roll.scores[worst] then worst = i end
    end
    if roll.scores[best] > roll.scores[worst] then list[#list + 1] = { best, worst } end
  end
  return list
end

-- The gradient of some pairs of a step that has `of_step` of them.
local function accumulate(roll, chosen, of_step, iteration, seen)
  local scope <close> = pl.scope("online_dpo.micro")
  local ids, n = {}, #chosen
  for i, pair in ipairs(chosen) do
    ids[i], ids[n + i] = pair[1], pair[2]
  end
  local packed, at, of = rollout.take(roll, ids, { reference = roll.reference })
  local logprob, entropy = loss.logprobs(online.policy, packed, at, online.learning)
  local mine = pl.segment_sum(logprob, at.segments)
  local theirs = pl.segment_sum(of.reference, at.segments)
  local better, worse = { 1, n }, { n + 1, 2 * n }
  local losses, chosen_rewards, rejected_rewards =
    pl.preference.dpo(mine[{ better }], mine[{ worse }], theirs[{ better }], theirs[{ worse }], {
      beta = cfg.kl_coef(iteration),
      loss_type = cfg.loss_type,
      label_smoothing = cfg.label_smoothing,
    })
  local total = losses:sum() / of_step
  total:backward()
  local margins = chosen_rewards - rejected_rewards
  seen:add("loss/policy_avg", losses:mean():item(), n)
  seen:add("rewards/margins", margins:mean():item(), n)
  seen:add("rewards/accuracies", (pl.gt(margins, 0) + pl.eq(margins, 0) * 0.5):mean():item(), n)
  seen:add("policy/entropy_avg", entropy:mean():item(), at.count)
end

-- (c) One optimizer step on some pairs.
local function learn(roll, chosen, iteration, seen)
  local sizes = {}
  for i, pair in ipairs(chosen) do
    sizes[i] = roll.sizes[pair[1]] + roll.sizes[pair[2]]
  end
  online.policy.block:zero_grad()
  for _, places in ipairs(batch.split(sizes, cfg.micro_batch_tokens)) do
    accumulate(roll, batch.take(chosen, places), #chosen, iteration, seen)
  end
  state.step = state.step + 1
  local result = online.optimizer:step(cfg, iteration)
  if result.skipped then state.skipped = state.skipped + 1 end
  seen:add("grad_norm", result.grad_norm)
end

-- The loop ----------------------------------------------------------------------------------------
local book = run:book(parts, state, {
  total = iterations,
  done = state.iterations,
  unit = "iteration",
})
for iteration = state.iterations + 1, iterations do
  local scope <close> = pl.scope("online_dpo.iteration")
  run:at(iteration)
  local began = pl.seconds() -- (a), (b)
  local roll, asked, found = online:groups(state.asked + 1, groups, k, cfg.dynamic_sampling)
  state.asked = state.asked + found.drawn
  online:evaluate(roll, asked)
  if iteration == 1 then online:first_batch(check, roll, iterations, pl.seconds() - began) end

  local list, seen = pairs_of(roll), pl.meter.new()
  for epoch = 1, cfg.num_iterations do
    for _, places in ipairs(online:minibatches(iteration, epoch, #list)) do
      learn(roll, batch.take(list, places), iteration, seen)
    end
  end

  online:close(book, iteration, roll, {
    rewards = rollout.rewards(pl.zeros { roll.count }, roll.scores, roll.segments),
    seen = seen,
    metrics = {
      frac_reward_zero_std = found.equal / groups,
      ["groups/drawn"] = found.drawn,
      ["pairs/trained"] = #list,
    },
    shown = { kl = roll.old - roll.reference },
  })
end

return (online:finish(book, { prompts_asked = state.asked }))
