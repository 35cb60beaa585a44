--- Wrong arguments at the public face: each function of it called with nothing, a number and an
-- empty table. An error names the function and what it wants; none is Lua's "attempt to ..." with a
-- place in our sources, none has a traceback.

local lfs = require("lfs")

local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local host = require("perilune.host")
local public = require("perilune.reference.public")

-- What these do with a number is what they are for, and this process needs it as it is.
local set_something = { threads = true, mem_limit = true, mem_fail_at = true }

-- Calls each(name, function) for the functions of the face.
local function each_function(each)
  for _, module in ipairs(public.read().modules) do
    local at = pl
    for part in module.name:gmatch("[%w_]+") do
      if part ~= "pl" then at = at[part] end
    end
    for _, member in ipairs(module.members) do
      local f = type(at) == "table" and at[member.name]
      if type(f) == "function" and not set_something[member.name] then
        each(module.name .. "." .. member.name, f)
      end
    end
  end
end

-- What the program would print of an error.
local function printed(f, ...)
  local ok, message = host.call(f, ...)
  return not ok and tostring(message) or nil
end

describe("a wrong argument", function()
  -- A few take 7 for a path and make it.
  local here, folder = lfs.currentdir(), scratch.folder()
  setup(function() assert(lfs.chdir(folder)) end)
  teardown(function()
    assert(lfs.chdir(here))
    scratch.remove(folder)
  end)

  it("is told in a sentence by every public function", function()
    local functions, refusals, faults = 0, 0, {}
    each_function(function(name, f)
      functions = functions + 1
      for _, wrong in ipairs { { "nothing", n = 1 }, { "a number", 7 }, { "a table", {} } } do
        local step <close> = pl.scope("misuse") -- luacheck: ignore
        local message = printed(f, wrong[2])
        refusals = refusals + (message and 1 or 0)
        if message and (message:find("attempt to ", 1, true) or message:find("traceback")) then
          faults[#faults + 1] = ("%s of %s: %s"):format(name, wrong[1], message:match("[^\n]*"))
        end
      end
    end)
    assert.are.same({}, faults)
    assert.is_true(functions > 250 and refusals > 400)
  end)

  it("is named with the function, the parameter, what it should be and what it is", function()
    assert.are.equal(
      "pl.model.new: 'config' must be a table (as in config.json), got 7",
      printed(pl.model.new, 7)
    )
    assert.are.equal("pl.generate: 'model' must be a Model, got nil", printed(pl.generate, nil))
    assert.are.equal(
      "pl.run.open: 'cfg' must be a Config, got an empty table",
      printed(pl.run.open, {})
    )
    assert.are.equal("pl.chat.render: 'tok' must be a Tokenizer, got 1", printed(pl.chat.render, 1))
    assert.matches("^pl.batch.join: 'prompts' must be a Ragged", printed(pl.batch.join))
  end)

  it("is an option that a function of models or losses does not have", function()
    local config = { model_type = "gpt2", vocab_size = 4, n_embd = 4, n_layer = 1, n_head = 1 }
    config.n_positions = 4
    local model = pl.model.new(config, { seed = 1 })
    local lists, packed = { { 1, 2 } }, pl.batch.pack { { 1, 2 } }
    local at = pl.batch.targets { { 1, 2 } }
    for name, call in pairs {
      ["model.new"] = function(opts) return pl.model.new(config, opts) end,
      ["model.load"] = function(opts) return pl.load("nowhere", opts) end,
      ["model:copy"] = function(opts) return model:copy(opts) end,
      ["model:hidden"] = function(opts) return model:hidden(packed, opts) end,
      ["loss.lm"] = function(opts) return pl.loss.lm(model, lists, nil, opts) end,
      ["loss.accumulate"] = function(opts) return pl.loss.accumulate(model, lists, nil, opts) end,
      ["loss.logprobs"] = function(opts) return pl.loss.logprobs(model, packed, at, opts) end,
      ["loss.evaluate"] = function(opts) return pl.loss.evaluate(model, lists, nil, opts) end,
    } do
      local step <close> = pl.scope("misuse") -- luacheck: ignore
      call {}
      local message = printed(call, { chekpoint = true })
      assert.is_truthy(message, name)
      assert.matches(name .. " has no option 'chekpoint'", message, 1, true)
    end
  end)

  it("is a loss over no tokens: their mean is not 0", function()
    local config = { model_type = "gpt2", vocab_size = 4, n_embd = 4, n_layer = 1, n_head = 1 }
    config.n_positions = 4
    local model = pl.model.new(config, { seed = 1 })
    for _, nothing in ipairs { { { { 1, 2 } }, { { 0, 0 } } }, { { { 1 } } } } do
      local message = printed(pl.loss.lm, model, table.unpack(nothing))
      assert.is_truthy(message)
      assert.matches("loss.lm: no token is trained", message, 1, true)
    end
  end)

  it("is told to who called pcall as the prompt tells it", function()
    local function caught(...) return select(2, pcall(...)) end
    for _, wrong in ipairs {
      { pl.model.new, 7 },
      { pl.generate, nil },
      { pl.chat.render, 1 },
      { pl.batch.join },
      { pl.matmul, pl.zeros { 2, 3 }, pl.zeros { 2, 3 } },
      { pl.config.run_recipe, 3 },
    } do
      local text = caught(table.unpack(wrong, 1, 3))
      assert.are.equal(printed(table.unpack(wrong, 1, 3)), text)
      assert.is_nil(text:find("attempt to", 1, true), text)
    end
    assert.are.equal(
      "pl.generate: 'model' must be a Model, got nil",
      caught(function() -- luacheck: ignore
        return pl.generate(nil)
      end)
    )
    local inner -- what fails inside a function of ours is not put on its caller
    local ok, outer = pcall(
      pl.stages.new,
      setmetatable({}, {
        __index = function()
          inner = caught(pl.generate, nil)
          return nil
        end,
      })
    )
    assert.is_false(ok)
    assert.are.equal("pl.generate: 'model' must be a Model, got nil", inner)
    assert.is_string(outer)
    local object = {}
    assert.are.equal(object, caught(error, object))
    assert.are.equal("as it was", caught(error, "as it was"))
    assert.matches(
      "^[^\n]*misuse_spec.lua:%d+: attempt to perform arithmetic on a nil value",
      caught(function() return pl.stats.mean { 1 } + nil end)
    )
    assert.matches("attempt to add a 'number' with a 'string'", caught(pl.stats.mean, { 1, "x" }))
    assert.are.same({ true, 1, nil, 3 }, { pcall(function() return 1, nil, 3 end) })
    assert.are.equal(0, select("#", select(2, pcall(function() end))))
    local co = coroutine.wrap(function()
      return pcall(function() return coroutine.yield(5) end)
    end)
    assert.are.equal(5, co())
    assert.are.same({ true, 6 }, { co(6) })
  end)

  it("is not made of a fault of the caller's own, nor of one of ours", function()
    local message = printed(function() return pl.stats.mean { 1 } + nil end)
    assert.matches("attempt to perform arithmetic on a nil value", message, 1, true)
    assert.matches("stack traceback", message, 1, true)
    message = printed(pl.stats.mean, { 1, "x" })
    assert.matches("attempt to add a 'number' with a 'string'", message, 1, true)
    local own =
      printed(pl.json.encode, setmetatable({}, { __index = function() return nil + 1 end }))
    assert.is_true(own == nil or own:find("arithmetic", 1, true) ~= nil)
  end)
end)

describe("a fault of ours", function()
  it("is not put on an option that nobody gave, though the function made a table of it", function()
    local model = pl.model.new({
      model_type = "gpt2",
      vocab_size = 4,
      n_embd = 4,
      n_layer = 1,
      n_head = 1,
      n_positions = 4,
    }, { seed = 1 })
    model.spec = nil
    local message = printed(model.save, model, "never-written")
    assert.is_truthy(message)
    assert.is_nil(message:find("'opts' must be", 1, true), message)
    for name in lfs.dir(".") do
      assert.is_nil(name:match("^never%-written"), name)
    end
  end)
end)

describe("the public face", function()
  it("has no table of the engine's that is described nowhere", function()
    for name, value in pairs(require("perilune.core")) do
      if type(value) == "table" and not getmetatable(pl).__names[name] and name ~= "system" then
        assert(rawget(pl, name) ~= value, ("pl.%s is the engine's"):format(name))
      end
    end
  end)
end)
