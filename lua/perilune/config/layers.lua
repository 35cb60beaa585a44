--- How a config comes to its values: the recipe's rows, then everything that may set them.
--
-- Works on the bare state of a config, before there is a config: a table with `name`, `recipe`,
-- `rows`, `by_name`, `reserved` (names no key may have), `checks`, `values`, `source`, `told` and
-- `notes`.
-- Later wins: default, config.json of the run that is resumed, preset, settings of the caller,
-- command line. Whatever a user can get wrong raises a usage error, an object that prints as one
-- sentence and asks for no traceback.

local command_line = require("perilune.config.command_line")
local common = require("perilune.config.common")
local list = require("perilune.base.list")
local nearest = require("perilune.base.nearest")
local neighbours = require("perilune.config.neighbours")
local param = require("perilune.config.param")
local schedule = require("perilune.config.schedule")

local layers = {}

local Usage = {
  __name = "usage error",
  __tostring = function(self) return self.message end,
}

--- Raise an error of the user's, not of the program's: no traceback is wanted.
function layers.usage(self, message, ...)
  if select("#", ...) > 0 then message = message:format(...) end
  error(setmetatable({ usage = true, message = self.name .. ": " .. message }, Usage), 0)
end

function layers.known_names(self)
  local names = {}
  for _, one in ipairs(self.rows) do
    if type(one) == "table" then names[#names + 1] = one.name end
  end
  return names
end

--- The row called `name`, or an alias of it; nil when there is none.
function layers.find_row(self, name)
  if self.by_name[name] then return self.by_name[name] end
  for _, one in ipairs(self.rows) do
    for _, alias in ipairs(type(one) == "table" and one.alias or {}) do
      if alias == name then return one, name end
    end
  end
  for _, candidate in ipairs(common.aliases[name] or {}) do
    if self.by_name[candidate] then return self.by_name[candidate], name end
  end
end

-- The key here whose name elsewhere is near, when no key of this config is.
local function near_alias(self, name)
  local names = {}
  for _, alias in ipairs(list.keys(common.aliases)) do
    if layers.find_row(self, alias) then names[#names + 1] = alias end
  end
  local found = nearest.find(name, names)
  return found and layers.find_row(self, found).name
end

function layers.unknown(self, name)
  local hint = nearest.hint(name, layers.known_names(self))
  local meant = hint == "" and near_alias(self, name)
  if meant then hint = ("; did you mean '%s'?"):format(meant) end
  return ("unknown key '%s'%s (--help lists all)"):format(name, hint)
end

local function tell_alias(self, alias, one)
  if alias and alias ~= one.name and not self.told[alias] then
    self.told[alias] = true
    self.notes[#self.notes + 1] = ("'%s' is called '%s' here"):format(alias, one.name)
  end
end

function layers.assign(self, one, value, source)
  if one.derived then
    local message = "%s follows from other keys and cannot be set: %s"
    return nil, message:format(one.name, one.meaning or "")
  end
  local result, message = param.coerce(one, value)
  if result == nil then return nil, message end
  if one.schedule and self.horizon then result:set_horizon(self.horizon) end
  self.values[one.name] = result
  self.source[one.name] = source
  return true
end

-- Settings with each table of names that is no key itself taken apart: peft = { r = 8 } is peft_r =
-- 8.
local function taken_apart(self, settings)
  local flat = {}
  for name, value in pairs(settings) do
    local nested = type(value) == "table" and not schedule.is(value) and #value == 0
    if nested and next(value) ~= nil and not layers.find_row(self, tostring(name)) then
      for inner, one in pairs(value) do
        flat[("%s_%s"):format(name, inner)] = one
      end
    else
      flat[name] = value
    end
  end
  return flat
end

--- Assign all of a table; names beginning with "_" are notes of `to_table` and are passed over.
local function assign_table(self, settings, source, skip)
  settings = taken_apart(self, settings)
  local names = {}
  for name in pairs(settings) do
    names[#names + 1] = tostring(name)
  end
  table.sort(names)
  for _, name in ipairs(names) do
    if name:sub(1, 1) ~= "_" then
      local one, alias = layers.find_row(self, name)
      if not one then layers.usage(self, "%s: %s", source, layers.unknown(self, name)) end
      if not (skip and skip(one)) then
        tell_alias(self, alias, one)
        local ok, message = layers.assign(self, one, settings[name], source)
        if not ok then layers.usage(self, "%s: %s", source, message) end
      end
    end
  end
end

local function read_text(path)
  local file, message = io.open(path, "rb")
  if not file then return nil, message end
  local text = file:read("a")
  file:close()
  return text
end

--- The settings in a preset: its part for this recipe, or all of it when it has no parts.
local function load_preset(self, name)
  local path = name
  if not name:match("[/.]") then
    path = "presets/" .. name .. ".lua"
    path = neighbours.find(path, self.recipe) or neighbours.folder_of(self.recipe) .. "/" .. path
  end
  local text, missing = read_text(path)
  if not text then layers.usage(self, "preset '%s' cannot be read: %s", name, missing) end
  local scope = schedule.constructors()
  scope.math = math
  local chunk, wrong = load(text, "@" .. path, "t", scope)
  if not chunk then layers.usage(self, "preset '%s' is not Lua: %s", name, wrong) end
  local ok, settings = pcall(chunk)
  if not ok or type(settings) ~= "table" then
    layers.usage(self, "preset %s must return a table of settings: %s", path, tostring(settings))
  end
  local part = settings[self.name]
  if type(part) == "table" then return part, path end
  for key, value in pairs(settings) do
    if type(value) == "table" and #value == 0 and not schedule.is(value) then
      local message = "preset %s has a part for '%s', but none for '%s'"
      layers.usage(self, message, path, tostring(key), self.name)
    end
  end
  return settings, path
end

--- A key whose value is code is never taken out of a run folder, which is data: the program or the
-- command line has to give it again.
local function want_code_again(self, saved)
  for name, value in pairs(saved) do
    local one = layers.find_row(self, name)
    local given
    if one then given = self.values[one.name] end
    if one and one.code and value ~= "" and given == "" then
      layers.usage(
        self,
        "%s names code, which is not taken out of a run folder; give it again: --%s %s",
        one.name,
        one.name,
        tostring(value)
      )
    elseif
      one
      and one.schedule
      and schedule.is_function_text(value)
      and self.source[one.name] == "default"
      and given:has_text()
    then
      layers.usage(
        self,
        "%s was a Lua %s, which a run folder does not keep; give it again",
        one.name,
        value
      )
    end
  end
end

local function load_saved(self, folder)
  local path = folder .. "/config.json"
  local text = read_text(path)
  if not text then return nil, path end
  local settings, wrong = require("perilune.base.json").decode(text)
  if type(settings) ~= "table" then
    layers.usage(self, "%s cannot be read back: %s", path, tostring(wrong))
  elseif type(settings._recipe) == "string" and settings._recipe ~= self.name then
    layers.usage(
      self,
      "%s holds a run of %s, which cannot be resumed as one of %s; give another --output_dir",
      folder,
      settings._recipe,
      self.name
    )
  end
  return settings, path
end

local function add_rows(self, rows, fail)
  for _, raw in ipairs(rows) do
    if type(raw) == "string" then
      self.rows[#self.rows + 1] = raw
    elseif type(raw) ~= "table" then
      fail("a config lists rows and headings, not a " .. type(raw))
    else
      local one, message = param.new(raw)
      if not one then
        fail(message)
      elseif self.by_name[one.name] then
        fail(("key '%s' is defined twice"):format(one.name))
      elseif self.reserved[one.name] or one.name == "help" or one.name == "preset" then
        fail(
          ("key '%s' would hide the config's own '%s'; choose another name"):format(
            one.name,
            one.name
          )
        )
      end
      self.rows[#self.rows + 1] = one
      self.by_name[one.name] = one
    end
  end
end

local spec_fields = {
  name = true,
  about = true,
  check = true,
  without = true,
  keep = true,
  args = true,
  recipe = true,
  usage = true,
}

local function check_fields(spec, fail)
  local names = {}
  for key in pairs(spec_fields) do
    names[#names + 1] = key
  end
  for key in pairs(spec) do
    if type(key) == "string" and not spec_fields[key] then
      local text = "config has no field '%s'%s; a key is written as a row, "
        .. '{ %s = default, "meaning" }'
      fail(text:format(key, nearest.hint(key, names), key))
    end
  end
end

-- The recipe's rows, groups of them taken apart.
local function rows_of(self, spec)
  local rows = {}
  for _, raw in ipairs(spec) do
    if type(raw) == "table" and type(raw[1]) == "table" then
      list.append(rows, raw)
      self.checks[#self.checks + 1] = raw.check
    else
      rows[#rows + 1] = raw
    end
  end
  return rows
end

-- Names of the rows of every recipe, and of those that this one is without.
local function common_names(spec)
  local is_common, without = {}, {}
  for _, name in ipairs(spec.without or {}) do
    without[name] = true
  end
  for _, raw in ipairs(common.rows) do
    local name = param.new(raw).name
    is_common[name] = true
    without[name] = without[name] or spec.keep ~= nil or nil
  end
  for _, name in ipairs(spec.keep or {}) do
    without[name] = nil
  end
  return is_common, without
end

-- The rows of every recipe with this one's defaults, but for those that it is without.
local function shared_rows(self, without, defaults)
  local shared = { "Run" }
  for _, raw in ipairs(common.rows) do
    local copy = {}
    for key, value in pairs(raw) do
      copy[key] = value
    end
    local name = param.new(raw).name
    if defaults[name] ~= nil then
      copy[name] = defaults[name]
    elseif name == "output_dir" then
      copy[name] = "runs/" .. self.name
    end
    if not without[name] then shared[#shared + 1] = copy end
  end
  return shared
end

--- Rows of the recipe and of every recipe, in the order of --help. A row of the recipe that has the
-- name of a common one and no meaning is another default for it.
function layers.build_rows(self, spec, fail)
  check_fields(spec, fail)
  local is_common, without = common_names(spec)
  local own, defaults = {}, {}
  for _, raw in ipairs(rows_of(self, spec)) do
    local one = type(raw) == "table" and param.new(raw)
    if one and is_common[one.name] and not raw[1] then
      defaults[one.name] = one.default
    else
      own[#own + 1] = raw
      without[one and one.name or ""] = one and true or nil
    end
  end
  add_rows(self, own, fail)
  add_rows(self, shared_rows(self, without, defaults), fail)
  for _, one in ipairs(self.rows) do
    if type(one) == "table" and not one.derived and not one.required then
      local ok, message = layers.assign(self, one, one.default, "default")
      if not ok then fail("default of " .. message) end
    end
  end
end

-- The command line as {name, value} in its order.
local function read_command_line(self, args)
  local given, wrong = command_line.split(args, function(name, negated)
    local one, alias = layers.find_row(self, name)
    if one then
      tell_alias(self, alias, one)
      return one
    end
    if negated then
      one, alias = layers.find_row(self, negated)
    end
    if one then
      tell_alias(self, alias, one)
      return one, "negated"
    end
    layers.usage(self, layers.unknown(self, name))
  end)
  if not given then layers.usage(self, wrong) end
  return given
end

-- The settings of the run that is resumed, and its folder as output_dir; nil when it has none yet.
local function apply_saved(self, resume, folder)
  if not folder then
    local checkpoint = resume:gsub("/+$", "")
    folder = resume == "latest" and self.values.output_dir or neighbours.folder_of(checkpoint)
  end
  local saved, path = load_saved(self, folder)
  if saved then
    self.saved = saved
    assign_table(
      self,
      saved,
      path,
      function(one)
        return one.transient
          or one.code
          or one.name == "output_dir"
          or one.schedule and schedule.is_function_text(saved[one.name])
      end
    )
  end
  if self.by_name.output_dir then layers.assign(self, self.by_name.output_dir, folder, "resume") end
  return saved
end

local function check_required(self)
  for _, one in ipairs(self.rows) do
    local value = type(one) == "table" and self.values[one.name]
    if type(one) == "table" and one.required and (value == nil or value == "") then
      layers.usage(
        self,
        "--%s is %s: %s",
        one.name,
        value and "empty" or "missing",
        one.meaning or "it has no default"
      )
    elseif type(one) == "table" and one.name == "output_dir" and value == "" then
      layers.usage(self, "--output_dir is empty: give the folder of the run")
    end
  end
end

--- Put saved settings, presets, given settings and the command line into place, in that order.
function layers.apply_all(self, args, settings)
  if command_line.asks_for_help(args) then
    self.help_wanted = true
    return
  end
  local given = read_command_line(self, args)
  local wants = {}
  for _, item in ipairs(given) do
    wants[item.name] = item.value
  end
  local resume = wants.resume or settings.resume or self.values.resume
  local saved = resume and apply_saved(self, resume, wants.output_dir or settings.output_dir)
  local preset = wants.preset or settings.preset
  if preset then
    self.preset = preset
    local found, path = load_preset(self, preset)
    assign_table(self, found, "preset " .. path)
  end
  local rest = {}
  for key, value in pairs(settings) do
    if key ~= "preset" then rest[key] = value end
  end
  assign_table(self, rest, "settings")
  for _, item in ipairs(given) do
    if item.name ~= "preset" then
      local ok, message = layers.assign(self, self.by_name[item.name], item.value, "command line")
      if not ok then layers.usage(self, "command line: %s", message) end
    end
  end
  if saved then want_code_again(self, saved) end
  check_required(self)
end

--- Whether an error value is a usage error.
-- @tparam any err
-- @treturn boolean
function layers.is_usage_error(err) return getmetatable(err) == Usage end

return layers
