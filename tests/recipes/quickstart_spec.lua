--- The invented world of the demo: facts, checker, labelers, log, data rules, text.

local pl = require("perilune")
local datasets = require("quickstart.datasets")
local labelers = require("quickstart.labelers")
local lexicon = require("quickstart.lexicon")
local present = require("quickstart.present")
local scratch = dofile("tests/lua/support/scratch.lua")
local text = require("quickstart.text")
local users = require("quickstart.users")
local world = require("quickstart.world")

local function stream(...) return pl.random.stream(0, "spec", ...) end

local SEED <const> = 11
local w = world.new(SEED)
local log = users.log(w)
local vocabulary = lexicon.set(world.vocabulary())

local function prompts_of(rows)
  local list = {}
  for i, row in ipairs(rows) do
    list[i] = row.user_id .. "\t" .. row.time .. "\t" .. row.prompt
  end
  return table.concat(list, "\n")
end

local function assert_in_vocabulary(said)
  -- Plain comparisons: the assertions of busted are slow, and this runs for every token.
  local tokens = world.tokens(said)
  if said ~= table.concat(tokens, " ") then
    error("tokens are not separated by single spaces: " .. said, 2)
  end
  for _, token in ipairs(tokens) do
    if not vocabulary[token] then
      error(("%q is not in the vocabulary: %s"):format(token, said), 2)
    end
  end
end

-- Pairs that neither of two rankings ties: how many both order alike, and how many there are.
local function agreement(ranks_a, ranks_b)
  local alike, compared = 0, 0
  for i = 1, #ranks_a do
    for j = i + 1, #ranks_a do
      local a, b = ranks_a[i] - ranks_a[j], ranks_b[i] - ranks_b[j]
      if a ~= 0 and b ~= 0 then
        compared = compared + 1
        alike = alike + (((a < 0) == (b < 0)) and 1 or 0)
      end
    end
  end
  return alike, compared
end

local function some_tasks(n_each)
  local rng, list = stream("spec tasks"), {}
  for _, use_case in ipairs(world.use_cases) do
    for _ = 1, n_each do
      list[#list + 1] = w:instruction(use_case, rng)
    end
  end
  return list
end

describe("world", function()
  it("is the same for the same seed and has other facts for another", function()
    assert.are.same(w.facts, world.new(SEED).facts)
    local other, changed = world.new(SEED + 1), 0
    for _, animal in ipairs(lexicon.animals) do
      changed = changed + (other.facts[animal].home ~= w.facts[animal].home and 1 or 0)
    end
    assert.is_true(changed > 3)
  end)

  it("gives each place, food and colour exactly two animals", function()
    for attribute, group in pairs { home = "places", food = "foods", colour = "colours" } do
      for _, value in ipairs(lexicon[group]) do
        assert.are.equal(2, #w:animals_with(attribute, value), attribute .. " " .. value)
      end
    end
  end)

  it("has 200 to 350 different tokens, in the same order each time", function()
    local list = world.vocabulary()
    assert.is_true(#list >= 200 and #list <= 350, "vocabulary of " .. #list)
    assert.are.same(list, world.vocabulary())
    local n = 0
    for _ in pairs(vocabulary) do
      n = n + 1
    end
    assert.are.equal(#list, n)
  end)

  it("has at least eight use cases, and names them when asked for an unknown one", function()
    assert.is_true(#world.use_cases >= 8)
    for _, name in ipairs {
      "answer",
      "list",
      "rewrite",
      "count",
      "sort",
      "classify",
      "complete",
      "chat",
    } do
      assert.are.equal(name, w:instruction(name, stream(name)).use_case)
    end
    assert.has_error(
      function() w:instruction("sing", stream(1)) end,
      'no use case "sing"; there are: ' .. table.concat(world.use_cases, ", ")
    )
  end)

  it("asks in many phrasings and, in chat, over several turns", function()
    local rng = stream("phrasings")
    for _, use_case in ipairs(world.use_cases) do
      local beginnings, n = {}, 0
      for _ = 1, 300 do
        local row = w:instruction(use_case, rng)
        local first = table.concat(world.tokens(row.prompt), " ", 1, 2)
        if not beginnings[first] then
          beginnings[first], n = true, n + 1
        end
      end
      assert.is_true(n >= 8, ("%s begins in %d ways only"):format(use_case, n))
    end
    local turns = 0
    for _ = 1, 100 do
      local row = w:instruction("chat", rng)
      local messages = row.messages
      assert.are.equal("user", messages[#messages].role)
      turns = turns + (#messages >= 3 and 1 or 0)
      assert.are.equal(row.prompt, world.prompt_text(messages))
    end
    assert.is_true(turns > 40)
  end)
end)

describe("checker", function()
  it("gives 1 to the right answer with a closing, for every task", function()
    local rng = stream("ideal")
    for _, row in ipairs(some_tasks(60)) do
      local answer = labelers.answer(w, row.task, "ideal", rng)
      local score, parts = w:check(row.task, answer)
      assert.is_true(score > 0.9999, ("%s | %s: %g"):format(row.prompt, answer, score))
      assert.are.same({ content = 1, form = 1, courteous = 1, concise = 1, ends = 1 }, parts)
    end
  end)

  it("orders the styles: ideal, plain, then terse and rambling, wrong far below", function()
    local means = {}
    for style in pairs(labelers.STYLES) do
      local rng, sum, rows = stream("style", style), 0, some_tasks(40)
      for _, row in ipairs(rows) do
        sum = sum + w:check(row.task, labelers.answer(w, row.task, style, rng))
      end
      means[style] = sum / #rows
    end
    assert.is_true(means.ideal > means.plain + 0.15)
    assert.is_true(means.plain > means.terse + 0.1)
    assert.is_true(means.plain > means.rambling + 0.05)
    assert.is_true(means.wrong < 0.1)
  end)

  it("gives little to the right answer of another task, and to shuffled words", function()
    local rng, rows = stream("others"), some_tasks(60)
    local right, foreign, shuffled, told_apart = 0, 0, 0, 0
    for i, row in ipairs(rows) do
      local answer = labelers.answer(w, row.task, "ideal", rng)
      local far = rows[(i * 7 + 131) % #rows + 1]
      local strange = labelers.answer(w, far.task, "ideal", rng)
      local mixed = table.concat(rng:shuffled(world.tokens(answer)), " ")
      local own, other = w:check(row.task, answer), w:check(row.task, strange)
      right, foreign = right + own, foreign + other
      shuffled = shuffled + w:check(row.task, mixed)
      told_apart = told_apart + (own > other and 1 or own == other and 0.5 or 0)
    end
    assert.is_true(right / #rows > 0.999)
    assert.is_true(foreign / #rows < 0.06, "other answers: " .. foreign / #rows)
    assert.is_true(shuffled / #rows < 0.12, "shuffled: " .. shuffled / #rows)
    assert.is_true(told_apart / #rows > 0.97, "told apart: " .. told_apart / #rows)
  end)

  it("scores examples exactly", function()
    local task = { use_case = "answer", thing = "mirro", attribute = "home", form = "full" }
    local home = w.facts.mirro.home
    local other = home == "cave" and "hill" or "cave"
    local says = ("the mirro lives in the %s ."):format(home)
    local cases = {
      { says .. " glad to help !", 1 },
      { says, 0.8 },
      { home .. " .", 0.6 },
      { home .. " . glad to help !", 0.8 },
      { "let me think about that . " .. says, 0.65 },
      { says .. " glad to help ! glad to help !", 0.85 },
      { { text = says, finished = false }, 0.75 },
      { ("the mirro lives in the %s . glad to help !"):format(other), 0 },
      { says .. (" the mirro lives in the %s ."):format(other), 0 },
      { ("the tolb lives in the %s . glad to help !"):format(home), 0 },
      { "glad to help !", 0 },
      { "", 0 },
    }
    for _, case in ipairs(cases) do
      local score = w:check(task, case[1])
      assert.is_true(
        math.abs(score - case[2]) < 1e-9,
        ("%s: %g instead of %g"):format(
          type(case[1]) == "table" and "cut" or case[1],
          score,
          case[2]
        )
      )
    end
  end)

  it("wants the bare word where the prompt asks for one", function()
    local task = { use_case = "classify", thing = "dram", form = "word" }
    assert.are.equal(1.0, (w:check(task, "tool . glad to help !")))
    assert.is_true(w:check(task, "the dram is a tool . glad to help !") < 0.7)
    assert.are.equal(0.0, (w:check(task, "plant . glad to help !")))
  end)

  it("wants the fact before the verdict on a claim, and the claim nowhere but denied", function()
    local home = w.facts.mirro.home
    local other = home == "cave" and "hill" or "cave"
    local fact = ("the mirro lives in the %s"):format(home)
    local function score(claim, answer)
      local task = { use_case = "verify", thing = "mirro", attribute = "home", claim = claim }
      return (w:check(task, answer))
    end
    local right = { [home] = " , yes .", [other] = (" , not %s ."):format(other) }
    for _, claim in ipairs { home, other } do
      for of, verdict in pairs(right) do
        local told = fact .. verdict .. " glad to help !"
        assert.are.equal(of == claim and 1.0 or 0.0, score(claim, told), told)
      end
      assert.near(claim == home and 0.6 or 0, score(claim, "yes ."), 1e-9)
      assert.near(claim == other and 0.6 or 0, score(claim, "no ."), 1e-9)
    end
    local loose = { "no , " .. fact .. " .", fact .. " , so no ." }
    for _, told in ipairs(loose) do
      assert.is_true(score(other, told) > 0 and score(other, told) < 0.3, told)
      assert.are.equal(0.0, score(home, told), told)
    end
    local agreed = ("the mirro lives in the %s , yes ."):format(other)
    assert.are.equal(0.0, score(other, agreed))
    assert.are.equal(0.0, score(other, right[other]:sub(4) .. " " .. agreed))
  end)

  it("knows every answer it gives itself to be right, and every lie to be wrong", function()
    local rng = stream("lies")
    for _, row in ipairs(some_tasks(40)) do
      local right, wrong = w:right_answers(row.task), w:wrong_answers(row.task, rng)
      for _, core in ipairs(right.full) do
        local _, parts = w:check(row.task, core)
        assert.are.equal(1, parts.content, row.prompt .. " | " .. core)
      end
      for _, core in ipairs(wrong.full) do
        local _, parts = w:check(row.task, core)
        assert.is_true(parts.content < 0.5, row.prompt .. " | " .. core)
      end
    end
  end)
end)

describe("labelers", function()
  it("write demonstrations of mixed quality: mean score between 0.6 and 0.8", function()
    local rng, sum, seen, rows = stream("demos"), 0, {}, some_tasks(60)
    for _, row in ipairs(rows) do
      local answer, style = labelers.demonstrate(w, row.task, rng, rng:pick(labelers.IDS))
      seen[style] = true
      sum = sum + w:check(row.task, answer)
    end
    for style in pairs(labelers.STYLES) do
      assert.is_true(seen[style], style)
    end
    assert.is_true(sum / #rows > 0.6 and sum / #rows < 0.8, "mean " .. sum / #rows)
  end)

  it("agree with each other on 73 to 80 % of the pairs, with ties", function()
    local a, b = labelers.hidden(w, "a"), labelers.hidden(w, "b")
    local rng, alike, compared, ties, n = stream("agreement"), 0, 0, 0, 0
    for _, row in ipairs(some_tasks(60)) do
      local answers = labelers.varied_answers(w, row.task, 9, rng)
      local ranks_a, ranks_b = a:rank(row.task, answers), b:rank(row.task, answers)
      local x, y = agreement(ranks_a, ranks_b)
      alike, compared, n = alike + x, compared + y, n + 1
      ties = ties + (36 - select(2, agreement(ranks_a, ranks_a)))
    end
    local share = alike / compared
    assert.is_true(share > 0.73 and share < 0.80, "agreement " .. share)
    assert.is_true(ties > 0 and ties / (36 * n) < 0.3, "ties " .. ties / (36 * n))
  end)

  it("rank the same answers alike each time, whatever stands beside them", function()
    local labeler, rng = labelers.hidden(w, "a"), stream("again")
    local row = w:instruction("answer", rng)
    local answers = labelers.varied_answers(w, row.task, 9, rng)
    local ranks, levels = labeler:rank(row.task, answers)
    assert.are.same(ranks, (labelers.hidden(w, "a"):rank(row.task, answers)))
    local _, alone = labeler:rank(row.task, { answers[4] })
    assert.are.equal(levels[4], alone[1])
  end)

  it("without noise prefer the right, courteous, short sentence", function()
    local labeler = labelers.hidden(w, "clean", { noise = 0 })
    local rng = stream("tastes")
    for _, row in ipairs(some_tasks(10)) do
      local answers = {}
      for i, style in ipairs { "ideal", "terse", "rambling", "wrong" } do
        answers[i] = labelers.answer(w, row.task, style, rng)
      end
      local ranks = labeler:rank(row.task, answers)
      assert.are.equal(1, ranks[1], row.prompt)
      assert.is_true(ranks[4] > ranks[1], row.prompt)
    end
  end)
end)

describe("users", function()
  it("leave the same log for the same seed, in order of time, and another for another", function()
    assert.are.equal(prompts_of(log), prompts_of(users.log(world.new(SEED))))
    assert.are_not.equal(prompts_of(log), prompts_of(users.log(w, { seed = SEED + 1 })))
    for i = 2, #log do
      assert.is_true(log[i - 1].time <= log[i].time)
    end
  end)

  it("are heavy-tailed: some far above the cap, most far below", function()
    local counts, over, n = {}, 0, 0
    for _, row in ipairs(log) do
      counts[row.user_id] = (counts[row.user_id] or 0) + 1
    end
    local below = 0
    for _, count in pairs(counts) do
      n = n + 1
      over = over + (count > 200 and 1 or 0)
      below = below + (count < 40 and 1 or 0)
    end
    assert.are.equal(10000, #log)
    assert.are.equal(250, n)
    assert.is_true(over >= 3, over .. " users above the cap")
    assert.is_true(below > n / 2)
  end)

  it("stay within the vocabulary, with prompts short enough for a small model", function()
    local sum, longest = 0, 0
    for _, row in ipairs(log) do
      for _, message in ipairs(row.messages) do
        assert_in_vocabulary(message.content)
      end
      local length = #world.tokens(row.prompt)
      sum, longest = sum + length, math.max(longest, length)
    end
    assert.is_true(sum / #log >= 8 and sum / #log <= 24, "mean " .. sum / #log)
    assert.is_true(longest <= 64, "longest " .. longest)
  end)
end)

describe("the log through the rules", function()
  local sides, report = datasets.prepare(log)

  local function count(rows, mark)
    local n = 0
    for _, row in ipairs(rows) do
      n = n + (row.marks[mark] and 1 or 0)
    end
    return n
  end

  it("has the rules of the paper in their order, and adds up", function()
    local names = {}
    for i, entry in ipairs(report) do
      names[i] = entry.rule
      assert.are.equal(i == 1 and #log or report[i - 1].rows_out, entry.rows_in)
    end
    assert.are.same({ "dedupe", "cap", "split", "personal_data", "keyword" }, names)
    assert.are.equal(#sides.train + #sides.valid + #sides.test, report[#report].rows_out)
  end)

  it("keeps 200 prompts of a user at most, and a user on one side", function()
    local side_of, counts = {}, {}
    for side, rows in pairs(sides) do
      assert.is_true(#rows > 0, side)
      for _, row in ipairs(rows) do
        assert.are.equal(side, side_of[row.user_id] or side)
        side_of[row.user_id] = side
        counts[row.user_id] = (counts[row.user_id] or 0) + 1
        assert.is_true(counts[row.user_id] <= 200)
      end
    end
    assert.is_true(report[2].reasons["over 200 for one user_id"] > 0)
  end)

  it("drops most of what was pasted with the same beginning", function()
    local left = count(sides.train, "preamble")
      + count(sides.valid, "preamble")
      + count(sides.test, "preamble")
    assert.is_true(count(log, "preamble") > 300 and left < count(log, "preamble") / 2)
  end)

  it(
    "takes all personal data out of train, nothing else, and none out of the other sides",
    function()
      assert.are.equal(0, count(sides.train, "personal"))
      assert.is_true(count(sides.test, "personal") > 0 and count(sides.valid, "personal") > 0)
      local split = report[3]
      assert.are.equal("split", split.rule)
      local planted = 0 -- in train, before the rules on personal data
      local before = pl.rules.run(log, {
        pl.rules.dedupe { prefix = 12, unit = "words" },
        pl.rules.cap { max = 200 },
        pl.rules.split { train = 0.75, valid = 0.1, test = 0.15 },
      })
      for row in before do
        planted = planted + (row.side == "train" and row.marks.personal and 1 or 0)
      end
      assert.is_true(planted > 50 and count(sides.train, "harmless") > 20)
      assert.are.equal(planted, split.rows_out - report[#report].rows_out)
    end
  )
end)

describe("data sets", function()
  local built = datasets.build { seed = SEED, documents = 3000, validation_documents = 50 }

  it("SFT and RM have labelers and API, PPO has API only", function()
    local seen = {}
    for name, sides in pairs(built.sets) do
      for _, rows in pairs(sides) do
        for _, row in ipairs(rows) do
          assert.is_true(row.source == "api" or row.source == "labeler")
          assert.is_string(row.user_id)
          assert.is_nil(row.marks)
          seen[name .. " " .. row.source] = (seen[name .. " " .. row.source] or 0) + 1
          if name == "sft" then
            assert.is_string(row.answer)
            assert.is_string(row.labeler)
          elseif name == "ppo" then
            assert.is_nil(row.answer)
          end
        end
      end
    end
    assert.is_nil(seen["ppo labeler"])
    for _, key in ipairs { "sft api", "sft labeler", "rm api", "rm labeler", "ppo api" } do
      assert.is_true(seen[key] > 50, key)
    end
    assert.is_true(seen["sft labeler"] > seen["sft api"])
    assert.is_true(seen["rm api"] > seen["rm labeler"])
  end)

  it("have no user on two sides, and no user prompt in two sets", function()
    local side_of, set_of = {}, {}
    for name, sides in pairs(built.sets) do
      for side, rows in pairs(sides) do
        for _, row in ipairs(rows) do
          if row.source == "api" then
            assert.are.equal(side, side_of[row.user_id] or side)
            assert.are.equal(name, set_of[row.prompt] or name)
            side_of[row.user_id], set_of[row.prompt] = side, name
          end
        end
      end
    end
  end)

  it("have all three kinds of labelers' prompts, few-shot siblings complete", function()
    local kinds, run = {}, 0
    local rows = datasets.labeler_rows(built.world, 600, built.sides.train)
    for _, row in ipairs(rows) do
      kinds[row.kind] = (kinds[row.kind] or 0) + 1
      run = row.kind == "few_shot" and row.few_shot_index == run + 1 and run + 1 or 0
      if row.kind == "few_shot" then
        assert.is_true(run > 0)
        run = run % 3
      end
    end
    assert.is_true(kinds.plain > 200 and kinds.few_shot > 30 and kinds.user_based > 100)
  end)

  it("user-based prompts follow the log's use cases, plain ones do not", function()
    local only_sort = { { use_case = "sort" }, { use_case = "sort" } }
    local plain = {}
    for _, row in ipairs(datasets.labeler_rows(w, 300, only_sort)) do
      if row.kind == "user_based" then
        assert.are.equal("sort", row.use_case)
      elseif row.kind == "plain" then
        plain[row.use_case] = true
      end
    end
    for _, use_case in ipairs(world.use_cases) do
      assert.is_true(plain[use_case], use_case)
    end
  end)

  it("stay within the vocabulary, answers short", function()
    local sum, n = 0, 0
    for _, sides in pairs(built.sets) do
      for _, rows in pairs(sides) do
        for _, row in ipairs(rows) do
          for _, message in ipairs(row.messages) do
            assert_in_vocabulary(message.content)
          end
          if row.answer then
            assert_in_vocabulary(row.answer)
            sum, n = sum + #world.tokens(row.answer), n + 1
          end
        end
      end
    end
    assert.is_true(sum / n >= 3 and sum / n <= 16, "mean answer " .. sum / n)
  end)

  it("give the model text with every token of the vocabulary and nothing else", function()
    local seen = {}
    for _, document in ipairs(built.text.train) do
      assert_in_vocabulary(document)
      for _, token in ipairs(world.tokens(document)) do
        seen[token] = true
      end
    end
    for _, token in ipairs(world.vocabulary()) do
      assert.is_true(seen[token], token .. " is in no document")
    end
  end)

  it("have text that is the same for the same seed and another for another", function()
    assert.are.same(text.documents(w, 20, "a"), text.documents(world.new(SEED), 20, "a"))
    assert.are_not.same(text.documents(w, 20, "a"), text.documents(w, 20, "b"))
  end)

  it("have text that states facts and does not answer in the manner the checker wants", function()
    local told = 0
    for _, document in ipairs(built.text.train) do
      for _, animal in ipairs(lexicon.animals) do
        local right = ("the %s eats %s ."):format(animal, built.world.facts[animal].food)
        told = told + (document:find(right, 1, true) and 1 or 0)
      end
    end
    assert.is_true(told > 200, told .. " documents tell what an animal eats")
    local answered = 0
    for _, document in ipairs(built.text.train) do
      if document:find(" asks ", 1, true) then
        answered = answered + (document:find(" says : ", 1, true) and 1 or 0)
        for _, closing in ipairs(lexicon.closings) do
          assert.is_nil(document:find(closing, 1, true), document)
        end
      end
    end
    assert.is_true(answered > 400, answered .. " documents have an answer")
  end)
end)

describe("the table of scores", function()
  it("holds a policy against the best of n at its KL, on lines between the points", function()
    local curve = { { kl = 0, chosen = 0.25 }, { kl = 1, chosen = 0.5 }, { kl = 3, chosen = 0.75 } }
    local function beside(kl) return present.beside({ score = 0.625, kl = kl }, curve) end
    assert.are.equal(0.375, beside(0))
    assert.are.equal(0.25, beside(0.5))
    assert.are.equal(0, beside(2))
    assert.are.equal(-0.125, beside(3))
    assert.are.equal(0.375, beside(-0.01)) -- of an estimate that is below 0
    assert.is_nil(beside(3.5))
  end)
end)

describe("what a policy gained", function()
  it("is parted into content and manners, which sum to the gold", function()
    local sft = { score = 0.375, content = 0.5 } -- manners .75
    local told = present.gained({ score = 0.75, content = 0.75 }, sft) -- manners 1
    assert.are.equal(0.25 * 0.875, told.gained_content)
    assert.are.equal(0.25 * 0.625, told.gained_manners)
    assert.are.equal(0.5 * 0.875, told.missing_content)
    assert.are.equal(0.25 * 0.75, told.missing_manners)
    local nothing = present.gained({ score = 0, content = 0 }, sft)
    assert.are.equal(-0.375, nothing.gained_content + nothing.gained_manners)
    local from_nothing = present.gained(sft, { score = 0, content = 0 })
    assert.are.equal(0.375, from_nothing.gained_content + from_nothing.gained_manners)
  end)
end)

describe("the recipe", function()
  it("gives its policies no text at a weight of 0, and has their judge asked first", function()
    local folder = scratch.path()
    pl.config.run_recipe("quickstart", {
      output_dir = folder,
      quiet = true,
      log_rows = 600,
      labeler_rows = 400,
      documents = 600,
      practice_documents = 60,
      rank_prompts = 60,
      answers = 3,
      eval_prompts = 32,
      hidden_size = 64,
      num_hidden_layers = 1,
      intermediate_size = 96,
      sft_epochs = 1,
      total_episodes = 128,
    })
    local told = pl.files.read_json(folder .. "/summary.json")
    assert.near(told.score_ppo - told.score_sft, told.gained_content + told.gained_manners, 1e-9)
    local texts = {}
    for _, name in ipairs { "ppo", "ppo-noptx" } do
      local settings = pl.files.read_json(("%s/%s/config.json"):format(folder, name))
      texts[name] = settings.ptx_dataset:match("[^/]*$")
      assert.are.equal(folder .. "/data/rankings-test.jsonl", settings.eval_rankings)
    end
    assert.are.same({ ppo = "text.txt", ["ppo-noptx"] = "" }, texts)
  end)
end)
