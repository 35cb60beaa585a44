--- cli: the program's commands, a file each, named after its command: a function of the arguments
-- that gives the exit status (an integer), or true, false or nothing.
--
-- `run`, the options of stock Lua and the REPL are the host's own (lua/host/main.c).
--
-- May use: base, config, model, data, store, run, show, bench, reference.

local host = require("perilune.host")
local lfs = require("lfs")

local cli = {}

--- The names of all commands, sorted.
-- @treturn {string,...}
function cli.names()
  local names = { "run" }
  for file in lfs.dir(host.root .. "/lua/perilune/cli") do
    local name = file:match("^(%w+)%.lua$")
    if name and name ~= "init" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

return cli
