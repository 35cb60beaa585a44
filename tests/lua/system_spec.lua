--- perilune.core.system: files that last, processes, clocks, hashing.
local lfs = require("lfs")
local scratch = dofile("tests/lua/support/scratch.lua")
local system = require("perilune.core").system

local folder = scratch.path()

teardown(scratch.clean)

local read = scratch.read

it("mkdir_p makes what is missing and says what is in the way", function()
  assert.is_true(system.mkdir_p(folder .. "/a/b/c/"))
  assert.is_true(system.mkdir_p(folder .. "/a/b"))
  assert.are.equal("directory", lfs.attributes(folder .. "/a/b/c", "mode"))
  assert(system.write_file_atomic(folder .. "/file", "x"))
  local ok, message, code = system.mkdir_p(folder .. "/file/inside")
  assert.is_nil(ok)
  assert.truthy(message:find("Not a directory", 1, true))
  assert.are.equal(20, code)
end)

it("write_file_atomic replaces the whole file and keeps its mode", function()
  local path = folder .. "/atomic"
  assert.is_true(system.write_file_atomic(path, "one\0two"))
  assert.are.equal("one\0two", read(path))
  system.spawn({ "chmod", "640", path })
  assert.is_true(system.write_file_atomic(path, ""))
  assert.are.equal("", read(path))
  assert.are.equal("rw-r-----", lfs.attributes(path, "permissions"))
  local left = {}
  for name in lfs.dir(folder) do
    left[#left + 1] = name:match("tmp%d+$")
  end
  assert.are.same({}, left)
  assert.is_nil((system.write_file_atomic(folder .. "/no/such/folder", "x")))
end)

it("append_private is for the owner alone", function()
  local path = folder .. "/private"
  assert.is_true(system.append_private(path, "a"))
  assert.is_true(system.append_private(path, "b"))
  assert.are.equal("ab", read(path))
  assert.are.equal("rw-------", lfs.attributes(path, "permissions"))
end)

it("rename and fsync", function()
  assert(system.write_file_atomic(folder .. "/from", "x"))
  assert.is_true(system.rename(folder .. "/from", folder .. "/to"))
  assert.is_nil(lfs.attributes(folder .. "/from"))
  assert.is_true(system.fsync(folder .. "/to"))
  assert.is_true(system.fsync(folder))
  assert.is_nil((system.fsync(folder .. "/from")))
end)

it("spawn gives the status, redirects, and reports what it cannot start", function()
  assert.are.same({ "exit", 3 }, { system.spawn({ "sh", "-c", "exit 3" }) })
  assert.are.same({ "signal", 9 }, { system.spawn({ "sh", "-c", "kill -9 $$" }) })
  local out = folder .. "/out"
  local command = { "printf", "%s|", "a b", "$c" }
  assert.are.same({ "exit", 0 }, { system.spawn(command, { stdout = out }) })
  assert.are.equal("a b|$c|", read(out))
  local ok, message, code = system.spawn({ "no-such-program-here" })
  assert.is_nil(ok)
  assert.are.equal("no-such-program-here: No such file or directory", message)
  assert.are.equal(2, code)
  assert.has_error(function()
    system.spawn({ "true" }, { stdoutt = "x" })
  end)
  assert.has_error(function()
    system.spawn({})
  end)
end)

it("kill and wait", function()
  local pid = system.spawn({ "sleep", "60" }, { wait = false })
  assert.is_true(system.kill(pid, 0))
  assert.is_true(system.kill(pid))
  assert.are.same({ "signal", 15 }, { system.wait(pid) })
  assert.is_nil((system.kill(pid, 0)))
  assert.has_error(function()
    system.kill(-1)
  end)
end)

it("clocks go forward", function()
  local before = system.monotonic()
  assert.is_true(system.sleep(0.02))
  local passed = system.monotonic() - before
  assert.truthy(passed >= 0.02 and passed < 5)
  assert.truthy(math.abs(system.realtime() - os.time()) < 5)
end)

it("hashes as xxhsum -H128 does", function()
  assert.are.equal("99aa06d3014798d86001c324468d497f", system.xxh3(""))
  assert.are_not.equal(system.xxh3("a"), system.xxh3("b"))
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
