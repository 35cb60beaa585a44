--- `perilune export MODEL OUT.gguf [--dtype f16]`: a model with its tokenizer and template as one
-- GGUF file, which llama.cpp opens.

local config = require("perilune.config")
local gguf_write = require("perilune.model.gguf_write")
local lfs = require("lfs")
local model = require("perilune.model")
local tokenizer = require("perilune.model.tokenizer")

local usage = "perilune export MODEL OUT.gguf [--dtype f32|f16|bf16|q8_0]"

local dtypes = { f32 = "float32", f16 = "float16", bf16 = "bfloat16", q8_0 = "q8_0" }

local function fail(message)
  io.stderr:write("perilune export: ", message, "\n")
  return 1
end

return function(args)
  local from, to, rest = nil, nil, {}
  for _, arg in ipairs(args) do
    if arg:sub(1, 1) == "-" or to then
      rest[#rest + 1] = arg
    elseif from then
      to = arg
    else
      from = arg
    end
  end
  local cfg = config {
    name = "export",
    about = "a model as one GGUF file",
    usage = usage,
    args = rest,
    keep = {},
    { dtype = "f16", "of the matrices", choices = { "f32", "f16", "bf16", "q8_0" } },
    { tokenizer = "", "folder or file of the tokenizer, when it is not the model's folder" },
  }
  if not from or not to or not to:match("%.gguf$") then
    return fail("which model, and where to? usage: " .. usage)
  elseif lfs.attributes(to) then
    return fail(("%s is there already; give another name, or remove it"):format(to))
  end
  local loaded, message = model.load(from)
  if not loaded then return fail(message) end
  local tok
  tok, message = tokenizer.load(cfg.tokenizer ~= "" and cfg.tokenizer or from)
  if not tok then return fail(message) end
  local ok
  ok, message = gguf_write.save(model.merge(loaded), tok, to, dtypes[cfg.dtype])
  if not ok then return fail(message) end
  print(to)
  return 0
end
