--- Changes of structure keep every bit: the weights after three steps of SFT, reward model and PPO,
-- by kernel variant. A step that means to change results records the new hashes and says why.

local world = dofile("tests/lua/support/world.lua")

local system = require("perilune.core").system

-- The weights_hash of each recipe in the world of world.new("llama"), recorded once.
local kept = {
  plain = {
    sft = "27306476e488e827a897b93c8a332e20",
    reward = "9486b5b3edf2fe38acd1c9fa749a7694",
    ppo = "285b6c18c9ad0b2104576e37b8a064f0",
  },
  avx2 = {
    sft = "01da0dbb6a4e89554ded448b7c717041",
    reward = "ea3215b0be3f759ed9b31579a5fd59b6",
    ppo = "dfc8ca2e564ef7dcbab97697035cf1b9",
  },
  avx512 = {
    sft = "27284f32a63e273d5745bf372564b72b",
    reward = "914e7fcb0718aba052f1c3ccf280d3d6",
    ppo = "3775c870b2720d5a9e98222a9dbab690",
  },
}

describe("the weights after three steps", function()
  local w, isa_before, gemm_before

  setup(function()
    isa_before, gemm_before = os.getenv("PERILUNE_ISA"), os.getenv("PERILUNE_GEMM")
    system.setenv("PERILUNE_GEMM", "own")
    system.setenv("OMP_WAIT_POLICY", "passive")
    w = world.new("llama")
  end)

  teardown(function()
    system.setenv("PERILUNE_ISA", isa_before)
    system.setenv("PERILUNE_GEMM", gemm_before)
    world.clean()
  end)

  for isa, hashes in pairs(kept) do
    for recipe, want in pairs(hashes) do
      it(("of %s are the recorded ones (%s)"):format(recipe, isa), function()
        system.setenv("PERILUNE_ISA", isa)
        local settings = world.settings(w, recipe)
        settings.max_steps, settings.save_steps = 3, 0
        local folder = ("%s/%s-%s"):format(w.dir, recipe, isa)
        local env = io.popen(world.program .. " -e 'print(require(\"perilune\").isa())'")
        local used = env:read("l")
        env:close()
        if used ~= isa then
          pending("this machine cannot run the " .. isa .. " kernels")
          return
        end
        assert.are.equal(want, world.run(recipe, settings, folder).weights_hash)
      end)
    end
  end
end)
