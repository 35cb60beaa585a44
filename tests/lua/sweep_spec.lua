--- `perilune sweep`: its words, its runs, how they came out.

local files = require("perilune.base.files")
local grid = require("perilune.cli.support.grid")
local host = require("perilune.host")
local json = require("perilune.base.json")
local core = require("perilune.core")
local scratch = dofile("tests/lua/support/scratch.lua")

local OWN <const> = { output_dir = "string", jobs = "integer", by = "string", whole = "list" }

-- A recipe of a step, which fails at a rate of 9 until there is a file beside it.
local TOY <const> = [[
  local pl = require("perilune")
  local cfg = pl.config {
    name = "toy",
    { rate = 0.1, "a number" },
    { kind = "plain", "a word" },
    { names = "", "words" },
  }
  local run = pl.run.open(cfg)
  local mended = pl.files.read(cfg.output_dir:match("^(.*)/") .. "/mended")
  if cfg.rate == 9.0 and not mended then error("nine is too much", 0) end
  run:log(1, { loss = cfg.rate })
  run:summary { loss = cfg.rate + cfg.seed / 100, score = 10 * cfg.rate, names = cfg.names }
  run:close()
]]

local toy, folder

setup(function()
  toy = scratch.write(scratch.path() .. ".lua", TOY)
  folder = scratch.path()
end)

teardown(function()
  os.remove(toy)
  scratch.clean()
end)

-- The exit status and what was written, of a sweep in the test's folder.
local function sweep(...)
  local out = scratch.path()
  local how, code = core.system.spawn(
    { host.executable, "sweep", toy, "--output_dir", folder, ... },
    { stdin = "/dev/null", stdout = out, stderr = out }
  )
  assert.are.equal("exit", how)
  return code, (files.read(out))
end

describe("the words of a sweep", function()
  it("are split at commas outside of brackets", function()
    assert.are.same({ "1e-6", "3e-6" }, grid.split("1e-6, 3e-6"))
    assert.are.same(
      { "linear(0.1, 0)", "warmup(4, cosine(1, 0))", "2" },
      grid.split("linear(0.1, 0),warmup(4, cosine(1, 0)), 2")
    )
    assert.are.same({ "", "a", "" }, grid.split(",a,"))
    assert.are.same({ "" }, grid.split(""))
  end)

  it("make all combinations, the last key fastest, each with a folder's name", function()
    local plan = assert(grid.read({
      "--rate=1,2",
      "--kind",
      "x",
      "--flag",
      "--lr",
      "linear(1, 0),-.5",
      "--jobs",
      "3",
    }, OWN))
    assert.are.same({ jobs = 3 }, plan.own)
    assert.are.same({ kind = "x", flag = true }, plan.fixed)
    local names = {}
    for i, point in ipairs(plan.points) do
      names[i] = point.name
    end
    assert.are.same({
      "rate=1,lr=linear_1_0_",
      "rate=1,lr=-.5",
      "rate=2,lr=linear_1_0_",
      "rate=2,lr=-.5",
    }, names)
    assert.are.same({ "--kind", "x", "--flag", "--rate", "2", "--lr", "-.5" }, plan.points[4].words)
  end)

  it("give two points of one name two folders", function()
    local plan = assert(grid.read({ "--text", "a b,a/b" }, OWN))
    assert.are.same({ "text=a_b", "text=a_b-2" }, { plan.points[1].name, plan.points[2].name })
  end)

  it("that make no sense are refused", function()
    local numbers = {}
    for i = 1, 1000 do
      numbers[i] = i
    end
    local thousand = table.concat(numbers, ",")
    for message, args in pairs {
      ["'x' is no key; write --key value"] = { "x" },
      ["--rate has 1 twice"] = { "--rate", "1,2,1" },
      ["--rate has an empty value between its commas"] = { "--rate", "1," },
      ["--rate is given twice"] = { "--rate", "1", "--rate", "2" },
      ["--jobs = '0' is not an integer from 1 on"] = { "--jobs", "0" },
      ["--by wants a value"] = { "--rate", "1,2", "--by" },
      ["--whole names 'rat', which is not given"] = { "--whole", "rat", "--rate", "1,2" },
      ["--resume is the sweep's own doing: give the same words again"] = { "--resume" },
      ["that makes 1000000 runs; at most 10000"] = { "--a", thousand, "--b", thousand },
    } do
      local plan, got = grid.read(args, OWN)
      assert.is_nil(plan)
      assert.are.equal(message, got)
    end
  end)
end)

describe("a sweep", function()
  it("runs what is not done, tells what failed, and orders by a figure over seeds", function()
    local code, text =
      sweep("--rate", ".2,.1,9", "--seed", "1,2", "--names", "a,b", "--whole", "names")
    assert.are.equal(1, code)
    assert.truthy(text:find("rate=9,seed=2 failed: perilune: nine is too much", 1, true))
    assert.truthy(text:find("rate 9 +0 of 2 +%- +%-"))
    local results = assert(json.decode((files.read(folder .. "/results.json"))))
    assert.are.equal("score", results.by)
    local order = {}
    for i, row in ipairs(results.results) do
      order[i] = row.setting
    end
    assert.are.same({ "rate .2", "rate .1", "rate 9" }, order)
    local loss = results.results[2].figures.loss
    assert.near(0.115, loss.mean, 1e-12)
    assert.near(12.706204736 * 0.005, loss.high - loss.mean, 1e-9)
    assert.are.equal(2, loss.n)

    assert(files.write_atomic(folder .. "/mended", "yes"))
    code, text = sweep(
      "--rate",
      ".2,.1,9",
      "--seed",
      "1,2,3",
      "--names",
      "a,b",
      "--whole",
      "names",
      "--by",
      "loss"
    )
    assert.are.equal(0, code, text)
    assert.truthy(text:find("rate=.2,seed=1  was done before", 1, true))
    results = assert(json.decode((files.read(folder .. "/results.json"))))
    assert.are.same({ "rate .1", 3, 0 }, {
      results.results[1].setting,
      results.results[1].runs,
      results.results[1].missing,
    })
    local page = files.read(folder .. "/report.html")
    assert.truthy(page:find("loss against rate", 1, true) and page:find("a,b", 1, true))
    assert.are.equal("a,b", files.read_json(folder .. "/rate=9,seed=3/summary.json").names)
  end)

  it("tells the figures that are asked for, of one setting below each other", function()
    local first = folder
    folder = scratch.path()
    local code, text = sweep("--seed", "1,2", "--rate", ".1", "--show", "loss,score,loss")
    assert.are.equal(0, code, text)
    assert.truthy(text:find("figure +all seeds, 2 of 2 runs\n"), text)
    assert.truthy(text:find("\nscore +1 %(1 to 1%)\nloss +0%.1150 %(0%.0515 to 0%.179%)\n"), text)
    code, text = sweep("--seed", "1,2", "--rate", ".1", "--show", "score,los")
    assert.are.equal(1, code)
    assert.truthy(
      text:find("no summary.json has the figure 'los'; did you mean 'loss'?", 1, true),
      text
    )
    folder = scratch.path()
    code, text = sweep("--rate", ".1,.2", "--show", "loss")
    assert.are.equal(0, code, text)
    assert.truthy(text:find("setting +runs +score +loss\n"), text)
    assert.truthy(text:find("rate .2 +1 +2 +0%.21"), text)
    folder = first
  end)

  it("holds runs that have begun to what they were made of, not to paths", function()
    local first, input = folder, scratch.write(scratch.path(), "one")
    folder = scratch.path()
    local words = { "--rate", ".1,9", "--names", input }
    assert.are.equal(1, (sweep(table.unpack(words)))) -- the rate of 9 failed
    scratch.write(input, "two")
    local code, text = sweep(table.unpack(words))
    assert.are.equal(1, code)
    local wanted = "%s holds rate=.1, made when %s had another content: figures of both would stand"
    assert.truthy(text:find(wanted:format(folder, input), 1, true), text)
    scratch.write(input, "one")
    assert(files.write_atomic(folder .. "/mended", "yes"))
    assert.are.equal(0, (sweep(table.unpack(words))))
    scratch.write(toy, TOY .. "-- another\n")
    code, text = sweep(table.unpack(words))
    assert.are.equal(0, code, text)
    local told = ("warning: %s was changed since rate=.1 was made"):format(toy)
    assert.truthy(text:find(told, 1, true), text)
    scratch.write(toy, TOY)
    -- a run that failed begins anew with what there is now
    folder = scratch.path()
    assert.are.equal(1, (sweep("--rate", "9,9.0", "--names", input)))
    scratch.write(input, "two")
    assert(files.write_atomic(folder .. "/mended", "yes"))
    code, text = sweep("--rate", "9,9.0", "--names", input)
    assert.are.equal(0, code, text)
    code, text = sweep("--names", input, "--rate", "9,9.0") -- the same in another order
    assert.are.equal(0, code, text)
    -- one folder's name for two values: which of them it was is known
    folder = scratch.path()
    assert.are.equal(0, (sweep("--kind", "a b,a/b")))
    code, text = sweep("--kind", "a/b,a b")
    assert.are.equal(1, code)
    assert.truthy(
      text:find("holds kind=a_b with other settings (kind was a b and is a/b);", 1, true),
      text
    )
    folder = first
  end)

  it("refuses a folder of another sweep, and a figure that there is not", function()
    local code, text = sweep("--rate", ".1,.2", "--kind", "other")
    assert.are.equal(1, code)
    assert.truthy(
      text:find("holds a sweep without --kind, and now it is to be with --kind other", 1, true)
    )
    code, text = sweep(
      "--rate",
      ".1,.2",
      "--seed",
      "1,2",
      "--names",
      "a,b",
      "--whole",
      "names",
      "--by",
      "scor"
    )
    assert.are.equal(1, code)
    assert.truthy(text:find("did you mean 'score'?", 1, true))
    code, text = sweep("--rate", ".1")
    assert.are.equal(1, code)
    assert.truthy(text:find("no key has several values", 1, true))
  end)
end)

-- A recipe that takes as long as there is no file "go" beside its folder.
local SLOW <const> = [[
  local pl = require("perilune")
  local cfg = pl.config { name = "slow", { rate = 0.1, "a number" } }
  local run = pl.run.open(cfg)
  local go = cfg.output_dir:match("^(.*)/") .. "/go"
  while not pl.files.read(go) do pl.system.sleep(0.02) end
  run:log(1, { loss = cfg.rate })
  run:summary { loss = cfg.rate }
  run:close()
]]

describe("a sweep whose folder is in use", function()
  it("by another is refused, and by a run that was left behind waits for it", function()
    local recipe = scratch.write(scratch.path() .. ".lua", SLOW)
    local place, out = scratch.path(), { scratch.path(), scratch.path(), scratch.path() }
    local command = { host.executable, "sweep", recipe, "--output_dir", place, "--rate", "1,2" }
    command[#command + 1], command[#command + 2] = "--jobs", "1"
    local function start(into, wait)
      return core.system.spawn(
        command,
        { stdin = "/dev/null", stdout = into, stderr = into, wait = wait }
      )
    end
    local function until_there(what)
      for _ = 1, 1000 do
        if what() then return end
        core.system.sleep(0.02)
      end
      error("waited in vain")
    end
    local lock = require("perilune.run.lock")
    local first = start(out[1], false)
    until_there(function() return lock.holder(place .. "/rate=1") end)
    local left = lock.holder(place .. "/rate=1")
    local _, status = start(out[2], true)
    assert.are.equal(1, status)
    assert.matches(("in use by process %d on "):format(first), assert(files.read(out[2])), 1, true)
    core.system.kill(first, 9)
    core.system.wait(first)
    local second = start(out[3], false)
    local waits = ("rate=1  waits for process %d, which has its folder"):format(left)
    until_there(function() return (files.read(out[3]) or ""):find(waits, 1, true) end)
    scratch.write(place .. "/go", "")
    local how, code = core.system.wait(second)
    local text = assert(files.read(out[3]))
    assert.are.same({ "exit", 0 }, { how, code }, text)
    assert.matches("[1/2] rate=1  was done before", text, 1, true)
    os.remove(recipe)
  end)
end)
