--- Run folders as somebody outside reads them: finished, going on, or dead.
--
--     local list = assert(runs.open { "runs/demo" })   -- a run, or the stages of one
--     local run = list[1]
--     run:poll()                                       -- what has been written since
--     run.rows, run.samples, run.alarms, run.changes, run.state
--
-- Nothing in a folder is written or locked, so reading never touches a run that goes on. Any of the
-- files may be missing: a folder with nothing but metrics.jsonl, of whatever program, is a run too.
-- A line that is no JSON object is passed over and counted; a last line without its end is read
-- when it is whole.

local files = require("perilune.base.files")
local health = require("perilune.run.health")
local json = require("perilune.base.json")
local lfs = require("lfs")
local survey = require("perilune.run.survey")

local runs = {}

-- A file of JSON Lines that is read on as it grows -----------------------------------------------

local numbers = { ["NaN"] = 0 / 0, ["Infinity"] = math.huge, ["-Infinity"] = -math.huge }

local function with_numbers(row)
  for key, value in pairs(row) do
    row[key] = numbers[value] or value
  end
  return row
end

local Tail = {}
Tail.__index = Tail

local function tail(path) return setmetatable({ path = path, at = 0, bad = 0 }, Tail) end

-- The rows of the lines that became whole since the last call; `true` after them when the file is
-- not the one that was read before, or is shorter: what was read no longer counts.
function Tail:poll()
  local found = lfs.attributes(self.path)
  local size, node = found and found.size or 0, found and found.ino
  local anew = self.node ~= nil and (node ~= self.node or size < self.at)
  if anew then
    self.at, self.bad = 0, 0
  end
  self.node = node
  local rows = {}
  if size <= self.at then return rows, anew end
  local file = io.open(self.path, "rb")
  if not file then return rows, anew end
  file:seek("set", self.at)
  for line in file:lines("L") do
    if line:sub(-1) ~= "\n" then break end -- being written
    self.at = self.at + #line
    if line:find("%S") then
      local row = json.decode(line)
      if type(row) == "table" and type(row.step) == "number" then
        rows[#rows + 1] = with_numbers(row)
      else
        self.bad = self.bad + 1
      end
    end
  end
  file:close()
  return rows, anew
end

-- Runs --------------------------------------------------------------------------------------------

--- A run folder that is read.
-- @class SeenRun
-- @field string dir
-- @field string name the folder's, as short as tells it from the others
-- @field string recipe name of the recipe, "" when nothing says
-- @field string state "running", "paused", "ending"; "done", "stopped", "failed", "died" (it was
-- killed); or "unknown"
-- @field {[string]=any} settings hyper-parameters as config.json has them
-- @field table environment env.json
-- @field table summary summary.json
-- @field table status status.json
-- @field {table,...} rows of metrics.jsonl
-- @field {table,...} samples of samples.jsonl
-- @field {table,...} alarms of alarms.jsonl: step, alarm, text; without that file those that the
-- rows would have rung
-- @field {table,...} changes of journal.jsonl: step, key, old, new
-- @field integer bad lines that could not be read
local Run = {}
Run.__index = Run
Run.__name = "perilune.show.run"

local logs = {
  rows = "metrics.jsonl",
  samples = "samples.jsonl",
  alarms = "alarms.jsonl",
  changes = "journal.jsonl",
}

local function read_object(path)
  if not lfs.attributes(path) then return {} end
  local value = files.read_json(path)
  return type(value) == "table" and value or {}
end

local alive = { running = true, paused = true, ending = true }

--- Reads what has been written since the last call.
-- @treturn {[string]={table,...}} what is new, under the names of the fields: `rows`, `samples`,
-- `alarms`, `changes`
-- @treturn boolean whether what was read before no longer counts: the run was begun anew, or went
-- on from an earlier checkpoint
function Run:poll()
  local anew = false
  local found = {}
  self.bad = 0
  for field, one in pairs(self.tails) do
    local rows, again = one:poll()
    found[field], anew = rows, anew or again
    self.bad = self.bad + one.bad
  end
  if anew then
    for field, one in pairs(self.tails) do
      one.at, self[field] = 0, {}
      found[field] = one:poll()
    end
  end
  for field, rows in pairs(found) do
    table.move(rows, 1, #rows, #self[field] + 1, self[field])
  end
  self.settings = read_object(self.dir .. "/config.json")
  self.recipe = type(self.settings._recipe) == "string" and self.settings._recipe or ""
  self.summary = read_object(self.dir .. "/summary.json")
  self.status = read_object(self.dir .. "/status.json")
  self.state = survey.state(self.dir, self.status, survey.process(self.dir))
  return found, anew
end

--- Whether some process has the run.
-- @treturn boolean
function Run:alive() return alive[self.state] == true end

--- Steps of the whole run, where that is known.
-- @treturn ?integer
function Run:total()
  local total = self.status.total or self.summary.all_steps
  return math.type(total) == "integer" and total or nil
end

--- The step that was logged last, 0 when none was.
-- @treturn number
function Run:step()
  local last = self.rows[#self.rows]
  return last and last.step or 0
end

local function open(dir, name)
  local self = setmetatable({
    dir = dir,
    name = name,
    environment = read_object(dir .. "/env.json"),
    tails = {},
  }, Run)
  for field, file in pairs(logs) do
    self.tails[field], self[field] = tail(dir .. "/" .. file), {}
  end
  self:poll()
  if not lfs.attributes(dir .. "/alarms.jsonl") then
    self.alarms = health.rung(self.rows, self.settings)
  end
  return self
end

local function holds(dir, file) return lfs.attributes(dir .. "/" .. file, "mode") == "file" end

local function is_run(dir) return holds(dir, "metrics.jsonl") or holds(dir, "run.lock") end

-- Folders in a folder that are runs, in the order in which they began.
local function stages_in(dir)
  local list = {}
  for name in lfs.dir(dir) do
    local path = dir .. "/" .. name
    if name:sub(1, 1) ~= "." and lfs.attributes(path, "mode") == "directory" and is_run(path) then
      local env = read_object(path .. "/env.json")
      list[#list + 1] = {
        path = path,
        name = name,
        began = type(env.started) == "string" and env.started or "",
        at = math.type(env.started_at) and env.started_at or 0, -- of runs within one second
      }
    end
  end
  table.sort(list, function(a, b)
    if a.began ~= b.began then return a.began < b.began end
    if a.at ~= b.at then return a.at < b.at end
    return a.name < b.name
  end)
  return list
end

local function has_rows(dir)
  for _, file in ipairs { "metrics.jsonl", "samples.jsonl" } do
    if (lfs.attributes(dir .. "/" .. file, "size") or 0) > 0 then return true end
  end
  return false
end

--- Where the runs of a folder are: itself, when it has rows of its own, and its stages.
-- @tparam string path
-- @treturn ?{{path=string,name=string},...}
-- @treturn ?string message
function runs.places(path)
  local dir = path:gsub("(.)/+$", "%1")
  if lfs.attributes(dir, "mode") ~= "directory" then
    return nil, ("there is no folder %s"):format(dir)
  end
  local name = dir:match("([^/]+)$") or dir
  if name == "." or name == ".." then name = lfs.currentdir():match("([^/]+)$") or name end
  local list, stages = {}, stages_in(dir)
  if is_run(dir) and (#stages == 0 or has_rows(dir)) then list[1] = { path = dir, name = name } end
  for _, stage in ipairs(stages) do
    list[#list + 1] = { path = stage.path, name = name .. "/" .. stage.name }
  end
  if #list == 0 then
    return nil, ("%s holds no run: neither metrics.jsonl nor a run.lock"):format(dir)
  end
  return list
end

--- The runs of several folders, with names that differ.
-- @tparam {string,...} paths
-- @treturn ?{SeenRun,...}
-- @treturn ?string message
function runs.open(paths)
  local list, seen = {}, {}
  for _, path in ipairs(paths) do
    local places, message = runs.places(path)
    if not places then return nil, message end
    for _, place in ipairs(places) do
      if not seen[place.path] then list[#list + 1] = open(place.path, place.name) end
      seen[place.path] = true
    end
  end
  local by_name = {}
  for _, one in ipairs(list) do
    by_name[one.name] = (by_name[one.name] or 0) + 1
  end
  for _, one in ipairs(list) do
    if by_name[one.name] > 1 then one.name = one.dir end
  end
  if #paths == 1 and #list > 1 then -- stages of one run: the folder's name says nothing
    for _, one in ipairs(list) do
      one.name = one.name:match("/([^/]+)$") or one.name
    end
  end
  return list
end

return runs
