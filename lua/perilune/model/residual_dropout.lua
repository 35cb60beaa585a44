--- Dropout on what a block adds to the residual stream.

local core = require("perilune.core")
local random = require("perilune.base.random")

--- What is added, with dropout.
-- @tparam Tensor y what is added, [T, C]
-- @tparam ?table dropout {p =, seed =, index =} of the forward pass; nil, or p of 0: y as it is
-- @tparam integer block
-- @tparam integer place in the block, from 1
-- @treturn Tensor [T, C]
return function(y, dropout, block, place)
  if not dropout or dropout.p == 0 then return y end
  return core.dropout(y, {
    p = dropout.p,
    seed = dropout.seed,
    index = random.purpose("dropout", dropout.index, block, place),
  })
end
