--- GGUF files as models: llama.cpp's entries and tensor names in the words of a family.
--
-- Entries and names are common to most families; what differs is the `gguf` part of a family's
-- table:
--     arch       its general.architecture, where that is not the model_type
--     names      of tensors, by the decoder's parts, where they differ from those here
--     keys       more entries (without "<arch>."): the config's key, or a function(config, value)
--     pairs      true: query and key rows turn in neighbouring pairs in the file
--     offset     added to norm weights in the file
--     config     function(config, head, info): what else follows; head is the width of a head
-- An entry of the architecture that nobody here knows is an error, as in a config.json.
-- llama.cpp: gguf-py/gguf/constants.py and tensor_mapping.py, convert_hf_to_gguf.py.

local families = require("perilune.model.families")
local rotary_rows = require("perilune.model.rotary_rows")

local gguf = {}

local usual_names = {
  embedding = "token_embd",
  positions = "position_embd",
  layer = "blk.%d.",
  attention_norm = "attn_norm",
  q = "attn_q",
  k = "attn_k",
  v = "attn_v",
  qkv = "attn_qkv",
  o = "attn_output",
  q_norm = "attn_q_norm",
  k_norm = "attn_k_norm",
  attention_post_norm = "post_attention_norm",
  mlp_norm = "ffn_norm",
  mlp_post_norm = "post_ffw_norm",
  gate_up = "ffn_up",
  gate = "ffn_gate",
  up = "ffn_up",
  down = "ffn_down",
  norm = "output_norm",
  head = "output",
}

-- By entry: the common name of the config's key.
local usual_keys = {
  context_length = "max_position_embeddings",
  embedding_length = "hidden_size",
  block_count = "num_hidden_layers",
  feed_forward_length = "intermediate_size",
  ["attention.head_count"] = "num_attention_heads",
  ["attention.head_count_kv"] = "num_key_value_heads",
  ["attention.key_length"] = "head_dim",
  ["attention.layer_norm_rms_epsilon"] = "norm_eps",
  ["attention.layer_norm_epsilon"] = "norm_eps",
  ["attention.sliding_window"] = "sliding_window",
  ["rope.freq_base"] = "rope_theta",
}

-- Entries that are held against others (`contradiction`) or read together (`set_rope`).
local derived = {
  vocab_size = true,
  ["attention.value_length"] = true,
  ["rope.dimension_count"] = true,
  ["rope.scaling.type"] = true,
  ["rope.scaling.factor"] = true,
  ["rope.scaling.original_context_length"] = true,
  ["rope.scaling.finetuned"] = true,
  ["rope.scaling.attn_factor"] = true,
}

-- Tensors that are no parameters: `set_rope` reads them.
local FREQS <const> = "rope_freqs.weight"
local SHORT <const>, LONG <const> = "rope_factors_short.weight", "rope_factors_long.weight"
local rotary_factors = { [FREQS] = true, [SHORT] = true, [LONG] = true }

local function name_of(spec, part)
  local own = spec.family.gguf.names and spec.family.gguf.names[part]
  if own == nil then own = usual_names[part] end
  return own
end

-- A number that was float32, in the fewest digits that give it back.
local function shortest(value)
  for digits = 1, 9 do
    local text = ("%%.%dg"):format(digits):format(value)
    if string.unpack("<f", string.pack("<f", tonumber(text))) == value then
      return tonumber(text) + 0.0
    end
  end
  return value
end

-- ---- config -------------------------------------------------------------------------------------

local function contradiction(file, arch, head, vocabulary)
  local function own(key) return file:get(arch .. "." .. key) end
  local text = "%s.%s is %s, and it can only be %s"
  for key, wanted in pairs {
    vocab_size = vocabulary,
    ["attention.value_length"] = head,
  } do
    local value = own(key)
    if value ~= nil and value ~= wanted then return text:format(arch, key, value, wanted) end
  end
end

local function set_key(family, config, key, value)
  local rule = family.gguf.keys and family.gguf.keys[key]
  if math.type(value) == "float" then value = shortest(value) end
  if type(rule) == "function" then
    rule(config, value)
  elseif rule ~= nil then
    if rule then config[rule] = value end
  elseif usual_keys[key] then
    local name = families.key(family, usual_keys[key])
    if type(value) == "table" then return false end
    if name then config[name] = value end
    return name ~= false or key == "attention.key_length"
  else
    return derived[key] ~= nil
  end
  return true
end

-- What each rotary frequency is divided by.
local function factors_of(file, name, pairs_turned)
  local tensor, message = file:load(name)
  if not tensor then return nil, message end
  local list = tensor:totable()
  if #tensor:shape() ~= 1 or #list ~= pairs_turned then
    return nil,
      ("tensor '%s' has the shape [%s], one number for each of %d rotary pairs wanted"):format(
        name,
        table.concat(tensor:shape(), ","),
        pairs_turned
      )
  end
  for i, value in ipairs(list) do
    list[i] = shortest(value)
  end
  return list
end

-- Frequencies divided by factors of their own are transformers' longrope, whatever the factors come
-- from: those of Llama 3.1 hold for every length, Phi 3 has others for longer sequences.
local function set_factors(file, own, turned, config, info)
  local short, message = factors_of(file, info[FREQS] and FREQS or SHORT, turned // 2)
  if not short then return message end
  local long = short
  if info[LONG] then
    long, message = factors_of(file, LONG, turned // 2)
    if not long then return message end
  end
  config.rope_scaling = {
    rope_type = "longrope",
    short_factor = short,
    long_factor = long,
    attention_factor = shortest(own("scaling.attn_factor") or 1.0),
    original_max_position_embeddings = info[LONG] and own("scaling.original_context_length")
      or config.max_position_embeddings,
  }
end

-- Rotary positions that are scaled, as transformers writes them.
local function set_rope(file, arch, head, config, info)
  local function own(key) return file:get(arch .. ".rope." .. key) end
  local turned = own("dimension_count") or head
  if turned ~= head then config.partial_rotary_factor = turned / head end
  local kind, factor = own("scaling.type"), own("scaling.factor")
  local is_plain = kind == nil or kind == "none" or kind == "longrope"
  local divided = info[FREQS] or info[SHORT] and info[LONG]
  if is_plain and divided then return set_factors(file, own, turned, config, info) end
  for name in pairs(rotary_factors) do
    if info[name] then
      return ("the tensor '%s' does not go with the other rotary settings: not implemented"):format(
        name
      )
    end
  end
  if own("scaling.attn_factor") then
    local text = "the entry '%s.rope.scaling.attn_factor' is %s: what it changes is not implemented"
    return text:format(arch, own("scaling.attn_factor"))
  elseif kind == "none" or kind == nil then
    return nil
  elseif kind == "linear" and factor then
    config.rope_scaling = { rope_type = "linear", factor = shortest(factor) }
  elseif kind == "yarn" and factor then
    config.rope_scaling = {
      rope_type = "yarn",
      factor = shortest(factor),
      original_max_position_embeddings = own("scaling.original_context_length"),
    }
  else
    return ("%s.rope.scaling.type is '%s': not implemented"):format(arch, tostring(kind))
  end
end

local function token_ids(file, config)
  local function id(name) return file:get("tokenizer.ggml." .. name .. "_token_id") end
  config.bos_token_id, config.pad_token_id = id("bos"), id("padding")
  local ends, seen = {}, {}
  for _, name in ipairs { "eos", "eot", "eom" } do
    local one = id(name)
    if one and not seen[one] then
      seen[one] = true
      ends[#ends + 1] = one
    end
  end
  config.eos_token_id = #ends > 1 and ends or ends[1]
end

--- The config.json of a file, as transformers would have it.
-- @tparam userdata file
-- @treturn ?table config
-- @treturn ?string message
function gguf.config(file)
  local arch, parts = file:get("general.architecture"), file:get("split.count")
  if type(arch) ~= "string" then return nil, "the entry general.architecture is missing" end
  if parts and parts > 1 then
    return nil,
      ("one of %d parts of a model: put them together (llama-gguf-split --merge)"):format(parts)
  end
  local family, message = families.of_gguf(arch)
  if not family then return nil, message end
  local config = {}
  for _, full in ipairs(file:keys()) do
    local key = full:sub(1, #arch + 1) == arch .. "." and full:sub(#arch + 2)
    if key and not set_key(family, config, key, file:get(full)) then
      local text = "the entry '%s' is %s: what it changes is not implemented"
      local value = file:get(full)
      return nil, text:format(full, type(value) == "table" and "a list" or tostring(value))
    end
  end
  local _, info = file:names()
  local table_shape = info[usual_names.embedding .. ".weight"]
  if not table_shape then return nil, "the tensor 'token_embd.weight' is missing: no model" end
  config.model_type = family.model_type
  config.architectures = { family.causal }
  config.vocab_size = table_shape.shape[1]
  config.tie_word_embeddings = info["output.weight"] == nil
  token_ids(file, config)
  local width = config[families.key(family, "hidden_size")]
  local heads = config[families.key(family, "num_attention_heads")]
  if math.type(width) ~= "integer" or math.type(heads) ~= "integer" or heads < 1 then
    local text = "%s.embedding_length or %s.attention.head_count is missing, or no number of them"
    return nil, text:format(arch, arch)
  end
  local head = file:get(arch .. ".attention.key_length") or width // heads
  message = contradiction(file, arch, head, config.vocab_size)
    or family.rotary ~= false and set_rope(file, arch, head, config, info)
  if message then return nil, message end
  if family.gguf.config then family.gguf.config(config, head, info) end
  return config
end

-- ---- tensors ------------------------------------------------------------------------------------

--- From the name in the file to the name of the parameter, and to the part it is.
local function place(spec, parts, name)
  local at, ending, layer = name:match("^(.*)(%.%a+)$")
  local i, inner = name:match("^blk%.(%d+)%.(.*)%.%a+$")
  if i then
    layer, at = spec.names.layer:format(i), inner
  end
  local part = at and parts[at]
  local own = part and spec.names[part]
  if own then return (layer or "") .. own .. ending, part end
end

--- The tensors of a file under the names and in the layout of a model's parameters.
-- @tparam userdata file
-- @tparam table spec of the config
-- @tparam ?boolean keep matrices in the file's own types
-- @tparam ?function is_wanted of a parameter: others are not read
-- @treturn ?{[string]=Tensor}
-- @treturn ?string message
function gguf.tensors(file, spec, keep, is_wanted)
  local parts, result, own = {}, {}, spec.family.gguf
  local names, info = file:names()
  for part, name_here in pairs(spec.names) do
    local name = name_here and name_of(spec, part)
    if name then parts[name] = part end
  end
  for _, name in ipairs(names) do
    local parameter, part = place(spec, parts, name)
    local is_known = rotary_factors[name] or own.ignored and own.ignored[name]
    if not parameter and not is_known then
      return nil, ("tensor '%s' belongs to no parameter of this architecture"):format(name)
    elseif parameter and (not is_wanted or is_wanted(parameter)) then
      local tensor, message = file:load(name, keep and #info[name].shape > 1)
      if not tensor then return nil, message end
      if own.pairs and (part == "q" or part == "k") then
        tensor = rotary_rows.halves(tensor, spec.head_dim)
      elseif own.offset and part:find("norm", 1, true) then
        tensor = tensor - own.offset
      end
      result[parameter] = tensor
    end
  end
  return result
end

--- What the modules of a model are called in files.
-- @tparam table spec
-- @treturn {[string]=table} `name` and `part` by our name, without ".weight" and ".bias"
function gguf.file_names(spec)
  local result = {}
  for part, own in pairs(spec.names) do
    local name = own and name_of(spec, part)
    if name and part ~= "layer" then
      result[own] = { name = name, part = part }
      for i = 0, spec.layers - 1 do
        local full = usual_names.layer:format(i) .. name
        result[spec.names.layer:format(i) .. own] = { name = full, part = part }
      end
    end
  end
  return result
end

-- ---- tokenizer ----------------------------------------------------------------------------------

local function is_integer(value)
  return math.type(value) == "integer" and value >= 0 and value < 1 << 31
end

local function is_list_of(kind)
  return function(list) return type(list) == "table" and (#list == 0 or type(list[1]) == kind) end
end

local function is(kind)
  return function(value) return type(value) == kind end
end

local tokenizer_entries = {
  model = is("string"),
  pre = is("string"),
  tokens = is_list_of("string"),
  scores = is_list_of("number"),
  token_type = is_list_of("number"),
  merges = is_list_of("string"),
  bos_token_id = is_integer,
  eos_token_id = is_integer,
  padding_token_id = is_integer,
  unknown_token_id = is_integer,
  add_bos_token = is("boolean"),
  add_eos_token = is("boolean"),
  add_space_prefix = is("boolean"),
}

--- What a file says of its tokenizer: the entries that tokenizer.from_gguf reads, each of its type.
-- @tparam userdata file
-- @treturn ?table by key
-- @treturn ?string message
function gguf.tokenizer_entries(file)
  local entries = { ["tokenizer.chat_template"] = file:get("tokenizer.chat_template") }
  for name, holds in pairs(tokenizer_entries) do
    local key = "tokenizer.ggml." .. name
    local value = file:get(key)
    if value ~= nil and not holds(value) then
      return nil, ("the entry '%s' is of another type than a tokenizer has"):format(key)
    end
    entries[key] = value
  end
  local tokens = entries["tokenizer.ggml.tokens"]
  for _, name in ipairs { "scores", "token_type" } do
    local list = entries["tokenizer.ggml." .. name]
    if tokens and list and #list ~= #tokens then
      local text = "tokenizer.ggml.%s has %d values for %d tokens"
      return nil, text:format(name, #list, #tokens)
    end
  end
  return entries
end

return gguf
