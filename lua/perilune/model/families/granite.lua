--- Granite 3: Llama with factors on embeddings, attention scores, what blocks add, and logits.

local keys = require("perilune.model.config_keys")

local factor = keys.number(1e-6, 1e6)

return {
  class = "Granite",
  defaults = {
    norm_eps = 1e-6,
    hidden_act = "silu",
    tie_word_embeddings = false,
    embedding_multiplier = 1.0,
    attention_multiplier = 1.0,
    residual_multiplier = 1.0,
    logits_scaling = 1.0,
  },
  keys = {
    attention_bias = keys.boolean,
    mlp_bias = keys.boolean,
    embedding_multiplier = factor,
    attention_multiplier = factor,
    residual_multiplier = factor,
    logits_scaling = factor,
  },
  spec = function(c, spec)
    spec.embedding_factor = c.embedding_multiplier
    spec.scale = c.attention_multiplier
    spec.residual_factor = c.residual_multiplier
    spec.logits_factor = 1 / c.logits_scaling
  end,
  gguf = {
    pairs = true,
    keys = {
      embedding_scale = "embedding_multiplier",
      residual_scale = "residual_multiplier",
      ["attention.scale"] = "attention_multiplier",
      logit_scale = "logits_scaling",
    },
  },
}
