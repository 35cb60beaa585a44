--- Families of models: which config keys and tensor names they have, and what differs from Llama.
--
-- A family is a table, in a file named as its model_type:
--     class            of transformers, without ForCausalLM and ForSequenceClassification; `causal`
--                      when that name is made otherwise
--     aliases          its names of the common keys (hidden_size = "n_embd"); false: it has none
--     keys, harmless   rules of its other keys; names of keys that change nothing here
--     defaults         what a key that is absent means, by common name
--     optional         sizes that may be absent
--     rotary           false: positions are not turned
--     names            of tensors, where they differ from decoder.names; false: there is none
--     spec             what else the decoder is told: a table, or a function of the config (read
--                      by common names) that gives one, or nil and a message
--     prefix           of names, which files of a model without head leave out
--     buffers          patterns of tensors in files that are no parameters
--     transposed       parts that files keep as [in, out]
--     export(config, spec, tensors)   the layout that other programs know, where ours differs
--     complete(config)                puts more of a written config.json
--     gguf             what its GGUF files are called; see perilune.model.gguf
-- Everything else follows from it: checks, parameters, reading and writing.

local decoder = require("perilune.model.decoder")
local keys = require("perilune.model.config_keys")
local rope = require("perilune.model.rope")

local families = {}

local known = { "llama", "gpt2" }

local activations = {
  silu = "silu",
  swish = "silu",
  gelu = "gelu",
  gelu_new = "gelu_tanh",
  gelu_pytorch_tanh = "gelu_tanh",
}

local common = {
  hidden_size = keys.integer(1),
  intermediate_size = keys.integer(1),
  num_hidden_layers = keys.integer(1, 10000),
  num_attention_heads = keys.integer(1),
  num_key_value_heads = keys.integer(1),
  head_dim = keys.integer(1),
  max_position_embeddings = keys.integer(1, 1 << 40),
  norm_eps = keys.number(1e-30, 1),
}

-- What the common keys are called where a family does not say.
local usual = { norm_eps = "rms_norm_eps" }

local function name_of(family, key)
  local name = family.aliases and family.aliases[key]
  if name == nil then name = usual[key] or key end
  return name
end

--- What a family calls a key of the config.
-- @tparam table family
-- @tparam string key the common name
-- @treturn any the name; false: it has none
function families.key(family, key) return name_of(family, key) end

--- A config read by common names, with what the family means by absent ones.
local function reader(family, config)
  return setmetatable({}, {
    __index = function(_, key)
      local name = name_of(family, key)
      local value = name and config[name]
      if value == nil then value = family.defaults[key] end
      return value
    end,
  })
end

-- ---- finding a family ---------------------------------------------------------------------------

local function load_family(model_type)
  local family = require("perilune.model.families." .. model_type)
  family.model_type = model_type
  family.causal = family.causal or family.class .. "ForCausalLM"
  family.classifier = family.classifier or family.class .. "ForSequenceClassification"
  return family
end

local function of_type(model_type)
  for _, name in ipairs(known) do
    if name == model_type then return load_family(name) end
  end
end

local function of_architecture(architecture)
  for _, name in ipairs(known) do
    local family = load_family(name)
    if architecture == family.causal or architecture == family.classifier then return family end
  end
end

--- The family whose GGUF files have this general.architecture.
-- @tparam string arch
-- @treturn ?table
-- @treturn ?string message
function families.of_gguf(arch)
  local names = {}
  for _, name in ipairs(known) do
    local family = load_family(name)
    local own = family.gguf and (family.gguf.arch or name)
    if own == arch then return family end
    names[#names + 1] = own
  end
  local text = "general.architecture is '%s'; known: %s"
  return nil, text:format(arch, table.concat(names, ", "))
end

local function find(config)
  local list = config.architectures
  local architecture = type(list) == "table" and list[1] or list
  local family, model_type = of_architecture(architecture), config.model_type
  if family and model_type ~= nil and of_type(model_type) ~= family then
    local text = "config.json: architectures says '%s', but model_type '%s': they do not fit"
    return nil, text:format(architecture, tostring(model_type))
  end
  family = family or of_type(model_type)
  if family then return family end
  local names = {}
  for i, name in ipairs(known) do
    names[i] = load_family(name).causal
  end
  return nil,
    ("config.json: unknown architecture '%s' (model_type '%s'); known: %s and their "):format(
      architecture,
      model_type,
      table.concat(names, ", ")
    ) .. "ForSequenceClassification"
end

-- ---- config to spec -----------------------------------------------------------------------------

--- The rules of all keys that a config of this family may have.
local function rules_of(family)
  local rules = {}
  for key, rule in pairs(common) do
    local name = name_of(family, key)
    if name then rules[name] = rule end
  end
  local acts = {}
  for name in pairs(activations) do
    acts[#acts + 1] = name
  end
  table.sort(acts)
  rules[name_of(family, "hidden_act")] = keys.only(table.unpack(family.activations or acts))
  if family.rotary ~= false then
    for name, rule in pairs(rope.keys) do
      rules[name] = rule
    end
  end
  for name in (family.harmless or ""):gmatch("%S+") do
    rules[name] = keys.harmless
  end
  for name, rule in pairs(family.keys or {}) do
    rules[name] = rule
  end
  return rules
end

local function check(family, config)
  local wanted = {}
  for _, key in ipairs {
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    family.names and family.names.positions and "max_position_embeddings" or nil,
  } do
    if not (family.optional and family.optional[key]) then
      wanted[#wanted + 1] = name_of(family, key)
    end
  end
  wanted[#wanted + 1] = "vocab_size"
  return keys.check(config, rules_of(family)) or keys.missing(config, wanted)
end

-- The sizes of heads and why they make no attention.
local function head_sizes(family, c)
  local heads, width = c.num_attention_heads, c.hidden_size
  local kv = c.num_key_value_heads or heads
  if heads % kv ~= 0 then
    local text = "config.json: '%s' is %d; it must divide '%s', %d"
    return nil,
      text:format(
        name_of(family, "num_key_value_heads"),
        kv,
        name_of(family, "num_attention_heads"),
        heads
      )
  elseif not c.head_dim and width % heads ~= 0 then
    local hint = name_of(family, "head_dim") and "without 'head_dim' it" or "it"
    return nil,
      ("config.json: '%s' is %d; %s must divide '%s', %d"):format(
        name_of(family, "num_attention_heads"),
        heads,
        hint,
        name_of(family, "hidden_size"),
        width
      )
  end
  return { heads = heads, kv = kv, dim = c.head_dim or width // heads }
end

local function merged(...)
  local result = {}
  for _, part in ipairs { ... } do
    for key, value in pairs(part) do
      result[key] = value
    end
  end
  return result
end

--- What the decoder is to build, from a config that is checked key by key.
-- @tparam table config as in config.json
-- @treturn ?table spec, with its `family`
-- @treturn ?string message
function families.spec(config)
  local family, message = find(config)
  message = message or check(family, config)
  if message then return nil, message end
  local c = reader(family, config)
  local heads, turned, own
  heads, message = head_sizes(family, c)
  if not heads then return nil, message end
  if family.rotary ~= false then
    turned, message = rope.read(c, heads.dim)
    if not turned then return nil, message end
  end
  own = family.spec or {}
  if type(own) == "function" then
    own, message = own(c)
    if not own then return nil, message end
  end
  local spec = merged({
    width = c.hidden_size,
    mlp_width = c.intermediate_size or 4 * c.hidden_size,
    vocab = c.vocab_size,
    context = c.max_position_embeddings,
    layers = c.num_hidden_layers,
    heads = heads.heads,
    kv_heads = heads.kv,
    head_dim = heads.dim,
    init_std = c.initializer_range or 0.02,
    tied = c.tie_word_embeddings or false,
    activation = activations[c.hidden_act],
    rope = turned,
  }, own)
  spec.norm = merged({ kind = "rms", eps = c.norm_eps }, own.norm or {})
  spec.names = merged(decoder.names, family.names or {})
  spec.family = family
  return spec
end

--- Why a config asks for more, or something else, than a file holds: by key, before anything of the
-- size it names is made. nil when the sizes agree.
-- @tparam table config
-- @tparam table spec
-- @tparam {[string]=Tensor} tensors
-- @treturn ?string message
function families.oversized(config, spec, tensors)
  local family, names = spec.family, spec.names
  local pattern = "^" .. names.layer:gsub("%.", "%%."):gsub("%%d", "(%%d+)")
  local layers, key = 0, name_of(family, "num_hidden_layers")
  for name in pairs(tensors) do
    layers = math.max(layers, (tonumber(name:match(pattern)) or -1) + 1)
  end
  if spec.layers > layers then
    return ("config.json: '%s' is %d, but the file holds %d layers"):format(
      key,
      spec.layers,
      layers
    )
  end
  for _, size in ipairs {
    { "vocab_size", names.embedding, 1 },
    { "hidden_size", names.embedding, 2 },
    { "max_position_embeddings", names.positions, 1 },
    { "intermediate_size", names.up and names.layer:format(0) .. names.up, 1 },
  } do
    local tensor = size[2] and tensors[size[2] .. ".weight"]
    local held, name = tensor and tensor:shape()[size[3]], name_of(family, size[1])
    if held and config[name] and config[name] ~= held then
      local text =
        "config.json: '%s' is %d, but '%s.weight' of the file has the shape [%s]: it can only be %d"
      return text:format(name, config[name], size[2], table.concat(tensor:shape(), ","), held)
    end
  end
end

-- ---- files --------------------------------------------------------------------------------------

--- Says in full, in a config to be written, what readers with other defaults would take otherwise.
-- @tparam table config
-- @tparam table spec
function families.complete(config, spec)
  local family = spec.family
  local c = reader(family, config)
  config.model_type = family.model_type
  for key in pairs(merged(common, family.defaults)) do
    local name = name_of(family, key)
    if name then config[name] = c[key] end
  end
  if name_of(family, "num_key_value_heads") then
    config[name_of(family, "num_key_value_heads")] = spec.kv_heads
  end
  if name_of(family, "head_dim") then config[name_of(family, "head_dim")] = spec.head_dim end
  if spec.rope then rope.complete(config) end
  if family.complete then family.complete(config) end
end

local function is_buffer(family, name)
  for _, pattern in ipairs(family.buffers or {}) do
    if name:match(pattern) then return true end
  end
  return name:match("%.rotary_emb%.inv_freq$") ~= nil
end

--- Whether files keep a tensor as [in, out].
local function is_turned(spec, name)
  for _, part in ipairs(spec.family.transposed or {}) do
    local ending = "." .. spec.names[part] .. ".weight"
    if name:sub(-#ending) == ending then return true end
  end
  return false
end

--- The parameters among the tensors of a file, in our layout.
-- @tparam table spec
-- @tparam {[string]=Tensor} tensors
-- @treturn {[string]=Tensor}
function families.from_file(spec, tensors)
  local family, result = spec.family, {}
  local prefix = family.prefix or "model."
  local bare = tensors[spec.names.embedding .. ".weight"] == nil
  for name, tensor in pairs(tensors) do
    if not is_buffer(family, name) then
      local full = name
      if bare and name ~= "score.weight" and not name:find(spec.names.head, 1, true) then
        full = prefix .. name
      end
      result[full] = is_turned(spec, full) and tensor:transpose() or tensor
    end
  end
  if spec.tied then result[spec.names.head .. ".weight"] = nil end
  return result
end

--- The tensors of a file that holds these parameters.
-- @tparam table spec
-- @tparam {[string]=Tensor} weights
-- @treturn {[string]=Tensor}
function families.to_file(spec, weights)
  local result = {}
  for name, tensor in pairs(weights) do
    result[name] = is_turned(spec, name) and tensor:detach():transpose() or tensor
  end
  return result
end

return families
