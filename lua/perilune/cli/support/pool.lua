--- Runs as processes of their own, some at a time, each resumed where it stopped: what `perilune
-- sweep` and `perilune compare` are made of.

local core = require("perilune.core")
local files = require("perilune.base.files")
local format = require("perilune.base.format")
local host = require("perilune.host")
local lfs = require("lfs")
local lock = require("perilune.run.lock")
local survey = require("perilune.run.survey")
local system = core.system

local pool = {}

local taken = {} -- locks: to forget one is to give it up

local LOOK <const> = 0.1 -- seconds between looks at the processes

--- A run of a pool.
-- @class PooledRun
-- @field string name what it is called on the terminal
-- @field string recipe
-- @field string folder of the run
-- @field {string,...} words its keys and values, without --output_dir

-- What a run that failed said of it: the program's last line, else the last of all.
local function last_line(log)
  local last, own
  for line in (files.read(log) or ""):gmatch("[^\r\n]+") do
    own = line:find("^perilune: ") and line or own
    last = line:find("%S") and line or last
  end
  return own or last or "it said nothing"
end

local function has_checkpoint(folder)
  if lfs.attributes(folder, "mode") ~= "directory" then return false end
  for name in lfs.dir(folder) do
    if name:find("^checkpoint%-") then return true end
  end
  return survey.near(folder)[1] ~= nil -- stages, which keep their own
end

local function start(one, threads)
  local command = { host.executable, "run", one.recipe, table.unpack(one.words) }
  local function add(...) table.move({ ... }, 1, select("#", ...), #command + 1, command) end
  add("--output_dir", one.folder)
  if threads then add("--threads", tostring(threads)) end
  if has_checkpoint(one.folder) then
    add("--resume")
  elseif lfs.attributes(one.folder, "mode") then
    add("--overwrite_output_dir")
  end
  local log = one.folder .. ".log"
  assert(files.folder_make((log:match("^(.*)/"))))
  local pid, message = system.spawn(command, {
    stdin = "/dev/null",
    stdout = log,
    stderr = log,
    wait = false,
  })
  if not pid then error(("%s cannot be started: %s"):format(one.name, message), 0) end
  return { pid = pid, run = one, log = log, began = system.monotonic() }
end

local function is_done(folder)
  return lfs.attributes(folder, "mode") == "directory" and survey.look(folder).state == "done"
end

--- Whether a run is done, or goes on from a checkpoint; one that ended before begins anew.
-- @tparam string folder of the run
-- @treturn boolean
function pool.has_begun(folder) return is_done(folder) or has_checkpoint(folder) end

-- Tells the processes to stop, which write a checkpoint first, and waits for them.
local function stop_all(going)
  for _, process in ipairs(going) do
    system.kill(process.pid, 15)
  end
  for _, process in ipairs(going) do
    system.wait(process.pid)
  end
  for i = #going, 1, -1 do
    going[i] = nil
  end
end

--- Takes the folder of many runs for this process, until it ends. Raises when another has it.
-- @tparam string folder is made when it is not there
function pool.take(folder)
  local made, message = files.folder_make(folder)
  if not made then error(message, 0) end
  local held, owner = lock.take(folder)
  if not held then error(("%s is in use by %s"):format(folder, owner), 0) end
  taken[#taken + 1] = held
end

--- Runs each that is not done. One whose folder another process has, a run that a killed program
-- left behind, is waited for. A failure stops no other. Ctrl-C and SIGTERM stop all, and end the
-- program.
-- @tparam {PooledRun,...} runs
-- @tparam table opts `jobs` (required) processes at a time; `threads` of each (nil: their own
--   choice); `note` (required) function that is told a line of progress
-- @treturn {{run=PooledRun,message=string},...} those that failed, and what they said
function pool.run(runs, opts)
  local going, failed, at, done, told = {}, {}, 0, 0, nil
  local before = host.graceful(true)
  local _ <close> = setmetatable({}, {
    __close = function()
      stop_all(going)
      host.graceful(before)
    end,
  })
  local function ended(process, how, code)
    local fine = how == "exit" and code == 0 and is_done(process.run.folder)
    if not fine then
      failed[#failed + 1] = { run = process.run, message = last_line(process.log) }
    end
    done = done + 1
    local took = format.duration(system.monotonic() - process.began)
    local word = fine and took or "failed after " .. took
    opts.note(("[%d/%d] %s  %s"):format(done, #runs, process.run.name, word))
  end
  -- Whether another process has the folder of a run, which is told once.
  local function is_held(one)
    local holder = lock.holder(one.folder)
    if holder and told ~= one then
      told = one
      opts.note(("%s  waits for process %d, which has its folder"):format(one.name, holder))
    end
    return holder
  end
  while done < #runs do
    while #going < opts.jobs and at < #runs and not is_held(runs[at + 1]) do
      at = at + 1
      local one = runs[at]
      if is_done(one.folder) then
        done = done + 1
        opts.note(("[%d/%d] %s  was done before"):format(done, #runs, one.name))
      else
        going[#going + 1] = start(one, opts.threads)
      end
    end
    for i = #going, 1, -1 do
      local how, code = system.wait(going[i].pid, false)
      if how then ended(table.remove(going, i), how, code) end
    end
    if host.stopping() then
      opts.note("stopping; the same command goes on")
      stop_all(going)
      host.stop()
    end
    if done < #runs then system.sleep(LOOK) end
  end
  return failed
end

return pool
