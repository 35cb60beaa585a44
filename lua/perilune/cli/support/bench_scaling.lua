--- `perilune bench scaling`: curves measured one by one, as tables and as a page.

local bench = require("perilune.bench")
local bench_rows = require("perilune.cli.support.bench_rows")
local core = require("perilune.core")
local format = require("perilune.base.format")
local plot = require("perilune.show.plot")
local processor = require("perilune.base.processor")
local report = require("perilune.show.report")

local bench_scaling = {}

local function power(noun, exponent)
  if exponent then return ("%s n^%.2f"):format(noun, exponent) end
end

-- "time n^1.02 (attention n^1.97, the rest n^1.01), memory n^0.98"
local function exponents_text(result)
  local e = result.exponents
  local parts = { power("attention", e.attention), power("the rest", e.rest) }
  local text = power("time", e.seconds) or "one point: no exponent"
  if #parts > 0 then text = ("%s (%s)"):format(text, table.concat(parts, ", ")) end
  local memory = power("memory", e.bytes)
  return memory and text .. ", " .. memory or text
end

local function table_of(curve, result)
  local rows = {}
  for i, n in ipairs(result.values) do
    rows[i] = {
      format.number(n, 6),
      ("%.4f"):format(result.seconds[i]),
      format.number(result.rate[i], 4),
      ("%.0f %%"):format(100 * result.attention[i] / result.seconds[i]),
      ("%.0f %%"):format(100 * result.of_limits[i]),
      format.bytes(result.bytes[i]),
      format.bytes(result.peak[i]),
    }
  end
  return format.columns(rows, {
    head = { curve.x, "seconds", "tokens/s", "attention", "of limits", "memory", "process" },
    align = { "right", "right", "right", "right", "right", "right", "right" },
  })
end

local function charts(page, curve, result)
  local function chart(title, label, names)
    local series = {}
    for i, name in ipairs(names) do
      series[i] = { name = name[2], x = result.values, y = result[name[1]], mark = "both" }
    end
    return plot.chart {
      title = title,
      x_label = curve.x,
      y_label = label,
      series = series,
      log_x = true,
      log_y = true,
    }
  end
  local mib = {}
  for i, bytes in ipairs(result.bytes) do
    mib[i] = bytes / 2 ^ 20
  end
  result = setmetatable({ mib = mib }, { __index = result })
  page:heading(curve.title)
  page:text("Over the upper half: " .. exponents_text(result) .. ".")
  page:alarms(result.complaints)
  page:charts {
    chart("Time", "seconds", {
      { "seconds", "whole" },
      { "attention", "attention" },
      { "rest", "the rest" },
    }),
    chart("Memory beyond the model and its moments", "MiB", { { "mib", "memory" } }),
  }
end

local function circumstances()
  return ("%s, %s kernels, %d threads"):format(
    select(2, processor.read()),
    core.isa(),
    core.threads()
  )
end

--- Measures the curves that a command line asks for, prints each when it is measured, and writes
-- the page.
-- @tparam Config cfg with `row`, `samples`, `row_seconds` and `page`
-- @tparam function note is told of progress, a line each time
-- @treturn {table,...} of `bench.scaling.measure`
function bench_scaling.run(cfg, note)
  local wanted = bench_rows.wanted(cfg.row, bench.scaling.curves)
  local results = {}
  local page = report.new {
    title = "Scaling",
    subtitle = circumstances(),
    footer = "perilune bench scaling",
  }
  for _, curve in ipairs(bench.scaling.curves) do
    if next(wanted) == nil or wanted[curve.name] then
      note(curve.title .. " ...")
      local result = bench.scaling.measure(curve, {
        samples = cfg.samples,
        seconds = cfg.row_seconds,
        note = function(n, point)
          note(("  %d %s: %.4f s, %s"):format(n, curve.x, point.seconds, format.bytes(point.bytes)))
        end,
      })
      results[#results + 1] = result
      print(("%s\n%s\n%s"):format(curve.title, table_of(curve, result), exponents_text(result)))
      for _, sentence in ipairs(result.complaints) do
        print("beware: " .. sentence)
      end
      print()
      charts(page, curve, result)
      if cfg.page ~= "" then page:write(cfg.page) end
    end
  end
  print(circumstances() .. "; memory is beyond the model and its moments")
  return results
end

return bench_scaling
