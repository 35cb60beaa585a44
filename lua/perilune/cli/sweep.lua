--- `perilune sweep RECIPE --key value,value... [--key value]`: a recipe with all combinations of
-- values, each a run in a process of its own; a table and a page of how they came out.
--
--     perilune sweep sft --model M --dataset D --seed 1,2,3
--     perilune sweep sft ... --learning_rate 1e-6,3e-6
--
-- A key whose value has commas is swept (commas inside brackets, as of a schedule, belong to it);
-- runs that differ by seed alone are one row, with an interval. The same words again go on where
-- the sweep was stopped: what is done is not done again, what has a checkpoint is resumed, and
-- further values add their runs.
--
--     --output_dir FOLDER  of the sweep (default: runs/RECIPE-sweep)
--     --jobs N             runs at a time, which share the processors (default: one each)
--     --by FIGURE          of summary.json, to order by: see below
--     --show KEY,KEY       figures to tell beside it (default: some usual ones)
--     --whole KEY,KEY      keys whose commas are part of the value
--
-- Without --by the first of eval_reward, eval_score, score, eval_accuracy, eval_loss, loss that
-- there is. The greatest comes first, of a figure whose name says loss the least.
-- `perilune report FOLDER` draws the curves of all runs of the folder.

local core = require("perilune.core")
local files = require("perilune.base.files")
local format = require("perilune.base.format")
local grid = require("perilune.cli.support.grid")
local nearby = require("perilune.cli.support.nearby")
local neighbours = require("perilune.config.neighbours")
local outcome = require("perilune.cli.support.outcome")
local pool = require("perilune.cli.support.pool")
local lfs = require("lfs")
local made_of = require("perilune.cli.support.made_of")

local own =
  { output_dir = "string", jobs = "integer", by = "string", show = "list", whole = "list" }

local function fail(text, ...)
  io.stderr:write("perilune sweep: ", format.safe(text:format(...)), "\n")
  return 1
end

local function worded(key, value)
  if value == nil then return "without --" .. key end
  return value == true and "with --" .. key or ("with --%s %s"):format(key, value)
end

-- The fixed words of the sweep that the folder holds must be those of now: a run that is done is
-- not done again with others.
local function same_as_before(folder, recipe, fixed)
  local path = folder .. "/sweep.json"
  local before = files.read_json(path)
  local now = { recipe = recipe, fixed = fixed }
  if type(before) == "table" then
    local old = type(before.fixed) == "table" and before.fixed or {}
    for _, key in ipairs(grid.keys(old, fixed)) do
      if old[key] ~= fixed[key] then
        local text = "%s holds a sweep %s, and now it is to be %s; give another --output_dir"
        return nil, text:format(folder, worded(key, old[key]), worded(key, fixed[key]))
      end
    end
    if before.recipe ~= recipe then
      return nil,
        ("%s holds a sweep of %s; give another --output_dir"):format(folder, before.recipe)
    end
  end
  assert(files.write_json(path, now))
  return true
end

local function note(text) io.stderr:write(text, "\n") end

return function(args)
  local asked = args[1]
  if not asked or asked:sub(1, 1) == "-" then
    return fail("which recipe? 'perilune recipes' lists them")
  end
  local recipe = lfs.attributes(asked, "mode") == "file" and asked or neighbours.find(asked)
  if not recipe then return (nearby.no_recipe(asked, "sweep")) end
  local name = recipe:match("([^/]+)%.lua$") or recipe:match("[^/]*$")
  local plan, message = grid.read({ table.unpack(args, 2) }, own)
  if not plan then return fail("%s", message) end
  if #plan.swept == 0 then
    return fail("no key has several values: --learning_rate 1e-5,3e-5 sweeps over two")
  end
  local folder = plan.own.output_dir or "runs/" .. name .. "-sweep"
  local fine
  fine, message = pcall(pool.take, folder)
  if not fine then return fail("%s", message) end
  fine, message = same_as_before(folder, recipe, plan.fixed)
  if not fine then return fail("%s", message) end
  local cpus = core.system.affinity()
  local jobs = math.min(plan.own.jobs or cpus, #plan.points)
  local runs = {}
  for i, point in ipairs(plan.points) do
    runs[i] = {
      name = point.name,
      recipe = recipe,
      folder = folder .. "/" .. point.name,
      words = point.words,
    }
  end
  fine, message = pcall(made_of.hold, folder, runs, note)
  if not fine then return fail("%s", message) end
  note(("%d runs of %s, %d at a time, in %s"):format(#runs, name, jobs, format.safe(folder)))
  local failed = pool.run(runs, {
    jobs = jobs,
    threads = not plan.fixed.threads and math.max(1, cpus // jobs) or nil,
    note = note,
  })
  for _, one in ipairs(failed) do
    note(("%s failed: %s (%s.log)"):format(one.run.name, format.safe(one.message), one.run.folder))
  end
  local text
  text, message = outcome.write(folder, name, plan, plan.own.by, plan.own.show)
  if not text then return fail("%s", message) end
  print(format.safe(text))
  return #failed == 0 and 0 or 1
end
