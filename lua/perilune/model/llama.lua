--- The Llama family: RMSNorm, rotary positions, grouped-query attention, SwiGLU.
--
-- Touvron et al., arXiv:2302.13971; grouped heads as in arXiv:2307.09288. One block:
--     x = x + o(attention(rope(q(n)), rope(k(n)), v(n))),   n = rmsnorm(x)
--     x = x + down(silu(gate(n)) * up(n)),                  n = rmsnorm(x)
-- llama2.c files turn neighbouring pairs (config.rope_interleaved), Hugging Face folders halves.

local core = require("perilune.core")
local keys = require("perilune.model.config_keys")
local dropped = require("perilune.model.residual_dropout")

local llama = { class = "Llama", causal = "ForCausalLM" }

function llama.width(config) return config.hidden_size end

function llama.context(config) return config.max_position_embeddings end

function llama.is_tied(config) return config.tie_word_embeddings == true end

function llama.init_std(config) return config.initializer_range or 0.02 end

local function head_dim(config)
  return config.head_dim or config.hidden_size // config.num_attention_heads
end

local function kv_heads(config) return config.num_key_value_heads or config.num_attention_heads end

local function rope_theta(config)
  local parameters = config.rope_parameters
  return config.rope_theta or (parameters and parameters.rope_theta) or 10000
end

local family = {
  hidden_size = keys.integer(1),
  intermediate_size = keys.integer(1),
  num_hidden_layers = keys.integer(1, 10000),
  num_attention_heads = keys.integer(1),
  num_key_value_heads = keys.integer(1),
  head_dim = keys.integer(2),
  max_position_embeddings = keys.integer(1, 1 << 40),
  rms_norm_eps = keys.number(1e-30, 1),
  rope_theta = keys.number(1, 1e15),
  rope_scaling = keys.table,
  rope_parameters = keys.table,
  rope_interleaved = keys.boolean,
  partial_rotary_factor = keys.only(1),
  hidden_act = keys.only("silu", "swish"),
  attention_bias = keys.only(false),
  mlp_bias = keys.only(false),
  use_sliding_window = keys.only(false),
}

local rope_family = {
  rope_type = keys.only("default"),
  type = keys.only("default"),
  rope_theta = family.rope_theta,
  partial_rotary_factor = family.partial_rotary_factor,
}

-- Two places for one number: both read, and the same.
local function check_rope(config)
  for _, name in ipairs { "rope_scaling", "rope_parameters" } do
    local rope = config[name]
    local kind = rope and (rope.rope_type or rope.type) or "default"
    if kind ~= "default" then
      return ("config.json: '%s' has the rope_type '%s'; only 'default' is implemented"):format(
        name,
        kind
      )
    end
    local message = rope and keys.check(rope, rope_family, name)
    if message then
      return message
    elseif
      rope
      and rope.rope_theta
      and config.rope_theta
      and rope.rope_theta ~= config.rope_theta
    then
      return ("config.json: '%s.rope_theta' is %s and 'rope_theta' is %s: which is meant?"):format(
        name,
        rope.rope_theta,
        config.rope_theta
      )
    end
  end
end

--- Why a config makes no model; nil when it does.
function llama.check(config)
  local message = keys.check(config, family)
    or keys.missing(config, {
      "hidden_size",
      "intermediate_size",
      "num_hidden_layers",
      "num_attention_heads",
      "vocab_size",
    })
    or check_rope(config)
  if message then return message end
  local heads, kv, width = config.num_attention_heads, kv_heads(config), config.hidden_size
  if heads % kv ~= 0 then
    local text =
      "config.json: 'num_key_value_heads' is %d; it must divide 'num_attention_heads', %d"
    return text:format(kv, heads)
  elseif not config.head_dim and width % heads ~= 0 then
    return (
      "config.json: 'num_attention_heads' is %d; without 'head_dim' it must divide "
      .. "'hidden_size', %d"
    ):format(heads, width)
  elseif head_dim(config) % 2 ~= 0 then
    return ("config.json: the size of a head is %d (%s); rotary positions want an even one"):format(
      head_dim(config),
      config.head_dim and "'head_dim'" or "'hidden_size' / 'num_attention_heads'"
    )
  end
end

--- Sizes that a file shows: key, tensor and axis; and how its layers are named.
llama.sizes = {
  { "vocab_size", "model.embed_tokens.weight", 1 },
  { "hidden_size", "model.embed_tokens.weight", 2 },
  { "intermediate_size", "model.layers.0.mlp.gate_proj.weight", 1 },
}
llama.layers = { "num_hidden_layers", "^model%.layers%.(%d+)%." }

--- What a written config.json says in full, for readers with other defaults.
function llama.complete(config, export)
  config.model_type = "llama"
  if export then
    config.rope_interleaved = nil -- to_file has put the rows in halves
  end
  config.head_dim, config.num_key_value_heads = head_dim(config), kv_heads(config)
  config.rope_theta = rope_theta(config)
  config.rope_parameters = { rope_type = "default", rope_theta = config.rope_theta }
  config.rms_norm_eps = config.rms_norm_eps or 1e-5
  config.hidden_act = config.hidden_act or "silu"
  config.tie_word_embeddings = llama.is_tied(config)
end

function llama.parameters(config)
  local c, f, d = config.hidden_size, config.intermediate_size, head_dim(config)
  local q, kv = config.num_attention_heads * d, kv_heads(config) * d
  local std = llama.init_std(config)
  local out = std / math.sqrt(2 * config.num_hidden_layers) -- two residual branches a layer
  local list = { { "model.embed_tokens.weight", { config.vocab_size, c }, std } }
  for i = 0, config.num_hidden_layers - 1 do
    local function add(name, shape, init)
      list[#list + 1] = { ("model.layers.%d.%s.weight"):format(i, name), shape, init }
    end
    add("input_layernorm", { c }, "ones")
    add("self_attn.q_proj", { q, c }, std)
    add("self_attn.k_proj", { kv, c }, std)
    add("self_attn.v_proj", { kv, c }, std)
    add("self_attn.o_proj", { c, q }, out)
    add("post_attention_layernorm", { c }, "ones")
    add("mlp.gate_proj", { f, c }, std)
    add("mlp.up_proj", { f, c }, std)
    add("mlp.down_proj", { c, f }, out)
  end
  list[#list + 1] = { "model.norm.weight", { c }, "ones" }
  return list
end

function llama.bind(m)
  local config = m.config
  m.layers = {}
  for i = 0, config.num_hidden_layers - 1 do
    local function weight(name) return m.weights[("model.layers.%d.%s.weight"):format(i, name)] end
    m.layers[i + 1] = {
      norm1 = weight("input_layernorm"),
      norm2 = weight("post_attention_layernorm"),
      q = weight("self_attn.q_proj"),
      k = weight("self_attn.k_proj"),
      v = weight("self_attn.v_proj"),
      o = weight("self_attn.o_proj"),
      gate = weight("mlp.gate_proj"),
      up = weight("mlp.up_proj"),
      down = weight("mlp.down_proj"),
    }
  end
  m.eps = { eps = config.rms_norm_eps or 1e-5 }
  m.rope = {
    head_dim = head_dim(config),
    theta = rope_theta(config),
    interleaved = config.rope_interleaved or false,
  }
  m.heads = { heads = config.num_attention_heads, kv_heads = kv_heads(config) }
end

function llama.embedding(m) return m.weights["model.embed_tokens.weight"] end

function llama.caches(m, slots, len)
  local config, list = m.config, {}
  for i = 1, 2 * config.num_hidden_layers do
    list[i] = core.zeros({ slots, kv_heads(config), len, head_dim(config) }, m.dtype)
  end
  return list
end

local function attention(m, i, n, batch, caches)
  local w = m.layers[i]
  local q = core.rope(core.linear(n, w.q), batch.positions, m.rope)
  local k = core.rope(core.linear(n, w.k), batch.positions, m.rope)
  local v = core.linear(n, w.v)
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
  local frame <close> = core.frame("llama.block")
  local w = m.layers[i]
  local y = core.linear(attention(m, i, core.rmsnorm(x, w.norm1, m.eps), batch, opts.caches), w.o)
  x = x + dropped(y, opts.dropout, i, 1)
  local n = core.rmsnorm(x, w.norm2, m.eps)
  y = core.linear(core.swiglu(core.linear(n, w.gate), core.linear(n, w.up)), w.down)
  return (x + dropped(y, opts.dropout, i, 2)):keep()
end

function llama.hidden(m, batch, opts)
  local x = core.embedding(llama.embedding(m), batch.tokens)
  for i = 1, #m.layers do
    if opts.checkpoint then
      x = core.checkpoint(function(h) return block(m, i, h, batch, opts) end, x)
    else
      x = block(m, i, x, batch, opts)
    end
  end
  return core.rmsnorm(x, m.weights["model.norm.weight"], m.eps)
end

--- Files and parameters agree in names and layouts.
function llama.from_file(_, tensors) return tensors end

--- For each head rows 0, 2, 4 ... then 1, 3, 5 ...: neighbouring pairs become halves.
local function halves(weight, d)
  local rows, half = {}, d // 2
  for i = 0, weight:size(1) - 1 do
    local place = i % d
    rows[i + 1] = i - place + (place < half and 2 * place or 2 * (place - half) + 1)
  end
  return core.gather(weight:detach(), rows)
end

--- With `export` a model of neighbouring pairs is written in halves, which is all that other
-- readers of Hugging Face folders know: the same function, but sums over a head run in another
-- order, so its last bits differ. Checkpoints of a run are written without.
function llama.to_file(config, weights, export)
  if not (export and config.rope_interleaved) then return weights end
  local result = {}
  for name, weight in pairs(weights) do
    local permuted = name:match("%.self_attn%.[qk]_proj%.weight$")
    result[name] = permuted and halves(weight, head_dim(config)) or weight
  end
  return result
end

return llama
