--- PPO-ptx against a reward model (Ouyang et al. 2022, arXiv:2203.02155, section 3.5, appendix C.4).
--
--   objective(φ) = E_{(x,y)~π} [ r(x,y) - β ln( π(y|x) / π_SFT(y|x) ) ] + γ E_{x~pretrain} [ ln π(x) ]   (2)
--
-- One iteration: (a) the policy answers a batch of prompts; (b) the reward model scores each answer,
-- the reference policy and the value model read it; (c) each token's reward is -β times its log
-- ratio, the last one's also the score; advantages by GAE (arXiv:1506.02438); (d) clipped policy and
-- value losses (arXiv:1707.06347) over minibatches, with γ times the loss on pretraining text in the
-- same gradient.
--
-- Deviations from the paper, each a key: λ, value coefficient and clip, whitening and Adam's ε are
-- not printed there, so they have the defaults of Ziegler et al.'s code; docs/ppo-details.md lists
-- every detail of practice and where it is below. `--preset instructgpt` sets appendix C's numbers.

local pl = require "perilune"
local batch, data, loss = pl.batch, pl.data, pl.loss
local checkpoint = require "perilune.checkpoint"

local cfg = pl.config {
  name = "ppo", about = "PPO-ptx against a reward model",
  "Models and data",
  { model = "", "model folder the policy starts from; also the KL reference", required = true, alias = "sft_model_path" },
  { reward_model = "", "model folder with a scalar head; the value model starts from it too", alias = "reward_model_path" },
  { reward_function = "", "Lua file returning f(prompts, answers, rows) -> scores, instead of a reward model" },
  { dataset = "", "prompts: JSON Lines of {prompt} or {messages}", required = true },
  { ptx_dataset = "", "pretraining text: .txt or JSON Lines of {text}" },
  { template = "none", "chat template", choices = { "none", "plain", "chatml" } },
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
  { kl_placement = "reward", "the KL as part of the reward, or as a loss", choices = { "reward", "loss" } },
  { missing_eos_rule = "none", "for answers that do not end: nothing, subtract the penalty, or it replaces the score", choices = { "none", "subtract", "replace" } },
  { missing_eos_penalty = 1.0, "subtracted from the score, or its replacement (negated)", min = 0 },
  { reward_clip = 0.0, "scores are clipped to ± this; 0: not", min = 0 },
  { whiten_rewards = false, "divide rewards by their deviation (the mean stays)" },
  { whiten_advantages = true, "advantages to mean 0, deviation 1" },
  { gamma = 1.0, "discount", min = 0, max = 1 },
  { lam = 0.95, "λ of generalized advantage estimation", min = 0, max = 1 },
  "Optimisation",
  { learning_rate = 1e-5, "of the policy", min = 0, schedule = true },
  { value_learning_rate = 1e-5, "of the value model", min = 0, schedule = true },
  { num_ppo_epochs = 1, "passes over each batch", min = 1 },
  { num_mini_batches = 8, "steps in a pass", min = 1 },
  { micro_batch_tokens = 16384, "tokens in one forward: for memory, changes no result beyond rounding", min = 1 },
  { cliprange = 0.2, "ε of the policy ratio", over = 0, schedule = true },
  { cliprange_value = 0.2, "ε of the value; 0: no clip", min = 0 },
  { vf_coef = 0.1, "weight of the value loss", min = 0 },
  { entropy_coef = 0.0, "weight of an entropy bonus", min = 0, schedule = true },
  { target_kl = 0.0, "stop a batch's passes when approxkl exceeds this; 0: never", min = 0 },
  { ptx_coef = 0.0, "γ: weight of the pretraining loss", min = 0, schedule = true },
  { ptx_batch_ratio = 1.0, "pretraining examples for each answer", min = 0 },
  { ptx_length = 128, "tokens in a pretraining example", min = 2 },
  { ema_decay = 0.992, "of the averaged policy, once an iteration; 0: none", min = 0, under = 1 },
  { ema_final = false, "the final model is the averaged policy" },
  { max_grad_norm = 1.0, "clip gradients to this norm; 0: not", min = 0 },
  { adam_beta1 = 0.9, "Adam", min = 0, under = 1 },
  { adam_beta2 = 0.95, "Adam", min = 0, under = 1 },
  { adam_epsilon = 1e-8, "Adam", over = 0 },
  { adam_tf_epsilon = false, "ε where TensorFlow's Adam has it" },
  { weight_decay = 0.0, "on matrices", min = 0 },
  check = function(c)
    if (c.reward_model == "") == (c.reward_function == "") then
      return "give one of reward_model and reward_function"
    elseif c.batch_size % c.num_mini_batches ~= 0 then
      return "num_mini_batches must divide batch_size"
    elseif c.ptx_coef:fixed() ~= 0 and c.ptx_dataset == "" then
      return "ptx_coef wants a ptx_dataset"
    end
  end,
}
local run = pl.run.open(cfg)
if cfg.threads > 0 then pl.threads(cfg.threads) end
pl.nan_check(cfg.nan_check)

-- Models and data ------------------------------------------------------------------------------------
local tok = assert(pl.tokenizer.load(cfg.model))
local template = data.template(cfg.template)
local stop = data.stop_id(tok, template)
local policy = assert(pl.load(cfg.model))
local reference = assert(pl.load(cfg.model)):freeze()
local reward_model = cfg.reward_model ~= "" and assert(pl.load(cfg.reward_model)):freeze()
local reward_function = cfg.reward_function ~= "" and dofile(cfg.reward_function)
local value = reward_model and reward_model:copy() or policy:copy { scalar_head = true, seed = cfg.seed }
local ema = cfg.ema_decay > 0 and policy:copy():freeze()
local prompts, too_long = data.prompts(tok, template, data.rows(cfg.dataset), cfg.max_prompt_length)
local ptx = cfg.ptx_dataset ~= "" and data.text(tok, cfg.ptx_dataset, cfg.ptx_length)
local prompt_at = data.stream(#prompts, cfg.seed, 1)
local ptx_at = ptx and data.stream(#ptx, cfg.seed, 2)
local optimizer, value_optimizer = pl.adamw(policy.block), pl.adamw(value.block)

local iterations = math.ceil(cfg.total_episodes / cfg.batch_size)
if cfg.max_steps > 0 then iterations = math.min(iterations, cfg.max_steps) end
cfg:set_horizon(iterations)
local mini_size = cfg.batch_size // cfg.num_mini_batches
local ptx_size = math.floor(mini_size * cfg.ptx_batch_ratio + 0.5)
local parts = { model = policy, tokenizer = tok,
  models = { value_model = value, ema = ema or nil }, optimizers = { policy = optimizer, value = value_optimizer } }
local done, step, skipped = 0, 0, 0 -- iterations, optimizer steps, steps skipped as not finite
if run.resumed then
  checkpoint.read(run.resumed.path, parts)
  done, step, skipped = run.resumed.state.iterations, run.resumed.state.step, run.resumed.state.skipped
end
local check = pl.preflight.new(cfg, { tokenizer = tok, stop = stop, models = {
  policy = policy, reference = reference, value = value, reward = reward_model or nil, ema = ema or nil } })
check:sizes { { "prompts", #prompts }, { "prompts dropped as too long", too_long }, { "answers an iteration", cfg.batch_size },
  { "minibatches", cfg.num_mini_batches }, { "answers a minibatch", mini_size }, { "pretraining examples a minibatch", ptx and ptx_size or 0 },
  { "optimizer steps", iterations * cfg.num_ppo_epochs * cfg.num_mini_batches }, { "iterations", iterations } }

local function whiten(x, shift_mean) -- biased variance, as Ziegler et al.
  local mean = x:mean()
  local scaled = (x - mean) / ((x - mean):square():mean() + 1e-8):sqrt()
  return shift_mean and scaled or scaled + mean
end

local function score(answers, sequences, episodes)
  local scores
  if reward_model then
    scores = loss.sequence_scores(reward_model, sequences, { max_tokens = cfg.micro_batch_tokens })
  else
    local texts, rows, asked = {}, {}, {}
    for i, answer in ipairs(answers) do
      texts[i] = tok:decode(answer.tokens, { skip_special = true })
      rows[i], asked[i] = episodes[i].row, tok:decode(episodes[i].tokens, { skip_special = true })
    end
    scores = reward_function(asked, texts, rows)
  end
  local raw = pl.stats.mean(scores)
  for i, answer in ipairs(answers) do
    if answer.finish_reason ~= "stop" and cfg.missing_eos_rule ~= "none" then
      scores[i] = (cfg.missing_eos_rule == "subtract" and scores[i] or 0) - cfg.missing_eos_penalty
    end
    if cfg.reward_clip > 0 then scores[i] = math.max(-cfg.reward_clip, math.min(cfg.reward_clip, scores[i])) end
  end
  return scores, raw
end

-- Per-token rewards, advantages and returns, flat [N] over all answer tokens ---------------------------
local function advantages_of(roll, beta)
  local n = roll.at.count
  local reward = roll.reference * 0
  if cfg.kl_placement == "reward" then
    reward = pl.kl_estimate(roll.old, roll.reference, { kind = cfg.kl_estimator }) * -beta
  end
  local last, following, segments = {}, {}, roll.at.segments:totable()
  for i = 1, n do last[i], following[i] = 0, i end
  for b, s in ipairs(roll.scores) do
    last[segments[b + 1]] = s
    following[segments[b + 1]] = n -- the value after an answer's end is 0
  end
  reward = reward + pl.tensor(last)
  if cfg.whiten_rewards then reward = whiten(reward, false) end
  local next_value = pl.gather(pl.concat { roll.values, pl.zeros { 1 } }, following)
  local delta = reward + next_value * cfg.gamma - roll.values
  local advantage = pl.reverse_scan(delta, roll.at.segments, { decay = cfg.gamma * cfg.lam })
  local returns = advantage + roll.values
  if cfg.whiten_advantages then advantage = whiten(advantage, true) end
  return advantage, returns, reward
end

-- The elements of flat tables that belong to the given answers
local function pick(flat, segments, indices)
  local list = {}
  for _, b in ipairs(indices) do
    for i = segments[b] + 1, segments[b + 1] do list[#list + 1] = flat[i] end
  end
  return pl.tensor(list)
end

-- The loop ---------------------------------------------------------------------------------------------
local progress = pl.progress.new { total = iterations, unit = "iteration", first = done, quiet = cfg.quiet }
local watch = pl.health.watch()
while done < iterations do
  local iteration <close> = pl.scope "ppo.iteration"
  done = done + 1
  cfg:at(done)
  local beta, gamma_ptx = cfg.kl_coef(done), cfg.ptx_coef(done)

  -- (a) Rollout. Episode numbers name the random stream, so an answer depends on nothing beside it.
  local episodes, keys, questions = {}, {}, {}
  for i = 1, cfg.batch_size do
    keys[i] = (done - 1) * cfg.batch_size + i
    episodes[i] = prompts[prompt_at(keys[i])]
    questions[i] = episodes[i].tokens
  end
  local answers = pl.generate(policy, questions, { max_tokens = cfg.response_length, temperature = cfg.temperature,
    top_k = cfg.top_k, top_p = cfg.top_p, min_p = cfg.min_p, seed = cfg.seed, keys = keys, stop = { stop }, slots = cfg.slots })
  local sequences, masks, old = {}, {}, {}
  for i, answer in ipairs(answers) do
    sequences[i], masks[i] = data.join(questions[i], answer.tokens)
    table.move(answer.logprobs, 1, #answer.logprobs, #old + 1, old)
  end

  -- (b) What the other models say of it; nothing here is on the tape.
  local roll = { at = batch.targets(sequences, masks), scores = nil }
  roll.scores, roll.raw_score = score(answers, sequences, episodes)
  local ref_logprobs, values = {}, {}
  local opts = { temperature = cfg.temperature, max_tokens = cfg.micro_batch_tokens }
  for _, list in ipairs(loss.sequence_logprobs(reference, sequences, masks, opts)) do
    table.move(list, 1, #list, #ref_logprobs + 1, ref_logprobs)
  end
  for _, list in ipairs(loss.sequence_values(value, sequences, masks, opts)) do
    table.move(list, 1, #list, #values + 1, values)
  end
  roll.old, roll.reference, roll.values = pl.tensor(old), pl.tensor(ref_logprobs), pl.tensor(values)
  if done == 1 then check:first_batch(policy, sequences, masks, old, ref_logprobs, opts) end

  -- (c) Rewards and advantages.
  local advantage, returns, rewards = advantages_of(roll, beta)
  local segments = roll.at.segments:totable()
  local flat = { old = old, reference = ref_logprobs, values = values, advantage = advantage:totable(), returns = returns:totable() }

  -- (d) Minibatches.
  local stats, stop_early = pl.meter.new(), false
  for epoch = 1, cfg.num_ppo_epochs do
    local order = batch.permutation(cfg.batch_size, cfg.seed, 3000000 + done * 100 + epoch)
    for mini = 1, cfg.num_mini_batches do
      if stop_early then break end
      local scope <close> = pl.scope "ppo.minibatch"
      local chosen, tokens, kl_seen = {}, 0, 0
      for i = 1, mini_size do
        chosen[i] = order[(mini - 1) * mini_size + i]
        tokens = tokens + segments[chosen[i] + 1] - segments[chosen[i]]
      end
      policy.block:zero_grad()
      value.block:zero_grad()
      for _, places in ipairs(batch.split(batch.take(sequences, chosen), cfg.micro_batch_tokens)) do
        local micro <close> = pl.scope "ppo.micro"
        local ids = batch.take(chosen, places)
        local part = batch.take(sequences, ids)
        local packed, at = batch.pack(part), batch.targets(part, batch.take(masks, ids))
        local of = {}
        for name, list in pairs(flat) do of[name] = pick(list, segments, ids) end

        local logprob, entropy = loss.logprobs(policy, packed, at, opts)
        local pg, pg_stats = pl.ppo_loss(logprob, of.old, of.advantage, { cliprange = cfg.cliprange(done), norm = tokens })
        local total = pg
        if cfg.entropy_coef(done) > 0 then total = total - entropy:sum() * (cfg.entropy_coef(done) / tokens) end
        if cfg.kl_placement == "loss" then
          total = total + pl.kl_estimate(logprob, of.reference, { kind = cfg.kl_estimator }):sum() * (beta / tokens)
        end
        total:backward()

        local predicted = pl.gather(value:scores(packed), at.rows)
        local vf, vf_stats = pl.value_loss(predicted, of.values, of.returns, { cliprange = cfg.cliprange_value, norm = tokens })
        if cfg.vf_coef > 0 then (vf * cfg.vf_coef):backward() end

        local seen, weight = pg_stats:totable(), at.count
        kl_seen = kl_seen + seen[1] * weight / tokens
        stats:add("policy/approxkl_avg", seen[1], weight)
        stats:add("policy/clipfrac_avg", seen[2], weight)
        stats:add("val/ratio", seen[3], weight)
        stats:add("val/ratio_var", seen[4], weight)
        stats:add("policy/entropy_avg", entropy:mean():item(), weight)
        stats:add("loss/policy_avg", pg:item() * tokens / weight, weight)
        stats:add("loss/value_avg", vf:item() * tokens / weight, weight)
        stats:add("val/clipfrac_avg", vf_stats:get(1), weight)
      end
      if gamma_ptx > 0 and ptx_size > 0 then -- gradients of (2)'s last term, into the same buffers
        local scope_ptx <close> = pl.scope "ppo.ptx"
        local pieces = {}
        for i = 1, ptx_size do pieces[i] = ptx[ptx_at(step * ptx_size + i)] end
        local lm = loss.lm(policy, pieces)
        lm = lm * gamma_ptx
        lm:backward()
        stats:add("loss/ptx_avg", lm:item() / gamma_ptx, 1)
      end
      step = step + 1
      local adam = { beta1 = cfg.adam_beta1, beta2 = cfg.adam_beta2, eps = cfg.adam_epsilon, tf_eps = cfg.adam_tf_epsilon,
        weight_decay = cfg.weight_decay, max_grad_norm = cfg.max_grad_norm, lr = cfg.learning_rate(done) }
      local result = optimizer:step(adam)
      adam.lr = cfg.value_learning_rate(done)
      local value_result = value_optimizer:step(adam)
      if result.skipped or value_result.skipped then skipped = skipped + 1 end
      stats:add("grad_norm", result.grad_norm, 1)
      stop_early = cfg.target_kl > 0 and kl_seen > cfg.target_kl
    end
  end
  if ema then ema.block:average(policy.block, cfg.ema_decay) end

  -- Metrics, samples, alarms, checkpoint. KL and entropy: sums over tokens, means over answers.
  local ended, length, entropy_sum, lengths = 0, 0, 0, {}
  for i, answer in ipairs(answers) do
    lengths[i] = #answer.tokens
    ended = ended + (answer.finish_reason == "stop" and 1 or 0)
    length = length + #answer.tokens
    for _, e in ipairs(answer.entropies) do entropy_sum = entropy_sum + e end
  end
  local n = #answers
  local function per_answer(kind) return pl.kl_estimate(roll.old, roll.reference, { kind = kind }):sum():item() / n end
  local metrics = stats:result()
  local kl = per_answer("k1")
  local mean_score = pl.stats.mean(roll.scores)
  metrics["objective/kl"], metrics["objective/kl_k2"], metrics["objective/kl_k3"] = kl, per_answer("k2"), per_answer("k3")
  metrics["objective/entropy"], metrics["objective/scores"] = entropy_sum / n, mean_score
  metrics["objective/raw_scores"] = roll.raw_score
  metrics["objective/non_score_reward"] = rewards:sum():item() / n - mean_score
  metrics["objective/rlhf_reward"] = rewards:sum():item() / n
  metrics["objective/kl_coef"], metrics["val/num_eos_tokens"] = beta, ended
  metrics["val/var_explained"] = pl.stats.explained_variance(flat.returns, values)
  metrics["completions/mean_length"], metrics["health/length_corr"] = length / n, pl.stats.correlation(roll.scores, lengths)
  metrics["objective/scores_std"] = pl.stats.std(roll.scores)
  metrics["completions/clipped_ratio"] = 1 - ended / n
  metrics["lr"], metrics["episode"], metrics["skipped_steps"] = cfg.learning_rate(done), done * cfg.batch_size, skipped
  cfg.kl_coef:update(kl, cfg.batch_size)
  run:log(done, metrics)
  for i = 1, 2 do
    run:sample(done, { prompt = tok:decode(questions[i]), answer = tok:decode(answers[i].tokens), score = roll.scores[i] })
  end
  progress:update(done, { score = mean_score, kl = kl, len = length / n }, { "score", "kl", "len" })
  for _, sentence in ipairs(watch:check(run.history)) do progress:print("alarm: " .. sentence) end
  if run:should_save(done) or done == iterations then
    run:checkpoint(done, function(dir) checkpoint.write(dir, parts) end,
      { state = { iterations = done, step = step, skipped = skipped } })
  end
end
progress:finish()

local final = ema and cfg.ema_final and ema or policy
assert(final:save(cfg.output_dir .. "/model", { tokenizer = tok }))
local last_row = run.history[#run.history] or {}
run:summary { weights_hash = policy:hash(), kl = last_row["objective/kl"], score = last_row["objective/scores"], iterations = done }
run:close()
return { model = cfg.output_dir .. "/model", history = run.history }
