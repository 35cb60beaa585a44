--- base: what every room may use and that knows nothing of training: files and JSON, checked
-- option tables, the nearest name, lists, statistics, numbers and text as people read them, the
-- terminal, the processor and its limits, where the time goes.
--
-- May use: nothing.

local lazy = require("perilune.base.lazy")

return lazy({}, {
  files = "perilune.base.files",
  format = "perilune.base.format",
  json = "perilune.base.json",
  list = "perilune.base.list",
  members = "perilune.base.members",
  nearest = "perilune.base.nearest",
  options = "perilune.base.options",
  processor = "perilune.base.processor",
  profile = "perilune.base.profile",
  random = "perilune.base.random",
  stats = "perilune.base.stats",
  terminal = "perilune.base.terminal",
})
