--- Identity numbers: of a run of digits, with letters before or after the digits, of passports.
--
-- Identity numbers that are bare digits count only beside their name (see `named`): one number in
-- ten has the right check digit. The numbers that have letters (IBAN, UK, Spanish and Italian ids)
-- start at a digit as well and look back at most six letters.

local DigitRun = require("perilune.rules.personal.digit_run")
local check_digits = require("perilune.rules.personal.check_digits")
local list = require("perilune.rules.personal.word_lists").read("personal_numbers")

local identity_numbers = {}

local byte, find, sub, match = string.byte, string.find, string.sub, string.match
local any = DigitRun.any

-- {digits, words of which one must stand before, check}
local named = {
  { 11, list.pesel, check_digits.pesel },
  { 11, list.cpf, check_digits.cpf },
  { 9, list.bsn, check_digits.bsn },
  { 9, list.sin, check_digits.sin },
  { 9, list.ssn, check_digits.ssn },
  { 12, list.aadhaar, check_digits.aadhaar },
  { 11, list.steuer_id, check_digits.steuer_id },
  { 10, list.personnummer, check_digits.personnummer },
}

-- {sizes of the groups, gaps between them, check}
local shaped = {
  { { 3, 2, 4 }, { "-", "-" }, check_digits.ssn },
  { { 3, 3, 3, 2 }, { ".", ".", "-" }, check_digits.cpf },
  { { 6, 4 }, { "-" }, check_digits.personnummer },
}

-- The identity numbers that the words before the run name; found once a run.
local function named_before(run)
  if not run.named_ids then
    run.named_ids = {}
    for _, id in ipairs(named) do
      if any(run:context(), id[2]) then table.insert(run.named_ids, id) end
    end
  end
  return run.named_ids
end

--- The last group of the identity number that begins at group i, or nil.
-- @tparam DigitRun run
-- @tparam integer i
-- @treturn ?integer
function identity_numbers.at(run, i)
  if run:size(i) > 15 or not run:free_left(i) then return nil end
  for _, id in ipairs(shaped) do
    local j = run:shape(i, id[1], id[2])
    if j and run:free_right(j) and id[3](run:digits(i, j)) then return j end
  end
  local j = run:reach(i, 15, "^[ .-]$")
  if j and run:free_right(j) and check_digits.nir(run:digits(i, j)) then return j end
  for _, id in ipairs(named_before(run)) do
    j = run:reach(i, id[1], "^[ ./-]$")
    if j and run:free_right(j) and id[3](run:digits(i, j)) then return j end
  end
  return nil
end

-- The last byte of digits at `at` with a letter after them, where the check letter is right.
local function with_letter(text, at, pattern, prefix)
  local last, letter = match(text, pattern, at)
  if letter and check_digits.dni(prefix .. sub(text, at, last - 1) .. letter) then
    return byte(text, last) == 45 and last + 1 or last
  end
  return nil
end

-- The last byte of the IBAN at `first`, in one piece or in groups of four.
local function iban_end(text, first)
  local length = check_digits.iban_lengths[sub(text, first, first + 1):upper()]
  if not length then return nil end
  local last = first + length - 1
  local bare = sub(text, first, last)
  if not find(bare, "^%w+$") then
    last = first + length + (length - 1) // 4 - 1
    bare = sub(text, first, last):gsub("(%w)[ -]", "%1")
  end
  return not find(text, "^%w", last + 1) and check_digits.iban(bare:upper()) and last
end

-- The last byte of the UK National Insurance number with these letters before `at`.
local function nino_end(text, first, letters, at)
  local a, b, c, after = match(text, "^(%d%d)[ -]?(%d%d)[ -]?(%d%d)()", at)
  if not a then return nil end
  local letter, last = match(text, "^[ -]?([A-Da-d])()%f[^%w]", after)
  if not letter and find(text, "^%w", after) then return nil end
  last = (last or after) - 1
  local words = DigitRun.words_before(text, first)
  local number = letters .. a .. b .. c .. (letter or "")
  if any(words, list.nino) and (letter or find(letters, "^%u%u$")) then
    return check_digits.nino(number:upper()) and last
  end
  -- Unnamed it may as well be the number of a model, a disk's "ST320413A": it must be whole, in
  -- capitals and in groups, and no word before it may say otherwise.
  local is_grouped = first < at - 2 or last - at > 6
  local is_number = letter and is_grouped and check_digits.nino(number)
  return is_number and not any(words, list.against_phone) and last
end

--- The identity number or IBAN that has letters and whose first digit is at `at`.
-- @tparam string text
-- @tparam integer at
-- @treturn ?string kind
-- @treturn ?integer first byte
-- @treturn ?integer last byte
function identity_numbers.lettered(text, at)
  local letters = match(sub(text, at > 7 and at - 7 or 1, at - 1), "%a+$")
  local spaced = not letters
  letters = letters or match(sub(text, at > 4 and at - 4 or 1, at - 1), "%f[%w](%a%a)[ -]$")
  if not letters then
    local last = not find(sub(text, at - 1, at - 1), "[%w_.-]")
      and with_letter(text, at, "^%d%d%d%d%d%d%d%d()-?(%u)%f[^%w]", "")
    return last and "ID" or nil, at, last
  end
  local first = at - #letters - (spaced and 1 or 0)
  if find(sub(text, first - 1, first - 1), "[%w_]") then return nil end
  local iban, id
  if #letters == 2 then
    iban = not spaced and iban_end(text, first)
    id = not iban and nino_end(text, first, letters, at)
  elseif #letters == 1 and find(letters, "[XYZ]") then
    id = with_letter(text, at, "^%d%d%d%d%d%d%d()-?(%u)%f[^%w]", letters)
  elseif #letters == 6 then
    local code = sub(text, first, first + 15)
    id = #code == 16
      and not find(text, "^%w", first + 16)
      and check_digits.codice_fiscale(code:upper())
      and first + 15
  end
  return iban and "IBAN" or id and "ID" or nil, first, iban or id
end

--- Find the numbers of passports: after the word, six to nine capitals and digits.
-- @tparam string text
-- @tparam FoundSpans spans
function identity_numbers.passports(text, spans)
  local _, last = find(text, "[Pp]assport")
  while last do
    local at = last + 1
    local stretch = sub(text, at, at + 40)
    for first, token, after in stretch:gmatch("()([%u%d]+)()") do
      if
        #token >= 6
        and #token <= 9
        and find(token, "%d.*%d")
        and (after > #stretch or find(sub(stretch, after, after), "%W"))
      then
        spans:add("ID", at + first - 1, at + after - 2)
        break
      end
    end
    _, last = find(text, "[Pp]assport", at)
  end
end

return identity_numbers
