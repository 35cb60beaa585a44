--- What labelers are asked to write about, and what their few-shot prompts become.
--
-- Source: Ouyang et al., arXiv:2203.02155, section 3.2 and appendix A.1: plain prompts (an
-- arbitrary task, as varied as possible), few-shot prompts (an instruction and several
-- query/response pairs for it), user-based prompts (for a use case that users of the service have).
--
-- Briefs are drawn by seed: the same lists, count and seed give the same briefs. Variety is dealt,
-- not hoped for: each list is a shuffled deck that is dealt out before it is shuffled again, so
-- the counts of any two of its items differ by one at most. The lists, and the sentences that
-- labelers read, are a recipe's: recipes/briefs.lua has some.

local fold = require("perilune.rules.fold")
local hash = require("perilune.rules.hash")
local options = require("perilune.base.options")
local random = require("perilune.base.random")
local text_of = require("perilune.rules.row_text")
local use_case = require("perilune.rules.use_case")

local labeler_prompts = {}

-- A function(i) that gives the i-th card of the decks of a list.
local function deck(list, seed, purpose)
  local round, cards
  return function(i)
    local wanted = (i - 1) // #list
    if wanted ~= round then
      round, cards = wanted, random.stream(seed, purpose, wanted):shuffled(list)
    end
    return cards[(i - 1) % #list + 1]
  end
end

local function check_list(list, name)
  if type(list) ~= "table" or #list == 0 then
    error(("plain: `%s` must be a list with something in it"):format(name), 3)
  end
end

--- Briefs for plain prompts. Raises when one of the lists is missing or empty.
-- @tparam table given `use_cases`, `topics` and `forms` (required): lists of texts to vary over,
--   none empty; `n` (10): how many briefs; `seed` (1) of the draws
-- @treturn {table,...} {kind = "plain", use_case =, topic =, form =}
function labeler_prompts.plain(given)
  local taken = options.take("plain", given, {
    n = options.integer(10, 0),
    seed = options.integer(1, 0),
    use_cases = options.any(),
    topics = options.any(),
    forms = options.any(),
  })
  for _, name in ipairs { "use_cases", "topics", "forms" } do
    check_list(taken[name], name)
  end
  local use_case_at = deck(taken.use_cases, taken.seed, "briefs.use_case")
  local topic_at = deck(taken.topics, taken.seed, "briefs.topic")
  local form_at = deck(taken.forms, taken.seed, "briefs.form")
  local briefs = {}
  for i = 1, taken.n do
    briefs[i] = {
      kind = "plain",
      use_case = use_case_at(i),
      topic = topic_at(i),
      form = form_at(i),
    }
  end
  return briefs
end

local function pair_of(entry, i)
  local query, response = entry.query, entry.response
  if type(query) ~= "string" or type(response) ~= "string" then
    error(("few_shot: pair %d must have `query` and `response`, texts"):format(i), 3)
  end
  return query, response
end

--- K examples from an instruction with K query/response pairs: each pair is once the one to be
-- answered, with the K-1 others before it, in their order.
-- @tparam string instruction a text that is not empty, else it raises
-- @tparam {table,...} pairs_list {query =, response =}
-- @tparam ?table given `form` ("text"): one prompt, or "messages": the instruction as system, the
--   pairs as turns; `query` ("Input: ") and `response` ("Output: "): what stands before each in the
--   text form
-- @treturn {table,...} rows {kind = "few_shot", source = "labeler", prompt or messages, completion,
--   extra.group: the same for all, since they show each other's answers and belong on one side}
function labeler_prompts.few_shot(instruction, pairs_list, given)
  local taken = options.take("few_shot", given, {
    form = options.choice("text", { "text", "messages" }),
    query = "Input: ",
    response = "Output: ",
  })
  if type(instruction) ~= "string" or instruction == "" then
    error("few_shot: the instruction must be a text", 2)
  elseif type(pairs_list) ~= "table" or #pairs_list == 0 then
    error("few_shot: give at least one pair {query =, response =}", 2)
  end
  local rows, group = {}, ("%016x"):format(hash.text(instruction))
  for i, asked in ipairs(pairs_list) do
    local query, completion = pair_of(asked, i)
    local messages = { { role = "system", content = instruction } }
    local parts = { instruction, "\n\n" }
    for j, shown in ipairs(pairs_list) do
      if j ~= i then
        local q, r = pair_of(shown, j)
        messages[#messages + 1] = { role = "user", content = q }
        messages[#messages + 1] = { role = "assistant", content = r }
        parts[#parts + 1] = taken.query .. q .. "\n" .. taken.response .. r .. "\n\n"
      end
    end
    messages[#messages + 1] = { role = "user", content = query }
    parts[#parts + 1] = taken.query .. query .. "\n" .. taken.response:match("^(.-)%s*$")
    rows[i] = {
      kind = "few_shot",
      source = "labeler",
      completion = completion,
      extra = { group = group },
    }
    if taken.form == "messages" then
      rows[i].messages = messages
    else
      rows[i].prompt = table.concat(parts)
    end
  end
  return rows
end

-- Words that say nothing of a topic.
local stop = {}
for word in
  ([[
  about above after again against also always another anything around back because been before
  being below best better between both call came cannot come could does doing done down during
  each either else even ever every everything find first following from further gave getting
  give given goes going gonna good great have having hello help here hers himself however into
  itself just keep know last less like list little long look made make makes many maybe might
  more most much must myself name need never next nothing okay once only other others over
  please possible really right said same sentence shall should show since some someone something
  still such sure take tell text than thank thanks thankyou that their them themselves then
  there these they thing things think this those though through time told under until upon used
  user using very want well were what when where whether which while will wish with within
  without word words work would write wrote yeah your yours yourself
]]):gmatch("%a+")
do
  stop[word] = true
end

local LETTERS <const> = "[%a\x80-\xFF]+"
local LEAST_LETTERS <const> = 4

-- Distinct words of a masked text that may tell its topic; a word with digits or joined to one by
-- any of . _ @ / - is a name of something, and left out.
local function topic_words(text)
  local words, seen = {}, {}
  text = fold.case((text:gsub("[%[<][%u][%u%d_ -]*[%]>]", " ")))
  for token in text:gmatch("%S+") do
    local word = token:match("^[\"'(]*(" .. LETTERS .. ")[\"'),.;:!?]*$")
    if word and fold.chars(word) >= LEAST_LETTERS and not stop[word] and not seen[word] then
      seen[word] = true
      words[#words + 1] = word
    end
  end
  return words
end

local function by_rank(a, b)
  if a.rank ~= b.rank then return a.rank < b.rank end
  return table.concat(a.words, " ") < table.concat(b.words, " ")
end

-- Keeps the `most` entries of the smallest ranks, looking only now and then.
local function prune(list, most)
  if #list >= 2 * most + 64 then
    table.sort(list, by_rank)
    for i = #list, most + 1, -1 do
      list[i] = nil
    end
  end
end

-- How many of n each case gets: in proportion to counts, by largest remainders.
local function apportion(counts, n)
  local total, cases = 0, {}
  for case, count in pairs(counts) do
    total = total + count
    cases[#cases + 1] = { case = case, count = count }
  end
  local given = 0
  for _, entry in ipairs(cases) do
    entry.quota = n * entry.count // total
    entry.rest = n * entry.count % total
    given = given + entry.quota
  end
  table.sort(cases, function(a, b)
    if a.rest ~= b.rest then return a.rest > b.rest end
    return a.case < b.case
  end)
  for i = 1, n - given do
    cases[i].quota = cases[i].quota + 1
  end
  return cases
end

local function default_mask()
  local matcher = require("perilune.rules.personal_data").matcher()
  return function(text) return (matcher:mask(text)) end
end

-- Notes that somebody wrote a word; those beyond `most` are not told apart any more.
local function note_writer(writers, word, writer, most)
  local list = writers[word] or {}
  writers[word] = list
  if #list == most then return end
  for _, other in ipairs(list) do
    if other == writer then return end
  end
  list[#list + 1] = writer
end

-- What the logs say: `counts` by case, `drawn` candidates by case, `writers` of each word as far as
-- they matter, `ids`: parts of users' names; and the number of rows.
local function read_logs(rows, taken, mask)
  local logs = { counts = {}, drawn = {}, writers = {}, ids = {} }
  local number = 0
  for row in rows do
    number = number + 1
    local case = row.use_case or use_case.guess(row)
    logs.counts[case] = (logs.counts[case] or 0) + 1
    local user = row.user_id and tostring(row.user_id) or "" -- all who are unknown count as one
    for part in fold.case(user):gmatch(LETTERS) do
      logs.ids[part] = true
    end
    local words = topic_words(mask(text_of(row)))
    for _, word in ipairs(words) do
      note_writer(logs.writers, word, user, taken.min_users)
    end
    local drawn = logs.drawn[case] or {}
    logs.drawn[case] = drawn
    local rank = hash.row(taken.seed, hash.text("user based " .. case), row)
    drawn[#drawn + 1] = { rank = rank, words = words }
    prune(drawn, taken.n)
  end
  return logs, number
end

local function iterator_over(list)
  local at = 0
  return function()
    at = at + 1
    return list[at]
  end
end

--- Briefs for user-based prompts: use cases as often as the logs have them, and a topic in a few
-- words.
--
-- Nothing of a user's text goes into a brief but single words, and only those that remain when
-- personal data is masked, that at least `min_users` users wrote, that hold nothing but letters
-- and are no part of any user's id; they are put in the order of the alphabet. Memory grows with
-- the number of different words and users, not with rows.
-- @tparam function|{Row,...} rows of logs, an iterator or a list
-- @tparam ?table given `n` (10): how many briefs; `seed` (1) of the draws; `keywords` (3): at most
--   so many words; `min_users` (3): so many users wrote a word; `mask` (as `pl.rules.personal`
--   does): (text) -> text without personal data
-- @treturn {table,...} {kind = "user_based", use_case =, keywords = {...}}; none without rows
function labeler_prompts.user_based(rows, given)
  local taken = options.take("user_based", given, {
    n = options.integer(10, 0),
    seed = options.integer(1, 0),
    keywords = options.integer(3, 0),
    min_users = options.integer(3, 1),
    mask = options.of_type("function"),
  })
  if type(rows) == "table" then rows = iterator_over(rows) end
  local logs, number = read_logs(rows, taken, taken.mask or default_mask())
  if number == 0 then return {} end
  local function may_be_told(word)
    return #logs.writers[word] >= taken.min_users and not logs.ids[word]
  end
  local briefs = {}
  for _, entry in ipairs(apportion(logs.counts, taken.n)) do
    local drawn = logs.drawn[entry.case]
    table.sort(drawn, by_rank)
    for i = 1, entry.quota do
      local words = {}
      for _, word in ipairs(drawn[(i - 1) % #drawn + 1].words) do
        words[#words + 1] = may_be_told(word) and word or nil
      end
      words = random.stream(taken.seed, "briefs.keywords", entry.case, i):shuffled(words)
      words = table.move(words, 1, math.min(#words, taken.keywords), 1, {})
      table.sort(words)
      briefs[#briefs + 1] = { kind = "user_based", use_case = entry.case, keywords = words }
    end
  end
  return random.stream(taken.seed, "briefs.order"):shuffled(briefs)
end

return labeler_prompts
