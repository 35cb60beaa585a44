--- Run folders read from outside, thinned curves, and the page of runs: what a reader finds in it,
-- with folders of every kind, and that no text of a run is markup.

local csv_write = require("perilune.show.csv_write")
local json = require("perilune.base.json")
local lfs = require("lfs")
local log = require("perilune.run.log")
local pl = require("perilune")
local run_page = require("perilune.show.run_page")
local runs = require("perilune.show.runs")
local scratch = dofile("tests/lua/support/scratch.lua")
local series = require("perilune.show.series")
local settings = require("perilune.show.settings")

local dir

setup(function() dir = scratch.folder() end)
teardown(function() scratch.remove(dir) end)

local made = 0

-- A folder with the files of a run: lists of rows, or texts.
local function folder(content, name)
  made = made + 1
  local path = dir .. "/" .. (name or "run" .. made)
  assert(pl.files.folder_make(path))
  for file, rows in pairs(content) do
    local text = rows
    if type(rows) == "table" and file:match("jsonl$") then
      local lines = {}
      for i, row in ipairs(rows) do
        lines[i] = log.line(row) .. "\n"
      end
      text = table.concat(lines)
    elseif type(rows) == "table" then
      text = json.encode(rows)
    end
    scratch.write(path .. "/" .. file, text)
  end
  return path
end

local function ppo_rows(n)
  local rows = {}
  for i = 1, n do
    rows[i] = {
      step = i,
      time = 2.0 * i,
      ["objective/scores"] = i / n,
      ["objective/kl"] = 3 * i / n,
      ["policy/entropy_avg"] = 2 - i / n,
      ["completions/mean_length"] = 20,
    }
  end
  return rows
end

local function page_of(...)
  local list = assert(runs.open { ... })
  local html, policy = run_page.html(list)
  return html, policy, list
end

local function data_of(html)
  local text = html:match('<script type="application/json" id="pl%-data">(.-)</script>')
  return assert(json.decode(text))
end

describe("a run folder", function()
  it("is read on as it grows, whole lines alone", function()
    local path = folder { ["metrics.jsonl"] = '{"step":1,"loss":2.5}\n{"step":2,"lo' }
    local run = assert(runs.open { path })[1]
    assert.are.same({ { step = 1, loss = 2.5 } }, run.rows)
    local file = assert(io.open(path .. "/metrics.jsonl", "a"))
    file:write('ss":"NaN"}\n{"step":3,"loss":"-Infinity"}\n')
    file:close()
    local found, anew = run:poll()
    assert.are.equal(2, #found.rows)
    assert.is_false(anew)
    assert.is_true(run.rows[2].loss ~= run.rows[2].loss)
    assert.are.equal(-math.huge, run.rows[3].loss)
    assert.are.equal(0, run.bad)
    assert.are.equal(3, run:step())
  end)

  it("that is cut back is read anew", function()
    local path = folder { ["metrics.jsonl"] = ppo_rows(5), ["samples.jsonl"] = { { step = 1 } } }
    local run = assert(runs.open { path })[1]
    assert.are.equal(5, #run.rows)
    assert(pl.files.write_atomic(path .. "/metrics.jsonl", '{"step":1}\n{"step":2}\n'))
    local found, anew = run:poll()
    assert.is_true(anew)
    assert.are.same({ { step = 1 }, { step = 2 } }, found.rows)
    assert.are.equal(2, #run.rows)
    assert.are.equal(1, #run.samples)
  end)

  it("with lines that are no rows counts them", function()
    local text = '{"step":1,"loss":1}\nnot json\n[1]\n{"loss":2}\n\n{"step":2,"loss":3}\n'
    local run = assert(runs.open { folder { ["metrics.jsonl"] = text } })[1]
    assert.are.equal(2, #run.rows)
    assert.are.equal(3, run.bad)
    assert.is_truthy(run_page.html({ run }):find("3 lines of the logs could not be read.", 1, true))
  end)

  it("of stages is its stages, and its own rows where it has some", function()
    local path = folder({ ["run.lock"] = "", ["config.json"] = { _recipe = "all" } }, "whole")
    folder({
      ["metrics.jsonl"] = ppo_rows(2),
      ["env.json"] = { started = "2026-01-01T00:00:02Z", started_at = 1767225602.5 },
    }, "whole/b-first")
    folder({
      ["metrics.jsonl"] = ppo_rows(2),
      ["env.json"] = { started = "2026-01-01T00:00:03Z" },
    }, "whole/a-second")
    folder({
      ["metrics.jsonl"] = ppo_rows(2),
      ["env.json"] = { started = "2026-01-01T00:00:02Z", started_at = 1767225602.125 },
    }, "whole/z-within-the-second")
    folder({ ["other.txt"] = "" }, "whole/data")
    local names = {}
    for i, run in ipairs(assert(runs.open { path })) do
      names[i] = run.name
    end
    assert.are.same({ "z-within-the-second", "b-first", "a-second" }, names)
    scratch.write(path .. "/metrics.jsonl", '{"step":1,"x":1}\n')
    assert.are.equal(4, #assert(runs.open { path, path }))
  end)

  it("that is none is named, with what is missing", function()
    local none, message = runs.open { dir .. "/gone" }
    assert.is_nil(none)
    assert.are.equal(("there is no folder %s/gone"):format(dir), message)
    local empty = folder({}, "empty")
    none, message = runs.open { empty }
    assert.is_nil(none)
    assert.are.equal(
      ("%s holds no run: neither metrics.jsonl nor a run.lock"):format(empty),
      message
    )
  end)

  it("tells whether it goes on, ended or died, and takes no lock", function()
    local path = dir .. "/held"
    local function spec(more)
      local keys = { name = "toy", args = {}, { lam = 0.5, "a number" } }
      local cfg = pl.config(keys)
      cfg.output_dir, cfg.quiet = path, true
      for key, value in pairs(more or {}) do
        cfg[key] = value
      end
      return cfg
    end
    local run = pl.run.open(spec())
    run:log(1, { loss = 1 })
    local seen = assert(runs.open { path })[1]
    assert.are.equal("running", seen.state)
    run:close()
    seen:poll()
    assert.are.equal("stopped", seen.state)
    pl.files.remove(path .. "/status.json")
    scratch.write(path .. "/summary.json", '{"score": 1}')
    seen:poll()
    assert.are.equal("done", seen.state)
    scratch.write(path .. "/status.json", '{"state": "running", "total": 9}')
    pl.files.remove(path .. "/summary.json")
    seen:poll()
    assert.are.same({ "died", 9 }, { seen.state, seen:total() })
    local bare = folder { ["metrics.jsonl"] = ppo_rows(1) }
    assert.are.equal("unknown", assert(runs.open { bare })[1].state)
  end)
end)

describe("a curve", function()
  it("of few points stays as it is", function()
    local xs, ys = { 1, 2, 3 }, { 4, 5, 6 }
    local a, b = series.thin(xs, ys, 8)
    assert.are.equal(xs, a)
    assert.are.equal(ys, b)
  end)

  it("of 100,000 points keeps its ends and its extremes", function()
    local xs, ys = {}, {}
    for i = 1, 100000 do
      xs[i], ys[i] = i, math.sin(i / 500)
    end
    ys[33333], ys[77777] = 50, -50
    local a, b = series.thin(xs, ys, 1200)
    assert.is_true(#a <= 1200 and #a >= 600)
    local high, low = {}, {}
    for i = 1, #a do
      assert.are.equal(ys[a[i]], b[i])
      assert.is_true(i == 1 or a[i] > a[i - 1])
      if b[i] == 50 then high[1] = a[i] end
      if b[i] == -50 then low[1] = a[i] end
    end
    assert.are.same({ { 33333 }, { 77777 }, 1, 100000 }, { high, low, a[1], a[#a] })
  end)

  it("tells apart where values are not finite", function()
    local rows = { { step = 1, x = 2 }, { step = 2, x = 0 / 0 }, { step = 3 }, { step = 4, x = 5 } }
    local steps, values, broken = series.points(rows, "x")
    assert.are.same({ { 1, 4 }, { 2, 5 }, { 2 } }, { steps, values, broken })
  end)

  it("takes its place by what people look at, the held-out one in the same chart", function()
    local charts = series.charts { zeta = true, loss = true, eval_loss = true, accuracy = true }
    local order = {}
    for i, chart in ipairs(charts) do
      order[i] = table.concat(chart.metrics, "+")
    end
    assert.are.same({ "loss+eval_loss", "accuracy", "zeta" }, order)
    assert.are.same({ true, true, false }, {
      charts[1].important,
      charts[2].important,
      charts[3].important,
    })
    charts = series.charts {
      ["rewards/margins"] = true,
      ["eval_rewards/margins"] = true,
      ["eval_rewards/accuracies"] = true,
    }
    assert.are.same({ "rewards/margins", "eval_rewards/margins" }, charts[1].metrics)
    assert.are.same({ true, false }, { charts[1].important, charts[2].important })
  end)
end)

describe("the page", function()
  it("shows curves, alarms, changes, hyper-parameters and answers of a run", function()
    local path = folder {
      ["metrics.jsonl"] = ppo_rows(10),
      ["samples.jsonl"] = {
        { step = 1, prompt = "the moon", answer = "a fox", score = 0.5, tokens = { "a", " fox" } },
      },
      ["alarms.jsonl"] = { { step = 7, alarm = "kl_runaway", text = "KL runaway: far off." } },
      ["journal.jsonl"] = { { step = 3, key = "kl_coef", old = 0.05, new = 0.1 } },
      ["config.json"] = { _recipe = "ppo", kl_coef = 0.05, lam = 0.95 },
    }
    local html = page_of(path)
    for _, text in ipairs {
      "Reward against KL",
      "<b>KL to the reference</b>",
      "<b>Entropy</b>",
      "step 7: KL runaway: far off.",
      "step 3: kl_coef 0.05 → 0.1",
      "<td>kl_coef</td>",
      "the moon",
      "a fox",
      "recipe ppo, step 10",
    } do
      assert.is_truthy(html:find(text, 1, true), text)
    end
    local data = data_of(html)
    local run = data.runs[1]
    assert.are.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, run.metrics["objective/kl"][1])
    assert.are.equal(0.9, run.metrics["objective/kl"][2][3])
    assert.are.same({ step = 7, text = "KL runaway: far off." }, run.alarms[1])
    assert.are.same({ "a", " fox" }, run.samples[1].tokens)
    assert.are.equal("order", data.charts[1].kind)
    assert.are.same({ 0.3, 0.1, 1 }, { run.order[1][1], run.order[2][1], run.order[3][1] })
    assert.are.equal(10, #run.order[1])
  end)

  it("has one card for an alarm that rings on and on, and the command once", function()
    local alarms = {
      { step = 9, alarm = "no_end", text = "No end: 98 % of the answers." },
      { step = 3, alarm = "kl_runaway", text = "KL runaway: far off." },
      { step = 59, alarm = "no_end", text = "No end: 100 % of the answers." },
    }
    local html = page_of(folder {
      ["metrics.jsonl"] = ppo_rows(10),
      ["alarms.jsonl"] = alarms,
      ["env.json"] = { command = { "perilune", "run", "<ppo>" } },
    })
    local cards = {}
    for text in html:gmatch('<div class="card alarm">(.-)</div>') do
      cards[#cards + 1] = text
    end
    assert.are.same({
      "step 59 (2 times since step 9): No end: 100 % of the answers.",
      "step 3: KL runaway: far off.",
    }, cards)
    assert.are.equal(3, #data_of(html).runs[1].alarms)
    local _, times = html:gsub("perilune run &lt;ppo&gt;", "")
    assert.are.equal(1, times)
  end)

  it("of stages is called as their run, and has no place for curves of a stage without", function()
    local whole = folder { ["run.lock"] = "" }
    for name, row in pairs { ppo = { step = 1, loss = 1 }, eval = false } do
      folder({
        ["run.lock"] = "",
        ["metrics.jsonl"] = row and { row } or "",
        ["status.json"] = { state = "done" },
        ["config.json"] = { _recipe = name },
      }, whole:match("[^/]+$") .. "/" .. name)
    end
    local html = page_of(whole)
    assert.is_truthy(html:find("<h1>" .. whole:match("[^/]+$") .. "</h1>", 1, true))
    assert.is_truthy(html:find("<h3>ppo</h3>", 1, true))
    assert.is_nil(html:find("<h3>eval</h3>", 1, true))
    assert.is_nil(html:find("No row has been written yet.", 1, true))
    scratch.write(whole .. "/metrics.jsonl", '{"step":1,"accuracy":0.5}\n') -- as rounds has them
    html = page_of(whole)
    assert.is_truthy(html:find("<h1>" .. whole:match("[^/]+$") .. "</h1>", 1, true))
  end)

  it("has no step between two, and the unit of a loss where the recipe tells", function()
    local function page(recipe, steps)
      local rows = {}
      for i = 1, steps do
        rows[i] = { step = i, loss = 1 / i }
      end
      return page_of(folder {
        ["metrics.jsonl"] = rows,
        ["config.json"] = { _recipe = recipe },
      })
    end
    local html = page("sft", 2)
    local figure = html:match("<figure.-</figure>")
    assert.is_truthy(figure:find("<b>Loss</b> <span>nats a token</span>", 1, true), figure)
    local ticks = {}
    for text in figure:gmatch('class="mid"[^>]*>([^<]*)<') do
      ticks[#ticks + 1] = text
    end
    assert.are.same({ "1", "2" }, ticks)
    figure = page("dpo", 1):match("<figure.-</figure>")
    assert.is_truthy(figure:find("<b>Loss</b> <span></span>", 1, true), figure)
    assert.is_truthy(figure:find('class="mid"[^>]*>1<'))
    assert.is_nil(figure:find('class="mid"[^>]*>%d%.%d<'))
  end)

  it("has all rows of a run of hundreds of steps, with short stages beside it", function()
    local paths = {}
    for i, n in ipairs { 700, 3, 3, 3, 3, 3 } do
      paths[i] =
        folder { ["metrics.jsonl"] = ppo_rows(n), ["config.json"] = { _recipe = "r" .. i } }
    end
    local run = data_of((page_of(table.unpack(paths)))).runs[1]
    assert.are.equal(700, #run.metrics["objective/kl"][1])
    assert.are.equal(700, #run.order[1])
    assert.are.equal(700, #run.time[1])
  end)

  it("puts runs of one recipe into the same charts and says where they differ", function()
    local function one(name, kl)
      return folder({
        ["metrics.jsonl"] = ppo_rows(3),
        ["config.json"] = { _recipe = "ppo", kl_coef = kl, lam = 0.95, output_dir = name },
      }, name)
    end
    local html, _, list = page_of(one("left", 0.05), one("right", 0.2))
    local data = data_of(html)
    for _, chart in ipairs(data.charts) do
      assert.are.same({ 0, 1 }, chart.runs)
    end
    local different, all = settings.compare(list)
    assert.are.same({ { "kl_coef", "0.05", "0.2" } }, different)
    assert.are.equal(3, #all)
    assert.is_truthy(html:find("Where these runs differ.", 1, true))
  end)

  for name, content in pairs {
    ["no rows at all"] = { ["run.lock"] = "" },
    ["an empty log"] = { ["metrics.jsonl"] = "" },
    ["one row"] = { ["metrics.jsonl"] = { { step = 1, loss = 1 } } },
    ["nothing that is a number"] = {
      ["metrics.jsonl"] = { { step = 1, loss = 0 / 0 }, { step = 2, loss = 1 / 0 } },
    },
    ["a step that is not finite"] = { ["metrics.jsonl"] = '{"step":1e400,"loss":1}\n' },
    ["files of another kind"] = {
      ["metrics.jsonl"] = { { step = 1, loss = "text", more = true } },
      ["config.json"] = "[1, 2",
      ["env.json"] = "7",
      ["samples.jsonl"] = { { step = 1, prompt = { { role = "user" } }, answer = 5, score = "x" } },
      ["journal.jsonl"] = { { step = 1 } },
      ["alarms.jsonl"] = { { step = 1 } },
    },
  } do
    it("is made of a run with " .. name, function()
      local html = page_of(folder(content))
      assert.are.equal("</body></html>\n", html:sub(-15))
      assert.are.equal(1, #data_of(html).runs)
    end)
  end

  it("rings the alarms of a run that kept none", function()
    local rows = ppo_rows(20)
    for i = 11, 20 do
      rows[i]["objective/kl"] = 90
    end
    local data = data_of((page_of(folder { ["metrics.jsonl"] = rows })))
    assert.are.equal(1, #data.runs[1].alarms)
    assert.is_truthy(data.runs[1].alarms[1].text:find("^KL runaway"))
    assert.are.equal(11, data.runs[1].alarms[1].step)
  end)

  it("keeps within its bytes, with the first and the newest answers", function()
    local samples = {}
    for i = 1, 100 do
      samples[i] = { step = i, prompt = "p", answer = ("long "):rep(20000) }
    end
    local html = page_of(folder { ["metrics.jsonl"] = "", ["samples.jsonl"] = samples })
    local kept = data_of(html).runs[1].samples
    assert.is_true(#kept >= 20 and #kept <= 31, #kept)
    assert.are.same({ 1, 100 }, { kept[1].step, kept[#kept].step })
  end)

  it("loads nothing and admits its own script alone", function()
    local html, policy = page_of(folder { ["metrics.jsonl"] = ppo_rows(3) })
    local nonce = policy:match("script%-src 'nonce%-(%x+)'")
    assert.are.equal(32, #nonce)
    assert.is_truthy(policy:find("default-src 'none'", 1, true))
    assert.is_nil(policy:find("unsafe", 1, true))
    local scripts = 0
    for attributes in html:gmatch("<script([^>]*)>") do
      scripts = scripts + 1
      assert.is_true(
        attributes == (' nonce="%s"'):format(nonce)
          or attributes == ' type="application/json" id="pl-data"'
      )
    end
    assert.are.equal(2, scripts)
    assert.is_nil(html:find("%shref=") or html:find("%ssrc=") or html:find("@import"))
  end)

  it("has no text of a run as markup", function()
    local hostile = {
      "<script>alert(1)</script>",
      "</script><script>alert(2)</script>",
      "<img src=x onerror=alert(3)>",
      "]]><!--",
      "\u{2028}alert(4)\u{2029}",
      "\u{202e}drow",
      "'\"&lt;",
      "\0\27[31m",
      "\xff\xfe",
    }
    local rows, samples, config = {}, {}, { _recipe = hostile[1] }
    for i, text in ipairs(hostile) do
      local key = text:gsub("[%z\xff\xfe]", "") -- what a key of JSON cannot hold
      rows[i] = { step = i, [key] = i, loss = 1 }
      samples[i] = { step = i, prompt = text, answer = text, score = 1, tokens = { text } }
      config["key" .. key] = text
    end
    local html = page_of(folder({
      ["metrics.jsonl"] = rows,
      ["samples.jsonl"] = samples,
      ["config.json"] = config,
      ["alarms.jsonl"] = { { step = 1, alarm = "x", text = hostile[2] } },
      ["journal.jsonl"] = { { step = 1, key = hostile[3], old = hostile[1], new = hostile[2] } },
    }, "<b onclick=alert(5)>"))
    assert.are.equal(2, select(2, html:gsub("<script", "")))
    assert.are.equal(2, select(2, html:gsub("</script", "")))
    assert.is_nil(html:find("<img", 1, true))
    assert.is_nil(html:find("<b onclick", 1, true))
    local block = html:match('id="pl%-data">(.-)</script>')
    assert.is_nil(block:find("[<>&]") or block:find("\u{2028}", 1, true))
    assert.are.equal(hostile[1], data_of(html).runs[1].samples[1].prompt)
  end)
end)

describe("rows as comma-separated values", function()
  it("have a column for each metric, numbers exact, and no formulas", function()
    local path = folder({
      ["metrics.jsonl"] = {
        { step = 1, time = 0.5, loss = 0.1, note = "=1+1" },
        { step = 2, time = 1.5, loss = 0 / 0, ["a,b"] = 'say "x"' },
      },
    }, "table")
    assert(csv_write.write(dir .. "/t.csv", assert(runs.open { path })))
    assert.are.equal(
      'run,step,time,"a,b",loss,note\r\n'
        .. "table,1,0.5,,0.1,'=1+1\r\n"
        .. 'table,2,1.5,"say ""x""",nan,\r\n',
      scratch.read(dir .. "/t.csv")
    )
  end)
end)

describe("perilune report", function()
  local host = require("perilune.host")
  local system = require("perilune.core").system

  local function report(...)
    local how, code = system.spawn(
      { host.executable, "report", ... },
      { stdin = "/dev/null", stdout = dir .. "/out", stderr = dir .. "/err" }
    )
    assert.are.equal("exit", how)
    return code, scratch.read(dir .. "/out"), scratch.read(dir .. "/err")
  end

  it("writes the page and the table", function()
    local path = folder { ["metrics.jsonl"] = ppo_rows(3) }
    local out, csv = dir .. "/page.html", dir .. "/rows.csv"
    assert.are.same(
      { 0, out .. "\n" .. csv .. "\n", "" },
      { report(path, "--out", out, "--csv=" .. csv, "--title", "A <title>") }
    )
    assert.is_truthy(scratch.read(out):find("<title>A &lt;title&gt;</title>", 1, true))
    assert.are.equal("file", lfs.attributes(csv, "mode"))
  end)

  it("says what is wrong with what it was given", function()
    local code, _, err = report(dir .. "/gone")
    local text = "perilune report: there is no run '%s/gone', here or in runs/; 'perilune runs' "
      .. "lists those there are\n"
    assert.are.same({ 1, text:format(dir) }, { code, err })
    folder({ ["run.lock"] = "", ["metrics.jsonl"] = ppo_rows(1) }, "a-run")
    for _, command in ipairs { "report", "watch" } do
      local ending, said = system.spawn(
        { host.executable, command, dir .. "/a-rnu" },
        { stdin = "/dev/null", stdout = "/dev/null", stderr = dir .. "/err" }
      )
      assert.are.equal("exit 1", ending .. " " .. said)
      local meant = ("; did you mean '%s/a-run'?\n"):format(dir)
      assert.are.equal(meant, scratch.read(dir .. "/err"):sub(-#meant))
    end
    code, _, err = report(dir, "--ouput", "x")
    assert.are.equal(1, code)
    assert.are.equal(
      "perilune report: '--ouput' is no option; perilune report --help lists them\n",
      err
    )
    code, _, err = report(dir, "--out")
    assert.are.same({ 1, "perilune report: --out wants a value\n" }, { code, err })
    code = report()
    assert.are.equal(1, code)
    local help
    code, help = report("--help")
    assert.are.equal(0, code)
    assert.truthy(help:find("usage: perilune report RUN...", 1, true))
  end)
end)
