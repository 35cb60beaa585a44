--- The store: users, prompts, completions, demonstrations, rankings and the training sets made of
-- them, with the source of every row, in one SQLite file.
--
-- Rows are plain tables in one form throughout the library:
--
--   id, prompt = text or messages = {{role=, content=},...} ending with a user's turn,
--   user_id, organisation, time, source = "api" | "labeler", use_case, kind, extra,
--   completion, labeler                       a demonstration
--   completions, ranks or rankings            ranked answers; competition ranks: 1, 2, 2, 4
--   completion_finished, completion_tokens    of each: whether it ended by itself; its token ids,
--                                             those of `tokenizer` (false: none are known)
--
-- Texts are UTF-8 and may hold NULs. What people answered is never changed and outlives a power
-- cut from the moment the call returns (within a transaction: from its end); all else is safe
-- against a crash of the program at any time, and against a power cut but for the last
-- transactions. The library is the one place that knows SQL.
--
-- What is wrong outside (a folder, another program's file) is nil and a message from `open`; all
-- that goes wrong later raises.
--
-- May use: base.

local check = require("perilune.store.check")
local db = require("perilune.core").db
local export = require("perilune.store.export")
local files = require("perilune.base.files")
local json = require("perilune.base.json")
local keys_of = require("perilune.base.list").keys
local lfs = require("lfs")
local people = require("perilune.store.people")
local read = require("perilune.store.read")
local schema = require("perilune.store.schema")
local sets = require("perilune.store.sets")
local source_files = require("perilune.store.source_files")

local store = {
  --- Whether a row can be stored: true, or nil and what is wrong with it.
  check = check.row,
}

--- An open store.
-- @class Store
-- @field string path of its file
local Store = {
  prompt = read.prompt,
  prompts = read.prompts,
  demonstrations = read.demonstrations,
  completions = read.completions,
  ranked = read.ranked,
  set_rows = read.set_rows,
  user_names = people.user_names,
  human_answers = people.human_answers,
  new_set = sets.new_set,
  add_to_set = sets.add_to_set,
  finish_set = sets.finish_set,
  sets = sets.sets,
  export = export.export,
  sources = source_files.sources,
  source = source_files.source,
  new_source = source_files.new_source,
  update_source = source_files.update_source,
  bad_line = source_files.bad_line,
  bad_lines = source_files.bad_lines,
  forget_bad_lines = source_files.forget_bad_lines,
  has_from = source_files.has_from,
}
Store.__index = Store
Store.__name = "store"

local users_remembered = 1 << 18
local cache_kb = 32768

--- Open a store, made new when there is no file.
-- @tparam string path of the file
-- @tparam ?table options `readonly` (false): for reading alone; there must be a file then
-- @treturn ?Store
-- @treturn ?string what is wrong
function store.open(path, options)
  local readonly = options and options.readonly or false
  local conn, message = db.open(path, { readonly = readonly, cache_kb = cache_kb })
  if not conn then return nil, message end
  local done, ok, wrong = pcall(function()
    local migrated, why = schema.migrate(conn, path, { readonly = readonly })
    if migrated and not readonly then
      conn:exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")
    end
    return migrated, why
  end)
  if not (done and ok) then
    conn:close()
    return nil, wrong or ok
  end
  return setmetatable({
    conn = conn,
    path = path,
    statements = {},
    depth = 0,
    human = false,
    users = {},
    users_count = 0,
  }, Store)
end

--- Make a store of an export.
-- @tparam string folder of `Store:export`
-- @tparam string path of a file that does not exist yet
-- @treturn ?Store equal to the one that was exported
-- @treturn ?string what is wrong; there is no file then
function store.import(folder, path)
  if lfs.attributes(path) then
    return nil, ("'%s' exists already (an import makes a new store)"):format(path)
  end
  local tmp = path .. ".import"
  assert(files.remove(tmp)) -- of an import that was killed
  assert(files.remove(tmp .. "-wal"))
  local made, message = store.open(tmp)
  if not made then return nil, message end
  local ok, wrong = pcall(export.read_into, made, folder)
  made:close()
  if ok then
    ok, wrong = files.rename(tmp, path)
  end
  if not ok then
    files.remove(tmp)
    return nil, wrong
  end
  return store.open(path)
end

--- Close the file; more than once is fine.
function Store:close()
  self.statements = {}
  self.conn:close()
end
Store.__close = Store.close

function Store:__tostring()
  local ok, counts = pcall(self.counts, self)
  if not ok then return ("store '%s', closed"):format(self.path) end
  return ("store '%s': %d users, %d prompts, %d completions, %d rankings"):format(
    self.path,
    counts.users or 0,
    counts.prompts or 0,
    counts.completions or 0,
    counts.rankings or 0
  )
end

-- A full disk or Ctrl-C in the middle of a write makes SQLite undo the whole transaction. Who
-- caught that error and went on would write outside of any.
local function check_undone(self)
  if self.depth > 0 and not self.conn:in_transaction() then
    error(("store '%s': an earlier failure undid the whole transaction"):format(self.path), 0)
  end
end

--- The prepared statement of an SQL text, made once. For the modules of the store. Raises for what
-- SQLite refuses.
-- @tparam string sql one statement
-- @treturn userdata with `run(...)`, `row(...)` and `rows(...)`
function Store:statement(sql)
  check_undone(self)
  local statement = self.statements[sql]
  if not statement then
    statement = self.conn:prepare(sql)
    self.statements[sql] = statement
  end
  return statement
end

-- ---------------------------------------------------------------------------------------------
-- Transactions

-- Undoes its level on every way out but the good one; also on Ctrl-C, which pcall does not catch.
local Level = {}
function Level.__close(level)
  local self = level.store
  self.depth = level.depth
  if not level.done then
    self.users, self.users_count = {}, 0
    if self.conn:in_transaction() then self.conn:exec(level.undo) end
    self.human = self.human and level.depth > 0
  end
end

-- SQLite waits for the disk at the end of a transaction only with synchronous = FULL, which cannot
-- be set within one. A second one that changes nothing waits for all before it.
local function wait_for_disk(self)
  self.human = false
  self.conn:exec(([[PRAGMA synchronous = FULL; BEGIN IMMEDIATE; PRAGMA user_version = %d; COMMIT;
    PRAGMA synchronous = NORMAL]]):format(#schema.migrations))
end

local function run_level(self, level, begin, commit, f, ...)
  check_undone(self)
  self.conn:exec(begin)
  local guard <close> = setmetatable(level, Level)
  self.depth = level.depth + 1
  local results = table.pack(f(...))
  check_undone(self)
  self.conn:exec(commit)
  guard.done = true
  return results
end

--- Call f(...); all it writes is kept together, or nothing when it raises.
-- Within another transaction it is a part that can be undone alone.
-- @tparam function f what it raises goes on to the caller
-- @tparam any ... what f is given
-- @treturn any ... what f returns
function Store:transaction(f, ...)
  local depth = self.depth
  local level = { store = self, depth = depth, undo = "ROLLBACK" }
  local begin, commit = "BEGIN IMMEDIATE", "COMMIT"
  if depth > 0 then
    local name = "level" .. depth
    begin, commit = "SAVEPOINT " .. name, "RELEASE " .. name
    level.undo = ("ROLLBACK TO %s; RELEASE %s"):format(name, name)
  end
  local results = run_level(self, level, begin, commit, f, ...)
  if depth == 0 and self.human then wait_for_disk(self) end
  return table.unpack(results, 1, results.n)
end

--- Call f(...) reading one state of the store, whatever other programs write meanwhile.
-- @tparam function f what it raises goes on to the caller
-- @tparam any ... what f is given
-- @treturn any ... what f returns
function Store:snapshot(f, ...)
  if self.depth > 0 then return f(...) end
  local level = { store = self, depth = 0, undo = "ROLLBACK" }
  local results = run_level(self, level, "BEGIN", "COMMIT", f, ...)
  return table.unpack(results, 1, results.n)
end

-- ---------------------------------------------------------------------------------------------
-- Adding

local function user_of(self, name, organisation)
  local key = organisation and organisation .. "\0" .. name or name
  local id = self.users[key]
  if id then return id end
  organisation = organisation or ""
  id = self
    :statement("SELECT id FROM users WHERE name = ? AND organisation = ?")
    :row(name, organisation)
  if not id then
    self:statement("INSERT INTO users (name, organisation) VALUES (?, ?)"):run(name, organisation)
    id = self.conn:last_id()
  end
  if self.users_count >= users_remembered then
    self.users, self.users_count = {}, 0
  end
  self.users[key], self.users_count = id, self.users_count + 1
  return id
end

local strict = { strict = true }

local function json_or_nil(value) return value ~= nil and json.encode(value, strict) or nil end

local insert_prompt = [[INSERT INTO prompts (text, messages, user_id, time, source, use_case, kind,
  extra, source_id, line) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)]]

local function add_prompt(self, row, source_id, line)
  local user
  if row.user_id or row.organisation then
    user = user_of(self, row.user_id or "", row.organisation)
  end
  self:statement(insert_prompt):run(
    row.prompt,
    json_or_nil(row.messages),
    user,
    row.time,
    row.source,
    row.use_case,
    row.kind,
    json_or_nil(row.extra),
    source_id,
    line
  )
  return self.conn:last_id()
end

local function add_completions(self, prompt_id, list)
  local ids = {}
  local statement = self:statement([[INSERT INTO completions (prompt_id, text, model, tokens,
    sampling, finish_reason, tokenizer) VALUES (?, ?, ?, ?, ?, ?, ?)]])
  for i, one in ipairs(list) do
    statement:run(
      prompt_id,
      one.text,
      one.model,
      json_or_nil(one.tokens),
      json_or_nil(one.sampling),
      one.finish_reason,
      one.tokenizer
    )
    ids[i] = self.conn:last_id()
  end
  return ids
end

local function add_demonstration(self, prompt_id, answer)
  self
    :statement([[INSERT INTO demonstrations (prompt_id, text, labeler, time, replaces)
    VALUES (?, ?, ?, ?, ?)]])
    :run(prompt_id, answer.completion, answer.labeler, answer.time, answer.replaces)
  return self.conn:last_id()
end

-- The items first: the ranking's row seals them.
local function add_ranking(self, prompt_id, ids, ranking)
  local id = self:statement("SELECT coalesce(max(id), 0) + 1 FROM rankings"):row()
  local item = self:statement([[INSERT INTO ranking_items (ranking_id, completion_id, rank)
    VALUES (?, ?, ?)]])
  for i, completion_id in ipairs(ids) do
    item:run(id, completion_id, ranking.ranks[i])
  end
  self
    :statement([[INSERT INTO rankings (id, prompt_id, labeler, time, seconds, replaces)
    VALUES (?, ?, ?, ?, ?, ?)]])
    :run(id, prompt_id, ranking.labeler, ranking.time, ranking.seconds, ranking.replaces)
  return id
end

-- "stop" for an answer that ended by itself, "length" for one that was cut; nil: nobody said.
local function finish_reason(finished, i)
  if type(finished) == "table" and finished[i] ~= nil then
    return finished[i] and "stop" or "length"
  end
end

local function add_whole(self, row, source_id, line)
  local id = add_prompt(self, row, source_id, line)
  if row.completion then
    add_demonstration(self, id, {
      completion = row.completion,
      labeler = row.labeler,
      time = row.answered or row.time,
    })
  end
  if row.completions then
    local list = {}
    for i, text in ipairs(row.completions) do
      list[i] = {
        text = text,
        tokens = row.completion_tokens and row.completion_tokens[i] or nil,
        finish_reason = finish_reason(row.completion_finished, i),
        tokenizer = row.tokenizer,
      }
    end
    local ids = add_completions(self, id, list)
    for _, ranking in ipairs(row.rankings or {}) do
      add_ranking(self, id, ids, ranking)
    end
    if row.ranks and not row.rankings then
      add_ranking(self, id, ids, {
        ranks = row.ranks,
        labeler = row.labeler,
        seconds = row.seconds,
        time = row.answered or row.time,
      })
    end
  end
  return id
end

--- Add one canonical row: its user, prompt, completions, demonstration and rankings.
-- @tparam Row row as `store.check` takes it
-- @tparam ?table from `source_id` and `line`: where it was read
-- @treturn integer the prompt's id; raises for a row that `store.check` refuses
function Store:add(row, from)
  local ok, wrong = check.row(row)
  if not ok then error(wrong, 2) end
  local source_id, line = from and from.source_id, from and from.line
  if self.depth > 0 and not row.completion and not row.completions then
    return add_prompt(self, row, source_id, line)
  end
  return self:transaction(add_whole, self, row, source_id, line)
end

--- Add completions of models to a prompt, to be ranked. Raises for one whose text is no UTF-8.
-- @tparam integer prompt_id of the prompt
-- @tparam {{text=string},...} list each {text =}, and `model`, `tokens` (token ids), `sampling`
--   (how it was drawn), `finish_reason`, `tokenizer` (fingerprint), where they are known
-- @treturn {integer,...} their ids
function Store:complete(prompt_id, list)
  for i, one in ipairs(list) do
    local wrong = check.text("text", one.text)
    if wrong then error(("completion %d: %s"):format(i, wrong), 2) end
  end
  return self:transaction(add_completions, self, prompt_id, list)
end

--- Keep what a person answered to a prompt. Raises for an answer that is no UTF-8.
-- @tparam integer prompt_id of the prompt
-- @tparam table answer `completion` (text); `labeler` (who); `time` (Unix seconds; default: now);
--   `replaces` (id of the version that it edits)
-- @treturn integer the demonstration's id; it is on the disk
function Store:demonstrate(prompt_id, answer)
  local wrong = check.text("completion", answer.completion)
    or answer.labeler ~= nil and check.text("labeler", answer.labeler)
    or answer.time ~= nil and check.number("time", answer.time)
  if wrong then error(wrong, 2) end
  return self:transaction(function()
    self.human = true
    return add_demonstration(self, prompt_id, {
      completion = answer.completion,
      labeler = answer.labeler,
      time = answer.time or os.time(),
      replaces = answer.replaces,
    })
  end)
end

--- Keep how a person ranked completions of a prompt. Raises for ranks that are no competition ranks
-- of two completions or more.
-- @tparam integer prompt_id of the prompt
-- @tparam table answer `ranks` ({[completion id] = rank}, 1 is best); `labeler` (who); `time` (Unix
--   seconds; default: now); `seconds` (that it took); `replaces` (id of the version that it edits)
-- @treturn integer the ranking's id; it is on the disk
function Store:rank(prompt_id, answer)
  local ids = keys_of(answer.ranks or {})
  local ranks = {}
  for i, id in ipairs(ids) do
    ranks[i] = answer.ranks[id]
  end
  local wrong = check.ranks(ranks, #ids)
    or answer.labeler ~= nil and check.text("labeler", answer.labeler)
    or answer.time ~= nil and check.number("time", answer.time)
    or answer.seconds ~= nil and check.number("seconds", answer.seconds)
  if wrong then error(wrong, 2) end
  return self:transaction(function()
    self.human = true
    return add_ranking(self, prompt_id, ids, {
      ranks = ranks,
      labeler = answer.labeler,
      time = answer.time or os.time(),
      seconds = answer.seconds,
      replaces = answer.replaces,
    })
  end)
end

--- How many rows each table has.
-- @treturn {[string]=integer} by the name of the table
function Store:counts()
  local counts = {}
  for _, info in ipairs(schema.tables) do
    counts[info.name] = self:statement(("SELECT count(*) FROM %s"):format(info.name)):row()
  end
  return counts
end

return store
