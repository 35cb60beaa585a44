--- A tiny model in llama2.c's files: what a published one is read from, made by the test.

local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")

local llama2c = {}

llama2c.config = {
  model_type = "llama",
  vocab_size = 266,
  hidden_size = 20,
  intermediate_size = 28,
  num_hidden_layers = 2,
  num_attention_heads = 2,
  num_key_value_heads = 1,
  max_position_embeddings = 32,
  tie_word_embeddings = true,
  initializer_range = 0.3,
  rope_interleaved = true,
  rms_norm_eps = 1e-5,
}

--- The vocabulary is three control tokens, the bytes, then these in order of falling score.
llama2c.pieces = { "a", "b", " ", " a", "ab", " ab", "bb" }

local function tokenizer_bytes()
  local parts = { string.pack("<i4", 7) }
  local function add(text, score) parts[#parts + 1] = string.pack("<fs4", score, text) end
  add("<unk>", 0)
  add("\n<s>\n", 0)
  add("\n</s>\n", 0)
  for byte = 0, 255 do
    add(("<0x%02X>"):format(byte), 0)
  end
  for i, piece in ipairs(llama2c.pieces) do
    add(piece, -i)
  end
  return table.concat(parts)
end

--- The order of a checkpoint of version 0; a name with `%d` stands for every layer in turn.
local order = {
  "model.embed_tokens.weight",
  "model.layers.%d.input_layernorm.weight",
  "model.layers.%d.self_attn.q_proj.weight",
  "model.layers.%d.self_attn.k_proj.weight",
  "model.layers.%d.self_attn.v_proj.weight",
  "model.layers.%d.self_attn.o_proj.weight",
  "model.layers.%d.post_attention_layernorm.weight",
  "model.layers.%d.mlp.gate_proj.weight",
  "model.layers.%d.mlp.down_proj.weight",
  "model.layers.%d.mlp.up_proj.weight",
  "model.norm.weight",
}

local function model_bytes(model)
  local c = llama2c.config
  local parts = {
    string.pack(
      "<i4i4i4i4i4i4i4",
      c.hidden_size,
      c.intermediate_size,
      c.num_hidden_layers,
      c.num_attention_heads,
      c.num_key_value_heads,
      c.vocab_size,
      c.max_position_embeddings
    ),
  }
  for _, name in ipairs(order) do
    for layer = 0, name:find("%d", 1, true) and c.num_hidden_layers - 1 or 0 do
      parts[#parts + 1] = model.weights[name:format(layer)]:bytes()
    end
  end
  -- the angles of RoPE, which readers work out themselves
  local head_dim = c.hidden_size // c.num_attention_heads
  parts[#parts + 1] = ("\0"):rep(4 * c.max_position_embeddings * head_dim)
  return table.concat(parts)
end

--- Writes tiny.bin and tok266.bin into a folder.
-- @tparam string folder
-- @treturn Model the model whose weights they hold
function llama2c.write(folder)
  local model = pl.model.new(llama2c.config, { seed = 3 })
  scratch.write(folder .. "/tiny.bin", model_bytes(model))
  scratch.write(folder .. "/tok266.bin", tokenizer_bytes())
  return model
end

return llama2c
