--- Generation from models: the decode step is recorded once for a model and replayed from C.

local core = require("perilune.core")
local format = require("perilune.base.format")
local origin = require("perilune.model.origin")
local options = require("perilune.base.options")

local generate = {}

local BLOCK <const> = 64 -- positions of a block: the attention's key tile
local FEW <const> = 16 -- answers beside which tokens are guessed ahead at most
local MIB <const> = 1 << 20

local function longest(prompts)
  local n = 0
  for _, prompt in ipairs(prompts) do
    n = math.max(n, #prompt)
  end
  return n
end

--- The model's recorded step, with the smallest of caches; the engine makes them larger.
local function generator_of(model)
  model:settle()
  if model.generator then return model.generator end
  local scope <close> = core.scope("generate.record")
  local caches, bytes = model:caches(2, BLOCK), 0
  for _, cache in ipairs(caches) do
    bytes = bytes + cache:memory() // 2
    cache:keep(true)
  end
  local made = core.generator(function(batch) return model:step(batch, caches) end, caches)
  model.generator = { generator = made, block_bytes = bytes }
  return model.generator
end

-- Bytes that caches may take: three quarters of what is left up to the limit of pl.mem_limit and of
-- the machine's free memory. The rest is for what a step makes.
local function room_for_caches()
  local mem, machine = core.mem(), core.system.meminfo().available
  local left = machine and machine + mem.cached or math.maxinteger
  if mem.limit > 0 then left = math.min(left, mem.limit - mem.live) end
  return left * 3 // 4
end

-- Answers at a time and blocks of the cache, as the memory allows; at least what one answer of
-- `len` tokens wants. An answer waits rather than that memory runs out.
local function admitted(model, made, opts, len)
  local logits = 2 * 4 * model.config.vocab_size -- logits, and as they are under a bound
  local one, room = (len + BLOCK - 1) // BLOCK, room_for_caches()
  local slots = math.max(1, math.min(opts.slots, room // 2 // logits))
  if opts.cache_memory > 0 then
    local given, wanted = math.floor(opts.cache_memory * MIB), one * made.block_bytes
    if given < wanted then
      local text = "generate: cache_memory of %s holds no answer of %d tokens with its prompt, "
        .. "which takes %s: give it more, or take shorter answers"
      error(text:format(format.bytes(given), len, format.bytes(wanted)), 0)
    end
    room = math.min(room, given)
  else
    room = room - (slots + math.min(slots, FEW) * opts.prompt_lookup_num_tokens) * logits
  end
  return slots, math.max(one, room // made.block_bytes)
end

--- Answers in the order of prompts and samples, laid end to end in tensors. `#answers` is B, and
-- `answers[i]` one answer as lists: `tokens`, `logprobs`, `sampling_logprobs`, `entropies`,
-- `finish_reason`, `prompt`, `sample`.
-- @class Answers
-- @field Tensor tokens int32 [N], of all answers
-- @field Tensor logprobs [N], nats: ln p of each token by the model at this temperature (at 0: at
--   temperature 1)
-- @field Tensor sampling_logprobs [N], nats: ln p of each token by what was drawn from, after
--   top-k, top-p, min-p
-- @field Tensor entropies [N], nats: of the model's distribution at this temperature
-- @field Tensor offsets int32 [B+1], where each answer begins
-- @field {string,...} finish_reasons "stop" (an id of `stop`), "stop_string" (`stop_strings` or
--   `ends`) or "length", B of them
-- @field integer samples of each prompt: B is prompts times these
-- @field integer steps of decoding: how often the recorded step was run
-- @field integer prefill_tokens tokens of the prompts that were run: what texts begin with in
--   common is run once
-- @field integer pauses how often an answer gave its memory to older ones and waited
-- @field integer drafted tokens that were guessed ahead (`prompt_lookup_num_tokens`)
-- @field integer accepted of these, those that were drawn
local Answers = {}

function Answers:__len() return #self.finish_reasons end

function Answers:__tostring()
  local reasons, texts = {}, {}
  for _, reason in ipairs(self.finish_reasons) do
    reasons[reason] = (reasons[reason] or 0) + 1
  end
  for _, reason in ipairs { "stop", "stop_string", "length" } do
    if reasons[reason] then texts[#texts + 1] = reasons[reason] .. " by " .. reason end
  end
  local ended = #texts > 0 and "; ended " .. table.concat(texts, ", ") or ""
  return ("%d answers, %d tokens%s"):format(#self, self.tokens:size(1), ended)
end

local PARTS <const> = { "tokens", "logprobs", "sampling_logprobs", "entropies" }
local COUNTS <const> = { "steps", "prefill_tokens", "pauses", "drafted", "accepted" }

-- The lists behind answers[i], made when they are first asked for.
local function lists_of(self)
  local lists = rawget(self, "lists")
  if not lists then
    lists = { offsets = self.offsets:totable() }
    for _, name in ipairs(PARTS) do
      lists[name] = self[name]:totable()
    end
    rawset(self, "lists", lists)
  end
  return lists
end

function Answers:__index(i)
  local reason = math.type(i) == "integer" and self.finish_reasons[i]
  if not reason then return nil end
  local lists, samples = lists_of(self), self.samples
  local function part(flat)
    return table.move(flat, lists.offsets[i] + 1, lists.offsets[i + 1], 1, {})
  end
  local answer = {
    tokens = part(lists.tokens),
    logprobs = part(lists.logprobs),
    sampling_logprobs = part(lists.sampling_logprobs),
    entropies = part(lists.entropies),
    finish_reason = reason,
    prompt = (i - 1) // samples + 1,
    sample = (i - 1) % samples + 1,
  }
  rawset(self, i, answer)
  return answer
end

--- Some answers of several calls, one after another as of one call.
-- @tparam {{answers=Answers,prompts={integer,...}},...} pieces of each call the prompts whose
--   answers are taken, from 1; all have as many `samples`, and there is at least one
-- @treturn Answers in tensors of the caller's scope
function generate.join(pieces)
  local joined, offsets = { finish_reasons = {} }, { 0 }
  for _, name in ipairs(COUNTS) do
    joined[name] = 0
  end
  local taken = {}
  for _, piece in ipairs(pieces) do
    local answers, indices = piece.answers, {}
    joined.samples = joined.samples or answers.samples
    for _, name in ipairs(COUNTS) do
      joined[name] = joined[name] + answers[name]
    end
    local places = answers.offsets:totable()
    for _, prompt in ipairs(piece.prompts) do
      for i = (prompt - 1) * answers.samples + 1, prompt * answers.samples do
        indices[#indices + 1] = i
        offsets[#offsets + 1] = offsets[#offsets] + places[i + 1] - places[i]
        joined.finish_reasons[#joined.finish_reasons + 1] = answers.finish_reasons[i]
      end
    end
    for _, name in ipairs(#indices > 0 and PARTS or {}) do
      local part = core.ragged.take(answers[name], answers.offsets, indices)
      taken[name] = taken[name] and core.concat(taken[name], part) or part
    end
  end
  for name, part in pairs(taken) do
    joined[name] = part
  end
  joined.offsets = core.tensor(offsets, "int32")
  return setmetatable(joined, Answers)
end

--- How answers are drawn. What each option is when it is left out stands in brackets.
-- @class GenerateOptions
-- @field ?integer max_tokens (64) new tokens of an answer at most, at least 1
-- @field ?integer samples (1) answers to each prompt, at least 1; they share its prefill
-- @field ?number temperature (1) the logits are divided by it, 0 or more; 0: always the most likely
--   token
-- @field ?integer top_k (0: off) only so many most likely tokens may be drawn
-- @field ?number top_p (1: off) only the most likely tokens may be drawn that together have this
--   probability, over 0 and up to 1 (Holtzman et al. 2020)
-- @field ?number min_p (0: off) only tokens may be drawn that have this part of the most likely
--   one's probability, 0 to 1
-- @field ?integer seed (0) of the random stream: the same seed, stream, keys and weights give the
--   same answers, whatever is generated beside them
-- @field ?string stream ("") what the answers are for: a part of the random stream's name
-- @field ?{integer,...} keys (0, 1, ...) one for each prompt: what the random stream knows it by
-- @field ?{integer,...} stop (none) token ids that end an answer and belong to it, as
--   `pl.data.stop_ids` gives them
-- @field ?{string,...} stop_strings (none) texts that end an answer whose text holds one; wants
--   `tokenizer`, and goes not with `ends`
-- @field ?Tokenizer tokenizer (none) for `stop_strings`
-- @field ?function ends (none) asked after each token with the list of the answer's token ids so
--   far; true ends the answer
-- @field ?integer slots (64) answers that grow at the same time at most, at least 1: memory of the
--   cache against speed; fewer where memory does not hold so many
-- @field ?number cache_memory (0: what is free) MiB that keys and values may take at most, enough
--   for one answer of the greatest length. They take what the answers' lengths want; where that is
--   more, the youngest answers wait and go on later. The answers are the same
-- @field ?integer prompt_lookup_num_tokens (0: off) tokens at most that are guessed ahead of an
--   answer, while 16 or fewer grow: what followed where its last two to four tokens stood in prompt
--   and answer before (Saxena 2023). One pass of the model checks them, so an answer that repeats
--   its prompt or itself grows by several tokens a pass. The answers are the same
-- @field ?boolean reuse (false) for one answer to one prompt whose beginning the last such call may
--   have left in the cache: it is not run again; the weights must be the same as then
local known = {
  max_tokens = options.integer(64),
  samples = options.integer(1, 1),
  temperature = 1.0,
  top_k = options.integer(0, 0),
  top_p = 1.0,
  min_p = 0.0,
  seed = options.integer(0),
  stream = "",
  stop = options.any(),
  stop_strings = options.of_type("table"),
  tokenizer = options.any(),
  slots = options.integer(64, 1),
  cache_memory = 0.0,
  prompt_lookup_num_tokens = options.integer(0, 0),
  ends = options.of_type("function"),
  reuse = false,
  keys = options.any(),
}

--- Answers to prompts. Raises when a prompt is empty, holds an id that the vocabulary does not
-- have, or leaves no room for an answer in the model's context.
-- @tparam Model model
-- @tparam {{integer,...},...} prompts token ids of each
-- @tparam ?GenerateOptions opts
-- @treturn Answers in tensors of the caller's scope
function generate.generate(model, prompts, opts)
  opts = options.take("generate", opts, known)
  local max_tokens = opts.max_tokens
  local context = model:context()
  local len = longest(prompts) + max_tokens
  local made = generator_of(model)
  local slots, blocks = admitted(model, made, opts, context and math.min(len, context) or len)
  local sampling = {
    max_tokens = max_tokens,
    samples = opts.samples,
    temperature = opts.temperature,
    top_k = opts.top_k,
    top_p = opts.top_p,
    min_p = opts.min_p,
    seed = opts.seed,
    stream = opts.stream,
    stop = not origin.trial and opts.stop or nil, -- a trial wants the longest answers
    keys = opts.keys,
    ends = opts.ends,
    reuse = opts.reuse,
    context = context,
    slots = slots,
    cache_blocks = blocks,
    prompt_lookup = opts.prompt_lookup_num_tokens,
  }
  if opts.stop_strings and opts.ends then
    error("generate: give `stop_strings` or `ends`, not both", 2)
  elseif opts.stop_strings then
    local tokenizer = assert(opts.tokenizer, "stop_strings wants the tokenizer")
    local reach = 4 -- tokens a stop may lie in: one a byte, and an unfinished character before
    for _, stop in ipairs(opts.stop_strings) do
      reach = math.max(reach, #stop + 4)
    end
    sampling.ends = function(tokens)
      local last = table.move(tokens, math.max(1, #tokens - reach), #tokens, 1, {})
      local text = tokenizer:decode(last)
      for _, stop in ipairs(opts.stop_strings) do
        if text:find(stop, 1, true) then return true end
      end
      return false
    end
  end
  local scope <close> = core.scope("generate")
  local answers = made.generator:generate(prompts, sampling)
  answers.offsets:keep()
  for _, name in ipairs(PARTS) do
    answers[name]:keep()
  end
  return setmetatable(answers, Answers)
end

return generate
