--- Alarms of what training itself reports: figures that are no numbers, a loss that rises, and
-- what preference optimisation does to the answers of its pairs.

local checked = require("perilune.base.options")
local format = require("perilune.base.format")
local needs = require("perilune.run.alarms.needs")
local preferred = require("perilune.run.alarms.preferred")
local stats = require("perilune.base.stats")
local trend = require("perilune.run.alarms.trend")

local alarms = {}

local show = format.number

--- A metric of the last row is NaN or infinite.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @treturn ?string the alarm's text; nil: it does not ring
function alarms.not_finite(history)
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
    .. "it, or lower the learning rate."
end

--- A training loss that is higher than in the first row.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `growth` (1.5) times the first loss; `window` (5) rows that means are
--   taken over
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn ?string the alarm's text; nil: it does not ring
function alarms.loss_rises(history, options, settings)
  local o = checked.take("loss_rises", options, { growth = 1.5, window = 5 })
  local first, now = trend.values(history, "loss")[1], trend.last_mean(history, "loss", o.window)
  if now and first > 0 and now > o.growth * first then
    local text = "Loss rises: from %s to %s. The steps are too long"
    return text:format(show(first), show(now))
      .. needs.settings("loss_rises", settings):remedy { { "lower", "learning_rate" } }
  end
end

-- Mean of the values of some rows, and its standard error.
local function mean_of(values, first, last)
  local some = table.move(values, first, last, 1, {})
  return stats.mean(some), #some > 1 and stats.std(some) / math.sqrt(#some) or 0
end

-- By how many nats a preferred answer is likelier than at the start, over the last rows, and the
-- standard error of that; nil when it cannot be told.
local function chosen_change(history, known, window)
  local values = preferred.log_ratios(history, known)
  if values then
    if #values < window then return nil end
    return mean_of(values, #values - window + 1, #values)
  end
  values = trend.values(history, "logps/chosen")
  if #values < 2 * window then return nil end
  local before, error_before = mean_of(values, 1, window)
  local now, error_now = mean_of(values, #values - window + 1, #values)
  return now - before, math.sqrt(error_before ^ 2 + error_now ^ 2)
end

--- Preferred answers lose probability while margins grow: the others only lose more, and what gains
-- is neither (likelihood displacement; Razin et al., arXiv:2410.08847). A row is of a few answers,
-- and what they lose for a while comes back in most runs: the loss counts where it is beyond the
-- limit by more than the rows themselves leave open. Where answers to held-out prompts are judged
-- and score more than when they first were, what gains is better than either.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `part` (0.1) of their log-prob that they have to lose, and at least
--   `floor` (2) nats; `window` (10) rows that means are taken over; `errors` (2) standard errors of
--   that mean by which it has to be beyond
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn ?string the alarm's text; nil: it does not ring
function alarms.chosen_falls(history, options, settings)
  local defaults = { part = 0.1, floor = 2, window = 10, errors = 2 }
  local o = checked.take("chosen_falls", options, defaults)
  local known = needs.settings("chosen_falls", settings)
  local judged = trend.values(history, "eval_score")
  if #judged > 1 and judged[#judged] > judged[1] then return nil end
  local before, margin = trend.first_and_last(history, "rewards/margins", o.window)
  if not before or margin <= before then return nil end
  local change, uncertain = chosen_change(history, known, o.window)
  local logp = trend.last_mean(history, "logps/chosen", o.window)
  if not change or not logp then return nil end
  local limit = math.max(o.floor, o.part * math.abs(logp - change))
  if -change - o.errors * uncertain < limit then return nil end
  local text = "Preferred answers lose probability: %s nats an answer since the start, while the "
    .. "margin grows to %s. The others only lose more, and what gains is neither."
  return text:format(show(-change), show(margin))
    .. known:advice {
      { "raise", "beta" },
      { "lower", "learning_rate" },
      { "raise", "rpo_alpha" },
    }
end

local ALL_RIGHT <const> = 1 - 1e-5 -- a mean of weighted ones is a little less than 1

--- Every pair is right and the loss is 0: nothing is left to learn, or answers give themselves
-- away.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `limit` (0.02) of the loss; `window` (5) rows that have to be so, 1 of
--   those on held-out pairs
-- @treturn ?string the alarm's text; nil: it does not ring
function alarms.pairs_solved(history, options)
  local o = checked.take("pairs_solved", options, { limit = 0.02, window = 5 })
  local function solved(prefix, window)
    local right = trend.last_mean(history, prefix .. "rewards/accuracies", window)
    local loss = trend.last_mean(history, prefix .. "loss", window)
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

return alarms
