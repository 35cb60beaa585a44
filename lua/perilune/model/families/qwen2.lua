--- Qwen 2 and 2.5: Llama with biases on q, k and v (Yang et al., arXiv:2407.10671). With
-- use_sliding_window the layers from max_window_layers on see a window.

local keys = require("perilune.model.config_keys")

return {
  class = "Qwen2",
  defaults = {
    norm_eps = 1e-6,
    hidden_act = "silu",
    tie_word_embeddings = false,
    max_window_layers = 28,
  },
  keys = {
    use_sliding_window = keys.boolean,
    max_window_layers = keys.integer(0),
    use_mrope = keys.only(false),
  },
  windows = function(c, i)
    return c.use_sliding_window and c.sliding_window and i > c.max_window_layers
  end,
  spec = function(_, spec) spec.qkv_bias = true end,
  gguf = {},
}
