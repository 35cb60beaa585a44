--- Rewards, advantages and whitening by numbers worked out by hand; rollouts and ragged batches
-- against the lists they stand for.

local pl = require("perilune")
local toy = dofile("tests/lua/support/toy.lua")

local batch, rollout = pl.batch, pl.rollout

local function near(want, tensor)
  local got = tensor:totable()
  assert.are.equal(#want, #got)
  for i, value in ipairs(want) do
    assert.is_true(
      math.abs(got[i] - value) < 2e-6,
      ("[%d] is %.9g, not %.9g"):format(i, got[i], value)
    )
  end
end

-- Three answers of 3, 1 and 2 tokens.
local segments = { 0, 3, 4, 6 }
local roll = { segments = segments, answers = { offsets = pl.tensor(segments, "int32") } }

describe("advantages", function()
  -- γ = 0.9, λ = 0.8, γλ = 0.72. First answer: δ_3 = 1 + 0 + 0.2 = 1.2, δ_2 = -0.2 - 0.18 - 0.1 =
  -- -0.48, δ_1 = 0.1 + 0.09 - 0.3 = -0.11; A_3 = 1.2, A_2 = -0.48 + 0.72 * 1.2 = 0.384, A_1 = -0.11
  -- + 0.72 * 0.384 = 0.16648. Second: A = 0.5 - 0.4. Third: δ_2 = -1 - 0.2, δ_1 = 0.18 - 0.6, A_1 =
  -- -0.42 - 0.72 * 1.2 = -1.284.
  local rewards = pl.tensor { 0.1, -0.2, 1, 0.5, 0, -1 }
  local values = pl.tensor { 0.3, 0.1, -0.2, 0.4, 0.6, 0.2 }

  it("are those of generalized advantage estimation, each answer by itself", function()
    local advantages, returns = rollout.gae(rewards, values, roll, 0.9, 0.8)
    near({ 0.16648, 0.384, 1.2, 0.1, -1.284, -1.2 }, advantages)
    near({ 0.46648, 0.484, 1, 0.5, -0.684, -1 }, returns)
  end)

  it("are one-step errors at λ 0 and returns less values at λ 1, γ 1", function()
    near({ -0.11, -0.48, 1.2, 0.1, -0.42, -1.2 }, (rollout.gae(rewards, values, roll, 0.9, 0)))
    local advantages, returns = rollout.gae(rewards, values, roll, 1, 1)
    near({ 0.6, 0.7, 1.2, 0.1, -1.6, -1.2 }, advantages)
    near({ 0.9, 0.8, 1, 0.5, -1, -1 }, returns)
  end)

  it("of one answer of one token", function()
    local one = { segments = { 0, 1 }, answers = { offsets = pl.tensor({ 0, 1 }, "int32") } }
    local advantages, returns = rollout.gae(pl.tensor { 2 }, pl.tensor { 0.5 }, one, 0.9, 0.8)
    near({ 1.5 }, advantages)
    near({ 2 }, returns)
  end)
end)

describe("rewards", function()
  it("are the penalty of each token, and the score at the last one of each answer", function()
    local penalty = pl.tensor { -0.5, 0.25, 0, 0.125, -1, 2 }
    near({ -0.5, 0.25, 3, -0.875, -1, 2.5 }, rollout.rewards(penalty, { 3, -1, 0.5 }, segments))
  end)
end)

describe("whitening", function()
  -- Of 1, 2, 3, 6: mean 3, deviations -2, -1, 0, 3, population variance 14 / 4 = 3.5.
  local x = pl.tensor { 1, 2, 3, 6 }
  local deviation = math.sqrt(3.5 + 1e-8)

  it("of one token is 0, and its mean where that stays", function()
    local one = pl.tensor { 7 }
    assert.are.same({ 0 }, rollout.whiten(one, true):totable())
    assert.are.same({ 7 }, rollout.whiten(one, false):totable())
  end)

  it("gives mean 0 and population deviation 1", function()
    local wanted = { -2 / deviation, -1 / deviation, 0, 3 / deviation }
    near(wanted, rollout.whiten(x, true))
  end)

  it(
    "keeps the mean when it is asked to",
    function()
      near({ 3 - 2 / deviation, 3 - 1 / deviation, 3, 3 + 3 / deviation }, rollout.whiten(x, false))
    end
  )

  it(
    "of equal numbers is 0",
    function() near({ 0, 0, 0 }, rollout.whiten(pl.tensor { 4, 4, 4 }, true)) end
  )
end)

describe("scores", function()
  local reasons = { "stop", "length", "stop", "stop_string" }
  local scores = { 2, 5, -7, 1 }

  for _, case in ipairs {
    { "as they are", { rule = "none", penalty = 1, clip = 0 }, { 2, 5, -7, 1 } },
    { "less a penalty", { rule = "subtract", penalty = 1.5, clip = 0 }, { 2, 3.5, -7, -0.5 } },
    { "or the penalty alone", { rule = "replace", penalty = 2, clip = 0 }, { 2, -2, -7, -2 } },
    { "then clipped", { rule = "subtract", penalty = 1, clip = 3 }, { 2, 3, -3, 0 } },
  } do
    it(
      "of answers that did not end: " .. case[1],
      function() assert.are.same(case[3], rollout.shape_scores(scores, reasons, case[2])) end
    )
  end
end)

describe("what is made of scores", function()
  it("costs a price for each token beyond a length, and more near the longest", function()
    local lengths = { 1, 4, 5, 8, 10 }
    local function costs(opts) return rollout.length_penalties(lengths, opts) end
    assert.are.same({ 0, 0, 0.5, 2, 3 }, costs { penalty = 0.5, free = 4 })
    assert.are.same({ 0, 0, 0, 0.5, 1 }, costs { buffer = 4, longest = 10 })
    assert.are.same({ 0.25, 1, 1.25, 2, 2.5 }, costs { penalty = 0.25 })
    assert.are.same({ 0, 0, 0, 0, 0 }, costs {})
  end)

  it("is normalised by all that were seen", function()
    -- 1, 3: mean 2, deviation 1; with 5, 7: mean 4, variance (9 + 1 + 1 + 9) / 4 = 5
    local list, seen = rollout.normalise({ 1, 3 }, nil)
    assert.are.same({ -1, 1 }, list)
    assert.are.same({ count = 2, mean = 2, m2 = 2 }, seen)
    list, seen = rollout.normalise({ 5, 7 }, seen)
    assert.are.same({ count = 4, mean = 4, m2 = 20 }, seen)
    assert.is_true(math.abs(list[1] - 1 / math.sqrt(5)) < 1e-15)
    assert.is_true(math.abs(list[2] - 3 / math.sqrt(5)) < 1e-15)
    assert.are.same({ 0, 0 }, (rollout.normalise { 2, 2 }))
    assert.are.same({ 0 }, (rollout.normalise { 3 }))
    local before = seen
    list, seen = rollout.normalise({ 0 / 0, math.huge }, seen) -- no batch after it knows of it
    assert.is_true(list[1] ~= list[1] and list[2] == math.huge)
    assert.are.same(before, seen)
    assert.are.same({ {}, 0 }, { (rollout.normalise {}), select(2, rollout.normalise {}).count })
  end)
end)

describe("a rollout", function()
  local questions = { { 1, 2, 3 }, { 4 }, { 5, 6 } }
  local model = toy.model("llama")
  local answers = pl.generate(model, questions, {
    max_tokens = 7,
    samples = 2,
    stop = { 0, 3, 9 },
    seed = 3,
  })
  local sequences, masks = {}, {}
  for i, answer in ipairs(answers) do
    sequences[i], masks[i] = pl.data.join(questions[answer.prompt], answer.tokens)
  end

  it("stands for the sequences of its prompts and answers", function()
    local whole = rollout.new(questions, answers)
    local packed, at = batch.pack(sequences), batch.targets(sequences, masks)
    assert.are.equal(1, #whole.parts)
    for _, name in ipairs { "tokens", "positions", "offsets" } do
      assert.are.equal(packed[name]:bytes(), whole.parts[1].batch[name]:bytes())
    end
    for _, name in ipairs { "rows", "targets", "segments" } do
      assert.are.equal(at[name]:bytes(), whole.parts[1].at[name]:bytes())
    end
    assert.are.same(at.segments:totable(), whole.segments)
    assert.are.equal(at.count, whole.count)
    for i, sequence in ipairs(sequences) do
      assert.are.equal(#sequence, whole.sizes[i])
      assert.are.equal(#answers[i].tokens, whole.lengths[i])
    end
  end)

  it("is cut into parts in the order of its answers", function()
    local cut = rollout.new(questions, answers, 12)
    local tokens = {}
    assert.is_true(#cut.parts > 1)
    for _, part in ipairs(cut.parts) do
      table.move(part.at.targets:totable(), 1, part.at.count, #tokens + 1, tokens)
    end
    assert.are.same(answers.tokens:totable(), tokens)
  end)

  it("gives some answers with their figures, in the order that is asked for", function()
    local whole = rollout.new(questions, answers)
    local chosen = { 5, 2 }
    local packed, at, of = rollout.take(whole, chosen, { old = whole.old })
    local want = batch.pack(batch.take(sequences, chosen))
    assert.are.equal(want.tokens:bytes(), packed.tokens:bytes())
    assert.are.equal(want.offsets:bytes(), packed.offsets:bytes())
    assert.are.equal(2, packed.size)
    local list = table.move(answers[5].logprobs, 1, #answers[5].logprobs, 1, {})
    table.move(answers[2].logprobs, 1, #answers[2].logprobs, #list + 1, list)
    assert.are.same(list, of.old:totable())
    assert.are.equal(
      batch.targets(batch.take(sequences, chosen), batch.take(masks, chosen)).rows:bytes(),
      at.rows:bytes()
    )
  end)

  it("is joined of groups of others, with their scores", function()
    local whole = rollout.new(questions, answers)
    whole.scores, whole.raw_scores = { 1, 2, 3, 4, 5, 6 }, { 6, 5, 4, 3, 2, 1 }
    local asked = { "a", "a", "b", "b", "c", "c" }
    local joined, of = rollout.join {
      { roll = whole, asked = asked, prompts = { 3 } },
      { roll = whole, asked = asked, prompts = {} },
      { roll = whole, asked = asked, prompts = { 1, 3 } },
    }
    local order = { 5, 6, 1, 2, 5, 6 }
    assert.are.same({ "c", "c", "a", "a", "c", "c" }, of)
    assert.are.same(order, joined.scores)
    assert.are.same({ 2, 1, 6, 5, 2, 1 }, joined.raw_scores)
    assert.are.same({ questions[3], questions[1], questions[3] }, joined.questions)
    for b, from in ipairs(order) do
      local got, want = joined.answers[b], answers[from]
      for _, name in ipairs { "tokens", "logprobs", "entropies", "finish_reason" } do
        assert.are.same(want[name], got[name])
      end
      assert.are.equal(whole.sizes[from], joined.sizes[b])
      assert.are.equal((b + 1) // 2, got.prompt)
    end
    local again = pl.loss.sequence_logprobs(model, joined.parts)
    assert.are.same(joined.old:totable(), again:totable())
  end)

  it("has the exact KL of each of its tokens to another model", function()
    local other, whole = toy.model("llama", { seed = 9 }), rollout.new(questions, answers)
    local exact = pl.loss.sequence_kl(model, other, whole.parts, { temperature = 0.7 }):totable()
    local part = whole.parts[1]
    local function log_p(of)
      local logits = of:logits(part.batch) / 0.7
      return pl.gather(logits:log_softmax(), part.at.rows)
    end
    local p, q = log_p(model), log_p(other)
    local want = (p:exp() * (p - q)):sum(2):totable()
    assert.are.equal(whole.count, #exact)
    for i, kl in ipairs(want) do
      assert.is_true(math.abs(exact[i] - kl) < 1e-4 * math.max(1, kl) and kl > 0)
    end
    for _, kl in ipairs(pl.loss.sequence_kl(model, model, whole.parts):totable()) do
      assert.is_true(math.abs(kl) < 1e-6)
    end
  end)

  it("gives examples with the figures of each token", function()
    local whole = rollout.new(questions, answers)
    whole.scores = { 1, 2, 3, 4, 5, 6 }
    local texts = {}
    for i = 0, toy.vocab - 1 do
      texts[i + 1] = ("w%d "):format(i)
    end
    local tok = pl.tokenizer.train {
      kind = "word",
      texts = texts,
      vocab_size = toy.vocab,
      special = { "<s>" },
    }
    local figures = {}
    for i = 1, whole.count do
      figures[i] = i + 0.23456
    end
    local list = rollout.examples(whole, tok, 3, { kl = pl.tensor(figures) })
    assert.are.equal(3, #list)
    for b, example in ipairs(list) do
      assert.are.equal(tok:decode(answers[b].tokens), table.concat(example.tokens))
      assert.are.equal(tok:decode(questions[(b - 1) // 2 + 1]), example.prompt)
      assert.are.equal(b, example.score)
      assert.are.equal(whole.lengths[b], #example.kl)
      assert.are.equal(#example.kl, #example.tokens)
      local first = whole.segments[b] + 1
      assert.are.equal(tonumber(("%.3g"):format(first + 0.23456)), example.kl[1])
    end
    assert.is_nil(rollout.examples(whole, tok, 1)[1].tokens)
  end)

  it("tells what was sampled", function()
    local whole = rollout.new(questions, answers)
    whole.reference, whole.scores, whole.raw_scores = whole.old, {}, {}
    for i = 1, #answers do
      whole.scores[i], whole.raw_scores[i] = i, 2 * i
    end
    local metrics =
      rollout.metrics(whole, rollout.rewards(whole.old * 0, whole.scores, whole.segments))
    local ended, tokens = 0, 0
    for _, answer in ipairs(answers) do
      ended = ended + (answer.finish_reason == "stop" and 1 or 0)
      tokens = tokens + #answer.tokens
    end
    assert.are.equal(0, metrics["objective/kl"])
    assert.are.equal(3.5, metrics["objective/scores"])
    assert.are.equal(7, metrics["objective/raw_scores"])
    assert.are.equal(3.5, metrics["objective/rlhf_reward"])
    assert.are.equal(ended, metrics["val/num_eos_tokens"])
    assert.are.equal(1 - ended / 6, metrics["completions/clipped_ratio"])
    assert.are.equal(tokens / 6, metrics["completions/mean_length"])
  end)
end)

describe("the correlation of score and length", function()
  -- `asked` prompts, each answered `times` times; answer k has k tokens.
  local function metrics_of(asked, times, score)
    local prompts = {}
    for i = 1, asked * times do
      prompts[i] = { 1 + (i - 1) // times, 2 }
    end
    local whole = rollout.new(prompts, pl.generate(toy.model("llama"), prompts, { max_tokens = 2 }))
    whole.reference, whole.scores, whole.raw_scores = whole.old, {}, {}
    for i = 1, #prompts do
      local group, k = (i - 1) // times, (i - 1) % times + 1
      whole.lengths[i] = 10 * (group % 3) + k
      whole.raw_scores[i] = score(group, k)
      whole.scores[i] = 7 - i -- with penalties; not what is asked about
    end
    return rollout.metrics(whole, whole.old)
  end

  it("is within prompts where they were asked more than once", function()
    local metrics = metrics_of(4, 4, function(group, k) return k - 50 * (group % 3) end)
    assert.are.equal(1, metrics["health/length_corr"])
    assert.are.equal(0, metrics["completions/empty_ratio"])
  end)

  it("is over the batch where they were not", function()
    local metrics = metrics_of(9, 1, function(group) return group % 3 end)
    assert.are.equal(1, metrics["health/length_corr"])
  end)

  it("is absent of few answers, which always correlate", function()
    assert.is_nil(metrics_of(2, 1, function(group) return group end)["health/length_corr"])
    assert.is_nil(metrics_of(1, 7, function(_, k) return k end)["health/length_corr"])
  end)

  it("leaves the deviation of a single score out", function()
    assert.is_nil(metrics_of(1, 1, function() return 1 end)["objective/scores_std"])
    assert.is_number(metrics_of(2, 1, function() return 1 end)["objective/scores_std"])
  end)
end)

describe("a ragged batch", function()
  local ragged = require("perilune.core").ragged
  local x = pl.tensor({ 10, 11, 12, 20, 30, 31 }, "int32")
  local offsets = pl.tensor({ 0, 3, 3, 4, 6 }, "int32") -- of 3, 0, 1 and 2 rows

  it("gives sequences in any order, also twice", function()
    local taken, where = ragged.take(x, offsets, { 4, 1, 2, 4 })
    assert.are.same({ 30, 31, 10, 11, 12, 30, 31 }, taken:totable())
    assert.are.same({ 0, 2, 5, 5, 7 }, where:totable())
    taken, where = ragged.take(x, offsets, {})
    assert.are.same({}, taken:totable())
    assert.are.same({ 0 }, where:totable())
  end)

  it("moves rows of any form", function()
    local rows = pl.tensor({ { 1, 2 }, { 3, 4 }, { 5, 6 } }, "float64")
    local taken = ragged.take(rows, pl.tensor({ 0, 1, 3 }, "int32"), { 2, 1 })
    assert.are.same({ { 3, 4 }, { 5, 6 }, { 1, 2 } }, taken:totable())
  end)

  it("is joined with another, sequence by sequence", function()
    local asked, asked_at = pl.tensor({ 1, 2, 3 }, "int32"), pl.tensor({ 0, 2, 3 }, "int32")
    local said, said_at = pl.tensor({ 7, 8, 9 }, "int32"), pl.tensor({ 0, 1, 3 }, "int32")
    local joined, where, before = ragged.join(asked, asked_at, said, said_at)
    assert.are.same({ 1, 2, 7, 3, 8, 9 }, joined:totable())
    assert.are.same({ 0, 3, 6 }, where:totable())
    assert.are.same({ 1, 3, 4 }, before:totable())
    assert.are.same({ 0, 1, 2, 0, 1, 2 }, ragged.positions(where):totable())
  end)

  for what, call in pairs {
    ["there is no sequence 5 of 4"] = function() ragged.take(x, offsets, { 5 }) end,
    ["index 2 is not an integer"] = function() ragged.take(x, offsets, { 1, 1.5 }) end,
    ["must begin with 0, never fall and end with its number of rows"] = function()
      ragged.take(x, pl.tensor({ 0, 3 }, "int32"), { 1 })
    end,
    ["must be int32"] = function() ragged.take(x, pl.tensor { 0, 6 }, { 1 }) end,
    ["they must be alike"] = function()
      local other = pl.tensor({ 0, 6 }, "int32")
      ragged.join(x, offsets, x, other)
    end,
    ["nothing stands before the first row of b"] = function()
      ragged.join(x, offsets, x, pl.tensor({ 0, 2, 3, 4, 6 }, "int32"))
    end,
  } do
    it("is refused when it is wrong: " .. what, function()
      local ok, message = pcall(call)
      assert.is_false(ok)
      assert.is_truthy(message:find(what, 1, true), message)
    end)
  end
end)
