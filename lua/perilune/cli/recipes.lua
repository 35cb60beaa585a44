--- `perilune recipes [NAME]`: the recipes that come with Perilune, and what each is about.
--
-- `perilune run NAME --help` lists the keys of one; docs/recipes.md tells how to write one.

local nearby = require("perilune.cli.support.nearby")
local format = require("perilune.base.format")
local neighbours = require("perilune.config.neighbours")

-- What a recipe says it is about: the first line of its head.
local function about(path)
  local file = io.open(path)
  local line = file and file:read("l") or ""
  if file then file:close() end
  return line:match("^%-%-%-?%s*(.-):?%s*$") or ""
end

return function(args)
  if args[2] then
    io.stderr:write(("perilune recipes: '%s' is one too many\n"):format(format.safe(args[2])))
    return 1
  end
  local rows = {}
  for _, recipe in ipairs(neighbours.recipes()) do
    if not args[1] or recipe.name == args[1] then
      rows[#rows + 1] = { recipe.name, about(recipe.path) }
    end
  end
  if #rows == 0 then
    local status = nearby.no_recipe(args[1])
    return status
  end
  print(format.columns(rows))
  return 0
end
