--- `perilune bench gemm`: the engine's own matrix products beside OpenBLAS's.
--
-- Each kind of processor that this one can play is a process of its own, since kernels are chosen
-- when it starts: PERILUNE_ISA for ours, OPENBLAS_CORETYPE for OpenBLAS's. In it samples go by
-- turns, own and OpenBLAS, and the median of the ratios of neighbours counts. This file is that
-- process's program too: perilune products.lua SAMPLES.

local core = require("perilune.core")
local host = require("perilune.host")
local json = require("perilune.base.json")
local stats = require("perilune.base.stats")
local system = core.system

local products = {}

--- Kernels of ours and of OpenBLAS's; the first is what this processor gets by itself.
products.hosts = {
  {},
  { isa = "avx2", core = "Haswell" },
  { isa = "plain", core = "Sandybridge" },
  { isa = "plain", core = "Nehalem" },
  { isa = "plain", core = "Prescott" },
}

--- What is multiplied, C[m,n] = op(A) op(B) over k: squares, decoding and prefill of a layer
-- 768 -> 3072, its two gradients for 512 tokens, a head, a narrow layer.
products.shapes = {
  { name = "square", m = 192, n = 192, k = 192 },
  { name = "square", m = 512, n = 512, k = 512 },
  { name = "square", m = 1024, n = 1024, k = 1024 },
  { name = "x Wᵀ", m = 1, n = 3072, k = 768 },
  { name = "x Wᵀ", m = 4, n = 3072, k = 768 },
  { name = "x Wᵀ", m = 16, n = 3072, k = 768 },
  { name = "x Wᵀ", m = 64, n = 3072, k = 768 },
  { name = "x Wᵀ", m = 512, n = 3072, k = 768 },
  { name = "dy W", m = 512, n = 768, k = 3072 },
  { name = "dyᵀ x", m = 3072, n = 768, k = 512 },
  { name = "head", m = 64, n = 16384, k = 768 },
  { name = "narrow", m = 2048, n = 1024, k = 64 },
}

-- Enough calls for a sample of about this long.
local SAMPLE_SECONDS <const> = 0.03

local function calls_of(shape, dtype)
  local function random(rows, columns)
    return core.randn({ rows, columns }, { seed = 1, dtype = dtype })
  end
  local m, n, k = shape.m, shape.n, shape.k
  if shape.name == "square" or shape.name == "dy W" then
    local a, b = random(m, k), random(k, n)
    return function() return core.matmul(a, b) end
  elseif shape.name == "dyᵀ x" then
    local a, b = random(k, m), random(k, n)
    return function() return core.matmul(a, b, { transpose_a = true }) end
  end
  local x, w = random(m, k), random(n, k):name("w")
  return function() return core.linear(x, w) end
end

local function seconds_of(way, call, times)
  core.gemm(way)
  local scope <close> = core.scope("bench.products")
  local began = system.monotonic()
  for _ = 1, times do
    call():free()
  end
  return (system.monotonic() - began) / times
end

--- One shape in one dtype: {own = GFLOP/s, openblas = ratio, least, greatest}.
local function measure(shape, dtype, samples)
  local scope <close> = core.scope("bench.product")
  local call = calls_of(shape, dtype)
  seconds_of("openblas", call, 1)
  seconds_of("own", call, 1)
  local longer = math.max(seconds_of("own", call, 1), seconds_of("openblas", call, 1))
  local times = math.max(1, math.floor(SAMPLE_SECONDS / longer))
  local own, ratios = {}, {}
  for i = 1, samples do
    own[i] = seconds_of("own", call, times)
    ratios[i] = own[i] / seconds_of("openblas", call, times)
  end
  return {
    own = 2e-9 * shape.m * shape.n * shape.k / stats.median(own),
    ratio = stats.median(ratios),
    least = math.min(table.unpack(ratios)),
    greatest = math.max(table.unpack(ratios)),
  }
end

--- What is multiplied in bfloat16 beside float32, x Wᵀ: decoding and training of a layer 768 ->
-- 3072 and back, a wider one, a head; `step`: with both gradients, dy W and dyᵀ x.
products.precision_shapes = {
  { m = 1, n = 3072, k = 768 },
  { m = 16, n = 3072, k = 768 },
  { m = 64, n = 3072, k = 768 },
  { m = 256, n = 3072, k = 768 },
  { m = 1024, n = 3072, k = 768 },
  { m = 2048, n = 3072, k = 768 },
  { m = 2048, n = 768, k = 3072 },
  { m = 1024, n = 2048, k = 2048 },
  { m = 64, n = 16384, k = 768 },
  { m = 1024, n = 3072, k = 768, step = true },
  { m = 1024, n = 768, k = 3072, step = true },
}

--- On one thread by the processor's time, which other programs hardly lengthen.
local function seconds_at(precision, shape, x, w, times)
  local options = { precision = precision }
  local clock = core.threads() == 1 and os.clock or system.monotonic
  local scope <close> = core.scope("bench.products")
  local began = clock()
  for _ = 1, times do
    local frame <close> = core.frame("bench.product")
    local y = core.linear(x, w, nil, options)
    if shape.step then y:backward(y) end
  end
  return (clock() - began) / times
end

--- One shape in both precisions by turns: {m, n, k, step, float32 and bf16 = GFLOP/s at the median,
--- best = the same at the least time, ratio, least, greatest: how many times bf16 is faster}.
local function measure_precision(shape, samples)
  local scope <close> = core.scope("bench.product")
  local x = core.randn({ shape.m, shape.k }, { seed = 1 }):requires_grad(shape.step)
  local w = core.randn({ shape.n, shape.k }, { seed = 2 }):requires_grad(shape.step)
  local function seconds(precision, times) return seconds_at(precision, shape, x, w, times) end
  seconds("bf16", 1)
  local times = math.max(1, math.floor(SAMPLE_SECONDS / seconds("float32", 1)))
  local float32, bf16, ratios = {}, {}, {}
  for i = 1, samples do
    float32[i], bf16[i] = seconds("float32", times), seconds("bf16", times)
    ratios[i] = float32[i] / bf16[i]
  end
  local work = 2e-9 * shape.m * shape.n * shape.k * (shape.step and 3 or 1)
  return {
    m = shape.m,
    n = shape.n,
    k = shape.k,
    step = shape.step,
    float32 = work / stats.median(float32),
    bf16 = work / stats.median(bf16),
    best = work / math.min(table.unpack(bf16)),
    ratio = stats.median(ratios),
    least = math.min(table.unpack(ratios)),
    greatest = math.max(table.unpack(ratios)),
  }
end

--- Products in bfloat16 beside those in float32, on this processor.
-- @tparam integer samples
-- @tparam ?table shapes (default: products.precision_shapes)
-- @treturn table rule, native (see core.bf16), threads, limit (GFLOP/s of the rule's instruction in
--   registers), rows
function products.precisions(samples, shapes)
  local rule, native = core.bf16()
  local result = { rule = rule, native = native, threads = core.threads(), rows = {} }
  for i, shape in ipairs(shapes or products.precision_shapes) do
    result.rows[i] = measure_precision(shape, samples)
  end
  result.limit = core.profile.measure().bfloat16 * 1e-9
  return result
end

--- Every shape in both types with the kernels of this process.
-- @tparam integer samples
-- @tparam ?table shapes (default: products.shapes)
-- @treturn table isa, core, threads, auto (what core.gemm says), rows: {name, m, n, k, float32,
--   float64}
function products.here(samples, shapes)
  local wish = core.gemm().wish
  local result = {
    isa = core.isa(),
    core = system.openblas().core,
    threads = core.threads(),
    auto = core.gemm("auto"),
    rows = {},
  }
  for i, shape in ipairs(shapes or products.shapes) do
    result.rows[i] = {
      name = shape.name,
      m = shape.m,
      n = shape.n,
      k = shape.k,
      float32 = measure(shape, "float32", samples),
      float64 = measure(shape, "float64", samples),
    }
  end
  core.gemm(wish)
  return result
end

--- The results of products.here for each kind of processor.
-- @tparam integer samples
-- @tparam ?function note told of each kind before it is measured
function products.run(samples, note)
  local path, results = host.root .. "/lua/perilune/bench/products.lua", {}
  local isa, core_type = os.getenv("PERILUNE_ISA"), os.getenv("OPENBLAS_CORETYPE")
  for _, kind in ipairs(products.hosts) do
    if note then note(kind) end
    system.setenv("PERILUNE_ISA", kind.isa or isa)
    system.setenv("OPENBLAS_CORETYPE", kind.core or core_type)
    local pipe = assert(io.popen(("'%s' '%s' %d"):format(host.executable, path, samples)))
    results[#results + 1] = json.decode(pipe:read("a"))
    pipe:close()
  end
  system.setenv("PERILUNE_ISA", isa)
  system.setenv("OPENBLAS_CORETYPE", core_type)
  return results
end

if ... ~= "perilune.bench.products" then print(json.encode(products.here(math.tointeger(...)))) end

return products
