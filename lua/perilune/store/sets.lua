--- Training sets in a store: which prompt, demonstration or ranking each row came from, and what
-- the rules made of it.
--
-- A row whose texts are those of the store is ids alone; what differs is kept in `derived`, so a
-- set of unchanged rows costs a few bytes a row and every change can be shown beside its original.

local json = require("perilune.base.json")
local read = require("perilune.store.read")

local sets = {}

local function json_or_nil(value)
  return value ~= nil and json.encode(value, { strict = true }) or nil
end

--- Begin a set. Unfinished sets of this name, left by a run that was stopped, are removed.
-- @tparam string name of the set; others may have it too
-- @tparam ?table about `recipe` (text), `settings` (any value), `seed` (integer)
-- @treturn integer the set's id
function sets.new_set(self, name, about)
  about = about or {}
  return self:transaction(function()
    self
      :statement([[DELETE FROM set_rows WHERE set_id IN
      (SELECT id FROM sets WHERE name = ? AND finished = 0)]])
      :run(name)
    self:statement("DELETE FROM sets WHERE name = ? AND finished = 0"):run(name)
    self
      :statement("INSERT INTO sets (name, recipe, settings, seed) VALUES (?, ?, ?, ?)")
      :run(name, about.recipe, json_or_nil(about.settings), about.seed)
    return self.conn:last_id()
  end)
end

local function same_list(a, b)
  if #a ~= #b then return false end
  for i = 1, #a do
    if a[i] ~= b[i] then return false end
  end
  return true
end

local other_fields = { "user_id", "organisation", "use_case", "kind", "source", "time", "extra" }

local function same_value(a, b)
  return a == b or type(a) == "table" and type(b) == "table" and json.encode(a) == json.encode(b)
end

-- What of the prompt differs from the store.
local function derived_prompt(row, stored)
  local derived = {}
  if row.prompt and row.prompt ~= stored.prompt then
    derived.prompt = row.prompt
  elseif row.messages and not same_value(row.messages, stored.messages) then
    derived.messages = row.messages
  end
  for _, name in ipairs(other_fields) do
    if row[name] == nil and stored[name] ~= nil then
      derived.removed = derived.removed or {}
      table.insert(derived.removed, name)
    elseif not same_value(row[name], stored[name]) then
      derived[name] = row[name]
    end
  end
  return derived
end

local function add_sft(self, row, derived)
  local text = row.demonstration_id
    and self:statement("SELECT text FROM demonstrations WHERE id = ?"):row(row.demonstration_id)
  if type(row.completion) ~= "string" then
    error("a row of the sft set needs `completion`", 4)
  elseif text ~= row.completion then
    derived.completion = row.completion
  end
  return row.demonstration_id, nil
end

local function add_rm(self, row, derived)
  local one = row.rankings and #row.rankings == 1 and row.rankings[1] or nil
  local ranks = row.ranks or one and one.ranks
  local ranking_id = row.ranking_id or one and one.id
  if type(row.completions) ~= "table" or type(ranks) ~= "table" or #ranks ~= #row.completions then
    error("a row of the rm set needs `completions` and as many `ranks`", 4)
  end
  local texts, stored_ranks, said = {}, {}, {}
  if ranking_id then
    local _
    texts, stored_ranks, _, said = read.items_of(self, ranking_id)
  end
  if row.completion_finished and not same_value(row.completion_finished, said.finished) then
    derived.completion_finished = row.completion_finished
  end
  if not (same_list(texts, row.completions) and same_list(stored_ranks, ranks)) then
    derived.completions, derived.ranks = row.completions, ranks
  end
  if not ranking_id then derived.rankings = row.rankings end
  return nil, ranking_id
end

local parts = { sft = add_sft, rm = add_rm, ppo = function() end }

--- Add a row to an unfinished set. Raises when the row lacks what its part needs, or is of no
-- prompt of this store.
-- @tparam integer set id, of `Store:new_set`
-- @tparam string part "sft", "rm" or "ppo"
-- @tparam string side "train", "valid" or "test"
-- @tparam Row row with `id` of its prompt; `changes` (what the rules did) is kept with it
-- @treturn integer id of the set's row
function sets.add_to_set(self, set, part, side, row)
  local add = parts[part]
    or error(("the parts of a set are sft, rm and ppo, not '%s'"):format(part), 2)
  local stored = row.id and read.prompt(self, row.id)
    or error("the row has no `id` of a prompt in this store: store:add it first", 2)
  local derived = derived_prompt(row, stored)
  local demonstration_id, ranking_id = add(self, row, derived)
  self
    :statement([[INSERT INTO set_rows (set_id, part, side, prompt_id, demonstration_id,
    ranking_id, derived, changes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)]])
    :run(
      set,
      part,
      side,
      row.id,
      demonstration_id,
      ranking_id,
      next(derived) and json_or_nil(derived) or nil,
      json_or_nil(row.changes)
    )
  return self.conn:last_id()
end

--- Seal a set: readers see it from now on and its rows stay as they are. Raises when there is no
-- such unfinished set.
-- @tparam integer set id, of `Store:new_set`
function sets.finish_set(self, set)
  if self:statement("UPDATE sets SET finished = 1 WHERE id = ? AND finished = 0"):run(set) ~= 1 then
    error(("there is no unfinished set %s"):format(set), 2)
  end
end

--- All sets, oldest first.
-- @treturn {table,...} each {id =, name =, recipe =, settings =, seed =, finished =,
--   rows = {sft =, rm =, ppo =}}
function sets.sets(self)
  local list, by_id = {}, {}
  for id, name, recipe, settings, seed, finished in
    self:statement("SELECT id, name, recipe, settings, seed, finished FROM sets ORDER BY id"):rows()
  do
    local set = {
      id = id,
      name = name,
      recipe = recipe,
      seed = seed,
      finished = finished == 1,
      settings = settings and json.decode(settings),
      rows = { sft = 0, rm = 0, ppo = 0 },
    }
    list[#list + 1], by_id[id] = set, set
  end
  for id, part, count in
    self:statement("SELECT set_id, part, count(*) FROM set_rows GROUP BY set_id, part"):rows()
  do
    local set = by_id[id]
    set.rows[part] = count
  end
  return list
end

return sets
