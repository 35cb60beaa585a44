--- Files of others to canonical rows, and into a store.
--
--     local store = assert(pl.store.open("data.db"))
--     local done = assert(pl.ingest.file(store, "logs/2024-05-31.jsonl.gz",
--       { fields = { prompt = "request.text", user_id = "uid", time = "at" } }))
--     print(done.rows, done.bad, done.skipped)
--
-- A record gives rows, is bad (counted and kept aside with its line, the reason and its beginning),
-- or is skipped (it is no prompt by nature: a join line of a channel, a pair whose answers are the
-- same). Neither stops the reading nor costs a good row. Every record is accounted for: records =
-- used + each reason, which `file` asserts. Memory does not grow with the file.
--
-- Reading into a store goes in transactions of some 10,000 records that hold the rows and the place
-- in the file both, so that a reader killed at any moment goes on where it was. A file is known
-- again by its content: read once, it adds nothing; grown, it adds what is new; with other
-- settings, it is refused, since its rows are there already.
--
-- What is taken of a file, and how, are the fields of IngestOptions, for `rows` and `file` alike.
--
-- May use: base, store.

local clock = require("perilune.ingest.clock")
local core = require("perilune.core")
local encoding = require("perilune.ingest.encoding")
local fingerprint = require("perilune.ingest.fingerprint")
local checked = require("perilune.base.options")
local records = require("perilune.ingest.records")
local source = require("perilune.ingest.source")

local json, system = core.json, core.system

local ingest = {}

local BATCH <const> = 10000
local MOST_REASONS <const> = 100

--- How a file is read. What each option is when it is left out stands in brackets.
-- @class IngestOptions
-- @field ?string format ("auto") a cut ("jsonl", "json", "csv", "chat_log") or a shape ("hf", "hh",
--   "alpaca", "sharegpt", "self_instruct", "turns", "oasst", "pandalm", "arena", "webgpt",
--   "shp", "chatgpt", "label_studio")
-- @field ?{[string]=string|integer}|function fields (by their usual names) where fields of a row
--   stand, {prompt = "text", user_id = "meta.user"}: a field's name, "a.b" for nested ones, or the
--   number of a column of a CSV without a header; or (record) -> row, or nil, reason, and whether
--   it is skipped
-- @field ?string pattern ("[time] <user> text", or as HexChat writes them) a line of a chat log:
--   the words time, user, organisation and text stand for what is read
-- @field ?{{string,string},...} skip (joins, parts, actions and notices) lines of a chat log that
--   are no messages: {Lua pattern, reason}
-- @field ?string day (in the file's name) day of a chat log, "2024-05-31"
-- @field ?string date_order (none: such a date is left out, and noted) "day_first" or
--   "month_first": how 05/06/2024 is meant
-- @field ?string encoding (UTF-8; UTF-16 is told by its mark) "latin1": Windows-1252
-- @field ?string source (the form's, else "api") of rows that do not say
-- @field ?string labeler (none) of rows that do not say
-- @field ?string organisation (none) of rows that do not say
-- @field ?string answers (as the records tell) whose the answers are: "person", or "model" for the
--   logs of a deployed model, whose answers are no demonstrations
-- @field ?boolean extra (true) keep other small fields of a record
-- @field ?string delimiter (found in the first line) of a CSV
-- @field ?boolean header (true, unless `fields` are numbers) a CSV's first line names its columns
-- @field ?integer max_bytes (16 MB) bytes of a line; a longer one is bad
-- @field ?integer max_json_bytes (256 MB) bytes of a file that is one JSON value
-- @field ?boolean strict (false) a bad record is an error, "file:line: reason", and nothing of the
--   file is stored
-- @field ?integer limit (none) so many rows, then stop; the next call of `ingest.file` goes on
-- @field ?function on_bad (none) of `ingest.rows`: (line, reason, excerpt), told of bad records
-- @field ?function on_skip (none) of `ingest.rows`: (line, reason), told of skipped records
-- @field ?function progress (none) of `ingest.file`: (result), called after each transaction
-- @field ?boolean replaced (false) of `ingest.file`: a file with new content under an old path is a
--   new one
-- @field ?string wanted (all) of `ingest.file`: "demonstrations" or "rankings"; rows of prompts
--   alone are noted

--- What came of reading a file, this time.
-- @class IngestResult
-- @field integer records there were, of which `used` gave rows, `bad` and `skipped` none
-- @field integer used records
-- @field integer rows of the records, of which there are `demonstrations` and `rankings`
-- @field integer demonstrations rows
-- @field integer rankings rows
-- @field integer bad records
-- @field {[string]=integer} bad_reasons records by reason
-- @field integer skipped records
-- @field {[string]=integer} reasons skipped records by reason
-- @field integer partly records that gave rows and are bad in part
-- @field {[string]=integer} notes what was left out of good rows: how often
-- @field integer already rows that were there from this file before
-- @field integer bytes of the file
-- @field number seconds it took
-- @field string says what the file was taken for
-- @field integer source_id of the store
-- @field boolean finished whether the end of the file was reached

-- What a call takes: the options of a source, and its own.
local known =
  checked.any_of { "strict", "limit", "on_bad", "on_skip", "progress", "replaced", "wanted" }
for name in pairs(source.known_options) do
  known[name] = checked.any()
end

--- The rows of a file, without a store.
--
-- Each call gives a row and its line; for a bad record nil, its line and the reason, unless
-- `on_bad` is given; nil alone at the end. With `strict` a bad record raises.
-- @tparam string path of the file
-- @tparam ?IngestOptions opts how it is read
-- @treturn ?function iterator
-- @treturn ?string message
function ingest.rows(path, opts)
  opts = checked.take("ingest.rows", opts, known)
  local from, message = source.open(path, opts)
  if not from then return nil, message end
  return from:each(opts)
end

--- The rows of a training set, as the recipes read it.
-- @tparam string path of the file
-- @tparam ?table opts `on_bad` (none): (line, reason), told of bad records of a file in others'
--   forms, which are left out with a warning; a bad record of our own forms raises; `on_skip`
--   (none): (line, reason), told of records that are no training data; `on_note` (none): (what,
--   count), told at the end of what was left out of good rows; `labels` (false): single answers
--   come with their label, true where they were liked; those without one are left out
-- @treturn ?function iterator of rows and their lines
-- @treturn ?string message
ingest.training = require("perilune.ingest.training")

--- The objects of a file of JSON Lines as they stand, read as strictly as rows.
-- @tparam string path of the file
-- @treturn ?function iterator of objects and their lines; raises with file and line at a bad one
-- @treturn ?string message
function ingest.objects(path)
  local reader, message = records.open(path, "jsonl", {})
  if not reader then return nil, message end
  return function()
    local record, line, reason = reader:next()
    if record == false then
      error(source.bad_line(path, line, reason), 0)
    elseif record == nil then
      reader:close()
    end
    return record, line
  end
end

--- The lines of a text file, gzip or not: UTF-8 without NUL bytes.
-- @tparam string path of the file
-- @treturn ?function iterator of lines and their numbers; raises with file and line at what is no
--   text
-- @treturn ?string message
function ingest.lines(path)
  local reader, message = records.open(path, "lines", {})
  if not reader then return nil, message end
  local ended = false
  return function()
    if ended then return nil end
    local text, line, reason = reader:next()
    if text == false then
      error(source.bad_line(path, line, reason), 0)
    elseif text == nil then
      reader:close()
      ended = true
    end
    return text, line
  end
end

--- Unix seconds of a time as logs write them: a number of seconds or milliseconds, a date with a
-- time or without.
-- @tparam any value text, or a number of Unix seconds
-- @treturn ?number Unix seconds; nil when it is not understood
function ingest.time(value) return (clock.seconds(value)) end

-- ---- which source a file is --------

local function function_name(f)
  local ok, code = pcall(string.dump, f, true)
  return "function " .. (ok and core.files.hash_string(code) or "of C")
end

--- The settings that decide what rows a file gives, as text.
local function settings_text(opts)
  local settings = json.object()
  local names = {}
  for name in pairs(source.known_options) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local value = opts[name]
    if type(value) == "function" then value = function_name(value) end
    settings[name] = value
  end
  settings.format = opts.format or "auto"
  return json.encode(settings)
end

local function shown_setting(value)
  if value == nil then return "not set" end
  return type(value) == "string" and "'" .. value .. "'" or json.encode(value)
end

--- Which settings differ: "format was 'json' and is 'auto'".
local function differences(then_text, now_text)
  local before, now = json.decode(then_text) or {}, json.decode(now_text)
  local names, texts = {}, {}
  for _, list in ipairs { before, now } do
    for name in pairs(list) do
      names[name] = true
    end
  end
  for name in pairs(names) do
    local old, new = shown_setting(before[name]), shown_setting(now[name])
    if old ~= new then texts[#texts + 1] = ("%s was %s and is %s"):format(name, old, new) end
  end
  table.sort(texts)
  return table.concat(texts, ", ")
end

local function other_settings(path, entry, settings)
  local text = "%s: this content is in the store already, read as '%s' with other settings: %s. "
    .. "Its rows would come twice: give the settings of then, leave the file out, or read it into "
    .. "a new store (a store of Perilune 0.1.0 took a log's answers for people's: make a new one)"
  return nil, text:format(path, entry.path, differences(entry.settings, settings))
end

local function base_name(path) return path:match("[^/]*$") end

--- The source in the store that this file is or continues.
-- @treturn ?table entry
-- @treturn ?boolean whether it has grown
-- @treturn ?string message
local function find(store, path, hash, bytes, settings, replaced)
  local same = store:sources { hash = hash }
  for _, entry in ipairs(same) do
    if entry.settings == settings then return entry end
  end
  if same[1] then return nil, nil, select(2, other_settings(path, same[1], settings)) end
  local entries = store:sources()
  for i = #entries, 1, -1 do
    local entry = entries[i]
    local here = entry.path == path
    if
      base_name(entry.path) == base_name(path)
      and (here or entry.bytes > 0)
      and entry.bytes < bytes
      and fingerprint(path, entry.bytes) == entry.hash
    then
      if entry.settings ~= settings then
        return nil, nil, select(2, other_settings(path, entry, settings))
      end
      return entry, true
    elseif here and not replaced then
      local text = "%s: its content is not the one that was ingested from there, nor that with "
        .. "more behind it, and rows of then would come twice: if it is another file under an old "
        .. "name, set replaced = true; if it was edited, ingest it into a new store"
      return nil, nil, text:format(path)
    end
  end
end

--- The byte at an offset of a plain file: what a line that had no end yet goes on with.
local function bytes_at(path, offset, count)
  local file = io.open(path, "rb")
  if not file then return "" end
  file:seek("set", offset)
  local text = file:read(count) or ""
  file:close()
  return text
end

local function is_gzip(path) return bytes_at(path, 0, 2) == "\x1f\x8b" end

--- Where reading goes on. The last line may have been read before its end was written.
local function cursor_of(path, entry, grown, is_utf8)
  local cursor = { offset = entry.offset, line = entry.line }
  if
    grown
    and is_utf8
    and entry.offset > 0
    and not is_gzip(path)
    and bytes_at(path, entry.offset - 1, 1) ~= "\n"
  then
    local next_bytes = bytes_at(path, entry.offset, 2)
    if next_bytes:sub(1, 1) == "\n" then
      cursor.offset = cursor.offset + 1
    elseif next_bytes == "\r\n" then
      cursor.offset = cursor.offset + 2
    else
      cursor.line = cursor.line - 1 -- more of the same line
    end
  end
  return cursor
end

--- What is noted of rows that are prompts alone in a file of people's work.
local lacks =
  { demonstrations = "a prompt without a demonstration", rankings = "a prompt without a ranking" }

local function taken_of(entry)
  local kind, shape = entry.format:match("^(%l+)/(.+)$")
  return { kind = kind, shape = shape, says = entry.format .. ", as before" }
end

-- ---- into the store --------

--- The first bad record, without storing anything.
local function strict_pass(path, opts, cursor, taken)
  local from, message = source.open(path, opts, cursor, taken)
  if not from then return message end
  for line, reason, skipped in from.next, from do
    if reason and not skipped then
      from:close()
      return source.bad_line(path, line, reason)
    end
  end
  from:close()
end

--- Where to go on when the file has grown, after a last record that was bad: before it, when it may
-- be half a line that is being written or the place where a gzip file was cut.
local function before_last(from, path, bytes, is_utf8)
  local offset, line = from:cursor()
  if not is_utf8 then return offset, line end
  local text = from.records.text
  if is_gzip(path) then
    return offset, text and line or line - 1
  elseif text and offset >= #text and bytes_at(path, bytes - 1, 1) ~= "\n" then
    return offset - #text, line - 1
  end
  return offset, line
end

local Batch = {}
Batch.__index = Batch

--- Counts why a record gave nothing (`reasons`, of `bad_reasons` those that were bad).
function Batch:count_reason(reason, reasons)
  if not reasons[reason] and self.kinds == MOST_REASONS then
    reason = "other reasons"
  elseif not reasons[reason] then
    self.kinds = self.kinds + 1
  end
  reasons[reason] = (reasons[reason] or 0) + 1
end

--- Every record gave rows or has a reason; those that have both are `partly`.
local function check_account(path, result)
  local reasons = 0
  for _, list in ipairs { result.reasons, result.bad_reasons } do
    for _, count in pairs(list) do
      reasons = reasons + count
    end
  end
  if result.records ~= result.used + reasons - result.partly then
    error(
      ("%s: %d records, but %d gave rows and %d reasons are counted (%d of both)"):format(
        path,
        result.records,
        result.used,
        reasons,
        result.partly
      ),
      0
    )
  end
end

--- Reads some records into the store; true when the file is at its end.
function Batch:run()
  local store, from, result = self.store, self.from, self.result
  local origin = { source_id = self.id }
  local rows = from.rows
  local read, ended = 0, false
  local offset, place
  while read < BATCH and result.rows < self.limit do
    local line, reason, skipped = from:next()
    if not line then
      ended = true
      if self.was_bad then
        offset, place = before_last(from, self.path, result.bytes, self.is_utf8)
      end
      break
    end
    read = read + 1
    origin.line = line
    for i = 1, from.count do
      local row = rows[i]
      store:add(row, origin)
      result.demonstrations = result.demonstrations + (row.completion and 1 or 0)
      result.rankings = result.rankings + (row.rankings and #row.rankings or row.ranks and 1 or 0)
      if self.lacks and not (row.completion or row.rankings or row.ranks) then
        result.notes[self.lacks] = (result.notes[self.lacks] or 0) + 1
      end
    end
    result.rows = result.rows + from.count
    result.records = result.records + 1
    if from.count > 0 then
      result.used = result.used + 1
      result.partly = result.partly + (reason and 1 or 0)
    end
    self.was_bad = reason ~= nil and not skipped
    if self.was_bad then
      store:bad_line(self.id, line, reason, from:excerpt())
      result.bad = result.bad + 1
      self:count_reason(reason, result.bad_reasons)
    elseif reason then
      result.skipped = result.skipped + 1
      self:count_reason(reason, result.reasons)
    end
  end
  check_account(self.path, result)
  if not offset then
    offset, place = from:cursor()
  end
  store:update_source(self.id, {
    hash = self.hash,
    bytes = result.bytes,
    offset = offset,
    line = place,
    rows = self.rows_before + result.rows,
    bad = self.bad_before + result.bad,
    finished = ended,
  })
  return ended
end

--- Reads a file into a store.
-- @tparam Store store of pl.store
-- @tparam string path of the file
-- @tparam ?IngestOptions opts how it is read
-- @treturn ?IngestResult nil when it cannot be read
-- @treturn ?string message
function ingest.file(store, path, opts)
  opts = checked.take("ingest.file", opts, known)
  local begun = system.monotonic()
  local hash, bytes = fingerprint(path)
  if not hash then return nil, bytes end
  local settings = settings_text(opts)
  local entry, grown, message = find(store, path, hash, bytes, settings, opts.replaced)
  if message then return nil, message end
  local result = {
    records = 0,
    used = 0,
    partly = 0,
    rows = 0,
    demonstrations = 0,
    rankings = 0,
    bad = 0,
    skipped = 0,
    reasons = {},
    bad_reasons = {},
    notes = {},
    bytes = bytes,
    already = entry and entry.rows or 0,
    source_id = entry and entry.id,
    finished = true,
  }
  if entry and entry.finished and not grown then
    result.says = "in the store already"
    result.seconds = system.monotonic() - begun
    return result
  end

  local is_utf8 = encoding.of(path, opts.encoding) == "utf-8"
  local cursor = entry and cursor_of(path, entry, grown, is_utf8)
  local taken = entry and taken_of(entry)
  message = opts.strict and strict_pass(path, opts, cursor, taken)
  if message then return nil, message end
  local from
  from, message = source.open(path, opts, cursor, taken)
  if not from then return nil, message end
  result.says, result.notes = from.taken.says, from.notes
  local batch = setmetatable({
    store = store,
    from = from,
    path = path,
    is_utf8 = is_utf8,
    hash = hash,
    result = result,
    kinds = 0,
    lacks = lacks[opts.wanted],
    limit = opts.limit or math.maxinteger,
    id = entry and entry.id,
    rows_before = result.already,
    bad_before = entry and entry.bad or 0,
  }, Batch)

  repeat
    local ended = store:transaction(function()
      if not batch.id then
        batch.id = store:new_source {
          path = path,
          hash = hash,
          bytes = bytes,
          settings = settings,
          format = ("%s/%s"):format(from.taken.kind, from.taken.shape),
        }
      elseif grown then
        batch.bad_before = batch.bad_before - store:forget_bad_lines(batch.id, cursor.line)
        grown = false
      end
      return batch:run()
    end)
    result.finished = ended
    result.seconds = system.monotonic() - begun
    if opts.progress then opts.progress(result) end
  until ended or result.rows >= batch.limit
  from:close()
  result.source_id = batch.id
  return result
end

return ingest
