--- Values by least squares on a reward model's hidden states: that they are the least squares they
-- say they are, that a batch is told by those before it, and what recipes make of them.

local pl = require("perilune")
local message_of = dofile("tests/lua/support/message_of.lua")
local said = dofile("tests/lua/support/said.lua")
local world = dofile("tests/lua/support/world.lua")

local w, runs, rm

local function run(recipe, more)
  local settings = world.settings(w, recipe)
  runs = runs + 1
  settings.output_dir, settings.threads = ("%s/critic%d"):format(w.dir, runs), 1
  settings.save_steps = 0
  for key, value in pairs(more or {}) do
    settings[key] = value
  end
  return pl.config.run_recipe("recipes/" .. recipe .. ".lua", settings), settings.output_dir
end

local function by_token(more)
  local settings = { reward_function = "", reward_model = rm, credit = "token" }
  for key, value in pairs(more or {}) do
    settings[key] = value
  end
  return settings
end

local function hash_of(result) return assert(pl.load(result.model)):hash() end

setup(function()
  require("perilune.core").system.setenv("OMP_WAIT_POLICY", "passive")
  w, runs = world.new("llama"), 0
  rm = run("reward", { num_train_epochs = 1, max_steps = 4 }).model
end)

teardown(function() world.clean() end)

-- Answers of the world's model to some prompts, K to each.
local function rollout_of(first, count, k, longest)
  local model, tok = assert(pl.load(w.model)), assert(pl.tokenizer.load(w.model))
  local prompts, questions = pl.data.prompts(tok, nil, w.prompts, 40, {}), {}
  for i = 1, count do
    questions[i] = prompts[first + i - 1].tokens
  end
  local opts = { max_tokens = longest or 8, samples = k, seed = first, stop = { tok.eos } }
  return pl.rollout.new(questions, pl.generate(model, questions, opts))
end

-- A x = b by elimination; A is symmetric and positive.
local function eliminated(a, b)
  local n = #b
  for i = 1, n do
    for j = i + 1, n do
      local f = a[j][i] / a[i][i]
      for l = i, n do
        a[j][l] = a[j][l] - f * a[i][l]
      end
      b[j] = b[j] - f * b[i]
    end
  end
  local x = {}
  for i = n, 1, -1 do
    local sum = b[i]
    for l = i + 1, n do
      sum = sum - a[i][l] * x[l]
    end
    x[i] = sum / a[i][i]
  end
  return x
end

describe("a linear critic", function()
  local critic, judge

  setup(function()
    local cfg = { reward_model = rm, reward_ensemble = "mean" }
    judge = pl.score.open(cfg, assert(pl.tokenizer.load(rm)))
  end)

  local function batch(first)
    local roll = rollout_of(first, 6, 2)
    local expected, returns = {}, {}
    for b = 1, #roll.lengths do
      expected[b] = math.sin(b + first)
    end
    for t = 1, roll.count do
      returns[t] = math.cos(3 * t + first)
    end
    return roll, expected, pl.tensor(returns)
  end

  before_each(function() critic = pl.linear_critic.new(judge, 8) end)

  it("expects what it is given, at every token, before it has learnt", function()
    local roll, expected = batch(1)
    local values = critic:values(critic:features(roll, expected)):totable()
    for b, length in ipairs(roll.lengths) do
      for t = 1, length do
        assert.are.equal(pl.tensor({ expected[b] }):item(), values[roll.segments[b] + t])
      end
    end
  end)

  it("reads hidden states, what is done, and what is expected", function()
    local roll, expected = batch(2)
    local x = critic:features(roll, expected)
    local channels = 52
    assert.are.same({ roll.count, 3 * channels + 5 }, x:shape())
    local hidden = pl.loss.sequence_hidden(critic.model, roll.parts):totable()
    local rows, row = x:totable(), 0
    for b, length in ipairs(roll.lengths) do
      for t = 1, length do
        row = row + 1
        local p, of = (t - 1) / 8, rows[row]
        for c = 1, channels do
          assert.are.equal(hidden[row][c], of[c])
          assert.is_true(math.abs(of[channels + c] - p * hidden[row][c]) < 1e-6)
          assert.is_true(math.abs(of[2 * channels + c] - p * p * hidden[row][c]) < 1e-6)
        end
        for i, want in ipairs { expected[b], p * expected[b], 1, p, p * p } do
          assert.is_true(math.abs(of[3 * channels + i] - want) < 1e-6)
        end
      end
    end
  end)

  it("is given them by the forward that scores, with the same scores", function()
    for _, longest in ipairs { 8, 2 } do -- answers that are most of the rows, and few
      local roll = rollout_of(3, 4, 3, longest)
      local plain = pl.loss.sequence_scores(judge.model, roll.parts):totable()
      assert.are.same(plain, judge:score(roll, {}))
      local hidden = pl.loss.sequence_hidden(judge.model, roll.parts)
      assert.are.equal(hidden:bytes(), roll.states:bytes())
    end
  end)

  it("has the weights of least squares in which older batches count less", function()
    local n, tokens, a, b = nil, 0, {}, {}
    for s = 1, 3 do
      local roll, expected, returns = batch(4 * s)
      local x = critic:features(roll, expected)
      critic:learn(x, returns)
      local rows, wanted = x:totable(), returns:totable()
      n, tokens = #rows[1], 0.95 * tokens + #rows
      for i = 1, n do
        a[i], b[i] = a[i] or {}, 0.95 * (b[i] or 0)
        for j = 1, n do
          a[i][j] = 0.95 * (a[i][j] or 0)
        end
        for t, row in ipairs(rows) do
          b[i] = b[i] + row[i] * wanted[t]
          for j = 1, n do
            a[i][j] = a[i][j] + row[i] * row[j]
          end
        end
      end
    end
    for i = 1, n do
      a[i][i] = a[i][i] * (1 + n / tokens)
    end
    local weights, got = eliminated(a, b), critic.weights:reshape(-1):totable()
    local x = critic:features(batch(20)) -- what other answers are told by either
    local told = x:totable()
    for _, row in ipairs(told) do
      local one, other = 0, 0
      for i = 1, n do
        one, other = one + row[i] * weights[i], other + row[i] * got[i]
      end
      assert.is_true(math.abs(one - other) < 2e-3, ("%g %g"):format(one, other))
    end
  end)

  it("tells returns that are a line through its features", function()
    local roll, expected
    for s = 1, 8 do
      roll, expected = batch(3 * s)
      local x = critic:features(roll, expected)
      local line = x:slice({ axis = 2, start = 5, stop = 5 }):reshape(-1) * 2
      if s < 8 then
        critic:learn(x, line - 0.5)
      else
        local explained =
          pl.stats.explained_variance((line - 0.5):totable(), critic:values(x):totable())
        assert.is_true(explained > 0.8, explained)
      end
    end
  end)

  it("learns nothing of returns that are not finite", function()
    local roll, expected, returns = batch(5)
    local x = critic:features(roll, expected)
    critic:learn(x, returns)
    local before = critic:hash()
    for _, bad in ipairs { 0 / 0, 1 / 0 } do
      local spoilt = returns:clone()
      spoilt:set(2, bad)
      critic:learn(x, spoilt)
      assert.are.equal(before, critic:hash())
    end
    critic:learn(x, returns)
    assert.are_not.equal(before, critic:hash())
  end)

  it("gives the same advantages whichever order its steps are taken in, by λ 1", function()
    local roll, expected, returns = batch(7)
    critic:learn(critic:features(roll, expected), returns)
    local values = critic:values(critic:features(roll, expected))
    local rewards = returns * 0.1
    local advantages = critic:advantages(roll, expected, rewards, 1):totable()
    local onward = pl.reverse_scan(rewards, roll.answers.offsets, { decay = 1 }) - values
    for t, want in ipairs(onward:totable()) do -- G - V, by values from before this batch
      assert.is_true(math.abs(want - advantages[t]) < 1e-4)
    end
  end)
end)

describe("credit of tokens", function()
  for _, recipe in ipairs { "rloo", "grpo" } do
    it("goes on with the bits of a run that was not stopped: " .. recipe, function()
      local more = by_token { save_steps = 1, save_total_limit = 0, dynamic_sampling = 1 }
      local result, folder = run(recipe, more)
      local whole = hash_of(result)
      assert.truthy(world.read(folder .. "/checkpoint-2/critic/critic.safetensors"))
      more.output_dir, more.resume = folder, folder .. "/checkpoint-2"
      assert.are.equal(whole, hash_of(run(recipe, more)))
      more.resume, more.output_dir = nil, nil
      more.credit = "answer"
      assert.are_not.equal(whole, hash_of(run(recipe, more)))
    end)

    it("has the same bits for one thread and for three: " .. recipe, function()
      local settings, hashes = world.settings(w, recipe), {}
      settings.save_steps = 0
      for key, value in pairs(by_token()) do
        settings[key] = value
      end
      for i, threads in ipairs { "1", "3" } do
        local folder = ("%s/threads-%s%s"):format(w.dir, recipe, threads)
        hashes[i] = world.run(recipe, settings, folder, { "--threads", threads }).weights_hash
      end
      assert.are.equal(hashes[1], hashes[2])
    end)
  end

  it("learns a reward, and tells what its critic explains", function()
    local history = run(
      "rloo",
      by_token {
        total_episodes = 32 * 12,
        batch_size = 32,
        learning_rate = 0.01,
        kl_coef = 0,
        ptx_coef = 0,
        num_generations = 2,
        missing_eos_rule = "none",
      }
    ).history
    local first, last = history[1], history[#history]
    assert.is_true(
      last["objective/raw_scores"] > first["objective/raw_scores"] + first["objective/scores_std"],
      ("%g to %g"):format(first["objective/raw_scores"], last["objective/raw_scores"])
    )
    assert.is_true(last["val/var_explained"] <= 1)
  end)

  it("of a mean over micro-batches is that of one", function()
    local norms = {}
    for i, tokens in ipairs { 16384, 30 } do
      local more = by_token { micro_batch_tokens = tokens, max_steps = 2 }
      norms[i] = run("rloo", more).history[2].grad_norm
    end
    assert.is_true(math.abs(norms[1] / norms[2] - 1) < 1e-3)
  end)

  for _, case in ipairs {
    { "rloo", { reward_model = false }, "credit token reads a reward model's hidden states" },
    { "grpo", { reward_model = false }, "credit token reads a reward model's hidden states" },
    { "grpo", { loss_type = "gspo" }, "loss_type gspo has one ratio and one advantage an answer" },
  } do
    it("is refused: " .. case[1] .. ", " .. case[3], function()
      local more = by_token(case[2])
      if more.reward_model == false then
        more.reward_model, more.reward_function = "", w.reward
      end
      local message = tostring(message_of(run, case[1], more))
      assert.truthy(message:find(case[3], 1, true), message)
    end)
  end

  it("says that λ has no part in credit of answers", function()
    local text = said(function() run("rloo", { lam = 0.5, max_steps = 1, quiet = false }) end)
    assert.truthy(text:find("lam has no part in the run: credit is answer", 1, true), text)
  end)
end)
