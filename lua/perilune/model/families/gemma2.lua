--- Gemma 2: norms before and behind attention and MLP, with weights around 0, bounds on scores and
-- logits, every other layer with a window (Gemma Team, arXiv:2408.00118).
--
-- Token embeddings are multiplied by the root of the width, rounded to the type they are in: here
-- float32 or float64.

local gemma = require("perilune.model.gemma_common")
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
  keys = gemma.keys { attn_logit_softcapping = keys.number(1e-6, 1e6) },
  harmless = "sliding_window_size",
  windows = function(_, i) return i % 2 == 1 end,
  names = gemma.names {},
  spec = function(c, spec)
    gemma.spec(c, spec)
    spec.softcap = c.attn_logit_softcapping
  end,
  gguf = {
    offset = 1,
    keys = {
      attn_logit_softcapping = "attn_logit_softcapping",
      final_logit_softcapping = "final_logit_softcapping",
    },
    config = gemma.query_scalar(46),
  },
}
