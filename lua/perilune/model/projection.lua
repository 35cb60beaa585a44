--- Projections: a matrix, perhaps a bias, and what is added to them, applied in one place.
--
-- A record is { weight =, bias =, adapter = }: weight [N, K] and bias [N] are the model's own;
-- `adapter`, when there is one, is a function of (x, y, opts) that gives what stands for y.

local core = require("perilune.core")

local projection = {}

--- x W^T + b, and what an adapter makes of it.
-- @tparam table record
-- @tparam Tensor x [T, K]
-- @tparam ?table opts of the forward pass
-- @treturn Tensor [T, N]
function projection.project(record, x, opts)
  local y = core.linear(x, record.weight, record.bias)
  return record.adapter and record.adapter(x, y, opts) or y
end

return projection
