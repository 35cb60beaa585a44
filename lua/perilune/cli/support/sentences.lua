--- A command whose faults of the user are errors without a place: sentences on standard error.
--
-- Whatever else is raised is a fault of ours and goes on as it is.

local format = require("perilune.base.format")

--- The function that the program calls for a command.
-- @tparam string name of the command
-- @tparam function run (args) -> exit code; raises sentences at level 0
-- @treturn function (args) -> exit code, 1 after a sentence
return function(name, run)
  return function(args)
    local ok, result = pcall(run, args)
    if ok then return result end
    if type(result) ~= "string" or result:find("^[^ ]+%.lua:%d+:") then error(result, 0) end
    io.stderr:write("perilune ", name, ": ", format.safe(result), "\n")
    return 1
  end
end
