--- Expressions in text, such as those of schedules: a small language of its own, not Lua.
--
--     expression := numbers, "texts", names, name(arguments), name{fields}, {fields}, (expression),
--                   joined by + - * / // % ^, < <= > >= == ~=, and, or, not, with Lua's precedence
--
-- A text is data: it may come out of a run folder. It sees the names that it is given and nothing
-- else, cannot index, assign, loop or define, and a wrong name is found when it is read, not when
-- it is used. Nesting is limited, so reading ends whatever the text.

local nearest = require("perilune.base.nearest")

local expression = {}

local deepest = 64

local words = { ["and"] = true, ["or"] = true, ["not"] = true }

local symbols = {
  "//",
  "<=",
  ">=",
  "==",
  "~=",
  "+",
  "-",
  "*",
  "/",
  "%",
  "^",
  "<",
  ">",
  "(",
  ")",
  "{",
  "}",
  ",",
  ";",
  "=",
}

local escapes =
  { n = "\n", t = "\t", r = "\r", ["\n"] = "\n", ["\\"] = "\\", ['"'] = '"', ["'"] = "'" }

local function fail(text, ...) error({ expression = text:format(...) }, 0) end

--- A text in quotes that begins at `at`: its value, and the place behind it.
local function read_string(text, at)
  local quote, parts, i = text:sub(at, at), {}, at + 1
  while true do
    local char = text:sub(i, i)
    if char == "" or char == "\n" then
      fail("the text that begins with %s is not closed", text:sub(at, at + 10))
    elseif char == quote then
      return table.concat(parts), i + 1
    elseif char == "\\" then
      local digits = text:match("^%d%d?%d?", i + 1)
      local byte = digits and tonumber(digits)
      local escaped = byte and byte < 256 and string.char(byte) or escapes[text:sub(i + 1, i + 1)]
      if not escaped then fail("\\%s is no escape", text:sub(i + 1, i + 1)) end
      char = escaped
      i = i + (digits and #digits or 1)
    end
    parts[#parts + 1] = char
    i = i + 1
  end
end

--- The symbol at a place; a character that is none is one of its own, which nothing wants.
local function read_symbol(text, at)
  for _, symbol in ipairs(symbols) do
    if text:sub(at, at + #symbol - 1) == symbol then return symbol end
  end
  return text:match("^[%z\1-\127\194-\244][\128-\191]*", at) or text:sub(at, at)
end

--- The tokens of a text: {kind =, value =}, kinds "number", "string", "name", "symbol", "end".
local function tokens_of(text)
  local list, at = {}, text:find("%S") or #text + 1
  while at <= #text do
    local name = text:match("^[%a_][%w_]*", at)
    local number = text:match("^0[xX]%x+", at)
      or text:match("^%d+%.?%d*", at)
      or text:match("^%.%d+", at)
    if name then
      list[#list + 1] = { kind = words[name] and "symbol" or "name", value = name }
      at = at + #name
    elseif number then
      number = number .. (text:match("^[eE][+-]?%d+", at + #number) or "")
      list[#list + 1] = { kind = "number", value = tonumber(number) }
      at = at + #number
    elseif text:find("^[\"']", at) then
      local value, behind = read_string(text, at)
      list[#list + 1] = { kind = "string", value = value }
      at = behind
    else
      local symbol = read_symbol(text, at)
      list[#list + 1] = { kind = "symbol", value = symbol }
      at = at + #symbol
    end
    at = text:find("%S", at) or #text + 1
  end
  list[#list + 1] = { kind = "end", value = "the end" }
  return list
end

local function number(value, symbol)
  if type(value) ~= "number" then fail("%s takes numbers, not a %s", symbol, type(value)) end
  return value
end

local binary = {
  ["+"] = function(a, b) return a + b end,
  ["-"] = function(a, b) return a - b end,
  ["*"] = function(a, b) return a * b end,
  ["/"] = function(a, b) return a / b end,
  ["//"] = function(a, b) return a // (b + 0.0) end, -- no error where b is 0
  ["%"] = function(a, b) return a % (b + 0.0) end,
  ["^"] = function(a, b) return a ^ b end,
  ["<"] = function(a, b) return a < b end,
  ["<="] = function(a, b) return a <= b end,
  [">"] = function(a, b) return a > b end,
  [">="] = function(a, b) return a >= b end,
  ["=="] = function(a, b) return a == b end,
  ["~="] = function(a, b) return a ~= b end,
}

-- Weaker first; all of a row from left to right. `^` and the signs are of `unary` below.
local levels = {
  { ["or"] = true },
  { ["and"] = true },
  { ["<"] = true, ["<="] = true, [">"] = true, [">="] = true, ["=="] = true, ["~="] = true },
  { ["+"] = true, ["-"] = true },
  { ["*"] = true, ["/"] = true, ["//"] = true, ["%"] = true },
}

local function apply(symbol, left, right)
  if symbol == "or" then
    return function(values) return left(values) or right(values) end
  elseif symbol == "and" then
    return function(values) return left(values) and right(values) end
  end
  local operation = binary[symbol]
  return function(values)
    return operation(number(left(values), symbol), number(right(values), symbol))
  end
end

local Parser = {}
Parser.__index = Parser

function Parser:peek(value)
  local token = self.tokens[self.at]
  return token.kind == "symbol" and token.value == value
end

function Parser:take(value)
  if self:peek(value) then
    self.at = self.at + 1
    return true
  end
end

function Parser:want(value)
  if not self:take(value) then
    fail("'%s' is wanted before %s", value, tostring(self.tokens[self.at].value))
  end
end

--- Fields up to `closing`: a list of {name or false, value}.
function Parser:fields(closing, named)
  local list = {}
  while not self:take(closing) do
    local token, following = self.tokens[self.at], self.tokens[self.at + 1]
    local name = false
    if named and token.kind == "name" and following.kind == "symbol" and following.value == "=" then
      name = token.value
      self.at = self.at + 2
    end
    list[#list + 1] = { name, self:expression() }
    if not (self:take(",") or named and self:take(";")) and not self:peek(closing) then
      self:want(closing)
    end
  end
  return list
end

function Parser:table_of()
  local fields = self:fields("}", true)
  return function(values)
    local made, n = {}, 0
    for _, field in ipairs(fields) do
      local key = field[1]
      if not key then
        n = n + 1
        key = n
      end
      made[key] = field[2](values)
    end
    return made
  end
end

function Parser:call(name)
  local fn, arguments = self.scope[name], {}
  local literal = self.tokens[self.at]
  if self:take("(") then
    arguments = self:fields(")")
  elseif self:take("{") then
    arguments[1] = { false, self:table_of() }
  else
    self.at = self.at + 1
    arguments[1] = { false, function() return literal.value end }
  end
  if type(fn) ~= "function" then fail("'%s' is no function", name) end
  return function(values)
    local given = {}
    for i, argument in ipairs(arguments) do
      given[i] = argument[2](values)
    end
    return fn(table.unpack(given, 1, #arguments))
  end
end

function Parser:name(name)
  local value = self.scope[name]
  if value == nil and not self.variables[name] then
    local known = {}
    for one in pairs(self.scope) do
      known[#known + 1] = one
    end
    for one in pairs(self.variables) do
      known[#known + 1] = one
    end
    table.sort(known)
    local hint = nearest.hint(name, known)
    local list = self.listed or known
    fail(
      "there is no %s '%s'%s",
      self.noun,
      name,
      hint ~= "" and hint or "; known are " .. table.concat(list, ", ")
    )
  end
  if self:peek("(") or self:peek("{") or self.tokens[self.at].kind == "string" then
    return self:call(name)
  elseif type(value) == "function" then
    fail("'%s' is a function: write %s(...)", name, name)
  elseif value ~= nil then
    return function() return value end
  end
  return function(values) return values[name] end
end

function Parser:primary()
  local token = self.tokens[self.at]
  self.at = self.at + 1
  if token.kind == "number" or token.kind == "string" then
    return function() return token.value end
  elseif token.kind == "name" then
    return self:name(token.value)
  elseif token.kind == "symbol" and token.value == "(" then
    local inner = self:expression()
    self:want(")")
    return inner
  elseif token.kind == "symbol" and token.value == "{" then
    return self:table_of()
  end
  fail("a value is wanted before %s", tostring(token.value))
end

function Parser:unary()
  self:deeper()
  local made
  if self:take("-") then
    local inner = self:unary()
    made = function(values) return -number(inner(values), "-") end
  elseif self:take("not") then
    local inner = self:unary()
    made = function(values) return not inner(values) end
  else
    made = self:primary()
    if self:take("^") then made = apply("^", made, self:unary()) end
  end
  self.depth = self.depth - 1
  return made
end

function Parser:deeper()
  self.depth = self.depth + 1
  if self.depth > deepest then fail("it is nested more than %d deep", deepest) end
end

function Parser:expression(level)
  level = level or 1
  if not levels[level] then return self:unary() end
  local left = self:expression(level + 1)
  while true do
    local token = self.tokens[self.at]
    if token.kind ~= "symbol" or not levels[level][token.value] then return left end
    self.at = self.at + 1
    left = apply(token.value, left, self:expression(level + 1))
  end
end

--- Run a function; errors of this language come back as text.
local function protect(fn, ...)
  local ok, result = pcall(fn, ...)
  if ok then
    return result
  elseif type(result) == "table" and result.expression then
    return nil, result.expression
  end
  return nil, (tostring(result):gsub("^[^\n]-:%d+: ", ""))
end

--- Read a text.
-- @tparam string text
-- @tparam table options `scope` {name = number or function}; `variables` {name = true} whose values
-- come later; `noun`: what a name is called in an error ("name"); `listed`: names that an error
-- lists
-- @treturn ?function of {variable = value}: gives the value, or nil and what is wrong
-- @treturn ?string what is wrong with the text
function expression.parse(text, options)
  local made, message = protect(function()
    local parser = setmetatable({
      tokens = tokens_of(text),
      at = 1,
      depth = 0,
      scope = options.scope,
      variables = options.variables or {},
      noun = options.noun or "name",
      listed = options.listed,
    }, Parser)
    local root = parser:expression()
    local token = parser.tokens[parser.at]
    if token.kind ~= "end" then fail("'%s' is not wanted there", tostring(token.value)) end
    return root
  end)
  if not made then return nil, message end
  return function(values) return protect(made, values or {}) end
end

return expression
