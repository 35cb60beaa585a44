--- Held-out tasks: what is right by likelihood and by word, held against logits taken one by one.

local json = require("perilune.base.json")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local world = dofile("tests/lua/support/world.lua")

describe("held-out tasks", function()
  local w, tok, model, models

  setup(function()
    w = world.new("llama")
    tok = assert(pl.tokenizer.load(w.model))
    model = assert(pl.load(w.model)):freeze()
    models = { { name = "model", path = w.model, model = model } }
  end)

  teardown(world.clean)

  local function open(rows, name, length)
    local path = world.jsonl(w.dir .. "/" .. (name or "task.jsonl"), rows)
    return pl.tasks.open(path, tok, nil, models, length or 6)
  end

  -- ln p of tokens behind a prompt, a token at a time, from whole rows of logits.
  local function likelihood(prompt, text)
    local ids = tok:encode(prompt, { bos = true })
    local sum = 0
    for _, id in ipairs(tok:encode(text, { continued = true })) do
      local scope <close> = pl.scope("test")
      local logits = model:logits(pl.batch.pack { ids }):totable()[#ids]
      local whole = 0
      for _, logit in ipairs(logits) do
        whole = whole + math.exp(logit)
      end
      sum, ids[#ids + 1] = sum + logits[id + 1] - math.log(whole), id
    end
    return sum
  end

  local choices = { " the moon", " a lamp", " bread and salt", " the long road sees a fox" }
  local asked = { "the moon sees", "a fox wants", "my boat", "some rain paints nobody .", "the" }

  local function rows_of(answers)
    local rows = {}
    for i, prompt in ipairs(asked) do
      rows[i] = { prompt = prompt, choices = choices, answer = answers[i] }
    end
    return rows
  end

  it("choose by the likelihood of the choice's tokens, whole and by its characters", function()
    local by_hand, best, best_norm = {}, {}, {}
    for i, prompt in ipairs(asked) do
      by_hand[i] = {}
      local top, top_norm = -math.huge, -math.huge
      for k, choice in ipairs(choices) do
        local sum = likelihood(prompt, choice)
        by_hand[i][k] = sum
        if sum > top then
          top, best[i] = sum, k - 1
        end
        local norm = sum / #choice:sub(2) -- without the blank that parts it from the prompt
        if norm > top_norm then
          top_norm, best_norm[i] = norm, k - 1
        end
      end
    end
    assert.are_not.same(best, best_norm)
    local found = open(rows_of(best), "best.jsonl")[1]
    for i, of_row in ipairs(found:likelihoods(model)) do
      for k, sum in ipairs(of_row) do
        assert.is_true(math.abs(sum - by_hand[i][k]) < 1e-4)
      end
    end
    local same = {}
    for i in ipairs(best) do
      same[i] = best[i] == best_norm[i] and 1 or 0
    end
    local right = found:answers(model)
    assert.are.same({ accuracy = { 1, 1, 1, 1, 1 }, accuracy_norm = same }, right)
    right = open(rows_of(best_norm), "norm.jsonl")[1]:answers(model)
    assert.are.same({ accuracy = same, accuracy_norm = { 1, 1, 1, 1, 1 } }, right)
  end)

  it("divide by characters, not by bytes", function()
    local two = { " éé", " a lamp" } -- two characters of four bytes, and six
    local first, second = likelihood("my boat", two[1]), likelihood("my boat", two[2])
    assert.is_true(first > second and first / 4 > second / 6 and first / 2 < second / 6)
    local right = open({ { prompt = "my boat", choices = two, answer = 1 } })[1]:answers(model)
    assert.are.same({ accuracy = { 0 }, accuracy_norm = { 1 } }, right)
  end)

  it("take the first of choices that are equal", function()
    local twice = { " a lamp", " a lamp" }
    local rows = { { prompt = "the moon", choices = twice, answer = 0 } }
    rows[2] = { prompt = "the moon", choices = twice, answer = 1 }
    assert.are.same({ 1, 0 }, open(rows)[1]:answers(model).accuracy)
  end)

  it("hold the greedy answer against a text, white space aside", function()
    local prompts, rows = {}, {}
    for i, prompt in ipairs(asked) do
      prompts[i] = tok:encode(prompt, { bos = true })
    end
    local options = { max_tokens = 6, temperature = 0, stop = pl.data.stop_ids(tok, nil) }
    for i, answer in ipairs(pl.generate(model, prompts, options)) do
      local text = tok:decode(answer.tokens, { skip_special = true })
      rows[i] = { prompt = asked[i], answer = "\n " .. text:match("^%s*(.-)%s*$") .. "  " }
    end
    rows[2].answer = rows[2].answer .. "."
    rows[4].answer = rows[4].answer:match("^%s*(.-)%s*$"):sub(1, -2)
    local task = open(rows)[1]
    assert.are.same({ accuracy = { 1, 0, 1, 0, 1 } }, task:answers(model))
    task.tokenizer = { -- one that leaves white space at a text's ends
      decode = function(_, ids, opts) return "\n" .. tok:decode(ids, opts) .. " " end,
    }
    assert.are.same({ accuracy = { 1, 0, 1, 0, 1 } }, task:answers(model))
    local wrong = "the task task has no choices"
    assert.has_error(function() task:likelihoods(model) end, wrong)
  end)

  it("tell intervals, and the difference from the reference by pairs", function()
    local mine, theirs = { accuracy = { 1, 1, 0, 1 } }, { accuracy = { 0, 1, 0, 1 } }
    local found, rate = pl.tasks.figures(mine, theirs), pl.stats.rate(3, 4)
    assert.are.equal(4, found.n)
    assert.are.equal(0.75, found.accuracy)
    assert.are.same({ rate.low, rate.high }, found.accuracy_ci95)
    assert.are.equal(0.5, found.reference_accuracy)
    assert.are.equal(0.25, found.accuracy_gain)
    -- the differences 1, 0, 0, 0: deviation 1/2, and 3.182446 of three degrees of freedom
    assert.is_true(math.abs(found.accuracy_gain_ci95[1] - (0.25 - 3.182446 / 4)) < 1e-6)
    assert.is_true(math.abs(found.accuracy_gain_ci95[2] - (0.25 + 3.182446 / 4)) < 1e-6)
    local one = pl.tasks.figures({ accuracy = { 1 } }, { accuracy = { 0 } })
    assert.are.same({ 1, 1, 0, 1 }, {
      one.n,
      one.accuracy,
      one.reference_accuracy,
      one.accuracy_gain,
    })
    assert.is_nil(one.accuracy_gain_ci95)
    assert.are.same({ 0, 0 }, { one.reference_accuracy_ci95[1], one.reference_accuracy })
  end)

  it("account for their rows", function()
    local long = ("the moon "):rep(40)
    local rows = rows_of { 0, 1, 2, 3, 0 }
    rows[6] = { prompt = long, choices = choices, answer = 0 }
    local task = open(rows)[1]
    assert.are.same(
      { rows = 6, used = 5, left_out = { ["too long"] = 1 }, changed = {} },
      task.counts
    )
    assert.are.equal("task", task.name)
    local text = open({ { prompt = long, answer = "x" }, { prompt = "a", answer = "x" } })[1]
    assert.are.equal(1, text.counts.left_out["too long"])
    assert.are.same({}, pl.tasks.open("", tok, nil, models, 6))
  end)

  it("count rows that nobody can get right", function()
    local twice = { " a lamp", " a lamp", " a fox" }
    local rows = {}
    for place = 0, 2 do
      rows[place + 1] = { prompt = "the moon", choices = twice, answer = place }
    end
    assert.are.same(
      { ["right choice never taken: an earlier one is equal"] = 1 },
      open(rows)[1].counts.changed
    )
    local text = ("the moon "):rep(3) -- six words
    local texts = { { prompt = "a", answer = text }, { prompt = "a", answer = text .. "sees" } }
    assert.are.same(
      { ["right answer never met: longer than response_length 6"] = 1 },
      open(texts, "texts.jsonl", 6)[1].counts.changed
    )
  end)

  it("name what is wrong by file and line", function()
    local good = { prompt = "a fox", choices = choices, answer = 0 }
    for message, row in pairs {
      ["task.jsonl:2: `answer` must be the place of the right choice, from 0 to 3, not 4"] = {
        prompt = "a",
        choices = choices,
        answer = 4,
      },
      ["from 0 to 3, not nothing"] = { prompt = "a", choices = choices },
      ["from 0 to 3, not a string"] = { prompt = "a", choices = choices, answer = " a lamp" },
      ["from 0 to 3, not 0.5"] = { prompt = "a", choices = choices, answer = 0.5 },
      [":2: `choices` must be a list of two texts or more"] = {
        prompt = "a",
        choices = { "b" },
        answer = 0,
      },
      [":2: choice 1 is blank, not a text"] = { prompt = "a", choices = { "b", " " }, answer = 0 },
      [":2: choice 0 is a number, not a text"] = { prompt = "a", choices = { 1, "b" }, answer = 0 },
      [":2: a task has choices in all rows or in none: this one is of text"] = {
        prompt = "a",
        answer = "b",
      },
      [":2: messages want a template"] = {
        messages = { { role = "user", content = "a" } },
        choices = choices,
        answer = 0,
      },
    } do
      local ok, wrong = pcall(open, { good, row })
      assert.is_false(ok)
      assert.matches(message, wrong, 1, true)
    end
    local ok, wrong = pcall(open, { { prompt = "a" } })
    assert.is_false(ok)
    assert.matches("task.jsonl:1: `answer` must be a text", wrong, 1, true)
    ok, wrong = pcall(open, {})
    assert.is_false(ok)
    assert.matches("nothing in it can be used (0 rows, 0 used)", wrong, 1, true)
    local path = w.dir .. "/task.jsonl"
    local foreign = " must hold rows of {prompt, choices, answer} or {prompt, answer}, one a line; "
    for text, said in pairs {
      ['{"question":"a","choices":["b","c"],"answer":0}'] = "its first record has "
        .. "answer, choices, question",
      ['[{"prompt":"a","choices":["b","c"],"answer":0}]'] = "its first line is a list",
      ["prompt,answer\na,b"] = "none of its lines is a JSON object",
    } do
      assert(pl.files.write_atomic(path, text .. "\n"))
      assert.has_error(
        function() pl.tasks.open(path, tok, nil, models, 6) end,
        path .. foreign .. said
      )
    end
    ok, wrong = pcall(open, { { prompt = "a", choices = { "b", json.null }, answer = 0 } })
    assert.is_false(ok)
    assert.matches("choice 1 is null, not a text", wrong, 1, true)
    world.jsonl(path, { good })
    ok, wrong = pcall(pl.tasks.open, path .. "," .. path, tok, nil, models, 6)
    assert.is_false(ok)
    assert.matches("are both called task", wrong, 1, true)
    ok, wrong = pcall(pl.tasks.open, w.dir .. "/nowhere.jsonl", tok, nil, models, 6)
    assert.is_false(ok)
    assert.matches("nowhere.jsonl", wrong, 1, true)
  end)

  it("put a prompt into the template as any prompt is", function()
    local path = world.jsonl(w.dir .. "/chat.jsonl", {
      { messages = { { role = "user", content = "a fox" } }, choices = { "a", "the" }, answer = 1 },
    })
    local special = { "<s>", "</s>", "<unk>" }
    local names = pl.chat.control_names(pl.chat.templates.plain)
    table.move(names, 1, #names, #special + 1, special)
    local speaking = pl.tokenizer.train {
      kind = "word",
      texts = { "a fox the moon" },
      vocab_size = 60,
      special = special,
      bos = "<s>",
      eos = "</s>",
      unk = "<unk>",
    }
    local template = pl.data.template("plain", speaking)
    local task = pl.tasks.open(path, speaking, template, models, 6)[1]
    local prompt = pl.data.prompt_ids(speaking, template, { prompt = "a fox" })
    local ids = speaking:encode("the", { continued = true })
    assert.are.equal(1, #ids)
    assert.are.same((pl.data.join(prompt, ids)), task.items[1].sequences[2])
  end)

  it("are told by eval without a reference", function()
    local path = world.jsonl(w.dir .. "/alone.jsonl", rows_of { 0, 1, 2, 3, 0 })
    local summary = world.run("eval", {
      model = w.model,
      reward_function = w.reward,
      dataset = w.prompts,
      count = 4,
      response_length = 6,
      tasks = path,
    }, w.dir .. "/alone")
    local alone = summary.tasks.alone
    local right = pl.tasks.open(path, tok, nil, models, 6)[1]:answers(model)
    assert.are.equal(pl.stats.mean(right.accuracy), alone.accuracy)
    assert.is_nil(alone.reference_accuracy)
  end)

  it("stand in the summary of eval, the reference's beside them", function()
    local first = world.jsonl(w.dir .. "/choices.jsonl", rows_of { 0, 1, 2, 3, 0 })
    local second = world.jsonl(w.dir .. "/texts.jsonl", { { prompt = "the moon", answer = "a" } })
    local summary = world.run("eval", {
      model = w.model,
      reference = w.model,
      reward_function = w.reward,
      dataset = w.prompts,
      count = 4,
      response_length = 6,
      tasks = first .. "," .. second,
    }, w.dir .. "/eval")
    local task = pl.tasks.open(first, tok, nil, models, 6)[1]
    local right = task:answers(model)
    assert.are.same(json.decode(json.encode(pl.tasks.figures(right, right))), summary.tasks.choices)
    assert.are.same({ 1, 0 }, { summary.tasks.texts.n, summary.tasks.texts.accuracy_gain })
    assert.is_nil(summary.tasks.texts.accuracy_norm)
    local out, err = world.read(w.dir .. "/eval.out"), world.read(w.dir .. "/eval.err")
    assert.matches("choices +5 +accuracy +0%.%d%d%d %(0%.%d%d%d to ", out)
    assert.matches("task choices: 5 rows, 5 used", err, 1, true)
  end)
end)

-- Rows and model are public and stand beside the repository; what transformers says of them is in
-- tests/golden/tasks.json (make_tasks.py).
describe("acc and acc_norm of lm-evaluation-harness", function()
  local DATA <const> = "../shared/data/"
  local function trimmed(text) return text:match("^%s*(.-)%s*$") end

  teardown(scratch.clean)

  it("are those of transformers on rows of PandaLM", function()
    local text = pl.files.read(DATA .. "rankings/pandalm_testset_v1.json")
    local place = DATA .. "models/stories260K"
    local file = place .. "/stories260K.bin"
    local model = text and pl.load(file)
    if not model then
      pending("there is no ../shared/data with stories260K and PandaLM")
      return
    end
    local golden = assert(json.decode(assert(pl.files.read("tests/golden/tasks.json"))))
    local records, rows = assert(json.decode(text)), {}
    for i, row in ipairs(golden.rows) do
      local record = records[row.place + 1]
      rows[i] = {
        prompt = trimmed(record.instruction .. "\n" .. record.input),
        choices = { " " .. trimmed(record.response1), " " .. trimmed(record.response2) },
        answer = row.answer,
      }
    end
    local path = world.jsonl(scratch.path(), rows)
    local tok, models =
      assert(pl.tokenizer.load(place)), { { path = file, model = model:freeze() } }
    local task = pl.tasks.open(path, tok, nil, models, 8)[1]
    local right = task:answers(model)
    for i, found in ipairs(task:likelihoods(model)) do
      local wanted = golden.rows[i]
      for k, sum in ipairs(wanted.likelihoods) do
        assert.is_true(
          math.abs(found[k] / sum - 1) < 1e-5,
          ("%.9g, not %.9g"):format(found[k], sum)
        )
      end
      assert.equal(wanted.acc and 1 or 0, right.accuracy[i])
      assert.equal(wanted.acc_norm and 1 or 0, right.accuracy_norm[i])
    end
    assert.equal(40, #right.accuracy)
  end)
end)
