--- Evaluation: how good are a model's answers, and how far did it go from its reference?
--
-- Answers to held-out prompts are scored by a gold function or a reward model. Reported are the
-- mean score with its 95 % interval, the KL to the reference (k1: Σ_t ln π - ln π_ref, nats an
-- answer), the best-of-n curve (n answers each, the best kept; its KL is ln n - (n-1)/n, Stiennon
-- et al. 2020), the win rate against the reference on the same prompts, and the loss on pretraining
-- text.

local pl = require "perilune"
local data, loss = pl.data, pl.loss

local cfg = pl.config {
  name = "eval", about = "scores, KL, best-of-n and win rate of a model",
  "Models and data",
  { model = "", "model folder to judge", required = true },
  { reference = "", "model folder for KL and win rate; nothing: neither" },
  { dataset = "", "prompts: JSON Lines of {prompt} or {messages}", required = true },
  { reward_function = "", "Lua file returning f(prompts, answers, rows, ended) -> scores" },
  { reward_model = "", "model folder with a scalar head" },
  { text = "", "pretraining text to measure the loss on" },
  { template = "none", "chat template", choices = { "none", "plain", "chatml" } },
  "Answers",
  { count = 256, "prompts to take; 0: all", min = 0 },
  { best_of = 1, "answers to each prompt for the best-of-n curve", min = 1 },
  { response_length = 64, "longest answer, tokens", min = 1 },
  { max_prompt_length = 1024, "longer prompts are dropped, tokens", min = 1 },
  { temperature = 1.0, "of sampling; 0: greedy", min = 0 },
  { text_length = 128, "tokens in a piece of text", min = 2 },
  check = function(c)
    if (c.reward_model == "") == (c.reward_function == "") then
      return "give one of reward_model and reward_function"
    end
  end,
}
local run = pl.run.open(cfg)
if cfg.threads > 0 then pl.threads(cfg.threads) end

local model = assert(pl.load(cfg.model)):freeze()
local tok = assert(pl.tokenizer.load(cfg.model))
local template = data.template(cfg.template)
local stop = data.stop_id(tok, template)
local judge = cfg.reward_model ~= "" and assert(pl.load(cfg.reward_model)):freeze()
local gold = cfg.reward_function ~= "" and dofile(cfg.reward_function)
local prompts = data.prompts(tok, template, cfg.dataset, cfg.max_prompt_length)
if cfg.count > 0 then prompts = table.move(prompts, 1, math.min(cfg.count, #prompts), 1, {}) end

-- n answers to each prompt: {score, length, kl (when `against` is given), text} in order of prompts
local function answer_all(who, n, against)
  local questions, results = {}, {}
  for i, prompt in ipairs(prompts) do questions[i] = prompt.tokens end
  local answers = pl.generate(who, questions, { max_tokens = cfg.response_length, samples = n,
    temperature = cfg.temperature, seed = cfg.seed + 7777, stop = { stop } })
  local sequences, masks, asked, texts, rows, ended = {}, {}, {}, {}, {}, {}
  for i, answer in ipairs(answers) do
    local prompt = prompts[answer.prompt]
    sequences[i], masks[i] = data.join(prompt.tokens, answer.tokens)
    texts[i] = tok:decode(answer.tokens, { skip_special = true })
    asked[i], rows[i] = tok:decode(prompt.tokens, { skip_special = true }), prompt.row
    ended[i] = answer.finish_reason == "stop"
  end
  local scores = gold and gold(asked, texts, rows, ended) or loss.sequence_scores(judge, sequences)
  local reference = against and loss.sequence_logprobs(against, sequences, masks,
    { temperature = cfg.temperature > 0 and cfg.temperature or 1 })
  for i, answer in ipairs(answers) do
    local kl = 0
    for t, logprob in ipairs(answer.logprobs) do kl = kl + logprob - (reference and reference[i][t]
      or 0) end
    results[i] = { score = scores[i], length = #answer.tokens, kl = reference and kl,
      text = texts[i],
      prompt = asked[i], ended = ended[i] }
  end
  return results
end

local function column(results, key)
  local list = {}
  for i, r in ipairs(results) do list[i] = r[key] end
  return list
end

-- Mean of the best of the first n answers to each prompt; unbiased over all choices of n among m by
-- order statistics: the k-th best of m is the best of a random n with probability
-- C(m-k, n-1)/C(m, n).
local function best_of(results, m, n)
  local bests = {}
  for p = 1, #results // m do
    local scores = {}
    for k = 1, m do scores[k] = results[(p - 1) * m + k].score end
    table.sort(scores, function(a, b) return a > b end)
    local expectation, chance = 0, n / m -- of k = 1: C(m-1, n-1)/C(m, n)
    for k = 1, m - n + 1 do
      expectation = expectation + chance * scores[k]
      chance = chance * (m - k - n + 1) / (m - k)
    end
    bests[p] = expectation
  end
  return bests
end

local reference = cfg.reference ~= "" and assert(pl.load(cfg.reference)):freeze()
local mine = answer_all(model, 1, reference)
local scores = column(mine, "score")
local score = pl.stats.ci95(scores)
local figures = { score = score.mean, score_ci95 = { score.low, score.high }, prompts = #prompts,
  mean_length = pl.stats.mean(column(mine, "length")), weights_hash = model:hash() }
local examples = {}
for i = 1, math.min(16, #mine) do
  examples[i] = { prompt = mine[i].prompt, answer = mine[i].text, score = mine[i].score }
end
if reference then
  figures.kl = pl.stats.mean(column(mine, "kl"))
  local theirs = answer_all(reference, 1)
  local other = column(theirs, "score")
  local before, gain = pl.stats.ci95(other), pl.stats.paired(scores, other)
  figures.reference_score, figures.reference_score_ci95 = before.mean, { before.low, before.high }
  figures.gain, figures.gain_ci95 = gain.mean, { gain.low, gain.high }
  local wins = 0
  for i = 1, #scores do wins = wins + (scores[i] > other[i] and 1 or scores[i] == other[i] and 0.5
    or 0) end
  figures.win_rate = wins / #scores
  for i, example in ipairs(examples) do example.reference_answer,
    example.reference_score = theirs[i].text, other[i] end
end
if cfg.best_of > 1 then
  local many = answer_all(model, cfg.best_of)
  figures.best_of = {}
  local n = 1
  while n <= cfg.best_of do
    local best = pl.stats.ci95(best_of(many, cfg.best_of, n))
    figures.best_of[#figures.best_of + 1] = { n = n, score = best.mean, ci95 = { best.low,
      best.high },
      kl = math.log(n) - (n - 1) / n }
    n = n < cfg.best_of and math.min(cfg.best_of, n * 2) or n + 1
  end
end
if cfg.text ~= "" then
  figures.text_loss = loss.evaluate(model, data.text(tok, cfg.text, cfg.text_length))
end
for i, example in ipairs(examples) do run:sample(i, example) end
run:summary(figures)
run:close()
if not cfg.quiet then
  print(("score %.4f ± %.4f on %d prompts%s"):format(score.mean, score.half, #prompts,
    figures.kl and (", KL %.3f nats an answer, win rate %.1f %%"):format(figures.kl,
      100 * figures.win_rate) or ""))
end
figures.examples = examples
return figures
