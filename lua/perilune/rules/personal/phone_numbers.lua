--- Phone numbers in a run of digits.
--
-- What tells a phone from any other number is its form (a plus, an area code in brackets, groups of
-- 3-3-4, a leading zero and two groups) or a word within the 40 bytes before (phone, call, Tel.);
-- words such as order, version or ISBN speak against it.
--
-- What this does not do: local numbers of fewer than seven digits, numbers spelled in words.

local DigitRun = require("perilune.rules.personal.digit_run")
local list = require("perilune.rules.personal.word_lists").read("personal_numbers")

local phone_numbers = {}

local byte, find = string.byte, string.find
local any = DigitRun.any

local phrases = { "my number", "contact number", "meine nummer", "ligue para" }

local function is_announced(run)
  local words, head = run:context()
  if any(words, list.phone) or find(head, '%f[%a]text[^%a"]') then return true end
  for _, phrase in ipairs(phrases) do
    if find(head, phrase, 1, true) then return true end
  end
  if find(head, "[\224-\244]") then -- a script of three bytes a letter
    for phrase in pairs(list.phone_phrases) do
      if find(head, phrase, 1, true) then return true end
    end
  end
  return false
end

local function is_denied(run)
  local words, head = run:context()
  return any(words, list.against_phone, 3) or find(head, "[#$€£]%s?$") ~= nil
end

-- The last group of a North American number: 3-3-4, perhaps after a 1; and whether only spaces part
-- its groups.
local function north_american(run, i)
  if run:size(i) == 1 and run:first_digit(i) == 49 and i < run.count then i = i + 1 end
  if
    i + 2 > run.count
    or run:size(i) ~= 3
    or run:size(i + 1) ~= 3
    or run:size(i + 2) ~= 4
    or run:first_digit(i) < 50
    or run:first_digit(i + 1) < 50
  then
    return nil
  end
  local one, two = run:gap(i), run:gap(i + 1)
  if not find(one, "^[ ).-]+$") or not find(two, "^[ .-]$") then return nil end
  return i + 2, one == " " and two == " "
end

-- The last group of a number after a plus.
local function international(run, i)
  local best
  local total = 0
  local american = run:size(i) == 1 and run:first_digit(i) == 49
  for j = i, math.min(run.count, i + 6) do
    total = total + run:size(j)
    if total > 15 or american and total > 11 or best and total > 13 then break end
    if total >= 8 and (not american or total == 11) and run:free_right(j) then best = j end
  end
  return best
end

-- The groups from i on that may be one number: the last of them, the digits of all, and how many of
-- their gaps are dots.
local function stretch(run, i)
  local total, stop, dots = 0, i, 0
  for k = i, math.min(run.count, i + 6) do
    local size = run:size(k)
    if total + size > 15 or total >= 9 and k > i and size > 4 then break end
    total, stop = total + size, k
    if k < run.count then
      local between = run:gap(k)
      if between == "." then
        dots = dots + 1
      elseif not find(between, "^[ ()/-]+$") or find(between, "  ", 1, true) then
        break
      end
    end
  end
  return stop, total, dots
end

-- Whether the groups i to `stop` have the form of a number that is dialled from a zero on.
local function has_trunk_zero(run, i, stop, total, dots)
  if run:first_digit(i) ~= 48 then return false end
  local size, groups = run:size(i), stop - i + 1
  local second = byte(run.text, run.starts[i] + 1)
  if second == 48 and size > 2 then -- 00: into another country
    return total >= 10 and groups >= 2
  elseif groups == 1 then
    return total == 11 and second == 55 -- 07
  end
  return size >= 2 and size <= 5 and total >= 9 and total <= 12 and (dots == 0 or groups >= 4)
end

--- The last group of the phone number that begins at group i, or nil.
-- @tparam DigitRun run
-- @tparam integer i
-- @treturn ?integer
function phone_numbers.at(run, i)
  if run:size(i) > 15 or not run:free_left(i) then
    return nil
  elseif run:byte_before(i) == 43 and run:first_digit(i) ~= 48 then
    return international(run, i)
  end
  local american, spaced = north_american(run, i)
  if
    american
    and run:free_right(american)
    and not is_denied(run)
    and (not spaced or is_announced(run))
  then
    return american
  end
  local stop, total, dots = stretch(run, i)
  if not find(run:digits(i, stop), "[1-9]") then return nil end
  if not run:free_right(stop) or is_denied(run) then
    return nil
  elseif
    has_trunk_zero(run, i, stop, total, dots)
    or total >= 7 and total <= 14 and dots == 0 and is_announced(run)
  then
    return stop
  end
  return nil
end

--- The first byte of the phone number at group i: its plus and the bracket around its area code
-- belong to it.
-- @tparam DigitRun run
-- @tparam integer i
-- @treturn integer
function phone_numbers.first_byte(run, i)
  local text, first = run.text, run.starts[i]
  if byte(text, first - 1) == 43 then first = first - 1 end
  if byte(text, first - 1) == 40 and i < run.count and find(run:gap(i), ")", 1, true) then
    first = first - 1
  end
  return first
end

return phone_numbers
