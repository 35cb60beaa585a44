--- Adapters on frozen weights: the peft package's figures, one base for all roles, folders in and
-- out, and what is refused.

local pl = require("perilune")
local adapted = dofile("tests/lua/support/adapted.lua")
local toy = dofile("tests/lua/support/toy.lua")
local scratch = adapted.scratch

local batch, loss, system = pl.batch, pl.loss, require("perilune.core").system

after_each(function() scratch.clean() end)

-- ---- goldens ------------------------------------------------------------------------------------

local goldens = {
  { "llama_lora", "llama_untied", 28 },
  { "llama_rslora", "llama_tied", 8 },
  { "llama_dora", "llama_untied", 18 },
  { "llama_score", "llama_untied", 5 },
  { "gpt2_lora", "gpt2", 8 },
  { "gpt2_dora", "gpt2", 6 },
}

for _, golden in ipairs(goldens) do
  local name, base, count = table.unpack(golden)
  for dtype, bound in pairs { float32 = 1e-5, float64 = 2e-6 } do
    it(("peft's %s has the same figures and gradients in %s"):format(name, dtype), function()
      local path, tensors = adapted.base(base)
      local folder = "tests/golden/peft/" .. name
      local model = assert(pl.load(folder, { base = path, dtype = dtype }))
      local want = assert(pl.files.safetensors.load(folder .. "/expected.safetensors"))
      local sequences, masks = adapted.sequences(tensors)
      local packed = batch.pack(sequences)
      local merged = pl.model.merge(model)
      model.block:zero_grad()
      if want.logits then
        assert.is_true(toy.max_error(model:logits(packed), want.logits) <= bound)
        assert.is_true(toy.max_error(merged:logits(packed), want.logits) <= bound)
        loss.lm(model, sequences, masks):backward()
      else
        local rows = batch.last_rows(packed)
        local scores, expected = pl.gather(model:scores(packed), rows), want.scores:reshape(-1)
        assert.is_true(toy.max_error(scores, expected) <= bound)
        assert.is_true(toy.max_error(pl.gather(merged:scores(packed), rows), expected) <= bound)
        local weights = pl.tensor({ 1, 2, 3, 4 }, dtype);
        (scores * weights):sum():backward()
      end
      local held = model.block:tensors()
      local names = model.block:names()
      assert.are.equal(count, #names)
      for _, parameter in ipairs(names) do
        local expected = assert(want["g.base_model.model." .. parameter], parameter)
        local err = toy.relative_error(held[parameter]:grad(), expected)
        assert.is_true(err <= bound, ("%s: %.3g"):format(parameter, err))
      end
    end)
  end
end

-- ---- the function -------------------------------------------------------------------------------

local kinds = {
  LoRA = { r = 3, alpha = 6 },
  rsLoRA = { r = 5, alpha = 2, use_rslora = true },
  DoRA = { r = 2, alpha = 4, use_dora = true },
  ["LoRA of a rank above the matrix"] = { r = 70, alpha = 70 },
}

toy.each(function(name)
  for kind, settings in pairs(kinds) do
    describe(("%s on %s"):format(kind, name), function()
      local list = toy.sequences { 9, 1, 5 }

      it("begins as the base, bit for bit, and draws from a stream for each parameter", function()
        local path = adapted.folder(name)
        local plain = assert(pl.load(path))
        local model = assert(pl.load(path, { peft = settings, seed = 4 }))
        local packed = batch.pack(list)
        local want, got = plain:logits(packed), model:logits(packed)
        if settings.use_dora and name == "gpt2" then -- the bias is added behind the factor
          assert.is_true(toy.max_error(got, want) <= 2e-6 * want:abs():max():item())
        else
          assert.are.equal(want:bytes(), got:bytes())
        end
        local fewer = assert(pl.load(path, {
          peft = { r = settings.r, targets = { name == "gpt2" and "c_fc" or "up_proj" } },
          seed = 4,
        }))
        local a = fewer.block:names()[1]
        assert.are.equal(model.block:tensors()[a]:bytes(), fewer.block:tensors()[a]:bytes())
        local bound = 1 / math.sqrt(fewer.block:tensors()[a]:size(2))
        local most = fewer.block:tensors()[a]:abs():max():item()
        assert.is_true(most <= bound and most > 0.8 * bound)
      end)

      it("samples with the log-probs that training gives", function()
        local model = assert(pl.load(adapted.folder(name), { peft = settings }))
        local guard <close> = pl.no_grad() -- luacheck: ignore
        for round = 1, 2 do -- the second with the recorded step of the first, and other weights
          adapted.stir(model, round)
          local answers = pl.generate(model, list, { max_tokens = 12, seed = round })
          local roll = pl.rollout.new(list, answers)
          assert.are.equal(
            answers.logprobs:bytes(),
            loss.sequence_logprobs(model, roll.parts):bytes()
          )
        end
      end)

      it("is the same function merged, and nothing but the block is trained", function()
        local model = adapted.stir(assert(pl.load(adapted.folder(name), { peft = settings })))
        local packed = batch.pack(list)
        local merged = pl.model.merge(model)
        assert.is_nil(merged.base)
        local want = model:logits(packed)
        local err = toy.max_error(merged:logits(packed), want) / want:abs():max():item()
        assert.is_true(err <= 1e-5, err)
        model.block:zero_grad()
        loss.lm(model, list):backward()
        assert.are.same({}, model.block:unreached())
        for _, weight in pairs(model.base.weights) do
          assert.is_nil(weight:grad())
        end
      end)

      it("reads back what it wrote, bit for bit", function()
        local path = adapted.folder(name)
        local model = adapted.stir(assert(pl.load(path, { peft = settings })))
        local dir = scratch.path()
        assert(model:save(dir))
        local again = assert(pl.load(dir))
        assert.are.equal(model:hash(), again:hash())
        local packed = batch.pack(list)
        assert.are.equal(model:logits(packed):bytes(), again:logits(packed):bytes())
        local other = assert(pl.load(path, { peft = settings, seed = 9 }))
        assert.are_not.equal(model:hash(), other:hash())
        assert(other:read(dir))
        assert.are.equal(model:hash(), other:hash())
      end)
    end)
  end
end)

describe("adapters of all projections of a family", function()
  local families = dofile("tests/lua/support/families.lua")

  for _, name in ipairs(families.names()) do
    it("are one function sampled, scored and merged: " .. name, function()
      local case, config, path = families.read(name), {}, scratch.path()
      for key, value in pairs(case.config4) do
        config[key] = value
      end
      assert(families.model(config):save(path))
      local settings = { r = 2, alpha = 3, use_dora = #name % 2 == 0 }
      local model = adapted.stir(assert(pl.load(path, { peft = settings })))
      local guard <close> = pl.no_grad() -- luacheck: ignore
      local list = families.sequences(config.vocab_size)
      local prompts = { list[1], list[2] }
      local answers = pl.generate(model, prompts, { max_tokens = 6, seed = 3 })
      local roll = pl.rollout.new(prompts, answers)
      assert.are.equal(answers.logprobs:bytes(), loss.sequence_logprobs(model, roll.parts):bytes())
      local packed = batch.pack(list)
      local want = model:logits(packed)
      local err = toy.max_error(pl.model.merge(model):logits(packed), want)
      assert.is_true(err <= 1e-5 * math.max(1, want:abs():max():item()), err)
    end)
  end
end)

describe("dropout of adapters", function()
  it("is drawn by the named stream, in training alone", function()
    local path = adapted.folder("llama")
    local list = toy.sequences { 9, 5 }
    for _, use_dora in ipairs { false, true } do
      local model = adapted.stir(
        assert(pl.load(path, { peft = { r = 4, dropout = 0.5, use_dora = use_dora } }))
      )
      local packed = batch.pack(list)
      local function hidden(dropout) return model:hidden(packed, { dropout = dropout }):bytes() end
      local still = hidden(nil)
      assert.are.equal(still, hidden(nil))
      local once = hidden { p = 0, seed = 1, index = 7 }
      assert.are_not.equal(still, once)
      assert.are.equal(once, hidden { p = 0, seed = 1, index = 7 })
      assert.are_not.equal(once, hidden { p = 0, seed = 1, index = 8 })
      assert.are_not.equal(once, hidden { p = 0, seed = 2, index = 7 })
    end
    local without = adapted.stir(assert(pl.load(path, { peft = { r = 4 } })))
    local packed = batch.pack(list)
    assert.are.equal(
      without:hidden(packed):bytes(),
      without:hidden(packed, { dropout = { p = 0, seed = 1, index = 7 } }):bytes()
    )
  end)

  it("leaves the mean of what adapters give as it is", function()
    local model = adapted.stir(
      assert(
        pl.load(adapted.folder("llama"), { peft = { r = 4, dropout = 0.3, targets = "o_proj" } })
      )
    )
    local guard <close> = pl.no_grad() -- luacheck: ignore
    local record = model.layers[1].o
    local x = pl.randn({ 1, 36 }, { seed = 1 })
    local want, mean = record.adapter:project(record, x), pl.zeros { 1, 36 }
    for i = 1, 1000 do
      local scope <close> = pl.scope("t") -- luacheck: ignore
      local y = record.adapter:project(record, x, { dropout = { p = 0, seed = 1, index = i } })
      mean:copy_(mean + y / 1000)
    end
    local delta = (want - pl.linear(x, record.weight)):abs():max():item()
    assert.is_true(toy.max_error(mean, want) <= 0.1 * delta)
  end)
end)

-- ---- one base -----------------------------------------------------------------------------------

describe("a frozen base", function()
  it("is held once for policy, reference, reward and value", function()
    local path = adapted.folder("llama")
    local policy = assert(pl.load(path, { peft = { r = 2 } }))
    local live = pl.mem().live
    local reference = assert(pl.load(path .. "/", policy:beside())):freeze()
    local reward = assert(pl.load(path, { frozen = true, scalar_head = true }))
    local value = reward:copy { peft = policy.peft, seed = 2 }
    local ema = policy:copy():freeze()
    for _, model in ipairs { reference, reward, value, ema } do
      assert.are.equal(policy.base, model.base)
    end
    for name, weight in pairs(policy.base.weights) do
      for _, model in ipairs { reference, reward, value, ema } do
        local other = model.weights[name]
        if other then assert.are.equal(weight, other) end
      end
    end
    local adapters = policy.block:count()
    assert.are.equal(0, reference.block:count())
    assert.are.equal(36, reward.block:count())
    assert.are.equal(adapters + 36, value.block:count())
    assert.are.same({ policy:count() }, { ema:count() })
    local whole = assert(pl.load(path)):count()
    assert.are.same({ whole + adapters, adapters }, { policy:count() })
    assert.are.same({ whole, 0 }, { reference:count() })
    collectgarbage()
    assert.is_true(pl.mem().live - live < 4 * (whole + 4 * adapters))
    assert.are.equal(policy:hash(), ema:hash())
    assert.are_not.equal(reference:hash(), policy:hash())
  end)

  it("is what adapters of a copy want, and a copy keeps the adapters it has", function()
    local whole = assert(pl.load(adapted.folder("llama")))
    assert.has_error(
      function() whole:copy { peft = { r = 2 } } end,
      "model:copy: adapters stand on a frozen base, and this model is trained whole: load it with "
        .. "peft, or with frozen = true"
    )
    local policy = assert(pl.load(adapted.folder("llama"), { peft = { r = 2 } }))
    assert.has_error(
      function() policy:copy { peft = { r = 4 } } end,
      "model:copy: this model has adapters, so its copy has the same ones; leave peft out"
    )
  end)

  it("goes when no model stands on it any more", function()
    local path = adapted.folder("gpt2")
    collectgarbage()
    collectgarbage()
    local live = pl.mem().live
    do
      local first = assert(pl.load(path, { frozen = true }))
      assert.is_true(pl.mem().live > live)
      assert.are.equal(first.base, assert(pl.load(path, { frozen = true })).base)
    end
    collectgarbage()
    collectgarbage()
    assert.are.equal(live, pl.mem().live)
  end)

  it("is known by its content, not by its name", function()
    local path = adapted.folder("llama")
    local first = assert(pl.load(path, { frozen = true }))
    local copy = scratch.folder()
    for _, file in ipairs { "config.json", "model.safetensors" } do
      assert(pl.files.copy(path .. "/" .. file, copy .. "/" .. file))
    end
    assert.are.equal(first.base, assert(pl.load(copy, { frozen = true })).base)
    assert(toy.model("llama", { seed = 2 }):save(path))
    assert.are_not.equal(first.base, assert(pl.load(path, { frozen = true })).base)
    assert.are_not.equal(
      first.base,
      assert(pl.load(copy, { frozen = true, dtype = "float64" })).base
    )
  end)

  it("that was changed is refused in words", function()
    local path = adapted.folder("llama")
    local model = assert(pl.load(path, { peft = { r = 2 } }))
    local dir = scratch.path()
    assert(model:save(dir))
    assert(toy.model("llama", { seed = 2 }):save(path))
    local loaded, message = pl.load(dir)
    assert.is_nil(not not loaded or nil)
    assert.is_truthy(
      message:find(dir .. " stands on other weights than " .. path, 1, true),
      message
    )
    local changed = assert(pl.load(path, { peft = { r = 2 } }))
    loaded, message = changed:read(dir)
    assert.is_nil(not not loaded or nil)
    assert.is_truthy(message:find("stands on other weights", 1, true), message)
  end)

  it("is found where it was, or beside its adapters, or where the caller says", function()
    local root = scratch.folder()
    local path = root .. "/base"
    assert(toy.model("llama"):save(path))
    local model = adapted.stir(assert(pl.load(path, { peft = { r = 2 } })))
    assert(model:save(root .. "/adapters"))
    assert(os.rename(path, root .. "/moved"))
    local loaded, message = pl.load(root .. "/adapters")
    assert.is_nil(not not loaded or nil)
    assert.is_truthy(message:find("the base model '" .. path .. "'", 1, true), message)
    local again = assert(pl.load(root .. "/adapters", { base = root .. "/moved" }))
    assert.are.equal(model:hash(), again:hash())
    local config = assert(pl.files.read_json(root .. "/adapters/adapter_config.json"))
    config.base_model_name_or_path = "../moved"
    assert(os.remove(root .. "/adapters/manifest.json"))
    assert(pl.files.write_json(root .. "/adapters/adapter_config.json", config))
    assert.are.equal(model:hash(), assert(pl.load(root .. "/adapters")):hash())
  end)
end)

describe("a base in another type", function()
  local wide = {
    model_type = "llama",
    vocab_size = toy.vocab,
    hidden_size = 64,
    intermediate_size = 96,
    num_hidden_layers = 2,
    num_attention_heads = 4,
    num_key_value_heads = 2,
    max_position_embeddings = 96,
    tie_word_embeddings = true,
    initializer_range = 0.2,
  }

  for _, dtype in ipairs { "bfloat16", "float16", "q8_0" } do
    for _, use_dora in ipairs { false, true } do
      it(
        ("is that of its float32 values: %s%s"):format(dtype, use_dora and ", DoRA" or ""),
        function()
          local path, values = scratch.path(), scratch.path()
          local plain = pl.model.new(wide, { seed = 3 })
          assert(plain:save(path))
          local frozen = assert(pl.load(path, { frozen = true, dtype = dtype }))
          assert.are.equal(plain:count(), frozen:count())
          assert.is_true(frozen.base.bytes < 0.6 * 4 * frozen.base.count)
          assert(pl.model.merge(frozen):save(values)) -- the values it has, in float32
          local settings = { r = 4, use_dora = use_dora }
          local model = adapted.stir(assert(pl.load(path, { peft = settings, dtype = dtype })))
          local same = adapted.stir(assert(pl.load(values, { peft = settings })))
          assert.are.equal(model.block:hash(), same.block:hash())
          local list = toy.sequences { 9, 5 }
          local packed = batch.pack(list)
          local want = same:logits(packed)
          assert.are.equal(want:bytes(), model:logits(packed):bytes())
          for _, one in ipairs { model, same } do
            one.block:zero_grad()
            loss.lm(one, list):backward()
          end
          for name, tensor in pairs(model.block:tensors()) do
            local grad = same.block:tensors()[name]:grad()
            assert.are.equal(grad:bytes(), tensor:grad():bytes(), name)
          end
          local err = toy.max_error(pl.model.merge(model):logits(packed), want)
          assert.is_true(err <= 1e-5 * want:abs():max():item(), err)
          local answers = pl.generate(model, list, { max_tokens = 8, seed = 1 })
          local roll = pl.rollout.new(list, answers)
          assert.are.equal(
            answers.logprobs:bytes(),
            loss.sequence_logprobs(model, roll.parts):bytes()
          )
          local dir = scratch.path()
          assert(model:save(dir))
          local again = assert(pl.load(dir)) -- in the type it was trained on
          assert.are.equal(model.base, again.base)
          assert.are.equal(model:hash(), again:hash())
          assert.are.equal("float32", assert(pl.load(dir, { dtype = "float32" })).base.dtype)
        end
      )
    end
  end

  it("is float16 where rows are no whole blocks of q8_0", function()
    local path = adapted.folder("llama")
    local model = assert(pl.load(path, { frozen = true, dtype = "q8_0" }))
    local held = { float32 = 0, float16 = 0, q8_0 = 0 }
    for _, tensor in pairs(model.base.weights) do
      local dtype = tensor:dtype()
      held[dtype] = held[dtype] + 1
      if tensor:rank() < 2 then
        assert.are.equal("float32", dtype)
      else
        assert.are.equal(tensor:size(2) % 32 == 0 and "q8_0" or "float16", dtype)
      end
    end
    assert.is_true(held.float16 > 0)
  end)

  it("is refused where it cannot be", function()
    local path = adapted.folder("llama")
    local model, message = pl.load(path, { frozen = true, dtype = "q4_0" })
    assert.is_nil(not not model or nil)
    assert.is_truthy(message:find("weights are not held in 'q4_0'", 1, true), message)
  end)
end)

describe("perilune merge", function()
  local world = dofile("tests/lua/support/world.lua")

  local function run(...)
    local out = scratch.path()
    local how, code = system.spawn(
      { world.program, "merge", ... },
      { stdin = "/dev/null", stdout = out, stderr = out .. ".err" }
    )
    local err = scratch.read(out .. ".err")
    os.remove(out .. ".err")
    return how .. " " .. code, err
  end

  it("writes a model folder of its own, with its tokenizer", function()
    local w = world.new("llama")
    local model = adapted.stir(assert(pl.load(w.model, { peft = { r = 2 } })))
    local from, to = w.dir .. "/adapters", w.dir .. "/merged"
    assert(model:save(from))
    local code, err = run(from, to)
    assert.are.equal("exit 0", code, err)
    assert.is_truthy(err:find("merged into " .. w.model, 1, true), err)
    local merged = assert(pl.load(to))
    assert.is_nil(merged.base)
    local packed = batch.pack { { 0, 5, 9, 14 } }
    assert.is_true(toy.max_error(merged:logits(packed), model:logits(packed)) <= 1e-5)
    assert.are.equal(
      assert(pl.tokenizer.load(w.model)):fingerprint(),
      assert(pl.tokenizer.load(to)):fingerprint()
    )
    for text, arguments in pairs {
      ["merged is a model already"] = { from, to },
      ["holds no adapters to merge"] = { w.model, w.dir .. "/other" },
      ["which models, and where to?"] = { from },
      ["did you mean 'base'?"] = { from, w.dir .. "/other", "--bse", "x" },
    } do
      code, err = run(table.unpack(arguments))
      assert.are.equal("exit 1", code, text)
      assert.is_truthy(err:find(text, 1, true), err)
    end
    world.clean()
  end)

  it("adds the weights of several models, each times its share", function()
    local w = world.new("llama")
    local adapters, far = w.dir .. "/adapters", w.dir .. "/far"
    assert(adapted.stir(assert(pl.load(w.model, { peft = { r = 2 } }))):save(adapters))
    world.model(far, "llama", { "the moon sees nobody" }, { width = 52, inner = 100, heads = 2 })
    local name = "model.layers.1.mlp.up_proj.weight"
    local function weight(path) return pl.model.merge(assert(pl.load(path))).weights[name] end
    local want = weight(w.model) * 1.5 - weight(adapters) * 0.5
    local to = w.dir .. "/sum"
    local code, err = run(w.model, adapters, to, "--shares", "1.5,-0.5")
    assert.are.equal("exit 0", code, err)
    assert.is_truthy(err:find("the weights of 2 models, 1.5, -0.5 times each", 1, true), err)
    assert.is_true(toy.max_error(weight(to), want) <= 1e-6)
    code, err = run(w.model, w.model, w.model, w.dir .. "/mean")
    assert.are.equal("exit 0", code, err)
    assert.is_true(toy.max_error(weight(w.dir .. "/mean"), weight(w.model)) <= 1e-6)
    for text, arguments in pairs {
      ["sum is a model already"] = { w.model, w.model, to },
      ["--shares has 1 numbers for 2 models"] = { w.model, w.model, "x", "--shares", "1" },
      ["--shares: 'a' is no number"] = { w.model, w.model, "x", "--shares", "a,1" },
      ["--shares have the sum 2"] = { w.model, w.model, "x", "--shares", "1,1" },
      ["--shares are of several models"] = { w.model, "x", "--shares", "0.5,0.5" },
      ["far is a model already, and the last name is the folder"] = { w.model, far },
      ["models that do not fit together"] = { w.model, far, "x" },
    } do
      code, err = run(table.unpack(arguments))
      assert.are.equal("exit 1", code, text)
      assert.is_truthy(err:find(text, 1, true), err)
    end
    local loaded = assert(pl.load(w.model))
    assert.has_error(
      function() pl.model.mix({ loaded }, { 1, 2 }) end,
      "model.mix: 1 models and 2 shares"
    )
    world.clean()
  end)

  it("refuses models of one shape that are another function of their weights", function()
    local config =
      { model_type = "llama", vocab_size = 30, hidden_size = 16, intermediate_size = 24 }
    config.num_hidden_layers, config.num_attention_heads = 1, 2
    config.max_position_embeddings, config.tie_word_embeddings = 32, true
    local function other(more)
      for key, value in pairs(config) do
        if more[key] == nil then more[key] = value end
      end
      return pl.model.new(more)
    end
    local first = other {}
    for text, more in pairs {
      ["differs in tied: false, where model 1 has true"] = { tie_word_embeddings = false },
      ["differs in rope.options.theta: 5000.0, where model 1 has 10000"] = { rope_theta = 5000.0 },
      ["differs in head_dim: 4, where model 1 has 8"] = { num_attention_heads = 4 },
      ["differs in scalar_head: true, where model 1 has nothing"] = { scalar_head = true },
    } do
      assert.has_error(
        function() pl.model.mix({ first, other(more) }, { 0.5, 0.5 }) end,
        "model.mix: model 2 " .. text
      )
    end
    local list = { { name = "model", path = "a", model = first } }
    list[2] = { name = "reference", path = "50%d", model = other { tie_word_embeddings = false } }
    assert.has_error(
      function() pl.companions.addable(list) end,
      "models that do not fit together: reference (50%d) differs in tied: false, where model (a) "
        .. "has true: their weights cannot be added"
    )
    list[1], list[2] = list[2], list[1]
    assert.has_error(
      function() pl.companions.addable(list) end,
      "models that do not fit together: model (a) differs in tied: true, where reference (50%d) "
        .. "has false: their weights cannot be added"
    )
    local written = { rope_type = "default", rope_theta = 10000.0, partial_rotary_factor = 1 }
    local same = other { rope_parameters = written, rms_norm_eps = 9.9999999747524e-07 } -- as GGUF
    assert.is_truthy(pl.model.mix({ first, same }, { 0.5, 0.5 }))
    local longer = other { max_position_embeddings = 64 }
    assert.are.equal(32, pl.model.mix({ first, longer }, { 0.5, 0.5 }):context())
  end)

  it("adds reward models with their biases", function()
    local w = world.new("llama")
    local paths = { w.dir .. "/one", w.dir .. "/two" }
    for i, path in ipairs(paths) do
      local model = assert(pl.load(w.model, { scalar_head = true, seed = i }))
      model.config.score_bias = i
      assert(model:save(path, { tokenizer = assert(pl.tokenizer.load(w.model)) }))
    end
    local to = w.dir .. "/both"
    local code, err = run(paths[1], paths[2], to, "--shares", "0.25,0.75")
    assert.are.equal("exit 0", code, err)
    local packed = batch.pack { { 0, 5, 9, 14 } }
    local function scores(path) return assert(pl.load(path)):scores(packed) end
    local want = scores(paths[1]) * 0.25 + scores(paths[2]) * 0.75 -- the trunk is the same
    assert.is_true(toy.max_error(scores(to), want) <= 1e-5)
    code, err = run(paths[1], w.model, w.dir .. "/no")
    assert.are.equal("exit 1", code)
    assert.is_truthy(err:find("has no scalar head and scores nothing", 1, true), err)
    world.clean()
  end)
end)

describe("training", function()
  it(
    "moves the block and leaves the base, and EMA, clipping and copies work on the block",
    function()
      local path = adapted.folder("llama")
      local model = assert(pl.load(path, { peft = { r = 4, use_dora = true } }))
      local before = pl.files.hash_tensors(model.base.weights)
      local ema = model:copy():freeze()
      local optimizer = pl.adamw(model.block)
      local list, first, last = toy.sequences { 12, 7 }, nil, nil
      for _ = 1, 30 do
        local scope <close> = pl.scope("t") -- luacheck: ignore
        model.block:zero_grad()
        local value = loss.lm(model, list)
        value:backward()
        last = value:item()
        first = first or last
        local result = optimizer:step { lr = 0.02, max_grad_norm = 1 }
        assert.is_false(result.skipped)
        ema.block:average(model.block, 0.9)
      end
      assert.is_true(last < 0.7 * first, last)
      assert.are.equal(before, pl.files.hash_tensors(model.base.weights))
      assert.are.equal(model.block:flat():count(), optimizer:state().m:count())
      assert.are_not.equal(model:hash(), ema:hash())
      assert.is_nil(ema.block:tensors()[ema.block:names()[1]]:grad())
      local copy = model:copy()
      assert.are.equal(model:hash(), copy:hash())
    end
  )
end)

-- ---- what is refused ----------------------------------------------------------------------------

describe("adapters that cannot be", function()
  local path

  before_each(function() path = adapted.folder("llama") end)

  it("are refused by their settings", function()
    for _, case in ipairs {
      { { r = 0 }, "peft: r = 0; it must be an integer from 1" },
      { { r = -3 }, "r = -3" },
      { { r = 2.5 }, "r = 2.5" },
      { { alpha = 0 }, "alpha = 0" },
      { { dropout = 1 }, "dropout = 1" },
      { { rank = 4 }, "'rank'" },
      { { targets = {} }, "'targets' names no module" },
      { { targets = { "q_proj", ".*v_proj" } }, "a pattern stands alone" },
    } do
      local ok, message = pcall(pl.load, path, { peft = case[1] })
      assert.is_false(ok)
      assert.is_truthy(tostring(message):find(case[2], 1, true), message)
    end
  end)

  it("are refused when a target fits no module, with the nearest names", function()
    for targets, text in pairs {
      [{ "q_prj" }] = "no module of this model fits 'q_prj'; did you mean 'q_proj'? (modules: "
        .. "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj)",
      [{ "q_proj", "query" }] = "no module of this model fits 'query'",
      [".*attn"] = "no module of this model fits '.*attn'",
      ["(q_proj"] = "'(q_proj' is no pattern that is read here: '(' has no ')'",
      [{ "embed_tokens" }] = "no module of this model fits 'embed_tokens'",
    } do
      local model, message = pl.load(path, { peft = { targets = targets } })
      assert.is_nil(not not model or nil)
      assert.is_truthy(message:find(text, 1, true), message)
    end
  end)

  local function changed(fn)
    local dir = scratch.path()
    assert(assert(pl.load(path, { peft = { r = 2, targets = "q_proj" } })):save(dir))
    assert(os.remove(dir .. "/manifest.json"))
    local config = assert(pl.files.read_json(dir .. "/adapter_config.json"))
    local tensors = assert(pl.files.safetensors.load(dir .. "/adapter_model.safetensors"))
    fn(config, tensors, dir)
    assert(pl.files.write_json(dir .. "/adapter_config.json", config))
    assert(pl.files.safetensors.save(dir .. "/adapter_model.safetensors", tensors))
    return dir
  end

  it("are refused by the keys of their folder", function()
    for key, case in pairs {
      peft_type = { "IA3", "'peft_type' is 'IA3'; it must be \"LORA\"" },
      bias = { "all", "'bias' is 'all'" },
      r = { 0, "'r' is 0" },
      lora_alpha = { "x", "'lora_alpha' is 'x'" },
      init_lora_weights = { "pissa", "'init_lora_weights' is 'pissa'" },
      use_qalora = { true, "'use_qalora' is true" },
      layer_replication = {
        pl.json.array { 1 },
        "'layer_replication' is a list: the key is not known",
      },
      task_type = { "TOKEN_CLS", "'task_type' is 'TOKEN_CLS'" },
      use_dorra = { true, "did you mean 'use_dora'?" },
      target_modules = { 3, "'target_modules' is 3" },
      rank_pattern = { { q_proj = 3, ["layers.0.self_attn.q_proj"] = 4 }, "which differ" },
      modules_to_save = { pl.json.array { "lm_hed" }, "of this model is called 'lm_hed'" },
    } do
      local model, message = pl.load(changed(function(config) config[key] = case[1] end))
      assert.is_nil(not not model or nil, key)
      assert.is_truthy(message:find(case[2], 1, true), message)
    end
  end)

  it("are refused by the tensors of their folder", function()
    local name = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"
    for _, case in ipairs {
      { function(_, t) t[name] = nil end, "q_proj.lora_B.weight' is missing" },
      { function(_, t) t[name] = pl.zeros { 36, 3 } end, "has shape [36,3]" },
      {
        function(_, t)
          t["base_model.model.model.embed_tokens.lora_embedding_A"] = pl.zeros { 2, 37 }
        end,
        "an adapter of an embedding, which is not implemented",
      },
      {
        function(_, t) t["base_model.model.model.norm.weight"] = pl.zeros { 36 } end,
        "belongs to nothing that adapter_config.json names",
      },
      {
        function(_, t) t["model.q_proj"] = pl.zeros { 2 } end,
        "does not begin with 'base_model.model.'",
      },
    } do
      local model, message = pl.load(changed(case[1]))
      assert.is_nil(not not model or nil)
      assert.is_truthy(message:find(case[2], 1, true), message)
    end
  end)

  it("are refused on a base of other sizes, and as other adapters than they are", function()
    local dir = changed(function() end)
    assert(os.remove(dir .. "/perilune.json"))
    local model, message = pl.load(dir, { base = adapted.folder("llama, tied, interleaved") })
    assert.is_nil(not not model or nil)
    assert.is_truthy(
      message:find("has shape [2,36], adapter_config.json and the base want [2,20]", 1, true),
      message
    )
    for _, case in ipairs {
      { { r = 4, targets = "q_proj" }, "with r 2, and 4 is asked for" },
      { { r = 2 }, "with targets model.layers.0.self_attn.q_proj" },
      {
        { r = 2, targets = "q_proj", use_dora = true },
        "with use_dora false, and true is asked for",
      },
    } do
      model, message = pl.load(dir, { peft = case[1] })
      assert.is_nil(not not model or nil)
      assert.is_truthy(message:find(case[2], 1, true), message)
    end
    assert(pl.load(dir, { peft = { r = 2, targets = "q_proj" } }))
    local plain = assert(pl.load(path))
    local ok
    ok, message = plain:read(dir)
    assert.is_nil(ok)
    assert.is_truthy(message:find("holds adapters, and the model here has none", 1, true), message)
  end)

  it("name a pickle as what it is", function()
    local dir = changed(function() end)
    assert(os.rename(dir .. "/adapter_model.safetensors", dir .. "/adapter_model.bin"))
    local model, message = pl.load(dir)
    assert.is_nil(not not model or nil)
    assert.is_truthy(message:find("is a pickle", 1, true), message)
  end)
end)

describe("modules that are trained whole", function()
  it("lie in the block, begin as the base's and are written with the adapters", function()
    local path = adapted.folder("llama")
    local dir = scratch.path()
    assert(assert(pl.load(path, { peft = { r = 2, targets = "q_proj" } })):save(dir))
    assert(os.remove(dir .. "/manifest.json"))
    local config = assert(pl.files.read_json(dir .. "/adapter_config.json"))
    config.modules_to_save = pl.json.array { "lm_head" }
    assert(pl.files.write_json(dir .. "/adapter_config.json", config))
    local tensors = assert(pl.files.safetensors.load(dir .. "/adapter_model.safetensors"))
    local head = pl.randn({ toy.vocab, 36 }, { seed = 8 })
    tensors["base_model.model.lm_head.weight"] = head
    assert(pl.files.safetensors.save(dir .. "/adapter_model.safetensors", tensors))
    local model = assert(pl.load(dir))
    assert.are.equal(head:bytes(), model:head():bytes())
    assert.are_not.equal(head:bytes(), model.base.weights["lm_head.weight"]:bytes())
    model.block:zero_grad()
    loss.lm(model, toy.sequences { 9 }):backward()
    assert.is_truthy(model:head():grad())
    local again = scratch.path()
    assert(model:save(again))
    assert.are.equal(model:hash(), assert(pl.load(again)):hash())
  end)
end)
