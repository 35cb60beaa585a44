--- A really trained model made gladder: SFT, reward model and PPO-ptx on story openings.
--
-- (1) Stories are dealt to train, validation and test; their openings are the prompts. (2) SFT on
-- the training stories. (3) The SFT model continues openings K = 9 times; a labeler ranks by the
-- VADER score of the continuation through noise that lets two labelers agree on 73 % of pairs; a
-- reward model learns the rankings. (4) PPO-ptx against it, once for `kl_coef` and once for each of
-- `curve_kl_coefs`. (5) The noise-free score, which no training saw, judges held-out openings, for
-- each checkpoint: gold against KL. Each stage is a recipe of its own, run with settings.

local pl = require("perilune")
local data = pl.data

-- "0.05,0.15" one by one, as texts.
local function coefs_of(text) return text:gmatch("[^,%s]+") end

local cfg = pl.config {
  name = "stories",
  about = "steer a trained story model by rankings of its continuations",
  "Models and data",
  { model = "", "model to start from: a llama2.c or model folder", required = true },
  { text = "", "stories: plain text, a single newline ends a story", required = true },
  { lexicon = "", "VADER's lexicon: the gold score", required = true },
  { test = 0.27, "part of the stories held out for evaluation", over = 0, under = 1 },
  { valid = 0.065, "part held out for the reward model's accuracy", over = 0, under = 1 },
  { train_stories = 0, "to train on; 0: all that are left", min = 0 },
  { response_length = 64, "tokens of a continuation", min = 1 },
  "Supervised fine-tuning",
  { sft_epochs = 1, "passes over the training stories", min = 1 },
  { sft_learning_rate = "warmup(4, cosine(0.0015, 0.0001))", "of SFT", min = 0, schedule = true },
  "Labelers and the reward model",
  { rank_prompts = 3400, "openings whose continuations are ranked", min = 8 },
  { answers = 9, "K, continuations of each", min = 2, max = 64 },
  { agreement = 0.73, "part of pairs two labelers agree on", over = 0.5, under = 1 },
  { rm_epochs = 2, "passes over the rankings", min = 1 },
  { rm_batch_size = 8, "openings in a step", min = 1 },
  {
    rm_learning_rate = "warmup(10, cosine(0.001, 0.00005))",
    "of the reward model",
    min = 0,
    schedule = true,
  },
  "PPO-ptx",
  { total_episodes = 25600, "answers in a PPO run", min = 8 },
  { batch_size = 128, "answers in one iteration", min = 8 },
  { num_mini_batches = 8, "steps in a pass", min = 1 },
  { num_ppo_epochs = 1, "passes over each batch", min = 1 },
  {
    learning_rate = "warmup(20, linear(0.00015, 0.00001), 0.1)",
    "of the policy",
    min = 0,
    schedule = true,
  },
  {
    value_learning_rate = "linear(0.001, 0.0002)",
    "of the value model",
    min = 0,
    schedule = true,
  },
  { value_warmup = 12, "first iterations in which the value alone is trained", min = 0 },
  { kl_coef = 0.25, "β of the run that is summarised", min = 0 },
  { curve_kl_coefs = "", "further runs for the curve of gold against KL, such as 0.05,0.15,0.3" },
  { curve_steps = 25, "a point of the curve every so many iterations", min = 1 },
  { ptx_coef = 0.1, "γ: weight of the pretraining loss", min = 0, schedule = true },
  { ptx_batch_ratio = 0.25, "pretraining examples for each answer", min = 0 },
  { whiten_rewards = false, "divide rewards by their deviation" },
  { lam = 0.9, "λ of generalized advantage estimation", min = 0, max = 1 },
  { ema_decay = 0.97, "of the averaged policy, which is the result; 0: none", min = 0, under = 1 },
  "All stages",
  pl.config.precision(),
  { task_only = false, "end when the reward model is trained, with task.json for `compare`" },
  "Evaluation",
  { best_of = 16, "SFT continuations of each opening for the best-of-n curve", min = 1 },
  check = function(c)
    if c.valid + c.test >= 1 then
      return "valid and test leave no stories to train on"
    elseif c.batch_size % c.num_mini_batches ~= 0 then
      return ("num_mini_batches must divide batch_size, and %d does not divide %d"):format(
        c.num_mini_batches,
        c.batch_size
      )
    end
    for coef in coefs_of(c.curve_kl_coefs) do
      if not tonumber(coef) then return "curve_kl_coefs wants numbers, got " .. coef end
    end
  end,
}
local gold = require("stories.gold")
local labeler = require("stories.labeler")
local methods = require("stories.methods")
local openings = require("stories.openings")
local present = require("stories.present")

local LENGTHS <const> = { 10, 6, 14, 8, 12 } -- of training openings, in words
local HELD_OUT_LENGTHS <const> = { 10, 14, 6 } -- of those that evaluation continues
local JUDGED_LENGTHS <const> = { 10, 14 } -- of those that measure the reward model
local PIECE <const> = 128 -- of pretraining text, in tokens
local SLOTS <const> = 128 -- answers generated at a time
local MICRO_BATCH <const> = 2048 -- tokens of a step's forward: what the caches of a core hold

local run = pl.run.open(cfg)
local _, n_curves = cfg.curve_kl_coefs:gsub("[^,%s]+", "")
local stages = pl.stages.new(run, 7 + n_curves)

local function first(list, n) return table.move(list, 1, math.min(n, #list), 1, {}) end

local function text_rows(stories)
  local rows = {}
  for i, story in ipairs(stories) do
    rows[i] = { text = story }
  end
  return rows
end

-- 1. Stories, sides, openings ---------------------------------------------------------------------
local text, message = pl.files.read(cfg.text)
if not text then error(("text %s cannot be read: %s"):format(cfg.text, message), 0) end
local stories = openings.stories(text)
local sides = openings.sides(stories, {
  path = "text " .. cfg.text,
  valid = cfg.valid,
  test = cfg.test,
  least_words = 40,
  seed = cfg.seed,
})
if cfg.train_stories > 0 then sides.train = first(sides.train, cfg.train_stories) end
local prompts = openings.prompts(sides.train, LENGTHS)
-- What would fail after hours of training is said before.
pl.companions.room(
  { { name = "model", path = cfg.model, model = pl.companions.writer("model", cfg.model) } },
  1,
  cfg.response_length
)
gold.check(
  sides.train,
  gold.lexicon(cfg.lexicon),
  ("text %s, lexicon %s"):format(cfg.text, cfg.lexicon)
)
local judge_text = ("return require(%q).judge(%q)\n"):format("stories.gold", cfg.lexicon)
local paths = {
  train = stages:write("train.jsonl", text_rows(sides.train)),
  valid = stages:write("valid.jsonl", text_rows(sides.valid)),
  test = stages:write("test.jsonl", text_rows(sides.test)),
  prompts = stages:write("prompts.jsonl", prompts),
  held_out = stages:write("test-prompts.jsonl", openings.prompts(sides.test, HELD_OUT_LENGTHS)),
  judge = stages:write("gold.lua", judge_text),
}
stages:say(
  "%d stories: %d to train, %d to validate, %d to test; %d openings",
  #stories,
  #sides.train,
  #sides.valid,
  #sides.test,
  #prompts
)

-- 2. SFT ------------------------------------------------------------------------------------------
local sft = stages:stage("sft", "sft", "SFT on the training stories", {
  model = cfg.model,
  dataset = paths.train,
  eval_dataset = paths.valid,
  max_length = 512,
  num_train_epochs = cfg.sft_epochs,
  batch_size = 16,
  learning_rate = cfg.sft_learning_rate,
  -- Pieces of text as PPO's pretraining term sees them: else that term alone would move the policy
  -- from its reference, and be charged for it as KL.
  ptx_dataset = paths.train,
  ptx_fraction = 0.5,
  ptx_length = PIECE,
})

-- 3. Rankings and the reward model ----------------------------------------------------------------
local lexicon = gold.lexicon(cfg.lexicon)
local sft_model = assert(pl.load(sft.model, { precision = cfg.precision })):freeze()
local tok = assert(pl.tokenizer.load(sft.model))

-- K continuations of each opening, and what they are worth in truth.
local function continuations(rows, stream)
  local scope <close> = pl.scope("stories.continuations")
  local questions, sets, truths = {}, {}, {}
  for i, row in ipairs(rows) do
    questions[i] = data.prompt_ids(tok, nil, row)
  end
  local answers = pl.generate(sft_model, questions, {
    max_tokens = cfg.response_length,
    samples = cfg.answers,
    seed = cfg.seed,
    stream = stream,
    slots = SLOTS,
    stop = data.stop_ids(tok),
  })
  for i in ipairs(rows) do
    sets[i] = { prompt_tokens = questions[i], completion_tokens = {} }
    truths[i] = {}
    for k = 1, cfg.answers do
      local tokens = answers[(i - 1) * cfg.answers + k].tokens
      sets[i].completion_tokens[k] = tokens
      truths[i][k] = gold.score(tok:decode(tokens, { skip_special = true }), lexicon)
    end
  end
  return sets, truths
end

local began = pl.seconds()
local ranked, truths = continuations(first(prompts, cfg.rank_prompts), "stories.rankings")
local noise = labeler.calibrate(truths, cfg.agreement)
local trainer = { noise = noise, seed = cfg.seed, name = 1 }
local colleague = { noise = noise, seed = cfg.seed, name = 2 }
for i, set in ipairs(ranked) do
  set.ranks = pl.ranking.ranks(labeler.opinions(truths[i], trainer, i))
end
local agreement = labeler.measured_agreement(truths, trainer, colleague)
local judged, judged_truths =
  continuations(openings.prompts(sides.valid, JUDGED_LENGTHS), "stories.judged")
for i, set in ipairs(judged) do
  set.ranks = pl.ranking.ranks(judged_truths[i]) -- without noise
end
paths.rankings = stages:write("rankings.jsonl", ranked)
paths.judged = stages:write("rankings-valid.jsonl", judged)
stages.seconds.rankings = pl.seconds() - began
stages:say(
  "%d openings ranked, K = %d; noise %.3f: two labelers agree on %.1f %% of pairs",
  #ranked,
  cfg.answers,
  noise,
  100 * agreement
)

local rm = stages:stage("reward", "reward", "reward model on the rankings", {
  model = sft.model,
  dataset = paths.rankings,
  eval_dataset = paths.judged,
  num_train_epochs = cfg.rm_epochs,
  batch_size = cfg.rm_batch_size,
  learning_rate = cfg.rm_learning_rate,
})

-- 4. PPO-ptx --------------------------------------------------------------------------------------
-- What a policy is trained with, whatever the method.
local of_policies = {
  dataset = paths.prompts,
  eval_rankings = paths.judged,
  ptx_dataset = cfg.ptx_coef:fixed() == 0 and "" or paths.train,
  response_length = cfg.response_length,
  total_episodes = cfg.total_episodes,
  batch_size = cfg.batch_size,
  slots = SLOTS,
  micro_batch_tokens = MICRO_BATCH,
  missing_eos_rule = "none", -- a continuation is as long as it may be; none is to end the story
  learning_rate = tostring(cfg.learning_rate),
  ptx_coef = tostring(cfg.ptx_coef),
  ptx_batch_ratio = cfg.ptx_batch_ratio,
  ptx_length = PIECE,
  ema_decay = cfg.ema_decay,
  ema_final = cfg.ema_decay > 0,
}
local of_ppo = {
  num_mini_batches = cfg.num_mini_batches,
  num_ppo_epochs = cfg.num_ppo_epochs,
  value_learning_rate = tostring(cfg.value_learning_rate),
  value_warmup = cfg.value_warmup,
  lam = cfg.lam,
  whiten_rewards = cfg.whiten_rewards,
}

if cfg.task_only then
  local figures = {
    rm_accuracy = rm.rm_accuracy,
    labeler_agreement = agreement,
    rankings = #ranked,
    stage_seconds = stages.seconds,
  }
  local task = run.dir .. "/task.json"
  assert(pl.files.write_json(task, methods.task(paths, sft.model, rm.model, of_policies, of_ppo)))
  stages:say("%s: perilune compare METHOD... --task %s", task, run.dir)
  run:summary(figures)
  run:close()
  return figures
end

local function ppo(kl_coef)
  local folder = ("ppo-%g"):format(kl_coef)
  local settings = { model = sft.model, reward_model = rm.model, kl_coef = kl_coef }
  settings.save_steps, settings.save_total_limit = cfg.curve_steps, 0
  for _, part in ipairs { of_policies, of_ppo } do
    for key, value in pairs(part) do
      settings[key] = value
    end
  end
  local trained = stages:stage("ppo", folder, ("PPO-ptx, β %g"):format(kl_coef), settings)
  return {
    kl_coef = kl_coef,
    folder = folder,
    model = trained.model,
    history = trained.history,
  }
end

-- 5. Held-out openings, noise-free score ----------------------------------------------------------
-- `more`: what differs from one evaluation to the next
local function judge(folder, title, more)
  local settings = {
    dataset = paths.held_out,
    reward_function = paths.judge,
    response_length = cfg.response_length,
    text_length = PIECE,
  }
  for key, value in pairs(more) do
    settings[key] = value
  end
  return stages:stage("eval", folder, title, settings)
end

-- Gold against KL along a run: its checkpoints, or their averaged policies, on the first opening of
-- each held-out story.
local function curve(one, at_start)
  local points = { { step = 0, gold = at_start, kl = 0.0 } }
  for _, saved in ipairs(pl.run.checkpoints(run.dir .. "/" .. one.folder)) do
    local at = judge("eval-curve", ("evaluation: %s, step %d"):format(one.folder, saved.step), {
      model = saved.path .. (cfg.ema_decay > 0 and "/ema" or ""),
      reference = sft.model,
      count = #sides.test,
    })
    points[#points + 1] = {
      step = saved.step,
      gold = at.score,
      kl = at.kl,
      ci95 = at.score_ci95,
    }
  end
  return points
end

local before = judge("eval-sft", "evaluation: SFT", {
  model = sft.model,
  text = paths.test,
  count = 0,
})
local best_of = judge("eval-best-of-n", "evaluation: SFT, best of n", {
  model = sft.model,
  count = #sides.test,
  best_of = cfg.best_of,
  chooser = rm.model,
}).best_of
local runs = { ppo(cfg.kl_coef) }
local after = judge("eval-ppo", "evaluation: PPO-ptx", {
  model = runs[1].model,
  reference = sft.model,
  text = paths.test,
  count = 0,
})
for coef in coefs_of(cfg.curve_kl_coefs) do
  runs[#runs + 1] = ppo(tonumber(coef))
end
for _, one in ipairs(runs) do
  one.points = curve(one, before.score)
end

-- 6. Figures and report ---------------------------------------------------------------------------
local figures = {
  gold_sft = before.score,
  gold_sft_ci95 = before.score_ci95,
  gold_ppo = after.score,
  gold_ppo_ci95 = after.score_ci95,
  gold_gain = after.gain,
  gold_ci95 = after.gain_ci95,
  kl = after.kl,
  win_rate = after.win_rate,
  rm_accuracy = rm.rm_accuracy,
  labeler_agreement = agreement,
  labeler_noise = noise,
  rankings = #ranked,
  ptx_loss_sft = before.text_loss,
  ptx_loss_ppo = after.text_loss,
  best_of = best_of,
  held_out_openings = after.prompts,
  weights_hash = after.weights_hash,
  stage_seconds = stages.seconds,
}
present.write(run.dir, figures, runs, { sft = sft, rm = rm, examples = after.examples })
figures.seconds = run:seconds()
run:summary(figures)
run:close()
if not cfg.quiet then print(pl.format.safe(present.table(figures, runs))) end
return figures
