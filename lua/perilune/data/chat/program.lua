--- A model's own chat template: Jinja text, run by the engine's interpreter.
--
--     local template = assert(program.new(tok.chat_template, "chat_template"))
--     local ids, mask, info = program.messages(tok, template, messages, { ... })
--
-- The rendered text is encoded with its control tokens, but for what a user wrote: that stays text.
-- The template says itself where a beginning token stands; none is added. An answer is encoded by
-- itself, since at generation what stands before it stands alone.
--
-- Which of the earlier answers are trained: those in generation blocks, where the template has
-- them. Else turn by turn: an answer is what a conversation up to it has behind one that only
-- waits for it. A template that writes earlier answers otherwise than it wrote them when they were
-- the last (Qwen3 leaves old thoughts out) has them not trained; `info.rewritten` counts them.

local append = require("perilune.base.list").append
local core = require("perilune.core")
local json = require("perilune.base.json")

local program = {}

--- The template of a Jinja text.
-- @tparam string text Jinja text, as in tokenizer_config.json
-- @tparam string name of the template; stands in errors: "name:line: ..."
-- @tparam ?{[string]=string} named other templates of the model; `tool_use` is taken for rows with
--   tools
-- @treturn ?Template nil when the text cannot be read
-- @treturn ?string message
function program.new(text, name, named)
  local compiled, message = core.jinja.compile(text, name)
  if not compiled then return nil, message end
  local tool_use
  if named and named.tool_use then
    tool_use, message = core.jinja.compile(named.tool_use, name .. " (tool_use)")
    if not tool_use then return nil, message end
  end
  return {
    name = name,
    jinja = text,
    tool_use = named and named.tool_use,
    program = compiled,
    programs = { tool_use = tool_use },
    stops = setmetatable({}, { __mode = "k" }),
  }
end

-- Rendering --------------------------------------------------------------------------------------

-- Noon of the day, so that all of a run sees one date; SOURCE_DATE_EPOCH holds it.
local function today()
  local given = math.tointeger(tonumber(os.getenv("SOURCE_DATE_EPOCH")))
  if given then return given end
  local now = os.date("*t")
  return os.time { year = now.year, month = now.month, day = now.day, hour = 12 }
end

--- The date a template sees, where its text asks for one; for identities.
function program.date(template)
  return template.jinja:find("strftime_now", 1, true) and os.date("%Y-%m-%d", today()) or ""
end

local function trusted(tok)
  local names = {}
  for _, role in ipairs { "bos", "eos", "pad", "unk" } do
    local id = tok[role .. "_id"]
    names[role .. "_token"] = id and tok:token(id)
  end
  return json.encode(names)
end

-- Thoughts under each of the names that templates read them by, as transformers gives them.
local function with_thoughts(message)
  local thought = message.reasoning_content or message.thinking or message.reasoning
  if type(thought) ~= "string" then return message end
  local copy = { thinking = thought }
  for key, value in pairs(message) do
    copy[key] = value
  end
  copy.reasoning_content = thought
  return copy
end

local RESERVED <const> = { messages = true, tools = true, documents = true }

local function values_of(messages, opts, waits)
  local list = {}
  for i, message in ipairs(messages) do
    list[i] = json.encode(with_thoughts(message))
  end
  local members = {
    '"messages":[' .. table.concat(list, ",") .. "]",
    '"tools":' .. (opts.tools and json.encode(opts.tools) or "null"),
    '"documents":null',
    '"add_generation_prompt":' .. tostring(waits),
  }
  for key, value in pairs(opts.kwargs or {}) do
    if not RESERVED[key] then
      members[#members + 1] = json.encode(tostring(key)) .. ":" .. json.encode(value)
    end
  end
  return "{" .. table.concat(members, ",") .. "}"
end

-- {text, user, generated} of messages; `waits`: with what stands before an answer. Spans are lists
-- {first, last, first, last, ...} of bytes.
local function rendered(tok, template, messages, opts, waits)
  local compiled = opts.tools and template.programs.tool_use or template.program
  local text, user, generated = compiled:render {
    values = values_of(messages, opts, waits),
    trusted = trusted(tok),
    now = today(),
  }
  if not text then return nil, user end
  return { text = text, user = user, generated = generated }
end

-- Ids of the bytes [from, to] of a rendered text.
local function encoded(tok, whole, from, to, first)
  if to < from then return {} end
  local guarded = {}
  for i = 1, #whole.user, 2 do
    local a, b = math.max(whole.user[i], from), math.min(whole.user[i + 1], to)
    if a <= b then append(guarded, { a - from + 1, b - from + 1 }) end
  end
  local part = whole.text:sub(from, to)
  return tok:encode(part, { special = true, guarded = guarded, continued = not first })
end

-- Whether no byte of [from, to] is a user's.
local function is_own(whole, from, to)
  for i = 1, #whole.user, 2 do
    if whole.user[i] <= to and whole.user[i + 1] >= from then return false end
  end
  return true
end

-- Where `name` first stands at or behind `from`, written by the template.
local function find_own(whole, name, from)
  while true do
    local at, behind = whole.text:find(name, from, true)
    if not at or is_own(whole, at, behind) then return at, behind end
    from = at + 1
  end
end

-- The end token -----------------------------------------------------------------------------------

local MARK <const> = "Perilune"
local PROBES <const> = {
  { { role = "user", content = "a" }, { role = "assistant", content = MARK } },
  {
    { role = "system", content = "a" },
    { role = "user", content = "a" },
    { role = "assistant", content = MARK },
  },
}

-- The first control token behind an answer, else the tokenizer's end token; nil and why there is
-- none.
local function find_stop(tok, template)
  local why
  for _, probe in ipairs(PROBES) do
    local whole, wrong = rendered(tok, template, probe, {}, false)
    why = why or wrong
    local from, to = (whole and whole.text or ""):find(MARK, 1, true)
    if from then
      for _, id in ipairs(encoded(tok, whole, to + 1, #whole.text)) do
        if tok:is_control(id) then return id end
      end
      if tok.eos_id then return tok.eos_id end
    end
  end
  return nil, why
end

--- The id that ends an answer; raises when there is none.
-- @tparam Tokenizer tok
-- @tparam table template
-- @treturn integer
function program.stop_id(tok, template)
  local stop, why = template.stops[tok], nil
  if not stop then
    stop, why = find_stop(tok, template)
  end
  if not stop then
    error(
      why
        or (
          "chat template %s writes no token of this tokenizer behind an answer, and the tokenizer "
          .. "names no end token"
        ):format(template.name),
      0
    )
  end
  template.stops[tok] = stop
  return stop
end

-- Answers in a text -------------------------------------------------------------------------------

-- What messages[k], an answer, is when it is the last: the text, where the answer begins and where
-- it ends, and where its end token does (nil: it has none). nil where the template does not begin
-- with what it asks for that answer with.
local function answer_at(tok, template, messages, k, opts)
  local before = table.move(messages, 1, k - 1, 1, {})
  local waiting, wrong = rendered(tok, template, before, opts, true)
  if not waiting then return nil, wrong end
  before[k] = messages[k]
  local whole
  whole, wrong = rendered(tok, template, before, opts, false)
  if not whole then return nil, wrong end
  local from = #waiting.text + 1
  if whole.text:sub(1, from - 1) ~= waiting.text then return nil end
  local stop = tok:token(program.stop_id(tok, template))
  local at, behind = find_own(whole, stop, from)
  return whole, from, at and at - 1 or #whole.text, behind
end

-- What the template writes when it waits for an answer; "" when that cannot be told.
local function header_of(tok, template)
  local asked = { { role = "user", content = "a" } }
  local waiting = rendered(tok, template, asked, {}, true)
  local whole = rendered(tok, template, asked, {}, false)
  local begins = waiting and whole and waiting.text:sub(1, #whole.text) == whole.text
  return begins and waiting.text:sub(#whole.text + 1) or ""
end

-- The runs of generation blocks, each up to its end token; some blocks hold the header as well,
-- which no model writes.
local function generated_runs(tok, template, whole)
  local stop, runs = tok:token(program.stop_id(tok, template)), {}
  local header = header_of(tok, template)
  for i = 1, #whole.generated, 2 do
    local from, to = whole.generated[i], whole.generated[i + 1]
    if whole.text:sub(from, from + #header - 1) == header then from = from + #header end
    local at, behind = find_own(whole, stop, from)
    if at and at <= to + 1 then to = behind end
    if from <= to then runs[#runs + 1] = { from, to } end
  end
  return runs
end

-- Runs {first, last} of the earlier answers in a text that are trained, and how many are not since
-- the template rewrites them.
local function answers_in(tok, template, messages, opts, whole)
  local answers, is_plain = {}, true
  for k, message in ipairs(messages) do
    if message.role == "assistant" then
      answers[#answers + 1] = k
      is_plain = is_plain and message.weight ~= 0
    end
  end
  if template.program:has_generation() and is_plain then
    return generated_runs(tok, template, whole), 0
  end
  local runs, rewritten = {}, 0
  for _, k in ipairs(answers) do
    if messages[k].weight ~= 0 and k > 1 then
      local alone, from, to, behind = answer_at(tok, template, messages, k, opts)
      local last = behind or to
      if alone and alone.text:sub(1, last) == whole.text:sub(1, last) then
        runs[#runs + 1] = { from, last }
      else
        rewritten = rewritten + 1
      end
    end
  end
  return runs, rewritten
end

--- Token ids of an answer that is a message: what the template writes of it behind what it asks for
-- an answer with, up to its end token. A template that writes another beginning gives the content
-- alone.
-- @tparam Tokenizer tok
-- @tparam Template template one that is Jinja text
-- @tparam {Message,...} before the conversation up to the answer
-- @tparam Message message the answer
-- @tparam table opts `tools` (none) and `kwargs` (none) values for the template
-- @treturn ?{integer,...} ids without the end token
-- @treturn ?string what is wrong
-- @treturn ?string "template": it refuses the messages
function program.answer(tok, template, before, message, opts)
  local messages = table.move(before, 1, #before, 1, {})
  messages[#messages + 1] = message
  local whole, from, to = answer_at(tok, template, messages, #messages, opts)
  if whole then return encoded(tok, whole, from, to) end
  if from then return nil, from, "template" end
  if type(message.content) ~= "string" then
    local text = "message %d: the template writes it otherwise than it asks for an answer"
    return nil, text:format(#messages), "template"
  end
  return tok:encode(message.content, { continued = true })
end

-- Conversations -----------------------------------------------------------------------------------

local function fault(messages, opts)
  if type(messages) ~= "table" then
    return ("messages is a %s, not a list"):format(type(messages))
  elseif #messages == 0 then
    return "messages is empty"
  end
  for i, message in ipairs(messages) do
    if type(message) ~= "table" then
      return ("message %d is a %s, not a table"):format(i, type(message))
    elseif type(message.role) ~= "string" then
      return ("message %d has no role"):format(i)
    end
  end
  if opts.add_generation_prompt and messages[#messages].role == "assistant" then
    return "the last message is the assistant's already: add_generation_prompt would begin a "
      .. "second answer"
  end
end

-- Ids and mask of messages, and how many earlier answers are rewritten.
local function laid_out(tok, template, messages, opts)
  local whole, wrong = rendered(tok, template, messages, opts, opts.add_generation_prompt)
  if not whole then return nil, wrong end
  local runs, rewritten = answers_in(tok, template, messages, opts, whole)
  local ids, mask, at = {}, {}, 1
  local function add(from, to, trained)
    local part = encoded(tok, whole, from, to, from == 1)
    append(ids, part)
    for _ = 1, #part do
      mask[#mask + 1] = trained and 1 or 0
    end
  end
  for _, run in ipairs(runs) do
    add(at, run[1] - 1, false)
    add(run[1], run[2], opts.train ~= "last")
    at = run[2] + 1
  end
  add(at, #whole.text, false)
  if opts.bos and ids[1] ~= tok.bos_id then
    table.insert(ids, 1, tok.bos_id)
    table.insert(mask, 1, 0)
  end
  return { ids = ids, mask = mask, rewritten = rewritten, runs = #runs }
end

-- Takes the earliest turns out, up to the next of a user; else the system message; how many went.
local function drop_earliest(messages)
  local first = messages[1].role == "system" and 2 or 1
  for i = first + 1, #messages do
    if messages[i].role == "user" then
      for _ = first, i - 1 do
        table.remove(messages, first)
      end
      return i - first
    end
  end
  if first == 2 and #messages > 1 then
    table.remove(messages, 1)
    return 1
  end
  return 0
end

local function runs_of(mask)
  local spans, trained = {}, 0
  for i, on in ipairs(mask) do
    if on == 1 then
      trained = trained + 1
      local last = spans[#spans]
      if last and last[2] == i - 1 then
        last[2] = i
      else
        spans[#spans + 1] = { i, i }
      end
    end
  end
  return spans, trained
end

--- Token ids of a conversation, as render.messages of perilune.data.chat gives them.
-- @tparam Tokenizer tok
-- @tparam table template
-- @tparam {table,...} messages
-- @tparam table opts those of render.messages; `tools`, `kwargs` (variables of the template)
-- @treturn ?{integer,...} ids
-- @treturn {integer,...}|string mask, or what is wrong
-- @treturn ?table|string info, with `rewritten`: earlier answers not trained; or "length", or
--   "template"
function program.messages(tok, template, messages, opts)
  local wrong = fault(messages, opts)
  if wrong then return nil, wrong end
  local answer = opts.answer or {}
  local laid
  laid, wrong = laid_out(tok, template, messages, opts)
  if not laid then return nil, wrong, "template" end
  local kept, dropped = table.move(messages, 1, #messages, 1, {}), 0
  while opts.max_length and #laid.ids + #answer > opts.max_length do
    local went = drop_earliest(kept)
    local shorter = went > 0 and laid_out(tok, template, kept, opts)
    -- A template may refuse what is left, or write more where a system message is missing.
    if not shorter or #shorter.ids >= #laid.ids then break end
    laid, dropped = shorter, dropped + went
  end
  local room = (opts.max_length or math.huge) - #laid.ids
  if room < math.min(1, #answer) then
    local text = "the last user turn and what must follow it need %d tokens; max_length leaves %d"
    return nil, text:format(#laid.ids + math.min(1, #answer), opts.max_length), "length"
  end
  local ids, mask, cut = laid.ids, laid.mask, 0
  for i, id in ipairs(answer) do
    if i > room then
      cut = cut + 1
    else
      ids[#ids + 1], mask[#mask + 1] = id, 1
    end
  end
  local spans, trained = runs_of(mask)
  return ids,
    mask,
    {
      spans = spans,
      trained = trained,
      dropped = dropped,
      cut = cut,
      rewritten = opts.train == "last" and 0 or laid.rewritten,
    }
end

return program
