--- docs/repl.md: every line of its recorded session, typed into one.
local session = require("perilune.repl.session")

-- The entries of the page: {text, expected lines, line}.
local function entries_of(path)
  local list, inside, number = {}, false, 0
  for line in io.lines(path) do
    number = number + 1
    if line:find("^```") then
      inside = line == "```text"
    elseif inside and line:find("^> ") then
      list[#list + 1] = { text = line:sub(3), expected = {}, line = number }
    elseif inside and line:find("^>> ") then
      list[#list].text = list[#list].text .. "\n" .. line:sub(4)
    elseif inside then
      table.insert(list[#list].expected, line)
    end
  end
  return list
end

-- Whether lines are as expected: "..." in one stands for anything, alone for any lines.
local function fits(lines, expected, i, k)
  i, k = i or 1, k or 1
  if expected[k] == nil then return lines[i] == nil end
  if expected[k] == "..." then
    for from = i, #lines + 1 do
      if fits(lines, expected, from, k + 1) then return true end
    end
    return false
  end
  local pattern = expected[k]:gsub("%p", "%%%0"):gsub("%%%.%%%.%%%.", ".-")
  return lines[i] ~= nil
    and lines[i]:find("^" .. pattern .. "$") ~= nil
    and fits(lines, expected, i + 1, k + 1)
end

describe("docs/repl.md", function()
  it("is what happens", function()
    local printed = {}
    local s = session.new {
      width = 80,
      output = function(text) printed[#printed + 1] = text end,
    }
    rawset(s.env, "pl", require("perilune"))
    local entries = entries_of("docs/repl.md")
    assert.truthy(#entries > 25)
    for _, entry in ipairs(entries) do
      printed = {}
      local got
      if not entry.text:find("^%$") then got = s:eval(entry.text) end -- the shell prints by itself
      local text = got and table.concat(printed) .. (got.text or got.error) or ""
      local lines = {}
      for line in (text:gsub("\n$", "") .. "\n"):gmatch("(.-)\n") do
        if text ~= "" then lines[#lines + 1] = line end
      end
      assert(
        fits(lines, entry.expected),
        ("docs/repl.md:%d: %s\ngives\n%s"):format(entry.line, entry.text, text)
      )
    end
  end)

  it("has a comparison that can fail", function()
    assert.is_false(fits({ "42" }, { "43" }))
    assert.is_false(fits({ "42", "more" }, { "42" }))
    assert.is_false(fits({}, { "..", "x" }))
    assert.is_true(fits({ "took 3 ms", "a", "b" }, { "took ...", "..." }))
  end)
end)
