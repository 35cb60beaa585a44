--- The rounds recipe: with a labeler function, with people between two runs, with wrong ones.

local pl = require("perilune")
local said = dofile("tests/lua/support/said.lua")
local scratch = dofile("tests/lua/support/scratch.lua")
local world = dofile("tests/lua/support/world.lua")

describe("rounds", function()
  local w, labeler

  setup(function()
    w = world.new("llama")
    labeler = scratch.write(
      w.dir .. "/labeler.lua",
      [[
return function(_, answers, row)
  assert(row.prompt and row.id)
  local moons, ranks = {}, {}
  for i, answer in ipairs(answers) do
    moons[i] = select(2, answer:gsub("moon", ""))
  end
  for i, own in ipairs(moons) do
    ranks[i] = 1
    for _, other in ipairs(moons) do
      if other > own then ranks[i] = ranks[i] + 1 end
    end
  end
  return ranks
end
]]
    )
  end)

  teardown(world.clean)

  local function settings(folder, more)
    local all = {
      model = w.model,
      dataset = w.prompts,
      rounds = 2,
      rank_prompts = 16,
      answers = 4,
      held_out = 0.25,
      rm_batch_size = 4,
      rm_learning_rate = 0.003,
      total_episodes = 32,
      batch_size = 16,
      response_length = 8,
      learning_rate = 0.003,
      output_dir = folder,
      quiet = true,
      seed = 3,
    }
    for key, value in pairs(more or {}) do
      all[key] = value
    end
    return all
  end

  local function rows_of(folder, name) return pl.data.rows(folder .. "/data/" .. name) end

  it("ranks the newest policy's answers, trains on all, judges on what was not seen", function()
    local folder = scratch.path()
    local more = { labeler = labeler, judge = w.reward, eval_dataset = w.prompts }
    local figures = pl.config.run_recipe("rounds", settings(folder, more))
    assert.are.equal(2, figures.rounds)
    local first, second = figures.history[1], figures.history[2]
    assert.are.same({ 12, 24 }, { first.rankings, second.rankings })
    assert.is_nil(first.rm_accuracy_before)
    assert.is_number(second.rm_accuracy_before)
    for _, at in ipairs(figures.history) do
      assert.is_true(at.rm_accuracy >= 0 and at.rm_accuracy <= 1)
      assert.is_number(at.gold)
      assert.is_true(at.kl > 0)
    end
    -- no row that a reward model is judged on is one that any has learnt
    local trained = {}
    for _, row in ipairs(rows_of(folder, "rankings-2.jsonl")) do
      trained[row.id] = true
    end
    for round = 1, 2 do
      local held_out = rows_of(folder, ("held-out-%d.jsonl"):format(round))
      assert.are.equal(4, #held_out)
      local asked = pl.files.read_json(("%s/ppo-%d/config.json"):format(folder, round))
      assert.are.equal(("%s/data/held-out-%d.jsonl"):format(folder, round), asked.eval_rankings)
      for _, row in ipairs(held_out) do
        assert.is_nil(trained[row.id])
        assert.are.equal(("round-%d"):format(round), row.id:match("^(round%-%d+)%-"))
      end
    end
    -- the second round asked the policy of the first
    local answers = rows_of(folder, "round-2-ranked.jsonl")
    assert.are.equal(16, #answers)
    local before = rows_of(folder, "round-1-ranked.jsonl")
    assert.are_not.same(before[1].completion_tokens, answers[1].completion_tokens)
    assert.are.equal(figures.model, folder .. "/ppo-2/model")
  end)

  it("ranks what tells most, and judges the reward model on any answers", function()
    local folder = scratch.path()
    local more = { labeler = labeler, rm_heads = 2, choice = "disagreement", candidates = 3 }
    more.method = "rloo"
    local figures = pl.config.run_recipe("rounds", settings(folder, more))
    assert.are.same({ 12, 24 }, { figures.history[1].rankings, figures.history[2].rankings })
    for _, row in ipairs(rows_of(folder, "round-1-ranked.jsonl")) do
      assert.is_nil(row.picked)
    end
    local rows, chosen, beyond = rows_of(folder, "round-2-ranked.jsonl"), 0, 0
    for _, row in ipairs(rows) do
      chosen = chosen + (row.picked and 1 or 0)
      beyond = math.max(beyond, math.tointeger(tonumber(row.id:match("%d+$"))))
    end
    assert.are.same({ 16, 12 }, { #rows, chosen })
    assert.is_true(beyond > 16 and beyond <= 4 + 3 * 12, beyond)
    for _, row in ipairs(rows_of(folder, "held-out-2.jsonl")) do
      assert.is_nil(row.picked)
    end
    local ok, message = pcall(
      pl.config.run_recipe,
      "rounds",
      settings(scratch.path(), {
        choice = "disagreement",
      })
    )
    assert.is_false(ok)
    assert.truthy(tostring(message):find("wants rm_heads of 2 or more", 1, true))
  end)

  it("waits for people, and goes on with what they ranked", function()
    local folder = scratch.path()
    local own = settings(folder, { rounds = 1, method = "rloo", quiet = false })
    local text, ok, figures = said(pl.config.run_recipe, "rounds", own)
    assert.is_true(ok, figures)
    assert.are.equal(0, figures.rounds)
    assert.truthy(text:find("round 1 waits for rankings", 1, true))
    local rows = rows_of(folder, "round-1-to-rank.jsonl")
    assert.are.equal(16, #rows)
    for i, row in ipairs(rows) do
      assert.are.equal(4, #row.completions)
      row.ranks = { 1 + i % 2, 2 - i % 2, 3, 4 }
    end
    world.jsonl(folder .. "/data/round-1-ranked.jsonl", rows)
    figures = pl.config.run_recipe(
      "rounds",
      settings(folder, { rounds = 1, method = "rloo", resume = "latest" })
    )
    assert.are.equal(1, figures.rounds)
    assert.are.equal(12, figures.history[1].rankings)
  end)

  it("loses no ranking to a labeler that fails, and takes none of an earlier run", function()
    local path = scratch.write(
      w.dir .. "/sleepy.lua",
      ([[
local calls = 0
return function(prompt, answers)
  calls = calls + 1
  if calls == 5 and io.open("%s/asleep") then error("asleep") end
  local file = io.open("%s/calls", "a")
  file:write("x"):close()
  local ranks = {}
  for i = 1, #answers do
    ranks[i] = i
  end
  return ranks
end
]]):format(w.dir, w.dir)
    )
    local function calls() return #assert(pl.files.read(w.dir .. "/calls")) end
    local folder = scratch.path()
    local more = { rounds = 1, method = "rloo", labeler = path }
    scratch.write(w.dir .. "/asleep", "")
    local ok, message = pcall(pl.config.run_recipe, "rounds", settings(folder, more))
    assert.is_false(ok)
    assert.matches("asleep %(prompt 5 of 16: '.+'%); the rankings before it are kept", message)
    assert.equal(4, calls())
    os.remove(w.dir .. "/asleep")
    more.resume = "latest"
    pl.config.run_recipe("rounds", settings(folder, more))
    assert.equal(16, calls()) -- none was asked for twice
    local rows = rows_of(folder, "round-1-ranked.jsonl")
    assert.are.same({ 1, 2, 3, 4 }, rows[16].ranks)
    assert.is_nil(pl.files.read(folder .. "/data/round-1-part.jsonl"))
    -- a new run in the folder fails; what goes on from there are its own rows
    more.resume, more.overwrite_output_dir, more.seed = nil, true, 4
    scratch.write(w.dir .. "/asleep", "")
    assert.is_false((pcall(pl.config.run_recipe, "rounds", settings(folder, more))))
    os.remove(w.dir .. "/asleep")
    more.overwrite_output_dir, more.resume = nil, "latest"
    pl.config.run_recipe("rounds", settings(folder, more))
    local kept = rows_of(folder, "round-1-ranked-of-an-earlier-run.jsonl")
    assert.are.same(rows[1].completions, kept[1].completions)
    assert.are_not.same(rows[1].completions, rows_of(folder, "round-1-ranked.jsonl")[1].completions)
  end)

  it("says what is wrong with a labeler", function()
    for text, message in pairs {
      ["return 7"] = "must return a function",
      ["return function() return { 1, 2 } end"] = "gave 2 ranks for 4 answers",
      ["return function() end"] = "gave a nil for 4 answers",
      ["return function() return { 0, 1, 2, 3 } end"] = "rank 1 is 0; ranks are whole numbers",
      ["return function() error('no taste') end"] = "failed: ",
      ["return ("] = "must return a function of (prompt, answers, row): ",
    } do
      local path = scratch.write(scratch.path() .. ".lua", text)
      local own = settings(scratch.path(), { labeler = path })
      local ok, got = pcall(pl.config.run_recipe, "rounds", own)
      os.remove(path)
      assert.is_false(ok)
      assert.truthy(tostring(got):find(message, 1, true), tostring(got))
    end
  end)

  it("refuses a judge without prompts", function()
    local own = settings(scratch.path(), { judge = w.reward })
    local ok, message = pcall(pl.config.run_recipe, "rounds", own)
    assert.is_false(ok)
    assert.truthy(tostring(message):find("judge and eval_dataset go together", 1, true))
  end)
end)
