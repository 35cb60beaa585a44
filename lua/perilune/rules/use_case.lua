--- What a prompt asks for: one of the ten use cases of InstructGPT.
--
-- Source: Ouyang et al., arXiv:2203.02155, table 1 and appendix A.2. The paper had labelers name
-- the use case; here it is guessed by written rules, in English: a score for each case, from the
-- verb that a clause of the instruction begins with, from set phrases, and from the shape (a
-- question, text to work on, several turns). The highest score wins when it reaches LEAST; else
-- the case is "other".
--
-- Measured on 50 instructions drawn from the self-instruct seed tasks and user-oriented
-- instructions, none of them looked at while the rules were written: the rules agree with one
-- reader on 35 (between 56 and 81 % of all such, with 95 % confidence). Mistaken most often is
-- what goes to open_qa; "closed_qa" and "extraction" are often missed. That will do to balance a
-- set or to choose what labelers write; it will not do to report shares. A model's judgement comes
-- in by `score`.

local options = require("perilune.base.options")
local fold = require("perilune.rules.fold")
local text_of = require("perilune.rules.row_text")

local use_case = {}

--- The ten names, in the paper's order of frequency.
use_case.names = {
  "generation",
  "open_qa",
  "brainstorming",
  "chat",
  "rewrite",
  "summarization",
  "classification",
  "other",
  "closed_qa",
  "extraction",
}

local LEAST <const> = 2
local HEAD <const> = 700 -- bytes of a prompt that are its instruction, as a rule
local CLAUSES <const> = 12

-- What a clause that begins with this word asks for, and how surely.
local verbs = {}
local verbs_of = {
  generation = "write generate create compose draft design plan make produce craft invent imagine "
    .. "continue complete build prepare develop reply respond schedule implement code program add "
    .. "story poem describe react",
  open_qa = "explain define answer discuss solve calculate prove compare analyze converting "
    .. "solving give provide",
  brainstorming = "brainstorm suggest recommend list name propose",
  rewrite = "rewrite rephrase paraphrase reword translate convert correct fix edit improve "
    .. "proofread replace change simplify expand transform polish refactor",
  summarization = "summarize summarise condense shorten abridge recap",
  classification = "classify categorize categorise detect determine verify decide label predict "
    .. "identify indicate judge rate check rank choose select evaluate",
  extraction = "extract retrieve find locate return parse pick",
}
for _, case in ipairs(use_case.names) do
  for word in (verbs_of[case] or ""):gmatch("%S+") do
    verbs[word] = case
  end
end

-- Words that come before the verb of a request and say nothing.
local fillers = {}
for word in
  ([[
  please kindly then and also now you your need to must should will be required asked we i want
  would like help me could can task is in this the job try just let us by if so trying
]]):gmatch("%S+")
do
  fillers[word] = true
end

local questions = {}
for word in
  ([[
  what who whom whose when where why how which is are was were can could do does did will would
  should am has have
]]):gmatch("%S+")
do
  questions[word] = true
end

-- Phrases anywhere in the instruction: {case, points, phrase...}.
local phrases = {
  {
    "generation",
    1.5,
    "story",
    "poem",
    "essay",
    "email",
    "e-mail",
    "letter",
    "tweet",
    "post",
    "blog",
    "article about",
    "speech",
    "lyrics",
    "caption",
    "function that",
    "a program",
    "code to",
    "a script",
    "itinerary",
    "resume",
    "recipe",
    "cover letter",
    "headline",
    "slogan",
    "title for",
    "description",
    "review for",
    "syllabus",
    "puzzle",
    "dialogue between",
    "product description",
    "be written",
    "a fictional",
  },
  {
    "open_qa",
    1.5,
    "definition of",
    "meaning of",
    "difference between",
    "what is",
    "who is",
    "how do",
    "how can",
    "how does",
    "how to",
    "why is",
    "why do",
    "following question",
    "math",
    "equation",
    "steps to",
    "in which year",
    "what does",
    "explanation of",
    "describe the meaning",
    "tell me why",
    "tell me what",
    "tell me how",
    "tell me about",
    "a brief description",
    "detailed answer",
    "in your opinion",
    "what are",
  },
  {
    "closed_qa",
    6,
    "based on the passage",
    "based on the text",
    "based on the article",
    "based on the paragraph",
    "based on the context",
    "according to the passage",
    "according to the text",
    "according to the article",
    "answer the question based on",
    "the following passage answer",
    "read the passage",
    "read the given story",
    "given the passage",
    "given the context",
    "from the passage answer",
    "contains the answer",
    "using the passage",
    "the given passage",
    "read the following",
    "using the information in",
    "given paragraph answer",
  },
  {
    "brainstorming",
    3,
    "brainstorm",
    "ideas",
    "list of possible",
    "come up with",
    "coming up with",
    "suggestions",
    "some examples",
    "think of",
    "give me some",
    "name some",
    "a list of",
    "examples of",
    "as many as",
    "what are some",
    "list the",
    "list some",
    "suggest some",
    "some names",
    "conversation starters",
    "an idea",
    "synonyms",
    "antonyms",
    "pros and cons",
    "to do list",
  },
  {
    "brainstorming",
    1.5,
    "list",
    "suggest",
    "recommend",
    "ways to",
    "tips",
    "options",
    "creative",
  },
  {
    "chat",
    5,
    "human ai",
    "you are chatting",
    "the following is a conversation",
    "chat history",
    "previous conversation",
    "conversation with",
  },
  {
    "rewrite",
    3,
    "rewrite",
    "rephrase",
    "paraphrase",
    "translate",
    "into french",
    "into english",
    "into spanish",
    "proofread",
    "correct the",
    "grammar",
    "more formal",
    "more concise",
    "reword",
    "convert it",
    "convert the",
    "in your own words",
    "fix the",
    "into a different",
    "change the tone",
    "third person",
    "passive voice",
  },
  {
    "summarization",
    5,
    "summarize",
    "summarise",
    "summary",
    "summarization",
    "tl dr",
    "tldr",
    "key takeaways",
    "main points",
    "in a nutshell",
    "one sentence summary",
    "main idea",
  },
  {
    "classification",
    3,
    "classify",
    "categorize",
    "sentiment",
    "true or false",
    "yes or no",
    "positive or negative",
    "is spam",
    "as spam",
    "spam or",
    "category",
    "categories",
    "true false",
    "label",
    "whether the",
    "tell me if",
    "identify if",
    "detect if",
    "verify if",
    "output 1",
    "output yes",
    "factually correct",
    "genre",
    "which category",
    "determine if",
    "relevant or",
    "positive negative",
    "one of the following",
    "or not",
    "correctness of",
    "rating",
  },
  {
    "extraction",
    3,
    "extract",
    "named entities",
    "all the names",
    "entities",
    "retrieve the",
    "pull out",
    "find all",
    "mentioned in",
    "from the text",
    "keywords from",
    "from the following",
    "pos tag",
    "in the sentence",
    "exact sentences",
  },
}

-- First word -> list of {case, points, group, further words...}: what a text's words may begin.
local begun = {}
for group, list in ipairs(phrases) do
  for i = 3, #list do
    local phrase, first = { list[1], list[2], group }, nil
    for word in list[i]:gmatch("%S+") do
      if first then
        phrase[#phrase + 1] = word
      else
        first = word
      end
    end
    begun[first] = begun[first] or {}
    table.insert(begun[first], phrase)
  end
end

-- Whether the words after place `at` are the further words of a phrase.
local function goes_on(words, at, phrase)
  for i = 4, #phrase do
    if words[at + i - 3] ~= phrase[i] then return false end
  end
  return true
end

-- Adds each group's points once; `folded` is the text folded.
local function add_phrases(scores, folded)
  local counted, words = {}, {}
  for word in folded:gmatch("%S+") do
    words[#words + 1] = word
  end
  for at, word in ipairs(words) do
    for _, phrase in ipairs(begun[word] or {}) do
      if not counted[phrase[3]] and goes_on(words, at, phrase) then
        counted[phrase[3]] = true
        scores[phrase[1]] = (scores[phrase[1]] or 0) + phrase[2]
      end
    end
  end
end

local function add_verbs(scores, head)
  local points, seen = 3, 0
  for clause in head:gmatch("[^.!?\n,:;]+") do
    seen = seen + 1
    if seen > CLAUSES then return end
    for word in clause:gmatch("[%w'-]+") do
      if verbs[word] then
        local case = verbs[word]
        scores[case] = (scores[case] or 0) + points
        points = points > 1 and points - 0.5 or points
        break
      elseif not fillers[word] then
        break
      end
    end
  end
end

-- How much of a question the instruction is: 3 when it begins as one and is no polite request, 2
-- when there is a question somewhere.
local function question(head)
  local first, second = head:match("^[^%w]*([%w']+)%s+([%w']+)")
  if questions[first] and second ~= "you" then return 3 end
  return head:find("?", 1, true) and 2 or 0
end

local function turns_of(row)
  local turns = 0
  for _, message in ipairs(row.messages or {}) do
    turns = turns + (message.role == "user" and 1 or 0)
  end
  return turns
end

--- The use case of a row, by the written rules.
-- @tparam table row
-- @treturn string one of `names`
function use_case.guess(row)
  local text = text_of(row)
  local head = fold.case(text:sub(1, HEAD))
  local scores = {}
  add_verbs(scores, head)
  add_phrases(scores, fold.text(head))
  if turns_of(row) > 1 then scores.chat = (scores.chat or 0) + 6 end
  local asked = question(head)
  if asked > 0 then
    scores.open_qa = (scores.open_qa or 0) + asked
    -- A question with much to read beside it is asked of the text.
    if #text > HEAD and asked > 2 then
      scores.closed_qa = (scores.closed_qa or 0) + scores.open_qa + 1
    end
  end
  local best, best_score = "other", LEAST
  for _, case in ipairs(use_case.names) do
    local score = scores[case]
    if score and (score > best_score or best == "other" and score >= LEAST) then
      best, best_score = case, score
    end
  end
  return best
end

local known = {}
for _, name in ipairs(use_case.names) do
  known[name] = true
end

--- The rule: sets `use_case`; drops nothing. A `score` that gives no known use case raises while it
-- runs.
-- @tparam ?table given `score` (the written rules): a function(row) -> use case; `overwrite`
--   (false): rows that have a use case (from a labeler) keep it
-- @treturn Rule for `rules.run`
function use_case.rule(given)
  local taken = options.take("use_case", given, {
    score = options.of_type("function"), -- (row) that gives a use case
    overwrite = false,
  }, 0)
  local score = taken.score or use_case.guess

  local function apply(rows, context)
    return function()
      local row = rows()
      if not row then return nil end
      if row.use_case and not taken.overwrite then
        context.tally("kept")
        return row
      end
      local case = score(row)
      if not known[case] then
        error(
          ("use_case: `score` gave %s; it must give one of: %s"):format(
            tostring(case),
            table.concat(use_case.names, ", ")
          ),
          0
        )
      end
      local copy = {}
      for key, value in next, row do
        copy[key] = value
      end
      copy.use_case = case
      context.tally(case)
      return copy
    end
  end

  return { name = "use_case", settings = options.described(taken), apply = apply }
end

return use_case
