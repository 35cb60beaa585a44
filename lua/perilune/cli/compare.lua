--- `perilune compare METHOD... --task FOLDER [--key value]`: methods on one task over seeds, gold
-- and reward against KL, beside best of n, with intervals.
--
--     perilune run stories --task_only ...     makes a task
--     perilune compare ppo grpo --task runs/task --seeds 5
--     perilune compare ppo dapo=grpo --dapo.loss_type dapo ...
--
-- METHOD is a recipe, or NAME=RECIPE. The task, a task.json or the folder that has it, says which
-- model all start from, which prompts and which judge measure them, and the settings of each
-- recipe. Keys go to all methods that have them, --METHOD.key to one; several values, by commas,
-- are runs of their own, as in `perilune sweep`. The same words again go on where it was stopped;
-- more methods, settings or seeds join those that the folder has, fewer are refused.
--
--     --task TASK,TASK     seed 1 takes the first, seed 2 the second, and from the first again
--     --seeds N            runs of each setting (default: 1)
--     --output_dir FOLDER  of the contest (default: runs/compare)
--     --jobs N             runs at a time, which share the processors (default: one each)
--     --count N            held-out prompts of each evaluation; 0: all (default)
--     --best_of N          answers to each prompt of the best-of-n curve (default: 16)
--     --at KL,KL           where gold is read off each curve (default: 1,2,4)
--     --interpolate N,N    judge the final weights at these parts of the way from the start, too
--
-- With --save_steps N --save_total_limit 0 every checkpoint is a point of its curve. Parts of the
-- way that the folder has stay, whatever --interpolate names. The page is report.html in the
-- folder, the figures are in results.json.

local contest = require("perilune.cli.support.contest")
local core = require("perilune.core")
local format = require("perilune.base.format")
local frontier = require("perilune.cli.support.frontier")
local grid = require("perilune.cli.support.grid")
local held_out = require("perilune.learn.held_out")
local made_of = require("perilune.cli.support.made_of")
local pool = require("perilune.cli.support.pool")
local run = require("perilune.run")
local sentences = require("perilune.cli.support.sentences")

local own = {
  task = "list",
  seeds = "integer",
  output_dir = "string",
  jobs = "integer",
  count = "integer",
  best_of = "integer",
  at = "list",
  interpolate = "list",
}

local function note(text) io.stderr:write(text, "\n") end

-- The leading words without dashes, and the keys after them.
local function read(args)
  local words, at = {}, 1
  while args[at] and args[at]:sub(1, 1) ~= "-" do
    words[at], at = args[at], at + 1
  end
  if #words == 0 then error("which methods? usage: perilune compare METHOD... --task FOLDER", 0) end
  local list, message = grid.pairs_of { table.unpack(args, at) }
  if not list then error(message, 0) end
  local settings, given = {}, {}
  for _, pair in ipairs(list) do
    local key, value = pair[1], pair[2]
    if own[key] and settings[key] then
      error(("--%s is given twice"):format(key), 0)
    elseif key == "count" and value == "0" then
      settings.count = 0
    elseif own[key] then
      settings[key], message = grid.value(own[key], key, value)
      if settings[key] == nil then error(message, 0) end
    elseif key == "seed" then
      error("--seeds N gives the seeds 1 to N", 0)
    else
      given[#given + 1] = pair
    end
  end
  if not settings.task then error("--task FOLDER says what is compared on", 0) end
  for _, key in ipairs { "at", "interpolate" } do
    for i, text in ipairs(settings[key] or {}) do
      local number = tonumber(text)
      if not number or number - number ~= 0 or number < 0 then
        error(("--%s = '%s' is not a number of 0 or more"):format(key, text), 0)
      end
      settings[key][i] = number
    end
  end
  return words, settings, given
end

-- All runs of a contest are asked for again, since the page and the results are of what is asked
-- for.
local function nothing_lost(folder, runs)
  local asked, left = {}, {}
  for _, one in ipairs(runs) do
    asked[one.name] = true
  end
  for name in pairs(made_of.names(folder)) do
    if not asked[name] and name:find("/", 1, true) then left[#left + 1] = name end
  end
  if #left > 0 then
    table.sort(left)
    local text = "%s holds %s%s too, which its page and results would lose: name all its methods, "
      .. "settings and seeds, or give another --output_dir"
    local more = #left > 1 and (" and %d more"):format(#left - 1) or ""
    error(text:format(folder, left[1], more), 0)
  end
end

local function compare(args)
  local words, settings, given = read(args)
  local methods, tasks = contest.methods(words), {}
  for i, path in ipairs(settings.task) do
    tasks[i] = contest.task(path)
  end
  local folder, seeds = settings.output_dir or "runs/compare", settings.seeds or 1
  local runs = contest.runs(methods, tasks, given, seeds, folder)
  local count, starts = settings.count or 0, {}
  for i = 1, math.min(#tasks, seeds) do
    local place = ("%s/start-%d"):format(folder, i)
    starts[i] = contest.start(tasks[i], place, settings.best_of or 16, count)
  end
  pool.take(folder)
  nothing_lost(folder, runs)
  made_of.hold(folder, starts, note) -- their words are those of all evaluations
  made_of.hold(folder, runs, note)
  local cpus = core.system.affinity()
  local jobs = math.min(settings.jobs or cpus, #runs)
  local opts = { jobs = jobs, threads = math.max(1, cpus // jobs), note = note }
  local failed = {}
  local function all(list) table.move(pool.run(list, opts), 1, #list, #failed + 1, failed) end
  note(("%d runs, %d at a time, in %s"):format(#runs, jobs, format.safe(folder)))
  local function tell_failed()
    for _, one in ipairs(failed) do
      local text = "%s failed: %s (%s.log)"
      note(text:format(one.run.name, format.safe(one.message), one.run.folder))
    end
  end
  all(starts)
  if #failed > 0 then
    tell_failed()
    error("the start cannot be measured, so nothing is trained", 0)
  end
  core.system.setenv(held_out.JUDGED, "the judge of the task")
  all(runs)
  core.system.setenv(held_out.JUDGED, nil)
  local evaluations = {}
  for _, one in ipairs(runs) do
    one.checkpoints = run.checkpoints(one.folder)
  end
  local parts = contest.parts(runs, settings.interpolate)
  for _, one in ipairs(runs) do
    one.evaluations = contest.evaluations(one, count, parts)
    table.move(one.evaluations, 1, #one.evaluations, #evaluations + 1, evaluations)
  end
  note(("%d evaluations"):format(#evaluations))
  all(evaluations)
  tell_failed()
  print(format.safe(frontier.write(folder, runs, starts, settings.at or { 1, 2, 4 })))
  return #failed == 0 and 0 or 1
end

return sentences("compare", compare)
