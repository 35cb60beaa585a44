--- What a run that failed before its first step leaves behind: nothing that it made.
--
-- A run is refused after its folder is there: by pre-flight, by data that are missing, by a model
-- that does not fit. Then the folder holds logs without rows and copies of what was asked for, and
-- would only be in the way. It goes, with the folders above it that were made for it, unless
-- anything else stands in it.

local files = require("perilune.base.files")
local lfs = require("lfs")

local leftover = {}

local function names_in(folder)
  local names = {}
  for name in lfs.dir(folder) do
    if name ~= "." and name ~= ".." then names[#names + 1] = name end
  end
  return names
end

--- What stands where a run's folder will be, before it is made.
-- @tparam string folder
-- @treturn {first=string,empty=boolean} `first`: the topmost folder that is missing, nil when all
-- are there; `empty`: nothing stands in the folder
function leftover.before(folder)
  local first, path = nil, folder
  while path and path ~= "" and not lfs.attributes(path, "mode") do
    first = path
    path = path:match("^(.*)/[^/]+$")
  end
  local there = lfs.attributes(folder, "mode") == "directory"
  return { first = first, empty = not there or #names_in(folder) == 0 }
end

--- Removes what a run made that did nothing.
-- @tparam string folder
-- @tparam {first=string,empty=boolean} before of `before`
-- @tparam {[string]=boolean} own names that a run gives to what it writes
-- @treturn boolean whether it was removed
function leftover.remove(folder, before, own)
  if not before.empty or lfs.attributes(folder, "mode") ~= "directory" then return false end
  local names = names_in(folder)
  for _, name in ipairs(names) do
    if not own[name] then return false end
    local size = lfs.attributes(folder .. "/" .. name, "size") or 0
    if name:find("%.jsonl$") and name ~= "journal.jsonl" and size > 0 then return false end
  end
  for _, name in ipairs(names) do
    files.folder_remove(folder .. "/" .. name)
    files.remove(folder .. "/" .. name)
  end
  local path = before.first and folder
  while path and #names_in(path) == 0 do
    files.folder_remove(path)
    path = path ~= before.first and path:match("^(.*)/[^/]+$") or nil
  end
  return true
end

return leftover
