--- `perilune bench kept`: products with weights of kept dtypes beside those with float32 ones,
-- whose packed copy is made before.
--
-- Samples go by turns, kept and float32; the median of the ratios of neighbours counts. Weights are
-- larger than caches, as all of a model's are between one token and the next.

local core = require("perilune.core")
local stats = require("perilune.base.stats")
local system = core.system

local kept_products = {}

-- Elements and bytes of a block.
local blocks = {
  { "bfloat16", 1, 2 },
  { "float16", 1, 2 },
  { "q8_0", 32, 34 },
  { "q4_0", 32, 18 },
  { "q4_1", 32, 20 },
  { "q5_0", 32, 22 },
  { "q5_1", 32, 24 },
  { "q4_k", 256, 144 },
  { "q5_k", 256, 176 },
  { "q6_k", 256, 210 },
}

--- Rows of x: a token, a few answers at once, a prompt or a training batch.
kept_products.rows = { 1, 8, 64, 512 }

-- Enough calls for a sample of about this long.
local SAMPLE_SECONDS <const> = 0.02

local function seconds_of(x, weight, times)
  local scope <close> = core.scope("bench.kept")
  local began = system.monotonic()
  for _ = 1, times do
    core.linear(x, weight):free()
  end
  return (system.monotonic() - began) / times
end

local function measure(x, kept, float, samples)
  local own, ratios = {}, {}
  seconds_of(x, float, 1)
  local times = math.max(1, math.floor(SAMPLE_SECONDS / seconds_of(x, kept, 1)))
  for i = 1, samples do
    own[i] = seconds_of(x, kept, times)
    ratios[i] = own[i] / seconds_of(x, float, times)
  end
  return {
    seconds = stats.median(own),
    ratio = stats.median(ratios),
    least = math.min(table.unpack(ratios)),
    greatest = math.max(table.unpack(ratios)),
  }
end

--- Every dtype with every number of rows, x [m,k] times a weight [n,k].
-- @tparam integer samples
-- @tparam ?integer n (default: 16384)
-- @tparam ?integer k a multiple of 256 (default: 768)
-- @treturn {table,...} dtype, m, bytes of the weight, seconds, ratio (to float32's), least,
--   greatest
function kept_products.run(samples, n, k)
  n, k = n or 16384, k or 768
  local guard <close> = core.no_grad() -- luacheck: ignore
  local wish, results = core.gemm().wish, {}
  core.gemm("own")
  for _, block in ipairs(blocks) do
    local scope <close> = core.scope("bench.kept") -- luacheck: ignore
    local dtype, elements, bytes = table.unpack(block)
    local ones = ("\0\60"):rep(n * k // elements * bytes // 2) -- every scale is 1
    local kept = core.from_bytes(ones, dtype, { n, k })
    local float = kept:cast():name("float32")
    for _, m in ipairs(kept_products.rows) do
      local row = measure(core.randn({ m, k }, { seed = 1 }), kept, float, samples)
      row.dtype, row.m, row.bytes = dtype, m, #ones
      results[#results + 1] = row
    end
  end
  core.gemm(wish)
  return results
end

return kept_products
