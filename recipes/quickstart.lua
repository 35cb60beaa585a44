--- The whole of instruction tuning on an invented world, in minutes: what `perilune demo` runs.
--
-- (1) A world with facts, users who leave a log, labelers; the log goes through the rules
-- (prefixes, cap, split by user, personal data) and becomes the SFT, RM and PPO sets. (2) A model
-- of about two million parameters learns the language from plain text, and last from text of what
-- takes a second look. (3) SFT on demonstrations of mixed quality. (4) The SFT model answers K = 9
-- times; a hidden labeler ranks; a reward model learns of them what the SFT model's own log-probs
-- do not tell: facts are known to these. (5) PPO-ptx against both, and PPO without the pretraining
-- term. (6) All are judged by the world's own checker, which no training ever saw. Each stage is a
-- recipe of its own, run with settings; this file is the road between them.

local pl = require("perilune")
local data = pl.data

local cfg = pl.config {
  name = "quickstart",
  about = "pretraining, SFT, reward model and PPO-ptx on an invented world",
  "World",
  { log_rows = 10000, "prompts in the users' log", min = 100 },
  { labeler_rows = 10000, "demonstrations", min = 50 },
  { documents = 60000, "of plain text", min = 100 },
  { practice_documents = 8000, "of claims and comparisons, read last", min = 30 },
  { rank_prompts = 2000, "prompts the labeler ranks K answers to", min = 8 },
  { answers = 9, "K, answers to each of them", min = 2, max = 9 },
  { eval_prompts = 560, "held-out prompts", min = 8 },
  "Model",
  { hidden_size = 192, "channels", min = 16 },
  { num_hidden_layers = 4, "blocks", min = 1 },
  { intermediate_size = 576, "channels of the feed-forward part", min = 16 },
  "Training",
  { pretrain_epochs = 1, "passes over the text", min = 1 },
  { sft_epochs = 4, "passes over the demonstrations", min = 1 },
  { total_episodes = 7680, "answers in the PPO run", min = 64 },
  { likelihood_coef = 0.25, "w of the SFT model's log-probs beside the reward model", min = 0 },
  { kl_coef = 0.05, "β of PPO", min = 0, schedule = true },
  { ptx_coef = 1.0, "γ of PPO-ptx", min = 0, schedule = true },
  { ppo_learning_rate = "warmup(3, 0.00025, 0.1)", "of the policy", min = 0, schedule = true },
  {
    precision = "bf16",
    "of products of matrices; bf16: of their operands rounded to bfloat16",
    choices = { "float32", "bf16" },
  },
}
local datasets = require("quickstart.datasets")
local labelers = require("quickstart.labelers")
local present = require("quickstart.present")

local LONGEST <const> = 192 -- tokens of a prompt, or of an example with its answer
local LONGEST_ANSWER <const> = 24
local PIECE <const> = 64 -- of pretraining text
local PAIRS_OF_HEADS <const> = math.max(1, cfg.hidden_size // 64)

local run = pl.run.open(cfg)
local stages = pl.stages.new(run, 10)

local function first(list, n) return table.move(list, 1, math.min(n, #list), 1, {}) end

-- 1. The world and its three data sets ------------------------------------------------------------
stages:say("a world, its users and labelers")
local built = datasets.build {
  seed = cfg.seed,
  rows = cfg.log_rows,
  labeler_rows = cfg.labeler_rows,
  documents = cfg.documents,
  practice_documents = cfg.practice_documents,
}
local world, sets = built.world, built.sets

-- What the recipes read of prompts: the checker finds the task and its world beside the messages.
local function prompt_rows(rows)
  local list = {}
  for i, row in ipairs(rows) do
    list[i] = {
      messages = row.messages,
      task = row.task,
      world = cfg.seed,
      source = row.source,
      user_id = row.user_id,
      use_case = row.use_case,
    }
  end
  return list
end

local function demonstration_rows(rows)
  local list = prompt_rows(rows)
  for i, row in ipairs(rows) do
    local messages = table.move(row.messages, 1, #row.messages, 1, {})
    messages[#messages + 1] = { role = "assistant", content = row.answer }
    list[i].messages = messages
  end
  return list
end

local paths = {
  text = stages:write("text.txt", table.concat(built.text.train, "\n\n") .. "\n"),
  practice = stages:write("practice.txt", table.concat(built.text.practice, "\n\n") .. "\n"),
  held_out = stages:write(
    "text-validation.txt",
    table.concat(built.text.validation, "\n\n") .. "\n"
  ),
  sft = stages:write("sft.jsonl", demonstration_rows(sets.sft.train)),
  sft_valid = stages:write("sft-validation.jsonl", demonstration_rows(first(sets.sft.valid, 200))),
  ppo = stages:write("ppo.jsonl", prompt_rows(sets.ppo.train)),
  test = stages:write("test.jsonl", prompt_rows(first(built.sides.test, cfg.eval_prompts))),
}
if not cfg.quiet then io.stderr:write(present.rules(built.reports), "\n") end

-- 2. Pretraining, with a tokenizer of the world's words -------------------------------------------
local template = data.template("plain")
local special = { "<|begin|>", "<|eos|>" }
for _, name in ipairs(pl.chat.control_names(template)) do
  special[#special + 1] = name
end
local tok = pl.tokenizer.train {
  texts = { table.concat(built.vocabulary, " ") },
  kind = "word",
  vocab_size = #built.vocabulary + #special + 8,
  special = special,
}
tok:set_special { bos = "<|begin|>", eos = "<|eos|>" }
local tokenizer_dir = run.dir .. "/tokenizer"
assert(pl.files.folder_make(tokenizer_dir))
assert(tok:save(tokenizer_dir))

local base = stages:stage("pretrain", "pretrain", "pretraining: the language, from plain text", {
  text = paths.text,
  eval_text = paths.held_out,
  tokenizer = tokenizer_dir,
  context = 64,
  hidden_size = cfg.hidden_size,
  num_hidden_layers = cfg.num_hidden_layers,
  intermediate_size = cfg.intermediate_size,
  num_attention_heads = 2 * PAIRS_OF_HEADS,
  num_key_value_heads = PAIRS_OF_HEADS,
  num_train_epochs = cfg.pretrain_epochs,
  batch_size = 32,
  optimizer = "muon",
  learning_rate = "warmup(30, cosine(0.004, 0.0001))",
})

-- What is learnt last, in a row of its own.
local practised = stages:stage("pretrain", "practice", "pretraining: practice in second looks", {
  model = base.model,
  text = paths.practice,
  eval_text = paths.held_out,
  context = 64,
  batch_size = 32,
  optimizer = "muon",
  learning_rate = "warmup(5, cosine(0.003, 0.0002))",
})

-- 3. SFT, with a little of pretraining text -------------------------------------------------------
local sft = stages:stage("sft", "sft", "SFT: demonstrations of labelers", {
  model = practised.model,
  dataset = paths.sft,
  eval_dataset = paths.sft_valid,
  template = "plain",
  ptx_dataset = paths.text,
  ptx_fraction = 0.04,
  ptx_length = PIECE,
  max_length = LONGEST,
  num_train_epochs = cfg.sft_epochs,
  batch_size = 48,
  optimizer = "muon",
  learning_rate = "warmup(20, cosine(0.0018, 0.00005))",
})

-- 4. Rankings and the reward model ----------------------------------------------------------------
stages:say(
  "the hidden labeler ranks K = %d answers to each of %d prompts",
  cfg.answers,
  cfg.rank_prompts
)

-- K answers of the SFT model to each prompt, ranked by a labeler: rows for the reward model.
local function ranked(rows, labeler, stream)
  local model = assert(pl.load(sft.model, { precision = cfg.precision })):freeze()
  local asked = data.prompts(tok, template, rows, LONGEST)
  local questions, lists = {}, {}
  for i, prompt in ipairs(asked) do
    questions[i] = prompt.tokens
  end
  local answers = pl.generate(model, questions, {
    max_tokens = LONGEST_ANSWER,
    samples = cfg.answers,
    seed = cfg.seed,
    stream = stream,
    stop = data.stop_ids(tok, template),
  })
  for i, prompt in ipairs(asked) do
    local texts, tokens = {}, {}
    for k = 1, cfg.answers do
      local answer = answers[(i - 1) * cfg.answers + k]
      tokens[k] = answer.tokens
      texts[k] = {
        text = tok:decode(answer.tokens, { skip_special = true }),
        finished = answer.finish_reason == "stop",
      }
    end
    lists[i] = {
      messages = prompt.row.messages,
      completion_tokens = tokens,
      ranks = labeler:rank(prompt.row.task, texts),
      source = prompt.row.source,
      user_id = prompt.row.user_id,
      task = prompt.row.task, -- of these, for `perilune judge --gold`
      world = prompt.row.world,
    }
  end
  return lists
end

local trainer = labelers.hidden(world, "trainer")
local to_rank = first(prompt_rows(sets.rm.train), cfg.rank_prompts)
local rankings = stages:write("rankings.jsonl", ranked(to_rank, trainer, "quickstart.rankings"))
-- Held-out pairs are judged by the same tastes without noise.
local exact = labelers.hidden(world, "judge", { noise = 0 })
local to_judge = first(prompt_rows(sets.rm.test), 150)
local judged = stages:write("rankings-test.jsonl", ranked(to_judge, exact, "quickstart.judged"))

local rm = stages:stage("reward", "reward", "reward model", {
  model = sft.model,
  dataset = rankings,
  eval_dataset = judged,
  demonstrations = paths.sft_valid,
  template = "plain",
  batch_size = 16,
  reference = cfg.likelihood_coef > 0 and sft.model or "",
  likelihood_coef = cfg.likelihood_coef,
  num_train_epochs = 1,
  learning_rate = "warmup(20, cosine(0.0003, 0.00002))",
})

-- 5. PPO-ptx, and PPO without the pretraining term ------------------------------------------------
local function ppo(title, folder, text, ptx_coef)
  return stages:stage("ppo", folder, title, {
    model = sft.model,
    reward_model = rm.model,
    dataset = paths.ppo,
    eval_rankings = judged,
    ptx_dataset = text,
    template = "plain",
    max_prompt_length = LONGEST,
    response_length = LONGEST_ANSWER,
    total_episodes = cfg.total_episodes,
    batch_size = 128,
    num_mini_batches = 2,
    slots = 128,
    missing_eos_rule = "subtract",
    kl_coef = cfg.kl_coef,
    likelihood_coef = cfg.likelihood_coef,
    ptx_coef = ptx_coef,
    ptx_batch_ratio = 0.25,
    ptx_length = PIECE,
    learning_rate = cfg.ppo_learning_rate,
    value_learning_rate = 0.0006,
    ema_decay = 0.0,
  })
end
local of_text = cfg.ptx_coef:fixed() == 0 and "" or paths.text
local with_ptx = ppo("PPO-ptx", "ppo", of_text, cfg.ptx_coef)
local without = ppo("PPO without pretraining gradients", "ppo-noptx", "", 0.0)

-- 6. Evaluation by the world's checker ------------------------------------------------------------
local function judge(title, folder, model, best_of, chooser)
  local eval = stages:stage("eval", folder, title, {
    model = model,
    reference = sft.model,
    dataset = paths.test,
    reward_function = package.searchpath("quickstart.gold", package.path),
    template = "plain",
    response_length = LONGEST_ANSWER,
    text = paths.held_out,
    text_length = PIECE,
    best_of = best_of,
    chooser = chooser,
    likelihood_coef = chooser and cfg.likelihood_coef or 0,
    count = cfg.eval_prompts,
  })
  local content, courteous = {}, {}
  for i, row in ipairs(eval.rows) do
    local _, parts = world:check(row.task, { text = eval.texts[i], finished = eval.ended[i] })
    content[i], courteous[i] = parts.content, parts.courteous
  end
  eval.content, eval.courteous = pl.stats.mean(content), pl.stats.mean(courteous)
  return eval
end
local evals = {
  base = judge("evaluation: base", "eval-base", base.model, 1),
  sft = judge("evaluation: SFT and its best of n", "eval-sft", sft.model, 32, rm.model),
  ppo = judge("evaluation: PPO-ptx", "eval-ppo", with_ptx.model, 1),
  noptx = judge("evaluation: PPO", "eval-noptx", without.model, 1),
}

-- Figures, table, report --------------------------------------------------------------------------
local figures = {
  score_base = evals.base.score,
  score_base_ci95 = evals.base.score_ci95,
  score_sft = evals.sft.score,
  score_sft_ci95 = evals.sft.score_ci95,
  score_ppo = evals.ppo.score,
  score_ppo_ci95 = evals.ppo.score_ci95,
  score_ppo_noptx = evals.noptx.score,
  score_ppo_noptx_ci95 = evals.noptx.score_ci95,
  gain = evals.ppo.gain,
  gain_ci95 = evals.ppo.gain_ci95,
  win_rate = evals.ppo.win_rate,
  kl = evals.ppo.kl,
  kl_noptx = evals.noptx.kl,
  beside_best_of = present.beside(evals.ppo, evals.sft.best_of),
  beside_best_of_noptx = present.beside(evals.noptx, evals.sft.best_of),
  content_sft = evals.sft.content,
  content_ppo = evals.ppo.content,
  content_ppo_noptx = evals.noptx.content,
  courteous_sft = evals.sft.courteous,
  courteous_ppo = evals.ppo.courteous,
  courteous_ppo_noptx = evals.noptx.courteous,
  likelihood_coef = cfg.likelihood_coef,
  rm_accuracy = rm.rm_accuracy,
  rm_correlation = evals.sft.chooser_correlation,
  best_of_n = evals.sft.best_of,
  ptx_loss_base = evals.base.text_loss,
  ptx_loss_sft = evals.sft.text_loss,
  ptx_loss_ppo = evals.ppo.text_loss,
  ptx_loss_ppo_noptx = evals.noptx.text_loss,
  weights_hash = evals.ppo.weights_hash,
  stage_seconds = stages.seconds,
  seconds = run:seconds(),
}
for name, value in pairs(present.gained(evals.ppo, evals.sft)) do
  figures[name] = value
end
print(pl.format.safe(present.text(figures, evals)))
local report = run.dir .. "/report.html"
present.report(report, figures, evals, {
  seed = cfg.seed,
  rules = built.reports,
  pretrain = base.history,
  sft = sft.history,
  reward = rm.history,
  ppo = with_ptx.history,
  noptx = without.history,
})
run:summary(figures)
run:close()
print("\nreport: " .. report)
return figures
