--- Random numbers by name: what they are for is part of what they are.
--
--     local order = random.permutation(n, seed, "ppo.order", iteration, epoch)
--     local stream = random.stream(seed, "world.facts", "animals")
--     if stream:chance(0.3) then ... stream:pick(list) ... end
--
-- A stream is Philox4x32-10 of the engine, keyed by the seed and by a hash of its name and parts
-- (integers or texts): streams of different names never meet, what one draws never shifts what
-- another draws, and nothing has to be saved to draw the same again.

local core = require("perilune.core")
local keys_of = require("perilune.base.list").keys

local random = {}

--- A stream of random numbers.
-- @class Stream
local Stream = {}
Stream.__index = Stream
Stream.__name = "random stream"

--- The hash of a name and its parts, as the ops and the engine take it.
-- @tparam string name such as "model.init"
-- @tparam integer|string ... parts
-- @treturn integer 64 bits, a function of the name and the parts alone
random.purpose = core.random_purpose

--- A stream of numbers; each call of its methods draws on.
-- @tparam integer seed of the run or experiment
-- @tparam string name what the numbers are for, such as "world.facts"
-- @tparam integer|string ... parts that tell streams of that name apart
-- @treturn Stream
function random.stream(seed, name, ...)
  return setmetatable({ seed = seed, purpose = random.purpose(name, ...), drawn = 0 }, Stream)
end

--- One number in [0, 1) that depends on its arguments alone.
-- @tparam integer seed of the run or experiment
-- @tparam string name what the number is for
-- @tparam integer|string ... parts that tell numbers of that name apart
-- @treturn number at least 0, below 1
function random.real(seed, name, ...)
  local purpose = random.purpose(name, ...)
  return core.random_uniform(seed, purpose, 0)
end

--- One draw from the standard normal distribution that depends on its arguments alone.
-- @tparam integer seed of the run or experiment
-- @tparam string name what the number is for
-- @tparam integer|string ... parts that tell numbers of that name apart
-- @treturn number of mean 0 and standard deviation 1
function random.normal(seed, name, ...)
  return core.random_normal(seed, random.purpose(name, ...), 0)
end

--- The numbers 1 to n in an order that depends on the other arguments alone.
-- @tparam integer n how many numbers
-- @tparam integer seed of the run or experiment
-- @tparam string name what the order is for, such as "ppo.order"
-- @tparam integer|string ... parts that tell orders of that name apart, such as the epoch
-- @treturn {integer,...}
function random.permutation(n, seed, name, ...)
  local order = {}
  for i = 1, n do
    order[i] = i
  end
  return random.stream(seed, name, ...):shuffle(order)
end

--- A number in [0, 1).
-- @treturn number at least 0, below 1
function Stream:real()
  self.drawn = self.drawn + 1
  return core.random_uniform(self.seed, self.purpose, self.drawn)
end

--- A draw from the standard normal distribution.
-- @treturn number of mean 0 and standard deviation 1
function Stream:normal()
  self.drawn = self.drawn + 1
  return core.random_normal(self.seed, self.purpose, self.drawn)
end

--- An integer from `low` to `high`, both included.
-- @tparam integer low the least
-- @tparam integer high the most, not below `low`
-- @treturn integer each is as likely as the others
function Stream:int(low, high) return low + math.floor(self:real() * (high - low + 1)) end

--- True with probability `p`.
-- @tparam number p probability, 0 to 1
-- @treturn boolean
function Stream:chance(p) return self:real() < p end

--- One element of a list.
-- @tparam {any,...} list not empty
-- @treturn any the element; nil when the list is empty
function Stream:pick(list) return list[self:int(1, #list)] end

--- A key of `weights`, drawn in proportion to its value.
-- @tparam {[string]=number} weights weights by key, none negative, not all 0
-- @treturn string
function Stream:weighted(weights)
  local keys, total = keys_of(weights), 0 -- the order of a sum is part of its bits
  for _, key in ipairs(keys) do
    total = total + weights[key]
  end
  local left = self:real() * total
  for _, key in ipairs(keys) do
    left = left - weights[key]
    if left < 0 then return key end
  end
  return keys[#keys]
end

--- Shuffles a list in place (Fisher and Yates).
-- @tparam {any,...} list changed in place
-- @treturn {any,...} the list
function Stream:shuffle(list)
  for i = #list, 2, -1 do
    local j = self:int(1, i)
    list[i], list[j] = list[j], list[i]
  end
  return list
end

--- A shuffled copy of a list.
-- @tparam {any,...} list it stays as it is
-- @treturn {any,...} a new list
function Stream:shuffled(list) return self:shuffle(table.move(list, 1, #list, 1, {})) end

--- `n` different elements of a list, in random order.
-- @tparam {any,...} list it stays as it is
-- @tparam integer n how many, up to the length of the list
-- @treturn {any,...} a new list
function Stream:sample(list, n) return table.move(self:shuffled(list), 1, n, 1, {}) end

return random
