--- The rows of how the scores of several reward models become one: a group, put among a config's
-- own rows, for recipes with a key `reward_model`.
--
--     pl.config { name = "ppo", ..., { reward_model = "", ... }, pl.config.ensemble() }

--- The rows of an ensemble: `reward_ensemble` and `reward_deviations`.
-- @treturn {ConfigRow,...} to be put among a config's rows
return function()
  return {
    {
      reward_ensemble = "mean",
      "of several reward models or heads: mean, smallest, or mean less reward_deviations",
      choices = { "mean", "min", "cautious" },
    },
    { reward_deviations = 1.0, "deviations taken off by reward_ensemble cautious", min = 0 },
  }
end
