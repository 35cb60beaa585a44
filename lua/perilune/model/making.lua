--- How a model begins: which parameters its config asks for, and memory for them.

local core = require("perilune.core")
local decoder = require("perilune.model.decoder")
local families = require("perilune.model.families")

local making = {}

local function head_entries(config, spec)
  if config.scalar_head then
    local shape = { config.score_heads or 1, spec.out_width }
    return { { "score.weight", shape, 1 / math.sqrt(spec.out_width + 1) } }
  elseif not spec.tied then
    return { { spec.names.head .. ".weight", { spec.vocab, spec.out_width }, spec.init_std } }
  end
  return {}
end

local function shape_text(shape) return "[" .. table.concat(shape, ",") .. "]" end

--- Why tensors are not the parameters of these entries; nil when they are.
-- @tparam {table,...} entries {name, shape, ...}
-- @tparam {[string]=Tensor} tensors by name
-- @tparam string where they are from, for messages
-- @treturn ?string
function making.misfit(entries, tensors, where)
  for _, entry in ipairs(entries) do
    local name, given = entry[1], tensors[entry[1]]
    if not given then return ("%s: tensor '%s' is missing"):format(where, name) end
    local shape, wanted = shape_text(given:shape()), shape_text(entry[2])
    if shape ~= wanted then
      return ("%s: tensor '%s' has shape %s, config.json wants %s"):format(
        where,
        name,
        shape,
        wanted
      )
    end
  end
end

--- Gives a config what another says of its scores.
-- @tparam table into config
-- @tparam table from config, or what is told of adapters
function making.take_scores(into, from)
  into.score_bias, into.score_biases = from.score_bias, from.score_biases
  into.score_likelihood_coef = from.score_likelihood_coef
  into.score_likelihood_reference = from.score_likelihood_reference
end

--- A config of its own, of the same values.
-- @tparam table config
-- @treturn table
function making.copied(config)
  local result = {}
  for key, value in pairs(config) do
    result[key] = value
  end
  return result
end

local precisions = { float32 = true, bf16 = true, int8 = true }

-- Why products cannot be of this precision beside parameters of this type; nil when they can.
local function unfit(precision, dtype)
  if not precisions[precision] then
    return ("precision is %s; 'float32', 'bf16' or 'int8' wanted"):format(
      type(precision) == "string" and "'" .. precision .. "'" or "a " .. type(precision)
    )
  elseif precision ~= "float32" and dtype ~= "float32" then
    return ("precision %s is for parameters in float32, and these are in %s"):format(
      precision,
      dtype
    )
  end
end

--- A model that knows which parameters it has, and holds none yet.
-- @tparam table class of models
-- @tparam table config
-- @tparam string dtype of the parameters
-- @tparam ?string precision of products (default: "float32")
-- @treturn ?Model nil when there can be none
-- @treturn ?string message
function making.planned(class, config, dtype, precision)
  precision = precision or "float32"
  local misused = unfit(precision, dtype)
  if misused then return nil, misused end
  local spec, message = families.spec(config)
  if not spec then return nil, message end
  local entries = decoder.parameters(spec)
  for _, entry in ipairs(head_entries(config, spec)) do
    entries[#entries + 1] = entry
  end
  return setmetatable({
    config = config,
    spec = spec,
    entries = entries,
    dtype = dtype,
    precision = precision,
  }, class)
end

--- A new model with memory for its parameters, all zeros. With `tensors`, those of a file at
-- `where`, memory is taken only when they are just the ones wanted.
-- @tparam table class of models
-- @tparam table config
-- @tparam table opts `dtype` ("float32") and `precision` ("float32")
-- @tparam ?{[string]=Tensor} tensors by name
-- @tparam ?string where they are from, for messages
-- @treturn ?Model nil when there can be none
-- @treturn ?string message
function making.allocate(class, config, opts, tensors, where)
  local self, message = making.planned(class, config, opts.dtype or "float32", opts.precision)
  if not self then return nil, message end
  message = tensors and making.misfit(self.entries, tensors, where)
  if message then return nil, message end
  self.block = core.block(self.entries, self.dtype)
  self.weights = self.block:tensors()
  decoder.bind(self)
  return self
end

return making
