--- The peers in plain PyTorch: what is handed over to them. What they make of it wants torch and is
-- seen by `perilune compare`.

local files = require("perilune.base.files")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local world = dofile("tests/lua/support/world.lua")

describe("a peer in plain PyTorch", function()
  local w
  setup(function() w = world.new("llama") end)
  teardown(scratch.clean)

  local function request_of(method, settings)
    local folder = scratch.path()
    settings.model, settings.output_dir = w.model, folder
    settings.quiet, settings.python = true, settings.python or "true"
    local result = pl.config.run_recipe("tests/bench/torch/" .. method .. ".lua", settings)
    return assert(files.read_json(folder .. "/request.json")), result.model, folder
  end

  it("is given token ids and the values of schedules, by the names of its recipe's keys", function()
    local tok = assert(pl.tokenizer.load(w.model))
    local request, model, folder = request_of("grpo", {
      reward_model = "RM",
      dataset = w.prompts,
      ptx_dataset = w.text,
      ptx_length = 12,
      ptx_coef = 0.5,
      total_episodes = 32,
      batch_size = 16,
      learning_rate = "linear(0.5, 0)",
      save_steps = 1,
      seed = 5,
    })
    assert.are.equal(folder .. "/checkpoint-2", model)
    assert.are.equal("grpo", request.method)
    assert.are.equal(2, request.steps)
    assert.are.same({ 0.5, 0.25 }, request.learning_rate)
    assert.are.same({ 0.04, 0.04 }, request.kl_coef)
    assert.are.equal("loss", request.kl_placement)
    assert.are.equal(8, request.num_generations)
    assert.are.same({ 0.9, 0.95, 1e-8 }, request.adam)
    assert.are.equal(5, request.seed)
    assert.are.equal(40, #request.prompts)
    local first = pl.data.rows(w.prompts)[1].prompt
    assert.are.equal(first, tok:decode(request.prompts[1], { skip_special = true }))
    assert.are.same(pl.data.stop_ids(tok, nil), request.stops)
    assert.are.equal(12, #request.text[1])
  end)

  it("has the keys of its recipe and two of its own", function()
    for _, method in ipairs { "ppo", "rloo", "grpo", "reinforce", "dpo", "kto" } do
      local peers = pl.config.keys_of("tests/bench/torch/" .. method .. ".lua")
      local recipes = pl.config.keys_of(method)
      for key in pairs(peers) do
        local own = key == "python" or key == "torch_threads"
        assert.are.equal(not own, recipes[key] == true, method .. " " .. key)
      end
    end
  end)

  it("learns from pairs of answers that differ, or from likes", function()
    local request = request_of("dpo", { dataset = w.rankings, batch_size = 10 })
    assert.are.equal(math.ceil(#request.items / 10), request.steps)
    for _, item in ipairs(request.items) do
      assert.are.equal(#item.sequences, #item.masks)
      for _, pair in ipairs(item.pairs) do
        assert.are_not.same(item.sequences[pair[1]], item.sequences[pair[2]])
      end
    end
    request = request_of("kto", { dataset = w.rankings, batch_size = 10 })
    local tok = assert(pl.tokenizer.load(w.model))
    local set = pl.data.labelled(tok, nil, w.rankings)
    assert.are.equal(#set, #request.items)
    assert.are.equal(set[1].label, request.items[1].liked)
    assert.are.same({ set[1].sequence }, request.items[1].sequences)
  end)

  it("refuses what it does not know", function()
    local settings = { dataset = w.prompts, reward_model = "RM", dynamic_sampling = 1 }
    local ok, message = pcall(request_of, "rloo", settings)
    assert.is_false(ok)
    assert.truthy(tostring(message):find("has no dynamic_sampling", 1, true))
  end)

  it("that fails is an error that has its command", function()
    local ok, message = pcall(request_of, "dpo", { dataset = w.rankings, python = "false" })
    assert.is_false(ok)
    assert.truthy(tostring(message):find("'false' '.*torch/peer.py' .* ended by exit 1"))
  end)
end)
