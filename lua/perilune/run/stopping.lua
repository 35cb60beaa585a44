--- A run that is stopped by Ctrl-C or SIGTERM: what it says, and the command that goes on.
--
-- A run that takes steps lets the step end and writes a checkpoint first (see run.restore). Before
-- that there is nothing to wait for: the signal acts at once, and writes the words left here.

local config = require("perilune.config")
local format = require("perilune.base.format")
local host = require("perilune.host")
local lfs = require("lfs")
local list = require("perilune.base.list")
local unclosed = require("perilune.base.unclosed")

local stopping = {}

--- Whether a folder holds runs of stages, which are what a run of stages goes on from.
-- @tparam string folder
-- @treturn boolean
function stopping.holds_stages(folder)
  for name in lfs.dir(folder) do
    if name:sub(1, 1) ~= "." and lfs.attributes(folder .. "/" .. name .. "/run.lock") then
      return true
    end
  end
  return false
end

--- The command that goes on with the run in a folder.
-- @tparam Config cfg of the run, or of one like it
-- @tparam string folder
-- @treturn string
function stopping.command(cfg, folder)
  local about = config.describe(cfg)
  local words = { "perilune", "run", about.recipe or "RECIPE" }
  list.append(words, { "--output_dir", folder, "--resume" })
  for key, value in pairs(cfg) do
    if config.runs_code(cfg, key) and value ~= "" then
      list.append(words, { "--" .. key, value })
    end
  end
  return format.command(words)
end

-- The command that goes on with a run, or with the run that this one is a stage of.
local function command_to_resume(self)
  local first = self
  for _, other in ipairs(unclosed.list()) do -- a stage lies in the folder of its run
    if first.dir:sub(1, #other.dir + 1) == other.dir .. "/" then first = other end
  end
  return stopping.command(first.cfg, first.dir)
end

--- Says what a signal writes while runs are open and none has a checkpoint to wait for: where the
-- last one opened can be gone on with, the command for it.
function stopping.leave_words()
  local open = unclosed.list()
  local self = open[#open]
  if not self then
    host.words(nil)
    return
  end
  local text = "\nperilune: stopped before a first checkpoint; the same command begins again\n"
  if self.resumed or open[1] ~= self or stopping.holds_stages(self.dir) then
    text = "\nperilune: stopped; to go on:\n  " .. command_to_resume(self) .. "\n"
  end
  host.words(text)
end

--- After a checkpoint: stop when Ctrl-C or SIGTERM asked for it, and say how to go on.
-- @tparam Run run
-- @tparam ?string path of the checkpoint
function stopping.stop_if_asked(run, path)
  if not host.stopping() then return end
  local how = command_to_resume(run)
  io.stderr:write(
    path and ("checkpoint %s is written"):format(path) or "stopped",
    "; to go on:\n  ",
    how,
    "\n"
  )
  run:close("stopped")
  host.stop()
end

return stopping
