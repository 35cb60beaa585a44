--- Charts as SVG text: lines with bands, points with error bars, and rows with intervals.
--
-- The SVG carries class names and no colours; `plot.style` gives them, for light and dark pages.
-- A chart goes into a page that has the style (`pl.report` does that), or, with
-- `standalone = true`, into a file of its own. Nothing is loaded from anywhere.
--
-- A long series is thinned to what can be seen, and values that are not finite show as a gap.
-- Axes, marks and SVG itself are in show/axis, show/marks and show/svg.

local axis = require("perilune.show.axis")
local checked = require("perilune.base.options")
local format = require("perilune.base.format")
local marks = require("perilune.show.marks")
local svg = require("perilune.show.svg")

local plot = {}

--- Colours and type, as CSS for light and dark.
-- @type string
plot.style = svg.style

local colors = 6

--- Text that is safe inside markup: no markup, no control characters, valid UTF-8.
-- @tparam any text or a number, written with tostring
-- @treturn string
function plot.escape(text) return svg.escape(text) end

--- Round tick values that cover a range: multiples of 1, 2 or 5 times a power of ten.
-- @tparam number low the least value
-- @tparam number high above low
-- @tparam integer about how many are wanted
-- @treturn {number,...} from at or above low to at or below high
-- @treturn number the distance between two
function plot.ticks(low, high, about) return axis.ticks(low, high, about) end

local escape, px = svg.escape, svg.px

-- Legend in one or more rows; returns the height it took.
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

-- Whether all are whole numbers, as steps are.
local function are_whole(values)
  for _, value in ipairs(values) do
    if axis.finite(value) and value ~= math.floor(value) then return false end
  end
  return true
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

-- All values along x and along y, of series and marks.
local function values_of(options)
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
  return xs, ys
end

-- Title, legend and the name of y, from the top down; returns where the plot itself begins.
local function draw_head(out, options, width)
  local top, named = 8, 0
  if options.title then
    out(('<text class="title" x="0" y="16">%s</text>'):format(escape(options.title)))
    top = 26
  end
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
  return top + 6
end

local function has_points(series) return series.mark == "points" or series.mark == "both" end

-- The axis up, and the place where it stands: as far right as its numbers are wide.
local function y_axis_of(options, ys, top, bottom)
  local low, high = axis.range(ys, options.y_min, options.y_max, options.log_y, 0.05)
  local y_axis = axis.new(low, high, bottom, top, options.log_y, (bottom - top) / 36)
  local left = 0
  for _, text in ipairs(y_axis.texts) do
    left = math.max(left, 6.8 * #text)
  end
  return y_axis, left + 10
end

local function x_axis_of(options, xs, left, width)
  local margin = 0
  for _, series in ipairs(options.series) do
    if has_points(series) then margin = 0.04 end
  end
  local low, high = axis.range(xs, options.x_min, options.x_max, options.log_x, margin)
  if low == high then
    low, high = low - 1, high + 1
  end
  local about = (width - left) / 66
  return axis.new(low, high, left, width - 12, options.log_x, about, are_whole(xs))
end

-- Where things lie: `left`, `top`, `bottom` and `width` of the plot, `height` of the whole.
local function draw_axes(out, x_axis, y_axis, place, x_label)
  local left, bottom, width = place.left, place.bottom, place.width
  for i, value in ipairs(y_axis.ticks) do
    local y = y_axis.at(value)
    out(('<path class="grid" d="M%s %sH%d"/>'):format(px(left), px(y), width))
    local text = '<text class="end" x="%s" y="%s">%s</text>'
    out(text:format(px(left - 7), px(y + 4), y_axis.texts[i]))
  end
  out(('<path class="axis" d="M%s %sH%d"/>'):format(px(left), px(bottom), width))
  for i, value in ipairs(x_axis.ticks) do
    local x = px(x_axis.at(value))
    out(('<path class="axis" d="M%s %sv4"/>'):format(x, px(bottom)))
    out(('<text class="mid" x="%s" y="%s">%s</text>'):format(x, px(bottom + 17), x_axis.texts[i]))
  end
  if x_label then
    local text = '<text class="end" x="%d" y="%d">%s</text>'
    out(text:format(width, place.height - 4, escape(x_label)))
  end
end

-- Dashed marks across and up.
local function draw_marks(out, lines, x_axis, y_axis, place)
  for _, line in ipairs(lines) do
    local x, y = line.x and x_axis.at(line.x), line.y and y_axis.at(line.y)
    local label = escape(line.label or "")
    if y then
      out(('<path class="mark" d="M%s %sH%d"/>'):format(px(place.left), px(y), place.width))
      local text = '<text class="end" x="%d" y="%s">%s</text>'
      out(text:format(place.width - 4, px(y - 5), label))
    elseif x then
      out(('<path class="mark" d="M%s %sV%s"/>'):format(px(x), px(place.top), px(place.bottom)))
      out(('<text x="%s" y="%s">%s</text>'):format(px(x + 5), px(place.top + 10), label))
    end
  end
end

-- Lines with their bands first, points over them.
local function draw_series(out, list, x_axis, y_axis)
  local function color_of(i) return list[i].color or (i - 1) % colors + 1 end
  for i, series in ipairs(list) do
    if series.mark ~= "points" then
      if series.low and series.high then marks.band(out, series, color_of(i), x_axis, y_axis) end
      marks.line(out, series, color_of(i), x_axis, y_axis)
    end
  end
  for i, series in ipairs(list) do
    if has_points(series) then marks.points(out, series, color_of(i), x_axis, y_axis) end
  end
end

local chart_options = checked.any_of {
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
  options = checked.take("plot.chart", options, chart_options)
  check_series(options.series)
  local width, height = options.width or 480, options.height or 270
  local xs, ys = values_of(options)
  local out, finish = svg.writer()
  svg.open(out, options, width, height)
  local top = draw_head(out, options, width)
  local bottom = height - (options.x_label and 38 or 22)
  local y_axis, left = y_axis_of(options, ys, top, bottom)
  local x_axis = x_axis_of(options, xs, left, width)
  local place = { left = left, top = top, bottom = bottom, width = width, height = height }
  draw_axes(out, x_axis, y_axis, place, options.x_label)
  draw_marks(out, options.lines or {}, x_axis, y_axis, place)
  draw_series(out, options.series, x_axis, y_axis)
  out("</svg>")
  return finish()
end

local interval_options = checked.any_of {
  "title",
  "x_label",
  "rows",
  "x_min",
  "x_max",
  "width",
  "standalone",
}

local function check_rows(rows)
  if type(rows) == "table" and #rows > 0 then return end
  error(
    "plot.intervals needs rows = { { name = ..., value = ..., low = ..., high = ... }, ... }",
    3
  )
end

-- All values of the rows, and how wide their names (left) and their values (right) are.
local function measure_rows(rows)
  local values, left, right = {}, 0, 0
  for _, row in ipairs(rows) do
    values[#values + 1] = row.value
    values[#values + 1] = row.low
    values[#values + 1] = row.high
    left = math.max(left, 7 * format.width(row.name) + 14)
    right = math.max(right, 7 * #format.number(row.value, 3) + 14)
  end
  return values, left, right
end

-- Name, interval, point and value of a row whose middle is at y.
local function draw_row(out, row, color, y, x_axis, left, width)
  local text = '<text class="name end" x="%s" y="%s">%s</text>'
  out(text:format(px(left - 12), px(y + 4), escape(row.name)))
  if row.low and row.high then
    local interval = '<path class="c%d span" d="M%s %sH%s"/>'
    out(interval:format(color, px(x_axis.at(row.low)), px(y), px(x_axis.at(row.high))))
  end
  local x = x_axis.at(row.value)
  if x then out(('<circle class="f%d" cx="%s" cy="%s" r="5"/>'):format(color, px(x), px(y))) end
  out(text:format(("%d"):format(width), px(y + 4), format.number(row.value, 3)))
end

--- Rows with a value and its interval on one scale: which model is better, and is it sure. Raises
-- when there are no rows.
-- @tparam table options `rows` (required) list of {name =, value =, low =, high =}; `title` and
--   `x_label` (none); `x_min` and `x_max` (of the values) ends of the axis; `width` (960) in
--   pixels; `standalone` (false) a file of its own, with the style
-- @treturn string
function plot.intervals(options)
  options = checked.take("plot.intervals", options, interval_options)
  check_rows(options.rows)
  local width = options.width or 960
  local top = options.title and 34 or 10
  local row_height = 30
  local bottom = top + row_height * #options.rows
  local height = bottom + (options.x_label and 38 or 22)
  local values, left, right = measure_rows(options.rows)
  local low, high = axis.range(values, options.x_min, options.x_max, false, 0.06)
  local x_axis = axis.new(low, high, left, width - right, false, (width - left - right) / 85)
  local out, finish = svg.writer()
  svg.open(out, options, width, height)
  if options.title then
    out(('<text class="title" x="0" y="16">%s</text>'):format(escape(options.title)))
  end
  for i, value in ipairs(x_axis.ticks) do
    local x = px(x_axis.at(value))
    out(('<path class="grid" d="M%s %dV%d"/>'):format(x, top, bottom))
    out(('<text class="mid" x="%s" y="%d">%s</text>'):format(x, bottom + 16, x_axis.texts[i]))
  end
  out(('<path class="axis" d="M%s %dH%s"/>'):format(px(left), bottom, px(width - right)))
  for i, row in ipairs(options.rows) do
    local color = row.color or (i - 1) % colors + 1
    draw_row(out, row, color, top + row_height * (i - 0.5), x_axis, left, width)
  end
  if options.x_label then
    local text = '<text class="end" x="%s" y="%d">%s</text>'
    out(text:format(px(width - right), height - 4, escape(options.x_label)))
  end
  out("</svg>")
  return finish()
end

return plot
