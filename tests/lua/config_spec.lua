local config = require("perilune.config")
local lfs = require("lfs")
local message_of = dofile("tests/lua/support/message_of.lua")
local said = dofile("tests/lua/support/said.lua")
local schedule = require("perilune.config.schedule")
local scratch = dofile("tests/lua/support/scratch.lua")

--- A recipe's config from a command line; extra rows and fields are merged in.
local function make(args, extra)
  local spec = {
    name = "ppo",
    about = "a recipe for tests",
    args = args,
    recipe = "recipes/ppo.lua",
    "Objective",
    { kl_coef = 0.05, "β: weight of the KL", min = 0, schedule = true },
    { cliprange = 0.2, "ε", over = 0, under = 1 },
    { lam = 0.95, "λ of GAE", min = 0, max = 1, alias = "tau" },
    { learning_rate = "warmup(10, 3e-6, 0.1)", "step size", min = 0, schedule = true },
    { kl_estimator = "k1", "form of the KL", choices = { "k1", "k2", "k3" } },
    { whiten_rewards = false, "divide by the deviation" },
    { shuffle = true, "new order each epoch" },
    { target_kl = false, "leave the epoch above this", type = "number", over = 0 },
    { batch_size = 512, "prompts", min = 1 },
    { num_mini_batches = 8, "parts", min = 1 },
    { mini_batch_size = function(c) return c.batch_size // c.num_mini_batches end, "rows" },
    { eval_k = { 1, 4 }, "answers", min = 1 },
    { sft_model_path = "", "folder" },
  }
  for key, value in pairs(extra or {}) do
    spec[type(key) == "number" and #spec + 1 or key] = value
  end
  return config(spec)
end

local function refusal(...)
  local args = { ... }
  local ok, err = pcall(make, args)
  assert.is_false(ok)
  assert.is_true(config.is_usage_error(err))
  return tostring(err)
end

local write = scratch.write

teardown(scratch.clean)

describe("config", function()
  it("gives defaults, callable where a schedule is allowed", function()
    local cfg = make {}
    assert.are.equal(0.05, cfg.kl_coef(1))
    assert.are.equal(0.05, cfg.kl_coef(12345))
    assert.are.equal(0.2, cfg.cliprange)
    assert.are.equal(3e-6, cfg.learning_rate(11))
    assert.are.equal(512, cfg.batch_size)
    assert.are.equal("integer", math.type(cfg.batch_size))
    assert.is_false(cfg.whiten_rewards)
    assert.is_false(cfg.target_kl)
    assert.are.same({ 1, 4 }, cfg.eval_k)
    assert.are.equal("runs/ppo", cfg.output_dir)
    assert.are.equal("default", cfg:source("kl_coef"))
  end)

  it("reads every form of the command line", function()
    local cfg = make {
      "--kl_coef",
      "cosine(0.1, 0.01, 500)",
      "--cliprange=0.3",
      "--whiten_rewards",
      "--no-shuffle",
      "--target_kl",
      "0.05",
      "--batch-size",
      "1e3",
      "--eval_k",
      "1, 2,8",
      "--sft_model_path=a=b",
      "--seed",
      "7",
      "--lam",
      "1",
    }
    assert.are.equal("cosine(0.1, 0.01, 500)", tostring(cfg.kl_coef))
    assert.are.equal(0.1, cfg.kl_coef(1))
    assert.are.equal(0.01, cfg.kl_coef(501))
    assert.are.equal(0.3, cfg.cliprange)
    assert.is_true(cfg.whiten_rewards)
    assert.is_false(cfg.shuffle)
    assert.are.equal(0.05, cfg.target_kl)
    assert.are.equal(1000, cfg.batch_size)
    assert.are.equal("integer", math.type(cfg.batch_size))
    assert.are.same({ 1, 2, 8 }, cfg.eval_k)
    assert.are.equal("a=b", cfg.sft_model_path)
    assert.are.equal(7, cfg.seed)
    assert.are.equal("float", math.type(cfg.lam))
    assert.are.equal("command line", cfg:source("lam"))
  end)

  it("lets flags take a word and optional keys go off", function()
    local cfg = make {
      "--shuffle",
      "no",
      "--whiten_rewards=on",
      "--target_kl",
      "0.1",
      "--no-target_kl",
    }
    assert.is_false(cfg.shuffle)
    assert.is_true(cfg.whiten_rewards)
    assert.is_false(cfg.target_kl)
  end)

  it("takes negative numbers as values", function()
    local cfg = make({ "--bias", "-1.5" }, { { bias = 0.0, "added to the reward" } })
    assert.are.equal(-1.5, cfg.bias)
  end)

  it("a bare --resume means the latest checkpoint", function()
    assert.are.equal("latest", make({ "--resume", "--seed", "3" }).resume)
    assert.are.equal("latest", make({ "--seed", "3", "--resume" }).resume)
    local cfg = make { "--resume", "runs/a/checkpoint-5" }
    assert.are.equal("runs/a/checkpoint-5", cfg.resume)
    assert.are.equal("runs/a", cfg.output_dir)
  end)

  it("computes derived keys from the present values", function()
    local cfg = make { "--batch_size", "64" }
    assert.are.equal(8, cfg.mini_batch_size)
    cfg.batch_size = 128
    assert.are.equal(16, cfg.mini_batch_size)
  end)

  it("lets a recipe give a common key another default, or do without it", function()
    local cfg = make({}, { { seed = 42 }, { output_dir = "runs/x" }, without = { "save_steps" } })
    assert.are.equal(42, cfg.seed)
    assert.are.equal("runs/x", cfg.output_dir)
    assert.is_truthy(cfg:help(100):find("all random numbers of the run follow from it", 1, true))
    assert.is_truthy(
      message_of(function() return cfg.save_steps end):find("no key 'save_steps'", 1, true)
    )
  end)
end)

describe("a wrong command line", function()
  local cases = {
    {
      { "--learing_rate", "1" },
      "ppo: unknown key 'learing_rate'; did you mean 'learning_rate'? (--help lists all)",
    },
    { { "--no-shufle" }, "ppo: unknown key 'no_shufle' (--help lists all)" },
    {
      { "--kl_coef", "-1" },
      "ppo: command line: kl_coef = -1 is out of range; give a number ≥ 0 or a schedule such as "
        .. "cosine(0.1, 0.01, 500)",
    },
    {
      { "--kl_coef", "linear(0.1, -0.1, 5)" },
      "ppo: command line: kl_coef = linear(0.1, -0.1, 5) reaches -0.1, which is out of range; "
        .. "give a number ≥ 0 or a schedule such as cosine(0.1, 0.01, 500)",
    },
    {
      { "--kl_coef", "linaer(1,2)" },
      "ppo: command line: kl_coef: 'linaer(1,2)': there is no schedule 'linaer'; did you mean "
        .. "'linear'?",
    },
    {
      { "--cliprange", "1" },
      "ppo: command line: cliprange = '1' is out of range; give a number in (0, 1)",
    },
    {
      { "--cliprange", "wide" },
      "ppo: command line: cliprange = 'wide' is not a number; give a number in (0, 1)",
    },
    {
      { "--batch_size", "4.5" },
      "ppo: command line: batch_size = '4.5' is not an integer; give an integer ≥ 1",
    },
    {
      { "--kl_estimator", "k4" },
      "ppo: command line: kl_estimator = 'k4' is not known; give one of k1 | k2 | k3; did you "
        .. "mean 'k1'?",
    },
    {
      { "--shuffle=maybe" },
      "ppo: command line: shuffle = 'maybe' is neither yes nor no; give yes or no",
    },
    {
      { "--eval_k", "1,x" },
      "ppo: command line: eval_k = '1,x' has 'x' at place 2, which is not an integer; give a list "
        .. "such as 1,2,3 ≥ 1",
    },
    {
      { "--mini_batch_size", "4" },
      "ppo: command line: mini_batch_size follows from other keys and cannot be set: rows",
    },
    {
      { "--no-batch_size" },
      "ppo: batch_size is no flag; it cannot be switched off with --no-batch_size",
    },
    { { "--batch_size", "--shuffle" }, "ppo: --batch_size needs a value" },
    { { "--batch_size" }, "ppo: --batch_size needs a value" },
    {
      { "fast" },
      "ppo: 'fast' belongs to no key; write --key value, and quote values that have " .. "blanks",
    },
    {
      { "--preset", "nowhere" },
      "ppo: preset 'nowhere' cannot be read: recipes/presets/nowhere.lua: No such file or "
        .. "directory",
    },
  }
  for _, case in ipairs(cases) do
    it(
      table.concat(case[1], " "),
      function() assert.are.equal(case[2], refusal(table.unpack(case[1]))) end
    )
  end

  it("names a required key that is missing", function()
    local message = message_of(make, {}, { { model = "", "folder of the model", required = true } })
    assert.are.equal("ppo: --model is missing: folder of the model", message)
  end)

  it("tells what the recipe's own check says", function()
    local function check(c)
      if c.batch_size % c.num_mini_batches ~= 0 then
        return "batch_size must be a multiple of num_mini_batches"
      end
    end
    assert.are.equal(
      "ppo: batch_size must be a multiple of num_mini_batches",
      message_of(make, { "--batch_size", "9" }, { check = check })
    )
    local cfg = make({}, { check = check })
    message_of(cfg.set, cfg, "batch_size", 9)
    assert.are.equal(512, cfg.batch_size)
    assert.are.same({}, cfg:journal())
  end)
end)

describe("a name that is not there", function()
  it("is an error when read, with the nearest name and the reader's line", function()
    local cfg = make {}
    local message = message_of(function() return cfg.kl_coeff end)
    assert.is_truthy(
      message:match(
        "config_spec%.lua:%d+: there is no key 'kl_coeff' in the "
          .. "config of ppo; did you mean 'kl_coef'%?"
      )
    )
  end)

  it("says where the optimizer's keys come from", function()
    local cfg = make {}
    assert.is_truthy(
      message_of(function() return cfg.adam_beta1 end):find(
        "there is no key 'adam_beta1' in the config of ppo; pl.config.adam {} among its rows",
        1,
        true
      )
    )
  end)

  it("is an error when written", function()
    local cfg = make {}
    local message = message_of(function() cfg.lamm = 1 end)
    assert.is_truthy(
      message:match("config_spec%.lua:%d+: unknown key 'lamm'; did you mean " .. "'lam'%?")
    )
  end)
end)

describe("aliases", function()
  it("are understood, from other programs and from the row", function()
    local text, ok, cfg =
      said(make, { "--init_kl_coef", "0.2", "--eps_clip", "0.1", "--tau", "0.9" })
    assert.is_true(ok, tostring(cfg))
    assert.are.equal(0.2, cfg.kl_coef(1))
    assert.are.equal(0.1, cfg.cliprange)
    assert.are.equal(0.9, cfg.lam)
    assert.are.equal(
      "ppo: note: 'init_kl_coef' is called 'kl_coef' here\n"
        .. "ppo: note: 'eps_clip' is called 'cliprange' here\n"
        .. "ppo: note: 'tau' is called 'lam' here\n",
      text
    )
  end)
end)

describe("names of other trainers", function()
  local passes = { { num_train_epochs = 1, "passes over the data", min = 1 } }

  it("are keys, or what a slip of them meant", function()
    for _, name in ipairs { "epochs", "num_epochs", "n_epochs", "max_epochs", "total_epochs" } do
      local text, ok, cfg = said(make, { "--" .. name, "3" }, passes)
      assert.is_true(ok, tostring(cfg))
      assert.are.equal(3, cfg.num_train_epochs)
      assert.are.equal(("ppo: note: '%s' is called 'num_train_epochs' here\n"):format(name), text)
    end
    local ok, err = pcall(make, { "--num_epoch", "3" }, passes)
    assert.is_false(ok)
    assert.are.equal(
      "ppo: unknown key 'num_epoch'; did you mean 'num_train_epochs'? (--help lists all)",
      tostring(err)
    )
  end)

  it(
    "of a key that is not there are unknown",
    function()
      assert.are.equal(
        "ppo: unknown key 'num_epochs' (--help lists all)",
        refusal("--num_epochs", "3")
      )
    end
  )

  it("lead to keys of recipes", function()
    local text = {}
    for _, folder in ipairs { "recipes", "lua/perilune/config" } do
      for file in lfs.dir(folder) do
        if file:find("%.lua$") then text[#text + 1] = scratch.read(folder .. "/" .. file) end
      end
    end
    text = table.concat(text)
    for name, keys in pairs(require("perilune.config.common").aliases) do
      local found = false
      for _, key in ipairs(keys) do
        found = found or text:find("[{%s]" .. key .. " = ") ~= nil
      end
      assert.is_true(found, name)
    end
  end)
end)

describe("a live change", function()
  it("is checked, takes hold, is journalled and told", function()
    local cfg = make {}
    local heard = {}
    cfg:on_change(function(entry) heard[#heard + 1] = entry.key end)
    cfg:at(12)
    cfg:set("kl_coef", "linear(0.1, 0, 10)")
    cfg.lam = 0.5
    assert.are.equal(0.05, cfg.kl_coef(6))
    assert.are.equal(0.5, cfg.lam)
    assert.are.same({
      { step = 12, key = "kl_coef", old = 0.05, new = "linear(0.1, 0, 10)" },
      { step = 12, key = "lam", old = 0.95, new = 0.5 },
    }, cfg:journal())
    assert.are.same({ "kl_coef", "lam" }, heard)
    assert.are.equal("live", cfg:source("lam"))
  end)

  it("out of range changes nothing", function()
    local cfg = make {}
    local message = message_of(function() cfg.lam = 2 end)
    assert.is_truthy(
      message:match(
        "config_spec%.lua:%d+: lam = 2 is out of range; give a number " .. "in %[0, 1%]$"
      )
    )
    assert.are.equal(0.95, cfg.lam)
  end)

  it("may be a function, whose values are watched", function()
    local cfg = make {}
    cfg.kl_coef = function(step) return 1 - step end
    assert.are.equal(0, cfg.kl_coef(1))
    assert.is_truthy(
      message_of(function() return cfg.kl_coef(3) end):find(
        "gave -2 at step 3, which is out of range; it takes ≥ 0",
        1,
        true
      )
    )
  end)

  it("is repeated by replay at its step", function()
    local first = make {}
    first:at(3)
    first.lam = 0.5
    first:at(5)
    first.kl_coef = 0.2
    local second = make {}
    second:replay(first:journal())
    local seen = {}
    for step = 1, 6 do
      second:at(step)
      seen[step] = { second.lam, second.kl_coef(step) }
    end
    assert.are.same(
      { { 0.95, 0.05 }, { 0.95, 0.05 }, { 0.5, 0.05 }, { 0.5, 0.05 }, { 0.5, 0.2 }, { 0.5, 0.2 } },
      seen
    )
    assert.are.same(first:journal(), second:journal())
  end)
end)

describe("to_table", function()
  it("is plain, and rebuilds an equal config", function()
    local cfg = make {
      "--kl_coef",
      "adaptive_kl{init = 0.1, target = 3}",
      "--no-shuffle",
      "--eval_k",
      "2,9",
    }
    local plain = cfg:to_table()
    assert.are.equal("adaptive_kl{init = 0.1, target = 3, horizon = 10000}", plain.kl_coef)
    assert.are.equal("warmup(10, 3e-06, 0.1)", plain.learning_rate)
    assert.are.equal("ppo", plain._recipe)
    assert.are.same({ mini_batch_size = 64 }, plain._derived)
    assert.is_nil(plain.mini_batch_size)

    local path = scratch.path()
    write(
      path,
      [[
      local rebuilt = ...
      return require("perilune.config") {
        name = "ppo",
        { kl_coef = 0.05, "β", schedule = true }, { shuffle = true, "order" }, { eval_k = { 1 },
          "k" },
      }]]
    )
    local rebuilt = config.run_recipe(path, {
      kl_coef = plain.kl_coef,
      shuffle = plain.shuffle,
      eval_k = plain.eval_k,
      _recipe = "ppo",
    })
    local again = rebuilt:to_table()
    assert.are.equal(plain.kl_coef, again.kl_coef)
    assert.is_false(again.shuffle)
    assert.are.same({ 2, 9 }, again.eval_k)
  end)
end)

describe("run_recipe", function()
  it("puts settings in place of the command line and hands back the result", function()
    local folder = scratch.folder()
    write(
      folder .. "/r.lua",
      [[
      local cfg = require("perilune.config") { name = "r", { lam = 0.5, "λ", max = 1 } }
      return cfg.lam, require("perilune.config").describe(cfg).recipe
    ]]
    )
    local lam, recipe = config.run_recipe(folder .. "/r.lua", { lam = 0.25 })
    assert.are.equal(0.25, lam)
    assert.are.equal(folder .. "/r.lua", recipe)
    assert.are.equal(
      "r: settings: unknown key 'lan'; did you mean 'lam'? (--help lists all)",
      message_of(config.run_recipe, folder .. "/r.lua", { lan = 1 })
    )
  end)
end)

describe("presets", function()
  local folder = scratch.folder()
  require("lfs").mkdir(folder .. "/presets")
  write(
    folder .. "/presets/paper.lua",
    [[return {
    ppo = { kl_coef = 0.02, learning_rate = warmup(5, 1e-5, 0.1), lam = 0.9 },
    sft = { learning_rate = 1 },
  }]]
  )
  write(folder .. "/presets/flat.lua", [[return { lam = 0.1 * math.max(1, 2) }]])
  write(folder .. "/presets/other.lua", [[return { sft = { lam = 1 } }]])
  write(folder .. "/presets/typo.lua", [[return { ppo = { lamm = 1 } }]])

  it("are beaten by the command line and beat the defaults", function()
    local cfg = make({ "--preset", "paper", "--lam", "0.8" }, { recipe = folder .. "/ppo.lua" })
    assert.are.equal(0.02, cfg.kl_coef(1))
    assert.are.equal("warmup(5, 1e-05, 0.1)", tostring(cfg.learning_rate))
    assert.are.equal(0.8, cfg.lam)
    assert.are.equal("preset " .. folder .. "/presets/paper.lua", cfg:source("kl_coef"))
    assert.are.equal("paper", cfg:to_table()._preset)
  end)

  it(
    "may be flat",
    function()
      assert.are.equal(0.2, make({ "--preset=flat" }, { recipe = folder .. "/ppo.lua" }).lam)
    end
  )

  it("are refused when they fit no key or no recipe", function()
    assert.are.equal(
      ("ppo: preset %s/presets/other.lua has a part for 'sft', but none for " .. "'ppo'"):format(
        folder
      ),
      message_of(make, { "--preset", "other" }, { recipe = folder .. "/ppo.lua" })
    )
    assert.are.equal(
      (
        "ppo: preset %s/presets/typo.lua: unknown key 'lamm'; did you mean 'lam'? "
        .. "(--help lists all)"
      ):format(folder),
      message_of(make, { "--preset", "typo" }, { recipe = folder .. "/ppo.lua" })
    )
  end)
end)

describe("a checkpoint's state", function()
  it("brings back live values and the memory of adaptive schedules", function()
    local first = make { "--kl_coef", "adaptive_kl{init = 0.1, target = 3}" }
    first:at(4)
    first.lam = 0.25
    first.kl_coef:update(30, 1000)
    local coef = first.kl_coef(4)
    assert.are.equal(0.1 * (1 + 0.2 * 1000 / 10000), coef)
    local second = make { "--kl_coef", "adaptive_kl{init = 0.1, target = 3}" }
    second:load_state(first:state())
    assert.are.equal(coef, second.kl_coef(5))
    assert.are.equal(0.25, second.lam)
    assert.are.same({}, second:journal())
  end)

  it("gives way to the command line where that is allowed, and journals it", function()
    local first = make { "--kl_coef", "0.1" }
    first:at(9)
    local second = make { "--kl_coef", "0.3", "--lam", "0.95" }
    assert.is_truthy(
      tostring(message_of(second.load_state, second, first:state())):find(
        "kl_coef is 0.1 there, 0.3 was given",
        1,
        true
      )
    )
    second = make { "--kl_coef", "0.3", "--lam", "0.95", "--resume_changed", "kl_coef" }
    second:load_state(first:state())
    assert.are.equal(0.3, second.kl_coef(1))
    assert.are.same(
      { { step = 9, key = "kl_coef", old = 0.1, new = 0.3, by = "resume" } },
      second:journal()
    )
  end)
end)

describe("--help", function()
  it("prints each key once, in the recipe's order, within the width", function()
    local text = make({}):help(80)
    local last = 0
    for _, name in ipairs {
      "kl_coef",
      "cliprange",
      "kl_estimator",
      "mini_batch_size",
      "output_dir",
      "resume",
    } do
      local at = text:find("--" .. name .. " ", 1, true)
      assert.is_truthy(at and at > last, name)
      last = at
    end
    for line in text:gmatch("[^\n]+") do
      assert.is_true(utf8.len(line) <= 80, line)
    end
    assert.is_truthy(text:find("--kl_coef               0.05 ~    ≥ 0", 1, true))
  end)

  it("leaves the program with success before anything else is checked", function()
    local path = scratch.path()
    write(
      path,
      [[
      require("perilune.config") { name = "demo", { model = "", "folder", required = true } }
      error("must not be reached")]]
    )
    local program = require("lfs").symlinkattributes("/proc/self/exe", "target")
    local command = "LUA_PATH='%s' LUA_CPATH='%s' '%s' %s --help 2>&1; echo $?"
    local pipe = io.popen(command:format(package.path, package.cpath, program, path))
    local text = pipe:read("a")
    pipe:close()
    assert.is_truthy(text:match("^demo\n\nusage: perilune run "))
    assert.is_truthy(text:match("\n0\n$"))
    assert.is_nil(text:find("must not", 1, true))
  end)
end)

describe("a wrong declaration", function()
  local function declare(...)
    local spec = { name = "x", args = {} }
    for i, raw in ipairs { ... } do
      spec[i] = raw
    end
    return message_of(function()
      config(spec) -- its caller's line is in the message
    end)
  end
  it("is refused at the recipe's line", function()
    assert.is_truthy(
      declare({ a = 1, b = 2 }):match(
        "config_spec%.lua:%d+: config: one row defines both 'a' and 'b'"
      )
    )
    assert.is_truthy(
      declare({ a = 1, "x" }, { a = 2, "y" }):find("key 'a' is defined twice", 1, true)
    )
    assert.is_truthy(
      declare({ set = 1, "x" }):find("key 'set' would hide the config's own 'set'", 1, true)
    )
    assert.is_truthy(
      declare({ a = 1, "x", min = 2 }):find("default of a = 1 is out of range", 1, true)
    )
    assert.is_truthy(declare({ a = "t", "x", schedule = true }):find("default of a: 't'", 1, true))
    assert.is_truthy(declare({ a = true, "x", type = "bool" }):find("has the type 'bool'", 1, true))
  end)
  it("with a key in place of a row says how a row is written", function()
    local message = message_of(config, { name = "x", args = {}, lam = 0.5 })
    assert.is_truthy(
      message:find(
        "config has no field 'lam'; a key is written as a row, { lam = " .. 'default, "meaning" }',
        1,
        true
      )
    )
  end)
end)

describe("pairs", function()
  it("goes through the keys in order", function()
    local names = {}
    for name in pairs(make {}) do
      names[#names + 1] = name
    end
    assert.are.same({ "kl_coef", "cliprange", "lam" }, { names[1], names[2], names[3] })
    assert.is_true(schedule.is(make({}).kl_coef))
  end)
end)
