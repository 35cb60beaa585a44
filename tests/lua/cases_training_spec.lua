--- Rows, rankings, prompts, texts and reward functions as people bring them, and the right outcome
-- of each: through the recipes, in processes of their own. Each case is a test by itself.

local pl = require("perilune")
local lfs = require("lfs")
local scratch = dofile("tests/lua/support/scratch.lua")

local data = pl.data
local program = lfs.symlinkattributes("/proc/self/exe", "target")
local dir, tok

local CONTEXT <const> = 64

local function write(name, text) return scratch.write(dir .. "/" .. name, text) end

-- A file of rows; a row may be a text, which is written as it stands.
local function rows_file(rows, name)
  local lines = {}
  for i, row in ipairs(rows) do
    lines[i] = type(row) == "string" and row or pl.json.encode(row)
  end
  return write(name or "rows.jsonl", table.concat(lines, "\n") .. "\n")
end

local function merged(defaults, given)
  local all = {}
  for key, value in pairs(defaults) do
    all[key] = value
  end
  for key, value in pairs(given) do
    all[key] = value
  end
  return all
end

local defaults = {
  sft = { batch_size = 4, num_train_epochs = 1 },
  reward = { batch_size = 4 },
  pretrain = { batch_size = 64, num_train_epochs = 1, context = 8 },
  ppo = { batch_size = 4, num_mini_batches = 2, total_episodes = 4, response_length = 4 },
  eval = { response_length = 4, count = 0 },
}

local runs = 0
-- Runs a recipe: whether it ended well, all it said, its summary (nil when there is none), and its
-- history.
local function run(recipe, settings, folder)
  runs = runs + 1
  folder = folder or ("%s/run-%d"):format(dir, runs)
  local args = { program, ("recipes/%s.lua"):format(recipe), "--output_dir", folder }
  for key, value in pairs(merged(defaults[recipe], settings)) do
    args[#args + 1] = "--" .. key
    args[#args + 1] = value ~= true and tostring(value) or nil
  end
  local how, code = require("perilune.core").system.spawn(
    args,
    { stdin = "/dev/null", stdout = folder .. ".out", stderr = folder .. ".err" }
  )
  local said = scratch.read(folder .. ".out") .. scratch.read(folder .. ".err")
  local summary = lfs.attributes(folder .. "/summary.json")
    and pl.json.decode(scratch.read(folder .. "/summary.json"))
  return how == "exit" and code == 0, said, summary, folder
end

local function runs_well(recipe, settings, words)
  local ok, said, summary, folder = run(recipe, settings)
  assert(ok, said)
  if words then assert.is_truthy(said:find(words, 1, true), said) end
  return summary, folder, said
end

-- Ends with an error that says all of these words, before the first step.
local function refused(recipe, settings, ...)
  local ok, said, summary, folder = run(recipe, settings)
  assert.is_false(ok, said)
  for _, words in ipairs { ... } do
    assert.is_truthy(said:find(words, 1, true), said)
  end
  assert.is_nil(summary and summary.weights_hash)
  assert.is_nil(lfs.attributes(folder .. "/model"))
end

local function path_of(name) return dir .. "/" .. name end

local function sft(rows, more)
  return merged(
    { model = path_of("base"), dataset = type(rows) == "string" and rows or rows_file(rows) },
    more or {}
  )
end

local function reward(rows, more)
  return merged({ model = path_of("base"), dataset = rows_file(rows) }, more or {})
end

local function ppo(rows, more)
  return merged(
    { model = path_of("base"), reward_model = path_of("rm"), dataset = rows_file(rows) },
    more or {}
  )
end

local function make_model(name, scalar)
  local model = pl.model.new({
    model_type = "llama",
    hidden_size = 16,
    intermediate_size = 16,
    num_hidden_layers = 1,
    num_attention_heads = 2,
    vocab_size = #tok,
    scalar_head = scalar,
    max_position_embeddings = CONTEXT,
    tie_word_embeddings = true,
    architectures = { scalar and "LlamaForSequenceClassification" or "LlamaForCausalLM" },
    initializer_range = 0.1,
  }, { seed = scalar and 2 or 1 })
  assert(model:save(path_of(name), { tokenizer = tok }))
end

setup(function()
  dir = scratch.folder()
  require("perilune.core").system.setenv("PERILUNE_CACHE", dir .. "/cache")
  local special = { "<|bos|>", "<|eos|>" }
  for _, name in ipairs(pl.chat.control_names(pl.chat.plain)) do
    special[#special + 1] = name
  end
  tok = pl.tokenizer.train {
    texts = { ("one moon and a red boat. "):rep(20) },
    vocab_size = 300,
    special = special,
    bos = "<|bos|>",
    eos = "<|eos|>",
  }
  make_model("base")
  make_model("rm", true)
end)

teardown(scratch.clean)

local PAIR = { prompt = "Name a day:", completions = { " Monday", " a tree" }, ranks = { 1, 2 } }
local TIED = { prompt = "Q1", completions = { " a", " b" }, ranks = { 1, 1 } }
local LONG = (" word"):rep(60)

describe("training:", function()
  it("one beginning token before a prompt in all recipes", function()
    assert.is_false(tok.adds_bos)
    local row = { prompt = "Say a colour:", completion = " blue" }
    local ranking = { prompt = row.prompt, completions = { " blue", " 7" }, ranks = { 1, 2 } }
    local one = data.examples(tok, nil, { row }, 50).sequences[1]
    assert.are.same(one, data.ranked(tok, nil, { ranking })[1].sequences[1])
    assert.are.equal(tok.bos_id, one[1])
    assert.are.equal(tok.bos_id, data.prompts(tok, nil, { row }, 50)[1].tokens[1])
  end)

  it("an edited template of the same name, a warm cache", function()
    local path = rows_file {
      {
        messages = {
          { role = "user", content = "Hi" },
          { role = "assistant", content = "Ho" },
        },
      },
    }
    local function own(head)
      return {
        name = "own",
        user = { head, pl.chat.content },
        assistant = { "A", pl.chat.content, pl.chat.stop("<|end|>") },
      }
    end
    assert.are_not.same(
      data.examples(tok, own("Q"), path, 50).sequences[1],
      data.examples(tok, own("QQ"), path, 50).sequences[1]
    )
  end)

  it("three runs on one cold cache", function()
    local rows, commands = {}, {}
    for i = 1, 400 do
      rows[i] = { prompt = "number " .. i, completion = LONG }
    end
    local path = rows_file(rows)
    for i = 1, 3 do
      commands[i] = (
        "PERILUNE_CACHE=%s/cold %s recipes/sft.lua --model %s --dataset %s --max_steps"
        .. " 1 --output_dir %s/cold-%d >%s/cold-%d.log 2>&1 & "
      ):format(dir, program, path_of("base"), path, dir, i, dir, i)
    end
    os.execute(table.concat(commands) .. "wait")
    for i = 1, 3 do
      assert.is_truthy(
        lfs.attributes(("%s/cold-%d/summary.json"):format(dir, i)),
        scratch.read(("%s/cold-%d.log"):format(dir, i))
      )
    end
  end)

  it("a reward function with scores too few, too many, no numbers", function()
    local kinds = {
      { "local s = {} for i = 2, #answers do s[i - 1] = 1 end return s", "3 scores for 4 answers" },
      { "local s = {} for i = 0, #answers do s[i + 1] = 1 end return s", "5 scores for 4 answers" },
      {
        "local s = {} for i = 1, #answers do s[i] = i == 2 and 0/0 or 1 end return s",
        "the score of answer 2 is",
      },
      { "local s = {} for i = 1, #answers do s[i] = 'x' end return s", "answer 1 is a string" },
      { "return 1", "it returned a number; a list of 4 numbers is wanted" },
    }
    for _, kind in ipairs(kinds) do
      local path = write("rf.lua", ("return function(_, answers) %s end\n"):format(kind[1]))
      refused(
        "ppo",
        merged(ppo { { prompt = "Once" } }, {
          reward_model = "",
          reward_function = path,
        }),
        path,
        kind[2]
      )
    end
  end)

  it("a validation set without a usable row", function()
    local none = rows_file({ "" }, "none.jsonl")
    refused(
      "sft",
      sft({ { prompt = "a", completion = "b" } }, { eval_dataset = none }),
      "eval_dataset " .. none,
      "nothing in it can be used"
    )
  end)

  it("validation rankings of ties alone", function()
    local ties = rows_file({ TIED, TIED }, "ties.jsonl")
    local summary =
      runs_well("reward", reward({ PAIR }, { eval_dataset = ties }), "left out: all ranks equal 2")
    assert.is_nil(summary.eval_accuracy)
    assert.is_nil(summary.rm_accuracy)
  end)

  it("text without a document", function()
    local empty = write("empty.txt", "\n \n\n")
    refused(
      "sft",
      sft({ { prompt = "a", completion = "b" } }, { ptx_dataset = empty, ptx_fraction = 0.5 }),
      "ptx_dataset " .. empty
    )
    refused("pretrain", { text = empty, model = path_of("base") }, "text " .. empty)
    refused("eval", {
      model = path_of("base"),
      reward_model = path_of("rm"),
      text = empty,
      dataset = rows_file { { prompt = "a" } },
    }, "text " .. empty)
  end)

  it(
    "training rankings of ties alone",
    function()
      refused(
        "reward",
        reward { TIED, TIED, TIED },
        "nothing in it can be used (3 rows, 0 used",
        "all ranks equal 3"
      )
    end
  )

  it("one real pair beside tied sets", function()
    local alone = runs_well("reward", reward { PAIR })
    local among = runs_well("reward", reward { TIED, PAIR, TIED, TIED })
    assert.are.equal(alone.weights_hash, among.weights_hash)
    local function loss(ranks, offsets)
      local scores = pl.tensor({ 0.3, -0.2, 0.5, 0.1, 0.7 }):requires_grad(true)
      local value = pl.rank_loss(scores, pl.tensor(offsets, "int32"), pl.tensor(ranks))
      value:backward()
      return value:item(), scores:grad():totable()
    end
    -- two of three sets say nothing: ties, and a single answer
    local value, gradient = loss({ 1, 2, 1, 1, 1 }, { 0, 2, 4, 5 })
    assert.near(math.log(1 + math.exp(-0.5)), value, 1e-6)
    assert.near(-1 / (1 + math.exp(0.5)), gradient[1], 1e-6)
    assert.are.same({ 0, 0, 0 }, { gradient[3], gradient[4], gradient[5] })
  end)

  it("a ranking of one answer, or of none", function()
    refused(
      "reward",
      reward { PAIR, { prompt = "a", completions = { "b" }, ranks = { 1 } } },
      "rows.jsonl",
      "2"
    )
    refused("reward", reward { '{"prompt":"a","completions":[],"ranks":[]}' }, "rows.jsonl", "1")
  end)

  it("a rank that is null, a boolean or a text", function()
    for _, rank in ipairs { "null", "true", '"x"' } do
      refused(
        "reward",
        reward { PAIR, ('{"prompt":"a","completions":["b","c"],"ranks":[1,%s]}'):format(rank) },
        "rows.jsonl",
        "2"
      )
    end
  end)

  it(
    "an answer that is null in a ranking",
    function()
      refused(
        "reward",
        reward { PAIR, '{"prompt":"a","completions":["b",null],"ranks":[1,2]}' },
        "rows.jsonl",
        "2"
      )
    end
  )

  it("bad UTF 8, a key twice, a lone surrogate", function()
    for _, bad in ipairs {
      '{"prompt":"a","completion":"\xff"}',
      '{"prompt":"a","prompt":"b","completion":"c"}',
      '{"prompt":"\\ud83d","completion":"c"}',
    } do
      refused("sft", sft { { prompt = "a", completion = "b" }, bad }, "rows.jsonl:2: ")
    end
  end)

  it("answers longer than max_length", function()
    local rows = {}
    for i = 1, 3 do
      rows[i] = { prompt = "q" .. i, completion = LONG }
    end
    runs_well("sft", sft(rows, { max_length = 30 }), "3 rows, 3 used; answers cut at the end 3")
    local set = data.examples(tok, nil, rows, 30)
    for i = 1, 3 do
      assert.are.equal(30, #set.sequences[i])
      assert.are_not.equal(tok.eos_id, set.sequences[i][30])
    end
  end)

  it("an example longer than the context of the model", function()
    runs_well(
      "sft",
      sft { { prompt = "hi", completion = LONG } },
      "1 rows, 1 used; answers cut at the end 1"
    )
    refused(
      "reward",
      reward { { prompt = "hi", completions = { LONG, "a" }, ranks = { 1, 2 } } },
      "too long 1"
    )
  end)

  it("own token ids longer than max_length", function()
    local ids = {}
    for i = 1, 100 do
      ids[i] = 71
    end
    runs_well(
      "sft",
      sft({ { prompt_tokens = { 0, 70 }, completion_tokens = ids } }, { max_length = 20 }),
      "answers cut at the end 1"
    )
  end)

  it(
    "own token ids outside the vocabulary",
    function()
      refused(
        "sft",
        sft {
          { prompt = "a", completion = "b" },
          { prompt_tokens = { 0, 70 }, completion_tokens = { 9999, 1 } },
        },
        "rows.jsonl:2: ",
        "9999"
      )
    end
  )

  it("a prompt at or over the context of the model", function()
    runs_well(
      "ppo",
      ppo { { prompt = ("x"):rep(CONTEXT - 1) }, { prompt = "Once" } },
      "2 rows, 1 used; left out: too long for model (64 tokens with the answer) 1"
    )
    refused("ppo", ppo { { prompt = ("x"):rep(CONTEXT) } }, "dataset ", "too long for model (64")
    refused(
      "ppo",
      ppo({ { prompt = "Once" } }, { response_length = CONTEXT }),
      "reads 64 tokens: an answer of 64 leaves no place for a prompt"
    )
  end)

  it("no messages", function()
    refused("sft", sft({ '{"messages":[]}' }, { template = "plain" }), "rows.jsonl", "1")
    refused("ppo", ppo({ '{"messages":[]}' }, { template = "plain" }), "rows.jsonl", "1")
  end)

  it("an empty prompt", function()
    local set = data.examples(tok, nil, { { prompt = "", completion = "hello" } }, 50)
    assert.are.equal("<|bos|>⟦hello<|eos|>⟧", pl.chat.show(tok, set.sequences[1], set.masks[1]))
    runs_well("sft", sft { { prompt = "", completion = "hello there" } })
    runs_well("ppo", ppo { { prompt = "" }, { prompt = "Hi" } }, "2 rows, 2 used")
  end)

  it(
    "too long prompts in eval are counted",
    function()
      runs_well("eval", {
        model = path_of("base"),
        reward_model = path_of("rm"),
        dataset = rows_file { { prompt = "Once" }, { prompt = "The cat" }, { prompt = LONG } },
      }, "3 rows, 2 used; left out: too long for model (64 tokens with the answer) 1")
    end
  )

  it("text whose pieces do not fill a last batch", function()
    local words = {}
    for i = 1, 900 do
      words[i] = "moon" .. i % 10
    end
    local text = write("pieces.txt", table.concat(words, " ") .. "\n")
    local pieces = data.text(tok, text, 8)
    assert.is_true(#pieces % 64 ~= 0 and #pieces > 128)
    local _, folder = runs_well("pretrain", {
      text = text,
      eval_text = text,
      model = path_of("base"),
      logging_steps = 1,
    })
    local last
    for line in io.lines(folder .. "/metrics.jsonl") do
      local row = pl.json.decode(line)
      last = row.num_tokens and row or last
    end
    assert.are.equal(pieces.tokens, last.num_tokens)
    assert.are.equal(1, last.epoch)
  end)

  it("text in rows of a file whose name does not say so", function()
    local rows = '{"text":"One day."}\n{"text":"Two days."}\n'
    for _, name in ipairs { "rows.ndjson", "rows.JSONL", "rows.part-0", "rows" } do
      local pieces = data.text(tok, write(name, rows), 100)
      assert.are.equal("<|bos|>One day.<|eos|><|bos|>Two days.<|eos|>", tok:decode(pieces[1]), name)
    end
    local pieces = data.text(tok, write("rows.txt", rows), 100)
    assert.is_truthy(tok:decode(pieces[1]):find('{"text":"One day."}', 1, true))
    local ok, message = pcall(data.text, tok, write("rows.csv", "text\nOne day.\n"), 100)
    assert.is_false(ok)
    assert.is_truthy(message:find("rows.csv: documents are plain text or JSON Lines", 1, true))
  end)

  it("pretraining text of which no piece would be mixed in", function()
    local text = write("mixed.txt", LONG .. "\n")
    refused(
      "sft",
      sft({ { prompt = "a", completion = "b" } }, { ptx_dataset = text, ptx_fraction = 0.1 }),
      "ptx_fraction 0.1 of batches of 4 examples is less than half a piece of text"
    )
    refused(
      "ppo",
      ppo({ { prompt = "a" } }, { ptx_dataset = text, ptx_coef = 1, ptx_batch_ratio = 0.1 }),
      "ptx_batch_ratio 0.1 of minibatches of 2 answers is less than half a piece of text"
    )
  end)

  it("Muon with adapters, new ones and those of a folder", function()
    local rows = { { prompt = "a", completion = "b" } }
    refused(
      "sft",
      sft(rows, { peft_r = 2, optimizer = "muon" }),
      "sft: optimizer muon steps whole matrices, and adapters are factors of some: take adamw"
    )
    local _, folder = runs_well("sft", sft(rows, { peft_r = 2 }))
    refused(
      "sft",
      sft(rows, { model = folder .. "/model", optimizer = "muon" }),
      "perilune: optimizer muon steps whole matrices, and this model has adapters"
    )
  end)

  it("a reference of adapters beside the scores, the same and another one", function()
    local rows = { { prompt = "a", completion = "b" } }
    local _, tuned = runs_well("sft", sft(rows, { peft_r = 2 }))
    local beside = { reference = tuned .. "/model", likelihood_coef = 0.5 }
    local _, judge = runs_well("reward", reward({ PAIR }, beside))
    local function says(model)
      local given = { model = model, reward_model = judge .. "/model", likelihood_coef = 0.5 }
      local _, _, said = runs_well("ppo", ppo({ { prompt = "a" } }, given))
      return said:find("was trained beside the log-probs of another model", 1, true) ~= nil
    end
    assert.is_false(says(tuned .. "/model"))
    assert.is_true(says(path_of("base")))
    local _, other = runs_well("sft", sft(rows, { peft_r = 2, learning_rate = 1e-2 }))
    assert.is_true(says(other .. "/model"))
  end)

  it(
    "keys and values that no answer fits into: without a place in the recipe",
    function()
      refused(
        "ppo",
        ppo({ { prompt = "a" } }, { cache_memory = 0.001, response_length = 32 }),
        "perilune: generate: cache_memory of ",
        ": give it more, or take shorter answers"
      )
    end
  )

  it("a limit on the size of files is told, as a full disk is", function()
    local data_set = rows_file { { prompt = "a", completion = "b" } }
    local folder = dir .. "/limited"
    local command = ("ulimit -f 8; exec '%s' recipes/sft.lua --model '%s' --dataset '%s' "):format(
      program,
      path_of("base"),
      data_set
    ) .. ("--output_dir '%s' 2> '%s.err' > /dev/null"):format(folder, folder)
    local ok, how, code = os.execute(command)
    assert.are.same({ nil, "exit", 1 }, { ok, how, code })
    local said = scratch.read(folder .. ".err")
    assert.is_truthy(said:find("File too large", 1, true), said)
  end)

  it("text with carriage returns", function()
    local pieces = data.text(tok, write("crlf.txt", "One day.\r\n\r\nTwo\r\ndays.\r\n"), 100)
    assert.are.equal("<|bos|>One day.<|eos|><|bos|>Two\ndays.<|eos|>", tok:decode(pieces[1]))
  end)

  it("a byte order mark, carriage returns, blank lines", function()
    local path = write(
      "bom.jsonl",
      '\xEF\xBB\xBF{"prompt":"a","completion":"b"}\r\n\r\n \r\n'
        .. '{"prompt":"c","completion":"d"}\r\n'
    )
    assert.are.same(
      { { prompt = "a", completion = "b" }, { prompt = "c", completion = "d" } },
      data.rows(path)
    )
  end)

  it("emoji and combining marks byte for byte", function()
    local text = "🌙 e\u{301} 👩‍🚀"
    local path = rows_file { { prompt = text, completion = text } }
    local set = data.examples(tok, nil, path, 200)
    assert.are.equal(text .. text, tok:decode(set.sequences[1], { skip_special = true }))
  end)

  it("all answers of several turns and their end tokens are trained", function()
    local turns =
      { { "user", "Hi" }, { "assistant", "Ho" }, { "user", "Ha" }, { "assistant", "Hum" } }
    local messages, conversations = {}, {}
    for i, turn in ipairs(turns) do
      messages[i] = { role = turn[1], content = turn[2] }
      conversations[i] = { from = turn[1] == "user" and "human" or "gpt", value = turn[2] }
    end
    for _, row in ipairs { { messages = messages }, { conversations = conversations } } do
      local set = data.examples(tok, pl.chat.plain, rows_file { row }, 200)
      assert.are.equal(
        "<|user|>Hi<|end|><|assistant|>⟦Ho<|end|>⟧<|user|>Ha<|end|><|assistant|>"
          .. "⟦Hum<|end|>⟧",
        pl.chat.show(tok, set.sequences[1], set.masks[1])
      )
    end
  end)

  it("pairs whose answers are equal are left out", function()
    local set = data.ranked(
      tok,
      nil,
      rows_file {
        PAIR,
        { prompt = "q", completions = { "a", "a" }, ranks = { 1, 2 } },
      }
    )
    assert.are.equal("2 rows, 1 used; left out: equal answers 1", data.account(set.counts))
  end)

  it("resume with changed rows is refused", function()
    local rows = {}
    for i = 1, 12 do
      rows[i] = { prompt = "q" .. i, completion = " a" }
    end
    local folder = path_of("resumed")
    local settings = sft(rows, { save_steps = 1, max_steps = 2, batch_size = 2 })
    local ok, said = run("sft", settings, folder)
    assert(ok, said)
    rows[3].completion = " b"
    rows_file(rows)
    settings.max_steps, settings.resume, settings.resume_changed = 3, true, "max_steps"
    ok, said = run("sft", settings, folder)
    assert.is_false(ok)
    assert.is_truthy(said:find("dataset", 1, true), said)
  end)

  it("a file name with a number sign", function()
    local path = rows_file({ { prompt = "a", completion = "b" } }, "a#b.jsonl")
    assert.are.equal(1, #data.rows(path))
    runs_well("sft", sft(path))
  end)

  it("an answer that was cut has no end token, in rankings and in demonstrations", function()
    local set = data.ranked(tok, nil, {
      {
        prompt = "q",
        completions = { " a", " b" },
        ranks = { 1, 2 },
        completion_finished = { false, true },
      },
    })
    assert.are_not.equal(tok.eos_id, set[1].sequences[1][#set[1].sequences[1]])
    assert.are.equal(tok.eos_id, set[1].sequences[2][#set[1].sequences[2]])
    local one = data.examples(
      tok,
      nil,
      { { prompt = "q", completion = " a", finish_reason = "length" } },
      50
    ).sequences[1]
    assert.are_not.equal(tok.eos_id, one[#one])
  end)

  it("whether answers were finished, through ingest and a store", function()
    local store = assert(pl.store.open(path_of("finished.db")))
    assert(pl.ingest.file(
      store,
      rows_file({
        {
          prompt = "q",
          completions = { " a", " b" },
          ranks = { 1, 2 },
          completion_finished = { true, false },
        },
      }, "finished.jsonl"),
      {}
    ))
    local set = store:new_set("one", { seed = 1 })
    for row in store:ranked() do
      store:add_to_set(set, "rm", "train", row)
    end
    store:finish_set(set)
    store:close()
    local sets = data.ranked(tok, nil, path_of("finished.db") .. "#rm.train")
    assert.are.equal(tok.eos_id, sets[1].sequences[1][#sets[1].sequences[1]])
    assert.are_not.equal(tok.eos_id, sets[1].sequences[2][#sets[1].sequences[2]])
    assert.are.same({ ["answers that were cut when they were made"] = 1 }, sets.counts.changed)
  end)

  it("rows that the reader leaves out are counted", function()
    local path = rows_file({
      { instruction = "q", response1 = "a", response2 = "b", annotator1 = 1 },
      { instruction = "q", response1 = "a", response2 = "b", annotator1 = "x" },
    }, "others.jsonl")
    local set = data.ranked(tok, nil, path)
    assert.are.equal(1, set.counts.used)
    assert.are.equal(2, set.counts.rows)
  end)

  it("the template a model was trained with is its template", function()
    local rows = { { prompt = "Hi", completion = "Ho" } }
    local _, folder = runs_well("sft", sft(rows, { template = "plain" }))
    local model = folder .. "/model"
    local _, _, said = runs_well("sft", merged(sft(rows), { model = model }))
    assert.is_truthy(said:find("<|user|>Hi<|end|><|assistant|>⟦Ho<|end|>⟧", 1, true), said)
    assert.is_nil(said:find("was asked for", 1, true))
    runs_well(
      "sft",
      merged(sft(rows), { model = model, template = "none" }),
      "template none was asked for, but the model's own is plain"
    )
  end)

  it("demonstrations score 0 on average where scores are read", function()
    local messages = { { role = "user", content = "Hi" }, { role = "assistant", content = "Ho" } }
    local chatml = pl.tokenizer.train {
      texts = { "Hi Ho" },
      vocab_size = 270,
      special = { "<|im_start|>", "<|im_end|>" },
      eos = "<|im_end|>",
    }
    local demonstration = data.examples(chatml, pl.chat.chatml, { { messages = messages } }, 50)
    local ranking = data.ranked(
      chatml,
      pl.chat.chatml,
      { { messages = messages, completions = { "Ho", "x" }, ranks = { 1, 2 } } }
    )
    assert.are.same(ranking[1].sequences[1], demonstration.sequences[1])
    local path = rows_file({ { prompt = "Hi", completion = "Ho" } }, "demos.jsonl")
    local _, folder = runs_well("reward", reward({ PAIR }, { demonstrations = path }))
    local model = assert(pl.load(folder .. "/model"))
    local scores = pl.score.sequences(model, data.examples(tok, nil, path, 50).sequences)
    assert.near(0, scores[1], 1e-5)
  end)
end)
