--- A chat template as data, to be saved beside a model and read again; and what tells one template
-- from another.
--
--     { "name": "chatml", "user": [{ "control": "<|im_start|>" }, { "text": "user\n" },
--       { "content": true }, { "control": "<|im_end|>" }, { "text": "\n" }], ... }
--
-- A part is a text, the place of the content, or a control token; `stop` marks the one that ends an
-- answer. "none" is a description as well: prompts are plain text. Nothing in a description is ever
-- run: a template that is a function is written by its name alone, and cannot be read back.

local core = require("perilune.core")
local json = require("perilune.base.json")
local program = require("perilune.data.chat.program")
local render = require("perilune.data.chat.render")
local templates = require("perilune.data.chat.templates")

local description = {}

local LISTS <const> = { "system", "user", "assistant", "generation" }

local function part_to_data(part)
  if part == templates.content then
    return { content = true }
  elseif type(part) == "string" then
    return { text = part }
  end
  return { control = part.control, stop = part.stop }
end

--- The description of a template.
-- @tparam ?Template template nil: none
-- @treturn {[string]=any} data as JSON can hold it
function description.of(template)
  if not template then return { name = "none" } end
  local data = { name = template.name, bos = template.bos }
  if template.turn then
    data.is_function = true
    return data
  end
  for _, role in ipairs(LISTS) do
    local parts = template[role]
    if parts then
      data[role] = {}
      for i, part in ipairs(parts) do
        data[role][i] = part_to_data(part)
      end
    end
  end
  return data
end

local function part_of_data(data)
  if type(data) ~= "table" then
    return nil
  elseif data.content == true then
    return templates.content
  elseif type(data.text) == "string" then
    return data.text
  elseif type(data.control) == "string" then
    return data.stop == true and templates.stop(data.control) or templates.control(data.control)
  end
end

--- The template of a description.
-- @tparam {[string]=any} data as of `description.of`
-- @treturn ?Template nil without a message is "none"
-- @treturn ?string what is wrong with it
function description.template(data)
  if type(data) ~= "table" then
    return nil, "the template's description is no object"
  elseif data.name == "none" then
    return nil
  elseif data.is_function then
    return nil,
      ("it is %s, a Lua function, of which a folder keeps no code"):format(
        data.name and "'" .. tostring(data.name) .. "'" or "without a name"
      )
  end
  local template = { name = type(data.name) == "string" and data.name or nil }
  if type(data.bos) == "boolean" then template.bos = data.bos end
  for _, role in ipairs(LISTS) do
    if data[role] ~= nil then
      if type(data[role]) ~= "table" then
        return nil, ("the template's `%s` is a %s, not a list"):format(role, type(data[role]))
      end
      template[role] = {}
      for i, part in ipairs(data[role]) do
        template[role][i] = part_of_data(part)
        if template[role][i] == nil then
          return nil,
            ("the template's `%s`: part %d is neither text, content nor control"):format(role, i)
        end
      end
    end
  end
  if not template.assistant then return nil, "the template has no form for the assistant" end
  local ok, message = pcall(templates.assistant_places, template, template.assistant)
  if not ok then return nil, message end
  return template
end

-- Conversations in which templates differ: roles, places, contents.
local PROBES <const> = {
  { { "user", "a" } },
  { { "user", "Ä b\n" }, { "assistant", "c" }, { "user", " d" } },
  { { "system", "e" }, { "user", "f" } },
  {
    { "system", "e" },
    { "user", "f" },
    { "assistant", " g " },
    { "user", "h" },
    { "assistant", "i" },
    { "user", "a longer one, <|im_end|> and 12 among it" },
  },
}

--- All that a template decides, as a text: its parts and what it makes of probe conversations. Its
-- name is no part of it.
-- @tparam Tokenizer tok
-- @tparam ?Template template nil: none
-- @treturn string
function description.identity(tok, template)
  if not template then
    return "none"
  elseif template.program then
    local parts = { "jinja", template.jinja, template.tool_use or "", program.date(template) }
    return json.encode(json.array(parts))
  end
  local parts = description.of(template)
  parts.name = nil
  local found = { json.encode(parts) }
  if template.turn then found[2] = core.files.hash_string(string.dump(template.turn, true)) end
  for _, probe in ipairs(PROBES) do
    local messages = {}
    for i, turn in ipairs(probe) do
      messages[i] = { role = turn[1], content = turn[2] }
    end
    local ok, ids, mask =
      pcall(render.messages, tok, template, messages, { add_generation_prompt = true })
    found[#found + 1] = ok
        and type(ids) == "table"
        and table.concat(ids, ",") .. "/" .. table.concat(mask)
      or "refused: " .. tostring(ids)
  end
  return table.concat(found, "\n")
end

return description
