--- Rows of sets that were made for training: held to the rules of all rows, every field kept.
--
-- A row in a form of perilune.data stays as it stands when it is right; one that says its context
-- or answers in another way (`system`, `history`, a pair, scores, a verdict) gets the canonical
-- fields beside its own. Token ids of its own are checked for what they can be without a
-- tokenizer: integers from 0.

local exchange = require("perilune.ingest.exchange")
local exports = require("perilune.ingest.exports")
local field_names = require("perilune.ingest.field_names")
local row_fields = require("perilune.ingest.row_fields")
local turns = require("perilune.ingest.turns")
local verdicts = require("perilune.ingest.verdicts")

local own_rows = {}

--- Whether a record is in a form of perilune.data; nil when it says nothing, since its prompt is
-- neither text nor turns.
function own_rows.is_own(row)
  local prompt = row.prompt
  if prompt ~= nil and type(prompt) ~= "string" and type(prompt) ~= "table" then return nil end
  if row.chosen or row.response_j or exports.of(row) then
    return false
  elseif type(prompt) == "string" or type(prompt) == "table" and prompt[1] then
    return true
  end
  return (row.messages or row.prompt_tokens or row.text) and true or false
end

--- Fields that say of context or answers what the forms of perilune.data do not.
local more = { role = true, ranking = true }
for _, group in ipairs { "system", "history", "chosen", "rejected", "scores", "deleted" } do
  for _, name in ipairs(field_names.groups[group]) do
    more[name] = true
  end
end
for _, name in ipairs(field_names.verdicts) do
  more[name] = true
end
for _, name in ipairs { "responses", "answers", "labels", "conversation", "conversations" } do
  more[name] = true
end

local function says_more(record)
  for key in next, record do
    if more[key] then return true end
  end
  return false
end

local function wrong_ids(name, list)
  if type(list) ~= "table" then
    return ("%s is a %s, expected a list of token ids"):format(name, type(list))
  end
  for i, id in ipairs(list) do
    if type(id) == "table" then
      local wrong = wrong_ids(("%s %d"):format(name, i), id)
      if wrong then return wrong end
    elseif math.type(id) ~= "integer" or id < 0 then
      return ("%s %d is %s, expected a token id (an integer from 0)"):format(name, i, tostring(id))
    end
  end
end

local function wrong_messages(messages, name)
  if type(messages) ~= "table" then
    return ("%s is a %s, expected a list of turns"):format(name, type(messages))
  end
  local read, reason = turns.messages(messages)
  return not read and reason or #read == 0 and "messages hold no turn of a user" or nil
end

-- The turns of an answer that is a list, in our own writing; a reason when they are none.
local function answer_turns(list)
  if list[1] == nil then return nil, "the completion holds no turn" end
  local whole = table.move(list, 1, #list, 2, { { role = "user", content = "-" } })
  local read, reason = turns.messages(whole) -- which begin with a user's
  if not read then return nil, reason end
  return table.move(read, 2, #read, 1, {})
end

--- What is wrong with a row in our own form, or nil; ranks are made competition ranks.
local function wrong(row)
  local prompt, messages = row.prompt, row.messages
  if row.prompt_tokens ~= nil or row.completion_tokens ~= nil then
    local reason = row.prompt_tokens ~= nil and wrong_ids("prompt_tokens", row.prompt_tokens)
      or row.completion_tokens ~= nil and wrong_ids("completion_tokens", row.completion_tokens)
    if reason then return reason end
  elseif messages ~= nil then
    local reason = wrong_messages(messages, "messages")
    if reason or turns.all_unwanted(messages) then
      return reason or "every answer has weight 0", not reason
    end
  elseif type(prompt) == "table" then
    local reason = wrong_messages(prompt, "prompt")
    if reason then return reason end
  elseif prompt == nil and row.text ~= nil then
    return type(row.text) ~= "string" and ("text is a %s, not a text"):format(type(row.text)) or nil
  elseif type(prompt) ~= "string" then
    return prompt == nil and "no prompt" or ("prompt is a %s, not a text"):format(type(prompt))
  end
  local completion = row.completion
  if completion ~= nil and type(completion) ~= "string" then
    if type(completion) ~= "table" then
      return ("completion is a %s, not a text"):format(type(completion))
    end
    local read, reason = answer_turns(completion)
    if not read then return reason end
    row.completion = read
  elseif completion and not completion:find("%S") then
    return "an empty answer", true
  end
  if row.completions ~= nil then
    return row_fields.check_completions(row)
  elseif row.ranks ~= nil and row.completion_tokens == nil then
    return "ranks without completions"
  end
  return nil
end

--- Turns in our own writing: the same list when it is so, else a copy (texts in parts are joined,
-- roles of other programs are ours).
local function plain_turns(list)
  for _, turn in ipairs(type(list) == "table" and list or {}) do
    local plain = type(turn) == "table"
      and type(turn.content) == "string"
      and turns.role(turn) == turn.role
      and (turn.weight == nil or turn.weight == 0)
    if not plain then return turns.messages(list) or list end
  end
  return list
end

-- In a set that was made for training an answer by another name is one to train on, too.
local function name_answer(row)
  if row.prompt == nil or row.completion ~= nil or row.completions ~= nil then return end
  for _, name in ipairs { "response", "output", "answer" } do
    local answer = row[name]
    if type(answer) == "string" and answer:find("%S") then
      row.completion = answer
      return
    end
  end
end

-- A row whose context or answers are said in another way, in the canonical fields.
local function converted(record, opts)
  local how = { extra = false, labels = opts.labels, answers = "person" }
  local row, reason, skipped = exchange.read(record, how)
  if not row then return nil, reason, skipped end
  local copy = {}
  for key, value in pairs(record) do
    copy[key] = value
  end
  copy.prompt, copy.messages, copy.completion = row.prompt, row.messages, row.completion
  copy.completions, copy.ranks, copy.rankings = row.completions, row.ranks, row.rankings
  copy.silent_turns = row.silent_turns
  if opts.labels then copy.label = row.label end
  copy.text = nil
  return copy
end

-- What is wrong with the label of a row that has no ranks, or nil; one that is right is made a
-- boolean.
local function wrong_label(row)
  if row.ranks or row.rankings then return nil end
  local label = verdicts.of(row)
  if label == nil or row.completion == nil and row.completion_tokens == nil then
    return verdicts.missing(row), true
  end
  row.label = label
end

--- The rows of a record.
-- @tparam table record
-- @tparam table out
-- @tparam table opts `labels`: answers come with what is thought of them, good or bad
-- @treturn integer how many rows were put into `out`: 0, 1, or one for each rated turn
-- @treturn ?string reason when none was
-- @treturn ?boolean true when the record is passed over
function own_rows.read(record, out, opts)
  local rated = opts.labels and verdicts.rated(record, out) or 0
  if rated > 0 then return rated end
  local row, reason, skipped = record, nil, nil
  local is_text = record.text ~= nil and record.prompt == nil and record.messages == nil
  if record.prompt_tokens == nil and not is_text and says_more(record) then
    row, reason, skipped = converted(record, opts)
  end
  if row then
    for _, name in ipairs { "messages", "prompt" } do
      row[name] = plain_turns(row[name])
    end
    name_answer(row)
    reason, skipped = wrong(row)
    if not reason and opts.labels then
      reason, skipped = wrong_label(row)
    end
  end
  if reason then return 0, reason, skipped end
  out[#out + 1] = row
  return 1
end

return own_rows
