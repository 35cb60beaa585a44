--- Every family against transformers on a tiny model (tests/golden/families, made by
-- make_families.py), with configs as transformers 4 and 5 write them; and its own laws: packed as
-- alone, decoded as scored, written as read.

local pl = require("perilune")
local registry = require("perilune.model.families")
local scratch = dofile("tests/lua/support/scratch.lua")
local support = dofile("tests/lua/support/families.lua")
local toy = dofile("tests/lua/support/toy.lua")

teardown(scratch.clean)

local function logits(model, sequences)
  local guard <close> = pl.no_grad() -- luacheck: ignore
  return model:logits(pl.batch.pack(sequences))
end

local function copied(t)
  local result = {}
  for key, value in pairs(t) do
    result[key] = value
  end
  return result
end

for _, name in ipairs(support.names()) do
  describe("the family's " .. name, function()
    local case = support.read(name)
    local sequences = support.sequences(case.config4.vocab_size)
    local model = support.model(copied(case.config4))

    it("has transformers' logits, from both spellings of its config", function()
      local want = case.tensors.logits
      for dtype, bound in pairs { float32 = 2e-5, float64 = 1e-5 } do
        for _, config in ipairs { case.config4, case.config5 } do
          local err = toy.max_error(logits(support.model(copied(config), dtype), sequences), want)
          assert.is_true(err <= bound, ("%s: %.3g"):format(dtype, err))
        end
      end
    end)

    it("has transformers' gradient of every parameter", function()
      if not case.tensors["g." .. next(registry.to_file(model.spec, model.weights))] then return end
      for _, dtype in ipairs { "float32", "float64" } do
        local other = support.model(copied(case.config4), dtype)
        local grads, got, want = {}, {}, {}
        for _, entry in
          ipairs(toy.gradients(other, function() pl.loss.lm(other, sequences):backward() end))
        do
          grads[entry[1]] = entry[2]
        end
        for key, grad in pairs(registry.to_file(other.spec, grads)) do
          got[#got + 1] = { key, grad }
          want[#want + 1] = { key, assert(case.tensors["g." .. key], key) }
        end
        local err, where = toy.gradient_error(got, want)
        assert.is_true(err <= 1e-5, ("%s %s: %.3g"):format(dtype, where, err))
        local kept = 0
        for _ in pairs(case.tensors) do
          kept = kept + 1
        end
        assert.are.equal(kept - 1, #got) -- and the logits
      end
    end)

    it("gives a sequence the same bits alone and among others", function()
      local at, all = 0, logits(model, sequences)
      for _, sequence in ipairs(sequences) do
        local alone = logits(model, { sequence })
        assert.is_true(alone:bytes() == all:slice(1, at + 1, at + #sequence):bytes())
        at = at + #sequence
      end
    end)

    it("decodes with the log-probs that it scores with", function()
      local guard <close> = pl.no_grad() -- luacheck: ignore
      local prompts = { sequences[1], sequences[2], sequences[4] }
      local answers = pl.generate(model, prompts, { max_tokens = 8, samples = 2, seed = 3 })
      for i = 1, #answers do
        local answer = answers[i]
        local whole = table.move(prompts[answer.prompt], 1, #prompts[answer.prompt], 1, {})
        table.move(answer.tokens, 1, #answer.tokens, #whole + 1, whole)
        local mask = {}
        for t = 1, #whole do
          mask[t] = t > #prompts[answer.prompt] and 1 or 0
        end
        local scored =
          pl.loss.logprobs(model, pl.batch.pack { whole }, pl.batch.targets({ whole }, { mask }))
        assert.are.same(answer.logprobs, scored:totable())
      end
    end)

    it("has the same bits when it is written and read again", function()
      for _, config in ipairs { case.config4, case.config5 } do
        local folder, given = scratch.folder(), support.model(copied(config))
        assert(given:write(folder))
        local again = assert(pl.load(folder))
        assert.are.equal(model:hash(), again:hash())
        assert.is_true(logits(model, sequences):bytes() == logits(again, sequences):bytes())
      end
      local scores = model:copy { scalar_head = true, seed = 4 }
      local folder = scratch.folder()
      assert(scores:write(folder))
      local again = assert(pl.load(folder))
      local packed = pl.batch.pack(sequences)
      assert.are.equal(scores:scores(packed):bytes(), again:scores(packed):bytes())
      scores.config.score_bias = 0.5
      folder = scratch.path()
      assert(scores:save(folder))
      again = assert(pl.load(folder))
      assert.is_true(toy.max_error(scores:scores(packed), again:scores(packed)) <= 1e-5)
    end)
  end)
end

local function spec_of(name, changes)
  local config = support.read(name).config4
  for key, value in pairs(changes) do
    config[key] = value
  end
  return registry.spec(config)
end

describe("a family's config", function()
  it("is refused when it makes no model", function()
    for _, bad in ipairs {
      { "gemma2", { layer_types = { "full_attention" } }, "'layer_types' names 1 layers" },
      {
        "gemma2",
        { layer_types = { "full_attention", "linear_attention", "full_attention" } },
        "layer_types[2] is 'linear_attention'",
      },
      { "gemma2", { sliding_window = false }, "'sliding_window' is false" },
      { "gemma3_text", { attn_logit_softcapping = 30 }, "'attn_logit_softcapping' is 30" },
      { "gemma3_text", { use_bidirectional_attention = true }, "use_bidirectional_attention" },
      { "smollm3", { no_rope_layers = { 1, 0 } }, "'no_rope_layers' has 2 numbers for 3 layers" },
      { "smollm3", { no_rope_layers = { 1, 0, 2 } }, "'no_rope_layers' is" },
      { "phi3_longrope", { num_attention_heads = 4 }, "'short_factor' has 4 numbers" },
      { "phi3", { partial_rotary_factor = 0.9 }, "7 channels of a head are turned" },
      { "mistral", { partial_rotary_factor = 0.5 }, "turns whole heads" },
      { "gpt_neox", { rotary_pct = 2 }, "'rotary_pct' is 2" },
      { "opt", { activation_function = "mish" }, "'activation_function' is 'mish'" },
      { "opt", { _remove_final_layer_norm = 1 }, "'_remove_final_layer_norm' is 1" },
      { "granite", { logits_scaling = 0 }, "'logits_scaling' is 0" },
      {
        "qwen2",
        { rope_scaling = { type = "yarn" } },
        "'rope_scaling' is 'yarn' without 'factor'",
      },
      { "mistral", { head_dim = 1 << 20 }, "heads of 1048576 rotary channels; 65536 are the most" },
      {
        "phi3_longrope",
        { original_max_position_embeddings = 1 },
        "the rotary settings of 'longrope' give no finite frequencies",
      },
      { "llama_llama3", { rope_theta = 7, rope_parameters = { rope_theta = 8 } }, "is meant?" },
    } do
      local spec, message = spec_of(bad[1], bad[2])
      assert.is_nil(spec)
      assert.truthy(message:find(bad[3], 1, true), message)
    end
    local config = support.read("gemma2").config4
    config.sliding_window = nil
    local spec, message = registry.spec(config)
    assert.is_nil(spec)
    assert.truthy(message:find("'sliding_window' is missing", 1, true), message)
  end)

  it("is refused by name for what is no decoder of one kind of layers", function()
    for model_type, reason in pairs {
      qwen3_5 = "a state in place of attention",
      lfm2 = "a state in place of attention",
      mamba = "a state in place of attention",
      mixtral = "choose among experts",
      gemma3 = "images or sound",
      t5 = "no decoder of text",
    } do
      local spec, message = registry.spec { model_type = model_type, architectures = { "X" } }
      assert.is_nil(spec)
      local found = message:find(("'%s' (X) is not implemented"):format(model_type), 1, true)
      assert.truthy(found and message:find(reason, 1, true), message)
    end
  end)

  it("gives windows to the layers that transformers gives them to", function()
    assert.are.same({ 0, 3 }, spec_of("qwen2", {}).windows)
    assert.are.same({ 3, 3 }, spec_of("qwen2", { max_window_layers = 0 }).windows)
    assert.are.same({ 0, 0 }, spec_of("qwen2", { use_sliding_window = false }).windows)
    local kinds = { "sliding_attention", "full_attention" }
    assert.are.same({ 3, 0 }, spec_of("qwen2", { layer_types = kinds }).windows)
    assert.are.same({ 4, 4 }, spec_of("mistral", {}).windows)
    assert.are.same({ 4, 0, 4 }, spec_of("gemma2", {}).windows)
    local window = { use_sliding_window = true, sliding_window = 5 }
    assert.are.same({ 0, 5, 0 }, spec_of("smollm3", window).windows)
  end)

  it("means by an absent key what transformers means", function()
    local function without(name, key)
      local config = support.read(name).config4
      config[key] = nil
      return registry.spec(config)
    end
    assert.are.equal(1e-6, without("llama", "rms_norm_eps").norm.eps)
    assert.are.equal(1e-5, without("olmo2", "rms_norm_eps").norm.eps)
    assert.are.equal(4, without("llama", "num_key_value_heads").kv_heads)
    assert.are.equal(128, without("qwen3", "head_dim").head_dim)
    assert.are.equal(256, without("gemma2", "head_dim").head_dim)
    assert.are.equal(2, without("gpt_neox", "rotary_pct").rope.options.rotary_dim)
    assert.are.equal(2000000.0, without("smollm3", "rope_theta").rope.options.theta)
    assert.are.equal(64, without("gpt2", "n_inner").mlp_width)
    assert.is_true(without("opt", "tie_word_embeddings").tied)
    assert.is_false(without("llama", "tie_word_embeddings").tied)
    assert.are.same({ 0, 0 }, without("mistral", "sliding_window").windows)
  end)

  it("has a table of less than 60 lines", function()
    local lfs = require("lfs")
    local count = 0
    for file in lfs.dir("lua/perilune/model/families") do
      if file:match("%.lua$") and file ~= "init.lua" then
        local _, lines = scratch.read("lua/perilune/model/families/" .. file):gsub("\n", "")
        assert.is_true(lines < 60, ("%s: %d"):format(file, lines))
        count = count + 1
      end
    end
    assert.is_true(count >= 18)
  end)
end)

describe("a family's file", function()
  it("may have transformers 5's name of the head of GPT-NeoX", function()
    local folder, model = scratch.folder(), support.model(support.read("gpt_neox").config4)
    assert(model:write(folder))
    local tensors = assert(pl.files.safetensors.load(folder))
    tensors["lm_head.weight"], tensors["embed_out.weight"] = tensors["embed_out.weight"], nil
    assert(pl.files.safetensors.save(folder .. "/model.safetensors", tensors))
    assert.are.equal(model:hash(), assert(pl.load(folder)):hash())
  end)

  it("may be of a model without head, whose names have no prefix", function()
    for _, name in ipairs { "gemma2", "opt_350m", "qwen2", "granite" } do
      local folder, model = scratch.folder(), support.model(support.read(name).config4)
      assert(model:write(folder))
      local bare = {}
      for key, tensor in pairs(assert(pl.files.safetensors.load(folder))) do
        bare[key:gsub("^model%.", "")] = tensor
      end
      assert(pl.files.safetensors.save(folder .. "/model.safetensors", bare))
      assert.are.equal(model:hash(), assert(pl.load(folder)):hash())
    end
  end)
end)

describe("rotary frequencies that hold for a length", function()
  it("bound the context, and refuse longer sequences", function()
    for name, longest in pairs { phi3_longrope = 16, llama_dynamic = 32 } do
      local model = support.model(support.read(name).config4)
      assert.are.equal(longest, model:context())
      local sequence = {}
      for t = 1, longest + 1 do
        sequence[t] = 5
      end
      local ok, message = pcall(logits, model, { { 5 }, sequence })
      assert.is_false(ok)
      local wanted = "a sequence has %d tokens; the rotary positions of this model hold for %d"
      assert.truthy(message:find(wanted:format(longest + 1, longest), 1, true), message)
      sequence[longest + 1] = nil
      assert.are.same({ longest, 29 }, logits(model, { sequence }):shape())
    end
  end)
end)
