--- Data sets of the recipes: rows of JSON Lines or of a store, to token ids.
--
--   prompts    {prompt} text or messages, or {messages}
--   examples   {messages}, {prompt, completion}, {text}
--   ranked     {prompt, completions, ranks}; rank 1 is best, ties share a rank
--   labelled   {prompt, completion, label}; dialogues with rated turns; ranked
--   text       a file of plain text (documents apart by blank lines) or {text} rows
-- A row may bring token ids of its own (`prompt_tokens`, `completion_tokens`), and say whether its
-- answer was finished: `pl.data.encode` is the one way from text to tokens.
--
-- A data set is named by a path: rows of any form `pl.ingest` reads, gzip or not, or a part of
-- a store, "runs/collect/store.db#sft.train". It is read as a stream, tokenised once and kept by
-- the hash of its content (perilune.data.token_cache); elements come from there one at a time.
-- Which element comes k-th is a function of k alone (`stream`), so the place in the data is the
-- step of a checkpoint. `key` of a set says which data it is.
--
-- May use: base, store, ingest.

local accounts = require("perilune.data.accounts")
local chat = require("perilune.data.chat")
local encode = require("perilune.data.encode")
local files = require("perilune.base.files")
local lfs = require("lfs")
local order = require("perilune.data.order")
local reading = require("perilune.data.reading")
local token_cache = require("perilune.data.token_cache")

local data = {}

--- A prompt: an element of what `data.prompts` gives.
-- @class Prompt
-- @field {integer,...} tokens token ids
-- @field Row row where it came from

--- Training examples of a data set.
-- @class ExampleSet
-- @field {{integer,...},...} sequences token ids of each
-- @field {{integer,...},...} masks of each token 1 or 0: is it trained?
-- @field {Row,...} rows where they came from
-- @field {integer,...} lengths tokens of each
-- @field integer trained tokens that are trained, of all
-- @field RowCounts counts of its rows
-- @field string key hash of the data and of what it is read with

--- Ranked answers to one prompt: an element of what `data.ranked` gives.
-- @class RankedSet
-- @field {{integer,...},...} sequences token ids of the prompt with each answer, K of them
-- @field {{integer,...},...} masks of each token 1 or 0: is it of the answer?
-- @field {number,...} ranks of each; 1 is best, equal ones tie
-- @field Row row where they came from

--- An answer and whether it was liked: an element of what `data.labelled` gives.
-- @class LabelledAnswer
-- @field {integer,...} sequence token ids of the prompt with the answer
-- @field {integer,...} mask of each token 1 or 0: is it of the answer?
-- @field boolean label is it liked?
-- @field Row row where it came from

--- The template of a name: see perilune.data.template.
data.template = require("perilune.data.template")

data.each, data.rows, data.hash = reading.each, reading.rows, reading.hash
data.documents = reading.documents
data.account, data.required = accounts.told, accounts.required
data.epochs, data.stream = order.epochs, order.stream
data.encode = encode
data.stop_id, data.stop_ids = encode.stop_id, encode.stop_ids
data.prompt_ids, data.join = encode.prompt, encode.join

-- A list that is read when it is asked: what `get` gives for element i of a set.
local function lazy(set, get, fields)
  return setmetatable(fields or {}, {
    __len = function() return #set end,
    __tostring = function() return ("list of %d, each read when it is asked for"):format(#set) end,
    __index = function(_, i)
      if math.type(i) == "integer" and i >= 1 and i <= #set then return get(i) end
    end,
  })
end

-- Lists of a set whose elements are one sequence each.
local function sequences_of(set, fields)
  return lazy(set, function(i) return set:tokens(i).sequences[1] end, fields)
end

local function lengths_of(set)
  return lazy(set, function(i) return set:lengths(i)[1] end)
end

local function rows_of(set)
  return lazy(set, function(i) return set:info(i).row end)
end

--- The longest sequence of a run: what is asked for, or the shortest context of its models.
-- @tparam {Model,...} models that read it
-- @tparam integer wanted tokens
-- @treturn integer tokens
function data.room(models, wanted)
  for _, model in ipairs(models) do
    wanted = math.min(wanted, model:context() or wanted)
  end
  return wanted
end

-- Rows that are sound, but dialogues that the template cannot write, are left out and counted.

-- Tokenised sets ---------------------------------------------------------------------------------

-- A hash of the Lua files of a folder and those below it.
local function hash_of_sources(folder)
  local names, hashes = {}, {}
  for name in lfs.dir(folder) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local path = folder .. "/" .. name
    if name:match("%.lua$") then
      hashes[#hashes + 1] = assert(files.hash(path))
    elseif name:sub(1, 1) ~= "." and lfs.attributes(path, "mode") == "directory" then
      hashes[#hashes + 1] = hash_of_sources(path)
    end
  end
  return files.hash_string(table.concat(hashes, "\n"))
end

-- The code that makes rows of files, and tokens of rows: what it made before it was changed is not
-- taken.
local code
local function code_version()
  if not code then
    local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$")
    code = hash_of_sources(here) .. hash_of_sources(here .. "/../ingest")
  end
  return code
end

-- All that decides what a data set is as token ids: the file's name too, for a .txt is text where
-- the same bytes called .jsonl are rows, and a log has its day from it.
local function identity_of(form, tok, template, path, options)
  local identity = {
    form,
    code_version(),
    data.hash(path),
    path:match("[^/]*$"),
    tok:fingerprint(),
    chat.description.identity(tok, template),
  }
  for _, option in ipairs(options) do
    identity[#identity + 1] = tostring(option)
  end
  return identity
end

-- The set of rows (a path or a list) under one form; `build(each, add, account)` makes it and may
-- return further totals.
local function tokenised(form, tok, template, rows, options, build)
  local account = accounts.new()
  local function whole(each, add)
    local totals = build(each, add, account) or {}
    totals.counts = account:close()
    return totals
  end
  if type(rows) == "table" then
    return token_cache.memory(function(add)
      local number = 0
      return whole(function()
        number = number + 1
        return rows[number], rows[number] and number
      end, add)
    end)
  end
  return token_cache.open(
    identity_of(form, tok, template, rows, options),
    function(add) return whole(data.each(rows, account, form == "labelled"), add) end
  )
end

--- Prompts of at most `max_length` tokens. Raises, as all that read rows, with file and line at a
-- row that is wrong.
-- @tparam Tokenizer tok
-- @tparam ?Template template nil: prompts are plain text
-- @tparam string|{Row,...} rows a path, or rows
-- @tparam integer max_length in tokens; longer ones are left out
-- @tparam ?string reason what those are counted as (default: "too long")
-- @treturn {Prompt,...} with `key` (hash of the data), `counts` (RowCounts) and `lengths` (tokens
--   of each)
function data.prompts(tok, template, rows, max_length, reason)
  reason = reason or "too long"
  local options = { max_length, reason }
  local set = tokenised("prompts", tok, template, rows, options, function(each, add, account)
    for row, number in each do
      local tokens, message, kind = encode.prompt(tok, template, row)
      if not tokens then
        reading.reject(account, rows, "prompt", number, message, kind)
      elseif #tokens > max_length then
        account:leave_out(reason)
      else
        account:use()
        add({ tokens }, nil, { row = row })
      end
    end
  end)
  return lazy(
    set,
    function(i) return { tokens = set:tokens(i).sequences[1], row = set:info(i).row } end,
    { key = set.key, counts = set.totals.counts, lengths = lengths_of(set) }
  )
end

--- Training examples and which of their tokens are trained. An example whose prompt leaves no room
-- for an answer is left out; a longer one loses its earliest turns, or the end of its answer.
-- Raises, as `data.prompts`, at a row that is wrong.
-- @tparam Tokenizer tok
-- @tparam ?Template template nil: prompts are plain text
-- @tparam string|{Row,...} rows a path, or rows
-- @tparam integer max_length of an example, tokens
-- @treturn ExampleSet read from disk as its elements are asked for
function data.examples(tok, template, rows, max_length)
  local options = { max_length }
  local set = tokenised("examples", tok, template, rows, options, function(each, add, account)
    local trained = 0
    for row, number in each do
      local tokens, mask, info = encode.example(tok, template, row, max_length)
      if not tokens and info ~= "length" then
        reading.reject(account, rows, "example", number, mask, info)
      elseif not tokens then
        account:leave_out("no room for an answer")
      elseif info.trained == 0 then
        account:leave_out("nothing to train")
      else
        account:use()
        account:change("answers cut at the end", info.cut > 0 and 1 or 0)
        account:change("earlier turns dropped", info.dropped)
        account:change("turns behind the last answer dropped", info.behind)
        account:change(
          "earlier answers not trained, the template rewrites them",
          info.rewritten or 0
        )
        trained = trained + info.trained
        add({ tokens }, { mask }, { row = row })
      end
    end
    return { trained = trained }
  end)
  return {
    key = set.key,
    trained = set.totals.trained,
    counts = set.totals.counts,
    sequences = sequences_of(set),
    masks = lazy(set, function(i) return set:tokens(i).masks[1] end),
    rows = rows_of(set),
    lengths = lengths_of(set),
  }
end

local function wrong_ranks(row)
  local answers = row.completion_tokens or row.completions
  if answers == nil then
    return "no answers to rank: rows are {prompt, completions, ranks} or {prompt, chosen, rejected}"
  elseif type(row.ranks) ~= "table" or type(answers) ~= "table" or #row.ranks ~= #answers then
    return "`ranks` must have one number for each of `completions`"
  elseif #answers < 2 then
    return ("%d answers: a ranking has two or more"):format(#answers)
  end
  for k, rank in ipairs(row.ranks) do
    if math.type(rank) == nil or rank - rank ~= 0 then
      return ("rank %d is %s, not a finite number"):format(
        k,
        type(rank) == "number" and tostring(rank) or "a " .. type(rank)
      )
    end
  end
end

-- Whether some answer is better than another.
local function has_order(ranks)
  for k = 2, #ranks do
    if ranks[k] ~= ranks[1] then return true end
  end
  return false
end

local function all_same(sequences)
  local first = table.concat(sequences[1], ",")
  for k = 2, #sequences do
    if table.concat(sequences[k], ",") ~= first then return false end
  end
  return true
end

--- Ranked sets: all K answers to a prompt stay together. Left out are sets whose answers are all
-- equal; of which an answer with its prompt is longer than `max_length` (a cut answer is not what
-- was ranked); and, unless ties count, those in which all answers share a rank. Raises, as
-- `data.prompts`, at a row that is wrong.
-- @tparam Tokenizer tok
-- @tparam ?Template template nil: prompts are plain text
-- @tparam string|{Row,...} rows a path, or rows
-- @tparam ?integer max_length of a prompt with its answer, tokens (default: any)
-- @tparam ?string ties "half" keeps sets whose answers all share a rank (default: they are left
--   out)
-- @treturn {RankedSet,...} with `key` (hash of the data), `counts` (RowCounts) and `lengths` (for
--   each a list: tokens of each of its sequences)
function data.ranked(tok, template, rows, max_length, ties)
  local options = { max_length, ties or "drop" }
  local set = tokenised("ranked", tok, template, rows, options, function(each, add, account)
    for row, number in each do
      local wrong = wrong_ranks(row)
      local sequences, masks, kind = nil, nil, nil
      if not wrong then
        sequences, masks, kind = encode.ranked(tok, template, row)
      end
      local longest, unfinished = 0, 0
      for k, sequence in ipairs(sequences or {}) do
        longest = math.max(longest, #sequence)
        unfinished = unfinished + (encode.finished(row, k) == false and 1 or 0)
      end
      if not sequences then
        reading.reject(account, rows, "ranking", number, wrong or masks, kind)
      elseif max_length and longest > max_length then
        account:leave_out("too long")
      elseif all_same(sequences) then
        account:leave_out("equal answers")
      elseif ties ~= "half" and not has_order(row.ranks) then
        account:leave_out("all ranks equal")
      else
        account:use()
        account:change("answers that were cut when they were made", unfinished)
        add(sequences, masks, { row = row })
      end
    end
  end)
  return lazy(set, function(i)
    local row, tokens = set:info(i).row, set:tokens(i)
    return { sequences = tokens.sequences, masks = tokens.masks, ranks = row.ranks, row = row }
  end, {
    key = set.key,
    counts = set.totals.counts,
    lengths = lazy(set, function(i) return set:lengths(i) end),
  })
end

-- Whether each answer of a ranking is liked: better than the mean rank, or worse; nil for one that
-- is neither.
local function labels_of(ranks)
  local sum, labels = 0, {}
  for _, rank in ipairs(ranks) do
    sum = sum + rank
  end
  for k, rank in ipairs(ranks) do
    local side = rank * #ranks - sum
    if side ~= 0 then labels[k] = side < 0 end
  end
  return labels
end

-- Takes the labels off answers that the ranking has both among the liked and the others: how many.
local function drop_contested(labels, sequences)
  local by_text, contested = {}, {}
  for k, liked in pairs(labels) do
    local text = table.concat(sequences[k], " ")
    contested[text] = contested[text] or by_text[text] == not liked
    by_text[text] = liked
  end
  local dropped = 0
  for k = 1, #sequences do
    if labels[k] ~= nil and contested[table.concat(sequences[k], " ")] then
      labels[k], dropped = nil, dropped + 1
    end
  end
  return dropped
end

-- The answers of a row with a label: sequences, masks, labels and how many were left out, since the
-- same one is liked and disliked; or nil, what is wrong, and "template" when it cannot be written.
local function labelled_answers(tok, template, row)
  if row.ranks == nil then
    if type(row.label) ~= "boolean" then return nil, "`label` must be true or false" end
    local sequence, mask, kind = encode.judged(tok, template, row)
    if not sequence then return nil, mask, kind end
    return { sequence }, { mask }, { row.label }, 0
  end
  local wrong = wrong_ranks(row)
  if wrong then return nil, wrong end
  local all, all_masks, kind = encode.ranked(tok, template, row)
  if not all then return nil, all_masks, kind end
  local sequences, masks, labels, of = {}, {}, {}, labels_of(row.ranks)
  local contested = drop_contested(of, all)
  for k, sequence in ipairs(all) do
    if of[k] ~= nil then
      local n = #sequences + 1
      sequences[n], masks[n], labels[n] = sequence, all_masks[k], of[k]
    end
  end
  return sequences, masks, labels, contested
end

--- Answers that are liked or not. Rankings give some too: what is ranked better than the mean rank
-- of its set is liked, what is ranked worse is not, and what is both is neither. Left out are
-- answers that are longer with their prompt than `max_length`: a cut one is not what was judged.
-- Raises, as `data.prompts`, at a row that is wrong.
-- @tparam Tokenizer tok
-- @tparam ?Template template nil: prompts are plain text
-- @tparam string|{Row,...} rows a path, or rows
-- @tparam ?integer max_length of a prompt with its answer, tokens (default: any)
-- @treturn {LabelledAnswer,...} with `key` (hash of the data), `counts` (RowCounts), `liked` and
--   `disliked` (how many), and `lengths` (tokens of each)
function data.labelled(tok, template, rows, max_length)
  local set = tokenised(
    "labelled",
    tok,
    template,
    rows,
    { max_length },
    function(each, add, account)
      local liked, disliked = 0, 0
      for row, number in each do
        local sequences, masks, labels, contested = labelled_answers(tok, template, row)
        local used = 0
        for k, sequence in ipairs(sequences or {}) do
          if not max_length or #sequence <= max_length then
            used = used + 1
            liked, disliked = liked + (labels[k] and 1 or 0), disliked + (labels[k] and 0 or 1)
            add({ sequence }, { masks[k] }, { row = row, label = labels[k] })
          end
        end
        if not sequences then
          reading.reject(account, rows, "answer", number, masks, labels)
        elseif used > 0 then
          account:use()
          account:change("answers of a ranking that are too long", #sequences - used)
          account:change("equal answers, liked and disliked", contested)
          local labelled = #sequences + contested
          account:change("answers of the mean rank", row.ranks and #row.ranks - labelled or 0)
        else
          local none = contested > 0 and "equal answers" or "all ranks equal"
          account:leave_out(#sequences == 0 and none or "too long")
        end
      end
      return { liked = liked, disliked = disliked }
    end
  )
  return lazy(set, function(i)
    local tokens, info = set:tokens(i), set:info(i)
    return {
      sequence = tokens.sequences[1],
      mask = tokens.masks[1],
      label = info.label,
      row = info.row,
    }
  end, {
    key = set.key,
    counts = set.totals.counts,
    liked = set.totals.liked,
    disliked = set.totals.disliked,
    lengths = lengths_of(set),
  })
end

--- Text in pieces of at most `length` tokens: documents laid end to end, each with its beginning
-- and end token, cut where a piece is full. Empty documents are left out, and a last piece of one
-- token, which nothing can be learnt from.
-- @tparam Tokenizer tok
-- @tparam string path as for data.documents
-- @tparam integer length tokens of a piece at most
-- @treturn {{integer,...},...} token ids of each piece, with `key` (hash of the data), `counts`
--   (RowCounts; its rows are documents), `tokens` (in all pieces) and `lengths` (tokens of each)
function data.text(tok, path, length)
  local account = accounts.new()
  local set = token_cache.open(identity_of("text", tok, nil, path, { length }), function(add)
    local piece, tokens = {}, 0
    local function finish_piece()
      add { piece }
      tokens, piece = tokens + #piece, {}
    end
    for document in data.documents(path, account) do
      if document == "" then
        account:leave_out("empty")
      else
        account:use()
        for _, id in ipairs((encode.text(tok, document))) do
          piece[#piece + 1] = id
          if #piece == length then finish_piece() end
        end
      end
    end
    if #piece > 1 then finish_piece() end
    account:change("last token left over", #piece)
    return { counts = account:close(), tokens = tokens }
  end)
  return sequences_of(set, {
    key = set.key,
    counts = set.totals.counts,
    tokens = set.totals.tokens,
    lengths = lengths_of(set),
  })
end

return data
