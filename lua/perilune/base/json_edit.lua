--- Editing the text of a JSON object: what does not change keeps its bytes, so that order, spacing,
-- number text and keys that nobody here knows survive reading and writing.
--
--     edit.apply('{"a": 1e-05, "b": [1]}', { a = 1e-5, b = { 2 } }) --> '{"a": 1e-05, "b": [2]}'
--
-- The text must be one that json.decode takes. Members that are equal in value stay as they are;
-- objects inside are edited in the same way, lists are written anew. New members come last, in the
-- order of their names, in the layout of the last one.

local json = require("perilune.base.json")

local edit = {}

local list = getmetatable(json.array())

-- ---- where the members are ----------------------------------------------------------------------

local function skip_space(text, at) return text:match("^[ \t\r\n]*()", at) end

-- Behind the string that begins at `at`.
local function skip_string(text, at)
  at = at + 1
  while true do
    local stop = text:find('["\\]', at)
    if text:sub(stop, stop) == '"' then return stop + 1 end
    at = stop + 2
  end
end

-- Behind the value that begins at `at`.
local function skip_value(text, at)
  local first = text:sub(at, at)
  if first == '"' then return skip_string(text, at) end
  if first ~= "{" and first ~= "[" then return text:match("^[^%s,%]}]+()", at) end
  local depth = 0
  repeat
    at = text:find('["%[%]{}]', at)
    local sign = text:sub(at, at)
    if sign == '"' then
      at = skip_string(text, at)
    else
      depth = depth + ((sign == "{" or sign == "[") and 1 or -1)
      at = at + 1
    end
  until depth == 0
  return at
end

--- The members of the object that is all of `text`: key, the text before it and behind it up to
-- the value, the value as text; and where the last one ends.
local function members_of(text)
  local members, from = {}, skip_space(text, 1) + 1
  local at, stop = skip_space(text, from), from
  while text:sub(at, at) == '"' do
    local key_end = skip_string(text, at)
    local value_at = skip_space(text, skip_space(text, key_end) + 1)
    stop = skip_value(text, value_at)
    members[#members + 1] = {
      key = json.decode("[" .. text:sub(at, key_end - 1) .. "]")[1],
      lead = text:sub(from, at - 1),
      name = text:sub(at, value_at - 1),
      value = text:sub(value_at, stop - 1),
    }
    from = stop
    at = skip_space(text, stop)
    if text:sub(at, at) == "," then at = skip_space(text, at + 1) end
  end
  return members, stop
end

-- ---- comparing ----------------------------------------------------------------------------------

local function is_object(value) return type(value) == "table" and getmetatable(value) ~= list end

-- As both would be read: 1 and 1.0 are one number.
local function equal(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for key, value in pairs(a) do
    if not equal(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

-- ---- writing ------------------------------------------------------------------------------------

-- A value in the layout of the member it stands in: `indent` before the member's line, nil when the
-- text has no lines.
local function value_text(value, indent)
  if not indent then return json.encode(value) end
  return (json.encode(value, { pretty = true }):gsub("\n", "\n" .. indent))
end

-- What stands between two members.
local function separator(members)
  if members[2] then return members[#members].lead end
  return "," .. (members[1].lead:find("\n") and members[1].lead or " ")
end

-- The text of a member with this value; nil: it is taken out.
local function edited(member, value, indent)
  local now = json.decode(member.value)
  if equal(value, now) or value == nil and now == json.null then
    return member.value
  elseif is_object(value) and is_object(now) and next(now) ~= nil then
    return edit.apply(member.value, value)
  elseif value ~= nil then
    return value_text(value, indent)
  end
end

--- The text with these members. A member of the text that `values` lacks is taken out, unless it is
-- null.
-- @tparam string text of an object
-- @tparam table values what the object shall hold
-- @treturn string
function edit.apply(text, values)
  local members, stop = members_of(text)
  local first = members[1]
  if not first then
    if next(values) == nil then return text end
    return json.encode(values, { pretty = true }) .. text:match("%s*$")
  end
  local between, seen, pieces, added = separator(members), {}, {}, {}
  local indent = between:match("\n([ \t]*)$")
  local function put(lead, name, value)
    pieces[#pieces + 1] = (pieces[1] and lead or first.lead) .. name .. value
  end
  for _, member in ipairs(members) do
    local written = edited(member, values[member.key], indent)
    seen[member.key] = true
    if written then put(member.lead, member.name, written) end
  end
  for key in pairs(values) do
    if not seen[key] then added[#added + 1] = key end
  end
  table.sort(added)
  for _, key in ipairs(added) do
    put(between, json.encode(key) .. ": ", value_text(values[key], indent))
  end
  local head = text:sub(1, skip_space(text, 1))
  return head .. table.concat(pieces) .. text:sub(stop)
end

return edit
