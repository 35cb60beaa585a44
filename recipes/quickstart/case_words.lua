--- Use cases whose answers are made from the words of the prompt: rewrite, count, sort, complete.
--
-- The form of a use case is that of case_facts.lua. None of these needs a fact but `complete`,
-- which may ask for the end of a sentence that states one.

local lexicon = require("quickstart.lexicon")
local facts = require("quickstart.facts")

local fill, other = facts.fill, facts.other
local LOOSE <const> = facts.LOOSE

local cases = {}

local VERB <const> = {}
for _, verb in ipairs(lexicon.verbs) do
  VERB[verb.present] = verb
end
local NUMBER <const> = {}
for i, word in ipairs(lexicon.numbers) do
  NUMBER[word] = i
end

local function numbers_in(tokens)
  local list = {}
  for _, token in ipairs(tokens) do
    if NUMBER[token] then list[#list + 1] = token end
  end
  return list
end

local REWRITE_ASKS <const> = {
  past = { "put this in the past : @", "say this in the past : @", "write it as past : @" },
  no = { "make this a no : @", "say the opposite of this : @", "turn this into a no : @" },
  question = {
    "make this a question : @",
    "turn this into a question : @",
    "ask this as a question : @",
  },
}
local REWRITES <const> = { "past", "no", "question" }

local function rewritten(t, way)
  local verb = VERB[t.verb]
  local tail = t.place and (" in the " .. t.place) or ""
  if way == "past" then
    return ("the %s %s%s ."):format(t.thing, verb.past, tail)
  elseif way == "no" then
    return ("the %s does not %s%s ."):format(t.thing, verb.plain, tail)
  elseif way == "question" then
    return ("does the %s %s%s ?"):format(t.thing, verb.plain, tail)
  end
  return ("the %s %s%s ."):format(t.thing, verb.present, tail)
end

--- A sentence put in the past, denied, or made a question.
cases.rewrite = {
  make = function(_, rng)
    return {
      thing = rng:pick(lexicon.animals),
      verb = rng:pick(lexicon.verbs).present,
      place = rng:chance(0.5) and rng:pick(lexicon.places) or nil,
      way = rng:pick(REWRITES),
      form = "full",
    }
  end,
  prompt = function(_, t, rng)
    local pattern = rng:pick(REWRITE_ASKS[t.way])
    return fill(pattern, rewritten(t, "present"))
  end,
  truth = function(_, t) return rewritten(t, t.way) end,
  lie = function(_, t, rng)
    if rng:chance(0.5) then
      return rewritten(t, other(rng, { "past", "no", "question", "present" }, t.way))
    end
    local changed = {
      thing = t.thing,
      place = t.place,
      verb = other(rng, lexicon.verbs, VERB[t.verb]).present,
    }
    return rewritten(changed, t.way)
  end,
  cores = function(_, t, sentence)
    -- The short form leaves the thing out and keeps only what changed.
    local tokens = lexicon.tokens(sentence)
    local short = t.way == "question" and { tokens[1], table.unpack(tokens, 4) }
      or { table.unpack(tokens, 3) }
    return { full = { sentence }, word = { table.concat(short, " ") } }
  end,
  content = function(_, _, tokens, sentence)
    local wanted, matched = lexicon.tokens(sentence), 0
    for i, token in ipairs(wanted) do
      matched = matched + (tokens[i] == token and 1 or 0)
    end
    local share = matched / #wanted
    return share > 0.7 and LOOSE or 0
  end,
}

local COUNT_ASKS <const> = {
  "how many things are in this list : @ ?",
  "count these : @ .",
  "how many are these : @ ?",
  "please count the things here : @ .",
  "give me the number of these : @ .",
}

--- How many things a list of the prompt has.
cases.count = {
  make = function(_, rng)
    local group = rng:pick { "animals", "tools", "colours", "foods", "plants" }
    return {
      items = rng:sample(lexicon[group], rng:int(2, 4)),
      form = rng:chance(0.2) and "word" or "full",
    }
  end,
  prompt = function(_, t, rng)
    local text = fill(rng:pick(COUNT_ASKS), table.concat(t.items, " , "))
    return t.form == "word" and rng:pick { "in one word :", "one word only :" } .. " " .. text
      or text
  end,
  truth = function(_, t) return lexicon.numbers[#t.items] end,
  lie = function(_, t, rng) return lexicon.numbers[#t.items + (rng:chance(0.5) and 1 or -1)] end,
  cores = function(_, _, number)
    return { full = { "there are " .. number .. " of them ." }, word = { number .. " ." } }
  end,
  content = function(_, _, tokens, number)
    local said = numbers_in(tokens)
    return #said == 1 and said[1] == number and LOOSE or 0
  end,
  contradicts = function(_, t, tokens)
    for _, said in ipairs(numbers_in(tokens)) do
      if NUMBER[said] ~= #t.items then return true end
    end
    return false
  end,
}

local SORT_ASKS <const> = {
  up = {
    "sort these from low to high : @ .",
    "sort up : @ .",
    "put these numbers in order : @ .",
    "low to high , please : @ .",
  },
  down = { "sort these from high to low : @ .", "sort down : @ .", "high to low , please : @ ." },
}

--- Number words in rising or falling order.
cases.sort = {
  make = function(_, rng)
    return {
      items = rng:sample(lexicon.numbers, 3),
      way = rng:chance(0.65) and "up" or "down",
      form = "full",
    }
  end,
  prompt = function(_, t, rng)
    return fill(rng:pick(SORT_ASKS[t.way]), table.concat(t.items, " , "))
  end,
  truth = function(_, t)
    local sorted = table.move(t.items, 1, #t.items, 1, {})
    local up = t.way == "up"
    local function comes_first(a, b) return (NUMBER[a] < NUMBER[b]) == up and a ~= b end
    table.sort(sorted, comes_first)
    return sorted
  end,
  lie = function(w, t, rng)
    local sorted = cases.sort.truth(w, t)
    local at = rng:int(1, #sorted - 1)
    sorted[at], sorted[at + 1] = sorted[at + 1], sorted[at]
    return sorted
  end,
  cores = function(_, _, sorted)
    local run = table.concat(sorted, " , ")
    return { full = { "in order : " .. run .. " ." }, word = { run .. " ." } }
  end,
  content = function(_, t, tokens, sorted)
    local said, places = numbers_in(tokens), 0
    if #said ~= #t.items then return 0 end
    for i, number in ipairs(sorted) do
      places = places + (said[i] == number and 1 or 0)
    end
    return LOOSE * places / #sorted
  end,
}

local COMPLETE_ASKS <const> = {
  "finish this sentence : @",
  "complete this : @",
  "how does this end : @",
  "go on : @",
}

--- A sentence or a run of numbers to be finished. The answer repeats what was given.
cases.complete = {
  make = function(_, rng)
    if rng:chance(0.4) then return { from = rng:int(1, 7), form = "full" } end
    local animal = rng:pick(lexicon.animals)
    return { thing = animal, attribute = rng:pick { "home", "food", "colour" }, form = "full" }
  end,
  prompt = function(w, t, rng)
    local given
    if t.from then
      given = table.concat(lexicon.numbers, " , ", t.from, t.from + 2) .. " ,"
    else
      local value = w.facts[t.thing][t.attribute]
      local sentence = facts.sentence(t.attribute, t.thing, value)
      given = sentence:sub(1, -(#value + 4))
    end
    return fill(rng:pick(COMPLETE_ASKS), given)
  end,
  truth = function(w, t)
    return t.from and lexicon.numbers[t.from + 3] or w.facts[t.thing][t.attribute]
  end,
  lie = function(w, t, rng)
    local values = t.from and lexicon.numbers or lexicon[facts.ATTRIBUTES[t.attribute].values]
    return other(rng, values, cases.complete.truth(w, t))
  end,
  cores = function(_, t, value)
    if t.from then
      local run = table.concat(lexicon.numbers, " , ", t.from, t.from + 2)
      return { full = { run .. " , " .. value .. " ." }, word = { value .. " ." } }
    end
    return {
      full = { facts.sentence(t.attribute, t.thing, value) },
      word = { value .. " ." },
    }
  end,
  content = function(_, _, tokens, value)
    for _, token in ipairs(tokens) do
      if token == value then return LOOSE end
    end
    return 0
  end,
  contradicts = function(w, t, tokens)
    if t.from then return false end
    local values = lexicon.set(lexicon[facts.ATTRIBUTES[t.attribute].values])
    for _, token in ipairs(tokens) do
      if values[token] and token ~= w.facts[t.thing][t.attribute] then return true end
    end
    return false
  end,
}

return { cases = cases }
