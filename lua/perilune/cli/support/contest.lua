--- A contest: methods, settings of each, seeds; which runs it takes, and the evaluations of each.
--
-- A task is a JSON file (task.json in the folder of a run that made one): `model`, the policy that
-- all start from and are held against; `judge`, a reward function that no training sees;
-- `held_out`, prompts it judges answers to; `text`, whose loss is the alignment tax, and `tasks`,
-- files (by commas, or a list) whose accuracy is it too; `proxy`, the reward model, whose score
-- stands beside the judge's; `settings` of every recipe that has those
-- keys, and `methods`: settings of a recipe by its name.

local config = require("perilune.config")
local files = require("perilune.base.files")
local grid = require("perilune.cli.support.grid")
local lfs = require("lfs")
local nearest = require("perilune.base.nearest")
local neighbours = require("perilune.config.neighbours")

local contest = {}

--- What a task file must have.
local required = { "model", "judge", "held_out" }

--- Reads a task. Raises when it cannot be read or lacks something.
-- @tparam string path of the file, or of the folder that has it
-- @treturn table with `path`
function contest.task(path)
  if lfs.attributes(path, "mode") == "directory" then path = path .. "/task.json" end
  local task, message = files.read_json(path)
  if type(task) ~= "table" then
    error(("task %s cannot be read%s"):format(path, message and ": " .. message or ""), 0)
  end
  for _, key in ipairs(required) do
    if type(task[key]) ~= "string" then
      error(
        ("task %s has no '%s'; a task has %s"):format(path, key, table.concat(required, ", ")),
        0
      )
    end
  end
  if type(task.tasks) == "table" then task.tasks = table.concat(task.tasks, ",") end
  if task.tasks ~= nil and type(task.tasks) ~= "string" then
    error(("task %s: 'tasks' must be files by commas, or a list of them"):format(path), 0)
  end
  task.path = path
  task.settings, task.methods = task.settings or {}, task.methods or {}
  return task
end

--- A method that takes part.
-- @class ContestMethod
-- @field string name what it is called: "dapo" of "dapo=grpo"
-- @field string recipe path of its file
-- @field string stem the recipe's name: what the task's settings go by
-- @field {[string]=boolean} keys that the recipe has

--- The methods named on the command line. Raises when there is no such recipe.
-- @tparam {string,...} words such as "ppo" or "dapo=grpo"
-- @treturn {ContestMethod,...}
function contest.methods(words)
  local list, taken = {}, {}
  for i, word in ipairs(words) do
    local name, asked = word:match("^([%w_-]+)=(.+)$")
    asked = asked or word
    local recipe = lfs.attributes(asked, "mode") == "file" and asked or neighbours.find(asked)
    local stem = asked:match("([^/]+)%.lua$") or asked:match("[^/]*$")
    name = name or stem
    if not recipe then
      local names = {}
      for k, one in ipairs(neighbours.recipes()) do
        names[k] = one.name
      end
      error(("there is no recipe '%s'%s"):format(asked, nearest.hint(asked, names)), 0)
    elseif taken[name] then
      error(
        ("two methods are called %s; call one of them otherwise: NAME=%s"):format(name, stem),
        0
      )
    end
    taken[name] = true
    list[i] = { name = name, recipe = recipe, stem = stem, keys = config.keys_of(recipe) }
  end
  return list
end

-- The words of the command line that a method takes: those of its own ("ppo.kl_coef"), and those
-- for all that it has. `used` notes which of the latter somebody takes.
local function words_of(method, given, used)
  local own, words = {}, {}
  for _, pair in ipairs(given) do
    local to, key = pair[1]:match("^([%w_-]+)%.(.+)$")
    if to == method.name then own[key] = true end
  end
  for _, pair in ipairs(given) do
    local to, key = pair[1]:match("^([%w_-]+)%.(.+)$")
    local mine = to == method.name
    if mine and not method.keys[key] then
      local text = "the recipe of %s has no key '%s'%s"
      local known = grid.keys(method.keys, {})
      error(text:format(method.name, key, nearest.hint(key, known)), 0)
    end
    if not to and method.keys[pair[1]] then
      used[pair[1]] = true
      mine, key = not own[pair[1]], pair[1]
    end
    if mine then
      words[#words + 1] = "--" .. key
      words[#words + 1] = pair[2] ~= true and pair[2] or nil
    end
  end
  return words
end

-- Settings of the task for a method, those of its own laid over; a name goes before the recipe's.
-- A recipe that learns from answers of others (it has `eval_prompts`) has no use for a judge. What
-- the task says of a recipe is for another file of that name as far as it has the keys.
local function settings_of(method, task)
  local all = {}
  for key, value in pairs(task.settings) do
    if method.keys[key] then all[key] = value end
  end
  if method.keys.model then all.model = task.model end
  if method.keys.eval_prompts then
    all.reward_function = nil
  elseif method.keys.reward_model and task.proxy and not all.reward_function then
    all.reward_model = task.proxy
  end
  local is_own = neighbours.find(method.stem) == method.recipe
  for key, value in pairs(task.methods[method.name] or task.methods[method.stem] or {}) do
    if is_own or method.keys[key] then all[key] = value end
  end
  return all
end

local function laid_over(settings, words)
  local list, given = {}, {}
  for _, word in ipairs(words) do
    given[word:match("^%-%-(.+)$") or ""] = true
  end
  for _, key in ipairs(grid.keys(settings, {})) do
    if not given[key] then
      list[#list + 1] = "--" .. key
      list[#list + 1] = tostring(settings[key])
    end
  end
  return table.move(words, 1, #words, #list + 1, list)
end

--- The runs of a contest: each method with each of its settings and seeds.
-- @tparam {ContestMethod,...} methods
-- @tparam {table,...} tasks seed k takes the k-th, and from the first again when they end
-- @tparam {{string,any},...} given keys and values of the command line
-- @tparam integer seeds
-- @tparam string folder of the contest
-- @treturn {table,...} PooledRuns with `method`, `setting` ("" when there is one), `seed`, `task`
function contest.runs(methods, tasks, given, seeds, folder)
  local runs, used = {}, {}
  for _, method in ipairs(methods) do
    local plan, message = grid.read(words_of(method, given, used), {})
    if not plan then error(message, 0) end
    for _, point in ipairs(plan.points) do
      for seed = 1, seeds do
        local task = tasks[(seed - 1) % #tasks + 1]
        local name = ("%s/%sseed=%d"):format(
          method.name,
          point.name ~= "" and point.name .. "," or "",
          seed
        )
        local words = laid_over(settings_of(method, task), point.words)
        words[#words + 1] = "--seed"
        words[#words + 1] = tostring(seed)
        runs[#runs + 1] = {
          name = name,
          recipe = method.recipe,
          folder = folder .. "/" .. name,
          words = words,
          method = method.name,
          setting = point.name,
          seed = seed,
          task = task,
        }
      end
    end
  end
  for _, pair in ipairs(given) do
    local key = pair[1]
    local to = key:match("^([%w_-]+)%.")
    local known = used[key]
    for _, method in ipairs(methods) do
      known = known or to == method.name
    end
    if not known then error(("none of the methods has a key '%s'"):format(key), 0) end
  end
  return runs
end

-- What an evaluation of a model is called with; `more` keys after the task's.
local function evaluation(task, name, folder, more)
  local words = {
    "--dataset",
    task.held_out,
    "--reward_function",
    task.judge,
    "--reference",
    task.model,
  }
  local function add(key, value)
    if value then table.move({ "--" .. key, tostring(value) }, 1, 2, #words + 1, words) end
  end
  add("chooser", task.proxy)
  add("text", task.text)
  add("tasks", task.tasks)
  for _, key in ipairs { "template", "response_length", "max_prompt_length", "temperature" } do
    add(key, task.settings[key])
  end
  add("text_length", task.settings.ptx_length)
  for _, key in ipairs(grid.keys(more, {})) do -- in order: the words are held against those before
    add(key, more[key])
  end
  return { name = name, recipe = neighbours.find("eval"), folder = folder, words = words }
end

-- The folder of the weights of a checkpoint that a run would end with.
local function weights_of(run_folder, checkpoint)
  local saved = files.read_json(run_folder .. "/config.json")
  local averaged = type(saved) == "table" and saved.ema_final == true
  local ema = checkpoint .. "/ema"
  return averaged and lfs.attributes(ema, "mode") == "directory" and ema or checkpoint
end

-- Where the evaluation of a checkpoint stands, or of a place on the line to it.
local function place_of(run, checkpoint, part)
  local place = part and ("%d-%g"):format(checkpoint.step, part) or checkpoint.step
  return ("%s/eval-%s"):format(run.folder, place)
end

-- The parts of the way to its last weights that a run's folder has an evaluation of.
local function parts_held(run)
  local last, parts = run.checkpoints[#run.checkpoints], {}
  if not last then return parts end
  for name in lfs.dir(run.folder) do
    local text = name:match("^eval%-" .. last.step .. "%-(.+)$")
    local part = tonumber(text or "")
    if part and ("%g"):format(part) == text then parts[#parts + 1] = part end
  end
  return parts
end

--- The parts of the way at which a contest judges: those asked for, and those that the folder of
-- some run has an evaluation of. So what was judged stays in the results, and runs that join get
-- the same points.
-- @tparam {table,...} runs of `contest.runs`, each with its `checkpoints` in order
-- @tparam ?{number,...} asked parts of the way (none)
-- @treturn {number,...} in order
function contest.parts(runs, asked)
  local by_text, parts = {}, {}
  for _, part in ipairs(asked or {}) do
    by_text[("%g"):format(part)] = part -- as folders are called
  end
  for _, run in ipairs(runs) do
    for _, part in ipairs(parts_held(run)) do
      local text = ("%g"):format(part)
      by_text[text] = by_text[text] or part
    end
  end
  for _, part in pairs(by_text) do
    parts[#parts + 1] = part
  end
  table.sort(parts)
  return parts
end

--- The evaluations of a run that is done: of its checkpoints, or of the last one alone; and of
-- places on the line from the weights that all start from to its last ones.
-- @tparam table run of `contest.runs`, with its `checkpoints` {{step=integer,path=string},...} in
--   order
-- @tparam integer count prompts; 0: all
-- @tparam {number,...} parts of the way, of `contest.parts`; 1 is the last weights themselves
-- @treturn {table,...} PooledRuns with `step`, and `part` where it is on that line
function contest.evaluations(run, count, parts)
  local list, checkpoints = {}, run.checkpoints
  local function add(checkpoint, part)
    local name = "step " .. checkpoint.step .. (part and (", %g of the way"):format(part) or "")
    local one = evaluation(
      run.task,
      ("%s, %s"):format(run.name, name),
      place_of(run, checkpoint, part),
      { model = weights_of(run.folder, checkpoint.path), count = count, interpolation = part }
    )
    one.step, one.part = checkpoint.step, part
    list[#list + 1] = one
  end
  for _, checkpoint in ipairs(checkpoints) do
    add(checkpoint)
  end
  for _, part in ipairs(#checkpoints > 0 and parts or {}) do
    add(checkpoints[#checkpoints], part)
  end
  return list
end

--- The evaluation of the model that all start from, with its best of n.
-- @tparam table task
-- @tparam string folder of it
-- @tparam integer best_of
-- @tparam integer count prompts; 0: all
-- @treturn table a PooledRun
function contest.start(task, folder, best_of, count)
  return evaluation(task, folder:match("[^/]*$"), folder, {
    model = task.model,
    best_of = best_of,
    count = count,
  })
end

return contest
