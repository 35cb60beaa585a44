--- GRPO in plain PyTorch (arXiv:2402.03300): the peer of recipes/grpo.lua.

local config = require("perilune").config

return require("peer").online("grpo", {
  config.groups { num_generations = 8 },
  config.kl { kl_coef = 0.04, kl_estimator = "k3", kl_placement = "loss" },
  config.policy_steps(),
})
