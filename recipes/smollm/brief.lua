--- The reward of the smollm recipe: is an answer brief, whole and to the point?
--
-- An answer keeps the brief when it
--   (1) has 8 to 30 words;
--   (2) ends in a full stop, and ended by itself;
--   (3) names the subject of the question.
-- The subject is taken to be the question's names (capitalised words inside a sentence) or, when
-- it has none, its three longest words that are not mere instruction ("write", "following"). An
-- answer names it when it has one of these words, up to their endings. The reward is the product
-- of the three, for a brief is kept as a whole: half of it is no success. (1) is lost by and by,
-- half of it at 4 words and at 45, all of it at 60.
-- Nothing here says whether an answer is true.

local brief = { LEAST = 8, MOST = 30 } -- words

local SUBJECT <const> = 3 -- words that may name the subject
local STEM <const> = 5 -- letters by which two words are one

-- Words of questions that say what to do, not what it is about.
local INSTRUCTION <const> = [[
  about according additionally after also answer answering answers based because before
  beginning being below better between briefly classify complete compose convert correct could
  create describe description design detailed details develop different discuss does draft each
  edit else every example examples explain explanation find first following from function
  generate give given have help here identify imagine implement include information input
  instance into know language like list make many more most must name need only other output
  paragraph pick please possible prompt provide question questions read recommendations respond
  response rewrite same sentence sentences should show solve some something suggest summarize
  summary suppose task tell text than that their them then there these they thing things think
  this those through translate type using very want what when where whether which while will
  with word words would write writing your
]]

local instruction = {}
for word in INSTRUCTION:gmatch("%a+") do
  instruction[word] = true
end

--- Words of a text, as written.
-- @tparam string text
-- @treturn {string,...}
function brief.words(text)
  local list = {}
  for word in text:gmatch("[^%s]+") do
    if word:find("[%w\128-\255]") then list[#list + 1] = word end
  end
  return list
end

local function stem(word) return word:lower():gsub("'s$", ""):sub(1, STEM) end

-- Letters of a word without what stands around it; nil when it has fewer than four.
local function letters(word)
  local core = word:match("[%a\128-\255][%a\128-\255'-]*")
  return core and #core >= 4 and core or nil
end

-- Names: capitalised words that begin no sentence.
local function names_in(words)
  local found = {}
  for i = 2, #words do
    local word = letters(words[i])
    local begins = words[i - 1]:find("[.?!:]['\"]?$") or words[i]:find("^[\"'(]")
    if word and not begins and word:find("^%u%l") and not instruction[word:lower()] then
      found[#found + 1] = word
    end
  end
  return found
end

--- The words that may name what a question is about.
-- @tparam string question
-- @treturn {string,...} one to three, or all its names; empty when it has nothing but instruction
function brief.subject(question)
  local words = brief.words(question)
  local found = names_in(words)
  if #found > 0 then return found end
  local seen, at = {}, {}
  for i, text in ipairs(words) do
    local word = letters(text)
    if word and not instruction[word:lower()] and not seen[stem(word)] then
      seen[stem(word)] = true
      found[#found + 1] = word
      at[word] = i
    end
  end
  table.sort(found, function(a, b)
    if #a ~= #b then return #a > #b end
    return at[a] < at[b]
  end)
  return table.move(found, 1, SUBJECT, 1, {})
end

local function names_one_of(answer, subject)
  local wanted = {}
  for _, word in ipairs(subject) do
    wanted[stem(word)] = true
  end
  for _, text in ipairs(brief.words(answer)) do
    local word = letters(text)
    if word and wanted[stem(word)] then return true end
  end
  return #subject == 0
end

--- The three parts of an answer's reward, each from 0 to 1.
-- @tparam string question
-- @tparam string answer
-- @tparam boolean ended whether the answer ended by itself
-- @treturn table `short`, `whole`, `named`
function brief.parts(question, answer, ended)
  local n = #brief.words(answer)
  if n == 0 then return { short = 0, whole = 0, named = 0 } end
  return {
    short = math.max(0, math.min(1, n / brief.LEAST, 2 - n / brief.MOST)),
    whole = ended and answer:find("%.%s*$") and 1 or 0,
    named = names_one_of(answer, brief.subject(question)) and 1 or 0,
  }
end

--- The reward of an answer.
-- @tparam table parts of `brief.parts`
-- @treturn number from 0 to 1
function brief.reward(parts) return parts.short * parts.whole * parts.named end

--- Whether an answer keeps the brief.
-- @tparam table parts of `brief.parts`
-- @treturn boolean
function brief.kept(parts) return parts.short == 1 and parts.whole == 1 and parts.named == 1 end

--- A reward function as the recipes want it.
-- @treturn function (prompts, answers, rows, ended) -> list of rewards
function brief.judge()
  return function(_, answers, rows, ended)
    local rewards = {}
    for i, answer in ipairs(answers) do
      rewards[i] = brief.reward(brief.parts(rows[i].prompt, answer, ended[i]))
    end
    return rewards
  end
end

return brief
