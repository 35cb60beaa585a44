--- The decoder: one forward pass over the ops for all families.
--
-- A family (perilune.model.families) turns a config into a *spec*, which says what there is:
--
--     width, mlp_width, vocab, context, layers, heads, kv_heads, head_dim, init_std, tied
--     norm            { kind = "rms"|"layer", eps =, bias =, offset = to its weight (Gemma),
--                     weight = false: it has none }
--     activation      "silu", "gelu", "gelu_tanh", "relu"
--     qkv_bias, o_bias, mlp_bias   whether these projections have one
--     rope            of perilune.model.rope; nil: positions are not turned. `ropes`: one for each
--                     layer, or false, where layers differ
--     windows         for each layer how many last keys a query sees, 0 all; nil: all see all
--     names           of the tensors. A part without a name is not there: `qkv` stands for `q`, `k`
--                     and `v` in one matrix, `gate_up` for `gate` and `up`, `positions` for a table
--                     of learned positions, no `gate` for a plain MLP
--     qkv_by_head     the rows of `qkv` are q, k, v of the first head, then of the next (GPT-NeoX)
--     qkv_clip        bound of |q|, |k|, |v| (OLMo)
--     qk_norm         "head": q_norm, k_norm over each head; "all": over all of them (OLMo 2);
--                     "each": over each head with a weight of its own (Cohere)
--     scale, softcap  of attention scores, where not head_dim^(-1/2) and none
--     parallel        attention and MLP read the same x (GPT-NeoX)
--     embedding_width of the token table, when `project_in` and `project_out` stand around (OPT)
--     position_offset rows of the position table before position 0 (OPT)
--     embedding_factor, residual_factor, logits_factor   multiply what their names say
--     logits_softcap  bound of logits, see Model:softcap
--
-- One block, with all that may stand in it; what is not there leaves its input as it is:
--     y = o(attention(rope(q_norm(q(n))), rope(k_norm(k(n))), v(n))),   n = attention_norm(x)
--     x = attention_last_norm(x + attention_post_norm(y))
--     y = down(act(gate(n)) * up(n)),                                   n = mlp_norm(x)
--     x = mlp_last_norm(x + mlp_post_norm(y))
-- The same pass trains, scores and, with caches, generates.

local core = require("perilune.core")
local dropped = require("perilune.model.residual_dropout")
local narrow = require("perilune.model.narrow")
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

--- The parts of one block in the order of their parameters: { field, kind, shape, std, bias }.
local function block_parts(spec)
  local c, f, d = spec.width, spec.mlp_width, spec.head_dim
  local q, kv = spec.heads * d, spec.kv_heads * d
  local std = spec.init_std
  local out = std / math.sqrt(2 * spec.layers) -- two residual branches a layer
  local qk_shapes = {
    head = { { d }, { d } },
    all = { { q }, { kv } },
    each = { { spec.heads, d }, { spec.kv_heads, d } },
  }
  local qk = qk_shapes[spec.qk_norm or "head"]
  return {
    { "attention_norm", "norm", { c } },
    { "q", "linear", { q, c }, std, spec.qkv_bias },
    { "k", "linear", { kv, c }, std, spec.qkv_bias },
    { "v", "linear", { kv, c }, std, spec.qkv_bias },
    { "qkv", "linear", { q + 2 * kv, c }, std, spec.qkv_bias },
    { "q_norm", "norm", qk[1] },
    { "k_norm", "norm", qk[2] },
    { "o", "linear", { c, q }, out, spec.o_bias },
    { "attention_post_norm", "norm", { c } },
    { "attention_last_norm", "norm", { c } },
    { "mlp_norm", "norm", { c } },
    { "gate", "linear", { f, c }, std, spec.mlp_bias },
    { "up", "linear", { f, c }, std, spec.mlp_bias },
    { "gate_up", "linear", { 2 * f, c }, std, spec.mlp_bias },
    { "down", "linear", { c, f }, out, spec.mlp_bias },
    { "mlp_post_norm", "norm", { c } },
    { "mlp_last_norm", "norm", { c } },
  }
end

-- Calls add(layer, name, part) for every part that the spec names, in the order of parameters.
local function each_part(spec, add)
  local names, std = spec.names, spec.init_std
  local c, e = spec.width, spec.embedding_width or spec.width
  local function single(part)
    if names[part[1]] then add(nil, names[part[1]], part) end
  end
  single { "embedding", "table", { spec.vocab, e }, std }
  if names.positions then
    local rows = spec.context + (spec.position_offset or 0)
    single { "positions", "table", { rows, c }, std }
  end
  single { "project_in", "linear", { c, e }, std }
  local parts = block_parts(spec)
  for i = 0, spec.layers - 1 do
    local at = names.layer:format(i)
    for _, part in ipairs(parts) do
      if names[part[1]] then add(i, at .. names[part[1]], part) end
    end
  end
  single { "norm", "norm", { c } }
  single { "project_out", "linear", { e, c }, std }
end

--- The parameters of a model but for its head, in their order.
-- @tparam table spec
-- @treturn table list of {name, shape, init}; init is a standard deviation, "ones" or "zeros"
function decoder.parameters(spec)
  local list = {}
  each_part(spec, function(_, name, part)
    local _, kind, shape, init, bias = table.unpack(part, 1, 5)
    if kind == "norm" then
      if spec.norm.weight == false then return end
      init, bias = spec.norm.offset == 1 and "zeros" or "ones", spec.norm.bias and #shape == 1
    end
    list[#list + 1] = { name .. ".weight", shape, init }
    if bias then list[#list + 1] = { name .. ".bias", { shape[1] }, "zeros" } end
  end)
  return list
end

--- What core.rope is given for a layer: its options, and the frequencies as a tensor.
local function bound_rope(m, read)
  local frequencies = read.frequencies and core.tensor(read.frequencies, m.dtype)
  return { options = read.options, frequencies = frequencies and frequencies:keep(true) }
end

-- The factors of a spec as tensors: a recorded step reads them again and again.
local function bound_factors(m)
  local factors = {}
  for _, name in ipairs { "embedding_factor", "residual_factor", "logits_factor" } do
    local factor = m.spec[name]
    if factor then factors[name] = core.tensor(factor, m.dtype):keep(true) end
  end
  return factors
end

-- What attention and activations work in: int8 is of products with weights alone.
local function beside_products(m) return m.precision == "bf16" and "bf16" or "float32" end

--- Lays at hand, as `m.parts`, `m.layers` and `m.factors`, what the forward pass wants.
-- @tparam Model m with `spec`, `weights`, `dtype` and `precision`
function decoder.bind(m)
  local spec, ropes, product = m.spec, {}, { precision = m.precision }
  m.parts, m.layers, m.factors = {}, {}, bound_factors(m)
  for i = 1, spec.layers do
    local read = spec.rope
    if spec.ropes then read = spec.ropes[i] end
    if read then ropes[read] = ropes[read] or bound_rope(m, read) end
    local window = spec.windows and spec.windows[i] or 0
    m.layers[i] = {
      attention = {
        heads = spec.heads,
        kv_heads = spec.kv_heads,
        scale = spec.scale,
        window = window > 0 and window or nil,
        softcap = spec.softcap,
        precision = beside_products(m),
      },
      rope = read and ropes[read],
    }
  end
  each_part(spec, function(i, name, part)
    local holder = i and m.layers[i + 1] or m.parts
    holder[part[1]] = {
      weight = m.weights[name .. ".weight"],
      bias = m.weights[name .. ".bias"],
      adapter = m.adapters and m.adapters[name],
      product = product,
    }
  end)
  for _, layer in ipairs(m.layers) do
    layer.narrow = narrow.options(m, layer)
  end
end

--- The names of the projections, in the order of their parameters: what adapters can stand beside.
-- @tparam table spec
-- @treturn {string,...}
function decoder.modules(spec)
  local list = {}
  each_part(spec, function(_, name, part)
    if part[2] == "linear" then list[#list + 1] = name end
  end)
  return list
end

-- ---- forward ------------------------------------------------------------------------------------

--- x under a norm; as it is when there is none.
local function normed(m, record, x)
  if not record then return x end
  local norm = m.spec.norm
  if norm.kind == "rms" then
    return core.rmsnorm(x, record.weight, { eps = norm.eps, offset = norm.offset })
  end
  return core.layernorm(x, record.weight, record.bias, { eps = norm.eps })
end

--- Queries or keys [T, H*D] under their norm.
local function head_normed(m, record, x, heads)
  local spec = m.spec
  if not record or spec.qk_norm == "all" then return normed(m, record, x) end
  local width = heads * spec.head_dim
  local each = x:reshape(-1, heads, spec.head_dim)
  if spec.qk_norm == "each" then
    local plain = normed(m, { bias = nil }, each)
    return plain:reshape(-1, width) * record.weight:reshape(width)
  end
  return normed(m, record, each):reshape(-1, width)
end

-- The three of a matrix that holds the heads' q, k, v one head after the other.
local function split_by_head(spec, qkv)
  local d = spec.head_dim
  local heads, parts = qkv:reshape(-1, spec.heads, 3 * d), {}
  for i = 1, 3 do
    parts[i] = heads:slice(3, (i - 1) * d + 1, i * d):reshape(-1, spec.heads * d)
  end
  return table.unpack(parts)
end

local function queries_keys_values(m, layer, n, opts)
  local spec = m.spec
  if not layer.qkv then
    return project(layer.q, n, opts), project(layer.k, n, opts), project(layer.v, n, opts)
  end
  local qkv = project(layer.qkv, n, opts)
  if spec.qkv_by_head then return split_by_head(spec, qkv) end
  local q, kv = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
  return qkv:slice(2, 1, q), qkv:slice(2, q + 1, q + kv), qkv:slice(2, q + kv + 1, q + 2 * kv)
end

local function turned(layer, x, batch)
  local rope = layer.rope
  return rope and core.rope(x, batch.positions, rope.frequencies, rope.options) or x
end

-- Whether one projection makes queries, keys and values side by side as attention reads them.
local function side_by_side(m, layer, opts)
  local spec = m.spec
  local plain = not (spec.qkv_by_head or spec.qkv_clip or layer.rope)
  return layer.qkv and plain and not (layer.q_norm or layer.k_norm or opts.caches)
end

-- Queries and keys under their norms and turned, and values; or all of them side by side.
local function attention_inputs(m, layer, n, batch, opts)
  local spec = m.spec
  if side_by_side(m, layer, opts) then return project(layer.qkv, n, opts) end
  local q, k, v = queries_keys_values(m, layer, n, opts)
  if spec.qkv_clip then
    local bounds = { min = -spec.qkv_clip, max = spec.qkv_clip }
    q, k, v = core.clamp(q, bounds), core.clamp(k, bounds), core.clamp(v, bounds)
  end
  q = turned(layer, head_normed(m, layer.q_norm, q, spec.heads), batch)
  return q, turned(layer, head_normed(m, layer.k_norm, k, spec.kv_heads), batch), v
end

local function attention(m, i, q, k, v, batch, opts)
  local layer, caches, distinct = m.layers[i], opts.caches, batch.distinct
  if distinct then
    local places = distinct.places
    q = core.gather(q, places)
    if k then
      k, v = core.gather(k, places), core.gather(v, places)
    end
  end
  if not caches then return core.attention(q, k, v, batch.offsets, layer.attention) end
  return core.attention_cached(
    q,
    k,
    v,
    batch.offsets,
    caches[2 * i - 1],
    caches[2 * i],
    batch.blocks,
    batch.past,
    layer.attention
  )
end

local activations = {
  silu = function(x, precision) return core.silu(x, { precision = precision }) end,
  relu = function(x) return core.relu(x) end,
  gelu = function(x, precision)
    return core.gelu(x, { approximate = "none", precision = precision })
  end,
  gelu_tanh = function(x, precision)
    return core.gelu(x, { approximate = "tanh", precision = precision })
  end,
}

local function gate_and_up(m, layer, n, opts)
  if layer.gate then return project(layer.gate, n, opts), project(layer.up, n, opts) end
  local both, f = project(layer.gate_up, n, opts), m.spec.mlp_width
  return both:slice(2, 1, f), both:slice(2, f + 1, 2 * f)
end

local function mlp(m, layer, n, opts)
  local act, precision = activations[m.spec.activation], beside_products(m)
  if not (layer.gate or layer.gate_up) then return act(project(layer.up, n, opts), precision) end
  local gate, up = gate_and_up(m, layer, n, opts)
  if m.spec.activation ~= "silu" then return act(gate, precision) * up end
  return core.swiglu(gate, up, { precision = precision })
end

--- x + y, with what the spec does to what a branch gives.
local function added(m, x, y, post_norm, dropout, i, place)
  y = dropped(normed(m, post_norm, y), dropout, i, place)
  local factor = m.factors.residual_factor
  return x + (factor and y * factor or y)
end

-- The rows of attention's result, and of others, that the rest of a block is done for. Of the last
-- block only attention reads other rows than its own: what comes after it is done for the rows
-- that are read alone.
local function rows_after(m, i, batch, opts, y, ...)
  local distinct = batch.distinct
  local read = opts.rows and i == #m.layers and opts.rows
  if not read then return distinct and core.gather(y, distinct.rows) or y, ... end
  local places, others = distinct and core.gather(distinct.places, read) or read, { ... }
  for n = 1, #others do
    others[n] = core.gather(others[n], places)
  end
  return core.gather(y, read), table.unpack(others)
end

local function narrow_block(m, i, x, batch, opts)
  local frame <close> = core.frame("decoder.block")
  local layer = m.layers[i]
  local q, k, v = narrow.queries_keys_values(layer, x, batch.positions)
  local y = attention(m, i, q, k, v, batch, opts)
  y, x = rows_after(m, i, batch, opts, y, x)
  return narrow.result(layer, x, y):keep()
end

local function block(m, i, x, batch, opts)
  local layer, dropout = m.layers[i], opts.dropout
  if layer.narrow and not dropout then return narrow_block(m, i, x, batch, opts) end
  local frame <close> = core.frame("decoder.block")
  local n = normed(m, layer.attention_norm, x)
  local q, k, v = attention_inputs(m, layer, n, batch, opts)
  local y = attention(m, i, q, k, v, batch, opts)
  y, x, n = rows_after(m, i, batch, opts, y, x, m.spec.parallel and n or nil)
  y = project(layer.o, y, opts)
  local sum = added(m, x, y, layer.attention_post_norm, dropout, i, 1)
  sum = normed(m, layer.attention_last_norm, sum)
  if not m.spec.parallel then
    n = normed(m, layer.mlp_norm, sum)
  elseif layer.mlp_norm then
    n = normed(m, layer.mlp_norm, x)
  end
  y = project(layer.down, mlp(m, layer, n, opts), opts)
  sum = added(m, sum, y, layer.mlp_post_norm, dropout, i, 2)
  return normed(m, layer.mlp_last_norm, sum):keep()
end

local function embedded(m, batch, opts)
  local spec, parts, factor = m.spec, m.parts, m.factors.embedding_factor
  local x = core.embedding(parts.embedding.weight, batch.tokens)
  if factor then x = x * factor end
  if parts.project_in then x = project(parts.project_in, x, opts) end
  if parts.positions then
    local rows, first = parts.positions.weight, spec.position_offset
    if first then rows = rows:slice(1, first + 1, first + spec.context) end
    x = x + core.embedding(rows, batch.positions)
  end
  return x
end

-- Rotary frequencies that hold for so many positions alone.
local function check_lengths(m, batch)
  local longest = m.spec.longest
  local offsets = longest and batch.offsets:totable() or {}
  for b = 1, #offsets - 1 do
    if offsets[b + 1] - offsets[b] > longest then
      error(
        ("a sequence has %d tokens; the rotary positions of this model hold for %d"):format(
          offsets[b + 1] - offsets[b],
          longest
        ),
        0
      )
    end
  end
end

-- What a block makes of a part of a batch in its widest place, in numbers: half a core's cache.
local PART_NUMBERS <const> = 1 << 19
-- Tokens of a part at least. Fewer would not pay: each part packs the weights, and adds to their
-- gradients, anew.
local LEAST_PART <const> = 512

-- The tokens of a part, when the batch is to go through the blocks in parts: where a tape keeps
-- what they make, in bfloat16, whose products would wait for memory. Draws of dropout belong to all
-- rows.
local function part_tokens(m, batch, opts)
  if m.precision ~= "bf16" or opts.caches or opts.dropout or opts.rows then return nil end
  local tokens = PART_NUMBERS // math.max(m.spec.width, m.spec.mlp_width)
  return tokens >= LEAST_PART and batch.count > tokens and core.grad_enabled() and tokens or nil
end

-- Sequences first to last - 1 of a batch with these offsets.
local function part_of(batch, offsets, first, last)
  local from, own = offsets[first], {}
  for b = first, last do
    own[#own + 1] = offsets[b] - from
  end
  local count = offsets[last] - from
  return {
    tokens = batch.tokens:view({ count }, from),
    positions = batch.positions:view({ count }, from),
    offsets = core.tensor(own, "int32"),
  }
end

-- The most rows, of all, that are done apart from their copies: with more it would not pay to bring
-- keys, queries and values to their places.
local MOST_DISTINCT <const> = 0.9

-- How many rows of each sequence are done when it stands behind the one before: those that are not
-- in both.
local function rows_done(batch, offsets)
  local rows, counts = core.ragged.distinct(batch.tokens, batch.offsets), {}
  if #rows > MOST_DISTINCT * batch.count then rows = nil end
  local places, at = rows and rows:totable(), 1
  for b = 1, #offsets - 1 do
    counts[b] = offsets[b + 1] - offsets[b]
    if places then
      local first = at
      while places[at] and places[at] < offsets[b + 1] do
        at = at + 1
      end
      counts[b] = at - first
    end
  end
  return counts
end

-- Parts of at most `tokens` rows that are done, but for longer sequences.
local function parts_of(batch, tokens)
  local offsets, parts, first = batch.offsets:totable(), {}, 1
  local done = rows_done(batch, offsets)
  local rows = offsets[2]
  for b = 2, #offsets do
    if b == #offsets or rows + done[b] > tokens then
      parts[#parts + 1], first, rows = part_of(batch, offsets, first, b), b, 0
    end
    if b < #offsets then rows = rows + (b == first and offsets[b + 1] - offsets[b] or done[b]) end
  end
  return parts
end

-- Rows of all, one after the other; concat takes eight at a time.
local function joined(all)
  while #all > 1 do
    local fewer = {}
    for i = 1, #all, 8 do
      fewer[#fewer + 1] = core.concat(table.move(all, i, math.min(i + 7, #all), 1, {}))
    end
    all = fewer
  end
  return all[1]
end

local through -- below

--- Final hidden states. For a model that predicts tokens they are such that logits are their
-- product with the head, under the bound of logits if there is one.
-- @tparam Model m
-- @tparam table batch see perilune.data.batch
-- @tparam table opts `dropout`, `checkpoint`, `caches`, `rows`
-- @treturn Tensor [T, C], or [N, C] of the N `rows`
function decoder.hidden(m, batch, opts)
  if not opts.caches then check_lengths(m, batch) end
  local tokens = part_tokens(m, batch, opts)
  if not tokens then return through(m, batch, opts) end
  local all, parts = {}, parts_of(batch, tokens)
  for i = #parts, 1, -1 do -- so that gradients add up from the first row on
    all[i] = through(m, parts[i], opts)
  end
  return joined(all)
end

-- Sequences that begin alike, as answers to one prompt do, have the same rows there: those are done
-- once for all neighbours. Attention alone is given every sequence whole.
local function without_repeats(batch, opts)
  if opts.caches or opts.dropout or #batch.offsets < 3 then return batch end
  local rows, places = core.ragged.distinct(batch.tokens, batch.offsets)
  if #rows > MOST_DISTINCT * #places then return batch end
  local positions = core.gather(batch.positions, rows)
  local again = core.gather(positions, places) -- of a batch whose sequences begin elsewhere
  if again:bytes() ~= batch.positions:bytes() then return batch end
  return {
    tokens = core.gather(batch.tokens, rows),
    positions = positions,
    offsets = batch.offsets,
    distinct = { rows = rows, places = places },
  }
end

function through(m, batch, opts)
  batch = without_repeats(batch, opts)
  local x = embedded(m, batch, opts)
  for i = 1, #m.layers do
    if opts.checkpoint then
      x = core.checkpoint(function(h) return block(m, i, h, batch, opts) end, x)
    else
      x = block(m, i, x, batch, opts)
    end
  end
  x = normed(m, m.parts.norm, x)
  if m.parts.project_out then x = project(m.parts.project_out, x, opts) end
  local factor = m.factors.logits_factor
  if factor and not m.config.scalar_head then x = x * factor end
  if batch.distinct and not opts.rows then x = core.gather(x, batch.distinct.places) end
  return x
end

--- Room for keys and values.
-- @tparam Model m
-- @tparam integer blocks
-- @tparam integer len positions of a block, a multiple of 64
-- @treturn {Tensor,...} k and v of each layer
function decoder.caches(m, blocks, len)
  local spec, list = m.spec, {}
  local width = spec.head_dim
  if m.precision == "bf16" then width = (width + 1) // 2 end -- two numbers a word
  for i = 1, 2 * spec.layers do
    list[i] = core.zeros({ blocks, spec.kv_heads, len, width }, m.dtype)
  end
  return list
end

return decoder
