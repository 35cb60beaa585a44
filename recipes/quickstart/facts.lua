--- Facts of the world: how each attribute is asked for and stated, and the parts that use cases
-- about one fact share.

local lexicon = require("quickstart.lexicon")

local facts = {}

--- Credit for an answer that has the right words in it and is no sentence of the world.
facts.LOOSE = 0.3

--- How each attribute is asked for and stated. @ stands for the thing, # for the value.
facts.ATTRIBUTES = {
  colour = {
    values = "colours",
    states = { "the @ is # ." },
    asks = {
      "what colour is the @ ?",
      "which colour does the @ have ?",
      "the @ has what colour ?",
      "give me the colour of the @ .",
      "what is the colour of the @ ?",
    },
    follow = { "and what colour is it ?", "which colour does it have ?" },
  },
  size = {
    values = "sizes",
    states = { "the @ is # ." },
    asks = {
      "what size is the @ ?",
      "how big is the @ ?",
      "give me the size of the @ .",
      "what is the size of the @ ?",
      "the @ is of what size ?",
    },
    follow = { "and how big is it ?", "what size is it ?" },
  },
  home = {
    values = "places",
    states = { "the @ lives in the # ." },
    asks = {
      "where does the @ live ?",
      "in which place does the @ live ?",
      "where can i find the @ ?",
      "give me the home of the @ .",
      "where is the home of the @ ?",
    },
    follow = { "and where does it live ?", "where can i find it ?" },
  },
  food = {
    values = "foods",
    states = { "the @ eats # ." },
    asks = {
      "what does the @ eat ?",
      "which food does the @ eat ?",
      "give me the food of the @ .",
      "what is the food of the @ ?",
      "what should i give the @ to eat ?",
    },
    follow = { "and what does it eat ?", "which food does it eat ?" },
  },
  sound = {
    values = "sounds",
    states = { "the @ # ." },
    asks = {
      "what sound does the @ make ?",
      "which sound does the @ make ?",
      "give me the sound of the @ .",
      "how does the @ sound ?",
    },
    follow = { "and what sound does it make ?", "how does it sound ?" },
  },
  taste = {
    values = "tastes",
    states = { "the @ tastes # ." },
    asks = {
      "how does the @ taste ?",
      "what taste does the @ have ?",
      "give me the taste of the @ .",
      "what is the taste of the @ ?",
    },
    follow = { "and how does it taste ?", "what taste does it have ?" },
  },
}

--- The attributes of each kind of thing.
facts.OF_KIND = {
  animal = { "colour", "size", "home", "food", "sound" },
  plant = { "colour", "home", "taste" },
  tool = { "colour" },
}

--- Everything that has facts.
facts.THINGS = lexicon.set(lexicon.join(lexicon.animals, lexicon.plants, lexicon.tools))

--- A pattern with a thing in place of @ and a value in place of #.
-- @tparam string pattern
-- @tparam ?string thing
-- @tparam ?string value
-- @treturn string
function facts.fill(pattern, thing, value)
  return (pattern:gsub("[@#]", { ["@"] = thing, ["#"] = value }))
end

--- The sentence that states a fact.
-- @tparam string attribute
-- @tparam string thing
-- @tparam string value
-- @treturn string
function facts.sentence(attribute, thing, value)
  return facts.fill(facts.ATTRIBUTES[attribute].states[1], thing, value)
end

--- What is said of a claim: the fact, and whether the claim is it. The fact stands first, and what
-- it denies is said again: to say it is to look it up in the claim, as a word to be copied is, and
-- so a small model learns to tell it from the fact. Of a bare yes or no it learns nothing.
-- @tparam string attribute
-- @tparam string thing
-- @tparam string value that holds
-- @tparam string claim the value that is claimed
-- @treturn string
function facts.verdict(attribute, thing, value, claim)
  local fact = facts.sentence(attribute, thing, value):sub(1, -3)
  return fact .. (value == claim and " , yes ." or " , not " .. claim .. " .")
end

--- A value of a list that is not `but`.
-- @tparam Stream rng of pl.random
-- @tparam table values
-- @tparam any but what it is not
function facts.other(rng, values, but)
  local value
  repeat
    value = rng:pick(values)
  until value ~= but
  return value
end

--- A thing and one of its attributes.
-- @tparam Stream rng of pl.random
-- @treturn string thing
-- @treturn string attribute
function facts.any(rng)
  local dice = rng:real()
  if dice < 0.75 then
    return rng:pick(lexicon.animals), rng:pick(facts.OF_KIND.animal)
  elseif dice < 0.93 then
    return rng:pick(lexicon.plants), rng:pick(facts.OF_KIND.plant)
  end
  return rng:pick(lexicon.tools), rng:pick(facts.OF_KIND.tool)
end

--- How many different tokens are in a set, and which.
-- @tparam table tokens
-- @tparam table set
-- @treturn integer
-- @treturn table set of those found
function facts.count_in(tokens, set)
  local found, n = {}, 0
  for _, token in ipairs(tokens) do
    if set[token] and not found[token] then
      found[token] = true
      n = n + 1
    end
  end
  return n, found
end

-- Whether some value of the attribute other than `truth`, or some thing other than `thing`, is
-- mentioned.
local function strays(tokens, attribute, truth, thing)
  local values = lexicon.set(lexicon[facts.ATTRIBUTES[attribute].values])
  for _, token in ipairs(tokens) do
    if token ~= thing and facts.THINGS[token] then
      return true
    elseif token ~= truth and values[token] then
      return true
    end
  end
  return false
end

--- The functions of a use case, as case_facts.lua describes them, for a task about one attribute of
-- one thing.
facts.case = {}

function facts.case.truth(w, t) return w.facts[t.thing][t.attribute] end

function facts.case.lie(w, t, rng)
  local values = lexicon[facts.ATTRIBUTES[t.attribute].values]
  return facts.other(rng, values, facts.case.truth(w, t))
end

function facts.case.cores(_, t, value)
  return { full = { facts.sentence(t.attribute, t.thing, value) }, word = { value .. " ." } }
end

function facts.case.content(_, _, tokens, value)
  local said = facts.count_in(tokens, { [value] = true })
  return facts.LOOSE * said
end

function facts.case.contradicts(w, t, tokens)
  return strays(tokens, t.attribute, facts.case.truth(w, t), t.thing)
end

return facts
