--- `perilune plan RECIPE [--memory SIZE] [--key value]`: the memory and the time a run will take.
--
-- Nothing is guessed from formulas: the recipe itself runs two steps with a quarter of the layers
-- of its models and two with half of them, each in a process of its own. What a layer adds is in
-- the difference, and everything but the layers is in both; so memory and time of the whole are a
-- line through two measured points. Data, batches, adapters, dtypes and kernels are the run's own.
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
local STEPS <const> = 2 -- the first warms caches, the second is timed
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

-- Runs the first steps with few layers; nil when it fails, and then what it said.
local function trial(words, folder, layers)
  local place = ("%s/%d-layers"):format(folder, layers)
  local setup = ("require('perilune.cli.support.trial')(%d, %q)"):format(layers, place .. ".depth")
  local command = { host.executable, "-e", setup, "run", table.unpack(words) }
  for _, word in ipairs { "--output_dir=" .. place, "--max_steps=" .. STEPS, "--quiet" } do
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
  local depth = files.read(place .. ".depth")
  if not summary or not summary.all_steps or not depth then
    return nil, "the recipe trains no model step by step: there is nothing to plan\n"
  end
  local ends = {} -- when each step was done
  for _, row in ipairs(rows) do
    ends[row.step] = ends[row.step] or row.time
  end
  return {
    depth = math.tointeger(depth),
    memory = summary.memory,
    steps = summary.all_steps,
    -- A run of a single step is timed with its beginning.
    step_seconds = ends[2] and ends[2] - ends[1] or ends[1],
  }
end

--- What the whole run takes, by a line through two trials; nil when one fails, and what it said.
-- With very few layers the peak may be the loss's over the vocabulary and not the layers': a
-- quarter and a half of them lie on the line of the whole. A first trial with one tells how many
-- there are.
local function measure(words, folder)
  local one, message = trial(words, folder, 1)
  if not one then return nil, message end
  local fewer = math.max(1, one.depth // 4)
  local layers = math.max(fewer + 1, one.depth // 2)
  local few = one
  if fewer > 1 then
    few, message = trial(words, folder, fewer)
  end
  if not few then return nil, message end
  local more
  more, message = trial(words, folder, layers)
  if not more then return nil, message end
  local function whole(a, b) return a + (b - a) / (layers - fewer) * (few.depth - fewer) end
  local plan = { depth = few.depth, steps = few.steps }
  plan.step_seconds = whole(few.step_seconds, more.step_seconds)
  for name, bytes in pairs(few.memory) do
    plan[name] = whole(bytes, more.memory[name])
  end
  -- Trials repeat the same lengths. Batches of other lengths leave up to an eighth of the tensors'
  -- peak waiting (engine/base/mem.c); half of that is counted.
  plan.peak = plan.peak + plan.tensors_peak / 16
  return plan
end

local function show(plan, free)
  local rows = {
    { "weights, gradients and moments", format.bytes(plan.tensors) },
    { "activations and caches", format.bytes(plan.tensors_peak - plan.tensors) },
    { "program and data", format.bytes(plan.peak - plan.tensors_peak) },
    { "memory at the peak", format.bytes(plan.peak) },
    { "memory to hold it", format.bytes(free) },
    { "a step", format.duration(plan.step_seconds) },
    { ("%d steps"):format(plan.steps), format.duration(plan.steps * plan.step_seconds) },
  }
  print(format.columns(rows))
end

local function with_change(words, change)
  local changed = table.move(words, 1, #words, 1, {})
  changed[#changed + 1] = change[1]
  changed[#changed + 1] = change[2]
  return changed
end

-- The first change that makes the run fit, with its plan; a recipe that does not know a key fails
-- its trial and the next is tried.
local function remedy(words, folder, room)
  for _, change in ipairs(CHANGES) do
    local plan = measure(with_change(words, change), folder)
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

-- Takes --memory out of the words: bytes, what is free without it; nil when it is wrong.
local function take_memory(words)
  for i, word in ipairs(words) do
    local given = word:match("^%-%-memory=(.*)$") or word == "--memory" and (words[i + 1] or "")
    if given then
      table.remove(words, i)
      if word == "--memory" then table.remove(words, i) end
      return bytes_of(given)
    end
  end
  return core.system.meminfo().available
end

local function plan_run(words, folder, free)
  local plan, message = measure(words, folder)
  if not plan then
    fail("two steps with few layers were tried and failed:\n%s", (message:gsub("\n$", "")))
    return 1
  end
  show(plan, free)
  local room = free * (1 - SPARE)
  if plan.peak <= room then return 0 end
  local change, smaller = remedy(words, folder, room)
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
  local folder = assert(files.folder_begin((os.getenv("TMPDIR") or "/tmp") .. "/perilune-plan"))
  local ok, code = pcall(plan_run, args, folder, free)
  files.folder_discard(folder)
  if not ok then error(code, 0) end
  return code
end
