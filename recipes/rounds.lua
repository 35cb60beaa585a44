--- Rounds: the newest policy's answers are ranked, a reward model learns the rankings, a policy
-- learns from the reward model, and its answers are ranked next (Ouyang et al. 2022,
-- arXiv:2203.02155, section 3.1: steps 2 and 3 can be iterated).
--
-- One round: (a) the newest policy answers prompts of its own, K times each, of which `choice` may
-- take those that tell the reward model most; (b) a labeler ranks them: a Lua function, or people;
-- (c) a reward model is trained from the first policy on the rankings of all rounds and judged on
-- answers of the newest policy that it has not seen, beside the reward model of the round before:
-- what that one has lost is what the policy has found out about it; (d) a policy is trained against
-- it; (e) a judge that no training sees, when there is one, tells what it is worth.
--
-- People rank between two runs: without `labeler` a round writes data/round-N-to-rank.jsonl and
-- ends; rows come back as data/round-N-ranked.jsonl, the same with `ranks` (1 is best; ties share a
-- rank) and maybe `labeler`, and --resume goes on.

local pl = require("perilune")
local data = pl.data

local cfg = pl.config {
  name = "rounds",
  about = "rank, train a reward model, train a policy, and again from the new policy's answers",
  "Models and data",
  { model = "", "SFT model folder: the first policy, and the KL reference", required = true },
  { dataset = "", "prompts: JSON Lines of {prompt} or {messages}", required = true },
  {
    labeler = "",
    "Lua file of f(prompt, answers, row) -> ranks; nothing: people rank files",
    code = true,
  },
  { judge = "", "Lua file of a reward function that no training sees", code = true },
  { eval_dataset = "", "held-out prompts for the judge" },
  { ptx_dataset = "", "pretraining text: .txt or JSON Lines of {text}" },
  {
    template = "auto",
    "chat template: auto (the model's own), none, plain, chatml, a .jinja file",
  },
  "Rounds",
  { rounds = 3, "how many", min = 1 },
  { rank_prompts = 512, "prompts whose answers are ranked in a round", min = 2 },
  { answers = 4, "K, answers to each", min = 2, max = 64 },
  {
    held_out = 0.125,
    "part of a round's prompts that the reward model is judged on",
    over = 0,
    under = 1,
  },
  {
    choice = "random",
    "what is ranked from round 2 on: any answers, or those that the heads of the reward model "
      .. "disagree on, or whose order it is unsure of",
    choices = { "random", "disagreement", "uncertainty" },
  },
  { candidates = 4, "prompts that are answered for each one chosen", min = 1 },
  {
    policy_start = "first",
    "where the policy of a round starts, and what its KL is to: the first, or the newest",
    choices = { "first", "newest" },
  },
  "Reward model",
  { rm_heads = 1, "heads on its trunk", min = 1, max = 64 },
  { rm_epochs = 1, "passes over the rankings", min = 1 },
  { rm_batch_size = 16, "prompts in a step", min = 1 },
  { rm_learning_rate = "cosine(0.00001, 0.000001)", "of it", min = 0, schedule = true },
  "Policy",
  { method = "ppo", "recipe that trains it", choices = { "ppo", "rloo", "grpo" } },
  { total_episodes = 4096, "answers in a round's run", min = 1 },
  { batch_size = 128, "answers in one iteration", min = 1 },
  { num_mini_batches = 2, "steps in a pass", min = 1 },
  { response_length = 64, "longest answer, tokens", min = 1 },
  { temperature = 1.0, "of all sampling", over = 0 },
  {
    missing_eos_rule = "subtract",
    "for answers that do not end",
    choices = { "none", "subtract", "replace" },
  },
  { kl_coef = 0.05, "β", min = 0, schedule = true },
  { learning_rate = 1e-5, "of the policy", min = 0, schedule = true },
  { value_learning_rate = 1e-5, "of ppo's value model", min = 0, schedule = true },
  { ptx_coef = 0.0, "γ: weight of the pretraining loss", min = 0, schedule = true },
  "All stages",
  pl.config.precision(),
  check = function(c)
    if (c.judge == "") ~= (c.eval_dataset == "") then
      return "judge and eval_dataset go together"
    elseif c.ptx_coef:fixed() ~= 0 and c.ptx_dataset == "" then
      return "ptx_coef wants a ptx_dataset"
    elseif c.choice == "disagreement" and c.rm_heads < 2 then
      return "choice disagreement wants rm_heads of 2 or more"
    end
  end,
}
local rankings = require("rounds.rankings")

local run = pl.run.open(cfg)
local stages = pl.stages.new(run, cfg.rounds * (cfg.judge ~= "" and 3 or 2))
local tok = pl.companions.tokenizer("model", cfg.model)
local template = data.template(cfg.template, tok)
local labeler = cfg.labeler ~= "" and rankings.labeler(cfg.labeler) or nil
local room, too_long = pl.companions.room(
  { { name = "model", path = cfg.model, model = pl.companions.writer("model", cfg.model) } },
  math.maxinteger,
  cfg.response_length
)
local prompts =
  data.required(data.prompts(tok, template, cfg.dataset, room, too_long), "dataset", cfg.dataset)
local prompt_at = data.stream(#prompts, cfg.seed, "rounds.prompts")

-- (a) Answers of a policy to the prompts of a round: rows to be ranked. Those that a reward model
-- is judged on are any; the others are chosen by the one before, when there is one.
local function sample(policy, round, reward)
  local scope <close> = pl.scope("rounds.answers")
  local speaker = pl.companions.load("model", policy, { precision = cfg.precision }):freeze()
  local questions, asked, keys = {}, {}, {}
  local chooses = cfg.choice ~= "random" and reward ~= nil
  local each = cfg.choice == "random" and cfg.rank_prompts or cfg.rank_prompts * cfg.candidates
  local any = rankings.held_out(cfg.rank_prompts, cfg.held_out)
  local count = chooses and any + (cfg.rank_prompts - any) * cfg.candidates or cfg.rank_prompts
  for i = 1, count do
    keys[i] = (round - 1) * each + i
    asked[i] = prompts[prompt_at(keys[i])]
    questions[i] = asked[i].tokens
  end
  local answers = pl.generate(speaker, questions, {
    max_tokens = cfg.response_length,
    samples = cfg.answers,
    temperature = cfg.temperature,
    seed = cfg.seed,
    stream = "rounds.answers",
    keys = keys,
    stop = data.stop_ids(tok, template),
  })
  local rows = rankings.rows(tok, asked, answers, round)
  if not chooses then return rows end
  local how = { reward_ensemble = "mean", reward_deviations = 1 }
  local judge = pl.score.ensemble("reward_model", reward, how, tok, { precision = cfg.precision })
  local worth = rankings.worth(judge, asked, answers, cfg.choice)
  return rankings.choose(rows, worth, any, cfg.rank_prompts)
end

-- (b) The ranked rows of a round; nil when people have not ranked them yet, and where they are.
local function ranked(policy, round, reward)
  local stem = ("round-%d"):format(round)
  local path = ("%s/data/%s-ranked.jsonl"):format(run.dir, stem)
  local part = ("%s/data/%s-part.jsonl"):format(run.dir, stem)
  if not cfg.resume then rankings.put_aside(path, part) end -- those of a run before this one
  if cfg.resume and pl.files.read(path) then return data.rows(path) end
  local rows = sample(policy, round, reward)
  if not labeler then return nil, stages:write(stem .. "-to-rank.jsonl", rows), path end
  local before = cfg.resume and pl.files.read(part) and data.rows(part) or {}
  local function keep(done) stages:write(stem .. "-part.jsonl", done) end
  rankings.rank(rows, labeler, before, keep)
  stages:write(stem .. "-ranked.jsonl", rows)
  pl.files.remove(part)
  return rows
end

-- (c) A reward model of all rankings so far, and how it and the one before it judge the newest.
local function reward_model(round, known, before)
  local train = stages:write(("rankings-%d.jsonl"):format(round), known.train)
  local newest = stages:write(("held-out-%d.jsonl"):format(round), known.newest)
  local trained = stages:stage("reward", ("reward-%d"):format(round), "reward model", {
    model = cfg.model,
    dataset = train,
    eval_dataset = newest,
    template = cfg.template,
    num_heads = cfg.rm_heads,
    num_train_epochs = cfg.rm_epochs,
    batch_size = cfg.rm_batch_size,
    learning_rate = cfg.rm_learning_rate,
  })
  local sets = data.ranked(tok, template, newest, room)
  local function accuracy(path)
    local model = pl.companions.load("reward_model", path, { precision = cfg.precision }):freeze()
    local scores, ranks = pl.score.sets(model, sets)
    return pl.ranking.calibration(pl.ranking.gaps(scores, ranks)).eval_accuracy
  end
  return trained.model, accuracy(trained.model), before and accuracy(before), newest
end

-- (d) A policy against it.
local function policy_of(round, start, reward, held_out)
  local settings = {
    model = start,
    reward_model = reward,
    dataset = cfg.dataset,
    eval_rankings = held_out,
    ptx_dataset = cfg.ptx_dataset,
    ptx_coef = cfg.ptx_coef,
    template = cfg.template,
    total_episodes = cfg.total_episodes,
    batch_size = cfg.batch_size,
    num_mini_batches = cfg.num_mini_batches,
    response_length = cfg.response_length,
    temperature = cfg.temperature,
    missing_eos_rule = cfg.missing_eos_rule,
    kl_coef = cfg.kl_coef,
    learning_rate = cfg.learning_rate,
    value_learning_rate = cfg.method == "ppo" and cfg.value_learning_rate or nil,
  }
  local title = ("%s, round %d"):format(cfg.method, round)
  return stages:stage(cfg.method, ("%s-%d"):format(cfg.method, round), title, settings)
end

-- (e) What the judge says of a policy; nothing without one.
local function judged(round, policy)
  if cfg.judge == "" then return {} end
  return stages:stage("eval", ("eval-%d"):format(round), "evaluation", {
    model = policy,
    reference = cfg.model,
    dataset = cfg.eval_dataset,
    reward_function = cfg.judge,
    template = cfg.template,
    response_length = cfg.response_length,
    temperature = cfg.temperature,
    count = 0,
  })
end

-- The loop ----------------------------------------------------------------------------------------
local newest, reward, history = cfg.model, nil, {}
local known = { train = {}, newest = {} }
for round = 1, cfg.rounds do
  local rows, to_rank, back = ranked(newest, round, reward)
  if not rows then
    local text = "round %d waits for rankings: add `ranks` to the rows of %s, save them as %s, "
      .. "then go on with --resume"
    stages:say(text, round, to_rank, back)
    break
  end
  known.newest = rankings.deal(rows, cfg.held_out, cfg.seed, known.train)
  local trained, accuracy, accuracy_before, held_out = reward_model(round, known, reward)
  reward = trained
  local start = cfg.policy_start == "first" and cfg.model or newest
  local policy = policy_of(round, start, reward, held_out)
  newest = policy.model
  local last, found = policy.history[#policy.history] or {}, judged(round, newest)
  history[round] = {
    round = round,
    rankings = #known.train,
    rm_accuracy = accuracy,
    rm_accuracy_before = accuracy_before,
    score = last["objective/scores"],
    kl = found.kl or last["objective/kl"],
    gold = found.score,
    gold_ci95 = found.score_ci95,
    gold_start = found.reference_score,
  }
  run:log(round, {
    rm_accuracy = accuracy,
    rm_accuracy_before = accuracy_before,
    ["objective/scores"] = last["objective/scores"],
    ["objective/kl"] = history[round].kl,
    gold = found.score,
  })
end

local figures = {
  rounds = #history,
  history = history,
  kl = history[1] and history[#history].kl,
  gold = history[1] and history[#history].gold,
  model = newest,
  reward_model = reward,
  stage_seconds = stages.seconds,
}
run:summary(figures)
run:close()
if not cfg.quiet and history[1] then print(pl.format.safe(rankings.table(history))) end
return figures
