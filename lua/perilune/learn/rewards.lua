--- Several rewards at once, each with its weight: reward models (one reward, however many they are)
-- and reward functions. What comes of it judges as a Judge does.

local files = require("perilune.base.files")
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

--- What decides the scores, as a hash: models, files of functions, weights.
function Rewards:hash()
  local texts = {}
  for i, part in ipairs(self.parts) do
    local judge = part.judge
    texts[i] = ("%s %.17g"):format(judge:hash() or files.hash(judge.path), part.weight)
  end
  return files.hash_string(table.concat(texts, "\n"))
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

return rewards
