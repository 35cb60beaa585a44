--- Alarms: what goes wrong in learning from feedback, said in plain words.
--
-- Each alarm of a run is a function of the metrics so far, a list of rows as `run.history` has it,
-- and returns nil or a sentence that names the symptom with its figures, the likely cause and what
-- to change. Given the run's settings (its config), it names the keys that apply with their values.
-- They are in run/alarms/, by subject; what each needs is one list, run/alarms/needs.lua.
-- The alarms of a reward model look at its scores once it is trained.
--
-- Alarms look at means over a few rows, because one row of a small batch proves nothing. They read
-- these metrics, and say nothing when a row does not have them:
--
--     objective/kl               nats a sequence, mean over the batch; where there is none
--     eval_kl                    the same of answers to held-out prompts
--     policy/entropy_avg         nats a token
--     completions/mean_length    tokens an answer
--     completions/clipped_ratio  part of the answers without an end token
--     objective/scores, objective/scores_std
--     objective/entropy          nats a sequence, of the policy
--     completions/empty_ratio    part of the answers that are an end token and nothing else
--     val/var_explained          1 - var(returns - values) / var(returns)
--     val/clipfrac_avg, loss/value_avg
--     frac_reward_zero_std       part of the groups of answers whose scores are all equal
--     health/length_corr         correlation of score and answer length, see learn/rollout
--     eval_gold, eval_agreement, eval_gold_lost and their _error, see learn/held_out
--     eval_score_lost with _error and eval_score_count, see learn/evaluation
--     loss                       of supervised training, of preferences
--     rewards/margins, rewards/chosen, rewards/accuracies, logps/chosen and those with eval_ before
--                                of preferences: implicit rewards, nats an answer
--
-- An alarm only speaks: what to do about it is the recipe's choice.

local checked = require("perilune.base.options")
local gold = require("perilune.run.alarms.gold")
local needs = require("perilune.run.alarms.needs")
local policy = require("perilune.run.alarms.policy")
local reward = require("perilune.run.alarms.reward")
local reward_model = require("perilune.run.alarms.reward_model")
local losses = require("perilune.run.alarms.losses")
local value = require("perilune.run.alarms.value")

local health = {}

health.not_finite = losses.not_finite
health.loss_rises = losses.loss_rises
health.chosen_falls = losses.chosen_falls
health.pairs_solved = losses.pairs_solved
health.kl_runaway = policy.kl_runaway
health.kl_negative = policy.kl_negative
health.entropy_collapse = policy.entropy_collapse
health.length_drift = policy.length_drift
health.no_end = policy.no_end
health.empty_answers = policy.empty_answers
health.constant_reward = reward.constant_reward
health.equal_groups = reward.equal_groups
health.reward_is_length = reward.reward_is_length
health.over_optimised = reward.over_optimised
health.other_taste = gold.other_taste
health.judged_falls = gold.judged_falls
health.value_useless = value.value_useless
health.wrong_order = reward_model.wrong_order
health.score_is_length = reward_model.score_is_length
health.demonstrations_low = reward_model.demonstrations_low
health.reward_model = reward_model.reward_model

--- All alarms of a run, in the order in which they are asked.
-- @type {string,...}
health.alarms = {}
for i, row in ipairs(needs.alarms) do
  health.alarms[i] = row.name
end

--- Alarms that do not repeat themselves.
-- @class Watch
local Watch = {}
Watch.__index = Watch
Watch.__name = "health.watch"

--- An object that asks all alarms and does not repeat itself.
--
--     local watch = health.watch({ kl_runaway = { limit = 20 }, length_drift = false }, cfg)
--     for _, sentence in ipairs(watch:check(run.history)) do ... end
-- @tparam ?table options options of an alarm by its name, or false to leave it out; and `every`
--   (50) steps before the same alarm speaks again
-- @tparam ?{[string]=any}|Config settings of the run: its config, or its keys and values
-- @treturn Watch
function health.watch(options, settings)
  local known = table.move(health.alarms, 1, #health.alarms, 2, { "every" })
  options = checked.take("health.watch", options, checked.any_of(known))
  return setmetatable(
    { options = options, every = options.every or 50, spoken = {}, settings = settings },
    Watch
  )
end

--- The alarms that ring now and did not ring lately.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @treturn {string,...} sentences, most urgent first
-- @treturn {string,...} names of the alarms
function Watch:check(history)
  local sentences, names = {}, {}
  local step = #history > 0 and history[#history].step or 0
  for _, name in ipairs(health.alarms) do
    local options = self.options[name]
    if options ~= false and needs.armed(name, history) then
      local last = self.spoken[name]
      if not last or step - last >= self.every then
        local sentence = health[name](history, options, self.settings)
        if sentence then
          self.spoken[name] = step
          sentences[#sentences + 1] = sentence
          names[#names + 1] = name
        end
      end
    end
  end
  return sentences, names
end

--- Tells the alarms that `check` finds, and writes them to the run's alarms.jsonl.
-- @tparam Run run
-- @tparam Progress progress where they are printed
-- @tparam integer step from 1
function Watch:tell(run, progress, step)
  local sentences, names = self:check(run.history)
  for i, sentence in ipairs(sentences) do
    progress:print(("alarm at %s %d: %s"):format(progress.unit, step, sentence))
    run:alarm(step, names[i], sentence)
  end
end

local LOOKED_AT <const> = 300 -- times a history is looked at afterwards

--- The alarms that a history would have rung, of a run that kept none: it is looked at some hundred
-- times, and a long one by a part of its rows.
-- @tparam {{[string]=any},...} history the rows of metrics so far, as `Run` has them
-- @tparam ?{[string]=any}|Config settings of the run; schedules may be texts
-- @treturn {{step=number,alarm=string,text=string},...}
function health.rung(history, settings)
  local watch, rows, list = health.watch(nil, settings), {}, {}
  local each = #history // 2000 + 1
  local stride = math.max(1, #history // each // LOOKED_AT)
  for i = 1, #history, each do
    rows[#rows + 1] = history[i]
    if #rows % stride == 0 or i + each > #history then
      local sentences, names = watch:check(rows)
      for k, sentence in ipairs(sentences) do
        list[#list + 1] = { step = history[i].step, alarm = names[k], text = sentence }
      end
    end
  end
  return list
end

return health
