--- What a row must be to be stored; each check gives nil, or a text that says what is wrong.

local check = {}

--- A message of a conversation.
-- @class Message
-- @field string role "system", "user" or "assistant"; a template that is Jinja text may know others
-- @field ?string content its text; nil when it calls tools and says nothing
-- @field ?number weight of an assistant's: 0 is not trained (nil: it is)

--- A row of data, in the one form that the store, the rules and the data sets share. It has a
-- prompt, or messages, or (of text to learn from) a text; all else may be absent.
-- @class Row
-- @field ?string|{Message,...} prompt what was asked: text, or messages that end with a user's
-- @field ?{Message,...} messages in place of `prompt`; of training data they may end with an answer
-- @field ?string text a document, to be learnt from as it stands
-- @field ?string completion the answer that is to be learnt
-- @field ?{string,...} completions answers that were ranked
-- @field ?{number,...} ranks of each of `completions`: 1 is best; ties share a rank, and the next
--   is left out: 1, 2, 2, 4. A store wants just that
-- @field ?{{labeler=string,ranks=table},...} rankings of several people, each {labeler =, ranks =};
--   also `time` (Unix seconds), `seconds` (that it took)
-- @field ?{integer,...} prompt_tokens token ids of what stands before the answer, used as they are
-- @field ?{any,...} completion_tokens token ids of the answer; of ranked answers a list of lists,
--   false where none are known
-- @field ?boolean|{boolean,...} completion_finished whether the answer ended by itself; of ranked
--   answers a list
-- @field ?string finish_reason "stop": the answer ended by itself
-- @field ?string tokenizer fingerprint of the tokenizer that token ids belong to
-- @field ?{{[string]=any},...} tools for a template that is Jinja text
-- @field ?integer id of the prompt in a store
-- @field ?string user_id who asked
-- @field ?string organisation of the user
-- @field ?string source "api" or "labeler"; a store wants it
-- @field ?string use_case the class of the task
-- @field ?string kind "plain", "few_shot" or "user_based"
-- @field ?string labeler who answered or ranked
-- @field ?number time when it was asked, Unix seconds
-- @field ?{[string]=any} extra whatever else was known of it

local sources = { api = true, labeler = true }
local kinds = { plain = true, few_shot = true, user_based = true }
local text_fields = { "user_id", "organisation", "use_case", "labeler", "completion" }

-- nil, or what is wrong with a text.
function check.text(name, text)
  if type(text) ~= "string" then return ("`%s` must be text, not %s"):format(name, type(text)) end
  local length, at = utf8.len(text)
  return not length and ("`%s` is not UTF-8 at byte %d"):format(name, at) or nil
end

local function wrong_messages(messages)
  if type(messages) ~= "table" or #messages == 0 then
    return "`messages` must be a list of messages"
  end
  for i, message in ipairs(messages) do
    if type(message) ~= "table" or type(message.role) ~= "string" then
      return ("message %d has no `role`"):format(i)
    end
    local wrong = check.text("content", message.content) or check.text("role", message.role)
    if wrong then return ("message %d: %s"):format(i, wrong) end
  end
  return messages[#messages].role ~= "user" and "the last message must be the user's" or nil
end

function check.number(name, value)
  if type(value) ~= "number" or value - value ~= 0 then
    return ("`%s` must be a finite number"):format(name)
  end
end

-- Competition ranks: each is one more than the number of better ones.
function check.ranks(ranks, n)
  if type(ranks) ~= "table" or #ranks ~= n or n < 2 then
    return "`ranks` must have one number for each of two completions or more"
  end
  for i = 1, n do
    local better = 0
    for k = 1, n do
      if math.type(ranks[k]) ~= "integer" then return ("rank %d is not an integer"):format(k) end
      better = better + (ranks[k] < ranks[i] and 1 or 0)
    end
    if ranks[i] ~= better + 1 then
      return (
        "rank %d is %d with %d better: ties share a rank and the next is left out, as in "
        .. "1, 2, 2, 4"
      ):format(i, ranks[i], better)
    end
  end
end

local function wrong_answers(row)
  local texts = row.completions
  if texts == nil then
    return (row.ranks or row.rankings) and "ranks without `completions`" or nil
  elseif type(texts) ~= "table" or #texts == 0 then
    return "`completions` must be a list of texts"
  end
  for i = 1, #texts do
    local wrong = check.text("completions", texts[i])
    if wrong then return ("%s (completion %d)"):format(wrong, i) end
  end
  if row.rankings ~= nil and type(row.rankings) ~= "table" then
    return "`rankings` must be a list"
  end
  for i, ranking in ipairs(row.rankings or { row.ranks and row }) do
    local wrong = type(ranking) ~= "table" and "a ranking must be a table"
      or check.ranks(ranking.ranks, #texts)
      or ranking.labeler ~= nil and check.text("labeler", ranking.labeler)
      or ranking.time ~= nil and check.number("time", ranking.time)
      or ranking.seconds ~= nil and check.number("seconds", ranking.seconds)
    if wrong then return row.rankings and ("ranking %d: %s"):format(i, wrong) or wrong end
  end
end

--- Whether a row can be stored.
-- @tparam Row row of any origin
-- @treturn ?boolean true
-- @treturn ?string what is wrong with it
function check.row(row)
  local wrong
  if row.messages ~= nil then
    wrong = row.prompt ~= nil and "a row has `prompt` or `messages`, not both"
      or wrong_messages(row.messages)
  else
    wrong = check.text("prompt", row.prompt)
  end
  if not wrong and not sources[row.source] then
    wrong = '`source` must be "api" or "labeler"'
  elseif not wrong and row.kind ~= nil and not kinds[row.kind] then
    wrong = '`kind` must be "plain", "few_shot" or "user_based"'
  end
  for i = 1, #text_fields do
    local value = row[text_fields[i]]
    wrong = wrong or value ~= nil and check.text(text_fields[i], value) or nil
  end
  wrong = wrong
    or row.time ~= nil and check.number("time", row.time)
    or row.answered ~= nil and check.number("answered", row.answered)
    or row.extra ~= nil and type(row.extra) ~= "table" and "`extra` must be a table"
    or wrong_answers(row)
  if wrong then return nil, wrong end
  return true
end

return check
