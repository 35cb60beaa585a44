--- A reward model judged by labeler, and on labelers it never learnt from.

local json = require("perilune.base.json")
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

  it("refuses to hold everybody out", function()
    local ok, message = pcall(run, { held_out_labelers = "ann,ben,cy" })
    assert.is_false(ok)
    assert.is_truthy(message:find("nothing to train on", 1, true), message)
  end)
end)
