--- `perilune run RECIPE [--key value] [--flag | --no-flag]`: runs a recipe.
--
-- RECIPE is the path of a Lua file, or the name of a recipe that comes with Perilune; `perilune
-- recipes` lists them.
--
--     perilune run RECIPE --help             its keys: default, range, meaning
--     perilune run RECIPE --preset NAME      settings of a file in presets/, beside the recipe
--     perilune run RECIPE ... --resume       goes on from the newest checkpoint of --output_dir
--     perilune run --detach RECIPE ...       goes on by itself; its output is in the run's folder
--     perilune run RECIPE ... --traceback    an error with the place in the code it came from
--
-- A key may be written --kl_coef 0.05 or --kl_coef=0.05. Keys that --help marks with ~ take a
-- schedule too: --kl_coef 'linear(0.1, 0.02)'.
--
-- The exit status is 0; 1 after an error; 130 after Ctrl-C and 143 after a SIGTERM, when the run
-- has written a checkpoint.

local nearby = require("perilune.cli.support.nearby")

-- The host runs recipes that are there (lua/host/main.c); here is what it finds none for.
return function(args)
  local asked = args[1]
  if not asked then
    io.stderr:write("perilune: run: which recipe? 'perilune recipes' lists them\n")
    return 1
  elseif asked:sub(1, 1) == "-" then
    local text =
      "perilune run: the recipe comes first, then '%s': perilune run RECIPE [--key value]\n"
    io.stderr:write(text:format(asked))
    return 1
  end
  local status = nearby.no_recipe(asked)
  return status
end
