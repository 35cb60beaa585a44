--- No class above its part: rows of big classes are left out, at random by seed.
--
-- A class is a value of a field (the use case). The cap c, the same for all classes, follows from
-- the counts n_i by one of three settings:
--   max    c itself
--   ratio  c = ratio * min n_i, rounded down
--   share  the greatest c with c <= share * sum_i min(n_i, c): then no class has more than that
--   share
--          of what is left. With k classes there is one only when share >= 1/k.
-- Which rows of a class stay is a uniform draw (see sample.lua).

local options = require("perilune.base.options")
local hash = require("perilune.rules.hash")
local held = require("perilune.rules.held")
local sample = require("perilune.rules.sample")
local spool = require("perilune.rules.spool")

local balance = {}

--- The greatest cap that gives no class more than a share of the whole.
-- @tparam {integer,...} counts of the classes
-- @tparam number share
-- @treturn integer 0 when there is none
function balance.cap_for_share(counts, share)
  local function holds(cap)
    local sum = 0
    for _, count in ipairs(counts) do
      sum = sum + math.min(count, cap)
    end
    return cap <= share * sum + 1e-9
  end
  local low, high = 0, 0
  for _, count in ipairs(counts) do
    high = math.max(high, count)
  end
  -- share * sum - cap is concave in the cap and 0 at 0: what holds is one run from 0.
  while low < high do
    local middle = (low + high + 1) // 2
    if holds(middle) then
      low = middle
    else
      high = middle - 1
    end
  end
  return low
end

--- The rule: no class above its part. Raises unless one of `max`, `ratio` and `share` is given.
-- @tparam table given one of `max` (none): rows of a class, `ratio` (none): times the smallest
--   class, 1 or more, 1.5 say, `share` (none): of the whole, 0 to 1; and `by` ("use_case"): the
--   field that holds the class; it takes few values, whose counts are held; `missing` ("keep"):
--   rows without a class stay, and count for nothing; or "drop", "error"
-- @treturn Rule for `rules.run`
function balance.rule(given)
  local taken = options.take("balance", given, {
    by = options.name("use_case"),
    max = options.integer(nil, 1),
    ratio = options.number(nil, 1),
    share = options.number(nil, 0, 1),
    missing = options.choice("keep", { "keep", "drop", "error" }),
  }, 0)
  local by = taken.by
  local ways = (taken.max and 1 or 0) + (taken.ratio and 1 or 0) + (taken.share and 1 or 0)
  if ways ~= 1 then
    error(
      "balance: give one of `max` (rows a class), `ratio` (times the smallest class) and "
        .. "`share` (of the whole)",
      0
    )
  end
  local absent = "no " .. by

  local function cap_of(counts)
    if #counts == 0 then
      return 0
    elseif taken.max then
      return math.tointeger(taken.max)
    elseif taken.ratio then
      local least = math.huge
      for _, count in ipairs(counts) do
        least = math.min(least, count)
      end
      return math.floor(math.min(taken.ratio * least, 2 ^ 53))
    end
    local cap = balance.cap_for_share(counts, taken.share)
    if cap == 0 then
      error(
        ("balance: share = %g cannot hold with %d values of %s; set it to %.2f or more"):format(
          taken.share,
          #counts,
          by,
          math.ceil(100 / #counts) / 100
        ),
        0
      )
    end
    return cap
  end

  local function apply(rows, context)
    local members = sample.new("sample")
    local set, get = spool.marks()
    local counts, reasons = {}, {}
    return held.judged(rows, context, function(row, n)
      local class = row[by]
      if class == nil then
        if taken.missing == "error" then
          error(
            ("balance: row %d has no %s; set `missing`, or put a rule before that sets it"):format(
              n,
              by
            ),
            0
          )
        elseif taken.missing == "drop" then
          set(n, 2)
        else
          context.tally(absent)
        end
        return
      end
      counts[class] = (counts[class] or 0) + 1
      local group = hash.text("class " .. tostring(class))
      members:add(group, hash.row(context.seed, group, row), n)
    end, function()
      local list = {}
      for _, count in pairs(counts) do
        list[#list + 1] = count
      end
      local cap = cap_of(list)
      members:leave(function() return cap end, function(n) set(n, 1) end)
      return function(n, row)
        local mark = get(n)
        if mark == 1 then
          local class = tostring(row[by])
          reasons[class] = reasons[class] or ("over %d of %s %s"):format(cap, by, class)
          return reasons[class]
        end
        return mark == 2 and absent or nil
      end
    end)
  end

  return { name = "balance", settings = options.described(taken), apply = apply }
end

return balance
