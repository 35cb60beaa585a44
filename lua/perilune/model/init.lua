--- Models: parameters in one flat block, a decoder over them, a head.
--
-- What is trained is the block. Usually that is all there is; or it holds adapters and a head,
-- beside a frozen base that models share (perilune.model.on_base).
--
-- A config becomes a spec (perilune.model.families), and the spec a model (perilune.model.decoder):
-- the same forward pass trains, scores and generates.
--
-- The head is the language model's (tied or not) or, with config.scalar_head, one number for each
-- token: `score.weight` [1, C], less `config.score_bias`. With `config.score_heads` there are H
-- numbers, [H, C], less `config.score_biases`: an ensemble on one trunk, whose mean is the score. A
-- reward model is read at the last token of an answer; a value model at every token. With
-- `config.score_likelihood_coef` w its scores say what w ln π_ref(answer) does not, with π_ref the
-- model whose weights have the hash `config.score_likelihood_reference` (`frozen_base.identity`).
--
-- May use: base.

local adapter_config = require("perilune.model.adapter_config")
local adapter_folder = require("perilune.model.adapter_folder")
local frozen_base = require("perilune.model.frozen_base")
local checked = require("perilune.base.options")
local core = require("perilune.core")
local decoder = require("perilune.model.decoder")
local files = require("perilune.base.files")
local folder = require("perilune.model.folder")
local loading = require("perilune.model.loading")
local making = require("perilune.model.making")
local mixing = require("perilune.model.mixing")
local on_base = require("perilune.model.on_base")
local members = require("perilune.base.members")
local random = require("perilune.base.random")
local summary = require("perilune.model.summary")

-- The options there are.
local of_new = checked.any_of { "seed", "dtype", "precision" }
local of_load = checked.any_of {
  "dtype",
  "scalar_head",
  "score_heads",
  "seed",
  "peft",
  "frozen",
  "precision",
  "base",
}
local of_copy = checked.any_of { "scalar_head", "precision", "seed", "peft" }
local of_hidden = checked.any_of { "dropout", "checkpoint", "caches", "rows" }

local NO_HEAD <const> = "this model has no scalar head: make one with "
  .. "model:copy{scalar_head = true}"

local model = {}

--- A model.
-- @class Model
-- @field {[string]=any} config as in config.json
-- @field table spec what the decoder is told: `layers`, `width` (channels), `heads`, `kv_heads`,
--   `head_dim`, `vocab`, `context` (tokens) and whatever else tells families apart
-- @field ParameterBlock block what is trained, in one flat piece: all parameters, or those of
--   adapters and heads
-- @field {[string]=Tensor} weights the parameters by name, each in the shape that its file has:
--   views into the block, or the base's
-- @field string dtype of the block: "float32" or "float64"
-- @field string precision of its products of matrices: "float32"; "bf16": operands rounded to
--   bfloat16, sums in float32; "int8": x rounded to eight bits where the weight is frozen and in
--   blocks. A setting of the work at hand: folders do not hold it
-- @field ?string path where it was loaded from
-- @field ?Base base the frozen weights below
-- @field ?string base_path where they were loaded from
-- @field ?AdapterOptions peft settings of the adapters on them
-- @field ?{[string]=string} texts of the config.json and generation_config.json it was loaded with,
--   its license
local Model = {}
Model.__index = Model
Model.__name = "model"
Model.__tostring = summary
members.guard(Model, "a Model", {
  "adapters",
  "base",
  "base_path",
  "block",
  "chosen",
  "config",
  "dtype",
  "entries",
  "factors",
  "generator",
  "layers",
  "parts",
  "path",
  "peft",
  "precision",
  "settled",
  "spec",
  "texts",
  "weights",
})

--- A model with freshly drawn parameters. Raises when the config is of no family that is known, or
-- lacks what its family needs.
-- @tparam {[string]=any} config as in config.json: `model_type`, `vocab_size`, `hidden_size` and so
--   on; and `scalar_head` (true: one number for each token in place of logits)
-- @tparam ?table opts `seed` (0) of the draws; `dtype` ("float32"; or "float64") of the parameters;
--   `precision` ("float32") of products: "bf16" rounds their operands to bfloat16, "int8" x to
--   eight bits beside frozen weights in blocks
-- @treturn Model on the heap of the scope that is open; its block frees it when nobody holds it
function model.new(config, opts)
  opts = checked.take("model.new", opts, of_new)
  local self = assert(making.allocate(Model, config, opts))
  for _, entry in ipairs(self.entries) do
    local weight, init = self.weights[entry[1]], entry[3]
    if init == "ones" then
      weight:fill_(1)
    elseif init ~= "zeros" then
      -- A stream for each parameter, so that a new layer does not shift the others' values.
      local drawn = core.randn(weight:shape(), {
        a = 0,
        b = init,
        seed = opts.seed or 0,
        purpose = random.purpose("model.init", entry[1]),
        dtype = self.dtype,
      })
      weight:copy_(drawn)
      drawn:free() -- not only when the collector comes by
    end
  end
  return self
end

--- How a model is loaded. What each option is when it is left out stands in brackets.
-- @class LoadOptions
-- @field ?string dtype ("float32"; of adapters the type they were trained on) of the weights:
--   "float32" or "float64"; of frozen ones also "bfloat16", "float16", "q8_0", or "kept": each
--   matrix as the file has it
-- @field ?boolean scalar_head (false) put a projection to one number in place of the head, as a
--   reward or value model wants; drawn by `seed` when the folder has none
-- @field ?integer score_heads (as the folder has; 1) numbers of that projection, which are an
--   ensemble on one trunk; a folder that has another number of them is an error
-- @field ?integer seed (0) what new weights are drawn by
-- @field ?AdapterOptions|Config peft (none) new adapters on the weights, which are frozen then; or
--   a config with the rows of `pl.config.peft`
-- @field ?boolean frozen (false) the weights are constants, held once by all models of the same
--   files
-- @field ?string precision ("float32") of products: "bf16" rounds their operands to bfloat16,
--   "int8" x to eight bits beside frozen weights in blocks
-- @field ?string base (as adapter_config.json says) where the base of a folder of adapters is

--- Loads a Hugging Face folder (config.json and safetensors), a GGUF file, a llama2.c .bin file, or
-- a folder of adapters, as the peft package writes them, with the base it names.
--
-- With `peft` or `frozen`, and of a folder of adapters always, the weights are a frozen base:
-- models of the same files share it. Then adapters and a scalar head are all that is trained.
-- Raises when an option of `peft` does not exist.
-- @tparam string path folder or file
-- @tparam ?LoadOptions opts its options
-- @treturn ?Model nil when it cannot be loaded
-- @treturn ?string message
function model.load(path, opts)
  opts = checked.take("model.load", opts, of_load)
  if type(path) ~= "string" then
    error(("load takes the path of a model, not a %s"):format(type(path)), 2)
  end
  return loading.load(Model, path, opts)
end

-- A model on the same base.
local function copy_on_base(self, opts)
  if self.peft and opts.peft then
    error("model:copy: this model has adapters, so its copy has the same ones; leave peft out", 3)
  end
  local settings = self.peft or opts.peft
  local scalar_head = opts.scalar_head
  if scalar_head == nil then scalar_head = self.config.scalar_head end
  local other = assert(loading.stand(Model, self.base, self.base_path, {
    settings = settings,
    scalar_head = scalar_head,
    score_heads = self.config.score_heads,
    precision = opts.precision or self.precision,
    lenient = true,
  }))
  other.path = self.path
  making.take_scores(other.config, self.config)
  on_base.begin(other, self.block:tensors(), opts.seed or 0)
  return other
end

--- A model of the same parameters and values; with `scalar_head = true` a fresh scalar head. A
-- frozen base is shared, and what is trained copied.
-- @tparam ?table opts `scalar_head` and `precision` (as this model's); `seed` (0) what new weights
--   are drawn by; `peft` (none) as of `pl.model.load`, for adapters on a model that has a frozen
--   base and none yet, else it raises
-- @treturn Model with a block of its own
function Model:copy(opts)
  opts = checked.take("model:copy", opts, of_copy)
  if self.base then return copy_on_base(self, opts) end
  if opts.peft then
    local text = "model:copy: adapters stand on a frozen base, and this model is trained whole: "
      .. "load it with peft, or with frozen = true"
    error(text, 2)
  end
  local config = making.copied(self.config)
  if opts.scalar_head ~= nil then config.scalar_head = opts.scalar_head end
  local other = model.new(config, {
    seed = opts.seed,
    dtype = self.dtype,
    precision = opts.precision or self.precision,
  })
  for name, weight in pairs(other.weights) do
    if self.weights[name] then weight:copy_(self.weights[name]) end
  end
  other.path, other.texts = self.path, self.texts
  return other
end

--- Memory of the parameters, those of a frozen base among them.
-- @treturn integer bytes
function Model:memory()
  local bytes = self.block:flat():memory()
  for name, weight in pairs(self.base and self.base.weights or {}) do
    if self.weights[name] == weight then bytes = bytes + weight:memory() end
  end
  return bytes
end

--- Number of parameters, those of a frozen base among them.
-- @treturn integer all, elements
-- @treturn integer those in the block, which are trained, elements
function Model:count()
  local trained, all = self.block:count(), 0
  for _, entry in ipairs(self.entries) do
    local count = 1
    for _, size in ipairs(entry[2]) do
      count = count * size
    end
    all = all + count
  end
  for _, one in ipairs(self.chosen or {}) do
    local adapter = self.adapters[one.name]
    all = all + adapter:count()
  end
  return all, trained
end

--- XXH3-128 over names, shapes and values of all parameters; of a frozen base over the files it
-- came from.
-- @treturn string 32 hexadecimal digits
function Model:hash()
  local own = self.block:hash()
  if not self.base then return own end
  return files.hash_string(self.base.identity .. " " .. self.base.dtype .. " " .. own)
end

--- Marks every parameter as constant: no gradient, no tape. For reference and reward models.
-- @treturn Model itself
function Model:freeze()
  self.block:requires_grad(false)
  return self
end

local held_as = { q8_0 = "q8_0", as_is = "kept" }

--- How to load a constant model that works beside this one: in the same precision, and on a frozen
-- base too, when this one is, so that the same weights are held once.
-- @tparam ?string quantize what it holds its matrices in beside a model without a base: "none"
--   (default), "q8_0", or "as_is": as their file has them
-- @treturn LoadOptions options of `pl.model.load`
function Model:beside(quantize)
  local opts = { precision = self.precision }
  if self.base then
    opts.frozen, opts.dtype = true, self.base.dtype
  elseif held_as[quantize] then
    opts.frozen, opts.dtype = true, held_as[quantize]
  end
  return opts
end

-- Whether a stream of dropout drops anything, of what blocks add or of what adapters read.
local function drops(self, dropout)
  if (dropout.p or 0) > 0 then return true end
  for _, adapter in pairs(self.adapters or {}) do
    if adapter.dropout > 0 then return true end
  end
  return false
end

--- Final hidden states. Raises when a sequence is longer than the model's context, or a token is
-- not in its vocabulary.
-- @tparam Batch batch as of `pl.batch.pack`
-- @tparam ?table opts `dropout` (none) {p = probability, seed =, index = which draw of that
--   stream}; `checkpoint` (false) computes blocks again in the backward pass: less memory, more
--   time; `caches` (none) of `caches`, for generation; `rows` (all) int32 [N], the places
--   that are read, from 0, without dropout: the last block is done for these alone
-- @treturn Tensor [T, C], or [N, C] of `rows`, of the model's dtype
function Model:hidden(batch, opts)
  opts = checked.take("model:hidden", opts, of_hidden)
  if opts.dropout and not drops(self, opts.dropout) then opts.dropout = nil end
  if opts.rows and opts.dropout then
    error("model:hidden: `rows` goes without `dropout`, whose draws belong to all rows", 2)
  end
  if not opts.caches then self:settle() end
  return decoder.hidden(self, batch, opts)
end

--- Brings up to date what follows from the parameters and is kept beside them. The forward pass
-- does so by itself, but not while a step is recorded or replayed.
function Model:settle()
  if self.base then on_base.settle(self) end
end

--- The matrix that turns hidden states into logits; raises for a model with a scalar head.
-- @treturn Tensor [V, C], a view; of a frozen base perhaps in its kept dtype
function Model:head()
  if self.config.scalar_head then
    error("this model has a scalar head: it scores, it does not predict tokens", 2)
  end
  local spec = self.spec
  return self.weights[(spec.tied and spec.names.embedding or spec.names.head) .. ".weight"]
end

--- The bound that logits are kept within: they are softcap tanh(z / softcap) of the product z of
-- hidden states and head. Losses take it as their option `softcap`.
-- @treturn number of the logits; 0: no bound
function Model:softcap() return self.spec.logits_softcap or 0 end

local function logits_of(self, hidden)
  local z = core.linear(hidden, self:head(), nil, { precision = self.precision })
  local cap = self:softcap()
  return cap > 0 and core.softcap(z, { cap = cap }) or z
end

--- Logits, for looking at; losses take hidden states and the head instead. Raises for a model with
-- a scalar head.
-- @tparam Batch batch as of `pl.batch.pack`
-- @treturn Tensor [T, V]
function Model:logits(batch) return logits_of(self, self:hidden(batch)) end

--- What the scalar heads make of hidden states; a product of float32, whatever the precision of the
-- model. Raises without a scalar head.
-- @tparam Tensor hidden [N, C] of `Model:hidden`
-- @treturn Tensor [N, H] of H heads
function Model:head_scores_of(hidden)
  if not self.config.scalar_head then error(NO_HEAD, 2) end
  local y = core.linear(hidden, self.weights["score.weight"])
  local biases = self.config.score_biases
  if biases then return y - core.tensor(biases, y:dtype()) end
  return y - (self.config.score_bias or 0)
end

--- One number for each token: a reward model's score or a value; the head's product is of float32,
-- whatever the precision of the model. Of several heads it is their mean. Raises without a scalar
-- head.
-- @tparam Batch batch as of `pl.batch.pack`
-- @tparam ?table opts as of `Model:hidden`
-- @treturn Tensor [T], or [N] of `rows`
function Model:scores(batch, opts)
  if not self.config.scalar_head then error(NO_HEAD, 2) end
  if self:score_heads() > 1 then return self:head_scores(batch, opts):mean { axis = 2 } end
  local y = core.linear(self:hidden(batch, opts), self.weights["score.weight"])
  return y:reshape(-1) - (self.config.score_bias or 0)
end

--- The numbers of all scalar heads for each token. Raises without a scalar head.
-- @tparam Batch batch as of `pl.batch.pack`
-- @tparam ?table opts as of `Model:hidden`
-- @treturn Tensor [T, H], or [N, H] of `rows`
function Model:head_scores(batch, opts)
  if not self.config.scalar_head then error(NO_HEAD, 2) end
  return self:head_scores_of(self:hidden(batch, opts))
end

--- How many scalar heads there are: an ensemble on one trunk.
-- @treturn integer 0 of a model that predicts tokens
function Model:score_heads()
  if not self.config.scalar_head then return 0 end
  return self.config.score_heads or 1
end

--- Room for the keys and values of sequences that are being generated.
-- @tparam integer blocks at least 1; a sequence has one for each `len` of its tokens
-- @tparam integer len tokens of each, a multiple of 64
-- @treturn {Tensor,...} k, v, k, v, ... of the layers, each [blocks, G, len, D] for G key heads of
--   D channels; zeros, of the block's dtype
function Model:caches(blocks, len) return decoder.caches(self, blocks, len) end

--- The longest sequence the model was made for.
-- @treturn ?integer tokens, prompt and answer together; nil when the config does not say
function Model:context() return self.spec.context end

local function write_adapters(self, dir)
  local config = adapter_config.written(self.peft, {
    chosen = self.chosen,
    modules = decoder.modules(self.spec),
    base = frozen_base.absolute(self.base_path),
    scores = self.config.scalar_head,
    turned = self.spec.family.transposed ~= nil,
  })
  return adapter_folder.write(dir, config, self.block:tensors(), {
    base = {
      path = frozen_base.absolute(self.base_path),
      hash = self.base.identity,
      dtype = self.base.dtype,
    },
    score_bias = self.config.score_bias,
    score_heads = self.config.score_heads,
    score_biases = self.config.score_biases,
    score_likelihood_coef = self.config.score_likelihood_coef,
    score_likelihood_reference = self.config.score_likelihood_reference,
  })
end

--- Writes config.json, model.safetensors and tokenizer files into an existing folder, or adapters
-- as the peft package reads them. Read back, the model has the same bits, unless `export` asks for
-- a layout that other programs know as well.
-- @tparam string dir a folder that exists
-- @tparam ?SaveOptions opts what is written, and how
-- @treturn ?boolean true
-- @treturn ?string message
function Model:write(dir, opts)
  local scope <close> = core.scope("model.write")
  if self.base then
    if not self.peft then return model.merge(self):write(dir, opts) end
    local ok, message = write_adapters(self, dir)
    if not ok then return nil, message end
    return folder.write_about(self, dir, opts or {})
  end
  return folder.write(self, dir, opts or {})
end

--- Reads back what `write` wrote, into a model that was made the same way.
-- @tparam string dir the folder
-- @treturn ?boolean true
-- @treturn ?string message
function Model:read(dir)
  local scope <close> = core.scope("model.read")
  if adapter_folder.is(dir) ~= (self.peft ~= nil) then
    local text = "%s holds %s, and the model here %s: give the settings it was trained with"
    return nil,
      text:format(
        dir,
        self.peft and "whole weights" or "adapters",
        self.peft and "has adapters" or "has none"
      )
  end
  if not self.peft then
    local loaded, message = model.load(dir, { dtype = self.dtype })
    if not loaded then return nil, message end
    self.block:average(loaded.block, 0)
    making.take_scores(self.config, loaded.config)
    return true
  end
  local found, message = adapter_folder.read(dir, self.base_path)
  if not found then return nil, message end
  message = adapter_folder.foreign(dir, found, self.base)
    or on_base.misfit(self, found.tensors, dir)
  if message then return nil, message end
  on_base.begin(self, found.tensors, 0)
  making.take_scores(self.config, found.about)
  return true
end

--- A model of its own, with adapters worked into the weights of their base: the same function up to
-- rounding. A base in another type is taken as float32.
-- @tparam Model given on a frozen base, or not
-- @treturn Model one with a block of all parameters; the model itself when it has no base
function model.merge(given)
  if not given.base then return given end
  local scope <close> = core.scope("model.merge")
  local opts = { dtype = given.dtype, precision = given.precision }
  local self = assert(making.allocate(Model, making.copied(given.config), opts))
  self.texts = given.texts
  for name, tensor in pairs(on_base.merged(given)) do
    self.weights[name]:copy_(tensor)
  end
  return self
end

--- The sum of the weights of several models, each times a number: their mean (Wortsman et al. 2022,
-- arXiv:2203.05482), or a place on the line from one to another, as from what a policy started from
-- to what it became (WARP, Ramé et al. 2024, arXiv:2406.16768, section 3.3). Adapters are worked
-- into their base first. Of reward models the scores' bias is that sum too. Raises when there is no
-- model, numbers are not one for each, or a model differs from the first in anything but its
-- weights and the length of its texts.
-- @tparam {Model,...} models of one architecture
-- @tparam {number,...} shares one for each; those of a mean have the sum 1
-- @treturn Model of its own, with the config of the first, in its dtype
function model.mix(models, shares)
  if #models == 0 or #models ~= #shares then
    error(("model.mix: %d models and %d shares"):format(#models, #shares), 2)
  end
  for i = 2, #models do
    local message = mixing.misfit(models[1], models[i], "model 1")
    if message then error(("model.mix: model %d %s"):format(i, message), 2) end
  end
  local scope <close> = core.scope("model.mix")
  local guard <close> = core.no_grad()
  local first = models[1]
  local self = assert(making.allocate(Model, making.copied(first.config), {
    dtype = first.dtype,
    precision = first.precision,
  }))
  self.texts = first.texts
  self.config.score_bias, self.config.score_biases = mixing.biases(models, shares)
  for i, one in ipairs(models) do
    local frame <close> = core.scope("model.mix.part")
    local weights = on_base.merged(one)
    for _, entry in ipairs(self.entries) do
      local into, weight = self.weights[entry[1]], weights[entry[1]]
      into:copy_(into + core.cast(weight, { dtype = self.dtype }) * shares[i])
    end
  end
  return self
end

--- How a model folder is written. What each option is when it is left out stands in brackets.
-- @class SaveOptions
-- @field ?Tokenizer tokenizer (none) whose files are written beside the weights
-- @field ?string save_dtype (the model's) "float32", "bfloat16" or "float16"; a weight that float16
--   cannot hold is an error
-- @field ?integer max_shard_size (5000000000: 5 GB) bytes of the largest weight file; a tensor
--   larger than that has one of its own
-- @field ?table card (none) what else README.md tells: `base` (path), `license`, `recipe`,
--   `settings` {key = value}, `data` (list of {key =, path =, hash =}), `figures` {name = value}
-- @field ?boolean export (false; true in `Model:save`) a layout that other programs know as well
local save_options = {
  tokenizer = checked.any(),
  save_dtype = checked.choice(nil, { "float32", "bfloat16", "float16" }),
  max_shard_size = checked.integer(nil, 1),
  card = checked.any(),
}

--- Writes a model folder that appears whole, in the layout that transformers knows.
-- @tparam string path of the folder; one that stands there is replaced
-- @tparam ?SaveOptions opts what is written, and how
-- @treturn ?boolean true
-- @treturn ?string message
function Model:save(path, opts)
  opts = checked.take("model:save", opts, save_options)
  return files.folder_write(
    path,
    function(tmp) return self:write(tmp, setmetatable({ export = true }, { __index = opts })) end
  )
end

--- What the generator records: logits of the last row of each sequence.
-- @tparam Batch batch with `blocks` and `past` (int32 [B, M] and [B]: the blocks of each sequence
--   in the caches, and its tokens there), and the places of its last rows as `last` (int32 [B])
-- @tparam {Tensor,...} caches of `Model:caches`, [blocks, G, len, D] each
-- @treturn Tensor [B, V]
function Model:step(batch, caches)
  return logits_of(self, self:hidden(batch, { caches = caches, rows = batch.last }))
end

return model
