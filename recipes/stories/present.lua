--- What the stories recipe shows: a table, curve.json and report.html.

local pl = require("perilune")

local present = {}

local HEAD <const> = { "model", "gold", "from", "to", "KL, nats", "text loss" }

--- The figures as text.
-- @tparam table figures of summary.json
-- @tparam table runs as for `write`
-- @treturn string
function present.table(figures, runs)
  local function row(name, gold, ci95, kl, text_loss)
    return { name, gold, ci95[1], ci95[2], kl, text_loss }
  end
  local ppo_name = ("PPO-ptx, β %g"):format(runs[1].kl_coef)
  local rows = {
    row("SFT", figures.gold_sft, figures.gold_sft_ci95, 0.0, figures.ptx_loss_sft),
    row(ppo_name, figures.gold_ppo, figures.gold_ppo_ci95, figures.kl, figures.ptx_loss_ppo),
  }
  for _, best in ipairs(figures.best_of or {}) do
    local name = ("SFT, best of %d by RM"):format(best.n)
    rows[#rows + 1] = row(name, best.chosen, best.chosen_ci95, best.kl)
  end
  local gain = ("PPO over SFT %+.3f (%.3f to %.3f)"):format(
    figures.gold_gain,
    figures.gold_ci95[1],
    figures.gold_ci95[2]
  )
  local people = "reward model right on %.1f %% of held-out pairs; labelers agree on %.1f %%"
  return ("%s\n%s; %s; %.0f s"):format(
    pl.format.columns(rows, { head = HEAD }),
    gain,
    people:format(100 * figures.rm_accuracy, 100 * figures.labeler_agreement),
    figures.seconds
  )
end

local series = pl.plot.series

local function chart(title, x_label, y_label, name, rows, y)
  return pl.plot.chart {
    title = title,
    x_label = x_label,
    y_label = y_label,
    series = { series(name, rows, "step", y) },
  }
end

-- Gold against KL: a line for each run, and two for best of n: chosen by the reward model, and by
-- the judge itself.
local function curves(figures, runs)
  local lines = {}
  for i, one in ipairs(runs) do
    lines[i] = series(("β %g"):format(one.kl_coef), one.points, "kl", "gold")
  end
  if figures.best_of then
    lines[#lines + 1] = series("best of n, chosen by the RM", figures.best_of, "kl", "chosen")
    lines[#lines + 1] = series("best of n, oracle", figures.best_of, "kl", "oracle")
  end
  return lines
end

local function training_charts(parts, ppo)
  local rm, sft = parts.rm.history, parts.sft.history
  return {
    chart("reward model", "step", "part of pairs", "right by labeler", rm, "accuracy"),
    chart("reward model", "step", "loss", "loss", rm, "loss"),
    chart("SFT", "step", "nats a token", "loss", sft, "loss"),
    chart("PPO", "iteration", "reward-model score", "score", ppo, "objective/scores"),
    chart("PPO", "iteration", "nats", "KL to SFT", ppo, "objective/kl"),
    chart("PPO", "iteration", "nats a token", "pretraining loss", ppo, "loss/ptx_avg"),
    chart("value model", "iteration", "explained variance", "explained", ppo, "val/var_explained"),
    chart("policy", "iteration", "nats an answer", "entropy", ppo, "objective/entropy"),
  }
end

local function tiles(figures)
  return {
    {
      "PPO over SFT",
      pl.format.fixed("%+.3f", figures.gold_gain),
      ("95 %%: %.3f to %.3f, %d openings"):format(
        figures.gold_ci95[1],
        figures.gold_ci95[2],
        figures.held_out_openings
      ),
    },
    { "KL to SFT", pl.format.fixed("%.2f", figures.kl), "nats a continuation" },
    { "reward model", ("%.1f %%"):format(100 * figures.rm_accuracy), "of held-out pairs" },
    {
      "text loss",
      ("%.4f"):format(figures.ptx_loss_ppo),
      ("SFT %.4f"):format(figures.ptx_loss_sft),
    },
  }
end

local function answer_rows(examples)
  local rows = {}
  for i, example in ipairs(examples) do
    rows[i] = {
      prompt = example.prompt,
      answers = { example.reference_answer, example.answer },
      scores = { example.reference_score, example.score },
    }
  end
  return rows
end

--- Writes curve.json and report.html.
-- @tparam string dir
-- @tparam table figures of summary.json
-- @tparam table runs list of {kl_coef, points, history}, the summarised one first
-- @tparam table parts `sft`, `rm` (what the recipes returned), `examples` of the evaluation
function present.write(dir, figures, runs, parts)
  local list = {}
  for i, one in ipairs(runs) do
    list[i] = { kl_coef = one.kl_coef, points = one.points }
  end
  assert(pl.files.write_json(dir .. "/curve.json", { runs = list, best_of = figures.best_of }))

  local r = pl.report.new {
    title = "Stories, steered",
    subtitle = "SFT, reward model and PPO-ptx on a trained story model; the gold score is VADER's "
      .. "compound score of the continuation, free of noise, on held-out openings",
  }
  r:tiles(tiles(figures))
  r:heading("Gold against KL")
  local gold_against_kl = pl.plot.chart {
    title = "held-out openings, along training",
    x_label = "KL, nats",
    y_label = "gold score",
    series = curves(figures, runs),
    width = 960,
    height = 360,
  }
  r:chart(
    gold_against_kl,
    "Each line begins at SFT. Best of n by the true score is what a perfect judge would reach."
  )
  r:heading("Training")
  r:charts(training_charts(parts, runs[1].history))
  r:heading("Continuations")
  r:answers { models = { "SFT", "PPO-ptx" }, rows = answer_rows(parts.examples) }
  r:write(dir .. "/report.html")
end

return present
