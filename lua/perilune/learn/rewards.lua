--- Several rewards at once, each with its weight: reward models (one reward, however many they are)
-- and reward functions. What comes of it judges as a Judge does. Beside it: settings with which a
-- reward is not what it was learnt as, and what is kept where a reward function fails.

local files = require("perilune.base.files")
local list = require("perilune.base.list")
local score = require("perilune.learn.score")
local stats = require("perilune.base.stats")

local rewards = {}

local Rewards = {}
Rewards.__index = Rewards
Rewards.__name = "rewards"

-- What a reward is called in metrics: the name of its file, with a number where others have it.
local function name_of(path, taken)
  local name, number = path:match("([^/]*)$"):gsub("%.lua$", ""), 2
  local own = name
  while taken[own] do
    own, number = ("%s-%d"):format(name, number), number + 1
  end
  return own
end

--- Who judges, by a config with the rows of `pl.config.online`: a Judge, or with `reward_weights`
-- several together, which has its `model`, `models`, `hash` and `score`.
-- @tparam Config cfg
-- @tparam Tokenizer tok tokenizer of the answers
-- @tparam ?LoadOptions|function opts how models are loaded
-- @treturn Judge
function rewards.open(cfg, tok, opts)
  if #cfg.reward_weights == 0 then return score.open(cfg, tok, opts) end
  local self = setmetatable({ parts = {}, models = {} }, Rewards)
  local taken = {}
  local function add(name, judge)
    taken[name] = true
    local weight = tonumber(cfg.reward_weights[#self.parts + 1])
    self.parts[#self.parts + 1] = { name = name, judge = judge, weight = weight }
  end
  if cfg.reward_model ~= "" then
    add("reward_model", score.ensemble("reward_model", cfg.reward_model, cfg, tok, opts))
    self.model, self.models = self.parts[1].judge.model, self.parts[1].judge.models
  end
  for _, path in ipairs(score.paths(cfg.reward_function)) do
    add(name_of(path, taken), score.open({ reward_model = "", reward_function = path }, tok))
  end
  return self
end

--- What decides the scores, by the key of a recipe, among other such hashes.
function Rewards:made_with(hashes)
  local weights, functions = {}, {}
  for i, part in ipairs(self.parts) do
    weights[i] = ("%.17g"):format(part.weight)
    if part.judge.path then functions[#functions + 1] = files.hash(part.judge.path) end
  end
  hashes.reward_model = self.model and self.parts[1].judge:hash()
  hashes.reward_function = #functions > 0 and table.concat(functions, " ") or nil
  hashes.reward_weights = table.concat(weights, " ")
  return hashes
end

--- Scores of ranked sets by the reward models among the rewards.
function Rewards:sets(sets, max_tokens)
  local first, scores = self.parts[1], {}
  for i, value in ipairs(first.judge:sets(sets, max_tokens)) do
    scores[i] = first.weight * value
  end
  return scores
end

--- As of Judge: `states` of the first reward model, where there is one.
function Rewards:keep_states()
  if self.model then self.parts[1].judge:keep_states() end
end

--- Scores of a rollout: the weighted sums, and the mean of each reward by its name.
function Rewards:score(roll, prompts)
  local total, means = {}, {}
  for _, part in ipairs(self.parts) do
    local scores = part.judge:score(roll, prompts)
    for i, value in ipairs(scores) do
      total[i] = (total[i] or 0) + part.weight * value
    end
    means[part.name] = stats.mean(scores)
  end
  return total, means
end

--- Raises what scoring an iteration raised. Where it was a reward function, nothing of the
-- iteration has been learnt yet: a checkpoint keeps those before it.
-- @tparam any message what was raised
-- @tparam ?Run run nil: there is none to keep
-- @tparam {iterations=integer,scores=any} state of the run
-- @tparam any scores_before figures of scores before the iteration
function rewards.fail(message, run, state, scores_before)
  if type(message) ~= "string" or not message:find("^reward_function ") or not run then
    error(message, 0)
  end
  local done = state.iterations
  local text = "%s, in iteration %d"
  if done > 0 then
    state.scores = scores_before
    run:save_here(done)
    text = text
      .. "; checkpoint-%d has all before it: mend the function, then the same command "
      .. "with --resume --resume_changed reward_function goes on"
  end
  error(text:format(message, done + 1, done), 0)
end

--- What a measurement on held-out prompts gives. Where a function that scores them fails, a
-- checkpoint keeps the step that was to be measured, and its row of metrics is written; what is
-- raised says so.
-- @tparam Run run
-- @tparam integer done the step, all of which has been learnt
-- @tparam {[string]=any} metrics of the step, without the measurement
-- @tparam function measure without arguments
-- @treturn any what it gives, three values at most
function rewards.measured(run, done, metrics, measure)
  local ok, figures, examples, more = pcall(measure)
  if ok then return figures, examples, more end
  local text = type(figures) == "string" and figures or ""
  local key = text:match("^(reward_function) ") or text:match("^(gold) ")
  if not key then error(figures, 0) end
  run:log(done, metrics)
  run:save_here(done)
  local advice = "%s, on held-out prompts; checkpoint-%d has all so far: mend the function, then "
    .. "the same command with --resume --resume_changed %s goes on"
  error(advice:format(text, done, key), 0)
end

-- Refuses reward models that were trained beside log-probs where none stand beside their scores.
local function refuse_half(judge, coef)
  local half = score.misread(judge.models, coef and tonumber(tostring(coef)) or coef and 1 or 0)
  if not half then return end
  error(half .. (coef and ": give the same here" or ", and this recipe has no such key"), 0)
end

--- Sentences about settings with which a reward of scores and log-probs is not what it was learnt
-- as. Raises where reward models that were trained beside log-probs are taken for the whole.
-- @tparam Config cfg with the rows of `pl.config.online`, `sampling` and `scores`
-- @tparam Judge judge of `rewards.open`
-- @tparam ?boolean has_coef whether the config has a `likelihood_coef`
-- @treturn {string,...}
function rewards.doubts(cfg, judge, has_coef)
  local coef, doubts = has_coef and cfg.likelihood_coef or nil, {}
  refuse_half(judge, coef)
  local fixed = coef and coef:fixed()
  if not coef or fixed == 0 then return doubts end
  if cfg.temperature ~= 1 then
    local text = "likelihood_coef: log-probs are taken at temperature %g, where reward models "
      .. "learn beside those at 1"
    doubts[1] = text:format(cfg.temperature)
  end
  local weight = tonumber(cfg.reward_weights[1]) or 1
  local per_score = fixed and weight > 0 and fixed / weight or nil
  list.append(doubts, score.estranged(judge.models, per_score, cfg.model))
  local is_beside = false
  for _, one in ipairs(judge.models) do
    is_beside = is_beside or (one.model.config.score_likelihood_coef or 0) > 0
  end
  for _, key in ipairs { "normalize_scores", "reward_clip" } do
    if is_beside and cfg[key] and cfg[key] ~= 0 then
      doubts[#doubts + 1] = key
        .. " changes scores and not the log-probs beside them: their sum is not what the reward "
        .. "model learnt"
    end
  end
  return doubts
end

return rewards
