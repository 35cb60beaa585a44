--- Kept dtypes: constant weights in half precision and in GGUF's block formats.
--
-- tests/golden/kept.tsv has blocks and their values by the `gguf` package (make_kept.py).

local core = require("perilune.core")
local pl = require("perilune")

local BLOCKS <const> = {
  bfloat16 = 1,
  float16 = 1,
  q8_0 = 32,
  q4_0 = 32,
  q4_1 = 32,
  q5_0 = 32,
  q5_1 = 32,
  q4_k = 256,
  q5_k = 256,
  q6_k = 256,
}

local function unhex(text)
  return (text:gsub("..", function(pair) return string.char(tonumber(pair, 16)) end))
end

local golden, quantised = {}, {}
for line in io.lines("tests/golden/kept.tsv") do
  local name, blocks, values = line:match("^(.-)\t(%x+)\t(%x+)$")
  local to = name:match("^quantise (.*)")
  local row = { blocks = unhex(blocks), values = unhex(values) }
  row.count = #row.values // 4
  (to and quantised or golden)[to or name] = row
end

--- The golden blocks as a matrix of rows of one block.
local function matrix(dtype)
  local row, width = golden[dtype], math.max(BLOCKS[dtype], 8)
  return pl.from_bytes(row.blocks, dtype, { row.count // width, width })
end

describe("kept dtypes", function()
  for dtype, block in pairs(BLOCKS) do
    describe(dtype, function()
      local row = golden[dtype]

      it("has the values of the gguf package, to the bit", function()
        local t = pl.from_bytes(row.blocks, dtype, { row.count })
        assert.equal(dtype, t:dtype())
        assert.is_true(t:cast():bytes() == row.values)
        local wide = t:cast { dtype = "float64" }
        assert.equal("float64", wide:dtype())
        assert.is_true(wide:cast():bytes() == row.values)
      end)

      it("keeps its bytes", function()
        local t = matrix(dtype)
        assert.is_true(t:bytes() == row.blocks)
        assert.is_true(t:clone():bytes() == row.blocks)
        assert.is_true(t:detach():bytes() == row.blocks)
        assert.is_true(t:cast({ dtype = "float32" }):bytes() == row.values)
        assert.has_error(
          function() pl.from_bytes(row.blocks:sub(2), dtype, t:shape()) end,
          "bad argument #1 to 'from_bytes' (another number of bytes than the shape has)"
        )
      end)

      it("gives rows to embedding as float32 and to gather as they are", function()
        local t, rows = matrix(dtype), { 1, 0, 1, 1 }
        local values = t:cast():gather(rows)
        local read = pl.embedding(t, rows)
        assert.equal("float32", read:dtype())
        assert.is_true(read:bytes() == values:bytes())
        local moved = t:gather(rows)
        assert.equal(dtype, moved:dtype())
        assert.is_true(moved:cast():bytes() == values:bytes())
        assert.same({ 0, t:size(2) }, pl.embedding(t, {}):shape())
        assert.has_error(function() pl.embedding(t, { t:size(1) }) end)
      end)

      it("has rows of whole blocks", function()
        if block == 1 then return end
        local ok, message = pcall(pl.from_bytes, "", dtype, { 0, block + 1 })
        assert.is_false(ok)
        assert.equal(
          ("tensor: rows of %s have a multiple of %d elements, not %d"):format(
            dtype,
            block,
            block + 1
          ),
          message
        )
        assert.has_error(
          function() matrix(dtype):view({ block }, 1) end,
          ("view: element 1 of %s is inside a block"):format(dtype)
        )
      end)

      it("begins with its first values when it is shown", function()
        local t = matrix(dtype)
        local first = t:cast():view({ 4 }):totable()
        local text = ("%s[%d,%d] %d bytes: %.5g %.5g %.5g %.5g ..."):format(
          dtype,
          t:size(1),
          t:size(2),
          #row.blocks,
          table.unpack(first)
        )
        assert.equal(text, tostring(t))
        assert.equal(
          dtype .. "[0," .. block .. "] 0 bytes",
          tostring(pl.from_bytes("", dtype, { 0, block }))
        )
      end)
    end)
  end

  for dtype, row in pairs(quantised) do
    it("are made from float32 as the gguf package makes them: " .. dtype, function()
      local t = pl.from_bytes(row.values, "float32", { row.count })
      assert.is_true(t:cast({ dtype = dtype }):bytes() == row.blocks)
    end)
  end

  it("refuse numbers they cannot hold, by place", function()
    local function cast(value, dtype)
      local t = pl.zeros { 2, 64 }
      t:set(2, 3, value)
      return select(2, pcall(t.cast, t, { dtype = dtype }))
    end
    local text = "quantise: element 66 (from 0) is %s, which %s cannot hold"
    assert.equal(text:format("inf", "q8_0"), cast(math.huge, "q8_0"))
    assert.equal(text:format("-nan", "q8_0"), cast(0 / 0, "q8_0"))
    assert.equal(text:format("1e+07", "q8_0"), cast(1e7, "q8_0"))
    assert.equal(text:format("65520", "float16"), cast(65520, "float16"))
    assert.equal(text:format("3.4e+38", "bfloat16"), cast(3.4e38, "bfloat16"))
    assert.equal(65504, cast(65519, "float16"):cast():get(2, 3))
    assert.equal(math.huge, cast(math.huge, "float16"):cast():get(2, 3))
    assert.equal(-math.huge, cast(-math.huge, "bfloat16"):cast():get(2, 3))
    local nan = cast(0 / 0, "float16"):cast():get(2, 3)
    assert.is_true(nan ~= nan)
    nan = cast(0 / 0, "bfloat16"):cast():get(2, 3)
    assert.is_true(nan ~= nan)
  end)

  it("are constants", function()
    local t = pl.zeros { 2, 32 }
    t:requires_grad(true)
    assert.has_error(
      function() t:cast { dtype = "q8_0" } end,
      "cast: q8_0 is a constant: detach x, or cast it under no_grad"
    )
    local q = t:detach():cast { dtype = "q8_0" }
    assert.has_error(
      function() q:requires_grad(true) end,
      "requires_grad: the tensor is q8_0, a constant; cast makes it float32"
    )
    assert.is_false(q:requires_grad())
    assert.is_false(pl.embedding(q, { 0 }):requires_grad())
    assert.has_error(
      function() pl.zeros({ 32 }, "float64"):cast { dtype = "q8_0" } end,
      "cast: from float64 to q8_0 goes by way of float32"
    )
    assert.has_error(
      function() q:cast { dtype = "float16" } end,
      "cast: from q8_0 to float16 goes by way of float32"
    )
  end)

  it("are refused by what reads or writes single numbers", function()
    local q = pl.zeros({ 2, 32 }):cast { dtype = "q8_0" }
    for name, arguments in pairs {
      item = {},
      get = { 1, 1 },
      set = { 1, 1, 0 },
      totable = {},
      fill_ = { 0 },
    } do
      local ok, message = pcall(q[name], q, table.unpack(arguments))
      assert.is_false(ok)
      local what = name:gsub("_$", "")
      assert.equal(what .. ": the tensor is q8_0, a kept dtype; cast makes it float32", message)
    end
    assert.has_error(
      function() q:copy_(pl.zeros { 2, 32 }) end,
      "copy: float32 [2,32] does not fit into q8_0 [2,32]"
    )
  end)

  it("are refused by every op but those that read them", function()
    local readers = {}
    for _, row in ipairs(pl.ops()) do
      for place, input in ipairs(row.inputs) do
        local inputs = {}
        for i = 1, #row.inputs do
          inputs[i] = row.inputs[i].integer and pl.tensor({ 0 }, "int32") or pl.zeros { 1, 32 }
        end
        if input.kept then
          readers[#readers + 1] = row.name .. "." .. input.name
        elseif not input.integer then
          inputs[place] = inputs[place]:cast { dtype = "q8_0" }
          local ok, message = pcall(pl[row.name], table.unpack(inputs, 1, #row.inputs))
          assert.is_false(ok)
          local why = "is q8_0, a kept dtype, which is not read here; cast makes it float32"
          assert.equal(("%s: %s %s"):format(row.name, input.name, why), message)
        end
      end
    end
    assert.same({ "embedding.w", "gather.x", "cast.x" }, readers)
  end)

  it("count in hashes and stay out of files that cannot hold them", function()
    local q = pl.zeros({ 1, 32 }):cast { dtype = "q8_0" }
    local other = pl.from_bytes("\1" .. q:bytes():sub(2), "q8_0", { 1, 32 })
    local hash = core.files.hash_tensors
    assert.equal(hash { w = q }, hash { w = q:clone() })
    assert.not_equal(hash { w = q }, hash { w = other })
    local path = os.tmpname()
    local ok, message = core.safetensors.save(path, { w = q })
    os.remove(path)
    assert.is_falsy(ok)
    assert.is_truthy(
      message:find("'w' is q8_0, which safetensors cannot hold; cast makes it float32", 1, true)
    )
  end)
end)
