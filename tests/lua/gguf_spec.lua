--- Models as GGUF files: written and read again with the same bits and ids; files that say what is
-- not implemented.

local files = require("perilune.base.files")
local gguf_write = require("perilune.model.gguf_write")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local toy = dofile("tests/lua/support/toy.lua")

local packed = pl.batch.pack(toy.sequences { 9, 1, 14 })

teardown(scratch.clean)

local function logits(model)
  local guard <close> = pl.no_grad() -- luacheck: ignore
  return model:logits(packed):bytes()
end

local tok = pl.tokenizer.train {
  texts = { ("the cat sat on a mat. "):rep(20) },
  vocab_size = 300,
  special = { "<|bos|>", "<|end|>" },
  bos = "<|bos|>",
  eos = "<|end|>",
  kind = "bytelevel",
}

local function config_of(name, more)
  local config = {}
  for key, value in pairs(toy.configs[name]) do
    config[key] = value
  end
  config.vocab_size = #tok
  for key, value in pairs(more or {}) do
    config[key] = value
  end
  return config
end

local function exported(model, dtype)
  local path = scratch.path() .. ".gguf"
  assert(gguf_write.save(model, tok, path, dtype))
  return path
end

describe("a model in a GGUF file", function()
  local cases = {
    { "llama", config_of("llama") },
    { "gpt2", config_of("gpt2") },
    { "qwen3", config_of("llama", { model_type = "qwen3", head_dim = 6 }) },
    { "qwen2, tied", config_of("llama", { model_type = "qwen2", tie_word_embeddings = true }) },
  }
  for _, case in ipairs(cases) do
    it("has the same bits when it is read again: " .. case[1], function()
      local model = pl.model.new(case[2], { seed = 4 })
      local path = exported(model, "float32")
      local again = assert(pl.model.load(path))
      assert.are.equal(model.config.model_type, again.config.model_type)
      assert.are.equal(logits(model), logits(again))
      assert.are.equal(model:hash(), again:hash())
      os.remove(path)
    end)
  end

  it("keeps its tokenizer: ids, control tokens, word cuts", function()
    local path = exported(pl.model.new(config_of("llama"), { seed = 4 }), "float16")
    local again = assert(pl.tokenizer.load(path))
    for _, text in ipairs { "the cat, on  a\nmat 12 é", "<|end|> the", "" } do
      assert.are.same(tok:encode(text), again:encode(text))
    end
    assert.are.equal(tok.eos_id, again.eos_id)
    assert.are.equal("gpt-2", again.word_cuts)
    local file <close> = assert(files.gguf.open(path))
    local _, info = file:names()
    assert.are.equal("F16", info["blk.0.attn_q.weight"].stored)
    assert.are.equal("F32", info["output_norm.weight"].stored)
    os.remove(path)
  end)

  it("may be named by its folder, with its tokenizer, unless there are two", function()
    local model = pl.model.new(config_of("llama"), { seed = 4 })
    local path, folder = exported(model, "float32"), scratch.folder()
    local text = assert(files.read(path))
    scratch.write(folder .. "/one.gguf", text)
    assert.equal(logits(assert(pl.load(path))), logits(assert(pl.load(folder))))
    local own, beside = assert(pl.tokenizer.load(path)), assert(pl.tokenizer.load(folder))
    assert.equal(own:fingerprint(), beside:fingerprint())
    scratch.write(folder .. "/another.gguf", text)
    local none, message = pl.load(folder)
    assert.is_nil(none)
    assert.equal(folder .. " holds 2 models, another.gguf, one.gguf: give the path of one", message)
    local part = scratch.write(folder .. "/one.gguf.part00", text)
    none, message = pl.load(part)
    assert.is_nil(none)
    assert.matches(
      "part00 is a file: a model is a folder with a config.json, a .gguf",
      message,
      1,
      true
    )
  end)

  it("is refused in words where it asks for what is not implemented", function()
    local function refused(fields, why)
      local path = scratch.path() .. ".gguf"
      assert(files.gguf.save(path, fields, { ["token_embd.weight"] = pl.zeros { 4, 4 } }))
      local model, message = pl.model.load(path)
      assert.is_nil(model)
      assert.is_truthy(message:find(why, 1, true), message)
      os.remove(path)
    end
    local arch = { "general.architecture", "text", "llama" }
    refused({}, "the entry general.architecture is missing")
    refused(
      { { "general.architecture", "text", "mamba" } },
      "general.architecture is 'mamba'; known"
    )
    refused({ arch, { "split.count", "u32", 2 } }, "one of 2 parts of a model")
    refused({ arch, { "llama.expert_count", "u32", 8 } }, "'llama.expert_count' is 8: what it")
    refused({ arch }, "llama.embedding_length or llama.attention.head_count is missing")
    refused(
      { arch, { "llama.attention.head_count", "u32", { 1, 2 } } },
      "is a list: what it changes"
    )
    refused({
      arch,
      { "llama.attention.head_count", "u32", 2 },
      { "llama.embedding_length", "u32", 4 },
      { "llama.vocab_size", "u32", 5 },
    }, "llama.vocab_size is 5, and it can only be 4")
  end)

  -- A file as llama.cpp writes it: the entries and tensors of a model, and more.
  local function with_factors(model, fields, factors)
    local path, tensors = exported(model, "float32"), {}
    local file <close> = assert(files.gguf.open(path))
    for _, name in ipairs((file:names())) do
      tensors[name] = assert(file:load(name))
    end
    for name, list in pairs(factors) do
      tensors[name] = pl.tensor(list)
    end
    local all = {}
    for i, field in ipairs {
      { "general.architecture", "text", "llama" },
      { "llama.context_length", "u32", 96 },
      { "llama.embedding_length", "u32", 36 },
      { "llama.block_count", "u32", 2 },
      { "llama.feed_forward_length", "u32", 52 },
      { "llama.attention.head_count", "u32", 6 },
      { "llama.attention.head_count_kv", "u32", 2 },
      { "llama.attention.layer_norm_rms_epsilon", "f32", 1e-6 },
      { "llama.rope.freq_base", "f32", 10000.0 },
    } do
      all[i] = field
    end
    local out = scratch.path() .. ".gguf"
    assert(files.gguf.save(out, table.move(fields, 1, #fields, #all + 1, all), tensors))
    return out
  end

  local function furthest(a, b)
    local guard <close> = pl.no_grad() -- luacheck: ignore
    return (a:logits(packed) - b:logits(packed)):abs():max():item()
  end

  -- Of the three frequencies 10000^(-i/3), the first turns 5.1 times in 32 positions and is kept,
  -- the last .01 times and is divided by 8, and the one between stands on the ramp.
  it("divides rotary frequencies by rope_freqs.weight, as the llama3 scaling does", function()
    local scaling = {
      rope_type = "llama3",
      factor = 8.0,
      low_freq_factor = 0.125,
      high_freq_factor = 4.0,
      original_max_position_embeddings = 32,
    }
    local plain = pl.model.new(config_of("llama"), { seed = 4 })
    local scaled = pl.model.new(config_of("llama", { rope_scaling = scaling }), { seed = 4 })
    local factors = {}
    for i = 0, 2 do
      local waves = 32 / (2 * math.pi * 10000 ^ (i / 3))
      local kept = math.max(0, math.min(1, (waves - 0.125) / (4 - 0.125)))
      factors[i + 1] = 1 / ((1 - kept) / 8 + kept)
    end
    assert.are.same({ 1.0, 8.0 }, { factors[1], factors[3] })
    assert.truthy(factors[2] > 1 and factors[2] < 8)
    local path = with_factors(plain, {}, { ["rope_freqs.weight"] = factors })
    local read = assert(pl.model.load(path))
    assert.truthy(furthest(plain, scaled) > 1e-2)
    assert.truthy(furthest(read, scaled) < 1e-5)
    local folder = scratch.path()
    assert(read:save(folder))
    assert.are.equal(logits(read), logits(assert(pl.model.load(folder))))
    local written = assert(pl.model.load(exported(scaled, "float32")))
    assert.are.same(read.config.rope_scaling, written.config.rope_scaling)
    assert.are.equal(logits(read), logits(assert(pl.model.load(exported(read, "float32")))))
  end)

  it("has the rotary settings of older configs, and turned shares of heads", function()
    local again
    for _, kind in ipairs { "linear", "yarn" } do
      local scaled = config_of("llama", { rope_scaling = { type = kind, factor = 2.0 } })
      local model = pl.model.new(scaled, { seed = 4 })
      again = assert(pl.model.load(exported(model, "float32")))
      assert.are.equal(kind, again.config.rope_scaling.rope_type)
      assert.are.equal(logits(model), logits(again))
    end
    local share = { model_type = "phi3", hidden_size = 48, partial_rotary_factor = 0.5 }
    local model = pl.model.new(config_of("llama", share), { seed = 4 })
    again = assert(pl.model.load(exported(model, "float32")))
    assert.are.equal(0.5, again.config.partial_rotary_factor)
    assert.are.equal(logits(model), logits(again))
  end)

  it("is not written with rotary settings that llama.cpp has no place for", function()
    local scaling = {
      rope_type = "llama3",
      factor = 8.0,
      low_freq_factor = 1.0,
      high_freq_factor = 4.0,
      original_max_position_embeddings = 32,
    }
    local config = config_of("llama", { model_type = "qwen2", rope_scaling = scaling })
    local ok, message = gguf_write.save(pl.model.new(config), tok, scratch.path() .. ".gguf")
    assert.is_nil(ok)
    assert.are.equal("rotary positions of the kind 'llama3' cannot be written", message)
  end)

  it("is not written with a YaRN that the file could not tell from the usual one", function()
    local function saved(key, value)
      local scaling = { rope_type = "yarn", factor = 4.0, [key] = value }
      local model = pl.model.new(config_of("llama", { rope_scaling = scaling }), { seed = 4 })
      return gguf_write.save(model, tok, scratch.path() .. ".gguf")
    end
    local odd = { attention_factor = 1.5, beta_fast = 16.0, beta_slow = 2.0, truncate = false }
    for key, value in pairs(odd) do
      local ok, message = saved(key, value)
      assert.is_nil(ok)
      local text = "rotary positions of the kind 'yarn' with '%s' %s cannot be written"
      assert.are.equal(text:format(key, tostring(value)), message)
    end
    assert(saved("beta_fast", 32.0))
    assert(saved("attention_factor", 0.1 * math.log(4.0) + 1))
  end)

  it("takes the short ones of Phi 3's factors, and refuses what does not fit", function()
    local plain = pl.model.new(config_of("llama"), { seed = 4 })
    local scaling = {
      rope_type = "longrope",
      short_factor = { 1.0, 1.5, 2.0 },
      long_factor = { 1.0, 3.0, 9.0 },
      attention_factor = 1.25,
      original_max_position_embeddings = 32,
    }
    local scaled = pl.model.new(config_of("llama", { rope_scaling = scaling }), { seed = 4 })
    local entries = {
      { "llama.rope.scaling.original_context_length", "u32", 32 },
      { "llama.rope.scaling.attn_factor", "f32", 1.25 },
    }
    local short, long = "rope_factors_short.weight", "rope_factors_long.weight"
    local both = { [short] = scaling.short_factor, [long] = scaling.long_factor }
    local read = assert(pl.model.load(with_factors(plain, entries, both)))
    assert.are.equal(logits(scaled), logits(read))
    assert.are.equal(32, read:context())
    local function refused(fields, factors, why)
      local model, message = pl.model.load(with_factors(plain, fields, factors))
      assert.is_nil(model)
      assert.is_truthy(message:find(why, 1, true), message)
    end
    refused({}, { ["rope_freqs.weight"] = { 1, 2 } }, "one number for each of 3 rotary pairs")
    refused({}, { ["rope_freqs.weight"] = { 1, 0, 2 } }, "each value a number from 1e-06")
    refused(entries, { [short] = { 1, 1, 1 } }, "does not go with the other rotary settings")
    refused(entries, {}, "'llama.rope.scaling.attn_factor' is 1.25: what it changes")
    refused({
      { "llama.rope.scaling.type", "text", "linear" },
      { "llama.rope.scaling.factor", "f32", 2.0 },
    }, { ["rope_freqs.weight"] = { 1, 1, 1 } }, "does not go with the other rotary settings")
  end)

  it("is not made of a reward model", function()
    local model = pl.model.new(config_of("llama", { scalar_head = true }))
    local ok, message = gguf_write.save(model, tok, scratch.path() .. ".gguf")
    assert.is_nil(ok)
    assert.are.equal("a reward model has no place in GGUF files", message)
  end)
end)
