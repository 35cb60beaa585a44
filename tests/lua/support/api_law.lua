--- The law of the reference: what a reader must find in the text of every public function.
--
-- Rules are those that a program can check from the comment and the source below it:
--
--     summary   it begins with a capital or `code` and is a sentence
--     said      each parameter has a text, but objects of a class, which has its own; so has each
--               result that is a number, a table, a tensor, or may be nil
--     shape     a tensor has its shape in brackets, or says whose shape it has
--     unit      a number whose name does not say its unit (`length`, `kl`, `rate`) tells it
--     keys      a table names its keys, or what it is a list of; options have a class whose fields
--               say their defaults, or are written `key` (default) text
--     taken     the options that the source takes are those that the text names, with the
--               defaults that they have there
--     raises    who calls `error`, or a function of its file that does, says that it raises
--     refer     "see there" is no reference; what stands in marks as `pl.name`, `module.name` or
--               `Class:name` is there; no module is named that a reader cannot ask for

local type_names = require("perilune.reference.type_names")

local api_law = {}

-- Reading
-- ----------------------------------------------------------------------------------------

-- The source of a function: from the line that declares it to its `end`.
local function body_of(source, item)
  local lines, number = {}, 0
  for line in (source .. "\n"):gmatch("(.-)\n") do
    number = number + 1
    if number >= (item.declared or math.huge) then
      lines[#lines + 1] = line
      if line:find("^end") or #lines == 1 and line:find("%f[%w]end$") then break end
    end
  end
  return lines[1] and lines[1]:find("function", 1, true) and table.concat(lines, "\n") or ""
end

local function has_type(node, ...)
  local found = false
  local wanted = { ... }
  type_names.each(node, function(name)
    for _, one in ipairs(wanted) do
      found = found or name == one
    end
  end)
  return found
end

local lua_types = {}
for name in ("any boolean function integer number string table userdata Tensor"):gmatch("%a+") do
  lua_types[name] = true
end

-- Whether a type is an object of a class, which has a text of its own.
local function is_object(node) return node.kind == "name" and not lua_types[node.name] end

local function is_number(node)
  return node.kind == "name" and (node.name == "number" or node.name == "integer")
end

-- All that an item says, with where each piece stands: {what, name, type, text, is_result}.
local function pieces(item)
  local list = {}
  for _, param in ipairs(item.params) do
    list[#list + 1] = { what = param.name, name = param.name, type = param.type, text = param.text }
  end
  for _, field in ipairs(item.fields) do
    list[#list + 1] =
      { what = "." .. field.name, name = field.name, type = field.type, text = field.text }
  end
  for i, result in ipairs(item.returns) do
    local what = #item.returns > 1 and "result " .. i or "result"
    list[#list + 1] = { what = what, type = result.type, text = result.text, is_result = true }
  end
  return list
end

-- Rules
-- ----------------------------------------------------------------------------------------

local rules = {}

function rules.summary(item, fault)
  local text = item.text or ""
  local first = text:match("^(.-)\n\n") or text
  if not (text:find("^[%u`]") and first:find("[.:]")) then
    fault("its summary is no sentence: %s", first)
  end
end

-- Whether a function gives nil and a message for what can go wrong outside.
local function gives_message(item)
  local second = item.returns[2]
  return second and second.type.optional and has_type(second.type, "string")
end

function rules.said(item, fault)
  for _, one in ipairs(pieces(item)) do
    local needs = not one.is_result
      or is_number(one.type)
      or has_type(one.type, "table", "Tensor", "userdata", "function")
      or one.type.optional
        and not (item.text or ""):find("%f[%w]nil%f[%W]")
        and not gives_message(item)
    if is_object(one.type) and not (one.is_result and one.type.optional) then needs = false end
    if needs and not one.text:find("%w") then fault("%s has no text", one.what) end
  end
end

function rules.shape(item, fault)
  for _, one in ipairs(pieces(item)) do
    local told = one.text:find("%[[^%]]*%]")
      or one.text:find("%f[%w]shape%f[%W]")
      or one.text:find("%f[%w]itself%f[%W]")
    if has_type(one.type, "Tensor") and not told then fault("%s has no shape", one.what) end
  end
end

-- Names whose number has a unit that they do not say (`seconds`, `bytes` and `max_tokens` do), and
-- the words that tell it.
local units = {
  { { "^time$", "^every$", "^duration$", "^timeout$" }, { "second", "step", "Unix" } },
  { { "^limit$" }, { "byte", "nats", "row", "%d" } },
  { { "^max_length$", "^lengths?$", "^len$", "^wanted$", "^room$" }, { "token", "character" } },
  { { "^kl$", "_kl$", "^entropy", "^entropies$", "logprob" }, { "nats" } },
  {
    { "^width$", "^height$", "^gap$", "^indent$" },
    { "column", "pixel", "blank", "character", "channel" },
  },
  {
    { "share$", "^part$", "ratio$", "^rate$", "fraction$", "^p$", "^q$", "^decay$", "_p$" },
    {
      "%f[%w]0%.%d",
      "0 to 1",
      "0 and 1",
      "%[0, 1",
      "%%",
      "fraction",
      "probability",
      "part of",
      "times",
    },
  },
  { { "^step$" }, { "from 1", "done" } },
}

local function unit_of(name)
  for _, row in ipairs(units) do
    for _, pattern in ipairs(row[1]) do
      if name:find(pattern) then return row[2] end
    end
  end
end

local function tells(text, words)
  for _, word in ipairs(words) do
    if text:find(word) then return true end
  end
  return false
end

-- The keys that a text names in marks: {name, default or nil, text up to the next key}. Of `a`, `b`
-- and `c` (none) all have that default.
local function keys_in(text)
  local list, seen = {}, {}
  for name, after in text:gmatch("`([%a_][%w_]*)`()") do
    local default = text:match("^ (%b())", after)
    if not seen[name] then
      seen[name] = true
      list[#list + 1] = { name = name, text = text:match("^[^`]*", after) }
    end
    for i = #list, default and 1 or #list + 1, -1 do
      local joint = i == #list - 1 and " and " or ", "
      if list[i].default or i < #list and list[i].text ~= joint then break end
      list[i].default = default
    end
  end
  return list
end

local function is_option_table(one)
  return not one.is_result
    and one.type.kind == "name"
    and one.type.name == "table"
    and (one.name:find("^opt") or one.name == "given" or one.name == "settings")
end

function rules.unit(item, fault)
  for _, one in ipairs(pieces(item)) do
    local words = one.name and has_type(one.type, "number", "integer") and unit_of(one.name)
    if words and not tells(one.text, words) then fault("%s has no unit", one.what) end
    for _, key in ipairs(has_type(one.type, "table") and keys_in(one.text) or {}) do
      local wanted = unit_of(key.name)
      if wanted and not tells(key.text, wanted) then
        fault("%s: `%s` has no unit", one.what, key.name)
      end
    end
  end
end

function rules.keys(item, fault)
  for _, one in ipairs(pieces(item)) do
    local keys = keys_in(one.text)
    if is_option_table(one) then
      for _, key in ipairs(keys) do
        if not key.default then fault("%s: `%s` has no default", one.what, key.name) end
      end
    end
    if item.class and item.class:find("Options$") and one.type.optional then
      if not one.text:find("^%(") then fault("%s has no default", one.what) end
    end
    local told = #keys > 0 or one.text:find("[{`]") or one.text == "itself"
    if has_type(one.type, "table") and not told then
      fault("%s: a table of what? (%s)", one.what, one.text)
    end
  end
end

-- The parts of what stands between brackets, cut at the commas that stand in no others.
local function parts_of(brackets)
  local parts, depth, from = {}, 0, 2
  for at = 2, #brackets do
    local c = brackets:sub(at, at)
    if c == "," and depth == 0 or at == #brackets then
      parts[#parts + 1] = brackets:sub(from, at - 1)
      from = at + 1
    end
    depth = depth + (c:find("[({]") and 1 or c:find("[)}]") and -1 or 0)
  end
  return parts
end

-- The options of a table of rules, `{ name = default, ... }`: {name = default as written}.
local function options_in(list)
  local found = {}
  for _, part in ipairs(list and parts_of(list) or {}) do
    local name, value = part:match("^%s*([%a_][%w_]*) = (.*)$")
    if name then found[name] = value:match("^(.-)%s*$") end
  end
  return found
end

-- The options that a body takes of a parameter: {name = default as written, or ""}.
local function options_taken(body, source, param)
  local call = '%.take%(%s*"[^"]*",%s*' .. param .. ",%s*"
  local named = body:match(call .. "([%a_]+)%s*[,)]")
  if named then source = source:match("\nlocal " .. named .. " = (.*)") or "" end
  local list = named and source:match("^%b{}") or body:match(call .. "(%b{})")
  local taken = options_in(list)
  list = named and source:match("^[%w_.]+any_of (%b{})")
    or body:match(call .. "[%w_.]+any_of (%b{})")
  for name in (list or ""):gmatch('"([%a_][%w_]*)"') do
    taken[name] = ""
  end
  for name in body:gmatch("%f[%w_.]" .. param .. "%.([%a_][%w_]*)%f[^%w_(]") do
    taken[name] = taken[name] or ""
  end
  for name, default in body:gmatch("%f[%w_.]" .. param .. "%.([%a_][%w_]*) or ([^%s,)]+)") do
    taken[name] = taken[name] ~= "" and taken[name] or default
  end
  return taken
end

-- Whether the default that is told is the one that is written: a number, a text, true or false, or
-- the first argument of a rule of perilune.base.options. Other defaults are not looked at.
local function is_default(told, written)
  written = written:gsub('of_type%("%a*",? ?', "of_type(")
  written = written:match("^[%w_.]+%((.*)%)$") or written
  local wanted = written:match("^%-?[%d.e-]+%f[,\0]")
  if wanted then
    for number in told:gmatch("%-?%d[%d.e-]*") do
      if tonumber(number) == tonumber(wanted) then return true end
    end
    return false, wanted
  end
  wanted = written:match('^("[^"]*")') or written:match("^true$") or written:match("^false$")
  return not wanted or told:find(wanted, 1, true) ~= nil, wanted
end

-- What is said of options, {name = {default =}}, held against what is taken, {name = as written}.
local function hold(said, taken, fault, what)
  for name, written in pairs(taken) do
    if not said[name] then
      fault("%s: the option %s is not told", what, name)
    elseif said[name].default then
      local same, wanted = is_default(said[name].default, written)
      if not same then fault("%s: `%s` is %s by default", what, name, wanted) end
    end
  end
end

function rules.taken(item, fault, source)
  local body = body_of(source, item):gsub("%-%-[^\n]*", "")
  for _, one in ipairs(pieces(item)) do
    if is_option_table(one) then
      local said = {}
      for _, key in ipairs(keys_in(one.text .. " " .. item.text)) do
        said[key.name] = key
      end
      hold(said, options_taken(body, source, one.name), fault, one.what)
    end
  end
  local below = item.class
    and item.is_local
    and source:match("\nlocal " .. item.name .. " = (%b{})")
  if below and item.class:find("Options$") then
    local said = {}
    for _, field in ipairs(item.fields) do
      said[field.name] = { default = field.text:match("^(%b())") }
    end
    hold(said, options_in(below), fault, item.class)
  end
end

-- Whether a body calls one of these functions.
local function calls(body, names)
  for name in pairs(names) do
    if body:find("%f[%w_.:]" .. name .. "%(") then return true end
  end
  return body:find("%f[%w_]error%(") ~= nil
end

-- The local functions of a source that call `error`, themselves or through one another.
local raisers_of = setmetatable({}, {
  __index = function(known, source)
    local bodies, raisers, line = {}, {}, 0
    for text in (source .. "\n"):gmatch("(.-)\n") do
      line = line + 1
      local name = text:match("^local function ([%w_]+)")
      if name then bodies[name] = body_of(source, { declared = line }):gsub("%-%-[^\n]*", "") end
    end
    local grew = true
    while grew do
      grew = false
      for name, body in pairs(bodies) do
        if not raisers[name] and calls(body, raisers) then
          raisers[name], grew = true, true
        end
      end
    end
    known[source] = raisers
    return raisers
  end,
})

function rules.raises(item, fault, source)
  if item.kind ~= "function" then return end
  local body = body_of(source, item):gsub("%-%-[^\n]*", "")
  local text = item.text or ""
  for _, one in ipairs(pieces(item)) do
    text = text .. " " .. one.text
  end
  local told = text:lower():find("rais") or text:find("error")
  if not told and calls(body, raisers_of[source]) then fault("it raises and does not say so") end
end

-- What can be asked for: names of modules, functions, values, classes, methods and ops.
local function names_of(face)
  local names = {}
  for _, one in ipairs(face.modules) do
    local last = one.name:match("[%w_]+$")
    names["pl." .. one.name], names[last] = true, last ~= "pl" or nil
    for _, member in ipairs(one.members) do
      names["pl." .. one.name:gsub("^pl$", "") .. "." .. member.name] = true
      names[last .. "." .. member.name] = true
    end
  end
  for _, class in ipairs(face.classes) do
    names[class.name] = true
    for _, member in ipairs(class.methods) do
      names[class.name .. ":" .. member.name] = true
    end
  end
  for _, row in ipairs(require("perilune.core").ops()) do
    names["pl." .. row.name] = true
  end
  return names
end

function rules.refer(item, fault, _, names)
  local text = item.text or ""
  for _, one in ipairs(pieces(item)) do
    text = text .. "\n" .. one.text
  end
  for _, phrase in ipairs { "see there", "see above", "as above", "as for the rule" } do
    if text:find(phrase, 1, true) then fault("'%s' is no reference", phrase) end
  end
  for name in text:gmatch("perilune%.[%w_.]*%w") do
    fault("'%s' is no name of the page", name)
  end
  for of, name in (" " .. text):gmatch("(%S*)%s`([%w_]+[.:][%w_.:]*[%w_])") do
    local first = name:match("^[%w_]+")
    local is_name = first == "pl" or names[first] and (of == "of" or first:find("^%u"))
    if is_name and not names[name] then fault("'%s' is no name of the page", name) end
  end
end

api_law.rules = rules

--- What the comments of an item leave unsaid.
-- @tparam table item of doc_comments
-- @tparam string source that it stands in
-- @tparam {[string]=boolean} names that can be asked for
-- @tparam function fault (rule, message)
function api_law.look(item, source, names, fault)
  for name, rule in pairs(rules) do
    rule(item, function(message, ...) fault(name, message:format(...)) end, source, names)
  end
end

--- What the public face leaves unsaid.
-- @tparam table face of perilune.reference.public
-- @tparam {[string]=string} texts the sources by module
-- @treturn {string,...} sorted
-- @treturn integer how many functions, values and classes were looked at
function api_law.faults(face, texts)
  local list, count, names = {}, 0, names_of(face)
  local function look(what, module, item)
    count = count + 1
    api_law.look(
      item,
      texts[module],
      names,
      function(rule, message)
        list[#list + 1] = ("%s:%d %s: %s: %s"):format(module, item.line, what, rule, message)
      end
    )
  end
  for _, one in ipairs(face.modules) do
    local head = one.head:gsub("%(perilune[%w_.]+%)", "") -- where in the sources more stands
    look(one.name, one.module, { line = 1, text = head, params = {}, returns = {}, fields = {} })
    for _, member in ipairs(one.members) do
      look(one.name .. "." .. member.name, member.module, member.item)
    end
  end
  for _, class in ipairs(face.classes) do
    look(class.name, class.module, class.item)
    for _, member in ipairs(class.methods) do
      look(class.name .. ":" .. member.name, member.module, member.item)
    end
  end
  table.sort(list)
  return list, count
end

-- Shapes between commas that stand in no brackets.
local function shapes_in(text)
  local count, depth = 1, 0
  for c in text:gmatch(".") do
    depth = depth + (c == "[" and 1 or c == "]" and -1 or 0)
    count = count + (c == "," and depth == 0 and 1 or 0)
  end
  return count
end

local told_by_kind = { axis = true, start = true, stop = true }

--- What the row of an op leaves unsaid: its formula, a shape for each input and output, and what
-- each parameter is, by the formula or by a meaning that it has in all ops.
-- @tparam table row of core.ops()
-- @tparam {[string]=string} meanings of parameters that formulas do not name
-- @treturn {string,...}
function api_law.op_faults(row, meanings)
  local list = {}
  local function fault(text, ...) list[#list + 1] = row.name .. ": " .. text:format(...) end
  if not row.doc:find("%w") then fault("it has no formula") end
  local given, made = row.shapes:match("^(.-) %-> (.*)$")
  if not given or not given:find("...", 1, true) and shapes_in(given) ~= #row.inputs then
    fault("%d inputs, shapes %s", #row.inputs, row.shapes)
  elseif shapes_in(made) ~= #row.outputs then
    fault("%d outputs, shapes %s", #row.outputs, row.shapes)
  end
  for _, param in ipairs(row.params) do
    local named = row.doc:find("%f[%w_]" .. param.name .. "%f[^%w_]")
    if not (named or told_by_kind[param.kind] or meanings[param.name]) then
      fault("%s is not told", param.name)
    end
  end
  return list
end

return api_law
