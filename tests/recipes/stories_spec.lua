--- The stories recipe: its gold score by hand, its labelers, its split, and a short run of it all.

local pl = require("perilune")
local lfs = require("lfs")
local gold = require("stories.gold")
local labeler = require("stories.labeler")
local openings = require("stories.openings")
local scratch = dofile("tests/lua/support/scratch.lua")

local DATA <const> = "../shared/data"

describe("the gold score", function()
  local lexicon = { good = 2.0, sad = -2.0, love = 3.0, ["can't"] = 0.5 }

  local function compound(sum) return sum / math.sqrt(sum * sum + 15) end

  local function score(text) return gold.score(text, lexicon) end

  it("adds valences and squeezes the sum", function()
    assert.equal(0, score("a plain day"))
    assert.equal(0, score(""))
    assert.is_near(2 / math.sqrt(19), score("a good day"), 1e-12)
    assert.is_near(compound(2 + 3), score("Good! I LOVE it."), 1e-12)
    assert.is_near(compound(0), score("sad but good"), 1e-12)
  end)

  it("turns what follows a negation within three words", function()
    assert.is_near(compound(-0.74 * 2), score("not good"), 1e-12)
    assert.is_near(compound(-0.74 * 2), score("not a very good day"), 1e-12)
    assert.is_near(compound(2), score("not at all a good day"), 1e-12)
    assert.is_near(compound(0.74 * 2), score("she wasn't sad"), 1e-12)
    assert.is_near(compound(0.74 * 2 + 3), score("never sad, he was all love"), 1e-12)
    assert.is_near(compound(-0.74 * 2), score("never was not good"), 1e-12)
  end)

  it(
    "counts a negation that has a valence itself, untouched by itself",
    function() assert.is_near(compound(0.5 - 0.74 * 3), score("can't love"), 1e-12) end
  )

  it("takes words, not parts of them nor quotes about them", function()
    assert.same(
      { "lily's", "mum", "said", "hello", "don't" },
      gold.words("Lily's mum said 'hello', don't")
    )
    assert.equal(0, score("goodness"))
    assert.is_near(compound(2), score("'good'"), 1e-12)
  end)

  it("reads a lexicon and refuses what is none", function()
    local path = os.tmpname()
    assert(
      pl.files.write_atomic(path, ":)\t2.0\t0.5\t[1]\nGood\t1.9\t0.9\t[2]\nsad\t-2.1\t0.9\t[2]\n")
    )
    assert.same({ good = 1.9, sad = -2.1 }, gold.lexicon(path))
    assert.near(compound(1.9), gold.judge(path)({ "p" }, { "good" })[1], 1e-12)
    assert(pl.files.write_atomic(path, "no tabs here\n"))
    assert.has_error(function() gold.lexicon(path) end)
    os.remove(path)
    assert.has_error(function() gold.lexicon(path) end)
  end)
end)

describe("the labelers", function()
  local sets = {}
  for i = 1, 400 do
    sets[i] = {}
    for k = 1, 9 do
      sets[i][k] = pl.random_normal(5, 77, i * 9 + k) * 0.4
    end
  end

  it("agree as often as is asked for", function()
    for _, wanted in ipairs { 0.6, 0.73, 0.9 } do
      local noise = labeler.calibrate(sets, wanted)
      assert.is_near(wanted, labeler.expected_agreement(sets, noise), 1e-6)
      local first = { noise = noise, seed = 3, name = 1 }
      local second = { noise = noise, seed = 3, name = 2 }
      -- 14,400 pairs in 400 sets: a deviation of about 0.006
      assert.is_near(wanted, labeler.measured_agreement(sets, first, second), 0.02)
      assert.equal(1, labeler.measured_agreement(sets, first, first))
    end
  end)

  it("agree on all pairs only without noise, on half of them with nothing but noise", function()
    assert.is_true(labeler.expected_agreement(sets, 1e-3) > 0.99)
    assert.is_near(0.5, labeler.expected_agreement(sets, 100), 1e-3)
    assert.has_error(function() labeler.calibrate(sets, 0.4999) end)
    assert.has_error(function() labeler.calibrate({ { 1, 1, 1 } }, 0.73) end)
    assert.has_error(function() labeler.expected_agreement({ { 1 } }, 1) end)
  end)

  it("expect what the normal distribution gives", function()
    -- d / (s √2) = 1: p = 0.8413447, p² + (1 - p)² = 0.7330332
    assert.is_near(0.7330332, labeler.expected_agreement({ { math.sqrt(2), 0 } }, 1), 1e-6)
  end)
end)

describe("the openings", function()
  it("find stories by single newlines", function()
    local text = "One day a cat came.\n\nIt sat down.\nTom ran far away.\n\n\nThe End.\nHi.\n"
    assert.same(
      { "One day a cat came.\n\nIt sat down.", "Tom ran far away.\n\n\nThe End.", "Hi." },
      openings.stories(text)
    )
  end)

  it("cut whole words and refuse a story that is too short", function()
    assert.equal("One day a", openings.opening("One day\n\na cat came.", 3))
    assert.is_nil(openings.opening("One day a", 3))
    local rows = openings.prompts({ "a b c d", "e f" }, { 1, 3 })
    assert.same(
      { { prompt = "a", story = 1 }, { prompt = "e", story = 2 }, { prompt = "a b c", story = 1 } },
      rows
    )
  end)

  it("are of stories on one side each, that are there once and long enough", function()
    local stories = { "too short", "Story number 7, told at length." }
    for i = 1, 300 do
      stories[#stories + 1] = ("Story number %d, told at length."):format(i)
    end
    local options = { valid = 0.1, test = 0.2, least_words = 3, seed = 4 }
    local sides = openings.sides(stories, options)
    local seen, n = {}, 0
    for _, side in pairs(sides) do
      for _, story in ipairs(side) do
        assert.is_nil(seen[story])
        seen[story], n = true, n + 1
      end
    end
    assert.equal(300, n)
    assert.is_true(#sides.test > 40 and #sides.test < 80 and #sides.valid > 15)
    assert.same(sides, openings.sides(stories, options))
    options.seed = 5
    assert.not_same(sides, openings.sides(stories, options))
    assert.has_error(function() openings.sides({ "a story of five words" }, options) end)
  end)
end)

describe("the recipe", function()
  --- Runs it and holds its folder against what every run must have: the summary.
  local function run(settings)
    local dir = scratch.path()
    settings.output_dir, settings.quiet = dir, true
    settings.curve_steps, settings.curve_kl_coefs, settings.best_of = 1, "0.3", 2
    settings.value_warmup = 0
    local figures = pl.config.run_recipe("recipes/stories.lua", settings)
    local summary = pl.json.decode(scratch.read(dir .. "/summary.json"))
    local curve = pl.json.decode(scratch.read(dir .. "/curve.json"))
    for _, key in ipairs {
      "gold_sft",
      "gold_ppo",
      "kl",
      "rm_accuracy",
      "ptx_loss_sft",
      "ptx_loss_ppo",
      "seconds",
      "labeler_agreement",
    } do
      assert.is_number(summary[key], key)
    end
    assert.equal(2, #summary.gold_ci95)
    assert.is_true(summary.gold_ci95[1] < summary.gold_gain)
    assert.is_true(summary.gold_gain < summary.gold_ci95[2])
    assert.is_near(summary.gold_ppo - summary.gold_sft, summary.gold_gain, 1e-9)
    assert.equal(figures.weights_hash, summary.weights_hash)
    assert.is_true(#summary.weights_hash == 32)
    assert.equal(2, #curve.runs)
    assert.equal(3, #curve.runs[1].points) -- SFT and two iterations
    assert.equal(0, curve.runs[1].points[1].kl)
    assert.is_true(lfs.attributes(dir .. "/report.html", "size") > 10000)
    for _, at in ipairs(curve.runs) do
      local of_ppo = pl.json.decode(scratch.read(("%s/ppo-%g/config.json"):format(dir, at.kl_coef)))
      assert.equal(dir .. "/data/rankings-valid.jsonl", of_ppo.eval_rankings)
      assert.equal(dir .. "/data/train.jsonl", of_ppo.ptx_dataset)
    end
    -- what was ranked comes from training stories alone
    local train = {}
    for _, row in ipairs(pl.data.rows(dir .. "/data/train.jsonl")) do
      train[row.text] = true
    end
    for _, row in ipairs(pl.data.rows(dir .. "/data/test.jsonl")) do
      assert.is_nil(train[row.text])
    end
    return summary
  end

  after_each(scratch.clean)

  it("runs from story to report in a world of a few words", function()
    local folder, words, stories = scratch.folder(), {}, {}
    local all = "the a fox moon sees loves hates good sad happy old sea boat and but ."
    for word in all:gmatch("%S+") do
      words[#words + 1] = word
    end
    for i = 1, 120 do
      local story = {}
      for k = 1, 50 do
        story[k] = words[math.floor(pl.random_uniform(1, i, k) * #words) + 1]
      end
      stories[i] = table.concat(story, " ")
    end
    local tok = pl.tokenizer.train {
      kind = "word",
      texts = stories,
      vocab_size = 40,
      special = { "<s>", "</s>", "<unk>" },
      bos = "<s>",
      eos = "</s>",
      unk = "<unk>",
    }
    local model = pl.model.new({
      model_type = "llama",
      vocab_size = #tok,
      hidden_size = 20,
      intermediate_size = 28,
      num_hidden_layers = 1,
      num_attention_heads = 2,
      num_key_value_heads = 1,
      max_position_embeddings = 256,
    }, { seed = 4 })
    assert(model:save(folder .. "/model", { tokenizer = tok }))
    local summary = run {
      model = folder .. "/model",
      text = scratch.write(folder .. "/stories.txt", table.concat(stories, "\n") .. "\n"),
      lexicon = scratch.write(
        folder .. "/lexicon.txt",
        "good\t1.9\t0.9\t[2]\nsad\t-2.1\t0.9\t[2]\nhappy\t2.7\t0.9\t[3]\nhates\t-1.9\t1\t[-2]\n"
          .. "loves\t2.7\t0.6\t[3]\n"
      ),
      test = 0.2,
      valid = 0.1,
      train_stories = 24,
      rank_prompts = 8,
      answers = 3,
      rm_batch_size = 4,
      total_episodes = 16,
      batch_size = 8,
      num_mini_batches = 4, -- of two answers: half a piece of text goes with them
      response_length = 8,
      learning_rate = 0.03, -- so that two steps can be seen
      ema_decay = 0,
    }
    -- of the few words each is as likely as another
    assert.is_near(math.log(#words), summary.ptx_loss_sft, 1)
  end)

  it("runs from story to report with a trained model", function()
    if lfs.attributes(DATA .. "/models/stories260K", "mode") ~= "directory" then
      pending("skipped: there is no " .. DATA)
      return
    end
    local summary = run {
      model = DATA .. "/models/stories260K",
      text = DATA .. "/text/tinystories.txt",
      lexicon = DATA .. "/rewards/vader_lexicon.txt",
      test = 0.03,
      valid = 0.01,
      train_stories = 32,
      rank_prompts = 16,
      answers = 4,
      rm_batch_size = 8,
      total_episodes = 32,
      batch_size = 16,
      response_length = 16,
    }
    assert.is_true(summary.ptx_loss_sft > 1 and summary.ptx_loss_sft < 2)
  end)
end)
