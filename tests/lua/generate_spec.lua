--- Where answers end: tokens, strings, length; and that a stop changes nothing before it.

local pl = require("perilune")

local tok, model, greedy

setup(function()
  tok = pl.tokenizer.train {
    texts = { ("the cat sat on a mat. héé, "):rep(20) },
    vocab_size = 300,
    special = { "<|bos|>", "<|end|>" },
    bos = "<|bos|>",
    eos = "<|end|>",
  }
  model = pl.model.new({
    model_type = "llama",
    tie_word_embeddings = true,
    hidden_size = 32,
    num_hidden_layers = 1,
    num_attention_heads = 2,
    intermediate_size = 32,
    vocab_size = #tok,
    max_position_embeddings = 64,
    initializer_range = 0.4,
  }, { seed = 3 })
end)

local function answer(opts)
  opts.max_tokens, opts.seed, opts.samples = 40, 5, 6
  return pl.generate(model, { tok:encode("the cat") }, opts)
end

describe("generation", function()
  it("stops where a string is complete, in any split over tokens", function()
    local free = answer {}
    for i, one in ipairs(free) do
      local text = tok:decode(one.tokens)
      for _, place in ipairs { { 3, 5 }, { 10, 13 }, { 17, 17 } } do
        local stop = text:sub(place[1], place[2])
        local stopped =
          answer({ stop_strings = { "never in any answer", stop }, tokenizer = tok })[i]
        local wanted -- the first token with which the text so far holds the string
        for n = 1, #one.tokens do
          if tok:decode(table.move(one.tokens, 1, n, 1, {})):find(stop, 1, true) then
            wanted = n
            break
          end
        end
        assert.are.same(table.move(one.tokens, 1, wanted, 1, {}), stopped.tokens)
        assert.are.equal("stop_string", stopped.finish_reason)
        for t = 1, wanted do
          assert.are.equal(one.logprobs[t], stopped.logprobs[t])
        end
      end
    end
  end)

  it("has the same bits in lanes of threads, with tokens guessed ahead", function()
    local former = pl.threads()
    local function drawn(threads)
      pl.threads(threads)
      local prompt = tok:encode("the cat sat on a mat. the cat sat on a mat. the")
      local opts = { max_tokens = 20, seed = 5, samples = 12, temperature = 0.1 }
      opts.prompt_lookup_num_tokens = 4
      local answers = pl.generate(model, { prompt }, opts)
      pl.threads(former)
      return answers
    end
    local alone, lanes = drawn(1), drawn(3)
    assert.is_true(alone.drafted > 0)
    assert.are.equal(alone.drafted, lanes.drafted)
    for i, one in ipairs(alone) do
      assert.are.same(one.tokens, lanes[i].tokens)
      assert.are.same(one.logprobs, lanes[i].logprobs)
    end
  end)

  it("stops with a stop token, which belongs to the answer", function()
    greedy = answer { temperature = 0 }
    local stop = greedy[1].tokens[7]
    local first
    for n, id in ipairs(greedy[1].tokens) do
      if id == stop then
        first = n
        break
      end
    end
    local stopped = answer { temperature = 0, stop = { stop } }
    assert.are.same(table.move(greedy[1].tokens, 1, first, 1, {}), stopped[1].tokens)
    assert.are.equal("stop", stopped[1].finish_reason)
    assert.are.equal("length", greedy[1].finish_reason)
  end)

  it("wants a tokenizer for strings", function()
    assert.has_error(
      function() answer { stop_strings = { "x" } } end,
      "stop_strings wants the tokenizer"
    )
  end)
end)

describe("generate where memory holds only a few of the answers", function()
  local config = {
    model_type = "llama",
    vocab_size = 40,
    hidden_size = 32,
    intermediate_size = 48,
    num_hidden_layers = 2,
    num_attention_heads = 4,
    num_key_value_heads = 2,
    max_position_embeddings = 4096,
  }
  local prompts = { { 1, 2, 3 }, { 4 }, { 5, 6 }, { 7, 8 }, { 9, 10, 11, 12 } }

  local function block_bytes(of)
    local bytes = 0
    for _, tensor in ipairs(of:caches(1, 64)) do
      bytes = bytes + tensor:memory()
      tensor:free()
    end
    return bytes
  end

  -- Answers of 3 to `longest` tokens.
  local function answers(of, longest, changes)
    local given = { samples = 12, max_tokens = 4000, seed = 3, temperature = 2 }
    given.ends = function(tokens) return #tokens >= 3 + tokens[1] * (longest - 3) // 39 end
    for name, value in pairs(changes or {}) do
      given[name] = value
    end
    return pl.generate(of, prompts, given)
  end

  local function same(want, got)
    assert.are.equal(60, #got)
    assert.are.same(want.tokens:totable(), got.tokens:totable())
    assert.are.equal(want.logprobs:bytes(), got.logprobs:bytes())
    assert.are.same(want.finish_reasons, got.finish_reasons)
  end

  it("takes what the answers' lengths want, not what they might become", function()
    local want = answers(pl.model.new(config, { seed = 1 }), 3)
    assert.are.equal(60, want.samples * #prompts)
    assert.are.equal(3, want.steps)
    local tight = pl.model.new(config, { seed = 1 })
    local block = block_bytes(tight)
    collectgarbage()
    collectgarbage()
    pl.mem_limit(pl.mem().live + 60 * 4000 * 16 + 200 * block + (1 << 20)) -- results, caches
    local fine, got = pcall(answers, tight, 3)
    pl.mem_limit(0)
    assert.is_true(fine, tostring(got))
    same(want, got)
    assert.are.equal(3, got.steps) -- 60 of 63 blocks each would be 3780
  end)

  it("runs a prompt once for all that are short enough for one block", function()
    local got = answers(pl.model.new(config, { seed = 1 }), 3, { max_tokens = 20, slots = 60 })
    assert.are.equal(12, got.prefill_tokens)
    assert.are.equal(3, got.steps)
  end)

  for _, precision in ipairs { "float32", "bf16" } do
    it("lets answers wait, and gives the same: " .. precision, function()
      local how = { seed = 1, precision = precision }
      local want = answers(pl.model.new(config, how), 300)
      assert.are.equal(0, want.pauses)
      local tight = pl.model.new(config, how)
      local one = 63 * block_bytes(tight) -- 4003 positions
      local got = answers(tight, 300, { cache_memory = one / 2 ^ 20 })
      same(want, got)
      assert.is_true(got.pauses > 0)
      assert.is_true(got.steps > want.steps)
      assert.is_true(got.prefill_tokens > want.prefill_tokens)
      local _, message = pcall(answers, tight, 300, { cache_memory = (one - 1) / 2 ^ 20 })
      assert.is_truthy(
        tostring(message):find(
          "generate: cache_memory of [%d.]+ [KM]iB holds no answer of 4004 tokens with its prompt"
        ),
        message
      )
    end)
  end
end)

describe("weights packed for decoding", function()
  local function live()
    collectgarbage()
    collectgarbage()
    return pl.mem().live
  end

  for _, precision in ipairs { "float32", "bf16" } do
    it("go when training begins, those of a constant model stay: " .. precision, function()
      local config = {
        model_type = "llama",
        vocab_size = 40,
        hidden_size = 64,
        intermediate_size = precision == "bf16" and 4352 or 128, -- there small weights keep theirs
        num_hidden_layers = 2,
        num_attention_heads = 2,
        max_position_embeddings = 64,
      }
      local trained = pl.model.new(config, { seed = 1, precision = precision })
      local constant = trained:copy():freeze()
      local bytes = trained:memory() // (precision == "bf16" and 2 or 1)
      local function train()
        local scope <close> = pl.scope("spec.training")
        pl.loss.lm(trained, { { 1, 2, 3 } }):backward()
        pl.loss.lm(constant, { { 1, 2, 3 } })
      end
      train() -- gradients have their memory now
      for _, one in ipairs { trained, constant } do
        pl.generate(one, { { 1, 2 } }, { max_tokens = 2 })
      end
      local before = live()
      train()
      local freed = before - live()
      assert.is_true(freed > 0.8 * bytes and freed < 1.6 * bytes, freed .. " of " .. bytes)
    end)
  end
end)
