--- Makes this process one of the trials of `perilune plan`: models are loaded with their first
-- layers alone, and the number of layers of the deepest is written to a file.

local files = require("perilune.base.files")
local origin = require("perilune.model.origin")

--- @tparam integer layers how many are loaded
-- @tparam string path of the file
return function(layers, path)
  local deepest = 0
  origin.trial = {
    layers = layers,
    note = function(depth)
      if depth <= deepest then return end
      deepest = depth
      assert(files.write_atomic(path, tostring(depth)))
    end,
  }
end
