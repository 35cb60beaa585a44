--- Losses of preference optimisation: a policy learns from compared or liked answers without a
-- reward model and without sampling.
--
-- All take log-probs of whole answers: ln π(y|x) = Σ_t ln π(y_t | x, y_<t), nats, one for each pair
-- or answer (`pl.segment_sum` of `pl.loss.logprobs`), and give a loss for each, so that the caller
-- divides by what it likes. They are made of primitive ops: autograd has the gradient. In all of
-- them
--
--   h(y) = ln π(y|x) - ln π_ref(y|x)        how far the policy has come from the reference
--   r(y) = β h(y)                           the implicit reward, given back as a constant
--   δ    = h(y_w) - h(y_l)                  of a pair whose answer w was preferred to l
--
--   dpo sigmoid  -(1-ε) ln σ(βδ) - ε ln σ(-βδ)     Rafailov et al., arXiv:2305.18290, eq. 7; with
--                                                  ε > 0 conservative DPO: Mitchell's note (2023)
--   dpo robust   (-(1-ε) ln σ(βδ) + ε ln σ(-βδ)) / (1 - 2ε)
--                                                  Chowdhury et al., arXiv:2403.00409
--   dpo hinge    max(0, 1 - βδ)                    Zhao et al., SLiC-HF, arXiv:2305.10425, on βδ
--   dpo ipo      (δ - 1/(2β))²                     Azar et al., arXiv:2310.12036, eq. 17
--   simpo        -ln σ(β(s_w - s_l) - γ)           Meng et al., arXiv:2405.14734, eq. 6
--   orpo         -s_w - λ ln σ(o_w - o_l)          Hong et al., arXiv:2403.07691, eq. 4, 6, 7
--   kto          w_y (1 - σ(±(r(y) - β z)))        Ethayarajh et al., arXiv:2402.01306, eq. 8
--
-- with s = ln π(y|x)/|y|, and o = s - ln(1 - e^s), the log odds. Names of options are TRL's.

local batch = require("perilune.data.batch")
local core = require("perilune.core")
local encode = require("perilune.data.encode")
local list = require("perilune.base.list")
local loss = require("perilune.learn.loss")
local options = require("perilune.base.options")
local random = require("perilune.base.random")

local preference = {}

local of_dpo = {
  beta = options.number(0.1, 0),
  loss_type = options.choice("sigmoid", { "sigmoid", "robust", "hinge", "ipo" }),
  label_smoothing = options.number(0, 0, 0.5),
  chosen_tokens = options.any(),
  rejected_tokens = options.any(),
}
local of_simpo = {
  beta = options.number(2, 0),
  simpo_gamma = options.number(0.5),
  label_smoothing = options.number(0, 0, 0.5),
}
local of_orpo = { beta = options.number(0.1, 0) }
local of_kto = {
  beta = options.number(0.1, 0),
  desirable_weight = options.number(1, 0),
  undesirable_weight = options.number(1, 0),
}

-- -(1-|ε|) ln σ(x) - ε ln σ(-x): pairs of which a part |ε| is the wrong way round. With ε > 0 those
-- count for the other side, with ε < 0 they are taken off.
local function flipped(x, part)
  local right = -x:log_sigmoid()
  if part == 0 then return right end
  return right * (1 - math.abs(part)) - (-x):log_sigmoid() * part
end

--- Direct preference optimisation. Loss type ipo compares means over an answer's tokens, as TRL
-- does, when it is told how many there are, else sums, as the paper writes it. Raises when robust
-- is asked for with a label smoothing of 0.5, where it is not defined.
-- @tparam Tensor chosen [P], nats: ln π of the preferred answers
-- @tparam Tensor rejected [P], nats: ln π of the others
-- @tparam Tensor ref_chosen [P], nats: ln π_ref of the preferred answers
-- @tparam Tensor ref_rejected [P], nats: ln π_ref of the others
-- @tparam ?table opts `beta` (0.1), β; `loss_type` ("sigmoid"), "robust", "hinge" or "ipo";
--   `label_smoothing` (0), ε: the part of pairs that are the wrong way round, up to 0.5, of
--   sigmoid and robust; `chosen_tokens` and `rejected_tokens` (none), Tensors [P], of ipo
-- @treturn Tensor [P], losses
-- @treturn Tensor [P], implicit rewards of the preferred answers, constant
-- @treturn Tensor [P], implicit rewards of the others, constant
function preference.dpo(chosen, rejected, ref_chosen, ref_rejected, opts)
  local o = options.take("preference.dpo", opts, of_dpo)
  local better, worse = chosen - ref_chosen, rejected - ref_rejected
  local rewards = { better:detach() * o.beta, worse:detach() * o.beta }
  local losses
  if o.loss_type == "ipo" then
    if o.beta == 0 then error("preference.dpo: ipo wants a beta above 0", 2) end
    if o.chosen_tokens then better = better / o.chosen_tokens end
    if o.rejected_tokens then worse = worse / o.rejected_tokens end
    losses = (better - worse - 1 / (2 * o.beta)):square()
  elseif o.loss_type == "hinge" then
    losses = (1 - (better - worse) * o.beta):relu()
  elseif o.loss_type == "robust" then
    if o.label_smoothing == 0.5 then
      error("preference.dpo: robust wants a label_smoothing below 0.5: there labels say nothing", 2)
    end
    losses = flipped((better - worse) * o.beta, -o.label_smoothing) / (1 - 2 * o.label_smoothing)
  else
    losses = flipped((better - worse) * o.beta, o.label_smoothing)
  end
  return losses, rewards[1], rewards[2]
end

--- Simple preference optimisation, without a reference: the reward of an answer is β times its mean
-- log-prob, and the better one has to lead by γ.
-- @tparam Tensor chosen [P], nats: ln π of the preferred answers, sums over their tokens
-- @tparam Tensor rejected [P], nats: ln π of the others
-- @tparam Tensor chosen_tokens [P], tokens of the preferred answers
-- @tparam Tensor rejected_tokens [P], tokens of the others
-- @tparam ?table opts `beta` (2), β; `simpo_gamma` (0.5), γ; `label_smoothing` (0), as of
--   `preference.dpo`
-- @treturn Tensor [P], losses
-- @treturn Tensor [P], rewards of the preferred answers, constant
-- @treturn Tensor [P], rewards of the others, constant
function preference.simpo(chosen, rejected, chosen_tokens, rejected_tokens, opts)
  local o = options.take("preference.simpo", opts, of_simpo)
  local better, worse = chosen / chosen_tokens * o.beta, rejected / rejected_tokens * o.beta
  local losses = flipped(better - worse - o.simpo_gamma, o.label_smoothing)
  return losses, better:detach(), worse:detach()
end

-- s - ln(1 - e^s) of mean log-probs s <= 0. 1 - e^s is 2t/(1+t) with t = tanh(-s/2), which loses
-- no digits where s is near 0; at 0 itself the odds would be infinite.
local function log_odds(mean)
  local t = (mean:clamp { max = -1e-7 } * -0.5):tanh()
  return mean - ((t * 2):log() - (t + 1):log())
end

--- Odds ratio preference optimisation, without a reference: the likelihood of the preferred answer,
-- and λ times a term that asks for better odds than those of the other.
-- @tparam Tensor chosen [P], nats: ln π of the preferred answers, sums over their tokens
-- @tparam Tensor rejected [P], nats: ln π of the others
-- @tparam Tensor chosen_tokens [P], tokens of the preferred answers
-- @tparam Tensor rejected_tokens [P], tokens of the others
-- @tparam ?table opts `beta` (0.1), λ
-- @treturn Tensor [P], losses
-- @treturn Tensor [P], rewards of the preferred answers: λ times the mean log-prob, constant
-- @treturn Tensor [P], rewards of the others, constant
-- @treturn Tensor [P], negative log-likelihoods of the preferred answers, nats a token, constant
-- @treturn Tensor [P], log odds ratios, constant
function preference.orpo(chosen, rejected, chosen_tokens, rejected_tokens, opts)
  local o = options.take("preference.orpo", opts, of_orpo)
  local better, worse = chosen / chosen_tokens, rejected / rejected_tokens
  local ratio = log_odds(better) - log_odds(worse)
  local losses = -better - ratio:log_sigmoid() * o.beta
  local plain, other = better:detach(), worse:detach()
  return losses, plain * o.beta, other * o.beta, -plain, ratio:detach()
end

--- The baseline of KTO: an estimate of KL(π, π_ref) from answers to other prompts, never below 0.
-- No gradient goes through it. Raises when there is no answer.
-- @tparam Tensor mismatched [M], nats: ln π of answers behind prompts that are not theirs
-- @tparam Tensor ref_mismatched [M], nats: ln π_ref of the same
-- @treturn number z, nats an answer
function preference.kto_baseline(mismatched, ref_mismatched)
  if #mismatched == 0 then error("preference.kto_baseline: no answers to estimate it from", 2) end
  return math.max(0, (mismatched - ref_mismatched):mean():item())
end

--- Kahneman-Tversky optimisation, of answers that are liked or not, with no pairs among them. The
-- value of a liked answer is σ(r - β z), of a disliked one σ(β z - r); the loss is 1 less the
-- value. Raises when there is not one label for each answer.
-- @tparam Tensor logps [B], nats: ln π of the answers
-- @tparam Tensor ref_logps [B], nats: ln π_ref of the answers
-- @tparam {boolean,...} labels of each: is it liked?
-- @tparam number baseline z of `preference.kto_baseline`, nats an answer; 0: none
-- @tparam ?table opts `beta` (0.1), β; `desirable_weight` (1) of losses of liked answers,
--   `undesirable_weight` (1) of the others
-- @treturn Tensor [B], losses, with their weights
-- @treturn Tensor [B], implicit rewards, constant
function preference.kto(logps, ref_logps, labels, baseline, opts)
  local o = options.take("preference.kto", opts, of_kto)
  if #labels ~= #logps then
    error(("preference.kto: %d labels for %d answers"):format(#labels, #logps), 2)
  end
  local signs, weights = {}, {}
  for i, liked in ipairs(labels) do
    signs[i] = liked and 1 or -1
    weights[i] = liked and o.desirable_weight or o.undesirable_weight
  end
  local ratios, dtype = logps - ref_logps, logps:dtype()
  local ahead = (ratios - baseline) * core.tensor(signs, dtype) * o.beta
  return (1 - ahead:sigmoid()) * core.tensor(weights, dtype), ratios:detach() * o.beta
end

-- Which pairs of places i, j with rank[i] < rank[j] are taken.
local takes = {
  all = function() return true end,
  ["best-worst"] = function(ranks, i, j)
    return ranks[i] == math.min(table.unpack(ranks)) and ranks[j] == math.max(table.unpack(ranks))
  end,
  adjacent = function(ranks, i, j)
    for _, rank in ipairs(ranks) do
      if rank > ranks[i] and rank < ranks[j] then return false end
    end
    return true
  end,
}

--- Pairs of ranked answers. Answers that share a rank make no pair. Raises for another word than
-- these.
-- @tparam {number,...} ranks of the answers; 1 is best
-- @tparam ?string which "all" of different rank (default), "best-worst" (each of the best rank with
--   each of the worst) or "adjacent" (each with those of the next rank)
-- @treturn {{integer,integer},...} places of the better and of the worse answer, from 1
function preference.pairs(ranks, which)
  local take = takes[which or "all"]
  if not take then
    local text = "preference.pairs: '%s' is none of all, best-worst and adjacent"
    error(text:format(tostring(which)), 2)
  end
  local found = {}
  for i = 1, #ranks do
    for j = 1, #ranks do
      if ranks[i] < ranks[j] and take(ranks, i, j) then found[#found + 1] = { i, j } end
    end
  end
  return found
end

--- What is compared of a ranked set.
-- @class Comparison
-- @field {{integer,...},...} sequences token ids of the prompt with each answer that stands in a
--   pair
-- @field {{integer,...},...} masks of each token 1 or 0: is it of the answer?
-- @field {{integer,integer},...} pairs places of the better and of the worse among `sequences`
-- @field integer tokens of all sequences
-- @field integer equal pairs that were left out, since both answers are the same

local function same(a, b)
  if #a ~= #b then return false end
  for t = 1, #a do
    if a[t] ~= b[t] then return false end
  end
  return true
end

--- The pairs of a ranked set, and the answers that stand in them, each once. Equal answers make no
-- pair, whatever their ranks.
-- @tparam RankedSet set of `data.ranked`
-- @tparam ?string which of `preference.pairs` (default: "all")
-- @treturn Comparison
function preference.compare(set, which)
  local item = { sequences = {}, masks = {}, pairs = {}, tokens = 0, equal = 0 }
  local places = {}
  local function place(k)
    if not places[k] then
      local n = #item.sequences + 1
      places[k], item.sequences[n], item.masks[n] = n, set.sequences[k], set.masks[k]
      item.tokens = item.tokens + #set.sequences[k]
    end
    return places[k]
  end
  for _, pair in ipairs(preference.pairs(set.ranks, which)) do
    if same(set.sequences[pair[1]], set.sequences[pair[2]]) then
      item.equal = item.equal + 1
    else
      item.pairs[#item.pairs + 1] = { place(pair[1]), place(pair[2]) }
    end
  end
  return item
end

--- Answers packed behind their prompts, and the pairs among them.
-- @class PackedPairs
-- @field Batch batch of all sequences
-- @field LossPlaces at the tokens of the answers
-- @field Tensor tokens [B], how many tokens each answer has
-- @field Tensor winners int32 [P], places of the better answers in the batch, from 0
-- @field Tensor losers int32 [P], those of the worse
-- @field Tensor weights [P], 1 over the number of pairs of the set: each set weighs 1

--- Packs what is compared for one forward.
-- @tparam {Comparison,...} items of `preference.compare`, each with a pair
-- @treturn PackedPairs in tensors of the scope that is open
function preference.pack(items)
  local sequences, masks, winners, losers, weights = {}, {}, {}, {}, {}
  for _, item in ipairs(items) do
    local first = #sequences - 1
    for _, pair in ipairs(item.pairs) do
      winners[#winners + 1], losers[#losers + 1] = first + pair[1], first + pair[2]
      weights[#weights + 1] = 1 / #item.pairs
    end
    list.append(sequences, item.sequences)
    list.append(masks, item.masks)
  end
  local at = batch.targets(sequences, masks)
  return {
    batch = batch.pack(sequences),
    at = at,
    tokens = core.segment_sum(core.full({ at.count }, 1), at.segments),
    winners = core.tensor(winners, "int32"),
    losers = core.tensor(losers, "int32"),
    weights = core.tensor(weights),
  }
end

--- Log-probs of a constant model, kept.
-- @class LogpKeeper
local Keeper = {}
Keeper.__index = Keeper
Keeper.__name = "log-probs kept"

--- Keeps what a constant model says of answers: frozen data go through it once, when they are first
-- asked for. After a resume they do so again, to the same bits.
-- @tparam Model model constant
-- @tparam ?integer max_tokens of a forward (default: 16384)
-- @treturn LogpKeeper
function preference.keeper(model, max_tokens)
  return setmetatable({ model = model, max_tokens = max_tokens or 16384, kept = {} }, Keeper)
end

--- Log-probs of the answers of some items.
-- @tparam {any,...} keys of the items: a key always stands for the same answers
-- @tparam {Comparison,...} items with `sequences` and `masks`
-- @treturn {number,...} nats, ln π of each answer, item after item
function Keeper:logps(keys, items)
  local sequences, masks, missing = {}, {}, {}
  for i, key in ipairs(keys) do
    if not self.kept[key] then
      missing[#missing + 1] = i
      list.append(sequences, items[i].sequences)
      list.append(masks, items[i].masks)
    end
  end
  if #sequences > 0 then
    local values, at = preference.logps(self.model, sequences, masks, self.max_tokens), 0
    for _, i in ipairs(missing) do
      local n = #items[i].sequences
      self.kept[keys[i]] = table.move(values, at + 1, at + n, 1, {})
      at = at + n
    end
  end
  local all = {}
  for _, key in ipairs(keys) do
    list.append(all, self.kept[key])
  end
  return all
end

-- What stands before an answer, and the answer.
local function cut(sequence, mask)
  local n = 0
  while n < #mask and mask[n + 1] == 0 do
    n = n + 1
  end
  return table.move(sequence, 1, n, 1, {}), table.move(sequence, n + 1, #sequence, 1, {})
end

local TRIES <const> = 32 -- answers looked at for one that fits behind a prompt

--- For each answer the answer to another prompt, which stands behind this one's prompt for the
-- baseline of KTO. They are drawn once for a set, so that what the reference says of them can be
-- kept.
-- @tparam {LabelledAnswer,...} set of `data.labelled`
-- @tparam integer longest tokens of a prompt with an answer
-- @tparam integer seed of the run
-- @treturn {[integer]=integer} for the place of an answer that of the other; none where no other
--   fits
function preference.mismatch(set, longest, seed)
  local n = #set
  local order, prompts, lengths, others = {}, {}, {}, {}
  if n > 0 then order = random.permutation(n, seed, "preference.mismatch") end
  for i = 1, n do
    local one = set[i]
    local prompt, answer = cut(one.sequence, one.mask)
    prompts[i], lengths[i] = table.concat(prompt, ","), { #prompt, #answer }
  end
  for place, i in ipairs(order) do
    for ahead = 1, math.min(n - 1, TRIES) do
      local j = order[(place + ahead - 1) % n + 1]
      if prompts[j] ~= prompts[i] and lengths[i][1] + lengths[j][2] <= longest then
        others[i] = j
        break
      end
    end
  end
  return others
end

--- An answer behind another's prompt.
-- @tparam LabelledAnswer one whose prompt it is
-- @tparam LabelledAnswer other whose answer it is
-- @treturn {integer,...} token ids
-- @treturn {integer,...} mask of each token 1 or 0: is it of the answer?
function preference.cross(one, other)
  local prompt = cut(one.sequence, one.mask)
  local _, answer = cut(other.sequence, other.mask)
  return encode.join(prompt, answer)
end

--- Log-probs of answers, without a tape.
-- @tparam Model model
-- @tparam {{integer,...},...} sequences token ids of prompts with their answers
-- @tparam {{integer,...},...} masks of each token 1 or 0: is it of the answer?
-- @tparam ?integer max_tokens of a forward (default: 16384)
-- @treturn {number,...} nats, ln π of each answer
function preference.logps(model, sequences, masks, max_tokens)
  local sums = {}
  for _, indices in ipairs(batch.split(sequences, max_tokens or 16384)) do
    local scope <close> = core.scope("preference.logps")
    local parts = batch.parts(list.take(sequences, indices), list.take(masks, indices), max_tokens)
    for _, part in ipairs(parts) do
      local flat = loss.sequence_logprobs(model, { part })
      list.append(sums, core.segment_sum(flat, part.at.segments):totable())
    end
  end
  return sums
end

return preference
