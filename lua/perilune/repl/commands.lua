--- The prompt's own commands: `:time f(x)`, `:who`, `:plot loss`, `:up` and their sisters.
--
-- Each takes the session and what stands behind its name, and returns a text, or nil and what is
-- wrong; what an entry of Lua gives is handed on as it is.

local braille = require("perilune.repl.braille")
local complete = require("perilune.repl.complete")
local core = require("perilune.core")
local files = require("perilune.base.files")
local format = require("perilune.base.format")
local frames = require("perilune.repl.frames")
local json = require("perilune.base.json")
local keys_of = require("perilune.base.list").keys
local nearest = require("perilune.base.nearest")
local reload = require("perilune.repl.reload")
local script = require("perilune.repl.script")
local system = core.system
local terminal = require("perilune.base.terminal")

local commands = { list = {} }

local by_name = {}

-- takes: what completion offers for the arguments: "code", "file", "module", "command" or nil.
local function command(name, call, takes, about, run)
  local row = { name = name, call = call, takes = takes, about = about, run = run }
  commands.list[#commands.list + 1] = row
  by_name[name] = row
end

--- What the arguments of a command are.
-- @tparam string name
-- @treturn ?string
function commands.takes(name) return by_name[name] and by_name[name].takes end

-- Values of a text of Lua, in the session.
local function values_of(talk, text)
  local entry, message = talk:compile(text)
  if not entry or entry.kind ~= "code" then
    return nil, message == "more" and "the text ends too early" or message or "Lua is wanted"
  end
  local outcome = talk:call(entry)
  if not outcome.ok then return nil, nil, outcome end
  return outcome.values
end

-- Time
-- ------------------------------------------------------------------------------------------

command("time", ":time CODE", "code", "runs it and tells how long it took", function(talk, rest)
  local entry, message = talk:compile(rest)
  if not entry then return nil, message == "more" and "the text ends too early" or message end
  local memory, cpu, wall = core.mem().live, os.clock(), system.monotonic()
  local outcome = talk:run(entry)
  wall, cpu = system.monotonic() - wall, os.clock() - cpu
  memory = core.mem().live - memory
  local note = ("%s (processor time %s), tensors %s%s"):format(
    commands.short_time(wall),
    commands.short_time(cpu),
    memory < 0 and "-" or "+",
    format.bytes(math.abs(memory))
  )
  if not outcome.ok then return nil, nil, outcome end
  return outcome.text == "" and note or outcome.text .. "\n" .. note
end)

local SECONDS <const> = 0.5 -- that timeit takes about

command(
  "timeit",
  ":timeit CODE",
  "code",
  "runs it many times: median and best",
  function(talk, rest)
    local entry, message = talk:compile(rest)
    if not entry then return nil, message == "more" and "the text ends too early" or message end
    if entry.kind ~= "code" then return nil, "Lua is wanted" end
    local times, total = {}, 0
    while total < SECONDS and #times < 1e6 or #times < 3 do
      local scope <close> = core.scope("timeit")
      local began = system.monotonic()
      local outcome = talk:call(entry)
      local took = system.monotonic() - began
      if not outcome.ok then return nil, nil, outcome end
      times[#times + 1], total = took, total + took
    end
    table.sort(times)
    return ("median %s, best %s of %d"):format(
      commands.short_time(times[(#times + 1) // 2]),
      commands.short_time(times[1]),
      #times
    )
  end
)

--- A duration with microseconds.
-- @tparam number seconds
-- @treturn string
function commands.short_time(seconds)
  if seconds < 1e-3 then return ("%.3g us"):format(seconds * 1e6) end
  return format.duration(seconds)
end

-- Files
-- -----------------------------------------------------------------------------------------

command(
  "run",
  ":run FILE [ARGUMENTS]",
  "file",
  "runs a script; its locals stay",
  function(talk, rest)
    local words = {}
    for word in rest:gmatch("%S+") do
      words[#words + 1] = word
    end
    if not words[1] then return nil, ":run FILE: which file?" end
    local path = words[1]:gsub("^~/", (os.getenv("HOME") or "~") .. "/")
    local chunk, message = script.load(path)
    if not chunk then return nil, message end
    local before, search = _G.arg, package.path
    _G.arg = table.move(words, 2, #words, 1, { [0] = path })
    local folder = path:match("^(.*)/[^/]*$") or "."
    package.path = ("%s/?.lua;%s/?/init.lua;%s"):format(folder, folder, search)
    local outcome = talk:call { chunk = function() return chunk(table.unpack(words, 2)) end }
    _G.arg, package.path = before, search
    talk:adopt(script.take())
    if not outcome.ok then
      talk:adopt_failed()
      return nil, nil, outcome
    end
    return talk:show(outcome.values)
  end
)

command(
  "reload",
  ":reload [MODULE]",
  "module",
  "swaps in modules whose files were edited",
  function(_, rest)
    local names = rest ~= "" and { rest } or reload.edited()
    if #names == 0 then return "no file of a loaded module was edited" end
    local lines = {}
    for i, name in ipairs(names) do
      local done, message = reload.module(name)
      if not done and #names == 1 then return nil, message end
      lines[i] = done and "reloaded " .. done or "not reloaded: " .. message
    end
    return table.concat(lines, "\n")
  end
)

-- What there is
-- ----------------------------------------------------------------------------------

local function is_tensor(value)
  local meta = debug.getmetatable(value)
  return type(meta) == "table" and rawget(meta, "__name") == "perilune.Tensor"
end

local function tensor_row(name, value)
  if not value:alive() then return { name, "Tensor", "freed", "", "" } end
  local scope = complete.field(value, "scope")
  local ok, held = pcall(scope or error, value)
  return {
    name,
    "Tensor",
    ("%s [%s]"):format(value:dtype(), table.concat(value:shape(), ", ")),
    format.bytes(value:memory()),
    ok and type(held) == "string" and held or "",
  }
end

local function is_model(value)
  local meta = debug.getmetatable(value)
  return type(meta) == "table" and rawget(meta, "__name") == "model"
end

local function model_row(name, value)
  local about = ("%s parameters in %s"):format(
    format.count((value:count())),
    value.base and value.base.dtype or value.dtype
  )
  return { name, "model", about, format.bytes(value:memory()), "" }
end

local function kind_of(value)
  local meta = debug.getmetatable(value)
  local name = type(meta) == "table" and rawget(meta, "__name")
  return type(name) == "string" and name or math.type(value) or type(value)
end

-- The tensors and models that a table holds, in tables without a metatable at any depth: how many,
-- and their bytes. What is in `seen` was counted before.
local function held_in(t, seen)
  local count, bytes, open = 0, 0, { t }
  while #open > 0 do
    for _, value in next, table.remove(open) do
      local counts = is_tensor(value) and value:alive() or is_model(value)
      local enter = type(value) == "table" and debug.getmetatable(value) == nil
      if (counts or enter) and not seen[value] then
        seen[value] = true
        if counts then
          count, bytes = count + 1, bytes + value:memory()
        else
          open[#open + 1] = value
        end
      end
    end
  end
  return count, bytes
end

-- A row of anything else, and the bytes of the tensors it holds that were not counted yet.
local function other_row(talk, name, value, seen)
  if type(value) ~= "table" then
    return { name, kind_of(value), type(value) == "function" and "" or talk:brief(value), "", "" },
      0
  end
  local about = #value > 0 and ("%d values"):format(#value) or ""
  if debug.getmetatable(value) ~= nil then return { name, kind_of(value), about, "", "" }, 0 end
  local count, bytes = held_in(value, { [value] = true })
  if count == 0 then return { name, kind_of(value), about, "", "" }, 0 end
  local held = ("%s%d tensor%s"):format(
    about ~= "" and about .. ", " or "",
    count,
    count > 1 and "s" or ""
  )
  local row = { name, kind_of(value), held, format.bytes(bytes), "" }
  return row, select(2, held_in(value, seen))
end

command(
  "who",
  ":who",
  nil,
  "the session's variables; of tensors shape, bytes, scope",
  function(talk)
    local rows, bytes, seen = {}, 0, {}
    local names = {}
    for name in next, talk.env do
      local own = name:find("^_%d*$") or name == "_error" or name == "pl" or talk.given[name]
      if not own then names[name] = talk.env[name] end
    end
    for name, value in next, _G do
      if talk.globals_before[name] == nil then names[name] = value end
    end
    local sorted = keys_of(names)
    for _, name in ipairs(sorted) do
      local value = names[name]
      local row, held
      if is_tensor(value) or is_model(value) then
        row = (is_tensor(value) and tensor_row or model_row)(name, value)
        held = (is_model(value) or value:alive()) and not seen[value] and value:memory() or 0
        seen[value] = true
      else
        row, held = other_row(talk, name, value, seen)
      end
      rows[#rows + 1], bytes = row, bytes + held
    end
    if #rows == 0 then return "no variables yet" end
    local lines, widths = {}, { 0, 0, 0, 0, 0 }
    for _, row in ipairs(rows) do
      for i = 1, 5 do
        row[i] = format.truncate(row[i], 40)
        widths[i] = math.max(widths[i], format.width(row[i]))
      end
    end
    for i, row in ipairs(rows) do
      for k = 1, 5 do
        row[k] = format.pad(row[k], widths[k])
      end
      lines[i] = format.truncate((table.concat(row, "  "):gsub("%s+$", "")), talk:width())
    end
    if bytes > 0 then lines[#lines + 1] = ("tensors in all: %s"):format(format.bytes(bytes)) end
    return table.concat(lines, "\n")
  end
)

command("mem", ":mem", nil, "memory of tensors, Lua and the process", function()
  local mem = core.mem()
  local pages = (files.read("/proc/self/statm") or ""):match("^%d+ (%d+)")
  local lines = {
    ("tensors  %s now, %s at most, %s kept for reuse"):format(
      format.bytes(mem.live),
      format.bytes(mem.peak),
      format.bytes(mem.cached)
    ),
    ("Lua      %s"):format(format.bytes(math.floor(collectgarbage("count") * 1024))),
  }
  if mem.limit > 0 then lines[1] = lines[1] .. ", limit " .. format.bytes(mem.limit) end
  if pages then lines[3] = ("process  %s"):format(format.bytes(math.tointeger(pages) * 4096)) end
  return table.concat(lines, "\n")
end)

-- Curves
-- -----------------------------------------------------------------------------------------

-- A list of numbers of a tensor or a list.
local function numbers_of(value)
  if is_tensor(value) then value = value:view({ value:count() }):totable() end
  if type(value) ~= "table" then return nil end
  local list = {}
  for i = 1, #value do
    if type(value[i]) ~= "number" then return nil end
    list[i] = value[i]
  end
  return list
end

--- A metric of a run's folder over its steps.
-- @tparam string folder
-- @tparam string name
-- @treturn ?{number,...} steps; nil when there is none
-- @treturn ?{number,...}|string values; why there is none; nil when the folder has no metrics
function commands.metric(folder, name)
  local text = files.read(folder .. "/metrics.jsonl")
  if not text then return nil end
  local x, y, names = {}, {}, {}
  for line in text:gmatch("[^\n]+") do
    local row = json.decode(line)
    for key in pairs(type(row) == "table" and row or {}) do
      names[key] = true
    end
    if type(row) == "table" and type(row[name]) == "number" then
      x[#x + 1] = tonumber(row.step) or #x + 1
      y[#y + 1] = row[name]
    end
  end
  if #y > 0 then return x, y end
  local known = keys_of(names)
  local hint = nearest.hint(name, known)
  for _, key in ipairs(known) do
    if key:match("[^/]*$") == name then hint = ("; did you mean '%s'?"):format(key) end
  end
  if hint == "" then hint = "; it has " .. table.concat(known, ", ") end
  return nil, ("%s has no metric '%s'%s"):format(folder, name, hint)
end

local function shows_braille()
  local locale = os.getenv("LC_ALL") or os.getenv("LC_CTYPE") or os.getenv("LANG") or ""
  return locale:lower():find("utf%-?8") ~= nil and os.getenv("TERM") ~= "dumb"
end

local function curve(talk, x, y, title)
  return braille.plot(x, y, {
    width = talk:width(),
    plain = not shows_braille(),
    paint = terminal.painter(talk.colors),
    title = title,
  })
end

command(
  "plot",
  ":plot Y  :plot X, Y  :plot RUN METRIC",
  "code",
  "a curve of tensors, lists or a run's metric",
  function(talk, rest)
    if rest == "" then return nil, ":plot Y, :plot X, Y or :plot RUN METRIC: what?" end
    local folder, name = rest:match("^(%S+)%s+([^%s,]+)$")
    if folder then
      local x, y = commands.metric(folder, name)
      if x then return curve(talk, x, y, name) end
      if y then return nil, y end
    end
    local values, message, outcome = values_of(talk, rest)
    if not values then return nil, message, outcome end
    local x, y = numbers_of(values[1]), numbers_of(values[2])
    if not x or values.n > 1 and not y then
      return nil, "a tensor or a list of numbers is wanted"
    end
    if not y then
      x, y = nil, x
    end
    return curve(talk, x, y)
  end
)

-- The session
-- -------------------------------------------------------------------------------------

command(
  "history",
  ":history [PART]",
  nil,
  "what was typed, or what of it has PART in it",
  function(talk, rest)
    local lines = {}
    for i, entry in ipairs(talk.entries) do
      if rest == "" or entry:find(rest, 1, true) then
        lines[#lines + 1] = ("%4d  %s"):format(i, (entry:gsub("\n", "\n      ")))
      end
    end
    if #lines == 0 then return "nothing" end
    return table.concat(lines, "\n", math.max(1, #lines - 99))
  end
)

local LEFT <const> = 23 -- columns of what is typed, where it fits

local function add_help(lines, call, about, width)
  local first = format.pad(call, LEFT)
  if #call > LEFT - 2 then
    lines[#lines + 1] = call
    first = (" "):rep(LEFT)
  end
  for _, part in ipairs(format.wrap(about, math.max(20, width - LEFT))) do
    lines[#lines + 1] = first .. part
    first = (" "):rep(LEFT)
  end
end

command("help", ":help [COMMAND]", "command", "this list", function(talk, rest)
  local lines = {}
  for _, row in ipairs(commands.list) do
    if rest == "" or row.name == rest:gsub("^:", "") then
      add_help(lines, row.call, row.about, talk:width())
    end
  end
  if #lines == 0 then return nil, commands.unknown(rest) end
  if rest == "" then add_help(lines, "$ COMMAND", "runs it in the shell", talk:width()) end
  return table.concat(lines, "\n")
end)

-- After an error
-- ---------------------------------------------------------------------------------

local function look(talk, n)
  local list = talk.failure and talk.failure.frames or {}
  if #list == 0 then return nil, "there was no error whose calls could be looked at" end
  if n < 1 then return nil, "this is the innermost call" end
  if n > #list then return nil, "this is the outermost call" end
  talk.frame = n
  return frames.text({ list[n] }):gsub("^  %s*%d+", ("%d"):format(n))
    .. "\n"
    .. frames.variables_text(list[n], talk:width())
end

local function first_of_the_user(talk)
  for i, frame in ipairs(talk.failure and talk.failure.frames or {}) do
    if not frame.ours then return i end
  end
  return 1
end

command("up", ":up", nil, "after an error: the call outwards", function(talk)
  local n = talk.frame
  return look(talk, n and n + 1 or first_of_the_user(talk) + 1)
end)

command("down", ":down", nil, "the call inwards", function(talk)
  local n = talk.frame
  return look(talk, n and n - 1 or first_of_the_user(talk))
end)

command("frame", ":frame [N]", nil, "that call: names are looked up in it", function(talk, rest)
  local n = rest == "" and (talk.frame or first_of_the_user(talk)) or math.tointeger(tonumber(rest))
  if not n then return nil, ":frame N: a number is wanted" end
  return look(talk, n)
end)

command("frames", ":frames", nil, "all calls of the error", function(talk)
  local list = talk.failure and talk.failure.frames or {}
  if #list == 0 then return nil, "there was no error whose calls could be looked at" end
  return frames.text(list, talk.frame)
end)

command(
  "locals",
  ":locals",
  nil,
  "that call and its variables, as :frame",
  function(talk) return look(talk, talk.frame or first_of_the_user(talk)) end
)

command("leave", ":leave", nil, "back from the calls to the session", function(talk)
  talk.frame = nil
  return ""
end)

-- Dispatch
-- ---------------------------------------------------------------------------------------

--- The sentence for a name that is no command.
-- @tparam string name
-- @treturn string
function commands.unknown(name)
  local known = {}
  for i, row in ipairs(commands.list) do
    known[i] = row.name
  end
  local meant = nearest.find(name, known)
  if meant then return ("there is no command :%s; did you mean :%s?"):format(name, meant) end
  return ("there is no command :%s; :help lists them"):format(name)
end

--- Runs a command.
-- @tparam Session talk
-- @tparam string name
-- @tparam string rest what stands behind it
-- @treturn ?string what to show
-- @treturn ?string what is wrong
-- @treturn ?table instead of a text: what an entry of Lua gave
function commands.run(talk, name, rest)
  local row = by_name[name]
  if not row then return nil, commands.unknown(name) end
  return row.run(talk, rest)
end

--- Runs a line of the shell; what it prints goes where the program's output goes.
-- @tparam string line
-- @treturn string "" or how it ended
function commands.shell(line)
  io.stdout:flush()
  local ok, how, code = os.execute(line)
  return ok and "" or ("(%s %d)"):format(how == "exit" and "status" or how, code)
end

return commands
