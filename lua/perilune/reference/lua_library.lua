--- What the functions of Lua's own library do, in a sentence each, for `?string.rep`. The manual of
-- Lua 5.4, section 6, has all of it.

local rows = [[
assert(v, [message]) | v and all that follows; raises the message when v is nil or false
collectgarbage([what, ...]) | works the collector: "collect", "count" (KB), "step", "stop",
  "restart", "incremental", "generational", "isrunning"
dofile([path]) | runs a file (standard input without one) and returns what it returns
error(message, [level]) | raises an error; level 1 names the place of the call, 2 that of its
  caller, 0 none
getmetatable(v) | its metatable, or that one's __metatable
ipairs(list) | for the loop over i, list[i] from 1 until the first nil
load(chunk, [name, mode, env]) | compiles a text, or pieces that a function gives, to a function;
  nil and a message when it is no Lua
loadfile([path, mode, env]) | compiles a file to a function
next(t, [key]) | the key after that one and its value; nil at the end
pairs(t) | for the loop over all keys and values, in no order
pcall(f, ...) | calls f: true and its results, or false and the error
print(...) | the values as text, with tabs between them, to standard output
rawequal(a, b) | a == b without metamethods
rawget(t, key) | t[key] without metamethods
rawlen(v) | #v without metamethods
rawset(t, key, value) | t[key] = value without metamethods; returns t
require(name) | loads a module once; its value and where it was found
select(n, ...) | the arguments from the n-th on, from the end when negative; "#" counts them
setmetatable(t, meta) | gives a table a metatable; returns t
tonumber(v, [base]) | a number of a text, or nil; with a base (2 to 36) an integer
tostring(v) | its text, by __tostring where there is one
type(v) | "nil", "number", "string", "boolean", "table", "function", "thread" or "userdata"
warn(...) | a warning of these pieces, shown after warn("@on")
xpcall(f, handler, ...) | as pcall; the handler gets the error while the stack stands
coroutine.close(co) | ends a suspended coroutine and closes its variables
coroutine.create(f) | a coroutine that will run f
coroutine.isyieldable([co]) | whether it may yield
coroutine.resume(co, ...) | goes on with it: true and what it yields or returns, or false and the
  error
coroutine.running() | the one that runs, and whether it is the main one
coroutine.status(co) | "running", "suspended", "normal" or "dead"
coroutine.wrap(f) | a function that resumes a new coroutine at each call; errors are raised
coroutine.yield(...) | suspends; the values are what resume gives
debug.getinfo([co], f, [what]) | of a function or a level of the stack: source, lines, name
debug.getlocal([co], level, i) | name and value of the i-th local variable
debug.getupvalue(f, i) | name and value of the i-th upvalue
debug.sethook([co], hook, mask, [count]) | calls hook at calls "c", returns "r", lines "l" or
  every count instructions
debug.traceback([co], [message, level]) | the stack as text
io.close([file]) | closes it, or the default output
io.flush() | writes out what the default output still holds
io.input([file]) | the default input, or sets it
io.lines([path, ...]) | for the loop over a file's lines; formats as of file:read
io.open(path, [mode]) | a file, or nil and a message; modes "r", "w", "a", "r+", "w+", "a+", with
  "b"
io.output([file]) | the default output, or sets it
io.popen(command, [mode]) | a file to or from a shell command
io.read(...) | from the default input: "l" a line, "L" with its end, "n" a number, "a" all, or a
  number of bytes
io.tmpfile() | a file that is removed when it is closed
io.type(v) | "file", "closed file", or nil for what is none
io.write(...) | texts and numbers to the default output
math.abs(x) | without its sign
math.acos(x) | in radians
math.asin(x) | in radians
math.atan(y, [x]) | the angle of y/x, in radians
math.ceil(x) | the integer at or above
math.cos(x) | of radians
math.deg(x) | radians as degrees
math.exp(x) | e to the power x
math.floor(x) | the integer at or below
math.fmod(x, y) | the rest of a division that rounds towards zero
math.log(x, [base]) | to the base e without one
math.max(x, ...) | the largest
math.min(x, ...) | the smallest
math.modf(x) | integral and fractional part
math.rad(x) | degrees as radians
math.random([m, n]) | a float in [0, 1), or an integer in 1 to m, or m to n
math.randomseed([x, y]) | begins the numbers of math.random anew
math.sin(x) | of radians
math.sqrt(x) | the square root
math.tan(x) | of radians
math.tointeger(x) | as an integer, or nil when it is none
math.type(x) | "integer", "float", or nil
math.cosh(x) | the hyperbolic cosine
math.frexp(x) | m and e with x = m 2^e and 0.5 <= |m| < 1
math.ldexp(m, e) | m 2^e
math.log10(x) | to the base 10
math.pow(x, y) | x to the power y
math.sinh(x) | the hyperbolic sine
math.tanh(x) | the hyperbolic tangent
math.ult(m, n) | m < n as unsigned integers
os.clock() | seconds of processor time this process has used
os.date([format, time]) | a time as text; "*t" gives a table, "!" before it UTC
os.difftime(b, a) | seconds from a to b
os.execute([command]) | runs a shell command: true or nil, "exit" or "signal", and its number
os.exit([code, close]) | ends the program
os.getenv(name) | a variable of the environment, or nil
os.remove(path) | removes a file or an empty folder
os.rename(from, to) | renames a file or a folder
os.setlocale([locale, category]) | the locale, or sets it
os.time([t]) | seconds since 1970 of now, or of a table of year, month, day, hour, min, sec
os.tmpname() | a name for a file that is not there yet
package.searchpath(name, path) | the file that require would take from a path, or nil and what was
  tried
string.byte(s, [i, j]) | the numbers of its bytes i to j
string.char(...) | the bytes of these numbers
string.dump(f, [strip]) | a function as binary text
string.find(s, pattern, [from, plain]) | first and last place of the first match and its captures,
  or nil
string.format(format, ...) | values in a text, as C's printf; %q writes what Lua can read
string.gmatch(s, pattern, [from]) | for the loop over all matches
string.gsub(s, pattern, by, [most]) | s with matches replaced by a text, a table's values or a
  function's results; and their number
string.len(s) | its length in bytes
string.lower(s) | with small letters
string.match(s, pattern, [from]) | the captures of the first match, or all of it, or nil
string.pack(format, ...) | values as bytes
string.packsize(format) | how many bytes they take
string.rep(s, n, [between]) | n copies, with a text between them
string.reverse(s) | its bytes from the last to the first
string.sub(s, i, [j]) | the bytes i to j; negative places count from the end
string.unpack(format, s, [from]) | the values that pack wrote, and the place after them
string.upper(s) | with capital letters
table.concat(list, [between, i, j]) | texts and numbers of a list as one text
table.insert(list, [at], value) | puts a value at a place, at the end without one; later ones move
  up
table.move(a, from, to, at, [b]) | copies a[from] to a[to] to a[at] (b[at]) and on; returns where
  they went
table.pack(...) | a list of the arguments, and their number as n
table.remove(list, [at]) | takes out the value at a place (the last) and returns it; later ones
  move down
table.sort(list, [less]) | sorts in place, by < or by a function less(a, b)
table.unpack(list, [i, j]) | its elements as values
utf8.char(...) | the characters of these code points
utf8.codepoint(s, [i, j, lax]) | the code points of the characters that begin at bytes i to j
utf8.codes(s, [lax]) | for the loop over place and code point
utf8.len(s, [i, j, lax]) | how many characters; nil and a place when it is not UTF-8
utf8.offset(s, n, [i]) | the byte at which the n-th character begins
]]

local library = {}

--- The functions by name: {["string.rep"] = {call, summary}}.
-- @type table
library.functions = {}

for line in rows:gsub("\n  ", " "):gmatch("[^\n]+") do
  local call, summary = line:match("^(.-) | (.*)$")
  library.functions[call:match("^[%w_.]+")] = { call = call, summary = summary }
end

--- The name of a function of Lua's library, as it is found in the global tables now.
-- @tparam function func
-- @treturn ?string
function library.name_of(func)
  for name in pairs(library.functions) do
    local value = _G
    for part in name:gmatch("[^.]+") do
      value = type(value) == "table" and rawget(value, part)
    end
    if value == func then return name end
  end
end

return library
