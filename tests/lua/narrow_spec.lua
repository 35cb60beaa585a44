--- Blocks of narrow models go through core.block_in and core.block_out: the same bits as the ops
-- one by one, and only where the block is a plain one.

local pl = require("perilune")
local decoder = require("perilune.model.decoder")
local scratch = dofile("tests/lua/support/scratch.lua")
local toy = dofile("tests/lua/support/toy.lua")

local loss = pl.loss

local config = {
  model_type = "llama",
  vocab_size = 61,
  hidden_size = 24,
  intermediate_size = 44,
  num_hidden_layers = 2,
  num_attention_heads = 6,
  num_key_value_heads = 2,
  max_position_embeddings = 512,
}

local function model(more, opts)
  local given = {}
  for _, list in ipairs { config, more or {} } do
    for key, value in pairs(list) do
      given[key] = value
    end
  end
  return pl.model.new(given, opts or { seed = 5 })
end

--- The same model, made to go the long way.
local function long_way(m)
  for _, layer in ipairs(m.layers) do
    layer.narrow = nil
  end
  return m
end

after_each(function() scratch.clean() end)

local function is_narrow(m)
  for _, layer in ipairs(m.layers) do
    if not layer.narrow then return false end
  end
  return true
end

--- Bits of hidden states, and of the gradient that a loss over these sequences gives.
local function bits(m, lengths)
  local scope <close> = pl.scope("narrow_spec")
  local sequences = toy.sequences(lengths)
  m.block:zero_grad()
  local hidden = m:hidden(pl.batch.pack(sequences))
  local lm = loss.lm(m, sequences)
  lm:backward()
  return hidden:bytes(), m.block:grads():bytes(), m.block:grads():totable()
end

describe("a narrow block", function()
  it("has the bits of the ops one by one, gradients too where rows are few", function()
    for _, more in ipairs { {}, { rope_interleaved = true }, { tie_word_embeddings = true } } do
      local m = model(more)
      assert.is_true(is_narrow(m))
      local hidden, grads = bits(m, { 3, 70, 1, 180 })
      local want_hidden, want_grads = bits(long_way(m), { 3, 70, 1, 180 })
      assert.is_true(hidden == want_hidden)
      assert.is_true(grads == want_grads)
    end
  end)

  it("sums gradients of many rows in parts", function()
    local m = model()
    local hidden, _, grads = bits(m, { 200, 111, 190 })
    local want_hidden, _, want = bits(long_way(m), { 200, 111, 190 })
    assert.is_true(hidden == want_hidden)
    for i, g in ipairs(want) do
      assert.is_true(math.abs(grads[i] - g) <= 1e-6, ("gradient %d"):format(i))
    end
  end)

  it("does the last block for the rows that are read alone", function()
    local m = model()
    local rows = pl.tensor({ 2, 5, 11 }, "int32")
    local packed = pl.batch.pack(toy.sequences { 7, 6 })
    local guard <close> = pl.no_grad()
    local some, all = m:hidden(packed, { rows = rows }), m:hidden(packed)
    assert.is_true(some:bytes() == pl.gather(all, rows):bytes())
  end)

  it("sees weights that changed after they were packed", function()
    local m = model()
    local packed = pl.batch.pack(toy.sequences { 7, 6 })
    local function hidden()
      local guard <close> = pl.no_grad()
      return m:hidden(packed):bytes()
    end
    local before = hidden()
    for _, name in ipairs { "q", "o", "gate", "down" } do
      local weight = m.layers[1][name].weight
      weight:copy_(weight:detach() * 1.5)
      local after = hidden()
      assert.is_true(after ~= before, name)
      before = after
    end
    assert.is_true(before == (function()
      long_way(m)
      return hidden()
    end)())
  end)

  it("is trained on at most 2,048 tokens at a time, which wider models need not be", function()
    local lm, forwards = loss.lm, 0
    local function counted(m)
      forwards = 0
      loss.lm = function(...)
        forwards = forwards + 1
        return lm(...)
      end
      local ok, message = pcall(loss.accumulate, m, toy.sequences { 500, 500, 500, 500, 500 })
      loss.lm = lm
      assert(ok, message)
      return forwards
    end
    assert.are.equal(2, counted(model()))
    assert.are.equal(1, counted(model { hidden_size = 96 }))
  end)

  it("is for plain blocks alone", function()
    local path = scratch.path()
    model():save(path)
    assert.is_true(is_narrow(model()))
    assert.is_true(is_narrow(model(nil, { seed = 5, dtype = "float64" })))
    for what, m in pairs {
      wide = model { hidden_size = 192 },
      bias = model { attention_bias = true },
      mlp_bias = model { mlp_bias = true },
      activation = model { hidden_act = "gelu" },
      bf16 = model(nil, { seed = 5, precision = "bf16" }),
      qwen3 = model { model_type = "qwen3", head_dim = 4 },
      adapters = assert(pl.load(path, { peft = { r = 2, alpha = 4, targets = "all-linear" } })),
      kept = assert(pl.load(path, { frozen = true, dtype = "bfloat16" })),
    } do
      assert.is_false(is_narrow(m), what)
    end
  end)

  it("is not for dropout, which stands between its ops", function()
    local m = model()
    local packed = pl.batch.pack(toy.sequences { 7, 6 })
    local opts = { dropout = { p = 0.3, seed = 1, index = 2 } }
    local some = m:hidden(packed, opts):bytes()
    assert.is_true(some == long_way(m):hidden(packed, opts):bytes())
    assert.is_true(some ~= m:hidden(packed):bytes())
  end)
end)

describe("decoder.bind", function()
  it("decides anew", function()
    local m = long_way(model())
    assert.is_false(is_narrow(m))
    decoder.bind(m)
    assert.is_true(is_narrow(m))
  end)
end)
