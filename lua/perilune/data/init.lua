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

local batch = require("perilune.data.batch")
local chat = require("perilune.data.chat")
local encode = require("perilune.data.encode")
local files = require("perilune.base.files")
local ingest = require("perilune.ingest")
local json = require("perilune.base.json")
local lfs = require("lfs")
local random = require("perilune.base.random")
local store = require("perilune.store")
local token_cache = require("perilune.data.token_cache")
local trial = require("perilune.data.trial")

local data = {}

--- What became of the rows of a data set.
-- @class RowCounts
-- @field integer rows that came in: `used` and all of `left_out`
-- @field integer used rows that are in the set
-- @field {[string]=integer} left_out rows by the reason why they are not
-- @field {[string]=integer} changed rows in the set by what was changed of them

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

-- "PATH#PART.SIDE" or "PATH#SET:PART.SIDE" of a store; nil when that is the name of a file.
local function store_part(path)
  if lfs.attributes(path, "mode") then return nil end
  local file, name = path:match("^(.+)#([^#]+)$")
  if file then
    local set, rest = name:match("^(.*):([^:]*)$")
    local part, side = (rest or name):match("^(%w+)%.(%w+)$")
    if part then return file, set, part, side end
  end
end

local function open_store(path)
  local opened, message = store.open(path, { readonly = true })
  return opened or error(("cannot open the store %s: %s"):format(path, message), 0)
end

--- Rows of a data set, one a call; raises with the file and line of a row that cannot be read.
-- @tparam string path a file, or a part of a store
-- @tparam ?table account takes what the reader leaves out (files of others' forms): an object with
--   `leave_out(self, reason)`
-- @tparam ?boolean labels true: answers come with what is thought of them, good or bad, see
--   `ingest.training`
-- @treturn function giving a row and its number, nil at the end
function data.each(path, account, labels)
  local number = 0
  local file, set, part, side = store_part(path)
  if file then
    local next_row = open_store(file):set_rows(part, side, { set = set })
    return function()
      number = number + 1
      local row = next_row()
      if row then return row, number end
    end
  end
  local next_row, message = ingest.training(path, account and {
    on_bad = function() account:leave_out("cannot be read") end,
    on_skip = function(_, reason) account:leave_out(reason) end,
    labels = labels,
  } or { labels = labels })
  return next_row or error(message, 0)
end

--- All rows of a data set as a list; raises as `each` does.
-- @tparam string path a file, or a part of a store
-- @treturn {Row,...} in order
function data.rows(path)
  local rows = {}
  for row in data.each(path) do
    rows[#rows + 1] = row
  end
  return rows
end

--- A hash of the content of a data set. Raises when it cannot be read.
-- @tparam string path a file, or a part of a store
-- @treturn string
function data.hash(path)
  if not store_part(path) then
    local hash, message = files.hash(path)
    return hash or error(("cannot read %s: %s"):format(path, message), 0)
  end
  local hash = ""
  for row in data.each(path) do
    hash = files.hash_string(hash .. json.encode(row))
  end
  return hash
end

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

-- Accounts ---------------------------------------------------------------------------------------

-- Every row that comes in is used or left out for a reason; used rows may be changed.
local Account = {}
Account.__index = Account

function Account.new()
  return setmetatable({ rows = 0, used = 0, left_out = {}, changed = {} }, Account)
end

local function count(into, name, n) into[name] = (into[name] or 0) + (n or 1) end

function Account:use()
  self.rows, self.used = self.rows + 1, self.used + 1
end

function Account:leave_out(reason)
  self.rows = self.rows + 1
  count(self.left_out, reason)
end

-- n of something that was changed in rows that are used.
function Account:change(what, n)
  if n > 0 then count(self.changed, what, n) end
end

-- The account as plain data, once it adds up.
function Account:close()
  local left_out = 0
  for _, n in pairs(self.left_out) do
    left_out = left_out + n
  end
  assert(self.rows == self.used + left_out, "rows in are not used and left out")
  return { rows = self.rows, used = self.used, left_out = self.left_out, changed = self.changed }
end

local function listed(counts)
  local parts = {}
  for name, n in pairs(counts) do
    parts[#parts + 1] = ("%s %d"):format(name, n)
  end
  table.sort(parts)
  return table.concat(parts, ", ")
end

--- An account in a line: "10 rows, 8 used; left out: too long 2; answers cut at the end 1".
-- @tparam RowCounts counts of a set
-- @treturn string
function data.account(counts)
  local text = ("%d rows, %d used"):format(counts.rows, counts.used)
  local left_out, changed = listed(counts.left_out), listed(counts.changed)
  return text
    .. (left_out ~= "" and "; left out: " .. left_out or "")
    .. (changed ~= "" and "; " .. changed or "")
end

--- The set itself, when there is something in it; else an error that says what became of its rows.
-- @tparam ExampleSet|table set of `data.prompts`, `data.examples`, `data.ranked` or `data.text`
-- @tparam string key of the recipe that named it
-- @tparam string path it was read from, for the error
-- @treturn ExampleSet|table `set`
function data.required(set, key, path)
  if set.counts.used == 0 then
    error(("%s %s: nothing in it can be used (%s)"):format(key, path, data.account(set.counts)), 0)
  end
  return set
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

-- All that decides what a data set is as token ids.
local function identity_of(form, tok, template, path, options)
  local identity = {
    form,
    code_version(),
    data.hash(path),
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
  local account = Account.new()
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

local function refuse(rows, what, number, message)
  local place = type(rows) == "string" and ("%s:%d"):format(rows, number)
    or ("%s row %d"):format(what, number)
  error(place .. ": " .. message, 0)
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
      local tokens, message = encode.prompt(tok, template, row)
      if not tokens then
        refuse(rows, "prompt", number, message)
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
        refuse(rows, "example", number, mask)
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
  if type(row.ranks) ~= "table" or type(answers) ~= "table" or #row.ranks ~= #answers then
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
      local sequences, masks = nil, nil
      if not wrong then
        sequences, masks = encode.ranked(tok, template, row)
      end
      if not sequences then refuse(rows, "ranking", number, wrong or masks) end
      local longest, unfinished = 0, 0
      for k, sequence in ipairs(sequences) do
        longest = math.max(longest, #sequence)
        unfinished = unfinished + (encode.finished(row, k) == false and 1 or 0)
      end
      if max_length and longest > max_length then
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

-- The answers of a row with a label: sequences, masks and labels; or nil and what is wrong.
local function labelled_answers(tok, template, row)
  if row.ranks == nil then
    if type(row.label) ~= "boolean" then return nil, "`label` must be true or false" end
    local sequence, mask = encode.judged(tok, template, row)
    if not sequence then return nil, mask end
    return { sequence }, { mask }, { row.label }
  end
  local wrong = wrong_ranks(row)
  if wrong then return nil, wrong end
  local all, all_masks = encode.ranked(tok, template, row)
  if not all then return nil, all_masks end
  local sequences, masks, labels, of = {}, {}, {}, labels_of(row.ranks)
  for k, sequence in ipairs(all) do
    if of[k] ~= nil then
      local n = #sequences + 1
      sequences[n], masks[n], labels[n] = sequence, all_masks[k], of[k]
    end
  end
  return sequences, masks, labels
end

--- Answers that are liked or not. Rankings give some too: what is ranked better than the mean rank
-- of its set is liked, what is ranked worse is not. Left out are answers that are longer with their
-- prompt than `max_length`: a cut one is not what was judged. Raises, as `data.prompts`, at a row
-- that is wrong.
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
        local sequences, masks, labels = labelled_answers(tok, template, row)
        if not sequences then refuse(rows, "answer", number, masks) end
        local used = 0
        for k, sequence in ipairs(sequences) do
          if not max_length or #sequence <= max_length then
            used = used + 1
            liked, disliked = liked + (labels[k] and 1 or 0), disliked + (labels[k] and 0 or 1)
            add({ sequence }, { masks[k] }, { row = row, label = labels[k] })
          end
        end
        if used > 0 then
          account:use()
          account:change("answers of a ranking that are too long", #sequences - used)
          account:change("answers of the mean rank", row.ranks and #row.ranks - #sequences or 0)
        else
          account:leave_out(#sequences == 0 and "all ranks equal" or "too long")
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

-- Documents of plain text: runs of lines that are not blank, joined by newlines whatever their line
-- ends were; raises with file and line at what is no text.
local function plain_documents(path)
  local reader, message = ingest.lines(path)
  if not reader then error(message, 0) end
  return function()
    local document = {}
    for line in reader do
      if line:find("%S") then
        document[#document + 1] = line
      elseif #document > 0 then
        break
      end
    end
    return #document > 0 and table.concat(document, "\n") or nil
  end
end

--- Documents of a file: {text} rows, or plain text between blank lines.
-- @tparam string path rows of {text} (.jsonl, .json, gzip or not, a part of a store), else text in
--   UTF-8, gzip or not
-- @tparam ?table account takes what is left out: an object with `leave_out(self, reason)`
-- @treturn function giving a document, nil at the end; raises with file and line at what is none
function data.documents(path, account)
  if path:match("%.jsonl?$") or path:match("%.jsonl?%.gz$") or store_part(path) then
    local each = data.each(path, account)
    return function()
      local row, number = each()
      if row and type(row.text) ~= "string" then
        refuse(path, "row", number, "no `text`: documents are rows of {text}")
      end
      return row and row.text
    end
  end
  return plain_documents(path)
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
  local account = Account.new()
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

-- Of the parts of so many steps the one with the largest forward, and how much of its size the mean
-- part has.
local function largest_part(part, steps, whole)
  local chosen, most, its_size, all = 1, 0, 0, 0
  for step = 1, steps do
    local sizes, total = {}, 0
    for i, index in ipairs((part(step))) do
      sizes[i] = whole.size(index)
      total = total + sizes[i]
    end
    for _, indices in ipairs(batch.split(sizes, whole.max_tokens)) do
      local forward = 0
      for _, i in ipairs(indices) do
        forward = forward + sizes[i]
      end
      if forward > most then
        chosen, most, its_size = step, forward, total
      end
    end
    all = all + total
  end
  return chosen, all / steps / its_size
end

--- Passes over 1..n in parts of `size`, each pass in an order of its own. A pass takes all n: its
-- last part may be smaller. Raises when n is 0.
-- @tparam integer n elements of the data
-- @tparam integer size elements of a part
-- @tparam integer seed of the run
-- @tparam string name of the random stream, such as "sft.order"
-- @tparam ?table whole what `perilune plan` must know to try the largest part: `size(i)`, the
--   tokens of one of the n, `passes`, how many there will be, `max_tokens` of a forward
-- @treturn {steps=integer,at=function} `steps`, the parts of a pass; `at(step)`, step from 1: the
--   indices of that part, from 1, and the number of its pass, from 1
function data.epochs(n, size, seed, name, whole)
  if n < 1 then error("the data set is empty: there is nothing to train on", 0) end
  local steps, pass, order = (n + size - 1) // size, nil, nil
  local function part(step)
    local wanted, place = (step - 1) // steps + 1, (step - 1) % steps
    if wanted ~= pass then
      pass, order = wanted, random.permutation(n, seed, name, wanted)
    end
    return table.move(order, place * size + 1, math.min(n, (place + 1) * size), 1, {}), pass
  end
  local last = trial.last
  if not last or not whole then return { steps = steps, at = part } end
  local all = math.min(steps * whole.passes, trial.steps)
  local largest, share = largest_part(part, all, whole)
  trial.note(share)
  return {
    steps = steps,
    at = function(step) return part(step == last and largest or step) end,
  }
end

--- An endless stream over 1..n in shuffled passes: element k (from 1) is a function of k alone, so
-- the place in the data is one number in a checkpoint.
-- @tparam integer n elements of the data, at least 1
-- @tparam integer seed of the run
-- @tparam string name of the random stream, such as "sft.order"
-- @treturn function (k) -> index, both from 1
function data.stream(n, seed, name)
  local pass, order
  return function(k)
    local wanted = (k - 1) // n
    if wanted ~= pass then
      pass, order = wanted, random.permutation(n, seed, name, wanted)
    end
    return order[(k - 1) % n + 1]
  end
end

return data
