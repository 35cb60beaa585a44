--- Prompts that are neither too short nor too long.
--
-- Source: Ouyang et al., arXiv:2203.02155, appendix C: prompts over 1k tokens are left out. Before
-- a tokenizer is chosen, 4,096 characters are about as much; with one, give `unit` a function.

local options = require("perilune.base.options")
local fold = require("perilune.rules.fold")
local text_of = require("perilune.rules.row_text")

local measures = { chars = fold.chars, words = fold.words }

--- The rule: prompts that are neither too short nor too long. Raises when `max` is below `min`.
-- @tparam ?table given `min` (1) and `max` (4096), both included; `unit` ("chars"), "words", or a
--   function(text, row) -> number, such as a count of tokens
-- @treturn Rule for `rules.run`
return function(given)
  local counts = type(given) == "table" and type(given.unit) == "function"
  local taken = options.take("length", given, {
    min = options.integer(1, 0),
    max = options.integer(4096, 0),
    unit = counts and options.any() or options.choice("chars", { "chars", "words" }),
  }, 0)
  local unit, min, max = taken.unit, taken.min, taken.max
  if max < min then
    error(("length: max = %d; it must be at least min = %d"):format(max, min), 0)
  end
  local measure = measures[unit] or unit
  local named = measures[unit] and unit or "units"
  local short, long = ("under %d %s"):format(min, named), ("over %d %s"):format(max, named)

  local function apply(rows, context)
    return function()
      for row in rows do
        local text = text_of(row)
        local length = measure(text, row)
        if type(length) ~= "number" or length ~= length then
          local message = "length: unit gave a %s for a row that begins '%s'; it must give a number"
          error(message:format(length == length and type(length) or "NaN", text:sub(1, 40)), 0)
        end
        if length < min then
          context.drop(row, short)
        elseif length > max then
          context.drop(row, long)
        else
          return row
        end
      end
    end
  end

  return { name = "length", settings = options.described(taken), apply = apply }
end
