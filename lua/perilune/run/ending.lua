--- The end of a run: whether its model may be saved, what its card says, the last figures on the
-- terminal.

local config = require("perilune.config")
local core = require("perilune.core")
local format = require("perilune.base.format")
local list = require("perilune.base.list")

local ending = {}

-- The figures of a summary that a person looks at first, in this order.
local FIRST_FIGURES <const> = {
  "steps",
  "seconds",
  "loss",
  "eval_loss",
  "eval_score",
  "rm_accuracy",
  "score",
  "kl",
  "gain",
  "win_rate",
  "weights_hash",
}

local function figure_text(name, value)
  if name == "seconds" then
    return format.duration(value)
  elseif type(value) == "number" then
    return math.type(value) == "integer" and format.count(value) or format.number(value)
  end
  return tostring(value)
end

--- A short table of the final figures, the model's path and the next command, to standard error.
-- @tparam table summary
-- @tparam table finish of run:summary
function ending.show(summary, finish)
  local names, rows, wide = {}, {}, 0
  local function add(name)
    local value = summary[name]
    if (type(value) == "number" or type(value) == "string") and not names[name] then
      names[name] = true
      rows[#rows + 1] = { name, figure_text(name, value) }
      wide = math.max(wide, #name)
    end
  end
  for _, name in ipairs(FIRST_FIGURES) do
    add(name)
  end
  local others = list.keys(summary)
  for _, name in ipairs(others) do
    add(name)
  end
  for _, row in ipairs(rows) do
    io.stderr:write(("  %-" .. wide .. "s  %s\n"):format(row[1], row[2]))
  end
  if finish.model then io.stderr:write("model: ", finish.model, "\n") end
  if finish.next then
    local command = type(finish.next) == "table" and format.command(finish.next) or finish.next
    io.stderr:write("next:  ", command, "\n")
  end
end

local MOST_SKIPPED <const> = 3 -- rows at the end without an update that a run may have

-- How many of the last rows have a gradient that is not finite, of which no update was made, and
-- how many rows have one at all.
local function rows_without_update(history)
  local skipped, all, open = 0, 0, true
  for i = #history, 1, -1 do
    local norm = history[i].grad_norm
    if type(norm) == "number" then
      all, open = all + 1, open and norm - norm ~= 0
      skipped = skipped + (open and 1 or 0)
    end
  end
  return skipped, all
end

--- Refuses a model that is broken: weights that are not finite, a last step whose loss was not, or
-- gradients that were not, so that nothing was learnt.
-- @tparam Run run
-- @tparam Model model
function ending.refuse_failed(run, model)
  for _, name in ipairs { "loss", "loss/policy_avg", "loss/value_avg", "objective/scores" } do
    local at = #run.history
    while at > 0 and run.history[at][name] == nil do
      at = at - 1
    end
    local figure = at > 0 and run.history[at][name] or 0
    if type(figure) == "number" and figure - figure ~= 0 then
      local text = "%s is %s at step %s: the run has failed and no model is saved; lower the "
        .. "learning rate, or look at the data and the rewards. What was measured is in %s"
      error(text:format(name, tostring(figure), run.history[at].step, run.metrics.path), 0)
    end
  end
  local skipped, all = rows_without_update(run.history)
  if skipped > 0 and skipped >= math.min(MOST_SKIPPED, all) then
    local text = "no update was made in the last %d rows of %s, since gradients were not finite: "
      .. "the run has failed and no model is saved; lower the learning rate"
    error(text:format(skipped, run.metrics.path), 0)
  end
  local scope <close> = core.scope("run.save_model")
  local tensors = model.block:tensors()
  for _, name in ipairs(model.block:names()) do
    local total = tensors[name]:sum():item()
    if total - total ~= 0 then
      error(
        (
          "the weights '%s' are not finite: the run has failed and no model is saved; lower the "
          .. "learning rate"
        ):format(name),
        0
      )
    end
  end
end

--- Tells, and keeps as an alarm, that the steps of a run changed no weight. A run that was resumed
-- does not know what it began with.
-- @tparam Run run
-- @tparam Model model that is the result
function ending.tell_unchanged(run, model)
  local last = run.history[#run.history]
  if not last or model:hash() ~= run.began_with then return end
  local text = "Nothing learned: no weight differs from those that the run began with. Look at "
    .. "grad_norm, the loss and the scores in %s."
  text = text:format(run.metrics.path)
  run:alarm(last.step, "nothing_learned", text)
  if not run.cfg.quiet then io.stderr:write("alarm at the end: ", format.safe(text), "\n") end
end

--- What the model card tells of a run.
-- @tparam Run run
-- @tparam Model model
-- @tparam ?table figures
-- @treturn table
function ending.card(run, model, figures)
  local function last_part(path) return (path:match("([^/]+)/*$")) end
  local settings, data = {}, {}
  for name, value in pairs(run.cfg:to_table()) do
    if name:sub(1, 1) ~= "_" and value ~= "" then settings[name] = value end
  end
  for name, set in pairs(run.data or {}) do
    if set then data[#data + 1] = { key = name, path = tostring(run.cfg[name]), hash = set.key } end
  end
  table.sort(data, function(a, b) return a.key < b.key end)
  local recipe = config.describe(run.cfg).recipe
  local shown = {}
  for name, value in pairs(figures or {}) do
    if type(value) ~= "table" then shown[name] = value end
  end
  return {
    base = model.path and last_part(model.path),
    license = model.texts and model.texts.license,
    recipe = recipe and last_part(recipe),
    settings = settings,
    data = data,
    figures = shown,
  }
end

return ending
