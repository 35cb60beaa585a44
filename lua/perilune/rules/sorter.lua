--- Tuples of integers, sorted on disk: how a rule orders more keys than memory holds.
--
-- A temporary SQLite database: rows go into a table without an index and come back by one ORDER BY,
-- which SQLite does by merging runs of at most `CACHE_KB` in a temporary file without a name.
-- Nothing of it outlives the sorter. Temporary files lie where SQLite puts them: in the folder of
-- SQLITE_TMPDIR or TMPDIR, else /var/tmp.

local db = require("perilune.core").db

local sorter = {}

--- Tuples to be sorted.
-- @class Sorter
local Sorter = {}
Sorter.__index = Sorter
Sorter.__name = "sorter"

local CACHE_KB <const> = 32768
local BATCH <const> = 64 -- tuples a statement: most of the cost of one is in the call

--- An empty sorter.
-- @tparam integer columns integers a tuple
-- @treturn Sorter
function sorter.new(columns)
  local conn = assert(db.open("", { cache_kb = CACHE_KB }))
  conn:exec([[PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE;
    PRAGMA locking_mode = EXCLUSIVE]])
  local names = {}
  for i = 1, columns do
    names[i] = "c" .. i
  end
  local list = table.concat(names, ", ")
  conn:exec(("CREATE TABLE keys (%s INTEGER) STRICT"):format(table.concat(names, " INTEGER, ")))
  conn:exec("BEGIN")
  local one = "(" .. ("?, "):rep(columns - 1) .. "?)"
  return setmetatable({
    conn = conn,
    columns = columns,
    waiting = {},
    filled = 0,
    count = 0,
    select = ("SELECT %s FROM keys ORDER BY %s"):format(list, list),
    one = conn:prepare("INSERT INTO keys VALUES " .. one),
    many = conn:prepare("INSERT INTO keys VALUES " .. (one .. ", "):rep(BATCH - 1) .. one),
  }, Sorter)
end

--- Takes a tuple.
-- @tparam integer ... as many as there are columns
function Sorter:add(...)
  local waiting, filled, columns = self.waiting, self.filled, self.columns
  local a, b, c, d = ...
  waiting[filled + 1] = a
  if columns > 1 then
    waiting[filled + 2] = b
    if columns > 2 then
      waiting[filled + 3] = c
      if columns > 3 then waiting[filled + 4] = d end
    end
  end
  filled = filled + columns
  self.count = self.count + 1
  if filled == BATCH * columns then
    self.many:run(table.unpack(waiting, 1, filled))
    filled = 0
  end
  self.filled = filled
end

--- The tuples in order of their first integer, then the second, and so on: an iterator of the
-- integers, for a `for`. Nothing can be added any more.
-- @treturn function gives the integers of a tuple, nil at the end
function Sorter:sorted()
  local columns = self.columns
  for at = 1, self.filled, columns do
    self.one:run(table.unpack(self.waiting, at, at + columns - 1))
  end
  self.filled = 0
  self.one:close()
  self.many:close()
  return self.conn:prepare(self.select):rows()
end

--- Gives everything back.
function Sorter:close() self.conn:close() end

return sorter
