--- OPT: learned positions after two unused rows, LayerNorm, ReLU. The 350m model has its norms
-- behind the sums, and narrower token embeddings (Zhang et al., arXiv:2205.01068).

local keys = require("perilune.model.config_keys")

return {
  class = "OPT",
  aliases = {
    intermediate_size = "ffn_dim",
    num_key_value_heads = false,
    head_dim = false,
    norm_eps = false,
    hidden_act = "activation_function",
    initializer_range = "init_std",
  },
  defaults = {
    norm_eps = 1e-5,
    hidden_act = "relu",
    tie_word_embeddings = true,
    do_layer_norm_before = true,
    enable_bias = true,
  },
  keys = {
    init_std = keys.number(0, 1000),
    word_embed_proj_dim = keys.integer(1),
    do_layer_norm_before = keys.boolean,
    _remove_final_layer_norm = keys.boolean,
    enable_bias = keys.boolean,
    layer_norm_elementwise_affine = keys.only(true),
  },
  harmless = "dropout activation_dropout layerdrop",
  rotary = false,
  names = function(c)
    local first, at = c.do_layer_norm_before, "model.decoder."
    local narrow = c.word_embed_proj_dim and c.word_embed_proj_dim ~= c.hidden_size
    return {
      embedding = at .. "embed_tokens",
      positions = at .. "embed_positions",
      project_in = narrow and at .. "project_in",
      project_out = narrow and at .. "project_out",
      layer = at .. "layers.%d.",
      attention_norm = first and "self_attn_layer_norm",
      attention_last_norm = not first and "self_attn_layer_norm",
      o = "self_attn.out_proj",
      mlp_norm = first and "final_layer_norm",
      mlp_last_norm = not first and "final_layer_norm",
      gate = false,
      up = "fc1",
      down = "fc2",
      norm = first and not c._remove_final_layer_norm and at .. "final_layer_norm",
    }
  end,
  spec = function(c, spec)
    spec.norm.kind, spec.norm.bias = "layer", true
    spec.qkv_bias, spec.o_bias, spec.mlp_bias = c.enable_bias, c.enable_bias, c.enable_bias
    spec.position_offset = 2
    spec.embedding_width = spec.names.project_in and c.word_embed_proj_dim or nil
  end,
}
