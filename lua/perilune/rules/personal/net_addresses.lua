--- E-mail addresses, URLs that carry a secret, IPv6 addresses.
--
-- Each search starts at a byte that must be there (`@`, `://`, `:`), looks back a bounded number of
-- bytes and forward over one run of characters, after which it goes on: linear in the text.
--
-- E-mail: a local part of at most 64 bytes, `@`, a domain of two labels or more whose last is
-- letters and no file extension; `name at host dot tld` and its bracketed forms too. The login of a
-- version-control address (`git@host:path`) is none.
-- URL: user and password before the host, a query or fragment field whose name says token, key,
-- signature, password or session, or a long segment after reset, verify, confirm, unsubscribe or
-- invite. A value that is a placeholder (`YOUR_API_KEY`, `<token>`, `xxxx`) is no secret.
-- IPv6: eight groups, or `::` and three groups or more with a digit among them; not the loopback.

local list = require("perilune.rules.personal.word_lists").read("net_addresses")

local net_addresses = {}

local byte, find, sub, match = string.byte, string.find, string.sub, string.match

local LOCAL_BYTES <const> = 64

local local_part = {}
for c in ("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-'"):gmatch(".") do
  local_part[byte(c)] = true
end
for c = 128, 255 do
  local_part[c] = true
end

-- The last byte of a domain that starts at `at`, or nil. A domain is read to the end of its run.
local function domain_end(text, at)
  local _, stop = find(text, "^[%w\128-\255.-]+", at)
  if not stop then return nil, at end
  local last = stop
  while last > at and find(sub(text, last, last), "[.-]") and stop - last < 4 do
    last = last - 1
  end
  local tail = sub(text, last > at + 30 and last - 30 or at, last)
  local dot = match(tail, "()%.%a+$")
  if
    not dot
    or #tail - dot < 2
    or not find(text, "^[%w\128-\255]", at)
    or list.file_endings[tail:sub(dot + 1):lower()]
  then
    return nil, stop
  end
  return last, stop
end

local function emails(text, spans)
  local at = find(text, "@", 1, true)
  local floor = 0 -- nothing at or before it belongs to a further address
  while at do
    local first = at
    while first > floor + 1 and at - first < LOCAL_BYTES and local_part[byte(text, first - 1)] do
      first = first - 1
    end
    while first < at and find(sub(text, first, first), "[.'%-+%%]") do
      first = first + 1
    end
    local stop = at
    if first < at then
      local last, run = domain_end(text, at + 1)
      stop = run
      local git = sub(text, first, at - 1) == "git" and last and byte(text, last + 1) == 58
      if last and not git then
        spans:add("EMAIL", first, last)
        floor = last
      end
    end
    at = find(text, "@", stop > at and stop or at + 1, true)
  end
end

-- "anna at example dot org", "anna [at] example [dot] org"; `at` is where the dot stands.
local function spelled_email(text, at, dot_last)
  local head = sub(text, at > 48 and at - 48 or 1, at - 1)
  if not find(head, "%Wat%W") then return nil end
  local user, at_word = match(head, "()[%w._%-]+%s?[%[(]?()at[%])]?%s?[%w-]+%s?[%[(]?$")
  local ending, last = match(text, "^[%])]?%s?(%a+)()", dot_last + 1)
  if not user or not ending or not list.spelled_endings[ending:lower()] then return nil end
  local before = sub(head, at_word - 1, at_word - 1)
  if not find(before, "[%s%[(]") then return nil end
  return at - #head + user - 1, last - 1
end

local function spelled_emails(text, spans)
  local at = 1
  while true do
    local first, last = find(text, "[ %[(]dot[ %])]", at)
    if not first then return end
    local from, to = spelled_email(text, first, last - (byte(text, last) == 32 and 1 or 0))
    if from then spans:add("EMAIL", from, to) end
    at = last + 1
  end
end

local function is_placeholder(value)
  local low = value:lower()
  return #value < 4
    or find(value, "^[<{$%[*]")
    or find(value, "^%u[%u_]+$")
    or find(low, "^your")
    or find(low, "^x+$")
    or find(low, "^%.+$")
    or low == "value"
    or low == "example"
    or list.secrets[low]
end

-- Whether a field `name=value` of a query or fragment is a secret.
local function is_secret_field(field)
  local name, value = match(field, "^(.-)=(.*)$")
  if not name or is_placeholder(value) then return false end
  name = name:lower()
  return list.secrets[name]
    or list.weak_secrets[name] and #value >= 8 and find(value, "%d") and find(value, "%a")
end

local function has_secret(url)
  local authority, rest = match(url, "^%a+://([^/?#]*)(.*)$")
  if not authority then
    authority, rest = "", url
  end
  local password = match(authority, "^[^:@]*:([^@]+)@.")
  if password and not is_placeholder(password) then return true end
  for field in (match(rest, "[?#].*$") or ""):gmatch("[^?&;#]+") do
    if is_secret_field(field) then return true end
  end
  local before = ""
  for segment in (match(rest, "^[^?#]*")):gmatch("[^/]+") do
    if list.reset_words[before:lower()] and #segment >= 12 and find(segment, "%d") then
      return true
    end
    before = segment
  end
  return false
end

local function urls(text, spans)
  local at = find(text, "://", 1, true)
  while at do
    local scheme = match(sub(text, at > 12 and at - 12 or 1, at - 1), "%a+$")
    local first = at - (scheme and #scheme or 0)
    local _, last = find(text, '^[^%s<>"`]+', at + 3)
    last = last or at + 2
    local stop = last
    local open = find(sub(text, first, math.min(last, first + 2000)), "(", 1, true)
    while last > at and find(sub(text, last, last), open and "[.,;:!?'%]}]" or "[.,;:!?')%]}]") do
      last = last - 1
    end
    if scheme and has_secret(sub(text, first, last)) then spans:add("URL", first, last) end
    at = find(text, "://", stop + 1, true)
  end
end

local function is_ipv6(run)
  if #run > 45 or find(run, ":::", 1, true) then return false end
  local groups, gaps = 0, 0
  for group in run:gmatch("%x+") do
    groups = groups + 1
    if #group > 4 then return false end
  end
  for _ in run:gmatch("::") do
    gaps = gaps + 1
  end
  if gaps == 0 then return groups == 8 end
  return gaps == 1 and groups >= 3 and groups < 8 and find(run, "%d") ~= nil
end

local function ipv6(text, spans)
  local at = find(text, ":%x?%x?%x?%x?:")
  while at do
    local first = at
    while first > 1 and at - first < 5 and find(sub(text, first - 1, first - 1), "%x") do
      first = first - 1
    end
    local _, stop = find(text, "^[%x:]+", first)
    local last = stop
    if byte(text, last) == 58 and byte(text, last - 1) ~= 58 then last = last - 1 end
    if
      not find(sub(text, first - 1, first - 1), "[%w_]")
      and not find(text, "^[%w_]", last + 1)
      and last - first < 45
      and is_ipv6(sub(text, first, last))
    then
      spans:add("IP", first, last)
    end
    at = find(text, ":%x?%x?%x?%x?:", stop + 1)
  end
end

--- Find addresses of the net.
-- @tparam string text
-- @tparam FoundSpans spans
function net_addresses.find(text, spans)
  if find(text, "://", 1, true) then urls(text, spans) end
  if find(text, "@", 1, true) then emails(text, spans) end
  if find(text, "dot", 1, true) then spelled_emails(text, spans) end
  local colon = find(text, ":", 1, true)
  if colon and find(text, ":", colon + 1, true) then ipv6(text, spans) end
end

return net_addresses
