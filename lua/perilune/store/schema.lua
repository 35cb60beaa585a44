--- The tables of a store and how an older store becomes today's.
--
--   sources          a file that was read, and how far (`line` and `offset` of what comes next)
--   bad_lines        lines of a source that gave no row, each with the reason
--   users            who asked: one row for a name within an organisation
--   prompts          text or messages, of the API's users or of labelers
--   completions      answers of models or of a file, to be ranked; `finish_reason` is "stop" when
--                    the answer ended by itself, `tokenizer` says whose ids `tokens` are
--   demonstrations   answers that people wrote
--   rankings         one person's order of completions of a prompt; 1 is best, ties share a rank
--   ranking_items    its ranks
--   set_rows, sets   the training sets made of these, row by row with what the rules changed
--
-- What people did is never changed: triggers refuse it, an edit is a new row that names the old one
-- in `replaces`, and a version can be replaced once. The parts of a whole are written before the
-- whole, whose row seals them: ranking_items before their ranking, set_rows before `finished`. The
-- foreign keys of these parts are therefore looked at when a transaction is committed.
--
-- Times and seconds are whole or not, as they were given: of type ANY, where `x < ''` holds for all
-- numbers and no text. No IN within a CHECK: SQLite builds its list anew for every row.
--
-- Every store carries its schema's number in `user_version`; `migrations[n]` makes n of n - 1, in
-- one transaction with the number. A script that was released is never edited: a change is a new
-- one at the end.

local schema = {}

--- Marks a file as a store of Perilune (SQLite's application_id): "PRLN".
schema.application_id = 0x50524c4e

schema.migrations = {
  [[
CREATE TABLE sources (
  id INTEGER PRIMARY KEY,
  path TEXT NOT NULL,
  hash TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  format TEXT NOT NULL,
  settings TEXT NOT NULL,
  line INTEGER NOT NULL DEFAULT 0,
  offset INTEGER NOT NULL DEFAULT 0,
  rows INTEGER NOT NULL DEFAULT 0,
  bad INTEGER NOT NULL DEFAULT 0,
  finished INTEGER NOT NULL DEFAULT 0 CHECK (finished IN (0, 1))
) STRICT;
CREATE INDEX sources_by_hash ON sources (hash);
CREATE INDEX sources_by_path ON sources (path);

CREATE TABLE bad_lines (
  id INTEGER PRIMARY KEY,
  source_id INTEGER NOT NULL REFERENCES sources,
  line INTEGER NOT NULL,
  reason TEXT NOT NULL,
  excerpt TEXT NOT NULL
) STRICT;
CREATE INDEX bad_lines_by_source ON bad_lines (source_id);

CREATE TABLE users (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  organisation TEXT NOT NULL DEFAULT '',
  UNIQUE (name, organisation)
) STRICT;

CREATE TABLE prompts (
  id INTEGER PRIMARY KEY,
  text TEXT,
  messages TEXT,
  user_id INTEGER REFERENCES users,
  time ANY CHECK (time < ''),
  source TEXT NOT NULL CHECK (source = 'api' OR source = 'labeler'),
  use_case TEXT,
  kind TEXT CHECK (kind = 'plain' OR kind = 'few_shot' OR kind = 'user_based'),
  extra TEXT,
  source_id INTEGER REFERENCES sources,
  line INTEGER,
  CHECK ((text IS NULL) <> (messages IS NULL))
) STRICT;

CREATE TABLE completions (
  id INTEGER PRIMARY KEY,
  prompt_id INTEGER NOT NULL REFERENCES prompts,
  text TEXT NOT NULL,
  model TEXT,
  tokens TEXT,
  sampling TEXT
) STRICT;
CREATE INDEX completions_by_prompt ON completions (prompt_id);

CREATE TABLE demonstrations (
  id INTEGER PRIMARY KEY,
  prompt_id INTEGER NOT NULL REFERENCES prompts,
  text TEXT NOT NULL,
  labeler TEXT,
  time ANY CHECK (time < ''),
  replaces INTEGER UNIQUE REFERENCES demonstrations
) STRICT;
CREATE INDEX demonstrations_by_prompt ON demonstrations (prompt_id);

CREATE TABLE ranking_items (
  ranking_id INTEGER NOT NULL REFERENCES rankings DEFERRABLE INITIALLY DEFERRED,
  completion_id INTEGER NOT NULL REFERENCES completions,
  rank INTEGER NOT NULL CHECK (rank >= 1),
  PRIMARY KEY (ranking_id, completion_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE rankings (
  id INTEGER PRIMARY KEY,
  prompt_id INTEGER NOT NULL REFERENCES prompts,
  labeler TEXT,
  time ANY CHECK (time < ''),
  seconds ANY CHECK (seconds < ''),
  replaces INTEGER UNIQUE REFERENCES rankings
) STRICT;
CREATE INDEX rankings_by_prompt ON rankings (prompt_id);

CREATE TABLE set_rows (
  id INTEGER PRIMARY KEY,
  set_id INTEGER NOT NULL REFERENCES sets DEFERRABLE INITIALLY DEFERRED,
  part TEXT NOT NULL CHECK (part = 'sft' OR part = 'rm' OR part = 'ppo'),
  side TEXT NOT NULL CHECK (side = 'train' OR side = 'valid' OR side = 'test'),
  prompt_id INTEGER NOT NULL REFERENCES prompts,
  demonstration_id INTEGER REFERENCES demonstrations,
  ranking_id INTEGER REFERENCES rankings,
  derived TEXT,
  changes TEXT
) STRICT;
CREATE INDEX set_rows_by_part ON set_rows (set_id, part, side);

CREATE TABLE sets (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  recipe TEXT,
  settings TEXT,
  seed INTEGER,
  finished INTEGER NOT NULL DEFAULT 0 CHECK (finished IN (0, 1))
) STRICT;

CREATE TRIGGER demonstrations_stay BEFORE UPDATE ON demonstrations BEGIN
  SELECT RAISE(ABORT, 'a demonstration is never changed: add one that replaces it');
END;
CREATE TRIGGER demonstrations_last BEFORE DELETE ON demonstrations BEGIN
  SELECT RAISE(ABORT, 'a demonstration is never deleted: add one that replaces it');
END;
CREATE TRIGGER demonstrations_replace BEFORE INSERT ON demonstrations
WHEN NEW.replaces IS NOT NULL BEGIN
  SELECT RAISE(ABORT, 'a demonstration replaces one of the same prompt')
  WHERE NEW.prompt_id IS NOT (SELECT prompt_id FROM demonstrations WHERE id = NEW.replaces);
  SELECT RAISE(ABORT, 'this demonstration was replaced already: replace its latest version')
  WHERE EXISTS (SELECT 1 FROM demonstrations WHERE replaces = NEW.replaces);
END;

CREATE TRIGGER rankings_stay BEFORE UPDATE ON rankings BEGIN
  SELECT RAISE(ABORT, 'a ranking is never changed: add one that replaces it');
END;
CREATE TRIGGER rankings_last BEFORE DELETE ON rankings BEGIN
  SELECT RAISE(ABORT, 'a ranking is never deleted: add one that replaces it');
END;
CREATE TRIGGER rankings_seal BEFORE INSERT ON rankings BEGIN
  SELECT RAISE(ABORT, 'a ranking ranks two completions or more')
  WHERE (SELECT count(*) FROM ranking_items WHERE ranking_id = NEW.id) < 2;
  SELECT RAISE(ABORT, 'a ranking ranks completions of its own prompt')
  WHERE EXISTS (SELECT 1 FROM ranking_items AS i JOIN completions AS c ON c.id = i.completion_id
    WHERE i.ranking_id = NEW.id AND c.prompt_id <> NEW.prompt_id);
END;
CREATE TRIGGER rankings_replace BEFORE INSERT ON rankings WHEN NEW.replaces IS NOT NULL BEGIN
  SELECT RAISE(ABORT, 'a ranking replaces one of the same prompt')
  WHERE NEW.prompt_id IS NOT (SELECT prompt_id FROM rankings WHERE id = NEW.replaces);
  SELECT RAISE(ABORT, 'this ranking was replaced already: replace its latest version')
  WHERE EXISTS (SELECT 1 FROM rankings WHERE replaces = NEW.replaces);
END;
CREATE TRIGGER ranking_items_sealed BEFORE INSERT ON ranking_items
WHEN EXISTS (SELECT 1 FROM rankings WHERE id = NEW.ranking_id) BEGIN
  SELECT RAISE(ABORT, 'a ranking is never changed: add one that replaces it');
END;
CREATE TRIGGER ranking_items_stay BEFORE UPDATE ON ranking_items BEGIN
  SELECT RAISE(ABORT, 'a ranking is never changed: add one that replaces it');
END;
CREATE TRIGGER ranking_items_last BEFORE DELETE ON ranking_items BEGIN
  SELECT RAISE(ABORT, 'a ranking is never deleted: add one that replaces it');
END;

CREATE TRIGGER completions_stay BEFORE UPDATE ON completions BEGIN
  SELECT RAISE(ABORT, 'a completion is never changed: people may have ranked it');
END;
CREATE TRIGGER set_rows_sealed BEFORE INSERT ON set_rows
WHEN (SELECT finished FROM sets WHERE id = NEW.set_id) = 1 BEGIN
  SELECT RAISE(ABORT, 'the set is finished: make a new one');
END;
CREATE TRIGGER set_rows_stay BEFORE UPDATE ON set_rows BEGIN
  SELECT RAISE(ABORT, 'a row of a set is never changed: make a new set');
END;
CREATE TRIGGER set_rows_last BEFORE DELETE ON set_rows
WHEN (SELECT finished FROM sets WHERE id = OLD.set_id) = 1 BEGIN
  SELECT RAISE(ABORT, 'the set is finished: make a new one');
END;
]],
  [[
ALTER TABLE completions ADD COLUMN finish_reason TEXT;
ALTER TABLE completions ADD COLUMN tokenizer TEXT;
]],
}

--- Tables in the order in which an import can write them, each with its columns in order. A column
-- of `json` is stored as JSON text and exported as the value itself.
schema.tables = {
  {
    name = "sources",
    columns = {
      "id",
      "path",
      "hash",
      "bytes",
      "format",
      "settings",
      "line",
      "offset",
      "rows",
      "bad",
      "finished",
    },
    json = { settings = true },
  },
  { name = "bad_lines", columns = { "id", "source_id", "line", "reason", "excerpt" }, json = {} },
  { name = "users", columns = { "id", "name", "organisation" }, json = {} },
  {
    name = "prompts",
    columns = {
      "id",
      "text",
      "messages",
      "user_id",
      "time",
      "source",
      "use_case",
      "kind",
      "extra",
      "source_id",
      "line",
    },
    json = { messages = true, extra = true },
  },
  {
    name = "completions",
    columns = {
      "id",
      "prompt_id",
      "text",
      "model",
      "tokens",
      "sampling",
      "finish_reason",
      "tokenizer",
    },
    json = { tokens = true, sampling = true },
  },
  {
    name = "demonstrations",
    columns = { "id", "prompt_id", "text", "labeler", "time", "replaces" },
    json = {},
  },
  {
    name = "ranking_items",
    columns = { "ranking_id", "completion_id", "rank" },
    json = {},
    key = "ranking_id, completion_id",
  },
  {
    name = "rankings",
    columns = { "id", "prompt_id", "labeler", "time", "seconds", "replaces" },
    json = {},
  },
  {
    name = "set_rows",
    columns = {
      "id",
      "set_id",
      "part",
      "side",
      "prompt_id",
      "demonstration_id",
      "ranking_id",
      "derived",
      "changes",
    },
    json = { derived = true, changes = true },
  },
  {
    name = "sets",
    columns = { "id", "name", "recipe", "settings", "seed", "finished" },
    json = { settings = true },
  },
}

local function number_of(conn, sql)
  local statement <close> = conn:prepare(sql)
  return (statement:row())
end

local function step(conn, path, version, script)
  conn:exec("BEGIN IMMEDIATE")
  local ok, message = pcall(function()
    -- Another program may have done it between our look and our lock.
    if number_of(conn, "PRAGMA user_version") == version - 1 then
      conn:exec(script)
      conn:exec(("PRAGMA application_id = %d"):format(schema.application_id))
      conn:exec(("PRAGMA user_version = %d"):format(version))
    end
    conn:exec("COMMIT")
  end)
  if ok then return true end
  if conn:in_transaction() then conn:exec("ROLLBACK") end
  return nil,
    ("store '%s' stays at version %d, the step to %d failed: %s"):format(
      path,
      version - 1,
      version,
      message
    )
end

--- The columns of a table, in order.
-- @tparam string name of it
-- @treturn {string,...}
function schema.columns(name)
  for _, info in ipairs(schema.tables) do
    if info.name == name then return info.columns end
  end
  error(("schema.columns: there is no table '%s'"):format(name), 2)
end

--- Bring a database to the newest version.
-- @tparam any conn connection of core.db
-- @tparam string path for messages
-- @tparam ?table options `readonly`: nothing may be written; `migrations`: another list
-- @treturn ?boolean true
-- @treturn ?string what is wrong; the file is then as it was
function schema.migrate(conn, path, options)
  local migrations = options and options.migrations or schema.migrations
  local version = number_of(conn, "PRAGMA user_version")
  local ours = number_of(conn, "PRAGMA application_id") == schema.application_id
  local filled = number_of(conn, "SELECT count(*) FROM sqlite_schema") > 0
  if not ours and options and options.readonly and not filled then
    return nil, ("'%s' is empty, not a store (name another file)"):format(path)
  elseif not ours and (filled or version ~= 0) then
    return nil,
      ("'%s' is a database of another program, not a store (name another file)"):format(path)
  elseif version > #migrations then
    return nil,
      (
        "store '%s' has version %d, this Perilune knows versions up to %d (use the newer "
        .. "Perilune that wrote it; the file was left as it is)"
      ):format(path, version, #migrations)
  elseif version == #migrations then
    return true
  elseif options and options.readonly then
    return nil,
      ("store '%s' has version %d and must become %d first (open it once for writing)"):format(
        path,
        version,
        #migrations
      )
  end
  for next_version = version + 1, #migrations do
    local ok, message = step(conn, path, next_version, migrations[next_version])
    if not ok then return nil, message end
  end
  return true
end

return schema
