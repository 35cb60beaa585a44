--- Check digits of payment and identity numbers.
--
-- Each function takes the bare number (no spaces, capitals) and says whether its form and its check
-- digits are right. Sources: ISO/IEC 7812-1 (Luhn), ISO 13616 and ISO 7064 (IBAN), the issuers'
-- published number ranges (cards), and the public rules of each national number:
--
--   US SSN      areas 000, 666, 9xx, group 00 and serial 0000 are never issued (no check digit)
--   GB NINO     letters by HMRC's table, suffix A-D (no check digit)
--   ES DNI/NIE  letter is the number modulo 23
--   FR NIR      key is 97 minus the number modulo 97
--   IT CF       codice fiscale, check letter over odd and even values
--   PL PESEL    weights 1 3 7 9 and a valid month and day
--   SE          personnummer, Luhn and a valid month and day
--   BR CPF      two digits modulo 11
--   NL BSN      eleven test
--   CA SIN      Luhn, not starting 0 or 8
--   IN Aadhaar  Verhoeff, not starting 0 or 1
--   DE          Steuer-ID, ISO 7064 modulo 11,10
--
-- What these do not do: tell whether a number was ever issued.

local check_digits = {}

local byte = string.byte
local ZERO <const> = 48

--- Luhn's check over a string of digits.
-- @tparam string digits
-- @treturn boolean
function check_digits.luhn(digits)
  local sum, double = 0, false
  for i = #digits, 1, -1 do
    local d = byte(digits, i) - ZERO
    if double then
      d = d * 2
      if d > 9 then d = d - 9 end
    end
    sum, double = sum + d, not double
  end
  return sum % 10 == 0
end

-- {first prefix, last prefix, lengths}: prefixes of equal length.
local issuers = {
  { 4, 4, { [13] = true, [16] = true, [19] = true } }, -- Visa
  { 51, 55, { [16] = true } },
  { 2221, 2720, { [16] = true } }, -- Mastercard
  { 34, 34, { [15] = true } },
  { 37, 37, { [15] = true } }, -- American Express
  { 6011, 6011, { [16] = true, [19] = true } },
  { 644, 649, { [16] = true, [19] = true } },
  { 65, 65, { [16] = true, [19] = true } }, -- Discover
  { 300, 305, { [14] = true } },
  { 36, 36, { [14] = true } },
  { 38, 39, { [14] = true } }, -- Diners
  { 3528, 3589, { [16] = true, [19] = true } }, -- JCB
  { 62, 62, { [16] = true, [17] = true, [18] = true, [19] = true } }, -- UnionPay
  { 5018, 5018, { [16] = true, [19] = true } },
  { 6759, 6763, { [16] = true, [19] = true } },
}

--- A payment card: an issuer's prefix, one of its lengths, Luhn.
-- @tparam string digits
-- @treturn boolean
function check_digits.card(digits)
  local size = #digits
  if size < 13 or size > 19 then return false end
  for _, issuer in ipairs(issuers) do
    if issuer[3][size] then
      local prefix = tonumber(digits:sub(1, #tostring(issuer[1])))
      if prefix >= issuer[1] and prefix <= issuer[2] then return check_digits.luhn(digits) end
    end
  end
  return false
end

-- Characters of an IBAN by country, from the registry of ISO 13616.
check_digits.iban_lengths = {
  AD = 24,
  AE = 23,
  AL = 28,
  AT = 20,
  AZ = 28,
  BA = 20,
  BE = 16,
  BG = 22,
  BH = 22,
  BR = 29,
  BY = 28,
  CH = 21,
  CR = 22,
  CY = 28,
  CZ = 24,
  DE = 22,
  DK = 18,
  DO = 28,
  EE = 20,
  EG = 29,
  ES = 24,
  FI = 18,
  FO = 18,
  FR = 27,
  GB = 22,
  GE = 22,
  GI = 23,
  GL = 18,
  GR = 27,
  GT = 28,
  HR = 21,
  HU = 28,
  IE = 22,
  IL = 23,
  IQ = 23,
  IS = 26,
  IT = 27,
  JO = 30,
  KW = 30,
  KZ = 20,
  LB = 28,
  LI = 21,
  LT = 20,
  LU = 20,
  LV = 21,
  MC = 27,
  MD = 24,
  ME = 22,
  MK = 19,
  MR = 27,
  MT = 31,
  MU = 30,
  NL = 18,
  NO = 15,
  PK = 24,
  PL = 28,
  PS = 29,
  PT = 25,
  QA = 29,
  RO = 24,
  RS = 22,
  SA = 24,
  SC = 31,
  SE = 24,
  SI = 19,
  SK = 24,
  SM = 27,
  ST = 25,
  SV = 28,
  TL = 23,
  TN = 24,
  TR = 26,
  UA = 29,
  VA = 22,
  VG = 24,
  XK = 20,
}

--- An IBAN: the country's length and the remainder 1 modulo 97.
-- @tparam string text capitals and digits
-- @treturn boolean
function check_digits.iban(text)
  if check_digits.iban_lengths[text:sub(1, 2)] ~= #text or not text:find("^%u%u%d%d[%u%d]+$") then
    return false
  end
  local rest = 0
  for i = 5, #text + 4 do
    local c = byte(text, i > #text and i - #text or i)
    if c >= 65 then
      rest = (rest * 100 + c - 55) % 97
    else
      rest = (rest * 10 + c - ZERO) % 97
    end
  end
  return rest == 1
end

--- US social security number of nine digits.
-- @tparam string n
-- @treturn boolean
function check_digits.ssn(n)
  local area = n:sub(1, 3)
  return #n == 9
    and area ~= "000"
    and area ~= "666"
    and n:sub(1, 1) ~= "9"
    and n:sub(4, 5) ~= "00"
    and n:sub(6) ~= "0000"
end

local nino_barred = { BG = true, GB = true, NK = true, KN = true, TN = true, NT = true, ZZ = true }

--- UK National Insurance number, capitals without spaces; its last letter may be left out.
-- @tparam string n
-- @treturn boolean
function check_digits.nino(n)
  return n:find("^[ABCEGHJ-PRSTW-Z][ABCEGHJ-NPRSTW-Z]%d%d%d%d%d%d[A-D]?$") ~= nil
    and not nino_barred[n:sub(1, 2)]
end

local dni_letters <const> = "TRWAGMYFPDXBNJZSQVHLCKE"

--- Spanish DNI or NIE.
-- @tparam string n
-- @treturn boolean
function check_digits.dni(n)
  local head, digits, letter = n:match("^([XYZ]?)(%d+)(%u)$")
  if not head or #head + #digits ~= 8 then return false end
  if head ~= "" then digits = byte(head) - byte("X") .. digits end
  local at = tonumber(digits) % 23 + 1
  return dni_letters:sub(at, at) == letter
end

--- French number of inscription (social security), fifteen digits.
-- @tparam string n
-- @treturn boolean
function check_digits.nir(n)
  if not n:find("^[12]%d%d%d%d%d%d%d%d%d%d%d%d%d%d$") then return false end
  local month = tonumber(n:sub(4, 5))
  return month >= 1 and month <= 42 and 97 - tonumber(n:sub(1, 13)) % 97 == tonumber(n:sub(14))
end

local cf_odd = {}
for i, value in ipairs {
  1,
  0,
  5,
  7,
  9,
  13,
  15,
  17,
  19,
  21,
  2,
  4,
  18,
  20,
  11,
  3,
  6,
  8,
  12,
  14,
  16,
  10,
  22,
  25,
  24,
  23,
} do
  cf_odd[64 + i] = value
  if i <= 10 then cf_odd[47 + i] = value end
end

--- Italian codice fiscale.
-- @tparam string n
-- @treturn boolean
function check_digits.codice_fiscale(n)
  if not n:find("^%u%u%u%u%u%u[%dL-V][%dL-V]%u[%dL-V][%dL-V]%u[%dL-V][%dL-V][%dL-V]%u$") then
    return false
  end
  local sum = 0
  for i = 1, 15 do
    local c = byte(n, i)
    sum = sum + (i % 2 == 1 and cf_odd[c] or c >= 65 and c - 65 or c - ZERO)
  end
  return 65 + sum % 26 == byte(n, 16)
end

local function weighted(n, weights)
  local sum = 0
  for i, weight in ipairs(weights) do
    sum = sum + weight * (byte(n, i) - ZERO)
  end
  return sum
end

local function day_of_month(month, day)
  local is_month = month >= 1 and month <= 12
  return is_month and day >= 1 and day <= 31
end

--- Polish PESEL, eleven digits.
-- @tparam string n
-- @treturn boolean
function check_digits.pesel(n)
  return #n == 11
    and day_of_month(tonumber(n:sub(3, 4)) % 20, tonumber(n:sub(5, 6)))
    and weighted(n, { 1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1 }) % 10 == 0
end

--- Swedish personnummer, ten digits.
-- @tparam string n
-- @treturn boolean
function check_digits.personnummer(n)
  local day = tonumber(n:sub(5, 6))
  return #n == 10
    and day_of_month(tonumber(n:sub(3, 4)), day > 60 and day - 60 or day)
    and check_digits.luhn(n)
end

--- Brazilian CPF, eleven digits.
-- @tparam string n
-- @treturn boolean
function check_digits.cpf(n)
  if #n ~= 11 or n == n:sub(1, 1):rep(11) then return false end
  local first = weighted(n, { 10, 9, 8, 7, 6, 5, 4, 3, 2 }) * 10 % 11 % 10
  local second = weighted(n, { 11, 10, 9, 8, 7, 6, 5, 4, 3, 2 }) * 10 % 11 % 10
  return first == byte(n, 10) - ZERO and second == byte(n, 11) - ZERO
end

--- Dutch BSN, nine digits.
-- @tparam string n
-- @treturn boolean
function check_digits.bsn(n)
  return #n == 9 and weighted(n, { 9, 8, 7, 6, 5, 4, 3, 2, -1 }) % 11 == 0
end

--- Canadian SIN, nine digits.
-- @tparam string n
-- @treturn boolean
function check_digits.sin(n)
  local is_form = #n == 9 and n:find("^[1-79]") ~= nil
  return is_form and check_digits.luhn(n)
end

-- The dihedral group of order ten: reflections stand at 5 to 9.
local function dihedral(a, b)
  if a < 5 then return b < 5 and (a + b) % 5 or 5 + (a + b - 5) % 5 end
  return b < 5 and 5 + (a - 5 - b) % 5 or (a - b) % 5
end

local verhoeff_step = { [0] = 1, 5, 7, 6, 2, 8, 3, 0, 9, 4 }

--- Verhoeff's check over a string of digits.
-- @tparam string digits
-- @treturn boolean
function check_digits.verhoeff(digits)
  local check = 0
  for i = 0, #digits - 1 do
    local d = byte(digits, #digits - i) - ZERO
    for _ = 1, i % 8 do
      d = verhoeff_step[d]
    end
    check = dihedral(check, d)
  end
  return check == 0
end

--- Indian Aadhaar number, twelve digits.
-- @tparam string n
-- @treturn boolean
function check_digits.aadhaar(n)
  return #n == 12 and n:find("^[2-9]") ~= nil and check_digits.verhoeff(n)
end

--- German Steuer-ID, eleven digits.
-- @tparam string n
-- @treturn boolean
function check_digits.steuer_id(n)
  if #n ~= 11 or n:sub(1, 1) == "0" then return false end
  local product = 10
  for i = 1, 10 do
    local sum = (byte(n, i) - ZERO + product) % 10
    product = (sum == 0 and 10 or sum) * 2 % 11
  end
  return (11 - product) % 10 == byte(n, 11) - ZERO
end

return check_digits
