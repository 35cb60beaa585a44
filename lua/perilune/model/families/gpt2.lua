--- GPT-2: LayerNorm, learned positions, GELU, one matrix for q, k and v (Radford et al. 2019).

local keys = require("perilune.model.config_keys")

return {
  class = "GPT2",
  causal = "GPT2LMHeadModel",
  prefix = "transformer.",
  aliases = {
    hidden_size = "n_embd",
    intermediate_size = "n_inner",
    num_hidden_layers = "n_layer",
    num_attention_heads = "n_head",
    num_key_value_heads = false,
    head_dim = false,
    max_position_embeddings = "n_positions",
    norm_eps = "layer_norm_epsilon",
    hidden_act = "activation_function",
  },
  defaults = { norm_eps = 1e-5, hidden_act = "gelu_new", tie_word_embeddings = true },
  optional = { intermediate_size = true },
  keys = {
    scale_attn_weights = keys.only(true),
    scale_attn_by_inverse_layer_idx = keys.only(false),
  },
  harmless = "n_ctx resid_pdrop embd_pdrop attn_pdrop reorder_and_upcast_attn summary_activation "
    .. "summary_first_dropout summary_proj_to_labels summary_type summary_use_proj",
  rotary = false,
  spec = function(_, spec)
    spec.norm.kind, spec.norm.bias = "layer", true
    spec.qkv_bias, spec.o_bias, spec.mlp_bias = true, true, true
  end,
  names = {
    embedding = "transformer.wte",
    positions = "transformer.wpe",
    layer = "transformer.h.%d.",
    attention_norm = "ln_1",
    q = false,
    k = false,
    v = false,
    qkv = "attn.c_attn",
    o = "attn.c_proj",
    mlp_norm = "ln_2",
    gate = false,
    up = "mlp.c_fc",
    down = "mlp.c_proj",
    norm = "transformer.ln_f",
  },
  -- Files keep these as [in, out]; parameters are [out, in] like everywhere else.
  transposed = { "qkv", "o", "up", "down" },
  buffers = { "%.attn%.bias$", "%.attn%.masked_bias$" }, -- masks that older files carry
  gguf = {},
  complete = function(config)
    config.n_ctx = config.n_positions
    config.resid_pdrop, config.embd_pdrop, config.attn_pdrop = 0.0, 0.0, 0.0
  end,
}
