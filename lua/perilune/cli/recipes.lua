--- `perilune recipes [NAME]`: the recipes that come with Perilune, and what each is about.
--
-- `perilune run NAME --help` lists the keys of one; docs/recipes.md tells how to write one.

local nearby = require("perilune.cli.support.nearby")
local format = require("perilune.base.format")
local neighbours = require("perilune.config.neighbours")
local terminal = require("perilune.base.terminal")

-- What a recipe says it is about: the first paragraph of its head.
local function about(path)
  local lines = {}
  for line in io.lines(path) do
    local text = line:match("^%-%-%-?%s*(.-)%s*$") or ""
    if text == "" then break end
    lines[#lines + 1] = text
  end
  return (table.concat(lines, " "):gsub("[.:]$", ""))
end

return function(args)
  if args[2] then
    io.stderr:write(("perilune recipes: '%s' is one too many\n"):format(format.safe(args[2])))
    return 1
  end
  local rows, longest = {}, 0
  for _, recipe in ipairs(neighbours.recipes()) do
    if not args[1] or recipe.name == args[1] then
      rows[#rows + 1] = recipe
      longest = math.max(longest, #recipe.name)
    end
  end
  if #rows == 0 then
    local status = nearby.no_recipe(args[1], "recipes")
    return status
  end
  for _, recipe in ipairs(rows) do
    local lines = format.wrap(about(recipe.path), terminal.width() - longest - 2)
    local indent = "\n" .. (" "):rep(longest + 2)
    print(format.pad(recipe.name, longest + 2) .. table.concat(lines, indent))
  end
  return 0
end
