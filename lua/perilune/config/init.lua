--- The hyper-parameters of a recipe: declared once, set from anywhere, watched while it runs.
--
--     local cfg = config {
--       name = "ppo", about = "PPO-ptx against a reward model (Ouyang et al. 2022)",
--       "Objective",
--       { kl_coef = 0.05, "β: weight of the per-token KL", min = 0, schedule = true },
--       { whiten_rewards = false, "divide rewards by their standard deviation" },
--       { rows = function(c) return c.batch_size // c.num_mini_batches end, "rows in a step" },
--     }
--
-- Rows have the fields of ConfigRow; a bare text is a heading of `--help`; a list of
-- rows is a group, such as `config.adam {}`; the keys that all recipes have
-- (perilune.config.common) are added, or given other defaults by a row of the same name. Later
-- wins: default, config.json of the run that is resumed, preset, settings of the caller
-- (`config.run_recipe`), command line.
--
-- Reading `cfg.seed` gives the value; a key with `schedule = true` gives a schedule, called as
-- `cfg.kl_coef(step)` whether it was set to a number or to a function of the step. Reading, writing
-- or passing a name that is not there is an error that names the nearest one.
--
-- Live changes: a loop begins each step with `cfg:at(step)` (`run:at` does). `cfg:set(key, value)`,
-- or `cfg.key = value`, checks the value, takes hold at once and is journalled as {step, key, old,
-- new}. Changes belong right after `cfg:at(step)`, where a journal given to `cfg:replay` puts them
-- again. What was read before the first step, unless as a schedule, is built into the run by then:
-- a change is refused, since it would reach only a part of what follows from the key.
--
-- May use: base.

local lfs = require("lfs")

local unclosed = require("perilune.base.unclosed")
local adam = require("perilune.config.adam")
local ensemble = require("perilune.config.ensemble")
local evaluation = require("perilune.config.evaluation_rows")
local layers = require("perilune.config.layers")
local nearest = require("perilune.base.nearest")
local neighbours = require("perilune.config.neighbours")
local param = require("perilune.config.param")
local peft = require("perilune.config.peft")
local policy_rows = require("perilune.config.policy_rows")
local precision = require("perilune.config.precision")
local resume = require("perilune.config.resume")
local schedule = require("perilune.config.schedule")
local terminal = require("perilune.base.terminal")
local usage = require("perilune.config.usage")

local config = { adam = adam, evaluation = evaluation, peft = peft, precision = precision }
config.online = policy_rows.online
config.sampling = policy_rows.sampling
config.groups = policy_rows.groups
config.credit = policy_rows.credit
config.policy_steps = policy_rows.policy_steps
config.scores = policy_rows.scores
config.kl = policy_rows.kl
config.likelihood = policy_rows.likelihood
config.forwards = policy_rows.forwards
config.ptx = policy_rows.ptx
config.average = policy_rows.average
config.held_out = policy_rows.held_out
config.ensemble = ensemble

local Config = { __name = "config" }
--- A config: its keys are its fields.
-- @class Config
local methods = {}

-- The state of each config, kept apart so that the config itself has nothing but its keys.
local hidden = setmetatable({}, { __mode = "k" })

--- Whether an error value is a wrong command line or setting, to be shown without a traceback.
-- @tparam any err what an error was raised with
-- @treturn boolean
function config.is_usage_error(err) return layers.is_usage_error(err) end

local function run_check(self, cfg)
  self.unnoted = self.unnoted + 1
  local message
  for _, check in ipairs(self.checks) do
    message = message or check(cfg)
  end
  self.unnoted = self.unnoted - 1
  if message then return tostring(message) end
end

-- Settings that the next config takes instead of the command line; see run_recipe.
local pending

-- In their place: only the names of the rows are asked for, which come out of the recipe as an
-- error.
local asking, Asked = {}, {}

local own_source = debug.getinfo(1, "S").source

--- The recipe that calls us: its path, nil for text typed into a REPL, and "path:line:".
local function calling_recipe()
  for level = 3, 20 do
    local info = debug.getinfo(level, "Sl")
    if not info then
      return nil, ""
    elseif info.what ~= "C" and info.source ~= own_source then
      return info.source:match("^@(.+)$"), ("%s:%d: "):format(info.short_src, info.currentline)
    end
  end
end

--- Declare a recipe's keys and read the command line. Called as `config { ... }`. With --help it
-- prints and leaves the program. What is wrong with the rows, or with the command line, raises.
-- @tparam table spec rows (of ConfigRow), headings and groups; and `name` (required), `about`: what
--   --help says of the recipe; `check`: a function of the config that returns a sentence when keys
--   do not fit together (a group may have one too); `without`: list of common keys this recipe has
--   no use for, or `keep`: of the only ones it has a use for; `args`: instead of the global `arg`;
--   `recipe`: path of its file; `usage`: how it is called, for --help
-- @treturn Config
function config.new(spec)
  local recipe, place = calling_recipe()
  local function fail(message) error(place .. "config: " .. message, 0) end
  if type(spec) ~= "table" or type(spec.name) ~= "string" then
    fail('it takes a table with at least a name, config { name = "ppo", ... }')
  end
  local self = {
    name = spec.name,
    about = spec.about,
    checks = { spec.check },
    usage = spec.usage,
    recipe = spec.recipe or recipe,
    rows = {},
    by_name = {},
    reserved = methods,
    values = {},
    source = {},
    journal = {},
    listeners = {},
    told = {},
    notes = {},
    step = 0,
    early = {}, -- keys that were read before the first step
    unnoted = 0, -- above 0: reads that do not count as such
  }
  layers.build_rows(self, spec, fail)
  local settings = pending
  pending = nil
  if settings == asking then error(setmetatable({ names = layers.known_names(self) }, Asked), 0) end
  local args = spec.args or (settings == nil and type(arg) == "table" and arg) or {}
  layers.apply_all(self, args, settings or {})
  if self.help_wanted then
    io.stdout:write(usage.text(self, terminal.width(), terminal.has_color(1)))
    os.exit(0, true)
  end
  for _, note in ipairs(self.notes) do
    io.stderr:write(("%s: note: %s\n"):format(self.name, note))
  end
  local meta = { __names = {} } -- for completion, which asks no function
  for key, value in pairs(Config) do
    meta[key] = value
  end
  for _, name in ipairs(layers.known_names(self)) do
    meta.__names[name] = true
  end
  local cfg = setmetatable({}, meta)
  hidden[cfg] = self
  local message = run_check(self, cfg)
  if message then layers.usage(self, message) end
  return cfg
end

setmetatable(config, {
  __call = function(_, spec) return (config.new(spec)) end,
})

--- Run a recipe's file with settings in place of a command line, and return what it returns. Raises
-- when there is no such file, or when it raises.
-- @tparam string recipe its path; or its name, beside the calling recipe or as Perilune brings it
-- @tparam ?{[string]=any} settings values by key; "preset" names a preset
-- @treturn any whatever the recipe returns
function config.run_recipe(recipe, settings)
  local path = recipe
  if not lfs.attributes(recipe, "mode") then
    path = neighbours.find((recipe:gsub("^recipes/", "")), (calling_recipe())) or recipe
  end
  local chunk, message = loadfile(path)
  if not chunk then error(message, 2) end
  local outer, outer_path, mark = pending, neighbours.look_beside(path), unclosed.mark()
  pending = settings or {}
  local _ <close> = setmetatable({}, {
    __close = function(_, err)
      pending, package.path = outer, outer_path
      if err then unclosed.release(mark) end
    end,
  })
  local results = table.pack(chunk())
  return table.unpack(results, 1, results.n)
end

--- The keys that a recipe has, its file being run as far as its config. Raises when it cannot be
-- run that far, or has no config.
-- @tparam string recipe its path or name, as for `run_recipe`
-- @treturn {[string]=boolean} true for each key
function config.keys_of(recipe)
  if type(recipe) ~= "string" then
    error("config.keys_of: a recipe's path or name is wanted, got a " .. type(recipe), 2)
  end
  local ok, result = pcall(config.run_recipe, recipe, asking)
  if ok or getmetatable(result) ~= Asked then
    error(ok and ("%s has no config"):format(recipe) or result, 0)
  end
  local keys = {}
  for _, name in ipairs(result.names) do
    keys[name] = true
  end
  return keys
end

--- What is known of a config besides its values: `name`, `about`, `recipe`, `preset`, `step`.
-- @tparam Config cfg
-- @treturn table a copy: `name`, `about`, `recipe` (its file), `preset`, `step` (the one that is
--   done, from 1; 0 before the first), and `steps` (of the run) once they are told
function config.describe(cfg)
  local self = hidden[cfg]
  return {
    name = self.name,
    about = self.about,
    recipe = self.recipe,
    preset = self.preset,
    step = self.step,
    steps = self.horizon,
  }
end

--- Whether a key names code, which is never taken out of a run folder.
-- @tparam Config cfg
-- @tparam string key its name
-- @treturn boolean
function config.runs_code(cfg, key)
  local one = hidden[cfg].by_name[key]
  return one ~= nil and one.code == true
end

--- Whether a value is a config.
-- @tparam any value of any type
-- @treturn boolean
function config.is(value) return hidden[value] ~= nil end

-- Rooms that look at keys to show or check them and build nothing of them.
local onlookers = { "/perilune/run/", "/perilune/config/", "/perilune/show/", "/perilune/cli/" }

-- Notes who reads a key before the first step; called by __index alone.
local function note_reader(self, key)
  if self.unnoted > 0 then return end
  local info = debug.getinfo(3, "S")
  for _, room in ipairs(onlookers) do
    if info and info.source:find(room, 1, true) then return end
  end
  self.early[key] = true
end

-- The keys that pl.adamw reads.
local of_adam = {}
for _, row in ipairs(adam {}) do
  of_adam[param.new(row).name] = true
end

function Config.__index(cfg, key)
  local self = hidden[cfg]
  local value = self.values[key]
  if not self.begun then note_reader(self, key) end
  if value ~= nil then
    return value
  elseif methods[key] then
    return methods[key]
  end
  local one = self.by_name[key]
  if one and one.derived then return one.default(cfg) end
  local hint = nearest.hint(tostring(key), layers.known_names(self))
  if of_adam[key] then hint = "; pl.config.adam {} among its rows brings those of the optimizer" end
  error(("there is no key '%s' in the config of %s%s"):format(tostring(key), self.name, hint), 2)
end

--- Journal a change that was made, and tell whoever listens.
local function note_change(self, key, old, more)
  local entry = { step = self.step, key = key, old = old, new = param.plain(self.values[key]) }
  for name, value in pairs(more or {}) do
    entry[name] = value
  end
  self.journal[#self.journal + 1] = entry
  for _, listener in ipairs(self.listeners) do
    listener(entry)
  end
end

-- Why a key cannot be changed any more; nil when it can.
local function settled(self, one)
  if not self.begun or one.derived then
    return nil
  elseif one.live == false then
    return ("%s is settled when a run begins and cannot be changed while it goes"):format(one.name)
  elseif self.early[one.name] and not one.schedule and not one.live then
    local text = "%s was read before the first step, so a change would reach only a part of what "
      .. "follows from it: stop the run, and go on with --resume --resume_changed %s --%s VALUE"
    return text:format(one.name, one.name, one.name)
  end
end

-- `more`: further fields of the journal's entry; with `memory` a schedule goes on from it.
local function set(cfg, key, value, level, more)
  local self = hidden[cfg]
  local one = layers.find_row(self, tostring(key))
  if not one then error(layers.unknown(self, tostring(key)), level + 1) end
  local old, old_source = self.values[one.name], self.source[one.name]
  local message = settled(self, one)
  if message then error(message, level + 1) end
  local ok
  ok, message = layers.assign(self, one, value, "live")
  if ok then
    message = run_check(self, cfg) or self.guard and self.guard(one.name, self.values[one.name])
    if message then
      self.values[one.name], self.source[one.name] = old, old_source
    end
  end
  if message then error(message, level + 1) end
  if more and more.memory then self.values[one.name]:load_state(more.memory) end
  local noted = {}
  for name, field in pairs(more or {}) do
    noted[name] = field
  end
  noted.old_memory = schedule.is(old) and old:state() or nil
  note_change(self, one.name, param.plain(old), noted)
end

function Config.__newindex(cfg, key, value) set(cfg, key, value, 2) end

function Config.__pairs(cfg)
  local names, i = layers.known_names(hidden[cfg]), 0
  return function()
    i = i + 1
    local name = names[i]
    if name then return name, cfg[name] end
  end
end

function Config.__tostring(cfg)
  local self = hidden[cfg]
  local lines = { self.name }
  for name, value in pairs(cfg) do
    local source = self.source[name]
    local note = source and source ~= "default" and "   -- " .. source or ""
    local text = param.value_text(self.by_name[name], value)
    lines[#lines + 1] = ("  %s = %s%s"):format(name, text, note)
  end
  return table.concat(lines, "\n")
end

--- Change a key while the recipe runs; the same as `cfg.key = value`. Raises on a wrong key or
-- value, and on a key that the run has already been built with.
-- @tparam string key its name
-- @tparam any value a value, a schedule, a function of the step, or text of any of these
-- @tparam ?table note further fields of the journal's entry: `by`, who made the change; `memory`,
--   the state that a schedule goes on from
function methods.set(cfg, key, value, note) set(cfg, key, value, 2, note) end

-- The fields of an entry that are kept when it is made again.
local carried = { "by", "undo", "memory", "time" }

-- Makes a change of a journal again.
local function repeat_change(cfg, self, entry)
  local more = { again = entry.again }
  for _, name in ipairs(carried) do
    more[name] = entry[name]
  end
  local ok, message = pcall(set, cfg, entry.key, entry.new, -1, more) -- without a place
  if not ok then
    layers.usage(self, "the journal's change at step %d cannot be made: %s", entry.step, message)
  end
end

--- Begin a step: changes from here on are journalled with it, and those of `replay` are made.
-- @tparam integer step the step that begins, from 1
function methods.at(cfg, step)
  local self = hidden[cfg]
  self.step, self.begun = step, true
  local waiting = self.waiting
  while waiting and waiting[1] do
    local entry = waiting[1]
    -- One that was made between two steps, when a run was resumed, belongs to the later.
    if entry.step > step or entry.by == "resume" and entry.step == step then return end
    repeat_change(cfg, self, table.remove(waiting, 1))
  end
end

--- Repeat the live changes of an earlier run at the steps they were made at. Raises for a key that
-- is not there.
-- @tparam {{step=integer,key=string,new=any},...} journal as of `Config:journal`
function methods.replay(cfg, journal)
  local self = hidden[cfg]
  self.waiting = {}
  for _, entry in ipairs(journal) do
    local one = self.by_name[entry.key]
    if not one then error("replay: " .. layers.unknown(self, tostring(entry.key)), 2) end
    -- What is settled when a run begins was given when it was resumed (max_steps, threads).
    if entry.by ~= "resume" or one.live ~= false then self.waiting[#self.waiting + 1] = entry end
  end
end

--- Have a function look at each value that a change would give a key, from now on.
-- @tparam ?function guard of name and value: gives a sentence to refuse it; nil: nobody looks
function methods.set_guard(cfg, guard)
  local self = hidden[cfg]
  self.guard = guard
end

--- All live changes so far.
-- @treturn {{step=integer,key=string,old=any,new=any},...} a copy, in the order they were made;
--   `step` from 1
function methods.journal(cfg)
  local list = hidden[cfg].journal
  return table.move(list, 1, #list, 1, {})
end

--- Call a function with each live change from now on.
-- @tparam function listener called with the journal's entry: {step =, key =, old =, new =}
function methods.on_change(cfg, listener)
  local list = hidden[cfg].listeners
  list[#list + 1] = listener
end

--- Tell schedules that span the run how many steps it has: `steps`, or `max_steps` when that is
-- less.
-- @tparam integer steps of the whole run
-- @treturn integer the steps of this run
function methods.set_horizon(cfg, steps)
  local self = hidden[cfg]
  local most = self.values.max_steps or 0
  self.all_steps = steps
  steps = most > 0 and math.min(steps, most) or steps
  self.horizon = steps
  for _, value in pairs(self.values) do
    if schedule.is(value) then value:set_horizon(steps) end
  end
  return steps
end

--- The steps that the run would have without `max_steps`; nil before they are told.
-- @treturn ?integer nil before they are told
function methods.all_steps(cfg) return hidden[cfg].all_steps end

--- Names of all keys, in the order of --help.
-- @treturn {string,...}
function methods.keys(cfg) return layers.known_names(hidden[cfg]) end

--- Where a key's value came from: "default", "command line", "live", or the name of a file. Raises
-- for a key that is not there.
-- @tparam string key its name
-- @treturn string
function methods.source(cfg, key)
  local self = hidden[cfg]
  if not self.by_name[key] then error(layers.unknown(self, tostring(key)), 2) end
  return self.source[key] or "derived"
end

--- The text of --help.
-- @tparam ?integer width columns (default: the terminal's)
-- @treturn string
function methods.help(cfg, width)
  width = width or terminal.width()
  return usage.text(hidden[cfg], width, false)
end

--- All values as JSON can hold them: schedules as text, derived keys apart.
-- Feeding the table to `config.run_recipe` gives an equal config.
-- @treturn {[string]=any} values by key
function methods.to_table(cfg)
  local self = hidden[cfg]
  local result = { _recipe = self.name, _preset = self.preset }
  self.unnoted = self.unnoted + 1
  for name, value in pairs(cfg) do
    if self.by_name[name].derived then
      result._derived = result._derived or {}
      result._derived[name] = param.plain(value)
    else
      result[name] = param.plain(value)
    end
  end
  self.unnoted = self.unnoted - 1
  return result
end

--- All keys as a page or a person needs them to change one: in the order of --help.
-- @treturn {table,...} `key`, `value`, `default`, `range`, `meaning` and `source` as texts; whether
--   it
--   may be a `schedule`; `settled`: why the key cannot be changed while the run goes
function methods.rows(cfg)
  local self, list = hidden[cfg], {}
  for _, one in ipairs(self.rows) do
    if type(one) == "table" and not one.derived then
      list[#list + 1] = {
        key = one.name,
        value = param.value_text(one, self.values[one.name]),
        default = param.value_text(one, one.default),
        range = param.range_text(one),
        meaning = one.meaning,
        source = self.source[one.name],
        schedule = one.schedule or false,
        settled = settled(self, one),
      }
    end
  end
  return list
end

--- What a checkpoint keeps of a config: live values and the memory of adaptive schedules.
-- @treturn table for `Config:load_state`: `step` (the one that is done), `values`, `schedules` and
--   `functions` by key
function methods.state(cfg)
  local self = hidden[cfg]
  local state = { step = self.step, values = {}, schedules = {}, functions = {} }
  for name, value in pairs(self.values) do
    local one = self.by_name[name]
    if schedule.is(value) and not value:has_text() then
      state.functions[name] = tostring(value)
    elseif not one.transient then
      state.values[name] = param.plain(value)
    end
    if schedule.is(value) then state.schedules[name] = value:state() end
  end
  return state
end

--- What `resume_changed` allows to differ: keys, and "recipe", the recipe's own file. What a
-- calling program gives may name keys of its other stages.
-- @treturn {[string]=boolean}
function methods.changes_allowed(cfg) return resume.changes_allowed(hidden[cfg]) end

--- Go on from a checkpoint. A key given on this process's command line, by its caller or by the
-- preset that was named must have the checkpoint's value, or the one that the run was begun with
-- (then it was changed live, and stays so), unless it changes no result or `resume_changed` names
-- it: then what was given is kept, and journalled as a change at the checkpoint's step. Files and
-- folders may have other names; their content is compared by the run. What differs raises, with all
-- its keys.
-- @tparam table state as of `Config:state`
-- @tparam ?string path of the checkpoint, for messages
function methods.load_state(cfg, state, path)
  local self = hidden[cfg]
  for _, change in ipairs(resume.load(self, state, path or "the checkpoint")) do
    note_change(self, change.key, change.old, { by = "resume" })
  end
end

return config
