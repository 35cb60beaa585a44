--- learn: what training is made of: losses of models over sequences, scores by a model or a
-- function, rollouts with rewards and advantages, losses of preference optimisation, the optimizer,
-- how well rankings are met, and the readable twins of the engine's fused kernels.
--
-- No loop and no model lives here: recipes hold the loops, perilune.model the models.
--
-- May use: base, model, data.

local lazy = require("perilune.base.lazy")

return lazy({}, {
  advantage = "perilune.learn.advantage",
  evaluation = "perilune.learn.evaluation",
  linear_critic = "perilune.learn.linear_critic",
  loss = "perilune.learn.loss",
  preference = "perilune.learn.preference",
  policy_loss = "perilune.learn.policy_loss",
  online = "perilune.learn.online",
  optimizer = "perilune.learn.optimizer",
  ranking = "perilune.learn.ranking",
  reward_loss = "perilune.learn.reward_loss",
  rollout = "perilune.learn.rollout",
  score = "perilune.learn.score",
  tasks = "perilune.learn.tasks",
  twins = "perilune.learn.twins",
})
