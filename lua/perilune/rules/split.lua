--- Train, validation and test sides: by user, for ever.
--
-- Source: Ouyang et al., arXiv:2203.02155, section 3.2: splits are made by user id. A user's side
-- is where the hash of his id falls in [0, 1): [0, test) is test, then valid, the rest train. It
-- depends on nothing but the id, the salt and the shares: rows added later never move anyone.
--
-- A row without the key goes by its own text, so that equal texts stay on one side; the hash of
-- that text is kept in `extra.split_key`, since a later rule may change the text (a mask) but must
-- not move the row.

local options = require("perilune.base.options")
local core = require("perilune.core")

local hash = require("perilune.rules.hash")
local text_of = require("perilune.rules.row_text")

local split = {}

local SIDES <const> = { "train", "valid", "test" }

local function check(given)
  local taken = options.take("split", given, {
    by = options.name("user_id"),
    train = options.number(0.8, 0, 1),
    valid = options.number(0.1, 0, 1),
    test = options.number(0.1, 0, 1),
    salt = "",
  }, 0)
  local sum = 0
  for _, side in ipairs(SIDES) do
    sum = sum + taken[side]
  end
  if math.abs(sum - 1) > 1e-9 then
    error(
      ("split: train, valid and test are shares of the whole; %g + %g + %g is %g, not 1"):format(
        taken.train,
        taken.valid,
        taken.test,
        sum
      ),
      0
    )
  end
  local salted = ("split %d:%s "):format(#taken.salt, taken.salt)
  return taken,
    {
      key = salted .. "key ",
      text = salted .. "text ",
      by = taken.by,
      test = taken.test,
      valid = taken.valid,
    }
end

-- `taken` below is the second value of `check`: settings, and what a key and a text are hashed
-- after.
local function side_of(kind, key, taken)
  local at = hash.fraction(hash.text(taken[kind] .. tostring(key)))
  if at < taken.test then return "test" end
  return at < taken.test + taken.valid and "valid" or "train"
end

--- The side of a key. Raises when the shares are not 1 in all.
-- @tparam string key a value of the field `by`
-- @tparam ?table given as of `rules.split`
-- @treturn string "train", "valid" or "test"
function split.side(key, given)
  local _, taken = check(given)
  return side_of("key", key, taken)
end

-- The side of a row, and the hash of its text when that is what it goes by.
local function row_side(row, taken)
  local key = row[taken.by]
  if key ~= nil then return side_of("key", key, taken) end
  local own = row.extra and row.extra.split_key or core.files.hash_string(text_of(row))
  return side_of("text", own, taken), own
end

--- The side of a row.
-- @tparam table row
-- @tparam ?table given as for the rule
-- @treturn string
function split.row_side(row, given)
  local _, taken = check(given)
  return (row_side(row, taken))
end

--- The rule: sets `side`. Raises when the shares are not 1 in all.
-- @tparam ?table given `by` ("user_id"): the field that never crosses sides; `train` (0.8), `valid`
--   (0.1) and `test` (0.1): shares of the users (not of the prompts), 1 in all; `salt` (""):
--   another text gives another split
-- @treturn Rule with a `guard`
function split.rule(given)
  local shown, taken = check(given)

  local function apply(rows, context)
    return function()
      local row = rows()
      if not row then return nil end
      local copy = {}
      for key, value in next, row do
        copy[key] = value
      end
      local own
      copy.side, own = row_side(row, taken)
      if own then
        context.tally("by its own text: no " .. taken.by)
        copy.extra = { split_key = own }
        for key, value in next, row.extra or {} do
          copy.extra[key] = value
        end
      end
      context.tally(copy.side)
      return copy
    end
  end

  local function guard(row)
    local side = row_side(row, taken)
    if row.side ~= side then
      local key = row[taken.by]
      return ("%s stands on side %s, its hash on %s"):format(
        key ~= nil and ("%s %q"):format(taken.by, tostring(key)) or "a row without " .. taken.by,
        tostring(row.side),
        side
      )
    end
  end

  return { name = "split", settings = options.described(shown), apply = apply, guard = guard }
end

return split
