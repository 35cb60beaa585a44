--- The models and batches that `perilune bench` measures. Weights are random: speed does not see
-- them.
--
-- l260k is the shape of llama2.c's stories260K, l15m that of its stories15M.
-- tests/bench/peer_torch.py has the same table.

local workloads = {}

local function llama(fields)
  return {
    model_type = "llama",
    architectures = { "LlamaForCausalLM" },
    tie_word_embeddings = true,
    rope_interleaved = true,
    rms_norm_eps = 1e-5,
    hidden_size = fields.c,
    num_hidden_layers = fields.layers,
    num_attention_heads = fields.heads,
    num_key_value_heads = fields.kv_heads,
    intermediate_size = fields.f,
    vocab_size = fields.v,
    max_position_embeddings = fields.context,
  }
end

workloads.models = {
  l260k = llama { c = 64, layers = 5, heads = 8, kv_heads = 4, f = 172, v = 512, context = 512 },
  l15m = llama { c = 288, layers = 6, heads = 6, kv_heads = 6, f = 768, v = 32000, context = 256 },
}

--- What is measured: sequences and their length in training, answers and new tokens in generation.
workloads.cases = {
  { what = "train", model = "l260k", batch = 32, length = 256 },
  { what = "train", model = "l15m", batch = 8, length = 256 },
  { what = "generate", model = "l260k", batch = 64, length = 128, prompt = 16 },
  { what = "generate", model = "l15m", batch = 64, length = 128, prompt = 16 },
}

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

--- "train l260k 32x256"
function workloads.title(case)
  return ("%s %s %dx%d"):format(case.what, case.model, case.batch, case.length)
end

return workloads
