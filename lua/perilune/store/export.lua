--- A store as a folder of JSON Lines, a file for each table, and back.
--
-- Every row of every table is a line, in the order of its id, keys sorted; empty columns are left
-- out. Import writes the same ids, so an export of the imported store has the same bytes. The
-- folder appears whole, with a manifest of hashes that import holds it against; who edits an export
-- by hand removes `manifest.json`.

local files = require("perilune.base.files")
local json = require("perilune.base.json")
local lfs = require("lfs")
local lines = require("perilune.core").lines
local schema = require("perilune.store.schema")

local export = {}

local max_line = 1 << 30

local function row_of(info, ...)
  local row = {}
  for i, column in ipairs(info.columns) do
    local value = select(i, ...)
    if value ~= nil and info.json[column] then
      value = assert(json.decode(value, { ordered = true }))
    end
    row[column] = value
  end
  return row
end

local function write_table(self, info, path)
  local file <close> = assert(files.create(path))
  local statement <close> = self.conn:prepare(
    ("SELECT %s FROM %s ORDER BY %s"):format(
      table.concat(info.columns, ", "),
      info.name,
      info.key or "id"
    )
  )
  local next_row = statement:rows()
  local function write(first, ...)
    if first == nil then return false end
    return assert(file:write(json.encode(row_of(info, first, ...), { strict = true }), "\n"))
  end
  while write(next_row()) do
  end -- luacheck: ignore 542
  assert(file:commit())
end

--- Write the store into a folder: every table as TABLE.jsonl.
-- @tparam string folder its earlier export is replaced; any other folder is refused
-- @treturn ?boolean true
-- @treturn ?string what went wrong
function export.export(self, folder)
  if lfs.attributes(folder) and not lfs.attributes(folder .. "/store.json") then
    return nil, ("'%s' exists and is no export of a store (name a new folder)"):format(folder)
  end
  return files.folder_write(folder, function(tmp)
    return pcall(self.snapshot, self, function()
      for _, info in ipairs(schema.tables) do
        write_table(self, info, ("%s/%s.jsonl"):format(tmp, info.name))
      end
      assert(files.write_json(tmp .. "/store.json", { version = #schema.migrations }))
    end)
  end)
end

-- The values of a row in the order of the columns; raises for what is no row of the table.
local function values_of(info, row)
  local values, known = {}, {}
  for i, column in ipairs(info.columns) do
    known[column] = true
    local value = row[column]
    if value ~= nil and info.json[column] then
      value = json.encode(value)
    elseif value == json.null then
      value = nil
    end
    values[i] = value
  end
  for column in pairs(row) do
    if not known[column] then error(("no column '%s' in table %s"):format(column, info.name), 0) end
  end
  return table.unpack(values, 1, #info.columns)
end

local function read_table(self, info, path)
  local reader <close> = assert(lines.open(path, { max_bytes = max_line }))
  local marks = ("?, "):rep(#info.columns - 1) .. "?"
  local statement <close> = self.conn:prepare(
    ("INSERT INTO %s (%s) VALUES (%s)"):format(info.name, table.concat(info.columns, ", "), marks)
  )
  while true do
    local text, number, problem = reader:next()
    if text == nil then return end
    local row = text and text:sub(1, 1) == "{"
    if row then
      row, problem = json.decode(text, { strict = true, ordered = true })
    end
    local ok, wrong = pcall(
      function() statement:run(values_of(info, row or error(problem or "no JSON object", 0))) end
    )
    if not ok then error(("%s:%d: %s"):format(path, number, wrong), 0) end
  end
end

--- Fill an empty store from an export, in one transaction; raises when a line does not fit.
-- @tparam string folder
function export.read_into(self, folder)
  local about, message = files.read_json(folder .. "/store.json")
  if not about then error(("%s is not an export of a store: %s"):format(folder, message), 0) end
  if math.type(about.version) ~= "integer" or about.version > #schema.migrations then
    local text =
      "%s was exported at version %s of the tables, this Perilune imports up to version %d"
    error(text:format(folder, about.version, #schema.migrations), 0)
  end
  if lfs.attributes(folder .. "/manifest.json") then assert(files.folder_verify(folder)) end
  self:transaction(function()
    for _, info in ipairs(schema.tables) do
      read_table(self, info, ("%s/%s.jsonl"):format(folder, info.name))
    end
  end)
end

return export
