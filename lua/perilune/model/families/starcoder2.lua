--- StarCoder 2: LayerNorm, a plain MLP, biases, and a window for all layers (Lozhkov et al.,
-- arXiv:2402.19173).

local keys = require("perilune.model.config_keys")

return {
  class = "Starcoder2",
  aliases = { norm_eps = "norm_epsilon" },
  defaults = {
    norm_eps = 1e-5,
    hidden_act = "gelu_pytorch_tanh",
    tie_word_embeddings = true,
    use_bias = true,
  },
  keys = {
    use_bias = keys.boolean,
    mlp_type = keys.only("default"),
    norm_type = keys.only("layer_norm"),
  },
  harmless = "residual_dropout embedding_dropout",
  windows = function(c) return c.sliding_window ~= nil end,
  names = { gate = false, up = "mlp.c_fc", down = "mlp.c_proj" },
  spec = function(c, spec)
    spec.norm.kind, spec.norm.bias = "layer", true
    spec.qkv_bias, spec.o_bias, spec.mlp_bias = c.use_bias, c.use_bias, c.use_bias
  end,
}
