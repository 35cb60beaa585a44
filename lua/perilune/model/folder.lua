--- A model folder that is written: config.json, weights, tokenizer, generation_config.json and a
-- README.md.
--
-- What the model was loaded with keeps its bytes: config.json is the old text with what must be
-- another (perilune.base.json_edit). Sizes that other readers would take otherwise are written in
-- full, in the keys of transformers 4 and 5.

local card = require("perilune.model.card")
local core = require("perilune.core")
local edit = require("perilune.base.json_edit")
local families = require("perilune.model.families")
local files = require("perilune.base.files")
local json = require("perilune.base.json")
local list = require("perilune.base.list")
local padding = require("perilune.model.padding")

local folder = {}

--- The largest weight file, in bytes.
-- @type integer
folder.MAX_SHARD = 5 * 1000 * 1000 * 1000

-- ---- config.json --------------------------------------------------------------------------------

-- The head of a reward model, as transformers reads it.
local function say_scalar_head(config)
  local heads, known = config.score_heads or 1, 0
  for _ in pairs(type(config.id2label) == "table" and config.id2label or {}) do
    known = known + 1
  end
  config.num_labels = heads
  if known ~= heads or config.id2label["0"] == nil then
    config.id2label, config.label2id = {}, {}
    for h = 0, heads - 1 do
      local name = ("LABEL_%d"):format(h)
      config.id2label[tostring(h)], config.label2id[name] = name, h
    end
  end
end

local function file_config(self, dtype)
  local config, family = {}, self.spec.family
  for key, value in pairs(self.config) do
    config[key] = value
  end
  families.complete(config, self.spec)
  config.architectures = { config.scalar_head and family.classifier or family.causal }
  config.torch_dtype, config.dtype = dtype, dtype
  if config.scalar_head then
    say_scalar_head(config)
  else
    config.scalar_head, config.score_bias = nil, nil
    config.score_heads, config.score_biases = nil, nil
    config.score_likelihood_coef, config.score_likelihood_reference = nil, nil
  end
  return config
end

local function config_text(self, config)
  local old = self.texts and self.texts.config
  return old and edit.apply(old, config) or json.encode(config, { pretty = true }) .. "\n"
end

-- ---- weights ------------------------------------------------------------------------------------

-- A bias s of the score as one of the last norm, which other readers know:
--     w·(b - s w/|w|²) = w·b - s
-- Only LayerNorm has one, and nothing may stand behind it. The scores differ in their last bits.
local function fold_score_bias(self, config, tensors)
  local names = self.spec.names
  if not names.norm or names.project_out or (config.score_heads or 1) > 1 then return end
  local name = names.norm .. ".bias"
  local bias, weight, shift = tensors[name], tensors["score.weight"], config.score_bias
  if not (bias and weight and shift and shift ~= 0) then return end
  local squares = (weight * weight):sum():item()
  if squares < 1e-6 * shift * shift then return end -- rounding would show in the bias
  tensors[name] = bias:detach() - weight:detach():reshape(-1) * (shift / squares)
  config.score_bias = nil
end

local widths = { float32 = 4, float64 = 8, bfloat16 = 2, float16 = 2 }

local function bytes_of(tensor) return tensor:count() * widths[tensor:dtype()] end

-- The tensors in another dtype. float16 does not hold every number.
local function converted(tensors, dtype)
  if not dtype then return tensors end
  local result = {}
  for name, tensor in pairs(tensors) do
    tensor = core.cast(tensor:detach(), "float32")
    if dtype ~= "float32" then
      local fits, made = pcall(core.cast, tensor, dtype)
      if not fits then return nil, ("'%s' as %s: %s"):format(name, dtype, made) end
      tensor = made
    end
    result[name] = tensor
  end
  return result
end

-- Names in shards of at most `most` bytes, in the order of names; one tensor may be larger.
local function shards_of(tensors, most)
  local names, shards, room = list.keys(tensors), {}, 0
  for _, name in ipairs(names) do
    local bytes = bytes_of(tensors[name])
    if bytes > room then
      shards[#shards + 1] = {}
      room = most
    end
    shards[#shards][name] = tensors[name]
    room = room - bytes
  end
  return shards
end

local function write_weights(dir, tensors, most)
  local shards, notes = shards_of(tensors, most), { format = "pt" }
  if #shards <= 1 then
    return files.safetensors.save(dir .. "/model.safetensors", tensors, notes)
  end
  local index, total = {}, 0
  for i, shard in ipairs(shards) do
    local name = ("model-%05d-of-%05d.safetensors"):format(i, #shards)
    local ok, message = files.safetensors.save(dir .. "/" .. name, shard, notes)
    if not ok then return nil, message end
    for tensor in pairs(shard) do
      index[tensor] = name
      total = total + bytes_of(tensors[tensor])
    end
  end
  return files.write_json(
    dir .. "/model.safetensors.index.json",
    { metadata = { total_size = total }, weight_map = index }
  )
end

-- ---- the folder ---------------------------------------------------------------------------------

local function write_tokenizer(self, dir, config, tokenizer)
  local generation = self.texts and self.texts.generation
  if generation and not config.scalar_head then
    local ok, message = files.write_atomic(dir .. "/generation_config.json", generation)
    if not ok then return nil, message end
  end
  return not tokenizer or tokenizer:save(dir, { pad_id = config.pad_token_id or false })
end

--- Writes what stands beside adapters into an existing folder: tokenizer and README.md.
-- @tparam Model model on a base
-- @tparam string dir
-- @tparam table opts as of Model:save
-- @treturn ?boolean true
-- @treturn ?string message
function folder.write_about(model, dir, opts)
  local config = file_config(model, "float32")
  config.pad_token_id = padding.choose(config, opts.tokenizer, model.texts)
  local ok, message = write_tokenizer(model, dir, config, opts.tokenizer)
  if not ok then return nil, message end
  return files.write_atomic(dir .. "/README.md", card.text(model, config, opts))
end

--- Writes the files of a model into an existing folder.
-- @tparam Model model
-- @tparam string dir
-- @tparam table opts as of Model:save, and `export`
-- @treturn ?boolean true
-- @treturn ?string message
function folder.write(model, dir, opts)
  local dtype = opts.save_dtype
  local config = file_config(model, dtype or "float32")
  local tensors = families.to_file(model.spec, model.weights)
  if opts.export then
    local export = model.spec.family.export
    if export then tensors = export(config, model.spec, tensors) end
    fold_score_bias(model, config, tensors)
  end
  config.pad_token_id = padding.choose(config, opts.tokenizer, model.texts)
  local ok, message
  tensors, message = converted(tensors, dtype)
  if not tensors then return nil, message end
  ok, message = files.write_atomic(dir .. "/config.json", config_text(model, config))
  if not ok then return nil, message end
  ok, message = write_weights(dir, tensors, opts.max_shard_size or folder.MAX_SHARD)
  if not ok then return nil, message end
  ok, message = write_tokenizer(model, dir, config, opts.tokenizer)
  if not ok then return nil, message end
  return files.write_atomic(dir .. "/README.md", card.text(model, config, opts))
end

return folder
