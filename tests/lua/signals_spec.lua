--- Ctrl-C and SIGTERM to a training run: the step ends, a checkpoint is written, the command that
-- is printed goes on to the same weights.

local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local world = dofile("tests/lua/support/world.lua")
local system = pl.system

--- Starts a run, waits for its first row of metrics and sends it a signal.
-- @treturn string how it ended, "exit 130"
local function interrupted(command, folder, signal)
  local pid = assert(system.spawn(command, {
    wait = false,
    stdin = "/dev/null",
    stdout = folder .. ".out",
    stderr = folder .. ".err",
  }))
  local patience = system.monotonic() + 60
  while (world.read(folder .. "/metrics.jsonl") or "") == "" and system.monotonic() < patience do
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
end)
