--- Alarms of the scores that answers get: all the same, the same within each group, their length in
-- other units, or those of answers that a reward model was not trained on.

local checked = require("perilune.base.options")
local format = require("perilune.base.format")
local needs = require("perilune.run.alarms.needs")
local trend = require("perilune.run.alarms.trend")

local alarms = {}

local show = format.number

-- Whether a score stands at reward_clip.
local function at_clip(known, score)
  local clip = known:value("reward_clip") or 0
  return clip > 0 and math.abs(score) >= 0.999 * clip
end

-- Why all scores are the same under the settings.
local function constant_cause(known, mean, unended)
  if at_clip(known, mean) then
    return (" All are cut at reward_clip %s: raise it, or set it to 0."):format(
      show(known:value("reward_clip"))
    )
  elseif known:value("missing_eos_rule") == "replace" and unended == 1 then
    return " No answer ends, and missing_eos_rule replaces the score of each"
      .. known:remedy {
        { "raise", "response_length" },
        { "set", "missing_eos_rule", " to subtract" },
      }
  end
  return " Look at what the reward model or the reward function gives two different answers."
end

--- All answers get the same reward, and never got different ones: scores that varied and no longer
-- do are those of a policy that has found what scores best, unless all are cut at reward_clip.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `deviation` (1e-6) of the scores, in parts of their mean or of 1,
--   whichever is larger; `window` (3) rows that means are taken over
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn ?string the alarm's text; nil: it does not ring
function alarms.constant_reward(history, options, settings)
  local o = checked.take("constant_reward", options, { deviation = 1e-6, window = 3 })
  local deviation = trend.last_mean(history, "objective/scores_std", o.window)
  local mean = trend.last_mean(history, "objective/scores", o.window) or 0
  local known = needs.settings("constant_reward", settings)
  local least = o.deviation * math.max(1, math.abs(mean))
  if not deviation or deviation > least then
    return nil
  elseif not at_clip(known, mean) then
    for _, earlier in ipairs(trend.values(history, "objective/scores_std")) do
      if earlier > least then return nil end
    end
  end
  local text = "Constant reward: every answer scores %s, so there is nothing to learn from."
  return text:format(show(mean))
    .. constant_cause(known, mean, trend.last_mean(history, "completions/clipped_ratio", o.window))
end

--- Nearly all groups of answers have equal scores, and ever had: their advantages are 0, and
-- nothing is learnt. Groups that become equal because all their answers score best are no fault.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `part` (0.9) of the groups, a fraction; `window` (5) rows
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn ?string the alarm's text; nil: it does not ring
function alarms.equal_groups(history, options, settings)
  local o = checked.take("equal_groups", options, { part = 0.9, window = 5 })
  local values = trend.values(history, "frac_reward_zero_std")
  if #values < o.window then return nil end
  for _, value in ipairs(values) do
    if value < o.part then return nil end
  end
  local now = trend.mean(values, #values - o.window + 1, #values)
  local text = "No signal: in %.0f %% of the groups all answers score the same, so their "
    .. "advantages are 0."
  local known = needs.settings("equal_groups", settings)
  local drawn_anew = (known:fixed("dynamic_sampling") or 0) > 0
  return text:format(100 * now)
    .. known:advice {
      { "raise", "num_generations" },
      { "raise", "temperature" },
      { drawn_anew and "raise" or "set", "dynamic_sampling" },
      "give easier prompts",
      "fine-tune on some demonstrations first",
    }
end

-- Mean of a metric over the first rows, in which the policy still is the reference; nil when the
-- history does not begin there.
local function at_start(history, name)
  local values = {}
  for i = 1, math.min(5, #history) do
    local row = history[i]
    if (row["objective/kl"] or math.huge) > 0.1 then break end
    values[#values + 1] = row[name]
  end
  return #values > 0 and trend.mean(values, 1, #values) or nil
end

-- The last step up to which the KL, as a mean over `window` rows, was not above `limit`.
local function last_below(history, limit, window)
  local step, sum = history[1].step, 0
  for i, row in ipairs(history) do
    sum = sum
      + (row["objective/kl"] or 0)
      - (i > window and history[i - window]["objective/kl"] or 0)
    if sum / math.min(i, window) > limit then return step end
    step = row.step
  end
  return step
end

--- A reward model is followed to answers it was not trained on, where its scores still rise and
-- what they stand for falls (Gao et al. 2022, arXiv:2210.10760). No run sees that fall; three
-- things go before it, and all are asked. Answers of the reference have H nats, its entropy:
-- choosing among them costs at most H of KL, and much of that is spent; answers that stay among
-- them are some H nats unlikely to the reference, -E[ln π_ref(y)] = KL + entropy of the policy,
-- and these are more; the best choice at a KL gains √(2 KL) deviations of normal scores, and
-- little of that was gained. A reward function alone is not armed: what a program checks is no
-- estimate.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `spent` (0.3): KL, in parts of H; `unlikely` (1.15): nats of the policy's
--   answers to the reference, in parts of H; `gained` (0.35) of √(2 KL) deviations of the scores at
--   the start; `window` (2) rows that means are taken over
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn ?string the alarm's text; nil: it does not ring
function alarms.over_optimised(history, options, settings)
  local defaults = { spent = 0.3, unlikely = 1.15, gained = 0.35, window = 2 }
  local o = checked.take("over_optimised", options, defaults)
  local known = needs.settings("over_optimised", settings)
  if known:value("reward_model") == "" then return nil end
  local own, score = at_start(history, "objective/entropy"), at_start(history, "objective/scores")
  local kl = trend.last_mean(history, "objective/kl", o.window)
  local entropy = trend.last_mean(history, "objective/entropy", o.window)
  local now = trend.last_mean(history, "objective/scores", o.window)
  if not (own and own > 0 and kl and entropy and now) or now <= score then return nil end
  local deviation = at_start(history, "objective/scores_std") or 0
  if kl < o.spent * own or kl + entropy < o.unlikely * own then return nil end
  if now - score > o.gained * math.sqrt(2 * kl) * deviation then return nil end
  local text = "Over-optimisation: answers score %s where the reference's scored %s, but they are "
    .. "not among those any more: the KL is %s nats, and they are %s nats unlikely to the "
    .. "reference, whose own are %s; for such a KL the gain is small. The reward model was not "
    .. "trained on such answers, so its scores say little of them. Go back to step %d or before%s"
  local step = last_below(history, 0.5 * o.spent * own, o.window)
  local numbers = { show(now), show(score), show(kl), show(kl + entropy), show(own), step }
  numbers[#numbers + 1] = known:value("save_steps") == 0 and " (save_steps keeps it)" or ""
  return text:format(table.unpack(numbers))
    .. known:remedy {
      { "raise", "kl_coef" },
      { "lower", "learning_rate" },
      "have the newest answers ranked, as the recipe rounds does",
    }
end

local against_length = {
  model = "Balance lengths in the reward model's pairs, or subtract a length term from the reward.",
  ["function"] = "Look at what the reward function counts, or subtract a length term from it.",
  both = "Look at what each reward pays for, or subtract a length term from the reward.",
}

--- The score follows the length of the answer and little else.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `limit` (0.9) of the correlation, in size; 0 to 1; `window` (5) rows that
--   means are taken over
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn ?string the alarm's text; nil: it does not ring
function alarms.reward_is_length(history, options, settings)
  local o = checked.take("reward_is_length", options, { limit = 0.9, window = 5 })
  local now = trend.last_mean(history, "health/length_corr", o.window)
  if now and math.abs(now) > o.limit then
    local text = "Reward is length: score and length correlate with r = %.2f, so the policy will "
      .. "learn to write %s. "
    return text:format(now, now > 0 and "longer and nothing else" or "shorter and nothing else")
      .. against_length[needs.settings("reward_is_length", settings):judge() or "both"]
  end
end

return alarms
