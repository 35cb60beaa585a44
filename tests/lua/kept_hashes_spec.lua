--- Changes of structure keep every bit: the weights after three steps of SFT, reward model and PPO,
-- by kernel variant. A step that means to change results records the new hashes and says why.

local world = dofile("tests/lua/support/world.lua")

local system = require("perilune.core").system

-- The weights_hash of each recipe in the world of world.new("llama"), recorded once.
local kept = {
  plain = {
    sft = "27306476e488e827a897b93c8a332e20",
    reward = "9486b5b3edf2fe38acd1c9fa749a7694",
    ppo = "318521007be0b6a5564900adaee9e58b",
  },
  avx2 = {
    sft = "01da0dbb6a4e89554ded448b7c717041",
    reward = "ea3215b0be3f759ed9b31579a5fd59b6",
    ppo = "a730e2f5801d8cd2181582abe200d056",
  },
  avx512 = {
    sft = "27284f32a63e273d5745bf372564b72b",
    reward = "914e7fcb0718aba052f1c3ccf280d3d6",
    ppo = "4741db8ee81eddad8e7b55ae9a14a74a",
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
