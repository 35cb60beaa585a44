--- Street addresses and post boxes in a text.
--
-- Every form has a number, so each search starts at a number of at most five digits and reads at
-- most a few words on either side:
--
--   English      42 Maple Street, Apt 3, Springfield, IL 62704; 7B Kingsley Crescent
--   French       12 bis rue des Lilas, 69003 Lyon
--   street first Lindenstraße 17; Am Stadtpark 5; Keizersgracht 241; Calle Mayor 15
--   post boxes   P.O. Box 4471
--
-- A flat before it and the town and postcode after it belong to the address. A lower-case street
-- ("15 birch avenue") counts only after words such as live at, address, deliver to.
--
-- What this does not do: house names without a number, postcodes alone, Asian forms.

local text_words = require("perilune.rules.personal.text_words")
local word_lists = require("perilune.rules.personal.word_lists")

local street_addresses = {}

local find, sub, match = string.find, string.sub, string.match
local capital, common = text_words.capital, word_lists.read("english_words").common

local list = word_lists.read("street_addresses")
local strong_types, weak_types, units = list.strong_types, list.weak_types, list.units
local endings = { -- of one-word streets, and the fewest letters of the whole
  { "straße", 9 },
  { "strasse", 9 },
  { "weg", 6 },
  { "platz", 8 },
  { "allee", 8 },
  { "gasse", 7 },
  { "ring", 9 },
  { "ufer", 7 },
  { "damm", 7 },
  { "gracht", 9 },
  { "straat", 8 },
  { "laan", 7 },
  { "plein", 8 },
  { "kade", 7 },
  { "gatan", 7 },
  { "vägen", 8 },
  { "gade", 7 },
  { "vej", 6 },
}
local lead_in = { " at ", "address", "ship ", "deliver", "live in", "send it to", "moved to" }

local WORD <const> = "^([%a\128-\255][%a\128-\255'\1-]*)()"

local function next_word(text, at) return match(text, WORD, at) end

-- Capitalised words from `at` on, particles allowed inside; the last byte, and how many.
local function capital_words(text, at, most)
  local last, count = nil, 0
  for _ = 1, most do
    local word, stop = next_word(text, at)
    if not word or #word > 40 then
      break
    elseif capital(word) then
      last, count = stop - 1, count + 1
    elseif not list.particles[word] then
      break
    end
    at = match(text, "^'?%.? ()", stop)
    if not at then break end
  end
  return last, count
end

-- A postcode at `at`; its last byte.
local function postcode(text, at)
  local _, last = find(text, "^%u%u?%d[%d%u]? ?%d%u%u%f[^%w]", at) -- UK
  if last then return last end
  _, last = find(text, "^%u%u %d%d%d%d%d%f[^%w]", at) -- a state and ZIP
  if last then return last end
  _, last = find(text, "^%d%d%d%d%d%f[^%w]", at)
  return last
end

-- The last byte of a flat after the street that ends at `last`: ", Apt 3".
local function with_unit(text, last)
  local unit, stop = next_word(text, match(text, "^,? ()%f[%a]", last + 1) or #text + 1)
  if unit and units[unit] then
    local _, number = find(text, "^%.? #?[%w-]+", stop)
    if number and number - stop < 12 then return number end
  end
  return last
end

-- The last byte of the town of at most three words at `at`, or nil.
local function town_end(text, at)
  local word, stop = next_word(text, at)
  if word and common[word:lower()] and not find(text, "^ %u", at + #word) then return nil end
  local last
  for _ = 1, 3 do
    if not word or #word > 40 or not capital(word) or postcode(text, at) then break end
    last = stop - 1
    at = match(text, "^ ()", stop)
    if not at then break end
    word, stop = next_word(text, at)
  end
  return last
end

-- The last byte of an address whose street ends at `last`: flat, town and postcode belong to it.
local function with_town(text, last)
  last = with_unit(text, last)
  local _, polish = find(text, "^,? %d%d%-%d%d%d ", last + 1) -- "00-590 Warszawa"
  if polish then return capital_words(text, polish + 1, 3) or polish - 1 end
  -- "10115 Berlin", "1016 EA Amsterdam" after a comma or a space
  local at = match(text, "^,? ()%d%d%d%d%d?%f[^%w]", last + 1)
  local town = at and (match(text, "^%d+ %u%u ()%u%l", at) or match(text, "^%d+ ()[%u\195]", at))
  if town then return capital_words(text, town, 3) or last end
  at = match(text, "^, ()%u", last + 1)
  if not at then
    at = match(text, "^ ()%u", last + 1)
    return at and postcode(text, at) or last
  end
  local code = postcode(text, at)
  if code then return code end
  town = town_end(text, at)
  if not town then return last end
  local after_town = match(text, "^,? ()[%u%d]", town + 1)
  return after_town and postcode(text, after_town) or town
end

local function with_flat(text, first)
  local head = sub(text, first > 16 and first - 16 or 1, first - 1)
  local at, word = match(head, "()(%u%l+) %w+, $")
  if word and units[word] then return first - #head + at - 1 end
  return first
end

local function is_year(text, first, digits)
  if #digits ~= 4 or not find(digits, "^[12][09]") then return false end
  local before = match(sub(text, first > 12 and first - 12 or 1, first - 1), "(%a+) $")
  before = before and before:lower()
  return before ~= nil and list.before_years[before] == true
end

local function is_type(word) return strong_types[word] or weak_types[word] end

-- Whether what stands before the number at `first` leads to an address.
local function is_led_to(text, first)
  local head = sub(text, first > 30 and first - 30 or 1, first - 1):lower()
  for _, lead in ipairs(lead_in) do
    if find(head, lead, 1, true) then return true end
  end
  return false
end

-- Whether the type of street `word`, which ends before `stop`, ends a street's name.
local function ends_street(text, first, word, stop, small_letters)
  local following = match(text, "^ (%a+)", stop)
  if
    (weak_types[word] or small_letters)
    and following
    and not list.follows[following]
    and not units[following]
    and not postcode(text, stop + 1)
  then
    return false
  end
  return not small_letters or is_led_to(text, first)
end

-- Number first, English: `after` is the byte after the number.
local function english(text, first, after)
  local at = match(text, "^ ()", after)
  local small_letters, count = false, 0
  while at and count < 5 do
    local word, stop = next_word(text, at)
    if not word then
      word, stop = match(text, "^(%d+%l%l)()", at) -- 42nd
      if not word or count > 0 then return nil end
    elseif count > 0 and is_type(word) and not is_type(match(text, "^ (%a+)", stop)) then
      if not ends_street(text, first, word, stop, small_letters) then return nil end
      local dot = list.abbreviations[word] and sub(text, stop, stop) == "."
      return with_town(text, dot and stop or stop - 1)
    end
    if #word > 40 or list.not_streets[word] then
      return nil
    elseif not capital(word) and not find(word, "^%d") then
      small_letters = true
    end
    count = count + 1
    at = match(text, "^'?s?%.? ()", stop)
  end
  return nil
end

local function french(text, after)
  local at = match(text, "^,? ()", after)
  if not at then return nil end
  local word, stop = next_word(text, at)
  if word == "bis" or word == "ter" then
    at = match(text, "^,? ()", stop)
    word, stop = next_word(text, at or #text + 1)
  end
  if not word or not list.french_types[word] then return nil end
  at = match(text, "^ ()", stop)
  local last, count = capital_words(text, at or #text + 1, 5)
  if not last or count == 0 then return nil end
  return with_town(text, last)
end

-- Where in the list the street begins whose last word is the n-th, or nil.
local function one_word_street(words, n)
  local word = words[n]
  local low = word:lower():gsub("%.$", "")
  if #low >= 5 and find(low, "str$") then return n end
  if n >= 2 and list.german_last[low] and capital(words[n - 1]) then
    -- "Berliner Str 5", and no "Max Str 255": the first of two words is a form of an adjective.
    return (word ~= "Str" or find(words[n - 1], "%l%l%le[rnms]?$")) and n - 1 or nil
  end
  for _, ending in ipairs(endings) do
    if #low >= ending[2] and sub(low, -#ending[1]) == ending[1] and not common[low] then
      return n
    end
  end
  if n >= 2 and not list.not_german[word] and #word > 3 then
    local k = n - 1
    if k > 1 and (words[k] == "der" or words[k] == "den" or words[k] == "dem") then k = k - 1 end
    return list.german_first[words[k]] and k
  end
  return nil
end

-- Where in the list a street begins with its type (Calle Mayor), or nil.
local function type_first(words, n)
  for k = n - 1, math.max(1, n - 5), -1 do
    if list.street_first[words[k]] then
      return not (words[k] == "al." and k > 1 and words[k - 1]:lower() == "et") and k or nil
    elseif not capital(words[k]) and not list.particles[words[k]] then
      break
    end
  end
  return nil
end

-- Street first: the first byte of the street that ends before the number at `first`. A year after
-- words such as "Im Herbst" is none.
local function street_before(text, first, digits)
  local head = sub(text, first > 48 and first - 48 or 1, first - 1)
  local gap = match(head, ",? $") or match(head, "%. $")
  if not gap then return nil end
  local words, starts = {}, {}
  for at, word in head:sub(1, #head - #gap):gmatch('()([^%s,;:!?"(]+)') do
    words[#words + 1], starts[#starts + 1] = word, at
  end
  local n = #words
  if n == 0 then return nil end
  local k = capital(words[n]) and #gap == 1 and one_word_street(words, n) or type_first(words, n)
  if k and list.german_first[words[k]] and #digits == 4 and find(digits, "^[12][09]") then
    return nil
  end
  return k and first - #head - 1 + starts[k]
end

local function post_box(text, first)
  local head = sub(text, first > 10 and first - 10 or 1, first - 1)
  local at = match(head, "()P%.? ?O%.? [Bb]ox $") or match(head, "()Postfach $")
  return at and first - #head + at - 1
end

-- The first and last byte of the address around the number at `at`, which ends before `after`.
local function address_at(text, at, after, digits)
  local box = post_box(text, at)
  if box then return box, with_town(text, at + #digits - 1) end
  local street = street_before(text, at, digits)
  if street then
    return street, with_town(text, after - 1)
  elseif is_year(text, at, digits) then
    return nil
  end
  local last = english(text, at, after) or french(text, after)
  return last and with_flat(text, at), last
end

--- Find the addresses of a text.
-- @tparam string text as from text_words.plain
-- @tparam FoundSpans spans
function street_addresses.find(text, spans)
  local at = find(text, "%d")
  while at do
    local digits = match(text, "^%d+", at)
    local stop = at + #digits
    local after = match(text, "^%a?()%f[^%w]", stop)
    if #digits <= 5 and after and not find(sub(text, at - 1, at - 1), "[%w_.,$#-]") then
      local first, last = address_at(text, at, after, digits)
      if first then
        spans:add("ADDRESS", first, last)
        stop = math.max(stop, last + 1)
      end
    end
    at = find(text, "%d", stop)
  end
end

return street_addresses
