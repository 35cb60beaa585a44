--- Means and medians of a metric over the last rows of a history.
--
-- A history is a list of rows as `run.history` has it; rows without the metric do not count.

local stats = require("perilune.base.stats")

local trend = {}

--- Values of a metric over the rows that have it.
-- @tparam {{[string]=any},...} history rows
-- @tparam string name of the metric
-- @treturn {number,...}
function trend.values(history, name)
  local values = {}
  for _, row in ipairs(history) do
    if type(row[name]) == "number" then values[#values + 1] = row[name] end
  end
  return values
end

--- Mean of values number `first` to `last`.
-- @tparam {number,...} values
-- @tparam integer first
-- @tparam integer last not before `first`
-- @treturn number
function trend.mean(values, first, last)
  local sum = 0
  for i = first, last do
    sum = sum + values[i]
  end
  return sum / (last - first + 1)
end

--- Median of values number `first` to `last`.
-- @tparam {number,...} values
-- @tparam integer first
-- @tparam integer last not before `first`
-- @treturn number
function trend.median(values, first, last)
  return stats.median(table.move(values, first, last, 1, {}))
end

--- Mean of the first and of the last `window` values.
-- @tparam {{[string]=any},...} history rows
-- @tparam string name of the metric
-- @tparam integer window
-- @treturn ?number nil while there are too few values for both
-- @treturn ?number
function trend.first_and_last(history, name, window)
  local values = trend.values(history, name)
  if #values < 2 * window then return nil end
  return trend.mean(values, 1, window), trend.mean(values, #values - window + 1, #values)
end

--- Mean of the last `window` values.
-- @tparam {{[string]=any},...} history rows
-- @tparam string name of the metric
-- @tparam integer window
-- @treturn ?number nil while there are fewer
function trend.last_mean(history, name, window)
  local values = trend.values(history, name)
  if #values < window then return nil end
  return trend.mean(values, #values - window + 1, #values)
end

return trend
