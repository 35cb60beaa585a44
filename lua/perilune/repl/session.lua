--- A session of the REPL without a terminal: an environment, and what can be done with a text typed
-- into it.
--
--     local s = session.new()
--     s:eval("local x = 20")          -- locals last for the session
--     s:eval("x * 2").text            --> "40"
--     s:eval("for i = 1, 2 do").more  --> true: the entry goes on
--     s:eval("?matmul").text          -- help
--     s:complete("string.re")         --> "", { "rep", "reverse" }
--
-- All answers are texts, so that the terminal, `perilune attach` and a notebook are the same REPL
-- with other mouths. What code prints goes to standard output, or to `output` when one is given.

local complete = require("perilune.repl.complete")
local host = require("perilune.host")
local locals = require("perilune.repl.locals")
local op_help = require("perilune.reference.op_help")
local pretty = require("perilune.repl.pretty")
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
--   (default: it goes to standard output); `width`, columns of texts, or a function that tells them
-- @treturn Session
function session.new(options)
  options = options or {}
  local declared = {}
  local env = new_env(declared, options.globals or _G)
  if options.output then redirect(env, options.output) end
  return setmetatable({
    env = env,
    declared = declared,
    columns = options.width or terminal.width,
  }, Session)
end

--- Columns of the texts.
-- @treturn integer
function Session:width()
  local columns = self.columns
  return type(columns) == "function" and columns() or columns
end

local function code_entry(self, text)
  local muted = text:match("^(.-)%s*;%s*$")
  local expression = (muted or text):gsub("^%s*=", "")
  local chunk, message = load("return " .. expression, "=repl", "t", self.env)
  if chunk then return { kind = "code", chunk = chunk, muted = muted ~= nil } end
  local open_end = message:find("<eof>$") -- `x +` is an expression that goes on
  local rewritten, names = locals.rewrite(text)
  chunk, message = load(rewritten, "=repl", "t", self.env)
  if chunk then return { kind = "code", chunk = chunk, names = names } end
  if open_end or message:find("<eof>$") then return nil, "more", message end
  return nil, message
end

--- Reads an entry, as typed.
-- @tparam string text one line or more
-- @treturn ?table what `run` takes; nil when the text is no entry
-- @treturn ?string then "more" when lines are missing, or what is wrong
-- @treturn ?string with "more": what is wrong when no line follows
function Session:compile(text)
  if text:find("^%s*$") then return { kind = "nothing" } end
  local topic = text:match("^%s*%?+%s*([%w_.:]+)%s*$") or text:match("^%s*([%w_.:]+)%?%s*$")
  if topic or text:find("^%s*%?") then return { kind = "help", topic = topic } end
  return code_entry(self, text)
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
  rawset(self.env, "_", values[1])
  return table.concat(texts, separator)
end

--- Frames of the REPL itself teach nothing.
local function explain(message)
  return (
    tostring(message)
      :gsub("\n%s*%[C%]: in function 'perilune%.host%.call'.*$", "")
      :gsub("\n%s*%[C%]: in function 'host%.call'.*$", "")
      :gsub("\nstack traceback:%s*$", "")
  )
end

local function failed(message, interrupted)
  return {
    ok = false,
    interrupted = interrupted,
    error = interrupted and "interrupted" or explain(message),
  }
end

local function run_code(self, entry)
  for _, name in ipairs(entry.names or {}) do
    self.declared[name] = true
  end
  local mark = unclosed.mark()
  local values = table.pack(host.call(entry.chunk))
  if not values[1] then
    unclosed.release(mark) -- nobody can close the runs that a failed entry opened
    return failed(values[2], values[3])
  end
  if entry.muted then return { ok = true, text = "" } end
  local ok, text, interrupted =
    host.call(self.show, self, table.pack(table.unpack(values, 2, values.n)))
  if not ok then return failed(text, interrupted) end
  return { ok = true, text = text }
end

--- Runs an entry. Ctrl-C ends it and leaves the session.
-- @tparam table entry of `compile`
-- @treturn table `ok`; `text`, what is to be shown ("": nothing); else `error`, a text, and
--   `interrupted`
function Session:run(entry)
  if entry.kind == "nothing" then
    return { ok = true, text = "" }
  elseif entry.kind == "help" then
    local ok, text, interrupted = host.call(self.help, self, entry.topic)
    return ok and { ok = true, text = text } or failed(text, interrupted)
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
function Session:complete(before) return complete.line(self.env, before) end

--- The documentation comment above a Lua function, without its dashes.
local function comment_above(info)
  local lines, found = {}, {}
  local file = info.source:sub(1, 1) == "@" and io.open(info.source:sub(2))
  if not file then return found end
  for line in file:lines() do
    lines[#lines + 1] = line
    if #lines >= info.linedefined then break end
  end
  file:close()
  local i = #lines - 1
  while i >= 1 and lines[i]:find("^%s*%-%-") do
    table.insert(found, 1, (lines[i]:gsub("^%s*%-+%s?", "")))
    i = i - 1
  end
  return found
end

local function function_help(name, value)
  local info = debug.getinfo(value, "Su")
  local names = {}
  for i = 1, info.nparams do
    names[i] = debug.getlocal(value, i)
  end
  if info.isvararg then names[#names + 1] = "..." end
  local where = info.what == "C" and "a function in C"
    or ("%s:%d"):format(info.short_src, info.linedefined)
  local lines = { ("%s(%s)  %s"):format(name, table.concat(names, ", "), where) }
  for _, line in ipairs(comment_above(info)) do
    lines[#lines + 1] = "  " .. line
  end
  return table.concat(lines, "\n")
end

--- Help on an op, a function or a value.
-- @tparam ?string topic a name, as one would type it
-- @treturn string
function Session:help(topic)
  if not topic then return "?name tells about an op, a function or a value, e.g. ?matmul" end
  local op = topic:match("^pl[.:]([%w_]+)$") or topic:match("^[%w_]+$")
  local text = op and op_help.op(op)
  if text then return text end
  local chunk = load("return " .. topic, "=help", "t", self.env)
  local fine, value = pcall(chunk or error)
  if not fine or value == nil then
    local answer = "nothing is known of '%s'; TAB after 'pl.' lists what there is"
    return answer:format(topic)
  end
  if type(value) == "function" then return function_help(topic, value) end
  text = ("%s: %s"):format(type(value), pretty.show(value, self:width()))
  local names = complete.fields(value)
  return #names > 0 and text .. "\nfields: " .. table.concat(names, "  ") or text
end

return session
