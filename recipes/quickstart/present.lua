--- What quickstart.lua shows: tables for the terminal, answers side by side, report.html.
--
-- `evals` are results of the recipe eval: `base`, `sft` (with best of n), `ppo`, `noptx`.

local pl = require("perilune")

local present = {}

local HEAD <const> = {
  "model",
  "score",
  "95 % interval",
  "beside best of n",
  "content",
  "courteous",
  "KL to SFT",
  "text loss",
}
local RULES_HEAD <const> = { "rule", "rows in", "rows out", "why" }
local MODELS <const> = { "base", "SFT", "PPO-ptx" } -- whose answers are shown
local EXAMPLES <const> = 4 -- on the terminal

local function interval(ci95) return ("%.3f to %.3f"):format(ci95[1], ci95[2]) end

-- The score of the best of n that the reward model chooses, at a KL: on straight lines between the
-- points of the curve; nil beyond its end.
local function chosen_at(points, kl)
  for i = 2, #points do
    local a, b = points[i - 1], points[i]
    if kl <= b.kl then return a.chosen + (b.chosen - a.chosen) * (kl - a.kl) / (b.kl - a.kl) end
  end
end

--- What a policy's score is more than that of the best of n at the same KL to the SFT model.
-- @tparam table eval of the policy
-- @tparam table points `best_of` of the SFT model's evaluation
-- @treturn ?number nil beyond the end of the curve
function present.beside(eval, points)
  local there = chosen_at(points, math.max(0, eval.kl))
  return there and eval.score - there
end

-- Gold is content times the manners of what is right.
local function manners(eval) return eval.content > 0 and eval.score / eval.content or 0 end

--- What a policy's gold gained over the SFT model's, told apart: the score is the mean content C
-- times M = score / C, the manners of what is right, so of C'M' - CM the part
-- (C' - C)(M + M')/2 is content's and (M' - M)(C + C')/2 is manners'.
-- @tparam table eval of the policy, with `score` and `content`
-- @tparam table sft that of the SFT model
-- @treturn {[string]=number} for a summary: `gained_content`, `gained_manners`, and what a content
-- and manners of 1 would have gained, `missing_content`, `missing_manners`
function present.gained(eval, sft)
  local function parts(c, m)
    local from = manners(sft)
    return (c - sft.content) * (from + m) / 2, (m - from) * (sft.content + c) / 2
  end
  local figures = {}
  figures.gained_content, figures.gained_manners = parts(eval.content, manners(eval))
  figures.missing_content, figures.missing_manners = parts(1, 1)
  return figures
end

local function model_row(name, eval, kl, points)
  local beside = points and present.beside(eval, points)
  return {
    name,
    ("%.3f"):format(eval.score),
    interval(eval.score_ci95),
    beside and pl.format.fixed("%+.3f", beside) or "",
    ("%.2f"):format(eval.content),
    ("%.2f"):format(eval.courteous),
    kl or pl.format.fixed("%.2f", eval.kl),
    ("%.3f"):format(eval.text_loss),
  }
end

local function model_rows(evals)
  local curve = evals.sft.best_of
  local rows = {
    model_row("base", evals.base),
    model_row("SFT", evals.sft, "0"),
    model_row("PPO-ptx", evals.ppo, nil, curve),
    model_row("PPO", evals.noptx, nil, curve),
  }
  local function best_row(best, who, score, ci95)
    rows[#rows + 1] = {
      ("SFT, best of %d by %s"):format(best.n, who),
      ("%.3f"):format(score),
      interval(ci95),
      "",
      "",
      "",
      ("%.2f"):format(best.kl),
      "",
    }
  end
  for _, best in ipairs(curve) do
    if best.n > 1 then best_row(best, "the reward", best.chosen, best.chosen_ci95) end
  end
  local last = curve[#curve]
  best_row(last, "the judge (oracle)", last.oracle, last.oracle_ci95)
  return rows
end

local function rule_rows(reports)
  local rows = {}
  for i, entry in ipairs(reports) do
    local reasons = {}
    for reason, n in pairs(entry.reasons) do
      reasons[#reasons + 1] = ("%s %d"):format(reason, n)
    end
    table.sort(reasons)
    rows[i] = { entry.rule, entry.rows_in, entry.rows_out, table.concat(reasons, ", ") }
  end
  return rows
end

-- What the models answer to the same prompts, and the scores.
local function answer_rows(evals)
  local rows = {}
  for i, example in ipairs(evals.ppo.examples) do
    rows[i] = { prompt = example.prompt, answers = {}, scores = {} }
    for k, eval in ipairs { evals.base, evals.sft, evals.ppo } do
      rows[i].answers[k] = eval.examples[i].answer
      rows[i].scores[k] = eval.examples[i].score
    end
  end
  return rows
end

--- What the rules did, as a table of text.
-- @tparam table reports of pl.rules.run
-- @treturn string
function present.rules(reports)
  local rows = rule_rows(reports)
  return pl.format.columns(rows, { head = RULES_HEAD })
end

-- What PPO-ptx gained in content and in manners, and what the SFT model lacked of each.
local function gained(figures)
  local function told(part)
    local share = pl.format.fixed("%+.3f", figures["gained_" .. part])
    return ("%s %s of %.3f"):format(part, share, figures["missing_" .. part])
  end
  return ("gained by PPO-ptx, of what was missing: %s, %s\n"):format(
    told("content"),
    told("manners")
  )
end

local function correlation(figures)
  local value = figures.rm_correlation
  return "correlation with the judge within prompts " .. (value and ("%.2f"):format(value) or "-")
end

--- What the terminal shows at the end: scores, and some answers.
-- @tparam table figures of summary.json
-- @tparam table evals
-- @treturn string
function present.text(figures, evals)
  local lines = {
    "",
    pl.format.columns(model_rows(evals), { head = HEAD }),
    ("%s: %.1f %% of held-out pairs in the labeler's order, %s; %s in all\n"):format(
      (figures.likelihood_coef or 0) > 0 and "reward model and log-probs" or "reward model",
      100 * figures.rm_accuracy,
      correlation(figures),
      pl.format.duration(figures.seconds)
    ),
    gained(figures),
  }
  local rows = answer_rows(evals)
  local line = "  %-8s %.2f  %s"
  for i = 1, math.min(EXAMPLES, #rows) do
    lines[#lines + 1] = "prompt   " .. rows[i].prompt
    for k, model in ipairs(MODELS) do
      lines[#lines + 1] = line:format(model, rows[i].scores[k], rows[i].answers[k])
    end
  end
  return table.concat(lines, "\n")
end

local function chart(title, x_label, y_label, series)
  return pl.plot.chart { title = title, x_label = x_label, y_label = y_label, series = series }
end

local function training_charts(of)
  local series = pl.plot.series
  local score = "objective/raw_scores"
  return {
    chart("Pretraining loss", "step", "nats a token", {
      series("loss", of.pretrain, "step", "loss", 0.8),
    }),
    chart("SFT loss", "step", "nats a token", {
      series("training", of.sft, "step", "loss", 0.8),
      series("validation", of.sft, "step", "eval_loss"),
    }),
    chart("Reward model accuracy", "step", "pairs in order", {
      series("accuracy", of.reward, "step", "accuracy", 0.8),
    }),
    chart("Reward against KL", "KL to SFT, nats an answer", "reward-model score", {
      series("PPO-ptx", of.ppo, "objective/kl", score),
      series("PPO", of.noptx, "objective/kl", score),
    }),
    chart("Reward over iterations", "iteration", "reward-model score", {
      series("PPO-ptx", of.ppo, "step", score),
      series("PPO", of.noptx, "step", score),
    }),
    chart("Pretraining loss during PPO", "iteration", "nats a token", {
      series("PPO-ptx", of.ppo, "step", "loss/ptx_avg", 0.8),
    }),
  }
end

local function tiles(figures)
  return {
    {
      "score of PPO-ptx",
      ("%.2f"):format(figures.score_ppo),
      ("SFT %.2f, base %.2f"):format(figures.score_sft, figures.score_base),
    },
    {
      "PPO over SFT",
      pl.format.fixed("%+.2f", figures.gain),
      ("%.2f to %.2f"):format(figures.gain_ci95[1], figures.gain_ci95[2]),
    },
    { "win rate over SFT", ("%.0f %%"):format(100 * figures.win_rate) },
    {
      "reward model",
      ("%.0f %%"):format(100 * figures.rm_accuracy),
      ("of held-out pairs in order; correlation with the judge %.2f"):format(
        figures.rm_correlation
      ),
    },
  }
end

--- Writes report.html.
-- @tparam string path
-- @tparam table figures of summary.json
-- @tparam table evals
-- @tparam table of `seed`, `rules` (the reports), and histories: `pretrain`, `sft`, `reward`,
--   `ppo`, `noptx`
function present.report(path, figures, evals, of)
  local report = pl.report.new {
    title = "Perilune: instruction tuning on an invented world",
    subtitle = ("base, SFT and PPO judged by the world's own checker; seed %d, %s"):format(
      of.seed,
      pl.format.duration(figures.seconds)
    ),
  }
  report:tiles(tiles(figures))
  report:heading("Scores")
  report:table { head = HEAD, rows = model_rows(evals) }
  report:heading("Answers, side by side")
  report:answers { models = MODELS, rows = answer_rows(evals) }
  report:heading("Training")
  report:charts(training_charts(of))
  report:heading("Where the data went")
  report:table { head = RULES_HEAD, rows = rule_rows(of.rules) }
  report:write(path)
end

return present
