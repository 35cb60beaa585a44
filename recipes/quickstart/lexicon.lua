--- Every word of the invented world, in groups, and the vocabulary they make together.
--
-- A token is a word or a mark of punctuation; in all text of this world tokens are separated by
-- single spaces, so splitting at spaces is the whole of tokenizing and a vocabulary of a few
-- hundred entries covers everything, including the personal data that users leave in their
-- prompts. The vocabulary is the same for every seed: a seed changes the facts, not the words.
--
-- No grammar and no facts live here; see world.lua, facts.lua, case_*.lua and text.lua.

local lexicon = {}

local function words(text)
  local list = {}
  for word in text:gmatch("%S+") do
    list[#list + 1] = word
  end
  return list
end

lexicon.animals = words("mirro tolb sarn pevit gorum lisk wuvel nakka")
lexicon.plants = words("ferrin ulba tarrow kess")
lexicon.tools = words("dram hixel lorn skerry")
lexicon.colours = words("red blue green white")
lexicon.sizes = words("tiny small large giant")
lexicon.places = words("forest river cave hill")
lexicon.foods = words("nuts fish grass honey")
lexicon.tastes = words("sweet bitter")
lexicon.kinds = words("animal plant tool")
lexicon.numbers = words("one two three four five six seven eight nine ten")
lexicon.sad_feelings = words("sad tired lonely afraid")
lexicon.glad_feelings = words("happy proud calm merry")
lexicon.day_parts = words("morning evening day")

--- Verbs, each with its form in the present (`sings`), the past and plain.
lexicon.verbs = {}
local VERB_FORMS <const> = [[
  sings sang sing  barks barked bark    hums hummed hum    roars roared roar
  runs ran run     sleeps slept sleep   jumps jumped jump  swims swam swim]]
for present, past, plain in VERB_FORMS:gmatch("(%S+)%s+(%S+)%s+(%S+)") do
  lexicon.verbs[#lexicon.verbs + 1] = { present = present, past = past, plain = plain }
end

--- The first four verbs are sounds; every animal makes one of them.
lexicon.sounds = {}
for i = 1, 4 do
  lexicon.sounds[i] = lexicon.verbs[i].present
end

-- Personal data. "bell" and "reed" are also things of the world and "rose" is also a verb, on
-- purpose: a filter that drops every row with a listed word in it drops too much.
lexicon.given_names = words("orla tomas ivet ruben selma dario milla anselm petra jonas")
lexicon.family_names = words("venn arkady holm duarte bell reed")
lexicon.titles = words("mister lady")
lexicon.street_names = words("lantern harbour mill")
lexicon.street_kinds = words("street lane")
lexicon.mail_hosts = words("post mail")
lexicon.mail_ends = words("lune")

lexicon.marks = words(". , ? ! : ; @")

-- Words of the grammar: all that templates in the sibling files use beside the groups above.
lexicon.grammar = words([[
  a again am an and animals answer ask asks at bags before big book by class colour complete count
  dear describe do does down eat eats end far feel felt find finish food for friends from game
  give go good had has hear hello helper here high home how in into its kind larger learn life
  list live lives long low make many my name need no not now number numbers of on only opposite or
  order past place plants play please put quick says send sentence should size smaller song sorry
  sort sound talk taste tastes tell than the them there these they thing things today true turn up
  very want wants was we went where which with word write writing yes your
]])

--- The courteous ways to end an answer.
lexicon.closings = { "glad to help !", "you are welcome !", "be well , friend !" }

--- What some labelers add without need.
lexicon.fillers = {
  "let me think about that .",
  "i like this question .",
  "that is what people say .",
  "as everyone knows , it is so .",
  "i have much more to say .",
  "but who can know all this ?",
}

--- A text cut at its spaces.
-- @tparam string text
-- @treturn table list of tokens
function lexicon.tokens(text) return words(text) end

local function add(list, seen, tokens)
  for _, token in ipairs(tokens) do
    if not seen[token] then
      seen[token] = true
      list[#list + 1] = token
    end
  end
end

--- Every token that can occur in text of the world, in an order that never changes.
-- @treturn table list of strings
function lexicon.vocabulary()
  local list, seen = {}, {}
  for _, group in ipairs {
    "marks",
    "grammar",
    "animals",
    "plants",
    "tools",
    "colours",
    "sizes",
    "places",
    "foods",
    "tastes",
    "kinds",
    "numbers",
    "sad_feelings",
    "glad_feelings",
    "day_parts",
    "given_names",
    "family_names",
    "titles",
    "street_names",
    "street_kinds",
    "mail_hosts",
    "mail_ends",
  } do
    add(list, seen, lexicon[group])
  end
  for _, verb in ipairs(lexicon.verbs) do
    add(list, seen, { verb.present, verb.past, verb.plain })
  end
  for _, closing in ipairs(lexicon.closings) do
    add(list, seen, words(closing))
  end
  for _, filler in ipairs(lexicon.fillers) do
    add(list, seen, words(filler))
  end
  return list
end

--- The elements of several lists, one list after the other.
-- @tparam table ... lists
-- @treturn table
function lexicon.join(...)
  local all = {}
  for _, list in ipairs { ... } do
    table.move(list, 1, #list, #all + 1, all)
  end
  return all
end

--- A set (token to true) of the list's elements.
-- @tparam table list
-- @treturn table
function lexicon.set(list)
  local set = {}
  for _, element in ipairs(list) do
    set[element] = true
  end
  return set
end

return lexicon
