--- Kept dtypes: constant weights in half precision and in GGUF's block formats.
--
-- tests/golden/kept.tsv has blocks and their values by the `gguf` package (make_kept.py).

local core = require("perilune.core")
local decoder = require("perilune.model.decoder")
local pl = require("perilune")
local kept = dofile("tests/lua/support/kept.lua")
local toy = dofile("tests/lua/support/toy.lua")
local world = dofile("tests/lua/support/world.lua")

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
  local row, width = golden[dtype], math.max(kept.blocks[dtype][1], 8)
  return pl.from_bytes(row.blocks, dtype, { row.count // width, width })
end

describe("kept dtypes", function()
  for dtype, layout in pairs(kept.blocks) do
    local block = layout[1]
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
          ("from_bytes: %d bytes given, the shape has %d"):format(#row.blocks - 1, #row.blocks)
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

      it("is shown as its values are", function()
        local t = matrix(dtype)
        local head = ("%s[%d,%d] %d bytes"):format(dtype, t:size(1), t:size(2), #row.blocks)
        local shown = tostring(t:cast())
        assert.equal(head .. shown:match(" |.*"), tostring(t))
        assert.equal(
          dtype .. "[0," .. block .. "] 0 bytes | no elements",
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
    local text = "quantise: element 67 is %s, which %s cannot hold"
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
      assert.equal(name .. ": the tensor is q8_0, a kept dtype; cast makes it float32", message)
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
    table.sort(readers)
    assert.same({
      "cast.x",
      "cross_entropy.head",
      "embedding.w",
      "gather.x",
      "kl_full.head",
      "kl_full.ref_head",
      "linear.w",
      "logprob.head",
      "view.x",
    }, readers)
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

describe("products with kept weights", function()
  local gemm_before

  setup(function()
    gemm_before = pl.gemm().wish
    pl.gemm("own")
  end)

  teardown(function() pl.gemm(gemm_before) end)

  for _, isa in ipairs { "avx512", "avx2", "plain" } do
    it("have the bits of those with their values: " .. isa, function()
      local before = os.getenv("PERILUNE_ISA")
      require("perilune.core").system.setenv("PERILUNE_ISA", isa)
      local code = 'local faults = dofile("tests/lua/support/kept.lua").faults() '
        .. 'print(require("perilune").isa(), #faults, table.concat(faults, ", "))'
      local child = io.popen(("%s -e '%s'"):format(world.program, code))
      local said = child:read("a")
      child:close()
      require("perilune.core").system.setenv("PERILUNE_ISA", before)
      if not said:find(isa, 1, true) then
        pending("this machine cannot run the " .. isa .. " kernels")
        return
      end
      assert.equal(isa .. "\t0\t\n", said)
    end)
  end

  --- The outputs and the gradient to the hidden states of a loss on each of two heads.
  local function same_loss(heads, loss)
    local said = {}
    for i, head in ipairs(heads) do
      local hidden = pl.randn({ 9, head:size(2) }, { seed = 3 }):requires_grad(true)
      local outputs = { loss(hidden, head) }
      local total = outputs[1]:sum()
      if outputs[2] then total = total + outputs[2]:sum() end
      total:backward()
      said[i] = { hidden:grad():bytes() }
      for _, output in ipairs(outputs) do
        table.insert(said[i], output:bytes())
      end
    end
    assert.same(said[2], said[1])
  end

  it("are those of the heads of losses", function()
    local rows, targets = { 8, 0, 0, 5, 3 }, { 1, 66, 0, 30, 31 }
    for _, dtype in ipairs { "q8_0", "q4_1", "q6_k", "bfloat16" } do
      local head = kept.weight(dtype, 67, dtype == "bfloat16" and 37 or 256)
      local heads = { head, head:cast() }
      same_loss(heads, function(hidden, w) return pl.cross_entropy(hidden, w, rows, targets) end)
      same_loss(heads, function(hidden, w) return pl.logprob(hidden, w, rows, targets) end)
      local reference = pl.randn({ 9, head:size(2) }, { seed = 8 })
      same_loss(
        heads,
        function(hidden, w) return pl.kl_full(hidden, heads[2], reference, w, rows) end
      )
      same_loss(
        heads,
        function(hidden, w) return pl.kl_full(hidden, w, reference, heads[1], rows) end
      )
    end
  end)

  it("take no memory for the values of the whole weight", function()
    local w = kept.weight("q4_1", 4096, 1024) -- 16 MiB as float32
    local head = kept.weight("q8_0", 4096, 1024)
    local x = pl.randn({ 65, 1024 }):requires_grad(true)
    pl.linear(x, w):sum():backward() -- memory for the gradient is there from now on
    pl.mem_reset_peak()
    local before = pl.mem().live
    pl.linear(x:detach():slice(1, 1, 1), w:name("w"))
    pl.linear(x, w):sum():backward()
    pl.cross_entropy(x, head, { 3, 4 }, { 5, 6 }):backward()
    assert.is_true(pl.mem().peak - before < 6 << 20)
  end)

  it("are those of a whole model: sampling, and gradients to what is trained", function()
    local models = { toy.model("llama"), toy.model("llama") }
    for i, model in ipairs(models) do
      local guard <close> = pl.no_grad() -- luacheck: ignore
      for name, weight in pairs(model.weights) do
        if weight:rank() == 2 then
          local kept_weight = weight:cast { dtype = "bfloat16" }
          model.weights[name] = (i == 1 and kept_weight or kept_weight:cast()):name(name)
        end
      end
      decoder.bind(model)
    end
    local prompts, options = { { 1, 2, 3 }, { 4 } }, { max_tokens = 12, seed = 8, samples = 3 }
    local answers = pl.generate(models[1], prompts, options)
    assert.equal(6, #answers)
    local want = pl.generate(models[2], prompts, options)
    assert.same(want.tokens:totable(), answers.tokens:totable())
    assert.is_true(want.logprobs:bytes() == answers.logprobs:bytes())
    local grads = {}
    for i, model in ipairs(models) do
      local sequences = toy.sequences { 5, 1, 9 }
      local targets = pl.batch.targets(sequences, toy.answer_masks(sequences, 0))
      local logprobs = pl.loss.logprobs(model, pl.batch.pack(sequences), targets)
      logprobs:sum():backward()
      grads[i] = { logprobs:bytes() }
      for _, entry in ipairs(model.entries) do
        local weight = model.weights[entry[1]]
        if weight:rank() == 1 then table.insert(grads[i], weight:grad():bytes()) end
      end
    end
    assert.equal(6, #grads[1])
    assert.same(grads[2], grads[1])
  end)

  it("go on where scales are not finite", function()
    for dtype, layout in pairs(kept.blocks) do
      local width = math.max(layout[1], 32)
      local w = kept.weight(dtype, 40, width)
      for _, half in ipairs { "\0\x7c", "\0\xfc", "\1\x7e" } do -- inf, -inf, NaN
        local bytes, at = w:bytes(), (layout[3][1] or 1) - 1
        local odd = pl.from_bytes(bytes:sub(1, at) .. half .. bytes:sub(at + 3), dtype, w:shape())
        local values = odd:cast()
        local y, want =
          pl.linear(pl.full({ 2, width }, 1), odd), pl.linear(pl.full({ 2, width }, 1), values)
        for row = 1, 2 do
          local a, b = y:get(row, 1), want:get(row, 1)
          assert.is_true(a == b or (a ~= a and b ~= b))
          for column = 2, 40 do
            assert.equal(want:get(row, column), y:get(row, column))
          end
        end
      end
    end
  end)
end)
