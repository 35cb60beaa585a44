--- One hyper-parameter: its row in a recipe, and the values it takes.
--
-- A row is written as an assignment, its line of meaning, and what limits it:
--
--     { kl_coef = 0.05, "β: weight of the per-token KL", min = 0, schedule = true }
--
-- What limits it are the fields of ConfigRow, below.
--
-- A function as default, without `schedule`, makes a derived key: computed from the others, shown,
-- never set. Whole floats are written with a point (1.0), else the key takes integers.
--
-- This module knows nothing of command lines or files; `perilune.config` puts those together.

local format = require("perilune.base.format")
local nearest = require("perilune.base.nearest")
local schedule = require("perilune.config.schedule")

local param = {}

--- A row of `pl.config`: `{ name = default, "its meaning", ... }`, with some of these fields. What
-- each is when it is left out stands in brackets.
-- @class ConfigRow
-- @field ?number min (none) the least value, itself allowed
-- @field ?number max (none) the greatest value, itself allowed
-- @field ?number over (none) the value must be greater than this
-- @field ?number under (none) the value must be less than this
-- @field ?{any,...} choices (none) the values that are allowed
-- @field ?boolean schedule (false) any schedule is allowed; the key is called with the step
-- @field ?string type (the default's) "integer", "number", "boolean", "string" or "list"; with the
--   default `false` the key is off until it is given
-- @field ?boolean required (false) the user must give it
-- @field ?string|{string,...} alias (none) other names for it
-- @field ?any flag (none) what the key is when it is given without a value
-- @field ?boolean transient (false) it belongs to one process, and is not restored when a run is
--   resumed
-- @field ?boolean free (false) it changes no result, so it may differ when a run is resumed
-- @field ?boolean live (nil: while nothing has read it before the first step) false: it is never
--   changed while a run goes; true: even when it was read before
-- @field ?boolean code (false) it names a file that is run, and is never taken out of a run folder
local options = {
  "min",
  "max",
  "over",
  "under",
  "choices",
  "schedule",
  "type",
  "required",
  "alias",
  "transient",
  "flag",
  "free",
  "live",
  "code",
}
local is_option = {}
for _, name in ipairs(options) do
  is_option[name] = true
end

local types = { integer = true, number = true, boolean = true, string = true, list = true }

local function infer_type(default)
  local kind = type(default)
  if kind == "number" then
    return math.type(default) == "integer" and "integer" or "number"
  elseif kind == "table" then
    return schedule.is(default) and "number" or "list"
  elseif kind == "boolean" or kind == "string" then
    return kind
  end
end

--- Read a row as a recipe writes it.
-- @tparam table raw
-- @treturn ?table the row; its default is still as written
-- @treturn ?string what is wrong
function param.new(raw)
  local name, default
  for key, value in pairs(raw) do
    if type(key) == "string" and not is_option[key] then
      if name then
        local first, second = name, key
        if second < first then
          first, second = second, first
        end
        local message = "one row defines both '%s' and '%s'; a row has one key and the options %s"
        return nil, message:format(first, second, table.concat(options, ", "))
      end
      name, default = key, value
    end
  end
  if not name then
    return nil, 'a row names no key; write { key = default, "its meaning" }'
  elseif not name:match("^%a[%w_]*$") then
    return nil, ("'%s' cannot be a key; use letters, digits and _"):format(name)
  end
  local self = { name = name, default = default, meaning = raw[1] }
  for _, option in ipairs(options) do
    self[option] = raw[option]
  end
  if type(self.alias) == "string" then self.alias = { self.alias } end
  if type(default) == "function" and not self.schedule then
    self.derived = true
    return self
  end
  self.optional = default == false and self.type ~= nil and self.type ~= "boolean"
  self.type = self.type or (self.schedule and "number") or infer_type(default)
  if not types[self.type] then
    local message = "key '%s' has the type '%s'; known are integer, number, boolean, string, list"
    return nil, message:format(name, tostring(self.type))
  elseif self.schedule and self.type ~= "number" then
    return nil, ("key '%s' is not a number, so it cannot have a schedule"):format(name)
  end
  if self.type == "list" and type(default) == "table" then
    self.element = infer_type(default[1]) or "string"
  end
  return self
end

--- The range in words of mathematics: "[0, 1]", "(0, ∞)", "a | b", or "".
-- @treturn string
function param.range_text(self)
  if self.choices then
    local texts = {}
    for i, choice in ipairs(self.choices) do
      texts[i] = param.value_text(self, choice)
    end
    return table.concat(texts, " | ")
  end
  local low, high = self.over or self.min, self.under or self.max
  if not low and not high then
    return ""
  elseif not high and not self.over then
    return "≥ " .. format.exact(low)
  elseif not high then
    return "> " .. format.exact(low)
  elseif not low then
    return (self.under and "< " or "≤ ") .. format.exact(high)
  end
  local left, right = self.over and "(" or "[", self.under and ")" or "]"
  return left .. format.exact(low) .. ", " .. format.exact(high) .. right
end

--- A value as text that `param.coerce` reads back.
-- @tparam any value
-- @treturn string
function param.value_text(self, value)
  if type(value) == "number" then
    return format.exact(value)
  elseif type(value) == "boolean" then
    if self.optional then return "off" end
    return value and "yes" or "no"
  elseif type(value) == "table" and not schedule.is(value) then
    local texts = {}
    for i, element in ipairs(value) do
      texts[i] = type(element) == "number" and format.exact(element) or tostring(element)
    end
    return table.concat(texts, ",")
  end
  return tostring(value)
end

local words = {
  ["true"] = true,
  yes = true,
  on = true,
  ["1"] = true,
  ["false"] = false,
  no = false,
  off = false,
  ["0"] = false,
}

local named_numbers = {
  inf = math.huge,
  ["+inf"] = math.huge,
  infinity = math.huge,
  ["-inf"] = -math.huge,
  ["-infinity"] = -math.huge,
}

--- What a key takes, in a few words, for the end of an error.
local function expected(self)
  local range = param.range_text(self)
  if self.choices then
    return "one of " .. range
  elseif self.type == "boolean" then
    return "yes or no"
  end
  local noun = ({
    integer = "an integer",
    number = "a number",
    string = "a text",
    list = "a list such as 1,2,3",
  })[self.type]
  if range ~= "" then noun = noun .. (range:match("^[%[%(]") and " in " or " ") .. range end
  return noun
    .. (self.schedule and " or a schedule such as cosine(0.1, 0.01, 500)" or "")
    .. (self.optional and ", or off" or "")
end

local function refuse(self, value, why)
  local shown = type(value) == "string" and "'" .. value .. "'" or param.value_text(self, value)
  return nil, ("%s = %s %s; give %s"):format(self.name, shown, why, expected(self))
end

local function outside(self, value)
  return (self.min and value < self.min)
    or (self.max and value > self.max)
    or (self.over and value <= self.over)
    or (self.under and value >= self.under)
end

local function to_number(value, kind)
  local number = value
  if type(value) == "string" then
    local plain = value:match("^%s*(.-)%s*$"):lower()
    number = named_numbers[plain] or tonumber((plain:gsub("(%d)_(%d)", "%1%2")))
  end
  if type(number) ~= "number" or number ~= number then return nil end
  if kind == "integer" then return math.tointeger(number) end
  return number + 0.0
end

local function coerce_list(self, value)
  local given = value
  if type(value) == "string" then
    local parts = {}
    for part in (value .. ","):gmatch("%s*(.-)%s*,") do
      parts[#parts + 1] = part ~= "" and part or nil
    end
    value = parts
  elseif type(value) == "number" then
    value = { value }
  end
  if type(value) ~= "table" or schedule.is(value) then
    return refuse(self, given, "is not a list")
  end
  local list = {}
  for i, element in ipairs(value) do
    if self.element == "string" then
      list[i] = tostring(element)
    else
      list[i] = to_number(element, self.element)
    end
    if list[i] == nil then
      local wanted = self.element == "integer" and "an integer" or "a number"
      return refuse(
        self,
        given,
        ("has '%s' at place %d, which is not %s"):format(tostring(element), i, wanted)
      )
    elseif type(list[i]) == "number" and outside(self, list[i]) then
      return refuse(self, given, ("is out of range at place %d"):format(i))
    end
  end
  return list
end

local function coerce_schedule(self, value)
  local made
  if type(value) == "string" then
    local message
    made, message = schedule.parse(value)
    if not made then return nil, ("%s: %s"):format(self.name, message) end
  elseif type(value) == "number" or type(value) == "function" or schedule.is(value) then
    if type(value) == "number" and (value ~= value or value - value ~= 0) then
      return refuse(self, value, "is not finite")
    end
    made = schedule.of(value)
  else
    return refuse(self, value, "is not a number")
  end
  for _, point in ipairs(made:extremes()) do
    if outside(self, point) then
      return refuse(
        self,
        made,
        made:fixed() and "is out of range"
          or "reaches " .. format.exact(point) .. ", which is out of range"
      )
    end
  end
  made.key = self.name
  made.guard = function(got, step)
    if outside(self, got) then
      local message = "%s = %s gave %s at step %s, which is out of range; it takes %s"
      error(
        message:format(
          self.name,
          tostring(made),
          format.exact(got),
          format.exact(step),
          param.range_text(self)
        ),
        3
      )
    end
  end
  return made
end

--- The value of a key from text or from a Lua value, checked.
-- @tparam any value text of the command line, or any Lua value
-- @treturn any the value; nil when it does not fit
-- @treturn ?string what is wrong: what, why, and what to give
function param.coerce(self, value)
  if self.optional and (value == false or value == "off" or value == "false") then return false end
  local result
  if self.schedule then
    return coerce_schedule(self, value)
  elseif self.type == "boolean" then
    result = value
    if type(value) == "string" then result = words[value:lower()] end
    if type(result) ~= "boolean" then return refuse(self, value, "is neither yes nor no") end
    return result
  elseif self.type == "list" then
    return coerce_list(self, value)
  elseif self.type == "string" then
    if type(value) ~= "string" and type(value) ~= "number" then
      return refuse(self, value, "is not text")
    end
    result = tostring(value)
  else
    result = to_number(value, self.type)
    if not result then
      local wrong = self.type == "integer" and "is not an integer" or "is not a number"
      return refuse(self, value, wrong)
    elseif outside(self, result) then
      return refuse(self, value, "is out of range")
    end
  end
  if self.choices then
    for _, choice in ipairs(self.choices) do
      if choice == result then return choice end
    end
    local names = {}
    for i, choice in ipairs(self.choices) do
      names[i] = tostring(choice)
    end
    local _, message = refuse(self, value, "is not known")
    return nil, message .. nearest.hint(tostring(result), names)
  end
  return result
end

--- A value as JSON can hold it: schedules as their text, numbers that are not finite as text.
-- @tparam any value
-- @treturn any a boolean, number, string or list
function param.plain(value)
  if schedule.is(value) then
    return value:fixed() or tostring(value)
  elseif type(value) == "number" and (value ~= value or value - value ~= 0) then
    return format.exact(value)
  elseif type(value) == "table" then
    return table.move(value, 1, #value, 1, {})
  end
  return value
end

return param
