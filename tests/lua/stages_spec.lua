--- Stages: recipes run one after another inside a run, and gone on with when the run is resumed.

local pl = require("perilune")
local said = dofile("tests/lua/support/said.lua")
local scratch = dofile("tests/lua/support/scratch.lua")

-- A recipe that counts its steps; with `saves` it leaves a checkpoint at the end.
local TOY <const> = [[
  local pl = require("perilune")
  local cfg = pl.config { name = "toy", { steps = 2, "to take" }, { saves = true, "a checkpoint" } }
  local run = pl.run.open(cfg)
  local begun_at = run.resumed and run.resumed.step or 0
  for step = begun_at + 1, cfg.steps do
    run:log(step, { loss = 1 / step })
  end
  if cfg.saves and begun_at < cfg.steps then
    run:checkpoint(cfg.steps, function(dir)
      assert(pl.files.write_atomic(dir .. "/w", "w"))
    end)
  end
  local rows = #run.history
  run:close()
  return { begun_at = begun_at, rows = rows, dir = run.dir, seed = cfg.seed, quiet = cfg.quiet,
    threads = cfg.threads }
]]

local function open(folder, ...)
  return pl.run.open(pl.config {
    name = "outer",
    recipe = "tests/lua/stages_spec.lua",
    args = { "--output_dir", folder, "--seed", "7", "--threads", "1", ... },
  })
end

local toy

setup(function() toy = scratch.write(scratch.path() .. ".lua", TOY) end)

teardown(function()
  os.remove(toy)
  scratch.clean()
end)

describe("a stage", function()
  it("runs in a folder of its own with seed, threads and quiet of the run", function()
    local run <close> = open(scratch.path(), "--quiet")
    local stages = pl.stages.new(run)
    local settings = { steps = 3 }
    local text, ok, result = said(stages.stage, stages, toy, "first", "the first", settings)
    assert.is_true(ok, result)
    assert.are.equal("", text)
    assert.are.same(
      { begun_at = 0, rows = 3, dir = run.dir .. "/first", seed = 7, quiet = true, threads = 1 },
      result
    )
    assert.are.same({ steps = 3 }, settings)
    assert.is_true(stages.seconds.first > 0)
    local once = stages.seconds.first
    stages:stage(toy, "first", "again", {}) -- what stood there goes
    assert.is_true(stages.seconds.first > once) -- the time of both
    assert.are.equal(2, #pl.run.read_rows(run.dir .. "/first/metrics.jsonl"))
  end)

  it("says what begins, unless the run is quiet", function()
    local run <close> = open(scratch.path())
    local stages = pl.stages.new(run)
    local text = said(stages.say, stages, "%d of %s", 2, "three")
    assert.are.equal("\n== 2 of three\n", text)
    text = said(stages.stage, stages, toy, "a", "a title", {})
    assert.matches("^\n== a title  %(%d+ ms%)\n", text)
  end)

  it("goes on from its checkpoint when the run is resumed; without one it is done again", function()
    local folder = scratch.path()
    local first <close> = open(folder, "--quiet")
    local stages = pl.stages.new(first)
    stages:stage(toy, "kept", "", { steps = 2 })
    stages:stage(toy, "left", "", { steps = 2, saves = false })
    first:close()
    local second = open(folder, "--quiet", "--resume")
    stages = pl.stages.new(second)
    local fine, message = pcall(stages.stage, stages, toy, "kept", "", { steps = 3 })
    assert.is_false(fine)
    assert.matches("steps is 2 there, 3 was given", tostring(message), 1, true)
    second:close()
    local third <close> = open(folder, "--quiet", "--resume", "--resume_changed", "steps")
    stages = pl.stages.new(third)
    local kept = stages:stage(toy, "kept", "", { steps = 3 })
    assert.are.same({ 2, 3 }, { kept.begun_at, kept.rows })
    local left = stages:stage(toy, "left", "", { steps = 1, saves = false })
    assert.are.same({ 0, 1 }, { left.begun_at, left.rows })
    local new = stages:stage(toy, "new", "", {})
    assert.are.equal(0, new.begun_at)
  end)
end)

describe("files of a run of stages", function()
  it("are rows as JSON Lines, or text as it is", function()
    local run <close> = open(scratch.path(), "--quiet")
    local stages = pl.stages.new(run)
    local path = stages:write("rows.jsonl", { { a = 1 }, { a = "é" } })
    assert.are.equal(run.dir .. "/data/rows.jsonl", path)
    assert.are.equal('{"a":1}\n{"a":"é"}\n', scratch.read(path))
    assert.are.equal("", scratch.read(stages:write("none.jsonl", {})))
    assert.are.equal("a text", scratch.read(stages:write("text.txt", "a text")))
  end)
end)
