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
-- Deviations from the paper, each a key: λ, value coefficient and clip, whitening and Adam's ε
-- are not printed there, so they have the defaults of Ziegler et al.'s code; docs/ppo-details.md
-- lists every detail of practice and where it is below. `--preset instructgpt` sets appendix C's
-- numbers.

local pl = require("perilune")
local batch, data, loss, rollout = pl.batch, pl.data, pl.loss, pl.rollout

local cfg = pl.config {
  name = "ppo",
  about = "PPO-ptx against a reward model",
  "Models and data",
  {
    model = "",
    "model folder the policy starts from; also the KL reference",
    required = true,
    alias = "sft_model_path",
  },
  {
    reward_model = "",
    "model folder with a scalar head; the value model starts from it too",
    alias = "reward_model_path",
  },
  { reward_function = "", "Lua file of f(prompts, answers, rows, ended) -> scores", code = true },
  { dataset = "", "prompts: JSON Lines of {prompt} or {messages}", required = true },
  { ptx_dataset = "", "pretraining text: .txt or JSON Lines of {text}" },
  {
    template = "auto",
    "chat template; auto: the model's own",
    choices = { "auto", "none", "plain", "chatml" },
  },
  { max_prompt_length = 1024, "longer prompts are dropped, tokens", min = 1 },
  "Rollouts",
  { total_episodes = 8192, "answers in the whole run", min = 1 },
  { batch_size = 128, "answers in one iteration", min = 1 },
  { response_length = 64, "longest answer, tokens", min = 1 },
  { temperature = 1.0, "of sampling, and of every log-prob that follows", over = 0 },
  { top_k = 0, "sample from the k likeliest tokens; 0: all", min = 0 },
  { top_p = 1.0, "sample from the likeliest tokens of this mass", over = 0, max = 1 },
  { min_p = 0.0, "leave out tokens below this part of the likeliest", min = 0, max = 1 },
  { slots = 64, "answers that grow at the same time", min = 1 },
  "Rewards",
  { kl_coef = 0.05, "β: weight of the per-token KL to the reference", min = 0, schedule = true },
  { kl_estimator = "k1", "estimate of the KL from samples", choices = { "k1", "k2", "k3" } },
  { kl_placement = "reward", "the KL: in the reward or a loss", choices = { "reward", "loss" } },
  {
    missing_eos_rule = "subtract",
    "for answers that do not end: nothing, subtract the penalty, or it replaces the score",
    choices = { "none", "subtract", "replace" },
  },
  { missing_eos_penalty = 1.0, "subtracted from the score, or its replacement (negated)", min = 0 },
  { reward_clip = 0.0, "scores are clipped to ± this; 0: not", min = 0 },
  { whiten_rewards = false, "divide rewards by their deviation (the mean stays)" },
  { whiten_advantages = true, "advantages to mean 0, deviation 1" },
  { gamma = 1.0, "discount", min = 0, max = 1 },
  { lam = 0.95, "λ of generalized advantage estimation", min = 0, max = 1 },
  "Optimisation",
  { learning_rate = 1e-5, "of the policy", min = 0, schedule = true },
  { value_learning_rate = 1e-5, "of the value model", min = 0, schedule = true },
  { num_ppo_epochs = 1, "passes over each batch", min = 1, live = true },
  { num_mini_batches = 8, "steps in a pass", min = 1 },
  { micro_batch_tokens = 16384, "tokens in one forward: no result but rounding changes", min = 1 },
  {
    gradient_checkpointing = false,
    "blocks are computed again in the backward pass: less memory, more time, the same result",
  },
  pl.config.precision(),
  { cliprange = 0.2, "ε of the policy ratio", over = 0, schedule = true },
  { cliprange_value = 0.2, "ε of the value; 0: no clip", min = 0 },
  { vf_coef = 0.1, "weight of the value loss", min = 0 },
  { entropy_coef = 0.0, "weight of an entropy bonus", min = 0, schedule = true },
  { target_kl = 0.0, "stop a batch's steps when approxkl exceeds this; 0: never", min = 0 },
  { ptx_coef = 0.0, "γ: weight of the pretraining loss", min = 0, schedule = true },
  { ptx_batch_ratio = 1.0, "pretraining examples for each answer", min = 0 },
  { ptx_length = 128, "tokens in a pretraining example", min = 2 },
  { ema_decay = 0.992, "of the averaged policy, once an iteration; 0: none", min = 0, under = 1 },
  { ema_final = false, "the final model is the averaged policy" },
  pl.config.adam { learning_rate = false },
  "Adapters on a frozen model: policy and value differ by them alone",
  pl.config.peft { dropout = false }, -- what is scored is what was sampled
  "Evaluation",
  { eval_dataset = "", "held-out prompts to measure on: JSON Lines of {prompt} or {messages}" },
  { eval_steps = 10, "iterations between measurements", min = 1 },
  { eval_count = 64, "how many of the prompts", min = 1 },
  {
    checkpoint_choice = "last",
    "the final model: the last, or the best by eval_score or by eval_reward (score - β KL)",
    choices = { "last", "eval_score", "eval_reward" },
  },
  check = function(c)
    if (c.reward_model == "") == (c.reward_function == "") then
      return "give one of reward_model and reward_function"
    elseif c.batch_size % c.num_mini_batches ~= 0 then
      return "num_mini_batches must divide batch_size"
    elseif c.ptx_coef:fixed() ~= 0 and c.ptx_dataset == "" then
      return "ptx_coef wants a ptx_dataset"
    elseif c.checkpoint_choice ~= "last" and c.eval_dataset == "" then
      return "checkpoint_choice wants an eval_dataset"
    end
  end,
}
local run = pl.run.open(cfg)

-- Models and data ---------------------------------------------------------------------------------
local tok = pl.companions.tokenizer("model", cfg.model)
local template = data.template(cfg.template, tok)
local stops = data.stop_ids(tok, template)
local policy = pl.companions.load("model", cfg.model, {
  peft = cfg,
  precision = cfg.precision,
  seed = cfg.seed,
})
local reference = pl.companions.load("model", cfg.model, policy:beside()):freeze()
local judge = pl.score.open(cfg, tok, policy:beside())
local models = {
  { name = "model", path = cfg.model, model = policy },
  judge.model
      and { name = "reward_model", path = cfg.reward_model, model = judge.model, scores = true }
    or nil,
}
pl.companions.check(models)
local room, too_long = pl.companions.room(models, cfg.max_prompt_length, cfg.response_length)
local function prompts_of(key)
  local set = data.prompts(tok, template, cfg[key], room, too_long)
  return data.required(set, key, cfg[key])
end
local value -- V starts as the reward model; without one as 0, whatever it reads
if judge.model then
  value = judge.model:copy { peft = policy.peft, seed = cfg.seed }
else
  value = policy:copy { scalar_head = true, seed = cfg.seed }
  value.weights["score.weight"]:fill_(0)
end
local ema = cfg.ema_decay > 0 and policy:copy():freeze() or nil
local prompts = prompts_of("dataset")
local held_out = cfg.eval_dataset ~= "" and prompts_of("eval_dataset")
local ptx = cfg.ptx_dataset ~= ""
  and data.required(
    data.text(tok, cfg.ptx_dataset, data.room({ policy }, cfg.ptx_length)),
    "ptx_dataset",
    cfg.ptx_dataset
  )
local prompt_at = data.stream(#prompts, cfg.seed, "ppo.prompts")
local ptx_at = ptx and data.stream(#ptx, cfg.seed, "ppo.ptx")
local optimizer, value_optimizer = pl.adamw(policy.block), pl.adamw(value.block)

local iterations = cfg:set_horizon(math.ceil(cfg.total_episodes / cfg.batch_size))
local mini_size = cfg.batch_size // cfg.num_mini_batches
local ptx_size = ptx and math.floor(mini_size * cfg.ptx_batch_ratio + 0.5) or 0
local scoring = { temperature = cfg.temperature }
local reading = { checkpoint = cfg.gradient_checkpointing }
local learning = { temperature = cfg.temperature, checkpoint = reading.checkpoint }

local parts = {
  model = policy,
  tokenizer = tok,
  models = { value_model = value, ema = ema },
  optimizers = { policy = optimizer, value = value_optimizer },
  data = {
    dataset = prompts,
    ptx_dataset = ptx,
    eval_dataset = cfg.checkpoint_choice ~= "last" and held_out,
  },
  made_with = {
    model = reference:hash(),
    reward_model = judge.model and judge.model:hash(),
    reward_function = judge.path and pl.files.hash(judge.path),
  },
}
-- iterations, optimizer steps, steps skipped because a gradient was not finite, best measurement
local state = run:restore(parts, { iterations = 0, step = 0, skipped = 0, best = nil })

local check = pl.preflight.new(cfg, {
  tokenizer = tok,
  stop = stops[1],
  models = {
    policy = policy,
    reference = reference,
    value = value,
    reward = judge.model,
    ema = ema,
  },
})
check:sizes {
  { "prompts", #prompts },
  { "answers an iteration", cfg.batch_size },
  { "iterations", iterations },
  { "minibatches", cfg.num_mini_batches },
  { "answers a minibatch", mini_size },
  { "pretraining examples a minibatch", ptx_size },
  { "optimizer steps", iterations * cfg.num_ppo_epochs * cfg.num_mini_batches },
}
check:rows { dataset = prompts, ptx_dataset = ptx, eval_dataset = held_out }
check:settings(iterations)

-- (a) Rollout. Episode numbers name the random stream: an answer depends on nothing beside it.
local function sample(iteration)
  local episodes, keys, questions = {}, {}, {}
  for i = 1, cfg.batch_size do
    keys[i] = (iteration - 1) * cfg.batch_size + i
    episodes[i] = prompts[prompt_at(keys[i])]
    questions[i] = episodes[i].tokens
  end
  local answers = pl.generate(policy, questions, {
    max_tokens = cfg.response_length,
    temperature = cfg.temperature,
    top_k = cfg.top_k,
    top_p = cfg.top_p,
    min_p = cfg.min_p,
    seed = cfg.seed,
    stream = "ppo.rollout",
    keys = keys,
    stop = stops,
    slots = cfg.slots,
  })
  return rollout.new(questions, answers, cfg.micro_batch_tokens), episodes
end

-- (b) What the other models say of it; nothing here is on the tape.
local function evaluate(roll, episodes)
  roll.raw_scores = judge:score(roll, episodes)
  roll.scores = rollout.shape_scores(
    roll.raw_scores,
    roll.answers.finish_reasons,
    { rule = cfg.missing_eos_rule, penalty = cfg.missing_eos_penalty, clip = cfg.reward_clip }
  )
  roll.reference = loss.sequence_logprobs(reference, roll.parts, scoring)
  roll.values = loss.sequence_values(value, roll.parts)
end

-- (c) Rewards of each token; advantages and returns.
local function credit(roll, beta)
  local penalty = pl.kl_estimate(roll.old, roll.reference, { kind = cfg.kl_estimator })
    * (cfg.kl_placement == "reward" and -beta or 0)
  local rewards = rollout.rewards(penalty, roll.scores, roll.segments)
  local scaled = cfg.whiten_rewards and rollout.whiten(rewards, false) or rewards
  local advantages, returns = rollout.gae(scaled, roll.values, roll, cfg.gamma, cfg.lam)
  if cfg.whiten_advantages then advantages = rollout.whiten(advantages, true) end
  return rewards, advantages, returns
end

-- (d) Gradients of policy and value over one micro-batch; losses are sums over tokens / `tokens`.
local function accumulate(roll, ids, per_token, tokens, iteration, seen)
  local scope <close> = pl.scope("ppo.micro")
  local packed, at, of = rollout.take(roll, ids, per_token)
  local logprob, entropy = loss.logprobs(policy, packed, at, learning)
  local pg, ratio = pl.ppo_loss(
    logprob,
    of.old,
    of.advantages,
    nil,
    { cliprange = cfg.cliprange(iteration), norm = tokens }
  )
  local total = pg - entropy:sum() * (cfg.entropy_coef(iteration) / tokens)
  if cfg.kl_placement == "loss" then
    local kl = pl.kl_estimate(logprob, of.reference, { kind = cfg.kl_estimator })
    total = total + kl:sum() * (cfg.kl_coef(iteration) / tokens)
  end
  total:backward()
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

-- The last term of (2), into the same gradients.
local function accumulate_ptx(gamma_ptx, step, seen)
  local pieces = {}
  for i = 1, ptx_size do
    pieces[i] = ptx[ptx_at(step * ptx_size + i)]
  end
  seen:add(
    "loss/ptx_avg",
    loss.accumulate(policy, pieces, nil, {
      max_tokens = cfg.micro_batch_tokens,
      weight = gamma_ptx,
      checkpoint = cfg.gradient_checkpointing,
    })
  )
end

-- One optimizer step of policy and value on the answers `chosen`; gives its approxkl.
local function minibatch(roll, chosen, per_token, iteration, seen)
  local tokens, approxkl, sizes = 0, 0, batch.take(roll.sizes, chosen)
  for _, b in ipairs(chosen) do
    tokens = tokens + roll.lengths[b]
  end
  policy.block:zero_grad()
  value.block:zero_grad()
  for _, places in ipairs(batch.split(sizes, cfg.micro_batch_tokens)) do
    local ids = batch.take(chosen, places)
    approxkl = approxkl + accumulate(roll, ids, per_token, tokens, iteration, seen)
  end
  local gamma_ptx = cfg.ptx_coef(iteration)
  if gamma_ptx > 0 and ptx_size > 0 then accumulate_ptx(gamma_ptx, state.step, seen) end
  state.step = state.step + 1
  local result = optimizer:step(cfg, iteration)
  local value_result = value_optimizer:step(cfg, iteration, cfg.value_learning_rate)
  if result.skipped or value_result.skipped then state.skipped = state.skipped + 1 end
  seen:add("grad_norm", result.grad_norm)
  return approxkl
end

-- What would be the final model on held-out prompts.
local function measure(beta)
  local figures, examples =
    rollout.measure(cfg.ema_final and ema or policy, reference, judge, held_out, {
      count = cfg.eval_count,
      max_tokens = cfg.response_length,
      temperature = cfg.temperature,
      seed = cfg.seed,
      stream = "ppo.measure",
      stop = stops,
      slots = cfg.slots,
      micro_batch_tokens = cfg.micro_batch_tokens,
      tokenizer = tok,
      examples = 2,
    })
  figures.eval_reward = figures.eval_score - beta * figures.eval_kl
  return figures, examples
end

-- The loop ----------------------------------------------------------------------------------------
local progress = pl.progress.new {
  total = iterations,
  unit = "iteration",
  first = state.iterations,
  quiet = cfg.quiet,
}
local watch = pl.health.watch(nil, cfg)
for iteration = state.iterations + 1, iterations do
  local scope <close> = pl.scope("ppo.iteration")
  run:at(iteration)
  local beta = cfg.kl_coef(iteration)

  local began = pl.seconds()
  local roll, episodes = sample(iteration)
  local rollout_seconds = pl.seconds() - began
  evaluate(roll, episodes)
  if iteration == 1 then
    check:first_batch(policy, roll, scoring)
    check:time {
      steps = iterations,
      forwards = 3 + 6 * cfg.num_ppo_epochs, -- (b), then two models forward and backward
      seconds = rollout_seconds,
      forward = function() loss.sequence_logprobs(policy, roll.parts, scoring) end,
    }
  end
  local rewards, advantages, returns = credit(roll, beta)
  local per_token = {
    old = roll.old,
    reference = roll.reference,
    values = roll.values,
    advantages = advantages,
    returns = returns,
  }

  local seen, too_far = pl.meter.new(), false
  for epoch = 1, cfg.num_ppo_epochs do
    local order = pl.random.permutation(cfg.batch_size, cfg.seed, "ppo.order", iteration, epoch)
    for mini = 1, cfg.num_mini_batches do
      if too_far then break end
      local chosen = table.move(order, (mini - 1) * mini_size + 1, mini * mini_size, 1, {})
      local approxkl = minibatch(roll, chosen, per_token, iteration, seen)
      too_far = cfg.target_kl > 0 and approxkl > cfg.target_kl
    end
  end
  if ema then ema.block:average(policy.block, cfg.ema_decay) end
  state.iterations = iteration

  -- Metrics, samples, alarms, checkpoint.
  local metrics = rollout.metrics(roll, rewards)
  for name, figure in pairs(seen:result()) do
    metrics[name] = figure
  end
  metrics["val/var_explained"] =
    pl.stats.explained_variance(returns:totable(), roll.values:totable())
  metrics["objective/kl_coef"] = beta
  metrics["objective/ptx_coef"] = cfg.ptx_coef(iteration)
  metrics.lr = cfg.learning_rate(iteration)
  metrics.episode = iteration * cfg.batch_size
  metrics.skipped_steps = state.skipped
  cfg.kl_coef:update(metrics["objective/kl"], cfg.batch_size)
  local figure, is_best
  if held_out and (iteration % cfg.eval_steps == 0 or iteration == iterations) then
    local measured, examples = measure(beta)
    for name, value_now in pairs(measured) do
      metrics[name] = value_now
    end
    for _, example in ipairs(examples) do
      example.held_out = true
      run:sample(iteration, example)
    end
    figure = metrics[cfg.checkpoint_choice]
    is_best = figure ~= nil and (state.best == nil or figure > state.best)
    state.best = is_best and figure or state.best
  end
  run:log(iteration, metrics)
  local shown = { kl = roll.old - roll.reference, advantage = advantages, value = roll.values }
  for _, example in ipairs(rollout.examples(roll, tok, 2, shown)) do
    run:sample(iteration, example)
  end
  progress:update(iteration, {
    score = metrics["objective/scores"],
    kl = metrics["objective/kl"],
    length = metrics["completions/mean_length"],
  }, { "score", "kl", "length" })
  watch:tell(run, progress, iteration)
  if is_best or run:should_save(iteration) or iteration == iterations then
    run:save(iteration, parts, state, { metric = figure, best = is_best })
  end
end
progress:finish()

if cfg.checkpoint_choice ~= "last" and run.best then
  local scope <close> = pl.scope("ppo.best")
  local best = cfg.output_dir .. "/" .. run.best.path
  assert(policy:read(best))
  if ema then assert(ema:read(best .. "/ema")) end
end
local final = cfg.ema_final and ema or policy
local last = run.history[#run.history] or {}
local model_dir = run:save_model(final, {
  tokenizer = tok,
  figures = { kl = last["objective/kl"], score = last["objective/scores"] },
})
run:summary({
  weights_hash = final:hash(),
  kl = last["objective/kl"],
  score = last["objective/scores"],
  iterations = state.iterations,
  eval_score = last.eval_score,
  eval_kl = last.eval_kl,
  best_checkpoint = run.best and run.best.path,
}, {
  model = model_dir,
  next = ("perilune run recipes/eval.lua --model %s --reference %s --dataset PROMPTS"):format(
    model_dir,
    cfg.model
  ),
})
run:close()
return { model = model_dir, history = run.history }
