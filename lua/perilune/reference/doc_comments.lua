--- Doc comments of a Lua source, in the one dialect that the library has.
--
-- A block begins with three dashes and goes on with two, right above what it describes:
--
--     --- Flat places of the last token of each sequence. Then what it does, shapes, units, errors.
--     -- @tparam table packed_batch of `pack`
--     -- @tparam ?integer most how many at most (default: all)
--     -- @treturn Tensor int32 [B]
--     function batch.last_rows(packed_batch, most)
--
-- `@tparam type name text` for each parameter but self, in order; `@treturn type text` for each
-- result, in order; a `?` before a type means that nil may stand there. `@type type` says that a
-- value is described. `@class Name` above a table makes its functions the methods of a class, and
-- `@field type name text` names what its objects hold. `@name owner.name`, or `@class Name` above
-- nothing, stands for what is declared elsewhere (in C). There are no other tags; types are those
-- of perilune.reference.type_names. The block on a file's first line is its head.
--
-- Only the text is read: nothing runs.

local type_names = require("perilune.reference.type_names")

local doc_comments = {}

-- The block that begins at line `i`: its lines without dashes, and the line after it.
local function block_at(lines, i)
  local block = {}
  local first = lines[i]:match("^%s*%-%-%- (.*)$")
  if not first then return nil, i + 1 end
  block[1] = first
  i = i + 1
  while lines[i] and lines[i]:find("^%s*%-%-") and not lines[i]:find("^%s*%-%-%-") do
    block[#block + 1] = lines[i]:match("^%s*%-%- ?(.*)$")
    i = i + 1
  end
  return block, i
end

local function words_of(args)
  local list = {}
  for word in args:gmatch("[%w_.]+") do
    list[#list + 1] = word
  end
  return list
end

-- Where the parameters of a function stand, over as many lines as they take.
local function args_at(lines, i, from)
  local text = lines[i]:sub(from)
  while not text:find(")", 1, true) and lines[i + 1] do
    i = i + 1
    text = text .. " " .. lines[i]
  end
  return words_of(text:match("^%(([^)]*)%)") or "")
end

-- What line `i` declares: {owner, name, args, is_local, colon}, or nil.
local function declaration_at(lines, i)
  local line = lines[i] or ""
  local owner, mark, name, from = line:match("^function ([%w_]+)([.:])([%w_]+)()")
  if owner then
    return { owner = owner, name = name, colon = mark == ":", args = args_at(lines, i, from) }
  end
  name, from = line:match("^%s*local function ([%w_]+)()")
  if name then return { name = name, is_local = true, args = args_at(lines, i, from) } end
  from = line:match("^return function()")
  if from then return { name = "", args = args_at(lines, i, from) } end
  owner, name, from = line:match("^([%w_]+)%.([%w_]+) = function()")
  if owner then return { owner = owner, name = name, args = args_at(lines, i, from) } end
  owner, name = line:match("^([%w_]+)%.([%w_]+) =")
  if owner then return { owner = owner, name = name } end
  name = line:match("^local ([%w_]+)")
  if name then return { name = name, is_local = true } end
  name = line:match("^%s+([%w_]+) = ")
  return name and { name = name, inner = true } or nil
end

-- Reads `type rest`, and the type.
local function typed(item, text, fault)
  local written, rest = text:match("^(%S+)%s*(.*)$")
  if not written then
    fault("a type is missing")
    return { kind = "name", name = "any" }, text
  end
  local node, message = type_names.parse(written)
  if not node then
    fault(message)
    node = { kind = "name", name = "any" }
  end
  node.text = written
  item.types[#item.types + 1] = node
  return node, rest
end

local function named(item, text, fault)
  local node, rest = typed(item, text, fault)
  local name, about = rest:match("^([%a_][%w_]*)%s*(.*)$")
  if not name then
    name, about = rest:match("^(%.%.%.)%s*(.*)$")
  end
  if not name then fault("a name is missing") end
  return { type = node, name = name or "?", text = about or "" }
end

local tags = {
  tparam = function(item, text, fault) item.params[#item.params + 1] = named(item, text, fault) end,
  treturn = function(item, text, fault)
    local node, rest = typed(item, text, fault)
    item.returns[#item.returns + 1] = { type = node, text = rest }
  end,
  field = function(item, text, fault) item.fields[#item.fields + 1] = named(item, text, fault) end,
  type = function(item, text, fault) item.value = typed(item, text, fault) end,
  class = function(item, text, fault)
    item.class = text:match("^(%u%w*)$")
    if not item.class then fault("a class has one name in CamelCase") end
  end,
  name = function(item, text, fault)
    item.elsewhere = text:match("^[%w_]+[.:][%w_]+$")
    if not item.elsewhere then fault("a name is written owner.name or Class:name") end
  end,
}

-- Cuts a block into its text and its tags.
local function read_block(item, block, fault)
  local text, found = {}, {}
  for i, line in ipairs(block) do
    local tag, rest = line:match("^@(%S*)%s*(.*)$")
    if tag then
      found[#found + 1] = { tag = tag, text = rest, line = item.line + i - 1 }
    elseif #found > 0 then
      found[#found].text = found[#found].text .. " " .. line:match("^%s*(.*)$")
    else
      text[#text + 1] = line
    end
  end
  while text[#text] == "" do
    text[#text] = nil
  end
  item.text = table.concat(text, "\n")
  for _, one in ipairs(found) do
    local read = tags[one.tag]
    if read then
      read(
        item,
        one.text:match("^(.-)%s*$"),
        function(message) fault(one.line, ("@%s: %s"):format(one.tag, message)) end
      )
    else
      fault(one.line, ("@%s is no tag of ours"):format(one.tag))
    end
  end
end

--- What is wrong with the parameters of a block, held against the function below it.
-- @tparam table item of `read`
-- @treturn ?string nil: nothing, or there is no such function in the source
function doc_comments.params_fault(item)
  if not item.args then return nil end
  local wanted, given = {}, {}
  for i, param in ipairs(item.params) do
    given[i] = param.name
  end
  for i, name in ipairs(item.args) do
    local is_self = i == 1
      and not item.colon
      and (name == "self" or item.class_name and given[1] ~= name)
    wanted[#wanted + 1] = not is_self and name or nil
  end
  local said, declared = table.concat(given, ", "), table.concat(wanted, ", ")
  if said ~= declared then
    return ("%s has the parameters (%s), its comment says (%s)"):format(item.name, declared, said)
  end
end

-- What is described: one word for it.
local function kind_of(item)
  if item.class then
    return "class"
  elseif item.value then
    return "value"
  elseif item.args or item.elsewhere or #item.params + #item.returns > 0 then
    return "function"
  end
end

-- The table whose elements stand on the lines after `line`, as the table before it was.
local function table_open(line, before)
  local name = line:match("^local ([%w_]+) = .*[{(]$") or line:match("^([%w_.]+) = .*[{(]$")
  if name then
    return name
  elseif line:find("^return .*[{(]$") then
    return "return"
  end
  return not line:find("^[^%s]") and before or nil
end

-- Elements and fields that are another module's: `name = X.field` or `name = X`, where X is
-- required above; `owner.name = require("...").field`, or a call of a local function with that.
local function read_aliases(file, line, owner)
  local function add(...) file.aliases[#file.aliases + 1] = { ... } end
  local into, name, value = line:match("^([%w_]+)%.([%w_]+) = (.+)$")
  local module, field = (value or ""):match('^[%w_]*%(?require%("([%w_.]+)"%)%.?([%w_]*)%)?$')
  local left, right = line:match("^(%w[%w_., ]*) = ([%w_., ]+)$")
  if module then
    add(into, name, module, field)
  elseif left then
    local values = right:gmatch("[%w_.]+")
    for table_name, key in left:gmatch("([%w_]+)%.([%w_]+)") do
      local from, part = (values() or ""):match("^([%w_]+)%.?([%w_]*)$")
      add(table_name, key, file.requires[from], part)
    end
  elseif owner then
    for inner, from, part in line:gmatch("([%w_]+) = ([%a_][%w_]*)%.?([%w_]*)%f[^%w_.(]") do
      add(owner, inner, file.requires[from], part)
    end
  end
end

-- Completes an item from its block and from what is declared below it.
local function complete(file, item, declared, owner)
  for key, value in pairs(declared or {}) do
    item[key] = value
  end
  if item.elsewhere then
    local table_name, mark, name = item.elsewhere:match("^([%w_]+)([.:])([%w_]+)$")
    item.owner, item.name, item.colon = table_name, name, mark == ":"
    item.is_local, item.args = nil, nil
  elseif item.class then
    item.name = item.name or item.class
    file.classes[item.name] = item.class
  elseif item.inner then
    item.owner = owner
  end
  item.kind = kind_of(item)
  item.class_name = item.owner and file.classes[item.owner]
end

--- Reads a source.
-- @tparam string text
-- @treturn table `head` (text of the first block, or nil); `items`, in order, each with `line`,
--   `declared` (the line of the function), `kind` ("function", "value", "class" or nil), `name`,
--   `owner` (the table it stands in), `class_name` (when that is a class: then it is a method),
--   `is_local`, `args` (names, as declared), `text` (nil when nothing is said), `params` and
--   `fields` (lists of {name, type, text}), `returns` ({type, text}), `value` (a type), `class`,
--   `types`; `classes` {table = class}; `requires` {name = module}; `aliases`, a list of {owner,
--   name, module, field}; `returned` (the name of the table that is the module); `faults`, a list
--   of {line, message}
function doc_comments.read(text)
  local lines = {}
  for line in (text .. "\n"):gmatch("(.-)\r?\n") do
    lines[#lines + 1] = line
  end
  local file = { items = {}, classes = {}, requires = {}, aliases = {}, faults = {} }
  local function fault(line, message) file.faults[#file.faults + 1] = { line, message } end
  local i, owner = 1, nil
  while i <= #lines do
    local from = i
    local block, after = block_at(lines, i)
    i = after
    local item = { line = from, params = {}, returns = {}, fields = {}, types = {} }
    local declared = declaration_at(lines, block and i or from)
    if block then
      read_block(item, block, fault)
    else
      local name, module = lines[from]:match('^local ([%w_]+) = require%(?%s*"([%w_.]+)"%)?$')
      if name then file.requires[name] = module end
      owner = table_open(lines[from], owner)
      file.returned = lines[from]:match("^return ([%w_]+)$")
        or lines[from]:match("^return lazy%(([%w_]+), ")
        or lines[from]:match("^(return) .*[{(]$")
        or file.returned
      read_aliases(file, lines[from], lines[from]:match("^local ([%w_]+) = {.*}$") or owner)
    end
    if from == 1 and block and not (declared and declared.args) then
      file.head = item.text
      if #item.types > 0 or item.class or item.elsewhere then fault(1, "a head has no tags") end
    elseif block or declared and declared.args then
      item.declared = block and i or from
      complete(file, item, declared, owner)
      if item.name then
        file.items[#file.items + 1] = item
        local message = #item.params > 0 and doc_comments.params_fault(item)
        if message then fault(from, message) end
      elseif #item.types > 0 then
        fault(from, "it stands above nothing that it could describe")
      end
      if block and declared and declared.args then i = i + 1 end
    end
  end
  return file
end

return doc_comments
