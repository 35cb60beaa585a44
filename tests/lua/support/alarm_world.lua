--- A world in which all recipes run within a second or two and are healthy: a model that learnt
-- sentences of a few words, demonstrations, rankings by a rule, prompts, reward functions.

local pl = require("perilune")
local world = dofile("tests/lua/support/world.lua")

local alarm_world = { write = world.write }

local subjects = { "the moon", "a fox", "my boat", "the tower", "some rain", "the bird" }
local verbs = { "sees", "wants", "follows", "forgets", "paints", "finds" }
local objects = { "the sea", "a lamp", "nobody", "bread", "the road", "two coins" }
local tails = { " .", " again .", " in the morning .", " with my old friend today ." }

-- Item of a list by a number that depends on the arguments alone.
local function pick(list, seed, index, part)
  return list[1 + math.floor(pl.random_uniform(seed, 40 + part, index) * #list)]
end

local jsonl = world.jsonl

--- Reward functions, by the body that gives the score of `text`, one answer's.
alarm_world.tasks = {
  word = 'return text:find("sea") and 1 or 0',
  polite = 'return (text:find("%.$") and 0.5 or 0) + (text:find("lamp") and 1 or 0)',
  distinct = [[
    local seen, words, different = {}, 0, 0
    for word in text:gmatch("%S+") do
      words, different = words + 1, different + (seen[word] and 0 or 1)
      seen[word] = true
    end
    return words > 0 and different / words - 0.3 or -1]],
  articles = [[
    local words, found = 0, 0
    for word in text:gmatch("%S+") do
      words, found = words + 1, found + ((word == "the" or word == "a") and 1 or 0)
    end
    return 2 * found / math.max(1, words)]],
  ranked = [[
    return text:find("sea") and 3 or text:find("lamp") and 2 or text:find("road") and 1 or 0]],
  six_words = [[
    local _, words = text:gsub("%S+", "")
    return 1 - math.abs(words - 6) / 4]],
}

--- A file with a reward function of the given body.
function alarm_world.reward(w, name, body)
  return world.write(
    ("%s/reward-%s.lua"):format(w.dir, name),
    ([[
local function score(text, ended) -- luacheck: ignore
  %s
end
return function(_, answers, _, ended)
  local scores = {}
  for i, text in ipairs(answers) do
    scores[i] = score(text, ended[i])
  end
  return scores
end
]]):format(body)
  )
end

-- An answer to prompt i: object and tail by k.
local function answer(seed, i, k)
  return " " .. pick(objects, seed, i * 10 + k, 3) .. pick(tails, seed, i * 10 + k, 4)
end

-- How good an answer is to the rankings: a rule that has nothing to do with length.
local function worth(text)
  return (text:find("sea") and 3 or text:find("lamp") and 2 or text:find("road") and 1 or 0)
end

--- Ranked sets of answers; `by(text)` is what they are ranked by, higher is better.
function alarm_world.rankings(w, name, options)
  local rows, by = {}, options.by or worth
  for i = 1, options.sets or 80 do
    local id = i + (options.from or 0)
    local completions, values = {}, {}
    for k = 1, options.answers or 4 do
      completions[k] = answer(w.seed + 7, id, k)
      values[k] = by(completions[k]) * (options.swapped and -1 or 1)
    end
    rows[i] = {
      prompt = w.prompt_rows[(id - 1) % #w.prompt_rows + 1].prompt,
      completions = completions,
      ranks = pl.ranking.ranks(values),
    }
  end
  return jsonl(("%s/%s.jsonl"):format(w.dir, name), rows)
end

--- Demonstrations; `say(i)` gives the answer of each.
function alarm_world.demonstrations(w, name, say, count)
  local rows = {}
  for i = 1, count or 96 do
    rows[i] = { prompt = w.prompt_rows[(i - 1) % #w.prompt_rows + 1].prompt, completion = say(i) }
  end
  return jsonl(("%s/%s.jsonl"):format(w.dir, name), rows)
end

--- A folder with a random model of a family and width, its tokenizer and data of a seed.
function alarm_world.new(family, width, seed)
  local w = { dir = world.write(os.tmpname(), "") .. ".d", seed = seed, prompt_rows = {} }
  os.remove((w.dir:gsub("%.d$", "")))
  assert(require("lfs").mkdir(w.dir))
  local texts = {}
  for i = 1, 48 do
    w.prompt_rows[i] = { prompt = pick(subjects, seed, i, 1) .. " " .. pick(verbs, seed, i, 2) }
  end
  for i = 1, 400 do
    texts[i] = w.prompt_rows[(i - 1) % 48 + 1].prompt .. answer(seed, i, 1)
  end
  w.random = w.dir .. "/random"
  world.model(w.random, family, texts, {
    width = width,
    inner = 2 * width,
    heads = 4,
    range = 0.1,
    seed = seed,
  })
  w.prompts = jsonl(w.dir .. "/prompts.jsonl", w.prompt_rows)
  w.demos = alarm_world.demonstrations(w, "demos", function(i) return answer(seed, i, 1) end)
  w.best = alarm_world.demonstrations(
    w,
    "best",
    function(i) return " the sea" .. pick(tails, seed, i, 4) end,
    32
  )
  w.rankings = alarm_world.rankings(w, "rankings", {})
  w.eval_rankings = alarm_world.rankings(w, "eval-rankings", { from = 500, sets = 40 })
  return w
end

--- Settings of a healthy run of a recipe.
function alarm_world.settings(w, recipe)
  if recipe == "sft" then
    return {
      model = w.random,
      dataset = w.demos,
      eval_dataset = w.demos,
      batch_size = 16,
      num_train_epochs = 8,
      learning_rate = 0.003,
      logging_steps = 1,
      seed = w.seed,
      save_steps = 0,
    }
  elseif recipe == "reward" then
    return {
      model = w.sft,
      dataset = w.rankings,
      eval_dataset = w.eval_rankings,
      demonstrations = w.best,
      batch_size = 8,
      num_train_epochs = 3,
      learning_rate = 0.002,
      logging_steps = 1,
      seed = w.seed,
      save_steps = 0,
    }
  end
  if recipe == "dpo" or recipe == "kto" then
    return {
      model = w.sft,
      dataset = w.rankings,
      eval_prompts = w.prompts,
      reward_function = alarm_world.reward(w, "word", alarm_world.tasks.word),
      response_length = 16,
      batch_size = 8,
      num_train_epochs = 3,
      eval_steps = 2,
      learning_rate = recipe == "kto" and 0.0002 or 0.0005, -- at it kto falls
      logging_steps = 1,
      seed = w.seed,
      save_steps = 0,
    }
  end
  return {
    model = w.sft,
    dataset = w.prompts,
    response_length = 16,
    batch_size = 32,
    num_mini_batches = 4,
    total_episodes = 32 * 20,
    learning_rate = 0.0005,
    value_learning_rate = 0.003,
    seed = w.seed,
    save_steps = 0,
  }
end

--- Runs a recipe to its end, well or not: {code =, said = {{step =, text =}, ...}, model =}. Step 0
-- is before the first step, infinite after the last.
function alarm_world.run(w, recipe, settings)
  w.runs = (w.runs or 0) + 1
  local folder = ("%s/run-%d"):format(w.dir, w.runs)
  local log = folder .. ".log"
  local command = world.command(recipe, settings, folder)
  local _, code = require("perilune.core").system.spawn(command, {
    stdin = "/dev/null",
    stdout = folder .. ".out",
    stderr = log,
  })
  local said, started = {}, false
  for line in
    ((world.read(folder .. ".out") or "") .. (world.read(log) or ""))
      :gsub("\27%[[%d;]*%a", "")
      :gsub("\r", "\n")
      :gmatch("[^\n]+")
  do
    local step, text = line:match("alarm at %a+ (%d+): (.*)")
    local warning = line:match("warning: (.*)")
    started = started or line:find("estimate:", 1, true) ~= nil
    if step then
      said[#said + 1] = { step = tonumber(step), text = text }
    elseif warning then
      said[#said + 1] = { step = started and math.huge or 0, text = warning }
    end
  end
  if code ~= 0 then
    said[#said + 1] = { step = started and 1 or 0, text = world.read(log) or "" }
  end
  return { code = code, said = said, model = folder .. "/model", folder = folder }
end

function alarm_world.clean(w) world.remove(w.dir) end

return alarm_world
