--- bench: how fast the engine is, beside PyTorch, llama.cpp and the machine's limits. Figures are
-- ratios from one run on one machine.
--
-- May use: base, model, learn.

local lazy = require("perilune.base.lazy")

return lazy({}, {
  attention_times = "perilune.bench.attention_times",
  duel = "perilune.bench.duel",
  kept_products = "perilune.bench.kept_products",
  op_times = "perilune.bench.op_times",
  products = "perilune.bench.products",
  scaling = "perilune.bench.scaling",
  workloads = "perilune.bench.workloads",
})
