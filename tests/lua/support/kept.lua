--- Random weights of kept dtypes, and the law of products with them: the bits of the product with
-- their float32 values, forward and backward.
--
-- kept.faults() is the law over dtypes and shapes; run as a program in another kernel variant too.

local pl = require("perilune")

local kept = {}

-- Elements and bytes of a block, and where its float16 factors stand.
kept.blocks = {
  bfloat16 = { 1, 2, {} },
  float16 = { 1, 2, { 1 } },
  q8_0 = { 32, 34, { 1 } },
  q4_0 = { 32, 18, { 1 } },
  q4_1 = { 32, 20, { 1, 3 } },
  q5_0 = { 32, 22, { 1 } },
  q5_1 = { 32, 24, { 1, 3 } },
  q4_k = { 256, 144, { 1, 3 } },
  q5_k = { 256, 176, { 1, 3 } },
  q6_k = { 256, 210, { 209 } },
}

--- A weight [n, k] of random bits with factors of moderate size. 16 different blocks do: each row
-- begins at another one.
-- @tparam string dtype
-- @tparam integer n
-- @tparam integer k
-- @treturn Tensor
function kept.weight(dtype, n, k)
  local elements, bytes, factors = table.unpack(kept.blocks[dtype])
  local draws, blocks = 0, {}
  local function draw(limit)
    draws = draws + 1
    return math.floor(pl.random_uniform(3, 7, draws) * limit)
  end
  for i = 1, elements == 1 and 199 or 16 do
    local block = {}
    for j = 1, bytes do
      block[j] = draw(256)
    end
    for _, at in ipairs(factors) do -- sign, and an exponent from -11 to 0
      block[at + 1] = draw(2) << 7 | 16 + draw(48)
    end
    if dtype == "bfloat16" then block[2] = draw(2) << 7 | 58 + draw(6) end
    blocks[i] = string.char(table.unpack(block))
  end
  local rows = {}
  for i = 1, n * k // elements do
    rows[i] = blocks[(i * 7 + i // 16) % #blocks + 1]
  end
  return pl.from_bytes(table.concat(rows), dtype, { n, k })
end

local function gradient(x, weight)
  x = x:clone():requires_grad(true)
  for _ = 1, 2 do -- the second one adds to what is there
    local y = pl.linear(x, weight)
    pl.mul(y, y):sum():backward()
  end
  return x:grad():bytes()
end

-- Rows, columns of the result, and about how long the sum: one row and many, whole panels and
-- parts, one block of K and several.
local shapes =
  { { 1, 1, 1 }, { 1, 97, 2 }, { 2, 5, 1 }, { 7, 70, 3 }, { 3, 64, 13 }, { 65, 40, 2 } }
shapes[#shapes + 1] = { 131, 33, 14 }

--- Where the law does not hold.
-- @treturn {string,...} "what dtype m n k"
function kept.faults()
  local faults = {}
  pl.gemm("own")
  for dtype, block in pairs(kept.blocks) do
    for _, shape in ipairs(shapes) do
      local m, n = shape[1], shape[2]
      local k = block[1] == 1 and shape[3] * 29 or math.max(32 * shape[3] // block[1], 1) * block[1]
      local weight = kept.weight(dtype, n, k)
      local values, bias = weight:cast(), pl.randn({ n }, { seed = 4 })
      for _, float in ipairs { "float32", m < 8 and "float64" or nil } do
        local x, b = pl.randn({ m, k }, { seed = 5, dtype = float }), bias:cast { dtype = float }
        local wide = values:cast { dtype = float }
        local function check(what, same)
          if not same then
            faults[#faults + 1] = ("%s %s %s %d %d %d"):format(what, dtype, float, m, n, k)
          end
        end
        check("product", pl.linear(x, weight):bytes() == pl.linear(x, wide):bytes())
        check("bias", pl.linear(x, weight, b):bytes() == pl.linear(x, wide, b):bytes())
        check("gradient", gradient(x, weight) == gradient(x, wide))
      end
    end
  end
  return faults
end

return kept
