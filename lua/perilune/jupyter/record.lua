--- The history of a notebook's cells, as history_request asks for it.
--
-- Session 2 is this one, by the numbers of its cells; session 1 is what the history file held when
-- it began. Cells go to that file too, so that the prompt has them.

local history = require("perilune.repl.history")
local json = require("perilune.base.json")

local BEFORE <const>, NOW <const> = 1, 2

--- @class Record
local Record = {}
Record.__index = Record

local record = {}

--- Begins the record of a session.
-- @treturn Record
function record.new()
  local rows = {}
  for i, entry in ipairs(history.load()) do
    rows[i] = { session = BEFORE, line = i, input = entry }
  end
  return setmetatable({ rows = rows }, Record)
end

--- Remembers a cell.
-- @tparam integer line its number
-- @tparam string text
-- @tparam ?string output
function Record:add(line, text, output)
  local last = self.rows[#self.rows]
  if not last or last.input ~= text then history.append(text) end
  self.rows[#self.rows + 1] = { session = NOW, line = line, input = text, output = output }
end

-- A glob of * and ? as a pattern of Lua.
local function pattern_of(glob)
  local text = glob:gsub("%W", "%%%0"):gsub("%%%*", ".*"):gsub("%%%?", ".")
  return "^" .. text .. "$"
end

local function unique(rows)
  local seen, kept = {}, {}
  for i = #rows, 1, -1 do
    if not seen[rows[i].input] then
      seen[rows[i].input] = true
      table.insert(kept, 1, rows[i])
    end
  end
  return kept
end

local function integer(value, default) return math.type(value) == "integer" and value or default end

local function chosen(self, asked)
  local rows, kind = {}, asked.hist_access_type
  local session = integer(asked.session, 0)
  if session <= 0 then session = session + NOW end
  local from, to = integer(asked.start, 0), integer(asked.stop, math.maxinteger)
  local pattern = kind == "search" and pattern_of(tostring(asked.pattern or "*"))
  for _, row in ipairs(self.rows) do
    local fits = kind == "tail"
      or kind == "range" and row.session == session and row.line >= from and row.line < to
      or pattern and row.input:find(pattern)
    if fits then rows[#rows + 1] = row end
  end
  if kind == "search" and asked.unique == true then rows = unique(rows) end
  if kind == "range" then return rows end
  local n = integer(asked.n, #rows)
  return table.move(rows, math.max(1, #rows - n + 1), #rows, 1, {})
end

--- What a request asks for.
-- @tparam table asked the request's content
-- @treturn {table,...} rows of session, line and input, or input and output
function Record:find(asked)
  local list = json.array()
  for _, row in ipairs(chosen(self, asked)) do
    local text = asked.output == true and { row.input, row.output or json.null } or row.input
    list[#list + 1] = { row.session, row.line, text }
  end
  return list
end

return record
