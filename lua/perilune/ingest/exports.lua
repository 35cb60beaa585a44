--- Exports of programs that say who won, or what was said, in a way of their own: each record is
-- written anew as one that exchange.lua reads.
--
--   arena         battles of two models: conversation_a, conversation_b, winner, judge (Chatbot
--                 Arena); or prompt, response_a, response_b, winner_model_a and its like, with
--                 turns as lists in JSON text. Who asked is who judged
--   webgpt        comparisons: question.full_text, answer_0, answer_1, score_0, score_1
--   shp           comparisons of Stanford Human Preferences: history (the question), human_ref_A,
--                 human_ref_B, labels (1: the first is preferred, 0: the second)
--   chatgpt       a user's export: a tree of messages under `mapping`; the branch that was shown
--                 last (`current_node`) is the dialogue, without what tools said
--   label_studio  tasks with pairwise annotations: which answer of `data` was selected, by whom

local core = require("perilune.core")
local format = require("perilune.base.format")
local turns = require("perilune.ingest.turns")

local json = core.json

local exports = {}

local function is_object(value) return type(value) == "table" end

--- Which of these a record is, or nil.
-- @tparam table record
-- @treturn ?string
function exports.of(record)
  if is_object(record.conversation_a) and is_object(record.conversation_b) then
    return "arena"
  elseif
    record.response_a ~= nil
    and record.response_b ~= nil
    and (record.winner ~= nil or record.winner_model_a ~= nil)
  then
    return "arena"
  elseif is_object(record.question) and record.answer_0 ~= nil and record.answer_1 ~= nil then
    return "webgpt"
  elseif record.human_ref_A ~= nil and record.human_ref_B ~= nil then
    return "shp"
  elseif is_object(record.mapping) and record.messages == nil and record.prompt == nil then
    return "chatgpt"
  elseif is_object(record.data) and is_object(record.annotations) then
    return "label_studio"
  end
end

-- A copy without some fields.
local function without(record, names)
  local copy = {}
  for key, value in pairs(record) do
    copy[key] = value
  end
  for _, name in ipairs(names) do
    copy[name] = nil
  end
  return copy
end

local function shown(value)
  return type(value) == "string" and ("'%s'"):format(format.cut(value, 40)) or type(value)
end

-- ---- battles --------

local verdicts = {
  model_a = { 1, 2 },
  model_b = { 2, 1 },
  tie = { 1, 1 },
  ["tie (bothbad)"] = { 1, 1 },
  both_bad = { 1, 1 },
  bothbad = { 1, 1 },
}

-- The ranks of both answers, or nil and a reason.
local function verdict_of(record)
  if record.winner ~= nil then
    local ranks = verdicts[record.winner]
    if ranks then return { ranks[1], ranks[2] } end
    return nil, ("winner is %s, expected model_a, model_b or tie"):format(shown(record.winner))
  end
  local won
  for name, ranks in pairs {
    winner_model_a = verdicts.model_a,
    winner_model_b = verdicts.model_b,
    winner_tie = verdicts.tie,
  } do
    local value = record[name]
    if value == true or tonumber(value) == 1 then
      if won then return nil, "more than one of winner_model_a, winner_model_b, winner_tie" end
      won = ranks
    end
  end
  if not won then return nil, "none of winner_model_a, winner_model_b, winner_tie" end
  return { won[1], won[2] }
end

-- A text, or the texts that a JSON list in it holds.
local function texts_of(value, name)
  local list = value
  if type(value) == "string" and value:find("^%s*%[") then list = json.decode(value) or value end
  if type(list) == "string" then return { list } end
  for i, text in ipairs(is_object(list) and list or {}) do
    if type(text) ~= "string" then return nil, ("turn %d of %s is no text"):format(i, name) end
  end
  if not is_object(list) or #list == 0 then
    return nil, ("%s is a %s, not a text"):format(name, type(value))
  end
  return list
end

-- Questions and one model's answers as a dialogue.
local function woven(questions, answers)
  local messages = {}
  for i, question in ipairs(questions) do
    messages[#messages + 1] = { role = "user", content = question }
    messages[#messages + 1] = { role = "assistant", content = answers[i] }
  end
  return messages
end

-- What the two models said, each as a dialogue.
local function dialogues_of(record)
  if is_object(record.conversation_a) then
    local a, reason = turns.messages(record.conversation_a)
    local b, other = turns.messages(record.conversation_b)
    return a, b or reason or other
  end
  local questions, reason = texts_of(record.prompt, "prompt")
  if not questions then return nil, reason end
  local lists = {}
  for i, name in ipairs { "response_a", "response_b" } do
    lists[i], reason = texts_of(record[name], name)
    if not lists[i] then return nil, reason end
    if #lists[i] ~= #questions then
      return nil, ("%s has %d turns, prompt %d"):format(name, #lists[i], #questions)
    end
  end
  return woven(questions, lists[1]), woven(questions, lists[2])
end

local BATTLE <const> = {
  "conversation_a",
  "conversation_b",
  "prompt",
  "response_a",
  "response_b",
  "winner",
  "winner_model_a",
  "winner_model_b",
  "winner_tie",
}

local function arena(record)
  local ranks, reason = verdict_of(record)
  if not ranks then return nil, reason end
  local a, b = dialogues_of(record)
  if not a or not is_object(b) then return nil, b end
  local common, first, second = turns.common(a, b)
  if not common then return nil, first, second end
  local row = without(record, BATTLE)
  local judge = record.judge or record.judge_id or record.evaluation_session_id
  row.messages, row.completions = common, { first, second }
  row.rankings = { { labeler = judge ~= nil and tostring(judge) or "judge", ranks = ranks } }
  row.user_id = row.user_id or judge
  return row
end

-- ---- comparisons --------

local function webgpt(record)
  local text = record.question.full_text
  if type(text) ~= "string" then
    return nil, ("question.full_text is a %s, not a text"):format(type(text))
  end
  local row = without(record, {
    "question",
    "answer_0",
    "answer_1",
    "score_0",
    "score_1",
    "quotes_0",
    "quotes_1",
    "tokens_0",
    "tokens_1",
  })
  row.question = text
  row.completions = { record.answer_0, record.answer_1 }
  row.scores = { record.score_0, record.score_1 }
  return row
end

local function shp(record)
  local first = record.labels
  if type(record.history) ~= "string" then
    return nil, ("history is a %s, not a text"):format(type(record.history))
  elseif first ~= 0 and first ~= 1 then
    return nil,
      ("labels is %s; 1 or 0 is wanted"):format(
        type(first) == "number" and tostring(first) or shown(first)
      )
  end
  local row = without(record, { "history", "human_ref_A", "human_ref_B", "labels" })
  row.question = record.history
  row.completions = { record.human_ref_A, record.human_ref_B }
  row.ranks = first == 1 and { 1, 2 } or { 2, 1 }
  return row
end

-- ---- trees --------

-- The nodes of the branch that was shown last, from its root.
local function branch_of(record)
  local nodes, list, seen = record.mapping, {}, {}
  local at = record.current_node
  if at == nil then -- the last child of the last child, from the root down
    for id, node in pairs(nodes) do
      if is_object(node) and type(node.parent) ~= "string" then at = id end
    end
    local walked = {}
    while at and not walked[at] do
      walked[at] = true
      local children = is_object(nodes[at]) and nodes[at].children
      local last = is_object(children) and children[#children]
      if last == nil or not nodes[last] then break end
      at = last
    end
  end
  while type(at) == "string" and is_object(nodes[at]) and not seen[at] do
    seen[at] = true
    table.insert(list, 1, nodes[at])
    at = nodes[at].parent
  end
  return list
end

-- Role and text of a message of the tree; nil when it is no turn, and a reason when it cannot be
-- read.
local function turn_of(message)
  if not is_object(message) or not is_object(message.author) then return nil end
  local role, content = turns.role(message.author), message.content
  local hidden = is_object(message.metadata)
    and message.metadata.is_visually_hidden_from_conversation == true
  local to_tool = type(message.recipient) == "string" and message.recipient ~= "all"
  if (role ~= "user" and role ~= "assistant") or hidden or to_tool or not is_object(content) then
    return nil
  end
  local kind = content.content_type
  if kind ~= "text" and kind ~= "multimodal_text" then return nil end
  local parts = is_object(content.parts) and content.parts or {}
  for _, part in ipairs(parts) do
    if type(part) ~= "string" then return nil, "a dialogue with pictures or sound" end
  end
  local text = table.concat(parts, "\n")
  return text:find("%S") and { role = role, content = text } or nil
end

local function chatgpt(record)
  local messages = {}
  for _, node in ipairs(branch_of(record)) do
    local turn, reason = turn_of(node.message)
    local last = messages[#messages]
    if reason then
      return nil, reason, true
    elseif turn and last and last.role == turn.role then -- a tool's words stood between them
      last.content = last.content .. "\n\n" .. turn.content
    elseif turn then
      messages[#messages + 1] = turn
    end
  end
  if #messages == 0 then return nil, "a dialogue without a message", true end
  return { messages = messages, time = record.create_time, user_id = record.user_id }
end

-- ---- annotations --------

local selections = { left = { 1, 2 }, right = { 2, 1 } }

-- The first pairwise result of an annotation, or nil.
local function pairwise(annotation)
  if not is_object(annotation) or annotation.was_cancelled == true then return nil end
  for _, result in ipairs(is_object(annotation.result) and annotation.result or {}) do
    if is_object(result) and result.type == "pairwise" and is_object(result.value) then
      return result
    end
  end
end

local function person_of(annotation)
  local person = annotation.completed_by
  if is_object(person) then person = person.email or person.id end
  return person ~= nil and tostring(person) or "annotator"
end

local function label_studio(record)
  local names, rankings = nil, {}
  for _, annotation in ipairs(record.annotations) do
    local result = pairwise(annotation)
    local ranks = result and selections[result.value.selected]
    if result and not ranks then
      return nil, ("selected is %s, expected left or right"):format(shown(result.value.selected))
    elseif result then
      local to_name = result.to_name
      if names and names ~= to_name then return nil, "its annotations compare different fields" end
      names = to_name
      rankings[#rankings + 1] = { labeler = person_of(annotation), ranks = { ranks[1], ranks[2] } }
    end
  end
  if #rankings == 0 then return nil, "a task without a pairwise annotation", true end
  local left, right = tostring(names):match("^([^,]+),([^,]+)$")
  if not left or record.data[left] == nil or record.data[right] == nil then
    return nil,
      (
        "the compared tags are %s, which are no two fields of data: name the tags after "
        .. "the fields"
      ):format(shown(names))
  end
  local row = without(record.data, { left, right })
  row.completions, row.rankings = { record.data[left], record.data[right] }, rankings
  return row
end

local writers =
  { arena = arena, webgpt = webgpt, shp = shp, chatgpt = chatgpt, label_studio = label_studio }

--- A record of these as one that exchange.lua reads; any other record as it is.
-- @tparam table record
-- @treturn ?table
-- @treturn ?string reason
-- @treturn ?boolean true when such a record is passed over rather than bad
function exports.plain(record)
  local kind = exports.of(record)
  if not kind then return record end
  return writers[kind](record)
end

return exports
