--- Reward models of several heads on one trunk: an ensemble for the price of one model.

local files = require("perilune.base.files")
local pl = require("perilune")
local world = dofile("tests/lua/support/world.lua")

local function near(want, got, within)
  assert.are.equal(#want, #got)
  for i, value in ipairs(want) do
    local ok = math.abs(got[i] - value) <= (within or 1e-6)
    assert.is_true(ok, ("[%d] is %.9g, not %.9g"):format(i, got[i], value))
  end
end

describe("the zero of scores", function()
  it("is the mean of what shall be 0, or of the heads one among each other", function()
    local function centred(members, are_zero)
      local config = { score_bias = 0.5 }
      pl.score.center({ config = config }, members, are_zero)
      return config
    end
    local one, two = { { 1, 3 } }, { { 1, 3 }, { 5, 7 } }
    assert.are.same({ score_bias = 2.5 }, centred(one, true))
    assert.are.same({ score_bias = 0.5 }, centred(one, false))
    assert.are.same({ score_bias = 4, score_biases = { 2, 6 } }, centred(two, true))
    assert.are.same({ score_bias = 0, score_biases = { -2, 2 } }, centred(two, false))
    assert.are.same({ 3, 5 }, pl.score.mean_of(two))
  end)
end)

describe("how often a set stands in a bootstrap", function()
  it("is a Poisson draw of mean 1, always the same, of each head its own", function()
    local counts, sum, n = {}, 0, 4000
    for place = 1, n do
      local drawn = pl.reward_loss.bootstrap(7, place, 2)
      assert.are.same(drawn, pl.reward_loss.bootstrap(7, place, 2))
      counts[drawn[1]] = (counts[drawn[1]] or 0) + 1
      sum = sum + drawn[2]
    end
    assert.near(math.exp(-1), counts[0] / n, 0.025) -- three deviations of the rate
    assert.near(math.exp(-1), counts[1] / n, 0.025)
    assert.near(math.exp(-1) / 2, counts[2] / n, 0.02)
    assert.near(1, sum / n, 0.05)
    assert.are.same({ 1 }, pl.reward_loss.bootstrap(7, 3, 1))
  end)
end)

describe("the loss of heads", function()
  it("is the mean of those of each over the sets it drew", function()
    -- two sets of two answers; head 1 drew the first twice, head 2 the second once, head 3 none
    local scores = pl.tensor({ { 1, 0, 5 }, { 0, 0, 5 }, { 0, 3, 5 }, { 0, 1, 5 } }, "float64")
      :requires_grad(true)
    local drawn = { { 2, 0, 0 }, { 0, 1, 0 } }
    local loss = pl.reward_loss.heads(scores, drawn, { 0, 2, 4 }, { 1, 2, 2, 1 }, { norm = 2 })
    local function lost(x) return math.log(1 + math.exp(-x)) end
    assert.near((2 * lost(1) / 2 + lost(-2) / 2) / 3, loss:item(), 1e-12)
    loss:backward()
    local slope = 1 / (1 + math.exp(2)) -- σ(-2)
    local first = 1 / (1 + math.exp(1))
    near({ -first / 3, 0, 0 }, scores:grad():totable()[1], 1e-12)
    near({ 0, (1 - slope) / 6, 0 }, scores:grad():totable()[3], 1e-12)
  end)

  it("of one head is that of the sets as they are", function()
    local scores = pl.tensor { { 1 }, { 0.5 }, { 2 } }
    local one = pl.reward_loss.heads(scores, { { 1 } }, { 0, 3 }, { 3, 1, 2 })
    local same = pl.reward_loss.ranked(scores:reshape(-1), { 0, 3 }, { 3, 1, 2 })
    assert.are.equal(same:item(), one:item())
  end)
end)

describe("the disagreement of an ensemble", function()
  it("is the deviation of members whose means within a prompt are 0", function()
    local mean, of_sets = pl.ranking.disagreement({ { 1, 3, 9 }, { 0, 0, 4 } }, { 2, 1 })
    near({ math.sqrt(0.5), 0 }, of_sets, 1e-12)
    assert.near(2 * math.sqrt(0.5) / 3, mean, 1e-12)
    assert.are.equal(0, (pl.ranking.disagreement({ { 1, 2 } }, { 2 })))
    assert.are.equal(0, (pl.ranking.disagreement({}, {})))
  end)
end)

describe("the uncertainty of scores", function()
  it("is 1 for equal scores, and less the surer the order is", function()
    local function pair(d) return 2 - 2 / (1 + math.exp(-d)) end
    near(
      { (1 + 2 * pair(3)) / 3, 0, 1 },
      pl.ranking.uncertainty({ 5, 5, 2, 7, 4, 4 }, { 3, 1, 2 }),
      1e-12
    )
    assert.are.same({}, pl.ranking.uncertainty({}, {}))
  end)
end)

describe("a model of several heads", function()
  local w, trained, folder

  setup(function()
    w = world.new("llama")
    local settings = world.settings(w, "reward")
    settings.num_heads, settings.threads, settings.eval_dataset = 3, 1, w.rankings
    trained, folder = world.run("reward", settings, w.dir .. "/rm"), w.dir .. "/rm/model"
  end)

  teardown(world.clean)

  it("scores by their mean, each less its bias, and keeps them in its folder", function()
    local rm = assert(pl.load(w.model, { scalar_head = true, score_heads = 3, seed = 2 }))
    assert.are.same({ 3, 52 }, rm.weights["score.weight"]:shape())
    assert.are.equal(3, rm:score_heads())
    rm.config.score_biases, rm.config.score_bias = { 0.5, -1, 2 }, 0.5
    local packed = pl.batch.pack { { 1, 5, 6 }, { 1, 7 } }
    local guard <close> = pl.no_grad()
    local plain = pl.linear(rm:hidden(packed), rm.weights["score.weight"]):totable()
    local heads, scores = rm:head_scores(packed):totable(), rm:scores(packed):totable()
    for t, row in ipairs(plain) do
      near({ row[1] - 0.5, row[2] + 1, row[3] - 2 }, heads[t])
      assert.near((heads[t][1] + heads[t][2] + heads[t][3]) / 3, scores[t], 1e-6)
    end
    assert(rm:save(w.dir .. "/saved"))
    local config = assert(files.read_json(w.dir .. "/saved/config.json"))
    assert.are.equal(3, config.num_labels)
    assert.are.equal("LABEL_2", config.id2label["2"])
    local again = assert(pl.load(w.dir .. "/saved"))
    assert.are.same(heads, again:head_scores(packed):totable())
    assert.are.equal(3, again:copy():score_heads())
    local _, message = pl.load(w.dir .. "/saved", { scalar_head = true, score_heads = 2 })
    assert.matches("has 3 scalar heads, and 2 were asked for", message, 1, true)
    config.score_biases = { 1 }
    assert(files.write_json(w.dir .. "/saved/config.json", config))
    assert(os.remove(w.dir .. "/saved/manifest.json"))
    _, message = pl.load(w.dir .. "/saved")
    assert.matches("has 1 score_biases for 3 score_heads", message, 1, true)
  end)

  it("stands in a folder of adapters too", function()
    local opts = { scalar_head = true, score_heads = 2, peft = { r = 2 }, seed = 2 }
    local rm = assert(pl.load(w.model, opts))
    rm.config.score_biases = { 1, 2 }
    assert(rm:save(w.dir .. "/adapted"))
    local again = assert(pl.load(w.dir .. "/adapted"))
    local packed = pl.batch.pack { { 1, 5, 6 } }
    local guard <close> = pl.no_grad()
    assert.are.equal(2, again:score_heads())
    assert.are.same(rm:head_scores(packed):totable(), again:head_scores(packed):totable())
    assert.are.equal(2, rm:copy():score_heads())
  end)

  local function rm_mean(members)
    local means = {}
    for i = 1, #members[1] do
      means[i] = (members[1][i] + members[2][i] + members[3][i]) / 3
    end
    return means
  end

  it("is trained, each head to scores of its own with one zero", function()
    assert.is_true(trained.eval_accuracy > 0.7, trained.eval_accuracy)
    assert.is_true(trained.eval_disagreement > 0)
    local rm = assert(pl.load(folder)):freeze()
    assert.are.equal(3, #rm.config.score_biases)
    local tok = assert(pl.tokenizer.load(folder))
    local sets = pl.data.ranked(tok, nil, w.rankings)
    local scores, ranks, _, members = pl.score.sets(rm, sets)
    for _, own in ipairs(members) do
      local figures = pl.ranking.calibration(pl.ranking.gaps(own, ranks))
      assert.is_true(figures.eval_accuracy > 0.6, figures.eval_accuracy)
    end
    near(scores, rm_mean(members))
    local demos = pl.data.examples(tok, nil, w.demos)
    for _, own in ipairs(pl.score.heads(rm, demos.sequences)) do
      assert.near(0, pl.stats.mean(own), 1e-5)
    end
    assert.are_not.same(members[1], members[2])
  end)

  it("goes on from a checkpoint to the same bits", function()
    local settings = world.settings(w, "reward")
    settings.num_heads, settings.threads, settings.eval_dataset = 3, 1, w.rankings
    settings.resume = pl.run.checkpoints(w.dir .. "/rm")[1].path
    local again = world.run("reward", settings, w.dir .. "/rm")
    assert.are.equal(trained.weights_hash, again.weights_hash)
  end)

  it("judges as an ensemble: mean, smallest, cautious", function()
    local tok = assert(pl.tokenizer.load(folder))
    local sets = pl.data.ranked(tok, nil, w.rankings)
    local function judge(how)
      local cfg = { reward_ensemble = how, reward_deviations = 1 }
      return pl.score.ensemble("reward_model", folder, cfg, tok)
    end
    local members, names = judge("mean"):members(sets)
    assert.are.equal(folder .. ", head 3", names[3])
    local least, mean = judge("min"):sets(sets), judge("mean"):sets(sets)
    for i, score in ipairs(least) do
      local of = { members[1][i], members[2][i], members[3][i] }
      assert.are.equal(math.min(table.unpack(of)), score)
      assert.near(pl.stats.mean(of), mean[i], 1e-6)
    end
    local settings = world.settings(w, "ppo")
    settings.reward_function, settings.reward_model = nil, folder
    settings.reward_ensemble, settings.total_episodes, settings.save_steps = "min", 16, 0
    assert.is_string(world.run("ppo", settings, w.dir .. "/ppo").weights_hash)
  end)
end)
