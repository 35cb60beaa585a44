--- The GPT-2 family: LayerNorm, learned positions, GELU (Radford et al. 2019).
--
--     x = x + c_proj(attention(c_attn(ln_1(x))))
--     x = x + c_proj(gelu(c_fc(ln_2(x))))
-- Files keep the four projections of a block as [in, out]; parameters are [out, in] like everywhere
-- else, and are transposed when they are read.

local core = require("perilune.core")
local keys = require("perilune.model.config_keys")
local dropped = require("perilune.model.residual_dropout")

local gpt2 = { class = "GPT2", causal = "LMHeadModel" }

function gpt2.width(config) return config.n_embd end

function gpt2.context(config) return config.n_positions end

function gpt2.is_tied(config) return config.tie_word_embeddings ~= false end

function gpt2.init_std(config) return config.initializer_range or 0.02 end

local family = {
  n_embd = keys.integer(1),
  n_layer = keys.integer(1, 10000),
  n_head = keys.integer(1),
  n_positions = keys.integer(1),
  n_inner = keys.integer(1),
  n_ctx = keys.harmless,
  activation_function = keys.only("gelu_new", "gelu", "gelu_pytorch_tanh"),
  layer_norm_epsilon = keys.number(1e-30, 1),
  resid_pdrop = keys.number(0, 1),
  embd_pdrop = keys.number(0, 1),
  attn_pdrop = keys.number(0, 1),
  scale_attn_weights = keys.only(true),
  scale_attn_by_inverse_layer_idx = keys.only(false),
  reorder_and_upcast_attn = keys.harmless,
  summary_activation = keys.harmless,
  summary_first_dropout = keys.harmless,
  summary_proj_to_labels = keys.harmless,
  summary_type = keys.harmless,
  summary_use_proj = keys.harmless,
}

--- Why a config makes no model; nil when it does.
function gpt2.check(config)
  local message = keys.check(config, family)
    or keys.missing(config, { "n_embd", "n_layer", "n_head", "n_positions", "vocab_size" })
  if not message and config.n_embd % config.n_head ~= 0 then
    message = ("config.json: 'n_head' is %d; it must divide 'n_embd', %d"):format(
      config.n_head,
      config.n_embd
    )
  end
  return message
end

--- Sizes that a file shows: key, tensor and axis; and how its layers are named.
gpt2.sizes = {
  { "vocab_size", "transformer.wte.weight", 1 },
  { "n_embd", "transformer.wte.weight", 2 },
  { "n_positions", "transformer.wpe.weight", 1 },
  { "n_inner", "transformer.h.0.mlp.c_fc.weight", 1 },
}
gpt2.layers = { "n_layer", "^transformer%.h%.(%d+)%." }

function gpt2.complete(config)
  config.model_type = "gpt2"
  config.n_ctx = config.n_positions
  config.activation_function = config.activation_function or "gelu_new"
  config.layer_norm_epsilon = config.layer_norm_epsilon or 1e-5
  config.tie_word_embeddings = gpt2.is_tied(config)
  config.resid_pdrop, config.embd_pdrop, config.attn_pdrop = 0.0, 0.0, 0.0
end

local transposed =
  { ["attn.c_attn"] = true, ["attn.c_proj"] = true, ["mlp.c_fc"] = true, ["mlp.c_proj"] = true }

function gpt2.parameters(config)
  local c, std = config.n_embd, gpt2.init_std(config)
  local f = config.n_inner or 4 * c
  local out = std / math.sqrt(2 * config.n_layer)
  local list = {
    { "transformer.wte.weight", { config.vocab_size, c }, std },
    { "transformer.wpe.weight", { config.n_positions, c }, std },
  }
  local function add(name, shape, init)
    list[#list + 1] = { name .. ".weight", shape, init }
    list[#list + 1] = { name .. ".bias", { shape[1] }, "zeros" }
  end
  for i = 0, config.n_layer - 1 do
    local at = ("transformer.h.%d."):format(i)
    add(at .. "ln_1", { c }, "ones")
    add(at .. "attn.c_attn", { 3 * c, c }, std)
    add(at .. "attn.c_proj", { c, c }, out)
    add(at .. "ln_2", { c }, "ones")
    add(at .. "mlp.c_fc", { f, c }, std)
    add(at .. "mlp.c_proj", { c, f }, out)
  end
  add("transformer.ln_f", { c }, "ones")
  return list
end

function gpt2.bind(m)
  local config = m.config
  m.layers = {}
  for i = 0, config.n_layer - 1 do
    local layer = {}
    for _, name in ipairs {
      "ln_1",
      "attn.c_attn",
      "attn.c_proj",
      "ln_2",
      "mlp.c_fc",
      "mlp.c_proj",
    } do
      local at = ("transformer.h.%d.%s."):format(i, name)
      layer[name] = { m.weights[at .. "weight"], m.weights[at .. "bias"] }
    end
    m.layers[i + 1] = layer
  end
  m.eps = { eps = config.layer_norm_epsilon or 1e-5 }
  m.heads = { heads = config.n_head }
  m.gelu = { approximate = config.activation_function == "gelu" and "none" or "tanh" }
end

function gpt2.embedding(m) return m.weights["transformer.wte.weight"] end

function gpt2.caches(m, slots, len)
  local config, list = m.config, {}
  for i = 1, 2 * config.n_layer do
    list[i] = core.zeros({ slots, config.n_head, len, config.n_embd // config.n_head }, m.dtype)
  end
  return list
end

local function norm(m, x, layer) return core.layernorm(x, layer[1], layer[2], m.eps) end

local function linear(x, layer) return core.linear(x, layer[1], layer[2]) end

local function attention(m, i, n, batch, caches)
  local c = m.config.n_embd
  local qkv = linear(n, m.layers[i]["attn.c_attn"])
  local q, k, v = qkv:slice(2, 1, c), qkv:slice(2, c + 1, 2 * c), qkv:slice(2, 2 * c + 1, 3 * c)
  if not caches then return core.attention(q, k, v, batch.offsets, m.heads) end
  return core.attention_cached(
    q,
    k,
    v,
    batch.offsets,
    caches[2 * i - 1],
    caches[2 * i],
    batch.slots,
    batch.past,
    m.heads
  )
end

local function block(m, i, x, batch, opts)
  local frame <close> = core.frame("gpt2.block")
  local w = m.layers[i]
  local y = linear(attention(m, i, norm(m, x, w.ln_1), batch, opts.caches), w["attn.c_proj"])
  x = x + dropped(y, opts.dropout, i, 1)
  y = linear(core.gelu(linear(norm(m, x, w.ln_2), w["mlp.c_fc"]), m.gelu), w["mlp.c_proj"])
  return (x + dropped(y, opts.dropout, i, 2)):keep()
end

function gpt2.hidden(m, batch, opts)
  local x = core.embedding(gpt2.embedding(m), batch.tokens)
    + core.embedding(m.weights["transformer.wpe.weight"], batch.positions)
  for i = 1, #m.layers do
    if opts.checkpoint then
      x = core.checkpoint(function(h) return block(m, i, h, batch, opts) end, x)
    else
      x = block(m, i, x, batch, opts)
    end
  end
  return core.layernorm(
    x,
    m.weights["transformer.ln_f.weight"],
    m.weights["transformer.ln_f.bias"],
    m.eps
  )
end

local function is_turned(name)
  local part = name:match("%.h%.%d+%.(.-)%.weight$")
  return part ~= nil and transposed[part] == true
end

--- Older files have no "transformer." before the names and carry the attention masks.
function gpt2.from_file(config, tensors)
  local result = {}
  for name, tensor in pairs(tensors) do
    if not name:match("%.attn%.bias$") and not name:match("%.attn%.masked_bias$") then
      local full = name:match("^[hw]") and not name:match("^lm_head") and "transformer." .. name
        or name:match("^ln_f") and "transformer." .. name
        or name
      result[full] = is_turned(full) and tensor:transpose() or tensor
    end
  end
  if gpt2.is_tied(config) then result["lm_head.weight"] = nil end
  return result
end

function gpt2.to_file(_, weights)
  local result = {}
  for name, tensor in pairs(weights) do
    result[name] = is_turned(name) and tensor:detach():transpose() or tensor
  end
  return result
end

return gpt2
