--- Charts among the values of a cell: what a notebook shows as pictures.

local plot = require("perilune.show.plot")

local figures = {}

local TENSOR <const> = "perilune.Tensor"

-- A notebook has a theme of its own, whatever the reader's system prefers: dark on white is right
-- in each.
local function style(width)
  local light = plot.style:gsub("@media%b(){.*$", "")
  return ("<style>%s.pl{background:#fff;max-width:%spx}</style>"):format(light, width)
end

--- A chart of `pl.plot` as a picture that stands alone.
-- @tparam any value
-- @treturn ?string nil when it is none
function figures.svg(value)
  if type(value) ~= "string" then return nil end
  local head, rest = value:match("^%s*<svg([^>]*)>(.*</svg>)%s*$")
  if not head then return nil end
  if not head:find("xmlns=", 1, true) then
    head = head .. ' xmlns="http://www.w3.org/2000/svg"'
    local width, height = head:match('viewBox="0 0 ([%d.]+) ([%d.]+)"')
    if width then head = ('%s width="%s" height="%s"'):format(head, width, height) end
  end
  if head:find('class="pl"', 1, true) then
    rest = style(head:match(' width="(%d+)"') or 960) .. rest:gsub("<style>.-</style>", "", 1)
  end
  return "<svg" .. head .. ">" .. rest
end

local entities =
  { ["&lt;"] = "<", ["&gt;"] = ">", ["&quot;"] = '"', ["&#39;"] = "'", ["&amp;"] = "&" }

--- What a chart is called, for who cannot see it.
-- @tparam string svg
-- @treturn string
function figures.label(svg)
  local label = svg:match('aria%-label="([^"]*)"') or "a picture"
  return (label:gsub("&#?%w+;", entities))
end

-- The numbers of a tensor or a list.
local function numbers(value)
  local list = value
  local meta = debug.getmetatable(value)
  if type(value) == "userdata" and meta.__name == TENSOR then
    list = value:view({ value:count() }):totable()
  end
  if type(list) ~= "table" or #list == 0 then return nil end
  for _, number in ipairs(list) do
    if type(number) ~= "number" then return nil end
  end
  return list
end

--- A curve.
-- @tparam {number,...} x
-- @tparam {number,...} y
-- @tparam string title
-- @treturn string
function figures.chart(x, y, title)
  return figures.svg(plot.chart { title = title, series = { { x = x, y = y } } })
end

--- The curve of values as `:plot y` and `:plot x, y` name them.
-- @tparam table values as table.pack gives them
-- @tparam string title
-- @treturn ?string
-- @treturn ?string message
function figures.curve(values, title)
  local x, y = numbers(values[1]), numbers(values[2])
  if not x or values.n > 2 or values.n == 2 and not y then
    return nil, "a tensor or a list of numbers is wanted, or two"
  end
  if not y then
    x, y = {}, x
    for i = 1, #y do
      x[i] = i
    end
  end
  if #x ~= #y then return nil, ("%d places and %d values"):format(#x, #y) end
  return figures.chart(x, y, title)
end

return figures
