--- Chat data: messages to token ids and the mask of those that are trained.
--
--     local ids, mask = chat.render(tok, chat.chatml, {
--       { role = "user", content = "Name a moon." },
--       { role = "assistant", content = "Europa." },
--     })
--     print(chat.show(tok, ids, mask))
--
-- This is the face of the modules beside it: the templates, the rendering, the templates as Jinja
-- and as data, and templates that are Jinja text, as models bring them. Training data goes through
-- `pl.data.encode`.

local description = require("perilune.data.chat.description")
local jinja = require("perilune.data.chat.jinja")
local program = require("perilune.data.chat.program")
local render = require("perilune.data.chat.render")
local templates = require("perilune.data.chat.templates")

return {
  description = description,
  content = templates.content,
  control = templates.control,
  stop = templates.stop,
  plain = templates.plain,
  plain_template = templates.plain_template,
  chatml = templates.chatml,
  templates = templates.by_name,
  control_names = templates.control_names,
  stop_id = templates.stop_id,
  of_jinja = program.new,
  answer = program.answer,
  render = render.messages,
  show = render.show,
  jinja = jinja.of,
}
