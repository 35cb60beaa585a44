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

--- What a case is measured against.
-- @tparam table case
-- @treturn string
function duel.peer_name(case) return case.what == "decode" and "llama.cpp" or "PyTorch" end

local Process = {}
Process.__index = Process

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
      ("%s exec %s <%s 2>%s"):format(
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
  return start("perilune", { host.executable, path, arguments(case) })
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

local function start_peer(case, threads, python)
  if not python then return nil, "none was asked for" end
  local script = case.what == "decode" and "peer_llama.py" or "peer_torch.py"
  local words = { python, host.root .. "/tests/bench/" .. script, arguments(case) }
  words[#words + 1] = tostring(threads)
  return start(duel.peer_name(case), words, ("OMP_NUM_THREADS=%d %s"):format(threads, tuning()))
end

--- Medians of a list of samples: tokens a second; of processor time, or of the prompt apart, where
-- samples have them.
local function summary(process, samples)
  local result = { peak = process:ask("peak").bytes, process = process.hello }
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

--- Measures a case.
-- @tparam table case of perilune.bench.workloads
-- @tparam table opts `samples` of each side, `python` (that has the peer; nil: none is measured),
--   `note` (function that is told of progress)
-- @treturn table `ours`, `peer` (or `no_peer`, the reason), `ratio` {median, least, greatest},
--   `cpu_ratio` or `prompt_ratio`, `memory_ratio`, `witness` (GFLOP/s before each sample)
function duel.run(case, opts)
  local ours <close> = assert(start_ours(case))
  local peer <close>, no_peer = start_peer(case, ours.hello.threads, opts.python)
  local result = { case = case, no_peer = no_peer, witness = {} }
  local mine, theirs = {}, {}
  local function witness() result.witness[#result.witness + 1] = ours:ask("witness").gflops end
  for i = 1, opts.samples do
    witness()
    mine[i] = ours:ask("sample")
    if peer then
      witness()
      theirs[i] = peer:ask("sample")
    end
    opts.note(i, mine[i], theirs[i])
  end
  result.ours = summary(ours, mine)
  if peer then
    result.peer = summary(peer, theirs)
    result.ratio = pair_ratios(result.ours.rates, result.peer.rates)
    result.cpu_ratio = pair_ratios(result.ours.cpu_rates, result.peer.cpu_rates)
    result.prompt_ratio = pair_ratios(result.ours.prompt_rates, result.peer.prompt_rates)
    result.memory_ratio = result.ours.peak / result.peer.peak
  end
  return result
end

return duel
