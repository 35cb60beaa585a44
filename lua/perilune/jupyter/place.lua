--- Places in a cell: notebooks count characters, Lua bytes.

local place = {}

--- The text before a place.
-- @tparam string code UTF-8
-- @tparam ?integer characters that stand before it (default: all)
-- @treturn string
function place.before(code, characters)
  local length = utf8.len(code)
  if math.type(characters) ~= "integer" or not length or characters >= length then return code end
  return code:sub(1, utf8.offset(code, math.max(0, characters) + 1) - 1)
end

--- Characters of a text.
-- @tparam string text
-- @treturn integer
function place.characters(text) return utf8.len(text, 1, -1, true) or #text end

-- The function whose parentheses are open at the end.
local function called(before)
  local depth = 0
  for at = #before, 1, -1 do
    local mark = before:sub(at, at)
    if mark == ")" or mark == "}" then depth = depth + 1 end
    if mark == "(" or mark == "{" then
      local name = before:sub(1, at - 1):match("([%a_][%w_.:]*)%s*$")
      if depth == 0 and name then return name end
      depth = math.max(0, depth - 1)
    end
  end
end

--- What the cursor is at: the name under it, else the function that is called around it.
-- @tparam string code
-- @tparam ?integer characters before the cursor
-- @treturn ?string
function place.topic(code, characters)
  local before = place.before(code, characters)
  local after = code:sub(#before + 1)
  local head = before:match("[%a_][%w_.:]*$") or ""
  local name = head .. (after:match("^[%w_]+") or "")
  name = name:gsub("[.:]+$", "")
  if name:find("^[%a_]") then return name end
  return called(before:gsub("%?+%s*$", ""))
end

--- The blanks that the line after an incomplete text begins with.
-- @tparam string code
-- @treturn string
function place.indent(code)
  local last = code:match("([^\n]*)\n*$")
  local bare = last:gsub("%-%-.*$", ""):gsub("%s+$", "")
  local word = bare:match("%a+$")
  local opens = word == "do" or word == "then" or word == "else" or word == "repeat"
  opens = opens or bare:find("[({]$") or bare:find("function[^()]*%([^()]*%)$")
  return last:match("^%s*") .. (opens and "  " or "")
end

return place
