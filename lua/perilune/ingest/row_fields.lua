--- What a canonical row must be, and how the loose fields of a record become its fields.
--
-- Canonical: `prompt` (text) or `messages` ending in a user turn; `user_id`, `organisation`, `time`
-- (Unix seconds), `source`, `use_case`, `kind`; `completion` with `labeler`; `completions` with
-- `ranks` (competition ranks: 1 is best, ties share) or `rankings`; `extra` for small other fields.
-- A model's answer in a log (`response`, `answer`) is no demonstration: only `completion` is one.
-- Every reader's rows pass through `check`, so that nothing else reaches a store.

local clock = require("perilune.ingest.clock")

local row_fields = {}

--- Names of the canonical fields, and by which others they go in logs, the preferred ones first.
row_fields.names = {
  prompt = { "prompt", "text", "query", "question" },
  messages = { "messages", "conversation" },
  user_id = { "user_id", "user", "uid", "username", "author" },
  organisation = { "organisation", "organization", "org", "org_id" },
  time = { "time", "timestamp", "created_at", "created", "created_utc", "created_date", "ts" },
  use_case = { "use_case", "category" },
  source = { "source" },
  kind = { "kind" },
  labeler = { "labeler", "annotator", "labeler_id" },
  completion = { "completion" },
  completions = { "completions" },
  ranks = { "ranks" },
  rankings = { "rankings" },
}

local canonical = {}
for name, others in pairs(row_fields.names) do
  for _, other in ipairs(others) do
    canonical[other] = name
  end
end
row_fields.canonical = canonical

local sources = { api = true, labeler = true }
local kinds = { plain = true, few_shot = true, user_based = true }

local EXTRA_BYTES <const> = 200 -- texts longer than this are no small fields
local EXTRA_FIELDS <const> = 24
local MOST_COMPLETIONS <const> = 64

local function keep_small(extra)
  local names = {}
  for name in pairs(extra) do
    names[#names + 1] = name
  end
  if #names > EXTRA_FIELDS then
    table.sort(names)
    for i = EXTRA_FIELDS + 1, #names do
      extra[names[i]] = nil
    end
  end
  return extra
end

--- A text without the blanks around it, in time proportional to its length (a pattern such as
-- "^%s*(.-)%s*$" takes the square of it).
function row_fields.trim(text)
  local from, to = text:find("%S"), #text
  if not from then
    return ""
  end
  while text:find("^%s", to) do
    to = to - 1
  end
  return text:sub(from, to)
end

local function is_small(value)
  local kind = type(value)
  return kind == "number" or kind == "boolean" or kind == "string" and #value <= EXTRA_BYTES
end

--- The small fields of a record that are not in `used`, or nil.
function row_fields.rest(record, used)
  local extra
  for key, value in pairs(record) do
    if type(key) == "string" and not used[key] and is_small(value) then
      extra = extra or {}
      extra[key] = value
    end
  end
  return extra and keep_small(extra)
end

--- The field of two or more names for one thing that is preferred.
local function first_of(record, name, known)
  for _, other in ipairs(row_fields.names[name]) do
    if record[other] ~= nil and not (known and known[other]) then
      return record[other]
    end
  end
end

--- Others use `source` and `kind` for things of their own: these are small fields then.
local function set_aside(row, keep_extra)
  for name, valid in pairs({ source = sources, kind = kinds }) do
    local value = row[name]
    if value ~= nil and not valid[value] then
      row[name] = nil
      if keep_extra and is_small(value) then
        row.extra = row.extra or {}
        row.extra[name] = value
      end
    end
  end
end

--- The fields of a record under their canonical names; what else is small goes to `extra`.
-- @tparam table record
-- @tparam ?table known names that a reader takes itself: neither canonical nor extra
-- @tparam boolean keep_extra
function row_fields.collect(record, known, keep_extra)
  local plain = not known
  for key in next, record do
    if canonical[key] ~= key then
      plain = false
      break
    end
  end
  if plain then -- a record that is a row already need not be copied
    if record.source ~= nil or record.kind ~= nil then
      set_aside(record, keep_extra)
    end
    return record
  end
  local row, extra = { prompt = nil, user_id = nil, time = nil, source = nil, extra = nil }, nil
  for key, value in pairs(record) do
    if not (known and known[key]) then
      local name = canonical[key]
      if name then
        row[name] = row[name] == nil and value or first_of(record, name, known)
      elseif keep_extra and is_small(value) and type(key) == "string" then
        extra = extra or {}
        extra[key] = value
      end
    end
  end
  row.extra = extra and keep_small(extra)
  if row.source ~= nil or row.kind ~= nil then
    set_aside(row, keep_extra)
  end
  return row
end

--- Competition ranks of any numbers that order answers, lowest best.
-- @tparam {number,...} numbers
-- @treturn {integer,...}
function row_fields.ranks(numbers)
  local ranks = {}
  for i, number in ipairs(numbers) do
    local rank = 1
    for _, other in ipairs(numbers) do
      if other < number then
        rank = rank + 1
      end
    end
    ranks[i] = rank
  end
  return ranks
end

local function check_ranks(numbers, count)
  if type(numbers) ~= "table" or #numbers ~= count then
    return nil, ("ranks are not a list of %d numbers, one for each completion"):format(count)
  end
  for _, number in ipairs(numbers) do
    if type(number) ~= "number" or number ~= number then
      return nil, "a rank is not a number"
    end
  end
  return row_fields.ranks(numbers)
end

local function check_completions(row)
  local list = row.completions
  if type(list) ~= "table" or #list == 0 then
    return "completions are not a list"
  elseif #list > MOST_COMPLETIONS then
    return ("%d completions (at most %d)"):format(#list, MOST_COMPLETIONS)
  elseif #list < 2 and (row.ranks ~= nil or row.rankings ~= nil) then
    return "ranks of one completion"
  end
  for i, text in ipairs(list) do
    if type(text) ~= "string" then
      return ("completion %d is a %s, not a text"):format(i, type(text))
    end
  end
  local reason
  if row.ranks ~= nil then
    row.ranks, reason = check_ranks(row.ranks, #list)
    if reason then
      return reason
    end
  end
  if row.rankings ~= nil then
    if type(row.rankings) ~= "table" or #row.rankings == 0 then
      return "rankings are not a list"
    end
    for i, ranking in ipairs(row.rankings) do
      if type(ranking) ~= "table" then
        return ("ranking %d is no object"):format(i)
      end
      ranking.ranks, reason = check_ranks(ranking.ranks, #list)
      if reason then
        return ("ranking %d: %s"):format(i, reason)
      end
      ranking.time = ranking.time and clock.seconds(ranking.time)
    end
  end
end

local function check_messages(messages)
  local last = messages[#messages]
  if last == nil or last.role ~= "user" then
    return "messages do not end in a user turn"
  end
  for i, message in ipairs(messages) do
    if type(message) ~= "table" or type(message.role) ~= "string"
      or type(message.content) ~= "string" then
      return ("message %d has no role and content"):format(i)
    end
  end
end

local texts = { "organisation", "use_case", "kind", "labeler" }

--- Makes a row canonical, or says why it cannot be.
-- @tparam table row changed in place
-- @tparam ?number day for times of day without a day
-- @treturn ?string reason, nil when the row is good
-- @treturn ?boolean true when such a row is passed over rather than bad
function row_fields.check(row, day)
  local prompt = row.prompt
  if prompt ~= nil and row.messages ~= nil then
    return "both a prompt and messages"
  elseif type(prompt) == "string" then
    if not prompt:find("%S") then
      return "an empty prompt", true
    end
  elseif prompt ~= nil then
    return ("prompt is a %s, not a text"):format(type(prompt))
  elseif type(row.messages) == "table" then
    local reason = check_messages(row.messages)
    if reason then
      return reason
    end
  else
    return row.messages == nil and "no prompt" or "messages are not a list"
  end

  local user = row.user_id
  if math.type(user) == "integer" then
    row.user_id = ("%d"):format(user)
  elseif user ~= nil and (type(user) ~= "string" or user == "") then
    if user ~= "" then
      return ("user_id is a %s, not a text"):format(type(user))
    end
    row.user_id = nil
  end
  for i = 1, #texts do
    local value = row[texts[i]]
    if value ~= nil and type(value) ~= "string" then
      if math.type(value) ~= "integer" then
        return ("%s is a %s, not a text"):format(texts[i], type(value))
      end
      row[texts[i]] = ("%d"):format(value)
    end
  end
  if not sources[row.source] then
    return ("source is %s, not 'api' or 'labeler'"):format(type(row.source) == "string"
      and "'" .. row.source:sub(1, 40) .. "'" or type(row.source))
  end
  if row.kind ~= nil and not kinds[row.kind] then
    return ("kind is '%s', not plain, few_shot or user_based"):format(row.kind:sub(1, 40))
  end
  local time = row.time
  if time == "" then
    row.time = nil
  elseif time ~= nil then
    row.time = clock.seconds(time, day)
    if not row.time and not (type(time) == "string" and clock.is_time_of_day(time)) then
      return ("time %s is not understood"):format(type(time) == "table" and "that is a table"
        or "'" .. tostring(time):sub(1, 40) .. "'")
    end
  end

  local completion = row.completion
  if completion ~= nil and type(completion) ~= "string" then
    return ("completion is a %s, not a text"):format(type(completion))
  elseif completion and not completion:find("%S") then
    return "an empty answer", true
  elseif row.completions ~= nil then
    return check_completions(row)
  elseif row.ranks ~= nil or row.rankings ~= nil then
    return "ranks without completions"
  end
end

--- Small fields that other readers put beside the canonical ones.
function row_fields.add_extra(row, name, value)
  if value ~= nil then
    row.extra = row.extra or {}
    row.extra[name] = value
  end
end

return row_fields
