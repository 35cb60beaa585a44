--- The Jinja interpreter against texts that Python's jinja2 made (tests/golden/jinja), the marks of
-- what a user wrote, the words of its errors, and its budgets.

local core = require("perilune.core")
local json = core.json
local lfs = require("lfs")

local GOLDEN <const> = "tests/golden/jinja/"
local NOW <const> = 1749988800
local TOKENS <const> =
  '{"bos_token":"<s>","eos_token":"</s>","unk_token":"<unk>","pad_token":"<pad>"}'

local function text_of(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

-- Objects with the order of their keys, which templates print.
local ORDERED <const> = { ordered = true }

local function golden(name) return assert(json.decode(text_of(GOLDEN .. name), ORDERED)) end

local function render(text, values, opts)
  local template, message = core.jinja.compile(text, "t")
  if not template then return nil, message end
  opts = opts or {}
  opts.values = type(values) == "table" and json.encode(values) or values or "{}"
  opts.trusted = opts.trusted or TOKENS
  opts.now = NOW
  return template:render(opts)
end

-- Values of a template for each conversation, without and with a generation prompt.
local function values_of(conversations)
  local list = {}
  for _, conversation in ipairs(conversations) do
    local messages = json.encode(conversation.messages)
    local tools = conversation.tools and json.encode(conversation.tools) or "null"
    local more = conversation.chat_template_kwargs
    more = more and "," .. json.encode(more):sub(2, -2) or ""
    for _, prompt in ipairs { "false", "true" } do
      list[#list + 1] = '{"documents":null,"messages":'
        .. messages
        .. ',"tools":'
        .. tools
        .. ',"add_generation_prompt":'
        .. prompt
        .. more
        .. "}"
    end
  end
  return list
end

-- The pieces of a text that spans {first, last, ...} name.
local function pieces(text, spans)
  local found = {}
  for i = 1, #spans, 2 do
    found[#found + 1] = text:sub(spans[i], spans[i + 1])
  end
  return found
end

describe("Jinja", function()
  it("gives what Python's gives, or refuses what it refuses: expressions and statements", function()
    local cases = golden("expressions.json")
    local expected = golden("expected_expressions.json")
    local values = json.encode(cases.values)
    assert.is_true(#cases.templates > 500 and #cases.templates == #expected)
    for i, template in ipairs(cases.templates) do
      assert.are.equal(expected[i] or nil, (render(template, values)), template)
    end
  end)

  it("gives what Python's gives for whole conversations, and the same generated runs", function()
    local all_values = values_of(golden("conversations.json"))
    local count = 0
    for name, expected in pairs(golden("expected_conversations.json")) do
      local template = text_of(GOLDEN .. "templates/" .. name)
      assert.are.equal(#all_values, #expected)
      for i, values in ipairs(all_values) do
        local text, _, generated = render(template, values)
        local wanted = expected[i] or {}
        assert.are.equal(wanted.text, text, name .. values)
        local runs = {}
        for k, mark in ipairs(wanted.marks or {}) do
          local from, to = utf8.offset(text, mark[1] + 1), utf8.offset(text, mark[2] + 1) - 1
          runs[k] = text:sub(from, to)
        end
        if text then assert.are.same(runs, pieces(text, generated)) end
        count = count + 1
      end
    end
    assert.are.equal(160, count)
  end)

  it("gives what Python's gives for the templates of models that stand beside", function()
    if lfs.attributes("../shared/data/templates", "mode") ~= "directory" then
      pending("there is no ../shared/data with templates of models")
    end
    local all_values = values_of(golden("conversations.json"))
    for name, expected in pairs(golden("expected_models.json")) do
      local template = text_of("../shared/data/" .. name)
      if name:match("%.json$") then template = json.decode(template).chat_template end
      assert.are.equal(expected.template, core.files.hash_string(template), name)
      for i, values in ipairs(all_values) do
        local text = render(template, values)
        local hash = text and core.files.hash_string(text)
        assert.are.equal(expected.texts[i] or nil, hash, name .. values)
      end
    end
  end)
end)

describe("what a user wrote is marked", function()
  local talk = {
    messages = { { role = "user", content = "Ab c" }, { role = "<|end|>", content = "12" } },
    tools = { { name = "f" } },
    n = 7,
  }

  local function marked(template)
    local text, spans = assert(render(template, talk))
    return pieces(text, spans)
  end

  it("through joining, cutting, filters and methods", function()
    for template, expected in pairs {
      ["x{{ messages[0].content }}y"] = { "Ab c" },
      ["{{ 'x' + messages[0].content + 'y' ~ messages[1].content }}"] = { "Ab c", "12" },
      ["{{ messages[0].content[1:3] }}{{ messages[0].content[::-1] }}"] = { "b c bA" },
      ["{{ messages[0].content.split(' ') | join('--') }}"] = { "Ab", "c" },
      ["{{ messages[0].content | upper | replace('B', '|') }}"] = { "A", " C" },
      ["{{ '<' ~ messages[0].content.strip('A') | title ~ '>' }}"] = { "B C" },
      ["{{ '%s!' % messages[0].content }}{{ '[{}]'.format(n) }}"] = { "Ab c", "7" },
      ["{{ tools | tojson }}"] = { "name", "f" },
      ["{{ tools }}"] = { "name", "f" },
      ["{% set x %}({{ messages[0].content }}){% endset %}{{ x }}{{ x | length }}"] = { "Ab c" },
      ["{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(messages[0].content) | trim }}"] = { "Ab c" },
      ["{{ messages[1].content | int + 1 }}{{ n * 2 }}{{ 5 }}"] = { "1314" },
      ["{% for c in messages[0].content %}{{ c }}.{% endfor %}"] = { "A", "b", " ", "c" },
      ["{{ bos_token }}{{ eos_token }}{{ 'Ab c' }}{{ messages[0].content == 'Ab c' }}"] = {},
      ["{{ messages[0].content | indent(1, true) }}{{ 'a\nb' | indent(n) }}"] = { "Ab c" },
    } do
      assert.are.same(expected, marked(template), template)
    end
  end)

  it("but for a role that is a usual one", function()
    assert.are.same(
      { "<|end|>" },
      marked("{% for m in messages %}<|{{ m.role }}|>{% endfor %}{{ messages | length }}")
    )
    local _, spans = render("{{ messages.role }}", { messages = { role = "user" } })
    assert.are.same({ 1, 4 }, spans) -- of a message alone
  end)
end)

describe("a template's error", function()
  local function message(template, values, opts)
    local text, wrong = render(template, values or { n = 1, d = { a = 1 } }, opts)
    assert.is_nil(text)
    return wrong
  end

  it("names the template, the line, and what is wrong", function()
    assert.are.equal(
      "t:3: roles must alternate",
      message("{% if n %}\n\n{{ raise_exception('roles must ' ~ 'alternate') }}{% endif %}")
    )
    assert.are.equal("t:2: 'x' is undefined: it has no y", message("\n{{ x.y }}"))
    assert.are.equal("t:1: 'z' is undefined: it cannot be called", message("{{ d.z() }}"))
    assert.are.equal("t:1: + does not go with a text and an integer", message("{{ 'a' + n }}"))
    assert.are.equal("t:2: there is no filter 'nothing' here", message("\n{{ n | nothing }}"))
    assert.are.equal("t:1: the block that begins here has no 'endfor'", message("{% for x in d %}"))
    assert.are.equal("t:1: the {{ that begins here does not end", message("{{ ("))
    assert.are.equal("t:1: an expression wanted, but '}}' stands here", message("{{ 1 + }}"))
  end)

  it("is all that comes of a way out", function()
    local alone = " would read another template: a chat template stands alone"
    local spaced = "{% set ns = namespace() %}{% set ns.__init__ = 1 %}"
    for template, wrong in pairs {
      ["{% include 'a' %}"] = "'include'" .. alone,
      ["{% import 'a' as b %}"] = "'import'" .. alone,
      ["{% extends 'a' %}"] = "'extends'" .. alone,
      ["{{ ''.__class__.__mro__ }}"] = "'__class__' is undefined: it has no __mro__",
      ["{{ d.update({}) }}"] = "'update' is undefined: it cannot be called",
      ["{{ [].append(1) }}"] = "'append' is undefined: it cannot be called",
      ["{{ range.__globals__.os }}"] = "'__globals__' is undefined: it has no os",
      [spaced] = "a namespace's names do not begin with _",
    } do
      assert.are.equal("t:1: " .. wrong, message(template))
    end
  end)

  it("comes before a budget is passed", function()
    assert.are.equal(
      "t:1: the template takes more than 1000 steps",
      message("{% for i in range(90000) %}{{ i }}{% endfor %}", nil, { steps = 1000 })
    )
    assert.are.equal(
      "t:1: the template wants more than 1000000 bytes of memory",
      message("{{ 'abcdefgh' * 1000000 }}", nil, { bytes = 1000000 })
    )
    assert.are.equal(
      "t:1: the template nests deeper than 800 levels",
      message("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}")
    )
    assert.are.equal(
      "t:1: lists are nested deeper than 100 levels",
      message(
        "{% set ns = namespace(x=[]) %}{% for i in range(200) %}{% set ns.x = [ns.x] %}{% endfor %}"
      )
    )
    assert.are.equal(
      "t:1: a list of more than 4000000 values",
      message(
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}"
          .. "{% endfor %}{{ ns.x == ns.x }}"
      )
    )
    assert.matches(
      "more than 120 levels of nesting",
      message("{{ " .. ("("):rep(200) .. "1" .. (")"):rep(200) .. " }}"),
      1,
      true
    )
    assert.matches("nested too deep", message(("{% if n %}"):rep(200)), 1, true)
  end)
end)
