--- The recipe of briefs: lists dealt evenly, users' use cases in proportion, nothing of a user's.

local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")

local function briefs(settings)
  local all = { output_dir = scratch.path(), quiet = true, seed = 3 }
  for key, value in pairs(settings) do
    all[key] = value
  end
  local figures = pl.config.run_recipe("recipes/briefs.lua", all)
  return assert(pl.run.read_rows(figures.briefs)), figures
end

local function refused(settings)
  local ok, message = pcall(briefs, settings)
  assert.is_false(ok)
  return tostring(message)
end

-- 60 prompts of 12 users: 30 that ask for a text, 20 that ask for ideas, 10 of a use case of the
-- log's own; each with a name, a number and a word that one user alone writes.
local function log()
  local rows = {}
  for i = 1, 60 do
    local row = { uid = "Walther" .. i % 12 }
    if i <= 30 then
      row.text = ("Write a poem about gardens, Walther%d, my secret%s"):format(i % 12, ("x"):rep(i))
    elseif i <= 50 then
      row.text = "Brainstorm birthday games, mail anna@example.org, number " .. i
    else
      row.text, row.case = "Sing of volcanoes " .. i, "singing"
    end
    rows[i] = pl.json.encode(row)
  end
  return scratch.write(scratch.path() .. ".jsonl", table.concat(rows, "\n") .. "\n")
end

local logs

setup(function() logs = log() end)

teardown(function()
  os.remove(logs)
  scratch.clean()
end)

describe("plain briefs", function()
  it("deal every list evenly, number by number, and say it in words", function()
    local rows, figures = briefs { plain = 44 }
    assert.equal(44, #rows)
    assert.equal(44, figures.plain)
    local counts = { use_case = {}, topic = {}, form = {} }
    for i, row in ipairs(rows) do
      assert.equal(i, row.number)
      assert.equal("plain", row.kind)
      for field, count in pairs(counts) do
        count[row[field]] = (count[row[field]] or 0) + 1
      end
      local use_case = ("(use case: %s), on %s, %s. "):format(row.use_case, row.topic, row.form)
      assert.is_truthy(row.ask:find(use_case, 1, true), row.ask)
    end
    for field, size in pairs { use_case = 10, topic = 22, form = 11 } do
      local kinds = 0
      for _, count in pairs(counts[field]) do
        kinds = kinds + 1
        assert.is_true(count == 44 // size or count == 44 // size + 1, field)
      end
      assert.equal(size, kinds)
    end
    assert.same(rows, (briefs { plain = 44 }))
    assert.not_same(rows, (briefs { plain = 44, seed = 4 }))
  end)

  it("may be one, or none", function()
    assert.equal(1, #briefs { plain = 1 })
    local rows, figures = briefs { plain = 0 }
    assert.same({}, rows)
    assert.same({ 0, 0 }, { figures.plain, figures.user_based })
  end)
end)

describe("user-based briefs", function()
  local fields = "prompt=text,user_id=uid,use_case=case"

  it("have the use cases of the log and words that several users wrote", function()
    local rows, figures = briefs { plain = 2, user_based = 12, logs = logs, fields = fields }
    assert.equal(14, #rows)
    assert.same({ 2, 12 }, { figures.plain, figures.user_based })
    assert.equal(6, figures.use_cases.generation.user_based)
    assert.equal(4, figures.use_cases.brainstorming.user_based)
    assert.same({ plain = 0, user_based = 2 }, figures.use_cases.singing)
    local topics = {
      generation = { "gardens", "poem" },
      brainstorming = { "birthday", "games", "mail", "number" },
      singing = { "sing", "volcanoes" },
    }
    for i = 3, 14 do
      local row = rows[i]
      local allowed = table.concat(topics[row.use_case], " ") .. " brainstorm "
      for _, word in ipairs(row.keywords) do
        assert.is_truthy(allowed:find(word, 1, true), word)
        assert.is_truthy(row.ask:find(word, 1, true), row.ask)
      end
      assert.is_true(#row.keywords >= 1 and #row.keywords <= 3)
      assert.is_nil(row.ask:lower():find("walther", 1, true))
      assert.is_nil(row.ask:find("anna", 1, true))
    end
  end)

  it("come from a store as well, without a word of topic when none is wanted", function()
    local folder = scratch.path()
    briefs { plain = 0, user_based = 1, logs = logs, fields = fields, output_dir = folder }
    local rows = briefs { plain = 0, user_based = 1, store = folder .. "/store.db", keywords = 0 }
    assert.same({}, rows[1].keywords)
    assert.is_nil(rows[1].ask:find("having to do with", 1, true))
  end)

  it("say what is missing", function()
    assert.equal("briefs: user_based wants a store or logs", refused { user_based = 5 })
    local none = scratch.path()
    assert.is_truthy(refused({ user_based = 5, store = none }):find(none, 1, true))
    assert.is_false(scratch.there(none))
    assert.is_truthy(
      refused({ user_based = 5, logs = none }):find(none .. " cannot be read", 1, true)
    )
    local empty = scratch.write(scratch.path() .. ".jsonl", "")
    assert.is_truthy(
      refused({ user_based = 5, logs = empty }):find("has no prompt of a user", 1, true)
    )
    os.remove(empty)
    assert.is_truthy(refused({ plain = -1 }):find("plain", 1, true))
  end)
end)
