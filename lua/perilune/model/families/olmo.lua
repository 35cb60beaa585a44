--- OLMo 1: Llama under LayerNorm without weights; q, k and v may be clipped (Groeneveld et al.,
-- arXiv:2402.00838).

local keys = require("perilune.model.config_keys")

return {
  class = "Olmo",
  aliases = { norm_eps = false },
  defaults = { norm_eps = 1e-5, hidden_act = "silu", tie_word_embeddings = false },
  keys = { attention_bias = keys.boolean, clip_qkv = keys.number(1e-6, 1e6) },
  spec = function(c, spec)
    spec.norm.kind, spec.norm.weight = "layer", false
    spec.qkv_clip = c.clip_qkv
  end,
}
