--- Supervised fine-tuning on demonstrations (arXiv:2203.02155, section 3.5, appendix C.1, C.3).
--
--     loss = - mean over the assistant's tokens of ln π(y_t | x, y_<t)
--
-- The end token of each answer is trained. Validation loss overfits after the first epoch and that
-- is fine: with `reward_model` every epoch's model answers `select_prompts` and the checkpoint of
-- the best mean score is the result. `ptx_fraction` mixes pretraining text in, as the paper does
-- for the model PPO starts from. Batches are ragged and packed; nothing is padded or cut to a
-- block.

local pl = require "perilune"
local batch, data, loss = pl.batch, pl.data, pl.loss
local checkpoint = pl.state

local cfg = pl.config {
  name = "sft", about = "supervised fine-tuning on demonstrations",
  "Models and data",
  { model = "", "model folder to start from", required = true },
  { dataset = "", "JSON Lines of {messages}, {prompt, completion} or {text}", required = true },
  { eval_dataset = "", "the same, to measure on" },
  { template = "none", "chat template", choices = { "none", "plain", "chatml" } },
  { max_length = 2048, "longer examples lose their earliest turns or their end, tokens", min = 2 },
  { ptx_dataset = "", "pretraining text to mix in: .txt or JSON Lines of {text}" },
  { ptx_fraction = 0.0, "part of each batch that is pretraining text", min = 0, under = 1 },
  { ptx_length = 128, "tokens in a pretraining example", min = 2 },
  "Choice of the checkpoint",
  { reward_model = "", "model folder with a scalar head, to choose the epoch by" },
  { select_prompts = "", "prompts for it: JSON Lines of {prompt} or {messages}" },
  { select_count = 64, "how many of them", min = 1 },
  { response_length = 64, "longest answer, tokens", min = 1 },
  "Optimisation",
  { num_train_epochs = 3, "passes over the demonstrations", min = 1 },
  { batch_size = 32, "examples in a step", min = 1 },
  { micro_batch_tokens = 16384, "tokens in one forward", min = 1 },
  { learning_rate = "cosine(0.00001, 0.000001)", "of AdamW", min = 0, schedule = true },
  { resid_dropout = 0.0, "dropout on residual branches (0.2 in the paper)", min = 0, under = 1 },
  { adam_beta1 = 0.9, "Adam", min = 0, under = 1 },
  { adam_beta2 = 0.95, "Adam", min = 0, under = 1 },
  { adam_epsilon = 1e-8, "Adam", over = 0 },
  { weight_decay = 0.0, "on matrices", min = 0 },
  { max_grad_norm = 1.0, "clip gradients to this norm; 0: not", min = 0 },
  check = function(c)
    if c.ptx_fraction > 0 and c.ptx_dataset == "" then
      return "ptx_fraction wants a ptx_dataset"
    elseif c.reward_model ~= "" and c.select_prompts == "" then
      return "choosing by reward_model wants select_prompts"
    end
  end,
}
local run = pl.run.open(cfg)
if cfg.threads > 0 then pl.threads(cfg.threads) end
pl.nan_check(cfg.nan_check)

-- Models and data ---------------------------------------------------------------------------------
local tok = assert(pl.tokenizer.load(cfg.model))
local template = data.template(cfg.template)
local stop = data.stop_id(tok, template)
local model = assert(pl.load(cfg.model))
local train = data.examples(tok, template, cfg.dataset, cfg.max_length)
local valid = cfg.eval_dataset ~= ""
  and data.examples(tok, template, cfg.eval_dataset, cfg.max_length)
local ptx = cfg.ptx_dataset ~= "" and data.text(tok, cfg.ptx_dataset, cfg.ptx_length)
local ptx_at = ptx and data.stream(#ptx, cfg.seed, 21)
local reward_model = cfg.reward_model ~= "" and assert(pl.load(cfg.reward_model)):freeze()
local select_from = reward_model
  and data.prompts(tok, template, cfg.select_prompts, cfg.max_length)

local n = #train.sequences
local ptx_size = math.floor(cfg.batch_size * cfg.ptx_fraction / (1 - cfg.ptx_fraction) + 0.5)
local steps_each = math.max(1, math.ceil(n / cfg.batch_size))
local steps = steps_each * cfg.num_train_epochs
if cfg.max_steps > 0 then steps = math.min(steps, cfg.max_steps) end
cfg:set_horizon(steps)
local optimizer = pl.adamw(model.block)
local parts = { model = model, tokenizer = tok, optimizers = { model = optimizer },
  data = { dataset = train, ptx_dataset = ptx } }
local step, skipped, best = 0, 0, nil
if run.resumed then
  checkpoint.read(run.resumed.path, parts)
  local state = run.resumed.state
  step, skipped, best = state.step, state.skipped, state.best
end
local check = pl.preflight.new(cfg, { tokenizer = tok, stop = stop, models = { model = model } })
check:sizes { { "examples", n }, { "dropped as too long", train.dropped }, { "trained tokens",
  train.trained }, { "examples a step",
  cfg.batch_size },
  { "pretraining examples a step", ptx and ptx_size or 0 }, { "steps an epoch", steps_each },
  { "steps", steps } }

-- Mean reward-model score of answers to validation prompts
local function selection_score()
  local questions = {}
  for i = 1, math.min(cfg.select_count, #select_from) do questions[i] = select_from[i].tokens end
  local sequences = {}
  for i, answer in ipairs(pl.generate(model, questions,
    { max_tokens = cfg.response_length, seed = cfg.seed, stop = { stop } })) do
    sequences[i] = data.join(questions[i], answer.tokens)
  end
  return pl.stats.mean(loss.sequence_scores(reward_model, sequences))
end

local function end_of_epoch(epoch)
  local figures = {}
  if valid then figures.eval_loss = loss.evaluate(model, valid.sequences, valid.masks) end
  if reward_model then figures.eval_score = selection_score() end
  local figure = figures.eval_score or -epoch -- without a judge the last epoch is the result
  local is_best = not reward_model or not best or figure > best
  if is_best and reward_model then best = figure end
  run:log(step, figures)
  run:checkpoint(step, function(dir) checkpoint.write(dir, parts) end,
    { state = { step = step, skipped = skipped, best = best }, metric = figure, best = is_best })
  return figures
end

-- The loop ----------------------------------------------------------------------------------------
local progress = pl.progress.new { total = steps, first = step, quiet = cfg.quiet,
  smooth = { "loss" } }
local order, order_of, last_eval = nil, nil, {}
while step < steps do
  local scope <close> = pl.scope "sft.step"
  step = step + 1
  cfg:at(step)
  local epoch, place = (step - 1) // steps_each + 1, (step - 1) % steps_each
  if order_of ~= epoch then order, order_of = batch.permutation(n, cfg.seed, 20 * 100000 + epoch),
    epoch end
  local sequences, masks, tokens = {}, {}, 0
  for i = place * cfg.batch_size + 1, math.min(n, (place + 1) * cfg.batch_size) do
    sequences[#sequences + 1], masks[#masks + 1] = train.sequences[order[i]], train.masks[order[i]]
  end
  for i = 1, ptx_size do
    local piece = ptx[ptx_at((step - 1) * ptx_size + i)]
    sequences[#sequences + 1], masks[#masks + 1] = data.join({ piece[1] }, table.move(piece, 2,
      #piece, 1, {}))
  end
  if step == 1 then
    check:tokens(sequences, masks)
    check:time { steps = steps, forwards = 3,
      forward = function() loss.evaluate(model, sequences, masks) end }
  end
  for _, mask in ipairs(masks) do
    for t = 2, #mask do tokens = tokens + mask[t] end
  end
  model.block:zero_grad()
  local sum = 0
  for part, indices in ipairs(batch.split(sequences, cfg.micro_batch_tokens)) do
    local micro <close> = pl.scope "sft.micro"
    local dropout = cfg.resid_dropout > 0
      and { p = cfg.resid_dropout, seed = cfg.seed, index = step * 1000 + part } or nil
    local lm = loss.lm(model, batch.take(sequences, indices), batch.take(masks, indices),
      { norm = math.max(1, tokens), dropout = dropout })
    lm:backward()
    sum = sum + lm:item()
  end
  local result = optimizer:step { lr = cfg.learning_rate(step), beta1 = cfg.adam_beta1,
    beta2 = cfg.adam_beta2, eps = cfg.adam_epsilon, weight_decay = cfg.weight_decay,
    max_grad_norm = cfg.max_grad_norm }
  if result.skipped then skipped = skipped + 1 end
  if run:should_log(step) then
    run:log(step, { loss = sum, grad_norm = result.grad_norm, lr = cfg.learning_rate(step),
      epoch = step / steps_each, num_tokens = tokens, skipped_steps = skipped })
  end
  progress:update(step, { loss = sum })
  if step % steps_each == 0 or step == steps then
    last_eval = end_of_epoch(epoch)
  elseif run:should_save(step) then
    run:checkpoint(step, function(dir) checkpoint.write(dir, parts) end,
      { state = { step = step, skipped = skipped, best = best } })
  end
end
progress:finish()

if reward_model and run.best then -- the epoch the judge likes best is the result
  local scope <close> = pl.scope "sft.best"
  model.block:average(assert(pl.load(cfg.output_dir .. "/" .. run.best.path)).block, 0)
end
assert(model:save(cfg.output_dir .. "/model", { tokenizer = tok }))
run:summary { weights_hash = model:hash(), eval_loss = last_eval.eval_loss, eval_score = best,
  best_checkpoint = run.best and run.best.path }
run:close()
return { model = cfg.output_dir .. "/model", history = run.history,
  eval_loss = last_eval.eval_loss }
