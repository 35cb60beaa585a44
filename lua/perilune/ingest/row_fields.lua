--- What a canonical row must be, and how the loose fields of a record become its fields.
--
-- Canonical: `prompt` (text) or `messages` ending in a user turn; `user_id`, `organisation`, `time`
-- (Unix seconds), `source`, `use_case`, `kind`; `completion` with `labeler`; `completions` with
-- `ranks` (competition ranks: 1 is best, ties share) or `rankings`; `extra` for small other fields.
-- Which answer is a demonstration is decided in exchange.lua. Every reader's rows pass through
-- `check`, so that nothing else reaches a store.

local clock = require("perilune.ingest.clock")
local field_names = require("perilune.ingest.field_names")
local format = require("perilune.base.format")

local row_fields = {}

--- Names of the canonical fields, and by which others they go in logs, the preferred ones first.
row_fields.names = {
  prompt = { "prompt", "text", "query", "question" },
  messages = { "messages", "conversation" },
  user_id = { "user_id", "author_id", "user", "uid", "username", "author" },
  organisation = { "organisation", "organization", "org", "org_id" },
  time = {
    "time",
    "timestamp",
    "created_at",
    "created",
    "created_utc",
    "created_date",
    "ts",
    "date",
  },
  use_case = { "use_case", "category" },
  source = { "source" },
  kind = { "kind" },
  labeler = { "labeler", "annotator", "labeler_id", "annotator_id" },
  completion = { "completion" },
  completions = { "completions" },
  completion_finished = { "completion_finished" },
  ranks = { "ranks" },
  rankings = { "rankings" },
}

local canonical = {}
for name, others in pairs(row_fields.names) do
  for _, other in ipairs(others) do
    canonical[other] = name
  end
  field_names.know(others)
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
  if not from then return "" end
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
    if record[other] ~= nil and not (known and known[other]) then return record[other] end
  end
end

--- Others use `source` and `kind` for things of their own: these are small fields then.
local function set_aside(row, keep_extra)
  for name, valid in pairs { source = sources, kind = kinds } do
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
    if record.source ~= nil or record.kind ~= nil then set_aside(record, keep_extra) end
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
  if row.source ~= nil or row.kind ~= nil then set_aside(row, keep_extra) end
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
      if other < number then rank = rank + 1 end
    end
    ranks[i] = rank
  end
  return ranks
end

local function described(value)
  if type(value) == "userdata" then
    return "null"
  elseif type(value) == "string" then
    return ("the text '%s'"):format(format.cut(value, 40))
  end
  return "a " .. type(value)
end

local function check_ranks(numbers, count)
  if type(numbers) ~= "table" or #numbers ~= count then
    return nil, ("ranks are not a list of %d numbers, one for each completion"):format(count)
  end
  for i, number in ipairs(numbers) do
    if type(number) ~= "number" then
      return nil, ("rank %d is %s, not a number"):format(i, described(number))
    elseif number - number ~= 0 then
      return nil, ("rank %d is %s, not a finite number"):format(i, tostring(number))
    end
  end
  return row_fields.ranks(numbers)
end

local function are_booleans(list, n)
  if type(list) ~= "table" or #list ~= n then return false end
  for _, value in ipairs(list) do
    if type(value) ~= "boolean" then return false end
  end
  return true
end

--- The completions of a row and their ranks: made canonical, or what is wrong with them.
function row_fields.check_completions(row)
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
      return ("completion %d is %s, not a text"):format(i, described(text))
    end
  end
  if row.completion_finished ~= nil and not are_booleans(row.completion_finished, #list) then
    return "completion_finished does not have true or false for each of completions"
  end
  local reason
  if row.ranks ~= nil then
    row.ranks, reason = check_ranks(row.ranks, #list)
    if reason then return reason end
  end
  if row.rankings ~= nil then
    if type(row.rankings) ~= "table" or #row.rankings == 0 then return "rankings are not a list" end
    for i, ranking in ipairs(row.rankings) do
      if type(ranking) ~= "table" then return ("ranking %d is no object"):format(i) end
      ranking.ranks, reason = check_ranks(ranking.ranks, #list)
      if reason then return ("ranking %d: %s"):format(i, reason) end
      ranking.time = ranking.time and clock.seconds(ranking.time)
    end
  end
end

local function check_messages(messages)
  local last = messages[#messages]
  if last == nil or last.role ~= "user" then return "messages do not end in a user turn" end
  for i, message in ipairs(messages) do
    if
      type(message) ~= "table"
      or type(message.role) ~= "string"
      or type(message.content) ~= "string"
    then
      return ("message %d has no role and content"):format(i)
    end
  end
end

-- What services leave where a message was.
local gone = { ["[deleted]"] = true, ["[removed]"] = true }

-- What programs write for a user who is not known. Who has one of these as a name in a chat is
-- somebody.
local nobody = {}
local unknown = [[NULL null None nan NaN \N N/A n/a undefined <null> (null) ]]
for name in (unknown .. "[deleted] [removed]"):gmatch("%S+") do
  nobody[name] = true
end

--- A user's id as text. Numbers of one value are one user, however they are written; an object
-- stands for what identifies it.
-- @tparam any user
-- @tparam ?boolean is_nick the name of somebody in a chat, as it stands
-- @treturn ?string nil: nobody is told
-- @treturn ?string reason
local function user_of(user, is_nick)
  if type(user) == "table" then
    user = user.id or user._id or user.user_id or user["$oid"] or user.name or user.username or user
  end
  if user == nil or user == "" then
    return nil
  elseif type(user) == "string" then
    if is_nick then return user end
    user = row_fields.trim(user)
    user = user:match("^(%-?%d+)%.0+$") or user -- a column of numbers with gaps
    return user ~= "" and not nobody[user] and user or nil
  elseif type(user) == "number" and user - user == 0 then
    local whole = math.tointeger(user)
    return whole and ("%d"):format(whole) or ("%.17g"):format(user)
  end
  return nil, ("user_id is a %s, not a text"):format(type(user))
end

local texts = { "organisation", "use_case", "kind", "labeler" }

--- Makes a row canonical, or says why it cannot be.
-- @tparam table row changed in place
-- @tparam ?number day for times of day without a day
-- @tparam ?string date_order of dates that may be two, see clock.lua
-- @tparam ?boolean is_chat true: `user_id` is the name of somebody in a chat, whatever it is
-- @treturn ?string reason, nil when the row is good
-- @treturn ?boolean true when such a row is passed over rather than bad
-- @treturn ?string note what was left out of a good row
function row_fields.check(row, day, date_order, is_chat)
  local prompt, note = row.prompt, nil
  if prompt ~= nil and row.messages ~= nil then
    return "both a prompt and messages"
  elseif type(prompt) == "string" then
    if gone[prompt] then
      return "a deleted message", true
    elseif not prompt:find("%S") and row.completion == nil and row.completions == nil then
      return "an empty prompt", true
    end
  elseif prompt ~= nil then
    return ("prompt is a %s, not a text"):format(type(prompt))
  elseif type(row.messages) == "table" then
    local reason = check_messages(row.messages)
    if reason then return reason end
  else
    return row.messages == nil and "no prompt" or "messages are not a list"
  end

  local reason
  row.user_id, reason = user_of(row.user_id, is_chat)
  if reason then return reason end
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
    return ("source is %s, not 'api' or 'labeler'"):format(
      type(row.source) == "string" and "'" .. format.cut(row.source, 40) .. "'" or type(row.source)
    )
  end
  if row.kind ~= nil and not kinds[row.kind] then
    return ("kind is '%s', not plain, few_shot or user_based"):format(format.cut(row.kind, 40))
  end
  local time = row.time
  if time == "" then
    row.time = nil
  elseif time ~= nil then
    local is_open
    row.time, is_open = clock.seconds(time, day, date_order)
    if is_open then
      note = "a date of which day and month cannot be told apart, left out: say date_order"
    elseif not row.time and not (type(time) == "string" and clock.is_time_of_day(time)) then
      note = "a time that is not understood, left out"
    end
  end

  local completion = row.completion
  if completion ~= nil and type(completion) ~= "string" then
    return ("completion is a %s, not a text"):format(type(completion))
  elseif completion and not completion:find("%S") then
    return "an empty answer", true
  elseif row.completions ~= nil then
    reason = row_fields.check_completions(row)
    if reason then return reason end
  elseif row.ranks ~= nil or row.rankings ~= nil then
    return "ranks without completions"
  end
  return nil, nil, note
end

--- Small fields that other readers put beside the canonical ones.
function row_fields.add_extra(row, name, value)
  if value ~= nil then
    row.extra = row.extra or {}
    row.extra[name] = value
  end
end

return row_fields
