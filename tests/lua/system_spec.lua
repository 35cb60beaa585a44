--- perilune.core.system: processes, clocks, the machine.
local scratch = dofile("tests/lua/support/scratch.lua")
local system = require("perilune.core").system

local folder = scratch.folder()

teardown(scratch.clean)

local read = scratch.read

it("spawn gives the status, redirects, and reports what it cannot start", function()
  assert.are.same({ "exit", 3 }, { system.spawn { "sh", "-c", "exit 3" } })
  assert.are.same({ "signal", 9 }, { system.spawn { "sh", "-c", "kill -9 $$" } })
  local out = folder .. "/out"
  local command = { "printf", "%s|", "a b", "$c" }
  assert.are.same({ "exit", 0 }, { system.spawn(command, { stdout = out }) })
  assert.are.equal("a b|$c|", read(out))
  local ok, message, code = system.spawn { "no-such-program-here" }
  assert.is_nil(ok)
  assert.are.equal("no-such-program-here: No such file or directory", message)
  assert.are.equal(2, code)
  assert.has_error(function() system.spawn({ "true" }, { stdoutt = "x" }) end)
  assert.has_error(function() system.spawn {} end)
end)

it("kill and wait", function()
  local pid = system.spawn({ "sleep", "60" }, { wait = false })
  assert.is_true(system.kill(pid, 0))
  assert.is_true(system.kill(pid))
  assert.are.same({ "signal", 15 }, { system.wait(pid) })
  assert.is_nil((system.kill(pid, 0)))
  assert.has_error(function() system.kill(-1) end)
end)

it("clocks go forward", function()
  local before = system.monotonic()
  assert.is_true(system.sleep(0.02))
  local passed = system.monotonic() - before
  assert.truthy(passed >= 0.02 and passed < 5)
  assert.truthy(math.abs(system.realtime() - os.time()) < 5)
end)

it("knows the machine", function()
  assert.truthy(system.affinity() >= 1)
  local info = system.meminfo()
  assert.truthy(info.total > info.rss and info.rss > 0 and info.peak_rss >= info.rss)
  assert.truthy(system.disk_free("/") > 0)
  assert.are.equal("openmp", system.openblas().parallel)
  assert.truthy(#system.hostname() > 0)
  assert.truthy(system.pid() > 0)
end)
