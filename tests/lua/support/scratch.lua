--- Folders and files that a spec makes for a while.

local lfs = require("lfs")

local scratch = {}

local made = {}

--- A path at which nothing stands; `clean` removes what is put there.
function scratch.path()
  local path = os.tmpname()
  os.remove(path)
  made[#made + 1] = path
  return path
end

--- The same, in memory where that is possible: for loops that sync thousands of times.
function scratch.quick_path()
  if lfs.attributes("/dev/shm", "mode") ~= "directory" then return scratch.path() end
  local name = scratch.path():match("[^/]*$")
  made[#made + 1] = "/dev/shm/perilune-" .. name
  return made[#made]
end

--- An empty folder; `clean` removes it.
function scratch.folder()
  local path = scratch.path()
  assert(lfs.mkdir(path))
  return path
end

--- Removes a file or a folder with all that is in it; nothing when there is none.
function scratch.remove(path)
  if lfs.symlinkattributes(path, "mode") == "directory" then
    for name in lfs.dir(path) do
      if name ~= "." and name ~= ".." then scratch.remove(path .. "/" .. name) end
    end
    lfs.rmdir(path)
  else
    os.remove(path)
  end
end

--- Removes everything that was made.
function scratch.clean()
  for _, path in ipairs(made) do
    scratch.remove(path)
  end
  made = {}
end

--- Whether something stands at the path.
function scratch.there(path) return lfs.attributes(path, "mode") ~= nil end

--- The bytes of a file that must be there.
function scratch.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

--- Writes a file anew: its path.
function scratch.write(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
  return path
end

--- The names in a folder, sorted.
function scratch.names(path)
  local names = {}
  for name in lfs.dir(path) do
    if name ~= "." and name ~= ".." then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

return scratch
