--- A model as a GGUF file that llama.cpp opens: what perilune.model.gguf reads, the other way.
--
-- Matrices are written as float32, float16, bfloat16 or q8_0 (a row that is no whole number of its
-- blocks: float16), the rest as float32. Rotary scalings are linear, yarn, or for the architecture
-- llama factors of the frequencies (llama3). What llama.cpp has no place for is refused: scalar
-- heads, other scalings, word cuts that it does not know by name.

local core = require("perilune.core")
local families = require("perilune.model.families")
local files = require("perilune.base.files")
local gguf = require("perilune.model.gguf")
local rotary_rows = require("perilune.model.rotary_rows")

local writer = {}

local file_types = { float32 = 0, float16 = 1, q8_0 = 7, bfloat16 = 32 }

-- ---- entries ------------------------------------------------------------------------------------

local function is_same(a, b)
  for i, value in ipairs(a) do
    if value ~= b[i] then return false end
  end
  return #a == #b
end

-- What the plain frequencies are divided by, where that is all of a scaling and llama.cpp reads it.
local function rope_factors(spec)
  local read, own = spec.rope, spec.family
  local s, kind = read.settings, read.settings.kind
  if (own.gguf.arch or own.model_type) ~= "llama" then return nil end
  local holds_always = kind == "longrope"
    and not read.options.scale
    and s.original_max_position_embeddings == spec.context
    and is_same(s.short_factor, s.long_factor)
  if kind ~= "llama3" and not holds_always then return nil end
  local factors, turned = {}, read.options.rotary_dim or spec.head_dim
  for i, frequency in ipairs(read.frequencies) do
    factors[i] = s.rope_theta ^ (-2 * (i - 1) / turned) / frequency
  end
  return factors
end

-- The setting of YaRN that makes other angles than its factor and length alone, with which
-- llama.cpp reads it.
local function odd_yarn_key(s)
  local usual = s.factor > 1 and 0.1 * math.log(s.factor) + 1 or 1
  if s.attention_factor then
    return math.abs(s.attention_factor - usual) > 1e-6 and "attention_factor" or nil
  elseif s.mscale and s.mscale_all_dim and not (s.mscale == 1 and s.mscale_all_dim == 0) then
    return "mscale"
  elseif (s.beta_fast or 32) ~= 32 then
    return "beta_fast"
  elseif (s.beta_slow or 1) ~= 1 then
    return "beta_slow"
  elseif s.truncate == false then
    return "truncate"
  end
end

local function rope_fields(add, spec)
  local settings, kind = spec.rope.settings, spec.rope.settings.kind
  add("rope.freq_base", "f32", settings.rope_theta)
  add("rope.dimension_count", "u32", spec.rope.options.rotary_dim or spec.head_dim)
  if kind == "default" or rope_factors(spec) then return nil end
  if kind ~= "linear" and kind ~= "yarn" then
    return ("rotary positions of the kind '%s' cannot be written"):format(kind)
  end
  local odd = kind == "yarn" and odd_yarn_key(settings)
  if odd then
    local text = "rotary positions of the kind 'yarn' with '%s' %s cannot be written"
    return text:format(odd, tostring(settings[odd]))
  end
  add("rope.scaling.type", "text", kind)
  add("rope.scaling.factor", "f32", settings.factor)
  if settings.original_max_position_embeddings then
    add("rope.scaling.original_context_length", "u32", settings.original_max_position_embeddings)
  end
end

local function model_fields(model, dtype)
  local spec, config, family = model.spec, model.config, model.spec.family
  local arch = family.gguf.arch or family.model_type
  local fields = {
    { "general.architecture", "text", arch },
    { "general.type", "text", "model" },
    { "general.file_type", "u32", file_types[dtype] },
    { "general.quantization_version", "u32", 2 },
  }
  local license = model.texts and model.texts.license
  if license then fields[#fields + 1] = { "general.license", "text", license } end
  local function add(key, kind, value)
    if value ~= nil then fields[#fields + 1] = { arch .. "." .. key, kind, value } end
  end
  add("vocab_size", "u32", spec.vocab)
  add("context_length", "u32", spec.context or 2048)
  add("embedding_length", "u32", spec.width)
  add("block_count", "u32", spec.layers)
  add("feed_forward_length", "u32", spec.mlp_width)
  add("attention.head_count", "u32", spec.heads)
  if families.key(family, "num_key_value_heads") then
    add("attention.head_count_kv", "u32", spec.kv_heads)
  end
  add("attention.key_length", "u32", spec.head_dim)
  add("attention.value_length", "u32", spec.head_dim)
  local norm = spec.norm.kind == "rms" and "layer_norm_rms_epsilon" or "layer_norm_epsilon"
  add("attention." .. norm, "f32", spec.norm.eps)
  for _, window in ipairs(spec.windows or {}) do
    if window > 0 then
      add("attention.sliding_window", "u32", window)
      break
    end
  end
  for key, name in pairs(family.gguf.keys or {}) do
    if type(config[name]) == "number" then add(key, "f32", config[name]) end
  end
  if spec.rope then
    local message = rope_fields(add, spec)
    if message then return nil, message end
  end
  return fields
end

-- ---- tokenizer ----------------------------------------------------------------------------------

local CONTRACTIONS <const> = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
local REST <const> = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

-- By what the steps of a pre_tokenizer are.
local word_cuts = {
  ["ByteLevel"] = "gpt-2",
  ["Digits ByteLevel"] = "smollm",
  ["Split(" .. CONTRACTIONS .. "\\p{N}" .. REST .. ") ByteLevel-"] = "qwen2",
  ["Split(" .. CONTRACTIONS .. "\\p{N}{1,3}" .. REST .. ") ByteLevel-"] = "llama-bpe",
}

local function cuts_of(step)
  if type(step) ~= "table" then return "none" end
  local parts = {}
  for i, one in ipairs(step.pretokenizers or { step }) do
    parts[i] = one.type
    if one.type == "Split" and type(one.pattern) == "table" then
      parts[i] = ("Split(%s)"):format(one.pattern.Regex or one.pattern.String)
    elseif one.type == "ByteLevel" and one.use_regex == false then
      parts[i] = "ByteLevel-"
    end
  end
  return word_cuts[table.concat(parts, " ")]
end

local function token_types(tok, data, size)
  local types = {}
  for id = 0, size - 1 do
    local name = tok:token(id)
    local is_byte = name and tok.kind == "sentencepiece" and name:match("^<0x%x%x>$")
    types[id + 1] = not name and 5 or is_byte and 6 or tok:is_control(id) and 3 or 1
  end
  for _, added in ipairs(data.added_tokens or {}) do
    local at = added.id + 1
    if types[at] == 1 and not added.special then types[at] = 4 end
  end
  if tok.unk_id and tok.kind == "sentencepiece" then types[tok.unk_id + 1] = 2 end
  return types
end

local function merge_text(pair) return type(pair) == "table" and table.concat(pair, " ") or pair end

-- SentencePiece merges what has the highest score first: those of the merges' order.
local function scores_of(merges, ids, size)
  local scores = {}
  for i = 1, size do
    scores[i] = -1e6
  end
  for rank, merge in ipairs(merges) do
    local joined = type(merge) == "table" and table.concat(merge) or merge:gsub(" ", "", 1)
    local id = ids[joined]
    if id and scores[id + 1] == -1e6 then scores[id + 1] = -rank end
  end
  return scores
end

local function has_prefix(normalizer)
  if type(normalizer) ~= "table" then return false end
  for _, step in ipairs(normalizer.normalizers or { normalizer }) do
    if step.type == "Prepend" then return true end
  end
  return false
end

-- The tokenizer.json that the tokenizer is written as.
local function tokenizer_json(tok)
  local dir, message = files.folder_begin(os.tmpname())
  if not dir then return nil, message end
  local ok, data
  ok, message = tok:save(dir)
  if ok then
    data, message = files.read_json(dir .. "/tokenizer.json")
  end
  files.folder_discard(dir)
  return data, message
end

local function tokenizer_fields(tok, fields, size)
  local data, message = tokenizer_json(tok)
  if not data then return message end
  local function add(key, kind, value)
    if value ~= nil then fields[#fields + 1] = { "tokenizer.ggml." .. key, kind, value } end
  end
  local pieces, merges = {}, data.model.merges
  if data.model.type ~= "BPE" or (tok.kind ~= "bytelevel" and tok.kind ~= "sentencepiece") then
    return ("a tokenizer of the kind %s (%s) cannot be written"):format(tok.kind, data.model.type)
  end
  for id = 0, size - 1 do
    pieces[id + 1] = tok:token(id) or ("[PAD%d]"):format(id)
  end
  if tok.kind == "bytelevel" then
    local cuts = tok.word_cuts or cuts_of(data.pre_tokenizer)
    if not cuts then return "llama.cpp has no name for the tokenizer's word cuts" end
    local texts = {}
    for i, merge in ipairs(merges) do
      texts[i] = merge_text(merge)
    end
    add("model", "text", "gpt2")
    add("pre", "text", cuts)
    add("merges", "text", texts)
  else
    add("model", "text", "llama")
    add("pre", "text", "default")
    add("scores", "f32", scores_of(merges, data.model.vocab, size))
    add("add_space_prefix", "bool", has_prefix(data.normalizer))
  end
  add("tokens", "text", pieces)
  add("token_type", "i32", token_types(tok, data, size))
  add("bos_token_id", "u32", tok.bos_id)
  add("eos_token_id", "u32", tok.eos_id)
  add("padding_token_id", "u32", tok.pad_id)
  add("unknown_token_id", "u32", tok.unk_id)
  add("add_bos_token", "bool", tok.adds_bos or false)
  add("add_eos_token", "bool", tok.adds_eos or false)
  if tok.chat_template then
    fields[#fields + 1] = { "tokenizer.chat_template", "text", tok.chat_template }
  end
end

-- ---- tensors ------------------------------------------------------------------------------------

local function stored(tensor, dtype)
  local shape = tensor:shape()
  if #shape < 2 or dtype == "float32" then return core.cast(tensor, "float32") end
  if dtype == "q8_0" and shape[#shape] % 32 ~= 0 then dtype = "float16" end
  return core.cast(core.cast(tensor, "float32"), dtype)
end

local function tensors_of(model, dtype)
  local spec, own, result = model.spec, model.spec.family.gguf, {}
  local names = gguf.file_names(spec)
  for _, entry in ipairs(model.entries) do
    local at, ending = entry[1]:match("^(.*)(%.%a+)$")
    local found = names[at]
    if not found then return nil, ("'%s' has no name in GGUF files"):format(entry[1]) end
    local tensor = model.weights[entry[1]]:detach()
    if own.pairs and (found.part == "q" or found.part == "k") then
      tensor = rotary_rows.pairs(tensor, spec.head_dim)
    elseif own.offset and found.part:find("norm", 1, true) then
      tensor = tensor + own.offset
    end
    result[found.name .. ending] = stored(tensor, dtype)
  end
  local factors = spec.rope and rope_factors(spec)
  if factors then result["rope_freqs.weight"] = core.tensor(factors) end
  return result
end

--- Writes a model as a GGUF file.
-- @tparam Model model
-- @tparam Tokenizer tok
-- @tparam string path
-- @tparam ?string dtype of matrices: "float32", "float16" (default), "bfloat16", "q8_0"
-- @treturn ?boolean true
-- @treturn ?string message
function writer.save(model, tok, path, dtype)
  local scope <close> = core.scope("gguf.save")
  local guard <close> = core.no_grad()
  dtype = dtype or "float16"
  if model.config.scalar_head then return nil, "a reward model has no place in GGUF files" end
  if not model.spec.family.gguf then
    return nil, ("models of the family %s cannot be written"):format(model.spec.family.model_type)
  end
  if model.config.rope_interleaved then
    return nil, "save the model as a folder first: its rows stand in llama2.c's order"
  end
  local fields, tensors, message
  fields, message = model_fields(model, dtype)
  if not fields then return nil, message end
  message = tokenizer_fields(tok, fields, model.spec.vocab)
  if message then return nil, message end
  tensors, message = tensors_of(model, dtype)
  if not tensors then return nil, message end
  return files.gguf.save(path, fields, tensors)
end

return writer
