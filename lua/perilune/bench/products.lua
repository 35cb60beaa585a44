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
