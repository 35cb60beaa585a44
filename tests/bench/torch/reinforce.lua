--- REINFORCE with a running mean in plain PyTorch (Williams 1992): the peer of
-- recipes/reinforce.lua.

local config = require("perilune").config

return require("peer").online("reinforce", {
  { baseline_decay = 0.9, "δ of the running mean", min = 0, under = 1 },
  config.kl(),
  config.policy_steps { num_mini_batches = 1 },
})
