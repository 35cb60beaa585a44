--- Ends of the ranges: fifty ranked answers, a vocabulary of two tokens, steps that train nothing.

local pl = require("perilune")

local function near(want, got, what)
  assert(math.abs(want - got) < 1e-5, ("%s: %.9g, %.9g wanted"):format(what, got, want))
end

describe("fifty ranked answers", function()
  local scores, ranks = {}, {}
  for k = 1, 50 do
    scores[k], ranks[k] = math.sin(k), (k * 7) % 50 + 1 -- 7 and 50 share no factor: all differ
  end

  it("have 1225 pairs, each once, the better answer first", function()
    assert.are.same({ 50, 1225, 0 }, { pl.ranking.count { { ranks = ranks } } })
    local gaps, right, sum = pl.ranking.gaps(scores, { ranks }), 0, 0
    assert.are.equal(1225, #gaps)
    for _, gap in ipairs(gaps) do
      right, sum = right + (gap > 0 and 1 or 0), sum + gap
    end
    local want_right, want_sum = 0, 0
    for i = 1, 50 do
      for j = 1, 50 do
        if ranks[i] < ranks[j] then
          want_right = want_right + (scores[i] > scores[j] and 1 or 0)
          want_sum = want_sum + scores[i] - scores[j]
        end
      end
    end
    assert.are.equal(want_right, right)
    near(want_sum, sum, "sum of differences")
    assert.are.equal(want_right / 1225, pl.ranking.calibration(gaps).eval_accuracy)
  end)

  it("have the mean loss of their pairs", function()
    local want = 0
    for _, gap in ipairs(pl.ranking.gaps(scores, { ranks })) do
      want = want + math.log(1 + math.exp(-gap)) / 1225
    end
    local loss = pl.rank_loss(pl.tensor(scores), { 0, 50 }, pl.tensor(ranks))
    near(want, loss:item(), "loss")
  end)
end)

describe("a vocabulary of two", function()
  local model = pl.model.new({
    model_type = "llama",
    vocab_size = 2,
    hidden_size = 20,
    intermediate_size = 28,
    num_hidden_layers = 2,
    num_attention_heads = 2,
    max_position_embeddings = 96,
    tie_word_embeddings = false,
    initializer_range = 0.3,
  }, { seed = 3 })
  local sequences = { { 0, 1, 1, 0, 1 }, { 1, 0 } }

  it("has probabilities that sum to 1, and their loss", function()
    local step <close> = pl.scope("two") -- luacheck: ignore
    local sum, n = 0, 0
    for _, sequence in ipairs(sequences) do
      local z = model:logits(pl.batch.pack { sequence }):totable()
      for t = 1, #sequence - 1 do
        local other = z[t][2 - sequence[t + 1]] -- of the token that is not the next one
        sum, n = sum + math.log(1 + math.exp(other - z[t][1 + sequence[t + 1]])), n + 1
      end
    end
    local mean, count = pl.loss.evaluate(model, sequences)
    assert.are.equal(5, count)
    assert.are.equal(n, count)
    near(sum / n, mean, "loss")
  end)

  it("gives answers of its two tokens, with the log-probs of scoring", function()
    local answers = pl.generate(model, { { 0 }, { 1 } }, { max_tokens = 12, samples = 3, seed = 5 })
    assert.are.equal(6, #answers)
    local seen = {}
    for _, answer in ipairs(answers) do
      assert.are.equal(12, #answer.tokens)
      for _, token in ipairs(answer.tokens) do
        seen[token] = true
      end
    end
    assert.are.same({ [0] = true, [1] = true }, seen)
  end)
end)

describe("a step that trains nothing", function()
  it("has no loss, not the loss 0, and no gradient", function()
    local model = pl.model.new({
      model_type = "llama",
      vocab_size = 5,
      hidden_size = 20,
      intermediate_size = 28,
      num_hidden_layers = 1,
      num_attention_heads = 2,
      max_position_embeddings = 16,
    }, { seed = 1 })
    model.block:zero_grad()
    for _, case in ipairs {
      { { { 1, 2, 3 } }, { { 0, 0, 0 } } },
      { { { 1 }, { 2 } }, nil },
      { {}, nil },
    } do
      local mean, trained = pl.loss.accumulate(model, case[1], case[2])
      assert.is_nil(mean)
      assert.are.equal(0, trained)
    end
    local mean, trained = pl.loss.accumulate(model, { { 1, 2, 3 } }, { { 0, 0, 1 } })
    assert.are.equal(1, trained)
    assert.is_true(mean > 0)
  end)
end)
