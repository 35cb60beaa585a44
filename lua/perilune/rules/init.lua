--- Data rules: what becomes of user logs and of labelers' prompts.
--
--     local rows, report = pl.rules.run(store:prompts {}, {
--       pl.rules.dedupe {}, pl.rules.cap { max = 200 }, pl.rules.split {},
--       pl.rules.personal_data {}, pl.rules.filter("asks", function(row)
--         return row.prompt:find("?", 1, true) ~= nil, "no question"
--       end),
--     }, { seed = 1, scratch = "runs/x/scratch" })
--     for row in rows do ... end
--
-- A rule is {name =, settings =, apply = function(rows, context) -> rows}: plain functions over an
-- iterator, in the recipe's own order. Each lives in a file of its own in rules/, with its source
-- and the reasons for its defaults. Rows are the store's (Row); a rule that changes
-- a row hands on a copy, since one that needs all rows first may read it again (rules/held.lua).
--
-- Whatever the order, the same rows, rules and seed give the same rows out, to the byte, and the
-- report adds up: rows in, less those dropped, are rows out; that is checked at the end of each
-- run. After a split, every row that a later rule hands on must still stand on the side of its key.
--
-- May use: base.

local format = require("perilune.base.format")
local held = require("perilune.rules.held")
local lazy = require("perilune.base.lazy")
local checked = require("perilune.base.options")
local text_of = require("perilune.rules.row_text")

local rules = {}

--- A rule on rows.
-- @class Rule
-- @field string name for the report
-- @field ?table settings it was made with, for the report: {name = value}
-- @field function apply (rows, context) -> rows: iterators that give a Row a call, nil at the end;
--   `rules.run` says what the context has
-- @field ?function guard (row) -> nil, or what is wrong with it: asked of each row that a later
--   rule hands on

--- What a rule did, in the report of `rules.run`.
-- @class RuleReport
-- @field string rule its name
-- @field table settings of the rule, {name = value}
-- @field integer rows_in rows that it was given
-- @field integer rows_out rows that it handed on
-- @field integer changed rows that it changed
-- @field {[string]=integer} reasons rows that it dropped, by reason
-- @field {[string]={string,...}} examples texts of such rows by reason, up to 3
-- @field {[string]={string,...}} likes what each example is like, where the rule says so
-- @field {[string]=integer} tallies of anything else

local EXAMPLES_KEPT <const> = 3
local EXAMPLE_LENGTH <const> = 400

--- The text a rule looks at: the prompt, or the user's turns of a conversation, a line each.
-- @tparam Row row with `prompt` or `messages`
-- @treturn string
rules.text = text_of

local function excerpt(text) return format.cut(text, EXAMPLE_LENGTH) end

local function new_entry(rule)
  return {
    rule = rule.name,
    settings = rule.settings or {},
    rows_in = 0,
    rows_out = 0,
    changed = 0,
    reasons = {},
    examples = {},
    likes = {},
    tallies = {},
  }
end

-- What a rule may tell: see `run`.
local function new_context(entry, options, origin)
  local dropped = 0
  local context = { seed = options.seed, scratch = options.scratch, origin = origin }

  function context.drop(row, reason, like)
    dropped = dropped + 1
    local count = (entry.reasons[reason] or 0) + 1
    entry.reasons[reason] = count
    if count <= EXAMPLES_KEPT then
      local examples = entry.examples[reason] or {}
      entry.examples[reason] = examples
      examples[count] = excerpt(text_of(row))
      if like then
        local likes = entry.likes[reason] or {}
        entry.likes[reason] = likes
        likes[count] = excerpt(like)
      end
    end
  end

  function context.change(row, what)
    entry.changed = entry.changed + 1
    local changes = table.move(row.changes or {}, 1, #(row.changes or {}), 1, {})
    changes[#changes + 1] = entry.rule .. ": " .. what
    row.changes = changes
  end

  function context.tally(what) entry.tallies[what] = (entry.tallies[what] or 0) + 1 end

  local function check()
    if entry.rows_in - dropped ~= entry.rows_out then
      error(
        (
          "rule %s took %d rows, dropped %d and handed on %d; each row must be handed on "
          .. "or dropped, once, the latter through context.drop"
        ):format(entry.rule, entry.rows_in, dropped, entry.rows_out),
        0
      )
    end
  end
  return context, check
end

local function counted(rows, entry, field)
  return function()
    local row = rows()
    if row ~= nil then entry[field] = entry[field] + 1 end
    return row
  end
end

-- What a rule hands on, counted, held against the split before it, and against its drops at the
-- end.
local function watched(rows, rule, entry, guard, check)
  local ended = false
  return function()
    if ended then return nil end
    local row = rows()
    if row == nil then
      ended = true
      check()
      return nil
    elseif type(row) ~= "table" then
      error(("rule %s handed on a %s, not a row"):format(rule.name, type(row)), 0)
    end
    entry.rows_out = entry.rows_out + 1
    local wrong = guard and guard(row)
    if wrong then
      error(
        ("after rule %s: %s; a rule after split must leave `side` and the key alone"):format(
          rule.name,
          wrong
        ),
        0
      )
    end
    return row
  end
end

local function as_iterator(rows, origin)
  if type(rows) == "function" then
    return rows
  elseif type(rows) ~= "table" then
    error(("rules.run takes rows as a list or an iterator, not a %s"):format(type(rows)), 3)
  elseif rows.rows then
    local next_row = rows:rows()
    return function()
      local row, n = next_row()
      origin:note(row, rows, n)
      return row
    end
  end
  local at = 0
  return function()
    at = at + 1
    return rows[at]
  end
end

--- Rows through rules. Raises for what is no rule, and when the report does not add up.
--
-- A rule's `context` has `seed`, `scratch` and three things to tell: `drop(row, reason, like)` for
-- each row it does not hand on (`like`: a text to show beside it), `change(row, what)` for each row
-- it changed, called with the row it hands on, which then says so in `changes`, and `tally(what)`
-- to count anything else.
-- @tparam function|{Row,...}|Spool rows an iterator that gives a row a call, or a list; or what can
--   be read more than once, so that rules which must see all rows first need not hold copies: a
--   table whose `rows()` gives an iterator of rows and their numbers, the same each time (a spool
--   is one)
-- @tparam {Rule,...} list in order
-- @tparam ?table options `seed` (1) of what rules draw; `scratch` (the system's folder for
--   temporary files) a folder
-- @treturn function an iterator of rows
-- @treturn {RuleReport,...} one for each rule; complete when the iterator is spent
function rules.run(rows, list, options)
  local taken =
    checked.take("rules.run", options, { seed = checked.integer(1, 0), scratch = checked.name() })
  local report, guard, origin = {}, nil, held.origin()
  local stream = as_iterator(rows, origin)
  for i, rule in ipairs(list) do
    if type(rule) ~= "table" or type(rule.apply) ~= "function" or type(rule.name) ~= "string" then
      local text = "rules.run: rule %d is not a rule, {name =, settings =, apply = function}"
      error(text:format(i), 2)
    end
    local entry = new_entry(rule)
    local context, check = new_context(entry, taken, origin)
    report[i] = entry
    local handed_on = rule.apply(counted(stream, entry, "rows_in"), context)
    if type(handed_on) ~= "function" then
      local text = "rules.run: apply of rule %s gave a %s, not a function that gives rows"
      error(text:format(rule.name, type(handed_on)), 2)
    end
    stream = watched(handed_on, rule, entry, not rule.guard and guard, check)
    guard = rule.guard or guard
  end
  return function()
    local row = stream()
    if row == nil then origin:close() end
    return row
  end,
    report
end

--- A rule of one function. Raises when that is missing; a row for which it fails raises while it
-- runs.
-- @tparam string name for the report
-- @tparam function verdict (row) -> keep, reason: the row is dropped when `keep` is false or nil
-- @treturn Rule for `rules.run`
function rules.filter(name, verdict)
  if type(name) ~= "string" or type(verdict) ~= "function" then
    error("rules.filter(name, function(row) -> keep, reason)", 2)
  end
  local function apply(rows, context)
    return function()
      for row in rows do
        local ok, keep, reason = pcall(verdict, row)
        if not ok then
          local text = "rule %s failed: %s (the row begins '%s')"
          error(text:format(name, tostring(keep), excerpt(text_of(row))), 0)
        end
        if keep then return row end
        context.drop(row, reason == nil and name or tostring(reason))
      end
    end
  end
  return { name = name, settings = {}, apply = apply }
end

--- A rule for some rows alone; the others pass by it, unseen, and come between or after the rest.
-- Those that pass while the rule looks at a whole set are held in memory.
-- @tparam function when (row) -> whether the rule is for it
-- @tparam Rule rule the rule
-- @treturn Rule for `rules.run`
function rules.only(when, rule)
  local function apply(rows, context)
    local passed, first, last = {}, 1, 0
    local function chosen()
      for row in rows do
        if when(row) then return row end
        last = last + 1
        passed[last] = row
      end
    end
    local inner = rule.apply(chosen, context)
    return function()
      local row = inner()
      if row == nil and first <= last then
        row, passed[first] = passed[first], nil
        first = first + 1
      end
      return row
    end
  end
  return { name = rule.name, settings = rule.settings, guard = rule.guard, apply = apply }
end

-- A mistake in a rule's settings is the caller's: its line is named.
local function made(build)
  return function(given)
    local ok, rule = pcall(build, given)
    if not ok then error(rule, 2) end
    return rule
  end
end

-- The rules; each takes a table of settings, described in its file.
rules.balance = made(require("perilune.rules.balance").rule)
rules.cap = made(require("perilune.rules.cap"))
rules.dedupe = made(require("perilune.rules.dedupe").rule)
rules.keyword = made(require("perilune.rules.keyword"))
rules.length = made(require("perilune.rules.length"))
rules.split = made(require("perilune.rules.split").rule)
rules.use_case = made(require("perilune.rules.use_case").rule)

-- These bring tables of their own, read at first use.

--- The rule: personal data is masked, or its rows dropped or flagged.
-- @tparam ?PersonalDataOptions given what counts, and what becomes of it
-- @treturn Rule for `rules.run`
-- @name rules.personal_data

--- The rule: rows in other languages than the wanted ones are dropped.
-- @tparam ?LanguageOptions given which languages stay
-- @treturn Rule for `rules.run`
-- @name rules.language

for _, name in ipairs { "personal_data", "language" } do
  rules[name] = made(function(given) return require("perilune.rules." .. name).rule(given) end)
end

rules.side = require("perilune.rules.split").side

rules.classes = require("perilune.rules.dedupe").classes

-- What rules stand on, for recipes that want it alone: `personal` finds and masks personal data,
-- `spool` sets rows down on disk, `sorter` sorts there.
return lazy(rules, {
  personal = "perilune.rules.personal_data",
  sorter = "perilune.rules.sorter",
  spool = "perilune.rules.spool",
})
