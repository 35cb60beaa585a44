--- recipes/kto.lua: what its first step says and does, what it learns, and where its answers come
-- from. That it resumes to the same bits is in determinism_spec.

local pl = require("perilune")
local world = dofile("tests/lua/support/world.lua")

local preference = pl.preference

describe("KTO", function()
  local w

  setup(function() w = world.new("llama") end)

  teardown(world.clean)

  local runs = 0
  local function run(more)
    local settings = world.settings(w, "kto")
    settings.save_steps, settings.threads, settings.batch_size = 0, 1, 32
    for key, value in pairs(more or {}) do
      settings[key] = value
    end
    runs = runs + 1
    local folder = ("%s/kto%d"):format(w.dir, runs)
    local summary = world.run("kto", settings, folder)
    return summary, assert(pl.run.read_rows(folder .. "/metrics.jsonl")), folder
  end

  local function near(wanted, got, tolerance)
    assert.is_true(math.abs(wanted - got) <= tolerance, ("%.9g, wanted %.9g"):format(got, wanted))
  end

  -- The rankings' answers as rows of {prompt, completion, label}, by the rule of data.labelled.
  local function labelled_rows()
    local rows = {}
    for row in pl.data.each(w.rankings) do
      local mean = 0
      for _, rank in ipairs(row.ranks) do
        mean = mean + rank / #row.ranks
      end
      local sides = {} -- of each text: -1 liked, 1 disliked, 0 both
      for k, rank in ipairs(row.ranks) do
        local text, side = row.completions[k], rank < mean and -1 or 1
        if rank ~= mean then sides[text] = (sides[text] or side) == side and side or 0 end
      end
      for k, rank in ipairs(row.ranks) do
        if rank ~= mean and sides[row.completions[k]] ~= 0 then
          rows[#rows + 1] =
            { prompt = row.prompt, completion = row.completions[k], label = rank < mean }
        end
      end
    end
    return rows
  end

  -- The gradient's norm at the start over all answers in one step, each by itself: z is 0.
  local function first_grad_norm(good, bad)
    local model, tok = assert(pl.load(w.model)), assert(pl.tokenizer.load(w.model))
    local set = pl.data.labelled(tok, nil, w.rankings)
    for i = 1, #set do
      local one = set[i]
      local packed = pl.batch.pack { one.sequence }
      local at = pl.batch.targets({ one.sequence }, { one.mask })
      local logp = pl.loss.logprobs(model, packed, at):sum()
      local h = (logp - logp:detach()) * (one.label and 0.1 or -0.1)
      local part = (1 - h:sigmoid()) * ((one.label and good or bad) / #set)
      part:backward()
    end
    local sum = 0
    for _, name in ipairs(model.block:names()) do
      sum = sum + model.weights[name]:grad():square():sum():item()
    end
    return math.sqrt(sum)
  end

  it("begins at half the mean weight with the gradient of its answers one by one", function()
    local more = { batch_size = 1000, max_steps = 1, desirable_weight = 0.7 }
    local _, rows = run(more)
    local rows_of, liked = labelled_rows(), 0
    for _, row in ipairs(rows_of) do
      liked = liked + (row.label and 1 or 0)
    end
    near((0.7 * liked + #rows_of - liked) / 2 / #rows_of, rows[1].loss, 1e-6)
    assert.equal(0, rows[1].kl)
    assert.equal(0, rows[1]["rewards/margins"])
    assert.equal(0.5, rows[1]["rewards/accuracies"])
    local wanted = first_grad_norm(0.7, 1)
    near(wanted, rows[1].grad_norm, 1e-4 * wanted)
  end)

  it("puts four of five answers on their side of the baseline after three passes", function()
    for _, loss_type in ipairs { "kto", "apo_zero_unpaired" } do
      local summary, rows = run {
        loss_type = loss_type,
        num_train_epochs = 3,
        learning_rate = 0.004,
        eval_dataset = w.rankings,
      }
      assert.is_true(summary.eval_accuracy >= 0.8, loss_type .. ": " .. summary.eval_accuracy)
      assert.is_true(rows[#rows]["eval_rewards/margins"] > 1)
      assert.equal(loss_type == "kto", rows[#rows].kl > 0)
    end
  end)

  it("is the same from rankings and from their labels", function()
    local path = world.jsonl(w.dir .. "/labels.jsonl", labelled_rows())
    local wanted = run({ max_steps = 2 }).weights_hash
    assert.equal(
      wanted,
      run({
        dataset = path,
        max_steps = 2,
      }).weights_hash
    )
  end)

  it("learns from answers of one kind, and says that there are no others", function()
    local path = world.jsonl(w.dir .. "/liked.jsonl", {
      { prompt = "a fox", completion = "sees the sea", label = true },
    })
    local summary, rows, folder = run { dataset = path, num_train_epochs = 4 }
    assert.equal(4, summary.steps)
    assert.is_nil(rows[4]["rewards/margins"])
    assert.is_true(rows[4]["logps/chosen"] > rows[1]["logps/chosen"])
    local said = world.read(folder .. ".err")
    assert.matches("no answer of " .. path .. " is disliked", said, 1, true)
    assert.matches("the baseline is 0", said, 1, true)
    path = world.jsonl(w.dir .. "/disliked.jsonl", {
      { prompt = "a fox", completion = "sees the sea", label = false },
    })
    said = world.read(select(3, run { dataset = path, quiet = false }) .. ".err")
    assert.matches("no answer of " .. path .. " is liked", said, 1, true)
    assert.is_nil(said:find("liked answers weigh", 1, true))
  end)

  it("keeps the best checkpoint by answers to held-out prompts", function()
    local summary, rows, folder = run {
      eval_prompts = w.prompts,
      reward_function = w.reward,
      eval_steps = 3,
      eval_count = 8,
      response_length = 10,
      checkpoint_choice = "eval_score",
    }
    local best
    for _, row in ipairs(rows) do
      if row.eval_score and (not best or row.eval_score > best.eval_score) then best = row end
    end
    assert.equal("checkpoint-" .. best.step, summary.best_checkpoint)
    local chosen = assert(pl.load(("%s/checkpoint-%d"):format(folder, best.step)))
    assert.equal(chosen:hash(), summary.weights_hash)
  end)

  it("refuses rows without a label, and weights of which nothing is left", function()
    local path = world.jsonl(w.dir .. "/demos.jsonl", { { prompt = "a", completion = "fox" } })
    local ok, message = pcall(run, { dataset = path })
    assert.is_false(ok)
    assert.matches("left out: an answer that nobody labelled 1", message, 1, true)
    path = world.jsonl(w.dir .. "/maybe.jsonl", {
      { prompt = "a fox", completion = " sees", label = "maybe" },
    })
    ok, message = pcall(run, { dataset = path })
    assert.is_false(ok)
    assert.matches("an answer whose label says neither good nor bad 1", message, 1, true)
    ok, message = pcall(run, { desirable_weight = 0, undesirable_weight = 0 })
    assert.is_false(ok)
    assert.matches("nothing would be learnt", message, 1, true)
  end)
end)

describe("mismatched answers", function()
  local function answer(prompt, text)
    local sequence, mask = pl.data.join(prompt, text)
    return { sequence = sequence, mask = mask, label = true }
  end

  it("are of another prompt, fit, and are drawn once", function()
    local set = {
      answer({ 1 }, { 2, 3 }),
      answer({ 1 }, { 4 }),
      answer({ 5, 6 }, { 7 }),
      answer({ 8, 8, 8, 8 }, { 9, 9 }),
    }
    local others = preference.mismatch(set, 5, 3)
    assert.are.same(others, preference.mismatch(set, 5, 3))
    assert.is_true(others[1] == 3 or others[1] == 4)
    assert.is_true(others[4] == 2 or others[4] == 3) -- others do not fit behind four tokens
    local sequence, mask = preference.cross(set[4], set[3])
    assert.are.same({ 8, 8, 8, 8, 7 }, sequence)
    assert.are.same({ 0, 0, 0, 0, 1 }, mask)
  end)

  it("are none among answers to one prompt, one answer or none", function()
    local one = answer({ 1 }, { 2 })
    assert.are.same({}, preference.mismatch({ one, one }, 9, 1))
    assert.are.same({}, preference.mismatch({ one }, 9, 1))
    assert.are.same({}, preference.mismatch({}, 9, 1))
  end)
end)

describe("labelled answers", function()
  local w, tok

  setup(function()
    w = world.new("llama")
    tok = assert(pl.tokenizer.load(w.model))
  end)

  teardown(world.clean)

  local files = 0
  local function read(...)
    files = files + 1
    local path = world.jsonl(("%s/rows%d.jsonl"):format(w.dir, files), { ... })
    return pl.data.labelled(tok, nil, path), path
  end

  local function labels(set)
    local list = {}
    for i = 1, #set do
      list[i] = set[i].label
    end
    return list
  end

  it("have a label, a thumb or a word", function()
    local set = read(
      { prompt = "a", completion = "fox", label = true },
      { prompt = "a", completion = "boat", label = false },
      { prompt = "a", completion = "tower", thumbs_up = 0 },
      { prompt = "a", completion = "lamp", feedback = "thumbs-up" },
      { prompt = "a", completion = "sea", feedback = { rating = -1 } },
      { prompt = "a", completion = "rain", feedback = "👎" },
      { prompt = "a", completion = "road", label = 1 }
    )
    assert.are.same({ true, false, false, true, false, false, true }, labels(set))
    assert.equal(3, set.liked)
    assert.equal(4, set.disliked)
    local answer = {}
    for t, is_answer in ipairs(set[2].mask) do
      if is_answer == 1 then answer[#answer + 1] = set[2].sequence[t] end
    end
    assert.equal("boat", tok:decode(answer, { skip_special = true }):match("%S+"))
    assert.equal(tok.eos_id, answer[#answer])
  end)

  it("come from turns of dialogues that were rated", function()
    local function turn(role, content, more)
      more = more or {}
      more.role, more.content = role, content
      return more
    end
    local rows = {}
    for row in
      pl.data.each(
        world.jsonl(w.dir .. "/thumbs.jsonl", {
          {
            user_id = "u",
            messages = {
              turn("user", "a"),
              turn("assistant", "fox", { feedback = "thumbsUp" }),
              turn("user", "b"),
              turn("assistant", "boat", { annotation = { rating = -1 } }),
              turn("user", "c"),
              turn("assistant", "sea"),
            },
          },
          { messages = { turn("user", "a"), turn("assistant", "fox", { rating = 4 }) } },
        }),
        { leave_out = function() end },
        true
      )
    do
      rows[#rows + 1] = row
    end
    assert.equal(2, #rows)
    assert.equal("a", rows[1].prompt)
    assert.equal("fox", rows[1].completion)
    assert.is_true(rows[1].label)
    assert.equal("u", rows[1].user_id)
    assert.equal(3, #rows[2].messages)
    assert.equal("b", rows[2].messages[3].content)
    assert.equal("boat", rows[2].completion)
    assert.is_false(rows[2].label)
  end)

  it("come from rankings by the side of the mean rank", function()
    local set = read(
      { prompt = "a", completions = { "fox", "boat", "sea" }, ranks = { 1, 2, 3 } },
      { prompt = "a", chosen = "lamp", rejected = "rain" },
      { prompt = "a", completions = { "fox", "boat" }, ranks = { 1, 1 } },
      { prompt = "a", completions = { "fox", "sea", "boat", "fox" }, ranks = { 1, 2, 3, 4 } },
      { prompt = "a", completions = { "fox", "fox" }, ranks = { 1, 2 } },
      { prompt = "a", completions = { "fox", "fox", "sea" }, ranks = { 1, 1, 2 } }
    )
    local wanted = { true, false, true, false, true, false, true, true, false }
    assert.are.same(wanted, labels(set))
    assert.are.same({ ["all ranks equal"] = 1, ["equal answers"] = 1 }, set.counts.left_out)
    assert.equal(1, set.counts.changed["answers of the mean rank"])
    assert.equal(2, set.counts.changed["equal answers, liked and disliked"])
  end)

  it("keep token ids of their own", function()
    local set = read { prompt_tokens = { 0, 5 }, completion_tokens = { 7, 1 }, label = false }
    assert.are.same({ 0, 5, 7, 1 }, set[1].sequence)
    assert.are.same({ 0, 0, 1, 1 }, set[1].mask)
    assert.is_false(set[1].label)
  end)

  it("leave alone what is read for other ends", function()
    local path = world.jsonl(w.dir .. "/both.jsonl", {
      { prompt = "a", completion = "fox", label = true },
      { prompt = "a", completion = "boat", label = false },
    })
    assert.equal(1, #pl.data.examples(tok, nil, path, 20).sequences)
    assert.equal(2, #pl.data.labelled(tok, nil, path, 20))
    assert.equal(0, #pl.data.labelled(tok, nil, path, 2))
  end)
end)
