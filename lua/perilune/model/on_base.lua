--- Models on frozen weights: what is trained lies in a block of its own, beside a base that models
-- share (perilune.model.frozen_base).
--
-- The block holds adapters (perilune.model.adapters), the scalar head, and modules that are trained
-- whole (peft's modules_to_save). All else is the base's and constant.

local adapter_config = require("perilune.model.adapter_config")
local adapters = require("perilune.model.adapters")
local core = require("perilune.core")
local decoder = require("perilune.model.decoder")
local keys_of = require("perilune.base.list").keys
local nearest = require("perilune.base.nearest")
local random = require("perilune.base.random")

local on_base = {}

--- Whether a parameter belongs to a module that is trained whole.
local function is_own(name, settings)
  if name == "score.weight" then return true end
  for _, module in ipairs(settings and settings.modules_to_save or {}) do
    if ("." .. name):find("." .. module .. ".", 1, true) then return true end
  end
  return false
end

-- peft's names of heads of classifiers, which it lists whether they are there or not.
local listed = { classifier = true, score = true }

--- Why modules cannot be trained whole; nil when they can.
local function not_own(model, settings)
  for _, module in ipairs(settings and settings.modules_to_save or {}) do
    local fits, names, seen = listed[module], {}, {}
    for _, entry in ipairs(model.entries) do
      local name = entry[1]:gsub("%.%w+$", "")
      fits = fits or ("." .. name .. "."):find("." .. module .. ".", 1, true)
      local last = name:match("[^.]+$")
      names[#names + 1] = not seen[last] and last or nil
      seen[last] = true
    end
    if not fits then
      return ("modules_to_save: no module of this model is called '%s'%s"):format(
        module,
        nearest.hint(module, names)
      )
    end
  end
  local spec = model.spec -- a tied table is two modules: peft would train the one, not the other
  for _, name in ipairs(spec.tied and { spec.names.embedding, spec.names.head } or {}) do
    if is_own(name .. ".weight", settings) then
      local text = "modules_to_save: the embedding and the head of this model are one matrix, so "
        .. "'%s' cannot be trained apart"
      return text:format(name)
    end
  end
end

--- Gives a model its block, weights and adapters. Values are still those of an empty block.
-- @tparam Model model with `config`, `spec`, `entries` and `dtype`
-- @tparam Base base
-- @tparam ?table settings of adapters; nil: none
-- @tparam ?boolean lenient as of adapter_config.chosen
-- @treturn ?boolean true
-- @treturn ?string message
function on_base.build(model, base, settings, lenient)
  local message = not_own(model, settings)
  if message then return nil, message end
  local chosen, shapes, own = {}, {}, {}
  if settings then
    chosen, message = adapter_config.chosen(settings, decoder.modules(model.spec), lenient)
    if not chosen then return nil, message end
  end
  for _, entry in ipairs(model.entries) do
    shapes[entry[1]:gsub("%.weight$", "")] = entry[2]
    if is_own(entry[1], settings) then own[#own + 1] = entry end
  end
  local list = adapters.entries(chosen, shapes, settings ~= nil and settings.use_dora)
  table.move(own, 1, #own, #list + 1, list)
  model.base, model.peft, model.chosen = base, settings, chosen
  model.block = core.block(list, model.dtype)
  model.weights = {}
  for _, entry in ipairs(model.entries) do
    model.weights[entry[1]] = base.weights[entry[1]]
  end
  local tensors = model.block:tensors()
  for _, entry in ipairs(own) do
    model.weights[entry[1]] = tensors[entry[1]]
  end
  model.adapters = settings
    and adapters.make(chosen, settings, model.weights, model.block, model.dtype)
  decoder.bind(model)
  return true
end

local function draw(model, entry, seed)
  model.weights[entry[1]]:copy_(core.randn(entry[2], {
    a = 0,
    b = entry[3],
    seed = seed,
    purpose = random.purpose("model.init", entry[1]),
    dtype = model.dtype,
  }))
end

--- Fills the block with what training begins from: the values given, else those of the base, else
-- new ones.
-- @tparam Model model
-- @tparam {[string]=Tensor} given by parameter
-- @tparam integer seed
function on_base.begin(model, given, seed)
  local scope <close> = core.scope("model.begin")
  local guard <close> = core.no_grad()
  for _, one in ipairs(model.chosen) do
    local adapter = model.adapters[one.name]
    if not given[one.name .. ".lora_A.weight"] then adapter:begin(seed) end
  end
  for _, entry in ipairs(model.entries) do
    local name = entry[1]
    if is_own(name, model.peft) and not given[name] then
      local held = model.base.weights[name]
      if held then
        model.weights[name]:copy_(core.cast(held, { dtype = model.dtype }))
      else
        draw(model, entry, seed)
      end
    end
  end
  for name, tensor in pairs(model.block:tensors()) do
    local value = given[name]
    if value then tensor:copy_(core.cast(value:detach(), { dtype = model.dtype })) end
  end
end

--- Why the tensors of a file are not those of a model's block; nil when they are. A scalar head may
-- be missing.
-- @tparam Model model
-- @tparam {[string]=Tensor} tensors
-- @tparam string where
-- @treturn ?string
function on_base.misfit(model, tensors, where)
  local wanted = model.block:tensors()
  local function shape(tensor) return "[" .. table.concat(tensor:shape(), ",") .. "]" end
  for _, name in ipairs(model.block:names()) do
    local given = tensors[name]
    if not given and name ~= "score.weight" then
      return ("%s: tensor '%s' is missing, which adapter_config.json asks for"):format(where, name)
    elseif given and shape(given) ~= shape(wanted[name]) then
      return ("%s: tensor '%s' has shape %s, adapter_config.json and the base want %s"):format(
        where,
        name,
        shape(given),
        shape(wanted[name])
      )
    end
  end
  local names = keys_of(tensors)
  for _, name in ipairs(names) do
    if not wanted[name] then
      local text = "%s: tensor '%s' belongs to nothing that adapter_config.json names"
      if name:find("%.lora_embedding_") then
        text = "%s: tensor '%s' is an adapter of an embedding, which is not implemented"
      end
      return text:format(where, name)
    end
  end
end

--- Brings up to date what adapters keep besides their parameters. Nothing is done when no
-- parameter has been written since.
-- @tparam Model model
function on_base.settle(model)
  if not (model.peft and model.peft.use_dora) then return end
  local version = model.block:flat():version()
  if model.settled == version then return end
  for _, one in ipairs(model.chosen) do
    model.adapters[one.name]:settle()
  end
  model.settled = version
end

--- The weights of the model that adapters and base make together.
-- @tparam Model model
-- @treturn {[string]=Tensor} by parameter, in the dtype of the block
function on_base.merged(model)
  local result = {}
  for _, entry in ipairs(model.entries) do
    local name = entry[1]
    local adapter = model.adapters and model.adapters[name:gsub("%.weight$", "")]
    if adapter and name:find("%.weight$") then
      result[name] = adapter:merged()
    else
      result[name] = core.cast(model.weights[name]:detach(), { dtype = model.dtype })
    end
  end
  return result
end

return on_base
