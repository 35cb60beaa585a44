--- `./perilune lint` on small files: a line for each fault, the exit status, --fix. Continuous
-- integration runs it over the checkout.
local made = dofile("tests/lua/support/ingest_files.lua")
local system = require("perilune.core").system

local bad_lua = [[
local a = 1; local b = 2
local text = 'single'
return { a, b, text }
]]
local good_lua = [[
local a = 1
local b = 2
local text = "single"
return { a, b, text }
]]
local unused = "local unused = 1\n"
local bad_c = "int  twice(int x) { return 2*x; }\n"
local good_c = "int twice(int x)\n{\n    return 2 * x;\n}\n"

describe("lint", function()
  local folder

  local function sh(command)
    local how, code = system.spawn({ "bash", "-c", command }, {
      stdin = "/dev/null",
      stdout = folder .. "/out",
      stderr = folder .. "/err",
    })
    local text = made.read(folder .. "/out") .. made.read(folder .. "/err")
    return how == "exit" and code or how, (text:gsub(folder, "DIR"))
  end

  local function lint(arguments)
    return sh(("third_party/lint/lint.sh " .. arguments):gsub("DIR", folder))
  end

  -- What is missing, nil for nothing: a test installs and fetches nothing.
  local function missing()
    for _, tool in ipairs { "clang-format", "luacheck", "node" } do
      if sh("command -v " .. tool) ~= 0 then return tool .. " is not installed" end
    end
    if lint("--has-stylua") ~= 0 then return "StyLua has not been fetched" end
  end

  local function case(name, body)
    it(name, function()
      local what = missing()
      if what then return pending(what .. "; ./perilune lint gets it") end
      made.write(folder .. "/bad.lua", bad_lua)
      made.write(folder .. "/unused.lua", unused)
      made.write(folder .. "/bad.c", bad_c)
      body()
    end)
  end

  setup(function() folder = made.folder() end)

  teardown(function() made.remove(folder) end)

  case("reports files that are laid out otherwise, and luacheck's faults", function()
    local code, text = lint("DIR/bad.c DIR/bad.lua DIR/unused.lua")
    assert.equal(1, code)
    assert.equal(
      [[
DIR/bad.c:1: not as clang-format lays it out
DIR/bad.lua:1: StyLua has here: local a = 1
DIR/unused.lua:1:7: (W211) unused variable 'unused'
perilune lint: 3 faults in 3 files; --fix lays files out
]],
      text
    )
  end)

  case("reports a C line of more than 100 columns, counted in characters", function()
    made.write(
      folder .. "/bad.c",
      "/* " .. ("é"):rep(94) .. " */\n/* " .. ("é"):rep(95) .. " */\n"
    )
    local code, text = lint("DIR/bad.c")
    assert.equal(1, code)
    assert.equal("DIR/bad.c:2: over 100 columns", text:match("^[^\n]*"))
  end)

  case("--fix lays out, once and for all", function()
    local code, text = lint("--fix DIR/bad.c DIR/bad.lua")
    assert.equal(0, code, text)
    assert.equal("perilune lint: 2 files, no fault\n", text)
    assert.equal(good_c, made.read(folder .. "/bad.c"))
    assert.equal(good_lua, made.read(folder .. "/bad.lua"))
    assert.equal(0, (lint("DIR/bad.c DIR/bad.lua")))
  end)

  case("reports a file that is not Lua", function()
    made.write(folder .. "/bad.lua", "local = 1\n")
    local code, text = lint("DIR/bad.lua")
    assert.equal(1, code)
    assert.matches("^DIR/bad.lua:1: StyLua: ", text)
  end)
end)
