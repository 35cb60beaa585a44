--- Losses and scores of models over sequences: packing, forward, fused kernel.
--
-- Sequences are lists of token ids, masks lists of 1 and 0 (is this token trained?). Every sum is
-- divided by a number the caller may give (`norm`), so that a batch taken in micro-batches has the
-- gradient of the whole batch.
-- @module perilune.learn.loss

local core = require("perilune.core")
local batch = require("perilune.data.batch")

local loss = {}

--- Mean negative log-likelihood of the trained tokens, nats a token.
-- @param model
-- @tparam table sequences
-- @tparam[opt] table masks
-- @tparam[opt] table opts `norm` (default: the number of trained tokens), `dropout`, `checkpoint`
-- @return loss tensor, number of trained tokens
function loss.lm(model, sequences, masks, opts)
  opts = opts or {}
  local packed, at = batch.pack(sequences), batch.targets(sequences, masks)
  local hidden = model:hidden(packed, opts)
  local norm = opts.norm or math.max(1, at.count)
  return core.cross_entropy(hidden, model:head(), at.rows, at.targets, nil, { scale = 1 / norm }),
    at.count
end

--- Log-probs (and entropies) of the chosen tokens, in the order of batch.targets.
-- @param model
-- @tparam table packed from batch.pack
-- @tparam table at from batch.targets
-- @tparam[opt] table opts `temperature` 1
-- @return logprob [N], entropy [N]
function loss.logprobs(model, packed, at, opts)
  opts = opts or {}
  return core.logprob(model:hidden(packed, opts), model:head(), at.rows, at.targets,
    { temperature = opts.temperature or 1 })
end

--- Runs `fn(indices)` over parts of `sequences` of at most `max_tokens` tokens, without a tape.
function loss.in_parts(sequences, max_tokens, fn)
  local guard <close> = core.no_grad()
  for _, indices in ipairs(batch.split(sequences, max_tokens)) do
    local scope <close> = core.scope("loss.part")
    fn(indices)
  end
end

--- Log-probs of the masked tokens as plain tables, one list for each sequence.
-- @tparam[opt] table opts `temperature` 1, `max_tokens` 16384 a part
-- @treturn table list of lists
function loss.sequence_logprobs(model, sequences, masks, opts)
  opts = opts or {}
  local lists = {}
  loss.in_parts(sequences, opts.max_tokens or 16384, function(indices)
    local part = batch.take(sequences, indices)
    local at = batch.targets(part, masks and batch.take(masks, indices))
    local flat = loss.logprobs(model, batch.pack(part), at, opts):totable()
    local segments = at.segments:totable()
    for i, index in ipairs(indices) do
      lists[index] = table.move(flat, segments[i] + 1, segments[i + 1], 1, {})
    end
  end)
  return lists
end

--- Scores of sequences by a scalar-head model, read at their last tokens, as a plain list.
function loss.sequence_scores(model, sequences, opts)
  opts = opts or {}
  local list = {}
  loss.in_parts(sequences, opts.max_tokens or 16384, function(indices)
    local part = batch.take(sequences, indices)
    local flat = core.gather(model:scores(batch.pack(part)), batch.last_rows(part)):totable()
    for i, index in ipairs(indices) do
      list[index] = flat[i]
    end
  end)
  return list
end

--- Values of a scalar-head model where the masked tokens are predicted, one list for each sequence.
function loss.sequence_values(model, sequences, masks, opts)
  opts = opts or {}
  local lists = {}
  loss.in_parts(sequences, opts.max_tokens or 16384, function(indices)
    local part = batch.take(sequences, indices)
    local at = batch.targets(part, masks and batch.take(masks, indices))
    local flat = core.gather(model:scores(batch.pack(part)), at.rows):totable()
    local segments = at.segments:totable()
    for i, index in ipairs(indices) do
      lists[index] = table.move(flat, segments[i] + 1, segments[i + 1], 1, {})
    end
  end)
  return lists
end

--- Mean loss over a whole set, nats a token, without a tape.
function loss.evaluate(model, sequences, masks, opts)
  opts = opts or {}
  local sum, count = 0, 0
  loss.in_parts(sequences, opts.max_tokens or 16384, function(indices)
    local part_loss, n = loss.lm(model, batch.take(sequences, indices),
      masks and batch.take(masks, indices), { norm = 1 })
    sum, count = sum + part_loss:item(), count + n
  end)
  return sum / math.max(1, count), count
end

return loss
