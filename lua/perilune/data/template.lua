--- Which template a run writes conversations with: the model's own, or the one that is asked for.
--
-- A model has its template as Jinja text, in tokenizer_config.json, chat_template.jinja or its GGUF
-- file; that is run as it stands. One that was trained here with a named template has it as plain
-- data beside that, in perilune_template.json, which is what is read here (`tok.template`).

local chat = require("perilune.data.chat")
local files = require("perilune.base.files")

local NAMES <const> = "auto, none, plain, chatml, or the path of a .jinja file"

-- The template of a model's Jinja text, and its name; or false and what is wrong with it.
local function of_text(tok, text, name)
  local template, message = chat.of_jinja(text, name, tok.chat_templates)
  if not template then return false, message end
  local ok, wrong = pcall(chat.stop_id, tok, template)
  if not ok then return false, wrong end
  return template, name
end

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
  for _, name in ipairs { "plain", "chatml" } do
    local ok, written = pcall(chat.jinja, chat.templates[name], tok)
    if ok and written == text then return chat.templates[name], name end
  end
  return of_text(tok, text, "chat_template")
end

local function by_name(name, tok)
  if name == "none" or type(name) == "table" then return name ~= "none" and name or nil end
  local text = tok and (tok.chat_templates or {})[name]
  if not text and name:match("%.jinja$") then
    local read, message = files.read(name)
    text = read or error(("cannot read the template %s: %s"):format(name, message), 0)
  end
  if not text then
    local known = chat.templates[name]
    return known or error(("unknown template '%s'; known: %s"):format(name, NAMES), 0)
  end
  local template, message = chat.of_jinja(text, name)
  return template or error(message, 0)
end

-- What tells a function's template from another: a hash, since a folder keeps no function.
local function mark_of(tok, template)
  return files.hash_string(chat.description.identity(tok, template))
end

-- Whether a template that is a function is the one that the model was saved with.
local function is_saved_function(tok, template)
  local saved = tok.template
  return template ~= nil
    and template.turn ~= nil
    and type(saved) == "table"
    and saved.is_function == true
    and saved.mark == mark_of(tok, template)
end

local function warn(text, ...) io.stderr:write("  warning: ", text:format(...), "\n") end

--- The template of a name, and with a tokenizer that which the model is saved with from now on.
-- Raises for a name that is none of these.
-- @tparam string|Template name "none", "plain", "chatml", the name of a further template of the
--   model, the path of a .jinja file, or a template; "auto" is the one that the model was saved
--   with (none when it has none). Another one than the model's is a warning with both names
-- @tparam ?Tokenizer tok
-- @treturn ?Template nil: none, prompts are plain text
return function(name, tok)
  if not tok then return (by_name(name)) end
  local template, own_name = own(tok)
  if name == "auto" then
    if template == false then
      warn(
        "the model's template cannot be used: %s. None is taken: prompts are plain text. Name "
          .. "another with --template, or give the template itself to data.template in a recipe "
          .. "of yours",
        own_name
      )
      return nil
    end
  else
    local asked = by_name(name, tok)
    if
      own_name
      and not is_saved_function(tok, asked)
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
    local is_jinja = asked and asked.program
    tok.template = not is_jinja and chat.description.of(asked) or nil
    if asked and asked.turn and tok.template then tok.template.mark = mark_of(tok, asked) end
    if asked then
      local known, text = pcall(chat.jinja, asked, tok)
      tok.chat_template = known and text or tok.chat_template
    end
  end
  return template
end
