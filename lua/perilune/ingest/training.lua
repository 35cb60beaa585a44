--- Training sets: the rows of a file as the recipes read it.
--
-- A file of JSON Lines whose first record is in a form of perilune.data (prompt, messages,
-- prompt_tokens or text) is a set that was made for training: its rows are as they stand, every
-- field kept, since a reward function may look at any of them; and a bad record is an error.
--
-- Any other file is somebody else's: its rows are as ingest.rows gives them, those that cannot be
-- read are named and left out, and of rankings by several people each is a row of its own.

local core = require("perilune.core")
local source = require("perilune.ingest.source")

local TAKEN <const> = { kind = "jsonl", shape = "training", says = "rows of a training set" }

local function is_training(row)
  local prompt = row.prompt
  if row.chosen then
    return false
  elseif type(prompt) == "string" or type(prompt) == "table" and prompt[1] then
    return true
  end
  return (row.messages or row.prompt_tokens or row.text) and true or false
end

-- Whether the first line that is not blank says so; a file without lines is an empty set.
local function is_set(path)
  local reader <close>, message = core.lines.open(path, { skip_empty = true })
  if not reader then
    return nil, message
  end
  for text in reader.next, reader do
    if not text or text:find("%S") then
      local record = text and core.json.decode(text)
      return type(record) == "table" and is_training(record)
    end
  end
  return true
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
    if not ranking then
      return row, line
    end
    local one = {}
    for key, value in pairs(row) do
      one[key] = value
    end
    one.rankings, one.ranks, one.labeler = nil, ranking.ranks, ranking.labeler
    return one, line
  end
end

--- The rows of a training set.
-- @tparam string path
-- @treturn ?function an iterator of rows and their lines; raises with file and line at a bad record
--   of a set in our own forms
-- @treturn ?string message when the file cannot be read
return function(path)
  local own, message = is_set(path)
  if own == nil then
    return nil, message
  end
  local from
  from, message = source.open(path, {}, nil, own and TAKEN or nil)
  if not from then
    return nil, message
  elseif own then
    return from:each({ strict = true })
  end
  return by_person(from:each({ on_bad = function(line, reason)
    io.stderr:write(("warning: %s; left out\n"):format(source.bad_line(path, line, reason)))
  end }))
end
