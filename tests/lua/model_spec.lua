--- Models as things: made, copied, frozen, written and read again with the same bits, exported for
-- other programs, refused when a folder does not fit. What they compute is in golden_spec and
-- laws_spec.

local checkpoint = require("perilune.run.state")
local json = require("perilune.base.json")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local toy = dofile("tests/lua/support/toy.lua")

local packed = pl.batch.pack(toy.sequences { 9, 1, 14 })

local read, write = scratch.read, scratch.write

local function logits(model)
  local guard <close> = pl.no_grad() -- luacheck: ignore
  return model:logits(packed)
end

local function refused(fn, ...)
  local result, message = fn()
  assert.is_nil(result)
  for _, piece in ipairs { ... } do
    assert.truthy(message:find(piece, 1, true), message)
  end
end

teardown(scratch.clean)

toy.each(function(name)
  describe(name, function()
    it("is drawn from its seed alone", function()
      assert.are.equal(toy.model(name):hash(), toy.model(name):hash())
      assert.are_not.equal(toy.model(name):hash(), toy.model(name, { seed = 2 }):hash())
    end)

    it("starts near the uniform distribution, whatever its depth", function()
      local config = {}
      for key, value in pairs(toy.configs[name]) do
        config[key] = value
      end
      config.initializer_range = 0.02
      local model = pl.model.new(config)
      local list = toy.sequences { 30, 20 }
      local value = pl.loss.lm(model, list):item()
      assert.is_true(math.abs(value - math.log(toy.vocab)) < 0.2, value)
    end)

    it("gives every parameter a gradient", function()
      for _, scalar_head in ipairs { false, true } do
        local model = toy.model(name, { scalar_head = scalar_head })
        if scalar_head then
          model:scores(packed):square():sum():backward()
        else
          pl.loss.lm(model, toy.sequences { 9, 14 }):backward()
        end
        assert.are.same({}, model.block:unreached())
        assert.is_true(model.block:grad_norm() > 0)
      end
    end)

    it("has the same bits when it is written and read again", function()
      local dir = scratch.folder()
      local model = toy.model(name)
      assert(model:write(dir))
      local again = assert(pl.load(dir))
      assert.are.equal(model:hash(), again:hash())
      assert.is_true(logits(model):bytes() == logits(again):bytes())
      local scalar = toy.model(name, { scalar_head = true })
      scalar.config.score_bias = 0.75
      dir = scratch.folder()
      assert(scalar:write(dir))
      again = assert(pl.load(dir))
      assert.are.equal(scalar:scores(packed):bytes(), again:scores(packed):bytes())
      assert.are.equal(0.75, again.config.score_bias)
    end)

    it("is exported as the same function in Hugging Face's layout", function()
      local dir = scratch.folder() .. "/model"
      local model = toy.model(name)
      assert(model:save(dir))
      local config = assert(json.decode(read(dir .. "/config.json")))
      assert.is_falsy(config.rope_interleaved)
      local again = assert(pl.load(dir))
      local err = toy.max_error(logits(again), logits(model))
      assert.is_true(err <= 1e-5, "logits: " .. err)
      if model.config.rope_interleaved then
        assert.are_not.equal(model:hash(), again:hash())
        assert.is_true(model.config.rope_interleaved) -- the model in memory is what it was
        -- a checkpoint keeps the rows as they are
        local kept = scratch.folder()
        assert(model:write(kept))
        assert.is_true(assert(pl.load(kept)).config.rope_interleaved)
      else
        assert.are.equal(model:hash(), again:hash())
      end
      -- and exported once more nothing changes
      assert(again:save(dir))
      assert.are.equal(again:hash(), assert(pl.load(dir)):hash())
    end)

    it("may be saved onto the folder it came from", function()
      local dir = scratch.folder() .. "/model"
      assert(toy.model(name):save(dir))
      local model = assert(pl.load(dir))
      local hash = model:hash()
      assert(model:save(dir))
      assert.are.equal(hash, assert(pl.load(dir)):hash())
    end)

    it("is copied with all values, and alone from then on", function()
      local model = toy.model(name)
      local other = model:copy()
      assert.are.equal(model:hash(), other:hash())
      local before = model:hash()
      pl.loss.lm(other, toy.sequences { 9 }):backward()
      pl.adamw(other.block):step { lr = 0.1 }
      assert.are.equal(before, model:hash())
      assert.are_not.equal(before, other:hash())
    end)

    it("gets a scalar head and keeps its body", function()
      local model = toy.model(name)
      local value = model:copy { scalar_head = true, seed = 3 }
      local a, b = model:hidden(packed), value:hidden(packed)
      assert.is_true(a:bytes() == b:bytes())
      assert.are.same({ packed.count }, value:scores(packed):shape())
      local dir = scratch.folder()
      assert(model:write(dir))
      local loaded = assert(pl.load(dir, { scalar_head = true, seed = 3 }))
      assert.is_true(loaded:hidden(packed):bytes() == a:bytes())
      assert.is_false(pcall(value.logits, value, packed))
      assert.is_false(pcall(model.scores, model, packed))
    end)

    it("takes part in no tape when it is frozen", function()
      local model = toy.model(name):freeze()
      assert.is_false(model:hidden(packed):requires_grad())
    end)

    it("goes on from a checkpoint with the same bits, optimizer and all", function()
      local list = toy.sequences { 9, 5 }
      local model, ema = toy.model(name), toy.model(name, { seed = 9 })
      local optimizer = pl.adamw(model.block)
      local function step(m, o)
        m.block:zero_grad()
        pl.loss.lm(m, list):backward()
        o:step { lr = 0.01, weight_decay = 0.1 }
      end
      step(model, optimizer)
      step(model, optimizer)
      local dir = scratch.folder()
      checkpoint.write(dir, {
        model = model,
        models = { ema = ema },
        optimizers = { policy = optimizer },
      })
      step(model, optimizer)
      local other, other_ema = toy.model(name, { seed = 5 }), toy.model(name, { seed = 6 })
      local other_optimizer = pl.adamw(other.block)
      checkpoint.read(dir, {
        model = other,
        models = { ema = other_ema },
        optimizers = { policy = other_optimizer },
      })
      assert.are.equal(ema:hash(), other_ema:hash())
      assert.are.equal(2, other_optimizer:state().steps)
      step(other, other_optimizer)
      assert.are.equal(model:hash(), other:hash())
    end)

    it("is the same function in float64", function()
      local dir = scratch.folder()
      local model = toy.model(name)
      assert(model:write(dir))
      local wide = assert(pl.load(dir, { dtype = "float64" }))
      assert.is_true(toy.max_error(logits(model), logits(wide)) <= 2e-5)
    end)
  end)
end)

describe("a GPT-2 folder", function()
  it("has the four projections of a block as [in, out]", function()
    local dir = scratch.folder()
    local model = toy.model("gpt2")
    assert(model:write(dir))
    local tensors = assert(pl.files.safetensors.load(dir))
    local c = model.config.n_embd
    assert.are.same({ c, 3 * c }, tensors["transformer.h.0.attn.c_attn.weight"]:shape())
    assert.are.same({ 4 * c, c }, tensors["transformer.h.1.mlp.c_proj.weight"]:shape())
    assert.is_nil(tensors["lm_head.weight"]) -- tied
  end)

  it("may have names without prefix, and masks", function()
    local dir = scratch.folder()
    local model = toy.model("gpt2")
    assert(model:write(dir))
    local tensors, old = assert(pl.files.safetensors.load(dir)), {}
    for name, tensor in pairs(tensors) do
      old[name:gsub("^transformer%.", "")] = tensor
    end
    old["h.0.attn.bias"] = pl.zeros { 1, 1, 4, 4 }
    old["h.1.attn.masked_bias"] = pl.zeros { 1 }
    assert(pl.files.safetensors.save(dir .. "/model.safetensors", old))
    assert.are.equal(model:hash(), assert(pl.load(dir)):hash())
  end)
end)

describe("a model folder that does not fit", function()
  local dir, config

  before_each(function()
    dir = scratch.folder()
    assert(toy.model("llama"):write(dir))
    config = assert(json.decode(read(dir .. "/config.json")))
  end)

  local function with(changes)
    for key, value in pairs(changes) do
      config[key] = value
    end
    write(dir .. "/config.json", json.encode(config))
    return function() return pl.load(dir) end
  end

  local function tensors_with(change)
    local tensors = assert(pl.files.safetensors.load(dir))
    change(tensors)
    assert(pl.files.safetensors.save(dir .. "/model.safetensors", tensors))
    return function() return pl.load(dir) end
  end

  it("is refused for an unknown architecture", function()
    refused(
      with { architectures = { "MambaForCausalLM" }, model_type = "mamba" },
      "'mamba' (MambaForCausalLM) is not implemented",
      "a state in place of attention"
    )
    refused(
      with { architectures = { "NovaForCausalLM" }, model_type = "nova" },
      "unknown architecture 'NovaForCausalLM'",
      "LlamaForCausalLM"
    )
  end)

  it(
    "is refused when architecture and model type are of two families",
    function()
      refused(
        with { architectures = { "LlamaForCausalLM" }, model_type = "mamba" },
        "architectures says 'LlamaForCausalLM', but model_type 'mamba'",
        "they do not fit"
      )
    end
  )

  it("is refused for a missing, a surplus and a misshapen tensor", function()
    refused(
      tensors_with(function(t) t["model.norm.weight"] = nil end),
      "'model.norm.weight' is missing"
    )
    toy.model("llama"):write(dir)
    refused(
      tensors_with(function(t) t["model.layers.7.input_layernorm.weight"] = pl.zeros { 36 } end),
      "'model.layers.7.input_layernorm.weight'",
      "no parameter"
    )
    toy.model("llama"):write(dir)
    refused(
      tensors_with(function(t) t["model.norm.weight"] = pl.zeros { 35 } end),
      "'model.norm.weight' has shape [35], config.json wants [36]"
    )
    toy.model("llama"):write(dir)
    refused(
      tensors_with(function(t) -- as many numbers, the other way round
        t["model.layers.0.self_attn.k_proj.weight"] = pl.zeros { 36, 12 }
      end),
      "k_proj.weight' has shape [36,12], config.json wants [12,36]"
    )
  end)

  it("is refused for numbers that make no model", function()
    for _, bad in ipairs {
      { { hidden_size = 0 }, "hidden_size" },
      { { num_key_value_heads = 4 }, "num_key_value_heads" },
      { { rope_scaling = { type = "linear", factor = 2 } }, "is linear: which is meant?" },
      { { rope_scaling = { type = "linear" } }, "'rope_scaling' is 'linear' without 'factor'" },
      { { rope_scaling = { type = "linear", factor = 0 } }, "'rope_scaling.factor' is 0" },
      { { rope_scaling = { rope_type = "axial" } }, "has the rope_type 'axial'; implemented are" },
      { { vocab_size = 1.5 }, "'vocab_size' is 1.5; it must be an integer from 1 to 16777216" },
      { { vocab_size = 12000000 }, "'vocab_size' is 12000000, but 'model.embed_tokens.weight'" },
      { { hidden_size = 72 }, "it can only be 36" },
      { { intermediate_size = 7 }, "'intermediate_size' is 7" },
      { { num_hidden_layers = 20000 }, "'num_hidden_layers' is 20000; it must be" },
      { { num_hidden_layers = 9999 }, "'num_hidden_layers' is 9999, but the file holds" },
      { { num_key_value_heads = 0 }, "'num_key_value_heads' is 0" },
      { { num_attention_heads = 0 }, "'num_attention_heads' is 0" },
      { { head_dim = 0 }, "'head_dim' is 0" },
      { { head_dim = 7 }, "7 channels of a head are turned ('head_dim'); rotary" },
      { { rms_norm_eps = -1 }, "'rms_norm_eps' is -1" },
      { { rms_norm_eps = "x" }, "'rms_norm_eps' is 'x'" },
      { { rope_theta = "x" }, "'rope_theta' is 'x'" },
      { { rope_theta = 0 }, "'rope_theta' is 0" },
      { { rope_parameters = { rope_theta = -1 } }, "'rope_parameters.rope_theta' is -1" },
      { { rope_parameters = { rope_theta = 3 } }, "which is meant?" },
      { { rope_parameters = { partial_rotary_factor = 0.5 } }, "partial_rotary_factor' is 0.5" },
      { { rope_parameters = { rope_type = "yarn" } }, "'yarn' without 'factor'" },
      { { rope_parameters = { rope_type = "default", factor = 2 } }, "'rope_parameters.factor'" },
      { { rope_parameters = 3 }, "'rope_parameters' is 3" },
      { { hidden_act = "mish" }, "'hidden_act' is 'mish'; it must be \"gelu\"" },
      { { partial_rotary_factor = 0.5 }, "'partial_rotary_factor' is 0.5" },
      { { attention_bias = true }, "'model.layers.0.self_attn.q_proj.bias' is missing" },
      { { attention_bias = 1 }, "'attention_bias' is 1; it must be true or false" },
      { { sliding_window = 4096 }, "'sliding_window' is 4096: the key is not known" },
      { { quantization_config = { bits = 4 } }, "'quantization_config' is an object: the key" },
      { { layers = json.array { 1 } }, "'layers' is a list: the key is not known" },
      { { hiden_act = "silu" }, "did you mean 'hidden_act'?" },
      { { architectures = "LlamaForCausalLM" }, "'architectures' is 'LlamaForCausalLM'" },
    } do
      refused(with(bad[1]), bad[2])
      toy.model("llama"):write(dir)
      config = assert(json.decode(read(dir .. "/config.json")))
    end
  end)

  it("is refused when it is not there, or not JSON", function()
    refused(function() return pl.load(dir .. "/nowhere") end, "nowhere")
    write(dir .. "/config.json", '{"model_type":"llama","x":{"\xFF":1}}') -- found by fuzzing
    refused(function() return pl.load(dir) end, "'x' is an object")
    for text, what in pairs { ["[]"] = "a list", ["3"] = "3", ['"x"'] = "x", ["true"] = "true" } do
      write(dir .. "/config.json", text)
      refused(function() return pl.load(dir) end, "config.json: " .. what .. ", not an object")
    end
    write(dir .. "/config.json", "{ nonsense")
    refused(function() return pl.load(dir) end, "config.json")
  end)
end)
