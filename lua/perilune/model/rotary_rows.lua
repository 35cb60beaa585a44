--- The two orders of a head's rows: neighbouring pairs, as llama2.c and llama.cpp turn them, and
-- halves, as Hugging Face folders do. Only whole rows move.

local core = require("perilune.core")

local rotary_rows = {}

-- Row i of the result is row place(i in its head) of the same head.
local function moved(weight, d, place)
  local rows = {}
  for i = 0, weight:size(1) - 1 do
    local at = i % d
    rows[i + 1] = i - at + place(at)
  end
  if #weight:shape() > 1 then return core.gather(weight:detach(), rows) end
  return core.gather(weight:detach():reshape(-1, 1), rows):reshape(-1)
end

--- From neighbouring pairs to halves: for each head rows 0, 2, 4 ... then 1, 3, 5 ...
-- @tparam Tensor weight of a projection, or its bias
-- @tparam integer d rows of a head
-- @treturn Tensor
function rotary_rows.halves(weight, d)
  local half = d // 2
  return moved(weight, d, function(at) return at < half and 2 * at or 2 * (at - half) + 1 end)
end

--- From halves to neighbouring pairs.
-- @tparam Tensor weight of a projection, or its bias
-- @tparam integer d rows of a head
-- @treturn Tensor
function rotary_rows.pairs(weight, d)
  local half = d // 2
  return moved(weight, d, function(at) return at // 2 + at % 2 * half end)
end

return rotary_rows
