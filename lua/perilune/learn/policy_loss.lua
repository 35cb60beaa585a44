--- Losses of a policy on its own answers, by their papers' names. Advantages are given; what the
-- methods differ in is where the ratio is taken, how it is clipped, and what the sum over tokens is
-- divided by.
--
--     ρ_t = e^(ln π(y_t) - ln π_old(y_t)),  clip(ρ) = min(max(ρ, 1-ε), 1+ε_high),  y of |y| tokens
--     surrogate of a token: S_t = -min(A ρ_t, A clip(ρ_t))            PPO, arXiv:1707.06347, eq. 7
--
--     grpo       1/B Σ_i 1/|y_i| Σ_t S_t                              arXiv:2402.03300, eq. 3
--     dr_grpo    1/(B L) Σ_i Σ_t S_t, L the longest answer allowed    arXiv:2503.20783, section 3.2
--     dapo       1/(Σ_i |y_i|) Σ_i Σ_t S_t, ε_high above ε            arXiv:2503.14476, eq. 8
--     gspo       1/B Σ_i S_i with the ratio (π(y)/π_old(y))^(1/|y|)   arXiv:2507.18071, eq. 5
--     rloo       1/B Σ_i S_i with the ratio π(y)/π_old(y)             arXiv:2402.14740, as in TRL
--     cispo      1/(Σ_i |y_i|) Σ_i Σ_t -sg(min(ρ_t, 1+ε_high)) A ln π(y_t)
--                                                                     arXiv:2506.13585, eq. 4
--     reinforce  1/B Σ_i Σ_t -A_t ln π(y_t)                           Williams 1992
--
-- sg: no gradient. All take the same arguments, so that a recipe may choose one by its name. The
-- divisor is that of a whole step (`policy_loss.norm`), so that micro-batches add up to it.

local core = require("perilune.core")
local nearest = require("perilune.base.nearest")
local options = require("perilune.base.options")

local policy_loss = {}

--- The names of the losses.
-- @type {string,...}
policy_loss.kinds = { "grpo", "dr_grpo", "dapo", "gspo", "rloo", "cispo", "reinforce" }

local of_loss = { norm = options.any(), cliprange = 0.2, cliprange_high = 0.0 }

-- What the sum is divided by, and whether a token's term is divided by the length of its answer.
local divisors = {
  grpo = { by = "answers", mean = true },
  dr_grpo = { by = "longest" },
  dapo = { by = "tokens" },
  gspo = { by = "answers", mean = true },
  rloo = { by = "answers" },
  cispo = { by = "tokens" },
  reinforce = { by = "answers" },
}

local function known(kind, level)
  if divisors[kind] then return divisors[kind] end
  local hint = nearest.hint(tostring(kind), policy_loss.kinds)
  error(("there is no policy loss '%s'%s"):format(tostring(kind), hint), level + 1)
end

--- What the losses of a step are divided by. Raises for a loss that is not known, and for a step of
-- no answers.
-- @tparam string kind one of `policy_loss.kinds`
-- @tparam {integer,...} lengths of the answers of the step, tokens
-- @tparam integer longest L: the longest answer that is allowed, tokens
-- @treturn number more than 0
function policy_loss.norm(kind, lengths, longest)
  local by = known(kind, 2).by
  if #lengths == 0 then error("policy_loss.norm: a step of no answers has no mean", 2) end
  if by == "answers" then return #lengths end
  if by == "longest" then return #lengths * longest end
  local tokens = 0
  for _, length in ipairs(lengths) do
    tokens = tokens + length
  end
  return tokens
end

-- 1/|y| for each token of an answer of |y| tokens: [N].
local function shares(segments, dtype)
  local lists, each = segments:totable(), {}
  for b = 1, #lists - 1 do
    each[b] = 1 / math.max(1, lists[b + 1] - lists[b])
  end
  return core.segment_repeat(core.tensor(each, dtype), segments)
end

--- A sum over tokens as a loss has it: of a KL term, or an entropy. Raises for a loss that is not
-- known.
-- @tparam string kind one of `policy_loss.kinds`
-- @tparam Tensor x [N], of each token
-- @tparam Tensor segments int32 [B+1], where each answer begins
-- @tparam number norm of `policy_loss.norm`
-- @treturn Tensor [], the sum
function policy_loss.spread(kind, x, segments, norm)
  if known(kind, 2).mean then x = core.segment_mean(x, segments) end
  return x:sum() / norm
end

-- The figures of ppo_loss where it is not the loss itself.
local function figures(logprob, old, advantages, opts)
  local guard <close> = core.no_grad()
  local clip = { cliprange = opts.cliprange, cliprange_high = opts.cliprange_high }
  local _, stats = core.ppo_loss(logprob:detach(), old, advantages, nil, clip)
  return stats
end

local function clipped(logprob, old, advantages, weights, opts)
  return core.ppo_loss(logprob, old, advantages, weights, {
    cliprange = opts.cliprange,
    cliprange_high = opts.cliprange_high,
    norm = opts.norm,
  })
end

local losses = {}

function losses.grpo(logprob, old, advantages, segments, opts)
  return clipped(logprob, old, advantages, shares(segments, logprob:dtype()), opts)
end

function losses.dapo(logprob, old, advantages, _, opts)
  return clipped(logprob, old, advantages, nil, opts)
end

losses.dr_grpo = losses.dapo

-- A ratio for each answer: of its tokens together, or their geometric mean.
local function of_answers(reduce)
  return function(logprob, old, advantages, segments, opts)
    local ratios = reduce(logprob - old, segments)
    local each = core.segment_mean(advantages, segments)
    return clipped(ratios, core.zeros({ #ratios }, ratios:dtype()), each, nil, opts)
  end
end

losses.gspo = of_answers(core.segment_mean)
losses.rloo = of_answers(core.segment_sum)

function losses.cispo(logprob, old, advantages, _, opts)
  local high = 1 + (opts.cliprange_high > 0 and opts.cliprange_high or opts.cliprange)
  local weight = (logprob:detach() - old):exp():clamp(0, high)
  return -(weight * advantages * logprob):sum() / opts.norm, figures(logprob, old, advantages, opts)
end

function losses.reinforce(logprob, old, advantages, _, opts)
  return -(advantages * logprob):sum() / opts.norm, figures(logprob, old, advantages, opts)
end

--- The loss of a name, to be minimised. Raises for a loss that is not known, and without `norm`.
-- @tparam string kind one of `policy_loss.kinds`
-- @tparam Tensor logprob [N], nats: of each token by the policy
-- @tparam Tensor old [N], nats: by the policy that sampled, constant
-- @tparam Tensor advantages [N], constant; gspo and rloo take the mean of an answer
-- @tparam Tensor segments int32 [B+1], where each answer begins; none is empty
-- @tparam table opts `norm` (required) of `policy_loss.norm`; `cliprange` (0.2) ε and
--   `cliprange_high` (0: as below) ε_high, of cispo the only one
-- @treturn Tensor [], the loss
-- @treturn Tensor [6]: approximate KL of the update, part that is clipped, mean, variance, least
--   and largest ratio; of tokens, or of answers for gspo and rloo
function policy_loss.of(kind, logprob, old, advantages, segments, opts)
  known(kind, 2)
  opts = options.take("policy_loss.of", opts, of_loss)
  if not opts.norm then error("policy_loss.of: opts.norm is missing; see policy_loss.norm", 2) end
  local loss, stats = losses[kind](logprob, old, advantages, segments, opts)
  return loss, stats
end

return policy_loss
