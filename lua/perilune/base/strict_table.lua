--- Tables in which a misspelt name is an error and not a nil.
--
-- `check` is for functions that take one table of named options: an unknown option is refused at
-- the caller's line with the nearest known name. `wrap` is for tables that are read by name over
-- and over, as settings and results are: reading or writing a name that was not there at the start
-- raises.

local nearest = require("perilune.base.nearest")

local strict_table = {}

local function sorted_names(set)
  local names = {}
  for name in pairs(set) do
    names[#names + 1] = tostring(name)
  end
  table.sort(names)
  return names
end

--- Refuse options that a function does not know.
-- @tparam ?table options what the caller gave; nil counts as an empty table
-- @tparam {string,...} known the names that the function understands; positional items are allowed
-- only when `known.positional` is true
-- @tparam string where the function, as the caller wrote it
-- @tparam[opt=3] integer level whose line the error names, as in `error`
-- @treturn table `options`, or an empty table
function strict_table.check(options, known, where, level)
  level = level or 3
  if options == nil then
    return {}
  end
  if type(options) ~= "table" then
    local message = "%s takes a table of named options, got %s"
    error(message:format(where, type(options)), level)
  end
  local allowed = {}
  for _, name in ipairs(known) do
    allowed[name] = true
  end
  for name in pairs(options) do
    if type(name) ~= "string" then
      if not known.positional then
        local message = "%s takes named options only, got a value at [%s]; write name = value"
        error(message:format(where, tostring(name)), level)
      end
    elseif not allowed[name] then
      local hint = nearest.hint(name, known)
      if hint == "" then
        hint = "; it knows " .. table.concat(known, ", ")
      end
      error(("%s has no option '%s'%s"):format(where, name, hint), level)
    end
  end
  return options
end

--- A view of `fields` in which only the names present now may be read and written.
-- @tparam table fields
-- @tparam string what the noun used in errors, for example "setting"
-- @treturn table
function strict_table.wrap(fields, what)
  local function refuse(key)
    local hint = nearest.hint(tostring(key), sorted_names(fields))
    error(("there is no %s '%s'%s"):format(what, tostring(key), hint), 3)
  end
  return setmetatable({}, {
    __index = function(_, key)
      local value = fields[key]
      if value == nil then
        refuse(key)
      end
      return value
    end,
    __newindex = function(_, key, value)
      if fields[key] == nil then
        refuse(key)
      end
      fields[key] = value
    end,
    __pairs = function()
      return next, fields, nil
    end,
  })
end

return strict_table
