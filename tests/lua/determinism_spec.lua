--- The same bits: generation against training, any number of threads, before and after SIGKILL,
-- with and without activation checkpointing.
--
-- Kills come at moments drawn from the clock; a failure names them. The long suite (#long) has ten
-- for PPO and four for each of SFT and reward model.

local pl = require("perilune")
local toy = dofile("tests/lua/support/toy.lua")
local world = dofile("tests/lua/support/world.lua")

local batch, loss, system = pl.batch, pl.loss, require("perilune.core").system

-- ---- generation and training --------

toy.each_precision(function(config, new_model)
  describe("log-probs of " .. config, function()
    local prompts = { { 1, 2, 3 }, { 4 }, { 5, 6, 7, 8, 9, 10 }, { 12, 13 }, { 14, 15, 16, 17 } }
    local TEMPERATURE <const> = 0.8

    --- Scores answers by the forward pass of training, all in one batch, with a tape.
    local function score(model, list, answer_masks)
      local targets = batch.targets(list, answer_masks)
      local options = { temperature = TEMPERATURE }
      return loss.logprobs(model, batch.pack(list), targets, options):totable()
    end

    for name, opts in pairs {
      ["one prompt"] = { count = 1 },
      ["a batch"] = {},
      ["a shared prefix"] = { samples = 4 },
      ["continuous batching in few slots"] = { samples = 4, slots = 3 },
      ["one slot"] = { samples = 2, slots = 1 },
      ["tokens guessed ahead"] = { samples = 2, guesses = 5 },
      ["greedy"] = { temperature = 0 },
      ["cut distributions"] = { top_k = 9, top_p = 0.8, min_p = 0.02, samples = 2 },
    } do
      it("of generation have the bits of a training forward: " .. name, function()
        local model = new_model()
        local asked = table.move(prompts, 1, opts.count or #prompts, 1, {})
        local answers = pl.generate(model, asked, {
          max_tokens = 20,
          temperature = opts.temperature or TEMPERATURE,
          seed = 8,
          stop = { 0 },
          samples = opts.samples,
          slots = opts.slots,
          top_k = opts.top_k,
          top_p = opts.top_p,
          min_p = opts.min_p,
          prompt_lookup_num_tokens = opts.guesses,
        })
        if opts.guesses then assert.is_true(answers.drafted > 0) end
        local list, answer_masks, old = {}, {}, {}
        for i, answer in ipairs(answers) do
          list[i], answer_masks[i] = pl.data.join(asked[answer.prompt], answer.tokens)
          table.move(answer.logprobs, 1, #answer.logprobs, #old + 1, old)
        end
        if opts.temperature == 0 then -- greedy log-probs are of the plain model
          local at = batch.targets(list, answer_masks)
          local plain = loss.logprobs(model, batch.pack(list), at)
          assert.are.same(old, plain:totable())
          return
        end
        assert.are.same(old, score(model, list, answer_masks))
        -- and in another order, in parts, without a tape
        local order = pl.random.permutation(#list, 6, "order")
        local moved, wanted =
          loss.sequence_logprobs(
            model,
            batch.parts(batch.take(list, order), batch.take(answer_masks, order), 30),
            { temperature = TEMPERATURE }
          ),
          {}
        for _, from in ipairs(order) do
          table.move(answers[from].logprobs, 1, #answers[from].logprobs, #wanted + 1, wanted)
        end
        assert.are.same(wanted, moved:totable())
      end)
    end

    it("follow the weights: after a step the decode plan sees the new ones", function()
      local model = new_model()
      local opts = { max_tokens = 6, temperature = TEMPERATURE, seed = 2 }
      local before = pl.generate(model, { prompts[1] }, opts)[1]
      loss.lm(model, prompts):backward()
      pl.adamw(model.block):step { lr = 0.05 }
      local after = pl.generate(model, { prompts[1] }, opts)[1]
      local list, mask = pl.data.join(prompts[1], after.tokens)
      assert.are.same(after.logprobs, score(model, { list }, { mask }))
      assert.are_not.same(before.logprobs, after.logprobs)
    end)
  end)

  -- ---- activation checkpointing --------

  describe("activation checkpointing of " .. config, function()
    for name, dropout in pairs {
      ["without dropout"] = false,
      ["with dropout"] = { p = 0.3, seed = 4, index = 9 },
    } do
      it("gives the same gradients bit for bit, " .. name, function()
        local model = new_model()
        local list = toy.sequences { 9, 3, 17, 1, 6 }
        local values = {}
        local function run(checkpoint)
          return toy.gradients(model, function()
            local value =
              loss.lm(model, list, nil, { checkpoint = checkpoint, dropout = dropout or nil })
            value:backward()
            values[#values + 1] = value:item()
          end)
        end
        local want, got = run(false), run(true)
        assert.are.equal(values[1], values[2])
        local same, where = toy.same_bits(want, got)
        assert.is_true(same, where)
      end)
    end
  end)
end)

-- ---- threads: what is large enough to be cut in parts --------

describe("for 1 to 4 threads", function()
  --- The same from `work()`, a text, whatever the number of threads.
  local function hold(work)
    local former = pl.threads()
    local want
    for threads = 1, 4 do
      pl.threads(threads)
      local got = work()
      want = want or got
      if got ~= want then pl.threads(former) end
      assert.are.equal(want, got, ("%d threads"):format(threads))
    end
    pl.threads(former)
  end

  it("a sum of a million has the same bits", function()
    local opts = { seed = 1, dtype = "float64" } -- sums of float32 chunks are exact
    local x = pl.randn({ 1200007 }, opts) -- more than 256 chunks of 4096
    hold(function()
      local scope <close> = pl.scope("test")
      return pl.sum(x):bytes()
    end)
  end)

  for name, optimizer in pairs {
    adamw = function(block) return pl.adamw(block) end,
    ["adamw in 8 bits"] = function(block) return pl.adamw(block, { moments = "8bit" }) end,
    muon = function(block) return pl.muon(block) end,
    ["muon in bf16"] = function(block) return pl.muon(block, { precision = "bf16" }) end,
  } do
    it("a clipped step over 100,000 parameters has the same bits: " .. name, function()
      hold(function()
        local scope <close> = pl.scope("test")
        local block = pl.block { { "layers.0.w", { 300, 257 } }, { "head", { 23, 1000 } } }
        local opt = optimizer(block)
        local norms = {}
        for step = 1, 2 do
          block:zero_grad()
          for key, t in pairs(block:tensors()) do
            local towards = pl.randn(t:shape(), { seed = step, purpose = #key })
            local sum = (t * towards):sum()
            sum:backward()
          end
          norms[step] = opt:step({ lr = 0.01, max_grad_norm = 1 }).grad_norm
        end
        return ("%s %a %a"):format(block:hash(), norms[1], norms[2])
      end)
    end)
  end
end)

-- ---- threads and SIGKILL --------

describe("a run", function()
  local made

  setup(function()
    -- More threads than processors shall sleep, not spin, while they wait.
    system.setenv("OMP_WAIT_POLICY", "passive")
    made = { gpt2 = world.new("gpt2"), llama = world.new("llama") }
  end)

  teardown(function() world.clean() end)

  --- A place in the world's folder that no other run uses.
  local runs = 0
  local function place(w)
    runs = runs + 1
    return ("%s/run%d"):format(w.dir, runs)
  end

  for _, family in ipairs { "gpt2", "llama" } do
    it("of PPO has the same weights for 1, 2, 3 and 4 threads: " .. family, function()
      local w = made[family]
      local settings = world.settings(w, "ppo")
      settings.save_steps = 0
      local want
      for threads = 1, 4 do
        local summary = world.run("ppo", settings, place(w), { "--threads", tostring(threads) })
        assert.are.equal(32, #summary.weights_hash)
        assert.are.equal(5, summary.iterations)
        want = want or summary.weights_hash
        assert.are.equal(want, summary.weights_hash)
      end
      local rows =
        assert(require("perilune.run.log").read(("%s/run%d/metrics.jsonl"):format(w.dir, runs)))
      assert.are.equal(5, #rows) -- the policy begins as its reference
      assert.are.equal(0, rows[1]["objective/kl"])
      assert.are.equal(0, rows[1]["objective/kl_k3"])
      assert.is_true(rows[5]["objective/kl_k3"] > 0)
      settings.seed = 6 -- the hash tells runs apart
      assert.are_not.equal(
        want,
        world.run("ppo", settings, place(w), { "--threads", "1" }).weights_hash
      )
    end)
  end

  it(
    "of PPO in bf16 has the same weights for 1 and 3 threads, and begins as its reference",
    function()
      local w = made.llama
      local settings = world.settings(w, "ppo")
      settings.save_steps, settings.precision, settings.total_episodes = 0, "bf16", 32
      local one = world.run("ppo", settings, place(w), { "--threads", "1" })
      local three = world.run("ppo", settings, place(w), { "--threads", "3" })
      assert.are.equal("bf16", three.precision)
      assert.are.equal(one.weights_hash, three.weights_hash)
      local rows =
        assert(require("perilune.run.log").read(("%s/run%d/metrics.jsonl"):format(w.dir, runs)))
      assert.are.equal(0, rows[1]["objective/kl"])
      assert.are.equal(0, rows[1]["objective/kl_k3"])
      settings.precision = nil
      local plain = world.run("ppo", settings, place(w), { "--threads", "1" })
      assert.are.equal("float32", plain.precision)
      assert.are_not.equal(plain.weights_hash, three.weights_hash)
    end
  )

  it("of PPO with Muon has the same weights for 1 and 3 threads, and when resumed", function()
    local w = made.llama
    local settings = world.settings(w, "ppo")
    settings.save_steps, settings.save_total_limit = 1, 0
    settings.precision, settings.optimizer, settings.total_episodes = "bf16", "muon", 32
    local one = world.run("ppo", settings, place(w), { "--threads", "1" })
    local folder = place(w)
    local three = world.run("ppo", settings, folder, { "--threads", "3" })
    assert.are.equal(one.weights_hash, three.weights_hash)
    settings.resume = pl.run.checkpoints(folder)[1].path
    local resumed = world.run("ppo", settings, folder, { "--threads", "2" })
    assert.are.equal(one.weights_hash, resumed.weights_hash)
    settings.resume, settings.optimizer = nil, "adamw"
    local plain = world.run("ppo", settings, place(w), { "--threads", "1" })
    assert.are_not.equal(plain.weights_hash, three.weights_hash)
  end)

  it("of PPO without KL does not depend on how the KL would be estimated", function()
    local w = made.llama
    local settings, want = world.settings(w, "ppo"), nil
    settings.kl_coef, settings.save_steps, settings.total_episodes = 0, 0, 32
    for _, way in ipairs { { "k1", "reward" }, { "k3", "reward" }, { "k2", "loss" } } do
      settings.kl_estimator, settings.kl_placement = way[1], way[2]
      local hash = world.run("ppo", settings, place(w), { "--threads", "1" }).weights_hash
      want = want or hash
      assert.are.equal(want, hash)
    end
  end)

  --- Kills a run after `seconds`; whether it was still alive then.
  local function kill_after(recipe, settings, folder, seconds)
    local pid = assert(
      system.spawn(
        world.command(recipe, settings, folder, { "--threads", "1" }),
        { stdin = "/dev/null", stdout = folder .. ".out", stderr = folder .. ".err", wait = false }
      )
    )
    system.sleep(seconds)
    system.kill(pid, 9)
    local how, code = system.wait(pid)
    if how == "exit" and code ~= 0 then
      error(("%s: exit %d\n%s"):format(recipe, code, world.read(folder .. ".err")), 0)
    end
    return how == "signal"
  end

  --- Runs undisturbed and with kills at random moments; the hashes must be equal.
  local function hold_kills(w, recipe, kills, more_settings)
    local settings = world.settings(w, recipe)
    for key, value in pairs(more_settings or {}) do
      settings[key] = value
    end
    local begun = system.monotonic()
    local want = world.run(recipe, settings, place(w), { "--threads", "1" }).weights_hash
    local duration = system.monotonic() - begun
    local seed, killed, tries, moments = math.floor(system.realtime() * 1000), 0, 0, {}
    while killed < kills do
      tries = tries + 1
      assert.is_true(tries <= 10 * kills, "the run always ends before it is killed")
      local folder = place(w)
      local moment = duration * pl.random_uniform(seed, 1, tries) * 0.9
      if kill_after(recipe, settings, folder, moment) then
        killed = killed + 1
        moments[#moments + 1] = ("%.3f"):format(moment)
        local more = require("lfs").attributes(folder) and { "--threads", "1", "--resume" }
          or { "--threads", "1" }
        local summary = world.run(recipe, settings, folder, more)
        assert.are.equal(
          want,
          summary.weights_hash,
          ("killed after %s of %.3f s"):format(table.concat(moments, ", "), duration)
        )
      else
        duration = duration * 0.7 -- the machine is faster than it was
      end
      world.remove(folder)
    end
  end

  it(
    "of PPO ends with the same weights when it is killed and resumed",
    function() hold_kills(made.gpt2, "ppo", 2) end
  )

  it("of SFT, of a reward model, of DPO and KTO does so too", function()
    hold_kills(made.llama, "sft", 1)
    hold_kills(made.gpt2, "reward", 1)
    hold_kills(made.llama, "dpo", 1)
    hold_kills(made.llama, "kto", 1)
  end)

  local on_base = { peft_r = 4, base_dtype = "bfloat16", precision = "bf16" }
  local dropped = { peft_r = 3, peft_use_dora = true, peft_dropout = 0.2 }

  it(
    "of PPO in bf16 with adapters on a frozen base does so too",
    function() hold_kills(made.llama, "ppo", 1, on_base) end
  )

  it("of SFT and a reward model with adapters that drop does so too #long", function()
    hold_kills(made.gpt2, "ppo", 4, on_base)
    hold_kills(made.gpt2, "ppo", 4, { peft_r = 4, base_dtype = "bfloat16" })
    hold_kills(made.llama, "sft", 3, dropped)
    hold_kills(made.gpt2, "reward", 3, dropped)
  end)

  it("of PPO does so at ten moments, of SFT and reward model at four #long", function()
    hold_kills(made.llama, "ppo", 10)
    hold_kills(made.gpt2, "sft", 4)
    hold_kills(made.llama, "reward", 4)
  end)

  --- Resumes from each of the listed checkpoints of one PPO run.
  local function hold_resume(w, which)
    local settings = world.settings(w, "ppo")
    settings.save_total_limit = 0
    local folder = place(w)
    local want = world.run("ppo", settings, folder, { "--threads", "1" }).weights_hash
    local checkpoints = pl.run.checkpoints(folder)
    assert.are.equal(5, #checkpoints)
    for _, i in ipairs(which) do
      local summary =
        world.run("ppo", settings, folder, { "--threads", "2", "--resume", checkpoints[i].path })
      assert.are.equal(want, summary.weights_hash)
    end
  end

  it(
    "resumes from a checkpoint that is named, with other threads",
    function() hold_resume(made.llama, { 3 }) end
  )

  it(
    "resumes from each of its checkpoints #long",
    function() hold_resume(made.gpt2, { 1, 2, 3, 4, 5 }) end
  )
end)
