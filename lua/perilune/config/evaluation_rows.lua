--- The rows of an evaluation, for recipes that learn from answers of others: what the policy's own
-- answers to held-out prompts are worth. A group, put among a config's own rows.
--
--     pl.config { name = "dpo", ..., "Answers to held-out prompts", pl.config.evaluation() }
--     local evaluation = pl.evaluation.open(cfg, tok, template, policy, reference)

local ensemble = require("perilune.config.ensemble")
local list = require("perilune.base.list")

--- The rows of an evaluation: `eval_prompts`, `reward_model`, `reward_function`, `eval_count`,
-- `response_length`, `temperature` and those of `config.ensemble`.
-- @treturn {ConfigRow,...} to be put among a config's rows
return function()
  local rows = {
    { eval_prompts = "", "prompts to answer: JSON Lines of {prompt} or {messages}; nothing: none" },
    { reward_model = "", "model folder with a scalar head that judges the answers" },
    { reward_function = "", "Lua file of f(prompts, answers, rows, ended) -> scores", code = true },
    { eval_count = 64, "how many of the prompts", min = 1 },
    { response_length = 64, "longest answer, tokens", min = 1 },
    { temperature = 1.0, "of sampling these answers", over = 0 },
  }
  return list.append(rows, ensemble())
end
