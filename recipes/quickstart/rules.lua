--- The data rules of instruction tuning: what becomes of a user log and of labelers' prompts.
--
-- Source: Ouyang et al., arXiv:2203.02155, section 3.2 and appendix A: prompts that share a long
-- common prefix are deduplicated, a user gives at most 200 prompts, train, validation and test are
-- split by user id, and prompts of the train split with personal data are dropped. Labelers write
-- plain, few-shot and user-based prompts. Out come three sets: SFT (labelers and API), RM (labelers
-- and API), PPO (API only).
--
-- Each rule is a function over a list of rows, leaves its input alone, and returns the rows it
-- keeps and a report `{rule, rows_in, rows_out, reasons, examples}`: reasons maps a reason to a
-- count, examples maps it to up to three prompts. Rows are as in users.lua, in order of time; a
-- rule reads nothing but `prompt` and the key (`user_id`).
--
-- The paper names users in one place and organizations in another: the key is a setting. It does
-- not say how long a long prefix is: here twelve tokens, and shorter prompts are compared whole.
--
-- The rules are simple on purpose: they know the names of the invented world and nothing of other
-- languages, and prefixes are compared exactly.

local lexicon = require "recipes.quickstart.lexicon"
local random = require "recipes.quickstart.random"

local rules = {}

local EXAMPLES_KEPT <const> = 3

local function new_report(rule, rows)
  return { rule = rule, rows_in = #rows, rows_out = 0, reasons = {}, examples = {} }
end

local function note_drop(report, reason, row)
  report.reasons[reason] = (report.reasons[reason] or 0) + 1
  local examples = report.examples[reason] or {}
  report.examples[reason] = examples
  if #examples < EXAMPLES_KEPT then
    examples[#examples + 1] = row.prompt
  end
end

-- The frame of every rule: `verdict(row)` returns nil to keep the row, or the reason to drop it.
local function filter(rule, rows, verdict)
  local report, kept = new_report(rule, rows), {}
  for _, row in ipairs(rows) do
    local reason = verdict(row)
    if reason then
      note_drop(report, reason, row)
    else
      kept[#kept + 1] = row
    end
  end
  report.rows_out = #kept
  return kept, report
end

local function key_of(row, key)
  local value = row[key]
  if value == nil then
    error(("a row has no field %q to go by; set `key` to a field that every row has")
      :format(key), 0)
  end
  return value
end

--- Keeps at most `max` rows for each user, the earliest in the list.
-- @tparam table rows
-- @tparam[opt] table opts `{max = 200, key = "user_id"}`
-- @treturn table rows kept
-- @treturn table report
function rules.cap(rows, opts)
  local max, key = opts and opts.max or 200, opts and opts.key or "user_id"
  local seen = {}
  return filter("cap", rows, function(row)
    local id = key_of(row, key)
    seen[id] = (seen[id] or 0) + 1
    return seen[id] > max and ("over %d for one %s"):format(max, key) or nil
  end)
end

--- Keeps the first of all rows whose prompts share their first `tokens` tokens; prompts that are
-- shorter count as the same only when they are equal.
-- @tparam table rows
-- @tparam[opt] table opts `{tokens = 12}`
-- @treturn table rows kept
-- @treturn table report
function rules.dedupe_prefix(rows, opts)
  local length = opts and opts.tokens or 12
  local seen = {}
  return filter("common prefix", rows, function(row)
    local tokens = lexicon.tokens(row.prompt)
    local whole = #tokens < length
    -- The end mark keeps a short prompt apart from a long one that begins with it.
    local prefix = table.concat(tokens, " ", 1, math.min(#tokens, length)) .. (whole and "\n" or "")
    if seen[prefix] then
      return whole and "same prompt" or ("same first %d tokens"):format(length)
    end
    seen[prefix] = true
    return nil
  end)
end

--- The side a user falls on: the same for ever, whoever else is in the log.
-- @tparam string id
-- @tparam[opt] table opts `{validation = 0.1, test = 0.15, salt = ""}`
-- @treturn string "train", "validation" or "test"
function rules.side(id, opts)
  local test, validation = opts and opts.test or 0.15, opts and opts.validation or 0.1
  local at = random.fraction("split", opts and opts.salt or "", id)
  if at < test then
    return "test"
  end
  return at < test + validation and "validation" or "train"
end

--- Splits rows so that no user stands on two sides.
-- @tparam table rows
-- @tparam[opt] table opts those of `rules.side`, and `key = "user_id"`
-- @treturn table `{train = rows, validation = rows, test = rows}`
-- @treturn table report whose reasons count the rows of each side
function rules.split(rows, opts)
  local key = opts and opts.key or "user_id"
  local report = new_report("split", rows)
  local sides = { train = {}, validation = {}, test = {} }
  for _, row in ipairs(rows) do
    local side = rules.side(key_of(row, key), opts)
    table.insert(sides[side], row)
  end
  report.rows_out = #rows
  for side, list in pairs(sides) do
    report.reasons[side] = #list
  end
  return sides, report
end

local GIVEN <const> = lexicon.set(lexicon.given_names)
local FAMILY <const> = lexicon.set(lexicon.family_names)
local TITLE <const> = lexicon.set(lexicon.titles)
local STREET <const> = lexicon.set(lexicon.street_kinds)
local NUMBER <const> = lexicon.set(lexicon.numbers)

--- The kind of personal data in a text, or nil.
--
-- A given name counts anywhere; a family name only after a given name or a title, since some family
-- names are also things; an address is a number, a word and a word for a street; an address of mail
-- has an @ between words and a dot after it.
-- @tparam string prompt
-- @treturn ?string "mail", "address" or "name"
function rules.personal_kind(prompt)
  if prompt:find("[%w_]+%s*@%s*[%w_]+%s*%.%s*%w+") then
    return "mail"
  end
  local tokens = lexicon.tokens(prompt)
  for i, token in ipairs(tokens) do
    if STREET[token] and i > 2 and (NUMBER[tokens[i - 2]] or tokens[i - 2]:find("^%d+$")) then
      return "address"
    end
  end
  for i, token in ipairs(tokens) do
    local before = tokens[i - 1]
    if GIVEN[token] or FAMILY[token] and (TITLE[before] or GIVEN[before]) then
      return "name"
    end
  end
  return nil
end

--- Drops rows with personal data.
-- @tparam table rows
-- @treturn table rows kept
-- @treturn table report
function rules.drop_personal(rows)
  return filter("personal data", rows, function(row)
    return rules.personal_kind(row.prompt)
  end)
end

--- The log through all rules, in the order of the paper: prefixes, cap, split, then personal data
-- out of the train split (or of every split).
-- @tparam table rows
-- @tparam[opt] table opts `{key = "user_id", cap = 200, prefix_tokens = 12, validation = 0.1,
-- test = 0.15, personal = "train"|"all"|"none"}`
-- @treturn table `{train, validation, test}`
-- @treturn table list of reports
function rules.prepare(rows, opts)
  opts = opts or {}
  local reports = {}
  local unique, capped
  unique, reports[1] = rules.dedupe_prefix(rows, { tokens = opts.prefix_tokens })
  capped, reports[2] = rules.cap(unique, { max = opts.cap, key = opts.key })
  local sides
  sides, reports[3] = rules.split(capped, opts)
  local personal = opts.personal or "train"
  if personal ~= "train" and personal ~= "all" and personal ~= "none" then
    error(("personal = %q: say \"train\", \"all\" or \"none\""):format(tostring(personal)), 2)
  end
  for _, side in ipairs { "train", "validation", "test" } do
    if personal == "all" or personal == side then
      local report
      sides[side], report = rules.drop_personal(sides[side])
      report.rule = report.rule .. " (" .. side .. ")"
      reports[#reports + 1] = report
    end
  end
  return sides, reports
end

--- K examples from an instruction with K query/response pairs: each pair once as the one to be
-- answered, with the K-1 others before it, in their order.
-- @tparam string instruction
-- @tparam table pairs_list list of `{query, response}`
-- @treturn table list of `{prompt, query, response, index}`
function rules.expand_few_shot(instruction, pairs_list)
  local examples = {}
  for i, asked in ipairs(pairs_list) do
    local parts = { instruction }
    for j, shown in ipairs(pairs_list) do
      if j ~= i then
        parts[#parts + 1] = ("%s : %s"):format(shown.query, shown.response)
      end
    end
    parts[#parts + 1] = asked.query .. " :"
    examples[i] = { prompt = table.concat(parts, " "), query = asked.query,
      response = asked.response, index = i }
  end
  return examples
end

return rules
