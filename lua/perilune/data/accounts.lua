--- What became of the rows of a data set.

local accounts = {}

--- What became of the rows of a data set.
-- @class RowCounts
-- @field integer rows that came in: `used` and all of `left_out`
-- @field integer used rows that are in the set
-- @field {[string]=integer} left_out rows by the reason why they are not
-- @field {[string]=integer} changed rows in the set by what was changed of them
-- @field ?{[string]=string} first where a reason needs more words: what is wrong with the first row
--   that is left out for it, and where it stands

--- Every row that comes in is used or left out for a reason; used rows may be changed.
-- @class Account
local Account = {}
Account.__index = Account

--- An empty account.
-- @treturn Account
function accounts.new()
  return setmetatable({ rows = 0, used = 0, left_out = {}, changed = {}, first = {} }, Account)
end

local function count(into, name, n) into[name] = (into[name] or 0) + (n or 1) end

--- Counts a row that is used.
function Account:use()
  self.rows, self.used = self.rows + 1, self.used + 1
end

--- Counts a row that is not.
-- @tparam string reason why
-- @tparam ?string what is wrong with this row, and where it stands, where the reason says it too
--   shortly
function Account:leave_out(reason, what)
  self.rows = self.rows + 1
  count(self.left_out, reason)
  self.first[reason] = self.first[reason] or what
end

--- Counts what was changed in rows that are used.
-- @tparam string what it is
-- @tparam integer n how many
function Account:change(what, n)
  if n > 0 then count(self.changed, what, n) end
end

--- The account as plain data. Raises when it does not add up.
-- @treturn RowCounts
function Account:close()
  local left_out = 0
  for _, n in pairs(self.left_out) do
    left_out = left_out + n
  end
  assert(self.rows == self.used + left_out, "rows in are not used and left out")
  return {
    rows = self.rows,
    used = self.used,
    left_out = self.left_out,
    changed = self.changed,
    first = next(self.first) and self.first,
  }
end

local function listed(counts, first)
  local parts = {}
  for name, n in pairs(counts) do
    local what = first[name]
    parts[#parts + 1] = ("%s %d%s"):format(name, n, what and " (the first: " .. what .. ")" or "")
  end
  table.sort(parts)
  return table.concat(parts, ", ")
end

--- An account in a line: "10 rows, 8 used; left out: too long 2; answers cut at the end 1".
-- @tparam RowCounts counts of a set
-- @treturn string
function accounts.told(counts)
  local text = ("%d rows, %d used"):format(counts.rows, counts.used)
  local left_out, changed = listed(counts.left_out, counts.first or {}), listed(counts.changed, {})
  return text
    .. (left_out ~= "" and "; left out: " .. left_out or "")
    .. (changed ~= "" and "; " .. changed or "")
end

--- The set itself, when there is something in it; else an error that says what became of its rows.
-- @tparam ExampleSet|table set of `data.prompts`, `data.examples`, `data.ranked` or `data.text`
-- @tparam string key of the recipe that named it
-- @tparam string path it was read from, for the error
-- @treturn ExampleSet|table `set`
function accounts.required(set, key, path)
  if set.counts.used == 0 then
    error(("%s %s: nothing in it can be used (%s)"):format(key, path, accounts.told(set.counts)), 0)
  end
  return set
end

return accounts
