--- Personal numbers in a text: cards, IBANs, phones, IPv4 addresses, national identity numbers.
--
-- One pass over the digits. Digits that are joined by at most three of `space ( ) . - /` are a run
-- of groups; at each group that stands free the kinds are tried in order, each over at most seven
-- groups, so the work is linear in the text whatever it holds. The numbers that have letters (IBAN,
-- UK, Spanish and Italian ids) start at a digit as well and look back at most six letters.
--
-- What tells a phone from any other number is its form (a plus, an area code in brackets, groups of
-- 3-3-4, a leading zero and two groups) or a word within the 40 bytes before (phone, call, Tel.);
-- words such as order, version or ISBN speak against it. Identity numbers that are bare digits
-- count only beside their name (see `named_ids`): one number in ten has the right check digit.
--
-- IPv4: 127/8, 0/8 and 224.0.0.0 to 255.255.255.255 are no person's address and stay. Private and
-- documentation ranges count: their form is that of any other address. Four small numbers (below
-- 10, then below 32) are a version unless a word of `network` stands before; so is anything after
-- a word of `versions`.
--
-- What this does not do: local numbers of fewer than seven digits, numbers spelled in words.

local checks = require("perilune.rules.personal.checks")

local numbers = {}

local byte, find, sub, match = string.byte, string.find, string.sub, string.match

local CONTEXT_BYTES <const> = 40

local set = require("perilune.rules.personal.word_set")

local nino_words = set("insurance ni nino")
local phone_words = set([[
phone phones phoned telephone tel telephones call calls called calling mobile cell cellphone text
sms whatsapp ring fax dial dialled dialed reach landline hotline telefon telefono teléfono
téléphone numéro handy mobil móvil cellulare telefoon zadzwoń telefonnummer portable telefone
celular телефон
]])
local against_phone = set([[
order invoice version error code bug ticket issue serial part tracking isbn issn model sku imei
build room article port parcel batch receipt hash commit row rows line lines page pages iban
account
]])
local versions = set([[
version versions ver v release kernel build driver firmware section chapter firefox chrome chromium
opera safari android rev revision update upgrade package library php python java mysql
]])
local network = set([[
ip ips address ping host server dns gateway nameserver connect traceroute whois login router inet
]])

-- Words of the bytes before a position, in lower case.
local function words_before(text, at)
  local found = {}
  local head = sub(text, at > CONTEXT_BYTES and at - CONTEXT_BYTES or 1, at - 1):lower()
  for word in head:gmatch("[%a\128-\255]+") do
    found[#found + 1] = word
  end
  return found, head
end

local function any(found, list, last)
  for i = #found, math.max(1, #found - (last or #found) + 1), -1 do
    if list[found[i]] then
      return true
    end
  end
  return false
end

-- The groups of the run at hand; filled anew for each run.
local starts, ends, n_groups, run_text
local context, context_head, named_here

local function the_context()
  if not context then
    context, context_head = words_before(run_text, starts[1])
  end
  return context, context_head
end

local function gap(i) -- what stands between group i and the next
  return sub(run_text, ends[i] + 1, starts[i + 1] - 1)
end

local function size(i)
  return ends[i] - starts[i] + 1
end

local function digits(i, j)
  if i == j then
    return sub(run_text, starts[i], ends[i])
  end
  return (sub(run_text, starts[i], ends[j]):gsub("%D+", ""))
end

-- Whether a number may begin at group i: nothing glued to it on the left.
local function free_left(i)
  if i > 1 then
    return find(gap(i - 1), " ", 1, true) ~= nil
  end
  local at = starts[1] - 1
  local before = byte(run_text, at)
  if before == 43 or before == 40 then -- + (
    at = at - 1
    before = byte(run_text, at)
    if before == 40 then
      at = at - 1
      before = byte(run_text, at)
    end
  end
  if not before or before == 32 then
    return true
  elseif before == 46 then -- a full stop after a letter: "Tel.020"
    return find(sub(run_text, at - 1, at - 1), "%a") ~= nil
  end
  return find(sub(run_text, at, at), "[^%w_%-#$/\\,~^*%%]") ~= nil
end

-- Whether a number may end at group j.
local function free_right(j)
  if j < n_groups then
    return byte(run_text, ends[j] + 1) == 32 or byte(run_text, ends[j] + 1) == 41
  end
  local after, next_one = byte(run_text, ends[j] + 1, ends[j] + 2)
  if not after then
    return true
  end
  local c = string.char(after)
  if find(c, "[%w_]") then
    return false
  elseif find(c, "[%-.,/:=+]") and next_one then
    return find(string.char(next_one), "[^%w_]") ~= nil
  end
  return true
end

-- Group i to the last group j at which the digits are `want` in number, or nil.
local function reach(i, want, separators)
  local total = 0
  for j = i, math.min(n_groups, i + 6) do
    total = total + size(j)
    if total == want then
      return j
    elseif total > want or j == n_groups or not find(gap(j), separators) then
      return nil
    end
  end
  return nil
end

local function date_at(i)
  if i + 2 > n_groups then
    return nil
  end
  local one, two, three = size(i), size(i + 1), size(i + 2)
  local between = gap(i)
  if between ~= gap(i + 1) or not find(between, "^[./-]$") then
    return nil
  end
  local day_first = one <= 2 and two <= 2 and (three == 4 or three == 2)
  local year_first = one == 4 and two <= 2 and three <= 2
  return (day_first or year_first) and i + 2 or nil
end

local function ipv4_at(i)
  if i + 3 > n_groups or size(i) > 3 then
    return nil
  end
  local small = true
  for k = i, i + 3 do
    local value = size(k) <= 3 and tonumber(sub(run_text, starts[k], ends[k]))
    if not value or value > 255 or (size(k) > 1 and byte(run_text, starts[k]) == 48)
      or (k < i + 3 and gap(k) ~= ".") then
      return nil
    end
    small = small and value < (k == i and 10 or 32)
  end
  local before = sub(run_text, starts[i] - 1, starts[i] - 1)
  if i > 1 and find(gap(i - 1), "[.-]$") or find(before, "[%w_.~^-]") then
    return nil
  end
  local tail = sub(run_text, ends[i + 3] + 1, ends[i + 3] + 2)
  if find(tail, "^[%w_]") or find(tail, "^[.-]%w") then
    return nil
  end
  local first = tonumber(sub(run_text, starts[i], ends[i]))
  if first == 0 or first == 127 or first >= 224 then
    return i + 3, true
  end
  local found = words_before(run_text, starts[i])
  if any(found, versions, 2) or small and not any(found, network) then
    return i + 3, true
  end
  return i + 3
end

local function card_at(i)
  if size(i) < 4 or size(i) > 19 or not free_left(i) then
    return nil
  end
  local total, best = 0, nil
  for j = i, math.min(n_groups, i + 5) do
    total = total + size(j)
    if total > 19 then
      break
    end
    if total >= 13 and free_right(j) and checks.card(digits(i, j)) then
      best = j
    end
    if j == n_groups or not find(gap(j), "^[ -]$") then
      break
    end
  end
  return best
end

-- {name, digits, words that must stand before, check}
local named_ids = {
  { 11, set("pesel"), checks.pesel },
  { 11, set("cpf"), checks.cpf },
  { 9, set("bsn burgerservicenummer"), checks.bsn },
  { 9, set("sin insurance"), checks.sin },
  { 9, set("ssn social security"), checks.ssn },
  { 12, set("aadhaar aadhar uidai"), checks.aadhaar },
  { 11, set("steuer steuerid idnr identifikationsnummer steueridentifikationsnummer"),
    checks.steuer_id },
  { 10, set("personnummer"), checks.personnummer },
}

local function shape(i, sizes, gaps)
  for k = 1, #sizes do
    local g = i + k - 1
    if g > n_groups or size(g) ~= sizes[k] or k > 1 and gap(g - 1) ~= gaps[k - 1] then
      return nil
    end
  end
  return i + #sizes - 1
end

local SSN_SIZES <const>, SSN_GAPS <const> = { 3, 2, 4 }, { "-", "-" }
local CPF_SIZES <const>, CPF_GAPS <const> = { 3, 3, 3, 2 }, { ".", ".", "-" }
local SWEDISH_SIZES <const>, SWEDISH_GAPS <const> = { 6, 4 }, { "-" }

local function id_at(i)
  if size(i) > 15 or not free_left(i) then
    return nil
  end
  local j = shape(i, SSN_SIZES, SSN_GAPS)
  if j and free_right(j) and checks.ssn(digits(i, j)) then
    return j
  end
  j = shape(i, CPF_SIZES, CPF_GAPS)
  if j and free_right(j) and checks.cpf(digits(i, j)) then
    return j
  end
  j = shape(i, SWEDISH_SIZES, SWEDISH_GAPS)
  if j and free_right(j) and checks.personnummer(digits(i, j)) then
    return j
  end
  j = reach(i, 15, "^[ .-]$")
  if j and free_right(j) and checks.nir(digits(i, j)) then
    return j
  end
  if not named_here then -- those that the words before the run name
    named_here = {}
    for _, id in ipairs(named_ids) do
      if any(the_context(), id[2]) then
        named_here[#named_here + 1] = id
      end
    end
  end
  for _, id in ipairs(named_here) do
    j = reach(i, id[1], "^[ ./-]$")
    if j and free_right(j) and id[3](digits(i, j)) then
      return j
    end
  end
  return nil
end

local function phone_context()
  local found, head = the_context()
  return any(found, phone_words) or find(head, "my number", 1, true) ~= nil
    or find(head, "contact number", 1, true) ~= nil or find(head, "meine nummer", 1, true) ~= nil
end

local function against()
  local found, head = the_context()
  return any(found, against_phone, 3) or find(head, "[#$€£]%s?$") ~= nil
end

-- North American numbers: 3-3-4, perhaps after a 1.
local function nanp_at(i)
  if size(i) == 1 and byte(run_text, starts[i]) == 49 and i < n_groups then
    i = i + 1
  end
  if i + 2 > n_groups or size(i) ~= 3 or size(i + 1) ~= 3 or size(i + 2) ~= 4
    or byte(run_text, starts[i]) < 50 or byte(run_text, starts[i + 1]) < 50 then
    return nil
  end
  local one, two = gap(i), gap(i + 1)
  if not find(one, "^[ ).-]+$") or not find(two, "^[ .-]$") then
    return nil
  end
  return i + 2, one == " " and two == " "
end

local function plus_phone(i)
  local best
  local total = 0
  local american = size(i) == 1 and byte(run_text, starts[i]) == 49
  for j = i, math.min(n_groups, i + 6) do
    total = total + size(j)
    if total > 15 or american and total > 11 or best and total > 13 then
      break
    end
    if total >= 8 and (not american or total == 11) and free_right(j) then
      best = j
    end
  end
  return best
end

local function phone_at(i)
  if size(i) > 15 then
    return nil
  end
  local first = byte(run_text, starts[i])
  local before = byte(run_text, starts[i] - 1)
  if not free_left(i) then
    return nil
  elseif before == 43 and first ~= 48 then
    return plus_phone(i)
  end
  local j, spaced = nanp_at(i)
  if j and free_right(j) and not against() and (not spaced or phone_context()) then
    return j
  end
  local total, stop, dots, others = 0, i, 0, 0
  for k = i, math.min(n_groups, i + 6) do
    if total + size(k) > 15 or total >= 9 and k > i and size(k) > 4 then
      break
    end
    total, stop = total + size(k), k
    if k < n_groups then
      local between = gap(k)
      if find(between, "^[ ()/-]+$") and not find(between, "  ", 1, true) then
        others = others + 1
      elseif between == "." then
        dots = dots + 1
      else
        break
      end
    end
  end
  if not free_right(stop) then
    return nil
  end
  local groups = stop - i + 1
  local two = first == 48 and byte(run_text, starts[i] + 1) == 48 and size(i) > 2
  if total > 15 or against() then
    return nil
  elseif two and total >= 10 and groups >= 2 then
    return stop
  elseif first == 48 and not two and size(i) >= 2 and size(i) <= 5 and groups >= 2
    and total >= 9 and total <= 12 and (dots == 0 or groups >= 4) then
    return stop
  elseif first == 48 and groups == 1 and total == 11 and find(run_text, "^07", starts[i]) then
    return stop
  elseif total >= 7 and total <= 14 and dots == 0 and phone_context() then
    return stop
  end
  return nil
end

local function isbn_at(i)
  return size(i) == 3 and find(run_text, "^97[89]", starts[i]) and reach(i, 13, "^[ -]$")
end

-- Numbers that begin with letters; `at` is the first digit. Returns kind, first, last.
local function lettered(text, at)
  local letters = match(sub(text, at > 7 and at - 7 or 1, at - 1), "%a+$")
  local spaced = false
  if not letters then
    letters = match(sub(text, at > 4 and at - 4 or 1, at - 1), "%f[%w](%u%u) $")
    spaced = letters ~= nil
  end
  local count = letters and #letters or 0
  if count == 0 then -- eight digits and a letter
    local last, letter = match(text, "^%d%d%d%d%d%d%d%d()-?(%u)%f[^%w]", at)
    if letter and not find(sub(text, at - 1, at - 1), "[%w_.-]")
      and checks.dni(sub(text, at, last - 1) .. letter) then
      return "ID", at, byte(text, last) == 45 and last + 1 or last
    end
    return nil
  end
  local first = at - count - (spaced and 1 or 0)
  if find(sub(text, first - 1, first - 1), "[%w_]") then
    return nil
  end
  if count == 2 then
    local country = letters:upper()
    local length = not spaced and checks.iban_lengths[country]
    if length then
      local last = first + length - 1
      local bare = sub(text, first, last)
      if not find(bare, "^%w+$") then
        last = first + length + (length - 1) // 4 - 1
        bare = sub(text, first, last):gsub("(%w)[ -]", "%1")
      end
      if not find(text, "^%w", last + 1) and checks.iban(bare:upper()) then
        return "IBAN", first, last
      end
    end
    local a, b, c, letter = match(text, "^(%d%d) ?(%d%d) ?(%d%d) ?([A-D])%f[^%w]", at)
    local _, last = find(text, "^%d%d ?%d%d ?%d%d ?%u", at)
    if letter and checks.nino(country .. a .. b .. c .. letter)
      -- In one piece it may as well be a model's number: its name must stand before.
      and (last - at > 6 or any(words_before(text, first), nino_words)) then
      return "ID", first, last
    end
  elseif count == 1 and find(letters, "[XYZ]") then
    local last, letter = match(text, "^%d%d%d%d%d%d%d()-?(%u)%f[^%w]", at)
    if letter and checks.dni(letters .. sub(text, at, last - 1) .. letter) then
      return "ID", first, byte(text, last) == 45 and last + 1 or last
    end
  elseif count == 6 then
    local code = sub(text, first, first + 15)
    if #code == 16 and not find(text, "^%w", first + 16)
      and checks.codice_fiscale(code:upper()) then
      return "ID", first, first + 15
    end
  end
  return nil
end

-- A passport's number: after the word, six to nine capitals and digits.
local function passport(text, add)
  local at = 1
  while true do
    local _, last = find(text, "[Pp]assport", at)
    if not last then
      return
    end
    at = last + 1
    local stretch = sub(text, at, at + 40)
    for first, token, after in stretch:gmatch("()([%u%d]+)()") do
      if #token >= 6 and #token <= 9 and find(token, "%d.*%d") and (after > #stretch
        or find(sub(stretch, after, after), "%W")) then
        add("ID", at + first - 1, at + after - 2)
        break
      end
    end
  end
end

local function fill(text, at)
  local n = 0
  while at do
    local _, last = find(text, "^%d+", at)
    n = n + 1
    starts[n], ends[n] = at, last
    at = match(text, "^[ ().%-/][ ().%-/]?[ ().%-/]?()%d", last + 1)
  end
  n_groups, run_text, context, named_here = n, text, nil, nil
end

local order = { -- kind, finder; the first that fits wins
  { "CARD", card_at }, { "ID", id_at }, { "PHONE", phone_at },
}

-- A phone's span takes in its plus and the bracket around its area code.
local function widen(i)
  local first = starts[i]
  if byte(run_text, first - 1) == 43 then
    first = first - 1
  end
  if byte(run_text, first - 1) == 40 and i < n_groups and find(gap(i), ")", 1, true) then
    first = first - 1
  end
  return first
end

local function scan_run(add)
  local i = 1
  while i <= n_groups do
    local stop, harmless
    if byte(run_text, ends[i] + 1) == 46 then
      stop, harmless = ipv4_at(i)
    end
    if stop then
      if not harmless then
        add("IP", starts[i], ends[stop])
      end
    elseif size(i) > 19 then
      stop = i
    else
      stop = date_at(i) or isbn_at(i)
    end
    -- Single digits apart ("1 2 3"), unless after a plus, are no number of anybody.
    if not stop and i < n_groups and ends[i] == starts[i] and ends[i + 1] == starts[i + 1]
      and byte(run_text, starts[i] - 1) ~= 43 then
      stop = i
    end
    if not stop then
      for _, try in ipairs(order) do
        stop = try[2](i)
        if stop then
          add(try[1], try[1] == "PHONE" and widen(i) or starts[i], ends[stop])
          break
        end
      end
    end
    i = (stop or i) + 1
  end
end

--- Find the numbers of a text.
-- @string text
-- @tparam function add called with kind, first, last
function numbers.find(text, add)
  local at = find(text, "%d")
  if not at then
    return
  end
  starts, ends = {}, {}
  while at do
    local kind, first, last = lettered(text, at)
    if kind then
      add(kind, first, last)
      at = last + 1
    elseif find(sub(text, at - 1, at - 1), "[%a_]") then
      local _, stop = find(text, "^%w+", at)
      at = stop + 1
    else
      fill(text, at)
      if n_groups > 1 or ends[1] - starts[1] >= 6 then
        scan_run(add)
      end
      at = ends[n_groups] + 1
    end
    at = find(text, "%d", at)
  end
  if find(text, "assport", 1, true) then
    passport(text, add)
  end
end

return numbers
