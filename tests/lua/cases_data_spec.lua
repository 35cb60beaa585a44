--- Cases: forms of logs, demonstrations and rankings in which public data comes, and what must come
-- of each. A line a case, by its kind: `perilune test -R cases`.
--
-- The files are made here. `rows` are read with the options that recipes/collect.lua gives to its
-- --logs, --demonstrations and --rankings; what the recipe itself does with files that give nothing
-- of their kind is held in the last part.

local ingest = require("perilune.ingest")
local json = require("perilune.base.json")
local made = dofile("tests/lua/support/ingest_files.lua")
local pl = require("perilune")

local OPTIONS <const> = {
  logs = { source = "api", answers = "model" },
  demonstrations = { source = "labeler", answers = "person" },
  rankings = { source = "labeler", answers = "person" },
}

local folder, files

setup(function()
  folder, files = made.folder(), 0
end)

teardown(function() made.remove(folder) end)

local function file_of(name, text)
  files = files + 1
  return made.write(("%s/%d-%s"):format(folder, files, name), text)
end

local function lines(...)
  local list = {}
  for i, record in ipairs { ... } do
    list[i] = type(record) == "string" and record or json.encode(record)
  end
  return table.concat(list, "\n") .. "\n"
end

--- Rows of a text read for a purpose, and why records gave none.
local function read(purpose, text, name, more)
  local opts = { extra = false }
  for key, value in pairs(OPTIONS[purpose]) do
    opts[key] = value
  end
  for key, value in pairs(more or {}) do
    opts[key] = value
  end
  local rows, reasons = {}, {}
  local function note(line, reason) reasons[#reasons + 1] = ("%d: %s"):format(line, reason) end
  opts.on_bad, opts.on_skip = note, note
  for row in assert(ingest.rows(file_of(name or "rows.jsonl", text), opts)) do
    row.source = nil
    rows[#rows + 1] = row
  end
  return rows, reasons
end

local function plain(value)
  if type(value) ~= "table" then return value end
  local copy = {}
  for key, inner in pairs(value) do
    copy[key] = plain(inner)
  end
  return copy
end

local function user(text) return { role = "user", content = text } end

local function assistant(text) return { role = "assistant", content = text } end

local function system(text) return { role = "system", content = text } end

--- A case: what it is called, what it is read for, the records, and the rows or reasons expected.
local function case(name, purpose, records, expected, reasons, more)
  it(name, function()
    local text = type(records) == "string" and records or lines(table.unpack(records))
    local rows, why = read(purpose, text, more and more.name, more and more.options)
    assert.same(expected, plain(rows))
    assert.same(reasons or {}, why)
  end)
end

local Q <const> = "Where do eels spawn?"
local YES <const> = "In the Sargasso Sea."
local NO <const> = "On the roof."
local PAIR <const> = { prompt = Q, completions = { YES, NO }, ranks = { 1, 2 } }

describe("a pair keeps its verdict and its prompt:", function()
  case("ShareGPT, the answers as turns", "rankings", {
    {
      conversations = { { from = "human", value = Q } },
      chosen = { from = "gpt", value = YES },
      rejected = { from = "gpt", value = NO },
    },
  }, { PAIR })
  case(
    "ShareGPT, the answers as texts",
    "rankings",
    { { conversations = { { from = "human", value = Q } }, chosen = YES, rejected = NO } },
    { PAIR }
  )
  case("ShareGPT with a system turn and a history", "rankings", {
    {
      conversations = {
        { from = "system", value = "Be brief." },
        { from = "human", value = "Hi" },
        { from = "gpt", value = "Hello" },
        { from = "human", value = Q },
      },
      chosen = YES,
      rejected = NO,
    },
  }, {
    {
      messages = { system("Be brief."), user("Hi"), assistant("Hello"), user(Q) },
      completions = { YES, NO },
      ranks = { 1, 2 },
    },
  })
  case(
    "Vicuna's conversation",
    "rankings",
    { { conversation = { user(Q) }, chosen = { assistant(YES) }, rejected = { assistant(NO) } } },
    { PAIR }
  )
  case(
    "Alpaca with an instruction",
    "rankings",
    { { instruction = Q, input = "", chosen = YES, rejected = NO } },
    { PAIR }
  )
  case("Alpaca with an input", "rankings", {
    {
      instruction = "In the past tense.",
      input = "I eat.",
      chosen = "I ate.",
      rejected = "I eaten.",
    },
  }, {
    {
      prompt = "In the past tense.\n\nI eat.",
      completions = { "I ate.", "I eaten." },
      ranks = { 1, 2 },
    },
  })
  case(
    "Alpaca, an output of two",
    "rankings",
    { { instruction = Q, input = "", output = { YES, NO } } },
    { PAIR }
  )
  case(
    "Orca, system and question",
    "rankings",
    { { system = "Be brief.", question = Q, chosen = YES, rejected = NO } },
    {
      {
        messages = { system("Be brief."), user(Q) },
        completions = { YES, NO },
        ranks = { 1, 2 },
      },
    }
  )
  case(
    "system_prompt beside a prompt",
    "rankings",
    { { system_prompt = "Be brief.", prompt = Q, chosen = YES, rejected = NO } },
    {
      {
        messages = { system("Be brief."), user(Q) },
        completions = { YES, NO },
        ranks = { 1, 2 },
      },
    }
  )
  case("UltraFeedback, whole dialogues under both", "rankings", {
    {
      prompt = Q,
      chosen = { user(Q), assistant(YES) },
      rejected = { user(Q), assistant(NO) },
      messages = { user(Q), assistant(YES) },
      score_chosen = 8,
      score_rejected = 2,
    },
  }, { PAIR })
  case("whole dialogues and a system text beside them", "rankings", {
    {
      system = "Be brief.",
      chosen = { user(Q), assistant(YES) },
      rejected = { user(Q), assistant(NO) },
    },
  }, {
    {
      messages = { system("Be brief."), user(Q) },
      completions = { YES, NO },
      ranks = { 1, 2 },
    },
  })
  case(
    "TRL, explicit, of turns",
    "rankings",
    { { prompt = { user(Q) }, chosen = { assistant(YES) }, rejected = { assistant(NO) } } },
    { PAIR }
  )
  case(
    "TRL, implicit, of turns",
    "rankings",
    { { chosen = { user(Q), assistant(YES) }, rejected = { user(Q), assistant(NO) } } },
    { PAIR }
  )
  case(
    "TRL, implicit, of texts",
    "rankings",
    { { chosen = "Eels spawn in the sea.", rejected = "Eels spawn in a tree." } },
    { { prompt = "Eels spawn in", completions = { " the sea.", " a tree." }, ranks = { 1, 2 } } }
  )
  case("no prompt is made of answers when another field may hold it", "rankings", {
    {
      task = "Say where eels spawn.",
      chosen = "Eels spawn in the sea.",
      rejected = "Eels spawn in a tree.",
    },
  }, {}, {
    "1: no known field holds the prompt; it has "
      .. "'task': map it, as in fields = { prompt = \"task\" }",
  })
  case("HH transcripts with the prompt apart", "rankings", {
    {
      prompt = Q,
      chosen = "\n\nHuman: " .. Q .. "\n\nAssistant: " .. YES,
      rejected = "\n\nHuman: " .. Q .. "\n\nAssistant: " .. NO,
    },
  }, { PAIR })
end)

describe("a list keeps its verdict:", function()
  local by_score = { prompt = Q, completions = { NO, YES }, ranks = { 2, 1 } }
  case(
    "RRHF: query, responses, scores",
    "rankings",
    { { query = Q, responses = { NO, YES }, scores = { 0.1, 0.9 } } },
    { by_score }
  )
  case(
    "completions with scores",
    "rankings",
    { { prompt = Q, completions = { NO, YES }, scores = { 1, 2 } } },
    { by_score }
  )
  case(
    "completions with rewards, a tie",
    "rankings",
    { { prompt = Q, completions = { NO, YES, "At sea." }, rewards = { -1, 2, 2 } } },
    { { prompt = Q, completions = { NO, YES, "At sea." }, ranks = { 3, 1, 1 } } }
  )
  case("UltraFeedback as it was scored", "rankings", {
    {
      instruction = Q,
      completions = {
        { response = NO, overall_score = 2 },
        { response = YES, overall_score = 8.5 },
      },
    },
  }, { by_score })
  case(
    "ranks in the answers",
    "rankings",
    { { prompt = Q, answers = { { text = NO, rank = 1 }, { text = YES, rank = 0 } } } },
    { by_score }
  )
  case(
    "one chosen, several rejected",
    "rankings",
    { { prompt = Q, chosen = YES, rejected = { NO, "No." } } },
    {
      { prompt = Q, completions = { YES, NO, "No." }, ranks = { 1, 2, 2 } },
    }
  )
  case(
    "scores that do not fit",
    "rankings",
    { { prompt = Q, completions = { NO, YES }, scores = { 1 } } },
    {},
    { "1: scores are not a list of 2 numbers, one for each answer" }
  )
  case(
    "TRL's steps are no answers to compare",
    "rankings",
    { { prompt = Q, completions = { "One.", "Two." }, labels = { true, false } } },
    {},
    { "1: steps of one answer with labels, no answers to compare" }
  )
end)

describe("the context is whole:", function()
  local row = {
    messages = {
      system("You sail."),
      user("And in summer?"),
      assistant("Calm."),
      user("And in winter?"),
    },
    completion = "Ice.",
  }
  case("system and history as pairs", "demonstrations", {
    {
      instruction = "And in winter?",
      input = "",
      output = "Ice.",
      system = "You sail.",
      history = { { "And in summer?", "Calm." } },
    },
  }, { row })
  case("system and history as turns", "demonstrations", {
    {
      prompt = "And in winter?",
      completion = "Ice.",
      system_prompt = "You sail.",
      history = { user("And in summer?"), assistant("Calm.") },
    },
  }, { row })
  case("system and history as objects", "demonstrations", {
    {
      question = "And in winter?",
      answer = "Ice.",
      system_message = "You sail.",
      history = { { question = "And in summer?", answer = "Calm." } },
    },
  }, { row })
  case(
    "a history that is none of these",
    "demonstrations",
    { { prompt = Q, completion = YES, history = { "a", "b" } } },
    {},
    { "1: history 1 is no [question, answer]" }
  )
  case("a system turn in conversations", "demonstrations", {
    {
      conversations = {
        { from = "system", value = "You sail." },
        { from = "human", value = "And in summer?" },
        { from = "gpt", value = "Calm." },
        { from = "human", value = "And in winter?" },
        { from = "gpt", value = "Ice." },
      },
    },
  }, { row })
  case(
    "Dolly's context",
    "demonstrations",
    { { instruction = "When?", context = "In May.", response = "May." } },
    { { prompt = "When?\n\nIn May.", completion = "May." } }
  )
end)

describe("who gave the answer:", function()
  case("a log's messages are prompts, the model's answer is kept beside", "logs", {
    { messages = { user(Q), assistant(YES) }, user_id = "u" },
    { conversation = { user(Q), assistant(YES) }, user_id = "v" },
  }, {
    { prompt = Q, user_id = "u", completions = { YES } },
    { prompt = Q, user_id = "v", completions = { YES } },
  })
  for _, name in ipairs { "completion", "response", "output", "answer" } do
    case(
      "a log's `" .. name .. "` is the model's",
      "logs",
      { { prompt = Q, [name] = YES } },
      { { prompt = Q, completions = { YES } } }
    )
  end
  case(
    "a log's answer with its labeler is a person's",
    "logs",
    { { prompt = Q, completion = YES, labeler = "ana" } },
    { { prompt = Q, completion = YES, labeler = "ana" } }
  )
  case("OpenAssistant's flat messages", "logs", {
    { text = Q, role = "prompter", user_id = "u", deleted = false },
    { text = YES, role = "assistant", user_id = "v", parent_id = "a", rank = 0 },
    { text = "Go on.", role = "prompter", user_id = "u", parent_id = "b" },
    { text = "Gone.", role = "prompter", user_id = "u", deleted = "true" },
  }, { { prompt = Q, user_id = "u" } }, {
    "2: a single message of the assistant, no prompt",
    "3: a single message within a dialogue whose beginning is in other records",
    "4: a deleted message",
  })
  case(
    "what a service leaves of a deleted message",
    "logs",
    { { body = "[deleted]", author = "u" }, { body = Q, author = "u" } },
    { { prompt = Q, user_id = "u" } },
    { "1: a deleted message" }
  )
end)

describe("an unwanted answer is no demonstration:", function()
  local why = "1: an answer that is labelled as bad, without a better one"
  local bad = { kto_tag = false, label = 0, weight = 0, liked = false, feedback = "thumbs down" }
  for name, value in pairs(bad) do
    case(
      ("%s is %s"):format(name, tostring(value)),
      "demonstrations",
      { { instruction = Q, input = "", output = NO, [name] = value } },
      {},
      { why }
    )
  end
  case(
    'label is the text "false"',
    "demonstrations",
    { { prompt = Q, completion = NO, label = "false" } },
    {},
    { why }
  )
  case(
    'weight is the text "0"',
    "demonstrations",
    "prompt,completion,weight\n" .. Q .. "," .. NO .. ",0\n",
    {},
    { "2: an answer that is labelled as bad, without a better one" },
    { name = "w.csv" }
  )
  case(
    "label is false beside a dialogue",
    "demonstrations",
    { { messages = { user(Q), assistant(NO) }, label = false } },
    {},
    { why }
  )
  case(
    "the last turn has weight 0",
    "demonstrations",
    { { messages = { user(Q), { role = "assistant", content = NO, weight = 0 } } } },
    {},
    { why }
  )
  case(
    "label is true",
    "demonstrations",
    { { prompt = Q, completion = YES, label = true } },
    { { prompt = Q, completion = YES } }
  )
  case(
    "a log's disliked answer costs no prompt",
    "logs",
    { { prompt = Q, completion = NO, label = false } },
    { { prompt = Q, completions = { NO } } }
  )
end)

describe("names in any writing:", function()
  case(
    "capital headers",
    "demonstrations",
    "Prompt,Completion,Labeler\n" .. Q .. "," .. YES .. ",w7\n",
    { { prompt = Q, completion = YES, labeler = "w7" } },
    {},
    { name = "c.csv" }
  )
  case(
    "blanks and humps",
    "logs",
    { { Prompt = Q, ["User ID"] = "u" }, { prompt = Q, userId = "v" } },
    { { prompt = Q, user_id = "u" }, { prompt = Q, user_id = "v" } }
  )
  case("users as numbers, texts and objects", "logs", {
    '{"prompt":"a b","user_id":12.0}',
    '{"prompt":"a b","user_id":12}',
    '{"prompt":"a b","user_id":"12"}',
    '{"prompt":"a b","user_id":null}',
    '{"prompt":"a b","user":{"id":5,"name":"Ann"}}',
  }, {
    { prompt = "a b", user_id = "12" },
    { prompt = "a b", user_id = "12" },
    { prompt = "a b", user_id = "12" },
    { prompt = "a b" },
    { prompt = "a b", user_id = "5" },
  })
  case(
    "users who are not known, as programs write them",
    "logs",
    "prompt,user_id\na b,NULL\nc d,nan\ne f,\\N\ng h,None\ni j, 7 \nk l,7.0\nm n,[deleted]\n"
      .. "o p,7.5\n",
    {
      { prompt = "a b" },
      { prompt = "c d" },
      { prompt = "e f" },
      { prompt = "g h" },
      { prompt = "i j", user_id = "7" },
      { prompt = "k l", user_id = "7" },
      { prompt = "m n" },
      { prompt = "o p", user_id = "7.5" },
    },
    nil,
    { name = "users.csv" }
  )
  case(
    "somebody who is called so in a chat",
    "logs",
    "[20:01] <null> how do I mount it?\n[20:02] <None> and how do I stop it?\n",
    {
      { prompt = "how do I mount it?", user_id = "null" },
      { prompt = "and how do I stop it?", user_id = "None" },
    },
    nil,
    { name = "chat.log" }
  )
  case(
    "fields of a table that a database left empty",
    "demonstrations",
    "prompt,completion,time\na b,NULL,NULL\nc d,\\N,\nNULL,e,\nf g,null,\\N\n",
    { { prompt = "a b" }, { prompt = "c d" }, { prompt = "f g", completion = "null" } },
    { "4: no prompt" },
    { name = "dump.csv" }
  )
  case("users above 2^63 stay apart", "logs", {
    '{"prompt":"a b","user_id":18446744073709551615}',
    '{"prompt":"say \\"1, 18446744073709551614, 2\\"","user_id":18446744073709551614}',
    '{"prompt":"a b","user_id":9007199254740993}',
  }, {
    { prompt = "a b", user_id = "18446744073709551615" },
    { prompt = 'say "1, 18446744073709551614, 2"', user_id = "18446744073709551614" },
    { prompt = "a b", user_id = "9007199254740993" },
  })
end)

describe("exports of other programs:", function()
  local function battle(winner, more)
    local record = {
      conversation_a = { user(Q), assistant(NO) },
      conversation_b = { user(Q), assistant(YES) },
      winner = winner,
      judge = "j1",
    }
    for key, value in pairs(more or {}) do
      record[key] = value
    end
    return record
  end
  local function judged(ranks)
    return {
      prompt = Q,
      completions = { NO, YES },
      rankings = { { labeler = "j1", ranks = ranks } },
      user_id = "j1",
    }
  end
  case(
    "arena battles keep verdict, ties and judge",
    "rankings",
    { battle("model_b"), battle("model_a"), battle("tie (bothbad)"), battle("nobody") },
    { judged { 2, 1 }, judged { 1, 2 }, judged { 1, 1 } },
    { "4: winner is 'nobody', expected model_a, model_b or tie" }
  )
  case("an arena battle of two turns is about the last", "rankings", {
    battle("model_a", {
      conversation_a = { user("Hi"), assistant("Hello"), user(Q), assistant(YES) },
      conversation_b = { user("Hi"), assistant("Hello"), user(Q), assistant(NO) },
    }),
    battle("model_a", {
      conversation_a = { user("Hi"), assistant("Hello"), user(Q), assistant(YES) },
      conversation_b = { user("Hi"), assistant("Yo"), user(Q), assistant(NO) },
    }),
  }, {
    {
      messages = { user("Hi"), assistant("Hello"), user(Q) },
      completions = { YES, NO },
      rankings = { { labeler = "j1", ranks = { 1, 2 } } },
      user_id = "j1",
    },
  }, { "2: the two dialogues part before their last answer" })
  case("an arena table whose turns are JSON in texts", "rankings", {
    {
      prompt = json.encode { Q },
      response_a = json.encode { YES },
      response_b = json.encode { NO },
      winner_model_a = 1,
      winner_model_b = 0,
      winner_tie = 0,
    },
    { prompt = Q, response_a = YES, response_b = NO, winner_model_a = 0, winner_model_b = 0 },
  }, {
    {
      prompt = Q,
      completions = { YES, NO },
      rankings = { { labeler = "judge", ranks = { 1, 2 } } },
    },
  }, { "2: none of winner_model_a, winner_model_b, winner_tie" })
  case("WebGPT's comparisons", "rankings", {
    {
      question = { full_text = Q, dataset = "eli5" },
      answer_0 = NO,
      answer_1 = YES,
      score_0 = -0.5,
      score_1 = 0.5,
    },
    { question = { id = 1 }, answer_0 = NO, answer_1 = YES, score_0 = 0, score_1 = 0 },
  }, { { prompt = Q, completions = { NO, YES }, ranks = { 2, 1 } } }, {
    "2: question.full_text is a nil, not a text",
  })
  case("Stanford Human Preferences", "rankings", {
    { history = Q, human_ref_A = NO, human_ref_B = YES, labels = 0 },
    { history = Q, human_ref_A = YES, human_ref_B = NO, labels = 1 },
    { history = Q, human_ref_A = NO, human_ref_B = YES, labels = 2 },
  }, {
    { prompt = Q, completions = { NO, YES }, ranks = { 2, 1 } },
    { prompt = Q, completions = { YES, NO }, ranks = { 1, 2 } },
  }, { "3: labels is 2; 1 or 0 is wanted" })
  case(
    "StackExchange pairs: j is preferred",
    "rankings",
    { { qid = 7, question = Q, response_j = YES, response_k = NO, metadata = {} } },
    { PAIR }
  )

  local function node(id, parent, children, role, parts, kind)
    return {
      id = id,
      parent = parent or json.null,
      children = children,
      message = role and {
        author = { role = role },
        content = { content_type = kind or "text", parts = parts },
      } or json.null,
    }
  end
  local function tree(current, nodes)
    local mapping = {}
    for _, one in ipairs(nodes) do
      mapping[one.id] = one
    end
    return { title = "t", create_time = 1717149600.5, mapping = mapping, current_node = current }
  end
  local nodes = {
    node("r", nil, { "s" }),
    node("s", "r", { "q" }, "system", { "" }),
    node("q", "s", { "a1", "a2" }, "user", { Q }),
    node("a1", "q", {}, "assistant", { NO }),
    node("a2", "q", { "t" }, "assistant", { "search" }, "code"),
    node("t", "a2", { "a3" }, "tool", { "found" }),
    node("a3", "t", {}, "assistant", { YES }),
  }
  case("ChatGPT's: the branch shown last, without tools; a picture is no text", "logs", {
    tree("a3", nodes),
    tree("a1", nodes),
    tree(nil, nodes),
    tree("p", { node("p", nil, {}, "user", { { asset = 1 }, Q }, "multimodal_text") }),
  }, {
    { prompt = Q, completions = { YES }, time = 1717149600.5 },
    { prompt = Q, completions = { NO }, time = 1717149600.5 },
    { prompt = Q, completions = { YES }, time = 1717149600.5 },
  }, { "4: a dialogue with pictures or sound" })

  local function task(names, ...)
    local annotations = {}
    for i, selected in ipairs { ... } do
      annotations[i] = {
        completed_by = i,
        result = { { type = "pairwise", to_name = names, value = { selected = selected } } },
      }
    end
    return { id = 1, data = { prompt = Q, a1 = YES, a2 = NO }, annotations = annotations }
  end
  local cancelled = task("a1,a2", "left")
  cancelled.annotations[1].was_cancelled = true
  case(
    "Label Studio's pairwise annotations, each person's",
    "rankings",
    { task("a1,a2", "left", "right"), cancelled, task("x,y", "left"), task("a1,a2", "both") },
    {
      {
        prompt = Q,
        completions = { YES, NO },
        rankings = {
          { labeler = "1", ranks = { 1, 2 } },
          { labeler = "2", ranks = { 2, 1 } },
        },
      },
    },
    {
      "2: a task without a pairwise annotation",
      "3: the compared tags are 'x,y', which are no two fields of data: name the tags after the "
        .. "fields",
      "4: selected is 'both', expected left or right",
    }
  )
  case(
    "HexChat's log, with its year and over New Year",
    "logs",
    "**** BEGIN LOGGING AT Sat Dec 31 22:11:49 2016\n\nDec 31 22:11:50 *\tNow talking on #e\n"
      .. "Dec 31 22:12:00 <pelt>\thow do I mount it?\nJan  1 00:10:00 <dorn>\tskipped\n"
      .. "Jan 01 00:12:00 <dorn>\thow do I stop it?\nJan 01 00:12:20 *\tdorn has quit (Quit)\n",
    {
      { prompt = "how do I mount it?", user_id = "pelt", time = 1483222320 },
      { prompt = "how do I stop it?", user_id = "dorn", time = 1483229520 },
    },
    {
      "1: a status line",
      "2: an empty line",
      "3: a status line",
      "5: the line is not of the pattern '[time] <user> text'",
      "7: a status line",
    },
    { name = "h.log" }
  )
  case(
    "a spreadsheet's line that says the delimiter",
    "logs",
    "sep=;\r\nprompt;user_id\r\nyes, no;u1\r\n",
    { { prompt = "yes, no", user_id = "u1" } },
    {},
    { name = "s.csv" }
  )
end)

describe(
  "dialogues in pairs of turns:",
  function()
    case("human and assistant as fields", "demonstrations", {
      { conversation = { { human = "Hi", assistant = "Hello" }, { human = Q, assistant = YES } } },
      { conversations = { { user = Q } } },
      { conversations = { { human = Q, assistant = 7 } } },
    }, {
      { messages = { user("Hi"), assistant("Hello"), user(Q) }, completion = YES },
      { prompt = Q },
    }, { "3: turn 2 has no text" })
  end
)

describe("a turn of weight 0", function()
  local function talk(...)
    local weights, messages = { ... }, {}
    for i, weight in ipairs(weights) do
      messages[2 * i - 1] = user("q" .. i)
      messages[2 * i] = assistant("a" .. i)
      if weight ~= "none" then messages[2 * i].weight = weight end
    end
    return { messages = messages }
  end
  local unlearnt = assistant("a1")
  unlearnt.weight = 0
  case(
    "before the last answer is context, as the last it is no demonstration",
    "demonstrations",
    { talk(0, 1), talk(false, "none"), talk(1, 0) },
    {
      { messages = { user("q1"), unlearnt, user("q2") }, completion = "a2" },
      { messages = { user("q1"), unlearnt, user("q2") }, completion = "a2" },
    },
    { "3: an answer that is labelled as bad, without a better one" }
  )
  it("is not trained, whatever its place; a row of them alone is passed over", function()
    local control = pl.chat.control_names(pl.chat.plain)
    local tok = pl.tokenizer.train {
      texts = { "q a 1 2 3" },
      vocab_size = 300,
      special = { "<s>", "</s>", table.unpack(control) },
      bos = "<s>",
      eos = "</s>",
    }
    local path = file_of("own.jsonl", lines(talk(0, 1, 1), talk("0", "none", 0), talk(0, 0)))
    local set = pl.data.examples(tok, pl.chat.plain, path, 1000)
    local trained = {}
    for i, sequence in ipairs(set.sequences) do
      local shown = pl.chat.show(tok, sequence, set.masks[i])
      trained[i] = {}
      for answer in shown:gmatch("⟦([aq]%d)") do
        trained[i][#trained[i] + 1] = answer
      end
    end
    assert.same({ { "a2", "a3" }, { "a2" } }, trained)
    assert.same({ ["every answer has weight 0"] = 1 }, set.counts.left_out)
  end)
end)

describe("a file in another encoding:", function()
  local TEXT <const> =
    'prompt,user_id\r\n"Gr\u{F6}\u{DF}e, bitte?",u1\r\n\u{20AC} \u{1F41F} ok,u2\r\n'
  local ROWS <const> = {
    { prompt = "Gr\u{F6}\u{DF}e, bitte?", user_id = "u1" },
    { prompt = "\u{20AC} \u{1F41F} ok", user_id = "u2" },
  }

  local function utf16(text, order, mark)
    local out = { mark }
    for _, code in utf8.codes(text) do
      if code < 0x10000 then
        out[#out + 1] = (order .. "I2"):pack(code)
      else
        code = code - 0x10000
        out[#out + 1] = (order .. "I2I2"):pack(0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF))
      end
    end
    return table.concat(out)
  end

  for name, text in pairs {
    ["little.csv"] = utf16(TEXT, "<", "\xff\xfe"),
    ["big.csv"] = utf16(TEXT, ">", "\xfe\xff"),
  } do
    it("UTF-16 is known by its mark: " .. name, function()
      local rows, why = read("logs", text, name)
      assert.same(ROWS, rows)
      assert.same({}, why)
    end)
  end
  it("UTF-16 that is longer than what is read at once, pairs at every place", function()
    local lines_of = {}
    for i = 1, 9000 do
      lines_of[i] = ('{"prompt":"%s\u{1F41F} %d"}'):format(("x"):rep(i % 7), i)
    end
    local text = table.concat(lines_of, "\n")
    local rows = read("logs", utf16(text, "<", "\xff\xfe"))
    assert.equal(9000, #rows)
    for i, row in ipairs(rows) do
      assert.equal(("x"):rep(i % 7) .. "\u{1F41F} " .. i, row.prompt)
    end
  end)
  it("UTF-16 as a JSON list, and half a pair", function()
    local list = utf16('[{"prompt":"a \u{E9}"}]', "<", "\xff\xfe")
    assert.same({ { prompt = "a \u{E9}" } }, (read("logs", list, "list.json")))
    local half = utf16('{"prompt":"a ', "<", "\xff\xfe") .. "\x00\xd8" .. utf16(' b"}', "<", "")
    assert.same({ { prompt = "a \u{FFFD} b" } }, (read("logs", half)))
  end)
  it("an 8-bit one is named", function()
    local text = "prompt,user_id\nGr\xf6\xdfe in \x80,u1\n"
    assert.same(
      { { prompt = "Gr\u{F6}\u{DF}e in \u{20AC}", user_id = "u1" } },
      (read("logs", text, "west.csv", { encoding = "latin1" }))
    )
    local rows, why = read("logs", text, "west.csv")
    assert.same({}, rows)
    assert.same({ "2: field 1: not UTF-8 at byte 3" }, why)
  end)
  it("UTF-16 without its mark or in gzip, and UTF-32, are named with what to do", function()
    local text = '{"prompt":"a b"}\n{"prompt":"c d"}\n'
    local packed = folder .. "/packed.jsonl.gz"
    local marked = file_of("marked.jsonl", utf16(text, "<", "\xff\xfe"))
    assert(os.execute(("gzip -c '%s' > '%s'"):format(marked, packed)))
    for path, words in pairs {
      [file_of("le.jsonl", utf16(text, "<", ""))] = "is text in UTF-16LE without its mark: convert",
      [file_of("be.jsonl", utf16(text, ">", ""))] = "is text in UTF-16BE without its mark: convert",
      [file_of("wide.jsonl", "\xff\xfe\0\0" .. text:gsub(".", "%0\0\0\0"))] = "is text in UTF-32:",
      [packed] = "is text in UTF-16 and gzip: convert it to UTF-8, as in gunzip and iconv",
    } do
      local rows, message = ingest.rows(path, {})
      assert.is_nil(rows)
      assert.is_truthy(message:find(words, 1, true), message)
    end
  end)
  it("of records over several lines each is told how it is written", function()
    local rows, message =
      ingest.rows(file_of("wide.jsonl", '{\n  "prompt": "a b"\n}\n{\n  "prompt": "c d"\n}\n'), {})
    assert.is_nil(rows)
    assert.is_truthy(message:find("its records are over several lines each", 1, true), message)
    local broken = '{"prompt": "a b", \n{"prompt":"c d"}\n'
    assert.same({ { prompt = "c d" } }, (read("logs", broken, "broken.jsonl")))
  end)
  it("is gone on with when a store has a part of it", function()
    local store <close> = assert(pl.store.open(folder .. "/utf16.db"))
    local path = file_of("grows.csv", utf16(TEXT, "<", "\xff\xfe"))
    assert.equal(1, assert(ingest.file(store, path, { limit = 1 })).rows)
    assert.equal(1, assert(ingest.file(store, path, {})).rows)
    made.write(path, utf16(TEXT .. "more,u3\r\n", "<", "\xff\xfe"))
    local done = assert(ingest.file(store, path, {}))
    assert.same({ 1, 2, true }, { done.rows, done.already, done.finished })
  end)
end)

describe("a file that is no text", function()
  local ROWS <const> = lines({ prompt = "One two" }, { prompt = "Three four" })
  local tar = ("rows.jsonl"):rep(1) .. ("\0"):rep(247) .. "ustar" .. ("\0"):rep(250) .. ROWS

  for name, entry in pairs {
    ["rows.jsonl.zst"] = { "\x28\xb5\x2f\xfd" .. ROWS, "compressed by zstd, not text: unpack it" },
    ["rows.jsonl.xz"] = { "\xfd7zXZ\0\0" .. ROWS, "compressed by xz, not text: unpack it" },
    ["rows.bz2"] = { "BZh91AY&SY" .. ROWS, "compressed by bzip2, not text: unpack it" },
    ["rows.xlsx"] = { "PK\3\4\n" .. ROWS, "a zip archive or a spreadsheet, not text" },
    ["rows.tar"] = { tar, "a tar archive, not text: unpack it, as in tar -xf" },
    ["rows.tgz"] = { "\x1f\x8b", "a tar archive, not text: unpack it, as in tar -xf", tar },
    ["rows.parquet"] = {
      "PAR1\21\4\n" .. ROWS,
      "a Parquet table, not text: write it as JSON Lines",
    },
    ["model.gguf"] = { "GGUF\3\0\0\0\n" .. ROWS, "a model, not text: give it as the model" },
    ["page.pdf"] = {
      "%PDF-1.7\n%\xe2\xe3\n" .. ROWS,
      "a PDF document, not text: take its text out",
    },
    ["rows.arrow"] = { "\xff\xff\xff\xff\n" .. ROWS, "an Arrow stream, not text" },
    ["rows.db"] = { "SQLite format 3\0\n" .. ROWS, "a part of a store is " },
  } do
    it("is told by what it is, at all doors: " .. name, function()
      local path = file_of(name, entry[1])
      if entry[3] then
        local plain_path = file_of("unpacked", entry[3])
        assert(os.execute(("gzip -c '%s' > '%s'"):format(plain_path, path)))
      end
      local doors = {
        function() return ingest.rows(path, {}) end,
        function() return pl.data.rows(path) end,
        function()
          for _ in pl.data.documents(path) do
          end
        end,
      }
      for i, door in ipairs(doors) do
        local ok, value, message = pcall(door)
        local text = tostring(ok and message or value)
        assert.is_truthy(text:find(entry[2], 1, true), ("door %d: %s"):format(i, text))
      end
    end)
  end

  it("is not one that begins alike", function()
    assert.same(
      { { prompt = "PK fire" } },
      (read("logs", lines { prompt = "PK fire" }, "PK.jsonl"))
    )
    for _, said in ipairs {
      "BZh is how bzip2 begins.",
      "GGUF is a format of models.",
      "PAR1",
      "%PDF-1.4 is how a PDF begins.",
    } do
      local documents = {}
      for text in pl.data.documents(file_of("marks.txt", said .. "\n")) do
        documents[#documents + 1] = text
      end
      assert.same({ said }, documents)
    end
  end)
end)

describe("a dialogue with turns that say nothing", function()
  case("keeps its context when they are the system's", "demonstrations", {
    { messages = { system(""), user(Q), assistant(YES) } },
    { messages = { system(" \n"), user("Hi"), assistant("Hello"), user(Q), assistant(YES) } },
  }, {
    { prompt = Q, completion = YES },
    { messages = { user("Hi"), assistant("Hello"), user(Q) }, completion = YES },
  })
  it("is counted where it is left out", function()
    local asked = { system(""), user("Hi"), assistant("Hello"), system(" "), user(Q) }
    local path = file_of("silent.jsonl", lines { messages = asked, completion = YES })
    local opened <close> = assert(pl.store.open(folder .. "/silent.db"))
    local done = assert(pl.ingest.file(opened, path))
    assert.are.same({ ["a system turn without a text"] = 2 }, done.notes)
    assert.are.equal(1, done.rows)
  end)
  it("is one when a tool gave nothing", function()
    local call = { { ["function"] = { name = "ls", arguments = {} }, type = "function" } }
    local rows = read(
      "demonstrations",
      lines {
        messages = {
          user("Hi"),
          { role = "assistant", content = "", tool_calls = call },
          { role = "tool", content = "" },
          assistant("The folder is empty."),
          user(Q),
          assistant(YES),
        },
      }
    )
    assert.are.equal(1, #rows)
    assert.are.same({ "tool", "" }, { rows[1].messages[3].role, rows[1].messages[3].content })
  end)

  case("is bad when they stand between others", "demonstrations", {
    { messages = { user("Hi"), assistant(""), user(Q), assistant(YES) } },
    { messages = { user(" "), assistant("Hello"), user(Q), assistant(YES) } },
    { messages = { user(Q), assistant(YES) } },
  }, { { prompt = Q, completion = YES } }, {
    "1: turn 2 of the context (assistant) is empty",
    "2: turn 1 of the context (user) is empty",
  })
  case("is right when the turn calls a tool", "demonstrations", {
    {
      messages = {
        user("Hi"),
        { role = "assistant", content = "", tool_calls = { { id = "1" } } },
        { role = "tool", content = "42" },
        user(Q),
        assistant(YES),
      },
    },
  }, {
    {
      messages = {
        user("Hi"),
        { role = "assistant", content = "", tool_calls = { { id = "1" } } },
        { role = "tool", content = "42" },
        user(Q),
      },
      completion = YES,
    },
  })
end)

describe("times in any writing:", function()
  local clock = require("perilune.ingest.clock")
  local noon = 1717149600 -- 2024-05-31 10:00 UTC
  for _, text in ipairs {
    "2024-05-31T12:00:00+02:00",
    "31/05/2024 10:00",
    "5/31/2024, 10:00 AM",
    "May 31, 2024 10:00 AM",
    "2024/05/31 10:00:00",
    "31.05.2024 10:00",
    "Fri, 31 May 2024 10:00:00 GMT",
    "Fri May 31 10:00:00 2024",
    "20240531T100000Z",
    "2024-05-31 10:00:00 UTC",
    "31-May-24 10:00 AM",
    "1717149600",
    "1717149600000",
  } do
    it(text, function() assert.equal(noon, clock.seconds(text)) end)
  end
  it('{"$date": ...}', function()
    assert.equal(noon, clock.seconds { ["$date"] = "2024-05-31T10:00:00Z" })
    assert.equal(noon, clock.seconds { ["$date"] = { ["$numberLong"] = "1717149600000" } })
  end)
  it("one that may be two days, or is in no known zone, is not guessed", function()
    assert.is_nil(clock.seconds("05/06/2024 10:00"))
    for order, text in pairs {
      day_first = "2024-06-05T10:00:00Z",
      month_first = "2024-05-06T10:00:00Z",
    } do
      assert.equal(clock.seconds(text), clock.seconds("05/06/2024 10:00", nil, order))
      assert.equal(clock.seconds("2024-06-25"), clock.seconds("06/25/2024", nil, order))
    end
    assert.is_nil(clock.seconds("2024-05-31 10:00:00 PST"))
  end)
  case(
    "one that is not understood costs no prompt",
    "logs",
    { { prompt = Q, time = "yesterday" }, { prompt = Q, time = { x = 1 } } },
    { { prompt = Q }, { prompt = Q } }
  )
end)

describe("chat logs:", function()
  case(
    "irssi: signs before a nick, joins, actions",
    "logs",
    "--- Log opened Mon Aug 15 2016\n"
      .. "22:11 -!- Irssi: #x: Total of 3 nicks\n22:26 <@pelt> how do I mount an image?\n"
      .. "22:27 < dorn> use the loop option\n22:27  * dorn shrugs\nwhat is this\n",
    {
      { prompt = "how do I mount an image?", user_id = "pelt" },
      { prompt = "use the loop option", user_id = "dorn" },
    },
    {
      "1: a status line",
      "2: a status line",
      "5: an action",
      "6: the line is not of the pattern 'time <user> text'",
    },
    { name = "i.log", options = { pattern = "time <user> text" } }
  )
  case(
    "ZNC: joins and quits",
    "logs",
    "[22:11:50] *** Joins: pelt (a@host)\n"
      .. "[22:12:00] <pelt> how do I mount it?\n[22:12:20] * dorn shrugs\n",
    { { prompt = "how do I mount it?", user_id = "pelt" } },
    { "1: a status line", "3: an action" },
    { name = "z.log" }
  )
end)

describe("what cannot be read is said:", function()
  local function refused(name, file, text, message)
    it(name, function()
      local none, why = ingest.rows(file_of(file, text))
      assert.is_nil(none)
      assert.is_truthy(why:find(message, 1, true), why)
    end)
  end
  refused(
    "lines that end in a carriage return alone",
    "a.csv",
    "prompt,user_id\ra,u\rb,v\r",
    "end in a carriage return alone, expected newlines"
  )
  refused(
    "a form that is not known",
    "b.jsonl",
    '{"model_a":"x","winner":"model_a"}\n',
    "no field of its records says what the prompt is (they have model_a, winner)"
  )
end)

describe("words and languages:", function()
  local fold, language = require("perilune.rules.fold"), require("perilune.rules.language")
  for name, entry in pairs {
    Chinese = { "请用三句话解释为什么海水是咸的。", 8 },
    Japanese = { "海の水はなぜ塩辛いのですか。", 7 },
    Thai = { "ทำไมน้ำทะเลจึงเค็ม", 4 },
    Khmer = { "ហេតុអ្វីទឹកសមុទ្រប្រៃ", 5 },
    Korean = { "바닷물은 왜 짠가요", 3 },
    mixed = { "Say 海水 in English", 4 },
    French = { "Pourquoi l’eau de mer est-elle salée ?", 7 },
  } do
    it("words of " .. name, function() assert.equal(entry[2], fold.words(entry[1])) end)
  end
  for code, text in pairs {
    vi = "Tại sao nước biển lại mặn như vậy?",
    ta = "கடல் நீர் ஏன் உப்பாக இருக்கிறது?",
    hy = "Ինչո՞ւ է ծովի ջուրը աղի",
    he = "למה מי הים מלוחים",
    km = "ហេតុអ្វីទឹកសមុទ្រប្រៃ",
    ka = "რატომ არის ზღვის წყალი მლაშე",
    en = "Why is the water of the sea so salty?",
  } do
    it(
      "the language of a text in " .. code,
      function() assert.equal(code, (language.identify(text))) end
    )
  end
end)

-- ---- one standard at every door --------

describe("a training set is held to the rules of ingest:", function()
  local function refused(name, row, reason, advice)
    it(name, function()
      local path = file_of(
        "set.jsonl",
        '{"prompt":"a","completions":["b","c"],"ranks":[1,2]}\n' .. row .. "\n"
      )
      local ok, message = pcall(pl.data.rows, path)
      assert.is_false(ok)
      assert.equal(path .. ":2: " .. reason .. (advice or ""), message)
      local why
      for _ in assert(ingest.rows(path, { on_bad = function(_, text) why = text end })) do
        assert.is_nil(why)
      end
      assert.equal(reason, why) -- the other door says the same
    end)
  end
  refused(
    "bad UTF-8",
    '{"prompt":"\xff"}',
    "invalid utf-8 string at column 12",
    "; a file in another encoding is converted first, as in iconv -f LATIN1 -t UTF-8"
  )
  refused("a NUL byte", '{"prompt":"a\0"}', "NUL byte in the text at column 13")
  refused("a key twice", '{"prompt":"a","prompt":"b"}', "a key stands twice in one object")
  refused("K = 1", '{"prompt":"a","completions":["b"],"ranks":[1]}', "ranks of one completion")
  refused("K = 0", '{"prompt":"a","completions":[],"ranks":[]}', "completions are not a list")
  refused(
    "a null rank",
    '{"prompt":"a","completions":["b","c"],"ranks":[1,null]}',
    "rank 2 is null, not a number"
  )
  refused(
    "boolean ranks",
    '{"prompt":"a","completions":["b","c"],"ranks":[true,false]}',
    "rank 1 is a boolean, not a number"
  )
  refused(
    "ranks of text",
    '{"prompt":"a","completions":["b","c"],"ranks":["1","2"]}',
    "rank 1 is the text '1', not a number"
  )
  refused(
    "too few ranks",
    '{"prompt":"a","completions":["b","c","d"],"ranks":[1,2]}',
    "ranks are not a list of 3 numbers, one for each completion"
  )
  refused(
    "a null answer",
    '{"prompt":"a","completions":["b",null],"ranks":[1,2]}',
    "completion 2 is null, not a text"
  )
  refused(
    "an answer that is a number",
    '{"prompt":"a","completion":5}',
    "completion is a number, not a text"
  )
  refused("no messages", '{"messages":[]}', "messages are not a list of turns")

  it("token ids of its own that are none", function()
    local expected = ", expected a token id (an integer from 0)"
    for ids, reason in pairs {
      ["[0,-1]"] = "completion_tokens 2 is -1" .. expected,
      ["[1.5]"] = "completion_tokens 1 is 1.5" .. expected,
      ["5"] = "completion_tokens is a number, expected a list of token ids",
    } do
      local path =
        file_of("ids.jsonl", ('{"prompt_tokens":[1],"completion_tokens":%s}\n'):format(ids))
      local ok, message = pcall(pl.data.rows, path)
      assert.is_false(ok)
      assert.equal(path .. ":1: " .. reason, message)
    end
  end)

  it("an escaped NUL is a character like others, at both doors", function()
    local path = file_of("nul.jsonl", '{"prompt":"a\\u0000b"}\n')
    assert.equal("a\0b", pl.data.rows(path)[1].prompt)
    assert.equal("a\0b", assert(ingest.rows(path))().prompt)
  end)

  it("a broken first line is an error, not another form", function()
    local path = file_of("torn.jsonl", '{"prompt":"a","comp\n{"prompt":"b","completion":"c"}\n')
    local ok, message = pcall(pl.data.rows, path)
    assert.is_false(ok)
    assert.is_truthy(message:find(path .. ":1: ", 1, true), message)
  end)

  it("rows of several forms in one file", function()
    local path = file_of(
      "mixed.jsonl",
      lines(
        { prompt = Q, completions = { YES, NO }, ranks = { 1, 2 }, id = 1 },
        { prompt = Q, chosen = YES, rejected = NO, id = 2 },
        { prompt = Q, system = "Be brief.", completions = { NO, YES }, scores = { 0, 1 }, id = 3 }
      )
    )
    local rows = plain(pl.data.rows(path))
    assert.same({ YES, NO }, rows[2].completions)
    assert.same({ 1, 2 }, rows[2].ranks)
    assert.same({ system("Be brief."), user(Q) }, rows[3].messages)
    assert.same({ 2, 1 }, rows[3].ranks)
    assert.same({ 1, 2, 3 }, { rows[1].id, rows[2].id, rows[3].id }) -- every field is kept
  end)

  it("turns of parts and of other programs' roles are ours", function()
    local path = file_of(
      "parts.jsonl",
      lines {
        messages = {
          { role = "human", content = {
            { type = "text", text = Q },
          } },
          assistant(YES),
        },
        id = 1,
      }
    )
    assert.same({ { messages = { user(Q), assistant(YES) }, id = 1 } }, plain(pl.data.rows(path)))
  end)

  it(
    "unwanted answers are passed over",
    function()
      assert.same(
        { { prompt = Q, completion = YES, label = true } },
        pl.data.rows(
          file_of(
            "kto.jsonl",
            lines(
              { prompt = Q, completion = YES, label = true },
              { prompt = Q, completion = NO, label = false },
              { prompt = Q, completion = " " },
              { messages = { user(Q), { role = "assistant", content = NO, weight = 0 } } }
            )
          )
        )
      )
    end
  )
end)

-- ---- every record is accounted for --------

describe("accounts:", function()
  case("records of several forms in one file", "demonstrations", {
    { prompt = Q, completion = YES },
    { instruction = "Do.", instances = { { input = "a", output = "b" } } },
    { turns = { "first", "then" } },
  }, {
    { prompt = Q, completion = YES },
    { prompt = "Do.\n\na", completion = "b" },
    { prompt = "first" },
  })

  it("records are those used and those with a reason", function()
    local store <close> = assert(pl.store.open(folder .. "/account.db"))
    local path = file_of(
      "mix.jsonl",
      lines(
        { prompt = Q, completion = YES },
        "{",
        { prompt = " " },
        { prompt = Q, completion = NO, label = 0 },
        { prompt = Q, time = "x" },
        { instruction = "Do.", instances = { { input = "", output = "y" }, { input = "" } } }
      )
    )
    local done = assert(ingest.file(store, path, { source = "labeler", answers = "person" }))
    assert.same({ 6, 3, 2, 2, 2, 0, 1 }, {
      done.records,
      done.used,
      done.bad,
      done.skipped,
      done.demonstrations,
      done.rankings,
      done.partly,
    })
    assert.same({ ["a time that is not understood, left out"] = 1 }, done.notes)
  end)

  local function collect(settings)
    settings.output_dir = folder .. "/run" .. files
    settings.quiet = true
    return pcall(pl.config.run_recipe, "recipes/collect.lua", settings)
  end

  for kind, text in pairs {
    logs = '{"prompt":"\xff"}\n',
    demonstrations = lines { prompt = Q },
    rankings = lines { prompt = Q, completion = YES },
  } do
    it("a file of " .. kind .. " that gave none stops with the reason", function()
      local path = file_of(kind .. ".jsonl", text)
      local ok, message = collect { [kind] = path }
      assert.is_false(ok)
      assert.is_truthy(
        message:find(
          path .. " gave no " .. (kind == "logs" and "prompts" or kind) .. " (taken as jsonl",
          1,
          true
        ),
        message
      )
      assert.is_truthy(message:find("records 1: ", 1, true), message)
    end)
  end
end)
