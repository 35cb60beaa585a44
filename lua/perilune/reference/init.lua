--- reference: what the library says of itself: the doc comments of its sources, read and put
-- together as the public face, and written as pages (docs/api.md) and as declarations for editors
-- (docs/luacats).
--
-- May use: base.

local lazy = require("perilune.base.lazy")

return lazy({}, {
  doc_comments = "perilune.reference.doc_comments",
  face = "perilune.reference.face",
  links = "perilune.reference.links",
  luacats = "perilune.reference.luacats",
  markdown = "perilune.reference.markdown",
  misuse = "perilune.reference.misuse",
  site = "perilune.reference.site",
  public = "perilune.reference.public",
  topics = "perilune.reference.topics",
  type_names = "perilune.reference.type_names",
})
