--- `perilune recipes`: the recipes that come with Perilune, and what each is about. With a name
-- that is no recipe, which is how `perilune run` asks, it says so on standard error.

local format = require("perilune.base.format")
local nearest = require("perilune.base.nearest")
local neighbours = require("perilune.config.neighbours")

-- What a recipe says it is about: the first line of its head.
local function about(path)
  local file = io.open(path)
  local line = file and file:read("l") or ""
  if file then file:close() end
  return line:match("^%-%-%-?%s*(.-):?%s*$") or ""
end

-- The recipe of a name, among those there are.
local function named(found, name)
  for _, recipe in ipairs(found) do
    if recipe.name == name then return recipe end
  end
end

local function refuse(found, asked)
  local names = {}
  for i, recipe in ipairs(found) do
    names[i] = recipe.name
  end
  local text =
    "perilune run: there is no recipe '%s'%s; recipes are %s, or the path of a Lua file\n"
  local hint = nearest.hint(asked, names)
  io.stderr:write(text:format(format.safe(asked), hint, table.concat(names, ", ")))
end

return function(args)
  local found = neighbours.recipes()
  local rows = {}
  if #args > 0 then
    local recipe = named(found, args[1])
    if not recipe then
      refuse(found, args[1])
      return 1
    end
    found = { recipe }
  end
  for i, recipe in ipairs(found) do
    rows[i] = { recipe.name, about(recipe.path) }
  end
  print(format.columns(rows))
  return 0
end
