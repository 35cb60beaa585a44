--- The recipe eval: chooser and judge, one prompt, no answers to choose among.

local lfs = require("lfs")
local pl = require("perilune")
local world = dofile("tests/lua/support/world.lua")

describe("eval", function()
  local w, chooser

  setup(function()
    w = world.new("llama")
    chooser = w.dir .. "/chooser"
    local tok = assert(pl.tokenizer.load(w.model))
    local head = assert(pl.load(w.model, { scalar_head = true, seed = 3 }))
    assert(head:save(chooser, { tokenizer = tok }))
  end)

  teardown(world.clean)

  local runs = 0
  local function eval(settings)
    runs = runs + 1
    settings.model = settings.model or w.model
    settings.dataset = settings.dataset or w.prompts
    settings.reward_function = settings.reward_function or settings.reward_model and "" or w.reward
    settings.output_dir = ("%s/eval%d"):format(w.dir, runs)
    settings.response_length = 6
    settings.quiet = true
    return pl.config.run_recipe("eval", settings)
  end

  it("tells the best of n that another chose from the oracle's", function()
    local figures = eval { count = 20, best_of = 8, chooser = chooser }
    assert.are.equal(4, #figures.best_of)
    for i, point in ipairs(figures.best_of) do
      assert.are.equal(2 ^ (i - 1), point.n)
      assert.is_true(point.oracle >= point.chosen - 1e-12)
      assert.is_true(
        point.kl <= point.kl_bound + 0.1,
        ("%g above %g"):format(point.kl, point.kl_bound)
      )
      assert.are.equal(2, #point.chosen_ci95)
    end
    local first, last = figures.best_of[1], figures.best_of[4]
    assert.is_true(math.abs(first.oracle - first.chosen) < 1e-9) -- of one there is no choice
    assert.is_true(math.abs(first.kl) < 1e-9)
    assert.is_true(last.oracle > last.chosen)
    assert.is_true(last.oracle > first.oracle)
  end)

  it("tells how alike chooser and judge order the answers to a prompt", function()
    local of_one = eval { count = 20, best_of = 4, chooser = chooser, reward_model = chooser }
    assert.is_true(math.abs(of_one.chooser_correlation - 1) < 1e-9)
    local of_two = eval { count = 20, best_of = 4, chooser = chooser }
    assert.is_true(math.abs(of_two.chooser_correlation) < 0.9)
  end)

  it("has an oracle alone when nobody else chooses", function()
    local figures = eval { count = 20, best_of = 2 }
    assert.is_nil(figures.chooser_correlation)
    assert.is_nil(figures.best_of[2].chosen)
    assert.is_number(figures.best_of[2].oracle)
  end)

  it("gives a win rate with its interval against a reference", function()
    local figures = eval { count = 20, reference = w.model }
    assert.are.equal(0.5, figures.win_rate)
    assert.are.equal(0, figures.kl)
    assert.are.equal(0, figures.gain)
    assert.is_true(figures.win_rate_ci95[1] < 0.5 and figures.win_rate_ci95[2] > 0.5)
  end)

  it("gives a score without an interval for one prompt", function()
    local figures = eval { count = 1, best_of = 2, chooser = chooser, reference = w.model }
    assert.are.equal(1, figures.prompts)
    assert.is_number(figures.score)
    assert.is_nil(figures.score_ci95)
    assert.is_nil(figures.gain_ci95)
    assert.is_nil(figures.best_of[2].chosen_ci95)
  end)

  it("tells the mean score of a chooser of one answer", function()
    local figures = eval { count = 12, chooser = chooser }
    assert.is_nil(figures.best_of)
    assert.is_true(
      figures.chooser_score_ci95[1] < figures.chooser_score
        and figures.chooser_score < figures.chooser_score_ci95[2]
    )
    assert.are_not.equal(figures.score, figures.chooser_score)
  end)

  it("holds the base once that its models stand on", function()
    local adapters = w.dir .. "/adapters"
    local tok = assert(pl.tokenizer.load(w.model))
    local trained = assert(pl.load(w.model, { peft = { r = 2 }, dtype = "bfloat16" }))
    assert(trained:save(adapters, { tokenizer = tok }))
    local load, bases = pl.companions.load, {}
    pl.companions.load = function(...)
      local model = load(...)
      bases[#bases + 1] = model.base
      return model
    end
    local ok, figures = pcall(eval, {
      count = 4,
      best_of = 2,
      reference = adapters,
      chooser = chooser,
    })
    pl.companions.load = load
    assert(ok, figures)
    assert.are.same({ trained.base, trained.base }, bases) -- the chooser is another model
    assert.are.equal(0, figures.kl) -- fresh adapters change nothing
  end)

  it("ends answers with every token that the model names as an end", function()
    local many = w.dir .. "/many-ends"
    local tok, ids = assert(pl.tokenizer.load(w.model)), {}
    assert(assert(pl.load(w.model)):save(many, { tokenizer = tok }))
    for id = 0, #tok - 1 do
      ids[id + 1] = id
    end
    world.write(many .. "/generation_config.json", pl.json.encode { eos_token_id = ids })
    local figures = eval { model = many, count = 20, best_of = 2 }
    assert.are.equal(1, figures.mean_length)
    local settings = world.settings(w, "ppo")
    settings.model, settings.max_steps, settings.output_dir = many, 1, w.dir .. "/ends"
    settings.missing_eos_penalty = 100
    local row = pl.config.run_recipe("ppo", settings).history[1]
    assert.are.equal(1, row["completions/mean_length"])
    assert.are.equal(16, row["val/num_eos_tokens"])
    assert.are.equal(row["objective/raw_scores"], row["objective/scores"])
  end)

  it("keeps the answers that a reward function fails on", function()
    local broken = world.write(w.dir .. "/broken.lua", "return function() error('no line') end\n")
    local ok, message = pcall(eval, { count = 3, reward_function = broken })
    assert.is_false(ok)
    local path = message:match("no line.*; the answers that it was asked about are in (%S+)$")
    assert.is_truthy(path, message)
    local rows = assert(pl.run.read_rows(path))
    assert.equal(3, #rows)
    for _, row in ipairs(rows) do
      assert.equal("string", type(row.prompt))
      assert.equal("string", type(row.completion))
      assert.is_nil(row.score)
    end
  end)

  it("needs no prompts for text and tasks", function()
    local tasks = world.jsonl(w.dir .. "/only.jsonl", {
      { prompt = "the moon sees", choices = { " a lamp", " nobody" }, answer = 1 },
    })
    local function run(settings)
      settings.model, settings.output_dir = w.model, w.dir .. "/no-prompts"
      settings.overwrite_output_dir, settings.quiet = true, true
      return pcall(pl.config.run_recipe, "eval", settings)
    end
    local all = { text = w.text, tasks = tasks, reference = w.model, response_length = 64 }
    local ok, figures = run(all)
    assert(ok, tostring(figures))
    assert.equal(0, figures.prompts)
    assert.equal(1, figures.tasks.only.n)
    assert.equal(0, figures.tasks.only.accuracy_gain)
    assert.is_true(figures.text_loss > 1)
    assert.is_nil(figures.mean_length or figures.kl)
    assert.is_nil(lfs.attributes(w.dir .. "/no-prompts/answers.jsonl"))
    local function refused(settings)
      local fine, message = run(settings)
      assert.is_false(fine)
      return tostring(message)
    end
    local nothing = "there is nothing to measure: give a dataset of prompts, a text or tasks"
    assert.matches(nothing, refused {}, 1, true)
    local asked = "reward_function is about answers: give a dataset of prompts"
    assert.matches(asked, refused { text = w.text, reward_function = w.reward }, 1, true)
    asked = "best_of is about answers: give a dataset of prompts"
    assert.matches(asked, refused { text = w.text, best_of = 4 }, 1, true)
  end)

  it("needs no judge for KL, text loss, tasks and answers, and says what does", function()
    local text = world.write(w.dir .. "/text.txt", ("the moon sees a lamp .\n"):rep(20))
    local tasks = world.jsonl(w.dir .. "/seas.jsonl", {
      { prompt = "the moon sees", choices = { " the sea", " a lamp" }, answer = 0 },
    })
    local other = pl.model.mix({ assert(pl.load(w.model)) }, { 0.9 })
    local reference = w.dir .. "/reference"
    assert(other:save(reference, { tokenizer = assert(pl.tokenizer.load(w.model)) }))
    local function measured(judge)
      return eval {
        count = 12,
        reference = reference,
        reward_function = judge,
        text = text,
        text_length = 16,
        tasks = tasks,
      }
    end
    local with, without = measured(), measured("")
    for _, name in ipairs { "kl", "kl_ci95", "text_loss", "tasks", "mean_length" } do
      assert.are.same(with[name], without[name], name)
    end
    assert.are.same(with.texts, without.texts)
    for _, name in ipairs { "score", "win_rate", "gain", "reference_score", "scores" } do
      assert.is_not_nil(with[name], name)
      assert.is_nil(without[name], name)
    end
    local folder = ("%s/eval%d"):format(w.dir, runs)
    local lines = 0
    for line in io.lines(folder .. "/answers.jsonl") do
      local row = assert(pl.json.decode(line))
      lines = lines + 1
      assert.are.equal(without.texts[lines], row.completion)
      assert.is_nil(row.score)
    end
    assert.are.equal(12, lines)
    for key, value in pairs { best_of = 2, chooser = chooser } do
      local ok, message = pcall(eval, { reward_function = "", [key] = value })
      assert.is_false(ok)
      local wanted = key .. " wants a judge: give reward_model or reward_function"
      assert.matches(wanted, message, 1, true)
    end
    local ok, message = pcall(eval, { reward_function = w.reward, reward_model = chooser })
    assert.is_false(ok)
    assert.matches("reward_model and reward_function are both given; one judges", message, 1, true)
  end)
end)
