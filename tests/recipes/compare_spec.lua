--- `perilune compare`: who runs with what, what the curves say, and a contest of two as a whole.

local contest = require("perilune.cli.support.contest")
local files = require("perilune.base.files")
local frontier = require("perilune.cli.support.frontier")
local host = require("perilune.host")
local json = require("perilune.base.json")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local world = dofile("tests/lua/support/world.lua")

describe("a contest", function()
  local task = {
    model = "M",
    judge = "J",
    held_out = "H",
    proxy = "RM",
    settings = { response_length = 9, beta = 0.3 },
    methods = { ppo = { dataset = "P", kl_coef = 0.1 }, dpo = { dataset = "R" } },
  }

  local function words_of(run) return " " .. table.concat(run.words, " ") .. " " end

  it("gives each method what it has keys for: of the task, of its own, of the command", function()
    local methods = contest.methods { "ppo", "dpo" }
    local given = { { "batch_size", "16" }, { "dpo.beta", "0.1,0.2" }, { "kl_coef", "0.5" } }
    local runs = contest.runs(methods, { task }, given, 2, "F")
    local names = {}
    for i, run in ipairs(runs) do
      names[i] = run.name
    end
    assert.are.same({
      "ppo/seed=1",
      "ppo/seed=2",
      "dpo/beta=0.1,seed=1",
      "dpo/beta=0.1,seed=2",
      "dpo/beta=0.2,seed=1",
      "dpo/beta=0.2,seed=2",
    }, names)
    assert.are.equal(
      " --dataset P --model M --response_length 9 --reward_model RM --batch_size 16 --kl_coef 0.5"
        .. " --seed 2 ",
      words_of(runs[2])
    )
    assert.are.equal("F/dpo/beta=0.2,seed=2", runs[6].folder)
    assert.truthy(words_of(runs[6]):find(" --batch_size 16 --beta 0.2 --seed 2 ", 1, true))
    assert.is_nil(words_of(runs[6]):find("kl_coef", 1, true))
    assert.is_nil(words_of(runs[6]):find("0.3", 1, true)) -- the task's, which the command lays over
  end)

  it("takes tasks by turns, and a recipe by another name with its settings", function()
    local other = { model = "N", judge = "J", held_out = "H", settings = {}, methods = {} }
    local runs = contest.runs(contest.methods { "mine=ppo" }, { task, other }, {}, 3, "F")
    assert.are.equal("mine/seed=3", runs[3].name)
    assert.truthy(words_of(runs[1]):find("--kl_coef 0.1", 1, true))
    assert.are.equal(" --model N --seed 2 ", words_of(runs[2]))
    assert.are.equal(task, runs[3].task)
  end)

  it("gives another file of a recipe's name what it has keys for", function()
    local methods = contest.methods { "torch=tests/bench/torch/ppo.lua" }
    local other = { model = "M", settings = {}, methods = { ppo = { slots = 8, kl_coef = 0.1 } } }
    local runs = contest.runs(methods, { other }, {}, 1, "F")
    assert.are.equal(" --kl_coef 0.1 --model M --seed 1 ", words_of(runs[1]))
  end)

  it("refuses names that nobody has", function()
    local methods = contest.methods { "ppo" }
    for message, given in pairs {
      ["the recipe of ppo has no key 'kl_cof'; did you mean 'kl_coef'?"] = { "ppo.kl_cof", "1" },
      ["none of the methods has a key 'nosuch'"] = { "nosuch", "1" },
      ["none of the methods has a key 'dpo.beta'"] = { "dpo.beta", "1" },
    } do
      assert.has_error(function() contest.runs(methods, { task }, { given }, 1, "F") end, message)
    end
    assert.has_error(
      function() contest.methods { "ppoo" } end,
      "there is no recipe 'ppoo'; did you mean 'ppo'?"
    )
    assert.has_error(
      function() contest.methods { "ppo", "ppo" } end,
      "two methods are called ppo; call one of them otherwise: NAME=ppo"
    )
    local path = scratch.path()
    assert(
      files.write_atomic(path, '{"model":"M","judge":"J","held_out":"H","tasks":["a.jsonl","b"]}')
    )
    local start = contest.start(contest.task(path), "F/start-1", 2, 0)
    assert.truthy(words_of(start):find(" --tasks a.jsonl,b ", 1, true))
    assert(files.write_atomic(path, '{"model":"M","judge":"J","held_out":"H","tasks":3}'))
    local taken, wrong = pcall(contest.task, path)
    assert.is_false(taken)
    assert.truthy(wrong:find("'tasks' must be files by commas, or a list of them", 1, true))
    assert(files.write_atomic(path, '{"model":"M","judge":"J"}'))
    local ok, message = pcall(contest.task, path)
    assert.is_false(ok)
    assert.truthy(message:find("has no 'held_out'; a task has model, judge, held_out", 1, true))
  end)
end)

describe("a curve", function()
  it("is read off between its points, in any order, and not beyond", function()
    local points = { { 2, 5 }, { 0, 1 }, { 1, 2 } }
    assert.are.equal(1, frontier.at(points, 0))
    assert.are.equal(1.5, frontier.at(points, 0.5))
    assert.are.equal(3.5, frontier.at(points, 1.5))
    assert.are.equal(5, frontier.at(points, 2))
    assert.is_nil(frontier.at(points, 2.1))
    assert.are.equal(3, frontier.at({ { 0, 1 }, { 3, 4 } }, 2)) -- a gap of 3 at x = 2
    assert.is_nil(frontier.at({ { 0, 1 }, { 2.1, 3 } }, 1))
    assert.is_nil(frontier.at({ { 1, 1 } }, 1))
    assert.is_nil(frontier.at({}, 1))
  end)

  it("that lost what it had won is told, with what the reward model says", function()
    local folder = scratch.folder()
    local function summary(name, figures)
      local path = folder .. "/" .. name
      assert(files.folder_make(path))
      assert(files.write_json(path .. "/summary.json", figures))
      return path
    end
    local start = {
      folder = summary("start", {
        score = 0.4,
        chooser_score = 0,
        text_loss = 1.5,
        tasks = { arithmetic = { accuracy = 0.75 } },
      }),
    }
    local runs = {}
    for seed = 1, 2 do
      local run = { method = "ppo", setting = "", seed = seed, evaluations = {} }
      run.folder = summary("run" .. seed, { seconds = 10 * seed })
      for step, gold in ipairs { 0.6, 0.5 } do
        run.evaluations[step] = {
          step = step,
          folder = summary(("eval%d-%d"):format(seed, step), {
            score = gold + seed / 100,
            chooser_score = step,
            kl = step + 0.25 * seed,
            tasks = { arithmetic = { accuracy = 0.5 + seed / 100, accuracy_gain = -0.25 } },
          }),
        }
      end
      runs[seed] = run
    end
    local text = frontier.write(folder, runs, { start }, { 1, 2.4, 9 })
    assert.truthy(text:find("beware: ppo: gold was 0.615 at step 1 (KL 1.38)", 1, true))
    assert.truthy(text:find("score rose: it is fooled", 1, true))
    local results = assert(json.decode((files.read(folder .. "/results.json"))))
    local last = results.methods[1].steps[2]
    assert.near(0.515, last.gold.mean, 1e-12)
    assert.near(12.706204736 * 0.005, last.gold.high - last.gold.mean, 1e-8)
    assert.are.equal(15, results.methods[1].seconds.mean)
    assert.truthy(text:find("15 (0 to 79)", 1, true)) -- 12.706 * 5 below the mean is no time
    -- at KL 1: 0.4 + 0.21 / 1.25 and 0.4 + 0.22 / 1.5
    -- and at 2.4, where one seed alone came, nothing
    assert.truthy(text:find("ppo +0.557 %(0.42[^)]*%) +%- +%- *\n"))
    -- what the held-out task has lost, over seeds, beside what all start from
    assert.truthy(text:find("start: gold 0.400, text loss 1.500 nats, arithmetic 0.750\n", 1, true))
    assert.truthy(text:find("text loss, nats +arithmetic +seconds\n"))
    assert.truthy(text:find("0.515 (0.451 to 0.579)", 1, true)) -- 12.7062 * 0.005
    assert.are.equal(0.75, results.start.tasks.arithmetic.mean)
    assert.near(0.515, last.tasks.arithmetic.mean, 1e-12)
  end)
end)

describe("a contest whose runs were judged at their ends and on the lines to them", function()
  teardown(scratch.clean)

  local folder = scratch.folder()
  local function evaluation(name, kl, gold, more)
    local path = folder .. "/" .. name
    assert(files.folder_make(path))
    local summary = { kl = kl, score = gold, seconds = 1 }
    for key, value in pairs(more or {}) do
      summary[key] = value
    end
    assert(files.write_json(path .. "/summary.json", summary))
    return path
  end
  local start = {
    folder = evaluation("start", nil, 0.4, {
      best_of = {
        { n = 1, kl = 0, chosen = 0.4, oracle = 0.4 },
        { n = 4, kl = 0.5, chosen = 0.6, oracle = 0.7 },
        { n = 16, kl = 1.5, chosen = 0.8, oracle = 0.9 },
      },
    }),
  }
  local function run(name, kl, gold, parts)
    local one = { method = name, setting = "", seed = 1, folder = evaluation(name, nil, nil) }
    one.evaluations = { { step = 9, folder = evaluation(name .. "-end", kl, gold) } }
    for part, point in pairs(parts) do
      local path = evaluation(name .. "-" .. part, point[1], point[2])
      table.insert(one.evaluations, { step = 9, part = part, folder = path })
    end
    return one
  end

  it(
    "is told by ends, by lines where they say more, and beside best of n where it can be",
    function()
      local runs = {
        run("near", 1, 0.65, {}),
        run("far", 2, 0.9, { [0.5] = { 1, 0.7 } }),
        run("away", 9, 0.9, {}),
      }
      local text = frontier.write(folder, runs, { start }, { 1, 2.5 })
      local ends, lines = text:match("^(.-\n)(gold at a KL, nats, of +1 +2.5 *\n.*)$")
      assert.is_nil(ends:find("interpolated", 1, true))
      assert.truthy(ends:find("near +1 +1.00 +0.650 +%-0.050 ")) -- best of n at KL 1: 0.7
      assert.truthy(ends:find("far +1 +2.00 +0.900 +%+0.000 at 1.50 ")) -- the line there: 0.8
      assert.truthy(ends:find("away +1 +9.00 +0.900 +%- ")) -- nothing is known at 1.5
      assert.truthy(lines:find("near +0.650 +%-"))
      assert.truthy(lines:find("far, interpolated +0.700 +%-"))
      assert.is_nil(lines:find("\nfar  ")) -- a straight line from the start to the end says less
      local page = files.read(folder .. "/report.html")
      assert.truthy(page:find("far, interpolated", 1, true))
    end
  )
end)

describe("perilune compare", function()
  teardown(scratch.clean)

  it("runs methods over seeds, judges their checkpoints, and goes on where it was", function()
    local w = world.new("llama")
    local task = {
      model = w.model,
      judge = w.reward,
      held_out = w.prompts,
      tasks = world.jsonl(w.dir .. "/seas.jsonl", {
        { prompt = "the moon sees", choices = { " the sea", " a lamp" }, answer = 0 },
      }),
      settings = { reward_function = w.reward, response_length = 6 },
      methods = {
        ppo = { dataset = w.prompts, batch_size = 8, num_mini_batches = 1, total_episodes = 16 },
        dpo = { dataset = w.rankings, batch_size = 20 },
      },
    }
    assert(files.write_json(w.dir .. "/task.json", task))
    local folder, out = w.dir .. "/contest", scratch.path()
    local methods = { "ppo", "dpo" }
    local function compare(...)
      local how, code = pl.system.spawn({
        host.executable,
        "compare",
        methods[1],
        methods[2],
        "--task",
        w.dir,
        "--output_dir",
        folder,
        "--count",
        "8",
        ...,
      }, { stdin = "/dev/null", stdout = out, stderr = out })
      assert.are.equal("exit", how)
      return code, (files.read(out))
    end
    local code, text = compare("--ppo.save_steps", "1", "--learning_rate", "0.003")
    assert.are.equal(0, code, text)
    local results = assert(json.decode((files.read(folder .. "/results.json"))))
    assert.are.same({ "ppo", "dpo" }, { results.methods[1].name, results.methods[2].name })
    assert.are.equal(2, #results.methods[1].steps)
    assert.is_true(results.methods[1].steps[2].kl.mean > 0)
    assert.are.equal(5, #results.start.best)
    assert.are.equal(1, results.start.tasks.seas.n)
    assert.are.equal(1, results.methods[2].steps[1].tasks.seas.n)
    assert.truthy(files.read(folder .. "/report.html"):find("Gold against KL", 1, true))
    code, text = compare("--ppo.save_steps", "1", "--learning_rate", "0.003", "--seeds", "2")
    assert.are.equal(0, code, text)
    assert.truthy(text:find("ppo/seed=1  was done before", 1, true))
    results = assert(json.decode((files.read(folder .. "/results.json"))))
    assert.are.same({ 2, 2 }, { results.methods[1].seeds, results.methods[2].seeds })
    code, text = compare(
      "--ppo.save_steps",
      "1",
      "--learning_rate",
      "0.003",
      "--seeds",
      "2",
      "--interpolate",
      "0,0.5"
    )
    assert.are.equal(0, code, text)
    results = assert(json.decode((files.read(folder .. "/results.json"))))
    local line, whole = results.methods[2], results.methods[1]
    assert.are.equal("ppo, interpolated", line.name)
    assert.are.same({ 0, 0.5 }, { line.steps[1].part, line.steps[2].part })
    assert.are.equal(0, line.steps[1].kl.mean)
    local halfway, all = line.steps[2].kl.mean, line.steps[3].kl.mean
    assert.is_true(halfway > 0 and halfway < all)
    assert.are.equal(whole.steps[2].kl.mean, all)
    -- what was judged stays when nobody asks again, and a seed that joins gets the same points
    code, text = compare("--ppo.save_steps", "1", "--learning_rate", "0.003", "--seeds", "3")
    assert.are.equal(0, code, text)
    results = assert(json.decode((files.read(folder .. "/results.json"))))
    line = results.methods[2]
    assert.are.equal("ppo, interpolated", line.name)
    assert.are.same({ 3, 3 }, { line.steps[2].kl.n, line.seeds })
    assert.are.equal(0.5, line.steps[2].part)
    local page = files.read(folder .. "/report.html")
    methods = { "dpo", "other=dpo" } -- what the folder has besides is not lost
    code, text = compare("--learning_rate", "0.003", "--seeds", "3")
    assert.are.equal(1, code)
    assert.truthy(text:find("holds ppo/seed=1 and 2 more too, which its page and", 1, true), text)
    assert.are.equal(page, files.read(folder .. "/report.html"))
    methods = { "ppo", "dpo" }
    code, text = compare("--learning_rate", "0.01", "--seeds", "3")
    assert.are.equal(1, code)
    assert.truthy(
      text:find("(learning_rate was 0.003 and is 0.01, save_steps was 1 and is not", 1, true),
      text
    )
    local words = { "--ppo.save_steps", "1", "--learning_rate", "0.003", "--seeds", "3" }
    code, text = compare("--best_of", "2", table.unpack(words))
    assert.are.equal(1, code) -- evaluations of other words are others
    assert.truthy(
      text:find("holds start-1 with other settings (best_of was 16 and is 2);", 1, true),
      text
    )
    scratch.write(w.reward, "-- another\n" .. files.read(w.reward))
    code, text = compare(table.unpack(words))
    assert.are.equal(1, code) -- a path is no identity
    assert.truthy(text:find(w.reward .. " had another content", 1, true), text)
  end)

  it("trains nothing when the start cannot be measured", function()
    local w = world.new("llama")
    local task = { model = w.model, judge = w.reward, held_out = w.dir .. "/empty.jsonl" }
    task.settings = { response_length = 6 }
    scratch.write(task.held_out, "")
    assert(files.write_json(w.dir .. "/task.json", task))
    local folder, out = w.dir .. "/contest", scratch.path()
    local how, code = pl.system.spawn(
      { host.executable, "compare", "rloo", "--task", w.dir, "--output_dir", folder },
      { stdin = "/dev/null", stdout = out, stderr = out }
    )
    local text = files.read(out)
    assert.are.same({ "exit", 1 }, { how, code }, text)
    assert.truthy(text:find("empty.jsonl: nothing in it can be used", 1, true), text)
    assert.truthy(text:find("the start cannot be measured, so nothing is trained", 1, true), text)
    assert.is_nil(files.read(folder .. "/rloo/seed=1.log"))
  end)
end)
