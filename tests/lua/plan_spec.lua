--- `perilune plan`: memory and time of a run before it is begun, against the run itself.

local core = require("perilune.core")
local host = require("perilune.host")
local append = require("perilune.base.list").append
local json = require("perilune.base.json")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local world = dofile("tests/lua/support/world.lua")

local folder

setup(function() folder = scratch.folder() end)
teardown(function() scratch.remove(folder) end)

--- Runs the program: exit status, output, errors.
local function run(...)
  local how, code = core.system.spawn(
    { host.executable, ... },
    { stdin = "/dev/null", stdout = folder .. "/out", stderr = folder .. "/err" }
  )
  return how == "exit" and code or how,
    scratch.read(folder .. "/out"),
    scratch.read(folder .. "/err")
end

describe("perilune plan", function()
  local w = world.new("llama")
  local sft = { "sft", "--model", w.model, "--dataset", w.demos, "--batch_size", "8" }

  it("tells memory by part, the time of a step and of all", function()
    local status, out, err = run("plan", table.unpack(sft))
    assert.are.equal(0, status, err)
    for _, part in ipairs {
      "weights, gradients and moments +%d",
      "activations and caches +%d",
      "freed, waiting for use +%d",
      "program and data +%d",
      "memory at the peak +%d",
      "a step +%d",
      "%d+ steps +%d",
    } do
      assert.matches(part, out)
    end
  end)

  it("refuses what does not fit, and tries what would", function()
    local words = table.move(sft, 1, #sft, 1, {})
    for _, word in ipairs { "--memory", "5MB" } do
      words[#words + 1] = word
    end
    local status, out, err = run("plan", table.unpack(words))
    assert.are.equal(1, status)
    assert.matches("memory to hold it +4.77 MiB", out)
    assert.matches("no single setting makes it: take a smaller model", err)
  end)

  it("says what is wrong with a recipe or a setting, without a traceback", function()
    local status, _, err = run("plan")
    assert.are.equal(1, status)
    assert.matches("which recipe", err)
    for _, try in ipairs {
      { "memory wants a size", "sft", "--memory", "much" },
      { "memory wants a size", "sft", "--memory" },
      { "learing_rate", "sft", "--model", w.model, "--learing_rate", "1" },
      { "several stages", "quickstart" },
      { "there is no recipe", "nosuch" },
    } do
      local words = table.move(try, 2, #try, 1, {})
      status, _, err = run("plan", table.unpack(words))
      assert.are.equal(1, status, err)
      assert.matches(try[1], err)
      assert.is_nil(err:find("traceback", 1, true), err)
    end
  end)

  -- A model of some size, so that the program itself is small beside it.
  it("comes within 12 % of the peak of five runs of a toy #long", function()
    local text = {}
    for i = 1, 400 do
      text[i] = ("%d birds and %d boats went to the sea on day %d of the year. "):format(
        i,
        3 * i,
        i
      )
    end
    local tok = pl.tokenizer.train {
      texts = text,
      vocab_size = 2000,
      special = pl.chat.control_names(pl.chat.plain),
      eos = "<|end|>",
    }
    local model = pl.model.new({
      model_type = "llama",
      tie_word_embeddings = true,
      hidden_size = 256,
      num_hidden_layers = 12,
      num_attention_heads = 4,
      num_key_value_heads = 2,
      intermediate_size = 768,
      vocab_size = #tok,
      max_position_embeddings = 512,
    }, { seed = 1 })
    local path, data = folder .. "/deep", folder .. "/rows.jsonl"
    assert(model:save(path, { tokenizer = tok }))
    local lines = {}
    for i = 1, 200 do
      local answer = table.concat(text, "", i, i + 4)
      lines[i] = json.encode { prompt = "Tell me of day " .. i, completion = answer }
    end
    scratch.write(data, table.concat(lines, "\n") .. "\n")
    local common = { "--model", path, "--dataset", data }
    local ppo = { "ppo", "--reward_function", w.reward, "--num_mini_batches", "2" }
    for _, settings in ipairs {
      { "sft", "--batch_size", "4" },
      { "sft", "--batch_size", "32" },
      { "sft", "--batch_size", "32", "--micro_batch_tokens", "1024" },
      append(table.move(ppo, 1, #ppo, 1, {}), { "--batch_size", "16" }),
      append(ppo, { "--batch_size", "32", "--response_length", "128", "--ema_decay", "0" }),
    } do
      local words = table.move(settings, 1, #settings, 1, {})
      table.move(common, 1, #common, #words + 1, words)
      words[#words + 1] = "--max_steps=3"
      local status, out, err = run("plan", table.unpack(words))
      assert.are.equal(0, status, err)
      local number, unit = out:match("memory at the peak +([%d.]+) (%a+)")
      local planned = tonumber(number) * (unit == "GiB" and 1 << 30 or 1 << 20)
      local place = folder .. "/real"
      words[#words + 1] = "--output_dir=" .. place
      for _, word in ipairs { "--quiet", "--overwrite_output_dir" } do
        words[#words + 1] = word
      end
      assert.are.equal(0, (run("run", table.unpack(words))))
      local measured = json.decode(scratch.read(place .. "/summary.json")).memory.peak
      local text_of = ("%s: planned %.0f MB, measured %.0f MB"):format(
        table.concat(settings, " "),
        planned / 1e6,
        measured / 1e6
      )
      io.stderr:write("# ", text_of, "\n")
      assert.is_true(math.abs(planned / measured - 1) < 0.12, text_of)
    end
  end)
end)
