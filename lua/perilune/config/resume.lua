--- Going on from a checkpoint: which keys may have another value than it has, and what becomes of
-- those that were given anew. `self` is what `config` keeps of a config.

local layers = require("perilune.config.layers")
local lfs = require("lfs")
local param = require("perilune.config.param")
local schedule = require("perilune.config.schedule")

local resume = {}

-- Whether a text is the path of something, which is compared by its content.
local function is_path(text)
  return type(text) == "string" and (text:find("/", 1, true) or lfs.attributes(text, "mode")) ~= nil
end

local function spans_run(self)
  for _, value in pairs(self.values) do
    if schedule.is(value) and value:spans_run() then return true end
  end
  return false
end

-- Whether a key may have another value than the checkpoint has, without being asked for.
local function may_differ(self, one, given, saved)
  if one.free or is_path(given) or is_path(saved) then return true end
  return one.name == "max_steps" and not spans_run(self)
end

--- What `resume_changed` allows to differ: keys, and "recipe", the recipe's own file.
-- @treturn {[string]=boolean}
function resume.changes_allowed(self)
  local allowed = {}
  for _, name in ipairs(self.values.resume_changed or {}) do
    local one = layers.find_row(self, name)
    if not one and name ~= "recipe" and self.source.resume_changed == "command line" then
      layers.usage(self, "resume_changed: %s", layers.unknown(self, name))
    end
    allowed[one and one.name or name] = true
  end
  return allowed
end

-- Refuse a checkpoint whose keys differ from what was given, both values named.
local function refuse_changes(self, path, changes)
  if #changes == 0 then return end
  local texts, names = {}, {}
  for i, change in ipairs(changes) do
    texts[i] = ("%s is %s there, %s was given"):format(change.key, change.saved, change.given)
    names[i] = change.key
  end
  layers.usage(
    self,
    "%s was made with other settings: %s. Leave them as they were, or go on with "
      .. "--resume_changed %s",
    path,
    table.concat(texts, "; "),
    table.concat(names, ",")
  )
end

-- Whether a key was given to this process, by its command line, its caller or the preset that was
-- named, and is not what the run was begun with.
local function was_given(self, one, given_text)
  local source, begun_with = self.source[one.name], self.saved and self.saved[one.name]
  local repeats = begun_with ~= nil
    and param.value_text(one, param.coerce(one, begun_with)) == given_text
  local by_program = source == "settings" or source ~= nil and source:find("^preset ") ~= nil
  return (source == "command line" or by_program) and not repeats
end

-- Values of the checkpoint by key; what was given anew and may be so, {key, old, value}; and what
-- may not, {key, saved, given}.
local function compared(self, state, path, allowed)
  local values, kept, refused, names = {}, {}, {}, {}
  for name in pairs(state.values) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local one = self.by_name[name]
    if one and not one.derived and not one.code and not one.transient and name ~= "output_dir" then
      local given = self.values[name]
      local saved, message = param.coerce(one, state.values[name])
      if saved == nil then layers.usage(self, "%s: %s", path, message) end
      values[name] = saved
      local given_text, saved_text = param.value_text(one, given), param.value_text(one, saved)
      if given_text ~= saved_text and was_given(self, one, given_text) then
        if allowed[name] or may_differ(self, one, given, saved) then
          kept[#kept + 1] = { key = name, old = param.plain(saved), value = given }
        else
          refused[#refused + 1] = { key = name, saved = saved_text, given = given_text }
        end
      end
    end
  end
  for name, text in pairs(state.functions or {}) do
    local given = self.values[name]
    if schedule.is(given) and given:has_text() and not allowed[name] then
      refused[#refused + 1] = { key = name, saved = "a Lua " .. text, given = tostring(given) }
    end
  end
  return values, kept, refused
end

--- Takes the values of a checkpoint, and keeps what was given anew where that is allowed. Raises
-- with all keys that differ and may not.
-- @tparam table state as of `Config:state`
-- @tparam string path of the checkpoint, for messages
-- @treturn {{key=string,old=any},...} what was kept, to be journalled: the values are set
function resume.load(self, state, path)
  local allowed = resume.changes_allowed(self)
  local values, kept, refused = compared(self, state, path, allowed)
  refuse_changes(self, path, refused)
  self.step = state.step
  for name, saved in pairs(values) do
    local ok, message = layers.assign(self, self.by_name[name], saved, self.source[name])
    if not ok then layers.usage(self, "%s: %s", path, message) end
  end
  for _, change in ipairs(kept) do
    self.values[change.key] = change.value
  end
  for name, memory in pairs(state.schedules or {}) do
    if schedule.is(self.values[name]) and not allowed[name] then
      self.values[name]:load_state(memory)
    end
  end
  return kept
end

return resume
