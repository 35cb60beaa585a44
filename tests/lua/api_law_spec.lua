--- The law of the reference, held to: the public face passes it, and a bad text does not.
local api_law = dofile("tests/lua/support/api_law.lua")
local doc_comments = require("perilune.reference.doc_comments")
local public = require("perilune.reference.public")
local header_law = dofile("tests/lua/support/header_law.lua")
local scratch = dofile("tests/lua/support/scratch.lua")

local names = { batch = true, ["batch.pack"] = true, ["pl.sum"] = true, Model = true }

-- What the law says of a made-up source: {rule, message}.
local function faults_of(text)
  local file, list = doc_comments.read(text), {}
  assert.are.same({}, file.faults)
  for _, item in ipairs(file.items) do
    if item.text then
      api_law.look(
        item,
        text,
        names,
        function(rule, message) list[#list + 1] = { rule, message } end
      )
    end
  end
  table.sort(list, function(a, b) return a[2] < b[2] end)
  return list
end

local function source(lines, body)
  local function_of = body or "function m.f(x)\nend\n"
  return "--- Head.\n\nlocal m = {}\n\n--- " .. lines .. "\n" .. function_of
end

describe("the public face", function()
  it("tells what a reader must know", function()
    local face, texts = public.read(), {}
    for module, path in pairs(face.paths) do
      texts[module] = scratch.read(path)
    end
    local faults, count = api_law.faults(face, texts)
    assert.are.same({}, faults)
    assert.is_true(count > 550)
  end)
end)

describe("tables of functions", function()
  it("name every one of them in their text", function()
    local pl, missing, count = require("perilune"), {}, 0
    for _, one in ipairs(public.read().modules) do
      local owner = pl
      for part in one.name:gmatch("[%w_]+") do
        owner = part == "pl" and owner or owner[part]
      end
      for _, member in ipairs(one.members) do
        local value = member.item.kind == "value" and owner[member.name]
        for name, inner in pairs(type(value) == "table" and value or {}) do
          if type(inner) == "function" then
            count = count + 1
            local told = member.item.text:find("%f[%w_]" .. name .. "%(")
            missing[#missing + 1] = not told and member.name .. "." .. name or nil
          end
        end
      end
    end
    assert.are.same({}, missing)
    assert.is_true(count > 20)
  end)
end)

describe("the ops", function()
  local meanings = require("perilune.reference.op_help").meanings

  it("tell their formula, their shapes and what their parameters are", function()
    local faults, rows = {}, require("perilune.core").ops()
    for _, row in ipairs(rows) do
      table.move(api_law.op_faults(row, meanings), 1, 100, #faults + 1, faults)
    end
    assert.are.same({}, faults)
    assert.is_true(#rows > 60)
  end)

  it("are refused where they do not", function()
    local row = {
      name = "mix",
      doc = "a + b, times scale",
      shapes = "[N,C] -> [N],[C]",
      inputs = { {}, {} },
      outputs = { {} },
      params = {
        { name = "scale", kind = "float" },
        { name = "axis", kind = "axis" },
        { name = "keepdim", kind = "bool" },
        { name = "mode", kind = "enum" },
      },
    }
    assert.are.same(
      { "mix: 2 inputs, shapes [N,C] -> [N],[C]", "mix: mode is not told" },
      api_law.op_faults(row, meanings)
    )
    row.inputs, row.params, row.doc = { {} }, {}, " "
    assert.are.same(
      { "mix: it has no formula", "mix: 1 outputs, shapes [N,C] -> [N],[C]" },
      api_law.op_faults(row, meanings)
    )
  end)
end)

describe("the engine's header", function()
  it("says something of every function", function()
    local silent, count = header_law(scratch.read("include/perilune.h"))
    assert.are.same({}, silent)
    assert.is_true(count > 200)
  end)

  it("is refused where it does not", function()
    local text = [[
/* Makes one: `free` gives it back. */
pl_x *pl_x_new(void);
void pl_x_free(pl_x *x);
int pl_x_size(const pl_x *x);
int pl_x_count(const pl_x *x,
               int i); /* from 0 */

/* A long
** comment. */
int pl_y(void);

int pl_z(void);
]]
    local silent, count = header_law(text)
    assert.are.same({ "4: pl_x_size", "12: pl_z" }, silent)
    assert.are.equal(6, count)
  end)
end)

describe("the law", function()
  it("lets a good text pass", function()
    local good = [[
Means of the rows of a tensor, some of them. Raises when there is none.
-- @tparam Tensor x [N, C]
-- @tparam ?table opts `rows` (all) list of places, from 1; `max_length` (16) tokens of a row;
--   `a`, `b` and `c` (1) as of `batch.pack`
-- @tparam Model model
-- @tparam number rate 0 to 1
-- @treturn ?Tensor [M, C]; nil when the tensor is empty
-- @treturn {integer,...} tokens of each row]]
    local body = [[
function m.f(x, opts, model, rate)
  opts = options.take("f", opts, { rows = options.any(), max_length = 16, a = 1 })
  if not x then error("none") end
  return x, opts.b, opts.c, model, rate
end
]]
    assert.are.same({}, faults_of(source(good, body)))
  end)

  local bad = {
    { "summary", "sums\n-- @tparam string x text", "its summary is no sentence: sums" },
    { "summary", "Sums\n-- @tparam string x text", "its summary is no sentence: Sums" },
    { "said", "Sums.\n-- @tparam string x", "x has no text" },
    { "said", "Sums.\n-- @tparam string x text\n-- @treturn number", "result has no text" },
    { "said", "Sums.\n-- @tparam string x text\n-- @treturn ?string", "result has no text" },
    { "shape", "Sums.\n-- @tparam Tensor x what is summed", "x has no shape" },
    { "shape", "Sums.\n-- @tparam any x it\n-- @treturn {Tensor,...} sums", "result has no shape" },
    {
      "unit",
      "Cuts.\n-- @tparam integer x it\n-- @treturn table `kl` of it",
      "result: `kl` has no unit",
    },
    { "keys", "Sums.\n-- @tparam table x what is summed", "x: a table of what? (what is summed)" },
    { "refer", "Sums.\n-- @tparam any x see there", "'see there' is no reference" },
    {
      "refer",
      "Sums, see perilune.learn.x.\n-- @tparam any x it",
      "'perilune.learn.x' is no name of the page",
    },
    { "refer", "Sums.\n-- @tparam any x of `batch.pach`", "'batch.pach' is no name of the page" },
    { "refer", "Sums.\n-- @tparam any x as `pl.smu` has it", "'pl.smu' is no name of the page" },
  }
  for _, case in ipairs(bad) do
    local rule, text, message = table.unpack(case)
    it(
      ("refuses by '%s': %s"):format(rule, message),
      function() assert.are.same({ { rule, message } }, faults_of(source(text))) end
    )
  end

  it("asks for the unit of a parameter", function()
    local text = source("Cuts.\n-- @tparam integer length of it", "function m.f(length)\nend\n")
    assert.are.same({ { "unit", "length has no unit" } }, faults_of(text))
  end)

  it("asks for defaults of options", function()
    local text = "Cuts.\n-- @tparam ?table opts `a` how far; `b` and `c` (1) how deep"
    assert.are.same(
      { { "keys", "opts: `a` has no default" } },
      faults_of(source(text, "function m.f(opts)\nend\n"))
    )
    assert.are.same(
      { { "keys", ".b has no default" } },
      faults_of(
        "--- Head.\n\n--- Cuts.\n-- @class CutOptions\n-- @field ?integer a (1) how far\n"
          .. "-- @field ?integer b how deep\n"
      )
    )
  end)

  it("holds options against those that the source takes", function()
    local text = "Cuts.\n-- @tparam ?table opts `a` (1) how far; `b` (2) how deep"
    local body = "function m.f(opts)\n"
      .. '  opts = options.take("f", opts, { a = options.integer(3, 1), b = 2, c = "x" })\n'
      .. "  return nothing(opts.d)\nend\n"
    assert.are.same({
      { "taken", "opts: `a` is 3 by default" },
      { "taken", "opts: the option c is not told" },
      { "taken", "opts: the option d is not told" },
    }, faults_of(source(text, body)))
    body = "function m.f(opts)\n  return opts.a or 1, opts.b or 5\nend\n"
    assert.are.same({ { "taken", "opts: `b` is 5 by default" } }, faults_of(source(text, body)))
    local known = "local known = {\n  a = 1,\n  b = 7,\n}\n"
    body = 'function m.f(opts)\n  opts = options.take("f", opts, known)\nend\n'
    assert.are.same(
      { { "taken", "opts: `b` is 7 by default" } },
      faults_of((source(text, body):gsub("local m = {}", "local m = {}\n" .. known)))
    )
  end)

  it("holds a class of options against the table below it", function()
    local text = "--- Head.\n\n--- Cuts.\n-- @class CutOptions\n-- @field ?integer a (1) how far\n"
      .. "local known = {\n  a = options.integer(2),\n  b = 3,\n}\n"
    assert.are.same({
      { "taken", "CutOptions: `a` is 2 by default" },
      { "taken", "CutOptions: the option b is not told" },
    }, faults_of(text))
  end)

  it("wants it told that a function raises", function()
    local body = "function m.f(x)\n  if not x then error('no') end\nend\n"
    assert.are.same(
      { { "raises", "it raises and does not say so" } },
      faults_of(source("Sums.\n-- @tparam any x it", body))
    )
    assert.are.same({}, faults_of(source("Sums.\n-- @tparam any x it; raises for nil", body)))
    body = "local function refuse(x) error(x) end\n\n"
      .. "local function check(x)\n  if not x then refuse('no') end\nend\n\n"
    local text = "--- Head.\n\nlocal m = {}\n\n"
      .. body
      .. "--- Sums.\n-- @tparam any x it\nfunction m.f(x)\n  check(x)\nend\n"
    assert.are.same({ { "raises", "it raises and does not say so" } }, faults_of(text))
  end)
end)
