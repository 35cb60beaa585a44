--- Times as logs write them, to Unix seconds (UTC).
--
-- Numbers are Unix seconds; above 1e11 milliseconds, above 1e14 microseconds. Texts: digits, ISO
-- 8601 (`2021-03-04T05:06:07.8+01:00`, a space for the T, a date alone), and `05:06` or `05:06:07`
-- with the day given apart. A text without a zone is taken as UTC. Other writings need a mapping
-- function.

local clock = {}

--- Days from 1970-01-01 to a date of the Gregorian calendar, by counting years from March so that
-- the leap day is the last of its year.
local function day_number(year, month, day)
  if month <= 2 then
    year, month = year - 1, month + 12
  end
  return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day
    - 719469
end

local function plain_number(value)
  if value ~= value or value < 0 or value > 1e17 then
    return nil
  elseif value > 1e14 then
    value = value / 1e6
  elseif value > 1e11 then
    value = value / 1e3
  end
  return math.tointeger(value) or value
end

local function of_day(text)
  local hour, minute, second = text:match("^(%d%d?):(%d%d):?(%d*%.?%d*)")
  if not hour then
    return nil
  end
  hour, minute, second = tonumber(hour), tonumber(minute), tonumber(second) or 0
  if hour > 24 or minute > 59 or second >= 61 then
    return nil
  end
  return hour * 3600 + minute * 60 + second
end

--- The day of a text such as "2021-03-04", in seconds, or nil.
function clock.day(text)
  local year, month, day = text:match("(%d%d%d%d)%-(%d%d)%-(%d%d)")
  if not year then
    return nil
  end
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  if month < 1 or month > 12 or day < 1 or day > 31 then
    return nil
  end
  return day_number(year, month, day) * 86400
end

local function zone(text)
  local sign, hours, minutes = text:match("([+-])(%d%d):?(%d?%d?)$")
  if not sign then
    return 0
  end
  local seconds = tonumber(hours) * 3600 + (tonumber(minutes) or 0) * 60
  return sign == "+" and seconds or -seconds
end

--- Unix seconds.
-- @tparam number|string value
-- @tparam ?number day seconds of the day that a bare time of day belongs to
-- @treturn ?number nil when it is not understood
function clock.seconds(value, day)
  if type(value) == "number" then
    return plain_number(value)
  elseif type(value) ~= "string" or #value > 40 then
    return nil
  end
  local text = value:match("^%s*(.-)%s*$")
  if text:find("^%d+%.?%d*$") then
    return plain_number(tonumber(text))
  end
  local from = text:match("^%d%d%d%d%-%d%d%-%d%d()")
  if not from then
    local seconds = day and text:find("^%d") and of_day(text)
    return seconds and plain_number(day + seconds)
  end
  local start = clock.day(text)
  local rest = text:sub(from):match("^[T ]%s*(.*)$")
  if not start or not rest then
    return rest == nil and from > #text and start or nil
  end
  local seconds = of_day(rest)
  return seconds and plain_number(start + seconds - zone(rest))
end

--- Whether a text is a time of day without its day.
function clock.is_time_of_day(text)
  return text:find("^%s*%d%d?:%d%d") ~= nil
end

return clock
