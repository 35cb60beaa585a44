--- The names under which records have what a row is made of, and how a key is held against them.
--
-- Keys are compared in small letters with words joined by "_", so that "Prompt", "User ID" and
-- "userId" are known too. Where a record has several names of one group, the first in the list
-- wins. The meaning of the groups is in exchange.lua.

local field_names = {}

--- Names of what is asked and answered.
field_names.groups = {
  system = { "system", "system_prompt", "system_message" },
  history = { "history" },
  dialogue = { "messages", "conversation", "conversations" },
  question = { "prompt", "instruction", "text", "query", "question", "content", "body" },
  material = { "input", "context" }, -- what a question is about
  chosen = { "chosen", "preferred_output", "response_j" }, -- StackExchange pairs: j is preferred
  rejected = { "rejected", "non_preferred_output", "response_k" },
  answer = { "completion", "output", "response", "answer" },
  answers = { "completions", "responses", "answers" },
  ranks = { "ranks", "ranking" },
  scores = { "scores", "rewards" },
  deleted = { "deleted", "removed", "is_deleted" },
}

--- Names that say whether an answer was wanted.
field_names.verdicts =
  { "label", "kto_tag", "weight", "liked", "thumbs_up", "accepted", "desirable", "feedback" }

local MOST_REMEMBERED <const> = 4096

local known, folded, remembered = {}, {}, 0

--- Makes names known: keys that differ from them in writing alone are taken for them.
-- @tparam {string,...} list
function field_names.know(list)
  for _, name in ipairs(list) do
    known[name] = true
  end
end

for _, list in pairs(field_names.groups) do
  field_names.know(list)
end
field_names.know(field_names.verdicts)
field_names.know {
  "rankings",
  "labels",
  "role",
  "parent_id",
  "turns",
  "instances",
  "response1",
  "response2",
}

--- The known name that a key is another writing of, or the key.
-- @tparam string key
-- @treturn string
function field_names.fold(key)
  local name = folded[key]
  if not name then
    name = key:gsub("([%l%d])(%u)", "%1_%2"):lower():gsub("[%s%-]+", "_")
    name = known[name] and name or key
    if remembered == MOST_REMEMBERED then
      folded, remembered = {}, 0
    end
    folded[key], remembered = name, remembered + 1
  end
  return name
end

--- A record with known names in the writing of this module; the record itself when it is so.
-- @tparam table record
-- @treturn table
function field_names.folded(record)
  local fold, same = field_names.fold, true
  for key in next, record do
    if type(key) == "string" and fold(key) ~= key then
      same = false
      break
    end
  end
  if same then return record end
  local copy = {}
  for key, value in next, record do
    local name = type(key) == "string" and fold(key) or key
    if name == key or record[name] == nil then
      copy[name] = value
    else
      copy[key] = value
    end
  end
  return copy
end

--- The value of a group in a record, and its name.
-- @tparam table record
-- @tparam string group
-- @treturn any value, or nil
-- @treturn ?string name
function field_names.first(record, group)
  for _, name in ipairs(field_names.groups[group]) do
    local value = record[name]
    if value ~= nil then return value, name end
  end
end

return field_names
