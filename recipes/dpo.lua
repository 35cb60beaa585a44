--- Direct preference optimisation: a policy from ranked answers, without a reward model
-- (Rafailov et al. 2023, arXiv:2305.18290).
--
--   L(θ) = -E_(x, y_w, y_l) [ ln σ( β ln π(y_w|x)/π_ref(y_w|x)
--                                 - β ln π(y_l|x)/π_ref(y_l|x) ) ]                             (7)
--
-- One step: (a) the answers of some ranked sets go through the policy in one packed forward, each
-- once, in however many pairs it stands; (b) the reference has read them before, when they were
-- first met, and what it said is kept; (c) each pair has its loss. Pairs of one set weigh the same
-- and 1 together, as in the reward model's equation (1): a set of 9 answers has 36 pairs and is one
-- observation of one prompt.
--
-- `loss_type` offers what the equation was changed to later; pl.preference has all equations. simpo
-- and orpo have no reference. ipo compares means over tokens, as TRL does. Deviation: `rpo_alpha`
-- adds the likelihood of the better answers (Pang et al. 2024, arXiv:2404.19733).

local pl = require("perilune")
local batch, data, loss, preference = pl.batch, pl.data, pl.loss, pl.preference

local cfg = pl.config {
  name = "dpo",
  about = "preference optimisation from ranked answers: DPO and its family",
  "Models and data",
  { model = "", "model folder to start from; also the reference", required = true },
  {
    dataset = "",
    "JSON Lines of {prompt, completions, ranks} or {prompt, chosen, rejected}",
    required = true,
  },
  { eval_dataset = "", "the same, to measure on" },
  {
    template = "auto",
    "chat template: auto (the model's own), none, plain, chatml, a .jinja file",
  },
  { max_length = 2048, "sets with a longer answer are left out, tokens", min = 2 },
  {
    pairs = "all",
    "of a ranked set: all, the best with the worst, or neighbours in rank",
    choices = { "all", "best-worst", "adjacent" },
  },
  "Loss",
  {
    loss_type = "sigmoid",
    "of a pair; simpo and orpo have no reference",
    choices = { "sigmoid", "robust", "hinge", "ipo", "simpo", "orpo" },
  },
  { beta = 0.1, "β: how much a log ratio weighs (simpo: 2 to 2.5); orpo: λ", over = 0 },
  {
    label_smoothing = 0.0,
    "ε: part of the pairs that are the wrong way round; sigmoid with it is conservative DPO",
    min = 0,
    under = 0.5,
  },
  { simpo_gamma = 0.5, "γ of simpo: by how much the better answer has to lead", min = 0 },
  { rpo_alpha = 0.0, "weight of the better answers' negative log-likelihood a token", min = 0 },
  "Optimisation",
  { num_train_epochs = 1, "passes over the sets", min = 1 },
  { batch_size = 32, "sets in a step, each with its pairs", min = 1 },
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
    if c.label_smoothing > 0 and c.loss_type ~= "sigmoid" and c.loss_type ~= "robust" then
      return "label_smoothing is of loss_type sigmoid and robust"
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
local is_free = cfg.loss_type == "simpo" or cfg.loss_type == "orpo" -- of a reference
local reference = (not is_free or cfg.eval_prompts ~= "")
    and pl.companions.load("model", cfg.model, policy:beside()):freeze()
  or nil
local longest = data.room({ policy }, cfg.max_length)
local function sets_of(key)
  local path = cfg[key]
  return path ~= "" and data.required(data.ranked(tok, template, path, longest), key, path)
end
local train, valid = sets_of("dataset"), sets_of("eval_dataset")
local evaluation = pl.evaluation.open(cfg, tok, template, policy, reference)

-- Sets that have a pair, and how many pairs there are.
local function counted(sets)
  local kept, count = {}, { pairs = 0, answers = 0, equal = 0 }
  for i = 1, #sets do
    local item = preference.compare(sets[i], cfg.pairs)
    count.equal = count.equal + item.equal
    if #item.pairs > 0 then
      kept[#kept + 1] = i
      count.pairs, count.answers = count.pairs + #item.pairs, count.answers + #item.sequences
    end
  end
  return kept, count
end
local kept, count = counted(train)
local kept_valid = valid and counted(valid)
local function size_of(i)
  local item = preference.compare(train[kept[i]], cfg.pairs)
  return batch.load(item.sequences)
end
local epochs = data.epochs(#kept, cfg.batch_size, cfg.seed, "dpo.order", {
  size = size_of,
  passes = cfg.num_train_epochs,
  max_tokens = cfg.micro_batch_tokens,
})
local steps = cfg:set_horizon(epochs.steps * cfg.num_train_epochs)
local optimizer = pl.optimizer(policy.block, cfg)
local said = reference and preference.keeper(reference, cfg.micro_batch_tokens)
local said_of_valid = reference and preference.keeper(reference, cfg.micro_batch_tokens)

local parts = {
  model = policy,
  tokenizer = tok,
  optimizers = { policy = optimizer },
  data = { dataset = train, eval_dataset = cfg.checkpoint_choice ~= "last" and valid },
  made_with = { model = reference and reference:hash() },
}
-- steps, those skipped because a gradient was not finite, best measurement
local state = run:restore(parts, { step = 0, skipped = 0, best = nil })

local check = pl.preflight.new(cfg, {
  tokenizer = tok,
  stop = data.stop_id(tok, template),
  models = { policy = policy, reference = reference },
})
check:sizes {
  { "sets", #kept },
  { "answers", count.answers },
  { "pairs", count.pairs },
  { "sets a step", cfg.batch_size },
  { "steps an epoch", epochs.steps },
  { "steps", steps },
}
check:rows {
  dataset = train,
  eval_dataset = valid,
  eval_prompts = evaluation and evaluation.prompts,
}
if count.equal > 0 then
  check:warn("%d pairs of %s are left out: both answers are the same", count.equal, cfg.dataset)
end

-- (c) Losses of pairs of answers, and their rewards as constants: [P] each.
local function losses_of(packed, logps, reference_logps)
  local function pairs_in(flat)
    return pl.gather(flat, packed.winners), pl.gather(flat, packed.losers)
  end
  local chosen, rejected = pairs_in(logps)
  local chosen_tokens, rejected_tokens = pairs_in(packed.tokens)
  if cfg.loss_type == "orpo" then
    return preference.orpo(chosen, rejected, chosen_tokens, rejected_tokens, { beta = cfg.beta })
  elseif cfg.loss_type == "simpo" then
    return preference.simpo(chosen, rejected, chosen_tokens, rejected_tokens, {
      beta = cfg.beta,
      simpo_gamma = cfg.simpo_gamma,
    })
  end
  local ref_chosen, ref_rejected = pairs_in(pl.tensor(reference_logps))
  return preference.dpo(chosen, rejected, ref_chosen, ref_rejected, {
    beta = cfg.beta,
    loss_type = cfg.loss_type,
    label_smoothing = cfg.label_smoothing,
    chosen_tokens = chosen_tokens,
    rejected_tokens = rejected_tokens,
  })
end

-- The summed loss of some sets, each of weight 1; figures go to `seen`.
local function total_loss(items, keys, keeper, seen)
  local reference_logps = not is_free and keeper:logps(keys, items) -- (b)
  local packed = preference.pack(items)
  local logprobs = loss.logprobs(policy, packed.batch, packed.at, {
    checkpoint = cfg.gradient_checkpointing,
  }) -- (a)
  local logps = pl.segment_sum(logprobs, packed.at.segments)
  local losses, better, worse = losses_of(packed, logps, reference_logps)
  local total = (losses * packed.weights):sum()
  local nll = -(pl.gather(logps / packed.tokens, packed.winners) * packed.weights):sum()
  if cfg.rpo_alpha > 0 then total = total + nll * cfg.rpo_alpha end
  local function note(name, values)
    seen:add(name, (values * packed.weights):sum():item() / #items, #items)
  end
  seen:add("loss", total:item() / #items, #items)
  seen:add("nll_loss", nll:item() / #items, #items)
  note("rewards/chosen", better)
  note("rewards/rejected", worse)
  note("rewards/margins", better - worse)
  note("rewards/accuracies", better:gt(worse) + better:eq(worse) * 0.5)
  note("logps/chosen", pl.gather(logps, packed.winners))
  note("logps/rejected", pl.gather(logps, packed.losers))
  return total
end

-- Calls fn(items, keys) for the sets `ids` of `sets`, some of them at a time.
local function in_parts(sets, ids, fn)
  local items, sizes = {}, {}
  for i, id in ipairs(ids) do
    items[i] = preference.compare(sets[id], cfg.pairs)
    sizes[i] = items[i].tokens
  end
  for _, indices in ipairs(batch.split(sizes, cfg.micro_batch_tokens)) do
    local scope <close> = pl.scope("dpo.micro")
    fn(batch.take(items, indices), batch.take(ids, indices))
  end
end

-- Before the first step: what is trained, whether the policy still is its reference, the time.
local function look_at_first(ids)
  local tokens, first = 0, preference.compare(train[ids[1]], cfg.pairs)
  for _, id in ipairs(ids) do
    tokens = tokens + preference.compare(train[id], cfg.pairs).tokens
  end
  local function forward()
    return preference.logps(policy, first.sequences, first.masks, cfg.micro_batch_tokens)
  end
  check:tokens(first.sequences, first.masks)
  if said then check:unmoved(forward(), said:logps({ ids[1] }, { first })) end
  check:time { steps = steps, forwards = 4 * tokens / first.tokens, forward = forward }
end

-- What there is to say of held-out sets and prompts, by name.
local function measure(step, metrics)
  local figures, seen = {}, pl.meter.new()
  if valid then
    local guard <close> = pl.no_grad()
    in_parts(
      valid,
      kept_valid,
      function(items, keys) total_loss(items, keys, said_of_valid, seen) end
    )
    for name, figure in pairs(seen:result()) do
      figures["eval_" .. name] = figure
    end
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
  local scope <close> = pl.scope("dpo.step")
  run:at(step)
  local ids, seen = batch.take(kept, (epochs.at(step))), pl.meter.new()
  if step == 1 then look_at_first(ids) end
  policy.block:zero_grad()
  in_parts(train, ids, function(items, keys)
    local mean = total_loss(items, keys, said, seen) / #ids
    mean:backward()
  end)
  local metrics = seen:result()
  book:count(step, optimizer:step(cfg, step), metrics, epochs.steps)

  local is_due = (valid or evaluation) and (step % cfg.eval_steps == 0 or step == steps)
  local shown = { loss = metrics.loss, margin = metrics["rewards/margins"] }
  book:close(step, metrics, shown, is_due and measure(step, metrics) or nil)
end
book.progress:finish()

if cfg.checkpoint_choice ~= "last" then book:read_best() end
local figures = pl.evaluation.of_preferences(run.history)
return (book:finish(policy, figures, { "eval_accuracy", "eval_score" }))
