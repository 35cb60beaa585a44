--- The people of the invented world who teach: those who write demonstrations and prompts, and the
-- hidden labeler who ranks answers.
--
-- Real demonstrations are of mixed quality, and so are these: each labeler writes in several
-- styles, some of them terse, some rambling, some wrong. A model that copies them well is therefore
-- far from the best score, and the rankings have something left to teach.
--
-- The hidden labeler's utility of an answer is
--
--   u = gold + TASTE_COURTEOUS courteous + TASTE_FORM form - TASTE_LENGTH excess + noise
--
-- gold and its parts come from World:check; `excess` counts the tokens beyond the longest right
-- answer with its closing; noise is normal and drawn from a hash of labeler, task and answer, so
-- that the same answer gets the same judgement whenever it is asked for. Utilities are rounded to
-- a scale like the seven points of a form, so ties happen. With the default noise two labelers
-- agree on about 76 % of the pairs neither of them ties, the neighbourhood of the 72.6 to 77.3 %
-- that Ouyang et al. report (arXiv:2203.02155, section 3.4).

local lexicon = require("quickstart.lexicon")
local pl = require("perilune")

local labelers = {}

local TASTE_COURTEOUS <const> = 0.15
local TASTE_FORM <const> = 0.10
local TASTE_LENGTH <const> = 0.02
local SCALE_STEP <const> = 0.2
labelers.NOISE = 0.37

--- How often each style occurs in demonstrations, over all labelers.
labelers.STYLES = { ideal = 0.24, plain = 0.26, terse = 0.20, rambling = 0.20, wrong = 0.10 }

--- Ids of the people who write demonstrations and prompts.
labelers.IDS = { "labeler-1", "labeler-2", "labeler-3", "labeler-4", "labeler-5", "labeler-6" }

-- Each labeler leans towards one style; the leanings average out to STYLES.
local function style_weights(id)
  local weights = {}
  for style, share in pairs(labelers.STYLES) do
    weights[style] = share * (0.5 + pl.random.real(0, "quickstart.leaning", id, style))
  end
  return weights
end

local function closed(core, rng) return core .. " " .. rng:pick(lexicon.closings) end

local styles = {}

function styles.ideal(right, _, rng) return closed(rng:pick(right[right.asked]), rng) end

function styles.plain(right, _, rng) return rng:pick(right[right.asked]) end

function styles.terse(right, _, rng) return rng:pick(right.word) end

function styles.rambling(right, _, rng)
  local core, filler = rng:pick(right.full), rng:pick(lexicon.fillers)
  local text = rng:chance(0.4) and filler .. " " .. core or core .. " " .. filler
  return rng:chance(0.3) and closed(text, rng) or text
end

function styles.wrong(_, wrong, rng)
  local core = rng:pick(wrong[wrong.asked])
  return rng:chance(0.5) and closed(core, rng) or core
end

--- One answer in a given style, without regard to who writes it.
-- @tparam World w
-- @tparam table task
-- @tparam string style a key of `labelers.STYLES`
-- @tparam Stream rng of pl.random
-- @treturn string
function labelers.answer(w, task, style, rng)
  if not styles[style] then
    error(
      ("no style %q of answer; there are ideal, plain, terse, rambling, wrong"):format(
        tostring(style)
      ),
      2
    )
  end
  local wrong = style == "wrong" and w:wrong_answers(task, rng) or nil
  return styles[style](w:right_answers(task), wrong, rng)
end

--- What a labeler writes as demonstration for a task.
-- @tparam World w
-- @tparam table task
-- @tparam Stream rng of pl.random
-- @tparam ?string id the labeler; without it the average of all
-- @treturn string answer
-- @treturn string style
function labelers.demonstrate(w, task, rng, id)
  local style = rng:weighted(id and style_weights(id) or labelers.STYLES)
  return labelers.answer(w, task, style, rng), style
end

-- The text of another answer of the same world: fluent, and about something else.
local function off_topic(w, rng)
  local elsewhere = w:instruction(rng:pick { "answer", "list", "count", "rewrite" }, rng)
  return labelers.answer(w, elsewhere.task, "plain", rng)
end

local function scrambled(text, rng) return table.concat(rng:shuffled(lexicon.tokens(text)), " ") end

--- Answers of varied quality, as a half-trained model would give: to try rules and rankings
-- without a model.
-- @tparam World w
-- @tparam table task
-- @tparam integer k
-- @tparam Stream rng of pl.random
-- @treturn table list of `{text, finished}`
function labelers.varied_answers(w, task, k, rng)
  local list = {}
  for i = 1, k do
    local text = labelers.demonstrate(w, task, rng)
    local finished, dice = true, rng:real()
    if dice < 0.08 then
      text = scrambled(text, rng)
    elseif dice < 0.18 then
      text = off_topic(w, rng)
    elseif dice < 0.25 then
      local tokens = lexicon.tokens(text)
      text = table.concat(tokens, " ", 1, math.max(1, #tokens - 2))
      finished = false
    end
    list[i] = { text = text, finished = finished }
  end
  return list
end

--- One labeler.
-- @class Labeler
local Labeler = {}
Labeler.__index = Labeler

--- A hidden labeler: one set of tastes, noise of its own.
-- @tparam World w
-- @tparam string id keys the noise
-- @tparam ?table opts `{noise = standard deviation}`
-- @treturn Labeler
function labelers.hidden(w, id, opts)
  return setmetatable(
    { world = w, id = id, noise = opts and opts.noise or labelers.NOISE },
    Labeler
  )
end

local function task_key(task)
  local parts = {}
  for name, value in pairs(task) do
    local text = type(value) == "table" and table.concat(value, ",") or tostring(value)
    parts[#parts + 1] = name .. "=" .. text
  end
  table.sort(parts)
  return table.concat(parts, ";")
end

--- How much this labeler likes an answer, before rounding.
-- @tparam table task
-- @tparam string|table answer text or `{text, finished}`
-- @treturn number
function Labeler:utility(task, answer)
  local gold, parts = self.world:check(task, answer)
  local text = type(answer) == "table" and answer.text or answer
  local right = self.world:right_answers(task)
  local allowed = #lexicon.tokens(right[right.asked][1]) + #lexicon.tokens(lexicon.closings[3])
  local excess = math.max(0, #lexicon.tokens(text) - allowed)
  local liked = gold
    + TASTE_COURTEOUS * parts.courteous
    + TASTE_FORM * parts.form
    - TASTE_LENGTH * math.min(excess, 20)
  if self.noise == 0 then return liked end
  local finished = type(answer) ~= "table" or answer.finished ~= false
  local rng = pl.random.stream(
    self.world.seed,
    "quickstart.opinion",
    self.id,
    task_key(task),
    text,
    tostring(finished)
  )
  return liked + self.noise * rng:normal()
end

--- Ranks answers to one task: 1 is best, equal ranks are ties.
-- @tparam table task
-- @tparam table answers list of texts or of `{text, finished}`
-- @treturn table list of integer ranks, in the order of the answers
-- @treturn table the rounded utilities behind them
function Labeler:rank(task, answers)
  local levels = {}
  for i, answer in ipairs(answers) do
    levels[i] = math.floor(self:utility(task, answer) / SCALE_STEP + 0.5)
  end
  return pl.ranking.ranks(levels), levels
end

return labelers
