--- Ragged, packed batches: sequences laid end to end, and where each begins.
--
--     batch.tokens     int32 [T]    all tokens
--     batch.positions  int32 [T]    0 at the start of each sequence
--     batch.offsets    int32 [B+1]  where sequences start; the last is T
--     batch.size, batch.count       B and T
-- There is no padding, so there are no pad ids and no attention masks. A loss names the rows (flat
-- places) it is taken at: row r predicts the token after r. Those of a batch are its `at`:
--
--     at.rows, at.targets  int32 [N]    where, and the token that stands behind
--     at.segments          int32 [B+1]  how many there are in each sequence, as offsets
--     at.count             N

local core = require("perilune.core")
local list = require("perilune.base.list")
local ragged = core.ragged

local batch = {}

--- Sequences as a model reads them: packed end to end, without padding.
-- @class Batch
-- @field Tensor tokens int32 [T], all tokens
-- @field Tensor positions int32 [T], 0 at the start of each sequence
-- @field Tensor offsets int32 [B+1], where sequences start; the last is T
-- @field integer size B, sequences
-- @field integer count T, tokens

--- Where a loss is taken in a batch: at the rows that predict a trained token.
-- @class LossPlaces
-- @field Tensor rows int32 [N], places in the batch's tokens, from 0
-- @field Tensor targets int32 [N], the token that stands behind each
-- @field Tensor segments int32 [B+1], how many there are in each sequence, as offsets
-- @field integer count N

--- Sequences to be scored in one pass.
-- @class BatchPart
-- @field Batch batch
-- @field LossPlaces at where its losses are taken

local kinds = { string = "text", ["nil"] = "nothing" }

local function kind_of(value)
  if core.is_tensor(value) then return "a tensor" end
  return kinds[type(value)] or "a " .. type(value)
end

-- Raises two levels up when these are no lists of token ids; what is in the lists is checked where
-- it becomes int32.
local function check_sequences(sequences, name)
  local wanted = (name or "sequences") .. ": list of token lists wanted, got "
  if type(sequences) ~= "table" then error(wanted .. kind_of(sequences), 3) end
  for b, sequence in ipairs(sequences) do
    if type(sequence) ~= "table" then
      local what = type(sequence) == "number" and "one token list; put it into braces"
        or ("%s at place %d"):format(kind_of(sequence), b)
      error(wanted .. what, 3)
    end
  end
  if next(sequences) ~= nil and sequences[1] == nil then
    error(wanted .. "a table of named fields", 3)
  end
end

--- Sequences of token ids, laid end to end.
-- @class Ragged
-- @field Tensor tokens int32 [T], all tokens
-- @field Tensor offsets int32 [B+1], where sequences start; the last is T
local Ragged = {}

function Ragged:__tostring()
  local offsets = self.offsets
  if not offsets:alive() or not self.tokens:alive() then return "batch (its tensors were freed)" end
  local lengths, places = {}, offsets:totable()
  for b = 1, math.min(#places - 1, 12) do
    lengths[b] = places[b + 1] - places[b]
  end
  return ("batch of %d sequences, %d tokens; lengths %s%s"):format(
    #places - 1,
    #self.tokens,
    table.concat(lengths, " "),
    #places - 1 > 12 and " ..." or ""
  )
end

--- Sequences laid end to end. Raises when they are no lists of token ids.
-- @tparam {{integer,...},...} sequences token ids of each
-- @treturn Ragged in tensors of the scope that is open
function batch.ragged(sequences)
  check_sequences(sequences)
  local tokens, offsets = {}, { 0 }
  for b, sequence in ipairs(sequences) do
    list.append(tokens, sequence)
    offsets[b + 1] = #tokens
  end
  return setmetatable(
    { tokens = core.tensor(tokens, "int32"), offsets = core.tensor(offsets, "int32") },
    Ragged
  )
end

local function packed(tokens, offsets)
  return setmetatable({
    tokens = tokens,
    positions = ragged.positions(offsets),
    offsets = offsets,
    size = #offsets - 1,
    count = #tokens,
  }, Ragged)
end

--- Packs sequences for a model. Raises when they are no lists of token ids.
-- @tparam {{integer,...},...} sequences token ids of each
-- @treturn Batch in tensors of the scope that is open
function batch.pack(sequences)
  check_sequences(sequences)
  local flat = batch.ragged(sequences)
  return packed(flat.tokens, flat.offsets)
end

--- Prompts with their answers behind them; the loss is taken at the answers.
-- @tparam Ragged prompts as of `batch.ragged`; none is empty
-- @tparam Ragged|Answers answers one behind each prompt, as of `batch.ragged` or `pl.generate`
-- @tparam ?{integer,...} indices which of the sequences, from 1 (default: all)
-- @treturn Batch the sequences
-- @treturn LossPlaces the tokens of the answers
function batch.join(prompts, answers, indices)
  local asked, asked_offsets = prompts.tokens, prompts.offsets
  local said, said_offsets = answers.tokens, answers.offsets
  if indices then
    asked, asked_offsets = ragged.take(asked, asked_offsets, indices)
    said, said_offsets = ragged.take(said, said_offsets, indices)
  end
  local tokens, offsets, rows = ragged.join(asked, asked_offsets, said, said_offsets)
  return packed(tokens, offsets),
    { rows = rows, targets = said, segments = said_offsets, count = #said }
end

--- Rows and targets of the tokens a loss is taken at. Raises when a mask is longer or shorter than
-- its sequence.
-- @tparam {{integer,...},...} sequences token ids of each
-- @tparam ?{{integer|boolean,...},...} masks for each sequence a list of 1 or 0 (or booleans): is
--   this token trained? Absent: all tokens but the first (which nothing predicts)
-- @treturn LossPlaces of the sequences packed in this order
function batch.targets(sequences, masks)
  check_sequences(sequences)
  if masks ~= nil then check_sequences(masks, "masks") end
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
    rows = core.tensor(rows, "int32"),
    targets = core.tensor(targets, "int32"),
    segments = core.tensor(segments, "int32"),
    count = n,
  }
end

--- Flat places of the last token of each sequence.
-- @tparam Batch packed_batch whose sequences are not empty
-- @treturn Tensor int32 [B], from 0
function batch.last_rows(packed_batch)
  local offsets, rows = packed_batch.offsets:totable(), {}
  for b = 1, packed_batch.size do
    rows[b] = offsets[b + 1] - 1
  end
  return core.tensor(rows, "int32")
end

--- Cuts a list of sequences into micro-batches of at most `max_tokens` tokens each (one sequence
-- may be longer), in order.
-- @tparam {{integer,...}|integer,...} sequences sequences, or their lengths in tokens
-- @tparam integer max_tokens of a part, tokens
-- @treturn {{integer,...},...} for each part the places of its sequences, from 1
function batch.split(sequences, max_tokens)
  local parts, part, total = {}, {}, 0
  for i, sequence in ipairs(sequences) do
    local length = type(sequence) == "number" and sequence or #sequence
    if #part > 0 and total + length > max_tokens then
      parts[#parts + 1], part, total = part, {}, 0
    end
    part[#part + 1] = i
    total = total + length
  end
  if #part > 0 then parts[#parts + 1] = part end
  return parts
end

-- Where more rows of a batch than this part are distinct, the model does them all (decoder.lua).
local MOST_DISTINCT <const> = 0.9
-- What a row that attention alone is given keeps, its query, key, value and result, as a part of
-- what any other row keeps; measured on GPT-2.
local ATTENTION_PART <const> = 0.4

-- Tokens that two sequences begin with in common.
local function in_common(a, b)
  local n = 0
  while a[n + 1] and a[n + 1] == b[n + 1] do
    n = n + 1
  end
  return n
end

--- What a forward takes for sequences that stand one after the other: what one has in common with
-- that before it is done once, but by attention.
-- @tparam {{integer,...},...} sequences token ids of each
-- @treturn integer tokens of all of them
-- @treturn number as many tokens without anything in common would take as much memory
function batch.load(sequences)
  local tokens, distinct = 0, 0
  for b, sequence in ipairs(sequences) do
    tokens = tokens + #sequence
    distinct = distinct + #sequence - (b > 1 and in_common(sequences[b - 1], sequence) or 0)
  end
  if distinct > MOST_DISTINCT * tokens then return tokens, tokens end
  return tokens, distinct + ATTENTION_PART * (tokens - distinct)
end

-- Tokens of a part: without a tape nothing is gained by more, and what a block makes of so many
-- stays in the caches.
local SCORED <const> = 512

--- Cuts sequences that are to be scored, without a tape, into parts of a few hundred tokens each
-- (one sequence may be longer), in order.
-- @tparam {{integer,...}|integer,...} sequences sequences, or their lengths in tokens
-- @tparam ?integer max_tokens of a part, tokens (default and at most: 512)
-- @treturn {{integer,...},...} for each part the places of its sequences, from 1
function batch.split_scored(sequences, max_tokens)
  return batch.split(sequences, math.min(max_tokens or SCORED, SCORED))
end

--- Packs sequences in parts of at most `max_tokens` tokens, to be scored by one model or several.
-- Raises when they are no lists of token ids.
-- @tparam {{integer,...},...} sequences token ids of each
-- @tparam ?{{integer|boolean,...},...} masks as of `batch.targets`
-- @tparam ?integer max_tokens of a part, tokens (default and at most: 512)
-- @treturn {BatchPart,...} the sequences in order
function batch.parts(sequences, masks, max_tokens)
  check_sequences(sequences)
  local parts = {}
  for i, indices in ipairs(batch.split_scored(sequences, max_tokens)) do
    local part = list.take(sequences, indices)
    parts[i] = {
      batch = batch.pack(part),
      at = batch.targets(part, masks and list.take(masks, indices)),
    }
  end
  return parts
end

batch.take = list.take

return batch
