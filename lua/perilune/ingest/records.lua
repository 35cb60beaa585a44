--- Records out of files: the four ways a file is cut up, behind one call.
--
--   lines   text lines, UTF-8 and without NUL (chat logs)
--   jsonl   a JSON object a line; blank lines are nothing
--   json    one JSON value: a list of objects, or an object that holds one such list
--   csv     records with a header, or with numbered columns
--
-- `records.open(path, kind, opts, cursor)` gives a reader; `reader:next()` gives
--   record, line         a string or a table
--   false, line, reason  a record that cannot be read
--   nil                  the end
-- `reader.text` is what stood there (nil when it was too long to hold), and `reader:cursor()` gives
-- byte and line after the last record. For `json` the line is the place
-- in the list (a whole file is in memory, at most `max_json_bytes`), and the byte counts nothing.
--
-- JSON is read strictly: bad UTF-8, a key twice, NaN, half surrogates and NUL bytes are bad
-- records. An escaped NUL (\u0000) is a character like others: models of bytes write some.

local core = require("perilune.core")
local csv = require("perilune.ingest.csv")
local encoding = require("perilune.ingest.encoding")
local row_fields = require("perilune.ingest.row_fields")

local json = core.json

local records = {}

local STRICT <const> = { strict = true }
local ORDERED <const> = { strict = true, ordered = true }
local JSON_BYTES <const> = 256 << 20

--- A file as records.
-- @class RecordReader
local Reader = {}
Reader.__index = Reader

function Reader:cursor() return self.lines:offset(), self.line end

function Reader:close()
  if self.lines then self.lines:close() end
end

local function object_class(class)
  class.__index = class
  return setmetatable(class, Reader)
end

--- Why a text line is not text, or nil.
local function not_text(text)
  if text:find("\0", 1, true) then return "a NUL byte" end
  local ok, at = utf8.len(text)
  if not ok then return ("not UTF-8 at byte %d"):format(at) end
end
records.not_text = not_text

--- What to do about lines that cannot be read for this reason; "" when there is nothing to say.
-- @tparam string reason
-- @treturn string
function records.advice(reason)
  if reason:find("^a NUL byte") then return "; is it a text file?" end
  local is_encoded = reason:find("not UTF-8", 1, true) or reason:find("invalid utf-8", 1, true)
  if not is_encoded then return "" end
  return "; a file in another encoding is converted first, as in iconv -f LATIN1 -t UTF-8"
end

-- ---- lines --------

local Lines = object_class {}

function Lines:next()
  local text, line, problem = self.lines:next()
  if text == nil then return nil end
  self.line, self.text = line, text or nil
  if not text then return false, line, problem end
  problem = not_text(text)
  if problem then return false, line, problem end
  return text, line
end

-- ---- JSON Lines --------

local Jsonl = object_class {}

--- The message of the decoder as a reason: the line is known already.
local function json_reason(message)
  return (message:gsub("^json: ", ""):gsub(" at line 1, ", " at "))
end

local is_array = getmetatable(json.array())

local function as_record(value, message)
  if value == nil then
    return nil, json_reason(message)
  elseif type(value) ~= "table" then
    return nil, ("a %s, not an object"):format(value == json.null and "null" or type(value))
  elseif getmetatable(value) == is_array then
    return nil, "a list, not an object"
  end
  return value
end

--- A JSON text in which integers beyond 64 bits stand as texts: as numbers they would be rounded,
-- and two ids could become one.
local function with_long_numbers_as_text(text)
  if not text:find("%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d") then return text end
  local pieces, from, at = {}, 1, 1
  while true do
    local place = text:find('["%d]', at)
    if not place then
      break
    elseif text:byte(place) == 34 then -- over a string
      repeat
        place = text:find('["\\]', place + 1)
        local escape = place and text:byte(place) == 92
        place = escape and place + 1 or place
      until not escape
      at = (place or #text) + 1
    else
      local stop = text:match("^%d+()", place)
      local is_integer = stop - place > 18
        and not text:find("^[.eE]", stop)
        and not text:find("^[.eE+]", place - 1)
      if is_integer and math.type(tonumber(text:sub(place, stop - 1))) == "float" then
        local minus = text:byte(place - 1) == 45 and 1 or 0
        pieces[#pieces + 1] = text:sub(from, place - minus - 1)
          .. '"'
          .. text:sub(place - minus, stop - 1)
          .. '"'
        from = stop
      end
      at = stop
    end
  end
  pieces[#pieces + 1] = text:sub(from)
  return table.concat(pieces)
end

function Jsonl:next()
  while true do
    local text, line, problem = self.lines:next()
    if text == nil then
      if line > self.line then -- empty lines stood behind the last record
        self.line, self.text = line, ""
      end
      return nil
    end
    self.line, self.text = line, text or nil
    if not text then
      return false, line, problem
    elseif text:find("\0", 1, true) then
      return false, line, ("NUL byte in the text at column %d"):format(text:find("\0", 1, true))
    elseif text:find("%S") then
      -- A template prints tools as they stand: there the order of keys counts.
      local opts = text:find('"tool', 1, true) and ORDERED or STRICT
      local record, reason = as_record(json.decode(with_long_numbers_as_text(text), opts))
      if not record then return false, line, reason end
      return record, line
    end
  end
end

-- ---- one JSON value --------

local Json = object_class {}

function Json:next()
  local place = self.line + 1
  local value = self.list[place]
  if value == nil then return nil end
  self.line = place
  local record, reason = as_record(value)
  self.text = json.encode(value)
  if not record then return false, place, reason end
  return record, place
end

function Json:cursor() return 0, self.line end

--- The one list of objects that a value is or holds.
local function list_in(value)
  if type(value) ~= "table" then
    return nil, "the file holds no list of objects"
  elseif getmetatable(value) == is_array then
    return value
  end
  local found, name
  for key, inner in pairs(value) do
    if type(inner) == "table" and getmetatable(inner) == is_array and type(inner[1]) == "table" then
      if found then
        return nil,
          (
            "the file's object holds several lists ('%s', '%s'): write the one you want "
            .. "as JSON Lines"
          ):format(name < key and name or key, name < key and key or name)
      end
      found, name = inner, key
    end
  end
  return found or { value }
end

--- The text of a whole file, unpacked.
local function whole(path, most, opts)
  local reader <close>, message = encoding.open(path, {
    max_bytes = most,
    encoding = opts.encoding,
  })
  if not reader then return nil, message end
  local pieces, bytes = {}, 0
  for text, _, problem in reader.next, reader do
    if not text then return nil, problem end
    bytes = bytes + #text + 1
    if bytes > most then
      return nil,
        (
          "the file holds more than %d bytes of JSON: write it as JSON Lines, or set "
          .. "max_json_bytes"
        ):format(most)
    end
    pieces[#pieces + 1] = text
  end
  return table.concat(pieces, "\n")
end

local function open_json(path, opts, cursor)
  local text, message = whole(path, opts.max_json_bytes or JSON_BYTES, opts)
  if not text then return nil, message end
  local value, list
  value, message = json.decode(with_long_numbers_as_text(text), STRICT)
  if value == nil then return nil, (message:gsub("^json: ", "")) end
  list, message = list_in(value)
  if not list then return nil, message end
  return setmetatable({ list = list, line = cursor.line }, Json)
end

-- ---- CSV --------

local Csv = object_class {}

function Csv:next()
  local fields, line, problem, text = self.csv:next()
  if fields == nil then return nil end
  self.text = text
  if not fields then return false, line, problem end
  for i = 1, #fields do
    problem = not_text(fields[i])
    if problem then return false, line, ("field %d: %s"):format(i, problem) end
  end
  return self:named(fields), line
end

-- What databases write for no value: an answer of that text would be learnt.
local absent = { [""] = true, ["NULL"] = true, ["\\N"] = true }

--- Fields under their names (an empty one is absent), or numbered.
function Csv:named(fields)
  local names = self.names
  if not names then return fields end
  local record = {}
  for i = 1, #names do
    if not absent[fields[i]] then record[names[i]] = fields[i] end
  end
  return record
end

function Csv:cursor() return self.csv:cursor() end

--- Delimiter, width and names of a CSV file, from its first record.
local function csv_head(path, opts)
  local settings = { max_bytes = opts.max_bytes, encoding = opts.encoding }
  local reader, message = encoding.open(path, settings)
  if not reader then return nil, message end
  local first = reader:next()
  local said = first and csv.said_delimiter(first)
  if said then first = reader:next() end
  reader:close()
  if not first then
    return nil, first == nil and "the file is empty" or "the first line is too long"
  end
  local delimiter = opts.delimiter or said or csv.delimiter(first)
  reader = encoding.open(path, settings)
  if said then reader:next() end
  local names, _, problem = csv
    .reader(reader, {
      delimiter = delimiter,
      max_bytes = opts.max_bytes,
    })
    :next()
  reader:close()
  if not names then return nil, "the first record: " .. problem end
  local seen = {}
  for i, name in ipairs(names) do
    names[i] = row_fields.trim(name)
    if opts.header ~= false and seen[names[i]] then
      return nil,
        ("the header names '%s' twice (number the columns instead: header = false)"):format(
          names[i]
        )
    end
    seen[names[i]] = true
  end
  return {
    delimiter = delimiter,
    says = said ~= nil,
    width = #names,
    names = opts.header ~= false and names or nil,
  }
end
records.csv_head = csv_head

local function open_csv(reader, path, opts, cursor)
  local head, message = csv_head(path, opts)
  if not head then return nil, message end
  if head.says and cursor.offset == 0 then reader:next() end
  local source = csv.reader(reader, {
    delimiter = head.delimiter,
    width = head.width,
    max_bytes = opts.max_bytes,
  })
  source.line = cursor.line
  if head.names and cursor.offset == 0 then source:next() end
  return setmetatable({ lines = reader, csv = source, names = head.names }, Csv)
end

-- ---- opening --------

--- Opens a file.
-- @tparam string path
-- @tparam string kind lines, jsonl, json or csv
-- @tparam table opts max_bytes (of a line), max_json_bytes, delimiter, header, encoding
-- @tparam ?table cursor {offset =, line =} where to go on
-- @treturn ?RecordReader
-- @treturn ?string message
function records.open(path, kind, opts, cursor)
  cursor = cursor or { offset = 0, line = 0 }
  if kind == "json" then return open_json(path, opts, cursor) end
  local reader, message = encoding.open(path, {
    encoding = opts.encoding,
    max_bytes = opts.max_bytes,
    offset = cursor.offset,
    line = cursor.line,
    skip_empty = kind == "jsonl",
  })
  if not reader then
    return nil, message
  elseif kind == "csv" then
    return open_csv(reader, path, opts, cursor)
  end
  return setmetatable({ lines = reader, line = cursor.line }, kind == "lines" and Lines or Jsonl)
end

return records
