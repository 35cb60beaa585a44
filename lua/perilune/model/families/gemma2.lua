--- Gemma 2: norms before and behind attention and MLP, with weights around 0, bounds on scores and
-- logits, every other layer with a window (Gemma Team, arXiv:2408.00118).
--
-- Token embeddings are multiplied by the root of the width, rounded to the type they are in: here
-- float32 or float64.

local keys = require("perilune.model.config_keys")

return {
  class = "Gemma2",
  aliases = { hidden_act = "hidden_activation" },
  defaults = {
    norm_eps = 1e-6,
    hidden_act = "gelu_pytorch_tanh",
    tie_word_embeddings = true,
    head_dim = 256,
    query_pre_attn_scalar = 256,
  },
  keys = {
    attention_bias = keys.boolean,
    query_pre_attn_scalar = keys.number(1e-6, 1e6),
    attn_logit_softcapping = keys.number(1e-6, 1e6),
    final_logit_softcapping = keys.number(1e-6, 1e6),
    use_bidirectional_attention = keys.only(false),
    hidden_act = keys.only("gelu_pytorch_tanh"),
  },
  harmless = "sliding_window_size",
  windows = function(_, i) return i % 2 == 1 end,
  names = {
    attention_post_norm = "post_attention_layernorm",
    mlp_norm = "pre_feedforward_layernorm",
    mlp_post_norm = "post_feedforward_layernorm",
  },
  spec = function(c, spec)
    spec.norm.offset = 1
    spec.scale = c.query_pre_attn_scalar ^ -0.5
    spec.softcap = c.attn_logit_softcapping
    spec.logits_softcap = c.final_logit_softcapping
    spec.embedding_factor = spec.width ^ 0.5
  end,
  gguf = {
    offset = 1,
    keys = {
      attn_logit_softcapping = "attn_logit_softcapping",
      final_logit_softcapping = "final_logit_softcapping",
    },
    -- The largest, of 46 layers, divides by the width of a head that would fill the model.
    config = function(config, head)
      local wide = config.num_hidden_layers == 46
      config.query_pre_attn_scalar = wide and config.hidden_size // config.num_attention_heads
        or head
    end,
  },
}
