--- How well scores order ranked answers: differences of pairs, accuracy, calibration.

local batch = require("perilune.data.batch")
local list = require("perilune.base.list")
local stats = require("perilune.base.stats")

local ranking = {}

--- Score differences of all pairs of different rank, better answer first.
-- @tparam {number,...} scores of all sets, laid end to end
-- @tparam {{number,...},...} ranks of each set; rank 1 is best
-- @treturn {number,...} one for each pair of different rank
function ranking.gaps(scores, ranks)
  local gaps, at = {}, 0
  for _, set in ipairs(ranks) do
    for i = 1, #set do
      for j = 1, #set do
        if set[i] < set[j] then gaps[#gaps + 1] = scores[at + i] - scores[at + j] end
      end
    end
    at = at + #set
  end
  return gaps
end

local function rightness(gap) return gap > 0 and 1 or gap == 0 and 0.5 or 0 end

--- How many pairs are ordered right, and whether confidence is earned: of the pairs that the model
-- gives probability p = σ(gap) to order right, how many does it order right?
-- @tparam {number,...} gaps of `ranking.gaps`
-- @treturn table `eval_accuracy` (a fraction) with its interval `eval_accuracy_ci95`, `eval_pairs`,
--   `eval_accuracy_p50` ... `_p90` (accuracy of the pairs with p in tenths from .5),
--   `eval_calibration_error` (mean |accuracy - p| over the tenths, weighted by their pairs); of no
--   pairs `eval_pairs` alone
function ranking.calibration(gaps)
  if #gaps == 0 then return { eval_pairs = 0 } end
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
  local rate = stats.rate(right, #gaps)
  local figures = {
    eval_accuracy = rate.mean,
    eval_accuracy_ci95 = { rate.low, rate.high },
    eval_pairs = #gaps,
  }
  local error_sum = 0
  for place, bin in pairs(bins) do
    figures[("eval_accuracy_p%d"):format(40 + 10 * place)] = bin.right / bin.n
    error_sum = error_sum + math.abs(bin.right - bin.confidence)
  end
  figures.eval_calibration_error = error_sum / #gaps
  return figures
end

--- The same by who ranked: a reward model may have learnt one labeler's taste.
-- @tparam {number,...} scores of all sets, laid end to end
-- @tparam {{ranks=table,row=Row},...} sets each with `ranks`, and `row.labeler` ("unknown" when it
--   has none)
-- @treturn {[string]=table} by labeler: `accuracy`, a fraction; `ci95`, its low and high; `pairs`
function ranking.by_labeler(scores, sets)
  local seen, at = {}, 0
  for _, set in ipairs(sets) do
    local name = set.row and set.row.labeler or "unknown"
    local own = seen[name] or { right = 0, pairs = 0 }
    seen[name] = own
    local part = table.move(scores, at + 1, at + #set.ranks, 1, {})
    for _, gap in ipairs(ranking.gaps(part, { set.ranks })) do
      own.right = own.right + rightness(gap)
      own.pairs = own.pairs + 1
    end
    at = at + #set.ranks
  end
  local figures = {}
  for name, own in pairs(seen) do
    if own.pairs > 0 then
      local rate = stats.rate(own.right, own.pairs)
      figures[name] = { accuracy = rate.mean, ci95 = { rate.low, rate.high }, pairs = own.pairs }
    end
  end
  return figures
end

--- How far scores go with the truth within each prompt, and what the best of n answers is worth in
-- truth when the scores choose it among the answers there are.
-- @tparam {number,...} scores of all sets, laid end to end
-- @tparam {number,...} gold the truth of each answer; larger is better
-- @tparam {{number,...},...} ranks of each set, for its size
-- @treturn table `correlation` within prompts (none where nothing differs); `accuracy`, part of the
--   pairs of different truth that the scores order so, with `accuracy_ci95` and `pairs` (0: neither
--   of both); `best_of`, a list of `n` (1, 2, 4, ...), `chosen` (worth of the best by scores),
--   `oracle` (by the truth itself) and `sets` that have n answers
function ranking.against(scores, gold, ranks)
  local groups, right, pairs_seen, most, starts, at = {}, 0, 0, 0, {}, 0
  local function of_set(values, i)
    return table.move(values, starts[i] + 1, starts[i] + #ranks[i], 1, {})
  end
  for i, set in ipairs(ranks) do
    starts[i], most = at, math.max(most, #set)
    for _ = 1, #set do
      at = at + 1
      groups[at] = i
    end
    local correct, n = stats.ordered_pairs(of_set(scores, i), of_set(gold, i))
    right, pairs_seen = right + correct, pairs_seen + n
  end
  local figures = { pairs = pairs_seen, best_of = {} }
  figures.correlation = #scores > 1 and stats.correlation_within(scores, gold, groups) or nil
  if pairs_seen > 0 then
    local rate = stats.rate(right, pairs_seen)
    figures.accuracy, figures.accuracy_ci95 = rate.mean, { rate.low, rate.high }
  end
  local n = 1
  while n <= most do
    local chosen, oracle = {}, {}
    for i, set in ipairs(ranks) do
      if #set >= n then
        local worth = of_set(gold, i)
        chosen[#chosen + 1] = stats.best_of(worth, n, of_set(scores, i))
        oracle[#oracle + 1] = stats.best_of(worth, n)
      end
    end
    figures.best_of[#figures.best_of + 1] =
      { n = n, chosen = stats.mean(chosen), oracle = stats.mean(oracle), sets = #chosen }
    n = n < most and math.min(most, n * 2) or n + 1
  end
  return figures
end

--- How unsure scores are of the order of answers: the mean over the pairs of a set of
-- 1 - |2 σ(difference) - 1|, which is 1 for equal scores and 0 for a sure order.
-- @tparam {number,...} scores of all sets, laid end to end
-- @tparam {integer,...} sizes of the sets, answers
-- @treturn {number,...} one for each set, 0 to 1; 0 of a set of one answer
function ranking.uncertainty(scores, sizes)
  local of_sets, first = {}, 0
  for s, size in ipairs(sizes) do
    local sum, count = 0, 0
    for i = first + 1, first + size do
      for j = i + 1, first + size do
        local sure = 1 / (1 + math.exp(-math.abs(scores[i] - scores[j])))
        sum, count = sum + 2 - 2 * sure, count + 1
      end
    end
    of_sets[s], first = sum / math.max(1, count), first + size
  end
  return of_sets
end

--- How far the members of an ensemble are apart: over each answer the deviation (over n - 1) of
-- their scores, each less its mean over the answers to the prompt, for members have scales with
-- zeros of their own. 0 of one member.
-- @tparam {{number,...},...} lists of each member the scores of all answers, set after set
-- @tparam {integer,...} sizes of the sets, answers
-- @treturn number mean over the answers
-- @treturn {number,...} means over the answers of each set
function ranking.disagreement(lists, sizes)
  local of_sets, sum, first = {}, 0, 0
  for s, size in ipairs(sizes) do
    local means, total = {}, 0
    for m, scores in ipairs(lists) do
      means[m] = stats.mean(list.slice(scores, first + 1, first + size))
    end
    for i = first + 1, #lists > 1 and first + size or first do
      local apart = {}
      for m, scores in ipairs(lists) do
        apart[m] = scores[i] - means[m]
      end
      total = total + stats.std(apart)
    end
    of_sets[s], sum, first = total / size, sum + total, first + size
  end
  return sum / math.max(1, first), of_sets
end

--- Ranks of values: 1 for the highest; equal values share a rank, and the next has as many better
-- ones as there are, plus 1 (1, 2, 2, 4).
-- @tparam {number,...} values larger is better
-- @treturn {integer,...}
function ranking.ranks(values)
  local ranks = {}
  for i, value in ipairs(values) do
    ranks[i] = 1
    for _, other in ipairs(values) do
      if other > value then ranks[i] = ranks[i] + 1 end
    end
  end
  return ranks
end

--- How much there is to learn from ranked sets.
-- @tparam {{ranks=table},...} sets each with `ranks`
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

--- Tokens of a set: what its forward costs.
-- @tparam {sequences=table} set with `sequences`, token ids of its answers behind their prompt
-- @treturn integer of all of them
-- @treturn number the second of `batch.load`
function ranking.tokens(set) return batch.load(set.sequences) end

--- Which sets are learnt from, and which are of labelers that are only measured on.
-- @tparam {{row=Row},...} sets each with `row.labeler`
-- @tparam string names of held-out labelers, separated by commas; "" for none
-- @treturn {integer,...} places of the sets to learn from
-- @treturn {integer,...} places of the others
function ranking.hold_out(sets, names)
  local is_held_out, kept, held_out = {}, {}, {}
  for name in names:gmatch("[^,]+") do
    is_held_out[name:match("^%s*(.-)%s*$")] = true
  end
  for i, set in ipairs(sets) do
    local into = is_held_out[set.row.labeler] and held_out or kept
    into[#into + 1] = i
  end
  return kept, held_out
end

return ranking
