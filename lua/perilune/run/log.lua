--- Files of one JSON object a line, appended to while a run goes on and whole after any crash.
--
-- Each row goes to the kernel in one write before `append` returns, so a killed process loses no
-- row and leaves at most one line without its end. Opening a file with `keep_to` cuts it back: rows
-- of later steps, and a torn last line, are gone, and the run that goes on from a checkpoint writes
-- them again.
--
-- Numbers read back equal to the last bit. JSON has no NaN and no infinities, and many readers
-- refuse the bare words, so these are written as the texts "NaN", "Infinity" and "-Infinity";
-- `read` with `numbers` turns them back. The step stands first in its line, other keys are sorted.

local json = require("perilune.base.json")
local system = require("perilune.core").system

local log = {}

local Log = {}
Log.__index = Log
Log.__name = "jsonl"

local names_of = { ["NaN"] = 0 / 0, ["Infinity"] = math.huge, ["-Infinity"] = -math.huge }

local function writable(value)
  if type(value) ~= "number" or value - value == 0 then
    return value
  end
  return value ~= value and "NaN" or value > 0 and "Infinity" or "-Infinity"
end

--- One row as a line.
-- @tparam table row
-- @treturn string without its newline
function log.line(row)
  local rest, count = {}, 0
  for key, value in pairs(row) do
    if key ~= "step" then
      rest[key] = writable(value)
      count = count + 1
    end
  end
  if row.step == nil then
    return json.encode(rest)
  elseif count == 0 then
    return ('{"step":%s}'):format(json.encode(row.step))
  end
  return ('{"step":%s,%s'):format(json.encode(row.step), (json.encode(rest):gsub("^{%s*", "")))
end

--- The rows of a file; a last line without its end is passed over.
-- @tparam string path
-- @tparam ?table options `numbers = true` turns the texts for NaN and infinities back into numbers
-- @treturn ?{table,...}
-- @treturn ?string what is wrong, with the line's number
function log.read(path, options)
  local file, message = io.open(path, "rb")
  if not file then
    return nil, message
  end
  local text = file:read("a")
  file:close()
  local rows, number = {}, 0
  for line in text:gmatch("([^\n]*)\n") do
    number = number + 1
    if line ~= "" then
      local row, wrong = json.decode(line)
      if type(row) ~= "table" then
        return nil, ("%s:%d: %s"):format(path, number, tostring(wrong))
      end
      if options and options.numbers then
        for key, value in pairs(row) do
          row[key] = names_of[value] or value
        end
      end
      rows[#rows + 1] = row
    end
  end
  return rows
end

local function cut_back(path, step)
  local file = io.open(path, "rb")
  if not file then
    return true
  end
  local kept = {}
  for line in file:read("a"):gmatch("[^\n]*\n") do
    local row = json.decode(line)
    if type(row) == "table" and type(row.step) == "number" and row.step <= step then
      kept[#kept + 1] = line
    end
  end
  file:close()
  return system.write_file_atomic(path, table.concat(kept))
end

--- Open a file for appending.
-- @tparam string path
-- @tparam ?table options `keep_to`: drop the rows of later steps first
-- @treturn ?jsonl
-- @treturn ?string
function log.open(path, options)
  if options and options.keep_to then
    local ok, message = cut_back(path, options.keep_to)
    if not ok then
      return nil, message
    end
  end
  local file, message = io.open(path, "ab")
  if not file then
    return nil, message
  end
  file:setvbuf("full", 1 << 16)
  return setmetatable({ path = path, file = file }, Log)
end

--- Append a row.
-- @tparam table row
function Log:append(row)
  local ok, message = self.file:write(log.line(row), "\n")
  if ok then
    ok, message = self.file:flush()
  end
  if not ok then
    error(("%s cannot be written: %s"):format(self.path, tostring(message)), 2)
  end
end

--- Have the rows so far outlive a power cut.
function Log:sync()
  self.file:flush()
  return system.fsync(self.path)
end

--- Close the file; more than once is fine.
function Log:close()
  if self.file then
    self.file:close()
    self.file = nil
  end
end

return log
