--- Saves the models of all family goldens, with a head for tokens and one for scores, and what they
-- give, for check_families.py:  ./build/perilune tests/golden/save_families.lua FOLDER

local lfs = require("lfs")
local pl = require("perilune")
local support = dofile("tests/lua/support/families.lua")

local folder = assert(arg[1], "usage: save_families.lua FOLDER")
assert(lfs.mkdir(folder))
local guard <close> = pl.no_grad() -- luacheck: ignore
for _, case_name in ipairs(support.names()) do
  for _, spelling in ipairs { "config4", "config5" } do
    local config = support.read(case_name)[spelling]
    local name = case_name .. "-" .. spelling
    local batch = pl.batch.pack(support.sequences(config.vocab_size))
    local model = support.model(config)
    local reward = model:copy { scalar_head = true, seed = 4 }
    assert(model:save(folder .. "/" .. name))
    assert(reward:save(folder .. "/" .. name .. "-reward"))
    assert(pl.files.safetensors.save(folder .. "/" .. name .. ".safetensors", {
      tokens = batch.tokens,
      offsets = batch.offsets,
      logits = model:logits(batch),
      scores = reward:scores(batch),
    }))
  end
end
