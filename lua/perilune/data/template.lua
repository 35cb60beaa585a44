--- Which template a run writes conversations with: the model's own, or the one that is asked for.
--
-- A model is saved with its template twice: as Jinja in tokenizer_config.json for other programs,
-- and as plain data in perilune_template.json, which is what is read here (`tok.template`). A model
-- of another program has the Jinja text alone, of which ChatML is known again.

local chat = require("perilune.data.chat")

local NAMES <const> = "auto, none, plain, chatml"

-- The template that comes with a tokenizer, and its name; nil alone when it has none; false and
-- what is wrong when it cannot be used.
local function own(tok)
  if tok.template then
    local template, message = chat.description.template(tok.template)
    if message then return false, message end
    return template, tok.template.name or "without a name"
  end
  local text = tok.chat_template
  if type(text) ~= "string" or text == "" then return nil end
  local is_chatml = text:find("<|im_start|>", 1, true) and text:find("<|im_end|>", 1, true)
  for _, name in ipairs { "plain", "chatml" } do
    local ok, written = pcall(chat.jinja, chat.templates[name], tok)
    if ok and written == text or name == "chatml" and is_chatml then
      return chat.templates[name], name
    end
  end
  return false, "its chat template is Jinja text that is not known here"
end

local function by_name(name)
  if name == "none" or type(name) == "table" then return name ~= "none" and name or nil end
  return chat.templates[name] or error(("unknown template '%s'; known: %s"):format(name, NAMES), 3)
end

local function warn(text, ...) io.stderr:write("  warning: ", text:format(...), "\n") end

--- The template of a name, and with a tokenizer that which the model is saved with from now on.
-- @tparam string|table name "none", "plain", "chatml", or a template; "auto" is the template that
--   the model was saved with (none when it has none). Another one than the model's is a warning
--   with both names
-- @tparam ?Tokenizer tok
-- @treturn ?table template; nil: none, prompts are plain text
return function(name, tok)
  if not tok then return by_name(name) end
  local template, own_name = own(tok)
  if name == "auto" then
    if template == false then
      warn(
        "the model's template cannot be used (%s): none is taken. Name one with --template",
        own_name
      )
      return nil
    end
  else
    local asked = by_name(name)
    if
      own_name
      and (
        template == false
        or chat.description.identity(tok, asked) ~= chat.description.identity(tok, template)
      )
    then
      warn(
        "template %s was asked for, but the model's own is %s: it answers as it was trained "
          .. "only with that one (--template auto)",
        type(name) == "table" and name.name or name,
        template == false and "another (" .. own_name .. ")" or own_name
      )
    end
    template = asked
    tok.template = chat.description.of(asked)
    if asked then
      local known, text = pcall(chat.jinja, asked, tok)
      tok.chat_template = known and text or tok.chat_template
    end
  end
  return template
end
