--- A run's page, served while the run goes on: what `perilune watch` does.
--
-- The page is that of `perilune report`. New rows, samples, alarms and changes are read from the
-- run folder and told as events; buttons are requests to the run's control socket
-- (perilune.run.talk), checked and journalled there as those of `perilune attach`. This process
-- only reads the folder, so an open page costs the run nothing but the answers to its buttons.
--
--     GET  ""        the page           GET "events"  what is new (the server's own)
--     POST "do"      {"do":"pause"|"continue"|"checkpoint"|"stop","run":0}
--                    {"do":"set","run":0,"key":"kl_coef","value":"0.05"}

local core = require("perilune.core")
local json = require("perilune.base.json")
local run_page = require("perilune.show.run_page")
local runs = require("perilune.show.runs")
local talk = require("perilune.run.talk")

local watcher = {}

local POLL <const> = 0.5 -- seconds between looks at the logs
local LOOK <const> = 3 -- seconds between looks for new stages
local PATIENCE <const> = 25 -- seconds until a button is told that the run has not answered yet
local ROWS <const> = 200 -- in one event

--- A page that is served.
-- @class Watcher
-- @field string address of the page
local Watcher = {}
Watcher.__index = Watcher
Watcher.__name = "perilune.show.watcher"

local buttons = { pause = true, continue = true, checkpoint = true, stop = true, set = true }

--- Serves the page of a run.
-- @tparam string path of the run
-- @tparam ?table options `port` (0: any), `token` (random)
-- @treturn ?Watcher with `address`
-- @treturn ?string message
function watcher.open(path, options)
  local list, message = runs.open { path }
  if not list then return nil, message end
  local server
  server, message = core.http.open(options or {})
  if not server then return nil, message end
  local self = setmetatable({
    path = path,
    list = list,
    server = server,
    address = server:address(),
    asked = {}, -- of the run, not answered yet
    polled = 0,
    looked = 0,
  }, Watcher)
  self.said = json.encode(self:state())
  return self
end

-- What is going on --------------------------------------------------------------------------------

-- The run that the buttons are for: the one that goes on, else the last.
local function current(self)
  for i = #self.list, 1, -1 do
    if self.list[i]:alive() then return i end
  end
  return #self.list
end

-- Seconds until a run ends at the pace of its last rows.
local function time_left(run, total)
  local last = run.rows[#run.rows]
  local before = run.rows[math.max(1, #run.rows - 20)]
  if not total or not last or type(last.time) ~= "number" or type(before.time) ~= "number" then
    return nil
  end
  local steps, seconds = last.step - before.step, last.time - before.time
  if steps <= 0 or seconds <= 0 or total < last.step then return nil end
  return seconds / steps * (total - last.step)
end

--- What the page's first line says.
-- @treturn table `run` (index from 0), `state`, `step`, `total`, `left` (seconds)
function Watcher:state()
  local index = current(self)
  local run = self.list[index]
  local left = run.state == "running" and time_left(run, run:total()) or nil
  return {
    run = index - 1,
    state = run.state,
    step = run:step(),
    total = run:total(),
    left = left and math.floor(left + 0.5),
  }
end

local function publish(self, event, value)
  self.server:publish(event, json.encode(value, { finite = true }))
end

local function publish_new(self, index, found)
  for field, rows in pairs(found) do
    if field == "alarms" or field == "changes" then rows = run_page.marks(field, rows) end
    for first = 1, #rows, ROWS do
      local part = table.move(rows, first, math.min(first + ROWS - 1, #rows), 1, json.array {})
      publish(self, field, { run = index - 1, rows = part })
    end
  end
end

local function poll(self)
  local reload = false
  for i, run in ipairs(self.list) do
    if run:alive() then
      local found, anew = run:poll()
      reload = reload or anew
      if not anew then publish_new(self, i, found) end
    end
  end
  if reload then publish(self, "reload", {}) end
  local said = json.encode(self:state())
  if said ~= self.said then
    self.said = said
    self.server:publish("state", said)
  end
end

-- New stages, and whether a run that stood still goes on.
local function look(self)
  local places = runs.places(self.path)
  if places and #places ~= #self.list then
    self.list = assert(runs.open { self.path })
    publish(self, "reload", {})
    return
  end
  for i, run in ipairs(self.list) do
    if not run:alive() then
      local found, anew = run:poll()
      if anew then publish(self, "reload", {}) end
      if not anew then publish_new(self, i, found) end
    end
  end
end

-- Talking to the run ------------------------------------------------------------------------------

-- Sends a request on a connection of its own; `done(reply, message)` is called when it is answered,
-- or not in time.
local function ask(self, run, request, done)
  local connection, message = talk.open(run.dir)
  if not connection then
    done(nil, message)
    return
  end
  self.asked[#self.asked + 1] = {
    connection = connection,
    number = connection:send(request),
    done = done,
    until_when = core.system.monotonic() + PATIENCE,
  }
end

local function hear(self)
  local open = {}
  for _, one in ipairs(self.asked) do
    local reply, message = one.connection:answer(one.number, 0)
    local late = core.system.monotonic() > one.until_when
    if reply or late or (message and not message:find("does not answer yet", 1, true)) then
      one.connection:close()
      one.done(reply, message)
    else
      open[#open + 1] = one
    end
  end
  self.asked = open
end

-- Requests of the page ----------------------------------------------------------------------------

local function answer_json(self, request, status, value)
  self.server:answer(request.number, status, "application/json; charset=utf-8", json.encode(value))
end

-- A button's request for the run: nil and what is wrong with it.
local function read_button(self, request)
  local asked = json.decode(request.body, { strict = true })
  if type(asked) ~= "table" or not buttons[asked["do"]] then
    return nil, "that is nothing a page can ask for"
  end
  local run = math.type(asked.run) == "integer" and self.list[asked.run + 1]
  if not run then return nil, "there is no such run" end
  local to_run = { ["do"] = asked["do"] }
  if asked["do"] == "set" then
    if type(asked.key) ~= "string" or type(asked.value) ~= "string" then
      return nil, "a key and a value are wanted"
    end
    to_run.key, to_run.value, to_run.by = asked.key, asked.value, "watch"
  end
  return to_run, run
end

local function press(self, request)
  local to_run, run = read_button(self, request)
  if not to_run then
    answer_json(self, request, 400, { ok = false, text = run })
    return
  end
  ask(self, run, to_run, function(reply, message)
    if reply then
      local text = type(reply.text) == "string" and reply.text or reply.ok and "done" or "refused"
      answer_json(self, request, 200, { ok = reply.ok == true, text = text })
    else
      answer_json(self, request, 200, { ok = false, text = message })
    end
  end)
end

local function page(self)
  local live = self:state()
  live.after = self.server:events()
  live.keys = json.array {}
  for key in pairs(self.list[live.run + 1].settings) do
    if key:sub(1, 1) ~= "_" then live.keys[#live.keys + 1] = key end
  end
  table.sort(live.keys)
  return run_page.html(self.list, { live = live })
end

local function serve(self, request)
  if request.method == "POST" and request.path == "do" then
    press(self, request)
  elseif request.method == "GET" and request.path == "" then
    local html, policy = page(self)
    self.server:answer(request.number, 200, "text/html; charset=utf-8", html, policy)
  else
    self.server:answer(request.number, 404, "text/plain; charset=utf-8", "there is no such page\n")
  end
end

--- One turn: what is new in the folder is told, requests are answered. Waits at most a quarter of a
-- second for a request.
function Watcher:turn()
  local now = core.system.monotonic()
  if now - self.looked >= LOOK then
    self.looked = now
    look(self)
  end
  if now - self.polled >= POLL then
    self.polled = now
    poll(self)
  end
  hear(self)
  local request = self.server:next(#self.asked > 0 and 0.05 or 0.25)
  if request then serve(self, request) end
end

--- Ends the server; more than once is fine.
function Watcher:close()
  for _, one in ipairs(self.asked) do
    one.connection:close()
  end
  self.asked = {}
  self.server:close()
end

Watcher.__close = Watcher.close

return watcher
