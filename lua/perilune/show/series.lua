--- What of a run's rows becomes which curve, and how a long curve is thinned.
--
-- A metric has the name and the unit that a person looks for, the important ones first. A curve of
-- more points than a screen has columns keeps, of each stretch of steps, the first, the lowest, the
-- highest and the last point: no peak is lost, and the picture is that of all points. Values that
-- are not finite are kept apart, as the steps at which they stand.

local series = {}

-- Order, title and unit of the metrics that people look at; others follow by name, under "more".
local known = {
  { "objective/scores", "Score", "reward of an answer, after clipping and penalties" },
  { "objective/raw_scores", "Score of the judge", "as the reward model or function gives it" },
  { "objective/kl", "KL to the reference", "nats an answer" },
  { "objective/rlhf_reward", "Reward less KL", "score - kl_coef · KL" },
  { "policy/entropy_avg", "Entropy", "nats a token" },
  { "completions/mean_length", "Length of answers", "tokens" },
  { "loss", "Loss", "" },
  { "accuracy", "Accuracy", "part of pairs in order" },
  { "margin", "Margin", "score of the better less the worse" },
  { "rewards/accuracies", "Accuracy of the policy", "part of pairs in order" },
  { "rewards/margins", "Margin of the policy", "reward of the better less the worse, nats" },
  { "eval_score", "Score, held-out prompts", "as the reward model or function gives it" },
  { "eval_kl", "KL, held-out prompts", "nats an answer" },
  { "eval_gold", "Gold, held-out prompts", "as the judge gives it that trains nothing" },
  { "eval_agreement", "Reward and gold agree", "correlation within prompts" },
  { "eval_accuracy", "Accuracy, held out", "part of pairs in order" },
  { "val/var_explained", "Variance the value explains", "1: all, 0: none" },
  { "completions/clipped_ratio", "Answers without an end", "part of answers" },
  { "policy/approxkl_avg", "KL of an update", "nats a token" },
  { "policy/clipfrac_avg", "Updates held by the clip", "part of tokens" },
  { "loss/ptx_avg", "Loss on pretraining text", "nats a token" },
  { "grad_norm", "Norm of the gradient", "" },
  { "lr", "Learning rate", "" },
  { "learning_rate", "Learning rate", "" },
  { "objective/kl_coef", "kl_coef", "β" },
}

-- Metrics that stand in the chart of another one, dashed.
local beside = {
  eval_loss = "loss",
  eval_accuracy = "accuracy",
  ["eval_rewards/accuracies"] = "rewards/accuracies",
  ["eval_rewards/margins"] = "rewards/margins",
}

local place = {}
for i, row in ipairs(known) do
  place[row[1]] = i
end

local IMPORTANT <const> = 17 -- of `known`: what is shown without being asked for

local skipped = { step = true, time = true }

local function finite(x) return x - x == 0 end

--- The metrics of some rows that are numbers.
-- @tparam {table,...} rows
-- @treturn {[string]=boolean}
function series.names(rows)
  local names = {}
  for _, row in ipairs(rows) do
    for name, value in pairs(row) do
      if type(value) == "number" and not skipped[name] then names[name] = true end
    end
  end
  return names
end

--- The charts for metrics.
-- @tparam {[string]=boolean} names
-- @treturn {{metrics={string,...},title=string,unit=string,important=boolean},...} in the order in
-- which they are shown
function series.charts(names)
  local list = {}
  for name in pairs(names) do
    local with = beside[name]
    if not (with and names[with]) then
      local at = place[name]
      local row = at and known[at]
      local chart = {
        metrics = { name },
        title = row and row[2] or name,
        unit = row and row[3] or "",
        important = at ~= nil and at <= IMPORTANT,
        at = at or math.huge,
      }
      for other, main in pairs(beside) do
        if main == name and names[other] then chart.metrics[2] = other end
      end
      list[#list + 1] = chart
    end
  end
  table.sort(list, function(a, b)
    if a.at ~= b.at then return a.at < b.at end
    return a.metrics[1] < b.metrics[1]
  end)
  return list
end

--- The points of a metric.
-- @tparam {table,...} rows
-- @tparam string name
-- @treturn {number,...} steps
-- @treturn {number,...} values, all finite
-- @treturn {number,...} steps at which the value is not finite
function series.points(rows, name)
  local steps, values, broken = {}, {}, {}
  for _, row in ipairs(rows) do
    local value = row[name]
    if type(value) == "number" and finite(row.step) then
      if finite(value) then
        steps[#steps + 1], values[#values + 1] = row.step, value
      else
        broken[#broken + 1] = row.step
      end
    end
  end
  return steps, values, broken
end

--- Thins points to at most `most`, keeping extremes.
-- @tparam {number,...} xs
-- @tparam {number,...} ys finite
-- @tparam integer most at least 8
-- @treturn {number,...} xs
-- @treturn {number,...} ys
function series.thin(xs, ys, most)
  local n = #xs
  if n <= most then return xs, ys end
  local stretches = most // 4
  local kept_x, kept_y = {}, {}
  for k = 0, stretches - 1 do
    local first, last = n * k // stretches + 1, n * (k + 1) // stretches
    local low, high = first, first
    for i = first + 1, last do
      if ys[i] < ys[low] then low = i end
      if ys[i] > ys[high] then high = i end
    end
    local before
    for _, i in ipairs { first, math.min(low, high), math.max(low, high), last } do
      if i ~= before then
        kept_x[#kept_x + 1], kept_y[#kept_y + 1] = xs[i], ys[i]
      end
      before = i
    end
  end
  return kept_x, kept_y
end

--- Thins a list to at most `most` entries, evenly, with the first and the last.
-- @tparam table list
-- @tparam integer most at least 2
-- @treturn table
function series.some(list, most)
  if #list <= most then return list end
  local kept = {}
  for k = 0, most - 1 do
    kept[k + 1] = list[1 + (#list - 1) * k // (most - 1)]
  end
  return kept
end

return series
