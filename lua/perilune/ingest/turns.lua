--- Messages of a dialogue, from any of the ways data sets write them, and what a row makes of them.
--
-- A dialogue that ends in an assistant turn is a prompt and its answer; one that ends in a user
-- turn is a prompt. A prompt of one user turn alone is plain text. Assistant turns before the
-- first user turn have nothing they answer and are left out. Roles: system, user, assistant, tool.
-- An assistant turn of `weight` 0 keeps that: it is context, and not trained.

local format = require("perilune.base.format")
local row_fields = require("perilune.ingest.row_fields")

local turns = {}

local roles = {
  system = "system",
  developer = "system",
  user = "user",
  human = "user",
  prompter = "user",
  assistant = "assistant",
  gpt = "assistant",
  chatgpt = "assistant",
  bing = "assistant",
  bard = "assistant",
  model = "assistant",
  tool = "tool",
  observation = "tool",
  ["function"] = "tool",
}

--- What a turn may hold for the template of a model beside role and content.
turns.of_templates = { "tool_calls", "tool_call_id", "name", "reasoning_content" }

--- The role of a turn, or nil.
function turns.role(turn)
  local name = turn.role or turn.from
  return type(name) == "string" and roles[name:lower()] or nil
end

--- Whether a turn of the assistant is marked as not to be learnt: it stays part of the context.
function turns.is_unwanted(turn)
  local weight = turn.weight
  if weight == nil or turns.role(turn) ~= "assistant" then return false end
  return weight == false or (tonumber(weight) or 1) <= 0
end

--- Whether a dialogue has answers and all of them are marked so.
function turns.all_unwanted(list)
  local unwanted = 0
  for _, turn in ipairs(list) do
    if turns.role(turn) == "assistant" then
      if not turns.is_unwanted(turn) then return false end
      unwanted = unwanted + 1
    end
  end
  return unwanted > 0
end

--- The text of a turn: text, or the texts of its parts when all of them are text; else nil.
function turns.text(content)
  if type(content) ~= "table" then return type(content) == "string" and content or nil end
  local texts = {}
  for i, part in ipairs(content) do
    local text = type(part) == "table" and (part.type == nil or part.type == "text") and part.text
      or part
    if type(text) ~= "string" then return nil end
    texts[i] = text
  end
  return #texts > 0 and table.concat(texts, "\n") or nil
end

-- Turns in pairs, {human|user =, assistant|gpt|bot =}, each as two; the same list when it is none.
local function unpaired(list)
  local first = list[1]
  if type(first) ~= "table" or first.role or first.from or not (first.human or first.user) then
    return list
  end
  local turns_of = {}
  for _, pair in ipairs(list) do
    local is_pair = type(pair) == "table" and (pair.human or pair.user)
    turns_of[#turns_of + 1] = is_pair and { role = "user", content = pair.human or pair.user }
      or pair
    local answer = is_pair and (pair.assistant or pair.gpt or pair.bot)
    if answer then turns_of[#turns_of + 1] = { role = "assistant", content = answer } end
  end
  return turns_of
end

--- A list of {role|from =, content|value|text =}, or of pairs, as messages of our own.
-- @treturn ?{{role=string,content=string},...}
-- @treturn ?string reason
function turns.messages(list)
  if type(list) ~= "table" or #list == 0 then return nil, "messages are not a list of turns" end
  local messages, n = {}, 0
  for i, turn in ipairs(unpaired(list)) do
    if type(turn) ~= "table" then
      return nil, ("turn %d is a %s, not an object"):format(i, type(turn))
    end
    local name, role = turn.role or turn.from, turns.role(turn)
    local content = turns.text(turn.content or turn.value or turn.text)
      or (role == "assistant" and type(turn.tool_calls) == "table" and "" or nil)
    if not role then
      return nil,
        ("turn %d has the role %s (known: system, user, assistant, tool)"):format(
          i,
          type(name) == "string" and "'" .. format.cut(name, 40) .. "'" or type(name)
        )
    elseif not content then
      return nil, ("turn %d has no text"):format(i)
    end
    if n > 0 or role ~= "assistant" then
      n = n + 1
      messages[n] =
        { role = role, content = content, weight = turns.is_unwanted(turn) and 0 or nil }
      for _, field in ipairs(turns.of_templates) do
        messages[n][field] = turn[field]
      end
    end
  end
  return messages
end

local marks = { { "\n\nHuman:", "user" }, { "\n\nAssistant:", "assistant" } }

--- The turns of a "\n\nHuman: ...\n\nAssistant: ..." transcript, nil when it is none.
function turns.transcript(text)
  if not text:find("^%s*Human:") and not text:find("^%s*Assistant:") then return nil end
  text = "\n\n" .. text:gsub("^%s+", "")
  local messages, found = {}, { 0, 0 }
  local at, role = 1, nil
  while at do
    local stop, mark
    for i, pair in ipairs(marks) do -- each mark is looked for once behind its last place
      if found[i] and found[i] < at then found[i] = text:find(pair[1], at, true) end
      if found[i] and (not stop or found[i] < stop) then
        stop, mark = found[i], pair
      end
    end
    if role then
      local content = row_fields.trim(text:sub(at, (stop or #text + 1) - 1))
      messages[#messages + 1] = { role = role, content = content }
    end
    role = mark and mark[2]
    at = stop and stop + #mark[1]
  end
  return messages
end

-- Nothing is said; what a tool gave may be nothing.
local function is_blank(turn)
  return turn.role ~= "tool" and turn.tool_calls == nil and not turn.content:find("%S")
end

--- What a source notes of a row for each system turn that is left out of it, since it says nothing.
turns.SILENT = "a system turn without a text"

-- Takes system turns without a text out, and counts them in the row's `silent_turns`. What is wrong
-- with the others, or nil: a turn without one between others.
local function without_blank(row, messages)
  local n, all = 0, #messages
  for i, turn in ipairs(messages) do
    local blank = is_blank(turn)
    if blank and turn.role ~= "system" and (i > 1 or #messages > 1) then
      return ("turn %d of the context (%s) is empty"):format(i, turn.role)
    end
    messages[i] = nil
    if not blank or turn.role ~= "system" then
      n = n + 1
      messages[n] = turn
    end
  end
  if n < all then row.silent_turns = all - n end
end

--- Puts a prompt of messages into a row; `silent_turns` of it says how many turns were left out.
-- @treturn ?string reason when there is nothing to answer
function turns.set_prompt(row, messages)
  local reason = without_blank(row, messages)
  if reason then return reason end
  local last = messages[#messages]
  if not last or last.role ~= "user" then
    return last and "the prompt does not end in a user turn" or "there is no turn of a user"
  end
  if #messages == 1 then
    row.prompt = last.content
  else
    row.messages = messages
  end
end

--- Puts a whole dialogue into a row: its last assistant turn, when it ends in one, is the answer.
-- @treturn ?string reason
function turns.set_dialogue(row, messages)
  local n = #messages
  if n > 0 and messages[n].role == "assistant" then
    row.completion = messages[n].content
    messages[n] = nil
  end
  return turns.set_prompt(row, messages)
end

--- What two dialogues share, and how each ends.
-- @treturn ?table messages in common
-- @treturn string the first answer, or a reason
-- @treturn string|boolean the second answer; true after a reason: the pair is skipped
function turns.common(a, b)
  local n = 0
  while
    a[n + 1]
    and b[n + 1]
    and a[n + 1].role == b[n + 1].role
    and a[n + 1].content == b[n + 1].content
  do
    n = n + 1
  end
  if n == #a and n == #b then
    return nil, "both answers are the same", true
  elseif
    #a ~= n + 1
    or #b ~= n + 1
    or a[n + 1].role ~= "assistant"
    or b[n + 1].role ~= "assistant"
  then
    return nil, "the two dialogues part before their last answer", true
  end
  return table.move(a, 1, n, 1, {}), a[n + 1].content, b[n + 1].content
end

--- The longest common beginning of two texts, cut back to a blank.
-- @treturn string prompt
-- @treturn string rest of a
-- @treturn string rest of b
function turns.common_text(a, b)
  local low, high = 0, math.min(#a, #b)
  while low < high do -- the longest equal prefix by halving
    local middle = (low + high + 1) // 2
    if a:sub(1, middle) == b:sub(1, middle) then
      low = middle
    else
      high = middle - 1
    end
  end
  while low > 0 and not a:sub(low, low):find("%s") do
    low = low - 1
  end
  while low > 0 and a:find("^%s", low) do
    low = low - 1
  end
  local prompt = a:sub(1, low)
  return prompt, a:sub(#prompt + 1), b:sub(#prompt + 1)
end

return turns
