--- The rows of a recipe's config block, read out of its text: nothing is run.
--
--     local cfg = pl.config {
--       name = "ppo",
--       { kl_coef = 0.05, "β: weight of the per-token KL", min = 0, schedule = true },
--     }
--
-- gives kl_coef with its line and the text "0.05". The block is the first call of something that
-- ends in `config` with a table; a row is a table in it that assigns to a key; what is given to a
-- group, pl.config.adam { weight_decay = 0.1 }, counts as well. `block.value` makes a value of a
-- row's text: a number, a text, a boolean, a list or a schedule, in the language of
-- perilune.config.expression.

local expression = require("perilune.config.expression")
local schedule = require("perilune.config.schedule")

local block = {}

-- Where the token at `at` ends, and its kind: "name", "value" (numbers, texts), "sign"; a comment
-- has no kind.
local function token_at(text, at)
  local level = text:match("^%-%-%[(=*)%[", at)
  if level then
    local _, stop = text:find("]" .. level .. "]", at, true)
    return stop or #text, nil
  elseif text:find("^%-%-", at) then
    return (text:find("\n", at, true) or #text + 1) - 1, nil
  end
  level = text:match("^%[(=*)%[", at)
  if level then
    local _, stop = text:find("]" .. level .. "]", at, true)
    return stop or #text, "value"
  end
  local word = text:match("^[%a_][%w_]*", at)
  if word then return at + #word - 1, "name" end
  local number = text:match("^0[xX]%x+", at) or text:match("^%.?%d[%d.]*[eE][+-]?%d+", at)
  number = number or text:match("^%.?%d[%d.]*", at)
  if number then return at + #number - 1, "value" end
  local quote = text:match("^[\"']", at)
  if quote then
    local i = at + 1
    while i <= #text and text:sub(i, i) ~= quote do
      i = i + (text:sub(i, i) == "\\" and 2 or 1)
    end
    return math.min(i, #text), "value"
  end
  return at, "sign"
end

-- The tokens of a text: {kind =, text =, from =, to =, line =}.
local function tokens_of(text)
  local list, at, line = {}, 1, 1
  while true do
    local from = text:find("%S", at)
    if not from then return list end
    line = line + select(2, text:sub(at, from - 1):gsub("\n", ""))
    local to, kind = token_at(text, from)
    local word = text:sub(from, to)
    if kind then
      list[#list + 1] = { kind = kind, text = word, from = from, to = to, line = line }
    end
    line = line + select(2, word:gsub("\n", ""))
    at = to + 1
  end
end

local opening = { ["{"] = true, ["("] = true, ["["] = true }
local closing = { ["}"] = true, [")"] = true, ["]"] = true }

local function is_sign(token, text)
  return token ~= nil and token.kind == "sign" and token.text == text
end

-- The place of the `{` that begins the block; nil when there is none.
local function find_block(tokens)
  for i, token in ipairs(tokens) do
    if token.kind == "name" and token.text == "config" then
      if is_sign(tokens[i + 1], "{") then return i + 1 end
      if is_sign(tokens[i + 1], "(") and is_sign(tokens[i + 2], "{") then return i + 2 end
    end
  end
end

-- The place of the token that ends what begins at `i`: a comma, semicolon or bracket outside of any
-- brackets that open behind it.
local function end_of(tokens, i)
  local depth = 0
  while tokens[i] do
    local token = tokens[i]
    if token.kind == "sign" then
      if depth == 0 and (closing[token.text] or token.text == "," or token.text == ";") then
        return i
      elseif opening[token.text] then
        depth = depth + 1
      elseif closing[token.text] then
        depth = depth - 1
      end
    end
    i = i + 1
  end
  return i
end

-- Reads the row whose `{` is at `i` into `rows`.
local function read_row(tokens, i, is_key, rows)
  local at = i + 1
  while tokens[at] and not is_sign(tokens[at], "}") do
    local stop = end_of(tokens, at)
    local name = tokens[at]
    local assigns = name.kind == "name" and is_sign(tokens[at + 1], "=")
    if assigns and is_key(name.text) and stop > at + 2 then
      local words = {}
      for k = at + 2, stop - 1 do
        words[#words + 1] = tokens[k].text
      end
      rows[name.text] = {
        text = table.concat(words, " "),
        line = tokens[at + 2].line,
        from = tokens[at + 2].from,
        to = tokens[stop - 1].to,
      }
    end
    at = is_sign(tokens[stop], "}") and stop or stop + 1
  end
end

-- Whether a group of rows stands at `i`: pl.config.adam { ... }.
local function is_group(tokens, i)
  local names = { "name", ".", "config", ".", "name", "{" }
  for k, wanted in ipairs(names) do
    local token = tokens[i + k - 1]
    if not token or wanted ~= token.text and wanted ~= token.kind then return false end
  end
  return true
end

--- Reads the rows of a recipe.
-- @tparam string text of the recipe
-- @tparam function is_key whether a name is a key of the config
-- @treturn ?{[string]={text=string,line=integer,from=integer,to=integer}} by key; nil when the text
--   has no block
function block.read(text, is_key)
  local tokens = tokens_of(text)
  local i = find_block(tokens)
  if not i then return nil end
  local rows, of_groups = {}, {}
  i = i + 1
  while tokens[i] and not is_sign(tokens[i], "}") do
    local stop = end_of(tokens, i)
    if is_sign(tokens[i], "{") then
      read_row(tokens, i, is_key, rows)
    elseif is_group(tokens, i) then
      read_row(tokens, i + 5, is_key, of_groups)
    end
    i = is_sign(tokens[stop], "}") and stop or stop + 1
  end
  for name, row in pairs(of_groups) do -- `learning_rate = false`: the recipe has a row of its own
    if not rows[name] and row.text ~= "false" then rows[name] = row end
  end
  return rows
end

--- The text of a recipe without the values of its rows: what is left is its code.
-- @tparam string text
-- @tparam table rows as `read` gives them
-- @treturn string
function block.without_values(text, rows)
  local places = {}
  for _, row in pairs(rows) do
    places[#places + 1] = row
  end
  table.sort(places, function(a, b) return a.from < b.from end)
  local parts, at = {}, 1
  for _, place in ipairs(places) do
    parts[#parts + 1] = text:sub(at, place.from - 1)
    at = place.to + 1
  end
  parts[#parts + 1] = text:sub(at)
  return table.concat(parts)
end

--- The value that a row's text writes.
-- @tparam string text
-- @treturn any the value; nil when it cannot be read
-- @treturn ?string what is wrong
function block.value(text)
  if text == "true" or text == "false" then return text == "true" end
  local plain = text:gsub("%f[%w_]pl %. schedule %. ", ""):gsub("%f[%w_]schedule %. ", "")
  local value_of, message = expression.parse(plain, {
    scope = schedule.constructors(),
    noun = "schedule",
    listed = schedule.constructor_names,
  })
  if not value_of then return nil, message end
  return value_of {}
end

return block
