--- The words of `perilune sweep`: which keys have several values, and all combinations of them.

local nearest = require("perilune.base.nearest")

local grid = {}

local LONGEST_NAME <const> = 120 -- of a folder, bytes
local MOST <const> = 10000 -- runs

--- "a,linear(1, 2),b" at the commas outside of brackets.
-- @tparam string text
-- @treturn {string,...} without spaces around
function grid.split(text)
  local parts, depth, from = {}, 0, 1
  local function cut(to)
    parts[#parts + 1] = text:sub(from, to):match("^%s*(.-)%s*$")
    from = to + 2
  end
  for at = 1, #text do
    local byte = text:sub(at, at)
    if byte:find("[%(%[{]") then
      depth = depth + 1
    elseif byte:find("[%)%]}]") then
      depth = depth - 1
    elseif byte == "," and depth == 0 then
      cut(at - 1)
    end
  end
  cut(#text)
  return parts
end

--- The keys of two tables, sorted.
-- @tparam table a
-- @tparam table b
-- @treturn {string,...}
function grid.keys(a, b)
  local seen, list = {}, {}
  for _, of in ipairs { a, b } do
    for key in pairs(of) do
      if not seen[key] then list[#list + 1] = key end
      seen[key] = true
    end
  end
  table.sort(list)
  return list
end

--- Keys and values one after another: "--key value", "--key=value" and "--flag".
-- @tparam {string,...} args
-- @treturn ?{{string,string|boolean},...} true of a flag; nil for a word that belongs to no key
-- @treturn ?string message
function grid.pairs_of(args)
  local list, i = {}, 1
  while i <= #args do
    local key, value = args[i]:match("^%-%-([^=]+)=(.*)$")
    key = key or args[i]:match("^%-%-(.+)$")
    if not key then
      return nil, ("'%s' is no key; write --key value"):format(args[i])
    elseif not value and args[i + 1] and args[i + 1]:sub(1, 2) ~= "--" then
      i = i + 1
      value = args[i]
    end
    list[#list + 1] = { key, value or true }
    i = i + 1
  end
  return list
end

--- The value of a key of the command itself.
-- @tparam string kind "string", "integer" (from 1 on) or "list"
-- @tparam string key
-- @tparam string|boolean value of `grid.pairs_of`
-- @treturn ?string|integer|{string,...} nil when it does not fit
-- @treturn ?string message
function grid.value(kind, key, value)
  if value == true or value == "" then return nil, ("--%s wants a value"):format(key) end
  if kind == "integer" then
    local number = math.tointeger(tonumber(value))
    if not number or number < 1 then
      return nil, ("--%s = '%s' is not an integer from 1 on"):format(key, value)
    end
    return number
  end
  return kind == "list" and grid.split(value) or value
end

-- What a folder's name may have, and short: "learning_rate=1e-6".
local function name_of(chosen, taken)
  local parts = {}
  for i, pair in ipairs(chosen) do
    parts[i] = pair[1] .. "=" .. pair[2]:gsub("[^%w%.%-%+]+", "_")
  end
  local name = table.concat(parts, ","):sub(1, LONGEST_NAME)
  local number = (taken[name] or 0) + 1
  taken[name] = number
  return number == 1 and name or ("%s-%d"):format(name, number)
end

-- All combinations; the last key changes fastest.
local function combine(swept)
  local chosen = { {} }
  for _, one in ipairs(swept) do
    local longer = {}
    for _, begun in ipairs(chosen) do
      for _, value in ipairs(one.values) do
        local list = table.move(begun, 1, #begun, 1, {})
        list[#list + 1] = { one.key, value }
        longer[#longer + 1] = list
      end
    end
    chosen = longer
  end
  return chosen
end

-- The same value twice would be two runs of one folder.
local function check_values(key, values)
  local seen = {}
  for _, value in ipairs(values) do
    if value == "" then return ("--%s has an empty value between its commas"):format(key) end
    if seen[value] then return ("--%s has %s twice"):format(key, value) end
    seen[value] = true
  end
end

--- A sweep as its words tell it.
-- @class SweepPlan
-- @field {[string]=any} own the command's own keys
-- @field {[string]=string|boolean} fixed keys of one value; true: a flag
-- @field {{key=string,values={string,...}},...} swept
-- @field {{name=string,words={string,...},chosen={{string,string},...}},...} points `name` of the
--   folder, `words` of the command line, and what was chosen of each swept key

--- Reads the words after the recipe.
-- @tparam {string,...} args
-- @tparam {[string]=string} own keys of the command itself, with their types: "string", "integer"
--   or "list"
-- @treturn ?SweepPlan nil when something is wrong
-- @treturn ?string message
function grid.read(args, own)
  local list, message = grid.pairs_of(args)
  if not list then return nil, message end
  local plan = { own = {}, fixed = {}, swept = {}, points = {} }
  local seen = {}
  for _, pair in ipairs(list) do
    local key, value = pair[1], pair[2]
    if seen[key] then return nil, ("--%s is given twice"):format(key) end
    seen[key] = true
    if own[key] then
      plan.own[key], message = grid.value(own[key], key, value)
      if plan.own[key] == nil then return nil, message end
    elseif key == "resume" or key == "overwrite_output_dir" then
      return nil, ("--%s is the sweep's own doing: give the same words again"):format(key)
    end
  end
  local whole = {}
  for _, key in ipairs(plan.own.whole or {}) do
    whole[key] = true
    if not seen[key] then
      return nil, ("--whole names '%s', which is not given%s"):format(key, nearest.hint(key, seen))
    end
  end
  local fixed_words = {}
  local count = 1
  for _, pair in ipairs(list) do
    local key, value = pair[1], pair[2]
    if not own[key] then
      local values = value ~= true and not whole[key] and grid.split(value) or { value }
      if #values > 1 then
        message = check_values(key, values)
        if message then return nil, message end
        plan.swept[#plan.swept + 1] = { key = key, values = values }
        count = count * #values
      else
        plan.fixed[key] = value
        fixed_words[#fixed_words + 1] = "--" .. key
        fixed_words[#fixed_words + 1] = value ~= true and value or nil
      end
    end
  end
  if count > MOST then return nil, ("that makes %d runs; at most %d"):format(count, MOST) end
  local taken = {}
  for i, chosen in ipairs(combine(plan.swept)) do
    local words = table.move(fixed_words, 1, #fixed_words, 1, {})
    for _, pair in ipairs(chosen) do
      words[#words + 1] = "--" .. pair[1]
      words[#words + 1] = pair[2]
    end
    plan.points[i] = { name = name_of(chosen, taken), words = words, chosen = chosen }
  end
  return plan
end

return grid
