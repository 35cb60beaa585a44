--- `perilune bench scaling`: how time and memory grow with tokens, length, vocabulary, width,
-- answers and threads, each as an exponent.
--
-- A curve is a small model of Llama's kind at sizes that double or quadruple; a point is a worker
-- of its own, so that its memory is its own. The exponent e of y ~ n^e is the slope of ln y over
-- ln n by least squares over the upper half of the points: below them what does not grow counts
-- most. Time is split by a profile into attention and the rest, for attention grows with the square
-- of a sequence and nothing else may grow faster than its tokens.

local core = require("perilune.core")
local duel = require("perilune.bench.duel")

local scaling = {}

-- Exponents are measured: what is this little above the allowed one is not called a fault.
local TOLERANCE <const> = 0.15

local SMALL <const> = { c = 128, layers = 2, heads = 2, f = 384, v = 512, context = 512 }

-- "key=value" of the small shape with what differs from it.
local function words(changes)
  local list = {}
  for key, value in pairs(SMALL) do
    list[#list + 1] = ("%s=%d"):format(key, changes[key] or value)
  end
  for key, value in pairs(changes) do
    if not SMALL[key] then list[#list + 1] = ("%s=%s"):format(key, value) end
  end
  table.sort(list)
  return list
end

local function train(batch, length, changes)
  return {
    what = "train",
    model = "llama",
    batch = batch,
    length = length,
    words = words(changes or {}),
  }
end

local function generate(batch, length, prompt, changes)
  return {
    what = "generate",
    model = "llama",
    batch = batch,
    length = length,
    prompt = prompt,
    words = words(changes),
  }
end

local function threads_of_machine()
  local values, n = {}, 1
  while n < core.threads() do
    values[#values + 1] = n
    n = n * 2
  end
  values[#values + 1] = core.threads()
  return values
end

--- A curve.
-- @class ScalingCurve
-- @field string name what `--row` calls it
-- @field string title of the chart
-- @field string x what is on its axis
-- @field {integer,...} values that are measured
-- @field function case of a value: gives a case for perilune.bench.duel
-- @field ?number time the largest exponent of time that is right; nil: none is told
-- @field ?number attention the largest of attention's time; then `time` is that of the rest
-- @field ?number memory the largest of memory

--- What is measured, in the order of the page.
-- @type {ScalingCurve,...}
scaling.curves = {
  {
    name = "tokens",
    title = "Training step: tokens, in sequences of 256",
    x = "tokens",
    values = { 256, 1024, 4096, 8192, 16384, 32768 },
    case = function(n) return train(n // 256, 256) end,
    time = 1,
    memory = 1,
  },
  {
    name = "length",
    title = "Training step: the length of one sequence",
    x = "tokens",
    values = { 256, 1024, 4096, 8192, 16384, 32768 },
    case = function(n) return train(1, n, { context = n + 1 }) end,
    time = 1,
    attention = 2,
    memory = 1,
  },
  {
    name = "vocabulary",
    title = "Training step of 1,024 tokens: entries of the vocabulary",
    x = "entries",
    values = { 512, 4096, 32768, 65536, 131072, 262144 },
    case = function(n) return train(4, 256, { v = n }) end,
    time = 1,
    memory = 1,
  },
  {
    name = "width",
    title = "Training step of 1,024 tokens: width, heads of 64",
    x = "width",
    values = { 64, 128, 256, 512, 1024 },
    case = function(n) return train(4, 256, { c = n, heads = n // 64, f = 3 * n }) end,
    time = 2,
    memory = 2,
  },
  {
    name = "answers",
    title = "Generation: answers of 64 tokens to one prompt of 256",
    x = "answers",
    values = { 1, 4, 16, 64, 128, 256 },
    case = function(n) return generate(n, 64, 256, { samples = n }) end,
    time = 1,
    memory = 1,
  },
  {
    name = "answer-length",
    title = "Generation: length of 8 answers",
    x = "tokens",
    values = { 64, 256, 1024, 2048, 4096 },
    case = function(n) return generate(8, n, 16, { context = n + 16 }) end,
    time = 1,
    attention = 2,
    memory = 1,
  },
  {
    name = "threads",
    title = "Training step of 4,096 tokens: threads",
    x = "threads",
    values = threads_of_machine(),
    case = function(n)
      local case = train(16, 256, { c = 256, heads = 4, f = 768 })
      case.threads = n
      return case
    end,
  },
}

--- The exponent e of y ~ n^e by least squares over logarithms.
-- @tparam {number,...} n sizes, over 0
-- @tparam {?number,...} y of each, over 0; others are left out
-- @tparam ?integer first the points from this one on count (default: all)
-- @treturn ?number nil with fewer than two points
function scaling.exponent(n, y, first)
  local count, sx, sy, sxx, sxy = 0, 0.0, 0.0, 0.0, 0.0
  for i = first or 1, #n do
    if y[i] and y[i] > 0 then
      local a, b = math.log(n[i]), math.log(y[i])
      count, sx, sy, sxx, sxy = count + 1, sx + a, sy + b, sxx + a * a, sxy + a * b
    end
  end
  local spread = count * sxx - sx * sx
  return count > 1 and spread > 0 and (count * sxy - sx * sy) / spread or nil
end

-- Seconds of a step, its attention apart; bytes beyond what the model and its moments take.
local function measure(case, opts)
  local result = duel.run(case, {
    samples = opts.samples,
    seconds = opts.seconds,
    profile = true,
    note = function() end,
  })
  local seconds = case.batch * case.length / result.ours.rate
  local attention = 0.0
  for name, of_op in pairs(result.limits.ops) do
    if name:find("^attention") then attention = attention + of_op end
  end
  local share = attention / result.limits.seconds
  return {
    seconds = seconds,
    attention = seconds * share,
    rest = seconds * (1 - share),
    bytes = result.ours.peak - result.ours.base,
    peak = result.ours.peak,
    rate = result.ours.rate,
    of_limits = result.limits.of_limits,
  }
end

-- What a curve says in words: what grows faster than it should.
local function complaint(name, exponent, allowed)
  if not (exponent and allowed and exponent > allowed + TOLERANCE) then return nil end
  return ("%s grows as n^%.2f, where n^%g is right"):format(name, exponent, allowed)
end

--- Measures a curve.
-- @tparam ScalingCurve curve
-- @tparam table opts `samples` of each point; `seconds` (no sample of a point begins later);
--   `note` (function that is told each value and its point)
-- @treturn table `curve`, `values`; lists `seconds`, `attention`, `rest`, `bytes` (beyond the model
--   and its moments), `peak`, `rate` (tokens a second), `of_limits`; `exponents` of the first four
--   by name; `complaints`
function scaling.measure(curve, opts)
  local result = { curve = curve.name, values = curve.values, exponents = {}, complaints = {} }
  for i, n in ipairs(curve.values) do
    local point = measure(curve.case(n), opts)
    for name, figure in pairs(point) do
      result[name] = result[name] or {}
      result[name][i] = figure
    end
    opts.note(n, point)
  end
  local first = #curve.values // 2 + 1
  if #curve.values - first < 1 then first = 1 end
  for _, name in ipairs { "seconds", "attention", "rest", "bytes" } do
    result.exponents[name] = scaling.exponent(curve.values, result[name], first)
  end
  local e = result.exponents
  local function check(...) table.insert(result.complaints, (complaint(...))) end
  if curve.attention then
    check("time of attention", e.attention, curve.attention)
    check("time of everything but attention", e.rest, curve.time)
  else
    check("time", e.seconds, curve.time)
  end
  check("memory", e.bytes, curve.memory)
  return result
end

return scaling
