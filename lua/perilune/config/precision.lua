--- The row of `precision`, for the recipes that run models: a group, put among a config's own rows.
--
--     pl.config { name = "sft", ..., "Optimisation", pl.config.precision() }
--     pl.load(cfg.model, { precision = cfg.precision })

--- The row of `precision`: what products of matrices are computed in.
-- @treturn {ConfigRow,...} to be put among a config's rows
return function()
  return {
    {
      precision = "float32",
      "of products of matrices; bf16: of their operands rounded to bfloat16; int8: of x rounded to "
        .. "eight bits with frozen weights in blocks; all else in float32",
      choices = { "float32", "bf16", "int8" },
    },
  }
end
