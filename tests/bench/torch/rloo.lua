--- RLOO in plain PyTorch (arXiv:2402.14740): the peer of recipes/rloo.lua.

local config = require("perilune").config

return require("peer").online("rloo", {
  config.groups { num_generations = 4 },
  config.kl(),
  config.policy_steps { num_mini_batches = 1 },
})
