--- The alarm of a reward whose taste is not gold's, where gold is measured beside it.

local checked = require("perilune.base.options")
local format = require("perilune.base.format")
local needs = require("perilune.run.alarms.needs")
local stats = require("perilune.base.stats")
local trend = require("perilune.run.alarms.trend")

local alarms = {}

local show = format.number

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

-- What gold has lost since it was best, when that is more than so many standard errors.
local function lost(history, errors, is_low)
  local name = "eval_gold_lost"
  local rows = measured(history, "eval_gold", name, name .. "_error", "eval_gold_count")
  local row = rows[#rows]
  if not row or row[name] <= 0 then return nil end
  local luck = is_low and 0 or math.sqrt(math.log(row.eval_gold_count))
  if row[name] > (errors + luck) * row[name .. "_error"] then return row[name] end
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
  local fell = lost(history, o.errors, now and now < o.low)
  if not is_apart and not fell then return nil end
  local golds = trend.values(history, "eval_gold")
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
    known:value("save_steps") == 0 and " (save_steps keeps earlier steps)" or ""
  ) .. known:remedy {
    { "raise", "kl_coef" },
    { "set", "checkpoint_choice", " to eval_gold" },
    "have the newest answers ranked, as the recipe rounds does",
  }
end

return alarms
