local json = require("perilune.base.json")
local llama2c = dofile("tests/lua/support/llama2c.lua")
local scratch = dofile("tests/lua/support/scratch.lua")
local tokenizer = require("perilune.model.tokenizer")

local DATA = "../shared/data/"
local CORPUS = ("the moon goes round the earth, and the earth goes round the sun.\n"):rep(20)

local read, there = scratch.read, scratch.there

after_each(scratch.clean)

local function small(opts)
  local all = {
    texts = { CORPUS },
    vocab_size = 300,
    special = { "<|end|>", "<|user|>", "<|pad|>" },
    eos = "<|end|>",
    pad = "<|pad|>",
  }
  for key, value in pairs(opts or {}) do
    all[key] = value
  end
  return tokenizer.train(all)
end

describe("a pattern that backtracks without end", function()
  it("gives up with an error, and the tokenizer goes on", function()
    local folder = scratch.folder()
    scratch.write(
      folder .. "/tokenizer.json",
      json.encode {
        version = "1.0",
        model = { type = "BPE", vocab = { a = 0, b = 1, c = 2 }, merges = json.array {} },
        pre_tokenizer = {
          type = "Split",
          pattern = { Regex = "(?:a|a|aa)+[bd]" },
          behavior = "Isolated",
          invert = false,
        },
      }
    )
    local tok = assert(tokenizer.load(folder))
    local ok, message = pcall(tok.encode, tok, ("a"):rep(1000) .. "c")
    assert.is_false(ok)
    local text = "encode: a pattern of the tokenizer gave up 0 bytes into a text of 1001: "
      .. "match limit exceeded"
    assert.is_truthy(message:find(text, 1, true), message)
    assert.are.same({ 0, 0, 1, 2 }, tok:encode("aabc"))
  end)
end)

describe("a saved tokenizer", function()
  local function loaded(model)
    local folder = scratch.folder()
    scratch.write(folder .. "/tokenizer.json", json.encode { version = "1.0", model = model })
    return assert(tokenizer.load(folder)), folder
  end

  it("has merges as pairs where a part holds a space, as its load has them", function()
    local tok, folder = loaded {
      type = "BPE",
      vocab = { ["<unk>"] = 0, [" "] = 1, a = 2, [" a"] = 3, ["a a"] = 4 },
      merges = { { " ", "a" }, { "a", " a" } },
      unk_token = "<unk>",
    }
    assert(tok:save(folder))
    assert.are.same(
      { { " ", "a" }, { "a", " a" } },
      json.decode(read(folder .. "/tokenizer.json")).model.merges
    )
    assert.are.same(tok:encode("a a"), assert(tokenizer.load(folder)):encode("a a"))
  end)

  it("of SentencePiece pieces gives a piece with a bare space no part in merges", function()
    local function piece(name, score, kind)
      local body = string.pack("<Bs1Bf", 0x0A, name, 0x15, score) .. "\x18" .. string.char(kind)
      return "\x0A" .. string.pack("s1", body)
    end
    local folder = scratch.folder()
    scratch.write(
      folder .. "/tokenizer.model",
      piece("<unk>", 0, 2)
        .. piece("<s>", 0, 3)
        .. piece("</s>", 0, 3)
        .. piece("a", -1, 1)
        .. piece(" ", -2, 1)
        .. piece("▁", -3, 1)
        .. piece("▁a", -0.5, 1)
        .. piece(" a", -0.25, 1)
        .. "\x12\x02\x18\x02" -- trainer: BPE
    )
    local tok = assert(tokenizer.load(folder))
    assert.are.same({ 6, 6 }, tok:encode("a a"))
    assert(tok:save(folder))
    os.remove(folder .. "/tokenizer.model")
    assert.are.same({ 6, 6 }, assert(tokenizer.load(folder)):encode("a a"))
    assert.are.same({ "▁ a" }, json.decode(read(folder .. "/tokenizer.json")).model.merges)
  end)

  it("is refused when a token that its configuration names holds a NUL", function()
    local tok, folder = loaded {
      type = "Unigram",
      vocab = { { "a\0", -1 }, { "b", -2 } },
      unk_id = 0,
    }
    local ok, message = tok:save(folder)
    assert.is_nil(ok)
    assert.matches("token 0 is not UTF-8 text", message, 1, true)
  end)
end)

describe("a trained tokenizer", function()
  it("has its special tokens first and knows their parts", function()
    local tok = small()
    assert.are.equal("bytelevel", tok.kind)
    assert.are.equal(tok.size, #tok)
    assert.are.equal(0, tok.eos_id)
    assert.are.equal(2, tok.pad_id)
    assert.is_nil(tok.bos_id)
    assert.are.equal("<|user|>", tok:token(1))
    assert.are.equal(1, tok:id("<|user|>"))
    assert.is_nil(tok:id("no such token"))
    assert.is_nil(tok:token(99999))
    assert.are.equal(" the", tok:bytes(tok:id(" the")))
    assert.are.equal("Ġthe", tok:token(tok:id(" the")))
    assert.are.equal(("tokenizer (bytelevel, %d tokens)"):format(#tok), tostring(tok))
  end)

  it("gives any bytes back", function()
    local tok = small()
    for _, text in ipairs { "", CORPUS, "\0\255\r\n", "日本語 🦙", " lead", "<|end|>" } do
      assert.are.equal(text, tok:decode(tok:encode(text)))
    end
  end)

  it("takes control tokens from text only when told to", function()
    local tok = small()
    for _, id in ipairs(tok:encode("<|user|>the moon<|end|>")) do
      assert.is_false(tok:is_control(id))
    end
    local ids = tok:encode("<|user|>the moon<|end|>", { special = true, eos = true })
    assert.are.equal(1, ids[1])
    assert.are.equal(0, ids[#ids])
    assert.are_not.equal(0, ids[#ids - 1]) -- one end is enough
    assert.are.equal("the moon", tok:decode(ids, { skip_special = true }))
  end)

  it("looks for no control token in guarded stretches, nor for one that reaches in", function()
    local tok = small { special = { "<|end|>", "<|end|>\n", "<|user|>", "<|pad|>" } }
    local text = "<|user|>the <|end|> moon<|end|>\n"
    local function guard(...) return tok:encode(text, { special = true, guarded = { ... } }) end
    local function count(ids, id)
      local n = 0
      for _, other in ipairs(ids) do
        n = n + (other == id and 1 or 0)
      end
      return n
    end
    local first, last = text:find("the <|end|> moon", 1, true)
    local ids = guard(first, last)
    assert.are.same({ 2, 1 }, { ids[1], ids[#ids] })
    assert.are.equal(0, count(ids, 0))
    assert.are.equal(text, tok:decode(ids))
    -- words go on over a border: "the" is one token wherever the guard begins or ends
    assert.are.same(ids, guard(first, first, first + 1, last))
    assert.are.same(ids, guard(first, first + 5, first + 6, last))
    assert.are.same(ids, guard(first, first + 8, last, last))
    -- the longer of two tokens reaches into the guard, the shorter does not
    ids = guard(first, last, #text, #text)
    assert.are.same({ 2, 0 }, { ids[1], ids[#ids - 1] })
    assert.are.same(tok:encode(text, { special = true }), guard())
    assert.are.same(tok:encode(text, { special = true }), guard(3, 2))
    assert.are.same(tok:encode(text), guard(1, #text))
    assert.error_matches(function() guard(4, 9, 9, 12) end, "span 2 is bytes 8 to 12")
    assert.error_matches(function() guard(1) end, "must be a list {first, last")
    assert.error_matches(function() guard(1, #text + 1) end, "item 2 is no byte of a text of 32")
  end)

  it("does not depend on anything but its texts and options", function()
    local folder = scratch.folder()
    assert.is_true(small():save(folder))
    local first = read(folder .. "/tokenizer.json")
    assert.is_true(small():save(folder))
    assert.are.equal(first, read(folder .. "/tokenizer.json"))
  end)

  it("saved and loaded gives the same ids, and carries its chat template", function()
    local folder = scratch.folder()
    local tok = small()
    assert.is_true(tok:save(folder, { chat_template = "{{ 'x' }}" }))
    local again = assert(tokenizer.load(folder))
    assert.are.same(tok:encode(CORPUS), again:encode(CORPUS))
    assert.are.equal("{{ 'x' }}", again.chat_template)
    assert.are.equal(0, again.eos_id)
    assert.is_true(again:is_control(0))
    local config = json.decode(read(folder .. "/tokenizer_config.json"))
    assert.are.equal("<|end|>", config.eos_token)
    assert.are.equal("PreTrainedTokenizerFast", config.tokenizer_class)
  end)

  it("of words has the most frequent ones and joins them by spaces", function()
    local tok = small { kind = "word", vocab_size = 8 }
    assert.are.equal("<unk>", tok:token(tok.unk_id))
    assert.are.equal("the", tok:token(4)) -- behind three special ones and <unk>
    local ids = tok:encode(" the\n moon   the ")
    assert.are.same({ 4, tok.unk_id, 4 }, ids)
    assert.are.equal("the <unk> the", tok:decode(ids))
    assert.are.same({ tok.unk_id }, tok:encode("<|end|>"))
  end)

  it("refuses what it cannot do", function()
    assert.has_error(function() tokenizer.train { vocab_size = 300 } end)
    assert.error_matches(function() small { vocab_size = 100 } end, "below 3 special tokens")
    assert.error_matches(function() small { kind = "words" } end, "did you mean 'word'")
    assert.error_matches(function() small { vocabsize = 1 } end, "did you mean 'vocab_size'")
    assert.error_matches(function() small { texts = { "a", 2 } } end, "item 2 is a number")
    assert.error_matches(function() small { eos = "<x>" } end, "not among the special tokens")
    assert.error_matches(function() small():encode("a", { bos = true }) end, "no beginning token")
    assert.error_matches(function() small():encode("a", { specials = true }) end, "'special'")
    assert.error_matches(
      function() small():decode { 1, 2.5 } end,
      "decode: ids: item 2 is 2.5, not an integer"
    )
    assert.error_matches(function() small():set_special { eos = "<x>" } end, "no token '<x>'")
  end)

  it("lets its end token be named later", function()
    local tok = small()
    tok:set_special { eos = "<|user|>" }
    assert.are.equal(1, tok.eos_id)
    assert.are.equal(2, tok.pad_id)
    local ids = tok:encode("a", { eos = true })
    assert.are.equal(1, ids[#ids])
  end)

  it("gives the bytes that each id stands for", function()
    local tok = small { bos = "<|user|>" }
    local text = "é the<|end|>"
    local ids, spans = tok:encode(text, { special = true, bos = true, eos = true, spans = true })
    assert.are.same({ 1, tok:id("\xC3"), tok:id("\xA9"), tok:id(" the"), 0 }, ids)
    assert.are.same({ 1, 0, 1, 1, 2, 2, 3, 6, 7, 13 }, spans)
    assert.are.same({}, (select(2, tok:encode("", { spans = true }))))
    local folder = scratch.folder()
    llama2c.write(folder)
    tok = assert(tokenizer.load(folder))
    ids, spans = tok:encode("abb é", { spans = true, eos = true })
    assert.are.same({ 264, 260, 259 + 2, 195 + 3, 169 + 3, 2 }, ids)
    assert.are.same({ 1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 6 }, spans)
  end)

  it("knows every end that its folder names, and keeps them", function()
    local folder = scratch.folder()
    local tok = small()
    assert.are.same({ 0 }, tok.end_ids)
    assert(tok:save(folder))
    scratch.write(
      folder .. "/generation_config.json",
      '{"eos_token_id": [1, 0, 99999], "top_k": 3}'
    )
    tok = assert(tokenizer.load(folder))
    assert.are.same({ 0, 1 }, tok.end_ids)
    assert(tok:save(folder))
    local config = json.decode(read(folder .. "/generation_config.json"))
    assert.are.same({ { 0, 1 }, 3 }, { config.eos_token_id, config.top_k })
    tok:set_special { eos = "<|pad|>" }
    assert.are.same({ 2, 1 }, tok.end_ids)
    for text, message in pairs {
      ["{"] = "generation_config.json: ",
      ['{"eos_token_id": "x"}'] = "'eos_token_id' holds x, which is no token id",
      ['{"eos_token_id": [1.5]}'] = "'eos_token_id' holds 1.5, which is no token id",
    } do
      scratch.write(folder .. "/generation_config.json", text)
      local again, why = tokenizer.load(folder)
      assert.is_nil(again)
      assert.matches(message, why, 1, true)
    end
  end)

  it("reads ids from an int32 tensor as well", function()
    local core = require("perilune.core")
    local tok = small()
    assert.are.equal("the sun", tok:decode(core.tensor(tok:encode("the sun"), "int32")))
  end)
end)

describe("a stream", function()
  it("holds back unfinished characters", function()
    local tok = small { texts = { "" }, vocab_size = 259 }
    local stream, out = tok:stream(), {}
    for _, id in ipairs(tok:encode("é🦙!")) do
      out[#out + 1] = stream:push(id)
    end
    assert.are.same({ "", "é", "", "", "", "🦙", "!" }, out)
    assert.are.equal("", stream:finish())
    stream:push(tok:encode("é")[1])
    assert.are.equal("\xC3", stream:finish())
  end)

  it("outlives the variable that held its tokenizer", function()
    local ids = small():encode("the moon")
    local stream = small():stream { skip_special = true }
    collectgarbage()
    collectgarbage()
    local text = stream:push(0)
    for _, id in ipairs(ids) do
      text = text .. stream:push(id)
    end
    assert.are.equal("the moon", text)
  end)
end)

describe("loading", function()
  it("says what is wrong with a file", function()
    local tok, message = tokenizer.load("no/such/folder")
    assert.is_nil(tok)
    assert.matches("no/such/folder", message, 1, true)
    local folder = scratch.folder()
    tok, message = tokenizer.load(folder)
    assert.is_nil(tok)
    assert.matches("looked for tokenizer.json", message, 1, true)
    local file = assert(io.open(folder .. "/tokenizer.json", "w"))
    file:write('{"model": {"type": "Rwkv"}}')
    file:close()
    tok, message = tokenizer.load(folder)
    assert.is_nil(tok)
    assert.matches("the model type is 'Rwkv'", message, 1, true)
  end)

  it("reads a llama2.c model's tokenizer", function()
    local folder = scratch.folder()
    llama2c.write(folder)
    for _, path in ipairs { folder, folder .. "/tok266.bin" } do
      local tok = assert(tokenizer.load(path))
      assert.are.equal(266, #tok)
      -- " abb": " a" (-4) and "ab" (-5) before " ab" (-6), which then joins
      assert.are.same({ 1, 264, 260 }, tok:encode("abb", { bos = true }))
      assert.are.equal("abb", tok:decode({ 1, 264, 260 }, { skip_special = true }))
      assert.are.same({ 265, 260 }, tok:encode("bbb", { continued = true }))
      assert.are.same({ 195 + 3, 169 + 3 }, tok:encode("é", { continued = true }))
      assert.is_true(tok.adds_bos)
    end
  end)

  it("reads the stories model's tokenizer", function()
    if not there(DATA .. "models/stories260K") then
      pending("../shared/data/models/stories260K is absent")
      return
    end
    local tok = assert(tokenizer.load(DATA .. "models/stories260K"))
    local ids = tok:encode("Once upon a time", { bos = true })
    assert.are.same({ 1, 403, 407, 261, 378 }, ids)
    assert.are.equal("Once upon a time", tok:decode(ids, { skip_special = true }))
    assert.are.same({ 407, 261 }, tok:encode(" upon a", { continued = true }))
    assert.is_true(tok.adds_bos)
  end)

  it("reads Qwen's with its chat template", function()
    if not there(DATA .. "tokenizers/qwen3") then
      pending("../shared/data/tokenizers/qwen3 is absent")
      return
    end
    local tok = assert(tokenizer.load(DATA .. "tokenizers/qwen3"))
    assert.are.equal(151669, #tok)
    assert.are.equal(151645, tok.eos_id)
    assert.matches("<|im_start|>", tok.chat_template, 1, true)
    for _, text in ipairs { "<|im_end|>", "<think>", "<tool_call>", "<|fim_prefix|>" } do
      assert.is_true(tok:is_control(tok:id(text)))
      for _, id in ipairs(tok:encode(text)) do
        assert.is_false(tok:is_control(id))
      end
      assert.are.same({ tok:id(text) }, tok:encode(text, { special = true }))
    end
  end)
end)

describe("a GGUF file's tokenizer", function()
  -- "▁a" joins before "ab": its score is higher
  local function sentencepiece(changes)
    local pieces =
      { "<unk>", "<s>", "</s>", "<user>", "\n\n", "a", "b", "▁", "▁a", "ab", "▁ab" }
    local types = { 2, 3, 3, 4, 4, 1, 1, 1, 1, 1, 1 }
    local scores = { 0, 0, 0, -1000, -1000, -5, -6, -7, -1, -2, -3 }
    for byte = 0, 255 do
      pieces[#pieces + 1], types[#types + 1], scores[#scores + 1] =
        ("<0x%02X>"):format(byte), 6, -1000
    end
    local metadata = {
      ["tokenizer.ggml.model"] = "llama",
      ["tokenizer.ggml.tokens"] = pieces,
      ["tokenizer.ggml.token_type"] = types,
      ["tokenizer.ggml.scores"] = scores,
      ["tokenizer.chat_template"] = "{{ 'x' }}",
    }
    for key, value in pairs(changes or {}) do
      metadata["tokenizer.ggml." .. key] = value
    end
    return tokenizer.from_gguf(metadata, "x.gguf")
  end

  local function bytelevel(pre, changes)
    local pieces = { "<|end|>", "a", "b", "1", "2", "Ġ", "ab", "Ġab", "12", "<think>" }
    local metadata = {
      ["tokenizer.ggml.model"] = "gpt2",
      ["tokenizer.ggml.pre"] = pre,
      ["tokenizer.ggml.tokens"] = pieces,
      ["tokenizer.ggml.token_type"] = { 3, 1, 1, 1, 1, 1, 1, 1, 1, 4 },
      ["tokenizer.ggml.merges"] = { "a b", "Ġ ab", "1 2" },
      ["tokenizer.ggml.eos_token_id"] = 0,
      ["tokenizer.ggml.unknown_token_id"] = 0,
    }
    for key, value in pairs(changes or {}) do
      metadata["tokenizer.ggml." .. key] = value
    end
    return tokenizer.from_gguf(metadata, "x.gguf")
  end

  -- the same ids after being saved as tokenizer.json and read again
  local function both(tok, text, opts)
    local folder = scratch.folder()
    assert(tok:save(folder))
    local ids = tok:encode(text, opts)
    assert.are.same(ids, assert(tokenizer.load(folder)):encode(text, opts))
    return ids
  end

  it("of SentencePiece pieces merges by score", function()
    local tok = assert(sentencepiece())
    assert.are.equal("sentencepiece", tok.kind)
    assert.are.same({ 1, 2, 0 }, { tok.bos_id, tok.eos_id, tok.unk_id })
    assert.is_true(tok.adds_bos)
    assert.are.equal("{{ 'x' }}", tok.chat_template)
    assert.are.same({ 10 }, both(tok, "ab"))
    assert.are.same({ 10, 6 }, both(tok, "abb")) -- and no "ab" before it
    assert.are.same({ 9 }, tok:encode("ab", { continued = true }))
    assert.are.same({ 4, 10 }, both(tok, "\n\nab", { continued = true }))
    assert.are.same({ 7, 11 + 0xC3, 11 + 0xA9 }, both(tok, "é"))
    assert.are.same({ 3, 8, 2 }, both(tok, "<user>a</s>", { special = true }))
    tok = assert(sentencepiece { add_space_prefix = false, add_bos_token = false })
    assert.are.same({ 9, 8 }, both(tok, "ab a"))
    assert.is_false(tok.adds_bos)
  end)

  it("of byte-level pieces cuts words as its name says", function()
    assert.are.same({ 6, 7, 8 }, both(assert(bytelevel("gpt-2")), "ab ab12"))
    assert.are.same({ 6, 7, 3, 4 }, both(assert(bytelevel("smollm")), "ab ab12"))
    assert.are.same({ 7, 3, 4 }, both(assert(bytelevel("qwen2")), " ab12"))
    assert.are.same({ 7, 8, 3, 4 }, both(assert(bytelevel("llama-bpe")), " ab1212"))
    assert.are.same({ 7, 8, 4 }, both(assert(bytelevel("deepseek-v3")), " ab122"))
    for _, name in ipairs { "default", "tekken", "gpt-4o", "falcon", "dbrx" } do
      both(assert(bytelevel(name)), " ab12ab 1")
    end
    local tok = assert(bytelevel("llama-bpe", { bos_token_id = 0 }))
    assert.is_true(tok.adds_bos)
    assert.is_false(assert(bytelevel("llama-bpe")).adds_bos) -- it has no beginning token
    assert.are.same({ 9, 0 }, tok:encode("<think><|end|>", { special = true }))
    assert.are.same({ 6 }, tok:encode("\6ab")) -- no token for the byte, and <|end|> is no word
  end)

  it("is refused when its parts are wrong", function()
    local function refused(message, ...)
      local tok, why = ...
      assert.is_nil(tok)
      assert.matches(message, why, 1, true)
    end
    refused("the word cuts 'nobody' (tokenizer.ggml.pre)", bytelevel("nobody"))
    refused("the tokenizer model is 'rwkv'", bytelevel("qwen2", { model = "rwkv" }))
    refused("merge 0, 'ab', is not two", bytelevel("qwen2", { merges = { "ab" } }))
    refused("merge 0, 'a' with 'a'", bytelevel("qwen2", { merges = { "a a" } }))
    refused("the end token is 99", bytelevel("qwen2", { eos_token_id = 99 }))
    refused(
      "piece 3 has the type 7",
      bytelevel("qwen2", {
        token_type = { 3, 1, 1, 7, 1, 1, 1, 1, 1, 1 },
      })
    )
    refused("without scores", sentencepiece { scores = false })
    refused("no tokenizer in it", tokenizer.from_gguf({}, "x.gguf"))
    assert.error_matches(function() sentencepiece { scores = { 1 } } end, "a list of 267 numbers")
  end)
end)
