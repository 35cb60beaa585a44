--- StableLM 2: LayerNorm, SwiGLU, a share of each head turned; attention and MLP beside each other
-- under one norm where use_parallel_residual says so (Bellagente et al., arXiv:2402.17834).

local keys = require("perilune.model.config_keys")

return {
  class = "StableLm",
  aliases = { norm_eps = "layer_norm_eps", head_dim = false },
  defaults = {
    norm_eps = 1e-5,
    hidden_act = "silu",
    tie_word_embeddings = false,
    partial_rotary_factor = 0.25,
    use_qkv_bias = false,
    use_parallel_residual = false,
  },
  keys = {
    use_qkv_bias = keys.boolean,
    use_parallel_residual = keys.boolean,
    qk_layernorm = keys.only(false),
  },
  harmless = "hidden_dropout",
  names = function(c)
    return { mlp_norm = not c.use_parallel_residual and "post_attention_layernorm" }
  end,
  spec = function(c, spec)
    spec.norm.kind, spec.norm.bias = "layer", true
    spec.qkv_bias, spec.parallel = c.use_qkv_bias, c.use_parallel_residual
  end,
}
