local config = require("perilune.config")
local core = require("perilune.core")
local files = require("perilune.base.files")
local json = require("perilune.base.json")
local jsonl = require("perilune.run.log")
local lfs = require("lfs")
local message_of = dofile("tests/lua/support/message_of.lua")
local run = require("perilune.run")
local said = dofile("tests/lua/support/said.lua")
local scratch = dofile("tests/lua/support/scratch.lua")

local function make(folder, ...)
  return config {
    name = "toy",
    recipe = "tests/lua/run_spec.lua",
    args = { "--output_dir", folder, ... },
    { kl_coef = 0.05, "β", min = 0, schedule = true },
    { lam = 0.95, "λ" },
  }
end

local read = scratch.read

local function read_json(path) return assert(json.decode(read(path))) end

local function write_model(folder)
  local file = assert(io.open(folder .. "/model.bin", "w"))
  file:write("weights")
  file:close()
end

--- What a process that was killed while it wrote a file leaves: its name.
local function left_by_killed_writer(path)
  local probe, pid = assert(files.folder_begin(path)), scratch.path()
  assert(files.folder_discard(probe))
  core.system.spawn { "sh", "-c", "echo $$ >" .. pid }
  local name = probe:gsub("%-%d+%-%d+$", ("-%d-0"):format(read(pid)))
  scratch.write(name, "half")
  return name
end

teardown(scratch.clean)

--- A folder and all in it hold no half file: JSON and rows can be read, checkpoints verify.
local function assert_whole(folder)
  for _, name in ipairs(scratch.names(folder)) do
    local path = folder .. "/" .. name
    assert.is_nil(name:find(".tmp", 1, true), path)
    if name:find("%.json$") then
      read_json(path)
    elseif name:find("%.jsonl$") then
      assert.is_true(read(path) == "" or read(path):sub(-1) == "\n", path)
      assert(jsonl.read(path))
    elseif name:find("^checkpoint%-") then
      assert(files.folder_verify(path))
    end
  end
end

--- A short run from beginning to end.
local function short_run(folder, ...)
  local r <close> = run.open(make(folder, ...))
  r:log(1, { loss = 1 })
  r:sample(1, { prompt = "a", answer = "b" })
  r:checkpoint(1, write_model)
  r:checkpoint(2, write_model, { metric = 0.5, best = true })
  r:checkpoint(3, write_model)
  r:log(2, { loss = 0.5 })
  r:summary { score = 0 / 0 }
end

describe("a run on a disk that fails", function()
  after_each(function() files.io_fail_at(0) end)

  it(
    "ends with an error that names a file, leaves nothing half written, and can be repeated",
    function()
      local folder = scratch.quick_path()
      local k, reached = 0, true
      while reached do
        k = k + 1
        local calls = files.io_calls()
        files.io_fail_at(k, "ENOSPC")
        local ok, message =
          pcall(short_run, folder, "--overwrite_output_dir", "--save_total_limit", "1")
        files.io_fail_at(0)
        reached = files.io_calls() - calls >= k
        assert.is_true(ok or reached)
        if not ok then
          assert.is_truthy(message:find("'[^']+': No space left on device"), message)
        end
        if scratch.there(folder) then assert_whole(folder) end
      end
      assert.is_true(k > 100, k)
      assert.are.equal(2, #jsonl.read(folder .. "/metrics.jsonl"))
      assert.are.same({
        { step = 2, path = folder .. "/checkpoint-2" },
        { step = 3, path = folder .. "/checkpoint-3" },
      }, run.checkpoints(folder))
    end
  )

  it("is as any other when calls move only half of the bytes", function()
    local folder = scratch.path()
    files.io_fail_at(1, "short", true)
    short_run(folder)
    files.io_fail_at(0)
    assert_whole(folder)
    assert.are.equal('{"step":1,"answer":"b","prompt":"a"}\n', read(folder .. "/samples.jsonl"))
  end)
end)

describe("a run folder", function()
  it("tells what was run, and keeps metrics that read back equal", function()
    local folder = scratch.path()
    local r = run.open(make(folder, "--lam", "0.5"), { environment = { threads = 2 } })
    local row = {
      loss = 1 / 3,
      tiny = 5e-324,
      n = 7,
      bad = 0 / 0,
      up = math.huge,
      note = "x",
      ok = true,
      ["objective/kl"] = 0.1,
    }
    r:log(1, row)
    r:log(2, { loss = 0.25 })
    r:sample(1, { prompt = 'a "b"\n', answer = "ü", score = 1.5 })
    r:summary { score = 0.75, none = 0 / 0 }
    r:close()
    r:close()

    assert.are.same({
      "alarms.jsonl",
      "config.json",
      "env.json",
      "journal.jsonl",
      "metrics.jsonl",
      "recipe.lua",
      "run.lock",
      "runs",
      "samples.jsonl",
      "summary.json",
    }, scratch.names(folder))
    assert.are.equal(read("tests/lua/run_spec.lua"), read(folder .. "/recipe.lua"))
    assert.are.equal(0.5, read_json(folder .. "/config.json").lam)
    assert.are.equal("toy", read_json(folder .. "/config.json")._recipe)
    assert.are.equal(2, read_json(folder .. "/env.json").threads)

    local rows = jsonl.read(folder .. "/metrics.jsonl", { numbers = true })
    assert.are.equal(2, #rows)
    assert.are.equal(1, rows[1].step)
    assert.is_true(rows[1].time >= 0)
    assert.is_true(rows[1].bad ~= rows[1].bad)
    for name, value in pairs(row) do
      if name ~= "bad" then assert.are.equal(value, rows[1][name], name) end
    end
    assert.are.equal('{"step":1,', read(folder .. "/metrics.jsonl"):sub(1, 10))
    assert.are.equal('"NaN"', read(folder .. "/metrics.jsonl"):match('"bad":%s*([^,]+)'))
    assert.are.same(
      { { step = 1, prompt = 'a "b"\n', answer = "ü", score = 1.5 } },
      jsonl.read(folder .. "/samples.jsonl")
    )
    local summary = read_json(folder .. "/summary.json")
    assert.are.equal(0.75, summary.score)
    assert.are.equal("NaN", summary.none)
    assert.are.equal(2, summary.steps)
    assert.is_true(summary.seconds >= 0)
  end)

  it("refuses what is no metric, by name", function()
    local r <close> = run.open(make(scratch.path()))
    assert.is_truthy(
      message_of(r.log, r, 1, { loss = {} }):find(
        "metric 'loss' is a table; log a number, a text or a boolean (tensors: t:item())",
        1,
        true
      )
    )
    assert.are.equal(0, #r.history)
  end)

  it("that holds a run is refused, resumed or deleted, as asked", function()
    local folder = scratch.path()
    local r = run.open(make(folder))
    r:log(1, { loss = 1 })
    r:checkpoint(1, write_model)
    r:close()
    assert.is_truthy(
      message_of(run.open, make(folder)):find(
        folder
          .. " already holds a run; "
          .. "--resume goes on with it, --overwrite_output_dir deletes it",
        1,
        true
      )
    )
    r = run.open(make(folder, "--overwrite_output_dir"))
    assert.are.same({}, r.history)
    assert.are.same({}, r:checkpoints())
    r:close()
  end)
end)

describe("the lock of a run folder", function()
  it("keeps out this process a second time, and lets it in after close", function()
    local folder = scratch.path()
    local r = run.open(make(folder))
    assert.is_truthy(
      message_of(run.open, make(folder)):find(
        folder .. " is in use by this process; wait for it, or give another --output_dir",
        1,
        true
      )
    )
    r:close()
    run.open(make(folder)):close()
  end)

  it("keeps out another process, names it, and ends with it", function()
    local folder = scratch.path()
    assert(lfs.mkdir(folder))
    local lua = lfs.symlinkattributes("/proc/self/exe", "target")
    local script = folder .. "/child.lua"
    local file = assert(io.open(script, "w"))
    file:write([[
      local cfg = require("perilune.config") { name = "toy", args = { "--output_dir", (...) } }
      local ok, err = pcall(require("perilune.run").open, cfg)
      print(ok, err)]])
    file:close()
    local r = run.open(make(folder))
    local function child()
      local command = "LUA_PATH='%s' LUA_CPATH='%s' '%s' %s %s 2>&1"
      local pipe = io.popen(command:format(package.path, package.cpath, lua, script, folder))
      local text = pipe:read("a")
      pipe:close()
      return text
    end
    local pid = require("perilune.core").system.pid()
    local function refused()
      return child():find(("false\t%s is in use by process %d on "):format(folder, pid), 1, true)
    end
    assert.is_truthy(refused())
    assert.are.equal(pid, require("perilune.run.survey").process(folder))
    assert.is_truthy(refused()) -- to ask who has it does not drop it
    r:log(1, { loss = 1 })
    r:close()
    assert.is_truthy(child():find("already holds a run", 1, true))
  end)
end)

describe("checkpoints", function()
  it("rotate, but never the best one", function()
    local folder = scratch.path()
    local r <close> = run.open(make(folder, "--save_total_limit", "2"))
    for step = 10, 60, 10 do
      r:checkpoint(step, write_model, { metric = step == 20 and 0.9 or 0.1, best = step == 20 })
    end
    local steps = {}
    for i, checkpoint in ipairs(r:checkpoints()) do
      steps[i] = checkpoint.step
    end
    assert.are.same({ 20, 50, 60 }, steps)
    assert.are.same({ step = 60, path = folder .. "/checkpoint-60" }, run.latest(folder))
    assert.are.same(
      { step = 20, metric = 0.9, path = "checkpoint-20" },
      read_json(folder .. "/best.json")
    )
    local state = read_json(folder .. "/checkpoint-60/trainer_state.json")
    assert.are.equal(60, state.global_step)
    assert.are.equal("checkpoint-20", state.best_model_checkpoint)
    assert.are.equal("weights", read(folder .. "/checkpoint-60/model.bin"))
  end)

  it("that fail half way leave no trace, and the error", function()
    local folder = scratch.path()
    local r <close> = run.open(make(folder))
    r:checkpoint(5, write_model)
    assert.are.equal(
      "disk on fire",
      message_of(r.checkpoint, r, 5, function(temporary)
        write_model(temporary)
        error("disk on fire", 0)
      end)
    )
    assert.are.equal("weights", read(folder .. "/checkpoint-5/model.bin"))
    r:checkpoint(5, write_model)
    for name in lfs.dir(folder) do
      assert.is_nil(name:match("%.tmp"), name)
    end
  end)

  it("left half written by a crash are cleared away", function()
    local folder = scratch.path()
    local r = run.open(make(folder))
    r:checkpoint(5, write_model)
    r:close()
    lfs.mkdir(folder .. "/checkpoint-9.tmp-1-1")
    write_model(folder .. "/checkpoint-9.tmp-1-1")
    local left = left_by_killed_writer(folder .. "/summary.json")
    r = run.open(make(folder, "--resume"))
    assert.are.equal(5, r.resumed.step)
    assert.is_nil(lfs.attributes(folder .. "/checkpoint-9.tmp-1-1"))
    assert.is_nil(lfs.attributes(left))
    r:close()
  end)

  it("that were damaged are passed over for the one before", function()
    local folder = scratch.path()
    local r = run.open(make(folder, "--save_total_limit", "0"))
    r:checkpoint(5, write_model)
    r:checkpoint(6, write_model)
    r:close()
    local file = assert(io.open(folder .. "/checkpoint-6/model.bin", "wb"))
    file:write("weightz")
    file:close()
    r = run.open(make(folder, "--resume"))
    assert.are.equal(5, r.resumed.step)
    r:close()
  end)
end)

describe("a resumed run", function()
  local function begin(folder)
    local cfg = make(folder, "--kl_coef", "adaptive_kl{init = 0.1, target = 3}", "--lam", "0.8")
    local r = run.open(cfg)
    for step = 1, 6 do
      cfg:at(step)
      if step == 2 or step == 6 then cfg.lam = step / 10 end
      cfg.kl_coef:update(9, 100)
      r:log(step, { loss = 1 / step })
      r:sample(step, { answer = "a" .. step })
      if step == 4 then r:checkpoint(step, write_model, { state = { cursor = 17 } }) end
    end
    local lines = read(folder .. "/metrics.jsonl")
    r:close()
    return lines
  end

  it("has the keys, memories and rows it had at the checkpoint", function()
    local folder = scratch.path()
    local before = begin(folder)
    local torn = assert(io.open(folder .. "/metrics.jsonl", "a"))
    torn:write('{"step":7,"lo')
    torn:close()

    local cfg = make(folder, "--resume")
    assert.are.equal(0.8, cfg.lam)
    local r <close> = run.open(cfg)
    assert.are.equal(4, r.resumed.step)
    assert.are.same({ cursor = 17 }, r.resumed.state)
    assert.are.equal(folder .. "/checkpoint-4", r.resumed.path)
    assert.are.equal(0.2, cfg.lam)
    assert.are.equal(0.1 * (1 + 0.2 * 100 / 10000) ^ 4, cfg.kl_coef(5))
    assert.are.equal(4, #r.history)
    assert.are.equal(before .. '{"step":7,"lo', read(folder .. "/metrics.jsonl"))
    r:sample(4, { answer = "first" }) -- now it goes on
    assert.are.equal(1, before:find(read(folder .. "/metrics.jsonl"), 1, true))
    assert.are.equal(4, #jsonl.read(folder .. "/metrics.jsonl"))
    assert.are.equal(5, #jsonl.read(folder .. "/samples.jsonl"))
    assert.are.same(
      { { step = 2, key = "lam", old = 0.8, new = 0.2 } },
      jsonl.read(folder .. "/journal.jsonl")
    )
    assert.are.equal(0.8, read_json(folder .. "/config.json").lam)
    r:log(5, { loss = 0.2 })
    assert.is_true(r.history[5].time >= r.history[4].time)
  end)

  it(
    "refuses keys that decide the result, with both values, unless they are named; those are "
      .. "journalled",
    function()
      local folder = scratch.path()
      begin(folder)
      local checkpoint = folder .. "/checkpoint-4"
      local before = read(folder .. "/metrics.jsonl")
      local function refusal(...)
        return tostring(message_of(run.open, make(folder, "--resume", checkpoint, ...)))
      end
      local both = "toy: %s was made with other settings: lam is 0.2 there, 0.7 was given; seed is "
        .. "1 there, 9 was given. Leave them as they were, or go on with --resume_changed lam,seed"
      assert.are.equal(both:format(checkpoint), refusal("--lam", "0.7", "--seed", "9"))
      assert.is_truthy(
        refusal("--lam", "0.7", "--seed", "9", "--resume_changed", "lam"):find(
          "other settings: seed is 1 there, 9 was given.",
          1,
          true
        )
      )
      assert.is_truthy(
        refusal("--kl_coef", "0.1"):find(
          "kl_coef is adaptive_kl{init = 0.1, target = 3, horizon = 10000} there, 0.1 was",
          1,
          true
        )
      )
      assert.is_truthy(
        refusal("--resume_changed", "lamm"):find(
          "unknown key 'lamm'; did you mean " .. "'lam'?",
          1,
          true
        )
      )
      assert.are.equal(before, read(folder .. "/metrics.jsonl"))
      local cfg = make(folder, "--resume", checkpoint, "--lam", "0.7", "--resume_changed", "lam")
      local r <close> = run.open(cfg)
      assert.are.equal(0.7, cfg.lam)
      r:log(5, { loss = 1 })
      local entry = jsonl.read(folder .. "/journal.jsonl")[2]
      assert.is_number(entry.time)
      entry.time = nil
      assert.are.same({ step = 4, key = "lam", old = 0.2, new = 0.7, by = "resume" }, entry)
      assert.are.equal(4, r.resumed.step)
    end
  )

  it("is told where products go by other rules than the checkpoint's", function()
    local folder, before = scratch.path(), core.gemm().wish
    core.gemm("own")
    begin(folder)
    local function go_on(wish)
      core.gemm(wish)
      local text, fine, r = said(run.open, make(folder, "--resume"))
      core.gemm(before)
      assert.is_true(fine, r)
      r:sample(5, { answer = "on" }) -- now it goes on
      r:close()
      local rows = jsonl.read(folder .. "/journal.jsonl")
      return text, rows[#rows].text
    end
    local own = { kernels = core.isa(), float32 = "own", float32_gradients = "own" }
    own.bfloat16 = core.bf16()
    assert.are.same(own, read_json(folder .. "/env.json").arithmetic)
    local path = folder .. "/checkpoint-4/trainer_state.json"
    assert.are.same(own, read_json(path).perilune.arithmetic)
    assert.are.same({ "" }, { go_on("own") })

    local text = "other arithmetic than the checkpoint's: products for float32 gradients by own "
      .. "there, by split here"
    for _ = 1, 2 do
      local words, noted = go_on("split")
      assert.are.equal(text, noted)
      assert.are.equal(1, select(2, words:gsub("warning: " .. text:gsub("%p", "%%%0"), "")))
    end
    assert.are.equal("split", read_json(folder .. "/env.json").arithmetic.float32_gradients)
    assert.are.same({ "" }, { go_on("own") })
    local arithmetic = require("perilune.run.arithmetic")
    local there = { kernels = "avx2", bfloat16 = "pairs" }
    assert.are.equal(
      "other arithmetic than the checkpoint's: kernels by avx2 there, by plain here; "
        .. "bfloat16 products by pairs there, by chain here",
      arithmetic.difference(there, { kernels = "plain", float32 = "own", bfloat16 = "chain" })
    )
    local here = { kernels = "avx2", bfloat16 = "chain" }
    assert.is_string(arithmetic.difference(there, here, "bf16"))
    assert.is_nil(arithmetic.difference(there, here, "float32")) -- it has no such products
    assert.is_nil(arithmetic.difference(nil, own)) -- of a version that did not tell
  end)

  it("takes keys that change no result", function()
    local folder = scratch.path()
    begin(folder)
    local cfg = make(folder, "--resume", "--save_steps", "3", "--max_steps", "9", "--lam", "0.2")
    local r <close> = run.open(cfg)
    assert.are.same({ 3, 9, 0.2, 4 }, { cfg.save_steps, cfg.max_steps, cfg.lam, r.resumed.step })
  end)

  it("refuses another length where a schedule spans the run", function()
    local folder = scratch.path()
    local r = run.open(make(folder, "--kl_coef", "linear(0.1, 0)", "--max_steps", "8"))
    r:checkpoint(1, write_model)
    r:close()
    local message = tostring(message_of(run.open, make(folder, "--resume", "--max_steps", "9")))
    assert.is_truthy(message:find("max_steps is 8 there, 9 was given", 1, true))
  end)

  it("takes a schedule that is a function from the program again, and from nowhere else", function()
    local folder = scratch.path()
    local function begun(kl_coef, ...)
      return config {
        name = "toy",
        recipe = "tests/lua/run_spec.lua",
        args = { "--output_dir", folder, ... },
        { kl_coef = kl_coef, "β", min = 0, schedule = true },
      }
    end
    local function beta(step) return 1 / step end
    local r = run.open(begun(beta))
    r:checkpoint(1, write_model)
    r:close()
    r = run.open(begun(beta, "--resume"))
    assert.are.equal(0.5, r.cfg.kl_coef(2))
    r:close()
    assert.is_truthy(
      tostring(message_of(begun, 0.1, "--resume")):find("kl_coef was a Lua function at ", 1, true)
    )
    local message = tostring(message_of(run.open, begun(0.1, "--resume", "--kl_coef", "0.2")))
    assert.is_truthy(message:find("kl_coef is a Lua function at", 1, true))
    r = run.open(begun(0.1, "--resume", "--kl_coef", "0.2", "--resume_changed", "kl_coef"))
    assert.are.equal(0.2, r.cfg.kl_coef(2))
    r:close()
  end)

  it("never takes code out of its folder", function()
    local folder = scratch.path()
    local function begun(...)
      return config {
        name = "toy",
        recipe = "tests/lua/run_spec.lua",
        args = { "--output_dir", folder, ... },
        { reward_function = "", "Lua file", code = true },
        { kl_coef = 0.05, "β", min = 0, schedule = true },
      }
    end
    local r = run.open(begun("--reward_function", "mine.lua"))
    r:checkpoint(1, write_model)
    r:close()
    assert.are.equal(
      "toy: reward_function names code, which is not taken out of a run folder; "
        .. "give it again: --reward_function mine.lua",
      tostring(message_of(begun, "--resume"))
    )
    -- and what a folder says of schedules is read, not run
    for _, path in ipairs { "/config.json", "/checkpoint-1/trainer_state.json" } do
      local text = read(folder .. path):gsub('"mine.lua"', '""')
      scratch.write(
        folder .. path,
        (
          text:gsub(
            '"kl_coef":%s*0.05',
            '"kl_coef":"formula(\\"(function() while true do end end)()\\")"'
          )
        )
      )
      files.remove(folder .. "/checkpoint-1/manifest.json")
      assert.is_truthy(tostring(message_of(begun, "--resume")):find("cannot be read", 1, true))
    end
  end)

  it("stops when each of its checkpoints is damaged", function()
    local folder = scratch.path()
    local r = run.open(make(folder))
    r:log(1, { loss = 1 })
    r:checkpoint(1, write_model)
    r:close()
    scratch.write(folder .. "/checkpoint-1/model.bin", "weightz")
    assert.is_truthy(
      message_of(run.open, make(folder, "--resume")):find(
        ("no checkpoint of %s is sound"):format(folder),
        1,
        true
      )
    )
    assert.are.equal(1, #run.checkpoints(folder))
    assert.are.equal(1, #jsonl.read(folder .. "/metrics.jsonl"))
  end)

  it("that was finished keeps its summary", function()
    local folder = scratch.path()
    local r = run.open(make(folder))
    r:log(1, { loss = 1 })
    r:checkpoint(1, write_model)
    r:summary { eval_loss = 0.5 }
    r:close()
    local before = read(folder .. "/summary.json")
    r = run.open(make(folder, "--resume", "--quiet"))
    assert.are.equal(0.5, r:summary({}).eval_loss)
    r:close()
    assert.are.equal(before, read(folder .. "/summary.json"))
    r = run.open(make(folder, "--resume", "--quiet"))
    r:log(2, { loss = 1 })
    assert.is_nil(r:summary({}).eval_loss)
    r:close()
  end)

  it("without a checkpoint yet says so and starts at the beginning", function()
    local folder = scratch.path()
    local r = run.open(make(folder))
    r:log(1, { loss = 1 })
    r:close()
    local text, ok
    text, ok, r = said(run.open, make(folder, "--resume"))
    assert.is_true(ok)
    assert.are.equal(
      "nothing to resume: "
        .. folder
        .. " holds no checkpoint; the run starts at "
        .. "the beginning\n",
      text
    )
    assert.is_nil(r.resumed)
    assert.are.same({}, r.history)
    r:close()
  end)

  it("that was killed at any moment has every row up to its checkpoint, and no other", function()
    local system = require("perilune.core").system
    local folder = scratch.path()
    assert(lfs.mkdir(folder))
    local script = folder .. "/child.lua"
    local file = assert(io.open(script, "w"))
    file:write([[
      local folder = ...
      package.path, package.cpath = os.getenv("TEST_PATH"), os.getenv("TEST_CPATH")
      local cfg = require("perilune.config") { name = "toy", args = { "--output_dir", folder,
        "--resume" }, { kl_coef = 0.05, "β", schedule = true }, { lam = 0.95, "λ" } }
      local r = require("perilune.run").open(cfg)
      for step = (r.resumed and r.resumed.step or 0) + 1, math.huge do
        r:log(step, { loss = 1 / step })
        if step % 7 == 0 then
          r:checkpoint(step, function() end, { state = { cursor = step } })
        end
      end]])
    file:close()
    system.setenv("TEST_PATH", package.path)
    system.setenv("TEST_CPATH", package.cpath)
    local program = lfs.symlinkattributes("/proc/self/exe", "target")
    local last = 0
    for round = 1, 5 do
      local log = folder .. "/child.log"
      local pid = assert(system.spawn({ program, script, folder }, { wait = false, stderr = log }))
      local deadline = system.monotonic() + 20
      while
        (run.latest(folder) or { step = 0 }).step <= last + 7 * round
        and system.monotonic() < deadline
      do
        system.sleep(0.001 * round)
      end
      assert(system.kill(pid, 9))
      assert.are.equal("signal", (system.wait(pid)))
      local r = run.open(make(folder, "--resume"))
      assert.is_true(r.resumed.step > last)
      last = r.resumed.step
      assert.are.equal(last, r.resumed.state.cursor)
      assert.are.equal(last, #r.history)
      for step, row in ipairs(r.history) do
        assert.are.equal(step, row.step)
        assert.are.equal(1 / step, row.loss)
      end
      r:close()
    end
  end)

  it("says so when the checkpoint named is none", function()
    local folder = scratch.path()
    assert.is_truthy(
      message_of(run.open, make(folder, "--resume", "nowhere/checkpoint-3")):find(
        "nowhere/checkpoint-3 is not a checkpoint; give the path of a checkpoint-N folder",
        1,
        true
      )
    )
  end)
end)
