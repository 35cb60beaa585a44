--- Cohere's Command R: attention and MLP beside each other under one norm, LayerNorm without bias,
-- neighbouring pairs turned, a factor on logits.

local keys = require("perilune.model.config_keys")

return {
  class = "Cohere",
  aliases = { norm_eps = "layer_norm_eps" },
  defaults = {
    norm_eps = 1e-5,
    hidden_act = "silu",
    tie_word_embeddings = true,
    rope_theta = 500000.0,
    logit_scale = 0.0625,
  },
  keys = {
    attention_bias = keys.boolean,
    use_qk_norm = keys.boolean,
    logit_scale = keys.number(1e-6, 1e6),
  },
  names = function(c)
    return {
      q_norm = c.use_qk_norm and "self_attn.q_norm",
      k_norm = c.use_qk_norm and "self_attn.k_norm",
      mlp_norm = false,
    }
  end,
  spec = function(c, spec)
    spec.norm.kind, spec.qk_norm = "layer", "each"
    spec.parallel = true
    spec.rope.options.interleaved = true
    spec.logits_factor = c.logit_scale
  end,
}
