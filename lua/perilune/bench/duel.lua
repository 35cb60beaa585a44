--- Interleaved samples of our worker and of a peer: ours, peer, ours, peer.
--
-- A machine whose cores are shared is fast one second and slow the next, so a figure means nothing
-- by itself. Each pair of samples is taken in neighbouring seconds with a witness before each, and
-- what counts is the median of the ratios within pairs. The ratio of processor times is a second
-- opinion for a busy machine; threads that spin while they wait count in it too.
--
-- Speaks with the processes of worker.lua and of tests/bench/peer_*.py through named pipes.

local core = require("perilune.core")
local files = require("perilune.base.files")
local host = require("perilune.host")
local json = require("perilune.base.json")
local stats = require("perilune.base.stats")
local system = core.system

local duel = {}

local quote = function(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

local LLAMA <const> = { decode = true, serve = true, prefill = true }

--- What a case is measured against.
-- @tparam table case
-- @treturn string
function duel.peer_name(case) return LLAMA[case.what] and "llama.cpp" or "PyTorch" end

local Process = {}
Process.__index = Process

-- For the shell: a program that held the pipe to another one would keep its end from coming there.
local INHERITED_CLOSED <const> = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-;"

--- Starts a program that talks in lines of JSON; nil and a message when it does not come up.
local function start(label, words, environment)
  local folder = assert(files.folder_begin((os.getenv("TMPDIR") or "/tmp") .. "/perilune-bench"))
  local pipe, log = folder .. "/in", folder .. "/err"
  local self = setmetatable({ label = label, folder = folder, log = log }, Process)
  if select(2, system.spawn { "mkfifo", pipe }) ~= 0 then
    return nil, "cannot make a named pipe in " .. folder
  end
  local quoted = {}
  for i, word in ipairs(words) do
    quoted[i] = quote(word)
  end
  self.output = assert(
    io.popen(
      ("%s %s exec %s <%s 2>%s"):format(
        INHERITED_CLOSED,
        environment or "",
        table.concat(quoted, " "),
        quote(pipe),
        quote(log)
      )
    )
  )
  self.input = assert(io.open(pipe, "w")) -- waits for the shell to open its end
  self.hello = self:read()
  if not self.hello then
    local message = self:complaint()
    self:close()
    return nil, message
  end
  return self
end

--- The last line the program wrote to its standard error.
function Process:complaint()
  local last
  for line in io.lines(self.log) do
    last = line:match("%S") and line or last
  end
  return ("%s: %s"):format(self.label, last or "ended without a word")
end

function Process:read()
  local line = self.output:read("l")
  return line and (json.decode(line))
end

function Process:ask(command)
  self.input:write(command, "\n")
  self.input:flush()
  return self:read() or error(self:complaint(), 0)
end

function Process:close()
  self.input:close()
  self.output:close()
  files.folder_remove(self.folder)
end

Process.__close = Process.close

local function arguments(case)
  return case.what,
    case.model,
    tostring(case.batch),
    tostring(case.length),
    tostring(case.prompt or 0)
end

local function start_ours(case)
  local path = host.root .. "/lua/perilune/bench/worker.lua"
  local words = { host.executable, path, arguments(case) }
  if case.precision then words[#words + 1] = "precision=" .. case.precision end
  table.move(case.words or {}, 1, #(case.words or {}), #words + 1, words)
  return start("perilune", words, case.threads and "OMP_NUM_THREADS=" .. case.threads)
end

--- Where Debian keeps the OpenMP flavour of OpenBLAS; with it and a malloc that keeps its memory
-- PyTorch is up to twice as fast as out of the box.
local function tuning()
  local folders =
    { "/usr/lib/x86_64-linux-gnu/openblas-openmp", "/usr/lib/aarch64-linux-gnu/openblas-openmp" }
  local words = { "MALLOC_MMAP_THRESHOLD_=34359738368", "MALLOC_TRIM_THRESHOLD_=34359738368" }
  for _, folder in ipairs(folders) do
    if require("lfs").attributes(folder, "mode") == "directory" then
      words[#words + 1] = "LD_LIBRARY_PATH=" .. folder
    end
  end
  return table.concat(words, " ")
end

-- One variant of the peer: words of the form key=value, "" of the only one.
local function start_variant(case, threads, python, variant)
  local script = LLAMA[case.what] and "peer_llama.py"
    or case.what == "ppo" and "peer_ppo.py"
    or "peer_torch.py"
  local words = { python, host.root .. "/tests/bench/" .. script, arguments(case) }
  words[#words + 1] = ("threads=%d"):format(threads)
  for word in variant:gmatch("%S+") do
    words[#words + 1] = word
  end
  local environment = ("OMP_NUM_THREADS=%d %s"):format(threads, tuning())
  local process, message = start(duel.peer_name(case), words, environment)
  if process then process.variant = variant end
  return process, message
end

local function rate(sample) return sample.tokens / sample.seconds end

-- The process of the fastest of the peer's variants by one sample of each, and {variant = tokens/s
-- or why it does not run}; nil and the reason when none comes up. The others are closed again.
local function start_peer(case, threads, opts)
  if not opts.python then return nil, "none was asked for" end
  local best, best_rate, seen, reason = nil, 0, {}, nil
  for _, variant in ipairs(case.peers or { "" }) do
    if opts.compile ~= false or not variant:find("compile", 1, true) then
      local process, message = start_variant(case, threads, opts.python, variant)
      local fine, sample
      if process then
        fine, sample = pcall(process.ask, process, "sample")
        message = not fine and sample or nil
      end
      seen[variant] = fine and rate(sample) or message
      reason = reason or message
      local faster = fine and rate(sample) > best_rate
      if faster and best then best:close() end
      if faster then
        best, best_rate = process, rate(sample)
      elseif process then
        process:close()
      end
    end
  end
  return best, best and seen or reason
end

--- Medians of a list of samples: tokens a second; of processor time, or of the prompt apart, where
-- samples have them.
local function summary(process, samples)
  local memory = process:ask("peak")
  local result = {
    peak = memory.bytes,
    base = memory.base,
    process = process.hello,
    variant = process.variant,
  }
  local function add(name, tokens, seconds)
    if not samples[1][seconds] then return end
    local rates = {}
    for i, sample in ipairs(samples) do
      rates[i] = sample[tokens] / sample[seconds]
    end
    result[name], result[name .. "s"] = stats.median(rates), rates
  end
  add("rate", "tokens", "seconds")
  add("cpu_rate", "tokens", "cpu")
  add("prompt_rate", "prompt_tokens", "prompt_seconds")
  return result
end

--- {median, least, greatest} of the ratios of neighbours; nil without them.
local function pair_ratios(a, b)
  if not a then return nil end
  local ratios = {}
  for i = 1, #a do
    ratios[i] = a[i] / b[i]
  end
  return { stats.median(ratios), math.min(table.unpack(ratios)), math.max(table.unpack(ratios)) }
end

-- How much of the time that one more step took the limits would have allowed (`of_limits`), and
-- how much of the chip's float32 rate the samples reached (`of_peak`).
local function against_limits(ours, samples, trace)
  local seen = ours:ask(trace and "profile " .. trace or "profile")
  local seconds = {}
  for i, sample in ipairs(samples) do
    seconds[i] = sample.seconds + (sample.prompt_seconds or 0)
  end
  seen.of_limits = seen.least / stats.median(seconds)
  seen.gflops = 1e-9 * seen.flops / stats.median(seconds)
  return seen
end

--- Measures a case.
-- @tparam table case of perilune.bench.workloads
-- @tparam table opts `samples` of each side, `python` (that has the peer; nil: none is measured),
--   `compile` (default: true; false: compiled variants of the peer are left out), `seconds` (no
--   sample begins later, but the first; default: none too late), `profile` (default: false; hold it
--   against the machine's limits), `trace` (path), `note` (function that is told of progress)
-- @treturn table `ours`, `peer` (or `no_peer`, the reason), `variants` (tokens/s of each variant of
--   the peer, or why it does not run), `ratio` {median, least, greatest}, `cpu_ratio` or
--   `prompt_ratio`, `memory_ratio`, `extra_ratio` (of what the step takes beyond what was there
--   before), `witness` (GFLOP/s before each sample), `limits` of the profile
function duel.run(case, opts)
  local ours <close> = assert(start_ours(case))
  local peer <close>, variants = start_peer(case, ours.hello.threads, opts)
  local result = { case = case, witness = {} }
  if peer then
    result.variants = variants
  else
    result.no_peer = variants
  end
  local mine, theirs, began = {}, {}, system.monotonic()
  local function witness() result.witness[#result.witness + 1] = ours:ask("witness").gflops end
  for i = 1, opts.samples do
    if i > 1 and opts.seconds and system.monotonic() - began > opts.seconds then break end
    witness()
    mine[i] = ours:ask("sample")
    if peer then
      witness()
      theirs[i] = peer:ask("sample")
    end
    opts.note(i, mine[i], theirs[i])
  end
  result.ours = summary(ours, mine)
  if opts.profile then result.limits = against_limits(ours, mine, opts.trace) end
  if peer then
    result.peer = summary(peer, theirs)
    result.ratio = pair_ratios(result.ours.rates, result.peer.rates)
    result.cpu_ratio = pair_ratios(result.ours.cpu_rates, result.peer.cpu_rates)
    result.prompt_ratio = pair_ratios(result.ours.prompt_rates, result.peer.prompt_rates)
    result.memory_ratio = result.ours.peak / result.peer.peak
    local extra = result.peer.peak - result.peer.base
    result.extra_ratio = extra > 0 and (result.ours.peak - result.ours.base) / extra or nil
  end
  return result
end

return duel
