--- What adapters a model gets: settings, the modules they fall on, and adapter_config.json.
--
-- Names and meanings are those of the peft package (LoraConfig), so that its folders are read and
-- ours are read there. A module is a linear map of the model, by its Hugging Face name without
-- ".weight"; fused ones (GPT-2's c_attn, Phi-3's qkv_proj) are one module. Which modules:
--     a list of names      a module fits a name that it is or ends in: "q_proj",
--     "layers.0.mlp.up_proj" "all-linear"         all but the head
--     a pattern            a text with any of *+?|()[]\^$ must fit the whole name (base.regex)
-- Every key of adapter_config.json is known here, harmless, or an error.

local json = require("perilune.base.json")
local keys = require("perilune.model.config_keys")
local nearest = require("perilune.base.nearest")
local options = require("perilune.base.options")
local regex = require("perilune.base.regex")

local adapter_config = {}

local FILE <const> = "adapter_config.json"

local list_class = getmetatable(json.array())

-- ---- settings -----------------------------------------------------------------------------------

--- Adapters to be trained (LoRA, Hu et al., arXiv:2106.09685), by the names of the peft package.
-- What each option is when it is left out stands in brackets.
-- @class AdapterOptions
-- @field ?integer r (8) rank of the adapters, at least 1
-- @field ?number alpha (16) the adapters are scaled by alpha / r
-- @field ?number dropout (0) probability with which what adapters read is dropped, under 1
-- @field ?string|{string,...} targets ("all-linear": all but the head) the modules that get one:
--   names ("q_proj"), by commas or as a list, or a pattern that fits whole names
-- @field ?boolean use_rslora (false) scale by alpha / √r (Kalajdzievski, arXiv:2312.03732)
-- @field ?boolean use_dora (false) train the lengths of the weights' rows apart from their
--   directions (Liu et al., arXiv:2402.09353)
local known = {
  r = options.integer(8, 1, 1 << 20),
  alpha = options.number(16, 1e-6, 1e9),
  dropout = options.number(0, 0, 0.999),
  targets = options.any(),
  use_rslora = false,
  use_dora = false,
}

--- What is given as targets, as a list of names, "all-linear" or a pattern.
local function parsed_targets(given)
  if given == nil then return "all-linear" end
  if type(given) == "table" and #given ~= 1 then return given end
  local text = type(given) == "table" and given[1] or given
  if type(text) ~= "string" then return given end
  if text:lower() == "all-linear" or text:find("[*+?|()%[%]\\^$]") then return text end
  local list = {}
  for name in text:gmatch("[^,]+") do
    list[#list + 1] = name:match("^%s*(.-)%s*$")
  end
  return list
end

--- Settings with every field, checked; raises when something is wrong with them.
-- @tparam table given `r` (8), `alpha` (16), `dropout` (0), `targets` ("all-linear": a list of
--   names, or a text: names by commas, or a pattern), `use_rslora`, `use_dora`
-- @treturn table
function adapter_config.settings(given)
  local settings = options.take("peft", given, known)
  local targets = parsed_targets(settings.targets)
  if type(targets) == "table" and #targets == 0 then
    error("peft: 'targets' names no module; 'all-linear' takes all", 2)
  elseif type(targets) == "table" then
    for _, name in ipairs(targets) do
      if type(name) ~= "string" or not name:find("^[%w_.-]+$") then
        local text = "peft: '%s' among 'targets' is no name of a module; a pattern stands alone"
        error(text:format(tostring(name)), 2)
      end
    end
  elseif type(targets) ~= "string" then
    error("peft: 'targets' must be a text or a list of names", 2)
  end
  settings.targets = targets
  return settings
end

--- Settings from what a caller gives.
-- @tparam ?table|Config given as of `settings`, or a config with the rows of perilune.config.peft
-- @treturn ?table nil when no adapters are wanted
function adapter_config.wanted(given)
  if not given then return nil end
  if getmetatable(given) == nil then return adapter_config.settings(given) end
  if given.peft_r == 0 then return nil end
  local drops = false
  for _, key in ipairs(given:keys()) do
    drops = drops or key == "peft_dropout"
  end
  return adapter_config.settings {
    r = given.peft_r,
    alpha = given.peft_alpha,
    dropout = drops and given.peft_dropout or 0,
    targets = given.peft_targets,
    use_rslora = given.peft_use_rslora,
    use_dora = given.peft_use_dora,
  }
end

--- What A and B's product is multiplied by: alpha / r, or alpha / sqrt(r) of rsLoRA
-- (Kalajdzievski, arXiv:2312.03732).
-- @tparam table settings
-- @tparam integer r of the module
-- @tparam number alpha of the module
-- @treturn number
function adapter_config.scale(settings, r, alpha)
  return alpha / (settings.use_rslora and math.sqrt(r) or r)
end

-- ---- modules ------------------------------------------------------------------------------------

local function ends_in(module, name)
  local tail = "." .. name
  return module == name or module:sub(-#tail) == tail
end

--- A function module -> boolean of a list of names or a pattern; nil and why it cannot be one.
local function fitting(given)
  if type(given) == "table" then
    return function(module)
      for _, name in ipairs(given) do
        if ends_in(module, name) then return true end
      end
      return false
    end
  end
  local fits, message = regex.compile(given)
  return fits, message and ("'%s' is no pattern that is read here: %s"):format(given, message)
end

-- The place of a module among the layers: its first numbered part, or the one behind a name.
local function layer_of(module, patterns)
  if not patterns then return tonumber(module:match("^.-%.[^.]*%.(%d+)%.")) end
  for _, name in ipairs(type(patterns) == "table" and patterns or { patterns }) do
    local _, last = ("." .. module):find("." .. name .. ".", 1, true)
    local index = last and module:match("^(%d+)%.", last)
    if index then return tonumber(index) end
  end
end

local function holds(list, value)
  for _, one in ipairs(type(list) == "table" and list or { list }) do
    if one == value then return true end
  end
  return false
end

-- The value of the one pattern that a module fits, as peft fits them: at the end of the name.
local function patterned(patterns, module, default, what)
  local found, by
  for pattern, value in pairs(patterns or {}) do
    local fits, message = regex.compile([[(.*\.)?(]] .. pattern .. ")")
    if not fits then return nil, ("%s: '%s': %s"):format(what, pattern, message) end
    if fits(module) then
      if found and found ~= value then
        return nil,
          ("%s: '%s' fits both '%s' and '%s', which differ"):format(what, module, by, pattern)
      end
      found, by = value, pattern
    end
  end
  return found or default
end

local function short_names(modules)
  local names, seen = {}, {}
  for _, module in ipairs(modules) do
    local last = module:match("[^.]+$")
    if not seen[last] then names[#names + 1] = last end
    seen[last] = true
  end
  return names
end

local function no_module(target, modules)
  local names = short_names(modules)
  return ("no module of this model fits '%s'%s (modules: %s)"):format(
    target,
    nearest.hint(target:match("[^.]*$"), names),
    table.concat(names, ", ")
  )
end

--- The modules that get an adapter.
-- @tparam table settings
-- @tparam {string,...} modules all linear maps of the model below its head, in order
-- @tparam ?boolean lenient a name of the list that no module fits is passed over, as peft does
-- @treturn ?{{name=string,r=integer,scale=number},...} in the order of `modules`
-- @treturn ?string message
function adapter_config.chosen(settings, modules, lenient)
  local targets, saved = settings.targets, settings.modules_to_save or {}
  local every = type(targets) == "string" and targets:lower() == "all-linear"
  local fits, message = function() return true end, nil
  if not every then
    fits, message = fitting(targets)
  end
  if not fits then return nil, message end
  local excluded = function() return false end
  if settings.exclude then
    excluded, message = fitting(settings.exclude)
    if not excluded then return nil, message end
  end
  if type(targets) == "table" and not lenient then
    for _, name in ipairs(targets) do
      local one = fitting { name }
      local any = false
      for _, module in ipairs(modules) do
        any = any or one(module)
      end
      if not any then return nil, no_module(name, modules) end
    end
  end
  local chosen = {}
  for _, module in ipairs(modules) do
    local in_layers = settings.layers == nil
      or type(targets) == "string"
      or holds(settings.layers, layer_of(module, settings.layers_pattern))
    local kept_whole = false
    for _, name in ipairs(saved) do
      kept_whole = kept_whole or ("." .. module .. "."):find("." .. name .. ".", 1, true) ~= nil
    end
    if fits(module) and not excluded(module) and in_layers and not kept_whole then
      local r, alpha
      r, message = patterned(settings.rank_pattern, module, settings.r, "rank_pattern")
      if not r then return nil, message end
      alpha, message = patterned(settings.alpha_pattern, module, settings.alpha, "alpha_pattern")
      if not alpha then return nil, message end
      chosen[#chosen + 1] =
        { name = module, r = r, scale = adapter_config.scale(settings, r, alpha) }
    end
  end
  if #chosen == 0 then
    local text = type(targets) == "table" and table.concat(targets, ", ") or targets
    return nil, no_module(text, modules)
  end
  return chosen
end

local function module_names(chosen)
  local list = {}
  for i, one in ipairs(chosen) do
    list[i] = one.name
  end
  return table.concat(list, ", ")
end

--- Why settings are not those of the adapters that a folder holds; nil when they are, or when none
-- are given.
-- @tparam string path of the folder
-- @tparam ?table asked settings
-- @tparam table held settings of the folder
-- @tparam {table,...} chosen its modules
-- @tparam {string,...} modules as of `chosen`
-- @treturn ?string
function adapter_config.other(path, asked, held, chosen, modules)
  if not asked then return nil end
  local function refusal(name, has, wanted)
    local text = "%s holds adapters with %s %s, and %s is asked for: leave the settings away to go "
      .. "on with its adapters, or merge them first (perilune merge) to begin new ones"
    return text:format(path, name, has, wanted)
  end
  for _, name in ipairs { "r", "alpha", "use_rslora", "use_dora" } do
    if held[name] ~= asked[name] then
      return refusal(name, tostring(held[name]), tostring(asked[name]))
    end
  end
  local list, message = adapter_config.chosen(asked, modules)
  if not list then return message end
  local has, wanted = module_names(chosen), module_names(list)
  if has ~= wanted then return refusal("targets", has, wanted) end
end

-- ---- adapter_config.json ------------------------------------------------------------------------

local function rule(wanted, check) return { wanted = wanted, holds = check } end

local function is_text_list(value)
  if type(value) ~= "table" or getmetatable(value) ~= list_class then return false end
  for _, one in ipairs(value) do
    if type(one) ~= "string" then return false end
  end
  return true
end

local texts = rule("a list of names", is_text_list)
local names = rule(
  "a text or a list of names",
  function(value) return type(value) == "string" or is_text_list(value) end
)

local function map_of(wanted, check)
  return rule(wanted, function(value)
    if type(value) ~= "table" or getmetatable(value) == list_class then return false end
    for _, one in pairs(value) do
      if not check(one) then return false end
    end
    return true
  end)
end

local rank = keys.integer(1, 1 << 20)
local positive = keys.number(0, 1e9)
local empty = rule(
  "empty, all that is implemented",
  function(value) return type(value) == "table" and next(value) == nil end
)

local rules = {
  peft_type = keys.only("LORA"),
  task_type = keys.only("CAUSAL_LM", "SEQ_CLS"),
  base_model_name_or_path = keys.text,
  r = rank,
  lora_alpha = positive,
  lora_dropout = keys.number(0, 0.999999),
  target_modules = names,
  exclude_modules = names,
  modules_to_save = texts,
  layers_to_transform = rule("an integer or a list of integers", function(value)
    for _, one in ipairs(type(value) == "table" and value or { value }) do
      if math.type(one) ~= "integer" then return false end
    end
    return true
  end),
  layers_pattern = names,
  rank_pattern = map_of("an object of integers", rank.holds),
  alpha_pattern = map_of("an object of numbers", positive.holds),
  use_rslora = keys.boolean,
  use_dora = keys.boolean,
  bias = keys.only("none"),
  lora_bias = keys.only(false),
  -- what changes A and B alone, before training; others change the base as well
  init_lora_weights = keys.only(true, false, "gaussian", "orthogonal", "eva"),
  loftq_config = empty,
  eva_config = keys.harmless,
  ensure_weight_tying = keys.only(false),
  use_qalora = keys.only(false),
}
-- Of how it was made or is run, and of what the module's own kind tells.
local harmless = [[
  fan_in_fan_out inference_mode peft_version revision auto_mapping megatron_config megatron_core
  runtime_config qalora_group_size
]]
for name in harmless:gmatch("%S+") do
  rules[name] = keys.harmless
end

--- Settings from adapter_config.json.
-- @tparam table config as decoded
-- @treturn ?table settings, with what only files say: `modules_to_save`, `exclude`, `layers`,
--   `layers_pattern`, `rank_pattern`, `alpha_pattern`, and `base`, the name of the base model
-- @treturn ?string message
function adapter_config.read(config)
  if type(config) ~= "table" or getmetatable(config) == list_class then
    return nil, FILE .. ": not an object"
  end
  local message = keys.check(config, rules, nil, FILE)
    or keys.missing(config, { "peft_type", "r", "lora_alpha", "target_modules" }, FILE)
  if message then return nil, message end
  local saved = config.modules_to_save
  if config.task_type == "SEQ_CLS" then
    saved = saved or {}
    saved = table.move(saved, 1, #saved, 1, {})
    if not holds(saved, "score") then saved[#saved + 1] = "score" end
  end
  return {
    r = config.r,
    alpha = config.lora_alpha,
    dropout = config.lora_dropout or 0,
    targets = config.target_modules,
    use_rslora = config.use_rslora or false,
    use_dora = config.use_dora or false,
    exclude = config.exclude_modules,
    modules_to_save = saved,
    layers = config.layers_to_transform,
    layers_pattern = config.layers_pattern,
    rank_pattern = config.rank_pattern,
    alpha_pattern = config.alpha_pattern,
    base = config.base_model_name_or_path,
    scores = config.task_type == "SEQ_CLS",
  }
end

-- The shortest list of names that just these modules end in.
local function names_of(chosen, modules)
  local taken, others = {}, {}
  for _, one in ipairs(chosen) do
    taken[one.name] = true
  end
  for _, module in ipairs(modules) do
    others[#others + 1] = not taken[module] and module or nil
  end
  local list, seen = {}, {}
  for _, one in ipairs(chosen) do
    local name = one.name:match("[^.]+$")
    for _, module in ipairs(others) do
      if ends_in(module, name) then name = one.name end
    end
    if not seen[name] then list[#list + 1] = name end
    seen[name] = true
  end
  return list
end

local function as_list(value) return json.array(value) end

--- adapter_config.json of settings, as peft reads it.
-- @tparam table settings
-- @tparam table opts `chosen` and `modules` as of `chosen`; `base`, the path of the base model;
--   `scores`, whether the model has a scalar head; `turned`, whether files hold matrices [in, out]
-- @treturn table
function adapter_config.written(settings, opts)
  local saved = settings.modules_to_save
  if opts.scores then
    saved = saved and table.move(saved, 1, #saved, 1, {}) or {}
    for _, name in ipairs { "classifier", "score" } do -- what peft adds to this task
      if not holds(saved, name) then saved[#saved + 1] = name end
    end
  end
  local ranks, alphas = {}, {}
  local alpha_of = function(one)
    return one.scale * (settings.use_rslora and math.sqrt(one.r) or one.r)
  end
  for _, one in ipairs(opts.chosen) do
    if one.r ~= settings.r then ranks[one.name] = one.r end
    local alpha = alpha_of(one)
    if math.abs(alpha - settings.alpha) > 1e-9 * alpha then alphas[one.name] = alpha end
  end
  return {
    peft_type = "LORA",
    task_type = opts.scores and "SEQ_CLS" or "CAUSAL_LM",
    base_model_name_or_path = opts.base,
    r = settings.r,
    lora_alpha = math.tointeger(settings.alpha) or settings.alpha,
    lora_dropout = settings.dropout,
    target_modules = as_list(names_of(opts.chosen, opts.modules)),
    modules_to_save = saved and #saved > 0 and as_list(saved) or nil,
    rank_pattern = ranks,
    alpha_pattern = alphas,
    use_rslora = settings.use_rslora,
    use_dora = settings.use_dora,
    bias = "none",
    fan_in_fan_out = opts.turned or false,
    init_lora_weights = true,
    inference_mode = true,
  }
end

return adapter_config
