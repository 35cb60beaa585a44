--- What a training checkpoint holds besides the model folder it is: optimizers, further models.
--
--     checkpoint-N/
--       config.json model.safetensors tokenizer...   the model, as transformers reads it
--       value_model/ ema/ ...                         further models of the recipe
--       optimizer.safetensors                         moments and step counts of all optimizers
--       data.json made_with.json                      which data the run reads, and which models,
--                                                     functions, by hash
--       trainer_state.json                            the recipe's state (written by perilune.run)
-- The place in the data is a function of the step, which is in the state; the hashes make sure that
-- the run goes on with the same rows and is judged by the same.

local core = require("perilune.core")
local files = require("perilune.base.files")
local model = require("perilune.model")

local state = {}

local function check(ok, message)
  if not ok then error(message, 0) end
  return ok
end

local function data_keys(parts)
  local keys = {}
  for name, set in pairs(parts.data or {}) do
    keys[name] = set and set.key or nil
  end
  return keys
end

local function hashes(parts)
  local made_with = {}
  for name, hash in pairs(parts.made_with or {}) do
    made_with[name] = hash or nil
  end
  return made_with
end

--- Compares hashes of a checkpoint with those of now; what differs and may goes into `changes`.
local function compare(changes, dir, before, now, allowed, what)
  local names, seen = {}, {}
  for _, list in ipairs { before, now } do
    for name in pairs(list) do
      names[#names + 1] = not seen[name] and name or nil
      seen[name] = true
    end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local old, new = before[name], now[name]
    if old ~= new and not allowed[name] then
      local text = "%s is not %s %s was made with: its content was %s and is %s. Put it "
        .. "back, go on with --resume_changed %s, or start a new run with --model %s"
      error(text:format(name, what, dir, old or "none", new or "none", name, dir), 0)
    elseif old ~= new then
      changes[#changes + 1] = { key = name, old = old or "none", new = new or "none" }
    end
  end
end

--- Writes models and optimizers into a folder.
-- @tparam string dir an existing folder, as run:checkpoint gives
-- @tparam table parts `model`, `tokenizer`, `models` {name = model}, `optimizers` {name = adamw},
--   `data` {key of the recipe = set of perilune.data, nil or false}, `made_with` {key of the
--   recipe = hash of what it names, nil or false}
function state.write(dir, parts)
  local scope <close> = core.scope("run.state.write")
  check(parts.model:write(dir, { tokenizer = parts.tokenizer }))
  for name, other in pairs(parts.models or {}) do
    check(files.folder_make(dir .. "/" .. name))
    check(other:write(dir .. "/" .. name, { tokenizer = parts.tokenizer }))
  end
  check(files.write_json(dir .. "/data.json", data_keys(parts)))
  check(files.write_json(dir .. "/made_with.json", hashes(parts)))
  local tensors, steps = {}, {}
  for name, optimizer in pairs(parts.optimizers or {}) do
    local moments = optimizer:state()
    tensors[name .. ".m"], tensors[name .. ".v"] = moments.m, moments.v
    steps[name] = tostring(moments.steps)
  end
  if next(tensors) then
    check(files.safetensors.save(dir .. "/optimizer.safetensors", tensors, steps))
  end
end

--- Reads them back, into objects that were made the same way.
-- @tparam string dir
-- @tparam table parts as for `write`
-- @tparam ?{[string]=boolean} allowed keys of `data` and `made_with` that may differ
-- @treturn {{key=string,old=string,new=string},...} what differs
function state.read(dir, parts, allowed)
  local scope <close> = core.scope("run.state.read")
  local changes = {}
  allowed = allowed or {}
  compare(
    changes,
    dir,
    check(files.read_json(dir .. "/data.json")),
    data_keys(parts),
    allowed,
    "the data (rows, tokenizer or template) that"
  )
  local made_with = files.read_json(dir .. "/made_with.json")
  if made_with then -- 0.1.0 wrote none
    compare(changes, dir, made_with, hashes(parts), allowed, "what")
  end
  local function read_weights(into, from)
    local loaded = check(model.load(from, { dtype = into.dtype }))
    into.block:average(loaded.block, 0)
    into.config.score_bias = loaded.config.score_bias
  end
  read_weights(parts.model, dir)
  for name, other in pairs(parts.models or {}) do
    read_weights(other, dir .. "/" .. name)
  end
  if not next(parts.optimizers or {}) then return changes end
  local tensors, steps = files.safetensors.load(dir .. "/optimizer.safetensors")
  check(tensors, steps)
  for name, optimizer in pairs(parts.optimizers) do
    local moments = optimizer:state()
    check(
      tensors[name .. ".m"] and steps[name],
      ("%s/optimizer.safetensors holds no state of '%s'"):format(dir, name)
    )
    moments.m:copy_(tensors[name .. ".m"])
    moments.v:copy_(tensors[name .. ".v"])
    optimizer:set_steps(math.tointeger(tonumber(steps[name])))
  end
  return changes
end

return state
