--- Regular expressions that cannot run away: whether a whole text fits a pattern.
--
--     local fits = assert(regex.compile([[.*\.(q|v)_proj]]))
--     fits("model.layers.0.self_attn.q_proj")
--
-- The part of Python's syntax that names of modules are given by: characters, `.`, `\d`, `\w`, an
-- escaped mark, `[a-z_]` and `[^...]`, `(...)` and `(?:...)`, `|`, `*`, `+`, `?` (also lazy: a
-- whole fit is the same), `^` at the beginning and `$` at the end. Everything else is an error that
-- says so. All states are followed at once (Thompson 1968), so the time is at most the product of
-- both lengths.

local regex = {}

local LONGEST <const> = 2000 -- bytes of a pattern
local DEEPEST <const> = 50 -- groups inside each other

local classes = { d = "^[0-9]$", w = "^[%w_]$", s = "^%s$" }

-- A state is {test, next, other}: a test of one character and where it leads, or no test and one or
-- two ways on. A piece is its first state and the list of {state, field} that still lead nowhere.

local function step(test)
  local state = { test = test }
  return { first = state, open = { { state, "next" } } }
end

local function lead(open, to)
  for _, place in ipairs(open) do
    place[1][place[2]] = to
  end
end

local Parser = {}
Parser.__index = Parser

local function refuse(text, ...) error({ message = text:format(...) }, 0) end

function Parser:peek() return self.text:sub(self.at, self.at) end

function Parser:take()
  local c = self:peek()
  self.at = self.at + 1
  return c
end

function Parser:escaped()
  local c = self:take()
  if classes[c] then
    return function(x) return x:find(classes[c]) ~= nil end
  elseif c == "" then
    refuse("it ends in a backslash")
  elseif c:find("%w") then
    refuse("'\\%s' is not known here", c)
  end
  return function(x) return x == c end
end

function Parser:set()
  local tests, negated = {}, self:peek() == "^"
  if negated then self:take() end
  local first = true
  while first or self:peek() ~= "]" do
    first = false
    local c = self:take()
    if c == "" then
      refuse("'[' has no ']'")
    elseif c == "\\" then
      tests[#tests + 1] = self:escaped()
    elseif self:peek() == "-" and self.text:sub(self.at + 1, self.at + 1) ~= "]" then
      self:take()
      local last = self:take()
      if last == "" or last == "\\" or last < c then refuse("'%s-%s' is no range", c, last) end
      tests[#tests + 1] = function(x) return x >= c and x <= last end
    else
      tests[#tests + 1] = function(x) return x == c end
    end
  end
  self:take()
  return function(x)
    for _, test in ipairs(tests) do
      if test(x) then return not negated end
    end
    return negated
  end
end

function Parser:group()
  if self:peek() == "?" then
    self:take()
    local kind = self:take()
    if kind ~= ":" then refuse("'(?%s' is not known here", kind) end
  end
  self.depth = self.depth + 1
  if self.depth > DEEPEST then refuse("more than %d groups inside each other", DEEPEST) end
  local piece = self:choice()
  if self:take() ~= ")" then refuse("'(' has no ')'") end
  self.depth = self.depth - 1
  return piece
end

function Parser:atom()
  local c = self:take()
  if c == "(" then
    return self:group()
  elseif c == "[" then
    return step(self:set())
  elseif c == "\\" then
    return step(self:escaped())
  elseif c == "." then
    return step(function() return true end)
  elseif c:find("[*+?{}^$]") then
    refuse("'%s' at place %d is not known there", c, self.at - 1)
  end
  return step(function(x) return x == c end)
end

function Parser:repeated()
  local piece = self:atom()
  local c = self:peek()
  if not c:find("^[*+?]$") then return piece end
  self:take()
  if self:peek() == "?" then self:take() end
  local fork = { next = piece.first }
  local open = { { fork, "other" } }
  if c == "?" then
    table.move(piece.open, 1, #piece.open, 2, open)
  else
    lead(piece.open, fork)
  end
  return { first = c == "+" and piece.first or fork, open = open }
end

function Parser:sequence()
  local nothing = {}
  local whole = { first = nothing, open = { { nothing, "next" } } }
  while not self:peek():find("^[|)]?$") do
    if self:peek() == "$" and self.at == #self.text and self.depth == 0 then
      self:take()
    else
      local piece = self:repeated()
      lead(whole.open, piece.first)
      whole.open = piece.open
    end
  end
  return whole
end

function Parser:choice()
  local whole = self:sequence()
  while self:peek() == "|" do
    self:take()
    local other = self:sequence()
    whole = {
      first = { next = whole.first, other = other.first },
      open = table.move(other.open, 1, #other.open, #whole.open + 1, whole.open),
    }
  end
  return whole
end

-- The states that a set of states stands for: those with a test, and the end.
local function reach(states)
  local seen, list, waiting = {}, {}, states
  while #waiting > 0 do
    local state = table.remove(waiting)
    if not seen[state] then
      seen[state] = true
      if state.test or state.ends then
        list[#list + 1] = state
      else
        waiting[#waiting + 1] = state.next
        waiting[#waiting + 1] = state.other
      end
    end
  end
  return list
end

--- A function that tells whether a whole text fits a pattern.
-- @tparam string pattern
-- @treturn ?function fits(text) -> boolean
-- @treturn ?string what is wrong with the pattern
function regex.compile(pattern)
  if #pattern > LONGEST then return nil, ("it is longer than %d bytes"):format(LONGEST) end
  local parser = setmetatable({ text = pattern, at = 1, depth = 0 }, Parser)
  if parser:peek() == "^" then parser:take() end
  local ok, piece = pcall(parser.choice, parser)
  if not ok then
    if type(piece) == "table" and piece.message then return nil, piece.message end
    error(piece, 0)
  elseif parser.at <= #pattern then
    return nil, "')' has no '('"
  end
  lead(piece.open, { ends = true })
  return function(text)
    local states = reach { piece.first }
    for i = 1, #text do
      local c, following = text:sub(i, i), {}
      for _, state in ipairs(states) do
        if state.test and state.test(c) then following[#following + 1] = state.next end
      end
      if #following == 0 then return false end
      states = reach(following)
    end
    for _, state in ipairs(states) do
      if state.ends then return true end
    end
    return false
  end
end

return regex
