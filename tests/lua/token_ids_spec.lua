--- Token ids, rows and offsets come from lists: each way into the engine refuses what is not an
-- integer, does not fit or is outside the vocabulary, and says which argument it is and where.

local pl = require("perilune")

local VOCABULARY <const> = 40

local model

setup(
  function()
    model = pl.model.new({
      model_type = "llama",
      tie_word_embeddings = true,
      hidden_size = 32,
      num_hidden_layers = 1,
      num_attention_heads = 2,
      intermediate_size = 32,
      vocab_size = VOCABULARY,
      max_position_embeddings = 64,
    }, { seed = 3 })
  end
)

local function refused(text, f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  assert.truthy(message:find(text, 1, true), message)
end

--- What is no id in any list, and what is said of it.
local NO_IDS <const> = {
  { 1.5, "is 1.5, not an integer" },
  { "7", "is '7', not an integer" },
  { false, "is false, not an integer" },
  { 2 ^ 31 | 0, "is 2147483648, not an integer of 32 bits" },
  { -2 ^ 31 - 1 | 0, "is -2147483649, not an integer of 32 bits" },
}

describe("generate", function()
  it("refuses what is no token id, by prompt and place", function()
    for _, case in ipairs(NO_IDS) do
      refused(
        "generate: prompt 2: item 3 " .. case[2],
        pl.generate,
        model,
        { { 1, 2 }, { 3, 4, case[1] } },
        { max_tokens = 1 }
      )
      refused(
        "generate: stop: item 2 " .. case[2],
        pl.generate,
        model,
        { { 1 } },
        { max_tokens = 1, stop = { 3, case[1] } }
      )
    end
    refused(
      "generate: prompt 1: item 2 is nil, not an integer",
      pl.generate,
      model,
      { setmetatable({ 1 }, { __len = function() return 2 end }) },
      { max_tokens = 1 }
    )
  end)

  it("refuses ids outside the vocabulary before it starts", function()
    for _, id in ipairs { -1, VOCABULARY, 2 ^ 31 - 1 | 0 } do
      local said = ("item 2 is %d; token ids from 0 to %d wanted"):format(id, VOCABULARY - 1)
      refused(
        "generate: prompt 2: " .. said,
        pl.generate,
        model,
        { { 1 }, { 0, id } },
        { max_tokens = 1 }
      )
      refused(
        "generate: stop: " .. said,
        pl.generate,
        model,
        { { 1 } },
        { max_tokens = 1, stop = { 0, id } }
      )
    end
    local last = VOCABULARY - 1
    assert.are.equal(1, #pl.generate(model, { { 0, last } }, { max_tokens = 1, stop = { last } }))
  end)

  it("refuses keys that are no integers", function()
    refused(
      "generate: keys: item 2 is 0.5, not an integer",
      pl.generate,
      model,
      { { 1 }, { 2 } },
      { max_tokens = 1, keys = { 7, 0.5 } }
    )
    refused(
      "generate: keys: one for each prompt wanted",
      pl.generate,
      model,
      { { 1 }, { 2 } },
      { max_tokens = 1, keys = { 7 } }
    )
  end)
end)

describe("tensors and ops", function()
  it("refuse what is no int32, by argument and place", function()
    local table_of_rows = pl.zeros { 4, 2 }
    for _, case in ipairs(NO_IDS) do
      refused("tensor: item 3 " .. case[2], pl.tensor, { 0, 1, case[1] }, "int32")
      refused("embedding: ids: item 2 " .. case[2], pl.embedding, table_of_rows, { 0, case[1] })
      refused(
        "segment_sum: offsets: item 2 " .. case[2],
        pl.segment_sum,
        table_of_rows,
        { 0, case[1] }
      )
    end
    refused("tensor: item 4 is 1.5", pl.tensor, { { 1, 2 }, { 3, 1.5 } }, "int32")
  end)

  it("refuse rows that are not there", function()
    local table_of_rows = pl.zeros { 4, 2 }
    for _, id in ipairs { -1, 4 } do
      refused(
        ("embedding: ids holds %d at place 2; 0 to 3 wanted"):format(id),
        pl.embedding,
        table_of_rows,
        { 0, id }
      )
      refused(
        ("cross_entropy: targets holds %d at place 1; 0 to 3 wanted"):format(id),
        pl.cross_entropy,
        table_of_rows,
        table_of_rows,
        { 0 },
        { id }
      )
    end
  end)

  it("fill and set take integers of 32 bits alone", function()
    local ids = pl.zeros({ 2 }, "int32")
    refused("fill: 1.5 is not an integer of 32 bits", ids.fill_, ids, 1.5)
    refused("fill: 2147483648 is not an integer of 32 bits", ids.fill_, ids, 2 ^ 31)
    refused("fill: 0.5 is not an integer of 32 bits", pl.full, { 2 }, 0.5, "int32")
    refused("set: item 2 is 1.5, not an integer", ids.set, ids, 2, 1.5)
    assert.are.same({ 0, 0 }, ids:totable())
  end)
end)

describe("decode", function()
  it("refuses what is no token id; one without a token gives U+FFFD", function()
    local tok = pl.tokenizer.train { texts = { "a cat" }, vocab_size = 260 }
    for _, case in ipairs(NO_IDS) do
      refused("decode: ids: item 2 " .. case[2], tok.decode, tok, { 0, case[1] })
    end
    refused("decode: ids: item 2 is -1; token ids from 0 wanted", tok.decode, tok, { 0, -1 })
    refused(
      "decode: ids: item 1 is -1; token ids from 0 wanted",
      tok.decode,
      tok,
      pl.tensor({ -1 }, "int32")
    )
    assert.are.equal("\u{FFFD}", tok:decode { 2 ^ 31 - 1 | 0 })
  end)
end)
