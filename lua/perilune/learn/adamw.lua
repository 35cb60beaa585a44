--- AdamW over a block of parameters (Loshchilov and Hutter, arXiv:1711.05101), by the engine.
--
-- A step takes its numbers from a table, or from a config that has the rows of
-- perilune.config.adam.

local core = require("perilune.core")

local adamw = {}

--- An AdamW optimizer.
-- @class AdamW
local AdamW = {}
AdamW.__index = AdamW
AdamW.__name = "adamw"

--- A new optimizer.
-- @tparam ParameterBlock block the parameters, model.block
-- @treturn AdamW
function adamw.new(block) return setmetatable({ engine = core.adamw_state(block) }, AdamW) end

--- One step on the gradients of the block.
-- @tparam table|Config given a table with `lr`, `beta1`, `beta2`, `eps`, `tf_eps`, `weight_decay`
--   and `max_grad_norm`, or a config with the rows of perilune.config.adam
-- @tparam ?integer step of the config's schedules
-- @tparam ?Schedule rate another schedule of the config for the learning rate (default:
--   given.learning_rate)
-- @treturn table `grad_norm` before clipping; `skipped` when a gradient was not finite
function AdamW:step(given, step, rate)
  if step then
    given = {
      lr = (rate or given.learning_rate)(step),
      beta1 = given.adam_beta1,
      beta2 = given.adam_beta2,
      eps = given.adam_epsilon,
      tf_eps = given.adam_tf_epsilon,
      weight_decay = given.weight_decay,
      max_grad_norm = given.max_grad_norm,
    }
  end
  return self.engine:step(given)
end

--- The moments as tensors `m` and `v`, and the number of `steps` taken.
-- @treturn {m=Tensor,v=Tensor,steps=integer} the tensors are the live moments
function AdamW:state() return self.engine:state() end

--- Sets the number of steps taken, as a checkpoint has it.
-- @tparam integer steps
function AdamW:set_steps(steps) self.engine:set_steps(steps) end

return adamw
