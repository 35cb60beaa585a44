--- The rows of the optimizer, for the recipes that train: a group, put among a config's own rows.
--
--     pl.config { name = "sft", ..., "Optimisation", pl.config.adam { weight_decay = 0.1 } }

local list = require("perilune.base.list")
local options = require("perilune.base.options")

local kinds = {
  {
    optimizer = "adamw",
    "muon: its steps for the matrices inside the blocks (Jordan et al. 2024), AdamW's for the rest",
    choices = { "adamw", "muon" },
  },
  { muon_momentum = 0.95, "Muon: decay of the momentum", min = 0, under = 1 },
}
local betas = {
  { adam_beta1 = 0.9, "Adam: decay of the first moment", min = 0, under = 1 },
  { adam_beta2 = 0.95, "Adam: decay of the second moment", min = 0, under = 1 },
  { adam_epsilon = 1e-8, "Adam: added to the root of the second moment", over = 0 },
  { adam_tf_epsilon = false, "ε where TensorFlow's Adam has it" },
  {
    adam_moments = "float32",
    "what both moments are kept in; 8bit: a quarter of the memory (arXiv:2110.02861)",
    choices = { "float32", "8bit" },
  },
}

-- The rank of the adapters that the config asks for; 0 in a recipe that has none.
local function rank_of(c)
  for key, value in pairs(c) do
    if key == "peft_r" then return value end
  end
  return 0
end

local function fault(c)
  if c.optimizer == "muon" and rank_of(c) > 0 then
    return "optimizer muon steps whole matrices, and adapters are factors of some: take adamw, or "
      .. "train all weights (peft_r 0)"
  end
  if c.optimizer == "muon" and c.adam_moments ~= "float32" then
    return "Muon keeps one momentum of its matrices, in float32: give one of optimizer muon and "
      .. "adam_moments "
      .. c.adam_moments
  end
end

--- The rows of the optimizer: `optimizer`, `learning_rate`, `muon_momentum`, `adam_beta1`,
-- `adam_beta2`, `adam_epsilon`, `adam_tf_epsilon`, `adam_moments`, `weight_decay` and
-- `max_grad_norm`, with defaults of the recipe's own.
-- @tparam ?table defaults `learning_rate` (1e-5) the rate of a step: a number, a schedule's text,
--   or false when the recipe writes that row itself; `weight_decay` (0) of matrices
-- @treturn {ConfigRow,...} to be put among a config's rows
return function(defaults)
  defaults =
    options.take("config.adam", defaults, { learning_rate = options.any(), weight_decay = 0.0 })
  local rate = defaults.learning_rate
  local rows = {}
  if rate ~= false then
    rows[1] = { learning_rate = rate or 1e-5, "of a step", min = 0, schedule = true }
  end
  list.append(rows, kinds)
  list.append(rows, betas)
  rows.check = fault
  return list.append(rows, {
    { weight_decay = defaults.weight_decay, "on matrices", min = 0 },
    { max_grad_norm = 1.0, "clip gradients to this norm; 0: not", min = 0 },
  })
end
