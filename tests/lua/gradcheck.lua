--- Gradients of a function against central differences, in float64.
--
-- The outputs are made one number by random weights, L = sum_k sum(w_k y_k), so that every output
-- element counts with its own weight. The numeric slope is (L(x + h) - L(x - h)) / 2h with
-- h = 1e-5; its own error is about 1e-10, so 1e-6 relative to max(1, |slope|) is a fair demand.
-- A kink nearer than h to an input makes the number wrong: choose inputs away from kinks.

local pl = require("perilune")

local H = 1e-5

local function pack(...) return { n = select("#", ...), ... } end

--- The weighted sum of the first `count` outputs of f.
local function total(f, inputs, weights, count)
  local outputs = pack(f(table.unpack(inputs, 1, inputs.n or #inputs)))
  local sum
  for k = 1, math.min(count or outputs.n, outputs.n) do
    local y = outputs[k]
    weights[k] = weights[k]
      or pl.uniform(y:shape(), {
        a = 0.5,
        b = 1.5,
        seed = 11,
        purpose = k,
        dtype = "float64",
      })
    if y:dtype() == "float32" then y = pl.cast(y, { dtype = "float64" }) end
    local part = pl.sum(pl.mul(y, weights[k]))
    sum = sum and pl.add(sum, part) or part
  end
  return sum
end

local gradcheck = {}

--- Runs f forward and backward once; gradients are added to what the inputs hold already.
-- @tparam function f of tensors, giving one or more tensors
-- @tparam {Tensor,...} inputs; those that require a gradient get one
-- @tparam ?table opts `outputs`: how many outputs count (default all)
function gradcheck.backward(f, inputs, opts)
  local sum = total(f, inputs, {}, opts and opts.outputs)
  sum:backward()
end

--- Compares gradients with numeric ones for every element of every float input that is not const.
-- @tparam function f of tensors, giving one or more tensors
-- @tparam table inputs list of float64 and int32 tensors; `n` its length when it has holes
-- @tparam ?table opts `outputs`: how many outputs count; `const`: set of input numbers left alone;
--   `most`: elements tried of each input (default 64, spread over it)
-- @treturn number the largest error relative to max(1, |slope|)
-- @treturn string where it is, in words
function gradcheck.check(f, inputs, opts)
  opts = opts or {}
  local const, weights, wanted = opts.const or {}, {}, {}
  for i = 1, inputs.n or #inputs do
    local t = inputs[i]
    if t and t:dtype() == "float64" and not const[i] then
      wanted[#wanted + 1] = i
      t:requires_grad(true):zero_grad()
    end
  end
  total(f, inputs, weights, opts.outputs):backward()
  local slopes = {}
  for _, i in ipairs(wanted) do
    local grad = assert(inputs[i]:grad(), "no gradient came to input " .. i)
    slopes[i] = grad:view({ grad:count() }):totable()
  end

  local guard <close> = pl.no_grad() -- luacheck: ignore
  local worst, where = 0, "nowhere"
  for _, i in ipairs(wanted) do
    local flat = inputs[i]:view { inputs[i]:count() }
    for e = 1, flat:count(), math.max(1, flat:count() // (opts.most or 64)) do
      local x = flat:get(e)
      flat:set(e, x + H)
      local above = total(f, inputs, weights, opts.outputs):item()
      flat:set(e, x - H)
      local below = total(f, inputs, weights, opts.outputs):item()
      flat:set(e, x)
      local numeric = (above - below) / (2 * H)
      local err = math.abs(slopes[i][e] - numeric) / math.max(1, math.abs(numeric))
      if not (err <= worst) then -- a NaN is worse than any number
        worst = err == err and err or math.huge
        where = ("input %d, element %d: gradient %.12g, numeric %.12g"):format(
          i,
          e,
          slopes[i][e],
          numeric
        )
      end
    end
  end
  return worst, where
end

return gradcheck
