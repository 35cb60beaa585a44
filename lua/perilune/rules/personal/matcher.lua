--- Finds and masks personal data of the kinds that were asked for.
--
-- A matcher is made once from its options and holds nothing of a text: what a search has found so
-- far is in the FoundSpans it is given.

local FoundSpans = require("perilune.rules.personal.found_spans")
local ListedNames = require("perilune.rules.personal.listed_names")
local UserNames = require("perilune.rules.personal.user_names")
local net_addresses = require("perilune.rules.personal.net_addresses")
local person_names = require("perilune.rules.personal.person_names")
local personal_numbers = require("perilune.rules.personal.personal_numbers")
local secrets = require("perilune.rules.personal.secrets")
local street_addresses = require("perilune.rules.personal.street_addresses")
local text_words = require("perilune.rules.personal.text_words")

--- What a matcher looks for. What each option is when it is left out stands in brackets.
-- @class MatcherOptions
-- @field ?{string,...} kinds (all) of `personal.kinds`
-- @field ?{string,...} names (none) names that always count
-- @field ?{string,...} users (none) user names
-- @field ?{string,...} users_by_use (none) those of `users` that count anywhere though they are
--   words

--- Finds and masks personal data.
-- @class Matcher
local Matcher = {}
Matcher.__index = Matcher

local find, sub = string.find, string.sub

-- Four digits near one another: fewer make no number of a person but a house's.
local DIGITS <const> = "%d%D?%D?%D?%d%D?%D?%D?%d%D?%D?%D?%d"

local function list_of(options, name)
  local value = options[name]
  if value ~= nil and type(value) ~= "table" then
    error(("personal_data: `%s` is a table, not a %s"):format(name, type(value)), 0)
  end
  return value
end

--- A matcher. Raises for a kind that is not known.
-- @tparam ?MatcherOptions options what it looks for
-- @treturn Matcher
function Matcher.new(options)
  options = options or {}
  local wanted = {}
  for _, kind in ipairs(list_of(options, "kinds") or FoundSpans.kinds) do
    if not FoundSpans.rank[kind] then
      error(
        ("personal_data: no kind %q; there are %s"):format(
          tostring(kind),
          table.concat(FoundSpans.kinds, ", ")
        ),
        0
      )
    end
    wanted[kind] = true
  end
  local names = wanted.NAME and list_of(options, "names") or {}
  local users = wanted.USER and list_of(options, "users") or {}
  return setmetatable({
    wanted = wanted,
    numbers = wanted.IP or wanted.IBAN or wanted.CARD or wanted.ID or wanted.PHONE,
    net = wanted.URL or wanted.EMAIL or wanted.IP,
    secrets = wanted.KEY or wanted.MAC,
    names = #names > 0 and ListedNames.new(names),
    users = #users > 0 and UserNames.new(users, list_of(options, "users_by_use")),
  }, Matcher)
end

--- Find personal data in a text.
-- @tparam string text of any length, UTF-8
-- @treturn {{kind=string,first=integer,last=integer},...} in order, without overlap; bytes from 1,
--   both included
function Matcher:find(text)
  local wanted, spans = self.wanted, FoundSpans.new(self.wanted)
  local plain = text_words.plain(text)
  if self.net then net_addresses.find(plain, spans) end
  if self.secrets then secrets.find(plain, spans) end
  if find(text, "%d") then
    if self.numbers and find(text, DIGITS) then personal_numbers.find(plain, spans) end
    if
      wanted.ADDRESS
      and (find(text, "%u") or find(text, " at ", 1, true) or find(text, "address", 1, true))
    then
      street_addresses.find(plain, spans)
    end
  end
  if wanted.NAME then person_names.find(plain, spans) end
  if self.names then self.names:find(plain, spans) end
  if self.users then self.users:find(text, spans) end
  return spans:settled()
end

--- Put placeholders such as [NAME] for the personal data of a text.
-- @tparam string text of any length, UTF-8
-- @treturn string
-- @treturn {[string]=integer} how many of each kind; empty when there are none
function Matcher:mask(text)
  local pieces, counts, at = {}, {}, 1
  for _, span in ipairs(self:find(text)) do
    pieces[#pieces + 1] = sub(text, at, span.first - 1)
    pieces[#pieces + 1] = "[" .. span.kind .. "]"
    at = span.last + 1
    counts[span.kind] = (counts[span.kind] or 0) + 1
  end
  pieces[#pieces + 1] = sub(text, at)
  return table.concat(pieces), counts
end

return Matcher
