--- Alarms of what a judge says that nothing is trained on: a reward whose taste is not gold's, and
-- answers that are judged worse than they were.

local checked = require("perilune.base.options")
local format = require("perilune.base.format")
local needs = require("perilune.run.alarms.needs")
local stats = require("perilune.base.stats")
local trend = require("perilune.run.alarms.trend")

local alarms = {}

local show = format.number

local KEEPS <const> = " (save_steps keeps earlier steps)"

-- Rows with a measurement of all the names.
local function measured(history, ...)
  local list = {}
  for _, row in ipairs(history) do
    local whole = true
    for _, name in ipairs { ... } do
      whole = whole and type(row[name]) == "number"
    end
    if whole then list[#list + 1] = row end
  end
  return list
end

-- Mean of the last `window` agreements and its standard error; nil while there are fewer, and when
-- the last measurement has none.
local function agreement(history, window)
  local rows = measured(history, "eval_agreement", "eval_agreement_error")
  local golds = measured(history, "eval_gold")
  if #rows < window or rows[#rows] ~= golds[#golds] then return nil end
  local values, squares = {}, 0
  for i = #rows - window + 1, #rows do
    values[#values + 1] = rows[i].eval_agreement
    squares = squares + rows[i].eval_agreement_error ^ 2
  end
  return stats.mean(values), math.sqrt(squares) / window
end

-- What a figure has lost since it was best, when that is more than so many standard errors. Luck
-- adds √(ln n) to these but where `is_low`: by so much the best of n is above the mean.
local function lost(history, name, errors, is_low)
  local key, count = name .. "_lost", name .. "_count"
  local rows = measured(history, key, key .. "_error", count)
  local row = rows[#rows]
  if not row or row[key] <= 0 then return nil end
  local luck = is_low and 0 or math.sqrt(math.log(row[count]))
  if row[key] > (errors + luck) * row[key .. "_error"] then return row[key] end
end

--- What the reward prefers among the policy's answers is hardly better by gold any more, or gold
-- has fallen: a reward model with another taste than gold, or one that is followed too far. The
-- score shows neither. Agreement is the correlation of reward and gold among answers to a prompt:
-- gold rises with the reward while it is positive, and turns about where it is 0, before which the
-- alarm rings. A fall is of the same prompts' gold since the best measurement. The best of n is
-- above the mean by luck, by some √(ln n) errors of a difference, and these are added where the
-- agreement gives no reason to expect a fall.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `limit` (0.1) of the agreement, -1 to 1, and `low` (0.25), below which a
--   fall is expected; `window` (2) measurements that a mean is taken over; `errors` (2) standard
--   errors by which gold fell
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn ?string the alarm's text; nil: it does not ring
function alarms.other_taste(history, options, settings)
  local defaults = { limit = 0.1, low = 0.25, window = 2, errors = 2 }
  local o = checked.take("other_taste", options, defaults)
  local known = needs.settings("other_taste", settings)
  local now, error_of = agreement(history, o.window)
  local is_apart = now and now < o.limit
  local fell = lost(history, "eval_gold", o.errors, now and now < o.low)
  if not is_apart and not fell then return nil end
  local golds = trend.values(history, "eval_gold")
  if #golds == 0 then return nil end
  local texts = {}
  if fell then
    texts[1] = ("gold is %s, and was %s more at its best"):format(show(golds[#golds]), show(fell))
  end
  if is_apart then
    local text = "among the policy's own answers to a prompt those that the reward prefers are %s "
      .. "by gold (correlation %.2f, error %.2f), and following it further costs gold"
    texts[#texts + 1] = text:format(now < 0 and "worse" or "hardly better", now, error_of)
  end
  local text = table.concat(texts, "; ")
  return ("Other taste than gold: %s. Stop here or go back%s"):format(
    text,
    known:value("save_steps") == 0 and KEEPS or ""
  ) .. known:remedy {
    { "raise", "kl_coef" },
    { "set", "checkpoint_choice", " to eval_gold" },
    "have the newest answers ranked, as the recipe rounds does",
  }
end

--- Answers to held-out prompts are judged worse than they were, by more than luck: of recipes that
-- learn from answers of others, whose judge has no part in learning.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?table options `errors` (2) standard errors by which the score fell, beside √(ln n) for
--   the luck of the best of n measurements
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn ?string the alarm's text; nil: it does not ring
function alarms.judged_falls(history, options, settings)
  local o = checked.take("judged_falls", options, { errors = 2 })
  local known = needs.settings("judged_falls", settings)
  local fell = lost(history, "eval_score", o.errors)
  if not fell then return nil end
  local text = "Answers to held-out prompts are judged worse: %s less than at their best, by more "
    .. "than chance. Stop here or go back%s"
  return text:format(show(fell), known:value("save_steps") == 0 and KEEPS or "")
    .. known:remedy {
      { "lower", "learning_rate" },
      { "raise", "beta" },
      { "set", "checkpoint_choice", " to eval_score" },
    }
end

return alarms
