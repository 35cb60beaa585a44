--- The rule on personal data: names, addresses, numbers and user names are masked, or their rows
-- dropped or flagged.
--
-- Source: Ouyang et al., arXiv:2203.02155, section 3.2, filter the prompts of the train split for
-- personal data; hence `sides` is {"train"} by default: rows of other sides pass untouched; a row
-- that is on no side yet is looked at.
--
-- Kinds and placeholders: NAME, EMAIL, PHONE, ADDRESS, IBAN, CARD, IP, MAC (of network cards), KEY
-- (keys and tokens of an account), URL (those that carry a secret), ID (national identity numbers
-- and passports), USER (the log's own user names). How each is told is in the head of its module in
-- personal/; what each misses too. Every search is linear in the text, whatever stands in it. The
-- words the searches know are in personal/lists/*.txt.
--
-- The figures for the labelled sentences are printed by recipes/collect/check_personal_data.lua.
-- What the rule does not do: promise that nothing is left. It reads forms and lists, not meaning.
--
--     local personal_data = require("perilune").rules.personal
--     local matcher = personal_data.matcher({ users = { "zorbo77" } })
--     matcher:mask("Mail anna@example.org") --> "Mail [EMAIL]", { EMAIL = 1 }
--     local rule = personal_data.rule({ action = "mask", users = { "zorbo77" } })

local FoundSpans = require("perilune.rules.personal.found_spans")
local Matcher = require("perilune.rules.personal.matcher")
local UserNames = require("perilune.rules.personal.user_names")
local options = require("perilune.base.options")

local personal_data = {}

--- The kinds, the strongest first: where two overlap, the one named first stays.
-- @type {string,...}
personal_data.kinds = FoundSpans.kinds

personal_data.matcher = Matcher.new

--- User names that are common words, yet names by their use in a log: for `users_by_use`.
-- @tparam function texts an iterator of texts of the log
-- @tparam {string,...} list user names
-- @treturn {string,...} those that stand for a person in at least half of their places
function personal_data.users_by_use(texts, list) return UserNames.new(list):mostly_names(texts) end

local function copy_of(object)
  local copy = {}
  for key, value in pairs(object or {}) do
    copy[key] = value
  end
  return copy
end

-- A text, or an object whose field `field` is one, with placeholders; what is neither stays.
local function masked_item(item, field, matcher, total)
  if field and type(item) == "table" then
    local copy = copy_of(item)
    copy[field] = masked_item(item[field], nil, matcher, total)
    return copy
  elseif type(item) ~= "string" then
    return item
  end
  local masked, counts = matcher:mask(item)
  for kind, n in pairs(counts) do
    total[kind] = (total[kind] or 0) + n
  end
  return masked
end

local function masked_list(list, field, matcher, total)
  local copy = {}
  for i, item in ipairs(list) do
    copy[i] = masked_item(item, field, matcher, total)
  end
  return copy
end

-- A copy of a row with placeholders in its prompt, messages, completion and completions, and the
-- counts by kind; the row itself when it holds no personal data.
local function masked_row(row, matcher)
  local total, copy = {}, copy_of(row)
  copy.prompt = masked_item(row.prompt, nil, matcher, total)
  copy.completion = masked_item(row.completion, nil, matcher, total)
  copy.messages = row.messages and masked_list(row.messages, "content", matcher, total)
  copy.completions = row.completions and masked_list(row.completions, "text", matcher, total)
  return next(total) and copy or row, total
end

local function described(counts)
  local list = {}
  for _, kind in ipairs(personal_data.kinds) do
    if counts[kind] then list[#list + 1] = kind:lower() end
  end
  return table.concat(list, ", ")
end

-- What becomes of a row with personal data: each action takes the row, its masked copy, the counts
-- and the context of the rules, and returns the row that passes, or nil.
local actions = {}

function actions.mask(_, masked, counts, context)
  context.change(masked, "masked " .. described(counts))
  return masked
end

function actions.flag(row, _, counts, context)
  local flagged = copy_of(row)
  flagged.extra = copy_of(row.extra)
  flagged.extra.personal_data = counts
  context.change(flagged, "flagged " .. described(counts))
  return flagged
end

function actions.drop(row, _, counts, context)
  context.drop(row, "personal data: " .. described(counts))
end

local function set_of(list)
  local set = {}
  for _, item in ipairs(list) do
    set[item] = true
  end
  return set
end

--- What counts as personal data, and what becomes of it. What each option is when it is left out
-- stands in brackets.
-- @class PersonalDataOptions
-- @field ?string action ("mask") or "drop", or "flag": row.extra.personal_data = counts by kind
-- @field ?boolean|{string,...} sides ({"train"}) whose rows are looked at, false for all; a row
--   that is on no side yet is always looked at
-- @field ?{string,...} kinds (all) of `personal.kinds`
-- @field ?{string,...} names (none) names that always count
-- @field ?{string,...}|function users (none) user names, or a function that returns them, called
--   once when the first row arrives
-- @field ?{string,...} users_by_use (none) those of `users` that count anywhere though they are
--   words; `personal.users_by_use` tells which

--- The rule: personal data is masked, or its rows dropped or flagged.
-- @tparam ?PersonalDataOptions given what counts, and what becomes of it
-- @treturn Rule for `rules.run`
function personal_data.rule(given)
  local settings = options.take("personal_data", given, {
    action = options.choice("mask", { "mask", "drop", "flag" }),
    sides = options.off_or(options.of_type("table", { "train" })),
    kinds = options.any(),
    names = options.any(),
    users = options.any(),
    users_by_use = options.any(),
  }, 0)
  local act, users, sides = actions[settings.action], settings.users, settings.sides
  local looked_at = sides and set_of(sides)
  local known = type(users) ~= "function" and personal_data.matcher(settings)

  local function apply(rows, context)
    local matcher = known
    return function()
      if not matcher then
        settings.users = users()
        matcher = personal_data.matcher(settings)
      end
      for row in rows do
        if looked_at and row.side ~= nil and not looked_at[row.side] then return row end
        local masked, counts = masked_row(row, matcher)
        local passed = row
        if masked ~= row then passed = act(row, masked, counts, context) end
        if passed then return passed end
      end
      return nil
    end
  end

  return {
    name = "personal_data",
    settings = {
      action = settings.action,
      kinds = settings.kinds or personal_data.kinds,
      names = settings.names and #settings.names or 0,
      users = type(users) == "function" and "function" or users and #users or 0,
      sides = sides,
    },
    apply = apply,
  }
end

return personal_data
