--- Several reward models as one judge.

local pl = require("perilune")
local world = dofile("tests/lua/support/world.lua")

local score = pl.score

describe("the scores of an ensemble", function()
  it("are the mean, the smallest, or the mean less some deviations", function()
    local scores = { 1, 2, 6 }
    assert.equal(3, score.combined(scores))
    assert.equal(3, score.combined(scores, "mean"))
    assert.equal(1, score.combined(scores, "min"))
    local deviation = math.sqrt((4 + 1 + 9) / 2)
    assert.is_true(math.abs(3 - 0.5 * deviation - score.combined(scores, "cautious", 0.5)) < 1e-12)
    for _, how in ipairs { "mean", "min", "cautious" } do
      assert.equal(0.3, score.combined({ 0.3 }, how, 2))
    end
  end)

  it("come from paths by commas", function()
    assert.are.same({ "a", "b c", "d" }, score.paths(" a,b c , d,, "))
    assert.are.same({}, score.paths(""))
  end)
end)

describe("an ensemble of reward models", function()
  local w, first, second

  setup(function()
    w = world.new("llama")
    local function train(seed)
      local settings = world.settings(w, "reward")
      settings.save_steps, settings.threads, settings.seed = 0, 1, seed
      local folder = ("%s/rm%d"):format(w.dir, seed)
      world.run("reward", settings, folder)
      return folder .. "/model"
    end
    first, second = train(1), train(2)
  end)

  teardown(world.clean)

  local runs = 0
  local function ppo(more)
    local settings = world.settings(w, "ppo")
    settings.reward_function, settings.save_steps, settings.threads = nil, 0, 1
    settings.total_episodes = 16
    for key, value in pairs(more) do
      settings[key] = value
    end
    runs = runs + 1
    local folder = ("%s/ppo%d"):format(w.dir, runs)
    return world.run("ppo", settings, folder).weights_hash,
      assert(pl.run.read_rows(folder .. "/metrics.jsonl"))
  end

  it("that is one twice is that one, to the bit", function()
    local alone = ppo { reward_model = first }
    assert.equal(alone, (ppo { reward_model = first .. "," .. first }))
    local cautious = { reward_model = first .. ", " .. first, reward_ensemble = "cautious" }
    assert.equal(alone, (ppo(cautious)))
    local told = world.read(("%s/ppo%d.err"):format(w.dir, runs))
    local wanted =
      "warning: reward_model names the same weights twice, %s and %s: they never disagree"
    assert.is_truthy(told:find(wanted:format(first, first), 1, true), told)
  end)

  it("scores as its members together do", function()
    local function raw(text, how)
      local _, rows = ppo { reward_model = text, reward_ensemble = how }
      return rows[1]["objective/raw_scores"]
    end
    local both = first .. "," .. second
    local a, b = raw(first), raw(second)
    assert.are_not.equal(a, b)
    assert.is_true(math.abs((a + b) / 2 - raw(both, "mean")) < 1e-6)
    assert.is_true(raw(both, "min") <= math.min(a, b) + 1e-6)
    assert.is_true(raw(both, "cautious") < (a + b) / 2)
  end)

  it("names the member that cannot be loaded", function()
    local ok, message = pcall(ppo, { reward_model = first .. ",/nowhere" })
    assert.is_false(ok)
    assert.matches("reward_model", message, 1, true)
    assert.matches("/nowhere", message, 1, true)
    ok, message = pcall(ppo, { reward_model = " , " })
    assert.is_false(ok)
    assert.matches("names no folder", message, 1, true)
  end)

  it("judges in eval and beside training", function()
    local both = first .. "," .. second
    local settings = {
      model = w.model,
      dataset = w.prompts,
      reward_model = both,
      reward_ensemble = "min",
      response_length = 8,
      count = 8,
      threads = 1,
    }
    local least = world.run("eval", settings, w.dir .. "/eval").score
    settings.reward_model = first
    assert.is_true(least <= world.run("eval", settings, w.dir .. "/eval-one").score)
    local chosen = {}
    for i, chooser in ipairs { first, first .. "," .. first, both } do
      settings.reward_model, settings.reward_function = nil, w.reward
      settings.chooser, settings.best_of = chooser, 4
      local found = world.run("eval", settings, ("%s/chosen%d"):format(w.dir, i))
      chosen[i] = found.best_of[3].chosen
      assert.is_number(found.chooser_score)
    end
    assert.equal(chosen[1], chosen[2])
    local dpo = world.settings(w, "dpo")
    dpo.reward_model, dpo.eval_prompts, dpo.max_steps, dpo.save_steps = both, w.prompts, 1, 0
    dpo.response_length, dpo.threads = 8, 1
    assert.is_number(world.run("dpo", dpo, w.dir .. "/dpo").eval_score)
  end)
end)
