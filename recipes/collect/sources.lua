--- Small readers of collect.lua's settings: lists, files, fields.

local lfs = require "lfs"
local pl = require "perilune"
local personal_data = pl.rules.parts.personal_data

local sources = {}

local PAGE <const> = 256 -- rows of the store read at once

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

--- Files of a list; a folder stands for the files in it, in the order of their names.
-- @tparam string text paths by commas
-- @treturn {string,...}
function sources.files(text)
  local files = {}
  for _, path in ipairs(sources.list(text)) do
    local mode, message = lfs.attributes(path, "mode")
    if not mode then
      error(("%s cannot be read: %s"):format(path, message), 0)
    elseif mode == "directory" then
      local names = {}
      for name in lfs.dir(path) do
        if name:sub(1, 1) ~= "." and lfs.attributes(path .. "/" .. name, "mode") == "file" then
          names[#names + 1] = name
        end
      end
      table.sort(names)
      for _, name in ipairs(names) do
        files[#files + 1] = path .. "/" .. name
      end
    else
      files[#files + 1] = path
    end
  end
  return files
end

--- "prompt=text,user_id=author.id" as a table; nil for an empty text.
function sources.fields(text)
  if text == "" then
    return nil
  end
  local fields = {}
  for _, pair in ipairs(sources.list(text)) do
    local name, from = pair:match("^([%w_]+)%s*=%s*(.+)$")
    if not name then
      error(("fields wants name=field, got '%s'"):format(pair), 0)
    end
    fields[name] = from
  end
  return fields
end

--- The lines of a file that are not empty; an empty path has none.
function sources.lines(path)
  local lines = {}
  if path ~= "" then
    for line in assert(io.lines(path)) do
      if line:find("%S") then
        lines[#lines + 1] = line:match("^%s*(.-)%s*$")
      end
    end
  end
  return lines
end

--- All prompts of a store, to be read as often as rules want. They are read in pages, so that no
-- statement is open while the sets are written.
-- @param store
-- @tparam function tell is called with the number of every 4096th row, the first time
-- @treturn table for rules.run
function sources.prompts(store, tell)
  local told = 0
  local function rows()
    local page, at, n, last = {}, 0, 0, 0
    return function()
      at = at + 1
      if at > #page then
        page, at = {}, 1
        for row in store:prompts { after = last } do
          page[#page + 1] = row
          if #page == PAGE then break end
        end
      end
      local row = page[at]
      if not row then return nil end
      n, last = n + 1, row.id
      if n > told and n % 4096 == 0 then
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
-- @param store
-- @tparam string path of a file of names; may be empty
-- @treturn table `names`, `users`, `users_by_use`
function sources.people(store, path)
  local names, users = sources.lines(path), store:user_names()
  local rows = store:prompts { source = "api" }
  local function texts()
    local row = rows()
    return row and pl.rules.text(row)
  end
  return { names = names, users = users,
    users_by_use = #users > 0 and personal_data.users_by_use(texts, users) or {} }
end

--- A function that masks personal data of a text, for what the report quotes.
-- @tparam table people as from `people`
function sources.hider(people)
  local matcher = personal_data.matcher(people)
  return function(text)
    return (matcher:mask(text))
  end
end

return sources
