--- Dropout on what a block adds to the residual stream.
-- @module perilune.model.residual_dropout

local core = require("perilune.core")
local random = require("perilune.base.random")

--- @param y what is added, [T, C]
-- @tparam ?table dropout {p =, seed =, index =} of the forward pass; nil: y as it is
-- @int block
-- @int place in the block, from 1
return function(y, dropout, block, place)
  if not dropout then
    return y
  end
  return core.dropout(y, {
    p = dropout.p,
    seed = dropout.seed,
    index = random.purpose("dropout", dropout.index, block, place),
  })
end
