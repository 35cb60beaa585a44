--- Statistics of plain Lua lists: what tables and reports need, with honest intervals.
--
-- Intervals are of 95 %. For means they are mean ± t · s / √n with s the deviation over n - 1 and t
-- the quantile of Student's distribution (1.96 for many values, 2.78 for five: as for five seeds);
-- for rates Wilson's score interval (Wilson 1927), which stays inside [0, 1] and is fair at 0 and 1
-- too. Nothing is resampled, so the same numbers give the same interval.
--
-- An empty list has no mean: such calls raise, because a 0 would go into a table unseen.

local stats = {}

-- The 97.5 % quantile of the normal distribution.
local z95 = 1.959963984540054

local function need(xs, least, where)
  if type(xs) ~= "table" or #xs < least then
    local message = "%s needs a list of at least %d number%s, got %s"
    local got = type(xs) == "table" and #xs or type(xs)
    error(message:format(where, least, least == 1 and "" or "s", tostring(got)), 3)
  end
end

local function need_pairs(a, b, least, where)
  need(a, least, where)
  need(b, least, where)
  if #a ~= #b then
    error(("%s needs two lists of one length, got %d and %d"):format(where, #a, #b), 3)
  end
end

--- Sum, with Neumaier's compensation, so that the order of values hardly matters.
-- @tparam {number,...} xs values
-- @treturn number 0 for an empty list
function stats.sum(xs)
  local sum, lost = 0.0, 0.0
  for _, x in ipairs(xs) do
    local total = sum + x
    if math.abs(sum) >= math.abs(x) then
      lost = lost + (sum - total + x)
    else
      lost = lost + (x - total + sum)
    end
    sum = total
  end
  if sum - sum ~= 0 then return sum end
  return sum + lost
end

--- Arithmetic mean.
-- @tparam {number,...} xs values; raises when there is none
-- @treturn number in their unit
function stats.mean(xs)
  need(xs, 1, "stats.mean")
  return stats.sum(xs) / #xs
end

local function squared_deviations(xs, mean)
  local squares = {}
  for i, x in ipairs(xs) do
    squares[i] = (x - mean) ^ 2
  end
  return stats.sum(squares)
end

--- Variance over n - 1; 0 for a single value.
-- @tparam {number,...} xs values; raises when there is none
-- @treturn number in the square of their unit
function stats.variance(xs)
  need(xs, 1, "stats.variance")
  if #xs == 1 then return 0.0 end
  return squared_deviations(xs, stats.mean(xs)) / (#xs - 1)
end

--- Standard deviation over n - 1.
-- @tparam {number,...} xs values; raises when there is none
-- @treturn number in their unit
function stats.std(xs)
  need(xs, 1, "stats.std")
  return math.sqrt(stats.variance(xs))
end

--- The value below which a part `q` of the list lies, interpolated as numpy does by default.
-- @tparam {number,...} xs values, in any order; raises when there is none
-- @tparam number q 0 to 1, else it raises
-- @treturn number in their unit
function stats.quantile(xs, q)
  need(xs, 1, "stats.quantile")
  if type(q) ~= "number" or not (q >= 0 and q <= 1) then
    error(("stats.quantile needs q from 0 to 1, got %s"):format(tostring(q)), 2)
  end
  local sorted = table.move(xs, 1, #xs, 1, {})
  table.sort(sorted)
  local place = 1 + q * (#sorted - 1)
  local low = math.floor(place)
  local high = math.min(low + 1, #sorted)
  return sorted[low] + (sorted[high] - sorted[low]) * (place - low)
end

--- Median.
-- @tparam {number,...} xs values, in any order; raises when there is none
-- @treturn number in their unit; of an even number of values the mean of the two in the middle
function stats.median(xs)
  need(xs, 1, "stats.median")
  return stats.quantile(xs, 0.5)
end

-- The part of Student's distribution within ±t (Abramowitz & Stegun 26.7.3 and 26.7.4).
local function student_within(t, freedom)
  local angle = math.atan(t / math.sqrt(freedom))
  local cosine, odd = math.cos(angle), freedom % 2 == 1
  local sum, term = 0.0, odd and cosine or 1.0
  for k = odd and 3 or 2, freedom, 2 do
    sum = sum + term
    term = term * cosine * cosine * (k - 1) / k
  end
  sum = sum * math.sin(angle)
  return odd and 2 / math.pi * (angle + sum) or sum
end

-- The 97.5 % quantile of Student's distribution, by halving; the expansion in 1 / freedom (26.7.5)
-- where that is exact to 1e-7.
local function student95(freedom)
  if freedom >= 100 then
    local z = z95
    return z
      + (z ^ 3 + z) / (4 * freedom)
      + (5 * z ^ 5 + 16 * z ^ 3 + 3 * z) / (96 * freedom ^ 2)
      + (3 * z ^ 7 + 19 * z ^ 5 + 17 * z ^ 3 - 15 * z) / (384 * freedom ^ 3)
  end
  local low, high = 0.0, 13.0 -- 12.7 of one degree
  for _ = 1, 60 do
    local middle = (low + high) / 2
    if student_within(middle, freedom) < 0.95 then
      low = middle
    else
      high = middle
    end
  end
  return high
end

-- `freedom`: the whole degrees of freedom of the variance.
local function interval(mean, variance_of_mean, n, freedom)
  local half = student95(freedom) * math.sqrt(variance_of_mean)
  return { mean = mean, half = half, low = mean - half, high = mean + half, n = n }
end

--- Mean with its 95 % interval.
-- @tparam {number,...} xs 2 values or more; raises for fewer
-- @treturn {mean=number,half=number,low=number,high=number,n=integer,std=number} `mean`; `half`:
--   half the width of the interval from `low` to `high`; `n` values; `std`, over n - 1
function stats.ci95(xs)
  need(xs, 2, "stats.ci95")
  local variance = stats.variance(xs)
  local result = interval(stats.mean(xs), variance / #xs, #xs, #xs - 1)
  result.std = math.sqrt(variance)
  return result
end

--- Mean of a[i] - b[i] with its 95 % interval: for two models on the same prompts.
-- @tparam {number,...} a values of one
-- @tparam {number,...} b values of the other, in the same order; raises when they are not as many
-- @treturn {mean=number,half=number,low=number,high=number,n=integer,std=number} of the
--   differences, as of `stats.ci95`
function stats.paired(a, b)
  need_pairs(a, b, 2, "stats.paired")
  local differences = {}
  for i = 1, #a do
    differences[i] = a[i] - b[i]
  end
  return stats.ci95(differences)
end

--- Difference of the means of two independent lists with its 95 % interval (Welch, the degrees of
-- freedom by Satterthwaite, rounded down). Raises when one has fewer than 2 values.
-- @tparam {number,...} a values of the first, 2 or more
-- @tparam {number,...} b values of the second, 2 or more
-- @treturn {mean=number,half=number,low=number,high=number,n=integer} `mean` of a less that of b;
--   `half`: half the width of the interval from `low` to `high`; `n` values in both
function stats.difference(a, b)
  need(a, 2, "stats.difference")
  need(b, 2, "stats.difference")
  local of_a, of_b = stats.variance(a) / #a, stats.variance(b) / #b
  local spread = of_a + of_b
  local freedom = #a + #b - 2 -- of no spread at all
  if spread > 0 then
    local inverse = (of_a / spread) ^ 2 / (#a - 1) + (of_b / spread) ^ 2 / (#b - 1)
    freedom = math.floor(1 / inverse + 1e-9)
  end
  return interval(stats.mean(a) - stats.mean(b), spread, #a + #b, freedom)
end

--- A rate with Wilson's 95 % interval. Raises when there is nothing to count, or more successes
-- than trials.
-- @tparam number successes may be fractional, when ties count half
-- @tparam integer n trials, at least 1
-- @treturn {mean=number,half=number,low=number,high=number,n=integer} fractions from 0 to 1:
--   `mean`, the interval from `low` to `high`, `half` of its width; and `n`
function stats.rate(successes, n)
  if type(n) ~= "number" or n < 1 or successes < 0 or successes > n then
    local message = "stats.rate needs 0 <= successes <= n and n >= 1, got %s of %s"
    error(message:format(tostring(successes), tostring(n)), 2)
  end
  local p, z2 = successes / n, z95 * z95
  local centre = (p + z2 / (2 * n)) / (1 + z2 / n)
  local half = z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
  return {
    mean = p,
    half = half,
    n = n,
    low = math.max(0, centre - half),
    high = math.min(1, centre + half),
  }
end

--- Pearson's correlation; nil when one of the lists is constant or has a value that is not finite.
-- @tparam {number,...} x values
-- @tparam {number,...} y values that belong to them; raises when they are not as many
-- @treturn ?number -1 to 1; nil as told
function stats.correlation(x, y)
  need_pairs(x, y, 2, "stats.correlation")
  local mx, my = stats.mean(x), stats.mean(y)
  local products = {}
  for i = 1, #x do
    products[i] = (x[i] - mx) * (y[i] - my)
  end
  local scale = math.sqrt(squared_deviations(x, mx) * squared_deviations(y, my))
  local r = stats.sum(products) / scale
  if r ~= r then return nil end
  return math.max(-1, math.min(1, r))
end

--- Pearson's correlation within groups: of the differences to each group's means, so that what
-- differs between groups counts for nothing. Raises when the lists are not of one length.
-- @tparam {number,...} x values
-- @tparam {number,...} y values that belong to them
-- @tparam {any,...} groups the group of each
-- @treturn ?number -1 to 1; nil as for `stats.correlation`
-- @treturn integer values that are free to differ: as many as there are, less one a group
function stats.correlation_within(x, y, groups)
  need_pairs(x, y, 2, "stats.correlation_within")
  need_pairs(x, groups, 2, "stats.correlation_within")
  local sums, free = {}, 0
  for i, name in ipairs(groups) do
    local group = sums[name]
    if not group then
      group = { n = 0, x = 0, y = 0 }
      sums[name] = group
    end
    free = free + (group.n > 0 and 1 or 0)
    group.n, group.x, group.y = group.n + 1, group.x + x[i], group.y + y[i]
  end
  local dx, dy = {}, {}
  for i, name in ipairs(groups) do
    local group = sums[name]
    dx[i], dy[i] = x[i] - group.x / group.n, y[i] - group.y / group.n
  end
  return stats.correlation(dx, dy), free
end

--- How many pairs of one group the scores order as the truth does. Pairs that are equal in truth
-- are left out, pairs with equal scores count half. Add up the two results over groups:
-- `stats.rate(correct, pairs)`. Raises when the lists are not of one length.
-- @tparam {number,...} scores a number for each of the group; larger is better
-- @tparam {number,...} truth larger is better
-- @treturn number pairs in the right order, those with equal scores counted half
-- @treturn integer pairs of different truth
function stats.ordered_pairs(scores, truth)
  need_pairs(scores, truth, 1, "stats.ordered_pairs")
  local correct, pairs_seen = 0, 0
  for i = 1, #scores do
    for j = i + 1, #scores do
      if truth[i] ~= truth[j] then
        pairs_seen = pairs_seen + 1
        if scores[i] == scores[j] then
          correct = correct + 0.5
        elseif (scores[i] > scores[j]) == (truth[i] > truth[j]) then
          correct = correct + 1
        end
      end
    end
  end
  return correct, pairs_seen
end

-- Places of a list from the highest number to the lowest, and the last place of each run of equals.
local function ranked(by)
  local order, last = {}, {}
  for i = 1, #by do
    order[i] = i
  end
  table.sort(order, function(a, b)
    if by[a] ~= by[b] then return by[a] > by[b] end
    return a < b
  end)
  for k = #order, 1, -1 do
    local same = k < #order and by[order[k]] == by[order[k + 1]]
    last[k] = same and last[k + 1] or k
  end
  return order, last
end

--- What the best of n numbers drawn from the list without putting back is worth on average, when it
-- is chosen by other numbers: by a reward model's scores, say, where the worth is the truth. By
-- order statistics: the k-th best of m is the best of the n drawn with probability C(m-k, n-1)/C(m,
-- n); of equals each is as likely as the other. Raises when the lists are not of one length.
-- @tparam {number,...} xs worth of each, m of them
-- @tparam integer n 1 to m
-- @tparam ?{number,...} by what it is chosen by; the worth itself when absent
-- @treturn number in the unit of `xs`
function stats.best_of(xs, n, by)
  need(xs, n, "stats.best_of")
  by = by or xs
  need_pairs(xs, by, n, "stats.best_of")
  local order, last = ranked(by)
  local m, expectation, from = #xs, 0, 1
  local chance = n / m -- of k = 1: C(m-1, n-1)/C(m, n)
  while from <= m do -- a run of equals at a time
    local worth, chances = 0, 0
    for k = from, last[from] do
      worth = worth + xs[order[k]]
      chances = chances + chance
      chance = k < m and chance * (m - k - n + 1) / (m - k) or 0
    end
    expectation = expectation + chances * worth / (last[from] - from + 1)
    from = last[from] + 1
  end
  return expectation
end

--- An estimate of the KL divergence, in nats, of the best of n from a single draw, from m draws and
-- what the best is chosen by: the best of n draws with putting back from the m. Equal numbers
-- cannot be told apart, so it is below ln n - (n-1)/n, which bounds it (Beirami et al.,
-- arXiv:2401.01879). Raises for an empty list.
-- @tparam {number,...} by m of them
-- @tparam integer n of how many the best is taken, at least 1
-- @treturn number nats
function stats.best_of_kl(by, n)
  need(by, 1, "stats.best_of_kl")
  local _, last = ranked(by)
  local m, kl, from = #by, 0, 1
  while from <= m do
    local to = last[from]
    local above, up_to = (m - from + 1) / m, (m - to) / m -- parts not better than each end
    local chance, part = above ^ n - up_to ^ n, (to - from + 1) / m
    if chance > 0 then kl = kl + chance * math.log(chance / part) end
    from = to + 1
  end
  return kl
end

--- The part of the variance of returns that values explain, 1 - var(returns - values) /
-- var(returns). 1 is perfect, 0 no better than a constant, below 0 worse; nil when the returns are
-- constant, as those of a single token are. Raises when the lists are empty or not of one length.
-- @tparam {number,...} returns what was to be told
-- @tparam {number,...} values what was told of each
-- @treturn ?number 1 at most; nil as told
function stats.explained_variance(returns, values)
  need_pairs(returns, values, 1, "stats.explained_variance")
  local spread = #returns > 1 and stats.variance(returns) or 0
  if spread == 0 then return nil end
  local errors = {}
  for i = 1, #returns do
    errors[i] = returns[i] - values[i]
  end
  return 1 - stats.variance(errors) / spread
end

return stats
