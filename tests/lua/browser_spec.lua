--- The pages of `perilune report` and `perilune watch` in headless Chromium, as a person uses them:
-- by mouse, by keyboard alone, without script, from 320 pixels to 4k; hostile texts do nothing, no
-- request leaves the machine, another site's page gets nothing. tests/browser/pages.cjs drives;
-- screenshots stay in the folder PERILUNE_PAGES, where that is given.

local host = require("perilune.host")
local json = require("perilune.base.json")
local lfs = require("lfs")
local log = require("perilune.run.log")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local system = require("perilune.core").system

local hostile = dofile("tests/browser/hostile.lua")

local function output_of(...)
  local to = scratch.path()
  local how, code = system.spawn(
    { ... },
    { stdin = "/dev/null", stdout = to, stderr = to .. ".err" }
  )
  return how == "exit" and code or how, scratch.read(to), scratch.read(to .. ".err")
end

-- Node, Chromium and playwright-core; false and what is missing.
local function browser()
  local status, playwright = output_of("bash", "tests/browser/playwright.sh")
  if status ~= 0 then return false, "playwright-core (tests/browser/playwright.sh --fetch)" end
  for _, name in ipairs { "chromium", "chromium-browser" } do
    local found, path = output_of("bash", "-c", "command -v node >/dev/null && command -v " .. name)
    if found == 0 then return path:match("%S+"), playwright:match("%S+") end
  end
  return false, "chromium and nodejs"
end

-- A run of every kind of thing the page shows, with hostile texts wherever a text can stand.
local function write_run(folder, name)
  local path = folder .. "/" .. name
  assert(pl.files.folder_make(path))
  local function write(file, rows)
    local lines = {}
    for i, row in ipairs(rows) do
      lines[i] = log.line(row) .. "\n"
    end
    scratch.write(path .. "/" .. file, table.concat(lines))
  end
  local rows, samples, settings = {}, {}, { _recipe = "ppo", kl_coef = 0.05 }
  for i = 1, 60 do
    rows[i] = {
      step = i,
      time = 1.5 * i,
      ["objective/scores"] = i % 7 == 0 and 0 / 0 or math.sin(i / 9),
      ["objective/kl"] = i / 9,
      ["policy/entropy_avg"] = 2 - i / 60,
      ["completions/mean_length"] = 20 + i % 5,
    }
    samples[i] = {
      step = i,
      prompt = i % 2 == 0 and "the moon" or "a fox",
      answer = "follows the sea " .. i,
      score = i / 60,
      tokens = { "follows", " the", " sea ", tostring(i) },
      kl = { 0.5, -0.25, 0, 1 },
      advantage = { 1, -1, 0.5, -0.5 },
      value = { 0.1, 0.2, 0.3, 0.4 },
    }
  end
  for i, text in ipairs(hostile) do
    local key = text:gsub("[%z\1-\31]", ""):sub(1, 60)
    rows[1][key] = i
    settings[key] = text
    samples[#samples + 1] = {
      step = 60,
      prompt = text,
      answer = text,
      score = 0,
      tokens = { text:sub(1, 99) },
      kl = { 1 },
    }
  end
  write("metrics.jsonl", rows)
  write("samples.jsonl", samples)
  write("alarms.jsonl", {
    { step = 30, alarm = "kl_runaway", text = "KL runaway: far." },
    { step = 31, alarm = hostile[1], text = hostile[2] },
  })
  write("journal.jsonl", { { step = 20, key = hostile[3], old = hostile[4], new = 0.1 } })
  scratch.write(path .. "/config.json", json.encode(settings))
  return path
end

describe("the pages in Chromium", function()
  local chromium, playwright = browser()
  if not chromium then
    it("are looked at", function()
      if os.getenv("CI") then error(playwright .. " is missing, and CI looks at the pages") end
      pending(playwright .. " is missing")
    end)
    return
  end

  local found, wrong

  setup(function()
    local dir = scratch.folder()
    local pictures = os.getenv("PERILUNE_PAGES") or dir .. "/pictures"
    assert(pl.files.folder_make(pictures))
    local page = dir .. "/page.html"
    local first, second = write_run(dir, "<b onclick=owned=20>"), write_run(dir, "calm")
    assert(0 == output_of(host.executable, "report", first, second, "--out", page))
    local living, address = dir .. "/living", dir .. "/address"
    local run = system.spawn(
      { host.executable, "tests/browser/living_run.lua", living },
      { wait = false, stdin = "/dev/null", stdout = dir .. "/run.out", stderr = dir .. "/run.err" }
    )
    for _ = 1, 600 do
      if lfs.attributes(living .. "/control.sock") then break end
      system.sleep(0.05)
    end
    local watch = system.spawn(
      { host.executable, "watch", living },
      { wait = false, stdin = "/dev/null", stdout = address, stderr = dir .. "/watch.err" }
    )
    for _ = 1, 600 do
      if (lfs.attributes(address, "size") or 0) > 0 then break end
      system.sleep(0.05)
    end
    local url = scratch.read(address):match("%S+")
    local _, text, err =
      output_of("node", "tests/browser/pages.cjs", playwright, chromium, pictures, page, url)
    system.kill(watch, 2)
    system.kill(run, 9)
    system.wait(watch)
    system.wait(run)
    found = json.decode(text)
    wrong = err .. (lfs.attributes(dir .. "/watch.err") and scratch.read(dir .. "/watch.err") or "")
  end)

  teardown(scratch.clean)

  it("are looked at to the end, with no error in the console", function()
    assert(found, wrong)
    assert.is_nil(found.failed)
    assert.are.same({}, found.console)
  end)

  it("send no request elsewhere", function() assert.are.same({}, found.requests) end)

  it("take texts as texts", function()
    assert.are.same({}, found.dialogs)
    local nothing = { elements = 0, handlers = 0, scripts = 2 }
    for _, name in ipairs { "report", "live" } do
      found[name].owned = found[name].owned ~= json.null and found[name].owned or nil
      assert.are.same(nothing, found[name], name)
    end
  end)

  it("show values, zoom and filter by mouse", function()
    assert.is_true(found.charts >= 6)
    assert.is_truthy(found.tip:find("^step 3%d"), found.tip)
    assert.is_true(found.zoomed and found.button and found.whole)
    local all = 2 * (60 + #hostile)
    assert.are.same({
      ("%d of %d answers"):format(all, all),
      ("4 of %d answers"):format(all),
      ("8 of %d answers"):format(all),
    }, found.answers)
    assert.are.equal(60, found.together)
    assert.is_true(found.colored)
  end)

  it("are used by keyboard alone", function()
    assert.are.same({}, found.missed)
    assert.are.same({}, found.missedLive)
    assert.are.equal("KL to the reference, step 3, 0.3333", found.said:match("^(.-) <b"))
    assert.is_true(found.zoomedByKey and found.wholeByKey)
    assert.are.equal("token 1: kl 0.5, advantage 1, value 0.1", found.token)
  end)

  it("can be read without script", function()
    assert.is_true(found.still.charts >= 6)
    assert.is_true(found.still.prompt and found.still.key and found.still.alarm)
  end)

  it("fit windows from 320 pixels to 4k", function()
    assert.are.same({ 0, 0, 0 }, found.sideways)
    assert.are.equal(0, found.sidewaysLive)
  end)

  it("tell what a run does, and reach it", function()
    assert.is_true(found.moves)
    assert.is_truthy(
      found.changed:find("^kl_coef: 0%.05 %-> 0%.25 from step %d+ on"),
      found.changed
    )
    assert.is_truthy(found.wrongKey:find("unknown key 'kl_cof'; did you mean 'kl_coef'?", 1, true))
    assert.is_truthy(found.wrongValue:find("kl_coef", 1, true))
    assert.is_truthy(found.paused:find("paused before step", 1, true))
    assert.is_truthy(found.goesOn:find("goes on with step", 1, true))
  end)

  it("are closed to strangers", function()
    assert.are.equal(403, found.noToken)
    assert.are.equal("closed", found.framed)
    for _, reply in ipairs(found.elsewhere) do
      assert.is_true(reply == "refused" or reply == "opaque 0", reply)
    end
  end)
end)
