--- Every fused kernel against its readable twin where numbers are hard: logits of 1e4, nothing at
-- all, one answer, one class, ties only, one token. Forward in both dtypes, gradients of every
-- input, and numeric gradients in float64. ops_spec does the same at ordinary numbers.

local pl = require("perilune")
local twins = require("perilune.learn.twins")
local gradcheck = dofile("tests/lua/gradcheck.lua")
local toy = dofile("tests/lua/support/toy.lua")

local purpose = 0

local function randn(shape, scale, shift)
  purpose = purpose + 1
  local half = pl.randn(shape, { a = shift or 0, b = scale or 1, seed = 21, purpose = purpose })
  return half
end

--- A case: inputs in float32 (numbers both dtypes have), parameters, and flags: `const` inputs
-- without gradient, `outputs` with one, `hard` when central differences cannot be trusted (kinks
-- or slopes beyond their reach).
local function head_case(t, c, v, n, scale, more)
  local rows, targets = {}, {}
  for i = 1, n do
    rows[i], targets[i] = (i * 5) % t, (i * 3) % v
  end
  local case =
    { n = 4, randn({ t, c }, scale), randn({ v, c }, scale), rows, targets, hard = scale > 2 }
  for key, value in pairs(more or {}) do
    case[key] = value
  end
  return case
end

local function kl_case(t, c, v, n, scale)
  local case = head_case(t, c, v, n, scale, { n = 5, const = { [3] = true, [4] = true } })
  case[5] = case[3]
  case[3], case[4] = randn({ t, c + 1 }, scale), randn({ v, c + 1 }, scale)
  return case
end

local function rank_case(scores, offsets, ranks, params)
  return {
    n = 3,
    pl.tensor(scores),
    offsets,
    pl.tensor(ranks),
    const = { [3] = true },
    params = params,
  }
end

local function token_case(n, scale, params, more)
  local case = {
    n = 3,
    randn({ n }, scale),
    randn({ n }, scale),
    randn { n },
    const = { [2] = true, [3] = true, [4] = true },
    params = params,
    hard = true,
    outputs = 1,
  }
  for key, value in pairs(more or {}) do
    case[key] = value
  end
  return case
end

local function before_case(t, c, scale, more)
  local case = { n = 6, randn({ t, c }, scale), randn { c }, randn { 8, c }, randn { 4, c } }
  case[5], case[6] = randn { 4, c }, {}
  for i = 1, t do
    case[6][i] = i * 37
  end
  case.params = { head_dim = 4, interleaved = true }
  for key, value in pairs(more or {}) do
    case[key] = value
  end
  return case
end

local function after_case(t, scale, more)
  local case = { n = 7, randn({ t, 6 }, scale), randn({ t, 5 }, scale), randn { 6, 5 } }
  case[4], case[5], case[6], case[7] = randn { 6 }, randn { 9, 6 }, randn { 9, 6 }, randn { 6, 9 }
  for key, value in pairs(more or {}) do
    case[key] = value
  end
  return case
end

local HUNDRED <const> = 100 -- hidden and head of ±100 give logits beyond ±1e4

local cases = {
  cross_entropy = {
    head_case(5, 6, 9, 4, 1),
    head_case(5, 6, 9, 4, HUNDRED),
    head_case(5, 6, 1, 4, 1), -- one class
    head_case(5, 6, 9, 0, 1), -- nothing
    head_case(1, 1, 2, 7, 3), -- one row again and again
    head_case(5, 6, 9, 3, 1, { n = 5, [5] = pl.tensor { 0, 2, 0.5 }, const = { [5] = true } }),
    head_case(3, 4, 7, 3, 0), -- all logits tie
  },
  logprob = {
    head_case(5, 6, 9, 4, 1, { params = { temperature = 0.7 } }),
    head_case(5, 6, 9, 4, HUNDRED, { params = { temperature = 0.7 } }),
    head_case(5, 6, 1, 4, 1),
    head_case(5, 6, 9, 0, 1),
    head_case(3, 4, 7, 3, 0),
  },
  kl_full = {
    kl_case(5, 6, 9, 4, 1),
    kl_case(5, 6, 9, 4, HUNDRED),
    kl_case(5, 6, 1, 4, 1),
    kl_case(5, 6, 9, 0, 1),
    kl_case(3, 4, 7, 3, 0),
  },
  rank_loss = {
    rank_case({ 1e4, -1e4, 3, -7 }, { 0, 4 }, { 1, 2, 3, 4 }, nil),
    rank_case({ 1e4, -1e4, 3, -7 }, { 0, 4 }, { 4, 1, 2, 3 }, nil), -- all wrong, by far
    rank_case({ 1e4, -1e4, 3 }, { 0, 3 }, { 2, 1, 3 }, { variant = "sigmoid" }),
    rank_case({ 1e4, -1e4, 3 }, { 0, 3 }, { 2, 1, 3 }, { variant = "linear" }),
    rank_case({ 0.5 }, { 0, 1 }, { 1 }, nil), -- K = 1: no pair
    rank_case({ 0.5, 1, 2 }, { 0, 3 }, { 1, 1, 1 }, nil), -- all ties, dropped
    rank_case({ 0.5, 1, 2 }, { 0, 3 }, { 1, 1, 1 }, { ties = "half" }),
    rank_case({ 0.5, 1, 2, 4 }, { 0, 0, 3, 4, 4 }, { 1, 3, 2, 1 }, { ties = "half" }),
    rank_case({}, { 0 }, {}, nil),
    rank_case({ 2, 2, 2 }, { 0, 3 }, { 1, 2, 3 }, nil), -- equal scores
  },
  ppo_loss = {
    token_case(12, 0.3),
    token_case(12, 0.3, { cliprange = 0.1, cliprange_high = 0.4 }),
    token_case(12, 20), -- ratios of e^±40
    token_case(1, 0.3),
    token_case(0, 1),
    token_case(12, 0), -- ratio 1 everywhere
    token_case(3, 0.3, nil, { n = 4, [4] = pl.tensor { 0, 0, 0 } }),
    token_case(3, 0.3, { norm = 7 }, { n = 4, [4] = pl.tensor { 1, 0, 0.25 } }),
  },
  value_loss = {
    token_case(12, 0.3),
    token_case(12, 0.3, { cliprange = 0 }),
    token_case(12, 1e4),
    token_case(1, 1),
    token_case(0, 1),
    token_case(12, 0),
    token_case(3, 0.3, nil, { n = 4, [4] = pl.tensor { 0, 0, 0 } }),
    token_case(3, 0.3, { norm = 7 }, { n = 4, [4] = pl.tensor { 1, 0, 0.25 } }),
  },
  kl_estimate = {},
  block_in = {
    before_case(3, 5, 1),
    before_case(0, 5, 1), -- nothing
    before_case(1, 1, 1), -- one channel
    before_case(3, 5, 0, { hard = true }), -- rows of zeros: slopes of 1 / sqrt(eps)
    before_case(3, 5, 1e4),
    before_case(3, 5, 1, { const = { [3] = true, [4] = true, [5] = true } }), -- frozen weights
    before_case(3, 5, 1, { const = { true } }),
    before_case(3, 5, 1, { outputs = 2 }), -- nothing comes back from v
  },
  block_out = {
    after_case(3, 1),
    after_case(0, 1), -- nothing
    after_case(3, 0, { hard = true }), -- rows of zeros: slopes of 1 / sqrt(eps)
    after_case(3, HUNDRED),
    after_case(3, 1, { const = { [3] = true, [5] = true, [6] = true, [7] = true } }),
    after_case(3, 1, { const = { true } }),
    after_case(3, 1, { const = { [2] = true, [4] = true } }),
  },
}
for _, kind in ipairs { "k1", "k2", "k3" } do
  for _, size in ipairs { { 9, 1 }, { 9, 8 }, { 9, 0 }, { 0, 1 }, { 1, 1 } } do
    local case = token_case(size[1], size[2], { kind = kind }, { n = 2, hard = size[2] > 2 })
    case.const = { [2] = false }
    table.insert(cases.kl_estimate, case)
  end
end

--- The case's inputs in a dtype, fresh, wanting gradients where the case says so.
local function inputs_of(case, dtype)
  local list = { n = case.n }
  for i = 1, case.n do
    local v = case[i]
    if type(v) == "table" then
      list[i] = pl.tensor(v, "int32")
    elseif v then
      list[i] = dtype == "float64" and pl.cast(v, { dtype = "float64" }) or v:clone()
      list[i]:requires_grad(not (case.const and case.const[i]))
    end
  end
  return list
end

--- Calls f on the inputs; the first `outputs` outputs, weighted, go backward.
local function run(f, row, case, dtype)
  local list = inputs_of(case, dtype)
  local args = table.move(list, 1, case.n, 1, {})
  args[#row.inputs + 1] = case.params
  local outputs = table.pack(f(table.unpack(args, 1, #row.inputs + 1)))
  local result, sum = {}, nil
  for k = 1, math.min(case.outputs or outputs.n, outputs.n) do
    result[k] = outputs[k]
    local weight = pl.uniform(outputs[k]:shape(), {
      a = 0.5,
      b = 1.5,
      seed = 22,
      purpose = k,
      dtype = dtype,
    })
    local part = pl.sum(outputs[k] * weight)
    sum = sum and sum + part or part
  end
  local grads = {}
  if sum:requires_grad() then sum:backward() end
  for i = 1, case.n do
    if list[i] and list[i]:dtype() ~= "int32" and not (case.const and case.const[i]) then
      grads[i] = list[i]:grad() and list[i]:grad():clone() or pl.zeros(list[i]:shape(), dtype)
    end
  end
  return result, grads
end

local function scale_of(t) return t:count() == 0 and 1 or math.max(1, t:abs():max():item()) end

local function close(got, want, bound, what)
  assert.are.same(want:shape(), got:shape())
  local err = toy.max_error(got, want) / scale_of(want)
  assert.is_true(err <= bound, ("%s is off by %.3g"):format(what, err))
end

describe("the list of twins", function()
  it("has a twin and hard cases for every fused op", function()
    local fused = 0
    for _, row in ipairs(pl.ops()) do
      if row.flags.fused then
        fused = fused + 1
        assert.is_function(twins[row.name], row.name .. " has no twin")
        assert.is_true(#(cases[row.name] or {}) >= 5, row.name .. " has too few hard cases")
      end
    end
    assert.is_true(fused >= 7)
  end)

  it("has no twin of what is not fused", function()
    local fused = {}
    for _, row in ipairs(pl.ops()) do
      fused[row.name] = row.flags.fused
    end
    for name in pairs(twins) do
      assert.is_true(fused[name] or false, name)
    end
  end)
end)

for _, row in ipairs(pl.ops()) do
  for number, case in ipairs(row.flags.fused and cases[row.name] or {}) do
    describe(("%s, hard case %d"):format(row.name, number), function()
      local want, want_grads = run(twins[row.name], row, case, "float64")

      for dtype, bound in pairs { float64 = 1e-10, float32 = 2e-4 } do
        it("is its twin in " .. dtype, function()
          local got, grads = run(pl[row.name], row, case, dtype)
          for k in ipairs(want) do
            close(got[k]:cast { dtype = "float64" }, want[k], bound, "output " .. k)
          end
          -- float32 logits of 1e4 are known to 1e-3 only: their softmax may choose otherwise
          if dtype == "float64" or not case.hard then
            for i in pairs(want_grads) do
              close(grads[i]:cast { dtype = "float64" }, want_grads[i], bound, "gradient " .. i)
            end
          else
            for _, grad in pairs(grads) do
              assert.is_true(toy.max_error(grad, grad) == 0) -- finite
            end
          end
        end)
      end

      if not case.hard then
        it("has the gradient of central differences", function()
          local list = inputs_of(case, "float64")
          local err, where = gradcheck.check(function(...)
            local args = { ... }
            args[#row.inputs + 1] = case.params
            return pl[row.name](table.unpack(args, 1, #row.inputs + 1))
          end, list, { const = case.const, outputs = case.outputs })
          assert.is_true(err <= 1e-6, where)
        end)
      end
    end)
  end
end
