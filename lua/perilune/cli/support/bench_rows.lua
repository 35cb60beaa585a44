--- Rows of `perilune bench all`: which are asked for, which cannot be measured here, the table.

local bench = require("perilune.bench")
local core = require("perilune.core")
local format = require("perilune.base.format")
local nearest = require("perilune.base.nearest")

local bench_rows = {}

--- Which rows are asked for by name. Raises for a name that no row has, and lists them.
-- @tparam {string,...} wishes of the key `row`
-- @tparam {table,...} rows each with `name`
-- @treturn {[string]=boolean} true for the names; empty: no wish
function bench_rows.wanted(wishes, rows)
  local known, wanted = {}, {}
  for i, row in ipairs(rows) do
    known[i], known[row.name] = row.name, true
  end
  for _, name in ipairs(wishes) do
    if not known[name] then
      local text = "row: there is no row '%s'%s\nrows: %s"
      error(text:format(name, nearest.hint(name, known), table.concat(known, " ")), 0)
    end
    wanted[name] = true
  end
  return wanted
end

-- A row of the table with its file in place of the file's name.
local function on_file(row, files)
  local own = {}
  for key, value in pairs(row) do
    own[key] = value
  end
  if row.file and files[row.file] ~= "" then own.model = files[row.file] end
  return own
end

--- The rows that a command line asks for.
-- @tparam Config cfg with `row`, `model` and where the files are: `smollm2`, `gemma`
-- @tparam string name "all", or what the rows do
-- @treturn {table,...} of perilune.bench.workloads, with files in place
function bench_rows.chosen(cfg, name)
  local rows = bench.workloads.rows
  local wanted = bench_rows.wanted(cfg.row, rows)
  local list = {}
  for _, row in ipairs(rows) do
    local fits = (name == "all" or row.what == name)
      and (cfg.model == "all" or row.model == cfg.model)
      and (next(wanted) == nil or wanted[row.name])
    if fits then list[#list + 1] = on_file(row, { smollm2 = cfg.smollm2, gemma = cfg.gemma }) end
  end
  if #list == 0 then error("no row of `bench " .. name .. "` is left by these settings", 0) end
  return list
end

-- Whether products can be asked for in another precision.
local function has_precision()
  for _, op in ipairs(core.ops()) do
    if op.name == "linear" then
      for _, param in ipairs(op.params) do
        if param.name == "precision" then return true end
      end
    end
  end
  return false
end

--- Why a row cannot be measured.
-- @tparam table row
-- @treturn ?string nil when it can
function bench_rows.missing(row)
  if row.file and not row.model then
    return ("left out: --%s FILE says where the model is"):format(row.file)
  elseif row.precision and not has_precision() then
    return ("left out: no products in %s here"):format(row.precision)
  end
end

local function rate(x) return format.number(x, 4) end

local function spread(ratio) return ("%.2f (%.2f to %.2f)"):format(ratio[1], ratio[2], ratio[3]) end

local function share(x) return x and ("%.0f %%"):format(100 * x) or "-" end

-- "float32, compiled" of the words a variant is started with.
local function variant_name(variant)
  local name = (variant or ""):gsub("dtype=", ""):gsub(" compile=1", ", compiled")
  return name ~= "" and name or "-"
end

-- Of the peak of the instructions that the products use; in float32, where they may be of split
-- numbers, of that of multiply-adds too.
local function products(result)
  local seen = result.limits and result.limits.products
  if not seen then return "-" end
  local text = share(seen.of_peak)
  return result.case.precision and text or ("%s, %s of fma"):format(text, share(seen.of_float32))
end

local function cells(result)
  local row, ours, peer = result.case, result.ours, result.peer
  local memory = row.what == "head" and result.extra_ratio or result.memory_ratio
  return {
    row.name,
    rate(ours.rate),
    peer and rate(peer.rate) or "-",
    peer and variant_name(peer.variant) or "-",
    peer and spread(result.ratio) or "-",
    row.goal and ("%.3g"):format(row.goal) or "-",
    result.cpu_ratio and ("%.2f"):format(result.cpu_ratio[1]) or "-",
    share(result.limits and result.limits.of_limits),
    products(result),
    format.bytes(ours.peak),
    peer and format.bytes(peer.peak) or "-",
    memory and ("%.2f"):format(memory) or "-",
  }
end

--- The table of what was measured; rows that were left out say why.
-- @tparam {table,...} results of perilune.bench.duel, or {case =, left_out =}
-- @treturn string
function bench_rows.table(results)
  local rows, left_out = {}, {}
  for _, result in ipairs(results) do
    if result.left_out then
      left_out[#left_out + 1] = ("%s: %s"):format(result.case.name, result.left_out)
    else
      rows[#rows + 1] = cells(result)
    end
  end
  local text = format.columns(rows, {
    head = {
      "tokens/s",
      "ours",
      "peer",
      "its variant",
      "ratio",
      "goal",
      "of CPU time",
      "of limits",
      "products of peak",
      "peak",
      "peer",
      "ratio",
    },
    align = {
      "left",
      "right",
      "right",
      "left",
      "right",
      "right",
      "right",
      "right",
      "right",
      "right",
      "right",
      "right",
    },
  })
  return #left_out > 0 and text .. "\n\n" .. table.concat(left_out, "\n") or text
end

return bench_rows
