--- Completion: which names can follow what stands before the cursor.
--
-- A chain like `pl.schedule.li` or `policy:gen` is followed through tables and __index tables; no
-- function is called and no __index function is asked, so that TAB never has an effect. After `:`
-- only functions are offered.

local complete = {}

local keywords = {
  "and",
  "break",
  "do",
  "else",
  "elseif",
  "end",
  "false",
  "for",
  "function",
  "goto",
  "if",
  "in",
  "local",
  "nil",
  "not",
  "or",
  "repeat",
  "require",
  "return",
  "then",
  "true",
  "until",
  "while",
}

local max_listed = 200

--- The table in which a field of the value would be looked up after its own: __index, or where that
-- is a function, __methods; or nil.
local function behind(value)
  local meta = debug.getmetatable(value)
  local index = type(meta) == "table" and (rawget(meta, "__methods") or rawget(meta, "__index"))
  return type(index) == "table" and index or nil
end

--- Calls visit(name, value) for each field of a value that has a name; first the nearest.
-- A table whose fields come at first use lists them as the keys of its metatable's __names.
local function each_field(value, visit)
  local meta = debug.getmetatable(value)
  local names = type(meta) == "table" and rawget(meta, "__names")
  for name in next, type(names) == "table" and names or {} do
    visit(name, nil)
  end
  local where = type(value) == "table" and value or behind(value)
  for _ = 1, 10 do
    if not where then return end
    for name, field in next, where do
      if type(name) == "string" and name:find("^[%a_][%w_]*$") then visit(name, field) end
    end
    where = behind(where)
  end
end

local function field_of(value, name)
  local where = type(value) == "table" and value or behind(value)
  for _ = 1, 10 do
    if not where then return nil end
    local field = rawget(where, name)
    if field ~= nil then return field end
    where = behind(where)
  end
end

local function collect(value, prefix, methods_only)
  local names, seen = {}, {}
  each_field(value, function(name, field)
    local fits = name:sub(1, #prefix) == prefix and not seen[name]
    -- Names with underscores are private, unless asked for.
    if prefix == "" and name:sub(1, 1) == "_" then fits = false end
    if fits and (not methods_only or type(field) == "function") then
      seen[name] = true
      names[#names + 1] = name
    end
  end)
  table.sort(names)
  return names
end

--- The names of a value's fields, in order.
-- @tparam any value anything
-- @treturn {string,...}
function complete.fields(value) return collect(value, "", false) end

local function common_prefix(names)
  local first, last = names[1], names[#names] -- in order, so these two differ most
  local n = 0
  while n < #first and first:byte(n + 1) == last:byte(n + 1) do
    n = n + 1
  end
  return first:sub(1, n)
end

--- What could stand at the end of the text.
-- @tparam table env the environment names are looked up in
-- @tparam string before the text before the cursor
-- @treturn {string,...} whole names, in order
-- @treturn string the part that is already there
function complete.candidates(env, before)
  local chain, separator, prefix = before:match("([%a_][%w_.:]*)([.:])([%w_]*)$")
  if chain then
    local value = env
    for name in chain:gmatch("[%w_]+") do
      value = field_of(value, name)
      if value == nil then return {}, prefix end
    end
    return collect(value, prefix, separator == ":"), prefix
  end
  prefix = before:match("[%a_][%w_]*$") or ""
  if before:sub(-#prefix - 1, -#prefix - 1):find("[.:%w]") and prefix ~= before then
    return {}, prefix
  end
  local names = collect(env, prefix, false)
  for _, word in ipairs(keywords) do
    if prefix ~= "" and word:sub(1, #prefix) == prefix then names[#names + 1] = word end
  end
  table.sort(names)
  for i = #names, 2, -1 do
    if names[i] == names[i - 1] then table.remove(names, i) end
  end
  return names, prefix
end

--- For the line editor: what TAB does.
-- @tparam table env
-- @tparam string before
-- @treturn string what to insert
-- @treturn {string,...} what to list, nil for nothing
function complete.line(env, before)
  if before:find("^%s*$") then return "  " end
  local names, prefix = complete.candidates(env, before)
  if #names == 0 then return "" end
  local insert = common_prefix(names):sub(#prefix + 1)
  if #names == 1 or insert ~= "" then return insert end
  if #names > max_listed then
    names = table.move(names, 1, max_listed, 1, { [max_listed + 1] = "..." })
  end
  return "", names
end

return complete
