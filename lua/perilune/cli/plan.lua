--- `perilune plan RECIPE [--memory SIZE] [--key value]`: the memory and the time a run will take.
--
-- Nothing is guessed from formulas: the recipe itself runs two steps with half of the layers of its
-- models and two with three quarters of them, each in a process of its own. What a layer adds is in
-- the difference, and everything but the layers is in both; so memory and time of the whole are a
-- line through two measured points. Data, batches, adapters, dtypes and kernels are the run's own;
-- the second step of SFT and of reward models takes the largest batch that the run (of --max_steps,
-- when they are given) will meet.
--
-- A run that does not fit into the memory that is free, or into --memory 16GB of another machine,
-- is refused (exit status 1), with the smallest change of a setting that would make it fit, tried
-- the same way.

local core = require("perilune.core")
local files = require("perilune.base.files")
local format = require("perilune.base.format")
local host = require("perilune.host")
local run = require("perilune.run")

local USAGE <const> = "perilune plan RECIPE [--memory SIZE] [--key value]"
local STEPS <const> = 2 -- the first warms caches and makes moments, the last is timed
local SPARE <const> = 0.05 -- of the free memory is left to others

-- Changes that make a run smaller and leave its result as it is, or nearly: in the order in which
-- they are tried.
local CHANGES <const> = {
  { "--micro_batch_tokens", "4096", "more and smaller forwards: slower, the same result" },
  { "--micro_batch_tokens", "1024", "more and smaller forwards: slower, the same result" },
  { "--gradient_checkpointing", nil, "blocks computed again in the backward pass: a third slower" },
  { "--slots", "16", "fewer answers at a time" },
  { "--base_dtype", "bfloat16", "the frozen weights in half the memory" },
  { "--peft_r", "16", "adapters on one frozen base instead of whole models" },
}

local function fail(...) io.stderr:write("perilune plan: ", string.format(...), "\n") end

-- Takes --name and its value out of the words: the last one given, "" when none follows.
local function take_value(words, name)
  local value
  for i = #words, 1, -1 do
    local given = words[i]:sub(1, #name + 1) == name .. "=" and words[i]:sub(#name + 2)
    if given or words[i] == name then
      value = value or given or words[i + 1] or ""
      if not given then table.remove(words, i + 1) end
      table.remove(words, i)
    end
  end
  return value
end

-- Takes --max_steps out of the words: those of the run that is planned.
local function take_steps(words)
  local value = take_value(words, "--max_steps")
  local steps = value and math.tointeger(tonumber(value))
  if value and not (steps and steps >= 0) then return nil, value end
  return steps and steps > 0 and steps or math.maxinteger
end

-- Runs the first steps with few layers; nil when it fails, and then what it said.
local function trial(what, folder, layers)
  local place = ("%s/%d-layers"):format(folder, layers)
  local last = math.min(STEPS, what.most)
  local setup = ("require('perilune.cli.support.trial')(%d, %d, %d, %q)"):format(
    layers,
    last,
    what.most,
    place .. ".whole"
  )
  local command = { host.executable, "-e", setup, "run", table.unpack(what.words) }
  for _, word in ipairs { "--output_dir=" .. place, "--max_steps=" .. last, "--quiet" } do
    command[#command + 1] = word
  end
  command[#command + 1] = "--overwrite_output_dir"
  local how, code = core.system.spawn(
    command,
    { stdin = "/dev/null", stdout = place .. ".out", stderr = place .. ".err" }
  )
  if how ~= "exit" or code ~= 0 then
    return nil, files.read(place .. ".err") or ("%s %s"):format(how, code)
  end
  local summary = files.read_json(place .. "/summary.json")
  local rows = run.read_rows(place .. "/metrics.jsonl")
  local whole = files.read_json(place .. ".whole")
  if not summary or not summary.all_steps or not whole then
    return nil, "the recipe trains no model step by step: there is nothing to plan\n"
  end
  local ends = {} -- when each step was done
  for _, row in ipairs(rows) do
    ends[row.step] = ends[row.step] or row.time
  end
  local memory = summary.memory
  local waiting = memory.held_peak - memory.tensors_peak
  -- A run of a single step is timed with its beginning.
  local largest_seconds = ends[2] and ends[2] - ends[1] or ends[1]
  return {
    layers = layers,
    depth = math.tointeger(whole.depth),
    tensors = memory.tensors,
    tensors_peak = memory.tensors_peak,
    waiting = waiting,
    peak = memory.peak - waiting,
    steps = math.min(summary.all_steps, what.most),
    step_seconds = largest_seconds * whole.share,
  }
end

-- The value of a line through two trials with so many layers, at the depth of the whole.
local function on_line(a, b, name)
  local few, more = a[name], b[name]
  return more + (more - few) / (b.layers - a.layers) * (a.depth - b.layers)
end

-- What freed tensors may take while they wait to be used again (engine/base/mem.c).
local function most_waiting(tensors_peak) return tensors_peak / 32 + (32 << 20) end

-- The whole run by a line through two trials. Freed tensors that wait stand apart: they have a
-- bound, and batches of other lengths than the trials' bring them nearer to it.
local function extended(few, more)
  local plan = { depth = few.depth, steps = few.steps }
  for _, name in ipairs { "tensors", "tensors_peak", "peak", "step_seconds" } do
    plan[name] = on_line(few, more, name)
  end
  plan.step_seconds = math.max(plan.step_seconds, more.step_seconds) -- on a busy machine
  local share = math.min(1, more.waiting / most_waiting(more.tensors_peak))
  plan.waiting = (1 + share) / 2 * most_waiting(plan.tensors_peak)
  plan.peak = plan.peak + plan.waiting
  return plan
end

--- What the whole run takes; nil when a trial fails, and what it said.
-- With few layers the peak may be the loss's over the vocabulary and not the layers'; so the line
-- goes through half and three quarters of them. A trial with one layer tells how many there are. A
-- line through it and the half lies below the whole: what is too large there is not tried further.
local function measure(what, folder, room)
  local one, message = trial(what, folder, 1)
  if not one then return nil, message end
  local half = math.max(2, one.depth // 2)
  local middle
  middle, message = trial(what, folder, half)
  if not middle then return nil, message end
  local least = extended(one, middle)
  if least.peak > room or half >= one.depth then return least end
  local more
  more, message = trial(what, folder, math.max(half + 1, one.depth * 3 // 4))
  return more and extended(middle, more), message
end

local function show(plan, free)
  local rest = plan.peak - plan.waiting - plan.tensors_peak -- less than 0: pages never written
  local rows = {
    { "weights, gradients and moments", format.bytes(plan.tensors) },
    { "activations and caches", format.bytes(plan.tensors_peak - plan.tensors) },
    { "freed, waiting for use", format.bytes(plan.waiting) },
    { "program and data", format.bytes(math.max(0, rest)) },
    { "memory at the peak", format.bytes(plan.peak) },
    { "memory to hold it", format.bytes(free) },
    { "a step", format.duration(plan.step_seconds) },
    { ("%d steps"):format(plan.steps), format.duration(plan.steps * plan.step_seconds) },
  }
  print(format.columns(rows))
end

local function with_change(what, change)
  local changed = table.move(what.words, 1, #what.words, 1, {})
  changed[#changed + 1] = change[1]
  changed[#changed + 1] = change[2]
  return { words = changed, most = what.most }
end

-- The first change that makes the run fit, with its plan; a recipe that does not know a key fails
-- its trial and the next is tried.
local function remedy(what, folder, room)
  for _, change in ipairs(CHANGES) do
    local plan = measure(with_change(what, change), folder, room)
    if plan and plan.peak <= room then return change, plan end
  end
end

local UNITS <const> = { [""] = 1, M = 1e6, G = 1e9, Mi = 1 << 20, Gi = 1 << 30 }

-- Bytes of "16GB", "1.5GiB" or "800M"; nil for anything else.
local function bytes_of(text)
  local number, unit = text:match("^([%d.]+)%s*(%a*)$")
  local scale = unit and UNITS[unit:gsub("B$", "")]
  return scale and tonumber(number) and tonumber(number) * scale
end

-- Bytes of --memory, taken out of the words; what is free without it; nil when it is wrong.
local function take_memory(words)
  local given = take_value(words, "--memory")
  return given and bytes_of(given) or not given and core.system.meminfo().available or nil
end

local function plan_run(what, folder, free)
  local room = free * (1 - SPARE)
  local plan, message = measure(what, folder, room)
  if not plan then
    fail("two steps with few layers were tried and failed:\n%s", (message:gsub("\n$", "")))
    return 1
  end
  show(plan, free)
  if plan.peak <= room then return 0 end
  local change, smaller = remedy(what, folder, room)
  if change then
    local setting = table.concat(change, " ", 1, change[2] and 2 or 1)
    fail("this does not fit; %s makes it %s (%s)", setting, format.bytes(smaller.peak), change[3])
  else
    fail("this does not fit, and no single setting makes it: take a smaller model")
  end
  return 1
end

return function(args)
  if not args[1] or args[1]:sub(1, 1) == "-" then
    fail("which recipe? usage: %s", USAGE)
    return 1
  end
  local free = take_memory(args)
  if not free then
    fail("--memory wants a size such as 16GB, 1.5GiB or 800MB")
    return 1
  end
  local most, wrong = take_steps(args)
  if not most then
    fail("--max_steps wants a number of steps, not %q", wrong)
    return 1
  end
  local folder = assert(files.folder_begin((os.getenv("TMPDIR") or "/tmp") .. "/perilune-plan"))
  local ok, code = pcall(plan_run, { words = args, most = most }, folder, free)
  files.folder_discard(folder)
  if not ok then error(code, 0) end
  return code
end
