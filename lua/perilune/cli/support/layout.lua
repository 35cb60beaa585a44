--- Help texts fitted to the terminal: calls beside their meanings, filled paragraphs.

local format = require("perilune.base.format")

local layout = {}

local LEFT <const> = 38 -- columns of calls
local LEAST <const> = 80 -- narrower terminals have meanings below calls

--- Calls and meanings in two columns; below each other where there is no room.
-- @tparam {{string,string},...} rows
-- @tparam integer width
-- @treturn {string,...} lines
function layout.listing(rows, width)
  local lines, beside = {}, width >= LEAST
  local indent = beside and LEFT or 6
  for _, row in ipairs(rows) do
    for i, text in ipairs(format.wrap(row[1], width - 6)) do
      lines[#lines + 1] = (" "):rep(i == 1 and 2 or 6) .. text
    end
    local meaning = format.wrap(row[2], width - indent)
    if beside and format.width(lines[#lines]) <= LEFT - 2 then
      lines[#lines] = format.pad(lines[#lines], LEFT) .. table.remove(meaning, 1)
    end
    for _, text in ipairs(meaning) do
      lines[#lines + 1] = (" "):rep(indent) .. text
    end
  end
  return lines
end

-- The rows of lines such as "  call   meaning"; nil when one has no meaning beside it.
local function rows_of(lines)
  local rows = {}
  for i, line in ipairs(lines) do
    local call, meaning = line:match("^ +(%S.-)   *(%S.*)$")
    if not call then return nil end
    rows[i] = { call, meaning }
  end
  return rows
end

--- Paragraphs filled to the width; what is indented is a listing, or stays as it is.
-- @tparam string text
-- @tparam integer width
-- @treturn string without backquotes, and without blanks at its end
function layout.filled(text, width)
  local out, block, is_code = {}, {}, false
  local function add(lines) table.move(lines, 1, #lines, #out + 1, out) end
  local function flush()
    if is_code then
      local rows = rows_of(block)
      add(rows and layout.listing(rows, width) or block)
    elseif #block > 0 then
      add(format.wrap(table.concat(block, " "), width))
    end
    block = {}
  end
  for line in (text:gsub("`", "") .. "\n"):gmatch("([^\n]*)\n") do
    local indented = line:find("^ ") ~= nil
    if line == "" or indented ~= is_code then flush() end
    if line == "" then
      out[#out + 1] = ""
    else
      block[#block + 1], is_code = line, indented
    end
    if line == "" then is_code = false end
  end
  flush()
  return (table.concat(out, "\n"):gsub("%s+$", ""))
end

return layout
