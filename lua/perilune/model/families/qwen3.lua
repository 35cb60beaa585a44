--- Qwen 3: Llama with a norm over each head of q and k (Yang et al., arXiv:2505.09388). Windows as
-- Qwen 2.

local keys = require("perilune.model.config_keys")

return {
  class = "Qwen3",
  defaults = {
    norm_eps = 1e-6,
    hidden_act = "silu",
    tie_word_embeddings = false,
    head_dim = 128,
    max_window_layers = 28,
  },
  keys = {
    attention_bias = keys.boolean,
    use_sliding_window = keys.boolean,
    max_window_layers = keys.integer(0),
  },
  windows = function(c, i)
    return c.use_sliding_window and c.sliding_window and i > c.max_window_layers
  end,
  names = { q_norm = "self_attn.q_norm", k_norm = "self_attn.k_norm" },
  spec = function(_, spec) spec.qk_norm = "head" end,
  gguf = {},
}
