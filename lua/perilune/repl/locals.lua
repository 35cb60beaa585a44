--- Makes top-level locals of an entry outlive it.
--
-- `local x = f()` typed at the prompt would be gone with its line. Here the word `local` at the top
-- level is taken out, so that the entry assigns instead, and the names are reported, so that the
-- session keeps them to itself rather than in _G. <const> is dropped; a variable with <close>
-- stays a local of its entry, since something has to close it.
--
-- `local` inside strings, comments and blocks is not ours.

local lexer = require("perilune.repl.lexer")

local locals = {}

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
  local tokens = lexer.tokens(source)
  local edits, declared = {}, {}
  for at, token in ipairs(tokens) do
    if token.kind == "name" and token.text == "local" and token.depth == 0 and token.nest == 0 then
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
