--- The collect recipe on a small invented log: its rules hold in what comes out, people's work
-- comes back, nothing is added twice, and the same sources give the same bytes.

local lfs = require("lfs")
local pl = require("perilune")
local labeler_prompts = pl.labeler_prompts

local folder, paths

local function write(name, rows)
  local lines = {}
  for i, row in ipairs(rows) do
    lines[i] = pl.json.encode(row)
  end
  local path = folder .. "/" .. name
  assert(pl.files.write_atomic(path, table.concat(lines, "\n") .. "\n"))
  return path
end

local function read(path) return assert(require("perilune.run.log").read(path)) end

local THINGS <const> = {
  "tea",
  "a boat",
  "the sea",
  "bread",
  "an old clock",
  "two cats",
  "rain",
  "a long road",
  "blue paint",
  "maps",
}
local ASKS <const> = {
  "Write a short poem about",
  "Explain to a child what is special about",
  "List five facts on",
  "Summarize what people say of",
  "Brainstorm names for a shop that sells",
}

-- 40 users; "kestrel77" asks most, with his own name in it now and then.
local function log_rows()
  local rows = {}
  for i = 1, 600 do
    local user = i % 3 == 0 and "kestrel77" or ("user%02d"):format(i * 7 % 40)
    local text = ("Task %d: %s %s"):format(i, ASKS[i % 5 + 1], THINGS[i % 10 + 1])
    if i % 15 == 0 then text = text .. ". Thanks, kestrel77" end
    if i % 40 == 0 then text = text .. (" and mail it to anna%d@example.org"):format(i) end
    rows[i] = { text = text, uid = user }
  end
  for i = 1, 5 do
    rows[#rows + 1] = {
      text = "The same long beginning of a question that was pasted with another "
        .. "end each time, number "
        .. i,
      uid = "user01",
    }
    rows[#rows + 1] = { text = "Exactly the same question", uid = "user02" }
  end
  rows[#rows + 1] = { text = "What does a labeler ask? it is this", uid = "user03" }
  return rows
end

local function labeler_rows()
  local rows = labeler_prompts.few_shot("Say the opposite of the word.", {
    { query = "hot", response = "cold" },
    { query = "big", response = "small" },
    { query = "old", response = "new" },
  })
  for _, row in ipairs(rows) do
    row.labeler = "ana"
  end
  for i = 1, 30 do
    rows[#rows + 1] = {
      prompt = "Plain task number " .. i .. " of a labeler",
      kind = "plain",
      completion = i % 4 == 0 and "Ask Mr. Arthur Penrose, arthur@example.org" or "Answer " .. i,
      labeler = i % 2 == 0 and "ana" or "bo",
      source = "labeler",
    }
  end
  rows[#rows + 1] = {
    prompt = "What does a labeler ask? It is this!",
    completion = "yes",
    labeler = "bo",
    source = "labeler",
  }
  return rows
end

local function ranked_rows()
  local rows = {}
  for i = 1, 20 do
    rows[i] = {
      prompt = "Ranked task " .. i,
      completions = { "a" .. i, "b" .. i, "c" .. i },
      rankings = {
        { labeler = "ana", ranks = { 1, 2, 3 } },
        { labeler = "bo", ranks = i % 2 == 0 and { 1, 2, 2 } or { 1, 2, 3 } },
      },
    }
  end
  return rows
end

local function collect(name, settings)
  local all = {
    logs = paths.log,
    fields = "prompt=text,user_id=uid",
    demonstrations = paths.demos,
    rankings = paths.ranked,
    max_per_user = 50,
    prefix = 40,
    seed = 3,
    quiet = true,
    api_sft = 0.1,
    api_rm = 0.3,
    output_dir = folder .. "/" .. name,
    overwrite_output_dir = true,
  }
  for key, value in pairs(settings or {}) do
    all[key] = value
  end
  return pl.config.run_recipe("recipes/collect.lua", all)
end

local function rows_of(name, part, side)
  return read(("%s/%s/data/%s-%s.jsonl"):format(folder, name, part, side))
end

local SIDES <const> = { "train", "valid", "test" }

setup(function()
  folder = os.tmpname()
  os.remove(folder)
  assert(pl.files.folder_make(folder))
  paths = {
    log = write("log.jsonl", log_rows()),
    demos = write("demos.jsonl", labeler_rows()),
    ranked = write("ranked.jsonl", ranked_rows()),
  }
end)

teardown(function() require("perilune.core").system.spawn { "rm", "-r", folder } end)

describe("collect", function()
  local figures

  setup(function() figures = collect("one") end)

  it("takes everything in and drops by rule, with reasons", function()
    local by_rule = {}
    for _, entry in ipairs(figures.rules) do
      by_rule[entry.rule] = entry
    end
    assert.equal(611 + 34 + 20, by_rule.length.rows_in)
    assert.equal(4, by_rule.dedupe.reasons["same first 40 chars"])
    assert.equal(4, by_rule.dedupe.reasons["same prompt"])
    assert.equal(1, by_rule["apart from labelers'"].reasons["like a labeler's prompt"])
    assert.equal(150, by_rule.cap.reasons["over 50 for one user_id"])
    assert.equal(200, figures.users.before.most)
    assert.equal(50, figures.users.after.most)
  end)

  it("takes PPO prompts from the API alone, SFT and RM from both", function()
    for _, side in ipairs(SIDES) do
      for _, row in ipairs(rows_of("one", "ppo", side)) do
        assert.equal("api", row.source)
      end
    end
    local sft, rm = 0, 0
    for _, side in ipairs(SIDES) do
      sft, rm = sft + #rows_of("one", "sft", side), rm + #rows_of("one", "rm", side)
    end
    assert.equal(34, sft)
    assert.equal(40, rm) -- a row for each labeler's ranking
  end)

  it("keeps users and beginnings on one side", function()
    assert.same({ users = 0, prefixes = 0 }, figures.leaks)
    local side_of, few_shot = {}, {}
    for _, side in ipairs(SIDES) do
      for _, row in ipairs(rows_of("one", "ppo", side)) do
        assert.is_true(side_of[row.user] == nil or side_of[row.user] == side)
        side_of[row.user] = side
      end
      for _, row in ipairs(rows_of("one", "sft", side)) do
        if row.prompt:find("Say the opposite", 1, true) then few_shot[side] = true end
      end
    end
    assert.equal(1, #pl.json.encode(few_shot):gsub("[^:]", ""))
  end)

  it("leaves no personal data in train: in prompts, and in answers when asked", function()
    local answers = {}
    for _, row in ipairs(rows_of("one", "sft", "train")) do
      answers[#answers + 1] = row.completion
    end
    assert.is_truthy(table.concat(answers, "\n"):find("Ask Mr. Arthur Penrose", 1, true))
    collect("answers", { personal_data_answers = true })
    local masked = 0
    for _, part in ipairs { "sft", "rm", "ppo" } do
      for _, row in ipairs(rows_of("answers", part, "train")) do
        local text = row.prompt .. " " .. (row.completion or "")
        assert.is_nil(text:find("kestrel77", 1, true), text)
        assert.is_nil(text:find("@example.org", 1, true), text)
        assert.is_nil(text:find("Penrose", 1, true), text)
        masked = masked + select(2, text:gsub("%[%u+%]", ""))
        assert.is_nil(row.user_id)
      end
    end
    assert.is_true(masked > 10)
  end)

  it("says how far labelers agree", function()
    assert.equal(40, figures.agreement.rankings)
    assert.is_near(1 - 10 / 60, figures.agreement.pairwise, 1e-12)
    assert.is_near(10 / 120, figures.agreement.tie_rate, 1e-12)
  end)

  it(
    "gives the same bytes again, with more threads too, and adds nothing to a store twice",
    function()
      collect("two", { threads = 3 })
      collect("three", { store = folder .. "/one/store.db" })
      local again = collect("three", { store = folder .. "/one/store.db" })
      assert.equal(figures.store.prompts, again.store.prompts)
      for name in lfs.dir(folder .. "/one/data") do
        if name:find("jsonl") then
          local one = assert(pl.files.hash(folder .. "/one/data/" .. name))
          assert.equal(one, (pl.files.hash(folder .. "/two/data/" .. name)), name)
          assert.equal(one, (pl.files.hash(folder .. "/three/data/" .. name)), name)
        end
      end
    end
  )

  it("cuts sets to the size wanted, the smaller a part of the larger", function()
    collect("small", { ppo_size = 20, sft_size = 5 })
    assert.equal(20, #rows_of("small", "ppo", "train"))
    assert.equal(5, #rows_of("small", "sft", "train"))
    local all = {}
    for _, row in ipairs(rows_of("one", "ppo", "train")) do
      all[row.prompt] = true
    end
    for _, row in ipairs(rows_of("small", "ppo", "train")) do
      assert.is_true(all[row.prompt])
    end
  end)

  it("feeds training from the store", function()
    local rows = pl.data.rows(folder .. "/one/store.db#sft.train")
    local lines = rows_of("one", "sft", "train")
    assert.equal(#lines, #rows)
    for i, line in ipairs(lines) do
      assert.equal(line.prompt, rows[i].prompt)
      assert.equal(line.completion, rows[i].completion)
    end
    assert.equal(#rows_of("one", "rm", "train"), #pl.data.rows(folder .. "/one/store.db#rm.train"))
  end)
end)

describe("labelers' work", function()
  it("goes out as questions and comes back as sets", function()
    local tok = pl.tokenizer.train {
      texts = { ("write a list of tea boat sea. "):rep(20) },
      vocab_size = 300,
      special = { "<|bos|>", "<|end|>" },
      bos = "<|bos|>",
      eos = "<|end|>",
    }
    local model = pl.model.new({
      model_type = "llama",
      tie_word_embeddings = true,
      hidden_size = 16,
      num_hidden_layers = 1,
      num_attention_heads = 2,
      intermediate_size = 16,
      vocab_size = #tok,
      architectures = { "LlamaForCausalLM" },
      max_position_embeddings = 256,
    }, { seed = 3 })
    assert(model:save(folder .. "/policy", { tokenizer = tok }))
    local first = collect("people", {
      policy = folder .. "/policy",
      rank_prompts = 12,
      response_length = 6,
    })
    assert.equal(12, first.waiting.sampled)
    assert.equal(12, first.waiting.rank)
    local asked = read(folder .. "/people/to-rank.jsonl")
    local seen_k = {}
    for i, row in ipairs(asked) do
      assert.equal(#row.completions, #row.completion_ids)
      assert.is_true(#row.completions >= 4 and #row.completions <= 9)
      seen_k[#row.completions] = true
      row.labeler, row.ranks = "cy", {}
      for n = 1, #row.completions do
        row.ranks[n] = (n + i) % 3 + 1
      end
    end
    assert.is_truthy(next(seen_k, next(seen_k))) -- more than one K
    local ranked = write("ranked-by-cy.jsonl", asked)
    local wanted = read(folder .. "/people/to-demonstrate.jsonl")
    assert.is_true(#wanted > 5)
    for _, row in ipairs(wanted) do
      row.labeler, row.completion = "cy", "an answer by hand"
    end
    local written = write("written-by-cy.jsonl", wanted)
    local settings = { store = folder .. "/people/store.db", answers = ranked .. "," .. written }
    local second = collect("people2", settings)
    assert.equal(0, second.waiting.demonstrate)
    assert.equal(first.store.rankings + 12, second.store.rankings)
    assert.equal(first.store.demonstrations + #wanted, second.store.demonstrations)
    -- what the policy said comes to the reward model as it was: cut answers have no end token
    local cut, sampled = 0, 0
    for _, side in ipairs(SIDES) do
      local rows = pl.data.rows(folder .. "/people/store.db#rm." .. side)
      local sets = pl.data.ranked(tok, nil, rows, 1000, "half")
      for _, set in ipairs(sets) do
        for n, finished in ipairs(set.row.completion_finished or {}) do
          local last = set.sequences[n][#set.sequences[n]]
          assert.equal(finished, last == tok.eos_id)
          cut, sampled = cut + (finished and 0 or 1), sampled + 1
        end
      end
    end
    assert.is_true(cut > 0 and sampled >= cut)
    local hand = 0
    for _, side in ipairs(SIDES) do
      for _, row in ipairs(rows_of("people2", "sft", side)) do
        if row.completion == "an answer by hand" then
          hand = hand + 1
          assert.equal("api", row.source)
        end
      end
    end
    assert.equal(#wanted, hand)

    local third = collect("people3", settings) -- nothing twice
    assert.equal(second.store.rankings, third.store.rankings)
    asked[1].ranks[1] = asked[1].ranks[1] % 3 + 1
    write("ranked-by-cy.jsonl", asked)
    local edited = collect("people4", settings)
    assert.equal(second.store.rankings + 1, edited.store.rankings) -- an edit is a new row
    assert.equal(second.agreement.rankings, edited.agreement.rankings) -- of which the latest counts
  end)

  it("is refused whole when a line of it is wrong", function()
    local asked = read(folder .. "/people/to-rank.jsonl")
    asked[1].labeler, asked[1].ranks = "dee", {}
    for n = 1, #asked[1].completions do
      asked[1].ranks[n] = n
    end
    asked[2].labeler, asked[2].ranks = "dee", { 1 }
    local path = write("broken.jsonl", { asked[1], asked[2] })
    local store = assert(pl.store.open(folder .. "/people/store.db"))
    local before = store:counts().rankings
    store:close()
    local ok, message = pcall(collect, "refused", {
      store = folder .. "/people/store.db",
      answers = path,
    })
    assert.is_false(ok)
    assert.is_truthy(tostring(message):find("broken.jsonl:2: `ranks` must have", 1, true), message)
    store = assert(pl.store.open(folder .. "/people/store.db"))
    assert.equal(before, store:counts().rankings)
    store:close()
  end)
end)
