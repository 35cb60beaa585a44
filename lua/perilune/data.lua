--- Data sets of the recipes: rows of JSON Lines to token ids.
--
--   prompts    {prompt} text or messages, or {messages}
--   examples   {messages}, {prompt, completion}, {text}
--   ranked     {prompt, completions, ranks}; rank 1 is best, ties share a rank
--   text       a file of plain text (documents apart by blank lines) or {text} rows
-- A row may bring token ids of its own (`prompt_tokens`, `completion_tokens`): those are used as
-- they are, so that what a model said is never spelled out and tokenised again.
-- @module perilune.data

local batch = require("perilune.batch")
local chat = require("perilune.chat")
local files = require("perilune.files")
local jsonl = require("perilune.jsonl")

local data = {}

--- The template of a name: "none" gives nil, and prompts are then plain text.
function data.template(name)
  if name == "none" then
    return nil
  end
  return chat.templates[name]
    or error(("unknown template '%s'; known: none, plain, chatml"):format(name), 2)
end

--- Rows of a JSON Lines file; raises with the file's name when it cannot be read.
function data.rows(path)
  local rows, message = jsonl.read(path)
  return rows or error(("cannot read %s: %s"):format(path, message), 2)
end

--- The token that ends an answer.
function data.stop_id(tok, template)
  if template then
    return chat.stop_id(tok, template)
  end
  return tok.eos_id or error("the tokenizer names no end token: see tok:set_special", 2)
end

--- Token ids of what stands before an answer.
-- @return ids, or nil and what is wrong with the row
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

--- Prompts of at most `max_length` tokens.
-- @treturn table list of {tokens =, row =}
-- @treturn integer how many were dropped as too long
function data.prompts(tok, template, rows, max_length)
  local list, dropped = {}, 0
  for number, row in ipairs(rows) do
    local tokens, message = data.prompt_ids(tok, template, row)
    if not tokens then
      error(("prompt row %d: %s"):format(number, message), 2)
    elseif #tokens > max_length then
      dropped = dropped + 1
    else
      list[#list + 1] = { tokens = tokens, row = row }
    end
  end
  return list, dropped
end

--- Training examples and which of their tokens are trained.
-- @treturn table {sequences =, masks =, rows =, trained =}
function data.examples(tok, template, rows, max_length)
  local set = { sequences = {}, masks = {}, rows = {}, trained = 0 }
  for number, row in ipairs(rows) do
    local tokens, mask, info
    if row.completion_tokens then
      tokens, mask = data.join(assert(data.prompt_ids(tok, template, row)), row.completion_tokens)
      info = { trained = #row.completion_tokens }
    elseif row.text then
      tokens = tok:encode(row.text, { bos = tok.bos_id ~= nil, eos = tok.eos_id ~= nil })
      tokens = table.move(tokens, 1, math.min(#tokens, max_length), 1, {})
      mask = {}
      for i = 1, #tokens do
        mask[i] = i > 1 and 1 or 0
      end
      info = { trained = #tokens - 1 }
    else
      if template and type(row.prompt) == "string" then
        row = { messages = { { role = "user", content = row.prompt },
          { role = "assistant", content = row.completion } } }
      end
      tokens, mask, info = chat.example(tok, template, row, { max_length = max_length, row = number })
      if not tokens then
        error(mask, 2)
      end
    end
    local n = #set.sequences + 1
    set.sequences[n], set.masks[n], set.rows[n] = tokens, mask, row
    set.trained = set.trained + info.trained
  end
  return set
end

--- Ranked sets: all K answers to a prompt stay together.
-- @treturn table list of {sequences = K lists, ranks = K numbers, row =}
function data.ranked(tok, template, rows)
  local sets = {}
  for number, row in ipairs(rows) do
    local prompt, message = data.prompt_ids(tok, template, row)
    local answers = row.completion_tokens
    if not prompt then
      error(("ranking row %d: %s"):format(number, message), 2)
    elseif not (row.ranks and #row.ranks == #(answers or row.completions or {})) then
      error(("ranking row %d: `ranks` must have one number for each of `completions`"):format(number), 2)
    end
    local set = { sequences = {}, ranks = row.ranks, row = row }
    for k = 1, #row.ranks do
      local ids = answers and answers[k] or data.answer_ids(tok, template, row.completions[k])
      set.sequences[k] = concat(prompt, ids)
    end
    sets[number] = set
  end
  return sets
end

--- Text in pieces of at most `length` tokens: documents laid end to end, each with its beginning and
-- end token, cut where a piece is full; nothing is dropped.
-- @string path a .jsonl file of {text} rows, else plain text with blank lines between documents
-- @treturn table list of sequences
function data.text(tok, path, length)
  local documents = {}
  if path:match("%.jsonl$") then
    for number, row in ipairs(data.rows(path)) do
      documents[number] = row.text or error(("%s: row %d has no text"):format(path, number), 2)
    end
  else
    local text, message = files.read(path)
    if not text then
      error(("cannot read %s: %s"):format(path, message), 2)
    end
    for document in (text .. "\n\n"):gmatch("(.-)\n%s*\n") do
      if document:find("%S") then
        documents[#documents + 1] = document
      end
    end
  end
  return data.chunks(tok, documents, length)
end

--- As `text`, from a list of documents.
function data.chunks(tok, documents, length)
  local pieces, piece = {}, {}
  for _, document in ipairs(documents) do
    for _, id in ipairs(tok:encode(document, { bos = tok.bos_id ~= nil, eos = tok.eos_id ~= nil })) do
      piece[#piece + 1] = id
      if #piece == length then
        pieces[#pieces + 1], piece = piece, {}
      end
    end
  end
  if #piece > 1 then
    pieces[#pieces + 1] = piece
  end
  return pieces
end

--- An endless stream over 1..n in shuffled passes: element k (from 1) is a function of k alone, so
-- the place in the data is one number in a checkpoint.
-- @int n
-- @int seed
-- @int purpose
-- @treturn function(k) -> index
function data.stream(n, seed, purpose)
  local pass, order
  return function(k)
    local wanted = (k - 1) // n
    if wanted ~= pass then
      pass, order = wanted, batch.permutation(n, seed, purpose * 100000 + wanted)
    end
    return order[(k - 1) % n + 1]
  end
end

return data
