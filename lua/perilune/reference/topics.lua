--- What can be asked by name: the public functions, values, classes and modules, the ops, and the
-- functions of Lua's own library, each with the text that tells of it.
--
-- The texts are the doc comments' (public.lua) and the rows of the ops (op_help.lua): the same that
-- docs/api.md and docs/ops.md are made of. Read at the first question.

local core = require("perilune.core")
local doc_comments = require("perilune.reference.doc_comments")
local keys_of = require("perilune.base.list").keys
local lua_library = require("perilune.reference.lua_library")
local nearest = require("perilune.base.nearest")
local op_help = require("perilune.reference.op_help")
local public = require("perilune.reference.public")
local type_names = require("perilune.reference.type_names")

local FACE <const> = (...):match("^%w+") -- the library's own name

local topics = {}

-- The call of a function: parameters that may be left out in brackets.
local function call_of(name, item)
  local words = {}
  for i, param in ipairs(item.params) do
    words[i] = param.type.optional and "[" .. param.name .. "]" or param.name
  end
  return ("%s(%s)"):format(name, table.concat(words, ", "))
end

local function indented(lines, text)
  for line in (text .. "\n"):gmatch("(.-)\n") do
    lines[#lines + 1] = line == "" and "" or "  " .. line
  end
end

local index, face -- entries by name; what public.read gave

local function describe_fields(lines, fields, indent)
  for _, field in ipairs(fields) do
    lines[#lines + 1] = ("%s.%s  %s %s"):format(indent, field.name, field.type.text, field.text)
  end
end

-- The parameters with their texts, those of options with the options themselves.
local function describe_params(lines, item)
  local widest = 0
  for _, param in ipairs(item.params) do
    widest = math.max(widest, #param.name)
  end
  for _, param in ipairs(item.params) do
    lines[#lines + 1] = ("  %-" .. widest .. "s  %s %s"):format(
      param.name,
      param.type.text,
      param.text
    )
    for _, name in ipairs(index and type_names.options(param.type) or {}) do
      if index[name] then describe_fields(lines, index[name].fields, "    ") end
    end
  end
  for _, result in ipairs(item.returns) do
    lines[#lines + 1] = ("  gives %s %s"):format(result.type.text, result.text)
  end
end

local function trimmed(lines)
  for i, line in ipairs(lines) do
    lines[i] = line:gsub("%s+$", "")
  end
  return table.concat(lines, "\n")
end

--- A described function or value as text.
-- @tparam string name what it is called
-- @tparam table item of doc_comments
-- @treturn string
function topics.item_text(name, item)
  local lines = {}
  if item.kind == "value" then
    lines[1] = ("%s: %s"):format(name, item.value.text)
  else
    lines[1] = call_of(name, item)
  end
  indented(lines, item.text or "")
  describe_params(lines, item)
  return trimmed(lines)
end

local function first_sentence(text)
  local line = ((text or ""):match("^(.-)\n\n") or text or ""):gsub("%s*\n%s*", " ")
  return line:match("^(.-%.)%s") or line
end

local function listing(lines, members, prefix)
  for _, member in ipairs(members) do
    local about = first_sentence(member.item.text)
    lines[#lines + 1] = ("  %s%s  %s"):format(prefix, member.name, about)
  end
end

local function class_text(class)
  local lines = { class.name }
  indented(lines, class.item.text or "")
  describe_fields(lines, class.item.fields, "  ")
  listing(lines, class.methods, ":")
  return trimmed(lines)
end

local function module_text(one)
  local name = one.name == "pl" and "pl" or "pl." .. one.name
  local lines = { name }
  indented(lines, (one.head:gsub("\n*May use: .-%.%f[\n\0]", "")))
  lines[#lines + 1] = ""
  listing(lines, one.members, name:match("[%w_]+$") .. ".")
  return trimmed(lines)
end

local function add_ops()
  for _, row in ipairs(core.ops()) do
    local entry = { name = "pl." .. row.name, summary = row.doc, op = row.name, params = {} }
    for i, param in ipairs(row.params) do
      entry.params[i] = param.name
    end
    entry.text = function() return op_help.op(row.name) end
    index[entry.name] = entry
    if row.flags.method then index["Tensor:" .. row.name] = entry end
  end
end

local function add_members(members, prefix)
  for _, member in ipairs(members) do
    local name = prefix .. member.name
    index[name] = {
      name = name,
      summary = first_sentence(member.item.text),
      item = member.item,
      path = face.paths[member.module],
      text = function() return topics.item_text(name, member.item) end,
    }
  end
end

local function build()
  if index then return end
  index = {}
  for name, row in pairs(lua_library.functions) do
    local text = row.call .. "\n  " .. row.summary
    index[name] = { name = name, summary = row.summary, text = function() return text end }
  end
  add_ops()
  face = public.read()
  for _, one in ipairs(face.modules) do
    local name = one.name == "pl" and "pl" or "pl." .. one.name
    index[name] = {
      name = name,
      summary = first_sentence(one.head),
      path = face.paths[one.module],
      text = function() return module_text(one) end,
    }
    add_members(one.members, name .. ".")
  end
  for _, class in ipairs(face.classes) do
    index[class.name] = {
      name = class.name,
      summary = first_sentence(class.item.text),
      fields = class.item.fields,
      text = function() return class_text(class) end,
    }
    add_members(class.methods, class.name .. ":")
  end
end

--- What is known by a name as written in the reference: "pl.loss.dpo", "Tensor:sum", "string.rep".
-- @tparam string name
-- @treturn ?table `name`, `summary`, `text()`; of doc comments `item` and `path`; of a class its
--   `fields`; of ops `op` and the names of its `params`
function topics.get(name)
  build()
  return index[name] or index["pl." .. name] or index[(name:gsub("^pl:", "pl."))]
end

local by_function = setmetatable({}, { __mode = "k" })

--- What is known of a function of Lua, by the place where it stands, public or not.
-- @tparam function func
-- @treturn ?table item of doc_comments; nil when its source is not there
function topics.item_of(func)
  if by_function[func] ~= nil then return by_function[func] or nil end
  local info = debug.getinfo(func, "S")
  local file = info.source:sub(1, 1) == "@" and io.open(info.source:sub(2), "rb")
  by_function[func] = false
  if not file then return nil end
  local text = file:read("a")
  file:close()
  for _, item in ipairs(doc_comments.read(text).items) do
    if item.declared == info.linedefined and item.kind == "function" then
      by_function[func] = item
      return item
    end
  end
end

local public_names, modules_then = {}, 0 -- of functions, with so many modules loaded

-- What a function is called in a module of the face that is loaded.
local function public_name(func)
  local modules = 0
  for _ in pairs(package.loaded) do
    modules = modules + 1
  end
  if modules ~= modules_then then
    build()
    public_names, modules_then = {}, modules
    for name in pairs(index) do
      local value = name:find("^pl%.") and package.loaded[FACE]
      for part in name:sub(4):gmatch("[^.]+") do
        value = type(value) == "table" and rawget(value, part) or nil
      end
      if type(value) == "function" then public_names[value] = name end
    end
  end
  return public_names[func]
end

--- The name in the face of a function that C defines, or Lua's library.
-- @tparam function func
-- @treturn ?string
function topics.name_of(func)
  for name, value in pairs(core) do
    if value == func then return "pl." .. name end
  end
  local own = lua_library.name_of(func)
  return own or public_name(func)
end

--- The names that a pattern with * fits, sorted.
-- @tparam string pattern "*rank*"
-- @treturn {table,...} as `get` gives them
function topics.search(pattern)
  build()
  local plain = pattern:gsub("[%^%$%(%)%%%.%[%]%+%-%?]", "%%%0"):gsub("%*", ".*"):lower()
  local found, seen = {}, {}
  for _, entry in pairs(index) do
    local name = entry.name:lower()
    local fits = name:find("^" .. plain .. "$") or name:match("[%w_]+$"):find("^" .. plain .. "$")
    if fits and not seen[entry.name] then
      seen[entry.name] = true
      found[#found + 1] = entry
    end
  end
  table.sort(found, function(a, b) return a.name < b.name end)
  return found
end

--- Names that are near to one that is not known.
-- @tparam string name
-- @treturn {string,...} at most five
function topics.near(name)
  build()
  local last, by_last, lasts = name:match("[%w_]*$"), {}, {}
  for full, entry in pairs(index) do
    local short = full:match("[%w_]+$")
    by_last[short] = by_last[short] or {}
    table.insert(by_last[short], entry.name)
    lasts[#lasts + 1] = short
  end
  table.sort(lasts)
  local found = by_last[last] or by_last[nearest.find(last, lasts) or ""] or {}
  table.sort(found)
  local list, seen = {}, {}
  for _, one in ipairs(found) do
    if not seen[one] and #list < 5 then list[#list + 1] = one end
    seen[one] = true
  end
  return list
end

--- All names, for completion.
-- @treturn {string,...}
function topics.names()
  build()
  local list = keys_of(index)
  return list
end

return topics
