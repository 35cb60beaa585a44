--- A run that fails before its first step leaves nothing that it made, and touches nothing else.

local host = require("perilune.host")
local lfs = require("lfs")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local system = require("perilune.core").system

local RECIPE <const> = [[
local pl = require("perilune")
local cfg = pl.config { name = "toy", about = "a toy", { does = "", "what it does" } }
local run = pl.run.open(cfg)
if cfg.does == "log" then run:log(1, { loss = 1 }) end
if cfg.does == "step" then run:at(1) end
if cfg.does == "data" then pl.files.folder_make(run.dir .. "/data") end
if cfg.does == "end" then
  run:close()
  return
end
error("the data are missing", 0)
]]

describe("a run that fails", function()
  local dir, recipe

  before_each(function()
    dir = scratch.folder()
    recipe = scratch.write(dir .. "/toy.lua", RECIPE)
  end)

  after_each(scratch.clean)

  local function run(does, folder, more)
    local settings = { does = does, output_dir = dir .. "/" .. folder, quiet = true }
    for key, value in pairs(more or {}) do
      settings[key] = value
    end
    local ok, message = pcall(pl.config.run_recipe, recipe, settings)
    return ok or message
  end

  local function is_there(path) return lfs.attributes(dir .. "/" .. path, "mode") ~= nil end

  it("before its first step leaves nothing, nor the folders made for it", function()
    assert.are.equal("the data are missing", run("", "a/b/c"))
    assert.is_false(is_there("a"))
  end)

  it("leaves folders that were there", function()
    assert(pl.files.folder_make(dir .. "/a/b"))
    run("", "a/b/c")
    assert.is_true(is_there("a/b"))
    assert.is_false(is_there("a/b/c"))
    run("", "a/b")
    assert.is_true(is_there("a/b"))
    assert.are.same({}, scratch.names(dir .. "/a/b"))
  end)

  it("leaves a folder that holds something else", function()
    assert(pl.files.folder_make(dir .. "/a"))
    scratch.write(dir .. "/a/notes.txt", "mine")
    run("", "a")
    assert.is_true(is_there("a/notes.txt"))
    assert.is_true(is_there("a/config.json"))
  end)

  for _, does in ipairs { "log", "step", "data" } do
    it("stays when it did something: " .. does, function()
      assert.are.equal("the data are missing", run(does, "a"))
      assert.is_true(is_there("a/config.json"))
    end)
  end

  it("and one that ends well stays", function()
    assert.is_true(run("end", "a"))
    assert.is_true(is_there("a/config.json"))
  end)

  it("leaves a run that it was not allowed to delete", function()
    run("log", "a")
    local before = scratch.read(dir .. "/a/metrics.jsonl")
    assert.is_truthy(run("", "a"):find("already holds a run", 1, true))
    assert.are.equal(before, scratch.read(dir .. "/a/metrics.jsonl"))
  end)

  it("as a program leaves nothing either: refused, or given a wrong key", function()
    for _, more in ipairs { {}, { "--deos", "x" }, { "--threads", "-1" } } do
      local args = { host.executable, recipe, "--output_dir", dir .. "/x/y", table.unpack(more) }
      local how, code = system.spawn(args, { stdin = "/dev/null", stderr = dir .. "/err" })
      assert.are.same({ "exit", 1 }, { how, code })
      assert.is_false(is_there("x"), scratch.read(dir .. "/err"))
    end
  end)
end)
