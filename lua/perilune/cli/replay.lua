--- `perilune replay RUN [--output_dir NEW] [--recipe FILE] [--key value]`: repeats a run with its
-- live changes, and says whether it came out the same to the bit.
--
-- Keys come from the run's config.json, changes from its journal.jsonl; NEW is RUN-replay when it
-- is not given. A run folder is data and never code: the recipe is the one of its name that comes
-- with Perilune, or given by --recipe; keys that name code (--reward_function) have to be given
-- again. A run whose weights somebody attached changed by hand cannot be replayed: it is refused.

local common = require("perilune.config.common")
local config = require("perilune.config")
local files = require("perilune.base.files")
local lfs = require("lfs")
local neighbours = require("perilune.config.neighbours")
local run = require("perilune.run")
local schedule = require("perilune.config.schedule")
local talk = require("perilune.run.talk")

local USAGE <const> = "perilune replay RUN [--output_dir NEW] [--recipe FILE] [--key value]"

local function fail(text, ...)
  io.stderr:write("perilune replay: ", text:format(...), "\n")
  return 1
end

-- The run's name and {key = value} of the rest; nil and what is wrong.
local function read_words(args)
  local name, given, i = nil, {}, 1
  while i <= #args do
    local word = args[i]
    local key, value = word:match("^%-%-([^=]+)=(.*)$")
    key = key or word:match("^%-%-(.+)$")
    if not key and name then return nil, ("'%s' is one word too many"):format(word) end
    if key and not value then
      i = i + 1
      value = args[i]
      if not value then return nil, ("--%s needs a value"):format(key) end
    end
    if key then
      given[key:gsub("%-", "_")] = value
    else
      name = word
    end
    i = i + 1
  end
  return name, given
end

-- The recipe to run: as given, or of the run's name beside our own.
local function recipe_of(folder, saved, given)
  local copy = folder .. "/recipe.lua"
  local path = given
  for _, recipe in ipairs(given and {} or neighbours.recipes()) do -- ours, never one beside us
    if recipe.name == saved._recipe then path = recipe.path end
  end
  if not path or not lfs.attributes(path, "mode") then
    return nil,
      (
        "which recipe made %s? give it with --recipe FILE (what a run folder holds is "
        .. "never run)"
      ):format(folder)
  end
  if lfs.attributes(copy, "mode") == "file" and files.hash(copy) ~= files.hash(path) then
    local text = "note: %s is not the text that %s was made with (a copy is in %s)\n"
    io.stderr:write(text:format(path, folder, copy))
  end
  return path
end

-- How many steps the run was given when it was resumed the last time; nil when that was not told.
local function resumed_steps(folder)
  local steps
  for _, entry in ipairs(run.read_rows(folder .. "/journal.jsonl") or {}) do
    if entry.by == "resume" and entry.key == "max_steps" then steps = entry.new end
  end
  return steps
end

local function settings_of(saved, given, folder, output)
  local settings = {}
  for key, value in pairs(saved) do
    if key:sub(1, 1) ~= "_" and not schedule.is_function_text(value) then settings[key] = value end
  end
  for _, row in ipairs(common.rows) do
    for key in pairs(row) do
      if row.transient then settings[key] = nil end
    end
  end
  settings.max_steps = resumed_steps(folder) or settings.max_steps
  for key, value in pairs(given) do
    settings[key] = value
  end
  settings.recipe, settings.output_dir, settings.replay_of = nil, output, folder
  return settings
end

-- Names of metrics that tell of the machine, or of how a change was made, not of the result: one
-- that a resume made is not made again (max_steps).
local function is_aside(name)
  return name == "time" or name == "changed" or name:find("seconds") or name:find("_per_")
end

-- The first difference of two lists of rows, as a sentence; nil when the shorter one is like the
-- beginning of the other.
local function difference(old, new)
  for i = 1, math.min(#old, #new) do
    local names = {}
    for _, row in ipairs { old[i], new[i] } do
      for name in pairs(row) do
        names[name] = not is_aside(name) or nil
      end
    end
    for name in pairs(names) do
      local a, b = old[i][name], new[i][name]
      if a ~= b and not (a ~= a and b ~= b) then
        local text = "at step %s %s was %s and is %s"
        return text:format(old[i].step, name, tostring(a), tostring(b))
      end
    end
  end
end

-- Says whether the run came out the same: the exit status.
local function compare(folder, output)
  local function summary(of)
    local figures = files.read_json(of .. "/summary.json")
    return type(figures) == "table" and figures or {}
  end
  local function rows(of) return run.read_rows(of .. "/metrics.jsonl", { numbers = true }) or {} end
  local old, new = summary(folder), summary(output)
  local old_rows, new_rows = rows(folder), rows(output)
  local differs = difference(old_rows, new_rows)
  local same = old.weights_hash == nil or old.weights_hash == new.weights_hash
  if same and not differs and old.weights_hash then
    print(("%s is the same run: weights %s, %d rows"):format(output, new.weights_hash, #new_rows))
  elseif not differs and not old.weights_hash then
    local text = "%s has not ended; its %d rows are the same"
    print(text:format(folder, math.min(#old_rows, #new_rows)))
  else
    local weights = ("weights were %s and are %s"):format(old.weights_hash, new.weights_hash)
    print(("%s is another run: %s"):format(output, differs or weights))
    return 1
  end
  return 0
end

return function(args)
  local name, given = read_words(args)
  if not name then
    return fail("%s usage: %s", type(given) == "string" and given .. ";" or "which run?", USAGE)
  end
  local folder, message = talk.folder(name)
  if not folder then return fail("%s", message) end
  local saved = files.read_json(folder .. "/config.json")
  if type(saved) ~= "table" then return fail("%s/config.json cannot be read", folder) end
  local recipe
  recipe, message = recipe_of(folder, saved, given.recipe)
  if not recipe then return fail("%s", message) end
  local output = given.output_dir or folder .. "-replay"
  config.run_recipe(recipe, settings_of(saved, given, folder, output))
  return compare(folder, output)
end
