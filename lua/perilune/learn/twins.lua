--- Readable twins of the fused kernels: the same mathematics made of primitive ops, with the
-- equation beside it. The place to experiment; the kernel is the place to be fast. A test holds
-- kernel, twin and numeric gradient together on random, extreme and degenerate inputs.
--
-- Every twin takes the arguments of its kernel and gives its first result.

local pl = require("perilune.core")

local twins = {}

-- x with the values of the bfloat16 next to it and the slope of x. (x + (r - x) is r to the bit: r
-- is so near that r - x is exact.)
local function rounded(x)
  local plain, near = x:detach(), x:detach()
  for _, dtype in ipairs { "float32", "bfloat16", "float32", x:dtype() } do
    near = pl.cast(near, { dtype = dtype })
  end
  return x + (near - plain)
end

-- With precision "bf16" the fused op also rounds the gradient of z before it goes on to hidden and
-- head.
local function logits(hidden, head, rows, opts, softcap)
  if opts.precision == "bf16" then
    hidden, head = rounded(hidden), rounded(head)
  end
  local z = pl.matmul(pl.gather(hidden, rows), head, { transpose_b = true })
  if softcap and softcap > 0 then z = (z / softcap):tanh() * softcap end
  return z / (opts.temperature or 1)
end

--- The summed negative log-likelihood of targets, times a scale:
-- -scale Σ_n w_n ln softmax(z_n)[target_n], z_n = hidden[row_n] headᵀ
-- @tparam Tensor hidden [T, C]
-- @tparam Tensor head [V, C]
-- @tparam {integer,...}|Tensor rows int32 [N], from 0
-- @tparam {integer,...}|Tensor targets int32 [N], from 0
-- @tparam ?Tensor weights [N]
-- @tparam ?table opts `scale` (1); `softcap` (0: none) of z; `precision` ("float32") of the
--   product, or "bf16"
-- @treturn Tensor [], in nats times the scale
function twins.cross_entropy(hidden, head, rows, targets, weights, opts)
  opts = opts or {}
  local logprob = logits(hidden, head, rows, opts, opts.softcap):log_softmax():pick(targets)
  if weights then logprob = logprob * weights end
  return -logprob:sum() * (opts.scale or 1)
end

--- Log-probs of targets, and entropies: ln p[target] and -Σ_v p_v ln p_v, p =
-- softmax(z/temperature).
-- @tparam Tensor hidden [T, C]
-- @tparam Tensor head [V, C]
-- @tparam {integer,...}|Tensor rows int32 [N], from 0
-- @tparam {integer,...}|Tensor targets int32 [N], from 0
-- @tparam ?table opts `temperature` (1) z is divided by; `softcap` (0: none) of z; `precision`
--   ("float32") of the product, or "bf16"
-- @treturn Tensor [N], nats: log-probs
-- @treturn Tensor [N], nats: entropies
function twins.logprob(hidden, head, rows, targets, opts)
  opts = opts or {}
  local log_p = logits(hidden, head, rows, opts, opts.softcap):log_softmax()
  return log_p:pick(targets), -(log_p:exp() * log_p):sum(2)
end

--- The KL divergence of two models' next tokens, over the whole vocabulary: Σ_v p_v (ln p_v - ln
-- q_v).
-- @tparam Tensor hidden [T, C]
-- @tparam Tensor head [V, C]
-- @tparam Tensor ref_hidden [T, C]
-- @tparam Tensor ref_head [V, C]
-- @tparam {integer,...}|Tensor rows int32 [N], from 0
-- @tparam ?table opts `temperature` (1) the logits are divided by; `softcap` and `ref_softcap` (0:
--   none) of the logits; `precision` ("float32") of the products, or "bf16"
-- @treturn Tensor [N], nats
function twins.kl_full(hidden, head, ref_hidden, ref_head, rows, opts)
  opts = opts or {}
  local log_p = logits(hidden, head, rows, opts, opts.softcap):log_softmax()
  local log_q = logits(ref_hidden, ref_head, rows, opts, opts.ref_softcap):log_softmax()
  return (log_p:exp() * (log_p - log_q)):sum(2)
end

--- What a block of a Llama does before attention: n = rmsnorm(x), q = rope(n Wqᵀ),
-- k = rope(n Wkᵀ), v = n Wvᵀ.
-- @tparam Tensor x [T, C]
-- @tparam Tensor norm [C]
-- @tparam Tensor q_w [H*D, C]
-- @tparam Tensor k_w [G*D, C]
-- @tparam Tensor v_w [G*D, C]
-- @tparam {integer,...}|Tensor positions int32 [T], from 0
-- @tparam ?Tensor inv_freq [R/2]; nil: by theta
-- @tparam ?table opts `eps` (1e-5) of the norm; `head_dim` (0: G*D), `theta` (10000), `interleaved`
--   (false), `rotary_dim` (0: head_dim) and `scale` (1) of the rotation
-- @treturn Tensor [T, H*D], q
-- @treturn Tensor [T, G*D], k
-- @treturn Tensor [T, G*D], v
function twins.block_in(x, norm, q_w, k_w, v_w, positions, inv_freq, opts)
  opts = opts or {}
  local n = pl.rmsnorm(x, norm, { eps = opts.eps })
  local given = opts.head_dim or 0
  local turn = {
    head_dim = given > 0 and given or k_w:size(1),
    theta = opts.theta,
    interleaved = opts.interleaved,
    rotary_dim = opts.rotary_dim,
    scale = opts.scale,
  }
  local function turned(w) return pl.rope(pl.linear(n, w), positions, inv_freq, turn) end
  return turned(q_w), turned(k_w), pl.linear(n, v_w)
end

--- What a block of a Llama does after attention: h = x + y Woᵀ, n = rmsnorm(h),
-- z = h + (silu(n Wgᵀ) * (n Wuᵀ)) Wdᵀ.
-- @tparam Tensor x [T, C], what the block was given
-- @tparam Tensor y [T, A], of attention
-- @tparam Tensor o_w [C, A]
-- @tparam Tensor norm [C]
-- @tparam Tensor gate [F, C]
-- @tparam Tensor up [F, C]
-- @tparam Tensor down [C, F]
-- @tparam ?table opts `eps` (1e-5) of the norm
-- @treturn Tensor [T, C]
function twins.block_out(x, y, o_w, norm, gate, up, down, opts)
  local h = x + pl.linear(y, o_w)
  local n = pl.rmsnorm(h, norm, { eps = opts and opts.eps })
  return h + pl.linear(pl.silu(pl.linear(n, gate)) * pl.linear(n, up), down)
end

local outcome = {
  logsigmoid = function(d) return d:log_sigmoid() end,
  sigmoid = function(d) return d:sigmoid() end,
  linear = function(d) return d end,
}

--- The loss of a reward model over all pairs of each ranked set, arXiv:2203.02155, equation 1:
-- -1/B Σ_b 1/C_b Σ_{w before l} f(r_w - r_l - (m_w - m_l)). A tie counts half for either side, or
-- is dropped.
-- @tparam Tensor scores [N], set after set
-- @tparam Tensor offsets int32 [B+1], where each set begins
-- @tparam Tensor ranks [N]; 1 is best
-- @tparam ?Tensor margins [N], taken from the scores
-- @tparam ?table opts `variant` ("logsigmoid"), "sigmoid" or "linear": f; `ties` ("drop") or
--   "half"; `norm` (B, sets with a pair) the sum is divided by
-- @treturn Tensor [], the loss
function twins.rank_loss(scores, offsets, ranks, margins, opts)
  opts = opts or {}
  local rank, first, winners, losers, weights = ranks:totable(), offsets:totable(), {}, {}, {}
  local counted = 0 -- B: sets with a pair
  for b = 1, #first - 1 do
    local pairs_of_set = {}
    for i = first[b] + 1, first[b + 1] do
      for j = i + 1, first[b + 1] do
        if rank[i] ~= rank[j] then
          pairs_of_set[#pairs_of_set + 1] = rank[i] < rank[j] and { i, j, 1 } or { j, i, 1 }
        elseif opts.ties == "half" then
          pairs_of_set[#pairs_of_set + 1] = { i, j, 0.5, j, i, 0.5 }
        end
      end
    end
    counted = counted + math.min(1, #pairs_of_set)
    for _, pair in ipairs(pairs_of_set) do
      for at = 1, #pair, 3 do
        winners[#winners + 1], losers[#losers + 1] = pair[at] - 1, pair[at + 1] - 1
        weights[#weights + 1] = pair[at + 2] / #pairs_of_set
      end
    end
  end
  local d = pl.gather(scores, winners) - pl.gather(scores, losers)
  if margins then d = d - (pl.gather(margins, winners) - pl.gather(margins, losers)) end
  local norm = opts.norm and opts.norm > 0 and opts.norm or math.max(1, counted)
  local weight = pl.tensor(weights, scores:dtype())
  return -(outcome[opts.variant or "logsigmoid"](d) * weight):sum() / norm
end

local function weighted(term, weights, norm)
  if weights then term = term * weights end
  if not norm or norm <= 0 then norm = weights and weights:sum():item() or term:count() end
  return term:sum() / (norm == 0 and 1 or norm)
end

--- The clipped surrogate of PPO, arXiv:1707.06347, eq. 7:
-- Σ w max(-A ρ, -A clip(ρ, 1-ε, 1+ε)) / Σ w, ρ = e^(ln π - ln π_old)
-- @tparam Tensor logprob [N], nats
-- @tparam Tensor old_logprob [N], nats
-- @tparam Tensor advantages [N]
-- @tparam ?Tensor weights [N]
-- @tparam ?table opts `cliprange` (0.2), ε below 1; `cliprange_high` (as cliprange), ε above 1;
--   `norm` (the weights' sum) the sum is divided by
-- @treturn Tensor [], the loss
function twins.ppo_loss(logprob, old_logprob, advantages, weights, opts)
  opts = opts or {}
  local low = opts.cliprange or 0.2
  local high = opts.cliprange_high and opts.cliprange_high > 0 and opts.cliprange_high or low
  local ratio = (logprob - old_logprob):exp()
  local clipped = ratio:clamp(1 - low, 1 + high)
  return weighted(pl.maximum(-advantages * ratio, -advantages * clipped), weights, opts.norm)
end

--- The clipped loss of PPO's value function, as in its published code:
-- ½ Σ w max((v-R)², (clip(v, v_old-ε, v_old+ε)-R)²) / Σ w
-- @tparam Tensor values [N]
-- @tparam Tensor old_values [N]
-- @tparam Tensor returns [N]
-- @tparam ?Tensor weights [N]
-- @tparam ?table opts `cliprange` (0.2; 0: none), ε; `norm` (the weights' sum) the sum is divided
--   by
-- @treturn Tensor [], the loss
function twins.value_loss(values, old_values, returns, weights, opts)
  opts = opts or {}
  local range = opts.cliprange or 0.2
  local term = (values - returns):square()
  if range > 0 then
    local near = pl.maximum(pl.minimum(values, old_values + range), old_values - range)
    term = pl.maximum(term, (near - returns):square())
  end
  return weighted(term * 0.5, weights, opts.norm)
end

--- An estimate of KL(π, π_ref) from samples of π. With d = ln π - ln π_ref: k1 = d, k2 = d²/2, k3 =
-- e^-d - 1 + d; Schulman, "Approximating KL divergence" (2020).
-- @tparam Tensor logprob [N], nats
-- @tparam Tensor ref_logprob [N], nats
-- @tparam ?table opts `kind` ("k1"), "k2" or "k3"
-- @treturn Tensor [N], nats
function twins.kl_estimate(logprob, ref_logprob, opts)
  local kind, d = opts and opts.kind or "k1", logprob - ref_logprob
  if kind == "k1" then
    return d
  elseif kind == "k2" then
    return d:square() * 0.5
  end
  return (-d):exp() - 1 + d
end

return twins
