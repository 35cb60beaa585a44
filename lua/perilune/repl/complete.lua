--- Completion: what can stand at the end of a text.
--
--   pl.schedule.li  policy:gen   fields and methods, along a chain of names
--   t["ab           keys of a table; t. gives those that are names
--   require("peri   modules; other strings: names of files
--   pl.randn(s, {   option keys of the function that is called, as its description names them
--   :ti  :run rec   commands of the prompt and their arguments; ?pl.lo: what can be asked
--
-- A chain is followed through tables and __index tables; no function is called and no __index
-- function is asked, so that TAB never has an effect. After `:` only functions are offered.

local lexer = require("perilune.repl.lexer")
local lfs = require("lfs")
local topics = require("perilune.reference.topics")
local type_names = require("perilune.reference.type_names")

local complete = {}

local keywords = {}
for word in
  ([[and break do else elseif end false for function goto if in local nil not or repeat require
  return then true until while]]):gmatch("%a+")
do
  keywords[#keywords + 1] = word
end

local MOST_LISTED <const>, DEEPEST_INDEX <const> = 200, 10

-- The table in which a field of the value would be looked up after its own: __index, or where that
-- is a function, __methods; or nil.
local function behind(value)
  local meta = debug.getmetatable(value)
  local index = type(meta) == "table" and (rawget(meta, "__methods") or rawget(meta, "__index"))
  return type(index) == "table" and index or nil
end

-- Calls visit(name, value) for each field of a value that is a text; first the nearest.
-- A table whose fields come at first use lists them as the keys of its metatable's __names.
local function each_field(value, visit)
  local meta = debug.getmetatable(value)
  local names = type(meta) == "table" and rawget(meta, "__names")
  for name in next, type(names) == "table" and names or {} do
    visit(name, nil)
  end
  local where = type(value) == "table" and value or behind(value)
  for _ = 1, DEEPEST_INDEX do
    if not where then return end
    for name, field in next, where do
      if type(name) == "string" then visit(name, field) end
    end
    where = behind(where)
  end
end

--- A field of a value without asking anybody.
-- @tparam any value
-- @tparam string name
-- @treturn any nil when there is none
function complete.field(value, name)
  local where = type(value) == "table" and value or behind(value)
  for _ = 1, DEEPEST_INDEX do
    if not where then return nil end
    local field = rawget(where, name)
    if field ~= nil then return field end
    where = behind(where)
  end
end

-- The value that a chain of names leads to; modules that are not loaded yet are not.
local function value_of(env, chain)
  local value = env
  for name in chain:gmatch("[%w_]+") do
    value = complete.field(value, name)
    if value == nil then return nil end
  end
  return value
end

-- Those of a set of names that begin with a prefix, in order.
local function fitting(names, prefix)
  local list = {}
  for name in pairs(names) do
    -- Names with underscores are private, unless asked for.
    local hidden = prefix == "" and name:sub(1, 1) == "_" or name:find("[%c\"'\\]")
    if name:sub(1, #prefix) == prefix and not hidden then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

local function collect(value, prefix, methods_only)
  local names = {}
  each_field(value, function(name, field)
    local fits = name:find("^[%a_][%w_]*$") and (not methods_only or type(field) == "function")
    if fits then names[name] = true end
  end)
  return fitting(names, prefix)
end

--- The names of a value's fields, in order.
-- @tparam any value anything
-- @treturn {string,...}
function complete.fields(value) return collect(value, "", false) end

-- Strings
-- ----------------------------------------------------------------------------------------

--- Names of files that a beginning of a path fits; folders end with a slash.
-- @tparam string path
-- @treturn {string,...} whole paths
function complete.files(path)
  local folder, part = path:match("^(.*/)([^/]*)$")
  folder, part = folder or "", part or path
  local where = folder:gsub("^~/", (os.getenv("HOME") or "~") .. "/")
  local ok, iterate, state = pcall(lfs.dir, where == "" and "." or where)
  local names = {}
  for name in ok and iterate or function() end, state do
    local hidden = part == "" and name:sub(1, 1) == "." or name:find("^%.%.?$") or name:find("%c")
    if not hidden and name:sub(1, #part) == part then
      local is_folder = lfs.attributes(where .. name, "mode") == "directory"
      names[#names + 1] = folder .. name .. (is_folder and "/" or "")
    end
  end
  table.sort(names)
  return names
end

-- Names of modules on package.path and of those that are loaded or can be preloaded; the dots of a
-- name are folders.
local function modules(prefix)
  local names = {}
  for name in pairs(package.loaded) do
    names[name] = true
  end
  for name in pairs(package.preload) do
    names[name] = true
  end
  local parent = prefix:match("^(.*%.)") or ""
  local folder = parent:gsub("%.", "/")
  for template in package.path:gmatch("[^;]+") do
    local root, ending = template:match("^(.-)%?(.*)$")
    if ending == ".lua" then
      for _, path in ipairs(complete.files(root .. folder)) do
        local name, is_folder = path:sub(#root + #folder + 1):match("^([%w_]+)(/?)")
        local rest = name and path:sub(#root + #folder + #name + 1)
        if name and name ~= "init" and (rest == "/" or rest == ".lua") then
          names[parent .. name .. (is_folder == "/" and "" or "")] = true
        end
      end
    end
  end
  return fitting(names, prefix)
end

-- Keys of a table that are texts, to stand in brackets.
local function keys(value, prefix)
  local names = {}
  if value ~= nil then each_field(value, function(name) names[name] = true end) end
  return fitting(names, prefix)
end

-- What can stand in the string that is open at the end.
local function in_string(env, before, tokens)
  local token = tokens[#tokens]
  local part = before:sub(token.first + 1)
  local mark, name = tokens[#tokens - 1], tokens[#tokens - 2]
  local word = mark and (mark.text == "(" and name or mark)
  if word and word.text == "require" then return modules(part), part end
  if mark and mark.text == "[" then
    local chain = before:sub(1, mark.first - 1):match("([%a_][%w_.]*)%s*$")
    return keys(chain and value_of(env, chain), part), part
  end
  return complete.files(part), part
end

-- Options
-- ----------------------------------------------------------------------------------------

-- Names that a description puts in `marks`, or as fields of a type or of a class of options.
local function options_in(param, item, into)
  for _, text in ipairs { param.text, item.text or "" } do
    for name in text:gmatch("`([%a_][%w_]*)`") do
      into[name] = true
    end
  end
  for _, field in ipairs(param.type) do
    if field.name then into[field.name] = true end
  end
  for _, name in ipairs(type_names.options(param.type)) do
    local class = topics.get(name)
    for _, field in ipairs(class and class.fields or {}) do
      into[field.name] = true
    end
  end
end

--- The option keys that a function's description names for its n-th argument.
-- @tparam ?function func nil when its module is not loaded yet
-- @tparam string chain as it is called
-- @tparam integer n
-- @treturn {[string]=boolean}
function complete.options(func, chain, n)
  local names = {}
  local known = func and topics.name_of(func) or chain
  local entry = topics.get(known) or topics.get("Tensor:" .. known:match("[%w_]+$"))
  if entry and entry.params then
    for _, name in ipairs(entry.params) do
      names[name] = true
    end
    return names
  end
  local item = entry and entry.item or func and topics.item_of(func)
  local param = item and (item.params[n] or item.params[#item.params])
  if param then options_in(param, item, names) end
  return names
end

-- The call in whose table the end of the text stands at the place of a key: the function's name,
-- the function, which argument the table is, and the keys that are there already.
local function call_around(env, before, tokens, last)
  if not (last and (last.text == "{" or last.text == ",")) then return nil end
  local depth, at, taken = 0, #tokens, {}
  while at > 0 do
    local text = tokens[at].kind == "sign" and tokens[at].text or ""
    if text:find("^[)}%]]$") then depth = depth + 1 end
    if text:find("^[({%[]$") then
      if depth == 0 then break end
      depth = depth - 1
    end
    if text == "=" and depth == 0 and tokens[at - 1] then taken[tokens[at - 1].text] = true end
    at = at - 1
  end
  if at == 0 or tokens[at].text ~= "{" then return nil end
  local n, open = 1, at - 1
  depth = 0
  if tokens[open] and tokens[open].kind == "sign" and tokens[open].text:find("^[(,]$") then
    while open > 0 do
      local text = tokens[open].kind == "sign" and tokens[open].text or ""
      if text:find("^[)}%]]$") then depth = depth + 1 end
      if text:find("^[({%[]$") then
        if depth == 0 then break end
        depth = depth - 1
      end
      if text == "," and depth == 0 then n = n + 1 end
      open = open - 1
    end
    if open == 0 or tokens[open].text ~= "(" then return nil end
    open = open - 1
  end
  if open < 1 or tokens[open].kind ~= "name" then return nil end
  local chain = before:sub(1, tokens[open].last):match("([%a_][%w_.:]*)$")
  local func = chain and value_of(env, chain)
  if type(func) == "table" then
    local meta = getmetatable(func)
    func = type(meta) == "table" and rawget(func, "new") or nil
  end
  if type(func) == "function" or chain and topics.get(chain) then return chain, func, n, taken end
end

-- Names
-- ----------------------------------------------------------------------------------------

-- Names of a module that is not loaded yet.
local function described(chain, prefix)
  local names = {}
  for _, name in ipairs(chain:find("^pl%.") and topics.names() or {}) do
    local rest = name:sub(1, #chain) == chain and name:sub(#chain + 1)
    if rest and rest:find("^[%w_]+$") then names[rest] = true end
  end
  return fitting(names, prefix)
end

local function names_at(env, before)
  local chain, mark, prefix = before:match("([%a_][%w_.:]*)([.:])([%w_]*)$")
  if chain and not before:find("%.%.%s*[%w_]*$") then
    local value = value_of(env, chain)
    if value == nil then return described(chain .. mark, prefix), prefix end
    return collect(value, prefix, mark == ":"), prefix
  end
  prefix = before:match("[%a_][%w_]*$") or ""
  local ahead = before:sub(1, #before - #prefix)
  if ahead:find("[.:%w]$") and not ahead:find("%.%.$") then return {}, prefix end
  local names = {}
  for _, name in ipairs(collect(env, prefix, false)) do
    names[name] = true
  end
  for _, word in ipairs(prefix ~= "" and keywords or {}) do
    if word:sub(1, #prefix) == prefix then names[word] = true end
  end
  return fitting(names, prefix), prefix
end

local function topics_at(env, before)
  local part = before:match("^%s*%?+%s*(.-)$")
  local names = {}
  for _, name in ipairs(topics.names()) do
    names[name] = true
  end
  local list = fitting(names, part)
  if #list > 0 and part:find("^pl$") == nil then return list, part end
  return names_at(env, part)
end

--- What could stand at the end of the text.
-- @tparam table env the environment names are looked up in
-- @tparam string before the text before the cursor
-- @tparam ?table commands of the prompt, see perilune.repl.commands
-- @treturn {string,...} whole names, in order
-- @treturn string the part that is already there
function complete.candidates(env, before, commands)
  if commands and before:find("^%s*:%a*$") then
    local part = before:match(":(%a*)$")
    local names = {}
    for _, command in ipairs(commands.list) do
      names[command.name] = true
    end
    return fitting(names, part), part
  end
  local name, rest = before:match("^%s*:(%a+)%s+(.*)$")
  if commands and name then
    local takes = commands.takes(name)
    local last = rest:match("%S*$")
    if takes == "file" then return complete.files(last), last end
    if takes == "module" then return modules(last), last end
    if takes == "command" then return complete.candidates(env, ":" .. last, commands) end
    if not takes then return {}, last end
    return complete.candidates(env, rest)
  end
  if before:find("^%s*%$") then
    local last = before:match("[^%s$]*$")
    return complete.files(last), last
  end
  if before:find("^%s*%?") then return topics_at(env, before) end
  local tokens = lexer.tokens(before)
  local last = tokens[#tokens]
  if last and last.open then return in_string(env, before, tokens) end
  local part = before:match("[%a_][%w_]*$") or ""
  if part ~= "" and last then
    tokens[#tokens] = nil
    last = tokens[#tokens]
  end
  local chain, func, n, taken = call_around(env, before, tokens, last)
  if chain then
    local options = complete.options(func, chain, n)
    for key in pairs(taken) do
      options[key] = nil
    end
    local list = fitting(options, part)
    if #list > 0 then return list, part end
  end
  return names_at(env, before)
end

local function common_prefix(names)
  local first, last = names[1], names[#names] -- in order, so these two differ most
  local n = 0
  while n < #first and first:byte(n + 1) == last:byte(n + 1) do
    n = n + 1
  end
  while n > 0 and (first:byte(n + 1) or 0) & 0xC0 == 0x80 do -- not in the middle of a character
    n = n - 1
  end
  return first:sub(1, n)
end

--- For the line editor: what TAB does.
-- @tparam table env
-- @tparam string before
-- @tparam ?table commands
-- @treturn string what to insert
-- @treturn {string,...} what to list, nil for nothing
function complete.line(env, before, commands)
  if before:find("^%s*$") or before:find("\n%s*$") then return "  " end
  local names, prefix = complete.candidates(env, before, commands)
  if #names == 0 then return "" end
  local insert = common_prefix(names):sub(#prefix + 1)
  if #names == 1 or insert ~= "" then return insert end
  if #names > MOST_LISTED then
    names = table.move(names, 1, MOST_LISTED, 1, { [MOST_LISTED + 1] = "..." })
  end
  return "", names
end

return complete
