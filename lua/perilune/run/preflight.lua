--- What a training run says before its first step, and refuses to start with.
--
-- Silent mistakes of masks, end tokens and references cost days; each check here names one, with
-- the figure, in plain words. A finding that makes training meaningless is an error, one that may
-- be meant is a warning.

local chat = require("perilune.data.chat")
local core = require("perilune.core")
local data = require("perilune.data")
local format = require("perilune.base.format")
local idle = require("perilune.run.idle")
local loss = require("perilune.learn.loss")
local optimizer = require("perilune.learn.optimizer")
local system = core.system

local preflight = {}

--- The checks of a run.
-- @class Check
local Check = {}
Check.__index = Check
Check.__name = "preflight"

--- Begin the checks of a run.
-- @tparam Config cfg the recipe's config; with `quiet` only warnings are printed
-- @tparam table parts `tokenizer`, `stop` (id of the end token), `models` {name = Model}: those
--   called reference, reward (reward_2 and so on) and ema are constant; `doubts` (none), sentences
--   for `Check:settings` to warn with
-- @treturn Check
function preflight.new(cfg, parts)
  return setmetatable({ cfg = cfg, parts = parts, warnings = {} }, Check)
end

--- Prints a line, unless the run is quiet.
-- @tparam string text a pattern of string.format
-- @tparam any ... what goes into it
function Check:say(text, ...)
  if not self.cfg.quiet then io.stderr:write("  ", format.safe(text:format(...)), "\n") end
end

--- Prints a warning and keeps it.
-- @tparam string text a pattern of string.format
-- @tparam any ... what goes into it
function Check:warn(text, ...)
  text = text:format(...)
  self.warnings[#self.warnings + 1] = text
  io.stderr:write("  warning: ", format.safe(text), "\n")
end

local function refuse(text, ...) error("pre-flight: " .. text:format(...), 0) end

local constant = { reference = true, reward = true, ema = true }

-- Bytes of the moments of a model's `count` trained parameters: two of float32, in 8 bits a byte an
-- element and a scale of 4 for each 256; of Muon's matrices one.
local function moment_bytes(cfg, count, model)
  local known, moments = pcall(function() return cfg.adam_moments end) -- not all recipes have it
  if known and moments == "8bit" then return 2 * (count + 4 * ((count + 255) // 256)) end
  if known and cfg.optimizer == "muon" then
    return 8 * count - 4 * optimizer.muon_elements(model.block)
  end
  return 8 * count
end

-- Parameters that models hold, a shared base once; those that are trained; bytes of all, with
-- gradients and two moments of what is trained.
local function held(cfg, models)
  local total, trained, bytes, bases = 0, 0, 0, {}
  for name, model in pairs(models) do
    local _, own = model:count()
    total, bytes = total + own, bytes + 4 * own
    if not constant[name:match("^%a+")] then
      trained, bytes = trained + own, bytes + 4 * own + moment_bytes(cfg, own, model)
    end
    local base = model.base
    if base and not bases[base] then
      bases[base] = true
      total, bytes = total + base.count, bytes + base.bytes
    end
  end
  return total, trained, bytes
end

-- The dtypes that are no blocks of whole numbers.
local FLOATS <const> = { float32 = true, float64 = true, bfloat16 = true, float16 = true }

-- Whether precision int8 was asked for and changes nothing for any of the models.
local function is_int8_idle(cfg, models)
  local precision
  for key, value in pairs(cfg) do -- not every recipe has the key
    if key == "precision" then precision = value end
  end
  if precision ~= "int8" then return false end
  for _, model in pairs(models) do
    for _, weight in pairs(model.weights) do
      if not FLOATS[weight:dtype()] then return false end
    end
  end
  return true
end

--- Prints the numbers that say how the run is cut, and what memory the models take; warns of
-- settings that were given and have no part in it. Raises when there are no prompts.
-- @tparam {{string,any},...} list of {name, number}
function Check:sizes(list)
  self:say("pre-flight of %s", self.cfg.output_dir)
  local cells = {}
  for _, entry in ipairs(list) do
    if entry[2] == 0 and entry[1]:match("^prompts$") then
      refuse("there are no prompts: the data set is empty, or all were too long")
    end
    cells[#cells + 1] = ("%s %s"):format(entry[1], format.count(entry[2]))
  end
  self:say("%s", table.concat(cells, ", "))
  local total, trained, bytes = held(self.cfg, self.parts.models or {})
  local free = system.meminfo().available
  self:say(
    "models hold %s parameters and train %s, %.1f MB with gradients and moments; %.0f MB are free",
    format.count(total),
    format.count(trained),
    bytes / 1e6,
    free / 1e6
  )
  if bytes > free then
    self:warn("the models alone want more memory than is free: expect an out-of-memory error")
  end
  if is_int8_idle(self.cfg, self.parts.models or {}) then
    self:warn(
      "precision int8 has no part in the run: it is of frozen weights in blocks of whole numbers, "
        .. "as GGUF files have them, or quantize q8_0 where rows are of 32 and more; no model here "
        .. "has any, and all products are of float32"
    )
  end
  for _, doubt in ipairs(type(self.cfg.source) == "function" and idle.doubts(self.cfg) or {}) do
    self:warn("%s", doubt)
  end
end

--- Prints what became of the rows of each data set: rows in are used, or left out for a reason.
-- @tparam {[string]=any} sets data sets (ExampleSet and so on) by the key of the recipe; false:
--   there is none
function Check:rows(sets)
  local keys = {}
  for key, set in pairs(sets) do
    keys[#keys + 1] = set and key or nil
  end
  table.sort(keys)
  for _, key in ipairs(keys) do
    self:say("%s: %s", key, data.account(sets[key].counts))
  end
end

--- Trained tokens of the first batch: none is an error, an untrained end token a warning; shows one
-- sequence with the trained part marked.
-- @tparam {{integer,...},...} sequences token ids of each
-- @tparam ?{{integer|boolean,...},...} masks of each token 1 or 0: is it trained? nil: all but the
--   first
function Check:tokens(sequences, masks)
  local tokens, trained, ends, ended = 0, 0, 0, 0
  local stop = self.parts.stop
  for b, sequence in ipairs(sequences) do
    tokens = tokens + #sequence
    for t = 2, #sequence do
      local on = not masks or (masks[b][t] and masks[b][t] ~= 0)
      trained = trained + (on and 1 or 0)
      if sequence[t] == stop then
        ends, ended = ends + 1, ended + (on and 1 or 0)
      end
    end
  end
  self:say(
    "first batch: %d sequences, %d tokens, %d of them trained (%.0f %%)",
    #sequences,
    tokens,
    trained,
    100 * trained / math.max(1, tokens)
  )
  if trained == 0 then
    refuse(
      "no token of the first batch is trained: the mask is empty. Look at the roles of the "
        .. "messages and at `template`"
    )
  end
  if stop and ended == 0 then
    self:warn(
      "no end token (id %d) of the first batch is trained: the model will not learn to stop",
      stop
    )
  elseif stop then
    self:say("end token: %d in the batch, %d trained", ends, ended)
  end
  local mask = masks and masks[1]
  if not mask then
    mask = {}
    for t = 1, #sequences[1] do
      mask[t] = t > 1 and 1 or 0
    end
  end
  local shown = chat.show(self.parts.tokenizer, sequences[1], mask)
  shown = format.cut(shown, 600):gsub("\n", "\\n")
  self:say("first sequence, trained part in brackets: %s", shown)
end

-- The value a setting always has; nil when it is a schedule.
local function fixed(value)
  if type(value) == "number" then return value end
  return value:fixed()
end

--- Settings of a policy's learning that undo each other, which no figure of the first steps shows.
-- @tparam integer iterations of the run
function Check:settings(iterations)
  for _, doubt in ipairs(self.parts.doubts or {}) do
    self:warn("%s", doubt)
  end
  local cfg, has = self.cfg, {}
  for key in pairs(cfg) do
    has[key] = true
  end
  if has.kl_placement and fixed(cfg.kl_coef) == 0 and not has.answers_of then
    self:warn(
      "kl_coef is 0: nothing holds the policy near the reference, and it will leave what "
        .. "the reward model knows"
    )
  elseif has.kl_placement and cfg.kl_placement == "loss" and cfg.kl_estimator == "k1" then
    self:warn(
      "kl_placement loss with kl_estimator k1 controls nothing: the gradient of k1 is 0 on "
        .. "average. Set kl_estimator to k2 (whose gradient is that of the KL), or kl_placement to "
        .. "reward"
    )
  end
  for _, key in ipairs { "vf_coef", "value_learning_rate" } do
    if has[key] and fixed(cfg[key]) == 0 then
      self:warn("%s is 0: the value model is never trained", key)
    end
  end
  if
    has.checkpoint_choice
    and cfg.checkpoint_choice == "eval_reward"
    and not fixed(cfg.kl_coef)
  then
    self:warn(
      "checkpoint_choice eval_reward takes β KL from the score, and kl_coef changes: measurements "
        .. "are of different scales. Set checkpoint_choice to eval_score, or kl_coef to a number"
    )
  end
  local left = has.ema_decay and cfg.ema_decay ^ iterations or 0
  if has.ema_final and cfg.ema_final and left > 0.1 then
    self:warn(
      "ema_final: after %d iterations %.0f %% of the averaged policy is still the start. "
        .. "Set ema_decay to %.3g or less (then 5 %% are), or leave ema_final off",
      iterations,
      100 * left,
      0.05 ^ (1 / iterations)
    )
  end
end

local invisible = { "\u{00A0}", "\u{200B}", "\u{3000}", "\u{FEFF}" }

-- Whether a text shows nothing.
local function is_blank(text)
  for _, character in ipairs(invisible) do
    text = text:gsub(character, "")
  end
  return not text:find("%S")
end

--- Warns of trained answers that are empty or blank: from them a model learns to say nothing.
-- @tparam {{integer,...},...} sequences token ids of each
-- @tparam {{integer,...},...} masks of each token 1 or 0
function Check:answers(sequences, masks)
  local tok, answers, blank, first = self.parts.tokenizer, 0, 0, nil
  for b = 1, #sequences do
    local sequence, mask, run = sequences[b], masks[b], {}
    for t = 1, #sequence + 1 do
      if sequence[t] and mask[t] and mask[t] ~= 0 then
        run[#run + 1] = sequence[t]
      elseif #run > 0 then
        answers = answers + 1
        if is_blank(tok:decode(run, { skip_special = true })) then
          blank, first = blank + 1, first or b
        end
        run = {}
      end
    end
  end
  if blank > 0 then
    self:warn(
      "%d of %d answers are empty or blank (the first in example %d): the model learns to "
        .. "say nothing. Leave these rows out",
      blank,
      answers,
      first
    )
  end
end

--- How long the run will take, from a forward over the first batch that is timed here.
-- @tparam table cost `steps`, `forward` (a function that runs the model over a step's batch without
--   a tape), `forwards` (how many of these a step is worth: 3 for a forward and its backward),
--   `seconds` (of a step, beside them)
function Check:time(cost)
  cost.forward() -- memory and caches are warm afterwards, as in every later step
  local from = system.monotonic()
  cost.forward()
  local step = (system.monotonic() - from) * cost.forwards + (cost.seconds or 0)
  self:say(
    "estimate: %s a step, %s in all (%s steps; validation and checkpoints beside it)",
    format.duration(step),
    format.duration(step * cost.steps),
    format.count(cost.steps)
  )
end

--- Before the first step of a recipe that compares with a reference: of the same weights, it must
-- say the same of each answer, to the bit. Anything else raises.
-- @tparam {number,...} logps nats: ln π of some answers by the policy
-- @tparam {number,...} reference_logps nats: ln π of the same answers by the reference
function Check:unmoved(logps, reference_logps)
  local worst = 0
  for i, logp in ipairs(logps) do
    local apart = math.abs(logp - reference_logps[i])
    worst = (apart > worst or apart ~= apart) and apart or worst
  end
  if worst ~= worst then
    refuse("log-probs of the first answers are not numbers: the model's weights are broken")
  end
  local models = self.parts.models
  if worst > 0 and models.policy:hash() == models.reference:hash() then
    refuse("policy and reference have the same weights, but their log-probs differ by %.3g", worst)
  end
  self:say("log ratios to the reference at step 0 are at most %.3g nats an answer", worst)
end

--- Before the first PPO step: the policy scores its own answers again. The ratio must be exactly 1,
-- and so the KL to a reference of the same weights exactly 0. Anything else raises.
-- @tparam Model policy
-- @tparam Rollout roll with `reference`
-- @tparam table opts `temperature` (1) that was sampled with
function Check:first_batch(policy, roll, opts)
  local sequences, masks = {}, {}
  for i = 1, #roll.answers do
    local answer = roll.answers[i]
    sequences[i], masks[i] = data.join(roll.questions[answer.prompt], answer.tokens)
  end
  self:tokens(sequences, masks)
  local again = loss.sequence_logprobs(policy, roll.parts, opts)
  local total = again:sum():item()
  if total - total ~= 0 then
    refuse(
      "scoring the first answers again gives a log-prob that is not a number: the policy's "
        .. "weights are broken"
    )
  end
  local worst = ((again - roll.old):exp() - 1):abs():max():item()
  local kl = (roll.old - roll.reference):sum():item()
  if again:bytes() ~= roll.old:bytes() then
    refuse(
      "scoring the first answers again gives ratios up to %.3g away from 1: sampling and "
        .. "training do not see the same model (a changed weight, temperature or prompt?)",
      worst
    )
  end
  self:say(
    "first-minibatch ratio is 1 for all %d tokens; KL to the reference at step 0 is %.6g "
      .. "nats an answer",
    roll.count,
    kl / #roll.answers
  )
  if policy:hash() == self.parts.models.reference:hash() and kl ~= 0 then
    refuse("policy and reference have the same weights, but their KL is %.3g", kl)
  end
end

return preflight
