-- Muon: its twin in plain Lua, PyTorch's own, what it steps and what it leaves to AdamW, its state.

local core = require("perilune.core")
local files = require("perilune.base.files")
local pl = require("perilune")

-- One matrix and its gradient, of numbers row by row.
local function matrix(rows, dtype)
  local block = core.block({ { "layers.0.w", { #rows, #rows[1] } } }, dtype or "float32")
  local w = block:tensors()["layers.0.w"]
  w:copy_(core.tensor(rows, dtype))
  return block, w
end

local function push(block, w, gradient)
  block:zero_grad()
  local sum = (w * core.tensor(gradient, w:dtype())):sum()
  sum:backward()
end

-- The twin
local function map(a, f)
  local out = {}
  for i, row in ipairs(a) do
    out[i] = {}
    for j, x in ipairs(row) do
      out[i][j] = f(x, i, j)
    end
  end
  return out
end

local function product(a, b)
  local out = {}
  for i = 1, #a do
    out[i] = {}
    for j = 1, #b[1] do
      local sum = 0
      for k = 1, #b do
        sum = sum + a[i][k] * b[k][j]
      end
      out[i][j] = sum
    end
  end
  return out
end

local function transposed(a)
  local out = {}
  for j = 1, #a[1] do
    out[j] = {}
    for i = 1, #a do
      out[j][i] = a[i][j]
    end
  end
  return out
end

local function orthogonal(u)
  local squares = 0
  map(u, function(x) squares = squares + x * x end)
  local x = map(u, function(v) return v / math.sqrt(squares) end)
  for _ = 1, 5 do
    local s = product(x, transposed(x))
    local sx = product(s, x)
    local ssx = product(s, sx)
    x = map(x, function(v, i, j) return 3.4445 * v - 4.7750 * sx[i][j] + 2.0315 * ssx[i][j] end)
  end
  return x
end

local function twin(w, gradients, o)
  local m = map(w, function() return 0 end)
  for _, g in ipairs(gradients) do
    m = map(m, function(v, i, j) return o.momentum * v + g[i][j] end)
    local step = orthogonal(map(g, function(v, i, j) return v + o.momentum * m[i][j] end))
    local long = 0.2 * math.sqrt(math.max(#w, #w[1])) * o.lr
    w = map(w, function(v, i, j) return v * (1 - o.lr * o.weight_decay) - long * step[i][j] end)
  end
  return w
end

local function farthest(a, b)
  local most = 0
  map(a, function(x, i, j) most = math.max(most, math.abs(x - b[i][j])) end)
  return most
end

local OPTIONS <const> = { lr = 0.02, momentum = 0.95, weight_decay = 0.1 }

-- The weights after all gradients of a case of the golden file.
local function stepped(case, dtype, opts)
  local block, w = matrix(case.before, dtype)
  local optimizer = pl.muon(block, opts)
  for _, gradient in ipairs(case.gradients) do
    push(block, w, gradient)
    optimizer:step(OPTIONS)
  end
  return w:totable()
end

describe("Muon", function()
  local cases = assert(files.read_json("tests/golden/muon.json"))

  it("is its twin in plain Lua, whatever the shape", function()
    for _, case in ipairs(cases) do
      local want = twin(case.before, case.gradients, OPTIONS)
      assert.is_true(farthest(want, stepped(case, "float64")) < 1e-12)
      assert.is_true(farthest(want, stepped(case)) < 1e-5)
    end
  end)

  -- PyTorch rounds all of the iteration to bfloat16: elements of a step differ by up to .022
  -- of what the step's root mean square would be of a square matrix.
  it("steps as torch.optim.Muon does, within bfloat16", function()
    for _, case in ipairs(cases) do
      local step = 0.02 * 0.2 * math.sqrt(math.max(#case.before, #case.before[1]))
      for _, precision in ipairs { "float32", "bf16" } do
        local got = stepped(case, "float32", { precision = precision })
        local far = farthest(case.after[#case.after], got)
        assert.is_true(far < 3 * 0.03 * step, ("%dx%d: %g"):format(#got, #got[1], far / step))
        assert.is_true(farthest(case.before, got) > step / 3)
      end
    end
  end)

  it("is as long in the small directions of a gradient as in the large ones", function()
    local block, w = matrix { { 0, 0, 0 }, { 0, 0, 0 }, { 0, 0, 0 } }
    local optimizer = pl.muon(block)
    push(block, w, { { 100, 0, 0 }, { 0, -1, 0 }, { 0, 0, 0.5 } })
    optimizer:step { lr = 1 }
    local long = 0.2 * math.sqrt(3)
    for i, sign in ipairs { -1, 1, -1 } do
      local share = sign * w:get(i, i) / long
      assert.is_true(share > 0.68 and share < 1.21, share)
    end
  end)

  it("steps the matrices of numbered blocks and leaves the rest to AdamW", function()
    local entries = {
      { "embed.weight", { 9, 4 } },
      { "layers.0.norm.weight", { 4 } },
      { "layers.0.up.weight", { 6, 4 } },
      { "layers.0.up.bias", { 6 } },
      { "layers.1.down.weight", { 4, 6 } },
      { "head.weight", { 2, 4 } },
    }
    local one, other = core.block(entries), core.block(entries)
    for i, entry in ipairs(entries) do
      for _, block in ipairs { one, other } do
        block:tensors()[entry[1]]:copy_(core.randn(entry[2], { seed = i }))
      end
    end
    local muon, adamw = pl.muon(one), pl.adamw(other)
    for step = 1, 3 do
      for _, block in ipairs { one, other } do
        block:zero_grad()
        for i, entry in ipairs(entries) do
          local towards = core.randn(entry[2], { seed = 70 + step, purpose = i })
          local sum = (block:tensors()[entry[1]] * towards):sum()
          sum:backward()
        end
      end
      muon:step { lr = 0.1, weight_decay = 0.3, max_grad_norm = 1 }
      adamw:step { lr = 0.1, weight_decay = 0.3, max_grad_norm = 1 }
    end
    local a, b = one:tensors(), other:tensors()
    for _, entry in ipairs(entries) do
      local name = entry[1]
      local by_muon = name:find("up.weight", 1, true) or name:find("down.weight", 1, true)
      assert.are.equal(not by_muon, a[name]:bytes() == b[name]:bytes(), name)
    end
    -- one momentum of 64 elements (in whole lines of 16), and second moments of what AdamW has
    assert.are.same(one:flat():shape(), muon:state().m:shape())
    assert.are.equal(one:flat():size(1) - 32 - 32, muon:state().v:size(1))
  end)

  it("goes on from its state to the bit, in both precisions", function()
    for _, precision in ipairs { "float32", "bf16" } do
      local case = cases[#cases]
      local block, w = matrix(case.before)
      local optimizer = pl.muon(block, { precision = precision })
      local later, later_w = matrix(case.before)
      local resumed = pl.muon(later, { precision = precision })
      for i, gradient in ipairs(case.gradients) do
        if i == 2 then
          later_w:copy_(w)
          resumed:state().m:copy_(optimizer:state().m)
          resumed:state().v:copy_(optimizer:state().v)
          resumed:set_steps(optimizer:state().steps)
        end
        push(block, w, gradient)
        optimizer:step(OPTIONS)
        if i >= 2 then
          push(later, later_w, gradient)
          resumed:step(OPTIONS)
        end
      end
      assert.are.equal(block:hash(), later:hash())
    end
  end)

  it("has clipped gradients in its momentum", function()
    local block, w = matrix { { 1, 2 }, { 3, 4 } }
    local optimizer = pl.muon(block)
    push(block, w, { { 3, 0 }, { 0, 4 } }) -- of norm 5
    assert.are.equal(5, optimizer:step({ lr = 0.1, max_grad_norm = 1 }).grad_norm)
    local m = optimizer:state().m:totable()
    for i, want in ipairs { 0.6, 0, 0, 0.8 } do
      assert.is_true(math.abs(m[i] - want) < 1e-6)
    end
  end)

  it("is told apart from AdamW in a profile, by the bytes that each moves", function()
    local block = core.block { { "layers.0.w", { 16, 32 } }, { "head", { 16, 16 } } }
    local optimizer = pl.muon(block)
    block:zero_grad()
    local sum = block:tensors().head:sum() + block:tensors()["layers.0.w"]:sum()
    sum:backward()
    local rate = 1e9 -- none is measured
    pl.profile.begin {
      limits = {
        float32 = rate,
        bfloat16 = rate,
        split = rate,
        read = rate,
        copy = rate,
        cache = rate,
        cache_bytes = 1048576,
      },
    }
    optimizer:step { lr = 0.1 }
    local bytes = {}
    for _, row in ipairs(pl.profile.finish().rows) do
      bytes[row.name] = row.bytes
    end
    -- weights and both moments read and written, gradients read; five of the matrix
    assert.are.equal(4 * 256 * 7, bytes.adamw)
    assert.are.equal(4 * 512 * 5, bytes.muon)
  end)

  it("takes all its numbers from a config, with the rate of its schedule", function()
    local given = {
      learning_rate = function(step) return 0.1 * step end,
      adam_beta1 = 0.8,
      adam_beta2 = 0.9,
      adam_epsilon = 0.01,
      adam_tf_epsilon = true,
      weight_decay = 0.3,
      max_grad_norm = 0.5,
      muon_momentum = 0.7,
    }
    local named = {
      beta1 = 0.8,
      beta2 = 0.9,
      eps = 0.01,
      tf_eps = true,
      weight_decay = 0.3,
      max_grad_norm = 0.5,
      momentum = 0.7,
    }
    local function after(step_of) -- a matrix that Muon steps and one that AdamW does
      local block = core.block { { "layers.0.w", { 2, 3 } }, { "head", { 2, 3 } } }
      local optimizer = pl.muon(block)
      for step = 1, 3 do
        block:zero_grad()
        for i, t in ipairs { block:tensors()["layers.0.w"], block:tensors().head } do
          local sum = (t * core.randn({ 2, 3 }, { seed = step, purpose = i })):sum()
          sum:backward()
        end
        step_of(optimizer, step)
      end
      return block:hash()
    end
    local function by_names(changed)
      return after(function(optimizer, step)
        local numbers = { lr = 0.1 * step }
        for key, value in pairs(named) do
          if key ~= changed then numbers[key] = value end
        end
        optimizer:step(numbers)
      end)
    end
    local by_config = after(function(optimizer, step) optimizer:step(given, step) end)
    assert.are.equal(by_names(), by_config)
    for key in pairs(named) do
      assert.are_not.equal(by_names(key), by_config, key)
    end
  end)

  it("moves nothing for gradients of zero, nor when one is not finite", function()
    local block, w = matrix { { 1, 2 }, { 3, 4 } }
    local optimizer = pl.muon(block)
    push(block, w, { { 0, 0 }, { 0, 0 } })
    assert.is_false(optimizer:step({ lr = 1 }).skipped)
    assert.are.same({ { 1, 2 }, { 3, 4 } }, w:totable())
    push(block, w, { { 0, 0 / 0 }, { 0, 0 } })
    assert.is_true(optimizer:step({ lr = 1 }).skipped)
    assert.are.same({ { 1, 2 }, { 3, 4 } }, w:totable())
    assert.are.equal(1, optimizer:state().steps)
  end)

  it("takes tensors that stand alone, and refuses what has no matrix, or factors of one", function()
    local w = core.randn({ 3, 4 }, { seed = 1 }):keep(true):requires_grad(true)
    local b = core.randn({ 3 }, { seed = 2 }):keep(true):requires_grad(true)
    assert.matches("^Muon over 2 tensors, 15 parameters", tostring(pl.muon { w, b }))
    assert.has_error(
      function() pl.muon { weight = w, bias = b } end,
      "muon: no matrix among the parameters has a number in its name, as those of a decoder's "
        .. "blocks do (layers.0.mlp.up_proj.weight), so all would be AdamW's; take adamw"
    )
    local block = core.block { { "layers.0.q.lora_A.weight", { 2, 4 } } }
    assert.has_error(
      function() pl.muon(block) end,
      "muon: it steps whole matrices, and 'layers.0.q.lora_A.weight' is one factor of an "
        .. "adapter's: with adapters take adamw"
    )
    assert.has_error(
      function() pl.muon(block, { moments = "8bit" }) end,
      "muon has no option 'moments'; it knows precision"
    )
    local wide = core.block({ { "layers.0.w", { 2, 2 } } }, "float64")
    assert.has_error(
      function() pl.muon(wide, { precision = "bf16" }) end,
      "muon: products in bf16 are for float32 parameters, these are float64"
    )
  end)
end)
