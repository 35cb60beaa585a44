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

--- "same prompt (4)", "same first 40 chars (2)": the most frequent first.
function tables.counted(counts)
  local parts = {}
  for i, pair in ipairs(tables.sorted(counts)) do
    parts[i] = ("%s (%d)"):format(pair[1], pair[2])
  end
  return parts
end

local function reasons_of(entry)
  local parts = tables.counted(entry.reasons)
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
local SUMMED <const> = {
  "records",
  "used",
  "rows",
  "demonstrations",
  "rankings",
  "already",
}

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
        records = 0,
        used = 0,
        rows = 0,
        demonstrations = 0,
        rankings = 0,
        already = 0,
        reasons = {},
      }
      sums[#sums + 1] = sum
      together[done.says] = sum
    end
    sum.files = sum.files + 1
    for _, name in ipairs(SUMMED) do
      sum[name] = sum[name] + done[name]
    end
    for _, reasons in ipairs { done.reasons, done.bad_reasons, done.notes } do
      for reason, n in pairs(reasons) do
        sum.reasons[reason] = (sum.reasons[reason] or 0) + n
      end
    end
  end
  return sums
end

-- All rows of sources in one.
local function whole(sums)
  local all = { name = "all", says = "", files = 1, reasons = {} }
  for _, name in ipairs(SUMMED) do
    all[name] = 0
    for _, sum in ipairs(sums) do
      all[name] = all[name] + sum[name]
    end
  end
  for _, sum in ipairs(sums) do
    for reason, n in pairs(sum.reasons) do
      all.reasons[reason] = (all.reasons[reason] or 0) + n
    end
  end
  return all
end

--- What was read from where: records are those that gave prompts and those with a reason why not.
-- @tparam table read as from sources.ingest
function tables.sources(read)
  local rows = {}
  local sums = source_sums(read)
  if #sums > 1 then sums[#sums + 1] = whole(sums) end
  for i, sum in ipairs(sums) do
    local name = sum.name
    if sum.files > 1 then name = ("%s and %d more"):format(name, sum.files - 1) end
    rows[i] = {
      name,
      sum.says,
      sum.records,
      sum.used,
      sum.rows,
      sum.demonstrations,
      sum.rankings,
      sum.already,
      table.concat(tables.counted(sum.reasons), ", "),
    }
  end
  return {
    head = {
      "file",
      "taken as",
      "records",
      "used",
      "prompts",
      "demonstrations",
      "rankings",
      "there before",
      "not used, or in part",
    },
    rows = rows,
  }
end

return tables
