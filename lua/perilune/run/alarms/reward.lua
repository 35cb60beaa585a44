--- Alarms of the scores that answers get: all the same, the same within each group, or their length
-- in other units.

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
  return text:format(100 * now)
    .. needs.settings("equal_groups", settings):advice {
      { "raise", "num_generations" },
      { "raise", "temperature" },
      { "set", "dynamic_sampling" },
      "give easier prompts",
      "fine-tune on some demonstrations first",
    }
end

-- Who pays for length, by the settings.
local function length_advice(settings)
  local given = needs.settings("reward_is_length", settings):value("reward_function")
  if given and given ~= "" then
    return "Look at what the reward function counts, or subtract a length term from it."
  end
  return "Balance lengths in the reward model's pairs, or subtract a length term from the reward."
end

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
      .. length_advice(settings)
  end
end

return alarms
