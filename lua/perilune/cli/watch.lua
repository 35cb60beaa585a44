--- `perilune watch RUN [--port N]`: the page of a run live, in a browser of this machine, with
-- buttons.
--
-- Serves the page of `perilune report` on 127.0.0.1 and prints its address, which has a random
-- token: who does not know it sees nothing. New rows, answers, alarms and changes appear as they
-- come. Buttons pause the run, let it go on, write a checkpoint, stop it, or change a
-- hyper-parameter; the run checks and journals that as it does for perilune attach.
--
--     --port N   default: any that is free
--
-- Ctrl-C ends the watching, not the run.

local format = require("perilune.base.format")
local talk = require("perilune.run.talk")
local watcher = require("perilune.show.watcher")

local usage = "usage: perilune watch RUN [--port N]"

local function fail(message)
  io.stderr:write("perilune watch: ", message, "\n")
  return 1
end

local function read_arguments(args)
  local path, port, i = nil, 0, 1
  while i <= #args do
    local value = args[i]:match("^%-%-port=(.*)$")
    if args[i] == "--port" then
      i = i + 1
      value = args[i] or ""
    end
    if value then
      port = math.tointeger(tonumber(value))
      if not port or port < 0 or port > 65535 then
        return nil, ("--port wants a number from 0 to 65535, not '%s'"):format(value)
      end
    elseif args[i]:sub(1, 1) == "-" then
      return nil, ("'%s' is no option; perilune watch --help lists them"):format(args[i])
    elseif path then
      return nil, "one run at a time; perilune report compares several"
    else
      path = args[i]
    end
    i = i + 1
  end
  return path or "", port
end

return function(args)
  local path, port = read_arguments(args)
  if not path then
    return fail(port)
  elseif path == "" then
    return fail("which run? " .. usage)
  end
  local folder, wrong = talk.folder(path)
  if not folder then return fail(format.safe(wrong)) end
  local served, message = watcher.open(folder, { port = port })
  if not served then return fail(message) end
  local _ <close> = served
  print(format.safe(served.address))
  io.stdout:flush()
  io.stderr:write("Ctrl-C ends the watching, not the run.\n")
  while true do
    served:turn()
  end
end
