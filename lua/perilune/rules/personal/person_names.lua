--- Person names in a text.
--
-- The words are read once; at each, what it is and what stands within five words beside it decide:
--
--   announced              see name_cues.lua: honorifics, introductions, relatives, closings
--   given name, sure       a name, unless a thing is named after it (Victoria Station, St. Patrick)
--   given name, unsure     a name with evidence: a family name after it, a greeting or a word for a
--                          relative before it, a verb of saying after it, or a capital in the
--                          middle of a sentence where the word itself would have none
--   family name            with the capitalised, otherwise unknown word before it
--   initials               with a family name after them
--
-- Every part of a name that was found counts again elsewhere in the same text. Titles stay outside
-- the span.
--
-- What this does not do: tell a public figure from anyone else, names in lower case except after an
-- introduction, scripts other than Latin, family names alone.

local NameText = require("perilune.rules.personal.name_text")
local name_cues = require("perilune.rules.personal.name_cues")
local name_words = require("perilune.rules.personal.name_words")
local text_words = require("perilune.rules.personal.text_words")
local word_lists = require("perilune.rules.personal.word_lists")

local person_names = {}

local find, byte = string.find, string.byte
local capital, titled = text_words.capital, text_words.titled
local after, common, proper = name_words.after, name_words.common, name_words.proper
local sure, unsure, family = name_words.sure, name_words.unsure, name_words.family
local active, after_honorific, cues = name_cues.active, name_cues.after_honorific, name_cues.search

local list = word_lists.read("person_names")

-- Whether the word after the unsure name at i says that it is one.
local function evidence_after(text, i, next_word, thing)
  local title = titled(next_word)
  return capital(next_word) and family[title] and not after[next_word]
    or not thing and text:is_unknown(i + 1) and not unsure[title] and not text:starts_sentence(i)
    or list.says[next_word]
end

-- Whether `before`, the word before the unsure name at i, says that it is one.
local function evidence_before(text, i, before, next_word, thing)
  if
    list.greetings[before] and (text:ends_clause(i) or next_word and next_word:lower() == "and")
  then
    return true
  elseif list.addressed[before] or before == "here" then
    return true
  elseif list.relatives[before] and (i == 2 or text.words[i - 2]:lower() ~= "the") then
    return true
  end
  return not thing
    and list.with_people[before]
    and not text:starts_sentence(i)
    and not text:starts_sentence(i - 1)
    and not (next_word and capital(next_word))
end

-- Whether the unsure name at i is coupled to a sure one: "Anna and Rose".
local function is_coupled(text, i)
  local words = text.words
  for k = i - 2, i + 2, 4 do
    local word = words[k]
    if word and words[(i + k) // 2] == "and" and sure[titled(word)] and capital(word) then
      return true
    end
  end
  return false
end

-- Whether what stands around an unsure name says that it is one.
local function has_evidence(text, i)
  local words = text.words
  local name = titled(words[i])
  local thing = list.things[name] or proper[name]
  local before = text:previous(i)
  local next_word = text:runs_on(i) and words[i + 1]
  if
    next_word and evidence_after(text, i, next_word, thing)
    or before and evidence_before(text, i, before, next_word, thing)
    or not thing and is_coupled(text, i)
  then
    return true
  elseif thing or text:starts_sentence(i) or not before or list.articles[before] then
    return false
  end
  return not capital(words[i - 1])
    and not (next_word and capital(next_word))
    and common[name:lower()] ~= nil
end

-- Initials and a family name.
local function after_initials(text, i)
  local words, k = text.words, i
  while k < text.count and k - i < 4 and text:is_initial(k) and find(text:gap(k), "^%. ?$") do
    k = k + 1
  end
  if
    k > i
    and not text:is_initial(k)
    and capital(words[k])
    and (family[titled(words[k])] or k > i + 1 and text:is_unknown(k))
    and not (words[i] == "U" and words[i + 1] == "S")
  then
    return text:add(i, k)
  end
  return nil
end

-- Whether the given name i in capitals is an abbreviation: no other capitals follow it.
local function is_abbreviation(text, i, form)
  local following = i < text.count and text.words[i + 1]
  if unsure[form] then
    return find(text.words[i], "^%u%u+$") and not (following and family[titled(following)])
  end
  return find(text.words[i], "^%u%u?%u?$") and not (following and find(following, "^%u%u+$"))
end

local function from_given_name(text, i, form, floor)
  if
    is_abbreviation(text, i, form)
    or text:is_thing(i)
    or unsure[form] and not has_evidence(text, i)
  then
    return nil
  end
  local stop = text:extend(i)
  return stop and text:add(text:leftmost(i, floor), stop)
end

local function from_family_name(text, i, floor)
  local words, count = text.words, text.count
  -- "Walsh, Patricia"
  if
    i < count
    and text:gap(i) == ", "
    and sure[titled(words[i + 1])]
    and capital(words[i + 1])
    and (i + 1 == count or not find(text:gap(i + 1), "^,? ?a?n?d? ?$"))
  then
    return text:add(i, i + 1)
  end
  if
    i > floor + 1
    and text:runs_on(i - 1)
    and text:is_unknown(i - 1)
    and not text:starts_sentence(i - 1)
    and not list.thing_before[words[i - 1]]
    and not text:is_thing(i)
    and not (text:runs_on(i) and after[words[i + 1]])
    and not unsure[titled(words[i - 1])]
  then
    return text:add(i - 1, i)
  end
  return nil
end

-- The last word of a name that begins at or around i, or nil; `floor` is the last word taken.
local function name_at(text, i, floor)
  local word = text.words[i]
  local cue = cues[word:lower()]
  local announced = after_honorific(text, i) or cue and cue(text, i)
  if announced or not capital(word) then
    return announced
  elseif #word == 1 then
    return after_initials(text, i)
  end
  local form = name_words.form(word)
  if sure[form] or unsure[form] then
    return from_given_name(text, i, form, floor)
  elseif family[titled(word)] then
    return from_family_name(text, i, floor)
  end
  return nil
end

--- Find the names of a text.
-- @tparam string plain the text as from text_words.plain
-- @tparam FoundSpans spans
function person_names.find(plain, spans)
  if not name_words.worth_search(plain) then return end
  local text = NameText.new(plain)
  local i, floor = 1, 0
  while i <= text.count do
    local word = text.words[i]
    local c = byte(word)
    local stop = (c < 97 or c > 122 or active[word]) and name_at(text, i, floor)
    if stop then
      floor, i = stop, stop
    end
    i = i + 1
  end
  text:report(spans)
end

return person_names
