--- Use cases whose answers are facts of the world: answer, verify, list, classify, compare,
-- describe, chat.
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

local lexicon = require "quickstart.lexicon"

local cases = {}

-- Credit for an answer that has the right word in it and is no sentence of the world.
local LOOSE <const> = 0.3

-- How each attribute is asked for and stated. @ stands for the thing, # for the value.
local ATTRIBUTES <const> = {
  colour = {
    values = "colours",
    states = { "the @ is # ." },
    asks = { "what colour is the @ ?", "which colour does the @ have ?", "the @ has what colour ?",
      "give me the colour of the @ .", "what is the colour of the @ ?" },
    follow = { "and what colour is it ?", "which colour does it have ?" },
  },
  size = {
    values = "sizes",
    states = { "the @ is # ." },
    asks = { "what size is the @ ?", "how big is the @ ?", "give me the size of the @ .",
      "what is the size of the @ ?", "the @ is of what size ?" },
    follow = { "and how big is it ?", "what size is it ?" },
  },
  home = {
    values = "places",
    states = { "the @ lives in the # ." },
    asks = { "where does the @ live ?", "in which place does the @ live ?",
      "where can i find the @ ?", "give me the home of the @ .", "where is the home of the @ ?" },
    follow = { "and where does it live ?", "where can i find it ?" },
  },
  food = {
    values = "foods",
    states = { "the @ eats # ." },
    asks = { "what does the @ eat ?", "which food does the @ eat ?", "give me the food of the @ .",
      "what is the food of the @ ?", "what should i give the @ to eat ?" },
    follow = { "and what does it eat ?", "which food does it eat ?" },
  },
  sound = {
    values = "sounds",
    states = { "the @ # ." },
    asks = { "what sound does the @ make ?", "which sound does the @ make ?",
      "give me the sound of the @ .", "how does the @ sound ?" },
    follow = { "and what sound does it make ?", "how does it sound ?" },
  },
  taste = {
    values = "tastes",
    states = { "the @ tastes # ." },
    asks = { "how does the @ taste ?", "what taste does the @ have ?",
      "give me the taste of the @ .", "what is the taste of the @ ?" },
    follow = { "and how does it taste ?", "what taste does it have ?" },
  },
}
local ANIMAL_ATTRIBUTES <const> = { "colour", "size", "home", "food", "sound" }
local PLANT_ATTRIBUTES <const> = { "colour", "home", "taste" }
local TOOL_ATTRIBUTES <const> = { "colour" }
local WORD_ASKS <const> = { "answer in one word :", "in one word :", "one word only :" }

local function fill(pattern, thing, value)
  return (pattern:gsub("[@#]", { ["@"] = thing, ["#"] = value }))
end

--- The sentence that states a fact.
-- @tparam string attribute
-- @tparam string thing
-- @tparam string value
-- @treturn string
local function fact_sentence(attribute, thing, value)
  return fill(ATTRIBUTES[attribute].states[1], thing, value)
end

local function other(rng, values, but)
  local value
  repeat
    value = rng:pick(values)
  until value ~= but
  return value
end

local function random_fact(rng)
  local dice = rng:real()
  if dice < 0.75 then
    return rng:pick(lexicon.animals), rng:pick(ANIMAL_ATTRIBUTES)
  elseif dice < 0.93 then
    return rng:pick(lexicon.plants), rng:pick(PLANT_ATTRIBUTES)
  end
  return rng:pick(lexicon.tools), rng:pick(TOOL_ATTRIBUTES)
end

local function asked_form(rng)
  return rng:chance(0.2) and "word" or "full"
end

local function with_form(t, rng, text)
  if t.form == "word" then
    return rng:pick(WORD_ASKS) .. " " .. text
  end
  return text
end

local function count_in(tokens, set)
  local found, n = {}, 0
  for _, token in ipairs(tokens) do
    if set[token] and not found[token] then
      found[token] = true
      n = n + 1
    end
  end
  return n, found
end

local THINGS <const> = lexicon.set(table.move(lexicon.tools, 1, #lexicon.tools,
  #lexicon.animals + #lexicon.plants + 1, table.move(lexicon.plants, 1, #lexicon.plants,
    #lexicon.animals + 1, table.move(lexicon.animals, 1, #lexicon.animals, 1, {}))))

-- Whether some value of the attribute other than `truth`, or some thing other than `thing`, is
-- mentioned.
local function strays(tokens, attribute, truth, thing)
  for _, token in ipairs(tokens) do
    if token ~= thing and THINGS[token] then
      return true
    end
    if token ~= truth then
      for _, value in ipairs(lexicon[ATTRIBUTES[attribute].values]) do
        if token == value then
          return true
        end
      end
    end
  end
  return false
end

local function fact_truth(w, t)
  return w.facts[t.thing][t.attribute]
end

local function fact_lie(w, t, rng)
  return other(rng, lexicon[ATTRIBUTES[t.attribute].values], fact_truth(w, t))
end

local function fact_cores(_, t, value)
  return { full = { fact_sentence(t.attribute, t.thing, value) }, word = { value .. " ." } }
end

local function fact_content(_, _, tokens, value)
  return LOOSE * count_in(tokens, { [value] = true })
end

local function fact_contradicts(w, t, tokens)
  return strays(tokens, t.attribute, fact_truth(w, t), t.thing)
end

--- A question about one attribute of one thing.
cases.answer = {
  make = function(_, rng)
    local thing, attribute = random_fact(rng)
    return { thing = thing, attribute = attribute, form = asked_form(rng) }
  end,
  prompt = function(_, t, rng)
    return with_form(t, rng, fill(rng:pick(ATTRIBUTES[t.attribute].asks), t.thing))
  end,
  truth = fact_truth,
  lie = fact_lie,
  cores = fact_cores,
  content = fact_content,
  contradicts = fact_contradicts,
}

local VERIFY_ASKS <const> = {
  "is it true that @ ?", "true or not : @ .", "they say that @ . is that so ?",
  "i think that @ . is that so ?",
}

--- A claim to be confirmed or corrected.
cases.verify = {
  make = function(w, rng)
    local thing, attribute = random_fact(rng)
    local truth = w.facts[thing][attribute]
    local claim = rng:chance(0.5) and truth
      or other(rng, lexicon[ATTRIBUTES[attribute].values], truth)
    return { thing = thing, attribute = attribute, claim = claim, form = "full" }
  end,
  prompt = function(_, t, rng)
    local claim = fact_sentence(t.attribute, t.thing, t.claim):sub(1, -3)
    return fill(rng:pick(VERIFY_ASKS), claim)
  end,
  truth = fact_truth,
  lie = function(w, t, rng)
    -- Wrong both ways: a false claim agreed to, or a true one denied.
    local truth = fact_truth(w, t)
    return t.claim == truth and fact_lie(w, t, rng) or t.claim
  end,
  cores = function(_, t, value)
    local word = value == t.claim and "yes" or "no"
    return {
      full = { word .. " , " .. fact_sentence(t.attribute, t.thing, value) },
      word = { word .. " ." },
    }
  end,
  content = function(_, t, tokens, value)
    return tokens[1] == (value == t.claim and "yes" or "no") and LOOSE or 0
  end,
  contradicts = fact_contradicts,
}

-- How animals of one kind are asked for. # stands for the value.
local LISTS <const> = {
  home = { group = "places", phrase = "live in the #", one = "lives in the #" },
  food = { group = "foods", phrase = "eat #", one = "eats #" },
  colour = { group = "colours", phrase = "are #", one = "is #" },
}
local LIST_ATTRIBUTES <const> = { "home", "food", "colour" }
local LIST_ASKS <const> = {
  "name two animals that @ .", "which two animals @ ?", "list two animals that @ .",
  "give me two animals that @ .", "i need a list of two animals that @ .",
}

--- The two animals that share a value.
cases.list = {
  make = function(_, rng)
    local attribute = rng:pick(LIST_ATTRIBUTES)
    return { attribute = attribute, value = rng:pick(lexicon[LISTS[attribute].group]),
      form = "full" }
  end,
  prompt = function(_, t, rng)
    return fill(rng:pick(LIST_ASKS), fill(LISTS[t.attribute].phrase, nil, t.value))
  end,
  truth = function(w, t)
    return w:animals_with(t.attribute, t.value)
  end,
  lie = function(w, t, rng)
    local right = w:animals_with(t.attribute, t.value)
    local strangers = {}
    for _, animal in ipairs(rng:shuffled(lexicon.animals)) do
      if animal ~= right[1] and animal ~= right[2] then
        strangers[#strangers + 1] = animal
      end
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
  "is the @ an animal , a plant or a tool ?", "animal , plant or tool : @ ?",
  "what kind of thing is the @ ?", "what is a @ ?", "put the @ in its class .",
}

--- Animal, plant or tool.
cases.classify = {
  make = function(_, rng)
    local group = rng:pick { "animals", "plants", "tools" }
    return { thing = rng:pick(lexicon[group]), form = asked_form(rng) }
  end,
  prompt = function(_, t, rng)
    return with_form(t, rng, fill(rng:pick(CLASSIFY_ASKS), t.thing))
  end,
  truth = function(w, t)
    return w.facts[t.thing].kind
  end,
  lie = function(w, t, rng)
    return other(rng, lexicon.kinds, w.facts[t.thing].kind)
  end,
  cores = function(_, t, kind)
    local article = kind == "animal" and "an" or "a"
    return {
      full = { ("the %s is %s %s ."):format(t.thing, article, kind) },
      word = { kind .. " ." },
    }
  end,
  content = fact_content,
  contradicts = function(w, t, tokens)
    local kinds, found = count_in(tokens, lexicon.set(lexicon.kinds))
    if kinds > 1 or kinds == 1 and not found[w.facts[t.thing].kind] then
      return true
    end
    local things, mentioned = count_in(tokens, THINGS)
    return things > 1 or things == 1 and not mentioned[t.thing]
  end,
}

local RANK <const> = {}
for rank, size in ipairs(lexicon.sizes) do
  RANK[size] = rank
end
local COMPARE_ASKS <const> = {
  larger = { "which is larger , the @ or the # ?", "who is larger : the @ or the # ?",
    "the @ and the # : which is the larger one ?" },
  smaller = { "which is smaller , the @ or the # ?", "who is smaller : the @ or the # ?",
    "the @ and the # : which is the smaller one ?" },
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
  lie = function(w, t)
    return cases.compare.truth(w, t) == t.a and t.b or t.a
  end,
  cores = function(_, t, winner)
    local loser = winner == t.a and t.b or t.a
    return {
      full = { ("the %s is %s than the %s ."):format(winner, t.relation, loser) },
      word = { winner .. " ." },
    }
  end,
  content = function(_, _, tokens, winner)
    local things, found = count_in(tokens, THINGS)
    return things == 1 and found[winner] and LOOSE or 0
  end,
  contradicts = function(w, t, tokens)
    local text = " " .. table.concat(tokens, " ")
    local wrong = cases.compare.cores(w, t, cases.compare.lie(w, t)).full[1]
    return text:find(" " .. wrong, 1, true) ~= nil
  end,
}

local DESCRIBE_ASKS <const> = {
  "describe the @ .", "describe the @ in one sentence .", "tell me about the @ .",
  "what do you know about the @ ?", "write one sentence about the @ .",
}

--- One sentence with size, colour and home of an animal.
cases.describe = {
  make = function(_, rng)
    return { thing = rng:pick(lexicon.animals), form = "full" }
  end,
  prompt = function(_, t, rng)
    return fill(rng:pick(DESCRIBE_ASKS), t.thing)
  end,
  truth = function(w, t)
    local fact = w.facts[t.thing]
    return { size = fact.size, colour = fact.colour, home = fact.home }
  end,
  lie = function(w, t, rng)
    local fact = cases.describe.truth(w, t)
    local attribute = rng:pick { "size", "colour", "home" }
    fact[attribute] = other(rng, lexicon[ATTRIBUTES[attribute].values], fact[attribute])
    return fact
  end,
  cores = function(_, t, fact)
    return {
      full = { ("the %s is a %s %s animal of the %s ."):format(t.thing, fact.size, fact.colour,
        fact.home) },
      word = { ("%s , %s , %s ."):format(fact.size, fact.colour, fact.home) },
    }
  end,
  content = function(_, _, tokens, fact)
    local credit = 0
    for attribute, value in pairs(fact) do
      local values, found = count_in(tokens, lexicon.set(lexicon[ATTRIBUTES[attribute].values]))
      if values == 1 and found[value] then
        credit = credit + 1
      end
    end
    return credit >= 2 and LOOSE * (credit - 1) / 2 or 0
  end,
  contradicts = function(_, t, tokens)
    local things, found = count_in(tokens, THINGS)
    return things > 1 or things == 1 and not found[t.thing]
  end,
}

local GREETINGS <const> = {
  hello = { "hello !", "hello , helper !", "i want to say hello to you ." },
  morning = { "good morning !", "good morning to you , helper !", "what a good morning it is !" },
  evening = { "good evening !", "good evening to you , helper !", "what a good evening it is !" },
}
local FEELING_ASKS <const> = { "i feel @ .", "i feel so @ now .", "i feel @ in the evening .",
  "we all feel @ in the cave .", "today i feel very @ ." }
local SAD <const> = lexicon.set(lexicon.sad_feelings)

local function feelings()
  return table.move(lexicon.glad_feelings, 1, #lexicon.glad_feelings, #lexicon.sad_feelings + 1,
    table.move(lexicon.sad_feelings, 1, #lexicon.sad_feelings, 1, {}))
end

-- The chat use case is four small ones. `again` asks a second question about the same thing
-- ("and where does it live ?"), `also` the same question about a second thing.
local chat = {}

chat.greet = {
  make = function(_, rng)
    return { greeting = rng:pick { "hello", "morning", "evening" } }
  end,
  prompt = function(_, t, rng)
    return rng:pick(GREETINGS[t.greeting])
  end,
  truth = function(_, t)
    return t.greeting
  end,
  lie = function(_, t, rng)
    return other(rng, { "hello", "morning", "evening" }, t.greeting)
  end,
  cores = function(_, _, greeting)
    local said = greeting == "hello" and "hello" or "good " .. greeting
    return { full = { said .. " , my friend .", said .. " to you ." }, word = { said .. " ." } }
  end,
  content = function(_, _, tokens, greeting)
    return LOOSE * count_in(tokens, { [greeting] = true })
  end,
}

chat.feel = {
  make = function(_, rng)
    return { feeling = rng:pick(feelings()) }
  end,
  prompt = function(_, t, rng)
    return fill(rng:pick(FEELING_ASKS), t.feeling)
  end,
  truth = function(_, t)
    return { feeling = t.feeling, sad = SAD[t.feeling] == true }
  end,
  lie = function(_, t, rng)
    if rng:chance(0.5) then
      return { feeling = t.feeling, sad = not SAD[t.feeling] }
    end
    return { feeling = other(rng, feelings(), t.feeling), sad = SAD[t.feeling] == true }
  end,
  cores = function(_, _, truth)
    local mood = truth.sad and "i am sorry" or "i am glad"
    return {
      full = { mood .. " that you feel " .. truth.feeling .. " ." },
      word = { mood .. " ." },
    }
  end,
  content = function(_, _, tokens, truth)
    return LOOSE * count_in(tokens, { [truth.sad and "sorry" or "glad"] = true })
  end,
  contradicts = function(_, t, tokens)
    local said, found = count_in(tokens, lexicon.set(feelings()))
    return said > 1 or said == 1 and not found[t.feeling]
  end,
}

local function second_turn(first, answer, question)
  return {
    { role = "user", content = first },
    { role = "assistant", content = answer .. " " .. lexicon.closings[1] },
    { role = "user", content = question },
  }
end

chat.again = {
  make = function(_, rng)
    return { thing = rng:pick(lexicon.animals), attribute = rng:pick { "food", "sound" } }
  end,
  prompt = function(w, t, rng)
    local told = cases.describe.cores(w, t, cases.describe.truth(w, t)).full[1]
    return second_turn(fill(rng:pick(DESCRIBE_ASKS), t.thing), told,
      rng:pick(ATTRIBUTES[t.attribute].follow))
  end,
  truth = fact_truth,
  lie = fact_lie,
  cores = fact_cores,
  content = fact_content,
  contradicts = fact_contradicts,
}

chat.also = {
  make = function(_, rng)
    local thing = rng:pick(lexicon.animals)
    return { thing = thing, first = other(rng, lexicon.animals, thing),
      attribute = rng:pick(ANIMAL_ATTRIBUTES) }
  end,
  prompt = function(w, t, rng)
    local told = fact_sentence(t.attribute, t.first, w.facts[t.first][t.attribute])
    return second_turn(fill(rng:pick(ATTRIBUTES[t.attribute].asks), t.first), told,
      fill(rng:pick { "and the @ ?", "and what about the @ ?" }, t.thing))
  end,
  truth = fact_truth,
  lie = fact_lie,
  cores = fact_cores,
  content = fact_content,
  contradicts = fact_contradicts,
}

local function delegate(name)
  return function(w, t, ...)
    local inner = chat[t.about][name]
    return inner and inner(w, t, ...)
  end
end

--- Small talk and second questions.
cases.chat = {
  bare = true,
  make = function(w, rng)
    local about = rng:weighted { greet = 0.1, feel = 0.3, again = 0.25, also = 0.35 }
    local t = chat[about].make(w, rng)
    t.about, t.form = about, "full"
    return t
  end,
}
for _, name in ipairs { "prompt", "truth", "lie", "cores", "content", "contradicts" } do
  cases.chat[name] = delegate(name)
end

--- What text.lua and users.lua need beside the cases themselves.
return { cases = cases, fact_sentence = fact_sentence, attributes = {
  animal = ANIMAL_ATTRIBUTES, plant = PLANT_ATTRIBUTES, tool = TOOL_ATTRIBUTES } }
