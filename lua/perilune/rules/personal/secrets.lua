--- Keys and tokens that open an account, and addresses of network cards.
--
-- KEY: a run of letters, digits, `-` and `_` that begins as an issuer's keys do and is as long
-- (`issued`; sources: the issuers' own pages); a JSON Web Token (RFC 7519); what stands behind
-- `Bearer` (RFC 6750); what a name such as api_key or password is set to, in 16 characters or more
-- with letters and digits among them; a private key in PEM (RFC 7468), to its end.
-- MAC: six pairs of hexadecimal digits between colons or hyphens, or three groups of four between
-- dots (IEEE 802), which belong to no longer row. Nobody's are those of one pair six times, as
-- 00:00:00:00:00:00; hyphens and dots want a letter among the digits, else they are other numbers.
--
-- A key is read once, from the run's first byte to its last: linear in the text. What it misses:
-- short passwords, keys without a known beginning that nothing names.

local list = require("perilune.rules.personal.word_lists").read("net_addresses")

local secrets = {}

local find, sub, match = string.find, string.sub, string.match

local LEAST <const> = 16 -- characters of a key
local CHARACTER <const> = "[%w_-]"
local RUN <const> = CHARACTER:rep(LEAST) .. "[%w_.+/-]*"
local LONG_PART <const> = ("%w"):rep(20)

-- What keys begin with, and the fewest characters behind it.
local issued = {
  { "sk-", 20 }, -- OpenAI, Anthropic and those who follow them
  { "ghp_", 36 }, -- GitHub, these six
  { "gho_", 36 },
  { "ghu_", 36 },
  { "ghs_", 36 },
  { "ghr_", 36 },
  { "github_pat_", 40 },
  { "glpat-", 20 }, -- GitLab
  { "AKIA", 16 }, -- Amazon, both
  { "ASIA", 16 },
  { "AIza", 35 }, -- Google
  { "xoxb-", 20 }, -- Slack, these five
  { "xoxp-", 20 },
  { "xoxa-", 20 },
  { "xoxr-", 20 },
  { "xoxs-", 20 },
  { "sk_live_", 16 }, -- Stripe, these three
  { "sk_test_", 16 },
  { "rk_live_", 16 },
  { "hf_", 30 }, -- Hugging Face
  { "npm_", 36 },
  { "pypi-", 40 },
}

-- Whether a run is no word and no placeholder.
local function is_random(run) return find(run, "%d") and find(run, "%a") end

-- A run without the marks at its end.
local function without_marks(run)
  local last = #run
  while last > 0 and not find(sub(run, last, last), "%w") do
    last = last - 1
  end
  return sub(run, 1, last)
end

-- The length of the issued key that a run begins with, or nil.
local function issued_length(run)
  for _, form in ipairs(issued) do
    local prefix, least = form[1], form[2]
    if sub(run, 1, #prefix) == prefix then
      local body = without_marks(match(run, "^[%w_-]+", #prefix + 1) or "")
      if prefix == "AKIA" or prefix == "ASIA" then
        return find(body, "^[%u%d]+$") and #body == least and #prefix + least or nil
      elseif #body >= least and is_random(body) then
        -- A name made of small words, "sk-circle-fade-dot-12", has neither capitals nor one long
        -- part.
        local is_name = prefix == "sk-" and not find(body, "%u") and not find(body, LONG_PART)
        return not is_name and #prefix + #body or nil
      end
    end
  end
  return nil
end

local function is_jwt(run)
  local head, claims, signature = match(run, "^(eyJ[%w_-]+)%.(eyJ[%w_-]+)%.([%w_-]+)$")
  return head ~= nil and #head > LEAST and #claims > LEAST and #signature > LEAST
end

-- Whether what stands before the run at `first` says that it is a key.
local function is_named(text, first)
  local head = sub(text, first > 48 and first - 48 or 1, first - 1)
  if find(head, "[Bb]earer $") then return true end
  local name = match(head, "([%a][%w_-]*)[\"'`]?%s*[=:]+>?%s*[\"'`]?$")
  if not name then return false end
  name = name:lower()
  local last_two, last = match(name, "[^_-]+[_-][^_-]+$"), match(name, "[^_-]+$")
  for _, part in ipairs { name, last_two or name, last } do
    if list.secrets[part] or list.key_names[part] then return true end
  end
  return false
end

local function keys(text, spans)
  local first, last = find(text, RUN)
  while first do
    local run = sub(text, first, last)
    local start = match(run, "^[_-]*()")
    local key = without_marks(sub(run, start))
    first = first + start - 1
    local length = issued_length(key) or is_jwt(key) and #key
    if not length and #key >= LEAST and is_random(key) and is_named(text, first) then
      length = #key
    end
    if length then spans:add("KEY", first, first + length - 1) end
    first, last = find(text, RUN, last + 1)
  end
end

local FENCE <const> = ("%-"):rep(5)
local BEGIN <const> = FENCE .. "BEGIN [%u ]*PRIVATE KEY" .. FENCE
local END <const> = FENCE .. "END [%u ]*PRIVATE KEY" .. FENCE

local function private_keys(text, spans)
  local first, last = find(text, BEGIN)
  while first do
    local _, stop = find(text, END, last + 1)
    spans:add("KEY", first, stop or #text)
    first, last = find(text, BEGIN, (stop or #text) + 1)
  end
end

local PAIR <const> = "%x%x"
local forms = { -- pattern, what goes on with it, whether a letter must be among the digits
  { PAIR .. (":" .. PAIR):rep(5), ":", false },
  { PAIR .. ("%-" .. PAIR):rep(5), "-", true },
  { "%x%x%x%x%.%x%x%x%x%.%x%x%x%x", ".", true },
}

local function card_addresses(text, spans)
  for _, form in ipairs(forms) do
    local pattern, mark, wants_letter = form[1], form[2], form[3]
    local first, last = find(text, pattern)
    while first do
      local address = sub(text, first, last)
      local digits = address:gsub("%X", "")
      local before, after = sub(text, first - 1, first - 1), sub(text, last + 1, last + 2)
      local stands_free = not find(before, "[%w_]")
        and before ~= mark
        and not find(after, "^[%w_]")
        and not (sub(after, 1, 1) == mark and find(after, "%x$"))
      local is_nobodys = digits == sub(digits, 1, 2):rep(6)
      local is_other = wants_letter and not find(digits, "%a")
      if stands_free and not is_nobodys and not is_other then spans:add("MAC", first, last) end
      first, last = find(text, pattern, last + 1)
    end
  end
end

--- Find keys, tokens and addresses of network cards.
-- @tparam string text
-- @tparam FoundSpans spans
function secrets.find(text, spans)
  if spans.wanted.KEY then
    if find(text, RUN) then keys(text, spans) end
    if find(text, "PRIVATE KEY-----", 1, true) then private_keys(text, spans) end
  end
  if spans.wanted.MAC and find(text, "%x%x[:.-]%x%x") then card_addresses(text, spans) end
end

return secrets
