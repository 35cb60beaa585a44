--- A run without a terminal: `perilune run --detach` starts it in a session of its own and waits
-- until the run's folder is open. Until then its output is the terminal's, so that a wrong key is
-- seen there; from then on it goes to output.log in the folder.

local core = require("perilune.core")
local files = require("perilune.base.files")

local detached = {}

--- The file of a detached run's output, in its folder.
-- @type string
detached.LOG = "output.log"

--- The variable of the environment that names the file by which the run tells its folder.
-- @type string
detached.VARIABLE = "PERILUNE_DETACH"

--- Tells that a run's folder is open, when somebody waits for that; only the first of a process
-- does.
-- @tparam string folder
function detached.begin(folder)
  local notice = os.getenv(detached.VARIABLE)
  if not notice or notice == "" then return end
  core.system.setenv(detached.VARIABLE, nil)
  local ok, message = core.system.redirect(folder .. "/" .. detached.LOG)
  if not ok then error(("the output of a detached run: %s"):format(message), 0) end
  assert(files.write_atomic(notice, folder))
end

return detached
