--- What labelers write, and the three sets that come out: SFT, RM, PPO.
--
-- Labelers write prompts of three kinds (arXiv:2203.02155, appendix A.1): plain (use cases as
-- varied as possible), few-shot (an instruction with K pairs, which becomes K examples), user-based
-- (a use case drawn as often as the log's train split has it). Every prompt of theirs comes with a
-- demonstration. Prompts of users come without; for a small part of them labelers write one.
--
-- Every row says where it is from: `source` is "api" or "labeler", `user_id` who asked, `kind` (for
-- labelers) plain, few_shot or user_based, `labeler` who wrote the demonstration. Users' prompts
-- are shared out so that SFT, RM and PPO have no row in common; some of the labelers' prompts stand
-- in both SFT and RM.

local labelers = require("quickstart.labelers")
local lexicon = require("quickstart.lexicon")
local pl = require("perilune")
local text = require("quickstart.text")
local users = require("quickstart.users")
local world = require("quickstart.world")

local rules = pl.rules

local datasets = {}

local SIDES <const> = { "train", "valid", "test" }

local FEW_SHOT_PAIRS <const> = 3

-- Instructions that make sense with examples: {instruction, attribute} or {instruction, use case}.
local FEW_SHOT <const> = {
  { "give the colour .", "colour", "animals" },
  { "give the food .", "food", "animals" },
  { "give the home .", "home", "animals" },
  { "give the size .", "size", "animals" },
  { "give the sound .", "sound", "animals" },
  { "give the taste .", "taste", "plants" },
}

local function write_demonstration(w, row, rng, id)
  row.answer, row.style = labelers.demonstrate(w, row.task, rng, id)
  row.labeler = id
  return row
end

local function few_shot_rows(w, rng)
  local instruction, attribute, group = table.unpack(rng:pick(FEW_SHOT))
  local shown = {}
  for i, thing in ipairs(rng:sample(lexicon[group], FEW_SHOT_PAIRS)) do
    shown[i] = { query = thing, response = w.facts[thing][attribute] .. " ." }
  end
  local rows = {}
  local spelled = { query = "", response = ": " } -- in words of the world
  for i, example in ipairs(pl.labeler_prompts.few_shot(instruction, shown, spelled)) do
    local prompt = example.prompt:gsub("%s+", " ")
    rows[i] = {
      use_case = "answer",
      prompt = prompt,
      few_shot_index = i,
      messages = { { role = "user", content = prompt } },
      task = { use_case = "answer", thing = shown[i].query, attribute = attribute, form = "word" },
    }
  end
  return rows
end

-- Names of this world's people. It writes without capitals, and "bell" and "reed" are things as
-- well as family names: those count behind a title alone.
local function people()
  local names = table.move(lexicon.given_names, 1, #lexicon.given_names, 1, {})
  for _, title in ipairs(lexicon.titles) do
    for _, family in ipairs(lexicon.family_names) do
      names[#names + 1] = title .. " " .. family
    end
  end
  return names
end

local function streets()
  local list = {}
  for _, name in ipairs(lexicon.street_names) do
    for _, kind in ipairs(lexicon.street_kinds) do
      list[#list + 1] = name .. " " .. kind
    end
  end
  return list
end

--- The log through the rules, in the order of the paper: long common prefixes, cap, split by user,
-- then personal data out of the train side.
-- @tparam table log
-- @tparam ?table opts `{seed = 1, cap = 200, prefix = 12}` (words)
-- @treturn table `{train, valid, test}` of rows
-- @treturn table report of perilune.rules
function datasets.prepare(log, opts)
  opts = opts or {}
  local function in_train(row) return row.side == "train" end
  local rows, report = rules.run(log, {
    rules.dedupe { prefix = opts.prefix or 12, unit = "words" },
    rules.cap { by = "user_id", max = opts.cap or 200 },
    rules.split { by = "user_id", train = 0.75, valid = 0.1, test = 0.15 },
    rules.personal_data { action = "drop", names = people() },
    rules.only(in_train, rules.keyword { none = streets() }), -- addresses as this world writes them
  }, { seed = opts.seed or 1 })
  local sides = { train = {}, valid = {}, test = {} }
  for row in rows do
    table.insert(sides[row.side], row)
  end
  return sides, report
end

local function demand(rows)
  local counts = {}
  for _, row in ipairs(rows) do
    counts[row.use_case] = (counts[row.use_case] or 0) + 1
  end
  return counts
end

--- Prompts of labelers with their demonstrations.
-- @tparam World w
-- @tparam integer n how many rows, at least
-- @tparam table log_rows rows whose use cases the user-based prompts follow
-- @tparam ?integer|string seed
-- @treturn table list of rows with `source = "labeler"`, `kind`, `labeler`, `answer`, `style`
function datasets.labeler_rows(w, n, log_rows, seed)
  local rng = pl.random.stream(w.seed, "quickstart.labeler_rows", seed or 0)
  local wanted = demand(log_rows)
  local list = {}
  while #list < n do
    local id = rng:pick(labelers.IDS)
    local kind = rng:weighted { plain = 0.5, few_shot = 0.05, user_based = 0.35 }
    local rows
    if kind == "few_shot" then
      rows = few_shot_rows(w, rng)
    else
      local use_case = kind == "plain" and rng:pick(world.use_cases) or rng:weighted(wanted)
      rows = { w:instruction(use_case, rng) }
    end
    for _, row in ipairs(rows) do
      row.source, row.kind, row.user_id = "labeler", kind, id
      list[#list + 1] = write_demonstration(w, row, rng, id)
    end
  end
  return list
end

local function as_api(row)
  local copy = {}
  for name, value in pairs(row) do
    copy[name] = value
  end
  copy.source, copy.marks = "api", nil
  return copy
end

-- Where a user's prompt goes: SFT, RM or PPO. By prompt, so that adding rows moves none.
local function api_set(row, shares)
  local at = pl.random.real(0, "quickstart.set", row.user_id, row.prompt)
  if at < shares.sft then return "sft" end
  return at < shares.sft + shares.rm and "rm" or "ppo"
end

--- The three sets from prepared sides of the log and from labelers' rows.
-- @tparam World w
-- @tparam table sides what `datasets.prepare` returned
-- @tparam table labeler_rows what `datasets.labeler_rows` returned
-- @tparam ?table opts `{api_sft = 0.08, api_rm = 0.40, labeler_rm = 0.15}`: shares of the API
-- prompts that go to SFT and RM (PPO has the others), share of labelers' prompts also in RM
-- @treturn table `{sft, rm, ppo}`, each `{train, valid, test}` of rows
-- @treturn table list of `{set, side, api, labeler}` counts
function datasets.assemble(w, sides, labeler_rows, opts)
  opts = opts or {}
  local shares = { sft = opts.api_sft or 0.08, rm = opts.api_rm or 0.40 }
  local labeler_rm = opts.labeler_rm or 0.15
  local sets = {}
  for _, name in ipairs { "sft", "rm", "ppo" } do
    sets[name] = { train = {}, valid = {}, test = {} }
  end
  for side, rows in pairs(sides) do
    for _, log_row in ipairs(rows) do
      local row = as_api(log_row)
      local name = api_set(row, shares)
      if name == "sft" then
        local rng = pl.random.stream(
          w.seed,
          "quickstart.demonstration",
          row.user_id,
          tostring(row.time),
          row.prompt
        )
        write_demonstration(w, row, rng, rng:pick(labelers.IDS))
      end
      table.insert(sets[name][side], row)
    end
  end
  for i, row in ipairs(labeler_rows) do
    -- Few-shot siblings show each other's answers, so they are kept on one side.
    local side = rules.side(
      ("%s %d"):format(row.labeler, i - (row.few_shot_index or 1) + 1),
      { train = 0.9, valid = 0.1, test = 0 }
    )
    table.insert(sets.sft[side], row)
    if pl.random.real(0, "quickstart.labeler_rm", row.prompt) < labeler_rm then
      table.insert(sets.rm[side], row)
    end
  end
  local counts = {}
  for _, name in ipairs { "sft", "rm", "ppo" } do
    for _, side in ipairs(SIDES) do
      local count = { set = name, side = side, api = 0, labeler = 0 }
      for _, row in ipairs(sets[name][side]) do
        count[row.source] = count[row.source] + 1
      end
      counts[#counts + 1] = count
    end
  end
  return sets, counts
end

--- All that a run of the demo needs, from one seed.
-- @tparam ?table opts `{seed = 1, rows = 10000, users = 250, labeler_rows = 3000,
-- documents = 20000, practice_documents = 3000, validation_documents = 500}` and what
-- `datasets.prepare` and `datasets.assemble` take
-- @treturn table `{world, sets, sides, reports, counts, text = {train, practice,
-- validation}, vocabulary}`
function datasets.build(opts)
  opts = opts or {}
  local w = world.new(opts.seed or 1)
  local log = users.log(w, { rows = opts.rows, users = opts.users })
  local sides, reports = datasets.prepare(log, opts)
  local written = datasets.labeler_rows(w, opts.labeler_rows or 3000, sides.train)
  local sets, counts = datasets.assemble(w, sides, written, opts)
  return {
    world = w,
    sets = sets,
    sides = sides,
    reports = reports,
    counts = counts,
    vocabulary = world.vocabulary(),
    text = {
      train = text.documents(w, opts.documents or 20000, "train"),
      practice = text.documents(w, opts.practice_documents or 3000, "practice", text.PRACTICE),
      validation = text.documents(w, opts.validation_documents or 500, "validation"),
    },
  }
end

return datasets
