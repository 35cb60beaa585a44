--- Vocabularies of many spans and parts: rows of logits read piece by piece, losses over a head in
-- bfloat16 whose logits never come to memory, and the first ratio of PPO through both.

local pl = require("perilune")
local toy = dofile("tests/lua/support/toy.lua")

local batch, loss = pl.batch, pl.loss
local inf <const> = math.huge

--- ln p of every entry and the entropy of one row of logits, by the formulas, in double.
local function by_hand(logits, temperature)
  local peak, total, entropy, logprobs = -inf, 0, 0, {}
  for _, z in ipairs(logits) do
    peak = math.max(peak, z)
  end
  for _, z in ipairs(logits) do
    total = total + math.exp((z - peak) / temperature)
  end
  for i, z in ipairs(logits) do
    logprobs[i] = (z - peak) / temperature - math.log(total)
    local p = math.exp(logprobs[i])
    if p > 0 then entropy = entropy - p * logprobs[i] end
  end
  return logprobs, entropy
end

-- Rows of logits as a head of width 1 makes them, exactly.
local rows_of_logits <const> = {
  ["falling from the first entry"] = function(i) return -i / 64 end,
  ["rising to the last one"] = function(i) return i / 64 end,
  ["one peak in the middle"] = function(i) return i == 1501 and 40 or 0 end,
  ["all equal"] = function() return -3 end,
  ["spans far below others"] = function(i) return i < 1200 and -2000 or i % 7 end,
  ["spans that cannot be"] = function(i) return (i < 1024 or i > 2048) and -inf or i % 5 end,
  ["of large size"] = function(i) return 1e30 - (i % 3) * 1e25 end,
}

describe("a row of 3,001 logits", function()
  for name, fn in pairs(rows_of_logits) do
    it("has the log-probs and the entropy of the formulas: " .. name, function()
      local values = {}
      for i = 1, 3001 do
        values[i] = { fn(i) + 0.0 }
      end
      local head, hidden = pl.tensor(values), pl.tensor { { 1.0 } }
      for _, temperature in ipairs { 1, 0.7, 2.5 } do
        local exact = {}
        for i, value in ipairs(head:totable()) do
          exact[i] = value[1]
        end
        local logprobs, entropy = by_hand(exact, temperature)
        for _, target in ipairs { 0, 511, 1500, 3000 } do
          local got, h = pl.logprob(hidden, head, { 0 }, { target }, { temperature = temperature })
          local want = logprobs[target + 1]
          if want > -inf then
            assert.is_true(math.abs(got:item() - want) <= 1e-6 * math.max(1, math.abs(want)))
          else
            assert.are.equal(-inf, got:item())
          end
          assert.is_true(math.abs(h:item() - entropy) <= 2e-6 * math.max(1, entropy))
        end
      end
    end)
  end

  it("that holds no number has no log-prob", function()
    local values = {}
    for i = 1, 3001 do
      values[i] = { i == 2000 and 0 / 0 or 1.0 }
    end
    local logprob = pl.logprob(pl.tensor { { 1.0 } }, pl.tensor(values), { 0 }, { 5 })
    assert.is_true(logprob:item() ~= logprob:item())
  end)
end)

-- ---- losses over a head in bfloat16 -------------------------------------------------------------

local V <const>, C <const>, N <const> = 8309, 37, 300

local function randn(purpose, ...)
  local t = pl.randn({ ... }, { seed = 32, purpose = purpose })
  return t
end

local rows, targets, weights = {}, {}, {}
for i = 1, N do
  rows[i], targets[i] = (i * 7) % 283, (i * 2711) % V -- some rows repeat, some are not taken
  weights[i] = i % 5 == 0 and 0.0 or 1 / i
end

local losses <const> = {
  cross_entropy = function(f, h, w)
    return f(h, w, rows, targets, pl.tensor(weights), {
      precision = "bf16",
      scale = 0.25,
      softcap = 3,
    })
  end,
  logprob = function(f, h, w)
    local given = { precision = "bf16", temperature = 0.8 }
    local logprob, entropy = f(h, w, rows, targets, given)
    return (logprob * pl.tensor(weights)):sum() + entropy:sum() * 0.01
  end,
}

--- The loss and the gradients, with `before` there already.
local function ends_of(name, f, before)
  local h = randn(1, 290, C):requires_grad(true)
  local w = (randn(2, V, C) * 0.4):detach():requires_grad(true)
  if before then (w * 0.5):sum():backward() end
  local value = losses[name](f, h, w)
  value:backward()
  return { value:detach(), h:grad(), w:grad() }
end

describe("a large vocabulary in bfloat16", function()
  for name in pairs(losses) do
    it("has its twin's loss and gradients: " .. name, function()
      for _, before in ipairs { false, true } do
        local got, want = ends_of(name, pl[name], before), ends_of(name, pl.twins[name], before)
        for i, bound in ipairs { 2e-6, 0.004, 0.004 } do
          local err = toy.relative_error(got[i], want[i])
          assert.is_true(err <= bound, ("%s, %d: %.3g"):format(name, i, err))
        end
      end
    end)

    it("has the same bits on any number of threads: " .. name, function()
      local former, all = pl.threads(), {}
      for i, n in ipairs { 1, 2, 3, 24 } do
        pl.threads(n)
        all[i] = ends_of(name, pl[name])
      end
      pl.threads(former)
      for i = 2, #all do
        for k = 1, 3 do
          assert.are.equal(all[1][k]:bytes(), all[i][k]:bytes())
        end
      end
    end)
  end

  it("reads a row alone as among others, and sends it the same gradient", function()
    local w = (randn(2, V, C) * 0.4):detach()
    local all = randn(1, 290, C):requires_grad(true)
    local logprob, entropy = pl.logprob(all, w, rows, targets, { precision = "bf16" })
    logprob:sum():backward()
    for _, i in ipairs { 1, 257, 300 } do
      local one = all:detach():slice(1, rows[i] + 1, rows[i] + 1):detach():requires_grad(true)
      local p, h = pl.logprob(one, w, { 0 }, { targets[i] }, { precision = "bf16" })
      assert.are.equal(logprob:get(i), p:item())
      assert.are.equal(entropy:get(i), h:item())
      p:backward()
      if i == 257 then -- taken once
        local among = all:grad():slice(1, rows[i] + 1, rows[i] + 1)
        assert.are.equal(among:bytes(), one:grad():bytes())
      end
    end
  end)

  it("takes no rows", function()
    local h = randn(1, 4, C):requires_grad(true)
    local w = randn(2, V, C):requires_grad(true)
    local none = pl.tensor({}, "int32")
    local value = pl.cross_entropy(h, w, none, none, nil, { precision = "bf16" })
    value:backward()
    assert.are.equal(0, value:item())
    assert.are.equal(0, h:grad():abs():sum():item())
    assert.are.equal(0, w:grad():abs():sum():item())
  end)

  it("keeps what a silent row holds to itself", function()
    local h = randn(1, 3, C)
    for k = 1, C do
      h:set(2, k, 0 / 0)
    end
    h:requires_grad(true)
    local w = (randn(2, V, C) * 0.4):detach():requires_grad(true)
    local given = { precision = "bf16" }
    pl.cross_entropy(h, w, { 0, 1 }, { 3, 4 }, pl.tensor { 1.0, 0.0 }, given):backward()
    local sum = w:grad():sum():item()
    assert.are.equal(sum, sum)
    assert.are.equal(0, h:grad():slice(1, 2, 2):abs():sum():item())
  end)
end)

-- ---- the first ratio ----------------------------------------------------------------------------

describe("the first ratio of a large vocabulary", function()
  for _, precision in ipairs { "float32", "bf16" } do
    it("is 1 in " .. precision, function()
      local config = {}
      for key, value in pairs(toy.configs["llama, tied, interleaved"]) do
        config[key] = value
      end
      config.vocab_size = V
      local policy = pl.model.new(config, { seed = 3, precision = precision })
      local prompts = { { 1, 2, 3 }, { 8000 }, { 5, 6, 7, 8, 9, 10 } }
      local answers = pl.generate(policy, prompts, {
        max_tokens = 12,
        temperature = 0.8,
        samples = 2,
        seed = 6,
      })
      local list, masks = {}, {}
      for i, answer in ipairs(answers) do
        list[i], masks[i] = pl.data.join(prompts[answer.prompt], answer.tokens)
      end
      local packed, at = batch.pack(list), batch.targets(list, masks)
      local logprob, entropy = loss.logprobs(policy, packed, at, { temperature = 0.8 })
      assert.are.equal(answers.logprobs:bytes(), logprob:detach():bytes())
      assert.are.equal(answers.entropies:bytes(), entropy:detach():bytes())
    end)
  end
end)
