--- What the runs of a pool were made of: their words, and the content of the files these name.
--
-- A path is no identity. A judge, a data set or a model that was changed in its place would give a
-- page of runs that were done before beside others of another kind, and nothing would tell. So
-- made_of.json in the pool's folder has, for each run, hashes of what its words name, and a run
-- that has begun is held to them. One that failed before its first checkpoint begins anew.

local data = require("perilune.data")
local files = require("perilune.base.files")
local format = require("perilune.base.format")
local grid = require("perilune.cli.support.grid")
local lfs = require("lfs")
local pool = require("perilune.cli.support.pool")

local made_of = {}

local written = { output_dir = true, store = true } -- keys of what a run itself writes

-- A hash of what a path names, nil when it names nothing: a file, or all files right in a folder.
local function content(path)
  local mode = lfs.attributes(path, "mode")
  if mode == "file" then return (files.hash(path)) end
  if mode ~= "directory" then
    local ok, hash = pcall(data.hash, path) -- a part of a store
    return path:find("#", 1, true) and ok and hash or nil
  end
  local names, parts = {}, {}
  for name in lfs.dir(path) do
    if lfs.attributes(path .. "/" .. name, "mode") == "file" then names[#names + 1] = name end
  end
  table.sort(names)
  for i, name in ipairs(names) do
    parts[i] = name .. " " .. tostring(files.hash(path .. "/" .. name))
  end
  return files.hash_string(table.concat(parts, "\n"))
end

-- Hashes by path of what the words of a run name; `known` keeps them, nil is false there.
local function named(one, known)
  local found = {}
  local function add(path)
    if known[path] == nil then known[path] = content(path) or false end
    found[path] = known[path] or nil
  end
  for _, pair in ipairs(grid.pairs_of(one.words) or {}) do
    local key, value = pair[1], pair[2]
    if type(value) == "string" and value ~= "" and not written[key] then
      add(value)
      for _, part in ipairs(value:find(",", 1, true) and grid.split(value) or {}) do
        add(part)
      end
    end
  end
  return found
end

-- The settings that words give, each as text; of a key that comes twice the last.
local function settings_in(words)
  local list, settings = {}, {}
  for word in (words .. "\n"):gmatch("([^\n]*)\n") do
    list[#list + 1] = word
  end
  for _, pair in ipairs(grid.pairs_of(list) or {}) do
    settings[pair[1]] = tostring(pair[2])
  end
  return settings
end

-- What words give otherwise than those before them: "KEY was A and is B", of each key that differs.
local function apart(before, now)
  local old, new = settings_in(before), settings_in(now)
  local both, found = {}, {}
  for _, settings in ipairs { old, new } do
    for key in pairs(settings) do
      both[key] = true
    end
  end
  for _, key in ipairs(grid.keys(both, {})) do
    if old[key] ~= new[key] then
      local text = "%s was %s and is %s"
      found[#found + 1] = text:format(key, old[key] or "not given", new[key] or "not given")
    end
  end
  return table.concat(found, ", ")
end

local function hold(folder, one, now, before)
  local differs = before.words ~= now.words and apart(before.words, now.words) or ""
  if differs ~= "" then
    local text = "%s holds %s with other settings (%s); give these as they were, or another "
      .. "--output_dir"
    error(text:format(folder, one.name, differs), 0)
  end
  for _, path in ipairs(grid.keys(before.files or {}, {})) do
    if now.files[path] ~= before.files[path] then
      local text = "%s holds %s, made when %s had another content: figures of both would stand "
        .. "side by side; put it back, or give another --output_dir"
      error(text:format(folder, one.name, path), 0)
    end
  end
end

local function kept(folder)
  local all = files.read_json(folder .. "/made_of.json")
  return type(all) == "table" and all or {}
end

--- The runs that a folder has, or was asked for before.
-- @tparam string folder of the pool
-- @treturn {[string]=table} by their names
function made_of.names(folder) return kept(folder) end

--- Holds runs that have begun to what they were made of, and notes what the others are made of.
-- Raises when something was changed; of a recipe that was, it only tells.
-- @tparam string folder of the pool, which this process has taken
-- @tparam {PooledRun,...} runs
-- @tparam function note that is told a line
function made_of.hold(folder, runs, note)
  local before, known, told = kept(folder), {}, {}
  for _, one in ipairs(runs) do
    local now = { words = table.concat(one.words, "\n"), files = named(one, known) }
    now.recipe = files.hash(one.recipe)
    local old = before[one.name]
    if type(old) == "table" and pool.has_begun(one.folder) then
      hold(folder, one, now, old)
      if old.recipe ~= now.recipe and not told[one.recipe] then
        told[one.recipe] = true
        local text = "warning: %s was changed since %s was made"
        note(text:format(format.safe(one.recipe), format.safe(one.name)))
      end
      now.recipe = old.recipe
    end
    before[one.name] = now
  end
  assert(files.write_json(folder .. "/made_of.json", before))
end

return made_of
