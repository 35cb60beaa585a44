--- Tensors as text: the head, rows and columns, what is cut, what is empty, freed or not finite.
-- The width is that of $COLUMNS.

local pl = require("perilune")
local system = require("perilune.core").system

local columns = os.getenv("COLUMNS")
setup(function() system.setenv("COLUMNS", "60") end)
teardown(function() system.setenv("COLUMNS", columns or "") end)

local function shown(t) return tostring(t) end

describe("a tensor as text", function()
  it("is one line when it has one element or none", function()
    assert.equal("float32[] 3", shown(pl.tensor(3)))
    assert.equal("float32[1,1] 0.1", shown(pl.tensor { { 0.1 } }))
    assert.equal("int32[1] 7", shown(pl.tensor({ 7 }, "int32")))
    assert.equal("float32[] nan", shown(pl.tensor(math.abs(0 / 0))))
    assert.equal("float64[0] | no elements", shown(pl.zeros(0, "float64")))
    assert.equal("float32[2,0,3] | no elements", shown(pl.zeros(2, 0, 3)))
  end)

  it("has rows in columns, numbers in one format", function()
    assert.equal(
      "float32[2,3] | min -1.5 mean 2.667 max 10\n"
        .. "   1.0000  -1.5000  10.0000\n"
        .. "   0.2500   0.0000   6.2500",
      shown(pl.tensor { { 1, -1.5, 10 }, { 0.25, 0, 6.25 } })
    )
    assert.equal(
      "int32[2,2] | min -3 mean 25.5 max 100\n    1   -3\n    4  100",
      shown(pl.tensor({ { 1, -3 }, { 4, 100 } }, "int32"))
    )
    assert.equal("float32[3] | min 1 mean 2 max 3\n  1  2  3", shown(pl.tensor { 1, 2, 3 }))
  end)

  it("takes an exponent rather than show nothing of a number", function()
    assert.equal(
      "float32[2] | min 1e-06 mean 0.5 max 1\n  1.0000e-06  1.0000e+00",
      shown(pl.tensor { 1e-6, 1 })
    )
    assert.equal(
      "float64[2] | min 0.5 mean 5e+11 max 1e+12\n  5.0000e-01  1.0000e+12",
      shown(pl.tensor({ 0.5, 1e12 }, "float64"))
    )
  end)

  it("counts what is not finite, and leaves it out of the mean", function()
    local inf, nan = math.huge, math.abs(0 / 0)
    assert.equal(
      "float32[4] | min 1 mean 1 max 1 | 1 NaN, 2 Inf\n     1   nan   inf  -inf",
      shown(pl.tensor { 1, nan, inf, -inf })
    )
    assert.equal("float32[2] | 2 Inf\n  inf  inf", shown(pl.tensor { inf, inf }))
  end)

  it("is cut in the middle where rows or columns are too many", function()
    local x = pl.arange(20 * 100):view(20, 100)
    local lines = {}
    for line in shown(x):gmatch("[^\n]+") do
      lines[#lines + 1] = line
      assert.is_true(#line <= 60, line)
    end
    assert.equal("int32[20,100] | min 0 mean 999.5 max 1999", lines[1])
    assert.equal("     0     1     2     3  ...    96    97    98    99", lines[2])
    assert.equal("  ...", lines[7])
    assert.equal("  1900  1901  1902  1903  ...  1996  1997  1998  1999", lines[12])
    assert.equal(12, #lines)
  end)

  it("of one axis takes a few lines, each with its first place", function()
    assert.equal(
      "int32[25] | min 0 mean 12 max 24\n"
        .. " [1]   0   1   2   3   4   5   6   7   8   9  10  11  12  13\n"
        .. "[15]  14  15  16  17  18  19  20  21  22  23  24",
      shown(pl.arange(25))
    )
    assert.equal(
      "int32[5000] | min 0 mean 2500 max 4999\n"
        .. "     0     1     2     3  ...  4996  4997  4998  4999",
      shown(pl.arange(5000))
    )
  end)

  it("of three axes comes as its matrices", function()
    assert.equal(
      "int32[2,2,2] | min 0 mean 3.5 max 7\n[1]\n  0  1\n  2  3\n[2]\n  4  5\n  6  7",
      shown(pl.arange(8):view(2, 2, 2))
    )
    local text = shown(pl.zeros(3, 3, 1, 2))
    assert.equal(
      "float32[3,3,1,2] | min 0 mean 0 max 0\n[1][1]\n  0  0\n[1][2]\n  0  0\n...\n[3][2]\n  0  0"
        .. "\n[3][3]\n  0  0",
      text
    )
  end)

  it("says its name, whether it wants a gradient, and how it was freed", function()
    local x = pl.zeros(2):name("bias"):requires_grad(true)
    assert.equal("bias: float32[2] requires_grad | min 0 mean 0 max 0\n  0  0", shown(x))
    x:free()
    assert.equal("bias: float32[2] requires_grad (freed by :free())", shown(x))
    local y
    do
      local step <close> = pl.scope("demo") -- luacheck: ignore
      y = pl.zeros(3)
    end
    assert.equal("float32[3] (freed when scope 'demo' closed)", shown(y))
  end)

  it("goes by the width of the terminal", function()
    local x = pl.arange(100):view(1, 100)
    for _, width in ipairs { 40, 60, 100, 200 } do
      system.setenv("COLUMNS", tostring(width))
      local line = shown(x):match("\n(.*)")
      assert.is_true(#line <= width and #line > width - 10, #line .. " of " .. width)
    end
    system.setenv("COLUMNS", "60")
  end)
end)

describe("a scope", function()
  it("says what it holds and how to hold it", function()
    do
      local step <close> = pl.scope("demo")
      local x = pl.zeros(4)
      assert.equal(
        "scope 'demo', open: 1 tensor, 16 bytes; it ends with the block that has: "
          .. 'local this <close> = pl.scope("demo")',
        tostring(step)
      )
      assert.is_true(x:alive())
    end
    local closed = pl.scope("demo")
    closed:close()
    assert.equal("scope 'demo', closed", tostring(closed))
  end)

  it("that nobody holds frees nothing and is told", function()
    local program = require("perilune.host").executable
    local script = [[
      local pl = require("perilune")
      local x
      local function forget() pl.scope("lost") x = pl.ones(3) end
      forget()
      collectgarbage()
      print(x:sum():item())
    ]]
    local file = io.popen(("%s -e '%s' 2>&1"):format(program, script))
    local text = file:read("a")
    file:close()
    assert.equal(
      "perilune: (command line):3: the scope 'lost' was not held by a variable, so nothing closed "
        .. 'it; its tensors stay. Write: local this <close> = pl.scope("lost")\n3.0\n',
      text
    )
  end)
end)
