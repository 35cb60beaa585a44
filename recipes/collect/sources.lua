--- Where prompts come from: files and fields as they are named in settings, what a store holds, and
-- whose names are in it.

local lfs = require("lfs")
local pl = require("perilune")
local tables = require("collect.tables")

local sources = {}

local PAGE <const> = 256 -- rows of the store read at once
local TELL_ROWS <const> = 4096
local TELL_SECONDS <const> = 5

--- The parts of a text between commas.
-- @tparam string text
-- @treturn {string,...}
function sources.list(text)
  local list = {}
  for part in text:gmatch("[^,]+") do
    list[#list + 1] = part:match("^%s*(.-)%s*$")
  end
  return list
end

-- The files in a folder, in the order of their names.
local function files_in(folder)
  local files = {}
  for name in lfs.dir(folder) do
    local path = folder .. "/" .. name
    if name:sub(1, 1) ~= "." and lfs.attributes(path, "mode") == "file" then
      files[#files + 1] = path
    end
  end
  table.sort(files)
  return files
end

--- Files of a list; a folder stands for the files in it, in the order of their names.
-- @tparam string text paths by commas
-- @treturn {string,...}
function sources.files(text)
  local files = {}
  for _, path in ipairs(sources.list(text)) do
    local mode, message = lfs.attributes(path, "mode")
    if not mode then error(("%s cannot be read: %s"):format(path, message), 0) end
    local more = mode == "directory" and files_in(path) or { path }
    if #more == 0 then error(("%s is a folder that holds no file to read"):format(path), 0) end
    table.move(more, 1, #more, #files + 1, files)
  end
  return files
end

--- "prompt=text,user_id=author.id" as a table; nil for an empty text.
-- @tparam string text
-- @treturn ?table
function sources.fields(text)
  if text == "" then return nil end
  local fields = {}
  for _, pair in ipairs(sources.list(text)) do
    local name, from = pair:match("^([%w_]+)%s*=%s*(.+)$")
    if not name then error(("fields wants name=field, got '%s'"):format(pair), 0) end
    fields[name] = from
  end
  return fields
end

--- The lines of a file that are not empty; an empty path has none.
-- @tparam string path
-- @treturn {string,...}
function sources.lines(path)
  local lines = {}
  if path == "" then return lines end
  for line in assert(pl.ingest.lines(path)) do
    if line:find("%S") then lines[#lines + 1] = line:match("^%s*(.-)%s*$") end
  end
  return lines
end

--- Reads files into a store.
-- @tparam Store store
-- @tparam string text paths by commas
-- @tparam string kind what they are read for: prompts, demonstrations or rankings
-- @tparam table settings of pl.ingest.file
-- @tparam ?function tell is called with a file's path and what was read of it so far, each five
--   seconds
-- @treturn {table,...} what pl.ingest.file says of each file, its `path` and `kind`
function sources.ingest(store, text, kind, settings, tell)
  local read = {}
  for _, path in ipairs(sources.files(text)) do
    local told = pl.seconds()
    function settings.progress(so_far)
      local now = pl.seconds()
      if tell and now - told > TELL_SECONDS then
        told = now
        tell(path, so_far)
      end
    end
    settings.wanted = kind
    local done, message = pl.ingest.file(store, path, settings)
    if not done then error(message, 0) end
    done.path, done.kind = path, kind
    read[#read + 1] = done
  end
  return read
end

-- Whether a file gave the store something of the kind it was read for, now or before.
local function gave(store, done)
  if done.kind == "prompts" then return done.rows + done.already > 0 end
  return done[done.kind] > 0 or done.already > 0 and store:has_from(done.source_id, done.kind)
end

-- "3 records: not UTF-8 at byte 3 2, no prompt 1"
local function account(done)
  if done.records == 0 and done.already > 0 then
    return ("%d prompts of it are in the store already"):format(done.already)
  end
  local parts = {}
  if done.used > 0 then parts[1] = ("%d gave prompts"):format(done.used) end
  for _, reasons in ipairs { done.bad_reasons, done.reasons } do
    for _, reason in ipairs(tables.counted(reasons)) do
      parts[#parts + 1] = reason
    end
  end
  local why = #parts > 0 and ": " .. table.concat(parts, "; ", 1, math.min(#parts, 4)) or ""
  return ("records %d%s"):format(done.records, why)
end

local HINTS <const> = {
  prompts = "see `perilune store STORE bad` for the lines, and --format, --fields, --pattern, "
    .. "--encoding",
  demonstrations = "a demonstration is a prompt with a person's wanted answer, as in "
    .. '{"prompt": ..., "completion": ...}',
  rankings = "a ranking is a prompt with answers that are compared, as in "
    .. '{"prompt": ..., "chosen": ..., "rejected": ...} or "completions" with "ranks"',
}

--- Which files gave nothing of what they were read for, and why.
-- @tparam Store store
-- @tparam {table,...} read as from `ingest`
-- @treturn ?string a line for each; nil when all gave something
function sources.missing(store, read)
  local wrong = {}
  for _, done in ipairs(read) do
    if not gave(store, done) then
      local says = "%s gave no %s (taken as %s): %s; %s"
      wrong[#wrong + 1] =
        says:format(done.path, done.kind, done.says, account(done), HINTS[done.kind])
    end
  end
  if #wrong > 0 then
    if #wrong < #read then
      wrong[#wrong + 1] = "no sets were made of the other files: fix these or leave them out"
    end
    return table.concat(wrong, "\n")
  end
end

--- All prompts of a store, to be read as often as rules want. They are read in pages, so that no
-- statement is open while the sets are written.
-- @tparam Store store
-- @tparam function tell is called with the number of every 4096th row, the first time
-- @treturn table for rules.run
function sources.prompts(store, tell)
  local told = 0
  local function next_page(last)
    local page = {}
    for row in store:prompts { after = last } do
      page[#page + 1] = row
      if #page == PAGE then break end
    end
    return page
  end
  local function rows()
    local page, at, n, last = {}, 0, 0, 0
    return function()
      at = at + 1
      if at > #page then
        page, at = next_page(last), 1
      end
      local row = page[at]
      if not row then return nil end
      n, last = n + 1, row.id
      if n > told and n % TELL_ROWS == 0 then
        told = n
        tell(n)
      end
      return row, n
    end
  end
  return { rows = rows }
end

--- Whose names are to be found: users of the store, names of a file, and users whose names are
-- words but stand for the person in the log.
-- @tparam Store store
-- @tparam string path of a file of names; may be empty
-- @treturn table `names`, `users`, `users_by_use`: options of rules.personal.matcher
function sources.people(store, path)
  local people = {
    names = sources.lines(path),
    users = store:user_names(),
    users_by_use = {},
  }
  if #people.users > 0 then
    local rows = store:prompts { source = "api" }
    local function texts()
      local row = rows()
      return row and pl.rules.text(row)
    end
    people.users_by_use = pl.rules.personal.users_by_use(texts, people.users)
  end
  return people
end

--- A function that masks personal data of a text, for what people read of it.
-- @tparam table people as from `people`
-- @treturn function (text) -> text
function sources.hider(people)
  local matcher = pl.rules.personal.matcher(people)
  return function(text) return (matcher:mask(text)) end
end

return sources
