--- Words that announce a name, and what then counts as one.
--
--   honorific       the capitalised words after it (Mr, Frau, Captain)
--   introduction    "my name is", "I'm", "call me", "ich heiße", "je m'appelle" and others
--   relative        "my brother X"
--   greeting        "Dear X", "Hi X,"
--   closing         "Regards," and others, where names are all that follows on the line
--
-- Each search takes the text, a NameText, and the number of the announcing word; it adds the name
-- and returns its last word, or nil.

local name_words = require("perilune.rules.personal.name_words")
local text_words = require("perilune.rules.personal.text_words")
local word_lists = require("perilune.rules.personal.word_lists")

local name_cues = {}

local find = string.find
local capital, titled = text_words.capital, text_words.titled
local common, proper, after = name_words.common, name_words.proper, name_words.after
local sure, unsure, family = name_words.sure, name_words.unsure, name_words.family
local form_of, is_common = name_words.form, name_words.is_common

local list = word_lists.read("person_names")
local callings, titles, things = list.callings, list.titles, list.things

local function is_honorific(low) return titles[low] or callings[low] end

--- A name after the honorific at i.
-- @tparam NameText text
-- @tparam integer i
-- @treturn ?integer
function name_cues.after_honorific(text, i)
  local words, k = text.words, i + 1
  local low = words[i]:lower()
  local title = titles[low]
  if
    not (title or callings[low])
    or k > text.count
    or not find(text:gap(i), "^%.? $")
    or words[i] == "MS"
    or words[i] == "PAN"
  then -- a firm, a network
    return nil
  end
  local word = words[k]
  local word_low = word:lower()
  if titles[word_low] then
    return nil -- the next title's turn
  elseif not capital(word) then
    return title and family[titled(word)] and not is_common(word) and text:add(k, k) or nil
  elseif proper[titled(word)] or list.small_words[word_low] or after[word] and not family[word] then
    return nil
  elseif #word == 1 or not common[word_low] then
    return text:take(k)
  elseif title and capital(words[i]) then
    return text:add(k, text:runs_on(k) and text:is_unknown(k + 1) and k + 1 or k)
  end
  return nil
end

-- A name right after an introduction; `loose`: unknown words pass, in small letters as well.
local function introduced(text, k, loose)
  local words = text.words
  local word = words[k]
  if not word then return nil end
  local form = form_of(word)
  local clause = text:ends_clause(k) or list.after_introduction[words[k + 1]:lower()]
  if capital(word) then
    if
      sure[form]
      or unsure[form] and (not things[form] or clause)
      or text:is_unknown(k) and (loose or clause or text:is_unknown(k + 1))
    then
      return text:take(k)
    end
  elseif
    not is_common(word)
    and clause
    and (sure[form] or loose and #word > 2 and not proper[titled(word)])
  then
    local j = k
    while
      j - k < 2
      and text:runs_on(j)
      and family[titled(words[j + 1])]
      and not is_common(words[j + 1])
    do
      j = j + 1
    end
    return text:add(k, j)
  elseif sure[form] and text:runs_on(k) and family[titled(words[k + 1])] then
    return text:add(k, k + 1)
  end
  return nil
end

-- "My name is", "name:", "my full name is", "that's my name's".
local function after_noun(text, i)
  local words = text.words
  if text:gap(i) == ": " and i < text.count and capital(words[i + 1]) then
    return introduced(text, i + 1, false)
  end
  for k = i + 1, math.min(text.count - 1, i + 5) do
    if list.name_verbs[words[k]] then
      local owned = words[i]:lower() ~= "name" or i > 1 and list.owners[words[i - 1]:lower()]
      return introduced(text, k + 1, k == i + 1 and owned)
    end
  end
  return find(text.text, "^'s ", text.last[i] + 1) and introduced(text, i + 1, false)
end

local function after_pronoun(text, i) return introduced(text, i + 1, false) end

local function after_am(text, i)
  return i > 1 and text.words[i - 1]:lower() == "i" and introduced(text, i + 1, false)
end

local function after_me(text, i)
  return i > 1
    and text.words[i - 1]:lower() == "call"
    and introduced(text, i + 1, capital(text.words[i + 1] or "x"))
end

local function after_introducer(text, i)
  local reflexive = text.words[i]:lower() == "nazywam" and text.words[i + 1] == "się"
  return introduced(text, reflexive and i + 2 or i + 1, true)
end

local function after_named(text, i)
  local word = text:runs_on(i) and text.words[i + 1]
  local form = word and capital(word) and form_of(word)
  return form and (sure[form] or unsure[form] and not things[form]) and text:take(i + 1)
end

local function after_relative(text, i)
  return i > 1
    and list.owners[text.words[i - 1]:lower()]
    and i < text.count
    and find(text:gap(i), "^,? $")
    and text:is_unknown(i + 1)
    and text:take(i + 1)
end

local function after_dear(text, i)
  return text:runs_on(i)
    and text:is_unknown(i + 1)
    and not is_honorific(text.words[i + 1]:lower())
    and text:take(i + 1)
end

local function after_hello(text, i)
  return text:runs_on(i)
    and text:is_unknown(i + 1)
    and (text:ends_clause(i + 1) or text:is_unknown(i + 2))
    and text:take(i + 1)
end

-- "Regards, X": names are all that is left of the line.
local function after_closing(text, i)
  local words, between = text.words, text:gap(i)
  if
    i == text.count
    or not find(between, "^,%s%s?%s?$") and not find(between, "^,?\n%s?$")
    or is_honorific(words[i + 1]:lower())
  then
    return nil
  end
  local known = false
  for j = i + 1, math.min(text.count, i + 4) do
    local word = words[j]
    if not capital(word) then return nil end
    local form, following = form_of(word), text:gap(j)
    known = known or not is_common(word) and not proper[form] or unsure[form]
    if find(following, "^%.?%s*$") and (j == text.count or find(following, "\n")) then
      if known and (j < text.count or find(text.text, "^%.?%s*$", text.last[j] + 1)) then
        return text:add(i + 1, j)
      end
      return nil
    elseif not find(following, "^%.? $") then
      return nil
    end
  end
  return nil
end

--- The search of each announcing word in small letters, honorifics apart.
name_cues.search = {
  ["i'm"] = after_pronoun,
  ["i'\1\1m"] = after_pronoun,
  im = after_pronoun,
  am = after_am,
  me = after_me,
  named = after_named,
  called = after_named,
  dear = after_dear,
  hi = after_hello,
  hello = after_hello,
  hey = after_hello,
}
local search_of = {
  name_nouns = after_noun,
  introducers = after_introducer,
  relatives = after_relative,
  closings = after_closing,
}
for section, search in pairs(search_of) do
  for word in pairs(list[section]) do
    name_cues.search[word] = search
  end
end

--- Words in small letters that may begin or announce a name.
name_cues.active = {}
for _, words in ipairs { titles, callings, name_cues.search } do
  for word in pairs(words) do
    name_cues.active[word] = true
  end
end

return name_cues
