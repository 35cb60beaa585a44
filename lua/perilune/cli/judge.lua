--- `perilune judge MODEL[,MODEL...] --rankings FILE [--key value]`: how far a reward model can be
-- followed: accuracy, calibration, and gold of the answers it chooses.
--
-- Several models, or heads of one, judge together; each is shown, and how far they are apart.
-- --reference and --likelihood_coef judge as PPO with a likelihood_coef learns to answer. With
-- --gold, a reward function that knows the truth: the correlation with it within prompts, and the
-- gold of the best of n of the ranked answers, chosen by the model and by gold itself. With
-- --policy and --prompts as well, that of the best of up to --best_of answers the policy gives
-- (recipes/eval.lua, whose run goes to --output_dir).

local companions = require("perilune.learn.companions")
local config = require("perilune.config")
local data = require("perilune.data")
local format = require("perilune.base.format")
local json = require("perilune.base.json")
local list = require("perilune.base.list")
local ranking = require("perilune.learn.ranking")
local score = require("perilune.learn.score")
local speaker = require("perilune.cli.support.speaker")

local usage = "perilune judge MODEL[,MODEL...] --rankings FILE [--key value]"

local function settings(args)
  return config {
    name = "judge",
    about = "accuracy, calibration and best of n of a reward model",
    usage = usage,
    args = args,
    keep = { "threads", "seed" },
    "What it is judged on",
    { rankings = "", "JSON Lines of {prompt, completions, ranks} or {prompt, chosen, rejected}" },
    { gold = "", "Lua file of f(prompts, answers, rows, ended) -> scores: the truth", code = true },
    speaker.template,
    { max_length = 2048, "sets with a longer answer are left out, tokens", min = 2 },
    "Models",
    config.ensemble(),
    { reference = "", "language model folder that has a say too, by likelihood_coef" },
    {
      likelihood_coef = 0.0,
      "of the reference's log-prob of an answer, added to its score",
      min = 0,
    },
    speaker.precision,
    { micro_batch_tokens = 16384, "tokens in one forward", min = 1 },
    "Best of n of a policy's answers",
    { policy = "", "model folder that answers; nothing: none" },
    { prompts = "", "JSON Lines of {prompt} or {messages}" },
    { count = 256, "how many of them; 0: all", min = 0 },
    { best_of = 32, "answers to each", min = 2 },
    { response_length = 64, "longest answer, tokens", min = 1 },
    { output_dir = "runs/judge", "folder of that run" },
    "Output",
    { json = false, "all figures as one JSON object" },
  }
end

local function judge_of(cfg, tok, path, gold)
  return score.open({
    reward_model = path,
    reward_function = gold,
    reward_ensemble = cfg.reward_ensemble,
    reward_deviations = cfg.reward_deviations,
  }, tok, { precision = cfg.precision }, "--gold")
end

-- The model whose log-probs have a say, among those that are to fit together; nil: none has.
local function reference_of(cfg, models)
  if cfg.likelihood_coef == 0 then return nil end
  local model = companions.load("reference", cfg.reference, { precision = cfg.precision }):freeze()
  table.insert(models, 1, { name = "reference", path = cfg.reference, model = model })
  return model
end

-- Accuracy, calibration and gold on ranked sets, as a table.
local function on_rankings(cfg, path)
  local tok = companions.tokenizer("the reward model", score.paths(path)[1] or path)
  local judge = judge_of(cfg, tok, path, "")
  local together, models = list.append({}, judge.models), {}
  local reference = reference_of(cfg, together)
  local half = score.misread(judge.models, cfg.likelihood_coef)
  local doubts = { half }
  if reference then
    list.append(doubts, score.estranged(judge.models, cfg.likelihood_coef, cfg.reference))
  end
  for _, doubt in ipairs(doubts) do
    io.stderr:write("beware: ", format.safe(doubt), "\n")
  end
  companions.check(together)
  for i, one in ipairs(together) do
    models[i] = one.model
  end
  local template, longest = data.template(cfg.template, tok), data.room(models, cfg.max_length)
  local sets = data.ranked(tok, template, cfg.rankings, longest)
  data.required(sets, "rankings", cfg.rankings)
  local ranks = {}
  for i = 1, #sets do
    ranks[i] = sets[i].ranks
  end
  local members, names = judge:members(sets, cfg.micro_batch_tokens)
  local scores = judge:merged(members)
  if reference then
    local said = score.likelihoods_of_sets(reference, sets, cfg.micro_batch_tokens)
    scores = score.with_likelihoods(scores, said, cfg.likelihood_coef)
  end
  local figures = ranking.calibration(ranking.gaps(scores, ranks))
  figures.sets, figures.counts = #sets, sets.counts
  figures.labelers = ranking.by_labeler(scores, sets)
  local gold = cfg.gold ~= "" and judge_of(cfg, tok, "", cfg.gold):sets(sets)
  if gold then figures.gold = ranking.against(scores, gold, ranks) end
  if #members > 1 then
    local sizes = {}
    for i, of_set in ipairs(ranks) do
      sizes[i] = #of_set
    end
    figures.disagreement, figures.members = ranking.disagreement(members, sizes), {}
    for m, own in ipairs(members) do
      figures.members[m] = {
        name = names[m],
        accuracy = ranking.calibration(ranking.gaps(own, ranks)).eval_accuracy,
        correlation = gold and ranking.against(own, gold, ranks).correlation or nil,
      }
    end
  end
  return figures
end

local function interval(value, ci95)
  local low, high = table.unpack(ci95)
  return ("%.4f (%.4f to %.4f)"):format(value, low, high)
end

local function print_rankings(figures)
  local account = format.safe(data.account(figures.counts))
  print(("%d pairs of %d sets (%s)"):format(figures.eval_pairs, figures.sets, account))
  print("accuracy " .. interval(figures.eval_accuracy, figures.eval_accuracy_ci95))
  print(("calibration error %.4f"):format(figures.eval_calibration_error))
  local rows = {}
  for tenth = 50, 90, 10 do
    local right = figures[("eval_accuracy_p%d"):format(tenth)]
    if right then
      rows[#rows + 1] =
        { ("%d to %d %%"):format(tenth, tenth + 10), ("%.1f %%"):format(100 * right) }
    end
  end
  print(format.columns(rows, { head = { "sure by", "right" } }))
  local names = list.keys(figures.labelers)
  rows = {}
  for i, name in ipairs(names) do
    local own = figures.labelers[name]
    rows[i] = { format.safe(name), interval(own.accuracy, own.ci95), own.pairs }
  end
  if #names > 1 then print(format.columns(rows, { head = { "labeler", "accuracy", "pairs" } })) end
end

-- Each member of an ensemble beside what they are together.
local function print_members(figures)
  local rows = {}
  for i, own in ipairs(figures.members) do
    local told = own.correlation and ("%.4f"):format(own.correlation) or "-"
    rows[i] = { format.safe(own.name), ("%.4f"):format(own.accuracy), told }
  end
  local head = { "member", "accuracy", "correlation with gold" }
  print(format.columns(rows, { head = head }))
  print(("disagreement within prompts %.4f"):format(figures.disagreement))
end

local function print_gold(gold)
  if gold.correlation then
    print(("correlation with gold within prompts %.4f"):format(gold.correlation))
  end
  if gold.accuracy then
    print("pairs ordered as gold does " .. interval(gold.accuracy, gold.accuracy_ci95))
  end
  local rows = {}
  for i, point in ipairs(gold.best_of) do
    rows[i] = { point.n, ("%.4f"):format(point.chosen), ("%.4f"):format(point.oracle), point.sets }
  end
  print(format.columns(rows, { head = { "best of", "gold, chosen", "oracle", "sets" } }))
end

-- What does not fit together in the keys, or nil.
local function misfit(cfg)
  if cfg.rankings == "" and cfg.policy == "" then
    return "give --rankings FILE, or --policy MODEL and --prompts FILE"
  elseif cfg.likelihood_coef > 0 and cfg.reference == "" then
    return "likelihood_coef wants a --reference whose log-probs they are"
  elseif (cfg.policy == "") ~= (cfg.prompts == "") then
    return "--policy and --prompts go together"
  elseif cfg.policy ~= "" and cfg.gold == "" then
    return "the best of a policy's answers wants a --gold to be worth something in"
  end
end

local function run(cfg, path)
  local wrong = misfit(cfg)
  if wrong then return nil, wrong end
  local figures = cfg.rankings ~= "" and on_rankings(cfg, path) or {}
  if cfg.rankings ~= "" and not cfg.json then
    print_rankings(figures)
    if figures.members then print_members(figures) end
    if figures.gold then print_gold(figures.gold) end
  end
  if cfg.policy ~= "" then
    judge_of(cfg, nil, "", cfg.gold) -- by its own key, where it cannot be used
    local ok, found = pcall(config.run_recipe, "eval", {
      model = cfg.policy,
      dataset = cfg.prompts,
      reward_function = cfg.gold,
      chooser = path,
      reference = cfg.reference,
      likelihood_coef = cfg.likelihood_coef,
      reward_ensemble = cfg.reward_ensemble,
      reward_deviations = cfg.reward_deviations,
      template = cfg.template,
      count = cfg.count,
      best_of = cfg.best_of,
      response_length = cfg.response_length,
      precision = cfg.precision,
      seed = cfg.seed,
      output_dir = cfg.output_dir,
      overwrite_output_dir = true,
      quiet = cfg.json,
    })
    if not ok then -- the recipe has another name for it
      error(type(found) == "string" and found:gsub("^reward_function ", "--gold ") or found, 0)
    end
    figures.best_of = found.best_of
  end
  if cfg.json then print(json.encode(figures)) end
  return true
end

return function(args) return speaker.command("judge", usage, settings, run, args) end
