--- Training when memory runs out: every allocation of a step fails in turn. Each time there must be
-- a Lua error that says so, nothing may leak, and the same work must then succeed with the same
-- result. Also: what was freed cannot be used.
--
-- The quick suite takes every 37th allocation; the long one (#long) all.

local pl = require("perilune")
local toy = dofile("tests/lua/support/toy.lua")

local batch, loss = pl.batch, pl.loss

--- All garbage gone: memory in use now.
local function live()
  collectgarbage()
  collectgarbage()
  return pl.mem().live
end

local sequences = toy.sequences { 9, 4, 14, 6 }
local masks = toy.answer_masks(sequences, 2)

--- Three steps of supervised fine-tuning on a fresh model; its hash.
local function sft(name)
  local model = toy.model(name)
  local optimizer = pl.adamw(model.block)
  for step = 1, 3 do
    local scope <close> = pl.scope("fault.sft")
    model.block:zero_grad()
    for _, ids in ipairs { { 1, 2 }, { 3, 4 } } do
      local micro <close> = pl.scope("fault.micro") -- luacheck: ignore
      loss
        .lm(
          model,
          batch.take(sequences, ids),
          batch.take(masks, ids),
          { norm = 20, checkpoint = step == 2, dropout = { p = 0.1, seed = 3, index = step } }
        )
        :backward()
    end
    optimizer:step { lr = 0.01, max_grad_norm = 1, weight_decay = 0.1 }
  end
  return model:hash()
end

--- Three steps of PPO on a fresh model: rollout, reference, values, advantages, both losses.
local function ppo(name)
  local policy = toy.model(name)
  local reference = policy:copy():freeze()
  local value = toy.model(name, { scalar_head = true })
  local optimizer, value_optimizer = pl.adamw(policy.block), pl.adamw(value.block)
  local prompts = { { 1, 2, 3 }, { 4, 5 } }
  for step = 1, 3 do
    local scope <close> = pl.scope("fault.ppo")
    local answers = pl.generate(policy, prompts, {
      max_tokens = 5,
      samples = 2,
      seed = step,
      slots = 3,
      top_p = 0.9,
    })
    local list, answer_masks, old, last = {}, {}, {}, {}
    for i, answer in ipairs(answers) do
      list[i], answer_masks[i] = pl.data.join(prompts[answer.prompt], answer.tokens)
      table.move(answer.logprobs, 1, #answer.logprobs, #old + 1, old)
      for t, token in ipairs(answer.tokens) do
        last[#last + 1] = t == #answer.tokens and token / 10 or 0
      end
    end
    local packed, at = batch.pack(list), batch.targets(list, answer_masks)
    local ref, values
    do
      local guard <close> = pl.no_grad() -- luacheck: ignore
      ref = loss.logprobs(reference, packed, at)
      values = pl.gather(value:scores(packed), at.rows)
    end
    local rewards = pl.tensor(last) - pl.kl_estimate(pl.tensor(old), ref) * 0.1
    local advantages = pl.reverse_scan(rewards - values, at.segments, { decay = 0.95 })
    policy.block:zero_grad()
    value.block:zero_grad()
    local logprob, entropy = loss.logprobs(policy, packed, at)
    local total = pl.ppo_loss(logprob, pl.tensor(old), advantages)
    total = total - entropy:mean() * 0.01
    total:backward()
    local predicted = pl.gather(value:scores(packed), at.rows)
    local vf = pl.value_loss(predicted, values, advantages + values)
    vf:backward()
    loss.lm(policy, sequences, masks):backward()
    optimizer:step { lr = 0.01, max_grad_norm = 1 }
    value_optimizer:step { lr = 0.01 }
  end
  return policy:hash() .. value:hash()
end

--- Every stride-th allocation of three steps fails, once or from there on.
local function hold(loop, name, forever, stride)
  local want = loop(name)
  local before = live()
  local calls = pl.mem().calls
  assert.are.equal(want, loop(name))
  calls = pl.mem().calls - calls
  assert.are.equal(before, live())
  assert.is_true(calls > 500)
  local failed = 0
  for k = 1, calls, stride do
    pl.mem_fail_at(k, forever)
    local ok, message = pcall(loop, name)
    pl.mem_fail_at(0)
    if ok then -- one failure may be survived: garbage is collected and the call made again
      assert.is_false(forever, "allocation " .. k)
      assert.are.equal(want, message)
    else
      failed = failed + 1
      assert.truthy(
        tostring(message):find("not enough memory", 1, true),
        ("allocation %d: %s"):format(k, message)
      )
    end
    message = nil -- luacheck: ignore
    assert.is_true(pl.grad_enabled(), "the tape is still on")
    assert.are.equal(before, live(), "allocation " .. k)
  end
  assert.is_true(failed > calls / stride / 2)
  assert.are.equal(want, loop(name))
  assert.are.equal(before, live())
end

for loop_name, loop in pairs { SFT = sft, PPO = ppo } do
  for _, name in ipairs { "llama", "gpt2" } do
    describe(("three steps of %s, %s, when memory runs out"):format(loop_name, name), function()
      after_each(function() pl.mem_fail_at(0) end)

      for way, forever in pairs { ["once"] = false, ["for good"] = true } do
        for length, stride in pairs { ["now and then"] = 37, ["at every allocation #long"] = 1 } do
          it(
            ("fail with an error, leak nothing and work afterwards: %s, %s"):format(way, length),
            function() hold(loop, name, forever, stride) end
          )
        end
      end
    end)
  end
end

describe("a limit on memory", function()
  it("is kept, said, and may be lifted", function()
    local want, before = sft("llama"), live()
    pl.mem_limit(before + 300000)
    local ok, message = pcall(sft, "llama")
    local peak_kept = pl.mem().live <= before + 300000
    pl.mem_limit(0)
    assert.is_false(ok)
    assert.is_true(peak_kept)
    assert.truthy(message:find("not enough memory", 1, true))
    assert.truthy(message:find("limit " .. before + 300000, 1, true))
    message = nil -- luacheck: ignore
    assert.are.equal(before, live())
    assert.are.equal(want, sft("llama"))
  end)
end)

describe("a freed tensor", function()
  local function refused(fn, ...)
    local ok, message = pcall(fn)
    assert.is_false(ok)
    for _, piece in ipairs { ... } do
      assert.truthy(message:find(piece, 1, true), message)
    end
  end

  it("is an error that names it and the scope it died with", function()
    local t
    do
      local scope <close> = pl.scope("rollout 7")
      t = pl.full({ 2, 3 }, 1.5):name("advantages")
    end
    assert.is_false(t:alive())
    assert.are.same({ 2, 3 }, t:shape()) -- what needs no data is still known
    for _, use in ipairs {
      function() return t + 1 end,
      function() return t:sum() end,
      function() return t:item() end,
      function() return t:totable() end,
      function() return t:get(1, 1) end,
      function() return t:bytes() end,
      function() return t:clone() end,
      function() return t:view { 6 } end,
      function() return t:fill_(0) end,
      function() return t:copy_(pl.zeros { 2, 3 }) end,
      function() return pl.zeros({ 2, 3 }):copy_(t) end,
      function() return t:backward() end,
      function() return pl.concat { pl.zeros { 2, 3 }, t } end,
    } do
      refused(use, "advantages", "rollout 7")
    end
  end)

  it("is one as well when it was freed by hand, or by a scope further out", function()
    local t = pl.zeros({ 4 }):name("scores")
    t:free()
    refused(function() return t * 2 end, "scores")
    local inner
    do
      local outer <close> = pl.scope("outer room") -- luacheck: ignore
      do
        local scope <close> = pl.scope("inner room")
        inner = pl.zeros({ 4 }):name("kept once"):keep()
      end
      assert.is_true(inner:alive())
    end
    refused(function() return inner * 2 end, "kept once", "outer room")
  end)

  it("is not what was kept for good", function()
    local t
    do
      local scope <close> = pl.scope("room")
      t = pl.full({ 2 }, 3):keep(true)
    end
    assert.are.same({ 3, 3 }, t:totable())
  end)
end)
