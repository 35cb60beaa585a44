--- Optimizers, by the engine: AdamW (Loshchilov and Hutter, arXiv:1711.05101), and Muon (Jordan et
-- al. 2024) for the matrices inside a decoder's blocks with AdamW for the rest. Over a block of
-- parameters, or over tensors that stand alone: these are copied into a block of the optimizer's
-- own for each step and back, so that they may be views, be shared and be handed to another one.
--
-- A step takes its numbers from a table, or from a config that has the rows of
-- perilune.config.adam.

local core = require("perilune.core")
local options = require("perilune.base.options")

local optimizer = {}

--- An optimizer.
-- @class Optimizer
local Optimizer = {}
Optimizer.__index = Optimizer
Optimizer.__name = "optimizer"

local CALL <const> = "%s: a block of parameters (model.block) or a list of tensors wanted"

local function refuse(who, text, ...) error(who .. ": " .. text:format(...), 5) end

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

local function check_tensor(who, t, where, dtype, seen)
  if not core.is_tensor(t) then
    refuse(who, "%s is %s, not a tensor", where, type(t) == "nil" and "nothing" or "a " .. type(t))
  elseif not t:requires_grad() then
    refuse(who, "%s wants no gradient; write :requires_grad(true) first", where)
  elseif t:dtype() ~= (dtype or t:dtype()) then
    refuse(who, "%s is %s, others are %s; one dtype wanted", where, t:dtype(), dtype)
  end
  for i, other in ipairs(seen) do
    if other == t then refuse(who, "%s is the same tensor as number %d", where, i) end
  end
end

-- A block like the tensors, and these in its order.
local function block_of(who, tensors)
  local entries, list, dtype = {}, {}, nil
  for i, key in ipairs(keys_of(tensors)) do
    local t = tensors[key]
    local where = ("tensor %s"):format(type(key) == "string" and "'" .. key .. "'" or key)
    check_tensor(who, t, where, dtype, list)
    dtype = t:dtype()
    entries[i], list[i] = { tostring(key), t:shape() }, t
  end
  if #list == 0 then refuse(who, "the list of tensors is empty") end
  return core.block(entries, dtype), list
end

-- The block to step over, and the tensors it stands for, if any.
local function taken(who, parameters)
  local call = CALL:format(who)
  if core.is_tensor(parameters) then error(call .. ", got a tensor; put it into braces: {w}", 4) end
  if type(parameters) == "table" then
    if parameters.block then error(call .. ", got a model; its parameters are model.block", 4) end
    return block_of(who, parameters)
  elseif type(parameters) ~= "userdata" then
    error(call .. ", got " .. (parameters == nil and "nothing" or "a " .. type(parameters)), 4)
  end
  return parameters, nil
end

local function new(name, engine, block, tensors)
  return setmetatable({ name = name, engine = engine, block = block, tensors = tensors }, Optimizer)
end

--- AdamW.
-- @tparam ParameterBlock|{Tensor,...}|{[string]=Tensor} parameters a block (model.block), or
--   tensors that want gradients, as a list or by name
-- @tparam ?table opts `moments` ("float32") or "8bit": both moments in 8 bits an element
--   and a scale for each 256 (arXiv:2110.02861), a quarter of the memory; only float32 parameters
-- @treturn Optimizer
function optimizer.adamw(parameters, opts)
  local moments = options.take("adamw", opts, {
    moments = options.choice("float32", { "float32", "8bit" }),
  }).moments
  local block, tensors = taken("adamw", parameters)
  local engine = core.adamw_state(block, moments == "8bit")
  return new("AdamW", engine, block, tensors)
end

-- Whether a parameter is inside one of a decoder's numbered blocks: no embedding and no head.
local function is_numbered(name)
  for part in name:gmatch("[^.]+") do
    if part:find("^%d+$") then return true end
  end
  return false
end

-- The first name of an adapter's factor among a block's parameters, in their alphabet.
local function factor_of(block)
  local first
  for name in pairs(block:tensors()) do
    if name:find("lora_", 1, true) and (not first or name < first) then first = name end
  end
  return first
end

-- Names of the parameters that Muon steps, and their elements.
local function matrices_of(block)
  local chosen, count = {}, 0
  local factor = factor_of(block)
  if factor then
    local text = "muon: it steps whole matrices, and '%s' is one factor of an adapter's: with "
      .. "adapters take adamw"
    error(text:format(factor), 4)
  end
  for name, t in pairs(block:tensors()) do
    if t:rank() == 2 and is_numbered(name) then
      chosen[name], count = true, count + t:count()
    end
  end
  return chosen, count
end

--- Muon for matrices, AdamW for all other parameters, at one rate: a step of Muon is as long as one
-- of AdamW, and equally long in all directions of the matrix. One momentum in place of two moments.
-- @tparam ParameterBlock|{Tensor,...}|{[string]=Tensor} parameters as for `adamw`. In a block
--   matrices are those whose name has a number as one part, as in a decoder's blocks, for
--   embeddings and heads stay AdamW's; in a list all with two axes, by name those alone
-- @tparam ?table opts `precision` ("float32") of its products, or "bf16": float32 parameters alone
-- @treturn Optimizer
function optimizer.muon(parameters, opts)
  local precision = options.take("muon", opts, {
    precision = options.choice("float32", { "float32", "bf16" }),
  }).precision
  local block, tensors = taken("muon", parameters)
  local matrices, count = matrices_of(block)
  if count == 0 then
    error(
      "muon: no matrix among the parameters has a number in its name, as those of a decoder's "
        .. "blocks do (layers.0.mlp.up_proj.weight), so all would be AdamW's; take adamw",
      3
    )
  end
  local engine = core.muon_state(block, matrices, precision == "bf16")
  return new("Muon", engine, block, tensors)
end

--- How many elements of a block have one momentum and no second moment under Muon.
-- @tparam ParameterBlock block without adapters, else it raises
-- @treturn integer
function optimizer.muon_elements(block)
  local _, count = matrices_of(block)
  return count
end

--- The optimizer that a config asks for: `optimizer`, `adam_moments` and `precision` of its rows.
-- Raises when it is Muon and the model has adapters.
-- @tparam ParameterBlock block of a model
-- @tparam Config cfg with the rows of `pl.config.adam` and `pl.config.precision`
-- @treturn Optimizer
function optimizer.of(block, cfg)
  if cfg.optimizer == "muon" and factor_of(block) then
    error(
      "optimizer muon steps whole matrices, and this model has adapters, which are factors of "
        .. "some: take adamw, or merge them first (perilune merge)",
      0
    )
  end
  if cfg.optimizer == "muon" then
    local precision = cfg.precision == "bf16" and "bf16" or "float32" -- it has no frozen weights
    return optimizer.muon(block, { precision = precision })
  end
  return optimizer.adamw(block, { moments = cfg.adam_moments })
end

--- One step on the gradients of the block. Raises when the rate is missing or an option is unknown.
-- @tparam table|Config given a table of `lr` (required) the rate of this step, `beta1` (0.9),
--   `beta2` (0.95), `eps` (1e-8), `tf_eps` (false: ε is added to the corrected root of v; true: to
--   the root before the bias correction, as in TensorFlow), `weight_decay` (0; of parameters with 2
--   axes or more), `max_grad_norm` (0: gradients are not clipped) and `momentum` (0.95, of Muon's
--   matrices); or a config with the rows of `pl.config.adam`
-- @tparam ?integer step of the run, from 1: what the config's schedules are asked for; with a
--   config alone
-- @tparam ?Schedule rate another schedule of the config for the learning rate (default:
--   given.learning_rate)
-- @treturn table `grad_norm` before clipping; `skipped`: a gradient was not finite, and nothing was
--   changed
function Optimizer:step(given, step, rate)
  if step then
    given = {
      lr = (rate or given.learning_rate)(step),
      beta1 = given.adam_beta1,
      beta2 = given.adam_beta2,
      eps = given.adam_epsilon,
      tf_eps = given.adam_tf_epsilon,
      weight_decay = given.weight_decay,
      max_grad_norm = given.max_grad_norm,
      momentum = given.muon_momentum,
    }
  end
  if not self.tensors then return self.engine:step(given) end
  self.block:take(self.tensors)
  local result = self.engine:step(given)
  self.block:give(self.tensors)
  return result
end

--- Drops the gradients of all parameters, as before the next backward pass.
function Optimizer:zero_grad()
  for _, t in ipairs(self.tensors or { self.block }) do
    t:zero_grad()
  end
end

function Optimizer:__tostring()
  return ("%s over %d tensors, %d parameters: %d steps taken"):format(
    self.name,
    #self.block:names(),
    self.block:count(),
    self.engine:state().steps
  )
end

--- The moments as tensors `m` and `v`, and the number of `steps` taken.
-- @treturn {m=Tensor,v=Tensor,steps=integer} the live moments `m` and `v`, each [n] in the order of
--   the block's flat weights (in 8 bits: int32 [blocks of 256 elements, 65], a scale and codes),
--   and `steps` taken
function Optimizer:state() return self.engine:state() end

--- Sets the number of steps taken, as a checkpoint has it.
-- @tparam integer steps that were taken, 0 or more
function Optimizer:set_steps(steps) self.engine:set_steps(steps) end

return optimizer
