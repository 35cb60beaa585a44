--- What the alarms are measured on: mistakes with the sentence that names each and the step by
-- which it must be heard (0: before the first; infinite: at the end), and healthy runs.

local pl = require("perilune")

local cases = { world = "llama 32 11" }

local ended = math.huge

-- A change that sets keys.
local function set(keys)
  return function(settings, w, world)
    if settings.total_episodes and not settings.reward_model then
      settings.reward_function = world.reward(w, "word", world.tasks.word)
    end
    for key, value in pairs(keys) do
      settings[key] = value
    end
  end
end

-- PPO on a reward function with this body, with further keys.
local function rewarded(body, keys)
  return function(settings, w, world)
    w.bodies = (w.bodies or 0) + 1
    settings.reward_function = world.reward(w, "body" .. w.bodies, body)
    for key, value in pairs(keys or {}) do
      settings[key] = value
    end
  end
end

local words = 'select(2, text:gsub("%S+", ""))'

-- A copy of a model with one weight that is not a number.
local function broken(path, to)
  local model = assert(pl.load(path))
  local weight = model.weights[model.entries[#model.entries - 1][1]]
  local guard <close> = pl.no_grad() -- luacheck: ignore
  weight:copy_(weight * (0 / 0))
  assert(model:save(to, { tokenizer = assert(pl.tokenizer.load(path)) }))
  return to
end

local function mistake(name, recipe, by, says, change, more)
  local case = { name = name, recipe = recipe, by = by, says = says, change = change }
  for key, value in pairs(more or {}) do
    case[key] = value
  end
  return case
end

cases.planted = {
  mistake("kl_coef 0", "ppo", 0, "kl_coef is 0", set { kl_coef = 0 }),
  mistake(
    "the KL as a loss, estimated by k1",
    "ppo",
    0,
    "controls nothing",
    set { kl_placement = "loss" }
  ),
  mistake(
    "the average of a short run as its result",
    "ppo",
    0,
    "still the start",
    set { ema_final = true }
  ),
  mistake(
    "a value model that is not trained: vf_coef",
    "ppo",
    0,
    "vf_coef is 0",
    set { vf_coef = 0 }
  ),
  mistake(
    "a value model that is not trained: its rate",
    "ppo",
    0,
    "value_learning_rate is 0",
    set { value_learning_rate = 0 }
  ),
  mistake(
    "a reward function that gives NaN",
    "ppo",
    1,
    "the score of answer 3 is",
    function(settings, w, world)
      settings.reward_function = world.write(
        w.dir .. "/nan.lua",
        "return function(_, answers) local s = {} for i = 1, #answers do s[i] = i == 3 and 0 / 0 "
          .. "or 1 end return s end\n"
      )
    end
  ),
  mistake(
    "a reward function that forgets an answer",
    "ppo",
    1,
    "31 scores for 32 answers",
    function(settings, w, world)
      settings.reward_function = world.write(
        w.dir .. "/short.lua",
        "return function(_, answers) local s = {} for i = 2, #answers do s[i - 1] = i end "
          .. "return s end\n"
      )
    end
  ),
  mistake(
    "a broken reward model",
    "ppo",
    1,
    "reward model",
    function(settings, w) settings.reward_model = broken(w.reward_model, w.dir .. "/broken") end,
    { reward_model = true }
  ),
  mistake(
    "a reward that counts words",
    "ppo",
    5,
    "r = 1.00, so the policy will learn to write " .. "longer",
    rewarded("return " .. words)
  ),
  mistake(
    "a reward that pays for brevity",
    "ppo",
    5,
    "shorter and nothing else",
    rewarded("return -0.2 * " .. words)
  ),
  mistake("a constant reward", "ppo", 3, "every answer scores 2", rewarded("return 2")),
  mistake(
    "a reward clipped to one value",
    "ppo",
    3,
    "cut at reward_clip",
    rewarded("return 3 + #text % 5", { reward_clip = 0.5, missing_eos_rule = "none" })
  ),
  mistake(
    "room for one token",
    "ppo",
    3,
    "raise response_length (1)",
    rewarded("return #text % 5", { missing_eos_rule = "replace", response_length = 1 })
  ),
  mistake(
    "answers cut short, without a rule",
    "ppo",
    3,
    "Set missing_eos_rule to subtract",
    rewarded('return text:find("sea") and 1 or 0', {
      missing_eos_rule = "none",
      response_length = 2,
    })
  ),
  mistake(
    "a policy that never learnt to end",
    "ppo",
    3,
    "missing_eos_rule is subtract already",
    function(settings, w, world)
      settings.model = w.random
      settings.reward_function = world.reward(w, "word", world.tasks.word)
    end
  ),
  mistake(
    "a reward that is best for nothing",
    "ppo",
    20,
    "Empty answers",
    rewarded('return text:find("%S") and -3 or 3', { learning_rate = 0.005, kl_coef = 0.001 })
  ),
  mistake(
    "a learning rate ten times too high",
    "ppo",
    10,
    "KL runaway",
    rewarded('return select(2, text:gsub("sea", ""))', { learning_rate = 0.02, kl_coef = 0.0001 })
  ),
  mistake(
    "a reward model that nothing holds the policy to",
    "ppo",
    20,
    "Over-optimisation",
    function(settings, w)
      settings.reward_model, settings.kl_coef = w.reward_model, 0
      settings.learning_rate, settings.total_episodes = 0.005, 640
    end,
    { reward_model = true }
  ),
  mistake(
    "a reward model with another taste than gold",
    "ppo",
    20,
    "Other taste than gold",
    function(settings, w, world)
      settings.reward_model = w.reward_model
      settings.eval_dataset, settings.eval_steps = w.prompts, 1
      settings.gold = world.reward(w, "polite", world.tasks.polite)
    end,
    { reward_model = true }
  ),
  mistake(
    "a policy that settles on one answer",
    "ppo",
    20,
    "Entropy collapse",
    rewarded('return text:find("sea %.$") and 3 or 0', { learning_rate = 0.005, kl_coef = 0.001 })
  ),
  mistake(
    "a reward that pays for one letter, again and again",
    "ppo",
    12,
    "Length drift",
    rewarded('return select(2, text:gsub("a", ""))', { learning_rate = 0.005, kl_coef = 0.001 })
  ),
  mistake(
    "answers by the likeliest token, with an entropy bonus",
    "ppo",
    20,
    "Negative KL",
    set { top_k = 1, entropy_coef = 0.3 }
  ),
  mistake(
    "returns far outside the value clip",
    "ppo",
    15,
    "raise cliprange_value",
    rewarded('return 100 + (text:find("sea") and 100 or 0)', { cliprange_value = 0.001 })
  ),
  mistake(
    "a value model that learns too fast",
    "ppo",
    15,
    "lower value_learning_rate",
    rewarded('return text:find("sea") and 1 or 0', {
      value_learning_rate = 20,
      cliprange_value = 0,
    })
  ),
  mistake(
    "a value model that hardly learns",
    "ppo",
    15,
    "raise value_learning_rate",
    rewarded('return text:find("sea") and 1 or 0', { value_learning_rate = 1e-7 })
  ),
  mistake(
    "blank answers as demonstrations",
    "sft",
    0,
    "are empty or blank",
    function(settings, w, world)
      settings.dataset = world.demonstrations(
        w,
        "blank",
        function(i) return i % 3 == 0 and "\u{3000}" or " the sea ." end
      )
    end
  ),
  mistake(
    "demonstrations that are all cut",
    "sft",
    1,
    "will not learn to stop",
    set { max_length = 6 }
  ),
  mistake("steps that are too long", "sft", 12, "Loss rises", set { learning_rate = 1 }),
  mistake(
    "DPO that goes far from its reference",
    "dpo",
    12,
    "KL runaway",
    set { beta = 0.001, learning_rate = 0.1 }
  ),
  mistake(
    "KTO that goes far from its reference",
    "kto",
    12,
    "KL runaway",
    set { beta = 0.001, learning_rate = 0.1 }
  ),
  mistake(
    "DPO at ten times the rate, whose preferred answers lose",
    "dpo",
    30,
    "Preferred answers lose probability",
    set { learning_rate = 0.005 }
  ),
  mistake(
    "rankings the wrong way round",
    "reward",
    ended,
    "the wrong way round in one of the files",
    function(settings, w, world)
      local swapped = { swapped = true }
      settings.dataset = world.rankings(w, "swapped", swapped)
    end
  ),
  mistake(
    "all rankings the wrong way round",
    "reward",
    ended,
    "Demonstrations score below",
    function(settings, w, world)
      settings.dataset = world.rankings(w, "swapped", { swapped = true })
      settings.eval_dataset = world.rankings(w, "swapped-eval", { swapped = true, from = 500 })
    end
  ),
  mistake(
    "rankings by length",
    "reward",
    ended,
    "will learn to write longer",
    function(settings, w, world)
      settings.dataset = world.rankings(w, "long", {
        sets = 200,
        by = function(text) return select(2, text:gsub("%S+", "")) end,
      })
      settings.eval_dataset = nil
    end
  ),
  mistake(
    "demonstrations of another form",
    "reward",
    ended,
    "Demonstrations score below",
    function(settings, w, world)
      settings.demonstrations = world.demonstrations(
        w,
        "other",
        function() return " nobody again ." end
      )
    end
  ),
}

-- Healthy runs ------------------------------------------------------------------------------------

cases.healthy = {}

local function add(name, world, recipe, change, more)
  local case = mistake(name .. ", " .. world, recipe, nil, nil, change, more)
  case.world = world
  cases.healthy[#cases.healthy + 1] = case
end

local worlds = {
  "llama 32 1",
  "gpt2 32 2",
  "llama 48 3",
  "gpt2 64 4",
  "llama 32 5",
  "gpt2 32 6",
  "llama 48 7",
  "gpt2 64 8",
}
for _, world in ipairs(worlds) do
  add("sft", world, "sft")
  add("reward", world, "reward")
  add("dpo", world, "dpo", set {})
  add("kto", world, "kto", set {})
end
local seed = 100
for _, task in ipairs { "word", "polite", "distinct", "articles", "six_words" } do
  for _, world in ipairs(worlds) do
    seed = seed + 1
    local own = seed
    add("ppo, task " .. task, world, "ppo", function(settings, w, alarm_world)
      settings.reward_function = alarm_world.reward(w, task, alarm_world.tasks[task])
      settings.seed = own
    end)
  end
end
for _, world in ipairs(worlds) do
  add(
    "ppo, reward model",
    world,
    "ppo",
    function(settings, w) settings.reward_model = w.reward_model end,
    { reward_model = true }
  )
  add("ppo, reward model, gold of its own taste", world, "ppo", function(settings, w, alarm_world)
    settings.reward_model = w.reward_model
    settings.eval_dataset, settings.eval_steps = w.prompts, 1
    settings.gold = alarm_world.reward(w, "ranked", alarm_world.tasks.ranked)
  end, { reward_model = true })
  add("ppo, adaptive KL, reward model", world, "ppo", function(settings, w)
    settings.reward_model, settings.seed = w.reward_model, 7
    settings.kl_coef = "adaptive_kl{init = 0.1, target = 2, horizon = 400}"
  end, { reward_model = true })
  add("ppo, batches of 8, two passes", world, "ppo", function(settings, w, alarm_world)
    settings.reward_function = alarm_world.reward(w, "word", alarm_world.tasks.word)
    settings.batch_size, settings.num_ppo_epochs, settings.total_episodes = 8, 2, 240
    settings.learning_rate = 0.0002
  end)
end

return cases
