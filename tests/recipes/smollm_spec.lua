--- The smollm recipe: its brief, its readers, and the whole of it on a model of a few words.

local json = require("perilune.base.json")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local message_of = dofile("tests/lua/support/message_of.lua")

package.path = "recipes/?.lua;" .. package.path
local brief = require("smollm.brief")
local questions = require("smollm.questions")

local folder

setup(function() folder = scratch.folder() end)
teardown(function() scratch.remove(folder) end)

describe("the brief", function()
  it("finds names, else the longest words that are no instruction", function()
    for question, subject in pairs {
      ["Who wrote the opera Carmen in Paris?"] = { "Carmen", "Paris" },
      ["Explain how a bicycle stays upright."] = { "bicycle", "upright", "stays" },
      ["Write the following."] = {},
      ["Can you tell me what it is?"] = {},
      ["What do bees eat, and do bees sleep?"] = { "sleep", "bees" },
    } do
      assert.are.same(subject, brief.subject(question), question)
    end
  end)

  it("rewards nothing but the whole, less for an answer too short or too long", function()
    local question = "Explain how a bicycle stays upright."
    local function reward(...) return brief.reward(brief.parts(question, ...)) end
    local steers = "A moving bicycle steers into the fall every time" -- 9 words
    assert.are.equal(1, reward(steers .. ".", true))
    assert.are.equal(1, reward("Bicycles steer into the fall and so recover. ", true)) -- 8 words
    assert.are.equal(7 / 8, reward("Bicycles steer into the fall and recover.", true))
    assert.are.equal(1 / 8, reward("Bicycles.", true))
    assert.are.equal(0, reward(steers .. ".", false))
    assert.are.equal(0, reward(steers, true))
    assert.are.equal(0, reward("When moving it steers into the fall every time.", true))
    assert.are.equal(0, reward("", true))
    assert.are.equal(0, reward(" ... ", true))
    local words = ("word "):rep(29) .. "bicycle." -- 30 words
    assert.are.equal(1, reward(words, true))
    assert.is_true(math.abs(reward("and " .. words, true) - (2 - 31 / 30)) < 1e-12)
    assert.are.equal(0.5, reward(("word "):rep(44) .. "bicycle.", true))
    assert.are.equal(0, reward(("word "):rep(59) .. "bicycle.", true))
    local function kept(...) return brief.kept(brief.parts(question, ...)) end
    assert.is_true(kept(steers .. ".", true))
    assert.is_false(kept("A bicycle steers.", true))
    assert.is_false(kept("and " .. words, true))
    assert.is_false(kept(steers .. ".", false))
  end)
end)

describe("questions", function()
  it("come from both forms, with the line of what is neither", function()
    local path = folder .. "/both.jsonl"
    scratch.write(path, table.concat({
      '{"instruction": "Name a moon.", "instances": [{"input": "", "output": "Europa."}]}',
      '{"instruction": "Say it shorter.", "instances": [{"input": "A b c.", "output": "A."}]}',
      '{"turns": ["Who was Ada?", "And then?"]}',
    }, "\n") .. "\n")
    assert.are.same({
      { prompt = "Name a moon.", completion = "Europa." },
      { prompt = "Say it shorter.\n\nA b c.", completion = "A." },
      { prompt = "Who was Ada?" },
    }, questions.read(path))
    scratch.write(path, '{"turns": ["Who?"]}\n{"text": "no question"}\n')
    assert.matches("both.jsonl:2: neither", message_of(questions.read, path))
    scratch.write(path, "")
    assert.matches("the file is empty", message_of(questions.read, path))
    assert.matches("cannot be read", message_of(questions.read, folder .. "/nosuch"))
  end)

  it("give demonstrations: the first sentences of an answer that keep the brief", function()
    local long = (" and so on"):rep(12) .. "."
    local rows = {
      { prompt = "What does a lighthouse do?" },
      {
        prompt = "What does a lighthouse do?",
        completion = "It shines for ships all night and rests by day.",
      },
      { prompt = "What does a lighthouse do?", completion = "A lighthouse shines." },
      {
        prompt = "What does a lighthouse do?",
        completion = "A lighthouse shines for ships at sea. It turns." .. long,
      },
      { prompt = "Name the moons.", completion = "The moons of Mars are two, small and dark" },
      { prompt = "Name the moons.", completion = "The moons\nof Mars are two, small and dark." },
      { prompt = "Name the moons.", completion = "The moons of Mars are two. They are 9.4 km." },
    }
    local wanted = {
      { prompt = rows[4].prompt, completion = "A lighthouse shines for ships at sea. It turns." },
      { prompt = rows[7].prompt, completion = rows[7].completion },
    }
    assert.are.same(wanted, questions.demonstrations(rows, 64))
    assert.are.same({ wanted[1] }, questions.demonstrations(rows, 1))
    assert.are.same({}, questions.demonstrations(rows, 0))
  end)

  it("are dealt once, each to one side", function()
    local rows = {}
    for i = 1, 10 do
      rows[i] = { prompt = "question " .. i }
    end
    local train, held_out = questions.deal(rows, 3, 1)
    assert.are.equal(7, #train)
    assert.are.equal(3, #held_out)
    local seen = {}
    for _, side in ipairs { train, held_out } do
      for _, row in ipairs(side) do
        assert.is_nil(seen[row.prompt])
        seen[row.prompt] = true
      end
    end
    assert.matches("none would be left", message_of(questions.deal, rows, 10, 1))
    scratch.write(folder .. "/lines.txt", "one\r\n\r\n two\none\n   \n")
    local text, repeated = questions.lines(folder .. "/lines.txt")
    assert.are.equal(1, repeated)
    assert.are.same({ { text = "one" }, { text = " two" } }, text)
    assert.matches(
      "^2 lines of text, and 2 are",
      message_of(questions.deal, text, 2, 1, "lines of text")
    )
  end)
end)

describe("the recipe", function()
  it("trains, judges the held-out questions and shows answers side by side", function()
    local subjects =
      { "river", "candle", "pocket", "garden", "window", "letter", "market", "engine" }
    local lines, texts = {}, {}
    for i, subject in ipairs(subjects) do
      local question = ("Where did the %s go?"):format(subject)
      local answer = ("The %s went all the way home again today."):format(subject)
      lines[i] = json.encode {
        instruction = question,
        instances = { { input = "", output = answer } },
      }
      texts[i] = question .. " " .. answer
    end
    scratch.write(folder .. "/questions.jsonl", table.concat(lines, "\n") .. "\n")
    local tok = pl.tokenizer.train {
      texts = texts,
      vocab_size = 320,
      special = pl.chat.control_names(pl.chat.plain),
      eos = "<|end|>",
    }
    tok.template = pl.chat.description.of(pl.chat.plain)
    local model = pl.model.new({
      model_type = "llama",
      tie_word_embeddings = true,
      hidden_size = 32,
      num_hidden_layers = 2,
      num_attention_heads = 2,
      intermediate_size = 32,
      vocab_size = #tok,
      max_position_embeddings = 256,
    }, { seed = 3 })
    assert(model:save(folder .. "/model", { tokenizer = tok }))
    scratch.write(folder .. "/text.txt", table.concat(texts, "\n\n") .. "\n" .. texts[1] .. "\n")
    local figures = pl.config.run_recipe("smollm", {
      text = folder .. "/text.txt",
      text_held_out = 2,
      model = folder .. "/model",
      questions = folder .. "/questions.jsonl",
      held_out = 3,
      total_episodes = 16,
      batch_size = 8,
      num_generations = 2,
      num_mini_batches = 2,
      response_length = 12,
      peft_r = 4,
      output_dir = folder .. "/run",
      quiet = true,
    })
    for _, name in ipairs { "base", "sft", "grpo" } do
      local reward, kept = figures["reward_" .. name], figures["kept_" .. name]
      assert.is_true(reward >= 0 and reward <= 1)
      assert.is_true(kept >= 0 and kept <= reward)
    end
    -- Eight lines, of which one stands in the file twice.
    local function count(name)
      return select(2, scratch.read(folder .. "/run/data/" .. name):gsub("\n", ""))
    end
    assert.are.equal(6, count("text-train.jsonl"))
    assert.are.equal(2, count("text-held-out.jsonl"))
    for _, name in ipairs { "base", "sft", "grpo" } do
      assert.is_true(figures["text_loss_" .. name] > 0)
    end
    assert.are_not.equal(figures.text_loss_sft, figures.text_loss_grpo)
    assert.are.equal(3, figures.held_out)
    assert.are.equal(5, figures.demonstrations)
    assert.are.equal(16, figures.episodes)
    local shown = json.decode(scratch.read(folder .. "/run/answers.json"))
    assert.are.equal(3, #shown)
    assert.are.equal(3, #shown[1].answers)
    assert.is_true(scratch.there(folder .. "/run/report.html"))
    -- What is left is an adapter beside the base, and only that.
    assert.is_true(scratch.there(folder .. "/run/grpo/model/adapter_model.safetensors"))
    assert.is_false(scratch.there(folder .. "/run/grpo/model/model.safetensors"))
  end)
end)
