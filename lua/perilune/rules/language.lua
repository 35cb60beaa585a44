--- The language of a text, and the rule that keeps the languages wanted.
--
-- A naive Bayes identifier over character 1-, 2- and 3-grams (Cavnar and Trenkle 1994; Lui and
-- Baldwin 2012), learnt at first use from the samples in language_samples.lua:
--
--   score(l) = sum over orders n and grams g of log((count(l, g) + a) / (total(l, n) + a V(n)))
--
-- Grams are taken inside words with a space at both ends, letters in small case; a gram that no
-- sample holds says nothing. Grams overlap, so scores are divided by TEMPER before they are made a
-- posterior: that is the confidence. Texts in scripts of one language are told by their script
-- alone (Greek, Hebrew, Armenian, Georgian, Thai, Tamil and so on: see SCRIPTS; Persian and Urdu
-- pass for ar, Marathi and Nepali for hi). Vietnamese is told by the Latin letters that it alone
-- has.
--
-- "unknown" are texts of fewer than 12 letters, texts whose best language lacks confidence, and
-- text like program code (more than one sign in five is a mark such as { } ( ) ; = < > or a digit),
-- and texts with letters beyond a to z that the best language's sample never has, one in forty or
-- more: they are of a language that there is no sample of (Danish, Romanian, Hungarian).
-- The rule keeps unknown rows unless told otherwise: a wrong drop costs more than a stray row.
--
-- What it does not do: tell languages it has no sample of from one that it knows and that has the
-- same letters (Slovak comes out as Czech, Finnish as Swedish), or name the parts of a mixed text.
-- At most the first 800 letters are read.

local keys_of = require("perilune.base.list").keys
local lower = require("perilune.core").text.lower
local options = require("perilune.base.options")
local samples = require("perilune.rules.language_samples")
local text_of = require("perilune.rules.row_text")

local language = {}

local SMOOTHING <const> = 0.1
local TEMPER <const> = 8
local LEAST_LETTERS <const> = 12
local LETTERS_READ <const> = 800
local BYTES_READ <const> = 4000
local CODE_SHARE <const> = 0.2
local DEFAULT_CONFIDENCE <const> = 0.8
local FOREIGN_SHARE <const> = 40 -- one letter in so many that the language does not have
local VIETNAMESE_SHARE <const> = 15 -- one letter in so many is of Vietnamese alone

-- Scripts by code point: the language they tell, or "word" for those told by grams. What is in no
-- range is no letter.
local SCRIPTS <const> = {
  { 0x00C0, 0x024F, "word" }, -- Latin
  { 0x0370, 0x03FF, "el" },
  { 0x0400, 0x052F, "word" }, -- Cyrillic
  { 0x0531, 0x058F, "hy" },
  { 0x0591, 0x05FF, "he" },
  { 0x0600, 0x06FF, "ar" },
  { 0x0700, 0x074F, "syr" },
  { 0x0750, 0x077F, "ar" },
  { 0x0780, 0x07BF, "dv" },
  { 0x0900, 0x097F, "hi" },
  { 0x0980, 0x09FF, "bn" },
  { 0x0A00, 0x0A7F, "pa" },
  { 0x0A80, 0x0AFF, "gu" },
  { 0x0B00, 0x0B7F, "or" },
  { 0x0B80, 0x0BFF, "ta" },
  { 0x0C00, 0x0C7F, "te" },
  { 0x0C80, 0x0CFF, "kn" },
  { 0x0D00, 0x0D7F, "ml" },
  { 0x0D80, 0x0DFF, "si" },
  { 0x0E00, 0x0E7F, "th" },
  { 0x0E80, 0x0EFF, "lo" },
  { 0x0F00, 0x0FFF, "bo" },
  { 0x1000, 0x109F, "my" },
  { 0x10A0, 0x10FF, "ka" },
  { 0x1100, 0x11FF, "ko" },
  { 0x1200, 0x139F, "am" },
  { 0x13A0, 0x13FF, "chr" },
  { 0x1400, 0x167F, "iu" },
  { 0x1780, 0x17FF, "km" },
  { 0x1800, 0x18AF, "mn" },
  { 0x1E00, 0x1E9F, "word" },
  { 0x1EA0, 0x1EF9, "word" },
  { 0x1F00, 0x1FFF, "el" },
  { 0x3041, 0x30FF, "ja" },
  { 0x3131, 0x318E, "ko" },
  { 0x3400, 0x9FFF, "zh" },
  { 0xAC00, 0xD7A3, "ko" },
  { 0xF900, 0xFAFF, "zh" },
  { 0xFB50, 0xFDFF, "ar" },
  { 0xFE70, 0xFEFC, "ar" },
  { 0xFF66, 0xFF9F, "ja" },
  { 0x20000, 0x323AF, "zh" },
}

local SCRIPTS_REMEMBERED <const> = 8192
local script_of_char, remembered = {}, 0

-- The script of a character of two bytes or more, or false.
local function script_of(char)
  local script = script_of_char[char]
  if script == nil then
    script = false
    local code = utf8.len(char) and utf8.codepoint(char) or 0
    for _, range in ipairs(SCRIPTS) do
      if code <= range[2] then
        script = code >= range[1] and range[3]
        break
      end
    end
    if remembered == SCRIPTS_REMEMBERED then
      script_of_char, remembered = {}, 0
    end
    script_of_char[char], remembered = script, remembered + 1
  end
  return script
end

-- Whether a Latin letter is of Vietnamese alone.
local function is_vietnamese(char)
  local code = utf8.codepoint(char)
  return code >= 0x1EA0 and code <= 0x1EF9 or code == 0x01A1 or code == 0x01B0
end

-- The letters of a text as characters, " " between words; letters by script; marks of code.
local function letters_of(text)
  local chars, n, letters, marks = { " " }, 1, 0, 0
  local scripts, vietnamese = {}, 0
  local low = lower(text:sub(1, BYTES_READ))
  for char in low:gmatch("[\0-\x7F\xC2-\xF4][\x80-\xBF]*") do
    local byte = char:byte()
    local kind
    if byte < 128 then
      kind = byte >= 97 and byte <= 122 and "word" or nil
      if not kind and byte > 32 and not char:find("[.,!?'\"%-:]") then marks = marks + 1 end
    else
      kind = script_of(char)
    end
    if kind then
      letters = letters + 1
      scripts[kind] = (scripts[kind] or 0) + 1
      if byte >= 0xC6 and kind == "word" and is_vietnamese(char) then
        vietnamese = vietnamese + 1
      end
      n = n + 1
      chars[n] = char
      if letters >= LETTERS_READ then break end
    elseif chars[n] ~= " " then
      n = n + 1
      chars[n] = " "
    end
  end
  if chars[n] ~= " " then chars[n + 1] = " " end
  return chars, letters, marks, scripts, vietnamese
end

-- Call `each` with every gram and its order.
local function grams(chars, each)
  local one, two = chars[1], nil
  for i = 2, #chars do
    local char = chars[i]
    if char ~= " " then each(char, 1) end
    local pair = one .. char
    each(pair, 2)
    if two then each(two .. char, 3) end
    two = char ~= " " and pair or nil
    one = char
  end
end

local model

local function train()
  local names = keys_of(samples)
  local counts, totals, kinds = { {}, {}, {} }, { {}, {}, {} }, { 0, 0, 0 }
  local alphabets = {}
  for l, name in ipairs(names) do
    alphabets[l] = {}
    local text = samples[name]
    local at = 1
    for order = 1, 3 do
      totals[order][l] = 0
    end
    while at <= #text do -- in stretches that letters_of reads whole, cut between words
      local stop = text:find("%s", at + BYTES_READ // 5) or #text
      grams((letters_of(text:sub(at, stop))), function(gram, order)
        if order == 1 then alphabets[l][gram] = true end
        local row = counts[order][gram]
        if not row then
          row = {}
          counts[order][gram] = row
          kinds[order] = kinds[order] + 1
        end
        row[l] = (row[l] or 0) + 1
        totals[order][l] = totals[order][l] + 1
      end)
      at = stop + 1
    end
  end
  local logs = {}
  for order = 1, 3 do
    for gram, row in pairs(counts[order]) do
      local list = {}
      for l = 1, #names do
        list[l] =
          math.log(((row[l] or 0) + SMOOTHING) / (totals[order][l] + SMOOTHING * kinds[order]))
      end
      logs[gram] = list
    end
  end
  return { names = names, logs = logs, alphabets = alphabets }
end

--- The languages told by grams, in order.
-- @treturn {string,...}
function language.known()
  model = model or train()
  return table.move(model.names, 1, #model.names, 1, {})
end

-- Whether letters beyond a to z are, to a part, none of a language's.
local function has_foreign_letters(chars, alphabet)
  local foreign, letters = 0, 0
  for _, char in ipairs(chars) do
    letters = letters + (char ~= " " and 1 or 0)
    local is_foreign = #char > 1 and not alphabet[char] and script_of(char) == "word"
    foreign = foreign + (is_foreign and 1 or 0)
  end
  return foreign >= 2 and foreign * FOREIGN_SHARE >= letters
end

-- The best language, the confidence in it, and whether the text has letters that it has not.
local function by_grams(chars)
  model = model or train()
  local names, logs = model.names, model.logs
  local count = #names
  local scores = {}
  for l = 1, count do
    scores[l] = 0
  end
  grams(chars, function(gram)
    local list = logs[gram]
    if list then
      for l = 1, count do
        scores[l] = scores[l] + list[l]
      end
    end
  end)
  local best = 1
  for l = 2, count do
    if scores[l] > scores[best] then best = l end
  end
  local sum = 0
  for l = 1, count do
    sum = sum + math.exp((scores[l] - scores[best]) / TEMPER)
  end
  return names[best], 1 / sum, has_foreign_letters(chars, model.alphabets[best])
end

--- The language of a text.
-- @tparam string text
-- @tparam ?number min_confidence 0.8
-- @treturn string an ISO 639-1 code, or "unknown"
-- @treturn number confidence from 0 to 1 in the best language
-- @treturn string the best language whatever the confidence; "code" for text like code, "short"
function language.identify(text, min_confidence)
  local chars, letters, marks, scripts, vietnamese = letters_of(text)
  local wide = (scripts.zh or 0) + (scripts.ja or 0)
  local best, most = nil, 0
  for kind, n in pairs(scripts) do
    if kind ~= "word" and kind ~= "zh" and kind ~= "ja" and n > most then
      best, most = kind, n
    end
  end
  if wide > most then
    best, most = (scripts.ja or 0) * 10 >= wide and "ja" or "zh", wide
  end
  -- A character of these scripts says more than one letter; four of them are enough.
  if most >= 4 and most * 2 >= letters then
    return best, most / letters, best
  elseif marks > CODE_SHARE * (letters + marks) then
    return "unknown", 0, letters < LEAST_LETTERS and "short" or "code"
  elseif letters < LEAST_LETTERS then
    return "unknown", 0, "short"
  elseif vietnamese >= 2 and vietnamese * VIETNAMESE_SHARE >= letters then
    return "vi", 1, "vi"
  end
  local name, confidence, is_foreign = by_grams(chars)
  if is_foreign or confidence < (min_confidence or DEFAULT_CONFIDENCE) then
    return "unknown", confidence, name
  end
  return name, confidence, name
end

--- Which languages stay. What each option is when it is left out stands in brackets.
-- @class LanguageOptions
-- @field ?{string,...} keep ({"en"}) codes of the languages that stay, ISO 639-1
-- @field ?number min_confidence (0.8) below this a language counts as unknown, 0 to 1
-- @field ?string unknown ("keep") or "drop": rows whose language is unknown

--- The rule: rows in other languages than the wanted ones are dropped.
-- @tparam ?table given
--   `keep` list of codes, {"en"} by default; `min_confidence` 0.8; `unknown` "keep" or "drop"
-- @treturn table rule
function language.rule(given)
  local taken = options.take("language", given, {
    keep = { "en" },
    min_confidence = options.number(DEFAULT_CONFIDENCE, 0, 1),
    unknown = options.choice("keep", { "keep", "drop" }),
  }, 0)
  local told = { vi = true }
  for _, range in ipairs(SCRIPTS) do
    told[range[3]] = range[3] ~= "word" or nil
  end
  for name in pairs(samples) do
    told[name] = true
  end
  local keep = {}
  if type(taken.keep) ~= "table" or #taken.keep == 0 then
    error('language: `keep` must be a list of languages such as {"en"}', 0)
  end
  for _, code in ipairs(taken.keep) do
    if not told[code] then
      local list = keys_of(told)
      error(
        ("language: no language %q; there are %s"):format(tostring(code), table.concat(list, ", ")),
        0
      )
    end
    keep[code] = true
  end
  keep.unknown = taken.unknown == "keep"

  local function apply(rows, context)
    return function()
      for row in rows do
        local name = language.identify(text_of(row), taken.min_confidence)
        if keep[name] then return row end
        context.drop(row, "language " .. name)
      end
      return nil
    end
  end

  return { name = "language", settings = taken, apply = apply }
end

return language
