--- GPT-NeoX and Pythia: attention and MLP beside each other, LayerNorm, q, k and v of each head
-- together in one matrix, a share of each head turned (Black et al., arXiv:2204.06745).

local keys = require("perilune.model.config_keys")

return {
  class = "GPTNeoX",
  prefix = "gpt_neox.",
  aliases = {
    norm_eps = "layer_norm_eps",
    num_key_value_heads = false,
    head_dim = false,
    rope_theta = "rotary_emb_base",
    partial_rotary_factor = "rotary_pct",
  },
  defaults = {
    norm_eps = 1e-5,
    hidden_act = "gelu",
    tie_word_embeddings = false,
    partial_rotary_factor = 0.25,
    attention_bias = true,
    use_parallel_residual = true,
  },
  keys = { attention_bias = keys.boolean, use_parallel_residual = keys.boolean },
  harmless = "hidden_dropout attention_probs_dropout_prob hidden_dropout_prob",
  names = {
    embedding = "gpt_neox.embed_in",
    layer = "gpt_neox.layers.%d.",
    q = false,
    k = false,
    v = false,
    qkv = "attention.query_key_value",
    o = "attention.dense",
    gate = false,
    up = "mlp.dense_h_to_4h",
    down = "mlp.dense_4h_to_h",
    norm = "gpt_neox.final_layer_norm",
    head = "embed_out",
  },
  renamed = { ["lm_head.weight"] = "embed_out.weight" }, -- transformers 5
  buffers = { "%.attention%.bias$", "%.attention%.masked_bias$" },
  spec = function(c, spec)
    spec.norm.kind, spec.norm.bias = "layer", true
    spec.mlp_bias, spec.qkv_by_head = true, true
    spec.parallel = c.use_parallel_residual
  end,
}
