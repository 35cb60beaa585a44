--- Counts for collect.lua's report, taken while rows pass.
--
-- What is counted grows with the number of users, use cases and lengths, not with rows.

local pl = require("perilune")

local watch = {}

local Watch = {}
Watch.__index = Watch

--- Begin to count.
-- @tparam string key field of the user
-- @tparam ?Tokenizer tok for lengths in tokens; without it they are in words
function watch.new(key, tok)
  return setmetatable({
    key = key,
    tok = tok,
    before = {}, -- prompts of each user that came to the cap
    after = {}, -- and that came through all rules
    use_cases = {},
    sources = {},
    kinds = {}, -- of labelers' prompts
    lengths = {}, -- by powers of two
    places = {}, -- prompts by where they went
    prompts = 0,
    agreement = pl.agreement.new(),
  }, Watch)
end

local function tick(counts, name) counts[name] = (counts[name] or 0) + 1 end

-- The power of two below a length.
local function bin_of(length) return length < 1 and 0 or 1 << math.floor(math.log(length, 2)) end

--- A row that comes to the cap.
function Watch:before_cap(row)
  local user = row[self.key]
  if user and row.source == "api" then tick(self.before, user) end
end

-- Tokens of a row's text, or words.
function Watch:length(row)
  local text = pl.rules.text(row)
  return self.tok and #self.tok:encode(text) or select(2, text:gsub("%S+", ""))
end

--- A row that came through all rules, what people said of it, and where it went.
function Watch:row(row, people, place)
  self.prompts = self.prompts + 1
  tick(self.places, place)
  local user = row[self.key]
  if user and row.source == "api" then tick(self.after, user) end
  tick(self.use_cases, row.use_case or "unknown")
  tick(self.sources, row.source)
  if row.source == "labeler" then tick(self.kinds, row.kind or "unknown") end
  tick(self.lengths, bin_of(self:length(row)))
  if #people.ranked > 0 then self:judge(people.ranked) end
end

--- Raises unless every prompt that came through the rules went somewhere.
function Watch:check(rows_out)
  local placed = 0
  for _, n in pairs(self.places) do
    placed = placed + n
  end
  if placed ~= rows_out or self.prompts ~= rows_out then
    error(("%d prompts came through the rules, %d were placed"):format(rows_out, placed), 0)
  end
end

-- Rankings of one prompt, each over completions named by their ids.
function Watch:judge(ranked)
  local place, list, n = {}, {}, 0
  for i, one in ipairs(ranked) do
    local ranks = {}
    for id, rank in pairs(one.ranks_by_id) do
      if not place[id] then
        n = n + 1
        place[id] = n
      end
      ranks[place[id]] = rank
    end
    list[i] = { labeler = one.labeler, ranks = ranks }
  end
  self.agreement:add(list)
end

return watch
