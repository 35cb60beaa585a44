--- Settings of a rule: defaults filled in, slips named.
--
-- A key that a rule does not know is an error which names the nearest one it does. A check for each
-- value is the rule's own; the common ones are here, so that they read alike.
-- @module perilune.rules.options

local nearest = require("perilune.base.nearest")

local settings = {}

local function fail(rule, key, value, wanted)
  local shown = type(value) == "string" and ("%q"):format(value) or tostring(value)
  error(("%s: %s = %s; it must be %s"):format(rule, key, shown, wanted), 0)
end

--- What was given over the defaults.
-- @string rule its name, for messages
-- @tparam ?table given
-- @tparam table defaults every key the rule knows; `settings.none` for one that is absent at first
-- @treturn table a new table
function settings.take(rule, given, defaults)
  if given ~= nil and type(given) ~= "table" then
    error(("%s takes a table of settings, not a %s"):format(rule, type(given)), 0)
  end
  local taken = {}
  for key, value in pairs(defaults) do
    if value ~= settings.none then
      taken[key] = value
    end
  end
  for key, value in pairs(given or {}) do
    if defaults[key] == nil then
      local known = {}
      for name in pairs(defaults) do
        known[#known + 1] = name
      end
      table.sort(known)
      error(("%s: unknown setting '%s'%s; it knows: %s"):format(rule, tostring(key),
        nearest.hint(tostring(key), known), table.concat(known, ", ")), 0)
    end
    taken[key] = value
  end
  return taken
end

--- Marks a key without a default.
settings.none = {}

--- Raises unless `value` is a whole number of at least `least`; a float that is whole is taken.
function settings.whole(rule, key, value, least)
  local whole = type(value) == "number" and math.tointeger(value)
  if not whole or whole < least then
    fail(rule, key, value, ("a whole number of at least %d"):format(least))
  end
  return whole
end

--- Raises unless `value` is a number from `low` to `high`.
function settings.number(rule, key, value, low, high)
  if type(value) ~= "number" or not (value >= low and value <= high) then
    fail(rule, key, value, ("a number from %g to %g"):format(low, high))
  end
  return value
end

--- Raises unless `value` is a text that is not empty.
function settings.name(rule, key, value)
  if type(value) ~= "string" or value == "" then
    fail(rule, key, value, "the name of a field")
  end
  return value
end

--- Raises unless `value` is one of `choices`.
function settings.choice(rule, key, value, choices)
  for _, choice in ipairs(choices) do
    if value == choice then
      return value
    end
  end
  local shown = {}
  for i, choice in ipairs(choices) do
    shown[i] = type(choice) == "string" and ('"%s"'):format(choice) or tostring(choice)
  end
  fail(rule, key, value, table.concat(shown, " or "))
end

--- A copy that can be written down: functions become the text "function".
function settings.shown(taken)
  local shown = {}
  for key, value in pairs(taken) do
    if type(value) == "function" then
      shown[key] = "function"
    elseif type(value) == "table" then
      shown[key] = settings.shown(value)
    else
      shown[key] = value
    end
  end
  return shown
end

return settings
