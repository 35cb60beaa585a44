--- What is drawn of a series: lines with bands, points with error bars.
--
-- A long series is thinned to what can be seen: of the points that fall on one pixel column the
-- lowest and the highest are kept. Values that are not finite break a line and show as a gap.
--
-- All take `out`, which adds a line of SVG, the series (see plot.chart), its colour from 1 and the
-- axes.

local axis = require("perilune.show.axis")
local format = require("perilune.base.format")
local svg = require("perilune.show.svg")

local marks = {}

local escape, finite, px = svg.escape, axis.finite, svg.px

-- Points as pixels, cut where a value is missing, thinned to two a pixel column.
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

--- A line, or a faint one behind its running mean; a dot where it is one point.
-- @tparam function out
-- @tparam table series
-- @tparam integer color
-- @tparam table x_axis
-- @tparam table y_axis
function marks.line(out, series, color, x_axis, y_axis)
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

--- The area between `low` and `high`.
-- @tparam function out
-- @tparam table series
-- @tparam integer color
-- @tparam table x_axis
-- @tparam table y_axis
function marks.band(out, series, color, x_axis, y_axis)
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

--- Points, their error bars and labels.
-- @tparam function out
-- @tparam table series
-- @tparam integer color
-- @tparam table x_axis
-- @tparam table y_axis
function marks.points(out, series, color, x_axis, y_axis)
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

return marks
