--- The words of a text with their places, as the searches for names and addresses want them.
--
-- A word is a run of letters, bytes of UTF-8 above ASCII, inner apostrophes and hyphens; a closing
-- `'s` is outside. Typographic quotes, dashes and spaces are blanked first (byte for byte, so
-- places hold), as their bytes would pass for letters. One pass, linear in the text.

local text_words = {}

local find, sub, byte = string.find, string.sub, string.byte

local blanks = {
  ["\226\128\153"] = "'\1\1",
  ["\226\128\152"] = "   ",
  ["\226\128\166"] = ".  ",
}

local function blank(mark) return blanks[mark] or (" "):rep(#mark) end

--- The text with typographic marks of UTF-8 blanked; as long as the text.
-- @tparam string text
-- @treturn string
function text_words.plain(text)
  if find(text, "[\194\226]") then
    text = text:gsub("\226[\128\134-\158][\128-\191]", blank):gsub("\194[\160-\191]", blank)
  end
  return text
end

--- Whether a word begins with a capital (Latin, Cyrillic).
-- @tparam string word
-- @treturn boolean
function text_words.capital(word)
  local a, b = byte(word, 1, 2)
  if a < 128 then
    return a >= 65 and a <= 90
  elseif a == 195 then
    return b ~= nil and b <= 158
  elseif a == 196 or a == 197 then -- pairs that begin with an odd byte: Ĺ to ň, Ź to ž
    local odd_first = b and (a == 196 and b > 184 or a == 197 and (b < 137 or b > 184))
    return b ~= nil and (b % 2 == 1) == odd_first
  elseif a == 208 then
    return b ~= nil and b <= 175
  end
  return false
end

local lower_two =
  { ["é"] = "É", ["ö"] = "Ö", ["ø"] = "Ø", ["å"] = "Å", ["á"] = "Á", ["ó"] = "Ó" }

--- A word as a list of names has it: capital first, the rest small.
-- @tparam string word
-- @treturn string
function text_words.titled(word)
  if find(word, "^%l") then
    return sub(word, 1, 1):upper() .. sub(word, 2)
  elseif find(word, "^%u%u[%u-]*$") then
    return (word:lower():gsub("%f[%a]%l", string.upper))
  elseif lower_two[sub(word, 1, 2)] then
    return lower_two[sub(word, 1, 2)] .. sub(word, 3)
  end
  return word
end

--- The words of a text.
-- @tparam string text as from `plain`
-- @treturn {string,...} words
-- @treturn {integer,...} first byte of each
-- @treturn {integer,...} last byte of each
function text_words.split(text)
  local words, first, last, n = {}, {}, {}, 0
  if not find(text, "['-]") then
    for at, word in text:gmatch("()([%a\128-\255][%a\128-\255\1]*)") do
      n = n + 1
      words[n], first[n], last[n] = word, at, at + #word - 1
    end
    return words, first, last
  end
  for at, word in text:gmatch("()([%a\128-\255][%a\128-\255'\1-]*)") do
    local size = #word
    if find(word, "['-]", -4) then
      if sub(word, -2) == "'s" or sub(word, -2) == "'S" then
        size = size - 2
      elseif sub(word, -4) == "'\1\1s" then
        size = size - 4
      end
      while size > 1 and find(sub(word, size, size), "['\1-]") do
        size = size - 1
      end
    end
    n = n + 1
    words[n], first[n], last[n] = size == #word and word or sub(word, 1, size), at, at + size - 1
  end
  return words, first, last
end

return text_words
