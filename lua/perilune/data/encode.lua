--- The one way from text to tokens: (prompt, answer, finished?) for SFT, reward model, PPO,
-- evaluation and generation.
--
--   before an answer   with a template, what it writes before an answer (and the beginning token
--                      when the template or the tokenizer says so); without one the prompt, behind
--                      the beginning token when the tokenizer has one
--   an answer          its text, spelled as what follows the prompt; behind nothing but a beginning
--                      token as a text of its own, which is how a model writes it there
--   its end            the end token, when the answer was finished; never behind one that was cut
--   behind its end     nothing: the last token of a sequence is the last of its answer, and that
--                      is where scores are read
--
-- `completion_finished` (for ranked answers a list) or `finish_reason` ("stop" is finished) says
-- whether an answer ended by itself; where nothing is said a text did, as what people write does.
--
-- A row may bring token ids of its own: `prompt_tokens`, `completion_tokens`. They are used as they
-- are, so that what a model said is never spelled out and tokenised again; only when the answer was
-- finished and the end token is missing is it added. A row that says whose ids they are
-- (`tokenizer`, a fingerprint) has them used with that tokenizer alone, else its texts.
--
-- With a template that is Jinja text, an answer that is given as a message is what the template
-- writes of it behind what it asks for an answer with; one that is given as text is what the model
-- writes there, as it stands.
--
-- What is wrong with a row is nil and a message; and behind it "template" when the row is sound,
-- but a dialogue that this template cannot write.

local chat = require("perilune.data.chat")
local concat = require("perilune.base.list").concat

local encode = {}

--- The token that ends an answer; raises when neither template nor tokenizer names one.
-- @tparam Tokenizer tok
-- @tparam ?Template template nil: plain text
-- @treturn integer its id, from 0
function encode.stop_id(tok, template)
  if template then return chat.stop_id(tok, template) end
  return tok.eos_id or error("the tokenizer names no end token: see tok:set_special", 2)
end

--- Every token that ends an answer: what a template ends it with, then all that the tokenizer
-- names. Answers are trained to end with the first; one that was sampled may end with any of them.
-- @tparam Tokenizer tok
-- @tparam ?Template template nil: plain text
-- @treturn {integer,...} ids, at least one
function encode.stop_ids(tok, template)
  local ids = { encode.stop_id(tok, template) }
  for _, id in ipairs(tok.end_ids) do
    if id ~= ids[1] then ids[#ids + 1] = id end
  end
  return ids
end

-- Whether token ids end with a token that ends an answer.
local function has_end(tok, template, ids)
  for _, id in ipairs(encode.stop_ids(tok, template)) do
    if ids[#ids] == id then return true end
  end
  return false
end

--- Whether a prompt is nothing but a beginning token: what follows is a text of its own.
-- @tparam Tokenizer tok
-- @tparam {integer,...} prompt token ids
-- @treturn boolean
function encode.is_bare(tok, prompt) return #prompt == 1 and prompt[1] == tok.bos_id end

-- Whether the token ids of a row are those of this tokenizer: a row may say whose they are.
local function has_own_ids(tok, row)
  return row.tokenizer == nil or row.tokenizer == tok:fingerprint()
end

--- Whether answer k of a row was finished.
-- @tparam Row row with `completion_finished` or `finish_reason`
-- @tparam ?integer k place among ranked answers, from 1
-- @treturn ?boolean nil when the row does not say
function encode.finished(row, k)
  local finished, reason = row.completion_finished, row.finish_reason
  if k then
    finished = type(finished) == "table" and finished[k]
    reason = type(reason) == "table" and reason[k]
  end
  if type(finished) == "boolean" and (not k or type(row.completion_finished) == "table") then
    return finished
  elseif type(reason) == "string" then
    return reason == "stop"
  end
end

-- Own token ids, each of the vocabulary; or nil and what is wrong.
local function checked_ids(tok, ids, name)
  if type(ids) ~= "table" then
    return nil, ("`%s` is a %s, not a list of token ids"):format(name, type(ids))
  end
  for i, id in ipairs(ids) do
    if math.type(id) ~= "integer" or id < 0 or id >= #tok then
      return nil,
        ("`%s`: number %d is %s; this tokenizer's ids are 0 to %d"):format(
          name,
          i,
          tostring(id),
          #tok - 1
        )
    end
  end
  return ids
end

-- Messages of a row as a list, or nil when its prompt is text.
local function messages_of(row)
  return row.messages or type(row.prompt) == "table" and row.prompt or nil
end

--- Token ids of what stands before an answer. Of messages that end with an answer, that answer is
-- left out.
-- @tparam Tokenizer tok
-- @tparam ?Template template nil: the prompt is plain text
-- @tparam Row row with `prompt_tokens`, `prompt` or `messages`
-- @treturn ?{integer,...} ids, at least one
-- @treturn ?string what is wrong with the row
-- @treturn ?any "template" when that alone is wrong: it cannot write these messages
function encode.prompt(tok, template, row)
  if row.prompt_tokens and has_own_ids(tok, row) then
    local ids, wrong = checked_ids(tok, row.prompt_tokens, "prompt_tokens")
    if ids and #ids == 0 then
      return nil, "`prompt_tokens` is empty: nothing stands before the answer"
    end
    return ids, wrong
  end
  local messages = messages_of(row)
  if not messages and type(row.prompt) ~= "string" then
    return nil, "neither prompt nor messages"
  elseif messages and not template then
    return nil, "messages want a template: set `template`"
  elseif not template then
    local ids = tok:encode(row.prompt, { bos = tok.bos_id ~= nil })
    if #ids == 0 then
      return nil,
        "the prompt is empty and the tokenizer has no beginning token: nothing stands "
          .. "before the answer"
    end
    return ids
  end
  messages = messages or { { role = "user", content = row.prompt } }
  local last = messages[#messages]
  if type(last) == "table" and last.role == "assistant" then
    messages = table.move(messages, 1, #messages - 1, 1, {})
  end
  return chat.render(tok, template, messages, {
    add_generation_prompt = true,
    tools = row.tools,
    kwargs = row.chat_template_kwargs,
  })
end

--- Token ids of an answer.
-- @tparam Tokenizer tok
-- @tparam ?Template template nil: the answer is plain text
-- @tparam {integer,...} prompt what stands before it
-- @tparam string|{integer,...} answer text, or token ids
-- @tparam ?boolean finished whether it ended by itself; nil: a text did, ids are as they are
-- @treturn ?{integer,...} ids
-- @treturn ?string what is wrong
function encode.answer(tok, template, prompt, answer, finished)
  if type(answer) == "string" then
    local continued = template ~= nil or not encode.is_bare(tok, prompt)
    local ids = tok:encode(answer, { continued = continued })
    if finished ~= false then ids[#ids + 1] = encode.stop_id(tok, template) end
    if #ids == 0 then return nil, "an answer that was cut has no text" end
    return ids
  end
  local ids, wrong = checked_ids(tok, answer, "completion_tokens")
  if not ids then
    return nil, wrong
  elseif finished and not has_end(tok, template, ids) then
    ids = concat(ids, { encode.stop_id(tok, template) })
  end
  if #ids == 0 then return nil, "`completion_tokens` has an answer without a token" end
  return ids
end

--- Prompt and answer as one sequence, and the mask of the answer.
-- @tparam {integer,...} prompt token ids
-- @tparam {integer,...} answer token ids
-- @treturn {integer,...} token ids of both
-- @treturn {integer,...} 0 for each token of the prompt, 1 for each of the answer
function encode.join(prompt, answer)
  local mask = {}
  for i = 1, #prompt + #answer do
    mask[i] = i > #prompt and 1 or 0
  end
  return concat(prompt, answer), mask
end

-- Prompt and answer, the answer's end cut where they are longer than max_length.
local function join_cut(prompt, answer, max_length)
  local cut = max_length and math.max(0, #prompt + #answer - max_length) or 0
  if cut >= #answer then
    return nil,
      ("the prompt has %d tokens: max_length %d leaves no place for an answer"):format(
        #prompt,
        max_length
      ),
      "length"
  end
  local kept = cut > 0 and table.move(answer, 1, #answer - cut, 1, {}) or answer
  local ids, mask = encode.join(prompt, kept)
  return ids, mask, { trained = #kept, cut = cut, dropped = 0, behind = 0 }
end

--- Token ids of a text as it stands, between beginning and end token where the tokenizer has them.
-- @tparam Tokenizer tok
-- @tparam string text to be learnt from
-- @treturn {integer,...}
function encode.text(tok, text)
  return tok:encode(text, { bos = tok.bos_id ~= nil, eos = tok.eos_id ~= nil })
end

-- A text of its own: every token is trained but the first, which nothing predicts.
local function text_example(tok, text, max_length)
  if type(text) ~= "string" then return nil, ("text is a %s"):format(type(text)) end
  local all = encode.text(tok, text)
  local ids = table.move(all, 1, math.min(#all, max_length or #all), 1, {})
  local mask = {}
  for i = 1, #ids do
    mask[i] = i > 1 and 1 or 0
  end
  return ids,
    mask,
    {
      trained = text ~= "" and math.max(0, #ids - 1) or 0,
      cut = #all - #ids,
      dropped = 0,
      behind = 0,
    }
end

-- A conversation as what stands before its last answer that is to be learnt, that message, and how
-- many turns stand behind it: those are no part of an example.
local function split(messages)
  local at = #messages
  while
    at > 0
    and type(messages[at]) == "table"
    and (messages[at].role ~= "assistant" or messages[at].weight == 0)
  do
    at = at - 1
  end
  if at == 0 then
    return nil, "no assistant message: nothing would be trained"
  elseif at == 1 then
    return nil, "the first message is the assistant's: nothing stands before the answer"
  end
  local answer = messages[at]
  if type(answer) ~= "table" or type(answer.content) ~= "string" and not answer.tool_calls then
    return nil, ("message %d: content is no text"):format(at)
  end
  return table.move(messages, 1, at - 1, 1, {}), answer, #messages - at
end

-- {before = messages or nil, answer = text or ids, message = where the answer is one, last_only,
-- behind} of a row with an answer.
local function parts_of(tok, row)
  local messages = messages_of(row)
  local ids = has_own_ids(tok, row) and row.completion_tokens or nil
  local answer, message = ids or row.completion, nil
  if type(answer) == "table" and not ids then
    if #row.completion ~= 1 or row.completion[1].role ~= "assistant" then
      return nil, "the completion must be one assistant message"
    end
    message = row.completion[1]
    answer = message.content or message.tool_calls and ""
  end
  if answer == nil and row.completions ~= nil then -- earlier answers of its dialogue are not meant
    return nil, "a ranking of `completions` is no demonstration: reward, dpo and kto learn from it"
  elseif answer == nil and messages then
    if #messages == 0 then return nil, "messages is empty" end
    local before, last, behind = split(messages)
    if not before then return nil, last end
    return { before = before, answer = last.content or "", message = last, behind = behind }
  elseif answer == nil or (not messages and row.prompt == nil and not row.prompt_tokens) then
    return nil, "neither messages nor prompt and completion"
  elseif type(answer) ~= "string" and not ids then
    return nil, ("completion is a %s; it must be text"):format(type(answer))
  end
  return {
    before = messages,
    answer = answer,
    message = message,
    behind = 0,
    last_only = ids ~= nil or type(row.prompt) == "table",
  }
end

-- Token ids of an answer behind the messages `before`. One that is a message itself is written by a
-- template that is Jinja text: with its thoughts, its calls of tools.
local function answer_behind(tok, template, before, parts, row)
  local finished = encode.finished(row)
  if not template.program or not parts.message then
    return encode.answer(tok, template, {}, parts.answer, finished)
  end
  local ids, wrong, kind = chat.answer(tok, template, before, parts.message, {
    tools = row.tools,
    kwargs = row.chat_template_kwargs,
  })
  if not ids then return nil, wrong, kind end
  if finished ~= false then ids[#ids + 1] = encode.stop_id(tok, template) end
  if #ids == 0 then return nil, "an answer that was cut has no text" end
  return ids
end

--- Token ids of a row of training data and which of them are trained. When they are longer than
-- `max_length` the earliest turns go, then the system message, then the end of the answer with its
-- end token: an answer that was cut here is not trained to end there.
-- @tparam Tokenizer tok
-- @tparam ?Template template nil: prompts are plain text
-- @tparam Row row {text}; {messages}; a prompt and an answer in any form
-- @tparam ?integer max_length in tokens
-- @treturn ?{integer,...} ids; nil when something is wrong with the row
-- @treturn {integer,...}|string mask, 1 where a token is trained; or what is wrong with the row
-- @treturn ?table|string info: `trained` (tokens), `cut` (tokens of the answer), `dropped` (turns
--   before it), `behind` (turns behind it, left out), `rewritten` (earlier answers that the
--   template writes otherwise now, not trained); or "length" when `max_length` alone is wrong: too
--   few tokens; or "template", as of `encode.prompt`
function encode.example(tok, template, row, max_length)
  if row.text and not (row.prompt or row.messages or row.prompt_tokens) then
    return text_example(tok, row.text, max_length)
  end
  local parts, wrong = parts_of(tok, row)
  if not parts then
    return nil, wrong
  elseif parts.answer == "" and not (parts.message and parts.message.tool_calls) then
    return nil, "the completion is empty"
  end
  if not template or row.prompt_tokens and has_own_ids(tok, row) then
    local prompt, answer
    prompt, wrong = encode.prompt(tok, template, row)
    if not prompt then return nil, wrong end
    answer, wrong = encode.answer(tok, template, prompt, parts.answer, encode.finished(row))
    if not answer then return nil, wrong end
    return join_cut(prompt, answer, max_length)
  end
  local before = parts.before or { { role = "user", content = row.prompt } }
  local answer, kind
  answer, wrong, kind = answer_behind(tok, template, before, parts, row)
  if not answer then return nil, wrong, kind end
  local ids, mask, info = chat.render(tok, template, before, {
    add_generation_prompt = true,
    answer = answer,
    max_length = max_length,
    train = parts.last_only and "last" or "all",
    tools = row.tools,
    kwargs = row.chat_template_kwargs,
  })
  if ids then info.behind = parts.behind end
  return ids, mask, info
end

--- Token ids of a prompt with an answer that is judged as a whole, for good or bad.
-- @tparam Tokenizer tok
-- @tparam ?Template template nil: prompts are plain text
-- @tparam Row row a prompt, and `completion` (text) or `completion_tokens` (token ids)
-- @treturn ?{integer,...} token ids of the prompt with the answer
-- @treturn {integer,...}|string mask of each token 1 or 0: is it of the answer? Or what is wrong
-- @treturn ?string "template", as of `encode.prompt`
function encode.judged(tok, template, row)
  local prompt, wrong, kind = encode.prompt(tok, template, row)
  if not prompt then return nil, wrong, kind end
  local answer = has_own_ids(tok, row) and row.completion_tokens or row.completion
  if type(answer) ~= "string" and type(answer) ~= "table" then
    return nil, ("completion is a %s, not text"):format(type(answer))
  end
  local ids
  ids, wrong = encode.answer(tok, template, prompt, answer, encode.finished(row))
  if not ids then return nil, wrong end
  return encode.join(prompt, ids)
end

--- Token ids of ranked answers, each behind the prompt.
-- @tparam Tokenizer tok
-- @tparam ?Template template nil: prompts are plain text
-- @tparam Row row a prompt, `ranks`, and `completions` (texts) or `completion_tokens` (lists of
--   token ids; false where an answer has none)
-- @treturn ?{{integer,...},...} token ids of the prompt with each answer, in their order
-- @treturn {{integer,...},...}|string masks of each token 1 or 0: is it of the answer? Or what is
--   wrong
-- @treturn ?string "template", as of `encode.prompt`
function encode.ranked(tok, template, row)
  local prompt, wrong, kind = encode.prompt(tok, template, row)
  if not prompt then return nil, wrong, kind end
  local own = has_own_ids(tok, row) and row.completion_tokens or {}
  local sequences, masks = {}, {}
  for k = 1, #row.ranks do
    local answer = own[k] or row.completions and row.completions[k]
    if type(answer) ~= "string" and type(answer) ~= "table" then
      return nil, ("answer %d is a %s, not text"):format(k, type(answer))
    end
    local ids
    ids, wrong = encode.answer(tok, template, prompt, answer, encode.finished(row, k))
    if not ids then return nil, ("answer %d: %s"):format(k, wrong) end
    sequences[k], masks[k] = encode.join(prompt, ids)
  end
  return sequences, masks
end

return encode
