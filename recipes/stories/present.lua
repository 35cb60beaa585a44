--- What the stories recipe shows: a table, curve.json and report.html.

local pl = require "perilune"

local present = {}

--- The figures and the curves as text.
function present.table(figures, runs)
  local rows = {
    { "SFT", figures.gold_sft, figures.gold_sft_ci95[1], figures.gold_sft_ci95[2], 0.0,
      figures.ptx_loss_sft },
    { ("PPO-ptx, β %g"):format(runs[1].kl_coef), figures.gold_ppo, figures.gold_ppo_ci95[1],
      figures.gold_ppo_ci95[2], figures.kl, figures.ptx_loss_ppo },
  }
  for _, best in ipairs(figures.best_of or {}) do
    rows[#rows + 1] = { ("SFT, best of %d"):format(best.n), best.score, best.ci95[1], best.ci95[2],
      best.kl }
  end
  local parts = { pl.format.columns(rows,
    { head = { "model", "gold", "from", "to", "KL, nats", "text loss" } }) }
  parts[#parts + 1] = ("PPO over SFT %+.3f (%.3f to %.3f); reward model right on %.1f %% of "
    .. "held-out pairs; labelers agree on %.1f %%; %.0f s"):format(figures.gold_gain,
    figures.gold_ci95[1], figures.gold_ci95[2], 100 * figures.rm_accuracy,
    100 * figures.labeler_agreement, figures.seconds)
  return table.concat(parts, "\n")
end

local function column(rows, x, y)
  local xs, ys = {}, {}
  for _, row in ipairs(rows) do
    if row[x] and row[y] then
      xs[#xs + 1], ys[#ys + 1] = row[x], row[y]
    end
  end
  return xs, ys
end

local function chart(title, x_label, y_label, series)
  return pl.plot.chart { title = title, x_label = x_label, y_label = y_label, series = series }
end

local function line(name, rows, x, y)
  local xs, ys = column(rows, x, y)
  return { name = name, x = xs, y = ys }
end

local function curves(figures, runs)
  local series = {}
  for _, one in ipairs(runs) do
    series[#series + 1] = line(("β %g"):format(one.kl_coef), one.points, "kl", "gold")
  end
  if figures.best_of then
    series[#series + 1] = line("best of n", figures.best_of, "kl", "score")
  end
  return series
end

--- Write curve.json and report.html.
-- @tparam string dir
-- @tparam table figures of summary.json
-- @tparam table runs list of {kl_coef, name, points, history}, the summarised one first
-- @tparam table parts `sft`, `rm` (what the recipes returned), `examples` of the evaluation
function present.write(dir, figures, runs, parts)
  local list = {}
  for i, one in ipairs(runs) do
    list[i] = { kl_coef = one.kl_coef, points = one.points }
  end
  assert(pl.files.write_json(dir .. "/curve.json", { runs = list, best_of = figures.best_of }))

  local main = runs[1].history
  local r = pl.report.new { title = "Stories, steered",
    subtitle = "SFT, reward model and PPO-ptx on a trained story model; the gold score is VADER's "
      .. "compound score of the continuation, free of noise, on held-out openings" }
  r:tiles {
    { "PPO over SFT", ("%+.3f"):format(figures.gold_gain), ("95 %%: %.3f to %.3f, %d openings")
      :format(figures.gold_ci95[1], figures.gold_ci95[2], figures.held_out_openings) },
    { "KL to SFT", ("%.2f"):format(figures.kl), "nats a continuation" },
    { "reward model", ("%.1f %%"):format(100 * figures.rm_accuracy), "of held-out pairs" },
    { "text loss", ("%.4f"):format(figures.ptx_loss_ppo),
      ("SFT %.4f"):format(figures.ptx_loss_sft) },
  }
  r:heading("Gold against KL")
  r:chart(pl.plot.chart { title = "held-out openings, along training", x_label = "KL, nats",
    y_label = "gold score", series = curves(figures, runs), width = 960, height = 360 },
    "Each line begins at SFT. Best of n by the true score is what a perfect judge would reach.")
  r:heading("Training"):charts {
    chart("reward model", "step", "part of pairs", { line("right by labeler", parts.rm.history,
      "step", "accuracy") }),
    chart("reward model", "step", "loss", { line("loss", parts.rm.history, "step", "loss") }),
    chart("SFT", "step", "nats a token", { line("loss", parts.sft.history, "step", "loss") }),
    chart("PPO", "iteration", "reward-model score", { line("score", main, "step",
      "objective/scores") }),
    chart("PPO", "iteration", "nats", { line("KL to SFT", main, "step", "objective/kl") }),
    chart("PPO", "iteration", "nats a token", { line("pretraining loss", main, "step",
      "loss/ptx_avg") }),
    chart("value model", "iteration", "explained variance", { line("explained", main, "step",
      "val/var_explained") }),
    chart("policy", "iteration", "nats an answer", { line("entropy", main, "step",
      "objective/entropy") }),
  }
  local rows = {}
  for i, example in ipairs(parts.examples) do
    rows[i] = { prompt = example.prompt, answers = { example.reference_answer, example.answer },
      scores = { example.reference_score, example.score } }
  end
  r:heading("Continuations"):answers { models = { "SFT", "PPO-ptx" }, rows = rows }
  r:write(dir .. "/report.html")
end

return present
