--- The tokens of Lua text, as far as the prompt has to know them.
--
-- Comments and spaces are left out. Text that does not end (a string, a long bracket) is a token up
-- to the end of the source, marked `open`; Lua is left to complain about it.

local lexer = {}

local opens = { ["function"] = true, ["do"] = true, ["if"] = true, ["repeat"] = true }
local closes = { ["end"] = true, ["until"] = true }
local nests = { ["("] = 1, ["{"] = 1, ["["] = 1, [")"] = -1, ["}"] = -1, ["]"] = -1 }

-- The word that begins at a place: kind, last place, and whether it is cut off by the end.
local function token_at(source, at)
  local n = #source
  if source:find("^%-%-", at) then
    local level = source:match("^%-%-%[(=*)%[", at)
    local _, stop = source:find(level and "]" .. level .. "]" or "\n", at, true)
    return nil, stop or n, level ~= nil and stop == nil
  elseif source:find("^[%a_]", at) then
    return "name", at + #source:match("^[%w_]+", at) - 1
  elseif source:find("^%.?%d", at) then
    return "number", at + #source:match("^[%w_.]+", at) - 1
  elseif source:find("^%[=*%[", at) then
    local level = source:match("^%[(=*)%[", at)
    local _, stop = source:find("]" .. level .. "]", at, true)
    return "text", stop or n, stop == nil
  elseif source:find("^[\"']", at) then
    local quote, last = source:sub(at, at), at + 1
    while last <= n and source:sub(last, last) ~= quote do
      last = last + (source:sub(last, last) == "\\" and 2 or 1)
    end
    return "text", math.min(last, n), last > n
  elseif source:find("^%.%.%.", at) then
    return "sign", at + 2
  end
  local two = source:match("^[=~<>:/.][=.:/<>]", at)
  local known = two and ("== ~= <= >= :: // .. << >>"):find(two, 1, true)
  return "sign", known and at + 1 or at
end

--- The tokens of a source.
-- @tparam string source
-- @treturn {table,...} each with `kind` ("name", "number", "text" for strings, "sign"), `text`,
--   `first`, `last`, `depth` (blocks around it), `nest` (brackets around it), `functions`
--   (functions around it) and `open`
function lexer.tokens(source)
  local tokens, at, depth, nest, blocks = {}, 1, 0, 0, {}
  local functions = 0
  while true do
    at = source:find("%S", at)
    if not at then return tokens end
    local kind, last, open = token_at(source, at)
    local text = source:sub(at, last)
    if kind then
      local turn = kind == "sign" and nests[text] or 0
      if turn < 0 then nest = nest - 1 end
      if kind == "name" and closes[text] and depth > 0 then
        depth = depth - 1
        if table.remove(blocks) == "function" then functions = functions - 1 end
      end
      tokens[#tokens + 1] = {
        kind = kind,
        text = text,
        first = at,
        last = last,
        depth = depth,
        nest = nest,
        functions = functions,
        open = open,
      }
      if turn > 0 then nest = nest + 1 end
      if kind == "name" and opens[text] then
        depth = depth + 1
        blocks[depth] = text
        if text == "function" then functions = functions + 1 end
      end
    end
    at = last + 1
  end
end

return lexer
