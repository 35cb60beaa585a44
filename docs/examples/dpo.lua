--- Direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290): learning from ranked
-- answers without a reward model. The example of docs/recipes.md, whole.
--
--   L = -E_(x, y_w, y_l) [ ln σ( β (ln π(y_w|x)/π_ref(y_w|x) - ln π(y_l|x)/π_ref(y_l|x)) ) ]    (7)
--
-- Deviation: a set of K ranked answers gives all its pairs of different rank, not one.

local pl = require("perilune")
local batch, data, loss = pl.batch, pl.data, pl.loss

-- Keys: {name = default, meaning, range}. `pl.config.adam {}` adds those of the optimizer.
local cfg = pl.config {
  name = "dpo",
  about = "direct preference optimization",
  { model = "", "model folder to start from; also the reference", required = true },
  { dataset = "", "JSON Lines of {prompt, completions, ranks}", required = true },
  { template = "auto", "chat template: auto, none, plain, chatml, or a .jinja file" },
  { max_length = 1024, "longer answers are left out, with their set; tokens", min = 2 },
  { beta = 0.1, "β: how much a ratio to the reference weighs", over = 0, schedule = true },
  { learning_rate = 1e-5, "of AdamW", min = 0, schedule = true },
  { num_train_epochs = 1, "passes over the pairs", min = 1 },
  { batch_size = 16, "pairs in a step", min = 1 },
  { micro_batch_size = 4, "pairs in one forward", min = 1 },
  pl.config.adam { learning_rate = false },
}
local run = pl.run.open(cfg) -- the run folder, or the checkpoint to go on from

-- Models and data ---------------------------------------------------------------------------------
local tok = pl.companions.tokenizer("model", cfg.model)
local policy = pl.companions.load("model", cfg.model)
local reference = pl.companions.load("model", cfg.model):freeze()
local template = data.template(cfg.template, tok)
local room = data.room({ policy }, cfg.max_length)
local sets = data.required(data.ranked(tok, template, cfg.dataset, room), "dataset", cfg.dataset)

local pairs_of = {} -- {set, better, worse}: places in `sets` and in the set
for s = 1, #sets do
  local ranks = sets[s].ranks
  for better = 1, #ranks do
    for worse = 1, #ranks do
      if ranks[better] < ranks[worse] then pairs_of[#pairs_of + 1] = { s, better, worse } end
    end
  end
end
local epochs = data.epochs(#pairs_of, cfg.batch_size, cfg.seed, "dpo.order")
local steps = cfg:set_horizon(epochs.steps * cfg.num_train_epochs)
local optimizer = pl.adamw(policy.block)

-- What a checkpoint holds, and what must be the same when it is taken up again.
local parts = {
  model = policy,
  tokenizer = tok,
  optimizers = { policy = optimizer },
  data = { dataset = sets },
  made_with = { model = reference:hash() },
}
local state = run:restore(parts, { step = 0 })

-- 1 where the two answers of a pair differ: what stands before has the same log-prob in both.
local function masks_of(first, second)
  local same = 0
  while same < #first and first[same + 1] == second[same + 1] do
    same = same + 1
  end
  local function mask(sequence)
    local list = {}
    for t = 1, #sequence do
      list[t] = t > same and 1 or 0
    end
    return list
  end
  return mask(first), mask(second)
end

-- All better answers, then all worse ones: a packed batch, and where its log-probs are taken.
local function pack(chosen)
  local sequences, masks, n = {}, {}, #chosen
  for i, pair in ipairs(chosen) do
    local set = sets[pair[1]]
    sequences[i], sequences[n + i] = set.sequences[pair[2]], set.sequences[pair[3]]
    masks[i], masks[n + i] = masks_of(sequences[i], sequences[n + i])
  end
  return batch.pack(sequences), batch.targets(sequences, masks)
end

-- ln π(y_w|x) - ln π(y_l|x) of each pair, nats: [pairs]
local function gap(model, packed, at, n)
  local sums = loss.logprobs(model, packed, at):segment_sum(at.segments) -- [2 pairs]
  return sums[{ 1, n }] - sums[{ n + 1, 2 * n }]
end

-- Gradients of some pairs of a step that has `of_step` of them.
local function accumulate(chosen, of_step, beta, seen)
  local scope <close> = pl.scope("dpo.micro")
  local packed, at = pack(chosen)
  local before
  do
    local guard <close> = pl.no_grad()
    before = gap(reference, packed, at, #chosen)
  end
  local margins = (gap(policy, packed, at, #chosen) - before) * beta
  local total = -margins:log_sigmoid():sum() / of_step -- (7)
  total:backward()
  seen:add("loss", total:item() * of_step / #chosen, #chosen)
  for _, margin in ipairs(margins:totable()) do
    seen:add("rewards/margins", margin)
    seen:add("rewards/accuracies", margin > 0 and 1 or 0)
  end
end

-- The loop ----------------------------------------------------------------------------------------
local progress = pl.progress.new { total = steps, first = state.step, quiet = cfg.quiet }
for step = state.step + 1, steps do
  local scope <close> = pl.scope("dpo.step") -- what is made below is freed at its end
  run:at(step) -- live changes, and whoever is attached
  local seen, chosen = pl.meter.new(), batch.take(pairs_of, (epochs.at(step)))
  policy.block:zero_grad()
  for first = 1, #chosen, cfg.micro_batch_size do
    local last = math.min(first + cfg.micro_batch_size - 1, #chosen)
    accumulate(table.move(chosen, first, last, 1, {}), #chosen, cfg.beta(step), seen)
  end
  local result = optimizer:step(cfg, step) -- clipping, AdamW, the learning rate of the step
  state.step = step
  local metrics = seen:result()
  metrics.grad_norm, metrics.lr, metrics.beta =
    result.grad_norm, cfg.learning_rate(step), cfg.beta(step)
  if run:should_log(step) then run:log(step, metrics) end
  progress:update(step, { loss = metrics.loss, right = metrics["rewards/accuracies"] })
  if run:should_save(step) or step == steps then run:save(step, parts, state) end
end
progress:finish()

-- The end -----------------------------------------------------------------------------------------
local model_dir = run:save_model(policy, { tokenizer = tok })
local last = run.history[#run.history] or {}
run:summary({
  weights_hash = policy:hash(),
  loss = last.loss,
  accuracy = last["rewards/accuracies"],
}, { model = model_dir })
run:close()
return { model = model_dir, history = run.history }
