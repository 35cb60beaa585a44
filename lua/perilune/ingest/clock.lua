--- Times as logs write them, to Unix seconds (UTC).
--
-- Numbers are Unix seconds; above 1e11 milliseconds, above 1e14 microseconds. Texts: digits; ISO
-- 8601 (`2021-03-04T05:06:07.8+01:00`, a space for the T, `20210304T050607Z`, a date alone);
-- `2021/03/04 05:06`; `4.3.2021`; `25/03/2021` (day and month are told apart when one of them is
-- above 12, else by an order that is given, "day_first" or "month_first": it is not guessed);
-- months by name (`Mar 4, 2021 5:06 PM`, `Thu, 04 Mar 2021 05:06:07 GMT`, `04-Mar-21`,
-- `Thu Mar 4 05:06:07 2021`); `05:06` or `05:06:07` with the day given apart. A text without a zone
-- is taken as UTC; names of zones other than UTC, GMT and Z are not understood. An object
-- `{"$date": ...}` is what it holds. Other writings need a mapping function.

local clock = {}

--- Days from 1970-01-01 to a date of the Gregorian calendar, by counting years from March so that
-- the leap day is the last of its year.
local function day_number(year, month, day)
  if month <= 2 then
    year, month = year - 1, month + 12
  end
  return 365 * year
    + year // 4
    - year // 100
    + year // 400
    + (153 * (month - 3) + 2) // 5
    + day
    - 719469
end

--- Seconds of a date of numbers or texts, or nil.
local function date(year, month, day)
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  if not year or not month or month < 1 or month > 12 or not day or day < 1 or day > 31 then
    return nil
  elseif year < 100 then
    year = year + (year < 70 and 2000 or 1900)
  end
  return day_number(year, month, day) * 86400
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

--- Seconds of a time of day at the beginning of a text, and what stands behind it.
local function of_day(text)
  local hour, minute, second, rest = text:match("^(%d%d?):(%d%d):?(%d*%.?%d*)(.*)$")
  if not hour then return nil end
  hour, minute, second = tonumber(hour), tonumber(minute), tonumber(second) or 0
  local half, after = rest:match("^%s*([AaPp])%.?[Mm]%.?()")
  if half and hour >= 1 and hour <= 12 then
    hour, rest = hour % 12 + (half:lower() == "p" and 12 or 0), rest:sub(after)
  end
  if hour > 24 or minute > 59 or second >= 61 then return nil end
  rest = rest:gsub("^%s*%(?", ""):gsub("%)?%s*$", ""):gsub("^[UG][TM][CT]([+-])", "%1")
  return hour * 3600 + minute * 60 + second, rest
end

--- The day of a text such as "2021-03-04", in seconds, or nil.
function clock.day(text)
  local year, month, day = text:match("(%d%d%d%d)%-(%d%d)%-(%d%d)")
  return year and date(year, month, day)
end

local no_zone = { [""] = true, Z = true, UTC = true, GMT = true }

--- Seconds that a zone is ahead of UTC; nil for one that is not known.
local function zone(text)
  if no_zone[text] then return 0 end
  local sign, hours, minutes = text:match("^([+-])(%d%d):?(%d?%d?)$")
  if not sign then return nil end
  local seconds = tonumber(hours) * 3600 + (tonumber(minutes) or 0) * 60
  return sign == "+" and seconds or -seconds
end

local months = {}
for i, name in ipairs {
  "jan",
  "feb",
  "mar",
  "apr",
  "may",
  "jun",
  "jul",
  "aug",
  "sep",
  "oct",
  "nov",
  "dec",
} do
  months[name] = i
end

local weekdays =
  { mon = true, tue = true, wed = true, thu = true, fri = true, sat = true, sun = true }

local function month_of(name) return months[name:sub(1, 3):lower()] end

--- Day and month of two numbers of which it is not said which is which; nil and true when it is not
-- known.
local function day_or_month(a, b, year, order)
  a, b = tonumber(a), tonumber(b)
  if a > 12 or a == b then
    return date(year, b, a)
  elseif b > 12 then
    return date(year, a, b)
  elseif order == "day_first" then
    return date(year, b, a)
  elseif order == "month_first" then
    return date(year, a, b)
  end
  return nil, true
end

-- Ways to write a date at the beginning of a text: a pattern, and its captures to seconds.
local dates = {
  { "^(%d%d%d%d)%-(%d%d)%-(%d%d)()", date },
  { "^(%d%d%d%d)[/.](%d%d?)[/.](%d%d?)()", date },
  { "^(%d%d%d%d)(%d%d)(%d%d)()", date },
  {
    "^(%d%d?)%.(%d%d?)%.(%d%d%d%d)()",
    function(day, month, year) return date(year, month, day) end,
  },
  { "^(%d%d?)[/-](%d%d?)[/-](%d%d%d%d)()", day_or_month },
  {
    "^(%d%d?)[%s-](%a+)%.?,?[%s-](%d%d%d?%d?)()",
    function(day, month, year) return date(year, month_of(month), day) end,
  },
  {
    "^(%a+)%.?%s+(%d%d?),?%s+(%d%d%d%d)()",
    function(month, day, year) return date(year, month_of(month), day) end,
  },
}

--- The date at the beginning of a text, in seconds, what stands behind it, and true for a date that
-- may be two.
local function leading_date(text, order)
  for _, way in ipairs(dates) do
    local a, b, c, after = text:match(way[1])
    if a then
      local start, open = way[2](a, b, c, order)
      return start, text:sub(after), open
    end
  end
end

--- The date of "Mar 4 05:06:07 2021", with the time in its middle, and the time.
local function split_date(text)
  local month, day, time, year = text:match("^(%a+)%s+(%d%d?)%s+(%d%d?:.-)%s+(%d%d%d%d)$")
  if month then return date(year, month_of(month), day), " " .. time end
end

--- Unix seconds.
-- @tparam number|string|table value
-- @tparam ?number day seconds of the day that a bare time of day belongs to
-- @tparam ?string order "day_first" or "month_first", of dates such as 05/06/2024
-- @treturn ?number nil when it is not understood
-- @treturn ?boolean true when it is a date that may be two
function clock.seconds(value, day, order)
  if type(value) == "table" then
    value = value["$date"] or value["$numberLong"]
    value = type(value) == "table" and value["$numberLong"] or value
  end
  if type(value) == "number" then
    return plain_number(value)
  elseif type(value) ~= "string" or #value > 60 then
    return nil
  end
  local text = value:match("^%s*(.-)%s*$")
  if text:find("^%d+%.?%d*$") and not text:find("^[12][09]%d%d[01]%d[0-3]%d$") then
    return plain_number(tonumber(text))
  end
  local name, after = text:match("^(%a+),?%s+()")
  if name and weekdays[name:sub(1, 3):lower()] then text = text:sub(after) end
  local start, rest, open = leading_date(text, order)
  if not rest then
    start, rest = split_date(text)
  end
  if not rest then
    local seconds = day and text:find("^%d") and of_day(text)
    return seconds and plain_number(day + seconds)
  elseif not start or rest == "" then
    return start, open
  end
  local clock_text = rest:match("^[T,]?%s*(%d.*)$")
  if not clock_text then return nil end
  clock_text = clock_text:gsub("^(%d%d)(%d%d)(%d%d)", "%1:%2:%3")
  local seconds, behind = of_day(clock_text)
  local ahead = seconds and zone(behind)
  return ahead and plain_number(start + seconds - ahead)
end

--- Whether a text is a time of day without its day.
function clock.is_time_of_day(text) return text:find("^%s*%d%d?:%d%d") ~= nil end

return clock
