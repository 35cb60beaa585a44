--- What PPO does to a batch of answers between sampling and learning.
--
-- Per-token quantities are flat over all answer tokens of the batch, in the order of the answers;
-- `segments` says where each answer's tokens begin, so nothing is padded or masked.
-- @module perilune.learn.rollout

local core = require("perilune.core")
local batch = require("perilune.data.batch")
local data = require("perilune.data")
local stats = require("perilune.base.stats")

local rollout = {}

--- Answers as training sequences.
-- @tparam table questions list of prompts (token lists)
-- @tparam table answers as perilune.model.generate gives them
-- @treturn table `sequences`, `masks`, `at` (batch.targets), `segments` (plain list), `old` (flat
--   log-probs of sampling), `answers`
function rollout.new(questions, answers)
  local roll = { sequences = {}, masks = {}, old = {}, answers = answers }
  for i, answer in ipairs(answers) do
    roll.sequences[i], roll.masks[i] = data.join(questions[i], answer.tokens)
    table.move(answer.logprobs, 1, #answer.logprobs, #roll.old + 1, roll.old)
  end
  roll.at = batch.targets(roll.sequences, roll.masks)
  roll.segments = roll.at.segments:totable()
  return roll
end

--- Lists of numbers, one for each answer, laid end to end.
function rollout.flatten(lists)
  local flat = {}
  for _, list in ipairs(lists) do
    table.move(list, 1, #list, #flat + 1, flat)
  end
  return flat
end

--- The elements of flat lists that belong to the given answers, as tensors.
-- @tparam table flats {name = flat list}
-- @tparam table segments
-- @tparam table indices of answers
-- @treturn table {name = tensor}
function rollout.pick(flats, segments, indices)
  local picked = {}
  for name, flat in pairs(flats) do
    local list = {}
    for _, b in ipairs(indices) do
      table.move(flat, segments[b] + 1, segments[b + 1], #list + 1, list)
    end
    picked[name] = core.tensor(list)
  end
  return picked
end

--- Scores after the rule for answers without an end token, and clipping.
-- @tparam table scores
-- @tparam table answers
-- @tparam table opts `rule` ("none", "subtract": score - penalty, "replace": -penalty), `penalty`,
--   `clip` (0: none)
-- @treturn table scores
function rollout.shape_scores(scores, answers, opts)
  local shaped = {}
  for i, score in ipairs(scores) do
    if answers[i].finish_reason ~= "stop" and opts.rule ~= "none" then
      score = (opts.rule == "subtract" and score or 0) - opts.penalty
    end
    if opts.clip > 0 then
      score = math.max(-opts.clip, math.min(opts.clip, score))
    end
    shaped[i] = score
  end
  return shaped
end

--- Variance 1 (biased, as in Ziegler et al.'s code), and mean 0 when `shift_mean`.
function rollout.whiten(x, shift_mean)
  local mean = x:mean()
  local centred = x - mean
  local scaled = centred / (centred:square():mean() + 1e-8):sqrt()
  return shift_mean and scaled or scaled + mean
end

--- Rewards of each token: the given penalty tensor, and the score at the last token of each answer.
-- @param penalty flat tensor, for instance -β (ln π - ln π_ref)
-- @tparam table scores one for each answer
-- @tparam table segments
function rollout.rewards(penalty, scores, segments)
  local at_end = {}
  for i = 1, segments[#segments] do
    at_end[i] = 0
  end
  for b, score in ipairs(scores) do
    at_end[segments[b + 1]] = score
  end
  return penalty + core.tensor(at_end)
end

--- Generalized advantage estimation (Schulman et al., arXiv:1506.02438, eq. 16):
--     δ_t = r_t + γ V_(t+1) - V_t,   A_t = δ_t + γλ A_(t+1),   R_t = A_t + V_t
-- with V = 0 after the end of an answer.
-- @param rewards flat tensor
-- @param values flat tensor
-- @tparam table roll for `segments` and `at`
-- @number gamma
-- @number lam
-- @return advantages, returns
function rollout.gae(rewards, values, roll, gamma, lam)
  local n, following = roll.at.count, {}
  for i = 1, n do
    following[i] = i
  end
  for b = 2, #roll.segments do
    following[roll.segments[b]] = n -- the zero that stands behind all values
  end
  local next_values = core.gather(core.concat({ values, core.zeros({ 1 }) }), following)
  local delta = rewards + next_values * gamma - values
  local advantages = core.reverse_scan(delta, roll.at.segments, { decay = gamma * lam })
  return advantages, advantages + values
end

--- Figures of a rollout under TRL's names: KL and entropy are sums over tokens, means over answers.
-- @tparam table roll with `old` and `reference` (flat lists), `scores` and `raw_scores`, `answers`
-- @param rewards flat tensor
-- @treturn table metrics
function rollout.metrics(roll, rewards)
  local n, entropy, ended, lengths = #roll.answers, 0, 0, {}
  for i, answer in ipairs(roll.answers) do
    lengths[i] = #answer.tokens
    ended = ended + (answer.finish_reason == "stop" and 1 or 0)
    for _, e in ipairs(answer.entropies) do
      entropy = entropy + e
    end
  end
  local old, reference = core.tensor(roll.old), core.tensor(roll.reference)
  local function kl(kind)
    return core.kl_estimate(old, reference, { kind = kind }):sum():item() / n
  end
  local score, total = stats.mean(roll.scores), rewards:sum():item() / n
  return {
    ["objective/kl"] = kl("k1"), ["objective/kl_k2"] = kl("k2"), ["objective/kl_k3"] = kl("k3"),
    ["objective/entropy"] = entropy / n, ["objective/scores"] = score,
    ["objective/scores_std"] = stats.std(roll.scores),
    ["objective/raw_scores"] = stats.mean(roll.raw_scores),
    ["objective/non_score_reward"] = total - score, ["objective/rlhf_reward"] = total,
    ["val/num_eos_tokens"] = ended, ["completions/clipped_ratio"] = 1 - ended / n,
    ["completions/mean_length"] = stats.mean(lengths),
    ["health/length_corr"] = stats.correlation(roll.scores, lengths),
  }
end

return rollout
