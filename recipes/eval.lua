--- Evaluation: how good are a model's answers, and how far did it go from its reference?
--
-- Answers to held-out prompts are scored by the judge, a gold function or a reward model. Reported
-- are the mean score with its 95 % interval, the KL to the reference (k1: Σ_t ln π - ln π_ref, nats
-- an answer), the win rate against the reference on the same prompts, and the loss on pretraining
-- text. Without a judge there are no scores, no win rate and no best of n; all else is the same.
--
-- The best-of-n curve tells what could be had by choosing among n answers. `chosen` is the judge's
-- score of the answer that the chooser, a reward model, likes best: what a policy trained on that
-- reward model can be held against. `oracle` is that of the answer the judge itself likes best: no
-- policy without the judge gets there. The KL is an estimate from the choices, beside its bound
-- ln n - (n-1)/n (Stiennon et al. 2020). How well the chooser orders answers to a prompt is told
-- by its correlation with the judge within prompts.
--
-- What training took away (the alignment tax) is told by that loss and by `tasks`, held-out files
-- of choices or of texts to be met, whose two kinds and formulas are in perilune.learn.tasks.

local pl = require("perilune")
local data = pl.data

local cfg = pl.config {
  name = "eval",
  about = "scores, KL, best-of-n and win rate of a model",
  "Models and data",
  { model = "", "model folder to judge", required = true },
  { reference = "", "model folder for KL and win rate; nothing: neither" },
  {
    dataset = "",
    "prompts: JSON Lines of {prompt} or {messages}; nothing: text and tasks alone",
  },
  {
    reward_function = "",
    "Lua file returning f(prompts, answers, rows, ended) -> scores",
    code = true,
  },
  {
    reward_model = "",
    "model folder with a scalar head, to judge instead; several: by commas; without a judge: KL, "
      .. "text, tasks and answers alone",
  },
  pl.config.ensemble(),
  {
    chooser = "",
    "model folder with a scalar head that scores too, and chooses the best of n for the judge; "
      .. "several: by commas",
  },
  {
    likelihood_coef = 0.0,
    "of the reference's log-prob of an answer, added to what the chooser says",
    min = 0,
  },
  {
    interpolation = 1.0,
    "the weights to judge: at this part of the way from the reference's to the model's",
    min = 0,
  },
  { text = "", "pretraining text to measure the loss on" },
  {
    tasks = "",
    "JSON Lines of {prompt, choices, answer = index from 0} or {prompt, answer = text}, whose "
      .. "accuracy is told; several: by commas",
  },
  {
    template = "auto",
    "chat template: auto (the model's own), none, plain, chatml, a .jinja file",
  },
  "Answers",
  { count = 256, "prompts to take; 0: all", min = 0 },
  { best_of = 1, "answers to each prompt for the best-of-n curve", min = 1 },
  { response_length = 64, "longest answer, tokens", min = 1 },
  { max_prompt_length = 1024, "longer prompts are dropped, tokens", min = 1 },
  { temperature = 1.0, "of sampling; 0: greedy", min = 0 },
  { text_length = 128, "tokens in a piece of text", min = 2 },
  pl.config.precision(),
  check = function(c)
    local nobody = c.reward_model == "" and c.reward_function == ""
    local key = c.best_of > 1 and "best_of" or c.chooser ~= "" and "chooser"
    local judge = c.reward_model ~= "" and "reward_model" or "reward_function"
    if c.dataset == "" and c.text == "" and c.tasks == "" then
      return "there is nothing to measure: give a dataset of prompts, a text or tasks"
    elseif c.dataset == "" and not (nobody and not key) then
      return (nobody and key or judge) .. " is about answers: give a dataset of prompts"
    elseif c.reward_model ~= "" and c.reward_function ~= "" then
      return "reward_model and reward_function are both given; one judges"
    elseif nobody and key then
      return key .. " wants a judge: give reward_model or reward_function"
    elseif c.interpolation ~= 1 and c.reference == "" then
      return "interpolation wants a reference to begin at"
    elseif c.likelihood_coef > 0 and (c.chooser == "" or c.reference == "") then
      return "likelihood_coef wants a chooser and a reference"
    end
  end,
}
local run = pl.run.open(cfg)

local together = pl.companions.together({
  cfg.model,
  cfg.reference,
  table.unpack(pl.score.paths(cfg.reward_model .. "," .. cfg.chooser)),
}, { precision = cfg.precision })
local function constant(key)
  local path = cfg[key]
  return pl.companions.load(key, path, together(path)):freeze()
end
local model = constant("model")
local tok = pl.companions.tokenizer("model", cfg.model)
local template = data.template(cfg.template, tok)
local stops = data.stop_ids(tok, template)
local is_judged = cfg.reward_model ~= "" or cfg.reward_function ~= ""
local judge = is_judged and pl.score.open(cfg, tok, together)
local chooser = cfg.chooser ~= "" and pl.score.ensemble("chooser", cfg.chooser, cfg, tok, together)
local doubts = { judge and pl.score.misread(judge.models, 0) or nil }
if chooser then
  doubts[#doubts + 1] = pl.score.misread(chooser.models, cfg.likelihood_coef)
  local coef, path = cfg.likelihood_coef, cfg.reference
  local found = coef > 0 and pl.score.estranged(chooser.models, coef, path) or {}
  table.move(found, 1, #found, #doubts + 1, doubts)
end
for _, doubt in ipairs(doubts) do
  io.stderr:write("beware: ", pl.format.safe(doubt), "\n")
end
local reference = cfg.reference ~= "" and constant("reference")
local models = { { name = "model", path = cfg.model, model = model } }
if reference then
  models[#models + 1] = { name = "reference", path = cfg.reference, model = reference }
end
local answering = table.move(models, 1, #models, 1, {})
if judge then table.move(judge.models, 1, #judge.models, #models + 1, models) end
if chooser then table.move(chooser.models, 1, #chooser.models, #models + 1, models) end
pl.companions.check(models)
if cfg.interpolation ~= 1 then
  pl.companions.addable(answering)
  model = pl.model.mix({ reference, model }, { 1 - cfg.interpolation, cfg.interpolation }):freeze()
  models[1].model = model
end
local prompts
if cfg.dataset ~= "" then
  local room, too_long = pl.companions.room(models, cfg.max_prompt_length, cfg.response_length)
  prompts = data.prompts(tok, template, cfg.dataset, room, too_long)
  data.required(prompts, "dataset", cfg.dataset)
end
local text_length = data.room({ model }, cfg.text_length)
local text = cfg.text ~= ""
  and data.required(data.text(tok, cfg.text, text_length), "text", cfg.text)
local tasks = pl.tasks.open(cfg.tasks, tok, template, answering, cfg.response_length)
local sets = { dataset = prompts, text = text }
for _, task in ipairs(tasks) do
  sets["task " .. task.name] = task
end
pl.preflight.new(cfg, {}):rows(sets)
prompts = prompts or {}
if cfg.count > 0 then prompts = table.move(prompts, 1, math.min(cfg.count, #prompts), 1, {}) end

-- All answers of a list, for `perilune pairs` and for whoever judges them by other means.
local function write_answers(answers, asked, ended, scores)
  local lines = {}
  for i, answer in ipairs(answers) do
    local prompt = prompts[i].row
    local row = { prompt = prompt.prompt, messages = prompt.messages }
    if row.prompt == nil and row.messages == nil then row.prompt = asked[i] end
    row.completion, row.completion_finished = answer, ended[i]
    row.score = scores and scores[i] or nil
    lines[i] = pl.json.encode(row) .. "\n"
  end
  if #lines == 0 then return nil end
  local path = run.dir .. "/answers.jsonl"
  assert(pl.files.write_atomic(path, table.concat(lines)))
  return path
end

-- What the judge says of a rollout. Where a reward function fails, the answers are kept.
local function judged(who, roll, asked, texts)
  local ok, scores = pcall(judge.score, judge, roll, asked)
  if ok then return scores end
  if
    who == model
    and #texts.answers == #prompts
    and type(scores) == "string"
    and scores:find("^reward_function ")
  then
    local path = write_answers(texts.answers, texts.prompts, texts.ended)
    scores = ("%s; the answers that it was asked about are in %s"):format(scores, path)
  end
  error(scores, 0)
end

-- n answers to each prompt: the judge's `scores`, `lengths`, `prompts` and `answers` (texts), `kls`
-- to `against` when it is given, and `choices`, the chooser's scores; in order of prompts
local function answer_all(who, n, against)
  local scope <close> = pl.scope("eval.answers")
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
    stop = stops,
  })
  for i = 1, #answers do
    asked[i] = prompts[answers[i].prompt]
  end
  local roll = pl.rollout.new(questions, answers)
  local texts = pl.score.texts(tok, roll, asked)
  local result = {
    scores = judge and judged(who, roll, asked, texts),
    lengths = roll.lengths,
    prompts = texts.prompts,
    answers = texts.answers,
    ended = texts.ended,
  }
  if against then
    local scoring = { temperature = cfg.temperature > 0 and cfg.temperature or 1 }
    local theirs = pl.loss.sequence_logprobs(against, roll.parts, scoring)
    result.kls = pl.segment_sum(roll.old - theirs, answers.offsets):totable()
  end
  if chooser then
    result.choices = chooser:score(roll, asked)
    if cfg.likelihood_coef > 0 then
      local said = pl.score.likelihoods(reference, roll.parts)
      result.choices = pl.score.with_likelihoods(result.choices, said, cfg.likelihood_coef)
    end
  end
  return result
end

-- Mean of a list, and its interval where two values or more give one.
local function mean_of(list)
  if #list < 2 then return list[1], nil end
  local interval = pl.stats.ci95(list)
  return interval.mean, { interval.low, interval.high }
end

local mine = { scores = {}, prompts = {}, answers = {}, ended = {} }
if #prompts > 0 then mine = answer_all(model, 1, reference) end
write_answers(mine.answers, mine.prompts, mine.ended, judge and mine.scores)
local figures = {
  prompts = #prompts,
  mean_length = mine.lengths and pl.stats.mean(mine.lengths),
  weights_hash = model:hash(),
}
if judge then
  figures.score, figures.score_ci95 = mean_of(mine.scores)
end
if chooser then
  figures.chooser_score, figures.chooser_score_ci95 = mean_of(mine.choices)
end
local examples = {}
for i = 1, math.min(16, #mine.answers) do
  examples[i] = { prompt = mine.prompts[i], answer = mine.answers[i] }
  examples[i].score = judge and mine.scores[i] or nil
end

if reference and #prompts > 0 then
  local theirs = answer_all(reference, 1)
  figures.kl, figures.kl_ci95 = mean_of(mine.kls)
  if judge then
    local gains, wins = {}, 0
    for i, own in ipairs(mine.scores) do
      local other = theirs.scores[i]
      gains[i] = own - other
      wins = wins + (own > other and 1 or own == other and 0.5 or 0)
    end
    local rate = pl.stats.rate(wins, #prompts)
    figures.reference_score, figures.reference_score_ci95 = mean_of(theirs.scores)
    figures.gain, figures.gain_ci95 = mean_of(gains)
    figures.win_rate, figures.win_rate_ci95 = rate.mean, { rate.low, rate.high }
  end
  for i, example in ipairs(examples) do
    example.reference_answer = theirs.answers[i]
    example.reference_score = judge and theirs.scores[i] or nil
  end
end

-- One point of the curve: means over prompts of what the best of n is worth.
local function best_of_n(n, scores, choices)
  local oracle, chosen, kls = {}, {}, {}
  for p = 1, #prompts do
    local from, to = (p - 1) * cfg.best_of + 1, p * cfg.best_of
    local worth = table.move(scores, from, to, 1, {})
    local by = choices and table.move(choices, from, to, 1, {}) or worth
    oracle[p] = pl.stats.best_of(worth, n)
    chosen[p] = pl.stats.best_of(worth, n, by)
    kls[p] = pl.stats.best_of_kl(by, n)
  end
  local point = { n = n, kl = pl.stats.mean(kls), kl_bound = math.log(n) - (n - 1) / n }
  point.oracle, point.oracle_ci95 = mean_of(oracle)
  if choices then
    point.chosen, point.chosen_ci95 = mean_of(chosen)
  end
  return point
end

if cfg.best_of > 1 then
  local many = answer_all(model, cfg.best_of)
  figures.best_of = {}
  local n = 1
  while n <= cfg.best_of do
    figures.best_of[#figures.best_of + 1] = best_of_n(n, many.scores, many.choices)
    n = n < cfg.best_of and math.min(cfg.best_of, n * 2) or n + 1
  end
  if many.choices then
    local groups = {}
    for i = 1, #many.scores do
      groups[i] = (i - 1) // cfg.best_of
    end
    figures.chooser_correlation = pl.stats.correlation_within(many.choices, many.scores, groups)
  end
end

if text then figures.text_loss = pl.loss.evaluate(model, text) end
for _, task in ipairs(tasks) do
  local theirs = reference and task:answers(reference) or nil
  figures.tasks = figures.tasks or {}
  figures.tasks[task.name] = pl.tasks.figures(task:answers(model), theirs)
end
for i, example in ipairs(examples) do
  run:sample(i, example)
end
run:summary(figures)
run:close()
if not cfg.quiet then
  local function shown(value, ci95, form)
    local number = pl.format.fixed(form, value)
    if not ci95 then return number end
    local low, high = pl.format.fixed(form, ci95[1]), pl.format.fixed(form, ci95[2])
    return ("%s (%s to %s)"):format(number, low, high)
  end
  local score = judge and "score " .. shown(figures.score, figures.score_ci95, "%.4f") or "answers"
  if #prompts > 0 then
    print(("%s on %d prompts, %.1f tokens each"):format(score, #prompts, figures.mean_length))
  end
  if figures.kl then
    local kl = shown(figures.kl, figures.kl_ci95, "%.3f")
    local rate = judge and ", win rate " .. shown(figures.win_rate, figures.win_rate_ci95, "%.3f")
    print(("KL %s nats an answer%s"):format(kl, rate or ""))
  end
  if text then print(("text loss %.4f nats a token"):format(figures.text_loss)) end
  local rows = {}
  for i, point in ipairs(figures.best_of or {}) do
    rows[i] = { point.n, ("%.2f"):format(point.kl), ("%.2f"):format(point.kl_bound) }
    if chooser then table.insert(rows[i], shown(point.chosen, point.chosen_ci95, "%.3f")) end
    table.insert(rows[i], shown(point.oracle, point.oracle_ci95, "%.3f"))
  end
  if figures.chooser_correlation then
    print(
      ("correlation of chooser and judge within prompts %.3f"):format(figures.chooser_correlation)
    )
  end
  if #rows > 0 then
    local head = { "best of", "KL", "bound", "oracle" }
    if chooser then table.insert(head, 4, "chosen") end
    print(pl.format.columns(rows, { head = head }))
  end
  if figures.tasks then print(pl.tasks.told(figures.tasks)) end
end
for i, example in ipairs(examples) do -- whoever runs this recipe may know more of the prompts
  example.row = prompts[i].row
end
figures.examples, figures.scores = examples, judge and mine.scores or nil
figures.texts, figures.ended, figures.rows = mine.answers, mine.ended, {}
for i, prompt in ipairs(prompts) do
  figures.rows[i] = prompt.row
end
return figures
