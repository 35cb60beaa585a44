--- What every op is tried on: ops_spec.lua fails for a row of ops.def that has no entry here.
--
-- An entry is a list of cases with a few fields that hold for all of them:
--   case:  inputs (specs, made below; false for an absent optional one), params, and `big` for one
--          large enough to be shared among threads (compared bit for bit, not differentiated);
--          `float32`: the case is no call of float64
--   entry: rowwise   inputs whose first axis is rows, where rows are independent of each other; a
--                    case may say otherwise
--          flat      true when every element is independent of the others
--          outputs   how many outputs carry gradients (default all)
--          exact     float32 must equal the reference after rounding, bit for bit
--          bad       calls that must fail: { inputs, params, pieces of the message... }
--
-- Values are made to be float32 numbers, the same for both dtypes, and kept away from kinks by much
-- more than the step of the numeric derivative. The rows of the fused losses are in
-- op_cases_fused.lua.

-- ---- specs of inputs ----------------------------------------------------------------------------

local function spec(fill)
  return function(...) return { fill = fill, shape = { ... } } end
end

local normal = spec("normal") -- N(0, 1)
local positive = spec("positive") -- from 0.5 to 2.5
local steps = spec("steps") -- distinct multiples of 1/8, in random order
local between = spec("between") -- the same, moved by 1/16: never nearer than that to `steps`
local bits = spec("bits") -- 0 and 1

--- Normal values moved away from each kink, to both sides, by 0.1.
local function apart(kinks, ...) return { fill = "apart", kinks = kinks, shape = { ... } } end

local function ints(...)
  local values = { ... }
  return { fill = "ints", shape = { #values }, values = values }
end

local function list(...)
  local values = { ... }
  return { fill = "list", shape = { #values }, values = values }
end

--- n row numbers, each below limit, with repeats.
local function ids(n, limit)
  local values = {}
  for i = 1, n do
    values[i] = (i * 7 + i * i * 3) % limit
  end
  return { fill = "ints", shape = { n }, values = values }
end

--- The very tensor of input k once more.
local function same(k) return { same = k } end

local function const(s)
  s.const = true
  return s
end

--- Offsets of segments of these lengths.
local function lengths(...)
  local values = { 0 }
  for i, n in ipairs { ... } do
    values[i + 1] = values[i] + n
  end
  return { fill = "ints", shape = { #values }, values = values }
end

local cases = {}

-- ---- one input ----------------------------------------------------------------------------------

local function unary(name, make, params)
  cases[name] = {
    flat = true,
    { inputs = { make(0) }, params = params },
    { inputs = { make() }, params = params },
    { inputs = { make(1) }, params = params },
    { inputs = { make(7) }, params = params },
    { inputs = { make(3, 17) }, params = params },
    { inputs = { make(2, 1, 16) }, params = params },
    { inputs = { make(2, 0, 3) }, params = params },
    { inputs = { make(131, 197) }, params = params, big = true },
  }
  return cases[name]
end

local function add_cases(name, ...)
  for _, case in ipairs { ... } do
    table.insert(cases[name], case)
  end
end

local smooth = { "neg", "exp", "square", "sigmoid", "log_sigmoid", "tanh", "silu", "gelu" }
for _, name in ipairs(smooth) do
  unary(name, normal)
end
unary("log", positive)
unary("sqrt", positive)
unary("softcap", normal, { cap = 1.5 })
add_cases(
  "softcap",
  { inputs = { normal(33) }, params = { cap = 0.3 } },
  { inputs = { normal(33) }, params = { cap = 1000 } }
)
cases.softcap.bad = {
  { { normal(2) }, nil, "cap is 0" },
  { { normal(2) }, { cap = -2 }, "cap is -2" },
}
unary("relu", function(...) return apart({ 0 }, ...) end)
unary("abs", function(...) return apart({ 0 }, ...) end)
unary("clamp", function(...) return apart({ -0.5, 0.75 }, ...) end, { min = -0.5, max = 0.75 })
add_cases(
  "gelu",
  { inputs = { normal(19) }, params = { approximate = "tanh" } },
  { inputs = { normal(131, 197) }, params = { approximate = "tanh" }, big = true }
)
add_cases(
  "clamp",
  { inputs = { apart({ 0.25 }, 9) }, params = { min = 0.25 } },
  { inputs = { apart({ 0.25 }, 9) }, params = { max = 0.25 } },
  { inputs = { normal(9) } }
)
cases.gelu.bad = { { { normal(2) }, { approximate = "tan" }, "approximate", "tan" } }
cases.silu.bad = { { { normal(2) }, { precision = "bf17" }, "precision", "bf17" } }
cases.clamp.bad = { { { normal(2) }, { min = 1, max = 0 }, "min 1", "max 0" } }

-- ---- two and three inputs -----------------------------------------------------------------------

local function binary(name, first, second)
  cases[name] = {
    flat = true,
    bad = {
      { { normal(2, 3), normal(4) }, nil, "[2,3]", "[4]" },
      { { normal(2, 3), normal(3, 2) }, nil, "[2,3]", "[3,2]" },
    },
    { inputs = { first(0), second(0) } },
    { inputs = { first(), second() } },
    { inputs = { first(1), second(1) } },
    { inputs = { first(7), second(7) } },
    { inputs = { first(3, 17), second(3, 17) } },
    { inputs = { first(3, 17), second() } },
    { inputs = { first(), second(3, 5) } },
    { inputs = { first(3, 17), second(17) } },
    { inputs = { first(5), second(4, 5) } },
    { inputs = { first(3, 5), second(3, 1) } },
    { inputs = { first(3, 1), second(1, 5) } },
    { inputs = { first(2, 1, 3, 1), second(5, 1, 4) } },
    { inputs = { first(2, 3, 1, 2), second(3, 2, 1) } },
    { inputs = { first(0, 3), second(1, 3) } },
    { inputs = { first(2, 1), second(2, 0) } },
    { inputs = { first(131, 197), second(131, 197) }, big = true },
    { inputs = { first(131, 197), second(197) }, big = true },
    { inputs = { first(131, 1), second(131, 197) }, big = true },
    { inputs = { first(9, 1, 61), second(49, 1) }, big = true },
  }
end

for _, name in ipairs { "add", "sub", "mul" } do
  binary(name, normal, normal)
  add_cases(name, { inputs = { normal(5, 3), same(1) } }, {
    inputs = { normal(131, 197), same(1) },
    big = true,
  })
end
binary("div", normal, positive)
add_cases("div", { inputs = { positive(5, 3), same(1) } })
binary("pow", positive, normal)
add_cases(
  "pow",
  { inputs = { positive(5, 3), same(1) } },
  { inputs = { normal(7), const(list(2, 3, -1, 0, 1, -2, 4)) } }
)
for _, name in ipairs { "maximum", "minimum", "eq", "lt", "le", "gt", "ge" } do
  binary(name, steps, between)
  if name ~= "maximum" and name ~= "minimum" then
    add_cases(name, { inputs = { steps(6), same(1) } })
  end
end

cases.where = {
  flat = true,
  bad = { { { bits(2, 3), normal(2, 3), normal(4) }, nil, "[2,3]", "[4]" } },
  { inputs = { const(bits(0)), normal(0), normal(0) } },
  { inputs = { const(bits(1)), normal(1), normal(1) } },
  { inputs = { const(bits(17)), normal(17), normal(17) } },
  { inputs = { const(bits(3, 5)), normal(), normal(3, 5) } },
  { inputs = { const(bits(3, 5)), normal(5), normal(3, 1) } },
  { inputs = { const(bits(3, 1)), normal(5), normal() } },
  { inputs = { const(bits()), normal(2, 3), normal(2, 3) } },
  { inputs = { const(bits(7)), normal(7), same(2) } },
  { inputs = { const(bits(131, 197)), normal(131, 197), normal(197) }, big = true },
}

cases.swiglu = {
  flat = true,
  bad = {
    { { normal(2, 3), normal(3) }, nil, "gate", "[2,3]", "[3]" },
    { { normal(2, 3), normal(3, 2) }, nil, "[2,3]", "[3,2]" },
  },
  { inputs = { normal(0, 4), normal(0, 4) } },
  { inputs = { normal(), normal() } },
  { inputs = { normal(1, 1), normal(1, 1) } },
  { inputs = { normal(7), normal(7) } },
  { inputs = { normal(3, 17), normal(3, 17) } },
  { inputs = { normal(2, 5), same(1) } },
  { inputs = { normal(131, 197), normal(131, 197) }, big = true },
}

-- ---- products -----------------------------------------------------------------------------------

local ta, tb = { transpose_a = true }, { transpose_b = true }
local both = { transpose_a = true, transpose_b = true }
cases.matmul = {
  rowwise = { 1 },
  bad = {
    { { normal(2, 3), normal(4, 5) }, nil, "[2,3]", "[4,5]" },
    { { normal(3), normal(3, 5) }, nil, "[3]" },
    { { normal(2, 2, 3), normal(3, 3, 5) }, nil, "[3,3,5]" },
  },
  { inputs = { normal(0, 3), normal(3, 2) } },
  { inputs = { normal(2, 0), normal(0, 3) } },
  { inputs = { normal(1, 1), normal(1, 1) } },
  { inputs = { normal(3, 7), normal(7, 5) } },
  { inputs = { normal(7, 3), normal(7, 5) }, params = ta, rowwise = false },
  { inputs = { normal(3, 7), normal(5, 7) }, params = tb },
  { inputs = { normal(7, 3), normal(5, 7) }, params = both, rowwise = false },
  { inputs = { normal(2, 3, 4), normal(2, 4, 5) }, rowwise = { 1, 2 } },
  { inputs = { normal(2, 3, 4), normal(4, 5) } },
  { inputs = { normal(3, 4), normal(2, 4, 5) }, rowwise = { 2 } },
  { inputs = { normal(2, 4, 3), normal(2, 5, 4) }, params = both, rowwise = { 1, 2 } },
  { inputs = { normal(4, 4), same(1) } },
  { inputs = { normal(131, 67), normal(67, 97) }, big = true },
  { inputs = { normal(131, 67), normal(97, 67) }, params = tb, big = true },
}

local bf16 = { precision = "bf16" }

cases.linear = {
  rowwise = { 1 },
  bad = {
    { { normal(2, 3), normal(4, 5) }, nil, "[4,5]" },
    { { normal(2, 3), normal(4, 3), normal(3) }, nil, "[3]" },
    { { normal(2, 3), normal(4, 3), false }, { precision = "f16" }, "precision", "f16", "bf16" },
  },
  { inputs = { normal(0, 3), normal(2, 3), normal(2) } },
  { inputs = { normal(1, 1), normal(1, 1), normal(1) } },
  { inputs = { normal(3, 7), normal(5, 7), false } },
  { inputs = { normal(3, 7), normal(5, 7), normal(5) } },
  { inputs = { normal(7), normal(5, 7), normal(5) } },
  { inputs = { normal(2, 3, 4), normal(17, 4), normal(17) } },
  { inputs = { normal(3, 3), same(1), false } },
  { inputs = { normal(131, 67), normal(97, 67), normal(97) }, big = true },
  { inputs = { normal(0, 3), normal(2, 3), false }, params = bf16, float32 = true },
  { inputs = { normal(1, 1), normal(1, 1), normal(1) }, params = bf16, float32 = true },
  { inputs = { normal(3, 7), normal(5, 7), false }, params = bf16, float32 = true },
  { inputs = { normal(2, 3, 33), normal(17, 33), normal(17) }, params = bf16, float32 = true },
  { inputs = { normal(7), normal(5, 7), normal(5) }, params = bf16, float32 = true },
  { inputs = { normal(3, 3), same(1), false }, params = bf16, float32 = true },
  {
    inputs = { normal(131, 67), normal(97, 67), normal(97) },
    params = bf16,
    float32 = true,
    big = true,
  },
}

-- ---- model parts --------------------------------------------------------------------------------

cases.embedding = {
  rowwise = { 2 },
  exact = true,
  bad = {
    { { normal(4), ints(0) }, nil, "[4]", "[V,C]" },
    { { normal(4, 2), ints(0, 4) }, nil, "ids", "4", "0 to 3" },
    { { normal(4, 2), ints(-1) }, nil, "ids", "-1" },
  },
  { inputs = { normal(5, 3), ids(0, 5) } },
  { inputs = { normal(1, 1), ids(1, 1) } },
  { inputs = { normal(5, 3), ids(7, 5) } },
  { inputs = { normal(11, 17), ids(3, 11) } },
  { inputs = { normal(3, 2), ints(1, 1, 1, 1) } },
  { inputs = { normal(13, 5), ids(29, 13) } },
  { inputs = { normal(61, 67), ids(499, 61) }, big = true },
}

cases.gather = {
  rowwise = { 2 },
  exact = true,
  bad = {
    { { normal(), ints(0) }, nil, "[]" },
    { { normal(4, 2), ints(2, 4) }, nil, "rows", "4", "0 to 3" },
  },
  { inputs = { normal(5, 3), ids(0, 5) } },
  { inputs = { normal(1), ids(1, 1) } },
  { inputs = { normal(7), ids(5, 7) } },
  { inputs = { normal(5, 3), ids(7, 5) } },
  { inputs = { normal(5, 2, 3), ids(4, 5) } },
  { inputs = { normal(4, 0), ids(3, 4) } },
  { inputs = { normal(61, 67), ids(499, 61) }, big = true },
}

cases.pick = {
  rowwise = { 1, 2 },
  exact = true,
  bad = {
    { { normal(4), ints(0, 1, 2, 3) }, nil, "[4]" },
    { { normal(2, 3), ints(0) }, nil, "[2,3]", "[1]" },
    { { normal(2, 3), ints(0, 3) }, nil, "columns", "3", "0 to 2" },
  },
  { inputs = { normal(0, 3), ids(0, 3) } },
  { inputs = { normal(1, 1), ids(1, 1) } },
  { inputs = { normal(5, 3), ids(5, 3) } },
  { inputs = { normal(7, 17), ids(7, 17) } },
  { inputs = { normal(2, 2), ints(1, 1) } },
  { inputs = { normal(13, 5), ids(13, 5) } },
  { inputs = { normal(499, 61), ids(499, 61) }, big = true },
}

local function norm(name, with_bias)
  local function inputs(x, c) return { x, normal(c), with_bias and normal(c) or nil } end
  cases[name] = {
    rowwise = { 1 },
    bad = {
      { { normal(), normal(1) }, nil, "x has shape []" },
      { { normal(2, 3), normal(2) }, nil, "w has shape [2]", "[3]" },
      { { normal(2, 3), normal(1, 3) }, nil, "w has shape [1,3]" },
    },
    { inputs = inputs(normal(0, 3), 3) },
    { inputs = inputs(normal(2, 1), 1), params = { eps = 0.5 } },
    { inputs = inputs(normal(7), 7) },
    { inputs = inputs(normal(3, 16), 16) },
    { inputs = inputs(normal(3, 17), 17) },
    { inputs = inputs(normal(2, 3, 5), 5), params = { eps = 0.1 } },
    { inputs = inputs(normal(2, 0), 0) },
    { inputs = inputs(normal(67, 3), 3) },
    { inputs = { normal(5), same(1), with_bias and same(1) or nil } },
    { inputs = inputs(normal(331, 97), 97), big = true },
  }
end

norm("rmsnorm", false)
norm("layernorm", true)
add_cases(
  "rmsnorm",
  { inputs = { normal(3, 17), false } },
  { inputs = { normal(3, 17), normal(17) }, params = { offset = 1 } },
  { inputs = { normal(2, 3, 16), normal(16) }, params = { offset = -0.5, eps = 0.1 } },
  { inputs = { normal(0, 3), normal(3) }, params = { offset = 1 } },
  { inputs = { normal(331, 97), normal(97) }, params = { offset = 1 }, big = true }
)
table.insert(cases.rmsnorm.bad, { { normal(2, 3), normal(3) }, { offset = 0 / 0 }, "offset" })
table.insert(cases.rmsnorm.bad, { { normal(2, 3), false }, { offset = 1 }, "offset is 1", "no w" })
add_cases(
  "layernorm",
  { inputs = { normal(3, 17), false, false } },
  { inputs = { normal(3, 17), false, normal(17) } },
  { inputs = { normal(331, 97), false, false }, big = true },
  { inputs = { normal(3, 17), normal(17), false } },
  { inputs = { normal(331, 97), normal(97), false }, big = true }
)
table.insert(
  cases.layernorm.bad,
  { { normal(2, 3), normal(3), normal(4) }, nil, "b has shape [4]", "[3]" }
)

for _, name in ipairs { "softmax", "log_softmax" } do
  cases[name] = {
    rowwise = { 1 },
    bad = { { { normal() }, nil, "[]" } },
    { inputs = { normal(0, 4) } },
    { inputs = { normal(4, 0) } },
    { inputs = { normal(1) } },
    { inputs = { normal(7) } },
    { inputs = { normal(3, 16) } },
    { inputs = { normal(3, 17) } },
    { inputs = { normal(2, 3, 5) } },
    { inputs = { normal(67, 301) }, big = true },
  }
end

cases.rope = {
  rowwise = { 1, 2 },
  bad = {
    { { normal(4), ints(0) }, nil, "[4]" },
    { { normal(2, 4), ints(0) }, nil, "positions", "[1]" },
    { { normal(1, 6), ints(0) }, { head_dim = 4 }, "6", "4" },
    { { normal(1, 6), ints(0) }, { head_dim = 3 }, "head_dim is 3", "even" },
    { { normal(1, 6), ints(0) }, { rotary_dim = 8 }, "rotary_dim is 8", "2 to 6" },
    { { normal(1, 6), ints(0) }, { rotary_dim = 3 }, "rotary_dim is 3", "even" },
    { { normal(1, 6), ints(0) }, { scale = 0 }, "scale is 0" },
    { { normal(1, 6), ints(0), positive(2) }, nil, "inv_freq has shape [2]", "[3]" },
    { { normal(1, 6), ints(0), positive(3) }, { rotary_dim = 4 }, "inv_freq", "[2]" },
    { { normal(1, 2), ints(0), list(-1) }, nil, "inv_freq holds -1 at place 1" },
  },
  { inputs = { normal(0, 4), ids(0, 9) } },
  { inputs = { normal(1, 2), ids(1, 9) } },
  { inputs = { normal(3, 4), ids(3, 9) } },
  { inputs = { normal(3, 12), ids(3, 90) }, params = { head_dim = 6 } },
  { inputs = { normal(5, 8), ids(5, 70) }, params = { head_dim = 4, interleaved = true } },
  { inputs = { normal(5, 12), ids(5, 31) }, params = { head_dim = 12, theta = 500 } },
  { inputs = { normal(2, 34), ids(2, 31) }, params = { head_dim = 34 } },
  { inputs = { normal(3, 12), ids(3, 90) }, params = { head_dim = 6, rotary_dim = 4 } },
  {
    inputs = { normal(5, 21), ids(5, 70) },
    params = { head_dim = 7, rotary_dim = 2, interleaved = true },
  },
  { inputs = { normal(3, 12), ids(3, 90) }, params = { head_dim = 6, scale = 1.25 } },
  {
    inputs = { normal(4, 16), ids(4, 40), const(list(1, 0.125, 0)) },
    params = { head_dim = 8, rotary_dim = 6, scale = 0.75 },
  },
  {
    inputs = { normal(4, 8), ids(4, 40), const(list(0.5, 0.03125)) },
    params = { head_dim = 4, interleaved = true },
  },
  { inputs = { normal(257, 96), ids(257, 251) }, params = { head_dim = 24 }, big = true },
  {
    inputs = { normal(257, 96), ids(257, 251), const(positive(8)) },
    params = { head_dim = 24, rotary_dim = 16, scale = 1.5 },
    big = true,
  },
}

local function attention(t, heads, kv_heads, dim)
  return normal(t, heads * dim), normal(t, kv_heads * dim), normal(t, kv_heads * dim)
end

--- The inputs q, k, v and more for a list of heads, kv_heads, dim.
local function attend(t, heads, kv_heads, dim, ...)
  local q, k, v = attention(t, heads, kv_heads, dim)
  return { q, k, v, ... }
end

cases.attention = {
  tolerance = 4e-6,
  bad = {
    { { normal(2, 4), normal(2, 4), normal(3, 4), lengths(2) }, nil, "v has shape [3,4]" },
    { { normal(2, 4), normal(2, 4), normal(2, 4), lengths(3) }, nil, "offsets", "2" },
    { { normal(2, 4), normal(2, 4), normal(2, 4), lengths(2) }, { heads = 3 }, "3 heads" },
    { { normal(2, 4), normal(2, 4), normal(2, 4), lengths(2) }, { window = -1 }, "window is -1" },
    { { normal(2, 4), normal(2, 4), normal(2, 4), lengths(2) }, { softcap = -1 }, "softcap is -1" },
    { { normal(2, 4), false, false, lengths(2) }, nil, "no multiple of 3 heads" },
    { { normal(2, 4), false, false, lengths(2) }, { heads = math.maxinteger }, "no multiple of" },
    { { normal(2, 4), normal(2, 4), false, lengths(2) }, nil, "given both" },
    { { normal(2, 4), false, normal(2, 4), lengths(2) }, nil, "given both" },
  },
  { inputs = { normal(0, 9), false, false, lengths(0) } },
  { inputs = { normal(6, 16), false, false, lengths(1, 5) }, params = { heads = 4, kv_heads = 2 } },
  {
    inputs = { normal(149, 120), false, false, lengths(1, 70, 0, 78) },
    params = { heads = 3, kv_heads = 1, window = 19, softcap = 2 },
    big = true,
  },
  { inputs = attend(0, 1, 1, 4, lengths(0)) },
  { inputs = attend(1, 1, 1, 1, lengths(1)) },
  { inputs = attend(5, 1, 1, 3, lengths(5)) },
  { inputs = attend(7, 2, 2, 2, lengths(3, 0, 4)), params = { heads = 2 } },
  { inputs = attend(6, 4, 2, 2, lengths(1, 5)), params = { heads = 4, kv_heads = 2 } },
  { inputs = attend(5, 3, 1, 2, lengths(2, 3)), params = { heads = 3, kv_heads = 1, scale = 0.3 } },
  { inputs = { normal(4, 6), same(1), same(1), lengths(4) }, params = { heads = 2 } },
  { inputs = attend(9, 2, 1, 3, lengths(7, 2)), params = { heads = 2, kv_heads = 1, window = 3 } },
  { inputs = attend(6, 2, 2, 3, lengths(4, 2)), params = { heads = 2, softcap = 0.8 } },
  { inputs = attend(5, 1, 1, 4, lengths(5)), params = { window = 2, softcap = 1.5, scale = 1 } },
  { inputs = attend(5, 1, 1, 3, lengths(5)), params = bf16, float32 = true },
  {
    inputs = attend(22, 6, 2, 35, lengths(15, 0, 7)),
    params = { heads = 6, kv_heads = 2, window = 9, softcap = 2, scale = 0.25, precision = "bf16" },
    float32 = true,
  },
  {
    inputs = attend(149, 4, 2, 8, lengths(1, 70, 0, 78)),
    params = { heads = 4, kv_heads = 2, window = 19, softcap = 2 },
    big = true,
  },
  {
    inputs = attend(149, 4, 2, 8, lengths(1, 70, 0, 78)),
    params = { heads = 4, kv_heads = 2 },
    big = true,
  },
}

--- An empty cache for t tokens in one block a sequence; width: of its rows, where it is not dim.
local function cached(t, heads, kv_heads, dim, offsets, width)
  local n = #offsets.values - 1
  local blocks, past = {}, {}
  for b = 1, n do
    blocks[b], past[b] = n - b, 0
  end
  local function cache() return { fill = "zeros", shape = { n, kv_heads, 128, width or dim } } end
  return attend(
    t,
    heads,
    kv_heads,
    dim,
    offsets,
    cache(),
    cache(),
    ints(table.unpack(blocks)),
    ints(table.unpack(past))
  )
end

cases.attention_cached = {
  tolerance = 4e-6,
  bad = {
    {
      {
        normal(2, 4),
        normal(2, 4),
        normal(2, 4),
        lengths(2),
        normal(1, 1, 64, 3),
        normal(1, 1, 64, 4),
        ints(0),
        ints(0),
      },
      nil,
      "k_cache has shape [1,1,64,3]",
    },
    {
      {
        normal(2, 4),
        normal(2, 4),
        normal(2, 4),
        lengths(2),
        normal(1, 1, 64, 4),
        normal(1, 1, 64, 4),
        ints(0),
        ints(63),
      },
      nil,
      "65",
      "64",
    },
    {
      {
        normal(2, 4),
        normal(2, 4),
        normal(2, 4),
        lengths(2),
        normal(1, 1, 64, 4),
        normal(1, 1, 64, 4),
        ints(1),
        ints(0),
      },
      nil,
      "blocks names 1 for sequence 1",
      "0 to 0",
    },
    {
      {
        normal(2, 4),
        normal(2, 4),
        normal(2, 4),
        lengths(1, 1),
        normal(2, 1, 64, 4),
        normal(2, 1, 64, 4),
        ints(1, 1),
        ints(0, 5),
      },
      nil,
      "sequence 1 would write to block 1, which blocks names twice",
    },
  },
  { inputs = cached(0, 1, 1, 4, lengths(0)) },
  { inputs = cached(1, 1, 1, 4, lengths(1)) },
  { inputs = cached(5, 1, 1, 3, lengths(5)) },
  { inputs = cached(7, 2, 2, 2, lengths(3, 0, 4)), params = { heads = 2 } },
  { inputs = cached(6, 4, 2, 2, lengths(1, 5)), params = { heads = 4, kv_heads = 2 } },
  {
    inputs = cached(9, 2, 1, 3, lengths(2, 7)),
    params = { heads = 2, kv_heads = 1, window = 3, softcap = 0.8 },
  },
  {
    inputs = cached(22, 6, 2, 35, lengths(15, 0, 7), 18),
    params = { heads = 6, kv_heads = 2, window = 9, softcap = 2, scale = 0.25, precision = "bf16" },
    float32 = true,
  },
  {
    inputs = cached(5, 3, 1, 17, lengths(2, 3)),
    params = { heads = 3, kv_heads = 1, scale = 0.3 },
  },
  {
    inputs = cached(149, 4, 2, 8, lengths(1, 70, 0, 78)),
    params = { heads = 4, kv_heads = 2 },
    big = true,
  },
}

cases.dropout = {
  random = true, -- its mask is tried apart
  bad = { { { normal(2) }, { p = 1 }, "p is 1" }, { { normal(2) }, { p = -0.1 }, "p is -0.1" } },
  { inputs = { normal(0) } },
  { inputs = { normal() }, params = { p = 0.5, seed = 3 } },
  { inputs = { normal(1) }, params = { p = 0.5, seed = 4 } },
  { inputs = { normal(7) }, params = { p = 0.5, seed = 5, index = 2 } },
  { inputs = { normal(3, 17) }, params = { p = 0.25, seed = 6 } },
  { inputs = { normal(5, 13) }, params = { p = 0.9, seed = 7, index = -1 } },
  { inputs = { normal(131, 197) }, params = { p = 0.1, seed = 8 }, big = true },
}

-- ---- moving data --------------------------------------------------------------------------------

cases.reshape = {
  exact = true,
  bad = {
    { { normal(2, 3) }, { shape = { 4 } }, "[2,3]", "[4]" },
    { { normal(2, 3) }, { shape = { 4, -1 } }, "[2,3]", "[4,-1]" },
    { { normal(2, 3) }, { shape = { -1, -1 } }, "[-1,-1]" },
    { { normal(2, 3) }, { shape = { -2, -3 } }, "[-2,-3]" },
  },
  { inputs = { normal(0, 3) }, params = { shape = { 3, 0, 2 } } },
  { inputs = { normal() }, params = { shape = { 1, 1 } } },
  { inputs = { normal(1) }, params = { shape = { -1 } } },
  { inputs = { normal(7) }, params = { shape = { 7, 1 } } },
  { inputs = { normal(6, 4) }, params = { shape = { 3, -1, 2 } } },
  { inputs = { normal(2, 3, 5) }, params = { shape = { -1 } } },
  { inputs = { normal(131, 197) }, params = { shape = { 197, 131 } }, big = true },
}

cases.view = {
  exact = true,
  bad = {
    { { normal(2, 3) }, { shape = { 4 }, offset = 3 }, "[2,3]", "[4]", "3 elements" },
    { { normal(2, 3) }, { shape = { 7 } }, "[2,3]", "[7]" },
    { { normal(2, 3) }, { shape = { 4, -1 } }, "[2,3]", "[4,-1]" },
    { { normal(2, 3) }, { shape = { -1, -1 } }, "[-1,-1]" },
    { { normal(2, 3) }, { shape = { 1 }, offset = -1 }, "offset is -1", "0 to 6" },
    { { normal(2, 3) }, { shape = { 0 }, offset = 7 }, "offset is 7", "0 to 6" },
  },
  { inputs = { normal(0, 3) }, params = { shape = { 3, 0, 2 } } },
  { inputs = { normal() }, params = { shape = { 1, 1 } } },
  { inputs = { normal(1) }, params = { shape = { -1 } } },
  { inputs = { normal(7) }, params = { shape = { 2, 2 }, offset = 1 } },
  { inputs = { normal(6, 4) }, params = { shape = { 3, -1, 2 }, offset = 6 } },
  { inputs = { normal(2, 3, 5) }, params = { shape = {}, offset = 29 } },
  { inputs = { normal(2, 3) }, params = { shape = { 0, 2 }, offset = 6 } },
  { inputs = { normal(131, 197) }, params = { shape = { 197, 130 }, offset = 41 }, big = true },
}

cases.t = {
  exact = true,
  bad = { { { normal(3) }, nil, "[3]", "a matrix" }, { { normal(2, 3, 4) }, nil, "[2,3,4]" } },
  { inputs = { normal(0, 3) } },
  { inputs = { normal(3, 0) } },
  { inputs = { normal(1, 1) } },
  { inputs = { normal(7, 5) } },
  { inputs = { normal(1, 9) } },
  { inputs = { normal(17, 33) } },
  { inputs = { normal(131, 197) }, big = true },
}

cases.transpose = {
  exact = true,
  bad = {
    { { normal(3) }, nil, "rank 1" },
    { { normal(2, 3) }, { a = 1, b = 3 }, "no axis 3", "rank 2" },
  },
  { inputs = { normal(0, 3) } },
  { inputs = { normal(1, 1) } },
  { inputs = { normal(7, 5) } },
  { inputs = { normal(17, 33) } },
  { inputs = { normal(2, 3, 4) }, params = { a = 1, b = 3 } },
  { inputs = { normal(2, 3, 4) }, params = { a = 2, b = 1 } },
  { inputs = { normal(2, 3, 2, 2) }, params = { a = 1, b = -2 } },
  { inputs = { normal(2, 3) }, params = { a = 2, b = 2 } },
  { inputs = { normal(131, 197) }, big = true },
  { inputs = { normal(13, 17, 131) }, params = { a = 1, b = 2 }, big = true },
}

cases.slice = {
  exact = true,
  bad = {
    { { normal(2, 3) }, { axis = 3, start = 1, stop = 1 }, "rank 2" },
    { { normal(2, 3) }, { axis = 2, start = 2, stop = 4 }, "[2,3]", "4" },
    { { normal(2, 3) }, { axis = 1, start = 2, stop = 0 }, "[2,3]" },
    { { normal(2, 3) }, { axis = 1, start = 4 }, "[2,3]" },
    { { normal() }, { axis = 1, start = 1, stop = 1 }, "rank 0" },
  },
  { inputs = { normal(0, 3) }, params = { axis = 1, start = 1, stop = 0 } },
  { inputs = { normal(4, 3) }, params = { axis = 1, start = 3, stop = 2 } },
  { inputs = { normal(1) }, params = { axis = 1, start = 1, stop = 1 } },
  { inputs = { normal(7) }, params = { axis = 1, start = 3, stop = 6 } },
  { inputs = { normal(5, 4) }, params = { axis = 1, start = 2, stop = 3 } },
  { inputs = { normal(5, 4) }, params = { axis = 2, start = 2, stop = 4 } },
  { inputs = { normal(5, 4) }, params = { axis = 2, start = 3 } },
  { inputs = { normal(5, 4) }, params = { axis = 1, start = 6 } },
  { inputs = { normal(2, 5, 3) }, params = { axis = -2, start = 1, stop = 4 } },
  { inputs = { normal(131, 197) }, params = { axis = 2, start = 3, stop = 180 }, big = true },
}

cases.concat = {
  exact = true,
  bad = {
    { { normal(2, 3), normal(2) }, nil, "[2,3]", "b [2]" },
    { { normal(2, 3), normal(2, 4) }, { axis = 1 }, "[2,3]", "[2,4]" },
    { { normal(2, 3), normal(2, 4) }, { axis = 3 }, "rank 2" },
  },
  { inputs = { normal(0, 3), normal(2, 3) } },
  { inputs = { normal(1), normal(1) } },
  { inputs = { normal(2, 3) }, params = { axis = 2 } },
  { inputs = { normal(3), normal(7), normal(2) } },
  { inputs = { normal(2, 3), normal(4, 3) }, params = { axis = 1 } },
  { inputs = { normal(2, 3), normal(2, 4), normal(2, 0) }, params = { axis = 2 } },
  { inputs = { normal(2, 3, 2), normal(2, 1, 2) }, params = { axis = -2 } },
  { inputs = { normal(2, 3), same(1), normal(2, 2), same(3) }, params = { axis = 2 } },
  { inputs = { normal(131, 97), normal(131, 100) }, params = { axis = 2 }, big = true },
}

cases.cast = {
  exact = true,
  bad = {
    { { list(1, 1.5) }, { dtype = "int32" }, "element 2 is 1.5, which int32 cannot hold" },
    { { list(3e9) }, { dtype = "int32" }, "element 1 is 3e+09" },
  },
  { inputs = { normal(0) }, params = { dtype = "float64" } },
  { inputs = { normal() }, params = { dtype = "float64" } },
  { inputs = { normal(1) }, params = { dtype = "float64" } },
  { inputs = { normal(7) }, params = { dtype = "float64" } },
  { inputs = { normal(3, 17) }, params = { dtype = "float64" } },
  { inputs = { normal(2, 5) }, params = { dtype = "float32" }, rounds = true },
  { inputs = { normal(131, 197) }, params = { dtype = "float64" }, big = true },
}

-- ---- reductions ---------------------------------------------------------------------------------

for _, name in ipairs { "sum", "mean", "max", "min" } do
  local make = (name == "max" or name == "min") and steps or normal
  cases[name] = {
    bad = {
      { { normal(2, 3) }, { axis = 3 }, "no axis 3", "rank 2" },
      { { normal() }, { axis = 1 }, "rank 0" },
    },
    { inputs = { make() } },
    { inputs = { make(1) } },
    { inputs = { make(7) } },
    { inputs = { make(3, 17) } },
    { inputs = { make(3, 17) }, params = { keepdim = true } },
    { inputs = { make(3, 17) }, params = { axis = 1 } },
    { inputs = { make(5, 17) }, params = { axis = 2, keepdim = true }, rowwise = { 1 } },
    { inputs = { make(2, 5, 3) }, params = { axis = 2 } },
    { inputs = { make(2, 5, 3) }, params = { axis = -1 } },
    { inputs = { make(2, 130, 2) }, params = { axis = 2, keepdim = true } },
    { inputs = { make(0, 3) }, params = { axis = 2 } },
    { inputs = { make(131, 197) }, big = true },
    { inputs = { make(131, 397) }, params = { axis = 1 }, big = true },
    { inputs = { make(131, 397) }, params = { axis = 2 }, rowwise = { 1 }, big = true },
    { inputs = { make(3, 9001) }, params = { axis = 2 }, rowwise = { 1 }, big = true },
  }
  if name == "sum" then
    add_cases(name, { inputs = { make(0) } }, { inputs = { make(2, 0) }, params = { axis = 2 } })
  elseif name ~= "mean" then
    table.insert(cases[name].bad, { { normal(0) }, nil, "[0]" })
    table.insert(cases[name].bad, { { normal(2, 0) }, { axis = 2 }, "[2,0]" })
  end
end

for _, name in ipairs { "var", "std" } do
  cases[name] = {
    bad = {
      { { normal(2, 3) }, { axis = 3 }, "no axis 3", "rank 2" },
      { { normal(2, 3) }, { correction = -1 }, "correction is -1" },
    },
    { inputs = { normal(0, 3) }, params = { axis = 2 } },
    { inputs = { normal(7) } },
    { inputs = { normal(3, 17) } },
    { inputs = { normal(3, 17) }, params = { correction = 0 } },
    { inputs = { normal(3, 17) }, params = { axis = 1, keepdim = true } },
    { inputs = { normal(5, 17) }, params = { axis = 2 }, rowwise = { 1 } },
    { inputs = { normal(2, 5, 3) }, params = { axis = -2, correction = 2 } },
    { inputs = { normal(131, 397) }, params = { axis = 1 }, big = true },
    { inputs = { normal(131, 397) }, params = { axis = 2 }, rowwise = { 1 }, big = true },
  }
end

for _, name in ipairs { "argmax", "argmin" } do
  cases[name] = {
    exact = true,
    bad = {
      { { normal(2, 3) }, { axis = 3 }, "no axis 3", "rank 2" },
      { { normal(2, 3) }, { first = 2 }, "first is 2" },
      { { normal(0) }, nil, "[0]" },
      { { normal(2, 0) }, { axis = 2 }, "[2,0]" },
    },
    { inputs = { steps() } },
    { inputs = { steps(1) } },
    { inputs = { steps(7) }, params = { first = 0 } },
    { inputs = { bits(3, 17) } },
    { inputs = { steps(3, 17) }, params = { axis = 1, keepdim = true } },
    { inputs = { bits(5, 17) }, params = { axis = 2 }, rowwise = { 1 } },
    { inputs = { steps(2, 5, 3) }, params = { axis = -2, first = 0 } },
    { inputs = { steps(0, 3) }, params = { axis = 2 } },
    { inputs = { steps(131, 397) }, params = { axis = 2 }, rowwise = { 1 }, big = true },
  }
end

cases.sort = {
  exact = true,
  outputs = 1,
  bad = {
    { { normal(2, 3) }, { axis = 3 }, "no axis 3", "rank 2" },
    { { normal() }, nil, "rank 0" },
    { { normal(2, 3) }, { first = -1 }, "first is -1" },
  },
  { inputs = { steps(0, 3) } },
  { inputs = { steps(3, 0) } },
  { inputs = { steps(1) } },
  { inputs = { steps(7) }, params = { first = 0 } },
  { inputs = { steps(3, 17) }, rowwise = { 1 } },
  { inputs = { steps(5, 17) }, params = { descending = true }, rowwise = { 1 } },
  { inputs = { steps(2, 5, 3) }, params = { axis = 2, descending = true } },
  { inputs = { steps(131, 397) }, rowwise = { 1 }, big = true },
}

cases.topk = {
  exact = true,
  outputs = 1,
  bad = {
    { { normal(2, 3) }, { k = 4 }, "k is 4; 0 to 3 wanted, axis 2", "[2,3]" },
    { { normal(2, 3) }, { k = -1 }, "k is -1" },
    { { normal(2, 3) }, { axis = 3 }, "no axis 3" },
  },
  { inputs = { steps(0, 3) } },
  { inputs = { steps(3, 4) }, params = { k = 0 } },
  { inputs = { steps(1) } },
  { inputs = { steps(7) }, params = { k = 3, first = 0 } },
  { inputs = { steps(3, 17) }, params = { k = 5 }, rowwise = { 1 } },
  { inputs = { steps(5, 17) }, params = { k = 17, largest = false }, rowwise = { 1 } },
  { inputs = { steps(2, 5, 3) }, params = { k = 2, axis = 2, largest = false } },
  { inputs = { steps(131, 397) }, params = { k = 100 }, rowwise = { 1 }, big = true },
  { inputs = { steps(131, 397) }, params = { k = 9 }, rowwise = { 1 }, big = true },
}

for _, name in ipairs { "segment_sum", "segment_mean" } do
  cases[name] = {
    bad = {
      { { normal(), lengths(1) }, nil, "[]" },
      { { normal(4), lengths(3) }, nil, "offsets", "end with 4" },
      { { normal(4), ints(0, 3, 2, 4) }, nil, "never fall" },
      { { normal(4), ints(1, 4) }, nil, "begin with 0" },
    },
    { inputs = { normal(0), lengths() } },
    { inputs = { normal(0, 2), lengths(0, 0) } },
    { inputs = { normal(1), lengths(1) } },
    { inputs = { normal(7), lengths(2, 0, 5) } },
    { inputs = { normal(5, 3), lengths(0, 4, 1) } },
    { inputs = { normal(4, 2, 17), lengths(1, 3) } },
    { inputs = { normal(20), lengths(17, 3) } },
    { inputs = { normal(401, 97), lengths(3, 197, 0, 201) }, big = true },
    { inputs = { normal(30011), lengths(3, 4999, 0, 25009) }, big = true },
  }
end

cases.segment_repeat = {
  exact = true,
  bad = {
    { { normal(), lengths() }, nil, "[]" },
    { { normal(2), lengths(1) }, nil, "[2]" },
    { { normal(2), ints(0, 3, 2) }, nil, "never fall" },
  },
  { inputs = { normal(0), lengths() } },
  { inputs = { normal(2), lengths(0, 0) } },
  { inputs = { normal(1), lengths(1) } },
  { inputs = { normal(3), lengths(2, 0, 5) } },
  { inputs = { normal(2, 17), lengths(3, 1) } },
  { inputs = { normal(2, 2, 3), lengths(1, 2) } },
  { inputs = { normal(4, 97), lengths(3, 197, 0, 201) }, big = true },
}

cases.reverse_scan = {
  tolerance = 1e-5,
  bad = {
    { { normal(2, 2), lengths(2) }, nil, "[2,2]" },
    { { normal(4), lengths(3) }, nil, "end with 4" },
  },
  { inputs = { normal(0), lengths() } },
  { inputs = { normal(1), lengths(1) } },
  { inputs = { normal(7), lengths(7) } },
  { inputs = { normal(7), lengths(2, 0, 5) }, params = { decay = 0.9 } },
  { inputs = { normal(17), lengths(16, 1) }, params = { decay = -0.5 } },
  { inputs = { normal(5), lengths(5) }, params = { decay = 0 } },
  { inputs = { normal(30011), lengths(3, 4999, 0, 25009) }, params = { decay = 0.95 }, big = true },
}

-- ---- fused --------------------------------------------------------------------------------------

local make = {
  normal = normal,
  positive = positive,
  steps = steps,
  between = between,
  ints = ints,
  ids = ids,
  same = same,
  const = const,
  lengths = lengths,
  apart = apart,
}
for name, entry in pairs(dofile("tests/lua/op_cases_fused.lua")(make)) do
  cases[name] = entry
end

return cases
