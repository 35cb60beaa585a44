--- GRPO, RLOO, REINFORCE, online DPO, best-of-n: that they learn a toy, go on to the same bits,
-- draw groups that teach nothing anew, and refuse what cannot be.

local pl = require("perilune")
local message_of = dofile("tests/lua/support/message_of.lua")
local said = dofile("tests/lua/support/said.lua")
local world = dofile("tests/lua/support/world.lua")

local w, runs

setup(function()
  require("perilune.core").system.setenv("OMP_WAIT_POLICY", "passive")
  w, runs = world.new("llama"), 0
  world.write(
    w.dir .. "/moon.lua",
    [[
return function(_, answers)
  local scores = {}
  for i, answer in ipairs(answers) do
    scores[i] = answer:find("moon", 1, true) and 1 or 0
  end
  return scores
end
]]
  )
end)

teardown(function() world.clean() end)

local function run(recipe, more)
  local settings = world.settings(w, recipe)
  runs = runs + 1
  settings.output_dir, settings.threads = ("%s/group%d"):format(w.dir, runs), 1
  settings.save_steps = 0
  for key, value in pairs(more or {}) do
    settings[key] = value
  end
  return pl.config.run_recipe("recipes/" .. recipe .. ".lua", settings), settings.output_dir
end

local function hash_of(result) return assert(pl.load(result.model)):hash() end

-- A sparse reward of 0 or 1, and nothing else.
local function moon(more)
  local settings = {
    reward_function = w.dir .. "/moon.lua",
    eval_dataset = w.prompts,
    ptx_coef = 0,
    kl_coef = 0.0,
    entropy_coef = 0.0,
    learning_rate = 0.01,
    batch_size = 32,
    num_mini_batches = 1,
    total_episodes = 32 * 10,
    eval_steps = 100,
    response_length = 4,
    temperature = 1.0,
    slots = 64,
    micro_batch_tokens = 16384,
    missing_eos_rule = "none",
  }
  for key, value in pairs(more or {}) do
    settings[key] = value
  end
  return settings
end

describe("a sparse reward is learnt by", function()
  for name, more in pairs {
    ["grpo"] = { "grpo" },
    ["grpo, dr_grpo"] = { "grpo", loss_type = "dr_grpo" },
    ["grpo, dapo"] = { "grpo", loss_type = "dapo", cliprange_high = 0.28, dynamic_sampling = 2 },
    ["grpo, gspo"] = { "grpo", loss_type = "gspo" },
    ["grpo, cispo"] = { "grpo", loss_type = "cispo" },
    ["rloo"] = { "rloo" },
    ["rloo, normalised"] = { "rloo", normalize_advantages = true },
    ["reinforce"] = { "reinforce" },
    ["reinforce++"] = { "reinforce", baseline = "reinforce++" },
  } do
    it(name .. (name:find("[,]") and name ~= "grpo, gspo" and " #long" or ""), function()
      local recipe = table.remove(more, 1)
      local history = run(recipe, moon(more)).history
      assert.is_true(history[1]["objective/raw_scores"] < 0.35)
      assert.is_true(history[#history].eval_score >= 0.9)
    end)
  end
end)

describe("a run", function()
  for _, recipe in ipairs { "grpo", "rloo", "reinforce", "online_dpo", "best_of_n" } do
    it("of " .. recipe .. " that is gone on with has the bits of one that was not", function()
      local more = { dynamic_sampling = recipe ~= "reinforce" and 1 or nil, save_steps = 1 }
      more.save_total_limit = 0
      local result, folder = run(recipe, more)
      local whole, rows = hash_of(result), #result.history
      more.output_dir, more.resume = folder, folder .. "/checkpoint-2"
      result = run(recipe, more)
      assert.are.same({ 4, 4 }, { rows, #result.history })
      assert.are.equal(whole, hash_of(result))
    end)
  end

  it("learns nothing of answers that do not end, when they are masked", function()
    local start = assert(pl.load(w.model)):hash()
    for _, recipe in ipairs { "grpo", "rloo", "reinforce" } do
      local hashes = {}
      for i, masked in ipairs { true, false } do
        local result = run(recipe, {
          response_length = 1,
          total_episodes = 16,
          ptx_coef = 0,
          mask_truncated_completions = masked,
        })
        assert.are.equal(1, result.history[1]["completions/clipped_ratio"])
        hashes[i] = hash_of(result)
      end
      assert.are.equal(start, hashes[1])
      assert.are_not.equal(start, hashes[2])
    end
  end)

  it("has the gradient of the answers that end, over all of them", function()
    local function norm_of(masked)
      local result = run("rloo", {
        total_episodes = 16,
        response_length = 8,
        ptx_coef = 0,
        entropy_coef = 0,
        num_mini_batches = 1,
        kl_coef = 0,
        mask_truncated_completions = masked,
      })
      return result.history[1].grad_norm, result.history[1]["completions/clipped_ratio"]
    end
    local all, unended = norm_of(false)
    assert.is_true(unended > 0 and unended < 1, unended)
    assert.are_not.equal(all, (norm_of(true)))
  end)

  it("has the same bits for one thread and for three", function()
    local settings, hashes = world.settings(w, "grpo"), {}
    settings.save_steps, settings.kl_estimator, settings.dynamic_sampling = 0, "full", 1
    for i, threads in ipairs { "1", "3" } do
      local folder = ("%s/threads%s"):format(w.dir, threads)
      hashes[i] = world.run("grpo", settings, folder, { "--threads", threads }).weights_hash
    end
    assert.are.equal(hashes[1], hashes[2])
  end)

  it("has the same learning in micro-batches as in one", function()
    for _, loss_type in ipairs { "grpo", "dr_grpo", "dapo", "gspo", "cispo" } do
      local norms = {}
      for i, tokens in ipairs { 16384, 30 } do
        local history = run("grpo", {
          loss_type = loss_type,
          micro_batch_tokens = tokens,
          max_steps = 1,
          kl_estimator = "full",
        }).history
        norms[i] = history[1].grad_norm
      end
      assert.is_true(math.abs(norms[1] / norms[2] - 1) < 1e-4, loss_type)
    end
  end)

  it("takes adapters, a judge that is a model, and the exact KL as a loss", function()
    local rm = run("reward", { num_train_epochs = 1, max_steps = 2 }).model
    local result = run("grpo", {
      reward_function = "",
      reward_model = rm,
      peft_r = 4,
      kl_estimator = "full",
      eval_dataset = w.prompts,
      eval_steps = 2,
      checkpoint_choice = "eval_reward",
    })
    local best, at
    for _, row in ipairs(result.history) do
      if row.eval_reward and (not best or row.eval_reward > best) then
        best, at = row.eval_reward, row.step
      end
    end
    local folder = result.model:gsub("/model$", "")
    local summary = pl.json.decode(world.read(folder .. "/summary.json"))
    assert.are.equal("checkpoint-" .. at, summary.best_checkpoint)
  end)

  it("of one prompt and one group ends well", function()
    local one = world.jsonl(w.dir .. "/one.jsonl", { { prompt = "the moon" } })
    local more = { dataset = one, batch_size = 2, num_mini_batches = 1, num_generations = 2 }
    more.total_episodes = 2
    for _, recipe in ipairs { "grpo", "rloo" } do
      assert.are.equal(1, #run(recipe, more).history)
    end
  end)
end)

describe("groups whose scores are all equal", function()
  local constant

  setup(
    function()
      constant = world.write(
        w.dir .. "/constant.lua",
        "return function(_, answers) local s = {} for i = 1, #answers do s[i] = 2 end return s end"
      )
    end
  )

  local function nothing(more)
    local settings = moon { reward_function = constant, batch_size = 16, total_episodes = 80 }
    settings.quiet = false
    for key, value in pairs(more or {}) do
      settings[key] = value
    end
    return settings
  end

  it("teach nothing, are counted and named", function()
    for _, recipe in ipairs { "grpo", "rloo" } do
      local result
      local text = said(function() result = run(recipe, nothing()) end)
      assert.are.equal(assert(pl.load(w.model)):hash(), hash_of(result))
      assert.are.equal(1, result.history[1].frac_reward_zero_std)
      assert.are.equal(4, result.history[1]["groups/drawn"])
      assert.truthy(text:find("in 100 % of the groups all answers score the same", 1, true), text)
    end
  end)

  it("are drawn anew as often as is allowed, and stay then", function()
    local history = run("grpo", nothing { dynamic_sampling = 2, quiet = true }).history
    assert.are.equal(12, history[1]["groups/drawn"]) -- of 4 prompts, three times
    assert.are.equal(1, history[1].frac_reward_zero_std)
  end)

  it("are replaced by others of the next prompts", function()
    local more = moon { dynamic_sampling = 20, batch_size = 16, total_episodes = 16, max_steps = 1 }
    local row = run("grpo", more).history[1]
    assert.is_true(row.frac_reward_zero_std > 0 and row["groups/drawn"] > 4)
    assert.is_true(row["objective/scores"] >= 0.25) -- each of the groups of four has a 1 and a 0
    assert.is_true(row["objective/scores"] <= 0.75)
  end)
end)

describe("what cannot be", function()
  for _, case in ipairs {
    {
      "grpo",
      { num_generations = 1 },
      "num_generations is 1: an answer is held against the others",
    },
    { "rloo", { num_generations = 3 }, "num_generations must divide batch_size" },
    { "grpo", { num_mini_batches = 3 }, "num_mini_batches must divide batch_size" },
    { "reinforce", { reward_function = "" }, "give one of reward_model and reward_function" },
    { "rloo", { ptx_dataset = "" }, "ptx_coef wants a ptx_dataset" },
    { "grpo", { checkpoint_choice = "eval_score" }, "checkpoint_choice wants an eval_dataset" },
    { "grpo", { loss_type = "gpro" }, "did you mean 'grpo'?" },
  } do
    it("is refused: " .. case[3], function()
      local message = tostring(message_of(run, case[1], case[2]))
      assert.truthy(message:find(case[3], 1, true), message)
    end)
  end
end)

describe("online DPO", function()
  it("learns a sparse reward from pairs of its own answers", function()
    local more = moon { kl_coef = 0.05, num_generations = 4 }
    more.ptx_coef, more.entropy_coef = nil, nil
    local history = run("online_dpo", more).history
    local last = history[#history]
    assert.is_true(history[1]["objective/raw_scores"] < 0.35)
    assert.is_true(last.eval_score >= 0.9)
    local first = history[1]["loss/policy_avg"] -- margin 0: -ln σ(0)
    assert.is_true(math.abs(first - math.log(2)) < 1e-6)
    local one =
      run("online_dpo", { num_mini_batches = 1, max_steps = 1, ptx_coef = nil }).history[1]
    assert.are.same({ 0, 0.5 }, { one["rewards/margins"], one["rewards/accuracies"] }) -- all ties
    local pairs_there = 8 * (1 - history[1].frac_reward_zero_std)
    assert.are.equal(pairs_there, history[1]["pairs/trained"])
  end)
end)

describe("best-of-n", function()
  local function best(more)
    local settings = moon(more)
    settings.ptx_coef, settings.entropy_coef = nil, nil
    return run("best_of_n", settings).history
  end

  it("of the policy, round after round, learns a sparse reward", function()
    local history = best {}
    assert.is_true(history[#history].eval_score >= 0.9)
    assert.are.equal(1, history[1]["best/score"])
  end)

  it("of the start puts what choosing gives into the policy", function()
    local history = best { answers_of = "reference", num_generations = 16, total_episodes = 320 }
    for _, row in ipairs(history) do -- the start answers as it did
      assert.is_true(row["objective/raw_scores"] < 0.4)
    end
    assert.is_true(history[#history].eval_score > 2 * history[1]["objective/raw_scores"])
  end)

  it("trains nothing when the best is not good enough", function()
    local settings = moon { min_score = 2, total_episodes = 32 }
    settings.ptx_coef, settings.entropy_coef = nil, nil
    local result = run("best_of_n", settings)
    assert.are.equal(0, result.history[1]["best/trained"])
    assert.are.equal(assert(pl.load(w.model)):hash(), hash_of(result))
  end)
end)

describe("PPO", function()
  local function value_of(path) return assert(pl.load(path)):hash() end

  it("trains the value alone in its first iterations, when it is asked to", function()
    local more = { value_warmup = 2, total_episodes = 32, save_steps = 1, save_total_limit = 0 }
    local result, folder = run("ppo", more)
    assert.are.equal(value_of(w.model), value_of(result.model))
    local first = value_of(folder .. "/checkpoint-1/value_model")
    assert.are_not.equal(first, value_of(folder .. "/checkpoint-2/value_model"))
    assert.are.equal(0, result.history[2]["objective/kl"])
    more.value_warmup = 1
    assert.are_not.equal(value_of(w.model), value_of(run("ppo", more).model))
  end)

  it("clips above by a range of its own", function()
    local function hash(high)
      local more = { cliprange = 0.01, cliprange_high = high, total_episodes = 16 }
      return value_of(run("ppo", more).model)
    end
    assert.are.equal(hash(0), hash(0.01))
    assert.are_not.equal(hash(0), hash(0.3))
  end)

  it("takes the exact KL in the reward, which is 0 at the start and above it later", function()
    local history = run("ppo", { kl_estimator = "full", kl_coef = 0.5 }).history
    assert.is_true(math.abs(history[1]["objective/non_score_reward"]) < 1e-5)
    for i = 2, #history do
      assert.is_true(history[i]["objective/non_score_reward"] < 0)
    end
  end)
end)

describe("scores", function()
  for _, recipe in ipairs { "ppo", "grpo" } do
    it("that are normalised go on where they were: " .. recipe, function()
      local more = { normalize_scores = true, save_steps = 1, save_total_limit = 0 }
      more.total_episodes = 48
      local result, folder = run(recipe, more)
      local whole = hash_of(result)
      more.output_dir, more.resume = folder, folder .. "/checkpoint-1"
      assert.are.equal(whole, hash_of(run(recipe, more)))
      more.normalize_scores, more.resume, more.output_dir = false, nil, nil
      assert.are_not.equal(whole, hash_of(run(recipe, more)))
    end)
  end

  it("cost what their length costs", function()
    local plain = run("grpo", { max_steps = 1, missing_eos_rule = "none" }).history[1]
    local more = { max_steps = 1, missing_eos_rule = "none", length_penalty = 0.5 }
    local row = run("grpo", more).history[1]
    assert.are.equal(plain["objective/raw_scores"], row["objective/raw_scores"])
    local cost = 0.5 * row["completions/mean_length"]
    assert.is_true(math.abs(plain["objective/scores"] - cost - row["objective/scores"]) < 1e-9)
  end)
end)

describe("several rewards", function()
  it("are added with their weights, and each has its metric", function()
    local rm = run("reward", { max_steps = 2, num_train_epochs = 1 }).model
    local function first(more)
      more.max_steps, more.missing_eos_rule = 1, "none"
      return run("grpo", more).history[1]
    end
    local by_model = first { reward_model = rm, reward_function = "" }
    local by_moon = first { reward_function = w.dir .. "/moon.lua" }
    local by_both = first {
      reward_model = rm,
      reward_function = w.dir .. "/moon.lua," .. w.reward,
      reward_weights = { "0.5", "2", "0" },
    }
    local model, moon_mean = by_model["objective/scores"], by_moon["objective/scores"]
    assert.is_true(math.abs(by_both["rewards/reward_model"] - model) < 1e-9)
    assert.is_true(math.abs(by_both["rewards/moon"] - moon_mean) < 1e-9)
    local want = 0.5 * model + 2 * moon_mean
    assert.is_true(math.abs(by_both["objective/scores"] - want) < 1e-6)
    assert.is_nil(by_model["rewards/reward_model"])
  end)

  it("keep a metric each when their files have one name", function()
    local function judge(folder, name, value)
      assert(pl.files.folder_make(folder))
      local body = "return function(p, a) local s = {} for i = 1, #a do s[i] = %d end return s end"
      return world.write(folder .. "/" .. name, body:format(value))
    end
    local one, two = judge(w.dir .. "/one", "same.lua", 3), judge(w.dir .. "/two", "same.lua", 5)
    local row = run("grpo", {
      reward_function = one .. "," .. two,
      reward_weights = { "1", "1" },
      max_steps = 1,
    }).history[1]
    assert.are.same({ 3, 5 }, { row["rewards/same"], row["rewards/same-2"] })
  end)

  it("are refused without a weight each", function()
    local two = w.reward .. "," .. w.dir .. "/moon.lua"
    for _, case in ipairs {
      { {}, "give one of reward_model and reward_function, or reward_weights with several" },
      { { "1" }, "reward_weights has 1 weights for 2 rewards" },
      { { "1", "one" }, "reward_weights: 'one' is no number" },
      { { "0", "0.0" }, "reward_weights are all 0: nothing would be judged" },
    } do
      local more = { reward_function = two, reward_weights = case[1] }
      local message = tostring(message_of(run, "ppo", more))
      assert.truthy(message:find(case[2], 1, true), message)
    end
  end)

  it("that are others than a checkpoint was made with are refused", function()
    local two = w.reward .. "," .. w.dir .. "/moon.lua"
    local more = { reward_function = two, reward_weights = { "1", "1" }, save_steps = 1 }
    more.total_episodes = 32
    local _, folder = run("rloo", more)
    more.output_dir, more.resume = folder, folder .. "/checkpoint-1"
    local moon_file = world.read(w.dir .. "/moon.lua")
    world.write(w.dir .. "/moon.lua", moon_file .. "-- other\n")
    local message = tostring(message_of(run, "rloo", more))
    world.write(w.dir .. "/moon.lua", moon_file)
    assert.truthy(message:find("^reward_function is not what "), message)
    assert.are.equal(2, #run("rloo", more).history)
  end)
end)

describe("a reward function that fails", function()
  -- A function that fails in the call of a number, while the file `fails` is there.
  local function failing(call)
    world.write(w.dir .. "/fails", "")
    return world.write(
      w.dir .. "/failing.lua",
      ([[
local calls = 0
return function(prompts, answers)
  calls = calls + 1
  if calls == %d and io.open("%s/fails") then error("no connection") end
  local scores = {}
  for i, answer in ipairs(answers) do
    scores[i] = #answer %% 5
  end
  return scores
end
]]):format(call, w.dir)
    )
  end

  for _, recipe in ipairs { "ppo", "grpo", "best_of_n" } do
    it("costs " .. recipe .. " no iteration that was done", function()
      local path = failing(3)
      local more = { reward_function = path, normalize_scores = true, missing_eos_rule = "none" }
      if recipe == "grpo" then more.dynamic_sampling = 1 end
      os.remove(w.dir .. "/fails")
      local whole = run(recipe, more)
      failing(3)
      local folder = w.dir .. "/failed-" .. recipe
      more.output_dir = folder
      local ok, message = pcall(run, recipe, more)
      assert.is_false(ok)
      local step = tostring(message):match("no connection, in iteration %d; checkpoint%-(%d) has")
      assert.truthy(step, tostring(message))
      assert.matches("--resume --resume_changed reward_function goes on", message, 1, true)
      assert.equal(tonumber(step), #assert(pl.run.read_rows(folder .. "/metrics.jsonl")))
      os.remove(w.dir .. "/fails")
      more.resume, more.resume_changed = "latest", "reward_function"
      assert.equal(hash_of(whole), hash_of((run(recipe, more))))
    end)
  end

  for recipe, call in pairs { dpo = 2, kto = 2, rloo = 3 } do
    it("on held-out prompts costs " .. recipe .. " no step that was done", function()
      local path = failing(call)
      local more = { reward_function = path, eval_steps = 2, eval_count = 4, response_length = 6 }
      more[recipe == "rloo" and "eval_dataset" or "eval_prompts"] = w.prompts
      os.remove(w.dir .. "/fails")
      local whole = run(recipe, more)
      failing(call)
      more.output_dir = w.dir .. "/failed-measuring-" .. recipe
      local ok, message = pcall(run, recipe, more)
      assert.is_false(ok)
      local text = "no connection, on held%-out prompts; checkpoint%-(%d) has all so far"
      local step = tostring(message):match(text)
      assert.truthy(step, tostring(message))
      assert.equal(tonumber(step), pl.run.checkpoints(more.output_dir)[1].step)
      local rows = assert(pl.run.read_rows(more.output_dir .. "/metrics.jsonl"))
      assert.equal(tonumber(step), rows[#rows].step)
      assert.is_number(rows[#rows].grad_norm)
      assert.is_nil(rows[#rows].eval_score)
      os.remove(w.dir .. "/fails")
      more.resume, more.resume_changed = "latest", "reward_function"
      assert.equal(hash_of(whole), hash_of((run(recipe, more))))
    end)
  end

  it("is told with the first answer that it fails at by itself", function()
    local path = world.write(
      w.dir .. "/picky.lua",
      [[
return function(_, answers)
  local scores = {}
  for i, answer in ipairs(answers) do
    if answer:find("moon") then error("no moons") end
    scores[i] = #answer
  end
  return scores
end
]]
    )
    local judge = pl.score.open({ reward_model = "", reward_function = path }, {
      decode = function(_, ids) return ids end,
    })
    local answers, prompts = {}, {}
    for i, text in ipairs { "a", "b", "c", "a moon", "d", "moon two" } do
      answers[i], prompts[i] = { tokens = text, finish_reason = "stop" }, { tokens = "p" .. i }
    end
    local ok, message = pcall(judge.score, judge, { answers = answers }, prompts)
    assert.is_false(ok)
    assert.matches(
      "picky.lua:4: no moons %(at answer 4 of 6, 'a moon'; the prompt: 'p4'%)$",
      message
    )
  end)

  it("is told as it failed where one answer alone fails otherwise", function()
    local path = world.write(
      w.dir .. "/pairs.lua",
      [[
return function(_, answers)
  assert(#answers % 2 == 0, "pairs of answers are wanted")
  error("no connection")
end
]]
    )
    local judge = pl.score.open({ reward_model = "", reward_function = path }, {
      decode = function(_, ids) return ids end,
    })
    local answers, prompts = {}, {}
    for i = 1, 4 do
      answers[i], prompts[i] = { tokens = "a", finish_reason = "stop" }, { tokens = "p" }
    end
    local ok, message = pcall(judge.score, judge, { answers = answers }, prompts)
    assert.is_false(ok)
    assert.matches("pairs.lua failed: .*no connection$", message)
  end)

  it("is told with its iteration where there is nothing to keep", function()
    local folder = w.dir .. "/failed-first"
    local more = { reward_function = failing(1), output_dir = folder }
    local ok, message = pcall(run, "rloo", more)
    assert.is_false(ok)
    assert.matches("no connection, in iteration 1$", tostring(message))
    assert.are.same({}, pl.run.checkpoints(folder))
  end)
end)
