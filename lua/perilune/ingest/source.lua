--- One file as a stream of canonical rows: the reader of its records, the shape or mapping that
-- makes rows of them, and the check that every row passes.
--
-- `source:next()` gives the line of the next record, or nil at the end; its rows are then
-- `source.rows[1 .. source.count]`. With the line may come a reason, and true when the record holds
-- no row by nature (skipped) rather than being bad. A record can give good rows and a reason both.
-- `source.notes` counts what was left out of good rows, by what it was.
-- `source:each(opts)` is an iterator over them all. Here no store is known.

local core = require("perilune.core")
local chat_log = require("perilune.ingest.chat_log")
local detect = require("perilune.ingest.detect")
local mapping = require("perilune.ingest.mapping")
local own_rows = require("perilune.ingest.own_rows")
local records = require("perilune.ingest.records")
local row_fields = require("perilune.ingest.row_fields")
local forms = require("perilune.ingest.forms")
local turns = require("perilune.ingest.turns")
local check_row = require("perilune.store.check").row

local source = {}

local EXCERPT_BYTES <const> = 160
local LINE_BYTES <const> = 16 << 20

local known_options = {
  format = true,
  fields = true,
  pattern = true,
  skip = true,
  source = true,
  labeler = true,
  organisation = true,
  answers = true,
  day = true,
  date_order = true,
  encoding = true,
  extra = true,
  delimiter = true,
  header = true,
  max_bytes = true,
  max_json_bytes = true,
}
source.known_options = known_options

local choices = {
  source = { list = "'api' or 'labeler'", api = true, labeler = true },
  answers = { list = "'person' or 'model'", person = true, model = true },
  date_order = { list = "'day_first' or 'month_first'", day_first = true, month_first = true },
  encoding = { list = "'auto' or 'latin1'", auto = true, latin1 = true },
}

--- A file that rows are read from.
-- @class Source
local Source = {}
Source.__index = Source

--- A beginning of a text that is valid UTF-8 without control characters.
function source.excerpt(text)
  if not text then return "" end
  local stop = math.min(#text, EXCERPT_BYTES)
  while
    stop > 0
    and stop > EXCERPT_BYTES - 4
    and stop < #text
    and (text:byte(stop + 1) & 0xc0) == 0x80
  do
    stop = stop - 1
  end
  local cut = text:sub(1, stop):gsub("%c", " ")
  return utf8.len(cut) and cut or core.json.decode(core.json.encode(cut))
end

local function numbered(fields)
  if type(fields) == "table" then
    for _, place in pairs(fields) do
      if math.type(place) == "integer" then return true end
    end
  end
  return false
end

--- Settings with their defaults.
local function settle(opts)
  local settled = {}
  for name in pairs(known_options) do
    settled[name] = opts[name]
  end
  settled.labels = opts.labels -- of training.lua alone
  settled.extra = opts.extra ~= false
  settled.max_bytes = opts.max_bytes or LINE_BYTES
  if opts.header == nil and numbered(opts.fields) then settled.header = false end
  return settled
end

local function converter(taken, opts)
  if taken.shape == "training" then
    return function(record, out) return own_rows.read(record, out, opts) end
  elseif taken.shape == "chat_log" then
    return chat_log.reader(opts)
  elseif taken.shape == "mapping" then
    return mapping.compile(opts.fields, opts.extra)
  end
  local shape = forms[taken.shape]
  return function(record, out) return shape(record, out, opts) end
end

--- Opens a file.
-- @tparam string path
-- @tparam ?table opts as for ingest.rows
-- @tparam ?table cursor {offset =, line =}
-- @tparam ?table taken what `detect` said before, for going on with the same reading; the shape
--   "training" is a row of a set made for training, see own_rows.lua
-- @treturn ?Source with `taken`
-- @treturn ?string message
function source.open(path, opts, cursor, taken)
  opts = settle(opts or {})
  local message
  if not taken then
    taken, message = detect(path, opts)
    if not taken then return nil, message end
  end
  local self = {
    path = path,
    taken = taken,
    rows = {},
    count = 0,
    notes = {},
    labeler = opts.labeler,
    organisation = opts.organisation,
    date_order = opts.date_order,
    is_chat = taken.shape == "chat_log",
    by_function = type(opts.fields) == "function",
    default_source = opts.source or forms.sources[taken.shape] or "api",
  }
  for name, known in pairs(choices) do
    local value = opts[name]
    if value ~= nil and not known[value] then
      local text = "%s must be %s, got '%s'"
      return nil, text:format(name, known.list, tostring(value))
    end
  end
  self.convert, message = converter(taken, opts)
  if not self.convert then return nil, message end
  self.day, message = chat_log.day(path, opts.day)
  if message then return nil, message end
  self.records, message = records.open(path, taken.kind, opts, cursor)
  if not self.records then
    return nil, message:find(path, 1, true) and message or ("%s: %s"):format(path, message)
  end
  return setmetatable(self, Source)
end

-- Counts what was left out of a good row.
local function count_note(self, note, n)
  if note then self.notes[note] = (self.notes[note] or 0) + n end
end

-- Counts the turns that were left out of a row, which does not keep that number.
local function count_silent_turns(self, row)
  if row.silent_turns then count_note(self, turns.SILENT, row.silent_turns) end
  row.silent_turns = nil
end

--- Defaults into the rows, the check over them; good ones move up.
function Source:check(count, reason, skipped)
  local rows, good = self.rows, 0
  for i = 1, count do
    local row = rows[i]
    row.source = row.source or self.default_source
    row.labeler = row.labeler or self.labeler
    row.organisation = row.organisation or self.organisation
    local wrong, passed_over, note = row_fields.check(row, self.day, self.date_order, self.is_chat)
    if not wrong and (self.by_function or row.rankings) then
      wrong = select(2, check_row(row)) -- a store's own look at what it did not make
    end
    if wrong then
      reason, skipped = wrong, passed_over
    else
      good = good + 1
      rows[good] = row
      count_note(self, note, 1)
      count_silent_turns(self, row)
    end
  end
  for i = good + 1, count do
    rows[i] = nil
  end
  self.count = good
  return reason, skipped
end

--- The next record.
-- @treturn ?integer line
-- @treturn ?string reason
-- @treturn ?boolean skipped
function Source:next()
  local record, line, reason = self.records:next()
  local rows = self.rows
  for i = 1, self.count do
    rows[i] = nil
  end
  self.count = 0
  if record == nil then
    return nil
  elseif not record then
    return line, reason, false
  end
  local count, skipped
  count, reason, skipped = self.convert(record, rows)
  if self.taken.shape == "training" then
    self.count = count
    for i = 1, count do
      count_silent_turns(self, rows[i])
    end
  else
    reason, skipped = self:check(count, reason, skipped)
  end
  return line, reason, skipped
end

--- A record that is bad, as a message.
function source.bad_line(path, line, reason)
  return ("%s:%d: %s%s"):format(path, line, reason, records.advice(reason))
end

--- An iterator over the rows: see ingest.rows.
-- @tparam table opts strict, limit, on_bad, on_skip
-- @treturn function
function Source:each(opts)
  local limit = opts.limit or math.maxinteger
  local given, place, line, problem = 0, 0, nil, nil
  return function()
    while given < limit do
      place = place + 1
      if place <= self.count then
        given = given + 1
        return self.rows[place], line
      elseif problem then
        local reason = problem
        problem = nil
        return nil, line, reason
      end
      place = 0
      local reason, skipped
      line, reason, skipped = self:next()
      if not line then
        break
      elseif skipped and opts.on_skip then
        opts.on_skip(line, reason)
      elseif reason and not skipped then
        if opts.strict then
          error(source.bad_line(self.path, line, reason), 0)
        elseif opts.on_bad then
          opts.on_bad(line, reason, self:excerpt())
        else
          problem = reason
        end
      end
    end
    self:close()
    limit = 0
    return nil
  end
end

--- What stood where the last record was, shortened.
function Source:excerpt() return source.excerpt(self.records.text) end

--- Byte and line after the last record.
function Source:cursor() return self.records:cursor() end

function Source:close() self.records:close() end

return source
