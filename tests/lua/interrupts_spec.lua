--- Ctrl-C at random points of what takes long, in one session: it comes back soon, and what the
-- session holds is as it was. The latencies are printed, not judged.
local core = require("perilune.core")
local host = require("perilune.host")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local system = core.system
local toy = dofile("tests/lua/support/toy.lua")

local me = tonumber(io.open("/proc/self/stat"):read("a"):match("^%d+"))

-- Interrupts f after so many seconds; how long it took to come back, in seconds.
local function interrupted(f, seconds)
  local stamp = scratch.path()
  local code = ([[local s = require("perilune.core").system s.sleep(%g)
    io.open(%q, "w"):write(("%%.6f"):format(s.monotonic())):close() s.kill(%d, 2)]]):format(
    seconds,
    stamp,
    me
  )
  local child = assert(system.spawn({ host.executable, "-e", code }, { wait = false }))
  local ok, message, was = host.call(f)
  local back = system.monotonic()
  system.wait(child)
  assert(not ok and was, ("it was not interrupted: %s"):format(message))
  local file = assert(io.open(stamp))
  local sent = file:read("n")
  file:close()
  os.remove(stamp)
  return back - sent
end

local model = toy.model("llama")
local sequences = toy.sequences({ 17, 40, 9, 33 }, 1)

local function numbers(n)
  local list = {}
  for i = 1, n do
    list[i] = i * 7919 % 1000003
  end
  return list
end

local big, list = pl.full({ 1500, 1500 }, 0.5), numbers(400000)
local long = pl.randn({ 3000000 }, { seed = 1 }) -- the order of which takes seconds
local words = {}
for i = 1, 300000 do
  words[i] = "word " .. i
end
local rows = {}
for i = 1, 300000 do
  rows[i] = { id = i, text = words[i], score = i / 7 }
end
local json = core.json.encode(rows)
local db = assert(core.db.open(":memory:"))

local function backtrack() return string.find(("a"):rep(60), ("a-"):rep(40) .. "b") end

local loads = {
  product = function()
    while true do
      local scope <close> = pl.scope("t") -- luacheck: ignore
      pl.matmul(big, big)
    end
  end,
  order = function()
    while true do
      local scope <close> = pl.scope("t") -- luacheck: ignore
      pl.sort(long)
    end
  end,
  table = function()
    while true do
      local scope <close> = pl.scope("t") -- luacheck: ignore
      pl.tensor(long:totable())
    end
  end,
  json = function()
    while true do
      core.json.decode(json)
    end
  end,
  generation = function()
    while true do
      local scope <close> = pl.scope("t") -- luacheck: ignore
      pl.generate(model, sequences, { max_tokens = 40, temperature = 1, seed = 1 })
    end
  end,
  training = function()
    while true do
      local scope <close> = pl.scope("t") -- luacheck: ignore
      pl.loss.accumulate(model, sequences, toy.answer_masks(sequences, 2), { max_tokens = 60 })
    end
  end,
  sort = function()
    while true do
      table.sort(table.move(list, 1, #list, 1, {}))
    end
  end,
  concat = function()
    while true do
      table.concat(words, ", ")
    end
  end,
  pattern = backtrack,
  coroutine = function()
    coroutine.wrap(function()
      while true do
        coroutine.wrap(backtrack)()
      end
    end)()
  end,
  pcall = function()
    while true do
      pcall(pcall, function()
        for _ = 1, 1e7 do
          pcall(error)
        end
      end)
    end
  end,
  query = function()
    db:prepare([[with recursive n(i) as (select 1 union all select i + 1 from n)
      select max(i % 7) from n]]):row()
  end,
}

local names = {}
for name in pairs(loads) do
  names[#names + 1] = name
end
table.sort(names)

-- What a session must still have.
local function state()
  local sum = 0
  for i = 1, #list do
    sum = sum + list[i] * (i % 1000)
  end
  local scope <close> = pl.scope("state") -- luacheck: ignore
  return ("%s %d %s %s"):format(
    model:hash(),
    sum,
    pl.sum(big):item(),
    table.concat(
      pl.generate(model, { { 1, 2, 3 } }, { max_tokens = 5, temperature = 0 })[1].tokens,
      " "
    )
  )
end

-- Points of each load; p50 and p99 of all in milliseconds, and the load of the longest.
local function points(count, seed)
  local before, latencies, longest, slowest = state(), {}, 0, ""
  for i = 1, count do
    local name = names[(i - 1) % #names + 1]
    local seconds = 0.02 + 0.2 * pl.random_uniform(seed, 5, i)
    local ok, latency = pcall(interrupted, loads[name], seconds)
    assert(ok, ("point %d, %s: %s"):format(i, name, latency))
    latencies[i] = latency
    if latency > longest then
      longest, slowest = latency, name
    end
    assert.are.equal(before, state(), name)
  end
  table.sort(latencies)
  return latencies[(count + 1) // 2] * 1000, latencies[math.ceil(count * 0.99)] * 1000, slowest
end

describe("Ctrl-C in one session", function()
  it("leaves the state as it was, a point of each kind", function() points(#names, 1) end)

  it("at 100 random points #long", function()
    local p50, p99, slowest = points(108, os.time())
    local text = "\nCtrl-C at 108 points: p50 %.1f ms, p99 %.1f ms; the longest in %s\n"
    io.stdout:write(text:format(p50, p99, slowest))
  end)
end)
