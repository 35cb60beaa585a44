--- Data sets of the recipes: the same rows from JSON Lines, gzip, other people's forms and a store;
-- and a run that goes on with other data is refused.

local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local checkpoint = require("perilune.run.state")
local store = require("perilune.store")
local files = require("perilune.base.files")

local data = pl.data
local folder, tok

local function write(name, text)
  local path = folder .. "/" .. name
  assert(pl.files.write_atomic(path, text))
  return path
end

local function lines(rows)
  local list = {}
  for i, row in ipairs(rows) do
    list[i] = pl.json.encode(row)
  end
  return table.concat(list, "\n") .. "\n"
end

setup(function()
  folder = scratch.folder()
  tok = pl.tokenizer.train({ texts = { ("the cat sat on a mat. "):rep(20) }, vocab_size = 300,
    special = { "<|bos|>", "<|end|>" }, bos = "<|bos|>", eos = "<|end|>" })
end)

teardown(scratch.clean)

describe("rows of a data set", function()
  it("are as they stand in JSON Lines of our own forms, token ids and further fields as well",
    function()
      local rows = { { prompt = "a", prompt_tokens = { 1, 2 }, task = { x = 1 } },
        { messages = { { role = "user", content = "b" } } } }
      assert.are.same(rows, data.rows(write("own.jsonl", lines(rows))))
    end)

  it("come from pairs, each answer with its rank", function()
    local path = write("pairs.jsonl", lines { { prompt = "q", chosen = "good", rejected = "bad" },
      { prompt = "r", chosen = "yes", rejected = "no" } })
    local rows = data.rows(path)
    assert.are.equal(2, #rows)
    assert.are.same({ "good", "bad" }, rows[1].completions)
    assert.are.same({ 1, 2 }, rows[1].ranks)
  end)

  it("name the file and the line that cannot be read", function()
    local path = write("broken.jsonl", '{"prompt":"a"}\n\n{"prompt":\n')
    assert.has_error(function() data.rows(path) end)
    local ok, message = pcall(data.rows, path)
    assert.is_false(ok)
    assert.is_truthy(message:find(path .. ":3: ", 1, true), message)
    ok, message = pcall(data.rows, folder .. "/absent.jsonl")
    assert.is_false(ok)
    assert.is_truthy(message:find("absent.jsonl", 1, true), message)
  end)

  it("of a set of our own are never left out: what is no good JSON is an error", function()
    for _, bad in ipairs { '{"prompt":"b","prompt":"c"}', '{"prompt":NaN}', '{"prompt":"\\ud83d"}',
      '{"prompt":"\xff"}', "[1]", "5" } do
      local path = write("bad.jsonl", '{"prompt":"a"}\n' .. bad .. "\n")
      local ok, message = pcall(data.rows, path)
      assert.is_false(ok, bad)
      assert.is_truthy(message:find(path .. ":2: ", 1, true), message)
    end
    local path = write("nul.jsonl", '{"prompt":"a\\u0000b"}\n')
    assert.are.same({ { prompt = "a\0b" } }, data.rows(path))
    assert.are.same({}, data.rows(write("blank.jsonl", " \n\n")))
  end)

  it("come one for each person who ranked, from files of others", function()
    local path = write("people.json", pl.json.encode { { instruction = "q", response1 = "x",
      response2 = "y", annotator1 = 1, annotator2 = 2 } })
    local rows = data.rows(path)
    assert.are.equal(2, #rows)
    assert.are.same({ 1, 2 }, rows[1].ranks)
    assert.are.same({ 2, 1 }, rows[2].ranks)
    assert.are.equal("annotator2", rows[2].labeler)
    assert.is_nil(rows[2].rankings)
  end)

  it("come from a part of a store", function()
    local path = folder .. "/store.db"
    local s = assert(store.open(path))
    local id = s:add { prompt = "say cat", source = "api", user_id = "u" }
    local answer = s:demonstrate(id, { completion = "cat", labeler = "ana" })
    local set = s:new_set("one", { seed = 1 })
    s:add_to_set(set, "sft", "train",
      { id = id, prompt = "say cat", completion = "cat", demonstration_id = answer })
    s:add_to_set(set, "ppo", "train", { id = id, prompt = "say cat" })
    s:finish_set(set)
    s:close()
    local rows = data.rows(path .. "#sft.train")
    assert.are.equal(1, #rows)
    assert.are.equal("say cat", rows[1].prompt)
    assert.are.equal("cat", rows[1].completion)
    assert.are.equal("say cat", data.rows(path .. "#one:ppo.train")[1].prompt)
    assert.are.same({}, data.rows(path .. "#ppo.test"))

    local from_store = data.examples(tok, nil, path .. "#sft.train", 100)
    local from_list = data.examples(tok, nil, { { prompt = "say cat", completion = "cat" } }, 100)
    assert.are.same(from_list.sequences[1], from_store.sequences[1])
    assert.are.same(from_list.masks[1], from_store.masks[1])
    assert.are.equal(from_list.trained, from_store.trained)
    assert.are.equal(1, #from_store.sequences)
  end)
end)

describe("a tokenised set", function()
  it("is the same from a file as from a list", function()
    local rows = {}
    for i = 1, 20 do
      rows[i] = { prompt = "the cat " .. i, completions = { "sat", "on", "mat" },
        ranks = { 1, 2, 2 } }
    end
    local path = write("ranked.jsonl", lines(rows))
    local from_list, from_file = data.ranked(tok, nil, rows), data.ranked(tok, nil, path)
    assert.are.equal(20, #from_file)
    for i = 1, 20 do
      local lengths = {}
      for k, sequence in ipairs(from_file[i].sequences) do
        lengths[k] = #sequence
      end
      assert.are.same(lengths, from_file.lengths[i])
      assert.are.same(lengths, from_list.lengths[i])
      assert.are.same(from_list[i].sequences, from_file[i].sequences)
      assert.are.same(from_list[i].ranks, from_file[i].ranks)
      assert.are.same(rows[i], from_file[i].row)
    end
    local count = 0
    for _, set in ipairs(from_file) do
      count = count + #set.sequences
    end
    assert.are.equal(60, count)
    local prompts, dropped = data.prompts(tok, nil, path, 5)
    local listed, listed_dropped = data.prompts(tok, nil, rows, 5)
    assert.are.equal(listed_dropped, dropped)
    assert.are.equal(#listed, #prompts)
    assert.is_true(dropped > 0 and #prompts > 0)
  end)

  it("drops what cannot be as long as it is, and says how many", function()
    local long = ("the cat sat on a mat. "):rep(40)
    local examples = data.examples(tok, nil, { { prompt = long, completion = "x" },
      { prompt = "the cat", completion = long } }, 30)
    assert.are.equal(1, examples.dropped)
    assert.are.equal(1, #examples.sequences)
    assert.are.equal(30, #examples.sequences[1])
    assert.are.equal(30, examples.lengths[1])
    assert.is_nil(examples.lengths[2])
    local sets, dropped = data.ranked(tok, nil, { { prompt = "a", completions = { "b", long },
      ranks = { 1, 2 } }, { prompt = "a", completions = { "b", "c" }, ranks = { 2, 1 } } }, 30)
    assert.are.equal(1, dropped)
    assert.are.same({ 2, 1 }, sets[1].ranks)
    assert.has_error(function()
      data.examples(tok, nil, { { prompt = "a", completion = "" } }, 30)
    end, "row 1: the completion is empty")
  end)

  it("has another key for other rows, another length and another tokenizer", function()
    local path = write("keys.jsonl", lines { { text = "the cat" }, { text = "sat on a mat" } })
    local key = data.text(tok, path, 8).key
    assert.are.equal(key, data.text(tok, path, 8).key)
    assert.are_not.equal(key, data.text(tok, path, 9).key)
    local other = pl.tokenizer.train({ texts = { ("a dog ran. "):rep(20) }, vocab_size = 290,
      special = { "<|bos|>", "<|end|>" }, bos = "<|bos|>", eos = "<|end|>" })
    assert.are_not.equal(key, data.text(other, path, 8).key)
    write("keys.jsonl", lines { { text = "the cat" }, { text = "sat on a hat" } })
    assert.are_not.equal(key, data.text(tok, path, 8).key)
  end)

  it("cuts plain text at blank lines into documents, none lost", function()
    local path = write("text.txt", "\n\nthe cat\nsat\n\n \n\non a mat")
    local pieces = data.text(tok, path, 1000)
    assert.are.equal(1, #pieces)
    local shown = tok:decode(pieces[1], { skip_special = false })
    assert.are.equal("<|bos|>the cat\nsat<|end|><|bos|>on a mat<|end|>", shown)
  end)
end)

describe("a checkpoint", function()
  it("is not continued with other data", function()
    local model = pl.model.new({ model_type = "llama", hidden_size = 16, num_hidden_layers = 1,
      num_attention_heads = 2, intermediate_size = 16, vocab_size = #tok,
      max_position_embeddings = 32 }, { seed = 1 })
    local path = write("train.jsonl", lines { { text = "the cat sat" } })
    local parts = { model = model, tokenizer = tok, data = { dataset = data.text(tok, path, 8) } }
    local dir = folder .. "/checkpoint"
    assert(files.folder_make(dir))
    checkpoint.write(dir, parts)
    checkpoint.read(dir, parts)
    write("train.jsonl", lines { { text = "the cat sat on" } })
    parts.data = { dataset = data.text(tok, path, 8) }
    local ok, message = pcall(checkpoint.read, dir, parts)
    assert.is_false(ok)
    assert.is_truthy(message:find("dataset is not the data", 1, true), message)
  end)
end)
