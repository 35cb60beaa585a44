--- Gemma 3, text: as Gemma 2 without bounds, with a norm over each head of q and k; five layers of
-- six see a window and turn positions by frequencies of their own (Gemma Team, arXiv:2503.19786).

local gemma = require("perilune.model.gemma_common")
local keys = require("perilune.model.config_keys")
local rope = require("perilune.model.rope")

return {
  class = "Gemma3",
  classifier = "Gemma3TextForSequenceClassification",
  aliases = { hidden_act = "hidden_activation" },
  defaults = {
    norm_eps = 1e-6,
    hidden_act = "gelu_pytorch_tanh",
    tie_word_embeddings = true,
    head_dim = 256,
    query_pre_attn_scalar = 256,
    rope_theta = 1000000.0,
    rope_local_base_freq = 10000.0,
    sliding_window_pattern = 6,
  },
  keys = gemma.keys {
    rope_local_base_freq = rope.keys.rope_theta,
    sliding_window_pattern = keys.integer(1),
    attn_logit_softcapping = keys.absent,
  },
  windows = function(c, i) return i % c.sliding_window_pattern ~= 0 end,
  names = gemma.names { q_norm = "self_attn.q_norm", k_norm = "self_attn.k_norm" },
  spec = function(c, spec)
    local near, message = rope.read(c, spec.head_dim, "sliding_attention", "rope_local_base_freq")
    if not near then return message end
    spec.near, spec.ropes = near, {}
    for i, window in ipairs(spec.windows) do
      spec.ropes[i] = window > 0 and near or spec.rope
    end
    spec.qk_norm = "head"
    gemma.spec(c, spec)
  end,
  complete = function(config, spec)
    config.rope_local_base_freq = spec.near.settings.rope_theta
    config.rope_parameters = {
      full_attention = rope.parameters(spec.rope),
      sliding_attention = rope.parameters(spec.near),
    }
  end,
  gguf = {
    arch = "gemma3",
    offset = 1,
    keys = {
      ["rope.freq_base_swa"] = "rope_local_base_freq",
      final_logit_softcapping = "final_logit_softcapping",
    },
    config = gemma.query_scalar(62),
  },
}
