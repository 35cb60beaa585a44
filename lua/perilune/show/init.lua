--- show: what a person sees of a run afterwards: curves and the report page.
--
-- May use: base.

local lazy = require("perilune.base.lazy")

return lazy({}, {
  plot = "perilune.show.plot",
  report = "perilune.show.report",
})
