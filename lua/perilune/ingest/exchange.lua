--- What a record says, decided in one place for every form: the context that is answered, the
-- answers to it, who gave them and whether they are wanted.
--
--   context   the system text, then the dialogue or history, then the question. A question is
--             `prompt`, `instruction`, `query`, `question` or `text`; the material it is about
--             (`input`, `context` of an instruction or question) stands below it
--   answers   a pair (`chosen`, `rejected`; an `output` of two); a list (`completions`,
--             `responses`) with `ranks`, `rankings` or `scores`; two with annotators' verdicts; one
--             (`completion`, `output`; the last turn of a dialogue that ends with the assistant)
--   who       `opts.answers`: "person", or "model" in the logs of a deployed model. A model's
--             answer is a completion that may be ranked, no demonstration, unless the record names
--             its `labeler`. Not told, `completion` and `output` are a person's, and `response` and
--             `answer` are so beside an instruction alone
--   wanted    an answer is unwanted when a field such as `label`, `kto_tag` or `weight` is false, 0
--             or below, or a word for it (verdicts.lua); with `opts.labels` answers are kept with
--             their `label`, and left out without one; a turn of `weight` 0 before the last answer
--             is context that is not trained. Deleted records and single messages of an assistant
--             are no prompts
--
-- A record that is none of this is bad, or passed over when such a record holds no row by nature;
-- nothing that it says of its answers is left out in silence.

local field_names = require("perilune.ingest.field_names")
local row_fields = require("perilune.ingest.row_fields")
local turns = require("perilune.ingest.turns")
local verdicts = require("perilune.ingest.verdicts")

local exchange = {}

local first, flag = field_names.first, verdicts.flag

--- Names that this module reads: they are no small fields of a record.
local read_here = { rankings = true, response1 = true, response2 = true }
for _, group in ipairs {
  "system",
  "history",
  "dialogue",
  "question",
  "material",
  "chosen",
  "rejected",
  "answers",
  "ranks",
  "scores",
} do
  for _, name in ipairs(field_names.groups[group]) do
    read_here[name] = true
  end
end
read_here.completion, read_here.output = true, true

local function kind_of(value)
  if type(value) == "userdata" then
    return "null"
  elseif type(value) == "table" then
    return value[1] ~= nil and "list" or "object"
  end
  return type(value)
end

local function is_text(value) return type(value) == "string" and value:find("%S") ~= nil end

-- ---- wanted or not --------

--- Whether the record says that its answer is unwanted.
local function is_unwanted(record)
  for _, name in ipairs(field_names.verdicts) do
    local value = record[name]
    if value ~= nil and flag(value) == false then return true end
  end
  return false
end

local UNWANTED <const> = "an answer that is labelled as bad, without a better one"

-- Why a record is no part of the data whatever else it says, or nil.
local function passed_over(record)
  for _, name in ipairs(field_names.groups.deleted) do
    if record[name] ~= nil and flag(record[name]) then return "a deleted message" end
  end
  local role = record.role ~= nil and first(record, "dialogue") == nil and turns.role(record)
  if role and role ~= "user" then
    return ("a single message of the %s, no prompt"):format(role)
  elseif role and record.parent_id ~= nil then
    return "a single message within a dialogue whose beginning is in other records"
  end
end

-- ---- context --------

--- A dialogue in one of the places where records have it, and the name of the place.
local function dialogue_of(record)
  local value, name = first(record, "dialogue")
  if value == nil and type(record.input) == "table" then
    value, name = record.input.messages or record.input, "input"
  end
  return value, name
end

--- The question with its material, as text, turns or nil.
local function question_of(record)
  local value, name = first(record, "question")
  if value == nil or name == "prompt" or name == "text" or type(value) == "table" then
    return value, nil, name
  elseif type(value) ~= "string" then
    return nil, ("%s is a %s, not a text"):format(name, kind_of(value))
  end
  for _, other in ipairs(field_names.groups.material) do
    local material = record[other]
    if material ~= nil and type(material) ~= "string" then
      return nil, ("%s is a %s, not a text"):format(other, kind_of(material))
    elseif material and material:find("%S") then
      value = value .. "\n\n" .. material
    end
  end
  return value, nil, name
end

-- Turns of a history, which is a list of turns, of {question, answer}, or of objects of both.
local function history_of(history)
  if type(history) ~= "table" then
    return is_text(history) and nil or {},
      ("history is a %s, expected a list of " .. "[question, answer] or of turns"):format(
        kind_of(history)
      )
  elseif type(history[1]) == "table" and turns.role(history[1]) then
    return turns.messages(history)
  end
  local list = {}
  for i, pair in ipairs(history) do
    local asked, answered
    if type(pair) == "table" then
      asked = pair[1] or pair.user or first(pair, "question")
      answered = pair[2] or pair.assistant or first(pair, "answer")
    end
    if type(asked) ~= "string" or type(answered) ~= "string" then
      return nil, ("history %d is no [question, answer]"):format(i)
    end
    list[#list + 1] = { role = "user", content = asked }
    list[#list + 1] = { role = "assistant", content = answered }
  end
  return list
end

local function joined(a, b) return table.move(b, 1, #b, #a + 1, table.move(a, 1, #a, 1, {})) end

--- Puts system text and history in front of a dialogue (changed or new).
local function with_preamble(record, messages)
  if record.history ~= nil then
    local history, reason = history_of(record.history)
    if not history then return nil, reason end
    messages = #history > 0 and joined(history, messages) or messages
  end
  local system = first(record, "system")
  if system ~= nil and type(system) ~= "string" then
    return nil, ("system is a %s, not a text"):format(kind_of(system))
  elseif is_text(system) and messages[1] and messages[1].role ~= "system" then
    messages = joined({ { role = "system", content = system } }, messages)
  end
  return messages
end

local function has_preamble(record)
  return is_text((first(record, "system"))) or record.history ~= nil
end

--- The whole context: a text, or messages that may end with an answer; nil when there is none.
-- @treturn ?string|table text or messages
-- @treturn ?string reason
-- @treturn ?boolean true for messages that were one dialogue
local function context_of(record)
  local dialogue, name = dialogue_of(record)
  if dialogue ~= nil then
    if type(dialogue) ~= "table" then
      return nil,
        record.prompt ~= nil and "both a prompt and messages"
          or ("%s is a %s, expected a list of turns"):format(name, kind_of(dialogue))
    end
    local messages, reason = turns.messages(dialogue)
    if not messages then return nil, reason end
    messages, reason = with_preamble(record, messages)
    return messages, reason, true
  end
  local question, reason
  question, reason, name = question_of(record)
  if question == nil or reason then
    return nil, reason
  elseif type(question) == "string" then
    local messages = question:find("Human:", 1, true) and turns.transcript(question)
    if messages then
      messages, reason = with_preamble(record, messages)
      return messages, reason, true
    elseif not has_preamble(record) then
      return question
    end
    question = { { role = "user", content = question } }
  elseif type(question) ~= "table" then
    return nil, ("%s is a %s, not a text"):format(name, kind_of(question))
  else
    question, reason = turns.messages(question)
    if not question then return nil, ("%s: %s"):format(name, reason) end
  end
  return with_preamble(record, question)
end

--- A context as the row's prompt. "...\n\nAssistant:" asks for what comes next.
local function put_context(row, context)
  if type(context) == "string" then
    row.prompt = context
    return nil
  end
  local last = context[#context]
  if last and last.role == "assistant" and not last.content:find("%S") then
    context[#context] = nil
  end
  return turns.set_prompt(row, context)
end

-- ---- answers --------

--- The text of an answer: a text, a turn, a list of one turn, or an object that holds the text.
-- What is none of these comes back as it is and is found wrong later.
local function answer_text(answer)
  if type(answer) ~= "table" then
    return answer
  elseif #answer == 1 then
    answer = answer[1]
    if type(answer) ~= "table" then return answer end
  elseif #answer > 1 then
    return answer
  end
  local text = answer.content or answer.value or answer.text
  if text == nil then text = first(answer, "answer") end
  return turns.text(text) or answer
end

local function whole_dialogue(value)
  if type(value) == "string" then return turns.transcript(value) end
  return turns.messages(value)
end

-- Texts of the record, other than the pair, that could be the prompt under a name of its own.
local function unread_text(record)
  local found
  for key, value in pairs(record) do
    local unread = type(key) == "string" and not read_here[key] and not row_fields.canonical[key]
    if
      unread
      and type(value) == "string"
      and value:find("%S%s+%S")
      and (not found or key < found)
    then
      found = key
    end
  end
  return found
end

--- Chosen and rejected as whole dialogues, or as texts that begin alike: what both begin with is
-- the prompt.
local function implicit_pair(row, record, chosen, rejected)
  if type(chosen) ~= type(rejected) then return "chosen and rejected are of different kinds" end
  local a, reason = whole_dialogue(chosen)
  local b, other = whole_dialogue(rejected)
  if a and b then
    local common, x, y = turns.common(a, b)
    if not common then return x, y end
    common, reason = with_preamble(record, common)
    row.completions = { x, y }
    return reason or turns.set_prompt(row, common)
  elseif type(chosen) ~= "string" then
    return reason or other or "chosen is neither a text nor a dialogue"
  elseif chosen == rejected then
    return "both answers are the same", true
  end
  local unread = unread_text(record)
  if unread then
    return (
      "no known field holds the prompt; it has '%s': map it, as in fields = { prompt = "
      .. '"%s" }'
    ):format(unread, unread)
  end
  row.prompt, a, b = turns.common_text(chosen, rejected)
  row.completions = { a, b }
  if row.prompt == "" then return "no prompt, and the two answers begin differently" end
end

local function is_whole(answer)
  return type(answer) == "table" and #answer > 1
    or type(answer) == "string" and answer:find("Human:", 1, true) and turns.transcript(answer)
end

local function is_text_list(value)
  return type(value) == "table" and #value > 1 and type(value[1]) == "string"
end

local function pair(row, record, chosen, rejected)
  if chosen == nil or rejected == nil then
    return "chosen without rejected, or the other way round"
  elseif record.weight ~= nil and flag(record.weight) == false then
    return "a row of weight 0", true
  end
  row.ranks = { 1, 2 }
  if is_whole(chosen) then -- the dialogue stands under both, and maybe the prompt once more
    return implicit_pair(row, record, chosen, rejected)
  end
  local context, reason = context_of(record)
  if reason then
    return reason
  elseif context == nil then
    return implicit_pair(row, record, chosen, rejected)
  end
  if is_text_list(rejected) then -- one is better than each of several
    row.completions, row.ranks = { answer_text(chosen) }, { 1 }
    for i, text in ipairs(rejected) do
      row.completions[i + 1], row.ranks[i + 1] = text, 2
    end
    return put_context(row, context)
  end
  row.completions = { answer_text(chosen), answer_text(rejected) }
  if row.completions[1] == row.completions[2] then return "both answers are the same", true end
  local last = type(context) == "table" and context[#context]
  if
    last
    and last.role == "assistant"
    and (last.content == row.completions[1] or last.content == row.completions[2])
  then
    context[#context] = nil -- the dialogue as it went on, with one of the two
  end
  return put_context(row, context)
end

-- Ranks of numbers of which the highest is best.
local function ranks_of_scores(scores, count, name)
  if type(scores) ~= "table" or #scores ~= count then
    return nil, ("%s are not a list of %d numbers, one for each answer"):format(name, count)
  end
  local negated = {}
  for i, score in ipairs(scores) do
    if type(score) ~= "number" then
      return nil, ("%s %d is a %s, not a number"):format(name, i, kind_of(score))
    elseif score - score ~= 0 then
      return nil, ("%s %d is %s, not a finite number"):format(name, i, tostring(score))
    end
    negated[i] = -score
  end
  return row_fields.ranks(negated)
end

-- Scores that stand in the answers themselves, or nil when not all have one. Of ranks the lowest is
-- best.
local function inner_scores(list)
  local scores = {}
  for i, answer in ipairs(list) do
    local score = type(answer) == "table"
      and (
        answer.score
        or answer.overall_score
        or answer.reward
        or type(answer.rank) == "number" and -answer.rank
      )
    if type(score) ~= "number" then return nil end
    scores[i] = score
  end
  return scores
end

local function ranked_list(row, record, list)
  if record.labels ~= nil then
    return "steps of one answer with labels, no answers to compare", true
  end
  row.ranks, row.rankings = first(record, "ranks"), record.rankings
  if type(list) == "table" then
    local scores, name = first(record, "scores")
    if scores == nil then
      scores, name = inner_scores(list), "scores"
    end
    if scores ~= nil and row.ranks == nil and row.rankings == nil then
      local reason
      row.ranks, reason = ranks_of_scores(scores, #list, name)
      if reason then return reason end
    end
    row.completions = {}
    for i, answer in ipairs(list) do
      row.completions[i] = answer_text(answer)
    end
  else
    row.completions = list
  end
  local context, reason = context_of(record)
  if reason or context == nil then return reason or "no prompt" end
  return put_context(row, context)
end

local verdict_ranks = { [0] = { 1, 1 }, [1] = { 1, 2 }, [2] = { 2, 1 } }

-- An answer as the text that it was: the published files were written by way of a table, whose
-- reader took the answer "True" for a truth value.
local function compared_answer(value)
  if type(value) == "boolean" then return value and "True" or "False" end
  return value
end

--- Two answers, and a field annotatorN for each who compared them: 0 a tie, 1 or 2 the better.
function exchange.annotated(row, record)
  local context, reason = context_of(record)
  if reason or context == nil then return reason or "no prompt" end
  local names, rankings = {}, {}
  for key in pairs(record) do
    if type(key) == "string" and key:find("^annotator%d+$") then names[#names + 1] = key end
  end
  table.sort(names)
  for i, name in ipairs(names) do
    local ranks = verdict_ranks[record[name]]
    if not ranks then return ("%s is neither 0 (a tie), 1 nor 2"):format(name) end
    rankings[i] = { labeler = name, ranks = { ranks[1], ranks[2] } }
    if row.extra then row.extra[name] = nil end
  end
  if #rankings == 0 then return "no annotator" end
  row.extra = row.extra and next(row.extra) and row.extra or nil
  row.completions = { compared_answer(record.response1), compared_answer(record.response2) }
  row.rankings = rankings
  return put_context(row, context)
end

--- The one answer of a record and its name; `response` and `answer` are answers where it is known
-- that the records have some.
local function one_answer(record, opts)
  local value, name = first(record, "answer")
  if name == "completion" or opts.answers or record.instruction ~= nil then return value, name end
end

-- An answer that the model gave which wrote the log.
local function is_models(row, opts)
  return opts.answers == "model" and row.labeler == nil and row.source ~= "labeler"
end

local function put_answer(row, answer, name, unwanted, opts)
  if is_models(row, opts) then
    answer = answer_text(answer)
    row.completions = is_text(answer) and { answer } or nil
    return nil
  elseif unwanted and not opts.labels then
    return UNWANTED, true
  end
  row.completion = answer_text(answer)
  if type(row.completion) ~= "string" then
    return ("%s is a %s, not a text"):format(name, kind_of(row.completion))
  end
end

local function dialogue_or_question(row, record, opts)
  local answer, name = one_answer(record, opts)
  if type(answer) == "table" and #answer == 2 and name == "output" then
    return pair(row, record, answer[1], answer[2])
  end
  local context, reason, is_dialogue = context_of(record)
  if reason or context == nil then return reason or "no prompt" end
  local unwanted, last = is_unwanted(record), context[#context]
  if
    answer == nil
    and is_dialogue
    and last
    and last.role == "assistant"
    and last.content:find("%S")
  then
    answer, name = last.content, "the last turn"
    unwanted = unwanted or last.weight == 0
    context[#context] = nil
  end
  if answer ~= nil then
    local skipped
    reason, skipped = put_answer(row, answer, name, unwanted, opts)
    if reason then return reason, skipped end
  end
  return put_context(row, context)
end

-- ---- whole records --------

local plain_names =
  { prompt = true, user_id = true, organisation = true, time = true, use_case = true }

-- Whether a record is a prompt and where it came from, in our own names: the lines of most logs.
local function is_plain(record)
  for key in next, record do
    if not plain_names[key] then return false end
  end
  return type(record.prompt) == "string" and not record.prompt:find("Human:", 1, true)
end

--- The row of a record.
-- @tparam table record
-- @tparam table opts `answers` ("person", "model" or nil), `extra` (small fields are kept),
--   `labels` (answers come with what is thought of them, good or bad)
-- @treturn ?table row, not checked yet; nil when the record gives none
-- @treturn ?string reason
-- @treturn ?boolean true when such a record is passed over rather than bad
function exchange.read(record, opts)
  if is_plain(record) then return record end
  record = field_names.folded(record)
  local reason, skipped = passed_over(record), true
  if reason then return nil, reason, skipped end
  local row = row_fields.collect(record, read_here, opts.extra)
  local chosen, rejected = first(record, "chosen"), first(record, "rejected")
  local answers = first(record, "answers")
  if chosen ~= nil or rejected ~= nil then
    reason, skipped = pair(row, record, chosen, rejected)
  elseif record.response1 ~= nil and record.response2 ~= nil then
    reason, skipped = exchange.annotated(row, record)
  elseif answers ~= nil then
    reason, skipped = ranked_list(row, record, answers)
  else
    row.ranks, row.rankings = first(record, "ranks"), record.rankings
    reason, skipped = dialogue_or_question(row, record, opts)
  end
  if reason then return nil, reason, skipped end
  if opts.labels and not row.ranks and not row.rankings then
    row.label = verdicts.of(record)
    if row.completion == nil or row.label == nil then return nil, verdicts.missing(record), true end
  end
  return row
end

--- Whether a record says anything that this module reads.
function exchange.speaks(record)
  return first(record, "question") ~= nil
    or dialogue_of(record) ~= nil
    or first(record, "chosen") ~= nil and first(record, "rejected") ~= nil
end

return exchange
