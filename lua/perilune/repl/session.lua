--- A session of the REPL without a terminal: an environment, and what can be done with a text typed
-- into it.
--
--     local s = session.new()
--     s:eval("local x = 20")          -- locals last for the session
--     s:eval("x * 2").text            --> "40"
--     s:eval("for i = 1, 2 do").more  --> true: the entry goes on
--     s:eval("?matmul").text          -- help; ":time f()" and "$ ls" are the prompt's own
--     s:complete("string.re")         --> "", { "rep", "reverse" }
--
-- All answers are texts, so that the terminal, `perilune attach` and a notebook are the same REPL
-- with other mouths. What code prints goes to standard output, or to `output` when one is given.

local commands = require("perilune.repl.commands")
local complete = require("perilune.repl.complete")
local format = require("perilune.base.format")
local frames = require("perilune.repl.frames")
local help = require("perilune.repl.help")
local host = require("perilune.host")
local locals = require("perilune.repl.locals")
local pretty = require("perilune.repl.pretty")
local tail = require("perilune.repl.tail")
local terminal = require("perilune.base.terminal")
local unclosed = require("perilune.base.unclosed")

--- @class Session
local Session = {}
Session.__index = Session

local session = {}

--- The environment of what is typed: globals, before them the session's own locals.
-- Later assignments to a name of `declared` stay in the session.
local function new_env(declared, globals)
  return setmetatable({}, {
    __index = globals,
    __newindex = function(self, name, value)
      if declared[name] then
        rawset(self, name, value)
      else
        globals[name] = value
      end
    end,
  })
end

--- print and io.write that go to a function.
local function redirect(env, output)
  rawset(env, "print", function(...)
    local words = table.pack(...)
    for i = 1, words.n do
      words[i] = tostring(words[i])
    end
    output(table.concat(words, "\t", 1, words.n) .. "\n")
  end)
  local function write(...)
    output(table.concat { ... })
    return io.stdout
  end
  rawset(env, "io", setmetatable({ write = write }, { __index = io }))
end

--- Begins a session.
-- @tparam ?table options `globals` (default: _G); `output`, a function that takes what code prints
--   (default: it goes to standard output); `width`, columns of texts, or a function that tells
--   them; `colors`, whether texts may have escape codes
-- @treturn Session
function session.new(options)
  options = options or {}
  local declared = {}
  local env = new_env(declared, options.globals or _G)
  if options.output then redirect(env, options.output) end
  local globals_before = {}
  for name in next, _G do
    globals_before[name] = true
  end
  return setmetatable({
    env = env,
    declared = declared,
    columns = options.width or terminal.width,
    colors = options.colors or false,
    entries = {},
    given = { print = rawget(env, "print"), io = rawget(env, "io") },
    globals_before = globals_before,
  }, Session)
end

-- Of the call that is looked at, {name = value}; nil when none is.
local function frame_values(self)
  local frame = self.frame and self.failure.frames[self.frame]
  if not frame then return nil end
  local values = {}
  for name, one in pairs(frame.values) do
    values[name] = one.value
  end
  return values, frame.values
end

--- Where names are looked up, for who must not run anything: tables alone.
-- @treturn table
function Session:visible()
  local values = frame_values(self)
  return values and setmetatable(values, { __index = self.env }) or self.env
end

-- Where an entry looks names up: in the session; or in the call that is looked at.
local function env_of(self)
  local values, known = frame_values(self)
  if not values then return self.env end
  return setmetatable({}, {
    __index = function(_, name)
      if known[name] then return values[name] end
      return self.env[name]
    end,
    __newindex = self.env,
  })
end

--- Takes variables into the session, as locals.
-- @tparam {[string]=table} variables {name = {value = v}}
function Session:adopt(variables)
  for name, one in pairs(variables) do
    self.declared[name] = true
    rawset(self.env, name, one.value)
  end
end

--- Columns of the texts.
-- @treturn integer
function Session:width()
  local columns = self.columns
  return type(columns) == "function" and columns() or columns
end

-- Compiles Lua: an expression, or statements whose last expression is shown.
local function code_entry(self, text)
  local env = env_of(self)
  local muted = text:match("^(.-)%s*;%s*$")
  local expression = (muted or text):gsub("^%s*=", "")
  local chunk, message = load("return " .. expression, "=repl", "t", env)
  if chunk then return { kind = "code", chunk = chunk, muted = muted ~= nil } end
  local open_end = message:find("<eof>$") -- `x +` is an expression that goes on
  local rewritten, names = locals.rewrite(text)
  local shown = tail.rewrite((rewritten:gsub("%s*;%s*$", "")))
  chunk = shown and load(shown, "=repl", "t", env)
  if not chunk then
    chunk, message = load(rewritten, "=repl", "t", env)
  end
  if chunk then return { kind = "code", chunk = chunk, names = names, muted = muted ~= nil } end
  if open_end or message:find("<eof>$") then return nil, "more", message end
  return nil, message
end

--- Reads an entry, as typed.
-- @tparam string text one line or more
-- @treturn ?table what `run` takes, its `kind` is "code", "help", "command", "shell" or "nothing";
--   nil when the text is no entry
-- @treturn ?string then "more" when lines are missing, or what is wrong
-- @treturn ?string with "more": what is wrong when no line follows
function Session:compile(text)
  if text:find("^%s*$") then return { kind = "nothing" } end
  local marks, topic = text:match("^%s*(%?+)%s*([%w_.:*]+)%s*$")
  if not marks then
    topic, marks = text:match("^%s*([%a_][%w_.:]*)(%?+)%s*$")
  end
  if topic then return { kind = "help", topic = topic, source = #marks > 1 } end
  if text:find("^%s*%?") then return { kind = "help" } end
  local name, rest = text:match("^%s*:(%a+)%s*(.*)$")
  if name then return { kind = "command", name = name, rest = rest:match("^(.-)%s*$") } end
  local line = text:match("^%s*%$%s*(.*)$")
  if line then return { kind = "shell", line = line } end
  return code_entry(self, text)
end

local MOST_RESULTS <const> = 9

-- Keeps a result: `_` and `_1` are the last, `_2` the one before it, and so on.
local function remember(env, value)
  for i = MOST_RESULTS, 2, -1 do
    rawset(env, "_" .. i, rawget(env, "_" .. i - 1))
  end
  rawset(env, "_1", value)
  rawset(env, "_", value)
end

--- Values as the prompt shows them: plain ones on one line with tabs, as print does, tables each on
-- its own. The first becomes `_`.
-- @tparam table values as table.pack gives them
-- @treturn string "" when there is none
function Session:show(values)
  if values.n == 0 then return "" end
  local texts, separator = {}, "\t"
  for i = 1, values.n do
    texts[i] = pretty.show(values[i], self:width())
    if texts[i]:find("\n", 1, true) then separator = "\n" end
  end
  remember(self.env, values[1])
  return table.concat(texts, separator)
end

--- A value on one short line.
-- @tparam any value
-- @treturn string
function Session:brief(value)
  local text = pretty.show(value, self:width()):gsub("%s*\n%s*", " ")
  return format.truncate(text, 40)
end

-- An error as the prompt shows it: the sentence, and the calls when it is Lua code that failed or
-- the user's own functions are among them.
local function explain(self, message)
  local text = tostring(message):gsub("\nstack traceback:.*$", "")
  local faulty = #text < #tostring(message)
  local failure = self.failure
  local raised = failure and failure.message
  if type(raised) == "table" and not (getmetatable(raised) or {}).__tostring then
    text = "an error object: " .. pretty.show(raised, self:width())
  end
  local list = failure and failure.frames or {}
  if #list > 1 and (faulty or frames.are_telling(list)) then
    text = text .. "\n" .. frames.text(list) .. "\n(:up, :down, :locals look at these calls)"
  end
  return text
end

-- What came of an error; its calls can be looked at from now on.
local function failed(self, message, interrupted)
  self.failure, self.frame = frames.take(), nil
  if self.failure then rawset(self.env, "_error", self.failure.message) end
  local text = interrupted and "interrupted" or explain(self, message)
  return { ok = false, interrupted = interrupted, error = text }
end

--- Takes over the variables of a script that failed, at the place where it did.
function Session:adopt_failed()
  for _, frame in ipairs(self.failure and self.failure.frames or {}) do
    if frame.title == "main chunk" then self:adopt(frame.values) end
  end
end

--- Takes over the error of a script that ran before the session, and its variables.
function Session:recall()
  self.failure = frames.take()
  self:adopt_failed()
end

--- Runs the function of an entry.
-- @tparam table entry of `compile`, of the kind "code"
-- @treturn table `ok` and `values`, as table.pack gives them; or as of `run`
function Session:call(entry)
  for _, name in ipairs(entry.names or {}) do
    self.declared[name] = true
  end
  local mark = unclosed.mark()
  host.watch(frames.watch)
  local values = table.pack(host.call(entry.chunk))
  if not values[1] then
    unclosed.release(mark) -- nobody can close the runs that a failed entry opened
    return failed(self, values[2], values[3])
  end
  return { ok = true, values = table.pack(table.unpack(values, 2, values.n)) }
end

local function run_code(self, entry)
  local outcome = self:call(entry)
  if not outcome.ok then return outcome end
  local values = outcome.values
  local is_write = values.n == 1 and values[1] == io.stdout -- what io.write gives back
  if entry.muted or is_write then return { ok = true, text = "" } end
  local ok, text, interrupted = host.call(self.show, self, values)
  if not ok then return failed(self, text, interrupted) end
  return { ok = true, text = text }
end

local function run_command(self, entry)
  local ok, text, wrong, outcome = host.call(commands.run, self, entry.name, entry.rest)
  if not ok then return failed(self, text, wrong) end
  if text then return { ok = true, text = text } end
  return outcome or { ok = false, error = wrong }
end

--- Runs an entry. Ctrl-C ends it and leaves the session.
-- @tparam table entry of `compile`
-- @treturn table `ok`; `text`, what is to be shown ("": nothing); else `error`, a text, and
--   `interrupted`
function Session:run(entry)
  if entry.kind == "nothing" then
    return { ok = true, text = "" }
  elseif entry.kind == "help" then
    local ok, text, interrupted = host.call(self.help, self, entry.topic, entry.source)
    return ok and { ok = true, text = text } or failed(self, text, interrupted)
  elseif entry.kind == "command" then
    return run_command(self, entry)
  elseif entry.kind == "shell" then
    return { ok = true, text = commands.shell(entry.line) }
  end
  return run_code(self, entry)
end

--- Reads and runs a text.
-- @tparam string text
-- @treturn table as `run` gives; with `more` = true when lines are missing
function Session:eval(text)
  local entry, message = self:compile(text)
  if entry then return self:run(entry) end
  if message == "more" then return { ok = true, more = true, text = "" } end
  return { ok = false, error = message }
end

--- What completion does at the end of a text; it has no effect.
-- @tparam string before the text before the cursor
-- @treturn string what to insert
-- @treturn ?{string,...} what could stand there, when there is a choice
function Session:complete(before) return complete.line(self:visible(), before, commands) end

--- Help on a function, an op, a value, a class or a module; with `??` its source.
-- @tparam ?string topic a name, as one would type it, or a pattern with *
-- @tparam ?boolean source
-- @treturn string
function Session:help(topic, source)
  if not topic then return help.overview end
  local tell = source and help.source or help.text
  return tell(self:visible(), topic, self:width())
end

return session
