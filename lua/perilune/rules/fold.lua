--- Text folded for comparing: case, white space and punctuation.
--
-- Case is that of the Unicode character database; full-width ASCII becomes ASCII, and the sigma at
-- a word's end a sigma. White space is every character with the
-- property White_Space. Punctuation is what ends, parts, quotes or decorates: signs that carry a
-- meaning of their own (+ - = < > / % & @ $ ^ | \) stay, or "2+2" and "2-2" would be one prompt.
--
-- Deliberately not here: accents are never dropped (a composed and a decomposed letter differ), nor
-- is a locale asked. Bytes that are no UTF-8 stay as they are.

local lower = require("perilune.core").text.lower

local fold = {}

local likened, spaces, marks = { ["ς"] = "σ" }, {}, {}

for code = 0xFF01, 0xFF5E do -- full-width forms
  likened[utf8.char(code)] = string.char(code - 0xFEE0)
end

for _, code in ipairs { 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF } do
  spaces[utf8.char(code)] = " "
end
for code = 0x2000, 0x200B do -- the last two are format characters that show nothing
  spaces[utf8.char(code)] = " "
end

local function punctuation(first, last)
  for code = first, last do
    marks[utf8.char(code)] = " "
  end
end

punctuation(0xA1, 0xA1) -- inverted exclamation mark
punctuation(0xAB, 0xAB) -- guillemets
punctuation(0xBB, 0xBB)
punctuation(0xB7, 0xB7)
punctuation(0xBF, 0xBF)
punctuation(0x2010, 0x2027) -- dashes, quotes, bullets, dots
punctuation(0x2030, 0x205E)
punctuation(0x3001, 0x3003) -- ideographic comma, stop, brackets
punctuation(0x3008, 0x3011)
punctuation(0x3014, 0x301F)

local cased, plain = {}, {} -- what each level of folding replaces
for from, to in pairs(likened) do
  cased[from], plain[from] = to, to
end
for from, to in pairs(spaces) do
  cased[from], plain[from] = to, to
end
for from, to in pairs(marks) do
  plain[from] = to
end

local signs = {} -- punctuation of ASCII
for sign in (".,;:!?'\"()[]{}`*_#~"):gmatch(".") do
  signs[sign] = " "
end

local WIDE <const> = "[\xC2-\xEF][\x80-\xBF]+"

--- Lower case, and every white space that is not ASCII as a plain space.
-- @tparam string text
-- @treturn string
function fold.case(text)
  text = lower(text)
  if text:find("[\xC2-\xEF]") then text = text:gsub(WIDE, cased) end
  return text
end

--- Lower case, punctuation and runs of white space as one space, none at either end.
-- A text of nothing else (such as "???") folds to itself: it would match every other such text.
-- @tparam string text
-- @treturn string
function fold.text(text)
  local folded = lower(text)
  if folded:find("[\xC2-\xEF]") then folded = folded:gsub(WIDE, plain) end
  -- Scans for one class each: a set of characters costs ten times as much.
  folded = folded:gsub("%p", signs)
  if folded:find("%c") then folded = folded:gsub("%c", " ") end
  if folded:find("  ", 1, true) then folded = folded:gsub("  +", " ") end
  local first = folded:byte(1) == 32 and 2 or 1
  local last = folded:byte(-1) == 32 and -2 or -1
  if first == 2 or last == -2 then folded = folded:sub(first, last) end
  return folded == "" and text or folded
end

--- How many characters; in a text that is no UTF-8, how many bytes.
-- @tparam string text
-- @treturn integer
function fold.chars(text) return utf8.len(text) or #text end

-- Characters that a word has on average where words are not set apart by blanks: Han and Kana two,
-- the scripts of South-East Asia and Tibetan five. Ranges of code points; false is punctuation.
local SPACELESS <const> = {
  { 0x0E00, 0x0EFF, 5 }, -- Thai, Lao
  { 0x0F00, 0x0FFF, 5 }, -- Tibetan
  { 0x1000, 0x109F, 5 }, -- Burmese
  { 0x1780, 0x17FF, 5 }, -- Khmer
  { 0x3000, 0x303F, false }, -- ideographic comma, stop, brackets
  { 0x3040, 0x30FF, 2 }, -- Kana
  { 0x3400, 0x9FFF, 2 }, -- Han
  { 0xF900, 0xFAFF, 2 },
  { 0xFF00, 0xFF0F, false }, -- full-width punctuation
  { 0xFF1A, 0xFF20, false },
  { 0xFF61, 0xFF65, false },
  { 0xFF66, 0xFF9F, 2 }, -- half-width Kana
  { 0x20000, 0x323AF, 2 },
}

-- Characters a word of the script of a code point; false for punctuation; nil where blanks part
-- words.
local function characters_a_word(code)
  if code < 0x0E00 then return nil end
  for _, range in ipairs(SPACELESS) do
    if code <= range[2] then
      if code >= range[1] then return range[3] end
      return nil
    end
  end
end

-- Words of a text with characters above U+07FF: runs between blanks, cut where a script without
-- blanks begins and ends; a run of such a script has as many words as its length lets expect.
local function mixed_words(text)
  local words, kind, run = 0, nil, 0
  local function finish()
    if kind then words = words + (kind == 0 and 1 or (run + kind - 1) // kind) end
    kind, run = nil, 0
  end
  for _, code in utf8.codes(text) do
    local size = characters_a_word(code)
    if size == false or code == 32 or code >= 9 and code <= 13 then
      finish()
    else
      if kind ~= (size or 0) then
        finish()
        kind = size or 0
      end
      run = run + 1
    end
  end
  finish()
  return words
end

--- How many words: runs of anything but white space; of scripts that set no blanks between words
-- (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan) as many as a text of that length has.
-- @tparam string text
-- @treturn integer
function fold.words(text)
  if text:find("[\xE0-\xF4]") and utf8.len(text) then return mixed_words(text) end
  local _, count = text:gsub("%S+", "")
  return count
end

--- The first `n` units of a text, or nil when it has fewer.
-- @tparam string text
-- @tparam integer n
-- @tparam string unit "chars" or "words" (joined by one space)
-- @treturn ?string
function fold.prefix(text, n, unit)
  if unit == "words" then
    local words, count = {}, 0
    for word in text:gmatch("%S+") do
      count = count + 1
      words[count] = word
      if count == n then return table.concat(words, " ") end
    end
    return nil
  end
  if #text < n then return nil end
  local head = text:sub(1, n)
  if not head:find("[\x80-\xFF]") then
    return head
  elseif text:find("^[\x80-\xBF]") then
    return head -- no UTF-8: bytes are what there is to count
  end
  local past = utf8.offset(text, n + 1)
  return past and text:sub(1, past - 1)
end

return fold
