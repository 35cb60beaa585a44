--- Where the rows of a data set come from: files of any form that `pl.ingest` reads, parts of a
-- store, and documents of plain text.

local files = require("perilune.base.files")
local ingest = require("perilune.ingest")
local json = require("perilune.base.json")
local lfs = require("lfs")
local store = require("perilune.store")

local reading = {}

--- Raises for a row that is wrong, with its place.
-- @tparam string|{Row,...} rows a path, or rows
-- @tparam string what a row is, "prompt" say
-- @tparam integer number of the row, from 1
-- @tparam string message what is wrong with it
function reading.refuse(rows, what, number, message)
  local place = type(rows) == "string" and ("%s:%d"):format(rows, number)
    or ("%s row %d"):format(what, number)
  error(place .. ": " .. message, 0)
end

--- Counts a row out that is sound and that the template cannot write; raises for one that is wrong.
-- @tparam Account account takes it
-- @tparam string|{Row,...} rows a path, or rows
-- @tparam string what a row is, "prompt" say
-- @tparam integer number of the row, from 1
-- @tparam string message what is wrong with it
-- @tparam ?any kind "template", or anything else for a row that is wrong
function reading.reject(account, rows, what, number, message, kind)
  if kind ~= "template" then reading.refuse(rows, what, number, message) end
  account:leave_out("the template cannot write it", ("%s %d: %s"):format(what, number, message))
end

-- "PATH#PART.SIDE" or "PATH#SET:PART.SIDE" of a store; nil when that is the name of a file.
local function store_part(path)
  if lfs.attributes(path, "mode") then return nil end
  local file, name = path:match("^(.+)#([^#]+)$")
  if file then
    local set, rest = name:match("^(.*):([^:]*)$")
    local part, side = (rest or name):match("^(%w+)%.(%w+)$")
    if part then return file, set, part, side end
  end
end

local function open_store(path)
  local opened, message = store.open(path, { readonly = true })
  return opened or error(("cannot open the store %s: %s"):format(path, message), 0)
end

--- Rows of a data set, one a call; raises with the file and line of a row that cannot be read.
-- @tparam string path a file, or a part of a store
-- @tparam ?table account takes what the reader leaves out: an object with `leave_out(self, reason)`
--   for rows (of files of others' forms), and `change(self, what, n)` for parts of rows
-- @tparam ?boolean labels true: answers come with what is thought of them, good or bad, see
--   `ingest.training`
-- @tparam ?string forms what the rows must be, in words: a file of others' forms is refused by it
-- @treturn function giving a row and its number, nil at the end
function reading.each(path, account, labels, forms)
  local number = 0
  local file, set, part, side = store_part(path)
  if file then
    local next_row = open_store(file):set_rows(part, side, { set = set })
    return function()
      number = number + 1
      local row = next_row()
      if row then return row, number end
    end
  end
  local next_row, message = ingest.training(path, {
    on_bad = account and function() account:leave_out("cannot be read") end,
    on_skip = account and function(_, reason) account:leave_out(reason) end,
    on_note = account and function(what, n) account:change(what, n) end,
    labels = labels,
    forms = forms,
  })
  return next_row or error(message, 0)
end

--- All rows of a data set as a list; raises as `each` does.
-- @tparam string path a file, or a part of a store
-- @treturn {Row,...} in order
function reading.rows(path)
  local rows = {}
  for row in reading.each(path) do
    rows[#rows + 1] = row
  end
  return rows
end

--- A hash of the content of a data set. Raises when it cannot be read.
-- @tparam string path a file, or a part of a store
-- @treturn string
function reading.hash(path)
  if not store_part(path) then
    local hash, message = files.hash(path)
    return hash or error(("cannot read %s: %s"):format(path, message), 0)
  end
  local hash = ""
  for row in reading.each(path) do
    hash = files.hash_string(hash .. json.encode(row))
  end
  return hash
end

-- Documents of plain text: runs of lines that are not blank, joined by newlines whatever their line
-- ends were; raises with file and line at what is no text.
local function plain_documents(path)
  local reader, message = ingest.lines(path)
  if not reader then error(message, 0) end
  return function()
    local document = {}
    for line in reader do
      if line:find("%S") then
        document[#document + 1] = line
      elseif #document > 0 then
        break
      end
    end
    return #document > 0 and table.concat(document, "\n") or nil
  end
end

-- Whether a file is of rows: by its name, or because a JSON object opens it, as in a set of another
-- name; what is called .txt is text whatever it holds.
local function is_of_rows(path)
  local name = path:lower():gsub("%.gz$", "")
  if name:find("%.jsonl?$") or name:find("%.ndjson$") or store_part(path) then return true end
  if name:find("%.[ct]sv$") then
    error(path .. ": documents are plain text or JSON Lines of {text}, not the rows of a table", 0)
  end
  if name:find("%.txt$") or name:find("%.md$") then return false end
  local lines, message = ingest.lines(path)
  if not lines then error(message, 0) end
  for line in lines do
    if line:find("%S") then return type(json.decode(line)) == "table" end
  end
  return false
end

--- Documents of a file: {text} rows, or plain text between blank lines.
-- @tparam string path rows of {text} (.jsonl, .json, .ndjson, a part of a store, or what a JSON
--   object opens and is not called .txt or .md), else text in UTF-8; gzip or not
-- @tparam ?table account takes what is left out, as in `reading.each`
-- @treturn function giving a document, nil at the end; raises with file and line at what is none
function reading.documents(path, account)
  if is_of_rows(path) then
    local each = reading.each(path, account)
    return function()
      local row, number = each()
      if row and type(row.text) ~= "string" then
        reading.refuse(path, "row", number, "no `text`: documents are rows of {text}")
      end
      return row and row.text
    end
  end
  return plain_documents(path)
end

return reading
