--- Rotary positions as a config describes them: options of core.rope, or why there are none.
--
-- With R channels of a head turned, pair i has the frequency theta^(-2i/R) by itself. Scaled kinds
-- change frequencies so that positions beyond those of pretraining look like known ones:
--     linear    all divided by `factor` (position interpolation, arXiv:2306.15595)
--     llama3    long waves divided, short ones kept, a ramp between (Llama 3.1's model card)
--     yarn      the same idea with a ramp over channels, and a factor on cos and sin
--               (arXiv:2309.00071)
--     longrope  each divided by its own `short_factor`, and a factor on cos and sin
--               (arXiv:2402.13753)
--     dynamic   plain
-- In the last two, frequencies of a sequence longer than the model was pretrained for would depend
-- on its length, and keys in a cache would go stale as it grows. So they hold up to that length
-- alone, `longest`, and longer sequences are refused.

local keys = require("perilune.model.config_keys")

local rope = {}

local MOST <const> = 65536 -- channels of a head: a list is made of them before any file is compared

--- Rules of the keys of a config that are about rotary positions, by common names.
rope.keys = {
  rope_theta = keys.number(1, 1e15),
  rope_scaling = keys.table,
  rope_parameters = keys.table,
  partial_rotary_factor = keys.number(0, 1),
}

local factor, positions = keys.number(1e-6, 1e6), keys.integer(1, 1 << 40)
local factors = keys.list(factor)

-- The keys of each kind, besides those that all have.
local kinds = {
  default = {},
  linear = { factor = factor },
  dynamic = { factor = factor, original_max_position_embeddings = positions },
  llama3 = {
    factor = factor,
    low_freq_factor = factor,
    high_freq_factor = factor,
    original_max_position_embeddings = positions,
  },
  yarn = {
    factor = factor,
    attention_factor = factor,
    beta_fast = factor,
    beta_slow = factor,
    mscale = factor,
    mscale_all_dim = factor,
    truncate = keys.boolean,
    original_max_position_embeddings = positions,
  },
  longrope = {
    factor = factor,
    attention_factor = factor,
    short_factor = factors,
    long_factor = factors,
    original_max_position_embeddings = positions,
  },
}

local required = {
  default = {},
  linear = { "factor" },
  dynamic = { "factor" },
  llama3 = { "factor", "low_freq_factor", "high_freq_factor" },
  yarn = { "factor" },
  longrope = { "short_factor", "long_factor" },
}

-- Phi-3's older configs: other names of one kind.
local old_names = { su = "longrope" }

local function kind_of(given)
  local kind = given.rope_type or given.type or "default"
  return old_names[kind] or kind
end

-- Why one object of rotary settings cannot be taken.
local function check(given, name)
  local kind, known = kind_of(given), {}
  for each in pairs(kinds) do
    known[#known + 1] = each
  end
  table.sort(known)
  if not kinds[kind] then
    return ("config.json: '%s' has the rope_type '%s'; implemented are %s"):format(
      name,
      tostring(kind),
      table.concat(known, ", ")
    )
  end
  local rules = {
    rope_type = keys.text,
    type = keys.text,
    rope_theta = rope.keys.rope_theta,
    partial_rotary_factor = rope.keys.partial_rotary_factor,
  }
  for key, rule in pairs(kinds[kind]) do
    rules[key] = rule
  end
  local message = keys.check(given, rules, name)
  if message then return message end
  for _, key in ipairs(required[kind]) do
    if given[key] == nil then
      return ("config.json: '%s' is '%s' without '%s'"):format(name, kind, key)
    end
  end
end

-- The objects of a config that tell of one kind of layer, by their names.
local function objects(c, layer_type)
  local list = {}
  if c.rope_scaling and layer_type ~= "sliding_attention" then
    list[#list + 1] = { "rope_scaling", c.rope_scaling }
  end
  local given = c.rope_parameters
  if given then
    local nested = given.full_attention or given.sliding_attention
    local inner = given[layer_type or "full_attention"]
    if not nested then
      list[#list + 1] = { "rope_parameters", given }
    elseif inner ~= nil then
      list[#list + 1] = { "rope_parameters." .. (layer_type or "full_attention"), inner }
    end
  end
  return list
end

local function meant(name, key, a, where, b)
  return ("config.json: '%s.%s' is %s and '%s' is %s: which is meant?"):format(
    name,
    key,
    tostring(a),
    where,
    tostring(b)
  )
end

--- The settings, which may stand in two places: both are read, and the same.
-- @treturn ?table settings
-- @treturn ?string message
local function settings(c, theta_key, layer_type)
  local result, from = {}, nil
  local theta = c.given[theta_key]
  for _, object in ipairs(objects(c, layer_type)) do
    local name, given = object[1], object[2]
    if type(given) ~= "table" then
      return nil, ("config.json: '%s' is %s; it must be an object"):format(name, tostring(given))
    end
    local message = check(given, name)
    if message then return nil, message end
    local kind = kind_of(given)
    if from and kind ~= result.kind then
      return nil, meant(name, "rope_type", kind, from .. ".rope_type", result.kind)
    end
    result.kind = kind
    for key, value in pairs(given) do
      local before = result[key]
      local names_kind = key == "rope_type" or key == "type"
      if before ~= nil and before ~= value and not names_kind and type(value) ~= "table" then
        return nil, meant(name, key, value, from .. "." .. key, before)
      end
      result[key] = value
    end
    if given.rope_theta and theta and theta ~= given.rope_theta then
      return nil, meant(name, "rope_theta", given.rope_theta, c.name_of(theta_key), theta)
    end
    from = name
  end
  result.kind = result.kind or "default"
  result.rope_theta = result.rope_theta or c[theta_key] or 10000
  result.partial_rotary_factor = result.partial_rotary_factor or c.partial_rotary_factor or 1
  return result
end

-- ---- frequencies --------------------------------------------------------------------------------

local function plain(theta, dim)
  local list = {}
  for i = 0, dim // 2 - 1 do
    list[i + 1] = theta ^ (-2 * i / dim)
  end
  return list
end

local scaled = {}

function scaled.linear(s, dim)
  local list = plain(s.rope_theta, dim)
  for i, frequency in ipairs(list) do
    list[i] = frequency / s.factor
  end
  return list, 1
end

function scaled.llama3(s, dim)
  local list = plain(s.rope_theta, dim)
  local low, high = s.low_freq_factor, s.high_freq_factor
  for i, frequency in ipairs(list) do
    local waves = s.original_max_position_embeddings * frequency / (2 * math.pi) -- in the context
    local kept = math.max(0, math.min(1, (waves - low) / (high - low)))
    list[i] = (1 - kept) * frequency / s.factor + kept * frequency
  end
  return list, 1
end

-- The channel pair that turns `rotations` times within the original context.
local function pair_of(rotations, s, dim)
  return dim
    * math.log(s.original_max_position_embeddings / (rotations * 2 * math.pi))
    / (2 * math.log(s.rope_theta))
end

local function yarn_scale(s)
  local function mscale(weight)
    local grown = 0.1 * weight * math.log(s.factor) + 1
    return s.factor <= 1 and 1 or grown
  end
  if s.attention_factor then return s.attention_factor end
  if s.mscale and s.mscale_all_dim then return mscale(s.mscale) / mscale(s.mscale_all_dim) end
  return mscale(1)
end

function scaled.yarn(s, dim)
  local list = plain(s.rope_theta, dim)
  local low, high = pair_of(s.beta_fast or 32, s, dim), pair_of(s.beta_slow or 1, s, dim)
  if s.truncate ~= false then
    low, high = math.floor(low), math.ceil(high)
  end
  low, high = math.max(low, 0), math.min(high, dim - 1)
  if low == high then high = high + 0.001 end
  for i, frequency in ipairs(list) do
    local divided = math.max(0, math.min(1, (i - 1 - low) / (high - low)))
    list[i] = divided * frequency / s.factor + (1 - divided) * frequency
  end
  return list, yarn_scale(s)
end

function scaled.longrope(s, dim, context)
  local list, original = plain(s.rope_theta, dim), s.original_max_position_embeddings
  for _, key in ipairs { "short_factor", "long_factor" } do
    if #s[key] ~= #list then
      return nil,
        ("config.json: '%s' has %d numbers, one for each of %d rotary pairs wanted"):format(
          key,
          #s[key],
          #list
        )
    end
  end
  for i, frequency in ipairs(list) do
    list[i] = frequency / s.short_factor[i]
  end
  local ratio = s.factor or context / original
  return list,
    s.attention_factor or ratio <= 1 and 1 or math.sqrt(1 + math.log(ratio) / math.log(original)),
    original
end

function scaled.dynamic(s, dim, context) return plain(s.rope_theta, dim), 1, context end

local function is_finite(list, scale)
  local least, most = scale, scale
  for _, frequency in ipairs(list) do
    if frequency ~= frequency then return false end
    least, most = math.min(least, frequency), math.max(most, frequency)
  end
  return least > 0 and most < math.huge
end

--- The options of core.rope.
-- @tparam table c a config read by common names; `c.given` without what absent keys mean
-- @tparam integer head_dim
-- @tparam ?string layer_type "sliding_attention" for layers with a window, where they differ
-- @tparam ?string theta_key that holds theta outside rope_parameters ("rope_theta")
-- @treturn ?table with `frequencies` (a list) where they are not the plain ones, and `longest`, the
--   length of sequence that it holds for, where there is one
-- @treturn ?string message
function rope.read(c, head_dim, layer_type, theta_key)
  local s, message = settings(c, theta_key or "rope_theta", layer_type)
  if not s then return nil, message end
  if s.partial_rotary_factor ~= 1 and not c.turns_shares then
    return nil,
      ("config.json: 'partial_rotary_factor' is %g; this family turns whole heads"):format(
        s.partial_rotary_factor
      )
  end
  local dim = math.floor(head_dim * s.partial_rotary_factor)
  if dim > MOST then
    return nil, ("config.json: heads of %d rotary channels; %d are the most"):format(dim, MOST)
  elseif dim % 2 ~= 0 or dim < 1 then
    return nil,
      (
        "config.json: %d channels of a head are turned (%s%s); "
        .. "rotary positions want an even number"
      ):format(
        dim,
        c.given.head_dim and "'head_dim'"
          or ("'%s' / '%s'"):format(c.name_of("hidden_size"), c.name_of("num_attention_heads")),
        s.partial_rotary_factor ~= 1 and (" times %g"):format(s.partial_rotary_factor) or ""
      )
  end
  local options = {
    head_dim = head_dim,
    theta = s.rope_theta,
    interleaved = c.rope_interleaved or false,
  }
  if dim ~= head_dim then options.rotary_dim = dim end
  local result = { options = options, settings = s, shares = c.turns_shares }
  if s.kind == "default" then return result end
  local context = c.max_position_embeddings
  if not context then
    return nil, "config.json: 'max_position_embeddings' is missing; its rotary positions want it"
  end
  if s.kind ~= "linear" and s.kind ~= "dynamic" then
    s.original_max_position_embeddings = c.original_max_position_embeddings
      or s.original_max_position_embeddings
      or context
  end
  local list, scale, longest = scaled[s.kind](s, dim, context)
  if not list then return nil, scale end
  if not is_finite(list, scale) then
    local text = "config.json: the rotary settings of '%s' give no finite frequencies"
    return nil, text:format(s.kind)
  end
  result.frequencies, result.longest = list, longest
  if scale ~= 1 then options.scale = scale end
  return result
end

--- Says in a config to be written, in the words of transformers 4 and 5, what one has read.
-- @tparam table config
-- @tparam table read of rope.read
-- @tparam function name_of the config's name of a common key
function rope.complete(config, read, name_of)
  local s = read.settings
  config[name_of("rope_theta")] = s.rope_theta
  if read.shares then config[name_of("partial_rotary_factor")] = s.partial_rotary_factor end
  config.rope_parameters = rope.parameters(read)
  if s.kind ~= "default" and not config.rope_scaling then
    config.rope_scaling = { type = s.kind, rope_type = s.kind ~= "longrope" and s.kind or nil }
    for key in pairs(kinds[s.kind]) do
      config.rope_scaling[key] = s[key]
    end
    if s.kind == "longrope" then -- transformers 4 wants no other keys
      config.rope_scaling.original_max_position_embeddings = nil
      config.original_max_position_embeddings = s.original_max_position_embeddings
    end
  end
end

--- What stands in rope_parameters.
-- @tparam table read of rope.read
-- @treturn table
function rope.parameters(read)
  local inner = { rope_type = read.settings.kind }
  for key, value in pairs(read.settings) do
    if key ~= "kind" and key ~= "type" then inner[key] = value end
  end
  if not read.shares then inner.partial_rotary_factor = nil end
  return inner
end

return rope
