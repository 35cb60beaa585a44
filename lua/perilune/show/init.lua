--- show: what a person sees of a run: curves, the report page, the page of any run.
--
-- May use: base, run.

local lazy = require("perilune.base.lazy")

return lazy({}, {
  plot = "perilune.show.plot",
  report = "perilune.show.report",
  run_page = "perilune.show.run_page",
  runs = "perilune.show.runs",
})
