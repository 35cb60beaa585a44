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

local state = {}

--- What a checkpoint holds of a recipe, and what decides its result beside that.
-- @class RunParts
-- @field Model model that is trained: its folder is the checkpoint
-- @field ?{[string]=Model} models further ones, by the name of their folders
-- @field ?Tokenizer tokenizer whose files stand beside the model
-- @field ?{[string]=Optimizer} optimizers by name
-- @field ?{[string]=any} data the data sets (ExampleSet and so on) by the key of the recipe; their
--   `key` must be the same when the run goes on
-- @field ?{[string]=string|boolean} made_with hashes of the models and functions that constant
--   parts came from, by the key of the recipe; false: none

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

-- Names whose hashes differ go into `refused`, those that may differ into `changes`.
local function compare(before, now, allowed, what, refused, changes)
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
    local into = allowed[name] and changes or refused
    if old ~= new then
      into[#into + 1] = { key = name, old = old or "none", new = new or "none", what = what }
    end
  end
end

--- Holds what a run has now against what its checkpoint was made with; nothing is read or changed
-- before. What differs and may not is an error that names all of it.
-- @tparam string dir the checkpoint
-- @tparam table parts as for `write`
-- @tparam ?{[string]=boolean} allowed keys of `data` and `made_with` that may differ
-- @treturn {{key=string,old=string,new=string},...} what differs and may
function state.compare(dir, parts, allowed)
  local refused, changes = {}, {}
  allowed = allowed or {}
  compare(
    check(files.read_json(dir .. "/data.json")),
    data_keys(parts),
    allowed,
    "the data (rows, tokenizer or template) that",
    refused,
    changes
  )
  local made_with = files.read_json(dir .. "/made_with.json")
  if made_with then -- 0.1.0 wrote none
    compare(made_with, hashes(parts), allowed, "what", refused, changes)
  end
  if #refused > 0 then
    local texts, names = {}, {}
    for i, one in ipairs(refused) do
      local text = "%s is not %s %s was made with: its content was %s and is %s"
      texts[i] = text:format(one.key, one.what, dir, one.old, one.new)
      names[i] = one.key
    end
    local advice = "%s. Put it back, go on with --resume_changed %s, or start a new run with "
      .. "--model %s"
    error(advice:format(table.concat(texts, "; "), table.concat(names, ","), dir), 0)
  end
  for _, one in ipairs(changes) do
    one.what = nil
  end
  return changes
end

--- Writes models and optimizers into a folder.
-- @tparam string dir an existing folder, as run:checkpoint gives
-- @tparam table parts `model`, `tokenizer`, `models` {name = model}, `optimizers`
--   {name = optimizer}, `data` {key of the recipe = set of perilune.data, nil or false},
--   `made_with` {key of the recipe = hash of what it names, nil or false}
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

--- Reads the weights of the models back, into models that were made the same way.
-- @tparam string dir
-- @tparam table parts `model` and `models`, as for `write`
function state.read_models(dir, parts)
  check(parts.model:read(dir))
  for name, other in pairs(parts.models or {}) do
    check(other:read(dir .. "/" .. name))
  end
end

local function kind_of(tensor)
  return ("%s [%s]"):format(tensor:dtype(), table.concat(tensor:shape(), ","))
end

-- Moments of another kind or of other parameters are not these, and are made into none.
local function not_theirs(dir, name, from, into)
  local text = "%s/optimizer.safetensors has moments of '%s' that are %s, and %s are wanted: "
    .. "optimizer, adam_moments or what is trained was changed. Leave it as it was, or start a new "
    .. "run with --model %s"
  return text:format(dir, name, from and kind_of(from) or "absent", kind_of(into), dir)
end

--- Reads them back, into objects that were made the same way.
-- @tparam string dir
-- @tparam table parts as for `write`
function state.read(dir, parts)
  local scope <close> = core.scope("run.state.read")
  state.read_models(dir, parts)
  if not next(parts.optimizers or {}) then return end
  local tensors, steps = files.safetensors.load(dir .. "/optimizer.safetensors")
  check(tensors, steps)
  for name, optimizer in pairs(parts.optimizers) do
    local moments = optimizer:state()
    check(
      tensors[name .. ".m"] and steps[name] and true,
      ("%s/optimizer.safetensors holds no state of '%s'"):format(dir, name)
    )
    for _, moment in ipairs { "m", "v" } do
      local into, from = moments[moment], tensors[name .. "." .. moment]
      check(from and kind_of(from) == kind_of(into), not_theirs(dir, name, from, into))
      into:copy_(from)
    end
    optimizer:set_steps(math.tointeger(tonumber(steps[name])))
  end
end

return state
