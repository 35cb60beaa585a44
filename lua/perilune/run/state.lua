--- What a training checkpoint holds besides the model folder it is: optimizers, further models.
--
--     checkpoint-N/
--       config.json model.safetensors tokenizer...   the model, as transformers reads it
--       value_model/ ema/ ...                         further models of the recipe
--       optimizer.safetensors                         moments and step counts of all optimizers
--       data.json                                     which data the run reads, by hash
--       trainer_state.json                            the recipe's state (written by perilune.run)
-- The place in the data is a function of the step, which is in the state; `data.json` makes sure
-- that the run goes on with the same rows.

local core = require("perilune.core")
local files = require("perilune.base.files")
local model = require("perilune.model")

local state = {}

local function check(ok, message)
  if not ok then
    error(message, 0)
  end
  return ok
end

local function data_keys(parts)
  local keys = {}
  for name, set in pairs(parts.data or {}) do
    keys[name] = set and set.key or nil
  end
  return keys
end

--- Writes models and optimizers into a folder.
-- @tparam string dir an existing folder, as run:checkpoint gives
-- @tparam table parts `model`, `tokenizer`, `models` {name = model}, `optimizers` {name = adamw},
--   `data` {key of the recipe = set of perilune.data, nil or false}
function state.write(dir, parts)
  local scope <close> = core.scope("run.state.write")
  check(parts.model:write(dir, { tokenizer = parts.tokenizer }))
  for name, other in pairs(parts.models or {}) do
    check(files.folder_make(dir .. "/" .. name))
    check(other:write(dir .. "/" .. name, { tokenizer = parts.tokenizer }))
  end
  check(files.write_json(dir .. "/data.json", data_keys(parts)))
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
function state.read(dir, parts)
  local scope <close> = core.scope("run.state.read")
  local before, now = check(files.read_json(dir .. "/data.json")), data_keys(parts)
  for name, key in pairs(before) do
    if now[name] ~= key then
      error(("%s is not the data that %s was trained on: rows, tokenizer or template changed. Put "
        .. "them back, or start a new run with --model %s"):format(name, dir, dir), 0)
    end
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
  if not next(parts.optimizers or {}) then
    return
  end
  local tensors, steps = files.safetensors.load(dir .. "/optimizer.safetensors")
  check(tensors, steps)
  for name, optimizer in pairs(parts.optimizers) do
    local moments = optimizer:state()
    check(tensors[name .. ".m"] and steps[name],
      ("%s/optimizer.safetensors holds no state of '%s'"):format(dir, name))
    moments.m:copy_(tensors[name .. ".m"])
    moments.v:copy_(tensors[name .. ".v"])
    optimizer:set_steps(math.tointeger(tonumber(steps[name])))
  end
end

return state
