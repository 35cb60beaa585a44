--- The curves of a page of runs: which charts there are, and what stands in each without script.
--
-- Runs of one recipe are a group and share their charts.

local json = require("perilune.base.json")
local plot = require("perilune.show.plot")
local series = require("perilune.show.series")

local run_curves = {}

local escape = plot.escape

--- Colours of runs; the next takes the first again.
-- @type integer
run_curves.colors = 6

--- Points of a curve where there are many long runs, and of what is drawn without script.
-- @type integer
run_curves.fewer_points = 400

local function score_name(names)
  for _, name in ipairs { "objective/raw_scores", "objective/scores" } do
    if names[name] then return name end
  end
end

--- KL and score of the rows that have both, in order, and their steps.
-- @tparam SeenRun run
-- @tparam integer most points
-- @treturn {number,...} KL, nats an answer
-- @treturn {number,...} score
-- @treturn {integer,...} steps
function run_curves.order(run, most)
  local score, rows = score_name(series.names(run.rows)), {}
  for _, row in ipairs(score and run.rows or {}) do
    local a, b = row["objective/kl"], row[score]
    if type(a) == "number" and type(b) == "number" and a - a == 0 and b - b == 0 then
      rows[#rows + 1] = row
    end
  end
  local xs, ys, steps = {}, {}, {}
  for i, row in ipairs(series.some(rows, most)) do
    xs[i], ys[i], steps[i] = row["objective/kl"], row[score], row.step
  end
  return xs, ys, steps
end

--- Runs by recipe, in the order in which they came.
-- @tparam {SeenRun,...} list
-- @treturn {{recipe=string,runs={integer,...}},...}
function run_curves.groups(list)
  local groups, by_recipe = {}, {}
  for i, run in ipairs(list) do
    local group = by_recipe[run.recipe]
    if not group then
      group = { recipe = run.recipe, runs = {} }
      by_recipe[run.recipe], groups[#groups + 1] = group, group
    end
    group.runs[#group.runs + 1] = i
  end
  return groups
end

local function names_of_group(list, group)
  local names = {}
  for _, i in ipairs(group.runs) do
    for name in pairs(series.names(list[i].rows)) do
      names[name] = true
    end
  end
  return names
end

-- Of the recipes whose loss is that of text.
local loss_units <const> = { sft = "nats a token", pretrain = "nats a token" }

--- The charts of a group; reward against KL comes first where there are both.
-- @tparam {SeenRun,...} list
-- @tparam table group of `groups`
-- @tparam integer number of the group, from 1
-- @treturn {table,...} of series.charts, with `id`, `group`, `kind` and `runs` (indices from 0)
function run_curves.charts(list, group, number)
  local names = names_of_group(list, group)
  local charts = series.charts(names)
  local score = score_name(names)
  if score and names["objective/kl"] then
    table.insert(charts, 1, {
      kind = "order",
      metrics = { "objective/kl", score },
      title = "Reward against KL",
      unit = "score over nats an answer; pale is early, full is late",
      important = true,
    })
  end
  for i, chart in ipairs(charts) do
    chart.id, chart.group = ("pl-chart-%d-%d"):format(number, i), "g" .. number
    chart.kind = chart.kind or "line"
    if chart.metrics[1] == "loss" then chart.unit = loss_units[group.recipe] or chart.unit end
    chart.at = nil
    chart.runs = json.array {}
    for _, index in ipairs(group.runs) do
      chart.runs[#chart.runs + 1] = index - 1
    end
  end
  return charts
end

-- The points of a curve with a gap where a value is not finite.
local function with_gaps(run, name, most)
  local steps, values, broken = series.points(run.rows, name)
  steps, values = series.thin(steps, values, most)
  local xs, ys, b = {}, {}, 1
  for i = 1, #steps do
    while broken[b] and broken[b] < steps[i] do
      xs[#xs + 1], ys[#ys + 1], b = broken[b], 0 / 0, b + 1
    end
    xs[#xs + 1], ys[#ys + 1] = steps[i], values[i]
  end
  return xs, ys, #broken
end

local function static_series(list, chart)
  local all, broken = {}, 0
  for _, index in ipairs(chart.runs) do
    local run = list[index + 1]
    for m, name in ipairs(chart.metrics) do
      local xs, ys, gaps
      if chart.kind == "order" then
        if m > 1 then break end
        xs, ys = run_curves.order(run, run_curves.fewer_points)
      else
        xs, ys, gaps = with_gaps(run, name, 480)
      end
      broken = broken + (gaps or 0)
      local label = #chart.metrics > 1 and (m == 1 and "training" or "held out") or nil
      if chart.kind == "order" then label = nil end
      if #xs > 0 then
        all[#all + 1] = {
          name = #chart.runs > 1 and run.name .. (m > 1 and ", held out" or "") or label,
          x = xs,
          y = ys,
          mark = chart.kind == "order" and "both" or "line",
          color = #chart.runs > 1 and index % run_curves.colors + 1 or m,
          dashed = m > 1,
        }
      end
    end
  end
  return all, broken
end

--- A chart as it stands in the page.
-- @tparam {SeenRun,...} list
-- @tparam table chart of `charts`
-- @tparam {table,...} marks of steps, as plot.chart has them
-- @treturn string HTML
function run_curves.html(list, chart, marks)
  local all, broken = static_series(list, chart)
  local lines = chart.kind == "line" and marks or nil
  local parts = {
    ('<figure class="card" id="%s"><figcaption><b>%s</b> <span>%s</span></figcaption>'):format(
      chart.id,
      escape(chart.title),
      escape(chart.unit)
    ),
  }
  if #all > 0 then
    parts[2] = plot.chart { series = all, lines = lines, height = 250 }
  else
    parts[2] = "<p>no values yet</p>"
  end
  if broken > 0 then
    parts[3] = ('<p class="note">%s of the values are not numbers.</p>'):format(broken)
  end
  parts[#parts + 1] = "</figure>"
  return table.concat(parts)
end

return run_curves
