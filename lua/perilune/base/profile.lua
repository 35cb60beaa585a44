--- Where the time goes: ops and stages against the machine's limits, and a trace of single calls.
--
--     pl.profile.begin()
--     ... work ...
--     local report = pl.profile.finish()
--     print(report)                          -- the table, and the largest gaps in words
--     assert(report:write_trace("trace.json"))   -- chrome://tracing and ui.perfetto.dev open it
--
-- A stage is the innermost open scope that is no frame, so what a recipe calls its scopes are its
-- stages; generation has its parts. What a stage takes outside of ops, its own scopes left out, is
-- Lua, files, tokenizers: "Lua and host". Multiplications and bytes are those that a call must at
-- least do by its shapes (engine/graph/cost.c), so a figure beyond the limit says that operands
-- came from a nearer cache, or that the machine was slower when its limits were measured.

local core = require("perilune.core")
local files = require("perilune.base.files")
local format = require("perilune.base.format")
local json = require("perilune.base.json")
local processor = require("perilune.base.processor")

local profile = {}

local EVENTS <const> = 200000
local ROWS_SHOWN <const> = 30
local GAPS <const> = 3

local PRODUCTS <const> = {
  linear = true,
  matmul = true,
  block_in = true,
  block_out = true,
  cross_entropy = true,
  logprob = true,
  kl_full = true,
}

local PRODUCTS_LINE <const> = "Matrix products: %.3f s, %s GFLOP/s, %s of the peak of their "
  .. "instructions, %s of float32's"
local HOST_GAP <const> = "%s, outside of ops (Lua, files, what the program waits for): %.3f s, "
  .. "%s of the whole"
local EVENT <const> = '{"name":%s,"cat":%s,"ph":"X","ts":%.3f,"dur":%.3f,"pid":1,"tid":%d,'
  .. '"args":{"stage":%s}}'

--- What was measured.
-- @class ProfileReport
-- @field {table,...} rows `stage`, `name`, `backward`, `calls`, `seconds`, `flops`, `split` (of
--   these, by float32 products of split numbers), `bytes`, `least` (seconds at the limits),
--   `peak` (seconds of the multiplications alone at the limits), `example` (shapes of the longest
--   call)
-- @field {table,...} stages `name`, `calls`, `seconds`, `nested` (in stages inside it), `ops`
-- @field {[string]=number} limits of the machine, measured once and kept: `float32`, `bfloat16`
--   and `split` (multiplications and additions a second), `read`, `copy` and `cache` (bytes a
--   second), `cache_bytes`
-- @field number seconds of the whole, seconds
-- @field integer lost single calls that the trace does not have
local Report = {}
Report.__index = Report
Report.__name = "profile report"

--- Begins a profile, and ends one that runs.
-- @tparam ?table opts `events` (200000): single calls to keep for a trace; `limits` (those of the
--   machine) as `limits` of a ProfileReport
function profile.begin(opts)
  local given = { events = opts and opts.events or EVENTS }
  profile.limits = opts and opts.limits or processor.limits()
  for name, x in pairs(profile.limits) do
    given[name] = x
  end
  core.profile.begin(given)
end

--- Ends the profile.
-- @treturn ?ProfileReport nil when none runs
function profile.finish()
  local report = core.profile.finish()
  if not report then return nil end
  report.limits, report.seconds = profile.limits, report.stages[1].seconds
  report.threads = core.threads()
  return setmetatable(report, Report)
end

local function title(row) return row.name .. (row.backward and " backward" or "") end

local function share(part, whole) return ("%.1f %%"):format(100 * part / math.max(whole, 1e-12)) end

-- An op that multiplied split numbers, all of it or a part, is held against their limit in that.
local function title_of_row(row)
  if row.split == 0 then return title(row) end
  local part = row.split < row.flops and ("%.0f %% "):format(100 * row.split / row.flops) or ""
  return ("%s (%ssplit)"):format(title(row), part)
end

local function host_seconds(stage) return math.max(0, stage.seconds - stage.nested - stage.ops) end

local function rate(x, seconds) return x > 0 and ("%.1f"):format(1e-9 * x / seconds) or "" end

local function stage_table(self)
  local rows = {}
  for i, stage in ipairs(self.stages) do
    local own = stage.seconds - stage.nested
    rows[i] = {
      stage.name,
      stage.calls,
      ("%.3f"):format(stage.seconds),
      ("%.3f"):format(own),
      ("%.3f"):format(stage.ops),
      ("%.3f"):format(host_seconds(stage)),
      share(own, self.seconds),
    }
  end
  return format.columns(rows, {
    head = { "stage", "times", "seconds", "its own", "in ops", "Lua and host", "share" },
    align = { "left", "right", "right", "right", "right", "right", "right" },
  })
end

local function op_table(self)
  local rows = {}
  for i = 1, math.min(#self.rows, ROWS_SHOWN) do
    local row = self.rows[i]
    rows[i] = {
      title_of_row(row),
      row.stage,
      row.calls,
      ("%.3f"):format(row.seconds),
      share(row.seconds, self.seconds),
      rate(row.flops, row.seconds),
      rate(row.bytes, row.seconds),
      share(row.least, row.seconds),
    }
  end
  local text = format.columns(rows, {
    head = { "op", "stage", "calls", "seconds", "share", "GFLOP/s", "GB/s", "of the limit" },
    align = { "left", "left", "right", "right", "right", "right", "right", "right" },
  })
  local left = #self.rows - #rows
  return left > 0 and ("%s\n(and %d rows of less time)"):format(text, left) or text
end

-- Why a row takes the time it takes, as a sentence.
local function gap_of_row(row)
  local least = ("%.3f s where the limits allow %.3f s"):format(row.seconds, row.least)
  local by = row.flops > 0
      and ("%s GFLOP/s, %s GB/s"):format(rate(row.flops, row.seconds), rate(row.bytes, row.seconds))
    or ("%s GB/s"):format(rate(row.bytes, row.seconds))
  local example = row.example ~= "" and ("; longest call %s"):format(row.example) or ""
  return ("%s in %s: %s (%s): %s, %d calls%s"):format(
    title_of_row(row),
    row.stage,
    least,
    share(row.least, row.seconds),
    by,
    row.calls,
    example
  )
end

--- What keeps the work from the machine's limits, the largest first.
-- @treturn {{seconds=number,text=string},...} seconds beyond the limits, and a sentence
function Report:gaps()
  local gaps = {}
  for _, row in ipairs(self.rows) do
    gaps[#gaps + 1] = { seconds = row.seconds - row.least, text = gap_of_row(row) }
  end
  for _, stage in ipairs(self.stages) do
    local seconds = host_seconds(stage)
    gaps[#gaps + 1] = {
      seconds = seconds,
      text = (HOST_GAP):format(stage.name, seconds, share(seconds, self.seconds)),
    }
  end
  table.sort(gaps, function(a, b)
    if a.seconds ~= b.seconds then return a.seconds > b.seconds end
    return a.text < b.text
  end)
  return gaps
end

--- How near the matrix products come to what the processor can multiply: linear, matmul, the
-- blocks of narrow models, losses and log-probs over a head, all backward too and each with all of
-- its time (packing, softmax, bias), whatever memory allows. Attention is not counted.
-- @treturn ?{[string]=number} nil without products; `seconds` they took, `flops`, `of_peak`: share
--   of the rate of the instructions they use (multiply-adds, bfloat16, split numbers), and
--   `of_float32`: of the rate of float32 multiply-adds, which the other two can exceed
function Report:products()
  local seconds, flops, peak = 0.0, 0.0, 0.0
  for _, row in ipairs(self.rows) do
    if PRODUCTS[row.name] then
      seconds, flops, peak = seconds + row.seconds, flops + row.flops, peak + row.peak
    end
  end
  if flops == 0 or seconds == 0 then return nil end
  return {
    seconds = seconds,
    flops = flops,
    of_peak = peak / seconds,
    of_float32 = flops / self.limits.float32 / seconds,
  }
end

local function products_line(self)
  local products = self:products()
  if not products then return nil end
  return (PRODUCTS_LINE):format(
    products.seconds,
    rate(products.flops, products.seconds),
    share(products.of_peak, 1),
    share(products.of_float32, 1)
  )
end

local function limits_line(self)
  local l = self.limits
  return (
    "%.3f s, %d threads. Limits measured on this machine: float32 %.0f GFLOP/s, "
    .. "%.0f of split numbers, bfloat16 %.0f, "
    .. "memory %.0f GB/s read, %.0f copied, %.0f in cache (operands up to %s)"
  ):format(
    self.seconds,
    self.threads,
    1e-9 * l.float32,
    1e-9 * l.split,
    1e-9 * l.bfloat16,
    1e-9 * l.read,
    1e-9 * l.copy,
    1e-9 * l.cache,
    format.bytes(l.cache_bytes)
  )
end

function Report:__tostring()
  table.sort(self.rows, function(a, b)
    if a.seconds ~= b.seconds then return a.seconds > b.seconds end
    return title(a) < title(b)
  end)
  local lines = { limits_line(self), "", stage_table(self), "", op_table(self), "" }
  lines[#lines + 1] = products_line(self)
  lines[#lines + 1] = "The largest gaps to the limits:"
  for i, gap in ipairs(self:gaps()) do
    if i > GAPS then break end
    lines[#lines + 1] = ("%d. %s"):format(i, gap.text)
  end
  return table.concat(lines, "\n")
end

--- Writes the single calls as a Chrome trace: stages in one row, what runs in them in another.
-- @tparam string path of the file
-- @treturn ?boolean true; nil when it cannot be written
-- @treturn ?string message
function Report:write_trace(path)
  local quoted = setmetatable({}, {
    __index = function(t, text)
      t[text] = json.encode(text)
      return t[text]
    end,
  })
  local lines = {}
  for i, event in ipairs(self.events) do
    lines[i] = EVENT:format(
      quoted[event.name and title(event) or event.stage],
      quoted[event.name and (event.backward and "backward" or "forward") or "stage"],
      1e6 * event.began,
      1e6 * event.seconds,
      event.name and 2 or 1,
      quoted[event.stage]
    )
  end
  local text = ('{"displayTimeUnit":"ms","otherData":{"lost":%d},"traceEvents":[\n%s\n]}\n'):format(
    self.lost,
    table.concat(lines, ",\n")
  )
  local ok, message = files.write_atomic(path, text)
  return ok, message
end

return profile
