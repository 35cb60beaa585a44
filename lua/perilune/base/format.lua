--- Numbers, durations and aligned columns, as people read them.
--
-- `exact` is for files: the shortest decimal that reads back as the same double. Everything else
-- is for eyes and may round. Widths are columns of a terminal: 1 for "β", 2 for "漢".

local checked = require("perilune.base.options")
local system = require("perilune.core").system

local format = {}

--- The shortest decimal text that reads back to exactly the same number.
-- Integers stay integers; a float that happens to be whole keeps its ".0" off (5, not 5.0).
-- NaN and the infinities come out as "nan", "inf" and "-inf".
-- @tparam number x any number
-- @treturn string
function format.exact(x)
  if math.type(x) == "integer" then
    return ("%d"):format(x)
  elseif x ~= x then
    return "nan"
  elseif x == math.huge then
    return "inf"
  elseif x == -math.huge then
    return "-inf"
  end
  for digits = 14, 16 do
    local text = ("%." .. digits .. "g"):format(x)
    if tonumber(text) == x then return text end
  end
  return ("%.17g"):format(x)
end

--- A number rounded to so many significant digits, without a needless exponent.
-- @tparam number x any number
-- @tparam ?integer digits that count (default: 4)
-- @treturn string
function format.number(x, digits)
  digits = digits or 4
  if x ~= x or x == math.huge or x == -math.huge then return format.exact(x) end
  if x == math.floor(x) and math.abs(x) < 1e6 then return ("%d"):format(math.tointeger(x)) end
  local size = math.abs(x)
  if size >= 1e6 or size < 1e-4 then
    return (("%." .. (digits - 1) .. "e"):format(x):gsub("e([+-])0*(%d)", "e%1%2"):gsub("e%+", "e"))
  end
  local decimals = math.max(0, digits - 1 - math.floor(math.log(size, 10)))
  return ("%." .. math.min(decimals, 9) .. "f"):format(x)
end

--- A number by a pattern with a fixed number of decimals, whose zero has no minus: -0.004 by "%.2f"
-- is 0.00.
-- @tparam string pattern of string.format with one number, such as "%.2f" or "%+.3f"
-- @tparam number x any number
-- @treturn string
function format.fixed(pattern, x)
  local text = pattern:format(x)
  if text:find("[1-9]") or not text:find("%d") then return text end
  return (text:gsub("%-", pattern:find("%%%+") and "+" or "", 1))
end

local function scaled(x, base, units)
  local size, unit = math.abs(x), 1
  while unit < #units and size >= base * 0.9995 do
    size, unit = size / base, unit + 1
  end
  local text
  if unit == 1 then
    text = size == math.floor(size) and ("%d"):format(math.tointeger(size)) or ("%.3g"):format(size)
  else
    text = size < 9.995 and ("%.2f"):format(size)
      or size < 99.95 and ("%.1f"):format(size)
      or ("%.0f"):format(size)
  end
  return (x < 0 and "-" or "") .. text, units[unit]
end

--- A count with three digits and a unit: 950, 12.3k, 1.05M, 2.10G.
-- @tparam number n a count, of whatever is counted
-- @treturn string
function format.count(n)
  local text, unit = scaled(n, 1000, { "", "k", "M", "G", "T" })
  return text .. unit
end

--- A number of bytes: 950 B, 12.3 KiB, 1.05 GiB.
-- @tparam number n bytes
-- @treturn string with three digits; KiB is 1024 bytes
function format.bytes(n)
  local text, unit = scaled(n, 1024, { "B", "KiB", "MiB", "GiB", "TiB" })
  return text .. " " .. unit
end

--- A duration: 85 ms, 4.2 s, 3m 20s, 1h 02m, 2d 03h.
-- @tparam number seconds a time in seconds
-- @treturn string
function format.duration(seconds)
  if seconds ~= seconds or seconds == math.huge then
    return "?"
  elseif seconds < 0.9995 then
    return ("%.0f ms"):format(seconds * 1000)
  elseif seconds < 59.95 then
    return ("%.1f s"):format(seconds)
  end
  local whole = math.floor(seconds + 0.5)
  if whole < 3600 then
    return ("%dm %02ds"):format(whole // 60, whole % 60)
  elseif whole < 86400 then
    return ("%dh %02dm"):format(whole // 3600, whole % 3600 // 60)
  end
  return ("%dd %02dh"):format(whole // 86400, whole % 86400 // 3600)
end

--- Columns a terminal shows a text in, colour codes not counted; bytes where it is not UTF-8.
-- @tparam string text with colour codes or without
-- @treturn integer columns
function format.width(text)
  local plain = text:gsub("\27%[[%d;]*m", "")
  return system.columns(plain) or #plain
end

--- A text filled with blanks to a width.
-- @tparam string text shown in at most `width` columns, else it stays as it is
-- @tparam integer width columns
-- @tparam ?string align "left", "right" or "centre" (default: "left")
-- @treturn string
function format.pad(text, width, align)
  local missing = math.max(0, width - format.width(text))
  if align == "right" then
    return (" "):rep(missing) .. text
  elseif align == "centre" then
    return (" "):rep(missing // 2) .. text .. (" "):rep(missing - missing // 2)
  end
  return text .. (" "):rep(missing)
end

--- As much of a text as `width` columns show, with "…" in place of what was cut.
-- @tparam string text of one line
-- @tparam integer width columns, the "…" among them
-- @treturn string
function format.truncate(text, width)
  local columns = system.columns(text)
  if (columns or #text) <= width then return text end
  local bytes = columns and select(2, system.columns(text, width - 1)) or width - 1
  return text:sub(1, bytes) .. "…"
end

--- Lines of at most `width` characters, broken at blanks; a longer word stands alone.
-- @tparam string text words; blanks and newlines between them count alike
-- @tparam integer width characters of a line
-- @treturn {string,...}
function format.wrap(text, width)
  local lines, line = {}, nil
  for word in text:gmatch("%S+") do
    if not line then
      line = word
    elseif format.width(line) + 1 + format.width(word) <= width then
      line = line .. " " .. word
    else
      lines[#lines + 1] = line
      line = word
    end
  end
  lines[#lines + 1] = line or ""
  return lines
end

--- The decimals with which all numbers of a column show at least their leading digits.
local function common_decimals(values, digits)
  local most, least = 0, math.huge
  for _, value in ipairs(values) do
    local size = math.abs(value)
    most = math.max(most, size)
    if size > 0 then least = math.min(least, size) end
  end
  if most >= 1e6 or least < 1e-5 or most - most ~= 0 then return nil end
  local function needed(size, count) return count - 1 - math.floor(math.log(size, 10)) end
  local decimals = most > 0 and math.max(0, needed(most, digits), needed(least, 2)) or 0
  local function exact_with(count)
    for _, value in ipairs(values) do
      local scaled_value = value * 10.0 ^ count
      if math.abs(scaled_value - math.floor(scaled_value + 0.5)) > 1e-6 then return false end
    end
    return true
  end
  while decimals > 0 and exact_with(decimals - 1) do
    decimals = decimals - 1
  end
  return decimals
end

--- The cells of a table as text, the numbers of each column with the same decimals.
-- @tparam {{any,...},...} rows lists of numbers, texts or booleans; nil where there is nothing
-- @tparam ?integer digits of the largest number (default: 4)
-- @treturn {{string,...},...} cells; an absent value is ""
-- @treturn {[integer]=boolean} which columns hold numbers
-- @treturn integer how many columns there are
function format.cells(rows, digits)
  local count, columns, numeric = 0, {}, {}
  for _, row in ipairs(rows) do
    for column, value in pairs(row) do
      count = math.max(count, column)
      if type(value) == "number" and value == value then
        numeric[column] = true
        columns[column] = columns[column] or {}
        table.insert(columns[column], value)
      end
    end
  end
  local texts = {}
  for column, values in pairs(columns) do
    local whole = true
    for _, value in ipairs(values) do
      whole = whole and math.type(value) == "integer"
    end
    local decimals = not whole and common_decimals(values, digits or 4)
    columns[column] = whole and "%d" or decimals and "%." .. decimals .. "f"
  end
  for i, row in ipairs(rows) do
    texts[i] = {}
    for column = 1, count do
      local value = row[column]
      if type(value) ~= "number" then
        texts[i][column] = value == nil and "" or tostring(value)
      elseif columns[column] and value == value then
        texts[i][column] = columns[column]:format(value)
      else
        texts[i][column] = format.number(value)
      end
    end
  end
  return texts, numeric, count
end

--- A table for the terminal: a head, a rule, rows in aligned columns.
--
--     print(format.columns({ { "base", 0.12 }, { "sft", 0.61 } }, { head = { "model", "score" } }))
--
-- Numbers are set flush right with the same decimals in a column, anything else flush left.
-- @tparam {{any,...},...} rows lists of numbers, texts or booleans; nil where there is nothing
-- @tparam ?table options `head` (none: no head and no rule) list of titles; `align` (numbers right,
--   all else left) list of "left", "right" or "centre"; `indent` (0) blanks before each line; `gap`
--   (2) blanks between columns
-- @treturn string without a newline at its end
function format.columns(rows, options)
  options = checked.take(
    "format.columns",
    options,
    checked.any_of {
      "head",
      "align",
      "indent",
      "gap",
    }
  )
  local head, align = options.head, options.align or {}
  local gap = (" "):rep(options.gap or 2)
  local indent = (" "):rep(options.indent or 0)
  local cells, numeric, count = format.cells(rows)
  local widths = {}
  count = math.max(count, head and #head or 0)
  local function measure(texts)
    for column = 1, count do
      widths[column] = math.max(widths[column] or 0, format.width(texts[column] or ""))
    end
  end
  for _, texts in ipairs(cells) do
    measure(texts)
  end
  if head then measure(head) end
  local lines = {}
  local function add(texts)
    local parts = {}
    for column = 1, count do
      local side = align[column] or (numeric[column] and "right" or "left")
      parts[column] = format.pad(texts[column] or "", widths[column], side)
    end
    lines[#lines + 1] = indent .. table.concat(parts, gap):gsub("%s+$", "")
  end
  if head then
    add(head)
    local rules = {}
    for column = 1, count do
      rules[column] = ("─"):rep(widths[column])
    end
    lines[#lines + 1] = indent .. table.concat(rules, gap)
  end
  for _, texts in ipairs(cells) do
    add(texts)
  end
  return table.concat(lines, "\n")
end

--- The beginning of a text, never half of a character, with "…" in place of what was cut.
-- @tparam string text need not be UTF-8
-- @tparam integer bytes that a text may have before it is cut
-- @treturn string
function format.cut(text, bytes)
  if #text <= bytes then return text end
  local stop = bytes
  while stop > bytes - 4 and stop > 0 and text:find("^[\x80-\xBF]", stop + 1) do
    stop = stop - 1
  end
  return text:sub(1, stop) .. "…"
end

--- A text with U+FFFD for each byte that is not UTF-8.
-- @tparam string text any bytes
-- @treturn string
function format.utf8(text)
  local pieces, from = {}, 1
  while true do
    local length, bad = utf8.len(text, from)
    if length then break end
    pieces[#pieces + 1] = text:sub(from, bad - 1) .. "\u{FFFD}"
    from = bad + 1
  end
  return table.concat(pieces) .. text:sub(from)
end

--- A text of data or of a model, safe to show: control characters but newline and tab are spelled
-- out, so that none moves the cursor, changes colours or rings.
-- @tparam string text any bytes
-- @treturn string
function format.safe(text)
  return (
    text
      :gsub("[%z\1-\8\11-\31\127]", function(char) return ("\\x%02X"):format(char:byte()) end)
      :gsub("\194[\128-\159]", function(char) -- U+0080 to U+009F
        return ("\\x%02X"):format(char:byte(2))
      end)
  )
end

--- A command as it can be pasted into a shell: words that hold more than names do are quoted.
-- @tparam {string,...} words the program and its arguments
-- @treturn string
function format.command(words)
  local quoted = {}
  for i, word in ipairs(words) do
    quoted[i] = word:find("^[%w_./:=+,-]+$") and word or "'" .. word:gsub("'", "'\\''") .. "'"
  end
  return table.concat(quoted, " ")
end

return format
