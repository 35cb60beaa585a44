-- AdamW with moments of 8 bits: near float32's, resumed to the bit, a quarter of the memory.

local core = require("perilune.core")
local pl = require("perilune")

-- Two layers that learn a fixed function of 12 numbers; wide enough for several blocks of 256.
local function toy()
  local block = core.block { { "in.w", { 40, 12 } }, { "in.b", { 40 } }, { "out.w", { 3, 40 } } }
  local tensors = block:tensors()
  for i, name in ipairs(block:names()) do
    tensors[name]:copy_(core.randn(tensors[name]:shape(), { seed = i, b = 0.3 }))
  end
  local x = core.randn({ 64, 12 }, { seed = 7 }):keep(true)
  local wanted = (pl.linear(x, core.randn({ 3, 12 }, { seed = 8 })):tanh()):keep(true)
  local function loss()
    local scope <close> = core.scope("adamw_8bit.loss")
    block:zero_grad()
    local hidden = pl.linear(x, tensors["in.w"], tensors["in.b"]):gelu()
    local value = (pl.linear(hidden, tensors["out.w"]) - wanted):square():mean()
    value:backward()
    return value:item()
  end
  return block, loss
end

local function run(optimizer, loss, steps)
  local last
  for _ = 1, steps do
    last = loss()
    optimizer:step { lr = 3e-3, beta2 = 0.99, weight_decay = 0.01, max_grad_norm = 1 }
  end
  return last
end

describe("AdamW with moments of 8 bits", function()
  it("learns as with moments of float32, within 1 % of the first loss", function()
    local ends, first = {}, nil
    for _, moments in ipairs { "float32", "8bit" } do
      local block, loss = toy()
      first = loss()
      ends[moments] = run(pl.adamw(block, { moments = moments }), loss, 500)
    end
    assert.is_true(ends.float32 < 0.05 * first)
    assert.is_true(math.abs(ends["8bit"] - ends.float32) < 0.01 * first)
  end)

  it("keeps a byte for each element and a scale for each 256 of a tensor", function()
    local block = toy()
    local state = pl.adamw(block, { moments = "8bit" }):state()
    for _, moment in ipairs { state.m, state.v } do
      assert.are.equal("int32", moment:dtype())
      assert.are.same({ 2 + 1 + 1, 65 }, moment:shape())
    end
  end)

  it("goes on from its state to the bit", function()
    local one, one_loss = toy()
    local optimizer = pl.adamw(one, { moments = "8bit" })
    run(optimizer, one_loss, 9)
    local other, other_loss = toy()
    local resumed = pl.adamw(other, { moments = "8bit" })
    other:flat():copy_(one:flat())
    resumed:state().m:copy_(optimizer:state().m)
    resumed:state().v:copy_(optimizer:state().v)
    resumed:set_steps(9)
    run(optimizer, one_loss, 7)
    run(resumed, other_loss, 7)
    assert.are.equal(one:hash(), other:hash())
  end)

  it("moves nothing where gradients are zero, and never by more than the rate allows", function()
    local block = core.block { { "w", { 300 } } }
    local w = block:tensors().w
    local weights = {}
    for i = 1, 300 do
      weights[i] = i == 1 and 1 or i <= 256 and 1e-7 or 0
    end
    local towards = core.tensor(weights):keep(true)
    local optimizer = pl.adamw(block, { moments = "8bit" })
    for _ = 1, 3 do
      block:zero_grad()
      local sum = (w * towards):sum()
      sum:backward()
      optimizer:step { lr = 0.01, eps = 1e-12 }
    end
    for i, value in ipairs(w:totable()) do
      if i > 256 then assert.are.equal(0, value) end
      assert.is_true(value <= 0 and value >= -0.2)
    end
  end)

  it("refuses other words and float64 in words", function()
    local block = toy()
    assert.has_error(
      function() pl.adamw(block, { moments = "4bit" }) end,
      'adamw: moments = "4bit"; it must be "float32" or "8bit"'
    )
    assert.has_error(
      function() pl.adamw(core.block({ { "w", { 2 } } }, "float64"), { moments = "8bit" }) end,
      "adamw: moments of 8 bits are for float32 parameters, these are float64"
    )
  end)
end)
