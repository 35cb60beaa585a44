--- Whole models against what others published or computed: stories260K's greedy text, every
-- activation of gpt-nano-sort, and PyTorch's logits, gradients and training curves of both families
-- (tests/golden, made by make_goldens.py there).

local json = require("perilune.base.json")
local llama2c = dofile("tests/lua/support/llama2c.lua")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local toy = dofile("tests/lua/support/toy.lua")

local DATA = "../shared/data/models/"

local read, there = scratch.read, scratch.there

--- Holds an exported llama2.c model against itself, over its own greedy answer to a prompt.
local function exported_in_halves(folder, prompt)
  local guard <close> = pl.no_grad() -- luacheck: ignore
  local model = assert(pl.load(folder))
  assert.is_true(model.config.rope_interleaved)
  local dir = scratch.folder() .. "/model"
  assert(model:save(dir))
  local exported = assert(pl.load(dir))
  scratch.clean()
  assert.is_falsy(exported.config.rope_interleaved)
  local list = { pl.generate(model, { prompt }, { max_tokens = 100, temperature = 0 })[1].tokens }
  local packed = pl.batch.pack(list)
  local got, want = exported:logits(packed), model:logits(packed)
  local err = toy.max_error(got, want) / want:abs():max():item()
  assert.is_true(err <= 2e-6, "logits, relative to the largest: " .. err)
end

describe("stories260K", function()
  it("says from its beginning token what its author published", function()
    local folder = DATA .. "stories260K"
    if not there(folder) then return pending(folder .. " is not there") end
    local tok = assert(pl.tokenizer.load(folder .. "/tok512.bin"))
    local model = assert(pl.load(folder))
    local want = read(folder .. "/greedy.txt"):gsub("\n$", "")
    local answer = pl.generate(model, { { 1 } }, { max_tokens = 262, temperature = 0 })[1]
    local text =
      tok:decode(table.move(answer.tokens, 1, #answer.tokens, 2, { 1 }), { skip_special = true })
    assert.is_true(#want > 500)
    assert.are.equal(want, text:sub(1, #want))
  end)

  it("is the same function when it is exported with RoPE in halves", function()
    local folder = DATA .. "stories260K"
    if not there(folder) then return pending(folder .. " is not there") end
    exported_in_halves(folder, { 1 })
  end)
end)

describe("a llama2.c model of the test's own", function()
  it("has the logits of the model it was written from", function()
    local folder = scratch.folder()
    local wanted = llama2c.write(folder)
    local guard <close> = pl.no_grad() -- luacheck: ignore
    local packed = pl.batch.pack { { 1, 259, 264, 4, 5 }, { 1, 265 } }
    for _, path in ipairs { folder, folder .. "/tiny.bin" } do
      assert.is_true(assert(pl.load(path)):logits(packed):bytes() == wanted:logits(packed):bytes())
    end
    scratch.clean()
  end)

  it("is the same function when it is exported with RoPE in halves", function()
    local folder = scratch.folder()
    llama2c.write(folder)
    exported_in_halves(folder, { 1, 262, 259 })
  end)
end)

-- ---- gpt-nano-sort ------------------------------------------------------------------------------

local base64 = {}
for c in ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"):gmatch(".") do
  base64[c:byte()], base64.count = base64.count or 0, (base64.count or 0) + 1
end

local function decode64(text)
  local parts = {}
  text = text:gsub("=", "")
  for i = 1, #text, 4 do
    local a, b, c, d = text:byte(i, i + 3)
    local n = base64[a] << 18 | base64[b] << 12 | (base64[c] or 0) << 6 | (base64[d] or 0)
    local three = string.char(n >> 16 & 255, n >> 8 & 255, n & 255)
    parts[#parts + 1] = d and three or c and three:sub(1, 2) or three:sub(1, 1)
  end
  return table.concat(parts)
end

--- All {shape, data} entries of a file as tensors, and its config.
local function read_arrays(path)
  local tensors, raw = {}, assert(json.decode(read(path)))
  for name, entry in pairs(raw) do
    if name ~= "config" then
      tensors[name] = pl.from_bytes(decode64(entry.data), "float32", entry.shape)
    end
  end
  return tensors, raw.config
end

--- [B, H, T, D] as rows [B * T, H * D].
local function heads_last(t)
  local s = t:shape()
  return t:transpose(2, 3):reshape(s[1] * s[3], s[2] * s[4])
end

describe("gpt-nano-sort", function()
  it("has every published activation", function()
    local folder = DATA .. "gpt-nano-sort"
    if not there(folder) then return pending(folder .. " is not there") end
    local guard <close> = pl.no_grad() -- luacheck: ignore
    local weights = read_arrays(folder .. "/gpt-nano-sort-model.json")
    local want, config = read_arrays(folder .. "/gpt-nano-sort-t0-partials.json")
    local model = pl.model.new {
      model_type = "gpt2",
      n_embd = config.n_embd,
      n_layer = config.n_layer,
      n_head = config.n_head,
      n_positions = config.block_size,
      vocab_size = config.vocab_size,
      tie_word_embeddings = false,
    }
    for name, weight in pairs(model.weights) do
      assert.are.same(weight:shape(), weights[name]:shape())
      weight:copy_(weights[name])
    end

    local sequences = {}
    for b, row in ipairs(want.idx:totable()) do
      sequences[b] = {}
      for t, id in ipairs(row) do
        sequences[b][t] = math.tointeger(id)
      end
    end
    local batch = pl.batch.pack(sequences)
    local function w(name)
      return model.weights["transformer." .. name .. ".weight"],
        model.weights["transformer." .. name .. ".bias"]
    end
    local function linear(x, name) return pl.linear(x, w(name)) end
    local function norm(x, name)
      local weight, bias = w(name)
      return pl.layernorm(x, weight, bias, { eps = 1e-5 })
    end

    -- the same ops as the model's, so that what lies between them can be looked at
    local got, c = {}, config.n_embd
    local d, rows = c // config.n_head, config.B * config.block_size
    got.tok_emb = pl.embedding(w("wte"), batch.tokens)
    got.pos_emb = pl.embedding(w("wpe"), pl.arange(config.block_size))
    got.x = got.tok_emb + pl.embedding(w("wpe"), batch.positions)
    local x = got.x
    for i = 0, config.n_layer - 1 do
      local part, at = {}, ("h.%d."):format(i)
      part.ln1 = norm(x, at .. "ln_1")
      part.qkv = linear(part.ln1, at .. "attn.c_attn")
      part.q, part.k = part.qkv:slice(2, 1, c), part.qkv:slice(2, c + 1, 2 * c)
      part.v = part.qkv:slice(2, 2 * c + 1, 3 * c)
      part.y = pl.attention(part.q, part.k, part.v, batch.offsets, { heads = config.n_head })
      part.yProj = linear(part.y, at .. "attn.c_proj")
      part.attnResid = x + part.yProj
      part.ln2 = norm(part.attnResid, at .. "ln_2")
      part.fc = linear(part.ln2, at .. "mlp.c_fc")
      part.gelu = pl.gelu(part.fc, { approximate = "tanh" })
      part.mlp = linear(part.gelu, at .. "mlp.c_proj")
      part.mlpResid = part.attnResid + part.mlp
      x = part.mlpResid
      got["block" .. i] = x
      if i == 0 then -- the inner points of the first block are published
        for name, value in pairs(part) do
          got[name] = value
        end
      end
    end
    got.ln_f = model:hidden(batch)
    got.lm_head = model:logits(batch)
    got.probs = got.lm_head:softmax()
    assert.are.equal(norm(x, "ln_f"):bytes(), got.ln_f:bytes())

    -- Values that are unit vectors of their places show the weights of attention.
    local unit = {}
    for r = 1, rows do
      unit[r] = {}
      for i = 1, c do
        unit[r][i] = (i - 1) % d == (r - 1) % config.block_size and 1 or 0
      end
    end
    got.attSm =
      pl.attention(got.q, got.k, pl.tensor(unit), batch.offsets, { heads = config.n_head })
    local weights_want = want.attSm:totable()
    local padded = {}
    for r = 1, rows do
      padded[r] = {}
      for i = 1, c do
        local b, t, h = (r - 1) // config.block_size, (r - 1) % config.block_size, (i - 1) // d
        padded[r][i] = weights_want[b + 1][h + 1][t + 1][(i - 1) % d + 1] or 0
      end
    end
    want.attSm = pl.tensor(padded)
    for _, name in ipairs { "q", "k", "v" } do
      want[name] = heads_last(want[name])
    end
    want.idx, got.idx = nil, nil
    local scores = want.att -- before the softmax, -inf where masked: it follows from q and k
    want.att = nil
    for b, heads in ipairs(scores:totable()) do
      for h, lines in ipairs(heads) do
        for t, line in ipairs(lines) do
          local function row(x_, place)
            return x_:slice(
              1,
              (b - 1) * config.block_size + place,
              (b - 1) * config.block_size + place
            ):slice(2, (h - 1) * d + 1, h * d)
          end
          local q = row(got.q, t)
          for j = 1, t do
            local score = (q * row(got.k, j)):sum():item() / math.sqrt(d)
            assert.is_true(math.abs(score - line[j]) <= 1e-5)
          end
        end
      end
    end

    local compared = 0
    for name, expected in pairs(want) do
      local err = toy.max_error(assert(got[name], name), expected)
      assert.is_true(err <= 1e-5, ("%s is off by %.3g"):format(name, err))
      compared = compared + 1
    end
    assert.are.equal(23, compared)
  end)
end)

-- ---- PyTorch ------------------------------------------------------------------------------------

--- A golden and the model and batch it tells of.
local function read_golden(name, dtype)
  local path = "tests/golden/" .. name .. ".safetensors"
  local tensors, notes = pl.files.safetensors.load(path)
  assert(tensors, notes)
  local config = assert(json.decode(notes.config))
  local model = pl.model.new(config, { dtype = dtype })
  local seen = 0
  for parameter, weight in pairs(model.weights) do
    local given = assert(tensors["w." .. parameter], parameter)
    assert.are.same(given:shape(), weight:shape())
    weight:copy_(dtype == "float64" and given:cast { dtype = "float64" } or given)
    seen = seen + 1
  end
  local held = 0
  for key in pairs(tensors) do
    held = held + (key:match("^w%.") and 1 or 0)
  end
  assert.are.equal(held, seen)
  local tokens, masks, offsets =
    tensors.tokens:totable(), tensors.masks:totable(), tensors.offsets:totable()
  local sequences, answer_masks = {}, {}
  for b = 1, #offsets - 1 do
    sequences[b] = table.move(tokens, offsets[b] + 1, offsets[b + 1], 1, {})
    answer_masks[b] = table.move(masks, offsets[b] + 1, offsets[b + 1], 1, {})
  end
  return tensors, model, sequences, answer_masks
end

for _, name in ipairs { "llama_untied", "llama_tied", "gpt2" } do
  for dtype, bound in pairs { float32 = 1e-5, float64 = 5e-7 } do
    describe(("PyTorch's %s in %s"):format(name, dtype), function()
      local want, model, sequences, masks = read_golden(name, dtype)

      it("has the same logits", function()
        local guard <close> = pl.no_grad() -- luacheck: ignore
        local err = toy.max_error(model:logits(pl.batch.pack(sequences)), want.logits)
        assert.is_true(err <= (dtype == "float32" and 1e-5 or 1e-6), "logits: " .. err)
      end)

      it("has the same gradient of every parameter", function()
        local got = toy.gradients(
          model,
          function() pl.loss.lm(model, sequences, masks):backward() end
        )
        for _, entry in ipairs(got) do
          local expected = want["g." .. entry[1]]
          local err = toy.relative_error(entry[2], expected)
          assert.is_true(err <= bound, ("%s: %.3g"):format(entry[1], err))
        end
      end)

      it("learns along the same curve for ten steps of AdamW", function()
        local losses = want.losses:totable()
        local optimizer = pl.adamw(model.block)
        for step = 1, #losses do
          local scope <close> = pl.scope("golden.step")
          model.block:zero_grad()
          local loss = pl.loss.lm(model, sequences, masks)
          local err = math.abs(loss:item() - losses[step]) / losses[step]
          assert.is_true(err <= bound, ("step %d: %.3g"):format(step, err))
          loss:backward()
          if step < #losses then
            optimizer:step {
              lr = 3e-3,
              beta1 = 0.9,
              beta2 = 0.95,
              eps = 1e-8,
              weight_decay = 0.1,
              max_grad_norm = 1,
            }
          end
        end
        assert.is_true(losses[#losses] < losses[1] - 0.5)
      end)
    end)
  end
end
