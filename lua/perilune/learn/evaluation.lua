--- Evaluations: what a policy's answers to held-out prompts are worth, for recipes that learn from
-- answers of others and sample none themselves.
--
-- Always the same prompts and random streams, so that two evaluations differ by the model alone.

local companions = require("perilune.learn.companions")
local data = require("perilune.data")
local format = require("perilune.base.format")
local held_out = require("perilune.learn.held_out")
local list = require("perilune.base.list")
local rewards = require("perilune.learn.rewards")
local rollout = require("perilune.learn.rollout")
local score = require("perilune.learn.score")

local evaluation = {}

--- Held-out prompts and who judges answers to them.
-- @class Evaluation
-- @field {Prompt,...} prompts of `data.prompts`
-- @field Judge judge
local Evaluation = {}
Evaluation.__index = Evaluation
Evaluation.__name = "evaluation"

--- The evaluation that a config asks for. Raises when there are prompts and no judge or the other
-- way round, when either cannot be used, or the models do not fit together.
-- @tparam Config cfg with the rows of `pl.config.evaluation` and `model`
-- @tparam Tokenizer tok
-- @tparam ?Template template nil: prompts are plain text
-- @tparam Model policy
-- @tparam Model reference that the KL is taken to, constant
-- @treturn ?Evaluation nil when the config names no `eval_prompts`
function evaluation.open(cfg, tok, template, policy, reference)
  local judges = (cfg.reward_model ~= "" and 1 or 0) + (cfg.reward_function ~= "" and 1 or 0)
  if cfg.eval_prompts == "" then
    if judges == 0 then return nil end
    local text = "reward_model or reward_function judges answers to eval_prompts: give these too"
    error(text, 0)
  elseif judges ~= 1 then
    error("eval_prompts wants one of reward_model and reward_function", 0)
  end
  local judge = score.open(cfg, tok, policy:beside())
  local half = score.misread(judge.models, 0)
  if half then error(half .. ": judge eval_prompts by another, or by a reward_function", 0) end
  local models = { { name = "model", path = cfg.model, model = policy } }
  companions.check(list.append(models, judge.models))
  local room, too_long = companions.room(models, math.maxinteger, cfg.response_length)
  local prompts = data.prompts(tok, template, cfg.eval_prompts, room, too_long)
  return setmetatable({
    cfg = cfg,
    tokenizer = tok,
    stops = data.stop_ids(tok, template),
    policy = policy,
    reference = reference,
    judge = judge,
    prompts = data.required(prompts, "eval_prompts", cfg.eval_prompts),
  }, Evaluation)
end

--- Lets the policy answer, and has it judged.
-- @tparam ?integer examples how many of the answers to give as texts (default: 2)
-- @treturn {eval_score=number,eval_kl=number,eval_length=number} means over the answers, as
--   `rollout.measure` gives them
-- @treturn {{prompt=string,answer=string,score=number},...} examples
-- @treturn {scores={number,...}} what the judge says of each answer
function Evaluation:measure(examples)
  local cfg = self.cfg
  return rollout.measure(self.policy, self.reference, self.judge, self.prompts, {
    count = cfg.eval_count,
    max_tokens = cfg.response_length,
    temperature = cfg.temperature,
    seed = cfg.seed,
    stream = "evaluation",
    stop = self.stops,
    micro_batch_tokens = cfg.micro_batch_tokens,
    tokenizer = self.tokenizer,
    examples = examples or 2,
  })
end

--- Before the first step of a run that begins: what the start's answers are worth, which a fall is
-- told from.
-- @tparam Run run that was taken up by `Run:restore`
-- @tparam Check check
function Evaluation:begin(run, check)
  if run.resumed then return end
  local figures, _, said = self:measure(0)
  run.recipe_state.judged = held_out.lost(nil, 0, said.scores, 1)
  check:say(
    "answers of the start to %d held-out prompts score %s",
    #said.scores,
    format.number(figures.eval_score)
  )
end

--- `measure`, its figures among others and its examples in the run, with what the score lost since
-- its best measurement, which the recipe's state keeps as `judged`: `eval_score_lost`, its standard
-- error over prompts and the number of measurements, `eval_score_count`. Raises where a reward
-- function fails, after a row of metrics and a checkpoint of the step.
-- @tparam Run run that was taken up by `Run:restore`
-- @tparam integer step that is done, from 1
-- @tparam {[string]=number} figures that were measured already; gets what `measure` gives
-- @tparam {[string]=number} metrics of the step, for its row where the function fails
function Evaluation:tell(run, step, figures, metrics)
  local so_far = {}
  for _, more in ipairs { metrics, figures } do
    for name, figure in pairs(more) do
      so_far[name] = figure
    end
  end
  local found, examples, said = rewards.measured(
    run,
    step,
    so_far,
    function() return self:measure() end
  )
  local state = run.recipe_state
  state.judged, found.eval_score_lost, found.eval_score_lost_error =
    held_out.lost(state.judged, step, said.scores, 1)
  found.eval_score_count = state.judged.count
  for name, figure in pairs(found) do
    figures[name] = figure
  end
  for _, example in ipairs(examples) do
    run:sample(step, example)
  end
end

--- Whether a measurement is the best so far: of equal ones the first is, and what is no finite
-- number never.
-- @tparam {best=?number} state of the run: the best figure so far, larger is better
-- @tparam {[string]=number} measured figures by name
-- @tparam string name of the one that chooses; "eval_loss" is better when it is smaller, and "last"
--   chooses none
-- @treturn ?number the figure, larger is better; nil when it was not measured
-- @treturn boolean whether it is the best, which is now that of the state
function evaluation.choose(state, measured, name)
  local figure = measured[name]
  if figure == nil then return nil, false end
  if name == "eval_loss" then figure = -figure end
  local best = state.best
  if best and best - best ~= 0 then best = nil end
  local is_best = figure - figure == 0 and (best == nil or figure > best)
  if is_best then state.best = figure end
  return figure, is_best
end

--- The last figures of a run on preferences, by their names in a summary.
-- @tparam {{[string]=any},...} history its rows of metrics
-- @treturn {[string]=number} `loss`, `accuracy`, `margin` of the last step, and what was measured
function evaluation.of_preferences(history)
  local last = history[#history] or {}
  return {
    loss = last.loss,
    accuracy = last["rewards/accuracies"],
    margin = last["rewards/margins"],
    eval_loss = last.eval_loss,
    eval_accuracy = last["eval_rewards/accuracies"],
    eval_score = last.eval_score,
    eval_kl = last.eval_kl,
  }
end

return evaluation
