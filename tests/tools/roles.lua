--- What the four models of PPO take: `./perilune tests/tools/roles.lua MODEL [HOW] [DTYPE]`.
--
-- HOW is "shared" (adapters of rank 16 on one frozen base held in DTYPE) or "copies" (four models
-- of their own, policy and value trained whole). Eight answers of 48 tokens are sampled, scored by
-- the other three, and one step is taken on them. Printed: seconds, and the peak of the engine's
-- memory and of the process.

local pl = require("perilune")
local system = require("perilune.core").system

local path, how, dtype = arg[1], arg[2] or "shared", arg[3] or "float32"
if not path or not (how == "shared" or how == "copies") then
  io.stderr:write("usage: perilune tests/tools/roles.lua MODEL [shared|copies] [DTYPE]\n")
  os.exit(1)
end

local policy, reference
if how == "shared" then
  policy = assert(pl.load(path, { peft = { r = 16 }, dtype = dtype }))
  reference = assert(pl.load(path, policy:beside())):freeze()
else
  policy = assert(pl.load(path))
  reference = assert(pl.load(path)):freeze()
end
local reward = policy:copy({ scalar_head = true, seed = 3 }):freeze()
local value = reward:copy { seed = 4 }
local optimizers = { pl.adamw(policy.block), pl.adamw(value.block) }

local prompts = {}
for i = 1, 8 do
  local vocab = policy.config.vocab_size
  prompts[i] = {}
  for t = 1, 16 do
    prompts[i][t] = (i * 131 + t * 17) % vocab
  end
end

local function train(roll)
  policy.block:zero_grad()
  value.block:zero_grad()
  for _, part in ipairs(roll.parts) do
    local scope <close> = pl.scope("roles.part")
    local logprob = pl.loss.logprobs(policy, part.batch, part.at)
    local loss = logprob:sum() * (-1 / roll.count)
    loss:backward()
    local values = pl.gather(value:scores(part.batch), part.at.rows)
    values:square():sum():backward()
  end
  for _, optimizer in ipairs(optimizers) do
    optimizer:step { lr = 1e-5 }
  end
end

local began = system.monotonic()
do
  local scope <close> = pl.scope("roles")
  local answers = pl.generate(policy, prompts, { max_tokens = 48, slots = 8, seed = 1 })
  local roll = pl.rollout.new(prompts, answers)
  pl.loss.sequence_logprobs(reference, roll.parts)
  pl.loss.sequence_scores(reward, roll.parts)
  pl.loss.sequence_values(value, roll.parts)
  train(roll)
end
local function mb(bytes) return ("%.0f MB"):format(bytes / 1e6) end
print(
  ("%s %s: %.1f s; peak %s, of the process %s"):format(
    how,
    how == "shared" and dtype or "float32",
    system.monotonic() - began,
    mb(pl.mem().peak),
    mb(system.meminfo().peak_rss)
  )
)
