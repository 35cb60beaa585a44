--- What a file holds, told from its beginning: how it is cut into records, and their shape.
--
-- `detect(path, opts)` gives { kind =, shape =, says = } or nil and a message; `says` is a sentence
-- on what was taken and why. Lines that cannot be read do not count, whatever their number at the
-- start; a setting of the user's always wins over a guess.

local core = require("perilune.core")
local chat_log = require("perilune.ingest.chat_log")
local csv = require("perilune.ingest.csv")
local encoding = require("perilune.ingest.encoding")
local field_names = require("perilune.ingest.field_names")
local records = require("perilune.ingest.records")
local row_fields = require("perilune.ingest.row_fields")
local forms = require("perilune.ingest.forms")

local SAMPLE_LINES <const> = 200
local SAMPLE_RECORDS <const> = 40

local aliases = { hf = "rows" }
local kinds = { jsonl = true, json = true, csv = true }

--- Why a file cannot be cut into lines, told from its first line, or nil.
local function not_lines(first, looked)
  if looked == 1 and first:find("\r[^\r\n]") and not first:find("^%s*[%[{]") then
    return "its lines end in a carriage return alone, expected newlines: convert it, as in "
      .. "tr '\\r' '\\n'"
  end
end

--- Why the lines of a file called .jsonl are no records, or nil: each is written over several.
local function over_several(sample)
  local opens = (sample[1] or ""):find("^%s*{%s*$") or (sample[1] or ""):find("^%s*{.*[,{%[]%s*$")
  for _, line in ipairs(sample) do
    if core.json.decode(line) ~= nil and line:find("^%s*{") then return nil end
  end
  return opens and "its records are over several lines each: write one a line, as in jq -c . FILE"
end

--- Lines at the start that can be read and are not blank.
local function beginning(path, opts)
  local reader <close>, message = encoding.open(path, opts)
  if not reader then return nil, message end
  local sample, looked, first = {}, 0, nil
  for text in reader.next, reader do
    looked = looked + 1
    first = first or text or ""
    if text and text:find("%S") and not records.not_text(text) then sample[#sample + 1] = text end
    if looked == SAMPLE_LINES then break end
  end
  message = first and not_lines(first, looked)
  if message then return nil, ("%s: %s"):format(path, message) end
  return sample, looked
end

--- How many of the lines are messages of a chat log, and how many are neither that nor passed over.
local function chat_score(sample, opts)
  local read = chat_log.reader(opts)
  local messages, others = 0, 0
  if not read then return 0, #sample end
  for _, line in ipairs(sample) do
    local count, _, skipped = read(line, {})
    if count > 0 then
      messages = messages + 1
    elseif not skipped then
      others = others + 1
    end
  end
  return messages, others
end

local function is_json_object(line)
  return line:find("^%s*{") and type(core.json.decode(line)) == "table"
end

local function has_header(line)
  local fields = csv.fields(line, csv.delimiter(line), function() return nil, "open" end)
  for _, name in ipairs(fields and #fields > 1 and fields or {}) do
    name = field_names.fold(row_fields.trim(name))
    if row_fields.canonical[name] or name == "instruction" or name == "chosen" then return true end
  end
  return false
end

--- The kind of a file whose shape may be known.
local function kind_of(path, opts, sample, looked)
  local name = path:lower():gsub("%.gz$", "")
  local first = sample[1] or ""
  if csv.said_delimiter(first) then return "csv", "its first line" end
  if name:find("%.csv$") or name:find("%.tsv$") then
    return "csv", "its name"
  elseif first:find("^%s*%[%s*[{%]]") or first:find("^%s*%[%s*$") then
    return "json", "a list opens in its first line"
  end
  local objects = 0
  for _, line in ipairs(sample) do
    objects = objects + (is_json_object(line) and 1 or 0)
  end
  if objects > 0 and not (name:find("%.json$") and looked == 1) then
    return "jsonl", "JSON objects, one a line"
  elseif first:find("^%s*{") then
    return name:find("%.jsonl$") and "jsonl" or "json", "an object opens in its first line"
  end
  local messages, others = chat_score(sample, opts)
  if messages > 0 and messages >= others then
    return "lines", ("lines of the pattern '%s'"):format(opts.pattern or chat_log.pattern)
  elseif has_header(first) then
    return "csv", "a header with known names"
  elseif name:find("%.jsonl$") then
    return "jsonl", "its name"
  end
end

--- The shape of the first records, and the names of one that has none.
local function shape_of(path, kind, opts)
  local reader, message = records.open(path, kind, opts)
  if not reader then return nil, message end
  local votes, good, names = {}, 0, nil
  for _ = 1, SAMPLE_LINES do
    local record = reader:next()
    if record == nil or good == SAMPLE_RECORDS then
      break
    elseif record then
      good = good + 1
      local shape = forms.of(record)
      if shape then
        votes[shape] = (votes[shape] or 0) + 1
      else
        names = names or record
      end
    end
  end
  reader:close()
  local best
  for shape, count in pairs(votes) do
    if not best or count > votes[best] or count == votes[best] and shape < best then
      best = shape
    end
  end
  if best or not names then return best or "rows" end
  local list = {}
  for name in pairs(names) do
    list[#list + 1] = tostring(name)
  end
  table.sort(list)
  return nil,
    (
      "no field of its records says what the prompt is (they have %s): name them prompt, "
      .. 'completion and so on, or map them, as in fields = { prompt = "%s" }'
    ):format(table.concat(list, ", ", 1, math.min(#list, 12)), list[1] or "name")
end

local function fail(path, message) return nil, ("%s: %s"):format(path, message) end

--- Told from settings and the file's beginning.
-- @tparam string path
-- @tparam table opts format, fields, pattern, delimiter, header, max_bytes, encoding
-- @treturn ?table kind, shape ("mapping", "chat_log" or one of shapes), says
-- @treturn ?string message
return function(path, opts)
  local format = opts.format or "auto"
  format = aliases[format] or format
  local known = format == "auto" or format == "chat_log" or kinds[format] or forms.sources[format]
  if not known then
    return nil,
      (
        "unknown format '%s'; known: auto, jsonl, json, csv, chat_log, hf, hh, alpaca, "
        .. "sharegpt, self_instruct, turns, oasst, pandalm, arena, webgpt, shp, chatgpt, "
        .. "label_studio"
      ):format(format)
  elseif format == "chat_log" then
    return { kind = "lines", shape = "chat_log", says = "a chat log, as set" }
  end
  local sample, looked = beginning(path, opts)
  if not sample then return nil, looked end
  local message = path:lower():find("%.jsonl") and over_several(sample)
  if message then return fail(path, message) end
  local kind, because = kinds[format] and format, "as set"
  if not kind then
    kind, because = kind_of(path, opts, sample, looked)
  end
  if not kind and looked == 0 then
    kind, because = "jsonl", "the file is empty"
  elseif not kind or kind == "lines" and format ~= "auto" then
    return fail(
      path,
      'what it holds cannot be told from its first lines: say format = "jsonl", '
        .. '"json", "csv" or "chat_log" (with a pattern)'
    )
  elseif kind == "lines" then
    return { kind = kind, shape = "chat_log", says = "a chat log: " .. because }
  end
  local shape = forms.sources[format] and format
  if opts.fields then
    shape = "mapping"
  elseif kind == "csv" and opts.header == false then
    return fail(path, "columns without a header need numbers: fields = { prompt = 2, ... }")
  elseif not shape then
    shape, message = shape_of(path, kind, opts)
    if not shape then return fail(path, message) end
  end
  return {
    kind = kind,
    shape = shape,
    says = ("%s (%s), records as %s"):format(kind, because, shape),
  }
end
