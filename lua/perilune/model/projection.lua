--- Projections: a matrix, perhaps a bias, and what is added to them, applied in one place.
--
-- A record is { weight =, bias =, adapter =, product = }: weight [N, K] and bias [N] are the
-- model's own; `adapter`, when there is one, is of perilune.model.adapters; `product` is what
-- core.linear is given of options: the model's precision.

local core = require("perilune.core")

local projection = {}

--- x W^T + b, with the W that an adapter makes of it.
-- @tparam table record
-- @tparam Tensor x [T, K]
-- @tparam ?table opts of the forward pass
-- @treturn Tensor [T, N]
function projection.project(record, x, opts)
  if record.adapter then return record.adapter:project(record, x, opts) end
  return core.linear(x, record.weight, record.bias, record.product)
end

return projection
