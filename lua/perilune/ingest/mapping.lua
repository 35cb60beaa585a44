--- Field names of the user's own: canonical name = where it stands in a record.
--
-- A place is a field's name, "a.b.c" for nested fields (a number counts a list's elements from 1; a
-- field whose own name has dots wins over the nested one), or a column's number in a CSV file. A
-- mapping may be a function(record) -> row | nil, reason, skipped instead; its rows are checked
-- like all others, and for fields whose names are those of a row but for a letter or two.

local nearest = require("perilune.base.nearest")
local row_fields = require("perilune.ingest.row_fields")
local turns = require("perilune.ingest.turns")

local mapping = {}

local function keys_of(place)
  local keys = {}
  for key in place:gmatch("[^.]+") do
    keys[#keys + 1] = math.tointeger(tonumber(key)) or key
  end
  return keys
end

local function getter(place)
  if type(place) ~= "string" or not place:find(".", 1, true) then
    return function(record) return record[place] end
  end
  local keys = keys_of(place)
  return function(record)
    local value = record[place]
    if value ~= nil then return value end
    value = record
    for _, key in ipairs(keys) do
      if type(value) ~= "table" then return nil end
      value = value[key]
    end
    return value
  end
end

local function valid_text(value, depth)
  if type(value) == "string" then
    return utf8.len(value) ~= nil
  elseif type(value) == "table" and depth < 8 then
    for _, inner in pairs(value) do
      if not valid_text(inner, depth + 1) then return false end
    end
  end
  return true
end

-- Turns of the user's as those of a row: the last answer is the completion where there is none.
-- @treturn ?string reason
local function put_messages(row)
  if row.messages == nil then return nil end
  local messages, reason = turns.messages(row.messages)
  row.messages = nil
  if not messages then
    return reason
  elseif row.completion == nil and row.completions == nil then
    return turns.set_dialogue(row, messages)
  end
  return turns.set_prompt(row, messages)
end

local known_fields = { "extra" }
for name in pairs(row_fields.names) do
  known_fields[#known_fields + 1] = name
end

-- A field of a row that looks like a known one that is missing, as a reason.
local function misspelt(row)
  for key in pairs(row) do
    if type(key) ~= "string" then
      local text = "the mapping gave a list or a field %s; a row has names, as in { prompt = ... }"
      return text:format(tostring(key))
    elseif not row_fields.names[key] then
      local meant = nearest.find(key, known_fields)
      if meant and row[meant] == nil then
        return ("the mapping gave a field '%s'; did you mean '%s'?"):format(key, meant)
      end
    end
  end
end

local function by_function(map)
  return function(record, out)
    local ok, row, reason, skipped = pcall(map, record)
    if not ok then
      return 0, "the mapping failed: " .. tostring(row)
    elseif row == nil then
      reason = reason == nil and "left out by the mapping" or tostring(reason)
      return 0, reason, skipped ~= false
    elseif type(row) ~= "table" then
      return 0, ("the mapping gave a %s, not a row"):format(type(row))
    elseif not valid_text(row, 0) then
      return 0, "the mapping gave a text that is not UTF-8"
    end
    reason = misspelt(row) or put_messages(row)
    if reason then return 0, reason end
    out[#out + 1] = row
    return 1
  end
end

--- Compiles a mapping.
-- @tparam table|function fields
-- @tparam boolean|table extra true: small fields that are not mapped go to `extra`
-- @treturn ?function (record, out) -> count, reason, skipped
-- @treturn ?string what is wrong with the mapping
function mapping.compile(fields, extra)
  if type(fields) == "function" then
    return by_function(fields)
  elseif type(fields) ~= "table" then
    return nil, ("fields must be a table of names or a function, got a %s"):format(type(fields))
  end
  local getters, used, names = {}, {}, {}
  for name in pairs(fields) do
    names[#names + 1] = name
  end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  for i, name in ipairs(names) do
    local place = fields[name]
    if not row_fields.names[name] then
      local known = {}
      for canonical in pairs(row_fields.names) do
        known[#known + 1] = canonical
      end
      local hint = nearest.hint(tostring(name), known)
      return nil, ("unknown field '%s' in the mapping%s"):format(tostring(name), hint)
    elseif type(place) ~= "string" and math.type(place) ~= "integer" then
      return nil,
        ("fields.%s must name a field or a column's number, got a %s"):format(name, type(place))
    end
    getters[i] = getter(place)
    used[type(place) == "string" and place:match("^[^.]+") or place] = true
    used[place] = true
  end
  if not fields.prompt and not fields.messages then
    return nil, "fields maps neither prompt nor messages"
  end

  return function(record, out)
    local row = {}
    for i = 1, #names do
      row[names[i]] = getters[i](record)
    end
    local reason = put_messages(row)
    if reason then
      return 0, reason
    elseif extra then
      row.extra = row_fields.rest(record, used)
    end
    out[#out + 1] = row
    return 1
  end
end

return mapping
