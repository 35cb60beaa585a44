--- The shapes in which data sets write prompts, answers and rankings: from one record (a table, as
-- JSON gives it) to canonical rows.
--
-- `forms[name](record, out, opts)` appends rows to `out` and gives how many; when it is 0, also
-- the reason, and true when such a record holds no row by nature (it is skipped, not bad). Rows
-- are not checked here. `opts.extra == false` leaves the other fields of a record out.
--
-- What a record of one exchange says is read by exchange.lua whatever its shape is called: `rows`,
-- `hh`, `alpaca`, `sharegpt` and `pandalm` differ in whose prompts they are when nobody says so;
-- `arena`, `webgpt`, `shp`, `chatgpt` and `label_studio` are written anew for it by exports.lua.
-- The other shapes hold several exchanges in a record:
--
--   self_instruct  instruction with instances of input and output
--   turns          questions in several turns (the first is taken: the others want answers before)
--   oasst          message trees: a row for each prompter's turn with at least two ranked replies

local exchange = require("perilune.ingest.exchange")
local exports = require("perilune.ingest.exports")
local field_names = require("perilune.ingest.field_names")
local row_fields = require("perilune.ingest.row_fields")
local turns = require("perilune.ingest.turns")
local verdicts = require("perilune.ingest.verdicts")

local forms = {}

local add_extra = row_fields.add_extra

local function put(out, row)
  out[#out + 1] = row
  return 1
end

-- Which shape of several exchanges a record has, whatever the others of its file are, or nil.
local function nested_shape(record)
  if type(record.prompt) == "table" and record.prompt.replies ~= nil then
    return "oasst"
  elseif record.instruction ~= nil and type(record.instances) == "table" then
    return "self_instruct"
  elseif type(record.turns) == "table" and record.prompt == nil then
    return "turns"
  end
end

--- One exchange, in any of its writings.
function forms.rows(record, out, opts)
  local nested = nested_shape(record)
  if nested then return forms[nested](record, out, opts) end
  local plain, reason, skipped = exports.plain(record)
  if not plain then return 0, reason, skipped end
  local rated = opts.labels and verdicts.rated(plain, out) or 0
  if rated > 0 then return rated end
  local row
  row, reason, skipped = exchange.read(plain, opts)
  if not row then return 0, reason, skipped end
  return put(out, row)
end

for _, name in ipairs {
  "hh",
  "alpaca",
  "sharegpt",
  "pandalm",
  "arena",
  "webgpt",
  "shp",
  "chatgpt",
  "label_studio",
} do
  forms[name] = forms.rows
end

-- A copy of a record with another field in the place of one.
local function in_place_of(record, name, fields)
  local copy = {}
  for key, value in pairs(record) do
    copy[key] = value
  end
  copy[name] = nil
  for key, value in pairs(fields) do
    copy[key] = value
  end
  return copy
end

function forms.self_instruct(record, out, opts)
  if type(record.instances) ~= "table" or #record.instances == 0 then
    return 0, "instances are not a list"
  end
  local count, wrong = 0, nil
  for i, instance in ipairs(record.instances) do
    local row, reason
    if type(instance) == "table" and instance.output ~= nil then
      row, reason = exchange.read(
        in_place_of(record, "instances", {
          input = instance.input,
          output = instance.output,
        }),
        opts
      )
    end
    if row then
      count = count + put(out, row)
    else
      wrong = ("instance %d: %s"):format(i, reason or "no output")
    end
  end
  return count, wrong
end

function forms.turns(record, out, opts)
  local list = record.turns
  if type(list) ~= "table" or type(list[1]) ~= "string" then
    return 0, "turns are not a list of texts"
  end
  local asked = in_place_of(record, "turns", { prompt = list[1] })
  asked.reference = nil
  return forms.rows(asked, out, opts)
end

-- ---- rankings --------

--- Replies of people that were ranked, best first.
local function ranked_replies(node)
  local ranked = {}
  for _, reply in ipairs(node.replies) do
    if
      type(reply) == "table"
      and reply.role == "assistant"
      and type(reply.rank) == "number"
      and type(reply.text) == "string"
      and reply.deleted ~= true
    then
      ranked[#ranked + 1] = reply
    end
  end
  table.sort(ranked, function(a, b)
    if a.rank ~= b.rank then return a.rank < b.rank end
    return a.text < b.text
  end)
  return ranked
end

--- The turns from the root down to a prompter's node.
local function path_to(entry)
  local messages, n = {}, 0
  while entry do
    n = n + 1
    local role = entry.node.role == "assistant" and "assistant" or "user"
    messages[n] = { role = role, content = entry.node.text }
    entry = entry.up
  end
  for i = 1, n // 2 do
    messages[i], messages[n + 1 - i] = messages[n + 1 - i], messages[i]
  end
  return messages
end

local function tree_row(entry, ranked, tree)
  local node = entry.node
  local row = { completions = {}, ranks = {}, user_id = node.user_id, time = node.created_date }
  for i, reply in ipairs(ranked) do
    row.completions[i], row.ranks[i] = reply.text, reply.rank
  end
  add_extra(row, "tree_id", tree)
  add_extra(row, "message_id", type(node.message_id) == "string" and node.message_id or nil)
  add_extra(row, "lang", type(node.lang) == "string" and node.lang or nil)
  return row, turns.set_prompt(row, path_to(entry))
end

function forms.oasst(record, out, opts)
  local root = record.prompt
  if type(root) ~= "table" then return 0, "the tree has no prompt" end
  local tree = type(record.message_tree_id) == "string" and record.message_tree_id or nil
  local stack, count, wrong = { { node = root } }, 0, nil
  while #stack > 0 do
    local entry = table.remove(stack)
    local node = entry.node
    if type(node) ~= "table" or type(node.text) ~= "string" then
      wrong = "a message of the tree has no text"
    elseif node.deleted ~= true and type(node.replies) == "table" then
      if node.role == "prompter" then
        local ranked = ranked_replies(node)
        if #ranked >= 2 then
          local row, reason = tree_row(entry, ranked, opts.extra ~= false and tree or nil)
          wrong = reason or wrong
          count = count + (reason and 0 or put(out, row))
        end
      end
      for i = #node.replies, 1, -1 do
        stack[#stack + 1] = { node = node.replies[i], up = entry }
      end
    end
  end
  if count == 0 and not wrong then return 0, "no two ranked replies", true end
  return count, wrong
end

-- ---- told apart --------

--- Whose prompts these are when neither record nor setting says so.
forms.sources = {
  rows = "api",
  hh = "labeler",
  alpaca = "labeler",
  sharegpt = "api",
  self_instruct = "labeler",
  turns = "labeler",
  oasst = "labeler",
  pandalm = "labeler",
  arena = "api",
  webgpt = "labeler",
  shp = "labeler",
  chatgpt = "api",
  label_studio = "labeler",
}

--- The shape of a record, or nil.
function forms.of(record)
  record = field_names.folded(record)
  local nested = nested_shape(record) or exports.of(record)
  if nested then
    return nested
  elseif record.instruction ~= nil and record.response1 ~= nil and record.response2 ~= nil then
    return "pandalm"
  elseif
    record.instruction ~= nil
    and (
      record.output ~= nil
      or record.response ~= nil
      or record.chosen ~= nil
      or record.rejected ~= nil
    )
  then
    return "alpaca"
  elseif type(record.conversations) == "table" then
    return "sharegpt"
  elseif
    type(record.chosen) == "string"
    and record.prompt == nil
    and turns.transcript(record.chosen)
  then
    return "hh"
  elseif exchange.speaks(record) then
    return "rows"
  end
end

return forms
