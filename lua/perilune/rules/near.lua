--- Near duplicates: MinHash signatures, bands to find candidates.
--
-- Source: Broder, "On the resemblance and containment of documents" (1997); banding: Leskovec,
-- Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3. A text is the set of its runs of
-- SHINGLE folded words; the likeness of two texts is the Jaccard index J of their sets. A signature
-- holds the least of K hash functions over the set, and the share of places in which two signatures
-- agree estimates J without bias, with a standard error of sqrt(J (1 - J) / K): 0.035 at J = 0.8.
--
-- Signatures are cut into bands of r numbers; texts that agree in a whole band are candidates,
-- which two texts of likeness t are with probability 1 - (1 - t^r)^(K // r). r is the greatest for
-- which that is at least FOUND at the threshold.
--
-- Rows are taken in order; one goes when an earlier one that stays is a candidate and its estimated
-- likeness reaches the threshold. So whatever goes has a reason that stays; but a pair may be
-- missed (rarely, above; and in a band that more than CROWD texts share, only the first CROWD are
-- compared).
--
-- Memory is flat: signatures (0.5 kB a row), bands and candidates lie on disk.

local fold = require("perilune.rules.fold")
local hash = require("perilune.rules.hash")
local random = require("perilune.base.random")
local sorter = require("perilune.rules.sorter")
local spool = require("perilune.rules.spool")
local text_of = require("perilune.rules.row_text")

local near = {}

local K <const> = 128
local SHINGLE <const> = 3
local FOUND <const> = 0.98
local CROWD <const> = 32

local FORMAT <const> = "<i8" .. ("I4"):rep(K) -- the row's number, the signature
local HEAD <const> = 8

local multiplier, addend = {}, {}
for i = 1, K do
  multiplier[i], addend[i] =
    random.purpose("rules.near.multiplier", i) | 1, random.purpose("rules.near.addend", i)
end

--- The signature of a text.
-- @tparam string text
-- @treturn {integer,...} K numbers of 32 bits
function near.signature(text)
  local least = {}
  for i = 1, K do
    least[i] = 0xFFFFFFFF
  end
  local words, n = {}, 0
  for word in fold.text(text):gmatch("%S+") do
    n = n + 1
    words[n] = word
  end
  for first = 1, math.max(1, n - SHINGLE + 1) do
    local x = hash.text(table.concat(words, " ", first, math.min(n, first + SHINGLE - 1)))
    for i = 1, K do
      local value = x * multiplier[i] + addend[i] >> 32
      if value < least[i] then least[i] = value end
    end
  end
  return least
end

--- The estimated likeness of two signatures.
-- @treturn number from 0 to 1
function near.likeness(a, b)
  local same = 0
  for i = 1, K do
    if a[i] == b[i] then same = same + 1 end
  end
  return same / K
end

--- How many numbers a band has for a threshold.
-- @tparam number threshold
-- @treturn integer
function near.band(threshold)
  local best = 1
  for r = 2, K do
    if 1 - (1 - threshold ^ r) ^ (K // r) >= FOUND then best = r end
  end
  return best
end

local function signature_at(signatures, index)
  local values = { string.unpack(FORMAT, signatures:record_at(index, HEAD + 4 * K)) }
  return table.move(values, 2, K + 1, 1, {}), values[1]
end

-- Signatures of the rows that stay so far, and their bands as (hash, index).
local function collect(held, signatures, bands, r, gone)
  for row, n in held:rows() do
    if gone(n) == 0 then
      local record = string.pack(FORMAT, n, table.unpack(near.signature(text_of(row))))
      local index = signatures:add_bytes(record)
      for first = 1, K - r + 1, r do
        local from = HEAD + 4 * (first - 1) + 1
        bands:add(hash.text(first .. ":" .. record:sub(from, from + 4 * r - 1)), index)
      end
    end
  end
end

-- Pairs (later, earlier) that share a band.
local function pair_up(bands, pairs_found)
  local band, crowd = nil, {}
  for of, index in bands:sorted() do
    if of ~= band then
      band, crowd = of, {}
    end
    for _, earlier in ipairs(crowd) do
      pairs_found:add(index, earlier)
    end
    if #crowd < CROWD then crowd[#crowd + 1] = index end
  end
end

--- Calls `mark(n, first)` for each row that is a near duplicate of an earlier one that stays.
-- @tparam table held the rows, by `held:rows()`
-- @tparam number threshold
-- @tparam function gone(n) is not 0 for rows that do not take part
-- @tparam function mark
-- @tparam table context `scratch`
function near.judge(held, threshold, gone, mark, context)
  local signatures = spool.new(context.scratch)
  local bands, found = sorter.new(2), sorter.new(2)
  collect(held, signatures, bands, near.band(threshold), gone)
  pair_up(bands, found)
  bands:close()
  local set_dropped, dropped = spool.marks()
  local current, own, own_number, last
  for later, earlier in found:sorted() do
    if later ~= current then
      current, own, last = later, nil, nil
    end
    if earlier ~= last and dropped(later) == 0 and dropped(earlier) == 0 then
      if not own then
        own, own_number = signature_at(signatures, later)
      end
      local other, number = signature_at(signatures, earlier)
      if near.likeness(own, other) >= threshold then
        set_dropped(later, 1)
        mark(own_number, number)
      end
    end
    last = earlier
  end
  found:close()
  signatures:close()
end

return near
