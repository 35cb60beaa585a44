--- Makes top-level locals of an entry outlive it.
--
-- `local x = f()` typed at the prompt would be gone with its line. Here the word `local` at the top
-- level is taken out, so that the entry assigns instead, and the names are reported, so that the
-- session keeps them to itself rather than in _G. <const> is dropped; a variable with <close>
-- stays a local of its entry, since something has to close it.
--
-- Needs a lexer, for `local` inside strings, comments and blocks is not ours.

local locals = {}

local opens = { ["function"] = true, ["do"] = true, ["if"] = true, ["repeat"] = true }
local closes = { ["end"] = true, ["until"] = true }

--- Walks the tokens: visit(kind, first, last), kind "name", "text" (strings, numbers) or "sign".
-- Comments and spaces are skipped. Text that does not end is left to Lua to complain about.
local function each_token(source, visit)
  local at, n = 1, #source
  while true do
    at = source:find("%S", at)
    if not at then return end
    local kind, last = "sign", at
    if source:find("^%-%-", at) then
      local level = source:match("^%-%-%[(=*)%[", at)
      local _, stop = source:find(level and "]" .. level .. "]" or "\n", at, true)
      kind, last = nil, stop or n
    elseif source:find("^[%a_]", at) then
      kind = "name"
      last = at + #source:match("^[%w_]+", at) - 1
    elseif source:find("^%.?%d", at) then
      kind = "text"
      last = at + #source:match("^[%w_.]+", at) - 1
    elseif source:find("^%[=*%[", at) then
      kind = "text"
      local level = source:match("^%[(=*)%[", at)
      local _, stop = source:find("]" .. level .. "]", at, true)
      last = stop or n
    elseif source:find("^[\"']", at) then
      kind = "text"
      local quote = source:sub(at, at)
      last = at + 1
      while last <= n and source:sub(last, last) ~= quote do
        last = last + (source:sub(last, last) == "\\" and 2 or 1)
      end
      last = math.min(last, n)
    end
    if kind then visit(kind, at, last) end
    at = last + 1
  end
end

--- The tokens of a source that matter here.
local function tokens_of(source)
  local tokens, depth = {}, 0
  each_token(source, function(kind, first, last)
    local text = source:sub(first, last)
    tokens[#tokens + 1] = { kind = kind, text = text, first = first, last = last, depth = depth }
    if kind == "name" and opens[text] then
      depth = depth + 1
    elseif kind == "name" and closes[text] then
      depth = depth - 1
    end
  end)
  return tokens
end

--- Reads the declaration whose `local` is tokens[at].
-- @treturn ?{string,...} names; nil when it must stay a local
-- @treturn {table,...} tokens to take out
-- @treturn boolean whether a value follows
local function declaration(tokens, at)
  local names, out = {}, { tokens[at] }
  local i = at + 1
  if tokens[i] and tokens[i].text == "function" then
    names[1] = tokens[i + 1] and tokens[i + 1].text
    return names, out, true
  end
  while tokens[i] and tokens[i].kind == "name" do
    names[#names + 1] = tokens[i].text
    i = i + 1
    if tokens[i] and tokens[i].text == "<" and tokens[i + 2] then
      if tokens[i + 1].text ~= "const" then return nil end
      table.move(tokens, i, i + 2, #out + 1, out)
      i = i + 3
    end
    if not (tokens[i] and tokens[i].text == ",") then break end
    i = i + 1
  end
  local has_value = tokens[i] ~= nil and tokens[i].text == "="
  return names, out, has_value, tokens[i - 1]
end

--- Rewrites an entry.
-- @tparam string source
-- @treturn string what to compile instead; lines stay where they were
-- @treturn {string,...} the names that were declared
function locals.rewrite(source)
  local tokens = tokens_of(source)
  local edits, declared = {}, {}
  for at, token in ipairs(tokens) do
    if token.kind == "name" and token.text == "local" and token.depth == 0 then
      local names, out, has_value, last = declaration(tokens, at)
      if names and #names > 0 then
        for _, gone in ipairs(out) do
          edits[#edits + 1] = { first = gone.first, last = gone.last, text = "" }
        end
        if not has_value then
          edits[#edits + 1] = { first = last.last + 1, last = last.last, text = " = nil" }
        end
        table.move(names, 1, #names, #declared + 1, declared)
      end
    end
  end
  table.sort(edits, function(a, b) return a.first < b.first end)
  local parts, at = {}, 1
  for _, edit in ipairs(edits) do
    parts[#parts + 1] = source:sub(at, edit.first - 1) .. edit.text
    at = edit.last + 1
  end
  parts[#parts + 1] = source:sub(at)
  return table.concat(parts), declared
end

return locals
