--- The REPL: reads a line or a block, runs it, shows what it gives.
--
--   1 + 1            shows the value; a `;` at the end mutes it; `_` is the last value shown
--   local x = 3      lasts for the session (stock Lua forgets a local at the end of its line)
--   for i = 1, 3 do  goes on until the block is complete; an empty Ctrl-C drops it
--   ?matmul  x?      help on an op or a value
--   TAB              completes names, fields and methods
--
-- Ctrl-C stops what runs and keeps the session; Ctrl-D leaves it. The history is shared by all
-- sessions, in $XDG_STATE_HOME/perilune/history.
--
-- May use: base, reference, perilune.

local complete = require("perilune.repl.complete")
local core = require("perilune.core")
local op_help = require("perilune.reference.op_help")
local history = require("perilune.repl.history")
local host = require("perilune.host")
local lineedit = require("perilune.lineedit")
local locals = require("perilune.repl.locals")
local pretty = require("perilune.repl.pretty")
local unclosed = require("perilune.base.unclosed")

local repl = {}

--- The environment of what is typed: globals, before them the session's own locals.
-- `declare(name)` makes later assignments to the name stay in the session.
local function new_session()
  local declared = {}
  local env = setmetatable({}, {
    __index = _G,
    __newindex = function(self, name, value)
      if declared[name] then
        rawset(self, name, value)
      else
        _G[name] = value
      end
    end,
  })
  return { env = env, declared = declared }
end

--- Compiles an entry: as an expression, else as statements.
-- @treturn function or nil
-- @treturn string what to do with it: "show", "run"; without a function "more" or the error
local function compile(session, text)
  local muted = text:match("^(.-)%s*;%s*$")
  local expression = (muted or text):gsub("^%s*=", "")
  local chunk, message = load("return " .. expression, "=repl", "t", session.env)
  if chunk then return chunk, muted and "run" or "show" end
  local open_end = message:find("<eof>$") -- `x +` is an expression that goes on
  local rewritten, names = locals.rewrite(text)
  chunk, message = load(rewritten, "=repl", "t", session.env)
  if chunk then
    for _, name in ipairs(names) do
      session.declared[name] = true
    end
    return chunk, "show"
  elseif open_end or message:find("<eof>$") then
    return nil, "more"
  end
  return nil, message
end

local function width() return core.system.terminal_size(1) or 100 end

--- Shows results: plain values on one line with tabs, as print does, tables each on its own.
local function show(session, values)
  if values.n == 0 then return end
  local texts, separator = {}, "\t"
  for i = 1, values.n do
    texts[i] = pretty.show(values[i], width())
    if texts[i]:find("\n", 1, true) then separator = "\n" end
  end
  rawset(session.env, "_", values[1])
  io.stdout:write(table.concat(texts, separator), "\n")
end

local function explain(message)
  -- Frames of the REPL itself teach nothing.
  return (
    message
      :gsub("\n%s*%[C%]: in function 'perilune%.host%.call'.*$", "")
      :gsub("\n%s*%[C%]: in function 'host%.call'.*$", "")
      :gsub("\nstack traceback:%s*$", "")
  )
end

--- Help: an op's row, else what can be said of the value.
local function show_help(session, what)
  local op = what:match("^pl[.:]([%w_]+)$") or what:match("^[%w_]+$")
  local text = op and op_help.op(op)
  if text then
    io.stdout:write(text, "\n")
    return
  end
  local chunk = load("return " .. what, "=help", "t", session.env)
  local fine, value = pcall(chunk or error)
  if not fine or value == nil then
    local answer = "nothing is known of '%s'; TAB after 'pl.' lists what there is\n"
    io.stdout:write(answer:format(what))
    return
  end
  local kind = type(value)
  if kind == "function" then
    local info = debug.getinfo(value, "Su")
    local names = {}
    for i = 1, info.nparams do
      names[i] = debug.getlocal(value, i)
    end
    if info.isvararg then names[#names + 1] = "..." end
    local where = info.what == "C" and "a function in C"
      or ("%s:%d"):format(info.short_src, info.linedefined)
    io.stdout:write(("%s(%s)  %s\n"):format(what, table.concat(names, ", "), where))
    for _, line in ipairs(repl.comment_above(info)) do
      io.stdout:write("  ", line, "\n")
    end
  else
    io.stdout:write(("%s: %s\n"):format(kind, pretty.show(value, width())))
    local names = complete.fields(value)
    if #names > 0 then io.stdout:write("fields: ", table.concat(names, "  "), "\n") end
  end
end

--- The documentation comment above a Lua function, without its dashes.
-- @tparam any info what debug.getinfo(f, "S") gave
-- @treturn {string,...}
function repl.comment_above(info)
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

--- Runs one complete entry.
local function evaluate(session, chunk, mode)
  local mark = unclosed.mark()
  local values = table.pack(host.call(chunk))
  if not values[1] then
    unclosed.release(mark) -- nobody can close the runs that a failed entry opened
    io.stdout:flush()
    local message = values[3] and "interrupted" or explain(values[2])
    io.stderr:write(message, "\n")
    return
  end
  if mode == "show" then
    local ok, message, interrupted =
      host.call(show, session, table.pack(table.unpack(values, 2, values.n)))
    if not ok then io.stderr:write(interrupted and "interrupted" or explain(message), "\n") end
  end
end

local function prompt(name, fallback)
  local value = _G[name]
  return value ~= nil and tostring(value) or fallback
end

--- Reads lines until they make an entry.
-- @treturn string the entry; nil at the end of input; false when Ctrl-C dropped it
-- @treturn function or nil its chunk
-- @treturn string how to run it, or why it does not compile
local function read_entry(session)
  local line = lineedit.read(prompt("_PROMPT", "> "))
  if not line then return line end
  local text = line
  while true do
    if text:find("^%s*$") or text:find("^%s*%?") or text:find("^%s*[%w_.:]+%?%s*$") then
      return text
    end
    local chunk, mode = compile(session, text)
    if chunk or mode ~= "more" then return text, chunk, mode end
    line = lineedit.read(prompt("_PROMPT2", ">> "))
    if line == false then
      return false
    elseif line == nil then
      local _, message = load(text, "=repl", "t", session.env)
      return text, nil, message
    end
    text = text .. "\n" .. line
  end
end

--- Starts the session; returns when it ends.
function repl.start()
  local session = new_session()
  local edits, last_entry = lineedit.edits(), nil
  local ok, pl = host.call(require, "perilune")
  if ok then
    rawset(session.env, "pl", pl)
  else
    io.stderr:write("perilune: the library did not load: ", tostring(pl), "\n")
  end
  if edits then
    io.stdout:write(
      ("Perilune %s, %s. `pl` is the library; ?name helps, TAB completes, Ctrl-D leaves.\n"):format(
        host.version,
        _VERSION
      )
    )
    lineedit.completer(function(before) return complete.line(session.env, before) end)
    for _, entry in ipairs(history.load()) do
      lineedit.add(entry)
    end
  end
  while true do
    local text, chunk, mode = read_entry(session)
    if text == nil then
      break
    elseif text and not text:find("^%s*$") then
      if edits and text ~= last_entry then
        lineedit.add(text)
        history.append(text)
        last_entry = text
      end
      local topic = text:match("^%s*%?+%s*([%w_.:]+)%s*$") or text:match("^%s*([%w_.:]+)%?%s*$")
      if topic then
        host.call(show_help, session, topic)
      elseif text:find("^%s*%?") then
        io.stdout:write("?name tells about an op, a function or a value, e.g. ?matmul\n")
      elseif chunk then
        evaluate(session, chunk, mode)
      else
        io.stderr:write(mode, "\n")
      end
    end
  end
  if edits then io.stdout:write("\n") end
end

return repl
