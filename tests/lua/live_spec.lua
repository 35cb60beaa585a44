--- A run that is talked to: changes at a step, kill -9, resume and replay to the same bits; wrong
-- keys and values refused by name; several attached at once; clients that hang, die or flood delay
-- nobody; evals, edits of the recipe, branches; the commands runs, stop, replay, run --detach.

local core = require("perilune.core")
local lfs = require("lfs")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local talk = require("perilune.run.talk")
local world = dofile("tests/lua/support/world.lua")
local system = core.system

local PATIENCE <const> = 60

-- Waits until a function gives something.
local function wait_until(what)
  local patience = system.monotonic() + PATIENCE
  while system.monotonic() < patience do
    local got = what()
    if got then return got end
    system.sleep(0.003)
  end
  error("waited in vain", 2)
end

local function begin(command, folder)
  return assert(system.spawn(command, {
    wait = false,
    stdin = "/dev/null",
    stdout = folder .. ".out",
    stderr = folder .. ".err",
  }))
end

-- A run that holds before its second step, and who holds it.
local function held(command, folder)
  table.move({ "--pause_at", "2" }, 1, 2, #command + 1, command)
  local pid = begin(command, folder)
  local client = wait_until(function() return scratch.there(folder) and talk.open(folder) end)
  local status
  wait_until(function() -- it may be heard several times before the first step
    status = assert(client:ask({ ["do"] = "status" }, PATIENCE)).value
    return status.state == "paused"
  end)
  return pid, client, status.step
end

local function ask(client, what, more)
  local request = { ["do"] = what }
  for key, value in pairs(more or {}) do
    request[key] = value
  end
  return assert(client:ask(request, PATIENCE))
end

local function fine(client, what, more)
  local reply = ask(client, what, more)
  assert.is_true(reply.ok, reply.text)
  return reply.value or reply.text, reply
end

local function eval(client, text) return fine(client, "eval", { text = text }) end

local function refused(client, what, more)
  local reply = ask(client, what, more)
  assert.is_false(reply.ok, what)
  return reply.text
end

-- Lets steps go by, until the run holds again before `step`.
local function steps(client, count)
  local before = fine(client, "status").step
  fine(client, "step", { count = count })
  wait_until(function()
    local status = fine(client, "status")
    return status.state == "paused" and status.step == before + count
  end)
end

local function perilune(...)
  local out = scratch.path()
  local how, code = system.spawn(
    { world.program, ... },
    { stdin = "/dev/null", stdout = out, stderr = out .. ".err" }
  )
  return how .. " " .. code, scratch.read(out), scratch.read(out .. ".err")
end

local function summary(folder) return pl.json.decode(scratch.read(folder .. "/summary.json")) end

local function rows(folder, name) return assert(pl.run.read_rows(folder .. "/" .. name)) end

describe("a run", function()
  local w

  setup(function()
    system.setenv("OMP_WAIT_POLICY", "passive")
    w = world.new("gpt2")
  end)

  teardown(function() world.clean() end)

  local function ppo(folder, more)
    local settings = world.settings(w, "ppo")
    settings.save_steps, settings.total_episodes, settings.kl_coef = 0, 96, 0.05
    for key, value in pairs(more or {}) do
      settings[key] = value
    end
    return world.command("ppo", settings, folder, { "--threads", "1" })
  end

  local function sft(folder, recipe, epochs)
    local settings = world.settings(w, "sft")
    settings.save_steps, settings.num_train_epochs = 0, epochs or 3
    if recipe then
      settings.learning_rate, settings.micro_batch_tokens = nil, nil
    end
    local command = world.command("sft", settings, folder, { "--threads", "1" })
    command[2] = recipe or command[2]
    return command
  end

  it("that is changed, killed and resumed is replayed to the same bits", function()
    local folder = scratch.path()
    local pid, client, at = held(ppo(folder), folder)
    assert.are.equal(
      ("kl_coef: 0.05 -> 0.2 from step %d on"):format(at),
      fine(client, "set", { key = "kl_coef", value = "0.2", by = "attach" })
    )
    eval(client, "cfg.learning_rate = pl.schedule.cosine(0.002, 0.001, 6)")
    steps(client, 2)
    assert.are.equal(
      ("%s/checkpoint-%d is written"):format(folder, at + 1),
      fine(client, "checkpoint")
    )
    local saved = pl.files.read_json(("%s/checkpoint-%d/trainer_state.json"):format(folder, at + 1))
    assert.are.equal(at + 1, saved.perilune.config.step)
    eval(client, "cfg.lam = 0.5") -- after the last checkpoint
    steps(client, 1)
    system.kill(pid, 9)
    system.wait(pid)
    client:close()
    local command = ppo(folder)
    command[#command + 1] = "--resume"
    local how, code =
      system.spawn(command, { stdout = folder .. ".out", stderr = folder .. ".err" })
    assert.are.equal("exit 0", how .. " " .. code, scratch.read(folder .. ".err"))
    local said = "changes of the journal that are made again: 1, the first at step %d\n"
    assert.is_truthy(scratch.read(folder .. ".err"):find(said:format(at + 2), 1, true))

    local metrics = rows(folder, "metrics.jsonl")
    assert.are.equal(6, #metrics)
    for step, row in ipairs(metrics) do
      assert.are.equal(step >= at and 0.2 or 0.05, row["objective/kl_coef"])
      local change = step == at
        and "kl_coef: 0.05 -> 0.2; "
          .. "learning_rate: cosine(0.003, 0.0005) -> cosine(0.002, 0.001, 6)"
      assert.are.equal(change or step == at + 2 and "lam: 0.95 -> 0.5" or nil, row.changed)
    end
    local changes = {}
    for _, entry in ipairs(rows(folder, "journal.jsonl")) do
      assert.is_number(entry.time)
      if entry.key then
        changes[#changes + 1] = { entry.step, entry.key, entry.old, entry.new, entry.by }
      end
    end
    assert.are.same({
      { at, "kl_coef", 0.05, 0.2, "attach" },
      { at, "learning_rate", "cosine(0.003, 0.0005)", "cosine(0.002, 0.001, 6)", "attach" },
      { at + 2, "lam", 0.95, 0.5, "attach" },
    }, changes)

    local ending, out, err = perilune("replay", folder, "--reward_function", w.reward)
    assert.are.equal("exit 0", ending, out .. err)
    local hash = summary(folder).weights_hash
    local text = "%s-replay is the same run: weights %s, 6 rows\n"
    assert.are.equal(text:format(folder, hash), out)
    assert.are.equal(hash, summary(folder .. "-replay").weights_hash)

    -- The steps given by a resume are those of the replay too.
    local journal = scratch.read(folder .. "/journal.jsonl")
    local resumed = '{"step":3,"key":"max_steps","old":0,"new":6,"by":"resume"}\n'
    scratch.write(folder .. "/journal.jsonl", journal .. resumed)
    local again = folder .. "-again"
    ending, out, err =
      perilune("replay", folder, "--output_dir", again, "--reward_function", w.reward)
    assert.are.equal("exit 0", ending, out .. err)
    scratch.write(folder .. "/journal.jsonl", journal)

    -- Without the last change it is another run, and the first difference is named.
    local lines = scratch.read(folder .. "/journal.jsonl"):gsub('[^\n]*"lam"[^\n]*\n', "")
    scratch.write(folder .. "/journal.jsonl", lines)
    ending, out = perilune(
      "replay",
      folder,
      "--output_dir",
      folder .. "-other",
      "--reward_function=" .. w.reward
    )
    assert.are.equal("exit 1", ending)
    assert.is_truthy(out:find("-other is another run: at step " .. at + 2 .. " ", 1, true), out)
  end)

  it("answers several at once and refuses what is wrong by name", function()
    local folder = scratch.path()
    local pid, one = held(ppo(folder), folder)
    assert.are.equal("rw-------", lfs.attributes(folder .. "/control.sock", "permissions"))
    local two = assert(talk.open(folder))
    local at = fine(two, "status").step
    assert.are.equal(2, fine(one, "status").attached)
    assert.are.equal(6, fine(one, "status").total)

    local known = "constant, linear, cosine, warmup, piecewise, adaptive_kl, formula"
    for _, case in ipairs {
      { "kl_coeff", "1", "unknown key 'kl_coeff'; did you mean 'kl_coef'? (--help lists all)" },
      { "lam", "2", "lam = '2' is out of range; give a number in [0, 1]" },
      {
        "kl_coef",
        "ten(1)",
        "kl_coef: 'ten(1)': there is no schedule 'ten'; known are " .. known,
      },
      {
        "kl_estimator",
        "k4",
        "kl_estimator = 'k4' is not known; give one of k1 | k2 | k3 | full; did you mean 'k1'?",
      },
      {
        "seed",
        "2",
        "seed is settled when a run begins and cannot be changed while it goes",
      },
    } do
      assert.are.equal(case[3], refused(two, "set", { key = case[1], value = case[2] }))
    end
    local built = refused(one, "set", { key = "batch_size", value = "8" })
    assert.is_truthy(built:find("batch_size was read before the first step", 1, true), built)
    fine(one, "set", { key = "num_ppo_epochs", value = "1" }) -- its row says that it may be
    fine(one, "undo")
    assert.is_truthy(refused(one, "paus"):find("did you mean 'pause'?", 1, true))
    assert.is_truthy(refused(one, "undo"):find("no change to take back", 1, true))

    -- What the recipe has, by name; variables of a session are its own.
    assert.are.equal("52", eval(one, "policy.config.n_embd"))
    assert.are.equal(tostring(at), eval(one, "iteration"))
    eval(one, "x = pl.randn{2, 3}")
    assert.are.equal("nil", eval(two, "x"))
    assert.are.equal("6", eval(one, "iterations"))
    assert.is_string(eval(one, 'generate("the moon", { max_tokens = 4 })'))
    assert.are.equal("1\n2\n", eval(one, "for i = 1, 2 do print(i) end"))
    local more = ask(one, "eval", { text = "for i = 1, 2 do" })
    assert.is_true(more.more)
    assert.is_truthy(refused(one, "eval", { text = "nonsense()" }):find("nonsense", 1, true))
    assert.is_truthy(refused(one, "eval", { text = "1 +* 2" }):find("unexpected symbol", 1, true))
    assert.are.equal(
      "iteration is the counter of a loop, which goes on with its own",
      refused(one, "eval", { text = "iteration = 1" })
    )
    local exit = refused(one, "eval", { text = "os.exit(3)" })
    assert.is_truthy(exit:find("that would end the run; :stop ends it, :detach leaves it", 1, true))
    assert.are.equal("true", eval(one, "os.time() > 0"))
    local closed = "scope is closed at the end of its block and must stay what it is"
    assert.are.equal(closed, refused(one, "eval", { text = "scope = nil" }))
    assert.are.equal(
      "cfg cannot be replaced; set its keys: cfg.kl_coef = 0.05",
      refused(one, "eval", { text = "cfg = 1" })
    )
    local kept = refused(one, "eval", { text = "cfg.kl_coef = function() return 1 end" })
    assert.is_truthy(kept:find("a Lua function cannot be kept in the journal", 1, true), kept)
    local completed = fine(one, "complete", { text = "cfg.kl_c" })
    assert.are.equal("oef", completed.insert)
    assert.are.equal("icy", fine(one, "complete", { text = "pol" }).insert)

    -- Undo, twice; the tensors of a session outlive the step, nothing that was read has changed.
    local memory = eval(one, "collectgarbage() return pl.mem().live")
    eval(two, "cfg.kl_coef = 0.3")
    eval(two, "cfg.lam = 0.9")
    assert.are.equal(("lam: 0.9 -> 0.95 from step %d on"):format(at), fine(one, "undo"))
    assert.are.equal(("kl_coef: 0.3 -> 0.05 from step %d on"):format(at), fine(one, "undo"))
    assert.is_truthy(refused(one, "undo"):find("no change to take back", 1, true))
    eval(one, "for i = 1, 50 do local y = pl.randn { 100, 100 } end")
    assert.are.equal(memory, eval(one, "collectgarbage() return pl.mem().live"))
    steps(one, 1)
    assert.are.equal("2\t3", eval(one, "table.unpack(x:shape())"))
    eval(one, "lines = 5")
    assert.are.equal("5", eval(one, "lines"))
    for _, entry in ipairs(fine(one, "journal")) do
      assert.is_nil(entry.changed, entry.eval)
    end
    local events = two:events()
    assert.are.equal(at, events[#events - 1].step)
    assert.is_number(events[#events - 1].row["objective/kl"])

    two:close()
    fine(one, "stop")
    local how, code = system.wait(pid)
    assert.are.equal("exit 143", how .. " " .. code)
    assert.are.equal(at, pl.run.latest(folder).step)
    assert.is_false(scratch.there(folder .. "/control.sock"))
    assert.are.equal("stopped", pl.files.read_json(folder .. "/status.json").state)
    one:close()
  end)

  it("is not delayed by who hangs, dies or floods", function()
    local folder = scratch.path()
    local pid, client = held(ppo(folder, { total_episodes = 80 }), folder)
    local function connect() return assert(core.net.connect(folder .. "/control.sock")) end
    local half, silent, flood, dead = connect(), connect(), connect(), connect()
    half:send('{"id":1,"do":"sta')
    for _ = 1, 3000 do -- some 30 MB of answers that nobody reads
      if not silent:send('{"do":"keys"}\n') then break end
    end
    local part, fault = ("z"):rep(1 << 20), nil
    for _ = 1, 100 do
      fault = select(2, flood:send(part)) or fault
      if fault then break end
      core.net.wait({ flood }, 0.01)
      silent:flush()
    end
    assert.is_truthy(fault == "the other side has gone" or fault == "the other side does not read")
    dead:send('{"do":"eval","text":"while true do end"}\n')
    system.sleep(0.1)
    dead:close() -- an eval whose client goes is stopped
    assert.is_string(eval(client, "1 + 1"))
    wait_until(function()
      silent:flush()
      return fine(client, "status").attached == 2
    end)
    fine(client, "continue")
    local how, code = system.wait(pid)
    assert.are.equal("exit 0", how .. " " .. code, scratch.read(folder .. ".err"))
    assert.are.equal(5, #rows(folder, "metrics.jsonl"))
    client:close()
  end)

  it("stops an eval that its client interrupts, and goes on", function()
    local folder = scratch.path()
    local pid, client = held(sft(folder), folder)
    for _, text in ipairs {
      "while true do end",
      "while true do pcall(error) end",
      "a = pl.randn{800, 800} while true do b = a:matmul(a) end",
    } do
      local number = client:send { ["do"] = "eval", text = text }
      system.sleep(0.05)
      client:send { ["do"] = "interrupt" }
      local reply = assert(client:answer(number, PATIENCE))
      assert.is_false(reply.ok)
      assert.are.equal("interrupted", reply.text)
    end
    assert.are.equal("2", eval(client, "1 + 1"))
    -- A SIGTERM during a pause writes a checkpoint of the step before.
    steps(client, 2)
    local at = fine(client, "status").step
    system.kill(pid, 15)
    local how, code = system.wait(pid)
    assert.are.equal("exit 143", how .. " " .. code)
    assert.are.equal(at - 1, pl.run.latest(folder).step)
    client:close()
  end)

  it("has evals that change it noted, branches, and cannot be replayed then", function()
    local folder = scratch.path()
    local whole = world.run(
      "sft",
      (function()
        local settings = world.settings(w, "sft")
        settings.save_steps, settings.num_train_epochs = 0, 3
        return settings
      end)(),
      scratch.path(),
      { "--threads", "1" }
    ).weights_hash
    local pid, client, at = held(sft(folder), folder)
    local name = folder:match("[^/]+$") .. "-branch"
    local branch = fine(client, "branch", { name = name })
    assert.are.equal(folder .. "-branch", branch.folder)
    assert.is_truthy(branch.command:find("--resume", 1, true))
    assert.are.equal(at - 1, pl.run.latest(branch.folder).step)
    assert.is_nil(pl.run.latest(folder))
    local again = refused(client, "branch", { name = name })
    assert.is_truthy(again:find("is there already", 1, true), again)
    local bad = refused(client, "branch", { name = "../x" })
    assert.is_truthy(bad:find("a branch wants a name", 1, true), bad)

    eval(client, "model:hash()")
    eval(
      client,
      "local g <close> = pl.no_grad() local _, t = next(model.block:tensors()) t:copy_(t * 2)"
    )
    eval(client, "state.extra = 1")
    eval(client, "last_eval = {}")
    local changed = {}
    for _, entry in ipairs(fine(client, "journal")) do
      changed[#changed + 1] = entry.changed and table.concat(entry.changed, ",") or "nothing"
    end
    assert.are.same({ "nothing", "model", "state", "local last_eval" }, changed)
    fine(client, "continue")
    local how, code = system.wait(pid)
    assert.are.equal("exit 0", how .. " " .. code, scratch.read(folder .. ".err"))
    client:close()
    assert.are_not.equal(whole, summary(folder).weights_hash)
    local ending, _, err = perilune("replay", folder)
    assert.are.equal("exit 1", ending)
    assert.is_truthy(
      err:find("cannot be replayed: at step " .. at .. " somebody attached", 1, true),
      err
    )

    local words = { world.program }
    for word in branch.command:gmatch("%S+") do
      words[#words + 1] = word
    end
    table.remove(words, 2) -- "perilune"
    how, code = system.spawn(words, { stdout = folder .. ".out", stderr = folder .. ".err" })
    assert.are.equal("exit 0", how .. " " .. code, scratch.read(folder .. ".err"))
    assert.are.equal(whole, summary(branch.folder).weights_hash)
  end)

  it("takes a saved edit of its config block, and tells what it cannot", function()
    local folder, recipe = scratch.path(), scratch.path() .. ".lua"
    local text = scratch.read("recipes/sft.lua")
    scratch.write(recipe, text)
    local command = sft(folder, recipe)
    local pid, client, at = held(command, folder)
    local function edited(from, to)
      local changed, n = text:gsub(from, to)
      assert.are.equal(1, n, from)
      text = changed
      scratch.write(recipe, text)
      steps(client, 1)
    end
    edited('learning_rate = "[^"]*"', "learning_rate = pl.schedule.linear(0.002, 0.001)")
    assert.are.equal("linear(0.002, 0.001)", eval(client, "print(cfg.learning_rate)"):sub(1, -2))
    edited("micro_batch_tokens = 16384", "micro_batch_tokens = 0")
    edited("ptx_length = 128", "ptx_length = 32")
    edited("learning_rate = pl.schedule", "learning_rate = os.exit() or pl.schedule")
    scratch.write(recipe, "local = 1\n")
    assert.is_truthy(fine(client, "reload"):find("nothing is changed: ", 1, true))
    scratch.write(recipe, text .. "\n-- more\n")
    local told = fine(client, "reload")
    assert.is_truthy(told:find("code was edited too", 1, true), told)
    fine(client, "continue")
    local how, code = system.wait(pid)
    assert.are.equal("exit 0", how .. " " .. code, scratch.read(folder .. ".err"))
    client:close()
    local changes = {}
    for _, entry in ipairs(rows(folder, "journal.jsonl")) do
      if entry.key then changes[#changes + 1] = { entry.step, entry.key, entry.new, entry.by } end
    end
    assert.are.same({ { at + 1, "learning_rate", "linear(0.002, 0.001)", "edit" } }, changes)
    local err = scratch.read(folder .. ".err")
    local given = "ptx_length keeps 12, given by command line: its default is not used\n"
    assert.is_truthy(err:find(given, 1, true), err)
    local small = ":%d+: micro_batch_tokens is as it was: micro_batch_tokens = 0 is out of range"
    assert.is_truthy(err:find(small), err)
    assert.is_truthy(err:find(":%d+: learning_rate is as it was: there is no schedule 'os'"), err)
  end)

  it("goes on by itself with --detach, is listed and stopped", function()
    local place = scratch.folder()
    local folder = place .. "/one"
    local command = sft(folder, nil, 600)
    local ending, _, err = perilune("run", "--detach", "recipes/sft.lua", "--modle", "x")
    assert.are.equal("exit 1", ending)
    assert.is_truthy(err:find("unknown key 'modle'; did you mean 'model'?", 1, true), err)
    local out
    ending, out, err = perilune("run", "--detach", table.unpack(command, 2))
    assert.are.equal("exit 0", ending, err)
    assert.is_truthy(out:find(folder .. ": process %d+ goes on by itself"), out)
    ending, out, err = perilune("attach", folder) -- waits for the first step
    assert.are.equal("exit 0", ending, err)
    assert.is_truthy(out:find("^sft, [^ ]+/one, step %d+ of 3000, "), out)
    local client = wait_until(function() return talk.open(folder) end)
    fine(client, "pause")
    local at = fine(client, "status").step
    _, out = perilune("runs", place)
    assert.is_truthy(
      out:find(("one  +paused  +%s"):format(at > 1 and at - 1 .. "/3000" or "")),
      out
    )
    fine(client, "continue")
    ending, out, err = perilune("stop", folder)
    assert.are.equal("exit 0", ending, err)
    assert.is_truthy(out:find("is stopped; --resume goes on from " .. folder, 1, true), out)
    assert.is_truthy(
      scratch.read(folder .. "/output.log"):find("is written; to go on:", 1, true),
      scratch.read(folder .. "/output.log")
    )
    _, out = perilune("runs", place)
    assert.is_truthy(out:find("one  +stopped"), out)
    local killed = place .. "/two"
    perilune("run", "--detach", table.unpack(sft(killed, nil, 600), 2))
    ending, out = perilune("stop", killed, "--now")
    assert.are.equal("exit 0", ending)
    assert.is_truthy(out:find(killed .. " is killed; ", 1, true), out)
    _, out = perilune("runs", place)
    assert.is_truthy(out:find("two  +stopped"), out)
    ending, _, err = perilune("stop", folder)
    assert.are.equal("exit 1", ending)
    local when = "%d%d%d%d%-%d%d%-%d%d %d%d:%d%d"
    assert.matches(
      "one was stopped, " .. when .. ", step %d+ of 3000, loss [%d.]+; %-%-resume",
      err
    )
    local name = killed:match("[^/]+$")
    _, _, err = perilune("stop", place .. "/tow")
    assert.is_truthy(err:find("did you mean '" .. place .. "/" .. name .. "'?", 1, true), err)
    _, _, err = perilune("stop", place .. "/nothing-like-it")
    assert.is_truthy(err:find("; 'perilune runs' lists those there are", 1, true), err)
    ending, _, err = perilune("attach", folder)
    assert.are.equal("exit 1", ending)
    assert.is_truthy(err:find("nobody answers for", 1, true), err)
    client:close()
  end)

  -- A run of two stages, both sft, which waits for a file before each.
  local function staged(folder)
    local recipe = scratch.write(
      scratch.path() .. ".lua",
      ([[
local pl = require("perilune")
local run = pl.run.open(pl.config { name = "two", { steps = 600, "of a stage" } })
local stages = pl.stages.new(run, 2)
for _, name in ipairs { "first", "second" } do
  local go = run.dir .. "." .. name
  while not pl.files.read(go) do require("perilune.core").system.sleep(0.01) end
  stages:stage(%q, name, name, { model = %q, dataset = %q, num_train_epochs = run.cfg.steps })
end
run:summary {}
run:close()
]]):format(lfs.currentdir() .. "/recipes/sft.lua", w.model, w.demos)
    )
    local command = { world.program, "run", recipe, "--output_dir", folder, "--quiet" }
    return command, function(name) scratch.write(folder .. "." .. name, "") end
  end

  it("of stages is listed with its stage, and crashed when it was killed", function()
    local place = scratch.folder()
    local folder = place .. "/one"
    local command, let = staged(folder)
    local pid = begin(command, folder)
    wait_until(function() return scratch.there(folder .. "/status.json") end)
    local _, out = perilune("runs", place)
    assert.matches("\n%S+/one  +running", out)
    assert.is_nil(out:find("stage", 1, true), out)
    let("first")
    local client = wait_until(function() return talk.open(folder) end)
    fine(client, "pause")
    _, out = perilune("runs", place)
    assert.matches("\n%S+/one  +paused  +stage 1/2", out)
    assert.matches("\n%S+/one/first  +paused", out)
    system.kill(pid, 9)
    system.wait(pid)
    client:close()
    _, out = perilune("runs", place)
    assert.matches("\n%S+/one  +died  +stage 1/2", out)
    local ending, _, err = perilune("stop", folder)
    assert.are.equal("exit 1", ending)
    local when = "%d%d%d%d%-%d%d%-%d%d %d%d:%d%d"
    local text = "/one has crashed: its process was killed, or the machine went down, "
    assert.matches(text .. when .. ", in stage first %(1 of 2%)", err)
  end)

  it("of stages is attached to, watched and stopped in the stage that goes on", function()
    local place = scratch.folder()
    local folder = place .. "/one"
    local command, let = staged(folder)
    command[#command + 1] = "--steps"
    command[#command + 1] = "1"
    local pid = begin(command, folder)
    let("first")
    wait_until(function() return scratch.there(folder .. "/first/summary.json") end)
    local status = pl.json.decode(scratch.read(folder .. "/status.json"))
    assert.are.same({ name = "first", number = 1, of = 2 }, status.stage)
    local ending, _, err = perilune("stop", folder .. "/first")
    assert.are.equal("exit 1", ending)
    assert.matches("/one/first has finished, .*, step %d+ of %d+, loss ", err)
    let("second")
    system.wait(pid)
    local _, out = perilune("runs", place)
    assert.matches("\n%S+/one  +done", out)
    assert.is_nil(out:find("stage", 1, true), out)

    command[#command] = "600"
    command[#command + 1] = "--overwrite_output_dir"
    for _, name in ipairs { "first", "second" } do
      os.remove(folder .. "." .. name)
    end
    pid = begin(command, folder)
    let("first")
    let("second")
    wait_until(function() return scratch.there(folder .. "/first/control.sock") end)
    ending, out, err = perilune("attach", folder)
    assert.are.equal("exit 0", ending, err)
    local greeting = "sft, " .. folder .. "/first, step "
    assert.are.equal(greeting, out:sub(1, #greeting))
    ending, out, err = perilune("stop", folder)
    assert.are.equal("exit 0", ending, err)
    local goes_on = " is stopped; --resume goes on from " .. folder .. "/first/checkpoint-"
    assert.is_truthy(out:find(folder .. goes_on, 1, true), out)
    system.wait(pid)
    _, out = perilune("runs", place)
    assert.matches("\n%S+/one  +stopped  +stage 1/2", out)
    assert.matches("\n%S+/one/first  +stopped", out)
  end)

  it("shows what a resume noted in its journal", function()
    local folder = scratch.path()
    local before = os.getenv("PERILUNE_GEMM")
    system.setenv("PERILUNE_GEMM", "own")
    local pid, client, at = held(sft(folder), folder)
    fine(client, "set", { key = "weight_decay", value = "0.25", by = "attach" })
    fine(client, "stop")
    system.wait(pid)
    client:close()
    system.setenv("PERILUNE_GEMM", "split")
    local command = sft(folder)
    table.move({ "--resume", "--pause_at", "6" }, 1, 3, #command + 1, command)
    pid = begin(command, folder)
    system.setenv("PERILUNE_GEMM", before)
    client = wait_until(function() return talk.open(folder) end)
    wait_until(function() return fine(client, "status").state == "paused" end)
    local input = scratch.write(scratch.path(), ":journal\n:continue\n:detach\n")
    local how, code = system.spawn(
      { world.program, "attach", folder },
      { stdin = input, stdout = input .. ".out", stderr = input .. ".err" }
    )
    assert.are.equal("exit 0", how .. " " .. code, scratch.read(input .. ".err"))
    local lines = {}
    for line in scratch.read(input .. ".out"):gmatch("[^\n]+") do
      lines[#lines + 1] = line
    end
    assert.are.same({
      ("step %-6d weight_decay: 0.0 -> 0.25   (attach)"):format(at),
      (
        "step %-6d other arithmetic than the checkpoint's: products for float32 gradients by own "
        .. "there, by split here   (resume)"
      ):format(at - 1),
    }, { lines[2], lines[3] })
    system.wait(pid)
    client:close()
  end)

  it("can be attached to from a pipe", function()
    local folder = scratch.path()
    local pid, client, at = held(sft(folder), folder)
    local input = scratch.write(
      scratch.path(),
      "cfg.weight_decay = 0.25\nfor i = 1, 2 do\nprint(i)\nend\ncfg.x = 1\n:undo\n"
        .. ":continue\n:detach\n"
    )
    local how, code = system.spawn(
      { world.program, "attach", folder },
      { stdin = input, stdout = input .. ".out", stderr = input .. ".err" }
    )
    assert.are.equal("exit 0", how .. " " .. code)
    local first, rest = scratch.read(input .. ".out"):match("^([^\n]*)\n(.*)$")
    local greeting = ("sft, %s, step %d of 15, paused, "):format(folder, at)
    assert.are.equal(greeting, first:sub(1, #greeting))
    assert.are.equal(
      (
        "weight_decay: 0 -> 0.25 from step %d on\n1\n2\n"
        .. "weight_decay: 0.25 -> 0 from step %d on\ngoes on with step %d\n"
      ):format(at, at, at),
      rest
    )
    assert.are.equal("repl:1: unknown key 'x' (--help lists all)\n", scratch.read(input .. ".err"))
    how, code = system.wait(pid)
    assert.are.equal("exit 0", how .. " " .. code)
    client:close()
  end)
end)

describe("a config block", function()
  local block = require("perilune.config.block")

  it("is read as text, with lines, past comments and strings", function()
    local rows_of = assert(
      block.read(
        [==[
local x = "config { kl = 1 }" -- config { kl = 2 }
local cfg = pl.config {
  name = "kl = 7", --[[ { kl = 3 } ]] about = [[ { kl = 4 } ]],
  "Group { kl = 5 }",
  pl.config.adam { kl = 6 },
  { kl = pl.schedule.cosine(0.1, 0.01, -- why
      500), "β { kl = 8 }", min = 0, schedule = true },
  { "first its meaning", lam = -1e-2; max = 1 },
  { on = true, "" }, { text = 'it"s', "" }, { list = { 1, 2 }, "" },
  check = function(c) return { kl = 9 } end,
}
local more = { kl = 10 }
]==],
        function(name)
          return name == "kl" or name == "lam" or name == "on" or name == "text" or name == "list"
        end
      )
    )
    local found = {}
    for name, row in pairs(rows_of) do
      found[name] = { row.line, row.text }
    end
    assert.are.same({
      kl = { 6, "pl . schedule . cosine ( 0.1 , 0.01 , 500 )" },
      lam = { 8, "- 1e-2" },
      on = { 9, "true" },
      text = { 9, "'it\"s'" },
      list = { 9, "{ 1 , 2 }" },
    }, found)
    assert.are.equal("cosine(0.1, 0.01, 500)", tostring(block.value(found.kl[2])))
    assert.are.equal(-0.01, block.value(found.lam[2]))
    assert.is_true(block.value("true"))
    assert.is_false(block.value("false"))
    assert.are.equal('it"s', block.value(found.text[2]))
    assert.are.same({ 1, 2 }, block.value(found.list[2]))
    assert.are.same(
      { nil, "there is no schedule 'os'" },
      { block.value("os . exit ( )"), (select(2, block.value("os . exit ( )")):match("^[^;]*")) }
    )
    assert.is_nil(block.read("local x = 1", function() return true end))
  end)
end)
