--- Alarms: what goes wrong in reinforcement learning from feedback, said in plain words.
--
-- Each alarm is a function of the metrics so far, a list of rows as `run.history` has it, and
-- returns nil or a sentence that names the symptom with its figures, the likely cause and what to
-- change.
-- Alarms look at means over a few rows, because one row of a small batch proves nothing. They read
-- these metrics, and say nothing when a row does not have them:
--
--     objective/kl               nats a sequence, mean over the batch
--     policy/entropy_avg         nats a token
--     completions/mean_length    tokens an answer
--     completions/clipped_ratio  part of the answers without an end token
--     objective/scores, objective/scores_std
--     val/var_explained          1 - var(returns - values) / var(returns)
--     health/length_corr         correlation of score and length within the batch
--
-- An alarm only speaks: what to do about it is the recipe's choice.

local checked = require("perilune.base.options")
local format = require("perilune.base.format")

local health = {}

--- Values of a metric over the rows that have it.
local function values_of(history, name)
  local values = {}
  for _, row in ipairs(history) do
    if type(row[name]) == "number" then
      values[#values + 1] = row[name]
    end
  end
  return values
end

local function mean_of(values, first, last)
  local sum = 0
  for i = first, last do
    sum = sum + values[i]
  end
  return sum / (last - first + 1)
end

--- Mean of the first and of the last `window` values; nil while there are too few for both.
local function first_and_last(history, name, window)
  local values = values_of(history, name)
  if #values < 2 * window then
    return nil
  end
  return mean_of(values, 1, window), mean_of(values, #values - window + 1, #values)
end

local function last_mean(history, name, window)
  local values = values_of(history, name)
  if #values < window then
    return nil
  end
  return mean_of(values, #values - window + 1, #values)
end

local show = format.number

--- A metric of the last row is NaN or infinite.
-- @tparam {table,...} history
-- @treturn ?string
function health.not_finite(history)
  local row = history[#history] or {}
  local bad = {}
  for name, value in pairs(row) do
    if type(value) == "number" and value - value ~= 0 then
      bad[#bad + 1] = name
    end
  end
  if #bad > 0 then
    table.sort(bad)
    local text = "Not a number: %s at step %s. The update was not made; run again with --nan_check "
      .. "to see which operation made it, or lower learning_rate."
    return text:format(table.concat(bad, ", "), tostring(row.step))
  end
end

--- The KL to the reference grows faster than the penalty holds it, or passes a limit.
-- @tparam {table,...} history
-- @tparam ?table options `limit` (60 nats), `growth` (3 times within `window` rows), `floor` (2
-- nats: no growth below it counts), `window` (5)
-- @treturn ?string
function health.kl_runaway(history, options)
  local o = checked.take("kl_runaway", options, { limit = 60, growth = 3, floor = 2, window = 5 })
  local values = values_of(history, "objective/kl")
  if #values < 2 * o.window then
    return nil
  end
  local now = mean_of(values, #values - o.window + 1, #values)
  local before = mean_of(values, #values - 2 * o.window + 1, #values - o.window)
  local advice = "Raise kl_coef, lower learning_rate, or set target_kl."
  if now > o.limit then
    local text = "KL runaway: the policy is %s nats a sequence away from the reference, more than "
      .. "%s. At such distances the reward model scores text it was never trained on. "
    return text:format(show(now), show(o.limit)) .. advice
  elseif now > o.floor and now > o.growth * math.max(before, 0) then
    local text = "KL runaway: from %s to %s nats a sequence within %d rows; the policy leaves "
      .. "the reference faster than the penalty holds it. "
    return text:format(show(before), show(now), 2 * o.window) .. advice
  end
end

--- The KL is clearly negative, which sampling noise does not explain.
-- @tparam {table,...} history
-- @tparam ?table options `limit` (-0.5 nats), `window` (5)
-- @treturn ?string
function health.kl_negative(history, options)
  local o = checked.take("kl_negative", options, { limit = -0.5, window = 5 })
  local now = last_mean(history, "objective/kl", o.window)
  if now and now < o.limit then
    local text = "Negative KL: %s nats a sequence on average. Answers were not drawn from the "
      .. "policy that scores them: check temperature, top_p and top_k, and that nothing is "
      .. "forbidden or "
      .. "forced while sampling."
    return text:format(show(now))
  end
end

--- The policy has lost most of its entropy.
-- @tparam {table,...} history
-- @tparam ?table options `part` (0.2 of the entropy at the start), `window` (5)
-- @treturn ?string
function health.entropy_collapse(history, options)
  local o = checked.take("entropy_collapse", options, { part = 0.2, window = 5 })
  local first, now = first_and_last(history, "policy/entropy_avg", o.window)
  if first and first > 0 and now < o.part * first then
    local text = "Entropy collapse: from %s to %s nats a token; the policy has settled on few "
      .. "answers and learns little from more. Raise kl_coef, add an entropy bonus, or lower "
      .. "learning_rate."
    return text:format(show(first), show(now))
  end
end

--- Answers have become much longer or shorter.
-- @tparam {table,...} history
-- @tparam ?table options `longer` (1.6 times the start), `shorter` (0.5), `window` (5)
-- @treturn ?string
function health.length_drift(history, options)
  local o = checked.take("length_drift", options, { longer = 1.6, shorter = 0.5, window = 5 })
  local first, now = first_and_last(history, "completions/mean_length", o.window)
  if first and first > 0 and (now > o.longer * first or now < o.shorter * first) then
    local text = "Length drift: answers went from %s to %s tokens; the reward model may pay for "
      .. "length itself. Look at samples.jsonl, balance lengths in its training pairs, or "
      .. "subtract a length term from the reward."
    return text:format(show(first, 3), show(now, 3))
  end
end

--- Too many answers have no end token.
-- @tparam {table,...} history
-- @tparam ?table options `part` (0.5), `window` (3)
-- @treturn ?string
function health.no_end(history, options)
  local o = checked.take("no_end", options, { part = 0.5, window = 3 })
  local now = last_mean(history, "completions/clipped_ratio", o.window)
  if now and now > o.part then
    local text = "No end: %.0f %% of the answers stop at response_length without an end token. "
      .. "Raise response_length, set missing_eos_rule to subtract (or replace) "
      .. "and missing_eos_penalty, and check that SFT trained the end token."
    return text:format(100 * now)
  end
end

--- All answers get the same reward.
-- @tparam {table,...} history
-- @tparam ?table options `deviation` (1e-6, of the size of the mean or 1), `window` (3)
-- @treturn ?string
function health.constant_reward(history, options)
  local o = checked.take("constant_reward", options, { deviation = 1e-6, window = 3 })
  local deviation = last_mean(history, "objective/scores_std", o.window)
  local mean = last_mean(history, "objective/scores", o.window) or 0
  if deviation and deviation <= o.deviation * math.max(1, math.abs(mean)) then
    local text = "Constant reward: every answer scores %s, so there is nothing to learn from. "
      .. "Check that the score is read at the last token, and that reward_clip or the missing-end "
      .. "rule "
      .. "does not give all answers one value."
    return text:format(show(mean))
  end
end

--- The value function predicts worse than a constant.
-- @tparam {table,...} history
-- @tparam ?table options `limit` (0), `window` (10)
-- @treturn ?string
function health.value_useless(history, options)
  local o = checked.take("value_useless", options, { limit = 0, window = 10 })
  local now = last_mean(history, "val/var_explained", o.window)
  if now and now < o.limit then
    local text = "Value below nothing: it explains %s of the variance of the returns, a constant "
      .. "explains 0. Start it from the reward model, raise vf_coef or its learning rate, or check "
      .. "that values and returns stand at the same tokens."
    return text:format(show(now))
  end
end

--- The score follows the length of the answer and little else.
-- @tparam {table,...} history
-- @tparam ?table options `limit` (0.9 in size), `window` (5)
-- @treturn ?string
function health.reward_is_length(history, options)
  local o = checked.take("reward_is_length", options, { limit = 0.9, window = 5 })
  local now = last_mean(history, "health/length_corr", o.window)
  if now and math.abs(now) > o.limit then
    local text = "Reward is length: score and length correlate with r = %.2f, so the policy will "
      .. "learn to write %s. Balance lengths in the reward model's pairs."
    return text:format(now, now > 0 and "longer and nothing else" or "shorter and nothing else")
  end
end

--- All alarms, in the order in which they are asked.
-- @type {string,...}
health.alarms = {
  "not_finite", "kl_runaway", "kl_negative", "entropy_collapse", "length_drift", "no_end",
  "constant_reward", "value_useless", "reward_is_length",
}

--- Alarms that do not repeat themselves.
-- @class Watch
local Watch = {}
Watch.__index = Watch
Watch.__name = "health.watch"

--- An object that asks all alarms and does not repeat itself.
--
--     local watch = health.watch { kl_runaway = { limit = 20 }, length_drift = false }
--     for _, sentence in ipairs(watch:check(run.history)) do ... end
--
-- @tparam ?table options by alarm: a table of its options, or false to leave it out;
-- `every`: steps before the same alarm speaks again (50)
-- @treturn Watch
function health.watch(options)
  local known = table.move(health.alarms, 1, #health.alarms, 2, { "every" })
  options = checked.take("health.watch", options, checked.any_of(known))
  return setmetatable({ options = options, every = options.every or 50, spoken = {} }, Watch)
end

--- The alarms that ring now and did not ring lately.
-- @tparam {table,...} history
-- @treturn {string,...} sentences, most urgent first
function Watch:check(history)
  local sentences = {}
  local step = #history > 0 and history[#history].step or 0
  for _, name in ipairs(health.alarms) do
    local options = self.options[name]
    if options ~= false then
      local last = self.spoken[name]
      if not last or step - last >= self.every then
        local sentence = health[name](history, options)
        if sentence then
          self.spoken[name] = step
          sentences[#sentences + 1] = sentence
        end
      end
    end
  end
  return sentences
end

return health
