--- The whole of instruction tuning on an invented world, in minutes: what `perilune demo` runs.
--
-- (1) A world with facts, users who leave a log, labelers; the log goes through the rules
-- (prefixes, cap, split by user, personal data) and becomes the SFT, RM and PPO sets. (2) A model
-- of about a million parameters learns the language from plain text. (3) SFT on demonstrations of
-- mixed quality. (4) The SFT model answers K = 9 times; a hidden labeler ranks; a reward model
-- learns the rankings. (5) PPO-ptx against it, and PPO without the pretraining term. (6) All are
-- judged by the world's own checker, which no training ever saw. Each stage is a recipe of its own,
-- run with settings; this file is the road between them.

local pl = require "perilune"
local data = pl.data

local cfg = pl.config {
  name = "quickstart", about = "pretraining, SFT, reward model and PPO-ptx on an invented world",
  "World",
  { log_rows = 10000, "prompts in the users' log", min = 100 },
  { labeler_rows = 4000, "demonstrations", min = 50 },
  { documents = 26000, "of plain text", min = 100 },
  { rank_prompts = 1400, "prompts the labeler ranks K answers to", min = 8 },
  { answers = 9, "K, answers to each of them", min = 2, max = 9 },
  { eval_prompts = 560, "held-out prompts", min = 8 },
  "Model",
  { hidden_size = 128, "channels", min = 16 },
  { num_hidden_layers = 4, "blocks", min = 1 },
  { intermediate_size = 512, "channels of the feed-forward part", min = 16 },
  "Training",
  { pretrain_epochs = 1, "passes over the text", min = 1 },
  { sft_epochs = 5, "passes over the demonstrations", min = 1 },
  { total_episodes = 5120, "answers in the PPO run", min = 64 },
  { kl_coef = 0.3, "β of PPO", min = 0, schedule = true },
  { ptx_coef = 1.0, "γ of PPO-ptx", min = 0, schedule = true },
  { ppo_learning_rate = "warmup(3, 0.00007, 0.1)", "of the policy", min = 0, schedule = true },
}
local datasets = require "quickstart.datasets"
local labelers = require "quickstart.labelers"

local run = pl.run.open(cfg)
local dir, began = cfg.output_dir, pl.system.monotonic()
local stage_seconds = {}

local function say(text, ...)
  if not cfg.quiet then io.stderr:write("\n== ", text:format(...), "\n") end
end

-- Runs a recipe into a folder of this run; both take the same seed.
local function stage(title, recipe, name, settings)
  say("%s  (%s)", title, pl.format.duration(pl.system.monotonic() - began))
  settings.output_dir, settings.seed, settings.quiet = dir .. "/" .. name, cfg.seed, cfg.quiet
  settings.threads = cfg.threads
  if cfg.resume
    and recipe ~= "eval" then settings.resume = "latest" -- stages that are done end at once
  else settings.overwrite_output_dir = true end
  local from = pl.system.monotonic()
  local result = pl.config.run_recipe(recipe, settings)
  stage_seconds[name] = pl.system.monotonic() - from
  return result
end

local function write(name, rows)
  local lines = {}
  for i, row in ipairs(rows) do lines[i] = pl.json.encode(row) end
  assert(pl.files.write_atomic(dir .. "/data/" .. name, table.concat(lines, "\n") .. "\n"))
  return dir .. "/data/" .. name
end

local function first(list, n) return table.move(list, 1, math.min(n, #list), 1, {}) end

-- 1. The world and its three data sets ------------------------------------------------------------
say("a world, its users and labelers")
assert(pl.system.mkdir_p(dir .. "/data"))
local built = datasets.build { seed = cfg.seed, rows = cfg.log_rows,
  labeler_rows = cfg.labeler_rows,
  documents = cfg.documents }
local function prompt_rows(rows)
  local list = {}
  for i, row in ipairs(rows) do
    list[i] = { messages = row.messages, task = row.task, world = cfg.seed, source = row.source,
      user_id = row.user_id, use_case = row.use_case }
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
local sets = built.sets
local paths = {
  text = dir .. "/data/text.txt", held_out = dir .. "/data/text-validation.txt",
  sft = write("sft.jsonl", demonstration_rows(sets.sft.train)),
  sft_valid = write("sft-validation.jsonl", demonstration_rows(first(sets.sft.valid, 200))),
  ppo = write("ppo.jsonl", prompt_rows(sets.ppo.train)),
  test = write("test.jsonl", prompt_rows(first(built.sides.test, cfg.eval_prompts))),
}
assert(pl.files.write_atomic(paths.text, table.concat(built.text.train, "\n\n") .. "\n"))
assert(pl.files.write_atomic(paths.held_out, table.concat(built.text.validation, "\n\n") .. "\n"))
local rule_rows = {}
for i, r in ipairs(built.reports) do
  local reasons = {}
  for reason, n in pairs(r.reasons or {}) do reasons[#reasons + 1] = ("%s %d"):format(reason, n) end
  table.sort(reasons)
  rule_rows[i] = { r.rule, r.rows_in, r.rows_out, table.concat(reasons, ", ") }
end
if not cfg.quiet then
  io.stderr:write(pl.format.columns(rule_rows, { head = { "rule", "rows in", "rows out",
    "why" } }), "\n")
end

-- 2. Pretraining ----------------------------------------------------------------------------------
local template = data.template("plain")
local special = { "<|begin|>", "<|eos|>" }
for _, name in ipairs(pl.chat.control_names(template)) do special[#special + 1] = name end
local tok = pl.tokenizer.train { texts = { table.concat(built.vocabulary, " ") }, kind = "word",
  vocab_size = #built.vocabulary + #special + 8, special = special }
tok:set_special { bos = "<|begin|>", eos = "<|eos|>" }
assert(pl.system.mkdir_p(dir .. "/tokenizer"))
assert(tok:save(dir .. "/tokenizer"))
local base = stage("pretraining: the language, from plain text", "pretrain", "pretrain", {
  text = paths.text, eval_text = paths.held_out, tokenizer = dir .. "/tokenizer", context = 64,
  hidden_size = cfg.hidden_size, num_hidden_layers = cfg.num_hidden_layers,
  intermediate_size = cfg.intermediate_size, num_attention_heads = 4, num_key_value_heads = 2,
  num_train_epochs = cfg.pretrain_epochs, batch_size = 16,
  learning_rate = "warmup(50, cosine(0.002, 0.0002))" })

-- 3. SFT, with a tenth of pretraining text --------------------------------------------------------
local sft = stage("SFT: demonstrations of labelers", "sft", "sft", {
  model = base.model, dataset = paths.sft, eval_dataset = paths.sft_valid, template = "plain",
  ptx_dataset = paths.text, ptx_fraction = 0.1, ptx_length = 64, max_length = 192,
  num_train_epochs = cfg.sft_epochs, batch_size = 24, learning_rate = "cosine(0.001, 0.0001)" })

-- 4. Rankings and the reward model ----------------------------------------------------------------
say("the hidden labeler ranks K = %d answers to each of %d prompts", cfg.answers, cfg.rank_prompts)
local stop = data.stop_id(tok, template)
local function ranked(rows, labeler, seed)
  local model = assert(pl.load(sft.model)):freeze()
  local asked = data.prompts(tok, template, rows, 192)
  local questions, lists = {}, {}
  for i, prompt in ipairs(asked) do questions[i] = prompt.tokens end
  local answers = pl.generate(model, questions, { max_tokens = 24, samples = cfg.answers,
    seed = seed, stop = { stop } })
  for i, prompt in ipairs(asked) do
    local texts, tokens = {}, {}
    for k = 1, cfg.answers do
      local answer = answers[(i - 1) * cfg.answers + k]
      tokens[k] = answer.tokens
      texts[k] = { text = tok:decode(answer.tokens, { skip_special = true }),
        finished = answer.finish_reason == "stop" }
    end
    lists[i] = { messages = prompt.row.messages, completion_tokens = tokens,
      ranks = labeler:rank(prompt.row.task, texts),
      source = prompt.row.source, user_id = prompt.row.user_id }
  end
  return lists
end
local w = built.world
local rankings = write("rankings.jsonl",
  ranked(first(prompt_rows(sets.rm.train), cfg.rank_prompts), labelers.hidden(w, "trainer"),
    cfg.seed + 1))
-- Held-out pairs are judged by the same tastes without noise.
local judged = write("rankings-test.jsonl",
  ranked(first(prompt_rows(sets.rm.test), 150), labelers.hidden(w, "judge", { noise = 0 }),
    cfg.seed + 2))
local rm = stage("reward model", "reward", "reward", {
  model = sft.model, dataset = rankings, eval_dataset = judged, demonstrations = paths.sft_valid,
  template = "plain", batch_size = 16, num_train_epochs = 3,
  learning_rate = "cosine(0.0007, 0.00005)" })

-- 5. PPO-ptx, and PPO without the pretraining term ------------------------------------------------
local function ppo(title, name, ptx_coef)
  return stage(title, "ppo", name, {
    model = sft.model, reward_model = rm.model, dataset = paths.ppo, ptx_dataset = paths.text,
    template = "plain", max_prompt_length = 192, total_episodes = cfg.total_episodes,
      batch_size = 128,
    num_mini_batches = 2, response_length = 24, slots = 128, missing_eos_rule = "subtract",
    kl_coef = cfg.kl_coef, ptx_coef = ptx_coef, ptx_batch_ratio = 0.25, ptx_length = 64,
    learning_rate = cfg.ppo_learning_rate, value_learning_rate = 0.0006, ema_decay = 0.0 })
end
local with_ptx = ppo("PPO-ptx", "ppo", cfg.ptx_coef)
local without = ppo("PPO without pretraining gradients", "ppo-noptx", 0.0)

-- 6. Evaluation by the world's checker ------------------------------------------------------------
local function judge(title, name, model, best_of)
  return stage(title, "eval", name, { model = model, reference = sft.model, dataset = paths.test,
    reward_function = package.searchpath("quickstart.gold", package.path),
    template = "plain", response_length = 24,
    text = paths.held_out, text_length = 64, best_of = best_of, count = cfg.eval_prompts })
end
local of = {
  base = judge("evaluation: base", "eval-base", base.model, 1),
  sft = judge("evaluation: SFT and its best of n", "eval-sft", sft.model, 16),
  ppo = judge("evaluation: PPO-ptx", "eval-ppo", with_ptx.model, 1),
  noptx = judge("evaluation: PPO", "eval-noptx", without.model, 1),
}

-- Figures, table, report --------------------------------------------------------------------------
local figures = {
  score_base = of.base.score, score_base_ci95 = of.base.score_ci95,
  score_sft = of.sft.score, score_sft_ci95 = of.sft.score_ci95,
  score_ppo = of.ppo.score, score_ppo_ci95 = of.ppo.score_ci95,
  score_ppo_noptx = of.noptx.score, score_ppo_noptx_ci95 = of.noptx.score_ci95,
  gain = of.ppo.gain, gain_ci95 = of.ppo.gain_ci95, win_rate = of.ppo.win_rate,
  kl = of.ppo.kl, kl_noptx = of.noptx.kl, rm_accuracy = rm.rm_accuracy, best_of_n = of.sft.best_of,
  ptx_loss_base = of.base.text_loss, ptx_loss_sft = of.sft.text_loss,
    ptx_loss_ppo = of.ppo.text_loss,
  ptx_loss_ppo_noptx = of.noptx.text_loss, weights_hash = of.ppo.weights_hash,
  stage_seconds = stage_seconds, seconds = pl.system.monotonic() - began,
}
local rows = {}
local function row(name, e)
  rows[#rows + 1] = { name, ("%.3f"):format(e.score), ("%.3f to %.3f"):format(e.score_ci95[1],
    e.score_ci95[2]),
    name == "SFT" and "0" or ("%.2f"):format(e.kl), ("%.3f"):format(e.text_loss) }
end
row("base", of.base)
row("SFT", of.sft)
row("PPO-ptx", of.ppo)
row("PPO", of.noptx)
for _, best in ipairs(of.sft.best_of) do
  if best.n > 1 then
    rows[#rows + 1] = { ("SFT, best of %d"):format(best.n), ("%.3f"):format(best.score),
      ("%.3f to %.3f"):format(best.ci95[1], best.ci95[2]), ("%.2f"):format(best.kl), "" }
  end
end
local head = { "model", "score", "95 % interval", "KL to SFT", "text loss" }
print("\n" .. pl.format.columns(rows, { head = head }))
print(("reward model: %.1f %% of held-out pairs in the labeler's order; %s in all\n"):format(
  100 * rm.rm_accuracy, pl.format.duration(figures.seconds)))
local shown = {}
for i = 1, #of.ppo.examples do
  shown[i] = { prompt = of.ppo.examples[i].prompt, answers = {}, scores = {} }
  for k, e in ipairs { of.base, of.sft, of.ppo } do
    shown[i].answers[k], shown[i].scores[k] = e.examples[i].answer, e.examples[i].score
  end
  if i <= 4 then
    print("prompt   " .. shown[i].prompt)
    for k, who in ipairs { "base", "SFT", "PPO-ptx" } do
      print(("  %-8s %.2f  %s"):format(who, shown[i].scores[k], shown[i].answers[k]))
    end
  end
end

local function series(name, history, x, y, smooth)
  local xs, ys = {}, {}
  for _, r in ipairs(history) do
    if r[y] and (x == nil or r[x]) then xs[#xs + 1], ys[#ys + 1] = x and r[x] or r.step, r[y] end
  end
  return { name = name, x = xs, y = ys, smooth = smooth }
end
local chart = pl.plot.chart
pl.report.new { title = "Perilune: instruction tuning on an invented world",
  subtitle = ("base, SFT and PPO judged by the world's own checker; seed %d, %s"):format(cfg.seed,
    pl.format.duration(figures.seconds)) }
  :tiles { { "score of PPO-ptx", ("%.2f"):format(of.ppo.score),
    ("SFT %.2f, base %.2f"):format(of.sft.score, of.base.score) },
    { "PPO over SFT", ("%+.2f"):format(of.ppo.gain), ("%.2f to %.2f"):format(of.ppo.gain_ci95[1],
      of.ppo.gain_ci95[2]) },
    { "win rate over SFT", ("%.0f %%"):format(100 * of.ppo.win_rate) },
    { "reward model", ("%.0f %%"):format(100 * rm.rm_accuracy), "of held-out pairs in order" } }
  :heading("Scores"):table { head = head, rows = rows }
  :heading("Answers, side by side"):answers { models = { "base", "SFT", "PPO-ptx" }, rows = shown }
  :heading("Training"):charts {
    chart { title = "Pretraining loss", x_label = "step", y_label = "nats a token",
      series = { series("loss", base.history, nil, "loss", 0.8) } },
    chart { title = "SFT loss", x_label = "step", y_label = "nats a token",
      series = { series("training", sft.history, nil, "loss", 0.8), series("validation",
      sft.history, nil, "eval_loss") } },
    chart { title = "Reward model accuracy", x_label = "step", y_label = "pairs in order",
      series = { series("accuracy", rm.history, nil, "accuracy", 0.8) } },
    chart { title = "Reward against KL", x_label = "KL to SFT, nats an answer",
      y_label = "reward-model score", series = {
      series("PPO-ptx", with_ptx.history, "objective/kl", "objective/raw_scores"), series("PPO",
        without.history, "objective/kl", "objective/raw_scores") } },
    chart { title = "Reward over iterations", x_label = "iteration",
      y_label = "reward-model score", series = {
      series("PPO-ptx", with_ptx.history, nil, "objective/raw_scores"), series("PPO",
        without.history, nil, "objective/raw_scores") } },
    chart { title = "Pretraining loss during PPO", x_label = "iteration", y_label = "nats a token",
      series = { series("PPO-ptx", with_ptx.history, nil, "loss/ptx_avg", 0.8) } } }
  :heading("Where the data went"):table { head = { "rule", "rows in", "rows out", "why" },
    rows = rule_rows }
  :write(dir .. "/report.html")
run:summary(figures)
run:close()
print("\nreport: " .. dir .. "/report.html")
return figures
