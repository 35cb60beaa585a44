--- One case of `perilune bench`, in a process of its own so that its peak memory is its own.
--
--     perilune worker.lua train l260k 32 256 0
--     perilune worker.lua generate l260k 64 128 16
--     perilune worker.lua decode MODEL.gguf 1 128 1,504,3575
--
-- Says {"ready": true, ...} when the model is made and warm, then answers each line it reads:
--
--     sample    {"seconds", "cpu", "tokens"} of one step (forward, backward, AdamW), or of one call
--               that generates; cpu is the time of all threads. Of decode: {"seconds", "tokens"} of
--               the greedy tokens after the first, {"prompt_seconds", "prompt_tokens"} until it
--     witness   {"gflops"} of matrix products 512 x 512 x 512: the state the machine is in
--     peak      {"bytes"} of resident memory at its highest
--
-- tests/bench/peer_torch.py and peer_llama.py speak the same lines.

local adamw = require("perilune.learn.adamw")
local core = require("perilune.core")
local generate = require("perilune.model.generate")
local json = require("perilune.base.json")
local loss = require("perilune.learn.loss")
local model_of = require("perilune.model")
local workloads = require("perilune.bench.workloads")
local system = core.system

local what, name, size, length, prompt = ...
size, length = math.tointeger(size), math.tointeger(length)
local shape = workloads.models[name]
local model = shape and model_of.new(shape, { seed = 1 })
  or assert(model_of.load(name, { dtype = "kept" }))
local vocab = model.config.vocab_size

local function random_sequences(n, purpose)
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
function work.train()
  local sequences = random_sequences(length + 1, 1)
  local optimizer = adamw.new(model.block)
  return timed(function()
    local scope <close> = core.scope("bench.step")
    model.block:zero_grad()
    loss.lm(model, sequences):backward()
    optimizer:step { lr = 1e-4 }
    return size * length
  end)
end

function work.generate()
  local prompts = random_sequences(math.tointeger(prompt), 2)
  return timed(function()
    generate.generate(model, prompts, { max_tokens = length, slots = size, seed = 1 })
    return size * length
  end)
end

function work.decode()
  local ids = {}
  for id in prompt:gmatch("%d+") do
    ids[#ids + 1] = math.tointeger(id)
  end
  return function()
    local first
    local began = system.monotonic()
    local answers = generate.generate(model, { ids }, {
      max_tokens = length,
      temperature = 0,
      slots = 1,
      ends = function()
        first = first or system.monotonic()
        return false
      end,
    })
    if answers.tokens:size(1) < length then
      error(("%s ends after %d tokens of context"):format(name, model:context()), 0)
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

local answer = {}

function answer.sample()
  collectgarbage()
  return step()
end

function answer.witness()
  local scope <close> = core.scope("bench.witness")
  local n, times = 512, 16
  local a, b = core.randn({ n, n }, { seed = 1 }), core.randn({ n, n }, { seed = 2 })
  core.matmul(a, b)
  local began = system.monotonic()
  for _ = 1, times do
    core.matmul(a, b)
  end
  return { gflops = 2e-9 * n ^ 3 * times / (system.monotonic() - began) }
end

function answer.peak() return { bytes = system.meminfo().peak_rss } end

local function say(message)
  io.stdout:write(json.encode(message), "\n")
  io.stdout:flush()
end

step()
say { ready = true, threads = core.threads(), isa = core.isa(), version = _VERSION }
for line in io.lines() do
  say(answer[line]())
end
