--- Personal numbers in a text: cards, IBANs, phones, IPv4 addresses, national identity numbers.
--
-- One pass over the digits. At each group of a run of digits (digit_run.lua) that stands free the
-- kinds are tried in order; numbers that have letters are tried at each digit outside a run.
--
-- IPv4: 127/8, 0/8 and 224.0.0.0 to 255.255.255.255 are no person's address and stay. Private and
-- documentation ranges count: their form is that of any other address. Four small numbers (below
-- 10, then below 32) are a version unless a word of the list `network` stands before; so is
-- anything after a word of `versions`.

local DigitRun = require("perilune.rules.personal.digit_run")
local check_digits = require("perilune.rules.personal.check_digits")
local identity_numbers = require("perilune.rules.personal.identity_numbers")
local list = require("perilune.rules.personal.word_lists").read("personal_numbers")
local phone_numbers = require("perilune.rules.personal.phone_numbers")

local personal_numbers = {}

local byte, find, match, sub = string.byte, string.find, string.match, string.sub
local any = DigitRun.any

-- The last group of the date or ISBN at group i.
local function harmless_at(run, i)
  if i + 2 <= run.count then
    local one, two, three = run:size(i), run:size(i + 1), run:size(i + 2)
    local between = run:gap(i)
    local day_first = one <= 2 and two <= 2 and (three == 4 or three == 2)
    local year_first = one == 4 and two <= 2 and three <= 2
    -- 01-42-68-53-00 is no date
    local goes_on = three == 2 and i + 3 <= run.count and run:gap(i + 2) == between
    if
      (day_first or year_first)
      and find(between, "^[./-]$")
      and between == run:gap(i + 1)
      and not goes_on
    then
      return i + 2
    end
  end
  return run:size(i) == 3
      and find(run.text, "^97[89]", run.starts[i])
      and run:reach(i, 13, "^[ -]$")
    or nil
end

-- The numbers of the four groups from i on where they have the form of an IPv4 address, else nil.
local function octets(run, i)
  if i + 3 > run.count then return nil end
  local values = {}
  for k = i, i + 3 do
    local value = run:size(k) <= 3 and tonumber(run:digits(k, k))
    if
      not value
      or value > 255
      or run:size(k) > 1 and run:first_digit(k) == 48
      or k < i + 3 and run:gap(k) ~= "."
    then
      return nil
    end
    values[#values + 1] = value
  end
  return values
end

-- The last group of the IPv4 address or version at group i, and whether it is nobody's.
local function ipv4_at(run, i)
  local values = octets(run, i)
  if not values then return nil end
  local text, first, last = run.text, run.starts[i], run.ends[i + 3]
  if
    i > 1 and find(run:gap(i - 1), "[.-]$")
    or find(sub(text, first - 1, first - 1), "[%w_.~^-]")
    or find(text, "^[%w_]", last + 1)
    or find(text, "^[.-]%w", last + 1)
  then
    return nil
  end
  local a, b, c, d = table.unpack(values)
  if a == 0 or a == 127 or a >= 224 then return i + 3, true end
  local words = DigitRun.words_before(text, first)
  local small = a < 10 and b < 32 and c < 32 and d < 32
  return i + 3, any(words, list.versions, 2) or small and not any(words, list.network)
end

local function card_at(run, i)
  if run:size(i) < 4 or run:size(i) > 19 or not run:free_left(i) then return nil end
  local total, best = 0, nil
  local is_named = any(run:context(), list.cards)
  for j = i, math.min(run.count, i + 5) do
    total = total + run:size(j)
    if total > 19 then break end
    if
      total >= 12
      and run:free_right(j)
      and find(run:digits(i, j), "[1-9]")
      and (check_digits.card(run:digits(i, j)) or is_named and check_digits.luhn(run:digits(i, j)))
    then
      best = j
    end
    if j == run.count or not find(run:gap(j), "^[ -]$") then break end
  end
  return best
end

-- Whether groups i and the next are digits apart ("1 2 3"): unless after a plus, nobody's number.
local function is_counting(run, i)
  return i < run.count and run:size(i) == 1 and run:size(i + 1) == 1 and run:byte_before(i) ~= 43
end

-- The first kind that fits at group i: the last group, the kind (nil for a number that is nobody's)
-- and its first byte; nil when none fits.
local function number_at(run, i)
  local first, stop, harmless = run.starts[i], nil, nil
  if byte(run.text, run.ends[i] + 1) == 46 then
    stop, harmless = ipv4_at(run, i)
  end
  if stop then
    return stop, not harmless and "IP" or nil, first
  elseif run:size(i) > 19 then
    return i
  end
  stop = harmless_at(run, i) or is_counting(run, i) and i
  if stop then return stop end
  stop = card_at(run, i)
  if stop then return stop, "CARD", first end
  stop = identity_numbers.at(run, i)
  if stop then return stop, "ID", first end
  stop = phone_numbers.at(run, i)
  return stop, "PHONE", stop and phone_numbers.first_byte(run, i)
end

local function search_run(run, spans)
  local i = 1
  while i <= run.count do
    local stop, kind, first = number_at(run, i)
    if stop and kind then spans:add(kind, first, run.ends[stop]) end
    i = (stop or i) + 1
  end
end

--- Find the numbers of a text.
-- @tparam string text
-- @tparam FoundSpans spans
function personal_numbers.find(text, spans)
  local run = DigitRun.new(text)
  local at = find(text, "%d")
  while at do
    local kind, first, last = identity_numbers.lettered(text, at)
    if kind then
      spans:add(kind, first, last)
    elseif find(sub(text, at - 1, at - 1), "[%a_]") then
      last = match(text, "^%w+()", at) - 1
    else
      run:read(at)
      if run.count > 1 or run:size(1) >= 7 then search_run(run, spans) end
      last = run.ends[run.count]
    end
    at = find(text, "%d", last + 1)
  end
  if find(text, "assport", 1, true) then identity_numbers.passports(text, spans) end
end

return personal_numbers
