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

local tokens = require("perilune.rules.personal.tokens")
local words = require("perilune.rules.personal.words")

local address = {}

local find, sub, match = string.find, string.sub, string.match
local capital, common = tokens.capital, words.common

local set = require("perilune.rules.personal.word_set")

local strong_types = set([[
Street St Avenue Ave Road Rd Lane Ln Boulevard Blvd Crescent Terrace Parkway Pkwy Highway Hwy Mews
Grove street avenue road lane boulevard crescent terrace
]])
local weak_types = set([[
Drive Dr Court Ct Place Pl Way Square Sq Close Row Circle Cir Gardens Hill Rise Park Walk Yard Quay
drive court
]])
local abbreviations = set("St Ave Rd Ln Blvd Pkwy Hwy Dr Ct Pl Sq Cir")
local follows = set([[
is was in on by next before and at for to near please last where which that has or with until every
this behind opposite
]])
local not_streets = set([[
the a an of down up and or miles mile minutes minute hours hour days way metres meters km blocks
cars people times ways street road to in on for with along
]])
local french_types = set([[
rue avenue boulevard place allée chemin impasse quai cours route square Rue Avenue Boulevard Place
]])
local street_first = set([[
Calle Avenida Avda Plaza Paseo Carrer Via Viale Piazza Corso Rua Travessa Praça Vicolo Largo
]])
local german_first = set("Am Im An Auf Zum Zur Unter")
local not_german = set([[
Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag Januar Februar März April Mai Juni Juli
August September Oktober November Dezember Abend Morgen Ende Anfang Jahr Tag
]])
local particles = set("de la le les du des del della delle dei di da das do dos den der dem l d")
local endings = { -- of one-word streets, and the fewest letters of the whole
  { "straße", 9 }, { "strasse", 9 }, { "weg", 6 }, { "platz", 8 }, { "allee", 8 }, { "gasse", 7 },
  { "ring", 9 }, { "ufer", 7 }, { "damm", 7 }, { "gracht", 9 }, { "straat", 8 }, { "laan", 7 },
  { "plein", 8 }, { "kade", 7 }, { "gatan", 7 }, { "vägen", 8 }, { "gade", 7 }, { "vej", 6 },
}
local before_years = set("in since of by until")
local lead_in = { " at ", "address", "ship ", "deliver", "live in", "send it to", "moved to" }
local units = set("Apt Apartment Suite Unit Flat Floor Ste apt apartment suite unit flat")

local function next_word(text, at)
  return match(text, "^([%a\128-\255][%a\128-\255'\1-]*)()", at)
end

-- Capitalised words from `at` on, particles allowed inside; the last byte, and how many.
local function capital_words(text, at, most)
  local last, count = nil, 0
  for _ = 1, most do
    local word, stop = next_word(text, at)
    if not word or #word > 40 then
      break
    elseif capital(word) then
      last, count = stop - 1, count + 1
    elseif not particles[word] then
      break
    end
    at = match(text, "^'?%.? ()", stop)
    if not at then
      break
    end
  end
  return last, count
end

-- A postcode at `at`; its last byte.
local function postcode(text, at)
  local _, last = find(text, "^%u%u?%d[%d%u]? ?%d%u%u%f[^%w]", at) -- UK
  if last then
    return last
  end
  _, last = find(text, "^%u%u %d%d%d%d%d%f[^%w]", at) -- a state and ZIP
  if last then
    return last
  end
  _, last = find(text, "^%d%d%d%d%d%f[^%w]", at)
  return last
end

local function with_town(text, last)
  local at = match(text, "^,? ()%f[%a]", last + 1)
  local unit, stop = next_word(text, at or #text + 1)
  if unit and units[unit] then
    local _, number = find(text, "^%.? #?[%w-]+", stop)
    if number and number - stop < 12 then
      last = number
    end
  end
  -- "10115 Berlin", "1016 EA Amsterdam" after a comma or a space
  at = match(text, "^,? ()%d%d%d%d%d?%f[^%w]", last + 1)
  if at then
    local town = match(text, "^%d+ %u%u ()%u%l", at) or match(text, "^%d+ ()[%u\195]", at)
    if town then
      return capital_words(text, town, 3) or last
    end
  end
  at = match(text, "^, ()%u", last + 1)
  if not at then
    local bare = match(text, "^ ()%u", last + 1)
    return bare and postcode(text, bare) or last
  end
  local code = postcode(text, at)
  if code then
    return code
  end
  local word = next_word(text, at)
  if word and common[word:lower()] and not find(text, "^ %u", at + #word) then
    return last
  end
  local town_start, town = at, nil
  for _ = 1, 3 do
    word, stop = next_word(text, town_start)
    if not word or #word > 40 or not capital(word) or postcode(text, town_start) then
      break
    end
    town = stop - 1
    town_start = match(text, "^ ()", stop)
    if not town_start then
      break
    end
  end
  if not town then
    return last
  end
  local after_town = match(text, "^,? ()[%u%d]", town + 1)
  return after_town and postcode(text, after_town) or town
end

local function with_flat(text, first)
  local head = sub(text, first > 16 and first - 16 or 1, first - 1)
  local at, word = match(head, "()(%u%l+) %w+, $")
  if word and units[word] then
    return first - #head + at - 1
  end
  return first
end

local function is_year(text, first, digits)
  if #digits ~= 4 or not find(digits, "^[12][09]") then
    return false
  end
  local before = match(sub(text, first > 12 and first - 12 or 1, first - 1), "(%a+) $")
  before = before and before:lower()
  return before ~= nil and before_years[before] == true
end

-- Number first, English: `after` is the byte after the number.
local function english(text, first, after)
  local at = match(text, "^ ()", after)
  local small_letters, count = false, 0
  while at and count < 5 do
    local word, stop = next_word(text, at)
    if not word then
      word, stop = match(text, "^(%d+%l%l)()", at) -- 42nd
      if not word or count > 0 then
        return nil
      end
    elseif count > 0 and (strong_types[word] or weak_types[word]) then
      local following = match(text, "^ (%a+)", stop)
      local more = following and (strong_types[following] or weak_types[following])
      if not more then
        local weak = weak_types[word]
        if (weak or small_letters) and following and not follows[following]
          and not units[following] and not postcode(text, stop + 1) then
          return nil
        end
        if small_letters then
          local head = sub(text, first > 30 and first - 30 or 1, first - 1):lower()
          local led = false
          for _, lead in ipairs(lead_in) do
            led = led or find(head, lead, 1, true) ~= nil
          end
          if not led then
            return nil
          end
        end
        if abbreviations[word] and sub(text, stop, stop) == "." then
          stop = stop + 1
        end
        return with_town(text, stop - 1)
      end
    end
    if #word > 40 or not_streets[word] then
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
  if not at then
    return nil
  end
  local word, stop = next_word(text, at)
  if word == "bis" or word == "ter" then
    at = match(text, "^,? ()", stop)
    word, stop = next_word(text, at or #text + 1)
  end
  if not word or not french_types[word] then
    return nil
  end
  at = match(text, "^ ()", stop)
  local last, count = capital_words(text, at or #text + 1, 5)
  if not last or count == 0 then
    return nil
  end
  return with_town(text, last)
end

-- Street first: the first byte of the street that ends before the number at `first`.
local function street_before(text, first)
  local head = sub(text, first > 48 and first - 48 or 1, first - 1)
  local gap = match(head, ",? $") or match(head, "%. $")
  if not gap then
    return nil
  end
  local list, starts = {}, {}
  for at, word in head:sub(1, #head - #gap):gmatch("()([^%s,;:!?\"(]+)") do
    list[#list + 1], starts[#starts + 1] = word, at
  end
  local n = #list
  if n == 0 then
    return nil
  end
  local shift = first - #head - 1
  local word = list[n]
  if capital(word) and #gap == 1 then
    local low = word:lower():gsub("%.$", "")
    if #low >= 5 and find(low, "str$") then
      return shift + starts[n]
    end
    for _, ending in ipairs(endings) do
      if #low >= ending[2] and sub(low, -#ending[1]) == ending[1] and not common[low] then
        return shift + starts[n]
      end
    end
    if n >= 2 and capital(word) and not not_german[word] and #word > 3 then
      local k = n - 1
      if k > 1 and (list[k] == "der" or list[k] == "den" or list[k] == "dem") then
        k = k - 1
      end
      if german_first[list[k]] then
        return shift + starts[k]
      end
    end
  end
  for k = n - 1, math.max(1, n - 5), -1 do
    if street_first[list[k]] then
      return shift + starts[k]
    elseif not capital(list[k]) and not particles[list[k]] then
      break
    end
  end
  return nil
end

local function post_box(text, first)
  local head = sub(text, first > 10 and first - 10 or 1, first - 1)
  local at = match(head, "()P%.? ?O%.? [Bb]ox $") or match(head, "()Postfach $")
  return at and first - #head + at - 1
end

--- Find the addresses of a text.
-- @string text as from tokens.plain
-- @tparam function add called with kind, first, last
function address.find(text, add)
  local at = find(text, "%d")
  while at do
    local _, stop = find(text, "^%d+", at)
    local after = match(text, "^%a?()%f[^%w]", stop + 1)
    local last
    if stop - at < 5 and after and not find(sub(text, at - 1, at - 1), "[%w_.,$#-]") then
      local first = at
      local digits = sub(text, at, stop)
      local box = post_box(text, at)
      if box then
        first, last = box, with_town(text, stop)
      else
        local street = street_before(text, at)
        if street then
          first, last = street, with_town(text, after - 1)
        elseif not is_year(text, at, digits) then
          last = english(text, at, after) or french(text, after)
          first = last and with_flat(text, at)
        end
      end
      if last then
        add("ADDRESS", first, last)
        stop = math.max(stop, last)
      end
    end
    at = find(text, "%d", stop + 1)
  end
end

return address
