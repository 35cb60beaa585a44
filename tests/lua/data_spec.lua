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
  tok = pl.tokenizer.train {
    texts = { ("the cat sat on a mat. "):rep(20) },
    vocab_size = 300,
    special = { "<|bos|>", "<|end|>" },
    bos = "<|bos|>",
    eos = "<|end|>",
  }
end)

teardown(scratch.clean)

describe("rows of a data set", function()
  it(
    "are as they stand in JSON Lines of our own forms, token ids and further fields as well",
    function()
      local rows = {
        { prompt = "a", prompt_tokens = { 1, 2 }, task = { x = 1 } },
        { messages = { { role = "user", content = "b" } } },
      }
      assert.are.same(rows, data.rows(write("own.jsonl", lines(rows))))
    end
  )

  it("come from pairs, each answer with its rank", function()
    local path = write(
      "pairs.jsonl",
      lines {
        { prompt = "q", chosen = "good", rejected = "bad" },
        { prompt = "r", chosen = "yes", rejected = "no" },
      }
    )
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
    for _, bad in ipairs {
      '{"prompt":"b","prompt":"c"}',
      '{"prompt":NaN}',
      '{"prompt":"\\ud83d"}',
      '{"prompt":"\xff"}',
      "[1]",
      "5",
    } do
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
    local path = write(
      "people.json",
      pl.json.encode {
        {
          instruction = "q",
          response1 = "x",
          response2 = "y",
          annotator1 = 1,
          annotator2 = 2,
        },
      }
    )
    local rows = data.rows(path)
    assert.are.equal(2, #rows)
    assert.are.same({ 1, 2 }, rows[1].ranks)
    assert.are.same({ 2, 1 }, rows[2].ranks)
    assert.are.equal("annotator2", rows[2].labeler)
    assert.is_nil(rows[2].rankings)
  end)

  it("come as ranked answers from pairs of chosen and rejected, in all forms of TRL", function()
    local asked = { role = "user", content = "q" }
    local said, other = { role = "assistant", content = "x" }, { role = "assistant", content = "y" }
    for name, row in pairs {
      explicit = { prompt = "q", chosen = "x", rejected = "y" },
      conversational = { prompt = { asked }, chosen = { said }, rejected = { other } },
      whole = { chosen = { asked, said }, rejected = { asked, other } },
      both = { prompt = "q", chosen = { asked, said }, rejected = { asked, other } },
    } do
      local rows = data.rows(write("pair.jsonl", pl.json.encode(row) .. "\n"))
      assert.are.equal(1, #rows, name)
      assert.are.same({ "x", "y" }, rows[1].completions, name)
      assert.are.same({ 1, 2 }, rows[1].ranks, name)
    end
    local path = write(
      "same.jsonl",
      '{"prompt":"q","chosen":"x","rejected":"x"}\n{"prompt":"q","chosen":"x","rejected":"y"}\n'
    )
    local account = { left = {} }
    function account:leave_out(reason) self.left[#self.left + 1] = reason end
    local n = 0
    for _ in data.each(path, account) do
      n = n + 1
    end
    assert.are.equal(1, n)
    assert.are.same({ "both answers are the same" }, account.left)
  end)

  it("come with the answer to train on, in all forms of demonstrations", function()
    local asked, said = { role = "user", content = "q" }, { role = "assistant", content = "x" }
    local parts = { role = "assistant", content = { { type = "text", text = "x" } } }
    for name, row in pairs {
      conversational = { prompt = { asked }, completion = { said } },
      parts = { prompt = { asked }, completion = { parts } },
      labelled = { prompt = { asked }, completion = { said }, label = true },
      response = { prompt = "q", response = "x", helpfulness = 4 },
      output = { prompt = "q", output = "x" },
      answer = { prompt = "q", answer = "x" },
      question = { question = "q", answer = "x" },
      instruction = { instruction = "q", response = "x" },
    } do
      local rows = data.rows(write("demo.jsonl", pl.json.encode(row) .. "\n"))
      local answer = rows[1].completion
      assert.are.equal("x", type(answer) == "table" and answer[1].content or answer, name)
    end
    -- what else a row says, whole: a checker of a reward may need it
    local long = ("a long way to #### 4 "):rep(20)
    local rows = data.rows(write("gsm.jsonl", pl.json.encode { question = "q", answer = long }))
    assert.are.equal(long, rows[1].completion)
    for text, row in pairs {
      ["the completion holds no turn"] = { prompt = "q", completion = pl.json.array {} },
      ["neither messages nor prompt and completion"] = { prompt = "q", answer = 4 },
    } do
      local path = write("demo.jsonl", pl.json.encode(row) .. "\n")
      local ok, wrong = pcall(data.examples, tok, nil, path, 100)
      assert.is_false(ok)
      assert.is_truthy(wrong:find(text, 1, true), wrong)
    end
  end)

  it("come from a part of a store", function()
    local path = folder .. "/store.db"
    local s = assert(store.open(path))
    local id = s:add { prompt = "say cat", source = "api", user_id = "u" }
    local answer = s:demonstrate(id, { completion = "cat", labeler = "ana" })
    local set = s:new_set("one", { seed = 1 })
    s:add_to_set(
      set,
      "sft",
      "train",
      { id = id, prompt = "say cat", completion = "cat", demonstration_id = answer }
    )
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
      rows[i] = {
        prompt = "the cat " .. i,
        completions = { "sat", "on", "mat" },
        ranks = { 1, 2, 2 },
      }
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
    local prompts, listed = data.prompts(tok, nil, path, 5), data.prompts(tok, nil, rows, 5)
    assert.are.same(listed.counts, prompts.counts)
    assert.are.equal(#listed, #prompts)
    assert.are.equal(20, prompts.counts.rows)
    assert.are.same({ ["too long"] = 20 - #prompts }, prompts.counts.left_out)
    assert.is_true(#prompts > 0 and #prompts < 20)
  end)

  it("drops what cannot be as long as it is, and says how many", function()
    local long = ("the cat sat on a mat. "):rep(40)
    local examples = data.examples(
      tok,
      nil,
      { { prompt = long, completion = "x" }, { prompt = "the cat", completion = long } },
      30
    )
    assert.are.equal(
      "2 rows, 1 used; left out: no room for an answer 1; answers cut at the end 1",
      data.account(examples.counts)
    )
    assert.are.equal(1, #examples.sequences)
    assert.are.equal(30, #examples.sequences[1])
    assert.are.equal(30, examples.lengths[1])
    assert.is_nil(examples.lengths[2])
    local sets = data.ranked(tok, nil, {
      { prompt = "a", completions = { "b", long }, ranks = { 1, 2 } },
      { prompt = "a", completions = { "b", "c" }, ranks = { 2, 1 } },
    }, 30)
    assert.are.same(
      { rows = 2, used = 1, left_out = { ["too long"] = 1 }, changed = {} },
      sets.counts
    )
    assert.are.same({ 2, 1 }, sets[1].ranks)
    for k = 1, 2 do -- one token of prompt, then the answer and its end
      local mask = {}
      for t = 1, #sets[1].sequences[k] do
        mask[t] = t > #data.prompt_ids(tok, nil, { prompt = "a" }) and 1 or 0
      end
      assert.are.same(mask, sets[1].masks[k])
    end
    assert.has_error(
      function() data.examples(tok, nil, { { prompt = "a", completion = "" } }, 30) end,
      "example row 1: the completion is empty"
    )
  end)

  it("leaves out dialogues that the template cannot write, and shows the first", function()
    local late = {
      { role = "user", content = "the cat" },
      { role = "assistant", content = "sat" },
      { role = "system", content = "on a mat" },
      { role = "user", content = "the mat" },
    }
    local chat = pl.chat
    local talker = pl.tokenizer.train {
      texts = { ("the cat sat on a mat. "):rep(20) },
      vocab_size = 300,
      special = chat.control_names(chat.plain),
    }
    local strict = assert(chat.of_jinja(
      [[
{%- for m in messages %}{% if m.role == 'system' and not loop.first -%}
{{ raise_exception('a system message is the first') }}{%- endif -%}
<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor -%}
{% if add_generation_prompt %}<|assistant|>{% endif %}]],
      "strict"
    ))
    for _, case in ipairs {
      { chat.plain, "message 3 is a system message; only the first can be" },
      { strict, "a system message is the first" },
    } do
      local template, wrong = case[1], case[2]
      local function told(read, rows, ...)
        local set = read(talker, template, rows, ...)
        assert.are.equal(1, #(set.sequences or set))
        local text = data.account(set.counts)
        local beginning = "2 rows, 1 used; left out: the template cannot write it 1 (the first: "
        assert.matches(beginning, text, 1, true)
        assert.matches(wrong, text, 1, true)
        return text
      end
      local two = { { prompt = "the cat" }, { messages = late } }
      assert.matches("prompt 2: ", told(data.prompts, two, 99))
      local ended = table.move(late, 1, 4, 1, {})
      ended[5] = { role = "assistant", content = "sat" }
      told(data.examples, { { messages = ended }, { prompt = "a", completion = "b" } }, 99)
      local both, ranks = { "a", "b" }, { 1, 2 }
      local first = { prompt = "the cat", completions = both, ranks = ranks }
      told(data.ranked, { first, { messages = late, completions = both, ranks = ranks } })
      told(data.labelled, {
        { prompt = "the cat", completion = "b", label = true },
        { messages = late, completion = "b", label = true },
      })
      local path = write("late.jsonl", lines { { messages = late } })
      local prompts = data.prompts(talker, template, path, 99)
      local ok, message = pcall(data.required, prompts, "dataset", path)
      assert.is_false(ok)
      local why = "nothing in it can be used (1 rows, 0 used; left out: the template cannot "
        .. "write it 1 (the first: prompt 1: "
      assert.matches(why, message, 1, true)
    end
    assert.error_matches(
      function() data.prompts(talker, chat.plain, { { messages = { { role = "user" } } } }, 99) end,
      "prompt row 1: message 1 %(user%): content is a nil, not text"
    )
  end)

  it("counts system turns that say nothing and are left out of rows of other forms", function()
    local path = write(
      "sharegpt.jsonl",
      lines {
        {
          conversations = {
            { from = "system", value = " " },
            { from = "human", value = "the cat" },
            { from = "gpt", value = "sat" },
          },
        },
        {
          conversations = { { from = "human", value = "a mat" }, { from = "gpt", value = "sat" } },
        },
      }
    )
    local examples = data.examples(tok, nil, path, 30)
    assert.are.equal(
      "2 rows, 2 used; a system turn without a text 1",
      data.account(examples.counts)
    )
    assert.is_nil(examples.rows[1].silent_turns)
    local own = write(
      "rated.jsonl",
      lines {
        {
          prompt = "on a mat",
          messages = {
            { role = "system", content = "" },
            { role = "user", content = "the cat" },
            { role = "assistant", content = "sat", label = true },
          },
        },
      }
    )
    local labelled = data.labelled(tok, nil, own, 30)
    local told = data.account(labelled.counts)
    assert.are.equal("1 rows, 1 used; a system turn without a text 1", told)
  end)

  it("has another key for other rows, another length and another tokenizer", function()
    local path = write("keys.jsonl", lines { { text = "the cat" }, { text = "sat on a mat" } })
    local key = data.text(tok, path, 8).key
    assert.are.equal(key, data.text(tok, path, 8).key)
    assert.are_not.equal(key, data.text(tok, path, 9).key)
    local other = pl.tokenizer.train {
      texts = { ("a dog ran. "):rep(20) },
      vocab_size = 290,
      special = { "<|bos|>", "<|end|>" },
      bos = "<|bos|>",
      eos = "<|end|>",
    }
    assert.are_not.equal(key, data.text(other, path, 8).key)
    local fingerprint = other:fingerprint()
    other:set_special { bos = "<|end|>" }
    assert.are_not.equal(fingerprint, other:fingerprint())
    write("keys.jsonl", lines { { text = "the cat" }, { text = "sat on a hat" } })
    assert.are_not.equal(key, data.text(tok, path, 8).key)
  end)

  it("takes no part of a template by its name", function()
    local turns = {
      messages = {
        { role = "user", content = "the cat" },
        { role = "assistant", content = "sat" },
      },
    }
    local path = write("template.jsonl", lines { turns })
    local function own(stop)
      return {
        name = "own",
        user = { "Q: ", pl.chat.content, "\n" },
        assistant = { "A" .. stop, pl.chat.content, pl.chat.stop("<|end|>") },
      }
    end
    local first = data.examples(tok, own(":"), path, 100)
    local edited = data.examples(tok, own(": "), path, 100)
    assert.are_not.same(first.sequences[1], edited.sequences[1])
    assert.are.same(data.examples(tok, own(": "), { turns }, 100).sequences[1], edited.sequences[1])
    local function counted(index_shown)
      return {
        name = "own",
        turn = function(message, index)
          local head = index_shown and tostring(index) or ""
          if message.role == "assistant" then
            return { head, pl.chat.content, pl.chat.stop("<|end|>") }
          end
          return { head, pl.chat.content }
        end,
      }
    end
    assert.are_not.same(
      data.examples(tok, counted(true), path, 100).sequences[1],
      data.examples(tok, counted(false), path, 100).sequences[1]
    )
  end)

  it("leaves out rankings that say nothing, and refuses what is none", function()
    local sets = data.ranked(tok, nil, {
      { prompt = "a", completions = { "b", "c" }, ranks = { 1, 1 } },
      { prompt = "a", completions = { "b", "b" }, ranks = { 1, 2 } },
      {
        prompt = "a",
        completions = { "b", "c" },
        ranks = { 1, 2 },
        completion_finished = { true, false },
      },
    })
    assert.are.equal(1, #sets)
    assert.are.same({
      rows = 3,
      used = 1,
      left_out = { ["all ranks equal"] = 1, ["equal answers"] = 1 },
      changed = { ["answers that were cut when they were made"] = 1 },
    }, sets.counts)
    assert.are.equal(tok.eos_id, sets[1].sequences[1][#sets[1].sequences[1]])
    assert.are_not.equal(tok.eos_id, sets[1].sequences[2][#sets[1].sequences[2]])
    assert.are.equal(2, #data.ranked(tok, nil, {
      { prompt = "a", completions = { "b", "c" }, ranks = { 1, 1 } },
      { prompt = "a", completions = { "b", "c" }, ranks = { 1, 2 } },
    }, nil, "half"))
    local function refused(row, words)
      local ok, message = pcall(data.ranked, tok, nil, { row })
      assert.is_false(ok)
      assert.are.equal("ranking row 1: " .. words, message)
    end
    refused(
      { prompt = "a", completions = { "b" }, ranks = { 1 } },
      "1 answers: a ranking has two or more"
    )
    refused({ prompt = "a", completions = {}, ranks = {} }, "0 answers: a ranking has two or more")
    refused(
      { prompt = "a", completions = { "b", "c" }, ranks = { true, false } },
      "rank 1 is a boolean, not a finite number"
    )
    refused(
      { prompt = "a", completions = { "b", "c" }, ranks = { 1 } },
      "`ranks` must have one number for each of `completions`"
    )
    refused(
      { prompt = "a", completions = { "b", pl.json.null }, ranks = { 1, 2 } },
      "answer 2 is a userdata, not text"
    )
  end)

  it("says why nothing of it can be used", function()
    local path = write("long.jsonl", lines { { prompt = ("the cat sat on a mat. "):rep(9) } })
    local ok, message = pcall(data.required, data.prompts(tok, nil, path, 5), "dataset", path)
    assert.is_false(ok)
    assert.are.equal(
      ("dataset %s: nothing in it can be used (1 rows, 0 used; left out: too long " .. "1)"):format(
        path
      ),
      message
    )
    path = write("empty.txt", "\n \n")
    ok, message = pcall(data.required, data.text(tok, path, 8), "text", path)
    assert.is_false(ok)
    assert.are.equal(("text %s: nothing in it can be used (0 rows, 0 used)"):format(path), message)
  end)

  it("cuts plain text at blank lines into documents, none lost", function()
    local path = write("text.txt", "\n\nthe cat\nsat\n\n \n\non a mat")
    local pieces = data.text(tok, path, 1000)
    assert.are.equal(1, #pieces)
    local shown = tok:decode(pieces[1], { skip_special = false })
    assert.are.equal("<|bos|>the cat\nsat<|end|><|bos|>on a mat<|end|>", shown)
    assert.are.same({ rows = 2, used = 2, left_out = {}, changed = {} }, pieces.counts)
    assert.are.equal(#pieces[1], pieces.tokens)
    path = write("crlf.txt", "the cat\r\nsat\r\n\r\non a mat\r\n")
    assert.are.same(pieces[1], data.text(tok, path, 1000)[1])
    path = write("one.jsonl", lines { { text = "" }, { text = "aaaaaaaa" } })
    pieces = data.text(tok, path, 9)
    assert.are.equal(
      "2 rows, 1 used; left out: empty 1; last token left over 1",
      data.account(pieces.counts)
    )
    assert.are.equal(9, pieces.tokens)
  end)
end)

describe("a checkpoint", function()
  it("is not continued with other data", function()
    local model = pl.model.new({
      model_type = "llama",
      hidden_size = 16,
      num_hidden_layers = 1,
      num_attention_heads = 2,
      intermediate_size = 16,
      vocab_size = #tok,
      max_position_embeddings = 32,
    }, { seed = 1 })
    local path = write("train.jsonl", lines { { text = "the cat sat" } })
    local parts = { model = model, tokenizer = tok, data = { dataset = data.text(tok, path, 8) } }
    local dir = folder .. "/checkpoint"
    assert(files.folder_make(dir))
    checkpoint.write(dir, parts)
    assert.are.same({}, checkpoint.compare(dir, parts))
    checkpoint.read(dir, parts)
    write("train.jsonl", lines { { text = "the cat sat on" } })
    parts.data = { dataset = data.text(tok, path, 8) }
    local ok, message = pcall(checkpoint.compare, dir, parts)
    assert.is_false(ok)
    assert.is_truthy(message:find("dataset is not the data", 1, true), message)
  end)
end)
