--- OLMo 2: Llama with norms behind attention and MLP in place of before, and over all queries and
-- all keys (OLMo Team, arXiv:2501.00656).

local keys = require("perilune.model.config_keys")

return {
  class = "Olmo2",
  defaults = { norm_eps = 1e-5, hidden_act = "silu", tie_word_embeddings = false },
  keys = { attention_bias = keys.boolean },
  names = {
    attention_norm = false,
    mlp_norm = false,
    q_norm = "self_attn.q_norm",
    k_norm = "self_attn.k_norm",
    attention_post_norm = "post_attention_layernorm",
    mlp_post_norm = "post_feedforward_layernorm",
  },
  spec = function(_, spec) spec.qk_norm = "all" end,
  gguf = {},
}
