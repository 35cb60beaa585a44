--- Makes this process one of the trials of `perilune plan`: models are loaded with their first
-- layers alone, the last step takes the largest batch of the run, and what the whole has is written
-- to a file: `depth`, the layers of the deepest model, and `share`, the mean batch's part of the
-- tokens of the largest.

local files = require("perilune.base.files")
local json = require("perilune.base.json")
local of_data = require("perilune.data.trial")
local origin = require("perilune.model.origin")

--- @tparam integer layers how many are loaded
-- @tparam integer last the trial's last step
-- @tparam integer steps of the run that is planned, when it has more
-- @tparam string path of the file
return function(layers, last, steps, path)
  local whole = { depth = 0, share = 1 }
  local function note(key, value)
    whole[key] = value
    assert(files.write_atomic(path, json.encode(whole)))
  end
  origin.trial = {
    layers = layers,
    note = function(depth)
      if depth > whole.depth then note("depth", depth) end
    end,
  }
  of_data.last, of_data.steps = last, steps
  of_data.note = function(share) note("share", share) end
end
