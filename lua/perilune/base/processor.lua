--- The processor: what Linux calls it, and what it can do, measured once and kept.
--
-- Limits are the best that short loops of the engine reached on all threads (engine/base/limits.c).
-- They are kept in limits.json of the user's cache folder, for this processor, these kernels and
-- this number of threads. `perilune doctor` measures them anew.

local core = require("perilune.core")
local files = require("perilune.base.files")
local lfs = require("lfs")

local processor = {}

local VERSION <const> = 3 -- of how limits are measured
local NAMES <const> = { "float32", "bfloat16", "split", "read", "copy", "cache", "cache_bytes" }

--- The processor as Linux describes it: what figures are printed with.
-- @treturn {[string]=boolean} flags of its instruction sets; empty where there are none to read
-- @treturn string its model's name
function processor.read()
  local flags, model = {}, "unknown processor"
  local file = io.open("/proc/cpuinfo")
  if file then
    for line in file:lines() do
      model = line:match("^model name%s*:%s*(.+)$") or model
      local list = line:match("^flags%s*:%s*(.+)$")
      if list then
        for flag in list:gmatch("%S+") do
          flags[flag] = true
        end
        break
      end
    end
    file:close()
  end
  return flags, model
end

local function key()
  local _, model = processor.read()
  return ("%s, %s, %d threads, %d"):format(model, core.isa(), core.threads(), VERSION)
end

local function sound(limits)
  if type(limits) ~= "table" then return false end
  for _, name in ipairs(NAMES) do
    local x = limits[name]
    if type(x) ~= "number" or not (x > 0 and x < math.huge) then return false end
  end
  return math.type(limits.cache_bytes) == "integer"
end

-- What is kept, by key, and the file it is kept in; no file where there is no folder for one.
local function read_kept()
  local folder = files.cache_folder()
  local path = folder and folder .. "/limits.json"
  local kept = path and lfs.attributes(path, "mode") == "file" and files.read_json(path)
  return type(kept) == "table" and kept or {}, path, folder
end

--- Measures the limits, and keeps the greater of each and of what was kept before: another program
-- that ran beside an earlier measurement does not stay in them.
-- @treturn table as of limits
function processor.measure()
  local kept, path, folder = read_kept()
  local limits, before = core.profile.measure(), kept[key()]
  if sound(before) then
    for _, name in ipairs(NAMES) do
      limits[name] = math.max(limits[name], before[name])
    end
  end
  kept[key()] = limits
  if path and files.folder_make(folder) then files.write_json(path, kept) end
  return limits
end

--- What the machine can do with the threads in use: as kept, or measured now (about half a second).
-- @treturn {[string]=number} `float32`, `bfloat16`, `split` (float32 products of split
--   numbers): multiplications and additions a second; `read`, `copy`: bytes a second of memory;
--   `cache`: of operands of up to `cache_bytes`
function processor.limits()
  local known = read_kept()[key()]
  return sound(known) and known or processor.measure()
end

return processor
