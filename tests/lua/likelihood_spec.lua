--- What a language model thinks of answers, beside the scores of a reward model: the sums by hand,
-- the loss of a reward model that learns what they do not say, the rewards of PPO, and who refuses.

local json = require("perilune.base.json")
local message_of = dofile("tests/lua/support/message_of.lua")
local pl = require("perilune")
local stderr_of = dofile("tests/lua/support/said.lua")
local system = require("perilune.core").system
local world = dofile("tests/lua/support/world.lua")

local w

setup(function() w = world.new("llama") end)
teardown(function() world.clean() end)

local function near(wanted, found, within)
  assert.is_true(math.abs(wanted - found) < within, ("%.9g, not %.9g"):format(found, wanted))
end

-- Tokenizer, ranked sets and what the model says of their answers, one at a time.
local function by_hand()
  local tok, model = assert(pl.tokenizer.load(w.model)), assert(pl.load(w.model)):freeze()
  local sets, said = pl.data.ranked(tok, nil, w.rankings), {}
  for i = 1, #sets do
    for k, sequence in ipairs(sets[i].sequences) do
      local loss = pl.loss.lm(model, { sequence }, { sets[i].masks[k] }, { norm = 1 })
      said[#said + 1] = -loss:item()
    end
  end
  return sets, said, model, tok
end

describe("the likelihoods of ranked answers", function()
  it("are the sums over their tokens alone, whatever goes into one forward", function()
    local sets, said, model = by_hand()
    for _, max_tokens in ipairs { 1, 40, 16384 } do
      local found = pl.score.likelihoods_of_sets(model, sets, max_tokens)
      assert.equal(#said, #found)
      for i, logprob in ipairs(said) do
        near(logprob, found[i], 1e-4)
        assert.is_true(found[i] < -1)
      end
    end
    assert.are.same({}, pl.score.likelihoods_of_sets(model, {}))
    assert.are.same({}, pl.score.likelihoods(model, {}))
  end)

  it("stand beside scores by their weight", function()
    assert.are.same({ 0, 3.5 }, pl.score.with_likelihoods({ 1, 4 }, { -2, -1 }, 0.5))
    assert.are.same({}, pl.score.with_likelihoods({}, {}, 2))
  end)
end)

describe("a reward model beside likelihoods", function()
  local function settings(more)
    local all = world.settings(w, "reward")
    all.reference, all.likelihood_coef, all.threads = w.model, 0.4, 1
    for key, value in pairs(more or {}) do
      all[key] = value
    end
    return all
  end

  it("learns by the loss of their sum", function()
    local sets, said = by_hand()
    world.run("reward", settings { max_steps = 1, batch_size = #sets }, w.dir .. "/one")
    local row = assert(pl.run.read_rows(w.dir .. "/one/metrics.jsonl"))[1]
    local model = assert(pl.load(w.model, { scalar_head = true, seed = 5 })):freeze()
    local scores, ranks = pl.score.sets(model, sets)
    local loss, at = 0, 0
    for _, of_set in ipairs(ranks) do
      local sum, n = 0, 0
      for i, better in ipairs(of_set) do
        for j, worse in ipairs(of_set) do
          if better < worse then
            local a, b = at + i, at + j
            local x = scores[a] - scores[b] + 0.4 * (said[a] - said[b])
            sum, n = sum + math.log(1 + math.exp(-x)), n + 1
          end
        end
      end
      loss, at = loss + sum / n / #ranks, at + #of_set
    end
    near(loss, row.loss, 1e-4)
  end)

  it("is measured as it learns, and goes on as it would have", function()
    local own = settings { eval_dataset = w.rankings, save_total_limit = 0 }
    local whole = world.run("reward", own, w.dir .. "/whole")
    local from = pl.run.checkpoints(w.dir .. "/whole")[7].path
    local again = world.run("reward", own, w.dir .. "/whole", { "--resume", from })
    assert.equal(whole.weights_hash, again.weights_hash)
    local sets, said = by_hand()
    local model, ranks = assert(pl.load(w.dir .. "/whole/model")):freeze(), {}
    for i = 1, #sets do
      ranks[i] = sets[i].ranks
    end
    local scores = pl.score.with_likelihoods(pl.score.sets(model, sets), said, 0.4)
    local wanted = pl.ranking.calibration(pl.ranking.gaps(scores, ranks)).eval_accuracy
    near(wanted, whole.rm_accuracy, 1e-9)

    local command = { world.program, "judge", w.dir .. "/whole/model", "--rankings", w.rankings }
    local files = { stdin = "/dev/null", stdout = w.dir .. "/out", stderr = w.dir .. "/err" }
    local more = { "--reference", w.model, "--likelihood_coef", "0.4", "--json" }
    local _, code = system.spawn(table.move(more, 1, #more, #command + 1, command), files)
    assert.equal(0, code, world.read(w.dir .. "/err"))
    near(wanted, json.decode(world.read(w.dir .. "/out")).eval_accuracy, 1e-9)
    assert.is_nil(world.read(w.dir .. "/err"):find("beware", 1, true))
    command = { world.program, "judge", w.dir .. "/whole/model", "--rankings", w.rankings }
    _, code = system.spawn(command, files)
    assert.equal(0, code)
    local half = "with a likelihood_coef of 0.4, and its scores alone are half of a reward"
    assert.truthy(world.read(w.dir .. "/err"):find(half, 1, true))
  end)

  it("is told wherever its scores are taken for the whole", function()
    local rm = w.dir .. "/whole/model"
    assert.equal(0.4, assert(pl.load(rm)).config.score_likelihood_coef)
    assert.equal(0.4, assert(pl.load(rm)):copy().config.score_likelihood_coef)
    assert.matches("score_likelihood_coef` = 0.4 of", world.read(rm .. "/README.md"), 1, true)
    world.run("reward", world.settings(w, "reward"), w.dir .. "/alone")
    local plain = w.dir .. "/alone/model"
    assert.is_nil(assert(pl.load(plain)).config.score_likelihood_coef)
    local mix = message_of(pl.model.mix, { pl.load(plain), pl.load(rm) }, { 0.5, 0.5 })
    assert.matches("differs in score_likelihood_coef: 0.4, where model 1 has nothing", mix, 1, true)

    local function of_run(recipe, more)
      local all = {
        model = w.model,
        dataset = w.prompts,
        reward_model = rm,
        response_length = 8,
        max_steps = 1,
        output_dir = w.dir .. "/half",
        overwrite_output_dir = true,
        quiet = true,
        threads = 1,
      }
      for key, value in pairs(more or {}) do
        all[key] = value
      end
      return pcall(pl.config.run_recipe, recipe, all)
    end
    for _, recipe in ipairs { "ppo", "rloo", "grpo", "reinforce", "best_of_n", "online_dpo" } do
      local ok, message = of_run(recipe)
      assert.is_false(ok)
      assert.matches("a likelihood_coef of 0.4, and its scores", tostring(message), 1, true)
    end
    local sizes = { batch_size = 4, num_mini_batches = 1, total_episodes = 4 }
    for _, coef in ipairs { "0.4", "linear(0, 0.4)" } do
      sizes.likelihood_coef = coef
      assert(of_run("ppo", sizes))
    end
    sizes.likelihood_coef, sizes.reward_model = 0.4, plain -- trained alone: may stand beside them
    assert(of_run("ppo", sizes))
    local ok, message = pcall(pl.config.run_recipe, "dpo", {
      model = w.model,
      dataset = w.rankings,
      eval_prompts = w.prompts,
      reward_model = rm,
      output_dir = w.dir .. "/half",
      overwrite_output_dir = true,
      quiet = true,
    })
    assert.is_false(ok)
    assert.matches("half of a reward: judge eval_prompts by another", tostring(message), 1, true)
    ok, message = pcall(pl.config.run_recipe, "sft", {
      model = w.model,
      dataset = w.demos,
      select_prompts = w.prompts,
      reward_model = rm,
      response_length = 8,
      output_dir = w.dir .. "/half",
      overwrite_output_dir = true,
      quiet = true,
    })
    assert.is_false(ok)
    assert.matches("half of a reward: choose the epoch by another", tostring(message), 1, true)
  end)

  it("tells where it is read otherwise than it was learnt", function()
    local rm, plain = w.dir .. "/whole/model", w.dir .. "/alone/model"
    local far = w.dir .. "/far" -- other weights, and so other log-probs
    local moved = assert(pl.load(w.model))
    do
      local guard <close> = pl.no_grad()
      local weight = moved.weights["model.norm.weight"]
      weight:copy_(weight * 1.5)
    end
    assert(moved:save(far, { tokenizer = assert(pl.tokenizer.load(w.model)) }))
    local function told(key, value, more)
      local all = {
        model = w.model,
        dataset = w.prompts,
        reward_model = rm,
        likelihood_coef = 0.4,
        response_length = 8,
        batch_size = 4,
        num_mini_batches = 1,
        total_episodes = 4,
        threads = 1,
        output_dir = w.dir .. "/told",
        overwrite_output_dir = true,
        [key] = value,
      }
      for name, other in pairs(more or {}) do
        all[name] = other
      end
      local lines, ok, message = stderr_of(pl.config.run_recipe, "ppo", all)
      assert(ok, message)
      return lines
    end
    local function warns(text, ...)
      local lines = told(...)
      assert.matches("warning: " .. text, lines, 1, true)
    end
    local lines = told("seed", 2)
    assert.is_nil(lines:find("trained beside", 1, true) or lines:find("likelihood_coef:", 1, true))
    assert.is_nil(told("likelihood_coef", "linear(0, 0.4)"):find("of weight", 1, true))
    warns("likelihood_coef: log-probs are taken at temperature 0.7", "temperature", 0.7)
    local other = "reward model " .. rm .. " was trained beside "
    warns(other .. "log-probs of weight 0.4; here they have 0.8", "likelihood_coef", 0.8)
    warns(other .. "the log-probs of another model than " .. far .. ":", "model", far)
    warns("normalize_scores changes scores and not the log-probs", "normalize_scores", true)
    warns("reward_clip changes scores and not the log-probs", "reward_clip", 2)
    local both = { reward_function = w.reward }
    warns(other .. "log-probs of weight 0.4; here they have 0.2", "reward_weights", "2,1", both)
    warns(
      "reward model " .. plain .. " was trained alone, and stands beside",
      "reward_model",
      rm .. "," .. plain
    )

    local models = { { path = rm, model = assert(pl.load(rm)):freeze() } }
    assert.are.same({}, pl.score.estranged(models, 0.4, w.model))
    assert.equal(2, #pl.score.estranged(models, 0.3, far))
    models[1] = { path = plain, model = assert(pl.load(plain)):freeze() }
    assert.are.same({}, pl.score.estranged(models, 0.3, far))
  end)

  it("wants a weight with a reference, and a reference that writes", function()
    local one = settings { output_dir = w.dir .. "/no", reference = "" }
    local message = message_of(pl.config.run_recipe, "recipes/reward.lua", one)
    assert.matches("reference and likelihood_coef go together", message, 1, true)
    local other = settings { output_dir = w.dir .. "/no", reference = w.dir .. "/whole/model" }
    message = message_of(pl.config.run_recipe, "recipes/reward.lua", other)
    assert.matches("it scores answers and writes none", message, 1, true)
  end)
end)

local RECIPE <const> = [[
local pl = require("perilune")
local cfg = pl.config {
  name = "likelihood", about = "rewards of a rollout", "Models and data", pl.config.online(),
  { batch_size = 8, "answers", min = 1 },
  pl.config.sampling(), pl.config.kl(), pl.config.likelihood(), pl.config.scores(),
  pl.config.policy_steps { num_mini_batches = 1 },
  pl.config.forwards(), pl.config.ptx(), pl.config.adam(), pl.config.peft(), pl.config.held_out(),
}
local online = pl.online.open(cfg, "likelihood")
local weight, guard <close> = online.policy.weights["model.norm.weight"], pl.no_grad()
weight:copy_(weight * 1.5)
local roll, asked = online:sample(online:keys(1))
online:evaluate(roll, asked)
local totals, per_token = online:rewards(roll, 0.3, 1)
return {
  totals = totals, per_token = per_token:totable(), old = roll.old:totable(), scores = roll.scores,
  reference = roll.reference:totable(), segments = roll.segments,
}
]]

describe("the rewards of a policy", function()
  setup(function() world.write(w.dir .. "/likelihood.lua", RECIPE) end)

  it("have the reference's log-prob at each token, beside the KL and the score", function()
    for _, placement in ipairs { "reward", "loss" } do
      local r = pl.config.run_recipe(w.dir .. "/likelihood.lua", {
        model = w.model,
        reward_function = w.reward,
        dataset = w.prompts,
        response_length = 8,
        likelihood_coef = 0.5,
        kl_placement = placement,
        output_dir = w.dir .. "/rewards",
        overwrite_output_dir = true,
        quiet = true,
      })
      local beta = placement == "reward" and 0.3 or 0
      for b = 1, #r.segments - 1 do
        local total = 0
        for t = r.segments[b] + 1, r.segments[b + 1] do
          local wanted = -beta * (r.old[t] - r.reference[t]) + 0.5 * r.reference[t]
          if t == r.segments[b + 1] then wanted = wanted + r.scores[b] end
          near(wanted, r.per_token[t], 1e-5)
          total = total + wanted
        end
        near(total, r.totals[b], 1e-4)
      end
    end
  end)

  it("are those of an evaluation's chooser, which wants a reference", function()
    local all = {
      model = w.model,
      dataset = w.prompts,
      reward_function = w.reward,
      chooser = w.dir .. "/whole/model",
      likelihood_coef = 1,
      best_of = 4,
      response_length = 8,
      threads = 1,
    }
    all.output_dir = w.dir .. "/no"
    local message = message_of(pl.config.run_recipe, "recipes/eval.lua", all)
    assert.matches("likelihood_coef wants a chooser and a reference", message, 1, true)
    all.reference, all.output_dir = w.model, nil
    local told = {}
    for coef = 0, 2 do
      all.likelihood_coef = coef
      told[coef] = world.run("eval", all, ("%s/eval%d"):format(w.dir, coef)).chooser_score
    end
    assert.is_true(told[1] < told[0] - 1)
    near(2 * (told[1] - told[0]), told[2] - told[0], 1e-4)
  end)
end)
