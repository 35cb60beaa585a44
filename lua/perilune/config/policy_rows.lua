--- The rows of recipes in which a policy learns from its own answers: groups, put among a config's
-- own rows.
--
--     pl.config { name = "grpo", ..., "Models and data", pl.config.online {}, "Rollouts",
--       { total_episodes = 8192, "answers in the whole run" }, pl.config.sampling() }
--
-- `pl.online.open` reads them. A group that has a `check` refuses keys that do not fit together.

local ensemble = require("perilune.config.ensemble")
local list = require("perilune.base.list")
local options = require("perilune.base.options")
local precision = require("perilune.config.precision")

local policy_rows = {}

-- Why the weights do not fit the rewards that are named.
local function weights_fault(c)
  local _, functions = c.reward_function:gsub("[^,]+", "")
  local count, weights = functions + (c.reward_model ~= "" and 1 or 0), c.reward_weights
  if count == 0 or count > 1 and #weights == 0 then
    return "give one of reward_model and reward_function, or reward_weights with several"
  elseif #weights > 0 and #weights ~= count then
    local text = "reward_weights has %d weights for %d rewards: the reward models are one, each "
      .. "function is one"
    return text:format(#weights, count)
  end
  local judged = #weights == 0
  for _, weight in ipairs(weights) do
    local number = tonumber(weight)
    if not number or number - number ~= 0 then
      return ("reward_weights: '%s' is no number"):format(weight)
    end
    judged = judged or number ~= 0
  end
  return not judged and "reward_weights are all 0: nothing would be judged" or nil
end

--- The rows of models and data: `model`, `reward_model`, `reward_function`, `dataset`,
-- `ptx_dataset`, `template`, `max_prompt_length` and `quantize`, and those of `config.ensemble`.
-- @tparam ?table settings `judge` ("model folder with a scalar head") what is told of the key
--   reward_model; `ptx` (true): false where no pretraining text is read
-- @treturn {ConfigRow,...} to be put among a config's rows
function policy_rows.online(settings)
  settings = options.take("config.online", settings, {
    judge = "model folder with a scalar head",
    ptx = true,
  })
  local ptx = { ptx_dataset = "", "pretraining text: .txt or JSON Lines of {text}" }
  local rows = {
    {
      model = "",
      "model folder the policy starts from; also the KL reference",
      required = true,
      alias = "sft_model_path",
    },
    { reward_model = "", settings.judge .. "; several: by commas", alias = "reward_model_path" },
    {
      reward_function = "",
      "Lua file of f(prompts, answers, rows, ended) -> scores; several: by commas",
      code = true,
    },
    {
      reward_weights = {},
      "of several rewards: one for the reward models, then one for each function",
    },
    { dataset = "", "prompts: JSON Lines of {prompt} or {messages}", required = true },
  }
  if settings.ptx then rows[#rows + 1] = ptx end
  list.append(rows, {
    {
      template = "auto",
      "chat template: auto (the model's own), none, plain, chatml, a .jinja file",
    },
    { max_prompt_length = 1024, "longer prompts are dropped, tokens", min = 1 },
    {
      quantize = "none",
      "what reference and reward model, which are not trained, hold their matrices in; as_is: as "
        .. "their files have them",
      choices = { "none", "q8_0", "as_is" },
    },
  })
  list.append(rows, ensemble())
  rows.check = function(c)
    if c.quantize ~= "none" and c.peft_r > 0 then
      return "quantize is for models that are trained whole; with adapters all roles stand on one "
        .. "base, and base_dtype says what holds it"
    end
    return weights_fault(c)
  end
  return rows
end

--- The rows of groups of answers: `num_generations` and `dynamic_sampling`. Refuses a group of one,
-- and a `batch_size` that is no whole groups.
-- @tparam ?table defaults `num_generations` (8) answers to a prompt
-- @treturn {ConfigRow,...} to be put among a config's rows
function policy_rows.groups(defaults)
  defaults = options.take("config.groups", defaults, { num_generations = options.integer(8, 2) })
  return {
    { num_generations = defaults.num_generations, "K: answers to each prompt", min = 1 },
    {
      dynamic_sampling = 0,
      "times that groups with equal scores are drawn anew; 0: they stay, and teach nothing",
      min = 0,
    },
    check = function(c)
      if c.num_generations < 2 then
        return "num_generations is 1: an answer is held against the others to its prompt, so give "
          .. "2 or more"
      elseif c.batch_size % c.num_generations ~= 0 then
        return ("num_generations must divide batch_size, and %d does not divide %d"):format(
          c.num_generations,
          c.batch_size
        )
      end
    end,
  }
end

--- The rows of credit without a value model: `credit` and `lam`. Refuses credit of tokens where no
-- reward model reads the answers.
-- @treturn {ConfigRow,...} to be put among a config's rows
function policy_rows.credit()
  return {
    {
      credit = "answer",
      "who has an advantage: an answer, or each token, by values that a line through the reward "
        .. "model's hidden states tells",
      choices = { "answer", "token" },
    },
    { lam = 0.9, "λ of generalized advantage estimation, with credit token", min = 0, max = 1 },
    check = function(c)
      if c.credit == "token" and c.reward_model == "" then
        return "credit token reads a reward model's hidden states, and there is none: give a "
          .. "reward_model, or credit answer"
      end
    end,
  }
end

--- The rows of steps on a rollout without a value model: `num_iterations`, `num_mini_batches`,
-- `cliprange`, `cliprange_high`, `entropy_coef` and `mask_truncated_completions`. Refuses
-- minibatches that do not divide the batch.
-- @tparam ?table defaults `num_mini_batches` (4) of a pass
-- @treturn {ConfigRow,...} to be put among a config's rows
function policy_rows.policy_steps(defaults)
  defaults =
    options.take("config.policy_steps", defaults, { num_mini_batches = options.integer(4, 1) })
  return {
    {
      num_iterations = 1,
      "passes over each batch",
      min = 1,
      live = true,
      alias = "num_ppo_epochs",
    },
    { num_mini_batches = defaults.num_mini_batches, "steps in a pass", min = 1 },
    { cliprange = 0.2, "ε of the policy ratio", over = 0, schedule = true, alias = "epsilon" },
    {
      cliprange_high = 0.0,
      "ε above a ratio of 1; 0: as cliprange",
      min = 0,
      alias = "epsilon_high",
    },
    { entropy_coef = 0.0, "weight of an entropy bonus", min = 0, schedule = true },
    {
      mask_truncated_completions = false,
      "answers that do not end have scores, and no part in the loss",
    },
    check = function(c)
      if c.batch_size % c.num_mini_batches ~= 0 then
        return ("num_mini_batches must divide batch_size, and %d does not divide %d"):format(
          c.num_mini_batches,
          c.batch_size
        )
      end
    end,
  }
end

--- The rows of sampling: `response_length`, `temperature`, `top_k`, `top_p`, `min_p`, `slots` and
-- `cache_memory`.
-- @treturn {ConfigRow,...} to be put among a config's rows
function policy_rows.sampling()
  return {
    { response_length = 64, "longest answer, tokens", min = 1 },
    { temperature = 1.0, "of sampling, and of every log-prob that follows", over = 0 },
    { top_k = 0, "sample from the k likeliest tokens; 0: all", min = 0 },
    { top_p = 1.0, "sample from the likeliest tokens of this mass", over = 0, max = 1 },
    { min_p = 0.0, "leave out tokens below this part of the likeliest", min = 0, max = 1 },
    { slots = 64, "answers that grow at the same time", min = 1 },
    {
      cache_memory = 0.0,
      "MiB for keys and values of growing answers, which wait where it is short; 0: what is free",
      min = 0,
    },
  }
end

--- The rows of the KL to the reference: `kl_coef`, `kl_estimator` and `kl_placement`.
-- @tparam ?table defaults `kl_coef` (0.05), `kl_estimator` ("k1") and `kl_placement` ("reward")
-- @treturn {ConfigRow,...} to be put among a config's rows
function policy_rows.kl(defaults)
  defaults = options.take("config.kl", defaults, {
    kl_coef = 0.05,
    kl_estimator = "k1",
    kl_placement = "reward",
  })
  return {
    {
      kl_coef = defaults.kl_coef,
      "β: weight of the per-token KL to the reference",
      min = 0,
      schedule = true,
      alias = "beta",
    },
    {
      kl_estimator = defaults.kl_estimator,
      "the KL of a token: estimated from the sample, or in full over the vocabulary",
      choices = { "k1", "k2", "k3", "full" },
    },
    {
      kl_placement = defaults.kl_placement,
      "the KL: in the reward or a loss",
      choices = { "reward", "loss" },
    },
  }
end

--- The row of what the reference says of the answers themselves: `likelihood_coef`.
-- @treturn {ConfigRow,...} to be put among a config's rows
function policy_rows.likelihood()
  return {
    {
      likelihood_coef = 0.0,
      "w: weight of the reference's log-prob of each token, as a reward",
      min = 0,
      schedule = true,
    },
  }
end

--- The rows of what becomes of scores: `missing_eos_rule`, `missing_eos_penalty`, `reward_clip`,
-- `normalize_scores`, `length_penalty`, `length_free` and `overlong_buffer`.
-- @treturn {ConfigRow,...} to be put among a config's rows
function policy_rows.scores()
  return {
    {
      missing_eos_rule = "subtract",
      "for answers that do not end: nothing, subtract the penalty, or it replaces the score",
      choices = { "none", "subtract", "replace" },
    },
    {
      missing_eos_penalty = 1.0,
      "subtracted from the score, or its replacement (negated)",
      min = 0,
    },
    { reward_clip = 0.0, "scores are clipped to ± this; 0: not", min = 0 },
    { normalize_scores = false, "to mean 0, deviation 1 of all scores of the run so far" },
    { length_penalty = 0.0, "subtracted for each token beyond length_free", min = 0 },
    { length_free = 0, "tokens of an answer that cost nothing", min = 0 },
    {
      overlong_buffer = 0,
      "last tokens of response_length over which a penalty grows from 0 to 1 (DAPO); 0: none",
      min = 0,
    },
    check = function(c)
      if c.overlong_buffer > c.response_length then
        return "overlong_buffer is longer than response_length"
      end
    end,
  }
end

--- The rows of how a batch is computed: `micro_batch_tokens`, `gradient_checkpointing` and
-- `precision`.
-- @treturn {ConfigRow,...} to be put among a config's rows
function policy_rows.forwards()
  return list.append({
    {
      micro_batch_tokens = 16384,
      "tokens in one forward: no result but rounding changes",
      min = 1,
    },
    {
      gradient_checkpointing = false,
      "blocks are computed again in the backward pass: less memory, more time, the same result",
    },
  }, precision())
end

--- The rows of the pretraining term: `ptx_coef`, `ptx_batch_ratio` and `ptx_length`.
-- @treturn {ConfigRow,...} to be put among a config's rows
function policy_rows.ptx()
  return {
    { ptx_coef = 0.0, "γ: weight of the pretraining loss", min = 0, schedule = true },
    { ptx_batch_ratio = 1.0, "pretraining examples for each answer", min = 0 },
    { ptx_length = 128, "tokens in a pretraining example", min = 2 },
    check = function(c)
      if c.ptx_coef:fixed() ~= 0 and c.ptx_dataset == "" then
        return "ptx_coef wants a ptx_dataset"
      end
    end,
  }
end

--- The rows of the averaged policy: `ema_decay` and `ema_final`.
-- @treturn {ConfigRow,...} to be put among a config's rows
function policy_rows.average()
  return {
    {
      ema_decay = 0.992,
      "of the averaged policy, once an iteration; 0: none",
      min = 0,
      under = 1,
    },
    { ema_final = false, "the final model is the averaged policy" },
  }
end

--- The rows of measuring on held-out prompts: `eval_dataset`, `eval_steps`, `eval_count`, `gold`,
-- `eval_rankings` and `checkpoint_choice`.
-- @treturn {ConfigRow,...} to be put among a config's rows
function policy_rows.held_out()
  return {
    { eval_dataset = "", "held-out prompts to measure on: JSON Lines of {prompt} or {messages}" },
    { eval_steps = 10, "iterations between measurements", min = 1 },
    { eval_count = 64, "how many of the prompts", min = 1 },
    {
      gold = "",
      "Lua file of f(prompts, answers, rows, ended) -> scores that judges 4 answers to each, and "
        .. "trains nothing: whether the reward is what it stands for",
      code = true,
    },
    {
      eval_rankings = "",
      "held-out rankings, JSON Lines of {prompt, completions, ranks}, that reward models are asked "
        .. "of before the first step",
    },
    {
      checkpoint_choice = "last",
      "the final model: the last, or the best by eval_score, by eval_reward (score - β KL) or by "
        .. "eval_gold",
      choices = { "last", "eval_score", "eval_reward", "eval_gold" },
    },
    check = function(c)
      if c.checkpoint_choice ~= "last" and c.eval_dataset == "" then
        return "checkpoint_choice wants an eval_dataset"
      elseif c.gold ~= "" and c.eval_dataset == "" then
        return "gold judges answers to held-out prompts: give an eval_dataset of them"
      elseif c.gold == "" and c.checkpoint_choice == "eval_gold" then
        return "checkpoint_choice eval_gold wants a gold"
      elseif c.eval_rankings ~= "" and c.reward_model == "" then
        return "eval_rankings is asked of reward models, and there is no reward_model"
      end
    end,
  }
end

return policy_rows
