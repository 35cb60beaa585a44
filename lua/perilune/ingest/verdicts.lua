--- Whether an answer was wanted: what labels, thumbs and words say of it, in a record or in a turn
-- of a dialogue.
--
--   a label   a boolean; a number (above 0 is liked); a word for either; a thumb; an object that
--             holds one of these as `rating`, `score`, `value` or `type`
--   where     fields such as `label`, `kto_tag`, `thumbs_up`, `feedback` of the record or of a turn
--             (field_names.verdicts); `rating` and `annotation` of a turn
--
-- A rating above 1 says nothing here: where the line between liked and not is, its owner knows.

local field_names = require("perilune.ingest.field_names")
local row_fields = require("perilune.ingest.row_fields")
local turns = require("perilune.ingest.turns")

local verdicts = {}

local LIKED <const> = "true yes good up positive desirable like liked thumbs_up thumbsup accepted "
  .. "chosen 1 👍"
local DISLIKED <const> = "false no bad down negative undesirable dislike disliked thumbs_down "
  .. "thumbsdown rejected 👎"
local words = {}
for word in LIKED:gmatch("%S+") do
  words[word] = true
end
for word in DISLIKED:gmatch("%S+") do
  words[word] = false
end

--- What a flag says: true, false, or nil when it is no flag.
-- @tparam any value
-- @treturn ?boolean
function verdicts.flag(value)
  if type(value) == "boolean" then
    return value
  elseif type(value) == "string" then
    local word = row_fields.trim(value):lower():gsub("[%s%-]+", "_")
    if words[word] ~= nil then return words[word] end
    value = tonumber(word)
  end
  if type(value) == "number" then return value > 0 end
end

-- A thumb: a flag, or an object that holds one.
local function thumb(value)
  if type(value) ~= "table" then return verdicts.flag(value) end
  for _, name in ipairs { "rating", "score", "value", "type" } do
    local inner = value[name]
    if type(inner) ~= "table" and (type(inner) ~= "number" or inner <= 1) then
      local liked = verdicts.flag(inner)
      if liked ~= nil then return liked end
    end
  end
end

--- What a record or a turn says of its answer: false when anything in it does, true when something
-- does and nothing says false.
-- @tparam table record
-- @tparam ?table more names that count beside field_names.verdicts
-- @treturn ?boolean nil: it says nothing
function verdicts.of(record, more)
  local liked
  for _, list in ipairs { field_names.verdicts, more or {} } do
    for _, name in ipairs(list) do
      local says = nil
      if name ~= "weight" and record[name] ~= nil then says = thumb(record[name]) end
      if says == false then
        return false
      elseif says then
        liked = true
      end
    end
  end
  return liked
end

--- Why a record gives no answer with what is thought of it.
-- @tparam table record of which `verdicts.of` has nothing to say, or that has no answer
-- @treturn string
function verdicts.missing(record)
  for _, name in ipairs(verdicts.of(record) == nil and field_names.verdicts or {}) do
    if name ~= "weight" and record[name] ~= nil then
      return "an answer whose label says neither good nor bad"
    end
  end
  return "an answer that nobody labelled"
end

local of_turns = { "annotation", "rating" }

local function verdict_of_turn(turn)
  local rating = turn.rating
  if type(rating) == "number" and (rating > 1 or rating < -1) then return nil end
  return verdicts.of(turn, of_turns)
end

--- Rows of the answers of a dialogue that were rated turn by turn: each with what stands before it.
-- @tparam table record with a dialogue
-- @tparam table out rows are put here: `prompt` or `messages`, `completion`, `label`, and the small
--   fields of the record
-- @treturn integer how many; 0 for a dialogue without rated turns
function verdicts.rated(record, out)
  record = field_names.folded(record)
  local list, name = field_names.first(record, "dialogue")
  if type(list) ~= "table" then return 0 end
  local rated = false
  for _, turn in ipairs(list) do
    if type(turn) ~= "table" then return 0 end
    rated = rated or turns.role(turn) == "assistant" and verdict_of_turn(turn) ~= nil
  end
  if not rated then return 0 end
  local count = 0
  for i, turn in ipairs(list) do
    local liked = nil
    if turns.role(turn) == "assistant" then liked = verdict_of_turn(turn) end
    local text = liked ~= nil and turns.text(turn.content or turn.value or turn.text)
    local before = text and text:find("%S") and turns.messages(table.move(list, 1, i - 1, 1, {}))
    if before and #before > 0 then
      local row =
        row_fields.collect(record, { [name] = true, messages = true, prompt = true }, true)
      row.completion, row.label = text, liked
      if not turns.set_prompt(row, before) then
        out[#out + 1] = row
        count = count + 1
      end
    end
  end
  return count
end

return verdicts
