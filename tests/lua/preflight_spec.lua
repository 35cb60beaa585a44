--- What a run says before its first step: each check, what it catches and in which words, and no
-- alarm over a healthy toy.
local pl = require("perilune")
local said = dofile("tests/lua/support/said.lua")
local toy = dofile("tests/lua/support/toy.lua")
local world = dofile("tests/lua/support/world.lua")

local tok = pl.tokenizer.train {
  kind = "word",
  texts = { "the moon is far" },
  vocab_size = 7,
  special = { "<s>", "</s>", "<unk>" },
  bos = "<s>",
  eos = "</s>",
  unk = "<unk>",
}

--- Token ids of words.
local function ids(text)
  local list = {}
  for word in text:gmatch("%S+") do
    list[#list + 1] = tok:id(word)
    assert.is_true(list[#list] >= 0)
  end
  return list
end

local function new(parts, cfg)
  parts.tokenizer = parts.tokenizer or tok
  return pl.preflight.new(cfg or { output_dir = "runs/toy-1" }, parts)
end

--- Calls a check that passes: what it said.
local function passes(check, name, ...)
  local text, ok, message = said(check[name], check, ...)
  assert.is_true(ok, tostring(message))
  return text
end

--- Calls a check that refuses: its words.
local function refuses(check, name, ...)
  local _, ok, message = said(check[name], check, ...)
  assert.is_false(ok)
  return message
end

--- Something that counts as a model of n parameters.
local function model_of(n)
  return {
    count = function() return n, n end,
  }
end

--- Calls fn with a function of require("perilune.core").system replaced.
local function with_system(name, replacement, fn)
  local original = require("perilune.core").system[name]
  require("perilune.core").system[name] = replacement
  local ok, message = pcall(fn)
  require("perilune.core").system[name] = original
  assert(ok, message)
end

describe("the sizes of a run", function()
  local models = {
    policy = model_of(1500000),
    value = model_of(1000000),
    reference = model_of(1500000),
    reward = model_of(500000),
    ema = model_of(1500000),
  }

  --- With so many bytes free.
  local function sizes(free, check, list)
    local text
    with_system(
      "meminfo",
      function() return { available = free } end,
      function() text = passes(check, "sizes", list) end
    )
    return text
  end

  it("are printed, with the memory of the models", function()
    -- 6 M parameters of 4 bytes; 2.5 M of them are trained: 12 bytes more
    local check = new { models = models }
    assert.are.equal(
      "  pre-flight of runs/toy-1\n"
        .. "  prompts 950, dropped as too long 0, optimizer steps 12.3k\n"
        .. "  models hold 6.00M parameters and train 2.50M, 54.0 MB with gradients and moments; "
        .. "54 MB are free\n",
      sizes(54000000, check, {
        { "prompts", 950 },
        { "dropped as too long", 0 },
        { "optimizer steps", 12345 },
      })
    )
    assert.are.same({}, check.warnings)
  end)

  it("count moments of 8 bits as what they take", function()
    -- 24 MB of weights, 10 of gradients; two moments of 1,500,000 + 5860 scales and of 1,000,000
    -- + 3907 scales: 3,046,880 and 2,031,256
    local cfg = { output_dir = "runs/toy-1", adam_moments = "8bit" }
    local text = sizes(1e9, new({ models = models }, cfg), { { "prompts", 1 } })
    assert.matches("39.1 MB with gradients and moments", text, 1, true)
    local block = require("perilune.core").block { { "w", { 1000, 3 } } }
    local state = pl.adamw(block, { moments = "8bit" }):state()
    local words = state.m:shape()[1] * state.m:shape()[2]
    assert.are.equal(3000 + 4 * 12, 4 * words - (256 * 12 - 3000))
  end)

  it("warn when the models do not fit", function()
    local check = new({ models = models }, { quiet = true })
    local warning = "the models alone want more memory than is free: expect an out-of-memory error"
    assert.are.equal("  warning: " .. warning .. "\n", sizes(53999999, check, { { "prompts", 1 } }))
    assert.are.same({ warning }, check.warnings)
  end)

  it("refuse to train on nothing", function()
    assert.are.equal(
      "pre-flight: there are no prompts: the data set is empty, or all were too long",
      refuses(new {}, "sizes", { { "prompts", 0 } })
    )
    passes(new {}, "sizes", { { "dropped prompts", 0 } })
  end)

  it(
    "are not printed when the run is quiet",
    function()
      assert.are.equal(
        "",
        sizes(1e12, new({ models = models }, { quiet = true }), { { "prompts", 3 } })
      )
    end
  )
end)

describe("the first batch's tokens", function()
  local question = ids("<s> the moon is far </s>")
  local other = ids("<s> the moon </s>")

  it("are counted, and shown with the trained part marked", function()
    local check = new { stop = tok.eos_id }
    assert.are.equal(
      "  first batch: 2 sequences, 10 tokens, 4 of them trained (40 %)\n"
        .. "  end token: 2 in the batch, 1 trained\n"
        .. "  first sequence, trained part in brackets: "
        .. pl.chat.show(tok, question, { 0, 0, 0, 1, 1, 1 })
        .. "\n",
      passes(check, "tokens", { question, other }, { { 0, 0, 0, 1, 1, 1 }, { 0, 0, 1, 0 } })
    )
    assert.are.same({}, check.warnings)
    assert.matches("⟦.*far.*⟧", pl.chat.show(tok, question, { 0, 0, 0, 1, 1, 1 }))
  end)

  it("are all trained without a mask, but for the first, which nothing predicts", function()
    local text = passes(new { stop = tok.eos_id }, "tokens", { question, other })
    assert.matches("2 sequences, 10 tokens, 8 of them trained (80 %)", text, 1, true)
    assert.matches("end token: 2 in the batch, 2 trained", text, 1, true)
    assert.matches(pl.chat.show(tok, question, { 0, 1, 1, 1, 1, 1 }), text, 1, true)
  end)

  it("must not be all masked", function()
    local refusal = "pre-flight: no token of the first batch is trained: the mask is empty. Look "
      .. "at the roles of the messages and at `template`"
    local none = { { 0, 0, 0, 0, 0, 0 }, { 0, 0, 0, 0 } }
    assert.are.equal(refusal, refuses(new {}, "tokens", { question, other }, none))
    -- a mask that is on at the first token alone trains nothing
    none[1][1] = 1
    assert.are.equal(refusal, refuses(new {}, "tokens", { question, other }, none))
    none[2][4] = 1
    passes(new {}, "tokens", { question, other }, none)
  end)

  it("should train an end token, where the run has one", function()
    local masks = { { 0, 0, 0, 1, 1, 0 }, { 0, 0, 1, 0 } }
    local check = new({ stop = tok.eos_id }, { quiet = true })
    local warning = (
      "no end token (id %d) of the first batch is trained: the model will not learn "
      .. "to stop"
    ):format(tok.eos_id)
    assert.are.equal(
      "  warning: " .. warning .. "\n",
      passes(check, "tokens", { question, other }, masks)
    )
    assert.are.same({ warning }, check.warnings)
    check = new {} -- a run without one
    assert.not_matches("end token", passes(check, "tokens", { question, other }, masks))
    assert.are.same({}, check.warnings)
  end)

  it("are shown in one line, long ones cut", function()
    local long = {}
    for i = 1, 400 do
      long[i] = question[2 + i % 4]
    end
    local line = passes(new {}, "tokens", { long }):match("brackets: (.*)\n$")
    assert.are.equal(603, #line)
    assert.are.equal("…", line:sub(-3))
    local lines = pl.tokenizer.train {
      texts = { "a\nb" },
      vocab_size = 300,
      special = { "<s>" },
      bos = "<s>",
    }
    local text = passes(new { tokenizer = lines }, "tokens", { lines:encode("xa\nb") })
    assert.are.equal("x⟦a\\nb⟧", text:match("brackets: (.*)\n$"))
  end)
end)

describe("trained answers", function()
  it("that are empty or blank are counted", function()
    local bytes = pl.tokenizer.train {
      texts = { "a b" },
      vocab_size = 300,
      special = { "<s>", "</s>" },
      bos = "<s>",
      eos = "</s>",
    }
    local sequences, masks = {}, {}
    for i, answer in ipairs { "b", "", " \n", "\u{3000}\u{A0}" } do
      sequences[i], masks[i] = pl.data.join(bytes:encode("a"), bytes:encode(answer))
      sequences[i][#sequences[i] + 1] = bytes.eos_id
      masks[i][#masks[i] + 1] = 1
    end
    local check = new { tokenizer = bytes }
    passes(check, "answers", sequences, masks)
    assert.are.same({
      "3 of 4 answers are empty or blank (the first in example 2): the model "
        .. "learns to say nothing. Leave these rows out",
    }, check.warnings)
    check = new { tokenizer = bytes }
    assert.are.equal("", passes(check, "answers", { sequences[1] }, { masks[1] }))
  end)
end)

describe("settings of PPO that undo each other", function()
  local function warnings(changed, iterations)
    local cfg = {
      kl_coef = 0.05,
      kl_placement = "reward",
      kl_estimator = "k1",
      vf_coef = 0.1,
      value_learning_rate = 1e-5,
      ema_decay = 0.992,
      ema_final = false,
    }
    for key, value in pairs(changed) do
      cfg[key] = value
    end
    local check = new({}, cfg)
    passes(check, "settings", iterations or 40)
    return check.warnings
  end

  it("are named", function()
    assert.are.same({}, warnings {})
    assert.matches("^kl_coef is 0: nothing holds", warnings({ kl_coef = 0 })[1])
    assert.matches(
      "^kl_placement loss with kl_estimator k1 controls nothing",
      warnings({ kl_placement = "loss" })[1]
    )
    assert.are.same({}, warnings { kl_placement = "loss", kl_estimator = "k2" })
    assert.are.same({ "vf_coef is 0: the value model is never trained" }, warnings { vf_coef = 0 })
    assert.are.same(
      { "value_learning_rate is 0: the value model is never trained" },
      warnings { value_learning_rate = 0 }
    )
    local schedule = pl.schedule.linear(0.1, 0, 10)
    assert.are.same({}, warnings { kl_coef = schedule, value_learning_rate = schedule })
  end)

  it("include a choice by a β that changes", function()
    local choice = { checkpoint_choice = "eval_reward" }
    assert.are.same({}, warnings(choice))
    choice.kl_coef = pl.schedule.linear(0.1, 0, 10)
    assert.matches("^checkpoint_choice eval_reward takes β KL", warnings(choice)[1])
    choice.checkpoint_choice = "eval_score"
    assert.are.same({}, warnings(choice))
  end)

  it("include an average that is still the start", function()
    assert.are.same({
      "ema_final: after 40 iterations 73 % of the averaged policy is still the "
        .. "start. Set ema_decay to 0.928 or less (then 5 % are), or leave ema_final off",
    }, warnings({ ema_final = true }, 40))
    assert.are.same({}, warnings({ ema_final = true }, 400))
    assert.are.same({}, warnings({ ema_final = true, ema_decay = 0 }, 40))
  end)
end)

describe("settings that were given and have no part in the run", function()
  local function doubts(...)
    local cfg = pl.config {
      name = "toy",
      args = { ... },
      { model = "", "a model" },
      { reward_model = "", "a judge" },
      { select_prompts = "", "prompts" },
      { ptx_dataset = "", "text" },
      { ptx_fraction = 0.0, "part of it" },
      { learning_rate = 1e-3, "of a step", schedule = true },
      pl.config.adam { learning_rate = false },
      pl.config.peft(),
    }
    cfg:set_horizon(20)
    local check = new({}, cfg)
    passes(check, "sizes", { { "examples", 3 } })
    return check.warnings
  end

  it("are named with what leaves them none", function()
    assert.are.same({}, doubts())
    assert.are.same(
      { "ptx_dataset has no part in the run: ptx_fraction is 0" },
      doubts("--ptx_dataset", "a.txt")
    )
    assert.are.same({}, doubts("--ptx_dataset", "a.txt", "--ptx_fraction", "0.5"))
    assert.are.same(
      { "select_prompts has no part in the run: reward_model is not given" },
      doubts("--select_prompts", "p.jsonl")
    )
    assert.are.same({}, doubts("--select_prompts", "p.jsonl", "--reward_model", "rm"))
    assert.are.same({
      "peft_alpha has no part in the run: peft_r is 0",
      "peft_targets has no part in the run: peft_r is 0",
    }, doubts("--peft_alpha", "32", "--peft_targets", "q_proj"))
    assert.are.same({}, doubts("--peft_alpha", "32", "--peft_r", "8"))
    assert.are.same(
      { "muon_momentum has no part in the run: optimizer is adamw" },
      doubts("--muon_momentum", "0.9")
    )
    assert.are.same({}, doubts("--muon_momentum", "0.9", "--optimizer", "muon"))
  end)

  it("include precision int8 where no weight is in blocks", function()
    local dir = world.new("llama")
    local settings = world.settings(dir, "ppo")
    settings.max_steps, settings.save_steps, settings.precision = 1, 0, "int8"
    settings.model = dir.dir .. "/wide" -- rows that blocks of 32 divide
    local wide = { width = 64, inner = 96, heads = 2, range = 0.15, seed = 4 }
    world.model(settings.model, "llama", { world.read(dir.text) }, wide)
    for _, quantize in ipairs { "none", "q8_0" } do
      settings.output_dir, settings.quantize = dir.dir .. "/int8-" .. quantize, quantize
      settings.quiet = false
      local text = said(function() pl.config.run_recipe("recipes/ppo.lua", settings) end)
      local found = text:find("precision int8 has no part in the run", 1, true)
      assert.are.equal(quantize == "none", found ~= nil, text)
    end
    world.clean()
  end)

  it(
    "are none that a run which goes on is given as they were",
    function()
      assert.are.same(
        {},
        doubts("--peft_alpha", "16", "--peft_targets", "all-linear", "--muon_momentum", "0.95")
      )
    end
  )

  it("include a warm-up that is longer than the run", function()
    assert.are.same(
      { "learning_rate never gets to its value: its warm-up takes 20 steps, the run has 20" },
      doubts("--learning_rate", "warmup(20, 1e-3)")
    )
    assert.are.same({}, doubts("--learning_rate", "warmup(19, 1e-3)"))
  end)
end)

describe("the estimate", function()
  it("times the second forward, and counts what a step is worth", function()
    local now, calls = 100, 0
    with_system("monotonic", function() return now end, function()
      assert.are.equal(
        "  estimate: 7.0 s a step, 11m 40s in all (100 steps; validation and "
          .. "checkpoints beside it)\n",
        passes(new {}, "time", {
          steps = 100,
          forwards = 3,
          seconds = 1,
          forward = function()
            calls = calls + 1
            now = now + (calls == 1 and 50 or 2) -- the first fills the caches
          end,
        })
      )
    end)
    assert.are.equal(2, calls)
  end)
end)

describe("the first batch of PPO", function()
  local prompts = toy.sequences { 5, 2, 3 }

  --- A batch as a run has it, with the policy as its own reference: 3 answers of 4 tokens.
  local function roll_of(policy, temperature)
    local answers = pl.generate(policy, prompts, { max_tokens = 4, temperature = temperature })
    local roll = pl.rollout.new(prompts, answers)
    assert.are.equal(12, roll.count)
    roll.reference = roll.old
    return roll
  end

  --- A tensor with element i changed by fn.
  local function changed(t, i, fn)
    local list = t:totable()
    list[i] = fn(list[i])
    return pl.tensor(list)
  end

  local function less(amount)
    return function(x) return x - amount end
  end

  local function check_of(reference)
    return new {
      models = { reference = reference },
      tokenizer = { -- of the toy's 37 ids
        stream = function()
          return {
            push = function(_, id) return id .. " " end,
            finish = function() return "" end,
          }
        end,
      },
    }
  end

  toy.each(function(name)
    it("is healthy for " .. name, function()
      local policy = toy.model(name)
      local check = check_of(toy.model(name))
      local text = passes(check, "first_batch", policy, roll_of(policy, 0.7), { temperature = 0.7 })
      assert.matches(
        "first-minibatch ratio is 1 for all 12 tokens; KL to the reference at step 0 "
          .. "is 0 nats an answer\n",
        text,
        1,
        true
      )
      assert.matches("3 sequences, 22 tokens, 12 of them trained (55 %)", text, 1, true)
      assert.are.same({}, check.warnings)
    end)
  end)

  local policy, reference = toy.model("llama"), toy.model("llama")
  local other = toy.model("llama", { seed = 2 })
  local refusal = "sampling and training do not see the same model (a changed weight, temperature "
    .. "or prompt?)"

  local function scale(weight, by)
    local guard <close> = pl.no_grad() -- luacheck: ignore 211
    weight:copy_(weight * by)
  end

  it("refuses a ratio that is not exactly 1", function()
    local roll = roll_of(policy, 1)
    local old = roll.old
    roll.old = changed(old, 12, less(0.1)) -- e^0.1 - 1 = 0.10517
    assert.are.equal(
      "pre-flight: scoring the first answers again gives ratios up to 0.105 away "
        .. "from 1: "
        .. refusal,
      refuses(check_of(reference), "first_batch", policy, roll)
    )
    roll.old = changed(old, 1, function(x)
      return x * (1 - 2 ^ -23) -- a last bit
    end)
    assert.matches(refusal, refuses(check_of(reference), "first_batch", policy, roll), 1, true)
  end)

  it("refuses another temperature, and another weight", function()
    local roll = roll_of(policy, 0.9)
    passes(check_of(reference), "first_batch", policy, roll, { temperature = 0.9 })
    assert.matches(
      refusal,
      refuses(check_of(reference), "first_batch", policy, roll, { temperature = 1 }),
      1,
      true
    )
    local moved = toy.model("llama")
    local weight = moved.weights[moved.entries[1][1]]
    scale(weight, 1.01)
    assert.matches(
      refusal,
      refuses(check_of(reference), "first_batch", moved, roll, { temperature = 0.9 }),
      1,
      true
    )
  end)

  it("refuses log-probs that are not numbers, though they are the same ones", function()
    local broken = toy.model("llama")
    local weight = broken.weights[broken.entries[1][1]]
    scale(weight, 0 / 0)
    assert.are.equal(
      "pre-flight: scoring the first answers again gives a log-prob that is not a "
        .. "number: the policy's weights are broken",
      refuses(check_of(other), "first_batch", broken, roll_of(broken, 1))
    )
  end)

  it("refuses a KL between the same weights", function()
    local roll = roll_of(policy, 1)
    roll.reference = changed(roll.old, 5, less(0.75))
    assert.are.equal(
      "pre-flight: policy and reference have the same weights, but their KL is 0.75",
      refuses(check_of(reference), "first_batch", policy, roll)
    )
  end)

  it("tells the KL to a reference of other weights", function()
    local roll = roll_of(policy, 1)
    roll.reference = changed(roll.old, 5, less(0.75))
    assert.matches(
      "KL to the reference at step 0 is 0.25 nats an answer\n",
      passes(check_of(other), "first_batch", policy, roll),
      1,
      true
    )
  end)
end)
