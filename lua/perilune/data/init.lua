--- Data sets of the recipes: rows of JSON Lines or of a store, to token ids.
--
--   prompts    {prompt} text or messages, or {messages}
--   examples   {messages}, {prompt, completion}, {text}
--   ranked     {prompt, completions, ranks}; rank 1 is best, ties share a rank
--   text       a file of plain text (documents apart by blank lines) or {text} rows
-- A row may bring token ids of its own (`prompt_tokens`, `completion_tokens`): those are used as
-- they are, so that what a model said is never spelled out and tokenised again.
--
-- A data set is named by a path: rows of any form perilune.ingest reads, gzip or not, or a part of
-- a store, "runs/collect/store.db#sft.train". It is read as a stream, tokenised once and kept by
-- the hash of its content (perilune.data.token_cache); elements come from there one at a time.
-- Which element comes k-th is a function of k alone (`stream`), so the place in the data is the
-- step of a checkpoint. `key` of a set says which data it is.
--
-- May use: base, store, ingest.

local chat = require("perilune.data.chat")
local files = require("perilune.base.files")
local ingest = require("perilune.ingest")
local json = require("perilune.base.json")
local random = require("perilune.base.random")
local store = require("perilune.store")
local token_cache = require("perilune.data.token_cache")

local data = {}

--- The template of a name; raises when there is none of it.
-- @tparam string name "none", "plain" or "chatml"
-- @treturn ?table nil for "none": prompts are then plain text
function data.template(name)
  if name == "none" then
    return nil
  end
  return chat.templates[name]
    or error(("unknown template '%s'; known: none, plain, chatml"):format(name), 2)
end

-- "PATH#PART.SIDE" or "PATH#SET:PART.SIDE" of a store, or nil.
local function store_part(path)
  local file, name = path:match("^(.+)#([^#]+)$")
  if file then
    local set, rest = name:match("^(.*):([^:]*)$")
    local part, side = (rest or name):match("^(%w+)%.(%w+)$")
    if part then
      return file, set, part, side
    end
  end
end

local function open_store(path)
  local opened, message = store.open(path, { readonly = true })
  return opened or error(("cannot open the store %s: %s"):format(path, message), 0)
end

--- Rows of a data set, one a call; raises with the file and line of a row that cannot be read.
-- @tparam string path a file, or a part of a store
-- @treturn function giving a row and its number, nil at the end
function data.each(path)
  local number = 0
  local file, set, part, side = store_part(path)
  if file then
    local next_row = open_store(file):set_rows(part, side, { set = set })
    return function()
      number = number + 1
      local row = next_row()
      if row then
        return row, number
      end
    end
  end
  local next_row, message = ingest.training(path)
  return next_row or error(message, 0)
end

--- All rows of a data set as a list; raises as `each` does.
-- @tparam string path a file, or a part of a store
-- @treturn {table,...}
function data.rows(path)
  local rows = {}
  for row in data.each(path) do
    rows[#rows + 1] = row
  end
  return rows
end

--- A hash of the content of a data set.
-- @tparam string path
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

--- The token that ends an answer; raises when neither template nor tokenizer names one.
-- @tparam Tokenizer tok
-- @tparam ?table template
-- @treturn integer its id
function data.stop_id(tok, template)
  if template then
    return chat.stop_id(tok, template)
  end
  return tok.eos_id or error("the tokenizer names no end token: see tok:set_special", 2)
end

--- Token ids of what stands before an answer.
-- @tparam Tokenizer tok
-- @tparam ?table template nil: prompts are plain text
-- @tparam table row
-- @treturn ?{integer,...} ids
-- @treturn ?string what is wrong with the row
function data.prompt_ids(tok, template, row)
  if row.prompt_tokens then
    return row.prompt_tokens
  end
  local messages = row.messages or (type(row.prompt) == "table" and row.prompt)
  if not messages and type(row.prompt) ~= "string" then
    return nil, "neither prompt nor messages"
  elseif messages and not template then
    return nil, "messages want a template: set `template`"
  elseif not template then
    return tok:encode(row.prompt, { bos = tok.bos_id ~= nil })
  end
  messages = messages or { { role = "user", content = row.prompt } }
  if messages[#messages].role == "assistant" then
    messages = table.move(messages, 1, #messages - 1, 1, {})
  end
  return chat.render(tok, template, messages, { add_generation_prompt = true })
end

--- Token ids of an answer given as text, its end token included.
function data.answer_ids(tok, template, text)
  local ids = tok:encode(text, { continued = true })
  ids[#ids + 1] = data.stop_id(tok, template)
  return ids
end

local function concat(a, b)
  local joined = table.move(a, 1, #a, 1, {})
  return table.move(b, 1, #b, #joined + 1, joined)
end

--- Prompt and answer as one sequence, and the mask of the answer.
-- @treturn table sequence
-- @treturn table mask
function data.join(prompt, answer)
  local mask = {}
  for i = 1, #prompt + #answer do
    mask[i] = i > #prompt and 1 or 0
  end
  return concat(prompt, answer), mask
end

-- A list that is read when it is asked: what `get` gives for element i of a set.
local function lazy(set, get, fields)
  return setmetatable(fields or {}, {
    __len = function() return #set end,
    __index = function(_, i)
      if math.type(i) == "integer" and i >= 1 and i <= #set then
        return get(i)
      end
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

-- All that decides what a data set is as token ids.
local function identity_of(form, tok, template, path, options)
  local identity = { form, data.hash(path), tok:fingerprint(),
    template and template.name or "none" }
  for _, option in ipairs(options) do
    identity[#identity + 1] = tostring(option)
  end
  return identity
end

-- The set of rows (a path or a list) under one form; `build(each, add)` makes it.
local function tokenised(form, tok, template, rows, options, build)
  if type(rows) == "table" then
    return token_cache.memory(function(add)
      local number = 0
      return build(function()
        number = number + 1
        return rows[number], number
      end, add)
    end)
  end
  return token_cache.open(identity_of(form, tok, template, rows, options), function(add)
    return build(data.each(rows), add)
  end)
end

--- Prompts of at most `max_length` tokens.
-- @tparam Tokenizer tok
-- @tparam ?table template nil: prompts are plain text
-- @tparam string|table rows a path, or a list of rows
-- @tparam integer max_length in tokens
-- @treturn table list of {tokens =, row =}, with `key` and `lengths` (a number for each)
-- @treturn integer how many were dropped as too long
function data.prompts(tok, template, rows, max_length)
  local set = tokenised("prompts", tok, template, rows, { max_length }, function(each, add)
    local dropped = 0
    for row, number in each do
      local tokens, message = data.prompt_ids(tok, template, row)
      if not tokens then
        error(("prompt row %d: %s"):format(number, message), 0)
      elseif #tokens > max_length then
        dropped = dropped + 1
      else
        add({ tokens }, nil, { row = row })
      end
    end
    return { dropped = dropped }
  end)
  return lazy(set, function(i)
    return { tokens = set:tokens(i).sequences[1], row = set:info(i).row }
  end, { key = set.key, lengths = lengths_of(set) }), set.totals.dropped
end

-- Token ids, mask and the number of trained tokens of a row of training data.
local function example(tok, template, row, max_length, number)
  if row.completion_tokens then
    local tokens, mask = data.join(assert(data.prompt_ids(tok, template, row)),
      row.completion_tokens)
    return tokens, mask, { trained = #row.completion_tokens }
  elseif row.text then
    local tokens = tok:encode(row.text, { bos = tok.bos_id ~= nil, eos = tok.eos_id ~= nil })
    tokens = table.move(tokens, 1, math.min(#tokens, max_length), 1, {})
    local mask = {}
    for i = 1, #tokens do
      mask[i] = i > 1 and 1 or 0
    end
    return tokens, mask, { trained = #tokens - 1 }
  end
  if template and type(row.prompt) == "string" then
    row = { messages = { { role = "user", content = row.prompt },
      { role = "assistant", content = row.completion } } }
  elseif row.completion and row.messages then -- as a store has it: the answer stands apart
    local messages = concat(row.messages, { { role = "assistant", content = row.completion } })
    row = { messages = messages }
  end
  return chat.example(tok, template, row, { max_length = max_length, row = number })
end

--- Training examples and which of their tokens are trained. An example whose prompt leaves no room
-- for an answer is dropped.
-- @tparam Tokenizer tok
-- @tparam ?table template nil: prompts are plain text
-- @tparam string|table rows a path, or a list of rows
-- @tparam integer max_length in tokens
-- @treturn table {sequences =, masks =, rows =, lengths =, trained = tokens, dropped = rows}
function data.examples(tok, template, rows, max_length)
  local set = tokenised("examples", tok, template, rows, { max_length }, function(each, add)
    local trained, dropped = 0, 0
    for row, number in each do
      local tokens, mask, info = example(tok, template, row, max_length, number)
      if tokens then
        trained = trained + info.trained
        add({ tokens }, { mask }, { row = row })
      elseif info == "length" then
        dropped = dropped + 1
      else
        error(mask, 0)
      end
    end
    return { trained = trained, dropped = dropped }
  end)
  return { key = set.key, trained = set.totals.trained, dropped = set.totals.dropped,
    sequences = sequences_of(set),
    masks = lazy(set, function(i) return set:tokens(i).masks[1] end),
    rows = rows_of(set),
    lengths = lengths_of(set) }
end

--- Ranked sets: all K answers to a prompt stay together. A set is dropped whole when an answer with
-- its prompt is longer than `max_length`: a cut answer is not what was ranked.
-- @tparam Tokenizer tok
-- @tparam ?table template nil: prompts are plain text
-- @tparam string|table rows a path, or a list of rows
-- @tparam ?integer max_length in tokens
-- @treturn table list of {sequences = K lists, ranks = K numbers, row =}, with `key` and `lengths`
--   (a list of K numbers for each)
-- @treturn integer how many were dropped as too long
function data.ranked(tok, template, rows, max_length)
  local set = tokenised("ranked", tok, template, rows, { max_length }, function(each, add)
    local dropped = 0
    for row, number in each do
      local prompt, message = data.prompt_ids(tok, template, row)
      local answers = row.completion_tokens
      if not prompt then
        error(("ranking row %d: %s"):format(number, message), 0)
      elseif not (row.ranks and #row.ranks == #(answers or row.completions or {})) then
        error(("ranking row %d: `ranks` must have one number for each of `completions`")
          :format(number), 0)
      end
      local sequences, longest = {}, 0
      for k = 1, #row.ranks do
        local ids = answers and answers[k] or data.answer_ids(tok, template, row.completions[k])
        sequences[k] = concat(prompt, ids)
        longest = math.max(longest, #sequences[k])
      end
      if max_length and longest > max_length then
        dropped = dropped + 1
      else
        add(sequences, nil, { row = row })
      end
    end
    return { dropped = dropped }
  end)
  return lazy(set, function(i)
    local row = set:info(i).row
    return { sequences = set:tokens(i).sequences, ranks = row.ranks, row = row }
  end, { key = set.key, lengths = lazy(set, function(i) return set:lengths(i) end) }),
    set.totals.dropped
end

-- Documents of a file: {text} rows, or plain text between blank lines.
local function documents_of(path)
  if path:match("%.jsonl?$") or path:match("%.jsonl?%.gz$") or store_part(path) then
    local each = data.each(path)
    return function()
      local row, number = each()
      if row then
        return row.text or error(("%s: row %d has no text"):format(path, number), 0)
      end
    end
  end
  local file, message = io.open(path, "rb")
  if not file then
    error(("cannot read %s: %s"):format(path, message), 0)
  end
  return function()
    local document = {}
    for line in file:lines("L") do
      if line:find("%S") then
        document[#document + 1] = line
      elseif #document > 0 then
        break
      end
    end
    if #document > 0 then
      return (table.concat(document):gsub("\n$", ""))
    end
    file:close()
  end
end

--- Text in pieces of at most `length` tokens: documents laid end to end, each with its beginning
-- and end token, cut where a piece is full; nothing is dropped.
-- @tparam Tokenizer tok
-- @tparam string path rows of {text} (.jsonl, .json, gzip or not, a part of a store), else plain
--   text with blank lines between documents
-- @tparam integer length of a piece, in tokens
-- @treturn table list of sequences, with `key` and `lengths` (a number for each)
function data.text(tok, path, length)
  local set = token_cache.open(identity_of("text", tok, nil, path, { length }), function(add)
    local piece = {}
    for document in documents_of(path) do
      for _, id in ipairs(tok:encode(document,
        { bos = tok.bos_id ~= nil, eos = tok.eos_id ~= nil })) do
        piece[#piece + 1] = id
        if #piece == length then
          add({ piece })
          piece = {}
        end
      end
    end
    if #piece > 1 then
      add({ piece })
    end
  end)
  return sequences_of(set, { key = set.key, lengths = lengths_of(set) })
end

--- Passes over 1..n in parts of `size`, each pass in an order of its own. A pass takes all n: its
-- last part may be smaller.
-- @tparam integer n
-- @tparam integer size
-- @tparam integer seed
-- @tparam string name of the random stream, such as "sft.order"
-- @treturn table `steps`, the parts of a pass; `at(step)`, step from 1: the indices of that part,
--   and the number of its pass, from 1
function data.epochs(n, size, seed, name)
  if n < 1 then
    error("the data set is empty: there is nothing to train on", 0)
  end
  local steps, pass, order = (n + size - 1) // size, nil, nil
  return {
    steps = steps,
    at = function(step)
      local wanted, place = (step - 1) // steps + 1, (step - 1) % steps
      if wanted ~= pass then
        pass, order = wanted, random.permutation(n, seed, name, wanted)
      end
      return table.move(order, place * size + 1, math.min(n, (place + 1) * size), 1, {}), pass
    end,
  }
end

--- An endless stream over 1..n in shuffled passes: element k (from 1) is a function of k alone, so
-- the place in the data is one number in a checkpoint.
-- @tparam integer n
-- @tparam integer seed
-- @tparam string name of the random stream, such as "sft.order"
-- @treturn function (k) -> index
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
