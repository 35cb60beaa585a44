--- `perilune run --detach RECIPE ...`: the run goes on by itself when the terminal is closed.

local core = require("perilune.core")
local detached = require("perilune.run.detached")
local files = require("perilune.base.files")
local host = require("perilune.host")
local lfs = require("lfs")

local LOOK <const> = 0.02 -- seconds between looks at whether the run has begun

-- Waits until the run tells its folder: the folder; or nil and the exit status.
local function wait_for(pid, notice)
  while true do
    if lfs.attributes(notice, "mode") then return files.read(notice) end
    local how, code = core.system.wait(pid, false)
    if how then return nil, how == "exit" and code or 128 + code end
    core.system.sleep(LOOK)
  end
end

return function(args)
  if not args[1] or args[1]:sub(1, 1) == "-" then
    io.stderr:write("perilune run --detach: which recipe? 'perilune recipes' lists them\n")
    return 1
  end
  local folder = assert(files.folder_begin((os.getenv("TMPDIR") or "/tmp") .. "/perilune-detach"))
  local notice = folder .. "/folder"
  core.system.setenv(detached.VARIABLE, notice)
  local pid, message = core.system.spawn(
    { host.executable, "run", table.unpack(args) },
    { stdin = "/dev/null", wait = false, session = true }
  )
  local place, code
  if pid then
    place, code = wait_for(pid, notice)
  end
  files.folder_discard(folder)
  if not pid then
    io.stderr:write("perilune run --detach: ", message, "\n")
    return 1
  elseif not place then
    return code -- it has said what is wrong, or needed no folder
  end
  local text = "%s: process %d goes on by itself; what it says is in %s/%s\n"
    .. "  perilune attach %s   perilune stop %s   perilune runs\n"
  io.stdout:write(text:format(place, pid, place, detached.LOG, place, place))
  return 0
end
