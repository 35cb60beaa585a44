--- The REPL's parts that need no terminal: lasting locals, completion, printing; and one session.
local complete = require("perilune.repl.complete")
local core = require("perilune.core")
local host = require("perilune.host")
local locals = require("perilune.repl.locals")
local pretty = require("perilune.repl.pretty")
local scratch = dofile("tests/lua/support/scratch.lua")

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

  local commands = require("perilune.repl.commands")
  local pl = require("perilune")
  local world = setmetatable({
    pl = pl,
    t = { ["two words"] = 1, abc = 2, abd = 3, ['a"quote'] = 4 },
    local_file = "x",
  }, { __index = _G })

  local kinds = {
    { "option keys of an op", "pl.matmul(a, b, { tr", { "transpose_a", "transpose_b" } },
    { "option keys that are not there yet", "pl.randn({ 2 }, { seed = 1, d", { "dtype" } },
    { "option keys after another", "f(pl.generate(m, {}, { max", { "max_tokens" } },
    {
      "modules that are not loaded",
      "pl.schedule.co",
      {
        "constant",
        "constructor_names",
        "constructors",
        "cosine",
      },
    },
    { "keys in brackets", 't["a', { "abc", "abd" } },
    { "keys in brackets with blanks", "t['tw", { "two words" } },
    { "modules", 'require("perilune.repl.lo', { "perilune.repl.locals" } },
    { "modules without parentheses", "require 'lf", { "lfs" } },
    { "files in strings", 'io.open("tests/run', { "tests/runner/" } },
    {
      "files after a command",
      ":run recipes/quick",
      { "recipes/quickstart.lua", "recipes/quickstart/" },
    },
    { "modules after a command", ":reload perilune.repl.ini", {} },
    { "commands", ":ti", { "time", "timeit" } },
    { "code after a command", ":time pl.sche", { "schedule" } },
    { "commands after help", ":help hist", { "history" } },
    { "topics", "?pl.stats.me", { "pl.stats.mean", "pl.stats.median" } },
    { "files of the shell", "$ cat tests/CMa", { "tests/CMakeLists.txt" } },
    { "names behind two dots", "x = 'a' .. local_", { "local_file" } },
    { "nothing behind a number", "x = 12e", {} },
  }
  for _, case in ipairs(kinds) do
    it(
      "offers " .. case[1],
      function() assert.are.same(case[3], (complete.candidates(world, case[2], commands))) end
    )
  end

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
    { core.zeros { 2, 1 }, "float32[2,1] | min 0 mean 0 max 0\n  0\n  0" },
    { { w = core.zeros { 2, 1 }, n = 1 }, "{ n = 1, w = float32[2,1] | min 0 mean 0 max 0 }" },
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
  or int32 x
  axis     axis, from 1
  start    first element taken, from 1
  stop     last element taken, from 1; nil: to the end
  method: x:slice(...)]],
      help.op("slice")
    )
    assert.truthy(help.op("gelu"):find('approximate one of "none", "tanh"', 1, true))
    assert.truthy(help.op("gelu"):find('{approximate = "none", precision = "float32"}', 1, true))
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

  local function fresh(options)
    options = options or {}
    options.width = options.width or 80
    local s = session.new(options)
    rawset(s.env, "pl", require("perilune"))
    return s
  end

  it("shows the last expression of an entry, unless a semicolon ends it", function()
    local s = fresh()
    for text, want in pairs {
      ["x = 3; x + 1"] = "4",
      ["local y = 2\ny * y, 'two'"] = '4\t"two"',
      ["y = 5 y"] = "5",
      ["for i = 1, 2 do z = i end z"] = "2",
      ["z = 9;"] = "",
      ["z = 9; z;"] = "",
      ["z = 9"] = "",
      ["z = 3 -1"] = "",
      ["local function f() return 7 end f()"] = "7",
      ["return 8"] = "8",
      ["io.write('')"] = "",
    } do
      assert.are.equal(want, s:eval(text).text, text)
    end
    _G.z = nil
  end)

  it("keeps the last results", function()
    local s = fresh()
    for i = 1, 11 do
      s:eval(tostring(i * i))
    end
    assert.are.equal("121\t121\t100\t9", s:eval("_, _1, _2, _9").text)
    assert.are.equal("121", s:eval("_").text) -- the first of the values above
  end)

  it("after an error goes up and down its calls, with their variables", function()
    local s = fresh()
    s:eval("local seen = 'session'")
    s:eval("local function inner(a) local b = a * 2; local seen = b; return b + nil end")
    s:eval("local function outer(n) local kept = { n }; local r = inner(n); return r, kept end")
    local lost = s:eval("outer(21)")
    assert.are.equal(
      "repl:1: attempt to perform arithmetic on a nil value\n"
        .. "   1  repl:1  inner\n   2  repl:1  function of line 1\n"
        .. "(:up, :down, :locals look at these calls)",
      lost.error
    )
    assert.are.equal('"session"\tnil', s:eval("seen, b").text)
    assert.are.equal("1  repl:1  inner\na = 21\nb = 42\nseen = 42", s:eval(":locals").text)
    assert.are.equal("42\t42", s:eval("b, seen").text) -- what was listed can be typed
    assert.are.equal("", s:eval(":leave").text)
    assert.are.equal('"session"\tnil', s:eval("seen, b").text)
    s:eval(":frame 1")
    assert.are.equal("42\t21", s:eval("seen, a").text)
    assert.are.same({ "seen" }, (complete.candidates(s:visible(), "see")))
    assert.truthy(s:eval(":up").text:find("kept = { 21 }", 1, true))
    assert.are.equal("21\tnil", s:eval("n, r").text)
    assert.are.equal("this is the outermost call", s:eval(":up").error)
    assert.truthy(s:eval(":down").text:find("b = 42", 1, true))
    assert.are.equal("", s:eval(":leave").text)
    assert.are.equal("nil", s:eval("a").text)
    s:eval("error({ code = 3, why = 'lost' })")
    assert.are.equal("3", s:eval("_error.code").text)
    assert.are.equal(
      'an error object: { code = 3, why = "lost" }',
      s:eval("error({ code = 3, why = 'lost' })").error
    )
    assert.are.equal("repl:1: just a sentence", s:eval("error('just a sentence')").error)
  end)

  it("lists the options of a function where it is asked for", function()
    local text = fresh():eval("?pl.generate").text
    assert.matches("opts      *%?GenerateOptions.-\n    %.max_tokens  %?integer %(64%) ", text)
    assert.matches("%.max_tokens  %?integer %(64%) ", fresh():eval("?GenerateOptions").text)
  end)

  it("tells of every public function and method, and nothing is 'a function in C'", function()
    local s, topics = fresh(), require("perilune.reference.topics")
    for _, name in ipairs(topics.names()) do
      local text = s:eval("?" .. name).text
      assert(text and not text:find("nothing is written", 1, true), name)
      assert(not text:find("nothing is known", 1, true), name)
    end
    for name, value in pairs(require("perilune")) do
      if type(value) == "function" then
        local text = s:eval("?pl." .. name).text
        assert(text and not text:find("nothing is written", 1, true), name)
      end
    end
    for lib in ("string table math utf8 coroutine io os"):gmatch("%w+") do
      for name, value in pairs(_G[lib]) do
        if type(value) == "function" then
          local text = s:eval(("?%s.%s"):format(lib, name)).text
          assert(not text:find("nothing is written", 1, true), lib .. "." .. name)
        end
      end
    end
  end)

  it("help knows methods of values, rows of a config, sources, patterns and near names", function()
    local s = fresh()
    s:eval("t = pl.zeros { 2, 3 }")
    assert.truthy(s:eval("?t.sum").text:find("y = pl.sum(x", 1, true))
    assert.truthy(s:eval("?t:shape").text:find("The sizes of all axes.", 1, true))
    assert.truthy(s:eval("t.shape?").text:find("The sizes of all axes.", 1, true))
    s:eval("cfg = pl.config { name = 'x', args = {}, { kl_coef = 0.05, 'how much', min = 0 } }")
    assert.truthy(s:eval("?cfg.kl_coef").text:find("kl_coef = 0.05\n  how much\n", 1, true))
    assert.truthy(s:eval("??pl.stats.mean").text:find("function stats.mean", 1, true))
    local source = s:eval("??matmul").text
    assert.truthy(source:find("op(A) op(B)", 1, true))
    assert.truthy(source:find("static pl_status matmul_forward", 1, true))
    assert.truthy(s:eval("??t.shape").text:find("static int", 1, true))
    assert.truthy(s:eval("?*rank*").text:find("pl.rank_loss", 1, true))
    assert.are.equal("no name fits *zzqq*", s:eval("?*zzqq*").text)
    assert.are.equal("nothing is known of 'generte'; near: pl.generate", s:eval("?generte").text)
    for line in s:eval("?Model").text:gmatch("[^\n]+") do
      assert(#line <= 90, line)
    end
    _G.t, _G.cfg = nil, nil
  end)

  it(":who, :mem, :time, :timeit, :history, :help tell of the session", function()
    local s = fresh()
    s:eval("local w = pl.zeros { 4, 2 }")
    s:eval("local n = 3")
    local who = s:eval(":who").text
    assert.truthy(who:find("n  integer  3\n", 1, true), who)
    assert.truthy(who:find("w  Tensor   float32 [4, 2]  32 B", 1, true), who)
    assert.truthy(who:find("tensors in all: 32 B", 1, true))
    rawset(
      s.env,
      "m",
      require("perilune").model.new(dofile("tests/lua/support/toy.lua").configs.llama)
    )
    who = s:eval(":who").text
    local held = s.env.m:memory()
    assert.are.equal(s.env.m.block:flat():memory(), held)
    assert.truthy(who:find("m  model    [%d.]+k parameters in float32 +[%d.]+ KiB\n"), who)
    assert.truthy(
      who:find("all: " .. require("perilune.base.format").bytes(held + 32), 1, true),
      who
    )
    s:eval("local nested = { pl.zeros { 8 }, { pl.zeros { 8 }, w, 'text' } }")
    s:eval("nested.again, nested[2].up = nested[2], nested")
    s:eval("local none = { 1, 2 }")
    who = s:eval(":who").text
    assert.truthy(who:find("nested  table    2 values, 3 tensors +96 B\n"), who)
    assert.truthy(who:find("none    table    2 values\n"), who)
    assert.truthy(
      who:find("all: " .. require("perilune.base.format").bytes(held + 32 + 64), 1, true),
      who
    )
    assert.truthy(s:eval(":mem").text:find("^tensors  .* now, .* at most"))
    assert.truthy(s:eval(":time n + 1").text:find("^4\n[%d.]+ %a+ %(processor time"))
    assert.truthy(s:eval(":timeit n + 1").text:find("^median .* best .* of %d+$"))
    assert.are.equal("repl:1: no", s:eval(":time error('no')").error)
    s.entries = { "a = 1", "b = 2\nb", "a" }
    assert.are.equal("   1  a = 1\n   3  a", s:eval(":history a").text)
    assert.truthy(s:eval(":help").text:find(":timeit CODE", 1, true))
    assert.are.equal("there is no command :tme; did you mean :time?", s:eval(":tme").error)
  end)

  it("? fills the paragraphs of a comment, and leaves results in lines of their own", function()
    local env = { pl = require("perilune") }
    local text = require("perilune.repl.help").text(env, "pl.advantage.group", 70)
    assert.truthy(text:find("^pl.advantage.group%(rewards, k, %[scale%]%)\n  The reward less "))
    local prose = text:match("\n(  The reward.-)\n  rewards ")
    local lines = {}
    for line in prose:gmatch("[^\n]+") do
      lines[#lines + 1] = line
      assert.is_true(utf8.len(line) <= 70, line)
    end
    for i = 1, #lines - 1 do -- the next word had no room
      assert.is_true(utf8.len(lines[i]) + 1 + #lines[i + 1]:match("%S+") > 70, lines[i])
    end
    assert.truthy(text:find("\n  gives {number,...} one", 1, true))
    assert.truthy(text:find("\n  gives ?number what", 1, true))
  end)

  it(":plot names the metric that was meant, or those there are", function()
    local folder = scratch.path()
    require("lfs").mkdir(folder)
    scratch.write(folder .. "/metrics.jsonl", '{"step":1,"objective/kl":0.5,"lr":1}\n')
    local s = fresh()
    assert.are.equal(
      folder .. " has no metric 'kl'; did you mean 'objective/kl'?",
      s:eval(":plot " .. folder .. " kl").error
    )
    assert.are.equal(
      folder .. " has no metric 'reward'; it has lr, objective/kl, step",
      s:eval(":plot " .. folder .. " reward").error
    )
  end)

  it(":run keeps the locals of a script, where it ends", function()
    local path = scratch.write(
      scratch.path() .. ".lua",
      "#!/usr/bin/perilune\nlocal a, b = ..., 'b'\nif a == 'early' then local c = 3 return c end\n"
        .. "local function f() return a end\nreturn f()\n"
    )
    local s = fresh()
    assert.are.equal('"one"', s:eval(":run " .. path .. " one two").text)
    assert.are.equal('"one"\t"b"\t"one"\tnil', s:eval("a, b, f(), c").text)
    assert.are.equal("3", s:eval(":run " .. path .. " early").text)
    assert.are.equal('"early"\t3', s:eval("a, c").text)
    assert.truthy(s:eval(":run /no/such.lua").error:find("No such file", 1, true))
    assert.is_nil(rawget(_G, "__perilune_keep"))
  end)

  it(":reload swaps functions in and keeps state", function()
    local folder = scratch.path()
    require("perilune.core").files.folder_make(folder)
    local function write(text) scratch.write(folder .. "/swapped.lua", text) end
    write(
      "local M, C = { n = 0 }, {} C.__index = C\nfunction C:say() return 'old' .. self.x end\n"
        .. "function M.new(x) M.n = M.n + 1 return setmetatable({ x = x }, C) end\nreturn M\n"
    )
    local s, search = fresh(), package.path
    package.path = folder .. "/?.lua;" .. search
    s:eval("local m = require('swapped') local o = m.new(1)")
    assert.are.equal('"old1"', s:eval("o:say()").text)
    write(
      "local M, C = { n = 0 }, {} C.__index = C\n"
        .. "function C:say() return 'new' .. self.x .. M.n end\nfunction C:more() return 2 end\n"
        .. "function M.new(x) M.n = M.n + 10 return setmetatable({ x = x }, C) end\nreturn M\n"
    )
    assert.truthy(s:eval(":reload swapped").text:find("reloaded swapped", 1, true))
    assert.are.equal('"new11"\t2', s:eval("o:say(), o:more()").text)
    assert.are.equal('"new211"\t11', s:eval("m.new(2):say(), m.n").text)
    write("this is no Lua")
    assert.truthy(s:eval(":reload swapped").error:find("swapped.lua:1", 1, true))
    assert.are.equal('"new111"', s:eval("o:say()").text)
    package.path, package.loaded.swapped = search, nil
    assert.are.equal("swapped is not loaded", s:eval(":reload swapped").error)
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
      "string.rep(s, n, [between])",
      "n copies, with a text between them",
      "20",
      "21",
    }, lines)
    assert.truthy(err:find("lost", 1, true))
    assert.falsy(err:find("perilune/repl", 1, true))
  end)
end)
