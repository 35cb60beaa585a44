--- What the program says of itself: --help of every command and recipe at several widths, also
-- after a wrong option; `perilune help NAME`; nearest names of commands, recipes, files, topics.
local cli = require("perilune.cli")
local core = require("perilune.core")
local format = require("perilune.base.format")
local host = require("perilune.host")
local lfs = require("lfs")
local neighbours = require("perilune.config.neighbours")
local scratch = dofile("tests/lua/support/scratch.lua")

local folder

setup(function() folder = scratch.folder() end)
teardown(scratch.clean)

--- Exit status, standard output, standard error.
local function run(words, columns, cwd)
  core.system.setenv("COLUMNS", tostring(columns or 80))
  local line, before = {}, lfs.currentdir()
  for word in words:gmatch("%S+") do
    line[#line + 1] = word
  end
  if cwd then assert(lfs.chdir(cwd)) end
  local how, code = core.system.spawn(
    { host.executable, table.unpack(line) },
    { stdin = "/dev/null", stdout = folder .. "/out", stderr = folder .. "/err" }
  )
  assert(lfs.chdir(before))
  core.system.setenv("COLUMNS", nil)
  return how == "exit" and code or how,
    scratch.read(folder .. "/out"),
    scratch.read(folder .. "/err")
end

local function assert_fits(text, columns)
  for line in text:gmatch("[^\n]+") do
    local width = format.width(line)
    assert.is_true(width <= columns, ("%d columns: %s"):format(width, line))
    assert.is_nil(line:find("%s$"), line)
  end
end

describe("--help", function()
  for _, name in ipairs(cli.names()) do
    it("of " .. name .. " is written at 60, 80 and 120 columns, whatever else is wrong", function()
      for _, columns in ipairs { 60, 80, 120 } do
        local code, out, err = run(name .. " --help", columns)
        assert.are.same({ 0, "" }, { code, err })
        assert.truthy(out:find("usage: perilune ", 1, true), out)
        assert_fits(out, columns)
      end
      local asked = name == "run" and name or name .. " --no_such_option 7"
      local _, whole = run(asked .. " -h")
      assert.are.same({ 0, whole, "" }, { run("help " .. name) })
    end)
  end

  it("of each recipe fits too, and is what `help` prints", function()
    for _, recipe in ipairs(neighbours.recipes()) do
      local code, out, err = run("run " .. recipe.name .. " --nonsense 1 --help", 60)
      assert.are.same({ 0, "" }, { code, err })
      assert_fits(out, 60)
      assert.truthy(out:find("usage: perilune run " .. recipe.name, 1, true), out)
    end
    assert.are.same({ 0, select(2, run("run sft -h")), "" }, { run("help sft") })
  end)

  it("of the program names every command, at any width", function()
    for _, columns in ipairs { 60, 80, 120 } do
      local code, out, err = run("--help", columns)
      assert.are.same({ 0, "" }, { code, err })
      assert_fits(out, columns)
      for _, name in ipairs(cli.names()) do
        assert.truthy(out:find("perilune " .. name .. "%f[%s]"), name)
      end
    end
  end)

  it("stands in the head of each command's file", function()
    for _, name in ipairs(cli.names()) do
      local head = cli.head(name)
      assert.truthy(head.call:find("^" .. name .. "%f[%s\0]"), head.call)
      assert.is_true(#head.about > 10 and #head.about < 120, head.about)
    end
  end)
end)

describe("help", function()
  it("knows ops and the pages of the documentation", function()
    local code, out = run("help matmul")
    assert.are.equal(0, code)
    assert.truthy(out:find("pl.matmul(a, b", 1, true))
    assert.truthy(select(2, run("help pl.meter.new")):find("An empty meter", 1, true))
    assert.truthy(select(2, run("help Run:log")):find("Write a row of metrics", 1, true))
    assert.truthy(select(2, run("help *rank_loss*")):find("pl.rank_loss", 1, true))
    code, out = run("help determinism")
    assert.are.same({ 0, scratch.read("docs/determinism.md") }, { code, out })
    assert.are.same({ 0, out, "" }, { run("help Determinism", 80, folder) })
  end)

  for _, case in ipairs {
    { "help determinsm", "did you mean 'determinism'?" },
    { "help matmull", "did you mean 'pl.matmul'?" },
    { "help quikstart", "did you mean 'quickstart'?" },
    { "help stoer", "did you mean 'store'?" },
    { "help pl.generat", "did you mean 'pl.generate'?" },
    { "help *nothing*", "no name fits '*nothing*'" },
    { "stoer", "no command or script is named 'stoer'; did you mean 'store'?" },
    { "run pppo", "there is no recipe 'pppo'; did you mean 'ppo'?" },
    {
      "run recpies/ppo.lua",
      "there is no recipe 'recpies/ppo.lua'; did you mean 'recipes/ppo.lua'?",
    },
    { "run recipes/pop.lua --help", "did you mean 'recipes/ppo.lua'?" },
    { "run ./recipes/ppo", "did you mean './recipes/ppo.lua'?" },
    {
      "recipes/sft.lau",
      "cannot open recipes/sft.lau: there is no such file; did you mean 'recipes/sft.lua'?",
    },
    { "tests/lau/help_spec.lua", "did you mean 'tests/lua/help_spec.lua'?" },
    { "none/at/all.lua", "cannot open none/at/all.lua: there is no such file\n" },
    { "run --kl_coef 1 ppo", "the recipe comes first, then '--kl_coef'" },
    { "run", "which recipe? 'perilune recipes' lists them" },
    { "recipes ppo sft", "'sft' is one too many" },
  } do
    it("says what was meant by `" .. case[1] .. "`", function()
      local code, out, err = run(case[1])
      assert.are.same({ 1, "" }, { code, out })
      assert.truthy(err:find(case[2], 1, true), err)
      assert.is_nil(err:find("traceback", 1, true), err)
    end)
  end

  it("finds near names of recipes from any folder, and beside it", function()
    local _, _, err = run("run recpies/ppo.lua", 80, folder)
    assert.truthy(err:find("did you mean 'recipes/ppo.lua'?", 1, true), err)
    assert(lfs.mkdir(folder .. "/mine"))
    assert(io.open(folder .. "/mine/dpo.lua", "w")):close()
    _, _, err = run("run mien/dop.lua", 80, folder)
    assert.truthy(err:find("did you mean 'mine/dpo.lua'?", 1, true), err)
    _, _, err = run(("run %s/mine/dop.lua"):format(folder))
    assert.truthy(err:find(("did you mean '%s/mine/dpo.lua'?"):format(folder), 1, true), err)
  end)
end)
