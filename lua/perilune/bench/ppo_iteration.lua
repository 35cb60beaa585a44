--- One iteration of PPO as recipes/ppo.lua makes it, for `perilune bench`: answers by the policy,
-- the reference's log-probs, a reward model's scores, values; rewards and advantages; one epoch of
-- four minibatches that train policy and value model. No metrics, files or averages.
-- tests/bench/peer_ppo.py is the same loop in plain PyTorch.

local optimizer = require("perilune.learn.optimizer")
local core = require("perilune.core")
local generate = require("perilune.model.generate")
local loss = require("perilune.learn.loss")
local model_of = require("perilune.model")
local random = require("perilune.base.random")
local rollout = require("perilune.learn.rollout")

local ppo_iteration = {}

local MINI_BATCHES <const> = 4
local ADAMW <const> = { lr = 1e-5, max_grad_norm = 1 }

-- Gradients of policy and value model over the answers `chosen`, then a step of each.
local function minibatch(roles, roll, chosen, per_token)
  local scope <close> = core.scope("ppo.minibatch")
  local tokens = 0
  for _, b in ipairs(chosen) do
    tokens = tokens + roll.lengths[b]
  end
  roles.policy.block:zero_grad()
  roles.value.block:zero_grad()
  local packed, at, of = rollout.take(roll, chosen, per_token)
  local logprob = loss.logprobs(roles.policy, packed, at)
  local pg = core.ppo_loss(logprob, of.old, of.advantages, nil, { cliprange = 0.2, norm = tokens })
  pg:backward()
  local values = core.gather(roles.value:scores(packed), at.rows)
  local vf = core.value_loss(values, of.values, of.returns, nil, { cliprange = 0.2, norm = tokens })
  local scaled = vf * 0.1
  scaled:backward()
  roles.policy_optimizer:step(ADAMW)
  roles.value_optimizer:step(ADAMW)
end

--- Four roles of one shape.
-- @tparam table shape a config
-- @tparam ?table opts of perilune.model.new
-- @treturn table roles
function ppo_iteration.roles(shape, opts)
  local policy = model_of.new(shape, opts)
  local reward = policy:copy { scalar_head = true, seed = 2 }
  return {
    policy = policy,
    reference = policy:copy():freeze(),
    reward = reward:freeze(),
    value = policy:copy { scalar_head = true, seed = 3 },
  }
end

--- One iteration.
-- @tparam table roles of ppo_iteration.roles; gets its optimizers at first use
-- @tparam {{integer,...},...} questions
-- @tparam integer length of each answer
-- @tparam integer iteration names the random streams
function ppo_iteration.run(roles, questions, length, iteration)
  local scope <close> = core.scope("ppo.iteration")
  roles.policy_optimizer = roles.policy_optimizer or optimizer.adamw(roles.policy.block)
  roles.value_optimizer = roles.value_optimizer or optimizer.adamw(roles.value.block)
  local answers =
    generate.generate(roles.policy, questions, { max_tokens = length, seed = iteration })
  local roll = rollout.new(questions, answers)
  local scores = loss.sequence_scores(roles.reward, roll.parts):totable()
  local reference = loss.sequence_logprobs(roles.reference, roll.parts)
  local old_values = loss.sequence_values(roles.value, roll.parts)
  local penalty = core.kl_estimate(roll.old, reference, { kind = "k1" }) * -0.05
  local rewards = rollout.rewards(penalty, scores, roll.segments)
  local advantages, returns = rollout.gae(rewards, old_values, roll, 1, 0.95)
  local per_token = {
    old = roll.old,
    values = old_values,
    advantages = rollout.whiten(advantages, true),
    returns = returns,
  }
  local order = random.permutation(#questions, 1, "bench.order", iteration)
  local size = #questions // MINI_BATCHES
  for mini = 1, MINI_BATCHES do
    local chosen = table.move(order, (mini - 1) * size + 1, mini * size, 1, {})
    minibatch(roles, roll, chosen, per_token)
  end
end

--- Sizes of a batch that has too few questions for the minibatches are an error.
-- @tparam integer count of questions
function ppo_iteration.check(count)
  if count < MINI_BATCHES or count % MINI_BATCHES ~= 0 then
    error(("%d prompts: a multiple of %d wanted"):format(count, MINI_BATCHES), 0)
  end
end

return ppo_iteration
