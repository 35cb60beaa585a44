--- `perilune merge ADAPTERS OUT [--key value]`: adapters and their base as one model folder, and
-- the sum of several models.
--
--     perilune merge MODEL MODEL... OUT --shares 0.4,0.6     each one's weights times its share
--
-- Shares have the sum 1, or weights would grow or shrink as a whole; -0.5,1.5 goes on beyond the
-- second model. Reward models are added as other models are (WARM, arXiv:2401.12187).
--
-- Every program that knows the base's family opens it.
--
-- A base in half precision or in a GGUF's blocks is taken at its float32 values.

local companions = require("perilune.learn.companions")
local config = require("perilune.config")
local core = require("perilune.core")
local format = require("perilune.base.format")
local lfs = require("lfs")
local model = require("perilune.model")
local tokenizer = require("perilune.model.tokenizer")

local SLACK <const> = 0.011 -- of the shares' sum: 0.33,0.33,0.33 is a mean

local usage = "perilune merge ADAPTERS OUT [--key value], or MODEL MODEL... OUT [--shares N,N]"

local function settings(args)
  return config {
    name = "merge",
    about = "adapters worked into their base, or the mean of several models: one model folder",
    usage = usage,
    args = args,
    keep = { "threads" },
    {
      dtype = "float32",
      "of the weights that are written",
      choices = { "float32", "bfloat16", "float16" },
    },
    { base = "", "where the base model is, when it is not where the adapters say" },
    {
      shares = {},
      "of several models: what the weights of each are multiplied by, of sum 1; nothing: the mean",
    },
  }
end

local function free(path)
  if not lfs.attributes(path, "mode") then return true end
  if lfs.attributes(path .. "/config.json", "mode") then
    local text = "%s is a model already, and the last name is the folder that is written: give one "
      .. "that is not there"
    return nil, text:format(path)
  end
  return nil, ("%s is there already; give another folder, or remove it first"):format(path)
end

local function write(merged, tok, to, cfg, what, ...)
  local ok, message = merged:save(to, { tokenizer = tok, save_dtype = cfg.dtype })
  if not ok then return nil, message end
  local head = ("%s: %s parameters, "):format(to, format.count((merged:count())))
  io.stderr:write(head, what:format(...), "\n")
  return true
end

local function base_of(cfg) return cfg.base ~= "" and cfg.base or nil end

local function merge(cfg, from, to)
  local base = base_of(cfg)
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
  local what = "the adapters of %s merged into %s"
  return write(model.merge(adapted), tok, to, cfg, what, from, adapted.base_path)
end

-- What the weights of each model are multiplied by.
local function shares_of(cfg, count)
  local shares, sum = {}, 0
  if #cfg.shares > 0 and #cfg.shares ~= count then
    error(("--shares has %d numbers for %d models"):format(#cfg.shares, count), 0)
  end
  for i = 1, count do
    local text = cfg.shares[i]
    shares[i] = text and tonumber(text) or not text and 1 / count or nil
    if not shares[i] or shares[i] - shares[i] ~= 0 then
      error(("--shares: '%s' is no number"):format(text), 0)
    end
    sum = sum + shares[i]
  end
  if math.abs(sum - 1) > SLACK then
    local what = "--shares have the sum %.4g: the weights would be as many times as large; give "
      .. "numbers of sum 1, as 0.25,0.75"
    error(what:format(sum), 0)
  end
  return shares
end

local function mix(cfg, paths, to)
  local list, models, shares = {}, {}, shares_of(cfg, #paths)
  for i, path in ipairs(paths) do
    models[i] = companions.load("model", path, { base = base_of(cfg) })
    local scores = models[1].config.scalar_head -- reward models are added to their like
    list[i] = { name = "model " .. i, path = path, model = models[i], scores = scores }
  end
  companions.check(list)
  companions.addable(list)
  local tok = companions.tokenizer("model", paths[1])
  local what = "the weights of %d models, %s times each"
  local times = {}
  for i, share in ipairs(shares) do
    times[i] = ("%.4g"):format(share)
  end
  times = table.concat(times, ", ")
  return write(model.mix(models, shares), tok, to, cfg, what, #paths, times)
end

return function(args)
  local paths = {}
  while args[#paths + 1] and args[#paths + 1]:sub(1, 1) ~= "-" do
    paths[#paths + 1] = args[#paths + 1]
  end
  local cfg = #paths ~= 1 and settings(table.move(args, #paths + 1, #args, 1, {}))
  if #paths < 2 then -- --help left the program above, a wrong option was named
    io.stderr:write("perilune merge: which models, and where to? usage: ", usage, "\n")
    return 1
  end
  if cfg.threads > 0 then core.threads(cfg.threads) end
  local to = table.remove(paths)
  local ok, done, message = pcall(function()
    if #paths == 1 and #cfg.shares > 0 then
      return nil, "--shares are of several models, and one was given before the folder to write"
    end
    local is_free, taken = free(to)
    if not is_free then return nil, taken end
    if #paths == 1 then return merge(cfg, paths[1], to) end
    return mix(cfg, paths, to)
  end)
  if ok and done then return 0 end
  message = tostring(ok and message or done):gsub("^%S+%.lua:%d+: ", "")
  io.stderr:write("perilune merge: ", message, "\n")
  return 1
end
