--- A curve drawn with characters: braille dots, 2 x 4 to a character, or stars where the terminal
-- shows no braille.
--
-- Values that are not finite leave a gap. Neighbouring points are joined by a line, unless they lie
-- in one column of dots.

local format = require("perilune.base.format")

local braille = {}

-- The bit of the dot in column 0 or 1 and row 0 to 3 of a character, as Unicode numbers them.
local dots = { [0] = { [0] = 0x01, 0x02, 0x04, 0x40 }, { [0] = 0x08, 0x10, 0x20, 0x80 } }

local LABEL <const> = 9 -- columns left of the curve

local function finite(x) return type(x) == "number" and x - x == 0 end

local function bounds(list)
  local low, high = math.huge, -math.huge
  for i = 1, list.n do
    if finite(list[i]) then
      low, high = math.min(low, list[i]), math.max(high, list[i])
    end
  end
  return low, high
end

-- Cells by row and column, each the bits of its dots.
local function draw(x, y, columns, rows, x_low, x_high, y_low, y_high)
  local cells, wide, tall = {}, columns * 2 - 1, rows * 4 - 1
  local function dot(i, j)
    local row, column = j // 4, i // 2
    cells[row] = cells[row] or {}
    cells[row][column] = (cells[row][column] or 0) | dots[i % 2][j % 4]
  end
  local function place(value, low, high, most)
    if high == low then return most // 2 end
    return math.floor((value - low) / (high - low) * most + 0.5)
  end
  local before_i, before_j
  for k = 1, y.n do
    if finite(x[k]) and finite(y[k]) then
      local i = place(x[k], x_low, x_high, wide)
      local j = tall - place(y[k], y_low, y_high, tall)
      dot(i, j)
      local steps = before_i and math.max(math.abs(i - before_i), math.abs(j - before_j)) or 0
      for s = 1, steps - 1 do
        local part = s / steps
        dot(
          math.floor(before_i + (i - before_i) * part + 0.5),
          math.floor(before_j + (j - before_j) * part + 0.5)
        )
      end
      before_i, before_j = i, j
    else
      before_i, before_j = nil, nil
    end
  end
  return cells
end

local function row_text(cells, columns, plain)
  local parts = {}
  for column = 0, columns - 1 do
    local bits = cells and cells[column] or 0
    if plain then
      parts[#parts + 1] = bits == 0 and " " or "*"
    else
      parts[#parts + 1] = bits == 0 and " " or utf8.char(0x2800 + bits)
    end
  end
  return (table.concat(parts):gsub("%s+$", ""))
end

local function short(value) return format.number(value):sub(1, LABEL - 2) end

--- Draws y over x.
-- @tparam {number,...} x as many as of y; or nil: 1, 2, 3, ...
-- @tparam {number,...} y
-- @tparam table options `width` in columns, `height` in rows (12), `plain` for stars, `paint`
--   (style, text) -> text, `title`
-- @treturn ?string
-- @treturn ?string why there is nothing to draw
function braille.plot(x, y, options)
  local ys = table.move(y, 1, #y, 1, { n = #y })
  local xs = { n = ys.n }
  for i = 1, ys.n do
    xs[i] = x and x[i] or not x and i or nil
  end
  if x and #x ~= #y then return nil, ("x has %d values, y %d"):format(#x, #y) end
  local x_low, x_high = bounds(xs)
  local y_low, y_high = bounds(ys)
  if y_low > y_high or x_low > x_high then return nil, "no finite values" end
  local columns = math.max(10, math.min(options.width, 120) - LABEL - 2)
  local rows = options.height or 12
  local cells = draw(xs, ys, columns, rows, x_low, x_high, y_low, y_high)
  local lines = { options.title }
  for row = 0, rows - 1 do
    local label = row == 0 and short(y_high) or row == rows - 1 and short(y_low) or ""
    local curve = options.paint("cyan", row_text(cells[row], columns, options.plain))
    lines[#lines + 1] = ("%" .. LABEL .. "s %s%s"):format(
      label,
      options.plain and "|" or "┤",
      curve
    )
  end
  local left, right = short(x_low), short(x_high)
  local gap = math.max(1, columns - #left - #right)
  lines[#lines + 1] = (" "):rep(LABEL + 2) .. left .. (" "):rep(gap) .. right
  return table.concat(lines, "\n")
end

return braille
