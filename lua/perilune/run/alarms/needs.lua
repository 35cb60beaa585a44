--- What each alarm of a run needs: metrics, without which it is not armed, and the keys of the
-- run's settings that it may read and name.
--
-- Recipes differ in their keys. A key that a recipe lacks reads as nil, and advice leaves out what
-- would be done with it; a key that the alarm's row does not declare cannot be read at all. So an
-- alarm neither fails on a recipe that came later, nor names a key that it does not have.

local format = require("perilune.base.format")

local needs = {}

-- The KL to the reference, of the answers that are learnt from or of those to held-out prompts.
local kl <const> = { "objective/kl", "eval_kl" }

--- The alarms in the order in which they are asked: `name`; `metrics`, each of which some row must
-- have, by this name or with `eval_` before it (of a list one of them); `keys` that the alarm may
-- read.
-- @type {{name=string,metrics={string|{string,...},...},keys={string,...}},...}
needs.alarms = {
  { name = "not_finite", metrics = {}, keys = {} },
  {
    name = "kl_runaway",
    metrics = { kl },
    keys = {
      "kl_coef",
      "kl_placement",
      "kl_estimator",
      "beta",
      "loss_type",
      "learning_rate",
      "target_kl",
      "reward_model",
    },
  },
  {
    name = "kl_negative",
    metrics = { kl },
    keys = { "temperature", "top_p", "top_k" },
  },
  {
    name = "entropy_collapse",
    metrics = { "policy/entropy_avg" },
    keys = { "kl_coef", "entropy_coef", "learning_rate" },
  },
  {
    name = "length_drift",
    metrics = { "completions/mean_length" },
    keys = { "reward_model", "reward_function" },
  },
  {
    name = "no_end",
    metrics = { "completions/clipped_ratio" },
    keys = {
      "missing_eos_rule",
      "missing_eos_penalty",
      "response_length",
      "mask_truncated_completions",
    },
  },
  { name = "empty_answers", metrics = { "completions/empty_ratio" }, keys = {} },
  {
    name = "constant_reward",
    metrics = { "objective/scores_std" },
    keys = { "reward_clip", "missing_eos_rule", "response_length" },
  },
  {
    name = "value_useless",
    metrics = { "val/var_explained" },
    keys = { "vf_coef", "value_learning_rate", "cliprange_value" },
  },
  {
    name = "equal_groups",
    metrics = { "frac_reward_zero_std" },
    keys = { "num_generations", "temperature", "dynamic_sampling" },
  },
  {
    name = "over_optimised",
    metrics = {
      "objective/kl",
      "objective/entropy",
      "objective/scores",
      "objective/scores_std",
    },
    keys = { "reward_model", "kl_coef", "learning_rate", "save_steps" },
  },
  {
    name = "other_taste",
    metrics = { "eval_gold" },
    keys = { "kl_coef", "learning_rate", "save_steps", "checkpoint_choice" },
  },
  {
    name = "judged_falls",
    metrics = { "eval_score_lost" },
    keys = { "beta", "learning_rate", "checkpoint_choice", "save_steps" },
  },
  {
    name = "reward_is_length",
    metrics = { "health/length_corr" },
    keys = { "reward_model", "reward_function" },
  },
  { name = "loss_rises", metrics = { "loss" }, keys = { "learning_rate" } },
  {
    name = "chosen_falls",
    metrics = { "rewards/margins", "logps/chosen" },
    keys = { "beta", "loss_type", "learning_rate", "rpo_alpha" },
  },
  { name = "pairs_solved", metrics = { "rewards/accuracies", "loss" }, keys = {} },
}

local rows = {}
for _, row in ipairs(needs.alarms) do
  rows[row.name] = row
end

local function has_metric(history, name)
  local held_out = "eval_" .. name
  for i = #history, 1, -1 do
    if history[i][name] ~= nil or history[i][held_out] ~= nil then return true end
  end
  return false
end

local function has_one(history, names)
  for _, name in ipairs(type(names) == "table" and names or { names }) do
    if has_metric(history, name) then return true end
  end
  return false
end

--- Whether a history has all metrics that an alarm needs.
-- @tparam string name of the alarm
-- @tparam {{[string]=any},...} history rows
-- @treturn boolean
function needs.armed(name, history)
  for _, metric in ipairs(rows[name].metrics) do
    if not has_one(history, metric) then return false end
  end
  return true
end

--- The settings of a run as one alarm may see them.
-- @class Known
local Known = {}
Known.__index = Known

--- The settings of a run as an alarm may see them: the keys of its row and no others.
-- @tparam string name of the alarm
-- @tparam ?{[string]=any}|Config settings of the run; nil: nothing is known of them
-- @treturn Known
function needs.settings(name, settings)
  local allowed = {}
  for _, key in ipairs(rows[name].keys) do
    allowed[key] = true
  end
  return setmetatable({ name = name, allowed = allowed, settings = settings }, Known)
end

--- A setting. Raises when the alarm's row does not declare the key.
-- @tparam string key
-- @treturn any nil when the recipe has no such key, or nothing is known of its settings
function Known:value(key)
  if not self.allowed[key] then
    error(("%s reads %s, which its row in run/alarms/needs.lua lacks"):format(self.name, key), 2)
  elseif not self.settings then
    return nil
  end
  local found, value = pcall(function() return self.settings[key] end) -- a config raises
  if found then return value end
end

--- The number that a setting always is.
-- @tparam string key
-- @treturn ?number nil when the recipe has no such key, or when it is a schedule
function Known:fixed(key)
  local value = self:value(key)
  if type(value) == "table" then return value:fixed() end
  return type(value) == "number" and value or nil -- a folder's settings have schedules as texts
end

--- What scores the answers, where the settings tell that it is one of the two.
-- @treturn ?string "model" or "function"; nil: both, or nothing is known
function Known:judge()
  local by_model = (self:value("reward_model") or "") ~= ""
  local by_function = (self:value("reward_function") or "") ~= ""
  if by_model == by_function then return nil end
  return by_model and "model" or "function"
end

-- What to do, as texts: of {verb, key, ?rest} where the recipe may have the key, or a text as it
-- is. What is to be raised or lowered has its value.
local function possible(known, items)
  local texts = {}
  for _, item in ipairs(items) do
    if type(item) == "string" then
      texts[#texts + 1] = item
    elseif not known.settings or known:value(item[2]) ~= nil then
      local value = item[1] ~= "set" and known:fixed(item[2])
      local shown = value and (" (%s)"):format(format.number(value)) or ""
      texts[#texts + 1] = item[1] .. " " .. item[2] .. shown .. (item[3] or "")
    end
  end
  return texts
end

local function joined(texts)
  if #texts < 3 then return table.concat(texts, " or ") end
  return table.concat(texts, ", ", 1, #texts - 1) .. ", or " .. texts[#texts]
end

--- What to do, as the end of a sentence: after a colon, of the remedies that the recipe has keys
-- for.
-- @tparam {any,...} items each {verb, key, ?rest of the text}, or a text that needs no key
-- @treturn string a full stop alone when none is left
function Known:remedy(items)
  local texts = possible(self, items)
  return #texts > 0 and ": " .. joined(texts) .. "." or "."
end

--- What to do, as a sentence with a space before it.
-- @tparam {any,...} items as `remedy` takes them
-- @treturn string empty when none is left
function Known:advice(items)
  local texts = possible(self, items)
  return #texts > 0 and (" " .. joined(texts) .. "."):gsub("^ %l", string.upper) or ""
end

--- Those of some keys that the recipe may have.
-- @tparam {string,...} keys
-- @treturn {string,...}
function Known:those_of(keys)
  local list = {}
  for _, key in ipairs(keys) do
    local value = self:value(key)
    if not self.settings or value ~= nil then list[#list + 1] = key end
  end
  return list
end

return needs
