--- In which order a run takes what is in a data set: a function of the step alone, so that the
-- place in the data is one number in a checkpoint.

local batch = require("perilune.data.batch")
local random = require("perilune.base.random")
local trial = require("perilune.data.trial")

local order = {}

-- Of the parts of so many steps the one with the largest forward, and how much of its size the mean
-- part has.
local function largest_part(part, steps, whole)
  local chosen, most, its_size, all = 1, 0, 0, 0
  for step = 1, steps do
    local sizes, loads, total = {}, {}, 0
    for i, index in ipairs((part(step))) do
      sizes[i], loads[i] = whole.size(index)
      total = total + sizes[i]
    end
    for _, indices in ipairs(batch.split(sizes, whole.max_tokens)) do
      local forward = 0
      for _, i in ipairs(indices) do
        forward = forward + (loads[i] or sizes[i])
      end
      if forward > most then
        chosen, most, its_size = step, forward, total
      end
    end
    all = all + total
  end
  return chosen, all / steps / its_size
end

--- Passes over 1..n in parts of `size`, each pass in an order of its own. A pass takes all n: its
-- last part may be smaller. Raises when n is 0.
-- @tparam integer n elements of the data
-- @tparam integer size elements of a part
-- @tparam integer seed of the run
-- @tparam string name of the random stream, such as "sft.order"
-- @tparam ?table whole what `perilune plan` must know to try the largest part: `size(i)`, the
--   tokens of one of the n, and the second of `batch.load` where it is several sequences; `passes`,
--   how many there will be, `max_tokens` of a forward
-- @treturn {steps=integer,at=function} `steps`, the parts of a pass; `at(step)`, step from 1: the
--   indices of that part, from 1, and the number of its pass, from 1
function order.epochs(n, size, seed, name, whole)
  if n < 1 then error("the data set is empty: there is nothing to train on", 0) end
  local steps, pass, places = (n + size - 1) // size, nil, nil
  local function part(step)
    local wanted, place = (step - 1) // steps + 1, (step - 1) % steps
    if wanted ~= pass then
      pass, places = wanted, random.permutation(n, seed, name, wanted)
    end
    return table.move(places, place * size + 1, math.min(n, (place + 1) * size), 1, {}), pass
  end
  local last = trial.last
  if not last or not whole then return { steps = steps, at = part } end
  local all = math.min(steps * whole.passes, trial.steps)
  local largest, share = largest_part(part, all, whole)
  trial.note(share)
  return {
    steps = steps,
    at = function(step) return part(step == last and largest or step) end,
  }
end

--- An endless stream over 1..n in shuffled passes: element k (from 1) is a function of k alone, so
-- the place in the data is one number in a checkpoint.
-- @tparam integer n elements of the data, at least 1
-- @tparam integer seed of the run
-- @tparam string name of the random stream, such as "sft.order"
-- @treturn function (k) -> index, both from 1
function order.stream(n, seed, name)
  local pass, places
  return function(k)
    local wanted = (k - 1) // n
    if wanted ~= pass then
      pass, places = wanted, random.permutation(n, seed, name, wanted)
    end
    return places[(k - 1) % n + 1]
  end
end

return order
