--- Rows set down on disk, so that a rule may look at all of them before it judges one.
--
-- A spool takes rows once and gives them back in order, equal in every value: a record is packed
-- binary, since JSON costs three times as much and cannot hold text that is no UTF-8. The file has
-- no name after it was opened: nothing is left behind, even by a kill. `marks` is half a byte a
-- row (ten million rows: ten megabytes in Lua's integers), which is all that grows.
--
-- Rows are plain: strings, numbers, booleans and tables of those, keys strings or integers.
-- @module perilune.rules.spool

local core = require("perilune.core")

local spool = {}

local Spool = {}
Spool.__index = Spool
Spool.__name = "spool"

local ARRAY <const> = getmetatable(core.json.array({}))
local DEPTH <const> = 100
local pack, unpack, byte = string.pack, string.unpack, string.byte

-- A record is fields and an end. A field is the type's tag, the key, the value; the tag has BY_INDEX
-- added when the key is an integer.
local END <const>, STRING <const>, INTEGER <const>, FLOAT <const> = 0, 1, 2, 3
local YES <const>, NO <const>, TABLE <const>, LIST <const>, BY_INDEX <const> = 4, 5, 6, 7, 8

local value_format = { [STRING] = "s4", [INTEGER] = "i8", [FLOAT] = "d", [YES] = "", [NO] = "",
  [TABLE] = "", [LIST] = "" }
local field_format, rest_format = {}, {}
for tag, format in pairs(value_format) do
  field_format[tag], rest_format[tag] = "<Bs4" .. format, "<s4" .. format
  field_format[tag + BY_INDEX], rest_format[tag + BY_INDEX] = "<Bi8" .. format, "<i8" .. format
end

local function tag_of(value, key)
  local kind = type(value)
  if kind == "string" then
    return STRING
  elseif kind == "number" then
    return math.type(value) == "integer" and INTEGER or FLOAT
  elseif kind == "boolean" then
    return value and YES or NO
  elseif kind == "table" then
    return getmetatable(value) == ARRAY and LIST or TABLE
  end
  error(("a row's field '%s' is a %s; rows hold text, numbers, booleans and tables")
    :format(tostring(key), kind), 0)
end

local function write_fields(out, n, fields, depth)
  if depth > DEPTH then
    error(("a row nests tables more than %d deep"):format(DEPTH), 0)
  end
  for key, value in next, fields do
    local tag = tag_of(value, key)
    local field_tag = tag
    if type(key) ~= "string" then
      if math.type(key) ~= "integer" then
        error(("a row has a %s as a key; keys are strings or integers"):format(type(key)), 0)
      end
      field_tag = tag + BY_INDEX
    end
    n = n + 1
    if tag <= FLOAT then
      out[n] = pack(field_format[field_tag], field_tag, key, value)
    else
      out[n] = pack(field_format[field_tag], field_tag, key)
      if tag >= TABLE then
        n = write_fields(out, n, value, depth + 1)
      end
    end
  end
  out[n + 1] = "\0"
  return n + 1
end

local function read_fields(record, at)
  local fields = {}
  while true do
    local tag = byte(record, at)
    if tag == END then
      return fields, at + 1
    end
    local key, value, past = unpack(rest_format[tag], record, at + 1)
    local kind = tag % BY_INDEX
    if kind > FLOAT then -- no value follows the key
      past = value
      if kind >= TABLE then
        value, past = read_fields(record, past)
        if kind == LIST then
          core.json.array(value)
        end
      else
        value = kind == YES
      end
    end
    fields[key], at = value, past
  end
end

--- A row as bytes.
-- @tparam table row
-- @treturn string
function spool.pack(row)
  local out = {}
  local n = write_fields(out, 0, row, 1)
  return table.concat(out, "", 1, n)
end

--- The row of such bytes.
-- @string record
-- @treturn table
function spool.unpack(record)
  return (read_fields(record, 1))
end

local opened = 0

-- A file for writing and reading that vanishes with its handle.
local function nameless(folder)
  if not folder then
    return assert(io.tmpfile())
  end
  opened = opened + 1
  local path = ("%s/spool-%d-%d"):format(folder, core.system.pid(), opened)
  local file, message = io.open(path, "w+b")
  if not file then
    error(("rows cannot be set aside in the scratch folder: %s"):format(message), 0)
  end
  os.remove(path)
  file:setvbuf("full", 1 << 18)
  return file
end

--- An empty spool.
-- @tparam ?string folder where its file lies; the system's temporary folder when absent
-- @treturn Spool
function spool.new(folder)
  return setmetatable({ file = nameless(folder), count = 0 }, Spool)
end

local function check(ok, message)
  if not ok then
    error(("the scratch file cannot be used: %s; free some space or set another `scratch`")
      :format(tostring(message)), 0)
  end
  return ok
end

--- Takes a row.
-- @treturn integer its number, from 1
function Spool:add(row)
  check(self.file:write(pack("<s4", spool.pack(row))))
  self.count = self.count + 1
  return self.count
end

--- Takes bytes as a record; a spool holds rows or bytes, not both.
-- @treturn integer its number, from 1
function Spool:add_bytes(bytes)
  check(self.file:write(pack("<s4", bytes)))
  self.count = self.count + 1
  return self.count
end

--- The records from the first: a function that gives bytes and their number, nil at the end.
function Spool:records()
  local file, number = self.file, 0
  check(file:flush())
  check(file:seek("set", 0))
  return function()
    if number == self.count then
      return nil
    end
    number = number + 1
    local head = check(file:read(4), "it ends early")
    local length = unpack("<I4", head)
    return length == 0 and "" or check(file:read(length), "it ends early"), number
  end
end

--- One record, where all are of one size.
-- @int index
-- @int size bytes of a record
-- @treturn string
function Spool:record_at(index, size)
  check(self.file:seek("set", (index - 1) * (size + 4) + 4))
  return check(self.file:read(size), "it ends early")
end

--- The rows from the first: a function that gives a row and its number, nil at the end.
function Spool:rows()
  local records = self:records()
  return function()
    local record, number = records()
    if record then
      return read_fields(record, 1), number
    end
  end
end

--- Gives the file back; more than once is fine.
function Spool:close()
  if self.file then
    self.file:close()
    self.file = nil
  end
end

--- A number from 0 to 15 for each row, 0 at first.
-- @treturn function(n, mark) sets
-- @treturn function(n) gets
function spool.marks()
  local words = {}
  local function set(n, mark)
    local word, shift = n // 16, n % 16 * 4
    words[word] = (words[word] or 0) & ~(15 << shift) | mark << shift
  end
  local function get(n)
    local word = words[n // 16]
    return word and word >> n % 16 * 4 & 15 or 0
  end
  return set, get
end

--- The rows that a rule keeps which must see all of them first.
-- @tparam function rows
-- @tparam table context `scratch` and `drop`
-- @tparam function see(row, n) is shown each row
-- @tparam function decide(spool) is called after the last; gives verdict(n, row) -> nil to keep, or
--   the reason to drop it and a text for the report to show beside it
-- @treturn function
function spool.judged(rows, context, see, decide)
  local held, next_row, verdict
  return function()
    if not held then
      held = spool.new(context.scratch)
      for row in rows do
        see(row, held:add(row))
      end
      verdict = decide(held)
      next_row = held:rows()
    end
    while next_row do
      local row, n = next_row()
      if not row then
        held:close()
        next_row = nil
        return nil
      end
      local reason, about = verdict(n, row)
      if not reason then
        return row
      end
      context.drop(row, reason, about)
    end
  end
end

return spool
