--- Hyper-parameters of runs as rows of a table, and where runs differ.

local settings = {}

-- Keys that say where and how a run was run, not what it computes.
local apart = { output_dir = true, quiet = true, resume = true, overwrite_output_dir = true }

local function text_of(value)
  if value == nil then return "" end
  if type(value) == "table" then
    local parts = {}
    for i, one in ipairs(value) do
      parts[i] = tostring(one)
    end
    return table.concat(parts, ", ")
  end
  return tostring(value)
end

--- Rows of key and values, one value a run.
-- @tparam {SeenRun,...} list
-- @treturn {{string,...},...} keys whose values differ
-- @treturn {{string,...},...} all keys
function settings.compare(list)
  local names, seen = {}, {}
  for _, run in ipairs(list) do
    for key in pairs(run.settings) do
      if type(key) == "string" and key:sub(1, 1) ~= "_" and not seen[key] then
        seen[key], names[#names + 1] = true, key
      end
    end
  end
  table.sort(names)
  local different, all = {}, {}
  for _, key in ipairs(names) do
    local row, differs = { key }, false
    for i, run in ipairs(list) do
      row[i + 1] = text_of(run.settings[key])
      differs = differs or row[i + 1] ~= row[2]
    end
    all[#all + 1] = row
    if differs and not apart[key] then different[#different + 1] = row end
  end
  return different, all
end

return settings
