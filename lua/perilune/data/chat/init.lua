--- Chat data: messages to token ids and the mask of those that are trained.
--
--     local ids, mask = chat.render(tok, chat.chatml, {
--       { role = "user", content = "Name a moon." },
--       { role = "assistant", content = "Europa." },
--     })
--     print(chat.show(tok, ids, mask))
--
-- This is the face of three modules: the templates, the rendering, and the templates as Jinja.

local jinja = require("perilune.data.chat.jinja")
local render = require("perilune.data.chat.render")
local templates = require("perilune.data.chat.templates")

return {
  content = templates.content,
  control = templates.control,
  stop = templates.stop,
  plain = templates.plain,
  plain_template = templates.plain_template,
  chatml = templates.chatml,
  templates = templates.by_name,
  control_names = templates.control_names,
  stop_id = templates.stop_id,
  render = render.messages,
  complete = render.complete,
  example = render.example,
  show = render.show,
  jinja = jinja.of,
}
