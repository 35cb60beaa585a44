--- The doc comments: one dialect, all of the public face, and true; docs/api.md and the LuaCATS
-- declarations are made of them.
local core = require("perilune.core")
local doc_comments = require("perilune.reference.doc_comments")
local luacats = require("perilune.reference.luacats")
local markdown = require("perilune.reference.markdown")
local pl = require("perilune")
local public = require("perilune.reference.public")
local returns = dofile("tests/lua/support/returns.lua")
local scratch = dofile("tests/lua/support/scratch.lua")
local sources = dofile("tests/lua/support/sources.lua")
local type_names = require("perilune.reference.type_names")

local face = public.read()

-- A value of the running library by its name below pl.
local function value_of(name)
  local value = pl
  for part in name:gmatch("[%w_]+") do
    value = value[part]
  end
  return value
end

local function is_callable(value)
  local meta = type(value) == "table" and getmetatable(value)
  return type(value) == "function" or type(meta) == "table" and meta.__call ~= nil
end

-- What a comment says of its function's results and the source does not.
local function returns_fault(item, body)
  local most, open = 0, false
  for _, one in ipairs(returns(body)) do
    most, open = math.max(most, one.count), open or one.open
  end
  local said = #item.returns
  if said < most or said > most and not open then
    return ("%s returns %d values, its comment says %d"):format(item.name, most, said)
  end
end

local function returns_faults(members, add)
  for _, member in ipairs(members) do
    local item = member.item
    if item.args then
      local lines, number = {}, 0
      for line in io.lines(face.paths[member.module]) do
        number = number + 1
        if number >= item.declared then
          lines[#lines + 1] = line
          if line == "end" then break end
        end
      end
      add(returns_fault(item, table.concat(lines, "\n")), member)
    end
  end
end

describe("the doc comments", function()
  it(
    "keep to the dialect and say all of the public face",
    function() assert.are.same({}, public.faults(face)) end
  )

  it("keep to it in recipes and tests as well", function()
    local files = {}
    for module, file in pairs(face.files) do
      files[module] = file
    end
    for _, folder in ipairs { "recipes", "tests" } do
      for path, text in pairs(sources.texts(folder, "%.lua$")) do
        files[path] = doc_comments.read(text)
      end
    end
    assert.are.same({}, public.faults { files = files, modules = {}, classes = {} })
  end)

  it("say what the functions return", function()
    local faults = {}
    local function add(message, member)
      local place = member.module .. ":" .. member.item.line
      faults[#faults + 1] = message and place .. ": " .. message
    end
    for _, one in ipairs(face.modules) do
      returns_faults(one.members, add)
    end
    for _, class in ipairs(face.classes) do
      returns_faults(class.methods, add)
    end
    assert.are.same({}, faults)
  end)

  it("cover each function and value that the modules have", function()
    local missing, checked, modules = {}, 0, {}
    for _, one in ipairs(face.modules) do
      modules[require(one.module)] = true
    end
    for _, one in ipairs(face.modules) do
      local described = {}
      for _, member in ipairs(one.members) do
        described[member.name] = member.item.kind
      end
      for name, value in pairs(one.name == "pl" and {} or value_of(one.name)) do
        local kind = is_callable(value) and "function" or "value"
        checked = checked + 1
        if described[name] ~= kind and not modules[value] then
          missing[#missing + 1] = ("%s.%s is a %s, not %s"):format(
            one.name,
            name,
            kind,
            described[name]
          )
        end
      end
    end
    table.sort(missing)
    assert.are.same({}, missing)
    assert.is_true(checked > 150)
  end)

  it("cover each function and method of the engine", function()
    local missing, described, ops = {}, {}, {}
    for _, row in ipairs(core.ops()) do
      ops[row.name] = true
    end
    for _, member in ipairs(face.modules[1].members) do
      described[member.name] = true
    end
    for _, class in ipairs(face.classes) do
      for _, member in ipairs(class.name == "Tensor" and class.methods or {}) do
        described["Tensor:" .. member.name] = true
      end
    end
    for name, value in pairs(pl) do
      if type(value) == "function" and not ops[name] and not described[name] then
        missing[#missing + 1] = name
      end
    end
    local tensor = pl.zeros { 1 }
    for name in pairs(debug.getmetatable(tensor).__methods) do
      if not ops[name] and not name:find("^_") and not described["Tensor:" .. name] then
        missing[#missing + 1] = "Tensor:" .. name
      end
    end
    assert.are.same({}, missing)
    assert.is_true(described["Tensor:item"] and described.scope)
  end)
end)

describe("the dialect", function()
  local function faults_of(text)
    local faults = {}
    for i, one in ipairs(doc_comments.read("--- Head.\n" .. text).faults) do
      faults[i] = table.concat(one, ": ")
    end
    return faults
  end

  it("takes a comment apart", function()
    local file = doc_comments.read([[
--- A head.
--
-- May use: base.
local x = {}

--- Sum of things,
-- in floats.
-- @tparam {string,...} names of what
--   is added
-- @tparam ?number|string most
-- @treturn ?{[string]=number} sums
-- @treturn ?string message
function x.sum(names,
  most)
end

--- An object.
-- @class Thing
-- @field {n=integer} size
local Thing = {}

--- Goes.
-- @tparam any ... where
-- @treturn Thing itself
function Thing:go(...)
end

--- Colours.
-- @type {string,string}
x.colours = {}

return x
]])
    assert.are.same({}, file.faults)
    assert.are.equal("A head.\n\nMay use: base.", file.head)
    assert.are.equal("x", file.returned)
    local sum, thing, go, colours = table.unpack(file.items)
    assert.are.equal("Sum of things,\nin floats.", sum.text)
    assert.are.same({ "names", "most" }, sum.args)
    assert.are.same({ 6, 13 }, { sum.line, sum.declared })
    assert.are.equal("of what is added", sum.params[1].text)
    assert.are.equal("list", sum.params[1].type.kind)
    assert.is_true(sum.params[2].type.optional)
    assert.are.equal("message", sum.returns[2].text)
    assert.are.same({ "class", "Thing", "size" }, { thing.kind, thing.class, thing.fields[1].name })
    assert.are.same({ "function", "Thing", "go" }, { go.kind, go.class_name, go.name })
    assert.are.same({ "value", "tuple" }, { colours.kind, colours.value.kind })
  end)

  it(
    "has no other tags",
    function()
      assert.are.same(
        {
          "2: @string is no tag of ours",
          "3: @return is no tag of ours",
          "4: @tparam[opt] is no tag of ours",
        },
        faults_of("--- @string name\n-- @return it\n-- @tparam[opt] table t\nfunction x.y()\nend\n")
      )
    end
  )

  it(
    "shows what is wrong with a tag",
    function()
      assert.are.same(
        {
          "3: @tparam: a name is missing",
          "4: @tparam: '{string,' is no type",
          "5: @class: a class has one name in CamelCase",
          "6: @name: a name is written owner.name or Class:name",
          "2: it stands above nothing that it could describe",
        },
        faults_of(
          "--- Text.\n-- @tparam string\n-- @tparam {string, ...} list\n-- @class thing\n"
            .. "-- @name y\n"
        )
      )
    end
  )

  it("shows parameters that are others, in another order or missing", function()
    assert.are.same(
      {
        "2: f has the parameters (a, b), its comment says (b, a)",
        "8: g has the parameters (a, ...), its comment says (a)",
      },
      faults_of(
        "--- Text.\n-- @tparam any b\n-- @tparam any a\nfunction x.f(a, b)\nend\n\n"
          .. "--- Text.\n-- @tparam any a\nfunction x.g(self, a, ...)\nend\n"
      )
    )
    local item = doc_comments.read("--- H.\n\n--- Text.\nfunction x.f(a)\nend\n").items[1]
    assert.are.equal(
      "f has the parameters (a), its comment says ()",
      doc_comments.params_fault(item)
    )
  end)

  it("shows types that do not exist and comments that describe nothing", function()
    local files = {
      m = doc_comments.read(
        "--- H.\n\n--- T.\n-- @treturn Thnig it\n"
          .. "local function f()\nend\n\n--- T.\n-- @treturn table\n\nreturn f\n"
      ),
    }
    assert.are.same({
      "m:3: there is no type or class Thnig",
      "m:8: it stands above nothing that it could describe",
    }, public.faults { files = files, modules = {}, classes = {} })
  end)

  it("shows wrong results", function()
    local function fault(said, body) return returns_fault({ name = "f", returns = said }, body) end
    local one, two = { {} }, { {}, {} }
    assert.is_nil(fault({}, "function f()\n  return\nend"))
    assert.is_nil(fault(one, "function f()\n  return { 1, 2 } -- a, b\nend"))
    assert.is_nil(fault(two, "function f()\n  if x then return nil, 'a,' end\n  return g()\nend"))
    assert.are.equal(
      "f returns 0 values, its comment says 1",
      fault(one, "function f()\n  local function g() return 1 end\nend")
    )
    assert.are.equal(
      "f returns 2 values, its comment says 1",
      fault(one, "function f()\n  return function() return 1, 2, 3 end, [[,]]\nend")
    )
    assert.are.equal(
      "f returns 1 values, its comment says 2",
      fault(two, "function f()\n  for i = 1, 2 do repeat until g(i) end\n  return x[1]\nend")
    )
  end)

  it("has types that LuaCATS can say", function()
    local function luacats_of(text)
      return type_names.luacats(assert(type_names.parse(text)), function(name) return name end)
    end
    assert.are.equal("string[]", luacats_of("{string,...}"))
    assert.are.equal("(string|number)[]", luacats_of("{string|number,...}"))
    assert.are.equal(
      "table<string, { n: integer, of: T? }>?",
      luacats_of("?{[string]={n=integer,of=?T}}")
    )
    assert.are.equal("([number, string]|table)?", luacats_of("?{number,string}|table"))
    for _, text in ipairs { "", "?", "{}", "{string", "a b", "{[string]=}", "{a=string,number}" } do
      assert.is_nil((type_names.parse(text)), text)
    end
  end)
end)

describe("the pages made of them", function()
  it("are what `perilune api` prints", function()
    assert.is_true(
      markdown.page(face) == scratch.read("docs/api.md"),
      "docs/api.md is stale: run `perilune api > docs/api.md`"
    )
    assert.is_true(
      luacats.declarations(face) == scratch.read("docs/luacats/perilune.lua"),
      "stale: run `perilune api --luacats > docs/luacats/perilune.lua`"
    )
  end)

  it("name every module, function and class once", function()
    local page = markdown.page(face)
    for _, one in ipairs(face.modules) do
      local heading = "\n### " .. (one.name == "pl" and "pl" or "pl." .. one.name) .. "\n"
      assert.are.equal(1, select(2, page:gsub(heading:gsub("%p", "%%%0"), "")), heading)
    end
    for _, class in ipairs(face.classes) do
      assert.are.equal(1, select(2, page:gsub("\n#### " .. class.name .. "\n", "")), class.name)
    end
  end)

  it("declare in Lua what the library has, with as many parameters", function()
    local text = luacats.declarations(face)
    local declared = assert(load(text, "=perilune.lua"))()
    local count = 0
    for _, one in ipairs(face.modules) do
      local place = declared
      for part in one.name:gmatch("[%w_]+") do
        place = part == "pl" and place or place[part]
      end
      for _, member in ipairs(one.members) do
        if member.item.kind == "function" then
          local said = debug.getinfo(place[member.name], "u")
          local params = member.item.params
          local is_open = #params > 0 and params[#params].name == "..."
          assert.are.equal(#params - (is_open and 1 or 0), said.nparams, member.name)
          count = count + 1
        end
      end
    end
    assert.is_true(count > 150)
    for _, row in ipairs(core.ops()) do
      assert.are.equal(#row.inputs + #row.params, debug.getinfo(declared[row.name], "u").nparams)
    end
  end)

  it("use no type that they do not declare", function()
    local text, known = luacats.declarations(face), {}
    for name in text:gmatch("\n%-%-%-@%a+ (perilune%.[%w_.]+)") do
      known[name] = true
    end
    for line in text:gmatch("\n%-%-%-@%a+ ([^\n]*)") do
      for name in line:gsub("#.*", ""):gmatch("%f[%w_]perilune%.[%w_.]*[%w_]") do
        assert.is_true(known[name], line)
      end
    end
  end)
end)
