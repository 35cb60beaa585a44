--- Losses of preference optimisation: against PyTorch's values and gradients of the papers'
-- formulas (tests/golden/preference.json, made by make_preference.py), TRL's own, twins in plain
-- numbers, and what can be told in closed form.

local json = require("perilune.base.json")
local pl = require("perilune")
local preference = pl.preference
local scratch = dofile("tests/lua/support/scratch.lua")

local golden = assert(json.decode(scratch.read("tests/golden/preference.json")))

-- Losses of a case of the golden file at answers w and l, tensors of `dtype`.
local function losses_of(case, w, l, dtype)
  local s = case.settings
  local function column(name) return pl.tensor(golden[name], dtype) end
  local n_w, n_l = column("tokens_chosen"), column("tokens_rejected")
  if case.name == "dpo" then
    local sums = s.kind ~= "ipo"
    return preference.dpo(w, l, column("ref_chosen"), column("ref_rejected"), {
      loss_type = s.kind == "ipo sums" and "ipo" or s.kind,
      beta = s.beta,
      label_smoothing = s.eps,
      chosen_tokens = not sums and n_w or nil,
      rejected_tokens = not sums and n_l or nil,
    })
  elseif case.name == "simpo" then
    local opts = { beta = s.beta, simpo_gamma = s.gamma, label_smoothing = s.eps }
    return preference.simpo(w, l, n_w, n_l, opts)
  elseif case.name == "orpo" then
    return preference.orpo(w, l, n_w, n_l, { beta = s.lam })
  end
  return preference.kto(w, column("ref_chosen"), golden.labels, s.z, {
    beta = s.beta,
    desirable_weight = s.good,
    undesirable_weight = s.bad,
  })
end

-- One loss in plain numbers: the twins.
local function log_sigmoid(x)
  return x >= 0 and -math.log(1 + math.exp(-x)) or x - math.log(1 + math.exp(x))
end
local twins = {}

function twins.dpo(s, i, w, l)
  local h_w, h_l = w - golden.ref_chosen[i], l - golden.ref_rejected[i]
  local x = s.beta * (h_w - h_l)
  if s.kind == "sigmoid" then
    return -(1 - s.eps) * log_sigmoid(x) - s.eps * log_sigmoid(-x)
  elseif s.kind == "robust" then
    return (-(1 - s.eps) * log_sigmoid(x) + s.eps * log_sigmoid(-x)) / (1 - 2 * s.eps)
  elseif s.kind == "hinge" then
    return math.max(0, 1 - x)
  elseif s.kind == "ipo" then
    h_w, h_l = h_w / golden.tokens_chosen[i], h_l / golden.tokens_rejected[i]
  end
  return (h_w - h_l - 1 / (2 * s.beta)) ^ 2
end

function twins.simpo(s, i, w, l)
  local x = s.beta * (w / golden.tokens_chosen[i] - l / golden.tokens_rejected[i]) - s.gamma
  return -(1 - s.eps) * log_sigmoid(x) - s.eps * log_sigmoid(-x)
end

function twins.orpo(s, i, w, l)
  local function log_odds(mean) return mean - math.log(1 - math.exp(mean)) end
  w, l = w / golden.tokens_chosen[i], l / golden.tokens_rejected[i]
  return -w - s.lam * log_sigmoid(log_odds(w) - log_odds(l))
end

function twins.kto(s, i, w)
  local ahead = s.beta * (w - golden.ref_chosen[i] - s.z)
  local liked = golden.labels[i]
  local value = 1 / (1 + math.exp(liked and -ahead or ahead))
  return (liked and s.good or s.bad) * (1 - value)
end

local function near(wanted, got, tolerance, what)
  assert.equal(#wanted, #got)
  for i, value in ipairs(wanted) do
    local err = math.abs(value - got[i]) / math.max(1, math.abs(value))
    assert.is_true(err <= tolerance, ("%s %d: %.17g, wanted %.17g"):format(what, i, got[i], value))
  end
end

describe("preference losses", function()
  for i, case in ipairs(golden.cases) do
    local title = ("%s %s (case %d)"):format(case.name, case.settings.kind or "", i)

    it(title .. " has PyTorch's losses and gradients", function()
      local w = pl.tensor(golden.chosen, "float64"):requires_grad(true)
      local l = pl.tensor(golden.rejected, "float64"):requires_grad(true)
      local losses = losses_of(case, w, l, "float64")
      near(case.losses, losses:totable(), 1e-9, "loss")
      losses:sum():backward()
      near(case.d_chosen, w:grad():totable(), 1e-9, "gradient of chosen")
      if case.name ~= "kto" then
        near(case.d_rejected, l:grad():totable(), 1e-9, "gradient of rejected")
      end
    end)

    it(title .. " is its twin, in float64 and float32", function()
      local wanted = {}
      for k, w in ipairs(golden.chosen) do
        wanted[k] = twins[case.name](case.settings, k, w, golden.rejected[k])
      end
      for dtype, tolerance in pairs { float64 = 1e-9, float32 = 2e-5 } do
        local w, l = pl.tensor(golden.chosen, dtype), pl.tensor(golden.rejected, dtype)
        local losses = losses_of(case, w, l, dtype)
        assert.equal(dtype, losses:dtype())
        near(wanted, losses:totable(), tolerance, dtype)
      end
    end)
  end

  it("say ln 2 and pull by β/2 where policy and reference are the same", function()
    local w = pl.tensor({ -3, -40 }, "float64"):requires_grad(true)
    local l = pl.tensor({ -5, -2 }, "float64"):requires_grad(true)
    local losses, better, worse = preference.dpo(w, l, w:detach(), l:detach(), { beta = 0.3 })
    near({ math.log(2), math.log(2) }, losses:totable(), 1e-15, "loss")
    near({ 0, 0 }, better:totable(), 0, "reward")
    near({ 0, 0 }, worse:totable(), 0, "reward")
    losses:sum():backward()
    near({ -0.15, -0.15 }, w:grad():totable(), 1e-15, "gradient")
    near({ 0.15, 0.15 }, l:grad():totable(), 1e-15, "gradient")
  end)

  it("give rewards of β times the log ratio, which take no gradient", function()
    local w = pl.tensor({ -3 }):requires_grad(true)
    local _, better, worse =
      preference.dpo(w, pl.tensor { -7 }, pl.tensor { -5 }, pl.tensor { -6 }, { beta = 0.5 })
    assert.equal(1, better:item())
    assert.equal(-0.5, worse:item())
    assert.is_false(better:requires_grad())
  end)

  it("are even where half the labels are wrong", function()
    local zero = pl.tensor({ 0 }, "float64")
    local opts = { beta = 1, label_smoothing = 0.5 }
    local function at(x)
      return preference.dpo(pl.tensor({ x }, "float64"), zero, zero, zero, opts):item()
    end
    assert.is_true(math.abs(at(2) - at(-2)) < 1e-15)
    assert.is_true(at(0) < at(0.1))
    assert.has_error(
      function()
        preference.dpo(zero, zero, zero, zero, { loss_type = "robust", label_smoothing = 0.5 })
      end,
      "preference.dpo: robust wants a label_smoothing below 0.5: there labels say nothing"
    )
  end)

  it("are unbiased when robust to as many flips as there are", function()
    local function loss(x, kind, eps)
      local zero = pl.tensor({ 0 }, "float64")
      local opts = { beta = 1, loss_type = kind, label_smoothing = eps }
      return preference.dpo(pl.tensor({ x }, "float64"), zero, zero, zero, opts):item()
    end
    for _, x in ipairs { -3, 0, 0.7, 5 } do
      local expected = 0.7 * loss(x, "robust", 0.3) + 0.3 * loss(-x, "robust", 0.3)
      assert.is_true(math.abs(expected - loss(x, "sigmoid", 0)) < 1e-12)
    end
  end)

  it("reach 0 in ipo at a lead of 1/(2β), in hinge at 1/β", function()
    local zero = pl.tensor({ 0 }, "float64")
    local function loss(x, kind)
      return preference
        .dpo(pl.tensor({ x }, "float64"), zero, zero, zero, { beta = 0.25, loss_type = kind })
        :item()
    end
    assert.equal(0, loss(2, "ipo"))
    assert.equal(1, loss(1, "ipo"))
    assert.equal(0, loss(4, "hinge"))
    assert.equal(0.25, loss(3, "hinge"))
  end)

  it("stay finite where answers are certain, hopeless or far apart", function()
    local sure, hopeless = pl.tensor { 0, -1e-9, -2e4 }, pl.tensor { -2e4, 0, -2e4 }
    local one = pl.tensor { 1, 1, 3 }
    for _, fn in ipairs {
      function(w, l) return preference.orpo(w, l, one, one) end,
      function(w, l) return preference.simpo(w, l, one, one) end,
      function(w, l) return preference.dpo(w, l, hopeless, sure) end,
      function(w) return preference.kto(w, hopeless, { true, false, true }, 3) end,
    } do
      local w, l = sure:clone():requires_grad(true), hopeless:clone():requires_grad(true)
      local losses = fn(w, l)
      losses:sum():backward()
      for _, value in ipairs(losses:totable()) do
        assert.is_true(value - value == 0)
      end
      for _, value in ipairs(w:grad():totable()) do
        assert.is_true(value - value == 0)
      end
    end
  end)

  it("are empty for no pairs", function()
    local none = pl.tensor {}
    assert.equal(0, #preference.dpo(none, none, none, none))
    assert.equal(0, #preference.kto(none, none, {}, 0))
  end)

  it("name options that they do not know, and values that cannot be", function()
    local zero = pl.tensor { 0 }
    local function dpo(opts)
      return function() preference.dpo(zero, zero, zero, zero, opts) end
    end
    assert.has_error(dpo { bta = 1 }, "preference.dpo has no option 'bta'; did you mean 'beta'?")
    assert.has_error(
      dpo { label_smoothing = 0.6 },
      "preference.dpo: label_smoothing = 0.6; it must be a number from 0 to 0.5"
    )
    assert.has_error(
      dpo { loss_type = "ipo", beta = 0 },
      "preference.dpo: ipo wants a beta above 0"
    )
    assert.has_error(
      function() preference.kto(zero, zero, {}, 0) end,
      "preference.kto: 0 labels for 1 answers"
    )
  end)
end)

-- What TRL's own trainers make of the same log-probs (tests/golden/make_trl_preference.py).
describe("TRL's loss", function()
  local trl = assert(json.decode(scratch.read("tests/golden/trl_preference.json")))
  local none = pl.zeros({ #golden.chosen }, "float64") -- what a reference says that is not there

  local function column(name) return pl.tensor(golden[name], "float64") end
  local function mean(values) return values:mean():item() end

  -- The mean loss, and what TRL notes beside it by the same names.
  local of = {}

  function of.dpo(s, w, l)
    local losses, better, worse =
      preference.dpo(w, l, column("ref_chosen"), column("ref_rejected"), {
        beta = s.beta,
        loss_type = s.kind,
        label_smoothing = s.eps,
        chosen_tokens = column("tokens_chosen"),
        rejected_tokens = column("tokens_rejected"),
      })
    return losses:mean(),
      {
        chosen = mean(better),
        rejected = mean(worse),
        margins = mean(better - worse),
        accuracies = mean(better:gt(worse)), -- in float32
      }
  end

  function of.kto(s, w)
    local baseline = 0
    if s.kind == "kto" then
      baseline = preference.kto_baseline(column("rejected"), column("ref_rejected"))
    end
    local losses, rewards = preference.kto(w, column("ref_chosen"), golden.labels, baseline, {
      beta = s.beta,
      desirable_weight = s.good,
      undesirable_weight = s.bad,
    })
    local sums, counts = { [true] = 0, [false] = 0 }, { [true] = 0, [false] = 0 }
    for i, reward in ipairs(rewards:totable()) do
      local liked = golden.labels[i]
      sums[liked], counts[liked] = sums[liked] + reward, counts[liked] + 1
    end
    return losses:mean(),
      {
        baseline = baseline,
        chosen = sums[true] / counts[true],
        rejected = sums[false] / counts[false],
      }
  end

  function of.cpo(s, w, l)
    local losses, better, worse
    if s.kind == "simpo" then
      local opts = { beta = s.beta, simpo_gamma = s.gamma, label_smoothing = s.eps }
      losses, better, worse =
        preference.simpo(w, l, column("tokens_chosen"), column("tokens_rejected"), opts)
    else -- conservative DPO, at a reference that finds all answers certain
      local opts = { beta = s.beta, label_smoothing = s.eps }
      losses, better, worse = preference.dpo(w, l, none, none, opts)
    end
    return losses:mean(), { chosen = mean(better), rejected = mean(worse) }
  end

  function of.orpo(s, w, l)
    local n_w = column("tokens_chosen")
    local losses, better, worse, nll, ratio =
      preference.orpo(w, l, n_w, column("tokens_rejected"), { beta = s.beta })
    near(nll:totable(), (-w / n_w):totable(), 1e-15, "likelihood")
    return (losses + w / n_w):mean(),
      { chosen = mean(better), rejected = mean(worse), log_odds_ratio = mean(ratio) }
  end

  for i, case in ipairs(trl.cases) do
    local kind = case.settings.kind or case.trainer
    it(("of %s %s (case %d) is this one"):format(case.trainer, kind, i), function()
      local leaves =
        { column("chosen"):requires_grad(true), column("rejected"):requires_grad(true) }
      local tolerance = case.trainer == "orpo" and 2e-6 or 1e-12 -- TRL's odds are float32
      local loss, notes = of[case.trainer](case.settings, leaves[1], leaves[2])
      near({ case.loss }, { loss:item() }, tolerance, "loss")
      loss:backward()
      for k, grad in ipairs(case.grads) do
        near(grad, leaves[k]:grad():totable(), tolerance, "gradient " .. k)
      end
      for name, value in pairs(notes) do
        near({ (assert(case[name], name)) }, { value }, math.max(1e-7, tolerance), name)
      end
    end)
  end
end)

describe("the baseline of KTO", function()
  it("is the mean log ratio, and never below 0", function()
    local here, there = pl.tensor { -3, -4 }, pl.tensor { -4, -7 }
    assert.equal(2, preference.kto_baseline(here, there))
    assert.equal(0, preference.kto_baseline(there, here))
    assert.has_error(
      function() preference.kto_baseline(pl.tensor {}, pl.tensor {}) end,
      "preference.kto_baseline: no answers to estimate it from"
    )
  end)
end)

describe("pairs of ranked answers", function()
  it("are all of different rank, those of the ends, or neighbours", function()
    local ranks = { 2, 1, 2, 4 }
    assert.are.same({ { 1, 4 }, { 2, 1 }, { 2, 3 }, { 2, 4 }, { 3, 4 } }, preference.pairs(ranks))
    assert.are.same({ { 2, 4 } }, preference.pairs(ranks, "best-worst"))
    assert.are.same({ { 1, 4 }, { 2, 1 }, { 2, 3 }, { 3, 4 } }, preference.pairs(ranks, "adjacent"))
  end)

  it("are none among ties, one answer or none", function()
    assert.are.same({}, preference.pairs { 1, 1 })
    assert.are.same({}, preference.pairs { 1 })
    assert.are.same({}, preference.pairs({}, "best-worst"))
    assert.has_error(
      function() preference.pairs({ 1, 2 }, "some") end,
      "preference.pairs: 'some' is none of all, best-worst and adjacent"
    )
  end)
end)
