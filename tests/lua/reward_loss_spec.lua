--- The loss of a reward model when labelers err: twins in plain numbers, gradients, and what can be
-- told in closed form.

local gradcheck = dofile("tests/lua/gradcheck.lua")
local pl = require("perilune")
local ranked, margins = pl.reward_loss.ranked, pl.reward_loss.margins

local SCORES <const> = { 0.3, -1.2, 2.0, 0.7, 0.1, -0.4, 1.5 }
local OFFSETS <const> = { 0, 4, 4, 5, 7 } -- four answers, none, one, two
local RANKS <const> = { 2, 1, 2, 4, 1, 2, 1 }
local MARGINS <const> = { 0.5, 1, -0.5, 0, 3, 0.25, 1.25 }

local function sigmoid(x) return 1 / (1 + math.exp(-x)) end

-- The mean over sets with a pair of the mean of fn(x) over their pairs.
local function twin(fn, lead)
  local sum, sets = 0, 0
  for b = 1, #OFFSETS - 1 do
    local of_set, n = 0, 0
    for i = OFFSETS[b] + 1, OFFSETS[b + 1] do
      for j = OFFSETS[b] + 1, OFFSETS[b + 1] do
        if RANKS[i] < RANKS[j] then
          local x = SCORES[i] - SCORES[j]
          if lead then x = x - (lead[i] - lead[j]) end
          of_set, n = of_set + fn(x), n + 1
        end
      end
    end
    if n > 0 then
      sum, sets = sum + of_set / n, sets + 1
    end
  end
  return sum / sets
end

local function near(wanted, got)
  assert.is_true(math.abs(wanted - got) <= 1e-12, ("%.17g, wanted %.17g"):format(got, wanted))
end

describe("the loss of ranked sets", function()
  local scores, lead

  before_each(function()
    scores, lead = pl.tensor(SCORES, "float64"), pl.tensor(MARGINS, "float64")
  end)

  local function loss(opts) return ranked(scores, OFFSETS, RANKS, opts):item() end

  it("is the op's when labelers do not err", function()
    local offsets, ranks = pl.tensor(OFFSETS, "int32"), pl.tensor(RANKS, "float64")
    for _, variant in ipairs { "logsigmoid", "sigmoid", "linear" } do
      for _, ties in ipairs { "drop", "half" } do
        local how = { variant = variant, ties = ties, norm = 3 }
        local wanted = pl.rank_loss(scores, offsets, ranks, lead, how):item()
        how.margins = lead
        assert.equal(wanted, loss(how))
      end
    end
  end)

  for name, with in pairs { ["without margins"] = false, ["with margins"] = true } do
    it("is its twin when it is smoothed, " .. name, function()
      local function fn(x) return -0.8 * math.log(sigmoid(x)) - 0.2 * math.log(sigmoid(-x)) end
      local opts = { label_smoothing = 0.2, margins = with and lead or nil }
      near(twin(fn, with and MARGINS), loss(opts))
    end)

    it("is its twin when pairs are flipped at a rate, " .. name, function()
      local function fn(x) return -math.log(0.7 * sigmoid(x) + 0.3 * sigmoid(-x)) end
      local opts = { noise = 0.3, margins = with and lead or nil }
      near(twin(fn, with and MARGINS), loss(opts))
    end)
  end

  it("has the gradient of its numbers", function()
    for _, opts in ipairs { { label_smoothing = 0.2 }, { noise = 0.1 }, { noise = 0.5 } } do
      local worst, where = gradcheck.check(function(x)
        local total = ranked(x, OFFSETS, RANKS, opts)
        return total
      end, { scores })
      assert.is_true(worst <= 1e-6, where)
    end
  end)

  it("goes to the plain one as the rate goes to 0, and to ln 2 at one half", function()
    assert.is_true(math.abs(loss { noise = 1e-9 } - loss {}) < 1e-7)
    near(math.log(2), loss { noise = 0.5 })
  end)

  it("leaves pairs alone that the scores contradict clearly", function()
    local apart = pl.tensor({ -20, 20 }, "float64"):requires_grad(true)
    local total = ranked(apart, { 0, 2 }, { 1, 2 }, { noise = 0.1 })
    total:backward()
    near(-math.log(0.1), total:item())
    assert.is_true(math.abs(apart:grad()[1]) < 1e-12)
  end)

  it("finds the rate of flips where the scores are sure", function()
    local list, offsets, ranks = {}, { 0 }, {}
    for b = 1, 50 do -- nine of fifty are the wrong way round
      list[2 * b - 1], list[2 * b] = 15, -15
      ranks[2 * b - 1], ranks[2 * b] = b <= 9 and 2 or 1, b <= 9 and 1 or 2
      offsets[b + 1] = 2 * b
    end
    local rate = 0.4
    for _ = 1, 3 do
      local _, flipped, n = ranked(pl.tensor(list), offsets, ranks, { noise = rate })
      assert.equal(50, n)
      rate = flipped / n
    end
    assert.is_true(math.abs(rate - 9 / 50) < 1e-4, rate)
  end)

  it("is 0 where nothing can be compared", function()
    assert.equal(0, ranked(pl.tensor { 1 }, { 0, 1 }, { 1 }, { noise = 0.1 }):item())
    assert.equal(0, ranked(pl.tensor {}, { 0 }, {}, { noise = 0.1 }):item())
    assert.equal(
      0,
      ranked(pl.tensor { 1, 2 }, { 0, 2 }, { 1, 1 }, { label_smoothing = 0.1 }):item()
    )
  end)

  it("refuses two answers to one question", function()
    assert.has_error(
      function() loss { noise = 0.1, label_smoothing = 0.1 } end,
      "reward_loss.ranked: noise and label_smoothing say the same; give one"
    )
    assert.has_error(
      function() loss { noise = 0.1, ties = "half" } end,
      "reward_loss.ranked: noise is of variant logsigmoid with ties dropped"
    )
  end)
end)

describe("margins of a ranked set", function()
  it("are of its ranks or of its row", function()
    assert.are.same({ -0.5, -1, -0.5 }, margins({ ranks = { 1, 2, 1 } }, "ranks", 0.5))
    local function of(row, ranks)
      return margins({ ranks = ranks or { 1, 2 }, row = row }, "rows", 2)
    end
    assert.are.same({ 2, 6 }, of { margins = { 1, 3 } })
    assert.are.same({ 3, 0 }, of { margin = 1.5 })
    assert.are.same({ 0, 3 }, of({ margin = 1.5 }, { 2, 1 }))
    assert.are.same({ 3, 0 }, of { extra = { margin = 1.5 } })
    assert.is_nil(of {})
  end)

  it("name what is wrong with them", function()
    local function wrong(row, ranks)
      return select(2, margins({ ranks = ranks, row = row }, "rows", 1))
    end
    assert.equal(
      "`margins` must be 2 numbers, one for each answer",
      wrong({ margins = { 1 } }, { 1, 2 })
    )
    assert.equal(
      "`margin` is of a pair; 3 answers want `margins`",
      wrong({ margin = 1 }, { 1, 2, 3 })
    )
    assert.equal("margin 2 is no finite number", wrong({ margins = { 1, "x" } }, { 1, 2 }))
  end)
end)
