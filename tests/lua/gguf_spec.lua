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

  it("is not made of a reward model", function()
    local model = pl.model.new(config_of("llama", { scalar_head = true }))
    local ok, message = gguf_write.save(model, tok, scratch.path() .. ".gguf")
    assert.is_nil(ok)
    assert.are.equal("a reward model has no place in GGUF files", message)
  end)
end)
