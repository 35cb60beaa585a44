--- The reward model: a scalar head on the SFT model, trained on rankings of K answers
-- (arXiv:2203.02155, section 3.5, equation 1, appendix C.2).
--
--   loss(θ) = -1/C(K,2) E_(x, y_w, y_l) [ ln σ( r(x, y_w) - r(x, y_l) ) ]               (1)
--
-- All C(K,2) pairs of a prompt come from one forward of its K answers and stay in one step: taken
-- apart they would be seen K-1 times and overfit. `variant` also offers the two sums the loss grew
-- from, over σ(difference) and over the raw difference. One pass over the data. At the end a bias
-- makes the demonstrations score 0 on average, so that 0 means "as good as a labeler".
--
-- Not in the paper: labelers err. `label_smoothing`, or the rate of flipped pairs `labeler_noise`,
-- given or fitted with the scores (pl.reward_loss has the equations); margins by which better
-- answers have to lead; the checkpoint that is best on labelers it did not learn from; `num_heads`
-- on one trunk, an ensemble for the price of one model: each begins as weights of its own and
-- learns from a bootstrap of its own, in which a set stands as often as a Poisson draw of mean 1
-- says (Oza and Russell 2001). Where they disagree, little was known. With `likelihood_coef` the
-- scores learn what log-probs of a language model, the SFT model's say, do not tell: in (1) stands
-- r(x, y) + w ln π_ref(y|x). A policy has to be trained with the same w.

local pl = require("perilune")
local batch, data, health, ranking = pl.batch, pl.data, pl.health, pl.ranking

local NOISE_RATE <const> = 0.1 -- by which the fitted rate of flipped pairs goes to that of a step

local cfg = pl.config {
  name = "reward",
  about = "a reward model from rankings of K answers",
  "Models and data",
  { model = "", "SFT model folder to start from", required = true },
  { dataset = "", "rankings: JSON Lines of {prompt, completions, ranks}", required = true },
  { eval_dataset = "", "the same, to measure on" },
  { held_out_labelers = "", "whose rankings are measured on and not trained on: names, by commas" },
  { demonstrations = "", "JSON Lines of demonstrations that shall score 0 on average" },
  {
    template = "auto",
    "chat template: auto (the model's own), none, plain, chatml, a .jinja file",
  },
  {
    num_heads = 1,
    "scores on one trunk, an ensemble: each learns from a bootstrap of the sets",
    min = 1,
    max = 64,
  },
  {
    max_length = 2048,
    "prompts with a longer answer are left out, longer demonstrations are cut, tokens",
    min = 2,
  },
  "Loss",
  {
    variant = "logsigmoid",
    "of a pair's difference",
    choices = { "logsigmoid", "sigmoid", "linear" },
  },
  {
    ties = "drop",
    "equal ranks are dropped, or count half for either side",
    choices = { "drop", "half" },
  },
  { center_rewards_coefficient = 0.0, "weight of the squared mean score of a set", min = 0 },
  {
    label_smoothing = 0.0,
    "part of the pairs that count for the other side",
    min = 0,
    under = 0.5,
  },
  {
    labeler_noise = 0.0,
    "probability that a pair is the wrong way round; 0: never",
    min = 0,
    under = 0.5,
  },
  { fit_labeler_noise = false, "fit labeler_noise to the rankings, from that value on" },
  {
    margins = "none",
    "by how much an answer has to lead: margins of the rows, or a unit for each rank",
    choices = { "none", "rows", "ranks" },
  },
  { margin_unit = 1.0, "margins are multiplied by it", min = 0 },
  { reference = "", "language model folder whose log-probs of answers stand beside the scores" },
  {
    likelihood_coef = 0.0,
    "w: weight of the reference's log-prob of an answer; give ppo the same",
    min = 0,
  },
  "Optimisation",
  { num_train_epochs = 1, "passes over the rankings", min = 1 },
  { batch_size = 64, "prompts in a step, each with all its answers", min = 1 },
  { micro_batch_tokens = 16384, "tokens in one forward", min = 1, live = true },
  {
    gradient_checkpointing = false,
    "blocks are computed again in the backward pass: less memory, more time, the same result",
  },
  pl.config.precision(),
  pl.config.adam { learning_rate = "cosine(0.00001, 0.000001)" },
  "Adapters on a frozen model",
  pl.config.peft(),
  "Choice of the checkpoint",
  { eval_steps = 0, "steps between measurements; 0: at the end", min = 0 },
  {
    checkpoint_choice = "last",
    "the final model: the last, or the best on eval_dataset or on held_out_labelers",
    choices = { "last", "eval_accuracy", "held_out_accuracy" },
  },
  {
    early_stopping_patience = 0,
    "end after so many measurements that are no better than the best; 0: never",
    min = 0,
  },
  check = function(c)
    local is_noisy = c.labeler_noise > 0
    if c.fit_labeler_noise and not is_noisy then
      return "fit_labeler_noise wants a labeler_noise to begin with, such as 0.1"
    elseif is_noisy and c.label_smoothing > 0 then
      return "labeler_noise and label_smoothing say the same: give one"
    elseif is_noisy and (c.variant ~= "logsigmoid" or c.ties ~= "drop") then
      return "labeler_noise is of variant logsigmoid with ties dropped"
    elseif (c.likelihood_coef > 0) ~= (c.reference ~= "") then
      return "reference and likelihood_coef go together"
    elseif c.checkpoint_choice == "eval_accuracy" and c.eval_dataset == "" then
      return "checkpoint_choice eval_accuracy wants an eval_dataset"
    elseif c.checkpoint_choice == "held_out_accuracy" and c.held_out_labelers == "" then
      return "checkpoint_choice held_out_accuracy wants held_out_labelers"
    elseif c.early_stopping_patience > 0 and c.checkpoint_choice == "last" then
      return "early_stopping_patience wants a checkpoint_choice to say what is better"
    elseif c.checkpoint_choice ~= "last" and c.eval_steps == 0 then
      return ("checkpoint_choice %s wants eval_steps"):format(c.checkpoint_choice)
    end
  end,
}
local run = pl.run.open(cfg)

-- Model and data ----------------------------------------------------------------------------------
local tok = pl.companions.tokenizer("model", cfg.model)
local template = data.template(cfg.template, tok)
local model = pl.companions.load("model", cfg.model, {
  scalar_head = true,
  score_heads = cfg.num_heads > 1 and cfg.num_heads or nil,
  peft = cfg,
  precision = cfg.precision,
  seed = cfg.seed,
})
model.config.score_bias, model.config.score_biases = 0, nil
model.config.score_likelihood_coef = cfg.likelihood_coef > 0 and cfg.likelihood_coef or nil
model.config.score_likelihood_reference = cfg.reference ~= ""
    and pl.companions.identity("reference", cfg.reference)
  or nil
local heads = model:score_heads()
local reference = cfg.reference ~= ""
  and pl.companions.load("reference", cfg.reference, { precision = cfg.precision }):freeze()
if reference then
  pl.companions.check {
    { name = "reference", path = cfg.reference, model = reference },
    { name = "model", path = cfg.model, model = model, scores = true },
  }
end
local longest = data.room({ model, reference or nil }, cfg.max_length)
local train =
  data.required(data.ranked(tok, template, cfg.dataset, longest, cfg.ties), "dataset", cfg.dataset)
local valid = cfg.eval_dataset ~= "" and data.ranked(tok, template, cfg.eval_dataset, longest)
local demos = cfg.demonstrations ~= ""
  and data.required(
    data.examples(tok, template, cfg.demonstrations, longest),
    "demonstrations",
    cfg.demonstrations
  )
local kept, held_out = ranking.hold_out(train, cfg.held_out_labelers)
if #kept == 0 then
  local text = "held_out_labelers (%s) hold out every set of dataset %s: nothing is left to learn"
  error(text:format(cfg.held_out_labelers, cfg.dataset), 0)
end
local epochs = data.epochs(#kept, cfg.batch_size, cfg.seed, "reward.order", {
  size = function(i) return ranking.tokens(train[kept[i]]) end,
  passes = cfg.num_train_epochs,
  max_tokens = cfg.micro_batch_tokens,
})
local steps = cfg:set_horizon(epochs.steps * cfg.num_train_epochs)
local optimizer = pl.optimizer(model.block, cfg)

local parts = {
  model = model,
  tokenizer = tok,
  optimizers = { model = optimizer },
  data = {
    dataset = train,
    demonstrations = demos,
    eval_dataset = cfg.checkpoint_choice == "eval_accuracy" and valid,
  },
  made_with = { model = model:hash(), reference = reference and reference:hash() or nil },
}
-- steps, those skipped because a gradient was not finite, best measurement and how many came since,
-- rate of flipped pairs
local state =
  run:restore(parts, { step = 0, skipped = 0, best = nil, since = 0, noise = cfg.labeler_noise })
state.noise = state.noise or cfg.labeler_noise -- of a checkpoint before there was one

local answers, pairs_seen, ties = ranking.count(train)
local check = pl.preflight.new(cfg, {
  tokenizer = tok,
  models = { model = model, reference = reference or nil },
})
check:sizes {
  { "prompts", #train },
  { "answers", answers },
  { "pairs", pairs_seen },
  { "ties", ties },
  { "prompts a step", cfg.batch_size },
  { "sets of held-out labelers", #held_out },
  { "steps", steps },
}
if cfg.held_out_labelers ~= "" and #held_out == 0 then
  check:warn("no set of %s is by one of held_out_labelers (%s)", cfg.dataset, cfg.held_out_labelers)
end
check:rows { dataset = train, eval_dataset = valid, demonstrations = demos }
if valid and #valid == 0 then
  check:warn(
    "eval_dataset %s has no set of answers that can be compared: there will be no "
      .. "eval_accuracy",
    cfg.eval_dataset
  )
  valid = nil
end

-- w ln π_ref(answer) of the answers of sets, set after set: what their scores are added to.
local function beside_scores(sets)
  local said = pl.score.likelihoods_of_sets(reference, sets, cfg.micro_batch_tokens)
  return pl.score.with_likelihoods(pl.zeros(#said):totable(), said, cfg.likelihood_coef)
end
local given, first_of = reference and beside_scores(train), { 0 }
for i, set in ipairs(train) do
  first_of[i + 1] = first_of[i] + #set.ranks
end

-- What the model makes of sets: `figures`, those of each labeler, and what they come from.
local function evaluate(sets)
  local beside = reference and beside_scores(sets) or nil
  return pl.score.judged(model, sets, cfg.micro_batch_tokens, beside)
end

-- What is taken from the scores of a set in the loss: its margins, 0 where its row has none, less
-- what stands beside its scores.
local with_margins = 0
local function margins_of(set, place)
  local margins, wrong
  if cfg.margins ~= "none" then
    margins, wrong = pl.reward_loss.margins(set, cfg.margins, cfg.margin_unit)
    if wrong then error(("a set of %s: %s"):format(cfg.dataset, wrong), 0) end
    with_margins = with_margins + (margins and 1 or 0)
  end
  margins = margins or pl.zeros(#set.ranks):totable()
  for k = 1, reference and #margins or 0 do
    margins[k] = margins[k] - given[first_of[place] + k]
  end
  return margins
end

-- Gradient of the loss over some of the sets of a step, which stand at `places` of the data.
local function accumulate(sets, places, of_step, seen, dropout)
  local scope <close> = pl.scope("reward.micro")
  local sequences, ranks, offsets = {}, {}, { 0 }
  local margins = (reference or cfg.margins ~= "none") and {} or nil
  for i, set in ipairs(sets) do
    table.move(set.sequences, 1, #set.sequences, #sequences + 1, sequences)
    table.move(set.ranks, 1, #set.ranks, #ranks + 1, ranks)
    if margins then table.move(margins_of(set, places[i]), 1, #set.ranks, #margins + 1, margins) end
    offsets[i + 1] = #ranks
  end
  local packed = batch.pack(sequences)
  local reading = { dropout = dropout, checkpoint = cfg.gradient_checkpointing }
  local all = pl.gather(model:head_scores(packed, reading), batch.last_rows(packed)) -- [N, H]
  local scores, drawn = all:mean { axis = 2 }, {}
  for i, place in ipairs(places) do
    drawn[i] = pl.reward_loss.bootstrap(cfg.seed, place, heads)
  end
  local lm, flipped, n_pairs = pl.reward_loss.heads(all, drawn, offsets, ranks, {
    variant = cfg.variant,
    ties = cfg.ties,
    norm = of_step,
    margins = margins and pl.tensor(margins),
    label_smoothing = cfg.label_smoothing,
    noise = state.noise,
  })
  if n_pairs > 0 then seen:add("flipped_pairs", flipped / n_pairs, n_pairs) end
  seen:add("loss", lm:item() * of_step / #sets, #sets)
  if cfg.center_rewards_coefficient > 0 then
    local means = pl.segment_mean(scores, pl.tensor(offsets, "int32"))
    lm = lm + means:square():sum() * (cfg.center_rewards_coefficient / of_step)
  end
  lm:backward()
  local list = scores:totable()
  for b, set in ipairs(sets) do
    local set_scores, minus = table.move(list, offsets[b] + 1, offsets[b + 1], 1, {}), {}
    for i, rank in ipairs(set.ranks) do
      minus[i] = -rank
      if reference then set_scores[i] = set_scores[i] + given[first_of[places[b]] + i] end
    end
    local right, n = pl.stats.ordered_pairs(set_scores, minus)
    if n > 0 then seen:add("accuracy", right / n, n) end
  end
  for _, score in ipairs(list) do
    seen:add("mean_reward", score)
    seen:add("mean_squared_reward", score * score)
  end
end

-- What the model makes of held-out sets, by name; all of what is known of eval_dataset beside it.
local function measure()
  local figures, judged = {}, valid and evaluate(valid)
  for name, figure in pairs(judged and judged.figures or {}) do
    if type(figure) == "number" then figures[name] = figure end
  end
  if #held_out > 0 and cfg.checkpoint_choice == "held_out_accuracy" then
    figures.held_out_accuracy = evaluate(batch.take(train, held_out)).figures.eval_accuracy
  end
  return figures, judged
end

-- Whether nothing better has come for long enough.
local function is_over()
  local patience = cfg.early_stopping_patience
  return patience > 0 and (state.since or 0) >= patience
end

-- The loop ----------------------------------------------------------------------------------------
local at_end -- of the held-out sets
local book = run:book(parts, state, {
  total = steps,
  done = state.step,
  smooth = { "loss", "accuracy" },
})
for step = state.step + 1, is_over() and state.step or steps do
  local scope <close> = pl.scope("reward.step")
  run:at(step)
  local places, sizes = batch.take(kept, (epochs.at(step))), {}
  local sets = batch.take(train, places)
  for i, set in ipairs(sets) do -- for cutting into micro-batches a set counts as one piece
    sizes[i] = ranking.tokens(set)
  end
  if step == 1 then
    check:time {
      steps = steps,
      forwards = 3,
      forward = function() pl.score.sets(model, sets, cfg.micro_batch_tokens) end,
    }
  end
  model.block:zero_grad()
  local seen = pl.meter.new()
  for part, indices in ipairs(batch.split(sizes, cfg.micro_batch_tokens)) do
    accumulate(batch.take(sets, indices), batch.take(places, indices), #sets, seen, { -- of adapters
      p = 0,
      seed = cfg.seed,
      index = pl.random.purpose("reward.dropout", step, part),
    })
  end
  local metrics = seen:result()
  book:count(step, optimizer:step(cfg, step), metrics, epochs.steps)
  metrics.reward_std = math.sqrt(math.max(0, metrics.mean_squared_reward - metrics.mean_reward ^ 2))
  metrics.mean_squared_reward = nil
  if cfg.fit_labeler_noise and metrics.flipped_pairs then
    local now = state.noise + NOISE_RATE * (metrics.flipped_pairs - state.noise)
    state.noise = math.min(math.max(now, 1e-4), 0.49)
    metrics.labeler_noise = state.noise
  end
  local is_due = cfg.eval_steps > 0 and step % cfg.eval_steps == 0
  local figure, is_best
  if is_due or step == steps then
    local measured
    measured, at_end = measure()
    for name, value in pairs(measured) do
      metrics[name] = value
    end
    figure, is_best = pl.evaluation.choose(state, measured, cfg.checkpoint_choice)
    state.since = is_best and 0 or (state.since or 0) + 1
  end
  if run:should_log(step) or is_due or step == steps then
    run:log(step, metrics)
    book.watch:tell(run, book.progress, step)
  end
  book.progress:update(step, { loss = metrics.loss, accuracy = metrics.accuracy })
  if is_best or run:should_save(step) or step == steps or is_over() then
    run:save(step, parts, state, { metric = figure, best = is_best })
  end
  if is_over() then break end
end
book.progress:finish()
if cfg.margins == "rows" and with_margins == 0 then
  check:warn("no row of %s has margins: they were 0", cfg.dataset)
end
if cfg.checkpoint_choice ~= "last" and book:read_best() then at_end = valid and evaluate(valid) end

-- What became of the scores? Bias: demonstrations score 0 on average ------------------------------
local judged = at_end or evaluate(valid or train)
local figures = {}
if valid then
  figures = judged.figures
  figures.eval_labelers = judged.labelers
end
if #held_out > 0 then
  local apart = evaluate(batch.take(train, held_out))
  figures.held_out_accuracy = apart.figures.eval_accuracy
  figures.held_out_accuracy_ci95 = apart.figures.eval_accuracy_ci95
  figures.held_out_pairs = apart.figures.eval_pairs
  figures.held_out_labelers = apart.labelers
end
local of_demos = demos and pl.score.heads(model, demos.sequences)
local alarms
alarms, figures.length_correlation =
  health.reward_model(judged.scores, judged.ranks, judged.lengths, {
    demonstrations = of_demos and pl.score.mean_of(of_demos) or nil,
    key = valid and "eval_dataset" or "dataset",
  })
for _, sentence in ipairs(alarms) do
  check:warn("%s", sentence)
end
pl.score.center(model, of_demos or judged.members, demos and true or false)
figures.likelihood_coef = reference and cfg.likelihood_coef or nil
local model_dir = run:save_model(model, { tokenizer = tok, figures = figures })
figures.weights_hash = model:hash()
figures.score_bias = model.config.score_bias
figures.rm_accuracy = figures.eval_accuracy
figures.labeler_noise = cfg.labeler_noise > 0 and state.noise or nil
figures.best_checkpoint = run.best and run.best.path
local next_command = { "perilune", "run", "recipes/ppo.lua" }
local function add(key, value)
  table.move({ "--" .. key, value }, 1, 2, #next_command + 1, next_command)
end
add("model", reference and cfg.reference or cfg.model)
add("reward_model", model_dir)
add("dataset", "PROMPTS")
if reference then add("likelihood_coef", tostring(cfg.likelihood_coef)) end
run:summary(figures, { model = model_dir, next = next_command })
run:close()
figures.model = model_dir
figures.history = run.history
return figures
