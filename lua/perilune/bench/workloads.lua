--- The models and rows that `perilune bench` measures. Weights are random where no file is named:
-- speed does not see them.
--
-- l260k is the shape of llama2.c's stories260K, l15m that of its stories15M, gpt2 that of the
-- smallest GPT-2. tests/bench/peer_torch.py has the same table. A row is a case:
--
--     name       what `--row` calls it
--     what       train, lora, generate, serve, prefill, head, ppo, decode: see worker.lua
--     batch, length, prompt   sequences and their tokens; answers, new tokens and those before;
--                of `head`: rows, vocabulary, width
--     precision  "bf16" or nil
--     peers      variants of tests/bench/peer_*.py, of which the faster one counts
--     model      of `models`, or a GGUF file; `file` names one until the user tells its path
--     words      for the worker: fields of `workloads.llama`, where the model is "llama"
--     threads    of the worker; nil: as many as there are

local workloads = {}

--- A decoder of Llama's kind.
-- @tparam table fields `c` (required) width, `layers`, `heads`, `f` of the feed-forward network,
--   `v` entries of the vocabulary, `context` in tokens; `kv_heads` (as heads)
-- @treturn table config of a model
function workloads.llama(fields)
  return {
    model_type = "llama",
    architectures = { "LlamaForCausalLM" },
    tie_word_embeddings = true,
    rope_interleaved = true,
    rms_norm_eps = 1e-5,
    hidden_size = fields.c,
    num_hidden_layers = fields.layers,
    num_attention_heads = fields.heads,
    num_key_value_heads = fields.kv_heads or fields.heads,
    intermediate_size = fields.f,
    vocab_size = fields.v,
    max_position_embeddings = fields.context,
  }
end

local llama = workloads.llama

workloads.models = {
  l260k = llama { c = 64, layers = 5, heads = 8, kv_heads = 4, f = 172, v = 512, context = 512 },
  l15m = llama { c = 288, layers = 6, heads = 6, kv_heads = 6, f = 768, v = 32000, context = 256 },
  gpt2 = {
    model_type = "gpt2",
    architectures = { "GPT2LMHeadModel" },
    n_embd = 768,
    n_layer = 12,
    n_head = 12,
    n_positions = 1024,
    vocab_size = 50257,
  },
}

-- Variants of the PyTorch peer: eager and compiled, in the row's own dtype or in any.
local FLOAT32 <const> = { "dtype=float32", "dtype=float32 compile=1" }
local BF16 <const> = { "dtype=bf16", "dtype=bf16 compile=1" }
local ANY <const> = { FLOAT32[1], FLOAT32[2], BF16[1], BF16[2] }
local EAGER <const> = { FLOAT32[1], BF16[1] } -- lengths grow: compiled anew at each

local rows = {}

local function row(fields)
  local size = ("%dx%d"):format(fields.batch, fields.length)
  if fields.what == "prefill" then size = tostring(fields.prompt) end
  local name = ("%s-%s-%s"):format(fields.what, fields.model or fields.file, size)
  fields.name = fields.precision and name .. "-" .. fields.precision or name
  fields.prompt = fields.prompt or 0
  rows[#rows + 1] = fields
end

local function train(model, batch, length, goal, memory_goal, precision, peers)
  row {
    what = "train",
    model = model,
    batch = batch,
    length = length,
    precision = precision,
    peers = peers or precision and BF16 or FLOAT32,
    goal = goal,
    memory_goal = memory_goal,
  }
end

train("l260k", 32, 256, 4.5, 0.1, nil, ANY)
train("l15m", 8, 256, 1.4)
train("l15m", 8, 256, 1.2, nil, "bf16")
train("gpt2", 4, 64, 1.35, 0.55)
train("gpt2", 4, 256, 1.35, 0.55)
train("gpt2", 4, 64, 1.2, 0.5, "bf16")
train("gpt2", 4, 256, 1.25, 0.5, "bf16")
row {
  what = "lora",
  file = "smollm2",
  batch = 4,
  length = 256,
  precision = "bf16",
  peers = BF16,
  goal = 1.5,
  memory_goal = 0.4,
}

local function generate(model, batch, goal, precision, peers)
  row {
    what = "generate",
    model = model,
    batch = batch,
    length = 128,
    prompt = 16,
    precision = precision,
    peers = peers or precision and { BF16[1] } or EAGER,
    goal = goal,
  }
end

generate("l260k", 16)
generate("l260k", 64, 8)
generate("l15m", 16)
generate("l15m", 64, 4.5)
generate("l15m", 64, 4.5, "bf16", EAGER) -- either side in its better dtype
generate("gpt2", 16, nil, nil, { FLOAT32[1] })
generate("gpt2", 64, nil, nil, { FLOAT32[1] })
generate("gpt2", 16, 2.5, "bf16")
generate("gpt2", 64, 2, "bf16")

for _, file in ipairs { "smollm2", "gemma" } do
  for _, one in ipairs { { 1, 1.15 }, { 16, 1.7 }, { 64, 2 } } do
    row { what = "serve", file = file, batch = one[1], length = 64, prompt = 16, goal = one[2] }
  end
  row { what = "prefill", file = file, batch = 1, length = 1, prompt = 512, goal = 2 }
end

row {
  what = "head",
  model = "gpt2",
  batch = 2048,
  length = 50257,
  prompt = 768,
  peers = FLOAT32,
  goal = 1.4,
  memory_goal = 0.15,
}
row {
  what = "head",
  model = "gpt2",
  batch = 2048,
  length = 50257,
  prompt = 768,
  precision = "bf16",
  peers = BF16,
  goal = 1.3,
  memory_goal = 0.15,
}
for _, precision in ipairs { false, "bf16" } do
  row {
    what = "ppo",
    model = "l15m",
    batch = 64,
    length = 64,
    prompt = 16,
    precision = precision or nil,
    peers = EAGER,
    goal = precision and 4 or nil,
  }
end

--- What is measured, in the order of the table.
workloads.rows = rows

--- Greedy tokens of a GGUF file, one answer: what `perilune bench decode` measures.
-- @tparam string path
-- @tparam integer tokens of the answer, 2 or more
-- @tparam {integer,...} ids of the prompt
-- @treturn table case
function workloads.decode(path, tokens, ids)
  return {
    what = "decode",
    model = path,
    batch = 1,
    length = tokens,
    prompt = table.concat(ids, ","),
  }
end

return workloads
