--- Small random models and ragged sequences for the tests of whole models, and how two results are
-- compared.
--
-- No width is a multiple of 16, so that every kernel takes its tail as well as its body.

local pl = require("perilune")

local toy = {}

toy.vocab = 37

--- Configs by the name they have in test titles.
toy.configs = {
  ["llama"] = {
    model_type = "llama",
    vocab_size = toy.vocab,
    hidden_size = 36,
    intermediate_size = 52,
    num_hidden_layers = 2,
    num_attention_heads = 6,
    num_key_value_heads = 2,
    max_position_embeddings = 96,
    tie_word_embeddings = false,
    initializer_range = 0.3,
  },
  ["llama, tied, interleaved"] = {
    model_type = "llama",
    vocab_size = toy.vocab,
    hidden_size = 20,
    intermediate_size = 28,
    num_hidden_layers = 2,
    num_attention_heads = 2,
    num_key_value_heads = 1,
    max_position_embeddings = 96,
    tie_word_embeddings = true,
    initializer_range = 0.3,
    rope_interleaved = true,
  },
  ["gpt2"] = {
    model_type = "gpt2",
    vocab_size = toy.vocab,
    n_embd = 30,
    n_layer = 2,
    n_head = 3,
    n_positions = 96,
    initializer_range = 0.3,
  },
}

--- Calls fn(name, config) for every config, in the same order each time.
function toy.each(fn)
  for _, name in ipairs { "llama", "llama, tied, interleaved", "gpt2" } do
    fn(name, toy.configs[name])
  end
end

local function copy(t)
  local result = {}
  for key, value in pairs(t) do
    result[key] = value
  end
  return result
end

--- A random model; biases and norms are moved away from 0 and 1, so that their place counts.
-- @tparam string name one of toy.configs
-- @tparam ?table opts seed, dtype, precision, scalar_head
function toy.model(name, opts)
  opts = opts or {}
  local config = copy(toy.configs[name])
  config.scalar_head = opts.scalar_head
  local model = pl.model.new(config, {
    seed = opts.seed or 1,
    dtype = opts.dtype,
    precision = opts.precision,
  })
  local guard <close> = pl.no_grad() -- luacheck: ignore
  for i, entry in ipairs(model.entries) do
    if type(entry[3]) == "string" then
      local weight = model.weights[entry[1]]
      weight:copy_(
        weight
          + pl.randn(
            weight:shape(),
            { b = 0.1, seed = opts.seed or 1, purpose = 50 + i, dtype = model.dtype }
          )
      )
    end
  end
  return model
end

--- Calls fn(title, new) for every config in every precision; new(opts) is toy.model of it.
function toy.each_precision(fn)
  for _, precision in ipairs { "float32", "bf16" } do
    toy.each(function(name)
      local title = precision == "float32" and name or name .. " in " .. precision
      fn(title, function(opts)
        opts = copy(opts or {})
        opts.precision = precision
        return toy.model(name, opts)
      end)
    end)
  end
end

--- An integer from 0 to n - 1 that depends on the arguments alone.
function toy.draw(n, seed, index) return math.floor(pl.random_uniform(seed, 77, index) * n) end

--- Token sequences of the given lengths.
function toy.sequences(lengths, seed)
  local list, at = {}, 0
  for b, length in ipairs(lengths) do
    list[b] = {}
    for t = 1, length do
      at = at + 1
      list[b][t] = toy.draw(toy.vocab, seed or 5, at)
    end
  end
  return list
end

--- Masks that train everything behind the first `k` tokens.
function toy.answer_masks(sequences, k)
  local masks = {}
  for b, sequence in ipairs(sequences) do
    masks[b] = {}
    for t = 1, #sequence do
      masks[b][t] = t > k and 1 or 0
    end
  end
  return masks
end

--- The gradients of all parameters after fn has run backward, as one list of {name, tensor}.
function toy.gradients(model, fn)
  model.block:zero_grad()
  do
    local scope <close> = pl.scope("toy.gradients") -- luacheck: ignore
    fn()
  end
  local list = {}
  for i, entry in ipairs(model.entries) do
    local grad = model.weights[entry[1]]:grad()
    list[i] = { entry[1], grad and grad:clone() or pl.zeros(entry[2], model.dtype) }
  end
  return list
end

local function flat(t)
  local list = t:view({ t:count() }):totable()
  return list
end

--- Largest difference of two tensors or lists; infinite when either is not finite.
function toy.max_error(a, b)
  a, b = type(a) == "table" and a or flat(a), type(b) == "table" and b or flat(b)
  if #a ~= #b then return math.huge end
  local worst = 0
  for i = 1, #a do
    local d = math.abs(a[i] - b[i])
    if not (d <= worst) then worst = d == d and d or math.huge end
  end
  return worst
end

--- |a - b| / |b| in the Euclidean norm; |a| when b is zero.
function toy.relative_error(a, b)
  a, b = type(a) == "table" and a or flat(a), type(b) == "table" and b or flat(b)
  if #a ~= #b then return math.huge end
  local above, below = 0, 0
  for i = 1, #a do
    above = above + (a[i] - b[i]) ^ 2
    below = below + b[i] ^ 2
  end
  local err = below > 0 and math.sqrt(above / below) or math.sqrt(above)
  return err == err and err or math.huge
end

--- The worst relative error over the tensors of two lists of gradients, and the name it is at.
-- Tensors whose gradient is rounding alone (the key bias of GPT-2) are measured against the whole.
function toy.gradient_error(a, b)
  local total = 0
  for _, entry in ipairs(b) do
    for _, v in ipairs(flat(entry[2])) do
      total = total + v * v
    end
  end
  local worst, where = 0, "nowhere"
  for i, entry in ipairs(b) do
    local list, norm = flat(entry[2]), 0
    for _, v in ipairs(list) do
      norm = norm + v * v
    end
    local err = toy.relative_error(a[i][2], list)
    if norm < total * 1e-10 then err = err * math.sqrt(norm > 0 and norm / total or 1 / total) end
    if not (err <= worst) then
      worst, where = err, entry[1]
    end
  end
  return worst, where
end

--- Whether two lists of gradients have the same bits.
function toy.same_bits(a, b)
  for i, entry in ipairs(a) do
    if entry[2]:bytes() ~= b[i][2]:bytes() then return false, entry[1] end
  end
  return true
end

return toy
