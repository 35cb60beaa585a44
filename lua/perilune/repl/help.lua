--- What `?name`, `??name` and `?*part*` tell at the prompt.
--
-- A name is looked up as one would type it: `policy:generate`, `t.sum`, `cfg.kl_coef`; what stands
-- there decides, so that a function is described where it was written, whatever it is called now.
-- Names that stand for nothing are looked up in the reference: `?Model`, `?matmul`. No function is
-- called, but a module of the library is loaded when its name is asked for.

local complete = require("perilune.repl.complete")
local host = require("perilune.host")
local lfs = require("lfs")
local nearest = require("perilune.base.nearest")
local op_help = require("perilune.reference.op_help")
local pretty = require("perilune.repl.pretty")
local topics = require("perilune.reference.topics")

local help = {}

help.overview = [[
?NAME      what a function, op, value, class or module is: ?pl.loss, ?matmul, ?x:sum, ?cfg.kl_coef
??NAME     its source
?*PART*    all names that fit
:help      the commands that begin with a colon
TAB        completes names, fields, methods, options, keys, files; twice where there is a choice]]

-- A line of a comment's text: no row of a listing, and not indented further than comments are.
local function is_prose(line)
  return line:find("^  %S") and not line:find("%S  ") and not line:find("^  gives ")
end

-- Lines of one paragraph of prose as one line, where some of them are too long for the width.
local function joined(text, width)
  local out, paragraph = {}, {}
  local function flush()
    local too_long = false
    for _, line in ipairs(paragraph) do
      too_long = too_long or utf8.len(line, 1, -1, true) > width
    end
    if too_long then
      out[#out + 1] = "  " .. table.concat(paragraph, " "):gsub("%s+", " "):match("^ ?(.*)$")
    else
      table.move(paragraph, 1, #paragraph, #out + 1, out)
    end
    paragraph = {}
  end
  for line in (text .. "\n"):gmatch("(.-)\n") do
    if is_prose(line) then
      paragraph[#paragraph + 1] = line
    else
      flush()
      out[#out + 1] = line
    end
  end
  flush()
  return table.concat(out, "\n")
end

-- Breaks long lines at blanks; what follows is indented further, but for what stands in a comment.
local function wrapped(text, width)
  local out = {}
  for line in (text .. "\n"):gmatch("(.-)\n") do
    local indent = line:match("^%s*")
    while utf8.len(line, 1, -1, true) > width do
      local limit = utf8.offset(line, width + 1) - 1
      local cut = line:sub(1, limit + 1):match("^.*() ")
      if not cut or cut <= #indent + 4 then break end
      out[#out + 1] = line:sub(1, cut - 1)
      line = indent .. (is_prose(line) and "" or "    ") .. line:sub(cut + 1)
    end
    out[#out + 1] = line
  end
  return table.concat(out, "\n")
end

-- The value a chain of names leads to, and the one before it; loads modules that come at first use.
local function resolve(env, chain)
  local owner, value = nil, env
  for name in chain:gmatch("[%w_]+") do
    owner = value
    value = complete.field(owner, name)
    local meta = debug.getmetatable(owner)
    local names = type(meta) == "table" and rawget(meta, "__names")
    if
      value == nil
      and type(names) == "table"
      and names[name] ~= nil
      and type(owner) == "table"
    then
      local ok, found = pcall(function() return owner[name] end)
      value = ok and found or nil
    end
    if value == nil then return nil, owner, name end
  end
  return value, owner, chain:match("[%w_]+$")
end

local function class_of(value)
  local meta = debug.getmetatable(value)
  local name = type(meta) == "table" and rawget(meta, "__name")
  return type(name) == "string" and name:match("%w+$") or nil
end

-- A row of a config, as --help has it.
local function config_row(owner, name)
  local pl = package.loaded["perilune"]
  if type(owner) ~= "table" or not pl or not pl.config.is(owner) then return nil end
  for _, row in ipairs(owner:rows()) do
    if row.key == name then
      local lines = { ("%s = %s"):format(row.key, row.value), "  " .. row.meaning }
      lines[#lines + 1] = "  default  " .. row.default
      if row.range and row.range ~= "" then lines[#lines + 1] = "  range    " .. row.range end
      if row.source then lines[#lines + 1] = "  set by   " .. row.source end
      if row.schedule then lines[#lines + 1] = "  may be a schedule" end
      if row.settled then lines[#lines + 1] = "  " .. row.settled end
      return table.concat(lines, "\n")
    end
  end
end

-- The entry of the reference for a function found as `name` of `owner`.
local function entry_of(func, owner, name)
  local class = owner ~= nil and class_of(owner)
  local entry = class and topics.get(class .. ":" .. name)
  if entry then return entry end
  local known = topics.name_of(func)
  return known and topics.get(known)
end

local function params_of(func)
  local info, names = debug.getinfo(func, "Su"), {}
  for i = 1, info.nparams do
    names[i] = debug.getlocal(func, i)
  end
  if info.isvararg then names[#names + 1] = "..." end
  return table.concat(names, ", "), info
end

-- The comment above a function that is in no dialect of ours.
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
    table.insert(found, 1, "  " .. lines[i]:gsub("^%s*%-+%s?", ""))
    i = i - 1
  end
  return found
end

local function function_text(chain, func, owner, name)
  local params, info = params_of(func)
  local entry = entry_of(func, owner, name) or info.what == "C" and topics.get(chain)
  if entry then return entry.text() end
  if info.what == "C" then
    return ("%s  a function that C defines, of which nothing is written"):format(chain)
  end
  local item = topics.item_of(func)
  local text = item and topics.item_text(chain, item)
    or table.concat({ ("%s(%s)"):format(chain, params), table.unpack(comment_above(info)) }, "\n")
  return ("%s\n  %s:%d"):format(text, info.short_src, info.linedefined)
end

local function value_text(value, width)
  local text = ("%s: %s"):format(class_of(value) or type(value), pretty.show(value, width))
  local names = complete.fields(value)
  if #names == 0 then return text end
  return text .. "\nfields: " .. table.concat(names, "  ")
end

local function search(pattern)
  local found = topics.search(pattern)
  if #found == 0 then return ("no name fits %s"):format(pattern) end
  local lines, widest = {}, 0
  for _, entry in ipairs(found) do
    widest = math.max(widest, #entry.name)
  end
  widest = math.min(widest, 28)
  for _, entry in ipairs(found) do
    lines[#lines + 1] = ("%-" .. widest .. "s  %s"):format(entry.name, entry.summary)
  end
  return table.concat(lines, "\n")
end

local function unknown(env, chain)
  local near = topics.near(chain)
  local own = nearest.find(chain, complete.fields(env))
  if own then table.insert(near, 1, own) end
  if #near == 0 then
    return ("nothing is known of '%s'; ?*part* searches, TAB after 'pl.' lists"):format(chain)
  end
  return ("nothing is known of '%s'; near: %s"):format(chain, table.concat(near, "  "))
end

--- What is known of a topic.
-- @tparam table env where names are looked up
-- @tparam string topic a name, or a pattern with *
-- @tparam integer width
-- @treturn string
function help.text(env, topic, width)
  if topic:find("*", 1, true) then return wrapped(search(topic), width) end
  local op = topic:match("^pl[.:]([%w_]+)$") or topic:match("^[%w_]+$")
  local own = op and complete.field(env, op)
  local text = (own == nil or own == env.pl or type(own) == "function") and op and op_help.op(op)
  if text then return wrapped(text, width) end
  local value, owner, name = resolve(env, topic)
  text = config_row(owner, name)
  if text then return wrapped(text, width) end
  if type(value) == "function" then
    return wrapped(joined(function_text(topic, value, owner, name), width), width)
  end
  local entry = topics.get(topic)
  if entry and (value == nil or type(value) == "table") then
    return wrapped(joined(entry.text(), width), width)
  end
  if value == nil then return wrapped(unknown(env, topic), width) end
  return wrapped(value_text(value, width), width)
end

-- Lines first to last of a file, with the comment above them.
local function lines_of(path, first, last)
  local file = io.open(path)
  if not file then return nil end
  local lines = {}
  for line in file:lines() do
    lines[#lines + 1] = line
    if #lines >= last then break end
  end
  file:close()
  while first > 1 and lines[first - 1]:find("^%s*%-%-") do
    first = first - 1
  end
  return ("-- %s:%d\n"):format(path, first) .. table.concat(lines, "\n", first, last)
end

-- Calls visit(path in the checkout, text) for the C files of a folder until that gives a value.
local function each_source(folder, visit)
  local root = host.root .. "/" .. folder
  if lfs.attributes(root, "mode") ~= "directory" then return nil end
  for name in lfs.dir(root) do
    local file = name:find("%.c$") and io.open(root .. "/" .. name)
    local text = file and file:read("a")
    if file then file:close() end
    local found = text and visit(folder .. "/" .. name, text)
    if found then return found end
  end
end

-- The C function that begins with `head` in a file.
local function c_function(path, text, head)
  local from = text:find("\n" .. head, 1, true)
  local stop = from and text:find("\n}\n", from, true)
  if not stop then return nil end
  local _, line = text:sub(1, from):gsub("\n", "")
  return ("// %s:%d\n"):format(path, line + 1) .. text:sub(from + 1, stop + 1)
end

local function op_source(op)
  return each_source("engine/ops", function(path, text)
    local made = text:match("const pl_op_impl OPI%(" .. op .. "%) = {[^;]*;")
    if not made then return nil end
    local forward = made:match("{[%w_]+, ([%w_]+)")
    return c_function(path, text, ("static pl_status %s("):format(forward))
      or ("// %s\n"):format(path) .. made
  end)
end

-- The C function that the bindings offer under a name.
local function bound_source(name)
  return each_source("lua/bind", function(path, text)
    local func = text:match('{"' .. name .. '", ([%w_]+)}')
    return func and c_function(path, text, ("static int %s("):format(func))
  end)
end

--- The source of what a topic names: of Lua the lines, of ops and C functions the text and, where
-- the checkout is there, the C function.
-- @tparam table env
-- @tparam string topic
-- @tparam integer width
-- @treturn string
function help.source(env, topic, width)
  local value, owner, name = resolve(env, topic)
  local entry = type(value) == "function" and entry_of(value, owner, name) or topics.get(topic)
  if type(value) == "function" then
    local info = debug.getinfo(value, "S")
    if info.what ~= "C" then
      local path = info.source:match("^@(.*)$")
      local lines = path and lines_of(path, info.linedefined, info.lastlinedefined)
      return lines or ("%s was typed in: its text is not kept"):format(topic)
    end
  end
  if not entry then return help.text(env, topic, width) end
  local short = entry.name:match("[%w_]+$")
  local source = entry.op and op_source(entry.op) or bound_source(short)
  return wrapped(entry.text(), width) .. (source and "\n\n" .. source or "")
end

return help
