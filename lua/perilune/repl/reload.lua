--- Edited modules swapped in while the session goes on.
--
-- The new source is run and its functions take the places of the old ones: in the module's table,
-- in the tables of functions it holds, and in those that its functions share as upvalues (a class
-- that is local to its file). So objects that were made before use the new methods. State stays:
-- values that are no functions keep their old value, and a new function sees the old function's
-- variables of the same name.

local lfs = require("lfs")

local reload = {}

local began = os.time()
local times = {} -- of the files that were swapped in

local function path_of(name)
  local path = package.searchpath(name, package.path)
  return path and lfs.attributes(path, "mode") == "file" and path or nil
end

--- The loaded modules whose files were written since they were loaded, or the session began.
-- @treturn {string,...} names, in order
function reload.edited()
  local list = {}
  for name, value in pairs(package.loaded) do
    local path = (type(value) == "table" or type(value) == "function") and path_of(name)
    local written = path and lfs.attributes(path, "modification") or 0
    if written > (times[name] or began) then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

-- Of a Lua function {name = {i, value}}; what C defines has none.
local function upvalues(func)
  local list = {}
  if debug.getinfo(func, "S").what == "C" then return list end
  for i = 1, math.huge do
    local name, value = debug.getupvalue(func, i)
    if not name then return list end
    if name ~= "" then list[name] = { i = i, value = value } end
  end
end

local swap_table

-- Lets a new function see the state of an old one, which may be nil. `swapped` has the new tables
-- that gave their functions to old ones, and the new functions that were seen.
local function join(old, new, swapped)
  if swapped.functions[new] then return end
  swapped.functions[new] = true
  local before = type(old) == "function" and upvalues(old) or {}
  for name, up in pairs(upvalues(new)) do
    local was = name ~= "_ENV" and before[name]
    if was and type(was.value) == "table" and type(up.value) == "table" then
      swap_table(was.value, up.value, swapped)
      debug.upvaluejoin(new, up.i, old, was.i)
    elseif type(up.value) == "function" then
      join(was and was.value, up.value, swapped)
    elseif was and was.value ~= nil then
      debug.upvaluejoin(new, up.i, old, was.i)
    end
  end
end

-- Puts the functions of a new table into an old one.
function swap_table(old, new, swapped)
  if old == new or swapped.tables[new] then return end
  swapped.tables[new] = old
  for key, value in next, new do
    local was = rawget(old, key)
    if type(value) == "function" then
      join(was, value, swapped)
      rawset(old, key, value)
    elseif type(value) == "table" and type(was) == "table" then
      swap_table(was, value, swapped)
    elseif was == nil then
      rawset(old, key, value)
    end
  end
  local lazy = (debug.getmetatable(new) or {}).__names
  for key, was in next, old do
    if type(was) == "function" and rawget(new, key) == nil and not lazy then old[key] = nil end
  end
end

-- What still names a new table gets the old one.
local function settle(swapped)
  for func in pairs(swapped.functions) do
    for _, up in pairs(upvalues(func)) do
      local old = type(up.value) == "table" and swapped.tables[up.value]
      if old then debug.setupvalue(func, up.i, old) end
    end
  end
end

--- Swaps in one module.
-- @tparam string name as given to require
-- @treturn ?string what was done
-- @treturn ?string message, when the module is not loaded, not found, or its file fails; then the
--   old one stays
function reload.module(name)
  local old, path = package.loaded[name], path_of(name)
  if old == nil then return nil, ("%s is not loaded"):format(name) end
  if not path then return nil, ("%s has no file on package.path"):format(name) end
  local chunk, message = loadfile(path)
  if not chunk then return nil, message end
  local ok, new = pcall(chunk, name, path)
  if not ok then return nil, tostring(new) end
  local swapped = { tables = {}, functions = {} }
  if type(new) == "table" and type(old) == "table" then
    swap_table(old, new, swapped)
  elseif type(new) == "function" and type(old) == "function" then
    join(old, new, swapped)
    package.loaded[name] = new
  else
    return nil, ("%s gives a %s now, it gave a %s"):format(name, type(new), type(old))
  end
  settle(swapped)
  times[name] = os.time()
  local note = type(new) == "function" and "; who holds the old function keeps it" or ""
  return ("%s  (%s)%s"):format(name, path, note)
end

return reload
