--- Every op once more, in plain Lua: slow, obvious, and independent of the engine.
--
-- An array is a flat list in row-major order with a field `shape`. A reference function takes the
-- list of inputs (false where an optional one is absent) and the parameters as Lua gives them to
-- the op (axes count from 1), and returns one array for each output. Offsets, rows and ids count
-- from 0, as they do in the engine.
--
-- The fused losses are not here: their twins in the library serve instead.

local ref = {}

local function product(shape, from, to)
  local n = 1
  for i = from or 1, to or #shape do
    n = n * shape[i]
  end
  return n
end

local function new(shape, value)
  local a = { shape = shape }
  for i = 1, product(shape) do
    a[i] = value
  end
  return a
end

local function copy_shape(a) return table.move(a.shape, 1, #a.shape, 1, {}) end

-- ---- one input ----------------------------------------------------------------------------------

local function unary(f)
  return function(inputs, params)
    local x = inputs[1]
    local y = { shape = copy_shape(x) }
    for i = 1, #x do
      y[i] = f(x[i], params)
    end
    return { y }
  end
end

local function sigmoid(x) return 1 / (1 + math.exp(-x)) end

local function tanh(x)
  local e = math.exp(-2 * math.abs(x))
  local t = (1 - e) / (1 + e)
  return x < 0 and -t or t
end

--- erf by the series 2/sqrt(pi) e^(-x^2) sum 2^n x^(2n+1) / (2n+1)!!, whose terms are all positive.
local function erf(x)
  if math.abs(x) > 6 then return x > 0 and 1.0 or -1.0 end
  local term, sum, n = x, x, 0
  while math.abs(term) > 1e-18 * math.abs(sum) do
    n = n + 1
    term = term * 2 * x * x / (2 * n + 1)
    sum = sum + term
  end
  return 2 / math.sqrt(math.pi) * math.exp(-x * x) * sum
end

ref.neg = unary(function(x) return -x end)
ref.exp = unary(math.exp)
ref.log = unary(function(x) return math.log(x) end) -- a second argument would be the base
ref.sqrt = unary(math.sqrt)
ref.square = unary(function(x) return x * x end)
ref.abs = unary(math.abs)
ref.sigmoid = unary(sigmoid)
ref.log_sigmoid = unary(function(x) return math.log(sigmoid(x)) end)
ref.tanh = unary(tanh)
ref.relu = unary(function(x) return math.max(x, 0) end)
ref.softcap = unary(function(x, params) return params.cap * tanh(x / params.cap) end)
ref.silu = unary(function(x) return x * sigmoid(x) end)
ref.gelu = unary(function(x, params)
  if params.approximate == "tanh" then
    return 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ^ 3)))
  end
  return 0.5 * x * (1 + erf(x / math.sqrt(2)))
end)
ref.clamp = unary(
  function(x, params)
    return math.min(math.max(x, params.min or -math.huge), params.max or math.huge)
  end
)

-- ---- two and three inputs, broadcast ------------------------------------------------------------

--- f over the broadcast of the inputs: each element of the output finds its own places.
local function broadcast(f)
  return function(inputs)
    local rank = 0
    for _, a in ipairs(inputs) do
      rank = math.max(rank, #a.shape)
    end
    local shape = {}
    for i = 1, rank do
      shape[i] = 1
      for _, a in ipairs(inputs) do
        local n = a.shape[i - (rank - #a.shape)] or 1
        if n ~= 1 then shape[i] = n end
      end
    end
    local y = { shape = shape }
    for place = 1, product(shape) do
      local rest, index, values = place - 1, {}, {}
      for i = rank, 1, -1 do
        index[i] = rest % shape[i]
        rest = rest // shape[i]
      end
      for k, a in ipairs(inputs) do
        local at = 0
        for i, n in ipairs(a.shape) do
          at = at * n + (n == 1 and 0 or index[i + rank - #a.shape])
        end
        values[k] = a[at + 1]
      end
      y[place] = f(table.unpack(values))
    end
    return { y }
  end
end

local function truth(f)
  return broadcast(function(a, b) return f(a, b) and 1.0 or 0.0 end)
end

ref.add = broadcast(function(a, b) return a + b end)
ref.sub = broadcast(function(a, b) return a - b end)
ref.mul = broadcast(function(a, b) return a * b end)
ref.div = broadcast(function(a, b) return a / b end)
ref.pow = broadcast(function(a, b) return a ^ b end)
ref.maximum = broadcast(math.max)
ref.minimum = broadcast(math.min)
ref.eq = truth(function(a, b) return a == b end)
ref.lt = truth(function(a, b) return a < b end)
ref.le = truth(function(a, b) return a <= b end)
ref.gt = truth(function(a, b) return a > b end)
ref.ge = truth(function(a, b) return a >= b end)
ref.where = broadcast(function(cond, a, b) return cond ~= 0 and a or b end)
ref.swiglu = broadcast(function(gate, up) return gate * sigmoid(gate) * up end)

-- ---- products -----------------------------------------------------------------------------------

function ref.matmul(inputs, params)
  local a, b = inputs[1], inputs[2]
  local function sizes(t, transposed)
    local r, c = t.shape[#t.shape - 1], t.shape[#t.shape]
    return transposed and c or r, transposed and r or c, product(t.shape, 1, #t.shape - 2)
  end
  local m, k, a_batch = sizes(a, params.transpose_a)
  local _, n, b_batch = sizes(b, params.transpose_b)
  local batch = math.max(a_batch, b_batch)
  if #a.shape > 2 or #b.shape > 2 then batch = #a.shape > 2 and a_batch or b_batch end
  local shape = copy_shape(#a.shape >= #b.shape and a or b)
  shape[#shape - 1], shape[#shape] = m, n
  local y = { shape = shape }
  for g = 0, batch - 1 do
    local a0 = #a.shape > 2 and g * m * k or 0
    local b0 = #b.shape > 2 and g * k * n or 0
    for i = 0, m - 1 do
      for j = 0, n - 1 do
        local sum = 0.0
        for l = 0, k - 1 do
          local left = a[1 + a0 + (params.transpose_a and l * m + i or i * k + l)]
          local right = b[1 + b0 + (params.transpose_b and j * k + l or l * n + j)]
          sum = sum + left * right
        end
        y[#y + 1] = sum
      end
    end
  end
  return { y }
end

--- The bfloat16 next to a float32 number, ties to even.
local function bf16(v)
  local bits = string.unpack("<I4", string.pack("<f", v))
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000
  return (string.unpack("<f", string.pack("<I4", bits)))
end

local function rounded(array)
  local list = {}
  for i, v in ipairs(array) do
    list[i] = bf16(v)
  end
  list.shape = array.shape
  return list
end

function ref.linear(inputs, params)
  local x, w, b = inputs[1], inputs[2], inputs[3]
  if params.precision == "bf16" then
    x, w = rounded(x), rounded(w)
  end
  local shape, n, k = copy_shape(x), w.shape[1], w.shape[2]
  shape[#shape] = n
  local y = { shape = shape }
  for r = 0, product(x.shape, 1, #x.shape - 1) - 1 do
    for j = 0, n - 1 do
      local sum = b and b[j + 1] or 0.0
      for l = 1, k do
        sum = sum + x[r * k + l] * w[j * k + l]
      end
      y[#y + 1] = sum
    end
  end
  return { y }
end

-- ---- rows ---------------------------------------------------------------------------------------

--- f(row, write) for each row along the last axis; f returns the new row.
local function by_rows(f)
  return function(inputs, params)
    local x = inputs[1]
    local c = x.shape[#x.shape]
    local y = { shape = copy_shape(x) }
    for at = 1, #x, math.max(c, 1) do
      table.move(f(table.move(x, at, at + c - 1, 1, {}), inputs, params), 1, c, at, y)
    end
    return { y }
  end
end

local function sum_of(row, f)
  local sum = 0.0
  for i, v in ipairs(row) do
    sum = sum + (f and f(v, i) or v)
  end
  return sum
end

local function map(row, f)
  local out = {}
  for i, v in ipairs(row) do
    out[i] = f(v, i)
  end
  return out
end

ref.rmsnorm = by_rows(function(row, inputs, params)
  local mean = sum_of(row, function(v) return v * v end) / #row
  local scale = 1 / math.sqrt(mean + (params.eps or 1e-5))
  local function factor(i) return inputs[2] and inputs[2][i] + (params.offset or 0) or 1 end
  return map(row, function(v, i) return factor(i) * v * scale end)
end)

ref.layernorm = by_rows(function(row, inputs, params)
  local mean = sum_of(row) / #row
  local var = sum_of(row, function(v) return (v - mean) ^ 2 end) / #row
  local scale = 1 / math.sqrt(var + (params.eps or 1e-5))
  local function at(k, i, absent) return inputs[k] and inputs[k][i] or absent end
  return map(row, function(v, i) return at(2, i, 1) * (v - mean) * scale + at(3, i, 0) end)
end)

ref.softmax = by_rows(function(row)
  local top = math.max(table.unpack(row))
  local sum = sum_of(row, function(v) return math.exp(v - top) end)
  return map(row, function(v) return math.exp(v - top) / sum end)
end)

ref.log_softmax = by_rows(function(row)
  local top = math.max(table.unpack(row))
  local sum = sum_of(row, function(v) return math.exp(v - top) end)
  return map(row, function(v) return v - top - math.log(sum) end)
end)

-- ---- positions and attention --------------------------------------------------------------------

function ref.rope(inputs, params)
  local x, positions, inv_freq = inputs[1], inputs[2], inputs[3]
  local width, scale = x.shape[2], params.scale or 1
  local dim = (params.head_dim or 0) ~= 0 and params.head_dim or width
  local rotary = (params.rotary_dim or 0) ~= 0 and params.rotary_dim or dim
  local y = table.move(x, 1, #x, 1, { shape = copy_shape(x) })
  for t = 0, x.shape[1] - 1 do
    for head = 0, width // dim - 1 do
      for i = 0, rotary // 2 - 1 do
        local frequency = inv_freq and inv_freq[i + 1]
          or (params.theta or 10000) ^ (-2 * i / rotary)
        local angle = positions[t + 1] * frequency
        local at = t * width + head * dim + 1
        local first = at + (params.interleaved and 2 * i or i)
        local second = params.interleaved and first + 1 or first + rotary // 2
        y[first] = scale * (x[first] * math.cos(angle) - x[second] * math.sin(angle))
        y[second] = scale * (x[second] * math.cos(angle) + x[first] * math.sin(angle))
      end
    end
  end
  return { y }
end

-- Columns [from, from + width) of a matrix.
local function columns_of(x, from, width)
  local part = { shape = { x.shape[1], width } }
  for row = 0, x.shape[1] - 1 do
    local first = row * x.shape[2] + from + 1
    table.move(x, first, first + width - 1, row * width + 1, part)
  end
  return part
end

-- precision bf16 is written out for sequences that are one tile of keys: weights are rounded beside
-- the greatest score of their tile.
function ref.attention(inputs, params)
  local q, k, v, offsets = inputs[1], inputs[2], inputs[3], inputs[4]
  local heads = params.heads or 1
  local kv_heads = (params.kv_heads or 0) ~= 0 and params.kv_heads or heads
  if not k then
    local width = q.shape[2] // (heads + 2 * kv_heads)
    k = columns_of(q, heads * width, kv_heads * width)
    v = columns_of(q, (heads + kv_heads) * width, kv_heads * width)
    q = columns_of(q, 0, heads * width)
  end
  local dim = q.shape[2] // heads
  local scale = (params.scale or 0) ~= 0 and params.scale or 1 / math.sqrt(dim)
  local window, cap = params.window or 0, params.softcap or 0
  local round = params.precision == "bf16" and bf16 or function(x) return x end
  local y = new(copy_shape(q), 0.0)
  for b = 1, #offsets - 1 do
    for t = offsets[b], offsets[b + 1] - 1 do
      for head = 0, heads - 1 do
        local group = head // (heads // kv_heads)
        local at = t * heads * dim + head * dim
        local function key_place(s) return s * kv_heads * dim + group * dim end
        local score, from = {}, offsets[b]
        if window > 0 then from = math.max(from, t - window + 1) end
        for s = from, t do
          local dot = 0.0
          for d = 1, dim do
            dot = dot + round(q[at + d] * scale) * round(k[key_place(s) + d])
          end
          score[#score + 1] = cap > 0 and cap * tanh(dot / cap) or dot
        end
        local top = math.max(table.unpack(score))
        local sum = sum_of(score, function(z) return math.exp(z - top) end)
        for i, z in ipairs(score) do
          for d = 1, dim do
            local value = round(v[key_place(from + i - 1) + d])
            y[at + d] = y[at + d] + round(math.exp(z - top)) / sum * value
          end
        end
      end
    end
  end
  return { y }
end

--- With an empty cache it is attention; ops_spec uses it in no other way.
function ref.attention_cached(inputs, params)
  return ref.attention({ inputs[1], inputs[2], inputs[3], inputs[4] }, params)
end

-- ---- moving -------------------------------------------------------------------------------------

function ref.gather(inputs)
  local x, rows = inputs[1], inputs[2]
  local shape, width = copy_shape(x), product(x.shape, 2)
  shape[1] = #rows
  local y = { shape = shape }
  for i, row in ipairs(rows) do
    table.move(x, row * width + 1, (row + 1) * width, (i - 1) * width + 1, y)
  end
  return { y }
end

ref.embedding = ref.gather

function ref.pick(inputs)
  local x, columns = inputs[1], inputs[2]
  local y = { shape = { x.shape[1] } }
  for i, column in ipairs(columns) do
    y[i] = x[(i - 1) * x.shape[2] + column + 1]
  end
  return { y }
end

function ref.reshape(inputs, params)
  local x = inputs[1]
  local shape, open, known = {}, nil, 1
  for i, n in ipairs(params.shape) do
    shape[i] = n
    if n == -1 then
      open = i
    else
      known = known * n
    end
  end
  if open then shape[open] = #x // known end
  return { table.move(x, 1, #x, 1, { shape = shape }) }
end

function ref.transpose(inputs, params)
  local x = inputs[1]
  local function axis(given) return given < 0 and given + #x.shape + 1 or given end
  local a, b = axis(params.a or -2), axis(params.b or -1)
  local shape, stride = copy_shape(x), {}
  shape[a], shape[b] = shape[b], shape[a]
  for i = #x.shape, 1, -1 do
    stride[i] = (stride[i + 1] or 1) * (x.shape[i + 1] or 1)
  end
  stride[a], stride[b] = stride[b], stride[a]
  local y = { shape = shape }
  for place = 1, #x do
    local rest, at = place - 1, 1
    for i = #shape, 1, -1 do
      at = at + rest % shape[i] * stride[i]
      rest = rest // shape[i]
    end
    y[place] = x[at]
  end
  return { y }
end

--- before, size, after around an axis counted from 1 (or -1 from the end).
local function split(x, axis)
  if axis < 0 then axis = axis + #x.shape + 1 end
  return product(x.shape, 1, axis - 1), x.shape[axis], product(x.shape, axis + 1), axis
end

function ref.t(inputs) return ref.transpose(inputs, {}) end

function ref.view(inputs, params)
  local x, n, open = inputs[1], 1, nil
  local shape, offset = table.move(params.shape, 1, #params.shape, 1, {}), params.offset or 0
  for i, size in ipairs(shape) do
    if size == -1 then
      open = i
    else
      n = n * size
    end
  end
  if open then shape[open] = (#x - offset) // n end
  return { table.move(x, offset + 1, offset + product(shape), 1, { shape = shape }) }
end

function ref.slice(inputs, params)
  local x = inputs[1]
  local before, size, after, axis = split(x, params.axis or 1)
  local shape = copy_shape(x)
  shape[axis] = (params.stop or size) - params.start + 1
  local y = { shape = shape }
  for b = 0, before - 1 do
    local from = (b * size + params.start - 1) * after
    table.move(x, from + 1, from + shape[axis] * after, #y + 1, y)
  end
  return { y }
end

function ref.concat(inputs, params)
  local before, _, after, axis = split(inputs[1], params.axis or 1)
  local shape = copy_shape(inputs[1])
  shape[axis] = 0
  for _, x in ipairs(inputs) do
    shape[axis] = shape[axis] + x.shape[axis]
  end
  local y = { shape = shape }
  for b = 0, before - 1 do
    for _, x in ipairs(inputs) do
      local run = x.shape[axis] * after
      table.move(x, b * run + 1, (b + 1) * run, #y + 1, y)
    end
  end
  return { y }
end

function ref.cast(inputs, params)
  local x = inputs[1]
  local y = { shape = copy_shape(x) }
  for i, v in ipairs(x) do
    y[i] = params.dtype == "float64" and v or string.unpack("f", string.pack("f", v))
  end
  return { y }
end

-- ---- reductions ---------------------------------------------------------------------------------

local function reduction(f)
  return function(inputs, params)
    local x, shape = inputs[1], {}
    local before, size, after, axis = 1, #x, 1, nil
    if params.axis then
      before, size, after, axis = split(x, params.axis)
    end
    for i, n in ipairs(x.shape) do
      if axis and i ~= axis then
        shape[#shape + 1] = n
      elseif params.keepdim then
        shape[#shape + 1] = 1
      end
    end
    local y = { shape = shape }
    for b = 0, before - 1 do
      for a = 1, after do
        local run = {}
        for s = 0, size - 1 do
          run[s + 1] = x[(b * size + s) * after + a]
        end
        y[#y + 1] = f(run)
      end
    end
    return { y }
  end
end

ref.sum = reduction(sum_of)
ref.mean = reduction(function(run) return sum_of(run) / #run end)
ref.max = reduction(function(run) return math.max(table.unpack(run)) end)
ref.min = reduction(function(run) return math.min(table.unpack(run)) end)

local function variance(run, correction)
  local mean, sum, left = sum_of(run) / #run, 0, #run - (correction or 1)
  for _, v in ipairs(run) do
    sum = sum + (v - mean) ^ 2
  end
  return left > 0 and sum / left or 0 / 0
end

function ref.var(inputs, params)
  return reduction(function(run) return variance(run, params.correction) end)(inputs, params)
end

function ref.std(inputs, params)
  return reduction(function(run) return math.sqrt(variance(run, params.correction)) end)(
    inputs,
    params
  )
end

local function place_of(better)
  return function(inputs, params)
    local y = reduction(function(run)
      local best = 1
      for i, v in ipairs(run) do
        if better(v, run[best]) then best = i end
      end
      return best - 1 + (params.first or 1)
    end)(inputs, params)
    return y
  end
end

ref.argmax = place_of(function(a, b) return a > b end)
ref.argmin = place_of(function(a, b) return a < b end)

-- The first k along the axis in order: selected one after the other.
local function ordered(x, axis, k, better, first)
  local before, size, after, n = split(x, axis)
  local values = { shape = copy_shape(x) }
  values.shape[n] = k or size
  local places = { shape = copy_shape(values) }
  for b = 0, before - 1 do
    for a = 1, after do
      local taken = {}
      for i = 0, values.shape[n] - 1 do
        local best
        for s = 0, size - 1 do
          local v = x[(b * size + s) * after + a]
          if not taken[s] and (not best or better(v, x[(b * size + best) * after + a])) then
            best = s
          end
        end
        taken[best] = true
        local at = (b * values.shape[n] + i) * after + a
        values[at], places[at] = x[(b * size + best) * after + a], best + (first or 1)
      end
    end
  end
  return { values, places }
end

local function larger(a, b) return a > b end
local function smaller(a, b) return a < b end

function ref.sort(inputs, params)
  local better = params.descending and larger or smaller
  return ordered(inputs[1], params.axis or -1, nil, better, params.first)
end

function ref.topk(inputs, params)
  local better = params.largest == false and smaller or larger
  return ordered(inputs[1], params.axis or -1, params.k or 1, better, params.first)
end

local function by_segments(mean)
  return function(inputs)
    local x, offsets = inputs[1], inputs[2]
    local shape, width = copy_shape(x), product(x.shape, 2)
    shape[1] = #offsets - 1
    local y = new(shape, 0.0)
    for b = 1, #offsets - 1 do
      local n = offsets[b + 1] - offsets[b]
      for row = offsets[b], offsets[b + 1] - 1 do
        for i = 1, width do
          local at = (b - 1) * width + i
          y[at] = y[at] + x[row * width + i] / (mean and n or 1)
        end
      end
    end
    return { y }
  end
end

ref.segment_sum = by_segments(false)
ref.segment_mean = by_segments(true)

function ref.segment_repeat(inputs)
  local x, offsets = inputs[1], inputs[2]
  local shape, width = copy_shape(x), product(x.shape, 2)
  shape[1] = offsets[#offsets]
  local y = { shape = shape }
  for b = 1, #offsets - 1 do
    for _ = offsets[b], offsets[b + 1] - 1 do
      table.move(x, (b - 1) * width + 1, b * width, #y + 1, y)
    end
  end
  return { y }
end

function ref.reverse_scan(inputs, params)
  local x, offsets = inputs[1], inputs[2]
  local y = { shape = copy_shape(x) }
  for b = 1, #offsets - 1 do
    local sum = 0.0
    for t = offsets[b + 1], offsets[b] + 1, -1 do
      sum = x[t] + (params.decay or 1) * sum
      y[t] = sum
    end
  end
  return { y }
end

return ref
