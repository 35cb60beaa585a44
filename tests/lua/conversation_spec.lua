--- Conversations: a cache that goes on from the last turn, `perilune chat`, and what a terminal is
-- shown as it grows (tried under script(1), which gives the program a terminal).

local core = require("perilune.core")
local host = require("perilune.host")
local json = require("perilune.base.json")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")

local folder, path, model, tok

setup(function()
  folder = scratch.folder()
  local special = pl.chat.control_names(pl.chat.plain)
  tok = pl.tokenizer.train {
    texts = { ("the cat sat on a mat. héé, "):rep(20) },
    vocab_size = 300,
    special = special,
    eos = "<|end|>",
  }
  model = pl.model.new({
    model_type = "llama",
    architectures = { "LlamaForCausalLM" },
    tie_word_embeddings = true,
    hidden_size = 32,
    num_hidden_layers = 2,
    num_attention_heads = 2,
    intermediate_size = 32,
    vocab_size = #tok,
    max_position_embeddings = 96,
    initializer_range = 0.4,
  }, { seed = 3 })
  tok.template = pl.chat.description.of(pl.chat.plain)
  path = folder .. "/model"
  assert(model:save(path, { tokenizer = tok }))
end)

teardown(function() scratch.remove(folder) end)

--- Runs the program with lines on its standard input; exit status, output, errors.
local function run(args, input, on_terminal)
  scratch.write(folder .. "/in", input or "")
  local command = { host.executable, table.unpack(args) }
  if on_terminal then
    for i, word in ipairs(command) do
      command[i] = "'" .. word .. "'"
    end
    -- libedit itself does not give back all it took.
    local line = "ASAN_OPTIONS=detect_leaks=0 " .. table.concat(command, " ")
    command = { "/usr/bin/script", "-qec", line, "/dev/null" }
  end
  local how, code = core.system.spawn(
    command,
    { stdin = folder .. "/in", stdout = folder .. "/out", stderr = folder .. "/err" }
  )
  return how == "exit" and code or how,
    scratch.read(folder .. "/out"),
    scratch.read(folder .. "/err")
end

describe("reuse of the cache", function()
  local function ask(ids, opts)
    return pl.generate(model, { ids }, {
      max_tokens = 12,
      seed = opts.seed or 5,
      temperature = opts.guesses and 0.3 or opts.temperature,
      reuse = opts.reuse,
      prompt_lookup_num_tokens = opts.guesses,
      stop = { tok.eos_id },
    })
  end

  it("gives the same bits as without, and runs what is new alone", function()
    local text = tok:encode("the cat sat")
    for turn = 1, 4 do
      local fresh = ask(text, { seed = turn })
      local reused = ask(text, { seed = turn, reuse = true })
      assert.are.same(fresh[1].tokens, reused[1].tokens)
      assert.are.same(fresh.logprobs:totable(), reused.logprobs:totable())
      -- A call without reuse lets go of what the cache held: the turn before is run again.
      assert.are.equal(#text, fresh.prefill_tokens)
      local again = ask(text, { seed = turn, reuse = true })
      assert.are.same(fresh.logprobs:totable(), again.logprobs:totable())
      assert.are.equal(1, again.prefill_tokens)
      table.move(fresh[1].tokens, 1, #fresh[1].tokens, #text + 1, text)
      text[#text + 1] = tok:encode("a mat")[1]
      local longer = ask(text, { seed = turn, reuse = true })
      assert.is_true(longer.prefill_tokens <= 2) -- the last token before was never run
      assert.are.same(ask(text, { seed = turn })[1].tokens, longer[1].tokens)
    end
  end)

  it("holds what was drawn, not what was guessed ahead", function()
    local text, turns = tok:encode("the cat sat on a mat. the cat sat"), {}
    local drafted, right = 0, 0
    for turn = 1, 5 do
      local answers = ask(text, { seed = turn, reuse = true, guesses = 4 })
      turns[turn] = { text = table.move(text, 1, #text, 1, {}), answers = answers }
      drafted, right = drafted + answers.drafted, right + answers.accepted
      if turn > 1 then assert.is_true(answers.prefill_tokens <= 3) end
      local answer = answers[1].tokens -- goes on as the text did, so that guesses are right
      table.move(answer, 1, #answer // 2, #text + 1, text)
      text[#text + 1] = tok:encode("a mat")[1]
    end
    assert.is_true(right > 0 and right < drafted)
    for turn, one in ipairs(turns) do
      local fresh = ask(one.text, { seed = turn, temperature = 0.3 })
      assert.are.same(fresh[1].tokens, one.answers[1].tokens)
      assert.are.same(fresh.logprobs:totable(), one.answers.logprobs:totable())
    end
  end)

  it("takes only what both texts begin with", function()
    local one, other = tok:encode("the cat sat on"), tok:encode("the cat on a mat")
    ask(one, { reuse = true })
    local reused = ask(other, { reuse = true })
    assert.is_true(reused.prefill_tokens < #other)
    assert.are.same(ask(other, {}).logprobs:totable(), reused.logprobs:totable())
  end)

  it("is for one answer to one prompt", function()
    local ids = tok:encode("the cat")
    assert.has_error(
      function() pl.generate(model, { ids, ids }, { reuse = true }) end,
      "generate: reuse is for one answer to one prompt"
    )
    assert.has_error(
      function() pl.generate(model, { ids }, { reuse = true, samples = 2 }) end,
      "generate: reuse is for one answer to one prompt"
    )
  end)
end)

describe("perilune chat", function()
  it("puts all turns before each answer, as generation from the messages does", function()
    local status, out, err = run(
      { "chat", path, "--temperature", "0", "--max_tokens", "8" },
      "the cat\nand the mat\n/save " .. folder .. "/kept.jsonl\n"
    )
    assert.are.equal(0, status, err)
    local kept = json.decode(scratch.read(folder .. "/kept.jsonl")).messages
    assert.are.equal(4, #kept)
    local shown = {}
    for turn = 2, 4, 2 do
      local before = table.move(kept, 1, turn - 1, 1, {})
      local ids = pl.data.prompt_ids(tok, pl.chat.plain, { messages = before })
      local answer = pl.generate(model, { ids }, {
        max_tokens = 8,
        temperature = 0,
        stop = { tok.eos_id, pl.chat.stop_id(tok, pl.chat.plain) },
      })[1]
      local text = tok:decode(answer.tokens, { skip_special = true })
      assert.are.equal(pl.format.utf8(text), kept[turn].content)
      shown[#shown + 1] = text
    end
    assert.are.equal(table.concat(shown, "\n") .. "\n", out)
  end)

  it("leaves the earliest turns out when the context is full, and says so", function()
    local line = ("the cat sat on a mat "):rep(2)
    local lines = (line .. "\n"):rep(5)
    local status, out, err = run({ "chat", path, "--max_tokens", "8" }, lines)
    assert.are.equal(0, status)
    assert.matches("the context of 96 tokens is full: %d+ earlier turns left out", err)
    assert.are.equal(5, select(2, out:gsub("\n", "")))
    status, out, err = run({ "chat", path }, ("the cat sat on a mat "):rep(40) .. "\n/undo\n")
    assert.are.equal(0, status)
    assert.are.equal("", out)
    assert.matches("a context of 96: say it shorter", err)
    assert.matches("0 messages are left", err)
  end)

  it("changes settings, takes turns back, names what it does not know", function()
    local status, _, err = run({ "chat", path, "--max_tokens", "4" }, table.concat({
      "/again",
      "/system be short",
      "the cat",
      "/undo",
      "/set temperature 0",
      "/set temperature -1",
      "/set colour red",
      "/nosuch",
      "/save",
      "/save /nosuch/folder/x",
      "/quit",
      "never reached",
    }, "\n") .. "\n")
    assert.are.equal(0, status)
    for _, text in ipairs {
      "nothing was said yet",
      "1 messages are left",
      "temperature  0",
      "temperature",
      "/set changes max_tokens, temperature, top_k, top_p, min_p, seed, "
        .. "prompt_lookup_num_tokens, not colour",
      "no command /nosuch; /help lists them",
      "/save wants the name of a file",
      "opening '/nosuch/folder/x': No such file or directory",
    } do
      assert.is_truthy(err:find(text, 1, true), text .. " is not in " .. err)
    end
    assert.is_nil(err:find("traceback", 1, true))
  end)

  it("tells what became of tokens that were guessed ahead, as generate does", function()
    local prompt = "the cat sat on a mat. the cat sat on a mat. the cat"
    local args = { "generate", path, "--prompt", prompt, "--n", "12", "--json" }
    local _, wanted, silent = run(args)
    args[#args + 1], args[#args + 2] = "--prompt_lookup_num_tokens", "5"
    local status, out, err = run(args)
    assert.are.equal(0, status, err)
    assert.are.equal(wanted, out)
    assert.is_nil(silent:find("guessed", 1, true))
    local tokens = 0
    for line in out:gmatch("[^\n]+") do
      tokens = tokens + #json.decode(line).tokens
    end
    local right, all, pace =
      err:match("perilune generate: (%d+) of (%d+) guessed tokens right, ([%d.]+) tokens a pass")
    assert.truthy(right, err)
    assert.is_true(math.tointeger(all) > math.tointeger(right))
    assert.are.equal(("%.2f"):format(tokens / (tokens - right)), pace)
    args[#args] = "-1"
    status, _, err = run(args)
    assert.are.equal(1, status)
    assert.matches("prompt_lookup_num_tokens", err)
  end)

  it("refuses a model that scores and a folder that is none", function()
    local scorer = model:copy { scalar_head = true }
    assert(scorer:save(folder .. "/scorer", { tokenizer = tok }))
    local status, _, err = run { "chat", folder .. "/scorer" }
    assert.are.equal(1, status)
    assert.matches("scores answers and writes none", err)
    status, _, err = run { "chat" }
    assert.are.equal(1, status)
    assert.matches("perilune chat: which model", err)
  end)
end)

describe("on a terminal", function()
  if not scratch.there("/usr/bin/script") then
    pending("skipped: script(1) is not there")
    return
  end

  it("generate shows an answer as it grows, once", function()
    local args =
      { "generate", path, "--prompt", "the cat", "--temperature", "0", "--max_tokens", "9" }
    local _, wanted = run(args)
    local status, out = run(args, nil, true)
    assert.are.equal(0, status, out)
    assert.are.equal(wanted, (out:gsub("\r", "")))
  end)

  it("chat answers and counts", function()
    local status, out = run({ "chat", path, "--max_tokens", "6" }, "the cat\n", true)
    assert.are.equal(0, status, out)
    local shown = out:gsub("\r", "")
    assert.is_truthy(shown:find(path .. "\n/help lists the commands", 1, true), shown)
    assert.matches("%d tokens, first after", out)
  end)
end)
