--- PPO-ptx in plain PyTorch (arXiv:2203.02155): the peer of recipes/ppo.lua.

local config = require("perilune").config

return require("peer").online("ppo", {
  { value_learning_rate = 1e-5, "of the value model", min = 0, schedule = true },
  { vf_coef = 0.1, "weight of the value loss", min = 0 },
  { cliprange_value = 0.2, "ε of the value", over = 0 },
  { gamma = 1.0, "discount", min = 0, max = 1 },
  { lam = 0.95, "λ of generalized advantage estimation", min = 0, max = 1 },
  config.kl(),
  { num_ppo_epochs = 1, "passes over each batch", min = 1 },
  { num_mini_batches = 8, "steps in a pass", min = 1 },
  { cliprange = 0.2, "ε of the policy ratio", over = 0, schedule = true },
  { cliprange_high = 0.0, "ε above a ratio of 1; 0: as cliprange", min = 0 },
})
