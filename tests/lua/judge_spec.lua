--- `perilune judge`: what it prints of a reward model, against the library's own figures.

local json = require("perilune.base.json")
local pl = require("perilune")
local system = require("perilune.core").system
local world = dofile("tests/lua/support/world.lua")

describe("perilune judge", function()
  local w, model

  setup(function()
    w = world.new("llama")
    local settings = world.settings(w, "reward")
    settings.save_steps, settings.threads, settings.max_steps = 0, 1, 8
    world.run("reward", settings, w.dir .. "/rm")
    model = w.dir .. "/rm/model"
  end)

  teardown(world.clean)

  -- Exit status, output and errors.
  local function judge(...)
    local how, code = system.spawn(
      { world.program, "judge", ... },
      { stdin = "/dev/null", stdout = w.dir .. "/out", stderr = w.dir .. "/err" }
    )
    return how == "exit" and code or how, world.read(w.dir .. "/out"), world.read(w.dir .. "/err")
  end

  it("prints accuracy, calibration, correlation and best of n", function()
    local status, out, err = judge(model, "--rankings", w.rankings, "--gold", w.reward)
    assert.equal(0, status, err)
    local tok = assert(pl.tokenizer.load(model))
    local sets, ranks = pl.data.ranked(tok, nil, w.rankings), {}
    for i = 1, #sets do
      ranks[i] = sets[i].ranks
    end
    local rm = assert(pl.load(model)):freeze()
    local scores = pl.score.sets(rm, sets)
    local wanted = pl.ranking.calibration(pl.ranking.gaps(scores, ranks))
    assert.matches(("%d pairs of %d sets"):format(wanted.eval_pairs, #sets), out, 1, true)
    assert.matches(("accuracy %.4f"):format(wanted.eval_accuracy), out, 1, true)
    assert.matches(("calibration error %.4f"):format(wanted.eval_calibration_error), out, 1, true)
    local gold = {} -- as the reward function of the world has it
    for i = 1, #sets do
      for k = 1, #ranks[i] do
        local text = sets[i].row.completions[k]
        gold[#gold + 1] = select(2, text:gsub("moon", "")) - 0.1 * select(2, text:gsub("a", ""))
      end
    end
    local against = pl.ranking.against(scores, gold, ranks)
    assert.matches(("within prompts %.4f"):format(against.correlation), out, 1, true)
    assert.matches(("ordered as gold does %.4f"):format(against.accuracy), out, 1, true)
    for _, point in ipairs(against.best_of) do
      local row = ("\n *%d +%.4f +%.4f +%d"):format(point.n, point.chosen, point.oracle, point.sets)
      assert.matches(row:gsub("%-", "%%-"), out)
    end
  end)

  it("gives all figures as JSON, of several models too", function()
    local both = model .. "," .. model
    local status, out, err = judge(both, "--rankings", w.rankings, "--json", "--gold", w.reward)
    assert.equal(0, status, err)
    local _, alone = judge(model, "--rankings", w.rankings, "--json", "--gold", w.reward)
    local figures, one = assert(json.decode(out)), assert(json.decode(alone))
    assert.are.same({ 2, 0 }, { #figures.members, figures.disagreement })
    assert.are.same({
      name = model,
      accuracy = one.eval_accuracy,
      correlation = one.gold.correlation,
    }, figures.members[2])
    figures.members, figures.disagreement = nil, nil
    assert.are.same(one, figures)
    assert.is_true(figures.eval_pairs > 100 and figures.sets == 40)
    assert.equal(4, figures.gold.best_of[3].n)
  end)

  it("has the best of a policy's answers", function()
    local status, out, err = judge(
      model,
      "--policy",
      w.model,
      "--prompts",
      w.prompts,
      "--gold",
      w.reward,
      "--best_of",
      "4",
      "--response_length",
      "6",
      "--json",
      "--output_dir",
      w.dir .. "/run"
    )
    assert.equal(0, status, err)
    local points = assert(json.decode(out)).best_of
    assert.equal(3, #points)
    assert.equal(4, points[3].n)
    assert.is_true(points[3].oracle >= points[3].chosen)
  end)

  it("names --gold where that fails on the policy's answers", function()
    local gold = w.dir .. "/fails.lua"
    world.write(gold, "return function() error('no taste') end")
    local status, _, err = judge(
      model,
      "--policy",
      w.model,
      "--prompts",
      w.prompts,
      "--gold",
      gold,
      "--response_length",
      "6",
      "--output_dir",
      w.dir .. "/fails"
    )
    assert.equal(1, status)
    assert.matches("judge: --gold " .. gold .. " failed: ", err, 1, true)
    assert.is_nil(err:find("reward_function", 1, true), err)
  end)

  it("says what is wrong in a sentence", function()
    for sentence, words in pairs {
      ["which model?"] = {},
      ["give --rankings FILE"] = { model },
      ["go together"] = { model, "--policy", w.model },
      ["wants a --gold"] = { model, "--policy", w.model, "--prompts", w.prompts },
      ["has no scalar head"] = { w.model, "--rankings", w.rankings },
      ["/nowhere"] = { "/nowhere", "--rankings", w.rankings },
      ["--gold /nowhere.lua cannot be read"] = {
        model,
        "--rankings",
        w.rankings,
        "--gold",
        "/nowhere.lua",
      },
    } do
      local status, _, err = judge(table.unpack(words))
      assert.equal(1, status, sentence)
      assert.matches(sentence, err, 1, true)
      assert.is_nil(err:find("traceback", 1, true), err)
    end
  end)
end)
