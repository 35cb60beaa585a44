--- The log's own user names in a text.
--
-- A user name counts as a whole token, in any case of letters. Tokens are runs of letters, digits,
-- `_ - [ ] { } \ ^ |` and the backtick, as chat servers allow them; a token that is no user name is
-- tried again without the brackets around it and in its parts between such marks. Names with other
-- characters (dots, spaces) are compared as they stand.
--
-- A name that is a common English word, that is one or two letters, or digits alone, counts only
-- where someone is addressed or cited by it: `name:` or `name,` at the start of a line, `@name`,
-- `<name>`, and after thanks, hi, hey, ping and their like at the end of a clause. `mostly_names`
-- tells which of these a log uses as names all the same.

local word_lists = require("perilune.rules.personal.word_lists")

local UserNames = {}
UserNames.__index = UserNames

local find, sub, byte = string.find, string.sub, string.byte

local common, proper = word_lists.read("english_words").common, {}
for word in pairs(word_lists.read("english_words").proper) do
  proper[word:lower()] = true
end

local list = word_lists.read("user_names")

local STRONG <const>, WEAK <const> = 1, 2

local endings = { "s", "es", "ed", "d", "ing" }

-- A common word or a form of one: wanted, boxes, searching, stopping. Not more than the forms of
-- grammar: people do call themselves blocky or licker.
local function is_word(low)
  if common[low] or proper[low] then return true end
  for _, ending in ipairs(endings) do
    local stem = #low > #ending + 2 and sub(low, -#ending) == ending and sub(low, 1, -#ending - 1)
    if
      stem
      and (
        common[stem]
        or common[stem .. "e"]
        or sub(stem, -1) == sub(stem, -2, -2) and common[sub(stem, 1, -2)]
      )
    then
      return true
    end
  end
  return false
end

-- Whether a name in small letters is one that counts only where someone is addressed.
local function is_weak(low) return #low <= 2 or not find(low, "[%a\128-\255]") or is_word(low) end

--- The user names of a log, ready to be found.
-- @tparam {string,...} names
-- @tparam ?{string,...} always those of them that count anywhere, words or not
function UserNames.new(names, always)
  local self = setmetatable({ tokens = {}, others = {} }, UserNames)
  local strong = {}
  for _, name in ipairs(always or {}) do
    strong[name:lower()] = true
  end
  for _, name in ipairs(names) do
    local low = name:lower()
    if find(low, "^[%w_%[%]{}\\`^|\128-\255-]+$") then
      self.tokens[low] = not strong[low] and is_weak(low) and WEAK or STRONG
    elseif low ~= "" then
      local offset, token = low:match("()([%w_%[%]{}\\`^|\128-\255-]+)")
      if token then
        self.others[token] = self.others[token] or {}
        table.insert(self.others[token], { low, offset })
      end
    end
  end
  return self
end

local function addressed(low, first, last, token)
  local before, following = byte(low, first - 1), byte(low, last + 1)
  if before == 64 then -- @
    return not find(sub(low, first - 2, first - 2), "%w")
  elseif before == 60 and following == 62 then -- < >
    return true
  elseif not before or before == 10 then
    return following == 58 and not list.headings[token] and not find(low, "^[/:]", last + 2)
      or following == 44 and not list.interjections[token]
  elseif following and find(low, "^%s*[^%s.,!?:;)]", last + 1) then
    return false
  end
  local word = sub(low, first > 12 and first - 12 or 1, first - 1):match("(%a+),? $")
  return word ~= nil and list.addressing[word] == true
end

-- Whether the token of `low` at `at` counts as a user name there.
local function counts(known, low, at, token)
  local kind = known[token]
  return kind == STRONG or kind == WEAK and addressed(low, at, at + #token - 1, token)
end

-- Symbols and marks of byte order are no part of a name; places stay.
local function without_symbols(low)
  if find(low, "[\xE2\xEF]") then
    low = low:gsub("\xE2[\x80-\xAF][\x80-\xBF]", "   "):gsub("\xEF\xBB\xBF", "   ")
  end
  return low
end

-- The names of a token that is none itself: without the brackets around it, between its marks.
local function find_parts(known, low, at, token, spans)
  local lead, inner = token:match("^([%[%]{}\\`^|-]*)(.*)$")
  inner = inner:match("^[%w_\128-\255]+")
  if not inner or lead == "" and #inner == #token then return end
  for offset, piece in token:gmatch("()([%w_]+)") do
    if #piece > 2 and counts(known, low, at + offset - 1, piece) then
      spans:add("USER", at + offset - 1, at + offset + #piece - 2)
    end
  end
end

-- The names with other characters of which `token` is the first part.
local function find_others(others, low, at, spans)
  for _, other in ipairs(others) do
    local first = at - other[2] + 1
    local last = first + #other[1] - 1
    if
      first > 0
      and sub(low, first, last) == other[1]
      and not find(sub(low, first - 1, first - 1), "[%w_]")
      and not find(low, "^[%w_]", last + 1)
    then
      spans:add("USER", first, last)
    end
  end
end

--- Find user names.
-- @tparam string text
-- @tparam FoundSpans spans
function UserNames:find(text, spans)
  local low = without_symbols(text:lower())
  local known, others = self.tokens, next(self.others) and self.others
  local marks = find(low, "[%[%]{}\\`^|\128-\255-]")
  for at, token in low:gmatch(marks and "()([%w_%[%]{}\\`^|\128-\255-]+)" or "()([%w_]+)") do
    if known[token] then
      if counts(known, low, at, token) then spans:add("USER", at, at + #token - 1) end
    elseif marks and #token > 2 and find(token, "[^%w_]") then
      find_parts(known, low, at, token, spans)
    end
    if others and others[token] then find_others(others[token], low, at, spans) end
  end
end

--- Names that are words, yet by their use in a log are names: of all places where the word stands,
-- people are addressed by it in at least `share`, and at least `least` times.
-- @tparam function texts an iterator of texts
-- @tparam ?table given `least = 3`, `share = 0.5`
-- @treturn {string,...} sorted
function UserNames:mostly_names(texts, given)
  local least, share = given and given.least or 3, given and given.share or 0.5
  local all, as_names = {}, {}
  for text in texts do
    local low = without_symbols(text:lower())
    for at, token in low:gmatch("()([%w_%[%]{}\\`^|\128-\255-]+)") do
      if self.tokens[token] == WEAK then
        all[token] = (all[token] or 0) + 1
        if addressed(low, at, at + #token - 1, token) then
          as_names[token] = (as_names[token] or 0) + 1
        end
      end
    end
  end
  local names = {}
  for name, count in pairs(as_names) do
    if count >= least and count >= share * all[name] then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

return UserNames
