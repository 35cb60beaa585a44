--- PPO-ptx against a reward model (Ouyang et al. 2022, arXiv:2203.02155, section 3.5, C.4).
--
--   objective(φ) = E_{(x,y)~π} [ r(x,y) - β ln( π(y|x) / π_SFT(y|x) ) ]
--                + γ E_{x~pretrain} [ ln π(x) ]                           (2)
--
-- One iteration: (a) the policy answers a batch of prompts; (b) the reward model scores each
-- answer, the reference policy and the value model read it; (c) each token's reward is -β times
-- its log ratio, the last one's also the score; advantages by GAE (arXiv:1506.02438); (d) clipped
-- policy and value losses (arXiv:1707.06347) over minibatches, with γ times the loss on
-- pretraining text in the same gradient.
--
-- `likelihood_coef` w adds w ln π_SFT(y|x) to (2), at each token: a reward model that was trained
-- beside it says the rest. What is asked for then is r - (β + w) KL - w times the entropy: a choice
-- among the SFT model's own answers, the sharper the more of w stands against β.
--
-- Deviations from the paper, each a key: λ, value coefficient and clip, whitening and Adam's ε
-- are not printed there, so they have the defaults of Ziegler et al.'s code; docs/ppo-details.md
-- lists every detail of practice and where it is below. `--preset instructgpt` sets appendix C's
-- numbers.

local pl = require("perilune")
local loss, rollout = pl.loss, pl.rollout

local cfg = pl.config {
  name = "ppo",
  about = "PPO-ptx against a reward model",
  "Models and data",
  pl.config.online {
    judge = "model folder with a scalar head; the value model starts from it too",
  },
  "Rollouts",
  { total_episodes = 8192, "answers in the whole run", min = 1 },
  { batch_size = 128, "answers in one iteration", min = 1 },
  pl.config.sampling(),
  "Rewards",
  pl.config.kl(),
  pl.config.likelihood(),
  pl.config.scores(),
  { whiten_rewards = false, "divide rewards by their deviation (the mean stays)" },
  { whiten_advantages = true, "advantages to mean 0, deviation 1" },
  { gamma = 1.0, "discount", min = 0, max = 1 },
  { lam = 0.95, "λ of generalized advantage estimation", min = 0, max = 1 },
  "Optimisation",
  { learning_rate = 1e-5, "of the policy", min = 0, schedule = true },
  { value_learning_rate = 1e-5, "of the value model", min = 0, schedule = true },
  { num_ppo_epochs = 1, "passes over each batch", min = 1, live = true },
  { num_mini_batches = 8, "steps in a pass", min = 1 },
  pl.config.forwards(),
  { cliprange = 0.2, "ε of the policy ratio", over = 0, schedule = true },
  { cliprange_high = 0.0, "ε above a ratio of 1; 0: as cliprange", min = 0 },
  { cliprange_value = 0.2, "ε of the value; 0: no clip", min = 0 },
  { vf_coef = 0.1, "weight of the value loss", min = 0 },
  { value_warmup = 0, "first iterations in which the value alone is trained", min = 0 },
  { entropy_coef = 0.0, "weight of an entropy bonus", min = 0, schedule = true },
  { target_kl = 0.0, "stop a batch's steps when approxkl exceeds this; 0: never", min = 0 },
  pl.config.ptx(),
  pl.config.average(),
  pl.config.adam { learning_rate = false },
  "Adapters on a frozen model: policy and value differ by them alone",
  pl.config.peft { dropout = false }, -- what is scored is what was sampled
  "Evaluation",
  pl.config.held_out(),
  check = function(c)
    if c.batch_size % c.num_mini_batches ~= 0 then
      return ("num_mini_batches must divide batch_size, and %d does not divide %d"):format(
        c.num_mini_batches,
        c.batch_size
      )
    end
  end,
}
local run = pl.run.open(cfg)

-- Models and data ---------------------------------------------------------------------------------
local online = pl.online.open(cfg, "ppo")
local policy, judge = online.policy, online.judge
local value -- V starts as the reward model; without one as 0, whatever it reads
if judge.model and cfg.quantize == "none" then
  value = judge.model:copy { peft = not judge.model.peft and policy.peft or nil, seed = cfg.seed }
elseif judge.model then -- not as what its weights were rounded to
  local start = { precision = cfg.precision, seed = cfg.seed }
  value = pl.companions.load("reward_model", judge.models[1].path, start)
else
  value = policy:copy { scalar_head = true, seed = cfg.seed }
  value.weights["score.weight"]:fill_(0)
end
local value_optimizer = pl.optimizer(value.block, cfg)

local iterations = cfg:set_horizon(math.ceil(cfg.total_episodes / cfg.batch_size))
local mini_size = cfg.batch_size // cfg.num_mini_batches
local ptx_size = online:ptx_size(mini_size)
local scoring = online.scoring
local reading = { checkpoint = cfg.gradient_checkpointing }
local parts = online:parts({ value_model = value }, { value = value_optimizer })
local state = online:restore(run, parts)

local check = pl.preflight.new(cfg, online:checked(value))
check:sizes {
  { "prompts", #online.prompts },
  { "answers an iteration", cfg.batch_size },
  { "iterations", iterations },
  { "minibatches", cfg.num_mini_batches },
  { "answers a minibatch", mini_size },
  { "pretraining examples a minibatch", ptx_size },
  { "optimizer steps", iterations * cfg.num_ppo_epochs * cfg.num_mini_batches },
}
check:rows(online:sets())
online:look(check, iterations)

-- (b) What the other models say of it; nothing here is on the tape.
local function evaluate(roll, asked)
  online:evaluate(roll, asked)
  roll.values = loss.sequence_values(value, roll.parts)
end

-- (c) Rewards of each token; advantages and returns.
local function credit(roll, beta, iteration)
  local _, rewards = online:rewards(roll, beta, iteration)
  local scaled = cfg.whiten_rewards and rollout.whiten(rewards, false) or rewards
  local advantages, returns = rollout.gae(scaled, roll.values, roll, cfg.gamma, cfg.lam)
  if cfg.whiten_advantages then
    advantages, roll.deviation = rollout.whiten(advantages, true)
  end
  return rewards, advantages, returns
end

-- (d) Gradients of policy and value over one micro-batch; losses are sums over tokens / `tokens`.
local function accumulate(packed, at, of, tokens, kl_weight, iteration, seen)
  local logprob, entropy, kl = online:read(packed, at, of)
  local pg, ratio = pl.ppo_loss(logprob, of.old, of.advantages, nil, {
    cliprange = cfg.cliprange(iteration),
    cliprange_high = cfg.cliprange_high,
    norm = tokens,
  })
  local total = pg - entropy:sum() * (cfg.entropy_coef(iteration) / tokens)
  if kl then total = total + kl:sum() * (kl_weight / tokens) end
  if iteration > cfg.value_warmup then total:backward() end
  local predicted = pl.gather(value:scores(packed, reading), at.rows)
  local vf, vf_stats = pl.value_loss(
    predicted,
    of.values,
    of.returns,
    nil,
    { cliprange = cfg.cliprange_value, norm = tokens }
  )
  if cfg.vf_coef > 0 then (vf * cfg.vf_coef):backward() end
  seen:add("policy/approxkl_avg", ratio:get(1), at.count)
  seen:add("policy/clipfrac_avg", ratio:get(2), at.count)
  seen:add("val/ratio", ratio:get(3), at.count)
  seen:add("val/ratio_var", ratio:get(4), at.count)
  seen:add("policy/entropy_avg", entropy:mean():item(), at.count)
  seen:add("loss/policy_avg", pg:item() * tokens / at.count, at.count)
  seen:add("loss/value_avg", vf:item() * tokens / at.count, at.count)
  seen:add("val/clipfrac_avg", vf_stats:get(1), at.count)
  return ratio:get(1) * at.count / tokens -- this part's share of approxkl
end

-- One optimizer step of policy and value on the answers `chosen`; gives its approxkl.
local function minibatch(roll, chosen, per_token, iteration, seen)
  local tokens, approxkl = rollout.tokens(roll, chosen), 0
  local kl_weight = online:kl_weight(roll, iteration)
  policy.block:zero_grad()
  value.block:zero_grad()
  rollout.each_part(
    roll,
    chosen,
    per_token,
    cfg.micro_batch_tokens,
    function(packed, at, of)
      approxkl = approxkl + accumulate(packed, at, of, tokens, kl_weight, iteration, seen)
    end
  )
  if iteration > cfg.value_warmup then
    online:accumulate_ptx(cfg.ptx_coef(iteration), state.step, ptx_size, seen) -- last of (2)
  end
  state.step = state.step + 1
  local result = value_optimizer:step(cfg, iteration, cfg.value_learning_rate)
  local skipped = result.skipped
  if iteration > cfg.value_warmup then
    result = online.optimizer:step(cfg, iteration)
    skipped = skipped or result.skipped
    seen:add("grad_norm", result.grad_norm)
  end
  if skipped then state.skipped = state.skipped + 1 end
  return approxkl
end

-- The loop ----------------------------------------------------------------------------------------
local book = run:book(parts, state, {
  total = iterations,
  done = state.iterations,
  unit = "iteration",
})
for iteration = state.iterations + 1, iterations do
  local scope <close> = pl.scope("ppo.iteration")
  run:at(iteration)
  local beta = cfg.kl_coef(iteration)

  local began = pl.seconds()
  local roll, asked = online:sample(online:keys(iteration)) -- (a)
  local rollout_seconds = pl.seconds() - began
  evaluate(roll, asked)
  if iteration == 1 then
    check:first_batch(policy, roll, scoring)
    check:time {
      steps = iterations,
      forwards = 3 + 6 * cfg.num_ppo_epochs, -- (b), then two models forward and backward
      seconds = rollout_seconds,
      forward = function() loss.sequence_logprobs(policy, roll.parts, scoring) end,
    }
  end
  local rewards, advantages, returns = credit(roll, beta, iteration)
  local per_token = {
    old = roll.old,
    reference = roll.reference,
    values = roll.values,
    advantages = advantages,
    returns = returns,
  }

  local seen, too_far = pl.meter.new(), false
  for epoch = 1, cfg.num_ppo_epochs do
    for _, chosen in ipairs(online:minibatches(iteration, epoch)) do
      if too_far then break end
      local approxkl = minibatch(roll, chosen, per_token, iteration, seen)
      too_far = cfg.target_kl > 0 and approxkl > cfg.target_kl
    end
  end

  online:close(book, iteration, roll, {
    rewards = rewards,
    seen = seen,
    metrics = {
      ["val/var_explained"] = pl.stats.explained_variance(returns:totable(), roll.values:totable()),
    },
    shown = { kl = roll.old - roll.reference, advantage = advantages, value = roll.values },
  })
end

return (online:finish(book))
