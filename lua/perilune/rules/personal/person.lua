--- Person names in a text.
--
-- The words are read once; at each, what it is (a given name, a family name, an honorific, a word
-- that introduces) and what stands within five words beside it decide:
--
--   given name, sure       a name, unless a thing is named after it (Victoria Station, St. Patrick)
--   given name, unsure     a name with evidence: a family name after it, a greeting or a word for a
--                          relative before it, a verb of saying after it, or a capital in the
--                          middle of a sentence where the word itself would have none
--   honorific              the capitalised words after it
--   introduction           "my name is", "I'm", "call me", "ich heiße", "je m'appelle" and others
--   closing                "Regards," and others, where names are all that follows on the line
--   relative               "my brother X"
--   family name            with the capitalised, otherwise unknown word before it
--
-- A name goes on over initials, particles (van der) and further capitalised words. Every part of a
-- name that was found counts again elsewhere in the same text. Titles stay outside the span.
--
-- What this does not do: tell a public figure from anyone else, names in lower case except after an
-- introduction, scripts other than Latin, family names alone.

local family = require("perilune.rules.personal.family_names")
local given = require("perilune.rules.personal.given_names")
local tokens = require("perilune.rules.personal.tokens")
local words = require("perilune.rules.personal.words")

local person = {}

local find, sub, byte = string.find, string.sub, string.byte
local capital, titled = tokens.capital, tokens.titled
local common, proper, after = words.common, words.proper, words.after
local sure, unsure = given.sure, given.unsure

local set = require("perilune.rules.personal.word_set")

local LONGEST_NAME <const> = 5

-- After a title any capitalised word is a name; after a calling only one that is no common word.
local titles = set([[
mr mrs ms mx dr prof mister herr frau señor señora señorita sra monsieur madame mme mlle signor
signora signore dhr mevrouw pan pani senhor senhora
]])
local callings = set([[
miss sir professor doctor uncle aunt auntie coach captain capt sergeant sgt judge reverend rev lord
dame officer senator father
]])
local introducers = set([[
m'appelle heiße heisse llamo chiamo heter nazywam
]])
local greetings = set([[
dear hi hello hey hallo bonjour hola ciao liebe lieber hej hei olá cześć salut thanks thank thx
cheers bye goodbye welcome congratulations sorry beste cher chère caro cara querido querida
]])
local closings = set([[
regards sincerely cheers best wishes truly yours love signed thanks faithfully cordially hugs
grüße grüßen gruß hälsningar cordialement saludos saluti atenciosamente groeten pozdrawiam xoxo
]])
local relatives = set([[
brother sister friend wife husband mother father mom dad mum son daughter boss colleague roommate
flatmate uncle aunt cousin neighbour neighbor girlfriend boyfriend partner fiancé fiancée grandma
grandmother grandfather grandpa nephew niece manager supervisor teacher client patient landlord
assistant buddy mate coworker ex twin stepson stepdaughter
]])
local owners = set("my his her our your their")
-- Verbs that take a person, before and after the name.
local addressed = set([[
tell ask told asked texted emailed remind reminded thanked blame invite invited married kissed
phoned named
]])
local with_people = set([[
with met meet called saw miss love hate visit message help from by for to and
]])
local says = set([[
said says told asked texted called wrote emailed phoned thinks thought lives lived works worked
moved left went wants wanted loves hates likes came replied answered smiled laughed married drives
plays sent told bought agreed asks tells writes whose who forgot knows
]])
local thing_before = set([[
St Saint Santa San Lake Mount Mt Fort Port Cape Hotel Hurricane Camp Lady Fraulein Operation Project
Typhoon Storm Playa Villa Casa Los Las El Street Rue Via Calle Rua
]])
local articles = set("the a an this that these in at near around via into using of every each no")
local particles = set([[
van von der den de del della di da dos das do la le ter ten bin al el zu af av y e du des
]])
-- Capitalised words that end a name even after a sure given name.
local small_words = set([[
a about after all also am an and any are as asked at back be because been before but by called
came can could did do does every first for from get gets go goes going good got had has have he
her here his how i if in is it its just last lives made make may me more my name never new next no
not now of off old on one or our out over said says see she should so some still take tell than
thank thanks that the their them then there these they think this those to told too under until up
us very wants was we went were what when where which while who whose why will with would write
wrote yes you your sir monday hi hello please ps re dear best regards
]])
-- Unsure names whose capital says nothing: places, months, seasons, brands, programs, units.
local things = set([[
Paris Austin Jordan Sydney Florence Victoria Georgia Virginia Carolina Madison Savannah Charlotte
Chelsea Brooklyn Dallas Houston Denver Lincoln Washington Israel China India Asia Africa Cuba
London Kent Jersey Indiana Dakota Montana Nevada Santiago Orlando Bristol Vienna Lima Rio Roma
Milan Valencia Adelaide Hamilton Hudson Kingston Preston Bradford Carlisle Troy Odessa Lourdes
Salem Phoenix Regina Salvador Dominica Barbara Francisco Cheyenne Mercedes Ford Nike Alexa Siri
Tesla Hertz Henry Watt Ampere Joule Kelvin Celsius Ohm Darwin Newton Jenkins Pascal Ada Julia Ruby
Lotus Spring Summer Autumn April May June August Sunday Kelly Lancaster Camden Trenton Dayton
Clifton Rhodes Siena Nancy Lorraine Isis Gemini Venus Nova Juno Echo Ashanti Jesus Moses Messiah
Thor Merlin Elvis Oprah Homer Virgil Jasmine Athena Zelda Sakura Noel Ming Rama Krishna Luna
Norman Zion Sahara Roman Genesis Trinity Justice Liberty Berkeley Ottawa Sierra Bay Lake Bridge
River Ocean Forest Star Rain Storm Day Sky Red Diamond Marlin Princess Prince King Duke Major
Junior Ottawa Sterling Stanley Morgan Christian
]])
-- Names of firms that begin like a person's.
local firms = {
  Ben = set("Jerry"), Morgan = set("Stanley"), Calvin = set("Klein"), Louis = set("Vuitton"),
  Ralph = set("Lauren"), Tommy = set("Hilfiger"), Jack = set("Daniel"), Ernst = set("Young"),
  Christian = set("Dior"), Warner = set("Bros"), Wells = set("Fargo"), Johnson = set("Johnson"),
}

local text, W, first, last, count -- the text at hand and its words
local spans, found_parts

local function gap(i)
  return sub(text, last[i] + 1, i < count and first[i + 1] - 1 or last[i] + 3)
end

-- Whether word i begins a sentence, a line, a quotation.
local function starts_sentence(i)
  return i == 1 or find(sub(text, last[i - 1] + 1, first[i] - 1), "[.!?:;\n\"(>*]") ~= nil
end

local function ends_clause(i)
  return i == count or find(gap(i), "^'?s?%s*[,.!?:;)\n\"]") ~= nil
end

local function is_initial(i)
  return #W[i] == 1 and capital(W[i])
end

local function list_form(i)
  local word = titled(W[i])
  local hyphen = find(word, "-", 1, true)
  if hyphen and not (sure[word] or family[word]) then
    local head = sub(word, 1, hyphen - 1)
    if sure[head] then
      return head
    end
  end
  return word
end

local function is_common(i)
  return common[W[i]:lower()] or small_words[W[i]:lower()]
end

-- A capitalised word of which nothing is known.
local function is_unknown(i)
  return i <= count and capital(W[i]) and #W[i] > 1 and not is_common(i)
    and not proper[titled(W[i])] and not after[W[i]]
end

local function add(i, j)
  spans[#spans + 1] = { i, j }
  for k = i, j do
    if #W[k] > 2 and not common[W[k]:lower()] and not things[titled(W[k])] and capital(W[k]) then
      found_parts[W[k]] = true
    end
  end
  return j
end

-- The last word of the name that begins at i; nil when the words name a thing.
local function extend(i)
  local j, start_is_sure = i, sure[list_form(i)]
  while j < count and j - i < LONGEST_NAME do
    local between = gap(j)
    local initial = is_initial(j)
    if between ~= " " and not (initial and (between == ". " or between == ".")) then
      break
    end
    local k = j + 1
    while k < count and k - j <= 2 and particles[W[k]] and gap(k) == " " do
      k = k + 1
    end
    local word = W[k]
    if not capital(word) then
      if k == j + 1 and after[word] and not family[titled(W[j])] then
        return nil
      end
      break
    end
    if after[word] and not (k < count and family[titled(W[k + 1])]) then
      return nil
    end
    local known = family[titled(word)] or sure[list_form(k)]
    if firms[W[j]] and firms[W[j]][word] then
      return nil
    elseif #word == 1 then -- an initial needs a name after it
      if word == "I" or k == count or not find(gap(k), "^%.? $") or not capital(W[k + 1])
        or is_common(k + 1) and gap(k) ~= ". " then
        break
      end
    elseif find(word, "^%u%u+$") and not find(W[i], "^%u%u+$") then
      break
    elseif not known then
      local name_like = not is_common(k) and not proper[titled(word)]
      local plain_word = start_is_sure and j == i and not small_words[word:lower()]
        and not proper[titled(word)] and (k == count or gap(k) ~= " " or not capital(W[k + 1]))
      if not name_like and not plain_word then
        break
      end
    end
    j = k
  end
  while j > i and #W[j] == 1 do
    j = j - 1
  end
  return j
end

local function is_thing(i)
  if i > 1 and thing_before[W[i - 1]]
    and find(sub(text, last[i - 1] + 1, first[i] - 1), "^%.? $") then
    return true
  end
  for j = math.max(1, i - 2), i do -- a firm's name, from either end
    local others = firms[W[j]]
    for k = math.max(i, j + 1), others and math.min(count, j + 2) or 0 do
      if others[W[k]] and (j == i or k == i) then
        return true
      end
    end
  end
  return find(text, "^ %d+:%d", last[i] + 1) ~= nil -- a verse
end

local function previous(i, separators)
  if i > 1 and find(sub(text, last[i - 1] + 1, first[i] - 1), separators or "^,? $") then
    return W[i - 1]:lower(), i - 1
  end
  return nil
end

-- Whether what stands around an unsure name says that it is one.
local function has_evidence(i)
  local name = titled(W[i])
  local thing = things[name] or proper[name]
  local before, at = previous(i)
  local next_word = i < count and gap(i) == " " and W[i + 1]
  if next_word then
    local title = titled(next_word)
    if capital(next_word) and (family[title] and not after[next_word]) then
      return true
    elseif not thing and is_unknown(i + 1) and not unsure[title] and not starts_sentence(i) then
      return true
    elseif says[next_word] then
      return true
    end
  end
  if before then
    if greetings[before] and (ends_clause(i) or next_word and next_word:lower() == "and") then
      return true
    elseif addressed[before] or relatives[before] and (at == 1 or W[at - 1]:lower() ~= "the") then
      return true
    elseif before == "here" or not thing and with_people[before] and not starts_sentence(i)
      and not starts_sentence(at) and not (next_word and capital(next_word)) then
      return true
    end
  end
  for _, k in ipairs({ i - 2, i + 2 }) do -- "Anna and Rose"
    if k >= 1 and k <= count and W[(i + k) // 2] == "and" and sure[titled(W[k])] and capital(W[k])
      and not thing then
      return true
    end
  end
  if thing or starts_sentence(i) or not before or articles[before] then
    return false
  end
  return not capital(W[i - 1]) and not (next_word and capital(next_word))
    and common[name:lower()] ~= nil
end

-- Take the capitalised words from i on as a name, whatever lists say.
local function take(i)
  local j = extend(i)
  return add(i, j or i)
end

local function after_title(i, between)
  local k = i + 1
  if k > count or not find(between, "^%.? $") then
    return nil
  end
  local low = W[i]:lower()
  local formal = titles[low]
  if W[i] == "MS" or W[i] == "PAN" then
    return nil -- a firm, a network
  end
  if titles[W[k]:lower()] then
    return nil -- the next title's turn
  elseif not capital(W[k]) then
    if formal and family[titled(W[k])] and not is_common(k) then
      return add(k, k)
    end
    return nil
  elseif proper[titled(W[k])] or small_words[W[k]:lower()] or after[W[k]] and not family[W[k]] then
    return nil
  elseif is_initial(k) or not common[W[k]:lower()] then
    return take(k)
  elseif formal and capital(W[i]) then
    local j = k
    if k < count and gap(k) == " " and is_unknown(k + 1) then
      j = k + 1
    end
    return add(k, j)
  end
  return nil
end

local follows_intro = set("from and here btw the a by speaking calling i but nice und aus et y e")

-- A name right after an introduction; `loose`: unknown words pass, in lower case as well.
local function introduced(k, loose)
  if k > count then
    return nil
  end
  local form = list_form(k)
  local clause = ends_clause(k) or k < count and follows_intro[W[k + 1]:lower()]
  if capital(W[k]) then
    if sure[form] or unsure[form] and not things[form] then
      return take(k)
    elseif things[form] and unsure[form] and clause then
      return take(k)
    elseif is_unknown(k) and (loose or clause or is_unknown(k + 1)) then
      return take(k)
    end
  elseif not is_common(k) and clause and (sure[form] or loose and #W[k] > 2
    and not proper[titled(W[k])]) then
    local j = k
    while j < count and j - k < 2 and gap(j) == " " and family[titled(W[j + 1])]
      and not is_common(j + 1) do
      j = j + 1
    end
    return add(k, j)
  elseif sure[form] and k < count and gap(k) == " " and family[titled(W[k + 1])] then
    return add(k, k + 1)
  end
  return nil
end

local function introduction(i, low)
  if low == "name" or low == "naam" or low == "nome" or low == "nombre" or low == "navn" then
    if gap(i) == ": " and i < count and capital(W[i + 1]) then
      return introduced(i + 1, false)
    end
    for k = i + 1, math.min(count - 1, i + 5) do
      local verb = W[k]
      if verb == "is" or verb == "é" or verb == "es" or verb == "ist" or verb == "er" then
        local owned = low ~= "name" or i > 1 and owners[W[i - 1]:lower()]
        return introduced(k + 1, k == i + 1 and owned)
      end
    end
    if sub(text, last[i] + 1, last[i] + 3) == "'s " then
      return introduced(i + 1, false)
    end
  elseif low == "i'm" or low == "im" or low == "i'\1\1m" then
    return introduced(i + 1, false)
  elseif low == "am" and i > 1 and W[i - 1]:lower() == "i" then
    return introduced(i + 1, false)
  elseif low == "me" and i > 1 and W[i - 1]:lower() == "call" then
    return introduced(i + 1, capital(W[i + 1] or "x"))
  elseif introducers[low] then
    local k = i + 1
    if low == "nazywam" and W[k] == "się" then
      k = k + 1
    end
    return introduced(k, true)
  elseif low == "named" or low == "called" then
    local form = i < count and gap(i) == " " and list_form(i + 1)
    if form and capital(W[i + 1]) and (sure[form] or unsure[form] and not things[form]) then
      return take(i + 1)
    end
  elseif relatives[low] and i > 1 and owners[W[i - 1]:lower()] and i < count
    and find(gap(i), "^,? $") and is_unknown(i + 1) then
    return take(i + 1)
  elseif low == "dear" and i < count and gap(i) == " " and is_unknown(i + 1)
    and not titles[W[i + 1]:lower()] and not callings[W[i + 1]:lower()] then
    return take(i + 1)
  elseif (low == "hi" or low == "hello" or low == "hey") and i < count and gap(i) == " "
    and is_unknown(i + 1) and (ends_clause(i + 1) or is_unknown(i + 2)) then
    return take(i + 1)
  end
  return nil
end

-- "Regards, X": names are all that is left of the line.
local function closing(i)
  local between = gap(i)
  if i == count or not find(between, "^,%s%s?%s?$") and not find(between, "^,?\n%s?$") then
    return nil
  end
  local k, j, known = i + 1, i + 1, false
  if titles[W[k]:lower()] or callings[W[k]:lower()] then
    return nil
  end
  while j <= count and j - k < 4 and capital(W[j]) do
    local form = list_form(j)
    known = known or not is_common(j) and not proper[form] or unsure[form]
    if find(gap(j), "^%.?%s*$") and (j == count or find(gap(j), "\n")) then
      if known and find(text, "^%.?%s*$", last[j] + 1) or known and j < count then
        return add(k, j)
      end
      return nil
    elseif not find(gap(j), "^%.? $") then
      return nil
    end
    j = j + 1
  end
  return nil
end

-- Capitalised words before a sure given name that belong to it (Chen Wei, Nguyen Van Minh).
local function leftmost(i, floor)
  local k = i
  while k > floor + 1 and i - k < 2 and sub(text, last[k - 1] + 1, first[k] - 1) == " " do
    local word = W[k - 1]
    local title = titled(word)
    if not capital(word) or #word == 1 or titles[word:lower()] or greetings[word:lower()] then
      break
    elseif not family[title] and not (unsure[title] and not common[word:lower()]
      and not things[title]) then
      break
    end
    k = k - 1
  end
  return k
end

-- The last word of a name that begins at or around i, or nil; `floor` is the last word taken.
local function name_at(i, floor)
  local word = W[i]
  local low = word:lower()
  if titles[low] or callings[low] then
    local j = after_title(i, gap(i))
    if j then
      return j
    end
  end
  local j = introduction(i, low) or closings[low] and closing(i)
  if j then
    return j
  elseif not capital(word) then
    return nil
  end
  if #word == 1 then -- initials and a family name
    local k = i
    while k < count and k - i < 4 and is_initial(k) and find(gap(k), "^%. ?$") do
      k = k + 1
    end
    if k > i and not is_initial(k) and capital(W[k])
      and (family[titled(W[k])] or k > i + 1 and is_unknown(k))
      and not (W[i] == "U" and W[i + 1] == "S") then
      return add(i, k)
    end
    return nil
  end
  local form = list_form(i)
  if sure[form] and not unsure[form] then
    if find(word, "^%u%u?%u?$") and not (i < count and find(W[i + 1], "^%u%u+$")) then
      return nil
    elseif is_thing(i) then
      return nil
    end
    local stop = extend(i)
    return stop and add(leftmost(i, floor), stop)
  elseif unsure[form] then
    if is_thing(i) or find(word, "^%u%u+$") and not (i < count and family[titled(W[i + 1])])
      or not has_evidence(i) then
      return nil
    end
    local stop = extend(i)
    return stop and add(leftmost(i, floor), stop)
  elseif family[titled(word)] then
    -- "Walsh, Patricia"
    if i < count and gap(i) == ", " and sure[titled(W[i + 1])] and capital(W[i + 1])
      and (i + 1 == count or not find(gap(i + 1), "^,? ?a?n?d? ?$")) then
      return add(i, i + 1)
    end
    if i > floor + 1 and sub(text, last[i - 1] + 1, first[i] - 1) == " " and is_unknown(i - 1)
      and not starts_sentence(i - 1) and not thing_before[W[i - 1]] and not is_thing(i)
      and not (i < count and after[W[i + 1]] and gap(i) == " ")
      and not unsure[titled(W[i - 1])] then
      return add(i - 1, i)
    end
  end
  return nil
end

-- Words in small letters that may begin or announce a name; others are passed over.
local active = set("name naam nome nombre i'm im am me named called dear hi hello hey i'\1\1m")
for _, list in ipairs({ titles, callings, introducers, closings, relatives }) do
  for word in pairs(list) do
    active[word] = true
  end
end

-- Words that make a closer look worth its time: 1 always, 2 beside an unknown word with a capital.
local interest = {}
local function interested(list, value)
  for word in pairs(list) do
    for _, form in ipairs({ word, titled(word), word:upper() }) do
      interest[form] = value
    end
  end
end
interested(closings, 2)
interested(relatives, 2)
interested(greetings, 2)
interested(callings, 2)
interested(set("llamo chiamo heter nazywam appelle called me"), 2)
interested(titles, 1)
interested(set("name naam nome nombre navn"), 1)
for _, list in ipairs({ sure, unsure, family }) do
  for word in pairs(list) do
    interest[word] = 1
    interest[word:upper()] = 1
  end
end
-- "I'm" and "I am" in either case: the letter and verb after the pronoun.
interest["m"], interest["im"], interest["Im"], interest["am"] = 1, 1, 1, 1
for _, list in ipairs({ "I", "IM", "AM", "ME", "DO", "LE", "MA" }) do
  interest[list] = nil
end

-- Whether a text can hold a name at all: a known one with a capital; an unknown word with a capital
-- and a word that introduces; or one of the introductions that take small letters.
local function worth_it(plain)
  if find(plain, "[\195-\209]") then
    return true
  end
  if find(plain, "%u") then
    local unknown = false
    for at, word in plain:gmatch("()(%u%a*)") do
      if interest[word] == 1 then
        return true
      elseif at > 1 and not unknown and #word > 1 then
        unknown = not common[word:lower()]
      end
    end
    if unknown then
      for word in plain:gmatch("%a+") do
        if interest[word] then
          return true
        end
      end
      return false
    end
  end
  return find(plain, "name", 1, true) ~= nil or find(plain, "'m ", 1, true) ~= nil
    or find(plain, "im ", 1, true) ~= nil or find(plain, " am ", 1, true) ~= nil
    or find(plain, "mr", 1, true) ~= nil or find(plain, "dr ", 1, true) ~= nil
end

--- Find the names of a text.
-- @string plain the text as from tokens.plain
-- @tparam function report called with kind, first, last
-- @tparam ?{table,table,table} split words of the text as from tokens.split, if at hand
function person.find(plain, report, split)
  if not split and not worth_it(plain) then
    return
  end
  text = plain
  if split then
    W, first, last = split[1], split[2], split[3]
  else
    W, first, last = tokens.split(plain)
  end
  count, spans, found_parts = #W, {}, {}
  local i, floor = 1, 0
  while i <= count do
    local word = W[i]
    local c = byte(word)
    local stop = (c < 97 or c > 122 or active[word]) and name_at(i, floor)
    if stop then
      floor, i = stop, stop
    end
    i = i + 1
  end
  local at = 1
  local taken = 0
  if next(found_parts) then
    for k = 1, count do
      local span = spans[at]
      if span and k > span[2] then
        at = at + 1
        span = spans[at]
      end
      if (not span or k < span[1]) and found_parts[W[k]] and k > taken then
        report("NAME", first[k], last[k])
        taken = k
      end
    end
  end
  for _, span in ipairs(spans) do
    report("NAME", first[span[1]], last[span[2]])
  end
  text, W, first, last, spans, found_parts = nil, nil, nil, nil, nil, nil
end

return person
