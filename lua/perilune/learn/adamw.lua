--- AdamW (Loshchilov and Hutter, arXiv:1711.05101), by the engine: over a block of parameters, or
-- over tensors that stand alone. These are copied into a block of the optimizer's own for each step
-- and back, so that they may be views, be shared and be handed to another optimizer.
--
-- A step takes its numbers from a table, or from a config that has the rows of
-- perilune.config.adam.

local core = require("perilune.core")
local options = require("perilune.base.options")

local adamw = {}

--- An AdamW optimizer.
-- @class AdamW
local AdamW = {}
AdamW.__index = AdamW
AdamW.__name = "adamw"

local CALL <const> = "adamw: a block of parameters (model.block) or a list of tensors wanted"

local function refuse(text, ...) error("adamw: " .. text:format(...), 4) end

-- What tensors of a list or map are called, in a fixed order.
local function keys_of(tensors)
  local keys = {}
  for key in pairs(tensors) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    if math.type(a) == "integer" and math.type(b) == "integer" then return a < b end
    return tostring(a) < tostring(b)
  end)
  return keys
end

local function check_tensor(t, where, dtype, seen)
  if not core.is_tensor(t) then
    refuse("%s is %s, not a tensor", where, type(t) == "nil" and "nothing" or "a " .. type(t))
  elseif not t:requires_grad() then
    refuse("%s wants no gradient; write :requires_grad(true) first", where)
  elseif t:dtype() ~= (dtype or t:dtype()) then
    refuse("%s is %s, others are %s; one dtype wanted", where, t:dtype(), dtype)
  end
  for i, other in ipairs(seen) do
    if other == t then refuse("%s is the same tensor as number %d", where, i) end
  end
end

-- A block like the tensors, and these in its order.
local function block_of(tensors)
  local entries, list, dtype = {}, {}, nil
  for i, key in ipairs(keys_of(tensors)) do
    local t = tensors[key]
    local where = ("tensor %s"):format(type(key) == "string" and "'" .. key .. "'" or key)
    check_tensor(t, where, dtype, list)
    dtype = t:dtype()
    entries[i], list[i] = { tostring(key), t:shape() }, t
  end
  if #list == 0 then refuse("the list of tensors is empty") end
  return core.block(entries, dtype), list
end

--- A new optimizer.
-- @tparam ParameterBlock|{Tensor,...}|{[string]=Tensor} parameters a block (model.block), or
--   tensors that want gradients, as a list or by name
-- @tparam ?table opts `moments` ("float32") or "8bit": both moments in 8 bits an element
--   and a scale for each 256 (arXiv:2110.02861), a quarter of the memory; only float32 parameters
-- @treturn AdamW
function adamw.new(parameters, opts)
  local moments = options.take("adamw", opts, {
    moments = options.choice("float32", { "float32", "8bit" }),
  }).moments
  if core.is_tensor(parameters) then error(CALL .. ", got a tensor; put it into braces: {w}", 3) end
  local block, tensors = parameters, nil
  if type(parameters) == "table" then
    if parameters.block then error(CALL .. ", got a model; its parameters are model.block", 3) end
    block, tensors = block_of(parameters)
  elseif type(parameters) ~= "userdata" then
    error(CALL .. ", got " .. (parameters == nil and "nothing" or "a " .. type(parameters)), 3)
  end
  local engine = core.adamw_state(block, moments == "8bit")
  return setmetatable({ engine = engine, block = block, tensors = tensors }, AdamW)
end

--- One step on the gradients of the block. Raises when the rate is missing or an option is unknown.
-- @tparam table|Config given a table of `lr` (required) the rate of this step, `beta1` (0.9),
--   `beta2` (0.95), `eps` (1e-8), `tf_eps` (false: ε is added to the corrected root of v; true: to
--   the root before the bias correction, as in TensorFlow), `weight_decay` (0; of parameters with 2
--   axes or more) and `max_grad_norm` (0: gradients are not clipped); or a config with the rows of
--   `pl.config.adam`
-- @tparam ?integer step of the run, from 1: what the config's schedules are asked for; with a
--   config alone
-- @tparam ?Schedule rate another schedule of the config for the learning rate (default:
--   given.learning_rate)
-- @treturn table `grad_norm` before clipping; `skipped`: a gradient was not finite, and nothing was
--   changed
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
  if not self.tensors then return self.engine:step(given) end
  self.block:take(self.tensors)
  local result = self.engine:step(given)
  self.block:give(self.tensors)
  return result
end

--- Drops the gradients of all parameters, as before the next backward pass.
function AdamW:zero_grad()
  for _, t in ipairs(self.tensors or { self.block }) do
    t:zero_grad()
  end
end

function AdamW:__tostring()
  return ("AdamW over %d tensors, %d parameters: %d steps taken"):format(
    #self.block:names(),
    self.block:count(),
    self.engine:state().steps
  )
end

--- The moments as tensors `m` and `v`, and the number of `steps` taken.
-- @treturn {m=Tensor,v=Tensor,steps=integer} the live moments `m` and `v`, each [n] in the order of
--   the block's flat weights (in 8 bits: int32 [blocks of 256 elements, 65], a scale and codes),
--   and `steps` taken
function AdamW:state() return self.engine:state() end

--- Sets the number of steps taken, as a checkpoint has it.
-- @tparam integer steps that were taken, 0 or more
function AdamW:set_steps(steps) self.engine:set_steps(steps) end

return adamw
