--- Every row is accounted for: of random sets, good and bad rows among them, rows in are used and
-- left out, each for a reason, from a list as from a file; and nothing measured is not a number.

local pl = require("perilune")
local trial = require("perilune.data.trial")
local scratch = dofile("tests/lua/support/scratch.lua")

local data = pl.data
local ROUNDS <const> = 20

local special = { "<|begin|>", "<|eos|>" }
for _, name in ipairs(pl.chat.control_names(pl.chat.plain)) do
  special[#special + 1] = name
end
local tok = pl.tokenizer.train {
  texts = { "a moon and a boat" },
  vocab_size = 280,
  special = special,
  bos = "<|begin|>",
  eos = "<|eos|>",
}

local function words(rng, most) return ("ab "):rep(rng:int(0, most)) .. "x" end

local function talk(rng)
  local messages = rng:chance(0.3) and { { role = "system", content = words(rng, 4) } } or {}
  for _ = 1, rng:int(1, 3) do
    messages[#messages + 1] = { role = "user", content = words(rng, 6) }
    messages[#messages + 1] = { role = "assistant", content = words(rng, 6) }
  end
  if rng:chance(0.3) then messages[#messages + 1] = { role = "user", content = words(rng, 6) } end
  return messages
end

local function example_row(rng)
  local kind = rng:int(1, 3)
  if kind == 1 then
    return { messages = talk(rng) }
  elseif kind == 2 then
    return { text = rng:chance(0.3) and "" or words(rng, 12) }
  end
  return {
    prompt = words(rng, 8),
    completion = words(rng, 8),
    completion_finished = rng:chance(0.5),
  }
end

local function ranking_row(rng)
  local row = { prompt = words(rng, 8), completions = {}, ranks = {} }
  for k = 1, rng:int(2, 4) do
    row.completions[k], row.ranks[k] = words(rng, 3), rng:int(1, 2)
  end
  return row
end

local function made(rng, make)
  local rows, lines = {}, {}
  for i = 1, rng:int(1, 12) do
    rows[i] = make(rng)
    lines[i] = pl.json.encode(rows[i])
  end
  return rows, scratch.write(scratch.path() .. ".jsonl", table.concat(lines, "\n") .. "\n")
end

-- Each round: rows and a file of them through `tokenise`; sizes and accounts agree.
local function holds(name, make, tokenise, size)
  local reasons = {}
  for round = 1, ROUNDS do
    local rng = pl.random.stream(7, "accounts." .. name, round)
    local rows, path = made(rng, make)
    local longest = rng:int(8, 40)
    local set = tokenise(path, longest)
    local left_out = 0
    for reason, n in pairs(set.counts.left_out) do
      reasons[reason], left_out = true, left_out + n
    end
    assert.are.equal(#rows, set.counts.rows)
    assert.are.equal(#rows, set.counts.used + left_out)
    if size then
      assert.are.equal(size(set), set.counts.used)
      assert.are.same(tokenise(rows, longest).counts, set.counts)
    end
    assert.are.same(tokenise(path, longest).counts, set.counts) -- from the cache
  end
  return reasons
end

teardown(scratch.clean)

describe("rows in are used, or left out for a reason:", function()
  it("training examples", function()
    local reasons = holds(
      "examples",
      example_row,
      function(rows, longest) return data.examples(tok, pl.chat.plain, rows, longest) end,
      function(set) return #set.sequences end
    )
    assert.are.same({ ["no room for an answer"] = true, ["nothing to train"] = true }, reasons)
  end)

  it("prompts", function()
    local reasons = holds(
      "prompts",
      function(rng) return { prompt = words(rng, 30) } end,
      function(rows, longest) return data.prompts(tok, nil, rows, longest) end,
      function(set) return #set end
    )
    assert.are.same({ ["too long"] = true }, reasons)
  end)

  it("rankings", function()
    local reasons = holds(
      "rankings",
      ranking_row,
      function(rows, longest) return data.ranked(tok, nil, rows, longest) end,
      function(set) return #set end
    )
    assert.are.same(
      { ["too long"] = true, ["equal answers"] = true, ["all ranks equal"] = true },
      reasons
    )
  end)

  it("documents, and every token is in a piece or counted", function()
    local reasons = holds(
      "text",
      function(rng) return { text = rng:chance(0.2) and "" or words(rng, 9) } end,
      function(path, longest)
        local set = data.text(tok, path, longest)
        local tokens, wanted = 0, 0
        for _, piece in ipairs(set) do
          tokens = tokens + #piece
        end
        for document in data.documents(path) do
          wanted = wanted + (document ~= "" and #data.encode.text(tok, document) or 0)
        end
        assert.are.equal(tokens, set.tokens)
        assert.are.equal(wanted, tokens + (set.counts.changed["last token left over"] or 0))
        return set
      end
    )
    assert.are.same({ empty = true }, reasons)
  end)

  it("a pass sees every element once, whatever the size of its parts", function()
    for size = 1, 9 do
      local epochs, seen = data.epochs(7, size, 3, "accounts.pass"), {}
      for step = 1, epochs.steps do
        for _, i in ipairs((epochs.at(step))) do
          assert.is_nil(seen[i])
          seen[i] = true
        end
      end
      assert.are.equal(7, #seen)
    end
  end)

  it("a plan's last step takes the part with the largest forward of the whole run", function()
    local sizes, share, passes = { 5, 1, 4, 2, 8, 3, 1 }, nil, 6
    local whole = { size = function(i) return sizes[i] end, passes = passes, max_tokens = 100 }
    local function tokens(part)
      local sum = 0
      for _, i in ipairs(part) do
        sum = sum + sizes[i]
      end
      return sum
    end
    local function planned(steps)
      trial.last, trial.steps, trial.note = 2, steps, function(s) share = s end
      local epochs = data.epochs(7, 2, 3, "accounts.pass", whole)
      trial.last = nil
      return epochs
    end
    local epochs, most, all = data.epochs(7, 2, 3, "accounts.pass", whole), {}, {}
    for step = 1, epochs.steps * passes do
      local here = tokens((epochs.at(step)))
      most[step] = math.max(most[step - 1] or 0, here)
      all[step] = (all[step - 1] or 0) + here
    end
    for _, steps in ipairs { 1, 3, 5, math.maxinteger } do
      local last = math.min(steps, #most)
      local plan = planned(steps)
      assert.are.same((epochs.at(1)), (plan.at(1)))
      assert.are.equal(most[last], tokens((plan.at(2))))
      assert.are.equal(all[last] / last / most[last], share)
    end
    whole.max_tokens = 1 -- a forward for each: the longest alone counts
    assert.are.equal(8, math.max(table.unpack(pl.batch.take(sizes, (planned(99).at(2))))))
  end)
end)

describe("nothing measured", function()
  it("is not a loss of 0", function()
    local model = pl.model.new({
      model_type = "llama",
      hidden_size = 8,
      num_hidden_layers = 1,
      num_attention_heads = 1,
      intermediate_size = 8,
      vocab_size = #tok,
      max_position_embeddings = 16,
    }, { seed = 1 })
    assert.are.same({ nil, 0 }, { pl.loss.evaluate(model, {}) })
    assert.are.same({ nil, 0 }, { pl.loss.evaluate(model, { { 1, 70 } }, { { 0, 0 } }) })
    local by_numbers = { pl.loss.accumulate(model, { { 1, 70, 71 } }, { { 0, 1, 0 } }) }
    local by_truth = { pl.loss.accumulate(model, { { 1, 70, 71 } }, { { false, true, false } }) }
    assert.are.equal(1, by_numbers[2])
    assert.are.same(by_numbers, by_truth)
    local mean, count = pl.loss.evaluate(model, { { 1, 70 } })
    assert.are.equal(1, count)
    assert.is_true(mean > 0)
  end)

  it("is no part of the mean of a ranking loss", function()
    local function loss(scores, offsets, ranks)
      return pl.rank_loss(pl.tensor(scores), pl.tensor(offsets, "int32"), pl.tensor(ranks)):item()
    end
    local pair = loss({ 1, 0 }, { 0, 2 }, { 1, 2 })
    assert.are.equal(pair, loss({ 1, 0, 5, 5, 9 }, { 0, 2, 4, 5 }, { 1, 2, 1, 1, 1 }))
    assert.are.equal(0, loss({ 5, 5 }, { 0, 2 }, { 1, 1 }))
  end)
end)
