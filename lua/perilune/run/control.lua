--- Who talks to a run: a socket in its folder, served at step boundaries.
--
-- A client sends one JSON object a line and gets one back, with the `id` it gave:
--
--     {"id":1,"do":"status"}                 {"id":1,"ok":true,"value":{"step":12,"total":64,...}}
--     {"id":2,"do":"set","key":"lam","value":"0.9","by":"watch"}
--                                            {"id":2,"ok":true,"text":"lam: 0.95 -> 0.9 from ..."}
--     {"id":3,"do":"set","key":"lam","value":"2"}
--                                            {"id":3,"ok":false,"text":"lam = 2 is out of ..."}
--     {"id":4,"do":"eval","text":"1 + 1"}    {"id":4,"ok":true,"text":"2"}
--     {"do":"step","count":3}  {"do":"branch","name":"x"}  {"do":"complete","text":"cfg.kl"}
--     {"do":"pause"}  continue  checkpoint  undo  stop  reload  keys  journal
--
-- and events: {"event":"step","step":12,"row":{...}} after each row of metrics, "state", "end". The
-- run waits for nobody: reads and writes do not block, a client that does not read, sends too long
-- a line or goes is dropped. A paused run serves and does nothing else. Until its eval is
-- answered a client is silent: what it sends then, or that it goes, stops the eval.
--
-- What an eval sees is the recipe's own variables (perilune.run.frame). Each is noted in the
-- journal with its text; `changed` names what it left different of all that decides the result:
-- models, optimizers, the recipe's state and variables. Random streams have names, so sampling is
-- no change. Tensors that a session's variables hold live as long as those; the others go when the
-- eval ends.

local config = require("perilune.config")
local core = require("perilune.core")
local frame = require("perilune.run.frame")
local host = require("perilune.host")
local json = require("perilune.base.json")
local keys_of = require("perilune.base.list").keys
local live = require("perilune.run.live")
local nearest = require("perilune.base.nearest")
local workbench = require("perilune.run.workbench")

local control = {}

control.SOCKET = "control.sock"

local MOST_CLIENTS <const> = 16
local MOST_REQUESTS <const> = 64 -- of one client at one boundary
local LOOK_AROUND <const> = 0.5 -- seconds of a paused run between looks at signals

local Control = {}
Control.__index = Control

--- Opens the socket of a run.
-- @tparam Run run
-- @treturn ?table Control
-- @treturn ?string message
function control.open(run)
  local listener, message = core.net.listen(run.dir .. "/" .. control.SOCKET)
  if not listener then return nil, message end
  return setmetatable({
    run = run,
    listener = listener,
    clients = {},
    state = "running",
    steps_left = nil, -- steps until the run pauses again
  }, Control)
end

-- Clients -----------------------------------------------------------------------------------------

local function drop(self, client)
  for i = #self.clients, 1, -1 do
    if self.clients[i] == client then table.remove(self.clients, i) end
  end
  client.gone = true
  client.channel:close()
end

local function send(self, client, message)
  if client.gone then return end
  local line = json.encode(message, { finite = true }) .. "\n"
  if not client.channel:send(line) then drop(self, client) end
end

local function accept(self)
  while true do
    local channel = self.listener:accept()
    if not channel then return end
    local client = { channel = channel }
    if #self.clients >= MOST_CLIENTS then
      send(self, client, { ok = false, text = "too many are attached to this run already" })
      drop(self, client)
    else
      self.clients[#self.clients + 1] = client
    end
  end
end

local function channels(self)
  local list = {}
  for i, client in ipairs(self.clients) do
    list[i] = client.channel
  end
  return list
end

--- Tells all clients something.
-- @tparam table message
function Control:tell(message)
  for i = #self.clients, 1, -1 do
    send(self, self.clients[i], message)
  end
end

-- Requests ----------------------------------------------------------------------------------------

local requests = {}

function requests.status(self)
  local about = config.describe(self.run.cfg)
  return {
    name = about.name,
    folder = self.run.dir,
    step = self.step,
    total = about.steps,
    state = self.state,
    pid = core.system.pid(),
    seconds = self.run:seconds(),
    attached = #self.clients,
    metrics = self.run.history[#self.run.history],
  }
end

local function last_change(self)
  local journal = self.run.cfg:journal()
  return live.change_text(journal[#journal])
end

function requests.set(self, request)
  local key, value = request.key, request.value
  if type(key) ~= "string" or value == nil then error("set wants a key and a value", 0) end
  self.run.cfg:set(key, value, { by = request.by or "set" })
  return nil, last_change(self)
end

function requests.undo(self)
  local entry, wrong = live.last_undone(self.run:journal(), self.step)
  if not entry then error(wrong, 0) end
  local note = { by = "undo", undo = true, memory = entry.old_memory }
  self.run.cfg:set(entry.key, entry.old, note)
  return nil, last_change(self)
end

requests["keys"] = function(self) return self.run.cfg:rows() end

function requests.journal(self) return json.array(self.run:journal()) end

local function set_state(self, state)
  if self.state ~= state then
    self.state = state
    live.write_status(self.run, state)
    self:tell { event = "state", state = state, step = self.step }
  end
end

function requests.pause(self)
  self.steps_left = nil
  set_state(self, "paused")
  return nil, ("paused before step %d"):format(self.step)
end

requests["continue"] = function(self)
  self.steps_left = nil
  set_state(self, "running")
  return nil, ("goes on with step %d"):format(self.step)
end

function requests.step(self, request)
  local count = math.tointeger(tonumber(request.count or 1))
  if not count or count < 1 then error("step wants a number of steps, 1 or more", 0) end
  self.steps_left = count
  set_state(self, "running")
  return nil,
    ("%d step%s from step %d on, then a pause"):format(count, count == 1 and "" or "s", self.step)
end

function requests.checkpoint(self)
  local run = self.run
  local graceful = run.graceful
  run.graceful = nil -- a signal that waits is honoured when all are served
  local ok, path = pcall(run.save_here, run, self.step - 1)
  run.graceful = graceful
  if not ok then error(path, 0) end
  return nil, path .. " is written"
end

function requests.branch(self, request)
  local folder, command = self.run:branch(self.step - 1, request.name)
  return { folder = folder, command = command },
    ("%s begins at step %d; to run it:\n  %s"):format(folder, self.step, command)
end

function requests.stop(self)
  set_state(self, "ending")
  core.system.kill(core.system.pid(), 15) -- as a SIGTERM would
  return nil, "the run writes a checkpoint and ends"
end

function requests.reload(self) return nil, self.run:reload() end

function requests.eval(self, request, client)
  local session = workbench.session(self, client, request.width)
  return session:eval(client, tostring(request.text))
end

function requests.complete(self, request, client)
  local session = workbench.session(self, client)
  local insert, list = session:complete(tostring(request.text or ""))
  return { insert = insert, list = list }
end

requests["interrupt"] = function() return nil, "nothing runs" end

local function names_of_requests()
  local names = keys_of(requests)
  return names
end

-- Answers one line of a client.
local function answer(self, client, line)
  local request, wrong = json.decode(line)
  if type(request) ~= "table" then
    send(
      self,
      client,
      { ok = false, text = "no JSON object: " .. tostring(wrong or line:sub(1, 40)) }
    )
    return
  end
  local reply = { id = request.id }
  local handler = requests[request["do"]]
  if not handler then
    local names = names_of_requests()
    local text = "unknown request '%s'%s; known are %s"
    local name = tostring(request["do"])
    reply.ok = false
    reply.text = text:format(name, nearest.hint(name, names), table.concat(names, " "))
  else
    local ok, value, text, more = host.call(handler, self, request, client)
    if ok then
      reply.ok, reply.value, reply.text = true, value, text
      for name, field in pairs(more or {}) do
        reply[name] = field
      end
    else
      reply.ok = false
      reply.text = text and "interrupted" or tostring(value):gsub("^[^\n]-%.lua:%d+: ", "")
    end
  end
  send(self, client, reply)
end

-- Reads what clients have sent and answers, one request of each in turn.
local function serve(self)
  for _ = 1, MOST_REQUESTS do
    local heard = false
    accept(self)
    for _, client in ipairs(table.move(self.clients, 1, #self.clients, 1, {})) do
      local line
      if not client.gone then
        client.channel:flush()
        line = client.channel:line()
        if line == nil then drop(self, client) end
      end
      if line then
        heard = true
        answer(self, client, line)
      end
    end
    if not heard then return end
  end
end

--- Has the run pause before a step, as somebody attached would.
-- @tparam integer step
function Control:hold(step)
  self.step = step
  requests.pause(self)
  local text = "paused before step %d, for somebody to attach: perilune attach %s\n"
  io.stderr:write(text:format(step, self.run.dir))
end

--- Whether somebody is attached, or steps are counted.
-- @treturn boolean
function Control:is_busy() return #self.clients > 0 or self.steps_left ~= nil end

-- Serves all until none has anything to say, and a pause is over.
local function serve_all(self)
  if self.steps_left then
    self.steps_left = self.steps_left - 1
    if self.steps_left == 0 then requests.pause(self) end
  end
  serve(self)
  while self.state == "paused" and not host.stopping() do
    core.net.wait(channels(self), LOOK_AROUND, self.listener)
    serve(self)
  end
end

--- Serves whoever talks to the run: called before each step.
-- @tparam integer step that is about to begin
-- @tparam integer level of the recipe, as debug counts from the caller
function Control:boundary(step, level)
  self.step = step
  accept(self)
  if #self.clients == 0 and not self.steps_left and self.state ~= "paused" then return end
  self.frame = frame.of(debug.getinfo(level + 1, "f").func)
  local ok, message, interrupted = host.call(serve_all, self)
  self.frame = nil
  if interrupted then host.interrupt() end
  if not ok then -- a fault of ours ends no run
    io.stderr:write("nobody can attach to this run any more: ", message, "\n")
    self.run.control = nil
    self:close("running")
  end
end

--- Ends it: who is attached is told, the socket is removed.
-- @tparam string state that the run ends in
function Control:close(state)
  self:tell { event = "end", state = state, step = self.step }
  for _, client in ipairs(self.clients) do
    client.channel:close()
  end
  self.clients = {}
  self.listener:close()
end

return control
