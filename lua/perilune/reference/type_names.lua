--- Types as doc comments write them, without blanks.
--
--     string  integer  number  boolean  table  function  any  userdata   and names of classes
--     {string,...}          a list            {[string]=number}    a map
--     {name=string,...}     named fields      {string,number}      a list of just these
--     number|string         either            ?table               or nil

local type_names = {}

-- The pieces of a text between marks that stand outside brackets.
local function split(text, mark)
  local parts, depth, from = {}, 0, 1
  for at = 1, #text do
    local c = text:sub(at, at)
    if c == "{" or c == "[" then
      depth = depth + 1
    elseif c == "}" or c == "]" then
      depth = depth - 1
    elseif c == mark and depth == 0 then
      parts[#parts + 1] = text:sub(from, at - 1)
      from = at + 1
    end
  end
  parts[#parts + 1] = text:sub(from)
  return parts
end

local parse

-- What stands between braces.
local function parse_braces(inner)
  local parts = split(inner, ",")
  local key, value = parts[1]:match("^(%b[])=(.+)$")
  if key then
    return #parts == 1 and { kind = "map", key = parse(key:sub(2, -2)), value = parse(value) }
  elseif #parts == 2 and parts[2] == "..." then
    return { kind = "list", of = parse(parts[1]) }
  end
  local node = { kind = parts[1]:find("^[%w_]+=") and "fields" or "tuple" }
  for i, part in ipairs(parts) do
    local name
    if node.kind == "fields" then
      name, part = part:match("^([%w_]+)=(.+)$")
      if not name then return nil end
    end
    node[i] = { name = name, type = parse(part) }
  end
  return node
end

local function parse_one(text)
  if text:find("^[%a_][%w_]*$") then return { kind = "name", name = text } end
  local inner = text:match("^{(.+)}$")
  return inner and parse_braces(inner) or error({ text }, 0)
end

function parse(text)
  local optional, rest = text:match("^(%??)(.+)$")
  if not rest then error({ text }, 0) end
  local parts = split(rest, "|")
  if #parts == 1 then
    local node = parse_one(rest)
    node.optional = optional == "?"
    return node
  end
  local node = { kind = "union", optional = optional == "?" }
  for i, part in ipairs(parts) do
    node[i] = parse(part)
  end
  return node
end

--- A type read from its text.
-- @tparam string text
-- @treturn ?table a tree of nodes with `kind`: "name" (`name`), "list" (`of`), "map" (`key`,
--   `value`), "fields" and "tuple" (a list of {name, type}), "union" (a list); `optional`
-- @treturn ?string what is wrong
function type_names.parse(text)
  local ok, node = pcall(parse, text)
  if ok then
    return node
  elseif type(node) ~= "table" then
    error(node, 0)
  end
  return nil, ("'%s' is no type"):format(node[1])
end

--- Calls a function with each name in a type.
-- @tparam table node
-- @tparam function each
function type_names.each(node, each)
  if node.kind == "name" then each(node.name) end
  for _, inner in ipairs { node.of or false, node.key or false, node.value or false } do
    if inner then type_names.each(inner, each) end
  end
  for _, inner in ipairs(node) do
    type_names.each(inner.type or inner, each)
  end
end

--- The classes of options in a type: those whose names end so.
-- @tparam table node
-- @treturn {string,...}
function type_names.options(node)
  local names = {}
  type_names.each(node, function(name)
    if name:find("Options$") then names[#names + 1] = name end
  end)
  return names
end

local write = {
  name = function(node, name) return name(node.name) end,
  list = function(node, name)
    local of = type_names.luacats(node.of, name)
    return (of:find("[|?]") and "(" .. of .. ")" or of) .. "[]"
  end,
  map = function(node, name)
    return ("table<%s, %s>"):format(
      type_names.luacats(node.key, name),
      type_names.luacats(node.value, name)
    )
  end,
  fields = function(node, name)
    local parts = {}
    for i, field in ipairs(node) do
      local required = type_names.luacats(field.type, name)
      parts[i] = ("%s: %s"):format(field.name, required)
    end
    return "{ " .. table.concat(parts, ", ") .. " }"
  end,
  tuple = function(node, name)
    local parts = {}
    for i, part in ipairs(node) do
      parts[i] = type_names.luacats(part.type, name)
    end
    return "[" .. table.concat(parts, ", ") .. "]"
  end,
  union = function(node, name)
    local parts = {}
    for i, part in ipairs(node) do
      parts[i] = type_names.luacats(part, name)
    end
    return table.concat(parts, "|")
  end,
}

--- A type as LuaCATS writes it.
-- @tparam table node
-- @tparam function name (name) -> the name as it shall stand there
-- @treturn string
function type_names.luacats(node, name)
  local text = write[node.kind](node, name)
  if node.optional then return (node.kind == "union" and "(" .. text .. ")" or text) .. "?" end
  return text
end

return type_names
