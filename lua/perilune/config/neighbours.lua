--- Where recipes, and the files beside a recipe, are found.
--
-- The neighbours of a recipe are the modules, presets and recipes in its own folder: in
-- recipes/stories.lua, `require "stories.gold"` means recipes/stories/gold.lua. What the recipe's
-- folder does not hold is taken from the recipes that come with Perilune, so a recipe that was
-- copied to another folder works alone, or with copies of those neighbours that are to differ.
--
-- Loading this module completes package.path, in the program and in stock Lua alike. Module names
-- are one space, as everywhere in Lua: two folders that hold a module of one name share the one
-- that was required first.

local lfs = require("lfs")

local neighbours = {}

--- The folder of a file; "." when its path names none or there is no path.
function neighbours.folder_of(path) return path and path:match("^(.*)/[^/]*$") or "." end

-- The recipes that come with Perilune. An installed library may be reached through a link, of
-- which the operating system knows the parent and the text of the path does not.
local library = debug.getinfo(1, "S").source:match("^@(.*)/config/neighbours%.lua$")
local root = library:match("^(.*)/lua/perilune$")
local shipped = root and root .. "/recipes" or library .. "/../../recipes"

--- A file by its name: in the folder of the recipe that asks, else among the recipes that come with
-- Perilune; the ending ".lua" may be left out.
-- @tparam string name such as "sft" or "presets/instructgpt.lua"
-- @tparam ?string asker path of the recipe that asks
-- @treturn ?string the path, nil when there is no such file
function neighbours.find(name, asker)
  for _, folder in ipairs { neighbours.folder_of(asker), shipped } do
    for _, ending in ipairs { "", ".lua" } do
      local path = folder .. "/" .. name .. ending
      if lfs.attributes(path, "mode") == "file" then return path end
    end
  end
end

--- The recipes that come with Perilune, by name.
-- @treturn {{name=string,path=string},...}
function neighbours.recipes()
  local list = {}
  for file in lfs.dir(shipped) do
    local name = file:match("^(.+)%.lua$")
    if name then list[#list + 1] = { name = name, path = shipped .. "/" .. file } end
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

--- Let `require` look beside a recipe first.
-- @tparam string recipe path of its file
-- @treturn string the package.path before
function neighbours.look_beside(recipe)
  local before, folder = package.path, neighbours.folder_of(recipe)
  local entries = ("%s/?.lua;%s/?/init.lua;"):format(folder, folder)
  if before:sub(1, #entries) ~= entries then package.path = entries .. before end
  return before
end

-- The program looks beside the script it runs (lua/host/main.c), stock Lua does not.
local script = type(arg) == "table" and arg[0]
if script and script:match("%.lua$") then neighbours.look_beside(script) end
package.path = ("%s;%s/?.lua"):format(package.path, shipped)

return neighbours
