--- Scores of answers, by a reward model, by several or by a function of the user's.
--
-- Several reward models (paths separated by commas) are an ensemble, and so are several heads of
-- one: what one of them learnt by mistake the others need not have learnt. Their scores become one
-- number: the mean, the smallest, or the mean less some deviations (Coste et al. 2023,
-- arXiv:2310.02743, whose third is the mean less the variance). Each has a scale of its own: train
-- them alike, with the same bias.
--
-- A reward function is a Lua file that returns f(prompts, answers, rows, ended) -> scores: texts of
-- prompts and answers, the rows of the data set that the prompts came from, whether each answer
-- ended by itself; a list of as many numbers.

local core = require("perilune.core")
local adapter_folder = require("perilune.model.adapter_folder")
local batch = require("perilune.data.batch")
local companions = require("perilune.learn.companions")
local encode = require("perilune.data.encode")
local files = require("perilune.base.files")
local list = require("perilune.base.list")
local loss = require("perilune.learn.loss")
local format = require("perilune.base.format")
local ranking = require("perilune.learn.ranking")
local stats = require("perilune.base.stats")

local score = {}

--- Who scores answers.
-- @class Judge
-- @field ?Model model the reward model, the first of several; nil: a function judges
-- @field {{name=string,path=string,model=Model,scores=boolean},...} models all reward models, as
--   `companions.check` takes them
local Judge = {}
Judge.__index = Judge
Judge.__name = "judge"

local SHOWN <const> = 60 -- bytes of a prompt in an error

-- What code of the user's raised, as a sentence that names its key and file: no fault of ours.
local function refuse_failed(key, path, raised, where)
  local told = (getmetatable(raised) or {}).__tostring -- errors of the library are such tables
  local text = (type(raised) == "string" or told) and tostring(raised)
    or "it raised a " .. type(raised)
  text = text:gsub("attempt to ", "tried to ")
  error(("%s %s failed: %s%s"):format(key, path, text, where or ""), 0)
end

local function call(key, path, fn, ...)
  local ok, result = pcall(fn, ...)
  if not ok then refuse_failed(key, path, result) end
  return result
end

local function load_function(key, path)
  local chunk, message = loadfile(path)
  local fn = chunk and call(key, path, chunk)
  if type(fn) ~= "function" then
    error(
      ("%s %s %s"):format(
        key,
        path,
        chunk and "must return a function of (prompts, answers, rows, ended), not a " .. type(fn)
          or "cannot be read: " .. message
      ),
      0
    )
  end
  return fn
end

--- The paths that a key of reward models names.
-- @tparam string text paths separated by commas
-- @treturn {string,...} none for an empty text
function score.paths(text)
  local paths = {}
  for part in text:gmatch("[^,]+") do
    local path = part:match("^%s*(.-)%s*$")
    if path ~= "" then paths[#paths + 1] = path end
  end
  return paths
end

-- The same weights twice are one opinion that counts double, and no two that could differ.
local function tell_twins(key, models)
  local by_hash = {}
  for _, one in ipairs(#models > 1 and models or {}) do
    local hash = one.model:hash()
    if by_hash[hash] then
      local text = "warning: %s names the same weights twice, %s and %s: they never disagree\n"
      io.stderr:write(text:format(key, format.safe(by_hash[hash]), format.safe(one.path)))
    end
    by_hash[hash] = one.path
  end
end

--- Reward models that a key names, as one judge. Raises when one cannot be loaded.
-- @tparam string key of the recipe, for the error
-- @tparam string text paths separated by commas
-- @tparam Config cfg with the rows of `pl.config.ensemble`
-- @tparam Tokenizer tok tokenizer of the answers
-- @tparam ?LoadOptions|function opts how models are loaded, or (path) -> how that one is
-- @treturn Judge
function score.ensemble(key, text, cfg, tok, opts)
  local models = {}
  for i, path in ipairs(score.paths(text)) do
    local how = type(opts) == "function" and opts(path) or opts
    local model = companions.load(key, path, how):freeze()
    models[i] = { name = key, path = path, model = model, scores = true }
  end
  if #models == 0 then error(("%s '%s' names no folder"):format(key, text), 0) end
  tell_twins(key, models)
  return setmetatable({
    tokenizer = tok,
    models = models,
    model = models[1].model,
    combine = cfg.reward_ensemble,
    deviations = cfg.reward_deviations,
  }, Judge)
end

--- Who judges: the models or the function that a config names. Raises when they cannot be loaded.
-- @tparam Config cfg config with `reward_model` and `reward_function`, one of them not "", and with
--   the rows of `pl.config.ensemble`
-- @tparam Tokenizer tok tokenizer of the answers
-- @tparam ?LoadOptions|function opts how models are loaded, or (path) -> how that one is
-- @tparam ?string key that the function was given by, for errors (default: "reward_function")
-- @treturn Judge
function score.open(cfg, tok, opts, key)
  if cfg.reward_model ~= "" then
    return score.ensemble("reward_model", cfg.reward_model, cfg, tok, opts)
  end
  local path = cfg.reward_function
  key = key or "reward_function"
  local fn = load_function(key, path)
  return setmetatable({ tokenizer = tok, models = {}, path = path, fn = fn, key = key }, Judge)
end

-- What a function returned for texts, or an error that says what is wrong with it.
local function checked(judge, scores, texts)
  local wanted = #texts.answers
  local function refuse(text, ...)
    error(("%s %s: %s"):format(judge.key, judge.path, text:format(...)), 0)
  end
  local function refuse_one(i, what)
    local prompt = format.cut(texts.prompts[i], SHOWN)
    refuse("the score of answer %d is %s (the prompt: '%s')", i, what, prompt)
  end
  if type(scores) ~= "table" then
    refuse("it returned a %s; a list of %d numbers is wanted", type(scores), wanted)
  elseif #scores ~= wanted then
    refuse("it returned %d scores for %d answers", #scores, wanted)
  end
  for i = 1, wanted do
    local value = scores[i]
    if math.type(value) == nil then
      refuse_one(i, ("a %s, not a number"):format(type(value)))
    elseif value - value ~= 0 then
      refuse_one(i, format.exact(value))
    end
  end
  return scores
end

--- One score of several: the mean, the smallest, or the mean less some deviations (over n - 1).
-- @tparam {number,...} scores by the models of an ensemble, at least one
-- @tparam ?string how "mean" (default), "min" or "cautious"
-- @tparam ?number deviations (default: 1) of cautious
-- @treturn number the score of the ensemble
function score.combined(scores, how, deviations)
  if how == "min" then
    return math.min(table.unpack(scores))
  elseif how == "cautious" and #scores > 1 then
    return stats.mean(scores) - (deviations or 1) * stats.std(scores)
  end
  return #scores == 1 and scores[1] or stats.mean(scores)
end

--- The scores of all members of an ensemble as one list.
-- @tparam {{number,...},...} lists of each member the scores
-- @treturn {number,...} as `reward_ensemble` has it
function Judge:merged(lists)
  if #lists == 1 then return lists[1] end
  local scores = {}
  for i = 1, #lists[1] do
    local of_one = {}
    for k, list_of_model in ipairs(lists) do
      of_one[k] = list_of_model[i]
    end
    scores[i] = score.combined(of_one, self.combine, self.deviations)
  end
  return scores
end

-- What the function says of answers number `from` to `to`. It gets lists of its own: samples and
-- answers are kept as they were written, whatever it does to them.
local function said(judge, texts, from, to)
  local lists = {}
  for i, name in ipairs { "prompts", "answers", "rows", "ended" } do
    lists[i] = texts[name] and table.move(texts[name], from, to, 1, {})
  end
  return pcall(judge.fn, table.unpack(lists, 1, 4))
end

-- Whether two errors are the same but for numbers in them: a function that wants whole groups of
-- answers fails at one alone for another reason.
local function alike(raised, other)
  if type(raised) ~= "string" or type(other) ~= "string" then return type(raised) == type(other) end
  return raised:gsub("%d+", "#") == other:gsub("%d+", "#")
end

-- Which answer a function fails at that failed at all of them: halves are asked, and halves of the
-- first that fails. Nil when it is none by itself.
local function culprit(judge, texts)
  local from, to, raised = 1, #texts.answers, nil
  while from < to do
    local middle = (from + to) // 2
    local first_ok, message = said(judge, texts, from, middle)
    if not first_ok then
      to, raised = middle, message
    else
      local second_ok
      second_ok, raised = said(judge, texts, middle + 1, to)
      if second_ok then return nil end
      from = middle + 1
    end
  end
  return from, raised
end

-- What the function says of texts, or an error that says what is wrong, and at which answer.
local function asked(judge, texts)
  local ok, scores = said(judge, texts, 1, #texts.answers)
  if ok then return checked(judge, scores, texts) end
  local stopped = type(scores) == "string" and scores:find("interrupted!", 1, true) -- by Ctrl-C
  local at, raised
  if not stopped then
    at, raised = culprit(judge, texts)
  end
  if not at or not alike(raised or scores, scores) then
    refuse_failed(judge.key, judge.path, scores)
  end
  local where = (" (at answer %d of %d, '%s'; the prompt: '%s')"):format(
    at,
    #texts.answers,
    format.cut(texts.answers[at], SHOWN),
    format.cut(texts.prompts[at], SHOWN)
  )
  return refuse_failed(judge.key, judge.path, raised or scores, where)
end

--- What decides the scores of reward models, as a hash: their weights, and how several become one.
-- @treturn ?string nil when a function judges
function Judge:hash()
  if #self.models <= 1 then return self.model and self.model:hash() end
  local parts = { tostring(self.combine), tostring(self.deviations) }
  for _, one in ipairs(self.models) do
    parts[#parts + 1] = one.model:hash()
  end
  return files.hash_string(table.concat(parts, " "))
end

--- What decides the scores, by the key of a recipe, among other such hashes.
-- @tparam {[string]=any} hashes gets `reward_model` and `reward_function`; nil: there is none
-- @treturn {[string]=any} the same
function Judge:made_with(hashes)
  hashes.reward_model = self:hash()
  hashes.reward_function = self.path and files.hash(self.path)
  return hashes
end

-- What a reward function is given of ranked sets.
local function texts_of_sets(judge, sets)
  local tok = judge.tokenizer
  local texts = { prompts = {}, answers = {}, rows = {}, ended = {} }
  for _, set in ipairs(sets) do
    for k, sequence in ipairs(set.sequences) do
      local n, at = 0, #texts.prompts + 1
      while n < #sequence and set.masks[k][n + 1] == 0 do
        n = n + 1
      end
      local prompt, answer =
        table.move(sequence, 1, n, 1, {}), table.move(sequence, n + 1, #sequence, 1, {})
      texts.prompts[at] = tok:decode(prompt, { skip_special = true })
      texts.answers[at] = tok:decode(answer, { skip_special = true })
      texts.rows[at] = set.row
      texts.ended[at] = encode.finished(set.row, k) ~= false
    end
  end
  return texts
end

-- Calls fn(sequences, their sets) for some sets at a time, in order.
local function in_parts(sets, max_tokens, fn)
  local waiting, of, tokens = {}, {}, 0
  for _, set in ipairs(sets) do
    of[#of + 1] = set
    for _, sequence in ipairs(set.sequences) do
      waiting[#waiting + 1] = sequence
      tokens = tokens + #sequence
    end
    if tokens >= (max_tokens or 16384) then
      fn(waiting, of)
      waiting, of, tokens = {}, {}, 0
    end
  end
  if #of > 0 then fn(waiting, of) end
end

--- Scores of ranked sets. Raises when the reward function fails, or gives other than one finite
-- number an answer.
-- @tparam {RankedSet,...} sets of `data.ranked`
-- @tparam ?integer max_tokens of a forward (default: 16384)
-- @treturn {number,...} scores, set after set
function Judge:sets(sets, max_tokens)
  if not self.model then return asked(self, texts_of_sets(self, sets)) end
  return self:merged((self:members(sets, max_tokens)))
end

--- Scores of ranked sets by each member of an ensemble: reward models, and the heads of each. None
-- when a function judges.
-- @tparam {RankedSet,...} sets of `data.ranked`
-- @tparam ?integer max_tokens of a forward (default: 16384)
-- @treturn {{number,...},...} of each member the scores, set after set
-- @treturn {string,...} what each is called: the path of the model, with the number of its head
function Judge:members(sets, max_tokens)
  local lists, names = {}, {}
  for _, one in ipairs(self.models) do
    local heads, first = one.model:score_heads(), #lists
    for h = 1, heads do
      lists[first + h] = {}
      names[first + h] = one.path .. (heads > 1 and (", head %d"):format(h) or "")
    end
    in_parts(sets, max_tokens, function(sequences)
      for h, scores in ipairs(score.heads(one.model, sequences, max_tokens)) do
        list.append(lists[first + h], scores)
      end
    end)
  end
  return lists, names
end

-- Of each head of a model the scores of sequences.
local function head_lists(model, parts)
  if model:score_heads() == 1 then return { loss.sequence_scores(model, parts):totable() } end
  local lists, flat = {}, loss.sequence_head_scores(model, parts)
  for h, column in ipairs(flat:t():totable()) do
    lists[h] = column
  end
  return lists
end

--- From here on rollouts that are scored get `states`: what the first reward model makes of each
-- token, by the forward that scores them. A function that judges makes none.
-- @treturn Judge itself
function Judge:keep_states()
  self.keeps_states = true
  return self
end

--- Scores of a rollout. Raises when the reward function fails, or gives other than one finite
-- number an answer.
-- @tparam Rollout roll as of `rollout.new`
-- @tparam {Prompt,...} prompts one for each answer
-- @treturn {number,...} one for each answer
function Judge:score(roll, prompts)
  if self.model then
    local lists = {}
    for i, one in ipairs(self.models) do
      if i == 1 and self.keeps_states then
        lists, roll.states = loss.sequence_scores_and_hidden(one.model, roll.parts)
      else
        list.append(lists, head_lists(one.model, roll.parts))
      end
    end
    return self:merged(lists)
  end
  return asked(self, score.texts(self.tokenizer, roll, prompts))
end

--- Answers as texts: what a reward function is given.
-- @tparam Tokenizer tok tokenizer of the answers
-- @tparam Rollout roll as of `rollout.new`
-- @tparam {Prompt,...} prompts one for each answer
-- @treturn {prompts=table,answers=table,rows=table,ended=table} lists of texts (`prompts`,
--   `answers`), of `rows` and of booleans (`ended`), one for each answer
function score.texts(tok, roll, prompts)
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

--- The scores of a model by those of its heads. Raises when there is none.
-- @tparam {{number,...},...} lists for each head one, a number for each sequence
-- @treturn {number,...} their means
function score.mean_of(lists)
  if #lists == 0 then error("score.mean_of wants the scores of one head or more", 2) end
  if #lists == 1 then return lists[1] end
  local scores = {}
  for i = 1, #lists[1] do
    local sum = 0
    for _, of_head in ipairs(lists) do
      sum = sum + of_head[i]
    end
    scores[i] = sum / #lists
  end
  return scores
end

--- Scores of whole sequences by a scalar-head model. Any number of them: they are packed and scored
-- part by part.
-- @tparam Model scalar_model
-- @tparam {{integer,...},...} sequences token ids of each
-- @tparam ?integer max_tokens of a forward, tokens (default and at most: 512)
-- @treturn {number,...} one for each sequence
function score.sequences(scalar_model, sequences, max_tokens)
  return score.mean_of(score.heads(scalar_model, sequences, max_tokens))
end

--- Scores of whole sequences by each head of a scalar-head model.
-- @tparam Model scalar_model
-- @tparam {{integer,...},...} sequences token ids of each
-- @tparam ?integer max_tokens of a forward (default and at most: 512)
-- @treturn {{number,...},...} for each head one list, a number for each sequence
function score.heads(scalar_model, sequences, max_tokens)
  local lists = {}
  for h = 1, scalar_model:score_heads() do
    lists[h] = {}
  end
  for _, indices in ipairs(batch.split(sequences, max_tokens or 16384)) do
    local scope <close> = core.scope("score.sequences")
    local parts = batch.parts(list.take(sequences, indices), nil, max_tokens)
    for h, scores in ipairs(head_lists(scalar_model, parts)) do
      list.append(lists[h], scores)
    end
  end
  return lists
end

--- What a language model thinks of answers: the log-prob of each, its end with it.
-- @tparam Model model
-- @tparam {BatchPart,...} parts of `batch.parts` or a rollout
-- @treturn {number,...} Σ_t ln p(y_t | x, y_<t) of each answer, nats, in the order of the sequences
function score.likelihoods(model, parts)
  local sums = {}
  for _, part in ipairs(parts) do
    local scope <close> = core.scope("score.likelihoods")
    local logprobs = loss.sequence_logprobs(model, { part })
    list.append(sums, core.segment_sum(logprobs, part.at.segments):totable())
  end
  return sums
end

--- What a language model thinks of the answers of ranked sets, as `score.likelihoods` has it.
-- @tparam Model model
-- @tparam {RankedSet,...} sets of `data.ranked`
-- @tparam ?integer max_tokens of a forward (default and at most: 512)
-- @treturn {number,...} nats, set after set
function score.likelihoods_of_sets(model, sets, max_tokens)
  local sums = {}
  in_parts(sets, max_tokens, function(sequences, sets_of_part)
    local scope <close> = core.scope("score.likelihoods")
    local masks = {}
    for _, set in ipairs(sets_of_part) do
      list.append(masks, set.masks)
    end
    list.append(sums, score.likelihoods(model, batch.parts(sequences, masks, max_tokens)))
  end)
  return sums
end

--- What is amiss where scores are read with a weight of the log-probs of answers; nil: nothing. A
-- reward model that was trained beside log-probs knows only what they do not tell.
-- @tparam {{path=string,model=Model},...} models of a judge
-- @tparam number coef w, the weight with which log-probs are added
-- @treturn ?string a sentence
function score.misread(models, coef)
  for _, one in ipairs(models) do
    local wanted = one.model.config.score_likelihood_coef or 0
    if wanted > 0 and coef == 0 then
      local text = "reward model %s was trained beside log-probs of answers, with a "
        .. "likelihood_coef of %g, and its scores alone are half of a reward"
      return text:format(one.path, wanted)
    end
  end
end

--- How scores beside log-probs are read here otherwise than they were learnt: with another weight,
-- beside the log-probs of another model, or by some of several models alone.
-- @tparam {{path=string,model=Model},...} models of a judge
-- @tparam ?number coef w, in the unit of the scores, more than 0; nil: a schedule has it
-- @tparam string reference folder or file of the model whose log-probs they are
-- @treturn {string,...} a sentence each; none for models that were trained alone
function score.estranged(models, coef, reference)
  local sentences, identity, is_any = {}, nil, false
  for _, one in ipairs(models) do
    is_any = is_any or (one.model.config.score_likelihood_coef or 0) > 0
  end
  for _, one in ipairs(models) do
    local config = one.model.config
    local wanted, beside = config.score_likelihood_coef or 0, config.score_likelihood_reference
    if wanted > 0 and coef and math.abs(coef - wanted) > 1e-9 * wanted then
      local text = "reward model %s was trained beside log-probs of weight %g; here they have %g"
      sentences[#sentences + 1] = text:format(one.path, wanted, coef)
    end
    if wanted == 0 and is_any then
      local text = "reward model %s was trained alone, and stands beside others that were trained "
        .. "beside log-probs: half of what they say is not in its score"
      sentences[#sentences + 1] = text:format(one.path)
    end
    if wanted > 0 and beside then
      identity = identity or adapter_folder.identity(reference) or ""
      if identity ~= beside then
        local text = "reward model %s was trained beside the log-probs of another model than %s: "
          .. "it knows what that one does not say"
        sentences[#sentences + 1] = text:format(one.path, reference)
      end
    end
  end
  return sentences
end

--- Scores together with what a language model thinks of the answers.
-- @tparam {number,...} scores of reward models
-- @tparam {number,...} likelihoods of the same answers, nats
-- @tparam number coef w, their weight
-- @treturn {number,...} score + w likelihood of each
function score.with_likelihoods(scores, likelihoods, coef)
  local sums = {}
  for i, own in ipairs(scores) do
    sums[i] = own + coef * likelihoods[i]
  end
  return sums
end

--- Scores of all answers of ranked sets.
-- @tparam Model scalar_model
-- @tparam {RankedSet,...} sets of `data.ranked`
-- @tparam ?integer max_tokens of a forward (default and at most: 512)
-- @treturn {number,...} scores, set after set
-- @treturn {{number,...},...} the ranks of each set
-- @treturn {integer,...} the lengths of the sequences, tokens
-- @treturn {{number,...},...} of each head the scores, set after set
function score.sets(scalar_model, sets, max_tokens)
  local members, ranks, lengths = {}, {}, {}
  for h = 1, scalar_model:score_heads() do
    members[h] = {}
  end
  in_parts(sets, max_tokens, function(sequences, sets_of_part)
    for _, set in ipairs(sets_of_part) do
      ranks[#ranks + 1] = set.ranks
    end
    for _, sequence in ipairs(sequences) do
      lengths[#lengths + 1] = #sequence
    end
    for h, scores in ipairs(score.heads(scalar_model, sequences, max_tokens)) do
      list.append(members[h], scores)
    end
  end)
  return score.mean_of(members), ranks, lengths, members
end

--- What a reward model makes of ranked sets.
-- @tparam Model scalar_model
-- @tparam {RankedSet,...} sets of `data.ranked`
-- @tparam integer max_tokens of a forward
-- @tparam ?{number,...} beside what stands beside the score of each answer, set after set
-- @treturn table `figures` of `ranking.calibration`, with `eval_disagreement` of several heads;
--   `labelers` of `ranking.by_labeler`; `scores` without what stands beside them, `members` (those
--   of each head), `ranks` and `lengths` (tokens) as of `score.sets`
function score.judged(scalar_model, sets, max_tokens, beside)
  local own, ranks, lengths, members = score.sets(scalar_model, sets, max_tokens)
  local scores = beside and score.with_likelihoods(own, beside, 1) or own
  local figures = ranking.calibration(ranking.gaps(scores, ranks))
  if #members > 1 then
    local sizes = {}
    for i, of_set in ipairs(ranks) do
      sizes[i] = #of_set
    end
    figures.eval_disagreement = ranking.disagreement(members, sizes)
  end
  return {
    figures = figures,
    labelers = ranking.by_labeler(scores, sets),
    scores = own,
    members = members,
    ranks = ranks,
    lengths = lengths,
  }
end

--- Sets the biases of a reward model, so that its scores have one zero: the mean of some scores;
-- or, where these are no zero, only its heads one among each other.
-- @tparam Model scalar_model whose config is changed
-- @tparam {{number,...},...} members scores of each head, of the same sequences
-- @tparam boolean are_zero whether these shall be 0 on average
function score.center(scalar_model, members, are_zero)
  local config, biases = scalar_model.config, {}
  for h, scores in ipairs(members) do
    biases[h] = stats.mean(scores)
  end
  local mean = stats.mean(biases)
  if #members == 1 then
    if are_zero then config.score_bias = config.score_bias + mean end
    return
  end
  for h = 1, are_zero and 0 or #members do
    biases[h] = biases[h] - mean
  end
  config.score_biases, config.score_bias = biases, are_zero and mean or 0
end

return score
