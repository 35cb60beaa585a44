--- Tables of named options: defaults filled in, slips named.
--
--     local taken = options.take("rules.cap", given, {
--       by = options.name("user_id"),
--       max = options.integer(200, 1),
--       keep = options.choice("sample", { "sample", "first", "last" }),
--       exact = true,          -- a plain default: another value must be of its type
--       on_row = options.any(),
--     })
--
-- A name that is not in the list is an error with the nearest one that is, a value that breaks its
-- rule an error that says what it must be; both at the line of whoever gave the table. The one
-- checker of the library: the bindings' own (lua/bind) has the same sentences.

local list = require("perilune.base.list")
local nearest = require("perilune.base.nearest")

local options = {}

local Rule = {}

-- A rule: `default` (nil: the option may be absent), `wanted` as a sentence's end, and
-- `check(value)`, which gives the value to take, or nil.
local function rule(default, wanted, check)
  return setmetatable({ default = default, wanted = wanted, check = check }, Rule)
end

--- An integer of at least `least` (and at most `most`); 3.0 is taken as 3.
-- @tparam ?integer default nil: the option may be absent. This holds for all rules.
-- @tparam ?integer least
-- @tparam ?integer most
function options.integer(default, least, most)
  local wanted = "an integer"
  if least and most then
    wanted = ("an integer from %d to %d"):format(least, most)
  elseif least then
    wanted = ("an integer of at least %d"):format(least)
  end
  return rule(default, wanted, function(value)
    local integer = type(value) == "number" and math.tointeger(value)
    if integer and integer >= (least or integer) and integer <= (most or integer) then
      return integer
    end
  end)
end

--- A number from `low` to `high`.
function options.number(default, low, high)
  low, high = low or -math.huge, high or math.huge
  return rule(default, ("a number from %g to %g"):format(low, high), function(value)
    if type(value) == "number" and value >= low and value <= high then return value end
  end)
end

--- A text that is not empty.
function options.name(default)
  return rule(
    default,
    "a text that is not empty",
    function(value) return type(value) == "string" and value ~= "" and value or nil end
  )
end

local function shown(value)
  return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

--- One of a list.
function options.choice(default, choices)
  local texts = {}
  for i, choice in ipairs(choices) do
    texts[i] = shown(choice)
  end
  return rule(default, table.concat(texts, " or "), function(value)
    for _, choice in ipairs(choices) do
      if value == choice then return value end
    end
  end)
end

--- A value of a type, as `type` names it.
function options.of_type(name, default)
  return rule(default, "a " .. name, function(value)
    if type(value) == name then return value end
  end)
end

--- What another rule takes, or `false`: off.
function options.off_or(other)
  return rule(other.default, other.wanted .. ", or false", function(value)
    if value == false then return value end
    return other.check(value)
  end)
end

--- Any value: whoever takes the options checks it.
function options.any(default)
  return rule(default, "", function(value) return value end)
end

--- Options by name, each as it comes: for functions that only hand them on.
-- @tparam {string,...} names
-- @treturn table for `take`
function options.any_of(names)
  local wanted = {}
  for _, name in ipairs(names) do
    wanted[name] = options.any()
  end
  return wanted
end

local function sorted_names(wanted)
  local names = list.keys(wanted)
  return names
end

local function check_names(where, given, wanted, level)
  for name in pairs(given) do
    if type(name) ~= "string" then
      local message = "%s takes named options only, got a value at [%s]; write name = value"
      error(message:format(where, tostring(name)), level)
    elseif wanted[name] == nil then
      local names = sorted_names(wanted)
      local hint = nearest.hint(name, names)
      if hint == "" then hint = "; it knows " .. table.concat(names, ", ") end
      error(("%s has no option '%s'%s"):format(where, name, hint), level)
    end
  end
end

--- The options that were given, over the defaults.
-- @tparam string where the function, as its caller wrote it
-- @tparam ?table given nil counts as an empty table
-- @tparam table wanted {name = rule, or a plain default}: every option there is
-- @tparam ?integer level whose line an error names, as in `error` (default: 3)
-- @treturn table a new table; an option without value and default is absent
function options.take(where, given, wanted, level)
  level = level and (level > 0 and level + 1 or 0) or 3
  if given == nil then
    given = {}
  elseif type(given) ~= "table" then
    error(("%s takes a table of named options, got %s"):format(where, type(given)), level)
  end
  check_names(where, given, wanted, level > 0 and level + 1 or 0)
  local taken = {}
  for name, want in pairs(wanted) do
    local value, is_rule = given[name], getmetatable(want) == Rule
    if value == nil then
      if is_rule then
        value = want.default
      else
        value = want
      end
    elseif is_rule or type(value) ~= type(want) then
      local accepted = nil
      if is_rule then accepted = want.check(value) end
      if accepted == nil then
        error(
          ("%s: %s = %s; it must be %s"):format(
            where,
            name,
            shown(value),
            is_rule and want.wanted or "a " .. type(want)
          ),
          level
        )
      end
      value = accepted
    end
    taken[name] = value
  end
  return taken
end

--- A copy that can be written down: functions become the text "function".
-- @tparam table taken
-- @treturn table
function options.described(taken)
  local copy = {}
  for name, value in pairs(taken) do
    if type(value) == "function" then
      value = "function"
    elseif type(value) == "table" then
      value = options.described(value)
    end
    copy[name] = value
  end
  return copy
end

return options
