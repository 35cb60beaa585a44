--- Where models come from: a Hugging Face folder, a GGUF file, a llama2.c checkpoint.
--
-- Each is read into a config, as a config.json has it, and tensors under the names and in the
-- layout of the parameters. What the folder says beyond that is kept as text, to be written back.
-- PyTorch's pickles are never read.

local families = require("perilune.model.families")
local files = require("perilune.base.files")
local gguf = require("perilune.model.gguf")
local json = require("perilune.base.json")
local lfs = require("lfs")
local single_file = require("perilune.model.single_file")

local origin = {}

--- Set by `perilune plan`, which measures with few layers: {layers =, note =}. Then the first
-- `layers` alone are read of a file, and `note` is told how many there are.
origin.trial = nil

local list_class = getmetatable(json.array())

-- The text of a JSON object in a file, and what it is.
local function read_object(path)
  local text, message = files.read(path)
  if not text then return nil, message end
  local value
  value, message = json.decode(text)
  if value == nil then
    return nil, path .. ": " .. message
  elseif type(value) ~= "table" or getmetatable(value) == list_class then
    local what = type(value) == "table" and "a list" or value == json.null and "null" or value
    return nil, ("%s: %s, not an object"):format(path, tostring(what))
  end
  return text, value
end

-- ---- Hugging Face folders -----------------------------------------------------------------------

-- Whether a tensor is to be read: all are, but in a trial.
local function is_wanted(name)
  local layer = tonumber(name:match("%.(%d+)%.") or name:match("^%a+%.(%d+)%."))
  return not origin.trial or not layer or layer < origin.trial.layers
end

-- What a config asks for: its spec; in a trial that of fewer layers.
local function spec_of(config)
  local spec, message = families.spec(config)
  if not spec or not origin.trial then return spec, message end
  origin.trial.note(spec.layers)
  families.shorten(config, spec, origin.trial.layers)
  return families.spec(config)
end

-- With `keep` matrices stay in the file's own types, as far as they need no other layout.
local function load_safetensors(path, keep)
  if not keep and not origin.trial then return files.safetensors.load(path) end
  local file <close>, message = files.safetensors.open(path)
  if not file then return nil, message end
  local tensors, names, info = {}, file:names()
  for _, name in ipairs(names) do
    if is_wanted(name) then
      tensors[name], message = file:load(name, keep and #info[name].shape > 1)
      if not tensors[name] then return nil, message end
    end
  end
  return tensors
end

-- What the front matter of a folder's model card says of its licence.
local function license_of(path)
  local text = files.read(path .. "/README.md", 1 << 20)
  local head = text and text:match("^%-%-%-\n(.-)\n%-%-%-")
  return head and ("\n" .. head .. "\n"):match("\nlicense:%s*[\"']?([%w%.%-_]+)[\"']?%s*\n")
end

local function read_folder(path, keep)
  local sound, damage = files.folder_sound(path)
  if not sound then return nil, damage end
  local text, config = read_object(path .. "/config.json")
  if not text then return nil, config end
  local spec, message = spec_of(config)
  if not spec then
    local inner = path .. "/model"
    if lfs.attributes(inner .. "/config.json") then -- the folder of a run
      return nil, ("%s is a run's folder, no model: its model is %s"):format(path, inner)
    end
    return nil, path .. "/" .. message
  end
  local tensors
  tensors, message = load_safetensors(path, keep and not spec.family.transposed)
  if not tensors then return nil, message end
  local texts = { config = text, license = license_of(path) }
  if lfs.attributes(path .. "/generation_config.json") then
    text, message = read_object(path .. "/generation_config.json")
    if not text then return nil, message end
    texts.generation = text
  end
  return { config = config, spec = spec, texts = texts }, families.from_file(spec, tensors)
end

-- ---- single files -------------------------------------------------------------------------------

local function read_gguf(path, keep)
  local file <close>, message = files.gguf.open(path)
  if not file then return nil, message end
  local config, spec, tensors
  config, message = gguf.config(file)
  if not config then return nil, ("%s: %s"):format(path, message) end
  spec, message = spec_of(config)
  if not spec then return nil, ("%s: its entries as a config.json: %s"):format(path, message) end
  tensors, message = gguf.tensors(file, spec, keep, is_wanted)
  if not tensors then return nil, ("%s: %s"):format(path, message) end
  local license = file:get("general.license")
  local texts = { license = type(license) == "string" and license or nil }
  return { config = config, spec = spec, texts = texts }, tensors
end

local function read_llama2c(path)
  local config, tensors = files.llama2c.load(path)
  if not config then return nil, tensors end
  local spec, message = spec_of(config)
  if not spec then return nil, ("%s: %s"):format(path, message) end
  for name in pairs(tensors) do
    if not is_wanted(name) then tensors[name] = nil end
  end
  return { config = config, spec = spec, texts = {} }, families.from_file(spec, tensors)
end

--- Reads a model.
-- @tparam string path of a folder or file
-- @tparam ?boolean keep matrices stay in the file's own types
-- @treturn ?table what it is: `config`, `spec`, and `texts`: those of config.json and
--   generation_config.json, where there are such files (`config`, `generation`), and the `license`
-- @treturn any its tensors, by parameter; or a message
function origin.read(path, keep)
  local bin, several = single_file.find(path, "%.bin$")
  local blocks, more = single_file.find(path, "%.gguf$")
  local wrong = several or more or not bin and not blocks and single_file.stranger(path)
  if wrong then return nil, wrong end
  local found, tensors
  if blocks then
    found, tensors = read_gguf(blocks, keep)
  elseif bin then
    found, tensors = read_llama2c(bin)
  else
    found, tensors = read_folder(path, keep)
  end
  if not found then return nil, tensors end
  local message = families.oversized(found.config, found.spec, tensors)
  if message then return nil, ("%s/%s"):format(path, message) end
  if found.config.scalar_head == nil then
    found.config.scalar_head = tensors["score.weight"] ~= nil
  end
  local biases, heads = found.config.score_biases, found.config.score_heads or 1
  if biases and #biases ~= heads then
    local text = "%s: config.json has %d score_biases for %d score_heads"
    return nil, text:format(path, #biases, heads)
  end
  return found, tensors
end

return origin
