--- A world of a few words in which the recipes can run within a second: a random model with its
-- tokenizer, prompts, demonstrations, rankings, plain text and a reward function.
--
-- The model is small, but large enough that the engine shares its work among threads.

local json = require("perilune.base.json")
local lfs = require("lfs")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")

local world = { program = lfs.symlinkattributes("/proc/self/exe", "target") }

local subjects = { "the moon", "a fox", "my boat", "the old tower", "some rain", "the small bird" }
local verbs = { "sees", "wants", "follows", "forgets", "paints", "finds" }
local objects = { "the sea", "a lamp", "nobody", "bread and salt", "the long road", "two coins" }

local function sentence(i)
  return ("%s %s %s ."):format(
    subjects[i % 6 + 1],
    verbs[i // 6 % 6 + 1],
    objects[(i * 5 + i // 7) % 6 + 1]
  )
end

local write = scratch.write
world.write = write

function world.read(path)
  local file = io.open(path, "rb")
  local text = file and file:read("a")
  if file then file:close() end
  return text
end

--- Writes rows as JSON Lines: the path.
function world.jsonl(path, rows)
  local lines = {}
  for i, row in ipairs(rows) do
    lines[i] = json.encode(row)
  end
  return write(path, table.concat(lines, "\n") .. "\n")
end
local jsonl = world.jsonl

--- Saves a random model of two layers and a tokenizer of the words of texts.
-- @tparam string folder
-- @tparam string family "gpt2" or "llama"
-- @tparam {string,...} texts
-- @tparam table options `width`, `seed`, `range` (deviation of the weights); of Llama `inner`
--   (width of the MLP), `heads` (attention heads, twice those of keys)
function world.model(folder, family, texts, options)
  local tok = pl.tokenizer.train {
    kind = "word",
    texts = texts,
    vocab_size = 60,
    special = { "<s>", "</s>", "<unk>" },
    bos = "<s>",
    eos = "</s>",
    unk = "<unk>",
  }
  local config = family == "gpt2"
      and {
        model_type = "gpt2",
        n_embd = options.width,
        n_layer = 2,
        n_head = 4,
        n_positions = 64,
        initializer_range = options.range,
      }
    or {
      model_type = "llama",
      hidden_size = options.width,
      intermediate_size = options.inner,
      num_hidden_layers = 2,
      num_attention_heads = options.heads,
      num_key_value_heads = options.heads // 2,
      max_position_embeddings = 64,
      rms_norm_eps = 1e-5,
      initializer_range = options.range,
    }
  config.vocab_size = #tok
  assert(pl.model.new(config, { seed = options.seed }):save(folder, { tokenizer = tok }))
end

--- Fills a new folder; the paths of everything in it.
-- @tparam string family "gpt2" or "llama"
function world.new(family)
  local dir = scratch.folder()
  local w = { dir = dir }
  local texts, prompts, demos, rankings = {}, {}, {}, {}
  for i = 1, 40 do
    texts[i] = sentence(i) .. " " .. sentence(3 * i + 1)
    prompts[i] = { prompt = sentence(2 * i):match("^(.-%S+ %S+) ") }
    demos[i] = { prompt = prompts[i].prompt, completion = " " .. sentence(i * i + 2) }
    rankings[i] = {
      prompt = prompts[i].prompt,
      completions = { sentence(i), sentence(2 * i + 3), "the moon", sentence(7 * i) },
      ranks = { 1 + i % 4, 2, 4, 1 + i % 3 },
    }
  end
  w.model = dir .. "/model"
  world.model(
    w.model,
    family,
    texts,
    { width = 52, inner = 100, heads = 2, range = 0.15, seed = 4 }
  )
  w.prompts = jsonl(dir .. "/prompts.jsonl", prompts)
  w.demos = jsonl(dir .. "/demos.jsonl", demos)
  w.rankings = jsonl(dir .. "/rankings.jsonl", rankings)
  w.text = write(dir .. "/text.txt", table.concat(texts, "\n\n") .. "\n")
  w.reward = write(
    dir .. "/reward.lua",
    [[
return function(_, answers)
  local scores = {}
  for i, answer in ipairs(answers) do
    scores[i] = select(2, answer:gsub("moon", "")) - 0.1 * select(2, answer:gsub("a", ""))
  end
  return scores
end
]]
  )
  return w
end

-- Five iterations of four steps.
local function of_ppo(w)
  return {
    reward_function = w.reward,
    dataset = w.prompts,
    ptx_dataset = w.text,
    ptx_coef = 0.5,
    ptx_length = 12,
    response_length = 10,
    batch_size = 16,
    num_mini_batches = 4,
    total_episodes = 80,
    value_learning_rate = 0.003,
    learning_rate = "cosine(0.003, 0.0005)", -- both schedules are part of what a checkpoint keeps
    kl_coef = "adaptive_kl{init = 0.02, target = 0.5, horizon = 40}",
    temperature = 0.8,
    top_p = 0.95,
    slots = 7,
    micro_batch_tokens = 40,
    whiten_rewards = true,
    entropy_coef = 0.01,
  }
end

-- Four iterations.
local function of_groups(w)
  return {
    reward_function = w.reward,
    dataset = w.prompts,
    ptx_dataset = w.text,
    ptx_coef = 0.2,
    ptx_length = 12,
    response_length = 10,
    batch_size = 16,
    num_mini_batches = 2,
    num_generations = 4,
    total_episodes = 64,
    learning_rate = "cosine(0.003, 0.0005)",
    kl_coef = "adaptive_kl{init = 0.02, target = 0.5, horizon = 40}",
    temperature = 0.8,
    slots = 7,
    micro_batch_tokens = 40,
    entropy_coef = 0.01,
  }
end

local function of_pairs(w)
  local settings = of_groups(w)
  for _, key in ipairs { "ptx_dataset", "ptx_coef", "ptx_length", "entropy_coef" } do
    settings[key] = nil
  end
  settings.kl_coef = 0.1
  return settings
end

local function of_reinforce(w)
  local settings = of_groups(w)
  settings.num_generations = nil
  return settings
end

local function of_sft(w)
  return {
    dataset = w.demos,
    ptx_dataset = w.text,
    ptx_fraction = 0.25,
    ptx_length = 12,
    batch_size = 8,
    num_train_epochs = 4,
    learning_rate = 0.003,
    resid_dropout = 0.1,
    micro_batch_tokens = 60,
  }
end

local function of_preference(w)
  return {
    dataset = w.rankings,
    batch_size = 8,
    num_train_epochs = 2,
    learning_rate = 0.003,
    micro_batch_tokens = 150,
  }
end

local function of_reward(w)
  return {
    dataset = w.rankings,
    demonstrations = w.demos,
    batch_size = 4,
    num_train_epochs = 2,
    learning_rate = 0.003,
    micro_batch_tokens = 150,
  }
end

local settings_of = {
  ppo = of_ppo,
  grpo = of_groups,
  rloo = of_groups,
  reinforce = of_reinforce,
  online_dpo = of_pairs,
  best_of_n = of_pairs,
  sft = of_sft,
  dpo = of_preference,
  kto = of_preference,
  reward = of_reward,
}

--- The settings of a short run of a recipe in this world.
function world.settings(w, recipe)
  local settings = settings_of[recipe](w)
  settings.model = w.model
  settings.seed = 5
  settings.save_steps = 1
  settings.quiet = true
  return settings
end

--- The command line of a run in `folder`.
function world.command(recipe, settings, folder, more)
  local args, names = { world.program, ("recipes/%s.lua"):format(recipe) }, {}
  for name in pairs(settings) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    args[#args + 1] = "--" .. name
    if settings[name] ~= true then args[#args + 1] = tostring(settings[name]) end
  end
  table.move({ "--output_dir", folder }, 1, 2, #args + 1, args)
  for _, arg in ipairs(more or {}) do
    args[#args + 1] = arg
  end
  return args
end

--- Runs to the end in a process of its own: the summary.
function world.run(recipe, settings, folder, more)
  local how, code = require("perilune.core").system.spawn(
    world.command(recipe, settings, folder, more),
    { stdin = "/dev/null", stdout = folder .. ".out", stderr = folder .. ".err" }
  )
  if how ~= "exit" or code ~= 0 then
    error(("%s: %s %d\n%s"):format(recipe, how, code, world.read(folder .. ".err")), 0)
  end
  return assert(json.decode(world.read(folder .. "/summary.json")))
end

world.clean, world.remove = scratch.clean, scratch.remove
return world
