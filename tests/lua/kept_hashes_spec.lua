--- Changes of structure keep every bit: the weights after three steps of SFT, reward model and PPO,
-- and of SFT and PPO in bf16, by kernel variant. A step that means to change results records the
-- new hashes and says why.

local world = dofile("tests/lua/support/world.lua")

local system = require("perilune.core").system

-- The weights_hash of each recipe in the world of world.new("llama"), recorded once. Those in bf16
-- are of the rule that all machines have, PERILUNE_BF16=chain.
local kept = {
  plain = {
    sft = "27306476e488e827a897b93c8a332e20",
    reward = "9486b5b3edf2fe38acd1c9fa749a7694",
    ppo = "285b6c18c9ad0b2104576e37b8a064f0",
    sft_bf16 = "408b0ed8de0c8858bfba965eaf5a0582",
    ppo_bf16 = "1399b9a16a64e2bfbffd497cb3214923",
  },
  avx2 = {
    sft = "01da0dbb6a4e89554ded448b7c717041",
    reward = "ea3215b0be3f759ed9b31579a5fd59b6",
    ppo = "dfc8ca2e564ef7dcbab97697035cf1b9",
    sft_bf16 = "fd143f7c0b7b3f857dbeb8e1712e3c47",
    ppo_bf16 = "cb73c6cf472df89a439a46e20fdd2f9e",
  },
  avx512 = {
    sft = "27284f32a63e273d5745bf372564b72b",
    reward = "914e7fcb0718aba052f1c3ccf280d3d6",
    ppo = "3775c870b2720d5a9e98222a9dbab690",
    sft_bf16 = "3c70ec5bb2fcc4776dd4ddf28fbeaf54",
    ppo_bf16 = "74a624d28ca7a1229cf50f09e3a911ba",
  },
}

describe("the weights after three steps", function()
  local w
  local before = {}

  setup(function()
    for _, name in ipairs { "PERILUNE_ISA", "PERILUNE_GEMM", "PERILUNE_BF16" } do
      before[#before + 1] = { name, os.getenv(name) }
    end
    system.setenv("PERILUNE_GEMM", "own")
    system.setenv("PERILUNE_BF16", "chain")
    system.setenv("OMP_WAIT_POLICY", "passive")
    w = world.new("llama")
  end)

  teardown(function()
    for _, one in ipairs(before) do
      system.setenv(one[1], one[2])
    end
    world.clean()
  end)

  for isa, hashes in pairs(kept) do
    for name, want in pairs(hashes) do
      local recipe, precision = name:match("^(%a+)_?(.*)$")
      it(("of %s are the recorded ones (%s)"):format(name, isa), function()
        system.setenv("PERILUNE_ISA", isa)
        local settings = world.settings(w, recipe)
        settings.max_steps, settings.save_steps = 3, 0
        settings.precision = precision ~= "" and precision or nil
        local folder = ("%s/%s-%s"):format(w.dir, name, isa)
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
