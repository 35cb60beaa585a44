--- `perilune pairs`: what a judge sees, and what the ranks say once the order is undone.

local json = require("perilune.base.json")
local pl = require("perilune")
local system = require("perilune.core").system
local world = dofile("tests/lua/support/world.lua")
local scratch = dofile("tests/lua/support/scratch.lua")

describe("perilune pairs", function()
  local dir, a, b

  setup(function()
    dir = scratch.folder()
    local mine, theirs = {}, {}
    for i = 1, 9 do
      local same = i == 9 and "the same" or nil
      mine[i] = { prompt = "p" .. i, completion = same or "good " .. i, model = "alpha" }
      theirs[10 - i] = { prompt = "p" .. i, completion = same or "poor " .. i, model = "beta" }
    end
    mine[10] = { prompt = "alone", completion = "x" }
    a = world.jsonl(dir .. "/alpha.jsonl", mine)
    for i = 10, 12 do
      theirs[i] = { prompt = "of B " .. i % 2, completion = "y" } -- the same question twice
    end
    b = world.jsonl(dir .. "/beta.jsonl", theirs)
  end)

  teardown(function()
    scratch.clean()
    world.clean()
  end)

  local function pairs_of(...)
    local how, code = system.spawn(
      { world.program, "pairs", ... },
      { stdin = "/dev/null", stdout = dir .. "/out", stderr = dir .. "/err" }
    )
    assert.are.equal("exit", how)
    return code, world.read(dir .. "/out"), world.read(dir .. "/err")
  end

  local function rows_of(folder)
    local rows = {}
    for line in io.lines(folder .. "/pairs.jsonl") do
      rows[#rows + 1] = assert(json.decode(line))
    end
    return rows
  end

  it("show answers without names, each model left in half of them, by the seed", function()
    local code, out, err = pairs_of(a, b, dir .. "/one", "--seed", "3")
    assert.are.equal(0, code, err)
    assert.matches("8 pairs in .*equal answers 1, prompts of A alone 1, of B alone 3\n", out)
    local left = 0
    for i, row in ipairs(rows_of(dir .. "/one")) do
      local keys = {}
      for key in pairs(row) do
        keys[#keys + 1] = key
      end
      table.sort(keys)
      assert.are.same({ "completions", "id", "prompt" }, keys)
      assert.are.equal("p" .. i, row.prompt)
      left = left + (row.completions[1] == "good " .. i and 1 or 0)
      local both = { table.unpack(row.completions) }
      table.sort(both)
      assert.are.same({ "good " .. i, "poor " .. i }, both)
    end
    assert.are.equal(4, left)
    local text = world.read(dir .. "/one/pairs.jsonl")
    assert.is_nil(text:find("alpha") or text:find("beta"))
    assert.are.equal(0, (pairs_of(a, b, dir .. "/again", "--seed", "3")))
    assert.are.equal(text, world.read(dir .. "/again/pairs.jsonl"))
    assert.are.equal(0, (pairs_of(a, b, dir .. "/other", "--seed", "4")))
    assert.are_not.equal(text, world.read(dir .. "/other/pairs.jsonl"))
    local again, _, wrong = pairs_of(a, b, dir .. "/one")
    assert.are.equal(1, again)
    assert.matches("holds pairs already", wrong, 1, true)
  end)

  -- What is said of two labelers' agreement, by the formulas: both say left (1), right (-1) or tie;
  -- each judgement counts in both directions, so that left and right are as frequent.
  local function agreement_of(first, second)
    local function said(row)
      local ranks = row.ranks
      return ranks and (ranks[1] < ranks[2] and 1 or ranks[1] > ranks[2] and -1 or 0)
    end
    local shared, same, apart, ties = 0, 0, { 0, 0 }, 0
    for i, row in ipairs(first) do
      local x, y = said(row), said(second[i])
      if x and y then
        shared, same = shared + 1, same + (x == y and 1 or 0)
        ties = ties + (x == 0 and 1 or 0) + (y == 0 and 1 or 0)
        local gap = math.abs(x - y)
        if gap > 0 then apart[gap] = apart[gap] + 1 end
      end
    end
    -- counts of the values, each judgement twice: 2 ties of 0, and as many of 1 as of -1
    local n, zero = 4 * shared, 2 * ties
    local one = (n - zero) / 2
    local near, far = ((one + zero) / 2) ^ 2, (one + zero) ^ 2 -- ordinal differences, squared
    local observed = 4 * (apart[1] * near + apart[2] * far) / n
    local expected = (4 * one * zero * near + 2 * one * one * far) / (n * (n - 1))
    local alpha = 1 - observed / expected
    local text =
      "labelers 2, pairs judged by two or more %d: agreement %.3f, Krippendorff's α %.3f\n"
    return text:format(shared, same / shared, alpha)
  end

  it("undo the order: wins, ties, several judges, the left place", function()
    local folder = dir .. "/judged"
    assert.are.equal(0, (pairs_of(a, b, folder, "--seed", "5")))
    local first, second = rows_of(folder), rows_of(folder)
    for i, row in ipairs(first) do -- ana: A wins pairs 1 to 5, 6 ties, B wins 7; 8 is not judged
      local a_left = row.completions[1] == "good " .. i
      row.labeler = "ana"
      if i <= 5 then row.ranks = a_left and { 1, 2 } or { 2, 1 } end
      if i == 6 then row.ranks = { 1, 1 } end
      if i == 7 then row.ranks = a_left and { 2, 1 } or { 1, 2 } end
    end
    local said = world.jsonl(dir .. "/ana.jsonl", first)
    local code, out, err = pairs_of(folder, said)
    assert.are.equal(0, code, err)
    local rate = pl.stats.rate(6, 8) -- 5 wins, a tie, and a tie of equal answers
    local text = "win rate of A over B %.3f (%.3f to %.3f) on 8 pairs (equal answers 1)"
    assert.matches(text:format(rate.mean, rate.low, rate.high), out, 1, true)
    assert.matches("7 judgements, ties 1, rows without ranks 1", out, 1, true)
    assert.matches("\nlabelers 1, pairs judged by two or more 0: no agreement to measure\n", out)
    for i = 1, 8 do -- bo likes what stands left
      second[i].labeler, second[i].ranks = "bo", { 1, 2 }
    end
    local left = world.jsonl(dir .. "/bo.jsonl", second)
    code, out, err = pairs_of(folder, left)
    assert.are.equal(0, code, err)
    rate = pl.stats.rate(4.5, 9) -- half of the places are A's
    assert.matches(("over B %.3f (%.3f to"):format(rate.mean, rate.low), out, 1, true)
    assert.matches("left won 1.000 (0.676 to 1.000)", out, 1, true)
    code, out, err = pairs_of(folder, said, left)
    assert.are.equal(0, code, err)
    local wins = 0.5
    for i = 1, 8 do
      local bo = second[i].completions[1] == "good " .. i and 1 or 0
      local ana = i <= 5 and 1 or i == 6 and 0.5 or i == 7 and 0 or bo
      wins = wins + (ana + bo) / 2
    end
    assert.matches(("over B %.3f ("):format(wins / 9), out, 1, true)
    assert.matches(agreement_of(first, second), out, 1, true)
    local apart = { first[6], second[7] }
    code, out, err = pairs_of(folder, world.jsonl(dir .. "/apart.jsonl", apart))
    assert.are.equal(0, code, err)
    assert.matches(
      "labelers 2, pairs judged by two or more 0: no agreement to measure",
      out,
      1,
      true
    )
    first[7].labeler, first[7].ranks, first[7].id = "cy", { 1, 1 }, first[6].id
    first[7].completions = first[6].completions
    local ties = world.jsonl(dir .. "/ties.jsonl", { first[6], first[7] })
    code, out, err = pairs_of(folder, ties)
    assert.are.equal(0, code, err)
    text = "two or more 1: agreement 1.000, Krippendorff's α not defined where all are ties"
    assert.matches(text, out, 1, true)
  end)

  it("hold an empty answer for one that can lose", function()
    local short = world.jsonl(dir .. "/short.jsonl", { { prompt = "p", completion = "" } })
    local long = world.jsonl(dir .. "/long.jsonl", { { prompt = "p", completion = "words" } })
    assert.are.equal(0, (pairs_of(short, long, dir .. "/empty")))
    local rows = rows_of(dir .. "/empty")
    rows[1].ranks = rows[1].completions[1] == "" and { 2, 1 } or { 1, 2 }
    local said = world.jsonl(dir .. "/said.jsonl", rows)
    local code, out, err = pairs_of(dir .. "/empty", said)
    assert.are.equal(0, code, err)
    assert.matches("over B 0.000 (0.000 to 0.793) on 1 pairs", out, 1, true)
    local none, _, wrong = pairs_of(dir .. "/empty", world.jsonl(dir .. "/none.jsonl", {}))
    assert.are.equal(1, none)
    assert.matches("nobody has judged a pair", wrong, 1, true)
  end)

  it("take the answers of evaluations", function()
    local w = world.new("llama")
    local folders = {}
    for seed = 1, 2 do
      folders[seed] = w.dir .. "/eval" .. seed
      world.run("eval", {
        model = w.model,
        reward_function = w.reward,
        dataset = w.prompts,
        response_length = 4,
        seed = seed,
      }, folders[seed])
    end
    local code, out, err = pairs_of(folders[1], folders[2], w.dir .. "/pairs")
    assert.are.equal(0, code, err)
    local shown, equal, alone = out:match("(%d+) pairs in .*answers (%d+), .*alone (%d+),")
    assert.are.same({ 40, "0" }, { shown + equal, alone })
    assert.is_true(tonumber(shown) > 0)
  end)

  it("refuse what does not fit", function()
    local folder = dir .. "/wrong"
    assert.are.equal(0, (pairs_of(a, b, folder)))
    local function refused(change, message)
      local rows = rows_of(folder)
      rows[2].ranks = { 1, 2 }
      change(rows)
      local code, _, err = pairs_of(folder, world.jsonl(dir .. "/rows.jsonl", rows))
      assert.are.equal(1, code)
      assert.matches(message, err, 1, true)
    end
    refused(function(rows) rows[2].id = 99 end, "rows.jsonl:2: there is no pair 99")
    refused(function(rows)
      local shown = rows[2].completions
      shown[1], shown[2] = shown[2], shown[1]
    end, "rows.jsonl:2: pair 2 has other answers than shown")
    refused(function(rows) rows[2].ranks = { 1 } end, "rows.jsonl:2: `ranks` must be two numbers")
    refused(function(rows) rows[2].ranks = { "a", 2 } end, "`ranks` must be two numbers")
    refused(function(rows) rows[3] = rows[2] end, "rows.jsonl:3: " .. dir)
    refused(
      function(rows) rows[2].completions = nil end,
      "rows.jsonl:2: pair 2 has no `completions`: hand the row back as it was shown"
    )
    refused(function(rows)
      for _, row in ipairs(rows) do
        row.ranks = nil
      end
    end, "nobody has judged a pair: of 8 rows none has `ranks`")
    refused(function(rows) rows[2].rankings = { 1 } end, "must be a list of {ranks, labeler}")
    local code, _, err = pairs_of(folder)
    assert.are.equal(1, code)
    assert.matches("usage: perilune pairs", err, 1, true)
    code, _, err = pairs_of(dir, a)
    assert.are.equal(1, code)
    assert.matches(dir .. " holds no pairs: it has no key.json", err, 1, true)
    local whole = world.jsonl(dir .. "/rows.jsonl", rows_of(folder))
    for _, text in ipairs { "{}", '{"a":"x","b":"y","equal":0,"pairs":[{}]}', '{"pairs":5}' } do
      assert(pl.files.write_atomic(folder .. "/key.json", text))
      code, _, err = pairs_of(folder, whole)
      assert.are.equal(1, code)
      assert.matches("key.json is not what `perilune pairs A B FOLDER` wrote", err, 1, true)
    end
    assert(pl.files.write_atomic(dir .. "/list.json", '[{"prompt":"p1","completion":"x"}]'))
    code, _, err = pairs_of(dir .. "/list.json", b, dir .. "/none")
    assert.are.equal(1, code)
    assert.matches("list.json:1: no JSON object", err, 1, true)
  end)

  it("read what several said of one row", function()
    local folder = dir .. "/several"
    assert.are.equal(0, (pairs_of(a, b, folder)))
    local rows = rows_of(folder)
    rows[1].rankings = { { ranks = { 1, 2 }, labeler = "x" }, { ranks = { 2, 1 }, labeler = "y" } }
    local code, out, err = pairs_of(folder, world.jsonl(dir .. "/rows.jsonl", { rows[1] }))
    assert.are.equal(0, code, err)
    assert.matches("over B 0.500 ", out, 1, true) -- one of each, and a tie of equal answers
    assert.matches("2 judgements, ties 0", out, 1, true)
  end)
end)
