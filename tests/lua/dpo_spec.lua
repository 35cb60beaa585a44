--- recipes/dpo.lua: what its first step says and does, what it learns, which rows and losses it
-- takes. That it resumes to the same bits is in determinism_spec.

local json = require("perilune.base.json")
local pl = require("perilune")
local world = dofile("tests/lua/support/world.lua")

describe("DPO", function()
  local w

  setup(function() w = world.new("llama") end)

  teardown(world.clean)

  local runs = 0
  local function run(more)
    local settings = world.settings(w, "dpo")
    settings.save_steps, settings.threads = 0, 1
    for key, value in pairs(more or {}) do
      settings[key] = value
    end
    runs = runs + 1
    local folder = ("%s/dpo%d"):format(w.dir, runs)
    local summary = world.run("dpo", settings, folder)
    return summary, assert(pl.run.read_rows(folder .. "/metrics.jsonl")), folder
  end

  local function refusal(more)
    local ok, message = pcall(run, more)
    assert.is_false(ok)
    return message
  end

  local function near(wanted, got, tolerance)
    assert.is_true(math.abs(wanted - got) <= tolerance, ("%.9g, wanted %.9g"):format(got, wanted))
  end

  local function rankings()
    local rows = {}
    for line in world.read(w.rankings):gmatch("[^\n]+") do
      rows[#rows + 1] = json.decode(line)
    end
    return rows
  end

  -- The gradient's norm at the start over all sets in one step, each pair by itself.
  local function first_grad_norm()
    local model, tok = assert(pl.load(w.model)), assert(pl.tokenizer.load(w.model))
    local sets = pl.data.ranked(tok, nil, w.rankings)
    for i = 1, #sets do
      local set = sets[i]
      local list = pl.preference.pairs(set.ranks)
      local function logp(k)
        local packed = pl.batch.pack { set.sequences[k] }
        local at = pl.batch.targets({ set.sequences[k] }, { set.masks[k] })
        return pl.loss.logprobs(model, packed, at):sum()
      end
      local distinct = {}
      for _, pair in ipairs(list) do
        local a, b = set.sequences[pair[1]], set.sequences[pair[2]]
        if table.concat(a, " ") ~= table.concat(b, " ") then distinct[#distinct + 1] = pair end
      end
      for _, pair in ipairs(distinct) do
        local better, worse = logp(pair[1]), logp(pair[2])
        local margin = (better - better:detach()) - (worse - worse:detach())
        local part = (margin * 0.1):log_sigmoid() * (-1 / #distinct / #sets)
        part:backward()
      end
    end
    local sum = 0
    for _, name in ipairs(model.block:names()) do
      sum = sum + model.weights[name]:grad():square():sum():item()
    end
    return math.sqrt(sum)
  end

  it("begins at ln 2 with the gradient of its pairs one by one", function()
    local _, rows = run { batch_size = 40, max_steps = 1 }
    near(math.log(2), rows[1].loss, 1e-6)
    for _, name in ipairs { "chosen", "rejected", "margins" } do
      assert.equal(0, rows[1]["rewards/" .. name])
    end
    near(0.5, rows[1]["rewards/accuracies"], 1e-6)
    assert.is_true(rows[1]["logps/chosen"] < -5 and rows[1]["logps/rejected"] < -5)
    local wanted = first_grad_norm()
    near(wanted, rows[1].grad_norm, 1e-4 * wanted)
  end)

  -- Accuracy on what was trained, after three passes.
  local function learns(kinds)
    for loss_type, beta in pairs(kinds) do
      local summary = run {
        loss_type = loss_type,
        beta = beta,
        label_smoothing = loss_type == "robust" and 0.1 or 0,
        num_train_epochs = 3,
        learning_rate = 0.006,
        eval_dataset = w.rankings,
      }
      local text = ("%s: %.4f"):format(loss_type, summary.eval_accuracy)
      assert.is_true(summary.eval_accuracy >= 0.85, text)
    end
  end

  it(
    "orders 85 of 100 pairs after three passes: sigmoid, ipo, orpo",
    function() learns { sigmoid = 0.1, ipo = 0.1, orpo = 1 } end
  )

  it(
    "orders 85 of 100 pairs after three passes: robust, hinge, simpo #long",
    function() learns { robust = 0.1, hinge = 0.1, simpo = 2 } end
  )

  it("is the same whether pairs come as rankings or as chosen and rejected", function()
    local ranked, explicit = {}, {}
    for i, row in ipairs(rankings()) do
      local better, worse = row.completions[1], row.completions[2]
      ranked[i] = { prompt = row.prompt, completions = { better, worse }, ranks = { 1, 2 } }
      explicit[i] = { prompt = row.prompt, chosen = better, rejected = worse }
    end
    local function hash(rows, name)
      local path = world.jsonl(("%s/%s.jsonl"):format(w.dir, name), rows)
      return run({ dataset = path, max_steps = 2 }).weights_hash
    end
    assert.equal(hash(ranked, "ranked"), hash(explicit, "explicit"))
  end)

  it("takes all pairs, those of the ends, or neighbours", function()
    local seen = {}
    for _, which in ipairs { "all", "best-worst", "adjacent" } do
      seen[run({ pairs = which, max_steps = 2 }).weights_hash] = true
    end
    local n = 0
    for _ in pairs(seen) do
      n = n + 1
    end
    assert.equal(3, n)
  end)

  it("differs by rounding alone when it is cut into other micro-batches", function()
    local _, one = run { micro_batch_tokens = 20, max_steps = 3 }
    local _, other = run { micro_batch_tokens = 10000, max_steps = 3 }
    for i = 1, 3 do
      near(one[i].loss, other[i].loss, 1e-4)
      near(one[i].grad_norm, other[i].grad_norm, 1e-3 * one[i].grad_norm)
    end
  end)

  it("learns adapters beside their base, which is the reference", function()
    local summary = run {
      peft_r = 4,
      learning_rate = 0.02,
      num_train_epochs = 3,
      eval_dataset = w.rankings,
    }
    assert.is_true(summary.eval_accuracy >= 0.8, summary.eval_accuracy)
  end)

  it("keeps the checkpoint that answers held-out prompts best", function()
    local summary, rows, folder = run {
      eval_prompts = w.prompts,
      reward_function = w.reward,
      eval_dataset = w.rankings,
      eval_steps = 3,
      eval_count = 8,
      response_length = 10,
      checkpoint_choice = "eval_score",
    }
    local best
    local count, start = 1, nil -- the start is the first
    for _, row in ipairs(rows) do
      if row.eval_score then
        if not best or row.eval_score > best.eval_score then best = row end
        count = count + 1
        assert.equal(count, row.eval_score_count)
        start = start or row.eval_score + row.eval_score_lost -- its score, or less than the first
        local lost = math.max(start, best.eval_score) - row.eval_score
        assert.is_true(math.abs(lost - row.eval_score_lost) < 1e-9)
      end
    end
    assert.equal("checkpoint-" .. best.step, summary.best_checkpoint)
    assert.is_number(best.eval_kl)
    assert.is_number(best["eval_rewards/margins"])
    local chosen = assert(pl.load(("%s/checkpoint-%d"):format(folder, best.step)))
    assert.equal(chosen:hash(), summary.weights_hash)
  end)

  it("holds on to the better answers when it is asked to", function()
    local _, rows = run { eval_dataset = w.rankings }
    local _, held = run { eval_dataset = w.rankings, rpo_alpha = 1 }
    local free, kept = rows[#rows].eval_nll_loss, held[#held].eval_nll_loss
    assert.is_true(kept < 0.9 * free, kept .. " " .. free)
  end)

  it("learns from one pair, and refuses none", function()
    local one = world.jsonl(w.dir .. "/one.jsonl", {
      { prompt = "a fox", chosen = "sees the sea", rejected = "sees nobody" },
    })
    local summary, rows = run { dataset = one, num_train_epochs = 8 }
    assert.equal(8, summary.steps)
    near(math.log(2), rows[1].loss, 1e-6)
    assert.is_true(summary.loss < 0.5 and summary.accuracy == 1)
    local equal = world.jsonl(w.dir .. "/equal.jsonl", {
      { prompt = "a fox", completions = { "sees", "sees" }, ranks = { 1, 2 } },
      { prompt = "a fox", completions = { "sees", "wants" }, ranks = { 1, 1 } },
    })
    assert.matches(
      "nothing in it can be used (2 rows, 0 used; left out: all ranks equal 1, equal answers 1)",
      refusal { dataset = equal },
      1,
      true
    )
  end)

  it("leaves out pairs of equal answers and says how many", function()
    local rows = rankings()
    rows[1].completions[2], rows[1].ranks = rows[1].completions[1], { 1, 2, 3, 4 }
    local path = world.jsonl(w.dir .. "/twins.jsonl", { rows[1] })
    local _, _, folder = run { dataset = path, max_steps = 1 }
    assert.matches(
      "1 pairs of " .. path .. " are left out: both answers are the same",
      world.read(folder .. ".err"),
      1,
      true
    )
  end)

  it("refuses keys that do not fit together", function()
    for sentence, more in pairs {
      ["label_smoothing is of loss_type sigmoid and robust"] = {
        loss_type = "ipo",
        label_smoothing = 0.1,
      },
      ["checkpoint_choice eval_score wants eval_prompts"] = { checkpoint_choice = "eval_score" },
      ["checkpoint_choice eval_loss wants an eval_dataset"] = { checkpoint_choice = "eval_loss" },
      ["eval_prompts wants one of reward_model and reward_function"] = { eval_prompts = w.prompts },
      ["judges answers to eval_prompts: give these too"] = { reward_function = w.reward },
    } do
      local message = refusal(more)
      assert.matches(sentence, message, 1, true)
      assert.is_nil(message:find("traceback", 1, true), message)
    end
  end)
end)
