--- Reading a store: iterators over canonical rows, one row at a time, so that memory is flat.
--
-- An iterator has a statement of its own: any number may be open at once and the store may be
-- written meanwhile; rows that are added after its start are not given. `for` closes it when the
-- loop is left early.

local json = require("perilune.base.json")
local keys_of = require("perilune.base.list").keys

local read = {}

local base_columns = "p.id, p.text, p.messages, u.name, u.organisation, p.time, p.source, "
  .. "p.use_case, p.kind, p.extra, p.source_id, p.line"
local base_tables = "prompts AS p LEFT JOIN users AS u ON u.id = p.user_id"

--- The row of the columns of `base_columns`.
local function base_row(
  id,
  text,
  messages,
  user_id,
  organisation,
  time,
  source,
  use_case,
  kind,
  extra,
  source_id,
  line
)
  return {
    id = id,
    prompt = text,
    messages = messages and json.decode(messages),
    time = time,
    user_id = user_id ~= "" and user_id or nil,
    organisation = organisation ~= "" and organisation or nil,
    source = source,
    use_case = use_case,
    kind = kind,
    extra = extra and json.decode(extra),
    source_id = source_id,
    line = line,
  }
end

local filters = {
  id = "p.id = ?",
  after = "p.id > ?",
  source = "p.source = ?",
  use_case = "p.use_case = ?",
  kind = "p.kind = ?",
  user_id = "u.name = ?",
  organisation = "u.organisation = ?",
  source_id = "p.source_id = ?",
}

-- WHERE terms and their values for a filter table; `labeler` where the statement has answers.
local function terms_of(filter, answers)
  local names = keys_of(filter or {})
  local terms, values = {}, {}
  for _, name in ipairs(names) do
    local term = filters[name] or answers and name == "labeler" and "a.labeler = ?"
    if term then
      terms[#terms + 1] = " AND " .. term
      values[#values + 1] = filter[name]
    elseif not (answers and name == "all") then
      error(("unknown filter '%s'"):format(name), 3)
    end
  end
  return table.concat(terms), values
end

-- Iterates over a statement of the iterator's own: `make` turns columns into a row.
local function each(self, sql, values, make)
  local statement = self.conn:prepare(sql)
  local next_row = statement:rows(table.unpack(values))
  local ended = false
  local function step(first, ...)
    if first == nil then
      ended = true
      statement:close()
      return nil
    end
    return make(first, ...)
  end
  return function()
    if not ended then return step(next_row()) end
  end, nil, nil, statement
end

local function last_id(self, name)
  return self:statement(("SELECT coalesce(max(id), 0) FROM %s"):format(name)):row()
end

--- The prompt of an id.
-- @tparam integer id of the prompt
-- @treturn ?Row nil when there is none
function read.prompt(self, id)
  local sql = ("SELECT %s FROM %s WHERE p.id = ?"):format(base_columns, base_tables)
  local function make(first, ...) return first and base_row(first, ...) end
  return make(self:statement(sql):row(id))
end

--- All prompts, in the order they were added.
-- @tparam ?table filter rows with these values alone: `source`, `use_case`, `kind`, `user_id`,
--   `organisation`, `source_id`, `id`; and `after` (an id): those behind it. An unknown name raises
-- @treturn function iterator of rows (Row)
function read.prompts(self, filter)
  local terms, values = terms_of(filter)
  local sql = ("SELECT %s FROM %s WHERE p.id <= ?%s ORDER BY p.id"):format(
    base_columns,
    base_tables,
    terms
  )
  return each(self, sql, { last_id(self, "prompts"), table.unpack(values) }, base_row)
end

-- Replaced answers are passed over unless the filter says `all`.
local function latest(filter, name)
  return filter and filter.all and ""
    or (" AND NOT EXISTS (SELECT 1 FROM %s AS newer WHERE newer.replaces = a.id)"):format(name)
end

--- Demonstrations with their prompts, in the order they were written. An unknown name in the filter
-- raises.
-- @tparam ?table filter as of `Store:prompts`, and `labeler`; `all` (false): replaced versions as
--   well
-- @treturn function iterator of rows with `completion`, `labeler`, `demonstration_id`, `answered`
--   (when, Unix seconds), `replaces`
function read.demonstrations(self, filter)
  local terms, values = terms_of(filter, true)
  local sql = ([[SELECT a.id, a.text, a.labeler, a.time, a.replaces, %s FROM demonstrations AS a
    CROSS JOIN %s WHERE p.id = a.prompt_id AND a.id <= ?%s%s ORDER BY a.id]]):format(
    base_columns,
    base_tables,
    latest(filter, "demonstrations"),
    terms
  )
  local function make(id, text, labeler, time, replaces, ...)
    local row = base_row(...)
    row.completion, row.labeler, row.demonstration_id = text, labeler, id
    row.answered, row.replaces = time, replaces
    return row
  end
  return each(self, sql, { last_id(self, "demonstrations"), table.unpack(values) }, make)
end

--- Completions of a prompt.
-- @tparam integer prompt_id of the prompt
-- @treturn {table,...} each {id =, text =, model =, tokens =, sampling =, finish_reason =,
--   tokenizer =}
function read.completions(self, prompt_id)
  local list = {}
  local statement = self:statement([[SELECT id, text, model, tokens, sampling, finish_reason,
    tokenizer FROM completions WHERE prompt_id = ? ORDER BY id]])
  for id, text, model, tokens, sampling, reason, tokenizer in statement:rows(prompt_id) do
    list[#list + 1] = {
      id = id,
      text = text,
      model = model,
      tokens = tokens and json.decode(tokens),
      sampling = sampling and json.decode(sampling),
      finish_reason = reason,
      tokenizer = tokenizer,
    }
  end
  return list
end

-- What a ranking ranked: texts, ranks and ids, in the order of the completions; and a table with
-- `finished`, whether each ended by itself (nil when none says), `tokens`, its ids (false where
-- there are none; nil when no answer has any), and `tokenizer`, whose these are.
local function items_of(self, ranking_id)
  local texts, ranks, ids, finished, tokens = {}, {}, {}, {}, {}
  local said, known, own = {}, false, 0
  local statement = self:statement([[SELECT i.completion_id, i.rank, c.text, c.finish_reason,
    c.tokens, c.tokenizer FROM ranking_items AS i JOIN completions AS c ON c.id = i.completion_id
    WHERE i.ranking_id = ? ORDER BY i.completion_id]])
  for id, rank, text, reason, spelled, tokenizer in statement:rows(ranking_id) do
    local n = #ids + 1
    ids[n], ranks[n], texts[n] = id, rank, text
    finished[n], known = reason == nil or reason == "stop", known or reason ~= nil
    tokens[n] = spelled and tokenizer and json.decode(spelled) or false
    said.tokenizer = said.tokenizer or tokens[n] and tokenizer or nil
    if tokens[n] and tokenizer == said.tokenizer then
      own = own + 1
    else
      tokens[n] = false
    end
  end
  said.finished = known and finished or nil
  said.tokens = own > 0 and tokens or nil
  return texts, ranks, ids, said
end
read.items_of = items_of

-- A single ranking is the row's own; of several the row has only the list.
local function finish_ranked(row)
  if #row.rankings == 1 then
    local one = row.rankings[1]
    row.ranks, row.labeler, row.ranking_id = one.ranks, one.labeler, one.id
    row.answered, row.seconds, row.replaces = one.time, one.seconds, one.replaces
  end
  return row
end

--- Ranked prompts, in the order of the prompts: a row for each set of completions that was ranked.
-- An unknown name in the filter raises.
-- @tparam ?table filter as of `Store:prompts`, and `labeler`; `all` (false): replaced versions as
--   well
-- @treturn function iterator of rows with completions, completion_ids and rankings = {{id=,
--   labeler=, ranks=, time=, seconds=, replaces=},...}; of one ranking alone also ranks, labeler,
--   ranking_id, answered, seconds
-- @treturn ?any none; a `for` takes four values
-- @treturn ?any none
-- @treturn any closes the statement when the loop is left
function read.ranked(self, filter)
  local terms, values = terms_of(filter, true)
  local sql = ([[SELECT a.id, a.labeler, a.time, a.seconds, a.replaces, %s FROM rankings AS a
    CROSS JOIN %s WHERE p.id = a.prompt_id AND a.id <= ?%s%s ORDER BY a.prompt_id, a.id]]):format(
    base_columns,
    base_tables,
    latest(filter, "rankings"),
    terms
  )
  local next_ranking, _, _, closing = each(
    self,
    sql,
    { last_id(self, "rankings"), table.unpack(values) },
    function(id, labeler, time, seconds, replaces, ...)
      return {
        id = id,
        labeler = labeler,
        time = time,
        seconds = seconds,
        replaces = replaces,
        row = base_row(...),
      }
    end
  )
  local ready, at, pending = {}, 1, next_ranking()

  local function gather()
    local prompt_id, by_items = pending.row.id, {}
    ready, at = {}, 1
    while pending and pending.row.id == prompt_id do
      local texts, ranks, ids, said = items_of(self, pending.id)
      local key = table.concat(ids, ",")
      local row = by_items[key]
      if not row then
        row = pending.row
        row.completions, row.completion_ids, row.rankings = texts, ids, {}
        row.completion_finished = said.finished
        by_items[key], ready[#ready + 1] = row, row
      end
      pending.row, pending.ranks = nil, ranks
      row.rankings[#row.rankings + 1] = pending
      pending = next_ranking()
    end
  end

  return function()
    if not ready[at] and pending then gather() end
    local row = ready[at]
    at = at + 1
    return row and finish_ranked(row)
  end,
    nil,
    nil,
    closing
end

-- The set that is meant by an id, a name or nothing.
local function set_id_of(self, which)
  if math.type(which) == "integer" then
    return self:statement("SELECT id FROM sets WHERE id = ?"):row(which)
      or error(("there is no set %d"):format(which), 3)
  elseif which then
    return self:statement("SELECT max(id) FROM sets WHERE finished = 1 AND name = ?"):row(which)
      or error(("there is no finished set '%s'"):format(which), 3)
  end
  return self:statement("SELECT max(id) FROM sets WHERE finished = 1"):row()
    or error("there is no finished set: build one with recipes/collect.lua", 3)
end

local function apply_derived(row, derived)
  for _, name in ipairs(derived.removed or {}) do
    row[name] = nil
  end
  if derived.prompt then
    row.messages = nil
  elseif derived.messages then
    row.prompt = nil
  end
  if derived.completions then
    row.completion_tokens, row.tokenizer = nil, nil -- of the texts that were
  end
  for name, value in pairs(derived) do
    row[name] = name ~= "removed" and value or nil
  end
end

--- Rows of a training set in the form the recipes read: prompt or messages, with completion (sft)
-- or completions and ranks (rm), as the rules left them; and id, user_id, source and what else the
-- prompt has, set_row_id, side, changes, demonstration_id or ranking_id. Raises when there is no
-- such set.
-- @tparam string part sft, rm or ppo
-- @tparam ?string side train, valid or test; nil: all
-- @tparam ?table options `set` (the latest finished one): its id or name
-- @treturn function iterator of rows (Row)
function read.set_rows(self, part, side, options)
  local values = { set_id_of(self, options and options.set), part, side }
  local sql = ([[SELECT s.id, s.side, s.demonstration_id, s.ranking_id, s.derived, s.changes, %s
    FROM set_rows AS s CROSS JOIN %s WHERE p.id = s.prompt_id AND s.set_id = ? AND s.part = ?%s
    ORDER BY s.id]]):format(base_columns, base_tables, side and " AND s.side = ?" or "")
  local demonstration =
    self:statement("SELECT text, labeler, time FROM demonstrations WHERE id = ?")
  local ranking = self:statement("SELECT labeler, time, seconds FROM rankings WHERE id = ?")
  return each(
    self,
    sql,
    values,
    function(id, row_side, demonstration_id, ranking_id, derived, changes, ...)
      local row = base_row(...)
      row.set_row_id, row.side, row.changes = id, row_side, changes and json.decode(changes)
      row.demonstration_id, row.ranking_id = demonstration_id, ranking_id
      if demonstration_id then
        row.completion, row.labeler, row.answered = demonstration:row(demonstration_id)
      elseif ranking_id then
        local said
        row.completions, row.ranks, row.completion_ids, said = items_of(self, ranking_id)
        row.completion_finished, row.completion_tokens = said.finished, said.tokens
        row.tokenizer = said.tokens and said.tokenizer
        row.labeler, row.answered, row.seconds = ranking:row(ranking_id)
      end
      if derived then apply_derived(row, json.decode(derived)) end
      return row
    end
  )
end

return read
