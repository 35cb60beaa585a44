--- What lies beside a recipe is found, whoever runs it, from wherever.
local host = require("perilune.host")
local files = require("perilune.base.files")
local system = require("perilune.core").system

local STOCK <const> = "/usr/bin/lua5.4"
local build = host.executable:match("^(.*)/")
local folder

local function write(name, text)
  local file = assert(io.open(folder .. "/" .. name, "w"))
  file:write(text)
  file:close()
end

--- What a shell command prints, errors too.
local function shell(command)
  local pipe = io.popen(command .. " 2>&1")
  local text = pipe:read("a")
  pipe:close()
  return text
end

--- The command line of stock Lua with the library and the engine of this checkout.
local function stock()
  return ("LUA_PATH='%s/lua/?.lua;%s/lua/?/init.lua;;' LUA_CPATH='%s/lib/?.so;;' %s"):format(
    host.root,
    host.root,
    build,
    STOCK
  )
end

setup(function()
  folder = os.tmpname()
  os.remove(folder)
  assert(files.folder_make(folder .. "/parts"))
  assert(files.folder_make(folder .. "/presets"))
  assert(files.folder_make(folder .. "/quickstart"))
  write("parts/one.lua", "return { two = require('parts.two') }")
  write("parts/two.lua", "return 2")
  write("presets/high.lua", "return { lam = 0.75 }")
  write(
    "study.lua",
    [[
    local pl = require "perilune"
    local cfg = pl.config { name = "study", { lam = 0.5, "λ" } }
    print(require("parts.one").two, cfg.lam, pl.config.run_recipe("other", { lam = 3 }))]]
  )
  write(
    "other.lua",
    [[
    local pl = require "perilune"
    local cfg = pl.config { name = "other", { lam = 0.5, "λ" } }
    return cfg.lam * require("parts.two")]]
  )
  write(
    "copy.lua",
    [[
    local pl = require "perilune"
    pl.config { name = "copy" }
    print(require("quickstart.gold"), type(require("quickstart.lexicon")),
      select(2, pcall(pl.config.run_recipe, "sft", { model = 1 })))]]
  )
  write("quickstart/gold.lua", "return 'the copy'")
end)

teardown(function() system.spawn { "rm", "-r", folder } end)

describe("the neighbours of a recipe", function()
  local ways = {
    ["run by path"] = "cd / && PROGRAM run FOLDER/study.lua --preset high",
    ["run in its folder"] = "cd FOLDER && PROGRAM run study.lua --preset high",
    ["run from another folder"] = "cd FOLDER/parts && PROGRAM ../study.lua --preset high",
    ["run by stock Lua"] = "cd / && PROGRAM FOLDER/study.lua --preset high",
  }
  for way, command in pairs(ways) do
    it("are found by a recipe " .. way, function()
      local program = host.executable
      if way == "run by stock Lua" then
        if not io.open(STOCK) then return pending("lua5.4 is not installed") end
        program = stock()
      end
      local text = shell((command:gsub("%u+", { PROGRAM = program, FOLDER = folder })))
      if text:find("ASan runtime does not come first", 1, true) then
        return pending("a sanitized module cannot be loaded without the sanitizer")
      end
      assert.are.equal("2\t0.75\t6.0\n", text)
    end)
  end

  it(
    "are found by a recipe that another program calls, whose own path stays",
    function()
      assert.are.equal(
        "2\t0.75\t6.0\ntrue\n",
        shell(([[cd / && %s -e '
      local pl = require "perilune"
      local before = package.path
      pl.config.run_recipe("%s/study.lua", { preset = "high" })
      print(package.path == before)']]):format(host.executable, folder))
      )
    end
  )

  it(
    "of a copied recipe are the copies beside it, else those that come with Perilune",
    function()
      assert.are.equal(
        "the copy\ttable\tsft: --dataset is missing: JSON Lines of {messages}, "
          .. "{prompt, completion} or {text}\n",
        shell(("cd / && %s run %s/copy.lua"):format(host.executable, folder))
      )
    end
  )
end)
