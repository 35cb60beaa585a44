--- What the tables of Gemma 2 and Gemma 3 have in common.

local keys = require("perilune.model.config_keys")

local gemma_common = {}

local function with(own, common)
  for key, value in pairs(common) do
    if own[key] == nil then own[key] = value end
  end
  return own
end

--- Rules of keys: a family's own, and those of both.
-- @tparam table own
-- @treturn table
function gemma_common.keys(own)
  return with(own, {
    attention_bias = keys.boolean,
    query_pre_attn_scalar = keys.number(1e-6, 1e6),
    final_logit_softcapping = keys.number(1e-6, 1e6),
    use_bidirectional_attention = keys.only(false),
    hidden_act = keys.only("gelu_pytorch_tanh"),
  })
end

--- Names of tensors: a family's own, and the norms before and behind attention and MLP.
-- @tparam table own
-- @treturn table
function gemma_common.names(own)
  return with(own, {
    attention_post_norm = "post_attention_layernorm",
    mlp_norm = "pre_feedforward_layernorm",
    mlp_post_norm = "post_feedforward_layernorm",
  })
end

--- Puts into a spec what both have.
-- @tparam table c the config
-- @tparam table spec
function gemma_common.spec(c, spec)
  spec.norm.offset = 1
  spec.scale = c.query_pre_attn_scalar ^ -0.5
  spec.logits_softcap = c.final_logit_softcapping
  spec.embedding_factor = spec.width ^ 0.5
end

--- For GGUF, which does not tell query_pre_attn_scalar: it is the width of a head, but in the
-- largest model that of a head that would fill the model.
-- @tparam integer layers of the largest
-- @treturn function (config, head)
function gemma_common.query_scalar(layers)
  return function(config, head)
    local wide = config.num_hidden_layers == layers
    config.query_pre_attn_scalar = wide and config.hidden_size // config.num_attention_heads or head
  end
end

return gemma_common
