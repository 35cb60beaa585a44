--- The files a store was filled from: how far each was read, and the lines that gave no row.
--
-- The cursor and the rows before it are written in one transaction, so that a reader that was
-- killed goes on where it stopped.

local format = require("perilune.base.format")
local json = require("perilune.base.json")
local schema = require("perilune.store.schema")

local source_files = {}

--- A file that a store was filled from.
-- @class SourceFile
-- @field integer id of the source
-- @field string path it was read from
-- @field string hash of its content
-- @field integer bytes of its content
-- @field string format what it was taken for
-- @field string settings it was read with, JSON text
-- @field integer line lines that were read
-- @field integer offset bytes that were read
-- @field integer rows that it gave
-- @field integer bad records that gave none
-- @field boolean finished whether its end was reached

local excerpt_bytes = 200

local source_columns = schema.columns("sources")
local source_may_change = {
  hash = true,
  bytes = true,
  line = true,
  offset = true,
  rows = true,
  bad = true,
  finished = true,
}

local function settings_text(settings)
  return type(settings) == "string" and settings or json.encode(settings or json.object())
end

--- Sources by their fields, oldest first.
-- @tparam ?table filter those with these values alone: `id`, `path`, `hash`, `settings` (a table or
--   its JSON), `format`
-- @treturn {SourceFile,...} oldest first
function source_files.sources(self, filter)
  local terms, values = { "1" }, {}
  for _, name in ipairs { "id", "path", "hash", "settings", "format" } do
    local value = filter and filter[name]
    if value ~= nil then
      terms[#terms + 1] = name .. " = ?"
      values[#values + 1] = name == "settings" and settings_text(value) or value
    end
  end
  local sql = ("SELECT %s FROM sources WHERE %s ORDER BY id"):format(
    table.concat(source_columns, ", "),
    table.concat(terms, " AND ")
  )
  local list = {}
  local function keep(first, ...)
    local one = {}
    for i, name in ipairs(source_columns) do
      one[name] = (select(i, first, ...))
    end
    one.finished = one.finished == 1
    list[#list + 1] = one
  end
  local next_row = self:statement(sql):rows(table.unpack(values))
  local function take(first, ...)
    if first ~= nil then
      keep(first, ...)
      return true
    end
  end
  while take(next_row()) do
  end -- luacheck: ignore 542
  return list
end

--- Whether the store holds something that people did on prompts of a source.
-- @tparam integer id of the source
-- @tparam string kind "demonstrations" or "rankings"
-- @treturn boolean
function source_files.has_from(self, id, kind)
  assert(kind == "demonstrations" or kind == "rankings")
  return self
    :statement(([[SELECT 1 FROM %s AS a JOIN prompts AS p ON p.id = a.prompt_id
    WHERE p.source_id = ? LIMIT 1]]):format(kind))
    :row(id) ~= nil
end

--- The source of this content, read with these settings.
-- @tparam string hash of the content
-- @tparam string|{[string]=any} settings they are read with, a table or its JSON
-- @treturn ?SourceFile nil when there is none
function source_files.source(self, hash, settings)
  return source_files.sources(self, { hash = hash, settings = settings or json.object() })[1]
end

--- Begin a source.
-- @tparam table about `path`, `hash`, `bytes`, `format`, `settings` (a table or JSON text)
-- @treturn integer its id
function source_files.new_source(self, about)
  self
    :statement("INSERT INTO sources (path, hash, bytes, format, settings) VALUES (?, ?, ?, ?, ?)")
    :run(about.path, about.hash, about.bytes, about.format, settings_text(about.settings))
  return self.conn:last_id()
end

--- Note how far a source was read; call it in the transaction that adds its rows. Raises for an
-- unknown source or field.
-- @tparam integer id of the source
-- @tparam table changes some of `line`, `offset` (bytes), `rows`, `bad`, `finished`, `hash`,
--   `bytes`
function source_files.update_source(self, id, changes)
  local names, terms, values = {}, {}, {}
  for name in pairs(changes) do
    if not source_may_change[name] then
      error(("a source's '%s' cannot be changed"):format(name), 2)
    end
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    terms[i], values[i] = name .. " = ?", changes[name]
  end
  values[#values + 1] = id
  local sql = ("UPDATE sources SET %s WHERE id = ?"):format(table.concat(terms, ", "))
  if self:statement(sql):run(table.unpack(values)) ~= 1 then
    error(("there is no source %s"):format(id), 2)
  end
end

-- The beginning of a line, with U+FFFD for what is not UTF-8.
local function excerpt_of(text) return format.utf8(text:sub(1, excerpt_bytes)) end

--- Keep a line that gave no row aside.
-- @tparam integer source_id of the source
-- @tparam integer line its number, from 1
-- @tparam string reason why it gave no row
-- @tparam ?string text the line; its beginning is kept
function source_files.bad_line(self, source_id, line, reason, text)
  self
    :statement("INSERT INTO bad_lines (source_id, line, reason, excerpt) VALUES (?, ?, ?, ?)")
    :run(source_id, line, excerpt_of(reason), excerpt_of(text or ""))
end

--- Forget the bad lines after a line: they are about to be read again, now that more of the file is
-- there.
-- @tparam integer source_id of the source
-- @tparam integer line the last line that counts, from 1
-- @treturn integer how many they were
function source_files.forget_bad_lines(self, source_id, line)
  return self
    :statement("DELETE FROM bad_lines WHERE source_id = ? AND line > ?")
    :run(source_id, line)
end

--- The lines of a source that gave no row, by line.
-- @tparam integer source_id of the source
-- @treturn {table,...} each {line =, reason =, excerpt =}
function source_files.bad_lines(self, source_id)
  local list = {}
  local statement = self:statement(
    "SELECT line, reason, excerpt FROM bad_lines WHERE source_id = ? ORDER BY line, id"
  )
  for line, reason, excerpt in statement:rows(source_id) do
    list[#list + 1] = { line = line, reason = reason, excerpt = excerpt }
  end
  return list
end

return source_files
