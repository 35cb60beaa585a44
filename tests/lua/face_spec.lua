--- The library as one meets it at the prompt: `pl` and its modules as text, names that are not
-- there, models and optimizers as text, optimizers over tensors, errors in the words of the caller.

local pl = require("perilune")
local host = require("perilune.host")
local system = require("perilune.core").system

local columns = os.getenv("COLUMNS")
setup(function() system.setenv("COLUMNS", "80") end)
teardown(function() system.setenv("COLUMNS", columns or "") end)

local function refused(message, f, ...)
  local ok, said = pcall(f, ...)
  assert.is_false(ok)
  assert.equal(message, (tostring(said):gsub("^[^:]+:%d+: ", "")))
end

-- What the program would print of an error.
local function printed(f, ...)
  local ok, message = host.call(f, ...)
  return not ok and (tostring(message):gsub("^[^\n:]+:%d+: ", "")) or nil
end

local function small_model()
  return pl.model.new({
    model_type = "llama",
    vocab_size = 10,
    hidden_size = 8,
    intermediate_size = 12,
    num_hidden_layers = 2,
    num_attention_heads = 2,
    max_position_embeddings = 16,
    rms_norm_eps = 1e-6,
  }, { seed = 1 })
end

describe("pl", function()
  it("is shown by rooms, within the terminal", function()
    for _, width in ipairs { 60, 80, 120 } do
      system.setenv("COLUMNS", tostring(width))
      for line in tostring(pl):gmatch("[^\n]+") do
        assert.is_true(utf8.len(line) <= width, line)
      end
    end
    system.setenv("COLUMNS", "80")
    local text = tostring(pl)
    assert.matches("\nops         abs add argmax", text, 1, true)
    assert.truthy(
      text:find("\nlearn +[%l_ ]*companions%s+evaluation%s+[%l_]+%s+loss[%l_%s]*preference"),
      text
    )
    assert.matches("\nmodel       model tokenizer", text, 1, true)
  end)

  it("says what is meant by a name it does not have", function()
    refused("pl has no 'zeross'; did you mean 'zeros'?", function() return pl.zeross end)
    refused("pl has no 'schedul'; did you mean 'schedule'?", function() return pl.schedul end)
    refused("pl has no 'xyzzyx'", function() return pl.xyzzyx end)
    refused("pl.stats has no 'means'; did you mean 'mean'?", function() return pl.stats.means end)
    refused(
      "pl.rules has no 'lenght'; did you mean 'length'?",
      function() return pl.rules.lenght end
    )
    assert.is_nil(rawget(pl, "xyzzyx"))
  end)

  it("has modules that list their functions, one a line", function()
    local lines = {}
    for line in tostring(pl.random):gmatch("[^\n]+") do
      lines[#lines + 1] = line
      assert.is_true(utf8.len(line) <= 80, line)
    end
    assert.matches("^pl%.random: ", lines[1])
    assert.matches("^  normal%(seed, name, %.%.%.%) +One draw", lines[2])
    assert.is_true(#lines > 4)
    assert.matches("\n  ragged%(sequences%) +Sequences laid end to end", tostring(pl.batch))
  end)
end)

describe("a model", function()
  it("is shown with family, size, and a line for each kind of block", function()
    local text = tostring(small_model())
    local head = "llama model: 1.29k parameters in float32 (5.19 KiB), reads 16 tokens\n"
    assert.equal(head, text:sub(1, #head))
    assert.matches(
      "\n  model.layers.*.self_attn.q_proj.weight          2 x [8,8]   128",
      text,
      1,
      true
    )
    assert.matches("\n  model.embed_tokens.weight  [ ]+%[10,8%]   80\n", text)
    assert.equal(12, select(2, text:gsub("\n", "")))
  end)

  it("says what is meant by a method it does not have", function()
    local model = small_model()
    refused("a Model has no 'logit'; did you mean 'logits'?", function() return model:logit() end)
    refused("a Model has no 'hashh'; did you mean 'hash'?", function() return model.hashh end)
    assert.is_nil(model.base)
    assert.is_nil(model.peft)
  end)

  it("speaks of ids, not of the op that reads them", function()
    local model = small_model()
    assert.equal(
      "Model:logits: ids holds 99 at place 2; 0 to 9 wanted",
      printed(model.logits, model, pl.batch.pack { { 1, 99 } })
    )
    assert.equal(
      "pl.generate: 'model' must be a Model, got a tensor of shape [2]",
      printed(pl.generate, pl.zeros(2), { { 1 } })
    )
  end)
end)

describe("an error of ours", function()
  it("has the caller's place and his names", function()
    local program, file = host.executable, os.tmpname()
    local function says(script)
      local out = io.open(file, "w")
      out:write(script)
      out:close()
      local pipe = io.popen(("%s %s 2>&1"):format(program, file))
      local text = pipe:read("a")
      pipe:close()
      return (text:gsub(file:gsub("%p", "%%%0"), "FILE"))
    end
    assert.equal(
      "perilune: FILE:2: adamw: tensor 1 is a number, not a tensor\n",
      says('local pl = require("perilune")\npl.adamw{1}\n')
    )
    assert.equal(
      "perilune: FILE:3: sequences: list of token lists wanted, got text\n",
      says('local pl = require("perilune")\n\nprint(pl.batch.parts("text"))\n')
    )
    assert.matches(
      "^perilune: FILE:1: bad argument #1 to 'copy_' %(Tensor expected, got nil%)",
      says('require("perilune").zeros(2):copy_(nil)\n')
    )
    os.remove(file)
  end)
end)

describe("a batch", function()
  it("is shown with its lengths", function()
    assert.equal(
      "batch of 3 sequences, 6 tokens; lengths 3 1 2",
      tostring(pl.batch.pack { { 1, 2, 3 }, { 4 }, { 5, 6 } })
    )
    assert.equal("batch of 0 sequences, 0 tokens; lengths ", tostring(pl.batch.ragged {}))
  end)

  it("is made of lists of token ids", function()
    local wanted = "sequences: list of token lists wanted, got "
    for _, name in ipairs { "pack", "ragged", "targets", "parts" } do
      refused(wanted .. "text", pl.batch[name], "text")
      refused(wanted .. "nothing", pl.batch[name])
      refused(wanted .. "a number", pl.batch[name], 7)
      refused(wanted .. "a tensor", pl.batch[name], pl.arange(3))
      refused(wanted .. "one token list; put it into braces", pl.batch[name], { 1, 2 })
      refused(wanted .. "text at place 2", pl.batch[name], { { 1 }, "b" })
      refused(wanted .. "a table of named fields", pl.batch[name], { tokens = 1 })
    end
  end)
end)

describe("an optimizer over tensors", function()
  local function parameters()
    local w = pl.tensor({ 1, 2 }):name("w"):requires_grad(true)
    local b = pl.tensor({ { 3 } }):requires_grad(true)
    return w, b
  end

  local function slopes(w, b)
    w:zero_grad()
    b:zero_grad();
    ((w * pl.tensor { 2, -4 }):sum() + b:sum()):backward()
  end

  it("takes the steps of AdamW", function()
    -- with a constant gradient the corrected moments are g and g^2: each step moves by lr sign(g)
    local w, b = parameters()
    local opt = pl.adamw { w, b }
    assert.equal("AdamW over 2 tensors, 3 parameters: 0 steps taken", tostring(opt))
    for step = 1, 3 do
      slopes(w, b)
      local r = opt:step { lr = 0.125, eps = 0 }
      assert.is_true(math.abs(r.grad_norm - math.sqrt(21)) < 1e-6)
      assert.is_true(math.abs(w[1]:item() - (1 - 0.125 * step)) < 1e-6)
      assert.is_true(math.abs(w[2]:item() - (2 + 0.125 * step)) < 1e-6)
      assert.is_true(math.abs(b[1][1]:item() - (3 - 0.125 * step)) < 1e-6)
    end
    assert.equal("AdamW over 2 tensors, 3 parameters: 3 steps taken", tostring(opt))
    opt:zero_grad()
    assert.is_nil(w:grad())
  end)

  it("has the bits of one over a block", function()
    local block = pl.block { { "w", { 2 } }, { "b", { 1, 1 } } }
    local of = block:tensors()
    of.w:copy_(pl.tensor { 1, 2 })
    of.b:fill_(3)
    local over_block = pl.adamw(block)
    local w, b = parameters()
    local opt = pl.adamw { w = w, b = b }
    local settings = { lr = 0.1, weight_decay = 0.1, max_grad_norm = 1 }
    for _ = 1, 3 do
      slopes(of.w, of.b)
      slopes(w, b)
      over_block:step(settings)
      opt:step(settings)
    end
    assert.equal(of.w:bytes(), w:bytes())
    assert.equal(of.b:bytes(), b:bytes())
  end)

  it("moves the tensor itself, seen through its views, and may be made anew", function()
    local w = parameters()
    local view = w:detach()
    for _ = 1, 2 do
      local opt = pl.adamw { w }
      w:zero_grad()
      w:sum():backward()
      opt:step { lr = 0.5, eps = 0 }
    end
    assert.same({ 0, 1 }, view:totable())
  end)

  it("leaves alone what no gradient has reached", function()
    local w, b = parameters()
    local opt = pl.adamw { w, b }
    b:sum():backward()
    opt:step { lr = 1 }
    assert.same({ 1, 2 }, w:totable())
    assert.equal(2, b:get(1, 1))
  end)

  it("wants tensors that want gradients", function()
    local w = parameters()
    local wanted = "adamw: a block of parameters (model.block) or a list of tensors wanted, got "
    refused(wanted .. "a tensor; put it into braces: {w}", pl.adamw, w)
    refused(wanted .. "nothing", pl.adamw)
    refused(wanted .. "a number", pl.adamw, 7)
    refused(wanted .. "a model; its parameters are model.block", pl.adamw, small_model())
    refused("adamw: the list of tensors is empty", pl.adamw, {})
    refused("adamw: tensor 2 is a number, not a tensor", pl.adamw, { w, 2 })
    refused("adamw: tensor 2 is the same tensor as number 1", pl.adamw, { w, w })
    refused(
      "adamw: tensor 'b' wants no gradient; write :requires_grad(true) first",
      pl.adamw,
      { b = pl.zeros(2) }
    )
    refused(
      "adamw: tensor 2 is float64, others are float32; one dtype wanted",
      pl.adamw,
      { w, pl.zeros(2, "float64"):requires_grad(true) }
    )
  end)
end)

describe("an error of an operator", function()
  it("names the operator and what was typed", function()
    local x = pl.zeros(3, 4)
    local sentence = "shapes [3,4], [3] do not broadcast: counted from the last axis, sizes must "
      .. "be equal or 1"
    refused("+: " .. sentence, function() return x + pl.zeros(3) end)
    refused("add: " .. sentence, function() return pl.add(x, pl.zeros(3)) end)
    refused("*: 'b' must be a tensor or a number, got nil", function() return x * nil end)
    refused("-: 'a' must be a tensor, got string", function() return "a" - x end)
    refused(
      "^: a is int32, a float dtype wanted; cast makes it float32",
      function() return pl.arange(3) ^ 2 end
    )
    refused("matmul: 'b' must be a tensor or a number, got nothing", pl.matmul, x)
    refused("sum: axis is 0; axes count from 1, or from the end with -1", x.sum, x, 0)
    refused("sum: there is no axis 3 in a tensor of rank 2", x.sum, x, 3)
    refused("sum: there is no axis -99 in a tensor of rank 2", x.sum, x, -99)
    refused("softmax: 1 argument too many", x.softmax, x, 1)
    refused("slice: start is 0; places count from 1, or from the end with -1", x.slice, x, 1, 0)
    refused(
      "slice: elements 2 to 9 (the last one taken) are not a run of axis 1 of x of shape [3,4]",
      x.slice,
      x,
      1,
      2,
      9
    )
  end)

  it("lets a run be counted from the end", function()
    local x = pl.arange(12):view(3, 4)
    assert.same({ { 4, 5, 6, 7 }, { 8, 9, 10, 11 } }, x:slice(1, -2):totable())
    assert.same({ { 1, 2 }, { 5, 6 }, { 9, 10 } }, x:slice(2, 2, -2):totable())
    assert.same({ { 3 }, { 7 }, { 11 } }, x:slice(-1, -1, -1):totable())
  end)
end)
