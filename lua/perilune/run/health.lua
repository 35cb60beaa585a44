--- Alarms: what goes wrong in learning from feedback, said in plain words.
--
-- Each alarm of a run is a function of the metrics so far, a list of rows as `run.history` has it,
-- and returns nil or a sentence that names the symptom with its figures, the likely cause and what
-- to change. Given the run's settings (its config), it names the keys that apply with their values.
-- The alarms of a reward model look at its scores once it is trained.
--
-- Alarms look at means over a few rows, because one row of a small batch proves nothing. They read
-- these metrics, and say nothing when a row does not have them:
--
--     objective/kl               nats a sequence, mean over the batch
--     policy/entropy_avg         nats a token
--     completions/mean_length    tokens an answer
--     completions/clipped_ratio  part of the answers without an end token
--     objective/scores, objective/scores_std
--     completions/empty_ratio    part of the answers that are an end token and nothing else
--     val/var_explained          1 - var(returns - values) / var(returns)
--     val/clipfrac_avg, loss/value_avg
--     frac_reward_zero_std       part of the groups of answers whose scores are all equal
--     health/length_corr         correlation of score and answer length, see learn/rollout
--     loss                       of supervised training, of preferences
--     rewards/margins, rewards/chosen, rewards/accuracies, logps/chosen and those with eval_ before
--                                of preferences: implicit rewards, nats an answer
--
-- An alarm only speaks: what to do about it is the recipe's choice.

local checked = require("perilune.base.options")
local format = require("perilune.base.format")
local ranking = require("perilune.learn.ranking")
local stats = require("perilune.base.stats")

local health = {}

--- Values of a metric over the rows that have it.
local function values_of(history, name)
  local values = {}
  for _, row in ipairs(history) do
    if type(row[name]) == "number" then values[#values + 1] = row[name] end
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
  if #values < 2 * window then return nil end
  return mean_of(values, 1, window), mean_of(values, #values - window + 1, #values)
end

local function last_mean(history, name, window)
  local values = values_of(history, name)
  if #values < window then return nil end
  return mean_of(values, #values - window + 1, #values)
end

-- Median of values number `first` to `last`.
local function median_of(values, first, last)
  return stats.median(table.move(values, first, last, 1, {}))
end

local show = format.number

-- A setting; nil when there is none of that name, which a config refuses to be asked for.
local function setting(settings, key)
  if not settings then return nil end
  local known, value = pcall(function() return settings[key] end)
  return known and value or nil
end

-- The value that a setting always has; nil without it, or when it is a schedule.
local function fixed(settings, key)
  local value = setting(settings, key)
  if type(value) == "table" then return value:fixed() end
  return type(value) == "number" and value or nil -- a folder's settings have schedules as texts
end

--- A metric of the last row is NaN or infinite.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @treturn ?string the alarm's text; nil: it does not ring
function health.not_finite(history)
  local row = history[#history] or {}
  local bad = {}
  for name, value in pairs(row) do
    if type(value) == "number" and value - value ~= 0 then bad[#bad + 1] = name end
  end
  if #bad == 0 then return nil end
  table.sort(bad)
  local text = ("Not a number: %s at step %s. "):format(table.concat(bad, ", "), tostring(row.step))
  for _, name in ipairs { "objective/raw_scores", "objective/scores" } do
    if row[name] and row[name] - row[name] ~= 0 then
      return text
        .. "The scores themselves are not numbers, so no update was made, and no "
        .. "learning rate helps: look at the reward model's weights, or at what the reward "
        .. "function returns."
    end
  end
  return text
    .. "The update was not made; run again with --nan_check to see which operation made "
    .. "it, or lower learning_rate."
end

-- What to do about a KL that grows.
local function kl_advice(settings)
  if fixed(settings, "kl_coef") == 0 then
    return "kl_coef is 0, so nothing holds it: set kl_coef."
  elseif settings and settings.kl_placement == "loss" and settings.kl_estimator == "k1" then
    return "With kl_placement loss the gradient of k1 is 0 on average, so nothing holds it: set "
      .. "kl_estimator to k2, or kl_placement to reward."
  end
  return "Raise kl_coef, lower learning_rate, or set target_kl."
end

--- The KL to the reference grows faster than the penalty holds it, or passes a limit. The limit is
-- asked from the first row on, the growth once there are two windows.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `limit` (60) nats a sequence; `window` (5) rows that means are taken over;
--   `growth` (3) times within as many rows; `floor` (10) nats a sequence: no growth below it counts
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn ?string the alarm's text; nil: it does not ring
function health.kl_runaway(history, options, settings)
  local o = checked.take("kl_runaway", options, { limit = 60, growth = 3, floor = 10, window = 5 })
  local values = values_of(history, "objective/kl")
  if #values == 0 then return nil end
  local now = mean_of(values, math.max(1, #values - o.window + 1), #values)
  if now > o.limit then
    local text = "KL runaway: the policy is %s nats a sequence away from the reference, more than "
      .. "%s. At such distances the reward model scores text it was never trained on. "
    return text:format(show(now), show(o.limit)) .. kl_advice(settings)
  elseif #values < 2 * o.window then
    return nil
  end
  local before = mean_of(values, #values - 2 * o.window + 1, #values - o.window)
  if now > o.floor and now > o.growth * math.max(before, 0) then
    local text = "KL runaway: from %s to %s nats a sequence within %d rows; the policy leaves "
      .. "the reference faster than the penalty holds it. "
    return text:format(show(before), show(now), 2 * o.window) .. kl_advice(settings)
  end
end

--- The KL is clearly negative, which sampling noise does not explain.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `limit` (-0.5) nats a sequence; `window` (5) rows that means are taken
--   over
-- @treturn ?string the alarm's text; nil: it does not ring
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
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `part` (0.2) of the entropy at the start, a fraction; `window` (5) rows
--   that means are taken over
-- @treturn ?string the alarm's text; nil: it does not ring
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
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `longer` (1.6) and `shorter` (0.5) times the length at the start; `least`
--   (4) tokens by which it must differ as well: of a few words each is a large part; `window` (5)
--   rows that means are taken over
-- @treturn ?string the alarm's text; nil: it does not ring
function health.length_drift(history, options)
  local o =
    checked.take("length_drift", options, { longer = 1.6, shorter = 0.5, least = 4, window = 5 })
  local first, now = first_and_last(history, "completions/mean_length", o.window)
  if not first or first <= 0 or math.abs(now - first) < o.least then return nil end
  if now > o.longer * first or now < o.shorter * first then
    local text = "Length drift: answers went from %s to %s tokens; the reward model may pay for "
      .. "length itself. Look at samples.jsonl, balance lengths in its training pairs, or "
      .. "subtract a length term from the reward."
    return text:format(show(first, 3), show(now, 3))
  end
end

-- What makes answers end under the settings.
local function ending_advice(settings)
  if not settings or settings.missing_eos_rule == "none" then
    return "Set missing_eos_rule to subtract, so that an answer without an end costs "
      .. "missing_eos_penalty; raise response_length; check that SFT trained the end token."
  end
  local text = "missing_eos_rule is %s already: raise missing_eos_penalty (%s) above what the "
    .. "score gives for going on, raise response_length (%d), and check that SFT trained the end "
    .. "token."
  return text:format(
    settings.missing_eos_rule,
    show(settings.missing_eos_penalty),
    settings.response_length
  )
end

--- Too many answers have no end token.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `part` (0.5) of the answers, a fraction; `window` (3) rows that means are
--   taken over
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn ?string the alarm's text; nil: it does not ring
function health.no_end(history, options, settings)
  local o = checked.take("no_end", options, { part = 0.5, window = 3 })
  local now = last_mean(history, "completions/clipped_ratio", o.window)
  if now and now > o.part then
    local text = "No end: %.0f %% of the answers stop at response_length without an end token. "
    return text:format(100 * now) .. ending_advice(settings)
  end
end

--- Too many answers are empty: an end token and nothing before it.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `part` (0.5) of the answers, a fraction; `window` (3) rows that means are
--   taken over
-- @treturn ?string the alarm's text; nil: it does not ring
function health.empty_answers(history, options)
  local o = checked.take("empty_answers", options, { part = 0.5, window = 3 })
  local now = last_mean(history, "completions/empty_ratio", o.window)
  if now and now > o.part then
    local text = "Empty answers: %.0f %% are an end token and nothing else. Either the policy was "
      .. "trained on empty answers (look at the demonstrations), or saying nothing scores best "
      .. "(look at what the reward gives an empty answer)."
    return text:format(100 * now)
  end
end

-- Whether a score stands at reward_clip.
local function at_clip(settings, score)
  local clip = settings and settings.reward_clip or 0
  return clip > 0 and math.abs(score) >= 0.999 * clip
end

-- Why all scores are the same under the settings.
local function constant_cause(settings, mean, unended)
  if at_clip(settings, mean) then
    return ("All are cut at reward_clip %s: raise it, or set it to 0."):format(
      show(settings.reward_clip)
    )
  elseif settings and settings.missing_eos_rule == "replace" and unended == 1 then
    return "No answer ends, and missing_eos_rule replaces the score of each: raise "
      .. "response_length, or set missing_eos_rule to subtract."
  end
  return "Look at what the reward model or the reward function gives two different answers."
end

--- All answers get the same reward, and never got different ones: scores that varied and no longer
-- do are those of a policy that has found what scores best, unless all are cut at reward_clip.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `deviation` (1e-6) of the scores, in parts of their mean or of 1,
--   whichever is larger; `window` (3) rows that means are taken over
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn ?string the alarm's text; nil: it does not ring
function health.constant_reward(history, options, settings)
  local o = checked.take("constant_reward", options, { deviation = 1e-6, window = 3 })
  local deviation = last_mean(history, "objective/scores_std", o.window)
  local mean = last_mean(history, "objective/scores", o.window) or 0
  local least = o.deviation * math.max(1, math.abs(mean))
  if not deviation or deviation > least then
    return nil
  elseif not at_clip(settings, mean) then
    for _, earlier in ipairs(values_of(history, "objective/scores_std")) do
      if earlier > least then return nil end
    end
  end
  local text = "Constant reward: every answer scores %s, so there is nothing to learn from. "
  return text:format(show(mean))
    .. constant_cause(settings, mean, last_mean(history, "completions/clipped_ratio", o.window))
end

-- Part of the value model's updates that the clip holds back.
local function value_clipped(history, window)
  return last_mean(history, "val/clipfrac_avg", window) or 0
end

-- Whether the value model's loss (half a squared error) is far above the spread of the scores.
local function value_far_off(history, window)
  local loss = last_mean(history, "loss/value_avg", window)
  local spread = last_mean(history, "objective/scores_std", window)
  return loss and spread and loss > 10 * spread * spread
end

-- Whether the value model's loss is a tenth of what it was.
local function value_loss_fell(history, window)
  local losses = values_of(history, "loss/value_avg")
  return #losses >= window and mean_of(losses, #losses - window + 1, #losses) < 0.1 * losses[1]
end

-- The value model's squared error as a part of the spread of the scores, median of the last rows: 1
-- and more where a constant is as good. Nil where scores do not differ.
local function value_error(history, window)
  local parts = {}
  for i = math.max(1, #history - window + 1), #history do
    local loss, spread = history[i]["loss/value_avg"], history[i]["objective/scores_std"]
    if type(loss) == "number" and type(spread) == "number" and spread > 0 then
      parts[#parts + 1] = 2 * loss / (spread * spread)
    end
  end
  return parts[1] and stats.median(parts)
end

-- Why values do not explain returns, and the key that changes it.
local function value_advice(history, settings, window, explained)
  for _, key in ipairs { "vf_coef", "value_learning_rate" } do
    if fixed(settings, key) == 0 then
      return ("%s is 0, so the value model is never trained: raise it."):format(key)
    end
  end
  local clipped = value_clipped(history, window)
  if clipped > 0.5 then
    local text = "The clip holds %.0f %% of its updates back%s: raise cliprange_value to the size "
      .. "of the returns, or set it to 0."
    local range = settings and settings.cliprange_value
    return text:format(100 * clipped, range and " (cliprange_value " .. show(range) .. ")" or "")
  end
  local first, now = first_and_last(history, "loss/value_avg", window // 2)
  if first and now > 2 * first then
    return ("Its loss rises, from %s to %s: lower value_learning_rate."):format(
      show(first),
      show(now)
    )
  elseif value_far_off(history, window // 2) and value_loss_fell(history, window // 2) then
    local text = "Its loss is %s where scores deviate by %s, and jumps: lower value_learning_rate."
    return text:format(show(now), show(last_mean(history, "objective/scores_std", window)))
  elseif first and explained.now < explained.first - 0.5 then
    local text = "It explained %s at first: lower value_learning_rate."
    return text:format(show(explained.first))
  end
  local rate = fixed(settings, "value_learning_rate")
  return ("It learns too slowly: raise value_learning_rate%s."):format(
    rate and " (" .. show(rate) .. ")" or ""
  )
end

-- Whether the value model learns: its loss fell to what is left to explain, or it explains more.
local function value_learns(history, explained, window)
  local more = explained.now - explained.before
  return value_loss_fell(history, window // 2) and not value_far_off(history, window // 2)
    or more > math.max(0.02, 0.1 * math.abs(explained.before))
end

--- The value function is no better than a constant and does not learn, or its clip holds most
-- updates back. Explained variance alone does not show it: it leaves out a mean that is wrong, and
-- is far below 0 for any value where returns hardly vary; so medians are taken, and the squared
-- error has to be `error` times the variance of the scores, where both are known.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `limit` (0.05) of the explained variance; `error` (2) times the variance
--   of the scores; `window` (10) rows that medians are taken over
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn ?string the alarm's text; nil: it does not ring
function health.value_useless(history, options, settings)
  local o = checked.take("value_useless", options, { limit = 0.05, error = 2, window = 10 })
  local values = {}
  for _, value in ipairs(values_of(history, "val/var_explained")) do
    if value - value == 0 then values[#values + 1] = value end
  end
  if #values < o.window then return nil end
  local half = o.window // 2
  local explained = {
    first = values[1],
    before = median_of(values, #values - o.window + 1, #values - half),
    now = median_of(values, #values - half + 1, #values),
  }
  if math.max(explained.before, explained.now) >= o.limit then return nil end
  local err = value_error(history, o.window)
  local held = value_clipped(history, o.window) > 0.5
  if #values_of(history, "objective/scores_std") > 0 then
    if not err or err <= o.error then return nil end
  elseif explained.now >= 0 and not held then
    return nil
  end
  if held or not value_learns(history, explained, o.window) then
    local text = "Value explains nothing: %s of the variance of the returns, where a constant "
      .. "explains 0. "
    return text:format(show(explained.now)) .. value_advice(history, settings, o.window, explained)
  end
end

--- Nearly all groups of answers have equal scores, and ever had: their advantages are 0, and
-- nothing is learnt. Groups that become equal because all their answers score best are no fault.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `part` (0.9) of the groups, a fraction; `window` (5) rows
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn ?string the alarm's text; nil: it does not ring
function health.equal_groups(history, options, settings)
  local o = checked.take("equal_groups", options, { part = 0.9, window = 5 })
  local values = values_of(history, "frac_reward_zero_std")
  if #values < o.window then return nil end
  for _, value in ipairs(values) do
    if value < o.part then return nil end
  end
  local now = mean_of(values, #values - o.window + 1, #values)
  local text = "No signal: in %.0f %% of the groups all answers score the same, so their "
    .. "advantages are 0. Raise num_generations%s or temperature, set dynamic_sampling, give "
    .. "easier prompts, or fine-tune on some demonstrations first."
  local k = fixed(settings, "num_generations")
  return text:format(100 * now, k and (" (%d)"):format(k) or "")
end

-- Who pays for length, by the settings.
local function length_advice(settings)
  if settings and settings.reward_function ~= "" then
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
function health.reward_is_length(history, options, settings)
  local o = checked.take("reward_is_length", options, { limit = 0.9, window = 5 })
  local now = last_mean(history, "health/length_corr", o.window)
  if now and math.abs(now) > o.limit then
    local text = "Reward is length: score and length correlate with r = %.2f, so the policy will "
      .. "learn to write %s. "
    return text:format(now, now > 0 and "longer and nothing else" or "shorter and nothing else")
      .. length_advice(settings)
  end
end

--- A training loss that is higher than in the first row.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `growth` (1.5) times the first loss; `window` (5) rows that means are
--   taken over
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn ?string the alarm's text; nil: it does not ring
function health.loss_rises(history, options, settings)
  local o = checked.take("loss_rises", options, { growth = 1.5, window = 5 })
  local first, now = values_of(history, "loss")[1], last_mean(history, "loss", o.window)
  if now and first > 0 and now > o.growth * first then
    local rate = fixed(settings, "learning_rate")
    return ("Loss rises: from %s to %s. The steps are too long: lower learning_rate%s."):format(
      show(first),
      show(now),
      rate and " (" .. show(rate) .. ")" or ""
    )
  end
end

-- By how many nats a preferred answer is likelier than at the start; nil when that cannot be told.
local function chosen_change(history, settings, window)
  local beta, kind = fixed(settings, "beta"), setting(settings, "loss_type")
  if beta and beta > 0 and kind ~= "simpo" and kind ~= "orpo" then
    local now = last_mean(history, "rewards/chosen", window)
    return now and now / beta
  end
  local first, now = first_and_last(history, "logps/chosen", window)
  return first and now - first
end

--- Preferred answers lose probability while margins grow: the others only lose more, and what gains
-- is neither (likelihood displacement; Razin et al., arXiv:2410.08847).
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `part` (0.1) of their log-prob that they have to lose, and at least
--   `floor` (2) nats; `window` (10) rows that means are taken over
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn ?string the alarm's text; nil: it does not ring
function health.chosen_falls(history, options, settings)
  local o = checked.take("chosen_falls", options, { part = 0.1, floor = 2, window = 10 })
  local before, margin = first_and_last(history, "rewards/margins", o.window)
  local change = before and margin > before and chosen_change(history, settings, o.window)
  local logp = last_mean(history, "logps/chosen", o.window)
  if not change or not logp or -change < math.max(o.floor, o.part * math.abs(logp - change)) then
    return nil
  end
  local text = "Preferred answers lose probability: %s nats an answer since the start, while the "
    .. "margin grows to %s. The others only lose more, and what gains is neither. Raise beta%s or "
    .. "lower learning_rate%s"
  local beta, rate = fixed(settings, "beta"), fixed(settings, "learning_rate")
  local kind = setting(settings, "loss_type")
  local more = kind and kind ~= "kto" and kind ~= "apo_zero_unpaired" and ", or set rpo_alpha."
    or "."
  return text:format(
    show(-change),
    show(margin),
    beta and " (" .. show(beta) .. ")" or "",
    rate and " (" .. show(rate) .. ")" or ""
  ) .. more
end

local ALL_RIGHT <const> = 1 - 1e-5 -- a mean of weighted ones is a little less than 1

--- Every pair is right and the loss is 0: nothing is left to learn, or answers give themselves
-- away.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `limit` (0.02) of the loss; `window` (5) rows that have to be so, 1 of
--   those on held-out pairs
-- @treturn ?string the alarm's text; nil: it does not ring
function health.pairs_solved(history, options)
  local o = checked.take("pairs_solved", options, { limit = 0.02, window = 5 })
  local function solved(prefix, window)
    local right = last_mean(history, prefix .. "rewards/accuracies", window)
    local loss = last_mean(history, prefix .. "loss", window)
    return right and right >= ALL_RIGHT and loss and loss < o.limit and loss
  end
  local held_out, trained = solved("eval_", 1), solved("", o.window)
  if not held_out and not trained then return nil end
  local text = "Every %spair is right and the loss is %s: %s, or answers give themselves away: an "
    .. "end token, a length or a phrase that only preferred ones have. Nothing is left to learn."
  return text:format(
    held_out and "held-out " or "",
    show(held_out or trained),
    held_out and "these were trained on" or "these are known by heart"
  )
end

-- A reward model once it is trained ---------------------------------------------------------------

--- Accuracy at or below one half: a coin orders pairs as well. Clearly below, the rankings are the
-- wrong way round; how clearly is asked of the sets, because the pairs of a set hang together.
-- @tparam number right pairs in the right order, equal scores count half
-- @tparam integer pairs of answers with different rank
-- @tparam integer sets that the pairs are of
-- @tparam string key of the recipe that the sets were given by
-- @treturn ?string the alarm's text; nil: it does not ring
function health.wrong_order(right, pairs, sets, key)
  if pairs == 0 or right > 0.5 * pairs then return nil end
  local accuracy = right / pairs
  local text = (
    "Accuracy below one half: the reward model orders %.2f of the %d pairs of %s " .. "right. "
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
function health.score_is_length(scores, lengths, groups, options)
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
function health.demonstrations_low(demonstrations, answers, options)
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
function health.reward_model(scores, ranks, lengths, options)
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
  local sentences = { health.wrong_order(right, #gaps, #ranks, o.key) }
  local correlation
  sentences[#sentences + 1], correlation = health.score_is_length(scores, lengths, groups)
  sentences[#sentences + 1] = health.demonstrations_low(o.demonstrations or {}, scores)
  return sentences, correlation
end

--- All alarms of a run, in the order in which they are asked.
-- @type {string,...}
health.alarms = {
  "not_finite",
  "kl_runaway",
  "kl_negative",
  "entropy_collapse",
  "length_drift",
  "no_end",
  "empty_answers",
  "constant_reward",
  "value_useless",
  "equal_groups",
  "reward_is_length",
  "loss_rises",
  "chosen_falls",
  "pairs_solved",
}

--- Alarms that do not repeat themselves.
-- @class Watch
local Watch = {}
Watch.__index = Watch
Watch.__name = "health.watch"

-- Settings of which those that the recipe has not are nil, where a config raises.
local function known_of(settings)
  return setmetatable({}, {
    __index = function(_, key)
      local ok, value = pcall(function() return settings[key] end)
      return ok and value or nil
    end,
  })
end

--- An object that asks all alarms and does not repeat itself.
--
--     local watch = health.watch({ kl_runaway = { limit = 20 }, length_drift = false }, cfg)
--     for _, sentence in ipairs(watch:check(run.history)) do ... end
-- @tparam ?table options options of an alarm by its name, or false to leave it out; and `every`
--   (50) steps before the same alarm speaks again
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn Watch
function health.watch(options, settings)
  local known = table.move(health.alarms, 1, #health.alarms, 2, { "every" })
  options = checked.take("health.watch", options, checked.any_of(known))
  if settings then settings = known_of(settings) end
  return setmetatable(
    { options = options, every = options.every or 50, spoken = {}, settings = settings },
    Watch
  )
end

--- The alarms that ring now and did not ring lately.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @treturn {string,...} sentences, most urgent first
-- @treturn {string,...} names of the alarms
function Watch:check(history)
  local sentences, names = {}, {}
  local step = #history > 0 and history[#history].step or 0
  for _, name in ipairs(health.alarms) do
    local options = self.options[name]
    if options ~= false then
      local last = self.spoken[name]
      if not last or step - last >= self.every then
        local sentence = health[name](history, options, self.settings)
        if sentence then
          self.spoken[name] = step
          sentences[#sentences + 1] = sentence
          names[#names + 1] = name
        end
      end
    end
  end
  return sentences, names
end

--- Tells the alarms that `check` finds, and writes them to the run's alarms.jsonl.
-- @tparam Run run
-- @tparam Progress progress where they are printed
-- @tparam integer step from 1
function Watch:tell(run, progress, step)
  local sentences, names = self:check(run.history)
  for i, sentence in ipairs(sentences) do
    progress:print(("alarm at %s %d: %s"):format(progress.unit, step, sentence))
    run:alarm(step, names[i], sentence)
  end
end

local LOOKED_AT <const> = 300 -- times a history is looked at afterwards

--- The alarms that a history would have rung, of a run that kept none: it is looked at some hundred
-- times, and a long one by a part of its rows.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?{[string]=any}|Config settings of the run; schedules may be texts
-- @treturn {{step=number,alarm=string,text=string},...}
function health.rung(history, settings)
  local watch, rows, list = health.watch(nil, settings), {}, {}
  local each = #history // 2000 + 1
  local stride = math.max(1, #history // each // LOOKED_AT)
  for i = 1, #history, each do
    rows[#rows + 1] = history[i]
    if #rows % stride == 0 or i + each > #history then
      local sentences, names = watch:check(rows)
      for k, sentence in ipairs(sentences) do
        list[#list + 1] = { step = history[i].step, alarm = names[k], text = sentence }
      end
    end
  end
  return list
end

return health
