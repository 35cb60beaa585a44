--- The house rules that can be read off the sources: which room may know which.
--
--   recipes -> lua/perilune -> lua/bind -> include/perilune.h -> engine/*
-- and inside the engine each floor only those below it. A new arrow fails here, by file and line.

local lfs = require("lfs")

-- Floors of the engine: a folder may include its own files and those of lower floors. Rooms of one
-- floor are apart from each other.
local floor = { base = 0, tensor = 1, kernels = 1, ops = 2, graph = 3, train = 4, io = 4, text = 4,
  gen = 4, store = 4, context = 5 }

local function files_below(folder, ending, list)
  list = list or {}
  for name in lfs.dir(folder) do
    local path = folder .. "/" .. name
    if name:sub(1, 1) ~= "." then
      if lfs.attributes(path, "mode") == "directory" then
        files_below(path, ending, list)
      elseif name:match(ending) then
        list[#list + 1] = path
      end
    end
  end
  table.sort(list)
  return list
end

local function lines_of(path)
  local number = 0
  local next_line = io.lines(path)
  return function()
    number = number + 1
    local line = next_line()
    if line then
      return number, line
    end
  end
end

-- "file:line: what" for an include that the floors forbid.
local function engine_faults(path, lines)
  local own, faults = path:match("^engine/(%w+)/"), {}
  for number, line in lines do
    local include = line:match('^%s*#%s*include%s+"([^"]+)"')
    local room = include and include:match("^(%w+)/")
    if include and include:match("^l[ua]%w*%.h$") or line:match("#%s*include%s+<l[ua]%w*%.h>") then
      faults[#faults + 1] = ("%s:%d: the engine knows no Lua"):format(path, number)
    elseif room and floor[room] and room ~= own and floor[room] >= floor[own] then
      faults[#faults + 1] = ("%s:%d: %s may not include %s"):format(path, number, own, include)
    end
  end
  return faults
end

describe("the architecture", function()
  it("has no arrow up inside the engine, and no Lua there", function()
    for _, path in ipairs(files_below("engine", "%.[ch]$")) do
      assert.are.same({}, engine_faults(path, lines_of(path)))
    end
  end)

  it("would show an arrow that goes up", function()
    local function one(text)
      return coroutine.wrap(function()
        coroutine.yield(1, text)
      end)
    end
    assert.are.equal(1, #engine_faults("engine/base/mem.c", one('#include "ops/op.h"')))
    assert.are.equal(1, #engine_faults("engine/io/file.c", one('#include "text/text.h"')))
    assert.are.equal(1, #engine_faults("engine/ops/move.c", one("#include <lua.h>")))
    assert.are.equal(0, #engine_faults("engine/ops/move.c", one('#include "tensor/tensor.h"')))
  end)

  it("lets bindings see the engine through perilune.h alone", function()
    for _, path in ipairs(files_below("lua", "%.[ch]$")) do
      for number, line in lines_of(path) do
        local include = line:match('#%s*include%s+"([^"]+)"')
        local inside = include and floor[include:match("^(%w+)/") or ""]
        assert.is_nil(inside, ("%s:%d: %s"):format(path, number, line))
      end
    end
  end)

  it("lets recipes require the library, and the library no recipe", function()
    for _, path in ipairs(files_below("recipes", "%.lua$")) do
      for number, line in lines_of(path) do
        local module = line:match("require%s*%(?%s*[\"']([^\"']+)")
        assert.is_falsy(module and module:match("^perilune%.core"), ("%s:%d"):format(path, number))
      end
    end
    for _, path in ipairs(files_below("lua/perilune", "%.lua$")) do
      for number, line in lines_of(path) do
        assert.is_nil(line:match("require%s*%(?%s*[\"']recipes"), ("%s:%d"):format(path, number))
      end
    end
  end)

  it("has one door to malloc", function()
    for _, path in ipairs(files_below("engine", "%.[ch]$")) do
      if path ~= "engine/base/mem.c" then
        for number, line in lines_of(path) do
          local called = line:match("[^%w_](malloc)%s*%(") or line:match("[^%w_](calloc)%s*%(")
            or line:match("[^%w_](realloc)%s*%(")
          assert.is_nil(called, ("%s:%d: %s"):format(path, number, line))
        end
      end
    end
  end)

  it("neither exits nor prints in the engine", function()
    for _, path in ipairs(files_below("engine", "%.c$")) do
      for number, line in lines_of(path) do
        local called = line:match("[^%w_](exit)%s*%(") or line:match("[^%w_](abort)%s*%(")
          or line:match("[^%w_](printf)%s*%(")
        assert.is_nil(called, ("%s:%d: %s"):format(path, number, line))
      end
    end
  end)
end)
