--- `perilune demo [--key value]`: the whole pipeline on an invented world, with a report.
--
-- It is the recipe quickstart, into runs/demo unless told otherwise.

local host = require("perilune.host")

return function(args)
  local recipe = host.root .. "/recipes/quickstart.lua"
  local named = false
  for _, word in ipairs(args) do
    named = named or word:match("^%-%-output_dir") ~= nil
  end
  if not named then
    table.insert(args, 1, "--overwrite_output_dir")
    table.insert(args, 1, "--output_dir=runs/demo")
  end
  _G.arg = table.move(args, 1, #args, 1, { [0] = recipe })
  dofile(recipe)
end
