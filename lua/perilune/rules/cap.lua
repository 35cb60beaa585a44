--- At most so many prompts a user.
--
-- Source: Ouyang et al., arXiv:2203.02155, section 3.2: "we limit the number of prompts to 200 per
-- user ID". The paper does not say which 200; here a uniform sample by seed (see sample.lua), since
-- the first 200 of a user are his first days, and users change.

local options = require("perilune.base.options")
local hash = require("perilune.rules.hash")
local held = require("perilune.rules.held")
local sample = require("perilune.rules.sample")
local spool = require("perilune.rules.spool")

--- The rule: at most so many prompts a user.
-- @tparam ?table given `by` ("user_id"): the field whose values are capped ("organisation" is
--   another reading of the paper); `max` (200) rows of each value; `keep` ("sample") which stay: a
--   random sample, or the "first" or "last" in the order the rows come; `missing` ("keep"): rows
--   without the key are kept, and counted in the report; "drop" drops them, "error" raises
-- @treturn Rule for `rules.run`
return function(given)
  local taken = options.take("cap", given, {
    by = options.name("user_id"),
    max = options.integer(200, 1),
    keep = options.choice("sample", { "sample", "first", "last" }),
    missing = options.choice("keep", { "keep", "drop", "error" }),
  }, 0)
  local by, max = taken.by, taken.max
  local sampled = taken.keep == "sample"
  local over, absent = ("over %d for one %s"):format(max, by), "no " .. by

  local function apply(rows, context)
    local members = sample.new(taken.keep)
    local set, get = spool.marks()
    return held.judged(rows, context, function(row, n)
      local key = row[by]
      if key == nil then
        if taken.missing == "error" then
          error(
            ('cap: row %d has no %s; set `missing` to "keep" or "drop", or another `by`'):format(
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
      local group = hash.text(tostring(key))
      members:add(group, sampled and hash.row(context.seed, group, row) or 0, n)
    end, function()
      members:leave(function() return max end, function(n) set(n, 1) end)
      return function(n)
        local mark = get(n)
        return mark == 1 and over or mark == 2 and absent or nil
      end
    end)
  end

  return { name = "cap", settings = options.described(taken), apply = apply }
end
