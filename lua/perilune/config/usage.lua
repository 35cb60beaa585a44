--- The text of `--help`: each key with its default, range and meaning, fitted to the terminal.
--
-- Four columns, each as wide as it needs to be; meanings are wrapped, never cut. A default too wide
-- for its column pushes the meaning to the next line, choices too wide for theirs follow the
-- meaning. A "~" after the default says that the key may be a schedule.

local format = require("perilune.base.format")
local neighbours = require("perilune.config.neighbours")
local param = require("perilune.config.param")
local terminal = require("perilune.base.terminal")

local usage = {}

local widest_default, widest_range = 16, 10

local function default_text(one)
  if one.derived then
    return "derived"
  elseif one.required then
    return "required"
  end
  local text = param.value_text(one, one.default)
  return (text == "" and '""' or text) .. (one.schedule and " ~" or "")
end

--- The range for its own column, or "" when it is too wide and follows the meaning.
local function range_text(one)
  local range = param.range_text(one)
  return format.width(range) <= widest_range and range or ""
end

local function meaning_text(one)
  local range = param.range_text(one)
  local meaning = one.meaning or ""
  return format.width(range) <= widest_range and meaning or meaning .. ": " .. range
end

-- How one names the recipe: those that come with Perilune by their names.
local function recipe_text(shape)
  for _, recipe in ipairs(neighbours.recipes()) do
    if recipe.path == shape.recipe then return recipe.name end
  end
  return shape.recipe or shape.name .. ".lua"
end

-- Widths of the columns: keys, defaults, ranges.
local function column_widths(rows)
  local keys, defaults, ranges = 0, 7, 5
  for _, one in ipairs(rows) do
    if type(one) == "table" then
      keys = math.max(keys, #one.name + 2)
      ranges = math.max(ranges, format.width(range_text(one)))
      local length = format.width(default_text(one))
      if length <= widest_default then defaults = math.max(defaults, length) end
    end
  end
  return { keys = keys, defaults = defaults, ranges = ranges }
end

-- Adds the lines of a key: its columns, and its meaning beside them or below.
local function add_key(lines, one, columns, width, paint)
  local left = 2 + columns.keys + 2 + columns.defaults + 2 + columns.ranges + 2
  local indent = width - left < 28 and 6 or left
  local default = default_text(one)
  local start = "  "
    .. paint("cyan", format.pad("--" .. one.name, columns.keys))
    .. "  "
    .. format.pad(default, columns.defaults)
    .. "  "
    .. paint("dim", format.pad(range_text(one), columns.ranges))
  if format.width((start:gsub("%s+$", ""))) > width then
    lines[#lines + 1] = "  " .. paint("cyan", "--" .. one.name)
    start = (" "):rep(indent) .. default .. "  " .. paint("dim", range_text(one))
  end
  local meaning = format.wrap(meaning_text(one), width - indent)
  if indent < left or format.width(default) > columns.defaults then
    lines[#lines + 1] = start
  else
    lines[#lines + 1] = start .. "  " .. table.remove(meaning, 1)
  end
  for _, text in ipairs(meaning) do
    lines[#lines + 1] = (" "):rep(indent) .. text
  end
end

local function has_schedule(rows)
  for _, one in ipairs(rows) do
    if type(one) == "table" and one.schedule then return true end
  end
  return false
end

local CALL <const> = "perilune run %s [--key value] [--flag | --no-flag] [--preset NAME] [--help]"
local SCHEDULES <const> = "~ may be a schedule of the step: a number, linear(a, b, steps), "
  .. "cosine(a, b, steps), warmup(n, value or schedule), piecewise{{step, value}, …}, "
  .. 'adaptive_kl{init =, target =, horizon =} or formula("0.2 / sqrt(step)"); '
  .. "without steps it spans the run."

--- The help of a recipe.
-- @tparam table shape `name`, `about`, `recipe` (path or nil), and `rows`, in which a text stands
-- for a heading; `usage` in place of how recipes are called
-- @tparam ?integer width (default: 100)
-- @tparam ?boolean color (default: false)
-- @treturn string
function usage.text(shape, width, color)
  width = width or 100
  local paint, lines = terminal.painter(color), {}
  local function add(text, hang, style)
    for i, part in ipairs(format.wrap(text, width - hang)) do
      lines[#lines + 1] = (i > 1 and (" "):rep(hang) or "")
        .. (style and paint(style, part) or part)
    end
  end
  add(shape.name .. (shape.about and ": " .. shape.about or ""), 2)
  lines[1] = paint("bold", shape.name) .. lines[1]:sub(#shape.name + 1)
  lines[#lines + 1] = ""
  add("usage: " .. (shape.usage or CALL:format(recipe_text(shape))), 7)
  if type(shape.rows[1]) == "table" then lines[#lines + 1] = "" end
  local columns = column_widths(shape.rows)
  for _, one in ipairs(shape.rows) do
    if type(one) == "string" then
      lines[#lines + 1] = ""
      add(one, 0, "bold")
    else
      add_key(lines, one, columns, width, paint)
    end
  end
  if has_schedule(shape.rows) then
    lines[#lines + 1] = ""
    add(SCHEDULES, 0, "dim")
  end
  for i, line in ipairs(lines) do
    lines[i] = line:gsub("%s+$", "")
  end
  return table.concat(lines, "\n") .. "\n"
end

return usage
