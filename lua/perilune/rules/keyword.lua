--- Prompts with, or without, certain words.
--
-- Words are found whole and whatever their case, as plain text: nothing in them is a pattern, so no
-- text can make the search run away. One word of letters and digits is looked up in the set of the
-- text's words; anything else ("c++", "new york") is searched for, and must not go on into a word
-- at an end that is a letter or digit. White space of any kind and length in the text counts as one
-- space.

local options = require("perilune.base.options")
local fold = require("perilune.rules.fold")
local text_of = require("perilune.rules.row_text")

local WORD <const> = "[%w_\x80-\xFF]"

local function spaced(text) return (fold.case(text):gsub("%s+", " ")) end

-- {words = {word -> as given}, phrases = {{text =, given =, head =, tail =}}}
local function compile(key, list)
  if type(list) == "string" then list = { list } end
  local wanted = { words = {}, phrases = {} }
  for i, given in ipairs(list) do
    local text = type(given) == "string" and spaced(given):match("^%s*(.-)%s*$") or ""
    if text == "" then
      error(("keyword: item %d of `%s` is no word"):format(i, key), 0)
    elseif not text:find("[^%w_\x80-\xFF]") then
      wanted.words[text] = wanted.words[text] or given
    else
      table.insert(wanted.phrases, {
        text = text,
        given = given,
        head = text:find("^" .. WORD) ~= nil,
        tail = text:find(WORD .. "$") ~= nil,
      })
    end
  end
  if next(wanted.words) == nil and #wanted.phrases == 0 then
    error(("keyword: `%s` is empty; leave it out, or give it words"):format(key), 0)
  end
  return wanted
end

local function stands(text, phrase)
  local from = 1
  while true do
    local first, last = text:find(phrase.text, from, true)
    if not first then return false end
    local joined = phrase.head and text:find("^" .. WORD, first - 1) and first > 1
      or phrase.tail and text:find("^" .. WORD, last + 1)
    if not joined then return true end
    from = first + 1
  end
end

-- The first of the wanted words that the text has, as it was given.
local function found(text, wanted)
  if next(wanted.words) ~= nil then
    for word in text:gmatch(WORD .. "+") do
      if wanted.words[word] then return wanted.words[word] end
    end
  end
  for _, phrase in ipairs(wanted.phrases) do
    if stands(text, phrase) then return phrase.given end
  end
end

--- The rule: prompts with, or without, certain words. Raises unless `any` or `none` is given.
-- @tparam table given `any` (all prompts stay): a list; prompts with none of these are dropped;
--   `none` (nothing is dropped): a list; prompts with one of these are dropped; `field` (the
--   prompt's text): the field to look in
-- @treturn Rule for `rules.run`
return function(given)
  local taken = options.take("keyword", given, {
    any = options.any(),
    none = options.any(),
    field = options.name(),
  }, 0)
  if taken.any == nil and taken.none == nil then
    error("keyword: give `any` or `none`, a list of words", 0)
  end
  local any = taken.any and compile("any", taken.any)
  local none = taken.none and compile("none", taken.none)
  local field = taken.field

  local function reason_to_drop(row)
    local text
    if field then
      text = row[field] ~= nil and tostring(row[field]) or ""
    else
      text = text_of(row)
    end
    text = spaced(text)
    local unwanted = none and found(text, none)
    if unwanted then return ("has %q"):format(unwanted) end
    return any and not found(text, any) and "none of the words" or nil
  end

  local function apply(rows, context)
    return function()
      for row in rows do
        local reason = reason_to_drop(row)
        if not reason then return row end
        context.drop(row, reason)
      end
    end
  end

  return { name = "keyword", settings = options.described(taken), apply = apply }
end
