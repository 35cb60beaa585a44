--- The expression at the end of an entry, which the prompt shows: `x = 3; x + 1` shows 4.
--
-- A `return` is put before it, where that changes nothing else: what stands before must be whole
-- statements, and the expression must not be able to go on what stands before, as `(f)` or `-1`
-- would.

local lexer = require("perilune.repl.lexer")

local tail = {}

local ends = { ["end"] = true, ["nil"] = true, ["true"] = true, ["false"] = true }

local keywords = {}
for word in
  ([[and break do else elseif end false for function goto if in local nil not or repeat return
  then true until while]]):gmatch("%a+")
do
  keywords[word] = true
end

-- Whether a statement may end with this token.
local function is_end(token)
  if token.kind == "name" then return ends[token.text] or not keywords[token.text] end
  return token.kind ~= "sign" or token.text:find("^[)%]}]$") ~= nil or token.text == "..."
end

-- Whether an expression may begin with it.
local function is_begin(token, after_mark)
  if token.kind == "name" then
    local word = token.text
    return not keywords[word] or ends[word] and word ~= "end" or word == "not"
  elseif token.kind == "number" then
    return true
  end
  return after_mark or token.text == "#"
end

--- Puts `return` before the last expression.
-- @tparam string source
-- @treturn ?string nil when there is none, or it is all that there is
function tail.rewrite(source)
  local tokens = lexer.tokens(source)
  for i = #tokens, 2, -1 do
    local token, before = tokens[i], tokens[i - 1]
    local after_mark = before.text == ";"
    if
      token.depth == 0
      and token.nest == 0
      and (after_mark or is_end(before))
      and is_begin(token, after_mark)
    then
      local head, expression = source:sub(1, token.first - 1), source:sub(token.first)
      if load(head, "=head") and load("return " .. expression, "=tail") then
        return head .. "return " .. expression
      end
    end
  end
end

return tail
