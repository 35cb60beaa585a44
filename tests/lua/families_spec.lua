--- Every family against transformers on a tiny model (tests/golden/families, made by
-- make_families.py), with configs as transformers 4 and 5 write them; and its own laws: packed as
-- alone, decoded as scored, written as read.

local pl = require("perilune")
local registry = require("perilune.model.families")
local scratch = dofile("tests/lua/support/scratch.lua")
local support = dofile("tests/lua/support/families.lua")
local toy = dofile("tests/lua/support/toy.lua")

teardown(scratch.clean)

local function logits(model, sequences)
  local guard <close> = pl.no_grad() -- luacheck: ignore
  return model:logits(pl.batch.pack(sequences))
end

local function copied(t)
  local result = {}
  for key, value in pairs(t) do
    result[key] = value
  end
  return result
end

for _, name in ipairs(support.names()) do
  describe("the family's " .. name, function()
    local case = support.read(name)
    local sequences = support.sequences(case.config4.vocab_size)
    local model = support.model(copied(case.config4))

    it("has transformers' logits, from both spellings of its config", function()
      local want = case.tensors.logits
      for dtype, bound in pairs { float32 = 2e-5, float64 = 1e-5 } do
        for _, config in ipairs { case.config4, case.config5 } do
          local err = toy.max_error(logits(support.model(copied(config), dtype), sequences), want)
          assert.is_true(err <= bound, ("%s: %.3g"):format(dtype, err))
        end
      end
    end)

    it("has transformers' gradient of every parameter", function()
      if not case.tensors["g." .. next(registry.to_file(model.spec, model.weights))] then return end
      for _, dtype in ipairs { "float32", "float64" } do
        local other = support.model(copied(case.config4), dtype)
        local grads, got, want = {}, {}, {}
        for _, entry in
          ipairs(toy.gradients(other, function() pl.loss.lm(other, sequences):backward() end))
        do
          grads[entry[1]] = entry[2]
        end
        for key, grad in pairs(registry.to_file(other.spec, grads)) do
          got[#got + 1] = { key, grad }
          want[#want + 1] = { key, assert(case.tensors["g." .. key], key) }
        end
        local err, where = toy.gradient_error(got, want)
        assert.is_true(err <= 1e-5, ("%s %s: %.3g"):format(dtype, where, err))
        local kept = 0
        for _ in pairs(case.tensors) do
          kept = kept + 1
        end
        assert.are.equal(kept - 1, #got) -- and the logits
      end
    end)

    it("gives a sequence the same bits alone and among others", function()
      local at, all = 0, logits(model, sequences)
      for _, sequence in ipairs(sequences) do
        local alone = logits(model, { sequence })
        assert.is_true(alone:bytes() == all:slice(1, at + 1, at + #sequence):bytes())
        at = at + #sequence
      end
    end)

    it("decodes with the log-probs that it scores with", function()
      local guard <close> = pl.no_grad() -- luacheck: ignore
      local prompts = { sequences[1], sequences[2], sequences[4] }
      local answers = pl.generate(model, prompts, { max_tokens = 8, samples = 2, seed = 3 })
      for i = 1, #answers do
        local answer = answers[i]
        local whole = table.move(prompts[answer.prompt], 1, #prompts[answer.prompt], 1, {})
        table.move(answer.tokens, 1, #answer.tokens, #whole + 1, whole)
        local mask = {}
        for t = 1, #whole do
          mask[t] = t > #prompts[answer.prompt] and 1 or 0
        end
        local scored =
          pl.loss.logprobs(model, pl.batch.pack { whole }, pl.batch.targets({ whole }, { mask }))
        assert.are.same(answer.logprobs, scored:totable())
      end
    end)

    it("has the same bits when it is written and read again", function()
      local folder = scratch.folder()
      assert(model:write(folder))
      local again = assert(pl.load(folder))
      assert.are.equal(model:hash(), again:hash())
      assert.is_true(logits(model, sequences):bytes() == logits(again, sequences):bytes())
      local scores = model:copy { scalar_head = true, seed = 4 }
      folder = scratch.folder()
      assert(scores:write(folder))
      again = assert(pl.load(folder))
      local packed = pl.batch.pack(sequences)
      assert.are.equal(scores:scores(packed):bytes(), again:scores(packed):bytes())
    end)
  end)
end
