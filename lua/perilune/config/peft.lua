--- The rows of adapters, for the recipes that train: a group, put among a config's own rows.
--
--     pl.config { name = "sft", ..., "Adapters on a frozen model", pl.config.peft() }
--     pl.load(cfg.model, { peft = cfg, seed = cfg.seed })
--
-- In a table of settings they are one: peft = { r = 16, alpha = 32, targets = { "q_proj" } }.

local list = require("perilune.base.list")
local options = require("perilune.base.options")

local rows = {
  { peft_r = 0, "rank of the adapters; 0: all weights are trained", min = 0, alias = "lora_r" },
  { peft_alpha = 16.0, "they are scaled by alpha / r", over = 0, alias = "lora_alpha" },
  {
    peft_targets = { "all-linear" },
    "modules that get one: names by commas, all-linear, or a pattern",
    alias = "lora_target_modules",
  },
  { peft_use_rslora = false, "scale by alpha / sqrt(r) instead", alias = "use_rslora" },
  { peft_use_dora = false, "DoRA: lengths of rows are trained apart", alias = "use_dora" },
  {
    base_dtype = "auto",
    "what the frozen matrices are held in; kept: as their file has them; auto: as adapters were "
      .. "trained on, else float32",
    choices = { "auto", "float32", "bfloat16", "float16", "q8_0", "kept" },
  },
}

local dropout = {
  peft_dropout = 0.0,
  "dropout on what adapters read",
  min = 0,
  under = 1,
  alias = "lora_dropout",
}

--- The rows of adapters: `peft_r`, `peft_alpha`, `peft_targets` and the others, as `pl.model.load`
-- takes them.
-- @tparam ?table settings `dropout` (true): false where passes must not differ by chance
-- @treturn {ConfigRow,...} to be put among a config's rows
return function(settings)
  settings = options.take("config.peft", settings, { dropout = true })
  local all = list.append({}, rows)
  if settings.dropout then table.insert(all, 4, dropout) end
  return all
end
