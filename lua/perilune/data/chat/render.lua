--- Messages to token ids and the mask of those that are trained.
--
-- Trained are the content of assistant turns and the stop token behind it. What a message holds
-- stays text: no content becomes a control token. Text beside content is encoded together with it,
-- as rendering to a string and encoding that would, but for assistant turns: there the header is
-- encoded by itself, because at generation it stands alone.
--
-- Faults of the data (a wrong role, an empty message, a turn that does not fit) are nil and a
-- message that names the row; faults of the program raise.

local append = require("perilune.base.list").append
local options = require("perilune.base.options")
local program = require("perilune.data.chat.program")
local templates = require("perilune.data.chat.templates")

local render = {}

local roles = { system = true, user = true, assistant = true }

-- The ids of parts [from, to]; neighbouring texts are encoded as one.
local function encode_parts(tok, template, parts, from, to, message, first)
  local ids, text = {}, {}
  local function flush()
    if #text > 0 then
      append(ids, tok:encode(table.concat(text), { continued = not first }))
      text, first = {}, false
    end
  end
  for i = from, to do
    local part = parts[i]
    if part == templates.content then
      text[#text + 1] = message.content
    elseif type(part) == "string" then
      text[#text + 1] = part
    elseif type(part) == "table" and part.control then
      flush()
      ids[#ids + 1] = templates.control_id(tok, template, part.control)
    else
      error(
        (
          "chat template %s: part %d of a turn is neither text, chat.content, chat.control nor "
          .. "chat.stop"
        ):format(template.name or "without a name", i),
        0
      )
    end
  end
  flush()
  return ids, first
end

-- One message as {role, head, body, tail}: body and the first id of tail (the stop) are trained.
-- Other roles have a head alone.
local function encode_turn(tok, template, message, index, first)
  local parts = templates.turn_parts(template, message, index)
  local turn = { role = message.role, body = {}, tail = {}, learnt = message.weight ~= 0 }
  if message.role ~= "assistant" then
    turn.head, first = encode_parts(tok, template, parts, 1, #parts, message, first)
    return turn, first
  end
  local at, stop_at = templates.assistant_places(template, parts)
  turn.head, first = encode_parts(tok, template, parts, 1, at - 1, message, first)
  turn.body, first = encode_parts(tok, template, parts, at, at, message, first)
  turn.tail, first = encode_parts(tok, template, parts, stop_at, #parts, message, first)
  return turn, first
end

local function turn_length(turn) return #turn.head + #turn.body + #turn.tail end

----------------------------------------------------------------------------------------------------
-- Checks

local function where(opts) return opts.row and ("row %d: "):format(opts.row) or "" end

-- What a template cannot write of a message that is well-formed, or nil.
local function unwritable(template, message, i)
  if message.role == "tool" then
    return ("message %d has the role 'tool'; roles are system, user and assistant"):format(i)
  elseif message.content == "" then
    return ("message %d (%s) is empty"):format(i, message.role)
  elseif message.role == "system" and i > 1 then
    return ("message %d is a system message; only the first can be"):format(i)
  elseif message.role == "system" and not template.turn and not template.system then
    local text = "message %d: chat template %s has no form for the role 'system'"
    return text:format(i, template.name or "without a name")
  end
end

-- nil when the messages can be written, else what is wrong, and whether it is the template that
-- cannot write them, "template".
local function fault(template, messages, opts)
  if type(messages) ~= "table" then
    return ("messages is a %s, not a list"):format(type(messages))
  end
  if #messages == 0 then return "messages is empty" end
  for i, message in ipairs(messages) do
    if type(message) ~= "table" then
      return ("message %d is a %s, not a table"):format(i, type(message))
    end
    if not roles[message.role] and message.role ~= "tool" then
      return ("message %d has the role '%s'; roles are system, user and assistant"):format(
        i,
        tostring(message.role)
      )
    end
    local wrong = unwritable(template, message, i)
    if wrong then return wrong, "template" end
    if type(message.content) ~= "string" then
      return ("message %d (%s): content is a %s, not text"):format(
        i,
        message.role,
        type(message.content)
      )
    end
  end
  if opts.add_generation_prompt and messages[#messages].role == "assistant" then
    return "the last message is the assistant's already: add_generation_prompt would begin a "
      .. "second answer"
  end
end

local known = {
  add_generation_prompt = false,
  answer = options.of_type("table"),
  max_length = options.integer(),
  row = options.any(),
  train = options.choice("all", { "all", "last" }),
  bos = options.of_type("boolean"),
  tools = options.of_type("table"),
  kwargs = options.of_type("table"),
}

----------------------------------------------------------------------------------------------------
-- Fitting

-- Makes the turns fit into `room` ids: old turns go first, then the system message, then the end of
-- the last answer with its stop token. The last user turn and one token of the answer stay.
local function fit(turns, room, info)
  local total, last_user = 0, 1
  for i, turn in ipairs(turns) do
    total = total + turn_length(turn)
    if turn.role == "user" then last_user = i end
  end
  local function drop(i)
    total = total - turn_length(turns[i])
    table.remove(turns, i)
    last_user = last_user - 1
    info.dropped = info.dropped + 1
  end
  local first = turns[1].role == "system" and 2 or 1
  while
    first < last_user and (total > room or (info.dropped > 0 and turns[first].role ~= "user"))
  do
    drop(first)
  end
  if total > room and first == 2 then drop(1) end
  if total <= room then return nil end
  local last = turns[#turns]
  local answer = #last.body + #last.tail
  local kept = answer - (total - room)
  if kept < 1 then
    local text = "the last user turn and what must follow it need %d tokens; max_length leaves %d"
    return text:format(total - answer + math.min(1, answer), math.max(room, 0))
  end
  local wanted = #last.body + math.min(1, #last.tail) -- what stands behind the stop is not missed
  if kept >= wanted then
    last.tail = table.move(last.tail, 1, kept - #last.body, 1, {})
  else
    info.cut = wanted - kept
    last.body = table.move(last.body, 1, math.min(kept, #last.body), 1, {})
    last.tail = {}
  end
end

-- Turns and what stands before an answer, end to end, behind the beginning token if there is one;
-- which tokens are trained goes to the mask and to info.
local function join(turns, prompt, bos_id, last_only, info)
  local ids, mask = {}, {}
  local function add(list, from, to, trained)
    for i = from, to do
      ids[#ids + 1] = list[i]
      mask[#mask + 1] = trained and 1 or 0
    end
  end
  if bos_id then
    ids[1], mask[1] = bos_id, 0
  end
  for i, turn in ipairs(turns) do
    local trained = turn.role == "assistant" and turn.learnt and (not last_only or i == #turns)
    add(turn.head, 1, #turn.head, false)
    if bos_id and i == 1 and ids[2] == bos_id then -- the template writes it itself
      table.remove(ids, 1)
      table.remove(mask, 1)
    end
    local from = #ids + 1
    add(turn.body, 1, #turn.body, trained)
    add(turn.tail, 1, math.min(1, #turn.tail), trained)
    if trained then
      info.spans[#info.spans + 1] = { from, #ids }
      info.trained = info.trained + #ids - from + 1
    end
    add(turn.tail, 2, #turn.tail, false)
  end
  add(prompt, 1, #prompt, false)
  return ids, mask
end

--- Token ids of a conversation. Raises when a control token that the template writes is not in the
-- tokenizer.
-- @tparam Tokenizer tok
-- @tparam Template template that writes it
-- @tparam {Message,...} messages in order, a system message first where there is one; an
--   assistant's with `weight` 0 is not trained
-- @tparam ?table opts `add_generation_prompt` (false): end with what stands before an answer;
--   `answer` (none): token ids that go behind that, trained, its stop token among them when it was
--   finished; `max_length` (none), in tokens: old turns are dropped, then the system message, then
--   the last answer is cut and its stop token is not there; `train` ("all"): all assistant turns,
--   or only the "last" one; `bos` (the template's, else what the tokenizer would add; one that is
--   Jinja text says it itself): begin with the beginning token; `row` (none): number for messages;
--   `tools` and `kwargs` (none): values for a template that is Jinja text
-- @treturn ?{integer,...} ids; nil when something is wrong with the row
-- @treturn {integer,...}|string mask, 1 where a token is trained; or what is wrong with the row
-- @treturn ?table|string info: `spans` (list of {first, last}, trained runs, 1-based, inclusive),
--   `trained` (tokens), `dropped` (turns), `cut` (tokens of the answer); or "length" when
--   `max_length` alone is what is wrong: too few tokens; or "template" when the row is sound and
--   this template cannot write it
function render.messages(tok, template, messages, opts)
  opts = options.take("chat.render", opts, known)
  if template.program then
    local ids, mask, info = program.messages(tok, template, messages, opts)
    return ids, ids and mask or where(opts) .. mask, info
  end
  local wrong, kind = fault(template, messages, opts)
  if wrong then return nil, where(opts) .. wrong, kind end
  local bos = opts.bos
  if bos == nil then bos = template.bos end
  if bos == nil then bos = tok.adds_bos end
  if bos and not tok.bos_id then
    error("chat.render: a beginning token is wanted, but the tokenizer names none (bos_id)", 2)
  end

  local turns, first = {}, true
  for i, message in ipairs(messages) do
    turns[i], first = encode_turn(tok, template, message, i, first)
  end
  local prompt = {}
  if opts.add_generation_prompt then
    local parts = templates.generation_parts(template, #messages + 1)
    prompt = encode_parts(tok, template, parts, 1, #parts, nil, first)
  end
  if opts.answer then
    turns[#turns + 1] =
      { role = "assistant", head = prompt, body = opts.answer, tail = {}, learnt = true }
    prompt = {}
  end

  local info = { spans = {}, trained = 0, dropped = 0, cut = 0 }
  if opts.max_length then
    wrong = fit(turns, opts.max_length - #prompt - (bos and 1 or 0), info)
    if wrong then return nil, where(opts) .. wrong, "length" end
  end

  local ids, mask = join(turns, prompt, bos and tok.bos_id, opts.train == "last", info)
  return ids, mask, info
end

----------------------------------------------------------------------------------------------------
-- Looking

--- The decoded text with the trained runs marked.
-- @tparam Tokenizer tok
-- @tparam {integer,...} ids token ids
-- @tparam {integer,...} mask of each id 1 or 0, as `chat.render` gives it
-- @tparam ?table opts `color` (false): green for trained ones (a terminal), else ⟦ ⟧
-- @treturn string
function render.show(tok, ids, mask, opts)
  local open, close = "⟦", "⟧"
  if opts and opts.color then
    open, close = "\27[32m", "\27[0m"
  end
  local out, stream, inside = {}, tok:stream(), false
  for i, id in ipairs(ids) do
    local trained = mask[i] ~= 0
    if trained ~= inside then
      out[#out + 1] = stream:finish()
      out[#out + 1] = trained and open or close
      inside = trained
    end
    out[#out + 1] = stream:push(id)
  end
  out[#out + 1] = stream:finish()
  out[#out + 1] = inside and close or ""
  return table.concat(out)
end

return render
