--- The keys of a config.json: each is read here, known to change nothing, or an error. So a key
-- that changes what a model computes is never passed over.
--
--     keys.check(config, { hidden_size = keys.integer(1), hidden_act = keys.only("silu") })
--
-- A family gives the rules of its own keys; those that every config of transformers may have are
-- here. Members that are null are absent, names that begin with "_" are notes.

local format = require("perilune.base.format")
local json = require("perilune.base.json")
local nearest = require("perilune.base.nearest")

local keys = {}

--- An integer from `least` to `most` (2^24).
-- @tparam integer least
-- @tparam ?integer most
-- @treturn table a rule
function keys.integer(least, most)
  most = most or 1 << 24
  return {
    wanted = ("an integer from %d to %d"):format(least, most),
    holds = function(value)
      return math.type(value) == "integer" and value >= least and value <= most
    end,
  }
end

--- A number from `least` to `most`.
-- @tparam number least
-- @tparam number most
-- @treturn table a rule
function keys.number(least, most)
  return {
    wanted = ("a number from %g to %g"):format(least, most),
    holds = function(value) return type(value) == "number" and value >= least and value <= most end,
  }
end

--- One of these values: what others mean is not implemented.
-- @tparam any ... the values
-- @treturn table a rule
function keys.only(...)
  local values, texts = { ... }, {}
  for i, value in ipairs(values) do
    texts[i] = json.encode(value)
  end
  return {
    wanted = table.concat(texts, " or ") .. ", all that is implemented",
    holds = function(value)
      for _, known in ipairs(values) do
        if value == known then return true end
      end
      return false
    end,
  }
end

local function of_type(name, wanted)
  return {
    wanted = wanted,
    holds = function(value) return type(value) == name end,
  }
end

--- A list of values that each keep a rule.
-- @tparam table rule
-- @treturn table a rule
function keys.list(rule)
  return {
    wanted = "a list; each value " .. rule.wanted,
    holds = function(value)
      if type(value) ~= "table" then return false end
      local count = 0
      for _, each in pairs(value) do
        count = count + 1
        if not rule.holds(each) then return false end
      end
      return count == #value
    end,
  }
end

--- A text, true or false, an object or list: any of them.
keys.text = of_type("string", "a text")
keys.boolean = of_type("boolean", "true or false")
keys.table = of_type("table", "an object")

--- What changes nothing that is computed here.
keys.harmless = {
  wanted = "anything",
  holds = function() return true end,
}

--- No value but null: what another would mean is not implemented.
keys.absent = {
  wanted = "null, all that is implemented",
  holds = function() return false end,
}

local empty = {
  wanted = "empty, all that is implemented",
  holds = function(value) return type(value) == "table" and next(value) == nil end,
}

local common = {
  architectures = of_type("table", "a list of names"),
  model_type = keys.text,
  vocab_size = keys.integer(1),
  tie_word_embeddings = keys.boolean,
  initializer_range = keys.number(0, 1000),
  scalar_head = keys.boolean,
  score_bias = keys.number(-math.huge, math.huge),
  score_heads = keys.integer(1, 1024),
  score_biases = keys.list(keys.number(-math.huge, math.huge)),
  score_likelihood_coef = keys.number(0, math.huge),
  score_likelihood_reference = keys.text,
  is_encoder_decoder = keys.only(false),
  add_cross_attention = keys.only(false),
  tie_encoder_decoder = keys.only(false),
  pruned_heads = empty,
}

-- Of generation, of training, of other heads, of the program that wrote the file.
local harmless = [[
  bos_token_id eos_token_id pad_token_id unk_token_id sep_token_id decoder_start_token_id
  torch_dtype dtype transformers_version use_cache return_dict return_dict_in_generate
  output_hidden_states output_attentions output_scores torchscript use_bfloat16 tf_legacy_loss
  chunk_size_feed_forward is_decoder finetuning_task id2label label2id num_labels problem_type
  tokenizer_class prefix task_specific_params max_length min_length do_sample early_stopping
  num_beams num_beam_groups diversity_penalty temperature top_k top_p typical_p
  repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size
  bad_words_ids num_return_sequences forced_bos_token_id forced_eos_token_id
  remove_invalid_values exponential_decay_length_penalty suppress_tokens begin_suppress_tokens
  max_new_tokens gradient_checkpointing pretraining_tp attention_dropout
  classifier_dropout cache_implementation auto_map transformers.js_config unsloth_version
  unsloth_fixed is_llama_config perilune
]]
for name in harmless:gmatch("%S+") do
  common[name] = keys.harmless
end

local list_class = getmetatable(json.array())

-- What a table holds may be long, or no text at all.
local function shown(value)
  if type(value) == "table" then
    return getmetatable(value) == list_class and "a list" or "an object"
  elseif type(value) == "string" then
    return ("'%s'"):format(format.cut(value, 60))
  end
  return tostring(value)
end

--- Why a table of keys cannot be taken; nil when it can.
-- @tparam table config
-- @tparam {[string]=table} family rules of its keys
-- @tparam ?string inside the name of the key that holds the table: no common keys there
-- @tparam ?string file the table is of, when it is not a config.json: no common keys either
-- @treturn ?string message
function keys.check(config, family, inside, file)
  local names, where = {}, file or "config.json"
  local shared = not inside and not file
  for name in pairs(config) do
    names[#names + 1] = tostring(name)
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local rule = family[name] or shared and common[name] or nil
    local full = inside and inside .. "." .. name or name
    if not rule and name:sub(1, 1) ~= "_" then
      local known = {}
      for key in pairs(family) do
        known[#known + 1] = key
      end
      local text = "%s: '%s' is %s: the key is not known, so what it changes is not implemented%s"
      return text:format(where, full, shown(config[name]), nearest.hint(name, known))
    elseif rule and not rule.holds(config[name]) then
      return ("%s: '%s' is %s; it must be %s"):format(where, full, shown(config[name]), rule.wanted)
    end
  end
end

--- The message for the first of these keys that is absent; nil when all are there.
-- @tparam table config
-- @tparam {string,...} names
-- @tparam ?string file that the config is of (config.json)
-- @treturn ?string
function keys.missing(config, names, file)
  for _, name in ipairs(names) do
    if config[name] == nil then
      return ("%s: '%s' is missing"):format(file or "config.json", name)
    end
  end
end

return keys
