--- Losses and scores of models over sequences: packing, forward, fused kernel.
--
-- Sequences are lists of token ids, masks lists of 1 and 0 (is this token trained?). Every sum is
-- divided by a number the caller may give (`norm`), so that a batch taken in micro-batches has the
-- gradient of the whole batch.

local core = require("perilune.core")
local batch = require("perilune.data.batch")
local options = require("perilune.base.options")
local random = require("perilune.base.random")

local loss = {}

-- The options there are; what a forward takes is handed on to it.
local of_lm = options.any_of { "norm", "dropout", "checkpoint" }
local of_accumulate = options.any_of { "max_tokens", "weight", "dropout", "checkpoint" }
local of_logprobs = options.any_of { "temperature", "dropout", "checkpoint" }
local of_sequences = options.any_of { "temperature" }
local of_evaluate = options.any_of { "max_tokens" }

local function forward(model, packed, opts)
  return model:hidden(packed, { dropout = opts.dropout, checkpoint = opts.checkpoint })
end

--- Mean negative log-likelihood of the trained tokens, nats a token. Raises for a model with a
-- scalar head, and when no token is trained and no `norm` is given: a mean of nothing is not 0.
-- @tparam Model model
-- @tparam {{integer,...},...} sequences token ids of each
-- @tparam ?{{integer|boolean,...},...} masks of each token 1 or 0: is it trained? (default: all but
--   the first of each sequence)
-- @tparam ?table opts `norm` (the number of trained tokens) the sum is divided by; `dropout` (none)
--   and `checkpoint` (false) as of `Model:hidden`
-- @treturn Tensor [], the loss
-- @treturn integer trained tokens
function loss.lm(model, sequences, masks, opts)
  opts = options.take("loss.lm", opts, of_lm)
  local packed, at = batch.pack(sequences), batch.targets(sequences, masks)
  local hidden = forward(model, packed, opts)
  local norm = opts.norm or at.count
  if norm == 0 then
    error("loss.lm: no token is trained (masks of 0 alone, or sequences of one token)", 2)
  end
  return core.cross_entropy(
    hidden,
    model:head(),
    at.rows,
    at.targets,
    nil,
    { scale = 1 / norm, softcap = model:softcap(), precision = model.precision }
  ),
    at.count
end

-- The tokens that a loss over sequences is taken at.
local function trained_tokens(sequences, masks)
  local n = 0
  for b, sequence in ipairs(sequences) do
    if masks then
      for t = 2, #sequence do
        local mask = masks[b][t]
        n = n + (mask and mask ~= 0 and 1 or 0)
      end
    else
      n = n + #sequence - 1
    end
  end
  return n
end

-- Tokens of a forward with its gradient beyond which a narrow model gets slower: what one layer
-- hands to the next leaves the caches. Wider ones are as fast with more (docs/performance.md).
local NARROW <const>, NARROW_TOKENS <const> = 64, 2048

local function most_tokens(model, most)
  if model:head():size(2) > NARROW then return most end
  return math.min(most, NARROW_TOKENS)
end

--- Adds the gradient of the mean loss over sequences, taken in micro-batches.
-- @tparam Model model
-- @tparam {{integer,...},...} sequences token ids of each
-- @tparam ?{{integer|boolean,...},...} masks of each token 1 or 0: is it trained? (default: all but
--   the first of each sequence)
-- @tparam ?table opts `max_tokens` (16384) a forward, at most 2,048 where the model is up to 64
--   wide, which is faster; `weight` (1) of the gradient; `checkpoint` (false) computes blocks again
--   in the backward pass; `dropout` (none) {p = probability, seed =, index =}: each micro-batch
--   draws from a stream of its own
-- @treturn ?number the mean loss, nats a token (not weighted); nil when no token is trained
-- @treturn integer trained tokens
function loss.accumulate(model, sequences, masks, opts)
  opts = options.take("loss.accumulate", opts, of_accumulate)
  local trained, sum = trained_tokens(sequences, masks), 0
  if trained == 0 then return nil, 0 end -- nothing measured is not 0
  local weight, given = opts.weight or 1, opts.dropout
  local most = most_tokens(model, opts.max_tokens or 16384)
  for i, indices in ipairs(batch.split(sequences, most)) do
    local scope <close> = core.scope("loss.micro")
    local part_masks = masks and batch.take(masks, indices)
    local lm = loss.lm(model, batch.take(sequences, indices), part_masks, {
      norm = trained,
      checkpoint = opts.checkpoint,
      dropout = given and {
        p = given.p,
        seed = given.seed,
        index = random.purpose("micro", given.index, i),
      },
    })
    local scaled = weight == 1 and lm or lm * weight
    scaled:backward()
    sum = sum + lm:item()
  end
  return sum, trained
end

--- Log-probs (and entropies) of the chosen tokens, in the order of batch.targets.
-- @tparam Model model
-- @tparam Batch packed of `batch.pack`
-- @tparam LossPlaces at of `batch.targets`
-- @tparam ?table opts `temperature` (1) the logits are divided by; `dropout` (none) and
--   `checkpoint` (false) as of `Model:hidden`
-- @treturn Tensor [N], nats: log-probs
-- @treturn Tensor [N], nats: entropies
function loss.logprobs(model, packed, at, opts)
  opts = options.take("loss.logprobs", opts, of_logprobs)
  return core.logprob(forward(model, packed, opts), model:head(), at.rows, at.targets, {
    temperature = opts.temperature or 1,
    softcap = model:softcap(),
    precision = model.precision,
  })
end

local function constant(model, packed)
  local guard <close> = core.no_grad()
  local hidden = model:hidden(packed)
  return hidden
end

--- Log-probs, entropies and the exact KL of each token's distribution to a reference's, over the
-- whole vocabulary: Σ_v p_v (ln p_v - ln q_v). No gradient goes to the reference.
-- @tparam Model model
-- @tparam Model reference of the same vocabulary
-- @tparam Batch packed of `batch.pack`
-- @tparam LossPlaces at of `batch.targets`
-- @tparam ?table opts `temperature` (1) the logits of both are divided by; `dropout` (none) and
--   `checkpoint` (false) as of `Model:hidden`
-- @treturn Tensor [N], nats: log-probs
-- @treturn Tensor [N], nats: entropies
-- @treturn Tensor [N], nats: the KL
function loss.logprobs_and_kl(model, reference, packed, at, opts)
  opts = options.take("loss.logprobs_and_kl", opts, of_logprobs)
  local hidden = forward(model, packed, opts)
  local theirs = constant(reference, packed)
  local logprob, entropy = core.logprob(hidden, model:head(), at.rows, at.targets, {
    temperature = opts.temperature or 1,
    softcap = model:softcap(),
    precision = model.precision,
  })
  local kl = core.kl_full(hidden, model:head(), theirs, reference:head(), at.rows, {
    temperature = opts.temperature or 1,
    softcap = model:softcap(),
    ref_softcap = reference:softcap(),
    precision = model.precision,
  })
  return logprob, entropy, kl
end

-- The results of fn(part) for each part, laid end to end; without a tape.
local function over(parts, fn)
  local guard <close> = core.no_grad()
  local results, total = {}, 0
  for i, part in ipairs(parts) do
    local scope <close> = core.scope("loss.part")
    results[i] = fn(part):keep()
    total = total + #results[i]
  end
  if #results == 1 then return results[1] end
  local all, at = core.zeros({ total }, results[1] and results[1]:dtype()), 0
  for _, result in ipairs(results) do
    all:view({ #result }, at):copy_(result)
    at = at + #result
  end
  return all
end

-- The rows a loss is taken at, when they are so few that a last block for them alone is worth
-- taking them out.
local function few(part) return 2 * part.at.count <= part.batch.count and part.at.rows or nil end

-- Hidden states of the rows that a loss is taken at.
local function rows_read(model, part)
  local some = few(part)
  local hidden = model:hidden(part.batch, { rows = some })
  return some and hidden or core.gather(hidden, part.at.rows)
end

-- Rows that read the head together: so many go through it while a core's cache holds a part of it,
-- and it is packed once for them.
local AT_HEAD <const> = 2048

-- Parts whose rows are AT_HEAD and less together, or one.
local function head_groups(parts)
  local counts, groups = {}, {}
  for i, part in ipairs(parts) do
    counts[i] = part.at.count
  end
  for g, places in ipairs(batch.split(counts, AT_HEAD)) do
    groups[g] = batch.take(parts, places)
  end
  return groups
end

--- Hidden states where the tokens a loss would be taken at are predicted, without a tape.
-- @tparam Model model of C channels
-- @tparam {BatchPart,...} parts of `batch.parts` or a rollout
-- @treturn Tensor [N, C], in the order of the sequences
function loss.sequence_hidden(model, parts)
  local flat = over(parts, function(part) return rows_read(model, part):reshape(-1) end)
  return flat:reshape(-1, model.spec.out_width)
end

--- Log-probs of the tokens a loss would be taken at, without a tape. Raises when it is given no
-- parts.
-- @tparam Model model
-- @tparam {BatchPart,...} parts of `batch.parts` or a rollout
-- @tparam ?table opts `temperature` (1) the logits are divided by
-- @treturn Tensor [N], nats, in the order of the sequences
function loss.sequence_logprobs(model, parts, opts)
  local first = parts[1]
  if parts.offsets or first ~= nil and not (type(first) == "table" and first.batch) then
    local text = "pl.loss.sequence_logprobs: 'parts' must be those of batch.parts or a rollout; "
      .. "loss.logprobs takes a batch of batch.pack, with a tape"
    error(text, 2)
  end
  opts = options.take("loss.sequence_logprobs", opts, of_sequences)
  return (
    over(head_groups(parts), function(group)
      local hidden = loss.sequence_hidden(model, group)
      local targets = over(group, function(part) return part.at.targets end)
      local rows = core.arange(#targets, "int32")
      return (
        core.logprob(hidden, model:head(), rows, targets, {
          temperature = opts.temperature or 1,
          softcap = model:softcap(),
          precision = model.precision,
        })
      )
    end)
  )
end

--- The exact KL to a reference at the tokens a loss would be taken at, without a tape.
-- @tparam Model model
-- @tparam Model reference of the same vocabulary
-- @tparam {BatchPart,...} parts of `batch.parts` or a rollout
-- @tparam ?table opts `temperature` (1) the logits of both are divided by
-- @treturn Tensor [N], nats, in the order of the sequences
function loss.sequence_kl(model, reference, parts, opts)
  return (
    over(
      parts,
      function(part)
        return select(3, loss.logprobs_and_kl(model, reference, part.batch, part.at, opts))
      end
    )
  )
end

--- Scores of sequences by a scalar-head model, read at their last tokens, without a tape.
-- @tparam Model model
-- @tparam {BatchPart,...} parts of `batch.parts` or a rollout
-- @treturn Tensor [B], in the order of the sequences
function loss.sequence_scores(model, parts)
  return (
    over(
      parts,
      function(part) return model:scores(part.batch, { rows = batch.last_rows(part.batch) }) end
    )
  )
end

--- The scores of all scalar heads, as `loss.sequence_scores` has their mean.
-- @tparam Model model with `Model:score_heads` H of them
-- @tparam {BatchPart,...} parts of `batch.parts` or a rollout
-- @treturn Tensor [B, H], in the order of the sequences
function loss.sequence_head_scores(model, parts)
  local flat = over(parts, function(part)
    local rows = batch.last_rows(part.batch)
    return model:head_scores(part.batch, { rows = rows }):reshape(-1)
  end)
  return flat:reshape(-1, model:score_heads())
end

--- The scores of all scalar heads, and hidden states where the tokens a loss would be taken at are
-- predicted, by one forward without a tape.
-- @tparam Model model of C channels, with `Model:score_heads` H of them
-- @tparam {BatchPart,...} parts of `batch.parts` or a rollout
-- @treturn {{number,...},...} of each head one score for each sequence, in their order
-- @treturn Tensor [N, C], in the order of the sequences
function loss.sequence_scores_and_hidden(model, parts)
  local lists = {}
  for h = 1, model:score_heads() do
    lists[h] = {}
  end
  local states = over(parts, function(part)
    local rows = core.concat { part.at.rows, batch.last_rows(part.batch) }
    local hidden = few(part) and model:hidden(part.batch, { rows = rows })
      or core.gather(model:hidden(part.batch), rows)
    local n = part.at.count
    for _, row in ipairs(model:head_scores_of(hidden:slice { start = n + 1 }):totable()) do
      for h, score in ipairs(row) do
        lists[h][#lists[h] + 1] = score
      end
    end
    return hidden:slice({ stop = n }):reshape(-1)
  end)
  return lists, states:reshape(-1, model.spec.out_width)
end

--- Values of a scalar-head model where the tokens a loss would be taken at are predicted, without a
-- tape.
-- @tparam Model model
-- @tparam {BatchPart,...} parts of `batch.parts` or a rollout
-- @treturn Tensor [N], in the order of the sequences
function loss.sequence_values(model, parts)
  return (
    over(parts, function(part)
      local some = few(part)
      local values = model:scores(part.batch, { rows = some })
      return some and values or core.gather(values, part.at.rows)
    end)
  )
end

--- Mean loss over a whole set, nats a token, without a tape.
-- @tparam Model model
-- @tparam {{integer,...},...} sequences token ids of each
-- @tparam ?{{integer|boolean,...},...} masks of each token 1 or 0: is it counted? (default: all but
--   the first of each sequence)
-- @tparam ?table opts `max_tokens` (16384) a forward
-- @treturn ?number nats a token; nil when no token is trained: nothing measured is not 0
-- @treturn integer trained tokens
function loss.evaluate(model, sequences, masks, opts)
  opts = options.take("loss.evaluate", opts, of_evaluate)
  local sum, count = 0, 0
  local guard <close> = core.no_grad()
  for _, indices in ipairs(batch.split(sequences, opts.max_tokens or 16384)) do
    local scope <close> = core.scope("loss.part")
    local part_loss, n = loss.lm(
      model,
      batch.take(sequences, indices),
      masks and batch.take(masks, indices),
      { norm = 1 }
    )
    sum, count = sum + part_loss:item(), count + n
  end
  return count > 0 and sum / count or nil, count
end

return loss
