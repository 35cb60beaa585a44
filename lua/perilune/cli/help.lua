--- `perilune help`: the commands in one screen; `perilune help NAME`: an op, or what is near.

local cli = require("perilune.cli")
local host = require("perilune.host")
local nearest = require("perilune.base.nearest")

local overview = [[
Perilune %s: teaches language models from human feedback. Recipes are Lua, the engine is C.

  perilune                           the REPL (a script, when standard input is no terminal)
  perilune demo                      the whole pipeline on an invented world, with a report
  perilune run RECIPE [--key value]  a recipe; RECIPE.lua alone works as well
  perilune recipes                   the recipes there are
  perilune run RECIPE --help         its hyper-parameters: default, range, meaning
  perilune run RECIPE ... --traceback  where in the code an error came from
  perilune report RUN...             one page of runs: curves, answers, differences
  perilune attach RUN                the prompt inside a run that goes on; changes its keys
  perilune generate MODEL [...]      text from a model folder
  perilune merge ADAPTERS OUT        adapters and their base as one model folder
  perilune store FILE                what a data store holds; its export and import
  perilune bench [NAME]              speed, as ratios
  perilune doctor                    what this machine offers, and how to fix what is wrong
  perilune help [OP]                 this page; one op of the engine
  perilune ops                       all ops, as docs/ops.md
  perilune api                       the library's functions, as docs/api.md
  perilune -e 'lua code'             as lua5.4: -e -i -l mod -l g=mod -v -E -W -- -

In a checkout ./perilune is the same program, built when needed; it adds

  ./perilune build                   builds only
  ./perilune test [--long] [-R NAME] builds and tests

Environment: OMP_NUM_THREADS, PERILUNE_ISA (avx512, avx2, plain), PERILUNE_GEMM (auto, own,
openblas), LUA_PATH, LUA_INIT, NO_COLOR.
]]

return function(args)
  local name = args[1]
  if not name then
    io.stdout:write(overview:format(host.version))
    return 0
  end
  if args[2] then
    io.stderr:write(("perilune help: one name at a time; '%s' is one too many\n"):format(args[2]))
    return 1
  end
  local text = require("perilune.reference.op_help").op(name)
  if text then
    io.stdout:write(text, "\n")
    return 0
  end
  local known = cli.names()
  for _, command in ipairs(known) do
    if command == name then
      io.stdout:write(overview:format(host.version))
      return 0
    end
  end
  local message = "perilune: no command, script or op is named '%s'%s\n"
    .. "commands: %s; 'perilune help' explains\n"
  io.stderr:write(message:format(name, nearest.hint(name, known), table.concat(known, " ")))
  return 1
end
