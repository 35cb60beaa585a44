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
  for _, part in ipairs { ... } do
    assert.is_truthy(sentence:find(part, 1, true), sentence)
  end
end

describe("an alarm", function()
  it("names metrics that are no numbers", function()
    says(
      health.not_finite(rows("loss", { 1, 0 / 0 }, { kl = math.huge })),
      "Not a number: kl, loss at step 2.",
      "--nan_check"
    )
    assert.is_nil(health.not_finite(rows("loss", { 0 / 0, 1 })))
    assert.is_nil(health.not_finite {})
  end)

  it("does not blame the learning rate for scores that are no numbers", function()
    local sentence = health.not_finite(rows("objective/raw_scores", { 0 / 0 }, { loss = 0 / 0 }))
    says(sentence, "loss, objective/raw_scores at step 1", "reward function", "reward model")
    assert.not_matches("lower the learning rate", sentence, 1, true)
  end)

  it("asks for the limit of the KL from the first row", function()
    says(health.kl_runaway(rows("objective/kl", { 70 })), "70 nats a sequence", "more than 60")
    assert.is_nil(health.kl_runaway(rows("objective/kl", { 10, 70 }))) -- 40 on average
    assert.is_nil(health.kl_runaway {})
  end)

  it("says of a KL that runs away what does not hold it", function()
    local history = rows("objective/kl", { 70 })
    says(health.kl_runaway(history, nil, { kl_coef = 0 }), "kl_coef is 0, so nothing holds it")
    local function as_loss(estimator)
      return { kl_coef = 0.1, kl_placement = "loss", kl_estimator = estimator }
    end
    says(health.kl_runaway(history, nil, as_loss("k1")), "set kl_estimator to k2")
    says(health.kl_runaway(history, nil, as_loss("k2")), "Raise kl_coef")
  end)

  it("hears a KL that runs away, by size and by pace", function()
    says(
      health.kl_runaway(rows("objective/kl", steps(5, 50, 5, 70))),
      "70 nats a sequence away from the reference, more than 60",
      "Raise kl_coef"
    )
    says(
      health.kl_runaway(rows("objective/kl", steps(5, 3, 5, 12))),
      "from 3 to 12 nats a sequence within 10 rows"
    )
    assert.is_nil(health.kl_runaway(rows("objective/kl", steps(5, 0.5, 5, 9)))) -- it starts at 0
    assert.is_nil(health.kl_runaway(rows("objective/kl", steps(5, 4, 5, 8))))
    assert.is_nil(health.kl_runaway(rows("objective/kl", steps(5, 0.01, 5, 1))))
    assert.is_nil(health.kl_runaway(rows("objective/kl", steps(4, 3, 5, 12))))
    says(health.kl_runaway(rows("objective/kl", steps(5, 1, 5, 8)), { limit = 7 }), "more than 7")
  end)

  it("hears a negative KL, but not noise around zero", function()
    says(
      health.kl_negative(rows("objective/kl", steps(3, 0, 5, -2))),
      "Negative KL: -2 nats",
      "temperature"
    )
    assert.is_nil(health.kl_negative(rows("objective/kl", steps(3, 0, 5, -0.2))))
  end)

  it("reads the KL of held-out prompts where a run has no other", function()
    local kto = { beta = 0.1, learning_rate = 0.001, loss_type = "kto", reward_model = "rm" }
    says(
      health.kl_runaway(rows("eval_kl", { 10, 70 }), nil, kto), -- each measurement counts alone
      "70 nats a sequence away from the reference, more than 60. At such distances little is left",
      "Raise beta (0.1000) or lower learning_rate (0.001000)."
    )
    says(
      health.kl_runaway(rows("eval_kl", steps(5, 3, 5, 12)), nil, kto),
      "from 3 to 12 nats a sequence within 10 measurements; the policy leaves the reference faster",
      "Raise beta"
    )
    kto.loss_type = "simpo" -- its beta holds nothing
    says(health.kl_runaway(rows("eval_kl", { 70 }), nil, kto), "could do. Lower learning_rate")
    says(health.kl_negative(rows("eval_kl", { 1, -2 })), "Negative KL: -2 nats")
    assert.is_nil(health.kl_negative(rows("eval_kl", { -0.2 })))
    -- of DPO with β 0.4 on stories, and KTO on a toy: scores rise, nothing runs away
    for _, measured in ipairs {
      { 7.947, 11.71, 10.87, 11.19, 10.94 },
      { 1.823, 4.218, 4.877, 5.517, 5.241, 6.612, 8.389, 8.673, 8.074, 9.295, 10.28 },
    } do
      assert.is_nil(health.kl_runaway(rows("eval_kl", measured)))
      assert.is_nil(health.kl_negative(rows("eval_kl", measured)))
    end
    -- on preferences: three times what makes preferred answers unlikely to the reference
    kto.loss_type = "kto"
    local function on_pairs(kls, nats, ratio)
      local more = { ["logps/chosen"] = ratio - nats, ["rewards/chosen"] = 0.1 * ratio }
      return health.kl_runaway(rows("eval_kl", kls, more), nil, kto)
    end
    says(
      on_pairs({ 15 }, 4, -6),
      "is 15 nats a sequence away from the reference, more than 12.00 (preferred answers are 4.000 "
        .. "nats unlikely to it). At such distances little is left"
    )
    assert.is_nil(on_pairs({ 12 }, 4, 2))
    assert.is_nil(on_pairs({ 3, 3, 20 }, 4, 2)) -- one measurement of three
    says(
      on_pairs({ 3, 20, 20 }, 4, 2),
      "14.33 nats a sequence away from the reference, more than 12"
    )
    assert.is_nil(on_pairs({ 14.9 }, 5, -6))
    assert.is_nil(on_pairs({ 10 }, 1, 0)) -- no limit is below 10 nats
    says(on_pairs({ 61 }, 300, 0), "61 nats a sequence away from the reference, more than 60. At")
    assert.is_nil(on_pairs(steps(5, 3, 5, 12), 5, 0)) -- to those answers it may go fast
    says(
      on_pairs(steps(5, 3, 5, 12), 300, 0),
      "from 3 to 12 nats a sequence within 10 measurements"
    )
    kto.loss_type = "orpo" -- its rewards are no log ratios: the first rows are the reference's
    says(on_pairs({ 15 }, 4, 0), "more than 12")
    assert.is_nil(on_pairs({ 15 }, 4, -2))
    local both = rows("objective/kl", steps(5, 1, 5, 2), { eval_kl = 70 })
    assert.is_nil(health.kl_runaway(both)) -- what is learnt from is nearer
  end)

  it("does not speak of a reward model where a function judges", function()
    local sentence = health.kl_runaway(rows("objective/kl", { 70 }), nil, { reward_model = "" })
    says(sentence, "At such distances little is left of what the reference could do.")
    says(
      health.kl_runaway(rows("objective/kl", { 70 }), nil, { reward_model = "rm" }),
      "scores text"
    )
  end)

  it("hears entropy collapse", function()
    says(
      health.entropy_collapse(rows("policy/entropy_avg", steps(5, 2, 5, 0.25))),
      "from 2 to 0.2500 nats a token"
    )
    assert.is_nil(health.entropy_collapse(rows("policy/entropy_avg", steps(5, 2, 5, 0.5))))
  end)

  it("hears length drift both ways", function()
    says(
      health.length_drift(rows("completions/mean_length", steps(5, 20, 5, 40))),
      "from 20 to 40 tokens"
    )
    says(
      health.length_drift(rows("completions/mean_length", steps(5, 20, 5, 8))),
      "from 20 to 8 tokens"
    )
    assert.is_nil(health.length_drift(rows("completions/mean_length", steps(5, 20, 5, 30))))
    assert.is_nil(health.length_drift(rows("completions/mean_length", steps(5, 6, 5, 2.5))))
    assert.is_nil(health.length_drift(rows("completions/mean_length", steps(5, 3, 5, 6.5))))
    assert.is_string(health.length_drift(rows("completions/mean_length", steps(5, 3, 5, 7.5))))
  end)

  it("says of length what judges, where that is known", function()
    local drift = rows("completions/mean_length", steps(5, 20, 5, 40))
    local follows = rows("health/length_corr", steps(0, 0, 5, 0.95))
    local of_model = { reward_model = "rm", reward_function = "" }
    says(
      health.length_drift(drift, nil, of_model),
      "the reward model may pay for length itself",
      "balance lengths in its training pairs, or subtract"
    )
    says(health.reward_is_length(follows, nil, of_model), "Balance lengths in the reward model's")
    local of_function = { reward_model = "", reward_function = "f.lua" }
    says(
      health.length_drift(drift, nil, of_function),
      "the reward function may pay for length itself. Look at samples.jsonl, look at what it counts"
    )
    says(health.reward_is_length(follows, nil, of_function), "what the reward function counts")
    for _, settings in ipairs { {}, { reward_model = "rm", reward_function = "f.lua" } } do
      says(
        health.length_drift(drift, nil, settings),
        "the reward may pay for length itself. Look at samples.jsonl, or subtract a length term"
      )
      says(health.reward_is_length(follows, nil, settings), "Look at what each reward pays for")
    end
  end)

  it("hears answers without end", function()
    says(
      health.no_end(rows("completions/clipped_ratio", { 0, 0.75, 0.75, 0.75 })),
      "No end: 75 % of the answers"
    )
    assert.is_nil(health.no_end(rows("completions/clipped_ratio", { 0.4, 0.5, 0.5 })))
  end)

  it("names the key that makes answers end", function()
    local history = rows("completions/clipped_ratio", { 1, 1, 1 })
    local without = { missing_eos_rule = "none" }
    local lost = rows("completions/clipped_ratio", { 0.2, 1, 1, 1 })
    says(health.no_end(lost, nil, without), "Set missing_eos_rule to subtract")
    assert.is_nil(health.no_end(history, nil, without)) -- that is what none asks for
    local sentence = health.no_end(
      history,
      nil,
      { missing_eos_rule = "subtract", missing_eos_penalty = 1.5, response_length = 12 }
    )
    says(
      sentence,
      "missing_eos_rule is subtract already: raise missing_eos_penalty (1.500)",
      "raise response_length (12)"
    )
    assert.not_matches("Set missing_eos_rule", sentence, 1, true)
  end)

  it("knows that answers without end may have no part in the loss", function()
    local settings =
      { missing_eos_rule = "subtract", missing_eos_penalty = 1, response_length = 12 }
    settings.mask_truncated_completions = true
    for rule, most in pairs { subtract = 1, none = 0.75 } do
      settings.missing_eos_rule = rule
      local history = rows("completions/clipped_ratio", { most, most, most })
      local sentence = health.no_end(history, nil, settings)
      says(
        sentence,
        "mask_truncated_completions keeps them out of the loss"
          .. (most == 1 and ", so nothing is learned" or "")
          .. ": raise response_length (12), check that SFT trained the end token, or let the loss"
      )
      assert.not_matches("missing_eos_penalty", sentence, 1, true) -- it reaches no gradient
    end
  end)

  it("hears empty answers", function()
    says(
      health.empty_answers(rows("completions/empty_ratio", { 0.8, 0.8, 0.8 })),
      "80 % are an end token and nothing else"
    )
    assert.is_nil(health.empty_answers(rows("completions/empty_ratio", { 0.4, 0.4, 0.4 })))
  end)

  it("says why a reward is constant", function()
    local settings = { reward_clip = 0.5, missing_eos_rule = "subtract" }
    local history = rows(
      "objective/scores_std",
      { 0, 0, 0 },
      { ["objective/scores"] = 0.5, ["completions/clipped_ratio"] = 1 }
    )
    says(health.constant_reward(history, nil, settings), "cut at reward_clip 0.5000")
    settings = { reward_clip = 0, missing_eos_rule = "replace" }
    says(health.constant_reward(history, nil, settings), "missing_eos_rule replaces the score")
    settings.missing_eos_rule = "none"
    says(health.constant_reward(history, nil, settings), "two different answers")
  end)

  it("hears a constant reward", function()
    says(
      health.constant_reward(
        rows("objective/scores_std", { 0, 0, 0 }, { ["objective/scores"] = 0.5 })
      ),
      "every answer scores 0.5000"
    )
    assert.is_nil(health.constant_reward(rows("objective/scores_std", { 0, 0, 0.1 })))
    local solved = rows("objective/scores_std", { 0.5, 0.1, 0, 0, 0 }, { ["objective/scores"] = 1 })
    assert.is_nil(health.constant_reward(solved))
    says(health.constant_reward(solved, nil, { reward_clip = 1 }), "cut at reward_clip 1")
  end)

  it("hears a value function that is worse than none", function()
    says(
      health.value_useless(rows("val/var_explained", steps(0, 0, 10, -0.5))),
      "Value explains nothing: -0.5000"
    )
    assert.is_nil(health.value_useless(rows("val/var_explained", steps(0, 0, 10, 0.1))))
    assert.is_nil(health.value_useless(rows("val/var_explained", steps(0, 0, 9, -0.5))))
  end)

  it("names the key that holds the value function back", function()
    local function advice(settings, more)
      return health.value_useless(
        rows("val/var_explained", steps(0, 0, 10, -0.5), more),
        nil,
        settings
      )
    end
    says(advice { vf_coef = 0, value_learning_rate = 1 }, "vf_coef is 0")
    says(advice { vf_coef = 1, value_learning_rate = 0 }, "value_learning_rate is 0")
    local settings = { vf_coef = 1, value_learning_rate = 0.25, cliprange_value = 0.125 }
    says(
      advice(settings, { ["val/clipfrac_avg"] = 0.75 }),
      "holds 75 % of its updates back: raise cliprange_value (0.1250) to the size"
    )
    says(advice(settings, { ["val/clipfrac_avg"] = 0.1 }), "raise value_learning_rate (0.2500)")
    says(
      health.value_useless(
        rows("val/var_explained", steps(5, -0.01, 5, 0), { ["val/clipfrac_avg"] = 0.75 }),
        nil,
        settings
      ),
      "raise cliprange_value"
    )
    local history = rows("val/var_explained", steps(0, 0, 10, -0.5))
    for i, row in ipairs(history) do
      row["loss/value_avg"] = i < 6 and 1 or 4
    end
    says(health.value_useless(history), "Its loss rises, from 1 to 4: lower value_learning_rate")
  end)

  it("hears a value function that stands beside the mean, not one that is as good as it", function()
    local function useless(explained, loss)
      local history = rows("val/var_explained", explained, { ["objective/scores_std"] = 0.5 })
      for _, row in ipairs(history) do
        row["loss/value_avg"] = loss
      end
      return health.value_useless(history)
    end
    says(useless(steps(0, 0, 10, 0), 0.3), "Value explains nothing: 0 of") -- 2.4 times the variance
    assert.is_nil(useless(steps(0, 0, 10, 0), 0.2)) -- 1.6 times
    assert.is_nil(useless(steps(0, 0, 10, -3), 0.2))
    assert.is_nil(useless(steps(0, 0, 10, 0.1), 0.3))
    assert.is_nil(useless(steps(5, 0, 5, 0.03), 0.3)) -- it learns
    local outliers = steps(0, 0, 10, 0.3) -- returns that hardly varied in some rows
    outliers[3], outliers[8], outliers[10] = -60, 0 / 0, -70
    assert.is_nil(useless(outliers, 0.3))
    local history = rows("val/var_explained", steps(1, 0, 10, -4), { ["loss/value_avg"] = 9 })
    says(health.value_useless(history), "It explained 0 at first: lower value_learning_rate")
  end)

  it("lets a value function learn", function()
    assert.is_nil(health.value_useless(rows("val/var_explained", steps(5, -3, 5, -1))))
    local history = rows("val/var_explained", steps(6, -1, 6, -1)) -- returns that hardly vary
    for i, row in ipairs(history) do
      row["loss/value_avg"] = i < 3 and 1 or 0.05
    end
    assert.is_nil(health.value_useless(history))
    for _, row in ipairs(history) do
      row["objective/scores_std"] = 0.01
    end
    says(health.value_useless(history), "deviate by 0.01000, and jumps: lower value_learning_rate")
    history[12]["loss/value_avg"] = 5
    says(health.value_useless(history), "nothing: -1")
    says(health.value_useless(rows("val/var_explained", steps(5, -1, 5, -3))), "nothing: -3")
  end)

  it("hears a loss that rises", function()
    says(
      health.loss_rises(rows("loss", steps(5, 2, 5, 4)), nil, { learning_rate = 0.5 }),
      "from 2 to 4",
      "lower learning_rate (0.5000)"
    )
    says(health.loss_rises(rows("loss", steps(1, 2, 5, 9))), "from 2 to 9")
    assert.is_nil(health.loss_rises(rows("loss", steps(5, 2, 5, 2.5))))
    assert.is_nil(health.loss_rises {})
  end)

  it("hears a reward that is length", function()
    says(
      health.reward_is_length(rows("health/length_corr", steps(0, 0, 5, 0.95))),
      "r = 0.95",
      "longer"
    )
    says(health.reward_is_length(rows("health/length_corr", steps(0, 0, 5, -0.95))), "shorter")
    assert.is_nil(health.reward_is_length(rows("health/length_corr", steps(0, 0, 5, 0.85))))
  end)

  -- PPO in the demo with kl_coef 0: KL, entropy, score. Gold was best (.468) at step 5, and .05
  -- less between steps 8 and 9.
  local followed = {
    { 0, 4.4, 0.272 },
    { 0.000626, 4.67, 0.0479 },
    { 0.0442, 4.44, 0.393 },
    { 0.23, 4.31, 0.557 },
    { 0.528, 4.16, 0.664 },
    { 0.924, 4.65, 0.403 },
    { 1.57, 4.17, 0.849 },
    { 2.21, 4.17, 0.966 },
  }

  local function online(list, change)
    local history = {}
    for i, row in ipairs(list) do
      history[i] = { step = i, ["objective/kl"] = row[1], ["objective/entropy"] = row[2] }
      history[i]["objective/scores"], history[i]["objective/scores_std"] = row[3], 1.2
      if change then change(history[i]) end
    end
    return history
  end

  it("hears a reward model followed to answers it was not trained on", function()
    local settings = { reward_model = "rm", kl_coef = 0, learning_rate = 3e-4, save_steps = 0 }
    says(
      health.over_optimised(online(followed), nil, settings),
      "Over-optimisation: answers score 0.9075 where the reference's scored 0.2376",
      "the KL is 1.890 nats",
      "they are 6.060 nats unlikely to the reference, whose own are 4.503",
      "Go back to step 5 or before (save_steps keeps it): raise kl_coef (0)",
      "rounds"
    )
    settings.save_steps = 2
    says(health.over_optimised(online(followed), nil, settings), "step 5 or before: raise")
    local earlier = table.move(followed, 1, 7, 1, {})
    assert.is_nil(health.over_optimised(online(earlier), nil, settings))
    settings.reward_model = "" -- a program checks
    assert.is_nil(health.over_optimised(online(followed), nil, settings))
  end)

  it("hears none where scores did not rise, or answers stay the reference's", function()
    local function silent(change)
      assert.is_nil(health.over_optimised(online(followed, change), nil, { reward_model = "rm" }))
    end
    silent(function(row) row["objective/scores"] = -row["objective/scores"] end)
    silent(function(row) row["objective/entropy"] = 10 * row["objective/entropy"] end)
    silent(function(row) row["objective/scores_std"] = 0.9 end) -- .67 is much for that KL
    -- 2 nats of KL that were only a choice among its answers: entropy fell by as much
    silent(function(row) row["objective/entropy"] = 4.5 - row["objective/kl"] end)
    -- a history whose start is not known
    silent(function(row) row["objective/kl"] = row["objective/kl"] + 0.2 end)
    assert.is_nil(health.over_optimised({}, nil, { reward_model = "rm" }))
  end)

  -- Rows of a run on pairs; what the preferred answers gain and the margin go from 0 evenly.
  local function preferences(n, gain, margin, loss, accuracy)
    local history = {}
    for i = 1, n do
      history[i] = {
        step = i,
        loss = loss,
        ["logps/chosen"] = -50 + gain * i / n,
        ["rewards/chosen"] = 0.1 * gain * i / n,
        ["rewards/margins"] = margin * i / n,
        ["rewards/accuracies"] = accuracy,
      }
    end
    return history
  end

  -- A run in which gold was measured, `agreements` of it with the reward.
  local function with_gold(agreements, more)
    local history = {}
    for i, agreement in ipairs(agreements) do
      history[i] = {
        step = i,
        eval_gold = 0.5,
        eval_agreement = agreement or nil,
        eval_agreement_error = agreement and 0.08 or nil,
        eval_gold_lost = 0,
        eval_gold_lost_error = 0.02,
        eval_gold_count = 8,
      }
    end
    for key, value in pairs(more or {}) do
      history[#history][key] = value
    end
    return history
  end

  it("hears a reward that goes with gold no more, before gold falls", function()
    says(
      health.other_taste(with_gold { 0.4, 0.1, 0.06 }, nil, { kl_coef = 0.1, save_steps = 0 }),
      "Other taste than gold: among the policy's own answers to a prompt those that the reward "
        .. "prefers are hardly better by gold (correlation 0.08, error 0.06), and following",
      "go back (save_steps keeps earlier steps): raise kl_coef (0.1000)"
    )
    says(health.other_taste(with_gold { 0.4, -0.2, -0.1 }), "prefers are worse by gold")
    assert.is_nil(health.other_taste(with_gold { 0.4, 0.1625, 0.0375 })) -- 0.1
    assert.is_nil(health.other_taste(with_gold { -0.5 }))
    assert.is_nil(health.other_taste(with_gold { -0.5, -0.5, false })) -- nothing differs any more
    assert.is_nil(health.other_taste {})
  end)

  it("hears gold that fell by more than luck", function()
    local beyond = 0.02 * (2 + math.sqrt(math.log(8)))
    local fallen = with_gold({ 0.4, 0.4 }, { eval_gold_lost = beyond + 1e-3 })
    says(health.other_taste(fallen), "Other taste than gold: gold is 0.5000, and was 0.06984 more")
    local lucky = with_gold({ 0.4, 0.4 }, { eval_gold_lost = beyond - 1e-3 })
    assert.is_nil(health.other_taste(lucky))
    local low = with_gold({ 0.3, 0.1 }, { eval_gold_lost = 0.041 }) -- nothing speaks for luck
    says(health.other_taste(low), "gold is 0.5000, and was 0.04100 more at its best. Stop here")
    assert.is_nil(health.other_taste(with_gold({ 0.3, 0.1 }, { eval_gold_lost = 0.039 })))
  end)

  it("hears answers that are judged worse, by more than luck", function()
    local function judged_less(by)
      local more = { eval_score_lost_error = 0.02, eval_score_count = 8 }
      return rows("eval_score_lost", { 0, by }, more)
    end
    local beyond = 0.02 * (2 + math.sqrt(math.log(8)))
    says(
      health.judged_falls(judged_less(beyond + 1e-3), nil, { beta = 1, learning_rate = 0.1 }),
      "judged worse: 0.06984 less than at their best, by more than chance",
      "go back: lower learning_rate (0.1000) or raise beta (1)."
    )
    assert.is_nil(health.judged_falls(judged_less(beyond - 1e-3)))
    assert.is_nil(health.judged_falls(judged_less(0)))
  end)

  it("hears preferred answers that lose probability while the margin grows", function()
    local settings = { beta = 0.1, learning_rate = 0.5, loss_type = "sigmoid", rpo_alpha = 0 }
    says(
      health.chosen_falls(preferences(40, -16, 2, 0.5, 0.8), nil, settings),
      "lose probability: 14.20 nats an answer",
      "Raise beta (0.1000), lower learning_rate (0.5000), or raise rpo_alpha (0)."
    )
    -- at 5 nats an answer less the limit is 2; what rows of a few answers leave open counts
    local function by_rows(...)
      local list = preferences(30, 0, 2, 0.5, 0.8)
      for i, row in ipairs(list) do
        row["rewards/chosen"] = 0.1 * select(i % select("#", ...) + 1, ...)
        row["logps/chosen"] = -5
      end
      return health.chosen_falls(list, nil, settings)
    end
    says(by_rows(-2.2), "lose probability: 2.200 nats an answer since")
    assert.is_nil(by_rows(-4.2, -0.2)) -- 2.2 too, with a standard error of 0.67
    says(by_rows(-5.4, -1.4), "lose probability: 3.400 nats an answer since")
    assert.is_nil(by_rows(-5.2, -1.2)) -- 3.2 - 2 * 0.67
    settings.loss_type = "simpo"
    says(
      health.chosen_falls(preferences(40, -16, 2, 0.5, 0.8), nil, settings),
      "lose probability: 12 nats an answer since"
    )
    settings.loss_type, settings.rpo_alpha = "kto", nil
    says(
      health.chosen_falls(preferences(40, -16, 2, 0.5, 0.8), nil, settings),
      "Raise beta (0.1000) or lower learning_rate (0.5000)."
    )
    local strict = setmetatable({}, { __index = function(_, key) error("no key " .. key) end })
    says(
      health.chosen_falls(preferences(40, -16, 2, 0.5, 0.8), nil, strict),
      "lose probability: 12 nats an answer since",
      "what gains is neither."
    )
    settings.loss_type = "sigmoid"
    local function judged(from, to)
      local list = preferences(40, -16, 2, 0.5, 0.8)
      list[10].eval_score, list[40].eval_score = from, to
      return health.chosen_falls(list, nil, settings)
    end
    assert.is_nil(judged(0.83, 0.97)) -- what gains is better
    says(judged(0.83, 0.83), "lose probability: 14.20 nats an answer")
    says(judged(nil, 0.97), "lose probability: 14.20 nats an answer")
    assert.is_nil(health.chosen_falls(preferences(40, -5, 2, 0.5, 0.8), nil, settings))
    assert.is_nil(health.chosen_falls(preferences(40, -16, -2, 0.5, 0.8), nil, settings))
    assert.is_nil(health.chosen_falls(preferences(40, 16, 2, 0.5, 0.8), nil, settings))
    assert.is_nil(health.chosen_falls(preferences(19, -16, 2, 0.5, 0.8), nil, settings))
  end)

  it("hears pairs that are all right at no loss", function()
    says(health.pairs_solved(preferences(5, 1, 9, 0.01, 1)), "Every pair", "known by heart")
    assert.is_nil(health.pairs_solved(preferences(4, 1, 9, 0.01, 1)))
    assert.is_nil(health.pairs_solved(preferences(5, 1, 9, 0.1, 1)))
    assert.is_nil(health.pairs_solved(preferences(5, 1, 9, 0.01, 0.99)))
    says(
      health.pairs_solved { { step = 1, eval_loss = 0.001, ["eval_rewards/accuracies"] = 1 } },
      "Every held-out pair",
      "were trained on"
    )
  end)

  it("says that groups of answers ever scored the same, not that they came to", function()
    local name = "frac_reward_zero_std"
    says(
      health.equal_groups(
        rows(name, steps(3, 1, 2, 0.95)),
        nil,
        { num_generations = 4, temperature = 1 }
      ),
      "in 98 % of the groups all answers score the same",
      "Raise num_generations (4), raise temperature (1), give easier prompts, or fine-tune"
    )
    local verbs = { [0] = "set dynamic_sampling,", [3] = "raise dynamic_sampling (3)," }
    for value, verb in pairs(verbs) do
      local settings = { num_generations = 4, temperature = 1, dynamic_sampling = value }
      says(health.equal_groups(rows(name, steps(5, 1, 0, 1)), nil, settings), verb)
    end
    assert.is_nil(health.equal_groups(rows(name, steps(4, 1, 0, 1))))
    assert.is_nil(health.equal_groups(rows(name, steps(1, 0.5, 20, 1)))) -- solved
    assert.is_string(
      health.equal_groups(rows(name, steps(2, 0.5, 0, 0)), { part = 0.4, window = 2 })
    )
  end)

  it("says nothing of metrics that are not there", function()
    local history = rows("loss", steps(20, 1, 20, 1))
    for _, name in ipairs(health.alarms) do
      assert.is_nil(health[name](history), name)
    end
  end)
end)

-- For each alarm of a run, a history in which it rings.
local ringing = {
  not_finite = rows("loss", { 1, 0 / 0 }),
  kl_runaway = rows("objective/kl", { 70 }),
  kl_negative = rows("objective/kl", steps(3, 0, 5, -2)),
  entropy_collapse = rows("policy/entropy_avg", steps(5, 2, 5, 0.25)),
  length_drift = rows("completions/mean_length", steps(5, 20, 5, 40)),
  no_end = rows("completions/clipped_ratio", { 0, 1, 1, 1 }),
  empty_answers = rows("completions/empty_ratio", { 1, 1, 1 }),
  constant_reward = rows(
    "objective/scores_std",
    { 0, 0, 0 },
    { ["objective/scores"] = 0.5, ["completions/clipped_ratio"] = 1 }
  ),
  value_useless = rows("val/var_explained", steps(0, 0, 10, -0.5)),
  equal_groups = rows("frac_reward_zero_std", steps(5, 1, 0, 1)),
  reward_is_length = rows("health/length_corr", steps(0, 0, 5, 0.95)),
  over_optimised = rows("objective/kl", { 0, 3, 3, 3 }, {
    ["objective/entropy"] = 5,
    ["objective/scores_std"] = 9,
  }),
  other_taste = rows("eval_gold", { 0.5, 0.5 }, {
    eval_agreement = -0.2,
    eval_agreement_error = 0.05,
  }),
  judged_falls = rows("eval_score_lost", { 0, 0.5 }, {
    eval_score_lost_error = 0.1,
    eval_score_count = 2,
  }),
  loss_rises = rows("loss", steps(1, 2, 5, 9)),
  chosen_falls = rows("rewards/margins", steps(10, 0, 10, 2), { ["logps/chosen"] = -50 }),
  pairs_solved = rows("loss", steps(0, 0, 5, 0.01), { ["rewards/accuracies"] = 1 }),
}
for i, row in ipairs(ringing.over_optimised) do
  row["objective/scores"] = i
end
for i, row in ipairs(ringing.chosen_falls) do
  row["logps/chosen"], row["rewards/chosen"] = -50 - 2 * i, -2 * i
end

-- Values of the keys that the alarms read, so that each piece of advice is given by some.
local worlds = {
  {
    kl_coef = 0,
    missing_eos_rule = "none",
    reward_clip = 0.5,
    reward_function = "",
    loss_type = "sigmoid",
    vf_coef = 0,
  },
  {
    kl_placement = "loss",
    kl_estimator = "k1",
    missing_eos_rule = "replace",
    reward_clip = 0,
    reward_function = "f.lua",
    loss_type = "simpo",
    value_learning_rate = 0,
  },
  { missing_eos_rule = "subtract", reward_clip = 0, kl_placement = "reward", loss_type = "kto" },
}

-- The settings of a recipe: a key that it lacks raises, as in a config.
local function settings_of(keys, world)
  return setmetatable({}, {
    __index = function(_, key)
      if not keys[key] then error("no key " .. key) end
      local value = world[key]
      return value == nil and 1 or value
    end,
  })
end

local pl = require("perilune")
local needs = require("perilune.run.alarms.needs")

describe("every alarm", function()
  local declared = {}
  for _, row in ipairs(needs.alarms) do
    for _, key in ipairs(row.keys) do
      declared[key] = true
    end
  end

  it("rings for every recipe that comes with it, and names none but its keys", function()
    local recipes = 0
    for _, recipe in ipairs(require("perilune.config.neighbours").recipes()) do
      local keys = pl.config.keys_of(recipe.path)
      recipes = recipes + 1
      for number, world in ipairs(worlds) do
        for _, name in ipairs(health.alarms) do
          local where = ("%s, %s, world %d: "):format(recipe.name, name, number)
          local sentence = health[name](ringing[name], nil, settings_of(keys, world))
          assert.is_string(sentence, where .. "silent")
          for key in pairs(declared) do
            local named = sentence:find("%f[%w_]" .. key .. "%f[^%w_]")
            assert.is_true(not named or keys[key] == true, where .. sentence)
          end
          assert.is_nil(sentence:find("nil"), where .. sentence)
        end
      end
    end
    assert.is_true(recipes >= 19)
  end)

  it("is silent without a metric that it needs", function()
    for _, row in ipairs(needs.alarms) do
      assert.is_true(needs.armed(row.name, ringing[row.name]), row.name)
      for _, metric in ipairs(row.metrics) do
        local any, history = type(metric) == "table" and metric or { metric }, {}
        for i, one in ipairs(ringing[row.name]) do
          history[i] = {}
          for name, value in pairs(one) do
            history[i][name] = value
          end
          for _, name in ipairs(any) do
            history[i][name] = nil
          end
        end
        assert.is_false(needs.armed(row.name, history), row.name)
        assert.is_nil(health[row.name](history), row.name .. " without " .. any[1])
      end
    end
  end)

  it("is armed by one of the metrics that do the same", function()
    for _, name in ipairs { "kl_runaway", "kl_negative" } do
      assert.is_true(needs.armed(name, rows("eval_kl", { 1 })), name)
      assert.is_true(needs.armed(name, rows("objective/kl", { 1 })), name)
    end
    local heard = health.watch(nil, { beta = 1 }):check(rows("eval_kl", { 70 }))
    says(heard[1], "KL runaway", "Raise beta (1).")
  end)

  it("cannot read a key that it does not declare", function()
    local known = needs.settings("empty_answers", { beta = 1 })
    assert.has_error(
      function() known:value("beta") end,
      "empty_answers reads beta, which its row in run/alarms/needs.lua lacks"
    )
  end)
end)

describe("of a trained reward model an alarm", function()
  it("says that rankings are the wrong way round, or that a coin does as well", function()
    says(
      health.wrong_order(10, 100, 40, "eval_dataset"),
      "orders 0.10 of the 100 pairs of eval_dataset right",
      "wrong way round",
      "rank 1 is the best"
    )
    says(health.wrong_order(49, 100, 40, "dataset"), "A coin does as well")
    says(health.wrong_order(0, 1, 1, "dataset"), "A coin does as well")
    assert.is_nil(health.wrong_order(51, 100, 40, "dataset"))
    assert.is_nil(health.wrong_order(0, 0, 0, "dataset"))
  end)

  it("hears scores that follow length within prompts, whatever differs between them", function()
    local scores, lengths, groups = {}, {}, {}
    for i = 1, 30 do
      local set, k = (i - 1) // 3 + 1, (i - 1) % 3
      groups[i] = set
      lengths[i] = 7 * k + 100 * (set % 4) -- with prompts of other lengths
      scores[i] = 0.1 * 7 * k - 20 * (set % 5)
    end
    says(health.score_is_length(scores, lengths, groups), "r = 1.00", "longer")
    local few = { 1, 1 }
    assert.is_nil((health.score_is_length({ 1, 2 }, { 5, 9 }, few)))
    scores[4] = 0 / 0
    assert.is_nil((health.score_is_length(scores, lengths, groups)))
    for i = 1, 30 do -- follows the prompt's length alone
      scores[i] = 100 * (groups[i] % 4) + i * i % 7
    end
    local sentence, r = health.score_is_length(scores, lengths, groups)
    assert.is_nil(sentence)
    assert.is_true(math.abs(r) < 0.5)
  end)

  it("hears demonstrations below sampled answers", function()
    says(
      health.demonstrations_low({ -1, -1.2, -0.8 }, { 1, 2, 3, 1, 2, 3 }),
      "-1 on average",
      "against 2",
      "wrong way round"
    )
    assert.is_nil(health.demonstrations_low({ 2, 2.2, 1.8 }, { 1, 2, 3, 1, 2, 3 }))
    assert.is_nil(health.demonstrations_low({ 5, 4, 6 }, { 1, 2, 3, 1, 2, 3 }))
    assert.is_nil(health.demonstrations_low({ -9 }, { 1, 2, 3 }))
  end)
end)

describe("the alarms of a trained reward model", function()
  it("are asked together", function()
    local scores, ranks, lengths = {}, {}, {}
    for i = 1, 12 do -- the longer answer is ranked second and scores higher
      ranks[i] = { 1, 2 }
      scores[2 * i - 1], scores[2 * i] = 1, 2
      lengths[2 * i - 1], lengths[2 * i] = 5, 9
    end
    local sentences, r = health.reward_model(
      scores,
      ranks,
      lengths,
      { demonstrations = { 0, 0.1 }, key = "eval_dataset" }
    )
    assert.are.equal(3, #sentences)
    says(sentences[1], "0.00 of the 12 pairs of eval_dataset", "wrong way round")
    says(sentences[2], "r = 1.00")
    says(sentences[3], "Demonstrations score below")
    assert.are.equal(1, r)
    for i = 1, 12 do
      ranks[i], lengths[2 * i] = { 2, 1 }, 4 + i % 3
    end
    assert.are.same({}, (health.reward_model(scores, ranks, lengths)))
  end)
end)

describe("a watch", function()
  it("tells its alarms the settings of the run", function()
    local watch = health.watch(nil, { missing_eos_rule = "none" })
    local sentences = watch:check(rows("completions/clipped_ratio", { 0, 1, 1, 1 }))
    assert.are.equal(1, #sentences)
    says(sentences[1], "Set missing_eos_rule to subtract")
  end)

  it("repeats an alarm only after a while", function()
    local watch = health.watch { every = 10, entropy_collapse = false }
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
    assert.has_error(
      function() health.watch { kl_runawy = {} } end,
      "health.watch has no option 'kl_runawy'; did you mean 'kl_runaway'?"
    )
    local ok, message = pcall(health.kl_runaway, {}, { limt = 3 })
    assert.is_false(ok)
    assert.is_truthy(
      message:find("kl_runaway has no option 'limt'; did you mean 'limit'?", 1, true)
    )
  end)
end)
