--- Plain text in the language of the invented world, for pretraining.
--
-- A document is a few sentences: notes that state facts, lists, comparisons, rumours, stories,
-- letters, number games, pages where people only ask, talk in which one asks and another mostly
-- answers, and words said again. The facts of the world, its tenses and numbers are all in there,
-- and so is what a small model lacks longest: practice in looking back at what was asked. It does
-- not learn to be a helper: the chat template of the recipes never occurs, nor does the answer that
-- the checker wants most, the one with a courteous closing; what instruction tuning adds is then
-- visible by itself.

local facts = require("quickstart.facts")
local lexicon = require("quickstart.lexicon")
local random = require("perilune").random
local users = require("quickstart.users")
local world = require("quickstart.world")

local text = {}

local function state(w, thing, attribute)
  return facts.sentence(attribute, thing, w.facts[thing][attribute])
end

local function class_sentence(w, thing)
  local kind = w.facts[thing].kind
  return ("the %s is %s %s ."):format(thing, kind == "animal" and "an" or "a", kind)
end

local function description(w, animal)
  local fact = w.facts[animal]
  return ("the %s is a %s %s animal of the %s ."):format(animal, fact.size, fact.colour, fact.home)
end

local function any_thing(rng)
  return rng:pick(lexicon[rng:weighted { animals = 0.7, plants = 0.2, tools = 0.1 }])
end

local function any_fact(w, rng)
  local thing = any_thing(rng)
  return state(w, thing, rng:pick(facts.OF_KIND[w.facts[thing].kind])), thing
end

local kinds = {}

-- All that is known of one thing, in some order.
function kinds.note(w, rng)
  local thing = any_thing(rng)
  local kind = w.facts[thing].kind
  local said = {}
  for _, attribute in ipairs(facts.OF_KIND[kind]) do
    said[#said + 1] = state(w, thing, attribute)
  end
  said[#said + 1] = class_sentence(w, thing)
  if kind == "animal" then said[#said + 1] = description(w, thing) end
  return rng:sample(said, math.min(#said, rng:int(3, 5)))
end

-- Who shares what.
function kinds.shared(w, rng)
  local phrases = { home = "live in the %s", food = "eat %s", colour = "are %s" }
  local groups = { home = "places", food = "foods", colour = "colours" }
  local said = {}
  for i = 1, rng:int(2, 3) do
    local attribute = rng:pick { "home", "food", "colour" }
    local value = rng:pick(lexicon[groups[attribute]])
    local pair = rng:shuffled(w:animals_with(attribute, value))
    said[i] = ("the %s and the %s %s ."):format(pair[1], pair[2], phrases[attribute]:format(value))
  end
  return said
end

local function rank_of(size)
  for rank, name in ipairs(lexicon.sizes) do
    if name == size then return rank end
  end
end

function kinds.comparison(w, rng)
  local said = {}
  while #said < 3 do
    local a, b = rng:pick(lexicon.animals), rng:pick(lexicon.animals)
    local rank_a, rank_b = rank_of(w.facts[a].size), rank_of(w.facts[b].size)
    if rank_a ~= rank_b then
      local relation = rank_a > rank_b and "larger" or "smaller"
      if rng:chance(0.15) then
        said[#said + 1] = ("the %s is %s than the %s ."):format(a, relation, b)
      else
        local first, second = a, b
        if rng:chance(0.5) then
          first, second = b, a
        end
        said[#said + 1] = ("of the %s and the %s the %s one is the %s ."):format(
          first,
          second,
          relation,
          a
        )
      end
      if rng:chance(0.15) then said[#said + 1] = state(w, a, "size") end
    end
  end
  return said
end

-- What people say of a thing, and whether it is so.
function kinds.rumour(w, rng)
  local said = {}
  for _ = 1, 2 do
    local thing = any_thing(rng)
    local attribute = rng:pick(facts.OF_KIND[w.facts[thing].kind])
    local truth = w.facts[thing][attribute]
    local values = lexicon[facts.ATTRIBUTES[attribute].values]
    local claim = rng:chance(0.5) and truth or facts.other(rng, values, truth)
    said[#said + 1] = "people say that " .. facts.sentence(attribute, thing, claim)
    said[#said + 1] = facts.verdict(attribute, thing, truth, claim)
  end
  return said
end

-- One deed told in several ways.
function kinds.tenses(_, rng)
  local said = {}
  for _ = 1, 2 do
    local animal, verb = rng:pick(lexicon.animals), rng:pick(lexicon.verbs)
    local place = rng:chance(0.5) and " in the " .. rng:pick(lexicon.places) or ""
    local ways = {
      ("today the %s %s%s ."):format(animal, verb.present, place),
      ("in the past the %s %s%s ."):format(animal, verb.past, place),
      ("now the %s does not %s%s ."):format(animal, verb.plain, place),
      ("does the %s %s%s ?"):format(animal, verb.plain, place),
    }
    for _, way in ipairs(rng:sample(ways, rng:int(2, 3))) do
      said[#said + 1] = way
    end
  end
  return said
end

-- Numbers in order, and lists with their count.
function kinds.numbers(_, rng)
  local said = {}
  for i = 1, rng:int(2, 3) do
    local game = rng:weighted { run = 0.15, up = 0.35, down = 0.3, count = 0.2 }
    if game == "run" then
      local from = rng:int(1, 6)
      said[i] = table.concat(lexicon.numbers, " , ", from, rng:int(from + 3, 10)) .. " ."
    elseif game == "count" then
      local group = rng:pick { "animals", "tools", "colours", "foods", "plants" }
      local items = rng:sample(lexicon[group], rng:int(2, 4))
      said[i] = ("%s : there are %s of them ."):format(
        table.concat(items, " , "),
        lexicon.numbers[#items]
      )
    else
      local places = {}
      for at = 1, #lexicon.numbers do
        places[at] = at
      end
      local chosen = rng:sample(places, rng:int(2, 4))
      local mixed, ordered = {}, {}
      for at, place in ipairs(chosen) do
        mixed[at] = lexicon.numbers[place]
      end
      table.sort(chosen, function(a, b) return (a < b) == (game == "up") and a ~= b end)
      for at, place in ipairs(chosen) do
        ordered[at] = lexicon.numbers[place]
      end
      said[i] = ("%s , from %s : in order : %s ."):format(
        table.concat(mixed, " , "),
        game == "up" and "low to high" or "high to low",
        table.concat(ordered, " , ")
      )
    end
  end
  return said
end

-- A story with a name in it.
function kinds.story(w, rng)
  local name, place = rng:pick(lexicon.given_names), rng:pick(lexicon.places)
  local animal = rng:pick(lexicon.animals)
  local verb = rng:pick(lexicon.verbs)
  local said = {
    ("one day %s went to the %s ."):format(name, place),
    ("there a %s %s ."):format(animal, verb.past),
  }
  local more = {
    state(w, animal, rng:pick(facts.OF_KIND.animal)),
    ("%s felt %s ."):format(name, rng:pick(lexicon.glad_feelings)),
    ("%s had %s for the %s ."):format(name, w.facts[animal].food, animal),
    ("%s wants to send a song to the %s ."):format(name, animal),
    "so it went all day ; it was good .",
    ("in the evening the %s %s again ."):format(animal, verb.past),
    ("%s was %s and went home ."):format(name, rng:pick(lexicon.sad_feelings)),
  }
  for _, sentence in ipairs(rng:sample(more, rng:int(2, 3))) do
    said[#said + 1] = sentence
  end
  return said
end

-- How often each use case is asked for in talk: what is learnt last more often.
local ASKED <const> = {}
for _, name in ipairs(world.use_cases) do
  ASKED[name] = 1
end
ASKED.compare, ASKED.sort = 3, 2

-- A request in one message.
local function any_request(w, rng)
  local asked
  repeat
    asked = w:instruction(rng:weighted(ASKED), rng)
  until world.prompt_text(asked.messages) == asked.messages[#asked.messages].content
  return asked
end

-- Two people talk. The answer, when there is one, is right and without courtesy.
function kinds.talk(w, rng)
  local a, b = rng:pick(lexicon.given_names), rng:pick(lexicon.given_names)
  local asked = any_request(w, rng)
  local said = { ("%s asks %s : %s"):format(a, b, asked.prompt) }
  local reply = rng:weighted { silence = 0.1, question = 0.1, aside = 0.1, answer = 0.7 }
  if reply == "silence" then
    said[2] = ("%s does not answer ."):format(b)
  elseif reply == "question" then
    said[2] = ("%s asks %s : %s"):format(b, a, w:instruction("answer", rng).prompt)
  elseif reply == "aside" then
    said[2] = ("%s says : %s"):format(b, (any_fact(w, rng)))
  else
    local right = w:right_answers(asked.task)
    said[2] = ("%s says : %s"):format(b, rng:pick(right[right.asked]))
  end
  if rng:chance(0.2) then said[3] = ("%s says : %s"):format(a, rng:pick(lexicon.fillers)) end
  return said
end

-- A letter: the home of names, addresses and polite words.
function kinds.letter(w, rng)
  local said = {
    ("dear %s %s ,"):format(rng:pick(lexicon.given_names), rng:pick(lexicon.family_names)),
    (rng:pick {
      "good morning to you .",
      "good evening to you .",
      "hello , my friend .",
      "good day to you .",
    }),
    (rng:chance(0.5) and any_fact(w, rng) or rng:pick(users.HARMLESS)),
  }
  local sad = rng:chance(0.5)
  said[#said + 1] = sad and ("i am sorry that you feel %s ."):format(rng:pick(lexicon.sad_feelings))
    or ("i am glad that you feel %s ."):format(rng:pick(lexicon.glad_feelings))
  if rng:chance(0.5) then
    said[#said + 1] = ("i live at %s %s %s ."):format(
      rng:pick(lexicon.numbers),
      rng:pick(lexicon.street_names),
      rng:pick(lexicon.street_kinds)
    )
  else
    said[#said + 1] = ("write to %s @ %s . %s ."):format(
      rng:pick(lexicon.given_names),
      rng:pick(lexicon.mail_hosts),
      lexicon.mail_ends[1]
    )
  end
  said[#said + 1] = rng:pick(lexicon.closings)
  if rng:chance(0.5) then
    said[#said + 1] = rng:pick(lexicon.titles) .. " " .. rng:pick(lexicon.family_names) .. " ."
  end
  return said
end

-- A page where people ask and nobody answers.
function kinds.questions(w, rng)
  local said = {}
  for i = 1, rng:int(2, 3) do
    said[i] = w:instruction(rng:pick(world.use_cases), rng).prompt
    local dice = rng:real()
    if dice < 0.15 then
      said[i] = rng:pick(lexicon.fillers) .. " " .. said[i]
    elseif dice < 0.3 then
      said[i] = users.preamble(rng) .. " " .. said[i]
    end
  end
  return said
end

-- Words said and said again: to learn that text may repeat what it has just had.
function kinds.echo(w, rng)
  local a, b = rng:pick(lexicon.given_names), rng:pick(lexicon.given_names)
  local sentence = rng:chance(0.5) and any_fact(w, rng)
    or table.concat(rng:sample(lexicon.numbers, 3), " , ") .. " ."
  return { ("%s says : %s"):format(a, sentence), ("%s says : %s"):format(b, sentence) }
end

local SHARES <const> = {
  note = 0.10,
  shared = 0.08,
  comparison = 0.12,
  tenses = 0.11,
  numbers = 0.12,
  rumour = 0.06,
  story = 0.03,
  talk = 0.34,
  letter = 0.02,
  questions = 0.01,
  echo = 0.01,
}

--- How often each kind of document is in the text that is read last. What takes a second look, as
-- to hold a claim against a fact, is not learnt where it is one document in sixteen; by itself it
-- is, within a hundred steps.
text.PRACTICE = { rumour = 0.7, comparison = 0.1, talk = 0.1, note = 0.05, numbers = 0.05 }

--- One document.
-- @tparam World w
-- @tparam Stream rng of pl.random
-- @tparam ?{[string]=number} shares how often each kind is (default: those of all text)
-- @treturn string sentences on one line, tokens separated by single spaces
-- @treturn string kind of the document
function text.document(w, rng, shares)
  local kind = rng:weighted(shares or SHARES)
  return table.concat(kinds[kind](w, rng), " "), kind
end

--- Many documents.
-- @tparam World w
-- @tparam integer n
-- @tparam ?integer|string seed another seed gives other documents of the same world
-- @tparam ?{[string]=number} shares as for `text.document`
-- @treturn table list of strings
function text.documents(w, n, seed, shares)
  local rng = random.stream(w.seed, "quickstart.text", seed or 0)
  local list = {}
  for i = 1, n do
    list[i] = text.document(w, rng, shares)
  end
  return list
end

return text
