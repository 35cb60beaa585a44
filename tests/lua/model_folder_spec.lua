--- Written model folders: what keeps its bytes, types and parts of weight files, the padding, the
-- bias of a score, the model card.

local json = require("perilune.base.json")
local lfs = require("lfs")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local toy = dofile("tests/lua/support/toy.lua")

local packed = pl.batch.pack(toy.sequences { 9, 1, 14 })
local read, write = scratch.read, scratch.write

teardown(scratch.clean)

-- A llama whose config.json was written by others.
local CONFIG <const> = [[
{
  "_name_or_path": "caf\u00e9\/x",
  "architectures": ["LlamaForCausalLM"],
  "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "attention_dropout": 0.0,
  "model_type": "llama", "vocab_size": 37, "hidden_size": 36, "intermediate_size": 52,
  "num_hidden_layers": 2,   "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 6,
  "max_position_embeddings": 96, "tie_word_embeddings": false, "hidden_act": "silu",
  "initializer_range": 0.300, "rope_scaling": null, "eos_token_id": [2, 3], "pad_token_id": 5,
  "rope_parameters": { "rope_type": "default", "rope_theta": 10000.0 },
  "task_specific_params": {"a": [1e2, 1.50]},
  "torch_dtype": "float32", "dtype": "float32"
}
]]

local function foreign(config, generation)
  local dir = scratch.folder()
  assert(toy.model("llama"):write(dir))
  write(dir .. "/config.json", config)
  if generation then write(dir .. "/generation_config.json", generation) end
  return dir
end

local function control_tokens(...)
  return pl.tokenizer.train {
    texts = { "a b c a b c" },
    vocab_size = 20,
    kind = "word",
    special = { ... },
    eos = (...),
  }
end

local function logits(model)
  local guard <close> = pl.no_grad() -- luacheck: ignore
  return model:logits(packed)
end

describe("config.json", function()
  it("keeps every byte through reading and writing", function()
    local generation = '{ "eos_token_id": [2, 3], "temperature": 0.60 }\n'
    local dir, to = foreign(CONFIG, generation), scratch.path()
    local model = assert(pl.model.load(dir))
    assert(model:save(to))
    assert.are.equal(CONFIG, read(to .. "/config.json"))
    assert.are.equal(generation, read(to .. "/generation_config.json"))
    to = scratch.path()
    assert(model:copy():save(to))
    assert.are.equal(CONFIG, read(to .. "/config.json"))
  end)

  it("changes what must be another, and nothing else", function()
    local dir, to = foreign(CONFIG), scratch.path()
    local model = assert(pl.model.load(dir))
    assert(model:save(to, { save_dtype = "bfloat16" }))
    local expected = CONFIG:gsub('dtype": "float32"', 'dtype": "bfloat16"')
    assert.are.equal(expected, read(to .. "/config.json"))
  end)

  it("has the keys of transformers 4 and 5", function()
    local old = CONFIG:gsub('  "rope_parameters"[^\n]*\n', ""):gsub(', "dtype": "float32"', "")
    local to = scratch.path()
    assert(assert(pl.model.load(foreign(old))):save(to))
    local config = json.decode(read(to .. "/config.json"))
    assert.are.equal(10000.0, config.rope_theta)
    assert.are.equal(10000.0, config.rope_parameters.rope_theta)
    assert.are.equal("float32", config.torch_dtype)
    assert.are.equal("float32", config.dtype)
    assert.is_truthy(read(to .. "/config.json"):find('"initializer_range": 0.300', 1, true))
  end)
end)

describe("weight files", function()
  it("are written in bfloat16 and float16, and in parts", function()
    local model = toy.model("llama")
    for dtype, most in pairs { bfloat16 = 2 ^ -8, float16 = 2 ^ -11 } do
      local to = scratch.path()
      assert(model:save(to, { save_dtype = dtype, max_shard_size = 6000 }))
      assert.is_nil(lfs.attributes(to .. "/model.safetensors"))
      local index = json.decode(read(to .. "/model.safetensors.index.json"))
      assert.are.equal(model:count() * 2, index.metadata.total_size)
      local shards, count = {}, 0
      for _, shard in pairs(index.weight_map) do
        count = count + (shards[shard] and 0 or 1)
        shards[shard] = true
      end
      assert.is_true(count > 3)
      for shard in pairs(shards) do
        assert.is_truthy(shard:match("^model%-%d%d%d%d%d%-of%-" .. ("%05d"):format(count)))
      end
      local again = assert(pl.model.load(to))
      for name, weight in pairs(model.weights) do
        local err = (again.weights[name] - weight):abs():max():item()
        assert.is_true(err <= most * weight:abs():max():item(), name)
      end
      -- once rounded, nothing changes any more
      local twice = scratch.path()
      assert(again:save(twice, { save_dtype = dtype }))
      assert.are.equal(again:hash(), assert(pl.model.load(twice)):hash())
    end
  end)

  it("do not hold what float16 cannot", function()
    local model, to = toy.model("llama"), scratch.path()
    model.weights["model.norm.weight"]:fill_(1e6)
    local saved, message = model:save(to, { save_dtype = "float16" })
    assert.is_nil(saved)
    assert.is_truthy(message:find("'model.norm.weight' as float16", 1, true), message)
    assert.is_nil(lfs.attributes(to))
    assert.has_error(
      function() model:save(to, { save_dtype = "q8_0" }) end,
      'model:save: save_dtype = "q8_0"; it must be "float32" or "bfloat16" or "float16"'
    )
  end)
end)

describe("the padding of a saved folder", function()
  local function pad_of(tok, config, scalar)
    local model, to = toy.model("llama", { scalar_head = scalar }), scratch.path()
    for key, value in pairs(config or {}) do
      model.config[key] = value
    end
    assert(model:save(to, { tokenizer = tok }))
    local named = json.decode(read(to .. "/tokenizer_config.json")).pad_token
    local id = json.decode(read(to .. "/config.json")).pad_token_id
    assert.are.equal(id and tok:token(id), named ~= json.null and named or nil)
    return id and tok:token(id)
  end

  it("is never an end token", function()
    local tok = control_tokens("</s>", "<s>", "<|vision_pad|>", "<pad>")
    tok:set_special { pad = "</s>" }
    for _, scalar in ipairs { true, false } do
      assert.are.equal("<pad>", pad_of(tok, { pad_token_id = tok.eos_id }, scalar))
      assert.are.equal("<|vision_pad|>", pad_of(tok, { eos_token_id = { 0, 3 } }, scalar))
    end
    assert.are.equal("</s>", tok:token(tok.pad_id)) -- the tokenizer in memory is what it was
    assert.are.equal("<s>", pad_of(tok, { pad_token_id = tok:id("<s>") }))
  end)

  it(
    "is none where every control token may end an answer",
    function() assert.is_nil(pad_of(control_tokens("</s>", "<|im_end|>"), { pad_token_id = 0 })) end
  )
end)

describe("the bias of a score", function()
  it("becomes one of the last norm where that has one", function()
    local model, to = toy.model("gpt2", { scalar_head = true }), scratch.path()
    model.config.score_bias = 0.75
    assert(model:save(to))
    local again = assert(pl.model.load(to))
    assert.is_nil(again.config.score_bias)
    assert.is_true(toy.max_error(again:scores(packed), model:scores(packed)) < 1e-5)
    assert.is_nil(read(to .. "/README.md"):find("Bias", 1, true))
  end)

  it("stays where it has none, and the card says so", function()
    local model, to = toy.model("llama", { scalar_head = true }), scratch.path()
    model.config.score_bias = 0.75
    assert(model:save(to))
    assert.are.equal(0.75, assert(pl.model.load(to)).config.score_bias)
    assert.is_truthy(read(to .. "/README.md"):find("`score_bias` = 0.75", 1, true))
  end)

  it("stays when the head is too small for it", function()
    local model, to = toy.model("gpt2", { scalar_head = true }), scratch.path()
    model.config.score_bias = 0.75
    model.weights["score.weight"]:fill_(0)
    assert(model:save(to))
    assert.are.equal(0.75, assert(pl.model.load(to)).config.score_bias)
  end)
end)

describe("the model card", function()
  it("tells base, licence, data, settings and figures, and no Markdown of others", function()
    local dir, to = foreign(CONFIG), scratch.path()
    write(dir .. "/README.md", "---\nlanguage: en\nlicense: apache-2.0\n---\n# Base\n")
    local model = assert(pl.model.load(dir))
    assert(model:save(to))
    local text = read(to .. "/README.md")
    assert.is_truthy(text:find('\nlicense: "apache-2.0"\n', 1, true), text)
    assert.is_truthy(text:find("Base: `" .. dir:match("[^/]*$") .. "`", 1, true), text)
    to = scratch.path()
    assert(model:save(to, {
      card = {
        recipe = "ppo.lua",
        settings = { kl_coef = 0.05, system = "a`b\n# c" },
        data = { { key = "dataset", path = "rows.jsonl", hash = "abc" } },
        figures = { kl = 1.5 },
      },
    }))
    text = read(to .. "/README.md")
    for _, line in ipairs {
      "(recipe `ppo.lua`)",
      "- `kl_coef`: `0.05`\n",
      "- `system`: `a'b # c`\n",
      "- `dataset`: `rows.jsonl`, hash `abc`\n",
      "- `kl`: `1.5`\n",
    } do
      assert.is_truthy(text:find(line, 1, true), line .. "\n" .. text)
    end
  end)
end)

describe("a model read from a folder", function()
  it("has the values it had in float32", function()
    local model, to = toy.model("gpt2"), scratch.path()
    assert(model:save(to, { max_shard_size = 1 }))
    assert.are.equal(logits(model):bytes(), logits(assert(pl.model.load(to))):bytes())
  end)
end)
