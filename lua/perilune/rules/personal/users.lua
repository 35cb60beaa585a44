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

local words = require("perilune.rules.personal.words")

local users = {}

local find, sub, byte = string.find, string.sub, string.byte

local set = require("perilune.rules.personal.word_set")

local STRONG <const>, WEAK <const> = 1, 2

local addressing = set([[
thanks thank thx ty tnx tks cheers hi hey hello ping welcome bye cya sorry yo greetings hiya morning
evening thankyou ack
]])
local interjections = set([[
well so ok okay yes no yeah oh hey hi hello thanks thank sorry please now then also anyway
actually but and lol hmm hm um uh ah right sure nope yep yup first second last next if or maybe
perhaps again cool nice great good true wow man dude guys all hehe haha btw fine still however
instead otherwise
]])
local headings = set("note re ps warning error edit update question problem hint tip example")

local proper = {}
for word in pairs(words.proper) do
  proper[word:lower()] = true
end

local endings = { "s", "es", "ed", "d", "ing" }

-- A common word or a form of one: wanted, boxes, searching, stopping. Not more than the forms of
-- grammar: people do call themselves blocky or licker.
local function is_word(low)
  if words.common[low] or proper[low] then
    return true
  end
  for _, ending in ipairs(endings) do
    local stem = #low > #ending + 2 and sub(low, -#ending) == ending and sub(low, 1, -#ending - 1)
    if stem and (words.common[stem] or words.common[stem .. "e"]
      or sub(stem, -1) == sub(stem, -2, -2) and words.common[sub(stem, 1, -2)]) then
      return true
    end
  end
  return false
end

--- Make a list of user names ready for `find`.
-- @tparam {string,...} list
-- @tparam ?{string,...} always those of them that count anywhere, words or not
-- @treturn table
function users.compile(list, always)
  local ready = { tokens = {}, others = {}, has_others = false }
  local strong = {}
  for _, name in ipairs(always or {}) do
    strong[name:lower()] = true
  end
  for _, name in ipairs(list) do
    local low = name:lower()
    if find(low, "^[%w_%[%]{}\\`^|\128-\255-]+$") then
      local weak = not strong[low]
        and (#low <= 2 or not find(low, "[%a\128-\255]") or is_word(low))
      ready.tokens[low] = weak and WEAK or STRONG
    elseif low ~= "" then
      local offset, token = low:match("()([%w_%[%]{}\\`^|\128-\255-]+)")
      if token then
        ready.others[token] = ready.others[token] or {}
        table.insert(ready.others[token], { low, offset })
        ready.has_others = true
      end
    end
  end
  return ready
end

local function addressed(low, first, last, token)
  local before, following = byte(low, first - 1), byte(low, last + 1)
  if before == 64 then -- @
    return not find(sub(low, first - 2, first - 2), "%w")
  elseif before == 60 and following == 62 then -- < >
    return true
  elseif not before or before == 10 then
    return following == 58 and not headings[token] and not find(low, "^[/:]", last + 2)
      or following == 44 and not interjections[token]
  elseif following and find(low, "^%s*[^%s.,!?:;)]", last + 1) then
    return false
  end
  local word = sub(low, first > 12 and first - 12 or 1, first - 1):match("(%a+),? $")
  return word ~= nil and addressing[word] == true
end

local function part(known, low, at, token, report)
  if known[token] == STRONG then
    report("USER", at, at + #token - 1)
  elseif known[token] == WEAK and addressed(low, at, at + #token - 1, token) then
    report("USER", at, at + #token - 1)
  end
end

-- Symbols and marks of byte order are no part of a name; places stay.
local function without_symbols(low)
  if find(low, "[\xE2\xEF]") then
    low = low:gsub("\xE2[\x80-\xAF][\x80-\xBF]", "   "):gsub("\xEF\xBB\xBF", "   ")
  end
  return low
end

--- Find user names.
-- @string text
-- @tparam table ready as from `compile`
-- @tparam function report called with kind, first, last
function users.find(text, ready, report)
  local low = without_symbols(text:lower())
  local known = ready.tokens
  local marks = find(low, "[%[%]{}\\`^|\128-\255-]")
  for at, token in low:gmatch(marks and "()([%w_%[%]{}\\`^|\128-\255-]+)" or "()([%w_]+)") do
    local kind = known[token]
    if kind == STRONG or kind == WEAK and addressed(low, at, at + #token - 1, token) then
      report("USER", at, at + #token - 1)
    elseif marks and not kind and #token > 2 and find(token, "[^%w_]") then
      local lead, inner = token:match("^([%[%]{}\\`^|-]*)(.*)$")
      inner = inner:match("^[%w_\128-\255]+")
      if inner and lead ~= "" or inner and #inner < #token then
        for offset, piece in token:gmatch("()([%w_]+)") do
          if #piece > 2 then
            part(known, low, at + offset - 1, piece, report)
          end
        end
      end
    end
    if ready.has_others and ready.others[token] then
      for _, other in ipairs(ready.others[token]) do
        local first = at - other[2] + 1
        local last = first + #other[1] - 1
        if first > 0 and sub(low, first, last) == other[1]
          and not find(sub(low, first - 1, first - 1), "[%w_]")
          and not find(low, "^[%w_]", last + 1) then
          report("USER", first, last)
        end
      end
    end
  end
end

--- Names that are words, yet by their use in a log are names: of all places where the word stands,
-- people are addressed by it in at least `share`, and at least `least` times.
-- @tparam function texts an iterator of texts
-- @tparam table ready as from `compile`
-- @tparam ?table given `least = 3`, `share = 0.5`
-- @treturn {string,...} sorted
function users.mostly_names(texts, ready, given)
  local least, share = given and given.least or 3, given and given.share or 0.5
  local all, as_names = {}, {}
  for text in texts do
    local low = without_symbols(text:lower())
    for at, token in low:gmatch("()([%w_%[%]{}\\`^|\128-\255-]+)") do
      if ready.tokens[token] == WEAK then
        all[token] = (all[token] or 0) + 1
        if addressed(low, at, at + #token - 1, token) then
          as_names[token] = (as_names[token] or 0) + 1
        end
      end
    end
  end
  local names = {}
  for name, count in pairs(as_names) do
    if count >= least and count >= share * all[name] then
      names[#names + 1] = name
    end
  end
  table.sort(names)
  return names
end

return users
