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
    add({ { 4 } })
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

  it("makes a set once, and another for another identity", function()
    local made = 0
    local function count(add)
      made = made + 1
      add({ { made } })
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
        add({ { 1 } })
        error("row 2 is bad", 0)
      end)
    end, "row 2 is bad")
    local made = token_cache.open({ "broken" }, function(add) add({ { 5 } }) end)
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
    local path = folder .. "/tokens-" .. set.key .. "/tokens.bin"
    local file = assert(io.open(path, "wb"))
    file:write("half")
    file:close()
    assert.are.same({ { 1, 2, 3 } }, token_cache.open({ "cut" }, three):tokens(1).sequences)
  end)
end)
