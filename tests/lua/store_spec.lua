local core = require("perilune.core")
local files = require("perilune.base.files")
local json = require("perilune.base.json")
local lfs = require("lfs")
local schema = require("perilune.store.schema")
local scratch = dofile("tests/lua/support/scratch.lua")
local store = require("perilune.store")

local folder, path

before_each(function()
  folder = scratch.folder()
  path = folder .. "/x.store"
end)

after_each(scratch.clean)

local function list_of(next_row, ...)
  local list = {}
  for row in next_row, ... do
    list[#list + 1] = row
  end
  return list
end

-- What the rows say, without ids and places.
local function canonical(row)
  local copy = {}
  for _, name in ipairs {
    "prompt",
    "messages",
    "user_id",
    "organisation",
    "time",
    "source",
    "use_case",
    "kind",
    "extra",
    "completion",
    "labeler",
    "completions",
    "ranks",
  } do
    copy[name] = row[name]
  end
  return copy
end

local hostile = 'na\u{ef}ve \0 NUL, \u{1F600}, "quotes"\n\\ and \u{2028}'

local examples = {
  {
    prompt = hostile,
    user_id = "u\0v",
    organisation = "Gr\u{fc}n",
    time = 1700000000,
    source = "api",
    use_case = "brainstorming",
    extra = { tags = { "a", hostile }, n = 3 },
  },
  {
    messages = { { role = "system", content = "Be brief." }, { role = "user", content = "Hi" } },
    user_id = "u2",
    time = 1700000000.5,
    source = "api",
  },
  { prompt = "", source = "labeler", kind = "few_shot", completion = hostile, labeler = "ann" },
  {
    prompt = "p",
    source = "api",
    completions = { "a", hostile, "c", "d" },
    ranks = { 2, 1, 2, 4 },
    labeler = "bob",
  },
}

local function filled(where)
  local s = assert(store.open(where or path))
  for _, row in ipairs(examples) do
    s:add(row)
  end
  return s
end

describe("rows", function()
  it("come back as they went in", function()
    local s <close> = filled()
    local prompts, demonstrations, ranked =
      list_of(s:prompts()), list_of(s:demonstrations()), list_of(s:ranked())
    assert.equal(4, #prompts)
    assert.same(canonical(examples[1]), canonical(prompts[1]))
    assert.same(canonical(examples[2]), canonical(prompts[2]))
    assert.equal("float", math.type(prompts[2].time))
    assert.equal("integer", math.type(prompts[1].time))
    assert.equal(1, #demonstrations)
    assert.same(canonical(examples[3]), canonical(demonstrations[1]))
    assert.equal(1, #ranked)
    assert.same(canonical(examples[4]), canonical(ranked[1]))
    assert.same(canonical(examples[2]), canonical(s:prompt(2)))
    assert.is_nil(s:prompt(5))
    assert.equal(2, s:counts().users)
  end)

  it("keep several people's rankings of the same completions together", function()
    local s <close> = assert(store.open(path))
    local rankings = {
      { labeler = "a", ranks = { 1, 2, 2 }, time = 5, seconds = 1.5 },
      { labeler = "b", ranks = { 3, 1, 2 } },
    }
    local id = s:add {
      prompt = "p",
      source = "labeler",
      completions = { "x", "y", "z" },
      rankings = rankings,
    }
    local more = s:complete(id, {
      { text = "w", model = "m", tokens = { 1, 2 }, sampling = { temperature = 0.7 } },
    })
    local all = s:completions(id)
    assert.same({
      id = more[1],
      text = "w",
      model = "m",
      tokens = { 1, 2 },
      sampling = { temperature = 0.7 },
    }, all[4])
    s:rank(id, { labeler = "c", ranks = { [all[1].id] = 2, [more[1]] = 1 }, time = 7 })
    s:add { prompt = "q", source = "api", completions = { "x", "y" }, ranks = { 1, 1 } }
    local rows = list_of(s:ranked())
    assert.equal(3, #rows)
    assert.same({ "x", "y", "z" }, rows[1].completions)
    assert.is_nil(rows[1].ranks)
    assert.same({ 1, 2, 2 }, rows[1].rankings[1].ranks)
    assert.same(
      { "b", 5, 1.5 },
      { rows[1].rankings[2].labeler, rows[1].rankings[1].time, rows[1].rankings[1].seconds }
    )
    assert.same({ "x", "w" }, rows[2].completions)
    assert.same({ 2, 1 }, rows[2].ranks)
    assert.equal("c", rows[2].labeler)
    assert.same({ 1, 1 }, rows[3].ranks)
    assert.equal(1, #list_of(s:ranked { labeler = "b" }))
  end)

  it("that cannot be stored are told why and leave nothing behind", function()
    local s <close> = assert(store.open(path))
    local function refused(why, row)
      local ok, message = store.check(row)
      assert.is_nil(ok)
      assert.matches(why, message)
      assert.error_matches(function() s:add(row) end, why)
    end
    refused("`prompt` must be text, not nil", { source = "api" })
    refused("`prompt` is not UTF%-8 at byte 2", { source = "api", prompt = "a\xff" })
    refused("not both", { source = "api", prompt = "a", messages = {} })
    refused("list of messages", { source = "api", messages = {} })
    refused(
      "last message must be the user's",
      { source = "api", messages = { { role = "assistant", content = "a" } } }
    )
    refused(
      "message 1: `content` must be text",
      { source = "api", messages = { { role = "user" } } }
    )
    refused("`source` must be", { prompt = "a", source = "web" })
    refused("`kind` must be", { prompt = "a", source = "api", kind = "odd" })
    refused("`user_id` must be text, not number", { prompt = "a", source = "api", user_id = 7 })
    refused("`time` must be a finite number", { prompt = "a", source = "api", time = 0 / 0 })
    refused(
      "rank 3 is 2 with 2 better",
      { prompt = "a", source = "api", completions = { "x", "y", "z" }, ranks = { 1, 1, 2 } }
    )
    refused(
      "one number for each",
      { prompt = "a", source = "api", completions = { "x", "y" }, ranks = { 1 } }
    )
    refused(
      "rank 1 is not an integer",
      { prompt = "a", source = "api", completions = { "x", "y" }, ranks = { "1", "2" } }
    )
    refused("without `completions`", { prompt = "a", source = "api", ranks = { 1, 2 } })
    refused("ranking 2: ", {
      prompt = "a",
      source = "api",
      completions = { "x", "y" },
      rankings = { { ranks = { 1, 2 } }, { ranks = { 2, 3 } } },
    })
    assert.error_matches(
      function() s:add({ prompt = "a", source = "api", completion = "b" }, { source_id = 99 }) end,
      "names a row that does not exist"
    )
    for _, count in pairs(s:counts()) do
      assert.equal(0, count)
    end
  end)

  it("are found by their fields", function()
    local s <close> = filled()
    assert.equal(3, #list_of(s:prompts { source = "api" }))
    assert.equal(1, #list_of(s:prompts { source = "api", user_id = "u2" }))
    assert.equal(1, #list_of(s:prompts { use_case = "brainstorming" }))
    assert.equal(2, #list_of(s:prompts { after = 2 }))
    assert.error_matches(function() s:prompts { usecase = "x" } end, "unknown filter 'usecase'")
  end)

  it("stream: iterators are open side by side, and while the store grows", function()
    local s <close> = assert(store.open(path))
    s:transaction(function()
      for i = 1, 100 do
        s:add { prompt = "p" .. i, source = "api" }
      end
    end)
    local pairs_seen, first = 0, s:prompts()
    for row in s:prompts() do
      local other = first()
      assert.equal(row.prompt, other.prompt)
      pairs_seen = pairs_seen + 1
      s:add { prompt = "new", source = "api" }
    end
    assert.equal(100, pairs_seen)
    assert.is_nil(first())
    assert.is_nil(first())
    for row in s:prompts() do
      if row.id == 2 then break end
    end
    assert.equal(200, s:counts().prompts)
  end)
end)

describe("human answers", function()
  it("have versions: the latest is read, all are kept", function()
    local s <close> = assert(store.open(path))
    local id = s:add { prompt = "p", source = "api", completions = { "x", "y" } }
    local other = s:add { prompt = "q", source = "api" }
    local first = s:demonstrate(id, { completion = "one", labeler = "ann", time = 1 })
    local second = s:demonstrate(id, {
      completion = "two",
      labeler = "ann",
      time = 2,
      replaces = first,
    })
    local rows = list_of(s:demonstrations())
    assert.same({ 1, "two", second, first, 2 }, {
      #rows,
      rows[1].completion,
      rows[1].demonstration_id,
      rows[1].replaces,
      rows[1].answered,
    })
    assert.equal(2, #list_of(s:demonstrations { all = true }))
    assert.error_matches(
      function() s:demonstrate(id, { completion = "three", replaces = first }) end,
      "replaced already: replace its latest version"
    )
    assert.error_matches(
      function() s:demonstrate(other, { completion = "three", replaces = second }) end,
      "replaces one of the same prompt"
    )
    assert.error_matches(
      function() s:demonstrate(77, { completion = "three" }) end,
      "names a row that does not exist"
    )

    local a, b = s:completions(id)[1].id, s:completions(id)[2].id
    local old = s:rank(id, { labeler = "ann", ranks = { [a] = 1, [b] = 2 } })
    local new = s:rank(id, { labeler = "ann", ranks = { [a] = 1, [b] = 1 }, replaces = old })
    local ranked = list_of(s:ranked())
    assert.same({ 1, new, old }, { #ranked, ranked[1].ranking_id, ranked[1].replaces })
    assert.same({ 1, 1 }, ranked[1].ranks)
    assert.equal(2, #list_of(s:ranked { all = true })[1].rankings)
    assert.error_matches(
      function() s:rank(id, { ranks = { [a] = 1, [b] = 2 }, replaces = old }) end,
      "replaced already"
    )
    local foreign = s:complete(other, { { text = "z" } })[1]
    assert.error_matches(
      function() s:rank(id, { ranks = { [a] = 1, [foreign] = 2 } }) end,
      "completions of its own prompt"
    )
    assert.error_matches(
      function() s:rank(id, { ranks = { [a] = 1 } }) end,
      "two completions or more"
    )
    assert.equal(2, s:counts().rankings)
    assert.equal(4, s:counts().ranking_items)
  end)

  it("are never changed or deleted, by any SQL", function()
    filled():close()
    local conn <close> = assert(core.db.open(path))
    for sql, why in pairs {
      ["UPDATE demonstrations SET text = 'x'"] = "demonstration is never changed",
      ["DELETE FROM demonstrations"] = "demonstration is never deleted",
      ["UPDATE rankings SET labeler = 'x'"] = "ranking is never changed",
      ["DELETE FROM rankings"] = "ranking is never deleted",
      ["UPDATE ranking_items SET rank = 1"] = "ranking is never changed",
      ["DELETE FROM ranking_items"] = "ranking is never deleted",
      ["INSERT INTO ranking_items VALUES (1, 1, 1)"] = "ranking is never changed",
      ["UPDATE completions SET text = 'x'"] = "completion is never changed",
      ["DELETE FROM completions"] = "FOREIGN KEY",
      ["DELETE FROM prompts"] = "FOREIGN KEY",
      ["INSERT INTO rankings (prompt_id) VALUES (1)"] = "two completions or more",
      ["UPDATE prompts SET source = 'web'"] = "CHECK constraint",
      ["UPDATE prompts SET line = 'x'"] = "cannot store TEXT value in INTEGER column",
    } do
      assert.error_matches(function() conn:exec(sql) end, why)
    end
  end)
end)

describe("transactions", function()
  it("keep nothing of an f that raises", function()
    local s <close> = assert(store.open(path))
    assert.error_matches(function()
      s:transaction(function()
        s:add { prompt = "p", user_id = "u", source = "api" }
        error("no more")
      end)
    end, "no more")
    assert.equal(0, s:counts().prompts)
    -- The user of the undone transaction is not remembered.
    s:add { prompt = "p", user_id = "u", source = "api" }
    assert.equal("u", s:prompt(1).user_id)
    assert.same({ 1, 2, nil, 3 }, {
      s:transaction(function(...) return 1, 2, nil, ... end, 3),
    })
  end)

  it("within others are undone alone", function()
    local s <close> = assert(store.open(path))
    s:transaction(function()
      s:add { prompt = "kept", user_id = "u", source = "api" }
      pcall(s.transaction, s, function()
        s:add { prompt = "lost", user_id = "v", source = "api" }
        error("no")
      end)
      pcall(s.add, s, { prompt = "lost", source = "api", completion = "c" }, { source_id = 9 })
      s:add { prompt = "too", user_id = "v", source = "api" }
    end)
    local rows = list_of(s:prompts())
    assert.same({ "kept", "too" }, { rows[1].prompt, rows[2] and rows[2].prompt })
    assert.equal(2, #rows)
    assert.equal("v", rows[2].user_id)
  end)

  it("that SQLite undid write nothing more", function()
    local s <close> = assert(store.open(path))
    assert.error_matches(function()
      s:transaction(function()
        s:add { prompt = "p", source = "api" }
        s.conn:exec("ROLLBACK")
        pcall(s.add, s, { prompt = "q", source = "api" })
      end)
    end, "undid the whole transaction")
    assert.equal(0, s:counts().prompts)
    s:add { prompt = "r", source = "api" }
    assert.equal(1, s:counts().prompts)
  end)

  it("wait for no lock longer than busy_ms, and say who has it", function()
    local one <close> = assert(core.db.open(path, { busy_ms = 0 }))
    one:exec("CREATE TABLE t (a); BEGIN IMMEDIATE")
    local two <close> = assert(core.db.open(path, { busy_ms = 1 }))
    assert.error_matches(
      function() two:exec("BEGIN IMMEDIATE") end,
      "database is locked %(another program is writing to it"
    )
  end)
end)

describe("opening", function()
  local function refused(why, where, options)
    local s, message = store.open(where, options)
    assert.is_nil(s)
    assert.matches(why, message)
  end

  it("refuses what is no store, and says so", function()
    refused("this is a folder, not a file", folder)
    refused("the folder must exist", folder .. "/none/x.store")
    refused("the folder must exist", "/proc/x.store")
    refused("must exist", path, { readonly = true })
    assert(files.write_atomic(path, ("no database "):rep(1000)))
    refused("is not a database", path)
    os.remove(path)
    do
      local conn <close> = assert(core.db.open(path))
      conn:exec("CREATE TABLE theirs (a)")
    end
    refused("another program", path)
  end)

  it("tells a damaged file", function()
    do
      local s <close> = assert(store.open(path))
      s:transaction(function()
        for i = 1, 2000 do
          s:add { prompt = ("text %d "):format(i):rep(20), source = "api" }
        end
      end)
    end
    local text = files.read(path)
    local page = 4096
    assert(
      files.write_atomic(
        path,
        text:sub(1, 50 * page) .. ("\xA5"):rep(25 * page) .. text:sub(75 * page + 1)
      )
    )
    local s <close> = assert(store.open(path))
    assert.error_matches(function() list_of(s:prompts()) end, "malformed %(the file is damaged")
  end)

  it("for reading writes nothing", function()
    filled():close()
    local before = files.hash(path)
    local s <close> = assert(store.open(path, { readonly = true }))
    assert.equal(4, #list_of(s:prompts()))
    assert.error_matches(
      function() s:add { prompt = "p", source = "api" } end,
      "readonly database %(it was opened for reading"
    )
    s:close()
    s:close()
    assert.equal(before, files.hash(path))
  end)

  it("a hundred times leaves nothing open", function()
    local function count()
      local n = 0
      for _ in lfs.dir("/proc/self/fd") do
        n = n + 1
      end
      return n
    end
    filled():close()
    collectgarbage()
    local fds = count()
    for i = 1, 100 do
      local s = assert(store.open(path))
      local rows = s:prompts()
      rows()
      if i % 2 == 0 then
        s:close() -- the iterator is still open
        assert.has_error(rows)
      end
    end
    collectgarbage()
    collectgarbage()
    assert.equal(fds, count())
    assert.is_nil(lfs.attributes(path .. "-wal"))
  end)
end)

describe("migrations", function()
  local first = "CREATE TABLE old (a TEXT) STRICT; INSERT INTO old VALUES ('kept')"
  local second = [[CREATE TABLE new (a TEXT, b INTEGER) STRICT;
    INSERT INTO new SELECT a, 7 FROM old; DROP TABLE old]]

  local function version(conn)
    local statement <close> = conn:prepare("PRAGMA user_version")
    return (statement:row())
  end

  it("take an older store to today's version, keeping its rows", function()
    local conn <close> = assert(core.db.open(path))
    assert.is_true(schema.migrate(conn, path, { migrations = { first } }))
    assert.equal(1, version(conn))
    assert.is_nil(schema.migrate(conn, path, { migrations = { first, second }, readonly = true }))
    assert.is_true(schema.migrate(conn, path, { migrations = { first, second } }))
    assert.equal(2, version(conn))
    local statement <close> = conn:prepare("SELECT a, b FROM new")
    assert.same({ "kept", 7 }, { statement:row() })
    assert.is_true(schema.migrate(conn, path, { migrations = { first, second } }))
  end)

  it("that fail leave the version before", function()
    local conn <close> = assert(core.db.open(path))
    assert.is_true(schema.migrate(conn, path, { migrations = { first } }))
    local ok, message =
      schema.migrate(conn, path, { migrations = { first, "DROP TABLE old; SELECT nonsense" } })
    assert.is_nil(ok)
    assert.matches("stays at version 1, the step to 2 failed: .*no such column: nonsense", message)
    assert.equal(1, version(conn))
    local statement <close> = conn:prepare("SELECT a FROM old")
    assert.equal("kept", statement:row())
  end)

  it("refuse a newer store and leave it alone", function()
    filled():close()
    do
      local conn <close> = assert(core.db.open(path))
      conn:exec(("PRAGMA user_version = %d"):format(#schema.migrations + 1))
    end
    local before = files.hash(path)
    local s, message = store.open(path)
    assert.is_nil(s)
    assert.matches("has version %d+, this Perilune knows versions up to", message)
    assert.equal(before, files.hash(path))
  end)

  it("begin with an empty file too", function()
    assert(files.write_atomic(path, ""))
    local s <close> = assert(store.open(path))
    assert.equal(0, s:counts().prompts)
  end)
end)

describe("sources", function()
  it("have a cursor that moves with their rows", function()
    local s <close> = assert(store.open(path))
    local id = s:new_source {
      path = "log.txt",
      hash = "h",
      bytes = 100,
      format = "jsonl",
      settings = { b = 1, a = "x" },
    }
    assert.same({
      id = id,
      path = "log.txt",
      hash = "h",
      bytes = 100,
      format = "jsonl",
      settings = '{"a":"x","b":1}',
      line = 0,
      offset = 0,
      rows = 0,
      bad = 0,
      finished = false,
    }, s:source("h", { a = "x", b = 1 }))
    assert.is_nil(s:source("h", { a = "y" }))
    pcall(s.transaction, s, function()
      s:add({ prompt = "p", source = "api" }, { source_id = id, line = 1 })
      s:update_source(id, { line = 1, offset = 10, rows = 1 })
      error("killed")
    end)
    assert.equal(0, s:sources({ path = "log.txt" })[1].line)
    s:transaction(function()
      s:add({ prompt = "p", source = "api" }, { source_id = id, line = 1 })
      s:bad_line(id, 2, "no JSON", "\xffbad\0\u{e9}" .. ("x"):rep(1000))
      s:update_source(id, { line = 2, offset = 20, rows = 1, bad = 1, finished = true })
    end)
    local source = s:sources({ id = id })[1]
    assert.same({ 2, 20, true }, { source.line, source.offset, source.finished })
    assert.same({ id, 1 }, { s:prompt(1).source_id, s:prompt(1).line })
    local bad = s:bad_lines(id)
    assert.same({ 1, 2, "no JSON" }, { #bad, bad[1].line, bad[1].reason })
    assert.equal("\u{FFFD}bad\0\u{e9}x", bad[1].excerpt:sub(1, 10))
    assert.is_true(#bad[1].excerpt < 300)
    assert.equal(0, s:forget_bad_lines(id, 2))
    assert.equal(1, s:forget_bad_lines(id, 1))
    assert.same({}, s:bad_lines(id))
    assert.error_matches(
      function() s:update_source(id, { path = "y" }) end,
      "'path' cannot be changed"
    )
    assert.error_matches(function() s:update_source(9, { line = 1 }) end, "no source 9")
  end)
end)

describe("sets", function()
  local function build(s)
    local set = s:new_set("paper", { recipe = "collect", settings = { max = 200 }, seed = 3 })
    for row in s:demonstrations() do
      s:add_to_set(set, "sft", "train", row)
    end
    for row in s:ranked() do
      s:add_to_set(set, "rm", "train", row)
    end
    for row in s:prompts { source = "api" } do
      if row.prompt then
        row.prompt, row.user_id = row.prompt:gsub("quotes", "[NAME]"), nil
        row.extra = row.extra and { n = 4 }
        row.changes = { { rule = "personal_data", what = "name" } }
      end
      s:add_to_set(set, "ppo", row.id == 1 and "valid" or "train", row)
    end
    return set
  end

  it("give rows in the forms of training, with what the rules changed", function()
    local s <close> = filled()
    local set = build(s)
    assert.error_matches(function() s:set_rows("sft") end, "no finished set")
    s:finish_set(set)
    local sft, rm = list_of(s:set_rows("sft", "train")), list_of(s:set_rows("rm"))
    assert.same(canonical(examples[3]), canonical(sft[1]))
    assert.same(canonical(examples[4]), canonical(rm[1]))
    assert.same({ 3, 4, "train" }, { sft[1].id, rm[1].id, rm[1].side })
    assert.is_number(rm[1].ranking_id)
    local ppo = list_of(s:set_rows("ppo", nil, { set = "paper" }))
    assert.equal(3, #ppo)
    assert.equal((hostile:gsub("quotes", "[NAME]")), ppo[1].prompt)
    assert.is_nil(ppo[1].user_id)
    assert.same({ n = 4 }, ppo[1].extra)
    assert.same({ { rule = "personal_data", what = "name" } }, ppo[1].changes)
    assert.same(examples[2].messages, ppo[2].messages)
    assert.equal("u2", ppo[2].user_id)
    assert.equal(1, #list_of(s:set_rows("ppo", "valid")))
    assert.same({
      {
        id = set,
        name = "paper",
        recipe = "collect",
        settings = { max = 200 },
        seed = 3,
        finished = true,
        rows = { sft = 1, rm = 1, ppo = 3 },
      },
    }, s:sets())
    -- Texts that no rule changed are not kept twice.
    local derived = s:statement("SELECT count(*) FROM set_rows WHERE derived IS NOT NULL"):row()
    assert.equal(1, derived)
  end)

  it("are sealed when finished; what a stopped run left is removed", function()
    local s <close> = filled()
    build(s)
    local set = build(s)
    assert.equal(1, #s:sets())
    s:finish_set(set)
    assert.error_matches(
      function() s:add_to_set(set, "ppo", "train", s:prompt(1)) end,
      "the set is finished"
    )
    assert.error_matches(function() s:finish_set(set) end, "no unfinished set")
    build(s)
    assert.equal(2, #s:sets())
    assert.equal(5, s:statement("SELECT count(*) FROM set_rows WHERE set_id = ?"):row(set))
    assert.equal(3, #list_of(s:set_rows("ppo"))) -- of the finished one
    assert.error_matches(
      function() s:add_to_set(2, "rm", "train", s:prompt(1)) end,
      "needs `completions`"
    )
    assert.error_matches(
      function() s:add_to_set(2, "ppo", "train", { prompt = "x" }) end,
      "no `id` of a prompt"
    )
  end)

  it("keep rows that rules made of several rankings", function()
    local s <close> = assert(store.open(path))
    s:add {
      prompt = "p",
      source = "labeler",
      completions = { "x", "y", "z" },
      rankings = {
        { labeler = "a", ranks = { 1, 2, 3 } },
        { labeler = "b", ranks = { 1, 3, 2 } },
      },
    }
    local row = s:ranked()()
    row.ranks = { 1, 2, 2 }
    local set = s:new_set("x")
    s:add_to_set(set, "rm", "test", row)
    s:finish_set(set)
    local read = s:set_rows("rm", "test")()
    assert.same({ 1, 2, 2 }, read.ranks)
    assert.same({ "x", "y", "z" }, read.completions)
    assert.same({ 1, 3, 2 }, read.rankings[2].ranks)
  end)
end)

describe("what a model said", function()
  -- Two answers of a model to a prompt, one of them cut, ranked; and a set of it.
  local function with_answers(s)
    local id = s:add { prompt = "p", source = "api" }
    local ids = s:complete(id, {
      { text = "ab", tokens = { 5, 6 }, tokenizer = "t", finish_reason = "length" },
      { text = "c", tokens = { 7, 2 }, tokenizer = "t", finish_reason = "stop" },
      { text = "d" },
    })
    s:rank(id, { labeler = "ann", ranks = { [ids[1]] = 2, [ids[2]] = 1, [ids[3]] = 3 } })
    local ranking = s:human_answers(id).ranked[1]
    local set = s:new_set("one", { seed = 1 })
    local row = { id = id, prompt = "p", source = "api" }
    for key, value in pairs(ranking) do
      row[key] = value
    end
    s:add_to_set(set, "rm", "train", row)
    row.completions = { "ab", "[NAME]", "d" }
    s:add_to_set(set, "rm", "train", row)
    s:finish_set(set)
    return id
  end

  it("keeps its tokens and whether it was finished, into a set and through an export", function()
    local s <close> = assert(store.open(path))
    local id = with_answers(s)
    assert.is_true(s:export(folder .. "/finished"))
    assert(store.import(folder .. "/finished", folder .. "/finished.db"))
    local copy <close> = assert(store.open(folder .. "/finished.db"))
    for _, one in ipairs { s, copy } do
      local all = one:completions(id)
      assert.same(
        { "length", "t", { 5, 6 } },
        { all[1].finish_reason, all[1].tokenizer, all[1].tokens }
      )
      assert.is_nil(all[3].finish_reason)
      assert.same({ false, true, true }, one:human_answers(id).ranked[1].completion_finished)
      assert.same({ false, true, true }, list_of(one:ranked())[1].completion_finished)
      local rows = list_of(one:set_rows("rm"))
      assert.same({ false, true, true }, rows[1].completion_finished)
      assert.same({ { 5, 6 }, { 7, 2 }, false }, rows[1].completion_tokens)
      assert.equal("t", rows[1].tokenizer)
      assert.same({ false, true, true }, rows[2].completion_finished)
      assert.is_nil(rows[2].completion_tokens) -- the rules changed a text: its tokens are stale
      assert.is_nil(rows[2].tokenizer)
    end
  end)

  it("comes with a row that says so", function()
    local s <close> = assert(store.open(path))
    s:add {
      prompt = "q",
      source = "labeler",
      completions = { "x", "y" },
      ranks = { 1, 2 },
      completion_finished = { true, false },
    }
    assert.same({ true, false }, list_of(s:ranked())[1].completion_finished)
  end)

  it("is not known in a store of 0.1.0, whose export is read", function()
    local s <close> = assert(store.open(path))
    with_answers(s)
    local out = folder .. "/old"
    assert.is_true(s:export(out))
    os.remove(out .. "/manifest.json")
    scratch.write(out .. "/store.json", '{"version":1}\n')
    local lines = scratch.read(out .. "/completions.jsonl")
    scratch.write(
      out .. "/completions.jsonl",
      (lines:gsub('"finish_reason":"%a+",', ""):gsub(',"tokenizer":"t"', ""))
    )
    assert(store.import(out, folder .. "/from-old.db"))
    local copy <close> = assert(store.open(folder .. "/from-old.db"))
    assert.is_nil(list_of(copy:ranked())[1].completion_finished)
    scratch.write(out .. "/store.json", '{"version":99}\n')
    local made, message = store.import(out, folder .. "/newer.db")
    assert.is_nil(made)
    assert.matches("imports up to version", message)
  end)
end)

describe("export and import", function()
  local function hashes(where)
    local list = {}
    for name in lfs.dir(where) do
      if name ~= "." and name ~= ".." then list[name] = files.hash(where .. "/" .. name) end
    end
    return list
  end

  local function rich()
    local s = filled()
    local source = s:new_source {
      path = "a",
      hash = "h",
      bytes = 1,
      format = "jsonl",
      settings = { fields = { prompt = "text" } },
    }
    s:bad_line(source, 3, "bad", "line\0")
    s:add(
      { prompt = "with null", source = "api", extra = { a = { json.null, json.array {} } } },
      { source_id = source, line = 4 }
    )
    local first = s:demonstrate(1, { completion = "a", labeler = "l", time = 1.25 })
    s:demonstrate(1, { completion = "b", labeler = "l", time = 2, replaces = first })
    s:rank(4, { labeler = "eve", ranks = { 1, 1, 1, 1 }, seconds = 3.5, time = 4 })
    local set = s:new_set("x", { settings = { 1, 2 } })
    s:add_to_set(set, "ppo", "test", { id = 1, prompt = "masked", source = "api" })
    s:finish_set(set)
    s:new_set("begun")
    return s
  end

  it("round trip to the byte", function()
    local s <close> = rich()
    assert.is_true(s:export(folder .. "/out"))
    local copy <close> = assert(store.import(folder .. "/out", folder .. "/copy.store"))
    assert.same(s:counts(), copy:counts())
    assert.is_true(copy:export(folder .. "/again"))
    assert.same(hashes(folder .. "/out"), hashes(folder .. "/again"))
    assert.same(list_of(s:prompts()), list_of(copy:prompts()))
    assert.same(list_of(s:ranked { all = true }), list_of(copy:ranked { all = true }))
    -- An export replaces an export and nothing else.
    assert.is_true(s:export(folder .. "/out"))
    local ok, message = s:export(folder)
    assert.is_nil(ok)
    assert.matches("no export of a store", message)
    assert.is_table(lfs.attributes(path))
  end)

  it("refuses a damaged or foreign folder and leaves no file", function()
    do
      local s <close> = rich()
      assert.is_true(s:export(folder .. "/out"))
    end
    local to, name = folder .. "/copy.store", folder .. "/out/rankings.jsonl"
    local text = files.read(name)
    local function refused(why, changed)
      assert(files.write_atomic(name, changed))
      local s, message = store.import(folder .. "/out", to)
      assert.is_nil(s)
      assert.matches(why, message)
      assert.is_nil(lfs.attributes(to))
      assert.is_nil(lfs.attributes(to .. ".import"))
    end
    refused("rankings.jsonl", text:sub(1, -3))
    os.remove(folder .. "/out/manifest.json")
    refused("rankings.jsonl:1: .*no column 'odd'", (text:gsub('"id"', '"odd"', 1)))
    refused("rankings.jsonl:1: no JSON object", "[1]\n" .. text)
    refused("FOREIGN KEY", "") -- items of rankings that are missing
    assert(files.write_atomic(name, text))
    assert.is_nil(store.import(folder .. "/none", to))
    assert.is_nil(store.import(folder .. "/out", path))
    local s <close> = assert(store.import(folder .. "/out", to))
    assert.equal(2, s:counts().rankings)
  end)
end)

describe("lines", function()
  local function all(where, options)
    local list, reader = {}, assert(core.lines.open(where, options))
    while true do
      local text, number, problem = reader:next()
      if text == nil then
        reader:close()
        return list
      end
      list[#list + 1] = { text, number, problem, reader:offset() }
    end
  end

  it("come with their numbers and places", function()
    assert(files.write_atomic(path, "\u{FEFF}one\r\n\ntw\0o\xff\nlast"))
    assert.same({
      { "one", 1, nil, 8 },
      { "", 2, nil, 9 },
      { "tw\0o\xff", 3, nil, 15 },
      { "last", 4, nil, 19 },
    }, all(path))
    assert.same(
      { { "tw\0o\xff", 3, nil, 15 }, { "last", 4, nil, 19 } },
      all(path, { offset = 9, line = 2 })
    )
    local reader, message = core.lines.open(path, { offset = 20 })
    assert.is_nil(reader)
    assert.matches("holds 19 bytes and cannot be read on from byte 20", message)
  end)

  it("over the limit are passed over", function()
    assert(files.write_atomic(path, ("x"):rep(3000000) .. "\nab\r\nabc\n"))
    assert.same({
      {
        false,
        1,
        "the line has 3000000 bytes, more than the 2 that are allowed " .. "(max_bytes)",
        3000001,
      },
      { "ab", 2, nil, 3000005 },
      {
        false,
        3,
        "the line has 3 bytes, more than the 2 that are allowed (max_bytes)",
        3000009,
      },
    }, all(path, { max_bytes = 2 }))
    assert.equal(3000000, #all(path)[1][1])
  end)
end)
