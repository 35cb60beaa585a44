--- What was meant by a name that is not there: a recipe, a command, a script.

local commands = require("perilune.cli.support.commands")
local format = require("perilune.base.format")
local host = require("perilune.host")
local lfs = require("lfs")
local nearest = require("perilune.base.nearest")
local neighbours = require("perilune.config.neighbours")

local nearby = {}

-- The entry of a folder that was probably meant by a name; folders end in "/".
local function nearest_entry(place, name, wanted)
  local names, stems = {}, {}
  for entry in lfs.dir(place) do
    local mode = lfs.attributes(place .. "/" .. entry, "mode")
    if (mode == "directory") == (wanted == "directory") and entry:sub(1, 1) ~= "." then
      names[#names + 1] = entry
      stems[entry] = true
    end
  end
  return stems[name .. ".lua"] and name .. ".lua" or nearest.find(name, names)
end

--- The path that was probably meant by one that is not there: each part of it that does not exist
-- is replaced by its nearest neighbour.
-- @tparam string path
-- @tparam ?string place the folder that it starts from (default: the current one)
-- @treturn ?string nil when nothing is near
function nearby.path(path, place)
  place = path:sub(1, 1) == "/" and "/" or place or "."
  local parts, found = {}, path:sub(1, 1) == "/" and "" or nil
  for part in path:gmatch("[^/]+") do
    parts[#parts + 1] = part
  end
  for i, part in ipairs(parts) do
    local wanted = i < #parts and "directory" or "file"
    if lfs.attributes(place, "mode") ~= "directory" then return nil end
    if lfs.attributes(place .. "/" .. part, "mode") ~= wanted then
      part = nearest_entry(place, part, wanted)
    end
    if not part then return nil end
    place, found = place .. "/" .. part, found and found .. "/" .. part or part
  end
  return found
end

local function hint_of(path)
  return path and ("; did you mean '%s'?"):format(format.safe(path)) or ""
end

--- Says that there is no such recipe, on standard error, and which are meant or there.
-- @tparam string asked
-- @tparam ?string command that was asked (default: "run")
-- @treturn integer the exit status
function nearby.no_recipe(asked, command)
  local names = {}
  for i, recipe in ipairs(neighbours.recipes()) do
    names[i] = recipe.name
  end
  local meant = asked == "demo" and "quickstart" -- a command, and its recipe
  meant = meant or nearby.path(asked) or nearest.find(asked, names) or nearby.path(asked, host.root)
  local rest = meant and hint_of(meant)
    or ("; recipes are %s, or the path of a Lua file"):format(table.concat(names, ", "))
  local text = "perilune %s: there is no recipe '%s'%s\n"
  io.stderr:write(text:format(command or "run", format.safe(asked), rest))
  return 1
end

--- Says that there is no such command or script, on standard error, and what is near.
-- @tparam string asked
-- @treturn integer the exit status
function nearby.no_command(asked)
  if asked:find("[./]") then
    local text = "perilune: cannot open %s: there is no such file%s\n"
    io.stderr:write(text:format(format.safe(asked), hint_of(nearby.path(asked))))
    return 1
  end
  local known = commands.names()
  local meant = nearest.find(asked, known) or nearby.path(asked)
  if not meant and lfs.attributes(host.root .. "/perilune", "mode") == "file" then
    meant = nearest.find(asked, { "build", "lint", "test" }) -- words of the launcher
  end
  local text = "perilune: no command or script is named '%s'%s\ncommands: %s; "
    .. "'perilune help' explains\n"
  local hint = hint_of(meant)
  if meant == asked then
    hint = (": './perilune %s', the launcher of a checkout, does that"):format(asked)
  end
  io.stderr:write(text:format(format.safe(asked), hint, table.concat(known, " ")))
  return 1
end

return nearby
