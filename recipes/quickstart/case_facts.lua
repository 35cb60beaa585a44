--- Use cases whose answers are facts of the world: answer, verify, list, classify, compare,
-- describe.
--
-- A use case is a table of functions over a world `w` and a task `t`:
--
--   make(w, rng)         -> t, a plain table: what is asked and in which form
--   prompt(w, t, rng)    -> the request: a string, or a list of messages
--   truth(w, t)          -> the right answer, as data
--   lie(w, t, rng)       -> a wrong answer, as the same kind of data
--   cores(w, t, truth)   -> {full = sentences, word = short forms} that say it
--   content(w, t, tokens, truth) -> credit in [0, 1] for an answer that is none of the cores
--   contradicts(w, t, tokens) -> (optional) true when the answer also says something false
--
-- `bare = true` keeps the polite openers of world.lua away from the prompt.
-- Scores are put together in world.lua; this file does not know about style.

local lexicon = require("quickstart.lexicon")
local facts = require("quickstart.facts")

local count_in, fill, other = facts.count_in, facts.fill, facts.other
local LOOSE <const> = facts.LOOSE

local cases = {}

local WORD_ASKS <const> = { "answer in one word :", "in one word :", "one word only :" }

local function asked_form(rng) return rng:chance(0.2) and "word" or "full" end

local function with_form(t, rng, text)
  if t.form == "word" then return rng:pick(WORD_ASKS) .. " " .. text end
  return text
end

--- A question about one attribute of one thing.
cases.answer = {
  make = function(_, rng)
    local thing, attribute = facts.any(rng)
    return { thing = thing, attribute = attribute, form = asked_form(rng) }
  end,
  prompt = function(_, t, rng)
    return with_form(t, rng, fill(rng:pick(facts.ATTRIBUTES[t.attribute].asks), t.thing))
  end,
  truth = facts.case.truth,
  lie = facts.case.lie,
  cores = facts.case.cores,
  content = facts.case.content,
  contradicts = facts.case.contradicts,
}

local VERIFY_ASKS <const> = {
  "is it true that @ ?",
  "true or not : @ .",
  "they say that @ . is that so ?",
  "i think that @ . is that so ?",
}

--- A claim to be confirmed or corrected.
cases.verify = {
  make = function(w, rng)
    local thing, attribute = facts.any(rng)
    local truth = w.facts[thing][attribute]
    local claim = rng:chance(0.5) and truth
      or other(rng, lexicon[facts.ATTRIBUTES[attribute].values], truth)
    return { thing = thing, attribute = attribute, claim = claim, form = "full" }
  end,
  prompt = function(_, t, rng)
    local claim = facts.sentence(t.attribute, t.thing, t.claim):sub(1, -3)
    return fill(rng:pick(VERIFY_ASKS), claim)
  end,
  truth = facts.case.truth,
  lie = function(w, t, rng)
    -- Wrong both ways: a false claim agreed to, or a true one denied.
    local truth = facts.case.truth(w, t)
    return t.claim == truth and facts.case.lie(w, t, rng) or t.claim
  end,
  cores = function(_, t, value)
    return {
      full = { facts.verdict(t.attribute, t.thing, value, t.claim) },
      word = { value == t.claim and "yes ." or "no ." },
    }
  end,
  content = function(_, t, tokens, value)
    local said, found = count_in(tokens, { yes = true, no = true, ["not"] = true })
    local agrees = value == t.claim
    return said == 1 and (found.yes ~= nil) == agrees and LOOSE or 0
  end,
  contradicts = function(w, t, tokens)
    local claimed = {} -- but for what is denied
    for i, token in ipairs(tokens) do
      if tokens[i - 1] ~= "not" then claimed[#claimed + 1] = token end
    end
    return facts.case.contradicts(w, t, claimed)
  end,
}

-- How animals of one kind are asked for. # stands for the value.
local LISTS <const> = {
  home = { group = "places", phrase = "live in the #", one = "lives in the #" },
  food = { group = "foods", phrase = "eat #", one = "eats #" },
  colour = { group = "colours", phrase = "are #", one = "is #" },
}
local LIST_ATTRIBUTES <const> = { "home", "food", "colour" }
local LIST_ASKS <const> = {
  "name two animals that @ .",
  "which two animals @ ?",
  "list two animals that @ .",
  "give me two animals that @ .",
  "i need a list of two animals that @ .",
}

--- The two animals that share a value.
cases.list = {
  make = function(_, rng)
    local attribute = rng:pick(LIST_ATTRIBUTES)
    return {
      attribute = attribute,
      value = rng:pick(lexicon[LISTS[attribute].group]),
      form = "full",
    }
  end,
  prompt = function(_, t, rng)
    return fill(rng:pick(LIST_ASKS), fill(LISTS[t.attribute].phrase, nil, t.value))
  end,
  truth = function(w, t) return w:animals_with(t.attribute, t.value) end,
  lie = function(w, t, rng)
    local right = w:animals_with(t.attribute, t.value)
    local strangers = {}
    for _, animal in ipairs(rng:shuffled(lexicon.animals)) do
      if animal ~= right[1] and animal ~= right[2] then strangers[#strangers + 1] = animal end
    end
    return { rng:chance(0.5) and rng:pick(right) or strangers[1], strangers[2] }
  end,
  cores = function(_, t, pair)
    local phrase = fill(LISTS[t.attribute].phrase, nil, t.value)
    local full, word = {}, {}
    for i = 1, 2 do
      local first, second = pair[i], pair[3 - i]
      full[i] = ("the %s and the %s %s ."):format(first, second, phrase)
      word[i] = ("%s , %s ."):format(first, second)
    end
    return { full = full, word = word }
  end,
  content = function(_, _, tokens, pair)
    local animals = count_in(tokens, lexicon.set(lexicon.animals))
    local right = count_in(tokens, lexicon.set(pair))
    return LOOSE * (right - (animals - right)) / 2
  end,
}

local CLASSIFY_ASKS <const> = {
  "is the @ an animal , a plant or a tool ?",
  "animal , plant or tool : @ ?",
  "what kind of thing is the @ ?",
  "what is a @ ?",
  "put the @ in its class .",
}

--- Animal, plant or tool.
cases.classify = {
  make = function(_, rng)
    local group = rng:pick { "animals", "plants", "tools" }
    return { thing = rng:pick(lexicon[group]), form = asked_form(rng) }
  end,
  prompt = function(_, t, rng) return with_form(t, rng, fill(rng:pick(CLASSIFY_ASKS), t.thing)) end,
  truth = function(w, t) return w.facts[t.thing].kind end,
  lie = function(w, t, rng) return other(rng, lexicon.kinds, w.facts[t.thing].kind) end,
  cores = function(_, t, kind)
    local article = kind == "animal" and "an" or "a"
    return {
      full = { ("the %s is %s %s ."):format(t.thing, article, kind) },
      word = { kind .. " ." },
    }
  end,
  content = facts.case.content,
  contradicts = function(w, t, tokens)
    local kinds, found = count_in(tokens, lexicon.set(lexicon.kinds))
    if kinds > 1 or kinds == 1 and not found[w.facts[t.thing].kind] then return true end
    local things, mentioned = count_in(tokens, facts.THINGS)
    return things > 1 or things == 1 and not mentioned[t.thing]
  end,
}

local RANK <const> = {}
for rank, size in ipairs(lexicon.sizes) do
  RANK[size] = rank
end
local COMPARE_ASKS <const> = {
  larger = {
    "which is larger , the @ or the # ?",
    "who is larger : the @ or the # ?",
    "the @ and the # : which is the larger one ?",
  },
  smaller = {
    "which is smaller , the @ or the # ?",
    "who is smaller : the @ or the # ?",
    "the @ and the # : which is the smaller one ?",
  },
}

--- Which of two animals is larger, or smaller.
cases.compare = {
  make = function(w, rng)
    local a, b
    repeat
      a, b = rng:pick(lexicon.animals), rng:pick(lexicon.animals)
    until w.facts[a].size ~= w.facts[b].size
    return { a = a, b = b, relation = rng:pick { "larger", "smaller" }, form = asked_form(rng) }
  end,
  prompt = function(_, t, rng)
    return with_form(t, rng, fill(rng:pick(COMPARE_ASKS[t.relation]), t.a, t.b))
  end,
  truth = function(w, t)
    local a_is_larger = RANK[w.facts[t.a].size] > RANK[w.facts[t.b].size]
    return a_is_larger == (t.relation == "larger") and t.a or t.b
  end,
  lie = function(w, t) return cases.compare.truth(w, t) == t.a and t.b or t.a end,
  cores = function(_, t, winner)
    local loser = winner == t.a and t.b or t.a
    return {
      full = { ("the %s is %s than the %s ."):format(winner, t.relation, loser) },
      word = { winner .. " ." },
    }
  end,
  content = function(_, _, tokens, winner)
    local things, found = count_in(tokens, facts.THINGS)
    return things == 1 and found[winner] and LOOSE or 0
  end,
  contradicts = function(w, t, tokens)
    local text = " " .. table.concat(tokens, " ")
    local wrong = cases.compare.cores(w, t, cases.compare.lie(w, t)).full[1]
    return text:find(" " .. wrong, 1, true) ~= nil
  end,
}

local DESCRIBE_ASKS <const> = {
  "describe the @ .",
  "describe the @ in one sentence .",
  "tell me about the @ .",
  "what do you know about the @ ?",
  "write one sentence about the @ .",
}

--- One sentence with size, colour and home of an animal.
cases.describe = {
  make = function(_, rng) return { thing = rng:pick(lexicon.animals), form = "full" } end,
  prompt = function(_, t, rng) return fill(rng:pick(DESCRIBE_ASKS), t.thing) end,
  truth = function(w, t)
    local fact = w.facts[t.thing]
    return { size = fact.size, colour = fact.colour, home = fact.home }
  end,
  lie = function(w, t, rng)
    local fact = cases.describe.truth(w, t)
    local attribute = rng:pick { "size", "colour", "home" }
    fact[attribute] = other(rng, lexicon[facts.ATTRIBUTES[attribute].values], fact[attribute])
    return fact
  end,
  cores = function(_, t, fact)
    return {
      full = {
        ("the %s is a %s %s animal of the %s ."):format(t.thing, fact.size, fact.colour, fact.home),
      },
      word = { ("%s , %s , %s ."):format(fact.size, fact.colour, fact.home) },
    }
  end,
  content = function(_, _, tokens, fact)
    local credit = 0
    for attribute, value in pairs(fact) do
      local values, found =
        count_in(tokens, lexicon.set(lexicon[facts.ATTRIBUTES[attribute].values]))
      if values == 1 and found[value] then credit = credit + 1 end
    end
    return credit >= 2 and LOOSE * (credit - 1) / 2 or 0
  end,
  contradicts = function(_, t, tokens)
    local things, found = count_in(tokens, facts.THINGS)
    return things > 1 or things == 1 and not found[t.thing]
  end,
}

return { cases = cases }
