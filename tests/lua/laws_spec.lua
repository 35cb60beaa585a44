--- Laws that right training mathematics obeys whatever the numbers are: each would have caught a
-- family of bugs that other trainers shipped (forgotten masks, wrong normalisers, leaking
-- neighbours, shifted targets, probabilities of another distribution than was sampled).

local pl = require("perilune")
local toy = dofile("tests/lua/support/toy.lua")

local batch, loss = pl.batch, pl.loss

-- ---- nine sequences: three prompts' sets of three answers, none as long as another --------------

local LENGTHS <const> = { 9, 4, 14, 5, 11, 7, 6, 3, 17 }
local PROMPT <const> = 2
local sequences = toy.sequences(LENGTHS)
local masks = toy.answer_masks(sequences, PROMPT)
local RANKS <const> = { 1, 2, 3, 2, 1, 2, 3, 1, 2 }

--- Made-up numbers for the trained tokens of each sequence.
local function token_numbers(purpose, scale, shift)
  local lists = {}
  for b, length in ipairs(LENGTHS) do
    lists[b] = {}
    for t = 1, length - PROMPT do
      lists[b][t] = shift + scale * pl.random_normal(9, purpose, b * 100 + t)
    end
  end
  return lists
end

local numbers = {
  old = token_numbers(1, 1, -4),
  reference = token_numbers(2, 1, -4),
  advantage = token_numbers(3, 1, 0),
  values = token_numbers(4, 1, 0),
  returns = token_numbers(5, 1, 0),
}
local trained = 0
for _, length in ipairs(LENGTHS) do
  trained = trained + length - PROMPT
end

--- The named numbers of some sequences, flat.
local function pick(name, ids, dtype)
  local list = {}
  for _, b in ipairs(ids) do
    table.move(numbers[name][b], 1, #numbers[name][b], #list + 1, list)
  end
  return pl.tensor(list, dtype)
end

--- Each loss of the sequences `ids`, divided by what the whole batch has.
local losses = {}

function losses.lm(model, ids)
  return loss.lm(model, batch.take(sequences, ids), batch.take(masks, ids), { norm = trained })
end

local function logprobs(model, ids)
  local part = batch.take(sequences, ids)
  return loss.logprobs(
    model,
    batch.pack(part),
    batch.targets(part, batch.take(masks, ids)),
    { temperature = 0.7 }
  )
end

function losses.ppo(model, ids)
  local logprob, entropy = logprobs(model, ids)
  local policy = pl.ppo_loss(
    logprob,
    pick("old", ids, model.dtype),
    pick("advantage", ids, model.dtype),
    { cliprange = 0.2, norm = trained }
  )
  return policy - entropy:sum() * (0.1 / trained)
end

function losses.kl(model, ids)
  return pl.kl_estimate(
    (logprobs(model, ids)),
    pick("reference", ids, model.dtype),
    { kind = "k3" }
  )
    :sum() / trained
end

function losses.value(model, ids)
  local part = batch.take(sequences, ids)
  local at = batch.targets(part, batch.take(masks, ids))
  return (
    pl.value_loss(
      pl.gather(model:scores(batch.pack(part)), at.rows),
      pick("values", ids, model.dtype),
      pick("returns", ids, model.dtype),
      { norm = trained }
    )
  )
end

function losses.rank(model, ids)
  local part, offsets = batch.take(sequences, ids), {}
  for i = 0, #ids, 3 do
    offsets[#offsets + 1] = i
  end
  local packed = batch.pack(part)
  local scores = pl.gather(model:scores(packed), batch.last_rows(packed))
  return pl.rank_loss(
    scores,
    offsets,
    pl.tensor(batch.take(RANKS, ids), model.dtype),
    { norm = #LENGTHS // 3, ties = "half" }
  )
end

local function is_scalar(name) return name == "value" or name == "rank" end

--- Gradients and summed value of a loss taken in parts.
local function in_parts(name, model, parts)
  local sum = 0
  local gradients = toy.gradients(model, function()
    for _, ids in ipairs(parts) do
      local value = losses[name](model, ids)
      value:backward()
      sum = sum + value:item()
    end
  end)
  return gradients, sum
end

local ALL <const> = { { 1, 2, 3, 4, 5, 6, 7, 8, 9 } }
local bounds = { float32 = 2e-6, float64 = 1e-13 }

local function hold_gradients(name, config, parts)
  for dtype, bound in pairs(bounds) do
    local model = toy.model(config, { dtype = dtype, scalar_head = is_scalar(name) })
    local want, whole = in_parts(name, model, ALL)
    local got, sum = in_parts(name, model, parts)
    assert.is_true(whole ~= 0)
    assert.is_true(math.abs(sum - whole) <= bound * math.max(1, math.abs(whole)))
    local err, where = toy.gradient_error(got, want)
    assert.is_true(err <= bound, ("%s of %s in %s: %.3g"):format(where, name, dtype, err))
  end
end

toy.each(function(config)
  describe("gradients of " .. config, function()
    for _, name in ipairs { "lm", "ppo", "kl", "value", "rank" } do
      it("are the same for one batch and for ragged micro-batches: " .. name, function()
        hold_gradients(name, config, { { 1, 2, 3 }, { 4, 5, 6, 7, 8, 9 } })
        if name ~= "rank" then -- a ranked set stays together
          hold_gradients(name, config, { { 1 }, { 2, 3, 4 }, { 5, 6, 7, 8 }, { 9 } })
        end
      end)

      it(
        "do not depend on the order of sequences: " .. name,
        function() hold_gradients(name, config, { { 7, 9, 8, 5, 4, 6, 2, 1, 3 } }) end
      )
    end
  end)
end)

toy.each_precision(function(config, new_model)
  describe("forward of " .. config, function()
    local guard <close> = pl.no_grad() -- luacheck: ignore
    local model = new_model()
    local score = new_model { scalar_head = true }

    it("gives a sequence the same bits alone, packed, split and in any order", function()
      local quiet <close> = pl.no_grad() -- luacheck: ignore
      local alone, alone_scores = {}, {}
      for b = 1, #sequences do
        local packed = batch.pack { sequences[b] }
        alone[b], alone_scores[b] = model:logits(packed):bytes(), score:scores(packed):bytes()
      end
      for _, order in ipairs { ALL[1], { 3, 9, 1, 8, 2, 7, 4, 6, 5 }, { 9, 9, 2 }, { 8, 7 } } do
        local packed = batch.pack(batch.take(sequences, order))
        local logits, scores, at = model:logits(packed), score:scores(packed), 0
        for _, b in ipairs(order) do
          local first, last = at + 1, at + #sequences[b]
          assert.is_true(logits:slice(1, first, last):bytes() == alone[b])
          assert.is_true(scores:slice(1, first, last):bytes() == alone_scores[b])
          at = last
        end
      end
    end)

    it("looks at nothing that comes later", function()
      local quiet <close> = pl.no_grad() -- luacheck: ignore
      local whole = model:logits(batch.pack { sequences[9] })
      for t = 1, #sequences[9] do
        local head = table.move(sequences[9], 1, t, 1, {})
        assert.is_true(model:logits(batch.pack { head }):bytes() == whole:slice(1, 1, t):bytes())
      end
    end)

    it("gives the rows that are read the same bits as all", function()
      local quiet <close> = pl.no_grad() -- luacheck: ignore
      local packed = batch.pack(sequences)
      local hidden, scores = model:hidden(packed), score:scores(packed)
      for _, list in ipairs { {}, { 0 }, { packed.count - 1, 3, 3 }, { 2, 5, 7, 11 } } do
        local rows = pl.tensor(list, "int32")
        local read = model:hidden(packed, { rows = rows })
        assert.are.equal(pl.gather(hidden, rows):bytes(), read:bytes())
        local some = score:scores(packed, { rows = rows })
        assert.are.equal(pl.gather(scores, rows):bytes(), some:bytes())
      end
      assert.has_error(
        function()
          model:hidden(
            packed,
            { rows = pl.tensor({ 0 }, "int32"), dropout = { p = 0.1, seed = 1 } }
          )
        end,
        "model:hidden: `rows` goes without `dropout`, whose draws belong to all rows"
      )
    end)

    it("has log-probs, scores and values that do not depend on the parts they came in", function()
      local opts = { temperature = 0.7 }
      local parts = batch.parts(sequences, masks)
      local want = loss.sequence_logprobs(model, parts, opts):bytes()
      local scores = loss.sequence_scores(score, parts):bytes()
      local values = loss.sequence_values(score, parts):bytes()
      for _, max_tokens in ipairs { 1, 10, 23 } do
        parts = batch.parts(sequences, masks, max_tokens)
        assert.are.equal(want, loss.sequence_logprobs(model, parts, opts):bytes())
        assert.are.equal(scores, loss.sequence_scores(score, parts):bytes())
        assert.are.equal(values, loss.sequence_values(score, parts):bytes())
      end
      local answers = 0
      for _, length in ipairs(LENGTHS) do
        answers = answers + length - PROMPT
      end
      assert.are.equal(answers, #loss.sequence_logprobs(model, parts, opts))
    end)
  end)

  describe("an answer-only loss of " .. config, function()
    it("reads the rows that predict answers and no other", function()
      local model = new_model()
      local packed, at = batch.pack(sequences), batch.targets(sequences, masks)
      local hidden = model:hidden(packed):detach():clone():requires_grad(true)
      local named = {}
      for _, row in ipairs(at.rows:totable()) do
        named[row] = true
      end
      local products = { precision = model.precision }
      pl.cross_entropy(hidden, model:head(), at.rows, at.targets, nil, products):backward()
      local zero = ("\0"):rep(4 * hidden:size(2))
      for row = 0, packed.count - 1 do
        local bytes = hidden:grad():slice(1, row + 1, row + 1):bytes()
        assert.are.equal(named[row] or false, bytes ~= zero)
      end
    end)

    it("sends nothing to what only the last token of a sequence could reach", function()
      local model = new_model()
      local sequence, last = { 3, 4, 5, 6, 7, 8 }, 30 -- 30 stands nowhere else
      sequence[#sequence + 1] = last
      local list = { sequence }
      local gradients = toy.gradients(model, function()
        local packed, at = batch.pack(list), batch.targets(list)
        -- a head of its own, so that a tied embedding gets no gradient as the head
        local head = model:head():detach():clone()
        local products = { precision = model.precision }
        pl.cross_entropy(model:hidden(packed), head, at.rows, at.targets, nil, products):backward()
      end)
      local table_name = model.entries[1][1]
      for _, entry in ipairs(gradients) do
        if entry[1] == table_name then
          for id, row in ipairs(entry[2]:totable()) do
            local used = id - 1 >= 3 and id - 1 <= 8
            local norm = 0
            for _, v in ipairs(row) do
              norm = norm + math.abs(v)
            end
            assert.are.equal(used, norm ~= 0)
          end
        end
      end
    end)
  end)
end)

-- ---- garbage where no loss is taken -------------------------------------------------------------

describe("garbage where no loss is taken", function()
  local garbage = { 0 / 0, 1 / 0, -1 / 0, 1e30, -1e30 }

  local function dirty(t, rows, value)
    local copy = t:detach():clone()
    for _, row in ipairs(rows) do
      if copy:rank() == 2 then
        for c = 1, copy:size(2) do
          copy:set(row + 1, c, value)
        end
      else
        copy:set(row + 1, value)
      end
    end
    return copy
  end

  --- fn(inputs...) gives a loss; rows `bad` of the spoiled inputs hold garbage: the value and all
  -- gradients must keep their bits.
  local function hold(inputs, spoiled, bad, fn)
    local function run(list)
      for _, t in ipairs(list) do
        t:requires_grad(true):zero_grad()
      end
      local value = fn(table.unpack(list))
      value:backward()
      local grads = {}
      for i, t in ipairs(list) do
        grads[i] = t:grad() and t:grad():clone() or pl.zeros(t:shape(), t:dtype())
      end
      return value:item(), grads
    end
    local want, want_grads = run(inputs)
    for _, v in ipairs(garbage) do
      local list = {}
      for i, t in ipairs(inputs) do
        list[i] = spoiled[i] and dirty(t, bad, v) or t
      end
      local got, grads = run(list)
      assert.are.equal(want, got)
      for i in ipairs(inputs) do
        assert.is_true(grads[i]:bytes() == want_grads[i]:bytes(), ("input %d, %s"):format(i, v))
      end
    end
  end

  local function hidden_and_head()
    return pl.randn({ 6, 10 }, { seed = 3, purpose = 1 }),
      pl.randn({ 7, 10 }, { seed = 3, purpose = 2 })
  end

  for _, precision in ipairs { "float32", "bf16" } do
    local products = { precision = precision }

    it("changes nothing in rows that are not named, in " .. precision, function()
      local hidden, head = hidden_and_head()
      local rows, targets = { 0, 2, 5 }, { 3, 0, 6 }
      hold(
        { hidden, head },
        { true },
        { 1, 3, 4 },
        function(h, w) return pl.cross_entropy(h, w, rows, targets, nil, products) end
      )
      hold({ hidden, head }, { true }, { 1, 3, 4 }, function(h, w)
        local logprob, entropy = pl.logprob(h, w, rows, targets, products)
        return logprob:sum() + entropy:sum()
      end)
      hold({ hidden, head }, { true }, { 1, 3, 4 }, function(h, w)
        local other, other_head = hidden:detach() * 2, head:detach() * 0.5
        return pl.kl_full(h, w, other, other_head, rows, products):sum()
      end)
    end)

    it("changes nothing in a head's loss where the weight is 0, in " .. precision, function()
      local hidden, head = hidden_and_head()
      local weights = pl.tensor { 1, 0, 0.5, 0, 0, 2 }
      local rows, targets = { 0, 1, 2, 3, 4, 5 }, { 3, 0, 6, 1, 1, 2 }
      hold(
        { hidden, head },
        { true },
        { 1, 3, 4 },
        function(h, w) return pl.cross_entropy(h, w, rows, targets, weights, products) end
      )
    end)
  end

  it("changes nothing where the weight is 0", function()
    local weights = pl.tensor { 1, 0, 0.5, 0, 0, 2 }
    local logprob = pl.randn({ 6 }, { seed = 3, purpose = 3 })
    local old = pl.randn({ 6 }, { seed = 3, purpose = 4 })
    local advantage = pl.randn({ 6 }, { seed = 3, purpose = 5 })
    for _, spoiled in ipairs {
      { true },
      { false, true },
      { false, false, true },
      { true, true, true },
    } do
      hold(
        { logprob, old, advantage },
        spoiled,
        { 1, 3, 4 },
        function(l, o, a) return (pl.ppo_loss(l, o:detach(), a:detach(), weights)) end
      )
      hold(
        { logprob, old, advantage },
        spoiled,
        { 1, 3, 4 },
        function(v, o, r) return (pl.value_loss(v, o:detach(), r:detach(), weights)) end
      )
    end
  end)

  it("keeps the statistics clean as well", function()
    local weights = pl.tensor { 1, 0, 0.5, 0, 0, 2 }
    local logprob = pl.randn({ 6 }, { seed = 3, purpose = 3 })
    local old = pl.randn({ 6 }, { seed = 3, purpose = 4 })
    local advantage = pl.randn({ 6 }, { seed = 3, purpose = 5 })
    for _, op in ipairs { "ppo_loss", "value_loss" } do
      local _, want = pl[op](logprob, old, advantage, weights)
      for _, v in ipairs(garbage) do
        local bad = dirty(logprob, { 1, 3, 4 }, v)
        local _, got = pl[op](bad, old, advantage, weights)
        assert.is_true(got:bytes() == want:bytes(), ("%s with %s"):format(op, v))
      end
    end
  end)

  for name in pairs(toy.configs) do
    it("changes nothing in the sequences beside: " .. name, function()
      local guard <close> = pl.no_grad() -- luacheck: ignore
      local model = toy.model(name)
      local table_of_tokens = model.weights[model.entries[1][1]]
      local list = { { 1, 2, 3, 4 }, { 36, 36, 36 }, { 5, 6, 7, 8, 9 } } -- 36 stands here alone
      local at = batch.targets(list, { { 0, 1, 1, 1 }, { 0, 0, 0 }, { 0, 1, 1, 1, 1 } })
      local head = model:head():detach():clone()
      local function value()
        return pl.cross_entropy(model:hidden(batch.pack(list)), head, at.rows, at.targets):item()
      end
      local want = value()
      for _, v in ipairs(garbage) do
        for c = 1, table_of_tokens:size(2) do
          table_of_tokens:set(37, c, v)
        end
        assert.are.equal(want, value())
      end
    end)
  end
end)

-- ---- preferences --------------------------------------------------------------------------------

describe("log-probs of sequences", function()
  it("are of parts: a batch, or sequences alone, are refused with what takes them", function()
    local model = pl.model.new(toy.configs.llama)
    for _, wrong in ipairs { { { 1, 2 } }, batch.pack { { 1, 2 } } } do
      local ok, message = pcall(loss.sequence_logprobs, model, wrong)
      assert.is_false(ok)
      assert.is_truthy(message:find("'parts' must be those of batch.parts", 1, true), message)
    end
    assert.are.equal(0, #loss.sequence_logprobs(model, {}))
  end)
end)

describe("a preference", function()
  local function rank(scores, ranks, opts)
    local s = pl.tensor(scores):requires_grad(true)
    local value = pl.rank_loss(s, { 0, #scores }, pl.tensor(ranks), opts)
    value:backward()
    return value:item(), s:grad():totable()
  end

  it("turns round when chosen and rejected change places", function()
    for _, pair in ipairs { { 1.5, -0.25 }, { -3, 2 }, { 0.5, 0.5 } } do
      local a, b = pair[1], pair[2]
      local won, won_slope = rank({ a, b }, { 1, 2 }, { variant = "linear" })
      local lost, lost_slope = rank({ a, b }, { 2, 1 }, { variant = "linear" })
      assert.are.equal(won, -lost)
      assert.are.same({ -won_slope[1], -won_slope[2] }, lost_slope)
      won, won_slope = rank({ a, b }, { 1, 2 })
      lost, lost_slope = rank({ b, a }, { 2, 1 }) -- the same answers in the other order
      assert.are.equal(won, lost)
      assert.are.same({ won_slope[2], won_slope[1] }, lost_slope)
      -- -ln σ(d) + ln σ(-d) = -d
      lost = rank({ a, b }, { 2, 1 })
      assert.is_true(math.abs(won - lost + (a - b)) <= 1e-6)
    end
  end)

  it("does not see a number added to all scores of a set", function()
    local scores, ranks = { 0.5, -1.25, 2, 0.75 }, { 2, 4, 1, 2 }
    for _, ties in ipairs { "drop", "half" } do
      for _, variant in ipairs { "logsigmoid", "sigmoid", "linear" } do
        local opts = { ties = ties, variant = variant }
        local want, want_slope = rank(scores, ranks, opts)
        for _, c in ipairs { 1000, -4096, 0.25 } do
          local moved = {}
          for i, s in ipairs(scores) do
            moved[i] = s + c
          end
          local got, slope = rank(moved, ranks, opts)
          assert.are.equal(want, got)
          assert.are.same(want_slope, slope)
        end
        local sum = 0
        for _, v in ipairs(want_slope) do
          sum = sum + v
        end
        assert.is_true(math.abs(sum) <= 1e-7)
      end
    end
  end)

  it("does not depend on the order of a set's answers", function()
    local want = rank({ 0.5, -1.25, 2, 0.75 }, { 2, 4, 1, 2 })
    local got = rank({ 2, 0.75, -1.25, 0.5 }, { 1, 2, 4, 2 })
    assert.is_true(math.abs(want - got) <= 1e-7)
  end)
end)

-- ---- policy and reference -----------------------------------------------------------------------

describe("a policy", function()
  it("has KL exactly 0 and ratio exactly 1 to itself", function()
    toy.each(function(config)
      local model = toy.model(config)
      local ids = ALL[1]
      local logprob = logprobs(model, ids)
      for _, kind in ipairs { "k1", "k2", "k3" } do
        local kl = pl.kl_estimate(logprob, logprob:detach(), { kind = kind })
        assert.are.equal(0, kl:max():item())
        assert.are.equal(0, kl:min():item())
      end
      local _, stats = pl.ppo_loss(logprob, logprob:detach(), pick("advantage", ids))
      assert.are.same({ 0, 0, 1, 0, 1, 1 }, stats:totable())
      local packed, at = batch.pack(sequences), batch.targets(sequences, masks)
      local hidden = model:hidden(packed)
      local full = pl.kl_full(hidden, model:head(), hidden:detach(), model:head():detach(), at.rows)
      assert.are.equal(0, full:abs():max():item())
    end)
  end)

  it("at β = 0 has the gradient of no reference", function()
    local model = toy.model("llama")
    local want = in_parts("ppo", model, ALL)
    for _, kind in ipairs { "k1", "k2", "k3" } do
      local got = toy.gradients(model, function()
        local kl =
          pl.kl_estimate((logprobs(model, ALL[1])), pick("reference", ALL[1]), { kind = kind })
            :sum()
        local value = losses.ppo(model, ALL[1]) + kl * (0 / trained)
        value:backward()
      end)
      assert.is_true(toy.gradient_error(got, want) <= 2e-6)
    end
  end)
end)

-- ---- sampling and scoring, alone and in company -------------------------------------------------

toy.each(function(config)
  describe("generation of " .. config, function()
    local prompts = { { 1, 2, 3 }, { 4 }, { 5, 6, 7, 8, 9, 10 }, { 12, 13 }, { 14, 15, 16, 17 } }
    local keys = { 11, 12, 13, 14, 15 }

    local function opts(more)
      local all = { max_tokens = 12, temperature = 0.7, top_p = 0.9, seed = 3, stop = { 0, 36 } }
      for key, value in pairs(more or {}) do
        all[key] = value
      end
      return all
    end

    local function same(want, got)
      for _, field in ipairs {
        "tokens",
        "logprobs",
        "sampling_logprobs",
        "entropies",
        "finish_reason",
      } do
        assert.are.same(want[field], got[field])
      end
    end

    it("sampled at temperature 0.7 and top_p 0.9 scores again with ratio 1", function()
      local model = toy.model(config)
      local answers = pl.generate(model, prompts, opts { samples = 3, slots = 4 })
      local list, answer_masks, old = {}, {}, {}
      for i, answer in ipairs(answers) do
        list[i], answer_masks[i] = pl.data.join(prompts[answer.prompt], answer.tokens)
        table.move(answer.logprobs, 1, #answer.logprobs, #old + 1, old)
      end
      assert.is_true(#old > 60)
      local logprob = loss.logprobs(
        model,
        batch.pack(list),
        batch.targets(list, answer_masks),
        { temperature = 0.7 }
      )
      assert.are.same(old, logprob:totable())
      local _, stats = pl.ppo_loss(logprob, pl.tensor(old), pl.tensor(old))
      assert.are.same({ 0, 0, 1, 0, 1, 1 }, stats:totable())
    end)

    it("gives the distribution it sampled from: cut and made whole again", function()
      local model = toy.model(config)
      local guard <close> = pl.no_grad() -- luacheck: ignore
      for _, answer in ipairs(pl.generate(model, prompts, opts())) do
        local so_far = table.move(prompts[answer.prompt], 1, #prompts[answer.prompt], 1, {})
        for i, token in ipairs(answer.tokens) do
          local logits = model:logits(batch.pack { so_far })
          local p = (logits:slice(1, #so_far, #so_far) / 0.7):softmax():totable()[1]
          local order = pl.random.permutation(#p, 1, "laws")
          table.sort(order, function(a, b) return p[a] > p[b] end)
          local mass, inside = 0, false
          for _, id in ipairs(order) do
            mass = mass + p[id]
            inside = inside or id - 1 == token
            if mass >= 0.9 then break end
          end
          assert.is_true(inside)
          assert.is_true(
            math.abs(answer.sampling_logprobs[i] - math.log(p[token + 1] / mass)) <= 1e-5
          )
          assert.is_true(math.abs(answer.logprobs[i] - math.log(p[token + 1])) <= 1e-5)
          so_far[#so_far + 1] = token
        end
      end
    end)

    it("is the same alone, in a batch, in few slots and in another order", function()
      local alone = {}
      for i, prompt in ipairs(prompts) do -- a model of its own: nothing is warm
        alone[i] = pl.generate(toy.model(config), { prompt }, opts { keys = { keys[i] } })[1]
      end
      local model = toy.model(config)
      for _, slots in ipairs { 5, 2, 1, 64 } do
        local together = pl.generate(model, prompts, opts { keys = keys, slots = slots })
        for i in ipairs(prompts) do
          same(alone[i], together[i])
        end
      end
      local order = { 4, 2, 5, 1, 3 }
      local shuffled =
        pl.generate(model, batch.take(prompts, order), opts { keys = batch.take(keys, order) })
      for i, from in ipairs(order) do
        same(alone[from], shuffled[i])
      end
    end)

    it("is the same when K answers share a prefill, in few slots and with a warm cache", function()
      local model = toy.model(config)
      local want = pl.generate(toy.model(config), prompts, opts { keys = keys, samples = 4 })
      for _, slots in ipairs { 3, 20, 7 } do
        local got = pl.generate(model, prompts, opts { keys = keys, samples = 4, slots = slots })
        assert.are.equal(20, #got)
        for i in ipairs(want) do
          same(want[i], got[i])
        end
      end
      local first = pl.generate(model, prompts, opts { keys = keys })
      local distinct = {}
      for i, answer in ipairs(want) do
        if answer.sample == 1 then same(first[answer.prompt], answer) end
        distinct[answer.prompt .. ":" .. table.concat(answer.tokens, " ")] = i
      end
      local count = 0
      for _ in pairs(distinct) do
        count = count + 1
      end
      assert.is_true(count > 10) -- the answers of a prompt differ
    end)

    it("ends where the context does, each answer at its own place", function()
      local model = toy.model(config)
      local long = toy.sequences { 90, 4, 95, 60 }
      local answers = pl.generate(model, long, { max_tokens = 50, seed = 1 })
      for i, room in ipairs { 6, 50, 1, 36 } do
        assert.are.equal("length", answers[i].finish_reason)
        assert.are.equal(room, #answers[i].tokens)
      end
      local ok, message = pcall(pl.generate, model, toy.sequences { 96 })
      assert.is_false(ok)
      assert.truthy(message:find("prompt 1 has 96 tokens, the model's context is 96", 1, true))
    end)
  end)
end)
