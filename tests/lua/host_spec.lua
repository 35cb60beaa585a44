--- The program from outside: lua5.4's command line, sub-commands, exit codes, Ctrl-C.
local core = require("perilune.core")
local host = require("perilune.host")
local system = core.system

local folder

local function path(name) return folder .. "/" .. name end

local function write(name, text)
  local file = assert(io.open(path(name), "w"))
  file:write(text)
  file:close()
  return path(name)
end

local function read(name)
  local file = io.open(path(name))
  local text = file and file:read("a")
  if file then file:close() end
  return text
end

--- Runs the program: exit code, output, errors. `input` is what it reads.
local function run(args, input)
  local how, code = system.spawn({ host.executable, table.unpack(args) }, {
    stdin = input and write("in", input) or "/dev/null",
    stdout = path("out"),
    stderr = path("err"),
  })
  return how == "exit" and code or how, read("out"), read("err")
end

setup(function()
  folder = os.tmpname()
  os.remove(folder)
  assert(core.files.folder_make(folder))
  -- What the environment of this test says must not decide what the program does.
  for _, name in ipairs { "LUA_INIT", "LUA_INIT_5_4", "LUA_PATH", "LUA_PATH_5_4" } do
    system.setenv(name, nil)
  end
end)

teardown(function()
  for name in require("lfs").dir(folder) do
    if name:sub(1, 1) ~= "." then os.remove(path(name)) end
  end
  os.remove(folder)
end)

describe("the program's root", function()
  it("is the checkout, from a build folder too: the peer of `perilune bench` lies in it", function()
    for _, name in ipairs {
      "lua/perilune/init.lua",
      "recipes/ppo.lua",
      "tests/bench/peer_torch.py",
      "tests/bench/peer_llama.py",
      "tests/bench/peer_ppo.py",
      "CMakeLists.txt",
    } do
      assert.are.equal("file", require("lfs").attributes(host.root .. "/" .. name, "mode"), name)
    end
  end)
end)

describe("options", function()
  it("-e runs and keeps their order with -l", function()
    local code, out = run {
      "-e",
      "x = 1",
      "-l",
      "lfs",
      "-l",
      "f=lfs",
      "-e",
      "print(x, lfs == f, lfs.attributes('/').mode)",
    }
    assert.are.equal(0, code)
    assert.are.equal("1\ttrue\tdirectory\n", out)
  end)

  it("a script gets its arguments, arg the negative ones too", function()
    local script = write("args.lua", "print(arg[0], arg[1], arg[-1], #arg, ...)")
    local code, out = run { "-W", script, "one", "two" }
    assert.are.equal(0, code)
    assert.are.equal(("%s\tone\t-W\t2\tone\ttwo\n"):format(script), out)
  end)

  it("standard input is a script", function()
    local code, out = run({}, "print('from stdin')")
    assert.are.equal(0, code)
    assert.are.equal("from stdin\n", out)
    code, out = run({ "-", "a" }, "print(...)")
    assert.are.equal(0, code)
    assert.are.equal("a\n", out)
  end)

  it("LUA_INIT runs first, -E leaves it out", function()
    system.setenv("LUA_INIT", "print('init')")
    local _, with = run { "-e", "print(2)" }
    local _, without = run { "-E", "-e", "print(2)" }
    system.setenv("LUA_INIT", nil)
    assert.are.equal("init\n2\n", with)
    assert.are.equal("2\n", without)
  end)

  it("a wrong option is named", function()
    local code, out, err = run { "-z" }
    assert.are.equal(1, code)
    assert.are.equal("", out)
    assert.truthy(err:find("unrecognized option '-z'", 1, true))
    code, out, err = run { "-e" }
    assert.are.equal("", out)
    assert.are.equal(1, code)
    assert.truthy(err:find("'-e' needs an argument", 1, true))
  end)

  it("LUA_PATH is honoured before the program's own folder", function()
    write("strange_name_of_a_module.lua", "return 'found'")
    system.setenv("LUA_PATH", folder .. "/?.lua")
    local code, out = run {
      "-e",
      "print(require('strange_name_of_a_module'), (require('perilune.repl.pretty').show(1)))",
    }
    system.setenv("LUA_PATH", nil)
    assert.are.equal(0, code)
    assert.are.equal("found\t1\n", out)
  end)
end)

describe("exit codes", function()
  it("a sentence for the user gives 1 and no traceback, unless one is asked for", function()
    local script = write("bad.lua", "local function inner() error('no good') end inner()")
    local code, _, err = run { script }
    assert.are.equal(1, code)
    assert.are.equal(("perilune: %s:1: no good\n"):format(script), err)
    for _, args in ipairs { { "--traceback", script }, { "run", script, "--traceback" } } do
      code, _, err = run(args)
      assert.are.equal(1, code)
      assert.truthy(err:find("bad.lua:1: no good\nstack traceback:", 1, true), err)
      assert.truthy(err:find("'inner'", 1, true), err)
    end
    script = write("bad.lua", "assert(io.open('/no/such/file'))")
    code, _, err = run { script }
    assert.are.equal(1, code)
    assert.truthy(err:find("/no/such/file: No such file or directory\n$"), err)
  end)

  it("a fault of Lua code gives 1 and its traceback", function()
    for _, body in ipairs {
      "local t; t.x = 1",
      "table.sort({ 1, 'a' })",
      "local function f() return f() + 1 end f()",
    } do
      local code, _, err = run { write("bad.lua", body) }
      assert.are.equal(1, code)
      assert.truthy(err:find("stack traceback:", 1, true), err)
    end
  end)

  it("control characters of a message are spelled out", function()
    local _, _, err = run { "-e", "error('a\\27[31mb\\rc\\7\\tü', 0)" }
    assert.are.equal("perilune: a\\x1B[31mb\\x0Dc\\x07\tü\n", err)
  end)

  it("an error object that explains itself gives no traceback", function()
    local code, _, err = run {
      "-e",
      "error(setmetatable({}, {__tostring = function() return 'unknown key lr' end}))",
    }
    assert.are.equal(1, code)
    assert.are.equal("perilune: unknown key lr\n", err)
  end)

  it("os.exit is obeyed, a missing script is an error", function()
    assert.are.equal(7, (run { "-e", "os.exit(7)" }))
    local code, _, err = run { "no/such/script.lua" }
    assert.are.equal(1, code)
    assert.truthy(err:find("no/such/script.lua", 1, true))
  end)
end)

describe("commands", function()
  it("help lists them", function()
    local code, out = run { "help" }
    assert.are.equal(0, code)
    assert.truthy(out:find("perilune run RECIPE", 1, true))
    assert.are.equal(out, select(2, run { "--help" }))
  end)

  it("an unknown one gets the nearest", function()
    local code, out, err = run { "docter" }
    assert.are.equal(1, code)
    assert.are.equal("", out)
    assert.truthy(err:find("did you mean 'doctor'?", 1, true))
  end)

  it("run finds a module beside the recipe first", function()
    write("beside.lua", "return 'beside the recipe'")
    local recipe = write("recipe.lua", "print(require('beside'), arg[1])")
    local code, out = run { "run", recipe, "--key" }
    assert.are.equal(0, code)
    assert.are.equal("beside the recipe\t--key\n", out)
  end)

  it("run without a recipe says what is wanted", function()
    local code, _, err = run { "run" }
    assert.are.equal(1, code)
    assert.truthy(err:find("which recipe", 1, true))
  end)

  it("doctor passes here and takes no argument", function()
    local code, out = run { "doctor" }
    assert.truthy(out:find("openmp flavour", 1, true))
    assert.are.equal(core.gemm().split, out:find(" GFLOP/s, of split numbers %d+, bf") ~= nil)
    assert.truthy(out:find("numbers  ok", 1, true))
    assert.are.equal(out:find("BAD", 1, true) and 1 or 0, code)
    assert.are.equal(1, (run { "doctor", "who" }))
  end)
end)

describe("Ctrl-C", function()
  --- Starts a script, waits for its `ready`, interrupts it; exit code, seconds till the end.
  local function interrupt(body, signals, pause)
    os.remove(path("ready"))
    local script = write(
      "loop.lua",
      ([[
      local function ready() io.open(%q, "w"):close() end
      local core = require("perilune.core")
      %s]]):format(path("ready"), body)
    )
    local pid = assert(
      system.spawn(
        { host.executable, script },
        { wait = false, stdout = path("out"), stderr = path("err") }
      )
    )
    local patience = system.monotonic() + 20
    while not read("ready") and system.monotonic() < patience do
      system.sleep(0.01)
    end
    assert.truthy(read("ready"), "the script did not start: " .. (read("err") or ""))
    system.sleep(0.05)
    for i = 1, signals or 1 do
      system.sleep(i > 1 and (pause or 0.2) or 0)
      system.kill(pid, 2)
    end
    local began = system.monotonic()
    -- A program that does not stop must not hang the tests.
    local guard = assert(
      system.spawn(
        { "sh", "-c", ("sleep 20; kill -9 %d"):format(pid) },
        { wait = false, stdout = "/dev/null", stderr = "/dev/null" }
      )
    )
    local how, code = system.wait(pid)
    system.kill(guard, 9)
    system.wait(guard)
    return how .. " " .. code, system.monotonic() - began
  end

  local loops = {
    ["a loop"] = "ready() while true do end",
    ["a loop of pcall"] = "ready() while true do pcall(function() for i = 1, 1e8 do end end) end",
    ["a loop of xpcall"] = [[ready() while true do
      xpcall(function() while true do end end, print) end]],
    ["a coroutine"] = "ready() coroutine.wrap(function() while true do end end)()",
    ["a coroutine in pcall"] = [[ready() while true do
      pcall(coroutine.wrap(function() while true do end end)) end]],
    ["a loop of resume"] = [[ready() while true do
      coroutine.resume(coroutine.create(function() while true do end end)) end]],
    ["a comparison in table.sort"] = [[ready() local t = {} for i = 1, 1e6 do t[i] = -i end
      while true do table.sort(t, function(a, b) return a < b end) end]],
    ["a pattern that backtracks"] = [[ready()
      string.find(("a"):rep(60), ("a-"):rep(40) .. "b")]],
    ["a pattern that backtracks, in gsub, pcall and a coroutine"] = [[ready()
      coroutine.wrap(function() while true do
        pcall(string.gsub, ("a"):rep(60), ("a-"):rep(40) .. "b", print) end end)()]],
    ["a sort"] = [[local t = {} for i = 1, 1e6 do t[i] = i * 7919 % 1000003 end ready()
      while true do table.sort(table.move(t, 1, #t, 1, {})) end]],
    ["a concat"] = [[local t = {} for i = 1, 1e6 do t[i] = "ab" end ready()
      while true do table.concat(t, "long separators take their time") end]],
    ["one matrix product"] = [[local a = core.zeros({ 8000, 8000 })
      ready() core.matmul(a, a)]],
    ["matrix products"] = [[local a = core.randn({ 256, 256 }) ready()
      while true do local scope <close> = core.scope("s") core.matmul(a, a) end]],
    ["sleep"] = "ready() for i = 1, 1000 do core.system.sleep(1) end",
  }
  for name, body in pairs(loops) do
    it("stops " .. name, function()
      local how, seconds = interrupt(body)
      assert.are.equal("exit 130", how)
      assert.truthy(seconds < 2, ("took %.2f s"):format(seconds))
      assert.truthy(read("err"):find("perilune: interrupted", 1, true))
    end)
  end

  it("runs to-be-closed variables on the way out", function()
    local how = interrupt(([[
      local guard <close> = setmetatable({}, { __close = function()
        local n = 0
        for i = 1, 100000 do n = n + i end
        io.open(%q, "w"):write(n):close()
      end })
      ready() while true do end]]):format(path("closed")))
    assert.are.equal("exit 130", how)
    assert.are.equal("5000050000", read("closed"))
  end)

  it("what cannot be stopped is said, and a further one ends the program", function()
    local how = interrupt([[local text = ("%%"):rep(1e8) ready() os.date(text)]], 3, 1.1)
    assert.are.equal("signal 2", how)
    assert.truthy(read("err"):find("this cannot be stopped from here", 1, true), read("err"))
  end)

  it("a sort that it stops has changed nothing", function()
    local how = interrupt(
      ([[
      local t = {} for i = 1, 1e6 do t[i] = i * 7919 %% 1000003 end
      local guard <close> = setmetatable({}, { __close = function()
        local same = true
        for i = 1, 1e6 do same = same and t[i] == i * 7919 %% 1000003 end
        io.open(%q, "w"):write(tostring(same)):close()
      end })
      ready() table.sort(t) table.sort(t) while true do end]]):format(path("closed")),
      1,
      0
    )
    assert.are.equal("exit 130", how)
    assert.are.equal("true", read("closed"))
  end)

  it("table.sort otherwise behaves as in stock Lua", function()
    local list, words = {}, {}
    for i = 1, 5000 do
      list[i], words[i] = i * 7919 % 5003, ("w%04d"):format(i * 7919 % 5003)
    end
    table.sort(list)
    table.sort(words)
    for i = 2, 5000 do
      assert(list[i - 1] < list[i] and words[i - 1] < words[i])
    end
    table.sort(list, function(a, b) return a > b end)
    assert.are.same({ 5002, 0 }, { list[1], list[5000] and 0 })
    assert.are.equal(0, select("#", table.sort(list)))
    local mixed = table.move(words, 1, 2000, 2001, table.move(list, 1, 2000, 1, {}))
    local ok, message = pcall(table.sort, mixed)
    assert.is_false(ok)
    assert.truthy(message:find("attempt to compare", 1, true))
    local proxy = setmetatable({}, {
      __index = function(_, i) return list[i] end,
      __newindex = function(_, i, v) list[i] = v end,
      __len = function() return 3 end,
    })
    list[1], list[2], list[3] = 3, 1, 2
    table.sort(proxy)
    assert.are.same({ 1, 2, 3 }, { list[1], list[2], list[3] })
    assert.is_false((pcall(table.sort)))
    assert.is_false((pcall(table.sort, { 2, 1 }, 1)))
  end)

  it("pcall and coroutines otherwise behave as in stock Lua", function()
    assert.are.same(
      { true, 1, nil, 3, n = 4 },
      table.pack(pcall(function(...) return ... end, 1, nil, 3))
    )
    assert.are.same({ false, "e", n = 2 }, table.pack(pcall(error, "e", 0)))
    assert.are.same({ false, nil, n = 2 }, table.pack(pcall(error)))
    assert.are.same(
      { false, "handled e", n = 2 },
      table.pack(xpcall(error, function(m) return "handled " .. m end, "e", 0))
    )
    local wrapped = coroutine.wrap(function(...)
      local got = table.pack(pcall(function(...)
        local again = coroutine.yield(...)
        error("after " .. again, 0)
      end, ...))
      return table.unpack(got, 1, got.n)
    end)
    assert.are.same({ 1, 2, n = 2 }, table.pack(wrapped(1, 2)))
    assert.are.same({ false, "after x", n = 2 }, table.pack(wrapped("x")))
    assert.are.same({ false, "cannot resume dead coroutine", n = 2 }, table.pack(pcall(wrapped)))
    local co = coroutine.create(function() return coroutine.running() end)
    local ok, inside, main = coroutine.resume(co)
    assert.are.same({ true, co, false }, { ok, inside, main })
    assert.are.equal("dead", coroutine.status(co))
    assert.is_false((pcall(pcall)))
    assert.is_false((pcall(coroutine.resume, 1)))
  end)
end)

describe("stock lua5.4", function()
  it("loads the engine as a module", function()
    local stock = "/usr/bin/lua5.4"
    if not read("../.." .. stock) and not io.open(stock) then
      pending("lua5.4 is not installed")
      return
    end
    local build = host.executable:match("^(.*)/")
    system.setenv("LUA_CPATH", build .. "/lib/?.so;;")
    local how, code = system.spawn({
      stock,
      "-e",
      [[
      local core = require("perilune.core")
      local a = core.tensor({ { 1, 2 }, { 3, 4 } })
      print(core.matmul(a, a):get(2, 1))]],
    }, { stdout = path("out"), stderr = path("err") })
    system.setenv("LUA_CPATH", nil)
    if read("err"):find("ASan runtime does not come first", 1, true) then
      pending("a sanitized module cannot be loaded into a program without the sanitizer")
      return
    end
    assert.are.equal("", read("err"))
    assert.are.equal("exit 0", how .. " " .. code)
    assert.are.equal("15.0\n", read("out"))
  end)
end)
