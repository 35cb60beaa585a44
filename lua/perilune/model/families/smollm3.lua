--- SmolLM 3: Llama, where every fourth layer, or each with 0 in no_rope_layers, turns no positions
-- (arXiv:2501.18795). With use_sliding_window the same layers see a window. SmolLM 2 is Llama.

local keys = require("perilune.model.config_keys")

local function is_turned(c, i)
  local list = c.no_rope_layers
  if list then return list[i] ~= 0 end
  return i % c.no_rope_layer_interval ~= 0
end

return {
  class = "SmolLM3",
  defaults = {
    norm_eps = 1e-6,
    hidden_act = "silu",
    tie_word_embeddings = true,
    rope_theta = 2000000.0,
    no_rope_layer_interval = 4,
  },
  keys = {
    attention_bias = keys.boolean,
    mlp_bias = keys.boolean,
    use_sliding_window = keys.boolean,
    no_rope_layers = keys.list(keys.integer(0, 1)),
    no_rope_layer_interval = keys.integer(1),
    max_window_layers = keys.harmless,
  },
  windows = function(c, i)
    local used = c.use_sliding_window and c.sliding_window
    return used and not is_turned(c, i)
  end,
  spec = function(c, spec)
    local list = c.no_rope_layers
    if list and #list < spec.layers then
      local text = "config.json: 'no_rope_layers' has %d numbers for %d layers"
      return text:format(#list, spec.layers)
    end
    spec.ropes = {}
    for i = 1, spec.layers do
      spec.ropes[i] = is_turned(c, i) and spec.rope
      if not c.use_sliding_window then spec.windows[i] = 0 end
    end
  end,
  gguf = { pairs = true },
}
