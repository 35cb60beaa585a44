--- What the smollm recipe shows: figures, a table, ten answers before and after, report.html.

local pl = require("perilune")

local present = {}

local NAMES <const> = { "base", "sft", "grpo" }
local TITLES <const> = { base = "as it came", sft = "after SFT", grpo = "after GRPO" }
local SHOWN <const> = 10 -- answers before and after

-- Part of the answers that keep the whole brief: their reward is 1.
local function kept(eval)
  local n = 0
  for _, score in ipairs(eval.scores) do
    if score > 1 - 1e-9 then n = n + 1 end
  end
  return pl.stats.rate(n, #eval.scores)
end

--- The figures of summary.json.
-- @tparam table evals `base`, `sft`, `grpo`: what the evaluations returned
-- @tparam {table,...} history of GRPO
-- @tparam Config cfg
-- @treturn table
function present.figures(evals, history, cfg)
  local figures = {
    kl = evals.grpo.kl,
    gain = evals.grpo.gain,
    gain_ci95 = evals.grpo.gain_ci95,
    win_rate = evals.grpo.win_rate,
    weights_hash = evals.grpo.weights_hash,
    episodes = #history * cfg.batch_size,
  }
  for _, name in ipairs(NAMES) do
    local rate = kept(evals[name])
    figures["reward_" .. name] = evals[name].score
    figures["reward_" .. name .. "_ci95"] = evals[name].score_ci95
    figures["kept_" .. name] = rate.mean
    figures["kept_" .. name .. "_ci95"] = { rate.low, rate.high }
    figures["length_" .. name] = evals[name].mean_length
    figures["text_loss_" .. name] = evals[name].text_loss
  end
  local tokens, seconds = 0, 0
  for _, row in ipairs(history) do
    tokens = tokens + (row["completions/mean_length"] or 0) * cfg.batch_size
    seconds = row.time or seconds
  end
  figures.answer_tokens_per_second = seconds > 0 and tokens / seconds or nil
  return figures
end

--- The figures as text.
-- @tparam table figures
-- @treturn string
function present.table(figures)
  local rows = {}
  local function with_interval(name)
    local ci95 = figures[name .. "_ci95"]
    return ("%.3f (%.3f to %.3f)"):format(figures[name], ci95[1], ci95[2])
  end
  for i, name in ipairs(NAMES) do
    rows[i] = {
      TITLES[name],
      with_interval("reward_" .. name),
      with_interval("kept_" .. name),
      ("%.1f"):format(figures["length_" .. name]),
    }
    local text_loss = figures["text_loss_" .. name]
    if text_loss then table.insert(rows[i], ("%.4f"):format(text_loss)) end
  end
  local head = { "model", "reward", "keep the brief", "tokens" }
  if figures.text_loss_base then table.insert(head, "text loss") end
  return ("%s\nGRPO over SFT %+.3f (%.3f to %.3f), KL %.2f nats an answer"):format(
    pl.format.columns(rows, { head = head }),
    figures.gain,
    figures.gain_ci95[1],
    figures.gain_ci95[2],
    figures.kl
  )
end

local function answers(evals)
  local rows = {}
  for i = 1, math.min(SHOWN, #evals.base.examples) do
    local row = { prompt = evals.base.examples[i].row.prompt, answers = {}, scores = {} }
    for k, name in ipairs(NAMES) do
      row.answers[k] = evals[name].examples[i].answer
      row.scores[k] = evals[name].examples[i].score
    end
    rows[i] = row
  end
  return rows
end

--- Writes answers.json (ten answers before and after) and report.html.
-- @tparam string dir
-- @tparam table figures
-- @tparam table evals
-- @tparam table histories `sft`, `grpo`
function present.write(dir, figures, evals, histories)
  local rows = answers(evals)
  assert(pl.files.write_json(dir .. "/answers.json", rows))
  local r = pl.report.new {
    title = "A real assistant, made brief",
    subtitle = "SFT and GRPO with LoRA; the reward of an answer is 1 when it has 8 to 30 words, "
      .. "ends in a full stop and names the subject of its question",
  }
  local tiles = {
    {
      "reward",
      ("%.2f → %.2f"):format(figures.reward_base, figures.reward_grpo),
      "held-out questions",
    },
    {
      "keep the brief",
      ("%.0f %% → %.0f %%"):format(100 * figures.kept_base, 100 * figures.kept_grpo),
    },
    { "KL to SFT", pl.format.fixed("%.2f", figures.kl), "nats an answer" },
  }
  if figures.text_loss_base then
    table.insert(tiles, {
      "text loss",
      ("%.3f → %.3f"):format(figures.text_loss_base, figures.text_loss_grpo),
      "lines held out, nats a token",
    })
  end
  r:tiles(tiles)
  local function chart(title, y_label, history, y)
    return pl.plot.chart {
      title = title,
      x_label = "step",
      y_label = y_label,
      series = { pl.plot.series(y_label, history, "step", y) },
    }
  end
  r:heading("Training"):charts {
    chart("GRPO", "reward", histories.grpo, "objective/scores"),
    chart("GRPO", "KL, nats", histories.grpo, "objective/kl"),
    chart("GRPO", "tokens", histories.grpo, "completions/mean_length"),
    chart("SFT", "loss", histories.sft, "loss"),
  }
  local titles = {}
  for i, name in ipairs(NAMES) do
    titles[i] = TITLES[name]
  end
  r:heading("Answers to held-out questions"):answers { models = titles, rows = rows }
  r:write(dir .. "/report.html")
end

return present
