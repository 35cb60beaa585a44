--- The page of runs: `perilune report` writes it to a file, `perilune watch` serves it.
--
--     local list = assert(runs.open { "runs/a", "runs/b" })
--     local html = run_page.html(list)
--
-- One HTML file with all it shows: curves, alarms and live changes, hyper-parameters and where runs
-- differ, answers. It can be read without script; page.js adds values under the cursor, zoom and
-- the answer browser, and redraws what stands here. Runs of one recipe share their charts.
--
-- Text of runs goes through `escape` or into a block of JSON without "<", and the page's own policy
-- admits only the script and the style with its nonce.

local files = require("perilune.base.files")
local format = require("perilune.base.format")
local json = require("perilune.base.json")
local lfs = require("lfs")
local plot = require("perilune.show.plot")
local report = require("perilune.show.report")
local run_curves = require("perilune.show.run_curves")
local series = require("perilune.show.series")
local settings_of = require("perilune.show.settings")

local run_page = {}

local escape = plot.escape

local ANSWER_BYTES <const> = 3000000 -- of answers in one page, all runs together
local STATIC_ANSWERS <const> = 12 -- that are there without script
local STATIC_MARKS <const> = 12 -- alarms and changes drawn without script
local POINTS <const> = 1200 -- of a curve
local MANY <const> = 4 -- long runs: their curves have fewer

-- Points of a curve; stages of few rows leave room for those of a long one.
local function points_of_curve(list)
  local long = 0
  for _, run in ipairs(list) do
    long = long + (#run.rows > run_curves.fewer_points and 1 or 0)
  end
  return long <= MANY and POINTS or run_curves.fewer_points
end

-- Data for the script -----------------------------------------------------------------------------

local function six(x) return math.type(x) == "integer" and x or tonumber(("%.6g"):format(x)) end

local function rounded(list)
  local result = json.array {}
  for i, x in ipairs(list) do
    result[i] = six(x)
  end
  return result
end

local function metrics_of(run, most)
  local metrics = json.object()
  for name in pairs(series.names(run.rows)) do
    local steps, values, broken = series.points(run.rows, name)
    steps, values = series.thin(steps, values, most)
    rawset(metrics, name, { rounded(steps), rounded(values), rounded(series.some(broken, 400)) })
  end
  return metrics
end

local function time_of(run, most)
  local steps, seconds = series.points(run.rows, "time")
  local thin = {}
  for i = 1, #steps do
    thin[i] = i
  end
  local xs, ys = json.array {}, json.array {}
  for k, i in ipairs(series.some(thin, most)) do
    xs[k], ys[k] = six(steps[i]), six(seconds[i])
  end
  return { xs, ys }
end

local function simple(value)
  if type(value) == "number" or type(value) == "string" then return value end
  return value == nil and "" or tostring(value)
end

local function text_of(value)
  if type(value) ~= "table" then return tostring(simple(value)) end
  return json.encode(value, { finite = true }) -- turns of a conversation
end

-- What a row of the journal says: a change of a key, or what somebody who was attached ran.
local function change_text(row)
  if row.key == nil then return simple(row.eval or row.text or "a change without a key") end
  local by = type(row.by) == "string" and row.by ~= "" and (" (%s)"):format(row.by) or ""
  return ("%s %s → %s%s"):format(simple(row.key), text_of(row.old), text_of(row.new), by)
end

--- Alarms and changes as the page has them.
-- @tparam string field "alarms" or "changes"
-- @tparam {table,...} rows
-- @treturn {{step=number,text=string},...}
function run_page.marks(field, rows)
  local list = json.array {}
  for i, row in ipairs(rows) do
    local text = field == "alarms" and simple(row.text) or change_text(row)
    list[i] = { step = row.step, text = tostring(text) }
  end
  return list
end

-- As many of the samples, evenly over the run, as fit the bytes; the newest is among them.
local function samples_within(samples, bytes)
  local count, size = #samples, 0
  if count == 0 then return json.array {} end
  for _, sample in ipairs(samples) do
    size = size + #json.encode(sample, { finite = true })
  end
  local fit = size <= bytes and count or math.max(2, math.floor(count * bytes / size))
  return json.array { table.unpack(series.some(samples, math.min(fit, 20000))) }
end

local function run_data(run, index, count, most)
  local kl, score, steps = run_curves.order(run, most)
  return {
    order = { rounded(kl), rounded(score), rounded(steps) },
    name = run.name,
    recipe = run.recipe,
    state = run.state,
    step = run:step(),
    color = (index - 1) % run_curves.colors + 1,
    metrics = metrics_of(run, most),
    time = time_of(run, most),
    alarms = run_page.marks("alarms", series.some(run.alarms, 400)),
    changes = run_page.marks("changes", series.some(run.changes, 400)),
    samples = samples_within(run.samples, ANSWER_BYTES // count),
  }
end

-- Texts in a script element end at "</"; two line ends of Unicode end a line of old JavaScript.
local function json_block(value)
  local text = json.encode(value, { finite = true })
  return (
    text
      :gsub("[<>&]", function(c) return ("\\u%04x"):format(c:byte()) end)
      :gsub("\u{2028}", "\\u2028")
      :gsub("\u{2029}", "\\u2029")
  )
end

-- Charts ------------------------------------------------------------------------------------------

local function static_marks(list, group)
  local lines = {}
  for _, i in ipairs(group.runs) do
    for _, alarm in ipairs(list[i].alarms) do
      lines[#lines + 1] = { x = alarm.step, label = "alarm" }
    end
    for _, change in ipairs(list[i].changes) do
      lines[#lines + 1] = { x = change.step, label = format.cut(text_of(change.key), 24) }
    end
  end
  if #lines > 3 then
    for _, line in ipairs(lines) do
      line.label = nil
    end
  end
  return series.some(lines, STATIC_MARKS)
end

-- Parts of the page -------------------------------------------------------------------------------

local figures_of_run = {
  { "score", { "objective/raw_scores", "objective/scores", "eval_score" } },
  { "KL", { "objective/kl", "eval_kl" } },
  { "entropy", { "policy/entropy_avg" } },
  { "length", { "completions/mean_length" } },
  { "accuracy", { "accuracy", "rm_accuracy" } },
  { "loss", { "loss" } },
  { "held out", { "eval_loss", "eval_accuracy" } },
}

-- The last value of the first of some metrics that a run has, else what its summary says.
local function last_of(run, names)
  for _, name in ipairs(names) do
    for i = #run.rows, math.max(1, #run.rows - 2000), -1 do
      if type(run.rows[i][name]) == "number" then return run.rows[i][name] end
    end
  end
end

local states = {
  running = "running",
  paused = "paused",
  ending = "ending",
  done = "finished",
  stopped = "stopped before its end",
  failed = "failed",
  died = "died",
  unknown = "",
}

local function overview(page, list)
  local head, rows = { "run", "recipe", "state", "steps", "time" }, {}
  local has = {}
  for i, run in ipairs(list) do
    local last = run.rows[#run.rows] or {}
    local seconds = run.summary.seconds or last.time
    rows[i] = {
      run.name,
      run.recipe,
      states[run.state],
      format.exact(run:step()),
      type(seconds) == "number" and format.duration(seconds) or "",
    }
    for k, figure in ipairs(figures_of_run) do
      local value = last_of(run, figure[2])
      if not value and type(run.summary[figure[1]]) == "number" then
        value = run.summary[figure[1]]
      end
      rows[i][5 + k] = value or ""
      has[k] = has[k] or value ~= nil
    end
  end
  local kept = {}
  for i, row in ipairs(rows) do
    kept[i] = table.move(row, 1, 5, 1, {})
    for k in ipairs(figures_of_run) do
      if has[k] then kept[i][#kept[i] + 1] = row[5 + k] end
    end
  end
  for k, figure in ipairs(figures_of_run) do
    if has[k] then head[#head + 1] = figure[1] end
  end
  page:raw('<div id="pl-overview">')
  page:table { head = head, rows = kept, note = "Figures are those of the last row that has them." }
  page:raw("</div>")
end

-- The sentences of all runs, {step =, text =} each, with the run's name where there are several.
local function sentences(list, field, most)
  local texts = {}
  for _, run in ipairs(list) do
    local who = #list > 1 and run.name .. ", " or ""
    for _, mark in ipairs(run_page.marks(field, series.some(run[field], most))) do
      texts[#texts + 1] = ("%sstep %s: %s"):format(who, simple(mark.step), mark.text)
    end
  end
  return texts
end

-- The last alarm of each kind of a run, as sentences: one that rings on and on is one card.
local function alarm_sentences(run, who)
  local kinds, texts = {}, {}
  for _, mark in ipairs(run_page.marks("alarms", run.alarms)) do
    local name = mark.text:match("^[^:]*")
    local kind = kinds[name] or { count = 0, first = mark.step, place = #texts + 1 }
    kinds[name], kind.count = kind, kind.count + 1
    local times = kind.count > 1
        and (" (%d times since step %s)"):format(kind.count, simple(kind.first))
      or ""
    texts[kind.place] = ("%sstep %s%s: %s"):format(who, simple(mark.step), times, mark.text)
  end
  return texts
end

local function alarms(page, list)
  page:raw('<div id="pl-alarms">')
  for _, run in ipairs(list) do
    page:alarms(alarm_sentences(run, #list > 1 and run.name .. ", " or ""))
  end
  page:raw("</div>")
end

local function changes(page, list)
  local parts = {}
  for i, text in ipairs(sentences(list, "changes", 400)) do
    parts[i] = '<div class="change">' .. escape(text) .. "</div>"
  end
  page:raw(
    "<h3>Changed while running</h3>",
    '<div class="card" id="pl-changes">',
    #parts > 0 and table.concat(parts) or "<p>nothing</p>",
    "</div>"
  )
end

local function settings(page, list, live)
  local any = live
  for _, run in ipairs(list) do
    any = any or next(run.settings) or #run.changes > 0
  end
  if not any then return end
  page:heading("Hyper-parameters")
  for _, group in ipairs(run_curves.groups(list)) do
    local some = {}
    for k, i in ipairs(group.runs) do
      some[k] = list[i]
    end
    local different, all = settings_of.compare(some)
    local head = { "key" }
    for k, run in ipairs(some) do
      head[k + 1] = run.name
    end
    local title = group.recipe ~= "" and group.recipe or "settings"
    if #some > 1 then
      page:raw("<h3>", escape(title), "</h3>")
      if #different > 0 then
        page:table { head = head, rows = different, note = "Where these runs differ." }
      else
        page:text("These runs have the same hyper-parameters.")
      end
    end
    if #all > 0 then
      local summary = ("%s: all %d"):format(title, #all)
      page:raw("<details", #list == 1 and " open" or "", "><summary>", escape(summary))
      page:raw("</summary>")
      page:table { head = head, rows = all }
      page:raw("</details>")
    end
  end
  local changed = false
  for _, run in ipairs(list) do
    changed = changed or #run.changes > 0
  end
  if changed or live then changes(page, list) end
end

local function answers(page, list)
  local all = {}
  for _, run in ipairs(list) do
    for _, sample in ipairs(run.samples) do
      all[#all + 1] = { run = run, sample = sample }
    end
  end
  if #all == 0 then return end
  page:heading("Answers")
  page:raw('<div class="bar" id="pl-filter" hidden></div><div id="pl-answers">')
  for _, one in ipairs(series.some(all, STATIC_ANSWERS)) do
    local score = one.sample.score
    page:answers {
      models = { ("%s, step %s"):format(one.run.name, simple(one.sample.step)) },
      rows = {
        {
          prompt = text_of(one.sample.prompt),
          answers = { text_of(one.sample.answer) },
          scores = { type(score) == "number" and score or nil },
        },
      },
    }
  end
  page:raw("</div>")
end

-- Commands stand below the table, each once: they are long, and those of stages are the same.
local function environment(page, list)
  local rows, commands, seen = {}, {}, {}
  for _, run in ipairs(list) do
    local env = run.environment
    local command = type(env.command) == "table" and table.concat(env.command, " ") or ""
    if command ~= "" and not seen[command] then
      seen[command] = true
      commands[#commands + 1] = escape(format.cut(command, 2000))
    end
    rows[#rows + 1] = {
      run.name,
      simple(env.started),
      simple(env.host),
      format.cut(simple(env.git), 24),
      run.dir,
    }
  end
  page:heading("Where from")
  page:table { head = { "run", "begun", "host", "revision", "folder" }, rows = rows }
  for _, command in ipairs(commands) do
    page:raw('<div class="card text command">', command, "</div>")
  end
end

-- The page ----------------------------------------------------------------------------------------

local function asset(name)
  local here = assert(package.searchpath("perilune.show.run_page", package.path))
  return assert(files.read((here:gsub("run_page%.lua$", name))))
end

local function curves(page, list)
  local charts, groups = json.array {}, run_curves.groups(list)
  page:heading("Curves")
  page:raw('<div class="bar" id="pl-controls" hidden></div>')
  page:raw('<div class="said-only" id="pl-said" aria-live="polite"></div>')
  for number, group in ipairs(groups) do
    local all = run_curves.charts(list, group, number)
    local expected = #groups == 1
    for _, i in ipairs(group.runs) do
      expected = expected or list[i]:alive()
    end
    if #groups > 1 and (#all > 0 or expected) then
      page:raw("<h3>", escape(group.recipe), "</h3>")
    end
    local shown = 0
    for _, chart in ipairs(all) do
      shown = shown + (chart.important and 1 or 0)
    end
    for _, important in ipairs { true, false } do
      local parts = {}
      for _, chart in ipairs(all) do
        if chart.important == important or (shown == 0 and important) then
          parts[#parts + 1] = run_curves.html(list, chart, static_marks(list, group))
          charts[#charts + 1] = chart
        end
      end
      if #parts > 0 and (important or shown > 0) then
        local grid = '<div class="grid">' .. table.concat(parts, "\n") .. "</div>"
        if not important then
          grid = ("<details><summary>%d more</summary>%s</details>"):format(#parts, grid)
        end
        page:raw(grid)
      end
      if shown == 0 then break end
    end
    if #all == 0 and expected then page:text("No row has been written yet.") end
  end
  return charts
end

-- The name of the run whose stages all of these are, but for the first, which may be that run; nil
-- when there is none.
local function whole_run(list)
  local function above(run) return run.dir:match("^(.*)/[^/]+$") end
  local folder = above(list[2])
  for i, run in ipairs(list) do
    if above(run) ~= folder and not (i == 1 and run.dir == folder) then return nil end
  end
  if not folder or not lfs.attributes(folder .. "/run.lock", "mode") then return nil end
  return folder:match("[^/]+$")
end

local function nonce_of_page()
  local file = io.open("/dev/urandom", "rb")
  local bytes = file and file:read(16) or files.hash_string(tostring(os.time()) .. tostring {})
  if file then file:close() end
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end)):sub(1, 32)
end

--- The page of some runs.
-- @tparam {SeenRun,...} list of perilune.show.runs
-- @tparam ?table options `title`; `live`: what the script of a page that is fed needs: `run` (index
-- from 0), `keys`, `state`, `step`, `total`, `after`
-- @treturn string HTML
-- @treturn string the policy the page wants, for the header Content-Security-Policy
function run_page.html(list, options)
  options = options or {}
  local nonce = nonce_of_page()
  local title = options.title
  if not title then
    title = #list == 1 and list[1].name or whole_run(list) or ("%d runs"):format(#list)
  end
  local bad = 0
  for _, run in ipairs(list) do
    bad = bad + run.bad
  end
  local page = report.new { title = title, subtitle = run_page.subtitle(list, options.live) }
  if options.live then page:raw('<div class="card" id="pl-live" hidden></div>') end
  if bad > 0 then page:alarms { ("%d lines of the logs could not be read."):format(bad) } end
  alarms(page, list)
  overview(page, list)
  local charts = curves(page, list)
  answers(page, list)
  settings(page, list, options.live)
  environment(page, list)
  local data =
    { runs = json.array {}, charts = charts, live = options.live, figures = figures_of_run }
  for i, run in ipairs(list) do
    data.runs[i] = run_data(run, i, #list, points_of_curve(list))
  end
  page:raw('<script type="application/json" id="pl-data">', json_block(data), "</script>")
  page:raw('<script nonce="', nonce, '">', asset("page.js"), "</script>")
  local policy = ("default-src 'none'; script-src 'nonce-%s'; style-src 'nonce-%s'; "):format(
    nonce,
    nonce
  ) .. (options.live and "connect-src 'self'; " or "") .. "base-uri 'none'; form-action 'none'"
  return page:html { style = asset("page.css"), nonce = nonce, policy = policy }, policy
end

--- What stands under the title.
-- @tparam {SeenRun,...} list
-- @tparam ?table live as of `html`: then nothing that changes
-- @treturn string
function run_page.subtitle(list, live)
  if #list > 1 then
    local names = {}
    for i, run in ipairs(list) do
      names[i] = run.name
    end
    return format.cut(table.concat(names, ", "), 400)
  end
  local run = list[1]
  local parts = {}
  if run.recipe ~= "" then parts[1] = "recipe " .. run.recipe end
  if live then return parts[1] or "" end
  if states[run.state] ~= "" then parts[#parts + 1] = states[run.state] end
  parts[#parts + 1] = "step " .. format.exact(run:step())
  return table.concat(parts, ", ")
end

return run_page
