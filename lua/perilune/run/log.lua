--- Files of one JSON object a line, appended to while a run goes on and whole after any crash.
--
-- Each row is with the kernel before `append` returns, so a killed process loses no row and leaves
-- at most one line without its end. Opening a file with `keep_to` cuts it back: rows
-- of later steps, and a torn last line, are gone, and the run that goes on from a checkpoint writes
-- them again.
--
-- Numbers read back equal to the last bit. JSON has no NaN and no infinities, and many readers
-- refuse the bare words, so these are written as the texts "NaN", "Infinity" and "-Infinity";
-- `read` with `numbers` turns them back. The step stands first in its line, other keys are sorted.

local files = require("perilune.base.files")
local json = require("perilune.base.json")
local lfs = require("lfs")

local log = {}

--- A file of one JSON object a line.
-- @class Log
-- @field string path
local Log = {}
Log.__index = Log
Log.__name = "jsonl"

local names_of = { ["NaN"] = 0 / 0, ["Infinity"] = math.huge, ["-Infinity"] = -math.huge }

local function texts_to_numbers(row)
  for key, value in pairs(row) do
    row[key] = names_of[value] or value
  end
end

--- One row as a line.
-- @tparam table row
-- @treturn string without its newline
function log.line(row)
  local object = json.object() -- writes keys in the order they were set; those set raw come sorted
  object.step = row.step
  for key, value in pairs(row) do
    rawset(object, key, value)
  end
  return json.encode(object, { finite = true })
end

--- The rows of a file; a last line without its end is passed over.
-- @tparam string path of the file
-- @tparam ?table options `numbers` (false) turns the texts for NaN and infinities back into numbers
-- @treturn ?{{[string]=any},...} nil when the file cannot be read
-- @treturn ?string what is wrong, with the line's number
function log.read(path, options)
  local text, message = files.read(path, math.maxinteger)
  if not text then return nil, message end
  local rows, number = {}, 0
  for line in text:gmatch("([^\n]*)\n") do
    number = number + 1
    if line ~= "" then
      local row, wrong = json.decode(line)
      if type(row) ~= "table" then
        return nil, ("%s:%d: %s"):format(path, number, tostring(wrong))
      end
      if options and options.numbers then texts_to_numbers(row) end
      rows[#rows + 1] = row
    end
  end
  return rows
end

-- Whether a row is to be kept: up to a step, or as a function says.
local function is_kept(row, keep_to)
  if type(row) ~= "table" or type(row.step) ~= "number" then return false end
  if type(keep_to) == "number" then return row.step <= keep_to end
  return keep_to(row)
end

-- Lines and rows that are to be kept; what cannot be read is left out.
local function kept_of(path, keep_to)
  local text, message = files.read(path, math.maxinteger)
  if not text then return nil, message end
  local lines, rows = {}, {}
  for line in text:gmatch("[^\n]*\n") do
    local row = json.decode(line)
    if is_kept(row, keep_to) then
      lines[#lines + 1], rows[#rows + 1] = line, row
    end
  end
  return lines, rows
end

--- The rows that `open` with `keep_to` leaves in a file; none when there is no file.
-- @tparam string path
-- @tparam number|function keep_to
-- @treturn ?{table,...} rows, with numbers as `read` gives them
-- @treturn ?string message
function log.kept(path, keep_to)
  if not lfs.attributes(path) then return {} end
  local lines, rows = kept_of(path, keep_to)
  if not lines then return nil, rows end
  for _, row in ipairs(rows) do
    texts_to_numbers(row)
  end
  return rows
end

local function cut_back(path, keep_to)
  if not lfs.attributes(path) then return true end
  local lines, message = kept_of(path, keep_to)
  if not lines then return nil, message end
  return files.write_atomic(path, table.concat(lines))
end

--- Open a file for appending.
-- @tparam string path
-- @tparam ?table options `keep_to`: drop the rows of later steps first; or a function of a row that
-- says whether it stays
-- @treturn ?Log
-- @treturn ?string
function log.open(path, options)
  if options and options.keep_to then
    local ok, message = cut_back(path, options.keep_to)
    if not ok then return nil, message end
  end
  local file, message = files.open_log(path)
  if not file then return nil, message end
  return setmetatable({ path = path, file = file }, Log)
end

local function must(ok, message)
  if not ok then error(message, 3) end
end

--- Append a row; an error that names the file when that fails, and then the file is as before.
-- @tparam table row
function Log:append(row) must(self.file:append(log.line(row) .. "\n")) end

--- Have the rows so far outlive a power cut; an error that names the file when that fails.
function Log:sync() must(self.file:sync()) end

--- Close the file; more than once is fine.
function Log:close() self.file:close() end

return log
