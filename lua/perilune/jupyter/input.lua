--- io.read in a notebook: a line is asked of the person who runs the cell.
--
-- io.read, io.lines() and io.stdin's read and lines take the formats of Lua. There is no end of the
-- input: "a" gives what was answered to one question.

local input = {}

local function reader(ask)
  local held = "" -- answered, not read yet
  local function line()
    if held == "" then held = ask() .. "\n" end
    local text, rest = held:match("^(.-)\n(.*)$")
    held = rest
    return text
  end
  local function one(form)
    local name = type(form) == "string" and form:gsub("^%*", "") or form
    if name == "l" then
      return line()
    elseif name == "L" then
      return line() .. "\n"
    elseif name == "n" then
      return tonumber(line())
    elseif name == "a" then
      local all = line() .. "\n" .. held
      held = ""
      return all
    elseif math.type(name) == "integer" and name >= 0 then
      if name == 0 then return "" end
      if held == "" then held = ask() .. "\n" end
      local text = held:sub(1, name)
      held = held:sub(name + 1)
      return text
    end
    error(("io.read: there is no format %s"):format(tostring(form)), 3)
  end
  return function(...)
    local results = table.pack(...)
    if results.n == 0 then return one("l") end
    for i = 1, results.n do
      results[i] = one(results[i])
      if results[i] == nil then return table.unpack(results, 1, i) end
    end
    return table.unpack(results, 1, results.n)
  end
end

--- Puts it in the place of the program's standard input.
-- @tparam function ask gives a line; raises when nobody can be asked
function input.install(ask)
  local read, lines = reader(ask), io.lines
  local function each(...)
    local forms = table.pack(...)
    return function() return read(table.unpack(forms, 1, forms.n)) end
  end
  rawset(io, "read", read)
  rawset(io, "lines", function(path, ...)
    if path ~= nil then return lines(path, ...) end
    return each(...)
  end)
  rawset(io, "stdin", {
    read = function(_, ...) return read(...) end,
    lines = function(_, ...) return each(...) end,
    close = function() return nil, "the standard input stays open" end,
  })
end

return input
