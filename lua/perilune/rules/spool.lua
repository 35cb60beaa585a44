--- Rows set down on disk, to be read again in order.
--
-- A spool takes rows once and gives them back in order, equal in every value: a record is packed
-- binary, since JSON cannot hold text that is no UTF-8. The file has no name after it was opened:
-- nothing is left behind, even by a kill. `marks` is half a byte a row (ten million rows: ten
-- megabytes in Lua's integers), which is all that grows.
--
-- Rows are plain: strings, numbers, booleans, JSON's null and tables of those; keys are strings or
-- integers.

local core = require("perilune.core")
local files = require("perilune.base.files")

local spool = {}

--- Rows, or bytes, on disk.
-- @class Spool
-- @field integer count how many there are
local Spool = {}
Spool.__index = Spool
Spool.__name = "spool"

local ARRAY <const> = getmetatable(core.json.array {})
local NULL <const> = core.json.null
local DEPTH <const> = 100
local pack, unpack = string.pack, string.unpack

-- A record is its fields in the order `next` gave them, each as string.pack has it: a number that
-- says what key and value are, the key, the value. A table inside is a record in a string.
local KEYS <const> = { string = "s4", integer = "j" }
local VALUES <const> = {
  string = "s4",
  integer = "j",
  float = "n",
  [true] = "",
  [false] = "",
  null = "",
  table = "s4",
  list = "s4",
}
local layouts, by_key = {}, { string = {}, integer = {} }
for key_type, key_format in pairs(KEYS) do
  for kind, value_format in pairs(VALUES) do
    local format = "<B" .. key_format .. value_format
    local layout = { kind = kind, number = #layouts + 1, format = format }
    layouts[layout.number], by_key[key_type][kind] = layout, layout
  end
end

local function kind_of(value, key)
  local kind = type(value)
  if kind == "string" then
    return kind
  elseif kind == "number" then
    return math.type(value)
  elseif kind == "boolean" then
    return value
  elseif kind == "table" then
    return getmetatable(value) == ARRAY and "list" or "table"
  elseif value == NULL then
    return "null"
  end
  error(
    ("a row's field '%s' is a %s; rows hold text, numbers, booleans and tables"):format(
      tostring(key),
      kind
    ),
    0
  )
end

local function write_record(fields, depth)
  local out, n = {}, 0
  for key, value in next, fields do
    local kinds_of_key = by_key[type(key) == "string" and "string" or math.type(key)]
    if not kinds_of_key then
      error(("a row has a %s as a key; keys are strings or integers"):format(type(key)), 0)
    end
    local kind = kind_of(value, key)
    if kind == "table" or kind == "list" then
      if depth == DEPTH then error(("a row nests tables more than %d deep"):format(DEPTH), 0) end
      value = write_record(value, depth + 1)
    end
    local layout = kinds_of_key[kind]
    n = n + 1
    out[n] = pack(layout.format, layout.number, key, value)
  end
  return table.concat(out)
end

local function read_record(record)
  local fields, at = {}, 1
  while at <= #record do
    local layout = layouts[record:byte(at)]
    local kind, _, key, value, after = layout.kind, unpack(layout.format, record, at)
    if kind == "string" or kind == "integer" or kind == "float" then
      at = after
    elseif kind == "table" then
      value, at = read_record(value), after
    elseif kind == "list" then
      value, at = core.json.array(read_record(value)), after
    else -- the kind is the value: none was packed, and `value` is the place after
      value, at = kind, value
      if kind == "null" then value = NULL end
    end
    fields[key] = value
  end
  return fields
end

--- A row as bytes, which this process can read again. Raises for a value that is not plain.
-- @tparam {[any]=any} row plain values
-- @treturn string
function spool.pack(row) return write_record(row, 1) end

--- The row of such bytes.
-- @tparam string record of `spool.pack`
-- @treturn {[any]=any} equal in every value
function spool.unpack(record) return (read_record(record)) end

local opened = 0

-- A file for writing and reading that vanishes with its handle.
local function nameless(folder)
  if not folder then return assert(io.tmpfile()) end
  opened = opened + 1
  local path = ("%s/spool-%d-%d"):format(folder, core.system.pid(), opened)
  local file, message = io.open(path, "w+b")
  if not file then
    error(("rows cannot be set aside in the scratch folder: %s"):format(message), 0)
  end
  assert(files.remove(path))
  file:setvbuf("full", 1 << 18)
  return file
end

--- An empty spool. Raises when no file can be made there.
-- @tparam ?string folder where its file lies; the system's temporary folder when absent
-- @treturn Spool
function spool.new(folder) return setmetatable({ file = nameless(folder), count = 0 }, Spool) end

local function check(ok, message)
  if not ok then
    error(
      ("the scratch file cannot be used: %s; free some space or set another `scratch`"):format(
        tostring(message)
      ),
      0
    )
  end
  return ok
end

--- Takes a row. Raises when the disk takes no more.
-- @tparam {[any]=any} row plain values
-- @treturn integer its number, from 1
function Spool:add(row)
  check(self.file:write(pack("<s4", write_record(row, 1))))
  self.count = self.count + 1
  return self.count
end

--- Takes bytes as a record; a spool holds rows or bytes, not both. Raises when the disk takes no
-- more.
-- @tparam string bytes of one record
-- @treturn integer its number, from 1
function Spool:add_bytes(bytes)
  check(self.file:write(pack("<s4", bytes)))
  self.count = self.count + 1
  return self.count
end

--- The records from the first. Raises when the file cannot be read.
-- @treturn function gives bytes and their number, nil at the end
function Spool:records()
  local file, number = self.file, 0
  check(file:flush())
  check(file:seek("set", 0))
  return function()
    if number == self.count then return nil end
    number = number + 1
    local head = check(file:read(4), "it ends early")
    local length = unpack("<I4", head)
    return length == 0 and "" or check(file:read(length), "it ends early"), number
  end
end

--- One record, where all are of one size. Raises when the file cannot be read.
-- @tparam integer index its number, from 1
-- @tparam integer size bytes of a record
-- @treturn string
function Spool:record_at(index, size)
  check(self.file:seek("set", (index - 1) * (size + 4) + 4))
  return check(self.file:read(size), "it ends early")
end

--- The rows from the first.
-- @treturn function gives a row and its number, nil at the end
function Spool:rows()
  local records = self:records()
  return function()
    local record, number = records()
    if record then return read_record(record), number end
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
-- @treturn function (n, mark) sets
-- @treturn function (n) gets
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

return spool
