--- What a newcomer gets wrong, over every command and recipe: the command line and the sentence
-- that answers it. Each ends with a status that is not 0, says what and where, prints no traceback
-- and leaves what was there as it was.
--
-- Command lines are cut at blanks; '' is an empty argument. They run in a folder that holds the
-- world's files and the wrong ones below.

local neighbours = require("perilune.config.neighbours")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local world = dofile("tests/lua/support/world.lua")

local w, llama

local wrong_files = {
  ["empty.jsonl"] = "",
  ["blank.txt"] = "\n \n",
  ["noise.bin"] = ("\200\1\7\255\0\30"):rep(50),
  ["utf16.jsonl"] = '\255\254{\0"\0',
  ["cut.jsonl"] = '{"prompt":"a fox"}\n{"prompt":\n',
  ["number.jsonl"] = '{"prompt":"a fox","completion":7}\n',
  ["asks.jsonl"] = '{"prompt":5,"completion":"7"}\n{"prompt":"a fox","completion":"sees"}\n',
  ["dialogue.jsonl"] = '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":'
    .. '"fox"},{"role":"user","content":"sees"}],"completions":["the moon","bread"],"ranks":[1,2]}',
  ["west.jsonl"] = '{"prompt":"a fox","completion":"caf\233"}\n',
  ["tied.jsonl"] = '{"prompt":"a fox","completions":["the moon","nobody"],"ranks":[1,1]}\n',
  ["short.jsonl"] = '{"prompt":"a fox","completions":["the moon","nobody"],"ranks":[1]}\n',
  ["alone.jsonl"] = '{"prompt":"a fox","completions":["the moon"],"ranks":[1]}\n',
  ["chat.jsonl"] = '{"messages":[{"role":"user","content":"the moon"},'
    .. '{"role":"assistant","content":"a lamp"}]}\n',
  ["log.jsonl"] = '{"prompt":"the moon sees a lamp","user_id":"u1"}\n',
  ["west.txt"] = "A story.\nB\246se.\n",
  ["huge.jsonl"] = '{"prompt":"a fox","completions":["the moon","nobody"],"ranks":[1e999,2]}\n',
  ["time.jsonl"] = '{"id":1,"labeler":"ann","completion":"a lamp","time":"soon"}\n',
  ["rank.jsonl"] = '\n{"id":1,"labeler":"ann","completion_ids":[1,2],"ranks":[1,0]}\n',
  ["nobody.jsonl"] = '{"id":99,"labeler":"ann","completion":"a lamp"}\n',
  ["number.lua"] = "return 7\n",
  ["too_few.lua"] = "return function() return { 1 } end\n",
  ["text.lua"] = "return function(_, a) local t = {} for i = 1, #a do t[i] = 'x' end return t "
    .. "end\n",
  ["nan.lua"] = "return function(_, a) local t = {} for i = 1, #a do t[i] = 0/0 end return t end\n",
  ["index.lua"] = "local t\nreturn function() return t.x end\n",
  ["table.lua"] = "error(setmetatable({}, { __tostring = function() return 'no beans' end }))\n",
  ["raises.lua"] = "return function() error('out of coffee') end\n",
  ["cut.lua"] = "return function(_, a\n",
  ["stories.txt"] = "One story.\nAnother.\n",
}

do -- stories that are long enough and of which a lexicon says nothing
  local lines = {}
  for i = 1, 40 do
    lines[i] = ("w%d "):format(i):rep(45)
  end
  wrong_files["dull.txt"] = table.concat(lines, "\n") .. "\n"
  wrong_files["lexicon.txt"] = "glad\t2.1\n"
end

local SFT <const> = "run sft --model model --output_dir out --batch_size 8 --quiet"
local RM <const> = "run reward --model model --output_dir out --batch_size 8 --quiet"
local PPO <const> = "run ppo --model model --dataset prompts.jsonl --output_dir out --batch_size 4 "
  .. "--num_mini_batches 1 --total_episodes 8 --response_length 6 --quiet"
local EVAL <const> = "run eval --model model --output_dir out --count 2 --response_length 4 --quiet"
local NEW <const> = "run pretrain --output_dir out --hidden_size 16 --num_hidden_layers 1 "
  .. "--num_attention_heads 2 --intermediate_size 16 --context 16 --quiet"
local COLLECT <const> = "run collect --output_dir out --quiet"
local STORIES <const> = "run stories --model model --output_dir out --quiet"

-- { command line, what it says }
-- The names of all recipes, as a sentence has them.
local function recipes()
  local names = {}
  for i, recipe in ipairs(neighbours.recipes()) do
    names[i] = recipe.name
  end
  return table.concat(names, ", ")
end

local rows = {
  -- settings
  { "run sft", "--model is missing: model folder to start from" },
  { "run sft --model '' --dataset demos.jsonl", "--model is empty: model folder to start from" },
  { SFT .. " --dataset demos.jsonl --output_dir ''", "--output_dir is empty: give the folder" },
  { SFT .. " --dataset demos.jsonl --bach_size 2", "did you mean 'batch_size'?" },
  { SFT .. " --dataset demos.jsonl --batch_size 2.5", "batch_size = '2.5' is not an integer" },
  { SFT .. " --dataset demos.jsonl --threads 99999", "give an integer in [0, 1024]" },
  { SFT .. " --dataset demos.jsonl --batch_size", "--batch_size needs a value" },
  { SFT .. " --dataset demos.jsonl extra", "'extra' belongs to no key" },
  { SFT .. " --dataset demos.jsonl --preset none", "preset 'none' cannot be read" },
  { SFT .. " --dataset demos.jsonl --learning_rate fast", "there is no schedule 'fast'" },
  { SFT .. " --dataset demos.jsonl --learning_rate cosine(1", "')' is wanted before the end" },
  {
    SFT .. " --dataset demos.jsonl --resume_changed batch_size",
    "resume_changed says what may differ from a checkpoint: give --resume too",
  },
  { SFT .. " --dataset demos.jsonl --ptx_fraction 0.5", "ptx_fraction wants a ptx_dataset" },
  { SFT .. " --dataset demos.jsonl --max_length 2", "left out: no room for an answer 40" },
  -- files
  { SFT .. " --dataset none.jsonl", "cannot read none.jsonl: opening 'none.jsonl': No such file" },
  { SFT .. " --dataset folder", "'folder' is a folder, not a regular file" },
  { SFT .. " --dataset empty.jsonl", "dataset empty.jsonl: nothing in it can be used (0 rows" },
  { SFT .. " --dataset demos.jsonl --eval_dataset empty.jsonl", "eval_dataset empty.jsonl" },
  { SFT .. " --dataset utf16.jsonl", "utf16.jsonl:1: " },
  { SFT .. " --dataset rankings.jsonl", "rankings.jsonl:1: a ranking of `completions`" },
  { SFT .. " --dataset number.jsonl", "number.jsonl:1: completion is a number, not a text" },
  { SFT .. " --dataset asks.jsonl", "asks.jsonl:1: prompt is a number, not a text" },
  { SFT .. " --dataset west.jsonl", "a file in another encoding is converted first, as in iconv" },
  { SFT .. " --dataset chat.jsonl", "messages want a template" },
  { SFT .. " --dataset chat.jsonl --template chatml", "wants the control token '<|im_end|>'" },
  { SFT .. " --dataset demos.jsonl --output_dir demos.jsonl", "a file of that name is in the way" },
  { SFT .. " --dataset demos.jsonl --output_dir /dev/null/x", "output_dir /dev/null/x cannot be" },
  -- models
  {
    SFT .. " --dataset demos.jsonl --model none",
    "perilune: model: opening 'none': No such file or directory",
  },
  {
    EVAL .. " --dataset prompts.jsonl --reward_function reward.lua --reference none",
    "perilune: reference: opening 'none/config.json': No such file or directory",
  },
  {
    PPO .. " --reward_model none",
    "perilune: reward_model: opening 'none/config.json': No such file or directory",
  },
  { SFT .. " --dataset demos.jsonl --model folder", "folder: no tokenizer there" },
  {
    SFT .. " --dataset demos.jsonl --model cut",
    "'cut/model.safetensors' has 3000 bytes, its manifest says 288000",
  },
  { PPO .. " --reward_model llama", "reward_model (llama) has no scalar head" },
  { SFT .. " --dataset demos.jsonl --model rm", "model rm is a reward model: it scores answers" },
  { "run dpo --model rm --dataset rankings.jsonl --output_dir out", "model rm is a reward model" },
  { "run kto --model rm --dataset rankings.jsonl --output_dir out", "model rm is a reward model" },
  { NEW .. " --text text.txt --model rm", "model rm is a reward model: it scores answers" },
  -- rankings
  { RM .. " --dataset tied.jsonl", "tied.jsonl: nothing in it can be used (1 rows, 0 used" },
  { RM .. " --dataset short.jsonl", "short.jsonl:1: ranks are not a list of 2 numbers" },
  { RM .. " --dataset huge.jsonl", "huge.jsonl:1: rank 1 is inf, not a finite number" },
  { RM .. " --dataset alone.jsonl", "alone.jsonl:1: ranks of one completion" },
  { RM .. " --dataset demos.jsonl", "demos.jsonl:1: no answers to rank: rows are" },
  { RM .. " --dataset rankings.jsonl --demonstrations rankings.jsonl", "a ranking of `compl" },
  { SFT .. " --dataset dialogue.jsonl", "dialogue.jsonl:1: a ranking of `completions` is no" },
  { RM .. " --dataset rankings.jsonl --variant hinge", "one of logsigmoid | sigmoid | linear" },
  -- reward functions
  { PPO, "give one of reward_model and reward_function" },
  { PPO .. " --reward_function none.lua", "reward_function none.lua cannot be read" },
  { PPO .. " --reward_function folder", "reward_function folder cannot be read" },
  { PPO .. " --reward_function cut.lua", "cut.lua:2: ')' expected near <eof>" },
  { PPO .. " --reward_function number.lua", "number.lua must return a function" },
  { PPO .. " --reward_function too_few.lua", "too_few.lua: it returned 1 scores for 4 answers" },
  { PPO .. " --reward_function text.lua", "text.lua: the score of answer 1 is a string" },
  { PPO .. " --reward_function nan.lua", "nan.lua: the score of answer 1 is" },
  {
    PPO .. " --reward_function index.lua",
    "reward_function index.lua failed: index.lua:2: tried to index a nil value (upvalue 't') (at "
      .. "answer 1 of 4, '",
  },
  { PPO .. " --reward_function table.lua", "reward_function table.lua failed: no beans" },
  {
    EVAL .. " --dataset prompts.jsonl --reward_function raises.lua",
    "reward_function raises.lua failed: raises.lua:1: out of coffee",
  },
  {
    PPO .. " --reward_function reward.lua --response_length 500",
    "model (model) reads 64 tokens: an answer",
  },
  { PPO .. " --reward_function reward.lua --max_prompt_length 1", "left out: too long 40" },
  { PPO .. " --reward_function reward.lua --num_mini_batches 3", "must divide batch_size" },
  {
    EVAL .. " --dataset prompts.jsonl --reward_function reward.lua --text blank.txt",
    "text blank.txt: nothing in it can be used",
  },
  -- pretraining
  { NEW .. " --text blank.txt", "text blank.txt: nothing in it can be used" },
  { NEW .. " --text folder", "'folder' is a folder, not a regular file" },
  { NEW .. " --text demos.jsonl", "demos.jsonl:1: no `text`: documents are rows of {text}" },
  {
    NEW .. " --text noise.bin",
    "noise.bin:1: a NUL byte; is it a text file?",
  },
  { NEW .. " --text text.txt --context 999", "context is above max_position_embeddings" },
  { NEW .. " --text text.txt --num_attention_heads 3", "num_attention_heads must divide" },
  { NEW .. " --text text.txt --num_attention_heads 16", "num_attention_heads must be even" },
  { NEW .. " --text text.txt --num_key_value_heads 3", "num_key_value_heads must divide" },
  { NEW .. " --text text.txt --model model --tokenizer llama", "one of model and tokenizer" },
  -- collection
  { COLLECT, "no prompts to make sets of: give logs, demonstrations or rankings" },
  { COLLECT .. " --logs none.jsonl", "none.jsonl cannot be read" },
  { COLLECT .. " --logs pipe", "'pipe' is no regular file but a named pipe" },
  { COLLECT .. " --logs folder", "folder is a folder that holds no file to read" },
  { COLLECT .. " --logs empty.jsonl", "empty.jsonl gave no prompts" },
  { COLLECT .. " --logs log.jsonl --format nosuch", "unknown format 'nosuch'; known: auto" },
  { COLLECT .. " --logs log.jsonl --fields prompt", "fields wants name=field, got 'prompt'" },
  { COLLECT .. " --logs log.jsonl --names none.txt", "opening 'none.txt': No such file" },
  { COLLECT .. " --logs log.jsonl --names noise.bin", "noise.bin:1: a NUL byte; is it a" },
  {
    NEW .. " --text west.txt",
    "west.txt:2: not UTF-8 at byte 2; a file in another encoding is converted first, as in iconv",
  },
  {
    COLLECT .. " --logs log.jsonl --format chat_log --pattern (((",
    "the pattern '(((' does not say where a message's text stands: it wants the word text, as in",
  },
  {
    COLLECT .. " --logs log.jsonl --answers time.jsonl",
    "time.jsonl:1: `time` is the text 'soon'",
  },
  {
    COLLECT .. " --logs log.jsonl --answers rank.jsonl",
    "rank.jsonl:2: rank 2 is 0: a rank is an integer from 1, 1 is best",
  },
  { COLLECT .. " --logs log.jsonl --answers nobody.jsonl", "nobody.jsonl:1: " },
  {
    COLLECT .. " --logs none.jsonl --language xx",
    'collect: language: no language "xx"; there are',
  },
  { COLLECT .. " --logs cut.jsonl --strict", "cut.jsonl:2: " },
  { COLLECT .. " --logs log.jsonl --store log.jsonl", "log.jsonl': file is not a database" },
  { COLLECT .. " --rankings demos.jsonl", "demos.jsonl gave no rankings" },
  { COLLECT .. " --valid 0.6 --test 0.6", "valid and test leave no users to train on" },
  { "run briefs --names names.txt", "give user_based, or no names" },
  { "run briefs --user_based 5", "user_based wants a store or logs" },
  -- whole programs
  { "run quickstart --log_rows 5", "log_rows = '5' is out of range; give an integer ≥ 100" },
  { "demo extra", "'extra' belongs to no key" },
  { "demo --learning_rate 1e30", "unknown key 'learning_rate'; did you mean 'ppo_learning_rate'?" },
  {
    "demo --ppo_learning_rate 1e30 --output_dir out --log_rows 400 --labeler_rows 120 --quiet "
      .. "--documents 1500 --rank_prompts 24 --eval_prompts 24 --total_episodes 640 "
      .. "--hidden_size 32 --num_hidden_layers 1 --intermediate_size 64 --sft_epochs 1 --threads 1",
    "since gradients were not finite: the run has failed and no model is saved",
  },
  { STORIES .. " --text stories.txt --lexicon none", "text stories.txt: 2 stories" },
  { STORIES .. " --text folder --lexicon none", "text folder cannot be read" },
  {
    STORIES .. " --text dull.txt --lexicon lexicon.txt --response_length 20",
    "stories to train on score 0.000, so that nothing could be ranked",
  },
  {
    STORIES .. " --text dull.txt --lexicon lexicon.txt",
    "model (model) reads 64 tokens: an answer of 64 leaves no place for a prompt",
  },
  {
    STORIES .. " --text dull.txt --lexicon lexicon.txt --batch_size 8 --num_mini_batches 3",
    "num_mini_batches must divide batch_size",
  },
  { STORIES .. " --text stories.txt --lexicon none --test 0.9 --valid 0.9", "no stories to train" },
  -- the other commands
  { "generate", "which model? usage: perilune generate MODEL" },
  { "generate none", "opening 'none': No such file" },
  { "generate null", "null/config.json: null, not an object" },
  { "generate mamba", "'mamba' (no architecture is named) is not implemented: some of its layers" },
  { "generate noise.bin", "this is no llama2.c checkpoint" },
  { "generate model --prompt a\200b", "the prompt is not UTF-8 at byte 2" },
  { "generate model --n 0", "n = '0' is out of range; give an integer ≥ 1" },
  { "generate model llama", "'llama' belongs to no key" },
  { "store", "perilune store: which store? usage: perilune store FILE" },
  { "attach", "perilune attach: which run? usage: perilune attach RUN" },
  { "attach run now", "perilune attach: 'now' is one word too many; usage: perilune attach RUN" },
  { "stop", "perilune stop: which run? usage: perilune stop RUN" },
  { "report", "perilune report: which run? usage: perilune report RUN" },
  { "watch", "perilune watch: which run? usage: perilune watch RUN" },
  { "replay", "perilune replay: which run? usage: perilune replay RUN" },
  { "replay a b", "perilune replay: 'b' is one word too many; usage: perilune replay RUN" },
  { "export", "perilune export: which model, and where to? usage: perilune export MODEL" },
  { "merge", "perilune merge: which models, and where to? usage: perilune merge ADAPTERS" },
  { "pairs", "perilune pairs: which folders? usage: perilune pairs A B" },
  { "compare", "perilune compare: which methods? usage: perilune compare METHOD" },
  { "judge", "perilune judge: which model? usage: perilune judge MODEL" },
  { "plan", "perilune plan: which recipe? usage: perilune plan RECIPE" },
  { "store empty.jsonl import", "perilune store: import wants a folder" },
  { "store empty.jsonl vacuum", "perilune store: there is nothing called 'vacuum' to do" },
  { "store empty.jsonl bad now", "perilune store: 'now' is one too many" },
  { "recipes sfd", "there is no recipe 'sfd'; did you mean 'sft'?" },
  { "store none.db", "none.db: there is no such file" },
  { "store demos.jsonl", "this one is no SQLite file" },
  { "store empty.jsonl", "'empty.jsonl' is empty, not a store (name another file)" },
  { "store new.db import folder", "folder is not an export of a store" },
  { "bench speed", "nothing is named 'speed'" },
  { "bench all --row train", "there is no row 'train'" },
  { "bench generate --row ppo-l15m-64x64", "no row of `bench generate` is left" },
  { "bench tokenizer", "bench tokenizer wants --tokenizer PATH and --text FILE" },
  { "bench decode", "bench decode wants MODEL.gguf" },
  { "bench decode none.gguf", "none.gguf" },
  { "bench startup --json folder", "json: folder is a folder, not a file" },
  { "bench startup --json none/b.json", "there is no folder none" },
  { "doctor now", "takes no argument, not 'now'" },
  { "help nothing", "nothing is named 'nothing'" },
  { "help matmul relu", "one name at a time; 'relu' is one too many" },
  { "ops all", "it takes --header, not 'all'" },
  { "api --luacats all", "it takes --luacats alone, not '--luacats all'" },
  { "generat model", "did you mean 'generate'?" },
  {
    "run nosuch",
    ("there is no recipe 'nosuch'; recipes are %s, or the path of a Lua file"):format(recipes()),
  },
  { "run revard --model model", "there is no recipe 'revard'; did you mean 'reward'?" },
  { "run none/mine.lua", "there is no recipe 'none/mine.lua'" },
  { "run folder", "there is no recipe 'folder'" },
  { "run cut.lua", "cut.lua:2: ')' expected near <eof>" },
  { "-e require('perilune').load(7)", "load takes the path of a model, not a number" },
  { "-e x=", "unexpected symbol near <eof>" },
  { "-Z", "unrecognized option '-Z'" },
}

local function words(line)
  local list = {}
  for word in line:gmatch("%S+") do
    list[#list + 1] = word == "''" and "" or word
  end
  return list
end

--- Runs the program in the world's folder: how it ended, its status, errors.
local function run(line, input)
  local from = scratch.write(w.dir .. ".in", input or "")
  local how, code = require("perilune.core").system.spawn(
    { "/bin/sh", "-c", 'cd "$0" && exec "$@"', w.dir, world.program, table.unpack(words(line)) },
    { stdin = from, stdout = w.dir .. ".out", stderr = w.dir .. ".err" }
  )
  return how, code, scratch.read(w.dir .. ".err")
end

--- The files of the world and their bytes, runs' folders left out.
local function everything()
  local all = {}
  for _, name in ipairs(scratch.names(w.dir)) do
    local path = w.dir .. "/" .. name
    if name == "model" then
      for _, inner in ipairs(scratch.names(path)) do
        all[name .. "/" .. inner] = scratch.read(path .. "/" .. inner)
      end
    elseif name:find(".", 1, true) then
      all[name] = scratch.read(path)
    else
      all[name] = name ~= "out" and name ~= "runs" or nil
    end
  end
  return all
end

setup(function()
  require("perilune.core").system.setenv("OMP_WAIT_POLICY", "passive")
  require("perilune.core").system.setenv("OMP_NUM_THREADS", "1")
  w, llama = world.new("gpt2"), world.new("llama")
  assert(os.rename(llama.model, w.dir .. "/llama"))
  for name, text in pairs(wrong_files) do
    scratch.write(w.dir .. "/" .. name, text)
  end
  local head = assert(pl.load(w.model, { scalar_head = true, seed = 3 }))
  assert(head:save(w.dir .. "/rm", { tokenizer = assert(pl.tokenizer.load(w.model)) }))
  assert(pl.files.folder_make(w.dir .. "/folder"))
  for name, config in pairs { null = "null", mamba = '{"model_type":"mamba"}' } do
    assert(pl.files.folder_make(w.dir .. "/" .. name))
    scratch.write(("%s/%s/config.json"):format(w.dir, name), config)
    scratch.write(("%s/%s/model.safetensors"):format(w.dir, name), "\2\0\0\0\0\0\0\0{}")
  end
  assert(pl.files.folder_make(w.dir .. "/cut"))
  require("perilune.core").system.spawn({ "mkfifo", w.dir .. "/pipe" }, { stdin = "/dev/null" })
  for _, name in ipairs(scratch.names(w.model)) do
    local text = scratch.read(w.model .. "/" .. name)
    text = name == "model.safetensors" and text:sub(1, 3000) or text
    scratch.write(w.dir .. "/cut/" .. name, text)
  end
end)

teardown(function()
  for _, ending in ipairs { ".in", ".out", ".err" } do
    os.remove(w.dir .. ending)
  end
  world.clean()
end)

after_each(function() scratch.remove(w.dir .. "/out") end)

describe("wrong inputs", function()
  it("are answered by a sentence and change nothing", function()
    local before, wrong = everything(), {}
    for _, row in ipairs(rows) do
      local line, wanted = row[1], row[2]
      local how, code, err = run(line)
      local left = scratch.there(w.dir .. "/out/model")
        or scratch.there(w.dir .. "/out/summary.json")
      if
        how ~= "exit"
        or code == 0
        or left
        or not err:find(wanted, 1, true)
        or err:find("traceback", 1, true)
      then
        wrong[#wrong + 1] = ("%s: %s %d%s\n%s"):format(
          line,
          how,
          code,
          left and ", and a result is left" or "",
          err
        )
      end
      scratch.remove(w.dir .. "/out")
    end
    assert.are.equal("", table.concat(wrong, "\n"))
    assert.are.same(before, everything())
  end)

  it("leave a folder that the corrected command uses, and that no other run takes", function()
    local sft = SFT .. " --dataset demos.jsonl --max_steps 1"
    assert.are.equal(1, select(2, run(SFT .. " --dataset none.jsonl")))
    assert.are.same({ "exit", 0, "" }, { run(sft) })
    local kept = scratch.read(w.dir .. "/out/model/model.safetensors")
    for line, wanted in pairs {
      [sft] = "out already holds a run; --resume goes on with it",
      [SFT .. " --dataset cut.jsonl --max_steps 1 --resume"] = "cut.jsonl",
      [sft .. " --resume out/checkpoint-99"] = "out/checkpoint-99 is not a checkpoint",
      [PPO .. " --reward_function reward.lua --resume"] = "out holds a run of sft, which cannot be "
        .. "resumed as one of ppo",
    } do
      local _, code, err = run(line)
      assert.are.equal(1, code)
      assert.truthy(err:find(wanted, 1, true), err)
    end
    assert.are.equal(kept, scratch.read(w.dir .. "/out/model/model.safetensors"))
  end)

  it("through a pipe end with their place", function()
    for text, wanted in pairs {
      ["x = = 1\n"] = "stdin:1: unexpected symbol near '='",
      ["error('boom')\n"] = "stdin:1: boom",
      ["for i = 1, 2 do\n"] = "stdin:2: 'end' expected",
    } do
      local how, code, err = run("-", text)
      assert.are.same({ "exit", 1 }, { how, code })
      assert.truthy(err:find(wanted, 1, true), err)
      assert.falsy(err:find("traceback", 1, true), err)
    end
  end)
end)

describe("what a user should know", function()
  it("is said when the run is quiet too: briefs without a topic", function()
    scratch.write(
      w.dir .. "/two.jsonl",
      '{"prompt":"how do I mount an image","user_id":"a"}\n{"prompt":"a poem","user_id":"b"}\n'
    )
    local briefs = "run briefs --plain 0 --user_based 5 --logs two.jsonl --output_dir out --quiet"
    local _, code, err = run(briefs)
    assert.are.equal(0, code, err)
    assert.are.equal(
      "  warning: no user-based brief names a topic: no word of out/store.db was written by 3 "
        .. "users that may be told (--min_users 1 takes words of one user)\n",
      err
    )
    scratch.remove(w.dir .. "/out")
    assert.are.equal("", select(3, run(briefs .. " --min_users 1")))
  end)
end)

describe("the least of everything", function()
  it("is learnt from: one prompt, one answer of one token", function()
    scratch.write(w.dir .. "/one.jsonl", '{"prompt":"a fox"}\n')
    local how, code, err = run(
      "run ppo --model model --dataset one.jsonl --output_dir out "
        .. "--batch_size 1 --num_mini_batches 1 --total_episodes 1 --response_length 1 --quiet "
        .. "--reward_function reward.lua"
    )
    assert.are.same({ "exit", 0 }, { how, code }, err)
  end)
end)
