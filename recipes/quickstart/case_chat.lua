--- The use case chat: small talk, and second questions about what was said before.
--
-- The form of a use case is that of case_facts.lua.

local describe = require("quickstart.case_facts").cases.describe
local facts = require("quickstart.facts")
local lexicon = require("quickstart.lexicon")

local count_in, fill, other = facts.count_in, facts.fill, facts.other
local LOOSE <const> = facts.LOOSE

local cases = {}

local GREETINGS <const> = {
  hello = { "hello !", "hello , helper !", "i want to say hello to you ." },
  morning = { "good morning !", "good morning to you , helper !", "what a good morning it is !" },
  evening = { "good evening !", "good evening to you , helper !", "what a good evening it is !" },
}
local GREETING_NAMES <const> = { "hello", "morning", "evening" }
local FEELING_ASKS <const> = {
  "i feel @ .",
  "i feel so @ now .",
  "i feel @ in the evening .",
  "we all feel @ in the cave .",
  "today i feel very @ .",
}
local SAD <const> = lexicon.set(lexicon.sad_feelings)
local FEELINGS <const> = lexicon.join(lexicon.sad_feelings, lexicon.glad_feelings)

-- The chat use case is four small ones. `again` asks a second question about the same thing
-- ("and where does it live ?"), `also` the same question about a second thing.
local chat = {}

chat.greet = {
  make = function(_, rng) return { greeting = rng:pick(GREETING_NAMES) } end,
  prompt = function(_, t, rng) return rng:pick(GREETINGS[t.greeting]) end,
  truth = function(_, t) return t.greeting end,
  lie = function(_, t, rng) return other(rng, GREETING_NAMES, t.greeting) end,
  cores = function(_, _, greeting)
    local said = greeting == "hello" and "hello" or "good " .. greeting
    return { full = { said .. " , my friend .", said .. " to you ." }, word = { said .. " ." } }
  end,
  content = facts.case.content,
}

chat.feel = {
  make = function(_, rng) return { feeling = rng:pick(FEELINGS) } end,
  prompt = function(_, t, rng) return fill(rng:pick(FEELING_ASKS), t.feeling) end,
  truth = function(_, t) return { feeling = t.feeling, sad = SAD[t.feeling] == true } end,
  lie = function(_, t, rng)
    if rng:chance(0.5) then return { feeling = t.feeling, sad = not SAD[t.feeling] } end
    return { feeling = other(rng, FEELINGS, t.feeling), sad = SAD[t.feeling] == true }
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
    local said, found = count_in(tokens, lexicon.set(FEELINGS))
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
    local told = describe.cores(w, t, describe.truth(w, t)).full[1]
    return second_turn(
      describe.prompt(w, t, rng),
      told,
      rng:pick(facts.ATTRIBUTES[t.attribute].follow)
    )
  end,
  truth = facts.case.truth,
  lie = facts.case.lie,
  cores = facts.case.cores,
  content = facts.case.content,
  contradicts = facts.case.contradicts,
}

chat.also = {
  make = function(_, rng)
    local thing = rng:pick(lexicon.animals)
    return {
      thing = thing,
      first = other(rng, lexicon.animals, thing),
      attribute = rng:pick(facts.OF_KIND.animal),
    }
  end,
  prompt = function(w, t, rng)
    local told = facts.sentence(t.attribute, t.first, w.facts[t.first][t.attribute])
    return second_turn(
      fill(rng:pick(facts.ATTRIBUTES[t.attribute].asks), t.first),
      told,
      fill(rng:pick { "and the @ ?", "and what about the @ ?" }, t.thing)
    )
  end,
  truth = facts.case.truth,
  lie = facts.case.lie,
  cores = facts.case.cores,
  content = facts.case.content,
  contradicts = facts.case.contradicts,
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

return { cases = cases }
