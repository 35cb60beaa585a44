--- The cases of tests/golden/families, and models with the weights they were made with.

local json = require("perilune.base.json")
local lfs = require("lfs")
local pl = require("perilune")
local registry = require("perilune.model.families")

local families = {}

local FOLDER <const> = "tests/golden/families/"
local LENGTHS <const> = { 7, 1, 12, 5 }

--- Names of the cases, in order.
function families.names()
  local names = {}
  for file in lfs.dir(FOLDER) do
    names[#names + 1] = file:match("^(.*)%.safetensors$")
  end
  table.sort(names)
  return names
end

-- The same lines are in make_families.py.
local function hashed(seed, index)
  local h = seed + index * 0x9E3779B9 & 0xFFFFFFFF
  h = (h ~ h >> 16) * 0x85EBCA6B & 0xFFFFFFFF
  h = (h ~ h >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
  return h ~ h >> 16
end

--- The tensor that a file of the case holds under this name.
function families.filled(name, shape)
  local base = name:find("norm", 1, true) or name:find("ln_", 1, true)
  base = base and not name:match("%.bias$") and 1.0 or 0.0
  local seed, count, list = 2166136261, 1, {}
  for i = 1, #name do
    seed = (seed ~ name:byte(i)) * 16777619 & 0xFFFFFFFF
  end
  for _, n in ipairs(shape) do
    count = count * n
  end
  for i = 1, count do
    list[i] = base + ((hashed(seed, i - 1) >> 8) / (1 << 24) - 0.5) / 2
  end
  return pl.tensor(list):reshape(table.unpack(shape))
end

--- The sequences of a case.
function families.sequences(vocab)
  local result, at = {}, 0
  for b, length in ipairs(LENGTHS) do
    result[b] = {}
    for t = 1, length do
      result[b][t] = 4 + hashed(7, at) % (vocab - 4)
      at = at + 1
    end
  end
  return result
end

--- A case: `tensors` of the golden, `config4`, `config5`.
function families.read(name)
  local tensors, notes = pl.files.safetensors.load(FOLDER .. name .. ".safetensors")
  assert(tensors, notes)
  return {
    tensors = tensors,
    config4 = assert(json.decode(notes.config4)),
    config5 = assert(json.decode(notes.config5)),
  }
end

--- A model of a config with the weights of the case, read as from a file.
function families.model(config, dtype)
  local model = pl.model.new(config, { dtype = dtype })
  local in_file = {}
  for name, tensor in pairs(registry.to_file(model.spec, model.weights)) do
    in_file[name] = families.filled(name, tensor:shape())
  end
  for name, tensor in pairs(registry.from_file(model.spec, in_file)) do
    model.weights[name]:copy_(tensor:cast { dtype = model.dtype })
  end
  return model
end

return families
