--- Models: parameters in one flat block, a decoder over them, a head.
--
-- A config becomes a spec (perilune.model.families), and the spec a model (perilune.model.decoder):
-- the same forward pass trains, scores and generates.
--
-- The head is the language model's (tied or not) or, with config.scalar_head, one number for each
-- token: `score.weight` [1, C], less `config.score_bias`. A reward model is read at the last token
-- of an answer; a value model at every token.
--
-- May use: base.

local core = require("perilune.core")
local decoder = require("perilune.model.decoder")
local families = require("perilune.model.families")
local files = require("perilune.base.files")
local random = require("perilune.base.random")
local origin = require("perilune.model.origin")

local model = {}

--- A model.
-- @class Model
-- @field table config as in config.json
-- @field table spec what the decoder is told, see perilune.model.decoder
-- @field ParameterBlock block all parameters, in one flat piece
-- @field {[string]=Tensor} weights the parameters by name, views into the block
-- @field string dtype of the parameters
-- @field ?string path where it was loaded from
-- @field ?table texts of the config.json and generation_config.json it was loaded with
local Model = {}
Model.__index = Model
Model.__name = "model"

local function head_entries(config, spec)
  if config.scalar_head then
    return { { "score.weight", { 1, spec.out_width }, 1 / math.sqrt(spec.out_width + 1) } }
  elseif not spec.tied then
    return { { spec.names.head .. ".weight", { spec.vocab, spec.out_width }, spec.init_std } }
  end
  return {}
end

local function shape_text(shape) return "[" .. table.concat(shape, ",") .. "]" end

--- Why tensors are not the parameters of these entries; nil when they are.
local function misfit(entries, tensors, where)
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

--- A new model with memory for its parameters, all zeros. With `tensors`, those of a file at
-- `where`, memory is taken only when they are just the ones wanted.
local function allocate(config, dtype, tensors, where)
  local spec, message = families.spec(config)
  if not spec then return nil, message end
  local entries = decoder.parameters(spec)
  for _, entry in ipairs(head_entries(config, spec)) do
    entries[#entries + 1] = entry
  end
  message = tensors and misfit(entries, tensors, where)
  if message then return nil, message end
  local self = setmetatable({
    config = config,
    spec = spec,
    entries = entries,
    dtype = dtype or "float32",
    block = core.block(entries, dtype or "float32"),
  }, Model)
  self.weights = self.block:tensors()
  decoder.bind(self)
  return self
end

--- A model with freshly drawn parameters.
-- @tparam table config as in config.json
-- @tparam ?table opts `seed` (0), `dtype` ("float32")
-- @treturn any model
function model.new(config, opts)
  opts = opts or {}
  local self = assert(allocate(config, opts.dtype))
  for _, entry in ipairs(self.entries) do
    local weight, init = self.weights[entry[1]], entry[3]
    if init == "ones" then
      weight:fill_(1)
    elseif init ~= "zeros" then
      -- A stream for each parameter, so that a new layer does not shift the others' values.
      weight:copy_(core.randn(weight:shape(), {
        a = 0,
        b = init,
        seed = opts.seed or 0,
        purpose = random.purpose("model.init", entry[1]),
        dtype = self.dtype,
      }))
    end
  end
  return self
end

--- Copies tensors (by Hugging Face name) into the parameters, which they fit.
local function fill(self, tensors, where)
  for _, entry in ipairs(self.entries) do
    local name = entry[1]
    local given = tensors[name]
    self.weights[name]:copy_(given:dtype() == self.dtype and given or core.cast(given, self.dtype))
    tensors[name] = nil
  end
  local left = next(tensors)
  if left and not (left == "lm_head.weight" or left == "score.weight") then
    return nil, ("%s: tensor '%s' belongs to no parameter of this architecture"):format(where, left)
  end
  return self
end

--- Loads a Hugging Face folder (config.json and safetensors), a GGUF file or a llama2.c .bin file.
-- @tparam string path folder or file
-- @tparam ?table opts `dtype`; `scalar_head = true` replaces the head by a projection to one
--   number (drawn by `seed` when the folder has none), as a reward or value model wants
-- @treturn ?Model
-- @treturn ?string message
function model.load(path, opts)
  opts = opts or {}
  local scope <close> = core.scope("model.load")
  local found, tensors = origin.read(path)
  if not found then return nil, tensors end
  local config, spec = found.config, found.spec
  local fresh_head = opts.scalar_head and not tensors["score.weight"]
  if opts.scalar_head then config.scalar_head = true end
  if fresh_head then
    tensors["score.weight"] = core.randn({ 1, spec.out_width }, {
      a = 0,
      b = 1 / math.sqrt(spec.out_width + 1),
      seed = opts.seed or 0,
      purpose = random.purpose("model.init", "score.weight"),
    })
  end
  local self, message = allocate(config, opts.dtype, tensors, path)
  if not self then return nil, message end
  self.path, self.texts = path, found.texts
  return fill(self, tensors, path)
end

--- A model of the same parameters and values; with `scalar_head = true` a fresh scalar head.
-- @tparam ?table opts `scalar_head`, `seed`
-- @treturn any model
function Model:copy(opts)
  opts = opts or {}
  local config = {}
  for key, value in pairs(self.config) do
    config[key] = value
  end
  if opts.scalar_head ~= nil then config.scalar_head = opts.scalar_head end
  local other = model.new(config, { seed = opts.seed, dtype = self.dtype })
  for name, weight in pairs(other.weights) do
    if self.weights[name] then weight:copy_(self.weights[name]) end
  end
  other.path, other.texts = self.path, self.texts
  return other
end

--- Marks every parameter as constant: no gradient, no tape. For reference and reward models.
-- @treturn Model itself
function Model:freeze()
  self.block:requires_grad(false)
  return self
end

--- Final hidden states.
-- @tparam table batch see perilune.data.batch
-- @tparam ?table opts `dropout` {p, seed, index}, `checkpoint` (recompute blocks in backward),
--   `caches`
-- @treturn Tensor [T, C]
function Model:hidden(batch, opts) return decoder.hidden(self, batch, opts or {}) end

--- The matrix that turns hidden states into logits; raises for a model with a scalar head.
-- @treturn Tensor [V, C]
function Model:head()
  if self.config.scalar_head then
    error("this model has a scalar head: it scores, it does not predict tokens", 2)
  end
  local spec = self.spec
  return self.weights[(spec.tied and spec.names.embedding or spec.names.head) .. ".weight"]
end

--- The bound that logits are kept within: they are softcap tanh(z / softcap) of the product z of
-- hidden states and head. Losses take it as their option `softcap`.
-- @treturn number 0: no bound
function Model:softcap() return self.spec.logits_softcap or 0 end

local function logits_of(self, hidden)
  local z, cap = core.linear(hidden, self:head()), self:softcap()
  return cap > 0 and core.softcap(z, { cap = cap }) or z
end

--- Logits, for looking at; losses take hidden states and the head instead.
-- @tparam table batch see perilune.data.batch
-- @treturn Tensor [T, V]
function Model:logits(batch) return logits_of(self, self:hidden(batch)) end

--- One number for each token: a reward model's score or a value. Raises without a scalar head.
-- @tparam table batch see perilune.data.batch
-- @tparam ?table opts as of hidden
-- @treturn Tensor [T]
function Model:scores(batch, opts)
  if not self.config.scalar_head then
    error("this model has no scalar head: make one with model:copy{scalar_head = true}", 2)
  end
  local y = core.linear(self:hidden(batch, opts), self.weights["score.weight"])
  return y:reshape(-1) - (self.config.score_bias or 0)
end

--- Room for the keys and values of sequences that are being generated.
-- @tparam integer slots sequences at the same time
-- @tparam integer len tokens of each
-- @treturn {Tensor,...} k and v of each layer
function Model:caches(slots, len) return decoder.caches(self, slots, len) end

--- The longest sequence the model was made for.
-- @treturn ?integer tokens
function Model:context() return self.spec.context end

--- Number of parameters.
-- @treturn integer
function Model:count() return self.block:count() end

--- XXH3-128 over names, shapes and values of all parameters.
-- @treturn string 32 hexadecimal digits
function Model:hash() return self.block:hash() end

local function file_config(self)
  local config, family = {}, self.spec.family
  for key, value in pairs(self.config) do
    config[key] = value
  end
  families.complete(config, self.spec)
  config.architectures = { config.scalar_head and family.classifier or family.causal }
  config.torch_dtype, config.dtype = "float32", "float32"
  if config.scalar_head then
    config.num_labels = 1
    config.id2label, config.label2id = { ["0"] = "LABEL_0" }, { LABEL_0 = 0 }
    config.pad_token_id = config.pad_token_id or config.eos_token_id
  end
  return config
end

--- Writes config.json, model.safetensors and tokenizer files into an existing folder. Read back,
-- the model has the same bits, unless `export` asks for a layout that other programs know as well.
-- @tparam string dir
-- @tparam ?table opts `tokenizer`, `export` (false)
-- @treturn ?boolean true
-- @treturn ?string message
function Model:write(dir, opts)
  local scope <close> = core.scope("model.write")
  local config, tensors = file_config(self), families.to_file(self.spec, self.weights)
  local export = opts and opts.export and self.spec.family.export
  if export then tensors = export(config, self.spec, tensors) end
  local ok, message = files.write_json(dir .. "/config.json", config)
  if not ok then return nil, message end
  ok, message = files.safetensors.save(dir .. "/model.safetensors", tensors, { format = "pt" })
  if not ok then return nil, message end
  if opts and opts.tokenizer then return opts.tokenizer:save(dir) end
  return true
end

--- Writes a model folder that appears whole, in the layout that transformers knows.
-- @tparam string path
-- @tparam ?table opts `tokenizer`
-- @treturn ?boolean true
-- @treturn ?string message
function Model:save(path, opts)
  local tmp, message = files.folder_begin(path)
  if not tmp then return nil, message end
  local ok
  ok, message = self:write(tmp, { tokenizer = opts and opts.tokenizer, export = true })
  if not ok then
    files.folder_discard(tmp)
    return nil, message
  end
  return files.folder_commit(tmp, path)
end

--- What the generator records: logits of the last row of each sequence.
-- @tparam table batch with the places of these rows as `last`
-- @tparam {Tensor,...} caches of `caches`
-- @treturn Tensor [B, V]
function Model:step(batch, caches)
  return logits_of(self, core.gather(self:hidden(batch, { caches = caches }), batch.last))
end

return model
