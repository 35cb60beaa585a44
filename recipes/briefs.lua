--- Briefs: what labelers are asked to write, as JSON Lines to be handed out.
--
-- Source: Ouyang et al. 2022, arXiv:2203.02155, section 3.2 and appendix A.1. Labelers wrote
-- prompts of three kinds, with answers. (1) Plain: an arbitrary task, as varied as possible; a
-- brief names a use case, a topic and a form, dealt from the lists below so that no two items of a
-- list differ in their counts by more than one. (2) User-based: a use case that users of the
-- service have; use cases come as often as in the users' prompts, with single words of their topics
-- and nothing else of theirs (see pl.labeler_prompts.user_based). (3) Few-shot: an instruction with
-- K pairs of query and response. It needs no brief of its own: have the task of a plain brief
-- written in this form; `pl.labeler_prompts.few_shot(instruction, pairs)` makes K rows of it, in
-- each of which one pair is to be answered and the K - 1 others stand in the prompt.
--
-- What comes back, rows of {prompt, completion, use_case, labeler}, goes to collect.lua as
-- `--demonstrations`. The lists and sentences are in English and yours to change: copy this file.

local pl = require("perilune")

local cfg = pl.config {
  name = "briefs",
  about = "what labelers are asked to write: plain and user-based prompts",
  "Briefs",
  { plain = 100, "for plain prompts", min = 0 },
  { user_based = 0, "for user-based prompts; they want a store or logs", min = 0 },
  "Users' prompts",
  { store = "", "store that holds them; empty: store.db of the run folder" },
  { logs = "", "user logs to be read into the store first: files and folders, by commas" },
  { format = "auto", "form of the logs: see perilune.ingest" },
  { fields = "", "where a log has its fields: prompt=text,user_id=author.id" },
  { names = "", "a file of names that no brief may hold, one a line" },
  { keywords = 3, "words of a topic in a brief, at most", min = 0 },
  { min_users = 3, "a word is used when so many users wrote it", min = 1 },
  check = function(c)
    if c.user_based > 0 and c.store == "" and c.logs == "" then
      return "user_based wants a store or logs"
    elseif c.names ~= "" and c.user_based == 0 then
      return "names are kept out of user_based briefs: give user_based, or no names"
    end
  end,
}
local sources = require("collect.sources")

-- The ten use cases of the paper's table 1, and what a prompt of each does.
local USE_CASES <const> = {
  { "generation", "asks for a text to be written" },
  { "open_qa", "asks a question of general knowledge" },
  { "brainstorming", "asks for ideas or a list" },
  { "chat", "is a turn of a conversation, with what was said" },
  { "rewrite", "gives a text and asks for it to be changed" },
  { "summarization", "asks for a summary of a text" },
  { "classification", "asks which of some classes a text belongs to" },
  { "other", "is none of the usual kinds" },
  { "closed_qa", "asks a question that a given text answers" },
  { "extraction", "asks for some facts to be taken out of a text" },
}

local TOPICS <const> = {
  "animals and plants",
  "arts and crafts",
  "business and work",
  "computers",
  "cooking and food",
  "education",
  "family and friends",
  "films and books",
  "games",
  "geography",
  "health and sport",
  "history",
  "home and garden",
  "language",
  "law and society",
  "mathematics",
  "money",
  "music",
  "nature and weather",
  "science",
  "technology",
  "travel",
}

local FORMS <const> = {
  "in one sentence",
  "in a few words, as typed in a hurry",
  "in a short paragraph",
  "with an example of what is wanted",
  "with a limit on the answer's length",
  "with a form the answer must have",
  "for a reader who is a child",
  "for an expert",
  "in a polite and formal tone",
  "in a friendly tone",
  "with one thing the answer must avoid",
}

local PLAIN <const> = "Write a prompt that %s (use case: %s), on %s, %s. Choose a task that you "
  .. "have not written before. Then write the best answer you can."
local USER_BASED <const> = "Users of the service often send a prompt that %s (use case: %s)%s. "
  .. "Write such a prompt of your own, and the best answer you can."

local run = pl.run.open(cfg)

local use_cases, described = {}, {}
for i, case in ipairs(USE_CASES) do
  use_cases[i] = case[1]
  described[case[1]] = case[2]
end

-- What a labeler reads.
local asks = {}

function asks.plain(brief)
  return PLAIN:format(described[brief.use_case], brief.use_case, brief.topic, brief.form)
end

function asks.user_based(brief)
  local topic = ""
  if #brief.keywords > 0 then
    topic = ", having to do with: " .. table.concat(brief.keywords, ", ")
  end
  local does = described[brief.use_case] or "fits the use case"
  return USER_BASED:format(does, brief.use_case, topic)
end

-- Briefs for user-based prompts, from what users asked.
local function user_based_briefs()
  if cfg.user_based == 0 then return {} end
  local path = cfg.store ~= "" and cfg.store or run.dir .. "/store.db"
  local store, message = pl.store.open(path, { readonly = cfg.logs == "" })
  if not store then error(message, 0) end
  sources.ingest(store, cfg.logs, "prompts", {
    format = cfg.format,
    fields = sources.fields(cfg.fields),
    source = "api",
  })
  local briefs = pl.labeler_prompts.user_based(store:prompts { source = "api" }, {
    n = cfg.user_based,
    seed = cfg.seed,
    keywords = cfg.keywords,
    min_users = cfg.min_users,
    mask = sources.hider(sources.people(store, cfg.names)),
  })
  store:close()
  if #briefs == 0 then error(("%s has no prompt of a user; give logs"):format(path), 0) end
  local with_topic = 0
  for _, brief in ipairs(briefs) do
    with_topic = with_topic + (#brief.keywords > 0 and 1 or 0)
  end
  if with_topic == 0 and cfg.keywords > 0 then
    pl.preflight.new(cfg, {}):warn(
      "no user-based brief names a topic: no word of %s was written by %d users that may be told "
        .. "(--min_users 1 takes words of one user)",
      path,
      cfg.min_users
    )
  end
  return briefs
end

local plain = pl.labeler_prompts.plain {
  n = cfg.plain,
  seed = cfg.seed,
  use_cases = use_cases,
  topics = TOPICS,
  forms = FORMS,
}
local user_based = user_based_briefs()

-- The file, and counts by use case ----------------------------------------------------------------
local counts, lines = {}, {}
local function write_down(brief)
  brief.ask = asks[brief.kind](brief)
  brief.number = #lines + 1
  lines[brief.number] = pl.json.encode(brief) .. "\n"
  local count = counts[brief.use_case]
  if not count then -- one that the logs name
    use_cases[#use_cases + 1] = brief.use_case
    count = { plain = 0, user_based = 0 }
    counts[brief.use_case] = count
  end
  count[brief.kind] = count[brief.kind] + 1
end
for _, case in ipairs(use_cases) do
  counts[case] = { plain = 0, user_based = 0 }
end
for _, list in ipairs { plain, user_based } do
  for _, brief in ipairs(list) do
    write_down(brief)
  end
end
local path = run.dir .. "/briefs.jsonl"
assert(pl.files.write_atomic(path, table.concat(lines)))

if not cfg.quiet then
  local rows = {}
  for i, case in ipairs(use_cases) do
    rows[i] = { case, counts[case].plain, counts[case].user_based }
  end
  print(pl.format.columns(rows, { head = { "use case", "plain", "user-based" } }))
  print(("%d plain and %d user-based briefs: %s"):format(#plain, #user_based, path))
end
local figures = {
  plain = #plain,
  user_based = #user_based,
  use_cases = counts,
  briefs = path,
}
run:summary(figures)
run:close()
return figures
