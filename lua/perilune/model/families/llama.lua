--- Llama: RMSNorm, rotary positions, grouped-query attention, SwiGLU (Touvron et al.,
-- arXiv:2302.13971; grouped heads as in arXiv:2307.09288).
--
-- llama2.c files turn neighbouring pairs (config.rope_interleaved), Hugging Face folders halves.

local keys = require("perilune.model.config_keys")
local rotary_rows = require("perilune.model.rotary_rows")

return {
  class = "Llama",
  defaults = { norm_eps = 1e-6, hidden_act = "silu", tie_word_embeddings = false },
  keys = {
    rope_interleaved = keys.boolean,
    attention_bias = keys.boolean,
    mlp_bias = keys.boolean,
    use_sliding_window = keys.only(false),
  },

  gguf = { pairs = true },

  -- A model of neighbouring pairs is written in halves, which is all that other readers of Hugging
  -- Face folders know: the same function, but sums over a head run in another order, so its last
  -- bits differ.
  export = function(config, spec, tensors)
    if not config.rope_interleaved then return tensors end
    config.rope_interleaved = nil
    local result = {}
    for name, weight in pairs(tensors) do
      local permuted = name:match("%.self_attn%.[qk]_proj%.weight$")
      result[name] = permuted and rotary_rows.halves(weight, spec.head_dim) or weight
    end
    return result
  end,
}
