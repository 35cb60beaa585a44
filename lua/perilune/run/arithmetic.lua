--- By which rules a process multiplies: besides keys, data and seed they decide the last bits.
--
-- They follow from the processor, PERILUNE_ISA, PERILUNE_GEMM and PERILUNE_BF16 (see
-- docs/determinism.md). Every checkpoint and env.json have them; a run that goes on by others is
-- told so, and its journal keeps it.

local core = require("perilune.core")

local arithmetic = {}

local PARTS <const> = {
  { "kernels", "kernels" },
  { "float32", "float32 products" },
  { "float32_gradients", "products for float32 gradients" },
  { "bfloat16", "bfloat16 products" },
}

--- The rules of this process.
-- @treturn {[string]=string} `kernels`: "avx512", "avx2" or "plain"; `float32`: "own" or
--   "openblas"; `float32_gradients`: "split" or as `float32`; `bfloat16`: "tiles", "pairs" or
--   "chain"
function arithmetic.now()
  local gemm = core.gemm()
  return {
    kernels = core.isa(),
    float32 = gemm.float32,
    float32_gradients = gemm.split and "split" or gemm.float32,
    bfloat16 = (core.bf16()),
  }
end

--- What a run that goes on by other rules should know.
-- @tparam ?table before as of `now`, of the checkpoint; what it lacks counts as the same
-- @tparam table now
-- @tparam ?string precision of the run: the rule of bfloat16 products is nothing to a run
--   without them; nil: it is not known
-- @treturn ?string nil: nothing differs
function arithmetic.difference(before, now, precision)
  local texts = {}
  for _, part in ipairs(PARTS) do
    local name, what = part[1], part[2]
    local old = type(before) == "table" and before[name]
    local used = name ~= "bfloat16" or precision == nil or precision == "bf16"
    if used and type(old) == "string" and old ~= now[name] then
      texts[#texts + 1] = ("%s by %s there, by %s here"):format(what, old, now[name])
    end
  end
  if #texts == 0 then return nil end
  return ("other arithmetic than the checkpoint's: %s"):format(table.concat(texts, "; "))
end

return arithmetic
