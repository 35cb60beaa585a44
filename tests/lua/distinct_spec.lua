--- Sequences of a batch that begin alike: their common rows are done once, and every row has the
-- bits that it has alone; gradients are those of all rows.

local core = require("perilune.core")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local support = dofile("tests/lua/support/families.lua")
local toy = dofile("tests/lua/support/toy.lua")

teardown(scratch.clean)

local function distinct(sequences)
  local packed = pl.batch.pack(sequences)
  local rows, places = core.ragged.distinct(packed.tokens, packed.offsets)
  return { rows:totable(), places:totable() }
end

local function appended(a, n, b)
  local result = table.move(a, 1, n, 1, {})
  return table.move(b, 1, #b, n + 1, result)
end

-- Answers of several lengths to two prompts, one said twice, one not at all.
local function answers(vocab)
  local parts = support.sequences(vocab)
  local a, b, c = parts[1], parts[3], parts[4]
  return {
    appended(a, 4, b),
    appended(a, 4, c),
    appended(a, 4, c),
    a,
    appended(b, 9, c),
    appended(b, 9, a),
    { b[1] },
    c,
  }
end

-- The hidden states of each sequence by itself, one after the other.
local function alone(model, sequences)
  local list = {}
  for b, sequence in ipairs(sequences) do
    list[b] = model:hidden(pl.batch.pack { sequence }):bytes()
  end
  return table.concat(list)
end

describe("ragged.distinct", function()
  it("leaves out what neighbours have in common at their beginnings", function()
    assert.are.same({ { 0, 1, 2 }, { 0, 1, 2 } }, distinct { { 5, 6, 7 } })
    assert.are.same(
      { { 0, 1, 2, 5, 8, 9 }, { 0, 1, 2, 0, 1, 3, 0, 1, 4, 5 } },
      distinct { { 5, 6, 7 }, { 5, 6, 8 }, { 5, 6, 9, 9 } }
    )
    assert.are.same({ { 0, 1 }, { 0, 1, 0, 1, 0 } }, distinct { { 3, 3 }, { 3, 3 }, { 3 } })
    -- a longer sequence shares what its shorter neighbour has, and no more
    assert.are.same({ { 0, 3 }, { 0, 0, 0, 1 } }, distinct { { 3 }, { 3 }, { 3, 4 } })
  end)

  it("is what a plan counts by: an attention part of all, the rest of what is left", function()
    local sequences = { { 5, 6, 7, 8 }, { 5, 6, 7, 9 }, { 5, 6, 7, 8 }, {}, { 4 } }
    local rows = #distinct(sequences)[1]
    assert.are.same({ 13, rows + 0.4 * (13 - rows) }, { pl.batch.load(sequences) })
    assert.are.same({ 5, 5 }, { pl.batch.load { { 1, 2 }, { 3, 4, 5 } } })
    assert.are.same({ 0, 0 }, { pl.batch.load {} })
    -- one row in ten or fewer are done as they stand
    local long = { {}, {} }
    for i = 1, 10 do
      long[1][i], long[2][i] = i, i == 1 and 1 or -i
    end
    assert.are.same({ 20, 20 }, { pl.batch.load(long) })
  end)

  it("takes empty sequences, and none", function()
    assert.are.same({ { 0 }, { 0 } }, distinct { {}, { 4 }, {} })
    assert.are.same({ { 0, 1 }, { 0, 1 } }, distinct { { 4 }, {}, { 4 } })
    assert.are.same({ {}, {} }, distinct {})
  end)

  it("refuses tokens that are no int32 list, and offsets of another batch", function()
    local offsets = pl.tensor({ 0, 2 }, "int32")
    assert.has_error(function() core.ragged.distinct(pl.zeros { 2 }, offsets) end)
    assert.has_error(function() core.ragged.distinct(pl.tensor({ 1 }, "int32"), offsets) end)
  end)
end)

for _, name in ipairs(support.names()) do
  describe("common beginnings in the family's " .. name, function()
    local case = support.read(name)
    local sequences = answers(case.config4.vocab_size)
    local function model(dtype, precision)
      local m = support.model(case.config4, dtype)
      return precision and m:copy { precision = precision } or m
    end

    it("have the bits of each sequence alone", function()
      local scope <close> = pl.scope("distinct_spec") -- luacheck: ignore
      local guard <close> = pl.no_grad() -- luacheck: ignore
      for _, precision in ipairs { "float32", "bf16" } do
        local m = model("float32", precision)
        local packed = pl.batch.pack(sequences)
        assert.is_true(alone(m, sequences) == m:hidden(packed):bytes())
        local last = pl.batch.last_rows(packed)
        local wanted = core.gather(m:hidden(packed), last):bytes()
        assert.is_true(wanted == m:hidden(packed, { rows = last }):bytes())
      end
    end)

    it("have the gradients of all their rows", function()
      local m = model("float64")
      local wanted = toy.gradients(m, function()
        for _, sequence in ipairs(sequences) do
          if #sequence > 1 then pl.loss.lm(m, { sequence }, nil, { norm = 50 }):backward() end
        end
      end)
      for _, checkpoint in ipairs { false, true } do
        local got = toy.gradients(
          m,
          function()
            pl.loss.lm(m, sequences, nil, { norm = 50, checkpoint = checkpoint }):backward()
          end
        )
        local err, where = toy.gradient_error(got, wanted)
        assert.is_true(err <= 1e-12, ("%s: %.3g"):format(where, err))
      end
    end)
  end)
end

describe("common beginnings at places of their own", function()
  it("are read as they stand", function()
    local scope <close> = pl.scope("distinct_spec") -- luacheck: ignore
    local m = toy.model("gpt2")
    local sequence = toy.sequences({ 9 })[1]
    local packed = pl.batch.pack { sequence, sequence }
    local places = packed.positions:totable()
    places[18] = places[18] + 1
    packed.positions = pl.tensor(places, "int32")
    local hidden = m:hidden(packed)
    assert.is_false(hidden:slice(1, 9, 9):bytes() == hidden:slice(1, 18, 18):bytes())
  end)
end)

describe("common beginnings under dropout", function()
  it("draw for each sequence anew", function()
    local scope <close> = pl.scope("distinct_spec") -- luacheck: ignore
    local m = toy.model("llama")
    local sequence = toy.sequences({ 9 })[1]
    local hidden = m:hidden(pl.batch.pack { sequence, sequence }, {
      dropout = { p = 0.5, seed = 3, index = 1 },
    })
    assert.is_false(hidden:slice(1, 1, 9):bytes() == hidden:slice(1, 10, 18):bytes())
  end)
end)

describe("common beginnings beside dropout", function()
  -- Bytes that the forward pass keeps.
  local function kept(m, packed, dropout)
    local scope <close> = pl.scope("distinct_spec") -- luacheck: ignore
    local before = pl.mem().live
    m:hidden(packed, { dropout = dropout })
    return pl.mem().live - before
  end

  it("are read once when it drops nothing, as the recipes ask for it", function()
    local m = toy.model("gpt2")
    local sequence = toy.sequences({ 30 })[1]
    local packed = pl.batch.pack { sequence, sequence, sequence }
    local without = kept(m, packed, nil)
    assert.is_true(kept(m, packed, { p = 0, seed = 1, index = 1 }) < 1.01 * without)
    assert.is_true(kept(m, packed, { p = 0.1, seed = 1, index = 1 }) > 1.3 * without)
    local folder = scratch.path()
    assert(m:save(folder))
    local adapted = assert(pl.load(folder, { peft = { r = 2 } }))
    without = kept(adapted, packed, nil)
    assert.is_true(kept(adapted, packed, { p = 0, seed = 1, index = 1 }) < 1.01 * without)
    adapted = assert(pl.load(folder, { peft = { r = 2, dropout = 0.1 } }))
    assert.is_true(kept(adapted, packed, { p = 0, seed = 1, index = 1 }) > 1.3 * without)
  end)
end)

describe("common beginnings in a batch that goes in parts", function()
  -- Wide enough that a part has 512 rows.
  local function model()
    return pl.model.new({
      model_type = "gpt2",
      n_embd = 256,
      n_layer = 1,
      n_head = 4,
      n_positions = 320,
      vocab_size = toy.vocab,
    }, { seed = 3, precision = "bf16" })
  end

  it("are read once in each part, which is as long as the rows that are done", function()
    local m = model()
    local one, two = table.unpack(toy.sequences { 300, 300 })
    local sequences, apart = {}, {}
    for i = 1, 6 do -- 1,842 tokens: by these each would be a part of its own
      sequences[i] = appended(i <= 3 and one or two, 300, { i, 2 * i, 3, i, i, 5, 1 })
      apart[i] = appended({ i }, 1, sequences[i])
    end
    local function kept(list)
      local scope <close> = pl.scope("distinct_spec") -- luacheck: ignore
      local packed, before = pl.batch.pack(list), pl.mem().live
      m:hidden(packed)
      return pl.mem().live - before
    end
    kept(apart) -- the packed weights are there now
    assert.is_true(kept(sequences) < 0.75 * kept(apart))
    local scope <close> = pl.scope("distinct_spec") -- luacheck: ignore
    assert.is_true(alone(m, sequences) == m:hidden(pl.batch.pack(sequences)):bytes())
    assert.is_true(alone(m, apart) == m:hidden(pl.batch.pack(apart)):bytes())
  end)
end)
