--- How the runs of a sweep came out: a table, and a page with intervals over seeds.

local files = require("perilune.base.files")
local format = require("perilune.base.format")
local nearest = require("perilune.base.nearest")
local plot = require("perilune.show.plot")
local report = require("perilune.show.report")
local stats = require("perilune.base.stats")

local outcome = {}

-- What a sweep is ordered by when nobody says: the first that there is.
local usual = {
  "eval_reward",
  "eval_score",
  "score",
  "gold_ppo",
  "score_ppo",
  "eval_accuracy",
  "eval_loss",
  "loss",
}

-- Figures of the table beside the one it is ordered by.
local shown = { "eval_score", "score", "eval_kl", "kl", "eval_accuracy", "eval_loss", "seconds" }

-- Runs that differ by seed alone, in the order of the plan: `label`, `chosen`, and `figures`, lists
-- of values by name.
local function groups_of(folder, plan)
  local groups, by_label = {}, {}
  for _, point in ipairs(plan.points) do
    local parts = {}
    for _, pair in ipairs(point.chosen) do
      if pair[1] ~= "seed" then parts[#parts + 1] = ("%s %s"):format(pair[1], pair[2]) end
    end
    local label = #parts > 0 and table.concat(parts, ", ") or "all seeds"
    local group = by_label[label]
    if not group then
      group = { label = label, chosen = point.chosen, figures = {}, runs = 0, missing = 0 }
      by_label[label], groups[#groups + 1] = group, group
    end
    local summary = files.read_json(folder .. "/" .. point.name .. "/summary.json")
    if type(summary) == "table" then
      group.runs = group.runs + 1
      for name, value in pairs(summary) do
        if type(value) == "number" and value - value == 0 then
          group.figures[name] = group.figures[name] or {}
          table.insert(group.figures[name], value)
        end
      end
    else
      group.missing = group.missing + 1
    end
  end
  return groups
end

local function figure_names(groups)
  local seen, list = {}, {}
  for _, group in ipairs(groups) do
    for name in pairs(group.figures) do
      if not seen[name] then list[#list + 1] = name end
      seen[name] = true
    end
  end
  table.sort(list)
  return list, seen
end

local function unknown(wish, list)
  local text = "no summary.json has the figure '%s'%s; there are: %s"
  return text:format(wish, nearest.hint(wish, list), table.concat(list, ", "))
end

local function chosen_figure(groups, wish)
  local list, seen = figure_names(groups)
  if wish then
    if seen[wish] then return wish end
    return nil, unknown(wish, list)
  end
  for _, name in ipairs(usual) do
    if seen[name] then return name end
  end
  return list[1], list[1] and nil or "no run has a summary.json with a figure"
end

-- {mean =, low =, high =} of a group's figure; without an interval for one run.
local function interval(group, name)
  local values = group.figures[name]
  if not values then return nil end
  if #values == 1 then return { mean = values[1], low = values[1], high = values[1], n = 1 } end
  local ci = stats.ci95(values)
  return { mean = ci.mean, low = ci.low, high = ci.high, n = #values }
end

local function cell(one)
  if not one then return "-" end
  local mean = format.number(one.mean, 4)
  if one.n == 1 then return mean end
  return ("%s (%s to %s)"):format(mean, format.number(one.low, 3), format.number(one.high, 3))
end

local function ordered(groups, by)
  local least = by:find("loss") ~= nil
  local list = table.move(groups, 1, #groups, 1, {})
  for i, group in ipairs(list) do
    group.place = i
  end
  table.sort(list, function(a, b)
    local x, y = interval(a, by), interval(b, by)
    if not x or not y or x.mean == y.mean then
      if x and not y then return true end
      if y and not x then return false end
      return a.place < b.place
    end
    if least then return x.mean < y.mean end
    return x.mean > y.mean
  end)
  return list
end

-- The figures of the table: the one it is ordered by, then those of `wishes`, else what is usual.
local function columns_of(groups, by, wishes)
  local list, seen = figure_names(groups)
  local columns, taken = { by }, { [by] = true }
  for _, name in ipairs(wishes or shown) do
    if wishes and not seen[name] then return nil, unknown(name, list) end
    if seen[name] and not taken[name] then columns[#columns + 1] = name end
    taken[name] = true
  end
  return columns
end

local function rows_of(list, columns)
  local rows = {}
  for i, group in ipairs(list) do
    local runs = group.missing > 0 and ("%d of %d"):format(group.runs, group.runs + group.missing)
      or tostring(group.runs)
    local row = { group.label, runs }
    for _, name in ipairs(columns) do
      row[#row + 1] = cell(interval(group, name))
    end
    rows[i] = row
  end
  return rows
end

-- The same of a single setting, whose figures stand below each other.
local function upright(group, columns)
  local rows = {}
  for i, name in ipairs(columns) do
    rows[i] = { name, cell(interval(group, name)) }
  end
  return rows
end

local function table_of(list, columns)
  if #list == 1 then
    local runs = ("%s, %d of %d runs"):format(
      list[1].label,
      list[1].runs,
      list[1].runs + list[1].missing
    )
    return { "figure", runs }, upright(list[1], columns)
  end
  return { "setting", "runs", table.unpack(columns) }, rows_of(list, columns)
end

-- The figure against a key of numbers, when that is the only one that is swept beside seeds.
local function curve(plan, groups, by)
  local key
  for _, one in ipairs(plan.swept) do
    if one.key ~= "seed" then
      if key then return nil end
      key = one
    end
  end
  if not key or #groups < 3 then return nil end
  local x, y, low, high = {}, {}, {}, {}
  for _, group in ipairs(groups) do
    local one, value
    for _, pair in ipairs(group.chosen) do
      if pair[1] == key.key then value = tonumber(pair[2]) end
    end
    one = interval(group, by)
    if not value then return nil end
    if one then
      x[#x + 1], y[#y + 1], low[#low + 1], high[#high + 1] = value, one.mean, one.low, one.high
    end
  end
  if #x < 2 then return nil end
  local least, greatest = math.min(table.unpack(x)), math.max(table.unpack(x))
  return plot.chart {
    title = ("%s against %s"):format(by, key.key),
    width = 960,
    x_label = key.key,
    y_label = by,
    log_x = least > 0 and greatest / least > 10,
    series = { { x = x, y = y, low = low, high = high, mark = "points" } },
  }
end

local function page(folder, name, plan, list, groups, columns)
  local by = columns[1]
  local out = report.new {
    title = ("%s: %d runs"):format(name, #plan.points),
    subtitle = "means over runs that differ by seed alone, 95 % intervals",
    footer = "perilune sweep",
  }
  local intervals = {}
  for _, group in ipairs(list) do
    local one = interval(group, by)
    if one then
      intervals[#intervals + 1] =
        { name = group.label, value = one.mean, low = one.low, high = one.high }
    end
  end
  if #intervals > 0 then
    out:chart(plot.intervals { title = by, rows = intervals, x_label = by, width = 960 })
  end
  local drawn = curve(plan, groups, by)
  if drawn then out:chart(drawn) end
  local head, rows = table_of(list, columns)
  out:table { head = head, rows = rows }
  local fixed = {}
  for key, value in pairs(plan.fixed) do
    fixed[#fixed + 1] = { key, tostring(value) }
  end
  table.sort(fixed, function(a, b) return a[1] < b[1] end)
  if #fixed > 0 then out:heading("Fixed"):table { head = { "key", "value" }, rows = fixed } end
  out:write(folder .. "/report.html")
end

--- Reads the summaries of a sweep's runs, writes report.html and results.json into its folder.
-- @tparam string folder of the sweep
-- @tparam string name of the recipe
-- @tparam SweepPlan plan
-- @tparam ?string by figure to order by; nil: a usual one
-- @tparam ?{string,...} wishes figures to tell beside it; nil: usual ones
-- @treturn ?string the table; nil when no run has one of the figures
-- @treturn ?string message
function outcome.write(folder, name, plan, by, wishes)
  local groups = groups_of(folder, plan)
  local message, columns
  by, message = chosen_figure(groups, by)
  if not by then return nil, message end
  columns, message = columns_of(groups, by, wishes)
  if not columns then return nil, message end
  local list = ordered(groups, by)
  page(folder, name, plan, list, groups, columns)
  local results = {}
  for i, group in ipairs(list) do
    results[i] = { setting = group.label, runs = group.runs, missing = group.missing, figures = {} }
    for figure in pairs(group.figures) do
      results[i].figures[figure] = interval(group, figure)
    end
  end
  assert(files.write_json(folder .. "/results.json", { by = by, results = results }))
  local head, rows = table_of(list, columns)
  local align = { "left" }
  for i = 2, #head do
    align[i] = "right"
  end
  local text = format.columns(rows, { head = head, align = align })
  return ("%s\n\n%s/report.html"):format(text, folder)
end

return outcome
