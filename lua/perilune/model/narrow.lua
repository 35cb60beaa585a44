--- Blocks of narrow models, done by two ops beside attention.
--
-- In a narrow model the rows of a batch go through memory between any two ops, and that takes as
-- long as the products do. core.block_in and core.block_out take a few rows at a time through all
-- of a block (engine/kernels/narrow_block.h), and give the same bits as the ops one by one. They
-- are for the plain Llama block; biases, adapters, other norms and bfloat16 go the long way.

local core = require("perilune.core")

local narrow = {}

-- Where a weight has more numbers, large products are faster than weights that stay in the cache.
local MOST_WIDTH <const>, MOST_WEIGHTS <const> = 96, 32767

-- A part that is a bare matrix, or the factors of a norm.
local function plain(m, record)
  return record
    and record.weight
    and not record.bias
    and not record.adapter
    and record.weight:dtype() == m.dtype
end

local function fits(record)
  local n, k = table.unpack(record.weight:shape())
  return n * k <= MOST_WEIGHTS
end

local matrices = { "q", "k", "v", "o", "gate", "up", "down" }
local absent = {
  "qkv",
  "q_norm",
  "k_norm",
  "gate_up",
  "attention_post_norm",
  "attention_last_norm",
  "mlp_post_norm",
  "mlp_last_norm",
}

local function plain_model(m)
  local spec = m.spec
  local norm = spec.norm
  return spec.width <= MOST_WIDTH
    and m.precision ~= "bf16"
    and spec.activation == "silu"
    and norm.kind == "rms"
    and (norm.offset or 0) == 0
    and not (spec.parallel or spec.qkv_clip or spec.residual_factor)
end

--- What the two ops are given beside tensors, or nil where the layer is no plain narrow one.
-- @tparam Model m bound but for this
-- @tparam table layer of `m.layers`
-- @treturn ?table
function narrow.options(m, layer)
  if not (plain_model(m) and layer.rope) then return nil end
  for _, name in ipairs(absent) do
    if layer[name] then return nil end
  end
  for _, name in ipairs(matrices) do
    if not (plain(m, layer[name]) and fits(layer[name])) then return nil end
  end
  if not (plain(m, layer.attention_norm) and plain(m, layer.mlp_norm)) then return nil end
  local first = { eps = m.spec.norm.eps }
  for name, value in pairs(layer.rope.options) do
    first[name] = value
  end
  return { first = first, second = { eps = m.spec.norm.eps } }
end

--- Turned queries and keys, and values.
-- @tparam table layer with `narrow`, of narrow.options
-- @tparam Tensor x [T, C]
-- @tparam Tensor positions int32 [T]
-- @treturn Tensor [T, H*D]
-- @treturn Tensor [T, G*D]
-- @treturn Tensor [T, G*D]
function narrow.queries_keys_values(layer, x, positions)
  return core.block_in(
    x,
    layer.attention_norm.weight,
    layer.q.weight,
    layer.k.weight,
    layer.v.weight,
    positions,
    layer.rope.frequencies,
    layer.narrow.first
  )
end

--- The block's result, after attention.
-- @tparam table layer with `narrow`, of narrow.options
-- @tparam Tensor x [T, C], what the block was given
-- @tparam Tensor y [T, H*D] of attention
-- @treturn Tensor [T, C]
function narrow.result(layer, x, y)
  return core.block_out(
    x,
    y,
    layer.o.weight,
    layer.mlp_norm.weight,
    layer.gate.weight,
    layer.up.weight,
    layer.down.weight,
    layer.narrow.second
  )
end

return narrow
