--- Chat templates: how each role of a conversation is written.
--
-- A template gives each role a list of parts: plain text, `chat.content` (the message),
-- `chat.control "<|user|>"` (a control token), `chat.stop "<|end|>"` (the one that ends an answer).
-- A template whose assistant part has no stop is refused: a model would never learn to end.

local program = require("perilune.data.chat.program")

local templates = {}

--- How a model writes conversations. Parts are texts, `chat.content`, and what `chat.control` and
-- `chat.stop` give; the assistant's turn has a stop.
-- @class Template
-- @field ?string name for messages
-- @field ?{any,...} system parts of the system's turn; nil: there is no such role
-- @field ?{any,...} user parts of a user's turn
-- @field ?{any,...} assistant parts of an assistant's turn
-- @field ?function turn (message, place from 1) -> parts, in place of these three
-- @field ?{any,...} generation parts that stand before an answer (nil: the assistant's turn up to
--   its content)
-- @field ?boolean bos whether ids begin with the beginning token (nil: what the tokenizer would
--   add)
-- @field ?string jinja the template as Jinja text; of one that was made by `chat.of_jinja` what it
--   is run from

--- Stands for the message's text in a template.
-- @type table
templates.content = setmetatable({}, { __name = "chat.content" })

--- A control token of the tokenizer, by name.
-- @tparam string name such as "<|im_start|>"
-- @treturn {control=string} part of a template
function templates.control(name) return { control = name } end

--- The control token that ends an assistant's turn.
-- @tparam string name such as "<|im_end|>"
-- @treturn {control=string,stop=boolean} part of a template
function templates.stop(name) return { control = name, stop = true } end

local control, stop, content = templates.control, templates.stop, templates.content

--- Role token, content, end token: the shortest form, for tokenizers trained here.
-- @tparam ?table names `system` ("<|system|>"), `user` ("<|user|>"), `assistant` ("<|assistant|>"),
--   `stop` ("<|end|>"): names of the tokens
-- @treturn Template with a system's, a user's and an assistant's turn
function templates.plain_template(names)
  names = names or {}
  local stop_name = names.stop or "<|end|>"
  local function turn(role, last)
    return { control(names[role] or "<|" .. role .. "|>"), content, last }
  end
  return {
    name = "plain",
    system = turn("system", control(stop_name)),
    user = turn("user", control(stop_name)),
    assistant = turn("assistant", stop(stop_name)),
  }
end

--- Role token, content, `<|end|>`.
-- @type table
templates.plain = templates.plain_template()

--- ChatML, as Qwen and many others write it.
-- @type table
templates.chatml = {
  name = "chatml",
  system = { control("<|im_start|>"), "system\n", content, control("<|im_end|>"), "\n" },
  user = { control("<|im_start|>"), "user\n", content, control("<|im_end|>"), "\n" },
  assistant = { control("<|im_start|>"), "assistant\n", content, stop("<|im_end|>"), "\n" },
}

--- The templates by name.
-- @type {[string]=table}
templates.by_name = { plain = templates.plain, chatml = templates.chatml }

--- Where content and stop are; raises for a template that cannot work.
function templates.assistant_places(template, parts)
  local content_at, stop_at
  for i, part in ipairs(parts) do
    if part == content then
      content_at = content_at or i
    elseif type(part) == "table" and part.stop then
      stop_at = stop_at or i
    end
  end
  local name = template.name or "without a name"
  if not content_at then
    error(("chat template %s: the assistant's turn has no chat.content"):format(name), 0)
  end
  if stop_at ~= content_at + 1 then
    error(
      (
        "chat template %s: the assistant's content must be followed by chat.stop(token); "
        .. "without it the end of an answer is never trained"
      ):format(name),
      0
    )
  end
  return content_at, stop_at
end

local function is_part(part)
  return type(part) == "string"
    or part == content
    or type(part) == "table" and type(part.control) == "string"
end

-- What a template's own function gives for a turn, or an error that says what is wrong with it.
local function by_function(template, message, index)
  local function refuse(text, ...)
    error(
      ("chat template %s: turn() for the role '%s' (message %d) %s"):format(
        template.name or "without a name",
        tostring(message.role),
        index,
        text:format(...)
      ),
      0
    )
  end
  if type(template.turn) ~= "function" then
    error(
      ("chat template %s: `turn` is a %s, not a function"):format(
        template.name or "without a name",
        type(template.turn)
      ),
      0
    )
  end
  local ok, parts = pcall(template.turn, message, index)
  if not ok then refuse("failed: %s", tostring(parts)) end
  if type(parts) ~= "table" then
    refuse(
      "gave a %s; a list of texts, chat.content, chat.control and chat.stop is wanted",
      type(parts)
    )
  elseif #parts == 0 then
    refuse("gave an empty list")
  end
  for i = 1, #parts do
    if not is_part(parts[i]) then
      refuse(
        "gave a %s as part %d; parts are texts, chat.content, chat.control and chat.stop",
        type(parts[i]),
        i
      )
    end
  end
  return parts
end

--- The parts of a turn: from the table, or from the template's own function.
function templates.turn_parts(template, message, index)
  if template.turn then return by_function(template, message, index) end
  local parts = template[message.role]
  if type(parts) ~= "table" then
    error(
      ("chat template %s has no form for the role '%s'"):format(
        template.name or "without a name",
        message.role
      ),
      0
    )
  end
  return parts
end

--- What stands before an answer: `generation`, or the assistant's turn up to its content.
function templates.generation_parts(template, index)
  if template.generation then return template.generation end
  local parts = templates.turn_parts(template, { role = "assistant", content = "" }, index)
  return table.move(parts, 1, templates.assistant_places(template, parts) - 1, 1, {})
end

--- The id of a control token; raises when the tokenizer has none of that name.
function templates.control_id(tok, template, name)
  local id = tok:id(name)
  if not id or not tok:is_control(id) then
    error(
      (
        "chat template %s wants the control token '%s', which this tokenizer does not have; "
        .. "take another template, or train one with special = chat.control_names(template)"
      ):format(template.name or "without a name", name),
      0
    )
  end
  return id
end

--- The names of the control tokens a template uses, each once, in order: what to give
-- tokenizer.train as `special`.
-- @tparam Template template of parts, or a function
-- @treturn {string,...}
function templates.control_names(template)
  local names, seen = {}, {}
  for _, role in ipairs { "system", "user", "assistant" } do
    local parts = (template.turn or template[role])
      and templates.turn_parts(template, { role = role, content = "" }, 1)
    for _, part in ipairs(parts or {}) do
      if type(part) == "table" and part.control and not seen[part.control] then
        seen[part.control] = true
        names[#names + 1] = part.control
      end
    end
  end
  return names
end

--- The id that ends an answer under a template: the stop token of generation.
-- @tparam Tokenizer tok
-- @tparam Template template of any kind
-- @treturn integer from 0; raises when the tokenizer has no such token
function templates.stop_id(tok, template)
  if template.program then return program.stop_id(tok, template) end
  local parts = templates.turn_parts(template, { role = "assistant", content = "" }, 1)
  local _, stop_at = templates.assistant_places(template, parts)
  return templates.control_id(tok, template, parts[stop_at].control)
end

return templates
