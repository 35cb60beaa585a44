--- Learning from a reward that is checked: a tiny model learns to sort digits, or to add numbers,
-- from nothing but whether its answers are right.
--
-- (1) Problems are drawn; some are held out. A model of a few thousand weights is made that knows
-- nothing, with a tokenizer of digits. (2) A short SFT on a few demonstrations: enough that some of
-- its answers are right, far from most. (3) GRPO (recipes/grpo.lua) with a reward of 1 for the
-- right answer and 0 for any other, checked by a Lua function. (4) Greedy answers to the held-out
-- problems, before and after.

local pl = require("perilune")

local cfg = pl.config {
  name = "sort",
  about = "sort digits or add numbers, learnt from a checked reward",
  "Problems",
  { task = "sort", "digits in order, or the sum of two numbers", choices = { "sort", "sum" } },
  { size = 0, "digits to sort, or of each number; 0: 6 and 2", min = 0, max = 12 },
  { problems = 4096, "to train on", min = 8 },
  { held_out = 512, "that training does not see", min = 8 },
  "The model",
  { width = 48, "numbers a token", min = 8 },
  { layers = 3, "blocks", min = 1 },
  { heads = 3, "attention heads; divides width", min = 1 },
  "Supervised fine-tuning",
  { demonstrations = 0, "problems with their answers; 0: 96 to sort, 384 to add", min = 0 },
  { sft_epochs = 0, "passes over them; 0: 20 to sort, 40 to add", min = 0 },
  { sft_learning_rate = "cosine(0.003, 0.0003)", "of SFT", min = 0, schedule = true },
  "GRPO",
  { total_episodes = 65536, "answers in the whole run", min = 8 },
  { batch_size = 512, "answers in one iteration", min = 8 },
  { num_generations = 8, "K: answers to a problem", min = 2 },
  { num_mini_batches = 4, "steps in a pass", min = 1 },
  { loss_type = "dapo", "of recipes/grpo.lua" },
  { cliprange_high = 0.28, "ε above a ratio of 1", min = 0 },
  { dynamic_sampling = 1, "times that groups with equal scores are drawn anew", min = 0 },
  { kl_coef = 0.0, "β: weight of the KL to the start", min = 0, schedule = true },
  {
    learning_rate = "warmup(10, linear(0.001, 0.0001))",
    "of the policy",
    min = 0,
    schedule = true,
  },
  check = function(c)
    if c.width % c.heads ~= 0 then return "heads must divide width" end
  end,
}
local problems = require("sort.problems")

local run = pl.run.open(cfg)
local stages = pl.stages.new(run, 4)
local size = cfg.size > 0 and cfg.size or (cfg.task == "sort" and 6 or 2)
local answer_length = size + 2 -- a sum has one digit more than its numbers; and the end

-- 1. Problems, and a model that knows nothing -----------------------------------------------------
local rows = problems.draw(cfg.task, size, cfg.problems + cfg.held_out, cfg.seed)
local held = math.max(1, math.min(cfg.held_out, #rows // 4))
local function part(first, last) return table.move(rows, first, last, 1, {}) end
local few = cfg.task == "sort" and { demonstrations = 96, epochs = 20 }
  or { demonstrations = 384, epochs = 40 }
if cfg.demonstrations > 0 then few.demonstrations = cfg.demonstrations end
if cfg.sft_epochs > 0 then few.epochs = cfg.sft_epochs end
local shown = math.min(few.demonstrations, #rows - held)
local paths = {
  held_out = stages:write("held-out.jsonl", part(1, held)),
  train = stages:write("problems.jsonl", part(held + 1, #rows)),
  demonstrations = stages:write("demonstrations.jsonl", part(held + 1, held + shown)),
  checker = stages:write(
    "checker.lua",
    ("return require(%q).checker(%q)\n"):format("sort.problems", cfg.task)
  ),
}
local start = run.dir .. "/base"
problems.new_model(start, {
  width = cfg.width,
  layers = cfg.layers,
  heads = cfg.heads,
  context = 64,
  seed = cfg.seed,
})

local function judge(folder, title, model)
  return stages:stage("eval", folder, title, {
    model = model,
    dataset = paths.held_out,
    reward_function = paths.checker,
    count = 0,
    temperature = 0.0,
    response_length = answer_length,
  })
end

-- 2. A few demonstrations -------------------------------------------------------------------------
start = stages:stage("sft", "sft", "SFT on a few demonstrations", {
  model = start,
  dataset = paths.demonstrations,
  num_train_epochs = few.epochs,
  batch_size = 32,
  learning_rate = cfg.sft_learning_rate,
}).model
local before = judge("eval-start", "evaluation: before GRPO", start)

-- 3. GRPO against the checker ---------------------------------------------------------------------
local trained = stages:stage("grpo", "grpo", "GRPO: 1 for the right answer, else 0", {
  model = start,
  dataset = paths.train,
  reward_function = paths.checker,
  eval_dataset = paths.held_out,
  eval_count = 256,
  response_length = answer_length,
  total_episodes = cfg.total_episodes,
  batch_size = cfg.batch_size,
  num_generations = cfg.num_generations,
  num_mini_batches = cfg.num_mini_batches,
  slots = cfg.batch_size,
  loss_type = cfg.loss_type,
  cliprange_high = cfg.cliprange_high,
  dynamic_sampling = cfg.dynamic_sampling,
  kl_coef = cfg.kl_coef,
  missing_eos_rule = "none", -- an answer without an end is wrong already
  learning_rate = cfg.learning_rate,
  ema_decay = 0.0,
})

-- 4. Held-out problems ----------------------------------------------------------------------------
local after = judge("eval-grpo", "evaluation: after GRPO", trained.model)
local figures = {
  right_before = before.score,
  right_before_ci95 = before.score_ci95,
  right = after.score,
  right_ci95 = after.score_ci95,
  held_out = after.prompts,
  weights_hash = after.weights_hash,
  stage_seconds = stages.seconds,
}
run:summary(figures, { model = trained.model })
run:close()
if not cfg.quiet then
  local text = "right on %d held-out problems: %.1f %% before GRPO, %.1f %% after"
  print(text:format(figures.held_out, 100 * figures.right_before, 100 * figures.right))
end
return figures
