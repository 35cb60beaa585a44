--- What collect.lua shows: counts taken while rows pass, a table for the terminal, report.html.
--
-- What is counted grows with the number of users, use cases and lengths, not with rows.

local pl = require "perilune"

local present = {}

local Watch = {}
Watch.__index = Watch

--- Begin to count.
-- @tparam string key field of the user
-- @tparam ?Tokenizer tok for lengths in tokens; without it they are in words
function present.watch(key, tok)
  return setmetatable({ key = key, tok = tok, before = {}, after = {}, use_cases = {}, sources = {},
    lengths = {}, kinds = {}, agreement = pl.agreement.new() }, Watch)
end

local function tick(counts, name)
  counts[name] = (counts[name] or 0) + 1
end

--- A row that comes to the cap.
function Watch:before_cap(row)
  local user = row[self.key]
  if user and row.source == "api" then tick(self.before, user) end
end

--- A row that came through all rules, and what people said of it.
function Watch:row(row, people)
  local user = row[self.key]
  if user and row.source == "api" then tick(self.after, user) end
  tick(self.use_cases, row.use_case or "unknown")
  tick(self.sources, row.source)
  if row.source == "labeler" then tick(self.kinds, row.kind or "unknown") end
  local text = pl.rules.text(row)
  local length = self.tok and #self.tok:encode(text) or select(2, text:gsub("%S+", ""))
  local bin = length < 1 and 0 or 1 << math.floor(math.log(length, 2)) -- powers of two
  tick(self.lengths, bin)
  if #people.ranked > 0 then self:judge(people.ranked) end
end

-- Rankings of one prompt, each over completions named by their ids.
function Watch:judge(ranked)
  local place, list, n = {}, {}, 0
  for i, one in ipairs(ranked) do
    local ranks = {}
    for id, rank in pairs(one.ranks_by_id) do
      if not place[id] then n = n + 1; place[id] = n end
      ranks[place[id]] = rank
    end
    list[i] = { labeler = one.labeler, ranks = ranks }
  end
  self.agreement:add(list)
end

local function sorted_by_count(counts)
  local list = {}
  for name, n in pairs(counts) do list[#list + 1] = { name, n } end
  table.sort(list, function(a, b)
    if a[2] ~= b[2] then return a[2] > b[2] end
    return a[1] < b[1]
  end)
  return list
end

-- Users, those above a number of prompts, and the most of one.
local function spread(counts, limit)
  local users, above, most = 0, 0, 0
  for _, n in pairs(counts) do
    users, above, most = users + 1, above + (n > limit and 1 or 0), math.max(most, n)
  end
  return { users = users, above = above, most = most }
end

-- Prompts of the users by rank: the n-th most active asked so many. At most some hundred points.
local function rank_size(counts)
  local sizes, x, y = {}, {}, {}
  for _, n in pairs(counts) do sizes[#sizes + 1] = n end
  table.sort(sizes, function(a, b) return a > b end)
  local at = 1
  while at <= #sizes do
    x[#x + 1], y[#y + 1] = at, sizes[at]
    at = math.max(at + 1, math.floor(at * 1.06))
  end
  return x, y
end

local function percent(part) return part and ("%.1f %%"):format(100 * part) or "-" end

local function reasons_of(entry)
  local parts = {}
  for _, pair in ipairs(sorted_by_count(entry.reasons)) do
    parts[#parts + 1] = ("%s %d"):format(pair[1], pair[2])
  end
  if entry.changed > 0 then parts[#parts + 1] = ("%d rows changed"):format(entry.changed) end
  return table.concat(parts, ", ")
end

local function rule_rows(report)
  local rows = {}
  for i, entry in ipairs(report) do
    rows[i] = { entry.rule, entry.rows_in, entry.rows_out, reasons_of(entry) }
  end
  return rows
end

local RULE_HEAD <const> = { "rule", "rows in", "rows out", "why" }
local SET_HEAD <const> = { "set", "side", "rows", "prompts", "from the API", "from labelers",
  "users" }

local function set_rows(counts)
  local rows = {}
  for i, c in ipairs(counts) do
    rows[i] = { c.part:upper(), c.side, c.rows, c.prompts, c.api, c.labeler, c.users }
  end
  return rows
end

-- One row a file; many files of one form are a row together.
local MANY_FILES <const> = 12

local function source_rows(read)
  local rows, together, files = {}, {}, {}
  for _, done in ipairs(read) do
    local sum = #read > MANY_FILES and together[done.says]
    if not sum then
      sum = { done.path:match("[^/]*$"), done.says, 0, 0, 0, {} }
      rows[#rows + 1], together[done.says] = sum, sum
    end
    files[sum] = (files[sum] or 0) + 1
    sum[3], sum[4], sum[5] = sum[3] + done.rows, sum[4] + done.bad, sum[5] + done.already
    for reason, n in pairs(done.reasons) do sum[6][reason] = (sum[6][reason] or 0) + n end
  end
  for _, sum in ipairs(rows) do
    local passed = {}
    for _, pair in ipairs(sorted_by_count(sum[6])) do
      passed[#passed + 1] = ("%s %d"):format(pair[1], pair[2])
    end
    if files[sum] > 1 then sum[1] = ("%s and %d more"):format(sum[1], files[sum] - 1) end
    sum[6] = table.concat(passed, ", ")
  end
  return rows
end

local SOURCE_HEAD <const> = { "file", "taken as", "rows", "bad lines", "there before",
  "passed over" }

--- The tables for the terminal.
function present.table(figures, report, read)
  local agreed = figures.agreement
  local parts = {
    #read > 0 and pl.format.columns(source_rows(read), { head = SOURCE_HEAD }) or "",
    pl.format.columns(rule_rows(report), { head = RULE_HEAD }),
    pl.format.columns(set_rows(figures.sets), { head = SET_HEAD }),
    ("users %d, above the cap %d before and %d after; leaks between sides: %d users, %d beginnings")
      :format(figures.users.before.users, figures.users.before.above, figures.users.after.above,
        figures.leaks.users, figures.leaks.prefixes),
    ("waiting for labelers: %d demonstrations, %d rankings (%d prompts without answers)"):format(
      figures.waiting.demonstrate, figures.waiting.rank, figures.waiting.rank_unanswered),
  }
  if agreed.rankings > 0 then
    parts[#parts + 1] = ("rankings %d; two labelers agree on %s of pairs, α %s, ties %s"):format(
      agreed.rankings, percent(agreed.pairwise),
      agreed.alpha and ("%.3f"):format(agreed.alpha) or "-", percent(agreed.tie_rate))
  end
  return table.concat(parts, "\n\n")
end

local function sources_part(r, of)
  if #of.read > 0 then
    r:heading("Sources"):table { head = SOURCE_HEAD, rows = source_rows(of.read) }
  end
end

local function rules_part(r, of)
  r:heading("Rules, in their order"):table { head = RULE_HEAD, rows = rule_rows(of.report) }
  local examples = {}
  for _, entry in ipairs(of.report) do
    for _, pair in ipairs(sorted_by_count(entry.reasons)) do
      for n, text in ipairs(entry.examples[pair[1]] or {}) do
        local like = (entry.likes[pair[1]] or {})[n]
        examples[#examples + 1] = { n == 1 and entry.rule or "", n == 1 and pair[1] or "",
          of.hide(text), like and of.hide(like) or "" }
      end
    end
  end
  if #examples > 0 then
    r:heading("What was dropped: examples")
    r:text("Personal data is masked here, whatever the rule does in the sets.")
    r:table { head = { "rule", "why", "prompt", "like" }, rows = examples }
  end
end

local function users_part(r, of, figures)
  local cap = of.cap
  local before_x, before_y = rank_size(of.watch.before)
  local after_x, after_y = rank_size(of.watch.after)
  r:heading("Users and lengths")
  local lengths_x, lengths_y = {}, {}
  for bin, n in pairs(of.watch.lengths) do lengths_x[#lengths_x + 1] = { bin, n } end
  table.sort(lengths_x, function(a, b) return a[1] < b[1] end)
  for i, pair in ipairs(lengths_x) do lengths_x[i], lengths_y[i] = math.max(1, pair[1]), pair[2] end
  local charts = {}
  if #before_x > 1 and #after_x > 1 then
    charts[1] = pl.plot.chart { title = "Prompts of a user, most active first",
      x_label = "user", y_label = "prompts", log_x = true, log_y = true,
      series = { { name = "before the cap", x = before_x, y = before_y },
        { name = "in the end", x = after_x, y = after_y } },
      lines = { { y = cap, label = ("cap %d"):format(cap) } } }
  end
  if #lengths_x > 1 then
    charts[#charts + 1] = pl.plot.chart { title = "Length of a prompt, in bins of powers of two",
      x_label = of.watch.tok and "tokens, from" or "words, from", y_label = "prompts",
      log_x = true, series = { { x = lengths_x, y = lengths_y, mark = "both" } } }
  end
  if #charts > 0 then r:charts(charts) end
  local before = figures.users.before
  r:text(("%d of %d users came to the cap with more than %d prompts, the most active with %d.")
    :format(before.above, before.users, cap, before.most))
end

local function people_part(r, agreed)
  if agreed.rankings == 0 then return end
  r:heading("Labelers")
  local rows = {}
  for i, one in ipairs(agreed.labelers) do
    rows[i] = { one.labeler, one.rankings, percent(one.agreement), percent(one.tie_rate) }
  end
  r:table { head = { "labeler", "rankings", "agrees with the others", "ties" }, rows = rows,
    note = "agreement: pairs of answers on which two labelers of the same answers say the same" }
end

--- Write report.html and give the figures of the summary.
-- @tparam string dir
-- @tparam table of `report`, `read`, `counts`, `watch`, `leaks`, `waiting`, `store`, `cap`, `hide`
--   (a function that masks personal data)
function present.write(dir, of)
  local agreed = of.watch.agreement:result()
  local figures = { sets = of.counts, leaks = of.leaks, waiting = of.waiting, store = of.store,
    agreement = agreed, rules = {}, users = { before = spread(of.watch.before, of.cap),
      after = spread(of.watch.after, of.cap) },
    use_cases = of.watch.use_cases, sources = of.watch.sources }
  for i, entry in ipairs(of.report) do
    figures.rules[i] = { rule = entry.rule, rows_in = entry.rows_in, rows_out = entry.rows_out,
      changed = entry.changed, reasons = entry.reasons }
  end
  local total = { sft = 0, rm = 0, ppo = 0 }
  for _, c in ipairs(of.counts) do total[c.part] = total[c.part] + c.prompts end

  local r = pl.report.new { title = "Collected data", subtitle = "user logs and labelers' work, "
    .. "through the rules, to the SFT, RM and PPO sets" }
  r:tiles {
    { "prompts in", pl.format.count(of.report[1].rows_in), "of the store" },
    { "after the rules", pl.format.count(of.report[#of.report].rows_out), "" },
    { "SFT", pl.format.count(total.sft), "prompts with demonstrations" },
    { "RM", pl.format.count(total.rm), "prompts with rankings" },
    { "PPO", pl.format.count(total.ppo), "prompts, from the API alone" },
    { "labelers agree", percent(agreed.pairwise), agreed.alpha
      and ("Krippendorff's α %.3f, ties %s"):format(agreed.alpha, percent(agreed.tie_rate))
      or "no two ranked the same" },
  }
  local alarms = {}
  if of.leaks.users > 0 then
    alarms[#alarms + 1] = ("%d users stand on two sides"):format(of.leaks.users)
  end
  if of.leaks.prefixes > 0 then
    alarms[#alarms + 1] = ("%d beginnings of prompts stand on two sides"):format(of.leaks.prefixes)
  end
  for _, done in ipairs(of.read) do
    if done.bad > 0 then
      alarms[#alarms + 1] = ("%s: %d bad lines, kept aside in the store (table bad_lines)"):format(
        done.path:match("[^/]*$"), done.bad)
    end
  end
  r:alarms(alarms)
  sources_part(r, of)
  rules_part(r, of)
  users_part(r, of, figures)
  r:heading("Sets"):table { head = SET_HEAD, rows = set_rows(of.counts),
    note = ("leaks between sides: %d users, %d beginnings of prompts"):format(of.leaks.users,
      of.leaks.prefixes) }
  r:heading("Use cases and sources")
  r:table { head = { "use case", "prompts" }, rows = sorted_by_count(of.watch.use_cases) }
  r:table { head = { "source", "prompts" }, rows = sorted_by_count(of.watch.sources) }
  r:table { head = { "waiting for labelers", "prompts" }, rows = {
    { "demonstrations (to-demonstrate.jsonl)", of.waiting.demonstrate },
    { "rankings (to-rank.jsonl)", of.waiting.rank },
    { "rankings, but no answers yet (give a policy)", of.waiting.rank_unanswered } } }
  people_part(r, agreed)
  r:write(dir .. "/report.html")
  return figures
end

return present
