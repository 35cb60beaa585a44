--- The gold score of the stories recipe: how glad a text is, by word valences.
--
-- The lexicon is VADER's (Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment
-- Analysis of Social Media Text", ICWSM 2014): a word, its mean valence from -4 to 4, and what ten
-- raters said. Of VADER's rules two are kept: a negation among the three words before turns a
-- valence by -0.74, and the sum s of valences becomes the compound score
--
--     s / √(s² + 15)        in (-1, 1)
--
-- Words are runs of letters and apostrophes, in lower case; emoticons, capitals, boosters and
-- exclamation marks count nothing. This is the truth that labelers see through noise and that
-- evaluation measures: no training ever reads it.

local pl = require("perilune")

local gold = {}

local TURN <const> = -0.74
local REACH <const> = 3 -- words a negation looks ahead
local ALPHA <const> = 15

local NEGATIONS <const> = [[
  not never none nope nor neither nothing nowhere without rarely seldom despite cannot
  aint arent cant couldnt didnt doesnt dont hadnt hasnt havent isnt mightnt mustnt neednt oughtnt
  shant shouldnt wasnt werent wont wouldnt
]]

local negations = {}
for word in NEGATIONS:gmatch("%S+") do
  negations[word] = true
end

local function is_negation(word) return negations[word] or word:sub(-3) == "n't" end

--- Words of a text.
-- @tparam string text
-- @treturn {string,...} in lower case, without apostrophes at their ends
function gold.words(text)
  local list = {}
  for word in text:lower():gmatch("%a[%a']*") do
    list[#list + 1] = word:gsub("'+$", "")
  end
  return list
end

--- Read a lexicon: tab-separated lines whose first two fields are a word and its mean valence.
-- @tparam string path
-- @treturn {[string]=number} entries that are words as `gold.words` gives them
function gold.lexicon(path)
  local text, message = pl.files.read(path)
  if not text then error(("lexicon %s cannot be read: %s"):format(path, message), 0) end
  local lexicon, count = {}, 0
  for line in text:gmatch("[^\n]+") do
    local word, valence = line:match("^(%a[%a']*)\t(%-?[%d.]+)")
    if word then
      lexicon[word:lower()] = tonumber(valence)
      count = count + 1
    end
  end
  if count == 0 then
    error(("lexicon %s holds no line of the form word<TAB>valence: is it VADER's?"):format(path), 0)
  end
  return lexicon
end

--- Sum of valences of a text, negations taken into account.
function gold.valence(text, lexicon)
  local sum, negated_to = 0.0, 0
  for i, word in ipairs(gold.words(text)) do
    local valence = lexicon[word]
    if valence then sum = sum + (i <= negated_to and TURN or 1) * valence end
    if is_negation(word) then negated_to = i + REACH end
  end
  return sum
end

--- The compound score of a text.
-- @tparam string text
-- @tparam {[string]=number} lexicon
-- @treturn number in (-1, 1)
function gold.score(text, lexicon)
  local sum = gold.valence(text, lexicon)
  return sum / math.sqrt(sum * sum + ALPHA)
end

--- Refuse texts that a lexicon says nothing of: their continuations could not be told apart.
-- @tparam {string,...} texts
-- @tparam {[string]=number} lexicon
-- @tparam string what names both, for the message
function gold.check(texts, lexicon, what)
  local first
  for _, text in ipairs(texts) do
    local score = gold.score(text, lexicon)
    first = first or score
    if score ~= first then return end
  end
  local text = "%s: all %d stories to train on score %.3f, so that nothing could be ranked; is the "
    .. "lexicon of their language?"
  error(text:format(what, #texts, first or 0), 0)
end

--- A judge as `reward_function` of the recipes wants it.
-- @tparam string path of the lexicon
-- @treturn function (prompts, answers) -> list of scores
function gold.judge(path)
  local lexicon = gold.lexicon(path)
  return function(_, answers)
    local scores = {}
    for i, answer in ipairs(answers) do
      scores[i] = gold.score(answer, lexicon)
    end
    return scores
  end
end

return gold
