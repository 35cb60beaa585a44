--- Chat templates of models in training data: what is trained, what stays text, what passes.

local chat = require("perilune.data.chat")
local lfs = require("lfs")
local pl = require("perilune")
local said = dofile("tests/lua/support/said.lua")
local scratch = dofile("tests/lua/support/scratch.lua")

local data, encode = pl.data, pl.data.encode

-- Bytes alone: a token a character.
local function bytes(bos)
  return pl.tokenizer.train {
    texts = { "" },
    vocab_size = 264,
    special = { "<s>", "</s>", "<|user|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>" },
    bos = bos,
    eos = "</s>",
  }
end

local tok = bytes("<s>")

local function template(text) return assert(chat.of_jinja(text, "t.jinja")) end

local function golden(name)
  return template(assert(pl.files.read("tests/golden/jinja/templates/" .. name)))
end

local TURNS <const> = template(
  "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    .. "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

local function user(text) return { role = "user", content = text } end

local function assistant(text) return { role = "assistant", content = text } end

local TALK <const> = { user("ab"), assistant("cd"), user("e"), assistant("fg") }

local function shown(of, row, max_length)
  local ids, mask, info = encode.example(tok, of, row, max_length)
  return ids and chat.show(tok, ids, mask) or mask, info
end

teardown(scratch.clean)

describe("a template that is Jinja text", function()
  it("trains each answer with its end token, and nothing behind it", function()
    local text, info = shown(TURNS, { messages = TALK })
    assert.are.equal(
      "<s><|im_start|>user\nab<|im_end|>\n<|im_start|>assistant\n⟦cd<|im_end|>⟧\n"
        .. "<|im_start|>user\ne<|im_end|>\n<|im_start|>assistant\n⟦fg<|im_end|>⟧",
      text
    )
    assert.are.equal(6, info.trained)
    assert.are.equal(0, info.rewritten)
    assert.are.equal(tok:id("<|im_end|>"), encode.stop_id(tok, TURNS))
  end)

  it(
    "begins with one beginning token where it writes it, and with none where it does not",
    function()
      local ids = encode.prompt(tok, TURNS, { prompt = "a" })
      assert.are.same({ tok.bos_id, tok:id("<|im_start|>") }, { ids[1], ids[2] })
      local bare = template("{% for m in messages %}<|user|>{{ m.content }}</s>{% endfor %}")
      assert.are.equal(tok:id("<|user|>"), encode.prompt(tok, bare, { prompt = "a" })[1])
      local without = bytes(nil)
      assert.are.equal(
        without:id("<|im_start|>"),
        encode.prompt(without, TURNS, { prompt = "a" })[1]
      )
    end
  )

  it("trains no turn of weight 0, and the last alone behind a prompt", function()
    local weighed =
      { TALK[1], { role = "assistant", content = "cd", weight = 0 }, TALK[3], TALK[4] }
    assert.are.equal(3, select(2, shown(TURNS, { messages = weighed })).trained)
    local row = { prompt = { TALK[1], TALK[2], TALK[3] }, completion = { TALK[4] } }
    local text, info = shown(TURNS, row)
    assert.matches("assistant\n⟦fg<|im_end|>⟧$", text)
    assert.are.equal(3, info.trained)
  end)

  it("trains what its generation blocks hold, without the header", function()
    local marked = golden("generation.jinja")
    assert.are.equal(
      "<s><|user|>ab</s><|assistant|>⟦cd</s>⟧<|user|>e</s><|assistant|>⟦fg</s>⟧",
      (shown(marked, { messages = TALK }))
    )
    local whole = template(
      "{% for m in messages %}{% if m.role == 'user' %}<|user|>{{ m.content }}{% else %}"
        .. "{% generation %}<|im_start|>{{ m.content }}<|im_end|>\n{% endgeneration %}{% endif %}"
        .. "{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}"
    )
    assert.are.equal(
      "<|user|>ab<|im_start|>⟦cd<|im_end|>⟧\n<|user|>e<|im_start|>⟦fg<|im_end|>⟧",
      (shown(whole, { messages = TALK }))
    )
  end)

  it("does not train earlier answers that it rewrites, and counts them", function()
    local thinking = golden("thinking.jinja")
    local thought = "<think>\nh\n</think>\n\ncd"
    local row = { messages = { TALK[1], assistant(thought), TALK[3], assistant(thought) } }
    local text, info = shown(thinking, row)
    assert.are.equal(
      "<|im_start|>user\nab<|im_end|>\n<|im_start|>assistant\ncd<|im_end|>\n"
        .. "<|im_start|>user\ne<|im_end|>\n<|im_start|>assistant\n"
        .. "⟦<think>\nh\n</think>\n\ncd<|im_end|>⟧",
      text
    )
    assert.are.equal(1, info.rewritten)
    local set = data.examples(tok, thinking, { row, { messages = TALK } }, 500)
    assert.are.same(
      { ["earlier answers not trained, the template rewrites them"] = 1 },
      set.counts.changed
    )
    -- the thought's marks are the template's: tokens
    local ids = set.sequences[1]
    local found = 0
    for _, id in ipairs(ids) do
      found = found + (id == tok:id("<think>") and 1 or 0)
    end
    assert.are.equal(1, found)
  end)

  it("never makes a control token of what a user wrote", function()
    local control = { "<|im_end|>", "<|im_start|>system\n", "<s>", "</s>", "<think>", "<|user|>" }
    for _, of in ipairs { TURNS, golden("generation.jinja"), golden("thinking.jinja") } do
      local plain = encode.prompt(tok, of, { messages = { user("x"), assistant("x"), user("x") } })
      for _, text in ipairs(control) do
        local ids = encode.prompt(tok, of, {
          messages = { user(text), assistant(text), user(text .. text) },
        })
        local function controls(list)
          local n = 0
          for _, id in ipairs(list) do
            n = n + (tok:is_control(id) and 1 or 0)
          end
          return n
        end
        assert.are.equal(controls(plain), controls(ids), text)
      end
    end
    -- nor by halves of which the template writes the other
    local half = template("{% for m in messages %}<|im_{{ m.content }}|></s>{% endfor %}")
    local ids = encode.prompt(tok, half, { messages = { user("end") } })
    assert.are.equal(#"<|im_end|>" + 1, #ids)
    local role = template("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}")
    assert.are.equal(tok:id("<|user|>"), encode.prompt(tok, role, { prompt = "a" })[1])
  end)

  it("loses the earliest turns, then the system message, then the end of the answer", function()
    local row = { messages = { { role = "system", content = "S" }, table.unpack(TALK) } }
    local whole = #encode.example(tok, TURNS, row)
    local function at(length) return select(2, shown(TURNS, row, length)) end
    assert.are.equal(0, at(whole).dropped)
    assert.are.equal(2, at(whole - 1).dropped)
    local short = #encode.example(tok, TURNS, { messages = { TALK[3], TALK[4] } })
    assert.are.same({ 3, 0 }, { at(short).dropped, at(short).cut })
    assert.are.same({ 3, 2 }, { at(short - 2).dropped, at(short - 2).cut })
    assert.are.equal(
      "<s><|im_start|>user\ne<|im_end|>\n<|im_start|>assistant\n⟦f⟧",
      (shown(TURNS, row, short - 2))
    )
    local text, why = shown(TURNS, row, short - 3)
    assert.matches("the last user turn and what must follow it need", text, 1, true)
    assert.are.equal("length", why)
  end)

  it("gives the same tokens as the ids of a sampled answer", function()
    local prompt = encode.prompt(tok, TURNS, { messages = { TALK[1] } })
    local answer = encode.answer(tok, TURNS, prompt, "cd")
    local ids = encode.example(tok, TURNS, { messages = { TALK[1], TALK[2] } })
    assert.are.same((encode.join(prompt, answer)), ids)
    local own = { prompt = { TALK[1] }, completion_tokens = answer }
    assert.are.same(ids, (encode.example(tok, TURNS, own)))
  end)
end)

describe("rows for a model's template", function()
  local TOOLS <const> = '[{"type":"function","function":{"name":"f","b":1,"a":{"z":null,"y":2}}}]'

  local function set_of(text, of)
    local path = scratch.folder() .. "/rows.jsonl"
    scratch.write(path, text)
    return data.examples(tok, of, path, 2000), path
  end

  it("bring tools, calls of them and variables, as they stand in the file", function()
    local of = template(
      "{{ tools | tojson }}{{ mood }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}"
        .. "{% for c in m.tool_calls or [] %}{{ c | tojson }}{% endfor %}</s>{% endfor %}"
        .. "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    local call = '{"function":{"name":"f","arguments":{"z":1,"a":2}},"id":"c1"}'
    local set = set_of(
      '{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":null,'
        .. '"tool_calls":['
        .. call
        .. ']},{"role":"tool","content":"r","tool_call_id":"c1"},'
        .. '{"role":"assistant","content":"done"}],"tools":'
        .. TOOLS
        .. ',"chat_template_kwargs":{"mood":"calm"}}\n',
      of
    )
    local spaced = TOOLS:gsub('":', '": '):gsub(',"', ', "')
    local spaced_call = call:gsub('":', '": '):gsub(',"', ', "')
    assert.are.equal(
      spaced
        .. "calm<|user|>q</s><|assistant|>⟦"
        .. spaced_call
        .. "</s>⟧<|tool|>r</s><|assistant|>⟦done</s>⟧",
      chat.show(tok, set.sequences[1], set.masks[1])
    )
  end)

  it("may end in a call of a tool", function()
    local row = {
      messages = {
        user("q"),
        { role = "assistant", content = "", tool_calls = { { ["function"] = { name = "f" } } } },
      },
    }
    assert.are.equal(
      '<s><|user|>q</s><|assistant|>⟦<call>{"name": "f"}</call></s>⟧',
      (shown(golden("generation.jinja"), row))
    )
  end)

  it("that the template refuses are left out, and the first is named with the reason", function()
    local of = template(
      "{% for m in messages %}\n{% if m.content == 'bad' %}{{ raise_exception('no ' ~ m.role) }}"
        .. "{% endif %}{{ m.content }}</s>{% endfor %}"
    )
    local path = scratch.folder() .. "/rows.jsonl"
    scratch.write(path, '{"prompt":"fine","completion":"a"}\n{"prompt":"bad","completion":"a"}\n')
    local counts = data.examples(tok, of, path, 100).counts
    assert.are.same({ 2, 1 }, { counts.rows, counts.used })
    local reason = "the template cannot write it"
    assert.are.same({ [reason] = 1 }, counts.left_out)
    assert.are.same({ [reason] = "example 2: t.jinja:2: no user" }, counts.first)
  end)

  it("are made anew under another template, not under another name", function()
    local function identity(text, name)
      return chat.description.identity(tok, assert(chat.of_jinja(text, name or "t")))
    end
    local text = TURNS.jinja
    assert.are.equal(identity(text), identity(text, "other"))
    assert.are_not.equal(identity(text), identity(text .. "."))
    local dated = text .. "{{ strftime_now('%d') }}"
    assert.matches(os.date("%Y-%m-%d"), identity(dated), 1, true)
  end)
end)

describe("the files of a model's template", function()
  it(
    "are chat_template.jinja first, then tokenizer_config.json, then further ones by name",
    function()
      local folder = scratch.folder()
      assert(tok:save(folder))
      local config = pl.json.decode(assert(pl.files.read(folder .. "/tokenizer_config.json")))
      local turns = TURNS.jinja
      config.chat_template = pl.json.array {
        { name = "default", template = turns },
        { name = "tool_use", template = turns .. "{# tools #}" },
      }
      scratch.write(folder .. "/tokenizer_config.json", pl.json.encode(config))
      local loaded = assert(pl.tokenizer.load(folder))
      assert.are.equal(turns, loaded.chat_template)
      assert.are.same({ tool_use = turns .. "{# tools #}" }, loaded.chat_templates)
      scratch.write(folder .. "/chat_template.jinja", "{# file #}" .. turns)
      loaded = assert(pl.tokenizer.load(folder))
      assert.are.equal("{# file #}" .. turns, loaded.chat_template)
      local again = scratch.folder()
      assert(loaded:save(again))
      local copy = assert(pl.tokenizer.load(again))
      assert.are.equal(loaded.chat_template, copy.chat_template)
      assert.are.same(loaded.chat_templates, copy.chat_templates)
      os.remove(again .. "/chat_template.jinja")
      assert.are.equal(loaded.chat_template, assert(pl.tokenizer.load(again)).chat_template)
      local _, ok, of = said(data.template, "auto", copy)
      assert.is_true(ok)
      assert.are.equal(turns .. "{# tools #}", of.tool_use)
    end
  )
end)

describe("templates of models that stand beside", function()
  it("train all answers they do not rewrite, each with its end and nothing else", function()
    if lfs.attributes("../shared/data/templates", "mode") ~= "directory" then
      pending("there is no ../shared/data with templates of models")
    end
    local rewritten = { -- since their words depend on what is the last
      ["microsoft-Phi-3.5-mini-instruct.jinja"] = 1,
      ["mistralai-Mistral-Nemo-Instruct-2407.jinja"] = 1,
    }
    for file in lfs.dir("../shared/data/templates") do
      if file:match("%.jinja$") then
        local of = template(assert(pl.files.read("../shared/data/templates/" .. file)))
        local row = { messages = { { role = "system", content = "Sys" }, table.unpack(TALK) } }
        local ids, mask, info = encode.example(tok, of, row)
        local text = chat.show(tok, ids, mask)
        local stop = tok:token(encode.stop_id(tok, of))
        local runs = {}
        for run in text:gmatch("⟦(.-)⟧") do
          runs[#runs + 1] = run
        end
        local left = rewritten[file] or 0
        assert.are.equal(left, info.rewritten, file)
        local answers = left == 1 and { "fg" } or { "cd", "fg" }
        assert.are.equal(#answers, #runs, file .. text)
        for i, run in ipairs(runs) do
          assert.are.equal(answers[i], run:sub(1, 2), file)
          assert.are.equal(stop, run:sub(-#stop), file)
        end
      end
    end
  end)
end)
