--- Axes of charts: which values they cover, where these stand in pixels, and their ticks.

local format = require("perilune.base.format")

local axis = {}

--- Whether a value is a number that can stand on an axis.
-- @tparam any x
-- @treturn boolean
function axis.finite(x) return type(x) == "number" and x - x == 0 end

local finite = axis.finite

--- Round tick values that cover a range: multiples of 1, 2 or 5 times a power of ten.
-- @tparam number low the least value
-- @tparam number high above low
-- @tparam integer about how many are wanted
-- @tparam ?number least distance between two (default: any)
-- @treturn {number,...} from at or above low to at or below high
-- @treturn number the distance between two
function axis.ticks(low, high, about, least)
  local raw = math.max((high - low) / about, least or 0)
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

-- Ticks for a logarithmic axis: powers of ten, with 2 and 5 between when there are few.
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
-- @tparam number low value at `from`
-- @tparam number high value at `to`
-- @tparam number from pixels
-- @tparam number to pixels
-- @tparam ?boolean is_log whether the axis is logarithmic
-- @tparam number about how many ticks are wanted
-- @tparam ?boolean is_whole whether ticks between whole numbers say nothing
-- @treturn {at=function,ticks={number,...},texts={string,...}} `at` gives the pixel of a value, nil
--   where it has none
function axis.new(low, high, from, to, is_log, about, is_whole)
  local one = { ticks = {}, texts = {} }
  local function f(x) return is_log and math.log(x, 10) or x end
  local a, b = f(low), f(high)
  one.at = function(x)
    if not finite(x) or (is_log and x <= 0) then return nil end
    return from + (f(x) - a) / (b - a) * (to - from)
  end
  local step
  if is_log then
    one.ticks = log_ticks(low, high)
  else
    one.ticks, step = axis.ticks(low, high, about, is_whole and 1)
  end
  for i, value in ipairs(one.ticks) do
    one.texts[i] = tick_text(value, step)
  end
  return one
end

--- Lowest and highest of many values, widened to something that can be drawn.
-- @tparam {any,...} values those that are not finite do not count
-- @tparam ?number low end of the axis (default: from the values)
-- @tparam ?number high end of the axis (default: from the values)
-- @tparam ?boolean is_log whether the axis is logarithmic
-- @tparam number margin part of the range that is added at each side
-- @treturn number low
-- @treturn number high
function axis.range(values, low, high, is_log, margin)
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

return axis
