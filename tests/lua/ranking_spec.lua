--- Ranked answers: differences of pairs, accuracy, calibration; scores by a model or a function.

local pl = require("perilune")
local toy = dofile("tests/lua/support/toy.lua")
local world = dofile("tests/lua/support/world.lua")

local ranking, score = pl.ranking, pl.score

describe("the pairs of ranked answers", function()
  local sets = { { ranks = { 1, 2, 2 } }, { ranks = { 3, 1 } }, { ranks = { 1 } } }

  it("are counted with their ties", function()
    assert.are.same({ 6, 4, 1 }, { ranking.count(sets) })
    assert.are.same({ 0, 0, 0 }, { ranking.count {} })
  end)

  it("are ranked from values: 1 for the highest, equals share", function()
    assert.are.same({ 2, 1, 2, 4 }, ranking.ranks { 0.5, 0.9, 0.5, -1 })
    assert.are.same({}, ranking.ranks {})
  end)

  it("give differences, better answer first; ties give none", function()
    local scores = { 5, 1, 2, -1, 0.5, 9 }
    assert.are.same({ 4, 3, 1.5 }, ranking.gaps(scores, { { 1, 2, 2 }, { 3, 1 }, { 1 } }))
  end)

  it("are ordered right, wrong, or not at all", function()
    -- σ(2) = .8808 falls into .8 to .9, σ(0.5) = .6225 into .6 to .7, σ(0) into .5 to .6
    local figures = ranking.calibration { 2, 2, -2, 0.5, 0 }
    assert.are.equal(5, figures.eval_pairs)
    assert.are.equal(3.5 / 5, figures.eval_accuracy)
    assert.are.equal(2 / 3, figures.eval_accuracy_p80)
    assert.are.equal(1, figures.eval_accuracy_p60)
    assert.are.equal(0.5, figures.eval_accuracy_p50)
    local p2, p05 = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-0.5))
    local wanted = (math.abs(2 - 3 * p2) + math.abs(1 - p05) + 0) / 5
    assert.is_true(math.abs(figures.eval_calibration_error - wanted) < 1e-12)
  end)
end)

describe("accuracy", function()
  it(
    "of no pairs is absent",
    function() assert.are.same({ eval_pairs = 0 }, ranking.calibration {}) end
  )

  it("is told by who ranked, with an interval", function()
    local sets = {
      { ranks = { 1, 2 }, row = { labeler = "ann" } },
      { ranks = { 2, 1, 3 }, row = { labeler = "ben" } },
      { ranks = { 1, 2 }, row = { labeler = "ann" } },
      { ranks = { 1, 1 }, row = { labeler = "cy" } }, -- no pair
      { ranks = { 1, 2 } },
    }
    local figures = ranking.by_labeler({ 5, 1, 2, 9, 1, 1, 1, 3, 4, 0, 1 }, sets)
    assert.are.same({ 2, 0.75 }, { figures.ann.pairs, figures.ann.accuracy })
    assert.are.same({ 3, 1 }, { figures.ben.pairs, figures.ben.accuracy })
    assert.are.same({ 1, 0 }, { figures.unknown.pairs, figures.unknown.accuracy })
    assert.is_nil(figures.cy)
    assert.is_true(figures.ann.ci95[1] < 0.75 and figures.ann.ci95[2] > 0.75)
  end)
end)

describe("best of n", function()
  it("is the mean over all choices of n", function()
    assert.are.equal(2.5, pl.stats.best_of({ 4, 1, 3, 2 }, 1))
    -- the pairs of 1, 2, 3, 4 have the largest 2, 3, 4, 3, 4, 4
    assert.is_true(math.abs(pl.stats.best_of({ 4, 1, 3, 2 }, 2) - 20 / 6) < 1e-12)
    assert.are.equal(4, pl.stats.best_of({ 4, 1, 3, 2 }, 4))
    assert.has_error(function() pl.stats.best_of({ 1 }, 2) end)
  end)

  it("is worth what it is worth to the judge, chosen by another", function()
    -- of a, b, c with worth 0, 1, 5 the chooser likes a best, then b; pairs choose a, a, b
    assert.is_true(math.abs(pl.stats.best_of({ 0, 1, 5 }, 2, { 3, 2, 1 }) - 1 / 3) < 1e-12)
    -- equals are as likely as each other: ab chooses a or b, ac and bc choose a and b
    assert.is_true(
      math.abs(pl.stats.best_of({ 0, 1, 5 }, 2, { 2, 2, 1 }) - (0.5 + 0 + 1) / 3) < 1e-12
    )
    assert.is_true(math.abs(pl.stats.best_of({ 0, 1, 5 }, 3, { 4, 4, 4 }) - 2) < 1e-12)
    assert.is_true(math.abs(pl.stats.best_of({ 0, 1, 5 }, 1, { 3, 1, 2 }) - 2) < 1e-12)
  end)

  it("has a KL of 0 when the chooser cannot tell, and nears its bound when it can", function()
    assert.are.equal(0, pl.stats.best_of_kl({ 1, 1, 1, 1 }, 4))
    assert.is_true(math.abs(pl.stats.best_of_kl({ 1, 2, 3 }, 1)) < 1e-12)
    -- two of four are best: 1 - 1/4 of pairs take one of them, of which half are
    local wanted = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert.is_true(math.abs(pl.stats.best_of_kl({ 2, 1, 2, 1 }, 2) - wanted) < 1e-12)
    local many = {}
    for i = 1, 2000 do
      many[i] = i
    end
    local bound = math.log(4) - 3 / 4
    assert.is_true(math.abs(pl.stats.best_of_kl(many, 4) - bound) < 2e-3)
  end)
end)

describe("scores against the truth", function()
  it("correlate within sets, order pairs, and choose the best of n", function()
    local scores = { 1, 2, 3, 10, 20 } -- the second set has the truth turned round
    local gold = { 0, 5, 10, 4, 2 }
    local figures = ranking.against(scores, gold, { { 3, 2, 1 }, { 2, 1 } })
    assert.equal(4, figures.pairs)
    assert.equal(0.75, figures.accuracy)
    local points = figures.best_of
    assert.are.same({ 1, 2, 3 }, { points[1].n, points[2].n, points[3].n })
    assert.equal(2, points[2].sets)
    assert.equal(1, points[3].sets)
    assert.equal((5 + 3) / 2, points[1].chosen)
    assert.is_true(math.abs((25 / 3 + 2) / 2 - points[2].chosen) < 1e-12)
    assert.is_true(math.abs((25 / 3 + 4) / 2 - points[2].oracle) < 1e-12)
    assert.equal(10, points[3].chosen)
    local wanted = pl.stats.correlation({ -1, 0, 1, -5, 5 }, { -5, 0, 5, 1, -1 })
    assert.is_true(math.abs(wanted - figures.correlation) < 1e-12)
  end)

  it("say nothing where the truth is the same everywhere", function()
    local figures = ranking.against({ 1, 2 }, { 3, 3 }, { { 1, 2 } })
    assert.equal(0, figures.pairs)
    assert.is_nil(figures.accuracy)
    assert.is_nil(figures.correlation)
    assert.are.same({}, ranking.against({}, {}, {}).best_of)
  end)
end)

describe("scores", function()
  local questions = { { 1, 2, 3 }, { 4 } }
  local model = toy.model("gpt2", { scalar_head = true })

  it("of sets come set after set, whatever the size of a forward", function()
    local sets = {}
    for i = 1, 4 do
      sets[i] = { sequences = toy.sequences({ 5, 3, 9 }, i), ranks = { 2, 1, 3 } }
    end
    local scores, ranks, lengths = score.sets(model, sets)
    assert.are.same({ 5, 3, 9, 5, 3, 9, 5, 3, 9, 5, 3, 9 }, lengths)
    assert.are.same({ 2, 1, 3 }, ranks[4])
    assert.are.equal(12, #scores)
    for _, most in ipairs { 1, 20 } do
      assert.are.same(scores, (score.sets(model, sets, most)))
    end
    assert.are.same(table.move(scores, 4, 6, 1, {}), score.sequences(model, sets[2].sequences))
  end)

  describe("of a function", function()
    local w, tok, roll, prompts

    setup(function()
      w = world.new("llama")
      tok = assert(pl.tokenizer.load(w.model))
      local policy = assert(pl.load(w.model))
      local answers = pl.generate(policy, questions, { max_tokens = 4, seed = 2 })
      roll = pl.rollout.new(questions, answers)
      prompts = {
        { tokens = questions[1], row = { id = "a" } },
        { tokens = questions[2], row = {} },
      }
    end)

    teardown(world.clean)

    local function judge(body)
      local path = world.write(w.dir .. "/judge.lua", body)
      return score.open({ reward_model = "", reward_function = path }, tok)
    end

    it("are what it returns, of texts, rows and whether an answer ended", function()
      local scores = judge([[
        return function(prompts, answers, rows, ended)
          return { rows[1].id == "a" and #prompts or 0, ended[2] and 1 or #answers / 4 }
        end]]):score(roll, prompts)
      assert.are.same({ 2, roll.answers.finish_reasons[2] == "stop" and 1 or 0.5 }, scores)
    end)

    it("leave the answers as they were, whatever is done to their lists", function()
      local spoiler = judge([[
        return function(prompts, answers, rows, ended)
          local scores = {}
          for i = #answers, 1, -1 do
            scores[#scores + 1] = 1
            prompts[i], answers[i], rows[i], ended[i] = nil, nil, nil, nil
          end
          return scores
        end]])
      assert.are.same({ 1, 1 }, spoiler:score(roll, prompts))
      local texts = score.texts(tok, roll, prompts)
      assert.are.same({ 2, 2 }, { #texts.prompts, #texts.answers })
      assert.are.same({ { id = "a" }, {} }, texts.rows)
    end)

    for body, wrong in pairs {
      ["return function() return 1 end"] = "it returned a number; a list of 2 numbers is wanted",
      ["return function() end"] = "it returned a nil; a list of 2 numbers is wanted",
      ["return function() return { 1 } end"] = "it returned 1 scores for 2 answers",
      ["return function() return { 1, 2, 3 } end"] = "it returned 3 scores for 2 answers",
      ["return function() return { 1, 0 / 0 } end"] = "the score of answer 2 is",
      ["return function() return { math.huge, 1 } end"] = "the score of answer 1 is inf",
      ["return function() return { 'good', 1 } end"] = "the score of answer 1 is a string",
      ["return function() return { true, 1 } end"] = "the score of answer 1 is a boolean",
      ["return 7"] = "must return a function of (prompts, answers, rows, ended), not a number",
      ["return function("] = "cannot be read",
    } do
      it("are refused: " .. body, function()
        local ok, message = pcall(function() judge(body):score(roll, prompts) end)
        assert.is_false(ok)
        assert.is_truthy(message:find(wrong, 1, true), message)
        assert.is_truthy(message:find("judge.lua", 1, true), message)
      end)
    end
  end)
end)
