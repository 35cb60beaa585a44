--- The REPL's parts that need no terminal: lasting locals, completion, printing; and one session.
local complete = require("perilune.repl.complete")
local core = require("perilune.core")
local host = require("perilune.host")
local locals = require("perilune.repl.locals")
local pretty = require("perilune.repl.pretty")

describe("locals.rewrite", function()
  local cases = {
    { "local x = 1", " x = 1", { "x" } },
    { "local a, b = f()", " a, b = f()", { "a", "b" } },
    { "local x", " x = nil", { "x" } },
    { "local x, y print(x)", " x, y = nil print(x)", { "x", "y" } },
    { "local k <const> = 2", " k  = 2", { "k" } },
    { "local s <close> = open()", "local s <close> = open()", {} },
    {
      "local function f(n) local m = n return m end",
      " function f(n) local m = n return m end",
      { "f" },
    },
    {
      "for i = 1, 3 do local z = i end local q = 1",
      "for i = 1, 3 do local z = i end  q = 1",
      { "q" },
    },
    {
      "if a then local b = 1 elseif c then local d = 2 end",
      "if a then local b = 1 elseif c then local d = 2 end",
      {},
    },
    { "repeat local x = 1 until x local y = 2", "repeat local x = 1 until x  y = 2", { "y" } },
    { 'print("local x = 1")', 'print("local x = 1")', {} },
    { "print([==[ local x ]] ]==]) -- local y", "print([==[ local x ]] ]==]) -- local y", {} },
    { "--[[ local x\n]] local y = 'it\\'s'", "--[[ local x\n]]  y = 'it\\'s'", { "y" } },
    { "t = { f = function() local a end }", "t = { f = function() local a end }", {} },
  }
  for _, case in ipairs(cases) do
    it(("%q"):format(case[1]), function()
      local text, names = locals.rewrite(case[1])
      assert.are.equal(case[2], text)
      assert.are.same(case[3], names)
    end)
  end

  it("never changes what Lua accepts or the number of lines", function()
    local file = assert(io.open(package.searchpath("perilune.repl.locals", package.path)))
    local source = file:read("a"):gsub("return locals%s*$", "")
    file:close()
    local text = locals.rewrite(source)
    assert(load(text))
    assert.are.equal(select(2, source:gsub("\n", "")), select(2, text:gsub("\n", "")))
  end)
end)

describe("completion", function()
  local env = setmetatable({
    apple = { red = 1, round = 2, rot = print },
    object = setmetatable({ own = 1 }, { __index = { method = print, other = 5 } }),
  }, { __index = _G })

  local function names(before) return (complete.candidates(env, before)) end

  it("finds names, fields and methods", function()
    assert.are.same({ "apple" }, names("x = app"))
    assert.are.same({ "red", "rot", "round" }, names("apple.r"))
    assert.are.same({ "rot" }, names("apple:r"))
    assert.are.same({ "method", "other", "own" }, names("print(object."))
    assert.are.same({ "method" }, names("object:"))
    assert.are.same({ "rep", "reverse" }, names("string.re"))
    assert.are.same({ "while" }, names("whi"))
    assert.are.same({}, names("nothing.at.all"))
  end)

  it("knows the methods of strings held in variables", function()
    env.text = "abc"
    assert.are.same({ "rep", "reverse" }, names("text:re"))
  end)

  it("TAB inserts what all candidates share and lists the rest", function()
    assert.are.equal("le", (complete.line(env, "app")))
    assert.are.equal("  ", (complete.line(env, "  ")))
    assert.are.same({ "", { "red", "rot", "round" } }, {
      complete.line(env, "apple.") and "",
      select(2, complete.line(env, "apple.r")),
    })
  end)

  it("lists fields that come at first use", function()
    local lazy = setmetatable({}, { __names = { schedule = true } })
    assert.are.same({ "schedule" }, (complete.candidates({ lazy = lazy }, "lazy.sch")))
  end)

  it("calls nothing", function()
    local touched = false
    local trap = setmetatable({}, { __index = function() touched = true end })
    complete.candidates({ trap = trap }, "trap.inner.")
    assert.is_false(touched)
  end)
end)

describe("pretty.show", function()
  local cyclic = { name = "me" }
  cyclic.self = cyclic
  local cases = {
    { nil, "nil" },
    { 1, "1" },
    { 1.0, "1.0" },
    { 'a\nb\0"ü', [["a\nb\0\"ü"]] },
    { "\xff", [["\xff"]] },
    { {}, "{}" },
    { { 1, 2, "x" }, '{ 1, 2, "x" }' },
    {
      { b = 1, a = { 2 }, ["two words"] = 3, ["end"] = 4, [10] = 5 },
      '{ [10] = 5, a = { 2 }, b = 1, ["end"] = 4, ["two words"] = 3 }',
    },
    { cyclic, '{ name = "me", self = <cycle> }' },
    { setmetatable({}, { __tostring = function() return "shows itself" end }), "shows itself" },
    { { { { { { 1 } } } } }, "{ { { { {...} } } } }" },
  }
  for i, case in pairs(cases) do
    it("case " .. i, function() assert.are.equal(case[2], pretty.show(case[1])) end)
  end

  it("breaks what is too wide and cuts what is too long", function()
    assert.are.equal(
      '{\n  "aaaaaaaaaa",\n  "bbbbbbbbbb",\n}',
      pretty.show({ "aaaaaaaaaa", "bbbbbbbbbb" }, 20)
    )
    local long = {}
    for i = 1, 150 do
      long[i] = i
    end
    assert.truthy(pretty.show(long):find("... 50 more", 1, true))
  end)
end)

describe("help.op", function()
  local help = require("perilune.reference.op_help")

  it("tells of every op", function()
    for _, row in ipairs(core.ops()) do
      local text = help.op(row.name)
      assert.truthy(text:find("pl." .. row.name .. "(", 1, true))
      assert.truthy(text:find(row.doc, 1, true))
    end
    assert.is_nil(help.op("no_such_op"))
  end)

  it(
    "shows the call with its defaults",
    function()
      assert.truthy(
        help
          .op("matmul")
          :find("y = pl.matmul(a, b, {transpose_a = false, transpose_b = false})", 1, true)
      )
    end
  )

  it("says what one types in Lua: counted from 1, choices in quotes", function()
    assert.are.equal(
      [[
y = pl.slice(x, {axis = 1, start = 1, stop = nil})
  a run of elements along axis
  shapes   [*] -> [*]
  axis     axis, from 1
  start    first element taken, from 1
  stop     last element taken, from 1; nil: to the end
  method: x:slice(...)]],
      help.op("slice")
    )
    assert.truthy(help.op("gelu"):find('approximate one of "none", "tanh"', 1, true))
    assert.truthy(help.op("gelu"):find('{approximate = "none"}', 1, true))
  end)

  it("shows defaults that give what leaving them out gives", function()
    for _, row in ipairs(core.ops()) do
      local options = help.op(row.name):match("^[^\n]*(%b{})%)\n")
      if options and not options:find("{...}", 1, true) then
        local typed = assert(load("return " .. options))()
        for _, param in ipairs(row.params) do
          local default = param.default
          if default == "all" or default == "end" then default = nil end
          assert.are.equal(default, typed[param.name], row.name .. "." .. param.name)
        end
      end
    end
  end)
end)

describe("a session without a terminal", function()
  local session = require("perilune.repl.session")

  it("gives texts: of values, of what is printed, of errors", function()
    local printed = {}
    local s = session.new {
      output = function(text) printed[#printed + 1] = text end,
      width = 60,
    }
    assert.are.equal("", s:eval("local x = 20").text)
    assert.are.equal("40", s:eval("x * 2").text)
    assert.are.equal("20\tnil", s:eval("x, nil").text)
    assert.is_true(s:eval("for i = 1, 2 do").more)
    assert.are.equal("", s:eval("print(x, true) io.write('a', 1)").text)
    assert.are.same({ "20\ttrue\n", "a1" }, printed)
    local lost = s:eval("error('lost')")
    assert.are.same({ false, "repl:1: lost" }, { lost.ok, lost.error })
    assert.are.same(
      { "repl:1: unexpected symbol near '+'" },
      { s:eval("+").error, s:eval("").error }
    )
    assert.is_nil(rawget(_G, "x"))
  end)

  it("leaves the grace of a run that asks it", function()
    local s = session.new {}
    local was = host.graceful(true)
    s:eval("1")
    assert.is_true(host.graceful(was))
  end)
end)

describe("a session", function()
  it("keeps locals, joins lines, shows values, survives errors", function()
    local input, output, errors = os.tmpname(), os.tmpname(), os.tmpname()
    local file = assert(io.open(input, "w"))
    file:write([[
1 + 1
"quiet";
local x = 20
x * 2 + _
for i = 1, 2 do
  print("loop", i)
end
error("lost")
_G.x
x, nil, "s"
{ a = { 1, 2 } }
?string.rep
= x
x +
1
]])
    file:close()
    local how, code = core.system.spawn(
      { host.executable, "-i" },
      { stdin = input, stdout = output, stderr = errors }
    )
    local function slurp(name)
      local f = assert(io.open(name))
      local text = f:read("a")
      f:close()
      os.remove(name)
      return text
    end
    os.remove(input)
    local out, err = slurp(output), slurp(errors)
    assert.are.equal("exit 0", how .. " " .. code)
    local lines = {}
    for line in out:gmatch("[^\n]+") do
      lines[#lines + 1] = (line:gsub("^[> ]+", ""))
    end
    table.remove(lines, 1) -- the version
    assert.are.equal("", table.remove(lines)) -- the prompt that met the end of input
    assert.are.same({
      "2",
      "42",
      "loop\t1",
      "loop\t2",
      "nil",
      '20\tnil\t"s"',
      "{ a = { 1, 2 } }",
      "string.rep(...)  a function in C",
      "20",
      "21",
    }, lines)
    assert.truthy(err:find("lost", 1, true))
    assert.falsy(err:find("perilune/repl", 1, true))
  end)
end)
