--- Bases and adapters for tests: goldens of tests/golden as folders, and toy models with adapters.

local json = require("perilune.base.json")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local toy = dofile("tests/lua/support/toy.lua")

local adapted = {}

--- The model of a golden as a folder; its tensors.
function adapted.base(name)
  local tensors, notes =
    assert(pl.files.safetensors.load("tests/golden/" .. name .. ".safetensors"))
  local model = pl.model.new(assert(json.decode(notes.config)))
  for parameter, weight in pairs(model.weights) do
    weight:copy_(tensors["w." .. parameter])
  end
  local path = scratch.path()
  assert(model:save(path))
  return path, tensors
end

--- The sequences and masks of a golden.
function adapted.sequences(tensors)
  local tokens, masks, offsets =
    tensors.tokens:totable(), tensors.masks:totable(), tensors.offsets:totable()
  local sequences, trained = {}, {}
  for b = 1, #offsets - 1 do
    sequences[b] = table.move(tokens, offsets[b] + 1, offsets[b + 1], 1, {})
    trained[b] = table.move(masks, offsets[b] + 1, offsets[b + 1], 1, {})
  end
  return sequences, trained
end

--- A toy model in a folder.
function adapted.folder(name, opts)
  local path = scratch.path()
  assert(toy.model(name, opts):save(path))
  return path
end

--- Moves every parameter of the block away from where it begins.
function adapted.stir(model, seed)
  local guard <close> = pl.no_grad() -- luacheck: ignore
  for i, name in ipairs(model.block:names()) do
    local tensor = model.block:tensors()[name]
    tensor:copy_(
      tensor
        + pl.randn(tensor:shape(), { b = 0.1, seed = seed or 3, purpose = i, dtype = model.dtype })
    )
  end
  return model
end

adapted.scratch = scratch
return adapted
