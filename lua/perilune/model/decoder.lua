--- The decoder: one forward pass over the ops for all families.
--
-- A family (perilune.model.families) turns a config into a *spec*, which says what there is:
--
--     width, mlp_width, vocab, context, layers, heads, kv_heads, head_dim, init_std, tied
--     norm            { kind = "rms"|"layer", eps =, bias = }
--     activation      "silu", "gelu", "gelu_tanh"
--     qkv_bias, o_bias, mlp_bias   whether these projections have one
--     rope            options of core.rope; nil: positions are not turned
--     names           of the tensors. A part without a name is not there: `qkv` stands for `q`, `k`
--                     and `v` in one matrix, `positions` for a table of learned positions, `gate`
--                     for a gated MLP
--
-- One block, with all parts that a spec may name:
--     x = x + o(attention(q(n), k(n), v(n))),   n = attention_norm(x)
--     x = x + down(act(gate(n)) * up(n)),       n = mlp_norm(x)
-- The same pass trains, scores and, with caches, generates.

local core = require("perilune.core")
local dropped = require("perilune.model.residual_dropout")
local project = require("perilune.model.projection").project

local decoder = {}

--- Names of most families' tensors, without ".weight" and ".bias".
decoder.names = {
  embedding = "model.embed_tokens",
  layer = "model.layers.%d.",
  attention_norm = "input_layernorm",
  q = "self_attn.q_proj",
  k = "self_attn.k_proj",
  v = "self_attn.v_proj",
  o = "self_attn.o_proj",
  mlp_norm = "post_attention_layernorm",
  gate = "mlp.gate_proj",
  up = "mlp.up_proj",
  down = "mlp.down_proj",
  norm = "model.norm",
  head = "lm_head",
}

-- ---- parameters ---------------------------------------------------------------------------------

--- The parts of one block in the order of their parameters: { field, kind, rows, columns, std,
-- bias }.
local function block_parts(spec)
  local c, f, d = spec.width, spec.mlp_width, spec.head_dim
  local q, kv = spec.heads * d, spec.kv_heads * d
  local std = spec.init_std
  local out = std / math.sqrt(2 * spec.layers) -- two residual branches a layer
  local parts = {}
  local function linear(field, rows, columns, init, bias)
    parts[#parts + 1] = { field, "linear", rows, columns, init, bias }
  end
  local function norm(field, size) parts[#parts + 1] = { field, "norm", size } end
  norm("attention_norm", c)
  linear("q", q, c, std, spec.qkv_bias)
  linear("k", kv, c, std, spec.qkv_bias)
  linear("v", kv, c, std, spec.qkv_bias)
  linear("qkv", q + 2 * kv, c, std, spec.qkv_bias)
  linear("o", c, q, out, spec.o_bias)
  norm("mlp_norm", c)
  linear("gate", f, c, std, spec.mlp_bias)
  linear("up", f, c, std, spec.mlp_bias)
  linear("down", c, f, out, spec.mlp_bias)
  return parts
end

-- Calls add(prefix, name, part) for every part that the spec names, in the order of parameters.
local function each_part(spec, add)
  local names = spec.names
  local function single(part)
    if names[part[1]] then add(nil, names[part[1]], part) end
  end
  single { "embedding", "table", spec.vocab, spec.width, spec.init_std }
  single { "positions", "table", spec.context, spec.width, spec.init_std }
  local parts = block_parts(spec)
  for i = 0, spec.layers - 1 do
    local at = names.layer:format(i)
    for _, part in ipairs(parts) do
      if names[part[1]] then add(i, at .. names[part[1]], part) end
    end
  end
  single { "norm", "norm", spec.width }
end

--- The parameters of a model but for its head, in their order.
-- @tparam table spec
-- @treturn table list of {name, shape, init}; init is a standard deviation, "ones" or "zeros"
function decoder.parameters(spec)
  local list = {}
  each_part(spec, function(_, name, part)
    local _, kind, rows, columns, std, bias = table.unpack(part, 1, 6)
    if kind == "norm" then
      list[#list + 1] = { name .. ".weight", { rows }, "ones" }
      bias = spec.norm.bias
    else
      list[#list + 1] = { name .. ".weight", { rows, columns }, std }
    end
    if bias then list[#list + 1] = { name .. ".bias", { rows }, "zeros" } end
  end)
  return list
end

--- Lays at hand, as `m.parts` and `m.layers`, what the forward pass wants from `m.weights`.
-- @tparam Model m with `spec` and `weights`
function decoder.bind(m)
  local spec = m.spec
  m.parts, m.layers = {}, {}
  for i = 1, spec.layers do
    m.layers[i] = {
      attention = { heads = spec.heads, kv_heads = spec.kv_heads },
      rope = spec.rope,
    }
  end
  each_part(spec, function(i, name, part)
    local holder = i and m.layers[i + 1] or m.parts
    holder[part[1]] = { weight = m.weights[name .. ".weight"], bias = m.weights[name .. ".bias"] }
  end)
end

-- ---- forward ------------------------------------------------------------------------------------

local function norm(m, record, x)
  local kind = m.spec.norm
  if kind.kind == "rms" then return core.rmsnorm(x, record.weight, { eps = kind.eps }) end
  return core.layernorm(x, record.weight, record.bias, { eps = kind.eps })
end

local function queries_keys_values(m, layer, n, opts)
  if not layer.qkv then
    return project(layer.q, n, opts), project(layer.k, n, opts), project(layer.v, n, opts)
  end
  local spec = m.spec
  local q, kv = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
  local qkv = project(layer.qkv, n, opts)
  return qkv:slice(2, 1, q), qkv:slice(2, q + 1, q + kv), qkv:slice(2, q + kv + 1, q + 2 * kv)
end

local function attention(m, i, n, batch, opts)
  local layer, caches = m.layers[i], opts.caches
  local q, k, v = queries_keys_values(m, layer, n, opts)
  if layer.rope then
    q = core.rope(q, batch.positions, layer.rope)
    k = core.rope(k, batch.positions, layer.rope)
  end
  if not caches then return core.attention(q, k, v, batch.offsets, layer.attention) end
  return core.attention_cached(
    q,
    k,
    v,
    batch.offsets,
    caches[2 * i - 1],
    caches[2 * i],
    batch.slots,
    batch.past,
    layer.attention
  )
end

local activations = {
  silu = core.silu,
  gelu = function(x) return core.gelu(x, { approximate = "none" }) end,
  gelu_tanh = function(x) return core.gelu(x, { approximate = "tanh" }) end,
}

local function mlp(m, layer, n, opts)
  local kind = m.spec.activation
  if not layer.gate then return activations[kind](project(layer.up, n, opts)) end
  local gate, up = project(layer.gate, n, opts), project(layer.up, n, opts)
  if kind == "silu" then return core.swiglu(gate, up) end
  return activations[kind](gate) * up
end

local function block(m, i, x, batch, opts)
  local frame <close> = core.frame("decoder.block")
  local layer = m.layers[i]
  local n = norm(m, layer.attention_norm, x)
  local y = project(layer.o, attention(m, i, n, batch, opts), opts)
  x = x + dropped(y, opts.dropout, i, 1)
  y = project(layer.down, mlp(m, layer, norm(m, layer.mlp_norm, x), opts), opts)
  return (x + dropped(y, opts.dropout, i, 2)):keep()
end

local function embedded(m, batch)
  local x = core.embedding(m.parts.embedding.weight, batch.tokens)
  local positions = m.parts.positions
  return positions and x + core.embedding(positions.weight, batch.positions) or x
end

--- Final hidden states.
-- @tparam Model m
-- @tparam table batch see perilune.data.batch
-- @tparam table opts `dropout`, `checkpoint`, `caches`
-- @treturn Tensor [T, C]
function decoder.hidden(m, batch, opts)
  local x = embedded(m, batch)
  for i = 1, #m.layers do
    if opts.checkpoint then
      x = core.checkpoint(function(h) return block(m, i, h, batch, opts) end, x)
    else
      x = block(m, i, x, batch, opts)
    end
  end
  return norm(m, m.parts.norm, x)
end

--- Room for keys and values.
-- @tparam Model m
-- @tparam integer slots
-- @tparam integer len
-- @treturn {Tensor,...} k and v of each layer
function decoder.caches(m, slots, len)
  local spec, list = m.spec, {}
  for i = 1, 2 * spec.layers do
    list[i] = core.zeros({ slots, spec.kv_heads, len, spec.head_dim }, m.dtype)
  end
  return list
end

return decoder
