--- Reading C and Lua sources as far as the laws of the architecture need it: which file includes,
-- defines, uses and requires what. All of it works on texts, so that a test can make one up.
--
-- C is not parsed but cut: comments, strings and the preprocessor's lines go; what stands outside
-- braces declares; a block behind `name(...)` is the body of that function. Macros are seen as they
-- are written: K(name) and OPI(name) of engine/kernels/variant.h are read as K__name and OPI__name.

local lfs = require("lfs")

local sources = {}

local function collect(folder, pattern, list)
  for name in lfs.dir(folder) do
    local path = folder .. "/" .. name
    if name:sub(1, 1) ~= "." then
      if lfs.attributes(path, "mode") == "directory" then
        collect(path, pattern, list)
      elseif name:match(pattern) then
        list[#list + 1] = path
      end
    end
  end
end

--- Paths of the files below a folder whose names match, sorted.
function sources.paths(folder, pattern)
  local list = {}
  collect(folder, pattern, list)
  table.sort(list)
  return list
end

--- The texts of the files below a folder whose names match, by path.
function sources.texts(folder, pattern)
  local texts = {}
  for _, path in ipairs(sources.paths(folder, pattern)) do
    local file = assert(io.open(path, "rb"))
    texts[path] = file:read("a")
    file:close()
  end
  return texts
end

-- Spaces in place of all but line ends, so that every place stays what it was.
local function blank(text) return (text:gsub("[^\n]", " ")) end

local function count_lines(text) return select(2, text:gsub("\n", "")) end

local function line_at(text, place) return count_lines(text:sub(1, place - 1)) + 1 end

-- Where a quoted text ends that begins at `from`.
local function quote_end(text, from)
  local mark, to = text:sub(from, from), from + 1
  while to < #text and text:sub(to, to) ~= mark do
    to = to + (text:sub(to, to) == "\\" and 2 or 1)
  end
  return to
end

-- C -------------------------------------------------------------------------------------------

-- The last place of the comment, string or character that begins at `from`; nil: none does.
local function c_blank_end(text, from)
  local two = text:sub(from, from + 1)
  if two == "/*" then
    return select(2, text:find("*/", from + 2, true)) or #text
  elseif two == "//" then
    return (text:find("\n", from, true) or #text + 1) - 1
  elseif two:sub(1, 1) ~= "/" then
    return quote_end(text, from)
  end
end

local function without_comments_and_strings(text)
  local out, at = {}, 1
  for from in text:gmatch("()[\"'/]") do
    local to = from >= at and c_blank_end(text, from)
    if to then
      out[#out + 1] = text:sub(at, from - 1)
      out[#out + 1] = blank(text:sub(from, to))
      at = to + 1
    end
  end
  out[#out + 1] = text:sub(at)
  return table.concat(out)
end

-- Blanks the preprocessor's lines, with their continuations; `each` gets them and their places.
local function without_directives(code, each)
  local out, at = {}, 1
  while at <= #code do
    local to = code:find("\n", at, true) or #code
    if code:find("^[ \t]*#", at) then
      while code:sub(to - 1, to) == "\\\n" do
        to = code:find("\n", to + 1, true) or #code
      end
      each(code:sub(at, to), at)
      out[#out + 1] = blank(code:sub(at, to))
    else
      out[#out + 1] = code:sub(at, to)
    end
    at = to + 1
  end
  return table.concat(out)
end

local function value_name(declaration)
  local left = declaration:match("^(.-)=")
  while left:find("%]%s*$") do
    left = left:gsub("%s*%[[^%]]*%]%s*$", "")
  end
  return left:match("([%a_][%w_]*)%s*$")
end

-- Calls `found(kind, name, place, declaration, body)` for each function ("function"), initialised
-- value ("value") and inner block of other declarations ("type") outside braces.
local function each_definition(path, code, found)
  local at, place = 1, 1 -- where the declaration begins, where to look on
  while true do
    local mark = code:find("[{;]", place)
    if not mark then return end
    local declaration = code:sub(at, mark - 1)
    local has_value = declaration:find("=", 1, true) and not declaration:find("^%s*typedef")
    place = mark + 1
    if code:sub(mark, mark) == "{" then
      local body = code:match("^%b{}", mark)
      assert(body, ("%s:%d: a block without an end"):format(path, line_at(code, mark)))
      local name = not has_value and declaration:match("([%a_][%w_]*)%s*%b()%s*$")
      place = mark + #body
      if name then
        found("function", name, mark, declaration, body)
        at = place
      elseif not has_value and not declaration:find("^%s*typedef") then
        at = place -- a struct, union or enum: its own `;` follows
      end
    else
      if has_value then
        found("value", value_name(declaration), at, declaration, declaration:match("=(.*)$"))
      end
      at = place
    end
  end
end

--- One C file.
-- @tparam string path
-- @tparam string text
-- @treturn table {path =, lines =, includes = {{name, line}}, defines = {name -> line} of what
--   other files can use, uses = {name -> line}, functions = {{name, lines}}}
function sources.c(path, text)
  local file = {
    path = path,
    lines = count_lines(text),
    includes = {},
    defines = {},
    uses = {},
    functions = {},
  }
  for at, name in ("\n" .. text):gmatch('()\n[ \t]*#[ \t]*include[ \t]+[<"]([^>"\n]+)[>"]') do
    file.includes[#file.includes + 1] = { name, line_at(text, at) }
  end
  local code = without_comments_and_strings(text)
  code = code:gsub("%f[%w_]K%(([%w_]+)%)", "K__%1"):gsub("%f[%w_]OPI%(([%w_]+)%)", "OPI__%1")

  local function use(part, line)
    for row in part:gmatch("[^\n]*") do
      for name in row:gmatch("%f[%w_]([%a_][%w_]*)") do
        file.uses[name] = file.uses[name] or line
      end
      line = line + 1
    end
  end
  local plain = without_directives(code, function(directive, place)
    if directive:find("^%s*#%s*define") then use(directive, line_at(code, place)) end
  end)
  each_definition(path, plain, function(kind, name, place, declaration, body)
    local line = line_at(plain, place)
    use(body, line)
    if kind == "function" then
      local head = declaration:match("^%s*(.*)$")
      file.functions[#file.functions + 1] = { name, count_lines(head .. body) + 1 }
    end
    if not declaration:find("%f[%w_]static%f[^%w_]") and name then
      file.defines[name] = file.defines[name] or line
    end
  end)
  return file
end

-- Lua -----------------------------------------------------------------------------------------

-- Calls `each(kind, from, to, content)` for the comments ("comment") and strings ("string") of a
-- Lua text, in order.
local function each_lua_quote(text, each)
  local at = 1
  while true do
    local from = text:find("[-\"'%[]", at)
    if not from then return end
    local kind, to, content
    local comment = text:sub(from, from + 1) == "--"
    local long = text:match("^%[(=*)%[", comment and from + 2 or from)
    if long then
      local open = (comment and from + 2 or from) + #long + 2
      local close, last = text:find("]" .. long .. "]", open, true)
      to = last or #text
      kind, content = comment and "comment" or "string", text:sub(open, (close or to + 1) - 1)
    elseif comment then
      kind, to = "comment", (text:find("\n", from, true) or #text + 1) - 1
    elseif text:find("^[\"']", from) then
      to = quote_end(text, from)
      kind, content = "string", text:sub(from + 1, to - 1)
    end
    if kind then each(kind, from, to, content) end
    at = (to or from) + 1
  end
end

-- How `require` stands before a string: called with it, or handed on with it (pcall).
local function is_required(text, from)
  local before = text:sub(math.max(1, from - 40), from - 1)
  return (before:find("%f[%w_]require%s*%(?%s*$") or before:find("%f[%w_]require%s*,%s*$")) ~= nil
end

--- One Lua file and the modules it names.
--
-- A name counts when `require` stands before it (any quoting, called or handed to pcall), and any
-- string that reads like a module of the library counts wherever it stands, since it may reach
-- `require` on a longer way. With `..` behind it, it is the beginning of names. Code that stands in
-- a string is read as well.
-- @tparam string path
-- @tparam string text
-- @treturn table {path =, lines =, names = {{text =, line =, required =, beginning =}}}
function sources.lua(path, text)
  local file = { path = path, lines = count_lines(text), names = {} }
  local function add(name, line, required, beginning)
    file.names[#file.names + 1] =
      { text = name, line = line, required = required, beginning = beginning }
  end
  each_lua_quote(text, function(kind, from, to, content)
    if kind == "comment" then return end
    local line, required = line_at(text, from), is_required(text, from)
    local beginning = text:find("^%s*%.%.", to + 1) ~= nil and not text:find("^%s*%.%.%.", to + 1)
    if required or content:find("^perilune[%w_.]*$") then
      add(content, line, required, beginning)
    elseif content:find("require", 1, true) then
      for _, inner in ipairs(sources.lua(path, (content:gsub("\\(.)", "%1"))).names) do
        add(inner.text, line, inner.required, inner.beginning)
      end
    end
  end)
  return file
end

return sources
