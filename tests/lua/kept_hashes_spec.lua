--- Changes of structure keep every bit: the weights after three steps of SFT, reward model and PPO,
-- by kernel variant. A step that means to change results records the new hashes and says why.

local pl = require("perilune")
local world = dofile("tests/lua/support/world.lua")

local system = pl.system

-- The weights_hash of each recipe in the world of world.new("llama"), recorded once.
local kept = {
  plain = {
    sft = "3bf96d9431b7824d944303964d47c903",
    reward = "b6af6342763d2a1fe1cf407b110dd660",
    ppo = "bce56a830efad854c3b9d3f1adf50df1",
  },
  avx2 = {
    sft = "58d1fb536645f2f27a10e02728488e90",
    reward = "43c1bea462564b39be814e439785d3e1",
    ppo = "f0ec1031c97c3d52d926d1cfd5b82441",
  },
  avx512 = {
    sft = "78f825cbd684d8c480d7ff0af1a8f9ab",
    reward = "4cba7f164dc1dd23c1e932fe6d5e7192",
    ppo = "bdd6baf0a9aacec2737ace4c7201ea38",
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
