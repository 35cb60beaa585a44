--- What waits for labelers goes out as JSON Lines, what they wrote comes back.
--
--   to-demonstrate.jsonl   {id, prompt | messages, use_case}       back: the same with `completion`
--   to-rank.jsonl          {id, prompt | messages, completions,    back: the same with `ranks`
--                           completion_ids}
-- and `labeler` in both. Completions stand in an order of the seed's, so that nobody can tell
-- models apart by place; `ranks` are those of the completions in the file's order, 1 is best, ties
-- share a rank. Reading a file again adds nothing: an answer that the store has as this labeler's
-- latest is passed over, another one replaces it.

local pl = require("perilune")
local spool = pl.rules.spool

local labeling = {}

local FILES <const> = { demonstrate = "to-demonstrate.jsonl", rank = "to-rank.jsonl" }

-- A line of a file: what is asked, and the completions to be ranked.
local function question(row, ranked)
  return pl.json.encode {
    id = row.id,
    prompt = row.prompt,
    messages = row.messages,
    use_case = row.use_case,
    completions = ranked and ranked.completions,
    completion_ids = ranked and ranked.completion_ids,
  } .. "\n"
end

-- K of a prompt, uniform over the range.
local function wanted_answers(cfg, row)
  local hash = pl.files.hash_string(("answers\0%d\0%d"):format(cfg.seed, row.id))
  return cfg.min_answers + tonumber(hash:sub(1, 12), 16) % (cfg.max_answers - cfg.min_answers + 1)
end

-- A byte-level model may end within a character: such bytes become U+FFFD, as JSON has them.
local function as_utf8(text)
  if utf8.len(text) then return text end
  return pl.json.decode(pl.json.encode(text))
end

-- Rows with their prompts as token ids, by the number of answers they want; and how many prompts
-- the template cannot write.
local function by_answers(speaker, cfg, rows)
  local lists, unwritten = {}, 0
  for _, row in ipairs(rows) do
    local tokens, wrong, kind = pl.data.prompt_ids(speaker.tok, speaker.template, row)
    if tokens then
      local k = wanted_answers(cfg, row)
      lists[k] = lists[k] or {}
      table.insert(lists[k], { id = row.id, tokens = tokens })
    elseif kind == "template" then
      unwritten = unwritten + 1
    else
      error(("prompt %d: %s"):format(row.id, wrong), 0)
    end
  end
  return lists, unwritten
end

-- k answers of a policy to each row's prompt, as the store takes them: a list for each row.
local function answers_of(speaker, cfg, rows, k)
  local scope <close> = pl.scope("collect.answers")
  local prompts, keys, lists = {}, {}, {}
  for i, row in ipairs(rows) do
    prompts[i], keys[i] = row.tokens, row.id
  end
  local answers = pl.generate(speaker.policy, prompts, {
    samples = k,
    keys = keys,
    seed = cfg.seed,
    temperature = cfg.temperature,
    max_tokens = cfg.response_length,
    stop = pl.data.stop_ids(speaker.tok, speaker.template),
  })
  local sampling = {
    temperature = cfg.temperature,
    max_tokens = cfg.response_length,
    seed = cfg.seed,
  }
  for i in ipairs(rows) do
    lists[i] = {}
    for n = 1, k do
      local answer = answers[(i - 1) * k + n]
      local text = speaker.tok:decode(answer.tokens, { skip_special = true })
      lists[i][n] = {
        text = as_utf8(text),
        model = cfg.policy,
        sampling = sampling,
        tokens = answer.tokens,
        tokenizer = speaker.tok:fingerprint(),
        finish_reason = answer.finish_reason,
      }
    end
  end
  return lists
end

-- Answers of the policy to prompts, into the store. Prompts of one K go together. How many prompts
-- the template cannot write: those have no answers.
local function sample(store, cfg, rows)
  local speaker = {
    policy = assert(pl.load(cfg.policy)):freeze(),
    tok = assert(pl.tokenizer.load(cfg.policy)),
  }
  speaker.template = pl.data.template(cfg.template, speaker.tok)
  local lists, unwritten = by_answers(speaker, cfg, rows)
  for k = cfg.min_answers, cfg.max_answers do
    local asked = lists[k]
    if asked then
      local answers = answers_of(speaker, cfg, asked, k)
      store:transaction(function()
        for i, row in ipairs(asked) do
          store:complete(row.id, answers[i])
        end
      end)
    end
  end
  return unwritten
end

-- A sample of the prompts without answers.
local function unanswered(store, rows, cfg)
  -- One answer is what a deployed model said in a log: nothing to compare it with.
  local function has_none(row) return #store:completions(row.id) < 2 end
  local rules = {
    pl.rules.filter("answered", has_none),
    pl.rules.cap { by = "group", max = cfg.rank_prompts },
  }
  local list = {}
  for row in pl.rules.run(rows, rules, { seed = cfg.seed }) do
    list[#list + 1] = row
  end
  return list
end

-- Completions in an order of their own for each prompt.
local function shuffled(cfg, row, completions)
  local texts, ids = {}, {}
  for place, n in ipairs(pl.random.permutation(#completions, cfg.seed, "collect.rank", row.id)) do
    texts[place] = completions[n].text
    ids[place] = completions[n].id
  end
  return { completions = texts, completion_ids = ids }
end

local Waiting = {}
Waiting.__index = Waiting

--- What waits for people, from now on.
-- @tparam Store store
-- @tparam string dir run folder
-- @tparam table cfg
-- @tparam string scratch folder for prompts that wait for answers of the policy
function labeling.new(store, dir, cfg, scratch)
  local self = setmetatable({
    store = store,
    cfg = cfg,
    files = {},
    unanswered = cfg.policy ~= "" and spool.new(scratch) or nil,
    counts = { demonstrate = 0, rank = 0, rank_unanswered = 0, sampled = 0, unwritten = 0 },
  }, Waiting)
  for what, name in pairs(FILES) do
    self.files[what] = assert(pl.files.create(dir .. "/" .. name))
  end
  return self
end

--- A prompt that waits for a demonstration.
function Waiting:demonstrate(row)
  assert(self.files.demonstrate:write(question(row)))
  self.counts.demonstrate = self.counts.demonstrate + 1
end

-- A prompt that waits for a ranking, when it has answers by now.
function Waiting:ask(row)
  local completions = self.store:completions(row.id)
  if #completions >= 2 then
    assert(self.files.rank:write(question(row, shuffled(self.cfg, row, completions))))
    self.counts.rank = self.counts.rank + 1
  else
    self.counts.rank_unanswered = self.counts.rank_unanswered + 1
  end
end

--- A prompt that waits for a ranking: of answers it has, and of those the policy will give.
function Waiting:rank(row)
  if not self.unanswered then
    self:ask(row)
    return
  end
  row.group = "unanswered"
  self.unanswered:add(row)
end

--- Sample answers to prompts that wait for a ranking, and finish both files.
-- @treturn table how many: `demonstrate`, `rank`, `rank_unanswered`, `sampled`, and `unwritten`,
--   which the policy was not asked, since its template cannot write them
function Waiting:finish()
  if self.unanswered then
    local asked = unanswered(self.store, self.unanswered, self.cfg)
    self.counts.unwritten = sample(self.store, self.cfg, asked)
    self.counts.sampled = #asked - self.counts.unwritten
    for row in self.unanswered:rows() do
      self:ask(row)
    end
  end
  for _, file in pairs(self.files) do
    assert(file:commit())
  end
  return self.counts
end

local function same_ranks(a, b)
  for id, rank in pairs(a) do
    if b[id] ~= rank then return false end
  end
  for id in pairs(b) do
    if a[id] == nil then return false end
  end
  return true
end

-- A value in words, for a person who wrote it.
local function shown(value)
  return type(value) == "string" and ("the text '%s'"):format(pl.format.cut(value, 40))
    or type(value) == "table" and "a list"
    or tostring(value)
end

local function fault_of_ranks(row)
  local ranks, ids = row.ranks, row.completion_ids
  if type(ids) ~= "table" or type(ranks) ~= "table" or #ranks ~= #ids then
    return "`ranks` must have one number for each of `completion_ids`"
  end
  for i, rank in ipairs(ranks) do
    if math.type(math.tointeger(rank)) ~= "integer" or type(rank) == "string" or rank < 1 then
      return ("rank %d is %s: a rank is an integer from 1, 1 is best"):format(i, shown(rank))
    end
    ranks[i] = math.tointeger(rank)
  end
end

-- When it was written and how long it took; the time as people write it becomes Unix seconds.
local function fault_of_times(row)
  if row.time ~= nil then
    local seconds = pl.ingest.time(row.time)
    if not seconds then
      return ("`time` is %s: give Unix seconds or a date such as 2024-05-31T10:00:00Z"):format(
        shown(row.time)
      )
    end
    row.time = seconds
  end
  if row.seconds ~= nil and type(row.seconds) ~= "number" then
    return ("`seconds` is %s, not the number of seconds it took"):format(shown(row.seconds))
  end
end

-- What is wrong with a line of a labeler's.
local function fault(row)
  if math.type(row.id) ~= "integer" then
    return "no `id` of a prompt"
  elseif type(row.labeler) ~= "string" then
    return "no `labeler`"
  end
  local wrong = fault_of_times(row)
  if wrong then
    return wrong
  elseif row.ranks then
    return fault_of_ranks(row)
  elseif type(row.completion) ~= "string" then
    return "neither `ranks` nor `completion`"
  elseif not row.completion:find("%S") then
    return "`completion` is empty"
  end
end

-- The latest answer of this labeler to this prompt.
local function latest(list, labeler)
  for _, answer in ipairs(list) do
    if answer.labeler == labeler then return answer end
  end
end

local function add_ranking(store, row, before)
  local minus = {}
  for i, rank in ipairs(row.ranks) do
    minus[i] = -rank
  end
  local ranks = {} -- whatever numbers a labeler took, 1 2 2 4 comes out, not 1 2 2 3
  for i, rank in ipairs(pl.ranking.ranks(minus)) do
    ranks[row.completion_ids[i]] = rank
  end
  if before and same_ranks(before.ranks_by_id, ranks) then return 0 end
  store:rank(row.id, {
    labeler = row.labeler,
    ranks = ranks,
    seconds = row.seconds,
    time = row.time,
    replaces = before and before.ranking_id,
  })
  return 1
end

local function add_demonstration(store, row, before)
  if before and before.completion == row.completion then return 0 end
  store:demonstrate(row.id, {
    labeler = row.labeler,
    completion = row.completion,
    time = row.time,
    replaces = before and before.demonstration_id,
  })
  return 1
end

-- How many answers were new: 0 or 1.
local function add_answer(store, row)
  local people = store:human_answers(row.id)
  if row.ranks then return add_ranking(store, row, latest(people.ranked, row.labeler)) end
  return add_demonstration(store, row, latest(people.demonstrations, row.labeler))
end

--- Read what labelers wrote, all of a file or nothing of it.
-- @treturn integer answers that were new
function labeling.import(store, path)
  local rows = assert(pl.ingest.objects(path))
  local added, read = 0, 0
  store:transaction(function()
    for row, line in rows do
      local wrong = fault(row)
      local ok, new = not wrong, nil
      if ok then
        ok, new = pcall(add_answer, store, row)
        wrong = not ok and tostring(new):gsub("^%S+%.lua:%d+: ", "") or nil
      end
      if wrong then error(("%s:%d: %s"):format(path, line, wrong), 0) end
      read, added = read + 1, added + new
    end
  end)
  if read == 0 then error(path .. " gave no answers of labelers: it holds no rows", 0) end
  return added
end

return labeling
