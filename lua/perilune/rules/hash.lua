--- Hashes of keys: 64 bits of XXH3-128, by which rules sample, split and compare.
--
-- Two of n different keys meet with probability n^2 / 2^65: 3e-6 among ten million. The hash is the
-- same on every machine; it is no defence against someone who seeks collisions.

local hash_string = require("perilune.core").files.hash_string

local random = require("perilune.base.random")
local text_of = require("perilune.rules.row_text")

local hash = {}

--- A text as an integer, every value of which is as likely as any other.
-- @tparam string text
-- @treturn integer
function hash.text(text) return tonumber(hash_string(text):sub(1, 16), 16) end

--- What a row says, as an integer: its text and its time, under a seed and a group.
-- @tparam integer seed
-- @tparam integer group
-- @tparam table row
-- @treturn integer
function hash.row(seed, group, row)
  local said, time = hash.text(text_of(row)), row.time
  if time == nil then return random.purpose("rules.row", seed, group, said) end
  return random.purpose(
    "rules.row",
    seed,
    group,
    said,
    math.tointeger(time) or hash.text(tostring(time))
  )
end

--- An integer as a number in [0, 1).
-- @tparam integer value
-- @treturn number
function hash.fraction(value) return (value >> 11) * 2.0 ^ -53 end

return hash
