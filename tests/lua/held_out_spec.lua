--- Gold beside a reward: agreement within prompts, what was lost, and what a run says of both.

local held_out = require("perilune.learn.held_out")
local pl = require("perilune")
local world = dofile("tests/lua/support/world.lua")

describe("agreement of reward and gold", function()
  it("is the covariance within prompts in the scale of both", function()
    -- prompt 1: s 1 3, g 0 2: covariance 2, variances 2 and 2; prompt 2: s 10 14, g 5 4: -2, 8, 0.5
    local value, error_of = held_out.agreement({ 1, 3, 10, 14 }, { 0, 2, 5, 4 }, 2)
    assert.are.equal(0, value)
    -- of 2 and -2: deviation √8 over √2, scale √(10 · 2.5) / 2
    assert.is_true(math.abs(error_of - 2 / 2.5) < 1e-12)
    assert.are.equal(1, (held_out.agreement({ 1, 2, 5, 6 }, { 10, 30, -1, 19 }, 2)))
    assert.are.equal(-1, (held_out.agreement({ 1, 2, 5, 6 }, { 30, 10, 9, -11 }, 2)))
  end)

  it("knows nothing of what differs between prompts", function()
    local near = held_out.agreement({ 1, 2, 3, 1 }, { 3, 2, 1, 3 }, 2)
    local far = held_out.agreement({ 1, 2, 1003, 1001 }, { 3, 2, 1001, 1003 }, 2)
    assert.are.equal(near, far)
  end)

  it("is none where nothing differs, and has no error of one prompt", function()
    assert.is_nil((held_out.agreement({ 1, 1, 2, 2 }, { 1, 2, 3, 4 }, 2)))
    assert.is_nil((held_out.agreement({ 1, 2, 3, 4 }, { 5, 5, 5, 5 }, 2)))
    assert.is_nil((held_out.agreement({}, {}, 4)))
    local value, error_of = held_out.agreement({ 1, 2 }, { 0, 1 }, 2)
    assert.are.equal(1, value)
    assert.is_nil(error_of)
    assert.is_nil((held_out.agreement({ 1, 0 / 0 }, { 0, 1 }, 2)))
  end)
end)

it("what gold lost is held against the best measurement, prompt by prompt", function()
  local seen, lost, error_of = held_out.lost(nil, 0, { 1, 3, 4, 6 }, 2) -- 2 and 5
  assert.are.same({ step = 0, count = 1, values = { 2, 5 } }, seen)
  assert.are.same({ 0, 0 }, { lost, error_of })
  seen, lost, error_of = held_out.lost(seen, 4, { 1, 2, 3, 4 }, 2) -- 1.5 and 3.5
  assert.are.same({ step = 0, count = 2, values = { 2, 5 } }, seen)
  assert.are.same({ 1, 0.5 }, { lost, error_of }) -- 0.5 and 1.5: deviation √0.5, of two
  seen = held_out.lost(seen, 8, { 9, 9, 9, 9 }, 2)
  assert.are.same({ step = 8, count = 3, values = { 9, 9 } }, seen)
end)

describe("a run with gold", function()
  local w, rm, gold

  setup(function()
    w = world.new("llama")
    local settings = world.settings(w, "reward")
    settings.save_steps, settings.max_steps = 0, 8
    world.run("reward", settings, w.dir .. "/rm")
    rm = w.dir .. "/rm/model"
    gold = world.write(
      w.dir .. "/gold.lua",
      "return function(_, answers) local s = {} for i, a in ipairs(answers) do s[i] = #a end "
        .. "return s end"
    )
  end)

  teardown(world.clean)

  local runs = 0
  local function run(recipe, more)
    local settings = world.settings(w, recipe)
    settings.eval_dataset, settings.eval_steps, settings.eval_count = w.prompts, 1, 8
    settings.gold, settings.save_steps = gold, 0
    for key, value in pairs(more or {}) do
      settings[key] = value
    end
    runs = runs + 1
    local folder = settings.output_dir or ("%s/run%d"):format(w.dir, runs)
    settings.output_dir = nil
    local summary = world.run(recipe, settings, folder)
    return summary, assert(pl.run.read_rows(folder .. "/metrics.jsonl")), folder
  end

  for _, recipe in ipairs { "ppo", "rloo" } do
    it("measures it in " .. recipe .. " and has the bits of one without", function()
      local summary, rows = run(recipe)
      local without = run(recipe, { gold = "", eval_dataset = "" })
      assert.are.equal(without.weights_hash, summary.weights_hash)
      local best = -math.huge
      for i, row in ipairs(rows) do
        assert.is_true(math.abs(row.eval_agreement) <= 1 and row.eval_agreement_error >= 0)
        assert.are.equal(i + 1, row.eval_gold_count) -- before the first step as well
        best = math.max(best, row.eval_gold)
        assert.is_true(row.eval_gold_lost >= best - row.eval_gold - 1e-9)
      end
    end)
  end

  it("agrees wholly with itself, and not at all with its negative", function()
    local negative = world.write(
      w.dir .. "/negative.lua",
      "return function(_, answers) local s = {} for i, a in ipairs(answers) do s[i] = -#a end "
        .. "return s end"
    )
    for path, wanted in pairs { [gold] = 1, [negative] = -1 } do
      local _, rows, folder = run("rloo", { reward_function = gold, gold = path, max_steps = 2 })
      assert.is_true(math.abs(rows[1].eval_agreement - wanted) < 1e-9)
      local alarms = pl.run.read_rows(folder .. "/alarms.jsonl")
      local names = {}
      for _, one in ipairs(alarms) do
        names[one.alarm] = one.step
      end
      assert.are.equal(wanted < 0 and 2 or nil, names.other_taste)
    end
  end)

  it("goes on to the same bits, what gold was at its best with it", function()
    local whole, rows = run("rloo", { save_steps = 1 })
    local folder = w.dir .. "/resumed"
    run("rloo", { output_dir = folder, save_steps = 1, save_total_limit = 0 })
    for step = 3, 4 do
      assert(pl.files.folder_remove(("%s/checkpoint-%d"):format(folder, step)))
    end
    local resumed, after = run("rloo", { output_dir = folder, save_steps = 1, resume = "latest" })
    assert.are.equal(whole.weights_hash, resumed.weights_hash)
    for i, row in ipairs(rows) do
      assert.are.equal(row.eval_gold_lost, after[i].eval_gold_lost)
      assert.are.equal(row.eval_gold_count, after[i].eval_gold_count)
      assert.are.equal(row.eval_agreement, after[i].eval_agreement)
    end
  end)

  it("may choose its checkpoint by it", function()
    local summary, rows = run("rloo", { checkpoint_choice = "eval_gold", save_total_limit = 0 })
    local best
    for _, row in ipairs(rows) do
      if not best or row.eval_gold > best.eval_gold then best = row end
    end
    assert.are.equal("checkpoint-" .. best.step, summary.best_checkpoint)
  end)

  -- What a run says before its first step.
  local function said(more)
    local system = require("perilune.core").system
    local settings = world.settings(w, "rloo")
    settings.reward_function, settings.reward_model, settings.quiet = nil, rm, false
    settings.max_steps, settings.save_steps, settings.eval_count = 1, 0, 8
    for key, value in pairs(more) do
      settings[key] = value
    end
    runs = runs + 1
    local command = world.command("rloo", settings, ("%s/said%d"):format(w.dir, runs))
    local err = w.dir .. "/err"
    system.spawn(command, { stdin = "/dev/null", stdout = w.dir .. "/out", stderr = err })
    return world.read(err)
  end

  it("says before its first step what nothing measures, or what was measured", function()
    assert.matches("nothing here measures whether the reward model's taste", said {}, 1, true)
    local both = said { gold = gold, eval_dataset = w.prompts, eval_rankings = w.rankings }
    assert.matches("within prompts the reward goes with it by a correlation of ", both, 1, true)
    assert.matches("the reward orders [%d.]+ %% %([%d.]+ to [%d.]+%) of %d+ held%-out pairs", both)
    assert.is_nil(both:find("nothing here measures", 1, true))
    local one = said { gold = gold, eval_dataset = w.prompts, eval_count = 1 }
    assert.matches("a correlation of %-?[%d.]+, of one prompt alone, which tells no error\n", one)
    require("perilune.core").system.setenv("PERILUNE_JUDGED_BY", "the judge of the task")
    local judged = said {}
    require("perilune.core").system.setenv("PERILUNE_JUDGED_BY", nil)
    assert.matches("its answers are judged when it is done, by the judge of the task\n", judged)
    assert.is_nil(judged:find("nothing here measures", 1, true))
    local swapped = {}
    for line in io.lines(w.rankings) do
      local row = pl.json.decode(line)
      for i, rank in ipairs(row.ranks) do
        row.ranks[i] = -rank
      end
      for i, rank in ipairs(row.ranks) do
        row.ranks[i] = rank + 5
      end
      swapped[#swapped + 1] = row
    end
    local path = world.jsonl(w.dir .. "/swapped.jsonl", swapped)
    assert.matches(
      "warning: the reward orders .* which chance does as well",
      said {
        eval_rankings = path,
      }
    )
  end)

  it("does not say of a few rankings that chance orders them as well", function()
    local first
    for line in io.lines(w.rankings) do
      local row = pl.json.decode(line)
      first = first or row
    end
    first.completions = { first.completions[1], first.completions[2] }
    first.ranks = { 1, 2 }
    local path = world.jsonl(w.dir .. "/one.jsonl", { first })
    local text = said { eval_rankings = path }
    assert.matches("of 1 held-out pairs as they are ranked: too few to tell", text, 1, true)
    assert.is_nil(text:find("which chance does as well", 1, true))
  end)

  it("refuses what cannot be measured", function()
    for sentence, more in pairs {
      ["gold judges answers to held-out prompts: give an eval_dataset"] = { eval_dataset = "" },
      ["checkpoint_choice eval_gold wants a gold"] = { gold = "", checkpoint_choice = "eval_gold" },
      ["eval_rankings is asked of reward models"] = { eval_rankings = w.rankings },
      ["gold /nowhere.lua cannot be read"] = { gold = "/nowhere.lua" },
    } do
      local ok, message = pcall(run, "rloo", more)
      assert.is_false(ok)
      assert.matches(sentence, tostring(message), 1, true)
    end
  end)
end)
