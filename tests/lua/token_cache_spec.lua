--- Tokenised data sets on disk: equal to what was put in, made once, never out of date, never half.

local lfs = require("lfs")
local scratch = dofile("tests/lua/support/scratch.lua")
local files = require("perilune.base.files")
local token_cache = require("perilune.data.token_cache")

local folder = scratch.path()

local real_folder = token_cache.folder

local function long_list(n)
  local list = {}
  for i = 1, n do
    list[i] = (i * 7919) % 151669
  end
  return list
end

describe("token_cache", function()
  setup(function()
    assert(files.folder_make(folder))
    token_cache.folder = function() return folder end
  end)
  teardown(function()
    token_cache.folder = real_folder
    scratch.clean()
  end)

  local function three(add)
    add({ { 1, 2, 3 } }, { { 0, 1, 1 } }, { row = { prompt = "é" } })
    add({ long_list(5000), {}, { 151668 } }, { {}, {}, { 1 } }, { row = { ranks = { 1, 2, 2 } } })
    add { { 4 } }
    return { trained = 3 }
  end

  for _, kind in ipairs { "disk", "memory" } do
    it("gives back what was added, from " .. kind, function()
      local set = kind == "disk" and token_cache.open({ "a", "b" }, three)
        or token_cache.memory(three)
      assert.are.equal(3, #set)
      assert.are.equal(3, set.totals.trained)
      assert.are.same({ { 1, 2, 3 } }, set:tokens(1).sequences)
      assert.are.same({ { 0, 1, 1 } }, set:tokens(1).masks)
      assert.are.equal("é", set:info(1).row.prompt)
      assert.are.same({ long_list(5000), {}, { 151668 } }, set:tokens(2).sequences)
      assert.are.same({ 1, 2, 2 }, set:info(2).row.ranks)
      assert.are.same({ { 4 } }, set:tokens(3).sequences)
      assert.are.same({ { 1 } }, set:tokens(3).masks)
      assert.are.same({ 3 }, set:lengths(1))
      assert.are.same({ 5000, 0, 1 }, set:lengths(2))
      assert.are.same({ 1 }, set:lengths(3))
      assert.is_nil(set:tokens(4))
      assert.is_nil(set:tokens(0))
    end)
  end

  it("says where it cannot be kept, and what to do, when the disk is full", function()
    for k = 1, 400 do
      files.io_fail_at(k, "ENOSPC", true)
      local ok, message = pcall(token_cache.open, { "full" }, three)
      files.io_fail_at(0)
      if ok then return assert.is_true(k > 8) end
      local wanted = "^tokenised data cannot be kept in " .. folder:gsub("%p", "%%%0") .. " %(%l"
      assert.matches(wanted, message)
      assert.matches("set PERILUNE_CACHE to a folder that can be written$", message)
    end
    error("it never was kept")
  end)

  it("makes a set once, and another for another identity", function()
    local made = 0
    local function count(add)
      made = made + 1
      add { { made } }
    end
    assert.are.same({ { 1 } }, token_cache.open({ "once" }, count):tokens(1).sequences)
    assert.are.same({ { 1 } }, token_cache.open({ "once" }, count):tokens(1).sequences)
    assert.are.same({ { 2 } }, token_cache.open({ "twice" }, count):tokens(1).sequences)
    assert.are.same({ { 3 } }, token_cache.open({ "on", "ce" }, count):tokens(1).sequences)
    assert.are.equal(3, made)
  end)

  it("leaves nothing of a set that could not be made", function()
    assert.has_error(function()
      token_cache.open({ "broken" }, function(add)
        add { { 1 } }
        error("row 2 is bad", 0)
      end)
    end, "row 2 is bad")
    local made = token_cache.open({ "broken" }, function(add) add { { 5 } } end)
    assert.are.same({ { 5 } }, made:tokens(1).sequences)
    for name in lfs.dir(folder) do
      assert.is_nil(name:match("tmp"), name)
    end
  end)

  it("knows lengths without a look at tokens or rows", function()
    local set = token_cache.open({ "lengths" }, three)
    local tokens, rows = set.files[1], set.files[4]
    tokens:close()
    rows:close()
    assert.are.same({ 5000, 0, 1 }, set:lengths(2))
    assert.has_error(function() set:tokens(2) end)
  end)

  it("makes a set anew whose files were cut", function()
    local set = token_cache.open({ "cut" }, three)
    local path = set.path .. "/tokens.bin"
    local file = assert(io.open(path, "wb"))
    file:write("half")
    file:close()
    assert.are.same({ { 1, 2, 3 } }, token_cache.open({ "cut" }, three):tokens(1).sequences)
  end)

  it("makes a set anew of which a byte was changed", function()
    local set = token_cache.open({ "flipped" }, three)
    local path = set.path .. "/tokens.bin"
    local bytes = scratch.read(path)
    scratch.write(path, bytes:sub(1, 4) .. string.char(bytes:byte(5) ~ 2) .. bytes:sub(6))
    assert.are.same({ { 1, 2, 3 } }, token_cache.open({ "flipped" }, three):tokens(1).sequences)
  end)

  it("has a key of its content, whatever it was made of", function()
    local one, same = token_cache.open({ "one" }, three), token_cache.open({ "same" }, three)
    assert.are_not.equal(one.path, same.path)
    assert.are.equal(one.key, same.key)
    local other = token_cache.open(
      { "other" },
      function(add) add({ { 1, 2, 3 } }, { { 0, 1, 0 } }) end
    )
    assert.are_not.equal(one.key, other.key)
  end)

  it("takes the set that another program made meanwhile", function()
    local inner
    local outer = token_cache.open({ "meanwhile" }, function(add)
      inner = token_cache.open({ "meanwhile" }, three)
      three(add)
    end)
    assert.are.equal(inner.path, outer.path)
    assert.are.same(inner:tokens(2), outer:tokens(2))
    for name in lfs.dir(folder) do
      assert.is_nil(name:match("tmp"), name)
    end
  end)

  it("is made by three programs at once, and all of them have it", function()
    local program = lfs.symlinkattributes("/proc/self/exe", "target")
    local cold, children = scratch.folder(), {}
    local script = scratch.write(
      cold .. "/child.lua",
      [[
      local token_cache = require("perilune.data.token_cache")
      local list = {}
      for i = 1, 20000 do
        list[i] = i
      end
      for round = 1, 20 do
        local set = token_cache.open({ "round", tostring(round) }, function(add)
          add({ list })
          add({ { round } })
        end)
        assert(set:tokens(2).sequences[1][1] == round and #set == 2)
      end
      print("had all")
    ]]
    )
    for i = 1, 3 do
      children[i] =
        assert(io.popen(("PERILUNE_CACHE=%s/cache %s %s 2>&1"):format(cold, program, script)))
    end
    for i = 1, 3 do
      assert.are.equal("had all\n", children[i]:read("a"))
      assert.is_true(children[i]:close())
    end
  end)
end)
