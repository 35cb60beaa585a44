--- What the `return`s of a Lua function give, read off its source.

-- Calls `each` with the words and signs of a Lua text; comments go, a string is one sign.
local function tokens(text, each)
  local at = 1
  while true do
    local from = text:find("%S", at)
    if not from then return end
    local comment, open = text:sub(from, from + 1) == "--", nil
    local long = text:match("^%[(=*)%[", comment and from + 2 or from)
    if long then
      at = select(2, text:find("]" .. long .. "]", from, true)) + 1
    elseif comment then
      at = (text:find("\n", from, true) or #text) + 1
    else
      open = text:match("^[\"']", from)
      at = from + 1
      while open and text:sub(at, at) ~= open do
        at = at + (text:sub(at, at) == "\\" and 2 or 1)
      end
      at = open and at + 1
        or from + #(text:match("^[%w_]+", from) or text:match("^%.%.%.", from) or ".")
    end
    if not comment then each((long or open) and '""' or text:sub(from, at - 1)) end
  end
end

local opens = {
  ["function"] = true,
  ["if"] = true,
  ["do"] = true,
  ["repeat"] = true,
  ["("] = true,
  ["{"] = true,
  ["["] = true,
}
local closes = { ["end"] = true, ["until"] = true, [")"] = true, ["}"] = true, ["]"] = true }
local ends_values =
  { ["end"] = true, ["else"] = true, ["elseif"] = true, ["until"] = true, [";"] = true }

--- The returns of the first function in a text.
-- @tparam string text that begins with the function
-- @treturn {table,...} each {count =, open =}: how many values are written; whether the last may be
--   more than one (a call, or `...`)
return function(text)
  local stack, found, now, inner = {}, {}, nil, 0
  local last
  tokens(text, function(token)
    if now and #stack == now.depth and ends_values[token] then
      now.open = now.count > 0 and (last == ")" or last == "...")
      now = nil
    elseif now then
      now.count = math.max(now.count, 1)
      if token == "," and #stack == now.depth then now.count = now.count + 1 end
    end
    if token == "return" and inner == 1 then
      now = { count = 0, depth = #stack }
      found[#found + 1] = now
    end
    if opens[token] then
      stack[#stack + 1] = token
      inner = inner + (token == "function" and 1 or 0)
    elseif closes[token] then
      inner = inner - (table.remove(stack) == "function" and 1 or 0)
    end
    last = token
  end)
  return found
end
