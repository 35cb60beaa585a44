--- Weighted means of named figures over the parts of a step.
--
--     local seen = meter.new()
--     seen:add("loss", 2.5, 128)      -- of 128 tokens
--     seen:result()                   -- {loss = ...}

local meter = {}

--- Sums and weights of named figures.
-- @class Meter
local Meter = {}
Meter.__index = Meter
Meter.__name = "meter"

--- An empty meter.
-- @treturn Meter
function meter.new() return setmetatable({ sums = {}, weights = {} }, Meter) end

--- Adds a figure.
-- @tparam string name of the figure
-- @tparam number value of it
-- @tparam ?number weight how many things it stands for (default: 1)
function Meter:add(name, value, weight)
  weight = weight or 1
  self.sums[name] = (self.sums[name] or 0) + value * weight
  self.weights[name] = (self.weights[name] or 0) + weight
end

--- The mean of each figure.
-- @treturn {[string]=number}
function Meter:result()
  local means = {}
  for name, sum in pairs(self.sums) do
    means[name] = sum / math.max(self.weights[name], 1e-300)
  end
  return means
end

return meter
