--- Random streams by name, and the session's stream.

local pl = require("perilune")

local random = pl.random

describe("a purpose", function()
  it("is told by its name and each of its parts, in their order", function()
    local seen = {}
    for _, purpose in ipairs {
      random.purpose("a"),
      random.purpose("b"),
      random.purpose("a", 1),
      random.purpose("a", 2),
      random.purpose("a", 1, 2),
      random.purpose("a", 2, 1),
      random.purpose("a", "1"),
      random.purpose("a", "b"),
      random.purpose("ab"),
      random.purpose("a", 0),
      random.purpose(""),
      random.purpose("a", -1),
      random.purpose("a", 1, ""),
      random.purpose("a", math.mininteger),
    } do
      assert.is_nil(seen[purpose])
      seen[purpose] = true
    end
    assert.are.equal(random.purpose("ppo.order", 3, 1), random.purpose("ppo.order", 3, 1))
  end)

  it("takes integers and texts alone", function()
    assert.has_error(function() random.purpose("a", 1.5) end)
    assert.has_error(function() random.purpose("a", nil) end)
    assert.has_error(function() random.purpose(nil) end)
  end)
end)

describe("a permutation", function()
  it("holds each number once and depends on its arguments alone", function()
    local order = random.permutation(50, 7, "order", 2)
    local sorted = table.move(order, 1, 50, 1, {})
    table.sort(sorted)
    for i = 1, 50 do
      assert.are.equal(i, sorted[i])
    end
    assert.are.same(order, random.permutation(50, 7, "order", 2))
    assert.are_not.same(order, random.permutation(50, 7, "order", 3))
    assert.are_not.same(order, random.permutation(50, 8, "order", 2))
    assert.are_not.same(order, random.permutation(50, 7, "other", 2))
    assert.are.same({}, random.permutation(0, 7, "order"))
    assert.are.same({ 1 }, random.permutation(1, 7, "order"))
  end)

  it("is as likely as any other", function()
    local counts, n = {}, 6000
    for i = 1, n do
      local key = table.concat(random.permutation(3, 1, "fair", i))
      counts[key] = (counts[key] or 0) + 1
    end
    local chi2 = 0
    for _, key in ipairs { "123", "132", "213", "231", "312", "321" } do
      chi2 = chi2 + ((counts[key] or 0) - n / 6) ^ 2 / (n / 6)
    end
    assert.is_true(chi2 < 20.5, ("chi-square %.1f with 5 degrees of freedom"):format(chi2)) -- .001
  end)
end)

describe("a stream", function()
  it("draws on, and draws the same when it is made again", function()
    local one, again = random.stream(3, "s", "x"), random.stream(3, "s", "x")
    local first = { one:real(), one:real(), one:normal(), one:int(1, 6), one:chance(0.5) }
    assert.are_not.equal(first[1], first[2])
    assert.are.same(
      first,
      { again:real(), again:real(), again:normal(), again:int(1, 6), again:chance(0.5) }
    )
    assert.are_not.equal(first[1], random.stream(3, "s", "y"):real())
  end)

  it("gives ends and weights what is theirs", function()
    local stream, seen, weighed = random.stream(1, "dice"), {}, { a = 0, b = 0 }
    for _ = 1, 3000 do
      local eyes = stream:int(1, 6)
      seen[eyes] = (seen[eyes] or 0) + 1
      local key = stream:weighted { a = 1, b = 3, c = 0 }
      weighed[key] = weighed[key] + 1
    end
    for eyes = 1, 6 do
      assert.is_true(math.abs(seen[eyes] - 500) < 100, eyes .. ": " .. seen[eyes])
    end
    assert.is_true(math.abs(weighed.b - 2250) < 100, "b: " .. weighed.b)
  end)

  it("gives normals of mean 0 and variance 1", function()
    local stream, sum, squares = random.stream(0, "moments"), 0, 0
    for _ = 1, 20000 do
      local z = stream:normal()
      sum, squares = sum + z, squares + z * z
    end
    assert.is_true(math.abs(sum / 20000) < 0.025)
    assert.is_true(math.abs(squares / 20000 - 1) < 0.04)
  end)

  it("shuffles copies and takes samples", function()
    local stream, list = random.stream(5, "list"), { "a", "b", "c", "d" }
    local copy = stream:shuffled(list)
    assert.are.same({ "a", "b", "c", "d" }, list)
    table.sort(copy)
    assert.are.same(list, copy)
    local two = stream:sample(list, 2)
    assert.are.equal(2, #two)
    assert.are_not.equal(two[1], two[2])
  end)
end)

describe("tensors", function()
  after_each(function() pl.seed(0) end)

  it("without a seed draw on from the session's stream", function()
    pl.seed(11)
    local a, b, c = pl.randn { 4 }, pl.randn { 4 }, pl.uniform { 4 }
    assert.are_not.same(a:totable(), b:totable())
    pl.seed(11)
    assert.are.equal(11, pl.seed())
    assert.are.same(a:totable(), pl.randn({ 4 }):totable())
    assert.are.same(b:totable(), pl.randn({ 4 }):totable())
    assert.are.same(c:totable(), pl.uniform({ 4 }):totable())
    pl.seed(12)
    assert.are_not.same(a:totable(), pl.randn({ 4 }):totable())
  end)

  it("with a seed are pinned, and leave the session's stream where it is", function()
    pl.seed(11)
    local a = pl.randn { 4 }
    pl.seed(11)
    local pinned = pl.randn({ 4 }, { seed = 3 })
    assert.are.same(pinned:totable(), pl.randn({ 4 }, { seed = 3 }):totable())
    assert.are.same(a:totable(), pl.randn({ 4 }):totable())
  end)
end)

describe("answers", function()
  it("of different streams differ, of one stream do not", function()
    local toy = dofile("tests/lua/support/toy.lua")
    local model = toy.model("llama")
    local function tokens(stream, seed)
      local answers = pl.generate(model, { { 1, 2 } }, {
        max_tokens = 12,
        seed = seed,
        stream = stream,
      })
      return answers.tokens:totable()
    end
    assert.are.same(tokens("eval", 1), tokens("eval", 1))
    assert.are_not.same(tokens("eval", 1), tokens("ppo.rollout", 1))
    assert.are_not.same(tokens("eval", 1), tokens("eval", 2))
    assert.are.same(tokens(nil, 1), tokens("", 1))
  end)
end)
