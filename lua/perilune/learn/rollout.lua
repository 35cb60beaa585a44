--- What PPO does to a batch of answers between sampling and learning.
--
-- Per-token quantities are tensors [N] over all answer tokens of the batch, in the order of the
-- answers; `segments` says where each answer's tokens begin, so nothing is padded or masked.

local core = require("perilune.core")
local batch = require("perilune.data.batch")
local generate = require("perilune.model.generate")
local json = require("perilune.base.json")
local loss = require("perilune.learn.loss")
local stats = require("perilune.base.stats")

local rollout = {}

--- Answers as training sequences.
-- @class Rollout
-- @field {{integer,...},...} questions token ids of the prompts
-- @field Answers answers to them, B in all
-- @field Ragged prompts one for each answer
-- @field {BatchPart,...} parts prompts with their answers, for `pl.loss`
-- @field Tensor old [N], nats: log-probs by the model that sampled
-- @field {integer,...} segments where each answer's tokens begin, from 0; B+1 of them
-- @field {integer,...} lengths tokens of each answer
-- @field {integer,...} sizes tokens of each prompt with its answer
-- @field integer count N, tokens of all answers
-- @field ?Tensor reference [N], nats: log-probs by the reference model, which a recipe puts there
-- @field ?Tensor states [N, C], hidden states of a reward model where tokens are predicted, of a
--   Judge that keeps them
-- @field ?{number,...} raw_scores of each answer, which a recipe puts there
-- @field ?{number,...} scores of each answer after `rollout.shape_scores`

--- Answers as training sequences, packed once for all models that read them.
-- @tparam {{integer,...},...} questions token ids of the prompts
-- @tparam Answers answers of `pl.generate`, in tensors of the caller's scope
-- @tparam ?integer max_tokens of a part, tokens (default and at most: 512); one answer with its
--   prompt may be longer
-- @treturn Rollout in tensors of the caller's scope
function rollout.new(questions, answers, max_tokens)
  local prompts = batch.ragged(questions)
  if answers.samples > 1 then
    local asked = {}
    for i = 1, #answers do
      asked[i] = (i - 1) // answers.samples + 1
    end
    prompts.tokens, prompts.offsets = core.ragged.take(prompts.tokens, prompts.offsets, asked)
  end
  local roll = {
    questions = questions,
    answers = answers,
    prompts = prompts,
    parts = {},
    old = answers.logprobs,
    segments = answers.offsets:totable(),
    lengths = {},
    sizes = {},
    count = #answers.tokens,
  }
  local starts = prompts.offsets:totable()
  for b = 1, #answers do
    roll.lengths[b] = roll.segments[b + 1] - roll.segments[b]
    roll.sizes[b] = starts[b + 1] - starts[b] + roll.lengths[b]
  end
  for i, indices in ipairs(batch.split_scored(roll.sizes, max_tokens)) do
    local part = {}
    part.batch, part.at = batch.join(prompts, answers, indices)
    roll.parts[i] = part
  end
  return roll
end

--- Some groups of several rollouts as one, with their scores. Raises when there is none.
-- @tparam {{roll=Rollout,asked={Prompt,...},prompts={integer,...}},...} pieces of each rollout,
--   which has `scores` and `raw_scores`, the prompts whose answers are taken, from 1; `asked`: the
--   prompt of each of its answers
-- @tparam ?integer max_tokens of a part, tokens (default: 16384)
-- @treturn Rollout with `scores` and `raw_scores`, in tensors of the caller's scope
-- @treturn {Prompt,...} one for each answer
function rollout.join(pieces, max_tokens)
  if #pieces == 0 then error("rollout.join: there is no rollout to take answers of", 2) end
  local questions, asked, scores, raw_scores, answers = {}, {}, {}, {}, {}
  for p, piece in ipairs(pieces) do
    local roll = piece.roll
    local k = roll.answers.samples
    answers[p] = { answers = roll.answers, prompts = piece.prompts }
    for _, prompt in ipairs(piece.prompts) do
      questions[#questions + 1] = roll.questions[prompt]
      for i = (prompt - 1) * k + 1, prompt * k do
        asked[#asked + 1], scores[#scores + 1] = piece.asked[i], roll.scores[i]
        raw_scores[#raw_scores + 1] = roll.raw_scores[i]
      end
    end
  end
  local joined = rollout.new(questions, generate.join(answers), max_tokens)
  joined.scores, joined.raw_scores = scores, raw_scores
  return joined, asked
end

--- Some answers of a rollout as a batch of their own.
-- @tparam Rollout roll as of `rollout.new`
-- @tparam {integer,...} indices of answers, from 1
-- @tparam {[string]=Tensor} per_token [N] each, by name
-- @treturn Batch the answers behind their prompts
-- @treturn LossPlaces the tokens of the answers
-- @treturn {[string]=Tensor} by name, [n] each: of these answers' tokens
function rollout.take(roll, indices, per_token)
  local packed, at = batch.join(roll.prompts, roll.answers, indices)
  local taken = {}
  for name, flat in pairs(per_token) do
    taken[name] = core.ragged.take(flat, roll.answers.offsets, indices)
  end
  return packed, at, taken
end

--- Tokens of some answers of a rollout.
-- @tparam Rollout roll as of `rollout.new`
-- @tparam {integer,...} indices of answers, from 1
-- @treturn integer of all of them together
function rollout.tokens(roll, indices)
  local tokens = 0
  for _, b in ipairs(indices) do
    tokens = tokens + roll.lengths[b]
  end
  return tokens
end

--- Goes through some answers of a rollout in micro-batches, each in a scope of its own.
-- @tparam Rollout roll as of `rollout.new`
-- @tparam {integer,...} indices of answers, from 1
-- @tparam {[string]=Tensor} per_token [N] each, by name
-- @tparam integer max_tokens of a part, tokens; one answer with its prompt may be longer
-- @tparam function fn called with what `rollout.take` gives for each part
function rollout.each_part(roll, indices, per_token, max_tokens, fn)
  for _, places in ipairs(batch.split(batch.take(roll.sizes, indices), max_tokens)) do
    local scope <close> = core.scope("rollout.part")
    fn(rollout.take(roll, batch.take(indices, places), per_token))
  end
end

--- Scores after the rule for answers without an end token, and clipping.
-- @tparam {number,...} scores one for each answer
-- @tparam {string,...} finish_reasons of each: "stop" has an end token
-- @tparam table opts `rule` (required): "none", "subtract": score - penalty, or "replace":
--   -penalty; `penalty` (required, but for "none"); `clip` (required; 0: none): scores are kept
--   within -clip and clip
-- @treturn {number,...} a new list
function rollout.shape_scores(scores, finish_reasons, opts)
  local shaped = {}
  for i, score in ipairs(scores) do
    if finish_reasons[i] ~= "stop" and opts.rule ~= "none" then
      score = (opts.rule == "subtract" and score or 0) - opts.penalty
    end
    if opts.clip > 0 then score = math.max(-opts.clip, math.min(opts.clip, score)) end
    shaped[i] = score
  end
  return shaped
end

--- What answers of some lengths cost: a price for each token beyond a length, and DAPO's soft
-- punishment of overlong answers (Yu et al. 2025, arXiv:2503.14476, eq. 13), which grows from 0 to
-- 1 over the last tokens that an answer may have.
-- @tparam {integer,...} lengths of the answers, tokens
-- @tparam table opts `penalty` (0) a token beyond `free` (0) tokens; `buffer` (0: none) last tokens
--   of `longest` (required with a buffer)
-- @treturn {number,...} one for each answer, 0 or more
function rollout.length_penalties(lengths, opts)
  local list, buffer = {}, opts.buffer or 0
  for i, length in ipairs(lengths) do
    local cost = (opts.penalty or 0) * math.max(0, length - (opts.free or 0))
    if buffer > 0 then
      local into = length - (opts.longest - buffer)
      cost = cost + math.max(0, math.min(1, into / buffer))
    end
    list[i] = cost
  end
  return list
end

--- Scores by the mean and the deviation (over n) of all that were seen, these with them. One that
-- is not finite stays as it is and is not among what was seen: no step is made of such a batch, and
-- the next one is as if it had not been.
-- @tparam {number,...} scores one for each answer
-- @tparam ?{count=integer,mean=number,m2=number} seen what was seen before; nil: nothing. `m2` is
--   the sum of squared differences to the mean
-- @treturn {number,...} one for each answer; 0 while all that were seen are equal
-- @treturn {count=integer,mean=number,m2=number} what is seen now: a new table
function rollout.normalise(scores, seen)
  local count, mean, m2 = 0, 0, 0
  if seen then
    count, mean, m2 = seen.count, seen.mean, seen.m2
  end
  for _, score in ipairs(scores) do -- Welford (1962)
    if score - score == 0 then
      count = count + 1
      local apart = score - mean
      mean = mean + apart / count
      m2 = m2 + apart * (score - mean)
    end
  end
  local deviation, list = math.sqrt(m2 / math.max(1, count)), {}
  for i, score in ipairs(scores) do
    local is_finite = score - score == 0
    list[i] = not is_finite and score or deviation > 0 and (score - mean) / deviation or 0
  end
  return list, { count = count, mean = mean, m2 = m2 }
end

--- Variance 1 (biased, as in Ziegler et al.'s code), and mean 0 when `shift_mean`.
-- @tparam Tensor x [N]
-- @tparam boolean shift_mean true: the mean becomes 0; false: it stays
-- @treturn Tensor [N]
-- @treturn number the deviation it was divided by, more than 0
function rollout.whiten(x, shift_mean)
  local mean = x:mean()
  local centred = x - mean
  local deviation = (centred:square():mean() + 1e-8):sqrt()
  local scaled = centred / deviation
  return shift_mean and scaled or scaled + mean, deviation:item()
end

--- Rewards of each token: the given penalty, and the score at the last token of each answer.
-- @tparam Tensor penalty [N], for instance -β (ln π - ln π_ref)
-- @tparam {number,...} scores one for each answer, none of which is empty
-- @tparam {integer,...} segments of the rollout
-- @treturn Tensor [N]
function rollout.rewards(penalty, scores, segments)
  local at_end = core.zeros { #penalty }
  for b, score in ipairs(scores) do
    at_end:set(segments[b + 1], score)
  end
  return penalty + at_end
end

--- Generalized advantage estimation (Schulman et al., arXiv:1506.02438, eq. 16):
--     δ_t = r_t + γ V_(t+1) - V_t,   A_t = δ_t + γλ A_(t+1),   R_t = A_t + V_t
-- with V = 0 after the end of an answer.
-- @tparam Tensor rewards [N]
-- @tparam Tensor values [N]
-- @tparam Rollout roll for `segments` and `answers.offsets`
-- @tparam number gamma γ, the discount a token, 0 to 1
-- @tparam number lam λ, 0 to 1
-- @treturn Tensor [N], advantages
-- @treturn Tensor [N], returns
function rollout.gae(rewards, values, roll, gamma, lam)
  local n = #values
  local next_values = core.zeros { n }
  next_values:view({ n - 1 }):copy_(values:view({ n - 1 }, 1))
  for b = 2, #roll.segments do
    next_values:set(roll.segments[b], 0)
  end
  local delta = rewards + next_values * gamma - values
  local advantages = core.reverse_scan(delta, roll.answers.offsets, { decay = gamma * lam })
  return advantages, advantages + values
end

-- Correlation of score and answer length: within prompts where enough of them were asked more than
-- once, else over the batch. Few answers always correlate (two with ±1): they give none.
local function length_correlation(roll)
  local asked, n = {}, #roll.lengths
  for i = 1, n do
    local question = roll.questions[(i - 1) // roll.answers.samples + 1]
    asked[i] = table.concat(question, " ")
  end
  if n < 8 then return nil end
  local within, free = stats.correlation_within(roll.raw_scores, roll.lengths, asked)
  if free >= 8 then return within end
  return stats.correlation(roll.raw_scores, roll.lengths)
end

--- Figures of a rollout under TRL's names: KL and entropy are sums over tokens, means over answers.
-- @tparam Rollout roll with `reference`, `scores` and `raw_scores`
-- @tparam Tensor rewards [N]
-- @treturn {[string]=?number} by name: "objective/kl" and "objective/entropy" in nats an answer,
--   "objective/scores", "completions/mean_length" in tokens, "completions/clipped_ratio" (fraction
--   of answers without an end token) and so on
function rollout.metrics(roll, rewards)
  local n, ended, empty = #roll.answers, 0, 0
  for i, reason in ipairs(roll.answers.finish_reasons) do
    ended = ended + (reason == "stop" and 1 or 0)
    empty = empty + (reason == "stop" and roll.lengths[i] <= 1 and 1 or 0)
  end
  local function kl(kind)
    return core.kl_estimate(roll.old, roll.reference, { kind = kind }):sum():item() / n
  end
  local score, total = stats.mean(roll.scores), rewards:sum():item() / n
  return {
    ["objective/kl"] = kl("k1"),
    ["objective/kl_k2"] = kl("k2"),
    ["objective/kl_k3"] = kl("k3"),
    ["objective/entropy"] = roll.answers.entropies:sum():item() / n,
    ["objective/scores"] = score,
    ["objective/scores_std"] = n > 1 and stats.std(roll.scores) or nil,
    ["objective/raw_scores"] = stats.mean(roll.raw_scores),
    ["objective/non_score_reward"] = total - score,
    ["objective/rlhf_reward"] = total,
    ["val/num_eos_tokens"] = ended,
    ["completions/clipped_ratio"] = 1 - ended / n,
    ["completions/empty_ratio"] = empty / n,
    ["completions/mean_length"] = stats.mean(roll.lengths),
    ["health/length_corr"] = length_correlation(roll),
  }
end

-- Tokens of an example that have figures of their own: some 30 bytes each in samples.jsonl.
local SHOWN_TOKENS <const> = 256

-- The answer's first tokens as pieces of text, and their figures to three digits. A character of
-- several tokens stands with the last of them.
local function token_figures(example, roll, tok, b, lists)
  local ids, stream = roll.answers[b].tokens, tok:stream()
  local first, count = roll.segments[b], math.min(roll.lengths[b], SHOWN_TOKENS)
  example.tokens = json.array {}
  for t = 1, count do
    example.tokens[t] = stream:push(ids[t])
  end
  for name, flat in pairs(lists) do
    local figures = json.array {}
    for t = 1, count do
      figures[t] = tonumber(("%.3g"):format(flat[first + t])) or flat[first + t]
    end
    example[name] = figures
  end
end

--- The first answers of a rollout as texts, for people to read.
-- @tparam Rollout roll with `scores`
-- @tparam Tokenizer tok
-- @tparam integer most how many at most
-- @tparam ?{[string]=Tensor} per_token figures [N] of each token by name, such as `kl`; then an
--   example also has `tokens`, the pieces of its first 256 tokens, and their figures, to 3 digits
-- @treturn {{prompt=string,answer=string,score=number},...} and with `per_token` the figures of
--   each
function rollout.examples(roll, tok, most, per_token)
  local list, lists = {}, {}
  for name, flat in pairs(per_token or {}) do
    lists[name] = flat:totable()
  end
  for b = 1, math.min(most, #roll.answers) do
    list[b] = {
      prompt = tok:decode(roll.questions[(b - 1) // roll.answers.samples + 1]),
      answer = tok:decode(roll.answers[b].tokens),
      score = roll.scores[b],
    }
    if per_token then token_figures(list[b], roll, tok, b, lists) end
  end
  return list
end

--- What a policy's answers to held-out prompts are worth: always the same prompts and random
-- streams, so that measurements differ by the model alone.
-- @tparam Model policy
-- @tparam Model reference
-- @tparam Judge judge
-- @tparam {Prompt,...} prompts of `data.prompts`
-- @tparam table opts `count` (required) of the prompts; `samples` (1) answers to each; `gold`
--   (none): a Judge that is asked too; `micro_batch_tokens` (16384) a forward; `max_tokens` (64) of
--   an answer, `temperature` (1), `seed` (0), `stream` (""), `stop` (none) and `slots` (64),
--   `cache_memory` (0) as of `pl.generate`; `examples` (0): how many of the answers to give as
--   texts; `tokenizer` (none), which these want
-- @treturn {eval_score=number,eval_kl=number,eval_length=number} means over the answers:
--   `eval_score`; `eval_kl`, nats an answer, to the reference; `eval_length`, tokens
-- @treturn {{prompt=string,answer=string,score=number},...} examples, always of the same prompts,
--   with `kl` of each token, nats
-- @treturn {scores={number,...},golds=?{number,...},likelihoods={number,...}} of each answer,
--   prompt after prompt: what the judge and gold say, and the log-prob of the reference, nats
function rollout.measure(policy, reference, judge, prompts, opts)
  local scope <close> = core.scope("rollout.measure")
  local asked, questions, samples = {}, {}, opts.samples or 1
  for i = 1, math.min(opts.count, #prompts) do
    local prompt = prompts[i]
    questions[i] = prompt.tokens
    for _ = 1, samples do
      asked[#asked + 1] = prompt
    end
  end
  local answers = generate.generate(policy, questions, {
    max_tokens = opts.max_tokens,
    samples = samples,
    temperature = opts.temperature,
    seed = opts.seed,
    stream = opts.stream,
    stop = opts.stop,
    slots = opts.slots,
    cache_memory = opts.cache_memory,
  })
  local roll = rollout.new(questions, answers, opts.micro_batch_tokens)
  local scoring = { temperature = opts.temperature }
  local theirs = loss.sequence_logprobs(reference, roll.parts, scoring)
  local kl = roll.old - theirs
  roll.scores = judge:score(roll, asked)
  local figures = {
    eval_score = stats.mean(roll.scores),
    eval_kl = kl:sum():item() / #answers,
    eval_length = stats.mean(roll.lengths),
  }
  return figures,
    rollout.examples(roll, opts.tokenizer, opts.examples or 0, { kl = kl }),
    {
      scores = roll.scores,
      golds = opts.gold and opts.gold:score(roll, asked),
      likelihoods = core.segment_sum(theirs, answers.offsets):totable(),
    }
end

return rollout
