--- What online learning asks of held-out prompts and rankings, before its first step and on the
-- way: reward, KL, and whether the reward goes where it is wanted to go.
--
-- A reward model stands for somebody's taste, and no figure of training tells whether it has it:
-- the score rises either way. Gold, a judge that nothing is trained on, tells. Of K answers of the
-- policy to each held-out prompt x, with rewards s and gold g,
--
--     c_x = 1/(K-1) Σ_i (s_i - mean s) (g_i - mean g)
--     agreement = Σ_x c_x / √(Σ_x var_x s · Σ_x var_x g)                                       (1)
--
-- A small choice among these answers by s, weights 1 + η (s - mean s), changes gold by η c_x (the
-- covariance of Price, Nature 227, 1970). So gold rises with the reward while (1) is positive, and
-- falls once it is negative, before much of it is lost. Its error is that of the mean of c_x over
-- prompts, in the same scale.
--
-- s is what the reward says, with w times the log-prob of the reference where there is a
-- `likelihood_coef`; the KL, penalties of lengths and of missing ends are not in it.

local data = require("perilune.data")
local format = require("perilune.base.format")
local ranking = require("perilune.learn.ranking")
local rollout = require("perilune.learn.rollout")
local score = require("perilune.learn.score")
local stats = require("perilune.base.stats")

local held_out = {}

-- Part of pairs in order: where more may be, their interval does not say that chance does as well.
local MOST_OF_CHANCE <const> = 0.7
--- The variable of the environment that says who judges a run's answers when it is done, "the judge
-- of the task": then nothing needs to measure the reward in the run.
-- @type string
held_out.JUDGED = "PERILUNE_JUDGED_BY"

local ANSWERS <const> = 4 -- to each prompt where gold is asked: one does not differ from itself

--- How far rewards go with gold among the answers to a prompt: equation (1).
-- @tparam {number,...} rewards of K answers to each prompt, prompt after prompt
-- @tparam {number,...} golds of the same answers
-- @tparam integer k K, 2 or more
-- @treturn ?number -1 to 1; nil where one of them is the same for all answers to a prompt
-- @treturn ?number its standard error over prompts; nil of one prompt
function held_out.agreement(rewards, golds, k)
  local covariances, of_rewards, of_golds = {}, 0, 0
  for first = 1, #golds, k do
    local s = table.move(rewards, first, first + k - 1, 1, {})
    local g = table.move(golds, first, first + k - 1, 1, {})
    local mean_s, mean_g, products = stats.mean(s), stats.mean(g), {}
    for i = 1, k do
      products[i] = (s[i] - mean_s) * (g[i] - mean_g)
    end
    covariances[#covariances + 1] = stats.sum(products) / (k - 1)
    of_rewards, of_golds = of_rewards + stats.variance(s), of_golds + stats.variance(g)
  end
  local n = #covariances
  local scale = n > 0 and math.sqrt(of_rewards * of_golds) / n or 0
  if not (scale > 0 and scale < math.huge) then return nil, nil end
  local error_of = n > 1 and stats.std(covariances) / math.sqrt(n) / scale or nil
  return stats.mean(covariances) / scale, error_of
end

--- What gold has lost since the measurement at which it was best.
-- @tparam ?{step=integer,count=integer,values={number,...}} seen the best measurement so far: its
--   `step`, the gold of each prompt as `values`, and of how many it is the best, `count`
-- @tparam integer step of this measurement
-- @tparam {number,...} golds of K answers to each prompt, prompt after prompt; the same prompts
--   each time
-- @tparam integer k K
-- @treturn table what is the best now, with this measurement: a new table
-- @treturn number the gold that was lost: 0 where this is the best
-- @treturn ?number its standard error over prompts, of the same prompts' differences; nil of one
function held_out.lost(seen, step, golds, k)
  local values = {}
  for first = 1, #golds, k do
    values[#values + 1] = stats.mean(table.move(golds, first, first + k - 1, 1, {}))
  end
  local count = (seen and seen.count or 0) + 1
  if not seen or #seen.values ~= #values or stats.mean(values) >= stats.mean(seen.values) then
    return { step = step, count = count, values = values }, 0, #values > 1 and 0 or nil
  end
  local best = { step = seen.step, count = count, values = seen.values }
  if #values == 1 then return best, seen.values[1] - values[1], nil end
  local apart = stats.paired(seen.values, values)
  return best, apart.mean, apart.std / math.sqrt(#values)
end

--- Who says what held-out answers are worth: the file that a config's `gold` names.
-- @tparam Config cfg with the rows of `pl.config.held_out`
-- @tparam Tokenizer tok of the answers
-- @treturn ?Judge nil when there is none
function held_out.gold(cfg, tok)
  if cfg.gold == "" then return nil end
  return score.open({ reward_model = "", reward_function = cfg.gold }, tok, nil, "gold")
end

--- What a model's answers to the held-out prompts are worth, always of the same random streams.
-- @tparam Online online
-- @tparam Model model that answers
-- @tparam number coef w, the weight of the reference's log-probs in the reward; 0: none
-- @treturn {[string]=number} figures `eval_score`, `eval_kl` and `eval_length`, and with gold
--   `eval_gold`, `eval_agreement` and its `eval_agreement_error`
-- @treturn {{prompt=string,answer=string,score=number},...} examples
-- @treturn ?{number,...} gold of each answer, prompt after prompt
function held_out.measure(online, model, coef)
  local cfg = online.cfg
  local figures, examples, said =
    rollout.measure(model, online.reference, online.judge, online.held_out, {
      count = cfg.eval_count,
      samples = online.gold and ANSWERS or 1,
      gold = online.gold,
      max_tokens = cfg.response_length,
      temperature = cfg.temperature,
      seed = cfg.seed,
      stream = online.name .. ".measure",
      stop = online.stops,
      slots = cfg.slots,
      cache_memory = cfg.cache_memory,
      micro_batch_tokens = cfg.micro_batch_tokens,
      tokenizer = online.tokenizer,
      examples = 2,
    })
  if not said.golds then return figures, examples, nil end
  local rewards = said.scores
  if coef > 0 then rewards = score.with_likelihoods(rewards, said.likelihoods, coef) end
  figures.eval_gold = stats.mean(said.golds)
  figures.eval_agreement, figures.eval_agreement_error =
    held_out.agreement(rewards, said.golds, ANSWERS)
  return figures, examples, said.golds
end

--- Notes in the state of a run what gold is now and was at its best, and tells the difference.
-- @tparam {gold=table} state of the run
-- @tparam integer step of the measurement, 0 before the first
-- @tparam {[string]=number} figures gets `eval_gold_lost`, `eval_gold_lost_error`, and of how many
--   measurements the best was the best, `eval_gold_count`
-- @tparam ?{number,...} golds of `held_out.measure`; nil: there is no gold, and nothing is done
function held_out.follow(state, step, figures, golds)
  if not golds then return end
  local lost, error_of
  state.gold, lost, error_of = held_out.lost(state.gold, step, golds, ANSWERS)
  figures.eval_gold_lost, figures.eval_gold_lost_error = lost, error_of
  figures.eval_gold_count = state.gold.count
end

-- Held-out rankings as the reward models order them.
local function look_at_rankings(online, coef, check)
  local cfg, judge, models = online.cfg, online.judge, { online.policy }
  for _, one in ipairs(judge.models) do
    models[#models + 1] = one.model
  end
  local longest = data.room(models, math.maxinteger)
  local sets = data.ranked(online.tokenizer, online.template, cfg.eval_rankings, longest)
  data.required(sets, "eval_rankings", cfg.eval_rankings)
  check:rows { eval_rankings = sets }
  local ranks = {}
  for i = 1, #sets do
    ranks[i] = sets[i].ranks
  end
  local scores = judge:sets(sets, cfg.micro_batch_tokens)
  if coef > 0 then
    local most = cfg.micro_batch_tokens
    local likelihoods = score.likelihoods_of_sets(online.reference, sets, most)
    scores = score.with_likelihoods(scores, likelihoods, coef)
  end
  local gaps = ranking.gaps(scores, ranks)
  if #gaps == 0 then return check:warn("eval_rankings: no two answers have different ranks") end
  local figures = ranking.calibration(gaps)
  local low, high = table.unpack(figures.eval_accuracy_ci95)
  local text = "the reward orders %.1f %% (%.1f to %.1f) of %d held-out pairs as they are ranked"
  text = text:format(100 * figures.eval_accuracy, 100 * low, 100 * high, figures.eval_pairs)
  if low > 0.5 then return check:say("%s", text) end
  if high > MOST_OF_CHANCE then return check:say("%s: too few to tell that from chance", text) end
  check:warn(
    "%s, which chance does as well: its taste is not that of these rankings, and a policy that "
      .. "follows it gains nothing by them",
    text
  )
end

-- Gold of the first policy's answers, and whether it goes with the reward.
local function look_at_gold(online, coef, check)
  local figures, _, golds = held_out.measure(online, online.policy, coef)
  held_out.follow(online.state, 0, figures, golds)
  local agreement, error_of = figures.eval_agreement, figures.eval_agreement_error
  if not agreement then
    local text = "gold is the same for all answers to a prompt, or the reward is: before the first "
      .. "step nothing tells whether they agree"
    return check:say("%s", text)
  end
  local text = "gold of the start's answers is %s; within prompts the reward goes with it by a "
    .. "correlation of %.2f, %s"
  local error_text = error_of and ("error %.2f"):format(error_of)
    or "of one prompt alone, which tells no error"
  text = text:format(format.number(figures.eval_gold), agreement, error_text)
  if not error_of or agreement + 2 * error_of > 0.1 then return check:say("%s", text) end
  check:warn(
    "%s: what it prefers is not better by gold. Rank answers of this model for the reward model, "
      .. "or take another; `perilune judge` says more",
    text
  )
end

--- Before the first step: how the reward orders held-out rankings, whether it goes with gold, or
-- that nothing tells.
-- @tparam Online online that a run was taken up by
-- @tparam Check check
function held_out.look(online, check)
  local cfg = online.cfg
  if online.state.iterations > 0 then return end
  local coef = online:likelihood(1)
  if cfg.eval_rankings ~= "" then look_at_rankings(online, coef, check) end
  if online.gold then
    look_at_gold(online, coef, check)
  elseif cfg.eval_rankings == "" and #online.judge.models > 0 then
    local judge = os.getenv(held_out.JUDGED)
    if judge then return check:say("its answers are judged when it is done, by %s", judge) end
    check:say(
      "nothing here measures whether the reward model's taste is that of those it stands for: "
        .. "its score rises either way. gold (with an eval_dataset) or eval_rankings would"
    )
  end
end

return held_out
