--- Settings that were given and have no part in the run, because another one leaves them none: text
-- to mix in at a weight of 0, a width for adapters that there are not. Nothing that is measured
-- shows one: the run goes well, and is another than was meant.

local schedule = require("perilune.config.schedule")

local idle = {}

-- The value a key always has; nil when the recipe has no such key or it changes with the step.
local function fixed(values, key)
  local value = values[key]
  if schedule.is(value) then return value:fixed() end
  return value
end

local function none(value) return value == 0 or value == "" or value == false end

-- Keys, and those of which one has to be set for them to count.
local under = {
  { { "ptx_dataset" }, { "ptx_fraction" } },
  { { "ptx_dataset" }, { "ptx_coef" } },
  { { "ptx_dataset", "ptx_coef" }, { "ptx_batch_ratio" } },
  { { "select_prompts", "select_count" }, { "reward_model" }, "eval_prompts" },
  { { "eval_count" }, { "eval_prompts" } },
  {
    { "peft_alpha", "peft_targets", "peft_dropout", "peft_use_rslora", "peft_use_dora" },
    { "peft_r" },
  },
}

-- A key, and the value of another without which it does not count.
local of_choice = {
  { "muon_momentum", "optimizer", "muon" },
  { "lam", "credit", "token" },
}

-- Whether one of the keys is set, or not known to the recipe.
local function counts(values, keys)
  for _, key in ipairs(keys) do
    local value = fixed(values, key)
    if values[key] == nil or value == nil or not none(value) then return true end
  end
  return false
end

--- Sentences on settings of a config that are not the defaults and have no part in the run.
-- @tparam Config cfg of a run whose steps are told (`set_horizon`)
-- @treturn {string,...}
function idle.doubts(cfg)
  local values, given, found = {}, {}, {}
  for key, value in pairs(cfg) do
    values[key] = value
  end
  for _, row in ipairs(cfg:rows()) do -- a run that goes on is given its defaults too
    given[row.key] = row.value ~= row.default and not none(fixed(values, row.key) or true)
  end
  for _, entry in ipairs(under) do
    local keys, needs, but_with = table.unpack(entry)
    for _, key in ipairs(keys) do
      if given[key] and values[but_with] == nil and not counts(values, needs) then
        local need = values[needs[1]] == "" and "not given" or "0"
        found[#found + 1] = ("%s has no part in the run: %s is %s"):format(key, needs[1], need)
      end
    end
  end
  for _, entry in ipairs(of_choice) do
    local key, other, choice = table.unpack(entry)
    if given[key] and values[other] and values[other] ~= choice then
      local text = "%s has no part in the run: %s is %s"
      found[#found + 1] = text:format(key, other, values[other])
    end
  end
  local steps = cfg:all_steps()
  for _, key in ipairs(cfg:keys()) do
    local value = values[key]
    if steps and schedule.is(value) and value.kind == "warmup" and value.steps >= steps then
      local text = "%s never gets to its value: its warm-up takes %d steps, the run has %d"
      found[#found + 1] = text:format(key, value.steps, steps)
    end
  end
  return found
end

return idle
