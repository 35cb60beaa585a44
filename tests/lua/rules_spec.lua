-- The data rules: their laws under random data. Every law is tried on the seeds of SEEDS; a failure
-- names the seed.

local balance = require("perilune.rules.balance")
local dedupe = require("perilune.rules.dedupe")
local fold = require("perilune.rules.fold")
local hash = require("perilune.rules.hash")
local json = require("perilune.json")
local near = require("perilune.rules.near")
local rules = require("perilune.rules")
local sorter = require("perilune.rules.sorter")
local split = require("perilune.rules.split")
local spool = require("perilune.rules.spool")

local SEEDS <const> = { 1, 2, 3, 5, 8, 13, 21, 34, 55, 89 }

local function generator(seed)
  local state = hash.text("rules spec " .. seed)
  return function(n)
    state = state + 1
    return math.floor(hash.fraction(hash.mix(state, 7)) * n) + 1
  end
end

local function shuffled(list, draw)
  local copy = table.move(list, 1, #list, 1, {})
  for i = #copy, 2, -1 do
    local j = draw(i)
    copy[i], copy[j] = copy[j], copy[i]
  end
  return copy
end

-- Rows out and the report, whose counts are held against what went in and came out.
local function run(rows, list, seed)
  local stream, report = rules.run(rows, list, { seed = seed })
  local out = {}
  for row in stream do
    out[#out + 1] = row
  end
  assert.is_nil(stream())
  local left = #rows
  for _, entry in ipairs(report) do
    assert.equal(left, entry.rows_in)
    for reason, count in pairs(entry.reasons) do
      left = left - count
      assert.equal(math.min(count, 3), #entry.examples[reason])
    end
    assert.equal(left, entry.rows_out)
  end
  assert.equal(left, #out)
  return out, report
end

-- A log with a heavy tail of users, some rows without one; texts are of few words, so many meet.
local function random_log(seed, size)
  local draw = generator(seed)
  local rows = {}
  for i = 1, size or 100 + draw(200) do
    local words = {}
    for k = 1, draw(9) do
      words[k] = ({ "one", "two", "Two", "three,", "four", "é", "É" })[draw(7)]
    end
    local user = draw(3) == 1 and draw(3) or draw(60)
    rows[i] = { n = i, prompt = table.concat(words, ({ " ", " ", "  " })[draw(3)]), time = 1000 + i,
      user_id = draw(15) > 1 and "user " .. user or nil, source = "api",
      use_case = ({ "chat", "chat", "chat", "chat", "rewrite", "rewrite", "other" })[draw(7)] }
  end
  return rows, draw
end

local function numbers(rows)
  local list = {}
  for i, row in ipairs(rows) do
    list[i] = row.n
  end
  return list
end

local function count_by(rows, key)
  local counts = {}
  for _, row in ipairs(rows) do
    local value = row[key]
    if value ~= nil then
      counts[value] = (counts[value] or 0) + 1
    end
  end
  return counts
end

local function assert_in_order(rows)
  for i = 2, #rows do
    assert.is_true(rows[i - 1].n < rows[i].n)
  end
end

local function for_seeds(law)
  for _, seed in ipairs(SEEDS) do
    local ok, message = pcall(law, seed)
    if not ok then
      error(("seed %d: %s"):format(seed, type(message) == "table" and message.message
        or tostring(message)), 0)
    end
  end
end

describe("the pipeline", function()
  local rows = { { prompt = "a" }, { prompt = "bb" }, { prompt = "ccc" }, { prompt = "dddd" },
    { messages = { { role = "user", content = "e" }, { role = "assistant", content = "f" },
      { role = "user", content = "g" } } } }

  it("counts what each rule drops, with examples", function()
    local short = rules.filter("short", function(row)
      return #rules.text(row) > 1, "of one letter"
    end)
    local odd = rules.filter("odd", function(row)
      return #rules.text(row) % 2 == 0
    end)
    local out, report = run(rows, { short, odd })
    assert.same({ "bb", "dddd" }, { out[1].prompt, out[2].prompt })
    assert.same({ ["of one letter"] = 1 }, report[1].reasons)
    assert.same({ odd = { "ccc", "e\ng" } }, report[2].examples)
    assert.same({ 5, 4, 4, 2 }, { report[1].rows_in, report[1].rows_out, report[2].rows_in,
      report[2].rows_out })
  end)

  it("takes an iterator, no rules, no rows", function()
    assert.same({}, run({}, { rules.cap {}, rules.dedupe { near = 0.8 }, rules.split {},
      rules.length {}, rules.balance { share = 0.5 }, rules.use_case {} }))
    local given = 0
    local stream = rules.run(function()
      given = given + 1
      return rows[given]
    end, {})
    assert.equal(rows[1], stream())
  end)

  it("refuses a rule that loses or invents rows", function()
    local function broken(apply)
      return pcall(run, rows, { { name = "broken", apply = apply } })
    end
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
        if again then
          last = input()
        end
        return last
      end
    end)
    assert.is_false(ok)
    assert.matches("handed on 10", message, 1, true)
  end)

  it("keeps what a rule says of a row with it", function()
    local loud = { name = "loud", apply = function(input, context)
      return function()
        local row = input()
        if row and row.prompt then
          local copy = { prompt = row.prompt:upper() }
          context.change(copy, "made loud")
          return copy
        end
        return row
      end
    end }
    local out, report = run(rows, { loud, rules.cap {} })
    assert.same({ "loud: made loud" }, out[1].changes)
    assert.equal(4, report[1].changed)
    assert.is_nil(rows[1].changes)
  end)

  it("names settings that it does not know, on the caller's line", function()
    local function message_of(build, ...)
      local ok, message = pcall(build, ...)
      assert.is_false(ok)
      return message
    end
    assert.matches("unknown setting 'maks'; did you mean 'max'?", message_of(function()
      rules.cap { maks = 3 }
    end), 1, true)
    assert.matches("rules_spec.lua:%d+: cap: max = 0; it must be a whole number of at least 1",
      message_of(function()
        rules.cap { max = 0 }
      end))
    for _, case in ipairs {
      { rules.cap, { keep = "best" }, 'keep = "best"' }, { rules.cap, { by = 3 }, "by = 3" },
      { rules.split, { train = 0.9 }, "is 1.1, not 1" }, { rules.split, { test = -1 }, "test = -1" },
      { rules.dedupe, { prefix = 0 }, "prefix = 0" }, { rules.dedupe, { unit = "byte" }, "unit" },
      { rules.dedupe, { exact = false, normalized = false, prefix = false }, "all off" },
      { rules.length, { min = 5, max = 4 }, "max = 4" }, { rules.keyword, {}, "`any` or `none`" },
      { rules.keyword, { any = { " " } }, "item 1 of `any`" }, { rules.balance, {}, "give one of" },
      { rules.balance, { share = 2 }, "share = 2" }, { rules.use_case, { score = 1 }, "score" },
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

  it("samples the same rows in whatever order they come, and moves one when one is added", function()
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
  -- S p (1 - p), and the sum of squares so scaled, times (N - 1) / N, is chi-square of N - 1 degrees.
  it("samples uniformly", function()
    local N <const>, MAX <const>, S <const> = 20, 5, 1000
    local rows, kept, twins = {}, {}, {}
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
      twins[same] = (twins[same] or 0) + 1
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
      chi = chi + ((twins[same] or 0) - expected) ^ 2 / expected
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
    assert.has_error(function()
      run(rows, { rules.cap { max = 1, missing = "error" } })
    end, 'cap: row 1 has no user_id; set `missing` to "keep" or "drop", or another `by`')
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
          if x[i] ~= y[i] then
            return false
          end
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
              if alike(earlier.prompt, row.prompt, way) then
                first = first or earlier.n
              end
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
    local list, entry = kept { "What is it?", "What is it?", "what  is it", long .. "a", long .. "b" }
    assert.same({ 1, 4 }, list)
    assert.same({ ["same prompt"] = 1, ["same but for case, spaces and punctuation"] = 1,
      ["same first 64 chars"] = 1 }, entry.reasons)
    assert.same({ long .. "b" }, entry.examples["same first 64 chars"])
    assert.same({ long .. "a" }, entry.likes["same first 64 chars"])
  end)

  it("holds a short prompt apart from a long one that begins with it", function()
    assert.same({ 1, 2, 3 }, (kept({ "abcde", "abcdefgh", "abcd" }, { prefix = 6 })))
    assert.same({ 1, 3 }, (kept({ "abcdefgh", "abcdefxx", "abcde" }, { prefix = 6 })))
  end)

  it("folds case, spaces and punctuation, and no sign that means something", function()
    assert.same({ 1 }, (kept { "ÄPFEL, БРАТ ΣΟΦΟΣ", "äpfel брат σοφος", "Äpfel\u{A0}брат — «σοφος»!" }))
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

  it("estimates likeness without bias, within its standard error", function()
    local draw, sum, squares = generator(1), 0, 0
    for _ = 1, 100 do
      local a, b = {}, {}
      for k = 1, 40 do
        a[k] = "x" .. draw(1000000)
        b[k] = k <= 30 and a[k] or "y" .. draw(1000000)
      end
      local truth = 28 / (38 + 38 - 28)
      local gap = near.likeness(near.signature(table.concat(a, " ")),
        near.signature(table.concat(b, " "))) - truth
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
    assert.equal("GOLDEN", table.concat(sides, " "))
    assert.equal("GOLDEN2", split.side("user 1", { salt = "other" }))
  end)

  it("goes by the text where there is no key, also when the text is masked later", function()
    local mask = { name = "mask", apply = function(input, context)
      return function()
        local row = input()
        if row then
          row.prompt = "[masked]"
          context.change(row, "masked")
        end
        return row
      end
    end }
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
      return pcall(run, rows, { rules.split {}, rules.cap {}, { name = "broken", apply = function(input)
        return function()
          local row = input()
          if row and row.n == 40 then
            change(row)
          end
          return row
        end
      end }, rules.cap {} })
    end
    rows[40].user_id = "user 5"
    local ok, message = broken(function(row)
      row.side = row.side == "train" and "test" or "train"
    end)
    assert.is_false(ok)
    assert.matches('after rule broken: user_id "user 5" stands on side', message, 1, true)
    ok = broken(function(row)
      row.side = nil
    end)
    assert.is_false(ok)
    assert.is_true((broken(function() end)))
  end)
end)

describe("any order of rules", function()
  local function permutations(list, n, visit)
    if n == 1 then
      return visit(list)
    end
    for i = 1, n do
      list[i], list[n] = list[n], list[i]
      permutations(list, n - 1, visit)
      list[i], list[n] = list[n], list[i]
    end
  end

  it("keeps the law of each, and the same bytes each time", function()
    for _, seed in ipairs { 1, 2, 3 } do
      local rows = random_log(seed, 150)
      local list = { rules.cap { max = 4 }, rules.dedupe { prefix = 8 }, rules.split {},
        rules.length { min = 4, max = 40 }, rules.balance { max = 25 } }
      permutations(list, #list, function(order)
        local out = run(rows, order, seed)
        assert_in_order(out)
        local classes = {}
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
          local class = dedupe.class(row.prompt, { prefix = 8 })
          assert.is_nil(classes[class])
          classes[class] = true
        end
        assert.equal(json.encode(out), json.encode((run(rows, order, seed))))
      end)
    end
  end)

  it("takes another sample for another seed", function()
    local rows = random_log(1, 300)
    local a, b = run(rows, { rules.cap { max = 2 } }, 1), run(rows, { rules.cap { max = 2 } }, 2)
    assert.equal(#a, #b)
    assert.not_same(numbers(a), numbers(b))
  end)
end)

describe("length", function()
  it("counts characters, words, or what a function says", function()
    local rows = { { n = 1, prompt = "" }, { n = 2, prompt = "ééé" }, { n = 3, prompt = "a b c d" } }
    assert.same({ 2, 3 }, numbers(run(rows, { rules.length {} })))
    assert.same({ 2 }, numbers(run(rows, { rules.length { min = 2, max = 3 } })))
    assert.same({ 3 }, numbers(run(rows, { rules.length { min = 2, unit = "words" } })))
    local out, report = run(rows, { rules.length { min = 2, max = 2, unit = function(_, row)
      return row.n
    end } })
    assert.same({ 2 }, numbers(out))
    assert.same({ ["under 2 units"] = 1, ["over 2 units"] = 1 }, report[1].reasons)
  end)
end)

describe("keyword", function()
  local function keeps(text, settings)
    return #run({ { prompt = text, title = "A Title" } }, { rules.keyword(settings) }) == 1
  end

  it("finds whole words, whatever their case", function()
    assert.is_true(keeps("The Fox, asleep", { any = { "fox" } }))
    assert.is_false(keeps("foxes outfox", { any = { "fox" } }))
    assert.is_false(keeps("a FOX", { none = { "dog", "fox" } }))
    assert.is_true(keeps("ÉTÉ chaud", { any = "été" }))
    assert.is_true(keeps("in New\n York.", { any = { "new york" } }))
    assert.is_false(keeps("in new yorkshire", { any = { "new york" } }))
    assert.is_true(keeps("renew york or new york", { any = { "new york" } }))
    assert.is_true(keeps("I write C++.", { any = { "c++" } }))
    assert.is_false(keeps("abc++", { any = { "c++" } }))
    assert.is_false(keeps("I write C", { any = { "c++" } }))
    assert.is_true(keeps("100%d", { any = { "%d" } }))
    assert.is_true(keeps("c++", { any = { "c++" } }))
    assert.is_true(keeps("text", { any = { "title" }, field = "title" }))
    assert.is_false(keeps("title", { any = { "title" }, field = "absent" }))
  end)

  it("says which word", function()
    local _, report = run({ { prompt = "A Fox" }, { prompt = "a cat" } },
      { rules.keyword { none = { "FOX" }, any = { "dog" } } })
    assert.same({ ['has "FOX"'] = 1, ["none of the words"] = 1 }, report[1].reasons)
  end)
end)

describe("use_case", function()
  it("tells plain cases apart", function()
    for prompt, case in pairs {
      ["Write a short story about a fox."] = "generation", ["What is the capital of Peru?"] = "open_qa",
      ["Summarize the following text."] = "summarization",
      ["Please translate the sentence into French: good day"] = "rewrite",
      ["Brainstorm ten names for a bakery"] = "brainstorming",
      ["Classify the review as positive or negative."] = "classification",
      ["Extract all the names mentioned in the letter."] = "extraction",
      ["Answer the question based on the passage: when did it begin?"] = "closed_qa", ["xyzzy"] = "other",
    } do
      assert.equal(case, run({ { prompt = prompt } }, { rules.use_case {} })[1].use_case, prompt)
    end
    local turns = { { role = "user", content = "hi" }, { role = "assistant", content = "hello" },
      { role = "user", content = "how are you?" } }
    assert.equal("chat", run({ { messages = turns } }, { rules.use_case {} })[1].use_case)
  end)

  it("keeps a labeler's word, and takes a model's", function()
    local rows = { { prompt = "Write a poem", use_case = "chat" }, { prompt = "Write a poem" } }
    local function score()
      return "rewrite"
    end
    local out = run(rows, { rules.use_case { score = score } })
    assert.same({ "chat", "rewrite" }, { out[1].use_case, out[2].use_case })
    assert.is_nil(rows[2].use_case)
    out = run(rows, { rules.use_case { overwrite = true } })
    assert.equal("generation", out[1].use_case)
    assert.has_error(function()
      run(rows, { rules.use_case { overwrite = true, score = function()
        return "poetry"
      end } })
    end)
  end)
end)

describe("balance", function()
  it("holds each class to its part, and takes no more than it must", function()
    for_seeds(function(seed)
      local rows, draw = random_log(seed)
      local before = count_by(rows, "use_case")
      local least = math.min(before.chat, before.rewrite, before.other)
      local share = 0.34 + draw(50) / 100
      for cap, settings in pairs { [7] = { max = 7 }, [least * 3 // 2] = { ratio = 1.5 } } do
        local after = count_by(run(rows, { rules.balance(settings) }, seed), "use_case")
        for class, count in pairs(before) do
          assert.equal(math.min(count, cap), after[class])
        end
      end
      local out = run(rows, { rules.balance { share = share } }, seed)
      local after, greatest = count_by(out, "use_case"), 0
      for _, count in pairs(after) do
        assert.is_true(count <= share * #out + 1e-6)
        greatest = math.max(greatest, count)
      end
      local sum, higher = 0, 0 -- one more a class would be too many, or there is no more
      for _, count in pairs(before) do
        sum, higher = sum + math.min(count, greatest + 1), math.max(higher, count)
      end
      assert.is_true(greatest == higher or greatest + 1 > share * sum)
    end)
  end)

  it("says when no cap can hold, and leaves rows without a class", function()
    local rows = { { prompt = "a", use_case = "chat" }, { prompt = "b", use_case = "other" },
      { prompt = "c" } }
    assert.has_error(function()
      run(rows, { rules.balance { share = 0.3 } })
    end, "balance: share = 0.3 cannot hold with 2 values of use_case; set it to 0.50 or more")
    assert.equal(3, #run(rows, { rules.balance { share = 0.5 } }))
    assert.equal(0, balance.cap_for_share({}, 0.5))
  end)
end)

describe("spool and sorter", function()
  local function random_value(draw, depth)
    local kind = draw(depth > 3 and 6 or 8)
    if kind == 1 then
      return draw(1000) - 500
    elseif kind == 2 then
      return ({ 0.5, -0.0, 1e300, 1.0, math.huge, math.mininteger, math.maxinteger })[draw(7)]
    elseif kind <= 4 then
      local bytes = {}
      for i = 1, draw(12) - 1 do
        bytes[i] = string.char(draw(256) - 1)
      end
      return table.concat(bytes)
    elseif kind <= 6 then
      return kind == 5
    end
    local list = kind == 7 and json.array({}) or {}
    for i = 1, draw(5) - 1 do
      list[kind == 7 and i or "key" .. draw(9)] = random_value(draw, depth + 1)
    end
    return list
  end

  it("give back every row as it was", function()
    for_seeds(function(seed)
      local draw = generator(seed)
      local held, rows = spool.new(), {}
      for i = 1, 600 do -- 6,000 rows in all: more shapes than are kept
        rows[i] = { text = "x", ["field" .. draw(10000)] = true, extra = random_value(draw, 1),
          list = random_value(draw, 1) }
        assert.equal(i, held:add(rows[i]))
      end
      for k = 1, 200 do
        rows[7][k] = k
      end
      held:close()
      held = spool.new()
      for _, row in ipairs(rows) do
        held:add(row)
      end
      local count = 0
      for row, n in held:rows() do
        count = count + 1
        assert.equal(count, n)
        assert.same(rows[n], row)
        assert.equal(getmetatable(rows[n].list), getmetatable(row.list))
        assert.equal(math.type(rows[n].list), math.type(row.list))
      end
      assert.equal(600, count)
      held:close()
    end)
  end)

  it("refuse what is no plain row", function()
    local held = spool.new()
    assert.has_error(function()
      held:add { f = print }
    end, "a row's field 'f' is a function; rows hold text, numbers, booleans and tables")
    local deep = {}
    deep.deep = deep
    assert.has_error(function()
      held:add(deep)
    end, "a row nests tables more than 100 deep")
    assert.has_error(function()
      spool.new("no/such/folder")
    end)
  end)

  it("sort as table.sort does", function()
    for _, size in ipairs { 0, 1, 63, 64, 65, 1000 } do
      local draw, keys, expected = generator(size), sorter.new(2), {}
      for i = 1, size do
        local tuple = { hash.mix(draw(size // 3 + 1), 1), draw(10) - 5 }
        keys:add(tuple[1], tuple[2])
        expected[i] = tuple
      end
      table.sort(expected, function(a, b)
        if a[1] ~= b[1] then
          return a[1] < b[1]
        end
        return a[2] < b[2]
      end)
      local got = {}
      for a, b in keys:sorted() do
        got[#got + 1] = { a, b }
      end
      keys:close()
      assert.same(expected, got)
    end
  end)

  it("keep four bits for each row", function()
    local set, get = spool.marks()
    for n = 1, 100 do
      set(n, n % 16)
    end
    set(17, 15)
    set(18, 0)
    for n = 1, 100 do
      assert.equal(n == 17 and 15 or n == 18 and 0 or n % 16, get(n))
    end
    assert.equal(0, get(1000))
  end)
end)

describe("fold", function()
  it("is a projection", function()
    for_seeds(function(seed)
      for _, row in ipairs(random_log(seed, 50)) do
        local once = fold.text("«" .. row.prompt .. "»?!")
        assert.equal(once, fold.text(once))
      end
    end)
  end)
end)
