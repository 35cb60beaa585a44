--- `quantize`: the models of a run that are not trained, held in q8_0 or as their files have them.

local pl = require("perilune")
local message_of = dofile("tests/lua/support/message_of.lua")
local world = dofile("tests/lua/support/world.lua")

local w, reward_model

local function run(recipe, name, more)
  local settings = world.settings(w, recipe)
  settings.output_dir, settings.threads = w.dir .. "/" .. name, 1
  for key, value in pairs(more or {}) do
    settings[key] = value
  end
  return pl.config.run_recipe("recipes/" .. recipe .. ".lua", settings), settings.output_dir
end

local function ppo(name, more)
  local given = {
    reward_function = "",
    reward_model = reward_model,
    total_episodes = 32,
    kl_coef = 0.1,
    save_steps = 2,
  }
  for key, value in pairs(more) do
    given[key] = value
  end
  return run("ppo", name, given)
end

setup(function()
  require("perilune.core").system.setenv("OMP_WAIT_POLICY", "passive")
  w = world.new("llama")
  reward_model = run("reward", "reward", {}).model
end)

teardown(function() world.clean() end)

describe("quantize", function()
  it("holds reference and reward model so, and trains policy and value model whole", function()
    local none = ppo("none", { quantize = "none" })
    local rounded, folder = ppo("q8_0", { quantize = "q8_0" })
    local before, after = none.history[1], rounded.history[1]
    assert.are.equal(0, before["objective/kl"]) -- the reference is the policy, to the bit
    assert.is_true(after["objective/kl"] ~= 0 and math.abs(after["objective/kl"]) < 0.1)
    assert.is_true(after["objective/scores"] ~= before["objective/scores"])
    assert.is_true(math.abs(after["objective/scores"] - before["objective/scores"]) < 0.05)
    local value = assert(pl.load(folder .. "/checkpoint-2/value_model"))
    local all, trained = value:count()
    assert.are.equal(all, trained)
    local unmoved = {}
    for name, start in pairs(assert(pl.load(reward_model)).weights) do
      unmoved[#unmoved + 1] = start:bytes() == value.weights[name]:bytes() and name or nil
    end
    assert.are.same({}, unmoved) -- every weight was trained
  end)

  it("as_is changes nothing where files are of float32", function()
    local none = assert(pl.load(ppo("float", { quantize = "none" }).model)):hash()
    assert.are.equal(none, assert(pl.load(ppo("kept", { quantize = "as_is" }).model)):hash())
  end)

  it("is what models beside one without a base are loaded as", function()
    local whole = assert(pl.load(w.model, { precision = "bf16" }))
    assert.are.same({ precision = "bf16" }, whole:beside())
    assert.are.same({ precision = "bf16" }, whole:beside("none"))
    local frozen = { precision = "bf16", frozen = true, dtype = "q8_0" }
    assert.are.same(frozen, whole:beside("q8_0"))
    frozen.dtype = "kept"
    assert.are.same(frozen, whole:beside("as_is"))
    local on_base = assert(pl.load(w.model, { dtype = "bfloat16" }))
    frozen = { frozen = true, dtype = "bfloat16", precision = on_base.precision }
    assert.are.same(frozen, on_base:beside("q8_0"))
  end)

  it("is refused beside adapters, whose base is shared", function()
    local message = message_of(ppo, "adapters", { quantize = "q8_0", peft_r = 2 })
    assert.is_truthy(message:find("base_dtype says what holds it", 1, true), message)
  end)
end)
