--- What a word says about names by itself: the lists, and the forms they are asked in.

local text_words = require("perilune.rules.personal.text_words")
local word_lists = require("perilune.rules.personal.word_lists")

local name_words = {}

local find, sub = string.find, string.sub
local capital, titled = text_words.capital, text_words.titled

local english = word_lists.read("english_words")
local given = word_lists.read("given_names")
local list = word_lists.read("person_names")

local common, small_words = english.common, list.small_words
local sure, unsure = given.sure, given.unsure
local family = word_lists.read("family_names").family

-- Firms as {first word = {second word = true}}.
local firms = {}
for firm in pairs(list.firms) do
  local first, second = firm:match("^(.-)%+(.+)$")
  firms[first] = firms[first] or {}
  firms[first][second] = true
end

name_words.common, name_words.proper, name_words.after = common, english.proper, english.after
name_words.sure, name_words.unsure, name_words.family = sure, unsure, family
name_words.firms = firms

--- A word as the lists of names have it: of a double name that no list has, the first half.
-- @tparam string word
-- @treturn string
function name_words.form(word)
  word = titled(word)
  local hyphen = find(word, "-", 1, true)
  if hyphen and not (sure[word] or family[word]) then
    local head = sub(word, 1, hyphen - 1)
    if sure[head] then return head end
  end
  return word
end

--- Whether a word in any letters is an everyday one.
-- @tparam string word
-- @treturn ?boolean
function name_words.is_common(word)
  local low = word:lower()
  return common[low] or small_words[low]
end

--- Whether a word is a capitalised one of which nothing is known.
-- @tparam string word
-- @treturn boolean
function name_words.is_unknown(word)
  return capital(word)
    and #word > 1
    and not name_words.is_common(word)
    and not english.proper[titled(word)]
    and not english.after[word]
end

-- Words that make a closer look worth its time: by themselves, or beside an unknown word with a
-- capital.
local ALONE <const>, BESIDE <const> = 1, 2
local interest = {}

local function interested(words, value)
  for word in pairs(words) do
    for _, form in ipairs { word, titled(word), word:upper() } do
      interest[form] = value
    end
  end
end

for _, section in ipairs { "closings", "relatives", "greetings", "callings", "announcers" } do
  interested(list[section], BESIDE)
end
interested(list.titles, ALONE)
interested(list.name_nouns, ALONE)
for _, names in ipairs { sure, unsure, family } do
  for word in pairs(names) do
    interest[word], interest[word:upper()] = ALONE, ALONE
  end
end
-- "I'm" and "I am" in either case: the letter and verb after the pronoun.
interest["m"], interest["im"], interest["Im"], interest["am"] = ALONE, ALONE, ALONE, ALONE
for _, word in ipairs { "I", "IM", "AM", "ME", "DO", "LE", "MA" } do
  interest[word] = nil
end

local function any_of_interest(plain)
  for word in plain:gmatch("%a+") do
    if interest[word] then return true end
  end
  return false
end

--- Whether a text can hold a name at all: a known one with a capital; an unknown word with a
-- capital and a word that introduces; or one of the introductions that take small letters.
-- @tparam string plain the text as from text_words.plain
-- @treturn boolean
function name_words.worth_search(plain)
  if find(plain, "[\195-\209]") then return true end
  if find(plain, "%u") then
    local unknown = false
    for at, word in plain:gmatch("()(%u%a*)") do
      if interest[word] == ALONE then
        return true
      elseif at > 1 and not unknown and #word > 1 then
        unknown = not common[word:lower()]
      end
    end
    if unknown then return any_of_interest(plain) end
  end
  return find(plain, "name", 1, true) ~= nil
    or find(plain, "'m ", 1, true) ~= nil
    or find(plain, "im ", 1, true) ~= nil
    or find(plain, " am ", 1, true) ~= nil
    or find(plain, "mr", 1, true) ~= nil
    or find(plain, "dr ", 1, true) ~= nil
end

return name_words
