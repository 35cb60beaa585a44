--- What waits for labelers goes out as JSON Lines, what they wrote comes back.
--
--   to-demonstrate.jsonl   {id, prompt | messages, use_case}       back: the same with `completion`
--   to-rank.jsonl          {id, prompt | messages, completions,    back: the same with `ranks`
--                           completion_ids}
-- and `labeler` in both. Completions stand in an order of the seed's, so that nobody can tell
-- models apart by place; `ranks` are those of the completions in the file's order, 1 is best, ties
-- share a rank. Reading a file again adds nothing: an answer that the store has as this labeler's
-- latest is passed over, another one replaces it.

local pl = require "perilune"
local spool = pl.rules.spool

local labeling = {}

local function question(row, more)
  local line = { id = row.id, prompt = row.prompt, messages = row.messages,
    use_case = row.use_case }
  for key, value in pairs(more or {}) do line[key] = value end
  return pl.json.encode(line) .. "\n"
end

-- K of a prompt, uniform over the range.
local function wanted_answers(cfg, row)
  local hash = pl.files.hash_string(("answers\0%d\0%d"):format(cfg.seed, row.id))
  return cfg.min_answers + tonumber(hash:sub(1, 12), 16) % (cfg.max_answers - cfg.min_answers + 1)
end

-- A byte-level model may end within a character: such bytes become U+FFFD, as JSON has them.
local function as_utf8(text)
  return utf8.len(text) and text or pl.json.decode(pl.json.encode(text))
end

-- Answers of the policy to prompts, into the store. Prompts of one K go together.
local function sample(store, cfg, rows)
  local tok = assert(pl.tokenizer.load(cfg.policy))
  local policy, template = assert(pl.load(cfg.policy)):freeze(), pl.data.template(cfg.template)
  local stop = pl.data.stop_id(tok, template)
  local by_count = {}
  for _, row in ipairs(rows) do
    local k = wanted_answers(cfg, row)
    by_count[k] = by_count[k] or {}
    table.insert(by_count[k], row)
  end
  local sampling = { temperature = cfg.temperature, max_tokens = cfg.response_length,
    seed = cfg.seed }
  for k = cfg.min_answers, cfg.max_answers do
    local scope <close> = pl.scope "collect.sample"
    local prompts, keys, asked = {}, {}, by_count[k] or {}
    for i, row in ipairs(asked) do
      prompts[i] = assert(pl.data.prompt_ids(tok, template, row))
      keys[i] = row.id
    end
    local answers = #prompts == 0 and {} or pl.generate(policy, prompts, { samples = k, keys = keys,
      seed = cfg.seed, temperature = cfg.temperature, max_tokens = cfg.response_length,
      stop = { stop } })
    store:transaction(function()
      for i, row in ipairs(asked) do
        local list = {}
        for n = 1, k do
          local tokens = answers[(i - 1) * k + n].tokens
          list[n] = { text = as_utf8(tok:decode(tokens, { skip_special = true })),
            model = cfg.policy, sampling = sampling }
        end
        store:complete(row.id, list)
      end
    end)
  end
end

-- A sample of the prompts without answers.
local function unanswered(store, rows, cfg)
  local list = {}
  for row in pl.rules.run(rows, {
    pl.rules.filter("answered", function(row) return #store:completions(row.id) == 0 end),
    pl.rules.cap { by = "group", max = cfg.rank_prompts } }, { seed = cfg.seed }) do
    list[#list + 1] = row
  end
  return list
end

-- Completions in an order of their own for each prompt.
local function shuffled(cfg, row, completions)
  local texts, ids = {}, {}
  for place, n in ipairs(pl.batch.permutation(#completions, cfg.seed, 8800000 + row.id)) do
    texts[place], ids[place] = completions[n].text, completions[n].id
  end
  return { completions = texts, completion_ids = ids }
end

local FILES <const> = { demonstrate = "to-demonstrate.jsonl", rank = "to-rank.jsonl" }

local Waiting = {}
Waiting.__index = Waiting

--- What waits for people, from now on.
-- @param store
-- @tparam string dir run folder
-- @tparam table cfg
-- @tparam string scratch folder for prompts that wait for answers of the policy
function labeling.new(store, dir, cfg, scratch)
  local self = setmetatable({ store = store, dir = dir, cfg = cfg, files = {},
    counts = { demonstrate = 0, rank = 0, rank_unanswered = 0, sampled = 0 } }, Waiting)
  for what, name in pairs(FILES) do
    self.files[what] = assert(io.open(("%s/%s.partial"):format(dir, name), "wb"))
  end
  if cfg.policy ~= "" then self.unanswered = spool.new(scratch) end
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
  if not self.unanswered then return self:ask(row) end
  row.group = "unanswered"
  self.unanswered:add(row)
end

--- Sample answers to prompts that wait for a ranking, and finish both files.
-- @treturn table how many: `demonstrate`, `rank`, `rank_unanswered`, `sampled`
function Waiting:finish()
  if self.unanswered then
    local asked = unanswered(self.store, self.unanswered, self.cfg)
    sample(self.store, self.cfg, asked)
    self.counts.sampled = #asked
    for row in self.unanswered:rows() do self:ask(row) end
  end
  for what, name in pairs(FILES) do
    local path = ("%s/%s"):format(self.dir, name)
    assert(self.files[what]:close())
    assert(os.rename(path .. ".partial", path))
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

local function fault(row)
  if math.type(row.id) ~= "integer" then
    return "no `id` of a prompt"
  elseif type(row.labeler) ~= "string" then
    return "no `labeler`"
  elseif row.ranks == nil and type(row.completion) ~= "string" then
    return "neither `ranks` nor `completion`"
  elseif row.ranks and (type(row.completion_ids) ~= "table" or type(row.ranks) ~= "table"
    or #row.ranks ~= #row.completion_ids) then
    return "`ranks` must have one number for each of `completion_ids`"
  end
  for _, rank in ipairs(row.ranks or {}) do
    if math.type(rank) ~= "integer" or rank < 1 then
      return "a rank is a whole number from 1"
    end
  end
end

-- The latest answer of this labeler to this prompt.
local function latest(list, labeler)
  for _, answer in ipairs(list) do
    if answer.labeler == labeler then return answer end
  end
end

-- 1 and how many are better: whatever numbers a labeler took, 1 2 2 4 comes out, not 1 2 2 3.
local function competition_rank(ranks, i)
  local better = 0
  for _, other in ipairs(ranks) do better = better + (other < ranks[i] and 1 or 0) end
  return 1 + better
end

local function add_answer(store, row)
  local people = store:human_answers(row.id)
  if row.ranks then
    local ranks = {}
    for i, id in ipairs(row.completion_ids) do ranks[id] = competition_rank(row.ranks, i) end
    local before = latest(people.ranked, row.labeler)
    if before and same_ranks(before.ranks_by_id, ranks) then return 0 end
    store:rank(row.id, { labeler = row.labeler, ranks = ranks, seconds = row.seconds,
      time = row.time, replaces = before and before.ranking_id })
  else
    local before = latest(people.demonstrations, row.labeler)
    if before and before.completion == row.completion then return 0 end
    store:demonstrate(row.id, { labeler = row.labeler, completion = row.completion,
      time = row.time, replaces = before and before.demonstration_id })
  end
  return 1
end

--- Read what labelers wrote, all of a file or nothing of it.
-- @treturn integer answers that were new
function labeling.import(store, path)
  local rows = assert(pl.run.read_rows(path))
  local added = 0
  store:transaction(function()
    for number, row in ipairs(rows) do
      local wrong = fault(row)
      if wrong then error(("%s:%d: %s"):format(path, number, wrong), 0) end
      added = added + add_answer(store, row)
    end
  end)
  return added
end

return labeling
