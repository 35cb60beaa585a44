local chat = require("perilune.data.chat")
local message_of = dofile("tests/lua/support/message_of.lua")
local tokenizer = require("perilune.model.tokenizer")

local SPECIAL = {
  "<|begin|>",
  "<|system|>",
  "<|user|>",
  "<|assistant|>",
  "<|end|>",
  "<|im_start|>",
  "<|im_end|>",
}
-- Bytes alone: a token a character, which makes positions easy to say.
local tok = tokenizer.train {
  texts = { "" },
  vocab_size = 263,
  special = SPECIAL,
  bos = "<|begin|>",
  eos = "<|end|>",
}
local TALK = {
  { role = "system", content = "S" },
  { role = "user", content = "ab" },
  { role = "assistant", content = "cde" },
  { role = "user", content = "f" },
  { role = "assistant", content = "gh" },
}

-- Trained text, runs joined by "|".
local function trained(ids, mask)
  local runs, run = {}, nil
  for i, id in ipairs(ids) do
    if mask[i] == 1 then
      run = run or {}
      run[#run + 1] = id
    elseif run then
      runs[#runs + 1], run = tok:decode(run), nil
    end
  end
  if run then runs[#runs + 1] = tok:decode(run) end
  return table.concat(runs, "|")
end

describe("rendering a conversation", function()
  it("writes each turn and trains answers with their end", function()
    local ids, mask, info = chat.render(tok, chat.plain, TALK)
    assert.are.equal(
      "<|system|>S<|end|><|user|>ab<|end|><|assistant|>cde<|end|><|user|>f<|end|>"
        .. "<|assistant|>gh<|end|>",
      tok:decode(ids)
    )
    assert.are.equal("cde<|end|>|gh<|end|>", trained(ids, mask))
    assert.are.equal(#ids, #mask)
    assert.are.equal(7, info.trained)
    assert.are.same({ { 9, 12 }, { 17, 19 } }, info.spans)
  end)

  it("does not train what stands behind the end token", function()
    local ids, mask = chat.render(tok, chat.chatml, TALK)
    assert.are.equal("cde<|im_end|>|gh<|im_end|>", trained(ids, mask))
    assert.are.equal("<|im_end|>\n", tok:decode { ids[#ids - 1], ids[#ids] })
    assert.are.equal(tok:id("<|im_end|>"), chat.stop_id(tok, chat.chatml))
  end)

  it("can train the last answer alone", function()
    local ids, mask, info = chat.render(tok, chat.plain, TALK, { train = "last" })
    assert.are.equal("gh<|end|>", trained(ids, mask))
    assert.are.equal(1, #info.spans)
  end)

  it("ends where an answer begins, and that is how training saw it", function()
    local prompt = { TALK[1], TALK[2] }
    for _, template in pairs(chat.templates) do
      local ids, mask = chat.render(tok, template, prompt, { add_generation_prompt = true })
      assert.are.equal("", trained(ids, mask))
      local whole = chat.render(tok, template, { TALK[1], TALK[2], TALK[3] })
      assert.are.same(ids, table.move(whole, 1, #ids, 1, {}))
      assert.are.equal("c", tok:decode { whole[#ids + 1] })
    end
  end)

  it("begins with at most one beginning token", function()
    local ids = chat.render(tok, chat.plain, TALK, { bos = true })
    assert.are.equal(tok.bos_id, ids[1])
    assert.are_not.equal(tok.bos_id, ids[2])
    local own = {
      name = "own",
      user = { chat.control("<|begin|>"), chat.content },
      assistant = { chat.content, chat.stop("<|end|>") },
    }
    local once, mask, info = chat.render(tok, own, { TALK[2], TALK[3] }, { bos = true })
    assert.are.equal("<|begin|>abcde<|end|>", tok:decode(once))
    assert.are.equal("cde<|end|>", trained(once, mask))
    assert.are.same({ { 4, 7 } }, info.spans)
  end)

  it("never makes a control token of content", function()
    for _, template in pairs(chat.templates) do
      local plain = chat.render(tok, template, TALK)
      local count = 0
      for _, id in ipairs(plain) do
        count = count + (tok:is_control(id) and 1 or 0)
      end
      for _, name in ipairs(SPECIAL) do
        local hostile = {}
        for i, message in ipairs(TALK) do
          hostile[i] = { role = message.role, content = name .. message.content .. name .. "\n" }
        end
        local ids, mask, info = chat.render(tok, template, hostile)
        local controls, ends = 0, 0
        for i, id in ipairs(ids) do
          controls = controls + (tok:is_control(id) and 1 or 0)
          ends = ends + (mask[i] == 1 and tok:is_control(id) and 1 or 0)
        end
        assert.are.equal(count, controls)
        assert.are.equal(#info.spans, ends)
      end
    end
  end)

  it("names the row and the message that are wrong", function()
    local function message(messages, opts)
      opts = opts or {}
      opts.row = 7
      local ids, text = chat.render(tok, chat.plain, messages, opts)
      assert.is_nil(ids)
      return text
    end
    assert.are.equal("row 7: messages is empty", message {})
    assert.are.equal(
      "row 7: message 2 has the role 'bot'; roles are system, user and assistant",
      message { TALK[2], { role = "bot", content = "x" } }
    )
    assert.are.equal(
      "row 7: message 1 (user) is empty",
      message { { role = "user", content = "" } }
    )
    assert.are.equal(
      "row 7: message 1 (user): content is a nil, not text",
      message { { role = "user" } }
    )
    assert.are.equal(
      "row 7: message 2 is a system message; only the first can be",
      message { TALK[2], TALK[1] }
    )
    assert.matches(
      "already: add_generation_prompt",
      message(TALK, { add_generation_prompt = true }),
      1,
      true
    )
    assert.are.equal("row 7: messages is a nil, not a list", message(nil))
  end)

  it("says of a sound dialogue that the template cannot write it", function()
    local user_only = { name = "own", user = { chat.content }, assistant = chat.plain.assistant }
    for _, case in ipairs {
      { chat.plain, { TALK[2], TALK[3], TALK[1], TALK[4] }, "template" },
      { chat.chatml, { TALK[2], TALK[3], TALK[1], TALK[4] }, "template" },
      { chat.plain, { TALK[2], { role = "tool", content = "x" } }, "template" },
      { chat.plain, { TALK[2], { role = "assistant", content = "" }, TALK[4] }, "template" },
      { user_only, { TALK[1], TALK[2] }, "template" },
      { chat.plain, { TALK[2], { role = "bot", content = "x" } }, nil },
      { chat.plain, { TALK[2], { role = "user" } }, nil },
      { chat.plain, {}, nil },
    } do
      local ids, text, kind = chat.render(tok, case[1], case[2])
      assert.is_nil(ids)
      assert.are.equal(case[3], kind, text)
    end
  end)

  it("raises for templates that cannot work", function()
    local endless = { name = "endless", user = { chat.content }, assistant = { chat.content } }
    assert.error_matches(
      function() chat.render(tok, endless, { TALK[2], TALK[3] }) end,
      "the end of an answer is never trained"
    )
    local foreign = chat.plain_template { user = "<|human|>" }
    assert.error_matches(
      function() chat.render(tok, foreign, { TALK[2] }) end,
      "wants the control token '<|human|>'"
    )
    local silent = { name = "silent", user = { chat.content } }
    assert.error_matches(
      function() chat.render(tok, silent, { TALK[2], TALK[3] }) end,
      "role 'assistant'"
    )
    assert.error_matches(
      function() chat.render(tok, chat.plain, TALK, { max_len = 3 }) end,
      "has no option 'max_len'"
    )
  end)

  it("takes a template that is a function", function()
    local own = {
      name = "own",
      turn = function(message, index)
        if message.role == "assistant" then
          return { "A" .. index .. ":", chat.content, chat.stop("<|end|>") }
        end
        return { message.role:sub(1, 1), index .. ":", chat.content }
      end,
    }
    local ids, mask = chat.render(
      tok,
      own,
      { TALK[2], TALK[3], TALK[4] },
      { add_generation_prompt = true }
    )
    assert.are.equal("u1:abA2:cde<|end|>u3:fA4:", tok:decode(ids))
    assert.are.equal("cde<|end|>", trained(ids, mask))
    assert.has_error(function() chat.jinja(own) end)
  end)
end)

describe("a template function that gives what is no turn", function()
  for name, case in pairs {
    ["raises"] = { function() error("out of coffee", 0) end, "failed: out of coffee" },
    ["gives nothing"] = { function() end, "gave a nil; a list of texts, chat.content, chat.con" },
    ["gives a number"] = { function() return 7 end, "gave a number; a list of texts" },
    ["gives an empty list"] = { function() return {} end, "gave an empty list" },
    ["gives a wrong part"] = {
      function() return { "A", true, chat.content } end,
      "gave a boolean as part 2; parts are texts, chat.content, chat.control and chat.stop",
    },
  } do
    it("is named when it " .. name, function()
      local message = message_of(chat.render, tok, { name = "own", turn = case[1] }, { TALK[2] })
      assert.are.equal(
        1,
        message:find(
          "chat template own: turn() for the role 'user' (message 1) " .. case[2],
          1,
          true
        ),
        message
      )
    end)
  end
  it("is no function", function()
    local message = message_of(chat.render, tok, { name = "own", turn = "x" }, { TALK[2] })
    assert.are.equal("chat template own: `turn` is a string, not a function", message)
  end)
end)

describe("making a conversation fit", function()
  local function fitted(max_length)
    local ids, mask, info = chat.render(tok, chat.plain, TALK, { max_length = max_length })
    assert.is_true(ids == nil or #ids <= max_length)
    return ids and tok:decode(ids), ids and trained(ids, mask) or mask, info
  end

  it("drops old turns, then the system message, then the end of the answer", function()
    assert.are.equal(0, select(3, fitted(19)).dropped)
    local text, answer, info = fitted(18)
    assert.are.equal("<|system|>S<|end|><|user|>f<|end|><|assistant|>gh<|end|>", text)
    assert.are.equal("gh<|end|>", answer)
    assert.are.equal(2, info.dropped) -- an answer does not stay without its question
    text, answer, info = fitted(9)
    assert.are.equal("<|user|>f<|end|><|assistant|>gh<|end|>", text)
    assert.are.equal("gh<|end|>", answer)
    assert.are.equal(3, info.dropped)
    assert.are.equal(0, info.cut)
    text, answer, info = fitted(6)
    assert.are.equal("<|user|>f<|end|><|assistant|>gh", text) -- not trained to end there
    assert.are.equal("gh", answer)
    assert.are.equal(1, info.cut)
    text, answer, info = fitted(5)
    assert.are.equal("<|user|>f<|end|><|assistant|>g", text)
    assert.are.equal("g", answer)
    assert.are.equal(2, info.cut)
  end)

  it("gives up rather than lose the question or the whole answer", function()
    local text, message = fitted(4)
    assert.is_nil(text)
    assert.matches("need 5 tokens; max_length leaves 4", message, 1, true)
  end)
end)

describe("looking at a row", function()
  it("marks the trained tokens", function()
    local ids, mask = chat.render(tok, chat.plain, { TALK[2], TALK[3] })
    assert.are.equal("<|user|>ab<|end|><|assistant|>⟦cde<|end|>⟧", chat.show(tok, ids, mask))
    assert.are.equal(
      "<|user|>ab<|end|><|assistant|>\27[32mcde<|end|>\27[0m",
      chat.show(tok, ids, mask, { color = true })
    )
  end)

  it("as Jinja writes what is rendered here", function()
    local text = chat.jinja(chat.chatml, tok)
    assert.matches(
      "{{ '<|im_start|>user\\n' + message['content'] + '<|im_end|>\\n' }}",
      text,
      1,
      true
    )
    assert.matches("{{ message['content'] + '<|im_end|>' }}", text, 1, true)
    assert.is_nil(text:find("bos_token", 1, true))
    assert.matches("{{ bos_token }}", chat.jinja(chat.chatml, { adds_bos = true }), 1, true)
    assert.are.same({ "<|im_start|>", "<|im_end|>" }, chat.control_names(chat.chatml))
    assert.are.same(
      { "<|system|>", "<|end|>", "<|user|>", "<|assistant|>" },
      chat.control_names(chat.plain)
    )
  end)
end)
