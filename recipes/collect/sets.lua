--- The three sets while they are made: rows by part and side, into the store and into
-- data/PART-SIDE.jsonl as they come.
--
-- A part whose train side has a size (`most`) is a sample of all that came: these rows wait in a
-- spool for the rule `cap` over one group. A row of JSON Lines names its user by a hash, never by
-- name.

local pl = require("perilune")
local sorter, spool = pl.rules.sorter, pl.rules.spool

local sets = {}

local PARTS <const> = { "sft", "rm", "ppo" }
local SIDES <const> = { "train", "valid", "test" }
local BATCH <const> = 256 -- rows written in one transaction

-- A copy of a row with the fields of `more` in place of its own.
local function with(row, more)
  local copy = {}
  for key, value in pairs(row) do
    copy[key] = value
  end
  for key, value in pairs(more or {}) do
    copy[key] = value
  end
  return copy
end

--- The classes of likeness that prompts fall into, as hashes.
-- @tparam function rows
-- @tparam table alike settings of dedupe
-- @treturn {[integer]=boolean}
function sets.classes(rows, alike)
  local classes, class_of = {}, pl.rules.classes(alike)
  for row in rows do
    classes[class_of(row)] = true
  end
  return classes
end

--- A rule that keeps apart what would leak between sides: labelers' prompts that are alike get one
-- `split_key` (the examples of one few-shot instruction are alike by their kind), and API prompts
-- that are like one of theirs go.
-- @tparam table written classes of labelers' prompts, as from `classes`
-- @tparam table alike settings of dedupe
-- @treturn table rule
function sets.apart(written, alike)
  local class_of = pl.rules.classes(alike)
  local none = next(written) == nil
  local function labelers_row(row)
    local split_key = row.extra and row.extra.group or tostring(class_of(row))
    return with(row, { extra = with(row.extra or {}, { split_key = split_key }) })
  end
  local function apply(rows, context)
    return function()
      for row in rows do
        if row.source ~= "api" then
          return labelers_row(row)
        elseif none or not written[class_of(row)] then
          return row
        end
        context.drop(row, "like a labeler's prompt")
      end
    end
  end
  return { name = "apart from labelers'", settings = {}, apply = apply }
end

--- Where an API prompt without human answers goes.
-- @tparam integer seed
-- @tparam table row
-- @treturn number in [0, 1), the prompt's own
function sets.fraction(seed, row)
  local text = ("%d\0%s\0%s"):format(seed, tostring(row.user_id), pl.rules.text(row))
  return tonumber(pl.files.hash_string("set\0" .. text):sub(1, 12), 16) / (1 << 48)
end

local function as_line(row)
  return pl.json.encode {
    prompt = row.prompt,
    messages = row.messages,
    completion = row.completion,
    completions = row.completions,
    completion_finished = row.completion_finished,
    ranks = row.ranks,
    id = row.id,
    source = row.source,
    use_case = row.use_case,
    user = row.user_id and pl.files.hash_string("user\0" .. row.user_id):sub(1, 12),
    labeler = row.labeler,
  } .. "\n"
end

-- What stands on two sides at once: users, and beginnings of prompts.
local Leaks = {}
Leaks.__index = Leaks

local NUMBER_OF <const> = { train = 1, valid = 2, test = 3 }

local function new_leaks(options)
  return setmetatable({
    key = options.user_key,
    class_of = pl.rules.classes(options.alike),
    side_of = {},
    sorter = sorter.new(2),
    found = { users = 0, prefixes = 0 },
  }, Leaks)
end

function Leaks:row(row, side)
  local user = row[self.key]
  if user and self.side_of[user] and self.side_of[user] ~= side then
    self.found.users = self.found.users + 1
  elseif user then
    self.side_of[user] = side
  end
  self.sorter:add(self.class_of(row), NUMBER_OF[side])
end

function Leaks:result()
  local last, last_side
  for class, side in self.sorter:sorted() do
    if class == last and side ~= last_side then self.found.prefixes = self.found.prefixes + 1 end
    last, last_side = class, side
  end
  self.sorter:close()
  return self.found
end

local Sets = {}
Sets.__index = Sets

-- One part and side: its count, its file, and rows that are not written yet.
local function new_side(self, part, side)
  local options = self.options
  local one = {
    part = part,
    side = side,
    file = assert(pl.files.create(("%s/data/%s-%s.jsonl"):format(self.dir, part, side))),
    waiting = {},
    rules = {}, -- that rows go through when they are written
    users = {},
    count = {
      part = part,
      side = side,
      rows = 0,
      api = 0,
      labeler = 0,
      users = 0,
      prompts = 0,
      changed = 0,
    },
  }
  local most = side == "train" and options.most[part] or 0
  if most > 0 then
    one.spool = spool.new(options.scratch)
    one.rules[1] = pl.rules.cap { by = "group", max = most }
  end
  if part ~= "ppo" then -- in prompts personal data is masked already, in answers not
    one.rules[#one.rules + 1] = options.personal
  end
  return one
end

--- Begin three sets.
-- @tparam Store store
-- @tparam string dir run folder
-- @tparam table options `name`, `recipe`, `settings`, `seed`, `scratch`, `most` {part = train
--   rows}, `user_key` and `alike` (settings of dedupe) for the check of leaks, `personal` (the rule
--   for what people wrote)
function sets.new(store, dir, options)
  local self = setmetatable({
    store = store,
    dir = dir,
    options = options,
    sides = {},
    leaks = new_leaks(options),
  }, Sets)
  for _, part in ipairs(PARTS) do
    self.sides[part] = {}
    for _, side in ipairs(SIDES) do
      self.sides[part][side] = new_side(self, part, side)
    end
  end
  self.set = store:new_set(options.name, {
    recipe = options.recipe,
    settings = options.settings,
    seed = options.seed,
  })
  return self
end

--- Add a row to a part.
-- @tparam string part
-- @tparam table row with its side
-- @tparam ?table answer what a person said: fields that are laid over the row
function Sets:add(part, row, answer)
  local joined = with(row, answer)
  joined.group = part
  local one = self.sides[part][row.side]
  if one.spool then
    one.spool:add(joined)
    return
  end
  table.insert(one.waiting, joined)
  if #one.waiting == BATCH then self:write(one) end
end

-- One row, counted, into the store and the file.
function Sets:write_row(one, row)
  self.store:add_to_set(self.set, one.part, one.side, row)
  assert(one.file:write(as_line(row)))
  self.leaks:row(row, one.side)
  local count = one.count
  count.rows = count.rows + 1
  count[row.source] = count[row.source] + 1
  if row.id ~= one.last_id then
    one.last_id = row.id
    count.prompts = count.prompts + 1
  end
  local user = row[self.options.user_key]
  if user and not one.users[user] then
    one.users[user] = true
    count.users = count.users + 1
  end
end

-- Rows that waited go through the last rules and are written.
function Sets:write(one)
  local options = self.options
  local rows, report = pl.rules.run(one.spool or one.waiting, one.rules, {
    seed = options.seed,
    scratch = options.scratch,
  })
  self.store:transaction(function()
    for row in rows do
      self:write_row(one, row)
    end
  end)
  one.count.changed = one.count.changed + (#report > 0 and report[#report].changed or 0)
  one.waiting = {}
end

--- Cut to size, write what waits, finish the set in the store.
-- @treturn table counts: list of {part, side, rows, api, labeler, users, prompts, changed}
-- @treturn table leaks between sides: `users`, `prefixes`
function Sets:finish()
  local counts = {}
  for _, part in ipairs(PARTS) do
    for _, side in ipairs(SIDES) do
      local one = self.sides[part][side]
      self:write(one)
      assert(one.file:commit())
      counts[#counts + 1] = one.count
    end
  end
  self.store:finish_set(self.set)
  return counts, self.leaks:result()
end

return sets
