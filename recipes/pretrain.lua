--- Pretraining: a language model learns the next token of plain text.
--
--     loss = - mean over tokens of ln π(x_t | x_<t)
--
-- Text is laid end to end and cut into pieces of `context` tokens; a step takes `batch_size` pieces
-- of a shuffled pass, its last step what is left: every pass sees every piece. With `model` it goes
-- on from a model, else it starts one from scratch, with a tokenizer from `tokenizer` or learnt
-- from the text.

local pl = require("perilune")
local data, loss = pl.data, pl.loss

local cfg = pl.config {
  name = "pretrain",
  about = "next-token training on plain text",
  "Data",
  { text = "", "plain text (.txt) or JSON Lines of {text}", required = true },
  { eval_text = "", "text to measure on; nothing: the last twentieth of `text`" },
  { tokenizer = "", "model folder or tokenizer.json; nothing: one is learnt" },
  { tokenizer_kind = "bytelevel", "what to learn", choices = { "bytelevel", "word" } },
  { vocab_size = 1024, "of a learnt tokenizer", min = 16 },
  {
    template = "plain",
    "its control tokens enter a learnt vocabulary",
    choices = { "none", "plain", "chatml" },
  },
  "Model",
  { model = "", "go on from this model folder instead of starting one" },
  { architecture = "llama", "of a new model", choices = { "llama", "gpt2" } },
  { hidden_size = 128, "channels", min = 8 },
  { num_hidden_layers = 4, "blocks", min = 1 },
  { num_attention_heads = 4, "heads", min = 1 },
  { num_key_value_heads = 2, "key and value heads (llama)", min = 1 },
  { intermediate_size = 352, "channels inside the feed-forward part", min = 8 },
  { context = 128, "tokens in a piece", min = 2 },
  { max_position_embeddings = 256, "longest sequence of a new model", min = 2 },
  "Optimisation",
  { num_train_epochs = 1, "passes over the text", min = 1 },
  { batch_size = 32, "pieces in a step", min = 1 },
  { micro_batch_tokens = 16384, "tokens in one forward", min = 1 },
  {
    gradient_checkpointing = false,
    "blocks are computed again in the backward pass: less memory, more time, the same result",
  },
  pl.config.precision(),
  pl.config.adam { learning_rate = "warmup(20, cosine(0.002, 0.0002))", weight_decay = 0.1 },
  check = function(c)
    if c.model ~= "" then
      return c.tokenizer ~= "" and "a model has its own tokenizer: give one of model and tokenizer"
        or nil
    elseif c.context > c.max_position_embeddings then
      return "context is above max_position_embeddings: raise the one or lower the other"
    elseif c.hidden_size % c.num_attention_heads ~= 0 then
      return "num_attention_heads must divide hidden_size"
    elseif c.architecture == "llama" and c.hidden_size // c.num_attention_heads % 2 ~= 0 then
      return "hidden_size / num_attention_heads must be even: rotary positions go by pairs"
    elseif c.architecture == "llama" and c.num_attention_heads % c.num_key_value_heads ~= 0 then
      return "num_key_value_heads must divide num_attention_heads"
    end
  end,
}
local run = pl.run.open(cfg)

-- Tokenizer and model -----------------------------------------------------------------------------
local function learn_tokenizer()
  local documents = {}
  for document in data.documents(cfg.text) do
    documents[#documents + 1] = document
  end
  local template = data.template(cfg.template)
  local special = { "<|begin|>", "<|eos|>" }
  for _, name in ipairs(template and pl.chat.control_names(template) or {}) do
    special[#special + 1] = name
  end
  local tok = pl.tokenizer.train {
    texts = documents,
    vocab_size = cfg.vocab_size,
    kind = cfg.tokenizer_kind,
    special = special,
  }
  tok:set_special { bos = "<|begin|>", eos = "<|eos|>" }
  return tok
end

local from = cfg.tokenizer ~= "" and cfg.tokenizer or cfg.model
local tok = from ~= ""
    and pl.companions.tokenizer(cfg.tokenizer ~= "" and "tokenizer" or "model", from)
  or learn_tokenizer()

local function new_config()
  if cfg.architecture == "gpt2" then
    return {
      architectures = { "GPT2LMHeadModel" },
      n_embd = cfg.hidden_size,
      n_layer = cfg.num_hidden_layers,
      n_head = cfg.num_attention_heads,
      n_inner = cfg.intermediate_size,
      n_positions = cfg.max_position_embeddings,
      vocab_size = #tok,
      bos_token_id = tok.bos_id,
      eos_token_id = tok.eos_id,
    }
  end
  return {
    architectures = { "LlamaForCausalLM" },
    hidden_size = cfg.hidden_size,
    num_hidden_layers = cfg.num_hidden_layers,
    num_attention_heads = cfg.num_attention_heads,
    num_key_value_heads = cfg.num_key_value_heads,
    intermediate_size = cfg.intermediate_size,
    max_position_embeddings = cfg.max_position_embeddings,
    rms_norm_eps = 1e-5,
    tie_word_embeddings = true,
    vocab_size = #tok,
    bos_token_id = tok.bos_id,
    eos_token_id = tok.eos_id,
  }
end

local model = cfg.model ~= ""
    and pl.companions.writer("model", cfg.model, { precision = cfg.precision })
  or pl.model.new(new_config(), { seed = cfg.seed, precision = cfg.precision })
local function text_of(key)
  return data.required(data.text(tok, cfg[key], data.room({ model }, cfg.context)), key, cfg[key])
end
local pieces = text_of("text")
local count = #pieces
local held_out
if cfg.eval_text ~= "" then
  held_out = text_of("eval_text")
else
  count = count - math.max(1, count // 20)
  if count == 0 then
    error(
      (
        "text %s gives one piece of %d tokens, which is held out to measure on: give eval_text, "
        .. "more text or a shorter context"
      ):format(cfg.text, cfg.context),
      0
    )
  end
  held_out = table.move(pieces, count + 1, #pieces, 1, {})
end
local optimizer = pl.optimizer(model.block, cfg)
local epochs = data.epochs(count, cfg.batch_size, cfg.seed, "pretrain.order")
local steps = cfg:set_horizon(cfg.num_train_epochs * epochs.steps)

local parts = {
  model = model,
  tokenizer = tok,
  optimizers = { model = optimizer },
  data = { text = pieces },
  made_with = { model = model:hash() },
}
local state = run:restore(parts, { step = 0, tokens = 0, skipped = 0 })

local check = pl.preflight.new(cfg, {
  tokenizer = tok,
  stop = tok.eos_id,
  models = { model = model },
})
check:sizes {
  { "pieces", count },
  { "held out", #held_out },
  { "pieces a step", cfg.batch_size },
  { "tokens a step", cfg.batch_size * cfg.context },
  { "steps", steps },
}
check:rows { text = pieces, eval_text = cfg.eval_text ~= "" and held_out or nil }

-- The loop ----------------------------------------------------------------------------------------
local book = run:book(parts, state, { total = steps, done = state.step, smooth = { "loss" } })
for step = state.step + 1, steps do
  local scope <close> = pl.scope("pretrain.step")
  run:at(step)
  local sequences = pl.batch.take(pieces, (epochs.at(step)))
  if step == 1 then
    check:tokens(sequences)
    check:time {
      steps = steps,
      forwards = 3,
      forward = function() loss.evaluate(model, sequences) end,
    }
  end
  model.block:zero_grad()
  local mean_loss = loss.accumulate(model, sequences, nil, {
    max_tokens = cfg.micro_batch_tokens,
    checkpoint = cfg.gradient_checkpointing,
  })
  for _, sequence in ipairs(sequences) do
    state.tokens = state.tokens + #sequence
  end
  local metrics = { loss = mean_loss, num_tokens = state.tokens }
  book:count(step, optimizer:step(cfg, step), metrics, epochs.steps)
  book:close(step, metrics, { loss = mean_loss })
end
book.progress:finish()

local eval_loss = loss.evaluate(model, held_out)
local figures = { weights_hash = model:hash(), eval_loss = eval_loss, parameters = model:count() }
local model_dir = run:save_model(model, { tokenizer = tok, figures = figures })
run:summary(figures, {
  model = model_dir,
  next = {
    "perilune",
    "run",
    "recipes/sft.lua",
    "--model",
    model_dir,
    "--dataset",
    "DEMONSTRATIONS",
  },
})
run:close()
return { model = model_dir, history = run.history, eval_loss = eval_loss }
