--- How well scores order ranked answers: differences of pairs, accuracy, calibration.

local ranking = {}

--- Score differences of all pairs of different rank, better answer first.
-- @tparam {number,...} scores of all sets, laid end to end
-- @tparam {table,...} ranks of each set; rank 1 is best
-- @treturn {number,...}
function ranking.gaps(scores, ranks)
  local gaps, at = {}, 0
  for _, set in ipairs(ranks) do
    for i = 1, #set do
      for j = 1, #set do
        if set[i] < set[j] then
          gaps[#gaps + 1] = scores[at + i] - scores[at + j]
        end
      end
    end
    at = at + #set
  end
  return gaps
end

local function rightness(gap)
  return gap > 0 and 1 or gap == 0 and 0.5 or 0
end

--- How many pairs are ordered right, and whether confidence is earned: of the pairs that the model
-- gives probability p = σ(gap) to order right, how many does it order right?
-- @tparam {number,...} gaps
-- @treturn table `eval_accuracy`, `eval_pairs`, `eval_accuracy_p50` ... `_p90` (accuracy of the
--   pairs with p in tenths from .5), `eval_calibration_error` (mean |accuracy - p| over the tenths,
--   weighted by their pairs)
function ranking.calibration(gaps)
  local right, bins = 0, {}
  for _, gap in ipairs(gaps) do
    local confidence = 1 / (1 + math.exp(-math.abs(gap)))
    local place = math.min(5, 1 + math.floor((confidence - 0.5) * 10))
    local bin = bins[place] or { n = 0, right = 0, confidence = 0 }
    bins[place] = bin
    bin.n = bin.n + 1
    bin.right = bin.right + rightness(gap)
    bin.confidence = bin.confidence + confidence
    right = right + rightness(gap)
  end
  local figures = { eval_accuracy = right / math.max(1, #gaps), eval_pairs = #gaps }
  local error_sum = 0
  for place, bin in pairs(bins) do
    figures[("eval_accuracy_p%d"):format(40 + 10 * place)] = bin.right / bin.n
    error_sum = error_sum + math.abs(bin.right - bin.confidence)
  end
  figures.eval_calibration_error = error_sum / math.max(1, #gaps)
  return figures
end

--- Ranks of values: 1 for the highest; equal values share a rank, and the next has as many better
-- ones as there are, plus 1 (1, 2, 2, 4).
-- @tparam {number,...} values
-- @treturn {integer,...}
function ranking.ranks(values)
  local ranks = {}
  for i, value in ipairs(values) do
    ranks[i] = 1
    for _, other in ipairs(values) do
      if other > value then
        ranks[i] = ranks[i] + 1
      end
    end
  end
  return ranks
end

--- How much there is to learn from ranked sets.
-- @tparam {table,...} sets each with `ranks`
-- @treturn integer answers
-- @treturn integer pairs
-- @treturn integer ties among the pairs
function ranking.count(sets)
  local answers, pairs_seen, ties = 0, 0, 0
  for _, set in ipairs(sets) do
    local ranks = set.ranks
    answers = answers + #ranks
    for i = 1, #ranks do
      for j = i + 1, #ranks do
        pairs_seen = pairs_seen + 1
        ties = ties + (ranks[i] == ranks[j] and 1 or 0)
      end
    end
  end
  return answers, pairs_seen, ties
end

return ranking
