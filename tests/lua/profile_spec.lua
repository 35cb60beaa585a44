--- The account of time: the report's words, the trace that browsers open, `--profile` of a run, the
-- limits that are kept.

local config = require("perilune.config")
local core = require("perilune.core")
local files = require("perilune.base.files")
local json = require("perilune.base.json")
local lfs = require("lfs")
local pl = require("perilune")
local processor = require("perilune.base.processor")
local run = require("perilune.run")
local said = dofile("tests/lua/support/said.lua")
local scratch = dofile("tests/lua/support/scratch.lua")

teardown(scratch.clean)

local limits = {
  float32 = 1e9,
  bfloat16 = 1e9,
  split = 4e9,
  read = 1e9,
  copy = 1e9,
  cache = 1e9,
  cache_bytes = 1048576,
}

local function work()
  local scope <close> = core.scope("toy.step")
  local w = core.randn({ 6, 4 }, { seed = 1 }):requires_grad(true)
  core.linear(core.randn({ 3, 4 }, { seed = 2 }), w):sum():backward()
end

local function report_of(fn)
  pl.profile.begin { limits = limits }
  fn()
  return (pl.profile.finish())
end

local function row(report, name, backward)
  for _, one in ipairs(report.rows) do
    if one.name == name and one.backward == backward then return one end
  end
end

describe("a profile", function()
  it("has ops by stage with what they multiply and move", function()
    local report = report_of(work)
    local forward, backward = row(report, "linear", false), row(report, "linear", true)
    assert.are.same(
      { "toy.step", 1, 144.0, 216.0, 216e-9, "[3,4] [6,4]" },
      { forward.stage, forward.calls, forward.flops, forward.bytes, forward.least, forward.example }
    )
    assert.are.equal(144, backward.flops)
    assert.are.same({ 0, 0 }, { row(report, "sum", false).flops, report.lost })
    assert.are.same({ "outside of scopes", "toy.step" }, {
      report.stages[1].name,
      report.stages[2].name,
    })
    assert.is_nil(pl.profile.finish())
    assert.are.same({}, report_of(function() end).rows)
  end)

  it("names the largest gaps in words", function()
    local report = report_of(work)
    report.rows = {
      {
        stage = "a",
        name = "linear",
        backward = true,
        calls = 7,
        seconds = 2,
        flops = 3e9,
        split = 0,
        bytes = 1e9,
        least = 1.5,
        peak = 1.5,
        example = "[3,4] [6,4]",
      },
      {
        stage = "b",
        name = "adamw",
        backward = false,
        calls = 1,
        seconds = 4,
        flops = 0,
        split = 0,
        bytes = 2e9,
        least = 2,
        peak = 0,
        example = "",
      },
    }
    report.stages = { { name = "c", calls = 1, seconds = 9, nested = 4, ops = 4 } }
    report.seconds = 10
    local texts = {}
    for i, gap in ipairs(report:gaps()) do
      texts[i] = ("%g %s"):format(gap.seconds, gap.text)
    end
    assert.are.same({
      "2 adamw in b: 4.000 s where the limits allow 2.000 s (50.0 %): 0.5 GB/s, 1 calls",
      "1 c, outside of ops (Lua, files, what the program waits for): 1.000 s, 10.0 % of the whole",
      "0.5 linear backward in a: 2.000 s where the limits allow 1.500 s (75.0 %): "
        .. "1.5 GFLOP/s, 0.5 GB/s, 7 calls; longest call [3,4] [6,4]",
    }, texts)
    local text = tostring(report)
    assert.is_truthy(text:find("The largest gaps to the limits:\n1. adamw in b", 1, true))
    assert.is_truthy(text:find("linear backward  a          7    2.000  20.0 %", 1, true), text)
  end)

  it("says how near matrix products come to the peak", function()
    local report = report_of(work)
    local function row_of(name, seconds, flops, peak)
      return {
        stage = "a",
        name = name,
        backward = false,
        calls = 1,
        seconds = seconds,
        flops = flops,
        split = 0,
        bytes = 1,
        least = peak,
        peak = peak,
        example = "",
      }
    end
    report.rows = {
      row_of("linear", 2, 3e9, 1),
      row_of("cross_entropy", 4, 5e9, 0.5),
      row_of("attention", 100, 1e9, 1), -- no product of matrices
      row_of("adamw", 100, 0, 0),
    }
    assert.are.same(
      { seconds = 6, flops = 8e9, of_peak = 0.25, of_float32 = 8 / 6 },
      report:products()
    )
    local line = "\nMatrix products: 6.000 s, 1.3 GFLOP/s, "
      .. "25.0 % of the peak of their instructions, 133.3 % of float32's\n"
    assert.is_truthy(tostring(report):find(line, 1, true), tostring(report))
    report.rows = { row_of("adamw", 100, 0, 0) }
    assert.is_nil(report:products())
    assert.is_nil(tostring(report):find("Matrix products", 1, true))
  end)

  it("says which ops multiplied split numbers, and how fast these could be", function()
    local before = core.gemm().wish
    core.gemm("split")
    local report = report_of(function()
      local w = core.randn({ 128, 128 }, { seed = 1 }):requires_grad(true)
      local x = core.randn({ 100, 128 }, { seed = 2 }):requires_grad(true)
      core.linear(x, w):sum():backward()
    end)
    core.gemm(before)
    local one = 2 * 100 * 128 * 128
    assert.are.equal(0, row(report, "linear", false).split)
    assert.are.equal(one, row(report, "linear", true).split) -- 100 rows are too few for dW
    assert.are.equal(one / 1e9 + one / 4e9, row(report, "linear", true).least)
    assert.are.equal(one / 1e9 + one / 4e9, row(report, "linear", true).peak)
    assert.are.equal(one / 1e9, row(report, "linear", false).peak)
    local text = tostring(report)
    assert.is_truthy(text:find("\nlinear backward (50 % split) ", 1, true), text)
    assert.is_truthy(text:find("\nlinear  ", 1, true), text)
    assert.is_truthy(text:find("float32 1 GFLOP/s, 4 of split numbers, bfloat16 1,", 1, true), text)
  end)

  it("tells the parts of generation apart", function()
    local model = pl.model.new({
      model_type = "llama",
      vocab_size = 32,
      hidden_size = 16,
      intermediate_size = 16,
      num_hidden_layers = 1,
      num_attention_heads = 2,
      max_position_embeddings = 32,
    }, { seed = 1 })
    local report = report_of(
      function() pl.generate(model, { { 1, 2, 3 } }, { max_tokens = 4, seed = 1 }) end
    )
    local calls = {}
    for _, stage in ipairs(report.stages) do
      calls[stage.name] = stage.calls
    end
    assert.are.equal(1, calls["generate.prefill"])
    assert.are.equal(3, calls["generate.decode"])
    assert.are.equal(3 * 4 * 32, row(report, "drawing tokens", false).bytes)
  end)

  it("is written as a trace of complete events", function()
    local report = report_of(work)
    local path = scratch.folder() .. "/trace.json"
    assert(report:write_trace(path))
    local trace = assert(json.decode(scratch.read(path)))
    local names = {}
    for i, event in ipairs(trace.traceEvents) do
      assert.are.equal("X", event.ph)
      assert.is_true(event.ts >= 0 and event.dur >= 0 and event.pid == 1)
      names[i] = ("%d %s %s"):format(event.tid, event.cat, event.name)
    end
    assert.are.same({
      "2 forward linear",
      "2 forward sum",
      "2 backward sum backward",
      "2 backward linear backward",
      "1 stage toy.step",
    }, names)
    local ok, message = report:write_trace(scratch.folder() .. "/none/trace.json")
    assert.is_nil(ok)
    assert.is_truthy(message:find("none/trace.json", 1, true))
  end)
end)

describe("the limits", function()
  local before = os.getenv("XDG_CACHE_HOME")
  after_each(function() core.system.setenv("XDG_CACHE_HOME", before) end)

  it("are measured once, kept, and measured again where what is kept is no limit", function()
    local cache = scratch.folder()
    core.system.setenv("XDG_CACHE_HOME", cache)
    local path = cache .. "/perilune/limits.json"
    local first = processor.limits()
    assert.are.same(first, processor.limits())
    local kept = assert(files.read_json(path))
    local key = next(kept)
    assert.are.same(first, kept[key])
    kept[key].copy = 1e12
    assert(files.write_json(path, kept))
    assert.are.equal(1e12, processor.limits().copy)
    assert.are.equal(1e12, processor.measure().copy) -- the greater of the two
    for _, broken in ipairs { 0, "fast" } do
      kept[key].copy = broken
      assert(files.write_json(path, kept))
      local again = processor.limits()
      assert.is_true(again.copy > 0 and again.copy < 1e12)
    end
    assert(files.write_atomic(path, "not JSON"))
    assert.is_true(processor.limits().float32 > 0)
  end)
end)

describe("--profile of a run", function()
  local function finished(...)
    local folder = scratch.path()
    local cfg =
      config { name = "toy", args = { "--output_dir", folder, ... }, { lam = 0.95, "λ" } }
    local printed = said(function()
      local r <close> = run.open(cfg)
      work()
      r:log(1, { loss = 1 })
      r:summary { score = 1 }
    end)
    return folder, printed
  end

  it("leaves the table in the folder, and a trace where it is asked for", function()
    local trace = scratch.folder() .. "/t.json"
    local folder = finished("--quiet", "--profile", trace)
    local text = scratch.read(folder .. "/profile.txt")
    assert.is_truthy(text:find("linear backward", 1, true))
    assert.is_truthy(text:find("toy.step", 1, true))
    assert.are.equal(5, #assert(json.decode(scratch.read(trace))).traceEvents)
    assert.is_nil(core.profile.finish())
  end)

  it("needs no path; without it there is no table", function()
    assert.is_not_nil(lfs.attributes(finished("--quiet", "--profile") .. "/profile.txt"))
    assert.is_nil(lfs.attributes(finished("--quiet") .. "/profile.txt"))
  end)
end)
