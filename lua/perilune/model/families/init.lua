--- Families of models: which config keys and tensor names they have, and what differs from Llama.
--
-- A family is a table, in a file named as its model_type:
--     class            of transformers, without ForCausalLM and ForSequenceClassification; `causal`
--                      and `classifier` where these names are made otherwise
--     aliases          its names of the common keys (hidden_size = "n_embd"); false: it has none
--     keys, harmless   rules of its other keys; names of keys that change nothing here
--     defaults         what a key that is absent means, by common name
--     optional         sizes that may be absent
--     rotary           false: positions are not turned
--     windows(c, i)    whether layer i, from 1, sees a window alone, where layer_types does not say
--     names            of tensors, where they differ from decoder.names; false: there is none. A
--                      table, or a function of c
--     spec(c, spec)    puts into the spec what else the decoder is told; a message if it cannot be
--     prefix           of names, which files of a model without head leave out
--     buffers          patterns of tensors in files that are no parameters
--     renamed          other names that files have for tensors
--     transposed       parts that files keep as [in, out]
--     export(config, spec, tensors)   the layout that other programs know, where ours differs
--     complete(config, spec)          puts more into a config that is written
--     gguf             what its GGUF files are called; see perilune.model.gguf
-- c is the config read by common names, with the defaults; c.given is without them.
-- Everything else follows from it: checks, parameters, reading and writing.

local decoder = require("perilune.model.decoder")
local keys = require("perilune.model.config_keys")
local keys_of = require("perilune.base.list").keys
local rope = require("perilune.model.rope")

local families = {}

local known = {
  "llama",
  "cohere",
  "gemma",
  "gemma2",
  "gemma3_text",
  "gpt2",
  "gpt_neox",
  "granite",
  "mistral",
  "olmo",
  "olmo2",
  "opt",
  "phi3",
  "qwen2",
  "qwen3",
  "smollm3",
  "stablelm",
  "starcoder2",
}

local activations = {
  silu = "silu",
  swish = "silu",
  relu = "relu",
  gelu = "gelu",
  gelu_new = "gelu_tanh",
  gelu_fast = "gelu_tanh",
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

--- A config read by common names, with what the family means by absent ones; `given` is without
-- that, `name_of` gives the config's name of a key, `turns_shares` tells whether heads may be
-- turned in part.
local function reader(family, config)
  local function named(key)
    local name = name_of(family, key)
    if name then return config[name] end
  end
  local given = setmetatable({}, { __index = function(_, key) return named(key) end })
  local c = {
    given = given,
    name_of = function(key) return name_of(family, key) end,
    turns_shares = family.defaults.partial_rotary_factor ~= nil,
  }
  return setmetatable(c, {
    __index = function(_, key)
      local value = named(key)
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

-- Model types that are known and not implemented, by what stands in the way.
local refused = {
  {
    "some of its layers keep a state in place of attention",
    "bamba falcon_h1 falcon_mamba granitemoehybrid jamba kimi_linear lfm2 lfm2_moe mamba mamba2 "
      .. "minimax nemotron_h olmo_hybrid qwen3_5 qwen3_5_text qwen3_5_moe qwen3_next "
      .. "recurrent_gemma rwkv xlstm zamba zamba2",
  },
  {
    "its layers choose among experts",
    "dbrx deepseek_v2 deepseek_v3 ernie4_5_moe flex_olmo glm4_moe gpt_oss granitemoe jetmoe llama4 "
      .. "llama4_text mixtral olmoe phimoe qwen2_moe qwen3_moe",
  },
  {
    "it reads images or sound as well as text",
    "gemma3 gemma3n gemma4 idefics3 llava llava_next mistral3 mllama paligemma phi4_multimodal "
      .. "qwen2_5_vl qwen2_audio qwen2_vl qwen3_vl smolvlm",
  },
  {
    "it is no decoder of text",
    "albert bart bert deberta deberta-v2 distilbert electra mbart modernbert mt5 roberta t5 umt5 "
      .. "whisper xlm-roberta",
  },
}

local function refusal(model_type)
  for _, group in ipairs(refused) do
    for name in group[2]:gmatch("%S+") do
      if name == model_type then return group[1] end
    end
  end
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
  local reason = refusal(model_type)
  if reason then
    return nil,
      ("config.json: '%s' (%s) is not implemented: %s"):format(
        model_type,
        architecture or "no architecture is named",
        reason
      )
  end
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
  local acts = keys_of(activations)
  rules[name_of(family, "hidden_act")] = keys.only(table.unpack(family.activations or acts))
  if family.rotary ~= false then
    for key, rule in pairs(rope.keys) do
      if name_of(family, key) then rules[name_of(family, key)] = rule end
    end
  end
  if family.windows then
    rules.sliding_window = keys.integer(1, 1 << 40)
    rules.layer_types = keys.list(keys.text)
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
    "max_position_embeddings",
  } do
    local free = family.optional and family.optional[key]
    if not free and (key ~= "max_position_embeddings" or family.rotary == false) then
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

--- How many last keys each layer sees, 0 all; nil where all layers see all.
local function read_windows(family, c)
  local kinds, layers, sliding = c.layer_types, c.num_hidden_layers, {}
  if kinds and #kinds ~= layers then
    return nil,
      ("config.json: 'layer_types' names %d layers, '%s' is %d"):format(
        #kinds,
        name_of(family, "num_hidden_layers"),
        layers
      )
  end
  for i = 1, layers do
    local kind = kinds and kinds[i] or family.windows(c, i) and "sliding_attention"
    if kind == "sliding_attention" and not c.sliding_window then
      return nil, "config.json: some layers see a window, but 'sliding_window' is missing"
    elseif kind and kind ~= "sliding_attention" and kind ~= "full_attention" then
      local text = "config.json: layer_types[%d] is '%s'; full_attention and sliding_attention "
        .. "are implemented"
      return nil, text:format(i, kind)
    end
    sliding[i] = kind == "sliding_attention" and c.sliding_window or 0
  end
  return sliding
end

-- The parts of a spec that keys of the same meaning in many families decide.
local function usual_spec(family, c)
  local heads, message = head_sizes(family, c)
  if not heads then return nil, message end
  local spec = {
    family = family,
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
    norm = { kind = "rms", eps = c.norm_eps },
    activation = activations[c.hidden_act],
    qkv_bias = c.attention_bias,
    o_bias = c.attention_bias,
    mlp_bias = c.mlp_bias,
  }
  if family.rotary ~= false then
    spec.rope, message = rope.read(c, heads.dim)
    if not spec.rope then return nil, message end
    spec.longest = spec.rope.longest
  end
  if family.windows then
    spec.windows, message = read_windows(family, c)
    if not spec.windows then return nil, message end
  end
  return spec
end

--- What the decoder is to build, from a config.
-- @tparam table config as in config.json
-- @treturn ?table spec, with its `family`
-- @treturn ?string message
function families.spec(config)
  local family, message = find(config)
  message = message or check(family, config)
  if message then return nil, message end
  local c, names = reader(family, config), family.names
  local spec, fault = usual_spec(family, c)
  if not spec then return nil, fault end
  if type(names) == "function" then names = names(c) end
  spec.names = merged(decoder.names, names or {})
  fault = family.spec and family.spec(c, spec)
  if fault then return nil, fault end
  spec.out_width = spec.embedding_width or spec.width
  if spec.longest then spec.context = math.min(spec.context, spec.longest) end
  return spec
end

-- Keys that list something for every layer.
local by_layer = { "layer_types", "no_rope_layers" }

--- Cuts a config back to the first layers: for `perilune plan`.
-- @tparam table config changed in place
-- @tparam table spec of the config
-- @tparam integer layers how many are kept, at most
function families.shorten(config, spec, layers)
  config[name_of(spec.family, "num_hidden_layers")] = math.min(spec.layers, layers)
  for _, key in ipairs(by_layer) do
    if config[key] then config[key] = table.move(config[key], 1, layers, 1, {}) end
  end
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
    { spec.embedding_width and "word_embed_proj_dim" or "hidden_size", names.embedding, 2 },
    { "max_position_embeddings", names.positions, 1, spec.position_offset },
    { "intermediate_size", names.up and names.layer:format(0) .. names.up, 1 },
  } do
    local tensor = size[2] and tensors[size[2] .. ".weight"]
    local held, name = tensor and tensor:shape()[size[3]] - (size[4] or 0), name_of(family, size[1])
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
  if spec.rope then rope.complete(config, spec.rope, c.name_of) end
  if family.complete then family.complete(config, spec) end
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
      local full = family.renamed and family.renamed[name] or name
      if bare and full ~= "score.weight" and full ~= spec.names.head .. ".weight" then
        full = prefix .. full
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
