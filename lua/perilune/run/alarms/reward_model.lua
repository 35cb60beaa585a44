--- Alarms of a reward model that has been trained: its order of ranked answers, and its scores
-- beside their lengths and beside demonstrations.

local checked = require("perilune.base.options")
local format = require("perilune.base.format")
local ranking = require("perilune.learn.ranking")
local stats = require("perilune.base.stats")

local alarms = {}

local show = format.number

--- Accuracy at or below one half: a coin orders pairs as well. Clearly below, the rankings are the
-- wrong way round; how clearly is asked of the sets, because the pairs of a set hang together.
-- @tparam number right pairs in the right order, equal scores count half
-- @tparam integer pairs of answers with different rank
-- @tparam integer sets that the pairs are of
-- @tparam string key of the recipe that the sets were given by
-- @treturn ?string the alarm's text; nil: it does not ring
function alarms.wrong_order(right, pairs, sets, key)
  if pairs == 0 or right > 0.5 * pairs then return nil end
  local accuracy = right / pairs
  local text = (
    "Accuracy of a coin or less: the reward model orders %.2f of the %d pairs of %s " .. "right. "
  ):format(accuracy, pairs, key)
  if stats.rate(accuracy * sets, sets).high < 0.5 then
    return text
      .. "It learnt the opposite: rankings are the wrong way round in one of the files "
      .. "(rank 1 is the best answer)."
  end
  return text
    .. "A coin does as well: raise learning_rate, give it more rankings, or look whether "
    .. "the labelers agree with each other."
end

--- Scores that follow the length of the answer and little else, within each prompt: between prompts
-- both may differ for other reasons. Says nothing while fewer than 8 answers are free to differ.
-- @tparam {number,...} scores of all sets, laid end to end
-- @tparam {number,...} lengths of the answers, tokens, with or without their prompt
-- @tparam {integer,...} groups the set of each answer
-- @tparam ?table options `limit` (0.9) of the correlation, in size
-- @treturn ?string the alarm's text; nil: it does not ring
-- @treturn ?number the correlation, where there are enough answers
function alarms.score_is_length(scores, lengths, groups, options)
  local o = checked.take("score_is_length", options, { limit = 0.9 })
  local r, free = stats.correlation_within(scores, lengths, groups)
  if not r or free < 8 then
    return nil
  elseif math.abs(r) <= o.limit then
    return nil, r
  end
  local text = "Scores follow length: among answers to one prompt, score and length correlate with "
    .. "r = %.2f, so PPO will learn to write %s and little else. Balance lengths in the rankings."
  return text:format(r, r > 0 and "longer" or "shorter"), r
end

--- Demonstrations that score clearly below the answers that were ranked.
-- @tparam {number,...} demonstrations their scores
-- @tparam {number,...} answers scores of the ranked answers
-- @tparam ?table options `part` (0.25) of a deviation of the answers' scores, a fraction: less does
--   not count
-- @treturn ?string the alarm's text; nil: it does not ring
function alarms.demonstrations_low(demonstrations, answers, options)
  local o = checked.take("demonstrations_low", options, { part = 0.25 })
  if #demonstrations < 2 or #answers < 2 then return nil end
  local apart = stats.difference(demonstrations, answers)
  if apart.high < 0 and -apart.mean > o.part * stats.std(answers) then
    local text = "Demonstrations score below sampled answers: %s on average against %s. Either the "
      .. "rankings are the wrong way round (rank 1 is the best answer), or the demonstrations are "
      .. "worse than what was ranked, or of another form."
    return text:format(show(stats.mean(demonstrations)), show(stats.mean(answers)))
  end
end

--- All alarms of a trained reward model.
-- @tparam {number,...} scores of ranked sets, laid end to end
-- @tparam {{number,...},...} ranks of each set; rank 1 is best
-- @tparam {number,...} lengths of the answers, tokens, with or without their prompt
-- @tparam ?table options `demonstrations` (none) their scores; `key` ("dataset") of the recipe that
--   the sets were given by
-- @treturn {string,...} sentences
-- @treturn ?number correlation of score and length within prompts
function alarms.reward_model(scores, ranks, lengths, options)
  local o = checked.take("reward_model", options, { demonstrations = {}, key = "dataset" })
  local groups, right = {}, 0
  for i, set in ipairs(ranks) do
    for _ = 1, #set do
      groups[#groups + 1] = i
    end
  end
  local gaps = ranking.gaps(scores, ranks)
  for _, gap in ipairs(gaps) do
    right = right + (gap > 0 and 1 or gap == 0 and 0.5 or 0)
  end
  local sentences = { alarms.wrong_order(right, #gaps, #ranks, o.key) }
  local correlation
  sentences[#sentences + 1], correlation = alarms.score_is_length(scores, lengths, groups)
  sentences[#sentences + 1] = alarms.demonstrations_low(o.demonstrations or {}, scores)
  return sentences, correlation
end

return alarms
