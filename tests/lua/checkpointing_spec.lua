--- `gradient_checkpointing`: blocks computed again in the backward pass give the same model, bit
-- for bit, whatever is trained.

local core = require("perilune.core")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local world = dofile("tests/lua/support/world.lua")

local function settings_of(w, recipe)
  if recipe == "pretrain" then
    return { model = w.model, text = w.text, context = 16, batch_size = 4, quiet = true }
  end
  local settings = world.settings(w, recipe)
  settings.save_steps, settings.max_steps = nil, 2
  return settings
end

describe("gradient_checkpointing", function()
  local folder

  setup(function() folder = scratch.folder() end)

  teardown(function()
    scratch.remove(folder)
    world.clean()
  end)

  -- What a run of two steps makes, and how often blocks were left to be computed again.
  local function outcome(w, recipe, more)
    local settings, count, checkpoint = settings_of(w, recipe), 0, core.checkpoint
    for key, value in pairs(more) do
      settings[key] = value
    end
    settings.output_dir, settings.overwrite_output_dir = folder .. "/run", true
    core.checkpoint = function(...) -- luacheck: ignore 122
      count = count + 1
      return checkpoint(...)
    end
    local ok, message = pcall(pl.config.run_recipe, recipe, settings)
    core.checkpoint = checkpoint -- luacheck: ignore 122
    assert(ok, message)
    return pl.json.decode(scratch.read(folder .. "/run/summary.json")).weights_hash, count
  end

  local function check(w, recipe, more)
    local plain, none = outcome(w, recipe, more)
    more.gradient_checkpointing = true
    local again, blocks = outcome(w, recipe, more)
    assert.are.equal(plain, again)
    assert.are.equal(0, none)
    assert.is_true(blocks >= 4) -- two steps of two blocks
  end

  for _, recipe in ipairs { "pretrain", "sft", "reward", "ppo", "grpo" } do
    it("changes no bit of " .. recipe, function()
      check(world.new("gpt2"), recipe, {})
      if recipe == "pretrain" then return end
      local adapters = { peft_r = 4, peft_use_dora = true, peft_dropout = 0.2 }
      if recipe == "ppo" or recipe == "grpo" then adapters.peft_dropout = nil end
      check(world.new("llama"), recipe, adapters)
    end)
  end

  -- Lua's collector sees some bytes of a tensor, so it comes late for its megabytes.
  it("leaves no activation and no gradient to the collector", function()
    local x = pl.zeros({ 1024, 256 }):requires_grad(true)
    local function go_through(run)
      local scope <close> = pl.scope("test")
      run(function(h) return h * 2 end, x):sum():backward()
    end
    go_through(function(fn, h) return fn(h) end) -- x has a gradient from here on
    collectgarbage()
    collectgarbage("stop")
    local before = core.mem().live
    go_through(core.checkpoint)
    local left = core.mem().live - before
    collectgarbage("restart")
    assert.are.equal(4, x:grad():get(1, 1))
    assert.is_true(left < 1 << 20, left .. " bytes") -- an activation of them has 1 MiB
  end)
end)
