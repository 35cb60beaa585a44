--- Simulated labelers: they rank answers by the gold score plus normal noise of their own.
--
-- Two labelers that see the true difference d of a pair through independent noise of deviation s
-- each order it rightly with p = Φ(d / (s √2)) and agree with p² + (1 - p)². `calibrate` finds the
-- s at which agreement over given sets is what one wants: people agreed on 73 % of pairs
-- (arXiv:2203.02155, section 3.4). Pairs of equal truth are pairs too: there two labelers agree by
-- chance. Draws are named by (seed, labeler, set, answer), so nothing depends on their order.

local pl = require("perilune")

local labeler = {}

--- The normal distribution function: Abramowitz and Stegun 26.2.17, error below 7.5e-8.
local function normal_cdf(x)
  local t = 1 / (1 + 0.2316419 * math.abs(x))
  local density = math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
  local polynomial = 0.319381530
    + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429)))
  local tail = density * t * polynomial
  return x >= 0 and 1 - tail or tail
end

--- The part of pairs two labelers are expected to agree on.
-- @tparam {{number,...},...} sets true scores of each set's answers
-- @tparam number noise deviation of a labeler's noise, above 0
-- @treturn number
function labeler.expected_agreement(sets, noise)
  local sum, pairs_seen = 0.0, 0
  for _, scores in ipairs(sets) do
    for i = 1, #scores do
      for j = i + 1, #scores do
        local p = normal_cdf((scores[i] - scores[j]) / (noise * math.sqrt(2)))
        sum, pairs_seen = sum + p * p + (1 - p) * (1 - p), pairs_seen + 1
      end
    end
  end
  if pairs_seen == 0 then error("labelers need sets of at least two answers to disagree on", 0) end
  return sum / pairs_seen
end

--- The noise at which two labelers agree on a wanted part of pairs; by bisection.
-- @tparam {{number,...},...} sets true scores
-- @tparam number agreement between 0.5 and what noiseless labelers reach
-- @treturn number deviation
function labeler.calibrate(sets, agreement)
  local low, high = 1e-3, 100
  local most = labeler.expected_agreement(sets, low)
  local least = labeler.expected_agreement(sets, high)
  if agreement < least or agreement > most then
    local text = "no noise makes two labelers agree on %.3f of these pairs, only %.3f to %.3f: the "
      .. "answers differ too little in their gold scores; set --agreement between, or train longer"
    error(text:format(agreement, least, most), 0)
  end
  for _ = 1, 40 do
    local middle = math.sqrt(low * high)
    if labeler.expected_agreement(sets, middle) > agreement then
      low = middle
    else
      high = middle
    end
  end
  return math.sqrt(low * high)
end

--- What a labeler thinks of a set's answers.
-- @tparam {number,...} scores true scores
-- @tparam table who `noise`, `seed`, `name` (a number: labelers differ by it)
-- @tparam integer set the set's number
-- @treturn {number,...}
function labeler.opinions(scores, who, set)
  local list = {}
  for k, score in ipairs(scores) do
    list[k] = score + who.noise * pl.random.normal(who.seed, "stories.opinion", who.name, set, k)
  end
  return list
end

--- The part of pairs on which two labelers do agree.
function labeler.measured_agreement(sets, first, second)
  local agreed, pairs_seen = 0, 0
  for number, scores in ipairs(sets) do
    local one = labeler.opinions(scores, first, number)
    local other = labeler.opinions(scores, second, number)
    local n, of = pl.stats.ordered_pairs(one, other)
    agreed, pairs_seen = agreed + n, pairs_seen + of
  end
  return agreed / pairs_seen
end

return labeler
