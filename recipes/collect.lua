--- From user logs and labelers' work to the SFT, RM and PPO sets.
--
-- Source: Ouyang et al. 2022, arXiv:2203.02155, section 3.2, appendices A and B. (1) Logs,
-- demonstrations and rankings go into a store; what is there already is not added again. (2) All
-- prompts go through the rules below, in their order: no user has more than 200, no user stands on
-- two sides, prompts that share a long beginning are one, personal data leaves the train side.
-- (3) SFT and RM rows are from labelers and from the API, PPO rows from the API alone. A prompt
-- with a demonstration goes to SFT, one with a ranking to RM; the other API prompts are dealt out
-- by a hash of their own, so that adding rows moves none. (4) A policy answers the RM's share K = 4
-- to 9 times; what waits for people is written for them, and what they write is read back with
-- `answers`. (5) The sets stand in the store and as JSON Lines; a report says what was dropped,
-- why.
--
-- Deviations: the paper contradicts itself on user id against organisation for cap and split:
-- `user_key` decides. How API prompts are dealt to the three sets is not printed: `api_sft` and
-- `api_rm` have the shares of its table 6.

local pl = require("perilune")
local sources = require("collect.sources")
local rules = pl.rules

local cfg = pl.config {
  name = "collect",
  about = "user logs and labelers' work to the SFT, RM and PPO sets",
  "Sources",
  { store = "", "store to add to; empty: store.db of the run folder" },
  { logs = "", "user logs: files and folders, by commas; answers in them are a model's" },
  { demonstrations = "", "labelers' prompts with answers, by commas" },
  { rankings = "", "ranked answers, by commas" },
  { answers = "", "what labelers wrote into this recipe's own to-rank and to-demonstrate files" },
  { format = "auto", "form of the logs: see perilune.ingest" },
  { fields = "", "where a log has its fields: prompt=text,user_id=author.id" },
  {
    encoding = "auto",
    "of all sources: auto (UTF-8, or UTF-16 by its mark) or latin1",
    choices = { "auto", "latin1" },
  },
  {
    date_order = "unknown",
    "of dates such as 05/06/2024 in all sources; unknown: such a time is left out",
    choices = { "unknown", "day_first", "month_first" },
  },
  { pattern = "", "lines of a chat log; empty: [time] <user> text" },
  { strict = false, "stop at the first bad line" },
  "Rules, in this order",
  { min_length = 2, "shortest prompt, words", min = 0 },
  { max_length = 1000, "longest prompt, words", min = 1 },
  { language = "", "languages to keep, by commas, such as en,de; empty: all" },
  { prefix = 64, "prompts whose first so many characters are the same are one; 0: not", min = 0 },
  { near = 0.0, "near-duplicates from this similarity on are one; 0: not", min = 0, max = 1 },
  { max_per_user = 200, "prompts of one user", min = 1 },
  {
    user_key = "user_id",
    "who is a user, for cap and split",
    choices = { "user_id", "organisation" },
  },
  { valid = 0.1, "part of the users in validation", min = 0, under = 1 },
  { test = 0.1, "part of the users in test", min = 0, under = 1 },
  { personal_data = "mask", "what becomes of it", choices = { "mask", "drop", "flag", "none" } },
  { personal_data_sides = "train", "where", choices = { "train", "all" } },
  { personal_data_answers = false, "also in answers, which a placeholder may spoil" },
  { names = "", "a file of further names, one a line" },
  "Sets",
  {
    api_sft = 0.024,
    "part of the API prompts for SFT (they want a demonstration)",
    min = 0,
    max = 1,
  },
  { api_rm = 0.45, "part of the API prompts for RM (they want a ranking)", min = 0, max = 1 },
  { sft_size = 0, "train rows of SFT at most; 0: all", min = 0 },
  { rm_size = 0, "train prompts of RM at most; 0: all", min = 0 },
  { ppo_size = 0, "train prompts of PPO at most; 0: all", min = 0 },
  "Answers to be ranked",
  { policy = "", "model that answers RM prompts; empty: none are asked for" },
  { tokenizer = "", "for lengths in tokens: a model folder; empty: the policy's" },
  {
    template = "auto",
    "chat template: auto (the policy's own), none, plain, chatml, a .jinja file",
  },
  { rank_prompts = 1000, "prompts answered in this run", min = 1 },
  { min_answers = 4, "K at least", min = 2, max = 64 },
  { max_answers = 9, "K at most", min = 2, max = 64 },
  { response_length = 128, "longest answer, tokens", min = 1 },
  { temperature = 1.0, "of sampling", over = 0 },
  check = function(c)
    if c.valid + c.test >= 1 then
      return "valid and test leave no users to train on"
    elseif c.api_sft + c.api_rm > 1 then
      return "api_sft and api_rm are more than all prompts"
    elseif c.min_answers > c.max_answers then
      return "min_answers is above max_answers"
    elseif c.language ~= "" then
      local ok, wrong = pcall(rules.language, { keep = sources.list(c.language) })
      return not ok and wrong or nil
    end
  end,
}
local labeling = require("collect.labeling")
local present = require("collect.present")
local sets = require("collect.sets")
local watching = require("collect.watch")

local run = pl.run.open(cfg)
local store = assert(pl.store.open(cfg.store ~= "" and cfg.store or run.dir .. "/store.db"))
local scratch = run.dir .. "/scratch"
assert(pl.files.folder_make(scratch))
assert(pl.files.folder_make(run.dir .. "/data"))

local function say(text, ...)
  if not cfg.quiet then io.stderr:write(text:format(...), "\n") end
end

-- 1. Sources into the store -----------------------------------------------------------------------
local read = {}
local function ingest(list, kind, settings)
  settings.strict = cfg.strict
  settings.encoding = cfg.encoding ~= "auto" and cfg.encoding or nil
  settings.date_order = cfg.date_order ~= "unknown" and cfg.date_order or nil
  local more = sources.ingest(
    store,
    list,
    kind,
    settings,
    function(path, so_far)
      say("  %s: %s rows, %d bad lines", path, pl.format.count(so_far.rows), so_far.bad)
    end
  )
  table.move(more, 1, #more, #read + 1, read)
end
ingest(cfg.logs, "prompts", {
  format = cfg.format,
  fields = sources.fields(cfg.fields),
  source = "api",
  answers = "model",
  pattern = cfg.pattern ~= "" and cfg.pattern or nil,
})
local by_people = { source = "labeler", answers = "person" }
ingest(cfg.demonstrations, "demonstrations", by_people)
ingest(cfg.rankings, "rankings", by_people)
local missing = sources.missing(store, read)
if missing then
  say("%s\n", present.sources(read))
  error(missing, 0)
end
for _, path in ipairs(sources.files(cfg.answers)) do
  say("%s: %d answers of labelers are new", path, labeling.import(store, path))
end
if not store:prompts()() then
  error(
    "no prompts to make sets of: give logs, demonstrations or rankings, or a store that holds "
      .. "some",
    0
  )
end

-- 2. Prompts through the rules --------------------------------------------------------------------
local spoken = cfg.tokenizer ~= "" and cfg.tokenizer or cfg.policy
local tok = spoken ~= ""
    and pl.companions.tokenizer(cfg.tokenizer ~= "" and "tokenizer" or "policy", spoken)
  or nil
local watch = watching.new(cfg.user_key, tok) -- counts what the report shows while rows pass
local people = sources.people(store, cfg.names)
local alike = {
  prefix = cfg.prefix > 0 and cfg.prefix or false,
  near = cfg.near > 0 and cfg.near or nil,
}
local written = sets.classes(store:prompts { source = "labeler" }, alike)

local function is_api(row) return row.source == "api" end

local function asked_by_user(row)
  watch:before_cap(row)
  return is_api(row)
end

local personal
if cfg.personal_data ~= "none" then
  personal = rules.personal_data {
    action = cfg.personal_data,
    names = people.names,
    users = people.users,
    users_by_use = people.users_by_use,
    sides = cfg.personal_data_sides == "train" and { "train" } or false,
  }
end

local list = {
  rules.length { unit = "words", min = cfg.min_length, max = cfg.max_length },
  sets.apart(written, alike), -- what labelers wrote is never dropped as a duplicate
  rules.only(is_api, rules.dedupe(alike)),
  rules.only(asked_by_user, rules.cap { by = cfg.user_key, max = cfg.max_per_user }),
  rules.split {
    by = cfg.user_key,
    train = 1 - cfg.valid - cfg.test,
    valid = cfg.valid,
    test = cfg.test,
  },
  rules.use_case {},
  personal,
}
if cfg.language ~= "" then
  table.insert(list, 2, rules.language { keep = sources.list(cfg.language) })
end

local progress = pl.progress.new {
  total = math.max(1, store:counts().prompts),
  unit = "prompt",
  quiet = cfg.quiet,
}
local prompts = sources.prompts(store, function(n) progress:update(n) end)
local rows, report = rules.run(prompts, list, { seed = cfg.seed, scratch = scratch })

-- 3. Three sets -----------------------------------------------------------------------------------
local parts = sets.new(store, run.dir, {
  name = run.dir:match("[^/]+$"),
  recipe = "collect",
  settings = cfg:to_table(),
  seed = cfg.seed,
  scratch = scratch,
  user_key = cfg.user_key,
  alike = alike,
  personal = cfg.personal_data_answers and personal or nil,
  most = { sft = cfg.sft_size, rm = cfg.rm_size, ppo = cfg.ppo_size },
})
local waiting = labeling.new(store, run.dir, cfg, scratch)

-- An API prompt without human answers goes where a number of its own says.
local function deal(row)
  local at = sets.fraction(cfg.seed, row)
  if at < cfg.api_sft then
    waiting:demonstrate(row)
    return "waiting for a demonstration"
  elseif at < cfg.api_sft + cfg.api_rm then
    waiting:rank(row)
    return "waiting for a ranking"
  end
  parts:add("ppo", row)
  return "PPO"
end

-- A prompt goes where its answers say; returns where.
local function place(row, answers)
  for _, demonstration in ipairs(answers.demonstrations) do
    parts:add("sft", row, demonstration)
  end
  for _, ranking in ipairs(answers.ranked) do
    parts:add("rm", row, ranking)
  end
  local sft, rm = #answers.demonstrations > 0, #answers.ranked > 0
  if sft or rm then return sft and rm and "SFT and RM" or sft and "SFT" or "RM" end
  return is_api(row) and deal(row) or "a labeler's prompt without an answer, left out"
end

for row in rows do
  local answers = store:human_answers(row.id)
  watch:row(row, answers, place(row, answers))
end
watch:check(report[#report].rows_out)
progress:finish()
local counts, leaks = parts:finish()

-- 4. Answers to be ranked, and what else waits for people -----------------------------------------
local waiting_counts = waiting:finish()

-- 5. Report ---------------------------------------------------------------------------------------
local figures = present.write(run.dir, {
  report = report,
  read = read,
  counts = counts,
  watch = watch,
  leaks = leaks,
  waiting = waiting_counts,
  store = store:counts(),
  cap = cfg.max_per_user,
  hide = sources.hider(people),
})
store:close()
assert(pl.files.folder_remove(scratch))
figures.seconds = run:seconds()
run:summary(figures)
run:close()
if not cfg.quiet then print(pl.format.safe(present.table(figures, report, read))) end
return figures
