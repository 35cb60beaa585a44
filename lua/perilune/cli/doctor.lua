--- `perilune doctor`: what this machine offers, and how to fix what is wrong.
--
-- Each check gives a line: ok, note (works, could be better) or BAD (results or speed are not to be
-- relied on). The exit status is 1 when anything is bad.

local core = require("perilune.core")
local format = require("perilune.base.format")
local host = require("perilune.host")
local processor = require("perilune.base.processor")
local terminal = require("perilune.base.terminal")
local system = core.system

local gib = 1024 ^ 3

local function first_line(path)
  local file = io.open(path)
  if not file then return nil end
  local line = file:read("l")
  file:close()
  return line
end

--- CPUs this process may use up by its control group (v2, then v1), nil when without limit.
local function cgroup_cpus()
  local own = (first_line("/proc/self/cgroup") or ""):match("^0::(/.*)$") or ""
  for _, path in ipairs { "/sys/fs/cgroup" .. own .. "/cpu.max", "/sys/fs/cgroup/cpu.max" } do
    local quota, period = (first_line(path) or ""):match("^(%d+) (%d+)$")
    if quota then return tonumber(quota) / tonumber(period) end
  end
  local quota = tonumber(first_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") or "")
  local period = tonumber(first_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us") or "")
  return quota and period and quota > 0 and quota / period or nil
end

--- Bytes of memory the control group allows, nil when without limit.
local function cgroup_memory()
  for _, path in ipairs {
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
  } do
    local limit = tonumber(first_line(path) or "")
    if limit and limit < 2 ^ 60 then return limit end
  end
end

local checks = {}

function checks.blas()
  local blas = system.openblas()
  local text = ("OpenBLAS, %s flavour, %s kernels"):format(blas.parallel, blas.core)
  if blas.parallel ~= "openmp" then
    return "BAD",
      text,
      "this is not the OpenMP flavour, and its threads fight ours: "
        .. "apt-get install libopenblas-openmp-dev, unset LD_LIBRARY_PATH and LD_PRELOAD, rebuild"
  end
  local gemm = core.gemm()
  text = ("%s; large products: float32 %s%s, float64 %s (PERILUNE_GEMM %s)"):format(
    text,
    gemm.float32,
    gemm.split and " (for gradients of split numbers)" or "",
    gemm.float64,
    gemm.wish
  )
  if not gemm.rows_alone then
    return "note",
      text,
      "with these kernels a row's last bits depend on the rows beside it, so "
        .. "the first PPO ratio need not be 1: unset PERILUNE_GEMM"
  end
  return "ok", text
end

function checks.simd()
  local flags, model = processor.read()
  local best = flags.avx512f and flags.avx512bw and flags.avx512vl and flags.avx512dq and "avx512"
    or flags.avx2 and flags.fma and "avx2"
    or "plain"
  local used = core.isa()
  local text = ("%s kernels on %s"):format(used, model)
  if used ~= best then
    local asked = os.getenv("PERILUNE_ISA")
    return "note",
      text,
      ("the processor has %s; %s"):format(
        best,
        asked and ("PERILUNE_ISA=%s holds it back: unset it"):format(asked)
          or "this build leaves it out"
      )
  end
  return "ok", text
end

function checks.bf16()
  local rule, native = core.bf16()
  local how = {
    tiles = "by AMX (rule tiles)",
    pairs = "by AVX512_BF16 (rule pairs)",
    chain = "as float32, in the same order on all machines (rule chain)",
  }
  local text = ("bfloat16 products are added up %s"):format(how[rule])
  if not native then
    return "note",
      text .. ", emulated",
      ("the processor lacks the instruction and PERILUNE_BF16=%s asks for it: slow"):format(rule)
  end
  return "ok", text
end

function checks.int8()
  if core.vnni() then return "ok", "products in eight bits (precision int8) by VPDPBUSD" end
  return "ok", "products in eight bits (precision int8) without VNNI: few rows are faster by them"
end

function checks.threads()
  local threads, cpus, quota = core.threads(), system.affinity(), cgroup_cpus()
  local usable = math.max(1, math.min(cpus, quota and math.ceil(quota) or cpus))
  local text = ("%d threads on %d CPUs"):format(threads, cpus)
  if quota then text = text .. (", of which the control group grants %.3g"):format(quota) end
  if threads > usable then
    return "BAD",
      text,
      ("threads wait for each other: OMP_NUM_THREADS=%d, or --threads %d"):format(usable, usable)
  elseif threads < usable then
    return "note", text, ("%d CPUs stay idle: unset OMP_NUM_THREADS"):format(usable - threads)
  end
  return "ok", text
end

--- Twenty products of random shapes against the sum written out, in double precision.
function checks.numbers()
  local worst, where = 0, nil
  local scope <close> = core.scope("doctor")
  for case = 1, 20 do
    local function size(purpose)
      local u = core.random_uniform(7, purpose, case)
      return 1 + math.floor(u * 40)
    end
    local m, k, n = size(1), size(2), size(3)
    local a = core.randn({ m, k }, { seed = 7, purpose = 10 + case })
    local b = core.randn({ k, n }, { seed = 7, purpose = 40 + case })
    local x, y, got = a:totable(), b:totable(), core.matmul(a, b):totable()
    for i = 1, m do
      for j = 1, n do
        local sum, size_of = 0, 1e-30
        for l = 1, k do
          local term = x[i][l] * y[l][j]
          sum = sum + term
          size_of = size_of + math.abs(term)
        end
        local off = math.abs(got[i][j] - sum) / size_of
        if not (off <= worst) then -- NaN counts as worst
          worst, where = off, ("[%d,%d] x [%d,%d]"):format(m, k, k, n)
        end
      end
    end
  end
  if not (worst < 1e-5) then
    return "BAD",
      ("matrix product wrong by %.1e in %s"):format(worst, where),
      "try PERILUNE_GEMM=own, then PERILUNE_ISA=plain; report what helps with this page"
  end
  return "ok", ("20 matrix products right to %.1e"):format(worst)
end

--- What `--profile` and `bench` hold figures against.
function checks.limits()
  local l = processor.measure()
  return "ok",
    ("float32 %.0f GFLOP/s%s, bfloat16 %.0f; GB/s: %.1f read, %.1f copied, %.0f in cache"):format(
      1e-9 * l.float32,
      core.gemm().split and (", of split numbers %.0f"):format(1e-9 * l.split) or "",
      1e-9 * l.bfloat16,
      1e-9 * l.read,
      1e-9 * l.copy,
      1e-9 * l.cache
    )
end

function checks.memory()
  local info, limit = system.meminfo(), cgroup_memory()
  if not info.available then return "note", "memory unknown", "there is no /proc/meminfo" end
  local text = ("%.1f GiB free of %.1f GiB"):format(info.available / gib, info.total / gib)
  if limit and limit < info.total then
    text = text .. (", the control group allows %.1f GiB"):format(limit / gib)
  end
  if math.min(info.available, limit or math.huge) < 1 * gib then
    return "note", text, "the demo wants 1 GiB: end other programs"
  end
  return "ok", text
end

function checks.disk()
  local free, message = system.disk_free(".")
  if not free then return "note", "disk unknown", message end
  local text = ("%.1f GiB free in this folder"):format(free / gib)
  if free < 1 * gib then
    return "note", text, "checkpoints of a run may not fit: --output_dir on another disk"
  end
  return "ok", text
end

function checks.lua()
  local lfs = require("lfs")
  return "ok", ("%s, %s, the program at %s"):format(_VERSION, lfs._VERSION, host.executable)
end

-- A line of the report, and what would mend it; what has no room goes on below.
local function told(name, verdict, text, fix)
  local width = terminal.width()
  local lines = format.wrap(text, width - 15)
  for i, part in ipairs(fix and format.wrap(fix, width - 18) or {}) do
    lines[#lines + 1] = (i == 1 and "-> " or "   ") .. part
  end
  local head = ("%-8s %-5s "):format(name, verdict)
  return head .. table.concat(lines, "\n" .. (" "):rep(#head)) .. "\n"
end

local order = {
  "lua",
  "simd",
  "bf16",
  "int8",
  "blas",
  "threads",
  "numbers",
  "limits",
  "memory",
  "disk",
}

return function(args)
  if args[1] then
    io.stderr:write(("perilune doctor: takes no argument, not '%s'\n"):format(args[1]))
    return 1
  end
  local bad = 0
  io.stdout:write(("Perilune %s\n"):format(host.version))
  for _, name in ipairs(order) do
    local ok, verdict, text, fix = pcall(checks[name])
    if not ok then
      verdict, text, fix = "BAD", "the check itself failed: " .. tostring(verdict), nil
    end
    bad = bad + (verdict == "BAD" and 1 or 0)
    io.stdout:write(told(name, verdict, text, fix))
  end
  io.stdout:write(bad == 0 and "all is well\n" or ("%d bad\n"):format(bad))
  return bad == 0 and 0 or 1
end
