--- What collect.lua shows: tables for the terminal, report.html.

local pl = require("perilune")
local tables = require("collect.tables")

local present = {}

local percent = tables.percent

-- Users, those above a number of prompts, and the most of one.
local function spread(counts, limit)
  local users, above, most = 0, 0, 0
  for _, n in pairs(counts) do
    users = users + 1
    above = above + (n > limit and 1 or 0)
    most = math.max(most, n)
  end
  return { users = users, above = above, most = most }
end

-- Prompts of the users by rank: the n-th most active asked so many. At most some hundred points.
local function rank_size(counts)
  local sizes, x, y = {}, {}, {}
  for _, n in pairs(counts) do
    sizes[#sizes + 1] = n
  end
  table.sort(sizes, function(a, b) return a > b end)
  local at = 1
  while at <= #sizes do
    x[#x + 1], y[#y + 1] = at, sizes[at]
    at = math.max(at + 1, math.floor(at * 1.06))
  end
  return x, y
end

local function columns(shown) return pl.format.columns(shown.rows, { head = shown.head }) end

local function sentences(figures)
  local before, after = figures.users.before, figures.users.after
  local users = ("users %d, above the cap %d before and %d after"):format(
    before.users,
    before.above,
    after.above
  )
  local leaks = ("leaks between sides: %d users, %d beginnings"):format(
    figures.leaks.users,
    figures.leaks.prefixes
  )
  local waiting =
    "waiting for labelers: %d demonstrations, %d rankings (%d prompts without answers)"
  local list = {
    ("prompts %d: %s"):format(figures.prompts, table.concat(tables.counted(figures.places), ", ")),
    users .. "; " .. leaks,
    waiting:format(
      figures.waiting.demonstrate,
      figures.waiting.rank,
      figures.waiting.rank_unanswered
    ),
  }
  if figures.waiting.unwritten > 0 then
    local sentence = "%d prompts are dialogues that the policy's template cannot write"
    list[#list + 1] = sentence:format(figures.waiting.unwritten)
  end
  local agreed = figures.agreement
  if agreed.rankings > 0 then
    local sentence = "rankings %d; two labelers agree on %s of pairs, α %s, ties %s"
    list[#list + 1] = sentence:format(
      agreed.rankings,
      percent(agreed.pairwise),
      agreed.alpha and ("%.3f"):format(agreed.alpha) or "-",
      percent(agreed.tie_rate)
    )
  end
  return list
end

--- What was read, for the terminal.
-- @tparam table read as from sources.ingest
-- @treturn string
function present.sources(read) return columns(tables.sources(read)) end

--- What the terminal shows.
-- @tparam table figures as from `write`
-- @tparam table report of pl.rules.run
-- @tparam table read what was read, as from sources.ingest
-- @treturn string
function present.table(figures, report, read)
  local parts = { columns(tables.rules(report)), columns(tables.sets(figures.sets)) }
  if #read > 0 then table.insert(parts, 1, present.sources(read)) end
  local more = sentences(figures)
  table.move(more, 1, #more, #parts + 1, parts)
  return table.concat(parts, "\n\n")
end

-- Texts that were dropped, by rule and reason, and what they are like; personal data masked.
local function example_rows(report, hide)
  local rows = {}
  for _, entry in ipairs(report) do
    for _, pair in ipairs(tables.sorted(entry.reasons)) do
      local reason = pair[1]
      local likes = entry.likes[reason] or {}
      for n, text in ipairs(entry.examples[reason] or {}) do
        rows[#rows + 1] = {
          n == 1 and entry.rule or "",
          n == 1 and reason or "",
          hide(text),
          likes[n] and hide(likes[n]) or "",
        }
      end
    end
  end
  return rows
end

local function rules_part(r, of)
  r:heading("Rules, in their order")
  r:table(tables.rules(of.report))
  local examples = example_rows(of.report, of.hide)
  if #examples > 0 then
    r:heading("What was dropped: examples")
    r:text("Personal data is masked here, whatever the rule does in the sets.")
    r:table { head = { "rule", "why", "prompt", "like" }, rows = examples }
  end
end

-- Bins and counts of lengths, as two lists.
local function length_bins(lengths)
  local bins, x, y = {}, {}, {}
  for bin in pairs(lengths) do
    bins[#bins + 1] = bin
  end
  table.sort(bins)
  for i, bin in ipairs(bins) do
    x[i] = math.max(1, bin)
    y[i] = lengths[bin]
  end
  return x, y
end

local function users_chart(watch, cap)
  local before_x, before_y = rank_size(watch.before)
  local after_x, after_y = rank_size(watch.after)
  if #before_x < 2 or #after_x < 2 then return nil end
  return pl.plot.chart {
    title = "Prompts of a user, most active first",
    x_label = "user",
    y_label = "prompts",
    log_x = true,
    log_y = true,
    series = {
      { name = "before the cap", x = before_x, y = before_y },
      { name = "in the end", x = after_x, y = after_y },
    },
    lines = { { y = cap, label = ("cap %d"):format(cap) } },
  }
end

local function lengths_chart(watch)
  local x, y = length_bins(watch.lengths)
  if #x < 2 then return nil end
  return pl.plot.chart {
    title = "Length of a prompt, in bins of powers of two",
    x_label = watch.tok and "tokens, from" or "words, from",
    y_label = "prompts",
    log_x = true,
    series = { { x = x, y = y, mark = "both" } },
  }
end

local function users_part(r, of, figures)
  r:heading("Users and lengths")
  local charts = {}
  charts[1] = users_chart(of.watch, of.cap)
  charts[#charts + 1] = lengths_chart(of.watch)
  if #charts > 0 then r:charts(charts) end
  local before = figures.users.before
  local text = "%d of %d users came to the cap with more than %d prompts, the most active with %d."
  r:text(text:format(before.above, before.users, of.cap, before.most))
end

local function sets_part(r, of)
  r:heading("Sets")
  local shown = tables.sets(of.counts)
  shown.note = ("leaks between sides: %d users, %d beginnings of prompts"):format(
    of.leaks.users,
    of.leaks.prefixes
  )
  r:table(shown)
  r:heading("Use cases and sources")
  r:table { head = { "use case", "prompts" }, rows = tables.sorted(of.watch.use_cases) }
  r:table { head = { "source", "prompts" }, rows = tables.sorted(of.watch.sources) }
  local waiting = of.waiting
  r:table {
    head = { "waiting for labelers", "prompts" },
    rows = {
      { "demonstrations (to-demonstrate.jsonl)", waiting.demonstrate },
      { "rankings (to-rank.jsonl)", waiting.rank },
      { "rankings, but no answers yet (give a policy)", waiting.rank_unanswered },
      waiting.unwritten > 0
          and { "of these, the policy's template cannot write so many", waiting.unwritten }
        or nil,
    },
  }
end

local function people_part(r, agreed)
  if agreed.rankings == 0 then return end
  local rows = {}
  for i, one in ipairs(agreed.labelers) do
    rows[i] = { one.labeler, one.rankings, percent(one.agreement), percent(one.tie_rate) }
  end
  r:heading("Labelers")
  r:table {
    head = { "labeler", "rankings", "agrees with the others", "ties" },
    rows = rows,
    note = "agreement: pairs of answers on which two labelers of the same answers say the same",
  }
end

local function tiles(of, agreed)
  local total = { sft = 0, rm = 0, ppo = 0 }
  for _, c in ipairs(of.counts) do
    total[c.part] = total[c.part] + c.prompts
  end
  local people = "no two ranked the same"
  if agreed.alpha then
    people = ("Krippendorff's α %.3f, ties %s"):format(agreed.alpha, percent(agreed.tie_rate))
  end
  local count = pl.format.count
  return {
    { "prompts in", count(of.report[1].rows_in), "of the store" },
    { "after the rules", count(of.report[#of.report].rows_out), "" },
    { "SFT", count(total.sft), "prompts with demonstrations" },
    { "RM", count(total.rm), "prompts with rankings" },
    { "PPO", count(total.ppo), "prompts, from the API alone" },
    { "labelers agree", percent(agreed.pairwise), people },
  }
end

local function alarms(of)
  local list = {}
  if of.leaks.users > 0 then
    list[#list + 1] = ("%d users stand on two sides"):format(of.leaks.users)
  end
  if of.leaks.prefixes > 0 then
    list[#list + 1] = ("%d beginnings of prompts stand on two sides"):format(of.leaks.prefixes)
  end
  for _, done in ipairs(of.read) do
    if done.bad > 0 then
      local text = "%s: %d bad lines, kept aside in the store (table bad_lines)"
      list[#list + 1] = text:format(tables.name_of(done.path), done.bad)
    end
  end
  return list
end

local function figures_of(of, agreed)
  local by_rule = {}
  for i, entry in ipairs(of.report) do
    by_rule[i] = {
      rule = entry.rule,
      rows_in = entry.rows_in,
      rows_out = entry.rows_out,
      changed = entry.changed,
      reasons = entry.reasons,
    }
  end
  return {
    sets = of.counts,
    leaks = of.leaks,
    waiting = of.waiting,
    store = of.store,
    agreement = agreed,
    rules = by_rule,
    users = {
      before = spread(of.watch.before, of.cap),
      after = spread(of.watch.after, of.cap),
    },
    use_cases = of.watch.use_cases,
    sources = of.watch.sources,
    prompts = of.watch.prompts,
    places = of.watch.places,
  }
end

--- Writes report.html and gives the figures of the summary.
-- @tparam string dir
-- @tparam table of `report`, `read`, `counts`, `watch`, `leaks`, `waiting`, `store`, `cap`, `hide`
--   (a function that masks personal data)
-- @treturn table
function present.write(dir, of)
  local agreed = of.watch.agreement:result()
  local figures = figures_of(of, agreed)
  local r = pl.report.new {
    title = "Collected data",
    subtitle = "user logs and labelers' work, through the rules, to the SFT, RM and PPO sets",
  }
  r:tiles(tiles(of, agreed))
  r:alarms(alarms(of))
  if #of.read > 0 then
    r:heading("Sources")
    r:table(tables.sources(of.read))
  end
  rules_part(r, of)
  users_part(r, of, figures)
  sets_part(r, of)
  people_part(r, agreed)
  r:write(dir .. "/report.html")
  return figures
end

return present
