--- Who has a run's folder: one process at a time, by a lock on its run.lock that the kernel drops
-- when the process ends, however it ends. Closing any handle of that file would drop the lock of
-- this process, so its own folders are known here and their files left alone.

local core = require("perilune.core")
local lfs = require("lfs")

local system = core.system

local lock = {}

local NAME <const> = "run.lock"

local open_here = {} -- the folders of this process, by device and inode

local Lock = {}
Lock.__index = Lock

local function key_of(folder)
  local about = lfs.attributes(folder)
  return about and about.dev .. ":" .. about.ino
end

--- Takes the lock of a folder.
-- @tparam string folder
-- @treturn ?table with `release`
-- @treturn ?string who has it
function lock.take(folder)
  local key = key_of(folder)
  if open_here[key] then return nil, "this process" end
  local file = assert(io.open(folder .. "/" .. NAME, "a+"))
  if not lfs.lock(file, "w") then
    local owner
    for line in file:lines() do
      owner = line
    end
    file:close()
    return nil, owner or "another process"
  end
  file:write(("process %d on %s\n"):format(system.pid(), system.hostname()))
  file:flush()
  open_here[key] = true
  return setmetatable({ file = file, key = key }, Lock)
end

--- Gives the folder free.
function Lock:release()
  self.file:close()
  open_here[self.key] = nil
end

--- The process that has a folder.
-- @tparam string folder
-- @treturn ?integer
function lock.holder(folder)
  if open_here[key_of(folder) or ""] then return system.pid() end
  return (system.lock_holder(folder .. "/" .. NAME))
end

return lock
