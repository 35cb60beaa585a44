--- The house rules that can be read off the sources: which room may know which.
--
--   recipes -> lua/perilune -> lua/bind -> include/perilune.h -> engine/*
-- and inside each, only downward and never in a circle. No file is excepted. The laws themselves
-- are in tests/lua/support/floors.lua; here the sources are held against them, and each law against
-- texts that break it.

local floors = dofile("tests/lua/support/floors.lua")
local sources = floors.sources

local engine = sources.texts("engine", "%.[ch]$")
local bind = sources.texts("lua/bind", "%.[ch]$")
local library = sources.texts("lua/perilune", "%.lua$")
local recipes = sources.texts("recipes", "%.lua$")

describe("the engine's floors", function()
  it(
    "have no arrow up or across, by include or by use, and no Lua",
    function() assert.are.same({}, floors.engine_faults(engine)) end
  )

  it("show an include that goes up or across, and Lua", function()
    local faults = floors.engine_faults {
      ["engine/base/mem.c"] = '#include "ops/op.h"\n',
      ["engine/io/file.c"] = '\n#include "store/db.h"\n#include "text/text.h"\n',
      ["engine/ops/move.c"] = '#include "tensor/tensor.h"\n  #  include <lua.h>\n',
      ["engine/loft/a.c"] = "int pl__a;\n",
    }
    assert.are.same({
      "engine/base/mem.c:1: base may not use ops/op.h of ops",
      "engine/io/file.c:2: io may not use store/db.h of store",
      "engine/io/file.c:3: io may not use text/text.h of text",
      "engine/loft/a.c:1: this room stands on no floor (tests/lua/support/floors.lua)",
      "engine/ops/move.c:2: the engine knows no Lua",
    }, faults)
  end)

  it("show a use without an include: a call, an address, a macro's, a kernel or an op", function()
    local faults = floors.engine_faults {
      ["engine/graph/tape.c"] = "void pl__tape_prune(int n)\n{\n}\n"
        .. "const int pl__depth[2] = {1, 2};\n",
      ["engine/tensor/tensor.c"] = "void pl__tape_prune(int n); /* pl__tape_prune(1) */\n\n"
        .. "static void drop(void)\n{\n    pl__tape_prune(1);\n}\n",
      ["engine/base/ctx.c"] = "static const void *all[] = {\n  pl__tape_prune,\n};\n",
      ["engine/kernels/k.h"] = "#define LAST \\\n  pl__depth[1]\n",
      ["engine/kernels/k.c"] = 'const char *pl__k = "pl__tape_prune()";\n',
      ["engine/tensor/scope.c"] = "void pl_close(void) { K(adamw)(1); OPI(add).forward(0); }\n",
      ["engine/ops/op.c"] = "void pl__own(void) { K(adamw)(1); OPI(add).forward(0); }\n",
    }
    assert.are.same({
      "engine/base/ctx.c:2: base may not use pl__tape_prune of graph",
      "engine/kernels/k.h:2: kernels may not use pl__depth of graph",
      "engine/tensor/scope.c:1: tensor may not use K__adamw of kernels",
      "engine/tensor/scope.c:1: tensor may not use OPI__add of ops",
      "engine/tensor/tensor.c:5: tensor may not use pl__tape_prune of graph",
    }, faults)
  end)

  it("find where every public function is", function()
    local header = assert(io.open("include/perilune.h")):read("a")
    local found, missing = {}, {}
    for path, text in pairs(engine) do
      for name in pairs(sources.c(path, text).defines) do
        found[name] = path
      end
    end
    for name in header:gmatch("%f[%w_](pl_[%w_]+)%(") do
      missing[#missing + 1] = not found[name] and name or nil
    end
    assert.are.same({}, missing)
  end)

  it("have no circle of files", function()
    assert.are.same({}, floors.c_circles(engine))
    assert.are.same({}, floors.c_circles(bind))
  end)

  it("show a circle of files", function()
    assert.are.same(
      {
        "engine/text/bpe -> engine/text/utf8 -> engine/text/vocab -> engine/text/bpe",
      },
      floors.c_circles {
        ["engine/text/bpe.c"] = "void pl__bpe(void)\n{\n    pl__utf8(1);\n}\n",
        ["engine/text/utf8.h"] = "static inline void get(void)\n{\n    pl__vocab();\n}\n",
        ["engine/text/utf8.c"] = "void pl__utf8(int n)\n{\n}\n",
        ["engine/text/vocab.c"] = "void pl__vocab(void)\n{\n    pl__bpe();\n}\n",
      }
    )
    assert.are.same(
      { "lua/bind/lb -> lua/bind/lb_open -> lua/bind/lb" },
      floors.c_circles {
        ["lua/bind/lb.c"] = "int lb_check(lua_State *L)\n{\n    return lb_open(L);\n}\n",
        ["lua/bind/lb_open.c"] = "int lb_open(lua_State *L)\n{\n    return lb_check(L);\n}\n",
      }
    )
  end)

  it("give each file a name of its own, but for kernels and what is built on them", function()
    assert.are.same({}, floors.c_names(sources.paths("engine", "%.c$")))
    assert.are.same(
      {
        "engine/text/train.c:1: engine/gen/train.c has the same name",
      },
      floors.c_names {
        "engine/gen/train.c",
        "engine/kernels/norm.c",
        "engine/ops/norm.c",
        "engine/text/train.c",
      }
    )
  end)
end)

describe("the bindings", function()
  it("see the engine through perilune.h alone", function()
    assert.are.same({}, floors.bind_faults(bind))
    assert.are.same({}, floors.bind_faults(sources.texts("lua/host", "%.[ch]$")))
  end)

  it(
    "would show a look inside",
    function()
      assert.are.same(
        {
          "lua/bind/lb_x.c:2: bindings may not include tensor/tensor.h",
        },
        floors.bind_faults {
          ["lua/bind/lb_x.c"] = '#include "perilune.h"\n#include "tensor/tensor.h"\n',
        }
      )
    end
  )
end)

-- A library of two rooms and the face, with one text put in.
local function small_library(path, text)
  local texts = {
    ["lua/perilune/init.lua"] = 'return { data = require("perilune.data") }\n',
    ["lua/perilune/base/init.lua"] = "--- base.\n--\n-- May use: nothing.\nreturn {}\n",
    ["lua/perilune/base/json.lua"] = 'return require("perilune.core").json\n',
    ["lua/perilune/data/init.lua"] = "--- data.\n--\n-- May use: base.\n"
      .. 'return require "perilune.base.json"\n',
  }
  if path then texts[path] = text end
  return texts
end

describe("the rooms of the library", function()
  it("use what their heads allow, without circles", function()
    assert.are.same({}, floors.library_faults(library))
    assert.are.same({}, floors.library_faults(small_library()))
  end)

  it("show an arrow that no head allows, however it is written", function()
    for number, text in ipairs {
      'local data = require("perilune.data")',
      "local data = require 'perilune.data'",
      "local data = require [[perilune.data]]",
      'local ok, data = pcall(require, "perilune.data")',
      'local data = host.call(require , "perilune.data")',
      'local data = require("perilune.da" .. "ta")',
      'local modules = { data = "perilune.data" }',
      'local chunk = load("return require(\\"perilune.data\\")")',
      "local chunk = load [==[ return require 'perilune.data' ]==]",
    } do
      local faults = floors.library_faults(
        small_library(
          "lua/perilune/base/files.lua",
          "-- require('perilune.data') in a comment is none\n" .. text .. "\n"
        )
      )
      assert.are.equal(
        "lua/perilune/base/files.lua:2: base may not use perilune.data"
          .. " (its head does not name data)",
        faults[1],
        number
      )
    end
  end)

  it(
    "show a name that cannot be read, and a module that is not there",
    function()
      assert.are.same(
        {
          "lua/perilune/base/files.lua:1: 'peri' ..: a name that cannot be read",
          "lua/perilune/base/files.lua:2: there is no module perilune.gone",
        },
        floors.library_faults(
          small_library(
            "lua/perilune/base/files.lua",
            'require("peri" .. "lune.data")\nrequire "perilune.gone"\n'
          )
        )
      )
    end
  )

  it("show a circle of modules, of rooms and of heads", function()
    local texts = small_library("lua/perilune/base/a.lua", 'return require("perilune.base.b")\n')
    texts["lua/perilune/base/b.lua"] = 'return require("perilune.base.a")\n'
    assert.are.same({
      "a circle of modules: perilune.base.a -> perilune.base.b -> perilune.base.a",
    }, floors.library_faults(texts))

    local faults = floors.library_faults(
      small_library(
        "lua/perilune/base/init.lua",
        '-- May use: data.\nreturn { require("perilune.data") }\n'
      )
    )
    assert.are.same({
      "a circle of heads: base -> data -> base",
      "a circle of rooms: base -> data -> base",
    }, faults)
  end)

  it("show a head without its line, and a room that is not there", function()
    local texts = small_library("lua/perilune/base/init.lua", "-- may use everything\n")
    texts["lua/perilune/data/init.lua"] = "-- May use: base, loft.\n"
    assert.are.same({
      "lua/perilune/base/init.lua:1: the head has no line '-- May use: <rooms>.'",
      "lua/perilune/data/init.lua:1: there is no room loft",
    }, floors.library_faults(texts))
  end)

  it("give each module a name of its own, but for the commands", function()
    assert.are.same({}, floors.library_names(sources.paths("lua/perilune", "%.lua$")))
    assert.are.same(
      {
        "lua/perilune/store/data.lua:1: lua/perilune/data/init.lua has the same name",
      },
      floors.library_names {
        "lua/perilune/cli/data.lua",
        "lua/perilune/data/init.lua",
        "lua/perilune/store/data.lua",
      }
    )
  end)
end)

describe("the public face", function()
  local core = require("perilune.core")

  it(
    "gives no name of the engine a second meaning",
    function() assert.are.same({}, floors.face_faults(library["lua/perilune/init.lua"], core)) end
  )

  it(
    "would show one that does",
    function()
      assert.are.same(
        {
          "lua/perilune/init.lua:2: pl.checkpoint is a function of the engine already",
          "lua/perilune/init.lua:3: pl.log is a function of the engine already",
          "lua/perilune/init.lua:6: pl.matmul is a function of the engine already",
        },
        floors.face_faults(
          'local modules = {\n  checkpoint = "perilune.run.state",\n'
            .. '  log = "perilune.run.log",\n  state = "perilune.run.state",\n}\n'
            .. "function pl.matmul(a, b)\nend\n",
          core
        )
      )
    end
  )
end)

describe("recipes", function()
  it(
    "require the library's face and their neighbours alone",
    function() assert.are.same({}, floors.recipe_faults(recipes)) end
  )

  it(
    "would show another require",
    function()
      assert.are.same(
        {
          "recipes/a.lua:2: a recipe may not require perilune.run.state",
          "recipes/a.lua:4: a recipe may not require perilune.core",
          "recipes/a.lua:5: a recipe may not require a.gone",
        },
        floors.recipe_faults {
          ["recipes/a.lua"] = 'local pl = require "perilune"\n'
            .. 'local s = require "perilune.run.state"\n'
            .. 'local b = require("a.b")\n'
            .. 'local ok, core = pcall(require, "perilune.core")\n'
            .. 'local gone = require "a.gone"\n',
          ["recipes/a/b.lua"] = 'return require "lfs"\n',
        }
      )
    end
  )

  it("are unknown to the library", function()
    local names = {}
    for path in pairs(recipes) do
      names[path:match("^recipes/(.*)%.lua$"):gsub("/", ".")] = true
    end
    for path, text in pairs(library) do
      for _, name in ipairs(sources.lua(path, text).names) do
        assert.is_falsy(name.required and names[name.text], path)
      end
    end
  end)
end)

describe("files", function()
  it("are written, renamed and removed through the engine", function()
    local found = {}
    for _, texts in ipairs { library, recipes } do
      for path, text in pairs(texts) do
        table.move(floors.file_faults(path, text), 1, 100, #found + 1, found)
      end
    end
    table.sort(found)
    assert.are.same({
      "lua/perilune/bench/duel.lua: io.open for writing", -- a pipe
      "lua/perilune/rules/spool.lua: io.open for writing", -- read back, and gone with its handle
      "lua/perilune/run/lock.lua: io.open for writing", -- the lock
    }, found)
  end)

  it(
    "show a way round it",
    function()
      assert.are.same(
        { "a.lua: io.open for writing", "a.lua: lfs.mkdir", "a.lua: os.rename" },
        floors.file_faults(
          "a.lua",
          'local f = io.open(name(x),\n "ab")\n'
            .. 'local g = io.open("w", "rb")\nos.rename(a, b)\nlfs.mkdir(a)\n'
        )
      )
    end
  )
end)

describe("the engine", function()
  local function calls(path, names)
    local uses, found = sources.c(path, engine[path]).uses, {}
    for _, name in ipairs(names) do
      found[#found + 1] = uses[name] and ("%s:%d: %s"):format(path, uses[name], name)
    end
    return found
  end

  it("has one door to malloc", function()
    for path in pairs(engine) do
      if path ~= "engine/base/mem.c" then
        assert.are.same({}, calls(path, { "malloc", "calloc", "realloc", "posix_memalign" }))
      end
    end
    assert.are.equal(2, #calls("engine/base/mem.c", { "calloc", "posix_memalign" }))
  end)

  it("neither exits nor prints", function()
    for path in pairs(engine) do
      assert.are.same({}, calls(path, { "exit", "abort", "printf", "puts" }))
    end
  end)
end)

describe("the picture of the floors", function()
  it("shows every room with its lines and what it uses", function()
    local picture = floors.picture()
    assert.is_truthy(picture:find("floor 3\n  graph +%d+  base ops tensor\n"))
    assert.is_truthy(picture:find("floor 0\n  base +%d+  \n", 1))
    assert.is_truthy(picture:find("\nfloor %d+\n  repl +%d+  base perilune reference\n"))
  end)
end)
