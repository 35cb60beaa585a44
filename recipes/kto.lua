--- Kahneman-Tversky optimisation: a policy from answers that were liked or not, with no pairs among
-- them (Ethayarajh et al. 2024, arXiv:2402.01306).
--
--   L(θ) = E_(x, y) [ w_y (1 - v(x, y)) ]                                                       (7)
--   v = σ(β (h - z)) of a liked answer, σ(β (z - h)) of another, h = ln π(y|x)/π_ref(y|x)       (8)
--   z = max(0, mean of ln π(y'|x)/π_ref(y'|x))      over answers y' to other prompts
--
-- One step: (a) the baseline z of the batch, without a gradient: each prompt with an answer to
-- another one; (b) its answers go through the policy in packed forwards; (c) each answer has its
-- loss. The reference reads each answer, and each mismatched one, once: what it said is kept.
--
-- Rows are {prompt, completion, label}, dialogues whose turns were rated by thumbs, or rankings:
-- what is ranked better than the mean rank of its set counts as liked, what is ranked worse as not.
--
-- Deviations: which other answer stands behind a prompt is drawn once for the run, never one to the
-- same prompt (the paper and TRL shift the answers of a batch by one). loss_type apo_zero_unpaired
-- has z = 0 (D'Oosterlinck et al. 2024, arXiv:2408.06266).

local pl = require("perilune")
local batch, data, loss, preference = pl.batch, pl.data, pl.loss, pl.preference

local cfg = pl.config {
  name = "kto",
  about = "preference optimisation from answers that were liked or not",
  "Models and data",
  { model = "", "model folder to start from; also the reference", required = true },
  {
    dataset = "",
    "JSON Lines of {prompt, completion, label}, rated dialogues, or rankings",
    required = true,
  },
  { eval_dataset = "", "the same, to measure on" },
  {
    template = "auto",
    "chat template: auto (the model's own), none, plain, chatml, a .jinja file",
  },
  { max_length = 2048, "longer answers are left out, tokens with their prompt", min = 2 },
  "Loss",
  {
    loss_type = "kto",
    "with the baseline, or without",
    choices = { "kto", "apo_zero_unpaired" },
  },
  { beta = 0.1, "β: how much a log ratio weighs", over = 0 },
  { desirable_weight = 1.0, "of losses of liked answers", min = 0 },
  { undesirable_weight = 1.0, "of losses of the others", min = 0 },
  "Optimisation",
  { num_train_epochs = 1, "passes over the answers", min = 1 },
  { batch_size = 32, "answers in a step", min = 1 },
  pl.config.forwards(),
  pl.config.adam { learning_rate = 1e-6 },
  "Adapters on a frozen model, which is the reference",
  pl.config.peft { dropout = false }, -- policy and reference differ by what was learnt alone
  "Evaluation",
  { eval_steps = 50, "steps between measurements", min = 1 },
  {
    checkpoint_choice = "last",
    "the final model: the last, or the best by one of these",
    choices = { "last", "eval_loss", "eval_rewards/accuracies", "eval_score" },
  },
  pl.config.evaluation(),
  check = function(c)
    if c.desirable_weight + c.undesirable_weight == 0 then
      return "desirable_weight and undesirable_weight are both 0: nothing would be learnt"
    elseif c.checkpoint_choice == "eval_score" and c.eval_prompts == "" then
      return "checkpoint_choice eval_score wants eval_prompts"
    elseif c.checkpoint_choice:match("^eval_[lr]") and c.eval_dataset == "" then
      return ("checkpoint_choice %s wants an eval_dataset"):format(c.checkpoint_choice)
    end
  end,
}
local run = pl.run.open(cfg)

-- Models and data ---------------------------------------------------------------------------------
local tok = pl.companions.tokenizer("model", cfg.model)
local template = data.template(cfg.template, tok)
local policy = pl.companions.writer("model", cfg.model, {
  peft = cfg,
  precision = cfg.precision,
  seed = cfg.seed,
})
local reference = pl.companions.load("model", cfg.model, policy:beside()):freeze()
local longest = data.room({ policy }, cfg.max_length)

-- Answers of a data set, for each one to another prompt, and what the reference said of both.
local function answers_of(key)
  local path = cfg[key]
  if path == "" then return nil end
  local set = data.required(data.labelled(tok, template, path, longest), key, path)
  return {
    set = set,
    others = preference.mismatch(set, longest, cfg.seed),
    said = preference.keeper(reference, cfg.micro_batch_tokens),
    said_of_others = preference.keeper(reference, cfg.micro_batch_tokens),
  }
end
local train, valid = answers_of("dataset"), answers_of("eval_dataset")
local evaluation = pl.evaluation.open(cfg, tok, template, policy, reference)
local epochs = data.epochs(#train.set, cfg.batch_size, cfg.seed, "kto.order", {
  size = function(i) return train.set.lengths[i] end,
  passes = cfg.num_train_epochs,
  max_tokens = cfg.micro_batch_tokens,
})
local steps = cfg:set_horizon(epochs.steps * cfg.num_train_epochs)
local optimizer = pl.optimizer(policy.block, cfg)

local parts = {
  model = policy,
  tokenizer = tok,
  optimizers = { policy = optimizer },
  data = {
    dataset = train.set,
    eval_dataset = cfg.checkpoint_choice ~= "last" and valid and valid.set,
  },
  made_with = { model = reference:hash() },
}
-- steps, those skipped because a gradient was not finite, best measurement
local state = run:restore(parts, { step = 0, skipped = 0, best = nil })

local check = pl.preflight.new(cfg, {
  tokenizer = tok,
  stop = data.stop_id(tok, template),
  models = { policy = policy, reference = reference },
})
check:sizes {
  { "answers", #train.set },
  { "liked", train.set.liked },
  { "disliked", train.set.disliked },
  { "answers a step", cfg.batch_size },
  { "steps an epoch", epochs.steps },
  { "steps", steps },
}
check:rows {
  dataset = train.set,
  eval_dataset = valid and valid.set,
  eval_prompts = evaluation and evaluation.prompts,
}
for side, n in pairs { liked = train.set.liked, disliked = train.set.disliked } do
  if n == 0 then check:warn("no answer of %s is %s: KTO wants some of both", cfg.dataset, side) end
end
local weigh = 0 -- of liked answers, with which both kinds weigh the same
if train.set.liked > 0 then
  weigh = cfg.undesirable_weight * train.set.disliked / train.set.liked
end
if weigh > 0 and (cfg.desirable_weight < weigh or cfg.desirable_weight > 4 / 3 * weigh) then
  check:say(
    "liked answers weigh %.3g times what the others do; the paper takes 1 to 1.33: "
      .. "desirable_weight %.3g to %.3g",
    cfg.desirable_weight / weigh,
    weigh,
    4 / 3 * weigh
  )
end
if cfg.loss_type == "kto" and next(train.others) == nil then
  check:warn("%s has no two prompts whose answers fit each other: the baseline is 0", cfg.dataset)
end

-- Answers `ids` of one side, as items of preference.keeper; crossed: behind other prompts.
local function items_of(side, ids, crossed)
  local items, keys, lengths = {}, {}, {}
  for _, id in ipairs(ids) do
    local one, other = side.set[id], side.others[id]
    local sequence, mask = one.sequence, one.mask
    if crossed and other then
      sequence, mask = preference.cross(one, side.set[other])
    end
    if not crossed or other then
      local n = #items + 1
      keys[n], lengths[n] = id, #sequence
      items[n] = { sequences = { sequence }, masks = { mask }, label = one.label }
    end
  end
  return items, keys, lengths
end

local function unpacked(items)
  local sequences, masks = {}, {}
  for i, item in ipairs(items) do
    sequences[i], masks[i] = item.sequences[1], item.masks[1]
  end
  return sequences, masks
end

-- (a) The baseline, from answers to other prompts.
local function baseline_of(side, ids)
  if cfg.loss_type ~= "kto" then return 0 end
  local items, keys = items_of(side, ids, true)
  if #items == 0 then return 0 end
  local sequences, masks = unpacked(items)
  return preference.kto_baseline(
    pl.tensor(preference.logps(policy, sequences, masks, cfg.micro_batch_tokens)),
    pl.tensor(side.said_of_others:logps(keys, items))
  )
end

-- (b), (c) Calls fn(summed loss) for answers `ids` in micro-batches; figures go to `seen`.
local function each_loss(side, ids, baseline, seen, fn)
  local items, keys, lengths = items_of(side, ids)
  for _, indices in ipairs(batch.split(lengths, cfg.micro_batch_tokens)) do
    local scope <close> = pl.scope("kto.micro")
    local part, labels = batch.take(items, indices), {}
    for i, item in ipairs(part) do
      labels[i] = item.label
    end
    local before = side.said:logps(batch.take(keys, indices), part)
    local sequences, masks = unpacked(part)
    local at = batch.targets(sequences, masks)
    local logprobs = loss.logprobs(policy, batch.pack(sequences), at, {
      checkpoint = cfg.gradient_checkpointing,
    })
    local logps = pl.segment_sum(logprobs, at.segments)
    local losses, rewards = preference.kto(logps, pl.tensor(before), labels, baseline, {
      beta = cfg.beta,
      desirable_weight = cfg.desirable_weight,
      undesirable_weight = cfg.undesirable_weight,
    })
    local said, gained = logps:totable(), rewards:totable()
    for i, liked in ipairs(labels) do
      local ahead = (gained[i] - cfg.beta * baseline) * (liked and 1 or -1)
      seen:add(liked and "rewards/chosen" or "rewards/rejected", gained[i])
      seen:add(liked and "logps/chosen" or "logps/rejected", said[i])
      seen:add("rewards/accuracies", ahead > 0 and 1 or ahead == 0 and 0.5 or 0)
    end
    local total = losses:sum()
    seen:add("loss", total:item() / #part, #part)
    if fn then fn(total) end
  end
end

-- What was seen, and the margin where both kinds of answers were.
local function result_of(seen, baseline)
  local figures = seen:result()
  figures.kl = baseline
  if figures["rewards/chosen"] and figures["rewards/rejected"] then
    figures["rewards/margins"] = figures["rewards/chosen"] - figures["rewards/rejected"]
  end
  return figures
end

-- Before the first step: what is trained, whether the policy still is its reference, the time.
local function look_at_first(ids)
  local items, keys = items_of(train, ids)
  local sequences, masks = unpacked(items)
  check:tokens(sequences, masks)
  local function forward()
    local most = cfg.micro_batch_tokens
    return preference.logps(policy, sequences, masks, most)
  end
  check:unmoved(forward(), train.said:logps(keys, items))
  check:time { steps = steps, forwards = 6, forward = forward } -- policy 3 + 1, reference 2
end

-- What there is to say of held-out answers and prompts, by name.
local function measure(step, metrics)
  local figures = {}
  if valid then
    local guard <close> = pl.no_grad()
    local ids, seen = {}, pl.meter.new()
    for i = 1, #valid.set do
      ids[i] = i
    end
    local baseline = baseline_of(valid, ids)
    each_loss(valid, ids, baseline, seen)
    for name, figure in pairs(result_of(seen, baseline)) do
      figures["eval_" .. name] = figure
    end
    figures.eval_baseline, figures.eval_kl = figures.eval_kl, nil -- the evaluation's name
  end
  if evaluation then evaluation:tell(run, step, figures, metrics) end
  return figures
end

if evaluation then evaluation:begin(run, check) end

-- The loop ----------------------------------------------------------------------------------------
local book = run:book(parts, state, {
  total = steps,
  done = state.step,
  smooth = { "loss", "margin" },
})
for step = state.step + 1, steps do
  local scope <close> = pl.scope("kto.step")
  run:at(step)
  local ids, seen = epochs.at(step), pl.meter.new()
  if step == 1 then look_at_first(ids) end
  local baseline = baseline_of(train, ids)
  policy.block:zero_grad()
  each_loss(train, ids, baseline, seen, function(total)
    local mean = total / #ids
    mean:backward()
  end)
  local metrics = result_of(seen, baseline)
  book:count(step, optimizer:step(cfg, step), metrics, epochs.steps)

  local is_due = (valid or evaluation) and (step % cfg.eval_steps == 0 or step == steps)
  local shown = { loss = metrics.loss, margin = metrics["rewards/margins"] }
  book:close(step, metrics, shown, is_due and measure(step, metrics) or nil)
end
book.progress:finish()

if cfg.checkpoint_choice ~= "last" then book:read_best() end
local figures = pl.evaluation.of_preferences(run.history)
return (book:finish(policy, figures, { "eval_accuracy", "eval_score" }))
