--- Cases of the fused losses; see op_cases.lua. Their reference is the twin in pl.twins.

--- The cases.
-- @tparam table make the makers of input specs of op_cases.lua
-- @treturn table entries by op
return function(make)
  local normal, positive, steps, const = make.normal, make.positive, make.steps, make.const
  local ids, ints, lengths = make.ids, make.ints, make.lengths

  --- hidden [t,c], head [v,c], n rows and n targets.
  local function head(t, c, v, n, ...)
    return { normal(t, c), normal(v, c), ids(n, t), ids(n, v), ... }
  end

  local cases = {}

  cases.cross_entropy = {
    bad = {
      { { normal(4), normal(3, 4), ids(1, 1), ids(1, 3) }, nil, "hidden has shape [4]" },
      { { normal(2, 4), normal(3, 5), ids(1, 2), ids(1, 3) }, nil, "head has shape [3,5]" },
      { { normal(2, 4), normal(3, 4), ids(2, 2), ids(1, 3) }, nil, "targets has shape [1]" },
      { { normal(2, 4), normal(3, 4), ints(2), ids(1, 3) }, nil, "rows", "0 to 1" },
      { { normal(2, 4), normal(3, 4), ints(1), ints(3) }, nil, "targets", "0 to 2" },
    },
    { inputs = head(3, 4, 5, 0, false) },
    { inputs = head(1, 1, 1, 1, false) },
    { inputs = head(5, 4, 7, 5, false) },
    { inputs = head(4, 3, 17, 6, false), params = { scale = 0.25 } },
    { inputs = head(5, 4, 7, 5, const(normal(5))) },
    { inputs = { normal(3, 4), make.same(1), ids(2, 3), ids(2, 3), false } },
    { inputs = head(4, 3, 17, 6, const(normal(6))), params = { softcap = 0.9, scale = 0.5 } },
    { inputs = head(67, 16, 301, 61, const(positive(61))), params = { scale = 0.01 }, big = true },
    { inputs = head(3, 4, 5, 0, false), params = { precision = "bf16" }, float32 = true },
    {
      inputs = head(4, 33, 17, 6, const(normal(6))),
      params = { softcap = 0.9, scale = 0.5, precision = "bf16" },
      float32 = true,
    },
    {
      inputs = head(67, 16, 301, 61, false),
      params = { precision = "bf16" },
      float32 = true,
      big = true,
    },
  }

  cases.logprob = {
    bad = {
      { { normal(4), normal(3, 4), ids(1, 1), ids(1, 3) }, nil, "hidden has shape [4]" },
      { { normal(2, 4), normal(3, 4), ids(2, 2), ids(1, 3) }, nil, "targets has shape [1]" },
      { { normal(2, 4), normal(3, 4), ids(1, 2), ids(1, 3) }, { temperature = 0 }, "temperature" },
      { { normal(2, 4), normal(3, 4), ids(1, 2), ids(1, 3) }, { softcap = -1 }, "softcap is -1" },
    },
    { inputs = head(3, 4, 5, 0) },
    { inputs = head(1, 1, 1, 1) },
    { inputs = head(5, 4, 7, 5) },
    { inputs = head(4, 3, 17, 6), params = { temperature = 0.7 } },
    { inputs = head(2, 5, 33, 7), params = { temperature = 2 } },
    { inputs = { normal(3, 4), make.same(1), ids(2, 3), ids(2, 3) } },
    { inputs = head(4, 3, 17, 6), params = { temperature = 0.7, softcap = 1.1 } },
    { inputs = head(67, 16, 301, 61), params = { temperature = 0.7 }, big = true },
    { inputs = head(3, 4, 5, 0), params = { precision = "bf16" }, float32 = true },
    {
      inputs = head(4, 33, 17, 6),
      params = { temperature = 0.7, softcap = 1.1, precision = "bf16" },
      float32 = true,
    },
    {
      inputs = head(67, 16, 301, 61),
      params = { precision = "bf16" },
      float32 = true,
      big = true,
    },
  }

  --- Policy and reference of widths c and ref_c.
  local function policies(t, c, ref_c, v, n)
    return {
      normal(t, c),
      normal(v, c),
      const(normal(t, ref_c)),
      const(normal(v, ref_c)),
      ids(n, t),
    }
  end

  cases.kl_full = {
    bad = {
      {
        { normal(2, 4), normal(3, 4), normal(2, 4), normal(5, 4), ids(1, 2) },
        nil,
        "ref_head has shape [5,4]",
      },
      { { normal(2, 4), normal(3, 4), normal(2, 4), normal(3, 4), ints(2) }, nil, "0 to 1" },
    },
    { inputs = policies(3, 4, 4, 5, 0) },
    { inputs = policies(1, 1, 1, 1, 1) },
    { inputs = policies(5, 4, 4, 7, 5) },
    { inputs = policies(4, 3, 5, 17, 6) },
    { inputs = policies(4, 3, 2, 33, 3), params = { temperature = 0.7 } },
    { inputs = policies(3, 4, 4, 2, 7), params = { temperature = 3 } },
    {
      inputs = policies(4, 3, 2, 33, 3),
      params = { temperature = 0.7, softcap = 1.5, ref_softcap = 0.8 },
    },
    { inputs = policies(4, 3, 2, 33, 3), params = { ref_softcap = 0.8 } },
    { inputs = policies(67, 16, 8, 301, 61), big = true },
    { inputs = policies(3, 4, 4, 5, 0), params = { precision = "bf16" }, float32 = true },
    {
      inputs = policies(4, 33, 2, 33, 3),
      params = { temperature = 0.7, softcap = 1.5, ref_softcap = 0.8, precision = "bf16" },
      float32 = true,
    },
    {
      inputs = policies(67, 16, 8, 301, 61),
      params = { precision = "bf16" },
      float32 = true,
      big = true,
    },
  }

  --- x, norm and the weights of h query and g key heads of d channels, and positions.
  local function before_attention(t, c, h, g, d, inv_freq)
    return {
      normal(t, c),
      normal(c),
      normal(h * d, c),
      normal(g * d, c),
      normal(g * d, c),
      ids(t, 90),
      inv_freq or false,
    }
  end

  cases.block_in = {
    rowwise = { 1, 6 },
    tolerance = 1e-5,
    bad = {
      { before_attention(2, 4, 2, 1, 3), { head_dim = 3 }, "head_dim is 3", "even" },
      { before_attention(2, 4, 3, 2, 2), nil, "rows of q have 6 channels", "head_dim 4" },
      { before_attention(2, 4, 2, 1, 2), { eps = -1 }, "eps is -1" },
      { { normal(2), normal(2), normal(2, 2), normal(2, 2), normal(2, 2), ids(2, 9) }, nil, "x" },
      {
        { normal(2, 3), normal(2), normal(2, 3), normal(2, 3), normal(2, 3), ids(2, 9) },
        nil,
        "norm has shape [2]",
        "[3] as rows of x",
      },
      {
        { normal(2, 3), normal(3), normal(2, 3), normal(2, 3), normal(4, 3), ids(2, 9) },
        nil,
        "v_w has shape [4,3]",
        "[2,3]",
      },
      {
        { normal(2, 3), normal(3), normal(2, 4), normal(2, 3), normal(2, 3), ids(2, 9) },
        nil,
        "q_w has shape [2,4]",
        "[N,3]",
      },
      {
        { normal(2, 3), normal(3), normal(2, 3), normal(2, 3), normal(2, 3), ids(3, 9) },
        nil,
        "positions has shape [3]",
      },
    },
    { inputs = before_attention(0, 4, 1, 1, 2) },
    { inputs = before_attention(1, 1, 1, 1, 2) },
    { inputs = before_attention(3, 5, 3, 1, 4) },
    { inputs = before_attention(5, 8, 4, 2, 6), params = { head_dim = 6, interleaved = true } },
    {
      inputs = before_attention(4, 17, 2, 2, 8, const(positive(3))),
      params = { head_dim = 8, rotary_dim = 6, scale = 0.75, eps = 1e-3 },
    },
    { inputs = before_attention(3, 33, 2, 1, 34), params = { head_dim = 34, theta = 500 } },
    {
      inputs = before_attention(67, 16, 2, 1, 8),
      params = { head_dim = 8, interleaved = true },
      big = true,
    },
    { inputs = before_attention(331, 24, 6, 2, 4), params = { head_dim = 4 }, big = true },
  }

  --- x, y, and the weights of a block beside its attention.
  local function after_attention(t, c, a, f)
    return {
      normal(t, c),
      normal(t, a),
      normal(c, a),
      normal(c),
      normal(f, c),
      normal(f, c),
      normal(c, f),
    }
  end

  --- The same with one input of another shape.
  local function but(k, input, ...)
    local inputs = after_attention(...)
    inputs[k] = input
    return inputs
  end

  cases.block_out = {
    rowwise = { 1, 2 },
    tolerance = 1e-5,
    bad = {
      { but(1, normal(2), 2, 3, 4, 5), nil, "x has shape [2]" },
      { but(2, normal(3, 4), 2, 3, 4, 5), nil, "y has shape [3,4]" },
      { but(3, normal(3, 3), 2, 3, 4, 5), nil, "o_w has shape [3,3]", "[3,4]" },
      { but(4, normal(4), 2, 3, 4, 5), nil, "norm has shape [4]" },
      { but(5, normal(5, 2), 2, 3, 4, 5), nil, "gate has shape [5,2]", "[N,3]" },
      { but(6, normal(4, 3), 2, 3, 4, 5), nil, "up has shape [4,3]", "[5,3]" },
      { but(7, normal(5, 3), 2, 3, 4, 5), nil, "down has shape [5,3]", "[3,5]" },
      { after_attention(2, 3, 4, 5), { eps = 0 / 0 }, "eps" },
    },
    { inputs = after_attention(0, 3, 4, 5) },
    { inputs = after_attention(1, 1, 1, 1) },
    { inputs = after_attention(3, 5, 2, 7) },
    { inputs = after_attention(5, 6, 8, 17), params = { eps = 1e-2 } },
    { inputs = after_attention(2, 17, 16, 33) },
    { inputs = but(2, make.same(1), 4, 4, 4, 3) },
    { inputs = after_attention(67, 24, 24, 50), big = true },
    { inputs = after_attention(331, 16, 12, 37), big = true },
  }

  --- Scores of sets of these sizes, with given ranks and perhaps margins.
  local function ranked(sizes, ranks, margins)
    ranks.const = true
    return { normal(#ranks.values), lengths(table.unpack(sizes)), ranks, margins or false }
  end

  local function ranks_of(...)
    return { fill = "list", shape = { select("#", ...) }, values = { ... } }
  end

  local many_sizes, many_ranks = {}, {}
  for b = 1, 60 do
    many_sizes[b] = 9
    for k = 1, 9 do
      many_ranks[#many_ranks + 1] = (k * 4 + b) % 7
    end
  end

  local fifty = {} -- ranks of 50 answers, each rank twice
  for k = 1, 50 do
    fifty[k] = 1 + k * 7 % 50 // 2
  end

  cases.rank_loss = {
    bad = {
      { { normal(2, 2), lengths(2), normal(2) }, nil, "scores has shape [2,2]" },
      { { normal(3), lengths(2), normal(3) }, nil, "offsets", "3" },
      { { normal(3), lengths(3), normal(2) }, nil, "ranks has shape [2]" },
    },
    { inputs = ranked({}, ranks_of()) },
    { inputs = ranked({ 1 }, ranks_of(1)) },
    { inputs = ranked({ 2 }, ranks_of(2, 1)) },
    { inputs = ranked({ 4, 3 }, ranks_of(1, 2, 3, 4, 3, 2, 1)) },
    { inputs = ranked({ 4, 0, 3 }, ranks_of(1, 2, 2, 1, 1, 1, 1)) },
    { inputs = ranked({ 4, 3 }, ranks_of(1, 2, 2, 1, 1, 1, 3)), params = { ties = "half" } },
    { inputs = ranked({ 5, 2 }, ranks_of(1, 2, 4, 3, 5, 2, 1), const(normal(7))) },
    { inputs = ranked({ 5, 2 }, ranks_of(1, 2, 4, 3, 5, 2, 1)), params = { variant = "sigmoid" } },
    { inputs = ranked({ 5, 2 }, ranks_of(1, 2, 4, 3, 5, 2, 1)), params = { variant = "linear" } },
    { inputs = ranked({ 50 }, ranks_of(table.unpack(fifty))) },
    { inputs = ranked({ 2, 50 }, ranks_of(2, 1, table.unpack(fifty))), params = { ties = "half" } },
    { inputs = ranked(many_sizes, ranks_of(table.unpack(many_ranks))), big = true },
  }

  local function tokens(n, weights)
    return { normal(n), const(normal(n)), const(normal(n)), weights or false }
  end

  cases.ppo_loss = {
    outputs = 1, -- the others are statistics
    bad = {
      { { normal(2), normal(3), normal(2) }, nil, "old_logprob has shape [3]" },
      { { normal(2, 2), normal(2, 2), normal(2, 2) }, nil, "logprob has shape [2,2]" },
    },
    { inputs = tokens(0) },
    { inputs = tokens(1) },
    { inputs = tokens(7) },
    { inputs = tokens(17), params = { cliprange = 0.4 } },
    {
      inputs = tokens(13, const(positive(13))),
      params = { cliprange = 0.1, cliprange_high = 0.9 },
    },
    { inputs = { normal(5), const(ranks_of(0, 0, 0, 0, 0)), const(normal(5)), false } },
    { inputs = tokens(30011), big = true },
  }

  cases.value_loss = {
    outputs = 1,
    bad = {
      { { normal(2), normal(3), normal(2) }, nil, "old_values has shape [3]" },
      { { normal(2), normal(2), normal(2), normal(1) }, nil, "weights has shape [1]" },
    },
    { inputs = tokens(0) },
    { inputs = tokens(1) },
    { inputs = tokens(7) },
    { inputs = tokens(17), params = { cliprange = 0.9 } },
    { inputs = tokens(13, const(positive(13))), params = { cliprange = 0.5 } },
    { inputs = tokens(13), params = { cliprange = 0 } },
    { inputs = tokens(30011), big = true },
  }

  cases.kl_estimate = {
    flat = true,
    bad = {
      { { normal(2), normal(3) }, nil, "ref_logprob has shape [3]" },
      { { normal(2, 2), normal(2, 2) }, nil, "[2,2]" },
    },
    { inputs = { normal(0), normal(0) } },
    { inputs = { normal(1), normal(1) } },
    { inputs = { normal(7), normal(7) }, params = { kind = "k1" } },
    { inputs = { normal(7), normal(7) }, params = { kind = "k2" } },
    { inputs = { normal(17), normal(17) }, params = { kind = "k3" } },
    { inputs = { steps(5), make.same(1) }, params = { kind = "k3" } },
    { inputs = { normal(30011), normal(30011) }, params = { kind = "k3" }, big = true },
  }

  return cases
end
