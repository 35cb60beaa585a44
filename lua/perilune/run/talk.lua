--- The other side of perilune.run.control: asks a run that goes on.
--
--     local talk = assert(talk.open("runs/ppo-7"))
--     talk:ask({ ["do"] = "status" }).value.step
--     talk:close()
--
-- A run answers when its step ends, so an answer takes as long as a step may. Of a run of stages
-- the stage that goes on is asked: its socket is in the stage's folder.

local core = require("perilune.core")
local json = require("perilune.base.json")
local lfs = require("lfs")
local nearest = require("perilune.base.nearest")
local survey = require("perilune.run.survey")

local talk = {}

local SOCKET <const> = "control.sock" -- as perilune.run.control has it

--- @class Talk
-- @field string folder of the run, or of its stage
local Talk = {}
Talk.__index = Talk
Talk.__name = "talk"

-- The run whose name is nearest to one that is not there, as it may be given: by its path, or by
-- its name in runs/. Names alone are held against each other, not the folders they stand in.
local function nearby(name)
  local place, last = name:match("^(.*/)([^/]*)$")
  local there = lfs.attributes(place or ".", "mode") == "directory" and survey.near(place or ".")
  local names = {}
  for _, path in ipairs(there or {}) do
    names[#names + 1] = path:match("[^/]+$")
  end
  local found = nearest.find(last or name, names)
  if found then return (place or "") .. found end
  names = {}
  for _, path in ipairs(survey.runs("runs")) do
    names[#names + 1] = path:gsub("^runs/", "")
  end
  return nearest.find(name, names)
end

--- The folder of a run: as named, or so named in runs/.
-- @tparam string name
-- @treturn ?string
-- @treturn ?string message
function talk.folder(name)
  local plain = name:gsub("(.)/+$", "%1")
  for _, path in ipairs { plain, "runs/" .. plain } do
    if lfs.attributes(path, "mode") == "directory" then return path end
  end
  local meant = nearby(plain)
  local text = "there is no run '%s', here or in runs/; %s"
  return nil,
    text:format(
      plain,
      meant and ("did you mean '%s'?"):format(meant) or "'perilune runs' lists those there are"
    )
end

-- The folder itself and those of its stages.
local function places(folder)
  local list = { folder }
  for name in lfs.dir(folder) do
    local path = folder .. "/" .. name
    if name:sub(1, 1) ~= "." and lfs.attributes(path .. "/run.lock", "mode") then
      list[#list + 1] = path
    end
  end
  table.sort(list)
  return list
end

--- Connects to a run.
-- @tparam string folder
-- @treturn ?Talk
-- @treturn ?string why not
function talk.open(folder)
  local refused
  for _, place in ipairs(places(folder)) do
    if lfs.symlinkattributes(place .. "/" .. SOCKET, "mode") then
      local channel, message = core.net.connect(place .. "/" .. SOCKET)
      if channel then
        return setmetatable({ channel = channel, folder = place, asked = 0, heard = {} }, Talk)
      end
      refused = message
    end
  end
  local text = "nobody answers for %s: it does not run, or has not begun its first step%s"
  return nil, text:format(folder, refused and " (" .. refused .. ")" or "")
end

--- Reads what has come, without waiting; events are kept for `events`.
-- @treturn ?boolean true; nil when the run has gone
local function read(self, replies)
  while true do
    local line = self.channel:line()
    if line == nil then return nil end
    if not line then return true end
    local message = json.decode(line)
    if type(message) == "table" then
      if message.event then
        self.heard[#self.heard + 1] = message
      else
        replies[message.id or 0] = message
      end
    end
  end
end

--- The events since the last call: {event = "step", step =, row =}, "state", "end".
-- @treturn {table,...}
-- @treturn boolean whether the run still answers
function Talk:events()
  local alive = read(self, {}) ~= nil
  local list = self.heard
  self.heard = {}
  return list, alive
end

--- Sends a request.
-- @tparam table request `do` and what it wants
-- @treturn integer its number
function Talk:send(request)
  self.asked = self.asked + 1
  local message = { id = self.asked }
  for key, value in pairs(request) do
    message[key] = value
  end
  self.channel:send(json.encode(message) .. "\n")
  return self.asked
end

--- Waits for the answer to a request.
-- @tparam integer number
-- @tparam ?number seconds at most; nil: for ever
-- @treturn ?table the reply
-- @treturn ?string why there is none
function Talk:answer(number, seconds)
  local replies, patience = {}, seconds and core.system.monotonic() + seconds
  while true do
    local alive = read(self, replies)
    if replies[number] then return replies[number] end
    if replies[0] then return replies[0] end -- of a run that turns us away
    if not alive then return nil, "the run has ended" end
    local left = patience and patience - core.system.monotonic() or 1
    if left <= 0 then return nil, "the run does not answer yet: its step goes on" end
    core.net.wait({ self.channel }, math.min(left, 1))
  end
end

--- Asks and waits.
-- @tparam table request
-- @tparam ?number seconds
-- @treturn ?table reply
-- @treturn ?string message
function Talk:ask(request, seconds) return self:answer(self:send(request), seconds) end

--- Ends it; more than once is fine.
function Talk:close() self.channel:close() end

return talk
