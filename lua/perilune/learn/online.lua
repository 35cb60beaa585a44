--- Online learning: a policy learns from its own answers. What recipes of that kind share around
-- their loops: the models and data that a config names, answers, what the other models say of them,
-- the pretraining term, measuring, and the choice of the final model.
--
-- No loop and no objective lives here. Everything drawn is named by the recipe's name, the seed and
-- the number of the episode, so that an answer depends on nothing beside it.

local core = require("perilune.core")
local optimizer_of = require("perilune.learn.optimizer").of
local advantage = require("perilune.learn.advantage")
local companions = require("perilune.learn.companions")
local data = require("perilune.data")
local evaluation = require("perilune.learn.evaluation")
local files = require("perilune.base.files")
local generate = require("perilune.model.generate")
local held_out = require("perilune.learn.held_out")
local list = require("perilune.base.list")
local loss = require("perilune.learn.loss")
local policy_loss = require("perilune.learn.policy_loss")
local random = require("perilune.base.random")
local rewards = require("perilune.learn.rewards")
local rollout = require("perilune.learn.rollout")

local online = {}

--- A policy with what it learns from.
-- @class Online
-- @field Tokenizer tokenizer of the policy
-- @field ?Template template nil: prompts are plain text
-- @field {integer,...} stops the ids that end an answer
-- @field Model policy that is trained
-- @field Model reference that the KL is taken to, constant
-- @field Model sampler who answers: the policy, unless a recipe puts another one there
-- @field Judge judge who scores answers
-- @field ?Model ema the averaged policy
-- @field Optimizer optimizer of the policy
-- @field {Prompt,...} prompts of `dataset`
-- @field ?{Prompt,...} held_out those of `eval_dataset`
-- @field ?Judge gold who judges held-out answers beside the judge, and trains nothing
-- @field {string,...} doubts about settings, which `Check:settings` tells
-- @field ?{{integer,...},...} ptx pieces of pretraining text, token ids of each
local Online = {}
Online.__index = Online
Online.__name = "online"

--- Loads what a config names. Raises when a model or a data set cannot be used, or models do not
-- fit together.
-- @tparam Config cfg with the rows of `pl.config.online`, `sampling`, `scores`, `kl`, `forwards`,
--   `held_out` and `peft`; those of `ptx` and `average` may be left out
-- @tparam string name of the recipe: a part of the names of all random streams
-- @treturn Online
function online.open(cfg, name)
  local self = setmetatable({ cfg = cfg, name = name, has = {} }, Online)
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
  local constant = self.policy:beside(cfg.quantize)
  self.reference = companions.load("model", cfg.model, constant):freeze()
  self.sampler = self.policy
  self.judge = rewards.open(cfg, self.tokenizer, constant)
  self.gold = held_out.gold(cfg, self.tokenizer)
  self.doubts = rewards.doubts(cfg, self.judge, self.has.likelihood_coef)
  local models = { { name = "model", path = cfg.model, model = self.policy } }
  companions.check(list.append(models, self.judge.models))
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
  self.optimizer = optimizer_of(self.policy.block, cfg)
  self.scoring = { temperature = cfg.temperature }
  self.learning = { temperature = cfg.temperature, checkpoint = cfg.gradient_checkpointing }
  return self
end

local function put(into, more)
  for name, value in pairs(more or {}) do
    into[name] = value
  end
end

--- What a checkpoint of the run holds, for `Run:restore` and `Run:save`.
-- @tparam ?{[string]=Model} models others that are trained, by name
-- @tparam ?{[string]=Optimizer} optimizers theirs, by name
-- @treturn {[string]=any} models, optimizers, data and what they were made with
function Online:parts(models, optimizers)
  local parts = {
    model = self.policy,
    tokenizer = self.tokenizer,
    models = { ema = self.ema },
    optimizers = { policy = self.optimizer },
    data = {
      dataset = self.prompts,
      ptx_dataset = self.ptx,
      eval_dataset = (self.gold or self.cfg.checkpoint_choice ~= "last") and self.held_out,
    },
    made_with = self.judge:made_with {
      model = self.reference:hash(),
      gold = self.gold and files.hash(self.gold.path),
    },
  }
  put(parts.models, models)
  put(parts.optimizers, optimizers)
  return parts
end

--- Takes a run up: what `Run:restore` gives, with the running figures of scores in it.
-- @tparam Run run
-- @tparam {[string]=any} parts of `Online:parts`
-- @tparam {[string]=any} fresh more that the state of a new run has
-- @treturn {[string]=any} the state: `iterations` that are done, optimizer `step`s, `skipped` ones
--   (a gradient was not finite), the `best` measurement, `scores` so far, and what is in `fresh`
function Online:restore(run, parts, fresh)
  local state = { iterations = 0, step = 0, skipped = 0, best = nil, scores = nil }
  put(state, fresh)
  self.state, self.run = run:restore(parts, state), run
  self.scores_before = self.state.scores
  return self.state
end

--- What the pre-flight checks look at, for `pl.preflight.new`.
-- @tparam ?Model value the value model, of recipes that have one
-- @treturn {[string]=any} tokenizer, end token and models
function Online:checked(value)
  local models = {
    policy = self.policy,
    reference = self.reference,
    value = value,
    ema = self.ema,
  }
  for i, one in ipairs(self.judge.models) do
    models[i == 1 and "reward" or "reward_" .. i] = one.model
  end
  return {
    tokenizer = self.tokenizer,
    stop = self.stops[1],
    models = models,
    doubts = self.doubts,
  }
end

--- The data sets by their keys, for `Check:rows`.
-- @treturn {[string]=any} false: there is none
function Online:sets()
  return {
    dataset = self.prompts,
    ptx_dataset = self.ptx or false,
    eval_dataset = self.held_out or false,
  }
end

--- What is trained and what became of the rows, said before the first step of a recipe without a
-- value model.
-- @tparam Check check as of `pl.preflight.new`
-- @tparam integer iterations of the run
-- @treturn Check the same
function Online:preflight(check, iterations)
  local cfg = self.cfg
  local mini_size = cfg.batch_size // cfg.num_mini_batches
  check:sizes {
    { "prompts", #self.prompts },
    { "answers an iteration", cfg.batch_size },
    { "answers to a prompt", self.has.num_generations and cfg.num_generations or 1 },
    { "iterations", iterations },
    { "answers a minibatch", mini_size },
    { "pretraining examples a minibatch", self:ptx_size(mini_size) },
    { "optimizer steps", iterations * cfg.num_iterations * cfg.num_mini_batches },
  }
  check:rows(self:sets())
  self:look(check, iterations)
  return check
end

--- Settings that undo each other, and whether the reward goes where it is wanted to go: what
-- held-out rankings and gold say of it before the first step.
-- @tparam Check check as of `pl.preflight.new`
-- @tparam integer iterations of the run
function Online:look(check, iterations)
  check:settings(iterations)
  held_out.look(self, check)
end

--- The checks of the first rollout, and an estimate of the time of the run.
-- @tparam Check check as of `pl.preflight.new`
-- @tparam Rollout roll with `reference`
-- @tparam integer iterations of the run
-- @tparam number seconds that sampling it took
function Online:first_batch(check, roll, iterations, seconds)
  check:first_batch(self.policy, roll, self.scoring)
  check:time {
    steps = iterations,
    forwards = 2 + 3 * self.cfg.num_iterations, -- judge and reference, then forward and backward
    seconds = seconds,
    forward = function() loss.sequence_logprobs(self.policy, roll.parts, self.scoring) end,
  }
end

--- The numbers of the episodes of an iteration, one for each of `batch_size` answers.
-- @tparam integer iteration from 1
-- @treturn {integer,...} from 1
function Online:keys(iteration)
  local keys, size = {}, self.cfg.batch_size
  for i = 1, size do
    keys[i] = (iteration - 1) * size + i
  end
  return keys
end

--- A pass over the answers of an iteration, dealt in an order of its own. In a minibatch they stand
-- as they were drawn, so that answers to one prompt are neighbours: their prompt is read once.
-- @tparam integer iteration from 1
-- @tparam integer epoch of the passes over it, from 1
-- @tparam ?integer count of what is dealt (default: `batch_size` answers)
-- @treturn {{integer,...},...} at most `num_mini_batches` lists of places, from 1; none is empty
function Online:minibatches(iteration, epoch, count)
  local cfg = self.cfg
  count = count or cfg.batch_size
  local order = random.permutation(count, cfg.seed, self.name .. ".order", iteration, epoch)
  local lists, of = {}, cfg.num_mini_batches
  for mini = 1, of do
    local places = table.move(order, (mini - 1) * count // of + 1, mini * count // of, 1, {})
    table.sort(places)
    if #places > 0 then lists[#lists + 1] = places end
  end
  return lists
end

--- Answers of the policy, packed for the models that read them.
-- @tparam {integer,...} keys the numbers of the episodes, one for each prompt: which prompt it is,
--   and the random stream
-- @tparam ?integer samples (default: 1) answers to each prompt
-- @treturn Rollout in tensors of the caller's scope
-- @treturn {Prompt,...} one for each answer
function Online:sample(keys, samples)
  local cfg, questions, asked = self.cfg, {}, {}
  for i, key in ipairs(keys) do
    local prompt = self.prompts[self.prompt_at(key)]
    questions[i] = prompt.tokens
    for _ = 1, samples or 1 do
      asked[#asked + 1] = prompt
    end
  end
  local answers = generate.generate(self.sampler, questions, {
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
    cache_memory = cfg.cache_memory,
  })
  return rollout.new(questions, answers, cfg.micro_batch_tokens), asked
end

--- Puts into a rollout what the judge says of it, `raw_scores`, and what becomes of that, `scores`:
-- normalised, by the rule for answers without an end, clipped, and less what their length costs.
-- Raises where a reward function fails, after a checkpoint of the iterations before.
-- @tparam Rollout roll
-- @tparam {Prompt,...} asked one for each answer
function Online:score(roll, asked)
  local cfg = self.cfg
  local ok, raw, means = pcall(self.judge.score, self.judge, roll, asked)
  if not ok then rewards.fail(raw, self.run, self.state, self.scores_before) end
  roll.raw_scores, roll.reward_means = raw, means
  local scores = roll.raw_scores
  if cfg.normalize_scores then
    scores, self.state.scores = rollout.normalise(scores, self.state.scores)
  end
  scores = rollout.shape_scores(
    scores,
    roll.answers.finish_reasons,
    { rule = cfg.missing_eos_rule, penalty = cfg.missing_eos_penalty, clip = cfg.reward_clip }
  )
  if cfg.length_penalty > 0 or cfg.overlong_buffer > 0 then
    local costs = rollout.length_penalties(roll.lengths, {
      penalty = cfg.length_penalty,
      free = cfg.length_free,
      buffer = cfg.overlong_buffer,
      longest = cfg.response_length,
    })
    for i, cost in ipairs(costs) do
      scores[i] = scores[i] - cost
    end
  end
  roll.scores = scores
end

--- Puts into a rollout what judge and reference say of it, without a tape: `raw_scores`, `scores`
-- and `reference`, the log-probs of the latter.
-- @tparam Rollout roll
-- @tparam {Prompt,...} asked one for each answer
function Online:evaluate(roll, asked)
  if not roll.scores then self:score(roll, asked) end
  roll.reference = loss.sequence_logprobs(self.reference, roll.parts, self.scoring)
end

--- Groups of K answers to a prompt, scored. Those whose scores are all equal teach nothing; they
-- are drawn anew, from the next prompts, as often as is allowed (dynamic sampling of DAPO,
-- arXiv:2503.14476, section 3.2). What is equal still then stays in.
-- @tparam integer first number of the first prompt, from 1
-- @tparam integer count of the groups
-- @tparam integer k K, at least 2
-- @tparam integer redraws how often; 0: never
-- @treturn Rollout with `scores`, of `count` groups
-- @treturn {Prompt,...} one for each answer
-- @treturn {drawn=integer,equal=integer} `drawn`: prompts that were asked, at least `count`;
--   `equal`: groups of the first draw whose scores are all equal
function Online:groups(first, count, k, redraws)
  local pieces, missing, found = {}, count, { drawn = 0, equal = 0 }
  for round = 0, redraws do
    local keys = {}
    for i = 1, missing do
      keys[i] = first + found.drawn + i - 1
    end
    local roll, asked = self:sample(keys, k)
    self:score(roll, asked)
    local equal, n = advantage.equal_groups(roll.scores, k)
    if round == 0 then found.equal = n end
    found.drawn = found.drawn + missing
    if round == 0 and (n == 0 or redraws == 0) then return roll, asked, found end
    local kept = {}
    for g = 1, missing do
      if not equal[g] or round == redraws then kept[#kept + 1] = g end
    end
    pieces[#pieces + 1] = { roll = roll, asked = asked, prompts = kept }
    missing = missing - #kept
    if missing == 0 then break end
  end
  local roll, asked = rollout.join(pieces, self.cfg.micro_batch_tokens)
  return roll, asked, found
end

--- The KL of each token to the reference by `kl_estimator`, without a tape.
-- @tparam Rollout roll with `reference`
-- @treturn Tensor [N], nats
function Online:kl(roll)
  local kind = self.cfg.kl_estimator
  if kind == "full" then
    return loss.sequence_kl(self.policy, self.reference, roll.parts, self.scoring)
  end
  return core.kl_estimate(roll.old, roll.reference, { kind = kind })
end

--- The weight w of the reference's log-probs in the reward.
-- @tparam integer iteration what its schedule is asked for, from 1
-- @treturn number 0 or more; 0 of a recipe that has none
function Online:likelihood(iteration)
  return self.has.likelihood_coef and self.cfg.likelihood_coef(iteration) or 0
end

--- The scores of answers less β times their KL, when `kl_placement` has it in the reward, and w
-- times what the reference says of them, Σ_t ln π_ref(y_t), when there is a `likelihood_coef`.
-- @tparam Rollout roll with `scores` and `reference`
-- @tparam number beta β, 0 or more
-- @tparam integer iteration from 1
-- @treturn {number,...} one for each answer
-- @treturn Tensor [N], the reward of each token, for `rollout.metrics`
function Online:rewards(roll, beta, iteration)
  local weight, likelihood =
    self.cfg.kl_placement == "reward" and beta or 0, self:likelihood(iteration)
  local dense = weight == 0 and core.zeros { roll.count } or self:kl(roll) * -weight
  if likelihood > 0 then dense = dense + roll.reference * likelihood end
  local per_token = rollout.rewards(dense, roll.scores, roll.segments)
  if weight == 0 and likelihood == 0 then return roll.scores, per_token end
  return core.segment_sum(per_token, roll.answers.offsets):totable(), per_token
end

--- The policy on a micro-batch, with a tape.
-- @tparam Batch packed of `rollout.take`
-- @tparam LossPlaces at where its answers are
-- @tparam {reference=Tensor} of what is taken of each token: `reference`, [n], nats
-- @treturn Tensor [n], nats: log-probs
-- @treturn Tensor [n], nats: entropies
-- @treturn ?Tensor [n], nats: the KL to the reference, when `Online:kl_weight` wants it in the loss
function Online:read(packed, at, of)
  local cfg = self.cfg
  if cfg.kl_estimator == "full" then
    return loss.logprobs_and_kl(self.policy, self.reference, packed, at, self.learning)
  end
  local logprob, entropy = loss.logprobs(self.policy, packed, at, self.learning)
  if cfg.kl_placement ~= "loss" then return logprob, entropy, nil end
  return logprob, entropy, core.kl_estimate(logprob, of.reference, { kind = cfg.kl_estimator })
end

--- The weight of what `Online:read` gives of the KL, in a loss whose advantages are divided by
-- `roll.deviation`. A KL over the whole vocabulary that is a reward depends on no token drawn after
-- it: through rewards its gradient reaches only what earlier tokens do to it, and what the policy
-- does to it at its own place is a loss. Both together are the gradient of Σ_t KL_t.
-- @tparam Rollout roll `deviation` (1) by which rewards became advantages
-- @tparam integer iteration what the schedule of β is asked for, from 1
-- @treturn number 0 or more
function Online:kl_weight(roll, iteration)
  local beta = self.cfg.kl_coef(iteration)
  return self.cfg.kl_placement == "loss" and beta or beta / (roll.deviation or 1)
end

-- Those of some answers that end by themselves; the lengths of the others become 0.
local function ended(roll, chosen, lengths)
  local kept = {}
  for i, b in ipairs(chosen) do
    if roll.answers.finish_reasons[b] == "stop" then
      kept[#kept + 1] = b
    else
      lengths[i] = 0
    end
  end
  return kept
end

--- One optimizer step of the policy on some answers: a loss of `pl.policy_loss`, less the entropy
-- bonus, plus β times the KL when it is a loss, plus γ times the loss on pretraining text.
-- @tparam string kind of `pl.policy_loss`
-- @tparam Rollout roll with `reference`
-- @tparam {integer,...} chosen answers of it, from 1
-- @tparam Tensor advantages [N]
-- @tparam integer iteration what schedules are asked for, from 1
-- @tparam {step=integer,skipped=integer} state of the run: optimizer steps, which are counted here
-- @tparam Meter seen gets the figures
function Online:learn(kind, roll, chosen, advantages, iteration, state, seen)
  local cfg, lengths, size = self.cfg, list.take(roll.lengths, chosen), #chosen
  if self.has.mask_truncated_completions and cfg.mask_truncated_completions then
    chosen = ended(roll, chosen, lengths) -- of a mean over answers all stay a part, as in TRL
  end
  local norm = math.max(1, policy_loss.norm(kind, lengths, cfg.response_length))
  local weight, bonus = self:kl_weight(roll, iteration), cfg.entropy_coef(iteration)
  local clip = { norm = norm, cliprange = cfg.cliprange(iteration) }
  clip.cliprange_high = cfg.cliprange_high
  local per_token = { old = roll.old, reference = roll.reference, advantages = advantages }
  self.policy.block:zero_grad()
  rollout.each_part(roll, chosen, per_token, cfg.micro_batch_tokens, function(packed, at, of)
    local logprob, entropy, kl = self:read(packed, at, of)
    local pg, ratio = policy_loss.of(kind, logprob, of.old, of.advantages, at.segments, clip)
    local total = pg
    if bonus ~= 0 then
      total = total - policy_loss.spread(kind, entropy, at.segments, norm) * bonus
    end
    if kl then total = total + policy_loss.spread(kind, kl, at.segments, norm) * weight end
    total:backward()
    seen:add("policy/approxkl_avg", ratio:get(1), at.count)
    seen:add("policy/clipfrac_avg", ratio:get(2), at.count)
    seen:add("val/ratio", ratio:get(3), at.count)
    seen:add("val/ratio_var", ratio:get(4), at.count)
    seen:add("policy/entropy_avg", entropy:mean():item(), at.count)
    seen:add("loss/policy_avg", pg:item() * norm / at.count, at.count)
  end)
  self:accumulate_ptx(cfg.ptx_coef(iteration), state.step, self:ptx_size(size), seen)
  state.step = state.step + 1
  local result = self.optimizer:step(cfg, iteration)
  if result.skipped then state.skipped = state.skipped + 1 end
  seen:add("grad_norm", result.grad_norm)
end

--- Pieces of pretraining text that go with so many answers. Raises when `ptx_coef` is a weight of
-- none, because the ratio is less than half a piece.
-- @tparam integer answers of a step
-- @treturn integer 0 without pretraining text
function Online:ptx_size(answers)
  local cfg = self.cfg
  local size = self.ptx and math.floor(answers * cfg.ptx_batch_ratio + 0.5) or 0
  if self.ptx and size == 0 and cfg.ptx_batch_ratio > 0 and cfg.ptx_coef:fixed() ~= 0 then
    local text = "ptx_batch_ratio %g of minibatches of %d answers is less than half a piece of "
      .. "text: ptx_coef would weigh none; raise it, or take fewer minibatches"
    error(text:format(cfg.ptx_batch_ratio, answers), 0)
  end
  return size
end

--- Adds γ times the gradient of the mean loss on pretraining text to that of the policy.
-- @tparam number weight γ; 0: nothing is done
-- @tparam integer step the place in the text: optimizer steps that are done
-- @tparam integer size pieces of text
-- @tparam Meter seen notes `loss/ptx_avg`, nats a token
function Online:accumulate_ptx(weight, step, size, seen)
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
-- final model: figures into the metrics, examples into the run. Raises where a reward function
-- fails, after a checkpoint of the iteration.
-- @tparam Run run
-- @tparam integer iteration from 1
-- @tparam boolean last whether it is the last one
-- @tparam {[string]=number} metrics of the iteration; gets what is measured, and `eval_reward`, the
--   score less β KL
-- @tparam {best=?number} state of the run: the best figure so far, which `checkpoint_choice` names
-- @tparam number beta β of the iteration
-- @treturn ?number that figure now; nil when it is not measured or not asked for
-- @treturn ?boolean whether it is the best so far
function Online:measure(run, iteration, last, metrics, state, beta)
  if not self.held_out or (iteration % self.cfg.eval_steps ~= 0 and not last) then return end
  local model, coef = result_of(self), self:likelihood(iteration)
  local function measured() return held_out.measure(self, model, coef) end
  local figures, examples, golds = rewards.measured(run, iteration, metrics, measured)
  held_out.follow(state, iteration, figures, golds)
  figures.eval_reward = figures.eval_score - beta * figures.eval_kl
  put(metrics, figures)
  for _, example in ipairs(examples) do
    example.held_out = true
    run:sample(iteration, example)
  end
  local figure, is_best = evaluation.choose(state, metrics, self.cfg.checkpoint_choice)
  return figure, is_best
end

--- Ends an iteration: the averaged policy, metrics, measuring, samples, the progress line, alarms,
-- the checkpoint.
-- @tparam Book book of the run
-- @tparam integer iteration that is done, from 1
-- @tparam Rollout roll of the iteration
-- @tparam {rewards=Tensor,seen=Meter,metrics=?{[string]=number},shown=?{[string]=Tensor}} it
--   `rewards` [N]; what was seen of its steps; more metrics; figures [N] that examples show
function Online:close(book, iteration, roll, it)
  local cfg, run, state = self.cfg, book.run, book.state
  if self.ema then self.ema.block:average(self.policy.block, cfg.ema_decay) end
  state.iterations, self.scores_before = iteration, state.scores
  local beta, metrics = cfg.kl_coef(iteration), rollout.metrics(roll, it.rewards)
  put(metrics, it.seen:result())
  put(metrics, it.metrics)
  for name, mean in pairs(roll.reward_means or {}) do
    metrics["rewards/" .. name] = mean
  end
  metrics["objective/kl_coef"] = beta
  metrics["objective/ptx_coef"] = self.has.ptx_coef and cfg.ptx_coef(iteration) or nil
  metrics.lr = cfg.learning_rate(iteration)
  metrics.episode = iteration * cfg.batch_size
  metrics.skipped_steps = state.skipped
  cfg.kl_coef:update(metrics["objective/kl"], cfg.batch_size)
  local last = iteration == book.total
  local figure, is_best = self:measure(run, iteration, last, metrics, state, beta)
  run:log(iteration, metrics)
  for _, example in ipairs(rollout.examples(roll, self.tokenizer, 2, it.shown)) do
    run:sample(iteration, example)
  end
  book.progress:update(iteration, {
    score = metrics["objective/scores"],
    kl = metrics["objective/kl"],
    length = metrics["completions/mean_length"],
  }, { "score", "kl", "length" })
  book.watch:tell(run, book.progress, iteration)
  if is_best or run:should_save(iteration) or last then
    run:save(iteration, book.parts, state, { metric = figure, best = is_best })
  end
end

--- Ends a run: the progress line, the weights of the best checkpoint when `checkpoint_choice` wants
-- them, the final model and the summary.
-- @tparam Book book of the run
-- @tparam ?{[string]=any} more figures for the summary
-- @treturn {[string]=any} the figures, with `model`, its folder, and `history`, the rows of metrics
function Online:finish(book, more)
  book.progress:finish()
  if self.cfg.checkpoint_choice ~= "last" then book:read_best() end
  local last = book.run.history[#book.run.history] or {}
  local figures = {
    kl = last["objective/kl"],
    score = last["objective/scores"],
    iterations = book.state.iterations,
    eval_score = last.eval_score,
    eval_kl = last.eval_kl,
  }
  put(figures, more)
  local finished = book:finish(result_of(self), figures, { "kl", "score" })
  return finished
end

return online
