--- The invented world of `perilune demo`: its facts, its use cases and what a good answer is.
--
-- A world is eight animals, four plants and four tools, each with attributes drawn once from the
-- seed and then fixed, so that every question has an answer that can be checked. Instructions come
-- in the use cases of case_facts.lua, case_chat.lua and case_words.lua. A task is a plain table
-- that says what was asked, and can be written to a file and read back; its answer is derived from
-- the facts.
--
-- The gold score of an answer lies in [0, 1]:
--
--   score = content * (0.4 + 0.2 form + 0.2 courteous + 0.15 concise + 0.05 ends)
--
-- content: how much of what was asked is right; form: a full sentence, or the bare word where the
-- prompt asked for one word; courteous: a closing such as "glad to help !" stands last; concise:
-- no longer than the sentence and the closing; ends: the answer was finished, with a mark.
-- A wrong answer is worth nothing, however polite.
--
-- The hidden labeler and the demonstrations are in labelers.lua.

local case_chat = require("quickstart.case_chat")
local case_facts = require("quickstart.case_facts")
local case_words = require("quickstart.case_words")
local lexicon = require("quickstart.lexicon")
local random = require("perilune").random

local world = {}

--- An invented world.
-- @class World
local World = {}
World.__index = World

local cases = {}
for _, module in ipairs { case_facts, case_chat, case_words } do
  for name, case in pairs(module.cases) do
    cases[name] = case
  end
end

--- Names of the use cases, sorted.
world.use_cases = {}
for name in pairs(cases) do
  world.use_cases[#world.use_cases + 1] = name
end
table.sort(world.use_cases)

-- Polite or impatient beginnings that users put before an instruction.
local OPENERS <const> = {
  "please ,",
  "hello .",
  "tell me :",
  "dear helper ,",
  "quick question :",
  "can you help me ?",
  "i need your help :",
  "good day .",
  "now ,",
  "one more thing :",
}

local SYSTEM_TEXT <const> = "you are a kind helper ."

-- Which elements each attribute is dealt from. Dealing a shuffled deck that repeats the elements
-- evenly gives every value the same number of owners, so that "name two animals that ..." has
-- exactly one right set.
local ATTRIBUTES <const> = {
  {
    group = "animals",
    kind = "animal",
    colour = "colours",
    size = "sizes",
    home = "places",
    food = "foods",
    sound = "sounds",
  },
  { group = "plants", kind = "plant", colour = "colours", home = "places", taste = "tastes" },
  { group = "tools", kind = "tool", colour = "colours" },
}
local ATTRIBUTE_NAMES <const> = { "colour", "size", "home", "food", "sound", "taste" }

local function deal(seed, things, values, purpose)
  local deck = {}
  for i = 1, #things do
    deck[i] = values[(i - 1) % #values + 1]
  end
  return random.stream(seed, "quickstart.facts", purpose):shuffled(deck)
end

--- A world with facts of its own.
-- @tparam integer seed
-- @treturn World with `facts[thing] = {kind, colour, size, home, food, sound, taste}`
function world.new(seed)
  local self = setmetatable({ seed = seed, facts = {} }, World)
  for _, spec in ipairs(ATTRIBUTES) do
    local things = lexicon[spec.group]
    for _, thing in ipairs(things) do
      self.facts[thing] = { kind = spec.kind }
    end
    for _, attribute in ipairs(ATTRIBUTE_NAMES) do
      if spec[attribute] then
        local dealt = deal(seed, things, lexicon[spec[attribute]], spec.group .. attribute)
        for i, thing in ipairs(things) do
          self.facts[thing][attribute] = dealt[i]
        end
      end
    end
  end
  return self
end

--- Every token that can occur in text of any world, in an order that never changes.
-- @treturn table list of strings
world.vocabulary = lexicon.vocabulary

--- A text cut into its tokens.
-- @tparam string text
-- @treturn table list of strings
world.tokens = lexicon.tokens

--- The animals of this world with a given value of an attribute, in the order of the lexicon.
-- @tparam string attribute
-- @tparam string value
-- @treturn table list of names
function World:animals_with(attribute, value)
  local found = {}
  for _, animal in ipairs(lexicon.animals) do
    if self.facts[animal][attribute] == value then found[#found + 1] = animal end
  end
  return found
end

--- A task and a prompt that asks for it.
-- @tparam string use_case one of `world.use_cases`
-- @tparam Stream rng of pl.random
-- @treturn table `{use_case, task, messages, prompt}`; `prompt` is all user text in one string
function World:instruction(use_case, rng)
  local case = cases[use_case]
  if not case then
    error(
      ("no use case %q; there are: %s"):format(
        tostring(use_case),
        table.concat(world.use_cases, ", ")
      ),
      2
    )
  end
  local task = case.make(self, rng)
  task.use_case = use_case
  local asked = case.prompt(self, task, rng)
  if type(asked) == "string" then asked = { { role = "user", content = asked } } end
  local last = asked[#asked]
  if #asked == 1 and not case.bare and rng:chance(0.5) then
    last.content = rng:pick(OPENERS) .. " " .. last.content
  end
  if rng:chance(0.1) then table.insert(asked, 1, { role = "system", content = SYSTEM_TEXT }) end
  return { use_case = use_case, task = task, messages = asked, prompt = world.prompt_text(asked) }
end

--- All that the user said in a conversation, in one string.
-- @tparam table messages list of `{role, content}`
-- @treturn string
function world.prompt_text(messages)
  local said = {}
  for _, message in ipairs(messages) do
    if message.role == "user" then said[#said + 1] = message.content end
  end
  return table.concat(said, " ")
end

--- The right ways to say the answer of a task, without a closing.
-- @tparam table task
-- @treturn table `{full = {...}, word = {...}, asked = "full"|"word"}`: sentences, bare words, and
-- which of the two the prompt asked for
function World:right_answers(task)
  local case = cases[task.use_case]
  local cores = case.cores(self, task, case.truth(self, task))
  cores.asked = task.form == "word" and "word" or "full"
  return cores
end

--- Wrong answers in the form of right ones.
-- @tparam table task
-- @tparam Stream rng of pl.random
-- @treturn table like `right_answers`
function World:wrong_answers(task, rng)
  local case = cases[task.use_case]
  local cores = case.cores(self, task, case.lie(self, task, rng))
  cores.asked = task.form == "word" and "word" or "full"
  return cores
end

local function split_closing(text)
  for _, closing in ipairs(lexicon.closings) do
    if text == closing then
      return "", true
    elseif text:sub(-#closing - 1) == " " .. closing then
      return text:sub(1, -#closing - 2), true
    end
  end
  return text, false
end

-- Whether `phrase` stands in `text` as whole sentences: at the start or after a mark that ends one.
local function says(text, phrase)
  local from = 1
  while true do
    local first, last = text:find(phrase, from, true)
    if not first then return false end
    local before, after = text:sub(1, first - 1), text:sub(last + 1, last + 1)
    if (before == "" or before:find("[%.!%?] $")) and (after == "" or after == " ") then
      return true
    end
    from = first + 1
  end
end

local function says_any(text, phrases)
  for _, phrase in ipairs(phrases) do
    if says(text, phrase) then return true end
  end
  return false
end

local function longest(phrases)
  local most = 0
  for _, phrase in ipairs(phrases) do
    most = math.max(most, #lexicon.tokens(phrase))
  end
  return most
end

--- The gold score of an answer, and its parts.
-- @tparam table task
-- @tparam string|table answer text, or `{text = ..., finished = boolean}`; `finished = false` says
-- that generation was cut before the end token
-- @treturn number in [0, 1]
-- @treturn table `{content, form, courteous, concise, ends}`, each in [0, 1]
function World:check(task, answer)
  local text, finished = answer, true
  if type(answer) == "table" then
    text, finished = answer.text, answer.finished ~= false
  end
  text = table.concat(lexicon.tokens(text), " ")
  local case = cases[task.use_case]
  local core, closed = split_closing(text)
  local tokens = lexicon.tokens(core)
  local right = self:right_answers(task)
  local wanted = right[right.asked]
  local parts = { form = 0, courteous = 0, concise = 0, ends = 0 }
  if says_any(core, right.full) or says_any(core, right.word) then
    parts.content = 1
  else
    local credit = case.content(self, task, tokens, case.truth(self, task))
    parts.content = math.max(0, math.min(1, credit))
  end
  if case.contradicts and case.contradicts(self, task, tokens) then parts.content = 0 end
  if says_any(core, wanted) then parts.form = 1 end
  if closed and finished then parts.courteous = 1 end
  if #tokens <= longest(wanted) then parts.concise = 1 end
  if finished and text:find("[%.!%?]$") then parts.ends = 1 end
  local score = parts.content
    * (0.4 + 0.2 * parts.form + 0.2 * parts.courteous + 0.15 * parts.concise + 0.05 * parts.ends)
  return score, parts
end

return world
