--- Hashes of keys: 64 bits of XXH3-128, by which rules sample, split and compare.
--
-- Parts are packed with their lengths, so that ("ab", "c") and ("a", "bc") differ. Two of n
-- different keys meet with probability n^2 / 2^65: 3e-6 among ten million. The hash is the same on
-- every machine; it is no defence against someone who seeks collisions.
-- @module perilune.rules.hash

local hash_string = require("perilune.core").files.hash_string

local hash = {}

--- A text as an integer, every value of which is as likely as any other.
-- @string text
-- @treturn integer
function hash.text(text)
  return tonumber(hash_string(text):sub(1, 16), 16)
end

--- Several parts as one integer.
-- @param ... strings, numbers, booleans or nil
-- @treturn integer
function hash.parts(...)
  local n = select("#", ...)
  local parts = { ... }
  for i = 1, n do
    local part = tostring(parts[i])
    parts[i] = #part .. ":" .. part
  end
  return hash.text(table.concat(parts))
end

--- An integer mixed with a second one: SplitMix64's finisher (Steele, Lea and Flood 2014).
-- @int value
-- @int with
-- @treturn integer
function hash.mix(value, with)
  local z = value + with * 0x9E3779B97F4A7C15
  z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
  z = (z ~ (z >> 27)) * 0x94D049BB133111EB
  return z ~ (z >> 31)
end

--- An integer as a number in [0, 1).
-- @int value
-- @treturn number
function hash.fraction(value)
  return (value >> 11) * 2.0 ^ -53
end

return hash
