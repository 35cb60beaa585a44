--- The rule on personal data: names, addresses, numbers and user names are masked, or their rows
-- dropped or flagged.
--
-- Source: Ouyang et al., arXiv:2203.02155, section 3.2, filter the prompts of the train split for
-- personal data; hence `sides` is {"train"} by default: rows of other sides pass untouched; a row
-- that is on no side yet is looked at.
--
-- Kinds and placeholders: NAME, EMAIL, PHONE, ADDRESS, IBAN, CARD, IP, URL (those that carry a
-- secret), ID (national identity numbers and passports), USER (the log's own user names). How each
-- is told is in the head of its module in personal/; what each misses too. Every search is linear
-- in the text, whatever stands in it.
--
-- The figures for the labelled sentences are printed by recipes/collect/check_personal_data.lua.
-- What the rule does not do: promise that nothing is left. It reads forms and lists, not meaning.
--
-- @usage
--   local personal_data = require("perilune.rules.personal_data")
--   personal_data.mask("Mail anna@example.org") --> "Mail [EMAIL]", { EMAIL = 1 }
--   local rule = personal_data.rule({ action = "mask", users = { "zorbo77" } })

local address = require("perilune.rules.personal.address")
local net = require("perilune.rules.personal.net")
local numbers = require("perilune.rules.personal.numbers")
local person = require("perilune.rules.personal.person")
local settings_of = require("perilune.rules.options")
local tokens = require("perilune.rules.personal.tokens")
local users = require("perilune.rules.personal.users")
local words = require("perilune.rules.personal.words")

local personal_data = {}

--- The kinds, the strongest first: where two overlap, the one named first stays.
personal_data.kinds = {
  "URL", "EMAIL", "IP", "IBAN", "CARD", "ID", "ADDRESS", "PHONE", "USER", "NAME",
}

local rank = {}
for i, kind in ipairs(personal_data.kinds) do
  rank[kind] = i
end

local find, sub = string.find, string.sub

local function option(value, name, kind)
  if value ~= nil and type(value) ~= kind then
    error(("personal_data: `%s` is a %s, not a %s"):format(name, kind, type(value)), 0)
  end
  return value
end

-- The recipe's names by their first word in lower case: lists of {words, capital wanted}.
local function compile_names(list)
  local ready = {}
  for _, name in ipairs(list) do
    local parts = {}
    for word in tokens.plain(name):lower():gmatch("[%w\128-\255'-]+") do
      parts[#parts + 1] = word
    end
    if #parts > 0 then
      ready[parts[1]] = ready[parts[1]] or {}
      local needs_capital = #parts == 1 and words.common[parts[1]] ~= nil
      table.insert(ready[parts[1]], { parts, needs_capital })
    end
  end
  return ready
end

local function listed_names(text, ready, add)
  for first, word, stop in text:gmatch("()([%w\128-\255'-]+)()") do
    local entries = ready[word:lower()] or find(word, "'", 1, true)
      and ready[word:lower():gsub("'s?$", "")]
    for _, entry in ipairs(entries or {}) do
      local parts, at = entry[1], stop
      for k = 2, #parts do
        local following, next_at = text:match("^%s([%w\128-\255'-]+)()", at)
        at = following and following:lower():gsub("'s?$", "") == parts[k] and next_at
        if not at then
          break
        end
      end
      if at and not (entry[2] and not tokens.capital(word)) then
        local last = at - 1
        local ending = sub(text, first, last):match("'s?$")
        add("NAME", first, ending and last - #ending or last)
      end
    end
  end
end

--- Make options ready once for many texts; `find` and `mask` take the result as well.
-- @tparam ?table options kinds, names, users as for `rule`
-- @treturn table
function personal_data.compile(options)
  options = options or {}
  if options.is_compiled then
    return options
  end
  local ready = { is_compiled = true, wanted = {} }
  option(options.kinds, "kinds", "table")
  for _, kind in ipairs(options.kinds or personal_data.kinds) do
    if not rank[kind] then
      error(("personal_data: no kind %q; there are %s")
        :format(tostring(kind), table.concat(personal_data.kinds, ", ")), 0)
    end
    ready.wanted[kind] = true
  end
  local w = ready.wanted
  ready.numbers = w.IP or w.IBAN or w.CARD or w.ID or w.PHONE
  ready.net = w.URL or w.EMAIL or w.IP
  if w.NAME and option(options.names, "names", "table") and #options.names > 0 then
    ready.names = compile_names(options.names)
  end
  local list = options.users
  if type(list) == "function" then
    list = list()
  end
  if w.USER and option(list, "users", "table") and #list > 0 then
    ready.users = users.compile(list, option(options.users_by_use, "users_by_use", "table"))
  end
  return ready
end

local function by_place(a, b)
  if a.first ~= b.first then
    return a.first < b.first
  elseif a.last ~= b.last then
    return a.last > b.last
  end
  return rank[a.kind] < rank[b.kind]
end

-- The spans in order and without overlap: the stronger kind stays, then the longer span.
local function settle(spans)
  if #spans < 2 then
    return spans
  end
  table.sort(spans, by_place)
  local kept = {}
  for _, span in ipairs(spans) do
    local before = kept[#kept]
    if not before or span.first > before.last then
      kept[#kept + 1] = span
    elseif rank[span.kind] < rank[before.kind]
      or span.kind == before.kind and span.last - span.first > before.last - before.first then
      kept[#kept] = span
    end
  end
  return kept
end

-- The spans of the text at hand; a table only when there are any.
local spans_here, wanted_here

local function add(kind, first, last)
  if wanted_here[kind] then
    spans_here = spans_here or {}
    spans_here[#spans_here + 1] = { kind = kind, first = first, last = last }
  end
end

-- Four digits near one another: fewer make no number of a person but a house's.
local DIGITS <const> = "%d%D?%D?%D?%d%D?%D?%D?%d%D?%D?%D?%d"

local function search(text, ready)
  local wanted = ready.wanted
  spans_here, wanted_here = nil, wanted
  local plain = tokens.plain(text)
  if ready.net then
    net.find(plain, add)
  end
  if find(text, "%d") then
    if ready.numbers and find(text, DIGITS) then
      numbers.find(plain, add)
    end
    if wanted.ADDRESS and (find(text, "%u") or find(text, " at ", 1, true)
      or find(text, "address", 1, true)) then
      address.find(plain, add)
    end
  end
  if wanted.NAME then
    person.find(plain, add)
  end
  if ready.names then
    listed_names(plain, ready.names, add)
  end
  if ready.users then
    users.find(text, ready.users, add)
  end
  local spans = spans_here
  spans_here = nil
  return spans and settle(spans)
end

--- User names that are common words, yet names by their use in a log: for `users_by_use`.
-- @tparam function texts an iterator of texts of the log
-- @tparam {string,...} list user names
-- @treturn {string,...} those that stand for a person in at least half of their places
function personal_data.users_by_use(texts, list)
  return users.mostly_names(texts, users.compile(list))
end

--- Find personal data in a text.
-- @string text
-- @tparam ?table options as for `rule`, or from `compile`
-- @treturn {{kind=string,first=integer,last=integer},...} in order, without overlap
function personal_data.find(text, options)
  local ready = options and options.is_compiled and options or personal_data.compile(options)
  return search(text, ready) or {}
end

--- Put placeholders such as [NAME] for the personal data of a text.
-- @string text
-- @tparam ?table options as for `find`
-- @treturn string
-- @treturn {[string]=integer} how many of each kind; empty when there are none
function personal_data.mask(text, options)
  local ready = options and options.is_compiled and options or personal_data.compile(options)
  local spans = search(text, ready)
  local counts = {}
  if not spans then
    return text, counts
  end
  local pieces, at = {}, 1
  for _, span in ipairs(spans) do
    pieces[#pieces + 1] = sub(text, at, span.first - 1)
    pieces[#pieces + 1] = "[" .. span.kind .. "]"
    at = span.last + 1
    counts[span.kind] = (counts[span.kind] or 0) + 1
  end
  pieces[#pieces + 1] = sub(text, at)
  return table.concat(pieces), counts
end

local function sum_into(total, counts)
  for kind, n in pairs(counts) do
    total[kind] = (total[kind] or 0) + n
  end
end

local function masked_list(list, field, ready, total)
  local copy = {}
  for i, item in ipairs(list) do
    local text = field and item[field] or item
    local masked, counts = text, {}
    if type(text) == "string" then
      masked, counts = personal_data.mask(text, ready)
    end
    sum_into(total, counts)
    if field then
      local other = {}
      for key, value in pairs(item) do
        other[key] = value
      end
      other[field] = masked
      copy[i] = other
    else
      copy[i] = masked
    end
  end
  return copy
end

--- A row with placeholders in its prompt, messages, completion and completions.
-- @tparam table row left as it is
-- @tparam ?table options as for `find`
-- @treturn table a copy; the row itself when it holds no personal data
-- @treturn {[string]=integer} counts by kind
function personal_data.mask_row(row, options)
  local ready = personal_data.compile(options)
  local total, copy = {}, {}
  for key, value in pairs(row) do
    copy[key] = value
  end
  for _, key in ipairs({ "prompt", "completion" }) do
    if type(row[key]) == "string" then
      local counts
      copy[key], counts = personal_data.mask(row[key], ready)
      sum_into(total, counts)
    end
  end
  if row.messages then
    copy.messages = masked_list(row.messages, "content", ready, total)
  end
  if row.completions then
    local first = row.completions[1]
    copy.completions = masked_list(row.completions, type(first) == "table" and "text" or nil, ready,
      total)
  end
  return next(total) and copy or row, total
end

local function described(counts)
  local list = {}
  for _, kind in ipairs(personal_data.kinds) do
    if counts[kind] then
      list[#list + 1] = kind:lower()
    end
  end
  return table.concat(list, ", ")
end

local actions = { mask = true, drop = true, flag = true }

--- The rule.
-- @tparam ?table given
--   action "mask" (default), "drop", or "flag" (row.extra.personal_data = counts by kind);
--   sides list of sides whose rows are looked at, {"train"} by default, false for all; a row
--   without a side is always looked at;
--   kinds list, all by default;
--   names list of names that always count; users list of user names, or a function that returns it,
--   called once when the first row arrives; users_by_use list of those that count anywhere though
--   they are words (`personal_data.users_by_use` tells which)
-- @treturn table {name=, settings=, apply=}
function personal_data.rule(given)
  local settings = settings_of.take("personal_data", given, {
    action = "mask", sides = settings_of.none, kinds = settings_of.none, names = settings_of.none,
    users = settings_of.none, users_by_use = settings_of.none,
  })
  local action = settings.action
  if not actions[action] then
    error(("personal_data: no action %q; there are mask, drop and flag")
      :format(tostring(action)), 0)
  end
  local sides
  if settings.sides ~= false then
    sides = {}
    for _, side in ipairs(option(settings.sides, "sides", "table") or { "train" }) do
      sides[side] = true
    end
  end
  local rule = {
    name = "personal_data",
    settings = {
      action = action,
      kinds = settings.kinds or personal_data.kinds,
      names = settings.names and #settings.names or 0,
      users = type(settings.users) == "table" and #settings.users or settings.users and "function"
        or 0,
    },
  }
  rule.settings.sides = settings.sides
  if settings.sides == nil then
    rule.settings.sides = { "train" }
  end
  if type(settings.users) ~= "function" then
    settings = personal_data.compile(settings)
  end
  function rule.apply(rows, context)
    local ready
    return function()
      ready = ready or personal_data.compile(settings)
      for row in rows do
        if sides and row.side ~= nil and not sides[row.side] then
          return row
        end
        local masked, counts = personal_data.mask_row(row, ready)
        if masked == row then
          return row
        end
        if action == "mask" then
          context.change(masked, "masked " .. described(counts))
          return masked
        elseif action == "flag" then
          local flagged, extra = {}, {}
          for key, value in pairs(row) do
            flagged[key] = value
          end
          for key, value in pairs(row.extra or {}) do
            extra[key] = value
          end
          extra.personal_data = counts
          flagged.extra = extra
          context.change(flagged, "flagged " .. described(counts))
          return flagged
        end
        context.drop(row, "personal data: " .. described(counts))
      end
      return nil
    end
  end
  return rule
end

return personal_data
