--- A text in which names are searched: its words, what stands between them, how far a name goes,
-- and the names found so far.
--
-- A name goes on over initials, particles (van der) and further capitalised words. Words are known
-- by their number; a method that finds nothing returns nil.

local name_words = require("perilune.rules.personal.name_words")
local text_words = require("perilune.rules.personal.text_words")
local word_lists = require("perilune.rules.personal.word_lists")

--- A text as the search for names reads it.
-- @class NameText
local NameText = {}
NameText.__index = NameText

local find, sub = string.find, string.sub
local capital, titled = text_words.capital, text_words.titled
local common, proper, after = name_words.common, name_words.proper, name_words.after
local sure, unsure, family = name_words.sure, name_words.unsure, name_words.family
local form_of, is_common, firms = name_words.form, name_words.is_common, name_words.firms

local list = word_lists.read("person_names")
local greetings, titles, things = list.greetings, list.titles, list.things
local particles, small_words, thing_before = list.particles, list.small_words, list.thing_before

local LONGEST_NAME <const> = 5

--- The words of a text, and no name yet.
-- @tparam string plain the text as from text_words.plain
function NameText.new(plain)
  local words, first, last = text_words.split(plain)
  return setmetatable({
    text = plain,
    words = words,
    first = first,
    last = last,
    count = #words,
    names = {}, -- {first word, last word} of each, from left to right
    parts = {}, -- the words that are names wherever they stand in this text
  }, NameText)
end

--- What stands between word i and the next; after the last word at most three bytes.
function NameText:gap(i)
  local stop = self.last[i]
  return sub(self.text, stop + 1, i < self.count and self.first[i + 1] - 1 or stop + 3)
end

--- Whether word i begins a sentence, a line, a quotation.
function NameText:starts_sentence(i)
  local gap = i > 1 and self:gap(i - 1)
  return not gap or find(gap, '[.!?:;\n"(>*]') ~= nil
end

--- Whether a clause ends after word i.
function NameText:ends_clause(i)
  return i == self.count or find(self:gap(i), "^'?s?%s*[,.!?:;)\n\"]") ~= nil
end

--- Whether word i is one capital letter.
function NameText:is_initial(i)
  local word = self.words[i]
  return #word == 1 and capital(word)
end

--- Whether there is a word i and nothing is known of it but that it has a capital.
function NameText:is_unknown(i) return i <= self.count and name_words.is_unknown(self.words[i]) end

--- Whether only a blank stands between word i and the next.
function NameText:runs_on(i) return i < self.count and self:gap(i) == " " end

--- The word before word i in small letters, and its number, where a comma at most parts them.
function NameText:previous(i)
  if i > 1 and find(self:gap(i - 1), "^,? $") then return self.words[i - 1]:lower(), i - 1 end
  return nil
end

--- Note the words i to j as a name.
-- @treturn integer j
function NameText:add(i, j)
  self.names[#self.names + 1] = { i, j }
  for k = i, j do
    local word = self.words[k]
    if #word > 2 and not common[word:lower()] and not things[titled(word)] and capital(word) then
      self.parts[word] = true
    end
  end
  return j
end

-- Whether word k, after word j, is the first of a thing's name that began before it.
local function makes_a_thing(self, j, k)
  local words = self.words
  local word = words[k]
  if not capital(word) then return k == j + 1 and after[word] and not family[titled(words[j])] end
  return after[word] and not (k < self.count and family[titled(words[k + 1])])
    or firms[words[j]] and firms[words[j]][word]
end

-- Whether the capitalised word k goes on with the name of the words i to j.
local function belongs(self, i, j, k)
  local words = self.words
  local word = words[k]
  if #word == 1 then -- an initial needs a name after it
    return word ~= "I"
      and k < self.count
      and find(self:gap(k), "^%.? $")
      and capital(words[k + 1])
      and not (is_common(words[k + 1]) and self:gap(k) ~= ". ")
  elseif find(word, "^%u%u+$") and not find(words[i], "^%u%u+$") then
    return false
  elseif family[titled(word)] or sure[form_of(word)] then
    return true
  elseif proper[titled(word)] then
    return false
  end
  return not is_common(word)
    or sure[form_of(words[i])]
      and j == i
      and not small_words[word:lower()]
      and not (self:runs_on(k) and capital(words[k + 1]))
end

--- The last word of the name that begins at i; nil when the words name a thing.
function NameText:extend(i)
  local words, count = self.words, self.count
  local j = i
  while j < count and j - i < LONGEST_NAME do
    local between = self:gap(j)
    if between ~= " " and not (self:is_initial(j) and (between == ". " or between == ".")) then
      break
    end
    local k = j + 1
    while k < count and k - j <= 2 and particles[words[k]] and self:gap(k) == " " do
      k = k + 1
    end
    if makes_a_thing(self, j, k) then
      return nil
    elseif not capital(words[k]) or not belongs(self, i, j, k) then
      break
    end
    j = k
  end
  while j > i and #words[j] == 1 do
    j = j - 1
  end
  return j
end

--- The first of the capitalised words before the given name i that belong to it (Chen Wei, Nguyen
-- Van Minh); `floor` is the last word that is taken already.
function NameText:leftmost(i, floor)
  local k = i
  while k > floor + 1 and i - k < 2 and self:gap(k - 1) == " " do
    local word = self.words[k - 1]
    local low, title = word:lower(), titled(word)
    if not capital(word) or #word == 1 or titles[low] or greetings[low] then
      break
    elseif not family[title] and not (unsure[title] and not common[low] and not things[title]) then
      break
    end
    k = k - 1
  end
  return k
end

--- Whether a thing is named after the name at i: a place, a firm, a verse.
function NameText:is_thing(i)
  local words = self.words
  if i > 1 and thing_before[words[i - 1]] and find(self:gap(i - 1), "^%.? $") then return true end
  for j = math.max(1, i - 2), i do -- a firm's name, from either end
    local others = firms[words[j]]
    for k = math.max(i, j + 1), others and math.min(self.count, j + 2) or 0 do
      if others[words[k]] and (j == i or k == i) then return true end
    end
  end
  return find(self.text, "^ %d+:%d", self.last[i] + 1) ~= nil
end

--- Take the capitalised words from i on as a name, whatever lists say.
-- @treturn integer its last word
function NameText:take(i) return self:add(i, self:extend(i) or i) end

--- Report the names, and their parts wherever else they stand.
-- @tparam FoundSpans spans
function NameText:report(spans)
  local first, last, names, parts = self.first, self.last, self.names, self.parts
  local at = 1
  for k = 1, next(parts) and self.count or 0 do
    local name = names[at]
    if name and k > name[2] then
      at = at + 1
      name = names[at]
    end
    if (not name or k < name[1]) and parts[self.words[k]] then
      spans:add("NAME", first[k], last[k])
    end
  end
  for _, name in ipairs(names) do
    spans:add("NAME", first[name[1]], last[name[2]])
  end
end

return NameText
