--- A small deterministic random generator, keyed by any list of numbers and strings.
--
-- SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA
-- 2014): the state walks by a fixed odd step and each output is a mixed copy of it. The key parts
-- are folded into the first state with FNV-1a (Fowler, Noll and Vo), so that
-- `random.new(7, "log", "u012")` is a stream of its own: what one part of the world draws never
-- shifts what another part draws, and the order in which rows are visited does not matter.
--
-- It is for inventing data. It is not for secrets, and it is not the generator of the engine.

local random = {}

local Random = {}
Random.__index = Random

local STEP <const> = 0x9E3779B97F4A7C15
local FNV_START <const> = 0xCBF29CE484222325
local FNV_PRIME <const> = 0x100000001B3

local function mix(z)
  z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
  z = (z ~ (z >> 27)) * 0x94D049BB133111EB
  return z ~ (z >> 31)
end

--- A 64-bit number that depends on every key part and on their order.
-- @tparam number|string ... the key parts
-- @treturn integer
function random.hash(...)
  local h = FNV_START
  for i = 1, select("#", ...) do
    local part = tostring((select(i, ...)))
    for at = 1, #part do
      h = (h ~ part:byte(at)) * FNV_PRIME
    end
    h = (h ~ 0xFF) * FNV_PRIME
  end
  return mix(h)
end

--- The key parts as a number in [0, 1): the same for ever, whatever was drawn before.
-- @tparam number|string ... the key parts
-- @treturn number
function random.fraction(...)
  return (random.hash(...) >> 11) * 2.0 ^ -53
end

--- A generator for one purpose.
-- @tparam number|string ... the key parts, usually a seed and a purpose
-- @treturn Random
function random.new(...)
  return setmetatable({ state = random.hash(...) }, Random)
end

--- A number in [0, 1).
-- @treturn number
function Random:real()
  self.state = self.state + STEP
  return (mix(self.state) >> 11) * 2.0 ^ -53
end

--- A whole number from `low` to `high`, both included.
-- @tparam integer low
-- @tparam integer high
-- @treturn integer
function Random:int(low, high)
  return low + math.floor(self:real() * (high - low + 1))
end

--- True with probability `p`.
-- @tparam number p
-- @treturn boolean
function Random:chance(p)
  return self:real() < p
end

--- One element of a list.
-- @tparam table list
-- @return the element
function Random:pick(list)
  return list[self:int(1, #list)]
end

--- A key of `weights`, drawn in proportion to its value. Keys are visited in sorted order.
-- @tparam table weights key (string) to weight (number, not negative)
-- @treturn string
function Random:weighted(weights)
  local keys, total = {}, 0
  for key in pairs(weights) do
    keys[#keys + 1] = key
  end
  -- Summed in sorted order, so that the last bit of the total is the same in every run.
  table.sort(keys)
  for _, key in ipairs(keys) do
    total = total + weights[key]
  end
  local left = self:real() * total
  for _, key in ipairs(keys) do
    left = left - weights[key]
    if left < 0 then
      return key
    end
  end
  return keys[#keys]
end

--- A shuffled copy of a list.
-- @tparam table list
-- @treturn table
function Random:shuffled(list)
  local copy = table.move(list, 1, #list, 1, {})
  for i = #copy, 2, -1 do
    local j = self:int(1, i)
    copy[i], copy[j] = copy[j], copy[i]
  end
  return copy
end

--- `n` different elements of a list, in random order.
-- @tparam table list
-- @tparam integer n
-- @treturn table
function Random:sample(list, n)
  return table.move(self:shuffled(list), 1, n, 1, {})
end

--- A draw from the standard normal distribution (Box and Muller 1958).
-- @treturn number
function Random:normal()
  local radius = math.sqrt(-2 * math.log(1 - self:real()))
  return radius * math.cos(2 * math.pi * self:real())
end

return random
