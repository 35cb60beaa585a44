--- How a contest came out: gold and reward against KL, beside best of n; a table and a page.
--
-- A curve goes from the model that all start from (KL 0) over the checkpoints of a run. Means and
-- intervals are over seeds; one seed has no interval. What best of n reaches at a KL is read off
-- between its points, with its estimated KL.

local files = require("perilune.base.files")
local format = require("perilune.base.format")
local list = require("perilune.base.list")
local plot = require("perilune.show.plot")
local report = require("perilune.show.report")
local stats = require("perilune.base.stats")

local frontier = {}

local LOST <const> = 0.05 -- gold: this far below its best a curve has gone too far

local function summary_of(folder)
  local summary = files.read_json(folder .. "/summary.json")
  return type(summary) == "table" and summary or nil
end

-- Puts the accuracy of each held-out task of a summary into lists by name.
local function add_tasks(lists, summary)
  for name, figures in pairs(summary.tasks or {}) do
    lists[name] = lists[name] or {}
    table.insert(lists[name], figures.accuracy)
  end
end

-- {mean =, low =, high =, n =}; nil of nothing.
local function over(values)
  if #values == 0 then return nil end
  if #values == 1 then return { mean = values[1], low = values[1], high = values[1], n = 1 } end
  local ci = stats.ci95(values)
  return { mean = ci.mean, low = ci.low, high = ci.high, n = #values }
end

local function over_tasks(lists)
  local means = {}
  for name, values in pairs(lists) do
    means[name] = over(values)
  end
  return next(means) and means or nil
end

--- The height of a curve at x, between its points; nil beyond its ends, and between points so far
-- apart (more than 1 + x) that a straight line says nothing of a curve.
-- @tparam {{number,number},...} points x and y, in any order
-- @tparam number x
-- @treturn ?number
function frontier.at(points, x)
  local sorted = table.move(points, 1, #points, 1, {})
  table.sort(sorted, function(a, b) return a[1] < b[1] end)
  for i = 1, #sorted - 1 do
    local a, b = sorted[i], sorted[i + 1]
    if x >= a[1] and x <= b[1] and b[1] - a[1] <= 1 + x then
      if b[1] == a[1] then return math.max(a[2], b[2]) end
      return a[2] + (b[2] - a[2]) * (x - a[1]) / (b[1] - a[1])
    end
  end
end

local function start_figures(starts)
  local figures = { gold = {}, proxy = {}, text_loss = {}, tasks = {}, best = {} }
  for _, one in ipairs(starts) do
    local summary = summary_of(one.folder) or {}
    table.insert(figures.gold, summary.score)
    table.insert(figures.proxy, summary.chooser_score)
    table.insert(figures.text_loss, summary.text_loss)
    add_tasks(figures.tasks, summary)
    for i, point in ipairs(summary.best_of or {}) do
      local best = figures.best[i] or { n = point.n, kl = {}, chosen = {}, oracle = {} }
      figures.best[i] = best
      table.insert(best.kl, point.kl)
      table.insert(best.chosen, point.chosen)
      table.insert(best.oracle, point.oracle)
    end
  end
  for _, name in ipairs { "gold", "proxy", "text_loss" } do
    figures[name] = over(figures[name])
  end
  figures.tasks = over_tasks(figures.tasks)
  for _, best in ipairs(figures.best) do
    for _, name in ipairs { "kl", "chosen", "oracle" } do
      best[name] = over(best[name])
    end
  end
  return figures
end

-- Evaluations of runs that differ by seed alone, as a curve of points. `order`: what a point is
-- found and ordered by.
local function group_of(groups, by_label, label, start)
  local group = by_label[label]
  if not group then
    group = { label = label, found = {}, steps = {}, curves = {}, seconds = {}, missing = 0 }
    by_label[label], groups[#groups + 1] = group, group
  end
  return group, { start.gold and { 0, start.gold.mean } }
end

local function add_point(group, curve, order, step, evaluation)
  local summary = summary_of(evaluation.folder)
  if not summary or not summary.kl then return end
  local at = group.found[order]
  if not at then
    at = { step = step, part = evaluation.part, order = order }
    at.gold, at.proxy, at.kl, at.text_loss, at.tasks = {}, {}, {}, {}, {}
    group.found[order], group.steps[#group.steps + 1] = at, at
  end
  table.insert(at.gold, summary.score)
  table.insert(at.proxy, summary.chooser_score)
  table.insert(at.kl, summary.kl)
  table.insert(at.text_loss, summary.text_loss)
  add_tasks(at.tasks, summary)
  curve[#curve + 1] = { summary.kl, summary.score }
end

local function end_curve(group, curve, folder)
  local summary = summary_of(folder)
  if summary then
    table.insert(group.seconds, summary.seconds)
    group.curves[#group.curves + 1] = curve
  else
    group.missing = group.missing + 1
  end
end

-- The groups: {label, steps = {{step, part, gold, proxy, kl, text_loss}}, seconds, curves = one of
-- each seed}. Places on the line from the start to the last weights are a group of their own, which
-- ends with these.
local function groups_of(runs, start)
  local groups, by_label = {}, {}
  for _, one in ipairs(runs) do
    local label = one.setting == "" and one.method or one.method .. " " .. one.setting
    local group, curve = group_of(groups, by_label, label, start)
    local last, line, line_curve
    for _, evaluation in ipairs(one.evaluations) do
      if evaluation.part then
        if not line then
          line, line_curve = group_of(groups, by_label, label .. ", interpolated", start)
          group.line, line.is_line = line, true
        end
        add_point(line, line_curve, evaluation.part, evaluation.step, evaluation)
      else
        last = evaluation
        add_point(group, curve, evaluation.step, evaluation.step, evaluation)
      end
    end
    end_curve(group, curve, one.folder)
    if line then
      add_point(line, line_curve, 1, last.step, last)
      end_curve(line, line_curve, one.folder)
    end
  end
  for _, group in ipairs(groups) do
    table.sort(group.steps, function(a, b) return a.order < b.order end)
    for _, at in ipairs(group.steps) do
      at.order = nil
      for _, name in ipairs { "gold", "proxy", "kl", "text_loss" } do
        at[name] = over(at[name])
      end
      at.tasks = over_tasks(at.tasks)
    end
    group.seconds, group.found = over(group.seconds), nil
  end
  return groups
end

-- Whether a curve went on after its best, and lost.
local function complaint(group)
  if group.is_line then return nil end -- no run went that way
  local best
  for _, at in ipairs(group.steps) do
    if not best or at.gold.mean > best.gold.mean then best = at end
  end
  local last = group.steps[#group.steps]
  if not best or best.gold.mean - last.gold.mean < LOST then return nil end
  local rises = best.proxy and last.proxy and last.proxy.mean > best.proxy.mean
  local text = "%s: gold was %.3f at step %d (KL %.2f) and is %.3f at the end (KL %.2f)%s: "
    .. "stop earlier, or weigh the KL more"
  return text:format(
    group.label,
    best.gold.mean,
    best.step,
    best.kl.mean,
    last.gold.mean,
    last.kl.mean,
    rises and ", while the reward model's score rose: it is fooled" or ""
  )
end

local function cell(one, form)
  if not one then return "-" end
  local mean = format.fixed(form, one.mean)
  if one.n == 1 then return mean end
  local low, high = format.fixed(form, one.low), format.fixed(form, one.high)
  return ("%s (%s to %s)"):format(mean, low, high)
end

-- An interval of what cannot be negative.
local function at_least_0(one)
  return one and { mean = one.mean, low = math.max(0, one.low), high = one.high, n = one.n }
end

local function best_curve(start, name)
  local points = {}
  for _, best in ipairs(start.best) do
    if best[name] then points[#points + 1] = { best.kl.mean, best[name].mean } end
  end
  return points
end

-- The names of the held-out tasks, in order.
local function task_names(start)
  local names = list.keys(start.tasks or {})
  return names
end

local function head_of(names)
  local head = {
    "method",
    "seeds",
    "KL, nats",
    "gold",
    "beside best of n",
    "reward",
    "text loss, nats",
  }
  for _, name in ipairs(names) do
    head[#head + 1] = format.safe(name)
  end
  head[#head + 1] = "seconds"
  return head
end

-- Gold beyond best of n by the reward model, at the KL where a run ended; or, where that is beyond
-- the greatest n, at its KL, on the group's own way or on the line to its end.
local function beside_best(group, start)
  local chosen, last = best_curve(start, "chosen"), group.steps[#group.steps]
  if not last or #chosen == 0 then return "-" end
  local most = chosen[#chosen][1]
  if last.kl.mean <= most then
    local there = frontier.at(chosen, last.kl.mean)
    return there and format.fixed("%+.3f", last.gold.mean - there) or "-"
  end
  local points = {}
  for _, at in ipairs((group.line or group).steps) do
    points[#points + 1] = { at.kl.mean, at.gold.mean }
  end
  local here = frontier.at(points, most)
  if not here then return "-" end
  return ("%s at %.2f"):format(format.fixed("%+.3f", here - chosen[#chosen][2]), most)
end

-- The groups that runs ended in, rather than lines to their ends.
local function trained(groups)
  local kept = {}
  for _, group in ipairs(groups) do
    if not group.is_line then kept[#kept + 1] = group end
  end
  return kept
end

-- The groups that say how gold goes with KL: of a run with no checkpoint on its way, whose points
-- are its start and its end alone, the line to its end says more.
local function shown(groups)
  local kept = {}
  for _, group in ipairs(groups) do
    if not group.line or #group.steps > 1 then kept[#kept + 1] = group end
  end
  return kept
end

local function rows_of(groups, start, names)
  local rows = {}
  for i, group in ipairs(groups) do
    local last = group.steps[#group.steps] or {}
    rows[i] = {
      group.label,
      #group.curves + group.missing == #group.curves and tostring(#group.curves)
        or ("%d of %d"):format(#group.curves, #group.curves + group.missing),
      cell(last.kl, "%.2f"),
      cell(last.gold, "%.3f"),
      beside_best(group, start),
      cell(last.proxy, "%.2f"),
      cell(last.text_loss, "%.3f"),
    }
    for _, name in ipairs(names) do
      table.insert(rows[i], cell((last.tasks or {})[name], "%.3f"))
    end
    table.insert(rows[i], cell(at_least_0(group.seconds), "%.0f"))
  end
  return rows
end

-- Gold of each method at the same KL.
local function rows_at(groups, start, kls)
  local rows, chosen = {}, best_curve(start, "chosen")
  for i, group in ipairs(groups) do
    rows[i] = { group.label }
    for _, kl in ipairs(kls) do
      local values = {}
      for _, curve in ipairs(group.curves) do
        values[#values + 1] = frontier.at(curve, kl)
      end
      local all = #values == #group.curves
      rows[i][#rows[i] + 1] = all and cell(over(values), "%.3f") or "-"
    end
  end
  if #chosen > 0 then
    local row = { "best of n by the reward model" }
    for _, kl in ipairs(kls) do
      local there = frontier.at(chosen, kl)
      row[#row + 1] = there and format.fixed("%.3f", there) or "-"
    end
    rows[#rows + 1] = row
  end
  return rows
end

local function head_at(kls)
  local head = { "gold at a KL, nats, of" }
  for _, kl in ipairs(kls) do
    head[#head + 1] = ("%g"):format(kl)
  end
  return head
end

local function series_of(group, start, name)
  if not group.steps[1] then return nil end -- nothing is known of it
  local series = { name = group.label, x = {}, y = {}, low = {}, high = {}, mark = "both" }
  local function add(kl, one)
    table.insert(series.x, kl)
    table.insert(series.y, one.mean)
    table.insert(series.low, one.low)
    table.insert(series.high, one.high)
  end
  if start[name] then add(0, start[name]) end
  for _, at in ipairs(group.steps) do
    if at[name] then add(at.kl.mean, at[name]) end
  end
  return #series.x > 0 and series or nil
end

local function chart(groups, start, name, title, lines)
  local series = {}
  for _, group in ipairs(groups) do
    series[#series + 1] = series_of(group, start, name)
  end
  for _, line in ipairs(lines) do
    local points, drawn = best_curve(start, line[1]), { name = line[2], x = {}, y = {} }
    for i, point in ipairs(points) do
      drawn.x[i], drawn.y[i] = point[1], point[2]
    end
    drawn.dashed = true
    if #points > 0 then series[#series + 1] = drawn end
  end
  if #series == 0 then return nil end
  return plot.chart {
    title = title,
    x_label = "KL to the start, nats an answer",
    y_label = name == "gold" and "gold score" or "reward model's score",
    series = series,
    width = 960,
    height = 420,
  }
end

--- Reads what a contest's runs and evaluations wrote; writes report.html and results.json into its
-- folder.
-- @tparam string folder
-- @tparam {table,...} runs of perilune.cli.support.contest, with `evaluations`
-- @tparam {table,...} starts evaluations of the model that all start from
-- @tparam {number,...} kls where gold is read off each curve
-- @treturn string the tables
function frontier.write(folder, runs, starts, kls)
  local start = start_figures(starts)
  local groups = groups_of(runs, start)
  local complaints = {}
  for _, group in ipairs(groups) do
    complaints[#complaints + 1] = complaint(group)
  end
  local names = task_names(start)
  local drawn = shown(groups)
  local head, rows = head_of(names), rows_of(trained(groups), start, names)
  local at = rows_at(drawn, start, kls)
  local page = report.new {
    title = "Methods on one task",
    subtitle = "means over seeds with 95 % intervals",
    footer = "perilune compare",
  }
  page:alarms(complaints)
  local gold = chart(drawn, start, "gold", "Gold against KL", {
    { "chosen", "best of n by the reward model" },
    { "oracle", "best of n by gold" },
  })
  local proxy = chart(drawn, start, "proxy", "Reward against KL", {})
  if gold then page:chart(gold) end
  if proxy then page:chart(proxy) end
  page:heading("At the end"):table { head = head, rows = rows }
  page:heading("At the same KL"):table { head = head_at(kls), rows = at }
  page:write(folder .. "/report.html")
  local results = { start = start, methods = {} }
  for i, group in ipairs(groups) do
    results.methods[i] = {
      name = group.label,
      seeds = #group.curves,
      missing = group.missing,
      seconds = group.seconds,
      steps = group.steps,
    }
  end
  assert(files.write_json(folder .. "/results.json", results))
  local beginning = { ("start: gold %s"):format(cell(start.gold, "%.3f")) }
  if start.text_loss then
    table.insert(beginning, ("text loss %s nats"):format(cell(start.text_loss, "%.3f")))
  end
  for _, name in ipairs(names) do
    table.insert(beginning, ("%s %s"):format(name, cell(start.tasks[name], "%.3f")))
  end
  local parts = {
    table.concat(beginning, ", "),
    format.columns(rows, { head = head }),
    format.columns(at, { head = head_at(kls) }),
  }
  for _, sentence in ipairs(complaints) do
    parts[#parts + 1] = "beware: " .. sentence
  end
  parts[#parts + 1] = folder .. "/report.html"
  return table.concat(parts, "\n\n")
end

return frontier
