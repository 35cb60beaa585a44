--- Hashes of keys: 64 bits of XXH3-128, by which rules sample, split and compare.
--
-- Two of n different keys meet with probability n^2 / 2^65: 3e-6 among ten million. The hash is the
-- same on every machine; it is no defence against someone who seeks collisions.

local hash_string = require("perilune.core").files.hash_string

local text_of = require("perilune.rules.row_text")

local hash = {}

--- A text as an integer, every value of which is as likely as any other.
-- @tparam string text
-- @treturn integer
function hash.text(text)
  return tonumber(hash_string(text):sub(1, 16), 16)
end

--- An integer mixed with a second one: SplitMix64's finisher (Steele, Lea and Flood 2014).
-- @tparam integer value
-- @tparam integer with
-- @treturn integer
function hash.mix(value, with)
  local z = value + with * 0x9E3779B97F4A7C15
  z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
  z = (z ~ (z >> 27)) * 0x94D049BB133111EB
  return z ~ (z >> 31)
end

--- What a row says, as an integer: its text and its time, under a seed and a group.
-- @tparam integer seed
-- @tparam integer group
-- @tparam table row
-- @treturn integer
function hash.row(seed, group, row)
  local said = hash.mix(hash.mix(hash.text(text_of(row)), group), seed)
  local time = row.time
  if time == nil then
    return said
  end
  return hash.mix(said, math.tointeger(time) or hash.text(tostring(time)))
end

--- An integer as a number in [0, 1).
-- @tparam integer value
-- @treturn number
function hash.fraction(value)
  return (value >> 11) * 2.0 ^ -53
end

return hash
