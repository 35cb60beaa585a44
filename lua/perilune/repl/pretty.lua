--- Values as text for people: what the REPL prints.
--
-- Strings are quoted, tables are shown as Lua would write them, with their keys sorted, cut where
-- they are too long or too deep; a value that knows how to show itself (__tostring: tensors,
-- models) does, whole where it stands alone, with its first line inside a table. Not for files: see
-- json.lua and format.exact.

local pretty = {}

local max_depth = 4
local max_items = 100
local max_string = 2000

local keywords = {}
for word in
  ([[and break do else elseif end false for function goto if in local nil not or repeat return
  then true until while]]):gmatch("%a+")
do
  keywords[word] = true
end

local escapes = { ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r", ['"'] = '\\"', ["\\"] = "\\\\" }

--- A string in quotes. UTF-8 stays readable; control characters are escaped.
-- @tparam string text
-- @treturn string
function pretty.quote(text)
  local cut = #text > max_string
  if cut then
    text = text:sub(1, utf8.len(text) and utf8.offset(text, 0, max_string) - 1 or max_string)
  end
  text = text:gsub('[%c"\\]', function(c) return escapes[c] or ("\\%d"):format(c:byte()) end)
  if not utf8.len(text) then
    text = text:gsub("[\128-\255]", function(c) return ("\\x%02x"):format(c:byte()) end)
  end
  return '"' .. text .. '"' .. (cut and "..." or "")
end

local function key_text(key)
  if type(key) == "string" then
    if key:find("^[%a_][%w_]*$") and not keywords[key] then return key end
    return "[" .. pretty.quote(key) .. "]"
  end
  return "[" .. tostring(key) .. "]"
end

--- The keys after the list part: numbers in order, then names in order, then the rest.
local rank = { number = 1, string = 2 }
local function sorted_keys(t, list_length)
  local keys = {}
  for key in next, t do
    if math.type(key) ~= "integer" or key < 1 or key > list_length then keys[#keys + 1] = key end
  end
  table.sort(keys, function(a, b)
    local ta, tb = type(a), type(b)
    if ta ~= tb then
      return (rank[ta] or 3) < (rank[tb] or 3)
    elseif ta == "number" or ta == "string" then
      return a < b
    end
    return tostring(a) < tostring(b)
  end)
  return keys
end

local show

local function table_text(t, width, indent, seen, depth)
  if seen[t] then
    return "<cycle>"
  elseif next(t) == nil then
    return "{}"
  elseif depth >= max_depth then
    return "{...}"
  end
  seen[t] = true
  local inner = indent .. "  "
  local parts, total = {}, 0
  local function add(text)
    parts[#parts + 1] = text
    total = total + utf8.len(text, 1, -1, true) + 2
  end
  local list_length = rawlen(t)
  for i = 1, math.min(list_length, max_items) do
    add(show(rawget(t, i), width, inner, seen, depth + 1))
  end
  if list_length > max_items then add(("... %d more"):format(list_length - max_items)) end
  local keys = sorted_keys(t, list_length)
  for i = 1, math.min(#keys, max_items) do
    add(key_text(keys[i]) .. " = " .. show(rawget(t, keys[i]), width, inner, seen, depth + 1))
  end
  if #keys > max_items then add(("... %d more"):format(#keys - max_items)) end
  seen[t] = nil
  local one_line = "{ " .. table.concat(parts, ", ") .. " }"
  if #indent + total + 2 <= width and not one_line:find("\n", 1, true) then return one_line end
  return "{\n" .. inner .. table.concat(parts, ",\n" .. inner) .. ",\n" .. indent .. "}"
end

function show(value, width, indent, seen, depth)
  if type(value) == "string" then
    return pretty.quote(value)
  elseif type(value) == "table" then
    local meta = debug.getmetatable(value)
    if not (type(meta) == "table" and rawget(meta, "__tostring")) then
      return table_text(value, width, indent, seen, depth)
    end
  end
  local ok, text = pcall(tostring, value)
  if not ok then return ("<%s: tostring failed: %s>"):format(type(value), tostring(text)) end
  return depth > 0 and text:match("^[^\n]*") or text
end

--- A value as text.
-- @tparam any value anything
-- @tparam ?integer width where a table is broken into lines (default: 100)
-- @treturn string
function pretty.show(value, width) return show(value, width or 100, "", {}, 0) end

--- A value as it stands inside a table: a tensor or a model with its first line alone.
-- @tparam any value anything
-- @tparam ?integer width where a table is broken into lines (default: 100)
-- @treturn string
function pretty.part(value, width) return show(value, width or 100, "", {}, 1) end

return pretty
