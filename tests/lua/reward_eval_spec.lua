--- A reward model judged by labeler, and on labelers it never learnt from.

local json = require("perilune.base.json")
local pl = require("perilune")
local world = dofile("tests/lua/support/world.lua")

describe("a reward model", function()
  local w, rankings

  setup(function()
    w = world.new("llama")
    local lines, i = {}, 0
    for line in world.read(w.rankings):gmatch("[^\n]+") do
      local row = json.decode(line)
      i = i + 1
      row.labeler = ({ "ann", "ben", "cy" })[i % 3 + 1]
      lines[i] = json.encode(row)
    end
    rankings = world.write(w.dir .. "/by-labeler.jsonl", table.concat(lines, "\n") .. "\n")
  end)

  teardown(world.clean)

  local runs = 0
  local function run(more)
    local settings = world.settings(w, "reward")
    settings.dataset, settings.eval_dataset, settings.save_steps = rankings, rankings, 0
    settings.threads = 1
    for key, value in pairs(more) do
      settings[key] = value
    end
    runs = runs + 1
    return world.run("reward", settings, ("%s/rm%d"):format(w.dir, runs))
  end

  it("is told by labeler", function()
    local summary = run {}
    local pairs_seen = 0
    for _, name in ipairs { "ann", "ben", "cy" } do
      local own = summary.eval_labelers[name]
      assert.is_true(own.accuracy >= own.ci95[1] and own.accuracy <= own.ci95[2])
      pairs_seen = pairs_seen + own.pairs
    end
    assert.are.equal(summary.eval_pairs, pairs_seen)
    assert.is_nil(summary.held_out_accuracy)
  end)

  it("does not learn from held-out labelers, and is measured on them", function()
    local all, apart = run {}, run { held_out_labelers = "cy, ben" }
    assert.are_not.equal(all.weights_hash, apart.weights_hash)
    assert.are.equal(
      apart.eval_labelers.cy.pairs + apart.eval_labelers.ben.pairs,
      apart.held_out_pairs
    )
    assert.is_nil(apart.held_out_labelers.ann)
    assert.is_number(apart.held_out_accuracy)
  end)

  it("keeps the checkpoint that is best on held-out labelers", function()
    local summary = run {
      held_out_labelers = "cy",
      checkpoint_choice = "held_out_accuracy",
      eval_steps = 2,
    }
    local folder = ("%s/rm%d"):format(w.dir, runs)
    local best
    for _, row in ipairs(assert(pl.run.read_rows(folder .. "/metrics.jsonl"))) do
      local accuracy = row.held_out_accuracy
      if accuracy and (not best or accuracy > best.held_out_accuracy) then best = row end
    end
    assert.are.equal("checkpoint-" .. best.step, summary.best_checkpoint)
    assert.are.equal(best.held_out_accuracy, summary.held_out_accuracy)
    local chosen = assert(pl.load(("%s/%s"):format(folder, summary.best_checkpoint)))
    assert.are.equal(chosen:hash(), summary.weights_hash)
  end)

  it("ends when labelers it did not learn from see nothing better, and stays ended", function()
    local more = {
      held_out_labelers = "cy",
      checkpoint_choice = "held_out_accuracy",
      eval_steps = 1,
      early_stopping_patience = 2,
      num_train_epochs = 20,
      learning_rate = 0.02,
    }
    local summary = run(more)
    local folder = ("%s/rm%d"):format(w.dir, runs)
    local rows = assert(pl.run.read_rows(folder .. "/metrics.jsonl"))
    local best, since = nil, 0
    for i, row in ipairs(rows) do
      local is_better = not best or row.held_out_accuracy > best
      best, since = is_better and row.held_out_accuracy or best, is_better and 0 or since + 1
      assert.are.equal(i == #rows, since == 2)
    end
    assert.is_true(#rows < 140)
    assert.are.equal(best, summary.held_out_accuracy)
    local settings = world.settings(w, "reward")
    settings.dataset, settings.eval_dataset, settings.save_steps = rankings, rankings, 0
    settings.threads = 1
    for key, value in pairs(more) do
      settings[key] = value
    end
    local again = world.run("reward", settings, folder, { "--resume" })
    assert.are.equal(summary.weights_hash, again.weights_hash)
    assert.are.equal(#rows, #assert(pl.run.read_rows(folder .. "/metrics.jsonl")))
  end)

  it("fits the rate of flipped pairs: few, where rankings agree with each other", function()
    local more = { labeler_noise = 0.3, fit_labeler_noise = true, num_train_epochs = 8 }
    local summary = run(more)
    assert.is_true(summary.labeler_noise < 0.15, summary.labeler_noise)
    local rows = assert(pl.run.read_rows(("%s/rm%d/metrics.jsonl"):format(w.dir, runs)))
    local wanted = 0.3 -- each step goes a tenth of the way to what it found
    for _, row in ipairs(rows) do
      wanted = wanted + 0.1 * (row.flipped_pairs - wanted)
      assert.is_true(math.abs(wanted - row.labeler_noise) < 1e-12)
    end
    assert.are.equal(0.25, run({ labeler_noise = 0.25 }).labeler_noise)
    assert.is_nil(run({}).labeler_noise)
  end)

  it("has better answers lead by margins", function()
    local plain = run { num_train_epochs = 4 }
    local wide = run { num_train_epochs = 4, margins = "ranks", margin_unit = 6 }
    local function spread(n) -- of the scores of the last step
      local rows = assert(pl.run.read_rows(("%s/rm%d/metrics.jsonl"):format(w.dir, n)))
      return rows[#rows].reward_std
    end
    assert.is_true(spread(runs) > 1.5 * spread(runs - 1), spread(runs) .. " " .. spread(runs - 1))
    assert.are_not.equal(plain.weights_hash, wide.weights_hash)
    local none = run { margins = "rows" }
    assert.are.equal(run({}).weights_hash, none.weights_hash)
    assert.matches(
      "no row of " .. rankings .. " has margins",
      world.read(("%s/rm%d.err"):format(w.dir, runs - 1)),
      1,
      true
    )
  end)

  it("refuses keys that do not fit together", function()
    for sentence, more in pairs {
      ["fit_labeler_noise wants a labeler_noise to begin with"] = { fit_labeler_noise = true },
      ["labeler_noise and label_smoothing say the same"] = {
        labeler_noise = 0.1,
        label_smoothing = 0.1,
      },
      ["checkpoint_choice held_out_accuracy wants held_out_labelers"] = {
        checkpoint_choice = "held_out_accuracy",
      },
      ["early_stopping_patience wants a checkpoint_choice"] = { early_stopping_patience = 1 },
      ["checkpoint_choice eval_accuracy wants eval_steps"] = {
        checkpoint_choice = "eval_accuracy",
      },
    } do
      local ok, message = pcall(run, more)
      assert.is_false(ok)
      assert.matches(sentence, message, 1, true)
    end
  end)

  it("refuses to hold everybody out", function()
    local ok, message = pcall(run, { held_out_labelers = "ann,ben,cy" })
    assert.is_false(ok)
    assert.is_truthy(message:find("nothing is left to learn", 1, true), message)
  end)
end)
