--- A real assistant made brief: SFT and GRPO with LoRA on SmolLM2-135M-Instruct.
--
-- The model answers at length. It is to answer in 8 to 30 words that end in a full stop and name
-- the subject of the question (smollm/brief.lua), which it seldom does by itself. (1) Questions of
-- public instruction sets are dealt to training and held-out side. (2) SFT on the demonstrations
-- among the training side that keep the brief. (3) GRPO from there against the brief, with a KL to
-- the SFT model. Policy, reference and value are adapters on one frozen base in memory, held as its
-- file has it. (4) The model as it came, after SFT and after GRPO answer the held-out questions.
-- With `text` GRPO has a pretraining loss on most of its lines, and the loss on the others is told.
--
-- Any model with a chat template will do; `perilune fetch smollm2` gets this one.

local pl = require("perilune")

local cfg = pl.config {
  name = "smollm",
  about = "SFT and GRPO with LoRA on a real assistant, towards brief answers",
  "Models and data",
  { model = "", "model folder or GGUF file to start from", required = true },
  {
    questions = "",
    "files of self-instruct's or MT-bench's form, with commas between",
    required = true,
  },
  { held_out = 64, "questions that training does not see", min = 2 },
  { max_words = 40, "longer questions are left out", min = 4 },
  { text = "", "plain text whose loss is to stay: trained with γ, measured on lines held out" },
  { text_held_out = 200, "lines of it that are measured and not trained on", min = 1 },
  { response_length = 48, "longest answer, tokens", min = 4 },
  { temperature = 0.7, "of every answer, in training and evaluation", over = 0 },
  "Adapters",
  { peft_r = 16, "rank of the adapters", min = 1 },
  { peft_alpha = 32.0, "they are scaled by alpha / r", over = 0 },
  { base_dtype = "kept", "what the frozen base is held in", choices = { "kept", "float32" } },
  "Supervised fine-tuning",
  { demonstrations = 64, "answers to train on, at most", min = 1 },
  { sft_epochs = 4, "passes over them", min = 1 },
  { sft_learning_rate = "warmup(2, cosine(0.0003, 0.00003))", "of SFT", min = 0, schedule = true },
  "GRPO",
  { total_episodes = 1120, "answers trained on in the whole run", min = 4 },
  { batch_size = 32, "answers trained on in one iteration", min = 4 },
  { num_generations = 4, "K: answers to each question", min = 2 },
  { dynamic_sampling = 2, "times that groups with equal rewards are drawn anew", min = 0 },
  { num_mini_batches = 2, "steps in a pass", min = 1 },
  {
    learning_rate = "warmup(3, linear(0.001, 0.0002))",
    "of the policy",
    min = 0,
    schedule = true,
  },
  { kl_coef = 0.02, "β: weight of the per-token KL to the SFT model", min = 0 },
  { ptx_coef = 0.03, "γ: weight of the loss on `text`", min = 0, schedule = true },
  { ptx_batch_ratio = 0.125, "pieces of `text` for each answer", min = 0 },
  "All stages",
  pl.config.precision(),
}
local present = require("smollm.present")
local questions = require("smollm.questions")

local LONGEST <const> = 160 -- prompt, in tokens; with the template's own
local PIECE <const> = 128 -- of text, in tokens

local run = pl.run.open(cfg)
local stages = pl.stages.new(run, 5)

-- 1. Questions ------------------------------------------------------------------------------------
local rows = questions.read(cfg.questions)
local short = questions.short(rows, cfg.max_words)
local train, held_out = questions.deal(short, cfg.held_out, cfg.seed)
local demonstrations = questions.demonstrations(train, cfg.demonstrations)
local paths = {
  prompts = stages:write("prompts.jsonl", questions.prompts(train)),
  held_out = stages:write("held-out.jsonl", questions.prompts(held_out)),
  demonstrations = stages:write("demonstrations.jsonl", demonstrations),
  judge = stages:write("brief.lua", 'return require("smollm.brief").judge()\n'),
}
stages:say(
  "%d questions, %d of at most %d words: %d to train, %d held out; %d demonstrations",
  #rows,
  #short,
  cfg.max_words,
  #train,
  #held_out,
  #demonstrations
)

local ptx, measured = {}, {}
if cfg.text ~= "" then
  local all, repeated = questions.lines(cfg.text)
  local what = "lines of text " .. cfg.text
  local lines, apart = questions.deal(all, cfg.text_held_out, cfg.seed, what)
  ptx = {
    ptx_dataset = stages:write("text-train.jsonl", lines),
    ptx_coef = tostring(cfg.ptx_coef),
    ptx_batch_ratio = cfg.ptx_batch_ratio,
    ptx_length = PIECE,
  }
  measured = { text = stages:write("text-held-out.jsonl", apart), text_length = PIECE }
  stages:say(
    "text %s: %d lines to train, %d held out, %d repeated ones left out",
    cfg.text,
    #lines,
    #apart,
    repeated
  )
end

local function with(settings, more)
  for key, value in pairs(more) do
    settings[key] = value
  end
  return settings
end

-- What the trained models have in common: an adapter each, on the same frozen base.
local function with_adapter(settings)
  return with(settings, {
    peft = { r = cfg.peft_r, alpha = cfg.peft_alpha },
    base_dtype = cfg.base_dtype,
  })
end

-- 2. SFT ------------------------------------------------------------------------------------------
local sft = stages:stage(
  "sft",
  "sft",
  "SFT on the demonstrations",
  with_adapter {
    model = cfg.model,
    dataset = paths.demonstrations,
    max_length = LONGEST + cfg.response_length,
    num_train_epochs = cfg.sft_epochs,
    batch_size = 8,
    learning_rate = cfg.sft_learning_rate,
  }
)

-- 3. GRPO -----------------------------------------------------------------------------------------
local grpo = stages:stage(
  "grpo",
  "grpo",
  "GRPO towards the brief",
  with_adapter(with({
    model = sft.model,
    reward_function = paths.judge,
    dataset = paths.prompts,
    max_prompt_length = LONGEST,
    response_length = cfg.response_length,
    total_episodes = cfg.total_episodes,
    batch_size = cfg.batch_size,
    num_generations = cfg.num_generations,
    dynamic_sampling = cfg.dynamic_sampling,
    num_mini_batches = cfg.num_mini_batches,
    micro_batch_tokens = 1024,
    missing_eos_rule = "none", -- an answer that does not end has no reward already
    loss_type = "dapo",
    scale_rewards = "batch",
    kl_placement = "reward",
    kl_estimator = "k1",
    kl_coef = cfg.kl_coef,
    learning_rate = cfg.learning_rate,
    temperature = cfg.temperature,
    ema_decay = 0.0,
  }, ptx))
)

-- 4. Held-out questions ---------------------------------------------------------------------------
local function judge(folder, title, model, reference)
  local settings = {
    model = model,
    reference = reference,
    dataset = paths.held_out,
    reward_function = paths.judge,
    max_prompt_length = LONGEST,
    response_length = cfg.response_length,
    temperature = cfg.temperature,
    count = 0,
  }
  return stages:stage("eval", folder, title, with(settings, measured))
end
local evals = {
  base = judge("eval-base", "evaluation: the model as it came", cfg.model),
  sft = judge("eval-sft", "evaluation: after SFT", sft.model),
  grpo = judge("eval-grpo", "evaluation: after GRPO", grpo.model, sft.model),
}

local figures = present.figures(evals, grpo.history, cfg)
figures.held_out = #held_out
figures.demonstrations = #demonstrations
figures.stage_seconds = stages.seconds
present.write(run.dir, figures, evals, { sft = sft.history, grpo = grpo.history })
run:summary(figures, { model = grpo.model, next = { "perilune", "chat", grpo.model } })
if not cfg.quiet then print(pl.format.safe(present.table(figures))) end
run:close()
return figures
