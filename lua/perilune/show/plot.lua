--- Charts as SVG text: lines with bands, points with error bars, and rows with intervals.
--
-- The SVG carries class names and no colours; `plot.style` gives them, for light and dark pages.
-- A chart goes into a page that has the style (`pl.report` does that), or, with
-- `standalone = true`, into a file of its own. Nothing is loaded from anywhere.
--
-- A long series is thinned to what can be seen: of the points that fall on one pixel column the
-- lowest and the highest are kept. Values that are not finite break a line and show as a gap.

local checked = require("perilune.base.options")
local format = require("perilune.base.format")

local plot = {}

--- Colours and type, as CSS for light and dark.
-- @type string
plot.style = [[
.pl{--ink:#1d2026;--soft:#646b78;--rule:#cfd3da;--grid:#eceef2;--s1:#2f6fde;--s2:#dd6426;
--s3:#16936b;--s4:#9450cc;--s5:#b98a06;--s6:#cf3a6a;font:12px system-ui,sans-serif;
display:block;width:100%;height:auto}
.pl text{fill:var(--soft)}.pl .title{fill:var(--ink);font-size:14px;font-weight:600}
.pl .name{fill:var(--ink)}.pl .end{text-anchor:end}.pl .mid{text-anchor:middle}
.pl .grid{stroke:var(--grid)}.pl .axis{stroke:var(--rule)}
.pl .mark{stroke:var(--soft);stroke-dasharray:4 4;fill:none}
.pl .line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.pl .faint{stroke-width:1;opacity:.4}.pl .dash{stroke-dasharray:6 5}
.pl .span{stroke-width:8;stroke-linecap:round;opacity:.28}
.pl .whisker{stroke-width:1.5}.pl .band{stroke:none;opacity:.16}
.pl .c1{stroke:var(--s1)}.pl .c2{stroke:var(--s2)}.pl .c3{stroke:var(--s3)}
.pl .c4{stroke:var(--s4)}.pl .c5{stroke:var(--s5)}.pl .c6{stroke:var(--s6)}
.pl .f1{fill:var(--s1)}.pl .f2{fill:var(--s2)}.pl .f3{fill:var(--s3)}
.pl .f4{fill:var(--s4)}.pl .f5{fill:var(--s5)}.pl .f6{fill:var(--s6)}
@media(prefers-color-scheme:dark){.pl{--ink:#e8eaee;--soft:#9aa2b0;--rule:#3b414c;--grid:#262b33;
--s1:#74a5ff;--s2:#ff9658;--s3:#4fcaa1;--s4:#c690f3;--s5:#e2b840;--s6:#ff7da3}}
]]

local colors = 6

--- Text that is safe inside markup: no markup, no control characters, valid UTF-8.
-- @tparam any text or a number, written with tostring
-- @treturn string
function plot.escape(text)
  text = format.utf8(tostring(text)):gsub("[%z\1-\8\11\12\14-\31\127]", "\u{FFFD}")
  return (
    text:gsub("[&<>\"']", {
      ["&"] = "&amp;",
      ["<"] = "&lt;",
      [">"] = "&gt;",
      ['"'] = "&quot;",
      ["'"] = "&#39;",
    })
  )
end

local escape = plot.escape

local function finite(x) return type(x) == "number" and x - x == 0 end

local function px(x)
  local text = ("%.1f"):format(x):gsub("%.0$", "")
  return text == "-0" and "0" or text
end

--- Round tick values that cover a range: multiples of 1, 2 or 5 times a power of ten.
-- @tparam number low the least value
-- @tparam number high above low
-- @tparam integer about how many are wanted
-- @treturn {number,...} from at or above low to at or below high
-- @treturn number the distance between two
function plot.ticks(low, high, about)
  local raw = (high - low) / about
  local power = 10.0 ^ math.floor(math.log(raw, 10))
  local step = power * 10
  for _, factor in ipairs { 1, 2, 5 } do
    if raw <= factor * power * 1.0000001 then
      step = factor * power
      break
    end
  end
  local list = {}
  for i = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) do
    list[#list + 1] = i * step
  end
  return list, step
end

--- Ticks for a logarithmic axis: powers of ten, with 2 and 5 between when there are few.
local function log_ticks(low, high)
  local list = {}
  local first, last = math.floor(math.log(low, 10)), math.ceil(math.log(high, 10))
  local few = last - first <= 2
  for exponent = first, last do
    for _, factor in ipairs(few and { 1, 2, 5 } or { 1 }) do
      local value = factor * 10.0 ^ exponent
      if value >= low * 0.999999 and value <= high * 1.000001 then list[#list + 1] = value end
    end
  end
  if #list > 9 then
    local thinned = {}
    for i = 1, #list, (#list - 1) // 8 + 1 do
      thinned[#thinned + 1] = list[i]
    end
    list = thinned
  end
  return list
end

local function tick_text(value, step)
  local size = math.abs(value)
  if size < (step or size) * 1e-6 then
    return "0"
  elseif size >= 10000 then
    return (format.count(value):gsub("%.0+(%a)$", "%1"):gsub("(%.%d-)0+(%a)$", "%1%2"))
  elseif size < 1e-3 and not (step and step >= 1e-4) then
    return (("%.0e"):format(value):gsub("e%-0*", "e-"))
  end
  local decimals = 0
  if step then decimals = math.max(0, math.ceil(-math.log(step, 10) - 1e-9)) end
  local text = ("%." .. decimals .. "f"):format(value)
  return step and text or format.exact(value)
end

--- A mapping of values to pixels, its ticks and their texts.
local function make_axis(low, high, from, to, is_log, about)
  local axis = { ticks = {}, texts = {} }
  local function f(x) return is_log and math.log(x, 10) or x end
  local a, b = f(low), f(high)
  axis.at = function(x)
    if not finite(x) or (is_log and x <= 0) then return nil end
    return from + (f(x) - a) / (b - a) * (to - from)
  end
  local step
  if is_log then
    axis.ticks = log_ticks(low, high)
  else
    axis.ticks, step = plot.ticks(low, high, about)
  end
  for i, value in ipairs(axis.ticks) do
    axis.texts[i] = tick_text(value, step)
  end
  return axis
end

--- Lowest and highest of many values, widened to something that can be drawn.
local function range_of(values, low, high, is_log, margin)
  local least, most = math.huge, -math.huge
  for _, value in ipairs(values) do
    if finite(value) and not (is_log and value <= 0) then
      least, most = math.min(least, value), math.max(most, value)
    end
  end
  if least > most then
    least, most = is_log and 0.1 or 0, 1
  end
  if is_log then
    local factor = most > least and (most / least) ^ margin or 2
    return low or least / factor, high or most * factor
  end
  local room = most > least and (most - least) * margin or math.max(0.5, math.abs(most) * 0.1)
  return low or least - room, high or most + room
end

--- Points as pixels, cut where a value is missing, thinned to two a pixel column.
local function to_runs(x, y, x_axis, y_axis)
  local runs, run = {}, nil
  local column, lowest, highest
  local function flush()
    if column then
      local first, second = lowest, highest
      if first.i > second.i then
        first, second = second, first
      end
      run[#run + 1] = first
      if second ~= first then run[#run + 1] = second end
      column = nil
    end
  end
  for i = 1, #x do
    local px_x, px_y = x_axis.at(x[i]), y_axis.at(y[i])
    if not px_x or not px_y then
      if run then
        flush()
        run = nil
      end
    else
      if not run then
        run = {}
        runs[#runs + 1] = run
      end
      local point = { px_x, px_y, i = i }
      if column ~= math.floor(px_x) then
        flush()
        column, lowest, highest = math.floor(px_x), point, point
      elseif px_y > lowest[2] then
        lowest = point
      elseif px_y < highest[2] then
        highest = point
      end
    end
  end
  if run then flush() end
  return runs
end

local function path_of(points)
  local parts = {}
  for i, point in ipairs(points) do
    parts[i] = (i == 1 and "M" or "L") .. px(point[1]) .. " " .. px(point[2])
  end
  return table.concat(parts)
end

local function smoothed(y, decay)
  local result, sum, weight = {}, 0, 0
  for i, value in ipairs(y) do
    if finite(value) then
      sum, weight = decay * sum + (1 - decay) * value, decay * weight + (1 - decay)
      result[i] = sum / weight
    else
      result[i] = value
    end
  end
  return result
end

local function draw_line(out, series, color, x_axis, y_axis)
  local y = series.y
  local function stroke(values, extra)
    for _, run in ipairs(to_runs(series.x, values, x_axis, y_axis)) do
      if #run == 1 then
        out(
          ('<circle class="f%d" cx="%s" cy="%s" r="2.5"/>'):format(
            color,
            px(run[1][1]),
            px(run[1][2])
          )
        )
      else
        out(('<path class="line c%d%s" d="%s"/>'):format(color, extra, path_of(run)))
      end
    end
  end
  if series.smooth then
    stroke(y, " faint")
    y = smoothed(y, series.smooth)
  end
  stroke(y, series.dashed and " dash" or "")
end

local function draw_band(out, series, color, x_axis, y_axis)
  local there, back = {}, {}
  local function flush()
    if #there > 1 then
      for i = #back, 1, -1 do
        there[#there + 1] = back[i]
      end
      out(('<path class="band f%d" d="%sZ"/>'):format(color, path_of(there)))
    end
    there, back = {}, {}
  end
  for i = 1, #series.x do
    local x = x_axis.at(series.x[i])
    local low, high = y_axis.at(series.low[i]), y_axis.at(series.high[i])
    if x and low and high then
      there[#there + 1], back[#back + 1] = { x, high }, { x, low }
    else
      flush()
    end
  end
  flush()
end

local function draw_points(out, series, color, x_axis, y_axis)
  local radius = #series.x > 60 and 2.5 or 4
  for i = 1, #series.x do
    local x, y = x_axis.at(series.x[i]), y_axis.at(series.y[i])
    if x and y then
      local low = series.low and y_axis.at(series.low[i])
      local high = series.high and y_axis.at(series.high[i])
      if low and high then
        out(('<path class="whisker c%d" d="M%s %sV%s"/>'):format(color, px(x), px(low), px(high)))
      end
      local left = series.x_low and x_axis.at(series.x_low[i])
      local right = series.x_high and x_axis.at(series.x_high[i])
      if left and right then
        out(('<path class="whisker c%d" d="M%s %sH%s"/>'):format(color, px(left), px(y), px(right)))
      end
      local label = series.labels and series.labels[i]
      local tip = ("%s %s, %s"):format(
        label or series.name or "",
        format.number(series.x[i]),
        format.number(series.y[i])
      )
      local circle = '<circle class="f%d" cx="%s" cy="%s" r="%s"><title>%s</title></circle>'
      out(circle:format(color, px(x), px(y), px(radius), escape(tip)))
      if label then
        out(('<text x="%s" y="%s">%s</text>'):format(px(x + 7), px(y - 7), escape(label)))
      end
    end
  end
end

local function open_svg(out, options, width, height)
  local label = options.title or "chart"
  out(
    ('<svg class="pl" viewBox="0 0 %d %d" role="img" aria-label="%s"%s>'):format(
      width,
      height,
      escape(label),
      options.standalone
          and (' xmlns="http://www.w3.org/2000/svg" width="%d" height="%d"'):format(width, height)
        or ""
    )
  )
  if options.standalone then out("<style>" .. plot.style .. "</style>") end
end

local function writer()
  local parts = {}
  local function add(text) parts[#parts + 1] = text end
  local function all() return table.concat(parts, "\n") end
  return add, all
end

--- Legend in one or more rows; returns the height it took.
local function draw_legend(out, series, left, top, width)
  local x, y, rows = left, top, 0
  for i, one in ipairs(series) do
    if one.name and one.name ~= "" then
      local needed = 26 + 6.6 * format.width(one.name) + 14
      if x > left and x + needed > left + width then
        x, y = left, y + 18
      end
      rows = (y - top) / 18 + 1
      local color = one.color or (i - 1) % colors + 1
      if one.mark == "points" then
        out(('<circle class="f%d" cx="%s" cy="%s" r="4"/>'):format(color, px(x + 9), px(y - 4)))
      else
        out(
          ('<path class="line c%d%s" d="M%s %sh18"/>'):format(
            color,
            one.dashed and " dash" or "",
            px(x),
            px(y - 4)
          )
        )
      end
      out(
        ('<text class="name" x="%s" y="%s">%s</text>'):format(px(x + 24), px(y), escape(one.name))
      )
      x = x + needed
    end
  end
  return rows * 18
end

local series_fields = checked.any_of {
  "name",
  "x",
  "y",
  "low",
  "high",
  "x_low",
  "x_high",
  "labels",
  "mark",
  "dashed",
  "smooth",
  "color",
}

local function check_series(list)
  if type(list) ~= "table" or #list == 0 then
    error("plot.chart needs series = { { name = ..., x = {...}, y = {...} }, ... }", 3)
  end
  for i, series in ipairs(list) do
    checked.take(("series %d of plot.chart"):format(i), series, series_fields, 4)
    if type(series.x) ~= "table" or type(series.y) ~= "table" or #series.x ~= #series.y then
      error(("series %d of plot.chart needs lists x and y of one length"):format(i), 3)
    end
  end
end

--- Figures of a run's history as a series of a chart: the rows that have both fields.
-- @tparam string name for the legend
-- @tparam {table,...} rows such as `history` of a recipe's result
-- @tparam string x field, such as "step"
-- @tparam string y field
-- @tparam ?number smooth decay of a running mean, as of a series
-- @treturn table series for `chart`
function plot.series(name, rows, x, y, smooth)
  local xs, ys = {}, {}
  for _, row in ipairs(rows) do
    if row[x] and row[y] then
      xs[#xs + 1] = row[x]
      ys[#ys + 1] = row[y]
    end
  end
  return { name = name, x = xs, y = ys, smooth = smooth }
end

--- A chart of lines or points. Raises when a series has no `x` and `y` of one length.
--
-- A series has `name`, `x`, `y`; `mark` "line" (default), "points" or "both"; `low` and `high`,
-- drawn as a band under lines and as error bars on points; `x_low`, `x_high` for error bars across;
-- `labels` of points; `dashed`; `smooth` (0..1: a running mean in front, the values faint behind);
-- `color` 1..6.
-- @tparam table options `series` (required) a list; `title`, `x_label` and `y_label` (none);
--   `log_x` and `log_y` (false) logarithmic axes; `x_min`, `x_max`, `y_min` and `y_max` (of the
--   values) ends of the axes; `width` (480) in pixels: two fit side by side in a report; `height`
--   (270) in pixels; `standalone` (false) a file of its own, with the style; `lines` (none) list of
--   {y =, label =} or {x =, label =}: dashed marks
-- @treturn string
function plot.chart(options)
  options = checked.take(
    "plot.chart",
    options,
    checked.any_of {
      "title",
      "x_label",
      "y_label",
      "series",
      "log_x",
      "log_y",
      "x_min",
      "x_max",
      "y_min",
      "y_max",
      "width",
      "height",
      "standalone",
      "lines",
    }
  )
  check_series(options.series)
  local width, height = options.width or 480, options.height or 270
  local xs, ys = {}, {}
  for _, series in ipairs(options.series) do
    for _, name in ipairs { "x", "x_low", "x_high" } do
      table.move(series[name] or {}, 1, #(series[name] or {}), #xs + 1, xs)
    end
    for _, name in ipairs { "y", "low", "high" } do
      table.move(series[name] or {}, 1, #(series[name] or {}), #ys + 1, ys)
    end
  end
  for _, line in ipairs(options.lines or {}) do
    xs[#xs + 1], ys[#ys + 1] = line.x, line.y
  end

  local out, finish = writer()
  open_svg(out, options, width, height)
  local top = 8
  if options.title then
    out(('<text class="title" x="0" y="16">%s</text>'):format(escape(options.title)))
    top = 26
  end
  local named = 0
  for _, series in ipairs(options.series) do
    named = named + (series.name and 1 or 0)
  end
  if named > 1 or (named == 1 and not options.title) then
    top = top + draw_legend(out, options.series, 0, top + 12, width) + 4
  end
  if options.y_label then
    out(('<text x="0" y="%s">%s</text>'):format(px(top + 12), escape(options.y_label)))
    top = top + 18
  end
  local bottom = height - (options.x_label and 38 or 22)
  top = top + 6

  local y_low, y_high = range_of(ys, options.y_min, options.y_max, options.log_y, 0.05)
  local y_axis = make_axis(y_low, y_high, bottom, top, options.log_y, (bottom - top) / 36)
  local left = 0
  for _, text in ipairs(y_axis.texts) do
    left = math.max(left, 6.8 * #text)
  end
  left = left + 10
  local has_points = false
  for _, series in ipairs(options.series) do
    has_points = has_points or series.mark == "points" or series.mark == "both"
  end
  local x_low, x_high =
    range_of(xs, options.x_min, options.x_max, options.log_x, has_points and 0.04 or 0)
  if x_low == x_high then
    x_low, x_high = x_low - 1, x_high + 1
  end
  local x_axis = make_axis(x_low, x_high, left, width - 12, options.log_x, (width - left) / 66)

  for i, value in ipairs(y_axis.ticks) do
    local y = px(y_axis.at(value))
    out(('<path class="grid" d="M%s %sH%d"/>'):format(px(left), y, width))
    out(
      ('<text class="end" x="%s" y="%s">%s</text>'):format(
        px(left - 7),
        px(y_axis.at(value) + 4),
        y_axis.texts[i]
      )
    )
  end
  out(('<path class="axis" d="M%s %sH%d"/>'):format(px(left), px(bottom), width))
  for i, value in ipairs(x_axis.ticks) do
    local x = px(x_axis.at(value))
    out(('<path class="axis" d="M%s %sv4"/>'):format(x, px(bottom)))
    out(('<text class="mid" x="%s" y="%s">%s</text>'):format(x, px(bottom + 17), x_axis.texts[i]))
  end
  if options.x_label then
    out(
      ('<text class="end" x="%d" y="%d">%s</text>'):format(
        width,
        height - 4,
        escape(options.x_label)
      )
    )
  end
  for _, line in ipairs(options.lines or {}) do
    local x, y = line.x and x_axis.at(line.x), line.y and y_axis.at(line.y)
    if y then
      out(('<path class="mark" d="M%s %sH%d"/>'):format(px(left), px(y), width))
      out(
        ('<text class="end" x="%d" y="%s">%s</text>'):format(
          width - 4,
          px(y - 5),
          escape(line.label or "")
        )
      )
    elseif x then
      out(('<path class="mark" d="M%s %sV%s"/>'):format(px(x), px(top), px(bottom)))
      out(
        ('<text x="%s" y="%s">%s</text>'):format(px(x + 5), px(top + 10), escape(line.label or ""))
      )
    end
  end
  for i, series in ipairs(options.series) do
    local color = series.color or (i - 1) % colors + 1
    local mark = series.mark or "line"
    if mark ~= "points" then
      if series.low and series.high then draw_band(out, series, color, x_axis, y_axis) end
      draw_line(out, series, color, x_axis, y_axis)
    end
  end
  for i, series in ipairs(options.series) do
    if series.mark == "points" or series.mark == "both" then
      draw_points(out, series, series.color or (i - 1) % colors + 1, x_axis, y_axis)
    end
  end
  out("</svg>")
  return finish()
end

--- Rows with a value and its interval on one scale: which model is better, and is it sure. Raises
-- when there are no rows.
-- @tparam table options `rows` (required) list of {name =, value =, low =, high =}; `title` and
--   `x_label` (none); `x_min` and `x_max` (of the values) ends of the axis; `width` (960) in
--   pixels; `standalone` (false) a file of its own, with the style
-- @treturn string
function plot.intervals(options)
  options = checked.take(
    "plot.intervals",
    options,
    checked.any_of {
      "title",
      "x_label",
      "rows",
      "x_min",
      "x_max",
      "width",
      "standalone",
    }
  )
  if type(options.rows) ~= "table" or #options.rows == 0 then
    error(
      "plot.intervals needs rows = { { name = ..., value = ..., low = ..., high = ... }, ... }",
      2
    )
  end
  local width = options.width or 960
  local top = options.title and 34 or 10
  local row_height = 30
  local bottom = top + row_height * #options.rows
  local height = bottom + (options.x_label and 38 or 22)
  local values, left, right = {}, 0, 0
  for _, row in ipairs(options.rows) do
    values[#values + 1] = row.value
    values[#values + 1] = row.low
    values[#values + 1] = row.high
    left = math.max(left, 7 * format.width(row.name) + 14)
    right = math.max(right, 7 * #format.number(row.value, 3) + 14)
  end
  local low, high = range_of(values, options.x_min, options.x_max, false, 0.06)
  local axis = make_axis(low, high, left, width - right, false, (width - left - right) / 85)
  local out, finish = writer()
  open_svg(out, options, width, height)
  if options.title then
    out(('<text class="title" x="0" y="16">%s</text>'):format(escape(options.title)))
  end
  for i, value in ipairs(axis.ticks) do
    local x = px(axis.at(value))
    out(('<path class="grid" d="M%s %dV%d"/>'):format(x, top, bottom))
    out(('<text class="mid" x="%s" y="%d">%s</text>'):format(x, bottom + 16, axis.texts[i]))
  end
  out(('<path class="axis" d="M%s %dH%s"/>'):format(px(left), bottom, px(width - right)))
  for i, row in ipairs(options.rows) do
    local y = top + row_height * (i - 0.5)
    local color = row.color or (i - 1) % colors + 1
    out(
      ('<text class="name end" x="%s" y="%s">%s</text>'):format(
        px(left - 12),
        px(y + 4),
        escape(row.name)
      )
    )
    if row.low and row.high then
      local interval = '<path class="c%d span" d="M%s %sH%s"/>'
      out(interval:format(color, px(axis.at(row.low)), px(y), px(axis.at(row.high))))
    end
    if axis.at(row.value) then
      out(
        ('<circle class="f%d" cx="%s" cy="%s" r="5"/>'):format(color, px(axis.at(row.value)), px(y))
      )
    end
    out(
      ('<text class="name end" x="%d" y="%s">%s</text>'):format(
        width,
        px(y + 4),
        format.number(row.value, 3)
      )
    )
  end
  if options.x_label then
    out(
      ('<text class="end" x="%s" y="%d">%s</text>'):format(
        px(width - right),
        height - 4,
        escape(options.x_label)
      )
    )
  end
  out("</svg>")
  return finish()
end

return plot
