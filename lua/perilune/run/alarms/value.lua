--- The alarm of a value model: it explains nothing of the returns and does not learn to.

local checked = require("perilune.base.options")
local format = require("perilune.base.format")
local needs = require("perilune.run.alarms.needs")
local trend = require("perilune.run.alarms.trend")

local alarms = {}

local show = format.number

-- Part of the value model's updates that the clip holds back.
local function value_clipped(history, window)
  return trend.last_mean(history, "val/clipfrac_avg", window) or 0
end

-- Whether the value model's loss (half a squared error) is far above the spread of the scores.
local function value_far_off(history, window)
  local loss = trend.last_mean(history, "loss/value_avg", window)
  local spread = trend.last_mean(history, "objective/scores_std", window)
  return loss and spread and loss > 10 * spread * spread
end

-- Whether the value model's loss is a tenth of what it was.
local function value_loss_fell(history, window)
  local losses = trend.values(history, "loss/value_avg")
  return #losses >= window and trend.mean(losses, #losses - window + 1, #losses) < 0.1 * losses[1]
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
  return parts[1] and trend.median(parts, 1, #parts)
end

-- Why values do not explain returns, and the key that changes it.
local function value_advice(history, settings, window, explained)
  local known = needs.settings("value_useless", settings)
  local lower = known:remedy { { "lower", "value_learning_rate" } }
  for _, key in ipairs { "vf_coef", "value_learning_rate" } do
    if known:fixed(key) == 0 then
      return (" %s is 0, so the value model is never trained: raise it."):format(key)
    end
  end
  local clipped = value_clipped(history, window)
  if clipped > 0.5 then
    local size = " to the size of the returns, or set it to 0"
    return (" The clip holds %.0f %% of its updates back"):format(100 * clipped)
      .. known:remedy { { "raise", "cliprange_value", size } }
  end
  local first, now = trend.first_and_last(history, "loss/value_avg", window // 2)
  if first and now > 2 * first then
    return (" Its loss rises, from %s to %s"):format(show(first), show(now)) .. lower
  elseif value_far_off(history, window // 2) and value_loss_fell(history, window // 2) then
    local deviation = trend.last_mean(history, "objective/scores_std", window)
    return (" Its loss is %s where scores deviate by %s, and jumps"):format(
      show(now),
      show(deviation)
    ) .. lower
  elseif first and explained.now < explained.first - 0.5 then
    return (" It explained %s at first"):format(show(explained.first)) .. lower
  end
  return " It learns too slowly" .. known:remedy { { "raise", "value_learning_rate" } }
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
function alarms.value_useless(history, options, settings)
  local o = checked.take("value_useless", options, { limit = 0.05, error = 2, window = 10 })
  local values = {}
  for _, value in ipairs(trend.values(history, "val/var_explained")) do
    if value - value == 0 then values[#values + 1] = value end
  end
  if #values < o.window then return nil end
  local half = o.window // 2
  local explained = {
    first = values[1],
    before = trend.median(values, #values - o.window + 1, #values - half),
    now = trend.median(values, #values - half + 1, #values),
  }
  if math.max(explained.before, explained.now) >= o.limit then return nil end
  local err = value_error(history, o.window)
  local held = value_clipped(history, o.window) > 0.5
  if #trend.values(history, "objective/scores_std") > 0 then
    if not err or err <= o.error then return nil end
  elseif explained.now >= 0 and not held then
    return nil
  end
  if held or not value_learns(history, explained, o.window) then
    local text = "Value explains nothing: %s of the variance of the returns, where a constant "
      .. "explains 0."
    return text:format(show(explained.now)) .. value_advice(history, settings, o.window, explained)
  end
end

return alarms
