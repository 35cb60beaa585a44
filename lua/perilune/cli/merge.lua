--- `perilune merge ADAPTERS OUT [--key value]`: adapters and their base as one model folder.
--
-- Every program that knows the base's family opens it.
--
-- A base in half precision or in a GGUF's blocks is taken at its float32 values.

local config = require("perilune.config")
local core = require("perilune.core")
local format = require("perilune.base.format")
local lfs = require("lfs")
local model = require("perilune.model")
local tokenizer = require("perilune.model.tokenizer")

local usage = "perilune merge ADAPTERS OUT [--key value]"

local function settings(args)
  return config {
    name = "merge",
    about = "adapters worked into the weights of their base: a model folder of its own",
    usage = usage,
    args = args,
    keep = { "threads" },
    {
      dtype = "float32",
      "of the weights that are written",
      choices = { "float32", "bfloat16", "float16" },
    },
    { base = "", "where the base model is, when it is not where the adapters say" },
  }
end

local function merge(cfg, from, to)
  if lfs.attributes(to, "mode") then
    return nil, ("%s is there already; give another folder, or remove it first"):format(to)
  end
  local base = cfg.base ~= "" and cfg.base or nil
  local adapted, message = model.load(from, { base = base })
  if not adapted then return nil, message end
  if not adapted.peft then
    return nil, ("%s is a model of its own and holds no adapters to merge"):format(from)
  end
  local tok
  tok, message = tokenizer.load(from)
  if not tok and base then
    tok, message = tokenizer.load(base)
  end
  if not tok then return nil, message end
  local merged = model.merge(adapted)
  local ok
  ok, message = merged:save(to, { tokenizer = tok, save_dtype = cfg.dtype })
  if not ok then return nil, message end
  io.stderr:write(
    ("%s: %s parameters, the adapters of %s merged into %s\n"):format(
      to,
      format.count((merged:count())),
      from,
      adapted.base_path
    )
  )
  return true
end

return function(args)
  local from, to = args[1], args[2]
  local option = from and from:sub(1, 1) == "-"
  if option or not to or to:sub(1, 1) == "-" then
    settings(option and args or {}) -- --help leaves the program here, a wrong option is named
    io.stderr:write("perilune merge: which adapters, and where to? usage: ", usage, "\n")
    return 1
  end
  local cfg = settings(table.move(args, 3, #args, 1, {}))
  if cfg.threads > 0 then core.threads(cfg.threads) end
  local ok, done, message = pcall(merge, cfg, from, to)
  if ok and done then return 0 end
  message = tostring(ok and message or done):gsub("^%S+%.lua:%d+: ", "")
  io.stderr:write("perilune merge: ", message, "\n")
  return 1
end
