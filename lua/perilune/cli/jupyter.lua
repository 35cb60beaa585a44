--- `perilune jupyter install [--user | --prefix P] | kernel FILE`: Perilune in Jupyter notebooks.
--
--     perilune jupyter install              tells Jupyter of the kernel, for this user
--     perilune jupyter install --prefix P   for all who use the Jupyter installed in P
--     perilune jupyter kernel FILE          runs a kernel; FILE is a connection file of Jupyter
--
-- Then `jupyter lab`, `jupyter notebook` and `jupyter console --kernel perilune` have it. A cell is
-- an entry of the prompt: results, charts of pl.plot as pictures, ?name, completion, interrupt. It
-- needs libzmq and libsodium at build time, which `./perilune jupyter` in a checkout installs.

local format = require("perilune.base.format")
local jupyter = require("perilune.jupyter")

local USAGE <const> = "usage: perilune jupyter install [--user | --prefix P] | kernel FILE"

local function fail(text, ...)
  io.stderr:write("perilune jupyter: ", text:format(...), "\n")
  return 1
end

local function install(args)
  local prefix, i = nil, 2
  if args[2] == "--user" then
    i = 3
  elseif args[2] == "--prefix" then
    prefix, i = args[3], 4
    if not prefix then return fail("--prefix wants a folder; %s", USAGE) end
  elseif args[2] and args[2]:find("^%-%-prefix=.") then
    prefix, i = args[2]:match("=(.*)$"), 3
  end
  if args[i] then return fail("'%s' is not known; %s", format.safe(args[i]), USAGE) end
  local module, missing = jupyter.connection.module()
  if not module then return fail("%s", missing) end
  local path, message = jupyter.kernelspec.install(prefix)
  if not path then return fail("%s", message) end
  print(("written: %s"):format(path))
  return 0
end

return function(args)
  if args[1] == "install" then
    return install(args)
  elseif args[1] == "kernel" then
    if not args[2] then return fail("which connection file? %s", USAGE) end
    if args[3] then return fail("'%s' is one too many; %s", format.safe(args[3]), USAGE) end
    local ok, message = jupyter.kernel.run(args[2])
    return ok and 0 or fail("%s", message)
  end
  local what = args[1] and ("there is nothing called '%s' to do"):format(format.safe(args[1]))
  return fail("%s %s", what and what .. ";" or "install or kernel?", USAGE)
end
