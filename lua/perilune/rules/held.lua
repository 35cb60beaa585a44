--- Rows that a rule must see all of before it judges one: each of them on disk once.
--
-- Of a row that is as it lies somewhere already - in the store, or held by a rule before - only the
-- place is kept, half a byte a row, and it is read from there again; a row that was made or changed
-- on the way goes to a spool. So dedupe, cap and balance share what the first of them holds.
--
-- How a row is known: rows come one at a time, and the run's `origin` remembers the table that was
-- read last, with a copy of its fields. A rule that changes a row hands on a copy; one that changes
-- a field in place is noticed all the same, one that changes a table inside of a row is not.

local spool = require("perilune.rules.spool")

local held = {}

--- What a run knows of the row that was read last.
-- @class Origin
local Origin = {}
Origin.__index = Origin

--- What a run knows of the row that was read last; one for all its rules.
-- @treturn Origin
function held.origin() return setmetatable({ spools = {} }, Origin) end

--- Notes that `row` is about to be handed on, as row `n` of `from`.
-- @tparam ?table row nil at the end
-- @tparam table from `from:rows()` gives its rows and their numbers, which grow, once more
-- @tparam ?integer n
function Origin:note(row, from, n)
  local fields = {}
  for key, value in next, row or fields do
    fields[key] = value
  end
  self.row, self.fields, self.from, self.n = row, fields, from, n
end

-- Whether a row is the one that was read last, as it was read.
function Origin:knows(row)
  if row ~= self.row then return false end
  local fields = self.fields
  for key, value in next, row do
    if fields[key] ~= value then return false end
  end
  for key in next, fields do
    if row[key] == nil then return false end
  end
  return true
end

--- Gives back all that was held; nothing can be read any more.
function Origin:close()
  for _, one in ipairs(self.spools) do
    one:close()
  end
end

local Held = {}
Held.__index = Held

-- No rows yet.
local function new_held(context)
  local set_own, is_own = spool.marks()
  local set_taken, is_taken = spool.marks()
  return setmetatable({
    origin = context.origin,
    scratch = context.scratch,
    count = 0,
    set_own = set_own,
    is_own = is_own,
    set_taken = set_taken,
    is_taken = is_taken,
  }, Held)
end

-- Takes a row; gives its number, from 1.
function Held:add(row)
  local origin = self.origin
  self.count = self.count + 1
  if (self.from or origin.from) == origin.from and origin:knows(row) then
    self.from = origin.from
    self.set_taken(origin.n, 1)
    return self.count
  elseif not self.own then
    self.own = spool.new(self.scratch)
    table.insert(origin.spools, self.own)
  end
  self.own:add(row)
  self.set_own(self.count, 1)
  return self.count
end

--- The rows from the first: a function that gives a row and its number, nil at the end.
function Held:rows()
  local own, from = self.own and self.own:rows(), self.from and self.from:rows()
  local n = 0
  return function()
    if n == self.count then return nil end
    n = n + 1
    local row, place
    if self.is_own(n) == 1 then
      row = own()
    else
      repeat
        row, place = from()
      until not row or self.is_taken(place) == 1
    end
    return row or error("rows that were read once are gone the second time", 0), n
  end
end

--- The rows that a rule keeps which must see all of them first.
-- @tparam function rows
-- @tparam table context of the rule: `origin`, `scratch` and `drop`
-- @tparam function see(row, n) is shown each row
-- @tparam function decide(held) is called after the last, with what gives them again by
--   `held:rows()`; it gives verdict(n, row) -> nil to keep, or the reason to drop it and a text for
--   the report to show beside it
-- @treturn function
function held.judged(rows, context, see, decide)
  local all, next_row, verdict
  return function()
    if not all then
      all = new_held(context)
      for row in rows do
        see(row, all:add(row))
      end
      verdict = decide(all)
      next_row = all:rows()
    end
    while next_row do
      local row, n = next_row()
      if not row then
        next_row = nil
        return nil
      end
      local reason, about = verdict(n, row)
      if not reason then
        context.origin:note(row, all, n)
        return row
      end
      context.drop(row, reason, about)
    end
  end
end

return held
