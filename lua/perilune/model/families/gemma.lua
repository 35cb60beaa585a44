--- Gemma 1: Llama with norm weights around 0, GELU, and token embeddings multiplied by the root of
-- the width (Gemma Team, arXiv:2403.08295). Files that say gelu mean its tanh form.

local keys = require("perilune.model.config_keys")

return {
  class = "Gemma",
  aliases = { hidden_act = "hidden_activation" },
  activations = { "gelu_pytorch_tanh" },
  defaults = {
    norm_eps = 1e-6,
    hidden_act = "gelu_pytorch_tanh",
    tie_word_embeddings = true,
    head_dim = 256,
  },
  keys = {
    attention_bias = keys.boolean,
    use_bidirectional_attention = keys.only(false),
    hidden_act = keys.only("gelu", "gelu_pytorch_tanh"),
  },
  spec = function(_, spec)
    spec.norm.offset = 1
    spec.embedding_factor = spec.width ^ 0.5
  end,
}
