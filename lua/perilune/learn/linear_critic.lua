--- Values of what was said so far, without a value model: least squares on what the reward model
-- makes of it.
--
-- A reward model reads every answer, and its hidden state h_t where token t is yet to come knows
-- how the answer stands. A line through that tells what will come of it,
--
--     V_t = w·x_t,  x_t = (h_t, p h_t, p² h_t, e, p e, 1, p, p²)                          (1)
--     w = argmin Σ_s f^(S-s) Σ_t (w·x_t - G_t)² + D/N Σ_d a_d w_d²,  G_t = Σ_{l ≥ t} r_l  (2)
--
-- with p the part of the longest answer that is done, e what the other answers to the prompt
-- earned on average, and (2) over all batches s = 1..S so far, the older ones forgotten by f:
-- recursive least squares (Plackett 1950), solved by conjugate gradients. p stands beside h since
-- what a state tells of the end counts more the nearer the end is. Of D features and N tokens
-- (older ones count less) each weight is held back by D/N of its feature's own sum of squares a_d,
-- so that a few tokens teach many weights little.
--
-- Values of a batch come from the batches before it. So they are a baseline, as the mean of the
-- other answers is one: with λ = 1 of `rollout.gae` the expected gradient is the same with and
-- without it. The cost is the last block of the reward model at every token, which a value model
-- would add to a forward, a backward and a step of its own.

local core = require("perilune.core")
local files = require("perilune.base.files")
local loss = require("perilune.learn.loss")
local rollout = require("perilune.learn.rollout")
local stats = require("perilune.base.stats")

local linear_critic = {}

local FORGET <const> = 0.95 -- f: a batch counts half after 14 more
local TOLERANCE <const> = 1e-4 -- of conjugate gradients: the residual beside that of w = 0
local MOST_STEPS <const> = 500 -- of conjugate gradients, when that is not reached
local FILE <const> = "/critic.safetensors"

--- Values by least squares.
-- @class LinearCritic
-- @field Model model whose hidden states are read, constant
-- @field integer longest answer there may be, tokens
-- @field ?Tensor weights float64 [D, 1]; nil: nothing was learnt yet
local Critic = {}
Critic.__index = Critic
Critic.__name = "linear critic"

--- A critic that has learnt nothing: it expects what it is given as expected. The judge will keep
-- what its reward model makes of the rollouts that it scores.
-- @tparam Judge judge with a reward model; of several the first is read
-- @tparam integer longest answer there may be, tokens
-- @treturn LinearCritic
function linear_critic.new(judge, longest)
  judge:keep_states()
  return setmetatable({ model = judge.model, longest = longest }, Critic)
end

-- p of each token: [N, 1].
local function parts_done(roll, longest)
  local done = {}
  for _, length in ipairs(roll.lengths) do
    for t = 1, length do
      done[#done + 1] = (t - 1) / longest
    end
  end
  return core.tensor(done):reshape(-1, 1)
end

--- What values are a line through, the x of (1), without a tape.
-- @tparam Rollout roll of N tokens
-- @tparam {number,...} expected of each answer, what it earns as far as is known without it
-- @treturn Tensor [N, D], D = 3 C + 5 of hidden states of C channels
function Critic:features(roll, expected)
  local guard <close> = core.no_grad()
  local h = roll.states or loss.sequence_hidden(self.model, roll.parts)
  local p = parts_done(roll, self.longest)
  local e = core.segment_repeat(core.tensor(expected), roll.answers.offsets):reshape(-1, 1)
  local squares, ones = p * p, p * 0 + 1
  return core.concat({ h, h * p, h * squares, e, e * p, ones, p, squares }, { axis = 2 })
end

--- What is still to come at each token, the V of (1).
-- @tparam Tensor features [N, D] of `LinearCritic:features`
-- @treturn Tensor [N]; before anything was learnt `expected`, at every token
function Critic:values(features)
  local guard <close> = core.no_grad()
  local weights = self.weights and self.weights:cast { dtype = "float32" }
  if weights then return core.matmul(features, weights):reshape(-1) end
  local width = features:shape()[2]
  return core.slice(features, { axis = 2, start = width - 4, stop = width - 4 }):reshape(-1)
end

-- w of (A + D/N diag A) w = b from a first guess; with each feature scaled to a diagonal of 1.
local function solved(squares, products, guess)
  local n = #products
  local diagonal = core.pick(squares, core.arange(n, "int32"))
  local tokens = diagonal[n - 2] -- Σ 1² of the feature 1
  local scale = core.maximum(diagonal, core.full({ n }, 1e-12, "float64")):sqrt():reshape(-1, 1)
  local ridge = n / tokens
  local function times(x) return core.matmul(squares, x / scale) / scale + x * ridge end
  local b = products / scale
  local x = guess and guess * scale or b * 0
  local residual = b - times(x)
  local direction, size = residual, residual:square():sum():item()
  local least = TOLERANCE ^ 2 * b:square():sum():item()
  for _ = 1, MOST_STEPS do -- Hestenes and Stiefel (1952)
    if size <= least then break end
    local onward = times(direction)
    local step = size / (direction * onward):sum():item()
    x, residual = x + direction * step, residual - onward * step
    local next_size = residual:square():sum():item()
    direction = residual + direction * (next_size / size)
    size = next_size
  end
  return x / scale
end

--- Learns (2) from one batch more. One whose returns are not all finite teaches nothing.
-- @tparam Tensor features [N, D] of `LinearCritic:features`
-- @tparam Tensor returns [N], G
function Critic:learn(features, returns)
  local total = returns:sum():item()
  if total - total ~= 0 then return end
  local scope <close> = core.scope("linear_critic.learn")
  local guard <close> = core.no_grad()
  local squares = core.matmul(features, features, { transpose_a = true }):cast { dtype = "float64" }
  local products = core.matmul(features, returns:reshape(-1, 1), { transpose_a = true })
  products = products:cast { dtype = "float64" }
  if self.squares then
    squares, products = squares + self.squares * FORGET, products + self.products * FORGET
  end
  self.weights = solved(squares, products, self.weights):keep(true)
  self.squares, self.products = squares:keep(true), products:keep(true)
end

--- Advantages of each token by `rollout.gae` of values that are then learnt from the batch too.
-- @tparam Rollout roll of N tokens
-- @tparam {number,...} expected as of `LinearCritic:features`
-- @tparam Tensor rewards [N]
-- @tparam number lam λ, 0 to 1; below 1 advantages have less noise and the critic's errors
-- @treturn Tensor [N]
-- @treturn ?number the part of the variance of returns that the values explain, as of
--   `stats.explained_variance`
function Critic:advantages(roll, expected, rewards, lam)
  local features = self:features(roll, expected)
  local values = self:values(features)
  local returns = core.reverse_scan(rewards, roll.answers.offsets, { decay = 1 })
  self:learn(features, returns)
  local advantages = rollout.gae(rewards, values, roll, 1, lam)
  return advantages, stats.explained_variance(returns:totable(), values:totable())
end

local function tensors(self)
  return { squares = self.squares, products = self.products, weights = self.weights }
end

--- XXH3-128 over what was learnt.
-- @treturn string 32 hexadecimal digits
function Critic:hash()
  local hash = files.hash_tensors(tensors(self))
  return hash
end

--- Writes what was learnt into a folder.
-- @tparam string dir an existing one
-- @treturn ?boolean true; nil and a message when it cannot be written
-- @treturn ?string the message
function Critic:write(dir) return files.safetensors.save(dir .. FILE, tensors(self)) end

--- Reads it back.
-- @tparam string dir folder of `LinearCritic:write`
-- @treturn ?boolean true; nil and a message when it cannot be read
-- @treturn ?string the message
function Critic:read(dir)
  local read, message = files.safetensors.load(dir .. FILE)
  if not read then return nil, message end
  for name, tensor in pairs(read) do
    self[name] = tensor:keep(true)
  end
  return true
end

return linear_critic
