--- Tables that collect.lua shows, on the terminal and in its report: {head =, rows =} each.

local tables = {}

--- Names and counts, the largest first.
-- @tparam {[string]=integer} counts
-- @treturn {{string,integer},...}
function tables.sorted(counts)
  local list = {}
  for name, n in pairs(counts) do
    list[#list + 1] = { name, n }
  end
  table.sort(list, function(a, b)
    if a[2] ~= b[2] then return a[2] > b[2] end
    return a[1] < b[1]
  end)
  return list
end

--- "83.3 %", or "-" for nil.
function tables.percent(part) return part and ("%.1f %%"):format(100 * part) or "-" end

--- The last part of a path.
function tables.name_of(path) return path:match("[^/]*$") end

-- "same prompt 4, same first 40 chars 4"
local function counted(counts)
  local parts = {}
  for i, pair in ipairs(tables.sorted(counts)) do
    parts[i] = ("%s %d"):format(pair[1], pair[2])
  end
  return parts
end

local function reasons_of(entry)
  local parts = counted(entry.reasons)
  if entry.changed > 0 then parts[#parts + 1] = ("%d rows changed"):format(entry.changed) end
  return table.concat(parts, ", ")
end

--- What each rule did.
-- @tparam table report of pl.rules.run
function tables.rules(report)
  local rows = {}
  for i, entry in ipairs(report) do
    rows[i] = { entry.rule, entry.rows_in, entry.rows_out, reasons_of(entry) }
  end
  return { head = { "rule", "rows in", "rows out", "why" }, rows = rows }
end

--- Rows of each part and side.
-- @tparam table counts as from Sets:finish
function tables.sets(counts)
  local rows = {}
  for i, c in ipairs(counts) do
    rows[i] = { c.part:upper(), c.side, c.rows, c.prompts, c.api, c.labeler, c.users }
  end
  return {
    head = { "set", "side", "rows", "prompts", "from the API", "from labelers", "users" },
    rows = rows,
  }
end

-- One row a file; many files of one form are a row together.
local MANY_FILES <const> = 12

-- Sums over the files that share a row.
local function source_sums(read)
  local sums, together = {}, {}
  for _, done in ipairs(read) do
    local sum = #read > MANY_FILES and together[done.says]
    if not sum then
      sum = {
        name = tables.name_of(done.path),
        says = done.says,
        files = 0,
        rows = 0,
        bad = 0,
        already = 0,
        reasons = {},
      }
      sums[#sums + 1] = sum
      together[done.says] = sum
    end
    sum.files = sum.files + 1
    sum.rows = sum.rows + done.rows
    sum.bad = sum.bad + done.bad
    sum.already = sum.already + done.already
    for reason, n in pairs(done.reasons) do
      sum.reasons[reason] = (sum.reasons[reason] or 0) + n
    end
  end
  return sums
end

--- What was read from where.
-- @tparam table read as from sources.ingest
function tables.sources(read)
  local rows = {}
  for i, sum in ipairs(source_sums(read)) do
    local name = sum.name
    if sum.files > 1 then name = ("%s and %d more"):format(name, sum.files - 1) end
    local passed = table.concat(counted(sum.reasons), ", ")
    rows[i] = { name, sum.says, sum.rows, sum.bad, sum.already, passed }
  end
  return {
    head = { "file", "taken as", "rows", "bad lines", "there before", "passed over" },
    rows = rows,
  }
end

return tables
