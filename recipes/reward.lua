--- The reward model: a scalar head on the SFT model, trained on rankings of K answers
-- (arXiv:2203.02155, section 3.5, equation 1, appendix C.2).
--
--   loss(θ) = -1/C(K,2) E_(x, y_w, y_l) [ ln σ( r(x, y_w) - r(x, y_l) ) ]               (1)
--
-- All C(K,2) pairs of a prompt come from one forward of its K answers and stay in one step: taken
-- apart they would be seen K-1 times and overfit. `variant` also offers the two sums the loss grew
-- from, over σ(difference) and over the raw difference. One pass over the data. At the end a bias
-- makes the demonstrations score 0 on average, so that 0 means "as good as a labeler".

local pl = require "perilune"
local batch, data, loss = pl.batch, pl.data, pl.loss
local checkpoint = pl.state

local cfg = pl.config {
  name = "reward", about = "a reward model from rankings of K answers",
  "Models and data",
  { model = "", "SFT model folder to start from", required = true },
  { dataset = "", "rankings: JSON Lines of {prompt, completions, ranks}", required = true },
  { eval_dataset = "", "the same, to measure on" },
  { demonstrations = "", "JSON Lines of demonstrations that shall score 0 on average" },
  { template = "none", "chat template", choices = { "none", "plain", "chatml" } },
  { max_length = 2048,
    "prompts with a longer answer are dropped, longer demonstrations are cut, tokens", min = 2 },
  "Loss",
  { variant = "logsigmoid", "of a pair's difference", choices = { "logsigmoid", "sigmoid",
    "linear" } },
  { ties = "drop", "equal ranks are dropped, or count half for either side", choices = { "drop",
    "half" } },
  { center_rewards_coefficient = 0.0, "weight of the squared mean score of a set", min = 0 },
  "Optimisation",
  { num_train_epochs = 1, "passes over the rankings", min = 1 },
  { batch_size = 64, "prompts in a step, each with all its answers", min = 1 },
  { micro_batch_tokens = 16384, "tokens in one forward", min = 1 },
  { learning_rate = "cosine(0.00001, 0.000001)", "of AdamW", min = 0, schedule = true },
  { adam_beta1 = 0.9, "Adam", min = 0, under = 1 },
  { adam_beta2 = 0.95, "Adam", min = 0, under = 1 },
  { adam_epsilon = 1e-8, "Adam", over = 0 },
  { weight_decay = 0.0, "on matrices", min = 0 },
  { max_grad_norm = 1.0, "clip gradients to this norm; 0: not", min = 0 },
}
local run = pl.run.open(cfg)
if cfg.threads > 0 then pl.threads(cfg.threads) end
pl.nan_check(cfg.nan_check)

-- Model and data ----------------------------------------------------------------------------------
local tok = assert(pl.tokenizer.load(cfg.model))
local template = data.template(cfg.template)
-- The head is drawn from N(0, 1/√(d+1)), as Stiennon et al. (arXiv:2009.01325).
local model = assert(pl.load(cfg.model, { scalar_head = true, seed = cfg.seed }))
model.config.score_bias = 0
local train, too_long = data.ranked(tok, template, cfg.dataset, cfg.max_length)
local valid = cfg.eval_dataset ~= "" and data.ranked(tok, template, cfg.eval_dataset,
  cfg.max_length)
local optimizer = pl.adamw(model.block)
local steps_each = math.max(1, math.ceil(#train / cfg.batch_size))
local steps = steps_each * cfg.num_train_epochs
if cfg.max_steps > 0 then steps = math.min(steps, cfg.max_steps) end
cfg:set_horizon(steps)
local parts = { model = model, tokenizer = tok, optimizers = { model = optimizer },
  data = { dataset = train } }
local step, skipped = 0, 0
if run.resumed then
  checkpoint.read(run.resumed.path, parts)
  step, skipped = run.resumed.state.step, run.resumed.state.skipped
end
local answers, ties, pairs_seen = 0, 0, 0
for _, set in ipairs(train) do
  answers = answers + #set.ranks
  for i = 1, #set.ranks do
    for j = i + 1, #set.ranks do
      pairs_seen = pairs_seen + 1
      ties = ties + (set.ranks[i] == set.ranks[j] and 1 or 0)
    end
  end
end
local check = pl.preflight.new(cfg, { tokenizer = tok, models = { model = model } })
check:sizes { { "prompts", #train }, { "dropped as too long", too_long }, { "answers", answers },
  { "pairs", pairs_seen }, { "ties",
  ties },
  { "prompts a step", cfg.batch_size }, { "steps", steps } }

-- Score differences and outcomes of all pairs, better answer first
local function pair_gaps(sets)
  local flat, gaps = {}, {}
  for _, set in ipairs(sets) do table.move(set.sequences, 1, #set.sequences, #flat + 1, flat) end
  local scores, at = loss.sequence_scores(model, flat, { max_tokens = cfg.micro_batch_tokens }), 0
  for _, set in ipairs(sets) do
    for i = 1, #set.ranks do
      for j = 1, #set.ranks do
        if set.ranks[i] < set.ranks[j] then gaps[#gaps + 1] = scores[at + i] - scores[at + j] end
      end
    end
    at = at + #set.ranks
  end
  return gaps, scores
end

-- Accuracy, accuracy by size of the difference, and calibration: of pairs the model gives
-- probability p = σ(difference), how many does it get right?
local function evaluate(sets)
  local gaps = pair_gaps(sets)
  local right, bins = 0, {}
  for _, gap in ipairs(gaps) do
    right = right + (gap > 0 and 1 or gap == 0 and 0.5 or 0)
    local confidence = 1 / (1 + math.exp(-math.abs(gap)))
    local bin = math.min(5, 1 + math.floor((confidence - 0.5) * 10))
    bins[bin] = bins[bin] or { n = 0, right = 0, confidence = 0 }
    bins[bin].n, bins[bin].confidence = bins[bin].n + 1, bins[bin].confidence + confidence
    bins[bin].right = bins[bin].right + (gap > 0 and 1 or gap == 0 and 0.5 or 0)
  end
  local figures, error_sum = { eval_accuracy = right / math.max(1, #gaps), eval_pairs = #gaps }, 0
  for bin, b in pairs(bins) do
    figures[("eval_accuracy_p%d"):format(40 + 10 * bin)] = b.right / b.n
    error_sum = error_sum + math.abs(b.right - b.confidence)
  end
  figures.eval_calibration_error = error_sum / math.max(1, #gaps)
  return figures
end

-- The loop ----------------------------------------------------------------------------------------
local progress = pl.progress.new { total = steps, first = step, quiet = cfg.quiet,
  smooth = { "loss", "accuracy" } }
while step < steps do
  local scope <close> = pl.scope "reward.step"
  step = step + 1
  cfg:at(step)
  local epoch, place = (step - 1) // steps_each + 1, (step - 1) % steps_each
  local order = batch.permutation(#train, cfg.seed, 30 * 100000 + epoch)
  local sets, lengths = {}, {}
  for i = place * cfg.batch_size + 1, math.min(#train, (place + 1) * cfg.batch_size) do
    local set = train[order[i]]
    sets[#sets + 1] = set
    local flat = {} -- for cutting into micro-batches a set counts as one piece
    for _, sequence in ipairs(set.sequences) do table.move(sequence, 1, #sequence, #flat + 1,
      flat) end
    lengths[#lengths + 1] = flat
  end
  if step == 1 then
    check:time { steps = steps, forwards = 3, forward = function() pair_gaps(sets) end }
  end
  model.block:zero_grad()
  local seen = pl.meter.new()
  for _, indices in ipairs(batch.split(lengths, cfg.micro_batch_tokens)) do
    local micro <close> = pl.scope "reward.micro"
    local sequences, ranks, offsets = {}, {}, { 0 }
    for _, i in ipairs(indices) do
      table.move(sets[i].sequences, 1, #sets[i].sequences, #sequences + 1, sequences)
      table.move(sets[i].ranks, 1, #sets[i].ranks, #ranks + 1, ranks)
      offsets[#offsets + 1] = #ranks
    end
    local scores = pl.gather(model:scores(batch.pack(sequences)), batch.last_rows(sequences))
    local lm = pl.rank_loss(scores, pl.tensor(offsets, "int32"), pl.tensor(ranks), nil,
      { variant = cfg.variant, ties = cfg.ties, norm = #sets })
    seen:add("loss", lm:item() * #sets / #indices, #indices)
    if cfg.center_rewards_coefficient > 0 then
      local means = pl.segment_mean(scores, pl.tensor(offsets, "int32"))
      lm = lm + means:square():sum() * (cfg.center_rewards_coefficient / #sets)
    end
    lm:backward()
    local list, minus = scores:totable(), {}
    for i, rank in ipairs(ranks) do minus[i] = -rank end
    for b = 1, #offsets - 1 do
      local right, n = pl.stats.ordered_pairs({ table.unpack(list, offsets[b] + 1,
        offsets[b + 1]) },
        { table.unpack(minus, offsets[b] + 1, offsets[b + 1]) })
      if n > 0 then seen:add("accuracy", right / n, n) end
    end
    for _, s in ipairs(list) do
      seen:add("mean_reward", s)
      seen:add("mean_squared_reward", s * s)
    end
  end
  local result = optimizer:step { lr = cfg.learning_rate(step), beta1 = cfg.adam_beta1,
    beta2 = cfg.adam_beta2, eps = cfg.adam_epsilon, weight_decay = cfg.weight_decay,
    max_grad_norm = cfg.max_grad_norm }
  if result.skipped then skipped = skipped + 1 end
  local metrics = seen:result()
  metrics.reward_std = math.sqrt(math.max(0, metrics.mean_squared_reward - metrics.mean_reward ^ 2))
  metrics.mean_squared_reward = nil
  metrics.grad_norm, metrics.lr = result.grad_norm, cfg.learning_rate(step)
  metrics.epoch, metrics.skipped_steps = step / steps_each, skipped
  if step == steps and valid then
    for name, figure in pairs(evaluate(valid)) do metrics[name] = figure end
  end
  if run:should_log(step) or step == steps then run:log(step, metrics) end
  progress:update(step, { loss = metrics.loss, accuracy = metrics.accuracy })
  if run:should_save(step) or step == steps then
    run:checkpoint(step, function(dir) checkpoint.write(dir, parts) end,
      { state = { step = step, skipped = skipped } })
  end
end
progress:finish()

-- Bias: demonstrations score 0 on average; and does the score only like length? -------------------
if cfg.demonstrations ~= "" then
  local demos = data.examples(tok, template, cfg.demonstrations, cfg.max_length)
  local scores = loss.sequence_scores(model, demos.sequences)
  model.config.score_bias = model.config.score_bias + pl.stats.mean(scores)
end
local figures = valid and evaluate(valid) or {}
local lengths, scores = {}, {}
for _, set in ipairs(valid or train) do
  local list = loss.sequence_scores(model, set.sequences)
  for k, sequence in ipairs(set.sequences) do
    lengths[#lengths + 1], scores[#scores + 1] = #sequence, list[k]
  end
end
figures.length_correlation = pl.stats.correlation(lengths, scores)
if math.abs(figures.length_correlation or 0) > 0.9 then
  check:warn("scores follow the length of the answer (correlation %.2f) and little else: rankings "
    .. "that prefer long answers will be all that PPO learns", figures.length_correlation)
end
assert(model:save(cfg.output_dir .. "/model", { tokenizer = tok }))
figures.weights_hash, figures.score_bias = model:hash(), model.config.score_bias
figures.rm_accuracy = figures.eval_accuracy
run:summary(figures)
run:close()
figures.model, figures.history = cfg.output_dir .. "/model", run.history
return figures
