--- Practice: a policy learns from its own answers. What the recipes of that kind share around their
-- loops: the models and data that a config names, answers, what the other models say of them, the
-- pretraining term, measuring, and the choice of the final model.
--
-- No loop and no objective lives here. Everything drawn is named by the recipe's name, the seed and
-- the number of the episode, so that an answer depends on nothing beside it.

local core = require("perilune.core")
local adamw = require("perilune.learn.adamw")
local companions = require("perilune.learn.companions")
local data = require("perilune.data")
local files = require("perilune.base.files")
local generate = require("perilune.model.generate")
local loss = require("perilune.learn.loss")
local rollout = require("perilune.learn.rollout")
local score = require("perilune.learn.score")

local practice = {}

--- A policy with what it learns from.
-- @class Practice
-- @field Tokenizer tokenizer of the policy
-- @field ?Template template nil: prompts are plain text
-- @field {integer,...} stops the ids that end an answer
-- @field Model policy that is trained
-- @field Model reference that the KL is taken to, constant
-- @field Judge judge who scores answers
-- @field ?Model ema the averaged policy
-- @field AdamW optimizer of the policy
-- @field {Prompt,...} prompts of `dataset`
-- @field ?{Prompt,...} held_out those of `eval_dataset`
-- @field ?{{integer,...},...} ptx pieces of pretraining text, token ids of each
local Practice = {}
Practice.__index = Practice
Practice.__name = "practice"

--- Loads what a config names. Raises when a model or a data set cannot be used, or models do not
-- fit together.
-- @tparam Config cfg with the rows of `pl.config.practice`, `sampling`, `scores`, `kl`, `forwards`,
--   `held_out` and `peft`; those of `ptx` and `average` may be left out
-- @tparam string name of the recipe: a part of the names of all random streams
-- @treturn Practice
function practice.open(cfg, name)
  local self = setmetatable({ cfg = cfg, name = name, has = {} }, Practice)
  for _, key in ipairs(cfg:keys()) do
    self.has[key] = true
  end
  self.tokenizer = companions.tokenizer("model", cfg.model)
  local template = data.template(cfg.template, self.tokenizer)
  self.template = template
  self.stops = data.stop_ids(self.tokenizer, template)
  self.policy = companions.load("model", cfg.model, {
    peft = cfg,
    precision = cfg.precision,
    seed = cfg.seed,
  })
  self.reference = companions.load("model", cfg.model, self.policy:beside()):freeze()
  self.judge = score.open(cfg, self.tokenizer, self.policy:beside())
  local models = { { name = "model", path = cfg.model, model = self.policy } }
  if self.judge.model then
    models[2] =
      { name = "reward_model", path = cfg.reward_model, model = self.judge.model, scores = true }
  end
  companions.check(models)
  local room, too_long = companions.room(models, cfg.max_prompt_length, cfg.response_length)
  local function prompts_of(key)
    local set = data.prompts(self.tokenizer, template, cfg[key], room, too_long)
    return data.required(set, key, cfg[key])
  end
  if self.has.ema_decay and cfg.ema_decay > 0 then self.ema = self.policy:copy():freeze() end
  self.prompts = prompts_of("dataset")
  self.held_out = cfg.eval_dataset ~= "" and prompts_of("eval_dataset") or nil
  if self.has.ptx_dataset and cfg.ptx_dataset ~= "" then
    local length = data.room({ self.policy }, cfg.ptx_length)
    local text = data.text(self.tokenizer, cfg.ptx_dataset, length)
    self.ptx = data.required(text, "ptx_dataset", cfg.ptx_dataset)
    self.ptx_at = data.stream(#self.ptx, cfg.seed, name .. ".ptx")
  end
  self.prompt_at = data.stream(#self.prompts, cfg.seed, name .. ".prompts")
  self.optimizer = adamw.new(self.policy.block)
  self.scoring = { temperature = cfg.temperature }
  self.learning = { temperature = cfg.temperature, checkpoint = cfg.gradient_checkpointing }
  return self
end

--- What a checkpoint of the run holds, for `Run:restore` and `Run:save`.
-- @tparam ?{[string]=Model} models others that are trained, by name
-- @tparam ?{[string]=AdamW} optimizers theirs, by name
-- @treturn {[string]=any} models, optimizers, data and what they were made with
function Practice:parts(models, optimizers)
  local parts = {
    model = self.policy,
    tokenizer = self.tokenizer,
    models = { ema = self.ema },
    optimizers = { policy = self.optimizer },
    data = {
      dataset = self.prompts,
      ptx_dataset = self.ptx,
      eval_dataset = self.cfg.checkpoint_choice ~= "last" and self.held_out,
    },
    made_with = {
      model = self.reference:hash(),
      reward_model = self.judge.model and self.judge.model:hash(),
      reward_function = self.judge.path and files.hash(self.judge.path),
    },
  }
  for name, model in pairs(models or {}) do
    parts.models[name] = model
  end
  for name, optimizer in pairs(optimizers or {}) do
    parts.optimizers[name] = optimizer
  end
  return parts
end

--- What the pre-flight checks look at, for `pl.preflight.new`.
-- @tparam ?Model value the value model, of recipes that have one
-- @treturn {[string]=any} tokenizer, end token and models
function Practice:checked(value)
  return {
    tokenizer = self.tokenizer,
    stop = self.stops[1],
    models = {
      policy = self.policy,
      reference = self.reference,
      value = value,
      reward = self.judge.model,
      ema = self.ema,
    },
  }
end

--- The data sets by their keys, for `Check:rows`.
-- @treturn {[string]=any} false: there is none
function Practice:sets()
  return {
    dataset = self.prompts,
    ptx_dataset = self.ptx or false,
    eval_dataset = self.held_out or false,
  }
end

--- Answers of the policy, packed for the models that read them.
-- @tparam {integer,...} keys the numbers of the episodes, one for each prompt: which prompt it is,
--   and the random stream
-- @tparam ?integer samples (default: 1) answers to each prompt
-- @treturn Rollout in tensors of the caller's scope
-- @treturn {Prompt,...} one for each answer
function Practice:sample(keys, samples)
  local cfg, questions, asked = self.cfg, {}, {}
  for i, key in ipairs(keys) do
    local prompt = self.prompts[self.prompt_at(key)]
    questions[i] = prompt.tokens
    for _ = 1, samples or 1 do
      asked[#asked + 1] = prompt
    end
  end
  local answers = generate.generate(self.policy, questions, {
    max_tokens = cfg.response_length,
    samples = samples,
    temperature = cfg.temperature,
    top_k = cfg.top_k,
    top_p = cfg.top_p,
    min_p = cfg.min_p,
    seed = cfg.seed,
    stream = self.name .. ".rollout",
    keys = keys,
    stop = self.stops,
    slots = cfg.slots,
  })
  return rollout.new(questions, answers, cfg.micro_batch_tokens), asked
end

--- Puts into a rollout what the judge and the reference say of it, without a tape: `raw_scores`,
-- `scores` and `reference`.
-- @tparam Rollout roll
-- @tparam {Prompt,...} asked one for each answer
function Practice:evaluate(roll, asked)
  local cfg = self.cfg
  roll.raw_scores = self.judge:score(roll, asked)
  roll.scores = rollout.shape_scores(
    roll.raw_scores,
    roll.answers.finish_reasons,
    { rule = cfg.missing_eos_rule, penalty = cfg.missing_eos_penalty, clip = cfg.reward_clip }
  )
  roll.reference = loss.sequence_logprobs(self.reference, roll.parts, self.scoring)
end

--- Pieces of pretraining text that go with so many answers.
-- @tparam integer answers of a step
-- @treturn integer 0 without pretraining text
function Practice:ptx_size(answers)
  return self.ptx and math.floor(answers * self.cfg.ptx_batch_ratio + 0.5) or 0
end

--- Adds γ times the gradient of the mean loss on pretraining text to that of the policy.
-- @tparam number weight γ; 0: nothing is done
-- @tparam integer step the place in the text: optimizer steps that are done
-- @tparam integer size pieces of text
-- @tparam Meter seen notes `loss/ptx_avg`, nats a token
function Practice:accumulate_ptx(weight, step, size, seen)
  if weight <= 0 or size == 0 then return end
  local pieces = {}
  for i = 1, size do
    pieces[i] = self.ptx[self.ptx_at(step * size + i)]
  end
  local mean = loss.accumulate(self.policy, pieces, nil, {
    max_tokens = self.cfg.micro_batch_tokens,
    weight = weight,
    checkpoint = self.cfg.gradient_checkpointing,
  })
  seen:add("loss/ptx_avg", mean)
end

-- The model that would be the result, if the run ended now.
local function result_of(self)
  return self.has.ema_final and self.cfg.ema_final and self.ema or self.policy
end

--- Measures on the held-out prompts every `eval_steps` iterations and at the end, what would be the
-- final model: figures into the metrics, examples into the run.
-- @tparam Run run
-- @tparam integer iteration from 1
-- @tparam boolean last whether it is the last one
-- @tparam {[string]=number} metrics of the iteration; gets `eval_score`, `eval_kl`, `eval_length`
--   and `eval_reward`, the score less β KL
-- @tparam {best=?number} state of the run: the best figure so far, which `checkpoint_choice` names
-- @tparam number beta β of the iteration
-- @treturn ?number that figure now; nil when it is not measured or not asked for
-- @treturn ?boolean whether it is the best so far
function Practice:measure(run, iteration, last, metrics, state, beta)
  local cfg = self.cfg
  if not self.held_out or (iteration % cfg.eval_steps ~= 0 and not last) then return end
  local figures, examples =
    rollout.measure(result_of(self), self.reference, self.judge, self.held_out, {
      count = cfg.eval_count,
      max_tokens = cfg.response_length,
      temperature = cfg.temperature,
      seed = cfg.seed,
      stream = self.name .. ".measure",
      stop = self.stops,
      slots = cfg.slots,
      micro_batch_tokens = cfg.micro_batch_tokens,
      tokenizer = self.tokenizer,
      examples = 2,
    })
  figures.eval_reward = figures.eval_score - beta * figures.eval_kl
  for name, figure in pairs(figures) do
    metrics[name] = figure
  end
  for _, example in ipairs(examples) do
    example.held_out = true
    run:sample(iteration, example)
  end
  local figure = metrics[cfg.checkpoint_choice]
  local is_best = figure ~= nil and (state.best == nil or figure > state.best)
  state.best = is_best and figure or state.best
  return figure, is_best
end

--- Ends a run: reads the weights of the best checkpoint when `checkpoint_choice` wants it, saves
-- the final model and writes the summary.
-- @tparam Run run
-- @tparam {iterations=integer} state of the run
-- @tparam ?{[string]=any} figures more for the summary
-- @treturn string the folder of the model
function Practice:finish(run, state, figures)
  local cfg = self.cfg
  if cfg.checkpoint_choice ~= "last" and run.best then
    local scope <close> = core.scope("practice.best")
    local best = cfg.output_dir .. "/" .. run.best.path
    assert(self.policy:read(best))
    if self.ema then assert(self.ema:read(best .. "/ema")) end
  end
  local final, last = result_of(self), run.history[#run.history] or {}
  local model_dir = run:save_model(final, {
    tokenizer = self.tokenizer,
    figures = { kl = last["objective/kl"], score = last["objective/scores"] },
  })
  local summary = {
    weights_hash = final:hash(),
    kl = last["objective/kl"],
    score = last["objective/scores"],
    iterations = state.iterations,
    eval_score = last.eval_score,
    eval_kl = last.eval_kl,
    best_checkpoint = run.best and run.best.path,
  }
  for name, figure in pairs(figures or {}) do
    summary[name] = figure
  end
  local next_command = "perilune run recipes/eval.lua --model %s --reference %s --dataset PROMPTS"
  run:summary(summary, { model = model_dir, next = next_command:format(model_dir, cfg.model) })
  run:close()
  return model_dir
end

return practice
