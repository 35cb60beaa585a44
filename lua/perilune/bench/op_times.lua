--- Timings of single ops at the shapes of perilune.bench.workloads, forward and backward.
--
-- GFLOP/s count multiplications and additions of the products alone: 2 M N K forward, twice that
-- backward; causal attention counts half the square.

local core = require("perilune.core")
local stats = require("perilune.base.stats")
local system = core.system

local op_times = {}

--- Values as small as weights are, so that no softmax is all on one side.
local function random(shape, grad)
  return core.randn(shape, { seed = 1, b = 0.1 }):requires_grad(grad)
end

local function ints(n, fn)
  local list = {}
  for i = 1, n do
    list[i] = fn(i)
  end
  return core.tensor(list, "int32")
end

local function linear(m, k, n)
  local x, w = random({ m, k }, true), random({ n, k }, true)
  return {
    name = ("linear %d x %d -> %d"):format(m, k, n),
    flops = 2 * m * k * n,
    call = function() return core.linear(x, w) end,
  }
end

local function attention(b, t, heads, kv_heads, d)
  local q, k = random({ b * t, heads * d }, true), random({ b * t, kv_heads * d }, true)
  local v = random({ b * t, kv_heads * d }, true)
  local offsets = ints(b + 1, function(i) return (i - 1) * t end)
  return {
    name = ("attention %d x %d, %d/%d heads of %d"):format(b, t, heads, kv_heads, d),
    flops = 2 * b * heads * t * t * d,
    call = function()
      return core.attention(q, k, v, offsets, { heads = heads, kv_heads = kv_heads })
    end,
  }
end

local function cross_entropy(n, c, v)
  local hidden, head = random({ n, c }, true), random({ v, c }, true)
  local rows = ints(n, function(i) return i - 1 end)
  local targets = ints(n, function(i) return (i * 7919) % v end)
  return {
    name = ("cross_entropy %d x %d, vocabulary %d"):format(n, c, v),
    flops = 2 * n * c * v,
    call = function() return core.cross_entropy(hidden, head, rows, targets, nil, {}) end,
  }
end

local function rmsnorm(n, c)
  local x, w = random({ n, c }, true), random({ c }, true)
  return {
    name = ("rmsnorm %d x %d"):format(n, c),
    call = function() return core.rmsnorm(x, w, {}) end,
  }
end

local function swiglu(n, c)
  local gate, up = random({ n, c }, true), random({ n, c }, true)
  return {
    name = ("swiglu %d x %d"):format(n, c),
    call = function() return core.swiglu(gate, up) end,
  }
end

local function rope(n, c, d)
  local x, positions = random({ n, c }, true), ints(n, function(i) return (i - 1) % 256 end)
  return {
    name = ("rope %d x %d"):format(n, c),
    call = function() return core.rope(x, positions, { head_dim = d, interleaved = true }) end,
  }
end

local function list()
  return {
    linear(8192, 64, 64),
    linear(8192, 64, 32),
    linear(8192, 64, 172),
    linear(8192, 172, 64),
    linear(2048, 288, 288),
    linear(2048, 288, 768),
    linear(2048, 768, 288),
    linear(64, 64, 64),
    linear(64, 64, 512),
    linear(64, 288, 768),
    linear(64, 288, 32000),
    attention(32, 256, 8, 4, 8),
    attention(8, 256, 6, 6, 48),
    cross_entropy(8192, 64, 512),
    cross_entropy(2048, 288, 32000),
    rmsnorm(8192, 64),
    rmsnorm(2048, 288),
    swiglu(8192, 172),
    swiglu(2048, 768),
    rope(8192, 64, 8),
    rope(2048, 288, 48),
  }
end

local function time(fn)
  local began = system.monotonic()
  local result = fn()
  return system.monotonic() - began, result
end

--- Times every op of the list.
-- @tparam integer samples
-- @treturn table list of {name, flops, forward_ms, forward_gflops, backward_ms, backward_gflops}
function op_times.run(samples)
  local results = {}
  local scope <close> = core.scope("bench.ops")
  for _, case in ipairs(list()) do
    local forward, backward = {}, {}
    for i = 0, samples do
      local step <close> = core.scope("bench.op")
      local seconds, y = time(case.call)
      local loss = #y:shape() > 0 and y:sum() or y
      local seconds_back = time(function() loss:backward() end)
      if i > 0 then -- the first warms up
        forward[i], backward[i] = seconds, seconds_back
      end
    end
    local f, b = stats.median(forward), stats.median(backward)
    results[#results + 1] = {
      name = case.name,
      flops = case.flops,
      forward_ms = 1e3 * f,
      forward_gflops = case.flops and case.flops / f * 1e-9,
      backward_ms = 1e3 * b,
      backward_gflops = case.flops and 2 * case.flops / b * 1e-9,
    }
  end
  return results
end

return op_times
