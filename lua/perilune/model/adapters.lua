--- Adapters: small trained matrices beside frozen ones.
--
-- LoRA (Hu et al., arXiv:2106.09685), of a projection W [N, K] with bias b, A [r, K] and B [N, r]:
--     y = x W^T + b + scale (drop(x) A^T) B^T,       W' = W + scale B A
-- DoRA (Liu et al., arXiv:2402.09353), with a length m_n for each row, the norm taken as a
-- constant:
--     W'_n = m_n (W + scale B A)_n / |(W + scale B A)_n|
-- A begins uniform in ±1/sqrt(K), B at 0, m at |W_n|: so a new adapter changes no bit of y.
--
-- Parameters are called as peft calls them: <module>.lora_A.weight, .lora_B.weight,
-- .lora_magnitude_vector. They are the model's block; W is never written.

local core = require("perilune.core")
local random = require("perilune.base.random")

local adapters = {}

--- The adapter of one projection.
-- @class Adapter
-- @field string name of the module
-- @field Tensor a [r, K]
-- @field Tensor b [N, r]
-- @field Tensor scale [], a tensor so that a recorded step can hold it
-- @field number dropout on x, in training
-- @field ?Tensor magnitude [N], of DoRA
local Adapter = {}
Adapter.__index = Adapter
Adapter.__name = "adapter"

local function a_name(module) return module .. ".lora_A.weight" end
local function b_name(module) return module .. ".lora_B.weight" end
local function m_name(module) return module .. ".lora_magnitude_vector" end

--- The parameters of adapters, in their order.
-- @tparam {table,...} chosen {name, r, scale} of each module
-- @tparam {[string]={integer,integer}} shapes of the modules' weights
-- @tparam boolean use_dora
-- @treturn table list of {name, shape}
function adapters.entries(chosen, shapes, use_dora)
  local list = {}
  for _, one in ipairs(chosen) do
    local rows, columns = table.unpack(shapes[one.name])
    list[#list + 1] = { a_name(one.name), { one.r, columns } }
    list[#list + 1] = { b_name(one.name), { rows, one.r } }
    if use_dora then list[#list + 1] = { m_name(one.name), { rows } } end
  end
  return list
end

-- Sums of squares of the rows of W, [N].
local function row_squares(weight, dtype)
  return core.cast(weight:detach(), { dtype = dtype }):square():sum { axis = 2 }
end

--- Adapters over the tensors of a block.
-- @tparam {table,...} chosen {name, r, scale} of each module
-- @tparam table settings `dropout`, `use_dora`
-- @tparam {[string]=Tensor} weights of the model below
-- @tparam ParameterBlock block
-- @tparam string dtype of the block
-- @treturn {[string]=Adapter} by module
function adapters.make(chosen, settings, weights, block, dtype)
  local tensors, made = block:tensors(), {}
  local guard <close> = core.no_grad()
  local scope <close> = core.scope("adapters.make")
  for _, one in ipairs(chosen) do
    local self = setmetatable({
      name = one.name,
      a = tensors[a_name(one.name)],
      b = tensors[b_name(one.name)],
      scale = core.full({}, one.scale, dtype):keep(true),
      dropout = settings.dropout,
      weight = weights[one.name .. ".weight"],
    }, Adapter)
    if settings.use_dora then
      self.magnitude = tensors[m_name(one.name)]
      self.squares = row_squares(self.weight, dtype):keep(true)
      self.norm = self.squares:sqrt():keep(true)
    end
    made[one.name] = self
  end
  return made
end

--- Draws what an adapter begins with. A stream for each parameter, so that another module does not
-- shift the values of this one.
-- @tparam integer seed
function Adapter:begin(seed)
  local columns = self.a:size(2)
  local bound = 1 / math.sqrt(columns)
  self.a:copy_(core.uniform(self.a:shape(), {
    a = -bound,
    b = bound,
    seed = seed,
    purpose = random.purpose("model.init", a_name(self.name)),
    dtype = self.a:dtype(),
  }))
  self.b:fill_(0)
  if self.magnitude then self.magnitude:copy_(self.squares:sqrt()) end
end

--- Brings the rows' norms |(W + scale B A)_n| of DoRA up to date with A and B:
--     |W_n|^2 + 2 scale B_n (W A^T)_n + scale^2 B_n (A A^T) B_n^T
-- so that nothing as large as W is made.
function Adapter:settle()
  if not self.magnitude then return end
  local guard <close> = core.no_grad()
  local scope <close> = core.scope("adapter.settle")
  local a, b = self.a:detach(), self.b:detach() * self.scale
  local cross = (b * core.linear(a, self.weight):transpose()):sum { axis = 2 }
  local product = (core.linear(b, core.linear(a, a)) * b):sum { axis = 2 }
  local squares = self.squares + cross * 2 + product
  self.norm:copy_(squares:clamp({ min = 1e-30 }):sqrt())
end

--- Number of its parameters.
-- @treturn integer
function Adapter:count()
  return self.a:count() + self.b:count() + (self.magnitude and self.magnitude:count() or 0)
end

-- What stands for x in A's product.
local function dropped(self, x, stream)
  return core.dropout(x, {
    p = self.dropout,
    seed = stream.seed,
    index = random.purpose("adapter.dropout", stream.index, self.name),
  })
end

--- x W'^T + b.
-- @tparam table record `weight`, `bias` and `product` of the projection
-- @tparam Tensor x [T, K]
-- @tparam ?table opts of the forward pass; with `dropout` {seed =, index =} x is dropped
-- @treturn Tensor [T, N]
function Adapter:project(record, x, opts)
  local stream = self.dropout > 0 and opts and opts.dropout
  local kept = stream and dropped(self, x, stream) or x
  local product = record.product
  local delta =
    core.linear(core.linear(kept, self.a, nil, product) * self.scale, self.b, nil, product)
  if not self.magnitude then return core.linear(x, record.weight, record.bias, product) + delta end
  local factor = self.magnitude / self.norm
  local y = core.linear(x, record.weight, nil, product)
  if stream then -- as peft has it: what the base gives of x itself stays
    y = y + core.linear(kept, record.weight, nil, product) * (factor - 1) + delta * factor
  else
    y = (y + delta) * factor
  end
  return record.bias and y + record.bias or y
end

--- W', in the dtype of the adapter.
-- @treturn Tensor [N, K]
function Adapter:merged()
  self:settle()
  local guard <close> = core.no_grad()
  local weight = core.cast(self.weight:detach(), { dtype = self.a:dtype() })
  weight = weight + core.matmul(self.b, self.a) * self.scale
  if not self.magnitude then return weight end
  return weight * (self.magnitude / self.norm):reshape(-1, 1)
end

return adapters
