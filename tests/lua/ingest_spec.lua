--- Ingest: every format, bad lines of every kind, files that are read twice, grow or are killed
-- over.
--
-- The files are made here; real ones are read where they stand (../shared/data), and their tests
-- say so when they are not there. Kills come at moments drawn from the clock; a failure names them.

local core = require("perilune.core")
local ingest = require("perilune.ingest")
local json = require("perilune.base.json")
local lfs = require("lfs")
local made = dofile("tests/lua/support/ingest_files.lua")
local pl_store = require("perilune.store")

local system = core.system

local folder, files

local function path_of(name)
  files = files + 1
  return ("%s/%d-%s"):format(folder, files, name)
end

--- All of a file's rows, and what was bad and skipped as {line, reason, excerpt}.
local function read(path, opts)
  local rows, bad, skipped = {}, {}, {}
  opts = opts or {}
  opts.on_bad = function(line, reason, excerpt) bad[#bad + 1] = { line, reason, excerpt } end
  opts.on_skip = function(line, reason) skipped[#skipped + 1] = { line, reason } end
  local next_row = assert(ingest.rows(path, opts))
  for row in next_row do
    rows[#rows + 1] = row
  end
  return rows, bad, skipped
end

local function rows_of(name, text, opts) return read(made.write(path_of(name), text), opts) end

--- One row, and nothing else, from a text.
local function row_of(name, text, opts)
  local rows, bad, skipped = rows_of(name, text, opts)
  assert.same({ {}, {} }, { bad, skipped })
  assert.equal(1, #rows)
  return rows[1]
end

local function new_store() return assert(pl_store.open(path_of("store.db"))) end

setup(function()
  folder, files = made.folder(), 0
end)

teardown(function() made.remove(folder) end)

describe("JSON Lines", function()
  it("of usual names need no mapping; other small fields are kept", function()
    local row = row_of(
      "a.jsonl",
      '{"text":"hi","uid":17,"org":"o","ts":1600000000000,'
        .. '"score":0.5,"deep":{"x":1},"source":"reddit"}\n'
    )
    assert.same({
      prompt = "hi",
      user_id = "17",
      organisation = "o",
      time = 1600000000,
      source = "api",
      extra = { score = 0.5, source = "reddit" },
    }, row)
    assert.is_nil(row_of("a.jsonl", '{"text":"hi","score":1}\n', { extra = false }).extra)
  end)

  it("prefer the first of two names for one thing, whatever their order", function()
    for _, text in ipairs { '{"text":"b","prompt":"a"}', '{"prompt":"a","text":"b"}' } do
      assert.equal("a", row_of("b.jsonl", text .. "\n").prompt)
    end
  end)

  it("take mapped names, nested ones and places in lists", function()
    local row = row_of(
      "c.jsonl",
      '{"request":{"parts":[{"body":"hello"}]},"who":{"id":"u1"},"a.b":"2020-01-02","x":1}\n',
      { fields = { prompt = "request.parts.1.body", user_id = "who.id", time = "a.b" } }
    )
    assert.same(
      { prompt = "hello", user_id = "u1", time = 1577923200, source = "api", extra = { x = 1 } },
      row
    )
  end)

  it("take a function as mapping: rows, reasons and failures", function()
    local rows, bad, skipped = rows_of(
      "d.jsonl",
      [[
{"q":"one","n":1}
{"q":"two","n":2}
{"q":"three","n":3}
{"q":"four","n":4}
{"q":"five","n":5}
]],
      {
        fields = function(record)
          if record.n == 2 then
            return nil, "not wanted"
          elseif record.n == 3 then
            error("oops", 0)
          elseif record.n == 4 then
            return { prompt = "\xff" }
          elseif record.n == 5 then
            return { prompt = "p", extra = "text" }
          end
          return { prompt = record.q:upper(), source = "labeler" }
        end,
      }
    )
    assert.same({ { prompt = "ONE", source = "labeler" } }, rows)
    assert.same({ { 2, "not wanted" } }, skipped)
    assert.same({
      { 3, "the mapping failed: oops" },
      { 4, "the mapping gave a text that is not UTF-8" },
      { 5, "`extra` must be a table" },
    }, { { bad[1][1], bad[1][2] }, { bad[2][1], bad[2][2] }, { bad[3][1], bad[3][2] } })
  end)

  it("say what a mapping function gave that is no row", function()
    local gives = {
      function() return { prompt = "p", complation = "c" } end,
      function() return { "p" } end,
      function() return 7 end,
      function() return nil, 7 end,
      function() return { messages = { { role = "wizard", content = "x" } } } end,
      function() return { messages = { { from = "human", value = "q" } }, prompts = "p" } end,
      function() return { messages = { { from = "human", value = "q" } } } end,
    }
    local rows, bad, skipped = rows_of(
      "m.jsonl",
      '{"n":1}\n{"n":2}\n{"n":3}\n{"n":4}\n{"n":5}\n' .. '{"n":6}\n{"n":7}\n',
      { fields = function(record) return gives[record.n]() end }
    )
    assert.same({ { prompt = "q", source = "api" } }, rows)
    assert.same({ { 4, "7" } }, skipped)
    local reasons = {}
    for i, entry in ipairs(bad) do
      reasons[i] = ("%d: %s"):format(entry[1], entry[2])
    end
    assert.same({
      "1: the mapping gave a field 'complation'; did you mean 'completion'?",
      "2: the mapping gave a list or a field 1; a row has names, as in { prompt = ... }",
      "3: the mapping gave a number, not a row",
      "5: turn 1 has the role 'wizard' (known: system, user, assistant, tool)",
      "6: the mapping gave a field 'prompts'; did you mean 'prompt'?",
    }, reasons)
  end)

  it("may have blank lines, CRLF, a byte order mark and a last line without end", function()
    local rows, bad =
      rows_of("e.jsonl", '\u{feff}{"prompt":"a"}\r\n\r\n   \n{"prompt":"b"}\n{"prompt":"c"}')
    assert.same({}, bad)
    assert.same({ "a", "b", "c" }, { rows[1].prompt, rows[2].prompt, rows[3].prompt })
  end)

  it("say what to map when no name is known", function()
    local path = made.write(path_of("f.jsonl"), '{"alpha":1,"beta":"x"}\n')
    local none, message = ingest.rows(path)
    assert.is_nil(none)
    assert.equal(
      path
        .. ": no field of its records says what the prompt is (they have alpha, "
        .. "beta): name them prompt, completion and so on, "
        .. 'or map them, as in fields = { prompt = "alpha" }',
      message
    )
  end)
end)

describe("times", function()
  local clock = require("perilune.ingest.clock")

  it("are read as logs write them", function()
    for text, seconds in pairs {
      ["1970-01-01"] = 0,
      ["2000-02-29"] = 951782400,
      ["2024-05-31T12:34:56Z"] = 1717158896,
      ["2024-05-31 12:34:56"] = 1717158896,
      ["2024-05-31T12:34:56.5+02:00"] = 1717151696.5,
      ["2024-05-31T12:34:56-0130"] = 1717164296,
      ["1600000000"] = 1600000000,
      ["1600000000123"] = 1600000000.123,
      ["1600000000000000"] = 1600000000,
    } do
      assert.equal(seconds, clock.seconds(text), text)
    end
    assert.equal(86400 + 3723, clock.seconds("01:02:03", 86400))
    assert.equal(86400 + 3720, clock.seconds("01:02", 86400))
    for _, text in ipairs {
      "01:02",
      "yesterday",
      "2024-13-01",
      "2024-05-31x",
      "",
      "99:99",
      ("1"):rep(50),
    } do
      assert.is_nil(clock.seconds(text), text)
    end
    assert.is_nil(clock.seconds(0 / 0))
    assert.is_nil(clock.seconds(-1))
  end)
end)

describe("CSV", function()
  it("has quotes, delimiters and line ends in quotes, CRLF and a byte order mark", function()
    local rows, bad = rows_of(
      "a.csv",
      "\u{feff}prompt,user_id,time\r\n"
        .. '"one, ""two""\r\nthree",u1,1600000000\r\n'
        .. 'plain "inner" quote,u2,\r\n\r\n'
        .. '"",u3,1\r\n'
    )
    assert.same({
      { prompt = 'one, "two"\nthree', user_id = "u1", time = 1600000000, source = "api" },
      { prompt = 'plain "inner" quote', user_id = "u2", source = "api" },
    }, rows)
    assert.same({ { 6, "no prompt" } }, { { bad[1][1], bad[1][2] } })
  end)

  it("finds its delimiter, takes mapped names and numbered columns", function()
    assert.same(
      { prompt = "hi, you", user_id = "u", source = "api" },
      row_of("b.csv", "Who;What\nu;hi, you\n", { fields = { prompt = "What", user_id = "Who" } })
    )
    assert.same(
      { prompt = "hi", user_id = "u", source = "api" },
      row_of("c.tsv", "u\thi\n", { fields = { prompt = 2, user_id = 1 } })
    )
    local none, message = ingest.rows(made.write(path_of("d.csv"), "a,a\n1,2\n"))
    assert.is_nil(none)
    assert.matches("the header names 'a' twice", message)
    none, message = ingest.rows(made.write(path_of("e.csv"), "u,hi\n"), {
      header = false,
      format = "csv",
    })
    assert.is_nil(none)
    assert.matches("columns without a header need numbers", message)
  end)

  it("loses no good line behind a stray quote", function()
    local lines = { "prompt,user_id" }
    for i = 1, 3000 do
      lines[#lines + 1] = ("p%d,u%d"):format(i, i)
    end
    lines[11] = '"p10,u10'
    lines[21] = '"p20"x,u20'
    lines[31] = "p30,u30,more"
    lines[41] = "p40\xff,u40"
    local rows, bad = rows_of("f.csv", table.concat(lines, "\n"))
    assert.equal(2996, #rows)
    assert.same({
      { 11, "field 1 goes on after its closing quote", '"p10,u10' },
      { 21, "field 1 goes on after its closing quote", '"p20"x,u20' },
      { 31, "3 fields where the first line has 2", "p30,u30,more" },
      { 41, "field 1: not UTF-8 at byte 4", "p40\u{fffd},u40" },
    }, bad)
    rows, bad = rows_of("g.csv", 'prompt,user_id\n"open,u\n' .. ("p,u\n"):rep(2500))
    assert.equal(2500, #rows)
    assert.same({ 2, "a quote is not closed within 1000 lines", '"open,u' }, bad[1])
  end)
end)

describe("a chat log", function()
  local text = "[09:56] <ann> bob: hello <there> [x]\n=== carl [~carl@host]  has joined #x\n"
    .. "[09:57]  * ann waves\n[09:57] <bob>\n[09:58] <bob> \n[09:59] <b> c> d\nnonsense\n"

  it("gives messages, skips joins and actions, and finds other lines bad", function()
    local rows, bad, skipped = rows_of("2005-02-08.log.txt", text)
    assert.same({
      { prompt = "bob: hello <there> [x]", user_id = "ann", time = 1107856560, source = "api" },
      { prompt = "c> d", user_id = "b", time = 1107856740, source = "api" },
    }, rows)
    assert.same({
      { 2, "a status line" },
      { 3, "an action" },
      { 4, "a message without text" },
      { 5, "a message without text" },
    }, skipped)
    assert.same({ { 7, "the line is not of the pattern '[time] <user> text'", "nonsense" } }, bad)
  end)

  it("has the times of its day, given or named, or none", function()
    local line = "[00:01] <a> b\n"
    assert.is_nil(row_of("x.log", line).time)
    assert.equal(60, row_of("x.log", line, { day = "1970-01-01" }).time)
    local none, message = ingest.rows(made.write(path_of("y.log"), line), { day = "soon" })
    assert.is_nil(none)
    assert.equal("day must be a date such as 2024-05-31, got 'soon'", message)
  end)

  it("may have another pattern", function()
    assert.same(
      {
        prompt = "hi (all)",
        user_id = "ann b",
        time = 1577934245,
        source = "api",
        organisation = "acme",
      },
      row_of(
        "z.log",
        "2020-01-02T03:04:05|acme|ann b: hi (all)\n",
        { format = "chat_log", pattern = "time|organisation|user: text" }
      )
    )
    for pattern, reason in pairs {
      ["<user>"] = "does not say where a message's text stands: it wants the word text",
      ["text <user>"] = "text must stand",
      ["<user> <user> text"] = "names user twice",
    } do
      local path = made.write(path_of("w.log"), "a\n")
      local none, message = ingest.rows(path, { format = "chat_log", pattern = pattern })
      assert.is_nil(none)
      assert.matches(reason, message)
    end
    assert.same(
      { prompt = "y", source = "api" },
      row_of(
        "v.log",
        "usertext (%d+) y\n",
        { format = "chat_log", pattern = "usertext (%d+) text" }
      )
    ) -- signs are themselves
  end)

  it("takes a hostile line in no time", function()
    local begun = os.clock()
    for _, part in ipairs { "[", "<", "[[", "] <", " ", "===" } do
      rows_of("h.log", "[00:00] <a> b\n" .. part:rep(200000) .. "\n")
    end
    assert.is_true(os.clock() - begun < 5)
  end)
end)

describe("data sets", function()
  local user_q = '{"role":"user","content":"q"}'
  local says_a = '{"role":"assistant","content":"a"}'
  local says_b = '{"role":"assistant","content":"b"}'
  local turns = '[{"role":"system","content":"s"},' .. user_q .. "," .. says_a .. "]"

  it("of Hugging Face's forms give prompts, demonstrations and rankings", function()
    local system_turn = { { role = "system", content = "s" }, { role = "user", content = "q" } }
    for text, row in pairs {
      ['{"messages":' .. turns .. "}"] = { messages = system_turn, completion = "a" },
      ['{"messages":[{"role":"user","content":"q"}]}'] = { prompt = "q" },
      ['{"prompt":"q","messages":' .. turns .. "}"] = { messages = system_turn, completion = "a" },
      ['{"prompt":"q","messages":' .. turns .. ',"chosen":"a","rejected":"b"}'] = {
        messages = system_turn,
        completions = { "a", "b" },
        ranks = { 1, 2 },
      },
      ['{"prompt":"q","completion":"a"}'] = { prompt = "q", completion = "a" },
      ['{"prompt":[' .. user_q .. '],"completion":[' .. says_a .. "]}"] = {
        prompt = "q",
        completion = "a",
      },
      ['{"prompt":"q","chosen":"a","rejected":"b"}'] = {
        prompt = "q",
        completions = { "a", "b" },
        ranks = { 1, 2 },
      },
      [('{"prompt":[%s],"chosen":[%s],"rejected":[%s]}'):format(user_q, says_a, says_b)] = {
        prompt = "q",
        completions = { "a", "b" },
        ranks = { 1, 2 },
      },
      ['{"prompt":"q","chosen":' .. turns .. ',"rejected":' .. turns:gsub('"a"', '"b"') .. "}"] = {
        messages = system_turn,
        completions = { "a", "b" },
        ranks = { 1, 2 },
      },
      ['{"chosen":' .. turns .. ',"rejected":' .. turns:gsub('"a"', '"b"') .. "}"] = {
        messages = system_turn,
        completions = { "a", "b" },
        ranks = { 1, 2 },
      },
      ['{"chosen":"The sky is blue.","rejected":"The sky is below."}'] = {
        prompt = "The sky is",
        completions = { " blue.", " below." },
        ranks = { 1, 2 },
      },
      ['{"prompt":"q","completions":["a","b","c","d"],"ranks":[0,2.5,2.5,9]}'] = {
        prompt = "q",
        completions = { "a", "b", "c", "d" },
        ranks = { 1, 2, 2, 4 },
      },
      ['{"text":"q"}'] = { prompt = "q" },
      ['{"prompt":"q","completion":"a","label":true}'] = {
        prompt = "q",
        completion = "a",
        extra = { label = true },
      },
    } do
      row.source = "api"
      local got = row_of("a.jsonl", text .. "\n")
      for _, field in ipairs { "completions", "ranks", "messages" } do
        if got[field] then -- lists of the decoder are marked as such
          got[field] = setmetatable(got[field], nil)
        end
      end
      assert.same(row, got, text)
    end
  end)

  it("skip what is no demonstration and no preference", function()
    local rows, bad, skipped = rows_of(
      "b.jsonl",
      '{"prompt":"q","completion":"a","label":false}\n'
        .. '{"prompt":"q","chosen":"a","rejected":"a"}\n{"chosen":"same","rejected":"same"}\n'
        .. '{"prompt":"  "}\n{"prompt":"q","completion":""}\n{"prompt":"q","chosen":"a"}\n'
    )
    assert.same({}, rows)
    assert.same({
      { 1, "an answer that is labelled as bad, without a better one" },
      { 2, "both answers are the same" },
      { 3, "both answers are the same" },
      { 4, "an empty prompt" },
      { 5, "an empty answer" },
    }, skipped)
    assert.equal("chosen without rejected, or the other way round", bad[1][2])
  end)

  it("of HH-RLHF are transcripts", function()
    local function pair(chosen, rejected)
      return json.encode { chosen = chosen, rejected = rejected } .. "\n"
    end
    local begin = "\n\nHuman: one\n\nAssistant: two\n\nHuman: three\nlines\n\nAssistant:"
    local rows, bad, skipped = rows_of(
      "c.jsonl",
      pair(begin .. " yes", begin .. " no\n\nreally")
        .. pair("\n\nHuman: q\n\nAssistant: a", begin .. " b")
    )
    assert.same({}, bad)
    assert.same({
      {
        messages = {
          { role = "user", content = "one" },
          { role = "assistant", content = "two" },
          { role = "user", content = "three\nlines" },
        },
        completions = { "yes", "no\n\nreally" },
        ranks = { 1, 2 },
        source = "labeler",
      },
    }, rows)
    assert.same({ { 2, "the two dialogues part before their last answer" } }, skipped)
    assert.same(
      { prompt = "q", completion = "a", source = "api" },
      row_of("d.jsonl", '{"text":"\\n\\nHuman: q\\n\\nAssistant: a"}\n')
    )
    assert.same(
      { prompt = "q", completions = { "a", "b" }, ranks = { 1, 2 }, source = "api" },
      row_of("e.jsonl", '{"prompt":"\\n\\nHuman: q\\n\\nAssistant:","chosen":"a","rejected":"b"}\n')
    )
  end)

  it("of Alpaca, ShareGPT, seed tasks and questions in turns", function()
    local list = '[{"instruction":"Add.","input":"1 2","output":"3"},'
      .. '{"instruction":"Sing.","input":"","output":"la","text":"all of it"}]'
    local rows = rows_of("f.json", list)
    assert.same({
      { prompt = "Add.\n\n1 2", completion = "3", source = "labeler" },
      { prompt = "Sing.", completion = "la", source = "labeler" },
    }, rows)
    assert.same(
      {
        messages = {
          { role = "user", content = "a" },
          { role = "assistant", content = "b" },
          { role = "user", content = "c" },
        },
        completion = "d",
        source = "api",
        extra = { id = "x" },
      },
      row_of(
        "g.json",
        '[{"id":"x","conversations":[{"from":"gpt","value":"before"},'
          .. '{"from":"human","value":"a"},{"from":"gpt","value":"b"},{"from":"human","value":"c"},'
          .. '{"from":"gpt","value":"d"}]}]'
      )
    )
    rows = rows_of(
      "h.jsonl",
      '{"id":"t","instruction":"Do.","instances":['
        .. '{"input":"","output":"x"},'
        .. '{"input":"i","output":"y"}]}\n'
    )
    assert.same({
      { prompt = "Do.", completion = "x", source = "labeler", extra = { id = "t" } },
      { prompt = "Do.\n\ni", completion = "y", source = "labeler", extra = { id = "t" } },
    }, rows)
    assert.same(
      { prompt = "first", use_case = "writing", source = "labeler", extra = { n = 81 } },
      row_of("i.jsonl", '{"n":81,"category":"writing","turns":["first","then"]}\n')
    )
  end)

  it("of OASST give a ranked row for each prompter's turn with two ranked replies", function()
    local function reply(text, rank, more)
      return ('{"text":"%s","role":"assistant"%s,"replies":[%s]}'):format(
        text,
        rank and ',"rank":' .. rank or "",
        more or ""
      )
    end
    local follow = '{"text":"more","role":"prompter","user_id":"u2","replies":['
      .. reply("y", 1)
      .. ","
      .. reply("x", 0)
      .. ","
      .. reply("unranked")
      .. "]}"
    local rows = rows_of(
      "j.jsonl",
      '{"message_tree_id":"t","prompt":{"text":"root","lang":"en",'
        .. '"role":"prompter","user_id":"u1","created_date":"2023-02-05T14:23:50.983374+00:00",'
        .. '"replies":['
        .. reply("b", 1)
        .. ","
        .. reply("a", 0, follow)
        .. ","
        .. reply("c", 2)
        .. "]}}\n"
        .. '{"prompt":{"text":"lone","role":"prompter","replies":['
        .. reply("a")
        .. "]}}\n"
    )
    assert.same({
      {
        prompt = "root",
        user_id = "u1",
        completions = { "a", "b", "c" },
        ranks = { 1, 2, 3 },
        time = 1675607030.983374,
        source = "labeler",
        extra = { tree_id = "t", lang = "en" },
      },
      {
        messages = {
          { role = "user", content = "root" },
          { role = "assistant", content = "a" },
          { role = "user", content = "more" },
        },
        user_id = "u2",
        completions = { "x", "y" },
        ranks = { 1, 2 },
        source = "labeler",
        extra = { tree_id = "t" },
      },
    }, rows)
  end)

  it("of PandaLM keep every annotator and the ties", function()
    local rows, bad = rows_of(
      "k.json",
      '[{"instruction":"Do.","input":"","response1":"a",'
        .. '"response2":"b","annotator1":0,"annotator2":1,"annotator3":2,"idx":7},'
        .. '{"instruction":"Do.","response1":true,"response2":"False.","annotator1":1},'
        .. '{"instruction":"Do.","response1":"a","response2":7,"annotator1":1}]'
    )
    assert.same({ "True", "False." }, rows[2].completions) -- the published files have such
    rows[2] = nil
    assert.same({
      {
        prompt = "Do.",
        completions = { "a", "b" },
        source = "labeler",
        extra = { idx = 7 },
        rankings = {
          { labeler = "annotator1", ranks = { 1, 1 } },
          { labeler = "annotator2", ranks = { 1, 2 } },
          { labeler = "annotator3", ranks = { 2, 1 } },
        },
      },
    }, rows)
    assert.same({ 3, "completion 2 is a number, not a text" }, { bad[1][1], bad[1][2] })
  end)

  it("may lie in one list within an object, and not in two", function()
    assert.equal("q", row_of("l.json", '{\n "version": 1,\n "data": [{"prompt": "q"}]\n}\n').prompt)
    local none, message =
      ingest.rows(made.write(path_of("m.json"), '{"a":[{"prompt":"q"}],\n"b":[{"prompt":"q"}]}'))
    assert.is_nil(none)
    assert.matches("holds several lists %('a', 'b'%)", message)
    none, message = ingest.rows(made.write(path_of("n.json"), '[{"prompt":"q"},\n{"prompt":\n'))
    assert.is_nil(none)
    assert.matches("unexpected end of text at line 2, column 11", message)
  end)
end)

describe("a hostile line", function()
  it("of a data set takes time in proportion to its length", function()
    local blanks = (" "):rep(250000)
    local begun = os.clock()
    for _, text in ipairs {
      "\n\nHuman: a" .. blanks .. "b\n\nAssistant: c" .. blanks .. "d",
      ("\n\nHuman: x"):rep(25000),
      blanks .. "\n\nHuman:" .. blanks,
      ("\n\nHuman: x\n\nAssistant: y"):rep(12500),
      blanks .. "x",
    } do
      for _, record in ipairs {
        { prompt = text },
        { messages = { { role = "user", content = text } } },
        { chosen = text .. " a", rejected = text .. " b" },
        { instruction = "i", input = text, output = text },
        { prompt = "p", time = text },
        { text = text, user_id = text },
      } do
        rows_of("h.jsonl", json.encode(record) .. "\n")
      end
      rows_of("h.csv", "prompt,user_id\n" .. text .. ",u\n")
      rows_of("h.csv", 'prompt,user_id\n"' .. text .. ",u\n")
    end
    rows_of("h.csv", ('prompt,"%sx%s"\n1,2\n'):format(blanks, blanks))
    assert.is_true(os.clock() - begun < 30)
  end)
end)

describe("any record", function()
  it("gives rows that a store takes, or a reason", function()
    local state = 20240601
    local function draw(n)
      state = (state * 1103515245 + 12345) & 0x7fffffff
      return (state >> 8) % n + 1
    end
    local values = {
      "text",
      "",
      " ",
      3,
      -1,
      2.5,
      1e300,
      true,
      false,
      json.null,
      "api",
      "plain",
      "2024-05-31",
      {},
      { "a", "b" },
      { 1, 2 },
      { 2, 2 },
      { "a" },
      { x = 1 },
      { { role = "user", content = "q" } },
      { { from = "human", value = "q" }, { from = "gpt", value = "a" } },
      { { role = "assistant", content = "a" } },
      { { role = "user" } },
      { { labeler = "l", ranks = { 1, 1 } } },
      { { ranks = { 2, 5 }, time = "x" } },
      { { ranks = 1 } },
      "\n\nHuman: a\n\nAssistant: b",
      "\n\nHuman: a\n\nAssistant: c",
      { { input = "i", output = "o" } },
      {
        text = "q",
        role = "prompter",
        replies = {
          { text = "a", role = "assistant", rank = 0 },
          { text = "b", role = "assistant", rank = 1 },
        },
      },
    }
    local names = {
      "prompt",
      "text",
      "messages",
      "user_id",
      "user",
      "organisation",
      "time",
      "source",
      "use_case",
      "kind",
      "labeler",
      "completion",
      "completions",
      "ranks",
      "rankings",
      "chosen",
      "rejected",
      "label",
      "instruction",
      "input",
      "output",
      "instances",
      "conversations",
      "turns",
      "response1",
      "response2",
      "annotator1",
      "other",
      "extra",
      "seconds",
      "answered",
      "id",
      "system",
      "history",
      "scores",
      "responses",
      "answers",
      "role",
      "deleted",
      "weight",
      "kto_tag",
      "labels",
      "ranking",
      "content",
      "context",
      "conversation",
      "preferred_output",
      "User ID",
      "completion_finished",
      "parent_id",
      "response",
    }
    local lines = { '{"prompt":"p"}' }
    for i = 2, 6000 do
      local record = i % 2 == 0 and { prompt = "p" } or {}
      for _ = 1, draw(5) do
        record[names[draw(#names)]] = values[draw(#values)]
      end
      lines[i] = json.encode(record)
    end
    local path = made.write(path_of("any.jsonl"), table.concat(lines, "\n") .. "\n")
    local taken = 0
    for _, format in ipairs {
      "hf",
      "alpaca",
      "sharegpt",
      "self_instruct",
      "turns",
      "oasst",
      "pandalm",
    } do
      local store <close> = new_store()
      local done = assert(ingest.file(store, path, {
        format = format,
        answers = ({ "person", "model" })[draw(3)],
      }))
      assert.equal(#store:bad_lines(done.source_id), done.bad)
      assert.is_true(done.rows + done.bad + done.skipped >= 6000)
      taken = taken + done.rows
    end
    assert.is_true(taken > 600)
  end)
end)

describe("options", function()
  it("that are unknown or wrong are refused with a hint", function()
    local path = made.write(path_of("a.jsonl"), '{"prompt":"q"}\n')
    assert.has_error(
      function() ingest.rows(path, { fromat = "csv" }) end,
      "ingest.rows has no option 'fromat'; did you mean 'format'?"
    )
    for _, case in ipairs {
      { { format = "jsnol" }, "unknown format 'jsnol'" },
      {
        { fields = { promt = "q" } },
        "unknown field 'promt' in the mapping; did you mean 'prompt'?",
      },
      { { fields = { user_id = "q" } }, "fields maps neither prompt nor messages" },
      { { fields = { prompt = true } }, "fields.prompt must name a field" },
      { { fields = 3 }, "fields must be a table" },
      { { source = "web" }, "source must be 'api' or 'labeler'" },
    } do
      local none, message = ingest.rows(path, case[1])
      assert.is_nil(none)
      assert.is_truthy(message:find(case[2], 1, true), message)
    end
    local none, message = ingest.rows(folder .. "/absent")
    assert.is_nil(none)
    assert.matches("absent", message)
  end)

  it("strict raises with file, line and reason; limit ends early", function()
    local path = made.write(path_of("b.jsonl"), '{"prompt":"q"}\n{"prompt":1}\n')
    local next_row = ingest.rows(path, { strict = true })
    assert.equal("q", next_row().prompt)
    local ok, message = pcall(next_row)
    assert.is_false(ok)
    assert.equal(path .. ":2: prompt is a number, not a text", message)
    next_row = ingest.rows(path)
    assert.equal("q", next_row().prompt)
    assert.same({ nil, 2, "prompt is a number, not a text", n = 3 }, table.pack(next_row()))
    assert.same({ n = 1 }, table.pack(next_row()))
    path = made.write(path_of("c.jsonl"), ('{"prompt":"q"}\n'):rep(9))
    assert.equal(4, #read(path, { limit = 4 }))
  end)

  it("auto refuses what it cannot tell", function()
    local none, message = ingest.rows(made.write(path_of("d.txt"), "once upon\na time\n"))
    assert.is_nil(none)
    assert.matches("cannot be told from its first lines: say format", message)
    assert.same({}, (rows_of("empty.txt", "")))
  end)
end)

-- ---- into a store --------

--- Everything in a store, as text.
local function content(store)
  local to = path_of("export")
  assert(store:export(to))
  local parts, names = {}, {}
  for name in lfs.dir(to) do
    if name:find("%.jsonl$") then names[#names + 1] = name end
  end
  table.sort(names)
  for i, name in ipairs(names) do
    parts[i] = name .. "\n" .. made.read(to .. "/" .. name)
  end
  assert.is_true(#parts > 5)
  return table.concat(parts)
end

describe("a store", function()
  it("gets a file once, whatever its name, and refuses it with other settings", function()
    local store <close> = new_store()
    local path = made.write(path_of("a.jsonl"), made.good(1) .. "\n" .. made.good(2) .. "\nbad\n")
    local done = assert(ingest.file(store, path))
    assert.same({ 2, 1, 0, 0, true }, {
      done.rows,
      done.bad,
      done.skipped,
      done.already,
      done.finished,
    })
    local before = content(store)
    for _, name in ipairs { path, made.write(path_of("copy.jsonl"), made.read(path)) } do
      done = assert(ingest.file(store, name))
      assert.same({ 0, 0, 2, true }, { done.rows, done.bad, done.already, done.finished })
      assert.equal(before, content(store))
    end
    local none, message = ingest.file(store, path, { fields = { prompt = "prompt" } })
    assert.is_nil(none)
    assert.matches(
      "is in the store already, read as .+ with other settings: .+ Its rows would come twice: .+",
      message
    )
    assert.equal(before, content(store))
    local bad = store:bad_lines(done.source_id)
    assert.same({ { line = 3, excerpt = "bad", reason = bad[1].reason } }, bad)
  end)

  it("gets what a grown file has new, also behind a line that had no end", function()
    for _, compare in ipairs { "jsonl", "half" } do
      local store <close> = new_store()
      local other <close> = new_store()
      local name = path_of("grow.jsonl")
      local first = compare == "half" and made.good(3):sub(1, 30) or made.good(3)
      made.write(name, made.good(1) .. "\noops\n" .. first)
      local done = assert(ingest.file(store, name))
      assert.same(compare == "half" and { 1, 2 } or { 2, 1 }, { done.rows, done.bad })
      made.write(name, made.good(3):sub(#first + 1) .. "\n" .. made.good(4) .. "\nno\n", "ab")
      done = assert(ingest.file(store, name))
      assert.same({ compare == "half" and 2 or 1, 1 }, { done.rows, done.bad })
      assert(ingest.file(other, name))
      assert.equal(content(other), content(store))
      assert.same({ 2, 5 }, {
        store:bad_lines(done.source_id)[1].line,
        store:bad_lines(done.source_id)[2].line,
      })
      assert.equal(0, assert(ingest.file(store, name)).rows)
    end
  end)

  it("refuses an edited file, and takes a new one under its name when told", function()
    local store <close> = new_store()
    local path = made.write(path_of("c.jsonl"), made.good(1) .. "\n")
    assert(ingest.file(store, path))
    made.write(path, made.good(2) .. "\n" .. made.good(1) .. "\n")
    local none, message = ingest.file(store, path)
    assert.is_nil(none)
    assert.matches("is not the one that was ingested from there.+replaced = true", message)
    assert.equal(2, assert(ingest.file(store, path, { replaced = true })).rows)
    assert.equal(0, assert(ingest.file(store, path)).rows)
  end)

  it("goes on after a limit, in every format, as if read at once", function()
    local csv = { "prompt,user_id" }
    for i = 1, 30 do
      csv[i + 1] = i % 3 == 0 and ('"%d\nmore",u'):format(i) or i .. ",u"
    end
    local log, list = {}, {}
    for i = 1, 30 do
      log[i] = i % 4 == 0 and "=== x joined" or ("[00:%02d] <u%d> text %d"):format(i, i, i)
      list[i] = made.good(i)
    end
    for name, text in pairs {
      ["d.csv"] = table.concat(csv, "\n") .. "\n",
      ["d.log"] = table.concat(log, "\n") .. "\n",
      ["d.jsonl"] = table.concat(list, "\n"),
      ["d.json"] = "[" .. table.concat(list, ",") .. "]",
    } do
      local path = made.write(path_of(name), text)
      for _, source in ipairs { path, made.gzip(path) } do
        local store <close> = new_store()
        local other <close> = new_store()
        local rows = 0
        for _ = 1, 40 do
          local done = assert(ingest.file(store, source, { limit = 4 }))
          rows = rows + done.rows
          if done.finished then break end
        end
        local whole = assert(ingest.file(other, source))
        assert.is_true(whole.finished)
        assert.equal(whole.rows, rows)
        assert.is_true(rows > 20)
        assert.equal(content(other), content(store))
      end
    end
  end)

  it("gets the whole lines of a gzip file that was cut, and the rest when it is whole", function()
    local lines = {}
    for i = 1, 4000 do
      lines[i] = made.good(i)
    end
    local packed = made.gzip(made.write(path_of("e.jsonl"), table.concat(lines, "\n") .. "\n"))
    local whole = made.read(packed)
    made.write(packed, whole:sub(1, #whole // 2))
    local store <close> = new_store()
    local other <close> = new_store()
    local done = assert(ingest.file(store, packed))
    assert.is_true(done.rows > 1000 and done.rows < 3500)
    local bad = store:bad_lines(done.source_id)
    assert.same({
      {
        line = done.rows + 1,
        excerpt = "",
        reason = "the gzip data ends early: the file is cut off",
      },
    }, bad)
    made.write(packed, whole)
    assert.equal(4000 - done.rows, assert(ingest.file(store, packed)).rows)
    assert(ingest.file(other, packed))
    assert.equal(content(other), content(store))
  end)

  it("gets nothing of a file with a bad line when strict", function()
    local store <close> = new_store()
    local path = made.write(path_of("f.jsonl"), made.good(1) .. "\n" .. made.good(2) .. "\n{\n")
    local none, message = ingest.file(store, path, { strict = true })
    assert.is_nil(none)
    assert.equal(path .. ":3: unexpected end of text at column 2", message)
    assert.equal(0, store:counts().prompts)
    assert.same({}, store:sources())
    made.write(path, made.good(1) .. "\n" .. made.good(2) .. "\n")
    assert.equal(2, assert(ingest.file(store, path, { strict = true })).rows)
  end)

  it("keeps demonstrations, rankings, users and where each row came from", function()
    local store <close> = new_store()
    local path = made.write(
      path_of("g.json"),
      '[{"prompt":"a","completion":"b","labeler":"l"},\n'
        .. '{"prompt":"c","completions":["x","y","z"],"ranks":[2,1,1],"labeler":"m"},\n'
        .. '{"instruction":"Do.","prompt":"d","user":"u"}]'
    )
    assert.equal(3, assert(ingest.file(store, path, { format = "hf", source = "labeler" })).rows)
    local counts = store:counts()
    assert.same({ 3, 3, 1, 1, 3, 1 }, {
      counts.prompts,
      counts.completions,
      counts.demonstrations,
      counts.rankings,
      counts.ranking_items,
      counts.users,
    })
    local ranked = store:ranked {}()
    assert.equal("c", ranked.prompt)
  end)
end)

-- ---- bad lines --------

local function hold_bad_lines(good, bad)
  local seed = 20240531
  local path = path_of("strewn.jsonl")
  local state = seed
  local expected = made.strewn(path, good, bad, function(n)
    state = (state * 6364136223846793005 + 1442695040888963407)
    return (state >> 33) % n + 1
  end)
  local store <close> = new_store()
  local done = assert(ingest.file(store, path))
  os.remove(path)
  assert.same({ good, bad }, { done.rows, done.bad })
  local found = store:bad_lines(done.source_id)
  assert.equal(bad, #found)
  for i, line in ipairs(expected) do
    assert.same({ line.line, line.kind }, { found[i].line, line.kind })
    assert.matches(line.reason, found[i].reason, 1, false, line.kind)
    assert.is_truthy(utf8.len(found[i].excerpt))
    assert.is_true(#found[i].excerpt <= 200)
  end
  local seen = 0
  for row in store:prompts {} do -- in the order of the file, each text whole
    seen = seen + 1
    assert.is_truthy(row.prompt == ('question %d of the \u{e4}ther "quoted" \u{4e2d}'):format(seen))
    assert.is_truthy(row.user_id == "user-" .. seen * 7919 % 997)
  end
  assert.equal(good, seen)
end

describe("malformed lines", function()
  it(
    "are each reported with number and reason, and cost no good line",
    function() hold_bad_lines(5000, 500) end
  )

  it(
    "are so among 100,000 good ones, 10,000 of them #long",
    function() hold_bad_lines(100000, 10000) end
  )

  it("show a beginning that is valid UTF-8", function()
    local excerpt = require("perilune.ingest.source").excerpt
    assert.equal(("x"):rep(159), excerpt(("x"):rep(159) .. "\u{e4}\u{e4}"))
    assert.equal(("x"):rep(158) .. "\u{e4}", excerpt(("x"):rep(158) .. "\u{e4}\u{e4}"))
    assert.equal("a b\u{fffd}c", excerpt("a\nb\xffc"))
    assert.equal("", excerpt(nil))
  end)
end)

-- ---- SIGKILL --------

local program = lfs.symlinkattributes("/proc/self/exe", "target")

--- Kills readers at random moments; after each, the store is whole, and the next goes on. What is
-- there at the end must be what an undisturbed reader leaves.
local function hold_kills(kills, lines)
  local path = path_of("kill.jsonl")
  local file = assert(io.open(path, "wb"))
  for i = 1, lines do
    file:write(i % 50 == 0 and "{broken" or made.good(i), "\n")
  end
  file:close()

  local function start(store)
    local out = store .. ".out"
    return assert(
      system.spawn(
        { program, "tests/lua/support/ingest_child.lua", store, path },
        { stdin = "/dev/null", stdout = out, stderr = out, wait = false }
      )
    ),
      out
  end

  local undisturbed = path_of("undisturbed.db")
  local begun = system.monotonic()
  local how, code = system.wait((start(undisturbed)))
  assert.same({ "exit", 0 }, { how, code })
  local duration = system.monotonic() - begun
  local want
  do
    local store <close> = assert(pl_store.open(undisturbed))
    want = content(store)
  end

  math.randomseed(math.floor(system.realtime() * 1000))
  local killed, moments, partial, tries = 0, {}, 0, 0
  while killed < kills do
    local target = path_of("killed.db")
    local before, ended = 0, false
    while not ended do
      tries = tries + 1
      assert.is_true(tries < 40 * kills, "the reader always ends before it is killed")
      local pid, out = start(target)
      local moment = math.random() * duration * 0.9
      system.sleep(moment)
      system.kill(pid, 9)
      how, code = system.wait(pid)
      if how == "exit" then
        assert.equal(0, code, made.read(out))
        ended = true
      else
        killed = killed + 1
        moments[#moments + 1] = ("%.3f"):format(moment)
        ended = killed >= kills
      end
      local place = ("killed after %s of %.3f s"):format(table.concat(moments, ", "), duration)
      local conn <close> = assert(core.db.open(target))
      assert.equal("ok", (conn:prepare("PRAGMA integrity_check"):row()), place)
      conn:close()
      local store <close> = assert(pl_store.open(target))
      local rows = store:counts().prompts
      assert.is_true(rows >= before, place) -- nothing that was there is lost
      local source = store:sources()[1]
      assert.equal(source and source.rows or 0, rows, place)
      partial = partial + (rows > 0 and rows < lines * 49 // 50 and 1 or 0)
      before = rows
    end
    local store <close> = assert(pl_store.open(target))
    assert(ingest.file(store, path))
    assert.is_truthy(want == content(store), table.concat(moments, ", "))
    store:close()
    for _, suffix in ipairs { "", "-wal", "-shm" } do
      os.remove(target .. suffix)
    end
  end
  return partial
end

describe("a reader that is killed", function()
  it("leaves a whole store, and the next one completes it", function() hold_kills(5, 30000) end)

  it("does so at a hundred moments #long", function()
    assert.is_true(hold_kills(100, 60000) > 20) -- most of them in the midst of the file
  end)
end)

-- ---- real files --------

local data = "../shared/data/"

--- A case over real files, pending where they are not.
local function with(name, file, run)
  it(name, function()
    if not lfs.attributes(data .. file) then
      pending(data .. file .. " is not there")
      return
    end
    run(data .. file)
  end)
end

describe("real files", function()
  with(
    "OASST trees: 212 ranked sets of 2 to 9 answers",
    "rankings/oasst_en_100_tree.jsonl",
    function(path)
      local rows, bad = read(path)
      local sizes = {}
      for _, row in ipairs(rows) do
        sizes[#row.completions] = (sizes[#row.completions] or 0) + 1
        assert.is_nil(row.completion)
      end
      assert.same({ [2] = 57, [3] = 117, [4] = 27, [5] = 3, [6] = 6, [8] = 1, [9] = 1 }, sizes)
      assert.same({}, bad)
    end
  )

  with("PandaLM: three annotators with ties", "rankings/pandalm_testset_v1.json", function(path)
    local rows, bad = read(path)
    assert.same({ 999, 0 }, { #rows, #bad })
    local ties = 0
    for _, row in ipairs(rows) do
      assert.equal(3, #row.rankings)
      for _, ranking in ipairs(row.rankings) do
        ties = ties + (ranking.ranks[1] == ranking.ranks[2] and 1 or 0)
      end
    end
    assert.is_true(ties > 250 and ties < 350)
  end)

  with(
    "HH-RLHF: pairs of dialogues, packed",
    "preferences/hh-harmless-base-test.jsonl.gz",
    function(path)
      local rows, bad, skipped = read(path)
      assert.same({ 2307, 0, 5 }, { #rows, #bad, #skipped })
    end
  )

  with("seed tasks and questions", "demonstrations", function(path)
    for name, count in pairs {
      self_instruct_seed_tasks = 175,
      user_oriented_instructions = 252,
      mt_bench_questions = 80,
    } do
      local rows, bad = read(("%s/%s.jsonl"):format(path, name))
      assert.same({ count, 0 }, { #rows, #bad })
    end
  end)

  with("77 days of a channel: each message, no join, nothing bad", "logs/irc-ubuntu", function(path)
    local messages, users, reasons, days = 0, {}, {}, 0
    for name in lfs.dir(path) do
      if name:find("%.txt$") then
        days = days + 1
        local rows, bad, skipped = read(path .. "/" .. name)
        assert.same({}, bad)
        messages = messages + #rows
        for _, row in ipairs(rows) do
          users[row.user_id] = true
          assert.equal("integer", math.type(row.time))
        end
        for _, line in ipairs(skipped) do
          reasons[line[2]] = (reasons[line[2]] or 0) + 1
        end
      end
    end
    local count = 0
    for _ in pairs(users) do
      count = count + 1
    end
    assert.equal(77, days)
    assert.equal(97958, messages + reasons["a message without text"])
    assert.is_true(count > 8500 and count <= 8544)
    assert.is_true(reasons["a status line"] > 12000 and reasons["an action"] > 100)
  end)
end)
