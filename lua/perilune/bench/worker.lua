--- One case of `perilune bench`, in a process of its own so that its peak memory is its own.
--
--     perilune worker.lua train l260k 32 256 0
--     perilune worker.lua generate l260k 64 128 16 precision=bf16
--     perilune worker.lua serve MODEL.gguf 16 64 16
--     perilune worker.lua decode MODEL.gguf 1 128 1,504,3575
--     perilune worker.lua train llama 1 4096 0 c=64 layers=2 heads=1 f=192 v=512 context=4097
--
-- Says {"ready": true, ...} when the model is made and warm, then answers each line it reads:
--
--     sample    {"seconds", "cpu", "tokens"} of one step, or of one call that generates; cpu is the
--               time of all threads. Of decode: {"seconds", "tokens"} of the greedy tokens after
--               the first, {"prompt_seconds", "prompt_tokens"} until it
--     witness   {"gflops"} of float32 multiplications in registers: the state the machine is in
--     profile   {"flops", "bytes", "least", "text", "seconds", "ops"} of one more step: see
--               perilune.base.profile; `ops` are the seconds of each op, its backward with it;
--               `products` is the share of the peak that matrix products reach; with a path after
--               the word its trace is written there
--     peak      {"bytes"} of resident memory at its highest, {"base"} before the first step
--
-- tests/bench/peer_torch.py, peer_ppo.py and peer_llama.py speak the same lines.

local optimizer = require("perilune.learn.optimizer")
local core = require("perilune.core")
local generate = require("perilune.model.generate")
local json = require("perilune.base.json")
local loss = require("perilune.learn.loss")
local model_of = require("perilune.model")
local ppo_iteration = require("perilune.bench.ppo_iteration")
local profile = require("perilune.base.profile")
local workloads = require("perilune.bench.workloads")
local system = core.system

local what, name, size, length, prompt = ...
size, length = math.tointeger(size), math.tointeger(length)
local options = {}
for _, word in ipairs { select(6, ...) } do
  local key, value = word:match("^([%w_]+)=(.*)$")
  options[key or word] = math.tointeger(value) or value or true
end
local shape = name == "llama" and workloads.llama(options) or workloads.models[name]

-- The case's model: of a shape, or of a file as that has it.
local function model(opts)
  if not shape then
    opts = opts or { dtype = "kept" }
    opts.precision = options.precision
    return assert(model_of.load(name, opts))
  end
  return model_of.new(shape, { seed = 1, precision = options.precision })
end

local function random_sequences(vocab, n, purpose)
  local sequences = {}
  for i = 1, size do
    local tokens = {}
    for t = 1, n do
      tokens[t] = math.floor(core.random_uniform(1, purpose, i * 100000 + t) * vocab)
    end
    sequences[i] = tokens
  end
  return sequences
end

--- A step that returns the number of its tokens, as one that returns a sample.
local function timed(step)
  return function()
    local began, cpu = system.monotonic(), os.clock()
    local tokens = step()
    return { seconds = system.monotonic() - began, cpu = os.clock() - cpu, tokens = tokens }
  end
end

local work = {}

-- A sequence of length + 1 has `length` trained tokens; the peer's batch is counted the same way.
local function training(trained)
  local sequences = random_sequences(trained.config.vocab_size, length + 1, 1)
  local adamw = optimizer.adamw(trained.block, { moments = options.moments })
  return timed(function()
    local scope <close> = core.scope("bench.step")
    trained.block:zero_grad()
    loss.accumulate(trained, sequences)
    adamw:step { lr = 1e-4, max_grad_norm = 1 }
    return size * length
  end)
end

function work.train() return training(model()) end

function work.lora()
  return training(model { dtype = "kept", peft = { r = 16, alpha = 32, targets = "all-linear" } })
end

-- `samples=K`: K answers to each prompt, `size` in all.
function work.generate()
  local policy, samples = model(), options.samples or 1
  local prompts = random_sequences(policy.config.vocab_size, math.tointeger(prompt), 2)
  prompts = table.move(prompts, 1, size // samples, 1, {})
  return timed(function()
    local given = { max_tokens = length, slots = size, seed = 1, samples = samples }
    generate.generate(policy, prompts, given)
    return size * length
  end)
end

-- Greedy answers of `size` prompts at once; their tokens, in the time of prompts and answers.
function work.serve()
  local policy = model()
  local prompts = random_sequences(policy.config.vocab_size, math.tointeger(prompt), 2)
  return timed(function()
    generate.generate(policy, prompts, { max_tokens = length, slots = size, temperature = 0 })
    return size * length
  end)
end

-- The tokens of a prompt, in the time until the first of the answer.
function work.prefill()
  local serve = work.serve()
  return function()
    local sample = serve()
    sample.tokens = size * math.tointeger(prompt)
    return sample
  end
end

-- Cross-entropy of `size` rows with a head, forward and backward.
function work.head()
  local vocab, width = length, math.tointeger(prompt)
  local hidden = core.randn({ size, width }, { seed = 1 }):keep(true):requires_grad(true)
  local head = core.randn({ vocab, width }, { seed = 2, b = 0.02 }):keep(true):requires_grad(true)
  local rows, targets = {}, {}
  for i = 1, size do
    rows[i], targets[i] = i - 1, (i * 7919) % vocab
  end
  rows, targets = core.tensor(rows, "int32"):keep(true), core.tensor(targets, "int32"):keep(true)
  return timed(function()
    local scope <close> = core.scope("bench.head")
    hidden:zero_grad()
    head:zero_grad()
    local given = { scale = 1 / size, precision = options.precision }
    core.cross_entropy(hidden, head, rows, targets, nil, given):backward()
    return size
  end)
end

function work.ppo()
  ppo_iteration.check(size)
  local roles = ppo_iteration.roles(shape, { seed = 1, precision = options.precision })
  local questions = random_sequences(shape.vocab_size, math.tointeger(prompt), 3)
  local iteration = 0
  return timed(function()
    iteration = iteration + 1
    ppo_iteration.run(roles, questions, length, iteration)
    return size * length
  end)
end

function work.decode()
  local policy, ids = model(), {}
  for id in prompt:gmatch("%d+") do
    ids[#ids + 1] = math.tointeger(id)
  end
  return function()
    local first
    local began = system.monotonic()
    local answers = generate.generate(policy, { ids }, {
      max_tokens = length,
      temperature = 0,
      slots = 1,
      ends = function()
        first = first or system.monotonic()
        return false
      end,
    })
    if answers.tokens:size(1) < length then
      error(("%s ends after %d tokens of context"):format(name, policy:context()), 0)
    end
    return {
      seconds = system.monotonic() - first,
      tokens = length - 1,
      prompt_seconds = first - began,
      prompt_tokens = #ids,
    }
  end
end

local step = work[what]()
local base = system.meminfo().rss

local answer = {}

function answer.sample()
  collectgarbage()
  return step()
end

function answer.witness() return { gflops = 1e-9 * core.profile.fma_rate(0.02) } end

function answer.profile(path)
  collectgarbage()
  profile.begin { events = path and 200000 or 0 }
  step()
  local report = profile.finish()
  local result = { flops = 0.0, bytes = 0.0, least = 0.0, text = tostring(report), gaps = {} }
  result.seconds, result.ops, result.products = report.seconds, {}, report:products()
  for _, row in ipairs(report.rows) do
    result.ops[row.name] = (result.ops[row.name] or 0.0) + row.seconds
    result.flops = result.flops + row.flops
    result.bytes = result.bytes + row.bytes
    result.least = result.least + row.least
  end
  for i, gap in ipairs(report:gaps()) do
    if i <= 3 then result.gaps[i] = gap.text end
  end
  if path then assert(report:write_trace(path)) end
  return result
end

function answer.peak() return { bytes = system.meminfo().peak_rss, base = base } end

local function say(message)
  io.stdout:write(json.encode(message), "\n")
  io.stdout:flush()
end

step()
say { ready = true, threads = core.threads(), isa = core.isa(), version = _VERSION }
for line in io.lines() do
  local word, rest = line:match("^(%S+)%s*(.*)$")
  say(answer[word](rest ~= "" and rest or nil))
end
