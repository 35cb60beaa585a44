--- Models from folders and files: with a block of all weights, or on a frozen base with adapters.

local adapter_config = require("perilune.model.adapter_config")
local adapter_folder = require("perilune.model.adapter_folder")
local core = require("perilune.core")
local decoder = require("perilune.model.decoder")
local frozen_base = require("perilune.model.frozen_base")
local making = require("perilune.model.making")
local on_base = require("perilune.model.on_base")
local origin = require("perilune.model.origin")
local random = require("perilune.base.random")

local loading = {}

-- Moves tensors (by Hugging Face name) into the parameters, which they fit. Each goes when it is
-- there: memory of new parameters is taken when they are written, so that all are never held twice.
local function fill(self, tensors, where)
  for _, entry in ipairs(self.entries) do
    local scope <close> = core.scope("model.fill")
    local name = entry[1]
    local given = tensors[name]
    self.weights[name]:copy_(given:dtype() == self.dtype and given or core.cast(given, self.dtype))
    tensors[name] = nil
    given:free()
    core.mem_trim()
  end
  local left = next(tensors)
  if left and not (left == "lm_head.weight" or left == "score.weight") then
    return nil, ("%s: tensor '%s' belongs to no parameter of this architecture"):format(where, left)
  end
  return self
end

--- A model on a base, with no values in its block yet.
-- @tparam table class of models
-- @tparam Base found
-- @tparam string path of the base
-- @tparam table opts `settings` of adapters, `scalar_head`, `score_heads`, `precision`; `lenient`
--   as of on_base.build
-- @treturn ?Model nil when it cannot stand there
-- @treturn ?string message
function loading.stand(class, found, path, opts)
  local config = making.copied(found.config)
  if opts.scalar_head ~= nil then config.scalar_head = opts.scalar_head end
  config.score_heads = opts.score_heads or config.score_heads
  local dtype = found.dtype == "float64" and "float64" or "float32"
  local self, message = making.planned(class, config, dtype, opts.precision)
  if not self then return nil, message end
  local below = making.copied(found.weights)
  below["score.weight"] = nil
  local entries = {}
  for _, entry in ipairs(self.entries) do
    if entry[1] ~= "score.weight" then entries[#entries + 1] = entry end
  end
  message = making.misfit(entries, below, path)
  if message then return nil, message end
  local ok
  ok, message = on_base.build(self, found, opts.settings, opts.lenient)
  if not ok then return nil, message end
  self.base_path, self.texts = path, found.texts
  return self
end

local function load_frozen(class, path, dtype, settings, opts)
  local found, message = frozen_base.load(path, dtype)
  if not found then return nil, message end
  local self
  self, message = loading.stand(class, found, path, {
    settings = settings,
    scalar_head = opts.scalar_head,
    score_heads = opts.score_heads,
    precision = opts.precision,
  })
  if not self then return nil, message end
  self.path = path
  on_base.begin(self, {}, opts.seed or 0)
  return self
end

local function load_adapters(class, path, dtype, opts)
  local read, message = adapter_folder.read(path, opts.base)
  if not read then return nil, message end
  local settings, found = read.settings
  local trained_on = read.about.base and read.about.base.dtype or "float32"
  found, message = frozen_base.load(read.base, dtype == "auto" and trained_on or dtype)
  message = not found and message or found and adapter_folder.foreign(path, read, found)
  if message then return nil, message end
  local self
  self, message = loading.stand(class, found, read.base, {
    settings = settings,
    scalar_head = opts.scalar_head or settings.scores,
    score_heads = opts.score_heads or read.about.score_heads,
    precision = opts.precision,
    lenient = true,
  })
  if not self then return nil, path .. ": " .. message end
  local modules = decoder.modules(self.spec)
  message = adapter_config.other(
    path,
    adapter_config.wanted(opts.peft),
    self.peft,
    self.chosen,
    modules
  ) or on_base.misfit(self, read.tensors, path)
  if message then return nil, message end
  self.path = path
  making.take_scores(self.config, read.about)
  on_base.begin(self, read.tensors, opts.seed or 0)
  return self
end

--- Loads a model, see `model.load`.
-- @tparam table class of models
-- @tparam string path folder or file
-- @tparam table opts LoadOptions
-- @treturn ?Model nil when it cannot be loaded
-- @treturn ?string message
function loading.load(class, path, opts)
  local scope <close> = core.scope("model.load")
  local dtype = opts.dtype or opts.peft and opts.peft.base_dtype or "auto"
  if adapter_folder.is(path) then return load_adapters(class, path, dtype, opts) end
  if dtype == "auto" then dtype = "float32" end
  local wanted = adapter_config.wanted(opts.peft)
  if opts.peft and frozen_base.is_kept(dtype) and not wanted then
    local text = "weights in %s are constants, and all of %s were to be trained: give peft_r, or "
      .. "base_dtype float32"
    return nil, text:format(dtype, path)
  elseif opts.frozen or frozen_base.is_kept(dtype) or wanted then
    return load_frozen(class, path, dtype, wanted, opts)
  end
  local found, tensors = origin.read(path, true)
  if not found then return nil, tensors end
  local config, spec = found.config, found.spec
  local fresh_head = opts.scalar_head and not tensors["score.weight"]
  if opts.scalar_head then config.scalar_head = true end
  if not fresh_head and opts.score_heads and opts.score_heads ~= (config.score_heads or 1) then
    local text = "%s has %d scalar heads, and %d were asked for"
    return nil, text:format(path, config.score_heads or 1, opts.score_heads)
  end
  config.score_heads = opts.score_heads or config.score_heads
  if fresh_head then
    tensors["score.weight"] = core.randn({ config.score_heads or 1, spec.out_width }, {
      a = 0,
      b = 1 / math.sqrt(spec.out_width + 1),
      seed = opts.seed or 0,
      purpose = random.purpose("model.init", "score.weight"),
    })
  end
  local precision = opts.precision
  local self, message =
    making.allocate(class, config, { dtype = dtype, precision = precision }, tensors, path)
  if not self then return nil, message end
  self.path, self.texts = path, found.texts
  return fill(self, tensors, path)
end

return loading
