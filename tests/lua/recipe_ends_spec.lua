--- How runs of recipes end and are gone on with: refusals at the start, broken results, what
-- decides a result compared by content.

local pl = require("perilune")
local message_of = dofile("tests/lua/support/message_of.lua")
local said = dofile("tests/lua/support/said.lua")
local scratch = dofile("tests/lua/support/scratch.lua")
local world = dofile("tests/lua/support/world.lua")

local w

setup(function()
  require("perilune.core").system.setenv("OMP_WAIT_POLICY", "passive")
  w = world.new("gpt2")
end)

teardown(function() world.clean() end)

--- A short run in this process; what the recipe returns.
local function run(recipe, more, folder)
  local settings = world.settings(w, recipe)
  settings.save_steps, settings.threads = 0, 1
  settings.output_dir = folder or scratch.path()
  for key, value in pairs(more or {}) do
    settings[key] = value
  end
  return pl.config.run_recipe("recipes/" .. recipe .. ".lua", settings), settings.output_dir
end

local function summary_of(folder) return pl.json.decode(scratch.read(folder .. "/summary.json")) end

local function refusal(recipe, more, folder)
  local message = message_of(run, recipe, more, folder)
  return tostring(message)
end

--- Flips one bit of a file.
local function flip(path)
  local text = scratch.read(path)
  local at = #text // 2
  scratch.write(path, text:sub(1, at - 1) .. string.char(text:byte(at) ~ 1) .. text:sub(at + 1))
end

describe("target_kl", function()
  it("stops the steps of a batch within its only pass", function()
    local folder = scratch.path()
    run("ppo", { target_kl = 1e-12, total_episodes = 32 }, folder)
    local state = pl.json.decode(scratch.read(folder .. "/checkpoint-2/trainer_state.json"))
    assert.are.equal(4, state.perilune.state.step) -- of 8: the first step's ratio is 1
  end)
end)

describe("the result of a run", function()
  it("has the hash of what is saved, the averaged policy too", function()
    local result, folder = run("ppo", { ema_final = true, total_episodes = 32 })
    assert.are.equal(assert(pl.load(result.model)):hash(), summary_of(folder).weights_hash)
  end)

  it("is no model when learning failed", function()
    for recipe, more in pairs { sft = { learning_rate = 1e30 }, ppo = { learning_rate = 1e30 } } do
      local folder = scratch.path()
      local message = refusal(recipe, more, folder)
      assert.is_truthy(message:find("the run has failed and no model is saved", 1, true), message)
      assert.is_false(scratch.there(folder .. "/model"))
      run(recipe, { overwrite_output_dir = true, max_steps = 1 }, folder) -- it was given free
    end
  end)

  it("is no model when the last gradients were not finite, so that nothing was learnt", function()
    local model = assert(pl.load(w.model))
    local function saved(norms)
      local args = { "--output_dir", scratch.path() }
      local r <close> = pl.run.open(pl.config { name = "toy", args = args })
      for step, norm in ipairs(norms) do
        r:log(step, { loss = 1, grad_norm = norm })
      end
      return pcall(r.save_model, r, model)
    end
    local inf, nan = math.huge, 0 / 0
    for _, norms in ipairs { { inf }, { 1, nan, inf, nan }, { nan, inf } } do
      local ok, message = saved(norms)
      assert.is_false(ok)
      assert.is_truthy(
        message:find("gradients were not finite: the run has failed", 1, true),
        message
      )
    end
    for _, norms in ipairs { {}, { 1 }, { inf, 1 }, { 1, nan, inf }, { inf, inf, inf, 1, inf } } do
      assert.is_true((saved(norms)))
    end
  end)

  it("is told to be no other than the start when no step changed a weight", function()
    local function alarms_of(folder)
      return scratch.there(folder .. "/alarms.jsonl")
          and pl.run.read_rows(folder .. "/alarms.jsonl")
        or {}
    end
    for recipe, more in pairs {
      sft = { learning_rate = 0, num_train_epochs = 1 },
      grpo = {
        mask_truncated_completions = true,
        response_length = 1, -- no answer ends in time
        total_episodes = 32,
        batch_size = 8,
        num_generations = 2,
        num_mini_batches = 1,
        kl_coef = 0,
        ptx_coef = 0,
        ptx_dataset = "",
      },
    } do
      local folder = scratch.path()
      run(recipe, more, folder)
      local rows = alarms_of(folder)
      assert.are.equal("nothing_learned", rows[#rows].alarm)
      assert.is_truthy(rows[#rows].text:find("no weight differs from those that", 1, true))
    end
    local folder = scratch.path()
    run("sft", { num_train_epochs = 1 }, folder)
    run("sft", { num_train_epochs = 1, resume = "latest" }, folder) -- it has nothing left to do
    assert.are.same({}, alarms_of(folder))
  end)

  it("is checked against its manifest when it is loaded", function()
    local result = run("sft", { num_train_epochs = 1 })
    assert(pl.load(result.model))
    flip(result.model .. "/model.safetensors")
    local model, message = pl.load(result.model)
    assert.is_nil(model)
    assert.is_truthy(message:find("model.safetensors' is damaged", 1, true), message)
    flip(result.model .. "/model.safetensors")
    assert(pl.tokenizer.load(result.model))
    flip(result.model .. "/tokenizer.json")
    local tok, wrong = pl.tokenizer.load(result.model)
    assert.is_nil(tok)
    assert.is_truthy(wrong:find("tokenizer.json' is damaged", 1, true), wrong)
  end)
end)

describe("a run that is gone on with", function()
  it("is refused when what judges it has other content, unless that is named", function()
    local folder = scratch.path()
    local settings = { total_episodes = 32, save_steps = 1, max_steps = 1 }
    settings.learning_rate = 0.003
    run("ppo", settings, folder)
    local reward = scratch.read(w.reward)
    scratch.write(w.reward, reward .. "-- other\n")
    settings.resume, settings.max_steps = "latest", 2
    local message = refusal("ppo", settings, folder)
    assert.is_truthy(
      message:find(
        "reward_function is not what "
          .. folder
          .. "/checkpoint-1 was "
          .. "made with: its content was ",
        1,
        true
      ),
      message
    )
    settings.resume_changed = { "reward_function" }
    run("ppo", settings, folder)
    local row = pl.run.read_rows(folder .. "/journal.jsonl")
    assert.are.equal("reward_function", row[#row].key)
    scratch.write(w.reward, reward)
  end)

  it("is refused with other batches or another template, both named", function()
    local folder = scratch.path()
    run("sft", { num_train_epochs = 1 }, folder)
    local message = refusal(
      "sft",
      { num_train_epochs = 1, batch_size = 4, template = "plain", resume = "latest" },
      folder
    )
    assert.is_truthy(
      message:find("batch_size is 8 there, 4 was given; template is ", 1, true),
      message
    )
  end)

  it("is refused when recipe, model or data are not what they were; nothing is touched", function()
    local folder, recipe = scratch.path(), scratch.path() .. ".lua"
    local text = scratch.read("recipes/sft.lua")
    local function sft(more)
      local settings = world.settings(w, "sft")
      settings.num_train_epochs, settings.save_steps, settings.output_dir = 2, 0, folder
      settings.threads = 1
      for key, value in pairs(more or {}) do
        settings[key] = value
      end
      scratch.write(recipe, settings.text or text)
      settings.text = nil
      return pl.config.run_recipe(recipe, settings)
    end
    sft()
    local before = scratch.read(folder .. "/metrics.jsonl")
    local steps = #pl.run.read_rows(folder .. "/metrics.jsonl")
    local first = ("%s/checkpoint-%d"):format(folder, pl.run.checkpoints(folder)[1].step)
    local other = scratch.path()
    local changed = assert(pl.load(w.model))
    changed.block:average(assert(pl.load(folder .. "/model")).block, 0.5)
    assert(changed:save(other, { tokenizer = assert(pl.tokenizer.load(w.model)) }))
    local message = tostring(message_of(sft, {
      resume = first,
      text = text .. "-- edited\n",
      model = other,
      ptx_dataset = scratch.write(scratch.path() .. ".txt", "the moon sees a lamp .\n"),
    }))
    for name, of in pairs {
      ptx_dataset = "the data (rows, tokenizer or template) that",
      model = "what",
      recipe = "what",
    } do
      local wanted = ("%s is not %s %s was made with: its content was "):format(name, of, first)
      assert.is_truthy(message:find(wanted, 1, true), message)
    end
    local allow = "--resume_changed ptx_dataset,model,recipe"
    assert.is_truthy(message:find(allow, 1, true), message)
    assert.are.equal(before, scratch.read(folder .. "/metrics.jsonl"))
    assert.are.equal(text, scratch.read(folder .. "/recipe.lua"))
    sft { resume = first, text = text .. "-- edited\n", resume_changed = { "recipe" } }
    assert.are.equal(steps, #pl.run.read_rows(folder .. "/metrics.jsonl"))
    local journal = pl.run.read_rows(folder .. "/journal.jsonl")
    assert.are.equal("recipe", journal[#journal].key)
    assert.are.equal(text .. "-- edited\n", scratch.read(folder .. "/recipe.lua"))
  end)

  it("is refused with a preset that says other than its checkpoint, both named", function()
    local folder = scratch.path()
    local preset = scratch.write(scratch.path() .. ".lua", "return { weight_decay = 0.25 }")
    run("sft", { num_train_epochs = 1 }, folder)
    local message =
      refusal("sft", { num_train_epochs = 1, resume = "latest", preset = preset }, folder)
    assert.is_truthy(message:find("weight_decay is 0 there, 0.25 was given", 1, true), message)
    run("sft", {
      num_train_epochs = 1,
      resume = "latest",
      preset = preset,
      resume_changed = { "weight_decay" },
    }, folder)
  end)

  it("is refused in a sentence when the optimizer's moments are of another kind", function()
    local folder = scratch.path()
    run("sft", { num_train_epochs = 1, adam_moments = "8bit" }, folder)
    local message = refusal("sft", {
      num_train_epochs = 1,
      resume = "latest",
      adam_moments = "float32",
      resume_changed = { "adam_moments" },
    }, folder)
    assert.is_truthy(
      message:find("optimizer, adam_moments or what is trained was changed", 1, true),
      message
    )
    assert.is_truthy(message:find("or start a new run with --model " .. folder, 1, true), message)
    assert.is_nil(message:find("state.lua", 1, true), message)
    message = refusal("sft", {
      num_train_epochs = 1,
      resume = "latest",
      optimizer = "muon",
      adam_moments = "float32",
      resume_changed = { "adam_moments", "optimizer" },
    }, folder)
    assert.is_truthy(
      message:find("optimizer, adam_moments or what is trained was changed", 1, true),
      message
    )
    message = refusal("sft", { optimizer = "muon", adam_moments = "8bit" }, scratch.path())
    assert.is_truthy(message:find("Muon keeps one momentum of its matrices", 1, true), message)
    message = refusal("sft", { optimizer = "muon", peft_r = 2 }, scratch.path())
    assert.is_truthy(message:find("adapters are factors of some: take adamw", 1, true), message)
  end)

  it("keeps the figures it had when it was finished", function()
    local folder = scratch.path()
    run("sft", { num_train_epochs = 1, eval_dataset = w.demos }, folder)
    local before = scratch.read(folder .. "/summary.json")
    local result =
      run("sft", { num_train_epochs = 1, eval_dataset = w.demos, resume = "latest" }, folder)
    assert.are.equal(before, scratch.read(folder .. "/summary.json"))
    assert.are.equal(summary_of(folder).eval_loss, result.eval_loss)
  end)
end)

describe("a chat template that is a file", function()
  local text = "{% for m in messages %}{{ m.role }} {{ m.content }}\n{% endfor %}"
    .. "{% if add_generation_prompt %}assistant {% endif %}"

  it("is taken by every recipe that has templates, and saved with the model", function()
    local path = scratch.write(scratch.path() .. ".jinja", text)
    local result = run("sft", { num_train_epochs = 1, template = path })
    assert.are.equal(text, assert(pl.tokenizer.load(result.model)).chat_template)
    run("ppo", { model = result.model, template = path, total_episodes = 16 })
    for name in require("lfs").dir("recipes") do -- pretrain makes a tokenizer for one of ours
      local reads = name:find("%.lua$") and name ~= "pretrain.lua"
      local recipe = reads and scratch.read("recipes/" .. name) or ""
      assert.is_nil(recipe:find('"plain", "chatml" }', 1, true), name) -- no list of the known alone
    end
    local told = refusal("sft", { template = "chatmil" })
    assert.are.equal(
      "unknown template 'chatmil'; known: auto, none, plain, chatml, or the path of a .jinja file",
      told
    )
  end)
end)

describe("what a recipe is given in place of", function()
  it("a model is told to be a run's folder, with the model's place", function()
    local _, folder = run("sft", { num_train_epochs = 1 })
    local wanted = ("%s is a run's folder, no model: its model is %s/model"):format(folder, folder)
    local model, message = pl.load(folder)
    assert.is_nil(model)
    assert.are.equal(wanted, message)
    local told = refusal("sft", { model = folder })
    assert.is_truthy(told:find(wanted, 1, true), told)
  end)

  it("rankings to learn from is told to be held out as a whole", function()
    local row = { prompt = "p", completions = { "a", "b" }, ranks = { 1, 2 }, labeler = "x" }
    local path = world.jsonl(w.dir .. "/of_x.jsonl", { row, row })
    local told = refusal("reward", { dataset = path, held_out_labelers = "x, y" })
    assert.is_truthy(
      told:find("held_out_labelers (x, y) hold out every set of dataset", 1, true),
      told
    )
  end)
end)

describe("models that work together", function()
  it("have one tokenizer, one size of vocabulary and room for the text", function()
    local function reward_model(texts, context)
      local tok = pl.tokenizer.train {
        kind = "word",
        texts = texts,
        vocab_size = #texts + 3,
        special = { "<s>", "</s>", "<unk>" },
        bos = "<s>",
        eos = "</s>",
        unk = "<unk>",
      }
      local folder = scratch.path()
      local config = {
        model_type = "gpt2",
        n_embd = 8,
        n_layer = 1,
        n_head = 1,
        n_positions = context or 64,
        vocab_size = #tok,
        scalar_head = true,
      }
      assert(assert(pl.model.new(config, { seed = 1 })):save(folder, { tokenizer = tok }))
      return folder, #tok
    end
    local own = assert(pl.tokenizer.load(w.model))
    local texts = {}
    for i = 1, #own - 3 do
      texts[i] = "w" .. i
    end
    local other, size = reward_model(texts)
    assert.are.equal(#own, size)
    local function with(path)
      local settings = { reward_function = "", reward_model = path }
      return refusal("ppo", settings)
    end
    assert.is_truthy(
      with(other):find(
        ("reward_model (%s) has another tokenizer than model (%s)"):format(other, w.model),
        1,
        true
      ),
      with(other)
    )
    assert.is_truthy(with(w.model):find("has no scalar head and scores nothing", 1, true))
    assert.is_truthy(
      refusal("ppo", { model = other }):find(
        "is a reward model: it scores answers " .. "and writes none",
        1,
        true
      )
    )
    texts[#texts] = nil
    local small = reward_model(texts)
    assert.is_truthy(
      with(small):find(
        ("has a vocabulary of %d tokens, model (%s) of %d"):format(size - 1, w.model, size),
        1,
        true
      ),
      with(small)
    )
    local folder = scratch.path()
    local short = assert(pl.model.new({
      model_type = "gpt2",
      n_embd = 8,
      n_layer = 1,
      n_head = 1,
      n_positions = 13,
      vocab_size = size,
      scalar_head = true,
    }, { seed = 1 }))
    assert(short:save(folder, { tokenizer = own }))
    local settings = { reward_function = "", reward_model = folder, quiet = false }
    settings.dataset = scratch.write(
      scratch.path() .. ".jsonl",
      '{"prompt":"the moon"}\n{"prompt":"the moon sees"}\n{"prompt":"a fox sees a lamp"}\n'
    )
    local text, ok, message = said(run, "ppo", settings) -- answers of 10, a beginning token
    assert.is_true(ok, message)
    local wanted = "dataset: 3 rows, 1 used; left out: too long for reward_model (13 tokens with "
      .. "the answer) 2\n"
    assert.is_truthy(text:find(wanted, 1, true), text)
    settings.response_length = 13
    assert.is_truthy(
      refusal("ppo", settings):find(
        ("reward_model (%s) reads 13 tokens: an answer of 13 leaves no place"):format(folder),
        1,
        true
      )
    )
  end)
end)

describe("a session", function()
  it("has the folder of a failed run free again", function()
    local folder = scratch.path()
    local input = scratch.write(
      scratch.path(),
      ([[
local cfg = pl.config { name = "a", args = { "--output_dir", %q } }
local function begin() return pl.run.open(cfg) end
local r = begin() error("boom")
local r = begin() print("free", r.dir ~= nil)
nonsense.x = 1
print("kept", pcall(begin))
]]):format(folder)
    )
    local out = scratch.path()
    require("perilune.core").system.spawn(
      { world.program, "-i" },
      { stdin = input, stdout = out, stderr = out .. ".err" }
    )
    local text = scratch.read(out)
    assert.is_truthy(text:find("free\ttrue", 1, true), text .. scratch.read(out .. ".err"))
    assert.is_truthy(text:find("kept\tfalse", 1, true), text)
  end)
end)
