--- Alarms of a policy: how far it is from the reference, how sure of itself, how long the answers
-- are that it draws and whether they end.

local checked = require("perilune.base.options")
local format = require("perilune.base.format")
local needs = require("perilune.run.alarms.needs")
local preferred = require("perilune.run.alarms.preferred")
local trend = require("perilune.run.alarms.trend")

local alarms = {}

local show = format.number

-- The KL to the reference, nats a sequence, and over how many of its last values a mean is taken.
-- What learns from answers of others measures it now and then, each time on many prompts: a value
-- counts alone.
local function kl_of(history, window)
  local values = trend.values(history, "objective/kl")
  if #values > 0 then return values, window end
  return trend.values(history, "eval_kl"), 1
end

-- Of a run on preferences the limit that follows from H, how unlikely the reference finds the
-- preferred answers (a policy that wrote nothing else would be H nats away at most), and H. Nil of
-- other runs, and where the general limit is lower.
local function own_limit(history, known, o)
  if #trend.values(history, "objective/kl") > 0 then return nil end
  local nats = preferred.reference_nats(history, known)
  local limit = nats and math.max(o.floor, o.times * nats)
  if limit and limit < o.limit then return limit, nats end
end

-- Losses whose beta holds nothing: they have no reference.
local free_of_reference = { simpo = true, orpo = true }

-- What to do about a KL that grows.
local function kl_advice(known)
  if known:fixed("kl_coef") == 0 then
    return " kl_coef is 0, so nothing holds it: set kl_coef."
  elseif known:value("kl_placement") == "loss" and known:value("kl_estimator") == "k1" then
    return " With kl_placement loss the gradient of k1 is 0 on average, so nothing holds it: set "
      .. "kl_estimator to k2, or kl_placement to reward."
  end
  local items = { { "lower", "learning_rate" }, { "set", "target_kl" } }
  if not free_of_reference[known:value("loss_type")] then
    table.insert(items, 1, { "raise", "beta" })
  end
  table.insert(items, 1, { "raise", "kl_coef" })
  return known:advice(items)
end

-- What a KL beyond the limit means.
local function distance_text(history, known)
  local learns_by_score = trend.values(history, "objective/kl")[1] ~= nil
  if learns_by_score and known:value("reward_model") ~= "" then
    return "At such distances the reward model scores text it was never trained on."
  end
  return "At such distances little is left of what the reference could do."
end

-- Mean of the last values, or of those that there are.
local function last_of(values, n)
  local first = math.max(1, #values - n + 1)
  return trend.mean(values, first, #values)
end

--- The KL to the reference grows faster than it is held, or passes a limit. The limit is asked from
-- the first row on, the growth once there are two windows. Read is `objective/kl`, and `eval_kl` of
-- a run that has none; of this the last value is held against the limit. A run on preferences has
-- a limit of its own below that, from -ln π_ref of its preferred answers, for a mean over its last
-- measurements; growth below it does not count.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `limit` (60) nats a sequence; `times` (3) the nats by which preferred
--   answers are unlikely to the reference, if that is less, for a mean over `measurements` (3);
--   `window` (5) rows that other means are taken over; `growth` (3) times within as many rows;
--   `floor` (10) nats a sequence: no growth below it counts, and no limit is lower
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn ?string the alarm's text; nil: it does not ring
function alarms.kl_runaway(history, options, settings)
  local o = checked.take("kl_runaway", options, {
    limit = 60,
    times = 3,
    measurements = 3,
    growth = 3,
    floor = 10,
    window = 5,
  })
  local known = needs.settings("kl_runaway", settings)
  local values, last = kl_of(history, o.window)
  if #values == 0 then return nil end
  local own, nats = own_limit(history, known, o)
  local now, limit, why = last_of(values, last), o.limit, ""
  if now <= limit and own then
    now, limit = last_of(values, o.measurements), own
    why = (" (preferred answers are %s nats unlikely to it)"):format(show(nats))
  end
  if now > limit then
    local text = "KL runaway: the policy is %s nats a sequence away from the reference, more than "
      .. "%s%s. "
    return text:format(show(now), show(limit), why)
      .. distance_text(history, known)
      .. kl_advice(known)
  elseif #values < 2 * o.window then
    return nil
  end
  now = trend.mean(values, #values - o.window + 1, #values)
  local before = trend.mean(values, #values - 2 * o.window + 1, #values - o.window)
  if now > (own or o.floor) and now > o.growth * math.max(before, 0) then
    local text = "KL runaway: from %s to %s nats a sequence within %d %s; the policy leaves "
      .. "the reference faster than it is held."
    local unit = last == 1 and o.window > 1 and "measurements" or "rows"
    return text:format(show(before), show(now), 2 * o.window, unit) .. kl_advice(known)
  end
end

--- The KL is clearly negative, which sampling noise does not explain: `objective/kl`, or of a run
-- that has none the last `eval_kl`.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `limit` (-0.5) nats a sequence; `window` (5) rows that means are taken
--   over
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn ?string the alarm's text; nil: it does not ring
function alarms.kl_negative(history, options, settings)
  local o = checked.take("kl_negative", options, { limit = -0.5, window = 5 })
  local values, last = kl_of(history, o.window)
  if #values == 0 or #values < last then return nil end
  local now = trend.mean(values, #values - last + 1, #values)
  if now < o.limit then
    local text = "Negative KL: %s nats a sequence on average. Answers were not drawn from the "
      .. "policy that scores them: check %sthat nothing is forbidden or forced while sampling."
    local keys =
      needs.settings("kl_negative", settings):those_of { "temperature", "top_p", "top_k" }
    local named = #keys > 0 and table.concat(keys, ", ") .. ", and " or ""
    return text:format(show(now), named)
  end
end

--- The policy has lost most of its entropy.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `part` (0.2) of the entropy at the start, a fraction; `window` (5) rows
--   that means are taken over
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn ?string the alarm's text; nil: it does not ring
function alarms.entropy_collapse(history, options, settings)
  local o = checked.take("entropy_collapse", options, { part = 0.2, window = 5 })
  local first, now = trend.first_and_last(history, "policy/entropy_avg", o.window)
  if first and first > 0 and now < o.part * first then
    local text = "Entropy collapse: from %s to %s nats a token; the policy has settled on few "
      .. "answers and learns little from more."
    return text:format(show(first), show(now))
      .. needs.settings("entropy_collapse", settings):advice {
        { "raise", "kl_coef" },
        { "raise", "entropy_coef" },
        { "lower", "learning_rate" },
      }
  end
end

-- What makes a judge pay less for length.
local against_length = {
  model = "balance lengths in its training pairs, ",
  ["function"] = "look at what it counts, ",
  both = "",
}

--- Answers have become much longer or shorter.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `longer` (1.6) and `shorter` (0.5) times the length at the start; `least`
--   (4) tokens by which it must differ as well: of a few words each is a large part; `window` (5)
--   rows that means are taken over
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn ?string the alarm's text; nil: it does not ring
function alarms.length_drift(history, options, settings)
  local o =
    checked.take("length_drift", options, { longer = 1.6, shorter = 0.5, least = 4, window = 5 })
  local first, now = trend.first_and_last(history, "completions/mean_length", o.window)
  if not first or first <= 0 or math.abs(now - first) < o.least then return nil end
  if now > o.longer * first or now < o.shorter * first then
    local judge = needs.settings("length_drift", settings):judge()
    local text = "Length drift: answers went from %s to %s tokens; the reward%s may pay for "
      .. "length itself. Look at samples.jsonl, %sor subtract a length term from the reward."
    local who = judge and " " .. judge or ""
    return text:format(show(first, 3), show(now, 3), who, against_length[judge or "both"])
  end
end

-- What makes answers end under the settings.
local function ending_advice(known, part)
  local rule = known:value("missing_eos_rule")
  local longer, trained = { "raise", "response_length" }, "check that SFT trained the end token"
  if known:value("mask_truncated_completions") then -- no penalty of theirs reaches the loss
    local learnt = part == 1 and ", so nothing is learned" or ""
    return (" mask_truncated_completions keeps them out of the loss%s"):format(learnt)
      .. known:remedy { longer, trained, "let the loss have them" }
  end
  if rule == nil or rule == "none" then
    local costs = " to subtract, so that an answer without an end scores less"
    return known:advice { { "set", "missing_eos_rule", costs }, longer, trained }
  end
  local above = " above what the score gives for going on"
  return (" missing_eos_rule is %s already"):format(rule)
    .. known:remedy { { "raise", "missing_eos_penalty", above }, longer, trained }
end

--- Too many answers have no end token. Under `missing_eos_rule` none, which asks for no end, it
-- rings only where answers of the start had one, or where those without are kept out of the loss.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `part` (0.5) of the answers, a fraction; `window` (3) rows that means are
--   taken over
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn ?string the alarm's text; nil: it does not ring
function alarms.no_end(history, options, settings)
  local o = checked.take("no_end", options, { part = 0.5, window = 3 })
  local now = trend.last_mean(history, "completions/clipped_ratio", o.window)
  local start = trend.values(history, "completions/clipped_ratio")[1]
  local known = needs.settings("no_end", settings)
  local unasked = known:value("missing_eos_rule") == "none"
    and not known:value("mask_truncated_completions")
  if now and now > o.part and not (unasked and start > o.part) then
    local text = "No end: %.0f %% of the answers stop at the longest length without an end token."
    return text:format(100 * now) .. ending_advice(known, now)
  end
end

--- Too many answers are empty: an end token and nothing before it.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `part` (0.5) of the answers, a fraction; `window` (3) rows that means are
--   taken over
-- @treturn ?string the alarm's text; nil: it does not ring
function alarms.empty_answers(history, options)
  local o = checked.take("empty_answers", options, { part = 0.5, window = 3 })
  local now = trend.last_mean(history, "completions/empty_ratio", o.window)
  if now and now > o.part then
    local text = "Empty answers: %.0f %% are an end token and nothing else. Either the policy was "
      .. "trained on empty answers (look at the demonstrations), or saying nothing scores best "
      .. "(look at what the reward gives an empty answer)."
    return text:format(100 * now)
  end
end

return alarms
