--- Supervised fine-tuning on demonstrations (arXiv:2203.02155, section 3.5, appendix C.1, C.3).
--
--     loss = - mean over the assistant's tokens of ln π(y_t | x, y_<t)
--
-- The end token of each answer is trained; an answer that was cut, before or here, has none.
-- Validation loss overfits after the first epoch and that
-- is fine: with `reward_model` every epoch's model answers `select_prompts` and the checkpoint of
-- the best mean score is the result. `ptx_fraction` mixes pretraining text in, as the paper does
-- for the model PPO starts from. Batches are ragged and packed; nothing is padded or cut to a
-- block.

local pl = require("perilune")
local data, loss = pl.data, pl.loss

-- Pieces of pretraining text beside the examples of a step.
local function ptx_pieces(c)
  return math.floor(c.batch_size * c.ptx_fraction / (1 - c.ptx_fraction) + 0.5)
end

local cfg = pl.config {
  name = "sft",
  about = "supervised fine-tuning on demonstrations",
  "Models and data",
  { model = "", "model folder to start from", required = true },
  { dataset = "", "JSON Lines of {messages}, {prompt, completion} or {text}", required = true },
  { eval_dataset = "", "the same, to measure on" },
  {
    template = "auto",
    "chat template: auto (the model's own), none, plain, chatml, a .jinja file",
  },
  { max_length = 2048, "longer examples lose their earliest turns or their end, tokens", min = 2 },
  { ptx_dataset = "", "pretraining text to mix in: .txt or JSON Lines of {text}" },
  {
    ptx_fraction = 0.0,
    "part of a batch's examples (not tokens) that is pretraining text",
    min = 0,
    under = 1,
  },
  { ptx_length = 128, "tokens in a pretraining example", min = 2 },
  "Choice of the checkpoint",
  { reward_model = "", "model folder with a scalar head, to choose the epoch by" },
  { select_prompts = "", "prompts for it: JSON Lines of {prompt} or {messages}" },
  { select_count = 64, "how many of them", min = 1 },
  { response_length = 64, "longest answer, tokens", min = 1 },
  "Optimisation",
  { num_train_epochs = 3, "passes over the demonstrations", min = 1 },
  { batch_size = 32, "examples in a step", min = 1 },
  { micro_batch_tokens = 16384, "tokens in one forward", min = 1, live = true },
  {
    gradient_checkpointing = false,
    "blocks are computed again in the backward pass: less memory, more time, the same result",
  },
  pl.config.precision(),
  { resid_dropout = 0.0, "dropout on residual branches (0.2 in the paper)", min = 0, under = 1 },
  pl.config.adam { learning_rate = "cosine(0.00001, 0.000001)" },
  "Adapters on a frozen model",
  pl.config.peft(),
  check = function(c)
    if c.ptx_fraction > 0 and c.ptx_dataset == "" then
      return "ptx_fraction wants a ptx_dataset"
    elseif c.ptx_fraction > 0 and ptx_pieces(c) == 0 then
      return (
        "ptx_fraction %g of batches of %d examples is less than half a piece of text: none "
        .. "would be mixed in; raise it or batch_size"
      ):format(c.ptx_fraction, c.batch_size)
    elseif c.reward_model ~= "" and c.select_prompts == "" then
      return "choosing by reward_model wants select_prompts"
    end
  end,
}
local run = pl.run.open(cfg)

-- Models and data ---------------------------------------------------------------------------------
local tok = pl.companions.tokenizer("model", cfg.model)
local template = data.template(cfg.template, tok)
local stops = data.stop_ids(tok, template)
local model = pl.companions.writer("model", cfg.model, {
  peft = cfg,
  precision = cfg.precision,
  seed = cfg.seed,
})
local longest = data.room({ model }, cfg.max_length)
local function examples(key)
  local path = cfg[key]
  return path ~= "" and data.required(data.examples(tok, template, path, longest), key, path)
end
local train, valid = examples("dataset"), examples("eval_dataset")
local ptx = cfg.ptx_dataset ~= ""
  and data.required(
    data.text(tok, cfg.ptx_dataset, data.room({ model }, cfg.ptx_length)),
    "ptx_dataset",
    cfg.ptx_dataset
  )
local ptx_at = ptx and data.stream(#ptx, cfg.seed, "sft.ptx")
local ptx_size = ptx and ptx_pieces(cfg) or 0
local reward_model = cfg.reward_model ~= ""
  and pl.companions.load("reward_model", cfg.reward_model, model:beside()):freeze()
local select_from
if reward_model then
  local models = {
    { name = "model", path = cfg.model, model = model },
    { name = "reward_model", path = cfg.reward_model, model = reward_model, scores = true },
  }
  pl.companions.check(models)
  local half = pl.score.misread({ models[2] }, 0)
  if half then error(half .. ": choose the epoch by another", 0) end
  local room, too_long = pl.companions.room(models, cfg.max_length, cfg.response_length)
  select_from = data.required(
    data.prompts(tok, template, cfg.select_prompts, room, too_long),
    "select_prompts",
    cfg.select_prompts
  )
end
local epochs = data.epochs(#train.sequences, cfg.batch_size, cfg.seed, "sft.order", {
  size = function(i) return train.lengths[i] end,
  passes = cfg.num_train_epochs,
  max_tokens = cfg.micro_batch_tokens,
})
local steps = cfg:set_horizon(epochs.steps * cfg.num_train_epochs)
local optimizer = pl.optimizer(model.block, cfg)

local parts = {
  model = model,
  tokenizer = tok,
  optimizers = { model = optimizer },
  data = { dataset = train, ptx_dataset = ptx, select_prompts = select_from },
  made_with = { model = model:hash(), reward_model = reward_model and reward_model:hash() },
}
-- steps, those skipped because a gradient was not finite, best score of a checkpoint
local state = run:restore(parts, { step = 0, skipped = 0, best = nil })

local check =
  pl.preflight.new(cfg, { tokenizer = tok, stop = stops[1], models = { model = model } })
check:sizes {
  { "examples", #train.sequences },
  { "trained tokens", train.trained },
  { "examples a step", cfg.batch_size },
  { "pretraining examples a step", ptx_size },
  { "steps an epoch", epochs.steps },
  { "steps", steps },
}
check:rows {
  dataset = train,
  eval_dataset = valid,
  ptx_dataset = ptx,
  select_prompts = select_from,
}
check:answers(train.sequences, train.masks)

-- Mean reward-model score of answers to validation prompts
local function selection_score()
  local questions = {}
  for i = 1, math.min(cfg.select_count, #select_from) do
    questions[i] = select_from[i].tokens
  end
  local answers = pl.generate(
    model,
    questions,
    { max_tokens = cfg.response_length, seed = cfg.seed, stream = "sft.select", stop = stops }
  )
  local roll = pl.rollout.new(questions, answers, cfg.micro_batch_tokens)
  return pl.stats.mean(loss.sequence_scores(reward_model, roll.parts):totable())
end

local function end_of_epoch(epoch)
  local figures = {}
  if valid then figures.eval_loss = loss.evaluate(model, valid.sequences, valid.masks) end
  if reward_model then figures.eval_score = selection_score() end
  local figure, is_best = -epoch, true -- without a judge the last epoch is the result
  if reward_model then
    figure, is_best = pl.evaluation.choose(state, figures, "eval_score")
  end
  run:log(state.step, figures)
  run:save(state.step, parts, state, { metric = figure, best = is_best })
  return figures
end

-- The loop ----------------------------------------------------------------------------------------
local book = run:book(parts, state, { total = steps, done = state.step, smooth = { "loss" } })
local last_eval = {}
for step = state.step + 1, steps do
  local scope <close> = pl.scope("sft.step")
  run:at(step)
  local chosen, epoch = epochs.at(step)
  local sequences = pl.batch.take(train.sequences, chosen)
  local masks = pl.batch.take(train.masks, chosen)
  for i = 1, ptx_size do
    local piece = ptx[ptx_at((step - 1) * ptx_size + i)]
    sequences[#sequences + 1], masks[#masks + 1] =
      data.join({ piece[1] }, table.move(piece, 2, #piece, 1, {}))
  end
  if step == 1 then
    check:tokens(sequences, masks)
    check:time {
      steps = steps,
      forwards = 3,
      forward = function() loss.evaluate(model, sequences, masks) end,
    }
  end
  model.block:zero_grad()
  local mean_loss, tokens = loss.accumulate(model, sequences, masks, {
    max_tokens = cfg.micro_batch_tokens,
    checkpoint = cfg.gradient_checkpointing,
    dropout = { -- of nothing, when both are 0
      p = cfg.resid_dropout,
      seed = cfg.seed,
      index = pl.random.purpose("sft.dropout", step),
    },
  })
  local metrics = { loss = mean_loss, num_tokens = tokens }
  book:count(step, optimizer:step(cfg, step), metrics, epochs.steps)
  if run:should_log(step) then
    run:log(step, metrics)
    book.watch:tell(run, book.progress, step)
  end
  book.progress:update(step, { loss = mean_loss })
  if step % epochs.steps == 0 or step == steps then
    last_eval = end_of_epoch(epoch)
  elseif run:should_save(step) then
    run:save(step, parts, state)
  end
end
book.progress:finish()

if reward_model then book:read_best() end -- the epoch the judge likes best is the result
local model_dir = run:save_model(model, {
  tokenizer = tok,
  figures = { eval_loss = last_eval.eval_loss, eval_score = state.best },
})
local final = run:summary({
  weights_hash = model:hash(),
  eval_loss = last_eval.eval_loss,
  eval_score = state.best,
  best_checkpoint = run.best and run.best.path,
}, {
  model = model_dir,
  next = { "perilune", "run", "recipes/reward.lua", "--model", model_dir, "--dataset", "RANKINGS" },
})
run:close()
return { model = model_dir, history = run.history, eval_loss = final.eval_loss }
