--- A template as Jinja text, as transformers writes and reads it.

local append = require("perilune.base.list").append
local templates = require("perilune.data.chat.templates")

local jinja = {}

local function quote(text)
  local escapes = { ["\\"] = "\\\\", ["'"] = "\\'", ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r" }
  return "'" .. text:gsub("[\\'\n\t\r]", escapes) .. "'"
end

local function expression(parts, from, to)
  local pieces, text = {}, ""
  local function flush()
    if text ~= "" then
      pieces[#pieces + 1] = quote(text)
      text = ""
    end
  end
  for i = from, to do
    local part = parts[i]
    if part == templates.content then
      flush()
      pieces[#pieces + 1] = "message['content']"
    else
      text = text .. (type(part) == "string" and part or part.control)
    end
  end
  flush()
  return #pieces > 0 and "{{ " .. table.concat(pieces, " + ") .. " }}" or ""
end

--- The template as Jinja text, for transformers (`chat_template` of a saved tokenizer). Assistant
-- turns stand in generation blocks, so that `return_assistant_tokens_mask` gives our mask. Raises
-- for a template that is a function and has no `jinja`.
-- @tparam Template template one with `jinja` gives that
-- @tparam ?Tokenizer tok to know whether the beginning token is written
-- @treturn string
function jinja.of(template, tok)
  if template.jinja then return template.jinja end
  if template.turn then
    error(
      ("chat template %s is a function: give its Jinja text in `jinja`"):format(
        template.name or "without a name"
      ),
      2
    )
  end
  local parts = template.assistant
  local content_at, stop_at = templates.assistant_places(template, parts)
  local bos = template.bos
  if bos == nil then bos = tok and tok.adds_bos end
  local out = { bos and "{{ bos_token }}" or "", "{%- for message in messages -%}" }
  for i, role in ipairs { "assistant", "user", "system" } do
    local turn = template[role]
    if turn then
      local test = i == 1 and "if" or "elif"
      out[#out + 1] = ("{%%- %s message['role'] == '%s' -%%}"):format(test, role)
      if role == "assistant" then
        append(out, {
          expression(turn, 1, content_at - 1),
          "{%- generation -%}",
          expression(turn, content_at, stop_at),
          "{%- endgeneration -%}",
          expression(turn, stop_at + 1, #turn),
        })
      else
        out[#out + 1] = expression(turn, 1, #turn)
      end
    end
  end
  local before = templates.generation_parts(template, 1)
  append(out, {
    "{%- else -%}",
    "{{ raise_exception('unknown role ' + message['role']) }}",
    "{%- endif -%}",
    "{%- endfor -%}",
    "{%- if add_generation_prompt -%}",
    expression(before, 1, #before),
    "{%- endif -%}",
  })
  return table.concat(out, "\n")
end

return jinja
