--- What was wrong with a call, when a function of the library failed over its argument.
--
-- "attempt to index a nil value (local 'model')" is how Lua tells of a missing argument, with a
-- place in our sources; "embedding: ids holds 70000" is what an op says that nobody called but we.
-- The host asks here before it prints that, or hands it to who called pcall: the functions on the
-- stack are looked up in their sources, and what stands in their parameters is held against the
-- types of their doc comments. Nothing is checked while all goes well, so calls cost nothing.

local core = require("perilune.core")
local doc_comments = require("perilune.reference.doc_comments")

local misuse = {}

local FACE <const> = (...):match("^%w+") -- the library's own name
local ROOT <const> = debug.getinfo(1, "S").source:match("^@(.*/)reference/misuse%.lua$")

local plain = { string = true, number = true, boolean = true, table = true, userdata = true }

local function article(word) return (word:find("^[aeiouAEIOU]") and "an " or "a ") .. word end

-- A type in words.
local function in_words(node)
  if node.kind == "name" then return article(node.name) end
  if node.kind == "list" and node.of.kind == "list" then
    return "a list of lists"
  elseif node.kind ~= "union" then
    return node.kind == "list" and "a list" or "a table"
  end
  local parts = {}
  for i, part in ipairs(node) do
    parts[i] = in_words(part)
  end
  return table.concat(parts, " or ")
end

local function is_empty(value) return type(value) == "table" and next(value) == nil end

local fits

local function fits_name(name, value)
  if name == "any" then
    return true
  elseif name == "integer" then
    return math.type(value) == "integer" or type(value) == "number" and value % 1 == 0
  elseif name == "function" then
    return type(value) == "function" or (getmetatable(value) or {}).__call ~= nil
  elseif name == "table" then
    return type(value) == "table" and not is_empty(value)
  elseif plain[name] then
    return type(value) == name
  end
  if core.is_tensor(value) or name == "Tensor" then
    return name == "Tensor" and core.is_tensor(value)
  end
  -- an object of another class is a userdata, or a table with something in it, which is no list
  if type(value) == "table" and value[1] ~= nil and not getmetatable(value) then return false end
  return type(value) == "userdata" or type(value) == "table" and not is_empty(value)
end

-- Whether a value is of a type, as far as can be told. A table in which a field is missing is not.
-- An empty table in place of what may be absent is what functions themselves put there.
function fits(node, value)
  if value == nil or is_empty(value) and node.optional then return node.optional == true end
  if node.kind == "name" then return fits_name(node.name, value) end
  if node.kind == "union" then
    for _, part in ipairs(node) do
      if fits(part, value) then return true end
    end
    return false
  end
  if type(value) ~= "table" then return false end
  if node.kind == "list" then return value[1] == nil or fits(node.of, value[1]) end
  for i, field in ipairs(node.kind ~= "map" and node or {}) do
    if not fits(field.type, value[field.name or i]) then return false end
  end
  return true
end

local function shown(value)
  if core.is_tensor(value) then
    return ("a tensor of shape [%s]"):format(table.concat(value:shape(), ","))
  elseif type(value) == "string" then
    return "a text"
  elseif is_empty(value) then
    return "an empty table"
  elseif type(value) == "number" or type(value) == "boolean" or value == nil then
    return tostring(value)
  end
  return "another " .. type(value)
end

-- The documented function that begins on a line of a source; nil when there is none.
local function item_at(path, line)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read("a")
  file:close()
  for _, item in ipairs(doc_comments.read(text).items) do
    if item.declared == line and item.args and not item.is_local then return item end
  end
end

-- What a function is called in the face, or else in its source.
local function name_of(func, item)
  local face = package.loaded[FACE] or {}
  for name in pairs((getmetatable(face) or {}).__names or {}) do
    for field, value in pairs(rawget(face, name) or {}) do
      if value == func then return ("pl.%s.%s"):format(name, field) end
    end
  end
  for name, value in pairs(face) do
    if value == func then return "pl." .. name end
  end
  return (item.owner or "") .. (item.colon and ":" or ".") .. item.name
end

-- What is wrong with the arguments of the function at a level of the stack, in a sentence.
local function fault_at(level)
  local info = debug.getinfo(level + 1, "Sf")
  local item = item_at(info.source:sub(2), info.linedefined)
  if not item then return nil end
  local first = item.args[#item.args - #item.params] and #item.args - #item.params or 0
  for i, param in ipairs(item.params) do
    local name, value = debug.getlocal(level + 1, first + i + (item.colon and 1 or 0))
    if name == param.name and not fits(param.type, value) then
      local about = param.text:match("^[^:;]*") -- what it is; the rest tells all that may be in it
      about = about ~= "" and (" (%s)"):format(about) or ""
      return ("%s: '%s' must be %s%s, got %s"):format(
        name_of(info.func, item),
        param.name,
        in_words(param.type),
        about,
        shown(value)
      )
    end
  end
end

local function is_ours(info) return info.source:sub(2, #ROOT + 1) == ROOT end

-- What an op of ours said to us, said by the function that the caller did call.
local function retold(level, message)
  local info = debug.getinfo(level + 1, "Sf")
  local item = item_at(info.source:sub(2), info.linedefined)
  if not item then return nil end
  local text = message:gsub("^[^\n:]+:%d+: ", "")
  for _, row in ipairs(core.ops()) do
    if text:sub(1, #row.name + 2) == row.name .. ": " then
      return name_of(info.func, item) .. ": " .. text:sub(#row.name + 3)
    end
  end
end

-- A message of ours as the caller sees it: his place instead of one in our sources, names as he has
-- them.
local function tidied(message, caller)
  local text = message
  local path, rest = message:match("^([^\n:]+):%d+: (.*)$")
  if path and (path:sub(1, #ROOT) == ROOT or path:find("^%.%.%..*lua/perilune/")) then
    local place = caller and ("%s:%d: "):format(caller.short_src, caller.currentline) or ""
    text = place .. rest
  end
  text = text
    :gsub("'perilune%.core%.([%w_.]+)'", "'pl.%1'")
    :gsub("'perilune%.([%w_.]+)'", "'pl.%1'")
    :gsub("%f[%w]perilune%.(%u%w+)", "%1")
  return text ~= message and text or nil
end

local protected = { [pcall] = true, [xpcall] = true }

--- Of an error that is being handled, what its cause is when that is an argument of one of our
-- functions: the outermost that has a wrong one, of those that a pcall protects. To be called by
-- the handler, with the stack as it was.
-- @tparam ?string message of the error
-- @treturn ?string a sentence; nil when there is no such cause
function misuse.explain(message)
  local levels, level, by_c, said, caller = {}, 2, false, false, nil
  local inside = true -- of the innermost pcall
  local info = debug.getinfo(level, "Slf")
  while info and (inside or not caller) do
    if info.what ~= "C" then
      caller = caller or not is_ours(info) and info
      if inside and is_ours(info) then levels[#levels + 1] = level end
      if #levels == 0 then break end -- the caller's own function failed, or was told by C
    elseif protected[info.func] then
      inside = false
    elseif #levels == 0 and level > 2 then -- level 2 is the handler
      by_c = true
      said = said or info.func == error or info.func == assert -- by ourselves
    end
    level = level + 1
    info = debug.getinfo(level, "Slf")
  end
  if message and (said or #levels == 0) then return by_c and tidied(message, caller) or nil end
  for i = #levels, by_c and #levels or 1, -1 do -- what C complains of may be of our making
    local sentence = fault_at(levels[i])
    if sentence then return sentence end
  end
  return by_c and message and #levels > 0 and retold(levels[#levels], message) or nil
end

return misuse
