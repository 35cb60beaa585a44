--- Scores of answers, by a reward model or by a function of the user's.
--
-- A reward function is a Lua file that returns f(prompts, answers, rows, ended) -> scores: texts of
-- prompts and answers, the rows of the data set that the prompts came from, whether each answer
-- ended by itself; a list of as many numbers.

local core = require("perilune.core")
local batch = require("perilune.data.batch")
local companions = require("perilune.learn.companions")
local list = require("perilune.base.list")
local loss = require("perilune.learn.loss")

local score = {}

--- Who scores answers.
-- @class Judge
-- @field ?Model model the reward model; nil: a function judges
local Judge = {}
Judge.__index = Judge
Judge.__name = "judge"

-- Calls code of the user's: what it raises is a sentence that names its file, not a fault of ours.
local function call(path, fn, ...)
  local ok, result = pcall(fn, ...)
  if not ok then
    local told = (getmetatable(result) or {}).__tostring -- errors of the library are such tables
    local text = (type(result) == "string" or told) and tostring(result)
      or "it raised a " .. type(result)
    text = text:gsub("attempt to ", "tried to ")
    error(("reward_function %s failed: %s"):format(path, text), 0)
  end
  return result
end

local function load_function(path)
  local chunk, message = loadfile(path)
  local fn = chunk and call(path, chunk)
  if type(fn) ~= "function" then
    error(
      ("reward_function %s %s"):format(
        path,
        chunk and "must return a function of (prompts, answers, rows, ended), not a " .. type(fn)
          or "cannot be read: " .. message
      ),
      0
    )
  end
  return fn
end

--- Who judges: the model or the function that a config names. Raises when it cannot be loaded.
-- @tparam Config cfg config with `reward_model` and `reward_function`, one of them not ""
-- @tparam Tokenizer tok tokenizer of the answers
-- @tparam ?LoadOptions opts how the model is loaded
-- @treturn Judge
function score.open(cfg, tok, opts)
  local judge = setmetatable({ tokenizer = tok }, Judge)
  if cfg.reward_model ~= "" then
    judge.model = companions.load("reward_model", cfg.reward_model, opts):freeze()
  else
    judge.path, judge.fn = cfg.reward_function, load_function(cfg.reward_function)
  end
  return judge
end

-- What a function returned, or an error that says what is wrong with it.
local function checked(judge, scores, wanted)
  local function refuse(text, ...)
    error(("reward_function %s: %s"):format(judge.path, text:format(...)), 0)
  end
  if type(scores) ~= "table" then
    refuse("it returned a %s; a list of %d numbers is wanted", type(scores), wanted)
  elseif #scores ~= wanted then
    refuse("it returned %d scores for %d answers", #scores, wanted)
  end
  for i = 1, wanted do
    local value = scores[i]
    if math.type(value) == nil then
      refuse("the score of answer %d is a %s, not a number", i, type(value))
    elseif value - value ~= 0 then
      refuse("the score of answer %d is %s", i, tostring(value))
    end
  end
  return scores
end

--- Scores of a rollout. Raises when the reward function fails, or gives other than one finite
-- number an answer.
-- @tparam Rollout roll as of `rollout.new`
-- @tparam {Prompt,...} prompts one for each answer
-- @treturn {number,...} one for each answer
function Judge:score(roll, prompts)
  if self.model then return loss.sequence_scores(self.model, roll.parts):totable() end
  local texts = self:texts(roll, prompts)
  return checked(
    self,
    call(self.path, self.fn, texts.prompts, texts.answers, texts.rows, texts.ended),
    #roll.answers
  )
end

--- What a reward function is given.
-- @tparam Rollout roll as of `rollout.new`
-- @tparam {Prompt,...} prompts one for each answer
-- @treturn {prompts=table,answers=table,rows=table,ended=table} lists of texts (`prompts`,
--   `answers`), of `rows` and of booleans (`ended`), one for each answer
function Judge:texts(roll, prompts)
  local tok = self.tokenizer
  local texts = { prompts = {}, answers = {}, rows = {}, ended = {} }
  for i, prompt in ipairs(prompts) do
    local answer = roll.answers[i]
    texts.prompts[i] = tok:decode(prompt.tokens, { skip_special = true })
    texts.answers[i] = tok:decode(answer.tokens, { skip_special = true })
    texts.rows[i] = prompt.row
    texts.ended[i] = answer.finish_reason == "stop"
  end
  return texts
end

--- Scores of whole sequences by a scalar-head model. Any number of them: they are packed and scored
-- part by part.
-- @tparam Model scalar_model
-- @tparam {{integer,...},...} sequences token ids of each
-- @tparam ?integer max_tokens of a forward, tokens (default and at most: 512)
-- @treturn {number,...} one for each sequence
function score.sequences(scalar_model, sequences, max_tokens)
  local scores = {}
  for _, indices in ipairs(batch.split(sequences, max_tokens or 16384)) do
    local scope <close> = core.scope("score.sequences")
    local parts = batch.parts(list.take(sequences, indices), nil, max_tokens)
    list.append(scores, loss.sequence_scores(scalar_model, parts):totable())
  end
  return scores
end

--- Scores of all answers of ranked sets.
-- @tparam Model scalar_model
-- @tparam {RankedSet,...} sets of `data.ranked`
-- @tparam ?integer max_tokens of a forward (default and at most: 512)
-- @treturn {number,...} scores, set after set
-- @treturn {{number,...},...} the ranks of each set
-- @treturn {integer,...} the lengths of the sequences, tokens
function score.sets(scalar_model, sets, max_tokens)
  local scores, ranks, lengths, waiting, tokens = {}, {}, {}, {}, 0
  local function flush()
    list.append(scores, score.sequences(scalar_model, waiting, max_tokens))
    waiting, tokens = {}, 0
  end
  for i, set in ipairs(sets) do
    ranks[i] = set.ranks
    for _, sequence in ipairs(set.sequences) do
      waiting[#waiting + 1] = sequence
      lengths[#lengths + 1] = #sequence
      tokens = tokens + #sequence
    end
    if tokens >= (max_tokens or 16384) then flush() end
  end
  flush()
  return scores, ranks, lengths
end

return score
