--- The rows of runs as comma-separated values (RFC 4180), for spreadsheets.

local files = require("perilune.base.files")
local format = require("perilune.base.format")

local csv = {}

-- A spreadsheet takes a text that begins like a formula for one; the quote before it stops that.
local function field(value)
  if value == nil then return "" end
  if type(value) == "number" then return format.exact(value) end
  local text = tostring(value)
  if text:find("^[=+@%-\t\r]") then text = "'" .. text end
  if text:find('[",\r\n]') then return '"' .. text:gsub('"', '""') .. '"' end
  return text
end

--- Writes all rows: run, step, time, then a column for each metric that any row has, by name.
-- @tparam string path
-- @tparam {SeenRun,...} list of perilune.show.runs
-- @treturn ?boolean true
-- @treturn ?string message; no file is there, or the old one, untouched
function csv.write(path, list)
  local names, seen = {}, { step = true, time = true }
  for _, run in ipairs(list) do
    for _, row in ipairs(run.rows) do
      for name, value in pairs(row) do
        if not seen[name] and type(value) ~= "table" then
          seen[name], names[#names + 1] = true, name
        end
      end
    end
  end
  table.sort(names)
  table.move({ "run", "step", "time", table.unpack(names) }, 1, #names + 3, 1, names)
  local writer, message = files.create(path)
  if not writer then return nil, message end
  local function line(cells)
    local ok
    ok, message = writer:write(table.concat(cells, ","), "\r\n")
    return ok
  end
  local head = {}
  for i, name in ipairs(names) do
    head[i] = field(name)
  end
  local ok = line(head)
  for _, run in ipairs(list) do
    for _, row in ipairs(run.rows) do
      local cells = { field(run.name) }
      for i = 2, #names do
        cells[i] = field(row[names[i]])
      end
      ok = ok and line(cells)
    end
  end
  if ok then
    ok, message = writer:commit()
  end
  writer:close()
  return ok, message
end

return csv
