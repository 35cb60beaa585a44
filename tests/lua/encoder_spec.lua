--- One way from text to tokens: whatever the template, the tokenizer and the shape of a row, SFT,
-- demonstrations, reward model, PPO, evaluation and generation put the same tokens before an
-- answer, end it alike, and read its score at its last token.

local lfs = require("lfs")
local llama2c = dofile("tests/lua/support/llama2c.lua")
local pl = require("perilune")
local said = dofile("tests/lua/support/said.lua")
local scratch = dofile("tests/lua/support/scratch.lua")

local batch, chat, data, encode = pl.batch, pl.chat, pl.data, pl.data.encode

local LONGEST <const> = 4000
local CONTROL <const> = {
  "<|begin|>",
  "<|eos|>",
  "<|system|>",
  "<|user|>",
  "<|assistant|>",
  "<|end|>",
  "<|im_start|>",
  "<|im_end|>",
}

-- A template of a program's own.
local numbered = {
  name = "numbered",
  turn = function(message, index)
    if message.role == "assistant" then
      return { "A:", chat.content, chat.stop("<|end|>"), "\n--\n" }
    end
    return { message.role .. (index == 1 and " first" or "") .. ": ", chat.content, "\n" }
  end,
}

-- "none" stands for no template.
local templates = { none = false, plain = chat.plain, chatml = chat.chatml, numbered = numbered }

-- Templates of models: texts of our own, and those that stand beside.
local function add_jinja(name, text) templates[name] = assert(chat.of_jinja(text, name)) end

for _, name in ipairs { "generation", "thinking", "macros" } do
  add_jinja(name, assert(pl.files.read("tests/golden/jinja/templates/" .. name .. ".jinja")))
end
local BESIDE <const> = "../shared/data/"
if lfs.attributes(BESIDE .. "templates", "mode") == "directory" then
  for file in lfs.dir(BESIDE .. "templates") do
    if file:match("%.jinja$") then
      add_jinja(file, assert(pl.files.read(BESIDE .. "templates/" .. file)))
    end
  end
end

-- A tokenizer of pieces as SentencePiece makes them, with control tokens for the templates.
local function sentencepiece(adds_bos)
  local folder = scratch.folder()
  llama2c.write(folder)
  assert(assert(pl.tokenizer.load(folder)):save(folder))
  local spec = assert(pl.json.decode(assert(pl.files.read(folder .. "/tokenizer.json"))))
  for i, name in ipairs(CONTROL) do
    table.insert(spec.added_tokens, {
      id = 265 + i,
      content = name,
      special = true,
      single_word = false,
      lstrip = false,
      rstrip = false,
      normalized = false,
    })
  end
  if not adds_bos then spec.post_processor = nil end
  os.remove(folder .. "/tok266.bin")
  scratch.write(folder .. "/tokenizer.json", pl.json.encode(spec))
  local tok = assert(pl.tokenizer.load(folder))
  assert(tok.kind == "sentencepiece" and tok.adds_bos == adds_bos and tok.bos_id)
  return tok
end

local function trained(kind, bos)
  return pl.tokenizer.train {
    kind = kind,
    special = CONTROL,
    bos = bos,
    eos = "<|eos|>",
    vocab_size = 330,
    texts = { "ab abc first user system A: what is it ? a bb Ä of the" },
  }
end

local tokenizers = {
  ["byte-level with bos"] = trained("bytelevel", "<|begin|>"),
  ["byte-level without bos"] = trained("bytelevel", nil),
  ["sentencepiece, adds_bos"] = sentencepiece(true),
  ["sentencepiece, not adds_bos"] = sentencepiece(false),
  ["word"] = trained("word", "<|begin|>"),
}
if lfs.attributes(BESIDE .. "tokenizers/qwen3", "mode") == "directory" then
  tokenizers.qwen3 = assert(pl.tokenizer.load(BESIDE .. "tokenizers/qwen3"))
  add_jinja("qwen3's own", tokenizers.qwen3.chat_template)
end

local function user(text) return { role = "user", content = text } end

local function assistant(text) return { role = "assistant", content = text } end

-- What is asked; `messages` want a template.
local questions = {
  ["an empty prompt"] = { prompt = "" },
  ["one turn"] = { prompt = "what is ab" },
  ["emoji"] = { prompt = "ab 🌙 é" },
  ["several turns"] = { messages = { user("ab"), assistant("a bb"), user("abc ?") } },
  ["a system message"] = { messages = { { role = "system", content = "of the" }, user("ab") } },
}

local function merged(row, more)
  local copy = {}
  for key, value in pairs(row) do
    copy[key] = value
  end
  for key, value in pairs(more) do
    copy[key] = value
  end
  return copy
end

local model_of = {} -- a scalar-head model for each vocabulary size
local function scorer(tok)
  model_of[#tok] = model_of[#tok]
    or pl.model.new({
      model_type = "llama",
      hidden_size = 8,
      num_hidden_layers = 1,
      num_attention_heads = 1,
      intermediate_size = 8,
      vocab_size = #tok,
      max_position_embeddings = LONGEST,
      scalar_head = true,
      initializer_range = 0.5,
    }, { seed = 5 })
  return model_of[#tok]
end

-- The sampled answer as PPO and eval have it: tensors, and the prompt beside.
local function rolled(prompt, answer)
  local flat = batch.ragged { answer }
  flat.logprobs, flat.samples = pl.zeros { #answer }, 1
  flat.finish_reasons = { "stop" }
  return pl.rollout.new({ prompt }, setmetatable(flat, { __len = function() return 1 end }))
end

-- All consumers of one row: their sequences, and the scores each would read.
local function consumers(tok, template, question, text, finished)
  local prompt = assert(encode.prompt(tok, template, question))
  local answer = assert(encode.answer(tok, template, prompt, text, finished))
  local row = merged(question, { completion = text, completion_finished = finished })
  local own = merged(question, { completion_tokens = answer })
  local ranking = merged(question, {
    completions = { text, "bb a" },
    ranks = { 1, 2 },
    completion_finished = { finished, true },
  })
  local sft = data.examples(tok, template, { row, own }, LONGEST)
  local ranked = data.ranked(tok, template, { ranking }, LONGEST)
  local roll = rolled(prompt, answer)
  local model = scorer(tok)
  local scores = {
    demonstrations = pl.score.sequences(model, sft.sequences),
    rankings = pl.score.sets(model, ranked),
    ppo = pl.loss.sequence_scores(model, roll.parts):totable(),
  }
  return {
    prompt = prompt,
    answer = answer,
    whole = (encode.join(prompt, answer)),
    sft = sft,
    ranked = ranked,
    roll = roll,
    scores = scores,
    values = model:scores(roll.parts[1].batch):totable(),
  }
end

teardown(scratch.clean)

-- Templates of others are long for a tokenizer of few tokens: they meet two of them and their like.
local MEET <const> =
  { ["byte-level with bos"] = true, ["sentencepiece, adds_bos"] = true, qwen3 = true }

local function tokenizers_for(template_name)
  local is_beside, found = template_name:find("%.jinja$") or template_name == "qwen3's own", {}
  for name, tok in pairs(tokenizers) do
    local meets = is_beside and MEET[name] or not is_beside and name ~= "qwen3"
    found[name] = meets and tok or nil
  end
  return found
end

for template_name, given in pairs(templates) do
  for tokenizer_name, tok in pairs(tokenizers_for(template_name)) do
    local template = given or nil
    describe(("template %s, tokenizer %s:"):format(template_name, tokenizer_name), function()
      for shape, question in pairs(questions) do
        local ids, wrong, kind = encode.prompt(tok, template, question)
        if not ids and kind == "template" then
          it(shape .. " is left out by all of them, with the reason", function()
            local function told(fn, row)
              local counts = fn(tok, template, { row }, LONGEST).counts
              assert.are.same({ 1, 0 }, { counts.rows, counts.used })
              return counts.first["the template cannot write it"]
            end
            local ranking = merged(question, { completions = { "a", "b" }, ranks = { 1, 2 } })
            assert.are.equal("prompt 1: " .. wrong, told(data.prompts, question))
            assert.are.equal("ranking 1: " .. wrong, told(data.ranked, ranking))
            local example = merged(question, { completion = "a" })
            assert.are.equal("example 1: " .. wrong, told(data.examples, example))
          end)
        elseif not ids then
          it(shape .. " is refused by all of them, with the row", function()
            local function refusal(fn, row)
              local ok, message = pcall(fn, tok, template, { row }, LONGEST)
              assert.is_false(ok)
              return message
            end
            local ranking = merged(question, { completions = { "a", "b" }, ranks = { 1, 2 } })
            assert.are.equal("prompt row 1: " .. wrong, refusal(data.prompts, question))
            assert.are.equal("ranking row 1: " .. wrong, refusal(data.ranked, ranking))
            assert.are.equal(
              "example row 1: " .. wrong,
              refusal(data.examples, merged(question, { completion = "a" }))
            )
          end)
        else
          for _, finished in ipairs { true, false } do
            it(("%s, %s"):format(shape, finished and "finished" or "cut"), function()
              local scope <close> = pl.scope("encoder_spec")
              local of = consumers(tok, template, question, "abc a", finished)
              local stop = encode.stop_id(tok, template)

              -- the same tokens in all of them, the answer's own included
              assert.are.same(of.whole, of.sft.sequences[1])
              assert.are.same(of.whole, of.sft.sequences[2])
              assert.are.same(of.whole, of.ranked[1].sequences[1])
              assert.are.same(of.whole, of.roll.parts[1].batch.tokens:totable())

              -- the end token is there when the answer was finished; nothing stands behind it
              assert.are.equal(finished, of.whole[#of.whole] == stop)
              for t = #of.prompt + 1, #of.whole - 1 do
                assert.are_not.equal(stop, of.whole[t])
              end

              -- the whole answer is trained, and is what PPO learns from
              local mask = of.sft.masks[1]
              assert.are.equal(#of.whole, #mask)
              for t = #of.prompt + 1, #of.whole do
                assert.are.equal(1, mask[t])
              end
              assert.are.equal(0, mask[1])
              assert.is_true(of.sft.sequences[1][1] ~= of.whole[#of.prompt + 1] or #of.prompt > 0)
              local at = of.roll.parts[1].at
              assert.are.same(of.answer, at.targets:totable())

              -- one score, read at the last token of the answer
              local score = of.scores.ppo[1]
              assert.are.equal(score, of.values[#of.whole])
              assert.are.equal(score, of.scores.demonstrations[1])
              assert.are.equal(score, of.scores.demonstrations[2])
              assert.are.equal(score, of.scores.rankings[1])
              local rows = at.rows:totable()
              assert.are.equal(#of.prompt - 1, rows[1])
              assert.are.equal(#of.whole - 2, rows[#rows])
            end)
          end

          it(shape .. ", an answer cut at max_length is not trained to end there", function()
            local turns = question.messages -- those before the last go first
            local asked = turns and { messages = { turns[#turns] } } or question
            if turns and template == numbered then
              return -- whose turns are longer or shorter by their place
            end
            local row = merged(question, { completion = "abc a abc a" })
            local length = #encode.prompt(tok, template, asked) + 2
            if length > #ids + 2 then
              return -- the template says more where it is told less
            end
            local sft = data.examples(tok, template, { row }, length)
            assert.are.equal(1, sft.counts.changed["answers cut at the end"])
            local ended = { encode.stop_id(tok, template), sft.sequences[1][#sft.sequences[1]] }
            assert.are_not.equal(ended[1], ended[2])
            assert.are.equal(1, sft.masks[1][#sft.sequences[1]])
            if asked == question then
              local whole = data.examples(tok, template, { row }, LONGEST).sequences[1]
              assert.are.same(table.move(whole, 1, length, 1, {}), sft.sequences[1])
            end
          end)
        end
      end
    end)
  end
end

describe("what stands before an answer", function()
  it(
    "begins with the beginning token in all recipes, whether or not the tokenizer adds it",
    function()
      local tok = tokenizers["byte-level with bos"]
      assert.is_false(tok.adds_bos)
      local row = { prompt = "ab", completion = "a" }
      assert.are.equal(tok.bos_id, data.examples(tok, nil, { row }, 50).sequences[1][1])
      assert.are.equal(tok.bos_id, data.prompts(tok, nil, { row }, 50)[1].tokens[1])
    end
  )

  it(
    "is the beginning token alone for an empty prompt, and the answer a text of its own",
    function()
      local tok = tokenizers["sentencepiece, adds_bos"]
      local sft = data.examples(tok, nil, { { prompt = "", completion = "abb" } }, 50)
      assert.are.same({ 1, 264, 260, 2 }, sft.sequences[1]) -- "▁ab", "b"
      assert.are.same({ 0, 1, 1, 1 }, sft.masks[1])
      local behind = data.examples(tok, nil, { { prompt = "a", completion = "abb" } }, 50)
      assert.are.same({ 1, 262, 263, 260, 2 }, behind.sequences[1]) -- "▁a", "ab", "b"
    end
  )
end)

describe("an answer's own token ids", function()
  local tok = tokenizers["byte-level with bos"]

  it("are those of the vocabulary, or an error with the row", function()
    for _, id in ipairs { #tok, -1, 1.5, "1" } do
      local ok, message = pcall(data.examples, tok, nil, {
        { prompt = "a", completion = "b" },
        { prompt_tokens = { 1 }, completion_tokens = { id } },
      }, 20)
      assert.is_false(ok)
      assert.are.equal(
        (
          "example row 2: `completion_tokens`: number 1 is %s; this tokenizer's ids "
          .. "are 0 to %d"
        ):format(id, #tok - 1),
        message
      )
    end
    local ok, message = pcall(data.prompts, tok, nil, { { prompt_tokens = { 1, #tok } } }, 20)
    assert.is_false(ok)
    assert.matches("prompt row 1: `prompt_tokens`: number 2", message, 1, true)
  end)

  it("are cut like others", function()
    local long = {}
    for i = 1, 40 do
      long[i] = 70
    end
    local sft =
      data.examples(tok, nil, { { prompt_tokens = { 0, 70 }, completion_tokens = long } }, 12)
    assert.are.equal(12, #sft.sequences[1])
    assert.are.same({ ["answers cut at the end"] = 1 }, sft.counts.changed)
    local ranked = data.ranked(
      tok,
      nil,
      { { prompt_tokens = { 0, 70 }, completion_tokens = { long, { 70 } }, ranks = { 1, 2 } } },
      12
    )
    assert.are.same({ ["too long"] = 1 }, ranked.counts.left_out)
  end)

  it("get their end token when they were finished and have none", function()
    local row = { prompt_tokens = { 0 }, completion_tokens = { 70 }, finish_reason = "stop" }
    assert.are.same({ 0, 70, tok.eos_id }, data.examples(tok, nil, { row }, 9).sequences[1])
    row.finish_reason = "length"
    assert.are.same({ 0, 70 }, data.examples(tok, nil, { row }, 9).sequences[1])
    row.finish_reason = nil
    assert.are.same({ 0, 70 }, data.examples(tok, nil, { row }, 9).sequences[1])
  end)

  it("of another tokenizer are not taken: its text is", function()
    local row = {
      prompt = "ab",
      completions = { "a", "b" },
      ranks = { 1, 2 },
      completion_tokens = { { 3, 3 }, { 4, 4 } },
      tokenizer = "another",
    }
    local text = data.ranked(tok, nil, {
      { prompt = "ab", completions = { "a", "b" }, ranks = { 1, 2 } },
    })
    assert.are.same(text[1].sequences, data.ranked(tok, nil, { row })[1].sequences)
    row.tokenizer = tok:fingerprint()
    local ids = data.ranked(tok, nil, { row })[1].sequences[1]
    assert.are.same({ 3, 3 }, { ids[#ids - 1], ids[#ids] })
  end)
end)

describe("the template of a model", function()
  local tok

  before_each(function() tok = trained("bytelevel", "<|begin|>") end)

  local function saved_and_loaded()
    local folder = scratch.folder()
    assert(tok:save(folder))
    return assert(pl.tokenizer.load(folder))
  end

  local function chosen(name, of)
    local text, ok, template = said(data.template, name, of)
    assert.is_true(ok)
    return template, text
  end

  it("is saved with it and taken by itself", function()
    for name, given in pairs(templates) do
      if name ~= "numbered" and not (given and given.program) then
        chosen(name, tok)
        local template, text = chosen("auto", saved_and_loaded())
        assert.are.equal("", text)
        assert.are.equal(
          chat.description.identity(tok, given or nil),
          chat.description.identity(tok, template)
        )
        tok.template = nil
      end
    end
    local own = chat.plain_template { user = "<|system|>", system = "<|user|>" }
    own.bos = true
    chosen(own, tok)
    local template = chosen("auto", saved_and_loaded())
    assert.are.equal(chat.description.identity(tok, own), chat.description.identity(tok, template))
  end)

  it("that is a function is said to be missing, and known when it is given again", function()
    chosen(numbered, tok)
    local template, text = chosen("auto", saved_and_loaded())
    assert.is_nil(template)
    assert.are.equal(
      "  warning: the model's template cannot be used: it is 'numbered', a Lua function, of which "
        .. "a folder keeps no code. None is taken: prompts are plain text. Name another with "
        .. "--template, or give the template itself to data.template in a recipe of yours\n",
      text
    )
    template, text = chosen(numbered, saved_and_loaded())
    assert.are.equal(numbered, template)
    assert.are.equal("", text)
    local other = { name = "numbered", turn = function(m) return chat.plain[m.role] end }
    text = select(2, chosen(other, saved_and_loaded()))
    assert.matches(
      "template numbered was asked for, but the model's own is another (it is",
      text,
      1,
      true
    )
  end)

  it("is none where a model has none", function()
    local template, text = chosen("auto", tok)
    assert.is_nil(template)
    assert.are.equal("", text)
  end)

  it("is the Jinja text of another program, run as it stands", function()
    tok.chat_template = "{% for m in messages %}<|im_start|>{{ m.role }}:{{ m.content }}<|im_end|>"
      .. "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant:{% endif %}"
    local template, text = chosen("auto", tok)
    assert.are.equal("", text)
    local ids = encode.example(tok, template, { prompt = "ab", completion = "abc" })
    assert.are.equal(
      "<|im_start|>user:ab<|im_end|><|im_start|>assistant:abc<|im_end|>",
      tok:decode(ids)
    )
    assert.are.equal(tok:id("<|im_end|>"), encode.stop_id(tok, template))
  end)

  it("is none, with a warning, where its Jinja text cannot be used", function()
    for jinja, wrong in pairs {
      ["{{ '[INST]' }}"] = "writes no token of this tokenizer behind an answer",
      ["{% if x %}"] = "chat_template:1: the block that begins here has no 'elif'",
      ["{% include 'x' %}"] = "chat_template:1: 'include' would read another template",
    } do
      tok.chat_template = jinja
      local template, text = chosen("auto", tok)
      assert.is_nil(template)
      assert.matches(wrong, text, 1, true)
    end
  end)

  it("is a file, or a further one of the model, when it is named", function()
    local path = scratch.folder() .. "/own.jinja"
    local jinja = "{% for m in messages %}<|user|>{{ m.content }}<|end|>{% endfor %}"
    scratch.write(path, jinja)
    local template = chosen(path, tok)
    assert.are.equal(jinja, template.jinja)
    assert.are.equal(jinja, saved_and_loaded().chat_template)
    assert.is_nil(saved_and_loaded().template)
    tok.chat_templates = { short = jinja }
    local again = saved_and_loaded()
    assert.are.same({ short = jinja }, again.chat_templates)
    assert.are.equal(jinja, (chosen("short", again)).jinja)
  end)

  it("given otherwise is a warning with both names", function()
    chosen("chatml", tok)
    local template, text = chosen("plain", saved_and_loaded())
    assert.are.equal(chat.plain, template)
    assert.matches("template plain was asked for, but the model's own is chatml", text, 1, true)
    template, text = chosen("chatml", saved_and_loaded())
    assert.are.equal(chat.chatml, template)
    assert.are.equal("", text)
  end)

  it("is never run: a file that says anything else is refused", function()
    for _, bad in ipairs {
      '{"name":"x","assistant":"os.exit()"}',
      '{"name":"x"}',
      "[1]",
      '{"name":"x","assistant":[{"content":true}]}',
      '{"name":"x","assistant":[{"run":"y"}]}',
    } do
      local folder = scratch.folder()
      assert(tok:save(folder))
      scratch.write(folder .. "/perilune_template.json", bad)
      local template, text = chosen("auto", assert(pl.tokenizer.load(folder)))
      assert.is_nil(template)
      assert.matches("the model's template cannot be used", text, 1, true)
    end
    local folder = scratch.folder()
    assert(tok:save(folder))
    scratch.write(folder .. "/perilune_template.json", "{")
    local none, message = pl.tokenizer.load(folder)
    assert.is_nil(none)
    assert.matches("perilune_template.json", message, 1, true)
  end)
end)

describe("rows of each form", function()
  local tok = tokenizers["byte-level with bos"]

  local function shown(template, row, max_length)
    local ids, mask, info = encode.example(tok, template, row, max_length)
    return ids and chat.show(tok, ids, mask) or mask, info
  end

  it("go through one door", function()
    local talk = { user("ab"), assistant("cde"), user("f"), assistant("gh") }
    local text = "<|user|>ab<|end|><|assistant|>⟦cde<|end|>⟧<|user|>f<|end|><|assistant|>"
      .. "⟦gh<|end|>⟧"
    assert.are.equal(text, shown(chat.plain, { messages = talk }))
    assert.are.equal(
      text,
      shown(chat.plain, { messages = { talk[1], talk[2], talk[3] }, completion = "gh" })
    )
    assert.are.equal(
      "<|user|>ab<|end|><|assistant|>cde<|end|><|user|>f<|end|><|assistant|>" .. "⟦gh<|end|>⟧",
      shown(chat.plain, { prompt = { talk[1], talk[2], talk[3] }, completion = { talk[4] } })
    )
    assert.are.equal(
      "<|user|>ab<|end|><|assistant|>⟦cd<|end|>⟧",
      shown(chat.plain, { prompt = "ab", completion = "cd" })
    )
    assert.are.equal("<|begin|>ab⟦cd<|eos|>⟧", shown(nil, { prompt = "ab", completion = "cd" }))
    assert.are.equal("<|begin|>⟦cd<|eos|>⟧", shown(nil, { text = "cd" }))
    local _, info = shown(chat.plain, { messages = { talk[1], talk[2], talk[3] } })
    assert.are.equal(1, info.behind)
  end)

  it("are refused with what is wrong", function()
    local function wrong(template, row) return (shown(template, row)) end
    assert.are.equal(
      "no assistant message: nothing would be trained",
      wrong(chat.plain, { messages = { user("a") } })
    )
    assert.are.equal("messages is empty", wrong(chat.plain, { messages = {} }))
    assert.are.equal(
      "the first message is the assistant's: nothing stands before the answer",
      wrong(chat.plain, { messages = { assistant("a") } })
    )
    assert.are.equal("the completion is empty", wrong(nil, { prompt = "a", completion = "" }))
    assert.are.equal("neither messages nor prompt and completion", wrong(nil, { prompt = "a" }))
    assert.are.equal(
      "completion is a number; it must be text",
      wrong(nil, { prompt = "a", completion = 5 })
    )
    assert.are.equal(
      "messages want a template: set `template`",
      wrong(nil, { messages = { user("a"), assistant("b") } })
    )
  end)

  it("lose their end, and the end token with it, when they are too long", function()
    local row = { prompt = "ab", completion = "cdef" }
    assert.are.equal("<|begin|>ab⟦cdef⟧", (shown(nil, row, 6))) -- only the end token is missing
    local text, info = shown(nil, row, 4)
    assert.are.equal("<|begin|>ab⟦cd⟧", text)
    assert.are.equal(3, info.cut)
    text, info = shown(nil, row, 2)
    assert.are.equal("the prompt has 2 tokens: max_length 2 leaves no place for an answer", text)
    assert.are.equal("length", info)
  end)
end)
