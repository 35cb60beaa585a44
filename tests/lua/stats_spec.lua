local nearest = require("perilune.base.nearest")
local stats = require("perilune.base.stats")
local options = require("perilune.base.options")

local function near(expected, got, tolerance)
  local text = ("expected %.17g, got %.17g"):format(expected, got)
  assert.is_true(math.abs(expected - got) <= (tolerance or 1e-12), text)
end

describe("stats", function()
  it("mean, variance, deviation, median, quantiles", function()
    local xs = { 2, 4, 4, 4, 5, 5, 7, 9 }
    assert.are.equal(5, stats.mean(xs))
    near(32 / 7, stats.variance(xs))
    near(math.sqrt(32 / 7), stats.std(xs))
    assert.are.equal(4.5, stats.median(xs))
    assert.are.equal(2, stats.quantile(xs, 0))
    assert.are.equal(9, stats.quantile(xs, 1))
    for _, q in ipairs { 2, -0.1, 0 / 0 } do
      local ok, message = pcall(stats.quantile, xs, q)
      assert.is_false(ok)
      assert.matches("stats.quantile needs q from 0 to 1, got", message, 1, true)
    end
    near(5.5, stats.quantile(xs, 0.75))
    assert.are.equal(3, stats.median { 3 })
    assert.are.equal(0, stats.variance { 3 })
    assert.are.same({ 2, 4, 4, 4, 5, 5, 7, 9 }, xs)
  end)

  it("sums without losing small terms", function()
    assert.are.equal(2, stats.sum { 1, 1e100, 1, -1e100 })
    assert.are.equal(math.huge, stats.sum { 1, math.huge })
  end)

  it("gives Student's interval of a mean", function()
    local ci = stats.ci95 { 1, 2, 3, 4 }
    assert.are.equal(2.5, ci.mean)
    near(3.182446305284263 * math.sqrt(5 / 3 / 4), ci.half)
    near(ci.mean - ci.half, ci.low)
    near(ci.mean + ci.half, ci.high)
    assert.are.equal(4, ci.n)
    near(math.sqrt(5 / 3), ci.std)
  end)

  it("takes Student's quantile for each number of values", function()
    -- of tables: 97.5 % quantiles for n - 1 degrees of freedom
    for n, quantile in pairs {
      [2] = 12.706204736,
      [3] = 4.302652730,
      [5] = 2.776445105,
      [10] = 2.262157163,
      [31] = 2.042272456,
      [100] = 1.984216952,
      [101] = 1.983971519,
      [1001] = 1.962339081,
    } do
      local xs = {}
      for i = 1, n do
        xs[i] = i % 2
      end
      local ci = stats.ci95(xs)
      near(quantile, ci.half / (ci.std / math.sqrt(n)), 1e-6)
    end
  end)

  it("pairs take out what the prompts share", function()
    local a, b = { 10, 20, 30, 41 }, { 9, 19, 29, 40 }
    local paired = stats.paired(a, b)
    assert.are.equal(1, paired.mean)
    assert.are.equal(0, paired.half)
    local apart = stats.difference(a, b)
    assert.are.equal(1, apart.mean)
    -- two equal variances of 4 values: 6 degrees of freedom
    near(2.446911851 * math.sqrt(stats.variance(a) / 4 + stats.variance(b) / 4), apart.half, 1e-6)
  end)

  it("rounds the degrees of freedom of unequal variances down", function()
    -- variances of the means 2/3 and 0: 2 degrees of freedom, those of the first list
    near(4.302652730 * math.sqrt(4 / 3), stats.difference({ 1, 3, 5 }, { 2, 2 }).half, 1e-6)
    -- 4/3 and 1/4: (19/12)² / ((4/3)²/2 + (1/4)²/1) = 2.635
    near(4.302652730 * math.sqrt(19 / 12), stats.difference({ 1, 3, 5 }, { 2, 3 }).half, 1e-6)
  end)

  it("gives Wilson's interval of a rate", function()
    -- worked out from the closed form for 8 of 10: 0.4901625 to 0.9433178
    local r = stats.rate(8, 10)
    assert.are.equal(0.8, r.mean)
    near(0.49016248, r.low, 1e-7)
    near(0.94331784, r.high, 1e-7)
    assert.are.equal(0, stats.rate(0, 5).low)
    near(0.43448246, stats.rate(0, 5).high, 1e-7)
    assert.are.equal(1, stats.rate(5, 5).high)
  end)

  it("correlates", function()
    assert.are.equal(1, stats.correlation({ 1, 2, 3 }, { 2, 4, 6 }))
    assert.are.equal(-1, stats.correlation({ 1, 2, 3 }, { 3, 2, 1 }))
    near(0.5, stats.correlation({ 1, 2, 3 }, { 1, 3, 2 }))
    assert.is_nil(stats.correlation({ 1, 1 }, { 1, 2 }))
    assert.is_nil(stats.correlation({ 1, 2, 0 / 0 }, { 3, 2, 1 }))
    assert.is_nil(stats.correlation({ 1, 2, 3 }, { 3, math.huge, 1 }))
  end)

  it("correlates within groups", function()
    local groups = { "a", "a", "b", "b", "b" }
    local r, free = stats.correlation_within({ 1, 2, 11, 12, 13 }, { 9, 8, 3, 2, 1 }, groups)
    assert.are.equal(-1, r)
    assert.are.equal(3, free)
    r, free = stats.correlation_within({ 1, 2, 3 }, { 1, 2, 3 }, { 1, 2, 3 })
    assert.is_nil(r)
    assert.are.equal(0, free)
  end)

  it("counts ordered pairs, ties in truth out, ties in score half", function()
    assert.are.same({ 3, 3 }, { stats.ordered_pairs({ 1, 2, 3 }, { 10, 20, 30 }) })
    assert.are.same({ 0, 3 }, { stats.ordered_pairs({ 3, 2, 1 }, { 10, 20, 30 }) })
    assert.are.same({ 2.5, 3 }, { stats.ordered_pairs({ 1, 1, 3 }, { 10, 20, 30 }) })
    assert.are.same({ 2, 2 }, { stats.ordered_pairs({ 1, 5, 9 }, { 10, 10, 30 }) })
  end)

  it("explains variance", function()
    assert.are.equal(1, stats.explained_variance({ 1, 2, 3 }, { 11, 12, 13 }))
    assert.are.equal(0, stats.explained_variance({ 1, 2, 3 }, { 7, 7, 7 }))
    assert.are.equal(-3, stats.explained_variance({ 1, 2, 3 }, { 3, 2, 1 }))
    assert.is_nil(stats.explained_variance({ 1, 1 }, { 1, 2 }))
    assert.is_nil(stats.explained_variance({ 1 }, { 2 }))
  end)

  it("refuses lists with nothing to say", function()
    assert.has_error(
      function() stats.mean {} end,
      "stats.mean needs a list of at least 1 number, got 0"
    )
    assert.has_error(
      function() stats.paired({ 1, 2 }, { 1, 2, 3 }) end,
      "stats.paired needs two lists of one length, got 2 and 3"
    )
    assert.has_error(
      function() stats.rate(3, 2) end,
      "stats.rate needs 0 <= successes <= n and n >= 1, got 3 of 2"
    )
  end)
end)

describe("nearest", function()
  it("finds what was meant, and nothing when nothing is near", function()
    local known = { "kl_coef", "learning_rate", "lam", "seed" }
    assert.are.equal("learning_rate", nearest.find("learing_rate", known))
    assert.are.equal("learning_rate", nearest.find("Learning_Rate", known))
    assert.are.equal("kl_coef", nearest.find("kl", known))
    assert.are.equal("lam", nearest.find("lamb", known))
    assert.is_nil(nearest.find("temperature", known))
    assert.are.equal("ab", nearest.find("aa", { "ac", "ab" }))
    assert.are.equal("alpha", nearest.find("aplha", { "beta", "alpha" })) -- a swap is one edit
    assert.is_nil(nearest.find("aphla", { "beta", "alpha" }))
    assert.is_nil(nearest.find("", known))
    assert.is_nil(nearest.find("lam", {}))
    assert.are.equal("", nearest.hint("temperature", known))
  end)
end)

describe("options", function()
  local wanted = {
    width = options.integer(80, 1, 200),
    share = options.number(0.5, 0, 1),
    way = options.choice("up", { "up", "down" }),
    field = options.name("id"),
    near = options.off_or(options.number(nil, 0, 1)),
    fn = options.of_type("function"),
    loud = false,
    anything = options.any(),
  }

  local function draw(given) return (options.take("draw", given, wanted)) end

  local function wrong(given)
    return select(2, pcall(function() draw(given) end))
  end

  it("come over the defaults, in a new table", function()
    local plain = { width = 80, share = 0.5, way = "up", field = "id", loud = false }
    assert.are.same(plain, draw(nil))
    assert.are.same(plain, draw {})
    local given = { width = 3.0, way = "down", near = false, loud = true, anything = 7 }
    local taken = draw(given)
    assert.are.same({
      width = 3,
      share = 0.5,
      way = "down",
      field = "id",
      near = false,
      loud = true,
      anything = 7,
    }, taken)
    assert.are.equal("integer", math.type(taken.width))
    assert.are_not.equal(given, taken)
  end)

  it("that nobody knows are refused at the caller's line, with the nearest", function()
    assert.is_truthy(
      wrong({ widht = 3 }):match(
        "stats_spec%.lua:%d+: draw has no option 'widht'; " .. "did you mean 'width'%?$"
      )
    )
    assert.is_truthy(
      wrong({ colour = 3 }):find(
        "draw has no option 'colour'; it knows anything, "
          .. "field, fn, loud, near, share, way, width",
        1,
        true
      )
    )
    assert.is_truthy(
      wrong({ 3 }):find("draw takes named options only, got a value at [1]", 1, true)
    )
    assert.is_truthy(wrong(3):find("draw takes a table of named options, got number", 1, true))
  end)

  for text, given in pairs {
    ["draw: width = 0; it must be an integer from 1 to 200"] = { width = 0 },
    ["draw: width = 1.5; it must be an integer from 1 to 200"] = { width = 1.5 },
    ['draw: width = "9"; it must be an integer from 1 to 200'] = { width = "9" },
    ["draw: share = nan; it must be a number from 0 to 1"] = { share = math.abs(0 / 0) },
    ["draw: share = 2; it must be a number from 0 to 1"] = { share = 2 },
    ['draw: way = "left"; it must be "up" or "down"'] = { way = "left" },
    ['draw: field = ""; it must be a text that is not empty'] = { field = "" },
    ["draw: near = true; it must be a number from 0 to 1, or false"] = { near = true },
    ["draw: fn = 1; it must be a function"] = { fn = 1 },
    ["draw: loud = 1; it must be a boolean"] = { loud = 1 },
  } do
    it("that break their rule are refused: " .. text, function()
      local message = wrong(given)
      assert.is_truthy(message:find(text, 1, true), message)
      assert.is_truthy(message:match("stats_spec%.lua:%d+: "), message)
    end)
  end

  it(
    "are written down with functions as a word",
    function()
      assert.are.same(
        { a = 1, b = "function", c = { d = "function" } },
        options.described { a = 1, b = print, c = { d = print } }
      )
    end
  )
end)
