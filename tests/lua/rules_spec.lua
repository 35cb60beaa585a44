-- The data rules: the pipeline and the laws of cap, dedupe and split, under random data. Every law
-- is tried on several seeds; a failure names the seed.

local dedupe = require("perilune.rules.dedupe")
local json = require("perilune.base.json")
local log = dofile("tests/lua/support/log.lua")
local near = require("perilune.rules.near")
local spool = require("perilune.rules.spool")
local rules = require("perilune.rules")
local split = require("perilune.rules.split")

local assert_in_order = log.assert_in_order
local count_by = log.count_by
local for_seeds = log.for_seeds
local generator = log.generator
local numbers = log.numbers
local random_log = log.random_log
local run = log.run
local shuffled = log.shuffled

describe("the pipeline", function()
  local rows = {
    { prompt = "a" },
    { prompt = "bb" },
    { prompt = "ccc" },
    { prompt = "dddd" },
    {
      messages = {
        { role = "user", content = "e" },
        { role = "assistant", content = "f" },
        { role = "user", content = "g" },
      },
    },
  }

  it("counts what each rule drops, with examples", function()
    local short = rules.filter(
      "short",
      function(row) return #rules.text(row) > 1, "of one letter" end
    )
    local odd = rules.filter("odd", function(row) return #rules.text(row) % 2 == 0 end)
    local out, report = run(rows, { short, odd })
    assert.same({ "bb", "dddd" }, { out[1].prompt, out[2].prompt })
    assert.same({ ["of one letter"] = 1 }, report[1].reasons)
    assert.same({ odd = { "ccc", "e\ng" } }, report[2].examples)
    assert.same({ 5, 4, 4, 2 }, {
      report[1].rows_in,
      report[1].rows_out,
      report[2].rows_in,
      report[2].rows_out,
    })
  end)

  it("takes an iterator, no rules, no rows", function()
    assert.same(
      {},
      run({}, {
        rules.cap {},
        rules.dedupe { near = 0.8 },
        rules.split {},
        rules.length {},
        rules.balance { share = 0.5 },
        rules.use_case {},
      })
    )
    local given = 0
    local stream = rules.run(function()
      given = given + 1
      return rows[given]
    end, {})
    assert.equal(rows[1], stream())
  end)

  it("runs a rule over some rows alone, and loses none of the others", function()
    for_seeds(function(seed)
      local log_rows = random_log(seed)
      local function chats(row) return row.use_case == "chat" end
      local out = run(log_rows, { rules.only(chats, rules.cap { max = 2 }) }, seed)
      local some, others = {}, 0
      for _, row in ipairs(out) do
        if chats(row) then
          some[#some + 1] = row
        else
          others = others + 1
        end
      end
      local alone = {}
      for _, row in ipairs(log_rows) do
        alone[#alone + 1] = chats(row) and row or nil
      end
      assert.equal(#log_rows - #alone, others)
      assert.same(run(alone, { rules.cap { max = 2 } }, seed), some)
    end)
  end)

  it("refuses a rule that loses or invents rows", function()
    local function broken(apply) return pcall(run, rows, { { name = "broken", apply = apply } }) end
    local ok, message = broken(function(input)
      return function()
        input()
        return input()
      end
    end)
    assert.is_false(ok)
    assert.matches("rule broken took 5 rows, dropped 0 and handed on 2", message, 1, true)
    ok, message = broken(function(input)
      local last, again
      return function()
        again = not again
        if again then last = input() end
        return last
      end
    end)
    assert.is_false(ok)
    assert.matches("handed on 10", message, 1, true)
  end)

  it("keeps what a rule says of a row with it", function()
    local loud = {
      name = "loud",
      apply = function(input, context)
        return function()
          local row = input()
          if row and row.prompt then
            local copy = { prompt = row.prompt .. "!", changes = row.changes }
            context.change(copy, "made loud")
            return copy
          end
          return row
        end
      end,
    }
    local out, report = run(rows, { loud, rules.cap {}, loud })
    assert.same({ "loud: made loud", "loud: made loud" }, out[1].changes)
    assert.equal(4, report[1].changed)
    assert.is_nil(rows[1].changes)
  end)

  it("names settings that it does not know, on the caller's line", function()
    local function message_of(build, ...)
      local ok, message = pcall(build, ...)
      assert.is_false(ok)
      return message
    end
    assert.matches(
      "cap has no option 'maxx'; did you mean 'max'?",
      message_of(function() rules.cap { maxx = 3 } end),
      1,
      true
    )
    assert.matches(
      "rules_spec.lua:%d+: cap: max = 0; it must be an integer of at least 1",
      message_of(function() rules.cap { max = 0 } end)
    )
    for _, case in ipairs {
      { rules.cap, { keep = "best" }, 'keep = "best"' },
      { rules.cap, { by = 3 }, "by = 3" },
      { rules.split, { train = 0.9 }, "is 1.1, not 1" },
      { rules.split, { test = -1 }, "test = -1" },
      { rules.dedupe, { prefix = 0 }, "prefix = 0" },
      { rules.dedupe, { unit = "byte" }, "unit" },
      { rules.dedupe, { exact = false, normalized = false, prefix = false }, "all off" },
      { rules.length, { min = 5, max = 4 }, "max = 4" },
      { rules.keyword, {}, "`any` or `none`" },
      { rules.keyword, { any = { " " } }, "item 1 of `any`" },
      { rules.balance, {}, "give one of" },
      { rules.balance, { share = 2 }, "share = 2" },
      { rules.use_case, { score = 1 }, "score" },
    } do
      assert.matches(case[3], message_of(case[1], case[2]), 1, true)
    end
  end)
end)

describe("cap", function()
  it("never exceeds, takes from nobody below it, and keeps rows of its input in order", function()
    for_seeds(function(seed)
      local rows, draw = random_log(seed)
      local max = draw(12)
      local before = count_by(rows, "user_id")
      for _, keep in ipairs { "sample", "first", "last" } do
        local out = run(rows, { rules.cap { max = max, keep = keep } }, seed)
        assert_in_order(out)
        for _, row in ipairs(out) do
          assert.same(rows[row.n], row)
        end
        local after = count_by(out, "user_id")
        for user, count in pairs(before) do
          assert.equal(math.min(count, max), after[user])
        end
      end
    end)
  end)

  it("keeps the first or the last by their order", function()
    local rows = {}
    for i = 1, 10 do
      rows[i] = { n = i, prompt = "same", user_id = i % 2 == 0 and "a" or "b" }
    end
    assert.same({ 1, 2, 3, 4 }, numbers(run(rows, { rules.cap { max = 2, keep = "first" } })))
    assert.same({ 7, 8, 9, 10 }, numbers(run(rows, { rules.cap { max = 2, keep = "last" } })))
  end)

  it("samples the same rows in whatever order they come; one more moves one at most", function()
    for_seeds(function(seed)
      local draw = generator(seed)
      local rows = {}
      for i = 1, 60 do
        rows[i] = { n = i, prompt = "text " .. i, user_id = "u" .. i % 3 }
      end
      local rule = rules.cap { max = 7 }
      local kept = numbers(run(rows, { rule }, seed))
      local again = numbers(run(shuffled(rows, draw), { rule }, seed))
      table.sort(again)
      assert.same(kept, again)
      local chosen = {}
      for _, n in ipairs(kept) do
        chosen[n] = true
      end
      rows[61] = { n = 61, prompt = "one more", user_id = "u1" }
      local new = 0
      for _, n in ipairs(numbers(run(rows, { rule }, seed))) do
        new = new + (chosen[n] and 0 or 1)
      end
      assert.is_true(new <= 1)
    end)
  end)

  -- Each of N rows is kept with probability p = max / N; the counts over S seeds have variance
  -- S p (1 - p), and the sum of squares so scaled, times (N - 1) / N, is chi-square
  -- of N - 1 degrees.
  it("samples uniformly", function()
    local N <const>, MAX <const>, S <const> = 20, 5, 1000
    local rows, kept, alike = {}, {}, {}
    for i = 1, N do
      -- Half of the rows say the same: they must be no more and no less likely than the others.
      rows[i] = { n = i, prompt = i <= N // 2 and "same" or "text " .. i, user_id = "u" }
      kept[i] = 0
    end
    for seed = 1, S do
      local same = 0
      for _, row in ipairs(run(rows, { rules.cap { max = MAX } }, seed)) do
        kept[row.n] = kept[row.n] + 1
        same = same + (row.n <= N // 2 and 1 or 0)
      end
      alike[same] = (alike[same] or 0) + 1
    end
    local p, chi = MAX / N, 0
    for i = 1, N do
      chi = chi + (kept[i] - S * p) ^ 2 / (S * p * (1 - p)) * (N - 1) / N
    end
    assert.is_true(chi < 43.8, "chi-square of 19 degrees: " .. chi) -- 99.9 % lie below
    -- How many of the ten alike are kept is hypergeometric.
    local function choose(n, k)
      local c = 1
      for i = 1, k do
        c = c * (n - k + i) / i
      end
      return c
    end
    chi = 0
    for same = 0, MAX do
      local expected = S * choose(10, same) * choose(10, MAX - same) / choose(N, MAX)
      chi = chi + ((alike[same] or 0) - expected) ^ 2 / expected
    end
    assert.is_true(chi < 20.5, "chi-square of 5 degrees: " .. chi)
  end)

  it("does with rows that have no key as it is told", function()
    local rows = { { n = 1, prompt = "a" }, { n = 2, prompt = "b", user_id = "u" } }
    local out, report = run(rows, { rules.cap { max = 1 } })
    assert.same({ 1, 2 }, numbers(out))
    assert.equal(1, report[1].tallies["no user_id"])
    out, report = run(rows, { rules.cap { max = 1, missing = "drop" } })
    assert.same({ 2 }, numbers(out))
    assert.same({ ["no user_id"] = 1 }, report[1].reasons)
    assert.has_error(
      function() run(rows, { rules.cap { max = 1, missing = "error" } }) end,
      'cap: row 1 has no user_id; set `missing` to "keep" or "drop", or another `by`'
    )
  end)
end)

describe("dedupe", function()
  -- The law as the head of dedupe.lua has it, written anew and slowly.
  local function folded(text)
    return (text:lower():gsub("É", "é"):gsub("[%s,]+", " "):gsub("^ ", ""):gsub(" $", ""))
  end

  local function units(text, unit)
    local list = {}
    for one in text:gmatch(unit == "words" and "%S+" or utf8.charpattern) do
      list[#list + 1] = one
    end
    return list
  end

  local function alike(a, b, s)
    if s.normalized then
      a, b = folded(a), folded(b)
    end
    if s.prefix then
      local x, y = units(a, s.unit), units(b, s.unit)
      if #x >= s.prefix and #y >= s.prefix then
        for i = 1, s.prefix do
          if x[i] ~= y[i] then return false end
        end
        return true
      end
    end
    return (s.exact or s.normalized) and a == b
  end

  local ways = {
    { exact = true, normalized = false, prefix = false, unit = "chars" },
    { exact = true, normalized = true, prefix = false, unit = "chars" },
    { exact = true, normalized = true, prefix = 6, unit = "chars" },
    { exact = true, normalized = false, prefix = 6, unit = "chars" },
    { exact = false, normalized = false, prefix = 9, unit = "chars" },
    { exact = true, normalized = true, prefix = 3, unit = "words" },
    { exact = false, normalized = true, prefix = 2, unit = "words" },
  }

  it("keeps the earliest of all that are alike, and nothing else goes", function()
    for_seeds(function(seed)
      for _, way in ipairs(ways) do
        local rows = random_log(seed, 120)
        local out = run(rows, { rules.dedupe(way) }, seed)
        assert_in_order(out)
        local stays = {}
        for i, row in ipairs(out) do
          stays[row.n] = true
          for j = 1, i - 1 do
            assert.is_false(alike(out[j].prompt, row.prompt, way))
          end
        end
        for n, row in ipairs(rows) do
          if not stays[n] then
            local first
            for _, earlier in ipairs(out) do
              if alike(earlier.prompt, row.prompt, way) then first = first or earlier.n end
            end
            assert.is_true(first ~= nil and first < n)
          end
        end
        assert.same(out, run(out, { rules.dedupe(way) }, seed + 1)) -- and again changes nothing
      end
    end)
  end)

  local function kept(texts, settings)
    local rows = {}
    for i, text in ipairs(texts) do
      rows[i] = { n = i, prompt = text }
    end
    local out, report = run(rows, { rules.dedupe(settings) })
    return numbers(out), report[1]
  end

  it("says why, and shows what the dropped prompt is like", function()
    local long = ("word "):rep(20)
    local list, entry =
      kept { "What is it?", "What is it?", "what  is it", long .. "a", long .. "b" }
    assert.same({ 1, 4 }, list)
    assert.same({
      ["same prompt"] = 1,
      ["same but for case, spaces and punctuation"] = 1,
      ["same first 64 chars"] = 1,
    }, entry.reasons)
    assert.same({ long .. "b" }, entry.examples["same first 64 chars"])
    assert.same({ long .. "a" }, entry.likes["same first 64 chars"])
  end)

  it("holds a short prompt apart from a long one that begins with it", function()
    assert.same({ 1, 2, 3 }, (kept({ "abcde", "abcdefgh", "abcd" }, { prefix = 6 })))
    assert.same({ 1, 3 }, (kept({ "abcdefgh", "abcdefxx", "abcde" }, { prefix = 6 })))
  end)

  it("folds case, spaces and punctuation, and no sign that means something", function()
    assert.same({ 1 }, (kept {
      "ÄPFEL, БРАТ ΣΟΦΟΣ",
      "äpfel брат σοφος",
      "Äpfel\u{A0}брат — «σοφος»!",
    }))
    assert.same({ 1, 2, 3, 4 }, (kept { "2+2", "2-2", "a/b", "a b" }))
    assert.same({ 1, 2, 4 }, (kept { "???", "!!!", "!!!", "" }))
    assert.same({ 1, 2 }, (kept { "\xFFa", "\xFEa" }))
  end)

  it("counts characters, not bytes, and survives what is no UTF-8", function()
    assert.same({ 1, 2 }, (kept({ "éééa", "éééb" }, { prefix = 4 })))
    assert.same({ 1 }, (kept({ "éééa", "éééb" }, { prefix = 3 })))
    assert.same({ 1 }, (kept({ "\x80\x80\x80ab", "\x80\x80\x80ac" }, { prefix = 4 })))
  end)

  it("finds near duplicates: what goes has an earlier one that stays and is like it", function()
    for_seeds(function(seed)
      local draw = generator(seed)
      local rows, first_of = {}, {}
      for i = 1, 30 do
        local words = {}
        for k = 1, 60 do
          words[k] = "w" .. draw(5000)
        end
        rows[#rows + 1] = { n = #rows + 1, prompt = table.concat(words, " ") }
        if i % 3 == 0 then -- one word of sixty changed: the Jaccard index is 55 / 61 = 0.90
          words[10 + draw(40)] = "changed"
          local original = #rows
          rows[#rows + 1] = { n = #rows + 1, prompt = "Well, " .. table.concat(words, " ") }
          first_of[#rows] = original
        end
      end
      local out, report = run(rows, { rules.dedupe { near = 0.7 } }, seed)
      local stays = {}
      for _, row in ipairs(out) do
        stays[row.n] = true
      end
      for n in ipairs(rows) do
        assert.equal(first_of[n] == nil, stays[n] == true)
      end
      assert.equal(10, report[1].reasons["nearly the same: likeness of 0.7 or more"])
      assert.same(out, run(out, { rules.dedupe { near = 0.7 } }, seed))
    end)
  end)

  it("drops nothing for the sake of one that is gone itself", function()
    local function text(first, last) -- 60 words: the first 8, 44 in the middle, the last 8
      local words = {}
      for k = 1, 60 do
        words[k] = (k <= 8 and first or k > 52 and last or "mid") .. k
      end
      return table.concat(words, " ")
    end
    -- Neighbours share 50 of 66 runs of three words, the ends of the chain 42 of 74.
    local chain = { text("a", "a"), text("b", "a"), text("b", "b") }
    local list, entry = kept(chain, { near = 0.66, prefix = false })
    assert.same({ 1, 3 }, list)
    assert.same({ chain[1] }, entry.likes["nearly the same: likeness of 0.66 or more"])
    assert.same({ 1 }, (kept({ chain[2], chain[1], chain[3] }, { near = 0.66, prefix = false })))
  end)

  it("estimates likeness without bias, within its standard error", function()
    local draw, sum, squares = generator(1), 0, 0
    for _ = 1, 100 do
      local a, b = {}, {}
      for k = 1, 40 do
        a[k] = "x" .. draw(1000000)
        b[k] = k <= 30 and a[k] or "y" .. draw(1000000)
      end
      local truth = 28 / (38 + 38 - 28)
      local gap = near.likeness(
        near.signature(table.concat(a, " ")),
        near.signature(table.concat(b, " "))
      ) - truth
      sum, squares = sum + gap, squares + gap * gap
    end
    local expected = math.sqrt(28 / 48 * 20 / 48 / 128)
    assert.is_true(math.abs(sum / 100) < 3 * expected / 10)
    assert.is_true(math.sqrt(squares / 100) < 1.25 * expected)
  end)
end)

describe("split", function()
  local settings = { train = 0.6, valid = 0.2, test = 0.2, salt = "s" }

  it("keeps a user on one side, whoever is added, in any order", function()
    for_seeds(function(seed)
      local rows, draw = random_log(seed)
      local side_of = {}
      for _, row in ipairs(run(rows, { rules.split(settings) }, seed)) do
        local key = row.user_id or row.prompt
        assert.is_true(side_of[key] == nil or side_of[key] == row.side)
        side_of[key] = row.side
      end
      local more = random_log(seed + 1000)
      table.move(rows, 1, #rows, #more + 1, more)
      for _, row in ipairs(run(shuffled(more, draw), { rules.split(settings) }, seed + 1)) do
        local old = side_of[row.user_id or row.prompt]
        assert.is_true(old == nil or old == row.side)
      end
    end)
  end)

  it("gives each side its share of the users", function()
    local counts = { train = 0, valid = 0, test = 0 }
    for i = 1, 20000 do
      local side = split.side("user " .. i, settings)
      counts[side] = counts[side] + 1
    end
    for side, count in pairs(counts) do -- four standard deviations
      local p = settings[side]
      assert.is_true(math.abs(count - 20000 * p) < 4 * math.sqrt(20000 * p * (1 - p)), side)
    end
    for i = 1, 100 do
      assert.equal("test", split.side("u" .. i, { train = 0, valid = 0, test = 1 }))
    end
  end)

  it("has these sides for ever", function()
    local sides = {}
    for i = 1, 12 do
      sides[i] = split.side("user " .. i):sub(1, 2)
    end
    assert.equal("tr tr tr tr tr tr te tr tr tr tr te", table.concat(sides, " "))
    assert.equal("train", split.side("user 1", { salt = "other" }))
  end)

  it("goes by the text where there is no key, also when the text is masked later", function()
    local mask = {
      name = "mask",
      apply = function(input, context)
        return function()
          local row = input()
          if row then
            row.prompt = "[masked]"
            context.change(row, "masked")
          end
          return row
        end
      end,
    }
    local rows = {}
    for i = 1, 50 do
      rows[i] = { n = i, prompt = "text " .. (i + 1) // 2 }
    end
    local out = run(rows, { rules.split {}, mask, rules.cap {} })
    for i = 2, 50, 2 do
      assert.equal(out[i - 1].side, out[i].side)
      assert.equal(out[i].side, split.row_side(rows[i]))
    end
    assert.same(out, run(out, { rules.split {} })) -- the second time as the first
  end)

  it("is asserted after every later rule", function()
    local rows = random_log(1)
    local function broken(change)
      local function apply(input)
        return function()
          local row = input()
          if row and row.n == 40 then change(row) end
          return row
        end
      end
      return pcall(run, rows, {
        rules.split {},
        rules.cap {},
        { name = "broken", apply = apply },
        rules.cap {},
      })
    end
    rows[40].user_id = "user 5"
    local ok, message = broken(
      function(row) row.side = row.side == "train" and "test" or "train" end
    )
    assert.is_false(ok)
    assert.matches('after rule broken: user_id "user 5" stands on side', message, 1, true)
    ok = broken(function(row) row.side = nil end)
    assert.is_false(ok)
    assert.is_true((broken(function() end)))
  end)
end)

describe("rows held by rules that look at all of them", function()
  local judges = {
    rules.dedupe { prefix = 20 },
    rules.filter("not 7", function(row) return row.n ~= 7 end),
    rules.cap { max = 5 },
    rules.balance { by = "source", max = 60 },
  }
  local real_new, opened

  setup(function()
    real_new = spool.new
    function spool.new(...)
      opened = opened + 1
      return real_new(...)
    end
  end)
  teardown(function() spool.new = real_new end)
  before_each(function() opened = 0 end)

  -- The same rows, to be read as often as wanted: new tables each time.
  local function source_of(list)
    return {
      rows = function()
        local n = 0
        return function()
          n = n + 1
          local copy = list[n] and {}
          for key, value in pairs(list[n] or {}) do
            copy[key] = value
          end
          return copy, n
        end
      end,
    }
  end

  it("lie on disk once, or not at all when they can be read again", function()
    for_seeds(function(seed)
      local rows = random_log(seed)
      opened = 0
      local expected, report = run(rows, judges, seed)
      assert.equal(1, opened)
      local stream, again = rules.run(source_of(rows), judges, { seed = seed })
      local out = {}
      for row in stream do
        out[#out + 1] = row
      end
      assert.equal(1, opened)
      assert.same(expected, out)
      assert.same(report, again)
    end)
  end)

  it("come in the same order when a rule is for some of them alone", function()
    local rows = random_log(3)
    local function is_odd(row) return row.n % 2 == 1 end
    local list = {
      rules.only(is_odd, rules.dedupe {}),
      rules.cap { max = 4 },
      rules.only(is_odd, rules.cap { max = 2 }),
    }
    local stream = rules.run(source_of(rows), list, { seed = 1 })
    local out = {}
    for row in stream do
      out[#out + 1] = row
    end
    assert.same(run(rows, list, 1), out)
    assert.is_true(opened > 0 and #out > 0)
  end)

  it("keep what a rule between wrote into them, a copy or not", function()
    local function marked(copied)
      return {
        name = "mark",
        apply = function(input)
          return function()
            local row = input()
            if not row or row.n % 3 == 0 then return row end
            local out = copied and { n = row.n, prompt = row.prompt } or row
            out.mark = true
            return out
          end
        end,
      }
    end
    for _, copied in ipairs { true, false } do
      local rows = {}
      for i = 1, 30 do
        rows[i] = { n = i, prompt = "text " .. i }
      end
      local stream = rules.run(source_of(rows), { rules.dedupe {}, marked(copied), rules.cap {} })
      local n = 0
      for row in stream do
        n = n + 1
        assert.same({ n = n, prompt = "text " .. n, mark = n % 3 ~= 0 or nil }, row)
      end
      assert.equal(30, n)
    end
  end)
end)

describe("any order of rules", function()
  local function permutations(list, n, visit)
    if n == 1 then return visit(list) end
    for i = 1, n do
      list[i], list[n] = list[n], list[i]
      permutations(list, n - 1, visit)
      list[i], list[n] = list[n], list[i]
    end
  end

  it("keeps the law of each, and the same bytes each time", function()
    local seed = 1
    local rows = random_log(seed, 150)
    local list = {
      rules.cap { max = 4 },
      rules.dedupe { prefix = 8 },
      rules.split {},
      rules.length { min = 4, max = 40 },
      rules.balance { max = 25 },
    }
    permutations(list, #list, function(order)
      local out = run(rows, order, seed)
      assert_in_order(out)
      local classes, class_of = {}, dedupe.classes { prefix = 8 }
      for _, count in pairs(count_by(out, "user_id")) do
        assert.is_true(count <= 4)
      end
      for _, count in pairs(count_by(out, "use_case")) do
        assert.is_true(count <= 25)
      end
      for _, row in ipairs(out) do
        assert.equal(split.row_side(row), row.side)
        local length = utf8.len(row.prompt)
        assert.is_true(length >= 4 and length <= 40)
        local class = class_of(row)
        assert.is_nil(classes[class])
        classes[class] = true
      end
      assert.equal(json.encode(out), json.encode((run(rows, order, seed))))
    end)
  end)

  it("takes another sample for another seed", function()
    local rows = random_log(1, 300)
    local a, b = run(rows, { rules.cap { max = 2 } }, 1), run(rows, { rules.cap { max = 2 } }, 2)
    assert.equal(#a, #b)
    assert.not_same(numbers(a), numbers(b))
  end)
end)
