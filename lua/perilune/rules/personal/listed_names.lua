--- The names that a recipe lists: they count anywhere in a text, in any letters.
--
-- A name of one word that is also a common word counts only with a capital. A closing `'s` is
-- outside.

local text_words = require("perilune.rules.personal.text_words")
local word_lists = require("perilune.rules.personal.word_lists")

local ListedNames = {}
ListedNames.__index = ListedNames

local find, sub = string.find, string.sub
local common = word_lists.read("english_words").common

--- The names by their first word in small letters.
-- @tparam {string,...} names
function ListedNames.new(names)
  local by_first = {}
  for _, name in ipairs(names) do
    local parts = {}
    for word in text_words.plain(name):lower():gmatch("[%w\128-\255'-]+") do
      parts[#parts + 1] = word
    end
    local first = parts[1]
    if first then
      parts.needs_capital = #parts == 1 and common[first] ~= nil
      by_first[first] = by_first[first] or {}
      table.insert(by_first[first], parts)
    end
  end
  return setmetatable({ by_first = by_first }, ListedNames)
end

-- The byte after the further words of a name, of which the first ends before `at`; nil when other
-- words follow.
local function after_parts(text, parts, at)
  for k = 2, #parts do
    local following, next_at = text:match("^%s([%w\128-\255'-]+)()", at)
    if not following or following:lower():gsub("'s?$", "") ~= parts[k] then return nil end
    at = next_at
  end
  return at
end

--- Find the names.
-- @tparam string text as from text_words.plain
-- @tparam FoundSpans spans
function ListedNames:find(text, spans)
  local by_first = self.by_first
  for first, word, stop in text:gmatch("()([%w\128-\255'-]+)()") do
    local low = word:lower()
    local names = by_first[low] or find(low, "'", 1, true) and by_first[low:gsub("'s?$", "")]
    for _, parts in ipairs(names or {}) do
      local after = after_parts(text, parts, stop)
      if after and not (parts.needs_capital and not text_words.capital(word)) then
        local ending = sub(text, first, after - 1):match("'s?$") or ""
        spans:add("NAME", first, after - 1 - #ending)
      end
    end
  end
end

return ListedNames
