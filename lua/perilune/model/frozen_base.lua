--- Frozen weights that models share: held once in memory, whoever stands on them.
--
-- Policy, reference, reward and value model differ by adapters and heads; what lies below them is
-- the same. It is found again by what it is, not by what it is called: a hash over the files it
-- came from, and the type it is held in. When no model stands on it any more, it goes.

local core = require("perilune.core")
local files = require("perilune.base.files")
local lfs = require("lfs")
local origin = require("perilune.model.origin")

local frozen_base = {}

--- Frozen weights.
-- @class Base
-- @field {[string]=any} config as in its config.json
-- @field {[string]=string} texts of its JSON files
-- @field {[string]=Tensor} weights by Hugging Face name, each in the shape that its file has;
--   constants
-- @field string dtype their matrices are held in: "float32", "float64", "bfloat16", "float16",
--   "q8_0", or "kept": as the file has them
-- @field string identity hash of the files they came from
-- @field integer count parameters, elements
-- @field integer bytes bytes that they take

-- Identity and dtype to Base, as long as some model holds it.
local shared = setmetatable({}, { __mode = "v" })

-- What only constants can be held in.
local kept = { bfloat16 = true, float16 = true, q8_0 = true, kept = true }

--- Whether weights of this type can only be constants.
-- @tparam string dtype
-- @treturn boolean
function frozen_base.is_kept(dtype) return kept[dtype] == true end

local function is_weights(name)
  if name:match("^adapter_") then return false end
  return name == "config.json"
    or name:match("%.safetensors$") ~= nil
    or name:match("%.safetensors%.index%.json$") ~= nil
end

--- The files that hold a model: a file itself; of a folder config.json and its weights.
local function files_of(path)
  if lfs.attributes(path, "mode") ~= "directory" then return { path } end
  local list, others = {}, {}
  for name in lfs.dir(path) do
    if is_weights(name) then
      list[#list + 1] = path .. "/" .. name
    elseif name:match("%.bin$") or name:match("%.gguf$") then
      others[#others + 1] = path .. "/" .. name
    end
  end
  if #list == 0 then list = others end
  table.sort(list)
  return list
end

--- What a model's weights are: XXH3-128 over the contents of the files that hold them.
-- @tparam string path of a folder or a file
-- @treturn ?string 32 hexadecimal digits
-- @treturn ?string message
function frozen_base.identity(path)
  local parts = {}
  for _, name in ipairs(files_of(path)) do
    local hash, message = files.hash(name)
    if not hash then return nil, message end
    parts[#parts + 1] = name:match("[^/]*$") .. " " .. hash
  end
  if #parts == 0 then return nil, ("%s holds no weights"):format(path) end
  return files.hash_string(table.concat(parts, "\n"))
end

--- A path that means the same from every folder.
-- @tparam string path
-- @treturn string
function frozen_base.absolute(path)
  path = path:gsub("(.)/+$", "%1")
  return path:sub(1, 1) == "/" and path or lfs.currentdir() .. "/" .. path
end

-- What a tensor is held in: matrices in the type asked for, vectors in float32 beside what only
-- constants can be. Rows that are no whole blocks of q8_0 are of float16, as `export` writes them.
local function held_in(dtype, tensor)
  if kept[dtype] and tensor:rank() < 2 then return "float32" end
  if dtype == "q8_0" and tensor:size(tensor:rank()) % 32 ~= 0 then return "float16" end
  return dtype
end

local function typed(tensors, dtype)
  for name, tensor in pairs(tensors) do
    local wanted = held_in(dtype, tensor)
    if tensor:dtype() ~= wanted then
      local scope <close> = core.scope("frozen_base.cast")
      local values = kept[wanted] and core.cast(tensor, { dtype = "float32" }) or tensor
      tensors[name] = core.cast(values, { dtype = wanted }):keep()
      tensor:free() -- not all of both at once
    end
  end
end

--- The weights of a folder or file: those in memory, or else read.
-- @tparam string path
-- @tparam string dtype
-- @treturn ?Base
-- @treturn ?string message
function frozen_base.load(path, dtype)
  if not (kept[dtype] or dtype == "float32" or dtype == "float64") then
    return nil, ("%s: weights are not held in '%s'"):format(path, dtype)
  end
  local identity, message = frozen_base.identity(path)
  if not identity then return nil, message end
  local key = identity .. " " .. dtype
  if shared[key] then return shared[key] end
  local found, tensors = origin.read(path, kept[dtype])
  if not found then return nil, tensors end
  if dtype ~= "kept" then typed(tensors, dtype) end
  local count, bytes = 0, 0
  for _, tensor in pairs(tensors) do
    tensor:keep(true)
    count, bytes = count + tensor:count(), bytes + tensor:memory()
  end
  local made = {
    config = found.config,
    texts = found.texts,
    weights = tensors,
    dtype = dtype,
    identity = identity,
    count = count,
    bytes = bytes,
  }
  shared[key] = made
  return made
end

return frozen_base
