--- Advantages of groups and the losses of policies on their own answers: by numbers worked out by
-- hand, by plain Lua, and by PyTorch (tests/golden/make_policy_loss.py).

local pl = require("perilune")
local message_of = dofile("tests/lua/support/message_of.lua")

local advantage, policy_loss = pl.advantage, pl.policy_loss

local file = assert(io.open("tests/golden/policy_loss.json"))
local golden = pl.json.decode(file:read("a"))
file:close()

local function near(want, got, within)
  assert.are.equal(#want, #got)
  for i, value in ipairs(want) do
    local ok = math.abs(got[i] - value) <= (within or 1e-12)
    assert.is_true(ok, ("[%d] is %.15g, not %.15g"):format(i, got[i], value))
  end
end

describe("the advantage", function()
  it("of leave-one-out is the reward less the mean of the others", function()
    near({ 2, -2, 0, 0 }, advantage.leave_one_out({ 3, 1, 5, 5 }, 2))
    near({ 1, -0.5, -0.5 }, advantage.leave_one_out({ 1, 0, 0 }, 3))
  end)

  it("of a group is in its deviations, or as it is", function()
    -- of 1, 0, 0, 0: mean .25, deviation over 3: .5
    local want = { 0.75 / 0.5001, -0.25 / 0.5001, -0.25 / 0.5001, -0.25 / 0.5001 }
    near(want, advantage.group({ 1, 0, 0, 0 }, 4))
    near({ 0.75, -0.25, -0.25, -0.25 }, advantage.group({ 1, 0, 0, 0 }, 4, "none"))
    -- of 1, 0, 4, 2 as a batch: deviation over 3 of mean 1.75: sqrt(8.75 / 3)
    local whole = math.sqrt(8.75 / 3) + 1e-4
    near(
      { 0.5 / whole, -0.5 / whole, 1 / whole, -1 / whole },
      advantage.group({ 1, 0, 4, 2 }, 2, "batch")
    )
  end)

  it("is 0 where all rewards are equal, and such groups are counted", function()
    local rewards = { 0.1, 0.1, 0.1, 0, 1, 1, 7, 7, 7 }
    for _, scale in ipairs { "group", "none" } do
      local list = advantage.group(rewards, 3, scale)
      near({ 0, 0, 0, 0, 0, 0 }, { list[1], list[2], list[3], list[7], list[8], list[9] }, 1e-9)
    end
    local equal, count = advantage.equal_groups(rewards, 3)
    assert.are.same({ true, false, true }, equal)
    assert.are.equal(2, count)
    assert.are.same({ {}, 0 }, { advantage.equal_groups({}, 3) })
  end)

  it("over a running mean moves it by what is left of the decay", function()
    local list, baseline = advantage.running({ 1, 3 }, nil, 0.9)
    near({ -1, 1, 2 }, { list[1], list[2], baseline })
    list, baseline = advantage.running({ 4, 6 }, baseline, 0.75)
    near({ 2, 4, 0.75 * 2 + 0.25 * 5 }, { list[1], list[2], baseline })
    local after = select(2, advantage.running({ 0 / 0, 1 }, baseline, 0.9))
    assert.are.equal(baseline, after) -- such a batch is left out, and no later one
    assert.is_nil((select(2, advantage.running({ math.huge }, nil, 0.9))))
  end)

  it("refuses a group of one, and rewards that are no whole groups", function()
    local message = message_of(advantage.leave_one_out, { 1, 2 }, 1)
    assert.truthy(message:find("a group has 1 answers, at least 2 are wanted", 1, true), message)
    message = message_of(advantage.group, { 1, 2, 3 }, 2)
    assert.truthy(message:find("3 rewards are no whole groups of 2", 1, true), message)
  end)

  it("has PyTorch's numbers", function()
    near(golden.advantages.leave_one_out, advantage.leave_one_out(golden.rewards, golden.k))
    for _, scale in ipairs { "group", "batch", "none" } do
      near(golden.advantages[scale], advantage.group(golden.rewards, golden.k, scale))
    end
  end)
end)

-- The golden's answers, as the losses take them.
local offsets = { 0 }
for b, length in ipairs(golden.lengths) do
  offsets[b + 1] = offsets[b] + length
end
local segments = pl.tensor(offsets, "int32")
local each = golden.advantages.group
local old = pl.tensor(golden.old, "float64")
local advantages = pl.segment_repeat(pl.tensor(each, "float64"), segments)

local function value_of(kind, more)
  local opts = {
    norm = policy_loss.norm(kind, golden.lengths, golden.longest),
    cliprange = golden.cliprange,
    cliprange_high = golden.cliprange_high,
  }
  for key, value in pairs(more or {}) do
    opts[key] = value
  end
  local logprob = pl.tensor(golden.logprob, "float64"):requires_grad(true)
  local loss, stats = policy_loss.of(kind, logprob, old, advantages, segments, opts)
  loss:backward()
  return loss:item(), logprob:grad():totable(), stats:totable()
end

-- The same in plain numbers, from the equations of the module's head.
local function by_hand(kind)
  local low, high = 1 - golden.cliprange, 1 + golden.cliprange_high
  local function surrogate(ratio, a)
    return -math.min(a * ratio, a * math.max(low, math.min(high, ratio)))
  end
  local total, tokens = 0, 0
  for b, length in ipairs(golden.lengths) do
    local sum, differences, a = 0, 0, each[b]
    for t = offsets[b] + 1, offsets[b + 1] do
      local d = golden.logprob[t] - golden.old[t]
      differences = differences + d
      if kind == "cispo" then
        sum = sum - math.min(high, math.exp(d)) * a * golden.logprob[t]
      elseif kind == "reinforce" then
        sum = sum - a * golden.logprob[t]
      else
        sum = sum + surrogate(math.exp(d), a)
      end
    end
    if kind == "gspo" then sum = surrogate(math.exp(differences / length), a) end
    if kind == "rloo" then sum = surrogate(math.exp(differences), a) end
    total, tokens = total + (kind == "grpo" and sum / length or sum), tokens + length
  end
  local b = #golden.lengths
  local divisors = { dr_grpo = b * golden.longest, dapo = tokens, cispo = tokens }
  return total / (divisors[kind] or b)
end

describe("the policy loss", function()
  for _, kind in ipairs(policy_loss.kinds) do
    it(kind .. " is its equation, and PyTorch's in value and gradient", function()
      local loss, grad = value_of(kind)
      near({ by_hand(kind), golden.losses[kind].loss }, { loss, loss }, 1e-12)
      near(golden.losses[kind].grad, grad, 1e-12)
    end)

    it(kind .. " of a batch is the sum of its parts", function()
      local norm, sum = policy_loss.norm(kind, golden.lengths, golden.longest), 0
      for b = 1, #golden.lengths do
        local from, count = offsets[b], golden.lengths[b]
        local function part(list)
          return pl.tensor(table.move(list, from + 1, from + count, 1, {}), "float64")
        end
        local one = pl.tensor({ 0, count }, "int32")
        local a = pl.segment_repeat(pl.tensor({ each[b] }, "float64"), one)
        local opts = { norm = norm, cliprange = golden.cliprange }
        opts.cliprange_high = golden.cliprange_high
        local loss = policy_loss.of(kind, part(golden.logprob), part(golden.old), a, one, opts)
        sum = sum + loss:item()
      end
      near({ golden.losses[kind].loss }, { sum }, 1e-12)
    end)

    it(kind .. " of the policy that sampled has the gradient of -A ln π, and ratio 1", function()
      local logprob = old:clone():requires_grad(true)
      local opts = { norm = policy_loss.norm(kind, golden.lengths, golden.longest) }
      local loss, stats = policy_loss.of(kind, logprob, old, advantages, segments, opts)
      loss:backward()
      local want = pl.tensor(golden.old, "float64"):requires_grad(true)
      policy_loss.spread(kind, -advantages * want, segments, opts.norm):backward()
      near(want:grad():totable(), logprob:grad():totable(), 1e-12)
      near({ 0, 0, 1, 0 }, table.move(stats:totable(), 1, 4, 1, {}), 1e-12)
    end)
  end

  it("spreads a term over tokens as the loss does", function()
    local x = pl.tensor({ 1, 2, 6, 10, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0 }, "float64")
    for kind, want in pairs {
      grpo = (3 + 10 + 1) / 6,
      gspo = (3 + 10 + 1) / 6,
      dr_grpo = 24 / 36,
      dapo = 24 / 17,
      rloo = 24 / 6,
    } do
      local norm = policy_loss.norm(kind, golden.lengths, golden.longest)
      near({ want }, { policy_loss.spread(kind, x, segments, norm):item() })
    end
  end)

  it("of REINFORCE++ has the reward to go of each token, normalised over all", function()
    local kl = pl.tensor(golden.logprob, "float64") - old
    local at_end = pl.zeros({ #kl }, "float64")
    for b, reward in ipairs(golden.rewards) do
      at_end:set(offsets[b + 1], reward)
    end
    local to_go = pl.reverse_scan(at_end - kl * golden.beta, segments)
    near(golden.reinforce_plus_plus, pl.rollout.whiten(to_go, true):totable(), 1e-7)
  end)

  it("says what it does not know", function()
    local message = message_of(policy_loss.norm, "gpro", { 1 }, 1)
    assert.truthy(
      message:find("there is no policy loss 'gpro'; did you mean 'grpo'?", 1, true),
      message
    )
    message = message_of(policy_loss.of, "grpo", old, old, advantages, segments, {})
    assert.truthy(message:find("opts.norm is missing", 1, true), message)
    for _, kind in ipairs { "dapo", "grpo", "dr_grpo" } do
      local told = message_of(policy_loss.norm, kind, {}, 9)
      assert.are.equal("policy_loss.norm: a step of no answers has no mean", told)
    end
  end)
end)

-- What TRL's own trainers make of the same log-probs (tests/golden/make_trl.py).
describe("TRL's loss", function()
  local own = assert(io.open("tests/golden/trl.json"))
  local trl = pl.json.decode(own:read("a"))
  own:close()

  -- Loss and gradient over the answers that are kept: the others have length 0.
  local function kept(kind, is_left_out)
    local lengths, rows, ends, list = {}, {}, { 0 }, {}
    for b, length in ipairs(golden.lengths) do
      lengths[b] = is_left_out[b] and 0 or length
      if not is_left_out[b] then
        for t = offsets[b], offsets[b + 1] - 1 do
          rows[#rows + 1], list[#list + 1] = t, each[b]
        end
        ends[#ends + 1] = #rows
      end
    end
    local logprob = pl.tensor(golden.logprob, "float64"):requires_grad(true)
    local norm = policy_loss.norm(kind, lengths, golden.longest)
    local clip = { norm = norm, cliprange = golden.cliprange }
    clip.cliprange_high = golden.cliprange_high
    local now, before = pl.gather(logprob, rows), pl.gather(old, rows)
    local at = pl.tensor(ends, "int32")
    local loss = policy_loss.of(kind, now, before, pl.tensor(list, "float64"), at, clip)
    return loss, logprob, norm
  end

  for kind, case in pairs(trl.cases) do
    it("of " .. kind .. " is this one, in value and gradient", function()
      local loss, logprob = kept(kind, {})
      loss:backward()
      near({ case.plain.loss }, { loss:item() })
      near(case.plain.grad, logprob:grad():totable())
    end)

    it("of " .. kind .. " is this one where truncated answers are masked", function()
      local is_left_out, constant = {}, 0
      for _, b in ipairs(trl.truncated) do
        is_left_out[b] = true
        -- in RLOO a masked answer has ratio 1 there: a constant in its loss
        if kind == "rloo" then constant = constant - each[b] / #golden.lengths end
      end
      local loss, logprob = kept(kind, is_left_out)
      loss:backward()
      near({ case.masked.loss }, { loss:item() + constant })
      near(case.masked.grad, logprob:grad():totable())
    end)

    if case.kl and kind ~= "gspo" then
      it("of " .. kind .. " has the KL to the reference as here", function()
        local loss, logprob, norm = kept(kind, {})
        local reference = pl.tensor(trl.reference, "float64")
        local kl = pl.kl_estimate(logprob, reference, { kind = "k3" })
        loss = loss + policy_loss.spread(kind, kl, segments, norm) * trl.beta
        loss:backward()
        near({ case.kl.loss }, { loss:item() })
        near(case.kl.grad, logprob:grad():totable())
      end)
    end
  end
end)
