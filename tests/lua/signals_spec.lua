--- Ctrl-C and SIGTERM to a training run: the step ends, a checkpoint is written, the command that
-- is printed goes on to the same weights. Before the first step, and between stages, they act at
-- once and say how to go on. In a REPL the session stays, with the run's folder given free.

local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local world = dofile("tests/lua/support/world.lua")
local system = require("perilune.core").system

--- Starts a program, waits until a file holds something (of a pattern) and sends it a signal.
-- @treturn string how it ended, "exit 130"
local function interrupted(command, folder, signal, options)
  options = options or {}
  local pid = assert(system.spawn(command, {
    wait = false,
    stdin = options.stdin or "/dev/null",
    stdout = folder .. ".out",
    stderr = folder .. ".err",
  }))
  local file, pattern = options.file or folder .. "/metrics.jsonl", options.pattern or "."
  local patience = system.monotonic() + 60
  while not (world.read(file) or ""):find(pattern) and system.monotonic() < patience do
    system.sleep(0.005)
  end
  system.kill(pid, signal)
  local how, code = system.wait(pid)
  return how .. " " .. code
end

describe("a signal to a run", function()
  local w

  setup(function()
    system.setenv("OMP_WAIT_POLICY", "passive")
    w = world.new("gpt2")
  end)

  teardown(function() world.clean() end)

  for name, case in pairs {
    ["Ctrl-C to PPO"] = { "ppo", 2, "exit 130", { total_episodes = 160 } },
    ["SIGTERM to PPO"] = { "ppo", 15, "exit 143", { total_episodes = 160 } },
    ["SIGTERM to SFT"] = { "sft", 15, "exit 143", { num_train_epochs = 16 } },
  } do
    it("leaves a checkpoint, says how to go on, and that is exact: " .. name, function()
      local recipe, signal, ending, more = table.unpack(case)
      local settings = world.settings(w, recipe)
      settings.save_steps, settings.kl_coef = 0, recipe == "ppo" and 0.05 or nil
      for key, value in pairs(more) do
        settings[key] = value
      end
      local whole, cut = scratch.path(), scratch.path()
      local want = world.run(recipe, settings, whole, { "--threads", "1" }).weights_hash
      local command = world.command(recipe, settings, cut, { "--threads", "1" })
      assert.are.equal(ending, interrupted(command, cut, signal))
      local err = world.read(cut .. ".err")
      assert.are.equal(1, #pl.run.checkpoints(cut), err)
      assert.is_nil(world.read(cut .. "/summary.json"))
      local line = err:match("checkpoint %S+ is written; to go on:\n  perilune (run [^\n]+)\n")
      assert.is_truthy(line, err)
      local words = { world.program }
      for word in line:gmatch("%S+") do
        words[#words + 1] = word
      end
      local how, code = system.spawn(words, {
        stdin = "/dev/null",
        stdout = cut .. ".out",
        stderr = cut .. ".err",
      })
      assert.are.equal("exit 0", how .. " " .. code, world.read(cut .. ".err"))
      assert.are.equal(want, pl.json.decode(world.read(cut .. "/summary.json")).weights_hash)
    end)
  end

  for name, case in pairs {
    ["Ctrl-C"] = { 2, "exit 130" },
    ["SIGTERM"] = { 15, "signal 15" },
  } do
    it("before the first step says that nothing is kept: " .. name, function()
      local folder = scratch.path()
      local recipe = scratch.write(
        scratch.path() .. ".lua",
        'local pl = require("perilune")\nlocal run = pl.run.open(pl.config { name = "slow" })\n'
          .. 'io.stdout:write("open\\n") io.stdout:flush()\nwhile true do end\n'
      )
      local command = { world.program, "run", recipe, "--output_dir", folder }
      local file = folder .. ".out"
      assert.are.equal(case[2], interrupted(command, folder, case[1], { file = file }))
      local err = world.read(folder .. ".err")
      local words = "\nperilune: stopped before a first checkpoint; the same command begins again\n"
      assert.is_truthy(err:find(words, 1, true), err)
    end)
  end

  it("between stages says how to go on", function()
    local folder = scratch.path() .. " with blank"
    local recipe = scratch.write(
      scratch.path() .. ".lua",
      ([[
local pl = require("perilune")
local cfg = pl.config { name = "two" }
local run = pl.run.open(cfg)
pl.stages.new(run):stage(%q, "first", "first", %s)
io.stdout:write("between\n") io.stdout:flush()
while true do end
]]):format(
        require("lfs").currentdir() .. "/recipes/sft.lua",
        ("{ model = %q, dataset = %q, num_train_epochs = 1 }"):format(w.model, w.demos)
      )
    )
    local command = { world.program, "run", recipe, "--output_dir", folder, "--quiet" }
    local options = { file = folder .. ".out", pattern = "between" }
    assert.are.equal("exit 130", interrupted(command, folder, 2, options))
    local words = "\nperilune: stopped; to go on:\n  perilune run %s --output_dir '%s' --resume\n"
    words = words:format(recipe, folder)
    local err = world.read(folder .. ".err")
    assert.is_truthy(err:find(words, 1, true), err)
    scratch.remove(folder)
  end)

  it("in a REPL ends the run with a checkpoint and leaves the session its folder", function()
    local folder = scratch.path()
    local settings = world.settings(w, "ppo")
    settings.save_steps, settings.total_episodes, settings.threads = 0, 1600, 1
    settings.output_dir = folder
    local fields = {}
    for key, value in pairs(settings) do
      fields[#fields + 1] = ("%s = %s"):format(
        key,
        type(value) == "string" and ("%q"):format(value) or tostring(value)
      )
    end
    table.sort(fields)
    local begin = ("pl.config.run_recipe('recipes/ppo.lua', { %s%%s })\n"):format(
      table.concat(fields, ", ")
    )
    local input = scratch.write(
      scratch.path(),
      begin:format("")
        .. 'print("alive", #pl.run.checkpoints("'
        .. folder
        .. '"))\n'
        .. begin
          :format(", resume = 'latest', resume_changed = {'total_episodes'}")
          :gsub("1600", "16")
        .. 'print("went on", pl.files.read_json("'
        .. folder
        .. '/summary.json") ~= nil)\n'
    )
    local how = interrupted({ world.program, "-i" }, folder, 2, { stdin = input })
    local out = world.read(folder .. ".out")
    assert.are.equal("exit 0", how, out .. world.read(folder .. ".err"))
    assert.is_truthy(out:find("alive\t1", 1, true), out)
    assert.is_truthy(out:find("went on\ttrue", 1, true), out .. world.read(folder .. ".err"))
  end)
end)
