local health = require("perilune.run.health")

--- A history in which one metric has the given values.
local function rows(name, values, more)
  local history = {}
  for i, value in ipairs(values) do
    history[i] = { step = i, [name] = value }
    for key, other in pairs(more or {}) do
      history[i][key] = other
    end
  end
  return history
end

--- n times a, then m times b.
local function steps(n, a, m, b)
  local values = {}
  for i = 1, n + m do
    values[i] = i <= n and a or b
  end
  return values
end

local function says(sentence, ...)
  assert.is_string(sentence)
  for _, part in ipairs({ ... }) do
    assert.is_truthy(sentence:find(part, 1, true), sentence)
  end
end

describe("an alarm", function()
  it("names metrics that are no numbers", function()
    says(health.not_finite(rows("loss", { 1, 0 / 0 }, { kl = math.huge })),
      "Not a number: kl, loss at step 2.", "--nan_check")
    assert.is_nil(health.not_finite(rows("loss", { 0 / 0, 1 })))
    assert.is_nil(health.not_finite({}))
  end)

  it("hears a KL that runs away, by size and by pace", function()
    says(health.kl_runaway(rows("objective/kl", steps(5, 50, 5, 70))),
      "70 nats a sequence away from the reference, more than 60", "Raise kl_coef")
    says(health.kl_runaway(rows("objective/kl", steps(5, 2, 5, 8))),
      "from 2 to 8 nats a sequence within 10 rows")
    assert.is_nil(health.kl_runaway(rows("objective/kl", steps(5, 4, 5, 8))))
    assert.is_nil(health.kl_runaway(rows("objective/kl", steps(5, 0.01, 5, 1))))
    assert.is_nil(health.kl_runaway(rows("objective/kl", steps(4, 2, 5, 800))))
    says(health.kl_runaway(rows("objective/kl", steps(5, 1, 5, 8)), { limit = 7 }), "more than 7")
  end)

  it("hears a negative KL, but not noise around zero", function()
    says(health.kl_negative(rows("objective/kl", steps(3, 0, 5, -2))), "Negative KL: -2 nats",
      "temperature")
    assert.is_nil(health.kl_negative(rows("objective/kl", steps(3, 0, 5, -0.2))))
  end)

  it("hears entropy collapse", function()
    says(health.entropy_collapse(rows("policy/entropy_avg", steps(5, 2, 5, 0.25))),
      "from 2 to 0.2500 nats a token")
    assert.is_nil(health.entropy_collapse(rows("policy/entropy_avg", steps(5, 2, 5, 0.5))))
  end)

  it("hears length drift both ways", function()
    says(health.length_drift(rows("completions/mean_length", steps(5, 20, 5, 40))),
      "from 20 to 40 tokens")
    says(health.length_drift(rows("completions/mean_length", steps(5, 20, 5, 8))),
      "from 20 to 8 tokens")
    assert.is_nil(health.length_drift(rows("completions/mean_length", steps(5, 20, 5, 30))))
  end)

  it("hears answers without end", function()
    says(health.no_end(rows("completions/clipped_ratio", { 0, 0.75, 0.75, 0.75 })),
      "No end: 75 % of the answers")
    assert.is_nil(health.no_end(rows("completions/clipped_ratio", { 0.4, 0.5, 0.5 })))
  end)

  it("hears a constant reward", function()
    says(health.constant_reward(rows("objective/scores_std", { 0, 0, 0 },
      { ["objective/scores"] = 0.5 })),
      "every answer scores 0.5000")
    assert.is_nil(health.constant_reward(rows("objective/scores_std", { 0, 0, 0.1 })))
  end)

  it("hears a value function that is worse than none", function()
    says(health.value_useless(rows("val/var_explained", steps(0, 0, 10, -0.5))),
      "it explains -0.5000")
    assert.is_nil(health.value_useless(rows("val/var_explained", steps(0, 0, 10, 0.1))))
    assert.is_nil(health.value_useless(rows("val/var_explained", steps(0, 0, 9, -0.5))))
  end)

  it("hears a reward that is length", function()
    says(health.reward_is_length(rows("health/length_corr", steps(0, 0, 5, 0.95))), "r = 0.95",
      "longer")
    says(health.reward_is_length(rows("health/length_corr", steps(0, 0, 5, -0.95))), "shorter")
    assert.is_nil(health.reward_is_length(rows("health/length_corr", steps(0, 0, 5, 0.85))))
  end)

  it("says nothing of metrics that are not there", function()
    local history = rows("loss", steps(20, 1, 20, 1))
    for _, name in ipairs(health.alarms) do
      assert.is_nil(health[name](history), name)
    end
  end)
end)

describe("a watch", function()
  it("repeats an alarm only after a while", function()
    local watch = health.watch({ every = 10, entropy_collapse = false })
    local history, heard = {}, {}
    for step = 1, 25 do
      history[step] = { step = step, ["completions/clipped_ratio"] = 0.9 }
      for _, sentence in ipairs(watch:check(history)) do
        heard[#heard + 1] = step .. sentence:sub(1, 6)
      end
    end
    assert.are.same({ "3No end", "13No end", "23No end" }, heard)
  end)

  it("refuses alarms and options it does not know", function()
    assert.has_error(function() health.watch({ kl_runawy = {} }) end,
      "health.watch has no option 'kl_runawy'; did you mean 'kl_runaway'?")
    local ok, message = pcall(health.kl_runaway, {}, { limt = 3 })
    assert.is_false(ok)
    assert.is_truthy(message:find("kl_runaway has no option 'limt'; did you mean 'limit'?", 1,
      true))
  end)
end)
