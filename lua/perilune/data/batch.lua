--- Ragged, packed batches: sequences laid end to end, and where each begins.
--
--     batch.tokens     int32 [T]    all tokens
--     batch.positions  int32 [T]    0 at the start of each sequence
--     batch.offsets    int32 [B+1]  where sequences start; the last is T
--     batch.size, batch.count       B and T
-- There is no padding, so there are no pad ids and no attention masks. A loss names the rows (flat
-- places) it is taken at: row r predicts the token after r.
-- @module perilune.data.batch

local core = require("perilune.core")

local batch = {}

--- Packs sequences.
-- @tparam table sequences list of lists of token ids
-- @treturn table batch
function batch.pack(sequences)
  local tokens, positions, offsets = {}, {}, { 0 }
  local n = 0
  for b, sequence in ipairs(sequences) do
    for t = 1, #sequence do
      n = n + 1
      tokens[n], positions[n] = sequence[t], t - 1
    end
    offsets[b + 1] = n
  end
  return {
    tokens = core.tensor(tokens, "int32"), positions = core.tensor(positions, "int32"),
    offsets = core.tensor(offsets, "int32"), size = #sequences, count = n,
  }
end

--- Rows and targets of the tokens a loss is taken at.
-- @tparam table sequences list of lists of token ids
-- @tparam[opt] table masks for each sequence a list of 1 or 0 (or booleans): is this token trained?
--   Absent: all tokens but the first (which nothing predicts)
-- @treturn table `rows` and `targets` (int32 [N]), `segments` (int32 [B+1], how many in each
--   sequence), `count` N
function batch.targets(sequences, masks)
  local rows, targets, segments = {}, {}, { 0 }
  local n, start = 0, 0
  for b, sequence in ipairs(sequences) do
    local mask = masks and masks[b]
    if mask and #mask ~= #sequence then
      error(("sequence %d has %d tokens, its mask has %d"):format(b, #sequence, #mask), 2)
    end
    for t = 2, #sequence do
      if not mask or (mask[t] and mask[t] ~= 0) then
        n = n + 1
        rows[n], targets[n] = start + t - 2, sequence[t]
      end
    end
    start = start + #sequence
    segments[b + 1] = n
  end
  return {
    rows = core.tensor(rows, "int32"), targets = core.tensor(targets, "int32"),
    segments = core.tensor(segments, "int32"), count = n,
  }
end

--- Flat places of the last token of each sequence, int32 [B].
function batch.last_rows(sequences)
  local rows, at = {}, 0
  for b, sequence in ipairs(sequences) do
    at = at + #sequence
    rows[b] = at - 1
  end
  return core.tensor(rows, "int32")
end

--- Cuts a list of sequences into micro-batches of at most `max_tokens` tokens each (one sequence
-- may be longer), in order. Each part is a list of indices.
function batch.split(sequences, max_tokens)
  local parts, part, total = {}, {}, 0
  for i, sequence in ipairs(sequences) do
    if #part > 0 and total + #sequence > max_tokens then
      parts[#parts + 1], part, total = part, {}, 0
    end
    part[#part + 1] = i
    total = total + #sequence
  end
  if #part > 0 then
    parts[#parts + 1] = part
  end
  return parts
end

--- The elements of `list` at `indices`.
function batch.take(list, indices)
  local taken = {}
  for i, index in ipairs(indices) do
    taken[i] = list[index]
  end
  return taken
end

--- A permutation of 1..n that depends on (seed, purpose) alone.
function batch.permutation(n, seed, purpose)
  local order = {}
  for i = 1, n do
    order[i] = i
  end
  for i = n, 2, -1 do
    local j = 1 + math.floor(core.random_uniform(seed, purpose, i) * i)
    order[i], order[j] = order[j], order[i]
  end
  return order
end

return batch
