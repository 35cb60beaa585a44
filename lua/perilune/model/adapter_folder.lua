--- Folders of adapters, as the peft package reads and writes them:
--
--     adapter_config.json          see perilune.model.adapter_config
--     adapter_model.safetensors    base_model.model.<module>.lora_A.weight, ... and whole modules
--     perilune.json                what peft has no place for: what the base held and in which
--                                  type, and the bias of a reward model's score
-- The base model is named, not copied. Where it is: `base_model_name_or_path`, as it stands, or
-- seen from the folder; or the place that the caller gives. When perilune.json tells what it held,
-- other weights are refused.

local adapter_config = require("perilune.model.adapter_config")
local files = require("perilune.base.files")
local frozen_base = require("perilune.model.frozen_base")
local json = require("perilune.base.json")
local lfs = require("lfs")

local adapter_folder = {}

local PREFIX <const> = "base_model.model."
local CONFIG <const>, WEIGHTS <const> = "/adapter_config.json", "/adapter_model.safetensors"

local function is_there(path) return lfs.attributes(path, "mode") ~= nil end

--- Whether a folder holds adapters.
-- @tparam string path
-- @treturn boolean
function adapter_folder.is(path) return is_there(path .. CONFIG) end

local function settings_of(path)
  local config, message = files.read_json(path .. CONFIG)
  if config == nil then return nil, message end
  local settings
  settings, message = adapter_config.read(config)
  if not settings then return nil, path .. "/" .. message end
  return settings
end

local function find_base(path, settings)
  local name = settings.base
  if not name or name == "" then
    return nil, ("%s%s names no base model; give its place as 'base'"):format(path, CONFIG)
  end
  if is_there(name) then return name end
  if name:sub(1, 1) ~= "/" and is_there(path .. "/" .. name) then return path .. "/" .. name end
  local text = "the base model '%s' of %s is not here: fetch it, then give its place as 'base', or "
    .. "write it into %s as base_model_name_or_path"
  return nil, text:format(name, path, path .. CONFIG)
end

--- The folder or file of the base model that adapters stand on; of any other path the path itself.
-- @tparam string path
-- @treturn ?string
-- @treturn ?string message
function adapter_folder.base_path(path)
  if not adapter_folder.is(path) then return path end
  local settings, message = settings_of(path)
  if not settings then return nil, message end
  return find_base(path, settings)
end

--- What the weights of a model are, whether its folder holds them or adapters on others.
-- @tparam string path of a folder or a file
-- @treturn ?string 32 hexadecimal digits; without adapters those of `frozen_base.identity`
-- @treturn ?string message
function adapter_folder.identity(path)
  if not adapter_folder.is(path) then return frozen_base.identity(path) end
  local settings, message = settings_of(path)
  if not settings then return nil, message end
  local base, below, adapters
  base, message = find_base(path, settings)
  if not base then return nil, message end
  below, message = adapter_folder.identity(base)
  if not below then return nil, message end
  adapters, message = files.hash(path .. WEIGHTS)
  if not adapters then return nil, message end
  settings.base = nil -- where the base lies is not what it is
  return files.hash_string(table.concat({ below, adapters, json.encode(settings) }, "\n"))
end

-- Tensors by the names that parameters have here.
local function read_tensors(path)
  if not is_there(path .. WEIGHTS) then
    if is_there(path .. "/adapter_model.bin") then
      return nil,
        path
          .. "/adapter_model.bin is a pickle, which can run code and is not read; save it as "
          .. "safetensors: peft's save_pretrained(folder, safe_serialization=True)"
    end
    return nil, path .. WEIGHTS .. " is not there"
  end
  local tensors, message = files.safetensors.load(path .. WEIGHTS)
  if not tensors then return nil, message end
  local named = {}
  for name, tensor in pairs(tensors) do
    local own = name:sub(1, #PREFIX) == PREFIX and name:sub(#PREFIX + 1)
    if not own then
      return nil, ("%s%s: tensor '%s' does not begin with '%s'"):format(path, WEIGHTS, name, PREFIX)
    end
    own = own:gsub("(%.lora_magnitude_vector)%.weight$", "%1"):gsub("%.modules_to_save%.", ".")
    named[own] = tensor
  end
  return named
end

local function is_sound(about)
  if type(about) ~= "table" then return false end
  local base, bias = about.base, about.score_bias
  local beside = about.score_likelihood_coef
  if bias ~= nil and (math.type(bias) == nil or bias - bias ~= 0) then return false end
  if beside ~= nil and not (math.type(beside) and beside >= 0) then return false end
  local reference = about.score_likelihood_reference
  if reference ~= nil and type(reference) ~= "string" then return false end
  local heads, biases = about.score_heads, about.score_biases
  if heads ~= nil and (math.type(heads) ~= "integer" or heads < 1 or heads > 1024) then
    return false
  elseif biases ~= nil and (type(biases) ~= "table" or #biases ~= (heads or 1)) then
    return false
  end
  for _, each in ipairs(biases or {}) do
    if math.type(each) == nil or each - each ~= 0 then return false end
  end
  if base == nil then return true end
  return type(base) == "table"
    and type(base.hash) == "string"
    and (base.dtype == nil or type(base.dtype) == "string")
end

-- What perilune.json says; {} when there is none.
local function read_about(path)
  if not is_there(path .. "/perilune.json") then return {} end
  local about, message = files.read_json(path .. "/perilune.json")
  if about == nil then return nil, message end
  if not is_sound(about) then return nil, path .. "/perilune.json is not as it was written" end
  return about
end

--- The type in which the base of adapters was held when they were trained.
-- @tparam string path
-- @treturn ?string nil when the path holds no adapters, or what is wrong with them will be told
--   when they are read
function adapter_folder.base_dtype(path)
  if not adapter_folder.is(path) then return nil end
  local about = read_about(path)
  return about and (about.base and about.base.dtype or "float32")
end

--- Reads a folder of adapters.
-- @tparam string path
-- @tparam ?string place of the base model, where the folder's word is not to be followed
-- @treturn ?{settings=table,tensors={[string]=Tensor},base=string,about=table} `about` is what
--   perilune.json says
-- @treturn ?string message
function adapter_folder.read(path, place)
  local sound, damage = files.folder_sound(path)
  if not sound then return nil, damage end
  local settings, message = settings_of(path)
  if not settings then return nil, message end
  local tensors
  tensors, message = read_tensors(path)
  if not tensors then return nil, message end
  local about
  about, message = read_about(path)
  if not about then return nil, message end
  if not place then
    place, message = find_base(path, settings)
    if not place then return nil, message end
  end
  return { settings = settings, tensors = tensors, base = place, about = about }
end

--- Why adapters do not belong to a base; nil when they do, or when nothing is known of theirs.
-- @tparam string path of the adapters
-- @tparam table folder of `read`
-- @tparam Base found at `folder.base`
-- @treturn ?string
function adapter_folder.foreign(path, folder, found)
  local wanted = folder.about.base and folder.about.base.hash
  if not wanted or wanted == found.identity then return nil end
  local text = "%s stands on other weights than %s holds now: their content was %s and is %s. Put "
    .. "back what the adapters were trained on, or train new ones"
  return text:format(path, folder.base, tostring(wanted), found.identity)
end

--- Writes adapters into an existing folder.
-- @tparam string dir
-- @tparam table config of adapter_config.written
-- @tparam {[string]=Tensor} tensors of the block
-- @tparam table about for perilune.json: `base` {path, hash, dtype}, `score_bias`,
--   `score_heads`, `score_biases`, `score_likelihood_coef` and `score_likelihood_reference`
-- @treturn ?boolean true
-- @treturn ?string message
function adapter_folder.write(dir, config, tensors, about)
  local ok, message = files.write_json(dir .. CONFIG, config)
  if not ok then return nil, message end
  ok, message = files.write_json(dir .. "/perilune.json", about)
  if not ok then return nil, message end
  local named = {}
  for name, tensor in pairs(tensors) do
    named[PREFIX .. name] = tensor
  end
  return files.safetensors.save(dir .. WEIGHTS, named, { format = "pt" })
end

return adapter_folder
