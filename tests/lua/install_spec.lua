--- The installed tree: works from a prefix it was moved to, without a word of the checkout.
local host = require("perilune.host")
local lfs = require("lfs")
local system = require("perilune.core").system

local build = host.executable:match("^(.*)/")
local folder, prefix, lib

--- Runs a shell command; its output, errors too, less the final newline.
local function shell(command, ...)
  local pipe = io.popen("{ " .. command:format(...) .. "; } 2>&1")
  local text = pipe:read("a"):gsub("\n$", "")
  local _, _, code = pipe:close()
  return text, code
end

local function succeed(command, ...)
  local text, code = shell(command, ...)
  assert(code == 0, command .. "\n" .. text)
  return text
end

setup(function()
  folder = os.tmpname()
  os.remove(folder)
  prefix = folder .. "/moved here"
  succeed("cmake --install '%s' --prefix '%s/first'", build, folder)
  assert(os.rename(folder .. "/first", prefix))
  lib = succeed("find '%s' -name libperilune.a", prefix):match("^(.*)/libperilune.a$")
end)

teardown(function() system.spawn { "rm", "-r", folder } end)

describe("an installed tree", function()
  it(
    "names the checkout nowhere, nor the prefix it was installed to #long",
    function()
      assert.are.equal(
        "",
        (shell("grep -rlF -e '%s' -e '%s/first' '%s'", host.root, folder, prefix))
      )
    end
  )

  it("goes below DESTDIR when that is set", function()
    succeed("DESTDIR='%s/stage' cmake --install '%s' --prefix /opt/p", folder, build)
    for _, file in ipairs {
      "bin/perilune",
      "share/man/man1/perilune.1",
      "share/doc/perilune/LICENSE",
      "share/doc/perilune/docs/examples/linear.c",
      "include/perilune/perilune.h",
      "share/perilune/luacats/perilune.lua",
    } do
      assert.are.equal("file", lfs.attributes(folder .. "/stage/opt/p/" .. file, "mode"), file)
    end
  end)

  it("holds every file of the library and of the recipes", function()
    for _, room in ipairs { "lua/perilune", "recipes" } do
      assert.are.equal(
        "",
        (shell("diff -r '%s/%s' '%s/share/perilune/%s'", host.root, room, prefix, room))
      )
    end
  end)

  it("has a shared library that exports what perilune.h declares and no more #long", function()
    local exported, declared = {}, {}
    for name in succeed("nm -D --defined-only '%s/libperilune.so'", lib):gmatch(" %u ([^\n]+)") do
      exported[name] = true
    end
    local header = assert(io.open("include/perilune.h")):read("a"):gsub("/%*.-%*/", "")
    for name in header:gmatch("[%s*](pl_[%w_]+)%(") do
      declared[name] = true
    end
    assert.are.same(declared, exported)
    assert.truthy(
      succeed("readelf -d '%s/libperilune.so'", lib):match("soname: %[libperilune%.so%.%d+%.%d+%]")
    )
  end)

  for _, example in ipairs { "linear", "ppo_loss" } do
    for kind, edit in pairs { shared = "", static = " | sed s/-lperilune/-l:libperilune.a/" } do
      it(("compiles and runs %s.c with the %s library #long"):format(example, kind), function()
        local text = succeed(
          [[cd '%s' && PKG_CONFIG_PATH='%s/pkgconfig' &&
          export PKG_CONFIG_PATH LD_LIBRARY_PATH='%s' &&
          eval cc -Wall -Wextra -Werror '%s/share/doc/perilune/docs/examples/%s.c' -o %s-%s \
            $(pkg-config --cflags --libs %s perilune%s) -lm &&
          ./%s-%s]],
          folder,
          lib,
          lib,
          prefix:gsub(" ", "\\ "),
          example,
          example,
          kind,
          kind == "static" and "--static" or "",
          edit,
          example,
          kind
        )
        assert.truthy(text:find(example == "linear" and "step 400" or "clipped: 40 %", 1, true))
      end)
    end
  end

  it("runs code, commands and recipes from any folder", function()
    local program = ("cd / && '%s/bin/perilune' "):format(prefix)
    assert.are.equal(
      "6.0",
      succeed(program .. "-e '%s'", [[print(require("perilune").tensor({ 1, 2, 3 }):sum():item())]])
    )
    assert.truthy(succeed(program .. "help"):find("perilune run RECIPE", 1, true))
    local text = assert(io.open(folder .. "/text.txt", "w"))
    text:write(("The moon goes round the earth.\n\n"):rep(40))
    text:close()
    succeed(
      program
        .. "run pretrain --text '%s/text.txt' --output_dir '%s/run' --hidden_size 16 "
        .. "--num_hidden_layers 1 --num_attention_heads 2 --intermediate_size 16 --max_steps 2 "
        .. "--quiet",
      folder,
      folder
    )
    assert.are.equal("file", lfs.attributes(folder .. "/run/summary.json", "mode"))
    assert.truthy(
      succeed(
        program .. "-e '%s'",
        [[require("perilune") print(require("quickstart.world").new(1))]]
      ):find("table", 1, true)
    )
  end)

  it("is a module of stock Lua #long", function()
    if not lfs.attributes("/usr/bin/lua5.4") then return pending("lua5.4 is not installed") end
    local library = prefix .. "/share/lua/5.4"
    assert.are.equal(
      "6.0",
      succeed(
        [[cd / && LUA_PATH='%s/?.lua;%s/?/init.lua;;' \
      LUA_CPATH='%s/lua/5.4/?.so;;' lua5.4 -e '%s']],
        library,
        library,
        lib,
        [[require("perilune") require("quickstart.world")
        print(require("perilune").tensor({ 1, 2, 3 }):sum():item())]]
      )
    )
  end)
end)

describe("a copied checkout #long", function()
  it("runs its own files, after the first one is gone too, and is built anew", function()
    local first, copy = folder .. "/checkout", folder .. "/copy"
    succeed(
      "mkdir '%s' && cd '%s' && tar -cf - --exclude=./build* --exclude=./.git "
        .. "--exclude=./runs . | tar -xf - -C '%s'",
      first,
      host.root,
      first
    )
    -- a build folder as the launcher leaves it, but with the program of this build
    succeed(
      "cd '%s' && cmake -S . -B build -DPL_TESTS=OFF && cp '%s' build/perilune",
      first,
      host.executable
    )
    succeed("cp -a '%s' '%s'", first, copy)
    local file = assert(io.open(copy .. "/recipes/pretrain.lua", "w"))
    file:write("print('the copy')")
    file:close()
    succeed("rm -r '%s'", first)
    assert.are.equal("the copy", succeed("cd / && '%s/build/perilune' run pretrain", copy))
    local text = succeed("'%s/perilune' run pretrain", copy)
    local said = ("made for %s: building anew for %s"):format(first, copy)
    assert.truthy(text:find(said, 1, true), text)
    assert.are.equal("the copy", text:match("[^\n]*$"))
  end)
end)
