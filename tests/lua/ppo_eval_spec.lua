--- Measuring during PPO, and the choice of the checkpoint by it.

local pl = require("perilune")
local world = dofile("tests/lua/support/world.lua")

describe("the choice of a checkpoint", function()
  it("takes the greatest figure, or the least loss, and of equals the first", function()
    local state = {}
    local function chosen(measured, name) return { pl.evaluation.choose(state, measured, name) } end
    assert.are.same({ -2, true }, chosen({ eval_loss = 2 }, "eval_loss"))
    assert.are.same({ -2, false }, chosen({ eval_loss = 2 }, "eval_loss"))
    assert.are.same({ -3, false }, chosen({ eval_loss = 3 }, "eval_loss"))
    assert.are.same({ -1, true }, chosen({ eval_loss = 1 }, "eval_loss"))
    assert.are.equal(-1, state.best)
    assert.are.same({ 5, true }, chosen({ eval_score = 5 }, "eval_score"))
    assert.are.same({ nil, false }, chosen({ eval_score = 6 }, "last"))
    assert.are.equal(5, state.best)
  end)
end)

describe("PPO with held-out prompts", function()
  local w

  setup(function() w = world.new("llama") end)

  teardown(world.clean)

  local runs = 0
  local function run(choice, more)
    local settings = world.settings(w, "ppo")
    settings.eval_dataset, settings.eval_steps, settings.eval_count = w.prompts, 2, 8
    settings.checkpoint_choice, settings.save_steps = choice, 0
    settings.save_total_limit = 0
    for key, value in pairs(more or {}) do
      settings[key] = value
    end
    runs = runs + 1
    local folder = ("%s/choice%d"):format(w.dir, runs)
    local summary = world.run("ppo", settings, folder)
    return summary, assert(pl.run.read_rows(folder .. "/metrics.jsonl")), folder
  end

  local function measured(rows, key)
    local list = {}
    for _, row in ipairs(rows) do
      if row.eval_score then list[#list + 1] = { step = row.step, value = row[key] } end
    end
    return list
  end

  it("measures every so many iterations and at the end", function()
    local summary, rows = run("last")
    local list = measured(rows, "eval_score")
    assert.are.same({ 2, 4, 5 }, { list[1].step, list[2].step, list[3].step })
    assert.are.equal(list[3].value, summary.eval_score)
    for _, row in ipairs(rows) do
      if row.eval_score then
        local reward = row.eval_score - row["objective/kl_coef"] * row.eval_kl
        assert.is_true(math.abs(reward - row.eval_reward) < 1e-9)
      end
    end
    assert.is_nil(summary.best_checkpoint)
  end)

  for _, key in ipairs { "eval_score", "eval_reward" } do
    it("takes the checkpoint with the best " .. key, function()
      local summary, rows, folder = run(key, { seed = 9 })
      local best
      for _, one in ipairs(measured(rows, key)) do
        if not best or one.value > best.value then best = one end
      end
      assert.are.equal("checkpoint-" .. best.step, summary.best_checkpoint)
      local chosen = assert(pl.load(("%s/checkpoint-%d"):format(folder, best.step)))
      assert.are.equal(chosen:hash(), assert(pl.load(folder .. "/model")):hash())
      assert.are.equal(chosen:hash(), summary.weights_hash)
    end)
  end

  it("has the bits of a run that does not measure", function()
    local with = run("last").weights_hash
    local settings = world.settings(w, "ppo")
    settings.save_steps = 0
    assert.are.equal(world.run("ppo", settings, w.dir .. "/plain").weights_hash, with)
  end)

  it("refuses a choice without prompts to choose by", function()
    local ok, message = pcall(run, "eval_score", { eval_dataset = "" })
    assert.is_false(ok)
    assert.is_truthy(message:find("checkpoint_choice wants an eval_dataset", 1, true), message)
  end)
end)

describe("the best measurement", function()
  local function chosen(name, figures)
    local state, list = {}, {}
    for i, figure in ipairs(figures) do
      local _, is_best = pl.evaluation.choose(state, { [name] = figure }, name)
      if is_best then list[#list + 1] = i end
    end
    return list, state.best
  end

  it("is the first of equal ones, and smaller where it is a loss", function()
    assert.are.same({ 1, 3 }, (chosen("eval_score", { 1, 1, 2, 2, 1 })))
    assert.are.same({ 1, 3 }, (chosen("eval_loss", { 2, 2, 1, 3 })))
  end)

  it("is never one that is no number, and none before a number comes", function()
    local list, best = chosen("eval_score", { 0 / 0, 1, 0 / 0, math.huge, 2 })
    assert.are.same({ 2, 5 }, list)
    assert.are.equal(2, best)
    assert.are.same({ 2 }, (chosen("eval_loss", { 0 / 0, 3, 0 / 0, -math.huge })))
    local _, is_best = pl.evaluation.choose({ best = 0 / 0 }, { eval_score = -1 }, "eval_score")
    assert.is_true(is_best) -- of a checkpoint that an older version wrote
  end)
end)
