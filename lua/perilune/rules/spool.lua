--- Rows set down on disk, to be read again in order.
--
-- A spool takes rows once and gives them back in order, equal in every value: a record is packed
-- binary, since JSON cannot hold text that is no UTF-8, and costs half as much again. The file has
-- no name after it was opened: nothing is left behind, even by a kill. `marks` is half a byte a
-- row (ten million rows: ten megabytes in Lua's integers), which is all that grows.
--
-- Rows are plain: strings, numbers, booleans, JSON's null and tables of those; keys are strings or
-- integers.
-- @module perilune.rules.spool

local core = require("perilune.core")

local spool = {}

local Spool = {}
Spool.__index = Spool
Spool.__name = "spool"

local ARRAY <const> = getmetatable(core.json.array({}))
local NULL <const> = core.json.null
local DEPTH <const> = 100
local pack, unpack = string.pack, string.unpack

-- A record begins with its shape: the fields' keys and types in the order `next` gave them, and so
-- the format of one string.pack. Shapes are kept in a trie and numbered; a table inside is a
-- record in a string. What has more than WIDE fields, or a shape beyond the first SHAPES, says its
-- own keys and kinds after the number 0.
local SHAPES <const>, WIDE <const> = 4096, 64
local shapes, root = {}, {}

local format_of = { string = "s4", integer = "j", float = "n", yes = "", no = "", null = "",
  table = "s4", list = "s4" }

local function kind_of(value, key)
  local kind = type(value)
  if kind == "string" then
    return kind
  elseif kind == "number" then
    return math.type(value)
  elseif kind == "boolean" then
    return value and "yes" or "no"
  elseif kind == "table" then
    return getmetatable(value) == ARRAY and "list" or "table"
  elseif value == NULL then
    return "null"
  end
  error(("a row's field '%s' is a %s; rows hold text, numbers, booleans and tables")
    :format(tostring(key), kind), 0)
end

local function check_key(key)
  if type(key) ~= "string" and math.type(key) ~= "integer" then
    error(("a row has a %s as a key; keys are strings or integers"):format(type(key)), 0)
  end
end

local function shape_from(keys, kinds)
  local formats = {}
  for i, kind in ipairs(kinds) do
    formats[i] = format_of[kind]
  end
  return { keys = keys, kinds = kinds, count = #keys, format = "<I2" .. table.concat(formats) }
end

local write_record

local function nested(value, kind, depth)
  if kind == "table" or kind == "list" then
    if depth == DEPTH then
      error(("a row nests tables more than %d deep"):format(DEPTH), 0)
    end
    return write_record(value, depth + 1)
  end
  return value
end

-- One that is not in the trie: the number 0, its keys and kinds, its values one by one.
local function write_loose(fields, depth)
  local out, n = { "\0\0" }, 1
  for key, value in next, fields do
    local kind = kind_of(value, key)
    n = n + 1
    out[n] = pack("<s1", kind) .. (type(key) == "string" and pack("<s1s4", "s4", key)
      or pack("<s1j", "j", key)) .. (format_of[kind] == "" and ""
      or pack("<" .. format_of[kind], nested(value, kind, depth)))
  end
  return table.concat(out)
end

local function new_shape(fields, node)
  local keys, kinds = {}, {}
  for key, value in next, fields do
    keys[#keys + 1], kinds[#kinds + 1] = key, kind_of(value, key)
  end
  local shape = shape_from(keys, kinds)
  shapes[#shapes + 1] = shape
  shape.number = #shapes
  node[SHAPES] = shape -- no key of a field: those lie one table deeper
  return shape
end

function write_record(fields, depth)
  local node, values, n, steps = root, {}, 0, 0
  for key, value in next, fields do
    local kind = type(value)
    if kind ~= "string" then
      kind = kind_of(value, key)
    end
    local by_kind = node[kind]
    if not by_kind then
      by_kind = {}
      node[kind] = by_kind
    end
    node = by_kind[key]
    if not node then
      check_key(key)
      if #shapes >= SHAPES or steps == WIDE then
        return write_loose(fields, depth)
      end
      node = {}
      by_kind[key] = node
    end
    steps = steps + 1
    if kind == "table" or kind == "list" then
      value = nested(value, kind, depth)
    end
    if format_of[kind] ~= "" then
      n = n + 1
      values[n] = value
    end
  end
  local shape = node[SHAPES]
  if not shape then
    if #shapes >= SHAPES then
      return write_loose(fields, depth)
    end
    shape = new_shape(fields, node)
  end
  return pack(shape.format, shape.number, table.unpack(values, 1, n))
end

local read_record

local function value_from(kind, packed)
  if kind == "yes" or kind == "no" then
    return kind == "yes"
  elseif kind == "null" then
    return NULL
  elseif kind == "table" then
    return read_record(packed)
  elseif kind == "list" then
    return core.json.array(read_record(packed))
  end
  return packed
end

local function read_loose(record)
  local fields, at = {}, 3
  while at <= #record do
    local kind, key_format, key, packed
    kind, key_format, at = unpack("<s1s1", record, at)
    key, at = unpack("<" .. key_format, record, at)
    if format_of[kind] ~= "" then
      packed, at = unpack("<" .. format_of[kind], record, at)
    end
    fields[key] = value_from(kind, packed)
  end
  return fields
end

function read_record(record)
  local number = unpack("<I2", record)
  if number == 0 then
    return read_loose(record)
  end
  local shape = shapes[number]
  local keys, kinds = shape.keys, shape.kinds
  local values = { unpack(shape.format, record) }
  local fields, at = {}, 1
  for i = 1, shape.count do
    local kind = kinds[i]
    if kind == "string" or kind == "integer" or kind == "float" then
      at = at + 1
      fields[keys[i]] = values[at]
    elseif format_of[kind] == "" then
      fields[keys[i]] = value_from(kind)
    else
      at = at + 1
      fields[keys[i]] = value_from(kind, values[at])
    end
  end
  return fields
end

--- A row as bytes, which this process can read again (shapes are its own).
-- @tparam table row
-- @treturn string
function spool.pack(row)
  return write_record(row, 1)
end

--- The row of such bytes.
-- @string record
-- @treturn table
function spool.unpack(record)
  return read_record(record)
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
  check(self.file:write(pack("<s4", write_record(row, 1))))
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
      return read_record(record), number
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

return spool
