--- Phi 3, 3.5 and 4 mini: Llama with q, k, v in one matrix and gate, up in another; 4 mini turns a
-- share of each head (Abdin et al., arXiv:2404.14219).
--
-- With longrope the short factors hold, for sequences up to original_max_position_embeddings.

local keys = require("perilune.model.config_keys")

return {
  class = "Phi3",
  defaults = {
    norm_eps = 1e-5,
    hidden_act = "silu",
    tie_word_embeddings = false,
    partial_rotary_factor = 1.0,
  },
  keys = {
    original_max_position_embeddings = keys.integer(1, 1 << 40),
    attention_bias = keys.only(false),
    mlp_bias = keys.only(false),
    lm_head_bias = keys.only(false),
    full_attn_mod = keys.only(1),
    interpolate_factor = keys.only(1),
  },
  harmless = "resid_pdrop embd_pdrop",
  windows = function(c) return c.sliding_window ~= nil end,
  names = {
    q = false,
    k = false,
    v = false,
    qkv = "self_attn.qkv_proj",
    gate = false,
    up = false,
    gate_up = "mlp.gate_up_proj",
  },
  gguf = {},
}
