--- cli: the program's commands, a file each, named after its command: a function of the arguments
-- that gives the exit status (an integer), or true, false or nothing.
--
-- The head of such a file is for users too: it begins with how the command is called and what it
-- does, "`perilune store FILE`: what a store holds", which `perilune help` lists; of commands that
-- have no --help of their own it is their --help. The host (lua/host/main.c) knows this module
-- alone; the options of stock Lua and the REPL are its own.
--
-- May use: base, config, ingest, human, model, data, learn, store, run, show, bench, reference,
-- jupyter.

local commands = require("perilune.cli.support.commands")
local nearby = require("perilune.cli.support.nearby")

local cli = { head = commands.head, names = commands.names, no_command = nearby.no_command }

local function is_command(name)
  for _, known in ipairs(commands.names()) do
    if known == name then return true end
  end
  return false
end

--- Runs a command. Where --help or -h stands among the arguments, whatever else is wrong with them,
-- its help is written and nothing done; `help NAME` is the same.
-- @tparam string name
-- @tparam {string,...} args
-- @treturn any the exit status, or true, false or nil
function cli.run(name, args)
  if name == "help" and #args == 1 and is_command(args[1]) then
    name, args = args[1], { "--help" }
  end
  for i, word in ipairs(args) do
    if i > 1 and name == "run" then break end -- the rest is the recipe's
    if word == "--help" or word == "-h" then
      if commands.help(name) then return 0 end
      args = { "--help" }
      break
    end
  end
  local status = require("perilune.cli." .. name)(args)
  return status
end

return cli
