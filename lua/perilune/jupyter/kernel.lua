--- A kernel: takes Jupyter's messages one by one and answers with what the prompt would show.
--
-- The session is that of the prompt (perilune.repl.session). What code prints is taken by the
-- sockets from standard output itself, so this has only results and pictures to send. Ctrl-C (a
-- SIGINT, or an interrupt_request, which the sockets turn into one) stops what host.call runs: the
-- cell, a completion, help. Everything else here is idle, so that an answer is never lost half way.
--
-- Protocol: https://jupyter-client.readthedocs.io/en/stable/messaging.html. Not here: comms
-- (opening one is answered by closing it), the debugger, binary buffers.

local commands = require("perilune.repl.commands")
local complete = require("perilune.repl.complete")
local connection = require("perilune.jupyter.connection")
local figures = require("perilune.jupyter.figures")
local host = require("perilune.host")
local input = require("perilune.jupyter.input")
local json = require("perilune.base.json")
local messages = require("perilune.jupyter.messages")
local place = require("perilune.jupyter.place")
local pretty = require("perilune.repl.pretty")
local record = require("perilune.jupyter.record")
local session = require("perilune.repl.session")

local COLUMNS <const> = 100
local LOOK_AROUND <const> = 60 -- seconds between two looks at nothing

--- @class Kernel
local Kernel = {}
Kernel.__index = Kernel

local kernel = {}

-- What a cell shows --------------------------------------------------------------------------

-- A value of a cell that is a chart goes out as a picture, all others as the prompt shows them.
local function show_pictures(self)
  local show = self.talk.show
  self.talk.show = function(talk, values)
    local rest = { n = 0 }
    for i = 1, values.n do
      local svg = figures.svg(values[i])
      if svg then
        self:picture(svg)
      else
        rest.n = rest.n + 1
        rest[rest.n] = values[i]
      end
    end
    return show(talk, rest)
  end
end

--- Shows a picture below the cell.
-- @tparam string svg
function Kernel:picture(svg)
  local data = messages.plain(figures.label(svg))
  data["image/svg+xml"] = svg
  self:publish("display_data", { data = data, metadata = json.object(), transient = json.object() })
end

--- display(...): shows values from within a cell, before it ends.
function Kernel:display(...)
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    local svg = figures.svg(value)
    if svg then
      self:picture(svg)
    else
      local data = messages.plain(pretty.show(value, COLUMNS))
      self:publish("display_data", {
        data = data,
        metadata = json.object(),
        transient = json.object(),
      })
    end
  end
end

--- Sends to all who listen, as an answer to the message at hand.
-- @tparam string kind
-- @tparam table content
function Kernel:publish(kind, content) self.send("iopub", kind, content, self.at) end

-- Asks the client for a line. What else comes in the meantime is kept for later.
local function ask(self)
  if not self.may_ask then error("io.read: this client takes no input", 0) end
  io.stdout:flush()
  self.send("stdin", "input_request", { prompt = "", password = false }, self.at)
  while true do
    local wire = self.sockets:receive(LOOK_AROUND)
    local message = wire and wire.channel == "stdin" and messages.read(wire)
    if message and message.type == "input_reply" then
      return (tostring(message.content.value or ""):gsub("\n$", ""))
    elseif wire and wire.channel ~= "stdin" then
      self.waiting[#self.waiting + 1] = wire
    end
  end
end

-- Cells --------------------------------------------------------------------------------------

-- `:plot` of Lua, or of a metric of a run, as a picture; nil when it is neither.
local function plotted(self, text)
  local folder, name = text:match("^(%S+)%s+([^%s,]+)$")
  if folder then
    local x, y = commands.metric(folder, name)
    if not x and y then return { ok = false, error = y } end
    if x then
      self:picture(figures.chart(x, y, text))
      return { ok = true, text = "" }
    end
  end
  local entry = self.talk:compile(text)
  if not entry or entry.kind ~= "code" then return nil end
  local outcome = self.talk:call(entry)
  if not outcome.ok then return outcome end
  local svg, wrong = figures.curve(outcome.values, text)
  if not svg then return { ok = false, error = ":plot: " .. wrong } end
  self:picture(svg)
  return { ok = true, text = "" }
end

local function run(self, code)
  local what = code:match("^%s*:plot%s+(%S.-)%s*$")
  local outcome = what and plotted(self, what)
  if outcome then return outcome end
  local entry, message, at_end = self.talk:compile(code)
  if entry then return self.talk:run(entry) end
  return { ok = false, error = message == "more" and at_end or message }
end

-- host.call's results as an outcome of the session.
local function outcome_of(ok, outcome, interrupted)
  if ok then return outcome end
  local text = interrupted and "interrupted" or tostring(outcome)
  return { ok = false, error = text, interrupted = interrupted }
end

local function error_content(outcome)
  local lines = json.array()
  for line in (outcome.error .. "\n"):gmatch("(.-)\n") do
    lines[#lines + 1] = line
  end
  return {
    ename = outcome.interrupted and "interrupted" or "error",
    evalue = lines[1] or "",
    traceback = lines,
  }
end

local function expressions(self, wanted)
  local results = json.object()
  for name, text in pairs(type(wanted) == "table" and wanted or {}) do
    local ok, value, interrupted = host.call(function()
      local chunk = assert(load("return " .. tostring(text), "=expression", "t", self.talk.env))
      return pretty.show(chunk(), COLUMNS)
    end)
    if ok then
      results[name] = { status = "ok", data = messages.plain(value), metadata = json.object() }
    else
      results[name] = error_content(outcome_of(ok, value, interrupted))
      results[name].status = "error"
    end
  end
  return results
end

-- Takes in what has come, without waiting.
local function take_in(self)
  local wire = self.sockets:receive(0)
  while wire do
    self.waiting[#self.waiting + 1] = wire
    wire = self.sockets:receive(0)
  end
end

-- Gives back the cells among the first `n` messages that wait: they came before the client could
-- know that the one before them had failed.
local function abort_waiting(self, n)
  local kept = {}
  for i, wire in ipairs(self.waiting) do
    local message = i <= n and messages.read(wire)
    if message and message.type == "execute_request" then
      local content = { status = "aborted", execution_count = self.count }
      self.send("iopub", "status", { execution_state = "busy" }, message)
      self.send(message.channel, "execute_reply", content, message)
      self.send("iopub", "status", { execution_state = "idle" }, message)
    else
      kept[#kept + 1] = wire
    end
  end
  self.waiting = kept
end

local answers = {}

function answers.execute_request(self, content)
  local code, silent = tostring(content.code or ""), content.silent == true
  local stored = not silent and content.store_history ~= false
  self.may_ask = content.allow_stdin ~= false
  if stored then self.count = self.count + 1 end
  if not silent then
    self:publish("execute_input", { code = code, execution_count = self.count })
  end
  self.sockets:parent(self.at.header)
  local outcome = outcome_of(host.call(run, self, code))
  io.stdout:flush()
  local text = outcome.ok and outcome.text ~= "" and outcome.text or nil
  if stored and not code:find("^%s*$") then
    self.record:add(self.count, code, text)
    self.talk.entries[#self.talk.entries + 1] = code
  end
  if not outcome.ok then
    local reply = error_content(outcome)
    if not silent then self:publish("error", error_content(outcome)) end
    reply.status, reply.execution_count = "error", self.count
    self.abort = content.stop_on_error ~= false
    return reply
  end
  if text and not silent then
    local data = messages.plain(text)
    self:publish("execute_result", {
      execution_count = self.count,
      data = data,
      metadata = json.object(),
    })
  end
  return {
    status = "ok",
    execution_count = self.count,
    payload = json.array(),
    user_expressions = expressions(self, content.user_expressions),
  }
end

-- What a client asks while somebody types ----------------------------------------------------

function answers.complete_request(self, content)
  local code = tostring(content.code or "")
  local before = place.before(code, content.cursor_pos)
  local ok, names, prefix = host.call(complete.candidates, self.talk:visible(), before, commands)
  if not ok then
    names, prefix = {}, ""
  end
  local at = place.characters(before)
  return {
    status = "ok",
    matches = json.array(names),
    cursor_start = at - place.characters(prefix),
    cursor_end = at,
    metadata = json.object(),
  }
end

function answers.inspect_request(self, content)
  local topic = place.topic(tostring(content.code or ""), content.cursor_pos)
  local source = content.detail_level == 1
  local ok, text = false, nil
  if topic then
    ok, text = host.call(self.talk.help, self.talk, topic, source)
  end
  local found = ok and text ~= nil and not text:find("^nothing is known of")
  return {
    status = "ok",
    found = found,
    data = found and messages.plain(text) or json.object(),
    metadata = json.object(),
  }
end

function answers.is_complete_request(self, content)
  local code = tostring(content.code or "")
  local ok, entry, message = host.call(self.talk.compile, self.talk, code)
  if ok and entry then return { status = "complete" } end
  if ok and message == "more" then return { status = "incomplete", indent = place.indent(code) } end
  return { status = "invalid" }
end

function answers.history_request(self, content)
  return { status = "ok", history = self.record:find(content) }
end

-- About the kernel ---------------------------------------------------------------------------

function answers.kernel_info_request()
  return {
    status = "ok",
    protocol_version = messages.version,
    implementation = "perilune",
    implementation_version = host.version,
    language_info = {
      name = "lua",
      version = _VERSION:match("[%d.]+"),
      mimetype = "text/x-lua",
      file_extension = ".lua",
      pygments_lexer = "lua",
      codemirror_mode = "lua",
    },
    banner = ("Perilune %s, %s. `pl` is the library; ?name helps."):format(host.version, _VERSION),
    help_links = json.array(),
    debugger = false,
  }
end

function answers.comm_info_request() return { status = "ok", comms = json.object() } end

function answers.comm_open(self, content)
  local id = tostring(content.comm_id or "")
  self:publish("comm_close", { comm_id = id, data = json.object() })
end

function answers.interrupt_request() return { status = "ok" } end

function answers.shutdown_request(self, content)
  self.over = true
  return { status = "ok", restart = content.restart == true }
end

-- The loop -----------------------------------------------------------------------------------

--- Answers one message, as it came.
-- @tparam table wire of sockets:receive
function Kernel:answer(wire)
  local message = messages.read(wire)
  if not message then return end
  self.at, self.abort = message, false
  self:publish("status", { execution_state = "busy" })
  local answer = answers[message.type]
  local reply = answer and answer(self, message.content)
  if self.abort then take_in(self) end
  local waited = #self.waiting
  if reply then
    self.send(message.channel, message.type:gsub("_request$", "_reply"), reply, message)
  end
  self:publish("status", { execution_state = "idle" })
  if self.abort then abort_waiting(self, waited) end
end

-- What came first, but for what cannot wait behind cells.
local function take_next(self)
  if #self.waiting == 0 then self.waiting[1] = self.sockets:receive(LOOK_AROUND) end
  take_in(self)
  for i, wire in ipairs(self.waiting) do
    if wire.channel ~= "shell" then return table.remove(self.waiting, i) end
  end
  return table.remove(self.waiting, 1)
end

--- Answers until it is told to end, or the process that began it has gone.
function Kernel:serve()
  self.send("iopub", "status", { execution_state = "starting" })
  while not self.over do
    local wire = take_next(self)
    if wire and wire.channel == "parent gone" then
      self.over = true
    elseif wire then
      self:answer(wire)
    end
  end
end

--- A kernel on sockets.
-- @tparam table sockets as lua/host/jupyter/sockets.c opens them
-- @tparam {token=function,session=string,user=string} about see perilune.jupyter.messages
-- @tparam ?table globals of what cells run (default: _G)
-- @treturn Kernel
function kernel.new(sockets, about, globals)
  local self = setmetatable({
    sockets = sockets,
    send = messages.sender(sockets, about),
    talk = session.new { width = COLUMNS, globals = globals },
    record = record.new(),
    waiting = {}, -- messages that came while something else was waited for
    count = 0,
  }, Kernel)
  show_pictures(self)
  rawset(self.talk.env, "pl", require("perilune"))
  rawset(self.talk.env, "display", function(...) self:display(...) end)
  return self
end

--- Runs a kernel.
-- @tparam string path of the connection file
-- @treturn ?boolean true when it has ended as it should
-- @treturn ?string message
function kernel.run(path)
  local where, message = connection.read(path)
  if not where then return nil, message end
  local module
  module, message = connection.module()
  if not module then return nil, message end
  local about = { token = module.token, session = module.token(), user = os.getenv("USER") or "" }
  where.session, where.user = about.session, about.user
  where.watch_parent = os.getenv("JPY_PARENT_PID") ~= nil
  host.idle(true)
  local sockets <close>, wrong = module.open(where)
  if not sockets then return nil, wrong end
  local self = kernel.new(sockets, about)
  input.install(function() return ask(self) end)
  self:serve()
  return true
end

return kernel
