--- Evaluation: how good are a model's answers, and how far did it go from its reference?
--
-- Answers to held-out prompts are scored by a gold function or a reward model. Reported are the
-- mean score with its 95 % interval, the KL to the reference (k1: Σ_t ln π - ln π_ref, nats an
-- answer), the best-of-n curve (n answers each, the best kept; its KL is ln n - (n-1)/n, Stiennon
-- et al. 2020), the win rate against the reference on the same prompts, and the loss on pretraining
-- text.

local pl = require "perilune"
local data = pl.data

local cfg = pl.config {
  name = "eval",
  about = "scores, KL, best-of-n and win rate of a model",
  "Models and data",
  { model = "", "model folder to judge", required = true },
  { reference = "", "model folder for KL and win rate; nothing: neither" },
  { dataset = "", "prompts: JSON Lines of {prompt} or {messages}", required = true },
  { reward_function = "", "Lua file returning f(prompts, answers, rows, ended) -> scores" },
  { reward_model = "", "model folder with a scalar head" },
  { text = "", "pretraining text to measure the loss on" },
  { template = "auto", "chat template; auto: the model's own",
    choices = { "auto", "none", "plain", "chatml" } },
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

local model = assert(pl.load(cfg.model)):freeze()
local tok = assert(pl.tokenizer.load(cfg.model))
local template = data.template(cfg.template, tok)
local stop = data.stop_id(tok, template)
local judge = pl.score.open(cfg, tok)
local reference = cfg.reference ~= "" and assert(pl.load(cfg.reference)):freeze()
local prompts = data.required(data.prompts(tok, template, cfg.dataset,
  data.room(model, cfg.max_prompt_length, cfg.response_length)), "dataset", cfg.dataset)
local text = cfg.text ~= ""
  and data.required(data.text(tok, cfg.text, data.room(model, cfg.text_length)), "text", cfg.text)
pl.preflight.new(cfg, {}):rows { dataset = prompts, text = text }
if cfg.count > 0 then
  prompts = table.move(prompts, 1, math.min(cfg.count, #prompts), 1, {})
end

-- n answers to each prompt: `scores`, `lengths`, `prompts` and `answers` (texts), and `kls` to
-- `against` when it is given, in order of prompts
local function answer_all(who, n, against)
  local scope <close> = pl.scope "eval.answers"
  local questions, asked = {}, {}
  for i, prompt in ipairs(prompts) do
    questions[i] = prompt.tokens
  end
  local answers = pl.generate(who, questions, {
    max_tokens = cfg.response_length,
    samples = n,
    temperature = cfg.temperature,
    seed = cfg.seed,
    stream = "eval",
    stop = { stop },
  })
  for i = 1, #answers do
    asked[i] = prompts[answers[i].prompt]
  end
  local roll = pl.rollout.new(questions, answers)
  local texts = judge:texts(roll, asked)
  local result = {
    scores = judge:score(roll, asked),
    lengths = roll.lengths,
    prompts = texts.prompts,
    answers = texts.answers,
  }
  if against then
    local scoring = { temperature = cfg.temperature > 0 and cfg.temperature or 1 }
    local theirs = pl.loss.sequence_logprobs(against, roll.parts, scoring)
    result.kls = pl.segment_sum(roll.old - theirs, answers.offsets):totable()
  end
  return result
end

local mine = answer_all(model, 1, reference)
local score = pl.stats.ci95(mine.scores)
local figures = {
  score = score.mean,
  score_ci95 = { score.low, score.high },
  prompts = #prompts,
  mean_length = pl.stats.mean(mine.lengths),
  weights_hash = model:hash(),
}
local examples = {}
for i = 1, math.min(16, #mine.answers) do
  examples[i] = { prompt = mine.prompts[i], answer = mine.answers[i], score = mine.scores[i] }
end

if reference then
  local theirs = answer_all(reference, 1)
  local before = pl.stats.ci95(theirs.scores)
  local gain = pl.stats.paired(mine.scores, theirs.scores)
  figures.kl = pl.stats.mean(mine.kls)
  figures.reference_score = before.mean
  figures.reference_score_ci95 = { before.low, before.high }
  figures.gain = gain.mean
  figures.gain_ci95 = { gain.low, gain.high }
  local wins = 0
  for i, own in ipairs(mine.scores) do
    local other = theirs.scores[i]
    wins = wins + (own > other and 1 or own == other and 0.5 or 0)
  end
  figures.win_rate = wins / #prompts
  for i, example in ipairs(examples) do
    example.reference_answer = theirs.answers[i]
    example.reference_score = theirs.scores[i]
  end
end

if cfg.best_of > 1 then
  local scores = answer_all(model, cfg.best_of).scores
  local by_prompt = {}
  for p = 1, #prompts do
    by_prompt[p] = table.move(scores, (p - 1) * cfg.best_of + 1, p * cfg.best_of, 1, {})
  end
  figures.best_of = {}
  local n = 1
  while n <= cfg.best_of do
    local bests = {}
    for p, list in ipairs(by_prompt) do
      bests[p] = pl.stats.best_of(list, n)
    end
    local best = pl.stats.ci95(bests)
    figures.best_of[#figures.best_of + 1] = {
      n = n,
      score = best.mean,
      ci95 = { best.low, best.high },
      kl = math.log(n) - (n - 1) / n,
    }
    n = n < cfg.best_of and math.min(cfg.best_of, n * 2) or n + 1
  end
end

if text then
  figures.text_loss = pl.loss.evaluate(model, text)
end
for i, example in ipairs(examples) do
  run:sample(i, example)
end
run:summary(figures)
run:close()
if not cfg.quiet then
  local far = figures.kl and (", KL %.3f nats an answer, win rate %.1f %%"):format(figures.kl,
    100 * figures.win_rate) or ""
  print(("score %.4f ± %.4f on %d prompts%s"):format(score.mean, score.half, #prompts, far))
end
figures.examples = examples
return figures
