--- What tables of cases do not show of the ops: NaN and infinity, kinks and ties, reductions of
-- nothing, the mask of dropout, operators, what shares memory.

local pl = require("perilune")

local nan, inf = 0 / 0, math.huge

local function to_f32(v) return (string.unpack("f", string.pack("f", v))) end

--- The gradient of a leaf of these values through f, and the values of f.
local function slope_of(values, f)
  local x = pl.tensor(values):requires_grad(true)
  local y = f(x)
  pl.sum(y):backward()
  return x:grad():totable(), y:totable()
end

local function is_nan(v) return v ~= v end

describe("special values", function()
  it("let a NaN win in max, min, maximum, minimum and clamp", function()
    for _, where in ipairs { 1, 5, 17, 33 } do
      local values = {}
      for i = 1, 33 do
        values[i] = i == where and nan or i
      end
      local x = pl.tensor(values)
      assert(is_nan(x:max():item()) and is_nan(x:min():item()))
      local columns = x:reshape(33, 1)
      assert(is_nan(pl.concat(columns, columns, { axis = 2 }):max({ axis = 1 }):get(2)))
      assert(is_nan(x:clamp({ min = 0, max = 1 }):get(where)))
      for _, op in ipairs { "maximum", "minimum" } do
        assert(is_nan(pl[op](x, pl.full({ 33 }, 2)):get(where)))
        assert(is_nan(pl[op](pl.full({ 33 }, 2), x):get(where)))
      end
    end
  end)

  it("do not leak from the side that where does not take", function()
    local cond = pl.tensor { 1, 0, 1 }
    local bad = pl.tensor({ nan, 5, inf }):requires_grad(true)
    local good, y = slope_of({ 1, 2, 3 }, function(x) return pl.where(cond, x, pl.log(bad)) end)
    assert.same({ 1, 0, 1 }, good)
    assert.same({ 1, 3 }, { y[1], y[3] })
    local slope = pl.tensor({ 0, 2, 0 }):requires_grad(true)
    pl.sum(pl.where(cond, pl.tensor { nan, nan, nan }, slope)):backward()
    assert.same({ 0, 1, 0 }, slope:grad():totable())
  end)

  it("keep exp, log-sigmoid and softmax finite far out", function()
    local y = pl.tensor({ -1000, 1000 }):log_sigmoid():totable()
    assert.same({ -1000, 0 }, y)
    assert.same({ 0, 1 }, pl.tensor({ -1000, 1000 }):sigmoid():totable())
    assert.same({ 1, 0, 0 }, pl.tensor({ 1000, -1000, -inf }):softmax():totable())
    assert.same({ 0, -2000 }, pl.tensor({ 1000, -1000 }):log_softmax():totable())
  end)

  it("give a NaN row of softmax, never a wrong one", function()
    for _, v in ipairs(pl.tensor({ 1, nan, 2 }):softmax():totable()) do
      assert(is_nan(v))
    end
  end)
end)

describe("slopes at kinks", function()
  it("are 0 for abs at 0 and 1 on the bounds of clamp", function()
    assert.same({ -1, 0, 1 }, (slope_of({ -2, 0, 2 }, pl.abs)))
    assert.same(
      { 0, 1, 1, 1, 0 },
      (slope_of({ -2, -1, 0, 1, 2 }, function(x) return x:clamp { min = -1, max = 1 } end))
    )
  end)

  it("go to the first argument in a tie, to the first of equals in max", function()
    for _, op in ipairs { "maximum", "minimum" } do
      local b = pl.tensor({ 1, 2 }):requires_grad(true)
      assert.same({ 1, 1 }, (slope_of({ 1, 2 }, function(a) return pl[op](a, b) end)))
      assert.same({ 0, 0 }, b:grad():totable())
    end
    assert.same({ 0, 1, 0, 0 }, (slope_of({ 1, 3, 3, 0 }, pl.max)))
    assert.same(
      { 1, 0, 1, 0 },
      (slope_of({ 1, 3, 1, 2 }, function(x) return x:reshape(2, 2):min { axis = 2 } end))
    )
  end)
end)

describe("reductions of nothing", function()
  it("are 0 for sum, NaN for mean, 0 for empty segments", function()
    assert.equal(0, pl.zeros({ 0 }):sum():item())
    assert(is_nan(pl.zeros({ 0 }):mean():item()))
    assert.same({ 0, 3, 0 }, pl.segment_mean(pl.tensor { 2, 4 }, { 0, 0, 2, 2 }):totable())
  end)
end)

describe("var and std", function()
  it("divide by n - 1 unless told otherwise", function()
    local x = pl.tensor { 1, 2, 4, 7 }
    assert.equal(7, x:var():item())
    assert.equal(to_f32(math.sqrt(7)), x:std():item())
    assert.equal(5.25, x:var({ correction = 0 }):item())
    assert.same({ 4.5, 12.5 }, x:reshape(2, 2):var({ axis = 1 }):totable())
    assert.same({ 0.5, 4.5 }, x:reshape(2, 2):var({ axis = 2 }):totable())
    assert(is_nan(pl.tensor({ 3 }):var():item()))
    assert.equal(0, pl.tensor({ 3 }):std({ correction = 0 }):item())
    assert(is_nan(pl.zeros(0):std():item()))
  end)

  it("have slopes 2 (x - mean) / (n - 1), and 0 where all are equal", function()
    local slopes = slope_of({ 1, 2, 4, 7 }, pl.var)
    for i, want in ipairs { -5 / 3, -1, 1 / 3, 7 / 3 } do
      assert.equal(to_f32(want), slopes[i])
    end
    assert.same({ 0, 0 }, (slope_of({ 3, 3 }, pl.std)))
  end)
end)

describe("places", function()
  it("count from 1 as x[place] does, or from 0 as rows and ids do", function()
    local x = pl.tensor { { 1, 5, 5 }, { 7, -1, -1 } }
    assert.equal(4, x:argmax():item())
    assert.same({ 2, 1 }, x:argmax({ axis = 2 }):totable())
    assert.same({ 1, 0 }, x:argmax({ axis = 2, first = 0 }):totable())
    assert.same({ { 1 }, { 2 } }, x:argmin({ axis = 2, keepdim = true }):totable())
    assert.same({ 5, 7 }, x:pick(x:argmax { axis = 2, first = 0 }):totable())
    assert.equal("int32", x:argmax():dtype())
    assert.equal(2, pl.tensor({ 1, nan, 3, nan }):argmax():item())
    assert.equal(2, pl.tensor({ 1, nan, -3 }):argmin():item())
  end)

  it("of sort and topk: equal elements keep their order, NaN is the largest", function()
    local values, places = pl.tensor({ 3, 1, 2, nan, 1 }):sort()
    assert.same({ 2, 5, 3, 1, 4 }, places:totable())
    assert.same({ 1, 1, 2, 3 }, values:slice(1, 1, 4):totable())
    assert.same(
      { 4, 1, 3, 2, 5 },
      select(2, pl.tensor({ 3, 1, 2, nan, 1 }):sort(1, true)):totable()
    )
    values, places = pl.tensor({ 3, 1, 2, 5 }):topk(2)
    assert.same({ { 5, 3 }, { 4, 1 } }, { values:totable(), places:totable() })
    values, places = pl.topk(pl.tensor { 3, 1, 2, 5 }, { k = 2, largest = false, first = 0 })
    assert.same({ { 1, 2 }, { 1, 2 } }, { values:totable(), places:totable() })
    assert.same({ { 1, 2 }, { 3, 4 } }, pl.tensor({ { 3, 2 }, { 1, 4 } }):sort(1):totable())
    assert.same({ 0, 0, 1, 0 }, (slope_of({ 3, 1, 9, 5 }, function(x) return x:topk(1) end)))
  end)

  it("become numbers by cast, and whole numbers places", function()
    local places = pl.tensor({ 3, 1 }):argmax():cast() - 1
    assert.equal(0, places:item())
    assert.same({ 2, -3 }, pl.tensor({ 2, -3 }):cast({ dtype = "int32" }):totable())
    assert.equal("float64", pl.arange(3):cast({ dtype = "float64" }):dtype())
  end)
end)

describe("dropout", function()
  it("keeps what the stream keeps, scaled, and passes gradients the same way", function()
    local n, p, seed, index = 4003, 0.3, 12, 7
    local x = pl.full({ n }, 2):requires_grad(true)
    local y = x:dropout { p = p, seed = seed, index = index }
    pl.sum(y):backward()
    local values, slopes, kept = y:totable(), x:grad():totable(), 0
    for i = 1, n do
      local keeps = values[i] ~= 0
      kept = kept + (keeps and 1 or 0)
      assert.equal(keeps and to_f32(1 / (1 - p)) or 0, slopes[i])
      assert.equal(2 * slopes[i], values[i])
      if i % 4 == 1 then -- the first word of four makes the high bits of the uniform number
        assert.equal(pl.random_uniform(seed, index, i // 4) >= p, keeps)
      end
    end
    local deviation = math.sqrt(n * p * (1 - p))
    assert(math.abs(kept - n * (1 - p)) < 4 * deviation, "kept " .. kept)
  end)

  it("draws another mask for another seed or index, the same for the same", function()
    local x = pl.full({ 64 }, 1)
    local function mask(seed, index)
      return x:dropout({ p = 0.5, seed = seed, index = index }):bytes()
    end
    assert.equal(mask(1, 2), mask(1, 2))
    assert.are_not.equal(mask(1, 2), mask(2, 2))
    assert.are_not.equal(mask(1, 2), mask(1, 3))
  end)
end)

describe("softcap", function()
  it("has the bits of a soft cap inside logprob", function()
    local n, v, targets, rows, eye = 5, 37, {}, {}, {}
    for i = 1, n do
      rows[i], targets[i] = i - 1, (i * 11) % v
    end
    for i = 1, v * v do
      eye[i] = (i - 1) % (v + 1) == 0 and 1 or 0
    end
    local hidden = pl.randn({ n, 8 }, { seed = 5, purpose = 1 })
    local head = pl.randn({ v, 8 }, { seed = 5, purpose = 2 })
    local capped = pl.softcap(pl.linear(hidden, head), { cap = 0.7 })
    local inside = pl.logprob(hidden, head, rows, targets, { softcap = 0.7 })
    local outside = pl.logprob(capped, pl.tensor(eye):reshape(v, v), rows, targets)
    assert.equal(outside:bytes(), inside:bytes())
  end)

  it("passes NaN and bounds infinity", function()
    local y = pl.tensor({ nan, inf, -inf, 1e30 }):softcap({ cap = 30 }):totable()
    assert(is_nan(y[1]))
    assert.same({ 30, -30, 30 }, { y[2], y[3], y[4] })
  end)
end)

describe("relu", function()
  it("passes NaN, and has slope 0 at 0", function()
    local y = pl.tensor({ nan, -1, 0, 2, -inf, inf }):relu():totable()
    assert(is_nan(y[1]))
    assert.same({ 0, 0, 2, 0, inf }, { table.unpack(y, 2) })
    assert.same({ 0, 0, 1 }, (slope_of({ -1, 0, 2 }, pl.relu)))
  end)
end)

describe("operators", function()
  it("are the ops, with numbers on either side", function()
    local x = pl.tensor { 1, -2 }
    assert.same({ -1, 2 }, (-x):totable())
    assert.same({ 3, 0 }, (x + 2):totable())
    assert.same({ 1, 4 }, (2 - x):totable())
    assert.same({ 0.5, -1 }, (x / 2):totable())
    assert.same({ 1, 4 }, (x * x):totable())
  end)
end)

describe("views and copies", function()
  it("reshape shares memory, slice does not", function()
    local x = pl.tensor { 1, 2, 3, 4 }
    local shared, copied = x:reshape(2, 2), x:slice(1, 1, 2)
    x:fill_(9)
    assert.same({ { 9, 9 }, { 9, 9 } }, shared:totable())
    assert.same({ 1, 2 }, copied:totable())
  end)
end)
