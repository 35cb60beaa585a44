--- What recipes do around the steps of their loops: the progress line and the alarms, the count of
-- optimizer steps, the end of a step (its row of metrics, the choice of the best measurement, a
-- checkpoint), and the end of a run whose result is a policy.
--
-- The loop itself, what it samples, learns and measures, stands in the recipe.

local checked = require("perilune.base.options")
local core = require("perilune.core")
local evaluation = require("perilune.learn.evaluation")
local health = require("perilune.run.health")
local progress = require("perilune.run.progress")
local state = require("perilune.run.state")

local book = {}

--- The book of a loop.
-- @class Book
-- @field Run run
-- @field RunParts parts what a checkpoint holds
-- @field {[string]=any} state of the recipe
-- @field Progress progress
-- @field Watch watch the alarms
-- @field integer total steps of the loop
local Book = {}
Book.__index = Book
Book.__name = "book"

--- Opens the book of a loop: begins its progress line and its alarms.
-- @tparam Run run
-- @tparam RunParts parts of the recipe
-- @tparam {[string]=any} recipe_state as `Run:restore` gave it
-- @tparam table options `total` (required) steps of the loop; `done` (0) of them before; `unit`
--   ("step") what one is called; `smooth` (none) names of figures that are shown as running means
-- @treturn Book
function book.open(run, parts, recipe_state, options)
  local o = checked.take("run:book", options, {
    total = checked.integer(nil, 0),
    done = checked.integer(0, 0),
    unit = "step",
    smooth = checked.any {},
  })
  if not o.total then error("run:book wants total, the steps of the loop", 3) end
  return setmetatable({
    run = run,
    parts = parts,
    state = recipe_state,
    total = o.total,
    watch = health.watch(nil, run.cfg),
    progress = progress.new {
      total = o.total,
      unit = o.unit,
      first = o.done,
      quiet = run.cfg.quiet,
      smooth = o.smooth,
    },
  }, Book)
end

--- Counts the optimizer step of a loop in which each step has one.
-- @tparam integer step that is done, from 1: the state's `step`
-- @tparam {grad_norm=number,skipped=boolean} result of `Optimizer:step`; skipped are counted in
--   the state's `skipped`
-- @tparam {[string]=number} metrics gets `grad_norm`, `lr`, `epoch` and `skipped_steps`
-- @tparam integer of_epoch steps that an epoch has
function Book:count(step, result, metrics, of_epoch)
  local now = self.state
  now.step = step
  now.skipped = now.skipped + (result.skipped and 1 or 0)
  metrics.grad_norm = result.grad_norm
  metrics.lr = self.run.cfg.learning_rate(step)
  metrics.epoch = step / of_epoch
  metrics.skipped_steps = now.skipped
end

--- Ends a step: its row of metrics when it is to be written, alarms, the progress line, and a
-- checkpoint when one is due, when the step was measured to be the best so far by the config's
-- `checkpoint_choice`, or when it is the last.
-- @tparam integer step that is done, from 1
-- @tparam {[string]=number} metrics of the step; gets what was measured
-- @tparam {[string]=number} shown figures on the progress line
-- @tparam ?{[string]=number} measured after the step; nil: it was not
function Book:close(step, metrics, shown, measured)
  local run, last = self.run, step == self.total
  local figure, is_best
  if measured then
    for name, value in pairs(measured) do
      metrics[name] = value
    end
    figure, is_best = evaluation.choose(self.state, measured, run.cfg.checkpoint_choice)
  end
  if run:should_log(step) or measured or last then
    run:log(step, metrics)
    self.watch:tell(run, self.progress, step)
  end
  self.progress:update(step, shown)
  if is_best or run:should_save(step) or last then
    run:save(step, self.parts, self.state, { metric = figure, best = is_best })
  end
end

--- Reads the weights of the best checkpoint into the models of the parts. Raises when it cannot be
-- read.
-- @treturn boolean false: no checkpoint was the best, and nothing is read
function Book:read_best()
  local run = self.run
  if not run.best then return false end
  local scope <close> = core.scope("run.best")
  state.read_models(run.dir .. "/" .. run.best.path, self.parts)
  return true
end

--- Ends a run whose result is a policy: saves it, writes the summary and closes the run.
-- @tparam Model policy that is the result
-- @tparam {[string]=any} figures of the summary, which gets `weights_hash` and `best_checkpoint`
-- @tparam {string,...} card names of the figures that the model's card shows
-- @treturn {[string]=any} the figures, with `model`, its folder, and `history`, the rows of metrics
function Book:finish(policy, figures, card)
  local run, shown = self.run, {}
  for _, name in ipairs(card) do
    shown[name] = figures[name]
  end
  figures.weights_hash = policy:hash()
  figures.best_checkpoint = run.best and run.best.path
  local folder = run:save_model(policy, { tokenizer = self.parts.tokenizer, figures = shown })
  local words = { "perilune", "run", "recipes/eval.lua", "--model", folder }
  table.move({ "--reference", run.cfg.model, "--dataset", "PROMPTS" }, 1, 4, #words + 1, words)
  run:summary(figures, { model = folder, next = words })
  run:close()
  figures.model, figures.history = folder, run.history
  return figures
end

return book
