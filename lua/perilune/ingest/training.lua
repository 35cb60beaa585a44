--- Training sets: the rows of a file as the recipes read it.
--
-- The rules are those of every other door (see "What a row must be" in docs/data.md): JSON is read
-- strictly, and what a record says is decided in exchange.lua. A file of JSON Lines whose first
-- record that can be read is in a form of perilune.data (prompt, messages, prompt_tokens or text)
-- is a set that was made for training: its rows keep every field, since a reward function may look
-- at any of them, and a bad record is an error with file and line.
--
-- Any other file is somebody else's: its rows are as ingest.rows gives them, those that cannot be
-- read are named and left out, and of rankings by several people each is a row of its own. What was
-- passed over is said once, with counts.

local core = require("perilune.core")
local encoding = require("perilune.ingest.encoding")
local own_rows = require("perilune.ingest.own_rows")
local source = require("perilune.ingest.source")
local turns = require("perilune.ingest.turns")

local TAKEN <const> = { kind = "jsonl", shape = "training", says = "rows of a training set" }
local LINES_LOOKED_AT <const> = 200

-- Whether the first line that holds a record says so; a file without lines is an empty set. A
-- broken line, or a record whose prompt is none, says nothing: what follows it does. The record is
-- given too.
local function is_set(path)
  local reader <close>, message = encoding.open(path, { skip_empty = true })
  if not reader then return nil, message end
  local broken, first = 0, nil
  for text in reader.next, reader do
    local record = text and core.json.decode(text)
    local is_own = type(record) == "table" and own_rows.is_own(record)
    if type(record) == "table" then
      if is_own ~= nil then return is_own, record end
      first, broken = first or record, broken + 1
    elseif not text or text:find("%S") then
      broken = broken + 1
    end
    if broken == LINES_LOOKED_AT then break end
  end
  return broken == 0, first
end

-- What a file has in place of the rows that are wanted: the keys of its first record.
local function instead(record)
  if record == nil then return "none of its lines is a JSON object" end
  if record[1] ~= nil then return "its first line is a list" end
  local keys = {}
  for key in next, record do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return "its first record has " .. (#keys > 0 and table.concat(keys, ", ") or "nothing")
end

-- A row for each person who ranked.
local function by_person(next_row)
  local row, line, person = nil, nil, 0
  return function()
    person = person + 1
    local ranking = row and row.rankings and row.rankings[person]
    if not ranking then
      row, line = next_row()
      person, ranking = 1, row and row.rankings and row.rankings[1]
    end
    if not ranking then return row, line end
    local one = {}
    for key, value in pairs(row) do
      one[key] = value
    end
    one.rankings, one.ranks, one.labeler = nil, ranking.ranks, ranking.labeler
    return one, line
  end
end

local function warn(text, ...) io.stderr:write("warning: ", text:format(...), "\n") end

-- What was passed over, once at the end of the rows, and to `on_note` what was left out of rows.
local function telling(from, next_row, passed, on_note)
  local path = from.path
  return function()
    local row, line = next_row()
    if row == nil then
      local silent = from.notes[turns.SILENT]
      if silent and on_note then on_note(turns.SILENT, silent) end
      from.notes = {}
      for _, reason in ipairs(passed) do
        warn(
          "%s: %d rows passed over: %s (the first in line %d)",
          path,
          passed[reason].count,
          reason,
          passed[reason].line
        )
      end
      passed = {}
    end
    return row, line
  end
end

--- The rows of a training set.
-- @tparam string path
-- @tparam ?table opts on_bad(line, reason) and on_skip(line, reason), told of what is left out;
--   on_note(what, count), told at the end of what was left out of good rows;
--   `labels`: answers come with what is thought of them, good or bad, as `label` or by their ranks;
--   `forms`: what the rows must be, in words: a file of others' forms is refused by it
-- @treturn ?function an iterator of rows and their lines; raises with file and line at a bad record
--   of a set in our own forms
-- @treturn ?string message when the file cannot be read
return function(path, opts)
  local own, record = is_set(path)
  if own == nil then return nil, record end
  if not own and opts and opts.forms then
    return nil, ("%s must hold %s; %s"):format(path, opts.forms, instead(record))
  end
  local from, message
  local settings = { labels = opts and opts.labels or nil, answers = "person" }
  from, message = source.open(path, settings, nil, own and TAKEN or nil)
  if not from then return nil, message end
  local passed = {}
  local function on_skip(line, reason)
    if opts and opts.on_skip then opts.on_skip(line, reason) end
    if not passed[reason] then
      passed[#passed + 1], passed[reason] = reason, { count = 0, line = line }
    end
    passed[reason].count = passed[reason].count + 1
  end
  local on_note = opts and opts.on_note
  if own then
    return telling(from, from:each { strict = true, on_skip = on_skip }, passed, on_note)
  end
  return telling(
    from,
    by_person(from:each {
      on_skip = on_skip,
      on_bad = function(line, reason)
        if opts and opts.on_bad then opts.on_bad(line, reason) end
        warn("%s; left out", source.bad_line(path, line, reason))
      end,
    }),
    passed,
    on_note
  )
end
