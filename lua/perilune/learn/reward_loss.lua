--- The loss of a reward model over ranked sets when labelers err: label smoothing, a rate of
-- flipped pairs that is given or fitted, and margins.
--
-- With x = r_w - r_l - (m_w - m_l) of a pair whose answer w was ranked better than l:
--
--   plain      -ln σ(x)                              arXiv:2203.02155, eq. 1; the op `rank_loss`
--   smoothed   -(1-ε) ln σ(x) - ε ln σ(-x)           Szegedy et al., arXiv:1512.00567, on pairs
--   noisy      -ln( (1-ε) σ(x) + ε σ(-x) )           a pair is the wrong way round with probability
--                                                    ε: the likelihood of what labelers said
--
-- Smoothing bounds how far apart the scores of a pair go, whatever else is known; the likelihood
-- leaves a pair alone that the scores contradict clearly: it takes it for a mistake. Its ε can be
-- fitted with the scores, by the step of expectation maximisation: the mean over the pairs of the
-- probability that it is a mistake, q = ε σ(-x) / ((1-ε) σ(x) + ε σ(-x)).

local core = require("perilune.core")
local options = require("perilune.base.options")
local random = require("perilune.base.random")

local reward_loss = {}

local of_ranked = {
  variant = options.choice("logsigmoid", { "logsigmoid", "sigmoid", "linear" }),
  ties = options.choice("drop", { "drop", "half" }),
  norm = options.number(0, 0),
  margins = options.any(),
  label_smoothing = options.number(0, 0, 0.5),
  noise = options.number(0, 0, 0.5),
}

-- Places of the better and the worse answer of all pairs, from 0, and the weight of each.
local function pairs_of(offsets, ranks)
  local winners, losers, weights = {}, {}, {}
  for b = 1, #offsets - 1 do
    local first = #winners
    for i = offsets[b] + 1, offsets[b + 1] do
      for j = offsets[b] + 1, offsets[b + 1] do
        if ranks[i] < ranks[j] then
          winners[#winners + 1], losers[#losers + 1] = i - 1, j - 1
        end
      end
    end
    for k = first + 1, #winners do
      weights[k] = 1 / (#winners - first)
    end
  end
  return winners, losers, weights
end

-- The likelihood of pairs that are flipped at a rate; the summed probability that each is.
local function noisy(scores, offsets, ranks, o)
  local winners, losers, weights = pairs_of(offsets, ranks)
  local sets = 0
  for _, weight in ipairs(weights) do
    sets = sets + weight
  end
  local x = core.gather(scores, winners) - core.gather(scores, losers)
  if o.margins then x = x - (core.gather(o.margins, winners) - core.gather(o.margins, losers)) end
  local right = x:sigmoid()
  local said = right * (1 - 2 * o.noise) + o.noise
  local norm = o.norm > 0 and o.norm or math.max(1, sets)
  local loss = -(said:log() * core.tensor(weights, scores:dtype())):sum() / norm
  local flipped = (1 - right:detach()) * o.noise / said:detach()
  return loss, flipped:sum():item(), #winners
end

--- The loss over all pairs of some ranked sets, each set of weight 1. Raises when `noise` is asked
-- for together with `label_smoothing`, with another variant, or with ties that count half.
-- @tparam Tensor scores [N], set after set
-- @tparam {integer,...} offsets where each set begins, from 0, and the end: B+1 of them
-- @tparam {number,...} ranks N of them; 1 is best
-- @tparam ?table opts `variant` ("logsigmoid"), `ties` ("drop") and `norm` (0: sets with a pair) as
--   of `pl.rank_loss`; `margins` (none), Tensor [N], taken from the scores; `label_smoothing` (0)
--   or `noise` (0), ε, up to 0.5
-- @treturn Tensor [], the loss
-- @treturn number summed probability of the pairs to be the wrong way round; 0 without `noise`
-- @treturn integer pairs that it is summed over
function reward_loss.ranked(scores, offsets, ranks, opts)
  local o = options.take("reward_loss.ranked", opts, of_ranked)
  if o.noise > 0 then
    if o.label_smoothing > 0 then
      error("reward_loss.ranked: noise and label_smoothing say the same; give one", 2)
    elseif o.variant ~= "logsigmoid" or o.ties ~= "drop" then
      error("reward_loss.ranked: noise is of variant logsigmoid with ties dropped", 2)
    end
    return noisy(scores, offsets, ranks, o)
  end
  local segments, given = core.tensor(offsets, "int32"), core.tensor(ranks, scores:dtype())
  local how = { variant = o.variant, ties = o.ties, norm = o.norm }
  local loss = core.rank_loss(scores, segments, given, o.margins, how)
  if o.label_smoothing > 0 then
    local turned = core.rank_loss(scores, segments, -given, o.margins, how)
    loss = loss * (1 - o.label_smoothing) + turned * o.label_smoothing
  end
  return loss, 0, 0
end

--- How often a set stands in the bootstrap of each head: Poisson draws of mean 1 (Oza and Russell
-- 2001), always the same for a set. One head takes every set once.
-- @tparam integer seed of the run
-- @tparam integer place of the set in the data, from 1
-- @tparam integer heads how many there are
-- @treturn {integer,...} of each head, 0 or more
function reward_loss.bootstrap(seed, place, heads)
  local drawn = { 1 }
  for h = 1, heads > 1 and heads or 0 do
    local left, k, chance = random.real(seed, "reward.bootstrap", place, h), 0, math.exp(-1)
    while left >= chance and k < 16 do
      left, k = left - chance, k + 1
      chance = chance / k
    end
    drawn[h] = k
  end
  return drawn
end

-- What head `h` learns from: the places of its scores in the flat [N H], from 0, and the sets.
local function of_head(h, heads, drawn, offsets, ranks)
  local taken = { flat = {}, at = {}, ranks = {}, offsets = { 0 } }
  for b = 1, #offsets - 1 do
    for _ = 1, drawn[b][h] do
      for i = offsets[b] + 1, offsets[b + 1] do
        local n = #taken.at + 1
        taken.at[n], taken.flat[n], taken.ranks[n] = i - 1, (i - 1) * heads + h - 1, ranks[i]
      end
      taken.offsets[#taken.offsets + 1] = #taken.at
    end
  end
  return taken
end

--- The loss of an ensemble of heads: the mean over the heads of `reward_loss.ranked`, each over the
-- sets as often as it drew them. Raises as that does.
-- @tparam Tensor scores [N, H], set after set
-- @tparam {{integer,...},...} drawn for each set, how often it stands in the bootstrap of each head
-- @tparam {integer,...} offsets where each set begins, from 0, and the end: B+1 of them
-- @tparam {number,...} ranks N of them; 1 is best
-- @tparam ?table opts as of `reward_loss.ranked`
-- @treturn Tensor [], the loss
-- @treturn number summed probability of the pairs to be the wrong way round; 0 without `noise`
-- @treturn integer pairs that it is summed over
function reward_loss.heads(scores, drawn, offsets, ranks, opts)
  local heads, flat = scores:shape()[2], scores:reshape(-1)
  if heads == 1 then return reward_loss.ranked(flat, offsets, ranks, opts) end
  local total, flipped, pairs_seen = flat:sum() * 0, 0, 0
  for h = 1, heads do
    local taken, of = of_head(h, heads, drawn, offsets, ranks), {}
    for key, value in pairs(opts or {}) do
      of[key] = value
    end
    if #taken.at > 0 then
      of.margins = of.margins and core.gather(of.margins, taken.at)
      local chosen = core.gather(flat, taken.flat)
      local one, wrong, n = reward_loss.ranked(chosen, taken.offsets, taken.ranks, of)
      total, flipped, pairs_seen = total + one / heads, flipped + wrong, pairs_seen + n
    end
  end
  return total, flipped, pairs_seen
end

--- By how much the answers of a ranked set have to lead, beside each other.
-- @tparam RankedSet set of `data.ranked`
-- @tparam string from "ranks": a unit for each rank; "rows": `margins` of the row, one for each
--   answer, or of a pair its `margin`
-- @tparam number unit they are multiplied by
-- @treturn ?{number,...} of each answer, to be taken from its score; nil when the row has none
-- @treturn ?string what is wrong with those of the row
function reward_loss.margins(set, from, unit)
  local margins = {}
  if from == "ranks" then
    for k, rank in ipairs(set.ranks) do
      margins[k] = -rank * unit
    end
    return margins
  end
  local row = set.row
  local extra = row.extra or {}
  local list, one = row.margins, row.margin or extra.margin
  if list == nil and one == nil then
    return nil
  elseif list == nil then
    if #set.ranks ~= 2 then
      return nil, ("`margin` is of a pair; %d answers want `margins`"):format(#set.ranks)
    end
    list = set.ranks[1] < set.ranks[2] and { one, 0 } or { 0, one }
  end
  if type(list) ~= "table" or #list ~= #set.ranks then
    return nil, ("`margins` must be %d numbers, one for each answer"):format(#set.ranks)
  end
  for k, margin in ipairs(list) do
    if math.type(margin) == nil or margin - margin ~= 0 then
      return nil, ("margin %d is no finite number"):format(k)
    end
    margins[k] = margin * unit
  end
  return margins
end

return reward_loss
