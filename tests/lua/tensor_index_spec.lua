--- Places and parts of tensors: x[...], writing into them, and what the tape says to that;
-- constructors by sizes; operators that have no meaning. Values are small enough to be read off.

local pl = require("perilune")

-- 1 2 3 4 / 5 6 7 8 / 9 10 11 12
local function table_of_12(dtype) return pl.arange(1, 13, 1, dtype or "float32"):view(3, 4) end

local function refused(message, f, ...)
  local ok, said = pcall(f, ...)
  assert.is_false(ok)
  assert.equal(message, (tostring(said):gsub("^[^:]+:%d+: ", "")))
end

describe("x[place]", function()
  it("is a row, a number of a vector, and counts from 1 or from the end", function()
    for _, dtype in ipairs { "float32", "float64", "int32" } do
      local x = table_of_12(dtype)
      assert.same({ 5, 6, 7, 8 }, x[2]:totable())
      assert.same({ 9, 10, 11, 12 }, x[-1]:totable())
      assert.same({ 1, 2, 3, 4 }, x[-3]:totable())
      assert.equal(7, x[2][3])
      assert.equal(8, x[2][-1])
      assert.equal(dtype, x[1]:dtype())
    end
    assert.equal("integer", math.type(table_of_12("int32")[1][1]))
    assert.equal(2.5, pl.tensor({ 1.5, 2.5 })[2.0])
  end)

  it("of a part is what it is of the whole", function()
    local x = pl.arange(24):view(2, 3, 4)
    assert.same({ 3, 4 }, x[2]:shape())
    assert.same({ 16, 17, 18, 19 }, x[2][2]:totable())
    assert.equal(23, x[-1][-1][-1])
  end)

  it("is one of the places there are, else it says which", function()
    local x = table_of_12()
    local there = "shape [3,4] has 1 to 3 there, or -1 to -3"
    for _, k in ipairs { 0, 4, -4, 99, -99 } do
      refused(("place %d of axis 1: "):format(k) .. there, function() return x[k] end)
    end
    refused(
      "place 5 of axis 1: shape [4] has 1 to 4 there, or -1 to -4",
      function() return x[1][5] end
    )
    refused("place 1 of axis 1: shape [0] has none there", function() return pl.zeros(0)[1] end)
    refused("place of axis 1: a whole number wanted, got 1.5", function() return x[1.5] end)
    refused("place of axis 1: a whole number wanted, got boolean", function() return x[true] end)
    refused(
      "a tensor of one number has no places; x:item() is its value",
      function() return pl.tensor(3)[1] end
    )
    refused(
      "a tensor is no place: pl.gather(x, rows) takes rows, pl.where(mask, a, b) chooses by a mask",
      function() return x[pl.arange(2)] end
    )
    x:free()
    refused(
      "tensor [3,4] was freed by :free(); it cannot be used again",
      function() return x[1] end
    )
  end)
end)

describe("x[{from, to}]", function()
  it("is a run along the first axis", function()
    local x = table_of_12()
    assert.same({ { 5, 6, 7, 8 }, { 9, 10, 11, 12 } }, x[{ 2, 3 }]:totable())
    assert.same(x[{ 2, 3 }]:totable(), x[{ -2, -1 }]:totable())
    assert.same({ { 5, 6, 7, 8 } }, x[{ 2, 2 }]:totable())
    assert.same({ 0, 4 }, x[{ 2, 1 }]:shape())
    assert.same({ 0, 4 }, x[{ 4, 3 }]:shape())
    assert.same({ 3, 4 }, x[{}]:shape())
    assert.same({ 0 }, pl.zeros(0)[{ 1, -1 }]:shape())
  end)

  it("stands for an axis in a list", function()
    local x = table_of_12("int32")
    assert.same({ 7, 11 }, x[{ { 2, 3 }, 3 }]:totable())
    assert.same({ 3, 7, 11 }, x[{ {}, 3 }]:totable())
    assert.same({ { 2, 3 }, { 6, 7 } }, x[{ { 1, 2 }, { 2, 3 } }]:totable())
    assert.same({ 6, 7 }, x[{ 2, { 2, 3 } }]:totable())
    assert.same({ { 4 }, { 8 }, { 12 } }, x[{ {}, { -1, -1 } }]:totable())
    local y = pl.arange(24):view(2, 3, 4)
    assert.same({ { 1, 2 }, { 13, 14 } }, y[{ {}, 1, { 2, 3 } }]:totable())
    assert.same({ { 4, 5, 6, 7 } }, y[{ 1, { 2, 2 } }]:totable())
    assert.equal(17, y[{ 2, {}, 2 }][2])
  end)

  it("must be a run of the axis", function()
    local x = table_of_12()
    for _, run in ipairs { { 2, 4 }, { 0, 1 }, { 3, 1 }, { -4, 2 }, { 5, 5 } } do
      refused(
        ("run {%d, %d} of axis 1: shape [3,4] has places 1 to 3 there"):format(run[1], run[2]),
        function() return x[run] end
      )
    end
    local wanted = "; a single place stands without braces, and pl.gather takes a list of places"
    refused(
      "run of axis 1: {from, to} wanted, got a list of 3" .. wanted,
      function() return x[{ 1, 2, 3 }] end
    )
    refused(
      "run of axis 1: {from, to} wanted, got a list of 1" .. wanted,
      function() return x[{ 2 }] end
    )
    refused("3 axes are listed, shape [3,4] has 2", function() return x[{ {}, {}, 1 }] end)
    refused(
      "run of axis 2: {from, to} in whole numbers wanted, got string there",
      function() return x[{ {}, { 1, "a" } }] end
    )
  end)
end)

describe("a part", function()
  it("of leading axes shares memory, another is a copy", function()
    local x = table_of_12()
    x[2]:fill_(0)
    x[{ 3, 3 }]:set(1, 1, -1)
    x[{ 1, { 2, 3 } }]:fill_(7)
    assert.same({ { 1, 7, 7, 4 }, { 0, 0, 0, 0 }, { -1, 10, 11, 12 } }, x:totable())
    x[{ {}, 1 }]:fill_(5)
    assert.equal(1, x[1][1])
  end)

  it("of a tensor that wants a gradient is on the tape", function()
    local x = pl.tensor({ { 1, 2, 3 }, { 4, 5, 6 } }, "float64"):requires_grad(true)
    local y = x[2][3] * 10 + x[{ {}, 1 }]:sum() + (x[{ 1, 2 }] ^ 2):sum() * 0.5
    assert.equal(60 + 5 + 45.5, y:item())
    y:backward()
    assert.same({ { 2, 2, 3 }, { 5, 5, 16 } }, x:grad():totable())
    assert.equal("Tensor", x[1][1]:requires_grad() and "Tensor")
    local guard <close> = pl.no_grad() -- luacheck: ignore
    assert.equal(6, x[2][3])
  end)

  it("of a kept dtype is whole rows", function()
    local t = pl.randn({ 3, 64 }, { seed = 1 }):cast { dtype = "q8_0" }
    assert.equal(t:cast()[2]:bytes(), t[2]:cast():bytes())
    assert.equal(t:cast()[{ 2, 3 }]:bytes(), t[{ 2, 3 }]:cast():bytes())
    local kept = "the tensor is q8_0, a kept dtype, which "
    refused(
      kept .. "comes in whole rows; cast makes it float32",
      function() return t[{ {}, { 1, 32 } }] end
    )
    refused(kept .. "is not written; cast makes it float32", function() t[1] = 0 end)
  end)
end)

describe("x[...] = value", function()
  it("writes a number, a tensor or a table into the part", function()
    local x = table_of_12()
    x[1][2] = 3
    x[2] = 0
    x[{ {}, 4 }] = pl.tensor { 10, 20, 30 }
    x[3] = { 1, 2, 3, 4 }
    assert.same({ { 1, 3, 3, 10 }, { 0, 0, 0, 20 }, { 1, 2, 3, 4 } }, x:totable())
    x[{ { 1, 2 }, { 1, 2 } }] = pl.tensor { { 5 }, { 6 } }
    x[-1] = pl.tensor(9)
    assert.same({ { 5, 5, 3, 10 }, { 6, 6, 0, 20 }, { 9, 9, 9, 9 } }, x:totable())
    x[{ 2, 1 }] = 1 -- an empty run
    assert.equal(5, x[1][1])
    local ids = pl.arange(4)
    ids[{ 2, 3 }] = 7
    assert.same({ 0, 7, 7, 3 }, ids:totable())
  end)

  it("reads before it writes where both are one memory", function()
    local x = pl.arange(6)
    x[{ 2, 6 }] = x[{ 1, 5 }]
    assert.same({ 0, 0, 1, 2, 3, 4 }, x:totable())
    x[{ 1, 5 }] = x[{ 2, 6 }]
    assert.same({ 0, 1, 2, 3, 4, 4 }, x:totable())
  end)

  it("refuses what does not fit", function()
    local x, ids = table_of_12(), pl.arange(3)
    refused(
      "a value of shape [3] does not fit into a part of shape [4]",
      function() x[1] = pl.zeros(3) end
    )
    refused(
      "a value of shape [1,4] does not fit into a part of shape [4]",
      function() x[1] = pl.zeros(1, 4) end
    )
    refused(
      "a value of float64 does not fit into a tensor of float32",
      function() x[1] = pl.zeros(4, "float64") end
    )
    refused("a number, a tensor or a table wanted as the value, got nil", function() x[1] = nil end)
    refused(
      "a number, a tensor or a table wanted as the value, got string",
      function() x[1] = "3" end
    )
    refused("tensor: item 1 is 1.5, not an integer", function() ids[1] = 1.5 end)
    refused("a tensor has no fields to set: 'name'", function() x.name = "w" end)
    refused("place 9 of axis 1: shape [3,4] has 1 to 3 there, or -1 to -3", function() x[9] = 0 end)
  end)
end)

describe("writing in place", function()
  local function leaf() return pl.tensor({ 1, 2, 3 }):requires_grad(true) end

  it("is refused while a gradient needs the values", function()
    local x = leaf()
    local y = (x * x):sum()
    local needs = ": the gradient of mul still needs the values the tensor has; write after "
      .. "backward(), or into a clone() of it"
    refused("x[...] = v" .. needs, function() x[1] = 5 end)
    refused("x[...] = v" .. needs, function() x[{ 1, 2 }][1] = 5 end)
    refused("set" .. needs, x.set, x, 1, 5)
    refused("fill_" .. needs, x.fill_, x, 5)
    refused("copy_" .. needs, x.copy_, x, pl.zeros(3))
    y:backward()
    assert.same({ 2, 4, 6 }, x:grad():totable())
    x[1] = 5
    assert.equal(5, x:get(1))
  end)

  it("is refused where a gradient flows through the tensor", function()
    local x = leaf()
    local y = x + 1
    local text = "x[...] = v: the tensor is a result of add that a gradient will flow through; "
      .. "write into a clone() of it, or make it under pl.no_grad()"
    refused(text, function() y[2] = 0 end)
    refused(text, function() y[{ 1, 2 }][1] = 0 end)
    local copy = y:clone()
    copy[2] = 0
    assert.same({ 2, 0, 4 }, copy:totable())
    x[1] = 10 -- add needs no values
    assert.equal(10, x:get(1))
  end)

  it("that was let through is found by the backward pass", function()
    local x = leaf()
    local y = (x * x):sum()
    do
      local guard <close> = pl.no_grad() -- luacheck: ignore
      x[1] = 5
    end
    refused(
      "backward: 'b' of mul was written to after the op ran, so its gradient cannot be told; run "
        .. "the forward pass again",
      y.backward,
      y
    )
    assert.is_nil(x:grad())
  end)
end)

describe("constructors", function()
  it("take sizes as numbers or as a list", function()
    assert.same({ 3, 4 }, pl.zeros(3, 4):shape())
    assert.same({ 3, 4 }, pl.zeros({ 3, 4 }):shape())
    assert.same({}, pl.ones({}):shape())
    assert.same({ 1, 1 }, pl.ones(2):totable())
    assert.same({ { 7.5, 7.5 } }, pl.full(1, 2, 7.5):totable())
    assert.same({ { 7.5, 7.5 } }, pl.full({ 1, 2 }, 7.5):totable())
    assert.equal("int32", pl.full(2, 7, "int32"):dtype())
    assert.equal("float64", pl.zeros(2, 3, "float64"):dtype())
    assert.equal("float64", pl.ones({ 2, dtype = "float64" }):dtype())
    local drawn = pl.randn({ 2, 3 }, { seed = 4 }):bytes()
    assert.equal(drawn, pl.randn(2, 3, { seed = 4 }):bytes())
    assert.equal(drawn, pl.randn({ 2, 3, seed = 4 }):bytes())
    assert.equal(pl.uniform({ 5 }, { seed = 4 }):bytes(), pl.rand(5, { seed = 4 }):bytes())
  end)

  it("count with arange", function()
    assert.same({ 0, 1, 2 }, pl.arange(3):totable())
    assert.same({ 0, 1, 2 }, pl.arange({ 3 }):totable())
    assert.same({}, pl.arange(0):totable())
    assert.same({ 2, 3, 4 }, pl.arange(2, 5):totable())
    assert.same({ 5, 3, 1 }, pl.arange(5, 0, -2):totable())
    assert.same({ 0, 0.25, 0.5, 0.75 }, pl.arange(0, 1, 0.25):totable())
    assert.equal("int32", pl.arange(3):dtype())
    assert.equal("float32", pl.arange(0, 1, 0.5):dtype())
    assert.equal("float64", pl.arange({ 3, dtype = "float64" }):dtype())
  end)

  it("say what they want", function()
    refused("zeros: sizes wanted, as zeros(3, 4) or zeros{3, 4}, got nothing", pl.zeros)
    refused("randn: sizes wanted, as randn(3, 4) or randn{3, 4}, got string", pl.randn, "3")
    refused("ones: sizes are whole numbers from 0 on, got -1", pl.ones, 2, -1)
    refused("rand: sizes are whole numbers from 0 on, got 1.5", pl.rand, { 1.5 })
    refused("zeros: at most 6 axes, got 7", pl.zeros, 1, 1, 1, 1, 1, 1, 1)
    refused("unknown dtype 'float23'; did you mean 'float32'?", pl.zeros, 3, "float23")
    refused("unknown option 'sed'; did you mean 'seed'?", pl.randn, 3, { sed = 1 })
    refused("unknown option 'sed'; did you mean 'seed'?", pl.randn, { 3, sed = 1 })
    refused("full: a number after the sizes wanted", pl.full, 3)
    refused("full: the value after the sizes must be a number, got nothing", pl.full, { 3 })
    refused("arange: a whole number from 0 on wanted, got -1", pl.arange, -1)
    refused("arange: a number wanted, as arange(n) or arange(from, to), got nothing", pl.arange)
    refused("arange: from 0.0 to 1.0 there is no end by steps of 0.0", pl.arange, 0, 1, 0)
    refused(
      "tensor: the table is ragged: level 2 has lists of 2 and of 1",
      pl.tensor,
      { { 1, 2 }, { 3 } }
    )
    refused("tensor: the table is ragged: level 2 has tables and number", pl.tensor, { { 1 }, 2 })
  end)
end)

describe("operators", function()
  it("have ^, with its slopes", function()
    local x = pl.tensor({ 2, 3, 0, -2 }):requires_grad(true)
    local y = x ^ 3
    assert.same({ 8, 27, 0, -8 }, y:totable())
    y:sum():backward()
    assert.same({ 12, 27, 0, 12 }, x:grad():totable())
    assert.same({ 2, 4, 8 }, (2 ^ pl.tensor { 1, 2, 3 }):totable())
    assert.same({ 4, 1, 0.25 }, (pl.tensor { 4, 4, 4 } ^ pl.tensor { 1, 0, -1 }):totable())
    local zero = pl.tensor({ 0, 0 }):requires_grad(true)
    local power = pl.tensor({ 0, 2 }):requires_grad(true)
    local at_zero = zero ^ power
    assert.same({ 1, 0 }, at_zero:totable())
    at_zero:sum():backward()
    assert.same({ { 0, 0 }, { 0, 0 } }, { zero:grad():totable(), power:grad():totable() })
  end)

  it("of order and text say what to write", function()
    local x, order = pl.zeros(2), "<, <=, > and >= give one truth, a tensor has many: "
    for _, f in ipairs {
      function() return x < x end,
      function() return x >= 1 end,
      function() return 1 > x end,
    } do
      local ok, message = pcall(f)
      assert.is_false(ok)
      assert.truthy(message:find(order .. "pl.lt(a, b)", 1, true), message)
    end
    refused(
      "..: a tensor is no text; tostring(x) shows it, x:item() is the number of a tensor of one "
        .. "element",
      function() return "x is " .. x end
    )
  end)

  it("of equality tell handles apart, never values", function()
    local x = pl.zeros(2)
    assert.is_true(x == x)
    assert.is_false(x == x:clone())
    assert.is_false(x == 0)
  end)
end)

describe("a name that a tensor does not have", function()
  it("is told with the nearest", function()
    local x = pl.zeros(2)
    refused("a Tensor has no 'sise'; did you mean 'size'?", function() return x:sise(1) end)
    refused("a Tensor has no 'sigmoidd'; did you mean 'sigmoid'?", function() return x.sigmoidd end)
    refused("a Tensor has no 'xyzzy'", function() return x.xyzzy end)
  end)
end)

describe("t", function()
  it("exchanges rows and columns, of int32 too", function()
    assert.same({ { 1, 3 }, { 2, 4 } }, pl.tensor({ { 1, 2 }, { 3, 4 } }):t():totable())
    local ids = pl.arange(6):view(2, 3)
    assert.same({ { 0, 3 }, { 1, 4 }, { 2, 5 } }, ids:t():totable())
    assert.same({ { 0, 1 }, { 2, 3 }, { 4, 5 } }, ids:reshape(3, 2):totable())
    assert.same({ { 1, 2 }, { 4, 5 } }, ids:slice(2, 2):totable())
    assert.same({ { 3, 4, 5 }, { 0, 1, 2 } }, ids:gather({ 1, 0 }):totable())
    assert.same({ 0, 1, 7 }, pl.concat(pl.arange(2), pl.full(1, 7, "int32")):totable())
    refused("concat: b is float32, but an input before it is int32", pl.concat, ids, pl.zeros(3))
  end)
end)
