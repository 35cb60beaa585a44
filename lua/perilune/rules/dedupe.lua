--- Prompts that say the same, once: the earliest stays.
--
-- Source: Ouyang et al., arXiv:2203.02155, section 3.2: "We heuristically deduplicate prompts by
-- checking for prompts that share a long common prefix". How long is long is not said; here 64
-- characters of the folded text (about a dozen words), in any script: of 427 instructions that all
-- differ (self-instruct's), 32 characters take two for others and 48 none.
--
-- Let f be the text, folded (case, white space, punctuation: fold.lua) when `normalized`. Two
-- prompts are alike when both have at least `prefix` units and their first `prefix` units are
-- equal, or when neither needs a prefix to be equal: f is the same. A prompt shorter than `prefix`
-- is alike only with its equals, never with a longer one that begins with it. So being alike is an
-- equivalence, a prompt's class is a hash of its prefix or of its whole, and sorting the hashes
-- puts classes together in n log n. Of each class the earliest stays: no two that stay are alike,
-- every row that goes has an earlier one that stays and is alike, and doing it again changes
-- nothing.
--
-- Near duplicates (`near`) are looked for by near.lua among the earliest of the classes: one that
-- goes takes its class with it. That is no equivalence, and its promises are weaker.

local options = require("perilune.base.options")
local fold = require("perilune.rules.fold")
local hash = require("perilune.rules.hash")
local held = require("perilune.rules.held")
local near = require("perilune.rules.near")
local sorter = require("perilune.rules.sorter")
local spool = require("perilune.rules.spool")
local text_of = require("perilune.rules.row_text")

local dedupe = {}

local SAME <const>, FOLDED <const>, PREFIX <const>, NEAR <const> = 1, 2, 3, 4
local EXAMPLES_KEPT <const> = 3

local function check(given)
  local taken = options.take("dedupe", given, {
    exact = true,
    normalized = true,
    prefix = options.off_or(options.integer(64, 1)),
    unit = options.choice("chars", { "chars", "words" }),
    near = options.off_or(options.number(nil, 0.3, 1)),
  }, 0)
  if not (taken.exact or taken.normalized or taken.prefix or taken.near) then
    error("dedupe: exact, normalized, prefix and near are all off; leave the rule out", 0)
  end
  return taken
end

-- What stands for a prompt's class, or nil when it is in a class of its own; and the folded text.
local function class_of(text, taken)
  local folded = taken.normalized and fold.text(text) or text
  local head = taken.prefix and fold.prefix(folded, taken.prefix, taken.unit)
  if head then
    return head, folded -- never equal to a whole text: those below have fewer units
  elseif taken.normalized or taken.exact then
    return folded, folded
  end
  return nil, folded
end

--- The classes of rows: two are alike when these are equal. Raises when all ways to be alike are
-- off.
-- @tparam ?table given as of `rules.dedupe`
-- @treturn function (row) -> integer, a hash
function dedupe.classes(given)
  local taken = check(given)
  return function(row)
    local text = text_of(row)
    return hash.text(class_of(text, taken) or text)
  end
end

-- The three earliest of each reason, for the report: {n =, about = number of the row that stays}.
local function remember(list, n, about)
  local at = #list + 1
  while at > 1 and list[at - 1].n > n do
    at = at - 1
  end
  if at <= EXAMPLES_KEPT then
    table.insert(list, at, { n = n, about = about })
    list[EXAMPLES_KEPT + 1] = nil
  end
end

-- Marks all but the first of each class in the sorted keys (class, number, text, folded).
local function judge_classes(keys, mark)
  local class, first, text, folded
  for of, n, its_text, its_folded in keys:sorted() do
    if of ~= class then
      class, first, text, folded = of, n, its_text, its_folded
    else
      mark(n, its_text == text and SAME or its_folded == folded and FOLDED or PREFIX, first)
    end
  end
  keys:close()
end

--- The rule: of prompts that say the same, the earliest stays. Raises when all ways to be alike are
-- off.
-- @tparam ?table given `exact` (true): equal texts; `normalized` (true): equal but for case, white
--   space, punctuation; `prefix` (64): how many leading units are a long common prefix, or false;
--   `unit` ("chars"), or "words"; `near` (off): the Jaccard likeness from which prompts are near
--   duplicates, 0.3 to 1 (0.8 is usual)
-- @treturn Rule for `rules.run`
function dedupe.rule(given)
  local taken = check(given)
  local reasons = {
    [SAME] = "same prompt",
    [FOLDED] = "same but for case, spaces and punctuation",
    [PREFIX] = taken.prefix and ("same first %d %s"):format(taken.prefix, taken.unit),
    [NEAR] = taken.near and ("nearly the same: likeness of %g or more"):format(taken.near),
  }

  local function apply(rows, context)
    local keys = sorter.new(4)
    local set, get = spool.marks()
    local shown, texts = { {}, {}, {}, {} }, {}

    local function mark(n, reason, first)
      set(n, reason)
      remember(shown[reason], n, first)
    end

    return held.judged(rows, context, function(row, n)
      local text = text_of(row)
      local class, folded = class_of(text, taken)
      if class then
        local text_hash = hash.text(text)
        keys:add(hash.text(class), n, text_hash, folded == text and text_hash or hash.text(folded))
      end
    end, function(all)
      judge_classes(keys, mark)
      if taken.near then
        near.judge(all, taken.near, get, function(n, first) mark(n, NEAR, first) end, context)
      end
      local about = {}
      for _, list in ipairs(shown) do
        for _, pair in ipairs(list) do
          about[pair.n] = pair.about
          texts[pair.about] = ""
        end
      end
      return function(n, row)
        if texts[n] then texts[n] = text_of(row) end
        local code = get(n)
        return reasons[code], texts[about[n]]
      end
    end)
  end

  return { name = "dedupe", settings = options.described(taken), apply = apply }
end

return dedupe
