--- A bounded choice out of each group: at random by seed, the first, or the last.
--
-- The sample of a group is its `limit` members with the smallest ranks. A rank is a hash of the
-- seed, the group and what the member says (its text and time), so it is a uniform draw without
-- replacement, the same whatever order the rows come in; adding a row to a group puts out at most
-- one other. Members that say the same are told apart by a running number, mixed into the rank:
-- which of them is which depends on the order, but they are alike.
--
-- Groups are 64-bit hashes (see hash.lua); everything is sorted out of core: memory does not grow
-- with rows, nor with groups.

local random = require("perilune.base.random")
local sorter = require("perilune.rules.sorter")

local sample = {}

--- A sample of each of many groups.
-- @class Sample
local Sample = {}
Sample.__index = Sample
Sample.__name = "sample"

local HELD <const> = 4096 -- members of one group held in memory until it is known to be too big

--- An empty sample.
-- @tparam string keep "sample", "first" or "last"
-- @treturn Sample
function sample.new(keep) return setmetatable({ keep = keep, members = sorter.new(3) }, Sample) end

--- Takes a member.
-- @tparam integer group
-- @tparam integer identity a hash of the seed, the group and what the member says
-- @tparam integer n its number
function Sample:add(group, identity, n)
  if self.keep == "first" then
    identity = n
  elseif self.keep == "last" then
    identity = -n
  end
  self.members:add(group, identity, n)
end

-- Calls `out(group, n)` for what lies beyond a group's limit in the sorter's order.
local function beyond(sorted, limit, out)
  local group, taken, most
  for of, _, n in sorted:sorted() do
    if of ~= group then
      group, taken, most = of, 0, limit(of)
    end
    taken = taken + 1
    if taken > most then out(n) end
  end
  sorted:close()
end

-- Groups above their limits, with ranks in place of identities.
local function ranked(members, limit)
  local ranks = sorter.new(3)
  local group, most, identity, again, count
  local held_ranks, held_numbers = {}, {}
  for of, what, n in members:sorted() do
    if of ~= group then
      group, most, count, identity = of, math.min(limit(of), HELD), 0, nil
    end
    again = what == identity and again + 1 or 0
    identity = what
    count = count + 1
    local rank = random.purpose("rules.rank", what, again)
    if count <= most then
      held_ranks[count], held_numbers[count] = rank, n
    else
      if count == most + 1 then
        for i = 1, most do
          ranks:add(group, held_ranks[i], held_numbers[i])
        end
      end
      ranks:add(group, rank, n)
    end
  end
  members:close()
  return ranks
end

--- Calls `out(n)` for each member that is not chosen.
-- @tparam function limit(group) -> how many to keep
-- @tparam function out
function Sample:leave(limit, out)
  local members = self.members
  if self.keep == "sample" then members = ranked(members, limit) end
  beyond(members, limit, out)
end

return sample
