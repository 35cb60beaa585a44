--- `perilune bench attention`: attention in float32 and bfloat16, of training and of decoding.
--
-- A row is a length and a size of heads. GFLOP/s count the products alone: of each query with the
-- keys it sees and of the weights with their values, and in backward five products for two. A step
-- of decoding has one new token in each of so many sequences; what counts is the bytes of the
-- caches it reads, once each, a second.

local core = require("perilune.core")
local stats = require("perilune.base.stats")

local attention_times = {}

--- Training: sequences, their length, heads, key heads, channels of a head.
attention_times.shapes = {
  { b = 16, t = 64, heads = 8, kv_heads = 4, d = 8 },
  { b = 32, t = 256, heads = 8, kv_heads = 4, d = 8 },
  { b = 8, t = 256, heads = 6, kv_heads = 6, d = 48 },
  { b = 4, t = 256, heads = 12, kv_heads = 12, d = 64 },
  { b = 2, t = 1024, heads = 4, kv_heads = 4, d = 64 },
  { b = 1, t = 4096, heads = 2, kv_heads = 2, d = 64 },
  { b = 2, t = 1024, heads = 4, kv_heads = 4, d = 64, window = 128 },
  { b = 2, t = 1024, heads = 2, kv_heads = 1, d = 128 },
  { b = 1, t = 1024, heads = 4, kv_heads = 1, d = 256 },
}

--- Decoding: sequences, tokens before the new one, heads, key heads, channels, layers in turn.
attention_times.steps = {
  { b = 64, t = 80, heads = 8, kv_heads = 4, d = 8, layers = 5 },
  { b = 64, t = 80, heads = 6, kv_heads = 6, d = 48, layers = 6 },
  { b = 16, t = 80, heads = 12, kv_heads = 12, d = 64, layers = 12 },
  { b = 16, t = 500, heads = 9, kv_heads = 3, d = 64, layers = 8 },
  { b = 8, t = 500, heads = 4, kv_heads = 1, d = 256, layers = 18 },
}

-- Enough calls for a sample of about this long.
local SAMPLE_SECONDS <const> = 0.03

local function random(rows, columns) return core.randn({ rows, columns }, { seed = 1, b = 0.5 }) end

local function offsets(b, t)
  local list = {}
  for i = 0, b do
    list[i + 1] = i * t
  end
  return core.tensor(list, "int32")
end

--- On one thread by the processor's time, which other programs hardly lengthen.
local function clock() return core.threads() == 1 and os.clock() or core.system.monotonic() end

-- Median seconds of a call; `seconds(times)` tells those of so many.
local function median(samples, seconds)
  seconds(1)
  local times, list = math.max(1, math.floor(SAMPLE_SECONDS / seconds(1))), {}
  for i = 1, samples do
    list[i] = seconds(times) / times
  end
  return stats.median(list)
end

-- Pairs of a query and a key that it sees.
local function pairs_of(shape)
  local seen = math.min(shape.window or shape.t, shape.t)
  return shape.b * (seen * (seen + 1) / 2 + (shape.t - seen) * seen)
end

local function training(shape, precision, samples)
  local scope <close> = core.scope("bench.attention") -- luacheck: ignore
  local n, at = shape.b * shape.t, offsets(shape.b, shape.t)
  local q = random(n, shape.heads * shape.d):requires_grad(true)
  local k = random(n, shape.kv_heads * shape.d):requires_grad(true)
  local v = random(n, shape.kv_heads * shape.d):requires_grad(true)
  local dy = random(n, shape.heads * shape.d)
  local options = { heads = shape.heads, kv_heads = shape.kv_heads, window = shape.window }
  options.precision = precision
  local function seconds(times, backward)
    local sum = 0
    for _ = 1, times do
      local frame <close> = core.frame("bench.attention") -- luacheck: ignore
      local began = clock()
      local y = core.attention(q, k, v, at, options)
      if backward then began = clock() end
      if backward then y:backward(dy) end
      sum = sum + clock() - began
    end
    return sum
  end
  local work = 4e-9 * pairs_of(shape) * shape.heads * shape.d
  local forward = median(samples, function(times) return seconds(times) end)
  local backward = median(samples, function(times) return seconds(times, true) end)
  return { forward = work / forward, backward = 2.5 * work / backward }
end

-- Gigabytes of cache a second.
local function decoding(step, precision, samples)
  local scope <close> = core.scope("bench.attention") -- luacheck: ignore
  local guard <close> = core.no_grad() -- luacheck: ignore
  local bf16 = precision == "bf16"
  local width, caches = bf16 and (step.d + 1) // 2 or step.d, {}
  local len = (step.t + 64) // 64 * 64
  for i = 1, 2 * step.layers do
    caches[i] = core.zeros { step.b, step.kv_heads, len, width }
  end
  local q, k = random(step.b, step.heads * step.d), random(step.b, step.kv_heads * step.d)
  local slots, past, at = {}, {}, offsets(step.b, 1)
  for i = 1, step.b do
    slots[i], past[i] = i - 1, step.t
  end
  slots, past = core.tensor(slots, "int32"), core.tensor(past, "int32")
  local options = { heads = step.heads, kv_heads = step.kv_heads, precision = precision }
  local layer = 0
  local function seconds(times)
    local began = clock()
    for _ = 1, times do
      local frame <close> = core.frame("bench.attention") -- luacheck: ignore
      layer = layer % step.layers + 1
      local keys, values = caches[2 * layer - 1], caches[2 * layer]
      core.attention_cached(q, k, k, at, keys, values, slots, past, options)
    end
    return clock() - began
  end
  local bytes = 2e-9 * step.b * step.kv_heads * (step.t + 1) * width * 4
  local time = median(samples, seconds)
  return { seconds = time, rate = bytes / time }
end

--- Every shape and step in both precisions.
-- @tparam integer samples
-- @tparam ?table shapes (default: attention_times.shapes)
-- @tparam ?table steps (default: attention_times.steps)
-- @treturn table threads, rule (see core.bf16), limits (see core.profile.measure), training and
--   decoding: lists of {shape =, float32 =, bf16 =}, of training {forward, backward} in GFLOP/s, of
--   decoding {seconds, rate in GB/s}
function attention_times.run(samples, shapes, steps)
  local result = { threads = core.threads(), rule = core.bf16(), training = {}, decoding = {} }
  for i, shape in ipairs(shapes or attention_times.shapes) do
    result.training[i] = {
      shape = shape,
      float32 = training(shape, "float32", samples),
      bf16 = training(shape, "bf16", samples),
    }
  end
  for i, step in ipairs(steps or attention_times.steps) do
    result.decoding[i] = {
      shape = step,
      float32 = decoding(step, "float32", samples),
      bf16 = decoding(step, "bf16", samples),
    }
  end
  result.limits = core.profile.measure()
  return result
end

return attention_times
