--- learn: what training is made of: losses and scores of models over sequences, rollouts with
-- rewards and advantages, and the readable twins of the engine's fused kernels.
--
-- No loop and no model lives here: recipes hold the loops, perilune.model the models.
--
-- May use: base, data.
-- @module perilune.learn

local lazy = require("perilune.base.lazy")

return lazy({}, {
  loss = "perilune.learn.loss",
  rollout = "perilune.learn.rollout",
  twins = "perilune.learn.twins",
})
