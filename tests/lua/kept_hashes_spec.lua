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
    reward = "778c0fec79ca7ddda77228d4963eb68a",
    ppo = "50f8ab0998b10391fd880b060df0b0cc",
    sft_bf16 = "408b0ed8de0c8858bfba965eaf5a0582",
    ppo_bf16 = "762402315f8d19b823352dc5c0940390",
  },
  avx2 = {
    sft = "01da0dbb6a4e89554ded448b7c717041",
    reward = "f260de79ce34fe3467ccc3dc5330b244",
    ppo = "262f6df7bdb8895e62c29e2e54613828",
    sft_bf16 = "fd143f7c0b7b3f857dbeb8e1712e3c47",
    ppo_bf16 = "3998b328d72fd9bee285a522485135cf",
  },
  avx512 = {
    sft = "27284f32a63e273d5745bf372564b72b",
    reward = "f3c5ce2f2fccf2ad9ce2017803fd9d50",
    ppo = "af7d33e9306b35506ceb94fdc808d428",
    sft_bf16 = "3c70ec5bb2fcc4776dd4ddf28fbeaf54",
    ppo_bf16 = "af09631b178d01eb172a7d6e384815fe",
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
