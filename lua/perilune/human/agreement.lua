--- How far people agree who ranked the same answers.
--
--     local a = agreement.new()
--     a:add { { labeler = "ana", ranks = { 1, 2, 2 } }, { labeler = "bo", ranks = { 1, 3, 2 } } }
--     print(a:result().pairwise, a:result().alpha)
--
-- A ranking of K answers is K(K-1)/2 judgements: of each pair, which answer is better, or that they
-- tie. Two labelers agree on a pair when their judgements are the same.
--
--   pairwise   part of judgements shared by two labelers of a pair, over all such pairs of labelers
--   strict     the same where neither said that they tie
--   alpha      Krippendorff's α = 1 - D_o / D_e (Content Analysis, 2004, chapter 11) of the
--              judgements worse < tie < better: 1 is full agreement, 0 is chance. Each pair enters
--              in both directions, so that it does not matter which answer stands first.
--
-- Counts only are kept: memory does not grow with the number of rankings.

local keys_of = require("perilune.base.list").keys

local agreement = {}

--- Krippendorff's α from values that several observers gave to units.
-- @tparam function|{{any,...},...} units an iterator giving a list of the values present in each
--   unit, or a list of such lists; units with fewer than two values say nothing and are passed over
-- @tparam ?string metric "nominal", "ordinal" or "interval" (default: "ordinal")
-- @treturn ?number 1 is full agreement, 0 chance; nil when no two values can be compared, or all
--   are the same
function agreement.alpha(units, metric)
  local coincidences, counts, n = {}, {}, 0
  local function unit(values)
    local m = #values
    if m < 2 then return end
    for i, a in ipairs(values) do
      local row = coincidences[a] or {}
      coincidences[a] = row
      for j, b in ipairs(values) do
        if i ~= j then row[b] = (row[b] or 0) + 1 / (m - 1) end
      end
      counts[a], n = (counts[a] or 0) + 1, n + 1
    end
  end
  if type(units) == "table" then
    for _, values in ipairs(units) do
      unit(values)
    end
  else
    for values in units do
      unit(values)
    end
  end
  return agreement.alpha_of(coincidences, counts, n, metric)
end

--- Krippendorff's α from a matrix of coincidences, for counts gathered elsewhere.
-- @tparam {[any]={[any]=number}} coincidences [a][b] how often b was given beside a
-- @tparam {[any]=number} counts [a] how often a was given, in units that count
-- @tparam number n their sum
-- @tparam ?string metric "nominal", "ordinal" or "interval" (default: "ordinal")
-- @treturn ?number 1 is full agreement, 0 chance; nil when no two values can be compared, or all
--   are the same
function agreement.alpha_of(coincidences, counts, n, metric)
  local values = keys_of(counts)
  local function difference(i, j) -- squared
    if i == j then
      return 0
    elseif metric == "nominal" then
      return 1
    elseif metric == "interval" then
      return (values[i] - values[j]) ^ 2
    end
    local between = -(counts[values[i]] + counts[values[j]]) / 2
    for k = math.min(i, j), math.max(i, j) do
      between = between + counts[values[k]]
    end
    return between ^ 2
  end
  local observed, expected = 0, 0
  for i, a in ipairs(values) do
    for j, b in ipairs(values) do
      local d = difference(i, j)
      observed = observed + ((coincidences[a] or {})[b] or 0) * d
      expected = expected + counts[a] * counts[b] * d
    end
  end
  if n < 2 or expected == 0 then return nil end
  return 1 - (n - 1) * observed / expected
end

--- Counts of who agreed with whom.
-- @class Agreement
local Agreement = {}
Agreement.__index = Agreement
Agreement.__name = "agreement"

--- Begin to count.
-- @treturn Agreement
function agreement.new()
  return setmetatable({
    coincidences = { [-1] = {}, [0] = {}, [1] = {} },
    counts = {},
    n = 0,
    same = 0,
    compared = 0,
    strict_same = 0,
    strict = 0,
    ties = 0,
    judgements = 0,
    rankings = 0,
    sets = 0,
    shared_sets = 0,
    labelers = {},
  }, Agreement)
end

local function judgement(ranks, i, j)
  local a, b = ranks[i], ranks[j]
  if not a or not b then return nil end
  return a < b and 1 or a > b and -1 or 0
end

local function note(self, labeler, same)
  local seen = self.labelers[labeler]
  seen.compared, seen.same = seen.compared + 1, seen.same + (same and 1 or 0)
end

local function compare(self, first, second, a, b)
  local same = a == b
  self.compared, self.same = self.compared + 1, self.same + (same and 1 or 0)
  if a ~= 0 and b ~= 0 then
    self.strict, self.strict_same = self.strict + 1, self.strict_same + (same and 1 or 0)
  end
  note(self, first, same)
  note(self, second, same)
end

--- Add what several people said of the same answers.
-- @tparam table rankings list of `{labeler =, ranks = {of each answer}}`; a rank of nil or false
--   means: not judged
-- @treturn Agreement itself
function Agreement:add(rankings)
  local most = 0
  for _, ranking in ipairs(rankings) do
    local labeler = ranking.labeler or "unknown"
    self.labelers[labeler] = self.labelers[labeler]
      or { rankings = 0, judgements = 0, ties = 0, compared = 0, same = 0 }
    self.labelers[labeler].rankings = self.labelers[labeler].rankings + 1
    self.rankings = self.rankings + 1
    for i in pairs(ranking.ranks) do
      most = math.max(most, i)
    end
  end
  self.sets = self.sets + 1
  self.shared_sets = self.shared_sets + (#rankings > 1 and 1 or 0)
  for i = 1, most do
    for j = i + 1, most do
      local given, by = {}, {}
      for _, ranking in ipairs(rankings) do
        local value = judgement(ranking.ranks, i, j)
        if value then
          given[#given + 1], by[#by + 1] = value, ranking.labeler or "unknown"
          local tie, seen = value == 0 and 1 or 0, self.labelers[by[#by]]
          seen.judgements, seen.ties = seen.judgements + 1, seen.ties + tie
          self.judgements, self.ties = self.judgements + 1, self.ties + tie
        end
      end
      self:unit(given, by)
    end
  end
  return self
end

--- Counts the judgements of one pair of answers.
-- @tparam {integer,...} given -1, 0 or 1: which answer is better, or that they tie
-- @tparam {string,...} by whom
function Agreement:unit(given, by)
  if #given < 2 then return end
  for p, a in ipairs(given) do
    for q, b in ipairs(given) do
      if p < q then compare(self, by[p], by[q], a, b) end
      if p ~= q then -- in both directions
        local weight, row, mirrored = 1 / (#given - 1), self.coincidences[a], self.coincidences[-a]
        row[b], mirrored[-b] = (row[b] or 0) + weight, (mirrored[-b] or 0) + weight
      end
    end
    self.counts[a] = (self.counts[a] or 0) + 1
    self.counts[-a] = (self.counts[-a] or 0) + 1
    self.n = self.n + 2
  end
end

local function part(count, all) return all > 0 and count / all or nil end

--- What was found.
-- @treturn table fractions from 0 to 1, nil when nobody judged what another did: `pairwise`,
--   `strict` and `alpha` (which may be below 0); `tie_rate`, a fraction of the judgements; counts:
--   `compared` (judgements), `sets`, `shared_sets`, `rankings`, `judgements`; and `labelers`: a
--   list of {labeler =, rankings =, tie_rate =, agreement = (with the others, a fraction)}, sorted
--   by name
function Agreement:result()
  local labelers = {}
  for name, seen in pairs(self.labelers) do
    labelers[#labelers + 1] = {
      labeler = name,
      rankings = seen.rankings,
      tie_rate = part(seen.ties, seen.judgements),
      agreement = part(seen.same, seen.compared),
    }
  end
  table.sort(labelers, function(a, b) return a.labeler < b.labeler end)
  return {
    pairwise = part(self.same, self.compared),
    strict = part(self.strict_same, self.strict),
    alpha = agreement.alpha_of(self.coincidences, self.counts, self.n, "ordinal"),
    tie_rate = part(self.ties, self.judgements),
    compared = self.compared,
    sets = self.sets,
    shared_sets = self.shared_sets,
    rankings = self.rankings,
    judgements = self.judgements,
    labelers = labelers,
  }
end

return agreement
