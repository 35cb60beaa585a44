-- The data rules that look at a row alone, balance, what they stand on, and prompts for labelers.

local balance = require("perilune.rules.balance")
local fold = require("perilune.rules.fold")
local hash = require("perilune.rules.hash")
local json = require("perilune.base.json")
local labeler_prompts = require("perilune.human.labeler_prompts")
local log = dofile("tests/lua/support/log.lua")
local rules = require("perilune.rules")
local sorter = require("perilune.rules.sorter")
local spool = require("perilune.rules.spool")

local count_by = log.count_by
local for_seeds = log.for_seeds
local generator = log.generator
local numbers = log.numbers
local random_log = log.random_log
local run = log.run

describe("length", function()
  it("counts characters, words, or what a function says", function()
    local rows =
      { { n = 1, prompt = "" }, { n = 2, prompt = "ééé" }, { n = 3, prompt = "a b c d" } }
    assert.same({ 2, 3 }, numbers(run(rows, { rules.length {} })))
    assert.same({ 2 }, numbers(run(rows, { rules.length { min = 2, max = 3 } })))
    assert.same({ 3 }, numbers(run(rows, { rules.length { min = 2, unit = "words" } })))
    local out, report = run(rows, {
      rules.length { min = 2, max = 2, unit = function(_, row) return row.n end },
    })
    assert.same({ 2 }, numbers(out))
    assert.same({ ["under 2 units"] = 1, ["over 2 units"] = 1 }, report[1].reasons)
  end)
end)

describe("what functions of the user's give", function()
  local rows = { { n = 1, prompt = "one" } }
  local function message(rule)
    return tostring(select(
      2,
      pcall(function()
        for _ in rules.run(rows, { rule }) do
        end -- luacheck: ignore 542
      end)
    ))
  end
  it("is named by its rule when it is not what is wanted", function()
    local function raises() error("out of coffee", 0) end
    assert.equal(
      "rule mine failed: out of coffee (the row begins 'one')",
      message(rules.filter("mine", raises))
    )
    assert.matches(
      "apply of rule mine gave a nil, not a function that gives rows",
      message { name = "mine", settings = {}, apply = function() end }
    )
    assert.equal(
      "rule mine handed on a string, not a row",
      message {
        name = "mine",
        settings = {},
        apply = function(next_row)
          return function() return next_row() and "row" end
        end,
      }
    )
    assert.equal(
      "length: unit gave a string for a row that begins 'one'; it must give a number",
      message(rules.length { unit = function() return "long" end })
    )
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
    local _, report = run(
      { { prompt = "A Fox" }, { prompt = "a cat" } },
      { rules.keyword { none = { "FOX" }, any = { "dog" } } }
    )
    assert.same({ ['has "FOX"'] = 1, ["none of the words"] = 1 }, report[1].reasons)
  end)
end)

describe("use_case", function()
  it("tells plain cases apart", function()
    for prompt, case in pairs {
      ["Write a short story about a fox."] = "generation",
      ["What is the capital of Peru?"] = "open_qa",
      ["Summarize the following text."] = "summarization",
      ["Please translate the sentence into French: good day"] = "rewrite",
      ["Brainstorm ten names for a bakery"] = "brainstorming",
      ["Classify the review as positive or negative."] = "classification",
      ["Extract all the names mentioned in the letter."] = "extraction",
      ["Answer the question based on the passage: when did it begin?"] = "closed_qa",
      ["xyzzy"] = "other",
    } do
      assert.equal(case, run({ { prompt = prompt } }, { rules.use_case {} })[1].use_case, prompt)
    end
    local turns = {
      { role = "user", content = "hi" },
      { role = "assistant", content = "hello" },
      { role = "user", content = "how are you?" },
    }
    assert.equal("chat", run({ { messages = turns } }, { rules.use_case {} })[1].use_case)
  end)

  it("keeps a labeler's word, and takes a model's", function()
    local rows = { { prompt = "Write a poem", use_case = "chat" }, { prompt = "Write a poem" } }
    local function score() return "rewrite" end
    local out = run(rows, { rules.use_case { score = score } })
    assert.same({ "chat", "rewrite" }, { out[1].use_case, out[2].use_case })
    assert.is_nil(rows[2].use_case)
    out = run(rows, { rules.use_case { overwrite = true } })
    assert.equal("generation", out[1].use_case)
    assert.has_error(function()
      run(rows, {
        rules.use_case { overwrite = true, score = function() return "poetry" end },
      })
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
    local rows = {
      { prompt = "a", use_case = "chat" },
      { prompt = "b", use_case = "other" },
      { prompt = "c" },
    }
    assert.has_error(
      function() run(rows, { rules.balance { share = 0.3 } }) end,
      "balance: share = 0.3 cannot hold with 2 values of use_case; set it to 0.50 or more"
    )
    assert.equal(3, #run(rows, { rules.balance { share = 0.5 } }))
    assert.equal(0, balance.cap_for_share({}, 0.5))
  end)
end)

describe("spool and sorter", function()
  local function random_value(draw, depth)
    local kind = draw(depth > 3 and 6 or 8)
    if kind == 1 then
      return draw(9) == 1 and json.null or draw(1000) - 500
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
    local list = kind == 7 and json.array {} or {}
    for i = 1, draw(5) - 1 do
      list[kind == 7 and i or "key" .. draw(9)] = random_value(draw, depth + 1)
    end
    return list
  end

  it("give back every row as it was", function()
    for_seeds(function(seed)
      local draw = generator(seed)
      local held, rows = spool.new(), {}
      for i = 1, 600 do
        rows[i] = {
          text = "x",
          ["field" .. draw(10000)] = true,
          extra = random_value(draw, 1),
          list = random_value(draw, 1),
        }
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
    assert.has_error(
      function() held:add { f = print } end,
      "a row's field 'f' is a function; rows hold text, numbers, booleans and tables"
    )
    local deep = {}
    deep.deep = deep
    assert.has_error(function() held:add(deep) end, "a row nests tables more than 100 deep")
    local row = {}
    for _ = 2, 100 do
      row = { row }
    end
    assert.same(row, spool.unpack(spool.pack(row)))
    assert.is_false((pcall(spool.pack, { row })))
    assert.has_error(function() spool.new("no/such/folder") end)
  end)

  it("sort as table.sort does", function()
    for _, size in ipairs { 0, 1, 63, 64, 65, 1000 } do
      local draw, keys, expected = generator(size), sorter.new(2), {}
      for i = 1, size do
        local tuple = { hash.text(tostring(draw(size // 3 + 1))), draw(10) - 5 }
        keys:add(tuple[1], tuple[2])
        expected[i] = tuple
      end
      table.sort(expected, function(a, b)
        if a[1] ~= b[1] then return a[1] < b[1] end
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
  it("has the case of every script, and takes what is no UTF-8 as it is", function()
    assert.equal(
      "äöü ș ț ơư ạ ѐж ӂ աբ ⴀ ά σασ i ⱥ 𐐨",
      fold.case("ÄÖÜ Ș Ț ƠƯ Ạ ЀЖ Ӂ ԱԲ Ⴀ Ά ΣΑς İ Ⱥ 𐐀")
    )
    assert.equal("hello (b)", fold.case("ＨＥＬＬＯ\u{3000}（Ｂ）"))
    assert.equal("a\xff\xc3b\0c", fold.case("A\xff\xc3B\0C"))
  end)

  it("is a projection", function()
    for_seeds(function(seed)
      for _, row in ipairs(random_log(seed, 50)) do
        local once = fold.text("«" .. row.prompt .. "»?!")
        assert.equal(once, fold.text(once))
      end
    end)
  end)
end)

describe("prompts for labelers", function()
  it("are plain, as varied as the lists allow, the same for a seed", function()
    local lists =
      { use_cases = { "u", "v", "w", "x", "y" }, topics = { "a", "b", "c" }, forms = { "f" } }
    local function plain(n, seed)
      return labeler_prompts.plain {
        n = n,
        seed = seed,
        use_cases = lists.use_cases,
        topics = lists.topics,
        forms = lists.forms,
      }
    end
    for_seeds(function(seed)
      local n = generator(seed)(70)
      local briefs = plain(n, seed)
      assert.equal(n, #briefs)
      for field, size in pairs { use_case = 5, topic = 3, form = 1 } do
        local counts = count_by(briefs, field)
        local sum, kinds = 0, 0
        for _, count in pairs(counts) do
          assert.is_true(count == n // size or count == n // size + 1)
          sum, kinds = sum + count, kinds + 1
        end
        assert.same({ n, math.min(n, size) }, { sum, kinds })
      end
      assert.same(briefs, plain(n, seed))
    end)
    assert.not_same(plain(20, 1), plain(20, 2))
    assert.same({}, plain(0, 1))
    for _, name in ipairs { "use_cases", "topics", "forms" } do
      local kept = lists[name]
      for _, wrong in ipairs { {}, "a text" } do
        lists[name] = wrong
        assert.has_error(
          function() plain(1, 1) end,
          ("plain: `%s` must be a list with something in it"):format(name)
        )
      end
      lists[name] = kept
    end
  end)

  local three = {
    { query = "q1", response = "r1" },
    { query = "q2", response = "r2" },
    { query = "q3", response = "r3" },
  }

  it("few_shot: K examples, each with the K-1 others in their order", function()
    local rows = labeler_prompts.few_shot("Say it.", three)
    assert.equal(3, #rows)
    assert.same({
      kind = "few_shot",
      source = "labeler",
      completion = "r2",
      extra = rows[1].extra,
      prompt = "Say it.\n\n"
        .. "Input: q1\nOutput: r1\n\nInput: q3\nOutput: r3\n\nInput: q2\nOutput:",
    }, rows[2])
    assert.equal("string", type(rows[1].extra.group)) -- they hold each other's answers: one side
    rows = labeler_prompts.few_shot("Say it.", three, { form = "messages" })
    local said = {}
    for i, message in ipairs(rows[1].messages) do
      said[i] = message.role:sub(1, 1) .. " " .. message.content
    end
    assert.same({ "s Say it.", "u q2", "a r2", "u q3", "a r3", "u q1" }, said)
    assert.equal("r1", rows[1].completion)
    assert.equal(
      "Say it.\n\nInput: q1\nOutput:",
      labeler_prompts.few_shot("Say it.", { three[1] })[1].prompt
    )
    assert.has_error(
      function() labeler_prompts.few_shot("Say it.", { { query = "q" } }) end,
      "few_shot: pair 1 must have `query` and `response`, texts"
    )
  end)

  it("user_based: use cases as often as in the logs, and nothing of any user", function()
    local rows = {}
    for i = 1, 100 do
      local words = {
        "please tell zorblatt about gardens",
        "secret" .. ("x"):rep(i),
        "mary",
        "with tomatoes",
        "mail jane" .. i .. "@example.org",
        i <= 2 and "rareword" or "",
        i % 2 == 0 and "mine" or "",
      }
      rows[i] = {
        prompt = table.concat(words, " "),
        time = i,
        user_id = i % 2 == 0 and "Zorblatt" or "u" .. i,
        use_case = i <= 60 and "chat" or i <= 90 and "rewrite" or "other",
      }
    end
    local function mask(text) return (text:gsub("mary", "[NAME]")) end
    local briefs = labeler_prompts.user_based(rows, { n = 21, seed = 5, mask = mask, keywords = 9 })
    local counts = count_by(briefs, "use_case")
    assert.equal(13, counts.chat) -- 21 * 0.6 = 12.6, 6.3, 2.1: the largest remainder goes up
    assert.equal(6, counts.rewrite)
    assert.equal(2, counts.other)
    for _, brief in ipairs(briefs) do
      assert.same({ "gardens", "mail", "tomatoes" }, brief.keywords)
    end
    local at = #rows + 1
    assert.same(
      briefs,
      labeler_prompts.user_based(function() -- backwards
        at = at - 1
        return rows[at]
      end, { n = 21, seed = 5, mask = mask, keywords = 9 })
    )
    assert.same({}, labeler_prompts.user_based({}, { n = 5, mask = mask }))
    assert.same({}, labeler_prompts.user_based({ rows[1] }, { n = 1, mask = mask })[1].keywords)
    assert.same({}, labeler_prompts.user_based(rows, { n = 0, mask = mask }))
    assert.has_error(
      function() labeler_prompts.user_based(rows, { n = -1 }) end,
      "user_based: n = -1; it must be an integer of at least 0"
    )
    for i = 1, 4 do -- the mask of the library, when none is given
      rows[i] = { prompt = "My name is Eleanor and tomatoes grow", user_id = "u" .. i }
    end
    briefs = labeler_prompts.user_based({ table.unpack(rows, 1, 4) }, { n = 1 })
    assert.same({ "grow", "tomatoes" }, briefs[1].keywords)
  end)
end)
