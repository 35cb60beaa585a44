--- precision = "int8": what it changes and what it does not, from the op to the model; answers
-- that training reads with the bits they were sampled with. tests/engine/gemm_int8_test.c holds the
-- bits of products.

local adapted = dofile("tests/lua/support/adapted.lua")
local first_ratio = dofile("tests/lua/support/first_ratio.lua")
local kept = dofile("tests/lua/support/kept.lua")
local pl = require("perilune")
local toy = dofile("tests/lua/support/toy.lua")

local batch = pl.batch

local INT8 <const> = { precision = "int8" }
local BLOCKS <const> = { "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k" }

local function randn(purpose, ...)
  local t = pl.randn({ ... }, { seed = 41, purpose = purpose })
  return t
end

describe("precision int8 of linear", function()
  it("rounds x alone, and with weights in blocks alone", function()
    for _, dtype in ipairs(BLOCKS) do
      local x, w, b = randn(1, 5, 512), kept.weight(dtype, 12, 512), randn(2, 12)
      local plain, got = pl.linear(x, w, b), pl.linear(x, w, b, INT8)
      local err = toy.relative_error(got, plain)
      assert.is_true(err > 1e-4 and err < 0.02, ("%s: %.3g"):format(dtype, err))
      assert.are.equal(
        (pl.linear(x, w, nil, INT8) + b):bytes(),
        got:bytes(),
        "the bias is added to the end"
      )
    end
    for _, dtype in ipairs { "bfloat16", "float16" } do
      local x, w = randn(1, 5, 512), kept.weight(dtype, 12, 512)
      assert.are.equal(pl.linear(x, w):bytes(), pl.linear(x, w, nil, INT8):bytes())
    end
    local x, w = randn(1, 5, 512), randn(3, 12, 512)
    assert.are.equal(pl.linear(x, w):bytes(), pl.linear(x, w, nil, INT8):bytes())
  end)

  it("is exact where x is whole numbers of up to 127", function()
    local rows = {}
    for i = 1, 3 do
      rows[i] = {}
      for k = 1, 64 do
        rows[i][k] = k % 32 == 0 and 127.0 or (i * k) % 100 - 50.0
      end
    end
    local x, w = pl.tensor(rows), kept.weight("q8_0", 9, 64)
    assert.is_true(toy.relative_error(pl.linear(x, w, nil, INT8), pl.linear(x, w)) < 1e-6)
  end)

  it("has the gradients to x of float32", function()
    for _, dtype in ipairs(BLOCKS) do
      local w, dy = kept.weight(dtype, 12, 512), randn(5, 5, 12)
      local ends = {}
      for i, options in ipairs { {}, INT8 } do
        local x = randn(1, 5, 512):requires_grad(true)
        pl.linear(x, w, nil, options):backward(dy)
        ends[i] = x:grad():bytes()
      end
      assert.are.equal(ends[1], ends[2], dtype)
    end
  end)

  it("is refused for float64", function()
    local x, w = pl.cast(randn(1, 2, 32), { dtype = "float64" }), randn(2, 3, 32)
    assert.has_error(
      function() pl.linear(x, pl.cast(w, { dtype = "float64" }), nil, INT8) end,
      "linear: precision int8 is for float32 tensors, and x is float64"
    )
  end)
end)

describe("precision int8 of a loss at the head", function()
  local rows, targets = { 0, 2, 5, 5 }, { 3, 0, 6, 1 }

  it("has the bits of linear's logits", function()
    local hidden, head = randn(7, 6, 64), kept.weight("q8_0", 40, 64)
    local eye = {}
    for i = 1, 40 do
      eye[i] = {}
      for k = 1, 40 do
        eye[i][k] = i == k and 1.0 or 0.0
      end
    end
    local logits = pl.linear(hidden, head, nil, INT8)
    assert.is_false(logits:bytes() == pl.linear(hidden, head):bytes())
    local inside = pl.logprob(hidden, head, rows, targets, INT8)
    local outside = pl.logprob(logits, pl.tensor(eye), rows, targets)
    assert.are.equal(outside:bytes(), inside:bytes())
    local loss = pl.cross_entropy(hidden, head, rows, targets, nil, INT8)
    assert.is_true(math.abs(loss:item() + outside:sum():item()) < 1e-4)
    local kl = pl.kl_full(hidden, head, hidden, head, rows, INT8)
    assert.are.same({ 0, 0, 0, 0 }, kl:totable())
  end)

  it("sends gradients back", function()
    local head = kept.weight("q8_0", 40, 64) -- logits of moderate size
    for _, call in ipairs {
      function(h, o) return pl.cross_entropy(h, head, rows, targets, nil, o) end,
      function(h, o) return (pl.logprob(h, head, rows, targets, o)):sum() end,
    } do
      local ends = {}
      for i, options in ipairs { {}, INT8 } do
        local h = (randn(9, 6, 64) * 0.02):detach():requires_grad(true)
        call(h, options):backward()
        ends[i] = h:grad()
      end
      local err = toy.relative_error(ends[2], ends[1])
      assert.is_true(err > 0 and err < 0.05, ("%.3g"):format(err))
    end
  end)
end)

local function saved(width)
  local config = { hidden_size = width, intermediate_size = 96, num_attention_heads = 4 }
  for key, value in pairs(toy.configs.llama) do
    config[key] = config[key] or value
  end
  local path = adapted.scratch.path()
  assert(pl.model.new(config, { seed = 3 }):save(path))
  return path
end

describe("precision int8 of a model", function()
  it("changes what frozen weights in blocks give, and nothing else", function()
    local path, packed = saved(64), batch.pack(toy.sequences { 5, 9 })
    local function hidden(opts) return assert(pl.load(path, opts)):hidden(packed):bytes() end
    assert.are.equal(hidden {}, hidden(INT8))
    local held = { frozen = true, dtype = "q8_0" }
    local rounded = { frozen = true, dtype = "q8_0", precision = "int8" }
    assert.is_false(hidden(held) == hidden(rounded))
    local model = assert(pl.load(path, rounded))
    assert.is_truthy(tostring(model):find(", products in int8,", 1, true))
    assert.are.equal("int8", model:beside("q8_0").precision)
  end)

  it("does not let a row know of the others", function()
    local model = assert(pl.load(saved(64), {
      frozen = true,
      dtype = "q8_0",
      precision = "int8",
    }))
    local list, at = toy.sequences { 5, 9, 1, 30, 2 }, 0
    local together = model:hidden(batch.pack(list))
    for _, sequence in ipairs(list) do
      local alone = model:hidden(batch.pack { sequence })
      local there = together:slice(1, at + 1, at + #sequence)
      assert.are.equal(alone:bytes(), there:clone():bytes())
      at = at + #sequence
    end
  end)
end)

describe("the first ratio in int8", function()
  for _, base_dtype in ipairs { "q8_0", "q4_1", "q5_0" } do
    it("is 1 for LoRA on a base in " .. base_dtype, function()
      local path = saved(64)
      local base = base_dtype ~= "q8_0" and first_ratio.in_blocks(path, base_dtype)
      local policy = assert(pl.load(path, {
        peft = { r = 3, alpha = 6 },
        dtype = base and "kept" or base_dtype,
        precision = "int8",
      }))
      if base then assert.are.equal(base, policy.base) end
      first_ratio.holds(adapted.stir(policy))
    end)
  end
end)
